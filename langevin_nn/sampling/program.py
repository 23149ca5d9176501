"""The compiled program of the driver: steps and records of all chains, shared out over devices."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.base import Transition
from langevin_nn.types import ChainKeys

Observable = Callable[[Any], Array]
"""A function of one network, on inputs (N_0,), that returns an array."""


@eqx.filter_jit
def advance(
    posterior: Posterior,
    transition: Transition,
    state: Any,
    keys: tuple[ChainKeys, ChainKeys],
    counts: tuple[Array, Array, Array],
    buffer: dict[str, Array],
    extra: Mapping[str, Observable],
) -> tuple[Any, dict[str, Array]]:
    """From `first_step`, `count` times: `stride` steps, then one record with their mean info.

    The three counts are traced, so that every chunk of every run of these shapes is one program.
    """
    first_step, stride, count = counts
    step_keys, record_keys = keys

    def one_step(step: Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        state, sums = carry
        state, info = transition.step(posterior, state, _fold(step_keys, step))
        return state, jax.tree.map(jnp.add, sums, info)

    info = jax.eval_shape(lambda: transition.step(posterior, state, step_keys)[1])
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), info)

    def one_draw(i: Array, carry: tuple[Any, dict[str, Array]]) -> tuple[Any, dict[str, Array]]:
        state, buffer = carry
        begin = first_step + i * stride
        state, sums = jax.lax.fori_loop(begin, begin + stride, one_step, (state, zeros))
        values = observe(posterior, state, _fold(record_keys, begin + stride), extra)
        values |= {name: total / stride for name, total in sums._asdict().items()}
        return state, {name: buffer[name].at[i].set(value) for name, value in values.items()}

    return jax.lax.fori_loop(0, count, one_draw, (state, buffer))


def observe(
    posterior: Posterior,
    state: Any,
    keys: ChainKeys,
    extra: Mapping[str, Observable],
) -> dict[str, Array]:
    """What is recorded of one state, each with a leading chain axis."""
    values = {
        **posterior.predictions(state.params, keys),
        "train_error": jnp.mean(posterior.squared_errors(state.params), axis=1),
        "energy": posterior.energy(state.params),
    }
    if extra:
        networks = posterior.lifted_networks(state.params, keys)
        values |= {name: eqx.filter_vmap(function)(networks) for name, function in extra.items()}
    return values


def _fold(keys: ChainKeys, number: Array) -> ChainKeys:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def mesh_for(num_chains: int) -> Mesh:
    """As many of JAX's devices as divide the number of chains."""
    devices = jax.devices()
    number = max(n for n in range(1, len(devices) + 1) if num_chains % n == 0)
    return Mesh(np.array(devices[:number]), ("chains",))


def shared(mesh: Mesh, tree: Any, axis: int) -> Any:
    """The tree's arrays, their chain axis shared out over the devices."""
    return _placed(tree, NamedSharding(mesh, PartitionSpec(*[None] * axis, "chains")))


def copied(mesh: Mesh, tree: Any) -> Any:
    """The tree's arrays, whole on each device."""
    return _placed(tree, NamedSharding(mesh, PartitionSpec()))


def _placed(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(
        lambda leaf: jax.device_put(leaf, sharding) if eqx.is_array_like(leaf) else leaf, tree
    )


def buffer_for(
    posterior: Posterior,
    transition: Transition,
    state: Any,
    keys: ChainKeys,
    extra: Mapping[str, Observable],
    num_samples: int,
    max_bytes: float,
) -> dict[str, Array]:
    """Zeros for as many draws as are worth keeping on the device between two chunks."""
    shapes = dict(eqx.filter_eval_shape(observe, posterior, state, keys, extra))
    shapes |= eqx.filter_eval_shape(transition.step, posterior, state, keys)[1]._asdict()
    bytes_each = sum(shape.size * shape.dtype.itemsize for shape in shapes.values())
    capacity = min(max(int(max_bytes / bytes_each), 1), num_samples)
    return {name: jnp.zeros((capacity, *s.shape), s.dtype) for name, s in shapes.items()}
