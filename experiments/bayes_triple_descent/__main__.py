"""The posterior of the fully trained network over the number of examples: which peaks survive.

    python -m experiments.bayes_triple_descent [--smoke | --full | --draw] [FOLDER]

Sweeps config.toml (full.toml with --full), keeps results.json and draws bayes_triple_descent.png in
FOLDER (this one), and prints the table; --draw makes the figure again from results.json.
"""

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

import langevin_nn as lnn
from experiments.common import Call, Results, experiment, legend_below, markdown
from langevin_nn import config as configuration
from langevin_nn import theory
from langevin_nn.estimates import plus_minus
from langevin_nn.plotting import style_of
from langevin_nn.types import Estimate

WIDTH, TEMPERATURE, EXAMPLES = (
    "network.hidden_widths[0]", "posterior.temperature", "data.num_train",
)  # fmt: skip
COLOURS = ("#0072B2", "#009E73", "#D55E00")
MIXED = 1.05
"""The R̂ below which a point is drawn filled."""


def swept(call: Call) -> xr.Dataset:
    """The Dataset of the configuration's grid, and of its narrow network at larger P.

    There P is the number of weights and, at the lowest temperature alone, twice as many. With all
    widths and temperatures these would take most of the time.
    """
    values = call.values()
    grids = [values]
    if call.size == "config":
        over = values["sweep"]["over"]
        width, weights = over[WIDTH][0], over[WIDTH][0] * (values["data"]["in_size"] + 1)
        for examples, temperatures in (
            (weights, over[TEMPERATURE]), (2 * weights, over[TEMPERATURE][:1])
        ):  # fmt: skip
            axes = {WIDTH: [width], TEMPERATURE: temperatures, EXAMPLES: [examples]}
            grids.append(values | {"sweep": values["sweep"] | {"over": axes}})
    datasets = []
    for grid_values in grids:
        dataset = call.swept(grid_values)
        points = call.sweep_folder(grid_values) / "points"
        dataset["chain_error"] = xr.apply_ufunc(
            lambda name, points=points: chain_error(points / str(name)),
            dataset.point,
            vectorize=True,
        )
        datasets.append(dataset.drop_vars("point"))
    joined = datasets[0] if len(datasets) == 1 else xr.concat(datasets, EXAMPLES, join="outer")
    return joined if "seed" in joined.dims else joined.expand_dims("seed")


def chain_error(folder: Path) -> float:
    """The error ⟨(y − f̄_c)²⟩ over test points of a chain's mean f̄_c, averaged over the chains.

    NaN where a point has failed.
    """
    if not (folder / "posterior.nc").is_file():
        return float("nan")
    with xr.open_datatree(folder / "posterior.nc", engine="h5netcdf") as tree:
        posterior = tree["posterior"]
        means = posterior["f_mean"] if "f_mean" in posterior else posterior["f"]
        f = means.astype(float).mean("draw")
        return float(np.square(f - tree["constant_data"]["y_test"]).mean())


def averaged(results: xr.Dataset) -> xr.Dataset:
    """Means over the seeds of sampled and predicted numbers, with their standard errors.

    The seeds are teachers, examples and test points of their own: deviations are taken seed by
    seed, where the theories' predictions are of the same data.
    """
    num_seeds = results.sizes["seed"]
    values = {}
    for key in ("bias2", "variance", "chain_error", "theory_bias2", "theory_variance"):
        values[key] = results[key].mean("seed")
        values[f"{key}_error"] = results[key].std("seed", ddof=1) / np.sqrt(max(num_seeds, 2))
    for key in ("bias2", "variance"):
        ratio = results[f"theory_{key}"] / results[key] - 1
        values[f"{key}_off"] = ratio.mean("seed")
        values[f"{key}_off_error"] = ratio.std("seed", ddof=1) / np.sqrt(max(num_seeds, 2))
    values["rhat_max"] = results.rhat_max.max("seed")
    values["mixed"] = values["rhat_max"] < MIXED
    return xr.Dataset(values, attrs={"num_seeds": num_seeds})


def frozen(examples: np.ndarray, features: float, temperature: float) -> np.ndarray:
    """The error of regression on random features in their limit, of the same teacher and noise."""
    return np.array([
        theory.random_feature_error(
            lnn.activation("erf"), features, float(ratio), temperature=temperature,
            noise_variance=5.0,
        ).test_error
        for ratio in examples
    ])  # fmt: skip


