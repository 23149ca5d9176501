"""Minima against linear algebra, against another minimiser, and what is true of every minimum."""

from dataclasses import replace

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from cases import gaussian_task

import langevin_nn as lnn
from langevin_nn.errors import InputError
from langevin_nn.model.losses import Loss
from langevin_nn.training import minimum

KEY = jax.random.key(3)
TASK = gaussian_task(40, 3, 4)
LABELLED = replace(TASK, y_train=np.where(np.arange(40) % 3 > 0, 1.0, -1.0))


def posterior_of(data, widths, activation="gelu", loss=None, dtype=jnp.float64):
    settings = {"temperature": 1.0, "loss": loss, "key": KEY, "dtype": dtype}
    return cases.posterior_of(data, widths, activation, **settings)


def first(data, number):
    return replace(data, x_train=data.x_train[:number], y_train=data.y_train[:number])


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize("number", [2, 40])
def test_linear_network_is_least_squares(number):
    data = first(TASK, number)
    posterior = posterior_of(data, (), "identity")
    found = lnn.find_minimum(posterior, posterior.sample_prior(KEY, 3))
    weights = np.linalg.lstsq(data.x_train, data.y_train, rcond=None)[0]
    expected = np.broadcast_to(data.x_train @ weights, (3, number))
    np.testing.assert_allclose(found.train_outputs, expected, atol=1e-6)
    energy = 0.5 * np.square(data.y_train - expected).sum(axis=1)
    np.testing.assert_allclose(found.energy, energy, rtol=1e-9, atol=1e-15)
    assert found.converged.all() and found.message == ("", "", "")
    assert np.all(found.num_steps < 20)


class OneSided(Loss):
    """½ r² with r = y − f of negative targets, and three times as much of positive ones."""

    name = "one_sided"

    def residual(self, f, y, factor=1.0):
        return jnp.where(y > 0, 3.0, 1.0) * (y - f)

    def __call__(self, f, y):
        return 0.5 * jnp.square(self.residual(f, y))


@pytest.mark.slow
def test_a_loss_of_ones_own_says_of_what_it_is_the_square():
    posterior = posterior_of(LABELLED, (), "identity", OneSided())
    found = lnn.find_minimum(posterior, posterior.sample_prior(KEY, 1))
    factors = np.where(LABELLED.y_train > 0, 3.0, 1.0)
    rows = factors[:, None] * LABELLED.x_train
    weights = np.linalg.lstsq(rows, factors * LABELLED.y_train, rcond=None)[0]
    np.testing.assert_allclose(found.train_outputs[0], LABELLED.x_train @ weights, atol=1e-6)


def test_linear_network_with_several_outputs():
    targets = np.stack([TASK.y_train, np.sin(TASK.y_train)], axis=1)
    data = replace(TASK, y_train=targets, y_test=np.ones((3, 2)))
    posterior = posterior_of(data, (), "identity")
    found = lnn.find_minimum(posterior, posterior.sample_prior(KEY, 1))
    weights = np.linalg.lstsq(data.x_train, targets, rcond=None)[0]
    np.testing.assert_allclose(found.train_outputs[0], data.x_train @ weights, atol=1e-6)


def test_hinge_of_a_linear_network_is_convex():
    """Against SciPy's BFGS, with the energy written out."""
    posterior = posterior_of(LABELLED, (), "identity", lnn.Hinge(2, 0.6))

    def energy(w):
        return 0.5 * np.sum(np.maximum(0.6 - LABELLED.y_train * (LABELLED.x_train @ w), 0) ** 2)

    expected = scipy.optimize.minimize(energy, np.zeros(4), method="BFGS", options={"gtol": 1e-9})
    found = lnn.find_minimum(posterior, posterior.sample_prior(KEY, 2), gradient_tolerance=1e-9)
    np.testing.assert_allclose(found.energy, expected.fun, rtol=1e-8)
    assert found.converged.all() and expected.fun > 1
    outputs = LABELLED.x_train @ expected.x
    assert np.all(found.unsatisfied == np.sum(LABELLED.y_train * outputs < 0.6))


