"""Frozen features: the posterior of the read-out in closed form, by theories and by dynamics."""

import equinox as eqx
import jax
import numpy as np
import pytest
from cases import gaussian_task
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn.types import InputError

KEY = jax.random.key(11)
DATA = gaussian_task(12, 5, 4)
PRECISION, TEMPERATURE = 1.7, 0.2


def drawn(width, activation="relu", **options):
    return lnn.RandomFeatures(4, width, activation, key=KEY, **options)


@pytest.mark.parametrize("width", [7, 30])
def test_regression_is_that_of_the_normal_equations(width):
    features = drawn(width)
    hidden = np.asarray(jax.random.normal(KEY, (width, 4), np.float32))
    z = np.maximum(DATA.x_train @ hidden.T / 2, 0) / np.sqrt(width)
    z_test = np.maximum(DATA.x_test @ hidden.T / 2, 0) / np.sqrt(width)
    found, ridge = features.regress(DATA), PRECISION * TEMPERATURE
    normal = z.T @ z + ridge * np.eye(width)
    weights = np.linalg.solve(normal, z.T @ DATA.y_train)
    np.testing.assert_allclose(found.mean(ridge), z_test @ weights, rtol=1e-9)
    np.testing.assert_allclose(found.train_mean(ridge), z @ weights, rtol=1e-9, atol=1e-12)
    variance = TEMPERATURE * np.sum(z_test * np.linalg.solve(normal, z_test.T).T, axis=1)
    np.testing.assert_allclose(found.variance(ridge, TEMPERATURE), variance, rtol=1e-9)
    least = np.linalg.pinv(z) @ DATA.y_train
    np.testing.assert_allclose(found.mean(0.0), z_test @ least, rtol=1e-7)
    several = np.stack([DATA.y_train, np.ones(12)], axis=1)
    np.testing.assert_allclose(found.mean(ridge, several)[:, 0], z_test @ weights, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        lnn.FullyConnected(4, (9,), "tanh", key=KEY, dtype=np.float64),
        lnn.FullyConnected(4, (30, 20), "relu", key=KEY),
        lnn.Convolutional(lnn.Patches((2, 2, 1), 1, 1), 3, "erf", key=KEY),
    ],
    ids=["one layer", "deep", "convolutional"],
)
def test_features_of_a_network_have_its_outputs(network):
    """With the read-out ⟨v⟩ in place of its own it is the regression, at any depth."""
    regression = lnn.RandomFeatures.of(network).regress(DATA)
    for ridge in (0.3, 1e-3):
        v = regression.readout(ridge).reshape(network.weights[-1].shape)
        exact = jax.tree.map(lambda leaf: leaf.astype(np.float64), network)
        best = eqx.tree_at(lambda network: network.weights[-1], exact, v)
        f, f_test = jax.vmap(best)(DATA.x_train), jax.vmap(best)(DATA.x_test)
        np.testing.assert_allclose(f, regression.train_mean(ridge), atol=1e-10)
        np.testing.assert_allclose(f_test, regression.mean(ridge), atol=1e-10)
        slope = jax.grad(lambda v, best=best, ridge=ridge: _loss(best, v, ridge))(v)
        assert np.max(np.abs(slope)) < 1e-10


def _loss(network, v, ridge):
    """½ Σ(y − f)² + ½ λ_L T ‖v‖², of which ⟨v⟩ is the minimum."""
    moved = eqx.tree_at(lambda network: network.weights[-1], network, v)
    misfit = moved.batch(jax.numpy.asarray(DATA.x_train)) - DATA.y_train
    return 0.5 * (misfit**2).sum() + 0.5 * ridge * (v**2).sum()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lnn.FullyConnected(4, (), key=KEY), "with hidden layers and without biases, got Fully"),
        (lnn.FullyConnected(4, (3,), biases=True, key=KEY), "without biases, got Fully"),
        (eqx.nn.Linear(4, 1, key=KEY), "without biases, got Linear"),
        (
            jax.tree.map(lambda leaf: leaf[None], lnn.FullyConnected(4, (3,), key=KEY)),
            r"one network was expected, got several of shape \(1,\)",
        ),
    ],
)
def test_networks_that_are_refused(network, message):
    with pytest.raises(InputError, match=message):
        lnn.RandomFeatures.of(network)


