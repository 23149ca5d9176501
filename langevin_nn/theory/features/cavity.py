"""One hidden unit in the field of the others: the theory `cavity`.

The read-out integrated out, hidden weights have their prior times exp(−Φ), with A = T + K_W,
K_W = (1/N_1) Σ_i φ_iφ_iᵀ and Φ = ½ log det A + ½ yᵀA⁻¹y. One more unit, of features φ, adds exactly

    ½ log(1 + q) − ½ u²/(N_1 (1 + q)),     q = φᵀA⁻¹φ/N_1,   u = φᵀA⁻¹y,

A that of the others. With A⁻¹ replaced by its mean G, all units have the distribution

    p(φ) ∝ p_0(φ) (1 + q)^(−½) exp(½ u²/(N_1 (1 + q))),     q = φᵀGφ/N_1,   u = φᵀG y,

the `response` to a = G y and B = G. By A⁻¹φ_i = A_{−i}⁻¹φ_i/(1 + q_i), A the matrix with unit i,

    G = (T + J)⁻¹,   J = E_p[φφᵀ/(1 + q)],

and, with the test inputs x among the points, the mean over hidden weights of the Gaussian process
that they leave has

    mean = J_x G y,   E_W[s_W] = J_xx − J_x G J_xᵀ,   Var_W[m_W] = Var_p[d u/(1 + q)]/(N_1 (1 − γ)),
    d = φ_x − J_x G φ,   γ = (1/N_1) Tr E_p[φφᵀ/(1 + q)²] G E_p[φφᵀ] G :

a unit's part of m_W is d u/(N_1 (1 + q)), of which N_1 independent ones are summed, and what one of
them changes in A changes d and u of all others, a geometric series in γ. variance = E_W[s_W] +
Var_W[m_W]. Fluctuations of u common to all units are left out. Derived here.

D outputs have A in common. One more unit then adds ½ D log(1 + q) − ½ |u|²/(N_1 (1 + q)), with u
and a = G y (P, D) of each output, and Var_W[m_W] of an output has that output's u.
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
from langevin_nn.theory.features.dense_units import DenseUnits, draw_dense_units
from langevin_nn.theory.features.field import Field, about_the_iteration, solve_field
from langevin_nn.theory.features.mean_kernels import said_by_units
from langevin_nn.theory.features.outputs import flat, solved_by, unflat
from langevin_nn.theory.features.response import (
    Response,
    about_the_sample,
    noise_of,
    require_warm,
    scale_along,
)
from langevin_nn.theory.features.units import NUM_UNITS
from langevin_nn.theory.regression.moments import Moments, generalisation, joined
from langevin_nn.types import Generalisation

__all__ = ["THEORY", "cavity"]

_domain = partial(require, "cavity", depth=1, several_outputs=True)


def cavity(ensemble: Ensemble, *, num_units: int = NUM_UNITS) -> Generalisation:
    """One hidden layer, any activation: a unit in the mean field of all others.

    With y (P,), one unit's features φ (P,) and the unit's own distribution
    p ∝ p_0 (1 + q)^(−½) exp(½ u²/(N_1 (1 + q))), q = φᵀGφ/N_1, u = φᵀG y, it solves

        G = (T + J)⁻¹,   J = E_p[φφᵀ/(1 + q)]   (P, P),

    mean = J_x G y and variance = J_xx − J_x G J_xᵀ + Var_p[d u/(1 + q)]/(N_1 (1 − γ)), the first of
    the Gaussian process given the hidden weights, the last of its mean over these. Everything is
    derived in `features.cavity`; for q = 0 the units' own distribution is that of van Meegen and
    Sompolinsky 2024, arXiv:2406.16689. As u² ≤ N_1 q yᵀG y, there is no wall for unbounded σ. Left
    out are the fluctuations that all units share: hard tasks, where the labels are far from what
    the prior expects, have them, and `propagation` and `one_layer` describe them.

    With D outputs y is (P, D), u a vector of D numbers, and G and q are the same for each output,
    in p ∝ p_0 (1 + q)^(−D/2) exp(½ |u|²/(N_1 (1 + q))).

    The order parameter is aᵀJa/aᵀKa at a = G y, by which the Gram matrix has grown along a.
    There is no log evidence. Averages over units and `converged` as for `propagation`.

    Arguments and errors as for `mean_field`; a loss that is not the squared one is NotApplicable.

    >>> data = two_points(2.0, -2.0)
    >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=1.0)
    >>> from langevin_nn.theory.effective.scale_mixture import scale_mixture
    >>> result, other = (theory(Ensemble(spec, data)) for theory in (cavity, scale_mixture))
    >>> bool(np.allclose(result.predictive_mean, other.predictive_mean, rtol=0.02))
    True
    """
    return THEORY(ensemble, num_units=num_units)


def _solve(ensemble: Ensemble, *, num_units: int = NUM_UNITS) -> Solution:
    (width,) = _domain(ensemble)
    spec, data = ensemble.spec, ensemble.data
    require_warm("cavity", spec.temperature)
    units = draw_dense_units(ensemble, num_units)
    noise, y = noise_of(units, spec.temperature), flat(data.y_train)
    field = solve_field(units, y, noise, width, partial(field_of_mean, units, y, noise))
    gain = _gain(units, width, field)
    moments = _moments(units, data, spec.temperature, width, field, gain)
    enough, message = about_the_sample(field.response)
    message = joined(about_the_iteration(field), message)
    if not gain < 1:
        message = joined(
            message, f"fluctuations of the units do not die out: their gain is {gain:.3g}"
        )
    converged = field.converged and enough and gain < 1
    orders = (scale_along(units, field.response, field.a),)
    result = generalisation("cavity", data, moments, orders, converged, message)
    return Solution(result, **said_by_units(ensemble, field.response))


def field_of_mean(
    units: DenseUnits,
    y: Float[np.ndarray, " m"],
    noise: Float[np.ndarray, "P P"],
    response: Response,
    a: Float[np.ndarray, " m"],
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, "P P"]]:
    """a = G y and the factor of G⁻¹ = T + J, for units of this response, whatever a was.

    G is the same for each output, so that w (1 + q)⁻¹ has one number for all.

    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (10**6,), identity, (0.5, 1.0), temperature=1.0)  # K = I
    >>> units = draw_dense_units(Ensemble(spec, data), 64)
    >>> from langevin_nn.theory.features.response import response_of
    >>> response = response_of(0.0, np.zeros(64), 10**6)
    >>> field_of_mean(units, data.y_train, np.eye(2), response, np.zeros(2))[0].round(9)
    array([0.5, 0. ])
    """
    linear = response.linear[:, 0, 0]
    mean_gram = units.second_moment(linear, float(np.sum(linear)))
    factor = scipy.linalg.cholesky(noise + mean_gram, lower=True)
    return solved_by(factor, y), factor


def _gain(units: DenseUnits, width: int, field: Field) -> float:
    """γ = (1/N_1) Tr E_p[φφᵀ/(1 + q)²] G E_p[φφᵀ] G."""
    linear, q, factor = field.response.linear[:, 0, 0], field.q[:, 0, 0], (field.factor, True)
    changes, sizes = (
        scipy.linalg.cho_solve(factor, units.second_moment(weights, float(np.sum(weights))))
        for weights in (linear / (1 + q), field.response.weights)
    )
    return float(np.sum(changes * sizes.T) / width)


def _moments(
    units: DenseUnits, data: Dataset, temperature: float, width: int, field: Field, gain: float
) -> Moments:
    """Mean, variance and training error, with the read-out's bias in k̃ = J_x + V_x Vᵀ and in G."""
    factor, green = (field.factor, True), scipy.linalg.cho_solve(
        (field.factor, True), np.eye(len(field.factor))
    )  # fmt: skip
    linear, q = field.response.linear[:, 0, 0], field.q[:, 0, 0]
    share, num_outputs = 1 / (width * (1 - gain)), field.u.shape[1]
    squares = [linear * u**2 / (1 + q) for u in field.u.T]  # w s², s = u/(1 + q)
    powers = [float(np.sum(of_output)) for of_output in squares]
    (inner, diagonal), *of_outputs = units.at_tests(
        (linear, float(np.sum(linear))), *zip(squares, powers, strict=True)
    )
    whole = inner + units.test_columns @ units.columns.T  # k̃
    smoother = scipy.linalg.cho_solve(factor, whole.T).T  # k̃ G
    conditional = (
        diagonal + np.sum(units.test_columns**2, axis=1) - np.sum(smoother * whole, axis=1)
    )
    means, variances, train_error = [], [], 0.0
    for a, y, weights, power, (cross, square) in zip(
        np.split(field.a, num_outputs), np.split(flat(data.y_train), num_outputs), squares, powers,
        of_outputs, strict=True,
    ):  # fmt: skip
        along = units.first_moment(linear, float(np.sum(linear)), a)  # E s φ
        fourth = units.second_moment(weights, power)  # E s² φφᵀ
        spread = square - 2 * np.sum(smoother * cross, axis=1)  # Var_p[d s]
        spread += np.sum(smoother @ fourth * smoother, axis=1) - (inner @ a - smoother @ along) ** 2
        means.append(whole @ a)
        variances.append(conditional + share * spread)
        at_train = np.sum(green * (fourth @ green)) - np.sum((green @ along) ** 2)
        at_train = temperature * (  # d = T G φ at the training inputs
            len(a) - temperature * np.trace(green) + temperature * share * at_train
        )
        residuals = y - along - units.columns @ (units.columns.T @ a)
        train_error += float((np.sum(residuals**2) + at_train) / len(a))
    shape = data.y_test.shape
    mean, variance = (unflat(np.concatenate(each), shape) for each in (means, variances))
    return Moments(mean=mean, variance=variance, train_error=train_error, log_evidence=np.nan)


THEORY = Theory(
    "cavity",
    _solve,
    summary="One unit in the field of the others, whose features follow the data.",
    style={"color": "#332288", "linestyle": (0, (1, 1)), "marker": "*"},
    domain=_domain,
    needs=Needs(
        10.0, programs=60e6, sampled=NUM_UNITS, per_unit_pair=12.0, least_depth=1, most_depth=1
    ),
    on_request=True,
)
