"""Gram matrices of networks drawn from the prior, which own layers are held against."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import langevin_nn as lnn
from langevin_nn.model.prior_grams import drawn_grams


@pytest.mark.slow_except("float32")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_their_mean_is_that_of_the_prior_in_either_type(dtype):
    """Of linear units it is known at any width: (x·x'/(λ_0 N_0) + 1/λ_b0)/λ_1 + 1/λ_b1."""
    network = lnn.FullyConnected(3, (6,), "identity", key=jax.random.key(0), biases=True,
                                 dtype=dtype)  # fmt: skip
    x = np.array([[1.0, -2.0, 0.5], [0.3, 0.7, 1.1], [-1.0, 0.0, 2.0]])
    prior = lnn.GaussianPrior((2.0, 4.0), (0.5, 8.0))
    grams = drawn_grams(network, prior, x, 60)
    assert grams.dtype == np.float64
    exact = (x @ x.T / 6 + 2) / 4 + 1 / 8
    z = (grams.mean(axis=0) - exact) / (grams.std(axis=0, ddof=1) / np.sqrt(60))
    assert np.abs(z).max() < 5
    np.testing.assert_array_equal(drawn_grams(network, prior, x, 50), grams[:50], "the same again")
    assert len(np.unique(grams[:, 0, 0])) == 60, "independent of one another"