def test_centred_features_have_no_mean():
    wide = lnn.RandomFeatures(4, 40_000, "relu", key=KEY, centred=True)
    x = np.full((1, 4), 1.0)  # |x|² = N_0
    assert abs(wide(x).mean()) < 5 * wide(x).std() / 200
    plain = lnn.RandomFeatures(4, 40_000, "relu", key=KEY)
    assert plain(x).mean() - wide(x).mean() == pytest.approx(1 / np.sqrt(2 * np.pi))


def task_posterior(width, kind=lnn.GibbsPosterior):
    task = drawn(width).task(DATA)
    network = lnn.FullyConnected(width, (), "identity", key=KEY, dtype=np.float64)
    return task, kind(network, lnn.GaussianPrior((PRECISION,)), task, TEMPERATURE)


@pytest.mark.parametrize("width", [7, 30])
def test_theory_of_the_features_task_is_the_regression(width):
    """A network without hidden layers is Gaussian regression: every theory's exact case."""
    task, posterior = task_posterior(width)
    found = drawn(width).regress(DATA)
    expected = lnn.theory.infinite_width(posterior.ensemble)
    ridge = PRECISION * TEMPERATURE
    np.testing.assert_allclose(expected.predictive_mean, found.mean(ridge), rtol=1e-8)
    variance = found.variance(ridge, TEMPERATURE)
    np.testing.assert_allclose(expected.predictive_variance, variance, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("dynamics", [lnn.Langevin(), lnn.Split()], ids=["langevin", "split"])
def test_each_dynamics_samples_it(dynamics):
    """Means and variances at the test points, in standard errors; another T is seen."""
    _, posterior = task_posterior(7)
    counts = {"num_chains": 200, "num_warmup": 400, "num_samples": 4, "thinning": 100}
    if isinstance(dynamics, lnn.Split):
        counts |= {"num_warmup": 100, "thinning": 5}
    chains = lnn.sample(posterior, dynamics, key=KEY, **counts)
    f = chains.test_outputs.reshape(-1, 5)
    found = drawn(7).regress(DATA)
    ridge = PRECISION * TEMPERATURE
    mean, variance = found.mean(ridge), found.variance(ridge, TEMPERATURE)
    assert worst(z_scores(f, mean)) < SIGMAS
    assert worst(z_scores((f - mean) ** 2, variance)) < SIGMAS
    assert worst(z_scores((f - mean) ** 2, 1.5 * variance)) > SIGMAS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_ensemble": 0}, "num_ensemble must be a positive whole number, got 0"),
        ({"num_noise": -2}, "num_noise must be a positive whole number, got -2"),
        ({"noise_variance": -1.0}, "noise_variance must not be negative, got -1.0"),
        ({"ridge": -1.0}, "ridge λ_L T must not be negative"),
        ({"data": gaussian_task(12, 5, 4, num_outputs=2)}, "of one output, the task has 2"),
    ],
)
def test_ensembles_that_are_refused(changes, message):
    given = {"data": DATA, "width": 7, "key": KEY, "ridge": 0.1, "num_ensemble": 2} | changes
    with pytest.raises(InputError, match=message):
        lnn.feature_ensemble(**given)


@pytest.mark.parametrize("ridge", [-0.1, np.nan, np.inf])
def test_ridges_that_are_refused(ridge):
    with pytest.raises(InputError, match="must not be negative"):
        drawn(7).regress(DATA).mean(ridge)


def test_a_variance_without_a_ridge_is_refused():
    with pytest.raises(InputError, match="needs a positive ridge"):
        drawn(7).regress(DATA).variance(0.0, 0.1)
