"""The measurements on chains at T > 0, on ladders and on gradient flows: their `averaging`."""

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
STUCK_ACCEPTANCE = 0.05
"""The acceptance in a quarter of its record below which a chain stands still.

Mostly it does so where it began: draws of the prior can be steeper than the weights of the other
chains, to which the step size has adapted.
"""
RHAT_POINTS = 60
"""The number of test points at which R̂ is computed."""
FLOW_TOLERANCES = {"loss_tolerance": 5e-5, "gradient_tolerance": 1e-6, "rtol": 1e-4, "atol": 1e-6}
"""The tolerances of a flow, which ends where every margin is 0.99."""


def values(averages: lnn.Averaging) -> dict[str, float]:
    """The numbers of KEYS by name and, as KEY_mcse, their standard errors."""
    numbers = {key: getattr(averages, key).value for key in KEYS}
    return numbers | {f"{key}_mcse": getattr(averages, key).mcse for key in KEYS}


def lengths(num_draws: int) -> list[int]:
    """The lengths 1, 2, 4, … of shorter chains, in draws."""
    return [2**k for k in range(num_draws.bit_length()) if 2**k <= num_draws]


def of_chains(chains: lnn.Chains) -> dict[str, Any]:
    """The averages of the chains and of shorter ones, and how well the chains have mixed."""
    assert chains.acceptance is not None
    quarters = np.array_split(chains.acceptance, 4, axis=1)
    moving = np.min([quarter.mean(axis=1) for quarter in quarters], axis=0) > STUCK_ACCEPTANCE
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
    """The numbers of the chains of points that differ in their seeds and run side by side."""
    problems = [run.prepare(config) for config in points]
    settings = points[0].sampler
    points_chains = lnn.sample_points(
        [problem.posterior for problem in problems], assemble.dynamics_of(settings),
        keys=[problem.key for problem in problems], **run.counts_of(settings),
    )  # fmt: skip
    return [of_chains(chains) for chains in points_chains]


def tempered(config: RunConfig, ladder: Sequence[float]) -> dict[str, Any]:
    """The numbers of the coldest rung of a ladder on top of the point's temperature."""
    problem, settings = run.prepare(config), config.sampler
    tempered_ladder = lnn.temper(
        problem.posterior, assemble.dynamics_of(settings), ladder, key=problem.key,
        **run.counts_of(settings),
    )  # fmt: skip
    trips = int(tempered_ladder.round_trips.sum())
    swaps = float(tempered_ladder.swap_acceptance.min())
    return of_chains(tempered_ladder.chains[0]) | {"round_trips": trips, "swaps": swaps}


def flowed(config: RunConfig, num_flows: int, group: int, max_steps: int) -> dict[str, Any]:
    """The numbers of gradient flow from draws of the prior, each a chain of one draw.

    `ensemble` is the error of the mean of all, `few` that of a mean of `group` of them.
    """
    float64_config = replace(config, precision="float64")
    problem = run.prepare(float64_config)
    flow = lnn.gradient_flow(
        problem.posterior, key=jax.random.fold_in(problem.key, 7), num_initialisations=num_flows,
        max_steps=max_steps, **FLOW_TOLERANCES,
    )  # fmt: skip
    f, y = flow.test_outputs[:, None], flow.y_test
    groups = [f[start : start + group] for start in range(0, num_flows - group + 1, group)]
    group_errors = [lnn.averaging(group_outputs, y).ensemble.value for group_outputs in groups]
    return {
        **values(lnn.averaging(f, y)),
        "few": float(np.mean(group_errors)),
        "fitted": float(np.mean(flow.unsatisfied == 0)),
        "unsatisfied": float(np.mean(flow.unsatisfied)),
        "settled": float(np.mean(flow.settled)),
    }
