"""The figure of the maps: a column for each theory, two rows for each task."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.validity_map.agreement import PRECISION, SHOWN, WIDTH
from langevin_nn.analysis.comparison import grid_deviations
from langevin_nn.result_text import QUANTITIES

BANDS = (1, 2, 5, 10, 20)
"""The ends of the bands of colour in per cent, on either side."""
PANEL_INCHES = 1.17


def draw_maps(maps: Sequence[xr.Dataset]) -> Figure:
    """A figure with a column for each theory, and rows of bias² and of the variance for each map.

    The colours are bands of experiment/theory − 1 in per cent. × marks points whose experiment has
    not converged, − a theory's variance below zero, ? a theory that has not converged.
    """
    theories = [
        name for name in lnn.theory.THEORIES if any(name in points.theory for points in maps)
    ]
    rows = [(points, quantity) for points in maps for quantity in SHOWN]
    size = PANEL_INCHES * len(theories) + 2.0, PANEL_INCHES * len(rows) + 0.8
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(rows), len(theories), squeeze=False)
    same_widths = all(points[WIDTH].equals(maps[0][WIDTH]) for points in maps)
    for place, (row, (points, quantity)) in enumerate(zip(panels, rows, strict=True)):
        is_last_of_map = quantity == SHOWN[-1]
        for ax, theory in zip(row, theories, strict=True):
            if theory not in points.theory:
                ax.axis("off")
                continue
            mesh = draw_panel(ax, points.sel(theory=theory), quantity)
            is_lowest = place == len(rows) - 1 or not same_widths
            ticks(ax, points, widths=is_last_of_map and is_lowest, precisions=ax is row[0])
        task = "" if is_last_of_map else points.task.replace(", ", "\n") + "\n"
        row[0].set_ylabel(f"{task}{QUANTITIES[quantity]}\nλ_1", fontsize="small")
    for ax, theory in zip(panels[0], theories, strict=True):
        ax.set_title(theory, fontsize="small")
    for ax in panels[-1]:
        ax.set_xlabel("N_1", fontsize="small")
    bar = figure.colorbar(mesh, ax=panels, extend="both", pad=0.01, aspect=40, ticks=edges())
    bar.set_label("experiment / theory − 1  (%)")
    figure.suptitle(maps[0].caption, fontsize="medium")
    return figure


def edges() -> list[int]:
    """The ends of the bands from below."""
    return [*(-band for band in reversed(BANDS)), *BANDS]


def draw_panel(ax: Axes, points: xr.Dataset, quantity: str) -> QuadMesh:
    """The map of one theory and one quantity; `points` has that theory alone."""
    relative = 100 * grid_deviations(points, quantity)["relative"].where(points.theory_converged)
    values = relative.transpose(PRECISION, WIDTH).to_numpy()
    bands = len(edges()) + 1
    ax.set_facecolor("0.75")
    mesh = ax.pcolormesh(
        np.arange(values.shape[1] + 1) - 0.5, np.arange(values.shape[0] + 1) - 0.5, values,
        cmap=matplotlib.colormaps["RdBu_r"].resampled(bands),
        norm=BoundaryNorm(edges(), bands, extend="both"),
    )  # fmt: skip
    settled = points.theory_converged.astype(bool)
    marks = (
        xr.where(settled, xr.where(points[f"theory_{quantity}"] > 0, "", "−"), "?")
        + xr.where(points.converged.astype(bool), "", "×")
    )  # fmt: skip
    for (row, column), mark in np.ndenumerate(marks.transpose(PRECISION, WIDTH).to_numpy()):
        is_dark = abs(values[row, column]) > BANDS[-2]
        ax.text(
            column, row, mark, ha="center", va="center", fontsize="x-small",
            color="white" if is_dark else "black",
        )  # fmt: skip
    return mesh


def ticks(ax: Axes, points: xr.Dataset, *, widths: bool, precisions: bool) -> None:
    """Write the values of N_1 below a panel, and those of λ_1 beside it, where this is asked."""
    for axis, is_asked, set_ticks, angle in (
        (WIDTH, widths, ax.set_xticks, 90), (PRECISION, precisions, ax.set_yticks, 0),
    ):  # fmt: skip
        labels = [f"{value:g}" for value in points[axis].to_numpy()] if is_asked else []
        set_ticks(range(len(labels)), labels, fontsize="xx-small", rotation=angle)
