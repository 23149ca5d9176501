"""How a grid is cut into tasks: the points of one task run side by side in one compiled program.

A task's points differ in precisions, temperature, richness and seed only, and it has as many of
them as fit into the memory and leave work for every worker. A point with a ladder, which is a batch
of its own, is a task. The plan is made once for a sweep folder, so that whoever works on it agrees
on it.
"""

import hashlib
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from langevin_nn.config.record import RunConfig, options
from langevin_nn.sweeps.grid import Grid

LARGEST_TASK = 32
"""The largest number of points: a program gains little by more, an interruption costs more."""
TASK_BYTES = 2e9
"""The memory that the points of a task may take."""
VARIED_FIELDS = {
    "seed", "theory", "prior.precisions", "prior.bias_precisions", "posterior.temperature",
    "posterior.richness",
}  # fmt: skip
"""The fields in which the points of a task may differ."""


@dataclass(frozen=True)
class Task:
    """Points of a grid, by their content hashes, that run side by side."""

    points: tuple[str, ...]

    @property
    def name(self) -> str:
        """Twelve hexadecimal digits that name the task by its points."""
        return joint_name(self.points)


def joint_name(hashes: tuple[str, ...]) -> str:
    """Twelve hexadecimal digits that name these points together."""
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:12]


def tasks(grid: Grid, points_per_task: int) -> list[Task]:
    """The grid in tasks of at most `points_per_task` points, in the order of the points.

    >>> from langevin_nn.sweeps.grid import grid
    >>> small = grid({}, {"network.hidden_widths": [[5], [6]], "posterior.temperature": [0.1, 1.0]})
    >>> [len(task.points) for task in tasks(small, 8)], len(tasks(small, 1))
    ([2, 2], 4)
    """
    return [
        Task(tuple(point.content_hash for point in part))
        for group in groups(grid)
        for part in _parts(group, 1 if group[0].sampler.ladder else points_per_task)
    ]


def points_per_task(grid: Grid, workers: int) -> int:
    """The largest number of points that fit the memory and leave no worker idle from the start."""
    fitting = min(int(TASK_BYTES / _bytes(group[0])) for group in groups(grid))
    shared_out = -(-len(grid.points) // workers) if workers > 1 else LARGEST_TASK
    return max(1, min(LARGEST_TASK, fitting, shared_out))


def fraction(config: RunConfig, steps: int) -> float:
    """The fraction of a point that is done after so many steps of each chain, from 0 to 1.

    Where the errors end the draws, 0 until it is done: how many steps there will be is not known.
    """
    if config.sampler.has_target:
        return 0.0
    return steps / config.sampler.most_steps


def groups(grid: Grid) -> list[list[RunConfig]]:
    """The points in groups that one program can run."""
    by_shape: dict[tuple[Any, ...], list[RunConfig]] = {}
    for point in grid.points:
        by_shape.setdefault(_shape(point), []).append(point)
    return list(by_shape.values())


def _shape(config: RunConfig) -> tuple[Any, ...]:
    """The values of all fields but `VARIED_FIELDS`: the same for all points of one program."""
    return tuple(attrgetter(name)(config) for name in options() if name not in VARIED_FIELDS)


def _parts(group: list[RunConfig], size: int) -> list[list[RunConfig]]:
    """The group in parts of at most `size` points, as equal as can be."""
    number = -(-len(group) // size)
    bounds = [len(group) * i // number for i in range(number + 1)]
    return [group[begin:end] for begin, end in zip(bounds, bounds[1:], strict=False)]


def _bytes(config: RunConfig) -> float:
    """The bytes of one point, about: its draws, three times, and the arrays of a step."""
    data, widths, sampler = config.data, config.network.hidden_widths, config.sampler
    num_train, num_test = data.num_train or 1000, data.num_test or 1000
    outputs = len(data.classes or ()) if isinstance(data.targets, str) else 1
    draws = sampler.most_draws * num_test * (outputs + 1)
    sizes = (num_train, *widths, outputs)
    weights = sum(before * after for before, after in zip(sizes, sizes[1:], strict=False))
    units = num_train * sum(widths)
    itemsize = 4.0 if config.precision == "float32" else 8.0
    return itemsize * sampler.num_chains * (3 * draws + 8 * weights + 8 * units)
