"""From lazy to rich networks: bias², variance and the kernel's alignment against the richness γ.

    python -m experiments.rich [--smoke | --full | --draw] [FOLDER]

Sweeps config.toml (full.toml with --full), keeps results.json and draws rich.png in FOLDER (this
one), and prints the tables; --draw makes the figure again from results.json.
"""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.common import (
    Call,
    Results,
    experiment,
    frame,
    legend_below,
    markdown,
    table,
)

RICHNESS, SOURCE = "posterior.richness", "data.source"
FILES = {
    "erf": "config.toml",
    "relu, MNIST": "relu.toml",
    "relu, CIFAR-10": "cifar10_relu.toml",
}
"""The sweeps, by name, and the configuration of each."""
NAMES = {"mnist": "MNIST 0/1", "cifar10": "CIFAR-10 airplane/automobile"}
DRAWN = ("bias2", "variance", "kernel_alignment")
KEPT = (
    *(f"{name}{kind}" for name in ("bias2", "variance", "generalisation_error")
      for kind in ("", "_mcse")),
    *(f"theory_{name}{kind}" for name in ("bias2", "variance", "generalisation_error")
      for kind in ("", "_mcse")),
    *(f"{name}{kind}" for name in ("kernel_alignment", "kernel_participation_ratio",
                                   "mean_order_parameter") for kind in ("", "_mcse")),
    *(f"theory_{name}" for name in ("kernel_alignment", "kernel_participation_ratio",
                                    "mean_order_parameter")),
    "converged", "theory_converged", "message", "status", "rhat_max", "ess_min", "seconds",
    "criterion", "order_parameter",
)  # fmt: skip
"""The variables of the sweep's Dataset that results.json has."""


def measure(call: Call) -> dict[str, xr.Dataset]:
    files = {"erf": "full.toml"} if call.size == "full" else FILES
    results = {}
    for name, file in files.items():
        values = call.values(file)
        data, widths = values["data"], values["network"]["hidden_widths"]
        caption = (
            f"P = {data['num_train']}, N_1 = {widths[0]}, λ_1 = N_1 γ², T = "
            f"{values['posterior']['temperature']:g}/(N_1 γ²)"
        )
        swept = call.swept(values)[list(KEPT)].isel(layer=0)
        if SOURCE not in swept.dims:
            swept = swept.expand_dims({SOURCE: [data["source"]]})
        activation = values["network"]["activation"]
        results[name] = swept.assign_attrs(caption=caption, activation=activation)
    return results


def tasks(results: Results) -> Iterator[tuple[str, xr.Dataset]]:
    """The points of each data set and activation along the richness, with a name."""
    for points in results.values():
        for source in points[SOURCE].values:
            name = f"{NAMES.get(str(source), source)}, {points.activation}"
            yield name, where_converged(points.sel({SOURCE: source}))


def where_converged(points: xr.Dataset) -> xr.Dataset:
    """The points, with NaN in place of what a theory says where it has not converged."""
    said = [name for name in points.data_vars if str(name).startswith("theory_")]
    return points.assign(
        {
            name: points[name].where(points.theory_converged)
            for name in said
            if name != "theory_converged"
        }
    )


def draw(results: Results) -> Figure:
    """A figure with a row for each task and a column for each quantity."""
    rows = list(tasks(results))
    figure = Figure(figsize=(11, 0.8 + 2.5 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), len(DRAWN), sharex=True, squeeze=False)
    last = len(rows) - 1
    for place, (name, task) in enumerate(rows):
        for ax, quantity in zip(panels[place], DRAWN, strict=True):
            lnn.plotting.plot_along(ax, task, quantity, RICHNESS)
            frame(ax, task[quantity], margin=0.3, log=quantity == "variance")
            ax.set_title(name, fontsize="small")
            if quantity == "kernel_alignment":
                ax.set_ylabel("alignment with the labels")
            if place < last:
                ax.set_xlabel("")
    figure.suptitle(rows[0][1].caption, fontsize="small")
    legend_below(figure, panels[0, 0], ncols=8)
    return figure


def deviations(results: Results) -> str:
    """Theory over experiment minus one in per cent, at each task and richness."""
    names = [str(name) for name in next(iter(results.values())).theory.values]
    rows = []
    for task, along in tasks(results):
        for quantity, label in (("bias2", "bias²"), ("variance", "variance")):
            for gamma in along[RICHNESS].values:
                point = along.sel({RICHNESS: gamma})
                off = 100 * (point[f"theory_{quantity}"] / point[quantity] - 1)
                cells = [f"{off.sel(theory=name).item():+.1f}" for name in names]
                rows.append([task, label, f"{gamma:g}", *("–" if "nan" in c else c for c in cells)])
    return markdown(["task", "", "γ", *names], rows)


def representations(results: Results) -> str:
    """Alignment, participation ratio and Q: sampled, and by the theories that say them."""
    first = next(iter(results.values()))
    names = [
        str(name)
        for name in first.theory.values
        if np.isfinite(first.theory_kernel_alignment.sel(theory=name)).any()
    ]
    rows = []
    numbers = ("kernel_alignment", "kernel_participation_ratio", "mean_order_parameter")
    for task, along in tasks(results):
        for gamma in along[RICHNESS].values:
            point, cells = along.sel({RICHNESS: gamma}), [task, f"{gamma:g}"]
            for number in numbers:
                said = (point[f"theory_{number}"].sel(theory=name).item() for name in names)
                of_theories = ", ".join(
                    "–" if np.isnan(value) else f"{value:.3g}" for value in said
                )
                measured = f"{point[number].item():.4g} ± {point[f'{number}_mcse'].item():.1g}"
                cells.append(f"{measured} ({of_theories})")
            rows.append(cells)
    heads = ["alignment", "participation ratio", "Q"]
    return markdown(["task", "γ", *(f"{head} ({', '.join(names)})" for head in heads)], rows)


def report(results: Results) -> str:
    parts = []
    for name, points in results.items():
        theories = [str(theory) for theory in points.theory.values]
        parts += [f"## {name}", table(points, theories)]
    return "\n\n".join([*parts, deviations(results), representations(results)])


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
