"""From T = 0.001 to 1: training and test error, and the free energy, against the theories.

    python -m experiments.temperature [--smoke | --full | --draw] [FOLDER]

Runs the ladder of config.toml on two data sets, keeps results.json and draws temperature.png in
FOLDER (this one), and prints the table; --draw makes the figure again from results.json.
"""

from dataclasses import replace

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.common import Call, Results, experiment, frame, legend_below, markdown
from langevin_nn import config as configuration
from langevin_nn.estimates import plus_minus
from langevin_nn.plotting import style_of
from langevin_nn.result_text import QUANTITIES
from langevin_nn.runs import assemble, run
from langevin_nn.types import Estimate

SOURCES = {"mnist": "MNIST 0/1", "cifar10": "CIFAR-10 airplane/automobile"}
THEORIES = ("infinite_width", "one_layer", "scale_mixture", "matched")
KEYS = ("train_error", "bias2", "variance", "generalisation_error")
SIZES = {"smoke": (2, 4, 8, 10), "full": (16, 2000, 5000, 500)}
"""The numbers of chains, warm-up steps, draws and examples."""


def sized(config: configuration.RunConfig, size: str) -> configuration.RunConfig:
    if size not in SIZES:
        return config
    chains, warmup, draws, num_train = SIZES[size]
    ladder = (0.03, 1.0) if size == "smoke" else config.sampler.ladder
    sampler = replace(
        config.sampler, num_chains=chains, num_warmup=warmup, num_samples=draws, ladder=ladder
    )
    network = replace(config.network, hidden_widths=(num_train,))
    data = replace(config.data, num_train=num_train)
    return replace(config, sampler=sampler, data=data, network=network)


def measured(config: configuration.RunConfig) -> xr.Dataset:
    """The results at every temperature of the ladder, sampled and in theory."""
    setup = run.prepare(config)
    ladder = lnn.temper(
        setup.posterior, assemble.dynamics_of(config.sampler), config.sampler.ladder,
        key=setup.key, **run.counts_of(config.sampler),
    )  # fmt: skip
    tempering = lnn.summarise_ladder(ladder, key=jax.random.fold_in(setup.key, 1))
    temperatures = tempering.integration.temperatures
    rungs = {
        key: [getattr(result_at_rung, key) for result_at_rung in tempering.measured] for key in KEYS
    }
    rungs["log_evidence"] = list(tempering.integration.log_evidence)
    variables = {}
    for key, estimates in rungs.items():
        variables[key] = ("T", [estimate.value for estimate in estimates])
        variables[f"{key}_mcse"] = ("T", [estimate.mcse for estimate in estimates])
    variables["quadrature"] = ("T", list(tempering.integration.quadrature))
    variables["rhat_max"] = (
        "T",
        [
            result_at_rung.diagnostics.rhat_max
            for result_at_rung in tempering.measured
            if result_at_rung.diagnostics
        ],
    )
    variables["converged"] = (
        "T",
        [result_at_rung.converged for result_at_rung in tempering.measured],
    )
    variables["swaps"] = ("pair", list(tempering.swap_acceptance))
    expected = {key: np.full((len(THEORIES), len(temperatures)), np.nan) for key in rungs}
    ensemble = setup.posterior.ensemble
    for column, temperature in enumerate(temperatures):
        predictions = lnn.theory.predict(ensemble.at(temperature=temperature), THEORIES)
        for row, name in enumerate(THEORIES):
            result = predictions.results[name]
            for key in KEYS:
                expected[key][row, column] = getattr(result, key).value
            expected["log_evidence"][row, column] = result.log_evidence
    variables |= {f"theory_{key}": (("theory", "T"), table) for key, table in expected.items()}
    return xr.Dataset(
        variables, coords={"T": list(temperatures), "theory": list(THEORIES)},
        attrs={"criterion": predictions.criterion, "round_trips": tempering.round_trips,
               "complaint": tempering.complaint, "run": config.content_hash,
               "num_train": config.data.num_train, "width": config.network.hidden_widths[0],
               "seconds": ladder.chains[0].wall_seconds},
    )  # fmt: skip


