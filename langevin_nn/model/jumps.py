"""Jumps of a function, of which its gradient says nothing, found by halving intervals.

Where a line through the intervals beside it explains least of what a function does in an interval
of a grid, the interval is halved, again and again, and the half is kept in which more is left
unexplained. If a change is left at the resolution of floating point, and the function changes much
less on either side of it, it jumps there: a steep slope or a kink does not end so, nor a pole.

An activation is looked at between −8 and 8. A network of the user's own is looked at along straight
lines in its weights, through draws of the prior, at some of the training inputs: jumps smaller than
10⁻³ of the outputs, or that these lines do not cross, are not seen.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

SMALLEST_JUMP = 1e-3
"""In units of the largest value: what changes less is no jump worth the name."""
HALVINGS = 50
"""How often an interval is halved, which ends at the resolution of floating point."""
NEAR_ROUNDINGS, FAR_RATIO = 8, 64
"""Roundings from a jump at which the function is on one side of it, and the multiple of this
distance within which the function must not change by a quarter of the jump."""
MOST_INTERVALS = 64
"""How many intervals are halved, those of which least is explained."""
SAME_PLACE = 1e-9
"""The distance within which two places are one."""
NUM_LINES, NUM_POINTS, NUM_INPUTS = 4, 64, 4
"""Lines in the space of the weights, points on each, and training inputs that are looked at."""
MOST_WEIGHTS_AT_A_TIME = 2**22
"""Weights of all networks that are evaluated at a time: larger networks are fewer."""

Numbers = Float[np.ndarray, " K"]


def jump_of(function: Callable[[Array], Array]) -> float | None:
    """A place in [−8, 8] where σ jumps by more than 10⁻³ of its largest value, or None.

    >>> jump_of(jnp.sign), jump_of(jax.nn.relu), jump_of(lambda z: jnp.cbrt(z))
    (0.0, None, None)
    """
    places, sizes = _jumps_on_the_line(function)
    return round(float(places[np.argmax(sizes)]), 6) + 0.0 if np.any(sizes) else None


def jumps_of(function: Callable[[Array], Any]) -> list[float]:
    """The places in [−8, 8], ascending, where a function jumps by more than 10⁻³ of its largest.

    >>> jumps_of(lambda z: jnp.sign(z) + jnp.sign(z - 0.3))
    [0.0, 0.3]
    """
    places, sizes = _jumps_on_the_line(function)
    distinct: list[float] = []
    for place in sorted(places[sizes > 0]):  # one at a point of the grid is found on either side
        if not distinct or place - distinct[-1] > SAME_PLACE:
            distinct.append(round(float(place), 12) + 0.0)
    return distinct


def _jumps_on_the_line(function: Callable[[Array], Any]) -> tuple[Numbers, Numbers]:
    """Places in [−8, 8], and by how much the function jumps there."""
    z = np.linspace(-8.0, 8.0, 4001)
    dtype = jnp.zeros(()).dtype

    def value(z: Numbers, _: Any = None) -> Numbers:
        return np.asarray(function(jnp.asarray(z, dtype)), dtype=float)

    return _jumps(value, z[None, :], value(z)[None, :, None], MOST_INTERVALS, dtype)


def jump_in_weights(posterior: Any, *, of_features: bool = False) -> float | None:
    """By how much an output of a network of the user's own jumps somewhere, or None.

    The posterior is one whose `sampled_leaves` are marked, or `of_features` one of a `Network`,
    whose features are then looked at. One that is being traced is not looked at.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(posterior)):
        return None
    template = eqx.filter_eval_shape(posterior.sample_prior, jax.random.key(0), 1)
    leaves, structure = jax.tree.flatten(template)
    size = sum(leaf.size for leaf in leaves)
    lines, num_intervals = NUM_LINES, MOST_INTERVALS
    while num_intervals > 2 and num_intervals * size > MOST_WEIGHTS_AT_A_TIME:
        num_intervals, lines = num_intervals // 2, max(1, lines // 2)
    dtype, rng = posterior.x_train.dtype, np.random.default_rng(0)
    start, direction = (
        [
            jnp.asarray(float(p) ** -0.5 * rng.normal(size=(lines, *leaf.shape[1:])), dtype)
            for p, leaf in zip(posterior.sampled_prior.by_array, leaves, strict=True)
        ]
        for _ in range(2)
    )

    def values(s: Numbers, line: Int[np.ndarray, " K"]) -> Float[np.ndarray, "K outputs"]:
        place = jnp.asarray(line), jnp.asarray(s, dtype)
        f = _outputs_along(posterior, structure, start, direction, *place, of_features)
        return np.asarray(f, dtype=float)

    s = np.tile(np.linspace(-1.0, 1.0, NUM_POINTS), (lines, 1))
    line = np.repeat(np.arange(lines), NUM_POINTS)
    batches = [slice(i, i + num_intervals) for i in range(0, s.size, num_intervals)]
    f = np.concatenate([values(s.ravel()[batch], line[batch]) for batch in batches])

    def value(s: Numbers, place: tuple[np.ndarray, np.ndarray]) -> Numbers:
        return values(s, place[0])[np.arange(len(s)), place[1]]

    _, sizes = _jumps(value, s, f.reshape(*s.shape, -1), num_intervals, dtype)
    return float(np.max(sizes)) if np.any(sizes) else None


