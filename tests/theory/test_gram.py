"""Gram matrices: against finite networks with weights from the prior, and known recursions."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import NUMPY_ACTIVATIONS

from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.model.datasets import Dataset
from langevin_nn.theory.gram import (
    feature_gram,
    fields,
    gram_blocks,
    input_covariance,
    nngp,
    require_float64,
)
from langevin_nn.types import EnsembleSpec, InputError, NotApplicable

SEED = 1000 * int(os.environ.get("LANGEVIN_NN_TEST_SEED", "0"))


def spec_of(in_size=3, widths=(10,), activation="erf", precisions=None, temperature=0.1):
    precisions = precisions or (1.0,) * (len(widths) + 1)
    chosen = ACTIVATIONS[activation] if activation else None
    return EnsembleSpec(in_size, widths, chosen, precisions, temperature)


def inputs(num, in_size=3, seed=1):
    return np.random.default_rng(SEED + seed).standard_normal((num, in_size))


def finite_network_deviation(spec, x, gram):
    """Largest |E[f fᵀ] − gram| over draws of all weights from the prior, in standard errors."""
    rng = np.random.default_rng(SEED + 7)
    draws = 400_000 // (2 + max(spec.hidden_widths))
    features, size = np.broadcast_to(x, (draws, *x.shape)), x.shape[1]
    for width, precision in zip((*spec.hidden_widths, 1), spec.prior_precisions, strict=True):
        weights = rng.standard_normal((draws, size, width)) / np.sqrt(precision)
        fields = features @ weights / np.sqrt(size)
        features, size = NUMPY_ACTIVATIONS[spec.activation.name](fields), width
    products = fields * np.swapaxes(fields, 1, 2)
    errors = products.std(axis=0) / np.sqrt(draws)
    return np.max(np.abs(products.mean(axis=0) - gram) / errors)


@pytest.mark.parametrize("width", [1, 5, 20])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_prior_covariance_of_a_one_layer_network_is_exact_at_any_width(name, width):
    spec = spec_of(widths=(width,), activation=name, precisions=(0.8, 1.7))
    x = inputs(3)
    gram = nngp(spec, x)
    assert finite_network_deviation(spec, x, gram) < 5
    assert finite_network_deviation(spec, x, 1.7 * gram) > 5
    tempered = nngp(spec_of(widths=(width,), activation=name, precisions=(0.8, 1.5)), x)
    assert finite_network_deviation(spec, x, tempered) > 5


def test_prior_covariance_of_a_deep_linear_network_is_exact_at_any_width():
    spec = spec_of(widths=(3, 5), activation="identity", precisions=(0.8, 1.7, 0.6))
    x = inputs(3)
    assert finite_network_deviation(spec, x, nngp(spec, x)) < 5
    np.testing.assert_allclose(nngp(spec, x), x @ x.T / (3 * 0.8 * 1.7 * 0.6), rtol=1e-13)


def test_deep_erf_recursion():
    precisions = (0.7, 1.3, 2.0, 0.5)
    x = inputs(6)
    gram = x @ x.T / (0.7 * 3)
    for precision in precisions[1:]:
        scale = np.sqrt(1 + 2 * np.diagonal(gram))
        gram = 2 / np.pi * np.arcsin(2 * gram / np.outer(scale, scale)) / precision
    spec = spec_of(widths=(5, 6, 7), precisions=precisions)
    np.testing.assert_allclose(nngp(spec, x), gram, rtol=1e-12)


def test_deep_relu_halves_the_variance_in_each_layer():
    spec = spec_of(widths=(5,) * 4, activation="relu", precisions=(0.7, 1.3, 2.0, 0.5, 1.0))
    x = inputs(6)
    variances = np.sum(x**2, axis=1) / (3 * 0.7) / (2**4 * 1.3 * 2.0 * 0.5)
    np.testing.assert_allclose(np.diagonal(nngp(spec, x)), variances, rtol=1e-12)


def test_without_hidden_layers_the_gram_matrix_is_the_input_covariance():
    x = inputs(4)
    for activation in ("erf", None):
        spec = spec_of(widths=(), activation=activation, precisions=(2.0,))
        np.testing.assert_allclose(nngp(spec, x), input_covariance(x, x, 2.0), rtol=1e-14)
    np.testing.assert_allclose(input_covariance(x, x, 2.0), x @ x.T / 6, rtol=1e-15)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_blocks_are_those_of_the_whole(name, depth):
    x = inputs(9)
    y = np.arange(9.0)
    spec = spec_of(widths=(5,) * depth, activation=name)
    blocks = gram_blocks(spec, Dataset("nine points", x[:5], y[:5], x[5:], y[5:]))
    whole = nngp(spec, x)
    np.testing.assert_allclose(blocks.train, whole[:5, :5], atol=1e-12)
    np.testing.assert_allclose(blocks.cross, whole[5:, :5], atol=1e-12)
    np.testing.assert_allclose(blocks.test_diagonal, np.diagonal(whole)[5:], atol=1e-12)
    np.testing.assert_allclose(feature_gram(spec, fields(spec, x)), np.diagonal(whole), atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_repeated_and_zero_inputs_are_finite(name):
    x = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -3.0]])
    gram = nngp(spec_of(widths=(5, 5), activation=name), x)
    assert np.all(np.isfinite(gram))
    np.testing.assert_allclose(gram[0], gram[1], rtol=1e-14)


def test_gram_matrix_is_differentiable_where_points_coincide():
    """∂K/∂λ_0 through two relu layers, ρ = 1 on the diagonal: K ∝ 1/λ_0."""
    dual = ACTIVATIONS["relu"].dual
    x = jnp.asarray(inputs(3))

    def gram(precision):
        covariance = x @ x.T / precision
        for _ in range(2):
            a = jnp.diagonal(covariance)
            covariance = dual(a[:, None], a[None, :], covariance)
        return covariance

    np.testing.assert_allclose(jax.jit(jax.jacrev(gram))(2.0), -gram(2.0) / 2, rtol=1e-7)


def test_inputs_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"inputs of size 3, the data have shape \(4, 2\)"):
        nngp(spec_of(in_size=3), inputs(4, in_size=2))


def test_an_unknown_network_is_refused_by_its_name():
    spec = EnsembleSpec(3, None, None, (1.0,), 0.1, architecture="LeNet")
    with pytest.raises(NotApplicable, match="Gram matrix of LeNet is not known"):
        nngp(spec, inputs(2))


def test_float32_is_refused_with_the_line_to_add():
    require_float64()
    with jax.enable_x64(False):
        with pytest.raises(InputError, match=r'jax.config.update\("jax_enable_x64", True\)'):
            nngp(spec_of(), inputs(2))
