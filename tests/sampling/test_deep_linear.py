"""Discrete Langevin dynamics of narrow deep linear networks, whose posterior is known exactly."""

import os

import jax
import numpy as np
import pytest
from cases import gaussian_task
from statistics_in_sigmas import SIGMAS

import langevin_nn as lnn
from langevin_nn.theory import infinite_width, scale_mixture

SEED = int(os.environ.get("LANGEVIN_NN_TEST_SEED", "0"))
STEP_SIZE = 0.04
WIDTHS = (4, 3, 3)
QUANTITIES = ("bias2", "variance", "generalisation_error", "train_error")


@pytest.mark.slow
def test_scale_mixture_is_what_is_sampled():
    """At step size η → 0: 2 × (at η/2) − (at η), each in standard errors."""
    data = gaussian_task(num_train=4, num_test=20, in_size=3, seed=SEED)
    prior = lnn.GaussianPrior((0.9, 1.2, 0.8, 1.1))
    key_network, *keys = jax.random.split(jax.random.key(SEED + 5), 3)
    network = lnn.FullyConnected(3, WIDTHS, "identity", key=key_network)
    posterior = lnn.GibbsPosterior(network, prior, data, temperature=0.5)
    measured = []
    for halvings, key in enumerate(keys):
        chains = lnn.sample(
            posterior, lnn.Langevin(STEP_SIZE / 2**halvings), key=key, num_chains=256,
            num_warmup=2_000, num_samples=250, thinning=30 * 2**halvings,
        )  # fmt: skip
        measured.append(lnn.summarise(chains))
        assert measured[-1].converged, measured[-1].message
    exact, wide = (theory(posterior.ensemble) for theory in (scale_mixture, infinite_width))
    z = {theory.name: [] for theory in (exact, wide)}
    for name in QUANTITIES:
        coarse, fine = (getattr(result, name) for result in measured)
        error = np.hypot(coarse.mcse, 2 * fine.mcse)
        for theory in (exact, wide):
            expected = getattr(theory, name).value
            z[theory.name].append((2 * fine.value - coarse.value - expected) / error)
    assert np.max(np.abs(z["scale_mixture"])) < SIGMAS, z
    assert np.max(np.abs(z["infinite_width"])) > 2 * SIGMAS, z
