"""bias² and variance against the read-out's prior precision λ_1 at low temperature.

    python experiments/prior_sweep/run.py [--smoke | --full | --draw] [FOLDER]

Sweeps config.toml (full.toml with --full), keeps results.json and draws prior_sweep.png in FOLDER
(this one), and prints the table; --draw makes the figure again from results.json.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402
from common import called, curves, frame, keep, kept, legend_below, mnist_caption, table, verdicts  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

import langevin_nn as lnn  # noqa: E402

WIDTH, PRECISION = "network.hidden_widths[0]", "prior.precisions[-1]"
QUANTITIES = ("bias2", "variance")


def draw(results: xr.Dataset) -> Figure:
    """bias² and variance, and below them how far two theories are off."""
    figure = Figure(figsize=(10, 7.6), layout="constrained")
    upper, lower = figure.subplots(2, 2, sharex=True)
    shown = [name for name in ("infinite_width", "one_layer") if name in results.theory]
    for ax, quantity in zip(upper, QUANTITIES, strict=True):
        curves(ax, results, quantity, PRECISION, WIDTH, shown, "N_1")
        frame(ax, results[quantity], log=quantity == "variance")
        ax.set_xlabel("")
    precisions = results[PRECISION].values
    anchor = results.theory_variance.sel(theory="one_layer").isel({WIDTH: 0, PRECISION: -1}).item()
    upper[1].plot(
        precisions, anchor * np.sqrt(precisions[-1] / precisions), color="0.6", linewidth=0.8,
        label="∝ 1/√λ_1",
    )  # fmt: skip
    for ax, quantity in zip(lower, QUANTITIES, strict=True):
        deviations(ax, results, quantity)
    figure.suptitle(
        f"{results.caption}; s = {float(results.criterion[0, 0]):.2g} at λ_1 = "
        f"{precisions[0]:g}, ∝ λ_1",
        fontsize="small",
    )
    legend_below(figure, upper[1], ncols=7)
    return figure


def deviations(ax: Axes, results: xr.Dataset, quantity: str) -> None:
    """experiment / theory − 1: points for `one_layer`, lines with squares for order 1/N_1."""
    for colour, width in zip(lnn.plotting.CHAIN_COLOURS, results[WIDTH].values, strict=False):
        here = results.sel({WIDTH: width})
        for theory, style in (("one_layer", "o-"), ("width_expansion", "D:"), ("matched", "v--")):
            expected = here[f"theory_{quantity}"].sel(theory=theory)
            expected = expected.where(expected > 0)
            ax.errorbar(
                here[PRECISION], 100 * (here[quantity] / expected - 1),
                100 * here[f"{quantity}_mcse"] / expected, fmt=style, color=colour, markersize=3.5,
                linewidth=0.8, label=theory if width == results[WIDTH].values[-1] else None,
            )  # fmt: skip
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xscale("log")
    ax.set_ylim(-25, 25)
    ax.set_xlabel("λ_1")
    ax.set_ylabel(f"{quantity.replace('bias2', 'bias²')}: experiment / theory − 1  (%)")
    ax.legend(frameon=False, fontsize="small")


def main() -> None:
    call = called(__file__, __doc__ or "")
    if not call.draw:
        values = call.values()
        caption = mnist_caption(values)
        found = call.swept(values).assign_attrs(caption=caption)
        keep(call.results, {"precisions": found})
    results = kept(call.results)["precisions"]
    call.save(draw(results))
    call.say(table(results, ["infinite_width", "one_layer", "width_expansion", "matched"]))
    call.say(verdicts(results))


if __name__ == "__main__":
    main()
