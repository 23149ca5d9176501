"""Activations and their Gaussian duals, against an independent double integral and Monte Carlo."""

import math
from decimal import Decimal, localcontext
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import SEED
from oracles import NUMPY_ACTIVATIONS

from langevin_nn.model import quadrature
from langevin_nn.model.activations import ACTIVATIONS, activation
from langevin_nn.types import InputError

VARIANCES = [(1.0, 1.0), (10.0, 10.0), (10.0, 0.2), (1e-4, 0.3), (0.0, 1.0)]
CORRELATIONS = [-1.0, -0.999, -0.6, 0.0, 0.4, 0.9999, 1.0]
GRID = [(a, b, rho) for a, b in VARIANCES for rho in CORRELATIONS]


NODES = np.polynomial.legendre.leggauss(128)


def panels(breaks):
    """Gauss–Legendre nodes and weights on each interval between breaks (…, intervals + 1)."""
    x, w = NODES
    left, right = breaks[..., :-1, None], breaks[..., 1:, None]
    z = 0.5 * (left + right) + 0.5 * (right - left) * x
    w = 0.5 * (right - left) * w * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return z.reshape(*z.shape[:-2], -1), w.reshape(*w.shape[:-2], -1)


def double_integral(left, right, a, b, rho):
    """E[left(u) right(v)], each one-dimensional integral split where u or v changes its sign."""
    z, w = panels(np.array([-9.5, 0.0, 9.5]))
    u = np.sqrt(a) * z
    if abs(rho) == 1:
        return np.sum(w * left(u) * right(rho * np.sqrt(b) * z))
    width = np.sqrt(1 - rho**2)
    kink = np.clip(-rho * z / width, -9.5, 9.5)
    breaks = np.stack([np.full_like(kink, -9.5), kink, np.full_like(kink, 9.5)], axis=-1)
    z2, w2 = panels(breaks)
    v = np.sqrt(b) * (rho * z[:, None] + width * z2)
    return np.sum(w * left(u) * np.sum(w2 * right(v), axis=1))


@lru_cache
def exact_values(name):
    return np.array(
        [double_integral(NUMPY_ACTIVATIONS[name], NUMPY_ACTIVATIONS[name], *case) for case in GRID]
    )


