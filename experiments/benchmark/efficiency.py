"""Effective samples a second and a gradient; wall time to a standard error of one per cent.

Two measures for the predictions at a test point x. The effective sample size of the recorded series
is that of f(x) for samplers of all weights, of m_W(x) where the read-out is marginalised: the
smaller of bulk and tail, as everywhere in this package. How many independent draws of f(x) would
give the mean the same error, Var f(x)/MCSE², can be compared between the two.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import Any

import equinox as eqx
import jax
import numpy as np

import langevin_nn as lnn
from experiments.benchmark import rivals
from experiments.benchmark.measuring import Size, Stopwatch, drive, on_gpu, posterior_of
from langevin_nn.analysis import diagnostics

ONE_PERCENT = 0.01
QUANTITIES = ("bias2", "variance")
MOST_DRAWS = 2000


@dataclass(frozen=True)
class Budget:
    """The time that a sampler has.

    `warmup` steps adapt it, then `share` of `seconds` go to the warm-up of a second run from draws
    of the prior, and the rest to its draws. A rival has no second run, and `thinning` steps between
    its draws.
    """

    seconds: float
    warmup: int
    share: float = 0.2
    thinning: int = 1


def effective_samples(
    size: Size, budgets: dict[tuple[str, str], Budget], others: dict[tuple[str, str], Budget]
) -> list[dict[str, Any]]:
    """Part b: a row for each dynamics on each read-out with a budget, and for each rival.

    The marginalised split dynamics must be among them: it gives Var f and the rivals' start.
    """
    runs = {}
    dynamics = {"langevin": lnn.Langevin(), "split": lnn.Split()}
    for (name, readout), budget in budgets.items():
        posterior = posterior_of(size, readout)
        runs[name, readout] = run_for(posterior, dynamics[name], size.num_chains, budget)
    best, _, _ = runs["split", "marginalised"]
    variance = lnn.summarise(best).predictive_variance
    rows = [
        row(f"{name}, {readout}", *run, variance) | {"size": asdict(size)}
        for (name, readout), run in runs.items()
    ]
    weights, hidden = posterior_of(size), posterior_of(size, "marginalised")
    posteriors = {"sampled": weights, "marginalised": hidden}
    last = jax.device_get(best.params)
    starts = {"sampled": equilibrium(weights, hidden, last), "marginalised": last}
    for (name, readout), budget in others.items():
        ours = runs.get(("split", readout), (None,))[0]
        step_size = 0.02 if ours is None else ours.step_size
        run = run_rival(name, posteriors[readout], starts[readout], step_size, budget)
        if run is not None:
            shown = name if readout == "sampled" else f"{name}, {readout}"
            rows.append(row(shown, *run, variance) | {"size": asdict(size)})
    return rows


def run_for(
    posterior: Any, dynamics: Any, num_chains: int, budget: Budget
) -> tuple[Any, float, float]:
    """The (chains, seconds, gradients) of a run of about `budget.seconds`.

    Seconds and gradients are those of the draws alone. A short run finds the step size and the
    pace, a second one takes as many steps as fit.
    """
    thinning = budget.thinning * (20 if on_gpu() else 1)
    settings = {"num_warmup": budget.warmup, "num_samples": 8, "thinning": thinning}
    stopwatch = Stopwatch()
    chains = drive(posterior, dynamics, stopwatch, num_chains=num_chains, **settings)
    if budget.seconds:
        adapted = {
            name: getattr(chains, name)
            for name in ("step_size", "trajectory_length")
            if hasattr(dynamics, name)
        }
        steps = max(int(budget.seconds / stopwatch.pace), 20)
        warmup = int(budget.share * steps)
        thinning = max(1, (steps - warmup) // MOST_DRAWS)
        settings = {
            "num_warmup": warmup, "num_samples": (steps - warmup) // thinning, "thinning": thinning,
        }  # fmt: skip
        stopwatch = Stopwatch()
        chains = drive(
            posterior, replace(dynamics, **adapted), stopwatch, num_chains=num_chains, **settings
        )
    steps = settings["num_samples"] * settings["thinning"]
    gradients = steps * num_chains * gradients_a_step(chains)
    return chains, stopwatch.pace * steps, gradients


def gradients_a_step(chains: Any) -> float:
    """The mean number of gradients of a step: 1 for Langevin dynamics, else the mean of ⌈uτ/ε⌉."""
    if chains.trajectory_length is None:
        return 1.0
    lengths = np.linspace(0.5, 1.5, 10_001) * chains.trajectory_length
    return float(np.ceil(lengths / chains.step_size).mean())


def equilibrium(posterior: Any, marginalised: Any, hidden: Any) -> Any:
    """The weights of all layers of draws of the posterior, on the span of the training inputs."""
    num_chains = jax.tree.leaves(hidden)[0].shape[0]
    keys = jax.random.split(jax.random.key(5), num_chains)
    networks = marginalised.lifted_networks(hidden, keys)
    return eqx.filter(posterior.space.reduce(networks), eqx.is_inexact_array)


def run_rival(
    name: str, posterior: Any, start: Any, step_size: float, budget: Budget
) -> tuple[Any, float, float] | None:
    """The (chains, seconds, gradients) of a rival's run; None where BlackJAX is not installed."""
    if name.startswith("BlackJAX") and find_spec("blackjax") is None:
        return None
    makers = {
        "NumPyro NUTS": lambda: rivals.numpyro_nuts(posterior, step_size, budget.warmup),
        "NumPyro HMC": lambda: rivals.numpyro_hmc(posterior, step_size, budget.warmup),
        "BlackJAX NUTS": lambda: rivals.blackjax_nuts(posterior, budget.warmup),
        "BlackJAX MALA": lambda: rivals.blackjax_mala(posterior, budget.warmup),
        "BlackJAX MCLMC": lambda: rivals.blackjax_mclmc(posterior, start, budget.warmup),
        "BlackJAX MAMS": lambda: rivals.blackjax_mams(posterior, start, budget.warmup),
    }
    rival = makers[name]()
    if rival.step_size is not None:
        step_size = rival.step_size
    elif name == "BlackJAX MALA":
        step_size = step_size**2 / 10
    run = rivals.run(rival, posterior, start, step_size, budget.thinning, budget.seconds)
    records = dict(run.records)
    is_adjusted = not np.isnan(records["acceptance"]).all()
    if not is_adjusted:
        del records["acceptance"]
    chains = lnn.Chains(
        **records, observables={}, y_test=posterior.y_test,
        targets_midpoint=posterior.targets_midpoint, params=None, step_size=run.step_size,
        curvature=float("nan"), thinning=run.thinning, wall_seconds=run.seconds,
        unadjusted=not is_adjusted,
    )  # fmt: skip
    return chains, run.seconds, run.gradients


