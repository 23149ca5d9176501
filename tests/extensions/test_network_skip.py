"""A network of one's own with its layers: its kernels by Monte Carlo, and what follows of them."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from extensions.network_skip import SkipLayer, SkipNetwork
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn.config.sections import NetworkConfig
from langevin_nn.theory import infinite_width, nngp, ntk, predict
from langevin_nn.theory.suite import THEORIES
from langevin_nn.wide_layers import InputLayer

PRECISIONS, BIASES = (0.7, 1.3, 0.8), (2.0, 3.0, 1.5)
KEY = jax.random.key(0)
WIDTH, NETWORKS = 300, 600


def task(num_train=8, in_size=5, num_test=4):
    rng = np.random.default_rng(1)
    x, there = rng.standard_normal((num_train, in_size)), rng.standard_normal((num_test, in_size))
    return lnn.Dataset("d", x, np.sign(x[:, 0]), there, np.sign(there[:, 0]))


def posterior_of(data, width=WIDTH, activation="relu", kind=lnn.GibbsPosterior, biases=BIASES):
    network = SkipNetwork(
        data.in_size, (width, width), activation, key=KEY, dtype=jnp.float64,
        biases=biases is not None,
    )  # fmt: skip
    return kind(network, lnn.GaussianPrior(PRECISIONS, biases), data, 0.3)


@pytest.fixture(scope="module")
def random_networks():
    """K and Θ of networks that are drawn from the prior, given their hidden weights."""
    data = task(num_train=4)
    posterior = posterior_of(data)
    x = posterior.x_train

    def kernels(key):
        network = jax.tree.map(lambda leaf: leaf[0], posterior.sample_prior(key, 1))
        features = network.features(x)
        slopes = jax.tree.leaves(jax.jacobian(lambda network: network.batch(x))(network))
        flat = jnp.concatenate([slope.reshape(len(features), -1) for slope in slopes], axis=1)
        return features @ features.T / (PRECISIONS[-1] * WIDTH) + 1 / BIASES[-1], flat @ flat.T

    drawn = jax.lax.map(kernels, jax.random.split(jax.random.key(3), NETWORKS))
    return data.x_train, posterior.spec, [np.asarray(each) for each in drawn]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "kernel"), [(0, nngp), (1, ntk)])
def test_kernels_are_those_of_random_networks(random_networks, number, kernel):
    """And not those without the skip, or with a precision 20 % off."""
    x, spec, drawn = random_networks
    assert worst(z_scores(drawn[number], kernel(spec, x))) < SIGMAS
    first, skip, last = spec.layers
    for planted in (
        replace(spec, own_layers=(first, skip.dense, last)),
        replace(spec, prior_precisions=(0.84, 1.3, 0.8)),
    ):
        assert worst(z_scores(drawn[number], kernel(planted, x))) > SIGMAS


@pytest.mark.slow
def test_theories_that_are_derived_for_it_and_no_others():
    ensemble = posterior_of(task(), activation="erf").ensemble
    predictions = predict(ensemble)
    assert list(predictions.results) == ["infinite_width"]
    assert set(predictions.not_applicable) == THEORIES.keys() - {"infinite_width"}
    assert all("SkipNetwork" in why for why in predictions.not_applicable.values())


@pytest.mark.slow
def test_the_evidence_is_derived_through_its_layers():
    ensemble = posterior_of(task(), activation="erf").ensemble
    found = lnn.theory.evidence(ensemble, "infinite_width")
    for i, slope in enumerate((*found.precision_gradient, *found.bias_precision_gradient)):

        def moved(change, i=i):
            lambdas = np.array((*PRECISIONS, *BIASES)) + change * np.eye(6)[i]
            there = ensemble.at(
                prior_precisions=tuple(lambdas[:3]), bias_precisions=tuple(lambdas[3:])
            )
            return infinite_width(there).log_evidence

        np.testing.assert_allclose((moved(1e-4) - moved(-1e-4)) / 2e-4, slope, rtol=1e-5, atol=1e-8)


def test_linear_skips_are_a_linear_network():
    """σ(z) = z: K = (1 + 1/λ_1) x·x'/(N_0 λ_0 λ_2), of which no factor is known."""
    data = task()
    ensemble = posterior_of(data, activation="identity", biases=None).ensemble
    gram = (1 + 1 / 1.3) / (0.7 * 0.8) * data.x_train @ data.x_train.T / data.in_size
    np.testing.assert_allclose(nngp(ensemble.spec, data.x_train), gram, rtol=1e-13)
    same = lnn.EnsembleSpec(5, (), None, (0.7 * 0.8 / (1 + 1 / 1.3),), 0.3)
    expected = infinite_width(lnn.Ensemble(same, data))
    np.testing.assert_allclose(
        infinite_width(ensemble).predictive_mean, expected.predictive_mean, atol=1e-10
    )


@pytest.mark.slow
def test_sampled_it_is_the_process_of_infinite_width():
    """As N_1 = 100 is, with P/N_1 = 4 %, to the precision of these draws."""
    posterior = posterior_of(task(num_train=4), width=100, kind=lnn.MarginalisedPosterior)
    chains = lnn.sample(posterior, lnn.Split(), key=KEY, num_warmup=30, num_samples=40)
    measured, theory = lnn.summarise(chains), infinite_width(posterior.ensemble)
    assert measured.diagnostics.ess_min > 100
    for name in ("bias2", "variance", "generalisation_error"):
        here, there = getattr(measured, name), getattr(theory, name)
        assert abs(here.value - there.value) < SIGMAS * here.mcse + 0.06 * there.value


def test_what_a_run_asks_of_it():
    data = task()
    chosen = NetworkConfig(hidden_widths=(7, 7), activation="erf")
    sizes = SkipNetwork.sizes(chosen, data)
    network = SkipNetwork.from_config(chosen, data, key=KEY, dtype=jnp.float32)
    arrays = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))
    assert (sizes.num_drawn, sizes.num_units) == (sum(a.size for a in arrays), 14)
    assert SkipNetwork.caption({"hidden_widths": "7, 7"}.get) == "SkipNetwork, N = (7, 7)"
    reduced, space = network.reduced(lnn.Dataset("two", *(2 * (data.x_train[:2], np.ones(2)))))
    assert reduced.weights[0].shape == (7, 2) and space.rank == 2


@pytest.mark.parametrize(
    "layers", [(), (SkipLayer(InputLayer(5)),), (InputLayer(5), InputLayer(5))]
)
def test_layers_that_are_none_are_refused(layers):
    with pytest.raises(lnn.InputError, match="layer"):
        lnn.EnsembleSpec(5, None, None, PRECISIONS, 0.1, own_layers=layers)
