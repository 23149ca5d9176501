"""Fields and matrices of several outputs: flat vectors and blocks, one output after the other.

With D outputs a field a has P D numbers, a_d (P,) for each output, a matrix D × D blocks (P, P).
"""

from collections.abc import Callable

import numpy as np
import scipy.linalg
from jaxtyping import Float

from langevin_nn.theory.features.units import Units

__all__ = [
    "flat", "in_blocks", "outputs_of", "power_along", "quadratic_form", "repeated", "solved_by",
    "unflat",
]  # fmt: skip


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


def outputs_of(units: Units, a: Float[np.ndarray, " m"]) -> Float[np.ndarray, "n D"]:
    """u_d = φᵀa_d of each unit, for the D fields a.

    >>> from langevin_nn.model.ensemble import Ensemble
    >>> from langevin_nn.theory.features.units import draw_units
    >>> spec = EnsembleSpec(2, (9,), erf, (1.0, 1.0), 0.5)
    >>> units = draw_units(Ensemble(spec, two_points(1.0, 0.0)), 64)
    >>> outputs_of(units, np.array([1.0, 0.0, 2.0, 0.0])).shape
    (64, 2)
    """
    fields = np.split(a, len(a) // units.features.shape[1])
    return np.stack([units.features @ field for field in fields], axis=1)


def power_along(units: Units, a: Float[np.ndarray, " m"]) -> Float[np.ndarray, "D D"]:
    """a_dᵀK a_e of the fields of D outputs.

    >>> from langevin_nn.model.ensemble import Ensemble
    >>> from langevin_nn.theory.features.units import draw_units
    >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=0.1)  # K = I
    >>> units = draw_units(Ensemble(spec, two_points(1.0, 0.0)), 64)
    >>> power_along(units, np.array([1.0, 0.0, 1.0, 2.0])).round(9)
    array([[1., 1.],
           [1., 5.]])
    """
    fields = np.split(a, len(a) // len(units.gram))
    return np.array([[one @ units.gram @ other for other in fields] for one in fields])


def quadratic_form(units: Units, factor: Float[np.ndarray, "m m"]) -> Float[np.ndarray, "n k k"]:
    """φᵀB_deφ of each unit, B = (L Lᵀ)⁻¹ of k × k blocks (P, P), for the lower triangular L.

    L is the `factor`, of one block or of as many as there are outputs.

    >>> from langevin_nn.model.ensemble import Ensemble
    >>> from langevin_nn.theory.features.units import draw_units
    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=0.1)
    >>> units = draw_units(Ensemble(spec, data), 64)
    >>> form = quadratic_form(units, 2 * np.eye(2))
    >>> bool(np.allclose(form[:, 0, 0], np.sum(units.features**2, axis=1) / 4))
    True
    """
    size = units.features.shape[1]
    num = len(factor) // size
    form = np.empty((units.num_units, num, num))
    for block in units.blocks():
        phi, solved = units.features[block].T, []
        for start in range(0, num * size, size):  # L⁻¹ of φ in this block alone, 0 above it
            below = np.zeros((len(factor) - start, phi.shape[1]))
            below[:size] = phi
            solved.append(
                scipy.linalg.solve_triangular(
                    factor[start:, start:], below, lower=True, check_finite=False
                )
            )
        for i in range(num):
            for j in range(i, num):
                common = solved[i][(j - i) * size :] * solved[j]
                form[block, i, j] = form[block, j, i] = np.sum(common, axis=0)
    return form
