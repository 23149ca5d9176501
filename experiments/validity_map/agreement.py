"""How far the theories are from the experiment, and which one to take where."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from experiments.common import markdown
from langevin_nn.analysis.comparison import grid_deviations
from langevin_nn.result_text import QUANTITIES
from langevin_nn.theory.guide import TOLERANCE, Off, Range

WIDTH, PRECISION = "network.hidden_widths[0]", "prior.precisions[-1]"
OF_RANGE = ("median", "worst")
SHOWN = ("bias2", "variance")
GROUPS = {"N_1 ≥ P": (1.0, np.inf), "N_1 < P": (0.0, 1.0)}
"""Groups of points of a map: from which N_1/P on, and below which one."""
RATIOS = ((0.0, 0.3), (0.3, 1.0), (1.0, 2.0), (2.0, 10.0), (10.0, np.inf))
"""Ranges of N_1/P of the guide: from the first on, below the second."""
CRITERIA = ((0.0, 1.0), (1.0, 10.0), (10.0, np.inf))
"""Ranges of s = yᵀK⁻¹y/P of the guide."""
TOLERANCES = (2, 5)
"""The per cent within which a theory is to be right at every point of a range of the guide."""
BY_COST = (
    "infinite_width", "one_layer", "scale_mixture", "matched", "mean_field", "cavity",
    "propagation", "adaptive",
)  # fmt: skip
"""The theories that the guide chooses from, the cheapest first.

