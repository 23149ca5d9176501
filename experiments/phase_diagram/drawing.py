"""The figure: the plane of each task, the change of the kernel, its fluctuation."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.figure import Figure

from experiments.common import Results
from experiments.phase_diagram.laws import DEPTH, FEATURE, LAZY, crossover, fluctuation, jamming

NAMES = {"mnist": "MNIST parity", "cifar10": "CIFAR-10, two groups", "digits": "digits, parity"}


def draw(results: Results) -> Figure:
    """A row for each task."""
    found = results["measured"]
    sources = found.source.values
    figure = Figure(figsize=(12, 0.4 + 3.7 * len(sources)), layout="constrained")
    panels = figure.subplots(len(sources), 3, squeeze=False)
    for (plane, change, spread), source in zip(panels, sources, strict=True):
        _plane(figure, plane, found, source)
        _change(change, found, source)
        _fluctuation(spread, found, source)
    return figure


def _plane(figure: Figure, ax: Any, found: xr.Dataset, source: str) -> None:
    widths, scales = found.width.to_numpy(), found.scale.to_numpy()
    error = 100 * found.ensemble.sel(source=source, of="value").to_numpy()  # (width, scale)
    mesh = ax.pcolormesh(_edges(widths), _edges(scales), error.T, cmap="viridis_r", shading="flat")
    figure.colorbar(mesh, ax=ax, label="error of the mean output, %")
    middles = [crossover(found, source, width) for width in widths]
    ax.errorbar(widths, [m.value for m in middles], [m.mcse for m in middles], color="black",
                fmt="o-", markersize=3, label=r"$\|\Delta\Theta\| = \|\Theta_0\|$")  # fmt: skip
    ax.plot([jamming(found, source, scale) for scale in scales], scales, color="#D55E00",
            marker="s", markersize=3, label="half of them fit")  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="h, width", ylabel="α̃ = √h α")
    _name(ax, widths)
    ax.legend(fontsize="x-small", loc="upper right")
    ax.set_title(f"{NAMES.get(source, source)}, P = {found.num_train}, {found.number} networks",
                 fontsize="small")  # fmt: skip


def _change(ax: Any, found: xr.Dataset, source: str) -> None:
    scales = found.scale.to_numpy()
    widths = found.width.to_numpy()
    for colour, width in zip(colormaps["cividis"](np.linspace(0, 0.95, len(widths))), widths,
                             strict=True):  # fmt: skip
        change = found.change.sel(source=source, width=width)
        ax.plot(scales, np.exp(np.log(change).mean("network")), "o-", color=colour, markersize=3,
                linewidth=1, label=f"h = {width}")  # fmt: skip
    middle = np.exp(np.log(found.change.sel(source=source)).mean(["network", "width"])).to_numpy()
    power = -2 * DEPTH / (DEPTH + 1)
    low, high = scales[scales <= FEATURE], scales[scales >= LAZY]
    if len(low) > 1 and len(high) > 1:
        ax.plot(low, 4 * middle[0] * (low / low[0]) ** power, color="#D55E00",
                linestyle="--", label=rf"$\tilde\alpha^{{-{2 * DEPTH}/{DEPTH + 1}}}$")  # fmt: skip
        ax.plot(high, 6 * middle[-1] * high[-1] / high, color="#D55E00", linestyle=":",
                label=r"$\tilde\alpha^{-1}$")  # fmt: skip
    ax.axhline(1, color="0.7", linewidth=0.8)
    ax.set(xscale="log", yscale="log", xlabel="α̃ = √h α")
    ax.set_ylabel(r"$\|\Delta\Theta\| / \|\Theta_0\|$")
    ax.legend(fontsize="x-small", ncols=2)


def _fluctuation(ax: Any, found: xr.Dataset, source: str) -> None:
    widths = found.width.to_numpy()
    value, error = found.fluctuation.sel(source=source).to_numpy().T
    ax.errorbar(widths, value, error, fmt="o", color="#0072B2", markersize=4, capsize=2)
    law = fluctuation(found, source)
    if law is not None:
        exponent = law.exponent
        ax.plot(widths, law(widths), color="#0072B2",
                label=rf"$h^{{{exponent.value:.3f}\pm{exponent.mcse:.3f}}}$")  # fmt: skip
        ax.legend(fontsize="small")
    ax.set(xscale="log", yscale="log", xlabel="h, width")
    ax.set_ylabel(r"$\langle\|\Theta_0-\bar\Theta_0\|^2\rangle^{1/2} / \|\bar\Theta_0\|$")
    _name(ax, widths)


def _name(ax: Any, widths: np.ndarray) -> None:
    """Every width on the axis."""
    ax.set_xticks(widths, [str(width) for width in widths])
    ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)


def _edges(values: np.ndarray) -> np.ndarray:
    """Where the cells of a logarithmic axis end."""
    logs = np.log(values)
    inner = (logs[1:] + logs[:-1]) / 2
    return np.exp(np.concatenate([[2 * logs[0] - inner[0]], inner, [2 * logs[-1] - inner[-1]]]))
