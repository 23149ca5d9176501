"""Grids of runs: axes over fields of the configuration, and a point for each combination.

An axis is a field, `posterior.temperature`, or one entry of a list, `prior.precisions[-1]`, with
its values. The points are in C order, the last axis fastest; `seeds = n` is a last axis `seed`.

This module imports no JAX, so that the command line answers at once.
"""

import copy
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from langevin_nn import config as configuration
from langevin_nn.config.record import RunConfig
from langevin_nn.errors import InputError
from langevin_nn.sweeps.axes import Axis, as_toml, axis_of, kind_of, label, normal, place
from langevin_nn.values import nearest, shown

LARGEST_GRID = 100_000
"""The largest number of points: a grid with more is a slip of the pen."""
SWEEP_KEYS = ("over", "seeds", "executor", "workers", "slurm")
"""The keys of the table [sweep]."""


@dataclass(frozen=True)
class Grid:
    """A grid of runs; made by `grid`.

    `points` are in C order over `axes`; `toml` is the grid as a configuration with a [sweep] table,
    which makes it again.
    """

    axes: tuple[Axis, ...]
    points: tuple[RunConfig, ...]
    toml: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of values on each axis."""
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the axes as dimensions of the results."""
        return tuple(axis.dimension for axis in self.axes)

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the axes as they are written in a configuration."""
        return tuple(axis.name for axis in self.axes)

    @property
    def coordinates(self) -> dict[str, list[Any]]:
        """The values along each axis, all numbers or all words; lists as their text."""
        return {
            axis.dimension: _of_one_type([label(value) for value in axis.values])
            for axis in self.axes
        }

    def place(self, index: int) -> str:
        """Where a point lies, in words: `prior.precisions[-1] = 0.1, seed = 0`."""
        values = next(itertools.islice(self._combinations(), index, None))
        return place(self.axes, values)

    def _combinations(self) -> "itertools.product[tuple[Any, ...]]":
        return itertools.product(*(axis.values for axis in self.axes))

    @property
    def content_hash(self) -> str:
        """Twelve hexadecimal digits that name the grid, whatever it was written as."""
        hashes = [point.content_hash for point in self.points]
        content = json.dumps([self.coordinates, hashes])
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def grid(
    values: Mapping[str, Any],
    over: Mapping[str, Any] | None = None,
    seeds: int | None = None,
    *,
    folder: Path | None = None,
) -> Grid:
    """The grid of a configuration's values (nested as in the TOML) with its [sweep] table.

    `over` has the values by field, `seeds` the number of seeds from the configuration's own on;
    they come in place of the table's axes of the same name, or beside them. A relative
    `data.path` among the values, and the modules of import paths, are looked for in `folder` first.

    Raises `InputError` for a field that does not exist, an index out of range, an axis without
    values, values that the field does not take, points that are the same, and no axis at all.

    >>> small = grid({"seed": 3}, {"prior.precisions[-1]": [0.1, 1]}, seeds=2)
    >>> small.shape, [point.seed for point in small.points]
    ((2, 2), [3, 4, 3, 4])
    >>> small.place(3)
    'prior.precisions[-1] = 1.0, seed = 4'
    """
    base = copy.deepcopy(dict(values))
    table = _checked_table(base.pop("sweep", {}))
    values_by_axis = _axes_of(base, table.get("over", {}), table.get("seeds"))
    values_by_axis |= _axes_of(base, {} if over is None else over, seeds)
    if not values_by_axis:
        raise InputError(
            "a sweep without an axis is one run: write --over FIELD=VALUES (in Python "
            'over={"FIELD": [VALUES]}), --seeds N (seeds=N), or a [sweep] table'
        )
    axes = [axis_of(name, listed, folder) for name, listed in values_by_axis.items()]
    size = 1
    for axis in axes:
        size *= len(axis.values)
    if size > LARGEST_GRID:
        raise InputError(f"a grid of {size} points is too large: write {LARGEST_GRID} at most")
    combinations = list(itertools.product(*(axis.values for axis in axes)))
    points = [_point(base, axes, combination, folder) for combination in combinations]
    _check_different(axes, combinations, points)
    kept_axes = tuple(_as_kept(axes, i, points) for i in range(len(axes)))
    over_table = {axis.name: [as_toml(value) for value in axis.values] for axis in kept_axes}
    return Grid(kept_axes, tuple(points), tomli_w.dumps(base | {"sweep": {"over": over_table}}))


def load(
    path: Path,
    overrides: Mapping[str, Sequence[str] | None] | None = None,
    over: Mapping[str, Any] | None = None,
    seeds: int | None = None,
) -> Grid:
    """The grid of a TOML file; arguments and errors as for `grid` and `config.load`."""
    return grid(configuration.read(path, overrides), over, seeds, folder=path.parent)


def execution(path: Path) -> dict[str, Any]:
    """`executor`, `workers` and `slurm` of the table [sweep] in a TOML file."""
    return execution_table(configuration.read(path))


def execution_table(values: Mapping[str, Any]) -> dict[str, Any]:
    """`executor`, `workers` and `slurm` of the table [sweep] in a configuration's values."""
    table = _checked_table(values.get("sweep", {}))
    return {name: table[name] for name in ("executor", "workers", "slurm") if name in table}


