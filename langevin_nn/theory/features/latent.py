"""Outputs of a Gaussian process with the likelihood of a convex loss: most likely, and on average.

f ~ N(m, M) with the likelihood exp(−V(f)), V(f) = Σ_μ ℓ(f_μ, y_μ)/T (`likelihood`). The most likely
f minimises V(f) + ½ (f − m)ᵀM⁻¹(f − m), and is m + M t with the pull t of the loss on it.

For mean and variance each factor is replaced by exp(ν f − ½ τ f²), such that the output has those
that it has with its own factor among the others' replacements: expectation propagation (Minka 2001,
arXiv:1301.2294; for Gaussian processes Rasmussen and Williams 2006, section 3.6). Then with w = √τ
and B = 1 + w M w

    f̄ = m + M t,   t = ν − τ f̄,   Σ = M − M w B⁻¹ w M,

and with c the logarithms of the factors' integrals over those of their replacements,

    log E exp(−V) = Σ c + mᵀν − ½ mᵀτm − ½ log det B + ½ (ν − τm)ᵀ(f̄ − m).

For the squared loss τ = 1/T and ν = y/T, and all is exact. As V is convex, no τ is negative.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float

from langevin_nn.theory.features.likelihood import Likelihood, Pulled

__all__ = ["Matched", "matched", "most_likely", "sites_at", "through_examples"]

Vector = Float[np.ndarray, " n"]
Matrix = Float[np.ndarray, "n n"]

_PINNED, _STRAIGHT = 1e-12, 1e12
"""The noise of a kink, in units of the mean variance: a matrix with it has a Cholesky factor; and
that from which on V counts as straight."""
_MOST_STEPS, _FALL = 60, 0.9
"""Of the steps, and what one of Newton's has to leave at most of the distance."""
_SOFTNESS, _HARDER = 0.1, 0.2
"""The σ of the first smooth problem, in units of the mean variance, and its factor from one to the
next."""
_SUFFICIENT, _LEAST_SHARE = 1e-4, 1e-9
_TOLERANCE, _ENOUGH, _NEAR = 1e-13, 1e-9, 1e-6
"""How nearly f = m + M t is to hold, has to hold, and the pull of a smooth problem is to."""

_MOST_MATCHES = 200
_WEAKEST = 1e-13
"""The smallest precision of a replacement, in units of that of an output's mean variance."""
_MATCHED = 1e-7
"""The largest change of a mean, in standard deviations, and of a variance, in its units."""


def through_examples(
    covariance: Matrix, noise: Vector
) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, "curved curved"]]:
    """Where there is a curvature, and the lower Cholesky factor of M + noise there.

    >>> curved, factor = through_examples(3 * np.eye(2), np.array([1.0, np.inf]))
    >>> curved, factor
    (array([ True, False]), array([[2.]]))
    """
    size = float(np.mean(np.diag(covariance)))
    curved, floor = noise < _STRAIGHT * size, _PINNED * size
    inside = covariance[np.ix_(curved, curved)] + np.diag(np.maximum(noise[curved], floor))
    return curved, scipy.linalg.cholesky(inside, lower=True)