def draw(results: Results) -> Figure:
    """A row for each width; bias² and variance over the number of examples."""
    averages = averaged(results["sweep"])
    in_size = configuration.read(Path(__file__).parent / "config.toml")["data"]["in_size"]
    widths, temperatures = averages[WIDTH].values, averages[TEMPERATURE].values
    figure = Figure(figsize=(11, 7), layout="constrained")
    panels = figure.subplots(len(widths), 2, squeeze=False, sharex=True)
    examples = averages[EXAMPLES].to_numpy()
    for row, width in zip(panels, widths, strict=True):
        for ax, key in zip(row, ("bias2", "variance"), strict=True):
            for colour, temperature in zip(COLOURS, temperatures, strict=False):
                curve = averages.sel({WIDTH: width, TEMPERATURE: temperature})
                mixed = curve.mixed.to_numpy()
                for selected, fill in ((mixed, "full"), (~mixed, "none")):
                    ax.errorbar(
                        examples[selected], curve[key].to_numpy()[selected],
                        curve[f"{key}_error"].to_numpy()[selected], fmt="o", color=colour,
                        markersize=5, fillstyle=fill, capsize=2,
                        label=f"T = {temperature:g}" if fill == "full" else None,
                    )  # fmt: skip
                for name in ("infinite_width", "one_layer"):
                    ax.plot(examples, curve[f"theory_{key}"].sel(theory=name), color=colour,
                            linestyle=style_of(name)["linestyle"], linewidth=1.2)  # fmt: skip
                if key == "bias2":
                    ax.plot(examples, curve.chain_error, "x", color=colour, markersize=5)
            if key == "bias2":
                fine = np.geomspace(examples.min(), examples.max(), 80)
                ax.plot(fine, frozen(fine / in_size, width / in_size, float(temperatures[0])),
                        color="0.6", linewidth=1,
                        label=f"hidden weights frozen, T = {temperatures[0]:g}")  # fmt: skip
            if len(examples) > 1:
                ax.set_xscale("log")
            ax.set_yscale("log")
            for place in (in_size, width, width * (in_size + 1)):
                if examples.min() <= place <= examples.max():
                    ax.axvline(place, color="0.85", linewidth=0.8, zorder=0)
            ax.set_xticks(examples, [str(p) for p in examples])
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter("{x:g}")
            ax.minorticks_off()
            titles = {"bias2": "bias², the posterior mean's error", "variance": "variance"}
            ax.set_title(f"N_1 = {width}: {titles[key]}", fontsize="small")
    for ax in panels[-1]:
        ax.set_xlabel(f"P (N_0 = {in_size})")
    panels[0, 0].plot([], [], "x", color="0.4", label="one chain's mean")
    for name in ("infinite_width", "one_layer"):
        panels[0, 0].plot([], [], color="0.4", linestyle=style_of(name)["linestyle"], label=name)
    legend_below(figure, panels[0, 0], ncols=7)
    return figure


def table(averages: xr.Dataset) -> str:
    heads = ["N_1", "T", "P", "bias²", "error of one chain's mean", "variance", "R̂ max"]
    heads += [f"{name}: bias², variance off" for name in averages.theory.values]
    rows = []
    for width in averages[WIDTH].values:
        for temperature in averages[TEMPERATURE].values:
            for examples in averages[EXAMPLES].values:
                point = averages.sel({WIDTH: width, TEMPERATURE: temperature, EXAMPLES: examples})
                if np.isnan(point.bias2):
                    continue
                cells = [str(width), f"{temperature:g}", str(examples)]
                for key in ("bias2", "chain_error", "variance"):
                    error = float(point[f"{key}_error"])
                    cells.append(plus_minus(Estimate(float(point[key]), error)))
                cells.append(f"{float(point.rhat_max):.3f}")
                for name in averages.theory.values:
                    deviations = [
                        f"{100 * float(point[f'{key}_off'].sel(theory=name)):+.0f}"
                        f"({100 * float(point[f'{key}_off_error'].sel(theory=name)):.0f}) %"
                        for key in ("bias2", "variance")
                    ]
                    cells.append(", ".join(deviations))
                rows.append(cells)
    return markdown(heads, rows)


def measure(call: Call) -> dict[str, xr.Dataset]:
    return {"sweep": swept(call)}


def report(results: Results) -> str:
    return table(averaged(results["sweep"]))


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
