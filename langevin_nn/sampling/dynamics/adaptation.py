"""The adaptation of the split dynamics in its warm-up: angle of a step, length of trajectories.

The step size follows the acceptance by dual averaging (Hoffman, Gelman, JMLR 15, 1593, 2014,
section 3.2). The trajectory length τ follows the gradient of the ChEES criterion (Hoffman, Radul,
Sountsov, AISTATS 2021, PMLR 130, 3907), which rewards trajectories that change the distance from
the centre of the posterior: with q the whitened weights at the start, q' and p' at the end,

    C = ¼ E[(‖q' − E q'‖² − ‖q − E q‖²)²],
    dC/d log τ = E[uτ (‖q' − E q'‖² − ‖q − E q‖²) (q' − E q')·p'],    dq'/d(uτ) = p',

u the trajectory's share of τ. Averages are over the chains, those over the ends weighted with the
acceptance; log τ climbs by Adam (Kingma, Ba, ICLR 2015), and its average is kept. One chain has no
centre of its own: it keeps the length that it starts with.

All chains of a point share both numbers; every array here has a chain axis with equal entries.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from langevin_nn.config.dynamics import SPLIT

FIRST_STEP_SIZE = 0.1
"""The angle ε in radians at which an open step size starts, and stays without a warm-up."""
LARGEST_STEP_SIZE = SPLIT.largest_step_size
DEFAULT_TRAJECTORY = math.pi / 2
"""The angle τ at which an open trajectory length starts: the rotation that puts p for q."""
SHORTEST_TRAJECTORY, LONGEST_TRAJECTORY = 0.01, 4 * math.pi
"""The bounds of an open trajectory length, in radians."""
SETTLED_ACCEPTANCE, SETTLED_LENGTH = 0.1, 0.15
"""The lack of acceptance, and the logarithm of τ over its average, below which none drifts."""


class Adaptation(NamedTuple):
    """The state of the adaptation: dual averaging of log ε, and Adam on log τ.

    `trajectories` is the number of trajectories so far, `error` the mean lack of acceptance,
    `squared_slope` Adam's second moment.
    """

    trajectories: Float[Array, " chains"]
    error: Float[Array, " chains"]
    log_step: Float[Array, " chains"]
    log_step_average: Float[Array, " chains"]
    squared_slope: Float[Array, " chains"]
    log_length: Float[Array, " chains"]
    log_length_average: Float[Array, " chains"]


def unadapted(like: Float[Array, " chains"]) -> Adaptation:
    """The state of the adaptation before the first trajectory, in the shape and type of `like`."""
    zero = jnp.zeros_like(like)
    step = jnp.full_like(like, math.log(FIRST_STEP_SIZE))
    length = jnp.full_like(like, math.log(DEFAULT_TRAJECTORY))
    return Adaptation(zero, zero, step, step, zero, length, length)


def adapt_step(
    old: Adaptation, acceptance: Float[Array, " chains"], target: Array, length: Array
) -> Adaptation:
    """The state after one update of dual averaging with the mean acceptance of all chains.

    The constants are Hoffman and Gelman's, the centre ten times the first step size. A step is no
    longer than a trajectory. `old.trajectories` counts this one already.
    """
    shrink, delay, power = 0.05, 10.0, 0.75
    count = old.trajectories
    weight = 1 / (count + delay)
    error = (1 - weight) * old.error + weight * (target - jnp.mean(acceptance))
    log_step = math.log(10 * FIRST_STEP_SIZE) - jnp.sqrt(count) / shrink * error
    log_step = jnp.minimum(log_step, jnp.log(jnp.minimum(length, LARGEST_STEP_SIZE)))
    share = count**-power
    average = share * log_step + (1 - share) * old.log_step_average
    return old._replace(error=error, log_step=log_step, log_step_average=average)


def adapt_length(old: Adaptation, slope: Float[Array, ""]) -> Adaptation:
    """The state after one step of Adam along dC/d log τ.

    The rate is 0.025, the decays are 0 and 0.95 (Hoffman et al.).
    """
    rate, decay, power = 0.025, 0.95, 0.5
    count = old.trajectories
    square = decay * old.squared_slope + (1 - decay) * jnp.square(slope)
    size = jnp.sqrt(jnp.maximum(square / (1 - decay**count), jnp.finfo(square.dtype).tiny))
    log_length = jnp.clip(
        old.log_length + rate * slope / size,
        math.log(SHORTEST_TRAJECTORY),
        math.log(LONGEST_TRAJECTORY),
    )
    share = count**-power
    average = share * log_length + (1 - share) * old.log_length_average
    return old._replace(squared_slope=square, log_length=log_length, log_length_average=average)


def chees_slope(
    start: Any,
    end: Any,
    momentum: Any,
    acceptance: Float[Array, " chains"],
    finite: Bool[Array, " chains"],
    angle: Float[Array, ""],
) -> Float[Array, ""]:
    """The slope dC/d log τ from one trajectory of every chain; 0 where that is not finite.

    `start`, `end` and `momentum` are q, q' and p', pytrees with a leading chain axis; `angle` is
    uτ, and `finite` marks the chains that count.
    """
    weights = jnp.where(finite, acceptance, 0)

    def weighted(values: Array, weights: Array) -> Array:
        total = jnp.maximum(jnp.sum(weights), jnp.finfo(weights.dtype).tiny)
        return jnp.tensordot(weights / total, values, 1)

    def centred(tree: Any, weights: Array) -> list[Array]:
        # What a chain that is not finite holds must not reach the mean of the others.
        leaves = [jnp.where(_per_chain(finite, x), x, 0) for x in jax.tree.leaves(tree)]
        return [x - weighted(x, weights)[None] for x in leaves]

    def product(a: list[Array], b: list[Array]) -> Float[Array, " chains"]:
        terms = [jnp.sum(x * y, axis=range(1, x.ndim)) for x, y in zip(a, b, strict=True)]
        return sum(terms[1:], terms[0])

    before = centred(start, finite.astype(weights.dtype))
    after = centred(end, weights)
    velocity = [jnp.where(_per_chain(finite, p), p, 0) for p in jax.tree.leaves(momentum)]
    change = product(after, after) - product(before, before)
    slope = weighted(angle * change * product(after, velocity), weights)
    return jnp.where(jnp.isfinite(slope), slope, 0)


def _per_chain(chains: Bool[Array, " chains"], leaf: Array) -> Array:
    """The marks of the chains, with axes of length one to meet the axes of `leaf`."""
    return chains.reshape((-1,) + (1,) * (leaf.ndim - 1))
