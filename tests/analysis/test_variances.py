"""The parts of an error: known variances, and random features against their limit."""

import jax
import numpy as np
import pytest
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn.analysis.variances import error_parts
from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.theory import random_feature_decomposition
from langevin_nn.types import InputError

NAMES = ("bias2", "sampling", "initialisation", "noise", "total")


@pytest.mark.slow
def test_parts_are_those_of_the_draws():
    """Unbiased at three data sets already, and with errors that are those of repetitions."""
    rng = np.random.default_rng(0)
    y, mean = rng.standard_normal((2, 6))
    expected = [np.mean((mean - y) ** 2), 0.25, 1.0, 2.25]
    values = []
    for _ in range(600):
        f = mean + 0.5 * rng.normal(size=(5, 1, 1, 6)) + rng.normal(size=(5, 2, 1, 6))
        found = error_parts(f + 1.5 * rng.normal(size=(5, 2, 3, 6)), y)
        values.append([(getattr(found, name).value, getattr(found, name).mcse) for name in NAMES])
    values = np.array(values)
    z = z_scores(values[..., 0], np.array([*expected, sum(expected)]))
    assert worst(z) < SIGMAS
    ratio = np.sqrt(np.mean(values[..., 1] ** 2, axis=0)) / values[..., 0].std(axis=0)
    assert np.all(np.abs(ratio - 1) < 0.2), ratio
    plug_in = z_scores(values[..., 0], np.array([*expected[:2], 1.0 + 2.25 / 3, 2.25, 6.0]))
    assert worst(plug_in) > 2 * SIGMAS


def features_of_a_teacher(noise, shared, num_sets=8, num_noise=6):
    """N_0 = 150, one teacher: (data sets, features, noise, P_test) of predictions, and labels."""
    rng = np.random.default_rng(2)
    teacher = rng.standard_normal(150)
    teacher /= np.linalg.norm(teacher)
    x_test = rng.standard_normal((800, 150))
    f = []
    for a in range(num_sets):
        x = rng.standard_normal((300, 150))
        data = lnn.Dataset("teacher", x, x @ teacher, x_test, x_test @ teacher)
        f.append(lnn.feature_ensemble(
            data, 450, "tanh", key=jax.random.key(a), ridge=0.1, num_ensemble=4,
            num_noise=num_noise, noise_variance=noise, shared_noise=shared,
        ))  # fmt: skip
    return np.array(f), x_test @ teacher


LIMIT = {"features": 3.0, "examples": 2.0, "temperature": 0.1, "noise_variance": 0.6}


@pytest.mark.slow
def test_parts_of_random_features_are_the_limits():
    """Data sets, features and noise drawn for one teacher."""
    found = error_parts(*features_of_a_teacher(0.6, shared=False))
    limit = random_feature_decomposition(ACTIVATIONS["tanh"], **LIMIT)
    for name in NAMES:
        estimate = getattr(found, name)
        expected = getattr(limit, {"bias2": "bias"}.get(name, name))
        assert abs(estimate.value - expected) < 5 * estimate.mcse + expected / 150, name
    assert abs(found.noise.value - 1.2 * limit.noise) > 5 * found.noise.mcse


@pytest.mark.slow
@pytest.mark.parametrize("bagged", [1, 6])
def test_ensembles_of_features_have_the_limits_errors(bagged):
    """Four draws of features on the same noise, each averaged over `bagged` draws of it."""
    f, y = features_of_a_teacher(0.6, shared=True, num_noise=bagged)
    together = ((f.mean(axis=(1, 2)) - y) ** 2).mean(axis=1)
    alone = ((f.mean(axis=2) - y) ** 2).mean(axis=(1, 2))

    def limit(num_ensemble, num_noise):
        return random_feature_decomposition(
            ACTIVATIONS["tanh"], num_ensemble=num_ensemble, num_noise=num_noise, **LIMIT
        ).total

    def off(values, expected):
        error = values.std(ddof=1) / np.sqrt(len(values))
        return abs(values.mean() - expected) / (5 * error + expected / 150)

    assert off(together, limit(4, bagged)) < 1 < off(together, limit(4, 7 - bagged))
    gain, other = alone - together, limit(1, bagged) - limit(2, bagged)
    assert off(gain, limit(1, bagged) - limit(4, bagged)) < 1 < off(gain, other)


@pytest.mark.parametrize(
    ("shape", "points", "message"),
    [
        ((3, 2, 2, 5), 4, r"got \(3, 2, 2, 5\) and \(4,\)"),
        ((2, 2, 2, 5), 5, r"three data sets.*got \(2, 2, 2\)"),
        ((3, 1, 2, 5), 5, r"two features of each.*got \(3, 1, 2\)"),
    ],
)
def test_draws_that_are_too_few(shape, points, message):
    with pytest.raises(InputError, match=message):
        error_parts(np.zeros(shape), np.zeros(points))
