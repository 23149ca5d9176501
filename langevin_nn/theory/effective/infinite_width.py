"""The Gaussian process of infinitely wide networks: the theory `infinite_width`."""

from functools import partial

import numpy as np

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require_squared
from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.covariance import at_scales
from langevin_nn.theory.effective.common import scale_action
from langevin_nn.theory.ensemble import gram_regression
from langevin_nn.theory.regression.moments import (
    Moments,
    gaussian_evidence,
    generalisation,
    joined,
    moments_at_scale,
)
from langevin_nn.theory.representation import of_infinite_width
from langevin_nn.types import Generalisation

__all__ = ["THEORY", "infinite_width"]


def infinite_width(ensemble: Ensemble) -> Generalisation:
    """The Gaussian process that the network becomes as its widths grow: Q = 1, any depth.

    With k = K_L(X, x) (P,), A = T I + K_L(X, X) (P, P) and y (P,), for each output alone,
    mean = kᵀA⁻¹y, variance = K_L(x, x) − kᵀA⁻¹k (Lee et al. 2018, arXiv:1711.00165; Rasmussen and
    Williams 2006, eqs. 2.25 and 2.26). Without hidden layers it is exact: Bayesian linear
    regression.

    Args:
        ensemble: the spec, and the training and test examples.

    Raises:
        NotApplicable: the package does not know the network's Gram matrix; a loss that is not the
            squared one.
        InputError: inputs that do not fit the spec; T = 0 where the Gram matrix is singular and the
            read-out's bias alone explains a part of the data.

    T = 0 is the limit T → 0, also where the Gram matrix is singular (`regression`).

    >>> data = two_points(1.0, -1.0)
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)  # K = I
    >>> infinite_width(Ensemble(linear, data)).predictive_mean
    array([ 0.5, -0.5])
    """
    return THEORY(ensemble)


def _solve(ensemble: Ensemble) -> Solution:
    spec, data = ensemble.spec, ensemble.data
    regressions, output_moments = gram_regression(ensemble).per_output(), []
    for regression in regressions:
        action, constant = scale_action(spec, regression, (1,))
        evidence = gaussian_evidence(float(action.misfit(0.0)) + constant, data.num_train)
        output_moments.append(moments_at_scale(regression, spec.temperature, 1.0, evidence))
    moments = output_moments[0] if data.y_train.ndim == 1 else _stacked(output_moments)
    return Solution(
        generalisation("infinite_width", data, moments, (1.0,)),
        partial(at_scales, ensemble, regressions, np.ones(len(regressions))),
        kernels=partial(of_infinite_width, ensemble),
    )


def _stacked(outputs: list[Moments]) -> Moments:
    """The moments of all outputs, the outputs last; training errors and evidences are summed."""
    return Moments(
        mean=np.stack([output.mean for output in outputs], axis=1),
        variance=np.stack([output.variance for output in outputs], axis=1),
        train_error=sum(output.train_error for output in outputs),
        log_evidence=sum(output.log_evidence for output in outputs),
        message=joined(*(output.message for output in outputs)),
    )


THEORY = Theory(
    "infinite_width",
    _solve,
    summary="The Gaussian process with the Gram matrix K_L of infinitely wide layers.",
    style={"color": "#E69F00", "linestyle": "--", "marker": "s"},
    domain=require_squared,
    is_limit=True,
)
