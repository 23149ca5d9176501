"""Actions of a matrix of order parameters, with exact gradients and Hessian products.

    S(Q) = N_1 (Tr Q − dim Q − log det Q) + log det A(Q) + yᵀA(Q)⁻¹y

Q = C Cᵀ with C lower triangular and positive on the diagonal, so that every real vector x (the
entries of C, those on the diagonal by their logarithm) is a Q.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from langevin_nn.theory.saddles.newton import SaddleMinimum, minimum_by_products
from langevin_nn.theory.saddles.scale import ScaleAction, minima

__all__ = ["OutputAction", "PatchAction", "matrix_of"]

Matrix = Float[np.ndarray, "D D"]
Vector = Float[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class OutputAction:
    """The action of A = Q ⊗ K + (T + V Vᵀ) ⊗ 1 for D outputs, K diagonal with the eigenvalues e.

    In the eigenbasis of Q, with eigenvalues κ_j, A falls into A_j = T + κ_j K + V Vᵀ, and with
    a_j = A_j⁻¹ỹ_j the derivatives of log det A + yᵀA⁻¹y in Q_jk, and of these along Q̇, are

        δ_jk Tr A_j⁻¹K − a_jᵀK a_k,
        −Q̇_jk Tr A_j⁻¹K A_k⁻¹K + z_jᵀK a_k + a_jᵀK z_k,   z_j = A_j⁻¹K Σ_l Q̇_jl a_l.

    Args:
        width: N_1.
        temperature: T.
        eigenvalues: e, shape (P,).
        projected_targets: ỹ, shape (P, D).
        projected_columns: V in the eigenbasis, shape (P, r).

    With K = 1 and T = 0, ∂S/∂Q = 0 is N_1 (1 − Q⁻¹) + P Q⁻¹ − Q⁻¹ YᵀY Q⁻¹ = 0:

    >>> targets = np.array([[2.0, 0.0], [0.0, 1.0]])
    >>> action = OutputAction(4, 0.0, np.ones(2), targets, np.zeros((2, 0)))
    >>> q = matrix_of(action.minimum(1.0).point)
    >>> (4 * q @ q - 2 * q).round(9)  # YᵀY
    array([[4., 0.],
           [0., 1.]])
    """

    width: int
    temperature: float
    eigenvalues: Float[np.ndarray, " P"]
    projected_targets: Float[np.ndarray, "P D"]
    projected_columns: Float[np.ndarray, "P r"]

    def minimum(self, scale: float) -> SaddleMinimum:
        """The minimum that Newton's method reaches from `scale` times the identity."""
        last: dict[bytes, _AtMatrix] = {}

        def at(x: np.ndarray) -> _AtMatrix:
            if x.tobytes() not in last:
                last.clear()
                last[x.tobytes()] = self._at(matrix_of(x))
            return last[x.tobytes()]

        start = _vector_of(scale * np.eye(self.projected_targets.shape[1]))
        return minimum_by_products(
            lambda x: (at(x).value, _in_vector(x, at(x).gradient)),
            lambda x, p: _product_in_vector(x, p, at(x)),
            start,
        )

    def _at(self, order: Matrix) -> "_AtMatrix":
        scales, rotation = np.linalg.eigh(order)
        e, columns = self.eigenvalues, self.projected_columns
        targets = self.projected_targets @ rotation
        inverse = 1 / (self.temperature + np.multiply.outer(e, scales))  # (P, D)
        weighted = np.einsum("pr,pd->drp", columns, inverse)
        core = np.eye(columns.shape[1]) + np.einsum("pr,dsp->drs", columns, weighted)
        # A_j⁻¹ = (T + κ_j e)⁻¹ − R_jᵀR_j
        root = np.linalg.solve(np.linalg.cholesky(core), weighted)

        def solve(b: np.ndarray) -> np.ndarray:
            """A_j⁻¹b_j for the columns b_j of b."""
            return inverse * b - np.einsum("drp,drq,qd->pd", root, root, b, optimize=True)

        fit = solve(targets)
        pulled = e[:, None] * fit
        crossed = np.einsum("drp,p,kp->dk", root**2, e**2, inverse.T)
        both = np.einsum("drp,p,ksp->dkrs", root, e, root)
        traces = e @ inverse - np.einsum("drp,p->d", root**2, e)
        squares = (inverse * e[:, None]).T @ (inverse * e[:, None]) - crossed - crossed.T
        squares += np.sum(both**2, axis=(2, 3))
        width, size = self.width, scales.size
        gradient = np.diag(width * (1 - 1 / scales) + traces) - fit.T @ pulled
        logs = np.sum(np.log(inverse)) - np.sum(np.linalg.slogdet(core)[1])
        value = width * (np.sum(scales) - size - np.sum(np.log(scales)))
        value += np.sum(targets * fit) - logs

        def product(direction: np.ndarray) -> np.ndarray:
            along = rotation.T @ direction @ rotation
            moved = solve(pulled @ along).T @ pulled
            bent = (width / np.multiply.outer(scales, scales) - squares) * along
            return rotation @ (bent + moved + moved.T) @ rotation.T

        return _AtMatrix(float(value), rotation @ gradient @ rotation.T, product)


