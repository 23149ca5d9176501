"""Networks, prior and posterior against formulas written again in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task, posterior_of, some_params
from oracles import erf_dual, erf_gram
from scipy.special import erf
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn.model.input_space import InputSpace
from langevin_nn.model.networks.base import Network, evaluate
from langevin_nn.types import Activation, InputError

KEY = jax.random.key(0)


def numpy_outputs(weights, biases, activation, x):
    """f (P, D) of one fully connected network, from the definition."""
    h = x
    for layer, weight in enumerate(weights):
        h = (h if layer == 0 else activation(h)) @ weight.T / np.sqrt(weight.shape[1])
        h = h + biases[layer] if biases else h
    return h


INSIDE, BEYOND = (12, 5), (4, 9)  # P and N_0: inputs that span their space, and inputs that do not


@pytest.mark.slow_except("12-5-widths0-True-3", "4-9-widths2-False-1")
@pytest.mark.exhaustive_except(
    "12-5-widths0-True-3", "4-9-widths2-False-1", "4-9-widths6-True-1", "4-9-widths7-False-3",
)  # fmt: skip
@pytest.mark.parametrize(
    ("num_train", "in_size", "widths", "biases", "outputs"),
    [
        (*INSIDE, (), True, 3),
        (*INSIDE, (7,), False, 1),
        (*BEYOND, (), False, 1),
        (*BEYOND, (7,), False, 1),
        (*BEYOND, (4, 6, 3), False, 1),
        (*BEYOND, (), True, 3),
        (*BEYOND, (7, 5), True, 1),
        (*BEYOND, (7, 5), False, 3),
    ],
)
def test_energy_is_the_definition_whatever_the_input_coordinates(
    widths, num_train, in_size, biases, outputs
):
    data = gaussian_task(num_train, 6, in_size, num_outputs=outputs)
    layers = len(widths) + 1
    precisions = (0.5, 2.0, 1.5, 0.7)[:layers]
    bias_precisions = (0.3, 3.0, 0.9, 1.1)[:layers] if biases else None
    network = lnn.FullyConnected(
        in_size, widths, "tanh", key=KEY, dtype=jnp.float64, num_outputs=outputs, biases=biases
    )
    prior = lnn.GaussianPrior(precisions, bias_precisions)
    posterior = lnn.GibbsPosterior(network, prior, data, 0.3)
    params = some_params(posterior, 3)

    @eqx.filter_jit
    def found(posterior, params):
        keys = jax.random.split(KEY, 3)
        lifted = posterior.lifted_networks(params, keys)
        at_lifted = [evaluate(lifted, jnp.asarray(x)) for x in (data.x_train, data.x_test)]
        outputs = posterior.train_outputs(params), posterior.test_outputs(params, keys)
        return lifted, at_lifted, outputs, posterior.energy(params), posterior.potential(params)

    lifted, at_lifted, outputs, energies, potentials = found(posterior, params)

    # Outside the span the lifted first layer costs prior energy that the reduced one leaves out.
    basis = posterior.space.basis
    complement = np.eye(in_size) - basis @ basis.T
    outside = np.square(np.asarray(lifted.weights[0]) @ complement).sum(axis=(1, 2))
    for chain in range(3):
        leaves = [np.asarray(leaf)[chain] for leaf in jax.tree.leaves(lifted)]
        f = numpy_outputs(leaves[:layers], leaves[layers:], np.tanh, data.x_train)
        squares = np.sum((data.y_train.reshape(num_train, -1) - f) ** 2)
        by_leaf = precisions + (bias_precisions or ())
        energy = sum(p * np.sum(w**2) for p, w in zip(by_leaf, leaves, strict=True))
        expected = 0.5 * squares + 0.3 / 2 * (energy - precisions[0] * outside[chain])
        np.testing.assert_allclose(energies[chain], expected, rtol=1e-12)
    np.testing.assert_allclose(potentials, energies / 0.3)
    for values, expected in zip(at_lifted, outputs, strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-11, atol=1e-12)


class SumOfUnits(eqx.Module):
    """A matrix–vector product followed by a reduction: what jaxlib 0.10.2 gets wrong (39103)."""

    weights: jax.Array

    def __call__(self, x):
        return jnp.sum(jnp.tanh(self.weights @ x))


@pytest.mark.parametrize(
    ("dtype", "rows", "chains"),
    [(jnp.float64, 16_385, 2), (jnp.float64, 33_000, 1), (jnp.float32, 33_000, 1)],
)
def test_outputs_of_a_module_on_many_rows_are_those_of_numpy(dtype, rows, chains):
    """These shapes are wrong by numbers of order one with jaxlib 0.10.2, at every optimisation."""
    data = gaussian_task(rows, 2, 3)
    posterior = lnn.GibbsPosterior(
        SumOfUnits(jnp.zeros((3, 3), dtype)), lnn.GaussianPrior((1.0,)), data, 0.5
    )
    params = some_params(posterior, chains)
    f = jax.jit(lambda p: posterior.train_outputs(p), compiler_options=OPTIMISED)(params)
    weights = np.asarray(params.weights, np.float64)
    expected = np.tanh(np.einsum("cij,pj->cpi", weights, data.x_train)).sum(axis=2)
    np.testing.assert_allclose(f, expected, atol=1e-5 if dtype == jnp.float32 else 1e-12)


OPTIMISED = {"xla_backend_optimization_level": 3}
"""As users have them, whatever the other tests have."""


@pytest.mark.slow_except("False-float64-1e-11", "False-float32-0.0003", "True-float32-0.0003")
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-11), (jnp.float32, 3e-4)])
@pytest.mark.parametrize("own_module", [False, True])
def test_jitted_potential_and_gradient_equal_numpy_on_many_rows(dtype, tolerance, own_module):
    """With the compiler's optimisations."""
    rows, in_size, width, temperature = 20_000, 3, 4, 0.5
    data = gaussian_task(rows, 2, in_size)
    precisions = (0.5, 2.0)
    network = lnn.FullyConnected(in_size, (width,), "erf", key=KEY, dtype=dtype)
    if own_module:
        network = OwnNetwork(*network.weights)
    posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior(precisions), data, temperature)
    params = some_params(posterior, 2)
    x = np.asarray(posterior.x_train, np.float64)
    value, gradient = jax.jit(
        lambda p: (posterior.potential(p), jax.grad(lambda q: posterior.potential(q).sum())(p)),
        compiler_options=OPTIMISED,
    )(params)
    for chain in range(2):
        w, v = (np.asarray(leaf, np.float64)[chain] for leaf in jax.tree.leaves(params))
        h = x @ w.T / np.sqrt(in_size)
        residual = erf(h) @ v[0] / np.sqrt(width) - data.y_train
        slopes = 2 / np.sqrt(np.pi) * np.exp(-(h**2)) * v[0] / np.sqrt(width * in_size)
        energies = [0.5 * p * np.sum(a**2) for p, a in zip(precisions, (w, v), strict=True)]
        expected = 0.5 * np.sum(residual**2) / temperature + sum(energies)
        np.testing.assert_allclose(value[chain], expected, rtol=tolerance)
        gradients = (
            (slopes * residual[:, None]).T @ x / temperature + precisions[0] * w,
            residual[None, :] @ erf(h) / np.sqrt(width) / temperature + precisions[1] * v,
        )
        for mine, theirs in zip(jax.tree.leaves(gradient), gradients, strict=True):
            scale = np.abs(theirs).max()
            np.testing.assert_allclose(mine[chain], theirs, atol=tolerance * scale)


