"""Moments of the posterior at one order parameter Q, and the result that they make."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from langevin_nn.data.dataset import Dataset
from langevin_nn.data.labels import is_right
from langevin_nn.theory.regression.eigenbasis import Regression
from langevin_nn.theory.regression.resolvable import (
    RESOLVED,
    floor_of,
    moves_of,
    require_resolved,
    require_resolved_action,
)
from langevin_nn.types import Estimate, Generalisation

__all__ = [
    "Moments", "about_variances", "as_resolved", "gaussian_evidence", "generalisation", "joined",
    "moments_at_scale", "not_found", "with_errors",
]  # fmt: skip

Orders = tuple[float, ...] | tuple[tuple[float, ...], ...]


class Moments(NamedTuple):
    """Mean and variance of f at the test points, ⟨(y − f)²⟩ on the training set, log p(y | X).

    `message` says what of them float64 does not resolve. Made by `moments_at_scale` and averaged by
    `average_over_scale`.
    """

    mean: Float[np.ndarray, " P_test *D"]
    variance: Float[np.ndarray, " P_test *D"]
    train_error: float
    log_evidence: float
    message: str = ""


def gaussian_evidence(misfit: float, num_train: int) -> float:
    """log N(y; 0, A) from log det A + yᵀA⁻¹y, the `misfit`, and P.

    >>> print(f"{gaussian_evidence(misfit=1.0, num_train=1):.6f}")  # log N(1; 0, 1)
    -1.418939
    """
    return float(-0.5 * misfit - 0.5 * num_train * np.log(2 * np.pi))


def moments_at_scale(
    regression: Regression,
    temperature: float,
    scale: float,
    log_evidence: float = np.nan,
    curvature: float | None = None,
) -> Moments:
    """Moments of the Gaussian process with Gram matrix Q K, `as_resolved`; all NaN if Q is.

    Raises:
        InputError: the rounding of K decides mean or variance (`resolvable`), or it decides Q, if
            that is the minimum of an action of this `curvature` in log Q.

    >>> regression = decompose(GramBlocks(np.eye(1), np.ones((1, 1)), np.ones(1)), np.ones(1))
    >>> found = moments_at_scale(regression, temperature=1.0, scale=3.0)  # Q/(T + Q) = ¾
    >>> found.mean, found.variance, found.train_error
    (array([0.75]), array([0.75]), 0.8125)
    """
    require_resolved(regression, temperature, scale)
    if curvature is not None:
        require_resolved_action(regression, temperature, scale, curvature)
    moments = Moments(
        mean=regression.mean(temperature, scale),
        variance=regression.variance(temperature, scale),
        train_error=float(regression.train_error(temperature, scale)),
        log_evidence=log_evidence,
    )
    return as_resolved(moments, regression, temperature, scale)


def as_resolved(
    moments: Moments, regression: Regression, temperature: float, scale: float
) -> Moments:
    """The moments at T and Q, NaN for training error and evidence where rounding decides them.

    `message` says so, and to what a variance or training error is known that is as small as its
    rounding: at T = 0 they are zero at a training input.

    >>> regression = decompose(GramBlocks(np.eye(1), np.ones((1, 1)), np.ones(1)), np.ones(1))
    >>> moments_at_scale(regression, temperature=0.0, scale=1.0).message
    'float64 knows the variance at 1 of 1 test points to 1e-15 only'
    """
    if not np.isfinite(scale):
        return moments
    moves, floor = moves_of(regression, temperature, scale), floor_of(regression, scale)
    variance_message = about_variances(moves.variance, regression.variance(temperature, scale))
    messages = [moments.message, variance_message]
    if np.isfinite(moments.train_error) and moves.train_error > RESOLVED * moments.train_error:
        if moves.train_error <= RESOLVED * max(moments.train_error, floor):
            messages.append(f"float64 knows the training error to {moves.train_error:.0e} only")
        else:
            moments = moments._replace(train_error=np.nan)
            messages.append(
                "rounding of the Gram matrix decides the training error, which is left out"
            )
    size = max(2 * abs(moments.log_evidence), regression.projected_targets.size)
    if np.isfinite(moments.log_evidence) and not moves.misfit <= RESOLVED * size:
        moments = moments._replace(log_evidence=np.nan)
        messages.append("rounding of the Gram matrix decides the log evidence, which is left out")
    return moments._replace(message=joined(*messages))


def about_variances(
    moves: Float[np.ndarray, " P_test"], variances: Float[np.ndarray, " P_test"]
) -> str:
    """The message that rounding moves some variances by more than a hundredth of them; or "".

    >>> about_variances(np.array([1e-9, 1e-9]), np.array([1.0, 1e-8]))
    'float64 knows the variance at 1 of 2 test points to 1e-09 only'
    """
    small = moves > RESOLVED * variances
    if not np.any(small):
        return ""
    return (
        f"float64 knows the variance at {np.sum(small)} of {small.size} test points to "
        f"{np.max(moves[small]):.0e} only"
    )


def joined(*messages: str) -> str:
    """The messages that are not empty, each once.

    >>> joined("", "two minima", "not odd", "not odd")
    'two minima; not odd'
    """
    return "; ".join(dict.fromkeys(filter(None, messages)))


def generalisation(
    name: str,
    data: Dataset,
    moments: Moments,
    order_parameters: Orders = (),
    converged: bool = True,
    message: str = "",
) -> Generalisation:
    """The result of a theory: its moments averaged over the test set, and summed over outputs.

    bias² = Σ_x |y − mean|²/P_test, variance = Σ_x variance/P_test; `moments` has the shape of y.
    The accuracy, by `labels.is_right`, is NaN where the mean is.

    >>> data = two_points(1.0, -1.0)
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
        message=joined(message, moments.message),
    )


def with_errors(
    result: Generalisation,
    bias2: Float[np.ndarray, " batches"],
    variance: Float[np.ndarray, " batches"],
    train_error: Float[np.ndarray, " batches"],
) -> Generalisation:
    """The result with the standard errors of averages over independent batches.

    Each array has a batch's part in that number, or the derivative along it.

    >>> data = two_points(1.0, -1.0)
    >>> moments = Moments(np.array([1.0, -1.0]), np.array([0.5, 0.5]), 0.1, -3.0)
    >>> batches = np.array([1.0, 3.0])
    >>> with_errors(generalisation("mine", data, moments), batches, batches, batches).bias2.mcse
    1.0
    """

    def with_error(estimate: Estimate, numbers: Float[np.ndarray, " batches"]) -> Estimate:
        return Estimate(estimate.value, float(numbers.std(ddof=1) / np.sqrt(numbers.size)))

    return replace(
        result,
        bias2=with_error(result.bias2, bias2),
        variance=with_error(result.variance, variance),
        generalisation_error=with_error(result.generalisation_error, bias2 + variance),
        train_error=with_error(result.train_error, train_error),
    )


def not_found(name: str, data: Dataset, reason: str) -> Generalisation:
    """The result of a theory that has none: NaN for every number, `converged` False, the reason.

    >>> data = two_points(1.0, -1.0)
    >>> not_found("mine", data, "no minimum").bias2
    nan
    """
    undefined = np.full(data.y_test.shape, np.nan)
    return generalisation(
        name, data, Moments(undefined, undefined, np.nan, np.nan), (), False, reason
    )
