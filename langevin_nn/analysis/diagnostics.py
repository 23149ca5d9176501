"""Convergence and Monte-Carlo errors of recorded series, by ArviZ.

R̂ is the rank-normalised split-R̂, ESS the smaller of the bulk and tail effective sample sizes
(Vehtari, Gelman, Simpson, Carpenter, Bürkner, Bayesian Analysis 16, 667, 2021, eqs. 4, 10–14),
computed by ArviZ from ranks that SciPy finds of all series at once. A result counts as converged
for R̂ < 1.01 and ESS > 400 in every series.

A series that is the same in every draw of every chain has no Monte-Carlo error: there is nothing
to average. It has neither R̂ nor ESS, does not count, and is named (`Diagnostics.constant`). Chains
that stand still, each at a value of its own, have R̂ = ∞, and if nothing varies at all, nothing has
converged.

Converged means that the chains agree with each other and do not wander. Whether they have found all
the mass of the posterior cannot be seen from inside: chains that are all drawn into one mode and
never leave it agree as well (erf, N_1 = 1, P = 3, T = 10⁻³: R̂ = 1.000 at bias² = 1.56, where 7.17
is exact). The check is a ladder of temperatures (`sampling.tempering`): chains that come down from
where nothing is trapped find what others miss.
"""

import functools
import hashlib
import threading
from collections.abc import Callable, Mapping

import numpy as np
import scipy.special
import scipy.stats
import xarray as xr

from langevin_nn.sampling.posterior_tree import load_arviz
from langevin_nn.types import Diagnostics

az = load_arviz()

RHAT_LIMIT = 1.01
"""The R̂ below which chains may count as converged."""
ESS_LIMIT = 400
"""The effective sample size above which chains may count as converged."""
LAST_BITS = 4
"""The variation, in units of its precision, up to which a series counts as constant."""
ACCEPTANCE_LIMIT = 0.4
"""The mean acceptance below which a message about chains that have not mixed mentions it."""
FEWEST_DRAWS_IN_HALVES = 8
"""The least number of draws of each chain whose halves ArviZ takes for chains."""
MOST_REMEMBERED = 256
"""The number of answers of ArviZ's that are kept."""

_answers: dict[bytes, np.ndarray] = {}
_answering = threading.Lock()


def _remembered(
    function: Callable[[np.ndarray], np.ndarray],
) -> Callable[[np.ndarray], np.ndarray]:
    """The function, which finds its last answers again by what the series are.

    The last look at a target error and the summary after it ask for the same draws, and ArviZ takes
    longer for them than a small network's draws have taken. The order in memory counts, too: sums
    round by it.
    """

    @functools.wraps(function)
    def of(series: np.ndarray) -> np.ndarray:
        form = f"{function.__name__} {series.dtype.str} {series.shape} {series.strides} "
        content = hashlib.blake2b(form.encode(), digest_size=32)
        content.update(np.ascontiguousarray(series).data)
        name = content.digest()
        with _answering:
            answer = _answers.pop(name, None)
        if answer is None:
            answer = function(series)
        with _answering:
            _answers[name] = answer  # the newest is last
            while len(_answers) > MOST_REMEMBERED:
                del _answers[next(iter(_answers))]
        return answer.copy()

    return of


def constant(series: np.ndarray) -> np.ndarray:
    """Whether series (chain, draw, …) are equal in every draw of every chain, of shape (…).

    Differences in the last bits of their precision are rounding and do not count.
    """
    lowest, highest = series.min(axis=(0, 1)), series.max(axis=(0, 1))
    precision = np.finfo(np.result_type(series.dtype, np.float16)).eps
    last_bits = LAST_BITS * precision * np.maximum(np.abs(lowest), np.abs(highest))
    return np.asarray(highest - lowest <= last_bits)