class OwnNetwork(eqx.Module):
    """The same function as FullyConnected, as a user writes it: one input at a time."""

    first: jax.Array
    last: jax.Array

    def __call__(self, x):
        h = self.first @ x / jnp.sqrt(jnp.asarray(x.size, x.dtype))
        return self.last[0] @ jax.lax.erf(h) / jnp.sqrt(jnp.asarray(h.size, x.dtype))


def prior_outputs(posterior, key, draws, change=lambda params: params):
    """f at the training and the test inputs, (draws, P + P_test, *D).

    The change is made between two compiled programs, which are the same for all changes.
    """
    key_weights, key_outside = jax.random.split(key)
    params = jax.tree.map(np.asarray, prior_draws(posterior, key_weights, draws))
    return np.concatenate(all_outputs(posterior, change(params), key_outside, draws), axis=1)


@eqx.filter_jit
def prior_draws(posterior, key, draws):
    return posterior.sample_prior(key, draws)


@eqx.filter_jit
def all_outputs(posterior, params, key, draws):
    outside = posterior.test_outputs(params, jax.random.split(key, draws))
    return posterior.train_outputs(params), outside


@pytest.mark.slow_except("1")
@pytest.mark.parametrize("width", [1, 40])
def test_prior_draws_have_the_gram_matrix_at_any_width(width, seed):
    """E[f fᵀ] = K_1 exactly, inside the span of the training inputs and outside it."""
    data = gaussian_task(3, 4, 8)
    posterior = posterior_of(data, (width,), precisions=(0.5, 2.0), temperature=1.0, key=KEY)
    f = prior_outputs(posterior, jax.random.key(seed), 100_000)
    expected = erf_gram(np.concatenate([data.x_train, data.x_test]), 0.5, 2.0)
    assert worst(z_scores(f[:, :, None] * f[:, None, :], expected)) < SIGMAS


