"""Networks, prior and posterior against formulas written again in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import erf_gram, gaussian_task
from scipy.special import erf
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn.model.input_space import InputSpace
from langevin_nn.model.networks import evaluate
from langevin_nn.types import InputError

KEY = jax.random.key(0)


def numpy_energy(weights, activation, data, precisions, temperature):
    """𝓛 of one network, from the definition, on the original inputs."""
    h = data.x_train.T
    for layer, weight in enumerate(weights):
        h = weight @ (h if layer == 0 else activation(h)) / np.sqrt(weight.shape[1])
    squares = sum(p * np.sum(w**2) for p, w in zip(precisions, weights, strict=True))
    return 0.5 * np.sum((data.y_train - h[0]) ** 2) + temperature / 2 * squares


@pytest.mark.parametrize("widths", [(), (7,), (7, 5), (4, 6, 3)])
@pytest.mark.parametrize(("num_train", "in_size"), [(12, 5), (4, 9)])
def test_energy_is_the_definition_whatever_the_input_coordinates(widths, num_train, in_size):
    data = gaussian_task(num_train, 6, in_size)
    precisions = (0.5, 2.0, 1.5, 0.7)[: len(widths) + 1]
    network = lnn.FullyConnected(in_size, widths, "tanh", key=KEY, dtype=jnp.float64)
    posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior(precisions), data, 0.3)
    params = posterior.sample_prior(KEY, 3)
    keys = jax.random.split(KEY, 3)
    lifted = posterior.lifted_networks(params, keys)

    # Outside the span the lifted first layer costs prior energy that the reduced one leaves out.
    basis = posterior.space.basis
    complement = np.eye(in_size) - basis @ basis.T
    outside = np.square(np.asarray(lifted.weights[0]) @ complement).sum(axis=(1, 2))
    for chain in range(3):
        weights = [np.asarray(w[chain]) for w in lifted.weights]
        expected = numpy_energy(weights, np.tanh, data, precisions, 0.3)
        reduced = expected - 0.3 / 2 * precisions[0] * outside[chain]
        np.testing.assert_allclose(posterior.energy(params)[chain], reduced, rtol=1e-12)
    np.testing.assert_allclose(posterior.potential(params), posterior.energy(params) / 0.3)
    np.testing.assert_allclose(
        evaluate(lifted, jnp.asarray(data.x_train)), posterior.train_outputs(params), rtol=1e-11
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-11), (jnp.float32, 3e-4)])
@pytest.mark.parametrize("own_module", [False, True])
def test_jitted_potential_and_gradient_equal_numpy_on_many_rows(dtype, tolerance, own_module):
    """Some releases of JAX get vmapped matrix–vector products wrong beyond 16,384 rows."""
    rows, in_size, width, temperature = 20_000, 3, 4, 0.5
    data = gaussian_task(rows, 2, in_size)
    precisions = (0.5, 2.0)
    network = lnn.FullyConnected(in_size, (width,), "erf", key=KEY, dtype=dtype)
    if own_module:
        network = OwnNetwork(*network.weights)
    posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior(precisions), data, temperature)
    params = posterior.sample_prior(KEY, 2)
    x = np.asarray(posterior.x_train, np.float64)
    value, gradient = eqx.filter_jit(
        lambda p: (posterior.potential(p), jax.grad(lambda q: posterior.potential(q).sum())(p))
    )(params)
    for chain in range(2):
        w, v = (np.asarray(leaf[chain], np.float64) for leaf in jax.tree.leaves(params))
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


@pytest.mark.parametrize("width", [1, 3, 40])
def test_prior_draws_have_the_gram_matrix_at_any_width(width, seed):
    """E[f fᵀ] = K_1 exactly, inside the span of the training inputs and outside it."""
    data = gaussian_task(3, 4, 8)
    network = lnn.FullyConnected(8, (width,), "erf", key=KEY, dtype=jnp.float64)
    posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior((0.5, 2.0)), data, 1.0)
    key_weights, key_outside = jax.random.split(jax.random.key(seed))
    params = posterior.sample_prior(key_weights, 100_000)
    f = np.concatenate(
        [
            posterior.train_outputs(params),
            posterior.test_outputs(params, jax.random.split(key_outside, 100_000)),
        ],
        axis=1,
    )
    expected = erf_gram(np.concatenate([data.x_train, data.x_test]), 0.5, 2.0)
    assert worst(z_scores(f[:, :, None] * f[:, None, :], expected)) < SIGMAS


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


def fits(network=None, prior=(1.0, 1.0), temperature=0.1, in_size=4):
    network = network or lnn.FullyConnected(in_size, (3,), key=KEY)
    return lnn.GibbsPosterior(
        network, lnn.GaussianPrior(prior), gaussian_task(5, 2, 4), temperature
    )


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
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        fits(**given)


@pytest.mark.parametrize("widths", [(0,), (3, -1)])
def test_widths_must_be_positive(widths):
    with pytest.raises(InputError, match="must be positive whole numbers"):
        lnn.FullyConnected(4, widths, key=KEY)


def test_spec_says_what_a_theory_may_know():
    spec = fits().spec
    assert (spec.in_size, spec.hidden_widths, spec.temperature) == (4, (3,), 0.1)
    assert spec.activation.name == "erf" and spec.prior_precisions == (1.0, 1.0)
    own = fits(eqx.nn.Linear(4, "scalar", key=KEY)).spec
    assert own.hidden_widths is None and own.architecture == "Linear"