def worst_error(dual, name):
    a, b, rho = np.array(GRID).T
    values = dual(jnp.asarray(a), jnp.asarray(b), jnp.asarray(rho * np.sqrt(a * b)))
    return np.max(np.abs(values - exact_values(name)))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_function_is_the_named_one(name):
    z = np.linspace(-4, 4, 41)
    np.testing.assert_allclose(
        ACTIVATIONS[name](jnp.asarray(z)), NUMPY_ACTIVATIONS[name](z), atol=1e-14
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dual_is_the_double_integral(name):
    # At variance 10 the poles of swish10 are so near that 2048 Hermite polynomials leave 3e-8.
    assert worst_error(ACTIVATIONS[name].dual, name) < (1e-7 if name == "swish10" else 1e-11)


def test_dual_of_the_user_s_own():
    """By quadrature, whose series the cusp leaves 3e-4 short; a dual that is 1 % off is caught."""
    exact = [double_integral(*2 * [lambda z: 1 - np.exp(-np.abs(z))], *case) for case in GRID]
    a, b, rho = np.array(GRID).T
    found = activation("extensions.activation_laplace:laplace").dual(
        *map(jnp.asarray, (a, b, rho * np.sqrt(a * b)))
    )
    np.testing.assert_allclose(found, exact, rtol=0, atol=5e-4)
    assert np.max(np.abs(1.01 * np.asarray(found) - exact)) > 5e-3


CLOSED_FORMS = ("erf", "gelu", "identity", "relu")


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_a_closed_form_is_the_same_on_the_host(name):
    dual = ACTIVATIONS[name].dual
    assert worst_error(lambda *each: dual.on_host(*map(np.asarray, each)), name) < 1e-11
    zero = dual.on_host(*np.zeros((3, 2)))
    assert type(zero) is np.ndarray and np.all(zero == 0)


def angle(sine, rest):
    """arctan(sine/√rest) to sixty digits: halved six times, then by its series."""
    ratio = sine / rest.sqrt()
    for _ in range(6):
        ratio = ratio / (1 + (1 + ratio**2).sqrt())
    return 64 * sum((-1) ** k * ratio ** (2 * k + 1) / (2 * k + 1) for k in range(30))


@pytest.mark.parametrize("size", ["1", "1e6", "1e10", "1e14"])
@pytest.mark.parametrize("rho", ["-0.99", "0.5", "1"])
def test_closed_forms_of_large_variances(size, rho):  # FAULTS 1.1: k − kᵀA⁻¹k needs every digit
    """arcsin(1 − O(1/a)) and ab − c² lost half the digits, or were not finite."""
    with localcontext(prec=60):
        a = b = Decimal(size)
        c = Decimal(rho) * a
        pi = 4 * angle(Decimal(1), Decimal(1))
        part = a * b - c * c
        erf_dual = 2 / pi * angle(2 * c, 1 + 2 * (a + b) + 4 * part)
        root = (1 + a + b + part).sqrt()
        gelu_dual = c * angle(c, root**2) + (part + c * c / (1 + a) + c * c / (1 + b)) / root
        expected = {"erf": erf_dual, "gelu": c / 4 + gelu_dual / (2 * pi)}
        power = {"erf": Decimal(1), "gelu": a}
        for name in expected:
            dual = ACTIVATIONS[name].dual
            for found in (dual.on_host, lambda *each, dual=dual: dual(*map(jnp.asarray, each))):
                error = Decimal(float(found(*np.array([a, b, c], float)))) - expected[name]
                assert abs(error) < Decimal(1e-15) * power[name], (name, error / power[name])


@pytest.mark.parametrize("name", ["erf", "identity", "gelu"])
def test_quadrature_of_a_callable_agrees_with_the_closed_form(name):
    callable_ = ACTIVATIONS[name].function
    assert worst_error(activation(lambda z: callable_(z)).dual, name) < 1e-10


def test_quadrature_of_a_callable_with_a_kink():
    kinked = activation(lambda z: jnp.maximum(z, 0))
    assert worst_error(kinked.dual, "relu") < 1e-3  # at variance 10


@pytest.mark.parametrize(
    "mistake",
    [
        lambda a, b, c: 2 * ACTIVATIONS["erf"].dual(a, b, c),
        lambda a, b, c: ACTIVATIONS["erf"].dual(a / 2, b / 2, c / 2),
        lambda a, b, c: ACTIVATIONS["erf"].dual(a, a, c),
        lambda a, b, c: ACTIVATIONS["erf"].dual(a, b, c) + 1e-7,
    ],
)
def test_double_integral_sees_a_planted_mistake(mistake):
    assert worst_error(mistake, "erf") > 5e-8


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dual_is_the_average_over_draws(name):
    rng = np.random.default_rng(SEED + 1)
    draws = 200_000
    for a, b, rho in [(1.0, 1.0, 0.5), (2.0, 0.5, -0.8)]:
        z1, z2 = rng.standard_normal((2, draws))
        u, v = np.sqrt(a) * z1, np.sqrt(b) * (rho * z1 + np.sqrt(1 - rho**2) * z2)
        products = NUMPY_ACTIVATIONS[name](u) * NUMPY_ACTIVATIONS[name](v)
        dual = float(ACTIVATIONS[name].dual(*(jnp.array(x) for x in (a, b, rho * np.sqrt(a * b)))))
        assert abs(products.mean() - dual) < 5 * products.std() / np.sqrt(draws)
        assert abs(products.mean() - 1.1 * dual) > 5 * products.std() / np.sqrt(draws)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("rho", [-1.0, 0.3, 1.0])
def test_derivative_in_the_covariance_is_the_dual_of_the_derivative(name, rho):
    """∂κ/∂c = E[σ'(u)σ'(v)] (Price's theorem), where ρ = ±1 and arccos' is infinite too."""
    a, b = 4.0, 0.25  # whose roots are exact, so that ρ is

    def slope(z):
        return np.asarray(jax.vmap(jax.grad(ACTIVATIONS[name].function))(z.ravel())).reshape(
            z.shape
        )

    expected = double_integral(slope, slope, a, b, rho)
    arguments = [jnp.array(x) for x in (a, b, rho * np.sqrt(a * b))]
    assert abs(ACTIVATIONS[name].derivative_dual(*arguments) - expected) < 1e-7


@pytest.mark.parametrize("side", [-1, 1])
def test_derivative_of_relu_near_equal_and_opposite_points(side):
    """(π − φ)/(2π) at cos φ = ±(1 − δ), δ a power of two: no cancelling of infinite terms."""
    gap = 2.0 ** -np.arange(1, 53)
    angle = 2 * np.arcsin(np.sqrt(gap / 2))
    known = (np.pi - angle if side > 0 else angle) / (2 * np.pi)
    one = jnp.ones(len(gap))
    found = ACTIVATIONS["relu"].derivative_dual(one, one, jnp.asarray(side * (1 - gap)))
    np.testing.assert_allclose(found, known, rtol=0, atol=1e-14)


@pytest.mark.parametrize("rho", [-0.999, 0.3, 0.999])
def test_second_derivative_of_relu(rho):
    """∂²κ/∂c² = E[δ(u)δ(v)] (Price's theorem), the density of (u, v) at zero."""
    a, b = 1.3, 0.6
    c = rho * np.sqrt(a * b)
    curvature = jax.grad(ACTIVATIONS["relu"].derivative_dual, 2)(*map(jnp.asarray, (a, b, c)))
    assert curvature == pytest.approx(1 / (2 * np.pi * np.sqrt(a * b - c**2)), rel=1e-12)


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "cos"])
def test_mean_of_the_features_in_closed_form(name):
    a = jnp.array([0.0, 0.3, 1.0, 10.0])
    means = {
        "relu": np.sqrt(a / (2 * np.pi)),
        "gelu": a / np.sqrt(2 * np.pi * (1 + a)),
        "tanh": 0 * a,
        "cos": np.exp(-a / 2),
    }
    chosen = activation(jnp.cos if name == "cos" else name)
    np.testing.assert_allclose(quadrature.gaussian_mean(chosen, a), means[name], atol=1e-13)


