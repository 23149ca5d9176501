"""Figures of a sweep, from its Dataset: lines along an axis of the grid, maps over two.

Points of the experiment have error bars of one standard error, and are hollow where they have not
converged; † and ‡ mark points that the step size shifts by more than their error, or by an amount
that is not known. Over seeds, experiment and theories are averaged, with the standard error of that
average of independent runs (the seeds are the same on both sides, so their own scatter does not
count).
"""

import contextlib
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from langevin_nn.analysis.comparison import grid_deviations, grid_marks, shift_names
from langevin_nn.errors import InputError
from langevin_nn.plotting.style import EXPERIMENT_COLOUR, literal, style_of
from langevin_nn.result_text import MARK, QUANTITIES, UNKNOWN_MARK
from langevin_nn.values import require_kind

MOST_TICKS = 8
"""The largest number of values of an axis that are all written beside it."""
MOST_NUMBERS = 300
"""The largest number of cells of a map that has a number in each cell."""
MOST_LABELS = 25
"""The largest number of values of an axis that are written beside a map."""
MARK_LABELS = {
    MARK: "shifted by the step size by more than 1 s.e.",
    UNKNOWN_MARK: "shifted by the step size, not known how far",
}
"""The meaning of the marks of points in the legend of a figure."""
SYMBOLS = {
    "network.hidden_widths": "N",
    "prior.precisions": "λ",
    "posterior.temperature": "T",
    "posterior.richness": "γ",
    "data.num_train": "P",
    "network.activation": "σ",
    "data.source": "data",
    "theories": "theory",
}
"""The symbols of a configuration's fields."""
FIRST_LAYER = {"network.hidden_widths": 1, "prior.precisions": 0}
"""The layer that the first entry of a list belongs to."""


def plot_along(
    ax: Axes,
    results: xr.Dataset,
    quantity: str,
    along: str,
    *,
    theories: Sequence[str] | None = None,
    colour: str | None = None,
    label: str | None = None,
) -> Axes:
    """Draw one quantity along one axis of a grid: the experiment as points, theories as lines.

    Args:
        results: a sweep's Dataset in which `along`, and possibly `seed`, are the only axes left:
            choose with `.sel` or `.isel` from the others.
        quantity: "bias2", "variance", "generalisation_error", "train_error", "test_accuracy".
        along: the axis's name.
        theories: the names of the theories; all of the Dataset if left out.
        colour: that of points and lines; if left out points are black, and each theory has its own.
        label: that of the points; "experiment (± 1 s.e.)" if left out, none if empty.

    Raises:
        InputError: an axis, a quantity or a theory that is not there; further axes.
    """
    check_axes(results, (along,))
    names = theories_of(results, theories)
    averaged = over_seeds(results, quantity, along)
    places, ticks = places_of(averaged[along])
    for name in names:
        style = style_of(name)
        ax.plot(
            places, averaged[f"theory_{quantity}"].sel(theory=name), color=colour or style["color"],
            linestyle=style["linestyle"], linewidth=1.4,
            label=literal(name) if colour is None else None,
        )  # fmt: skip
    settings: dict[str, Any] = {"color": colour or EXPERIMENT_COLOUR, "fmt": "o", "capsize": 2}
    settled = averaged["converged"].to_numpy()
    label = "experiment (± 1 s.e.)" if label is None else label
    for selected, fill in ((settled, "full"), (~settled, "none")):
        values, errors = (
            np.where(selected, averaged[name], np.nan) for name in (quantity, f"{quantity}_mcse")
        )
        if np.any(np.isfinite(values)):
            ax.errorbar(
                places,
                values,
                errors,
                label=label,
                fillstyle=fill,
                markersize=4,
                zorder=3,
                **settings,
            )
            label = None
    _mark_points(ax, places, averaged, quantity, in_legend=label != "")
    if ticks is None:
        if np.all(places > 0) and places.max() >= 5 * places.min():
            ax.set_xscale("log")
            if len(places) <= MOST_TICKS:
                ax.set_xticks(places, [f"{place:g}" for place in places])
                ax.minorticks_off()
    else:
        ax.set_xticks(places, ticks, fontsize="small")
    ax.set_xlabel(symbol(along))
    ax.set_ylabel(QUANTITIES.get(quantity, quantity.replace("_", " ")))
    return ax


