"""Generalisation error, bias² and variance against N_1, on a task with s < 1 and one with s > 1.

    python -m experiments.width_sweep [--smoke | --full | --draw] [FOLDER]

Sweeps config.toml (full.toml with --full), keeps results.json and draws width_sweep.png in FOLDER
(this one), and prints the table; --draw makes the figure again from results.json.
"""

import xarray as xr
from matplotlib.figure import Figure

from experiments.common import (
    Call,
    Results,
    curves,
    experiment,
    frame,
    legend_below,
    table,
    verdicts,
)

WIDTH = "network.hidden_widths[0]"
QUANTITIES = ("generalisation_error", "bias2", "variance")
NAMES = {"mnist": "MNIST 0/1", "cifar10": "CIFAR-10 airplane/automobile"}


def draw(results: Results) -> Figure:
    """A figure with a row for each data set, a column for each quantity, a colour for each P."""
    widths = results["widths"]
    sources, sizes = widths["data.source"].values, widths["data.num_train"].values
    figure = Figure(figsize=(11, 0.9 + 3.1 * len(sources)), layout="constrained")
    panels = figure.subplots(len(sources), len(QUANTITIES), sharex=True)
    theories = [str(name) for name in widths.theory.values]
    for row, source in zip(panels, sources, strict=True):
        source_points = widths.sel({"data.source": source})
        criteria = [
            f"s = {float(s):.2f} at P = {size}"
            for s, size in zip(source_points.criterion.isel({WIDTH: 0}), sizes, strict=True)
        ]
        for ax, quantity in zip(row, QUANTITIES, strict=True):
            curves(ax, source_points, quantity, WIDTH, "data.num_train", theories, "P")
            ax.set_title(f"{NAMES.get(source, source)}\n{', '.join(criteria)}", fontsize="small")
            frame(ax, source_points[quantity])
    legend_below(figure, panels[0, 0], ncols=6)
    return figure


def measure(call: Call) -> dict[str, xr.Dataset]:
    return {"widths": call.swept(call.values())}


def report(results: Results) -> str:
    widths = results["widths"]
    return f"{table(widths, [str(name) for name in widths.theory.values])}\n\n{verdicts(widths)}"


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
