"""Whether float64 resolves an answer: what the rounding of a Gram matrix may move it by.

To first order in an error E of A = T + Q K + V Vᵀ, with a = A⁻¹y, v = A⁻¹k(x) and b = (2TA⁻¹ − 1)a,

    mean      vᵀE a,          train error    (2T² aᵀA⁻¹E a + T² tr A⁻¹E A⁻¹)/P
    variance  vᵀE v,          −2 log p(y)    aᵀE a + tr A⁻¹E
    dS/dq     bᵀE a + T tr A⁻¹E A⁻¹,   q = log Q.

|uᵀE w| ≤ |E||u||w|, where |E| = 3 ε e_max. If K has a known factor F it is that which has an error,
D with |D| ≤ 3 ε √e_max, and E = D Fᵀ + F Dᵀ.

In null directions n of K nothing has an error, but the rounding mixes a part φ_i = |E|/e_i of them
into the others, and with it the noise |ỹ_n| of the targets into ỹ_i, which a T that is small
against e_i brings forth.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from langevin_nn.theory.regression.eigenbasis import Regression
from langevin_nn.theory.regression.rounding import EPSILON, is_beyond_float64, mixing
from langevin_nn.types import InputError

__all__ = [
    "RESOLVED", "UNSEEN", "Moves", "floor_of", "moves_of", "require_resolved",
    "require_resolved_action", "resolved_criteria",
]  # fmt: skip

RESOLVED = 0.01
"""The largest part of a number that rounding may move."""
UNSEEN = 1e-6
"""In units of the targets' square: variances and training errors below it may have rounding."""

_FACTOR_ROUNDINGS = 3  # ε √e_max that a factor is wrong by, as ε e_max of a Gram matrix


class Moves(NamedTuple):
    """By how much rounding may move each number at most, to first order; made by `moves_of`."""

    mean: Float[np.ndarray, "P_test D"]
    variance: Float[np.ndarray, " P_test"]
    slope: float  # dS/dq
    train_error: float
    misfit: float  # −2 log p(y)


def moves_of(regression: Regression, temperature: float, scale: float = 1.0) -> Moves:
    """What the rounding of K may move the numbers at T and Q by.

    >>> regression = decompose(GramBlocks(np.eye(1), np.ones((1, 1)), np.ones(1)), np.ones(1))
    >>> moves_of(regression, temperature=1.0).misfit / EPSILON  # 3 (¼ + ½)
    2.25
    """
    with np.errstate(all="ignore"):  # what overflows is not resolved
        return _moves(regression, temperature, scale)


class _Error(NamedTuple):
    """E in the eigenbasis of K: of the norm `whole`, or D Fᵀ + F Dᵀ with |D| = `of_factor`."""

    whole: float
    of_factor: float  # 0 where no factor is known
    roots: Float[np.ndarray, " r"]  # of the eigenvalues of Q K

    def between(
        self, left: Float[np.ndarray, " r *n"], right: Float[np.ndarray, " r *n"]
    ) -> Float[np.ndarray, " *n"]:
        """The largest |uᵀE w|, for each column u and w."""
        if not self.of_factor:
            return self.whole * _norms(left) * _norms(right)
        scaled = _norms(_scaled(self.roots, left)) * _norms(right)
        return self.of_factor * (scaled + _norms(left) * _norms(_scaled(self.roots, right)))

    def trace(self, weights: Float[np.ndarray, " r"]) -> float:
        """The largest tr W E, for the diagonal W of these weights."""
        if not self.of_factor:
            return float(self.whole * np.sum(weights))
        return float(2 * self.of_factor * np.sum(self.roots * weights))

    def mixing(self, cross: Float[np.ndarray, "P_test r"]) -> Float[np.ndarray, " r"]:
        """φ_i, the part of null directions that rounding mixes into each of the others."""
        if self.of_factor:
            return np.minimum(self.of_factor / self.roots, 1.0)
        return mixing(self.whole, self.roots**2, cross)


def _norms(vectors: Float[np.ndarray, " r *n"]) -> Float[np.ndarray, " *n"]:
    return np.linalg.norm(vectors, axis=0)


def _scaled(factors: Float[np.ndarray, " r"], columns: Float[np.ndarray, " r *n"]) -> np.ndarray:
    return (factors * columns.T).T