@_remembered
def rhat(series: np.ndarray) -> np.ndarray:
    """R̂ of series (chain, draw, …), of shape (…).

    NaN for a single chain and for constants, ∞ for chains that stand still at different values.
    """
    if series.shape[0] < 2:
        return np.full(series.shape[2:], np.nan)
    constants, still = constant(series), np.all(np.ptp(series, axis=1) == 0, axis=0)
    moving = _in_units(_with_ramps(np.asarray(constants | still), series))
    with np.errstate(divide="ignore", invalid="ignore"):
        if moving.shape[1] < FEWEST_DRAWS_IN_HALVES:
            values = _value(az.rhat(_dataset(moving)))
        else:
            halves = _halves(moving)
            folded = np.abs(halves - np.median(halves, axis=(0, 1)))
            bulk, tail = (
                _value(az.rhat(_dataset(_normal_scores(part)), method="identity"))
                for part in (halves, folded)
            )
            values = np.where(tail > bulk, tail, bulk)
    return np.where(constants, np.nan, np.where(still, np.inf, values))


@_remembered
def ess(series: np.ndarray) -> np.ndarray:
    """The smaller of bulk and tail ESS of series (chain, draw, …), of shape (…).

    NaN for constants.
    """
    constants = constant(series)
    moving = _in_units(_with_ramps(constants, series))
    if moving.shape[1] < FEWEST_DRAWS_IN_HALVES:
        bulk = _value(az.ess(_dataset(moving), method="bulk"))
    else:
        bulk = _value(az.ess(_dataset(_normal_scores(_halves(moving))), method="identity"))
    tail = _value(az.ess(_dataset(moving), method="tail"))
    return np.where(constants, np.nan, np.minimum(bulk, tail))


@_remembered
def mcse(series: np.ndarray) -> np.ndarray:
    """Monte-Carlo standard error of the mean of series (chain, draw, …), of shape (…).

    The standard deviation over the square root of the mean's ESS. Zero for a constant series.
    """
    data = _dataset(_in_units(series))
    deviation = series.reshape(-1, *series.shape[2:]).std(axis=0, ddof=1)
    with np.errstate(invalid="ignore"):
        error = deviation / np.sqrt(_value(az.ess(data, method="mean")))
    return np.where(constant(series), 0.0, error)


def diagnose(
    reported: Mapping[str, np.ndarray],
    predictions: Mapping[str, np.ndarray],
    *,
    diverged_chains: int = 0,
    acceptance: float | None = None,
    nonfinite: float | None = None,
) -> Diagnostics:
    """R̂ and ESS of each reported series (chain, draw), and the worst over these and predictions.

    `predictions` are series (chain, draw, point) at the test inputs: f, or its mean and variance.
    Chains that diverged are not in any of the series and are passed as a count.
    """
    rhats = {name: float(rhat(series)) for name, series in reported.items()}
    sizes = {name: float(ess(series)) for name, series in reported.items()}
    constant_names = [name for name, series in reported.items() if constant(series)]
    all_rhats = [value for name, value in rhats.items() if name not in constant_names]
    all_sizes = [value for name, value in sizes.items() if name not in constant_names]
    for name, series in predictions.items():
        constants = constant(series)
        if num_constants := int(constants.sum()):
            constant_names.append(f"{name} at {num_constants} of {constants.size} test points")
        all_rhats += rhat(series)[~constants].tolist()
        all_sizes += ess(series)[~constants].tolist()
    num_chains, num_draws = next(iter(predictions.values())).shape[:2]
    return Diagnostics(
        rhat=rhats,
        ess=sizes,
        rhat_max=float(np.max(all_rhats)) if all_rhats else np.nan,
        ess_min=float(np.min(all_sizes)) if all_sizes else np.nan,
        num_chains=num_chains + diverged_chains,
        num_draws=num_draws,
        diverged_chains=diverged_chains,
        acceptance=acceptance,
        nonfinite=nonfinite,
        constant=tuple(constant_names),
    )


_START_WITH = "a finished run cannot be extended: start anew with"
START_ANEW = f"{_START_WITH} more num_warmup or num_samples × thinning"
"""The advice for chains that have not mixed and cannot go on, wherever they were sampled."""
GO_ON = "(--extend; in Python resume=True of lnn.sample, extend=True of lnn.sweep)"
"""The ways to go on, at the command line and in Python, of a run as of a sweep's points."""
EXTEND = f"go on with more draws {GO_ON}, or start anew with more num_warmup"
"""The advice for chains that have not mixed and can go on."""