def _mark_points(
    ax: Axes, places: np.ndarray, averaged: xr.Dataset, quantity: str, *, in_legend: bool
) -> None:
    """Write the marks of points beside them, and once what each means for the legend."""
    marks = grid_marks(averaged, quantity).to_numpy()
    for place, value, mark in zip(places, averaged[quantity].to_numpy(), marks, strict=True):
        if mark:
            ax.annotate(
                mark.strip(), (place, value), (3, 2), textcoords="offset points", fontsize="small"
            )
    labels = ax.get_legend_handles_labels()[1]
    for mark, label in MARK_LABELS.items():
        if in_legend and mark in marks and label not in labels:
            ax.plot([], [], "k", linestyle="none", marker=f"${mark.strip()}$", label=label)


def plot_deviation_map(
    ax: Axes,
    results: xr.Dataset,
    theory: str,
    quantity: str,
    x: str,
    y: str,
    *,
    unit: str = "per cent",
    limit: float | None = None,
) -> QuadMesh:
    """Draw the experiment's deviations from a theory over two axes; the mesh is for a colour bar.

    On maps of up to 300 cells each cell has its number: experiment/theory − 1 in per cent (unit
    "per cent"), or (experiment − theory)/(standard error of both) (unit "sigmas"). In per cent,
    cells whose deviation is not resolved, below two standard errors, are in brackets; the colours
    end at ±`limit`. Points that have not converged are marked ×, those that the step size shifts †
    or ‡. Cells without a deviation are grey, with "< 0" for a theory that is negative, – for a
    number that does not exist.

    Raises:
        InputError: as `plot_along`, and for another unit.
    """
    if unit not in ("per cent", "sigmas"):
        raise InputError(f'unit is "per cent" or "sigmas", got {unit!r}')
    check_axes(results, (x, y))
    (name,) = theories_of(results, [theory])
    averaged = over_seeds(results, quantity)
    deviations = grid_deviations(averaged, quantity).sel(theory=name)
    expected = averaged[f"theory_{quantity}"].sel(theory=name).transpose(y, x).to_numpy()
    z = deviations["z"].transpose(y, x).to_numpy()
    relative = 100 * deviations["relative"].transpose(y, x).to_numpy()
    values = relative if unit == "per cent" else z
    limit = limit or (20.0 if unit == "per cent" else 10.0)
    converged = averaged["converged"].transpose(y, x).to_numpy()
    marks = grid_marks(averaged, quantity).transpose(y, x).to_numpy()
    ax.set_facecolor("0.75")
    mesh = ax.pcolormesh(
        np.arange(values.shape[1] + 1) - 0.5, np.arange(values.shape[0] + 1) - 0.5, values,
        cmap="RdBu_r", vmin=-limit, vmax=limit,
    )  # fmt: skip
    if values.size > MOST_NUMBERS:
        rows, columns = np.nonzero(~converged)
        ax.scatter(columns, rows, s=4, c="black", marker="x", linewidths=0.5)
    else:
        for (row, column), value in np.ndenumerate(values):
            text = _short(value)
            if math.isnan(value):
                text = "< 0" if expected[row, column] < 0 else "–"
            if unit == "per cent" and abs(z[row, column]) < 2:
                text = f"({text})"
            text += str(marks[row, column])
            if not converged[row, column]:
                text += "\n×"
            dark = abs(value) > 0.6 * limit
            ax.text(
                column, row, text, ha="center", va="center", fontsize="x-small",
                color="white" if dark else "black",
            )  # fmt: skip
    for name, set_ticks, set_label in (
        (x, ax.set_xticks, ax.set_xlabel),
        (y, ax.set_yticks, ax.set_ylabel),
    ):
        labels = [literal(written(value)) for value in results[name].to_numpy()]
        step = -(-len(labels) // MOST_LABELS)
        set_ticks(range(0, len(labels), step), labels[::step], fontsize="small")
        set_label(symbol(name))
    return mesh


def over_seeds(results: xr.Dataset, quantity: str, along: str | None = None) -> xr.Dataset:
    """The quantity of experiment and theories averaged over `seed`, if that is an axis.

    It is not averaged where `seed` is the axis `along` which it is drawn. With n seeds that are
    done, the standard error is √(Σ mcse²)/n. The shift by the step size is averaged likewise, not
    known where one of them is not. `converged` is whether all of these have converged. Where
    nothing is sampled, the theories alone are averaged, over the seeds that they were asked at.
    """
    check_dataset(results)
    names = [quantity, f"{quantity}_mcse", f"theory_{quantity}"]
    missing = [name for name in names if name not in results]
    if missing:
        raise InputError(
            f"the Dataset has no {missing[0]!r}: write one of {', '.join(QUANTITIES)}, of the "
            "Dataset that lnn.sweep or lnn.collect returns"
        )
    error = f"theory_{quantity}_mcse"
    shifts = shift_names(results, quantity)
    quantities = results[[*names, *shifts]].assign(converged=results["converged"])
    quantities[error] = results[error] if error in results else xr.zeros_like(quantities[names[2]])
    if "seed" not in results[quantity].dims or along == "seed":
        return quantities
    done = results[quantity].notnull()
    if not bool(done.any()):  # of theory alone
        done = results["status"] == "theory"
    num_done = done.sum("seed")
    averaged = quantities[[names[0], names[2]]].where(done).mean("seed")
    squares = (quantities[[names[1], error]].where(done) ** 2).sum("seed")
    averaged = averaged.assign(squares**0.5 / num_done)
    averaged["converged"] = (quantities["converged"] | ~done).all("seed")
    if shifts:
        shift, shift_error = shifts
        averaged[shift] = quantities[shift].where(done, 0.0).sum("seed", skipna=False) / num_done
        shift_squares = (quantities[shift_error].where(done, 0.0) ** 2).sum("seed", skipna=False)
        averaged[shift_error] = shift_squares**0.5 / num_done
    return averaged


def check_axes(results: xr.Dataset, wanted: Sequence[str]) -> None:
    """Raise `InputError` unless these, and possibly `seed`, are the grid's axes."""
    check_dataset(results)
    axes = axes_of(results)
    for name in wanted:
        if name not in axes:
            raise InputError(f"the sweep has no axis {name!r}: its axes are {', '.join(axes)}")
    if further := [name for name in axes if name not in (*wanted, "seed")]:
        raise InputError(
            f"the sweep has the further axes {', '.join(further)}: choose a value of each, for "
            f'example results.isel({{"{further[0]}": 0}})'
        )


def check_dataset(results: Any) -> None:
    """Raise `InputError` unless this is the Dataset of a sweep."""
    require_kind("results", results, xr.Dataset, "lnn.collect(FOLDER)")
    if "theory" not in results.coords:
        raise InputError(
            "results is no sweep's Dataset, it has no coordinate theory: write lnn.collect(FOLDER)"
        )


def places_of(coordinate: xr.DataArray) -> tuple[np.ndarray, list[str] | None]:
    """The places of a coordinate's values on an axis, and labels for values that are no numbers.

    Lists of one number, or of equal ones, such as "[100]" and "[100, 100]", lie at that number.
    """
    values = [number_of(value) for value in coordinate.to_numpy()]
    if all(map(_is_number, values)) and len(set(values)) == len(values):
        return np.array(values, dtype=float), None
    return np.arange(len(values), dtype=float), [
        literal(str(value)) for value in coordinate.to_numpy()
    ]


def symbol(axis: str) -> str:
    """The symbol of a sweep's axis, or its name where it has none.

    >>> symbol("network.hidden_widths[0]"), symbol("prior.precisions[-1]")
    ('N_1', 'λ_L')
    >>> symbol("prior.precisions[2]"), symbol("sampler.thinning")
    ('λ_2', 'sampler.thinning')
    """
    field, _, index = axis.rstrip("]").partition("[")
    if not index:
        return SYMBOLS.get(field, axis)
    if field not in FIRST_LAYER or int(index) < -1:
        return axis
    layer = "L" if int(index) == -1 else int(index) + FIRST_LAYER[field]
    return f"{SYMBOLS[field]}_{layer}"


def axes_of(results: xr.Dataset) -> list[str]:
    """The names of the axes of a sweep's grid."""
    return [str(name) for name in results["status"].dims]


def theories_of(results: xr.Dataset, names: Sequence[str] | None) -> list[str]:
    """The `names` of theories as a list, all of the sweep's for None; `InputError` for others."""
    available = [str(name) for name in results["theory"].to_numpy()]
    names = [names] if isinstance(names, str) else names
    for name in names or ():
        if name not in available:
            raise InputError(f"the sweep has no theory {name!r}: it has {', '.join(available)}")
    return available if names is None else list(names)


def number_of(value: Any) -> Any:
    """A coordinate's value as a number if it is one or a list of equal numbers, else as it is."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and value.startswith("["):
        with contextlib.suppress(ValueError):  # a name that begins so
            entries = json.loads(value)
            if entries and all(entry == entries[0] for entry in entries):
                return entries[0] if _is_number(entries[0]) else value
    return value


def written(value: Any) -> str:
    """A coordinate's value as the text of a label, numbers to four digits.

    >>> written(0.0166810053), written(30.0), written("[100, 100]"), written("erf")
    ('0.01668', '30', '100', 'erf')
    """
    number = number_of(value)
    return f"{number:.4g}" if isinstance(number, float) else str(number)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:+.0e}" if abs(value) >= 1e5 else f"{value:+,.0f}"
    return f"{value:+.1f}"
