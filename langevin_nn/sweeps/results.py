"""The numbers of all points as one Dataset over the grid, from their summaries alone.

The dimensions are the axes. The experiment has `bias2`, `variance`, … with their standard errors
`…_mcse`, and its diagnostics. `…_step_size_shift` is how far the step size shifts a number, to
leading order (`analysis.step_size_bias`), `…_step_size_shift_mcse` the error of that prediction: 0
for a dynamics with an acceptance step, NaN where it is not known, and `step_size_shift_unknown` is
then True of a point that is done. The theories have `theory_bias2`, … with the further dimension
`theory`, and `order_parameter` with `order` too. Where the grid names observables, there are those
of the representation (`sweeps.representations`). `criterion` is s = yᵀK⁻¹y/P and
`criterion_at_temperature` yᵀA⁻¹KA⁻¹y/tr A⁻¹K (`theory.suite.Predictions`), `eigenvalue_min` and
`eigenvalue_max` are the ends of the Gram matrix's spectrum. What is not there is NaN, or False;
`status` says whether a point is done, failed or missing, or whether its "theory" alone was asked,
and `seconds` is a point's share of the sampling.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from langevin_nn.errors import InputError
from langevin_nn.files import write_bytes
from langevin_nn.result_text import QUANTITIES
from langevin_nn.runs import provenance
from langevin_nn.runs.expected import Expected
from langevin_nn.runs.summary import UNKNOWN, Experiment, Summary, TheoryRecord
from langevin_nn.sweeps import theories
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.sweeps.grid import Grid
from langevin_nn.sweeps.representations import representation_variables
from langevin_nn.types import ESTIMATES
from langevin_nn.values import as_path

DIAGNOSTICS = ("rhat_max", "ess_min", "acceptance", "step_size")


def collect(path: Path | str) -> xr.Dataset:
    """The results of the sweep in `path` so far, at any time, also while it runs.

    A finished point whose files are damaged, or of other data than the others', is missing, with
    the reason. Raises `InputError` for a folder that is not a sweep's.
    """
    return collected(SweepFolder.existing(as_path("path", path)))


def collected(folder: SweepFolder) -> xr.Dataset:
    """The results of the sweep in `folder` so far, as `collect` has them."""
    points = [point.content_hash for point in folder.grid.points]
    summaries = [_summary(folder, point) for point in points]
    expected = {} if None not in summaries else theories.load(folder)
    records = [
        expected.get(point) if summary is None else summary
        for point, summary in zip(points, summaries, strict=True)
    ]
    status = [_status(folder, *pair) for pair in zip(points, records, strict=True)]
    names = [folder.name_of(point) for point in points]
    return dataset(folder.grid, records, status, folder.definition, names)


def dataset(
    grid: Grid,
    summaries: Sequence[Summary | Expected | None],
    status: Sequence[tuple[str, str]],
    definition: str,
    names: Sequence[str] | None = None,
) -> xr.Dataset:
    """The numbers of a grid's points, with the status of each and the reason for it, in C order.

    `names` are those of their runs; left out, those that the points have.
    """
    points = names or [point.content_hash for point in grid.points]
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}

    def add(
        name: str, values: Sequence[Any] | np.ndarray, extra_sizes: Mapping[str, int] | None = None
    ) -> None:
        extra_sizes = extra_sizes or {}
        shape = (*grid.shape, *extra_sizes.values())
        variables[name] = ((*grid.names, *extra_sizes), np.array(values).reshape(shape))

    experiments = [None if summary is None else summary.experiment for summary in summaries]
    for name in ESTIMATES:
        estimates = [
            UNKNOWN if experiment is None else experiment.estimate(name)
            for experiment in experiments
        ]
        add(name, [number.value for number in estimates])
        add(f"{name}_mcse", [number.mcse for number in estimates])
    for name in QUANTITIES:
        shifts = [
            UNKNOWN if experiment is None else experiment.step_size_shift(name)
            for experiment in experiments
        ]
        add(f"{name}_step_size_shift", [shift.value for shift in shifts])
        add(f"{name}_step_size_shift_mcse", [shift.mcse for shift in shifts])
    add("step_size_shift_unknown", [_has_unknown_shift(experiment) for experiment in experiments])
    for name in DIAGNOSTICS:
        add(name, [_number(experiment, name) for experiment in experiments])
    add("seconds", [_number(experiment, "wall_seconds") for experiment in experiments])
    add(
        "converged",
        [experiment is not None and experiment.converged for experiment in experiments],
    )
    add(
        "message",
        ["" if experiment is None else experiment.message for experiment in experiments],
    )
    add("status", [state for state, _ in status])
    add("reason", [reason for _, reason in status])
    for name in ("criterion", "criterion_at_temperature"):
        add(name, [_number(summary, name) for summary in summaries])
    for end, name in enumerate(("eigenvalue_min", "eigenvalue_max")):
        spectra = [None if summary is None else summary.eigenvalues for summary in summaries]
        add(name, [math.nan if pair is None else pair[end] for pair in spectra])
    add("point", points)

    names_of_theories = list(
        dict.fromkeys(name for summary in summaries if summary for name in summary.theory)
    )
    theory_axis = {"theory": len(names_of_theories)}
    theory_rows = [
        [summary.theory.get(name) if summary else None for name in names_of_theories]
        for summary in summaries
    ]
    for name in (*ESTIMATES, "log_evidence"):
        add(
            f"theory_{name}",
            [[_number(theory, name) for theory in row] for row in theory_rows],
            theory_axis,
        )
    for name in QUANTITIES:
        errors = [
            [math.nan if theory is None else theory.mcse.get(name, 0.0) for theory in row]
            for row in theory_rows
        ]
        add(f"theory_{name}_mcse", errors, theory_axis)
    converged = [[theory is not None and theory.converged for theory in row] for row in theory_rows]
    add("theory_converged", converged, theory_axis)
    orders = [[_orders(theory) for theory in row] for row in theory_rows]
    num_orders = max((len(parameters) for row in orders for parameters in row), default=0)
    padded = [
        [[*parameters, *[math.nan] * (num_orders - len(parameters))] for parameters in row]
        for row in orders
    ]
    add("order_parameter", padded, {**theory_axis, "order": num_orders})
    for variable in representation_variables(summaries, names_of_theories):
        add(variable.name, variable.values, variable.sizes)

    return xr.Dataset(
        variables,
        coords={**grid.coordinates, "theory": np.array(names_of_theories, dtype=np.str_)},
        attrs={
            "config": definition,
            "grid_hash": grid.content_hash,
            "versions": json.dumps(provenance.versions()),
        },
    )


def save(folder: SweepFolder, results: xr.Dataset) -> None:
    """Write the results of the sweep to its results.nc."""
    content = results.to_netcdf(engine="h5netcdf")
    assert isinstance(content, memoryview)
    with content:
        write_bytes(folder.results, content)


def load(path: Path | str) -> xr.Dataset:
    """The Dataset in a `results.nc`. Raises `InputError` if it cannot be read."""
    try:
        return xr.load_dataset(path, engine="h5netcdf")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(
            f"cannot read {path} ({error}): make it again with langevin_nn.collect(FOLDER), or "
            "with the sweep's command"
        ) from error


def _summary(folder: SweepFolder, point: str) -> Summary | None:
    """The summary of a point that is done, or of the run that it goes on from; else None."""
    if folder.is_done(point):
        return folder.run(point).load_summary()
    earlier = folder.earlier(point)
    return None if earlier is None else earlier.load_summary()


def _status(folder: SweepFolder, point: str, summary: Summary | Expected | None) -> tuple[str, str]:
    """The status of a point and, where it is not done, the reason."""
    failure = None if folder.is_done(point) else folder.failure(point)
    if failure is not None:
        return "failed", failure["reason"]
    if isinstance(summary, Summary):
        return "done", ""
    if summary is not None and not folder.damage(point):
        return status_of(summary)
    return "missing", folder.damage(point)


def status_of(expected: Expected) -> tuple[str, str]:
    """The status of a point that is not sampled, and the reason where its theories failed."""
    return ("failed", expected.reason) if expected.reason else ("theory", "")


def _number(record: Summary | Expected | Experiment | TheoryRecord | None, name: str) -> float:
    """The record's number of this name; NaN where there is no record or no such number."""
    value = getattr(record, name, None)
    return math.nan if value is None else float(value)


def _has_unknown_shift(experiment: Experiment | None) -> bool:
    """Whether the step size shifts a number of the experiment by an amount that is not known."""
    return experiment is not None and any(
        math.isnan(experiment.step_size_shift(name).value) for name in QUANTITIES
    )


def _orders(theory: TheoryRecord | None) -> list[float]:
    """The order parameters that are numbers; empty for those that are matrices."""
    orders = () if theory is None else theory.order_parameters
    return [number for number in orders if isinstance(number, float)]
