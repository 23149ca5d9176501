"""bias² and variance against the read-out's prior precision λ_1 at low temperature.

    python -m experiments.prior_sweep [--smoke | --full | --draw] [FOLDER]

Sweeps config.toml (full.toml with --full), keeps results.json and draws prior_sweep.png in FOLDER
(this one), and prints the table; --draw makes the figure again from results.json.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.common import (
    Call,
    Results,
    curves,
    experiment,
    frame,
    legend_below,
    mnist_caption,
    table,
    verdicts,
)

WIDTH, PRECISION = "network.hidden_widths[0]", "prior.precisions[-1]"
QUANTITIES = ("bias2", "variance")


def draw(results: Results) -> Figure:
    """A figure of bias² and variance, and below them the deviations of three theories."""
    precisions_sweep = results["precisions"]
    figure = Figure(figsize=(10, 7.6), layout="constrained")
    upper, lower = figure.subplots(2, 2, sharex=True)
    theories = [name for name in ("infinite_width", "one_layer") if name in precisions_sweep.theory]
    for ax, quantity in zip(upper, QUANTITIES, strict=True):
        curves(ax, precisions_sweep, quantity, PRECISION, WIDTH, theories, "N_1")
        frame(ax, precisions_sweep[quantity], log=quantity == "variance")
        ax.set_xlabel("")
    precisions = precisions_sweep[PRECISION].values
    anchor = (
        precisions_sweep.theory_variance.sel(theory="one_layer")
        .isel({WIDTH: 0, PRECISION: -1})
        .item()
    )
    upper[1].plot(
        precisions, anchor * np.sqrt(precisions[-1] / precisions), color="0.6", linewidth=0.8,
        label="∝ 1/√λ_1",
    )  # fmt: skip
    for ax, quantity in zip(lower, QUANTITIES, strict=True):
        deviations(ax, precisions_sweep, quantity)
    figure.suptitle(
        f"{precisions_sweep.caption}; s = {float(precisions_sweep.criterion[0, 0]):.2g} at λ_1 = "
        f"{precisions[0]:g}, ∝ λ_1",
        fontsize="small",
    )
    legend_below(figure, upper[1], ncols=7)
    return figure


def deviations(ax: Axes, results: xr.Dataset, quantity: str) -> None:
    """Draw experiment / theory − 1 of `one_layer`, of order 1/N_1 and of `matched`."""
    for colour, width in zip(lnn.plotting.CHAIN_COLOURS, results[WIDTH].values, strict=False):
        curve = results.sel({WIDTH: width})
        for theory, style in (("one_layer", "o-"), ("width_expansion", "D:"), ("matched", "v--")):
            expected = curve[f"theory_{quantity}"].sel(theory=theory)
            expected = expected.where(expected > 0)
            ax.errorbar(
                curve[PRECISION], 100 * (curve[quantity] / expected - 1),
                100 * curve[f"{quantity}_mcse"] / expected, fmt=style, color=colour, markersize=3.5,
                linewidth=0.8, label=theory if width == results[WIDTH].values[-1] else None,
            )  # fmt: skip
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xscale("log")
    ax.set_ylim(-25, 25)
    ax.set_xlabel("λ_1")
    ax.set_ylabel(f"{quantity.replace('bias2', 'bias²')}: experiment / theory − 1  (%)")
    ax.legend(frameon=False, fontsize="small")


def measure(call: Call) -> dict[str, xr.Dataset]:
    values = call.values()
    return {"precisions": call.swept(values).assign_attrs(caption=mnist_caption(values))}


def report(results: Results) -> str:
    precisions = results["precisions"]
    theories = ["infinite_width", "one_layer", "width_expansion", "matched"]
    return f"{table(precisions, theories)}\n\n{verdicts(precisions)}"


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
