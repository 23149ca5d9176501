"""What is measured of outputs f at the test points: of draws of chains, and of trained networks.

With draws f_cs(x) of chains c (s = 1 … S), f̄_c the mean of one chain and f̄ that of all:

    ⟨f²⟩           mean over c, s and x of f_cs(x)²
    draw           mean over c, s of the fraction of test points with y f_cs < 0
    chain          mean over c of that with y f̄_c < 0: the posterior mean that one chain gives
    ensemble       that with y f̄ < 0
    V              mean over x of the variance of f_cs(x) over all draws of all chains
    B              mean over x of the variance of f̄_c(x) over chains

A chain that is shorter, of t draws, has B(t) and errors of its own, here averages over the S/t
windows. Draws that are independent have B(t) = V/t; chains that never mix keep a B of their own.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from collections.abc import Callable, Sequence  # noqa: E402
from dataclasses import replace  # noqa: E402

import common  # noqa: E402, F401 - float64 and the number of devices, before anything else
import jax  # noqa: E402
import numpy as np  # noqa: E402
from jaxtyping import Float  # noqa: E402

import langevin_nn as lnn  # noqa: E402
from langevin_nn import problem, run  # noqa: E402
from langevin_nn.analysis.diagnostics import rhat  # noqa: E402
from langevin_nn.config import RunConfig  # noqa: E402

Draws = Float[np.ndarray, "chain draw K"]
KEYS = ("f2", "draw", "chain", "ensemble", "B", "V")
STUCK = 0.05
"""A chain whose trajectories are accepted more rarely has not left its draw of the prior."""
RHAT_POINTS = 60
"""Test points of which R̂ is computed."""
MARGIN = {"loss_tolerance": 5e-5, "gradient_tolerance": 1e-4, "rtol": 1e-4, "atol": 1e-6}
"""A flow ends where every margin is 0.99."""


def error(f: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean(y * f < 0))


def numbers(f: Draws, y: Float[np.ndarray, " K"]) -> dict[str, float]:
    """KEYS of these draws."""
    of_chain = f.mean(axis=1)
    return {
        "f2": float(np.square(f).mean()),
        "draw": error(f, y),
        "chain": error(of_chain, y),
        "ensemble": error(of_chain.mean(axis=0), y),
        "B": float(of_chain.var(axis=0, ddof=1).mean()),
        "V": float(f.var(axis=(0, 1)).mean()),
    }


def jackknifed(
    of: Callable[[Draws], dict[str, float]], f: Draws
) -> tuple[dict[str, float], dict[str, float]]:
    """The numbers and their standard errors, √((n − 1) Var of those without one chain each)."""
    whole, count = of(f), len(f)
    without = [of(np.delete(f, c, axis=0)) for c in range(count)]
    errors = {
        name: float(np.std([each[name] for each in without]) * np.sqrt(count - 1)) for name in whole
    }
    return whole, errors


def shorter(f: Draws, y: Float[np.ndarray, " K"], length: int) -> dict[str, float]:
    """KEYS of chains of that many draws, averaged over as many windows as there are."""
    windows = [f[:, begin : begin + length] for begin in range(0, f.shape[1] - length + 1, length)]
    each = [numbers(window, y) for window in windows]
    return {name: float(np.mean([one[name] for one in each])) for name in KEYS}


def lengths(num_draws: int) -> list[int]:
    """1, 2, 4, … draws."""
    return [2**k for k in range(num_draws.bit_length()) if 2**k <= num_draws]


def of_chains(chains: lnn.Chains) -> dict[str, object]:
    """`numbers`, their errors, those of shorter chains, and how well the chains have mixed."""
    assert chains.acceptance is not None
    accepted = chains.acceptance.mean(axis=1)
    moving = (accepted > STUCK) & ~chains.diverged
    stuck = int(np.sum(~moving))
    if moving.sum() < 3:  # too few for a variance between chains: all are kept, and marked
        moving = ~chains.diverged
    f, y = chains.test_outputs[moving].astype(np.float64), chains.y_test
    value, spread = jackknifed(lambda chosen: numbers(chosen, y), f)
    at_points = rhat(f[:, :, :: max(1, f.shape[2] // RHAT_POINTS)])
    return {
        "value": value,
        "error": spread,
        "shorter": [shorter(f, y, length) for length in lengths(f.shape[1])],
        "rhat": float(np.quantile(at_points, 0.9)),
        "rhat_f2": float(rhat(np.square(f).mean(axis=2))),
        "stuck": stuck,
        "acceptance": float(accepted[moving].mean()),
        "steps": float(np.ceil((chains.trajectory_length or 0) / chains.step_size)),
    }


def sampled(points: Sequence[RunConfig]) -> list[dict[str, object]]:
    """Of points that differ in their seeds, which run side by side."""
    prepared = [run.prepare(config) for config in points]
    settings = points[0].sampler
    found = lnn.sample_points(
        [each.posterior for each in prepared], problem.transition_of(settings),
        keys=[each.key for each in prepared], **run.counts_of(settings),
    )  # fmt: skip
    return [of_chains(chains) for chains in found]


def tempered(config: RunConfig, ladder: Sequence[float]) -> dict[str, object]:
    """The coldest rung of a ladder on top of the point's temperature."""
    ready, settings = run.prepare(config), config.sampler
    found = lnn.temper(
        ready.posterior, problem.transition_of(settings), ladder, key=ready.key,
        **run.counts_of(settings),
    )  # fmt: skip
    trips = int(found.round_trips.sum())
    swaps = float(found.swap_acceptance.min())
    return of_chains(found.chains[0]) | {"round_trips": trips, "swaps": swaps}


def flowed(config: RunConfig, number: int, group: int, max_steps: int) -> dict[str, object]:
    """Gradient flow from draws of the prior, each a chain of one draw.

    `ensemble` is the error of the mean of all, `few` that of a mean of `group` of them.
    """
    exact = replace(config, precision="float64")
    ready = run.prepare(exact)
    flow = lnn.gradient_flow(
        ready.posterior, key=jax.random.fold_in(ready.key, 7), num_initialisations=number,
        max_steps=max_steps, **MARGIN,
    )  # fmt: skip
    f, y = flow.test_outputs[:, None, :], flow.y_test
    value, spread = jackknifed(lambda chosen: numbers(chosen, y), f)
    groups = [f[i : i + group].mean(axis=(0, 1)) for i in range(0, number - group + 1, group)]
    return {
        "value": value,
        "error": spread,
        "few": float(np.mean([error(mean, y) for mean in groups])),
        "fitted": float(np.mean(flow.unsatisfied == 0)),
        "unsatisfied": float(np.mean(flow.unsatisfied)),
        "settled": float(np.mean(flow.settled)),
    }
