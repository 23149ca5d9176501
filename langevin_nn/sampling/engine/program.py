"""The compiled program of the driver: steps and records of all chains, shared out over devices.

Points are posteriors that differ in their numbers only (precisions, temperature, data of the same
shapes): they run side by side in one program, whose arrays have a point axis before the chains'.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from langevin_nn.model.posterior import Posterior, Target
from langevin_nn.sampling.base import Stepper
from langevin_nn.sampling.dynamics.step_size import energy_slopes
from langevin_nn.sampling.engine.chunks import Buffer, Chunk
from langevin_nn.sampling.engine.compiling import compiled
from langevin_nn.sampling.engine.kept_weights import flat_weights
from langevin_nn.types import CHAIN_AXIS, ChainKeys, PointKeys, is_key

Observable = Callable[[Any], Array]
"""A function of one network, on inputs (N_0,), that returns an array.

One that is an Equinox module may hold arrays: those of each point have a leading point axis.
"""
Observables = Mapping[str, Observable] | Sequence[Mapping[str, Observable]] | None
"""The observables of all points, or those of each."""


@runtime_checkable
class Exchange(Protocol):
    """An interaction between the points after each step. It is static: it holds no arrays."""

    def begin(self, num_points: int, num_chains: int) -> Any:
        """The exchange's first state, carried from step to step: arrays (points, chains, …)."""
        ...

    def __call__(
        self,
        posterior: Posterior,
        stepper: Stepper,
        states: "States",
        keys: PointKeys,
        step: Array,
    ) -> tuple["States", dict[str, Array]]:
        """The states after the exchange, and its records by name, each (points, chains)."""
        ...

    def draws_needed(self, draws: Mapping[str, np.ndarray], thinning: int) -> float:
        """The number of draws that its records ask for, with these draws (draw, point, chain)."""
        ...

    def observe(self, posterior: Posterior, states: "States") -> dict[str, Array]:
        """The exchange's records of the states at a draw by name, each (points, chains)."""
        ...


class States(NamedTuple):
    """The dynamics' state of every chain of every point, and the state of the exchange."""

    chains: Any
    between: Any = None


@eqx.filter_jit
def begin(posterior: Target, stepper: Stepper, params: Any) -> Any:
    """The dynamics' state of one point's chains at `params`.

    Compiled: one by one the operations on a marginalised read-out are new programs in every run.
    """
    return stepper.dynamics.init(posterior, params, stepper.settings)


@compiled
def advance(
    posterior: Posterior,
    stepper: Stepper,
    states: States,
    keys: tuple[PointKeys, PointKeys],
    chunk: Chunk,
    buffer: Buffer,
    extra: Mapping[str, Observable],
    exchange: Exchange | None = None,
    train_outputs: bool = False,
) -> tuple[States, Buffer]:
    """The states and the buffer after a chunk; a draw records the states and its steps' mean info.

    The arrays of the posterior and of the stepper have a leading point axis, those of the state
    and the keys a point and a chain axis, the buffer's a draw axis before them. The chunk's numbers
    are traced, so that every chunk of every run of these shapes is one program.
    """
    first_step, stride = chunk.first_step, chunk.stride
    step_keys, record_keys = keys

    def one_step(step: Array, carry: tuple[States, Any]) -> tuple[States, Any]:
        states, sums = carry
        states, info = move(posterior, stepper, states, fold(step_keys, step), step, exchange)
        return states, jax.tree.map(jnp.add, sums, info)

    moving = (posterior, stepper, states, step_keys, first_step, exchange)
    info = eqx.filter_eval_shape(move, *moving)[1]
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), info)

    def with_slopes(
        states: States, keys: PointKeys, slopes: dict[str, Array], draw: Array
    ) -> dict[str, Array]:
        values = eqx.filter_vmap(energy_slopes)(posterior, states.chains.params, keys)
        row = draw // chunk.slope_stride - chunk.first_slope
        return {name: slopes[name].at[row].set(value) for name, value in values.items()}

    def without_slopes(
        states: States, keys: PointKeys, slopes: dict[str, Array], draw: Array
    ) -> dict[str, Array]:
        return slopes

    def one_draw(i: Array, carry: tuple[States, Buffer]) -> tuple[States, Buffer]:
        states, (draws, slopes, params) = carry
        begin = first_step + i * stride
        states, sums = jax.lax.fori_loop(begin, begin + stride, one_step, (states, zeros))
        keys = fold(record_keys, begin + stride)
        values = observe(posterior, states, keys, extra, exchange, train_outputs)
        values |= {name: total / stride.astype(total.dtype) for name, total in sums.items()}
        if slopes:
            draw = chunk.first_draw + i
            has_slopes = draw % chunk.slope_stride == 0
            slopes = jax.lax.cond(
                has_slopes, with_slopes, without_slopes, states, keys, slopes, draw
            )
        draws = {name: draws[name].at[i].set(value) for name, value in values.items()}
        if params is not None:
            params = jax.tree.map(lambda kept, w: kept.at[i].set(w), params, states.chains.params)
        return states, Buffer(draws, slopes, params)

    return jax.lax.fori_loop(0, chunk.count, one_draw, (states, buffer))