def most_likely(likelihood: Likelihood, mean: Vector, covariance: Matrix, start: Vector) -> Pulled:
    """The f that minimises V(f) + ½ (f − m)ᵀM⁻¹(f − m), and the pull t on it: f = m + M t.

    By Newton's method for z, with the curvature at each step's f, wherever that brings f nearer to
    the minimum; else by a step of the proximal point algorithm (Rockafellar 1976, SIAM J. Control
    Optim. 14:877), which always does.

    Args:
        likelihood: exp(−V).
        mean: m.
        covariance: M, which need not be regular.
        start: the pull t from which on to look.

    Raises `ArithmeticError` where it is not found.

    >>> from langevin_nn.model.losses import Squared
    >>> gauss = Likelihood(Squared(), np.array([1.0, 0.0]), 1.0)
    >>> found = most_likely(gauss, np.zeros(2), np.eye(2), np.zeros(2))
    >>> found.f.round(9), found.pull.round(9)
    (array([0.5, 0. ]), array([0.5, 0. ]))
    """
    scale = float(np.mean(np.diag(covariance)))
    reach = scipy.linalg.cholesky(covariance + scale * np.eye(len(mean)), lower=True)

    def missing(point: Pulled) -> Vector:
        misfit: np.ndarray = mean + covariance @ point.pull - point.f
        return misfit

    def distance(off: Vector) -> float:
        return float(np.linalg.norm(scipy.linalg.cho_solve((reach, True), off)))

    z = mean + covariance @ start - scale * start
    point = likelihood.pulled(z, scale)
    off, softness = missing(point), _SOFTNESS * scale
    for _ in range(_MOST_STEPS):
        size = np.abs(point.f) + np.abs(mean) + np.abs(covariance) @ np.abs(point.pull)
        if np.linalg.norm(off) <= _TOLERANCE * np.linalg.norm(size):
            break
        z_next = z + _newton(covariance, point, off, scale)
        following = likelihood.pulled(z_next, scale)
        if not distance(missing(following)) <= _FALL * distance(off):
            stiff = _stiffer(likelihood, mean, covariance, point, softness)
            softness *= _HARDER
            z_next = stiff.f - scale * stiff.pull
            following = likelihood.pulled(z_next, scale)
        z, point, off = z_next, following, missing(following)
    else:
        if not np.linalg.norm(off) <= _ENOUGH * np.linalg.norm(size):
            raise ArithmeticError(f"no outputs of largest likelihood found in {_MOST_STEPS} steps")
    return point


def _stiffer(
    likelihood: Likelihood, mean: Vector, covariance: Matrix, point: Pulled, softness: float
) -> Pulled:
    """The f and t with f = m + M t + σ (t − t_0), t_0 that of the point, for σ = `softness`.

    With z = m − σ t_0 + M τ they are at the minimum of ½ τᵀMτ + min_f [V(f) + (f − z)²/2σ], which
    is smooth: Newton's method with steps that lower it finds it from anywhere.
    """
    shifted, tau = mean - softness * point.pull, point.pull

    def at(tau: Vector) -> tuple[Pulled, float]:
        pushed = covariance @ tau
        found = likelihood.pulled(shifted + pushed, softness)
        value = tau @ pushed / 2 + np.sum(found.values)
        return found, float(value + softness / 2 * found.pull @ found.pull)

    found, value = at(tau)
    for _ in range(_MOST_STEPS):
        off = tau - found.pull
        if np.linalg.norm(off) <= _NEAR * np.linalg.norm(np.abs(tau) + np.abs(found.pull)):
            break
        root = np.sqrt(1 / (found.noise + softness))
        factor = scipy.linalg.cholesky(
            np.eye(len(tau)) + root[:, None] * covariance * root, lower=True
        )
        pushed = covariance @ off
        step = root * scipy.linalg.cho_solve((factor, True), root * pushed) - off
        share = 1.0
        while True:
            trial, trial_value = at(tau + share * step)
            if trial_value <= value + _SUFFICIENT * share * (pushed @ step) or share < _LEAST_SHARE:
                break
            share /= 2
        if share < _LEAST_SHARE:  # rounding
            break
        tau, found, value = tau + share * step, trial, trial_value
    return found


def _newton(covariance: Matrix, point: Pulled, off: Vector, scale: float) -> Vector:
    """The step of z by which f = m + M t, as far as f and t are linear in z."""
    curved, factor = through_examples(covariance, point.noise)
    change = np.zeros_like(off)  # of t
    change[curved] = -scipy.linalg.cho_solve((factor, True), off[curved])
    of_outputs = off + covariance @ change
    of_outputs[curved] = -point.noise[curved] * change[curved]
    step: np.ndarray = of_outputs - scale * change
    return step


class Sites(NamedTuple):
    """The replacements exp(ν f − ½ τ f²) of the factors; made by `sites_at`."""

    shift: Vector  # ν
    precision: Vector  # τ


class Matched(NamedTuple):
    """Mean and variance of each output, the pull t, and log E exp(−V); made by `matched`."""

    sites: Sites
    mean: Vector
    variance: Vector
    pull: Vector
    log_evidence: float
    converged: bool


