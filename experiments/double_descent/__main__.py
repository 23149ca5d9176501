"""Double descent without and with an ensemble, in the lazy and in the feature regime.

    python -m experiments.double_descent [--smoke | --full | --draw] [FOLDER]

Follows the gradient from draws of the prior at every width, on the task of config.toml (full.toml
with --full), keeps results.json and draws double_descent.png in FOLDER (this one), and prints the
tables; --draw makes the figure again from results.json.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.common import Call, Results, experiment, markdown
from langevin_nn import config as configuration
from langevin_nn.analysis.comparison import plus_minus
from langevin_nn.analysis.resampling import independent_mean
from langevin_nn.analysis.scaling import PowerLaw
from langevin_nn.runs import run
from langevin_nn.runs.assemble import loss_of
from langevin_nn.types import Estimate

SCALES = {"lazy": 1e3, "feature": 0.1}
"""α̃ = √h α."""
WIDTHS = {
    "smoke": [3, 9],
    "config": [4, 6, 8, 9, 10, 11, 12, 13, 14, 16, 20, 24, 32, 48, 64, 96],
    "full": [6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 40, 56, 80, 112, 160, 224, 320, 640],
}
NUMBER = {"smoke": 3, "config": 16, "full": 20}
"""Initialisations."""
FLOW: dict[str, Any] = {
    "loss_tolerance": 5e-5, "rtol": 1e-3, "atol": 1e-4, "solver": "stabilised",
}  # fmt: skip
"""Fitted: every margin y f above 0.99."""
STEPS = {"smoke": 200, "config": 1000, "full": 20_000}
"""After which a network counts as one that does not fit."""
WIDE = 3.0
"""Exponents are fitted to networks with more weights than this times N*."""
NEAR = 0.15
"""The singularity at N* is fitted from N/N* − 1 above this: N* is known no better."""
MEASURED = ("single", "ensemble", "difference", "variance", "norm2", "unsatisfied")
COLOURS = {"lazy": "#0072B2", "feature": "#D55E00"}


def ensemble(call: Call, task: run.Problem, width: int, scale: float) -> dict[str, Any]:
    """The numbers of one width and output scale α̃."""
    config, data = task.config, task.data
    key = jax.random.fold_in(task.key, width)
    activation = config.network.activation
    network = lnn.FullyConnected(
        data.in_size, (width, width), activation, key=key, dtype=np.float64
    )
    prior = lnn.GaussianPrior((1.0, 1.0, 1.0))
    posterior = lnn.GibbsPosterior(network, prior, data, 1.0, loss_of(config))
    flow = lnn.gradient_flow(
        posterior, key=key, num_initialisations=NUMBER[call.size],
        output_scale=scale / width**0.5, max_steps=STEPS[call.size], **FLOW,
    )  # fmt: skip
    errors = lnn.classification_errors(flow)

    found = {
        "single": errors.single,
        "ensemble": errors.ensemble,
        "difference": errors.difference,
        "variance": lnn.summarise_flow(flow).variance,
        "norm2": independent_mean(np.square(flow.test_outputs).mean(axis=1)),
        "unsatisfied": independent_mean(flow.unsatisfied.astype(float)),
        "weights": sum(leaf[0].size for leaf in jax.tree.leaves(flow.params)),
        "fitted": float(np.mean(flow.unsatisfied == 0)),
        "settled": float(np.mean(flow.settled)),
        "steps": int(flow.num_steps.max()),
        "over_test_set": errors.over_test_set,
    }
    call.say(
        f"α̃ = {scale:g}, h = {width}: {found['fitted']:.0%} fitted, {found['steps']} steps, "
        f"error {errors.single.value:.4f}, of the ensemble {errors.ensemble.value:.4f}"
    )
    return found


def measured(call: Call) -> xr.Dataset:
    """Every regime and width."""
    values = {name: part for name, part in call.values().items() if name != "sweep"}
    task = run.prepare(configuration.from_dict(values))
    widths = WIDTHS[call.size]
    jobs = [(width, scale) for width in widths[::-1] for scale in SCALES.values()]
    with ThreadPoolExecutor(2) as pool:  # one compiles while the other runs; large widths first
        done = pool.map(lambda job: ensemble(call, task, *job), jobs)
    by_job = dict(zip(jobs, done, strict=True))
    rows = [[by_job[width, scale] for width in widths] for scale in SCALES.values()]
    dims = ("regime", "width")

    def number(name: str) -> tuple[tuple[str, ...], list[Any]]:
        return dims, [[found[name] for found in row] for row in rows]

    content: dict[str, Any] = {
        name: ((*dims, "of"), [[(f[name].value, f[name].mcse) for f in row] for row in rows])
        for name in MEASURED
    }
    content |= {name: number(name) for name in ("fitted", "settled", "steps")}
    content["over_test_set"] = ((*dims, "rate"), number("over_test_set")[1])
    content["weights"] = ("width", number("weights")[1][0])
    return xr.Dataset(
        content,
        coords={"regime": list(SCALES), "width": widths, "of": ["value", "error"],
                "rate": ["single", "ensemble", "difference"]},
        attrs={"source": task.config.data.source, "num_train": task.data.num_train,
               "num_test": task.data.num_test, "number": NUMBER[call.size]},
    )  # fmt: skip


def transition(found: xr.Dataset, regime: str) -> float:
    """N*, where half of the networks fit, between the last width with fewer and the next."""
    fitted = found.fitted.sel(regime=regime).to_numpy()
    below = np.flatnonzero(fitted < 0.5)
    if not below.size or below[-1] + 1 == len(fitted):
        return np.nan
    pair = slice(below[-1], below[-1] + 2)
    return float(np.exp(np.interp(0.5, fitted[pair], np.log(found.weights.to_numpy()[pair]))))


def law(found: xr.Dataset, regime: str, name: str) -> PowerLaw | None:
    """Of N, for the widths with N > WIDE N*; None if there are too few of them."""
    chosen = found.weights.to_numpy() > WIDE * transition(found, regime)
    return fitted_law(found.weights.to_numpy(), found, regime, name, chosen)


def singularity(found: xr.Dataset, regime: str) -> PowerLaw | None:
    """⟨‖f‖²⟩ in powers of N/N* − 1, for the widths from just above N* to WIDE N*."""
    distance = found.weights.to_numpy() / transition(found, regime) - 1
    chosen = (distance > NEAR) & (distance < WIDE - 1)
    return fitted_law(distance, found, regime, "norm2", chosen)


def fitted_law(
    x: np.ndarray, found: xr.Dataset, regime: str, name: str, chosen: np.ndarray
) -> PowerLaw | None:
    y = [Estimate(*row) for row in found[name].sel(regime=regime).to_numpy()[chosen].tolist()]
    if len(y) < 3 or min(estimate.value for estimate in y) <= 0:
        return None
    return lnn.power_law(x[chosen], y)


def draw(results: Results) -> Figure:
    """Errors, ⟨‖f − f̄‖²⟩ with ⟨‖f‖²⟩, and the gain of averaging against the number of weights."""
    found = results["measured"]
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    error, size, gain = figure.subplots(1, 3)
    weights = found.weights.to_numpy()
    for regime, colour in COLOURS.items():
        here = found.sel(regime=regime)
        label = f"{regime}, α̃ = {SCALES[regime]:g}"

        def points(ax: Any, name: str, **style: Any) -> None:
            value, deviation = here[name].to_numpy().T  # noqa: B023
            ax.errorbar(weights, value, deviation, color=colour, capsize=2, **style)  # noqa: B023

        points(error, "single", fmt="o-", markersize=4, label=f"{label}: ⟨err⟩")
        points(error, "ensemble", fmt="s--", markersize=4, markerfacecolor="white",
               label="of the mean output")  # fmt: skip
        points(size, "norm2", fmt="^:", markersize=4, markerfacecolor="white",
               label=rf"{regime}: $\langle\|f\|^2\rangle$")  # fmt: skip
        points(size, "variance", fmt="o-", markersize=4,
               label=r"$\langle\|f-\bar f\|^2\rangle$")  # fmt: skip
        points(gain, "difference", fmt="o", markersize=4, label=regime)
        for ax, name in ((size, "variance"), (gain, "difference")):
            fitted = law(found, regime, name)
            if fitted is not None:
                far = np.array([WIDE * transition(found, regime), weights[-1]])
                power = f"{fitted.exponent.value:.2f}\\pm{fitted.exponent.mcse:.2f}"
                ax.plot(far, fitted(far), color="black", linewidth=1,
                        linestyle="-" if regime == "lazy" else "--",
                        label=f"{regime} $N^{{{power}}}$")  # fmt: skip
        for ax in (error, size, gain):
            ax.axvline(transition(found, regime), color=colour, linestyle="-.", linewidth=0.9)
    error.set_ylabel("test error")
    size.set_ylabel("mean over the test set")
    gain.set_ylabel("⟨err⟩ − error of the mean output")
    for ax in (size, gain):
        ax.set_yscale("log")
    for ax in (error, size, gain):
        ax.set_xscale("log")
        ax.set_xlabel("N, number of weights")
        ax.legend(fontsize="x-small")
    words = f"{found.source.upper()} parity, P = {found.num_train}, {found.number} networks"
    error.set_title(f"{words}; dash-dotted: N*", fontsize="small")
    return figure


def table(found: xr.Dataset) -> str:
    heads = ["regime", "h", "N", "fitted", "N_Δ", "⟨err⟩", "error of the mean", "difference",
             "⟨‖f − f̄‖²⟩", "⟨‖f‖²⟩"]  # fmt: skip
    rows = []
    for regime in found.regime.values:
        for width in found.width.values:
            here = found.sel(regime=regime, width=width)
            mark = "" if float(here.settled) == 1 else f" ({float(here.settled):.0%} settled)"
            cells = [str(regime), str(width), str(int(here.weights)),
                     f"{float(here.fitted):.0%}{mark}"]  # fmt: skip
            names = ("unsatisfied", "single", "ensemble", "difference", "variance", "norm2")
            cells += [plus_minus(Estimate(*here[name].to_numpy().tolist())) for name in names]
            rows.append(cells)
    return markdown(heads, rows)


def exponents(found: xr.Dataset) -> str:
    heads = ["regime", "N*", "P/N*", "⟨‖f − f̄‖²⟩ (−1/2)", "χ²/dof", "difference (−1/2)", "χ²/dof",
             "⟨‖f‖²⟩ near N* (−2)", "χ²/dof"]  # fmt: skip
    rows = []
    for regime in found.regime.values:
        threshold = transition(found, regime)
        cells = [str(regime), f"{threshold:.0f}", f"{found.num_train / threshold:.2f}"]
        laws = [law(found, regime, name) for name in ("variance", "difference")]
        for each in (*laws, singularity(found, regime)):
            cells += ["–", "–"] if each is None else [plus_minus(each.exponent), f"{each.chi2:.1f}"]
        rows.append(cells)
    return markdown(heads, rows)


def measure(call: Call) -> dict[str, xr.Dataset]:
    return {"measured": measured(call)}


def report(results: Results) -> str:
    found = results["measured"]
    return f"{table(found)}\n\n{exponents(found)}"


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
