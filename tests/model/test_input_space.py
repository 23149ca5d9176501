"""Networks on the original inputs: outside the span of the training inputs W⁰ has its prior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn.model import input_space

PRECISION, DRAWS = 2.5, 4_000


def deviations(seed: int) -> float:
    """The worst z-score of first and second moments of W⁰, of two units and seven inputs.

    Two training inputs and two test inputs leave three dimensions that nothing sees.
    """
    key = jax.random.key(seed)
    data = gaussian_task(2, 2, 7)
    network = lnn.FullyConnected(7, (2,), "erf", key=key, dtype=jnp.float64)
    prior = lnn.GaussianPrior((PRECISION, 1.0))
    posterior = lnn.GibbsPosterior(network, prior, data, 0.3)
    one = posterior.sample_prior(key, 1)
    params = jax.tree.map(lambda w: jnp.repeat(w, DRAWS, axis=0), one)
    networks = posterior.lifted_networks(params, jax.random.split(key, DRAWS))
    basis = np.linalg.qr(data.x_train.T)[0]
    known = np.asarray(one.weights[0])[0] @ posterior.space.basis.T
    rest = np.asarray(networks.weights[0]) - known
    rest = rest.reshape(DRAWS, -1)
    covariance = np.kron(np.eye(2), (np.eye(7) - basis @ basis.T) / PRECISION)
    products = rest[:, :, None] * rest[:, None, :]
    seen = np.asarray(data.x_train) @ rest.reshape(DRAWS, 2, 7).swapaxes(1, 2)
    assert np.abs(seen).max() < 1e-12, "nothing is added within the span"
    return max(worst(z_scores(rest, 0.0)), worst(z_scores(products, covariance)))


def test_outside_the_span_the_first_layer_has_its_prior(seed):
    assert deviations(seed) < SIGMAS


@pytest.mark.parametrize("mistake", ["one key for both parts", "another precision"])
def test_planted_mistakes_are_found(mistake, monkeypatch, seed):
    if mistake == "another precision":
        drawn = input_space._from_prior
        monkeypatch.setattr(input_space, "_from_prior", lambda *args: 1.15 * drawn(*args))
    else:
        monkeypatch.setattr(jax.random, "fold_in", lambda key, _: key)
    assert deviations(seed) > 2 * SIGMAS