def draw(results: Results) -> Figure:
    """A row for each data set: errors against T, then the evidence, theory − sampled."""
    figure = Figure(figsize=(12, 0.8 + 3.3 * len(results)), layout="constrained")
    panels = figure.subplots(len(results), 3, squeeze=False, sharex=True)
    for row, (source, dataset) in zip(panels, results.items(), strict=True):
        for ax, key in zip(row, ("train_error", "generalisation_error"), strict=False):
            for name in THEORIES:
                style = style_of(name)
                ax.plot(dataset["T"], dataset[f"theory_{key}"].sel(theory=name), label=name,
                        color=style["color"], linestyle=style["linestyle"])  # fmt: skip
            ax.errorbar(dataset["T"], dataset[key], dataset[f"{key}_mcse"], fmt="k.", capsize=2,
                        markersize=5, label="sampled (± 1 s.e.)", zorder=3)  # fmt: skip
            frame(ax, dataset[key], log=True)
            ax.set_ylabel(QUANTITIES[key])
            ax.set_title(f"{SOURCES[source]}, P = {dataset.num_train}, N_1 = {dataset.width}, "
                         f"s = {dataset.criterion:.2f}", fontsize="small")  # fmt: skip
        ax = row[2]
        error = np.hypot(dataset.log_evidence_mcse, dataset.quadrature)
        for name in THEORIES:
            style = style_of(name)
            distance = dataset.theory_log_evidence.sel(theory=name) - dataset.log_evidence
            ax.plot(dataset["T"], distance, color=style["color"], linestyle=style["linestyle"])
        ax.errorbar(dataset["T"], 0 * error, error, fmt="k.", capsize=2, markersize=3)
        reach = 1.2 * float(np.nanmax(np.abs(
            dataset.theory_log_evidence.sel(theory=["one_layer", "scale_mixture"])
             - dataset.log_evidence
        )))  # fmt: skip
        ax.set_ylim(-reach, reach)
        ax.set_ylabel("log evidence, theory − sampled")
        ax.set_title("thermodynamic integration", fontsize="small")
    for ax in panels.ravel():
        ax.set_xscale("log")
    for ax in panels[-1]:
        ax.set_xlabel("temperature T")
    legend_below(figure, panels[0, 0], ncols=5)
    return figure


def table(results: Results) -> str:
    heads = ["data", "T", "training error", "generalisation error", "log evidence", *(
        f"{name} − sampled" for name in THEORIES)]  # fmt: skip
    rows = []
    for source, dataset in results.items():
        for place in range(0, dataset.sizes["T"], 4):
            point = dataset.isel({"T": place})
            cells = [source, f"{float(point['T']):.3g}"]
            for key in ("train_error", "generalisation_error"):
                cells.append(plus_minus(Estimate(float(point[key]), float(point[f"{key}_mcse"]))))
            error = float(np.hypot(point.log_evidence_mcse, point.quadrature))
            cells.append(plus_minus(Estimate(float(point.log_evidence), error)))
            for name in THEORIES:
                distance = float(point.theory_log_evidence.sel(theory=name) - point.log_evidence)
                cells.append(f"{distance:+.3g} ({distance / error:+.1f}σ)")
            rows.append(cells)
    return markdown(heads, rows)


def measure(call: Call) -> dict[str, xr.Dataset]:
    datasets = {}
    for source in SOURCES:
        config = sized(configuration.load(call.here / "config.toml"), call.size)
        datasets[source] = measured(replace(config, data=replace(config.data, source=source)))
        attributes = datasets[source].attrs
        call.say(
            f"{source}: run {attributes['run']}, {attributes['seconds']:.0f} s, R̂ max "
            f"{float(datasets[source].rhat_max.max()):.4f}, swaps accepted at least "
            f"{float(datasets[source].swaps.min()):.2f}, {attributes['round_trips']} round trips "
            f"{attributes['complaint']}"
        )
    return datasets


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, table)
