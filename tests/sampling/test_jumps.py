"""Dynamics that follow gradients alone refuse networks that jump: no gradient tells of it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from cases import gaussian_task

import langevin_nn as lnn
from langevin_nn.model.jumps import jump_in_weights, jump_of
from langevin_nn.sampling.checks import refuse_jumps

KEY = jax.random.key(0)
DTYPES = [
    pytest.param(jnp.float32, id="float32"),
    pytest.param(jnp.float64, id="float64", marks=pytest.mark.slow),
]


def posterior(network, num_arrays=2):
    prior = lnn.GaussianPrior((1.0,) * num_arrays)
    return lnn.GibbsPosterior(network, prior, gaussian_task(5, 3, 3), 0.1)


@pytest.mark.parametrize(
    ("function", "place"),
    [
        (jnp.sign, "0"), (lambda z: z + 0.01 * jnp.sign(z - 1.25), "1.25"), (jnp.floor, ".*"),
        (lambda z: jnp.heaviside(z - 3.3, 0.5), "3.3"),
    ],
)  # fmt: skip
def test_what_follows_gradients_refuses_activations_that_jump(function, place):
    jumping = posterior(lnn.FullyConnected(3, (4,), function, key=KEY, dtype=jnp.float64))
    message = f"jumps at z = {place}, of which .* {{}} follows says nothing: write "
    split = "Split.., whose acceptance step knows of it, or a continuous activation$"
    with pytest.raises(lnn.InputError, match=message.format("Langevin dynamics") + split):
        lnn.sample(jumping, lnn.Langevin(), key=KEY)
    with pytest.raises(lnn.InputError, match=message.format("Langevin dynamics") + split):
        lnn.NumPyroKernel(jumping, lnn.Langevin())
    refuse_jumps(jumping, lnn.Split())  # it has an acceptance step
    with pytest.raises(lnn.InputError, match=message.format("gradient flow") + "a continuous"):
        lnn.gradient_flow(jumping, key=KEY)
    with pytest.raises(lnn.InputError, match=message.format("find_minimum") + "a continuous"):
        lnn.find_minimum(jumping, jumping.sample_prior(KEY, 1))


class Own(eqx.Module):
    """A module of the user's own with one hidden layer of four units."""

    w: jax.Array
    v: jax.Array
    function: object = eqx.field(static=True)

    def __init__(self, function, dtype=jnp.float64):
        self.w, self.v, self.function = jnp.ones((4, 3), dtype), jnp.ones(4, dtype), function

    def __call__(self, x):
        return self.v @ self.function(self.w @ x) / jnp.asarray(2.0, x.dtype)


JUMPING = [
    lambda z: z + jnp.sign(z),
    lambda z: jnp.tanh(z) + jnp.asarray(0.05, z.dtype) * (z > 1).astype(z.dtype),
    lambda z: jnp.where(jnp.argmax(z) == jnp.arange(4), z * z, z),
]
CONTINUOUS = {
    "kinked": jax.nn.relu, "infinitely steep": jnp.cbrt, "poles": lambda z: 1 / z,
    "steep": lambda z: jnp.tanh(jnp.asarray(1e4, z.dtype) * (z - 1)),
    "sorted": lambda z: jnp.sort(z) * jnp.arange(4).astype(z.dtype), "zero": jnp.zeros_like,
    "normalised": lambda z: z / jnp.sqrt(jnp.sum(z * z) + jnp.asarray(1e-5, z.dtype)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", JUMPING)
def test_modules_that_jump_are_refused(function, dtype):
    own = posterior(Own(function, dtype))
    message = "an output of the network jumps by .* as its weights move, of which the gradient that"
    with pytest.raises(lnn.InputError, match=f"{message} Langevin .*: write Split"):
        refuse_jumps(own, lnn.Langevin())
    refuse_jumps(own, lnn.Split())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONTINUOUS)
def test_steep_and_kinked_networks_do_not_jump(name, dtype):
    if name not in ("sorted", "normalised", "poles"):
        assert jump_of(CONTINUOUS[name]) is None
    own = Own(CONTINUOUS[name], dtype)
    if name != "zero":  # of which nothing is sampled
        assert jump_in_weights(posterior(own)) is None
