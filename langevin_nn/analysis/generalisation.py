"""From draws to bias², variance and generalisation error, with Monte-Carlo standard errors.

With draws f_cs(x) of chains c, f̄ their mean over c and s, and ⟨·⟩_x the average over the test set:

    plug-in bias² = ⟨(y − f̄)²⟩_x,   plug-in variance = ⟨mean_cs (f_cs − f̄)²⟩_x,
    their sum     = mean_cs ⟨(y − f_cs)²⟩_x                                      (exactly).

f̄ has a Monte-Carlo error, of standard error MCSE(x), which the plug-in bias² contains and the
plug-in variance lacks: E[plug-in bias²] = bias² + ⟨MCSE²⟩_x, E[plug-in variance] = variance −
⟨MCSE²⟩_x. Both are corrected; the sum is not affected.

Errors: variance and generalisation error are means of series over draws, whose MCSE ArviZ gives.
bias² is not; to first order in δ = f̄ − E f̄ it is the mean of the series −2⟨(y − f̄) f_cs⟩_x, and
to second order it has ⟨δ²⟩_x, of variance 2 Σ_xx' Cov(δ_x, δ_x')²/P_test². Both parts are added.

Draws of marginalised read-outs are means m_cs(x) with variances s_cs(x). f_cs is then m_cs above,
and ⟨mean_cs s_cs⟩_x is added to the variance and to the sum: E[s_W] + Var[m_W] (Rao–Blackwell).

Where control variates were recorded, f̄ is the mean of draws with less noise than f_cs
(`variance_reduction`), and MCSE(x) and the series of bias² are theirs; the variance is that of f_cs
around it, and the generalisation error has 2⟨(y − f̄)(f_cs − their draws)⟩_x added, so that it is
the sum still.

With D outputs every square is summed over them: the outputs are P_test·D further points, and an
average over them is multiplied by D.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from langevin_nn.analysis.diagnostics import complaint, constant, diagnose, mcse
from langevin_nn.analysis.step_size_bias import step_size_bias
from langevin_nn.analysis.variance_reduction import controls_of, less_noisy
from langevin_nn.data.labels import is_right
from langevin_nn.sampling.draws import Chains
from langevin_nn.sampling.dynamics.adaptation import FIRST_STEP_SIZE
from langevin_nn.sampling.dynamics.step_size import AUTO_FRACTION
from langevin_nn.types import Diagnostics, Estimate, Generalisation, InputError
from langevin_nn.values import require_kind, require_text

SMALLEST_STEP = 1e-3
"""The part of the usual step size below which a larger step size helps, not more steps."""


def summarise(chains: Chains, name: str = "experiment") -> Generalisation:
    """Bias², variance, errors, accuracy and diagnostics of recorded chains.

    Chains that diverged are left out of every average and counted in the diagnostics.
    Raises `InputError` if no chain is left, and for any object but `Chains`.
    """
    require_text("name", name)
    require_kind("chains", chains, Chains, "summarise(sample(posterior, dynamics, key=…))")
    measured, diagnosis = undiagnosed(chains, name)
    diagnostics = diagnosis()
    slow = _too_small(chains, diagnostics.acceptance)
    message = complaint(diagnostics, slow, extendable=chains.extendable)
    return dataclasses.replace(
        measured, converged=not message, message=message, diagnostics=diagnostics,
        step_size_bias=step_size_bias(chains),
    )  # fmt: skip


def undiagnosed(
    chains: Chains, name: str = "experiment"
) -> tuple[Generalisation, Callable[[], Diagnostics]]:
    """The numbers of `summarise` with their errors, and what finds R̂ and ESS of these chains.

    That takes most of the time. The numbers do not say whether the chains have converged.
    """
    keep = ~chains.diverged
    if not keep.any():
        raise InputError("every chain diverged: there is nothing to summarise")
    outputs = chains.test_outputs[keep].astype(np.float64)
    f, y = outputs.reshape(*outputs.shape[:2], -1), chains.y_test.ravel()
    num_test = len(chains.y_test)
    num_outputs = y.size // num_test
    mean = f.mean(axis=(0, 1))
    f = np.where(constant(chains.test_outputs[keep].reshape(f.shape)), mean, f)
    averaged, reduction = f, None
    if (controls := controls_of(chains)) is not None:
        averaged, reduction = less_noisy(f, controls, y)
        mean = averaged.mean(axis=(0, 1))
    centred = f - mean
    averaged_centred = centred if averaged is f else averaged - mean
    residual = y - mean
    plug_in_variance = np.square(centred).mean(axis=(0, 1))
    error = mcse(averaged)
    within: np.ndarray | float = 0.0
    predictions = {"f": chains.test_outputs[keep].reshape(f.shape)}
    if chains.test_variances is not None:
        given_weights = chains.test_variances[keep].astype(np.float64)
        within = num_outputs * given_weights.mean(axis=2)
        plug_in_variance += np.repeat(given_weights.mean(axis=(0, 1)), num_outputs)
        predictions = {"f_mean": predictions["f"], "f_variance": chains.test_variances[keep]}
    excess = num_outputs * float(np.square(error).mean())

    series = {
        "bias2": -2 * (averaged_centred @ residual) / num_test,
        "variance": num_outputs * np.square(centred).mean(axis=2) + within,
        "generalisation_error": num_outputs * np.square(y - f).mean(axis=2) + within,
        "train_error": chains.train_error[keep].astype(np.float64),
    }
    raw = dict(series)
    if averaged is not f:
        raw["bias2"] = -2 * (centred @ residual) / num_test
        noise = 2 * ((f - averaged) @ residual) / num_test
        series["generalisation_error"] = series["generalisation_error"] + noise
    errors = {key: float(mcse(values)) for key, values in series.items()}
    second_order = math.sqrt(2 * _sum_of_squared_correlations(averaged_centred, error)) / num_test
    acceptance, nonfinite = chains.acceptance, chains.nonfinite
    diagnosis = functools.partial(
        diagnose,
        raw,
        predictions,
        diverged_chains=int(np.sum(~keep)),
        acceptance=None if acceptance is None else float(acceptance[keep].mean()),
        nonfinite=None if nonfinite is None else float(nonfinite[keep].mean()),
    )
    bias2 = num_outputs * float(np.square(residual).mean()) - excess
    variance = num_outputs * float(plug_in_variance.mean()) + excess
    if num_outputs == 1:
        accuracy = accuracy_of_the_mean(y, mean, error, chains.targets_midpoint)
    else:
        of_outputs = outputs if averaged is f else averaged.reshape(outputs.shape)
        accuracy = accuracy_of_the_largest(chains.y_test, of_outputs)
    measured = Generalisation(
        name=name,
        predictive_mean=mean.reshape(chains.y_test.shape),
        predictive_variance=(plug_in_variance + np.square(error)).reshape(chains.y_test.shape),
        bias2=Estimate(bias2, math.hypot(errors["bias2"], second_order)),
        variance=Estimate(variance, errors["variance"]),
        generalisation_error=_mean(series, errors, "generalisation_error"),
        train_error=_mean(series, errors, "train_error"),
        test_accuracy=accuracy,
        converged=False,
        variance_reduction=reduction,
    )
    return measured, diagnosis


def _mean(series: dict[str, np.ndarray], errors: dict[str, float], key: str) -> Estimate:
    return Estimate(float(series[key].mean()), errors[key])


def _sum_of_squared_correlations(centred: np.ndarray, error: np.ndarray) -> float:
    """The sum Σ_xx' Cov(δ_x, δ_x')², with the correlations of δ over x taken from the draws."""
    flat = centred.reshape(-1, centred.shape[-1])
    deviation = flat.std(axis=0)
    scaled = flat * np.divide(error, deviation, out=np.zeros_like(error), where=deviation > 0)
    covariance = scaled.T @ scaled / len(flat)
    return float(np.square(covariance).sum())


def accuracy_of_the_mean(
    y: np.ndarray, mean: np.ndarray, error: np.ndarray, midpoint: float
) -> Estimate:
    """The fraction of test points where f̄ lies on the target's side of the midpoint (`is_right`).

    Its standard error is that of the sign of f̄, given the Monte-Carlo error of f̄.
    """
    right = is_right(mean, y, midpoint)
    return Estimate(
        float(right.mean()), _error_of_fraction(_in_errors(np.abs(mean - midpoint), error))
    )


def accuracy_of_the_largest(
    y: Float[np.ndarray, "P_test D"], outputs: Float[np.ndarray, "chain draw P_test D"]
) -> Estimate:
    """The fraction of test points where f̄ is largest at the targets' largest output (`is_right`).

    With c the target's output, a point is right where every margin f̄_c − f̄_d is positive. Its
    standard error is that of the sign of the margin that is smallest in units of its own
    Monte-Carlo error, which has the correlations of the outputs in it.
    """
    target_output = y.argmax(axis=1)[:, None]
    mean = outputs.mean(axis=(0, 1))
    right = is_right(mean, y, 0.0)
    margins = np.take_along_axis(outputs, target_output[None, None], axis=3) - outputs
    is_other = np.arange(y.shape[1])[None, :] != target_output
    margins = margins[:, :, is_other].reshape(*outputs.shape[:3], -1)
    z = _in_errors(margins.mean(axis=(0, 1)), mcse(margins))
    return Estimate(float(right.mean()), _error_of_fraction(z.min(axis=1)))


def _in_errors(distance: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The distances in units of their errors; ±∞ where there is no error."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(distance / error, nan=np.inf, posinf=np.inf, neginf=-np.inf)


def _error_of_fraction(z: np.ndarray) -> float:
    """The standard error of a fraction of right signs, of numbers z standard errors from 0."""
    wrong_sign = np.array([0.5 * math.erfc(distance / math.sqrt(2)) for distance in z])
    return math.sqrt(float(np.sum(wrong_sign * (1 - wrong_sign)))) / z.size


def _too_small(chains: Chains, acceptance: float | None) -> str:
    """The statement that the step size is far too small, empty where it is not.

    `Split` with too small a step size accepts everything.
    """
    usual_step_size = AUTO_FRACTION * chains.stability_limit
    if chains.trajectory_length is not None:
        usual_step_size = FIRST_STEP_SIZE if acceptance is not None and acceptance > 0.999 else 0.0
    is_small = chains.step_size < SMALLEST_STEP * usual_step_size
    return f"step_size = {chains.step_size:.3g} is too small" if is_small else ""
