"""Deep linear networks: experiment, saddle point (Li and Sompolinsky's) and exact scale mixture.

    python -m experiments.deep_linear [--smoke | --full | --draw] [FOLDER]

Sweeps config.toml (full.toml with --full), keeps results.json and draws deep_linear.png in FOLDER
(this one), and prints the table; --draw makes the figure again from results.json.
"""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from experiments.common import (
    Call,
    Results,
    by_depth,
    curves,
    experiment,
    frame,
    legend_below,
    markdown,
    table,
)
from langevin_nn.analysis.comparison import grid_deviations
from langevin_nn.result_text import QUANTITIES

THEORIES = ("infinite_width", "global", "scale_mixture")
SHOWN = ("bias2", "variance")


def draw(results: Results) -> Figure:
    """A figure of bias² and variance against N: a row for each noise, a colour for each L."""
    depths = by_depth(results["depths"])
    noises = depths["data.noise_variance"].values
    figure = Figure(figsize=(9, 0.8 + 3.2 * len(noises)), layout="constrained")
    panels = figure.subplots(len(noises), len(SHOWN), sharex=True, squeeze=False)
    for row, noise in zip(panels, noises, strict=True):
        row_results = depths.sel({"data.noise_variance": noise})
        for ax, quantity in zip(row, SHOWN, strict=True):
            curves(ax, row_results, quantity, "width", "depth", THEORIES, "L")
            s = float(row_results.criterion[0, 0])
            ax.set_title(f"teacher's noise {noise:g}, s = {s:.2f}", fontsize="small")
            frame(ax, row_results[quantity], row_results[f"theory_{quantity}"])
            ax.set_xlabel("N")
    legend_below(figure, panels[0, 0], ncols=6)
    return figure


def agreement(results: xr.Dataset) -> str:
    """A table of mean squared deviations in standard errors: about 1 for an exact theory."""
    heads, rows = ["", *THEORIES], []
    for quantity in SHOWN:
        z = grid_deviations(results, quantity)["z"]
        squares = [f"{np.mean(z.sel(theory=name).to_numpy() ** 2):.4g}" for name in THEORIES]
        rows.append([f"mean z² of the {QUANTITIES[quantity]}", *squares])
    return markdown(heads, rows)


def measure(call: Call) -> dict[str, xr.Dataset]:
    return {"depths": call.swept(call.values())}


def report(results: Results) -> str:
    depths = results["depths"]
    return f"{agreement(depths)}\n\n{table(depths, THEORIES)}"


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
