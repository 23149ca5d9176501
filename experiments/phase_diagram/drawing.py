"""The figure of the plane of each task, the change of the kernel, and its fluctuation."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.figure import Figure

from experiments.common import Results
from experiments.phase_diagram.laws import (
    DEPTH,
    FEATURE_SCALE,
    LAZY_SCALE,
    crossover,
    fluctuation,
    jamming,
)

NAMES = {"mnist": "MNIST parity", "cifar10": "CIFAR-10, two groups", "digits": "digits, parity"}


def draw(results: Results) -> Figure:
    """A figure with a row for each task."""
    numbers = results["measured"]
    sources = numbers.source.values
    figure = Figure(figsize=(12, 0.4 + 3.7 * len(sources)), layout="constrained")
    panels = figure.subplots(len(sources), 3, squeeze=False)
    for (plane, change, spread), source in zip(panels, sources, strict=True):
        _plane(figure, plane, numbers, source)
        _change(change, numbers, source)
        _fluctuation(spread, numbers, source)
    return figure


def _plane(figure: Figure, ax: Any, numbers: xr.Dataset, source: str) -> None:
    widths, scales = numbers.width.to_numpy(), numbers.scale.to_numpy()
    error = 100 * numbers.ensemble.sel(source=source, of="value").to_numpy()  # (width, scale)
    mesh = ax.pcolormesh(_edges(widths), _edges(scales), error.T, cmap="viridis_r", shading="flat")
    figure.colorbar(mesh, ax=ax, label="error of the mean output, %")
    middles = [crossover(numbers, source, width) for width in widths]
    ax.errorbar(widths, [middle.value for middle in middles],
                [middle.mcse for middle in middles], color="black", fmt="o-", markersize=3,
                label=r"$\|\Delta\Theta\| = \|\Theta_0\|$")  # fmt: skip
    ax.plot([jamming(numbers, source, scale) for scale in scales], scales, color="#D55E00",
            marker="s", markersize=3, label="half of them fit")  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="h, width", ylabel="α̃ = √h α")
    _write_widths(ax, widths)
    ax.legend(fontsize="x-small", loc="upper right")
    ax.set_title(f"{NAMES.get(source, source)}, P = {numbers.num_train}, {numbers.number} networks",
                 fontsize="small")  # fmt: skip


def _change(ax: Any, numbers: xr.Dataset, source: str) -> None:
    scales = numbers.scale.to_numpy()
    widths = numbers.width.to_numpy()
    for colour, width in zip(colormaps["cividis"](np.linspace(0, 0.95, len(widths))), widths,
                             strict=True):  # fmt: skip
        change = numbers.change.sel(source=source, width=width)
        ax.plot(scales, np.exp(np.log(change).mean("network")), "o-", color=colour, markersize=3,
                linewidth=1, label=f"h = {width}")  # fmt: skip
    middle = np.exp(np.log(numbers.change.sel(source=source)).mean(["network", "width"])).to_numpy()
    power = -2 * DEPTH / (DEPTH + 1)
    low, high = scales[scales <= FEATURE_SCALE], scales[scales >= LAZY_SCALE]
    if len(low) > 1 and len(high) > 1:
        ax.plot(low, 4 * middle[0] * (low / low[0]) ** power, color="#D55E00",
                linestyle="--", label=rf"$\tilde\alpha^{{-{2 * DEPTH}/{DEPTH + 1}}}$")  # fmt: skip
        ax.plot(high, 6 * middle[-1] * high[-1] / high, color="#D55E00", linestyle=":",
                label=r"$\tilde\alpha^{-1}$")  # fmt: skip
    ax.axhline(1, color="0.7", linewidth=0.8)
    ax.set(xscale="log", yscale="log", xlabel="α̃ = √h α")
    ax.set_ylabel(r"$\|\Delta\Theta\| / \|\Theta_0\|$")
    ax.legend(fontsize="x-small", ncols=2)


def _fluctuation(ax: Any, numbers: xr.Dataset, source: str) -> None:
    widths = numbers.width.to_numpy()
    value, error = numbers.fluctuation.sel(source=source).to_numpy().T
    ax.errorbar(widths, value, error, fmt="o", color="#0072B2", markersize=4, capsize=2)
    law = fluctuation(numbers, source)
    if law is not None:
        exponent = law.exponent
        ax.plot(widths, law(widths), color="#0072B2",
                label=rf"$h^{{{exponent.value:.3f}\pm{exponent.mcse:.3f}}}$")  # fmt: skip
        ax.legend(fontsize="small")
    ax.set(xscale="log", yscale="log", xlabel="h, width")
    ax.set_ylabel(r"$\langle\|\Theta_0-\bar\Theta_0\|^2\rangle^{1/2} / \|\bar\Theta_0\|$")
    _write_widths(ax, widths)


def _write_widths(ax: Any, widths: np.ndarray) -> None:
    """Write every width on the axis."""
    ax.set_xticks(widths, [str(width) for width in widths])
    ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)


def _edges(values: np.ndarray) -> np.ndarray:
    """The edges of the cells around `values` on a logarithmic axis."""
    logs = np.log(values)
    inner = (logs[1:] + logs[:-1]) / 2
    return np.exp(np.concatenate([[2 * logs[0] - inner[0]], inner, [2 * logs[-1] - inner[-1]]]))
