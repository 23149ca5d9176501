"""Regression in the eigenbasis, against direct solves."""

from dataclasses import replace

import numpy as np
import pytest
from cases import SEED

from langevin_nn.theory.kernels.nngp import GramBlocks
from langevin_nn.theory.regression.factorise import decompose
from langevin_nn.types import InputError


def random_problem(num_train=12, num_test=5, rank=40):
    """Blocks of a Gram matrix of the given rank, and targets."""
    rng = np.random.default_rng(SEED + 1)
    features = rng.standard_normal((num_train + num_test, rank))
    gram = features @ features.T / rank
    blocks = GramBlocks(
        train=gram[:num_train, :num_train],
        cross=gram[num_train:, :num_train],
        test_diagonal=np.diagonal(gram)[num_train:].copy(),
    )
    return blocks, rng.standard_normal(num_train)


def direct(blocks, targets, temperature, scale):
    """Mean and variance at the test points, and the training error, by np.linalg.solve."""
    gram, cross = scale * blocks.train, scale * blocks.cross
    noisy = gram + temperature * np.eye(len(targets))
    mean = cross @ np.linalg.solve(noisy, targets)
    explained = np.sum(cross * np.linalg.solve(noisy, cross.T).T, axis=1)
    train_mean = gram @ np.linalg.solve(noisy, targets)
    train_variance = np.diagonal(gram - gram @ np.linalg.solve(noisy, gram))
    train_error = np.mean((targets - train_mean) ** 2 + train_variance)
    return mean, scale * blocks.test_diagonal - explained, train_error


@pytest.mark.parametrize("temperature", [0.0, 1e-6, 0.05, 3.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 2.7, 500.0])
def test_regression_is_the_direct_solve(temperature, scale):
    blocks, targets = random_problem()
    regression = decompose(blocks, targets)
    mean, variance, train_error = direct(blocks, targets, temperature, scale)
    np.testing.assert_allclose(regression.mean(temperature, scale), mean, atol=1e-11)
    np.testing.assert_allclose(regression.variance(temperature, scale), variance, atol=1e-11)
    np.testing.assert_allclose(regression.train_error(temperature, scale), train_error, atol=1e-11)


def test_arrays_of_scales_are_the_scales_one_by_one():
    regression = decompose(*random_problem())
    scales = np.array([0.1, 1.0, 9.0])
    for method in (regression.mean, regression.variance, regression.train_error):
        alone = np.stack([method(0.2, float(scale)) for scale in scales], axis=-1)
        np.testing.assert_allclose(method(0.2, scales), alone, rtol=1e-13)


@pytest.mark.parametrize("temperature", [1e-3, 1.0])
def test_singular_gram_matrix_at_positive_temperature(temperature):
    blocks, targets = random_problem(rank=7)
    regression = decompose(blocks, targets)
    mean, variance, train_error = direct(blocks, targets, temperature, 1.0)
    np.testing.assert_allclose(regression.mean(temperature), mean, atol=1e-9)
    np.testing.assert_allclose(regression.variance(temperature), variance, atol=1e-9)
    np.testing.assert_allclose(regression.train_error(temperature), train_error, atol=1e-9)
    assert regression.eigenvalues[0] >= 0


def test_criterion():
    blocks, targets = random_problem()
    expected = targets @ np.linalg.solve(blocks.train, targets) / len(targets)
    np.testing.assert_allclose(decompose(blocks, targets).criterion(), expected, rtol=1e-11)
    assert decompose(*random_problem(rank=7)).criterion() is None


@pytest.mark.parametrize("temperature", [0.0, 1e-17])
def test_temperature_below_the_resolution_of_a_singular_gram_matrix(temperature):
    """The limit T → 0 has the pseudo-inverse in place of the inverse."""  # FAULTS 1.1
    blocks, targets = random_problem(rank=7)
    regression = decompose(blocks, targets)
    assert np.sum(regression.eigenvalues == 0) == 5
    pseudo = np.linalg.pinv(blocks.train, rcond=1e-10)
    mean = blocks.cross @ pseudo @ targets
    variance = blocks.test_diagonal - np.sum(blocks.cross @ pseudo * blocks.cross, axis=1)
    residual = targets - blocks.train @ pseudo @ targets
    np.testing.assert_allclose(regression.mean(temperature), mean, atol=1e-9)
    np.testing.assert_allclose(regression.variance(temperature), variance, atol=1e-9)
    np.testing.assert_allclose(regression.train_error(temperature), np.mean(residual**2), atol=1e-9)


def test_criterion_at_a_temperature():
    """yᵀA⁻¹KA⁻¹y/tr A⁻¹K, also with columns; s and, where K is singular, its limit as T → 0."""
    blocks, targets = random_problem()
    columns = np.random.default_rng(SEED + 2).standard_normal((12, 2))
    with_columns = replace(blocks, train_columns=columns, test_columns=np.zeros((5, 2)))
    for each, added in ((blocks, 0.0), (with_columns, columns @ columns.T)):
        for temperature in (1e-3, 0.5):
            noisy = each.train + added + temperature * np.eye(12)
            fit, smoothed = (np.linalg.solve(noisy, b) for b in (targets, each.train))
            expected = fit @ each.train @ fit / np.trace(smoothed)
            found = decompose(each, targets).criterion_at(temperature)
            np.testing.assert_allclose(found, expected, rtol=1e-9)
    regression = decompose(blocks, targets)
    np.testing.assert_allclose(regression.criterion_at(0.0), regression.criterion(), rtol=1e-12)
    lost = replace(blocks, train_columns=1e30 * np.eye(12), test_columns=np.zeros((5, 12)))
    assert decompose(lost, targets).criterion_at(0.5) is None, "V Vᵀ leaves nothing of K"
    blocks, targets = random_problem(rank=7)
    limit = targets @ np.linalg.pinv(blocks.train, rcond=1e-10) @ targets / 7
    np.testing.assert_allclose(decompose(blocks, targets).criterion_at(0.0), limit, rtol=1e-8)


@pytest.mark.parametrize("block", ["train", "cross", "test_diagonal"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_gram_matrix_that_is_not_finite(block, value):
    blocks, targets = random_problem()
    getattr(blocks, block).flat[3] = value
    with pytest.raises(InputError, match=rf"\({block}\) has 1 entries that are not finite"):
        decompose(blocks, targets)


def test_gram_matrix_that_is_not_positive():
    blocks, targets = random_problem()
    blocks.train[0, 1] = blocks.train[1, 0] = 5.0
    with pytest.raises(InputError, match="not positive semi-definite"):
        decompose(blocks, targets)


def test_temperatures_in_a_row_are_the_last_axis():
    """As many as eigenvalues, with one scale: they were added to these one by one."""
    blocks = GramBlocks(np.diag([1.0, 3.0]), np.eye(2), np.array([2.0, 4.0]))
    found, noises = decompose(blocks, np.array([4.0, 1.0])), np.array([0.5, 2.0])
    for of in (found.mean, found.variance, found.train_error):
        np.testing.assert_array_equal(of(noises), np.stack([of(t) for t in noises], axis=-1))
