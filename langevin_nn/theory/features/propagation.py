"""Expectation propagation over hidden units: the theory `propagation`.

f = Σ_i g_i, g_i = v_i φ_i/√N_1, is a sum of N_1 independent vectors, over training and test points.
Each one's prior is replaced by a Gaussian site N(μ, S), the same for all, chosen such that a unit
with its true prior in the field of the sites has the moments that its site gives it. To leading
order in 1/N_1 (N_1 sites for the N_1 − 1 others), with the field of mean a and covariance B of
`response`,

    B⁻¹ = T + N_1 S,   a = B (y − N_1 μ),
    N_1 μ = J a − N_1 S a,   N_1 S = J + E_p[φφᵀ u²/(N_1 (1 + q)²)] − (J a)(J a)ᵀ/N_1,

all at the training points; the first moments say T a = y − J a. Over test inputs x as well,

    mean = J_x a,   variance = N_1 S_xx − N_1² S_x B S_xᵀ,
    log p(y) = log N(y; N_1 μ, T + N_1 S) + N_1 log E_0[(1 + q)^(−½) exp(½ u²/(N_1 (1 + q)))]
               − N_1 log ∫ N(g; μ, S) exp(a·g − ½ gᵀB g) dg,

the last integral being that of a site in the place of the unit, with m = J a/N_1

    log ∫ … = m·a − ½ aᵀS a − ½ log det(1 + S B) − ½ mᵀ(B⁻¹ + S)⁻¹m.

For Gaussian φ and N_1 → ∞ at fixed P/N_1, N_1 S = Q K beside a matrix of rank one, with the Q of
`one_layer`; for q = 0 it is `mean_field`. Expectation propagation: Minka 2001, arXiv:1301.2294; its
use for the units of a layer is derived here.
"""

from functools import partial

import numpy as np
import scipy.linalg
from jaxtyping import Float

from langevin_nn.footprint import Needs
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require
from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.features.field import Field, about_the_iteration, solve_field
from langevin_nn.theory.features.response import (
    Response,
    about_the_sample,
    gaussian_moments,
    noise_of,
    require_warm,
    scale_along,
)
from langevin_nn.theory.features.units import NUM_UNITS, Units, draw_units
from langevin_nn.theory.regression.moments import gaussian_evidence, generalisation, joined
from langevin_nn.types import Generalisation

__all__ = ["THEORY", "propagation"]

_domain = partial(require, "propagation", depth=1)


def propagation(ensemble: Ensemble, *, num_units: int = NUM_UNITS) -> Generalisation:
    """One hidden layer, any activation: each unit in the field of all, by expectation propagation.

    With y (P,), one unit's features φ (P,), J = E_p[φφᵀ/(1 + q)] (P, P), q = φᵀBφ/N_1, u = φᵀa and
    the unit's own distribution p ∝ p_0 (1 + q)^(−½) exp(½ u²/(N_1 (1 + q))), it solves

        T a = y − J a,   B⁻¹ = T + J + E_p[φφᵀ u²/(N_1 (1 + q)²)] − (J a)(J a)ᵀ/N_1,

    mean = J_x a, and the variance is that of a Gaussian process with B⁻¹ − T, over test inputs as
    well, for its Gram matrix. The units' turning towards the task and their common scale are in
    it: for Gaussian φ it has the Q of `one_layer`. It and its log evidence are derived in
    `features.propagation`; expectation propagation: Minka 2001, arXiv:1301.2294. It is best where
    N_1 is P or more. Far below P it may have no fixed point that the iteration finds, or one where
    few units carry all the weight.

    The order parameter is aᵀJa/aᵀKa, by which the Gram matrix has grown along a. E_p is an average
    over `num_units` quasi-random units with weights, the same units in each call, with the exact K
    as control variate. `converged` is False, and `message` says why, where the iteration does not
    end, or the weights are those of too few units.

    Arguments and errors as for `mean_field`.

    >>> data = two_points(2.0, -2.0)
    >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=1.0)
    >>> from langevin_nn.theory.effective.scale_mixture import scale_mixture
    >>> result, other = (theory(Ensemble(spec, data)) for theory in (propagation, scale_mixture))
    >>> bool(np.allclose(result.predictive_mean, other.predictive_mean, rtol=5e-3))
    True
    >>> print(f"{result.log_evidence:.2f} {other.log_evidence:.2f}")
    -4.54 -4.54
    """
    return THEORY(ensemble, num_units=num_units)