def _moves(regression: Regression, temperature: float, scale: float) -> Moves:
    in_range, noise = regression.in_range, np.float64(temperature)
    signal = scale * regression.eigenvalues[in_range]
    targets = regression.projected_targets.reshape(len(in_range), -1)
    along, solved_cross = regression.reach(temperature, scale)
    along = along.reshape(len(signal), targets.shape[1])
    resolvent, roots, reach = 1 / (noise + signal), np.sqrt(signal), _norms(solved_cross.T)
    is_factored = regression.beyond is not None
    of_factor = _FACTOR_ROUNDINGS * EPSILON * np.max(roots, initial=0.0) if is_factored else 0.0
    error = _Error(scale * regression.rounding, of_factor, roots)
    if regression.beyond is not None:  # w = F_x − vᵀF has the length of the deviation of f(x)
        inside = np.square(regression.projected_cross[:, in_range] / np.sqrt(signal / scale))
        deviation = scale * (regression.beyond + inside @ (noise * resolvent) ** 2)
        deviation = np.sqrt(deviation)
        mean = np.outer(deviation, _norms(along)) + np.outer(reach, _norms(_scaled(roots, along)))
        of_prior = EPSILON * np.sqrt(scale * regression.test_diagonal)
        mean, variance = (
            of_factor * mean,
            2 * (of_factor * reach + of_prior) * deviation + of_prior**2,
        )
    else:
        of_cross = scale * EPSILON * np.linalg.norm(regression.projected_cross, axis=1)
        mean = np.outer(error.whole * reach + of_cross, _norms(along))
        variance = error.whole * reach**2 + 2 * of_cross * reach
        variance += EPSILON * scale * regression.test_diagonal
    num_train, num_outputs = targets.shape
    share, squares = noise * resolvent, error.trace(resolvent**2)
    slope = (
        np.sum(error.between(_scaled(2 * share - 1, along), along)) + num_outputs * noise * squares
    )
    train = 2 * np.sum(error.between(_scaled(resolvent, along), along)) + num_outputs * squares
    train, misfit = noise**2 * train, np.sum(error.between(along, along))
    misfit = misfit + num_outputs * error.trace(resolvent)
    null_targets = _norms(targets[~in_range])
    if np.any(null_targets) and np.any(in_range):
        cross = scale * regression.projected_cross[:, in_range]
        mixed = error.mixing(cross)
        mean = mean + np.outer(np.linalg.norm(cross * mixed * resolvent, axis=1), null_targets)
        twice = 2 * _scaled(mixed, targets[in_range])
        slope += _norms(_scaled(signal * resolvent**2, twice)) @ null_targets
        train += _norms(_scaled(1 - share**2, twice)) @ null_targets
        misfit += _norms(_scaled(signal * resolvent, twice)) @ null_targets / noise
    return Moves(mean, variance, float(slope), float(train) / num_train, float(misfit))


def require_resolved(regression: Regression, temperature: float, scale: float = 1.0) -> None:
    """Raise `InputError` where the rounding of K in float64 decides what is predicted.

    Mean and variance may move by one per cent at any test point: the mean in units of the targets,
    or of itself where it is larger, the variance in units of itself, or of 1e-6 of the targets'
    square where it is smaller (`moments.as_resolved` says so).

    >>> near, seen = np.ones((2, 2)) + np.diag([0, 1e-14]), np.array([[0.0, 1e-7]])
    >>> regression = decompose(GramBlocks(near, seen, np.ones(1)), np.array([1.0, -1.0]))
    >>> require_resolved(regression, temperature=1e-3)
    >>> require_resolved(regression, temperature=0.0)
    Traceback (most recent call last):
    ...
    langevin_nn.errors.InputError: the temperature 0 is too low for this Gram matrix (eigenvalues up to 2) in float64: its rounding may move the mean by more than 1%. Give a higher temperature; if inputs are nearly equal, leave out all but one of them; if they are large, scale them
    """  # noqa: E501
    if not np.isfinite(scale):
        return
    moves = moves_of(regression, temperature, scale)
    mean = regression.mean(temperature, scale).reshape(moves.mean.shape)
    size = np.maximum(np.abs(mean), np.sqrt(np.mean(regression.projected_targets**2)))
    if not np.all(moves.mean <= RESOLVED * size):
        raise _unresolved(regression, temperature, "the mean")
    size = np.maximum(regression.variance(temperature, scale), floor_of(regression, scale))
    if not np.all(moves.variance <= RESOLVED * size):
        raise _unresolved(regression, temperature, "the variance")


