"""Gram matrices: against finite networks with weights from the prior, and known recursions."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from cases import SEED
from oracles import NUMPY_ACTIVATIONS
from statistics_in_sigmas import SIGMAS, worst, z_scores

from langevin_nn.data.dataset import Dataset
from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.model.precision import require_float64
from langevin_nn.theory.kernels.nngp import gram_blocks, nngp
from langevin_nn.theory.kernels.ntk import ntk
from langevin_nn.theory.kernels.patch_pairs import patch_diagonal, patch_gram
from langevin_nn.types import EnsembleSpec, InputError, NotApplicable, Patches


def spec_of(in_size=3, widths=(10,), activation="erf", precisions=None, temperature=0.1):
    precisions = precisions or (1.0,) * (len(widths) + 1)
    chosen = ACTIVATIONS[activation] if activation else None
    return EnsembleSpec(in_size, widths, chosen, precisions, temperature)


BIASES = {"none": None, "biases": (0.6, 2.0, 0.9, 1.4)}


def with_biases(spec, kind):
    precisions = BIASES[kind]
    if precisions is None:
        return spec
    return replace(spec, bias_precisions=precisions[: len(spec.prior_precisions)])


def inputs(num, in_size=3, seed=1):
    return np.random.default_rng(SEED + seed).standard_normal((num, in_size))


def finite_network_deviation(spec, x, gram):
    """Largest |E[f fᵀ] − gram| over draws of all weights from the prior, in standard errors."""
    rng = np.random.default_rng(SEED + 7)
    draws = 400_000 // (2 + max(spec.hidden_widths))
    features, size = np.broadcast_to(x, (draws, *x.shape)), x.shape[1]
    for layer, width in enumerate((*spec.hidden_widths, 1)):
        weights = rng.standard_normal((draws, size, width)) / np.sqrt(spec.prior_precisions[layer])
        fields = features @ weights / np.sqrt(size)
        if spec.bias_precisions is not None:
            biases = rng.standard_normal((draws, 1, width))
            fields = fields + biases / np.sqrt(spec.bias_precisions[layer])
        features, size = NUMPY_ACTIVATIONS[spec.activation.name](fields), width
    products = fields * np.swapaxes(fields, 1, 2)
    errors = products.std(axis=0) / np.sqrt(draws)
    return np.max(np.abs(products.mean(axis=0) - gram) / errors)


@pytest.mark.parametrize("width, kind", [(1, "none"), (20, "none"), (5, "biases")])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_prior_covariance_of_a_one_layer_network_is_exact_at_any_width(name, kind, width):
    spec = with_biases(spec_of(widths=(width,), activation=name, precisions=(0.8, 1.7)), kind)
    x = inputs(3)
    gram = nngp(spec, x)
    assert finite_network_deviation(spec, x, gram) < 5
    assert finite_network_deviation(spec, x, 1.7 * gram) > 5
    tempered = nngp(replace(spec, prior_precisions=(0.8, 1.5)), x)
    assert finite_network_deviation(spec, x, tempered) > 5
    if kind == "biases":
        for mistaken in ((1.2, 2.0), (0.6, 1.0)):
            wrong = nngp(replace(spec, bias_precisions=mistaken), x)
            assert finite_network_deviation(spec, x, wrong) > 5


@pytest.mark.slow
@pytest.mark.parametrize("name, kind", [("erf", "none"), ("relu", "biases"), ("gelu", "none")])
def test_prior_covariance_of_a_wide_deep_network(name, kind):
    """O(1/N) against a spread of the products over draws of O(1)."""
    precisions = (0.8, 1.7, 0.6)
    spec = with_biases(spec_of(widths=(100, 80), activation=name, precisions=precisions), kind)
    x = inputs(3)
    assert finite_network_deviation(spec, x, nngp(spec, x)) < 5
    for mistaken in (replace(spec, prior_precisions=(0.8, 1.7, 1.2)), spec_of(activation=name)):
        assert finite_network_deviation(spec, x, nngp(mistaken, x)) > 5


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
        np.testing.assert_allclose(nngp(spec, x), x @ x.T / 6, rtol=1e-14)


@pytest.mark.slow_except(
    "0-biases-erf",
    "0-biases-relu",
    "0-biases-identity",
    "0-biases-tanh",
    "0-biases-gelu",
    "0-biases-swish10",
    "0-biases-softplus5",
    "1-none-erf",
    "1-none-relu",
    "1-none-identity",
    "1-none-gelu",
    "3-biases-erf",
    "3-biases-relu",
    "3-biases-identity",
    "3-biases-gelu",
)
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("depth, kind", [(0, "biases"), (1, "none"), (3, "biases")])
def test_blocks_are_those_of_the_whole(name, depth, kind):
    x = inputs(9)
    y = np.arange(9.0)
    spec = with_biases(spec_of(widths=(5,) * depth, activation=name), kind)
    blocks = gram_blocks(Ensemble(spec, Dataset("nine points", x[:5], y[:5], x[5:], y[5:])))
    whole, columns = nngp(spec, x), blocks.train_columns
    test_columns = blocks.test_columns
    train, cross = blocks.train + columns @ columns.T, blocks.cross + test_columns @ columns.T
    np.testing.assert_allclose(train, whole[:5, :5], atol=1e-12)
    np.testing.assert_allclose(cross, whole[5:, :5], atol=1e-12)
    diagonal = blocks.test_diagonal + np.sum(test_columns**2, axis=1)
    np.testing.assert_allclose(diagonal, np.diagonal(whole)[5:], atol=1e-12)


@pytest.mark.parametrize("name", ["erf", "gelu", "identity", "relu"])
def test_blocks_of_a_dual_in_closed_form_compile_nothing(name, caplog):
    """Other numbers of examples would be other programs: more time than small matrices take."""
    x, y = inputs(11), np.arange(11.0)
    data = Dataset("eleven points", x[:7], y[:7], x[7:], y[7:])
    with jax.log_compiles(), caplog.at_level("WARNING"):
        gram_blocks(Ensemble(spec_of(widths=(5, 5), activation=name), data))
    assert not [record for record in caplog.records if "XLA compilation" in record.message]


def tangent_products(spec, x, draws):
    """∇_θ f(x)·∇_θ f(x') of networks drawn from the prior (draws, P, P), by reverse mode."""
    sizes = (x.shape[1], *spec.hidden_widths, 1)

    def outputs(layers):
        h = jnp.asarray(x)
        for number, (weight, bias) in enumerate(layers):
            features = spec.activation(h) if number else h
            h = features @ weight / np.sqrt(len(weight)) + bias[None, :]
        return h[:, 0]

    def one(key):
        layers = []
        for layer, (rows, columns) in enumerate(zip(sizes, sizes[1:], strict=False)):
            key, for_weight, for_bias = jax.random.split(key, 3)
            weight = jax.random.normal(for_weight, (rows, columns))
            bias = jax.random.normal(for_bias, (columns,))
            scale = 0.0 if spec.bias_precisions is None else spec.bias_precisions[layer] ** -0.5
            layers.append((weight / np.sqrt(spec.prior_precisions[layer]), bias * scale))
        slopes = jax.jacrev(outputs)(layers)
        kept = jax.tree.leaves(slopes)[:: 2 if spec.bias_precisions is None else 1]
        flat = jnp.concatenate([leaf.reshape(len(x), -1) for leaf in kept], axis=1)
        return flat @ flat.T

    return np.asarray(jax.lax.map(one, jax.random.split(jax.random.key(SEED + 5), draws)))


@pytest.mark.slow
@pytest.mark.parametrize("name, kind", [("erf", "none"), ("relu", "biases")])
@pytest.mark.parametrize("widths, draws", [((7,), 2_000), ((400, 300), 50)])
def test_tangent_kernel_is_that_of_networks_drawn_from_the_prior(widths, draws, name, kind):
    """Exact at any width for one hidden layer; for two, O(1/N) against a spread of O(1/√N)."""
    precisions = (0.8, 1.7, 0.6)[: len(widths) + 1]
    spec = with_biases(spec_of(widths=widths, activation=name, precisions=precisions), kind)
    x = inputs(3)
    products, expected = tangent_products(spec, x, draws), ntk(spec, x)
    assert worst(z_scores(products, expected)) < SIGMAS
    assert worst(z_scores(products, nngp(spec, x))) > SIGMAS
    np.testing.assert_allclose(ntk(spec, x[:2], x), expected[:2], rtol=1e-12)


PATCHES = Patches((3, 4, 1), size=2, stride=1)


def test_patch_gram_matrices_are_those_of_the_patches():
    """K_ij(x, x') is the dense network's Gram matrix between patch i of x and patch j of x'."""
    spec = replace(
        spec_of(in_size=12, precisions=(0.8, 1.7)), patches=PATCHES, bias_precisions=(0.6, 2.0)
    )
    x, x2 = inputs(4, 12), inputs(3, 12, seed=2)
    dense = replace(spec, in_size=4, patches=None)
    pieces, pieces2 = (np.moveaxis(each[:, PATCHES.indices()], 1, 0) for each in (x, x2))
    grams = patch_gram(spec, x, x2)
    assert grams.shape == (6, 6, 4, 3)
    for i, j in [(0, 0), (2, 5), (5, 2)]:
        alone = nngp(dense, pieces[i], pieces2[j]) - 1 / 2.0
        np.testing.assert_allclose(grams[i, j], alone, atol=1e-14)
    own = patch_gram(spec, x)
    np.testing.assert_allclose(own, patch_gram(spec, x, x), atol=1e-14)
    np.testing.assert_allclose(
        patch_diagonal(spec, x), np.diagonal(own, axis1=2, axis2=3), atol=1e-14
    )
    mean = np.einsum("iipq->pq", grams) / 6
    np.testing.assert_allclose(nngp(spec, x, x2), mean + 1 / 2.0, atol=1e-14)


def test_one_patch_is_the_dense_network():
    spec = spec_of(in_size=12, activation="relu", precisions=(0.8, 1.7))
    whole = replace(spec, patches=Patches((2, 2, 3), size=2, stride=1))
    x = inputs(4, 12)
    for gram in (nngp, ntk):
        np.testing.assert_allclose(gram(whole, x), gram(spec, x), rtol=1e-13)


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


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("gram", [nngp, ntk, patch_gram])
def test_inputs_that_are_not_finite_are_refused(gram, value):
    x = inputs(4)
    x[1, 2] = value
    with pytest.raises(InputError, match="the inputs have 1 value.* NaN or infinite"):
        gram(spec_of(), inputs(3), x)


def test_an_unknown_network_is_refused_by_its_name():
    spec = EnsembleSpec(3, None, None, (1.0,), 0.1, architecture="LeNet")
    with pytest.raises(NotApplicable, match="Gram matrix of LeNet is not known"):
        nngp(spec, inputs(2))


def test_float32_is_refused_with_the_line_to_add():
    require_float64()
    with jax.enable_x64(False):
        with pytest.raises(InputError, match=r'jax.config.update\("jax_enable_x64", True\)'):
            nngp(spec_of(), inputs(2))


@pytest.mark.parametrize("size, refused", [(10.0, False), (100.0, True)])
def test_a_dual_by_quadrature_at_large_preactivations(size, refused):  # FAULTS 1, raw pixels
    """tanh is a step there, which the sum's nodes do not see: 1 − κ was 1.6 times too large."""
    x = size * np.ones((1, 4))
    spec = EnsembleSpec(4, (9,), ACTIVATIONS["tanh"], (1.0, 1.0), temperature=0.1)
    if refused:
        for kernel in (nngp, ntk):
            with pytest.raises(NotApplicable, match="tanh is made by quadrature.*standardize"):
                kernel(spec, x)
        return

    def rest(u):
        return (1 - np.tanh(u) ** 2) * np.exp(-((u / size) ** 2) / 2) / np.sqrt(2 * np.pi) / size

    expected = 1 - scipy.integrate.quad(rest, -30, 30, epsabs=1e-13, limit=200)[0]
    np.testing.assert_allclose(nngp(spec, x)[0, 0], expected, rtol=1e-9)
