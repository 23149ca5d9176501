"""Units with a mean and targets with a mean: the theories against the sampler, at several seeds.

    python -m experiments.nonodd [--smoke | --full | --draw] [FOLDER]

Sweeps config.toml (full.toml with --full), samples targets that are noise around a mean as well,
keeps results.json and draws nonodd.png in FOLDER (this one), and prints the tables; --draw makes
the figure again from results.json.
"""

from typing import Any

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.common import Call, Results, experiment, legend_below, markdown
from langevin_nn.analysis.comparison import grid_deviations
from langevin_nn.estimates import plus_minus
from langevin_nn.plotting import style_of
from langevin_nn.result_text import QUANTITIES
from langevin_nn.types import Estimate

ACTIVATION, SIZE, WIDTH = "network.activation", "data.num_train", "network.hidden_widths[0]"
SHOWN = ("bias2", "variance")
TICKS = (-30, -10, -5, 0, 5, 10, 30, 100, 300, 1000)
COMPARED = (
    ("one_layer_nonodd", "infinite_width"),
    ("one_layer_nonodd", "one_layer"),
    ("matched", "one_layer_nonodd"),
)
"""The pairs of theories of which the table counts where the first is nearer to the sampler."""

NOISE_THEORIES = ("infinite_width", "one_layer", "one_layer_nonodd")
NOISE = {"num_train": 12, "in_size": 10, "num_test": 100, "width": 10, "mean": 1.5, "T": 0.05}
"""The task of relu units: of Gaussian inputs with targets N(mean, 1) only the mean is learnt."""
NOISE_TARGET = lnn.TargetError(0.003, max_draws=8000)


def noise(seeds: int, **length: Any) -> xr.Dataset:
    """The bias² and variance of relu units, at several draws of targets: noise around a mean.

    `length` are the arguments of `sample` that say how long it goes on.
    """
    task, theories = NOISE, [name for name in lnn.theory.THEORIES if name in NOISE_THEORIES]
    by_quantity = {quantity: np.empty((seeds, 2 + len(theories))) for quantity in SHOWN}
    converged = []
    for seed in range(seeds):
        draws = np.random.default_rng(seed)
        inputs, targets = (
            [draws.normal(size=(task[part], *shape)) for part in ("num_train", "num_test")]
            for shape in ((task["in_size"],), ())
        )
        targets = [task["mean"] + part for part in targets]
        data = lnn.Dataset("noise", inputs[0], targets[0], inputs[1], targets[1])
        key_network, key_chains = jax.random.split(jax.random.key(seed))
        network = lnn.FullyConnected(
            task["in_size"], (task["width"],), activation="relu", key=key_network
        )
        prior = lnn.GaussianPrior((1.0, 1.0))
        posterior = lnn.MarginalisedPosterior(network, prior, data, task["T"])
        chains = lnn.sample(posterior, lnn.Split(), key=key_chains, **length)
        measured = lnn.summarise(chains)
        converged.append(int(measured.converged))
        expected = lnn.theory.predict(posterior.ensemble, theories).results
        for quantity in SHOWN:
            estimate = getattr(measured, quantity)
            by_quantity[quantity][seed] = [
                estimate.value,
                estimate.mcse,
                *(getattr(expected[name], quantity).value for name in theories),
            ]
    return xr.Dataset(
        {quantity: (("seed", "of"), numbers) for quantity, numbers in by_quantity.items()}
        | {"converged": ("seed", converged)},
        coords={"seed": list(range(seeds)), "of": ["sampled", "error", *theories]},
    )


def noise_table(results: xr.Dataset) -> str:
    """A table of sampled and predicted numbers, with (sampled − theory)/(standard error)."""
    theories = [str(name) for name in results.of.values[2:]]
    rows = []
    for seed in results.seed.values:
        mark = "" if bool(results.converged.sel(seed=seed)) else " (not converged)"
        for quantity in SHOWN:
            value, error, *expected = (
                float(prediction) for prediction in results[quantity].sel(seed=seed)
            )
            cells = [str(seed), QUANTITIES[quantity], plus_minus(Estimate(value, error)) + mark]
            cells += [
                f"{prediction:.4g} ({(value - prediction) / error:+.1f})" for prediction in expected
            ]
            rows.append(cells)
    return markdown(["draw", "", "sampled", *theories], rows)


def excess(results: xr.Dataset, quantity: str) -> xr.DataArray:
    """The deviations theory / experiment − 1 in per cent, at points that have converged."""
    measured = results[quantity].where(results.converged)
    return 100 * (results[f"theory_{quantity}"] / measured - 1)


