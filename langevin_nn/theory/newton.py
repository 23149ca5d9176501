"""Minima of actions of several order parameters, with exact derivatives.

For an action S of the order parameters x (logarithms, so that every x is allowed), SciPy's
trust-region Newton method (`trust-exact`; Conn, Gould and Toint, "Trust region methods", 2000) runs
with the gradient and the Hessian that JAX derives, and full Newton steps end it.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import optimize

__all__ = ["EffectiveAction", "Minimum", "local_minimum", "lowest_minimum"]

_MAX_ITERATIONS = 200
_FINAL_STEPS = 8
_TOLERANCE = 1e-9  # of the last Newton step, in x

EffectiveAction = Callable[[Float[Array, " n"], Any, Any], Float[Array, ""]]
"""S(x, arrays, static): a function of a module, so that it is compiled once for each `static`."""


@dataclass(frozen=True)
class Minimum:
    """A minimum of S: where, its value, and whether the last Newton step was below 1e-9."""

    point: Float[np.ndarray, " n"]
    action: float
    converged: bool
    message: str = ""


def local_minimum(
    action: EffectiveAction,
    start: Float[np.ndarray, " n"],
    arrays: Any = (),
    static: Hashable = None,
    *,
    reverse: bool = True,
) -> Minimum:
    """The minimum of S that the trust-region Newton method reaches from `start`.

    Args:
        action: S, a JAX function.
        start: where to begin.
        arrays: what S depends on, a pytree of arrays.
        static: what its program depends on.
        reverse: whether the gradient is by reverse differentiation, which is cheaper for many
            order parameters and does not pass through a dual by quadrature.

    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> found = local_minimum(lambda x, a, _: jnp.sum(jnp.exp(x) - a * x), np.zeros(2), 2.0)
    >>> found.converged, np.exp(found.point).round(12)
    (True, array([2., 2.]))
    """
    last: dict[bytes, tuple[float, np.ndarray, np.ndarray]] = {}

    def at(x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        if x.tobytes() not in last:
            value, slope, curvature = _derivatives(jnp.asarray(x), arrays, action, static, reverse)
            last.clear()
            last[x.tobytes()] = float(value), np.asarray(slope), np.asarray(curvature)
        return last[x.tobytes()]

    found = optimize.minimize(
        lambda x: at(x)[0], start, method="trust-exact", jac=lambda x: at(x)[1],
        hess=lambda x: at(x)[2], options={"gtol": 1e-6, "maxiter": _MAX_ITERATIONS},
    )  # fmt: skip
    x, step = found.x, np.inf
    for _ in range(_FINAL_STEPS):
        _, slope, curvature = at(x)
        if not np.all(np.isfinite(curvature)) or np.linalg.eigvalsh(curvature)[0] <= 0:
            break
        move = np.linalg.solve(curvature, slope)
        step, x = float(np.max(np.abs(move))), x - move
        if step < 1e-12:
            break
    if step <= _TOLERANCE:
        return Minimum(x, at(x)[0], converged=True)
    return Minimum(
        found.x, float(found.fun), converged=False,
        message=f"Newton's method has not reached a minimum of the action (last step {step:.1e})",
    )  # fmt: skip


def lowest_minimum(
    action: EffectiveAction,
    starts: list[np.ndarray],
    arrays: Any = (),
    static: Hashable = None,
    *,
    reverse: bool = True,
) -> Minimum:
    """The lowest of the minima reached from `starts`, the converged ones first."""
    found = [local_minimum(action, start, arrays, static, reverse=reverse) for start in starts]
    return min(found, key=lambda each: (not each.converged, each.action))


@partial(jax.jit, static_argnames=("action", "static", "reverse"))
def _derivatives(
    x: Float[Array, " n"], arrays: Any, action: EffectiveAction, static: Hashable, reverse: bool
) -> tuple[Float[Array, ""], Float[Array, " n"], Float[Array, "n n"]]:
    """S, its gradient and its Hessian."""

    def at(x: Float[Array, " n"]) -> Float[Array, ""]:
        return action(x, arrays, static)

    gradient = jax.grad(at) if reverse else jax.jacfwd(at)
    return at(x), gradient(x), jax.jacfwd(gradient)(x)
