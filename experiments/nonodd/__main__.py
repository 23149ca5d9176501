"""Units with a mean and targets with a mean: the theories against the sampler, at several seeds.

    python -m experiments.nonodd [--smoke | --full | --draw] [FOLDER]

Sweeps config.toml (full.toml with --full), samples targets that are noise around a mean as well,
keeps results.json and draws nonodd.png in FOLDER (this one), and prints the tables; --draw makes
the figure again from results.json.
"""

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.common import Call, Results, experiment, legend_below, markdown
from langevin_nn.analysis.comparison import QUANTITIES, grid_deviations, plus_minus
from langevin_nn.plotting import style_of
from langevin_nn.types import Estimate

ACTIVATION, SIZE, WIDTH = "network.activation", "data.num_train", "network.hidden_widths[0]"
SHOWN = ("bias2", "variance")
TICKS = (-30, -10, -5, 0, 5, 10, 30, 100, 300, 1000)
COMPARED = (
    ("one_layer_nonodd", "infinite_width"),
    ("one_layer_nonodd", "one_layer"),
    ("matched", "one_layer_nonodd"),
)
"""Pairs of theories: at how many seeds is the first nearer to the sampler than the second?"""

NOISE_THEORIES = ("infinite_width", "one_layer", "one_layer_nonodd")
NOISE = {"num_train": 12, "in_size": 10, "num_test": 100, "width": 10, "mean": 1.5, "T": 0.05}
"""relu units on Gaussian inputs, whose targets N(mean, 1) let nothing be learnt but the mean."""


def noise(seeds: int, num_warmup: int, num_samples: int) -> xr.Dataset:
    """bias² and variance of relu units whose targets are noise around a mean, at several draws."""
    size, chosen = NOISE, [name for name in lnn.theory.THEORIES if name in NOISE_THEORIES]
    found = {quantity: np.empty((seeds, 2 + len(chosen))) for quantity in SHOWN}
    converged = []
    for seed in range(seeds):
        draws = np.random.default_rng(seed)
        inputs, targets = (
            [draws.normal(size=(size[part], *shape)) for part in ("num_train", "num_test")]
            for shape in ((size["in_size"],), ())
        )
        targets = [size["mean"] + part for part in targets]
        data = lnn.Dataset("noise", inputs[0], targets[0], inputs[1], targets[1])
        key_network, key_chains = jax.random.split(jax.random.key(seed))
        network = lnn.FullyConnected(
            size["in_size"], (size["width"],), activation="relu", key=key_network
        )
        prior = lnn.GaussianPrior((1.0, 1.0))
        posterior = lnn.MarginalisedPosterior(network, prior, data, size["T"])
        chains = lnn.sample(
            posterior, lnn.Split(), key=key_chains, num_warmup=num_warmup, num_samples=num_samples
        )
        measured = lnn.summarise(chains)
        converged.append(int(measured.converged))
        expected = lnn.theory.predict(posterior.ensemble, chosen).results
        for quantity in SHOWN:
            own = getattr(measured, quantity)
            found[quantity][seed] = [
                own.value,
                own.mcse,
                *(getattr(expected[name], quantity).value for name in chosen),
            ]
    return xr.Dataset(
        {quantity: (("seed", "of"), numbers) for quantity, numbers in found.items()}
        | {"converged": ("seed", converged)},
        coords={"seed": list(range(seeds)), "of": ["sampled", "error", *chosen]},
    )


def noise_table(results: xr.Dataset) -> str:
    """Sampled and predicted, in brackets (sampled − theory)/(standard error)."""
    theories = [str(name) for name in results.of.values[2:]]
    rows = []
    for seed in results.seed.values:
        mark = "" if bool(results.converged.sel(seed=seed)) else " (not converged)"
        for quantity in SHOWN:
            value, error, *expected = (float(each) for each in results[quantity].sel(seed=seed))
            cells = [str(seed), QUANTITIES[quantity], plus_minus(Estimate(value, error)) + mark]
            cells += [f"{each:.4g} ({(value - each) / error:+.1f})" for each in expected]
            rows.append(cells)
    return markdown(["draw", "", "sampled", *theories], rows)