def _solve(ensemble: Ensemble, *, num_units: int = NUM_UNITS) -> Solution:
    (width,) = _domain(ensemble)
    spec, data = ensemble.spec, ensemble.data
    require_warm("propagation", spec.temperature)
    units = draw_units(ensemble, num_units)
    noise = noise_of(units, spec.temperature)
    update = partial(field_of_sites, units, data.y_train, noise, width)
    field = solve_field(units, data.y_train, noise, width, update)
    evidence = _log_evidence(units, noise, width, field)
    moments = gaussian_moments(
        units, data, spec.temperature, width, field.a, field.response, field.factor, evidence
    )
    enough, message = about_the_sample(field.response)
    message = joined(about_the_iteration(field), message)
    converged = field.converged and enough
    orders = (scale_along(units, field.response, field.a),)
    return Solution(generalisation("propagation", data, moments, orders, converged, message))


def field_of_sites(
    units: Units,
    y: Float[np.ndarray, " P"],
    noise: Float[np.ndarray, "P P"],
    width: int,
    response: Response,
    a: Float[np.ndarray, " P"],
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, "P P"]]:
    """The next a, a Newton step of T a = y − J a with B for its slope, and the factor of B⁻¹.

    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (10**6,), identity, (0.5, 1.0), temperature=1.0)  # K = I
    >>> units = draw_units(Ensemble(spec, data), 64)
    >>> from langevin_nn.theory.features.response import response_of
    >>> response = response_of(0.0, np.zeros(64), 10**6)
    >>> a, factor = field_of_sites(units, data.y_train, np.eye(2), 10**6, response, np.zeros(2))
    >>> a.round(9), np.diag(factor @ factor.T).round(9)
    (array([0.5, 0. ]), array([2., 2.]))
    """
    along = response.along(units, a)
    factor = scipy.linalg.cholesky(noise + response.covariance(units, along, width), lower=True)
    return a + scipy.linalg.cho_solve((factor, True), y - noise @ a - along), factor


def _log_evidence(units: Units, noise: Float[np.ndarray, "P P"], width: int, field: Field) -> float:
    """log p(y) of the sites, with E_0 q and E_0 u² exact, as K is, in the units' normaliser."""
    a, factor, response = field.a, field.factor, field.response
    inverse = factor @ factor.T  # B⁻¹
    sites = inverse - noise  # N_1 S
    along = response.along(units, a)
    solved = scipy.linalg.solve_triangular(factor, np.eye(len(a)), lower=True)
    trace = float(np.sum(solved @ units.gram * solved))  # Tr B K
    beyond_the_sample = a @ units.gram @ a - np.mean(field.u**2)
    beyond_the_sample -= trace - width * np.mean(field.q)
    normaliser = width * response.log_normaliser + 0.5 * response.known * beyond_the_sample
    next_factor = scipy.linalg.cholesky(inverse + sites / width, lower=True)
    pulled = scipy.linalg.solve_triangular(next_factor, along, lower=True)
    log_determinant, next_log_determinant = (
        2 * float(np.sum(np.log(np.diag(root)))) for root in (factor, next_factor)
    )
    site = along @ a - 0.5 * a @ sites @ a - 0.5 * pulled @ pulled / width
    site -= 0.5 * width * (next_log_determinant - log_determinant)
    misfit = a @ inverse @ a + log_determinant
    return gaussian_evidence(float(misfit - 2 * (normaliser - site)), len(a))


THEORY = Theory(
    "propagation",
    _solve,
    summary="Expectation propagation over hidden units: each one and their scale follow the data.",
    style={"color": "#117733", "linestyle": (0, (4, 1.5)), "marker": "X"},
    domain=_domain,
    needs=Needs(10.0, programs=600e6, least_depth=1, most_depth=1),
    on_request=True,
)
