"""Patches: the theory `convolutional`, f | Q ~ GP(0, Σ_ij Q_ij K_ij/n) with Q (n × n).

Q is symmetric and positive, and minimises

    S(Q) = N_1 (Tr Q − dim Q − log det Q) + log det A + yᵀA⁻¹y,   A = T I + K_R(Q) + (read-out bias)

(Aiudi et al., arXiv:2307.11807), found by `saddles.matrix`. N_1 is the number of channels.
"""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.footprint import Needs
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require
from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.covariance import Arrays, Lambdas, of_kernel
from langevin_nn.theory.effective.common import (
    about_the_mean,
    in_range,
    misfit_curvature,
    scale_action,
)
from langevin_nn.theory.ensemble import gram_regression
from langevin_nn.theory.kernels.layers import feature_gram
from langevin_nn.theory.kernels.nngp import GramBlocks, gram_blocks, probe_inputs
from langevin_nn.theory.kernels.patch_pairs import patch_diagonal, patch_gram
from langevin_nn.theory.regression.factorise import decompose
from langevin_nn.theory.regression.moments import (
    gaussian_evidence,
    generalisation,
    joined,
    moments_at_scale,
    not_found,
)
from langevin_nn.theory.saddles.matrix import PatchAction, matrix_of, rows_of, starting_scales
from langevin_nn.theory.saddles.newton import lowest
from langevin_nn.types import EnsembleSpec, Generalisation

__all__ = ["THEORY", "convolutional"]

_domain = partial(require, "convolutional", depth=1, convolutional=True)


def convolutional(ensemble: Ensemble) -> Generalisation:
    """One convolutional layer: the Gaussian process with Σ_ij Q*_ij K_ij/n, Q* minimising S(Q).

    S = N_1 (Tr Q − n − log det Q) + log det A + yᵀA⁻¹y, A = T I + Σ_ij Q_ij K_ij/n (P, P), y (P,).
    K_ij (P, P) are the Gram matrices of pairs of patches (`patch_pairs.patch_gram`): finite width
    couples patches i ≠ j that the prior average Σ_i K_ii/n does not (local kernel renormalisation;
    Aiudi et al., arXiv:2307.11807). The order parameters are the rows of Q* (n × n); with one patch
    that is the whole input it is `one_layer`. Memory grows as n²P(P + P_test). It is derived for
    odd σ.

    Arguments and errors as for `infinite_width`; a convolutional layer and one output, or
    NotApplicable.

    >>> data = Dataset("two images", np.eye(4)[:2], np.array([2.0, -2.0]), np.eye(4), np.ones(4))
    >>> patches = Patches((2, 2, 1), size=1, stride=1)
    >>> spec = EnsembleSpec(
    ...     4, (10,), identity, (1.0, 1.0), temperature=0.1, architecture="Convolutional",
    ...     patches=patches,
    ... )
    >>> result = convolutional(Ensemble(spec, data))
    >>> np.array(result.order_parameters).shape, result.converged
    ((4, 4), True)
    """
    return THEORY(ensemble)


def _solve(ensemble: Ensemble) -> Solution:
    (width,) = _domain(ensemble)
    spec, data, regression = ensemble.spec, ensemble.data, gram_regression(ensemble)
    pairs = patch_gram(spec, data.x_train)
    targets, noise, basis, constant = in_range(ensemble)
    range_pairs = pairs if basis is None else basis.T @ pairs @ basis
    action = PatchAction(width, range_pairs, targets, noise)
    along, _ = scale_action(spec, regression, (width * len(pairs),))
    minimum = lowest([action.minimum(scale) for scale in starting_scales(along)])
    if not np.all(np.isfinite(minimum.point)):
        return Solution(not_found("convolutional", data, minimum.message))
    order = matrix_of(minimum.point)
    weights = order / len(pairs)
    renormalised = decompose(_renormalised(ensemble, weights, pairs), data.y_train)
    evidence = gaussian_evidence(minimum.action + constant, data.num_train)
    curvature = width * float(np.trace(order)) + misfit_curvature(spec, renormalised)
    moments = moments_at_scale(renormalised, spec.temperature, 1.0, evidence, curvature)
    message = joined(minimum.message, about_the_mean(spec))
    return Solution(
        generalisation("convolutional", data, moments, rows_of(order), minimum.converged, message),
        partial(of_kernel, _Kernel, ensemble, rows_of(order)),
    )


def _renormalised(
    ensemble: Ensemble,
    weights: Float[np.ndarray, "n n"],
    pairs: Float[np.ndarray, "n n P P"],
) -> GramBlocks:
    """The blocks of Σ_ij w_ij K_ij, with the probes and columns of the sum that w = 1/n makes."""
    spec, data = ensemble.spec, ensemble.data

    def at(
        x: Float[np.ndarray, "m N_0"],
    ) -> tuple[Float[np.ndarray, "m P"], Float[np.ndarray, " m"]]:
        return (
            np.einsum("ij,ijpq->pq", weights, patch_gram(spec, x, data.x_train)),
            np.einsum("ij,ijp->p", weights, patch_diagonal(spec, x)),
        )

    prior = gram_blocks(ensemble)
    cross, diagonal = at(data.x_test)
    return replace(
        prior,
        train=np.einsum("ij,ijpq->pq", weights, pairs),
        cross=cross,
        test_diagonal=diagonal,
        probe=lambda: at(probe_inputs(data.x_train)),
        uncertainty=float(np.sum(np.abs(weights))) * prior.uncertainty,
        factors=None,
    )


@dataclass(frozen=True)
class _Kernel:
    """Σ_ij Q_ij K_ij/n, one pair of patches after the other."""

    skeleton: EnsembleSpec

    def __call__(self, prior_precisions: Lambdas, arrays: Arrays) -> Float[Array, "P P"]:
        (precisions, biases), (train, orders) = prior_precisions, arrays
        n, num_train = train.shape[:2]

        def add(total: Array, pair: tuple[Array, Array, Array]) -> tuple[Array, None]:
            row, column, weight = pair
            gram = feature_gram(
                self.skeleton, train[row][None], train[column][None], precisions=precisions,
                bias_precisions=biases,
            )  # fmt: skip
            return total + weight * gram, None

        rows, columns = (jnp.asarray(index.ravel()) for index in np.indices((n, n)))
        zero = jnp.zeros((num_train, num_train))
        return jax.lax.scan(add, zero, (rows, columns, jnp.ravel(orders / n)))[0]


THEORY = Theory(
    "convolutional",
    _solve,
    summary="One convolutional layer: a matrix of scales over patches, at its saddle point.",
    style={"color": "#0072B2", "linestyle": "-", "marker": "o"},
    domain=_domain,
    is_first=True,
    needs=Needs(per_pair=7.0, programs=30e6),
)