def excess(results: xr.Dataset, quantity: str) -> xr.DataArray:
    """theory / experiment − 1 in per cent, at points that have converged."""
    measured = results[quantity].where(results.converged)
    return 100 * (results[f"theory_{quantity}"] / measured - 1)


def over_seeds(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Average over the seeds and its standard error."""
    return values.mean("seed"), values.std("seed", ddof=1) / np.sqrt(values.count("seed"))


def draw(results: Results) -> Figure:
    """A row for each quantity, a column for each activation and P, a line for each theory."""
    points = results["points"]
    pairs = [(a, p) for a in points[ACTIVATION].values for p in points[SIZE].values]
    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(len(SHOWN), len(pairs), sharex=True, sharey="row", squeeze=False)
    theories = [str(name) for name in points.theory.values]
    for row, quantity in zip(panels, SHOWN, strict=True):
        mean, error = over_seeds(excess(points, quantity))
        for ax, (activation, size) in zip(row, pairs, strict=True):
            for place, name in enumerate(theories):
                here = {ACTIVATION: activation, SIZE: size, "theory": name}
                style = style_of(name)
                ax.errorbar(
                    mean[WIDTH] * 1.06 ** (place - 1.5), mean.sel(here), error.sel(here),
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
    """Averages over the seeds of theory / experiment − 1 in per cent."""
    theories = [str(name) for name in results.theory.values]
    heads = ["units", "P", "N_1", "converged", "", *theories]
    found = {quantity: over_seeds(excess(results, quantity)) for quantity in SHOWN}
    rows = []
    for place in np.ndindex(*(results.sizes[axis] for axis in (ACTIVATION, SIZE, WIDTH))):
        here = dict(zip((ACTIVATION, SIZE, WIDTH), place, strict=True))
        point = results.isel(here)
        name, size, width = (point[axis].item() for axis in (ACTIVATION, SIZE, WIDTH))
        share = f"{int(point.converged.sum())}/{point.sizes['seed']}"
        for quantity in SHOWN:
            cells = [str(name), str(size), str(width), share, QUANTITIES[quantity]]
            for theory in theories:
                mean, error = (
                    float(part.isel(here).sel(theory=theory)) for part in found[quantity]
                )
                cells.append(plus_minus(Estimate(mean, error)))
            rows.append(cells)
    return markdown(heads, rows)


def nearer(results: xr.Dataset) -> str:
    """At how many of the points that have converged one theory is nearer than another."""
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
    """Of the points that have converged, those where a theory is within some per cent, or 2σ."""
    heads = ["", "theory", "within 2 %", "within 5 %", "within 10 %", "within 2σ", "largest"]
    rows = []
    for quantity in SHOWN:
        deviations = grid_deviations(results, quantity)
        for theory in results.theory.values:
            off = np.abs(excess(results, quantity).sel(theory=theory)).values
            off = off[np.isfinite(off)]
            sigmas = np.abs(deviations["z"].sel(theory=theory).where(results.converged)).values
            cells = [QUANTITIES[quantity], str(theory)]
            cells += [f"{int((off < limit).sum())}/{off.size}" for limit in (2, 5, 10)]
            cells += [f"{int((sigmas < 2).sum())}/{off.size}"]
            rows.append([*cells, f"{off.max():.3g} %" if off.size else "–"])
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
    found = call.swept(values).drop_dims("order").assign_attrs(caption=caption)
    short = call.size == "smoke"
    return {"points": found, "noise": noise(*((2, 4, 6) if short else (4, 500, 2000)))}


def report(results: Results) -> str:
    found = results["points"]
    return "\n\n".join([table(found), within(found), nearer(found), noise_table(results["noise"])])


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
