"""The effective action: its derivatives, its minimum, and the average over its weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import SEED
from scipy.optimize import brentq

from langevin_nn.theory.saddles.scale import ScaleAction, minima, minimise


def random_action(width, temperature, num_train=30, size=1.0, seed=1):
    rng = np.random.default_rng(SEED + seed)
    eigenvalues = np.sort(np.exp(rng.uniform(-10, 3, num_train)))
    return ScaleAction((width,), temperature, eigenvalues, size * rng.standard_normal(num_train))


def two_phase_action(weak_target):
    """Fifty strong directions without a signal pull Q down, a weak one with a signal pulls it up.

    P > N_1 makes S rise from its first minimum on; the weak target decides which of two is lower.
    """
    eigenvalues = np.concatenate([[1e-4], np.ones(50)])
    targets = np.concatenate([[weak_target], np.zeros(50)])
    return ScaleAction((5,), 1e-3, eigenvalues, targets)


def determinant_form(action):
    """S(q) from matrices, as PHYSICS writes it, in JAX."""
    rng = np.random.default_rng(SEED + 2)
    num_train = action.eigenvalues.size
    basis = jnp.asarray(np.linalg.qr(rng.standard_normal((num_train, num_train)))[0])
    gram = basis @ jnp.diag(action.eigenvalues) @ basis.T
    targets = basis @ action.projected_targets

    def value(q):
        matrix = action.temperature * jnp.eye(num_train) + jnp.exp(q) * gram
        fit = targets @ jnp.linalg.solve(matrix, targets)
        return action.widths[0] * (jnp.exp(q) - 1 - q) + jnp.linalg.slogdet(matrix)[1] + fit

    return value


@pytest.mark.parametrize("temperature", [0.02, 3.0])
def test_derivatives_are_those_of_the_determinant_form(temperature):
    action = random_action(17, temperature, num_train=8)
    value = determinant_form(action)
    exact = jax.jit(lambda q: (value(q), jax.grad(value)(q), jax.grad(jax.grad(value))(q)))
    for q in (-3.0, 0.0, 1.5):
        ours = (action.value(q), action.gradient(q), action.curvature(q))
        np.testing.assert_allclose(ours, exact(q), rtol=1e-8)


def test_arrays_of_points_are_the_points_one_by_one():
    action = random_action(17, 0.1)
    q = np.linspace(-2, 2, 5)
    for function in (action.value, action.gradient, action.curvature):
        np.testing.assert_allclose(function(q), [function(float(each)) for each in q], rtol=1e-13)


@pytest.mark.parametrize("temperature", [0.0, 1e-12, 1e-3, 0.1, 10.0])
@pytest.mark.parametrize("width", [1, 40, 10**6])
@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0])
def test_minimum_is_global_and_sharp(temperature, width, size):
    action = random_action(width, temperature, size=size)
    saddle = minimise(action)
    lowest, highest = action.bracket()
    scan = action.value(np.linspace(lowest - 5, highest + 5, 4001))
    assert saddle.converged and saddle.iterations < 12
    assert saddle.action <= np.min(scan) + 1e-12 * abs(saddle.action)
    assert action.gradient(lowest) < 0 < action.gradient(highest)
    root = brentq(action.gradient, np.log(saddle.value) - 0.05, np.log(saddle.value) + 0.05)
    assert abs(np.log(saddle.value) - root) < 1e-11


@pytest.mark.parametrize("num_train, width", [(5, 20), (20, 20), (60, 20)])
@pytest.mark.parametrize("size", [0.3, 5.0])
def test_closed_form_at_zero_temperature(num_train, width, size):
    action = random_action(width, 0.0, num_train=num_train, size=size)
    alpha = num_train / width
    criterion = np.mean(action.projected_targets**2 / action.eigenvalues)
    root = np.sqrt((1 - alpha) ** 2 + 4 * alpha * criterion)
    expected = ((1 - alpha) + root) / 2
    assert abs(minimise(action).value / expected - 1) < 1e-11


@pytest.mark.parametrize("weak_target, above_one", [(0.8, False), (3.0, True)])
def test_the_lower_of_two_minima_wins(weak_target, above_one):
    action = two_phase_action(weak_target)
    saddle = minimise(action)
    assert len(minima(action)) == 2
    assert "2 minima" in saddle.message
    scan = np.linspace(*action.bracket(), 20_001)
    assert abs(np.log(saddle.value) - scan[np.argmin(action.value(scan))]) < 1e-2
    assert (saddle.value > 1) is above_one


def test_no_minimum_is_a_value_with_a_reason():
    saddle = minimise(ScaleAction((3,), 0.0, np.ones(5), np.zeros(5)))
    assert not saddle.converged
    assert np.isnan(saddle.value)
    assert "no minimum" in saddle.message
    found = minimise(ScaleAction((20,), 0.0, np.ones(5), np.zeros(5)))  # Q = 1 − α
    assert found.converged
    np.testing.assert_allclose(found.value, 0.75, rtol=1e-13)
