"""The one place that factorises a Gram matrix: by its eigenvalues, or by those of its factor.

The eigenvalues e_i of K = U diag(e) Uᵀ are right to ε e_max. Where K = F Fᵀ with a factor F that is
known, as of linear networks (`kernels.linear`), F = U S Vᵀ has them as squares of its singular
values, right to ε √(e_i e_max), and K(x, X) U = F_x V S. So what pixels, or inputs of a large mean,
say at a low temperature is not lost.
"""

import numpy as np
from jaxtyping import Bool, Float

from langevin_nn.theory.kernels.nngp import GramBlocks
from langevin_nn.theory.regression.eigenbasis import Regression
from langevin_nn.theory.regression.rounding import (
    EPSILON,
    has_lost,
    require_scale,
    resolution_of,
    settle,
)
from langevin_nn.types import InputError

__all__ = ["decompose"]

_NEGATIVE_TOLERANCE = 1e-6  # of the largest eigenvalue: more than any quadrature error


def decompose(
    blocks: GramBlocks,
    targets: Float[np.ndarray, " P *D"],
    num_null: int | None = None,
) -> Regression:
    """Factorise K(X, X) once, O(P³) time, and project the targets and the cross block on it.

    In the `null_directions` of K the eigenvalue and the columns of the projected cross block and of
    V are set to zero (`rounding.settle`).

    Args:
        blocks: the Gram matrix over training and test inputs.
        targets: y, shape (P,) or (P, D).
        num_null: the number of null directions, where it is known; else `null_directions` looks.

    Raises:
        InputError: NaN or infinity in the Gram matrix, numbers whose squares are infinite, or one
            that is not positive semi-definite.

    >>> blocks = GramBlocks(2 * np.eye(2), cross=np.ones((1, 2)), test_diagonal=np.ones(1))
    >>> regression = decompose(blocks, np.array([3.0, 1.0]))
    >>> regression.mean(temperature=2.0), regression.variance(temperature=2.0)
    (array([1.]), array([0.5]))
    >>> regression.criterion()
    2.5
    """
    blocks.require_finite()
    require_scale(blocks.train.diagonal())
    if blocks.factors is not None:
        return _of_factors(blocks, *blocks.factors, targets)
    eigenvalues, eigenvectors = np.linalg.eigh(blocks.train)
    if eigenvalues[0] < -_NEGATIVE_TOLERANCE * abs(eigenvalues[-1]):
        raise InputError(
            f"the Gram matrix is not positive semi-definite (eigenvalues from {eigenvalues[0]:.3g} "
            f"to {eigenvalues[-1]:.3g}): its activation's dual is not that of any function"
        )
    cross, columns = blocks.cross @ eigenvectors, eigenvectors.T @ blocks.train_columns
    indefinite = max(-float(eigenvalues[0]), blocks.uncertainty * np.sqrt(eigenvalues.size), 0.0)
    probed = num_null is None and has_lost(eigenvalues)
    points, diagonal = blocks.with_probes() if probed else (blocks.cross, blocks.test_diagonal)
    null = settle(eigenvalues, points @ eigenvectors, diagonal, num_null)
    cross[:, null] = 0.0
    _vanish(columns, null)
    return Regression(
        eigenvalues=eigenvalues,
        eigenvectors=eigenvectors,
        projected_targets=eigenvectors.T @ targets,
        projected_cross=cross,
        test_diagonal=blocks.test_diagonal,
        projected_columns=columns,
        test_columns=blocks.test_columns,
        indefinite=indefinite,
    )


def _of_factors(
    blocks: GramBlocks,
    factor: Float[np.ndarray, "P m"],
    test_factor: Float[np.ndarray, "P_test m"],
    targets: Float[np.ndarray, " P *D"],
) -> Regression:
    """The decomposed K = F Fᵀ from F = U S Vᵀ; the directions that F does not have come first."""
    num_train, rank = len(factor), min(factor.shape)
    left, values, right = np.linalg.svd(factor, full_matrices=rank < num_train)
    right = right[:rank]
    is_nonzero = values > max(factor.shape) * EPSILON * np.max(values, initial=0.0)
    values = np.where(is_nonzero, values, 0.0)
    eigenvalues, cross = np.zeros(num_train), np.zeros((len(test_factor), num_train))
    eigenvalues[num_train - rank :] = values[::-1] ** 2
    cross[:, num_train - rank :] = (test_factor @ right.T * values)[:, ::-1]
    right = right[is_nonzero]
    eigenvectors = np.ascontiguousarray(left[:, ::-1])
    columns = eigenvectors.T @ blocks.train_columns
    _vanish(columns, eigenvalues == 0)
    return Regression(
        eigenvalues=eigenvalues,
        eigenvectors=eigenvectors,
        projected_targets=eigenvectors.T @ targets,
        projected_cross=cross,
        test_diagonal=blocks.test_diagonal,
        projected_columns=columns,
        test_columns=blocks.test_columns,
        beyond=np.sum(np.square(test_factor - test_factor @ right.T @ right), axis=1),
    )


def _vanish(columns: Float[np.ndarray, "P r"], null: Bool[np.ndarray, " P"]) -> None:
    """Set to zero what rounding has left of the columns V in the null directions of K, in place."""
    threshold = np.sqrt(resolution_of(len(columns))) * np.linalg.norm(columns, axis=0)
    columns[null] = np.where(np.abs(columns[null]) <= threshold, 0.0, columns[null])
