"""Moments of the posterior at one order parameter Q, and averaged over Q.

With weight p(Q | data) ∝ exp(−S(Q)/2) d(log Q), S of `action.OneLayerAction`, and m_Q(x), s_Q(x)
the regression's mean and variance at scale Q,

    mean = E[m_Q],   variance = E[s_Q] + Var[m_Q].

The average is a trapezoidal sum in log Q. S is analytic there, and the range covers all Q where S
is within 90 of its minimum (the rest weighs about exp(−45) = 3e-20), so the error falls
exponentially with the number of nodes. That is doubled until nothing moves by more than 1e-10.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from langevin_nn.theory.action import OneLayerAction, minima, minimise
from langevin_nn.theory.regression import Regression

__all__ = ["Moments", "ScaleAverage", "average_over_scale", "moments_at_scale"]

_NEGLIGIBLE = 90.0
_TOLERANCE = 1e-10
_FEWEST_INTERVALS, _MOST_INTERVALS = 64, 4096


class Moments(NamedTuple):
    """Mean and variance of f at the test points, ⟨(y − f)²⟩ on the training set, and Q or E[Q]."""

    mean: Float[np.ndarray, " P_test"]
    variance: Float[np.ndarray, " P_test"]
    train_error: float
    order_parameter: float


class ScaleAverage(NamedTuple):
    """Moments averaged over Q; where the average did not converge, `message` says by how much."""

    moments: Moments
    converged: bool
    message: str = ""


def moments_at_scale(regression: Regression, temperature: float, scale: float) -> Moments:
    """Moments of the Gaussian process with Gram matrix Q K; all NaN if Q is."""
    return Moments(
        mean=regression.mean(temperature, scale),
        variance=regression.variance(temperature, scale),
        train_error=float(regression.train_error(temperature, scale)),
        order_parameter=scale,
    )


def average_over_scale(action: OneLayerAction, regression: Regression) -> ScaleAverage:
    """Moments averaged over Q with weight exp(−S/2) d(log Q).

    Args:
        action: S, made from the eigenvalues and targets of the same `regression`.
        regression: the decomposed Gram matrix.

    >>> import numpy as np
    >>> from langevin_nn.theory.gram import GramBlocks
    >>> from langevin_nn.theory.regression import decompose
    >>> regression = decompose(GramBlocks(np.eye(1), np.ones((1, 1)), np.ones(1)), np.ones(1))
    >>> action = OneLayerAction(2, 0.0, regression.eigenvalues, regression.projected_targets)
    >>> average = average_over_scale(action, regression)  # p(Q) ∝ Q^(−1/2) exp(−Q − 1/(2Q))
    >>> print(f"{average.moments.order_parameter:.9f} {1 / np.sqrt(2) + 1 / 2:.9f}")
    1.207106781 1.207106781
    """
    if not minima(action):
        empty = moments_at_scale(regression, action.temperature, np.nan)
        return ScaleAverage(empty, False, minimise(action).message)
    start, stop = _support(action)
    intervals = _FEWEST_INTERVALS
    fine = _trapezoid(action, regression, np.linspace(start, stop, intervals + 1))
    moved = np.inf
    while moved > _TOLERANCE and intervals < _MOST_INTERVALS:
        intervals, coarse = 2 * intervals, fine
        fine = _trapezoid(action, regression, np.linspace(start, stop, intervals + 1))
        moved = _distance(fine, coarse, regression)
    if moved > _TOLERANCE:
        message = f"the average over Q still moved by {moved:.1e} at {intervals} nodes"
        return ScaleAverage(fine, False, message)
    return ScaleAverage(fine, True)


def _support(action: OneLayerAction) -> tuple[float, float]:
    """The range of log Q outside of which S is more than `_NEGLIGIBLE` above its minimum."""
    found = minima(action)
    level = min(saddle.action for saddle in found) + _NEGLIGIBLE
    within = [float(np.log(saddle.value)) for saddle in found if saddle.action < level]

    def crossing(inside: float, direction: float) -> float:
        """A point just beyond the one where S rises through the level, to 1 % of the way."""
        near, far = 0.0, 1e-3
        while action.value(inside + direction * far) < level:
            near, far = far, 2 * far
        while far - near > 0.01 * far:
            middle = 0.5 * (near + far)
            below = action.value(inside + direction * middle) < level
            near, far = (middle, far) if below else (near, middle)
        return inside + direction * far

    return crossing(min(within), -1.0), crossing(max(within), 1.0)


def _trapezoid(
    action: OneLayerAction, regression: Regression, log_scales: Float[np.ndarray, " n"]
) -> Moments:
    """The averages over equally spaced log Q, their ends of negligible weight."""
    actions = action.value(log_scales)
    weights = np.exp(-0.5 * (actions - np.min(actions)))
    weights /= np.sum(weights)
    scales, temperature = np.exp(log_scales), action.temperature
    means = regression.mean(temperature, scales)
    mean = means @ weights
    spread = np.square(means - mean[:, None]) @ weights
    return Moments(
        mean=mean,
        variance=regression.variance(temperature, scales) @ weights + spread,
        train_error=float(regression.train_error(temperature, scales) @ weights),
        order_parameter=float(scales @ weights),
    )


def _distance(fine: Moments, coarse: Moments, regression: Regression) -> float:
    """The largest change: of means in units of the targets, of variances in the prior's."""
    targets = np.sqrt(np.mean(np.square(regression.projected_targets)))
    prior = fine.order_parameter * np.max(regression.test_diagonal)
    tiny = np.finfo(np.float64).tiny
    changes = (
        np.max(np.abs(fine.mean - coarse.mean)) / max(targets, tiny),
        np.max(np.abs(fine.variance - coarse.variance)) / max(prior, tiny),
        abs(fine.order_parameter / coarse.order_parameter - 1),
    )
    return float(max(changes))