def row(
    name: str, chains: Any, seconds: float, gradients: float, variance: np.ndarray
) -> dict[str, Any]:
    """The row of one sampler in part b; `variance` is that of f at each test point."""
    outputs = chains.test_outputs[~chains.diverged].astype(np.float64)
    sizes = diagnostics.ess(outputs)
    worth = variance / np.square(diagnostics.mcse(outputs))
    measured = lnn.summarise(chains)
    errors = relative_errors(measured)
    return {
        "sampler": name,
        "seconds": seconds,
        "chains": outputs.shape[0],
        "draws": outputs.shape[1],
        "thinning": chains.thinning,
        "step_size": chains.step_size,
        "gradients": gradients,
        "acceptance": measured.diagnostics.acceptance,
        "rhat": float(np.max(diagnostics.rhat(outputs))),
        "ess": {"min": float(sizes.min()), "median": float(np.median(sizes))},
        "worth": {"min": float(worth.min()), "median": float(np.median(worth))},
        "measured": {quantity: asdict(getattr(measured, quantity)) for quantity in QUANTITIES},
        "gradients_to_one_percent": {
            quantity: gradients * (error / ONE_PERCENT) ** 2 for quantity, error in errors.items()
        },
        "seconds_to_one_percent": {
            quantity: seconds * (error / ONE_PERCENT) ** 2 for quantity, error in errors.items()
        },
    }


def relative_errors(measured: Any) -> dict[str, float]:
    return {
        quantity: (estimate := getattr(measured, quantity)).mcse / abs(estimate.value)
        for quantity in QUANTITIES
    }