def complaint(diagnostics: Diagnostics, slow: str = "", *, extendable: bool = False) -> str:
    """The reasons why the chains have not converged, with advice; empty where they have.

    `slow` is a further reason: that the step size is too small for more steps to help. Whether the
    chains are `extendable` says what helps.
    """
    reasons = []
    if diagnostics.diverged_chains:
        reasons.append(
            f"{diagnostics.diverged_chains} of {diagnostics.num_chains} chains diverged, left "
            "out (write a smaller step_size)"
        )
    num_moving = diagnostics.num_chains - diagnostics.diverged_chains
    all_constant = np.isnan(diagnostics.ess_min) and {*diagnostics.rhat} <= {*diagnostics.constant}
    if all_constant:
        reasons.append("every draw of everything is the same: the chains do not move")
    elif np.isnan(diagnostics.rhat_max):
        requirement = "two chains or more" if num_moving < 2 else "series of finite numbers"
        reasons.append(f"R̂ is undefined (it needs {requirement})")
    elif np.isinf(diagnostics.rhat_max):
        reasons.append("R̂ is infinite: chains stand still, each at a value of its own")
    elif not diagnostics.rhat_max < RHAT_LIMIT:
        reasons.append(f"R̂ = {diagnostics.rhat_max:.3f} is not below {RHAT_LIMIT}")
    if not (all_constant or diagnostics.ess_min > ESS_LIMIT):
        reasons.append(f"ESS = {diagnostics.ess_min:.0f} is not above {ESS_LIMIT}")
    if not reasons:
        return ""
    if diagnostics.acceptance is not None and diagnostics.acceptance < ACCEPTANCE_LIMIT:
        reasons.append(
            f"acceptance = {diagnostics.acceptance:.2f} is low (write a smaller step_size)"
        )
    remedy, start_with = START_ANEW, _START_WITH
    if extendable:
        remedy, start_with = EXTEND, "start anew with"
    if diagnostics.num_chains < 2:
        remedy = f"{start_with} num_chains = 4 or more"
    if slow:
        reasons.append(slow)
        remedy = f'{start_with} a larger step_size, or "auto"'
    return f"{'; '.join(reasons)}; {remedy}"


def _with_ramps(constants: np.ndarray, series: np.ndarray) -> np.ndarray:
    """The series with a ramp in place of those marked `constants`: R̂ and ESS would be 0/0."""
    ramp = np.arange(series.shape[1]).reshape(1, -1, *[1] * constants.ndim)
    return np.where(constants, ramp.astype(series.dtype), series)


def _in_units(series: np.ndarray) -> np.ndarray:
    """The series in units of their largest values, float64.

    ArviZ takes a variation of 10⁻¹⁵ for none. The units are powers of two: nothing is rounded.
    """
    series = np.asarray(series, np.float64)
    _, exponents = np.frexp(np.nan_to_num(np.abs(series).max(axis=(0, 1)), posinf=1.0))
    return np.ldexp(series, -exponents)


def _halves(series: np.ndarray) -> np.ndarray:
    """The halves of all chains as chains, those of a middle draw left out."""
    half = series.shape[1] // 2
    return np.concatenate([series[:, :half], series[:, -half:]])


def _normal_scores(series: np.ndarray) -> np.ndarray:
    """Φ⁻¹((r − 3/8)/(S + 1/4)) of the ranks r of each series of S numbers, average ranks for ties.

    ArviZ has them one series after the other, which takes longer than what it makes of them.
    """
    flat = series.reshape(-1, *series.shape[2:])
    ranks = scipy.stats.rankdata(flat, axis=0, nan_policy="propagate")
    scores = scipy.special.ndtri((ranks - 3 / 8) / (len(flat) - 2 * (3 / 8) + 1))
    return np.asarray(scores.reshape(series.shape))


def _dataset(series: np.ndarray) -> xr.Dataset:
    dims = ["chain", "draw", *(f"dim_{i}" for i in range(series.ndim - 2))]
    return xr.Dataset({"series": (dims, series)})


def _value(result: xr.Dataset) -> np.ndarray:
    return np.asarray(result["series"])