PATCHES = lnn.Patches((3, 4, 2), size=2, stride=1)  # 6 of 8 inputs, that share pixels


def numpy_patches(x):
    """The inputs of each patch of PATCHES, (P, n, M), by loops over rows and columns."""
    images = x.reshape(len(x), 3, 4, 2)
    corners = [(i, j) for i in range(2) for j in range(3)]
    return np.stack([images[:, i : i + 2, j : j + 2].reshape(len(x), 8) for i, j in corners], 1)


def numpy_convolution(weights, biases, activation, x):
    """f (P, 1) of one convolutional network, from the definition, one patch after the other."""
    shared, readout = weights
    f = np.full((len(x), 1), biases[1] if biases else 0.0)
    for patch, v in zip(np.moveaxis(numpy_patches(x), 1, 0), readout, strict=True):
        h = patch @ shared.T / np.sqrt(8) + (biases[0] if biases else 0.0)
        f[:, 0] += activation(h) @ v / np.sqrt(6 * len(v))
    return f


def network_of(name, width, dtype=jnp.float64):
    """A network on 24 inputs, its prior, and its outputs in NumPy."""
    biases = "biases" in name
    outputs = 3 if "outputs" in name else 1
    prior = lnn.GaussianPrior((5.0, 0.5), (2.0, 0.3) if biases else None)
    settings = {"key": KEY, "dtype": dtype, "biases": biases}
    if "convolution" in name:
        return lnn.Convolutional(PATCHES, width, "erf", **settings), prior, numpy_convolution
    network = lnn.FullyConnected(24, (width,), "erf", num_outputs=outputs, **settings)
    return network, prior, numpy_outputs


NETWORKS = ["biases", "outputs", "outputs, biases", "convolution", "convolution, biases"]


@pytest.mark.slow_except(
    "float32-0.0003-convolution, biases", "float64-1e-07-biases", "float64-1e-07-outputs, biases",
)  # fmt: skip
@pytest.mark.exhaustive_except(
    "float32-0.0003-convolution, biases", "float64-1e-07-biases", "float64-1e-07-outputs, biases",
)  # fmt: skip
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-7), (jnp.float32, 3e-4)])
def test_potential_and_gradient_of_each_network_equal_numpy(name, dtype, tolerance):
    """The gradient by central differences of the potential in NumPy."""
    network, prior, outputs = network_of(name, 5, dtype)
    data = gaussian_task(40, 2, 24, num_outputs=network.num_outputs)
    posterior = lnn.GibbsPosterior(network, prior, data, 0.5)
    params = some_params(posterior, 2)
    x = np.asarray(posterior.x_train, np.float64)
    value, gradient = eqx.filter_jit(
        lambda p: (posterior.potential(p), jax.grad(lambda q: posterior.potential(q).sum())(p))
    )(params)

    def potential(leaves):
        f = outputs(leaves[:2], leaves[2:], erf, x)
        squares = np.sum((data.y_train.reshape(40, -1) - f) ** 2)
        terms = [p * np.sum(a**2) for p, a in zip(prior.by_array, leaves, strict=True)]
        return 0.5 * squares / 0.5 + 0.5 * sum(terms)

    leaves = [np.array(leaf, np.float64)[1] for leaf in jax.tree.leaves(params)]
    np.testing.assert_allclose(value[1], potential(leaves), rtol=tolerance)
    for mine, leaf in zip(jax.tree.leaves(gradient), leaves, strict=True):
        theirs = np.empty_like(leaf)
        for place in np.ndindex(leaf.shape):
            kept, sides = leaf[place], []
            for step in (1e-5, -1e-5):
                leaf[place] = kept + step
                sides.append(potential(leaves))
            leaf[place] = kept
            theirs[place] = (sides[0] - sides[1]) / 2e-5
        np.testing.assert_allclose(mine[1], theirs, atol=tolerance * np.abs(theirs).max())


