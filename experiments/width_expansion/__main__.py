"""Finite width to order 1/N_1: what the theories leave over, against long runs of the sampler.

    python -m experiments.width_expansion [--smoke | --draw] [FOLDER]

For each width two runs, at the step size η of config.toml and at η/2 with twice the steps. The
dynamics' bias is proportional to η, so 2 × (result at η/2) − (result at η) is free of it. Writes
results.json and width_expansion.png into FOLDER (this one) and prints the table; --draw makes the
figure again from results.json.
"""

import json
import sys
from dataclasses import replace

import jax
import numpy as np
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.common import called
from langevin_nn import config as configuration
from langevin_nn.plotting import THEORY_STYLES
from langevin_nn.runs import run, tables

WIDTHS = (5, 10, 20, 40)
THEORIES = ("infinite_width", "one_layer", "scale_mixture", "width_expansion", "matched")
QUANTITIES = ("bias2", "variance")
Rows = dict[str, dict[str, dict[str, list[float]]]]


def sampled(config: configuration.RunConfig, width: int, smoke: bool) -> dict[str, list[float]]:
    """The bias² and variance at η → 0, each with its standard error, and the worst R̂."""
    results = []
    settings = config.sampler
    for halvings in (0, 1):
        sampler = replace(
            settings,
            step_size=float(settings.step_size) / 2**halvings,
            num_warmup=settings.num_warmup * 2**halvings,
            thinning=settings.thinning * 2**halvings,
        )
        if smoke:
            sampler = replace(sampler, num_chains=4, num_warmup=50, num_samples=20, thinning=2)
        network = replace(config.network, hidden_widths=(width,))
        problem = run.prepare(replace(config, network=network, sampler=sampler))
        chains = lnn.sample(
            problem.posterior,
            lnn.Langevin(sampler.step_size),
            key=jax.random.fold_in(problem.key, halvings),
            num_chains=sampler.num_chains,
            num_warmup=sampler.num_warmup,
            num_samples=sampler.num_samples,
            thinning=sampler.thinning,
        )
        results.append(lnn.summarise(chains))
    extrapolated = {}
    for name in QUANTITIES:
        coarse, fine = (getattr(result, name) for result in results)
        error = float(np.hypot(coarse.mcse, 2 * fine.mcse))
        extrapolated[name] = [2 * fine.value - coarse.value, error]
    diagnostics = [result.diagnostics for result in results]
    extrapolated["rhat_max"] = [
        max(diagnostic.rhat_max for diagnostic in diagnostics if diagnostic is not None)
    ]
    return extrapolated


def main() -> None:
    call = called(__file__, __doc__ or "", full=False)
    config = configuration.load(call.here / "config.toml")
    if not call.draw:
        rows = measured(config, call.size == "smoke")
        call.results.write_text(json.dumps(rows, indent=1) + "\n")
    figure = draw(json.loads(call.results.read_text()), tables.caption(config))
    figure.savefig(call.folder / "width_expansion.png", dpi=130)


def measured(config: configuration.RunConfig, smoke: bool) -> Rows:
    """The sampled numbers and each theory's, by width; each row is printed when it is known."""
    rows = {}
    for width in WIDTHS[-2:] if smoke else WIDTHS:
        network = replace(config.network, hidden_widths=(width,))
        _, ensemble = run.prepare_theory(replace(config, network=network))
        predictions = lnn.theory.predict(ensemble, THEORIES).results
        row = {"sampled": sampled(config, width, smoke)}
        for name, theory in predictions.items():
            row[name] = {
                key: [(estimate := getattr(theory, key)).value, estimate.mcse] for key in QUANTITIES
            }
        rows[str(width)] = row
        sys.stdout.write(f"N_1 = {width}, R̂ max {row['sampled']['rhat_max'][0]:.4f}\n")
        for name, numbers in row.items():
            texts = [f"{numbers[key][0]:.5f} ± {numbers[key][1]:.5f}" for key in QUANTITIES]
            sys.stdout.write(f"  {name:<16} bias² {texts[0]}   variance {texts[1]}\n")
        sys.stdout.flush()
    return rows


def draw(rows: Rows, caption: str) -> Figure:
    """A figure of |sampled − theory| against N_1, with guides of slope −1 and −2."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    widths = np.array([int(width) for width in rows])
    labels = {"bias2": "bias²", "variance": "variance"}
    for ax, key in zip(figure.subplots(1, 2), QUANTITIES, strict=True):
        truth = np.array([row["sampled"][key] for row in rows.values()])
        for place, name in enumerate(THEORIES):
            expected = np.array([row[name][key] for row in rows.values()])
            distance = np.abs(truth[:, 0] - expected[:, 0])
            error = np.hypot(truth[:, 1], expected[:, 1])
            style = THEORY_STYLES[name]
            ax.errorbar(
                widths * 1.04 ** (place - 2), distance, error, label=name, capsize=2, markersize=5,
                color=style["color"], marker=style["marker"], linestyle="none", elinewidth=0.8,
            )  # fmt: skip
            if name in ("infinite_width", "width_expansion"):
                power = 1 if name == "infinite_width" else 2
                anchor = len(widths) // 2
                guide = distance[anchor] * (widths[anchor] / widths) ** power
                slope = "∝ 1/N_1" if power == 1 else "∝ 1/N_1²"
                ax.plot(widths, guide, color=style["color"], linewidth=0.8, label=slope)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_ylim(bottom=1e-4)
        ax.set_xticks(widths, [str(width) for width in widths])
        ax.minorticks_off()
        ax.set_xlabel("N_1")
        ax.set_ylabel(f"|sampled − theory|, {labels[key]}")
    handles, names = ax.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(caption.replace("N = (10), ", ""), fontsize="small")
    return figure


if __name__ == "__main__":
    main()
