"""The posterior as T → 0 against an ensemble of gradient flows of the same networks.

    python -m experiments.posterior_vs_flow [--smoke | --full | --draw] [FOLDER]

Sweeps config.toml (full.toml with --full), follows the gradient from draws of the prior at each of
its points, keeps results.json and draws posterior_vs_flow.png in FOLDER (this one), and prints the
table; --draw makes the figure again from results.json.
"""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.common import Call, Results, experiment, frame, legend_below, markdown
from langevin_nn import config as configuration
from langevin_nn.estimates import plus_minus
from langevin_nn.result_text import QUANTITIES
from langevin_nn.runs import run
from langevin_nn.types import Estimate

WIDTH = "network.hidden_widths[0]"
KEYS = ("bias2", "variance", "generalisation_error")
NAMES = {"mnist": "MNIST 0/1", "cifar10": "CIFAR-10 airplane/automobile"}
NUM_INITIALISATIONS = {"smoke": 3, "config": 64, "full": 256}
"""The number of initialisations of each ensemble of flows."""


def flows(call: Call, values: dict[str, Any]) -> xr.Dataset:
    """The bias², variance and their sum over initialisations, and at infinite width in theory."""
    base = {name: section for name, section in values.items() if name not in ("sweep", "theory")}
    over = values["sweep"]["over"]
    sources, widths = over["data.source"], over[WIDTH]
    numbers = np.full((len(KEYS), 2, len(sources), len(widths)), np.nan)
    limits = np.full((len(KEYS), len(sources)), np.nan)
    for row, source in enumerate(sources):
        for column, width in enumerate(widths):
            config = configuration.from_dict(base | {
                "data": base["data"] | {"source": source}, "precision": "float64",
                "network": base["network"] | {"hidden_widths": [width]},
                "posterior": {"temperature": 1.0},
            })  # fmt: skip
            setup = run.prepare(config)
            flow = lnn.gradient_flow(
                setup.posterior, key=setup.key, num_initialisations=NUM_INITIALISATIONS[call.size],
                gradient_tolerance=1e-4, rtol=1e-6, atol=1e-8,
            )  # fmt: skip
            measured = lnn.summarise_flow(flow)
            error, time = measured.train_error.value, flow.time.max()
            call.say(f"flow, {source}, N_1 = {width}: {flow.num_steps.max()} steps to t = "
                     f"{time:.3g}, training error {error:.1e} {measured.message}")  # fmt: skip
            for place, key in enumerate(KEYS):
                estimate = getattr(measured, key)
                numbers[place, :, row, column] = estimate.value, estimate.mcse
        limit = lnn.theory.infinite_width_flow(setup.posterior.ensemble)
        limits[:, row] = [getattr(limit, key).value for key in KEYS]
    return xr.Dataset(
        {"flow": (("key", "of", "source", "width"), numbers), "wide": (("key", "source"), limits)},
        coords={"key": list(KEYS), "of": ["value", "error"], "source": sources, "width": widths},
        attrs={"number": NUM_INITIALISATIONS[call.size], "num_train": values["data"]["num_train"],
               "temperature": values["posterior"]["temperature"]},
    )  # fmt: skip


def draw(results: Results) -> Figure:
    """A figure with a row for each data set and a column for each quantity."""
    posterior, flow = results["posterior"], results["flow"]
    sources = flow.source.values
    figure = Figure(figsize=(11, 0.9 + 3.1 * len(sources)), layout="constrained")
    panels = figure.subplots(len(sources), len(KEYS), sharex=True, squeeze=False)
    for row, source in zip(panels, sources, strict=True):
        points = posterior.sel({"data.source": source})
        for ax, key in zip(row, KEYS, strict=True):
            lnn.plotting.plot_along(
                ax, points, key, WIDTH, theories=["infinite_width", "one_layer"], colour="#0072B2",
                label=f"posterior, T = {flow.temperature:g}",
            )  # fmt: skip
            value, error = flow.flow.sel(source=source, key=key).to_numpy()
            ax.errorbar(flow.width, value, error, fmt="s", color="#D55E00", markersize=4, capsize=2,
                        label=f"gradient flow, {flow.number} initialisations")  # fmt: skip
            limit = float(flow.wide.sel(source=source, key=key))
            ax.axhline(limit, color="#D55E00", linestyle="--", linewidth=1.4)
            frame(ax, points[key], value, np.array(limit), points[f"theory_{key}"])
            ax.set_title(f"{NAMES.get(source, source)}, P = {flow.num_train}, "
                         f"s = {float(points.criterion[0]):.2g}", fontsize="small")  # fmt: skip
    for name, style in (("infinite width", "--"), ("one_layer", "-")):
        panels[0, 0].plot([], [], color="0.4", linestyle=style, label=name)
    legend_below(figure, panels[0, 0])
    return figure


def table(posterior: xr.Dataset, flow: xr.Dataset) -> str:
    heads = ["data", "N_1", *(f"{QUANTITIES[key]}, {ensemble}" for key in KEYS
                              for ensemble in ("posterior", "flow"))]  # fmt: skip
    rows = []
    for source in flow.source.values:
        for width in flow.width.values:
            point = posterior.sel({"data.source": source, WIDTH: width})
            cells = [str(source), str(width)]
            for key in KEYS:
                value, error = flow.flow.sel(source=source, width=width, key=key).to_numpy()
                cells.append(plus_minus(Estimate(float(point[key]), float(point[f"{key}_mcse"]))))
                cells.append(plus_minus(Estimate(float(value), float(error))))
            rows.append(cells)
        cells = [str(source), "∞"]
        for key in KEYS:
            expected = point[f"theory_{key}"].sel(theory="infinite_width")
            cells += [
                f"{float(expected):.5f}",
                f"{float(flow.wide.sel(source=source, key=key)):.5f}",
            ]
        rows.append(cells)
    return markdown(heads, rows)


def measure(call: Call) -> dict[str, xr.Dataset]:
    values = call.values()
    return {"flow": flows(call, values), "posterior": call.swept(values)}


def report(results: Results) -> str:
    return table(results["posterior"], results["flow"])


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