def prior_deviations(name, seed, change=lambda params: params):
    """z-scores of E[f fᵀ] over 7 points (and outputs) against the closed form, in NumPy."""
    network, prior, _ = network_of(name, width=3)
    data = gaussian_task(3, 4, 24, num_outputs=network.num_outputs)
    posterior = lnn.GibbsPosterior(network, prior, data, 1.0)
    draws = 60_000
    f = prior_outputs(posterior, jax.random.key(seed), draws, change)
    x = np.concatenate([data.x_train, data.x_test])
    shifts = [1 / p for p in prior.bias_precisions or (np.inf, np.inf)]
    fields = np.moveaxis(numpy_patches(x), 1, 0) if "convolution" in name else [x]
    grams = [erf_dual(z @ z.T / (5.0 * z.shape[1]) + shifts[0]) / 0.5 for z in fields]
    gram = np.mean(grams, axis=0) + shifts[1]
    expected = np.kron(gram, np.eye(network.num_outputs))
    f = f.reshape(draws, -1)
    return worst(z_scores(f[:, :, None] * f[:, None, :], expected))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_prior_draws_of_each_network_have_its_gram_matrix(name, seed):
    """E[f fᵀ] at any width: biases, independent outputs, patches with read-outs of their own."""
    assert prior_deviations(name, seed) < SIGMAS


def scaled_biases(layer, factor):
    return lambda params: eqx.tree_at(
        lambda n: n.biases[layer], params, params.biases[layer] * factor
    )


def shared_readout(params):
    """The same read-out for all outputs, or for all patches."""
    readout = np.broadcast_to(params.weights[1][:, :1], params.weights[1].shape)
    return eqx.tree_at(lambda n: n.weights[1], params, readout)


OFF = 1.1**0.5  # a precision 10 % off
MISTAKES = {
    "biases over the root of the inputs": ("biases", scaled_biases(0, 24**-0.5)),
    "biases of the read-out": ("biases", scaled_biases(1, OFF)),
    "biases of several read-outs": ("outputs, biases", scaled_biases(1, OFF)),
    "biases over the root of a patch": ("convolution, biases", scaled_biases(0, 8**-0.5)),
    "biases of a convolution": ("convolution, biases", scaled_biases(1, OFF)),
    "outputs that are one": ("outputs", shared_readout),
    "patches that share a read-out": ("convolution", shared_readout),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mistake"), MISTAKES.values(), ids=MISTAKES)
def test_planted_mistakes_in_the_prior_are_caught(name, mistake, seed):
    assert prior_deviations(name, seed, mistake) > 2 * SIGMAS


@pytest.mark.slow_except("True")
@pytest.mark.parametrize("biases", [False, True])
def test_one_patch_that_is_the_image_makes_a_fully_connected_network(biases):
    patches = lnn.Patches((3, 3, 2), size=3, stride=1)
    settings = {"key": KEY, "dtype": jnp.float64, "biases": biases}
    convolution = lnn.Convolutional(patches, 7, "tanh", **settings)
    dense = lnn.FullyConnected(18, (7,), "tanh", **settings)
    same = eqx.tree_at(
        lambda n: (n.weights, n.biases), dense, (convolution.weights, convolution.biases)
    )
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 18)))
    np.testing.assert_allclose(convolution.batch(x), same.batch(x), rtol=1e-13)
    np.testing.assert_allclose(convolution(x[2]), convolution.batch(x)[2], rtol=1e-13)
    assert convolution(x[2]).shape == ()


def test_test_inputs_in_the_span_need_no_draws():
    data = gaussian_task(9, 5, 4)
    space = InputSpace(data.x_train, data.x_test)
    assert space.rank == space.test.shape[1] == 4
    np.testing.assert_allclose(space.test @ space.test.T, data.x_test @ data.x_test.T, atol=1e-12)


