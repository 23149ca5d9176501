"""Plain Langevin dynamics against NumPyro's NUTS on all weights of a small network."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import gaussian_task, nuts_one_layer

import langevin_nn as lnn

WIDTH, PRECISIONS, TEMPERATURE = 6, (1.0, 1.5), 0.3


@pytest.mark.slow
def test_langevin_agrees_with_nuts_within_standard_errors(seed):
    data = gaussian_task(5, 12, 8)
    network = lnn.FullyConnected(8, (WIDTH,), "erf", key=jax.random.key(0), dtype=jnp.float64)
    posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior(PRECISIONS), data, TEMPERATURE)
    chains = lnn.sample(
        posterior, lnn.Langevin(0.02), key=jax.random.key(seed), num_chains=100,
        num_warmup=3000, num_samples=100, thinning=100,
    )  # fmt: skip
    langevin = lnn.summarise(chains)
    f = nuts_one_layer(
        data, WIDTH, PRECISIONS, TEMPERATURE, num_warmup=1000, num_samples=4000, num_chains=4,
        seed=seed + 1,
    )  # fmt: skip
    # The reference through the same estimator; its training error and energy are not compared.
    blank = np.zeros(f.shape[:2])
    nuts = lnn.summarise(
        dataclasses.replace(
            chains, test_outputs=f, train_error=blank + np.arange(f.shape[1]), energy=blank
        )
    )
    for result in (langevin, nuts):
        sizes = {k: v for k, v in result.diagnostics.ess.items() if k != "train_error"}
        assert min(sizes.values()) > 1000, f"{result.name} has not mixed: {sizes}"
    # The dynamics' own law has a larger variance; what its step size adds is predicted.
    shift = chains.step_size_shift
    for quantity, bias in (("bias2", 0.0), ("variance", shift), ("generalisation_error", shift)):
        mine, theirs = getattr(langevin, quantity), getattr(nuts, quantity)
        error = np.hypot(mine.mcse, theirs.mcse)
        assert error < 0.02 * theirs.value, f"{quantity} is too noisy to compare"
        assert abs(mine.value - bias - theirs.value) < 4 * error, quantity
    z = (langevin.predictive_mean - nuts.predictive_mean) / np.sqrt(
        langevin.predictive_variance / langevin.diagnostics.ess_min
        + nuts.predictive_variance / nuts.diagnostics.ess_min
    )
    assert np.abs(z).max() < 5
