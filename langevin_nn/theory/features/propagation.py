"""Expectation propagation over hidden units: the theory `propagation`.

f = Σ_i g_i, g_i = v_i φ_i/√N_1, is a sum of N_1 independent vectors, over training and test points.
Each one's prior is replaced by a Gaussian site N(μ, S), the same for all, chosen such that a unit
with its true prior, among N_1 − 1 sites, has the mean m and the covariance C that its site gives
it. The field of the sites on the unit (`response`) has the covariance and the mean

    B⁻¹ = T + (N_1 − 1) S,   a = B (y − (N_1 − 1) μ),
    N_1 m = J a,   N_1 C = J + E_p[φφᵀ u²/(N_1 (1 + q)²)] − (J a)(J a)ᵀ/N_1,

and S⁻¹ = C⁻¹ − B, all at the training points. With the field of all sites, α = a − B m, and B m the
unit's own part in it, the means say T α = y − N_1 m. In the basis in which T and C are diagonal the
other equation is a quadratic one: for T = 1 and the eigenvalues c of N_1 C and s of N_1 S

    (1 − 1/N_1) s² + (1 − c) s − c = 0.

Over test inputs x as well, with S_x = C_x + C_x (B⁻¹ − C)⁻¹ C and so on,

    mean = N_1 m_x,   variance = N_1 S_xx − N_1² S_x (T + N_1 S)⁻¹ S_xᵀ,
    log p(y) = −½ αᵀT α − N_1 m·α − (N_1/2) mᵀB m + N_1 log Z
               + ½ (N_1 − 1) log det(T + N_1 S) − ½ N_1 log det B⁻¹ − (P/2) log 2π,

Z = E_0[(1 + q)^(−½) exp(½ u²/(N_1 (1 + q)))] a unit's integral: it is the evidence of N_1 sites
times, for each unit, the ratio of its integral to that of its site. Mean, variance and evidence are
exact to order 1/N_1 at fixed P. Without q, and with C for S, they are those of `mean_field`. With D
outputs all is of P D numbers, one output after the other (`response`).
Expectation propagation: Minka 2001, arXiv:1301.2294; its use for the units of a layer is derived
here.
"""

from functools import partial

import numpy as np
import scipy.linalg
from jaxtyping import Float

from langevin_nn.data.dataset import Dataset
from langevin_nn.footprint import Needs
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require
from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.features.field import Field, about_the_iteration, solve_field
from langevin_nn.theory.features.mean_kernels import said_by_units
from langevin_nn.theory.features.outputs import flat, repeated
from langevin_nn.theory.features.response import (
    Contribution,
    Response,
    about_the_sample,
    contribution_at_tests,
    gaussian_moments,
    gaussian_train_error,
    noise_of,
    require_warm,
    scale_along,
)
from langevin_nn.theory.features.samples import draw_units
from langevin_nn.theory.features.units import NUM_UNITS, Units
from langevin_nn.theory.regression.moments import (
    Moments,
    gaussian_evidence,
    generalisation,
    joined,
    not_found,
)
from langevin_nn.types import Generalisation

__all__ = ["THEORY", "propagation"]

_domain = partial(
    require, "propagation", depth=1, least_width=2, several_outputs=True, convolutional=None
)

_NEGATIVE = 1e-6
"""The largest negative eigenvalue of a covariance that is put down to rounding and the sample."""


