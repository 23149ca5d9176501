"""Fields and matrices of several outputs: flat vectors and blocks, one output after the other.

With D outputs a field a has P D numbers, a_d (P,) for each output, a matrix D × D blocks (P, P).
"""

from collections.abc import Callable

import numpy as np
import scipy.linalg
from jaxtyping import Float

__all__ = ["flat", "in_blocks", "repeated", "solved_by", "unflat"]


def flat(array: Float[np.ndarray, " P *D"]) -> Float[np.ndarray, " n"]:
    """One output after the other.

    >>> flat(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([1., 3., 2., 4.])
    """
    return array if array.ndim == 1 else array.T.reshape(-1)


def unflat(array: Float[np.ndarray, " n"], shape: tuple[int, ...]) -> Float[np.ndarray, " P *D"]:
    """The numbers of `flat` in the shape (P,) or (P, D).

    >>> unflat(np.array([1.0, 3.0, 2.0, 4.0]), (2, 2))
    array([[1., 2.],
           [3., 4.]])
    """
    return array if len(shape) == 1 else array.reshape(shape[1], -1).T


def in_blocks(
    num_outputs: int, block: Callable[[int, int], Float[np.ndarray, "rows columns"]]
) -> Float[np.ndarray, "all_rows all_columns"]:
    """The matrix of these blocks, of which those below the diagonal are those above it.

    >>> in_blocks(2, lambda i, j: np.full((1, 2), 10.0 * i + j))
    array([[ 0.,  0.,  1.,  1.],
           [ 1.,  1., 11., 11.]])
    """
    pairs = {(i, j): block(i, j) for i in range(num_outputs) for j in range(i, num_outputs)}
    return np.block(
        [[pairs[min(i, j), max(i, j)] for j in range(num_outputs)] for i in range(num_outputs)]
    )


def repeated(
    matrix: Float[np.ndarray, "rows columns"], num_outputs: int
) -> Float[np.ndarray, "all_rows all_columns"]:
    """The same block for each output, and none between two of them.

    >>> repeated(np.ones((1, 1)), 2)
    array([[1., 0.],
           [0., 1.]])
    """
    blocks: np.ndarray = np.kron(np.eye(num_outputs), matrix)
    return blocks


def solved_by(
    factor: Float[np.ndarray, "k k"], flat: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    """(L Lᵀ)⁻¹ of each part of an array that has the size of L.

    >>> solved_by(2 * np.eye(1), np.array([4.0, 8.0]))
    array([1., 2.])
    """
    parts = flat.reshape(-1, len(factor)).T
    solved: np.ndarray = scipy.linalg.cho_solve((factor, True), parts).T.reshape(-1)
    return solved
