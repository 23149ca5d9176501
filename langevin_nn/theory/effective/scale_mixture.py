"""Finite width without a saddle point: the theory `scale_mixture`."""

from dataclasses import replace
from functools import partial

import numpy as np

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require
from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.covariance import OutputCovariance, of_infinite_width
from langevin_nn.theory.effective.common import about_the_mean, scale_action
from langevin_nn.theory.ensemble import gram_regression
from langevin_nn.theory.regression.moments import as_resolved, generalisation, joined
from langevin_nn.theory.representation import by_the_evidence
from langevin_nn.theory.saddles.average import average_over_scale
from langevin_nn.types import Generalisation

__all__ = ["THEORY", "scale_mixture"]

_domain = partial(require, "scale_mixture")


def scale_mixture(ensemble: Ensemble) -> Generalisation:
    """Finite width without a saddle point: the average over Q = Q_1 ⋯ Q_L in Q K_L.

    Q_ℓ ~ Gamma(N_ℓ/2, rate N_ℓ/2), and with m_Q and s_Q the mean and variance at Q,
    mean = E[m_Q], variance = E[s_Q] + Var[m_Q] under the posterior of Q, p(Q) N(y; 0, T + Q K_L) up
    to its norm, K_L (P, P) and y (P,) (`saddles.average`). The order
    parameter is E[Q | data]; the log evidence is the mixture's own.

    It is exact, at any width, where the network's prior is this mixture: for identity σ at any
    depth. For other σ with one hidden layer it is the Student-t prior of Pacelli et al. (2023),
    arXiv:2209.04882, E[exp(−Q s̄ᵀK s̄/2)] = (1 + s̄ᵀK s̄/N_1)^(−N_1/2).

    Arguments and errors as for `infinite_width`; hidden layers and one output, or NotApplicable.

    >>> data = two_points(2.0, -2.0)
    >>> spec = EnsembleSpec(2, (4,), identity, (0.5, 1.0), temperature=0.0)
    >>> result = scale_mixture(Ensemble(spec, data))
    >>> print(result.converged, f"{result.order_parameters[0]:.6f}")
    True 1.803385
    """
    return THEORY(ensemble)


def _solve(ensemble: Ensemble) -> Solution:
    widths = _domain(ensemble)
    spec, regression = ensemble.spec, gram_regression(ensemble)
    average = average_over_scale(*scale_action(spec, regression, widths), regression)
    message = joined(average.message, about_the_mean(spec))
    orders = (average.order_parameter,)
    moments = as_resolved(average.moments, regression, spec.temperature, orders[0])
    covariance, kernels = partial(_covariance, ensemble), None
    if len(widths) == 1:  # the scale of more layers is not that of the read-out
        kernels = partial(by_the_evidence, ensemble, covariance, np.array([orders]))
    return Solution(
        generalisation("scale_mixture", ensemble.data, moments, orders, average.converged, message),
        covariance,
        mixture=average,
        kernels=kernels,
    )


def _covariance(ensemble: Ensemble) -> OutputCovariance:
    spec, regression = ensemble.spec, replace(gram_regression(ensemble), beyond=None)
    average = average_over_scale(*scale_action(spec, regression, _domain(ensemble)), regression)
    in_scale, alone = (
        regression.sensitivity(spec.temperature, average.scales, average.weights * factor)
        for factor in (average.scales, np.ones_like(average.scales))
    )
    return of_infinite_width(ensemble, alone._replace(of_gram=in_scale.of_gram))


THEORY = Theory(
    "scale_mixture",
    _solve,
    summary="The average over the scale of K_L with its prior at finite width: Student-t at N_1.",
    style={"color": "#009E73", "linestyle": ":", "marker": "^"},
    domain=_domain,
)
