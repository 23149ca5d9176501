"""Covariances of preactivations: angles of sums, and what is not asked for is not computed."""

import numpy as np
import pytest

from langevin_nn.covariances import Covariance
from langevin_nn.model.activations import erf, relu
from langevin_nn.wide_layers import DenseLayer, InputLayer

DISTANCES = (1e-3, 1e-6, 1e-9, 1e-12)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_angle_of_a_sum_is_that_of_vectors_side_by_side(distance, sign):
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((2, 3, 4))
    near_x, near_z = (sign * (v + distance * rng.standard_normal((3, 4))) for v in (x, z))
    both = Covariance.of_inputs(x, near_x) + Covariance.of_inputs(z, near_z)
    whole = Covariance.of_inputs(np.hstack([x, z]), np.hstack([near_x, near_z]))
    np.testing.assert_allclose(both.angle, whole.angle, rtol=1e-14, atol=1e-15)
    from_pi = np.diag(np.pi - both.angle if sign < 0 else both.angle)
    assert np.all((0.3 * distance < from_pi) & (from_pi < 3 * distance + 1e-15))


def test_a_bias_is_one_more_input():
    """Whose weights have the same precision: x·x'/(λ M) + 1/λ_b."""
    x = np.array([[0.6, 0.8], [0.6, 0.8 + 1e-9], [-0.6, -0.8], [0.0, 0.0]])
    with_bias = InputLayer(2)(Covariance.of_inputs(x), 0.5, bias=4.0)
    column = np.full((4, 1), 0.5)
    whole = Covariance.of_inputs(np.hstack([x, column]))
    np.testing.assert_allclose(with_bias.between, whole.between, rtol=1e-15)
    np.testing.assert_allclose(with_bias.angle, whole.angle, rtol=1e-14, atol=1e-15)


def test_angles_are_known_to_layers_of_relu_alone():
    prior = InputLayer(2)(Covariance.of_inputs(np.eye(2)), 1.0)
    known, unknown = (DenseLayer(each)(prior, 1.0) for each in (relu, erf))
    assert known.angle is not None and unknown.angle is None
    assert (known + unknown).angle is None


def test_what_nobody_asks_for_is_not_computed():
    def refuse():
        raise AssertionError("asked for")

    covariance = Covariance(np.ones(2), refuse, refuse, refuse, refuse)
    moved = DenseLayer(relu)(covariance + covariance, precision=2.0, bias=1.0)
    np.testing.assert_allclose(moved.rows, [1.5, 1.5])
