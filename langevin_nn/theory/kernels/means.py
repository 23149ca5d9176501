"""The mean of a hidden layer's features, m_μ = E[σ(h_μ)], in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.covariances import Covariance
from langevin_nn.model.quadrature import gaussian_mean
from langevin_nn.theory.kernels.layers import Precisions, steps_of
from langevin_nn.types import Activation, EnsembleSpec

__all__ = ["feature_means"]


def feature_means(
    spec: EnsembleSpec,
    x: Float[np.ndarray | Array, "P N_0"],
    precisions: Precisions | None = None,
    bias_precisions: Precisions | None = None,
) -> Float[Array, " P"]:
    """m_μ/√λ_1 with m_μ = E[σ(√C_μμ z)], one hidden layer; a JAX function of the precisions.

    >>> spec = EnsembleSpec(2, (9,), relu, (0.5, 1.0), temperature=0.1)  # C = I
    >>> feature_means(spec, np.eye(2)) * np.sqrt(2 * np.pi)
    Array([1., 1.], dtype=float64)
    """
    first, hidden = steps_of(spec, precisions, bias_precisions)
    assert spec.activation is not None, "the Gram matrix is known"
    variances = first(Covariance.of_inputs(x)).rows
    return _scaled_means(variances, hidden.precision, spec.activation)


@partial(jax.jit, static_argnames=("activation",))
def _scaled_means(
    variances: Float[Array, " P"], precision: float | Float[Array, ""], activation: Activation
) -> Float[Array, " P"]:
    return gaussian_mean(activation, variances) / jnp.sqrt(precision)
