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
from langevin_nn.analysis.resampling import independent_mean
from langevin_nn.analysis.scaling import PowerLaw
from langevin_nn.estimates import plus_minus
from langevin_nn.runs import run
from langevin_nn.runs.assemble import loss_of
from langevin_nn.types import Estimate

SCALES = {"lazy": 1e3, "feature": 0.1}
"""The output scales α̃ = √h α of the two regimes."""
WIDTHS = {
    "smoke": [3, 9],
    "config": [4, 6, 8, 9, 10, 11, 12, 13, 14, 16, 20, 24, 32, 48, 64, 96],
    "full": [6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 40, 56, 80, 112, 160, 224, 320, 640],
}
NUM_INITIALISATIONS = {"smoke": 3, "config": 16, "full": 20}
"""The number of initialisations of each ensemble."""
FLOW: dict[str, Any] = {
    "loss_tolerance": 5e-5, "rtol": 1e-3, "atol": 1e-4, "solver": "stabilised",
}  # fmt: skip
"""The settings of the flows: fitted means that every margin y f is above 0.99."""
STEPS = {"smoke": 200, "config": 1000, "full": 20_000}
"""The number of steps after which a network counts as one that does not fit."""
WIDE_RATIO = 3.0
"""The ratio N/N* above which exponents are fitted."""
NEAREST_DISTANCE = 0.15
"""The distance N/N* − 1 above which the singularity is fitted: N* is known no better."""
MEASURED = ("single", "ensemble", "difference", "variance", "norm2", "unsatisfied")
COLOURS = {"lazy": "#0072B2", "feature": "#D55E00"}


def ensemble(call: Call, task: run.Problem, width: int, scale: float) -> dict[str, Any]:
    """The measured numbers of one width and output scale α̃."""
    config, data = task.config, task.data
    key = jax.random.fold_in(task.key, width)
    activation = config.network.activation
    network = lnn.FullyConnected(
        data.in_size, (width, width), activation, key=key, dtype=np.float64
    )
    prior = lnn.GaussianPrior((1.0, 1.0, 1.0))
    posterior = lnn.GibbsPosterior(network, prior, data, 1.0, loss_of(config))
    flow = lnn.gradient_flow(
        posterior, key=key, num_initialisations=NUM_INITIALISATIONS[call.size],
        output_scale=scale / width**0.5, max_steps=STEPS[call.size], **FLOW,
    )  # fmt: skip
    errors = lnn.classification_errors(flow)

    numbers = {
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
        f"α̃ = {scale:g}, h = {width}: {numbers['fitted']:.0%} fitted, {numbers['steps']} steps, "
        f"error {errors.single.value:.4f}, of the ensemble {errors.ensemble.value:.4f}"
    )
    return numbers


def measured(call: Call) -> xr.Dataset:
    """The measured numbers of every regime and width."""
    values = {name: part for name, part in call.values().items() if name != "sweep"}
    task = run.prepare(configuration.from_dict(values))
    widths = WIDTHS[call.size]
    jobs = [(width, scale) for width in widths[::-1] for scale in SCALES.values()]
    with ThreadPoolExecutor(2) as pool:  # one compiles while the other runs; large widths first
        results = pool.map(lambda job: ensemble(call, task, *job), jobs)
    by_job = dict(zip(jobs, results, strict=True))
    rows = [[by_job[width, scale] for width in widths] for scale in SCALES.values()]
    dims = ("regime", "width")

    def number(name: str) -> tuple[tuple[str, ...], list[Any]]:
        return dims, [[job_numbers[name] for job_numbers in row] for row in rows]

    content: dict[str, Any] = {
        name: (
            (*dims, "of"),
            [[(numbers[name].value, numbers[name].mcse) for numbers in row] for row in rows],
        )
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
               "num_test": task.data.num_test, "number": NUM_INITIALISATIONS[call.size]},
    )  # fmt: skip


def transition(results: xr.Dataset, regime: str) -> float:
    """The number N* of weights at which half of the networks fit, by interpolation."""
    fitted = results.fitted.sel(regime=regime).to_numpy()
    below = np.flatnonzero(fitted < 0.5)
    if not below.size or below[-1] + 1 == len(fitted):
        return np.nan
    pair = slice(below[-1], below[-1] + 2)
    return float(np.exp(np.interp(0.5, fitted[pair], np.log(results.weights.to_numpy()[pair]))))


def law(results: xr.Dataset, regime: str, name: str) -> PowerLaw | None:
    """The power law in N of widths with N > WIDE_RATIO N*; None if there are too few of them."""
    is_fitted = results.weights.to_numpy() > WIDE_RATIO * transition(results, regime)
    return fitted_law(results.weights.to_numpy(), results, regime, name, is_fitted)


