"""Fixed points x = g(x), by Anderson's acceleration of a damped iteration.

With the residuals f_k = g(x_k) − x_k of the last few steps, the next one is

    x + β f − Σ_j γ_j (Δx_j + β Δf_j),   γ = argmin ‖f − Σ_j γ_j Δf_j‖

(Anderson 1965, J. ACM 12:547; Walker and Ni 2011, SIAM J. Numer. Anal. 49:1715). The norm is that
which the function gives with each of its values. Far from the fixed point the iteration is only
damped, x + β f. After a step by which the residual has grown much, steps by which it has not
fallen, or where the function fails, it begins anew, from the best point so far and with half the β.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

__all__ = ["FixedPoint", "fixed_point"]

Vector = Float[np.ndarray, " m"]
Step = Callable[[Vector], tuple[Vector, Vector]]

_MEMORY = 8
_NEAR = 0.05
"""The residual below which steps are accelerated."""
_GROWTH = 10.0
"""How much larger than the least so far a residual may be."""
_PATIENCE = 10
"""The number of steps in which the residual has to fall."""
_LEAST_MIXING = 0.02


class FixedPoint(NamedTuple):
    """The point, the norm of its residual, and the number of steps; made by `fixed_point`."""

    point: Vector
    residual: float
    num_steps: int


def fixed_point(
    step: Step, start: Vector, *, tolerance: float, most_steps: int, mixing: float = 0.5
) -> FixedPoint:
    """A point with g(x) = x, or the best that so many steps find.

    Args:
        step: from x to g(x) and the weights w of the norm, ‖f‖² = Σ w f².
        start: where to begin.
        tolerance: the norm of a residual that is small enough.
        most_steps: the largest number of evaluations.
        mixing: β.

    >>> found = fixed_point(lambda x: (np.cos(x), np.ones(1)), np.ones(1), tolerance=1e-9, most_steps=20)
    >>> found.point.round(6), found.num_steps < 10
    (array([0.739085]), True)
    """  # noqa: E501
    x = best = start
    least, points, residuals, since = np.inf, [], [], 0  # type: ignore[var-annotated]
    for num_steps in range(1, most_steps + 1):
        residual, roots, size = _residual(step, x)
        if size <= tolerance:
            return FixedPoint(x, size, num_steps)
        since = 0 if size < least else since + 1
        if not size <= _GROWTH * least or not np.isfinite(size) or since > _PATIENCE:
            mixing, points, residuals, x, since = mixing / 2, [], [], best, 0
            if mixing < _LEAST_MIXING:
                return FixedPoint(best, least, num_steps)
            continue
        if size < least:
            best, least = x, size
        points, residuals = [*points, x][-_MEMORY:], [*residuals, residual][-_MEMORY:]
        if size > _NEAR:
            points, residuals = [x], [residual]
        x = _next(points, residuals, roots, mixing)
    return FixedPoint(best, least, most_steps)


def _residual(step: Step, x: Vector) -> tuple[Vector, Vector, float]:
    """g(x) − x, √w and the norm; an infinite one where g has no number."""
    try:
        image, weights = step(x)
    except np.linalg.LinAlgError:
        return x, x, np.inf
    residual = image - x
    return residual, np.sqrt(weights), float(np.sqrt(np.sum(weights * residual**2)))


def _next(points: list[Vector], residuals: list[Vector], roots: Vector, mixing: float) -> Vector:
    """The next point from the last ones and their residuals."""
    x, f = points[-1], residuals[-1]
    following: np.ndarray = x + mixing * f
    if len(points) < 2:
        return following
    steps, changes = (np.diff(np.stack(arrays), axis=0) for arrays in (points, residuals))
    shares = np.linalg.lstsq((roots * changes).T, roots * f, rcond=1e-8)[0]
    return following - shares @ (steps + mixing * changes)
