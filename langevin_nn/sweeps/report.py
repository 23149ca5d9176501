"""What a sweep says in words: the table of its points, what failed, what has not converged."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import xarray as xr

from langevin_nn.analysis.comparison import QUANTITIES, aligned, plus_minus
from langevin_nn.sweeps.axes import place
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.sweeps.plan import Task
from langevin_nn.sweeps.status import Status
from langevin_nn.types import Estimate


def report(folder: SweepFolder, results: xr.Dataset, here: int) -> str:
    """The table of all points and what is needed to judge it; `here` were finished by this call."""
    grid = folder.grid
    flat = {str(name): values.to_numpy().reshape(len(grid.points), -1)[:, 0]
            for name, values in results.data_vars.items()
            if "theory" not in values.dims}  # fmt: skip
    rows = [[*grid.keys, *QUANTITIES.values(), "s", "R̂ max", "ESS min", ""]]
    for i, values in enumerate(itertools.product(*grid.coordinates.values())):
        numbers = [_estimate(flat[name][i], flat[f"{name}_mcse"][i]) for name in QUANTITIES]
        rows.append(
            [
                *map(str, values), *numbers, _short(flat["criterion"][i], ".4g"),
                _short(flat["rhat_max"][i], ".4f"), _short(flat["ess_min"][i], ".0f"),
                _verdict(flat, i),
            ]
        )  # fmt: skip
    lines = [aligned(rows), "", counts(results, here)]
    lines += complaints(folder, results)
    return "\n".join([*lines, "", f"sweep folder: {folder.path}  (results.nc has the theories)"])


def complaints(folder: SweepFolder, results: xr.Dataset) -> list[str]:
    """A line for each point that failed, is damaged or has not converged, with the reason."""
    return [f"{state:<13}  {where}: {why}" for where, state, why in troubles(folder, results)]


def troubles(folder: SweepFolder, results: xr.Dataset) -> list[tuple[str, str, str]]:
    """Each point that failed, is missing since it is damaged, or has not converged: its place,
    which of these, the reason."""
    names = ("status", "reason", "message")
    status, reasons, messages = (results[name].to_numpy().ravel() for name in names)
    found = []
    for i, where in enumerate(places(folder)):
        if reasons[i]:
            found.append((where, str(status[i]), str(reasons[i])))
        elif messages[i]:
            found.append((where, "not converged", str(messages[i])))
    return found


def damaged(folder: SweepFolder, tasks: Sequence[Task]) -> list[str]:
    """A line for each finished point of these tasks that is sampled again, with the reason."""
    mine = {point for task in tasks for point in task.points}
    pairs = zip(places(folder), folder.points, strict=True)
    found = [(where, folder.damage(point)) for where, point in pairs if point in mine]
    return [f"{where}: {why}: it is sampled again" for where, why in found if why]


def places(folder: SweepFolder) -> list[str]:
    """Where each point lies, in words."""
    axes = folder.grid.axes
    return [place(axes, values) for values in itertools.product(*(axis.values for axis in axes))]


def standing(folder: SweepFolder, status: Status, results: xr.Dataset) -> str:
    """Where a sweep stands, for `sweep --status`."""
    grid = folder.grid
    axes = ", ".join(f"{name} ({size})" for name, size in zip(grid.keys, grid.shape, strict=True))
    lines = [
        f"{folder.path}: {status.points} points over {axes}",
        f"{status.done} done, {status.failed} failed, {status.missing} missing; "
        f"{status.fraction:.0%} of the work",
    ]
    return "\n".join([*lines, *under_way(folder), *complaints(folder, results)])


def under_way(folder: SweepFolder) -> list[str]:
    """A line for each task that a process works on, or was interrupted in."""
    lines = []
    for task in folder.tasks:
        parts = folder.fractions(task)
        holder = folder.holder(task)
        began = any(part > 0 and not folder.is_done(p) for p, part in parts.items())
        if holder or began:
            state = f"in {holder}" if holder else "interrupted"
            part = sum(parts.values()) / len(parts)
            lines.append(f"task {task.name}: {len(parts)} points, {part:.0%}, {state}")
    return lines


def counts(results: xr.Dataset, here: int | None = None) -> str:
    """How many points are done (`here`: by this call), failed, missing, not converged."""
    states = results["status"].to_numpy().ravel().tolist()
    now = "" if here is None else f" ({here} of them now)"
    words = [f"{states.count('done')} done{now}"]
    words += [f"{n} {state}" for state in ("failed", "missing") if (n := states.count(state))]
    restless = int(((results["status"] == "done") & ~results["converged"]).sum())
    if "done" in states:
        words.append(f"{restless} not converged" if restless else "all of these converged")
    return f"{len(states)} points: {', '.join(words)}"


def _verdict(flat: dict[str, np.ndarray], i: int) -> str:
    if flat["status"][i] != "done":
        return str(flat["status"][i])
    return "" if flat["converged"][i] else "NOT CONVERGED"


def _estimate(value: float, mcse: float) -> str:
    return "" if math.isnan(value) else plus_minus(Estimate(float(value), float(mcse)))


def _short(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(float(value), form)
