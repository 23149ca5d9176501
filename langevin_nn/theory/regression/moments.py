"""Moments of the posterior at one order parameter Q, and averaged over Q.

With the prior density p_L of log Q = Σ_ℓ log Q_ℓ, Q_ℓ ~ Gamma(N_ℓ/2, rate N_ℓ/2) independent, the
likelihood N(y; 0, A_Q), A_Q = T I + Q K + V Vᵀ, and m_Q(x), s_Q(x) the regression's mean and
variance at scale Q,

    p(log Q | data) ∝ p_L(log Q) N(y; 0, A_Q),   mean = E[m_Q],   variance = E[s_Q] + Var[m_Q].

For one layer p_1 N(y; 0, A_Q) ∝ exp(−S/2), S of `action.ScaleAction`. For more, p_L is the
convolution of the layers' densities, all multiplied by exp(uq/2) with the u of the saddle point, so
that it is computed where the posterior lies.

The average is a trapezoidal sum in log Q. The integrand is analytic there, and the range covers all
Q where S is within 90 of its minimum (the rest weighs about exp(−45) = 3e-20), so the error falls
exponentially with the number of nodes. That is doubled until nothing moves by more than 1e-10.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammaln, logsumexp

from langevin_nn.data.labels import is_right
from langevin_nn.data.load import Dataset
from langevin_nn.theory.regression.eigenbasis import Regression
from langevin_nn.theory.saddles.scale import ScaleAction, minima, minimise
from langevin_nn.types import Estimate, Generalisation

__all__ = [
    "Moments",
    "ScaleAverage",
    "average_over_scale",
    "gaussian_evidence",
    "generalisation",
    "moments_at_scale",
    "not_found",
]

_NEGLIGIBLE = 90.0
_TOLERANCE = 1e-10
_FEWEST_INTERVALS, _MOST_INTERVALS = 64, 4096

Orders = tuple[float, ...] | tuple[tuple[float, ...], ...]


class Moments(NamedTuple):
    """Mean and variance of f at the test points, ⟨(y − f)²⟩ on the training set, log p(y | X).

    Made by `moments_at_scale` and averaged by `average_over_scale`.
    """

    mean: Float[np.ndarray, " P_test *D"]
    variance: Float[np.ndarray, " P_test *D"]
    train_error: float
    log_evidence: float


@dataclass(frozen=True, eq=False)
class ScaleAverage:
    """What `average_over_scale` finds: moments averaged over Q, and E[Q | data].

    The nodes `scales` and their `weights`, of sum one, are the posterior of Q. If not `converged`,
    `message` says by how much.
    """

    moments: Moments
    order_parameter: float
    scales: Float[np.ndarray, " nodes"]
    weights: Float[np.ndarray, " nodes"]
    converged: bool = True
    message: str = ""


def gaussian_evidence(misfit: float, num_train: int) -> float:
    """log N(y; 0, A) from log det A + yᵀA⁻¹y, the `misfit`, and P.

    >>> print(f"{gaussian_evidence(misfit=1.0, num_train=1):.6f}")  # log N(1; 0, 1)
    -1.418939
    """
    return float(-0.5 * misfit - 0.5 * num_train * np.log(2 * np.pi))


def moments_at_scale(
    regression: Regression, temperature: float, scale: float, log_evidence: float = np.nan
) -> Moments:
    """Moments of the Gaussian process with Gram matrix Q K; all NaN if Q is.

    >>> import numpy as np
    >>> from langevin_nn.theory.kernels.nngp import GramBlocks
    >>> from langevin_nn.theory.regression.eigenbasis import decompose
    >>> regression = decompose(GramBlocks(np.eye(1), np.ones((1, 1)), np.ones(1)), np.ones(1))
    >>> found = moments_at_scale(regression, temperature=1.0, scale=3.0)  # Q/(T + Q) = ¾
    >>> found.mean, found.variance, found.train_error
    (array([0.75]), array([0.75]), 0.8125)
    """
    return Moments(
        mean=regression.mean(temperature, scale),
        variance=regression.variance(temperature, scale),
        train_error=float(regression.train_error(temperature, scale)),
        log_evidence=log_evidence,
    )


def average_over_scale(
    action: ScaleAction, constant: float, regression: Regression
) -> ScaleAverage:
    """Moments averaged over Q with the weight p_L(log Q) N(y; 0, A_Q) d(log Q).

    Args:
        action: S, made from the eigenvalues and targets of the same `regression`.
        constant: what −2 log p(y) has beside S (`predictors.scale_action`).
        regression: the decomposed Gram matrix.

    >>> import numpy as np
    >>> from langevin_nn.theory.kernels.nngp import GramBlocks
    >>> from langevin_nn.theory.regression.eigenbasis import decompose
    >>> regression = decompose(GramBlocks(np.eye(1), np.ones((1, 1)), np.ones(1)), np.ones(1))
    >>> action = ScaleAction((2,), 0.0, regression.eigenvalues, regression.projected_targets)
    >>> average = average_over_scale(action, 0.0, regression)  # p(Q) ∝ Q^(−1/2) exp(−Q − 1/(2Q))
    >>> print(f"{average.order_parameter:.9f} {1 / np.sqrt(2) + 1 / 2:.9f}")
    1.207106781 1.207106781
    """
    if not minima(action):
        empty = moments_at_scale(regression, action.temperature, np.nan)
        none = np.full(1, np.nan)
        return ScaleAverage(empty, np.nan, none, none, False, minimise(action).message)
    centre = float(np.log(minimise(action).value))
    start, stop = _support(action)
    intervals = _FEWEST_INTERVALS
    fine = _trapezoid(action, regression, centre, start, stop, intervals)
    moved = np.inf
    while moved > _TOLERANCE and intervals < _MOST_INTERVALS:
        intervals, coarse = 2 * intervals, fine
        fine = _trapezoid(action, regression, centre, start, stop, intervals)
        moved = _distance(fine, coarse, regression)
    num_null = regression.eigenvalues.size - action.eigenvalues.size
    evidence = fine.moments.log_evidence + gaussian_evidence(constant, num_null)
    fine = replace(fine, moments=fine.moments._replace(log_evidence=evidence))
    if moved > _TOLERANCE:
        message = f"the average over Q still moved by {moved:.1e} at {intervals} nodes"
        return replace(fine, converged=False, message=message)
    return fine


def _support(action: ScaleAction) -> tuple[float, float]:
    """The range of log Q outside of which S is more than `_NEGLIGIBLE` above its minimum."""
    found = minima(action)
    level = min(saddle.action for saddle in found) + _NEGLIGIBLE
    within = [float(np.log(saddle.value)) for saddle in found if saddle.action < level]
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

        level = tilted(middle) + _NEGLIGIBLE
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
    """The largest change: of means in units of the targets, of variances in the prior's."""
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


