"""The figures of any sweep, whatever its axes."""

import itertools
from collections.abc import Sequence

import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin_nn.plotting.grids import (
    MARK_LABELS,
    axes_of,
    check_dataset,
    plot_along,
    plot_deviation_map,
    symbol,
    theories_of,
    written,
)
from langevin_nn.plotting.style import CHAIN_COLOURS, is_first, literal, style_of
from langevin_nn.result_text import QUANTITIES

MOST_ROWS = 8
"""The largest number of rows of panels."""
MOST_CURVES = 6
"""The largest number of curves of a panel."""
MOST_THEORIES = 3
"""The largest number of theories that are drawn for each of several curves."""


def grid_figures(results: xr.Dataset, caption: str = "") -> dict[str, Figure]:
    """The figures of any sweep by file name: `lines`, and `maps` if two axes are long enough.

    `lines` is along the axis with the most values, a colour for each value of the next, a row of
    panels for each of the others. `maps` has the deviation of each theory from the experiment in
    per cent over those two axes (at the first value of the others); there is none where nothing is
    sampled.
    """
    check_dataset(results)
    axes = sorted(
        (name for name in axes_of(results) if name != "seed"), key=lambda name: -results.sizes[name]
    )
    if not axes:
        axes, results = ["seed"], results.expand_dims("seed") if "seed" not in results.dims else (
            results
        )  # fmt: skip
    figures = {"lines": _lines(results, axes, caption)}
    is_sampled = bool(results["bias2"].notnull().any())
    if is_sampled and len(axes) > 1 and results.sizes[axes[1]] > 1 and results.sizes["theory"]:
        figures["maps"] = _maps(results, axes, caption)
    return figures


def _lines(results: xr.Dataset, axes: Sequence[str], caption: str) -> Figure:
    along, *others = axes
    curve, rows = (others[0], others[1:]) if others else (None, [])
    keys = list(QUANTITIES)
    combinations = list(itertools.product(*(range(results.sizes[name]) for name in rows)))
    drawn = combinations[:MOST_ROWS]
    figure = Figure(figsize=(3.4 * len(keys), 0.8 + 2.9 * len(drawn)), layout="constrained")
    panels = figure.subplots(len(drawn), len(keys), squeeze=False)
    for row_axes, combination in zip(panels, drawn, strict=True):
        row_results = results.isel(dict(zip(rows, combination, strict=True)))
        values = [f"{symbol(name)} = {written(row_results[name].item())}" for name in rows]
        for ax, key in zip(row_axes, keys, strict=True):
            _curves(ax, row_results, key, along, curve)
            ax.set_title(literal(", ".join(values)), fontsize="small")
            shown = results[key if results[key].notnull().any() else f"theory_{key}"]
            if key != "test_accuracy" and float(shown.min()) > 0:
                ax.set_yscale("log")
    handles: dict[str, Artist] = {}
    for ax in panels.flat:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False,
        fontsize="small",
    )  # fmt: skip
    if len(combinations) > len(drawn):
        caption += f"\nthe first {len(drawn)} of {len(combinations)} rows"
    figure.suptitle(literal(caption), fontsize="small", wrap=True)
    return figure


def _curves(ax: Axes, results: xr.Dataset, key: str, along: str, curve: str | None) -> None:
    """Draw one panel: a single curve with every theory, or several curves in colours."""
    if curve is None or results.sizes[curve] == 1:
        plot_along(ax, results.isel({curve: 0}) if curve else results, key, along)
        return
    available = theories_of(results, None)
    ordered = sorted(available, key=lambda name: not is_first(name))
    theories = ordered[:MOST_THEORIES]
    for index in range(min(results.sizes[curve], MOST_CURVES)):
        curve_results = results.isel({curve: index})
        colour = CHAIN_COLOURS[index % len(CHAIN_COLOURS)]
        label = literal(f"{symbol(curve)} = {written(curve_results[curve].item())}")
        plot_along(ax, curve_results, key, along, theories=theories, colour=colour, label=label)
    if not bool(results[key].notnull().any()):
        for index in range(min(results.sizes[curve], MOST_CURVES)):
            label = f"{symbol(curve)} = {written(results[curve].values[index])}"
            colour = CHAIN_COLOURS[index % len(CHAIN_COLOURS)]
            ax.plot([], [], color=colour, label=literal(label))
    for name in theories:
        ax.plot([], [], color="0.4", linestyle=style_of(name)["linestyle"], label=literal(name))


def _maps(results: xr.Dataset, axes: Sequence[str], caption: str) -> Figure:
    x, y, *others = axes
    first_results = results.isel(dict.fromkeys(others, 0))
    theories = theories_of(results, None)
    figure = Figure(figsize=(1.2 + 2.9 * len(theories), 5.6), layout="constrained")
    panels = figure.subplots(2, len(theories), squeeze=False, sharex=True, sharey=True)
    for row, key in zip(panels, ("bias2", "variance"), strict=True):
        for ax, name in zip(row, theories, strict=True):
            mesh = plot_deviation_map(ax, first_results, name, key, x, y)
            ax.set_title(f"{QUANTITIES[key]}, {literal(name)}", fontsize="small")
            ax.label_outer()
    figure.colorbar(mesh, ax=panels, label="experiment / theory − 1  (%)")
    values = [f"{symbol(name)} = {written(first_results[name].item())}" for name in others]
    texts = "".join(text.get_text() for ax in panels.flat for text in ax.texts)
    notes = [f"\n{mark.strip()} {label}" for mark, label in MARK_LABELS.items() if mark in texts]
    title = ", ".join([caption, *values]) + "".join(notes)
    figure.suptitle(literal(title), fontsize="small", wrap=True)
    return figure