@pytest.mark.slow
@pytest.mark.parametrize("loss", [lnn.Squared(), lnn.Hinge()], ids=lambda loss: loss.name)
@pytest.mark.parametrize("max_steps", [3, pytest.param(1000, marks=pytest.mark.slow)])
def test_gradients_are_those_of_automatic_differentiation(loss, max_steps):
    """At the end of each, small or not, with and without the divisor ‖J‖‖r‖."""
    posterior = posterior_of(LABELLED, (3,), loss=loss)
    found = lnn.find_minimum(posterior, posterior.sample_prior(KEY, 2), max_steps=max_steps)
    rows = jax.grad(lambda p: jnp.sum(posterior.data_energy(p)))(found.params)
    jacobian = jax.jacrev(posterior.train_outputs)(found.params)
    for one in range(2):
        norm = np.linalg.norm(flat(jax.tree.map(lambda g, i=one: g[i], rows)))
        np.testing.assert_allclose(found.gradient_norm[one], norm, rtol=1e-6, atol=1e-12)
        own = [np.asarray(leaf)[one, :, one].reshape(40, -1) for leaf in jax.tree.leaves(jacobian)]
        f = found.train_outputs[one]
        residual = LABELLED.y_train - f
        if loss.name == "hinge":
            residual = np.maximum(1 - LABELLED.y_train * f, 0)
        active = (residual != 0)[:, None]
        slopes = np.linalg.norm(np.concatenate(own, axis=1) * active)
        expected = norm / slopes / np.linalg.norm(residual)
        np.testing.assert_allclose(found.relative_gradient[one], expected, rtol=1e-6)
        assert found.converged[one] == (expected <= 1e-6)
        assert ("write a larger max_steps" in found.message[one]) == (not found.converged[one])
    assert np.any(found.converged) == (max_steps == 1000)


@pytest.mark.slow
@pytest.mark.parametrize("widths", [(10,), (6, 5)])
def test_hinge_that_can_be_satisfied_ends_at_exactly_zero(widths):
    data = first(LABELLED, 20)
    posterior = posterior_of(data, widths, loss=lnn.Hinge(2, 0.7))
    found = lnn.find_minimum(posterior, posterior.sample_prior(KEY, 8))
    assert np.all(found.energy == 0) and np.all(found.unsatisfied == 0) and found.converged.all()
    margins = data.y_train * np.asarray(posterior.train_outputs(found.params))
    assert np.all(margins >= 0.7) and np.all(margins.min(axis=1) < 0.7 + 1e-4)
    again = lnn.find_minimum(posterior, found.params)
    assert np.all(again.num_steps == 0) and again.converged.all()
    assert np.all(flat(again.params) == flat(found.params))


@pytest.mark.slow
def test_minimum_has_as_many_unsatisfied_examples_as_its_curvature_has_descents():
    """No descent is left in H, so H_0 lifts each of H_p: N_Δ ≥ N⁻. Not so after a few steps."""
    labels = np.random.default_rng(1).choice([-1.0, 1.0], 40)
    posterior = posterior_of(replace(TASK, y_train=labels), (3,), loss=lnn.Hinge())
    start = posterior.sample_prior(KEY, 6)

    def ends(**settings):
        """Lowest eigenvalue of H over its largest, N_Δ, N⁻ and whether converged, of each end."""
        found = lnn.find_minimum(posterior, start, **settings)
        for one in np.flatnonzero(found.energy > 0):
            params = jax.tree.map(lambda leaf, i=one: leaf[i : i + 1], found.params)
            hessian = lnn.hessian(posterior, params)
            values = np.linalg.eigvalsh(hessian.whole)
            curvature = np.linalg.eigvalsh(hessian.of_curvature)
            descents = int(np.sum(curvature < -1e-8 * np.abs(curvature).max()))
            assert hessian.unsatisfied == found.unsatisfied[one]
            yield values[0] / values[-1], hessian.unsatisfied, descents, found.converged[one]

    minima = [end for end in ends(gradient_tolerance=1e-8, max_steps=400) if end[3]]
    assert len(minima) >= 3 and max(end[2] for end in minima) >= 3
    for lowest, unsatisfied, descents, _ in minima:
        assert lowest > -1e-10 and unsatisfied >= descents
    assert all(lowest < -1e-4 for lowest, *_ in ends(max_steps=5))


def test_what_has_no_minimum_to_be_found(monkeypatch):
    for loss in (lnn.Logistic(), lnn.Hinge(power=1)):
        posterior = posterior_of(LABELLED, (3,), loss=loss)
        with pytest.raises(
            InputError, match=r"takes losses that are squares, got .*Hinge\(power=2"
        ):
            lnn.find_minimum(posterior, posterior.sample_prior(KEY, 1))
    posterior = posterior_of(LABELLED, (3,))
    start = posterior.sample_prior(KEY, 1)
    with pytest.raises(InputError, match="all weights, got a MarginalisedPosterior: write Gibbs"):
        lnn.find_minimum(lnn.MarginalisedPosterior.of(posterior), start)
    with pytest.raises(InputError, match="gradient_tolerance must be positive, got 0.0"):
        lnn.find_minimum(posterior, start, gradient_tolerance=0.0)
    with pytest.raises(InputError, match="max_steps must be positive, got 0"):
        lnn.find_minimum(posterior, start, max_steps=0)
    single = posterior_of(LABELLED, (3,), dtype=jnp.float32)
    with pytest.raises(InputError, match="float64, the network has float32: build it with dtype"):
        lnn.find_minimum(single, single.sample_prior(KEY, 1))
    monkeypatch.setattr(minimum, "MOST_WEIGHTS_FACTORISED", 14)
    with pytest.raises(InputError, match="15 weights are too many, 14 at most"):
        lnn.find_minimum(posterior, start)