def sites_at(likelihood: Likelihood, f: Vector, pull: Vector) -> Sites:
    """The factors' second order at outputs f with this pull; at a kink within its length 1/t.

    >>> from langevin_nn.model.losses import Squared
    >>> likelihood = Likelihood(Squared(), np.array([1.0]), 0.5)
    >>> shift, precision = sites_at(likelihood, np.zeros(1), np.array([2.0]))
    >>> shift.round(9), precision.round(9)
    (array([2.]), array([2.]))
    """
    point = likelihood.at(f, pull)
    steepest = np.max(np.abs(point.slopes + pull), axis=0)
    kink = point.noise == 0
    precision = np.where(kink, steepest**2, 1 / np.where(kink, 1.0, point.noise))
    return Sites(pull + precision * f, precision)


def matched(likelihood: Likelihood, mean: Vector, covariance: Matrix, sites: Sites) -> Matched:
    """The outputs f ~ N(m, M) with the likelihood exp(−V), from these sites on.

    >>> from langevin_nn.model.losses import Squared
    >>> likelihood = Likelihood(Squared(), np.array([1.0]), 1.0)
    >>> start = sites_at(likelihood, np.zeros(1), np.ones(1))
    >>> found = matched(likelihood, np.zeros(1), np.eye(1), start)
    >>> print(f"{found.mean[0]:.6f} {found.variance[0]:.6f} {found.pull[0]:.6f}")
    0.500000 0.500000 0.500000
    """
    share, least, weakest = 1.0, np.inf, _WEAKEST / float(np.mean(np.diag(covariance)))
    for num_steps in range(_MOST_MATCHES):
        sites = sites._replace(precision=np.maximum(sites.precision, weakest))
        pull, f, variance, outside, log_process = _posterior(mean, covariance, sites)
        centre = f - pull / outside
        tilted = likelihood.moments(centre, 1 / outside)
        change = np.abs(tilted.mean - f) / np.sqrt(variance)
        far = float(np.max(np.maximum(change, np.abs(tilted.variance / variance - 1))))
        converged = far < _MATCHED
        if converged or num_steps == _MOST_MATCHES - 1:
            break
        if far > least:
            share = max(share / 2, 0.1)
        least = min(far, least)
        precision = np.maximum(1 / tilted.variance - outside, 0.0)
        shift = tilted.mean / tilted.variance - outside * centre
        sites = Sites(
            sites.shift + share * (shift - sites.shift),
            sites.precision + share * (precision - sites.precision),
        )
    replaced = 0.5 * (outside * centre + sites.shift) ** 2 * variance
    replaced += 0.5 * np.log(outside * variance) - 0.5 * outside * centre**2
    log_evidence = float(log_process + np.sum(tilted.log_integral - replaced))
    return Matched(sites, f, variance, pull, log_evidence, converged)


def _posterior(
    mean: Vector, covariance: Matrix, sites: Sites
) -> tuple[Vector, Vector, Vector, Vector, float]:
    """t, f̄, the variances, the precisions without an output's own factor, the log of the integral.

    With b = (B⁻¹)_μμ = 1 − τΣ_μμ the precisions are b/Σ_μμ, and Σ_μμ = (1 − b)/τ: no difference of
    numbers that are nearly equal.
    """
    root = np.sqrt(sites.precision)
    inner = np.eye(len(mean)) + root[:, None] * covariance * root
    factor = scipy.linalg.cholesky(inner, lower=True)
    solved = scipy.linalg.solve_triangular(factor, root[:, None] * covariance, lower=True)
    inverse = scipy.linalg.solve_triangular(factor, np.eye(len(mean)), lower=True)
    left = np.sum(inverse**2, axis=0)  # b
    variance = np.where(
        left < 0.5, (1 - left) / sites.precision, np.diag(covariance) - np.sum(solved**2, axis=0)
    )
    slope = sites.shift - sites.precision * mean
    pull = root * scipy.linalg.cho_solve((factor, True), slope / root)
    moved = covariance @ pull
    log_integral = mean @ sites.shift - 0.5 * np.sum(sites.precision * mean**2)
    log_integral += 0.5 * slope @ moved - np.sum(np.log(np.diag(factor)))
    return pull, mean + moved, variance, left / variance, float(log_integral)
