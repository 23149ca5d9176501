"""Minima of actions of several order parameters, with exact derivatives.

For an action S of the order parameters x (such that every x is allowed), SciPy's trust-region
Newton methods run with exact derivatives, and full Newton steps end it: `trust-exact` with the
Hessian for a few parameters, `trust-ncg` with products of the Hessian and a vector for many (Conn,
Gould and Toint, "Trust region methods", 2000).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import optimize
from scipy.sparse import linalg as sparse

__all__ = ["Derivatives", "SaddleMinimum", "local_minimum", "lowest", "minimum_by_products"]

_MAX_ITERATIONS = 200
_FINAL_STEPS = 8
_GRADIENT_TOLERANCE = 1e-6  # where the full Newton steps begin
_STEP_TOLERANCE = 1e-9  # of the last Newton step, in x

Derivatives = Callable[
    [Float[np.ndarray, " n"]],
    tuple[float, Float[np.ndarray, " n"], Float[np.ndarray, "n n"]],
]
"""S, its gradient and its Hessian at x."""


@dataclass(frozen=True)
class SaddleMinimum:
    """A minimum of S: its point, its value, and whether the last Newton step was below 1e-9.

    Made by `local_minimum` and `minimum_by_products`.
    """

    point: Float[np.ndarray, " n"]
    action: float
    converged: bool
    message: str = ""


def local_minimum(derivatives: Derivatives, start: Float[np.ndarray, " n"]) -> SaddleMinimum:
    """The minimum of S that the trust-region Newton method reaches from `start`.

    >>> def derivatives(x):  # of Σ (exp(x) − 2x)
    ...     return float(np.sum(np.exp(x) - 2 * x)), np.exp(x) - 2, np.diag(np.exp(x))
    >>> found = local_minimum(derivatives, np.zeros(2))
    >>> found.converged, np.exp(found.point).round(12)
    (True, array([2., 2.]))
    """
    last: dict[bytes, tuple[float, np.ndarray, np.ndarray]] = {}

    def value(x: np.ndarray) -> float:
        return _or_infinite(at(x)[0])

    def at(x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        if x.tobytes() not in last:
            last.clear()
            last[x.tobytes()] = derivatives(x)
        return last[x.tobytes()]

    def newton_step(x: np.ndarray) -> np.ndarray | None:
        _, slope, curvature = at(x)
        if not np.all(np.isfinite(curvature)) or np.linalg.eigvalsh(curvature)[0] <= 0:
            return None
        return -np.linalg.solve(curvature, slope)

    def search() -> np.ndarray:
        return optimize.minimize(
            value, start, method="trust-exact", jac=lambda x: at(x)[1],
            hess=lambda x: at(x)[2],
            options={"gtol": _GRADIENT_TOLERANCE, "maxiter": _MAX_ITERATIONS},
        ).x  # fmt: skip

    return _minimum_from(search, start, value, newton_step)


def minimum_by_products(
    value_and_gradient: Callable[[np.ndarray], tuple[float, np.ndarray]],
    product: Callable[[np.ndarray, np.ndarray], np.ndarray],
    start: Float[np.ndarray, " n"],
) -> SaddleMinimum:
    """The minimum that the trust-region Newton method reaches by products of the Hessian.

    For many order parameters: it takes S and ∇S at x, and ∇²S(x) p.

    >>> def value_and_gradient(x):  # Σ (exp(x) − 2x)
    ...     return float(np.sum(np.exp(x) - 2 * x)), np.exp(x) - 2
    >>> found = minimum_by_products(value_and_gradient, lambda x, p: np.exp(x) * p, np.zeros(2))
    >>> found.converged, np.exp(found.point).round(12)
    (True, array([2., 2.]))
    """

    def newton_step(x: np.ndarray) -> np.ndarray | None:
        slope = value_and_gradient(x)[1]
        curvature = sparse.LinearOperator((x.size, x.size), lambda p: product(x, p), dtype=x.dtype)
        move, _ = sparse.cg(curvature, -slope, rtol=1e-10, maxiter=10 * x.size)
        return move if move @ product(x, move) > 0 or not move.any() else None

    def finite(x: np.ndarray) -> tuple[float, np.ndarray]:
        try:
            value, gradient = value_and_gradient(x)
        except np.linalg.LinAlgError:
            return np.inf, np.full(x.shape, np.nan)
        return _or_infinite(value), gradient

    def search() -> np.ndarray:
        return optimize.minimize(
            finite, start, method="trust-ncg", jac=True, hessp=product,
            options={"gtol": _GRADIENT_TOLERANCE, "maxiter": _MAX_ITERATIONS},
        ).x  # fmt: skip

    return _minimum_from(search, start, lambda x: finite(x)[0], newton_step)


def _or_infinite(value: float) -> float:
    """S, or ∞ where it overflows or has no Cholesky factor: a step that is not taken."""
    return value if np.isfinite(value) else np.inf


def _minimum_from(
    search: Callable[[], np.ndarray],
    start: np.ndarray,
    value: Callable[[np.ndarray], float],
    newton_step: Callable[[np.ndarray], np.ndarray | None],
) -> SaddleMinimum:
    """The minimum that the search and full Newton steps end in; not converged where it fails."""
    if not np.isfinite(value(start)):
        reason = "the action is not a finite number where the search for its minimum begins"
    else:
        try:
            return _polished(search(), value, newton_step)
        except (ValueError, ArithmeticError) as error:  # of SciPy, for derivatives that are NaN
            text = " ".join(str(error).split())
            reason = f"the search for a minimum of the action failed ({text})"
    return SaddleMinimum(np.full(start.shape, np.nan), np.nan, converged=False, message=reason)


def _polished(
    x: np.ndarray,
    value: Callable[[np.ndarray], float],
    newton_step: Callable[[np.ndarray], np.ndarray | None],
) -> SaddleMinimum:
    """The minimum after full Newton steps from x, converged if the last was small enough."""
    first, size = x, np.inf
    for _ in range(_FINAL_STEPS):
        step = newton_step(x)
        if step is None:
            break
        size, x = float(np.max(np.abs(step))), x + step
        if size < 1e-12:
            break
    if size <= _STEP_TOLERANCE:
        return SaddleMinimum(x, value(x), converged=True)
    reason = f"Newton's method has not reached a minimum of the action (last step {size:.1e})"
    return SaddleMinimum(first, value(first), converged=False, message=reason)


def lowest(found: Sequence[SaddleMinimum]) -> SaddleMinimum:
    """The lowest of some minima, of those that converged if any did.

    >>> high, low, nowhere = (SaddleMinimum(np.zeros(1), s, s > 0) for s in (2.0, 1.0, -1.0))
    >>> lowest([high, low, nowhere]).action
    1.0
    """
    return min(found, key=lambda minimum: (not minimum.converged, minimum.action))
