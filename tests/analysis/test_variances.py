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


def test_parts_of_random_features_are_the_limits():
    """N_0 = 150: data sets, features and noise drawn for one teacher."""
    in_size, width, num_train, noise, ridge = 150, 450, 300, 0.6, 0.1
    rng = np.random.default_rng(2)
    teacher = rng.standard_normal(in_size)
    teacher /= np.linalg.norm(teacher)
    x_test = rng.standard_normal((800, in_size))
    f = np.empty((8, 4, 6, 800))
    for a in range(8):
        x = rng.standard_normal((num_train, in_size))
        data = lnn.Dataset("teacher", x, x @ teacher, x_test, x_test @ teacher)
        for b in range(4):
            key = jax.random.key(10 * a + b)
            regression = lnn.RandomFeatures(in_size, width, "tanh", key=key).regress(data)
            labels = (x @ teacher)[:, None] + np.sqrt(noise) * rng.standard_normal((num_train, 6))
            f[a, b] = regression.mean(ridge, labels).T
    found = error_parts(f, x_test @ teacher)
    limit = random_feature_decomposition(
        ACTIVATIONS["tanh"], 3.0, 2.0, temperature=ridge, noise_variance=noise
    )
    for name in NAMES:
        estimate = getattr(found, name)
        expected = getattr(limit, {"bias2": "bias"}.get(name, name))
        assert abs(estimate.value - expected) < 5 * estimate.mcse + expected / in_size, name
    assert abs(found.noise.value - 1.2 * limit.noise) > 5 * found.noise.mcse


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