def differences(theirs: Grid, mine: Grid) -> str:
    """In what two grids differ, in a few words."""

    def listed(coordinates: dict[str, Any], name: str) -> str:
        return str(coordinates[name]) if name in coordinates else "no axis"

    their_coordinates, my_coordinates = (
        dict(zip(compared.keys, compared.coordinates.values(), strict=True))
        for compared in (theirs, mine)
    )
    names = [
        name
        for name in {**their_coordinates, **my_coordinates}
        if their_coordinates.get(name) != my_coordinates.get(name)
    ]
    if names:
        return ", ".join(
            f"{name}: {listed(their_coordinates, name)} there, {listed(my_coordinates, name)} here"
            for name in names
        )
    return "the same axes in another order, or another configuration under them"


def _of_one_type(labels: list[Any]) -> list[Any]:
    """The labels of an axis, all as words where one is a word, as in `"auto", 0.1`."""
    return (
        [str(label) for label in labels]
        if any(isinstance(label, str) for label in labels)
        else labels
    )


def _checked_table(table: Any) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        raise InputError(f"sweep is a table: write [sweep] and its fields, got {table!r}")
    for name in table:
        if name not in SWEEP_KEYS:
            hint = nearest(name, SWEEP_KEYS) or f"; the keys are {', '.join(SWEEP_KEYS)}"
            raise InputError(f'unknown key "sweep.{name}"{hint}')
    for name in ("over", "slurm"):
        if not isinstance(table.get(name, {}), Mapping):
            raise InputError(f"sweep.{name} is a table: write [sweep.{name}], got {table[name]!r}")
    if not isinstance(table.get("executor", ""), str):
        raise InputError(
            f'sweep.executor is a word: write executor = "local", got {table["executor"]!r}'
        )
    workers = table.get("workers", 1)
    if isinstance(workers, bool) or not isinstance(workers, int):
        raise InputError(f"sweep.workers must be a whole number from 1, got {workers!r}")
    return dict(table)


def _axes_of(base: Mapping[str, Any], over: Mapping[str, Any], seeds: Any) -> dict[str, Any]:
    """The values of each axis by its name, from one table `over` and one number of seeds."""
    values_by_axis: dict[str, Any] = {}
    if not isinstance(over, Mapping):
        raise InputError(
            f"over has the values of each axis by its field, got {shown(over)}: write "
            '{"posterior.temperature": [0.1, 1.0]}'
        )
    for name, listed in over.items():
        if normal(name) in values_by_axis:
            raise InputError(f"the axis {normal(name)} is given twice: write all its values in one")
        values_by_axis[normal(name)] = listed
    if seeds is not None:
        if "seed" in values_by_axis:
            raise InputError(
                "the axis seed is given twice, by its values and by seeds: write one of the two"
            )
        values_by_axis["seed"] = _seeds(base, seeds)
    return values_by_axis


def _seeds(base: Mapping[str, Any], number: Any) -> list[int]:
    """The given number of seeds, from the configuration's own on."""
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= LARGEST_GRID:
        raise InputError(
            f"seeds must be a whole number from 1 to {LARGEST_GRID}, got {number!r}: "
            "it is the number of seeds"
        )
    first = kind_of("seed").check("seed", base.get("seed", configuration.options()["seed"].default))
    return list(range(first, first + number))


def _point(
    base: Mapping[str, Any], axes: Sequence[Axis], values: Sequence[Any], folder: Path | None
) -> RunConfig:
    """The configuration at a point; entries of lists are put in after the lists."""
    nested = copy.deepcopy(dict(base))
    pairs = sorted(zip(axes, values, strict=True), key=lambda pair: pair[0].index is not None)
    try:
        for axis, value in pairs:
            section = nested.get(axis.field.split(".")[0], {})
            if "." not in axis.field or isinstance(section, dict):  # else from_dict complains
                axis.put(nested, as_toml(value))
        return configuration.from_dict(nested, folder)
    except InputError as error:
        raise InputError(f"at the point {place(axes, values)}: {error}") from error


def _check_different(
    axes: Sequence[Axis], combinations: Sequence[tuple[Any, ...]], points: Sequence[RunConfig]
) -> None:
    """Raise `InputError` where two points are the same run."""
    first_index: dict[str, int] = {}
    for i, point in enumerate(points):
        first = first_index.setdefault(point.content_hash, i)
        if first != i:
            places = " and ".join(f"({place(axes, combinations[j])})" for j in (first, i))
            raise InputError(f"the points {places} are the same run: write each value once")


def _as_kept(axes: Sequence[Axis], index: int, points: Sequence[RunConfig]) -> Axis:
    """The axis with its values in the type that the field keeps."""
    axis = axes[index]
    stride = 1
    for faster_axis in axes[index + 1 :]:
        stride *= len(faster_axis.values)
    values = (axis.of(points[i * stride]) for i in range(len(axis.values)))
    return Axis(axis.field, axis.index, tuple(values))
