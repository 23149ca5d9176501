"""Equinox modules as networks: which of their leaves are sampled, and whether they can be.

A module of the user's own is sampled in all of its floating-point arrays, or in those that a filter
of `eqx.partition` leaves. Its other arrays (masks, indices, keys), its numbers and its functions
stay what they are, one for all chains.

What cannot be sampled is refused: arrays in 16 bits, complex ones or of different types, an array
that is in two places (it would be two from the first step on), layers that keep a state between
calls (`eqx.nn.BatchNorm`), and derivatives that are not those of the values: under
`jax.lax.stop_gradient` Langevin dynamics would sample another measure than the split one.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.model.derivative import derivative_along
from langevin_nn.model.networks.base import Network, is_own_network, of_each
from langevin_nn.types import InputError
from langevin_nn.values import shown

FLOAT_TYPES = ("float32", "float64")
"""Types that can be sampled: in 16 bits a step below 2⁻⁸ of a weight is rounded away."""
NUM_PROBES, NUM_INPUTS = 8, 16
"""Draws of the prior, and training inputs, at which derivatives are looked at."""
MOST_PROBE_WEIGHTS = 2**20
"""Weights of all draws together; a larger network has fewer draws, two at least."""
MOVE_SIZES = (1e-1, 1e-2, 1e-3, 1e-4)
"""Moves of the weights, in units of their prior, whose differences test the derivatives."""
DEAD_SHARE = 0.01
"""The mean relative change of the outputs for each 1 above which entries without a slope count."""
SLOPE_TOLERANCE = 0.02
"""Relative difference from the quotient above which a derivative is wrong."""


def as_sampled(network: Any, sampled: Any) -> tuple[Any, tuple[bool, ...] | None, Any]:
    """The network, which of its leaves are sampled (None: all of a `Network`), and their type.

    Scalars of NumPy among its fields become the Python numbers that they stand for.
    """
    if isinstance(network, type) or not callable(network):
        type_name = network.__name__ if isinstance(network, type) else type(network).__name__
        raise InputError(
            f"a network is a FullyConnected, a Convolutional or an Equinox module that maps one "
            f"input to one output, got {type_name}: write for example lnn.FullyConnected(…)"
        )
    is_module = not isinstance(network, Network)
    if is_module:
        network = jax.tree.map(_as_python_number, network)
        _refuse_state(network)
        _refuse_unhashable(network)
    leaves = jax.tree_util.tree_leaves_with_path(network)
    marks = tuple(eqx.is_inexact_array(leaf) for _, leaf in leaves)
    if sampled is not None:
        if not is_module:
            raise InputError(
                f"a {type(network).__name__} is sampled in all of its weights: to freeze some, "
                "make it a field of an Equinox module of your own whose __call__ calls it, or take "
                "lnn.RandomFeatures"
            )
        filter_marks = _filter_marks(network, sampled)
        marks = tuple(mark and keep for mark, keep in zip(marks, filter_marks, strict=True))
    if not any(marks):
        raise InputError("the network has no floating-point arrays: nothing can be sampled")
    _refuse_shared(leaves, marks)
    if empty := [
        path for (path, leaf), mark in zip(leaves, marks, strict=True) if mark and not leaf.size
    ]:
        raise InputError(
            f"{jax.tree_util.keystr(empty[0]) or 'the array'} of the network has no entries: write "
            "None in its place, or leave it out by sampled=…"
        )
    names = {
        jax.tree_util.keystr(path) or "array": str(leaf.dtype)
        for (path, leaf), mark in zip(leaves, marks, strict=True)
        if mark
    }
    kinds = set(names.values())
    if len(kinds) > 1 or not kinds <= set(FLOAT_TYPES):
        listed = ", ".join(f"{name} {kind}" for name, kind in names.items())
        raise InputError(
            f"weights are sampled in float32 or in float64, all in the same, got {listed}: write "
            "them as arrays of one of these types, or leave them out by sampled=…"
        )
    return network, marks if is_module else None, jnp.dtype(kinds.pop())


def _as_python_number(leaf: Any) -> Any:
    return leaf.item() if isinstance(leaf, np.generic) else leaf


def _refuse_state(network: Any) -> None:
    kinds = eqx.nn.State | eqx.nn.StateIndex
    leaves = jax.tree.leaves(network, is_leaf=lambda node: isinstance(node, kinds))
    if any(isinstance(leaf, kinds) for leaf in leaves):
        raise InputError(
            "the network keeps arrays between its calls (eqx.nn.State, as of BatchNorm), and a "
            "function f(x) of its weights has none: write eqx.nn.LayerNorm, or another layer "
            "without a state"
        )


def _refuse_unhashable(network: Any) -> None:
    """Raise `InputError` for a field that compiled programs cannot be told apart by."""
    nodes: list[tuple[Any, Any]] = [
        *jax.tree_util.tree_leaves_with_path(network),
        ("", jax.tree.structure(network)),
    ]
    for path, node in nodes:
        try:
            eqx.is_array(node) or hash(node)
        except TypeError as error:
            raise InputError(
                f"{jax.tree_util.keystr(path) if path else 'a static field'} of the network cannot "
                f"be hashed ({error}): write a tuple for a list, a frozenset for a set"
            ) from error


class _LeftOut:
    """Stands where a filter leaves a leaf out."""


def _filter_marks(network: Any, sampled: Any) -> list[bool]:
    """Which leaves of the network a filter keeps, in the order of the leaves."""
    try:
        filtered = eqx.filter(network, sampled, replace=_LeftOut())
    except (TypeError, ValueError) as error:
        raise InputError(
            "sampled is a filter of eqx.partition, a function of a leaf or a tree of Booleans in "
            f"the shape of the network, got {shown(sampled)}"
        ) from error
    return [not isinstance(leaf, _LeftOut) for leaf in jax.tree.leaves(filtered)]


def _refuse_shared(leaves: list[tuple[Any, Any]], marks: tuple[bool, ...]) -> None:
    """Raise `InputError` where one array is in two places: they would part in the first step."""
    places: dict[int, tuple[Any, bool]] = {}
    for (path, leaf), mark in zip(leaves, marks, strict=True):
        if not eqx.is_array(leaf):
            continue
        first, other = places.setdefault(id(leaf), (path, mark))
        if first is not path and (mark or other):
            names = [jax.tree_util.keystr(place) for place in (first, path)]
            raise InputError(
                f"{names[0]} and {names[1]} of the network are one array, and would be sampled as "
                "two: write eqx.nn.Shared to tie them, or jax.numpy.copy for two arrays"
            )


def refuse_wrong_derivatives(posterior: Any) -> None:
    """Raise `InputError` where the derivatives of the user's own network are not of its values.

    It is a module, or of a class derived from `Network`; the package's own are not looked at.
    A dynamics that follows the gradient alone would sample another measure than one with an
    acceptance step.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(posterior)):
        return
    marks, dtype = posterior.sampled_leaves, posterior.x_train.dtype
    is_module = marks is not None
    if not is_module:
        if not is_own_network(posterior.network):
            return
        marks = tuple(eqx.is_inexact_array(leaf) for leaf in jax.tree.leaves(posterior.network))
    leaves = [
        (jax.tree_util.keystr(path), leaf.shape)
        for (path, leaf), mark in zip(
            jax.tree_util.tree_leaves_with_path(posterior.network), marks, strict=True
        )
        if mark
    ]
    rng = np.random.default_rng(0)
    x = posterior.x_train[:NUM_INPUTS]
    size = sum(math.prod(shape) for _, shape in leaves)
    probes = min(NUM_PROBES, max(2, MOST_PROBE_WEIGHTS // max(size, 1)))
    scales = [p**-0.5 for p in posterior.prior.by_array]
    start, direction = (
        [
            jnp.asarray(scale * rng.normal(size=(probes, *shape)), dtype)
            for scale, (_, shape) in zip(scales, leaves, strict=True)
        ]
        for _ in range(2)
    )
    signs = jnp.asarray(
        rng.choice([-1.0, 1.0], (probes, *posterior.y_train[: len(x)].shape)), dtype
    )

    def is_wrong(chosen: np.ndarray) -> bool:
        partial_direction = [
            d * float(is_chosen) for d, is_chosen in zip(direction, chosen, strict=True)
        ]
        try:
            return bool(
                _derivatives_are_wrong(posterior.network, marks, start, partial_direction, signs, x)
            )
        except (NotImplementedError, ValueError) as error:
            raise InputError(
                "the network cannot be differentiated, or not run for many inputs and weights at "
                f"once, as sampling does (jax.vmap): {' '.join(str(error).split())}"
            ) from error

    if not is_wrong(np.ones(len(leaves))):
        return
    wrong = [name for i, (name, _) in enumerate(leaves) if is_wrong(np.arange(len(leaves)) == i)]
    advice = "to freeze arrays leave them out of sampled=…" if is_module else "write it without"
    raise InputError(
        f"the derivative of the network in {', '.join(wrong or [name for name, _ in leaves])} is "
        "not that of its values (jax.lax.stop_gradient, or rounding?), so that gradients would "
        f"lead elsewhere than the density says: {advice}"
    )


@eqx.filter_jit
def _derivatives_are_wrong(
    network: Any,
    marks: tuple[bool, ...],
    start: list[Array],
    direction: list[Array],
    signs: Float[Array, "probes P *D"],
    x: Float[Array, "P N_0"],
) -> Array:
    """Whether derivatives along the direction are not the difference quotients at these weights."""
    sampled, shared = eqx.partition(network, jax.tree.unflatten(jax.tree.structure(network), marks))
    structure = jax.tree.structure(sampled)

    def outputs(arrays: list[Array]) -> Float[Array, "probes P D"]:
        networks = eqx.combine(jax.tree.unflatten(structure, arrays), shared)
        f = of_each(lambda member: jax.vmap(member)(x), networks, marks)
        return f.reshape(*f.shape[:2], -1).astype(x.dtype)

    f, slope = outputs(start), derivative_along(outputs, start, direction)
    rounding = 50 * jnp.finfo(f.dtype).eps * jnp.max(jnp.abs(f))

    # Differences along one direction; where there are kinks or jumps some may be off.
    moves = jnp.asarray([*MOVE_SIZES, *(-move for move in MOVE_SIZES)], x.dtype)

    def ends(w: Array, d: Array) -> Array:
        moved = w[None] + moves.reshape(-1, *(1,) * w.ndim) * d[None]
        return moved.reshape(-1, *w.shape[1:])

    shifted = outputs([ends(w, d) for w, d in zip(start, direction, strict=True)])
    shifted = shifted.reshape(2, len(MOVE_SIZES), *f.shape)
    steps = moves[: len(MOVE_SIZES)].reshape(-1, 1, 1, 1)
    quotient = (shifted[0] - shifted[1]) / (2 * steps)
    bound = SLOPE_TOLERANCE * (jnp.abs(quotient) + jnp.abs(slope)[None]) + rounding / steps
    missed = jnp.mean(jnp.abs(quotient - slope[None]) > bound, axis=(1, 2), dtype=f.dtype)
    misses = jnp.any(jnp.min(missed, axis=0) > 0.25)

    # Entries whose derivative is zero in all draws, and that do count: a unit that is off in all of
    # them counts as the square of the move where it is at an edge.
    gradient = jax.grad(lambda arrays: jnp.sum(signs.reshape(f.shape) * outputs(arrays)))(start)

    def counts(move: float) -> Array:
        moved = [
            w + move * jnp.where(jnp.all(g == 0, axis=0)[None], d, 0)
            for w, d, g in zip(start, direction, gradient, strict=True)
        ]
        change = jnp.mean(jnp.abs(outputs(moved) - f))
        return change > DEAD_SHARE * move * jnp.mean(jnp.abs(f)) + rounding

    return misses | (counts(MOVE_SIZES[1]) & counts(MOVE_SIZES[2]))
