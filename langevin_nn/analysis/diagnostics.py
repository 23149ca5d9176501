"""Convergence and Monte-Carlo errors of recorded series: the one importer of ArviZ.

R̂ is the rank-normalised split-R̂, ESS the smaller of the bulk and tail effective sample sizes
(Vehtari, Gelman, Simpson, Carpenter, Bürkner, Bayesian Analysis 16, 667, 2021, eqs. 4, 10–14),
computed by ArviZ. A result counts as converged for R̂ < 1.01 and ESS > 400 in every series.
"""

import os
import tempfile
import warnings
from collections.abc import Mapping

import numpy as np
import xarray as xr

from langevin_nn.types import Diagnostics

with warnings.catch_warnings():
    # ArviZ 0.23 announces its refactoring at import, and notes that it has in the user's cache.
    warnings.simplefilter("ignore", FutureWarning)
    try:
        import arviz as az
    except OSError:  # a home that cannot be written, as in containers
        with tempfile.TemporaryDirectory() as folder:
            home = os.environ.get("XDG_CACHE_HOME")
            os.environ["XDG_CACHE_HOME"] = folder
            try:
                import arviz as az
            finally:
                del os.environ["XDG_CACHE_HOME"]
                if home is not None:
                    os.environ["XDG_CACHE_HOME"] = home

RHAT_LIMIT = 1.01
ESS_LIMIT = 400
ACCEPTANCE_LIMIT = 0.4
"""A mean acceptance below this is remarked on in chains that have not mixed."""


def rhat(series: np.ndarray) -> np.ndarray:
    """R̂ of series (chain, draw, …), of shape (…). NaN for a single chain and for constants."""
    if series.shape[0] < 2:
        return np.full(series.shape[2:], np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _value(az.rhat(_dataset(series)))


def ess(series: np.ndarray) -> np.ndarray:
    """The smaller of bulk and tail ESS of series (chain, draw, …), of shape (…)."""
    data = _dataset(series)
    bulk, tail = (_value(az.ess(data, method=method)) for method in ("bulk", "tail"))
    return np.asarray(np.minimum(bulk, tail))


def mcse(series: np.ndarray) -> np.ndarray:
    """Monte-Carlo standard error of the mean of series (chain, draw, …), of shape (…).

    The standard deviation over the square root of the mean's ESS. Zero for a constant series.
    """
    data = _dataset(series)
    deviation = series.reshape(-1, *series.shape[2:]).std(axis=0, ddof=1)
    with np.errstate(invalid="ignore"):
        error = deviation / np.sqrt(_value(az.ess(data, method="mean")))
    return np.where(deviation == 0, 0.0, error)


def diagnose(
    reported: Mapping[str, np.ndarray],
    predictions: np.ndarray,
    *,
    diverged_chains: int = 0,
    acceptance: float | None = None,
    nonfinite: float | None = None,
) -> Diagnostics:
    """R̂ and ESS of each reported series (chain, draw) and the worst over those and predictions.

    `predictions` (chain, draw, …) are f at the test inputs, or its mean and variance; chains that
    diverged are not in any of the series and are passed as a count.
    """
    rhats = {name: float(rhat(series)) for name, series in reported.items()}
    sizes = {name: float(ess(series)) for name, series in reported.items()}
    num_chains, num_draws = predictions.shape[:2]
    return Diagnostics(
        rhat=rhats,
        ess=sizes,
        rhat_max=float(np.max([*rhats.values(), np.max(rhat(predictions))])),
        ess_min=float(np.min([*sizes.values(), np.min(ess(predictions))])),
        num_chains=num_chains + diverged_chains,
        num_draws=num_draws,
        diverged_chains=diverged_chains,
        acceptance=acceptance,
        nonfinite=nonfinite,
    )


def complaint(diagnostics: Diagnostics) -> str:
    """Why the chains may not be believed, in words; empty where they may."""
    reasons = []
    if diagnostics.diverged_chains:
        reasons.append(
            f"{diagnostics.diverged_chains} of {diagnostics.num_chains} chains diverged and are "
            "left out (write a smaller step_size)"
        )
    if np.isnan(diagnostics.rhat_max):
        reasons.append("R̂ is undefined (it needs two chains or more whose draws vary)")
    elif not diagnostics.rhat_max < RHAT_LIMIT:
        reasons.append(f"R̂ = {diagnostics.rhat_max:.3f} is not below {RHAT_LIMIT}")
    if not diagnostics.ess_min > ESS_LIMIT:
        reasons.append(f"ESS = {diagnostics.ess_min:.0f} is not above {ESS_LIMIT}")
    if not reasons:
        return ""
    if diagnostics.acceptance is not None and diagnostics.acceptance < ACCEPTANCE_LIMIT:
        reasons.append(
            f"acceptance = {diagnostics.acceptance:.2f} is low (write a smaller step_size)"
        )
    return "; ".join(reasons) + "; more num_warmup or num_samples × thinning let it mix"


def _dataset(series: np.ndarray) -> xr.Dataset:
    series = np.asarray(series, np.float64)
    dims = ["chain", "draw", *(f"dim_{i}" for i in range(series.ndim - 2))]
    return xr.Dataset({"series": (dims, series)})


def _value(result: xr.Dataset) -> np.ndarray:
    return np.asarray(result["series"])
