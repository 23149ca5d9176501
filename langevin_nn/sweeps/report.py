"""What a sweep says in words: the table of its points, what failed, what has not converged."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import xarray as xr

from langevin_nn.analysis.comparison import grid_marks, grid_note
from langevin_nn.display import aligned, counted
from langevin_nn.estimates import plus_minus
from langevin_nn.result_text import QUANTITIES
from langevin_nn.sweeps.axes import place
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.sweeps.plan import Task
from langevin_nn.sweeps.status import Status
from langevin_nn.types import Estimate


def report(folder: SweepFolder, results: xr.Dataset, num_finished: int) -> str:
    """The table of all points and what is needed to judge it.

    `num_finished` of them were finished by this call.
    """
    grid = folder.grid
    flat = {str(name): values.to_numpy().reshape(len(grid.points), -1)[:, 0]
            for name, values in results.data_vars.items()
            if "theory" not in values.dims}  # fmt: skip
    marks = {name: grid_marks(results, name).to_numpy().ravel() for name in QUANTITIES}
    rows = [[*grid.keys, *QUANTITIES.values(), "s", "R̂ max", "ESS min", ""]]
    for i, values in enumerate(itertools.product(*grid.coordinates.values())):
        numbers = [
            _estimate(flat[name][i], flat[f"{name}_mcse"][i]) + str(marks[name][i])
            for name in QUANTITIES
        ]
        rows.append(
            [
                *map(str, values), *numbers, _short(flat["criterion"][i], ".4g"),
                _short(flat["rhat_max"][i], ".4f"), _short(flat["ess_min"][i], ".0f"),
                _verdict(flat, i),
            ]
        )  # fmt: skip
    lines = [aligned(rows), *grid_note(results), "", counts(results, num_finished)]
    lines += complaints(folder, results)
    return "\n".join([*lines, "", f"sweep folder: {folder.path}  (results.nc has the theories)"])


def theory_report(folder: SweepFolder, results: xr.Dataset) -> str:
    """The table of a grid that is not sampled: the generalisation error of each theory."""
    grid = folder.grid
    names = [str(name) for name in results["theory"].to_numpy()]
    errors = results["theory_generalisation_error"].to_numpy().reshape(len(grid.points), -1)
    criteria = results["criterion"].to_numpy().ravel()
    rows = [[*grid.keys, *names, "s"]]
    for values, numbers, criterion in zip(
        itertools.product(*grid.coordinates.values()), errors, criteria, strict=True
    ):
        cells = [_short(number, ".6g") for number in numbers]
        rows.append([*map(str, values), *cells, _short(criterion, ".4g")])
    lines = ["generalisation error", aligned(rows), "", counts(results)]
    lines += complaints(folder, results)
    return "\n".join([*lines, "", f"sweep folder: {folder.path}  (results.nc has all numbers)"])


def complaints(folder: SweepFolder, results: xr.Dataset) -> list[str]:
    """A line for each point that failed, is damaged or has not converged, with the reason."""
    return [
        f"{state:<13}  {location}: {reason}"
        for location, state, reason in troubles(results, places(folder))
    ]


def troubles(results: xr.Dataset, locations: Sequence[str]) -> list[tuple[str, str, str]]:
    """The place, state and reason of each point that failed, is damaged or has not converged.

    `locations` are the places of all points, in C order.
    """
    names = ("status", "reason", "message")
    status, reasons, messages = (results[name].to_numpy().ravel() for name in names)
    points = []
    for i, location in enumerate(locations):
        if reasons[i]:
            points.append((location, str(status[i]), str(reasons[i])))
        elif messages[i]:
            points.append((location, "not converged", str(messages[i])))
    return points


def damaged(folder: SweepFolder, tasks: Sequence[Task]) -> list[str]:
    """A line for each damaged point of these tasks: the reason, and what becomes of it."""
    points_of_tasks = {point for task in tasks for point in task.points}
    return [
        f"{location}: {reason}: {folder.remedy(point)}"
        for location, point in zip(places(folder), folder.points, strict=True)
        if point in points_of_tasks and (reason := folder.damage(point))
    ]


def places(folder: SweepFolder) -> list[str]:
    """The place of each point in the grid, in words."""
    axes = folder.grid.axes
    return [place(axes, values) for values in itertools.product(*(axis.values for axis in axes))]


def standing(folder: SweepFolder, status: Status, results: xr.Dataset) -> str:
    """How far a sweep is, for `sweep --status`: its points, tasks under way and complaints."""
    grid = folder.grid
    axes = ", ".join(f"{name} ({size})" for name, size in zip(grid.keys, grid.shape, strict=True))
    lines = [
        f"{folder.path}: {counted(str(status.points), 'points')} over {axes}",
        f"{status.done} done, {status.failed} failed, {status.missing} missing; "
        f"{status.fraction:.0%} of the work",
    ]
    if of_theory := int((results["status"] == "theory").sum()):
        lines.append(f"{of_theory} of the missing ones have the theories' numbers (--theory-only)")
    return "\n".join([*lines, *under_way(folder), *complaints(folder, results)])


def under_way(folder: SweepFolder) -> list[str]:
    """A line for each task that a process works on, or was interrupted in."""
    lines = []
    for task in folder.tasks:
        fractions = folder.fractions(task)
        holder = folder.holder(task)
        is_begun = any(
            fraction > 0 and not folder.is_done(point) for point, fraction in fractions.items()
        )
        if holder or is_begun:
            state = f"in {holder}" if holder else "interrupted"
            fraction = sum(fractions.values()) / len(fractions)
            lines.append(
                f"task {task.name}: {counted(len(fractions), 'points')}, {fraction:.0%}, {state}"
            )
    return lines


def counts(results: xr.Dataset, num_finished: int | None = None) -> str:
    """How many points are done (`num_finished` by this call), failed, missing, not converged."""
    states = results["status"].to_numpy().ravel().tolist()
    finished_now = "" if num_finished is None else f" ({num_finished} of them now)"
    of_theory = states.count("theory")
    phrases = [f"{states.count('done')} done{finished_now}"]
    if of_theory:
        phrases = [*phrases] * ("done" in states) + [f"{of_theory} of theory alone"]
    phrases += [
        f"{number} {state}" for state in ("failed", "missing") if (number := states.count(state))
    ]
    num_unconverged = int(((results["status"] == "done") & ~results["converged"]).sum())
    if "done" in states:
        phrases.append(
            f"{num_unconverged} not converged" if num_unconverged else "all of these converged"
        )
    return f"{counted(str(len(states)), 'points')}: {', '.join(phrases)}"


def _verdict(flat: dict[str, np.ndarray], i: int) -> str:
    if flat["status"][i] != "done":
        return str(flat["status"][i])
    return "" if flat["converged"][i] else "NOT CONVERGED"


def _estimate(value: float, mcse: float) -> str:
    return "" if math.isnan(value) else plus_minus(Estimate(float(value), float(mcse)))


def _short(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(float(value), form)
