"""A cold and narrow network: every dynamics is trapped at its temperature, a ladder gets free.

    python -m experiments.tempering [--smoke | --draw] [FOLDER]

Samples the posterior of config.toml with each dynamics on each read-out, and with the split
dynamics on the ladder, from two seeds. Writes results.json and tempering.png into FOLDER (this
one) and prints the table; --draw makes the figure again from results.json.
"""

import json
import sys
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.common import called
from langevin_nn import config as configuration
from langevin_nn.analysis.tempering import summarise_ladder
from langevin_nn.runs import assemble, run, tables

WAYS = {
    "langevin": ("langevin", "sampled"),
    "split": ("split", "sampled"),
    "split, marginalised": ("split", "marginalised"),
    "split, marginalised, ladder": ("split", "marginalised"),
}
LANGEVIN_STEPS = 50
"""The number of steps of Langevin dynamics for one trajectory of the others."""


def sampled(config: configuration.RunConfig, way: str, seed: int) -> dict[str, Any]:
    """The results of one way of sampling: numbers, their R̂, and each chain's training error."""
    name, readout = WAYS[way]
    setup = run.prepare(replace(config, posterior=replace(config.posterior, readout=readout)))
    settings = config.sampler
    counts = {name: getattr(settings, name) for name in ("num_warmup", "num_samples", "thinning")}
    dynamics = assemble.dynamics_of(settings)
    if name == "langevin":
        dynamics = lnn.Langevin()
        for count in ("num_warmup", "thinning"):
            counts[count] *= LANGEVIN_STEPS
    key = jax.random.fold_in(setup.key, seed)
    ladder_results: dict[str, Any] = {}
    if way.endswith("ladder"):
        ladder = lnn.temper(
            setup.posterior, dynamics, settings.ladder, key=key,
            num_chains=settings.num_chains, **counts,
        )  # fmt: skip
        chains, tempering = ladder.chains[0], summarise_ladder(ladder, key=key)
        integration = tempering.integration
        ladder_results["ladder"] = {
            "temperatures": integration.temperatures,
            "log_evidence": [
                (estimate.value, estimate.mcse) for estimate in integration.log_evidence
            ],
            "quadrature": [
                quadrature if np.isfinite(quadrature) else None
                for quadrature in integration.quadrature
            ],
            "swap_acceptance": tempering.swap_acceptance,
            "round_trips": tempering.round_trips,
            "rhat_max": [
                rung.diagnostics.rhat_max for rung in tempering.measured if rung.diagnostics
            ],
        }
    else:
        chains = lnn.sample(
            setup.posterior, dynamics, key=key, num_chains=settings.num_chains, **counts
        )
    measured = lnn.summarise(chains)
    assert measured.diagnostics is not None
    return ladder_results | {
        "bias2": (measured.bias2.value, measured.bias2.mcse),
        "variance": (measured.variance.value, measured.variance.mcse),
        "train_error": (measured.train_error.value, measured.train_error.mcse),
        "rhat_max": measured.diagnostics.rhat_max,
        "ess_min": measured.diagnostics.ess_min,
        "converged": measured.converged,
        "by_chain": chains.train_error.mean(axis=1).tolist(),
        "seconds": chains.wall_seconds,
    }


def theories(config: configuration.RunConfig, temperatures: list[float]) -> dict[str, list[float]]:
    """The log evidence of the theories at each temperature."""
    _, ensemble = run.prepare_theory(config)
    names = ("infinite_width", "one_layer", "scale_mixture", "matched")
    evidences: dict[str, list[float]] = {name: [] for name in names}
    for temperature in temperatures:
        results = lnn.theory.predict(ensemble.at(temperature=temperature), names).results
        for name in names:
            evidences[name].append(float(results[name].log_evidence or np.nan))
    return evidences


