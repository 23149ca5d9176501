"""One to five hidden layers, erf and relu: where depth helps, and where infinite width errs less.

    python -m experiments.depth [--smoke | --full | --draw] [FOLDER]

Sweeps config.toml (full.toml with --full), adds the theories alone for up to 20 layers, and as
T → 0 at several draws of the data, keeps results.json and draws depth.png in FOLDER (this one), and
prints the tables; --draw makes the figure again from results.json.
"""

from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import langevin_nn as lnn
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
from langevin_nn import config as configuration
from langevin_nn.runs import run

THEORIES = ("infinite_width", "nested", "global")
DEPTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20)
ENSEMBLES = {"erf": ("erf", 1.0), "relu, λ = ½": ("relu", 0.5), "relu, λ = 1": ("relu", 1.0)}
"""The activation and λ_1 = … = λ_L of the ensembles of the theories alone.

At ½ relu keeps the scale of the Gram matrix through the layers, so that only its shape changes.
"""
COLD_TEMPERATURES = (0.0, 0.1)
"""The temperatures at which the theories' bias² is compared over the widths of erf networks."""
COLD_SEEDS = 4
"""The number of draws of the data for that comparison."""
SAMPLED = ("erf", "relu, λ = ½")
COLOURS = {"erf": "#0072B2", "relu, λ = ½": "#D55E00", "relu, λ = 1": "#E69F00"}


def theory_alone(values: dict[str, Any], depths: tuple[int, ...]) -> xr.Dataset:
    """The smallest eigenvalue, s and two theories' generalisation error, for each depth."""
    base = {name: section for name, section in values.items() if name not in ("sweep", "theory")}
    width = values["sweep"]["over"]["network.hidden_widths"][-1][0]
    names = ("criterion", "eigenvalue_min", "infinite_width", "global")
    columns = {name: np.full((len(ENSEMBLES), len(depths)), np.nan) for name in names}
    for place in np.ndindex(len(ENSEMBLES), len(depths)):
        (activation, precision), depth = list(ENSEMBLES.values())[place[0]], depths[place[1]]
        network = {"activation": activation, "hidden_widths": [width] * depth}
        prior = {"precisions": [1.0] + [precision] * depth}
        config = configuration.from_dict(base | {"network": network, "prior": prior})
        _, ensemble = run.prepare_theory(config)
        predictions = lnn.theory.predict(ensemble, ("infinite_width", "global"))
        assert predictions.criterion is not None and predictions.eigenvalues is not None
        columns["criterion"][place] = predictions.criterion
        columns["eigenvalue_min"][place] = predictions.eigenvalues[0]
        for name, result in predictions.results.items():
            columns[name][place] = result.generalisation_error.value
    axes = ("ensemble", "depth")
    return xr.Dataset(
        {name: (axes, numbers) for name, numbers in columns.items()},
        coords={"ensemble": list(ENSEMBLES), "depth": list(depths)},
        attrs={"width": width, "num_train": values["data"]["num_train"],
               "temperature": values["posterior"]["temperature"]},
    )  # fmt: skip


def over_widths(values: dict[str, Any], depths: tuple[int, ...], seeds: int) -> xr.Dataset:
    """The bias² of erf networks by two theories and infinite width, at COLD_TEMPERATURES."""
    base = {name: section for name, section in values.items() if name not in ("sweep", "theory")}
    lists = values["sweep"]["over"]["network.hidden_widths"]
    coordinates = {
        "T": list(COLD_TEMPERATURES), "seed": list(range(seeds)), "depth": list(depths),
        "width": sorted({widths[0] for widths in lists}),
        "theory": ["infinite_width", "nested", "global"],
    }  # fmt: skip
    bias2 = xr.DataArray(
        np.full([len(coordinate) for coordinate in coordinates.values()], np.nan), coordinates,
        list(coordinates),
    )  # fmt: skip
    for seed in coordinates["seed"]:
        network = {"activation": "erf", "hidden_widths": [coordinates["width"][0]]}
        config = configuration.from_dict(base | {"network": network, "seed": seed})
        _, shallow = run.prepare_theory(config)
        for temperature, depth, width in product(coordinates["T"], depths, coordinates["width"]):
            ensemble = shallow.at(
                hidden_widths=(width,) * depth,
                temperature=temperature,
                prior_precisions=(1.0,) * (depth + 1),
            )
            results = lnn.theory.predict(ensemble, coordinates["theory"]).results
            place = {"T": temperature, "seed": seed, "depth": depth, "width": width}
            bias2.loc[place] = [
                results[name].bias2.value if results[name].converged else np.nan
                for name in coordinates["theory"]
            ]
    return bias2.to_dataset(name="bias2")


def cold_table(cold: xr.Dataset) -> str:
    """A table of bias²(N) / bias²(∞) − 1 in per cent: mean and range over draws of the data."""
    bias2 = cold.bias2
    excess = 100 * (bias2 / bias2.sel(theory="infinite_width") - 1)
    heads = ["T", "L", "N", "infinite_width: bias²", "nested (%)", "global (%)"]
    rows = []
    for temperature in cold["T"].values:
        for depth in cold.depth.values:
            for width in cold.width.values:
                place = {"T": temperature, "depth": depth, "width": width}
                limit = bias2.sel(place | {"theory": "infinite_width"}).values
                cells = [f"{temperature:g}", str(depth), str(width), ranged(limit, ".4f")]
                for name in ("nested", "global"):
                    cells.append(ranged(excess.sel(place | {"theory": name}).values, "+.2f"))
                rows.append(cells)
    return markdown(heads, rows)


