"""Moments of the posterior averaged over one order parameter Q.

With the prior density p_L of log Q = Σ_ℓ log Q_ℓ, Q_ℓ ~ Gamma(N_ℓ/2, rate N_ℓ/2) independent, the
likelihood N(y; 0, A_Q), A_Q = T I + Q K + V Vᵀ, and m_Q(x), s_Q(x) the regression's mean and
variance at scale Q,

    p(log Q | data) ∝ p_L(log Q) N(y; 0, A_Q),   mean = E[m_Q],   variance = E[s_Q] + Var[m_Q].

For one layer p_1 N(y; 0, A_Q) ∝ exp(−S/2), S of `scale.ScaleAction`. For more, p_L is the
convolution of the layers' densities, all multiplied by exp(uq/2) with the u of the saddle point, so
that it is computed where the posterior lies.

The average is a trapezoidal sum in log Q. The integrand is analytic there, and the range covers all
Q where S is within 90 of its minimum (the rest weighs about exp(−45) = 3e-20), so the error falls
exponentially with the number of nodes. That is doubled until nothing moves by more than 1e-10.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammaln, logsumexp

from langevin_nn.theory.regression.eigenbasis import Regression
from langevin_nn.theory.regression.moments import Moments, gaussian_evidence, moments_at_scale
from langevin_nn.theory.regression.resolvable import require_resolved, require_resolved_action
from langevin_nn.theory.saddles.scale import ScaleAction, minima, minimise

__all__ = ["ScaleAverage", "average_over_scale"]

_ACTION_RANGE = 90.0  # of S above its minimum, beyond which exp(−S/2) is negligible

_TOLERANCE = 1e-10

_FEWEST_INTERVALS, _MOST_INTERVALS = 64, 4096


@dataclass(frozen=True, eq=False)
class ScaleAverage:
    """Moments averaged over the scale Q, and E[Q | data]; made by `average_over_scale`.

    The nodes `scales` and their `weights`, of sum one, are the posterior of Q. If not `converged`,
    `message` says by how much the average still moved.
    """

    moments: Moments
    order_parameter: float
    scales: Float[np.ndarray, " nodes"]
    weights: Float[np.ndarray, " nodes"]
    converged: bool = True
    message: str = ""


def average_over_scale(
    action: ScaleAction, constant: float, regression: Regression
) -> ScaleAverage:
    """Moments averaged over Q with the weight p_L(log Q) N(y; 0, A_Q) d(log Q).

    Args:
        action: S, made from the eigenvalues and targets of the same `regression`.
        constant: what −2 log p(y) has beside S (`effective.common.scale_action`).
        regression: the decomposed Gram matrix.

    >>> regression = decompose(GramBlocks(np.eye(1), np.ones((1, 1)), np.ones(1)), np.ones(1))
    >>> action = ScaleAction((2,), 0.0, regression.eigenvalues, regression.projected_targets)
    >>> average = average_over_scale(action, 0.0, regression)  # p(Q) ∝ Q^(−1/2) exp(−Q − 1/(2Q))
    >>> print(f"{average.order_parameter:.9f} {1 / np.sqrt(2) + 1 / 2:.9f}")
    1.207106781 1.207106781
    """
    if not minima(action):
        undefined = moments_at_scale(regression, action.temperature, np.nan)
        no_scales = np.full(1, np.nan)
        return ScaleAverage(
            undefined, np.nan, no_scales, no_scales, False, minimise(action).message
        )
    centre = float(np.log(minimise(action).value))
    start, stop = _support(action)
    intervals = _FEWEST_INTERVALS
    fine = _trapezoid(action, regression, centre, start, stop, intervals)
    change = np.inf
    while change > _TOLERANCE and intervals < _MOST_INTERVALS:
        intervals, coarse = 2 * intervals, fine
        fine = _trapezoid(action, regression, centre, start, stop, intervals)
        change = _distance(fine, coarse, regression)
    require_resolved(regression, action.temperature, fine.order_parameter)
    curvature = float(action.curvature(centre))
    require_resolved_action(regression, action.temperature, fine.order_parameter, curvature)
    num_null = regression.eigenvalues.size - action.eigenvalues.size
    evidence = fine.moments.log_evidence + gaussian_evidence(constant, num_null)
    fine = replace(fine, moments=fine.moments._replace(log_evidence=evidence))
    if change > _TOLERANCE:
        message = f"the average over Q still moved by {change:.1e} at {intervals} nodes"
        return replace(fine, converged=False, message=message)
    return fine


def _support(action: ScaleAction) -> tuple[float, float]:
    """The range of log Q outside of which S is more than `_ACTION_RANGE` above its minimum."""
    saddles = minima(action)
    level = min(saddle.action for saddle in saddles) + _ACTION_RANGE
    within = [float(np.log(saddle.value)) for saddle in saddles if saddle.action < level]
    lowest = _crossing(action.value, level, min(within), -1.0)
    return lowest, _crossing(action.value, level, max(within), 1.0)


def _crossing(function, level: float, inside: float, direction: float) -> float:  # type: ignore[no-untyped-def]
    """A point just beyond the one where the function rises through the level, to 1 % of the way."""
    near, far = 0.0, 1e-3
    while function(inside + direction * far) < level:
        near, far = far, 2 * far
    while far - near > 0.01 * far:
        middle = 0.5 * (near + far)
        below = function(inside + direction * middle) < level
        near, far = (middle, far) if below else (near, middle)
    return inside + direction * far


def _trapezoid(
    action: ScaleAction,
    regression: Regression,
    centre: float,
    start: float,
    stop: float,
    intervals: int,
) -> ScaleAverage:
    """The averages over equally spaced log Q, `centre` one of them, their ends negligible."""
    spacing = (stop - start) / intervals
    steps = np.arange(np.floor((start - centre) / spacing), np.ceil((stop - centre) / spacing) + 1)
    log_scales = centre + spacing * steps
    log_weights = _log_prior(action, centre, spacing, steps.astype(int)) - 0.5 * action.misfit(
        log_scales
    )
    total = logsumexp(log_weights)
    weights = np.exp(log_weights - total)
    scales, temperature = np.exp(log_scales), action.temperature
    means = regression.mean(temperature, scales)
    mean = means @ weights
    spread = np.square(means - mean[:, None]) @ weights
    normalisation = -2 * (total + np.log(spacing))
    moments = Moments(
        mean=mean,
        variance=regression.variance(temperature, scales) @ weights + spread,
        train_error=float(regression.train_error(temperature, scales) @ weights),
        log_evidence=gaussian_evidence(normalisation, action.eigenvalues.size),
    )
    return ScaleAverage(moments, float(scales @ weights), scales, weights)


def _log_prior(
    action: ScaleAction, centre: float, spacing: float, steps: Int[np.ndarray, " nodes"]
) -> Float[np.ndarray, " nodes"]:
    """log p_L at centre + spacing · steps.

    One layer: −½N(Q − 1 − log Q) + ½N log ½N − ½N − log Γ(½N). More: the convolution of the
    layers' lattices, each around its own log Q_ℓ at the saddle point.
    """
    log_scales = centre + spacing * steps
    constant = sum(n * np.log(n) - n - gammaln(n) for n in (w / 2 for w in action.widths))
    if len(action.widths) == 1:
        return constant - 0.5 * action.prior(log_scales)
    u = float(action.multiplier(centre))
    density, first = np.ones(1), 0
    for width, order in zip(action.widths, action.orders(centre), strict=True):
        middle = float(np.log(order))

        def tilted(q, width=width):  # type: ignore[no-untyped-def]
            return width * (np.expm1(q) - q) - u * q

        level = tilted(middle) + _ACTION_RANGE
        left, right = (
            int(np.ceil(abs(_crossing(tilted, level, middle, side) - middle) / spacing))
            for side in (-1.0, 1.0)
        )
        lattice = tilted(middle + spacing * np.arange(-left, right + 1))
        density = np.convolve(density, np.exp(-0.5 * (lattice - tilted(middle))))
        first -= left
        constant -= 0.5 * tilted(middle)
    constant += (len(action.widths) - 1) * np.log(spacing)
    places = steps - first
    inside = (places >= 0) & (places < density.size)
    with np.errstate(divide="ignore"):
        logarithms = np.log(np.where(inside, density[np.clip(places, 0, density.size - 1)], 0.0))
    return constant + logarithms - 0.5 * u * log_scales


def _distance(fine: ScaleAverage, coarse: ScaleAverage, regression: Regression) -> float:
    """The largest change from one average to another, relative to the targets and to the prior."""
    targets = np.sqrt(np.mean(np.square(regression.projected_targets)))
    prior = fine.order_parameter * np.max(regression.test_diagonal)
    tiny = np.finfo(np.float64).tiny
    changes = (
        np.max(np.abs(fine.moments.mean - coarse.moments.mean)) / max(targets, tiny),
        np.max(np.abs(fine.moments.variance - coarse.moments.variance)) / max(prior, tiny),
        abs(fine.order_parameter / coarse.order_parameter - 1),
        abs(fine.moments.log_evidence - coarse.moments.log_evidence),
    )
    return float(max(changes))
