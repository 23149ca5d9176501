"""Hidden layers that renormalise one after the other: the theory `nested`.

    K_ℓ(Q) = (Q_ℓ/λ_ℓ) κ(K_{ℓ−1}(Q)),   K_0 = C,
    S(Q) = Σ_ℓ N_ℓ (Q_ℓ − 1 − log Q_ℓ) + log det(T I + K_L(Q)) + yᵀ(T I + K_L(Q))⁻¹y

(Pacelli et al. 2023, arXiv:2209.04882). Each Q_ℓ but the last changes the shape of K_L, so that the
minimum takes a factorisation for each step (`newton`).
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from langevin_nn.data.load import Dataset
from langevin_nn.theory.applicability import require
from langevin_nn.theory.decompositions import gram_regression
from langevin_nn.theory.effective.common import about_the_mean, in_range, joined, scale_action
from langevin_nn.theory.kernels.layers import feature_gram, host_gram, skeleton_of
from langevin_nn.theory.kernels.nngp import GramBlocks, fields, readout_columns
from langevin_nn.theory.regression.eigenbasis import Regression, decompose
from langevin_nn.theory.regression.moments import (
    gaussian_evidence,
    generalisation,
    moments_at_scale,
    not_found,
)
from langevin_nn.theory.saddles.newton import local_minimum, lowest
from langevin_nn.theory.saddles.scale import minimise
from langevin_nn.types import EnsembleSpec, Generalisation

__all__ = ["nested"]


def nested(
    spec: EnsembleSpec, data: Dataset, regression: Regression | None = None
) -> Generalisation:
    """Hidden layers that renormalise one after the other: K_ℓ = (Q_ℓ/λ_ℓ) κ(K_{ℓ−1}), any depth.

    S = Σ_ℓ N_ℓ (Q_ℓ − 1 − log Q_ℓ) + log det(T + K_L(Q)) + yᵀ(T + K_L(Q))⁻¹y, K_ℓ (P, P) and y
    (P,), is minimised over Q_1 … Q_L by Newton's method in log Q, from Q = 1 and from the minimum
    of `global_`; the lower minimum counts (Pacelli et al. 2023, arXiv:2209.04882). It is derived
    for odd σ.

    Arguments and errors as for `infinite_width`; hidden layers and one output, or NotApplicable.

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.model.activations import relu
    >>> from langevin_nn.theory.effective.global_scale import global_
    >>> from langevin_nn.data.load import Dataset
    >>> from langevin_nn.types import EnsembleSpec
    >>> data = Dataset("two points", np.eye(2), np.array([2.0, -2.0]), np.eye(2), np.ones(2))
    >>> spec = EnsembleSpec(2, (4, 8), relu, (0.5, 1.0, 1.0), temperature=0.1)
    >>> for theory in (nested, global_):  # the same for relu
    ...     print(np.round(theory(spec, data).order_parameters, 6))
    [2.798098 1.899049]
    [2.798098 1.899049]
    """
    widths = require("nested", spec)
    regression = gram_regression(spec, data, regression)
    train, test = fields(spec, data.x_train), fields(spec, data.x_test)
    columns = readout_columns(spec, data.num_train)
    precisions = tuple(map(jnp.asarray, (spec.prior_precisions, spec.bias_precisions or ())))
    sizes = jnp.asarray(widths, float)
    targets, noise, basis, constant = in_range(spec, data, regression)
    arrays = tuple(map(jnp.asarray, (train, targets, noise, sizes))), precisions, basis
    common, _ = scale_action(spec, regression, widths)
    shared = minimise(common)
    starts = [np.zeros(len(widths))]
    if shared.converged:
        starts.append(np.log(common.orders(float(np.log(shared.value)))))
    skeleton = skeleton_of(spec)
    found = lowest([local_minimum(_action, start, arrays, skeleton) for start in starts])
    if not np.all(np.isfinite(found.point)):
        return not_found("nested", data, found.message)
    orders = tuple(float(order) for order in np.exp(found.point))
    renormalised = GramBlocks(
        train=host_gram(spec, train, train, orders),
        cross=host_gram(spec, test, train, orders),
        test_diagonal=host_gram(spec, test, orders=orders),
        train_columns=columns,
        test_columns=readout_columns(spec, data.num_test),
    )
    evidence = gaussian_evidence(found.action + constant, data.num_train)
    moments = moments_at_scale(
        decompose(renormalised, data.y_train), spec.temperature, 1.0, evidence
    )
    message = joined(found.message, about_the_mean(spec))
    return generalisation("nested", data, moments, orders, found.converged, message)


def _action(q: Float[Array, " L"], arrays: Any, skeleton: EnsembleSpec) -> Float[Array, ""]:
    """S at log Q_1 … log Q_L."""
    (train, y, noise, widths), (precisions, bias_precisions), basis = arrays
    biases = None if skeleton.bias_precisions is None else bias_precisions
    gram = feature_gram(
        skeleton, train, train, precisions=precisions, bias_precisions=biases, orders=jnp.exp(q)
    )
    if basis is not None:
        gram = basis.T @ gram @ basis
    factor = jnp.linalg.cholesky(noise + gram)
    whitened = solve_triangular(factor, y, lower=True)
    misfit = 2 * jnp.sum(jnp.log(jnp.diagonal(factor))) + jnp.sum(whitened**2)
    return jnp.sum(widths * (jnp.expm1(q) - q)) + misfit