def ranged(values: np.ndarray, form: str) -> str:
    return f"{values.mean():{form}} ({values.min():{form}} to {values.max():{form}})"


def sampled(call: Call, values: dict[str, Any]) -> xr.Dataset:
    """The sampled points of erf as configured, and of relu with λ_1 = … = λ_L = ½ at any depth."""
    ensembles = [by_depth(call.swept(values).drop_dims("order"))]
    lists = values["sweep"]["over"]["network.hidden_widths"]
    rows = []
    for depth in sorted({len(widths) for widths in lists}):
        lists_of_depth = [widths for widths in lists if len(widths) == depth]
        changed = {
            "network": {"activation": "relu"},
            "prior": {"precisions": [1.0] + [0.5] * depth},
            "sweep": {"over": {"network.hidden_widths": lists_of_depth}},
        }
        rows.append(by_depth(call.swept(values | changed).drop_dims("order")))
    ensembles.append(xr.concat(rows, "depth", data_vars="all", join="exact", combine_attrs="drop"))
    joined = xr.concat(ensembles, "ensemble", data_vars="all", join="exact", combine_attrs="drop")
    return joined.assign_coords(ensemble=list(SAMPLED))


def draw(results: Results) -> Figure:
    """A figure of bias² and variance, and of the Gram matrix, against depth."""
    depths, alone = results["depths"], results["alone"]
    ensembles = depths["ensemble"].values
    figure = Figure(figsize=(11.5, 0.8 + 3.1 * len(ensembles)), layout="constrained")
    panels = figure.subplots(len(ensembles), 3, squeeze=False)
    for row, ensemble in zip(panels, ensembles, strict=True):
        results_of_ensemble = depths.sel({"ensemble": ensemble})
        for ax, quantity in zip(row, ("bias2", "variance"), strict=False):
            curves(ax, results_of_ensemble, quantity, "depth", "width", THEORIES, "N")
            frame(ax, results_of_ensemble[quantity], results_of_ensemble[f"theory_{quantity}"])
            ax.set_title(f"{ensemble}, MNIST 0/1, P = {alone.num_train}, T = {alone.temperature}",
                         fontsize="small")  # fmt: skip
            ax.set_xlabel("hidden layers L")
            ax.set_xscale("linear")
    spectrum(panels[0, -1], alone)
    for ax in panels[1:, -1]:
        advantage(ax, alone)
    legend_below(figure, panels[0, 0], ncols=5)
    return figure


def spectrum(ax: Axes, alone: xr.Dataset) -> None:
    """Draw the smallest eigenvalue of the Gram matrix, and s, against depth."""
    for ensemble in alone.ensemble.values:
        curve = alone.sel(ensemble=ensemble)
        colour = COLOURS.get(str(ensemble))
        ax.plot(curve.depth, curve.eigenvalue_min, "o-", color=colour, markersize=3,
                label=f"smallest eigenvalue, {ensemble}")  # fmt: skip
        ax.plot(curve.depth, curve.criterion, "s--", color=colour, markersize=3,
                label=f"s = yᵀK⁻¹y/P, {ensemble}")  # fmt: skip
    ax.axhline(1, color="black", linewidth=0.8)
    ax.set_yscale("log")
    ax.set_xlabel("hidden layers L")
    ax.set_title("NNGP Gram matrix; s > 1: Q* > 1 as T → 0", fontsize="small")
    ax.set_ylim(top=1e15)
    ax.legend(frameon=False, fontsize="x-small", loc="upper left")


def advantage(ax: Axes, alone: xr.Dataset) -> None:
    """Draw the ratio of generalisation errors at finite and infinite width, by the theories."""
    for ensemble in alone.ensemble.values:
        curve = alone.sel(ensemble=ensemble)
        ratio = curve["global"] / curve.infinite_width
        ax.plot(curve.depth, ratio, "o-", color=COLOURS.get(str(ensemble)), markersize=3,
                label=str(ensemble))  # fmt: skip
    ax.axhline(1, color="black", linewidth=0.8)
    ax.set_xlabel("hidden layers L")
    ax.set_ylabel("generalisation error,\nglobal / infinite_width")
    ax.set_title(f"theory alone, N = {alone.width}: ratio of the errors", fontsize="small")
    ax.legend(frameon=False, fontsize="small")


def measure(call: Call) -> dict[str, xr.Dataset]:
    values = call.values()
    alone = theory_alone(values, DEPTHS[:2] if call.size == "smoke" else DEPTHS)
    cold_sizes = ((1, 2), 1) if call.size == "smoke" else ((1, 2, 3, 4, 5), COLD_SEEDS)
    cold = over_widths(values, *cold_sizes)
    return {"depths": sampled(call, values), "alone": alone, "cold": cold}


def report(results: Results) -> str:
    return "\n\n".join([
        results["alone"].to_dataframe().to_string(float_format="{:.4g}".format),
        table(results["depths"], THEORIES),
        cold_table(results["cold"]),
    ])  # fmt: skip


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
