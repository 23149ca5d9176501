"""The read-out's posterior against explicit matrices."""

import jax.numpy as jnp
import numpy as np
import pytest

from langevin_nn.model import gaussian_readout as readout


@pytest.mark.slow
@pytest.mark.parametrize(("num_train", "num_features"), [(4, 7), (7, 4)], ids=["A", "B"])
def test_variance_of_the_energy_is_that_of_its_gaussian(num_train, num_features):
    """Of ½ Σ_d |y_d − F w_d|², with either Cholesky factor: for N(m, S), ½ Tr S² + (y − m)ᵀS(y − m)
    for each output."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, num_train, num_features))
    targets, temperature = rng.normal(size=(num_train, 3)), 0.3
    found = readout.regress(jnp.asarray(features), jnp.asarray(targets), jnp.asarray(temperature))
    for i, f in enumerate(features):
        covariance = temperature * np.linalg.inv(f.T @ f + temperature * np.eye(num_features))
        s, residual = f @ covariance @ f.T, targets - f @ covariance @ f.T @ targets / temperature
        expected = 1.5 * np.trace(s @ s) + np.trace(residual.T @ s @ residual)
        assert found.energy_variance[i] == pytest.approx(expected, rel=1e-10)
        draws = rng.multivariate_normal(np.zeros(num_train), s, size=(400_000, 3))
        energies = 0.5 * np.square(residual.T[None] - draws).sum(axis=(1, 2))
        assert energies.var() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("num_train", "num_features"), [(4, 7), (7, 4)], ids=["A", "B"])
def test_draws_have_the_posteriors_mean_and_covariance_exactly(num_train, num_features):
    """FAULTS 1.13. A draw is affine in standard Gaussians: its Jacobian J has J Jᵀ = T B⁻¹."""
    rng = np.random.default_rng(1)
    features, targets = rng.normal(size=(num_train, num_features)), rng.normal(size=(num_train, 1))
    temperature = 0.3
    # One chain for the mean, where all Gaussians are 0, and one for each Gaussian.
    gaussians = np.eye(num_features + num_train + 1)[:, 1:, None]
    many = jnp.broadcast_to(jnp.asarray(features), (len(gaussians), *features.shape))
    found = readout.regress(many, jnp.asarray(targets), jnp.asarray(temperature))
    parts = np.split(gaussians, [num_features], axis=1)
    draws = np.asarray(found.drawn(*map(jnp.asarray, parts)))[..., 0]
    mean, jacobian = draws[0], draws[1:] - draws[0]
    inverse = np.linalg.inv(features.T @ features + temperature * np.eye(num_features))
    np.testing.assert_allclose(mean, (inverse @ features.T @ targets)[:, 0], rtol=1e-9)
    np.testing.assert_allclose(jacobian.T @ jacobian, temperature * inverse, rtol=1e-8, atol=1e-12)
