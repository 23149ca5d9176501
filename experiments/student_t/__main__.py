"""The order parameter and an output of a narrow network: what is sampled, and three theories.

    python -m experiments.student_t [--smoke | --full | --draw] [FOLDER]

Samples config.toml with identity and erf units, and with erf and relu the kurtosis of f at every
test point of several draws of the data; keeps results.json, draws student_t.png and kurtosis.png in
FOLDER (this one), and prints the tables; --draw makes the figures again from results.json.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.interpolate import CubicSpline

import langevin_nn as lnn
from experiments.common import Call, Results, experiment, markdown
from langevin_nn import config as configuration
from langevin_nn.estimates import plus_minus
from langevin_nn.plotting import CHAIN_COLOURS, style_of
from langevin_nn.runs import assemble, run
from langevin_nn.types import Estimate

ACTIVATIONS = ("identity", "erf")
"""The activations whose densities are drawn, from one draw of the data."""
TAIL_ACTIVATIONS = ("erf", "relu")
"""The activations whose kurtosis is compared at NUM_SEEDS draws of the data."""
THEORIES = ("infinite_width", "one_layer", "scale_mixture")
NUM_SEEDS = 6
"""The number of draws of the data, the first of which is that whose densities are drawn."""
SCALES = np.geomspace(0.05, 12, 45)
"""The edges of the bins of Q."""
REACH = 8.0
"""The range of f on either side of its mean, in its standard deviations at infinite width."""


def sampled(config: configuration.RunConfig) -> xr.Dataset:
    """The histogram of Q, density of f at one test input, and moments, sampled and in theory."""
    setup = run.prepare(config)
    ensemble, data = setup.posterior.ensemble, setup.data
    width, precision = config.network.hidden_widths[0], config.prior.precisions[-1]
    chains = lnn.sample(
        setup.posterior, assemble.dynamics_of(config.sampler), key=setup.key,
        observables={"Q": lambda network: precision * jnp.sum(network.weights[-1] ** 2) / width},
        **run.counts_of(config.sampler),
    )  # fmt: skip
    measured = lnn.summarise(chains)
    wide = lnn.theory.infinite_width(ensemble)
    point = int(np.argmax(wide.predictive_variance))
    centre, spread = wide.predictive_mean[point], np.sqrt(wide.predictive_variance[point])
    f = centre + spread * np.linspace(-REACH, REACH, 161)
    densities, moments = by_chain(chains, point, f)
    scale = chains.observables["Q"].astype(np.float64)
    histograms = np.array([np.histogram(row, SCALES)[0] for row in scale]) / scale.shape[1]
    exact = lnn.theory.order_parameter_distribution(ensemble)
    numbers = {
        name: lnn.theory.predictive_distribution(ensemble, data.x_test[point : point + 1], name)
        for name in THEORIES
    }
    predictions = {name: lnn.theory.predict(ensemble, [name]).results[name] for name in THEORIES}
    variables = {
        "Q_density": with_error(histograms / np.diff(SCALES), "bin"),
        "f_density": with_error(densities, "f"),
        "moments": with_error(
            np.stack([scale.mean(1), (scale**2).mean(1) - scale.mean(1) ** 2, *moments], axis=1),
            "moment",
        ),
        "theory_Q_density": ("bin", bin_averages(exact)),
        "theory_Q": ("theory", [(*predictions[n].order_parameters, 1.0)[0] for n in THEORIES]),
        "theory_f": (("theory", "f"), [numbers[n].density(f)[0] for n in THEORIES]),
        "theory_moments": (("theory", "moment"), [
            [*of_scale(n, exact), *of_density(numbers[n], centre)] for n in THEORIES
        ]),
    }  # fmt: skip
    return xr.Dataset(
        {name: value for name, value in variables.items()},
        coords={"f": f, "bin": middles(), "theory": list(THEORIES), "of": ["value", "error"],
                "moment": ["mean of Q", "variance of Q", "variance of f", "kurtosis of f"]},
        attrs={"rhat_max": measured.diagnostics.rhat_max if measured.diagnostics else np.nan,
               "converged": int(measured.converged), "message": measured.message,
               "run": config.content_hash, "point": point, "seconds": chains.wall_seconds},
    )  # fmt: skip


def by_chain(chains: lnn.Chains, point: int, f: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The density of f for each chain, an average of Gaussians N(m_W, s_W); variance, kurtosis."""
    assert chains.test_variances is not None
    means = chains.test_outputs[:, :, point].astype(np.float64)
    variances = chains.test_variances[:, :, point].astype(np.float64)
    densities = np.empty((len(means), len(f)))
    for chain, (m, s) in enumerate(zip(means, variances, strict=True)):
        gaussians = np.exp(-np.square(f[:, None] - m) / (2 * s)) / np.sqrt(2 * np.pi * s)
        densities[chain] = gaussians.mean(axis=1)
    d = means - means.mean()
    second = (d**2 + variances).mean(axis=1)
    fourth = (d**4 + 6 * d**2 * variances + 3 * variances**2).mean(axis=1)
    return densities, [second, fourth / second.mean() ** 2]