@eqx.filter_jit
def move(
    posterior: Posterior,
    stepper: Stepper,
    states: States,
    keys: PointKeys,
    step: Array,
    exchange: Exchange | None,
) -> tuple[States, dict[str, Array]]:
    """The states after one step of every chain of every point and the exchange, and the info.

    Compiled as part of `advance`; a function of its own is traced once, whoever asks for shapes.
    """

    def one_point(
        posterior: Posterior, stepper: Stepper, state: Any, keys: ChainKeys
    ) -> tuple[Any, dict[str, Array]]:
        state, info = stepper.step(posterior, state, keys)
        return state, {name: _as_real(part) for name, part in info._asdict().items()}

    chains, info = eqx.filter_vmap(one_point)(posterior, stepper, states.chains, keys)
    states = states._replace(chains=chains)
    if exchange is None:
        return states, info
    states, exchanged = exchange(posterior, stepper, states, keys, step)
    return states, info | exchanged


def _as_real(part: Array) -> Array:
    """A part of a step's info as real numbers, since a draw has its mean over many steps."""
    return part if jnp.issubdtype(part.dtype, jnp.inexact) else part.astype(jnp.float32)


@eqx.filter_jit
def weights_of_draw(
    posterior: Posterior, kept: Any, keys: PointKeys, chunk: Chunk, i: Array
) -> Float[Array, "points chains weights"]:
    """The weights of the whole networks of the draw `i` of a chunk, whose parameters are `kept`.

    This is a program of its own: what a run records is the same whether weights are kept or not.
    """
    params = jax.tree.map(lambda of_draws: of_draws[i], kept)
    drawn_with = fold(keys, chunk.first_step + (i + 1) * chunk.stride)
    weights: Array = eqx.filter_vmap(flat_weights)(posterior, params, drawn_with)
    return weights


@eqx.filter_jit
def observe(
    posterior: Posterior,
    states: States,
    keys: PointKeys,
    extra: Mapping[str, Observable],
    exchange: Exchange | None,
    train_outputs: bool,
) -> dict[str, Array]:
    """The records of the states by name, each with a leading point and chain axis."""

    def one_point(
        posterior: Posterior, params: Any, keys: ChainKeys, extra: Mapping[str, Observable]
    ) -> dict[str, Array]:
        return record(posterior, params, keys, extra, train_outputs)

    values = dict(eqx.filter_vmap(one_point)(posterior, states.chains.params, keys, extra))
    return values | (exchange.observe(posterior, states) if exchange else {})


def record(
    posterior: Posterior,
    params: Any,
    keys: ChainKeys,
    extra: Mapping[str, Observable],
    train_outputs: bool = False,
) -> dict[str, Array]:
    """The records of the chains of one point by name, each with a leading chain axis."""
    values = posterior.record(params, keys, train_outputs=train_outputs)
    if extra:
        networks = posterior.lifted_networks(params, keys)
        values |= {name: posterior.of_each(function, networks) for name, function in extra.items()}
    return values


