"""The parts of an error: noise, initialisation and sampling, from nested draws.

With predictions f_abc(x) of data set a, its features or initialisation b and noise c of the
labels of both, the error of one prediction is

    bias²            (E f − y)²
    sampling         Var_a E_bc f        of the training inputs
    initialisation   E_a Var_b E_c f
    noise            E_ab Var_c f

averaged over test points (d'Ascoli, Refinetti, Biroli, Krzakala, arXiv:2003.01054, section 2). The
estimates are those of a nested analysis of variance, without bias at any number of draws: a
variance of means has the variances within its parts subtracted.
"""

from dataclasses import dataclass

import numpy as np

from langevin_nn.analysis.resampling import jackknife
from langevin_nn.data.dataset import as_numbers
from langevin_nn.types import Estimate, InputError

__all__ = ["ErrorParts", "error_parts"]


@dataclass(frozen=True)
class ErrorParts:
    """The parts of the error of one prediction; made by `error_parts`.

    Their sum `total` is the mean squared error of one prediction. An estimate that subtracts may
    be negative where a part is small.
    """

    bias2: Estimate
    sampling: Estimate
    initialisation: Estimate
    noise: Estimate
    total: Estimate


def error_parts(predictions: np.ndarray, y_test: np.ndarray) -> ErrorParts:
    """Bias² and the three variances of predictions at test points, with jackknife errors.

    Args:
        predictions: (data sets, features, noise, P_test), f_abc(x): for each data set its features,
            for each of these its noise, drawn independently. One teacher gives all labels.
        y_test: (P_test,) labels without noise.

    Standard errors are the jackknife's over the data sets, of the same test points.

    Raises `InputError` for fewer than three data sets, two features or two draws of the noise, and
    for shapes that do not fit.

    >>> rng = np.random.default_rng(0)
    >>> size = (50, 4, 4, 200)
    >>> f = 1.0 + rng.normal(size=(50, 1, 1, 200)) + 2 * rng.normal(size=(50, 4, 1, 200))
    >>> found = error_parts(f + 3 * rng.normal(size=size), np.zeros(200))
    >>> [round(getattr(found, name).value) for name in ("bias2", "sampling", "initialisation")]
    [1, 1, 4]
    >>> round(found.noise.value), round(found.total.value)
    (9, 15)
    """
    f, y = as_numbers("predictions", predictions), as_numbers("y_test", y_test)
    if f.ndim != 4 or y.shape != f.shape[3:]:
        raise InputError(
            "predictions (data sets, features, noise, P_test) and y_test (P_test,) were expected, "
            f"got {f.shape} and {y.shape}"
        )
    if f.shape[0] < 3 or min(f.shape[1:3]) < 2:
        raise InputError(
            "three data sets, two features of each and two draws of the noise are needed at least, "
            f"got {f.shape[:3]}"
        )
    # The contributions of each data set at each test point: its mean, and two mean variances.
    feature_means = f.mean(axis=2)
    means = feature_means.mean(axis=1)
    between = feature_means.var(axis=1, ddof=1)
    within = f.var(axis=2, ddof=1).mean(axis=1)
    num_features, num_noise = f.shape[1:3]

    def noise(chosen: np.ndarray) -> float:
        return float(within[chosen].mean())

    def initialisation(chosen: np.ndarray) -> float:
        return float(between[chosen].mean()) - noise(chosen) / num_noise

    def sampling(chosen: np.ndarray) -> float:
        variance = float(means[chosen].var(axis=0, ddof=1).mean())
        return variance - float(between[chosen].mean()) / num_features

    def bias2(chosen: np.ndarray) -> float:
        plug_in = float(np.mean((means[chosen].mean(axis=0) - y) ** 2))
        return plug_in - float(means[chosen].var(axis=0, ddof=1).mean()) / len(chosen)

    def parts(chosen: np.ndarray) -> dict[str, float]:
        values = {
            "bias2": bias2(chosen), "sampling": sampling(chosen),
            "initialisation": initialisation(chosen), "noise": noise(chosen),
        }  # fmt: skip
        return values | {"total": sum(values.values())}

    return ErrorParts(**jackknife(parts, len(f)))
