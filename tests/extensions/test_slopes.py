"""Gradients are those of the values: of activations, losses and networks of one's own.

Else Langevin dynamics would sample another law than the one that the energy says, in silence.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task, small_task
from extensions.loss_huber import Huber
from extensions.network_skip import SkipNetwork
from refusals import refuses

import langevin_nn as lnn
from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.model.losses import LOSSES, require_loss
from langevin_nn.model.slopes import wrong_slope

KEY = jax.random.key(0)


@jax.custom_jvp
def bent(z):
    return jnp.tanh(z)


bent.defjvp(lambda z, change: (bent(*z), 0.9 * change[0] * (1 - bent(*z) ** 2)))


@jax.custom_jvp
def dead_at_zero(z):
    return jax.nn.relu(z)


dead_at_zero.defjvp(lambda z, change: (dead_at_zero(*z), jnp.where(z[0] > 0.05, change[0], 0.0)))

WRONG = {
    "stopped": lambda z: jnp.tanh(jax.lax.stop_gradient(z)),
    "stopped in part": lambda z: jnp.tanh(z) + jnp.sin(jax.lax.stop_gradient(z)),
    "another rule": bent,
    "another rule beside zero": dead_at_zero,
    "rounded": lambda z: jnp.round(100 * z) / 100,
    "whole numbers": lambda z: (z * 1024).astype(jnp.int32).astype(z.dtype) / 1024,
    "in 16 bits": lambda z: jnp.tanh(z.astype(jnp.bfloat16)).astype(z.dtype),
    "not a number": lambda z: jnp.where(z > 0, jnp.sqrt(z), 0.0),
}
RIGHT = {
    **{name: chosen.function for name, chosen in ACTIVATIONS.items()},
    "a cusp": lambda z: 1 - jnp.exp(-jnp.abs(z)),
    "an infinite slope": jnp.cbrt,
    "a jump": jnp.sign,
    "jumps": jnp.round,
    "kinks": lambda z: jnp.abs(z - jnp.round(z)),
    "fast": lambda z: jnp.sin(1e4 * z),
    "steep": lambda z: jnp.tanh(1e3 * z),
    "narrow": lambda z: jnp.exp(-((100 * z) ** 2)),
    "growing": jnp.exp,
    "an offset": lambda z: 100 + jnp.tanh(z),
    "small": lambda z: 1e-6 * jnp.tanh(z),
    "constant": lambda z: 1.0 + 0 * z,
}


@pytest.mark.slow
@pytest.mark.parametrize("x64", [True, False])
def test_slopes_are_those_of_the_values(x64):
    with jax.enable_x64(x64):
        assert [name for name, function in WRONG.items() if not wrong_slope(function)] == []
        assert {name: wrong_slope(function) for name, function in RIGHT.items()} == dict.fromkeys(
            RIGHT, ""
        )


def test_an_activation_with_another_slope_is_refused():
    with refuses("'bent'", "derivative"):
        lnn.activation(bent)
    tanh = ACTIVATIONS["tanh"]
    with refuses("'own'", "derivative"):
        lnn.activation(lnn.Activation("own", bent, tanh.dual, odd=True))


class Rounded(Huber):
    def __call__(self, f, y):
        return super().__call__(jnp.round(1000 * f) / 1000, y)


class Bent(Huber):
    """Beside the target alone the derivative is another one."""

    def __call__(self, f, y):
        near = jnp.abs(f - y) < 0.5
        return super().__call__(jnp.where(near, jax.lax.stop_gradient(f), f), y)


@pytest.mark.parametrize("kind", [Rounded, Bent])
def test_a_loss_with_another_slope_is_refused(kind):
    with refuses("huber", "derivative"):
        require_loss(kind(), small_task().y_train)


class Copied(lnn.Loss):
    name = "copied"

    def __init__(self, loss):
        self.loss = loss

    def __call__(self, f, y):
        return self.loss(f, y)


def test_losses_whose_slopes_are_right():
    labels = np.array([-1.0, 1.0, 1.0])
    for kind in LOSSES.values():
        require_loss(Copied(kind()), labels)
    for targets in (np.array([0.3, -20.0, 5.0]), np.array([[0.0, 1.0], [1.0, 0.0]])):
        require_loss(Huber(), targets)


class Stopped(SkipNetwork):
    def features(self, x):
        return super().features(x) + 0.5 * jax.lax.stop_gradient(super().features(x))


class Stepped(SkipNetwork):
    def features(self, x):
        return super().features(x) + jnp.where(self.preactivations(0, x) > 0.3, 1.0, 0.0)


class Step(Huber):
    def __call__(self, f, y):
        return super().__call__(f, y) + jnp.where(f * y < 0, 0.5, 0.0)


def posterior_of(kind=SkipNetwork, loss=None, posterior=lnn.GibbsPosterior):
    data = gaussian_task(6, 5, 4)
    network = kind(data.in_size, (3, 3), "erf", key=KEY, dtype=jnp.float64)
    return posterior(network, lnn.GaussianPrior((1.0, 2.0, 1.0)), data, 0.1, loss)


@pytest.mark.slow_except("MarginalisedPosterior")
@pytest.mark.parametrize("posterior", [lnn.GibbsPosterior, lnn.MarginalisedPosterior])
def test_features_with_another_slope_are_refused(posterior):
    with refuses("weights[0]", "derivative"):
        posterior_of(Stopped, posterior=posterior)


SAMPLED = {"key": KEY, "num_chains": 2, "num_warmup": 2, "num_samples": 4, "thinning": 1}


@pytest.mark.slow
@pytest.mark.parametrize("posterior", [lnn.GibbsPosterior, lnn.MarginalisedPosterior])
def test_features_that_jump_are_not_followed_by_gradients_alone(posterior):
    stepped = posterior_of(Stepped, posterior=posterior)
    with refuses("feature", "Langevin", "Split()"):
        lnn.sample(stepped, lnn.Langevin(), **SAMPLED)
    lnn.sample(stepped, lnn.Split(), **SAMPLED)
    lnn.sample(posterior_of(posterior=posterior), lnn.Langevin(), **SAMPLED)


@pytest.mark.slow
def test_a_loss_that_jumps_is_not_followed_by_gradients_alone():
    with refuses("huber", "f = 0", "Split()"):
        lnn.sample(posterior_of(loss=Step()), lnn.Langevin(), **SAMPLED)
    lnn.sample(posterior_of(loss=Step()), lnn.Split(), **SAMPLED)
    lnn.sample(posterior_of(loss=Huber()), lnn.Langevin(), **SAMPLED)
