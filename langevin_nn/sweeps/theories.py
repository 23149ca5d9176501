"""The theories' numbers at all points of a grid, without sampling: `sweep --theory-only`.

Points that differ in widths, precisions, temperature, richness and the sampler have their data in
common, and those that differ in widths, T and λ_L alone one decomposed Gram matrix.
"""

import contextlib
import dataclasses
import operator
import time
from collections.abc import Callable, Mapping
from typing import Any

from langevin_nn import config as configuration
from langevin_nn.config.record import RunConfig
from langevin_nn.errors import InputError
from langevin_nn.files import Unreadable, write_text
from langevin_nn.footprint import without_warnings
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.runs import run
from langevin_nn.runs.expected import Expected
from langevin_nn.runs.records import read_record, record, sealed
from langevin_nn.runs.summary import as_json
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.sweeps.grid import Grid
from langevin_nn.sweeps.status import Status
from langevin_nn.theory.ensemble import Decompositions
from langevin_nn.theory.suite import predict

VARIED = {"network.hidden_widths", "posterior.temperature", "posterior.richness", "theory"}
"""The fields, besides those of the prior and the sampler, that leave a point's data as they are."""


def expected(grid: Grid, progress: Callable[[Status], None] | None = None) -> dict[str, Expected]:
    """What the theories say at each point, by its content hash; `reason` where they cannot.

    Raises `InputError`, with the reasons, where they can at no point.
    """
    began, decompositions = time.monotonic(), Decompositions()
    prepared: dict[tuple[Any, ...], Ensemble] = {}
    records: dict[str, Expected] = {}
    failed = 0
    for number, point in enumerate(grid.points):
        try:
            ensemble = decompositions.shared(_ensemble(point, prepared))
            with without_warnings():
                answer = Expected.of(predict(ensemble, point.theory).numbers_only())
        except Exception as error:  # noqa: BLE001 - one point never stops the others
            message = " ".join(str(error).split())
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            answer, failed = Expected(reason=kind + message), failed + 1
        records[point.content_hash] = answer
        if progress is not None:
            share = (number + 1) / len(grid.points)
            left = (time.monotonic() - began) * (1 - share) / share
            progress(Status(len(grid.points), number + 1 - failed, failed, share, left))
    if not any(answer.theory for answer in records.values()):
        raise InputError(_reason(grid, records))
    return records


def _reason(grid: Grid, records: Mapping[str, Expected]) -> str:
    """Why no theory says anything at any point."""
    if all(point.theory == () for point in grid.points):
        return "theory = [] asks for no theory: write their names, or leave it out"
    failures = dict.fromkeys(answer.reason for answer in records.values() if answer.reason)
    if failures:
        return next(iter(failures))
    reasons = {why: None for answer in records.values() for why in answer.not_applicable.values()}
    return f"no theory applies ({'; '.join(reasons)})"


def save(folder: SweepFolder, records: Mapping[str, Expected]) -> None:
    """Write the theories' numbers of the points into the folder."""
    write_text(folder.theories, record(sealed({"points": as_json(dict(records))})))


def load(folder: SweepFolder) -> dict[str, Expected]:
    """The theories' numbers that are in the folder, by point; none where they cannot be read."""
    with contextlib.suppress(Unreadable):
        points = read_record(folder.theories).get("points")
        if isinstance(points, Mapping):
            return {point: Expected.from_json(content) for point, content in points.items()}
    return {}


def _ensemble(point: RunConfig, prepared: dict[tuple[Any, ...], Ensemble]) -> Ensemble:
    """The ensemble of a point, made of an earlier one of the same data where there is one."""
    key = tuple(
        operator.attrgetter(name)(point)
        for name in configuration.options()
        if name not in VARIED and name.partition(".")[0] not in ("prior", "sampler")
    )
    if key not in prepared:
        prepared[key] = run.prepare_theory(point)[1]
        return prepared[key]
    base = prepared[key]
    if base.spec.hidden_widths is None or base.spec.own_layers is not None:
        return run.prepare_theory(point)[1]
    used = point.in_standard_scaling
    spec = dataclasses.replace(
        base.spec,
        hidden_widths=point.network.hidden_widths,
        prior_precisions=used.prior.precisions,
        bias_precisions=used.prior.bias_precisions or None,
        temperature=used.posterior.temperature,
    )
    return Ensemble(spec, base.data, loss=base.loss)