def over_seeds(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """The average over the seeds and its standard error."""
    return values.mean("seed"), values.std("seed", ddof=1) / np.sqrt(values.count("seed"))


def draw(results: Results) -> Figure:
    """A figure with a row for each quantity, a column for each σ and P, a line for each theory."""
    points = results["points"]
    pairs = [(a, p) for a in points[ACTIVATION].values for p in points[SIZE].values]
    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(len(SHOWN), len(pairs), sharex=True, sharey="row", squeeze=False)
    theories = [str(name) for name in points.theory.values]
    for row, quantity in zip(panels, SHOWN, strict=True):
        mean, error = over_seeds(excess(points, quantity))
        for ax, (activation, size) in zip(row, pairs, strict=True):
            for place, name in enumerate(theories):
                line = {ACTIVATION: activation, SIZE: size, "theory": name}
                style = style_of(name)
                ax.errorbar(
                    mean[WIDTH] * 1.06 ** (place - 1.5), mean.sel(line), error.sel(line),
                    color=style["color"], linestyle=style["linestyle"], marker=style["marker"],
                    markersize=4, capsize=2, label=name,
                )  # fmt: skip
            ax.axhline(0, color="black", linewidth=0.8)
            ax.set_xscale("log")
            ax.set_xticks(mean[WIDTH].values, [str(width) for width in mean[WIDTH].values])
            ax.minorticks_off()
            ax.set_title(f"{activation}, P = {size}", fontsize="medium")
            ax.grid(axis="y", alpha=0.3)
        lowest, highest = row[0].get_ylim()
        row[0].set_yscale("symlog", linthresh=10)
        row[0].set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
        row[0].set_ylim(1.2 * lowest, 1.2 * highest)
        row[0].set_ylabel(
            f"{QUANTITIES[quantity]}:\ntheory / experiment − 1  (%)", fontsize="small"
        )
    for ax in panels[-1]:
        ax.set_xlabel("hidden units N_1")
    figure.suptitle(points.caption, fontsize="small")
    legend_below(figure, panels[0, 0], ncols=len(theories))
    return figure


def table(results: xr.Dataset) -> str:
    """A table of averages over the seeds of theory / experiment − 1 in per cent."""
    theories = [str(name) for name in results.theory.values]
    heads = ["units", "P", "N_1", "converged", "", *theories]
    averages = {quantity: over_seeds(excess(results, quantity)) for quantity in SHOWN}
    rows = []
    for place in np.ndindex(*(results.sizes[axis] for axis in (ACTIVATION, SIZE, WIDTH))):
        indices = dict(zip((ACTIVATION, SIZE, WIDTH), place, strict=True))
        point = results.isel(indices)
        name, size, width = (point[axis].item() for axis in (ACTIVATION, SIZE, WIDTH))
        share = f"{int(point.converged.sum())}/{point.sizes['seed']}"
        for quantity in SHOWN:
            cells = [str(name), str(size), str(width), share, QUANTITIES[quantity]]
            for theory in theories:
                mean, error = (
                    float(values.isel(indices).sel(theory=theory)) for values in averages[quantity]
                )
                cells.append(plus_minus(Estimate(mean, error)))
            rows.append(cells)
    return markdown(heads, rows)


def nearer(results: xr.Dataset) -> str:
    """A table of the number of converged points at which one theory is nearer than another."""
    converged = results.converged
    heads = ["nearer to the sampler", "than", *(QUANTITIES[quantity] for quantity in SHOWN)]
    rows = []
    for first, second in COMPARED:
        cells = [first, second]
        for quantity in SHOWN:
            distance = np.abs(excess(results, quantity))
            closer = distance.sel(theory=first) < distance.sel(theory=second)
            cells.append(f"{int((closer & converged).sum())}/{int(converged.sum())}")
        rows.append(cells)
    return markdown(heads, rows)


def within(results: xr.Dataset) -> str:
    """A table of the number of converged points where a theory is within some per cent, or 2σ."""
    heads = ["", "theory", "within 2 %", "within 5 %", "within 10 %", "within 2σ", "largest"]
    rows = []
    for quantity in SHOWN:
        deviations = grid_deviations(results, quantity)
        for theory in results.theory.values:
            deviation_sizes = np.abs(excess(results, quantity).sel(theory=theory)).values
            deviation_sizes = deviation_sizes[np.isfinite(deviation_sizes)]
            sigmas = np.abs(deviations["z"].sel(theory=theory).where(results.converged)).values
            cells = [QUANTITIES[quantity], str(theory)]
            cells += [
                f"{int((deviation_sizes < limit).sum())}/{deviation_sizes.size}"
                for limit in (2, 5, 10)
            ]
            cells += [f"{int((sigmas < 2).sum())}/{deviation_sizes.size}"]
            rows.append([*cells, f"{deviation_sizes.max():.3g} %" if deviation_sizes.size else "–"])
    return markdown(heads, rows)


def measure(call: Call) -> dict[str, xr.Dataset]:
    values = call.values()
    if call.size == "smoke":
        values["sweep"]["over"][WIDTH] = [10]
    low, high = values["data"]["targets"]
    caption = (
        f"MNIST 0/1, targets {low:g} and {high:g}, T = {values['posterior']['temperature']:g}, "
        "λ = 1; averages and standard errors over the seeds"
    )
    points = call.swept(values).drop_dims("order").assign_attrs(caption=caption)
    if call.size == "smoke":
        return {"points": points, "noise": noise(2, num_warmup=4, num_samples=6)}
    return {"points": points, "noise": noise(4, num_warmup="auto", until=NOISE_TARGET)}


def report(results: Results) -> str:
    points = results["points"]
    return "\n\n".join(
        [table(points), within(points), nearer(points), noise_table(results["noise"])]
    )


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
