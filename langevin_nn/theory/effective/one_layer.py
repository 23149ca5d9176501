"""One hidden layer at its saddle point: the theory `one_layer`, at one point or at many.

    S(Q) = N_1 (Q − 1 − log Q) + log det(T I + Q K_1) + yᵀ(T I + Q K_1)⁻¹y

(Pacelli et al. 2023, arXiv:2209.04882). The width N_1, the temperature T and the precision λ_1 of
the read-out leave the eigenvectors of K_1 as they are, K_1 ∝ 1/λ_1: one decomposition serves them
all.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, overload

import numpy as np
from jaxtyping import Bool, Float

from langevin_nn.data.dataset import Dataset
from langevin_nn.data.labels import is_right
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require
from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.effective.common import at_common_scale
from langevin_nn.theory.ensemble import gram_regression
from langevin_nn.theory.regression.eigenbasis import Regression
from langevin_nn.theory.regression.moments import Moments, as_resolved, gaussian_evidence
from langevin_nn.theory.regression.resolvable import require_resolved, require_resolved_action
from langevin_nn.theory.saddles.scale import ScaleAction, minimise
from langevin_nn.types import Generalisation, InputError

__all__ = ["THEORY", "OneLayerSweep", "one_layer"]

_POINTS_AT_ONCE = 512  # of a sweep: bounds the memory of the predictions
_domain = partial(require, "one_layer", depth=1)
Points = Float[np.ndarray, "*points"]


@dataclass(frozen=True, eq=False)
class OneLayerSweep:
    """The results of `one_layer` at many points: arrays of the shape that the points broadcast to.

    `width`, `readout_precision` and `temperature` are the points, the others as in
    `Generalisation`; `order_parameter` is Q*. Where no minimum was found, or rounding decides it,
    `converged` is False and the numbers are NaN. Training error and evidence alone are NaN where
    rounding decides them; a variance below 1e-6 of the targets' square may be its rounding, 1e-8 of
    that square at most.
    """

    width: Points
    readout_precision: Points
    temperature: Points
    order_parameter: Points
    bias2: Points
    variance: Points
    generalisation_error: Points
    train_error: Points
    test_accuracy: Points
    log_evidence: Points
    converged: Bool[np.ndarray, "*points"]


@overload
def one_layer(ensemble: Ensemble) -> Generalisation: ...
@overload
def one_layer(
    ensemble: Ensemble,
    *,
    width: Any = None,
    readout_precision: Any = None,
    temperature: Any = None,
) -> Generalisation | OneLayerSweep: ...
def one_layer(
    ensemble: Ensemble,
    *,
    width: Any = None,
    readout_precision: Any = None,
    temperature: Any = None,
) -> Generalisation | OneLayerSweep:
    """One hidden layer of finite width: the Gaussian process with Q* K_1, Q* minimising S(Q).

    With numbers or arrays for `width` (N_1), `readout_precision` (λ_1) or `temperature` (T) it
    answers for all of them at once, in the shape that they broadcast to, from the one decomposition
    of the ensemble; what is left out is as in its `spec`.

    S(Q) = N_1 (Q − 1 − log Q) + log det A + yᵀA⁻¹y, A = T I + Q K_1 (P, P), y (P,) (Pacelli et al.
    2023, arXiv:2209.04882; Baglioni et al. 2024, arXiv:2401.11004). It is derived for odd σ; for
    another, `message` says what is missing. If no minimum is found, the predictions are NaN and
    `converged` is False. The log evidence is −S(Q*)/2 − (P/2) log 2π, to leading order in N_1.

    Arguments and errors as for `infinite_width`; one hidden layer and one output, or NotApplicable.

    >>> data = two_points(2.0, -2.0)
    >>> spec = EnsembleSpec(2, (4,), identity, (0.5, 1.0), temperature=0.0)  # K = I: s = 4, α = ½
    >>> ensemble = Ensemble(spec, data)
    >>> print(f"{one_layer(ensemble).order_parameters[0]:.9f}")
    1.686140662
    >>> print(one_layer(ensemble, width=[4, 40, 4000]).order_parameter.round(4))
    [1.6861 1.1274 1.0015]
    """
    if width is None and readout_precision is None and temperature is None:
        return THEORY(ensemble)
    widths, spec = _domain(ensemble), ensemble.spec
    points = [
        default if value is None else value
        for value, default in (
            (width, widths[0]),
            (readout_precision, spec.prior_precisions[1]),
            (temperature, spec.temperature),
        )
    ]
    return _sweep(ensemble, *_checked_points(*points))


def _solve(ensemble: Ensemble) -> Solution:
    return at_common_scale("one_layer", _domain(ensemble), ensemble)


def _sweep(
    ensemble: Ensemble,
    widths: Points,
    readout_precisions: Points,
    temperatures: Points,
) -> OneLayerSweep:
    spec, data, regression = ensemble.spec, ensemble.data, gram_regression(ensemble)
    shape = widths.shape
    ratios = (spec.prior_precisions[1] / readout_precisions).ravel()
    flat_temperatures = temperatures.ravel()
    resolved = {
        temperature: regression.resolved(temperature)
        for temperature in np.unique(flat_temperatures)
    }
    saddles, curvatures = [], []
    for width, temperature, ratio in zip(widths.ravel(), flat_temperatures, ratios, strict=True):
        eigenvalues, targets, columns, _ = resolved[temperature]
        action = ScaleAction(
            (int(width),), float(temperature), ratio * eigenvalues, targets, columns
        )
        saddles.append(minimise(action))
        curvatures.append(float(action.curvature(float(np.log(saddles[-1].value)))))
    actions = [
        saddle.action + resolved[temperature].constant
        for saddle, temperature in zip(saddles, flat_temperatures, strict=True)
    ]
    orders = np.array([saddle.value for saddle in saddles])
    converged = np.array([saddle.converged for saddle in saddles])
    for i, (temperature, scale) in enumerate(zip(flat_temperatures, orders * ratios, strict=True)):
        try:
            require_resolved(regression, float(temperature), float(scale))
            require_resolved_action(regression, float(temperature), float(scale), curvatures[i])
        except InputError:
            orders[i], actions[i], converged[i] = np.nan, np.nan, False
    numbers = np.concatenate(
        [
            _averages(regression, data, flat_temperatures[chunk], (orders * ratios)[chunk])
            for chunk in np.array_split(
                np.arange(flat_temperatures.size), -(-flat_temperatures.size // _POINTS_AT_ONCE)
            )
        ],
        axis=1,
    )
    evidences = np.array([gaussian_evidence(action, data.num_train) for action in actions])
    for i, (temperature, scale) in enumerate(zip(flat_temperatures, orders * ratios, strict=True)):
        undefined = np.full(data.num_test, np.nan)
        moments = Moments(undefined, undefined, float(numbers[2, i]), float(evidences[i]))
        moments = as_resolved(moments, regression, float(temperature), float(scale))
        numbers[2, i], evidences[i] = moments.train_error, moments.log_evidence
    bias2, variance, train_error, accuracy = (row.reshape(shape) for row in numbers)
    return OneLayerSweep(
        width=widths,
        readout_precision=readout_precisions,
        temperature=temperatures,
        order_parameter=orders.reshape(shape),
        bias2=bias2,
        variance=variance,
        generalisation_error=bias2 + variance,
        train_error=train_error,
        test_accuracy=accuracy,
        log_evidence=evidences.reshape(shape),
        converged=converged.reshape(shape),
    )


def _averages(
    regression: Regression,
    data: Dataset,
    temperatures: Float[np.ndarray, " n"],
    scales: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "4 n"]:
    """bias², variance, training error and test accuracy at each of n points, in four rows."""
    mean = regression.mean(temperatures, scales)
    right = is_right(mean.T, data.y_test, data.targets_midpoint).mean(axis=1)
    return np.array(
        [
            np.mean(np.square(data.y_test[:, None] - mean), axis=0),
            np.mean(regression.variance(temperatures, scales), axis=0),
            regression.train_error(temperatures, scales),
            np.where(np.isfinite(mean).all(axis=0), right, np.nan),
        ]
    )


def _checked_points(width: Any, readout_precision: Any, temperature: Any) -> list[Points]:
    """Widths, precisions and temperatures as float64 arrays of one shape.

    Raises `InputError` for values that no ensemble has.
    """
    try:
        if any(
            type(v).__name__ in ("bool", "MaskedArray") or np.asarray(v).dtype.kind not in "iuf"
            for v in (width, readout_precision, temperature)
        ):
            raise TypeError("a Boolean, a masked array or no number")
        points = [np.asarray(v, np.float64) for v in (width, readout_precision, temperature)]
        points = [array.copy() for array in np.broadcast_arrays(*points)]
    except (TypeError, ValueError) as error:
        shapes = [np.shape(v) for v in (width, readout_precision, temperature)]
        raise InputError(
            "width, readout_precision and temperature must be numbers or arrays that broadcast, "
            f"got shapes {shapes}"
        ) from error
    rules = (
        ("width", "whole numbers from 1", lambda v: (v >= 1) & (v == np.floor(v))),
        ("readout_precision", "positive and finite", lambda v: v > 0),
        ("temperature", "zero or positive, and finite", lambda v: v >= 0),
    )
    for (name, rule, holds), values in zip(rules, points, strict=True):
        invalid = values[~(holds(values) & np.isfinite(values))]
        if invalid.size:
            raise InputError(f"{name} must be {rule}, got {invalid[0]:g}")
    if not points[0].size:
        raise InputError("width, readout_precision and temperature are empty: give some points")
    return points


THEORY = Theory(
    "one_layer",
    _solve,
    summary="One hidden layer of finite width: one scale Q of K_1, at its saddle point.",
    style={"color": "#0072B2", "linestyle": "-", "marker": "o"},
    domain=_domain,
    one_scale=True,
    at_points=one_layer,
    is_first=True,
)
