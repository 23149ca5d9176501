"""One hidden layer to order 1/N_1, any activation: the theories `width_expansion` and `matched`.

    width_expansion   m₀ + c_m/N_1, s₀ + c_s/N_1       exact to order 1/N_1
    matched           `scale_mixture` + (c − c')/N_1    as well, and all orders of the scale

with the coefficients c of `hidden_units`, and c' those of a fluctuating scale alone.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from langevin_nn.data.dataset import Dataset
from langevin_nn.footprint import Needs
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require
from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.effective.common import scale_action
from langevin_nn.theory.effective.hidden_units import (
    Terms,
    pull_of_targets,
    width_terms,
    with_training_points,
)
from langevin_nn.theory.ensemble import gram_regression
from langevin_nn.theory.regression.eigenbasis import Regression
from langevin_nn.theory.regression.moments import (
    Moments,
    as_resolved,
    gaussian_evidence,
    generalisation,
    joined,
    with_errors,
)
from langevin_nn.theory.regression.resolvable import require_resolved, require_resolved_action
from langevin_nn.theory.saddles.average import average_over_scale
from langevin_nn.theory.saddles.scale import minimise
from langevin_nn.types import Generalisation

__all__ = ["MATCHED", "WIDTH_EXPANSION", "NUM_UNITS", "matched", "width_expansion"]

NUM_UNITS = 100_000
"""The default number of hidden units that the coefficients are averages over."""

_expansion_domain = partial(require, "width_expansion", depth=1, several_outputs=True)
_matched_domain = partial(require, "matched", depth=1)
_VARIANCE_ROUNDING = 1e-10
"""Part of the largest variance: where the data say everything, it is not exactly zero."""


def width_expansion(ensemble: Ensemble, *, num_units: int = NUM_UNITS) -> Generalisation:
    """The posterior to order 1/N_1: one hidden layer, any activation, several outputs, biases.

    mean = m₀ + c_m/N_1 and variance = s₀ + c_s/N_1, c (P_test, D) by the equations of
    `hidden_units` (derived there; this order for deep networks, in another form: Yaida 2020,
    arXiv:1910.00019). The training error is the average of
    (y − mean)² + variance over the training points, with both to the same order there
    (d = T A⁻¹φ): like bias², the square is not expanded again. The coefficients are averages over
    `num_units` random hidden units, the same ones in each call (`hidden_units.SEED`). The `mcse`
    of bias², variance, generalisation and training error come from the scatter of at least 64
    batches of them, each number linearised around its value; predictions at single points, the
    accuracy and the log evidence have noise of the same origin and carry none. The order
    parameter is Q = 1.

    N_1 is taken large at fixed data: where the corrections are not small, they are wrong. So they
    are where the targets turn single units, aᵀKa/N_1 ≥ 1 (`hidden_units.pull_of_targets`), as with
    targets of order √N_1 or a richness of order one; `message` says so. A
    variance that comes out negative stays so, and `message` says at how many points. Memory: a few
    arrays of 32 MiB, and those of (P_test + P) × (P + N_0). Time: seconds for P = 100 and
    P_test = 1000.

    Args:
        ensemble: the spec, and the training and test examples.
        num_units: rounded up to fill the batches.

    Raises:
        NotApplicable: other than one hidden layer, fully connected.
        InputError: inputs that do not fit the spec; T = 0 with a singular Gram matrix; fewer than
            64 units.

    Linear units with K = I and P = 2 at T = 0: where the data say nothing, the variance is
    E[Q | y] = 1 + (|y|² − P)/N_1 + …

    >>> x, y = np.eye(3), np.array([2.0, -2.0])
    >>> data = Dataset("two points", x[:2], y, x[2:], np.zeros(1))
    >>> spec = EnsembleSpec(3, (100,), identity, (1 / 3, 1.0), temperature=0.0)  # K = I
    >>> variance = width_expansion(Ensemble(spec, data)).variance
    >>> abs(variance.value - (1 + 2 * (2**2 - 1) / 100)) < 5 * variance.mcse < 0.01
    True
    """
    return WIDTH_EXPANSION(ensemble, num_units=num_units)


def _solve_expansion(ensemble: Ensemble, *, num_units: int = NUM_UNITS) -> Solution:
    (width,) = _expansion_domain(ensemble)
    spec, data = ensemble.spec, ensemble.data
    everywhere = with_training_points(gram_regression(ensemble))
    outputs, temperature = everywhere.per_output(), spec.temperature
    for output in outputs:
        require_resolved(output, temperature)
        require_resolved_action(output, temperature, 1.0)
    actions = [scale_action(spec, output, (1,)) for output in outputs]
    misfits = [float(action.misfit(0.0)) + constant for action, constant in actions]
    base = Moments(
        mean=np.stack([output.mean(temperature) for output in outputs], axis=1),
        variance=np.stack([output.variance(temperature) for output in outputs], axis=1),
        train_error=np.nan,
        log_evidence=sum(gaussian_evidence(misfit, data.num_train) for misfit in misfits),
    )
    terms = width_terms(ensemble, everywhere, 1.0, num_units)
    message = joined(
        _about_targets(pull_of_targets(everywhere, temperature, 1.0), width),
        _about_rounding(everywhere, data, temperature, 1.0),
    )
    rounding = _rounding(everywhere)
    return Solution(
        _corrected("width_expansion", data, base, terms, width, (1.0,), rounding, message)
    )


def matched(ensemble: Ensemble, *, num_units: int = NUM_UNITS) -> Generalisation:
    """`scale_mixture` plus what it lacks at order 1/N_1: exact to that order, with a scale Q*.

    The mixture has δK = x K with Var x = 2/N_1 only, whose coefficients of 1/N_1 are, with
    m' = E a, s' = E_w[d²] and Φ' = ½ (tr A⁻¹K − aᵀK a),

        mean      2 [−E A⁻¹K a − m'Φ'],        variance   2 [−diag(E A⁻¹Eᵀ) − s'Φ' + m'²],
        log Z     2 [¼ tr (A⁻¹K)² − ½ aᵀK A⁻¹K a + ½ Φ'²]

    (what `width_expansion` has for Gaussian φ, by Wick's theorem; derived in `hidden_units`; K, A
    (P, P), E (P_test, P), a (P,)). The difference of the two, both
    with Q*K for K and √Q* φ for φ at the Q* of `one_layer`, is divided by N_1 and added to the
    mixture's mean, variance and log evidence. For linear networks it is Monte-Carlo noise, within
    the `mcse`. If σ is not odd, Q* is not its saddle point, and order 1/N_1 is exact all the same.
    The order parameter is Q*.

    Arguments and errors as for `width_expansion`, and the training error and the `mcse` are made
    as there; one output, or NotApplicable. `converged` is False, and `message` says why, if no Q*
    is found or the average over Q does not converge. It also says where aᵀKa/N_1 ≥ 1, as in
    `width_expansion`, with Q*K for K: what is beyond the scale is then not small.

    >>> from langevin_nn.theory.effective.scale_mixture import scale_mixture
    >>> x, y = np.eye(3), np.array([2.0, -2.0])
    >>> data = Dataset("two points", x[:2], y, x[2:], np.zeros(1))
    >>> spec = EnsembleSpec(3, (100,), identity, (1 / 3, 1.0), temperature=0.0)
    >>> ensemble = Ensemble(spec, data)
    >>> variance = matched(ensemble).variance
    >>> abs(variance.value - scale_mixture(ensemble).variance.value) < 5 * variance.mcse < 0.01
    True
    """
    return MATCHED(ensemble, num_units=num_units)


def _solve_matched(ensemble: Ensemble, *, num_units: int = NUM_UNITS) -> Solution:
    (width,) = _matched_domain(ensemble)
    spec, data = ensemble.spec, ensemble.data
    everywhere = with_training_points(gram_regression(ensemble))
    action, constant = scale_action(spec, everywhere, (width,))
    saddle, average = minimise(action), average_over_scale(action, constant, everywhere)
    mixture = average.moments
    message, orders = joined(saddle.message, average.message), (saddle.value,)
    if np.isnan(saddle.value):
        num_test = data.num_test
        undefined = Moments(mixture.mean[:num_test], mixture.variance[:num_test], np.nan, np.nan)
        return Solution(generalisation("matched", data, undefined, orders, False, saddle.message))
    base = mixture._replace(mean=mixture.mean[:, None], variance=mixture.variance[:, None])
    terms = width_terms(ensemble, everywhere, saddle.value, num_units, beyond_scale=True)
    converged = saddle.converged and average.converged
    rounding = _rounding(everywhere)
    rounding_message = _about_rounding(everywhere, data, spec.temperature, average.order_parameter)
    pull = pull_of_targets(everywhere, spec.temperature, saddle.value)
    message = joined(message, _about_targets(pull, width), rounding_message)
    return Solution(
        _corrected("matched", data, base, terms, width, orders, rounding, message, converged)
    )


def _corrected(
    name: str,
    data: Dataset,
    base: Moments,
    batches: Terms,
    width: int,
    orders: tuple[float, ...],
    rounding: float,
    message: str = "",
    converged: bool = True,
) -> Generalisation:
    """The base at all points plus the batches' average/N_1; standard errors from their scatter."""
    shape, num_test = data.y_test.shape, data.num_test
    means, variances, evidences = (coefficients / width for coefficients in batches)
    mean, variance = base.mean + means.mean(axis=0), base.variance + variances.mean(axis=0)
    residuals = np.concatenate([data.y_test, data.y_train]).reshape(mean.shape) - mean
    losses = np.sum(residuals**2 + variance, axis=1)
    slopes = np.sum(-2 * residuals * means, axis=2), np.sum(variances, axis=2)  # (batches, n)
    bias2, spread = (slope[:, :num_test].mean(axis=1) for slope in slopes)
    train = sum(slope[:, num_test:].mean(axis=1) for slope in slopes)
    rounding = max(rounding, _VARIANCE_ROUNDING * float(np.max(np.abs(base.variance))))
    negative = np.any(variance < -rounding, axis=1)
    if np.any(negative):
        message = joined(
            message,
            f"order 1/N_1 makes the variance negative at {np.sum(negative[:num_test])} of "
            f"{num_test} test points and {np.sum(negative[num_test:])} of {data.num_train} "
            f"training points: N_1 = {width} is too small for the expansion, however well that is "
            "solved",
        )
    moments = Moments(
        mean=mean[:num_test].reshape(shape),
        variance=variance[:num_test].reshape(shape),
        train_error=float(np.mean(losses[num_test:])),
        log_evidence=base.log_evidence + float(evidences.mean()),
    )
    result = generalisation(name, data, moments, orders, converged, message)

    return with_errors(result, bias2, spread, train)


def _about_targets(pull: float, width: int) -> str:
    """The message where the targets change single units too much for an expansion in 1/N_1."""
    if pull < width:
        return ""
    return (
        f"the targets are too large for order 1/N_1: aᵀKa/N_1 = {pull / width:.3g}, by which they "
        "change the variance of a hidden unit, is not below 1, as at a richness of order one"
    )


def _about_rounding(everywhere: Regression, data: Dataset, temperature: float, scale: float) -> str:
    """The message on what float64 does not resolve of the variance at the test points."""
    tests = slice(data.num_test)
    at_tests = replace(
        everywhere.per_output()[0],
        projected_cross=everywhere.projected_cross[tests],
        test_diagonal=everywhere.test_diagonal[tests],
        test_columns=everywhere.test_columns[tests],
    )
    undefined = np.full(data.num_test, np.nan)
    return as_resolved(
        Moments(undefined, undefined, np.nan, np.nan), at_tests, temperature, scale
    ).message


def _rounding(everywhere: Regression) -> float:
    """How far rounding may put a variance off: P ε times the largest K(x, x) at the points."""
    size = everywhere.eigenvalues.size * np.finfo(np.float64).eps
    return float(size * np.max(everywhere.test_diagonal))


WIDTH_EXPANSION = Theory(
    "width_expansion",
    _solve_expansion,
    summary="Infinite width and its exact correction of order 1/N_1.",
    style={"color": "#CC79A7", "linestyle": (0, (1, 2.5)), "marker": "D"},
    domain=_expansion_domain,
    needs=Needs(10.0, programs=110e6, shared=NUM_UNITS, least_depth=1, most_depth=1),
    is_expansion=True,
)
MATCHED = Theory(
    "matched",
    _solve_matched,
    summary="scale_mixture and what it lacks at order 1/N_1: exact to that order, with a scale.",
    style={"color": "#D55E00", "linestyle": (0, (3, 1, 1, 1)), "marker": "v"},
    domain=_matched_domain,
    needs=Needs(10.0, programs=110e6, shared=NUM_UNITS, least_depth=1, most_depth=1),
    is_first=True,
    is_expansion=True,
)
