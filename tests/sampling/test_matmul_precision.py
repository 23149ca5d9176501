"""Products of matrices are made in full precision wherever a sampler makes them (FAULTS 1.17)."""

import re
from itertools import product

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task, some_params

import langevin_nn as lnn
from langevin_nn.runs.provenance import manifest

KEY = jax.random.key(0)


class Own(eqx.Module):
    first: jax.Array
    last: jax.Array

    def __call__(self, x):
        return self.last @ jnp.tanh(self.first @ x)


NETWORKS = {
    "dense": lambda size: lnn.FullyConnected(size, (5,), key=KEY),
    "convolution": lambda size: lnn.Convolutional(lnn.Patches((2, size // 2, 1), 2, 1), 5, key=KEY),
    "own": lambda size: Own(jnp.zeros((5, size), jnp.float32), jnp.zeros(5, jnp.float32)),
}
KINDS = {"sampled": lnn.GibbsPosterior, "marginalised": lnn.MarginalisedPosterior}
ROWS = [row for row in product(KINDS, NETWORKS) if row != ("marginalised", "own")]


def posterior_of(kind, name, num_train=6, in_size=8):
    data = gaussian_task(num_train, 3, in_size)
    return KINDS[kind](NETWORKS[name](in_size), lnn.GaussianPrior((1.0, 1.0)), data, 0.1)


@pytest.mark.slow_except(
    "sampled-dense", "sampled-convolution", "sampled-own", "marginalised-dense"
)
@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_every_product_of_a_step_and_a_record_is_asked_for_in_full(kind, name):
    """In the program as it is handed to XLA: `Precision.HIGHEST` is float32, never TF32."""
    posterior = posterior_of(kind, name)

    def program(posterior, params, key):
        gradient = jax.grad(lambda p: jnp.sum(posterior.potential(p)))(params)
        keys = jax.random.split(key, 2)
        networks = posterior.lifted_networks(params, keys)
        return gradient, posterior.record(params, keys, train_outputs=True), networks

    lowered = eqx.filter_jit(program).lower(posterior, some_params(posterior, 2), KEY)
    products = re.findall(r".*dot_general.*", lowered.as_text())
    assert len(products) > 3
    assert [line for line in products if line.count("HIGHEST") < 2] == []
    jax.config.update("jax_default_matmul_precision", "bfloat16")
    try:
        lowered = eqx.filter_jit(program).lower(posterior, some_params(posterior, 2), KEY)
    finally:
        jax.config.update("jax_default_matmul_precision", None)
    assert "BF16" not in lowered.as_text()


def test_a_manifest_says_so():
    assert manifest(lnn.config.RunConfig(), (), 1.0)["matmul_precision"] == "highest"


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU, where TF32 is the default")
def test_potentials_on_a_gpu_are_those_of_float64():
    """TF32 has 10 bits of mantissa: errors of 10⁻³, where those of float32 are below 10⁻⁵."""
    for row in ROWS:
        posterior = posterior_of(*row, num_train=100, in_size=64)
        params = some_params(posterior, 4)
        exact = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        wide = jax.tree.map(
            lambda leaf: leaf.astype(jnp.float64) if eqx.is_inexact_array(leaf) else leaf, posterior
        )
        f = np.asarray(posterior.predictions(params, jax.random.split(KEY, 4))["test_outputs"])
        g = np.asarray(wide.predictions(exact, jax.random.split(KEY, 4))["test_outputs"])
        if posterior.space is None:
            np.testing.assert_allclose(f, g, atol=2e-5 * np.abs(g).max())
        mine, theirs = posterior.potential(params), wide.potential(exact)
        np.testing.assert_allclose(mine, theirs, rtol=2e-5)
