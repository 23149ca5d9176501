"""Networks, posteriors and results go through pickle, copies and Dask (FAULTS 5, pickle)."""

import copy
import pickle

import cases
import cloudpickle
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task, some_params

import langevin_nn as lnn
from langevin_nn.model.activations import ACTIVATIONS, activation

KEY = jax.random.key(0)
DATA = gaussian_task(5, 3, 4)
WAYS = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "deepcopy": copy.deepcopy,
    "cloudpickle": lambda thing: cloudpickle.loads(cloudpickle.dumps(thing)),
}


def posterior_of(chosen, kind=lnn.GibbsPosterior):
    settings = {"key": KEY, "kind": kind, "dtype": jnp.float32}
    return cases.posterior_of(DATA, (3,), chosen, (1.0, 2.0), **settings)


@eqx.filter_jit
def potential(posterior, params):
    return posterior.potential(params)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_named_activations_go_by_name(name):
    """jax issue 679: jnp.tanh itself cannot be pickled."""
    posterior = posterior_of(name)
    params = some_params(posterior, 2)
    for way in WAYS.values():
        restored = way(posterior)
        assert restored.network.activation is ACTIVATIONS[name]
        assert eqx.tree_equal(restored, posterior)
        np.testing.assert_array_equal(potential(restored, params), potential(posterior, params))


@pytest.mark.parametrize("function", [jnp.sin, jax.nn.silu, jax.nn.relu6, jax.nn.softplus])
def test_functions_of_jax_are_found_again(function):
    chosen = activation(function)
    for way in WAYS.values():
        restored = way(chosen)
        assert restored == chosen and hash(restored) == hash(chosen)
        assert restored.function is function


def test_other_functions_go_where_pickle_takes_them():
    chosen = activation(lambda z: jnp.sin(z) ** 3)
    restored = WAYS["cloudpickle"](chosen)
    z, one = jnp.linspace(-1.0, 1.0, 5), jnp.ones(())
    np.testing.assert_array_equal(restored(z), chosen(z))
    assert restored.dual(one, one, one) == chosen.dual(one, one, one)


@pytest.mark.slow
def test_results_are_equal_after_they_were_pickled():
    posterior = posterior_of("tanh", lnn.MarginalisedPosterior)
    chains = lnn.sample(posterior, lnn.Split(), key=KEY, num_chains=2, num_warmup=3, num_samples=4)
    restored, other = pickle.loads(pickle.dumps((posterior, chains)))
    again = lnn.sample(restored, lnn.Split(), key=KEY, num_chains=2, num_warmup=3, num_samples=4)
    for result in (other, again):
        np.testing.assert_array_equal(result.test_outputs, chains.test_outputs)
        assert eqx.tree_equal(result.params, chains.params)


def test_random_features_are_pickled():
    features = lnn.RandomFeatures(4, 3, "softplus5", key=KEY, centred=True)
    of_network = lnn.RandomFeatures.of(lnn.FullyConnected(4, (3,), "tanh", key=KEY))
    for each in (features, of_network):
        np.testing.assert_array_equal(WAYS["pickle"](each)(DATA.x_test), each(DATA.x_test))
