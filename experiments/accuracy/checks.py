"""Checks of a sampled point: chains from elsewhere, and points that are smaller.

A chain from the prior is one from T = ∞. `from_elsewhere` starts each chain from the prior's
weights times a factor of its own: from none at all, from units that are nearly linear, and from
units that are saturated. R̂ over chains that began so far from each other tells whether they still
remember. `as_wide_as_many` has the same task and temperature with fewer images and as many units,
where chains are long.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import langevin_nn as lnn
from langevin_nn.config.record import RunConfig
from langevin_nn.runs import assemble, run

FACTORS = (0.0, 0.1, 3.0, 10.0)
"""The factors of the prior's weights at the start, one for each chain."""
DRAWS = 200
"""The largest number of draws of each chain from elsewhere."""
SMALLER = (50, 100)
"""The values of P = N_1 of the smaller points."""
QUANTITIES = ("bias2", "variance")
DIAGNOSTICS = ("rhat_max", "ess_min")


class Elsewhere(lnn.MarginalisedPosterior):
    """A marginalised posterior whose chains start from scaled draws of the prior."""

    def sample_prior(self, key: Any, num_chains: int) -> Any:
        weights = super().sample_prior(key, num_chains)
        factors = jnp.resize(jnp.asarray(FACTORS, self.y_train.dtype), (num_chains,))
        return jax.tree.map(lambda w: w * factors.reshape(-1, *[1] * (w.ndim - 1)), weights)


def from_elsewhere(config: RunConfig) -> xr.Dataset:
    """The results of chains of a point that start from FACTORS, with DRAWS of each at most."""
    counts = {"num_chains": len(FACTORS), "num_samples": min(config.sampler.num_samples, DRAWS)}
    config = replace(config, sampler=replace(config.sampler, **counts))
    problem = run.prepare(config)
    numbers = measured(Elsewhere.of(problem.posterior), config, jax.random.fold_in(problem.key, 1))
    attributes = {
        "source": config.data.source, "activation": config.network.activation,
        "num_train": config.data.num_train, "num_warmup": config.sampler.num_warmup, **counts,
    }  # fmt: skip
    return xr.Dataset(numbers, coords={"factor": list(FACTORS)}, attrs=attributes)


def as_wide_as_many(config: RunConfig, sizes: tuple[int, ...] = SMALLER) -> xr.Dataset:
    """The task of a point with P = N_1 of these sizes, sampled and in theory."""
    columns: dict[str, list[Any]] = {}
    for size in sizes:
        smaller_config = replace(
            config,
            data=replace(config.data, num_train=size),
            network=replace(config.network, hidden_widths=(size,)),
        )
        problem = run.prepare(smaller_config)
        numbers = measured(problem.posterior, smaller_config, problem.key)
        expected = run.expect(problem).results
        for name in QUANTITIES:
            numbers[f"theory_{name}"] = [
                getattr(theory, name).value for theory in expected.values()
            ]
        for name, value in numbers.items():
            columns.setdefault(name, []).append(value)
    arrays = {
        name: (("size", "theory")[: np.ndim(values)], np.array(values))
        for name, values in columns.items()
    }
    return xr.Dataset(arrays, coords={"size": list(sizes), "theory": list(expected)})


def measured(posterior: Any, config: RunConfig, key: Any) -> dict[str, Any]:
    """The bias² and variance of a point with errors and R̂, and the worst R̂ and ESS."""
    chains = lnn.sample(
        posterior, assemble.dynamics_of(config.sampler), key=key, **run.counts_of(config.sampler)
    )
    result = lnn.summarise(chains)
    assert result.diagnostics is not None
    numbers = {name: getattr(result.diagnostics, name) for name in DIAGNOSTICS}
    for name in QUANTITIES:
        estimate = getattr(result, name)
        numbers |= {name: estimate.value, f"{name}_mcse": estimate.mcse,
                    f"{name}_rhat": result.diagnostics.rhat.get(name, float("nan"))}  # fmt: skip
    return numbers
