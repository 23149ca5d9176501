"""Averages E[σ(u)σ(v)] of an activation that are independent of its dual, to hold that against."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["Averages", "line_averages", "plane_average"]

_NODE_SPACING, _NODE_RANGE, _SHORTER_RANGE = 1 / 32, 9.5, 7.5
"""Of the trapezoidal rule on a line in z, and of one that says whether the first is long enough."""
_PLANE_SPACING, _PLANE_NODES = 0.08, 88  # of a rule in the plane, on each side of zero
_PLANE_SHIFT = 0.02  # of its nodes, which lie on no kink at zero


def plane_average(
    function: Callable[[Array], Array],
    a: Float[np.ndarray, " n"],
    b: Float[np.ndarray, " n"],
    c: Float[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """E[σ(u)σ(v)] of the Gaussian of variances a, b and covariance c, and an error of each.

    By the trapezoidal rule in the plane, which takes no part of Mehler's formula. The error is the
    difference to a rule with twice the spacing: small for smooth σ, and as large as that of σ with
    kinks or jumps.

    >>> one, half = np.ones(1), np.full(1, 0.5)
    >>> value, error = plane_average(jnp.sin, one, one, half)  # exp(−1) sinh(½)
    >>> print(f"{value[0]:.9f} {np.exp(-1) * np.sinh(0.5):.9f} {error[0] < 1e-9}")
    0.191700250 0.191700250 True
    """
    z = _PLANE_SPACING * np.arange(-_PLANE_NODES, _PLANE_NODES + 1) + _PLANE_SHIFT
    density = np.exp(-(z**2) / 2)
    u = np.sqrt(a)[:, None] * z
    apart = np.sqrt(np.maximum(b - c**2 / a, 0))
    v = (c / np.sqrt(a))[:, None, None] * z[:, None] + apart[:, None, None] * z
    dtype = jnp.zeros(()).dtype
    values = np.asarray(function(jnp.asarray(np.concatenate([u.ravel(), v.ravel()]), dtype)))
    values = values.astype(np.float64)
    at_u, at_v = values[: u.size].reshape(u.shape), values[u.size :].reshape(v.shape)

    def average(stride: int) -> Float[np.ndarray, " n"]:
        w = density[::stride] / density[::stride].sum()
        return np.einsum("ni,i,nij,j->n", at_u[:, ::stride], w, at_v[:, ::stride, ::stride], w)

    fine = average(1)
    return fine, np.abs(fine - average(2))


class Averages(NamedTuple):
    """E[σ(√a z)²] at variances a, and E[σ(u)σ(v)] at all pairs of them, each with an error.

    The errors are the differences to a rule with twice the spacing, and to one that ends earlier:
    large for σ that grow too fast for their average. Made by `line_averages`.
    """

    power: Float[np.ndarray, " n"]
    power_error: Float[np.ndarray, " n"]
    dual: Float[np.ndarray, "rhos n n"]
    dual_error: Float[np.ndarray, "rhos n n"]


def line_averages(
    function: Callable[[Array], Array],
    variances: Float[np.ndarray, " n"],
    correlations: tuple[float, ...],
    num_terms: int = 64,
) -> Averages:
    """Averages of σ at these variances, and at correlations up to ½ in size.

    By the sum of Mehler with nodes as dense in u as in z, so that large variances are as exact as
    small ones.

    >>> found = line_averages(jnp.sin, np.array([1.0, 9.0]), (0.5,))
    >>> print(f"{found.dual[0, 0, 1]:.9f} {np.exp(-5) * np.sinh(1.5):.9f}")
    0.014346972 0.014346972
    >>> bool(np.all(found.dual_error < 1e-9))
    True
    """
    dtype, rows, squares = jnp.zeros(()).dtype, [], []
    for variance in variances:
        spacing = _NODE_SPACING / max(1.0, np.sqrt(variance))
        half = 2 * round(_NODE_RANGE / spacing / 2)
        z = spacing * np.arange(-half, half + 1)
        values = np.asarray(function(jnp.asarray(np.sqrt(variance) * z, dtype)), np.float64)
        density = spacing * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        rules = np.stack(
            [
                density,
                2 * density * (np.arange(z.size) % 2 == 0),
                density * (np.abs(z) < _SHORTER_RANGE),
            ]
        )
        squares.append(rules @ values**2)
        weighted, terms = rules * values, []
        before, polynomial = np.zeros_like(z), np.ones_like(z)
        for k in range(num_terms):
            terms.append(weighted @ polynomial)
            following = (z * polynomial - np.sqrt(k) * before) / np.sqrt(k + 1)
            before, polynomial = polynomial, following
        rows.append(terms)
    powers = np.array(correlations)[:, None] ** np.arange(num_terms)
    return Averages(
        *_with_error(np.array(squares).T),
        *_with_error(np.einsum("ikr,jkr,ck->rcij", rows, rows, powers)),
    )


def _with_error(by_rule: Float[np.ndarray, "3 ..."]) -> tuple[np.ndarray, np.ndarray]:
    """The average by the first rule, and its largest difference to the others.

    It is not known, and its error infinite, where the part beyond the third rule's end counts.
    """
    fine, coarse, short = by_rule
    error = np.maximum(np.abs(fine - coarse), np.abs(fine - short))
    return fine, np.where(np.abs(fine - short) > 0.01 * np.abs(fine), np.inf, error)
