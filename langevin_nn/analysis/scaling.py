"""Exponents of measured power laws, with standard errors.

log y = log c + a log x by least squares, each point weighted with its relative standard error. The
errors of a and c follow from those of the points; where the points scatter more than these allow
(χ² per degree of freedom above 1: the law does not hold that closely, or the points share what
their errors leave out) they are enlarged by its root.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Num

from langevin_nn.data.dataset import as_finite_numbers, as_numbers
from langevin_nn.types import Estimate, InputError
from langevin_nn.values import is_ordered, require_kind, shown

__all__ = ["PowerLaw", "power_law"]


@dataclass(frozen=True)
class PowerLaw:
    """The law y = `prefactor` x^`exponent`, and χ² per degree of freedom; made by `power_law`."""

    exponent: Estimate
    prefactor: Estimate
    chi2: float

    def __post_init__(self) -> None:
        for name in ("exponent", "prefactor"):
            require_kind(name, getattr(self, name), Estimate, "Estimate(value, mcse)")

    def __call__(self, x: float | Num[np.ndarray, "..."]) -> Any:
        """The law's y at x > 0; `InputError` for other x."""
        places = as_finite_numbers("x", x)
        if not np.all(places > 0):
            raise InputError(f"a power law is of positive x, got {shown(x)}")
        return self.prefactor.value * (places if places.ndim else float(x)) ** self.exponent.value


def power_law(x: Sequence[float] | Num[np.ndarray, " n"], y: Sequence[Estimate]) -> PowerLaw:
    """The power law through at least three points (x, y), all of them positive.

    Points without standard errors (all of them zero) count alike, and their scatter gives the
    errors.

    Raises `InputError` for fewer points, for points that are not positive and finite, and where
    some have a standard error and others none.

    >>> found = power_law([1.0, 10.0, 100.0], [Estimate(v, 0.01 * v) for v in (6.0, 0.6, 0.06)])
    >>> print(f"{found.exponent.value:.2f} ± {found.exponent.mcse:.4f}, {found(50.0):.3f}")
    -1.00 ± 0.0031, 0.120
    """
    places = as_numbers("x", x)
    if not is_ordered(y):
        raise InputError(f"y must be a list of Estimates, got {shown(y)}: write [Estimate(…), …]")
    for estimate in y:
        require_kind("each y", estimate, Estimate, "Estimate(value, mcse)")
    values, errors = (
        np.array([(estimate.value, estimate.mcse) for estimate in y], np.float64).reshape(-1, 2).T
    )
    if places.shape != values.shape or len(places) < 3 or len(set(places.tolist())) < 2:
        raise InputError(
            f"a power law is fitted to three points or more, one y for each x, got {places.shape} "
            f"and {values.shape}"
        )
    numbers = np.concatenate([places, values])
    if not (np.all(numbers > 0) and np.all(np.isfinite(numbers))):
        raise InputError(
            f"a power law has positive finite x and y, got x = {places.tolist()} and y = "
            f"{values.tolist()}: leave out the others"
        )
    if np.any(errors > 0) and not np.all(errors > 0):
        raise InputError(f"every point needs a standard error, or none: got {errors.tolist()}")
    weighted = bool(errors.any())
    weights = values / errors if weighted else np.ones_like(values)
    middle = np.average(np.log(places), weights=weights**2)
    design = np.stack([np.log(places) - middle, np.ones_like(places)], axis=1) * weights[:, None]
    solution, *_ = np.linalg.lstsq(design, np.log(values) * weights, rcond=None)
    covariance = np.linalg.inv(design.T @ design)
    residual = np.log(values) * weights - design @ solution
    chi2 = float(residual @ residual / (len(places) - 2))
    covariance *= max(chi2, 1.0) if weighted else chi2
    exponent, height = solution
    prefactor = float(np.exp(height - exponent * middle))
    relative_error = np.sqrt(covariance[1, 1] + middle**2 * covariance[0, 0])
    return PowerLaw(
        Estimate(float(exponent), float(np.sqrt(covariance[0, 0]))),
        Estimate(prefactor, prefactor * float(relative_error)),
        chi2,
    )