def test_coordinates_keep_scalar_products_and_ranks():
    data = gaussian_task(4, 7, 10)
    repeated = np.concatenate([data.x_train, data.x_train[:2] * 3])
    space = InputSpace(repeated, data.x_test)
    assert space.rank == 4 and space.test.shape[1] == 10
    products = space.train @ space.test[:, :4].T
    np.testing.assert_allclose(products, repeated @ data.x_test.T, atol=1e-12)


def fits(
    network=None, prior=(1.0, 1.0), temperature=0.1, in_size=4, bias_precisions=None, targets=1
):
    network = network or lnn.FullyConnected(in_size, (3,), key=KEY)
    data = gaussian_task(5, 2, 4, num_outputs=targets)
    return lnn.GibbsPosterior(network, lnn.GaussianPrior(prior, bias_precisions), data, temperature)


def dense(**settings):
    return lnn.FullyConnected(4, (3,), key=KEY, **settings)


def convolution(rows, **settings):
    return lnn.Convolutional(lnn.Patches((rows, 2, 1), 2, 1), 3, key=KEY, **settings)


class Shallow(Network):
    """A network of one's own, with one output."""

    weights: tuple[jax.Array, ...]
    biases: tuple[jax.Array, ...]
    activation: Activation = eqx.field(static=True)

    in_size = property(lambda self: self.weights[0].shape[-1])
    hidden_widths = property(lambda self: (self.weights[0].shape[-2],))

    def features(self, x):
        return self.activation(jnp.einsum("...nr,pr->...pn", self.weights[0], x))

    def batch(self, x):
        return jnp.einsum("...pn,...n->...p", self.features(x), self.weights[1])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"temperature": float("nan")}, "temperature must be positive"),
        ({"prior": (1.0, -1.0)}, "must be positive"),
        ({"prior": (1.0,)}, "give one precision for each"),
        ({"in_size": 5}, "write in_size = 4"),
        ({"network": eqx.nn.Linear(4, 2, key=KEY)}, r"to \(2,\), not to a single number"),
        ({"network": eqx.nn.Linear(3, "scalar", key=KEY)}, r"fails on an input of shape \(4,\)"),
        ({"network": eqx.nn.Lambda(jnp.sum)}, "nothing can be sampled"),
        ({"network": dense(num_outputs=2)}, r"has 2 output\(s\), .* num_outputs=1\)"),
        ({"targets": 3}, r"has 1 output\(s\), the data have 3: write .*num_outputs=3\)"),
        (
            {"network": eqx.nn.Linear(4, 2, key=KEY), "targets": 3},
            r"to \(2,\), .* targets' \(3,\): let it return real numbers of shape \(3,\), or give "
            r"targets of shape \(P, 2\)",
        ),
        (
            {"network": eqx.nn.Linear(4, "scalar", key=KEY), "targets": 2},
            r"to \(\), .* targets' \(2,\): let it .* or give targets of shape \(P,\)",
        ),
        ({"network": eqx.nn.Linear(4, 1, key=KEY)}, r"let it return one real number \(\)$"),
        ({"network": convolution(3)}, "patches of images with 4 inputs"),
        (
            {"network": convolution(2), "targets": 3},
            r"one output: write targets of shape \(P,\), .* or FullyConnected\(…, num_outputs=3\)",
        ),
        (
            {
                "network": Shallow((jnp.ones((3, 4)), jnp.ones(3)), (), dense().activation),
                "targets": 3,
            },
            r"the data have 3: write a Shallow with num_outputs = 3$",
        ),
        ({"network": dense(biases=True)}, r"write bias_precisions = \(1.0, 1.0\)"),
        ({"network": convolution(2, biases=True)}, r"write bias_precisions = \(1.0, 1.0\)"),
        ({"bias_precisions": (1.0, 1.0)}, "write biases=True in the network"),
        (
            {"network": dense(biases=True), "bias_precisions": (1.0,)},
            r"1 bias precision\(s\) \(1.0,\), the network 2 layer\(s\) with biases",
        ),
        ({"bias_precisions": (1.0, 0.0)}, "bias precisions must be positive"),
        (
            {"network": eqx.nn.Linear(4, "scalar", key=KEY), "bias_precisions": (1.0,)},
            "one of precisions for each array of your own module",
        ),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        fits(**given)


