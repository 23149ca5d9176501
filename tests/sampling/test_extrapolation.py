"""Langevin dynamics of all weights, at step size η → 0, has the marginalised posterior: on MNIST.

    v(η) = v + a η + O(η²)      ⇒      2 v(η/2) − v(η) = v + O(η²)

with v the bias², the variance, … Its reference is another dynamics on another read-out.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import posterior_of
from statistics_in_sigmas import SIGMAS

import langevin_nn as lnn
from langevin_nn.data.image_files import available

WIDTH, TEMPERATURE, STEP_SIZE = 20, 0.3, 0.07
QUANTITIES = ("bias2", "variance", "generalisation_error", "train_error")


def measure(kind, data, dynamics, key, **counts):
    posterior = posterior_of(
        data, (WIDTH,), temperature=TEMPERATURE, key=key, kind=kind, dtype=jnp.float32
    )
    found = lnn.summarise(lnn.sample(posterior, dynamics, key=key, **counts))
    assert found.converged, found.message
    return found


@pytest.mark.slow
def test_langevin_extrapolates_to_the_marginalised_posterior_on_mnist(seed):
    files = next(record for record in available() if record.name == "mnist")
    if not files.present:
        pytest.skip(f"mnist is not in {files.where}: set LANGEVIN_NN_DATA")
    data = lnn.load_dataset("mnist", num_train=20, num_test=50, key=jax.random.key(0))
    keys = jax.random.split(jax.random.key(seed), 3)
    exact = measure(
        lnn.MarginalisedPosterior, data, lnn.Split(), keys[0],
        num_chains=8, num_warmup=300, num_samples=500,
    )  # fmt: skip
    coarse, fine = (
        measure(
            lnn.GibbsPosterior, data, lnn.Langevin(STEP_SIZE / halves), key,
            num_chains=64, num_warmup=1_000 * halves, num_samples=300, thinning=15 * halves,
        )
        for halves, key in ((1, keys[1]), (2, keys[2]))
    )  # fmt: skip
    z = {"at η": {}, "extrapolated": {}}
    for name in QUANTITIES:
        reference, at_step, at_half = (getattr(result, name) for result in (exact, coarse, fine))
        error = np.hypot(at_step.mcse, reference.mcse)
        z["at η"][name] = (at_step.value - reference.value) / error
        error = np.sqrt(at_step.mcse**2 + 4 * at_half.mcse**2 + reference.mcse**2)
        limit = 2 * at_half.value - at_step.value
        z["extrapolated"][name] = (limit - reference.value) / error
    assert max(abs(value) for value in z["extrapolated"].values()) < SIGMAS, z
    assert z["at η"]["variance"] > SIGMAS and z["at η"]["train_error"] > 2 * SIGMAS, z