@dataclass(frozen=True, eq=False)
class PatchAction:
    """The action of A = Σ_ij Q_ij K_ij/n + noise, for the Gram matrices of all pairs of n patches.

    Args:
        width: the number of channels.
        pairs: K_ij, shape (n, n, P, P).
        targets: y, shape (P,).
        noise: T I and what Q does not scale, shape (P, P).

    One patch with K = I and T = 0 is one layer: Q = [(1 − α) + √((1 − α)² + 4 α s)]/2.

    >>> pair = np.eye(2)[None, None]
    >>> action = PatchAction(4, pair, np.full(2, 2.0), 1e-12 * np.eye(2))  # α = ½, s = 4
    >>> print(f"{matrix_of(action.minimum(1.0).point)[0, 0]:.9f}")
    1.686140662
    """

    width: int
    pairs: Float[np.ndarray, "n n P P"]
    targets: Float[np.ndarray, " P"]
    noise: Float[np.ndarray, "P P"]

    def minimum(self, scale: float) -> SaddleMinimum:
        """The minimum that Newton's method reaches from `scale` times the identity."""
        numbers = (float(self.width), self.pairs, self.targets, self.noise)
        arrays = tuple(map(jnp.asarray, numbers))
        size = len(self.pairs)

        def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = _patch_gradient(jnp.asarray(x), arrays, size)
            return float(value), np.asarray(gradient)

        def product(x: np.ndarray, p: np.ndarray) -> np.ndarray:
            return np.asarray(_patch_product(jnp.asarray(x), jnp.asarray(p), arrays, size))

        start = _vector_of(scale * np.eye(size))
        return minimum_by_products(value_and_gradient, product, start)


def matrix_of(x: Vector) -> Matrix:
    """Q = C Cᵀ of the vector x, the lower triangle of C with its diagonal by logarithms.

    >>> matrix_of(np.array([np.log(2.0), 1.0, 0.0]))  # C = [[2, 0], [1, 1]]
    array([[4., 2.],
           [2., 2.]])
    """
    lower = _lower(x)
    return lower @ lower.T


def _vector_of(order: Matrix) -> Vector:
    """The vector x of a positive definite Q, of which `matrix_of` makes Q again."""
    lower = np.linalg.cholesky(order)
    np.fill_diagonal(lower, np.log(np.diagonal(lower)))
    return lower[np.tril_indices(len(order))]


class _AtMatrix(NamedTuple):
    """S, ∂S/∂Q, and the derivative of ∂S/∂Q along a symmetric matrix."""

    value: float
    gradient: Matrix
    product: Callable[[Matrix], Matrix]


def _lower(x: Vector) -> Matrix:
    """The lower triangular C of the vector x."""
    size = int(np.sqrt(2 * x.size))
    lower = np.zeros((size, size))
    lower[np.tril_indices(size)] = x
    np.fill_diagonal(lower, np.exp(np.diagonal(lower)))
    return lower


def _in_vector(x: Vector, gradient: Matrix) -> Vector:
    """∂S/∂x from ∂S/∂Q: 2 (∂S/∂Q) C, times C_dd on the diagonal."""
    lower = _lower(x)
    return _packed(2 * gradient @ lower, lower)


def _product_in_vector(x: Vector, p: Vector, at: _AtMatrix) -> Vector:
    """(∂²S/∂x²) p, from ∂S/∂Q and its derivative along a matrix."""
    lower = _lower(x)
    size = len(lower)
    moved = np.zeros((size, size))
    moved[np.tril_indices(size)] = p
    logs = np.diagonal(moved).copy()
    np.fill_diagonal(moved, logs * np.diagonal(lower))
    change = moved @ lower.T
    slope = at.gradient @ lower
    bent = 2 * (at.product(change + change.T) @ lower + at.gradient @ moved)
    bent += np.diag(2 * np.diagonal(slope) * logs)
    return _packed(bent, lower)


def _packed(matrix: Matrix, lower: Matrix) -> Vector:
    """The lower triangle of a matrix as a vector, its diagonal times that of C."""
    scaled = matrix.copy()
    np.fill_diagonal(scaled, np.diagonal(matrix) * np.diagonal(lower))
    return scaled[np.tril_indices(len(matrix))]


def _patch_action(x: Float[Array, " n"], arrays: Any, size: int) -> Float[Array, ""]:
    width, pairs, y, noise = arrays
    rows, columns = np.tril_indices(size)
    lower = jnp.zeros((size, size)).at[rows, columns].set(x)
    logs = jnp.diagonal(lower)
    lower = lower - jnp.diag(logs) + jnp.diag(jnp.exp(logs))
    order = lower @ lower.T
    prior = jnp.trace(order) - size - 2 * jnp.sum(logs)
    factor = jnp.linalg.cholesky(noise + jnp.einsum("ij,ijpq->pq", order, pairs) / size)
    whitened = solve_triangular(factor, y, lower=True)
    return width * prior + 2 * jnp.sum(jnp.log(jnp.diagonal(factor))) + jnp.sum(whitened**2)


@partial(jax.jit, static_argnames=("size",))
def _patch_gradient(
    x: Float[Array, " n"], arrays: Any, size: int
) -> tuple[Float[Array, ""], Float[Array, " n"]]:
    return jax.value_and_grad(_patch_action)(x, arrays, size)


@partial(jax.jit, static_argnames=("size",))
def _patch_product(
    x: Float[Array, " n"], p: Float[Array, " n"], arrays: Any, size: int
) -> Float[Array, " n"]:
    return jax.jvp(lambda x: jax.grad(_patch_action)(x, arrays, size), (x,), (p,))[1]


def starting_scales(along: ScaleAction) -> list[float]:
    """The multiples of Q = 1 from which to look for minima: the minima of S along them.

    >>> starting_scales(ScaleAction((4,), 1.0, np.zeros(2), np.zeros(2)))  # no data: Q = 1
    [1.0]
    """
    return [saddle.value for saddle in minima(along)] or [1.0]


def rows_of(order: Float[np.ndarray, "D D"]) -> tuple[tuple[float, ...], ...]:
    """The rows of a matrix as tuples of Python's numbers, which results have.

    >>> rows_of(np.eye(2))
    ((1.0, 0.0), (0.0, 1.0))
    """
    return tuple(tuple(map(float, row)) for row in order)