def floor_of(regression: Regression, scale: float) -> float:
    """The variance that may have rounding: 1e-6 of the targets' square, or of the prior's variance.

    The prior's variance counts where the targets are zero.

    >>> blocks = GramBlocks(np.eye(2), cross=np.ones((1, 2)), test_diagonal=np.ones(1))
    >>> floor_of(decompose(blocks, np.full(2, 2.0)), scale=1.0)
    4e-06
    """
    targets = np.mean(regression.projected_targets**2)
    return UNSEEN * float(targets or scale * np.mean(regression.test_diagonal))


def require_resolved_action(
    regression: Regression, temperature: float, scale: float, curvature: float | None = None
) -> None:
    """Raise `InputError` where the rounding of K decides a minimum Q* of the action.

    Q* may move by one per cent, which is the error of dS/dq over d²S/dq², the `curvature`. Without
    one, dS/dq may move by one per cent of P, or of its part aᵀQK a where that is larger: where Q is
    no minimum, but numbers of that size are made of a.

    >>> blocks = GramBlocks(np.eye(2), cross=np.ones((1, 2)), test_diagonal=np.ones(1))
    >>> require_resolved_action(decompose(blocks, np.ones(2)), temperature=0.0, scale=1.0)
    """
    if not np.isfinite(scale):
        return
    size = curvature
    if size is None:
        along, _ = regression.reach(temperature, scale)
        fit = scale * np.sum(np.square(along).T @ regression.eigenvalues[regression.in_range])
        size = max(float(fit), regression.projected_targets.size)
    if not moves_of(regression, temperature, scale).slope <= RESOLVED * size:
        raise _unresolved(regression, temperature, "the action")


def resolved_criteria(
    regression: Regression, temperature: float
) -> tuple[float | None, float | None, str]:
    """`criterion`, `criterion_at` of a regression, and why the first is None where it is.

    Both are None where rounding of K may move what is on its scales by more than one per cent: at
    T = 0 yᵀK⁻¹y, at T the larger of yᵀA⁻¹KA⁻¹y and tr A⁻¹K.

    >>> blocks = GramBlocks(np.eye(2), cross=np.ones((1, 2)), test_diagonal=np.ones(1))
    >>> resolved_criteria(decompose(blocks, np.array([3.0, 1.0])), temperature=1.0)
    (5.0, 2.5, '')
    """
    limit, at_temperature = regression.criterion(), regression.criterion_at(temperature)
    reason = "the Gram matrix is singular: yᵀK⁻¹y is infinite" if limit is None else ""
    size = regression.projected_targets.size
    tiny = is_beyond_float64(regression.eigenvalues, 0.0)
    if limit is not None and (tiny or not _slope(regression, 0.0) <= RESOLVED * size * limit):
        limit, reason = None, "float64 does not resolve yᵀK⁻¹y for this Gram matrix"
    if at_temperature is not None:
        eigenvalues = regression.eigenvalues[regression.in_range]
        trace = float(np.sum(eigenvalues / (temperature + eigenvalues))) * regression.num_outputs
        if not _slope(regression, temperature) <= RESOLVED * trace * max(at_temperature, 1.0):
            at_temperature = None
    return limit, at_temperature, reason


def _slope(regression: Regression, temperature: float) -> float:
    """By how much rounding may move dS/dq at Q = 1, summed over the outputs."""
    return sum(moves_of(output, temperature).slope for output in regression.per_output())


def _unresolved(regression: Regression, temperature: float, quantity: str) -> InputError:
    return InputError(
        f"the temperature {temperature:.3g} is too low for this Gram matrix (eigenvalues up to "
        f"{regression.eigenvalues[-1]:.3g}) in float64: its rounding may move {quantity} by more "
        f"than {RESOLVED:.0%}. Give a higher temperature; if inputs are nearly equal, leave out "
        "all but one of them; if they are large, scale them"
    )
