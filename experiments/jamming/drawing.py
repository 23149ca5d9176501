"""The figure of jamming: the line, N_Δ against loss and P/N, Hessians in three states."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.common import Results

NAMES = {"random": "random labels", "mnist": "MNIST parity"}
COLOURS = {"random": "#0072B2", "mnist": "#D55E00"}
MARKERS = {"random": "o", "mnist": "s"}
PARTS = (("$H$", "black", "-"), ("$H_0$", "#009E73", "--"), ("$H_p$", "#CC79A7", "-"))


def draw_with_lines(results: Results, lines: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(11, 6.8), layout="constrained")
    upper, lower = figure.subplots(2, 3)
    _line(upper[0], lines)
    _jump(upper[1:], results["sweep"])
    _spectra(lower, results["spectra"])
    return figure


def _line(ax: Axes, lines: dict[str, Any]) -> None:
    for source, (points, (slope, offset)) in lines.items():
        p = np.array(list(points), float)
        value = np.array([estimate.value for estimate in points.values()])
        error = np.array([estimate.mcse for estimate in points.values()])
        label = f"{NAMES[source]}: slope {slope.value:.2f} ± {slope.mcse:.2f}"
        style = {"fmt": MARKERS[source], "color": COLOURS[source], "markersize": 5}
        ax.errorbar(p, value, error, capsize=3, label=label, **style)
        ax.plot(p, np.exp(offset) * p**slope.value, color=COLOURS[source], linewidth=1.2)
    grid = np.array(sorted(points), float)
    ax.plot(grid, grid / 3, ":", color="0.4", linewidth=1.2, label="$N = P/3$")
    ax.set(xscale="log", yscale="log", xlabel="training examples $P$",
           ylabel="weights at the transition $N^*$")  # fmt: skip
    ax.set_title("a   satisfied above, not below", loc="left", fontsize="medium")
    ax.set_xticks(grid, [f"{estimate:.0f}" for estimate in grid])
    ax.set_yticks([20, 50, 100, 200], ["20", "50", "100", "200"])
    ax.minorticks_off()
    ax.legend(frameon=False, fontsize="small")


def _jump(axes: Any, sweep: xr.Dataset) -> None:
    by_loss, by_ratio = axes
    loss = sweep.energy.values / sweep.num_train.values
    floor = 10 ** np.floor(np.log10(loss[loss > 0].min()) - 1)
    ratio = sweep.unsatisfied.values / sweep.weights.values
    for source in NAMES:
        for converged in (True, False):
            is_shown = (sweep.source.values == source) & (sweep.converged.values == converged)
            style = {
                "s": 26,
                "marker": MARKERS[source],
                "edgecolors": COLOURS[source],
                "facecolors": COLOURS[source] if converged else "none",
            }
            label = NAMES[source] + ("" if converged else ", not converged")
            x = np.where(loss > 0, loss, floor)
            by_loss.scatter(
                x[is_shown], ratio[is_shown], label=label if is_shown.any() else None, **style
            )
            by_ratio.scatter(
                (sweep.num_train / sweep.weights).values[is_shown], ratio[is_shown], **style
            )
    by_loss.set(xscale="log", xlabel=r"loss $E/P$ (leftmost: exactly 0)")
    by_ratio.set(xlabel="$P/N$")
    for ax, title in ((by_loss, "b"), (by_ratio, "c")):
        ax.axhspan(0.5, 1, color="0.9", zorder=0)
        ax.set_ylabel(r"unsatisfied examples $N_\Delta/N$")
        ax.set_title(f"{title}   P = {int(sweep.num_train[0])} (grey: ½ to 1)", loc="left",
                     fontsize="medium")  # fmt: skip
    by_loss.legend(frameon=False, fontsize="small")


def _spectra(axes: Any, spectra: xr.Dataset) -> None:
    titles = ("d   far below $N^*$", "just below", "above, going to 0")
    for ax, place, title in zip(axes, range(3), titles, strict=True):
        state = spectra.isel(run=place)
        weights = int(state.weights)
        values = state["values"].values[:, :weights]
        top = np.abs(values[0]).max()
        for (name, colour, style), row in zip(PARTS, values, strict=True):
            ax.plot((np.arange(weights) + 0.5) / weights, row / top, style, color=colour,
                    linewidth=1.4, label=name)  # fmt: skip
        ax.set_yscale("symlog", linthresh=1e-10)
        ax.set_yticks([-1, -1e-4, -1e-8, 0, 1e-8, 1e-4, 1])
        ax.set(xlabel="rank of the eigenvalue $/N$", ylabel=r"eigenvalue / largest of $H$")
        share = int(state.unsatisfied) / weights
        ax.axvline(max(1 - share, 0), color="0.6", linewidth=0.8, linestyle=":")
        ax.set_title(f"{title}: N = {weights}, $N_\\Delta$ = {share:.2f} N", loc="left",
                     fontsize="small")  # fmt: skip
    axes[0].legend(frameon=False, fontsize="small", loc="lower right")