def kurtoses(config: configuration.RunConfig, seeds: int) -> xr.Dataset:
    """The kurtosis of f at every test point of several data draws, sampled and of the mixture.

    Point 0 is the one with the largest variance at infinite width, and so on downwards.
    """
    setups = [run.prepare(replace(config, seed=config.seed + seed)) for seed in range(seeds)]
    sampled = lnn.sample_points(
        [setup.posterior for setup in setups], assemble.dynamics_of(config.sampler),
        keys=[jax.random.fold_in(setup.key, 1) for setup in setups],
        **run.counts_of(config.sampler),
    )  # fmt: skip
    numbers_by_seed = np.empty((seeds, 3, setups[0].data.num_test))
    summaries = [lnn.summarise(chains) for chains in sampled]
    for numbers, setup, chains in zip(numbers_by_seed, setups, sampled, strict=True):
        ensemble, data = setup.posterior.ensemble, setup.data
        order = np.argsort(-lnn.theory.infinite_width(ensemble).predictive_variance)
        mixture = lnn.theory.predictive_distribution(ensemble, data.x_test[order])
        numbers[:2] = kurtosis_of(chains, order)
        d, s, w = mixture.means - mixture.mean[:, None], mixture.variances, mixture.weights
        fourth = (d**4 + 6 * d**2 * s + 3 * s**2) @ w
        numbers[2] = fourth / mixture.variance**2
    return xr.Dataset(
        {
            "kurtosis": (("seed", "of", "point"), numbers_by_seed[:, :2]),
            "mixture": (("seed", "point"), numbers_by_seed[:, 2]),
            "converged": ("seed", [int(summary.converged) for summary in summaries]),
            "rhat_max": (
                "seed",
                [d.rhat_max for summary in summaries if (d := summary.diagnostics)],
            ),
        },
        coords={"of": ["value", "error"], "seed": [config.seed + seed for seed in range(seeds)]},
    )