def stacked(points: Sequence[Any]) -> Any:
    """One tree whose arrays are those of the given trees stacked along a leading point axis.

    The arrays are on the host: as JAX operations each shape would be a program to compile.
    Raises `ValueError` where structures, shapes, or leaves that are no arrays differ.
    """

    def stack(first: Any, *others: Any) -> Any:
        if is_key(first):
            return jnp.stack([first, *others])
        if eqx.is_array(first):
            return np.stack([np.asarray(leaf) for leaf in (first, *others)])
        for other in others:
            if other is not first and (type(other) is not type(first) or other != first):
                raise ValueError(f"{first!r} of the first point is {other!r} of another")
        return first

    return jax.tree.map(stack, *points)


def point(tree: Any, index: int) -> Any:
    """The tree of the point `index` out of a stacked tree, on the host."""

    def of_one(leaf: Any) -> Any:
        if not eqx.is_array(leaf):
            return leaf
        return leaf[index] if is_key(leaf) else np.asarray(leaf)[index]

    return jax.tree.map(of_one, tree)


def fold(keys: PointKeys, number: Array) -> PointKeys:
    """The keys of all points and chains with `number` folded into each."""
    return jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (0, None))(keys, number)


def mesh_for(num_chains: int) -> Mesh:
    """A mesh of as many of JAX's devices as divide the number of chains."""
    devices = jax.devices()
    num_devices = max(n for n in range(1, len(devices) + 1) if num_chains % n == 0)
    return Mesh(np.array(devices[:num_devices]), (CHAIN_AXIS,))


def shared(mesh: Mesh, tree: Any, axis: int) -> Any:
    """The tree with the chain axis of its arrays shared out over the devices of the mesh."""
    return _placed(tree, NamedSharding(mesh, PartitionSpec(*[None] * axis, CHAIN_AXIS)))


def copied(mesh: Mesh, tree: Any) -> Any:
    """The tree with its arrays whole on each device of the mesh."""
    return _placed(tree, NamedSharding(mesh, PartitionSpec()))


def _placed(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(
        lambda leaf: jax.device_put(leaf, sharding) if eqx.is_array(leaf) else leaf, tree
    )


def buffer_for(
    posterior: Posterior,
    stepper: Stepper,
    states: States,
    keys: tuple[PointKeys, PointKeys],
    step: Array,
    extra: Mapping[str, Observable],
    exchange: Exchange | None,
    train_outputs: bool,
    num_samples: int,
    slope_stride: int | None,
    max_bytes: float,
    with_params: bool = False,
) -> Buffer:
    """Zeros for as many draws as are worth keeping on the device between two chunks.

    There is room for the slopes of every `slope_stride`-th draw, or more; for none if it is None;
    for the parameters of each draw if they are asked for.
    With the arguments placed as for `advance`, the functions traced here are not traced again.
    """
    step_keys, record_keys = keys
    observed = (posterior, states, record_keys, extra, exchange, train_outputs)
    shapes = dict(eqx.filter_eval_shape(observe, *observed))
    moving = (posterior, stepper, states, step_keys, step, exchange)
    shapes |= eqx.filter_eval_shape(move, *moving)[1]
    slope_shapes: dict[str, Any] = {}
    if slope_stride is not None:
        of_points = (eqx.filter_vmap(energy_slopes), posterior, states.chains.params, record_keys)
        slope_shapes = eqx.filter_eval_shape(*of_points)
    bytes_per_draw = _bytes(shapes) + _bytes(slope_shapes) / (slope_stride or 1)
    params = states.chains.params if with_params else None
    bytes_per_draw += sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    capacity = min(max(int(max_bytes / bytes_per_draw), 1), num_samples)
    rows = min(capacity // (slope_stride or 1) + 1, num_samples)
    kept = jax.tree.map(lambda leaf: np.zeros((capacity, *leaf.shape), leaf.dtype), params)
    return Buffer(_zeros(capacity, shapes), _zeros(rows, slope_shapes), kept)


def _bytes(shapes: Mapping[str, Any]) -> float:
    return float(sum(shape.size * shape.dtype.itemsize for shape in shapes.values()))


def _zeros(length: int, shapes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.zeros((length, *s.shape), s.dtype) for name, s in shapes.items()}