def propagation(ensemble: Ensemble, *, num_units: int | None = None) -> Generalisation:
    """One hidden layer, any activation: each unit among the others, by expectation propagation.

    f is the sum of N_1 units' contributions. The prior of each is replaced by a Gaussian N(μ, S)
    such that a unit with its true prior among N_1 − 1 Gaussian ones has the mean m and covariance C
    that the Gaussian gives it. With y, m (P,), S, C (P, P) and one unit's features φ (P,),

        B⁻¹ = T + (N_1 − 1) S,   a = B (y − (N_1 − 1) μ),   q = φᵀBφ/N_1,   u = φᵀa,
        p ∝ p_0 (1 + q)^(−½) exp(½ u²/(N_1 (1 + q))),   N_1 m = E_p[φ u/(1 + q)],   S⁻¹ = C⁻¹ − B,

    and mean = N_1 m_x (equations in `features.propagation`, where its use here is derived; for the
    method: Minka 2001, arXiv:1301.2294). Mean, variance and log evidence are exact to order 1/N_1
    at fixed P, as `width_expansion`, and have all orders of the units' turning towards the task and
    of their common scale. On the validity map (MNIST, erf, P = 50) it is within 0.8 % of the exact
    sampler at every point with N_1 ≥ P. Below P, where λ_1 is small as well, it is wrong, or has no
    fixed point that the iteration finds.

    With D outputs y, m and a are of P D numbers, S, C and B (P D, P D), q (D, D) and u (D,). The
    units of a convolutional layer are its N_1 channels, q is (n, n) and u (n,) over n patches
    (`features.response`).

    The order parameter is aᵀJa/aᵀKa, by which the Gram matrix has grown along a. E_p is an average
    over `num_units` quasi-random units with weights (32,768; fewer with patches), the same units in
    each call, with the exact K as control variate. `converged` is False, and `message` says why,
    where the iteration does not end, or the weights are those of too few units.

    Arguments and errors as for `mean_field`; two hidden units or more, and the squared loss, or
    NotApplicable.

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


def _solve(ensemble: Ensemble, *, num_units: int | None = None) -> Solution:
    (width,) = _domain(ensemble)
    spec, data = ensemble.spec, ensemble.data
    require_warm("propagation", spec.temperature)
    units = draw_units(ensemble, num_units)
    noise, y = repeated(noise_of(units, spec.temperature), data.num_outputs), flat(data.y_train)
    update = partial(field_of_sites, units, y, noise, width)
    field = solve_field(units, y, noise, width, update)
    enough, message = about_the_sample(field.response)
    message = joined(about_the_iteration(field), message)
    try:
        moments = _moments(units, data, noise, spec.temperature, width, field)
    except np.linalg.LinAlgError:
        reason = joined(message, "the sampled units are no distribution there")
        return Solution(not_found("propagation", data, reason))
    converged = field.converged and enough
    orders = (scale_along(units, field.response, field.a),)
    result = generalisation("propagation", data, moments, orders, converged, message)
    return Solution(result, is_gaussian=True, **said_by_units(ensemble, field.response))


def sites_of(
    covariance: Float[np.ndarray, "m m"], noise: Float[np.ndarray, "m m"], width: int
) -> Float[np.ndarray, "m m"]:
    """N_1 S of the sites with S⁻¹ = C⁻¹ − B, B⁻¹ = T + (N_1 − 1) S, from N_1 C = `covariance`.

    Raises `numpy.linalg.LinAlgError` where C, an average over a sample, is no covariance.

    >>> sites = sites_of(np.diag([3.0, 0.0]), 2 * np.eye(2), 10)
    >>> others = 2 + 0.9 * sites[0, 0]
    >>> print(f"{sites[0, 0]:.4f} {1 / (10 / sites[0, 0] + 1 / others):.4f} {sites[1, 1]:.4f}")
    3.1966 0.3000 0.0000
    """
    root = scipy.linalg.cholesky(noise, lower=True)
    half = scipy.linalg.solve_triangular(root, covariance, lower=True)
    c, vectors = scipy.linalg.eigh(scipy.linalg.solve_triangular(root, half.T, lower=True))
    if not c[0] >= -_NEGATIVE * max(1.0, c[-1]):
        raise np.linalg.LinAlgError("the sampled covariance of a unit is not positive")
    c, share = np.maximum(c, 0.0), 1 - 1 / width
    discriminant = np.sqrt((1 - c) ** 2 + 4 * share * c)
    s = np.where(
        c < 1, 2 * c / (np.abs(1 - c) + discriminant), (c - 1 + discriminant) / (2 * share)
    )
    basis = root @ vectors
    return (basis * s) @ basis.T


def field_of_sites(
    units: Units,
    y: Float[np.ndarray, " m"],
    noise: Float[np.ndarray, "m m"],
    width: int,
    response: Response,
    a: Float[np.ndarray, " m"],
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, "m m"]]:
    """The next a, by a Newton step of T α = y − N_1 m, and the factor of B⁻¹.

    >>> from langevin_nn.theory.features.response import response_of
    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (10**6,), identity, (0.5, 1.0), temperature=1.0)  # K = I
    >>> units = draw_units(Ensemble(spec, data), 64)
    >>> response = response_of(0.0, np.zeros(64), 10**6)
    >>> a, factor = field_of_sites(units, data.y_train, np.eye(2), 10**6, response, np.zeros(2))
    >>> a.round(5), np.diag(factor @ factor.T).round(5)
    (array([0.5, 0. ]), array([2., 2.]))
    """
    along = response.along(units, a)
    sites = sites_of(response.covariance(units, along, width), noise, width)
    factor, of_all = (
        scipy.linalg.cholesky(noise + share * sites, lower=True) for share in (1 - 1 / width, 1.0)
    )
    own = scipy.linalg.cho_solve((factor, True), along) / width  # B m
    alpha = a - own
    alpha = alpha + scipy.linalg.cho_solve((of_all, True), y - noise @ alpha - along)
    return alpha + own, factor


def _moments(
    units: Units,
    data: Dataset,
    noise: Float[np.ndarray, "m m"],
    temperature: float,
    width: int,
    field: Field,
) -> Moments:
    a, factor, response = field.a, field.factor, field.response
    along = response.along(units, a)
    covariance = response.covariance(units, along, width)  # N_1 C
    sites = sites_of(covariance, noise, width)
    of_all = scipy.linalg.cholesky(noise + sites, lower=True)
    alpha = a - scipy.linalg.cho_solve((factor, True), along) / width
    unit = contribution_at_tests(units, width, a, along, response)
    gap = scipy.linalg.cholesky(factor @ factor.T - covariance / width, lower=True)  # B⁻¹ − C
    inside, at_tests = (
        scipy.linalg.solve_triangular(gap, matrix.T, lower=True)
        for matrix in (covariance, unit.cross)
    )
    process = Contribution(
        unit.mean,
        unit.cross + at_tests.T @ inside / width,
        unit.variance + np.sum(at_tests**2, axis=0) / width,
    )
    evidence = _log_evidence(units, noise, width, field, along, alpha, of_all)
    train_error = gaussian_train_error(data, temperature, alpha, of_all)
    return gaussian_moments(units, data, alpha, process, of_all, train_error, evidence)


def _log_evidence(
    units: Units,
    noise: Float[np.ndarray, "m m"],
    width: int,
    field: Field,
    along: Float[np.ndarray, " m"],
    alpha: Float[np.ndarray, " m"],
    of_all: Float[np.ndarray, "m m"],
) -> float:
    """log p(y), with E_0 q and E_0 u² exact, as K is, in the units' integral."""
    a, factor, response = field.a, field.factor, field.response
    inverse = scipy.linalg.solve_triangular(factor, np.eye(len(a)), lower=True)
    sampled = np.mean(field.u[:, :, None] * field.u[:, None, :], axis=0)
    beyond_the_sample = units.prior_outputs(a) - sampled
    exact = units.prior_quadratic_form(inverse)
    beyond_the_sample -= exact - width * np.mean(field.q, axis=0)
    beyond = float(np.sum(response.known * beyond_the_sample))
    integral = width * response.log_normaliser + 0.5 * beyond
    own = np.sum((inverse @ along) ** 2) / width  # N_1 mᵀB m
    determinant, of_others = (2 * np.sum(np.log(np.diag(root))) for root in (of_all, factor))
    return gaussian_evidence(
        alpha @ noise @ alpha + 2 * along @ alpha + own - 2 * integral
        - (width - 1) * determinant + width * of_others,
        len(a),
    )  # fmt: skip


THEORY = Theory(
    "propagation",
    _solve,
    summary="Expectation propagation over hidden units: each one and their scale follow the data.",
    style={"color": "#117733", "linestyle": (0, (4, 1.5)), "marker": "X"},
    domain=_domain,
    needs=Needs(
        10.0,
        per_pair=2.0,
        programs=60e6,
        sampled=NUM_UNITS,
        per_output_pair=6.0,
        per_unit_pair=60.0,
        least_depth=1,
        most_depth=1,
    ),
    on_request=True,
)