@pytest.mark.parametrize("widths", [(0,), (3, -1)])
def test_widths_must_be_positive(widths):
    with pytest.raises(InputError, match="must be positive whole numbers"):
        lnn.FullyConnected(4, widths, key=KEY)


def test_numbers_of_units_must_be_positive():
    with pytest.raises(InputError, match="num_outputs must be a positive whole number, got 0"):
        lnn.FullyConnected(4, (3,), key=KEY, num_outputs=0)
    with pytest.raises(InputError, match="num_channels must be a positive whole number, got 0"):
        lnn.Convolutional(PATCHES, 0, key=KEY)


def test_spec_says_what_a_theory_may_know():
    spec = fits().spec
    assert (spec.in_size, spec.hidden_widths, spec.temperature) == (4, (3,), 0.1)
    assert spec.activation.name == "erf" and spec.prior_precisions == (1.0, 1.0)
    own = fits(eqx.nn.Linear(4, "scalar", key=KEY)).spec
    assert own.hidden_widths is None and own.architecture == "Linear"
    shallow = Shallow((jnp.ones((3, 4)), jnp.ones(3)), (), dense().activation)
    assert fits(shallow).spec.layers is None and fits(shallow).spec.hidden_widths is None


def test_spec_of_biases_outputs_and_patches():
    several = fits(dense(num_outputs=3, biases=True), bias_precisions=(0.5, 2.0), targets=3).spec
    assert several.num_outputs == 3 and several.bias_precisions == (0.5, 2.0)
    assert several.patches is None and several.hidden_widths == (3,)
    spec = fits(convolution(2)).spec
    assert spec.patches == lnn.Patches((2, 2, 1), 2, 1) and spec.architecture == "Convolutional"
    assert (spec.hidden_widths, spec.num_outputs, spec.bias_precisions) == ((3,), 1, None)
    assert spec.activation.name == "erf"
    own = fits(eqx.nn.Linear(4, 3, key=KEY), targets=3).spec
    assert own.num_outputs == 3 and own.hidden_widths is None


@pytest.mark.slow
def test_an_own_module_with_several_outputs_is_the_package_s():
    """The same function and parameters, one input at a time: the same energies and records."""
    network = dense(num_outputs=3, dtype=jnp.float64)
    mine, own = fits(network, targets=3), fits(OwnOutputs(*network.weights), targets=3)
    params = some_params(own, 2)
    w, v = jax.tree.leaves(params)
    same = eqx.tree_at(lambda n: n.weights, mine.network, (w @ mine.space.basis, v))
    np.testing.assert_allclose(own.squared_errors(params), mine.squared_errors(same), rtol=1e-10)
    assert own.test_outputs(params, jax.random.split(KEY, 2)).shape == (2, 2, 3)


class OwnOutputs(OwnNetwork):
    def __call__(self, x):
        h = self.first @ x / jnp.sqrt(jnp.asarray(x.size, x.dtype))
        return self.last @ jax.lax.erf(h) / jnp.sqrt(jnp.asarray(h.size, x.dtype))


@pytest.mark.slow_except("1e+300-1.0-temperature")
@pytest.mark.parametrize(
    ("temperature", "precision", "name"),
    [(1e300, 1.0, "temperature"), (1e-60, 1.0, "temperature"), (0.1, 1e300, "prior precision")],
)
def test_numbers_that_the_weights_have_no_value_for(temperature, precision, name):
    """FAULTS 5, T = 1e300: in float32 it became ∞, and 1e-60 became 0, without a word."""
    data = lnn.Dataset("d", np.eye(2), np.array([1.0, -1.0]), np.eye(2), np.ones(2))
    prior = lnn.GaussianPrior((1.0, precision))
    for dtype, refused in ((np.float32, True), (np.float64, False)):
        network = lnn.FullyConnected(2, (2,), key=jax.random.key(0), dtype=dtype)
        if refused:
            with pytest.raises(lnn.InputError, match=f"{name} = .* float32 .* write precision"):
                lnn.GibbsPosterior(network, prior, data, temperature)
        else:
            assert lnn.GibbsPosterior(network, prior, data, temperature).temperature == temperature
