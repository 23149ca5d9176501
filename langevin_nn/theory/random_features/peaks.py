"""Where the test error of random features has its maxima over the number of examples, and how high.

There are two: the linear part of σ is interpolated at P = N_0, all of it at P = N_1
(arXiv:2006.03509). As the ridge λ_L T → 0 at P = N_1 = ψ N_0 the degrees of freedom N_0 g
(`random_features`) approach the number of examples as ψ − g = √(λ_L T ψ w), at the root of
g(w) = ψ, and the error diverges:

    √(λ_L T) E → −(E_1 + τ² E_2)/(2(1 + a)(ψ(1 + a)² − a²) √(ψ w))

with E_1 and E_2 of Mei and Montanari's definition 1 there. At P = N_0 < N_1 it stays finite for any
σ that is not linear; for a linear σ, √(λ_L T) E → τ² |μ_1| √(1 − N_0/N_1)/2.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from langevin_nn.theory.random_features.errors import (
    FeatureDecomposition,
    random_feature_decomposition,
    random_feature_error,
)
from langevin_nn.theory.random_features.overlaps import (
    FeatureMoments,
    degrees_of_freedom,
    feature_moments,
    numerators,
)
from langevin_nn.types import Activation

__all__ = ["FeaturePeak", "random_feature_peaks"]


@dataclass(frozen=True)
class FeaturePeak:
    """A maximum of the mean predictor's test error; from `random_feature_peaks`.

    `kind` is "linear" for the one nearer to P = N_0, in the logarithm, and "nonlinear" for that
    nearer to P = N_1. It lies at `examples`, P/N_0, with the error `test_error`, whose `parts` are
    those of one network. `weight` is the limit of √(λ_L T) times the error at exactly P = N_0 or
    P = N_1 as λ_L T → 0: zero for a peak that stays finite without a ridge.
    """

    kind: str
    examples: float
    test_error: float
    parts: FeatureDecomposition
    weight: float


def random_feature_peaks(
    activation: Activation,
    features: float | int,
    *,
    temperature: float | int,
    precision: float | int = 1.0,
    noise_variance: float | int = 0.0,
    linear_power: float | int = 1.0,
    nonlinear_power: float | int = 0.0,
) -> tuple[FeaturePeak, ...]:
    """The maxima of `random_feature_error` over the number of examples, at a fixed T.

    Looked for between P/N_0 = 0.01 min(1, N_1/N_0) and 100 max(1, N_1/N_0). Arguments, and
    `InputError`, as there.

    >>> for peak in random_feature_peaks(tanh, 10.0, temperature=1e-4, noise_variance=5.0):
    ...     print(f"{peak.kind} at {peak.examples:.2f}: {peak.test_error:.1f}, {peak.weight:.3f}")
    linear at 1.08: 7.7, 0.000
    nonlinear at 10.02: 41.5, 0.437
    """
    options = {
        "temperature": temperature, "precision": precision, "noise_variance": noise_variance,
        "linear_power": linear_power, "nonlinear_power": nonlinear_power,
    }  # fmt: skip
    random_feature_error(activation, features, 1.0, **options)  # refuses what cannot be used
    moments = feature_moments(activation)

    def error(log_ratio: float) -> float:
        return random_feature_error(activation, features, math.exp(log_ratio), **options).test_error

    peaks = []
    for place in _maxima(error, math.log(features)):
        linear = abs(place) < abs(place - math.log(features))
        kind = "linear" if linear and moments.linear_power > 0 else "nonlinear"
        parts = random_feature_decomposition(activation, features, math.exp(place), **options)
        noise = noise_variance + nonlinear_power
        weight = _weight(moments, kind, float(features), float(linear_power), float(noise))
        peaks.append(FeaturePeak(kind, math.exp(place), error(place), parts, weight))
    return tuple(peaks)


def _maxima(error: Callable[[float], float], log_features: float) -> list[float]:
    """The maxima of a function of log P/N_0 that may have spikes at 0 and at log N_1/N_0."""
    ends = min(0.0, log_features) + math.log(0.01), max(0.0, log_features) + math.log(100)
    places = np.unique(np.concatenate([np.linspace(*ends, 400), [0.0, log_features]]))
    values = np.array([error(place) for place in places])
    inside = np.flatnonzero((values[1:-1] > values[:-2]) & (values[1:-1] >= values[2:])) + 1
    maxima = []
    for i in inside:
        best = minimize_scalar(
            lambda place: -error(place), bounds=(places[i - 1], places[i + 1]), method="bounded",
            options={"xatol": 1e-9},
        )  # fmt: skip
        maxima.append(float(best.x) if -best.fun > values[i] else float(places[i]))
    return maxima


def _weight(
    moments: FeatureMoments, kind: str, features: float, linear_power: float, noise: float
) -> float:
    """lim √(λ_L T) E at P = N_0 ("linear") or P = N_1, of a teacher's power and of noise."""
    linear, nonlinear = moments.linear_power, moments.nonlinear_power
    if nonlinear == 0 and features >= 1:
        # the features' rank is N_0: one peak, at P = N_0
        return 0.5 * noise * abs(moments.linear) * math.sqrt(1 - 1 / features)
    if kind == "linear":
        return 0.0

    def missing(log_w: float) -> float:
        return degrees_of_freedom(moments, math.exp(log_w)) - features

    low = math.log(features / (linear + nonlinear)) - 1
    high = low
    while missing(high) < 0:
        high += 5
    w = math.exp(brentq(missing, low, high, xtol=1e-14, rtol=1e-15))
    p, a = nonlinear * w, linear * w
    e1, e2 = numerators(p, a, features, features)
    steep = 2 * (1 + a) * (features * (1 + a) ** 2 - a**2) * math.sqrt(features * w)
    return -(linear_power * e1 + noise * e2) / steep