def one_percent(size: Size, has_control_variates: bool, most_draws: int) -> dict[str, Any]:
    """Part c: a run of the marginalised split that ends by itself at errors of 1 %.

    Seconds are counted from the call on, compilation, control variates and warm-up included. The
    run ends where R̂ and ESS are there too; `reached` is where both errors had come below 1 % for
    good, from the errors of the first n draws, whose time is interpolated between the driver's
    reports.
    """
    posterior = posterior_of(size, "marginalised")
    began = time.perf_counter()
    if has_control_variates:
        posterior = posterior.with_control_variates()
    prepared = time.perf_counter() - began
    stopwatch = Stopwatch()
    until = lnn.TargetError(ONE_PERCENT, max_draws=most_draws)
    chains = drive(posterior, lnn.Split(), stopwatch, num_chains=size.num_chains, until=until)
    measured, num_draws = lnn.summarise(chains), chains.energy.shape[1]
    steps, seconds = np.array([(0, 0.0), *stopwatch.reports]).T
    num_warmup = int(steps[-1]) - num_draws * chains.thinning
    counts = np.geomspace(min(10, num_draws), num_draws, 20).astype(int)
    course = [
        {
            "draws": int(count),
            "seconds": prepared
            + float(np.interp(num_warmup + count * chains.thinning, steps, seconds)),
            "errors": relative_errors(lnn.summarise(chains.first(int(count)))),
        }
        for count in np.unique(counts)
    ]
    reached = None
    for point in reversed(course):
        if max(point["errors"].values()) > ONE_PERCENT:
            break
        reached = point
    gradients_of_step = size.num_chains * gradients_a_step(chains)
    draws_reached = reached["draws"] if reached else num_draws
    return {
        "size": asdict(size),
        "has_control_variates": has_control_variates,
        "num_warmup": num_warmup,
        "num_samples": num_draws,
        "step_size": chains.step_size,
        "gradients_a_step": gradients_of_step / size.num_chains,
        "acceptance": measured.diagnostics.acceptance,
        "rhat": measured.diagnostics.rhat_max,
        "converged": measured.converged,
        "seconds_a_step": stopwatch.pace,
        "first_report": prepared + stopwatch.reports[0][1],
        "seconds": prepared + stopwatch.reports[-1][1],
        "measured": {quantity: asdict(getattr(measured, quantity)) for quantity in QUANTITIES},
        "course": course,
        "reached": reached,
        "gradients": gradients_of_step * (num_warmup + draws_reached * chains.thinning),
    }


def langevin_extrapolated(
    size: Size, rows: Sequence[dict[str, Any]], seconds: float | None
) -> dict[str, Any] | None:
    """The cost of `langevin` at `size` extrapolated from part b; None where part b lacks it.

    Gradient evaluations to one per cent are proportional to the autocorrelation time in steps,
    which is taken to be proportional to 1/(ηTλ): only η, each from its own stability limit, and T
    are different. `seconds` are those of part a for one step of one of several chains.
    """
    measured_row = next((row for row in rows if row["sampler"] == "langevin, sampled"), None)
    if measured_row is None:
        return None
    posterior, dynamics = posterior_of(size), lnn.Langevin()
    params = posterior.sample_prior(jax.random.key(1), 8)
    step_size = dynamics.start(posterior, params, jax.random.key(2)).step_size
    slowdown = (
        measured_row["step_size"]
        * measured_row["size"]["temperature"]
        / (step_size * size.temperature)
    )
    gradients = slowdown * max(measured_row["gradients_to_one_percent"].values())
    return {
        "from_rhat": measured_row["rhat"],
        "from_step_size": measured_row["step_size"],
        "step_size": step_size,
        "gradients": gradients,
        "hours": None if seconds is None else gradients * seconds / 3600,
    }


def langevin_measured(size: Size, seconds: float) -> dict[str, Any]:
    """The row of `langevin` from a run at `size` itself."""
    budget = Budget(seconds, warmup=100, share=0.5, thinning=50)
    chains, seconds_taken, gradients = run_for(
        posterior_of(size), lnn.Langevin(), size.num_chains, budget
    )
    return row(
        "langevin, sampled",
        chains,
        seconds_taken,
        gradients,
        lnn.summarise(chains).predictive_variance,
    )