def generalisation(
    name: str,
    data: Dataset,
    moments: Moments,
    order_parameters: Orders = (),
    converged: bool = True,
    message: str = "",
) -> Generalisation:
    """The averages over the test set; sums over the outputs where there are several.

    bias² = Σ_x |y − mean|²/P_test, variance = Σ_x variance/P_test; `moments` has the shape of y.
    The accuracy, by `labels.is_right`, is NaN where the mean is.

    >>> import numpy as np
    >>> data = Dataset("two points", np.eye(2), np.array([1.0, -1.0]), np.eye(2), np.ones(2))
    >>> moments = Moments(np.array([1.0, -1.0]), np.array([0.5, 0.5]), 0.1, -3.0)
    >>> found = generalisation("mine", data, moments)
    >>> found.bias2.value, found.variance.value, found.test_accuracy.value
    (2.0, 0.5, 0.5)
    """
    y, num_test = data.y_test, data.num_test
    bias2 = float(np.sum(np.square(y - moments.mean)) / num_test)
    variance = float(np.sum(moments.variance) / num_test)
    accuracy = np.nan
    if np.isfinite(moments.mean).all():
        accuracy = float(is_right(moments.mean, y, data.targets_midpoint).mean())
    return Generalisation(
        name=name,
        predictive_mean=moments.mean,
        predictive_variance=moments.variance,
        bias2=Estimate(bias2),
        variance=Estimate(variance),
        generalisation_error=Estimate(bias2 + variance),
        train_error=Estimate(float(moments.train_error)),
        test_accuracy=Estimate(accuracy),
        order_parameters=order_parameters,
        log_evidence=moments.log_evidence if np.isfinite(moments.log_evidence) else None,
        converged=converged,
        message=message,
    )


def not_found(name: str, data: Dataset, reason: str) -> Generalisation:
    """The result of a theory that has none: NaN for every number, `converged` False, the reason.

    >>> data = Dataset("two points", np.eye(2), np.array([1.0, -1.0]), np.eye(2), np.ones(2))
    >>> not_found("mine", data, "no minimum").bias2
    Estimate(value=nan, mcse=0.0)
    """
    nothing = np.full(data.y_test.shape, np.nan)
    return generalisation(name, data, Moments(nothing, nothing, np.nan, np.nan), (), False, reason)