Two are not among them: `width_expansion`, which `matched` contains and which costs as much, and
`one_layer_nonodd`, which is asked for relu units alone.
"""


def distances(points: xr.Dataset) -> xr.Dataset:
    """|experiment/theory − 1| of bias² and variance in per cent, where both have converged.

    It is ∞ where a theory's variance is not positive, and NaN where experiment or theory has not
    converged: nothing is compared there.
    """
    settled = points.converged.astype(bool) & points.theory_converged.astype(bool)
    relative = {
        quantity: 100 * abs(grid_deviations(points, quantity)["relative"]) for quantity in SHOWN
    }
    return xr.Dataset(
        {
            quantity: of_quantity.where(points[f"theory_{quantity}"] > 0, np.inf).where(settled)
            for quantity, of_quantity in relative.items()
        }
    )


def ratio(points: xr.Dataset) -> xr.DataArray:
    """N_1/P of each width of a map."""
    return points[WIDTH] / points.num_train


def summary(values: np.ndarray) -> tuple[int, float, float]:
    """How many deviations there are, their median and the largest one."""
    there = values[~np.isnan(values)]
    if not there.size:
        return 0, np.nan, np.nan
    return there.size, float(np.median(there)), float(there.max())


def agreement_table(points: xr.Dataset) -> str:
    """A table of each theory's deviations in per cent: the median and the worst, by group.

    Points where experiment and theory have converged count; how many these are of the points where
    the experiment has, is said.
    """
    heads = ["theory"]
    for group in ("all", *GROUPS):
        heads += [f"{group}: points", *(QUANTITIES[quantity] for quantity in SHOWN)]
    of_map, ratios = distances(points), ratio(points)
    groups = [ratios > 0, *((low <= ratios) & (ratios < high) for low, high in GROUPS.values())]
    rows = []
    for theory in points.theory.values:
        cells = [str(theory)]
        for group in groups:
            here = of_map.sel(theory=theory).where(group, drop=True)
            number = int(here.bias2.notnull().sum())
            total = int(points.converged.where(group, drop=True).sum())
            cells.append(f"{number} of {total}")
            for quantity in SHOWN:
                _, median, worst = summary(here[quantity].to_numpy())
                cells.append(f"{per_cent(median)}, {per_cent(worst)}" if number else "–")
        rows.append(cells)
    return markdown(heads, rows)


def per_cent(value: float) -> str:
    """A deviation in per cent with two digits; "negative" for that of a negative variance."""
    if np.isinf(value):
        return "negative"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def guide(maps: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """The deviations of each theory over all maps, by ranges of N_1/P and of s.

    The dimensions are `ratio` and `criterion`, with the ends of each range as `…_from` and
    `…_below`, and `theory`. Of the points in a range whose experiment has converged, `points` is
    their number, `converged` at how many of them the theory has converged, and `median` and `worst`
    are those of its larger deviation, in bias² or variance, in per cent.
    """
    theories = [name for name in BY_COST if any(name in points.theory for points in maps.values())]
    shape = len(RATIOS), len(CRITERIA), len(theories)
    numbers = np.zeros((2, *shape), int)
    deviations = np.full((2, *shape), np.nan)
    for row, of_ratio in enumerate(RATIOS):
        for column, of_criterion in enumerate(CRITERIA):
            for place, theory in enumerate(theories):
                values = np.concatenate(
                    [in_range(points, theory, of_ratio, of_criterion) for points in maps.values()]
                )
                at = (slice(None), row, column, place)
                converged, *deviations[at] = summary(values)
                numbers[at] = values.size, converged
    axes = ("ratio", "criterion", "theory")
    ranges = {"ratio": RATIOS, "criterion": CRITERIA}
    return xr.Dataset(
        dict(zip(("points", "converged"), ((axes, of_kind) for of_kind in numbers), strict=True))
        | dict(zip(("median", "worst"), ((axes, of_kind) for of_kind in deviations), strict=True)),
        coords={"theory": theories}
        | {
            f"{axis}_{end}": (axis, [pair[place] for pair in pairs])
            for axis, pairs in ranges.items()
            for place, end in enumerate(("from", "below"))
        },
    )


def in_range(
    points: xr.Dataset, theory: str, of_ratio: Sequence[float], of_criterion: Sequence[float]
) -> np.ndarray:
    """The larger deviation of a theory at each converged point of a map that is in both ranges.

    Without numbers where the theory has not been asked on this map.
    """
    if theory not in points.theory:
        return np.array([])
    ratios, criteria = xr.broadcast(ratio(points), points.criterion)
    is_in = (
        (of_ratio[0] <= ratios) & (ratios < of_ratio[1])
        & (of_criterion[0] <= criteria) & (criteria < of_criterion[1])
        & points.converged.astype(bool)
    )  # fmt: skip
    of_map = distances(points).sel(theory=theory)
    larger = np.maximum(of_map.bias2, of_map.variance).transpose(*is_in.dims)
    return larger.to_numpy()[is_in.to_numpy()]


def guide_table(of_maps: xr.Dataset) -> str:
    """The guide as a table: the cheapest theory within each tolerance, and the nearest of all."""
    heads = ["N_1/P", "s", "points", *(f"within {limit} %" for limit in TOLERANCES), "nearest"]
    rows = []
    for row in range(of_maps.sizes["ratio"]):
        for column in range(of_maps.sizes["criterion"]):
            here = of_maps.isel(ratio=row, criterion=column)
            if number := int(here.points.max()):
                cells = [range_of(here, axis) for axis in ("ratio", "criterion")] + [str(number)]
                cells += [cheapest(here, limit) for limit in TOLERANCES]
                rows.append([*cells, nearest(here)])
    return markdown(heads, rows)


def ranges(of_maps: xr.Dataset) -> tuple[Range, ...]:
    """The guide as `langevin_nn.theory.guide` has it, with deviations of two digits."""
    found = []
    for row in range(of_maps.sizes["ratio"]):
        for column in range(of_maps.sizes["criterion"]):
            here = of_maps.isel(ratio=row, criterion=column)
            ends = (
                tuple(float(here[f"{axis}_{end}"]) for end in ("from", "below"))
                for axis in ("ratio", "criterion")
            )
            off = [
                Off(str(name), *(float(f"{float(here[key][place]):.2g}") for key in OF_RANGE))
                for place, name in enumerate(here.theory.values)
                if is_everywhere(here)[place] and np.isfinite(here.worst[place])
            ]
            if off:
                nearest = min(off, key=lambda theory: theory.worst)
                cheapest = next((theory for theory in off if theory.worst <= TOLERANCE), None)
                found.append(Range(*ends, int(here.points.max()), nearest, cheapest))
    return tuple(found)


def range_of(here: xr.Dataset, axis: str) -> str:
    """A range of the guide as text."""
    low, high = (float(here[f"{axis}_{end}"]) for end in ("from", "below"))
    if np.isinf(high):
        return f"≥ {low:g}"
    return f"< {high:g}" if low == 0 else f"{low:g} to {high:g}"


def cheapest(here: xr.Dataset, limit: float) -> str:
    """The cheapest theory that is within the limit at every point of a range of the guide."""
    is_right = (here.worst <= limit) & is_everywhere(here)
    names = here.theory.values[is_right.to_numpy()]
    return f"`{names[0]}`" if names.size else "–"


def nearest(here: xr.Dataset) -> str:
    """The theory whose worst deviation is smallest in a range of the guide, and how large it is."""
    worst = here.worst.where(is_everywhere(here)).to_numpy()
    if np.all(np.isnan(worst)):
        return "–"
    best = int(np.nanargmin(worst))
    median = float(here["median"][best])
    return f"`{here.theory.values[best]}` ({per_cent(median)}, {per_cent(worst[best])})"


def is_everywhere(here: xr.Dataset) -> xr.DataArray:
    """Whether a theory has converged at every point of a range of the guide."""
    return (here.converged == here.points.max()) & (here.points > 0)