@eqx.filter_jit
def _outputs_along(
    posterior: Any,
    structure: Any,
    start: list[Array],
    direction: list[Array],
    line: Int[Array, " K"],
    s: Float[Array, " K"],
    of_features: bool,
) -> Float[Array, "K outputs"]:
    """Outputs at some inputs of the networks on these lines, a distance s from their starts."""
    arrays = [
        w[line] + s.reshape(-1, *(1,) * (w.ndim - 1)) * d[line]
        for w, d in zip(start, direction, strict=True)
    ]
    networks = posterior.networks(jax.tree.unflatten(structure, arrays))
    x = posterior.x_train[:NUM_INPUTS]
    outputs = networks.features(x) if of_features else posterior.outputs_at(networks, x)
    return outputs.reshape(len(s), -1)


def _jumps(
    value: Callable[[Numbers, Any], Numbers],
    grid: Float[np.ndarray, "lines n"],
    values: Float[np.ndarray, "lines n outputs"],
    num_intervals: int,
    dtype: Any,
) -> tuple[Numbers, Numbers]:
    """Places on the lines, and by how much the function jumps there, 0 where it does not.

    `values` are those on the grid; `value` returns others (K,), each of a line and an output.
    """
    scale = np.max(np.abs(values), where=np.isfinite(values), initial=0.0)
    change = np.diff(values, axis=1)
    beside = np.pad(change, ((0, 0), (1, 1), (0, 0)), mode="edge")
    slope = (beside[:, :-2] + beside[:, 2:]) / 2
    unexplained = np.nan_to_num(np.abs(change - slope), nan=0.0, posinf=0.0)
    output = unexplained.argmax(axis=2)
    largest = unexplained.max(axis=2)
    line, i = np.unravel_index(np.argsort(largest, axis=None)[-num_intervals:], largest.shape)
    place = line, output[line, i]

    def ends(j: np.ndarray) -> tuple[Numbers, Numbers]:
        return grid[line, j], values[line, j, place[1]]

    (low, left), (high, right) = ends(i), ends(i + 1)
    slope = np.nan_to_num(slope[line, i, place[1]]) / (high - low)
    with np.errstate(invalid="ignore"):  # beside poles
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            at_middle = value(middle, place)
            rise = slope * (high - low) / 2
            first = np.abs(at_middle - left - rise) > np.abs(right - at_middle - rise)
            low, left = np.where(first, low, middle), np.where(first, left, at_middle)
            high, right = np.where(first, middle, high), np.where(first, at_middle, right)
        # From some roundings beside the place on, what is steep goes on changing. (At the place
        # itself a step may have a value of its own, as sign(0) = 0.)
        step = NEAR_ROUNDINGS * (
            high - low + float(jnp.finfo(dtype).eps) * np.maximum(1.0, np.abs(low))
        )
        near, far = (
            (value(low - distance, place), value(high + distance, place))
            for distance in (step, FAR_RATIO * step)
        )
        jump = np.abs(near[1] - near[0])
        slide = np.abs(far[0] - near[0]) + np.abs(far[1] - near[1])
        jumps = np.where((jump > SMALLEST_JUMP * scale) & (slide < jump / 4), jump, 0.0)
    return (low + high) / 2, jumps
