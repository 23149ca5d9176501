"""What is measured of chains at T > 0, of ladders and of gradient flows: their `averaging`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

import langevin_nn as lnn
from langevin_nn.analysis.diagnostics import rhat
from langevin_nn.config.record import RunConfig
from langevin_nn.runs import assemble, run

KEYS = ("norm", "draw", "chain", "ensemble", "total", "between")
STUCK = 0.05
"""A chain that accepts more rarely in a quarter of its record stands still, where it began mostly:
draws of the prior can be steeper than what the others have taught the step size."""
RHAT_POINTS = 60
"""Test points of which R̂ is computed."""
MARGIN = {"loss_tolerance": 5e-5, "gradient_tolerance": 1e-6, "rtol": 1e-4, "atol": 1e-6}
"""A flow ends where every margin is 0.99."""


def values(found: lnn.Averaging) -> dict[str, float]:
    """KEYS and, by KEY_mcse, their standard errors."""
    value = {key: getattr(found, key).value for key in KEYS}
    return value | {f"{key}_mcse": getattr(found, key).mcse for key in KEYS}


def lengths(num_draws: int) -> list[int]:
    """1, 2, 4, … draws."""
    return [2**k for k in range(num_draws.bit_length()) if 2**k <= num_draws]


def of_chains(chains: lnn.Chains) -> dict[str, Any]:
    """Their averages, those of shorter chains, and how well the chains have mixed."""
    assert chains.acceptance is not None
    quarters = np.array_split(chains.acceptance, 4, axis=1)
    moving = np.min([quarter.mean(axis=1) for quarter in quarters], axis=0) > STUCK
    moving &= ~chains.diverged
    stuck = int(np.sum(~moving))
    if moving.sum() < 3:  # too few to tell anything: all are kept, and marked
        moving = ~chains.diverged
    f, y = chains.f[moving].astype(np.float64), chains.y_test
    at_points = rhat(f[:, :, :: max(1, f.shape[2] // RHAT_POINTS)])
    return {
        **values(lnn.averaging(f, y)),
        "shorter": [values(lnn.averaging(f, y, length=t)) for t in lengths(f.shape[1])],
        "rhat": float(np.quantile(at_points, 0.9)),
        "rhat_norm": float(rhat(np.square(f).mean(axis=2))),
        "stuck": stuck,
        "acceptance": float(chains.acceptance[moving].mean()),
        "steps": float(np.ceil((chains.trajectory_length or 0) / chains.step_size)),
    }


def sampled(points: Sequence[RunConfig]) -> list[dict[str, Any]]:
    """Of points that differ in their seeds, which run side by side."""
    prepared = [run.prepare(config) for config in points]
    settings = points[0].sampler
    found = lnn.sample_points(
        [each.posterior for each in prepared], assemble.dynamics_of(settings),
        keys=[each.key for each in prepared], **run.counts_of(settings),
    )  # fmt: skip
    return [of_chains(chains) for chains in found]


def tempered(config: RunConfig, ladder: Sequence[float]) -> dict[str, Any]:
    """The coldest rung of a ladder on top of the point's temperature."""
    ready, settings = run.prepare(config), config.sampler
    found = lnn.temper(
        ready.posterior, assemble.dynamics_of(settings), ladder, key=ready.key,
        **run.counts_of(settings),
    )  # fmt: skip
    trips = int(found.round_trips.sum())
    swaps = float(found.swap_acceptance.min())
    return of_chains(found.chains[0]) | {"round_trips": trips, "swaps": swaps}


def flowed(config: RunConfig, number: int, group: int, max_steps: int) -> dict[str, Any]:
    """Gradient flow from draws of the prior, each a chain of one draw.

    `ensemble` is the error of the mean of all, `few` that of a mean of `group` of them.
    """
    exact = replace(config, precision="float64")
    ready = run.prepare(exact)
    flow = lnn.gradient_flow(
        ready.posterior, key=jax.random.fold_in(ready.key, 7), num_initialisations=number,
        max_steps=max_steps, **MARGIN,
    )  # fmt: skip
    f, y = flow.test_outputs[:, None], flow.y_test
    groups = [f[begin : begin + group] for begin in range(0, number - group + 1, group)]
    few = [lnn.averaging(each, y).ensemble.value for each in groups]
    return {
        **values(lnn.averaging(f, y)),
        "few": float(np.mean(few)),
        "fitted": float(np.mean(flow.unsatisfied == 0)),
        "unsatisfied": float(np.mean(flow.unsatisfied)),
        "settled": float(np.mean(flow.settled)),
    }
