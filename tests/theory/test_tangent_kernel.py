"""The tangent kernel of relu at equal, nearly equal and opposite inputs, whose angle ρ loses."""

import numpy as np
import pytest
from cases import ensemble_of, small_task, spec_of

from langevin_nn.data.dataset import Dataset
from langevin_nn.theory import infinite_width_flow, ntk

DISTANCES = (1e-3, 1e-6, 1e-7, 1e-9, 1e-12)


def one_layer_of_relu(x, x2):
    """Θ = κ + κ̇ C of inputs in the plane, whose angle is that of cross and dot product."""
    dot = x @ x2.T
    cross = np.outer(x[:, 0], x2[:, 1]) - np.outer(x[:, 1], x2[:, 0])
    angle = np.arctan2(np.abs(cross), dot)
    return (np.abs(cross) + 2 * (np.pi - angle) * dot) / (4 * np.pi)


def test_the_angle_of_inputs_that_are_nearly_parallel():
    """FAULTS 1.1, by the tangent kernel: 1.8e-9 off on the diagonal, θ lost below 1e-7."""
    for distance in DISTANCES:
        x = np.array([[0.6, 0.8], [0.6, 0.8 + distance], [1.2, 1.6], [-0.6, -0.8], [0.0, 0.0]])
        spec = spec_of(Dataset("x", x, np.arange(5.0), x, np.ones(5)), (9,), "relu")
        np.testing.assert_allclose(ntk(spec, x), one_layer_of_relu(x, x), rtol=0, atol=1e-15)
        np.testing.assert_allclose(ntk(spec, x, x[:2]), one_layer_of_relu(x, x[:2]), atol=1e-15)


def test_the_angle_of_a_second_layer():
    """cos θ₂ = J(θ)/π, so that θ₂ = θ − θ²/3π + O(θ³), and Θ_2 = κ₂ + κ̇₂ Θ_1."""
    for distance in DISTANCES[1:]:
        x = np.array([[1.0, 0.0], [1.0, distance]])
        spec = spec_of(Dataset("x", x, np.arange(2.0), x, np.ones(2)), (9, 9), "relu")
        second = distance - distance**2 / (3 * np.pi)
        value = 1 / 8 + (np.pi - second) / (2 * np.pi) * one_layer_of_relu(x[:1], x[1:])
        np.testing.assert_allclose(ntk(spec, x[:1], x[1:]), value, atol=1e-12)


@pytest.mark.parametrize("biases", [False, True])
def test_an_input_and_itself(biases):
    """κ = ½ a and κ̇ = ½ there, whichever array the input comes from, and however long it is."""
    data = small_task(num_train=9, in_size=7)
    for size in (1.0, 1e3, 1e100):
        x = size * data.x_train
        spec = spec_of(data, (9, 9, 9), "relu", biases=biases)
        variance = np.sum(x**2, axis=1) / 7
        theta = variance + biases
        for layer in range(3):
            variance = (variance + (1 / spec.bias_precisions[layer] if biases else 0.0)) / 2
            theta = variance + theta / 2 + biases
        twice = ntk(spec, x, np.concatenate([x[4:], x[:4]]))
        np.testing.assert_allclose(np.diag(ntk(spec, x)), theta, rtol=1e-14)
        np.testing.assert_allclose(np.diag(np.roll(twice, 4, axis=1)), theta, rtol=1e-14)


@pytest.mark.parametrize("depth", [1, 3])
def test_biases_at_every_angle(depth):
    """The recursion by arc-cosine kernels (Cho and Saul 2009) in extended precision."""
    x = np.array([[1.0, 0.0], [1.0, 1e-2], [0.6, 0.8], [-2.0, 1.0], [-1.0, 0.0], [0.0, 0.0]])
    data = Dataset("x", x, np.arange(6.0), x, np.ones(6))
    spec = spec_of(data, (9,) * depth, "relu", biases=True)
    wide, precisions, biases = x.astype(np.longdouble), spec.prior_precisions, spec.bias_precisions
    dot = wide @ wide.T / 2
    covariance, theta = dot / precisions[0] + 1 / np.longdouble(biases[0]), dot + 1
    for precision, bias in zip(precisions[1:], biases[1:], strict=True):
        root = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
        rho = np.clip(covariance / root, -1, 1)
        left = np.longdouble(np.pi) - np.arccos(rho)  # π − θ
        kappa = root * (np.sqrt(1 - rho**2) + left * rho) / (2 * np.pi)
        theta = kappa + 1 + left / (2 * np.pi) * theta / precision
        covariance = kappa / precision + 1 / np.longdouble(bias)
    np.testing.assert_allclose(ntk(spec, x), theta.astype(float), rtol=1e-13)


def test_flow_to_its_end_with_inputs_that_are_nearly_equal():
    """FAULTS 1.1: labels that differ at a distance δ, Θ⁻¹y of order 1/δ; 2 % off at 1e-7."""
    for distance in DISTANCES[1:4]:
        x, there = np.array([[1.0, 0.0], [1.0, distance]]), np.array([[0.0, 1.0], [1.0, 1.0]])
        data = Dataset("near", x, np.array([1.0, -1.0]), there, np.zeros(2))
        found = infinite_width_flow(ensemble_of(data, (9,), "relu"))
        theta, cross = one_layer_of_relu(x, x), one_layer_of_relu(there, x)
        weights = np.array([theta[1, 1] + theta[0, 1], -theta[0, 0] - theta[0, 1]])
        determinant = theta[0, 0] * theta[1, 1] - theta[0, 1] ** 2
        mean = cross @ weights / determinant
        np.testing.assert_allclose(found.predictive_mean, mean, rtol=1e-5)
