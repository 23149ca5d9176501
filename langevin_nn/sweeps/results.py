"""The numbers of all points as one Dataset over the grid, from their summaries alone.

The dimensions are the axes. The experiment has `bias2`, `variance`, … with their standard errors
`…_mcse`, and its diagnostics; the theories have `theory_bias2`, … with the further dimension
`theory`, and `order_parameter` with `order` too. `criterion` is s = yᵀK⁻¹y/P and
`criterion_at_temperature` yᵀA⁻¹KA⁻¹y/tr A⁻¹K (`theory.suite.Predictions`), `eigenvalue_min` and
`eigenvalue_max` are the ends of the Gram matrix's spectrum. What is not there is NaN, or False;
`status` says whether a point is done, failed or missing, and `seconds` is a point's share of the
sampling.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from langevin_nn.analysis import comparison
from langevin_nn.errors import InputError
from langevin_nn.files import write_bytes
from langevin_nn.runs import provenance
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.values import as_path

QUANTITIES = (*comparison.QUANTITIES, "test_accuracy")
DIAGNOSTICS = ("rhat_max", "ess_min", "acceptance", "step_size")
Summary = Mapping[str, Any]


def collect(path: Path | str) -> xr.Dataset:
    """What is there of the sweep in `path`, at any time: also while it runs.

    A finished point whose files are damaged, or of other data than the others', is missing, with
    the reason. Raises `InputError` for a folder that is not a sweep's.
    """
    return collected(SweepFolder.existing(as_path("path", path)))


def collected(folder: SweepFolder) -> xr.Dataset:
    """What is there of the sweep in `folder`, as `collect` has it."""
    grid = folder.grid
    points = [point.content_hash for point in grid.points]
    summaries = [_summary(folder, point) for point in points]
    status = [_status(folder, *pair) for pair in zip(points, summaries, strict=True)]
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}

    def add(name: str, values: Sequence[Any], extra: Mapping[str, int] | None = None) -> None:
        extra = extra or {}
        shape = (*grid.shape, *extra.values())
        variables[name] = ((*grid.names, *extra), np.array(values).reshape(shape))

    for name in QUANTITIES:
        add(name, [_estimate(each, name)[0] for each in summaries])
        add(f"{name}_mcse", [_estimate(each, name)[1] for each in summaries])
    for name in DIAGNOSTICS:
        add(name, [_number(_at(each, "experiment", name)) for each in summaries])
    add("seconds", [_number(_at(each, "experiment", "wall_seconds")) for each in summaries])
    add("converged", [bool(_at(each, "experiment", "converged")) for each in summaries])
    add("message", [str(_at(each, "experiment", "message") or "") for each in summaries])
    add("status", [state for state, _ in status])
    add("reason", [reason for _, reason in status])
    for name in ("criterion", "criterion_at_temperature"):
        add(name, [_number(_at(each, name)) for each in summaries])
    for place, name in enumerate(("eigenvalue_min", "eigenvalue_max")):
        ends = [_at(each, "eigenvalues") for each in summaries]
        add(name, [math.nan if pair is None else _number(pair[place]) for pair in ends])
    add("point", points)

    theories = list(dict.fromkeys(name for each in summaries for name in each.get("theory", {})))
    of_theories = {"theory": len(theories)}
    for name in (*QUANTITIES, "log_evidence"):
        found = [[_number(_at(s, "theory", t, name)) for t in theories] for s in summaries]
        add(f"theory_{name}", found, of_theories)
    for name in comparison.QUANTITIES:
        found = [[_theory_mcse(_at(s, "theory", t), name) for t in theories] for s in summaries]
        add(f"theory_{name}_mcse", found, of_theories)
    found = [[bool(_at(s, "theory", t, "converged")) for t in theories] for s in summaries]
    add("theory_converged", found, of_theories)
    orders = [[_orders(_at(s, "theory", t)) for t in theories] for s in summaries]
    most = max((len(each) for row in orders for each in row), default=0)
    padded = [[[*each, *[math.nan] * (most - len(each))] for each in row] for row in orders]
    add("order_parameter", padded, {**of_theories, "order": most})

    return xr.Dataset(
        variables,
        coords={**grid.coordinates, "theory": np.array(theories, dtype=np.str_)},
        attrs={
            "config": folder.definition,
            "grid_hash": grid.content_hash,
            "versions": json.dumps(provenance.versions()),
        },
    )


def save(folder: SweepFolder, results: xr.Dataset) -> None:
    content = results.to_netcdf(engine="h5netcdf")
    assert isinstance(content, memoryview)
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


def _summary(folder: SweepFolder, point: str) -> Summary:
    return folder.run(point).load_summary() if folder.is_done(point) else {}


def _status(folder: SweepFolder, point: str, summary: Summary) -> tuple[str, str]:
    if summary:
        return "done", ""
    failure = folder.failure(point)
    if failure is None:
        return "missing", folder.damage(point)
    return "failed", failure["reason"]


def _at(summary: Any, *names: str) -> Any:
    """The entry below these names, None where there is none."""
    for name in names:
        summary = summary.get(name) if isinstance(summary, Mapping) else None
    return summary


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _estimate(summary: Summary, name: str) -> tuple[float, float]:
    """The experiment's number and its standard error."""
    value = _at(summary, "experiment", name)
    if isinstance(value, Mapping):
        return _number(value.get("value")), _number(value.get("mcse"))
    return _number(value), _number(_at(summary, "experiment", f"{name}_mcse"))


def _theory_mcse(theory: Any, name: str) -> float:
    """Zero where a theory does not sample."""
    return math.nan if theory is None else _number(theory.get("mcse", {}).get(name, 0.0))


def _orders(theory: Any) -> list[float]:
    """The order parameters that are numbers; not those of a matrix."""
    orders = [] if theory is None else theory["order_parameters"]
    return [] if any(isinstance(q, list) for q in orders) else [_number(q) for q in orders]
