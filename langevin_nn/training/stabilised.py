"""A Runge–Kutta–Chebyshev method, for flows whose steps stability limits and not accuracy.

Sommeijer, Shampine, Verwer, "RKC: an explicit solver for parabolic PDEs", J. Comput. Appl. Math.
88 (1998) 315: s stages of order two, stable along the negative real axis down to −0.65 (s² − 1),
where gradient flow has its eigenvalues near a minimum. With 12 stages that is −94, 7.8 for each
gradient; Tsit5 has −3.3, 0.55 for each. With the three-term recursion of Chebyshev polynomials,

    Y_j = (1 − μ_j − ν_j) y + μ_j Y_{j−1} + ν_j Y_{j−2} + h (μ̃_j F(Y_{j−1}) + γ̃_j F(y))

and the error 0.8 (y − Y_s) + 0.4 h (F(y) + F(Y_s)) of order h³.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.polynomial import Chebyshev

__all__ = ["Stabilised", "coefficients"]

DAMPING = 2 / 13
"""The damping ε of the method, with w_0 = 1 + ε/s²: the value of Sommeijer et al."""


def coefficients(stages: int) -> tuple[float, Float[np.ndarray, "s_minus_1 4"]]:
    """The coefficients of s stages: μ̃_1, and a row (μ_j, ν_j, μ̃_j, γ̃_j) for j = 2 … s."""
    w0 = 1 + DAMPING / stages**2
    polynomials = [Chebyshev.basis(j) for j in range(stages + 1)]
    value, first, second = (
        np.array(
            [polynomial.deriv(order)(w0) if order else polynomial(w0) for polynomial in polynomials]
        )
        for order in range(3)
    )
    w1 = first[-1] / second[-1]
    b = np.empty(stages + 1)
    b[2:] = second[2:] / first[2:] ** 2
    b[:2] = b[2]
    a = 1 - b * value
    rows = [
        (2 * w0 * b[j] / b[j - 1], -b[j] / b[j - 2], 2 * w1 * b[j] / b[j - 1],
         -a[j - 1] * 2 * w1 * b[j] / b[j - 1])
        for j in range(2, stages + 1)
    ]  # fmt: skip
    return float(b[1] * w1), np.array(rows)


class Stabilised(diffrax.AbstractAdaptiveSolver[Any]):
    """A Runge–Kutta–Chebyshev solver of diffrax, for autonomous systems of real arrays."""

    stages: int = 12

    term_structure: ClassVar[type] = diffrax.AbstractTerm
    interpolation_cls: ClassVar[Callable[..., Any]] = diffrax.LocalLinearInterpolation

    def order(self, terms: Any) -> int:
        """The order of the method, two."""
        return 2

    def error_order(self, terms: Any) -> int:
        """The order of the error estimate in the step, three."""
        return 3

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        """The derivative F(y) for the first step; later steps have it from their predecessors."""
        return terms.vf(t0, y0, args)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> tuple[Any, Any, dict[str, Any], Any, Any]:
        """One step from t0 to t1: y there, its error, what interpolates, and F there."""
        start, control = solver_state, terms.contr(t0, t1)
        first, rows = coefficients(self.stages)

        def combined(weights: Any, trees: tuple[Any, ...]) -> Any:
            return jax.tree.map(
                lambda *leaves: sum(w * x for w, x in zip(weights, leaves, strict=True)), *trees
            )

        increment = terms.prod(start, control)

        def stage(pair: tuple[Any, Any], row: Any) -> tuple[tuple[Any, Any], None]:
            last_but_one, last = pair
            latest_increment = terms.prod(terms.vf(t0, last, args), control)
            weights = (1 - row[0] - row[1], row[0], row[1], row[2], row[3])
            return (
                last,
                combined(weights, (y0, last, last_but_one, latest_increment, increment)),
            ), None

        pair = (y0, combined((1.0, first), (y0, increment)))
        table = jnp.asarray(rows, jax.tree.leaves(y0)[0].dtype)
        (_, y1), _ = jax.lax.scan(stage, pair, table)
        end = terms.vf(t1, y1, args)
        error = combined((0.8, -0.8, 0.4, 0.4), (y0, y1, increment, terms.prod(end, control)))
        return y1, error, {"y0": y0, "y1": y1}, end, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The derivative F(y), by which diffrax chooses the first step."""
        return terms.vf(t0, y0, args)