def singularity(results: xr.Dataset, regime: str) -> PowerLaw | None:
    """The power law of ⟨‖f‖²⟩ in N/N* − 1, for widths from just above N* to WIDE_RATIO N*."""
    distance = results.weights.to_numpy() / transition(results, regime) - 1
    is_fitted = (distance > NEAREST_DISTANCE) & (distance < WIDE_RATIO - 1)
    return fitted_law(distance, results, regime, "norm2", is_fitted)


def fitted_law(
    x: np.ndarray, results: xr.Dataset, regime: str, name: str, is_fitted: np.ndarray
) -> PowerLaw | None:
    y = [Estimate(*row) for row in results[name].sel(regime=regime).to_numpy()[is_fitted].tolist()]
    if len(y) < 3 or min(estimate.value for estimate in y) <= 0:
        return None
    return lnn.power_law(x[is_fitted], y)


def draw(results: Results) -> Figure:
    """A figure of errors, ⟨‖f − f̄‖²⟩ with ⟨‖f‖²⟩, and the gain of averaging against N."""
    numbers = results["measured"]
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    error, size, gain = figure.subplots(1, 3)
    weights = numbers.weights.to_numpy()
    for regime, colour in COLOURS.items():
        regime_numbers = numbers.sel(regime=regime)
        label = f"{regime}, α̃ = {SCALES[regime]:g}"

        def points(ax: Any, name: str, **style: Any) -> None:
            value, deviation = regime_numbers[name].to_numpy().T  # noqa: B023
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
            power_law = law(numbers, regime, name)
            if power_law is not None:
                ends = np.array([WIDE_RATIO * transition(numbers, regime), weights[-1]])
                power = f"{power_law.exponent.value:.2f}\\pm{power_law.exponent.mcse:.2f}"
                ax.plot(ends, power_law(ends), color="black", linewidth=1,
                        linestyle="-" if regime == "lazy" else "--",
                        label=f"{regime} $N^{{{power}}}$")  # fmt: skip
        for ax in (error, size, gain):
            ax.axvline(transition(numbers, regime), color=colour, linestyle="-.", linewidth=0.9)
    error.set_ylabel("test error")
    size.set_ylabel("mean over the test set")
    gain.set_ylabel("⟨err⟩ − error of the mean output")
    for ax in (size, gain):
        ax.set_yscale("log")
    for ax in (error, size, gain):
        ax.set_xscale("log")
        ax.set_xlabel("N, number of weights")
        ax.legend(fontsize="x-small")
    caption = f"{numbers.source.upper()} parity, P = {numbers.num_train}, {numbers.number} networks"
    error.set_title(f"{caption}; dash-dotted: N*", fontsize="small")
    return figure


def table(results: xr.Dataset) -> str:
    heads = ["regime", "h", "N", "fitted", "N_Δ", "⟨err⟩", "error of the mean", "difference",
             "⟨‖f − f̄‖²⟩", "⟨‖f‖²⟩"]  # fmt: skip
    rows = []
    for regime in results.regime.values:
        for width in results.width.values:
            point = results.sel(regime=regime, width=width)
            remark = "" if float(point.settled) == 1 else f" ({float(point.settled):.0%} settled)"
            cells = [str(regime), str(width), str(int(point.weights)),
                     f"{float(point.fitted):.0%}{remark}"]  # fmt: skip
            names = ("unsatisfied", "single", "ensemble", "difference", "variance", "norm2")
            cells += [plus_minus(Estimate(*point[name].to_numpy().tolist())) for name in names]
            rows.append(cells)
    return markdown(heads, rows)


def exponents(results: xr.Dataset) -> str:
    heads = ["regime", "N*", "P/N*", "⟨‖f − f̄‖²⟩ (−1/2)", "χ²/dof", "difference (−1/2)", "χ²/dof",
             "⟨‖f‖²⟩ near N* (−2)", "χ²/dof"]  # fmt: skip
    rows = []
    for regime in results.regime.values:
        threshold = transition(results, regime)
        cells = [str(regime), f"{threshold:.0f}", f"{results.num_train / threshold:.2f}"]
        laws = [law(results, regime, name) for name in ("variance", "difference")]
        for fit in (*laws, singularity(results, regime)):
            cells += ["–", "–"] if fit is None else [plus_minus(fit.exponent), f"{fit.chi2:.1f}"]
        rows.append(cells)
    return markdown(heads, rows)


def measure(call: Call) -> dict[str, xr.Dataset]:
    return {"measured": measured(call)}


def report(results: Results) -> str:
    numbers = results["measured"]
    return f"{table(numbers)}\n\n{exponents(numbers)}"


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