def kurtosis_of(chains: lnn.Chains, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kurtosis of f at test points in this order, with a jackknife error over the chains."""
    assert chains.test_variances is not None
    m = chains.test_outputs[:, :, order].astype(np.float64)
    s = chains.test_variances[:, :, order].astype(np.float64)
    d = m - m.mean(axis=(0, 1))
    moments = np.stack([
        d.mean(axis=1), (d**2 + s).mean(axis=1),
        (d**3 + 3 * d * s).mean(axis=1), (d**4 + 6 * d**2 * s + 3 * s**2).mean(axis=1),
    ])  # fmt: skip
    num_chains = moments.shape[1]
    leave_one_out = (moments.sum(axis=1, keepdims=True) - moments) / (num_chains - 1)
    scatter = central_kurtosis(leave_one_out).std(axis=0)
    return central_kurtosis(moments.mean(axis=1)), np.sqrt(num_chains - 1) * scatter


def central_kurtosis(moments: np.ndarray) -> np.ndarray:
    """The kurtosis from the first four moments about any point."""
    first, second, third, fourth = moments
    central = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    return central / (second - first**2) ** 2


def with_error(by_chain: np.ndarray, axis: str) -> tuple[tuple[str, str], np.ndarray]:
    """The average over the chains and its standard error."""
    error = by_chain.std(axis=0, ddof=1) / np.sqrt(len(by_chain))
    return ("of", axis), np.stack([by_chain.mean(axis=0), error])


def of_scale(theory: str, exact: lnn.theory.OrderParameterDistribution) -> tuple[float, float]:
    """The mean and variance of Q, which only the mixture has as a distribution."""
    if theory != "scale_mixture":
        return np.nan, 0.0
    mean = exact.moment(1)
    return mean, exact.moment(2) - mean**2


def of_density(
    distribution: lnn.theory.PredictiveDistribution, centre: float
) -> tuple[float, float]:
    """The variance and kurtosis of f."""
    d, s, w = (
        distribution.means[0] - distribution.mean[0],
        distribution.variances[0],
        distribution.weights,
    )
    second = w @ (d**2 + s)
    return float(second), float(w @ (d**4 + 6 * d**2 * s + 3 * s**2) / second**2)


def bin_averages(exact: lnn.theory.OrderParameterDistribution) -> np.ndarray:
    """The mixture's density of Q averaged over each bin of SCALES, which a histogram estimates.

    Between the nodes, 15 % apart, the logarithm of the density is a cubic spline of log Q: chords
    of the density itself are up to a third too high in the tail.
    """
    log_density = CubicSpline(np.log(exact.scales), np.log(exact.density))
    fine = np.geomspace(SCALES[0], SCALES[-1], 20 * (len(SCALES) - 1) + 1)
    below = CubicSpline(fine, np.exp(log_density(np.log(fine)))).antiderivative()
    return np.diff(below(SCALES)) / np.diff(SCALES)


def middles() -> np.ndarray:
    return np.sqrt(SCALES[1:] * SCALES[:-1])


def draw_densities(results: Results) -> Figure:
    """A figure with a row for each activation: Q, and f on a linear and a logarithmic axis."""
    figure = Figure(figsize=(11, 0.8 + 3.1 * len(results)), layout="constrained")
    panels = figure.subplots(len(results), 3, squeeze=False)
    for row, (activation, dataset) in zip(panels, results.items(), strict=True):
        order_parameter(row[0], dataset, activation)
        for ax in row[1:]:
            output(ax, dataset, activation)
        row[1].set_xlim(*(dataset.f.values[[0, -1]] * 0.5 + dataset.f.values[80] * 0.5))
        row[2].set_yscale("log")
        row[2].set_ylim(1e-6, 2)
    figure.suptitle("N_1 = 5, P = 5, T = 0.1, network teacher of 10 inputs", fontsize="small")
    handles, labels = panels[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def order_parameter(ax: Axes, dataset: xr.Dataset, activation: str) -> None:
    value, error = dataset.Q_density.sel(of="value"), dataset.Q_density.sel(of="error")
    ax.errorbar(dataset.bin, value.where(value > 0), error, fmt="k.", markersize=4, capsize=1.5)
    ax.plot(dataset.bin, dataset.theory_Q_density, color=style_of("scale_mixture")["color"],
            label="scale_mixture")  # fmt: skip
    for name in ("infinite_width", "one_layer"):
        style = style_of(name)
        ax.axvline(float(dataset.theory_Q.sel(theory=name)), color=style["color"],
                   linestyle=style["linestyle"])  # fmt: skip
    ax.set_yscale("log")
    ax.set_ylim(1e-5, 3)
    ax.set_xlim(0, 7)
    ax.set_xlabel("Q = λ_1‖v‖²/N_1")
    ax.set_ylabel("density")
    ax.set_title(f"order parameter, {activation}", fontsize="small")


def output(ax: Axes, dataset: xr.Dataset, activation: str) -> None:
    for name in THEORIES:
        style = style_of(name)
        ax.plot(dataset.f, dataset.theory_f.sel(theory=name), color=style["color"],
                linestyle=style["linestyle"], label=name)  # fmt: skip
    value, error = dataset.f_density.sel(of="value"), dataset.f_density.sel(of="error")
    ax.errorbar(dataset.f[::4], value[::4], error[::4], fmt="k.", markersize=4, capsize=1.5,
                label="sampled (± 1 s.e.)", zorder=3)  # fmt: skip
    ax.set_xlabel("f at one test input")
    ax.set_ylabel("density")
    ax.set_title(f"output, {activation}", fontsize="small")


def draw_kurtosis(results: Results) -> Figure:
    """A figure of the sampled against the mixture's kurtosis at each test point."""
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    panels = figure.subplots(1, len(results), squeeze=False)[0]
    for ax, (activation, dataset) in zip(panels, results.items(), strict=True):
        value, error = (dataset.kurtosis.sel(of=of) for of in ("value", "error"))
        for colour, seed in zip(CHAIN_COLOURS, dataset.seed.values, strict=False):
            place = {"seed": seed}
            ax.errorbar(dataset.mixture.sel(place), value.sel(place), error.sel(place), fmt=".",
                        color=colour, markersize=3, elinewidth=0.6, alpha=0.6)  # fmt: skip
            largest = place | {"point": 0}
            ax.errorbar(dataset.mixture.sel(largest), value.sel(largest), error.sel(largest),
                        fmt="D", color=colour, markeredgecolor="black", markersize=6, zorder=3,
                        label=f"data set {seed}")  # fmt: skip
        ends = np.array([2.5, 1.05 * max(float(dataset.mixture.max()), float(value.max()))])
        ax.plot(ends, ends, color="black", linewidth=0.8, label="sampled = mixture")
        ax.axhline(3, color="0.4", linewidth=0.8, linestyle=":", label="Gaussian: 3")
        ax.set_xlabel("kurtosis of f in the scale mixture")
        ax.set_title(f"{activation} units", fontsize="medium")
    panels[0].set_ylabel("kurtosis of f, sampled (± 1 s.e.)")
    figure.suptitle("N_1 = 5, P = 5, T = 0.1, network teacher of 10 inputs; each test point, as a "
                    "diamond that of the largest variance", fontsize="small")  # fmt: skip
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def kurtosis_table(results: Results) -> str:
    """A table of the kurtosis at the point of the largest variance, and of shares of all points."""
    heads = ["units", "data set", "R̂ max", "kurtosis of f", "mixture", "median of all points"]
    heads += ["mixture, median", "above 3 by 2σ", "below 3 by 2σ", "above the mixture"]
    rows = []
    for activation, dataset in results.items():
        for seed in dataset.seed.values:
            seed_results = dataset.sel(seed=seed)
            value, error = (seed_results.kurtosis.sel(of=of).values for of in ("value", "error"))
            mixture, size = seed_results.mixture.values, value.size
            rows.append([
                activation, str(seed), f"{float(seed_results.rhat_max):.4f}",
                plus_minus(Estimate(float(value[0]), float(error[0]))), f"{mixture[0]:.2f}",
                f"{np.median(value):.2f}", f"{np.median(mixture):.2f}",
                f"{np.sum(value - 3 > 2 * error)}/{size}",
                f"{np.sum(3 - value > 2 * error)}/{size}", f"{np.sum(value > mixture)}/{size}",
            ])  # fmt: skip
    return markdown(heads, rows)


def table(results: Results) -> str:
    heads = ["units", "", "sampled", *THEORIES]
    rows = []
    for activation, dataset in results.items():
        for moment in dataset.moment.values:
            value, error = (float(dataset.moments.sel(of=of, moment=moment)) for of in dataset.of)
            cells = [activation, str(moment), plus_minus(Estimate(value, error))]
            for name in THEORIES:
                expected = float(dataset.theory_moments.sel(theory=name, moment=moment))
                order = float(dataset.theory_Q.sel(theory=name))
                expected = order if moment == "mean of Q" else expected
                cells.append(f"{expected:.4g} ({(value - expected) / error:+.1f}σ)")
            rows.append(cells)
    return markdown(heads, rows)


def measure(call: Call) -> dict[str, xr.Dataset]:
    config = configuration.load(call.here / "config.toml")
    sizes = {"smoke": (4, 5, 20), "full": (256, 2000, 20_000)}
    seeds = 2 if call.size == "smoke" else NUM_SEEDS
    if call.size in sizes:
        config = with_counts(config, *sizes[call.size])
    datasets = {}
    for activation in ACTIVATIONS:
        datasets[activation] = sampled(with_units(config, activation))
        attributes = datasets[activation].attrs
        call.say(f"{activation}: run {attributes['run']}, {attributes['seconds']:.0f} s, R̂ max "
                 f"{attributes['rhat_max']:.4f} {attributes['message']}")  # fmt: skip
    quarter_config = with_counts(
        config, config.sampler.num_chains, config.sampler.num_warmup or 0,
        max(config.sampler.num_samples // 4, 4),
    )  # fmt: skip
    for activation in TAIL_ACTIVATIONS:
        datasets[f"kurtosis, {activation}"] = kurtoses(
            with_units(quarter_config, activation), seeds
        )
    return datasets


def draw(results: Results) -> dict[str, Figure]:
    return {
        "student_t": draw_densities({name: results[name] for name in ACTIVATIONS}),
        "kurtosis": draw_kurtosis(tails(results)),
    }


def report(results: Results) -> str:
    densities = {name: results[name] for name in ACTIVATIONS}
    return f"{table(densities)}\n\n{kurtosis_table(tails(results))}"


def tails(results: Results) -> dict[str, xr.Dataset]:
    """The kurtoses by activation."""
    return {name: results[f"kurtosis, {name}"] for name in TAIL_ACTIVATIONS}


def with_units(config: configuration.RunConfig, activation: str) -> configuration.RunConfig:
    return replace(config, network=replace(config.network, activation=activation))


def with_counts(
    config: configuration.RunConfig, num_chains: int, num_warmup: int, num_samples: int
) -> configuration.RunConfig:
    sampler = replace(
        config.sampler, num_chains=num_chains, num_warmup=num_warmup, num_samples=num_samples
    )
    return replace(config, sampler=sampler)


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
