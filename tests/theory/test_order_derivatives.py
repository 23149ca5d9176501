"""Derivatives of K_L in the scales of layers, against automatic differentiation through them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from langevin_nn.model.activations import activation
from langevin_nn.theory.covariance import InfiniteWidthKernel, precisions_of
from langevin_nn.theory.effective import nested
from langevin_nn.theory.kernels import order_derivatives
from langevin_nn.theory.kernels.layers import feature_gram, host_gram, skeleton_of
from langevin_nn.types import EnsembleSpec


@pytest.mark.slow_except("identity-True")
@pytest.mark.parametrize(
    ("name", "biases"), [("erf", True), ("relu", False), ("identity", True), ("gelu", False)]
)
def test_derivatives_in_the_orders_are_those_of_the_recursion(name, biases, monkeypatch):
    monkeypatch.setattr(order_derivatives, "NUMBERS_AT_ONCE", 600)  # blocks of 3 rows
    rng = np.random.default_rng(0)
    x, half = rng.normal(size=(7, 5)), rng.normal(size=(7, 7))
    lambdas, orders, weights = (0.7, 1.3, 0.6, 2.0), np.array([1.5, 0.6, 2.2]), half + half.T
    variances = (2.0, 0.5, 3.0, 1.0) if biases else None
    spec = EnsembleSpec(5, (9, 9, 9), activation(name), lambdas, 0.1, bias_precisions=variances)

    def gram(q):
        return feature_gram(spec, x[None], x[None], orders=jnp.exp(q))

    tangents, second = order_derivatives.order_tangents(spec, x, orders, weights)
    q = jnp.log(jnp.asarray(orders))
    expected = jax.jit(jax.jacfwd(gram))(q)
    np.testing.assert_allclose(np.stack(tangents, -1), expected, rtol=1e-12, atol=1e-13)
    curved = jax.jit(jax.jacfwd(jax.jacfwd(lambda q: jnp.sum(weights * gram(q)))))(q)
    np.testing.assert_allclose(second, curved, rtol=1e-7 if name == "relu" else 1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [7, 4])
def test_derivatives_of_the_action_of_nested(rank):
    """S of the recursion in JAX, differentiated by it; the second case sees K in a subspace."""
    rng = np.random.default_rng(1)
    x, targets, root = rng.normal(size=(7, 5)), rng.normal(size=rank), rng.normal(size=(rank, rank))
    spec = EnsembleSpec(5, (9, 4, 6), activation("erf"), (0.7, 1.3, 0.6, 2.0), 0.1)
    noise = 0.1 * np.eye(rank) + root @ root.T
    basis = None if rank == 7 else np.linalg.qr(rng.normal(size=(7, rank)))[0]
    action = nested._Action(spec, x[None], targets, noise, basis)

    def expected(q):
        gram = feature_gram(spec, x[None], x[None], orders=jnp.exp(q))
        gram = noise + (gram if basis is None else basis.T @ gram @ basis)
        misfit = jnp.linalg.slogdet(gram)[1] + targets @ jnp.linalg.solve(gram, targets)
        return jnp.sum(jnp.array([9.0, 4.0, 6.0]) * (jnp.exp(q) - 1 - q)) + misfit

    q = jnp.log(jnp.array([1.5, 0.6, 2.2]))
    value, slope, curvature = action.derivatives(np.asarray(q))
    np.testing.assert_allclose(value, expected(q), rtol=1e-12)
    np.testing.assert_allclose(slope, jax.grad(expected)(q), rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(curvature, jax.hessian(expected)(q), rtol=1e-10, atol=1e-10)


def test_a_deep_network_is_compiled_no_longer_than_a_shallow_one():
    """One program of each kind, and none of it is of all 40 layers. FAULTS 4, depth."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3))
    differentiated = order_derivatives._differentiated
    spec = EnsembleSpec(3, (9,) * 40, activation("erf"), (1.0,) * 41, 0.1)
    order_derivatives.order_tangents(spec, x, np.ones(40), np.eye(4))
    before = differentiated._cache_size()
    deeper = EnsembleSpec(3, (9,) * 90, activation("erf"), (1.0,) * 91, 0.1)
    tangents, _ = order_derivatives.order_tangents(deeper, x, np.ones(90), np.eye(4))
    assert differentiated._cache_size() == before
    assert len(tangents) == 90


@pytest.mark.slow
def test_programs_do_not_grow_with_the_depth():
    """Twelve layers of tanh took `evidence` 74 s to compile: each had κ and its derivatives."""
    x, counts = np.random.default_rng(2).normal(size=(1, 5, 3)), []
    for depth in (5, 9):
        lambdas = tuple(0.7 + 0.1 * np.arange(depth + 1))
        biases = tuple(2.0 + np.arange(depth + 1))
        spec = EnsembleSpec(
            3, (9,) * depth, activation("tanh"), lambdas, 0.1, bias_precisions=biases
        )
        kernel = jax.jit(InfiniteWidthKernel(skeleton_of(spec)))
        arrays = precisions_of(spec), (x, np.empty(0))
        counts.append(str(jax.make_jaxpr(kernel)(*arrays)).count("tanh"))
        np.testing.assert_allclose(kernel(*arrays), host_gram(spec, x, x), rtol=1e-12)
    assert counts[0] == counts[1] > 0
