"""One hidden layer whose units follow their own posterior: the theory `mean_field`.

The read-out integrated out, the data act on each unit through t = (y − f̄)/T, which minimises

    G(t) = −yᵀt + (T/2)|t|² + N_1 log E_0 exp((φ·t)²/2N_1),       φ = σ(h)/√λ_1, h ~ N(0, C).

G is convex. A unit's posterior is p(φ) ∝ p_0(φ) exp((φ·t)²/2N_1), and with Φ = E_p[φφᵀ]

    ∇G = −y + (T + Φ) t,    ∇²G = T + M,    M = Φ + E_p[φφᵀ (φ·t)²]/N_1 − (Φt)(Φt)ᵀ/N_1.

M is N_1 times the covariance of one unit's contribution to f. With test inputs x among the points,

    mean = Φ_x t,   variance = M_xx − M_x (T + M)⁻¹ M_xᵀ,
    log p(y) = G(t) − ½ log det(T + M) − (P/2) log 2π,

the saddle point of p(y) = ∫ dt/(2π)^P exp(−i t·y − ½T|t|²) (E_0 exp(−(φ·t)²/2N_1))^N_1, at an
imaginary t, and the Gaussian integral around it.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float

from langevin_nn.footprint import Needs
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require
from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.features.response import (
    Response,
    about_the_sample,
    contribution_at_tests,
    gaussian_moments,
    noise_of,
    require_warm,
    response_of,
    scale_along,
)
from langevin_nn.theory.features.units import NUM_UNITS, Units, draw_units
from langevin_nn.theory.regression.moments import (
    gaussian_evidence,
    generalisation,
    joined,
    not_found,
)
from langevin_nn.types import Generalisation

__all__ = ["THEORY", "mean_field"]

_domain = partial(require, "mean_field", depth=1)
_MOST_STEPS = 60
_TOLERANCE = 1e-10
"""The Newton decrement, in units of G, below which a point is the minimum."""
_SUFFICIENT = 1e-4
"""The part of the predicted decrease that a step must have."""
_COLLAPSED = (
    "the weights of the units collapse on a few of them, as beyond the wall of an unbounded "
    "activation or where N_1 is too small for the labels: G has no minimum that a sample resolves"
)
HEAVY_TAIL = 0.7
"""The tail index of the weights from which their averages are not to be relied on."""


def mean_field(ensemble: Ensemble, *, num_units: int = NUM_UNITS) -> Generalisation:
    """One hidden layer, any activation, its units in the field of the data: mean-field scaling.

    With y (P,), t (P,) minimises G(t) = −yᵀt + (T/2)|t|² + N_1 log E_0 exp((φ·t)²/2N_1), a convex
    function, where φ (P,) are one unit's features σ(h)/√λ_1 with h from the prior; the units' own
    distribution is p ∝ p_0 exp((φ·t)²/2N_1), and mean = E_p[φ_x φᵀ] t. The variance is that of a
    Gaussian process with N_1 times the covariance of a unit's contribution to f, which a unit's
    non-Gaussian read-out raises above E_p[φφᵀ]. The equations are in `features.mean_field`: the
    mean as in Lauditi, Bordelon and Pehlevan 2025, arXiv:2502.07998, and van Meegen and Sompolinsky
    2024, arXiv:2406.16689, with λ, T and N_1 as here; variance and evidence are derived there.

    It holds for N_1 → ∞ at fixed P with labels of order √N_1 (richness of order one). With labels
    of order one and P of the order of N_1 it lacks the determinant's part of `one_layer`'s action.

    The order parameter is tᵀΦt/tᵀKt, by which the Gram matrix has grown along t; for identity σ it
    is Q = 1/(1 − tᵀKt/N_1), and `one_layer`'s mean at this Q. E_p is an average over `num_units`
    quasi-random units, the same ones in each call, with weights. `converged` is False, and
    `message` says why, where the weights are those of too few units, and where they have so heavy
    a tail that the average does not exist or is not found by a sample: unbounded σ (relu, identity)
    have G finite only within a wall, tᵀKt < N_1 for identity.

    Args:
        ensemble: the spec, and the training and test examples.
        num_units: rounded up to a power of two.

    Raises:
        NotApplicable: other than one hidden layer, fully connected, and one output.
        InputError: inputs that do not fit the spec; T = 0; a number of units below 64.

    Linear units with K = I: t solves (T + Q) t = y with Q = 1/(1 − |t|²/N_1)

    >>> data = two_points(2.0, -2.0)
    >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=1.0)
    >>> result = mean_field(Ensemble(spec, data), num_units=4096)
    >>> t = data.y_train - result.predictive_mean
    >>> (q,) = result.order_parameters
    >>> bool(abs(q - 1 / (1 - t @ t / 100)) < 1e-3), ((1 + q) * t).round(3)
    (True, array([ 2., -2.]))
    """
    return THEORY(ensemble, num_units=num_units)


class _Minimum(NamedTuple):
    """The minimum of G, and what belongs to it."""

    t: Float[np.ndarray, " P"]
    response: Response
    curvature: Float[np.ndarray, "P P"]  # the lower Cholesky factor of T + M
    value: float
    converged: bool


def _solve(ensemble: Ensemble, *, num_units: int = NUM_UNITS) -> Solution:
    (width,) = _domain(ensemble)
    spec, data = ensemble.spec, ensemble.data
    require_warm("mean_field", spec.temperature)
    units = draw_units(ensemble, num_units)
    noise = noise_of(units, spec.temperature)
    try:
        found = _minimum(units, data.y_train, noise, width)
    except np.linalg.LinAlgError:
        return Solution(not_found("mean_field", data, _COLLAPSED))
    log_determinant = 2 * float(np.sum(np.log(np.diag(found.curvature))))
    evidence = gaussian_evidence(log_determinant - 2 * found.value, data.num_train)
    along = found.response.along(units, found.t)
    process = contribution_at_tests(units, width, found.t, along, found.response)
    moments = gaussian_moments(
        units, data, spec.temperature, found.t, process, found.curvature, evidence
    )
    enough, message = about_the_sample(found.response)
    index = tail_index(found.response.weights)
    if heavy := index >= HEAVY_TAIL:
        message = joined(
            message,
            f"the weights of the units have a tail of index {index:.2f}: near the wall, where the "
            "average over units of an unbounded activation ceases to exist, samples do not find it",
        )
    if not found.converged:
        message = joined(f"no minimum of G found in {_MOST_STEPS} steps", message)
    converged = found.converged and enough and not heavy
    orders = (scale_along(units, found.response, found.t),)
    result = generalisation("mean_field", data, moments, orders, converged, message)
    return Solution(result, is_gaussian=True)


def action(
    units: Units,
    y: Float[np.ndarray, " P"],
    noise: Float[np.ndarray, "P P"],
    width: int,
    t: Float[np.ndarray, " P"],
) -> tuple[float, Response]:
    """G(t) with the sampled E_0, and the units' weights there; `noise` is T, and the bias's part.

    E_0[(φ·t)²], which the sample has wrong by its noise, is exact: G has ½ tᵀ(K − K_sample)t more.

    >>> data = two_points(2.0, -2.0)
    >>> spec = EnsembleSpec(2, (10**6,), identity, (0.5, 1.0), temperature=1.0)
    >>> units = draw_units(Ensemble(spec, data), 64)  # K = I
    >>> print(f"{action(units, data.y_train, np.eye(2), 10**6, np.ones(2))[0]:.4f}")  # 2/2 + 2/2
    2.0000
    """
    u = units.features @ t
    response = response_of(0.0, u, width)
    value = -y @ t + 0.5 * t @ noise @ t + width * response.log_normaliser
    beyond_the_sample = t @ units.gram @ t - np.mean(u**2)
    return float(value + 0.5 * beyond_the_sample), response


def _minimum(
    units: Units, y: Float[np.ndarray, " P"], noise: Float[np.ndarray, "P P"], width: int
) -> _Minimum:
    """The minimum of G by Newton's method, from infinite width on, with steps that lower it."""
    t = scipy.linalg.solve(noise + units.gram, y, assume_a="pos")
    value, response = action(units, y, noise, width, t)
    for _ in range(_MOST_STEPS):
        along = response.along(units, t)
        slope = noise @ t + along - y
        factor = scipy.linalg.cholesky(noise + response.covariance(units, along, width), lower=True)
        step = -scipy.linalg.cho_solve((factor, True), slope)
        decrement = float(-slope @ step)
        if decrement < _TOLERANCE * max(1.0, abs(value)):
            return _Minimum(t, response, factor, value, True)
        share = 1.0
        while True:
            trial, trial_response = action(units, y, noise, width, t + share * step)
            if trial <= value - _SUFFICIENT * share * decrement or share < 1e-6:
                break
            share /= 2
        t, value, response = t + share * step, trial, trial_response
    return _Minimum(t, response, factor, value, False)


def tail_index(weights: Float[np.ndarray, " n"]) -> float:
    """The index k of the tail P(w > s) ~ s^(−1/k) of weights: Hill's estimate, of their largest √n.

    From k = ½ on w has no variance, from 1 on no mean (Vehtari et al. 2024, J. Mach. Learn. Res.
    25:72, whose rule for averages with such weights is k < 0.7).

    >>> u = (np.arange(10**4) + 0.5) / 10**4
    >>> print(f"{tail_index(u**-0.5):.2f}")
    0.50
    """
    largest = np.sort(weights)[-int(3 * np.sqrt(len(weights))) :]
    return float(np.mean(np.log(largest[1:])) - np.log(largest[0]))


THEORY = Theory(
    "mean_field",
    _solve,
    summary="Each unit in the field of the data: the units' own posterior at labels of order √N_1.",
    style={"color": "#882255", "linestyle": (0, (5, 1, 1, 1, 1, 1)), "marker": "P"},
    domain=_domain,
    needs=Needs(10.0, programs=60e6, sampled=NUM_UNITS, least_depth=1, most_depth=1),
    on_request=True,
)