def table(results: dict[str, Any]) -> str:
    rows = ["| | seed | bias² | variance | training error | R̂ max | ESS min | time [s] |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for way, by_seed in results["ways"].items():
        for seed, result in by_seed.items():
            numbers = [
                f"{result[name][0]:.4f} ± {result[name][1]:.4f}"
                for name in ("bias2", "variance", "train_error")
            ]
            numbers += [f"{result['rhat_max']:.3f}", f"{result['ess_min']:.0f}"]
            rows.append(f"| {way} | {seed} | {' | '.join(numbers)} | {result['seconds']:.0f} |")
    return "\n".join(rows)


def draw(results: dict[str, Any], caption: str) -> Figure:
    """A figure of each chain's training error in each way, and of the log evidence against T."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, by_seed in enumerate(results["ways"].values()):
        for marker, result in zip("ox", by_seed.values(), strict=False):
            values = np.array(result["by_chain"]) / results["temperature"]
            offsets = np.linspace(-0.25, 0.25, len(values))
            left.plot(place + offsets, values, marker, color=f"C{place}", fillstyle="none")
    left.set_xticks(
        range(len(results["ways"])), [way.replace(", ", "\n") for way in WAYS], fontsize="x-small"
    )
    left.set_yscale("log")
    left.set_ylabel("training error of a chain / T")
    left.set_title("each point one chain (○ × two seeds)", fontsize="medium")
    ladder = next(iter(results["ways"]["split, marginalised, ladder"].values()))["ladder"]
    values, errors = np.array(ladder["log_evidence"]).T
    for number, (name, theory) in enumerate(results["theories"].items()):
        right.plot(ladder["temperatures"], theory, "-", color=f"C{number}", label=name)
    right.errorbar(ladder["temperatures"], values, errors, fmt="k.", capsize=2, label="ladder")
    right.set_xscale("log")
    right.set_xlabel("temperature T")
    right.set_ylabel("log evidence log p(y | X)")
    right.legend(frameon=False, fontsize="small")
    right.set_title("thermodynamic integration", fontsize="medium")
    figure.suptitle(caption, fontsize="medium")
    return figure


def main() -> None:
    call = called(__file__, __doc__ or "", full=False)
    config = configuration.load(call.here / "config.toml")
    if call.size == "smoke":
        sampler = replace(
            config.sampler, num_chains=2, num_warmup=10, num_samples=8, thinning=1,
            ladder=(0.05, 0.3, 0.9),
        )  # fmt: skip
        config = replace(config, sampler=sampler)
    if not call.draw:
        results: dict[str, Any] = {"temperature": config.posterior.temperature, "ways": {}}
        for way in WAYS:
            seeds = {str(seed): sampled(config, way, seed) for seed in (0, 1)}
            results["ways"][way] = seeds
            sys.stderr.write(f"{way}: {[result['rhat_max'] for result in seeds.values()]}\n")
        temperatures = [config.posterior.temperature, *config.sampler.ladder]
        results["theories"] = theories(config, temperatures)
        results["config"] = config.content_hash
        call.results.write_text(json.dumps(results, indent=1) + "\n")
    results = json.loads(call.results.read_text())
    figure = draw(results, tables.caption(config))
    figure.savefig(call.folder / "tempering.png", dpi=110)
    print(table(results))
    ladder = results["ways"]["split, marginalised, ladder"]["0"]["ladder"]
    print(
        "swaps accepted",
        np.round(ladder["swap_acceptance"], 2),
        "round trips",
        ladder["round_trips"],
    )
    for temperature, evidence, quadrature, *theory in zip(
        ladder["temperatures"], ladder["log_evidence"], ladder["quadrature"],
        *results["theories"].values(), strict=True,
    ):  # fmt: skip
        print(f"T = {temperature:g}: log evidence {evidence[0]:.3f} ± {evidence[1]:.3f}", end="")
        print(f" (quadrature {quadrature}); theories {np.round(theory, 3)}")


if __name__ == "__main__":
    main()
