"""Whether the slope of a function of the user's own is that of its values, at points of a line.

Between neighbours of a grid the values change by the mean slope times the distance,

    φ(z′) − φ(z) = ½ (φ′(z) + φ′(z′)) (z′ − z) + O((z′ − z) |φ′(z′) − φ′(z)|),

whatever rule the derivative has (`jax.custom_jvp`, `jax.lax.stop_gradient`). The remainder allows
for curvature and for kinks. A jump breaks this in one interval, rounding to a fine grid and a wrong
rule in many. Intervals that deviate are looked at again with a finer grid: what oscillates faster
than the first is no mistake.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.errors import TRACING_ERRORS, first_line
from langevin_nn.model.jumps import jump_of

__all__ = ["wrong_slope"]

NUM_POINTS = 6001
"""Points between −8 and 8, ten times denser at zero than at the ends, and on no round number."""
LOOKED_AT_AGAIN, PARTS = 64, 64
"""Intervals that deviate and are looked at again, and the parts that each is divided into."""
TOLERANCE = 0.02
"""The relative deviation of the mean slope that is none."""
MOST_WRONG, MOST_JUMPS = 0.005, 0.15
"""The share of intervals that may deviate: isolated ones; those of a function that jumps."""
ROUNDINGS = 32
"""Roundings of the values, and of the intermediate results behind them."""

Function = Callable[[Array], Array]
Numbers = Float[np.ndarray, "lines n_less_1"]
Intervals = tuple[Numbers, Numbers, Numbers, Numbers]


def wrong_slope(function: Function) -> str:
    """In words, where the slope that gradients follow is not that of the values; "" where it is.

    >>> wrong_slope(jnp.tanh), wrong_slope(jax.nn.relu), wrong_slope(jnp.sign)
    ('', '', '')
    >>> wrong_slope(lambda z: z + jax.lax.stop_gradient(z))[:11]
    'the slope 1'
    """
    t = np.linspace(-1.0, 1.0, NUM_POINTS) * np.pi
    z = 8 * np.sinh(t)[None] / np.sinh(np.pi) + 1e-5 * np.pi
    try:
        jax.eval_shape(jax.grad(lambda z: jnp.sum(function(z))), jnp.zeros(3))
    except TRACING_ERRORS as error:
        return f"which cannot be differentiated ({first_line(error)})"
    expected, change, bound, rounding = _changes(function, z)
    wrong = _is_wrong(expected, change, bound + rounding)[0]
    (places,) = np.nonzero(wrong)
    if len(places) <= MOST_WRONG * NUM_POINTS:
        return ""
    places = places[np.linspace(0, len(places) - 1, LOOKED_AT_AGAIN).astype(int)]
    parts = np.linspace(0.0, 1.0, PARTS + 1)
    finer = z[0, places, None] + (z[0, places + 1] - z[0, places])[:, None] * parts
    *in_parts, rounding = _changes(function, finer)
    expected, change, bound = (array.sum(axis=1) for array in in_parts)
    still = _is_wrong(expected, change, bound + rounding.max(axis=1))
    share = np.mean(wrong) * np.mean(still)
    if share <= MOST_WRONG or (share <= MOST_JUMPS and jump_of(function) is not None):
        return ""
    distance = finer[:, -1] - finer[:, 0]
    deviation = np.nan_to_num(np.abs(change - expected), nan=np.inf) / distance
    i = int(np.argmax(np.where(still, deviation, -1.0)))
    return (
        f"the slope {expected[i] / distance[i]:.3g} at {finer[i, 0]:.3g}, where its values rise by "
        f"{change[i] / distance[i]:.3g} for each 1"
    )


def _is_wrong(expected: np.ndarray, change: np.ndarray, bound: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.isfinite(change) & ~(np.abs(change - expected) <= bound)


def _changes(function: Function, z: Float[np.ndarray, "lines n"]) -> Intervals:
    """In each interval: the change by the slopes, that of the values, bounds on their difference.

    The bounds are that of what is linear in the distance, and that of the values' rounding.
    """
    dtype = jnp.zeros(()).dtype
    points = z.astype(dtype)
    with jax.ensure_compile_time_eval():
        of_points, pull = jax.vjp(function, jnp.asarray(points.ravel()))
        arrays = of_points, pull(jnp.ones_like(of_points))[0]
    values, slopes = (np.asarray(array, np.float64).reshape(z.shape) for array in arrays)
    with np.errstate(invalid="ignore", over="ignore"):
        # Distances are those of the numbers that the function was given.
        distance, change = (np.diff(array, axis=1) for array in (points.astype(np.float64), values))
        mean = (slopes[:, 1:] + slopes[:, :-1]) / 2
        bend = np.pad(np.abs(np.diff(slopes, axis=1)), ((0, 0), (1, 1)), mode="edge")
        bend = np.maximum(np.maximum(bend[:, :-2], bend[:, 1:-1]), bend[:, 2:])
        size = np.maximum(np.abs(values[:, 1:]), np.abs(values[:, :-1]))
        scale = np.minimum(1.0, np.max(size, where=np.isfinite(size), initial=0.0))
        rounding = ROUNDINGS * float(jnp.finfo(dtype).eps) * np.maximum(size, scale)
        return mean * distance, change, distance * (TOLERANCE * np.abs(mean) + bend), rounding
