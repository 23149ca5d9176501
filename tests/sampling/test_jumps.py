"""Dynamics that follow gradients alone refuse activations that jump: no gradient tells of it."""

import jax
import jax.numpy as jnp
import pytest
from oracles import gaussian_task

import langevin_nn as lnn
from langevin_nn.model.activations import jump_of
from langevin_nn.sampling.checks import refuse_jumps

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("function", "place"),
    [
        (jnp.sign, "0"), (lambda z: z + 0.01 * jnp.sign(z - 1.25), "1.25"), (jnp.floor, ".*"),
        (lambda z: jnp.heaviside(z - 3.3, 0.5), "3.3"),
    ],
)  # fmt: skip
def test_langevin_dynamics_refuses_activations_that_jump(function, place):
    network = lnn.FullyConnected(3, (4,), function, key=KEY)
    prior, task = lnn.GaussianPrior((1.0, 1.0)), gaussian_task(5, 3, 3)
    jumping = lnn.GibbsPosterior(network, prior, task, 0.1)
    message = f"jumps at z = {place}, of which .* Langevin dynamics follows says nothing: write Sp"
    with pytest.raises(lnn.InputError, match=message):
        lnn.sample(jumping, lnn.Langevin(), key=KEY)
    with pytest.raises(lnn.InputError, match=message):
        lnn.NumPyroKernel(jumping, lnn.Langevin())
    refuse_jumps(jumping, lnn.Split())  # it has an acceptance step


def test_steep_and_kinked_activations_do_not_jump():
    for function in (jnp.cbrt, jax.nn.relu, lambda z: jnp.tanh(1e4 * z), jnp.zeros_like):
        assert jump_of(function) is None
