"""What is a rounding error in the eigenvalues and eigenvectors of a Gram matrix, in float64."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from langevin_nn.data.dataset import as_finite_numbers, as_numbers
from langevin_nn.types import InputError
from langevin_nn.values import shown

__all__ = [
    "CROSS_ROUNDINGS",
    "EPSILON",
    "as_scales",
    "has_lost",
    "is_beyond_float64",
    "mixing",
    "null_directions",
    "require_scale",
    "resolution_of",
    "rounding_of",
    "settle",
]

EPSILON = float(np.finfo(np.float64).eps)
_FEWEST_ROUNDINGS = 20  # in units of ε e_max: about 3 were found for P = 3 to 200 repeated inputs
CROSS_ROUNDINGS = 10  # about 2.5 were found for repeated inputs and linear networks, P = 6 to 600
_LARGEST_EIGENVALUE = 1e100  # whose square and cube float64 holds with those of 1/T
_CLEARANCE = 1e3  # in units of the resolution: eigenvectors are known to a thousandth


def resolution_of(size: int) -> float:
    """P ε, 20 ε at least: what is a rounding error, in units of the largest eigenvalue.

    >>> round(resolution_of(1000) / resolution_of(1))
    50
    """
    return max(size, _FEWEST_ROUNDINGS) * EPSILON


def rounding_of(eigenvalues: Float[np.ndarray, " P"], uncertainty: float = 0.0) -> float:
    """The spectral norm of the error of a kernel matrix with these eigenvalues, ascending.

    3 ε e_max, or more where rounding has made an eigenvalue more negative, or an entry more
    uncertain: independent errors of the entries have √P times the norm of one.

    >>> rounding_of(np.array([-1e-15, 1.0])), rounding_of(np.ones(4), uncertainty=1e-9)
    (1e-15, 2e-09)
    """
    own = max(3 * EPSILON * float(eigenvalues[-1]), -float(eigenvalues[0]))
    return max(own, uncertainty * float(np.sqrt(eigenvalues.size)))


def null_directions(
    eigenvalues: Float[np.ndarray, " P"], cross: Float[np.ndarray, "P_test P"]
) -> Bool[np.ndarray, " P"]:
    """The directions in which K(X, X) and K(X_test, X) both vanish to rounding.

    The first where its eigenvalue is up to the resolution P ε e_max (20 ε e_max at least), or up to
    the size |e_0| of the most negative one where that is larger. The second where no |G_xi| is
    above 10 (δ |G_x/e| + δ/e_max |G_x|), δ = max(ε e_max, |e_0|): the first term is the part of G_x
    that the rounding of K mixes into direction i, from those with eigenvalues far above the
    resolution. (What it mixes among the others cancels in sums over them, at any T above them.)

    >>> null_directions(np.array([0.0, 1.0]), np.array([[1e-16, 1.0]]))
    array([ True, False])
    >>> null_directions(np.array([0.0, 1.0]), np.array([[1e-9, 1.0]]))  # inputs at that distance
    array([False, False])
    """
    largest = eigenvalues[-1]
    resolution = _resolution(eigenvalues)
    null = eigenvalues <= resolution
    if not np.any(null) or largest <= 0:
        return null
    rounding = max(EPSILON * largest, -eigenvalues[0])
    large = eigenvalues > _CLEARANCE * resolution
    mixed = np.linalg.norm(cross[:, large] / eigenvalues[large], axis=1)
    size = rounding * mixed + rounding / largest * np.linalg.norm(cross, axis=1)
    null[null] = np.all(np.abs(cross[:, null]) <= CROSS_ROUNDINGS * size[:, None], axis=0)
    return null


def mixing(
    rounding: float, eigenvalues: Float[np.ndarray, " r"], cross: Float[np.ndarray, "P_test r"]
) -> Float[np.ndarray, " r"]:
    """φ_i, the part of null directions that the rounding |E| of K mixes into each of the others.

    |E|/e_i, but no more than leaves the null directions unseen by every test point.

    >>> (1e15 * mixing(1e-15, np.array([1e-9, 1.0]), np.array([[1e-2, 1.0]]))).round()
    array([222.,   1.])
    """
    unseen = CROSS_ROUNDINGS * EPSILON * np.max(np.linalg.norm(cross, axis=1), initial=0.0)
    largest = np.max(np.abs(cross), axis=0, initial=0.0)
    hidden = np.divide(unseen, largest, out=np.ones_like(largest), where=largest > unseen)
    with np.errstate(divide="ignore"):
        return np.minimum(rounding / eigenvalues, hidden)


def require_scale(eigenvalues: Float[np.ndarray, " P"], temperature: float = 1.0) -> None:
    """Raise `InputError` for eigenvalues too far from 1 for float64 (`is_beyond_float64`).

    >>> require_scale(np.array([1e-200, 1e200]))
    Traceback (most recent call last):
    langevin_nn.errors.InputError: the Gram matrix has entries up to 1e+200, too far from 1 for float64 at T = 1: give larger prior precisions, or scale the inputs
    """  # noqa: E501
    largest = float(np.max(eigenvalues, initial=0.0))
    if is_beyond_float64(eigenvalues, temperature):
        advice = "larger" if largest > 1 else "smaller"
        raise InputError(
            f"the Gram matrix has entries up to {largest:.3g}, too far from 1 for float64 at T = "
            f"{temperature:.3g}: give {advice} prior precisions, or scale the inputs"
        )


def is_beyond_float64(eigenvalues: Float[np.ndarray, " P"], temperature: float) -> bool:
    """Whether squares and cubes of eigenvalues, or of 1/(T + e), leave float64; not where K = 0.

    >>> is_beyond_float64(np.array([1e-200]), 1.0), is_beyond_float64(np.array([1e-200]), 1e-150)
    (False, True)
    """
    largest = float(np.max(eigenvalues, initial=0.0))
    small = 0 < largest and max(largest, temperature) < 1 / _LARGEST_EIGENVALUE
    return largest > _LARGEST_EIGENVALUE or small


def has_lost(eigenvalues: Float[np.ndarray, " P"]) -> bool:
    """Whether some eigenvalue is a rounding error.

    >>> has_lost(np.array([1e-17, 1.0])), has_lost(np.array([1e-3, 1.0]))
    (True, False)
    """
    return bool(eigenvalues[0] <= _resolution(eigenvalues))


def settle(
    eigenvalues: Float[np.ndarray, " P"],
    cross: Float[np.ndarray, "n P"],
    diagonal: Float[np.ndarray, " n"],
    num_null: int | None = None,
) -> Bool[np.ndarray, " P"]:
    """The null directions, with what rounding made of the eigenvalues put right, in place.

    Null directions have 0. In others e_i ≥ G_xi²/K(x, x), as K over x and X has no negative
    eigenvalue: where rounding made e_i smaller, the largest of these stands for it.

    Args:
        eigenvalues: of K(X, X), ascending.
        cross: G, K between other points x and the eigenvectors.
        diagonal: K(x, x).
        num_null: the number of null directions, where it is known; else `null_directions` looks.

    >>> eigenvalues = np.array([-1e-17, 1.0])
    >>> settle(eigenvalues, np.array([[1e-9, 1.0]]), np.ones(1)), eigenvalues
    (array([False, False]), array([1.e-18, 1.e+00]))
    """
    if num_null is None:
        null = null_directions(eigenvalues, cross)
    else:
        null = np.arange(eigenvalues.size) < num_null
    lost, positive = ~null & (eigenvalues <= _resolution(eigenvalues)), diagonal > 0
    if np.any(lost):
        lower_bounds = np.square(cross[positive][:, lost]) / diagonal[positive, None]
        largest = np.max(
            lower_bounds, axis=0, initial=EPSILON**2 * max(float(eigenvalues[-1]), 0.0)
        )
        eigenvalues[lost] = np.maximum(eigenvalues[lost], largest)
    eigenvalues[null] = 0.0
    return null


def _resolution(eigenvalues: Float[np.ndarray, " P"]) -> float:
    """The eigenvalue up to which all is rounding: P ε e_max, or −e_0 where that is larger."""
    return max(resolution_of(eigenvalues.size) * float(eigenvalues[-1]), -float(eigenvalues[0]))


def as_scales(temperature: Any, scale: Any = 1.0) -> tuple[Any, Any]:
    """T ≥ 0 and Q > 0, as arrays of one length where either is one; `InputError` for others.

    Q is NaN where an action has no minimum that is known.

    >>> as_scales(np.array([0.1, 0.2]), 1.0)
    (array([0.1, 0.2]), array([1., 1.]))
    """
    temperatures, scales = as_finite_numbers("temperature", temperature), as_numbers("scale", scale)
    lengths = {array.shape for array in (temperatures, scales) if array.ndim}
    if len(lengths) > 1 or max(temperatures.ndim, scales.ndim) > 1:
        raise InputError(
            "temperature and scale are numbers, or rows of one length, got arrays of shape "
            f"{temperatures.shape} and {scales.shape}"
        )
    if np.any(temperatures < 0) or np.any(scales <= 0) or isinstance(scale, bool):
        raise InputError(
            "temperature must not be negative and scale must be positive, got "
            f"{shown(temperature)} and {shown(scale)}"
        )
    if temperatures.ndim > scales.ndim:
        scales = np.full(temperatures.shape, scales)
    return temperatures[()], scales[()]
