"""Whether float64 resolves an answer: what the rounding of a Gram matrix may move it by."""

import numpy as np

from langevin_nn.theory.regression.eigenbasis import Regression
from langevin_nn.theory.regression.rounding import EPSILON
from langevin_nn.types import InputError

__all__ = ["require_resolved", "require_resolved_action"]

_RESOLVED = 0.01  # the part that rounding may move
_UNSEEN = 1e-6  # a variance below this, in units of the targets' square, need not be resolved


def require_resolved(regression: Regression, temperature: float, scale: float = 1.0) -> None:
    """Raise `InputError` where the rounding of K in float64 decides what is predicted.

    An error E of K, of spectral norm `rounding`, moves the mean by at most |E| |v_x| |a| and
    the variance by |E| |v_x|², to first order, with a = A⁻¹y and v_x = A⁻¹K(X, x). Each may
    move by one per cent at any test point: the mean in units of the targets, or of itself where
    it is larger, the variance in units of itself.

    >>> from langevin_nn.theory.kernels.nngp import GramBlocks
    >>> from langevin_nn.theory.regression.eigenbasis import decompose
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
    along, reach = regression.reach(temperature, scale)
    error, of_cross = (
        scale * regression.rounding,
        np.linalg.norm(regression.projected_cross, axis=1),
    )
    of_cross, prior = scale * EPSILON * of_cross, scale * regression.test_diagonal
    of_mean = np.multiply.outer(error * reach + of_cross, np.linalg.norm(along, axis=0))
    of_variance = error * reach**2 + 2 * of_cross * reach + EPSILON * prior
    targets = np.mean(regression.projected_targets**2)
    size = np.maximum(np.abs(regression.mean(temperature, scale)), np.sqrt(targets))
    if np.any(of_mean > _RESOLVED * size):
        raise _unresolved(regression, temperature, "the mean")
    size = np.maximum(
        regression.variance(temperature, scale), _UNSEEN * (targets or np.mean(prior))
    )
    if np.any(of_variance > _RESOLVED * size):
        raise _unresolved(regression, temperature, "the variance")


def require_resolved_action(regression: Regression, temperature: float, scale: float) -> None:
    """Raise `InputError` where the rounding of K decides a minimum of the action over Q.

    d yᵀA⁻¹y/d log Q = −aᵀQK a moves by at most |E| |a|², as in `require_resolved`: by no more
    than one per cent of itself, or of P.

    >>> from langevin_nn.theory.kernels.nngp import GramBlocks
    >>> from langevin_nn.theory.regression.eigenbasis import decompose
    >>> blocks = GramBlocks(np.eye(2), cross=np.ones((1, 2)), test_diagonal=np.ones(1))
    >>> require_resolved_action(decompose(blocks, np.ones(2)), temperature=0.0, scale=1.0)
    """
    if not np.isfinite(scale):
        return
    squares = np.square(regression.reach(temperature, scale)[0])
    fit = np.sum(squares.T @ regression.eigenvalues[regression.in_range])
    size = max(scale * fit, regression.projected_targets.size)
    if scale * regression.rounding * np.sum(squares) > _RESOLVED * size:
        raise _unresolved(regression, temperature, "the action")


def _unresolved(regression: Regression, temperature: float, what: str) -> InputError:
    return InputError(
        f"the temperature {temperature:.3g} is too low for this Gram matrix (eigenvalues up to "
        f"{regression.eigenvalues[-1]:.3g}) in float64: its rounding may move {what} by more than "
        f"{_RESOLVED:.0%}. Give a higher temperature; if inputs are nearly equal, leave out "
        "all but one of them; if they are large, scale them"
    )
