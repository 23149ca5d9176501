"""Generalisation error, bias² and variance against N_1, on a task with s < 1 and one with s > 1.

    python experiments/width_sweep/run.py [--smoke | --full | --draw] [FOLDER]

Sweeps config.toml (full.toml with --full), keeps results.json and draws width_sweep.png in FOLDER
(this one), and prints the table; --draw makes the figure again from results.json.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import xarray as xr  # noqa: E402
from common import called, curves, frame, keep, kept, legend_below, table, verdicts  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

WIDTH = "network.hidden_widths[0]"
QUANTITIES = ("generalisation_error", "bias2", "variance")
NAMES = {"mnist": "MNIST 0/1", "cifar10": "CIFAR-10 airplane/automobile"}


def draw(results: xr.Dataset) -> Figure:
    """A row for each data set, a column for each quantity, a colour for each P."""
    sources, sizes = results["data.source"].values, results["data.num_train"].values
    figure = Figure(figsize=(11, 0.9 + 3.1 * len(sources)), layout="constrained")
    panels = figure.subplots(len(sources), len(QUANTITIES), sharex=True)
    theories = [str(name) for name in results.theory.values]
    for row, source in zip(panels, sources, strict=True):
        here = results.sel({"data.source": source})
        words = [
            f"s = {float(s):.2f} at P = {size}"
            for s, size in zip(here.criterion.isel({WIDTH: 0}), sizes, strict=True)
        ]
        for ax, quantity in zip(row, QUANTITIES, strict=True):
            curves(ax, here, quantity, WIDTH, "data.num_train", theories, "P")
            ax.set_title(f"{NAMES.get(source, source)}\n{', '.join(words)}", fontsize="small")
            frame(ax, here[quantity])
    legend_below(figure, panels[0, 0], ncols=6)
    return figure


def main() -> None:
    call = called(__file__, __doc__ or "")
    if not call.draw:
        keep(call.results, {"widths": call.swept(call.values())})
    results = kept(call.results)["widths"]
    call.save(draw(results))
    call.say(table(results, [str(name) for name in results.theory.values]))
    call.say(verdicts(results))


if __name__ == "__main__":
    main()
