"""The tangent kernel of an activation with kinks, by formulas of others and by integrals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from cases import small_task, spec_of
from scipy.special import erf, ndtr

import langevin_nn as lnn
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory import infinite_width_flow, ntk
from langevin_nn.types import EnsembleSpec, NotApplicable

ANGLES = np.array([0.0, 1e-3, 0.01, 0.03, 0.1, 1.0, 2.5, np.pi])
SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772


def slope(function, a, b, rho):
    """E[σ'(u)σ'(v)] at one pair of variances and some correlations."""
    rho = np.atleast_1d(rho)[:, None]
    a, b = np.full(rho.shape, a), np.full((1, 1), b)
    return lnn.activation(function).dual.slope_on_host(a, b, np.sqrt(a * b) * rho)[:, 0]


@pytest.mark.slow_except("variances1")
@pytest.mark.parametrize("variances", [(1.0, 1.0), (0.3, 20.0)])
def test_one_kink_at_zero(variances):
    """(π − θ)/2π of relu (Cho and Saul 2009); it was 2.4e-4 off at θ = 0, and 2.6e-3 at 0.02."""
    found = slope(lambda z: jnp.maximum(z, 0), *variances, np.cos(ANGLES))
    np.testing.assert_allclose(found, (np.pi - ANGLES) / (2 * np.pi), atol=1e-12)
    found = slope(lambda z: jnp.where(z > 0, z, 0.2 * z), *variances, np.cos(ANGLES))
    exact = 0.2**2 + 2 * 0.2 * 0.8 / 2 + 0.8**2 * (np.pi - ANGLES) / (2 * np.pi)
    np.testing.assert_allclose(found, exact, atol=1e-12)


def clip(z):
    return jnp.clip(z, -1.0, 1.0)


def inside(u, a, b, c):
    """P(|v| < 1 | u)."""
    spread = np.sqrt(b - c * c / a)
    return ndtr((1 - c * u / a) / spread) - ndtr((-1 - c * u / a) / spread)


def selu_slope_given(u, a, b, c):
    """E[σ'(v) | u] of selu, and σ'(u)."""
    mean, variance = c * u / a, b - c * c / a
    spread = np.sqrt(variance)
    left = ALPHA * np.exp(mean + variance / 2) * ndtr(-mean / spread - spread)
    return SCALE * (ndtr(mean / spread) + left)


def integral(function, a, ends):
    """The Gaussian average over u of a function that is smooth between these ends."""

    def weighted(u):
        return function(u) * np.exp(-u * u / (2 * a)) / np.sqrt(2 * np.pi * a)

    pieces = zip(ends[:-1], ends[1:], strict=True)
    return sum(scipy.integrate.quad(weighted, *piece, epsabs=1e-12)[0] for piece in pieces)


@pytest.mark.slow
def test_kinks_beside_zero():
    """One variance at ρ = 1 has P(|u| < 1); it was 4.5 % off at a = 100."""
    for a in (0.1, 1.0, 10.0, 100.0):
        np.testing.assert_allclose(slope(clip, a, a, 1.0), erf(1 / np.sqrt(2 * a)), atol=1e-8)
    for a, b, rho in ((1.0, 1.1, 0.999), (10.0, 9.9, 0.99), (3.0, 0.2, -0.9)):
        c = rho * np.sqrt(a * b)
        exact = integral(lambda u, at=(a, b, c): inside(u, *at), a, (-1, 1))
        np.testing.assert_allclose(slope(clip, a, b, rho), exact, atol=1e-10)


@pytest.mark.slow
def test_a_kink_between_curves():
    for a, b, rho in ((1.0, 1.0, 0.5), (1.0, 1.1, 0.999), (10.0, 9.9, 0.9), (3.0, 0.2, -0.9)):
        c = rho * np.sqrt(a * b)

        def product(u, at=(a, b, c)):
            own = SCALE * np.where(u > 0, 1.0, ALPHA * np.exp(np.minimum(u, 0)))
            return own * selu_slope_given(u, *at)

        reach = 9 * np.sqrt(a)
        exact = integral(product, a, (-reach, 0, reach))
        np.testing.assert_allclose(slope(jax.nn.selu, a, b, rho), exact, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("biases", [False, True])
def test_tangent_kernel_of_a_callable_and_of_the_closed_form(biases):
    data = small_task()
    specs = [spec_of(data, (9, 9), "relu", biases=biases)]
    own = lnn.activation(lambda z: jnp.maximum(z, 0))
    specs.append(
        EnsembleSpec(
            data.in_size, (9, 9), own, specs[0].prior_precisions, 0.1,
            bias_precisions=specs[0].bias_precisions,
        )
    )  # fmt: skip
    there = np.concatenate([data.x_train, np.zeros((1, data.in_size))])
    expected, found = (ntk(spec, data.x_train, there) for spec in specs)
    np.testing.assert_allclose(np.diag(found), np.diag(expected), rtol=1e-8)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.max(expected))


@pytest.mark.slow
def test_what_has_no_kink_and_what_jumps():
    """Smooth ones as before; the tangent kernel of a step is infinite: it was 25."""
    assert lnn.activation("tanh").dual.slope_on_host(*np.ones((3, 1, 1))) is None
    data = small_task()
    spec = EnsembleSpec(data.in_size, (9,), lnn.activation(jnp.sign), (1.0, 1.0), 0.1)
    with pytest.raises(NotApplicable, match="jumps at 0"):
        infinite_width_flow(Ensemble(spec, data))
    assert np.all(np.isfinite(ntk(spec, data.x_train, data.x_test)))
