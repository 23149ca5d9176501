"""What effective theories share: the action of one scale, its saddle point, and messages."""

from functools import partial

import numpy as np
from jaxtyping import Float

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.base import Solution
from langevin_nn.theory.covariance import at_scales
from langevin_nn.theory.ensemble import gram_regression
from langevin_nn.theory.kernels.nngp import readout_columns
from langevin_nn.theory.regression.eigenbasis import Regression
from langevin_nn.theory.regression.moments import (
    gaussian_evidence,
    generalisation,
    joined,
    moments_at_scale,
)
from langevin_nn.theory.representation import by_the_evidence
from langevin_nn.theory.saddles.scale import ScaleAction, minimise
from langevin_nn.types import EnsembleSpec

__all__ = [
    "misfit_curvature",
    "scale_action",
    "in_range",
    "about_the_mean",
    "at_common_scale",
]


def scale_action(
    spec: EnsembleSpec, regression: Regression, widths: tuple[int, ...]
) -> tuple[ScaleAction, float]:
    """S of one output's decomposed Gram matrix, and the constant that a singular one adds to it.

    The constant is not part of S, which it would drown (`Regression.resolved`).

    >>> data = two_points(2.0, -2.0)
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)  # K = I
    >>> action, constant = scale_action(linear, gram_regression(Ensemble(linear, data)), (4,))
    >>> print(f"{action.misfit(0.0):.9f} {2 * np.log(2) + 8 / 2:.9f} {constant}")
    5.386294361 5.386294361 0.0
    """
    *resolved, constant = regression.resolved(spec.temperature)
    return ScaleAction(widths, spec.temperature, *resolved), constant


def misfit_curvature(spec: EnsembleSpec, regression: Regression) -> float:
    """d²/dq² of log det A + yᵀA⁻¹y at q = 0, for the decomposed K times e^q.

    >>> data = two_points(2.0, -2.0)
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)  # K = I
    >>> misfit_curvature(linear, gram_regression(Ensemble(linear, data)))  # 2T/(1 + T)²
    0.5
    """
    action, _ = scale_action(spec, regression, (1,))
    return float(action.misfit_curvature(0.0))


def in_range(
    ensemble: Ensemble,
) -> tuple[
    Float[np.ndarray, " r"], Float[np.ndarray, "r r"], Float[np.ndarray, "P r"] | None, float
]:
    """Targets, T I + V Vᵀ, a basis of the range of K, and what the other directions add to S.

    They serve actions that make their Gram matrices themselves: K_R(Q) vanishes where K does,
    whatever Q > 0 is, and its rounding errors there would be taken for a signal. The basis is None,
    and the others are of all P directions, where K is regular or V does not vanish with it.

    >>> twice = Dataset("twice", np.eye(2)[[0, 0]], np.array([1.0, -1.0]), np.eye(2), np.ones(2))
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)
    >>> targets, noise, basis, constant = in_range(Ensemble(linear, twice))
    >>> noise, basis.shape, round(constant, 9)  # log T + (y_1 − y_2)²/2T
    (array([[1.]]), (2, 1), 2.0)
    """
    spec, data, regression = ensemble.spec, ensemble.data, gram_regression(ensemble)
    _, targets, columns, constant = regression.resolved(spec.temperature)
    if len(targets) == data.num_train:
        columns = readout_columns(spec, data.num_train)
        noise = spec.temperature * np.eye(data.num_train) + columns @ columns.T
        return data.y_train, noise, None, constant
    noise = spec.temperature * np.eye(len(targets)) + columns @ columns.T
    return targets, noise, regression.eigenvectors[:, regression.in_range], constant


def about_the_mean(spec: EnsembleSpec) -> str:
    """The message that says what scales alone leave out where σ is not odd; "" if it is.

    >>> about_the_mean(EnsembleSpec(2, (9,), erf, (1.0, 1.0), temperature=0.1))
    ''
    """
    if spec.activation is None or spec.activation.odd:
        return ""
    return (
        f"{spec.activation.name} is not odd: the mean of its features is treated as part of what "
        "the order parameters scale"
    )


def at_common_scale(name: str, widths: tuple[int, ...], ensemble: Ensemble) -> Solution:
    """The Gaussian process with Q* K_L, Q* minimising the `ScaleAction` of these widths.

    >>> data = two_points(2.0, -2.0)
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=0.0)
    >>> found = at_common_scale("mine", (4,), Ensemble(linear, data))
    >>> print(f"{found.generalisation.order_parameters[0]:.9f}")
    1.686140662
    """
    spec, data, regression = ensemble.spec, ensemble.data, gram_regression(ensemble)
    action, constant = scale_action(spec, regression, widths)
    saddle = minimise(action)
    evidence = gaussian_evidence(saddle.action + constant, data.num_train)
    log_scale = float(np.log(saddle.value))
    moments = moments_at_scale(
        regression, spec.temperature, saddle.value, evidence, float(action.curvature(log_scale))
    )
    message = joined(saddle.message, about_the_mean(spec))
    orders = action.orders(log_scale)
    covariance = partial(at_scales, ensemble, regression.per_output(), np.array([np.prod(orders)]))
    return Solution(
        generalisation(name, data, moments, orders, saddle.converged, message),
        covariance,
        kernels=partial(by_the_evidence, ensemble, covariance, np.array([orders[-1:]])),
    )