@pytest.mark.slow_except("erf", "relu", "identity", "tanh", "gelu")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_are_finite_at_zero_variance(name):
    zero = jnp.zeros(())
    assert np.all(np.isfinite(jax.jacfwd(ACTIVATIONS[name].dual, (0, 1, 2))(zero, zero, zero)))


@pytest.mark.slow_except("erf", "relu", "identity", "tanh", "gelu", "softplus5")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dual_broadcasts(name):
    x = np.random.default_rng(SEED + 2).standard_normal((7, 3))
    covariance = jnp.asarray(x @ x.T)
    a = jnp.diagonal(covariance)
    dual = ACTIVATIONS[name].dual
    block = dual(a[:, None], a[None, :], covariance)
    whole = dual(*jnp.broadcast_arrays(a[:, None], a[None, :], covariance))
    np.testing.assert_allclose(block, whole, atol=1e-11)
    np.testing.assert_allclose(block, block.T, atol=1e-13)


@pytest.mark.slow
def test_dual_of_many_variances_is_computed_in_pieces(monkeypatch):
    monkeypatch.setattr(quadrature, "_MOST_VARIANCES", 64)
    a, b = np.random.default_rng(SEED + 3).uniform(0, 3, (2, 101))
    c = 0.5 * np.sqrt(a * b)
    pieces = ACTIVATIONS["tanh"].dual(jnp.asarray(a), jnp.asarray(b), jnp.asarray(c))
    alone = [double_integral(np.tanh, np.tanh, *abr) for abr in zip(a[:5], b, [0.5] * 5)]  # noqa: B905
    np.testing.assert_allclose(pieces[:5], alone, atol=1e-11)
    assert pieces.shape == (101,)


def test_gram_matrix_of_a_step_is_positive():
    """Hermite coefficients of a step fall as k^(−3/4): the last term carries what is cut off."""
    x = np.random.default_rng(SEED + 4).standard_normal((40, 2))
    covariance = jnp.asarray(x @ x.T)
    a = jnp.diagonal(covariance)
    gram = activation(jnp.sign).dual(a[:, None], a[None, :], covariance)
    assert np.linalg.eigvalsh(gram)[0] > -1e-13
    np.testing.assert_allclose(np.diagonal(gram), 1, atol=0.02)


def test_names_and_objects():
    assert activation("relu") is ACTIVATIONS["relu"]
    assert activation(ACTIVATIONS["gelu"]) is ACTIVATIONS["gelu"]
    assert activation(jnp.sin).name == "sin"
    assert all(ACTIVATIONS[name].name == name for name in ACTIVATIONS)


@pytest.mark.parametrize(
    "function, odd",
    [
        *((act.function, act.odd) for act in ACTIVATIONS.values()),
        (jnp.sin, True),
        (jnp.cos, False),
        (jnp.sign, True),
        (lambda z: jnp.tanh(z) + 1e-6, False),
    ],
)
def test_odd_callables_are_recognised(function, odd):
    assert activation(lambda z: function(z)).odd is odd


@pytest.mark.parametrize(
    "choice, message",
    [
        ("rellu", 'did you mean "relu".*erf, relu, identity, tanh, gelu, swish10'),
        ("xyz", "unknown activation 'xyz': known are erf"),
        (jax.nn.softmax, "'softmax' does not act on each element"),
        (jnp.sum, "'sum' does not act on each element"),
        (math.tanh, "'tanh' does not act on each element"),
        (lambda z: z[:, None], "does not act on each element"),
        (jnp.cumsum, "'cumsum' does not act on each element"),
        (jnp.sort, "'sort' does not act on each element"),
        (lambda z: z.T, "does not act on each element"),
        (lambda z: z / jnp.max(jnp.abs(z), axis=-1, keepdims=True), "does not act on each element"),
        (lambda z: z + 0j, "write a function .* that returns a real array"),
        (jnp.log, "'log' is not finite everywhere"),
    ],
)
def test_bad_choices_are_told_what_to_give(choice, message):
    with pytest.raises(InputError, match=message) as caught:
        activation(choice)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1e18, 1e154, 1e200, 1e300])
def test_erf_at_large_variances_is_the_sign(size):
    """κ → (2/π) arcsin ρ, whether squares of the variances overflow or not. FAULTS 3."""
    rho = np.array([1.0, 0.5, -0.3, -1.0])
    a = np.full(4, size)
    with np.errstate(all="ignore"):
        found = ACTIVATIONS["erf"].dual.on_host(a, a, rho * a)
    np.testing.assert_allclose(found, 2 / np.pi * np.arcsin(rho), atol=3e-8)


def test_an_activation_keeps_the_type_of_its_argument():
    """One with float64 in it made everything behind it float64."""
    with pytest.raises(InputError, match=r"float64 of a float32 array.*\.astype\(z\.dtype\)"):
        activation(lambda z: jnp.tanh(z.astype(jnp.float64)))
    activation(lambda z: jnp.tanh(z.astype(jnp.float64)).astype(z.dtype))
