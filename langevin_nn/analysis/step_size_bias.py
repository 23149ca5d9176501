"""The bias that a finite step size causes in the reported numbers, to leading order.

With v = ∇𝓛/√T and the prior's part of it, p, the average of an observable φ over the dynamics is
off by

    δ⟨φ⟩ = (η/4) [√T ⟨∇φ·(2v − p)⟩ − Cov(φ, v·(v − p))]

(`sampling.step_size`), averages over the posterior. The observables, averaged over the test inputs:
−2 (y − f̄) f with f̄ held fixed, of the bias²; (f − f̄)², or s_W + (m_W − f̄)² with the read-out
marginalised, of the variance, to which the shift of f̄ adds nothing; and the training error. Each is
the mean of a series over the draws, whose Monte-Carlo error is the prediction's.

The noise of the covariance is small beside the standard error of ⟨φ⟩ itself: about (η/4) √(2 Tr H²)
of it with H the Hessian of the data's part of 𝓛. With η = 0.2/Λ_max one stiff direction makes 0.07.
"""

import math

import numpy as np
from jaxtyping import Float

from langevin_nn.analysis.diagnostics import mcse
from langevin_nn.sampling.draws import Chains
from langevin_nn.types import Estimate, StepSizeBias

__all__ = ["step_size_bias"]

FEWEST_DRAWS_FOR_AN_ERROR = 4
"""The least number of draws of a chain from which a Monte-Carlo error is estimated."""


def step_size_bias(chains: Chains) -> StepSizeBias | None:
    """The predicted bias of the reported numbers; None for a dynamics with an acceptance step.

    Without an acceptance step there is a bias. It is not known (NaN) where the chains exchange
    weights with those of other temperatures, and where their slopes were not kept or belong to
    other draws. Chains that diverged are left out. The errors are NaN where too few draws have
    slopes.
    """
    slopes, keep = chains.slopes, ~chains.diverged
    if slopes is None or not keep.any():
        return None if chains.has_acceptance_step else StepSizeBias.not_known()
    if len(slopes.train_error) != len(keep) or slopes.draws[-1] >= chains.energy.shape[1]:
        return StepSizeBias.not_known()  # a selection of chains or draws: the slopes are of all
    y = chains.y_test.ravel()
    outputs = chains.test_outputs[keep].astype(np.float64)
    outputs = outputs.reshape(*outputs.shape[:2], -1)
    mean = outputs.mean(axis=(0, 1))
    f = outputs[:, slopes.draws]
    output_slopes = slopes.test_outputs[keep].astype(np.float64).reshape(f.shape)
    # Averages over the test inputs are sums over the outputs.
    residual, centred = (y - mean) / len(chains.y_test), (f - mean) / len(chains.y_test)
    squares, square_slopes = (
        np.sum(centred * (f - mean), axis=2),
        2 * np.sum(centred * output_slopes, axis=2),
    )
    if slopes.test_variances is not None and chains.test_variances is not None:
        num_outputs = y.size // len(chains.y_test)
        variances = chains.test_variances[keep][:, slopes.draws].astype(np.float64)
        squares = squares + num_outputs * variances.mean(axis=2)
        square_slopes = square_slopes + num_outputs * slopes.test_variances[keep].astype(np.float64)
    bias2 = -2 * (f @ residual), -2 * (output_slopes @ residual)
    train = chains.train_error[keep][:, slopes.draws], slopes.train_error[keep]
    stiffness = slopes.stiffness[keep].astype(np.float64)

    def shift(
        values: Float[np.ndarray, "chain S"], slope: Float[np.ndarray, "chain S"]
    ) -> Estimate:
        covariance = (values - values.mean()) * (stiffness - stiffness.mean())
        series = 0.25 * chains.step_size * (math.sqrt(slopes.temperature) * slope - covariance)
        error = float(mcse(series)) if series.shape[1] >= FEWEST_DRAWS_FOR_AN_ERROR else math.nan
        return Estimate(float(series.mean()), error)

    return StepSizeBias(
        bias2=shift(*bias2),
        variance=shift(squares, square_slopes),
        generalisation_error=shift(bias2[0] + squares, bias2[1] + square_slopes),
        train_error=shift(*(values.astype(np.float64) for values in train)),
    )
