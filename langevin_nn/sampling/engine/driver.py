"""The driver: all chains of all points in one compiled program, in chunks.

Each chunk runs a number of steps and records observables into a buffer; weights are never stored,
only carried. Points run side by side (`program`), chains are shared out over JAX's devices. Step s
of chain c uses the key fold_in(key_c, s), so that chunked, resumed and uninterrupted runs agree to
the last bit as long as they run on the same number of devices of one kind.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray
from threadpoolctl import ThreadpoolController

from langevin_nn.memory import forget_programs
from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.base import Transition
from langevin_nn.sampling.checks import (
    Counts,
    checked_keys,
    checked_observables,
    checked_posteriors,
    refuse_jumps,
)
from langevin_nn.sampling.draws import SERIES_BYTES, Chains, assemble
from langevin_nn.sampling.dynamics.step_size import Diverged, room_for_slopes, slope_stride
from langevin_nn.sampling.engine.checkpoint import Checkpoint, Progress, fingerprint
from langevin_nn.sampling.engine.chunks import Buffer, Chunk, joined
from langevin_nn.sampling.engine.program import (
    Exchange,
    Observable,
    States,
    advance,
    buffer_for,
    copied,
    mesh_for,
    move,
    point,
    shared,
    stacked,
)
from langevin_nn.types import InputError, random_key

FIRST_CHUNK_STEPS = 100
CHUNK_SECONDS = 2.0
BUFFER_BYTES = 64e6
NEVER = 2**30
"""A stride of slopes that no draw of the warm-up is a multiple of."""


@dataclass(frozen=True)
class Report:
    """What the driver tells `progress` after each chunk."""

    steps: int
    total_steps: int
    warmup_steps: int
    train_error: float
    diverged_chains: int


@dataclass(frozen=True)
class Driven:
    """What `drive` leaves: the last states, each point's numbers, draws (draw, point, chain, …).

    `slopes` are those of the draws `sloping`, empty where none were recorded.
    """

    posteriors: Sequence[Posterior]
    states: States
    numbers: list[dict[str, float]]
    draws: dict[str, np.ndarray]
    slopes: dict[str, np.ndarray]
    sloping: np.ndarray
    thinning: int

    def chains(self, index: int) -> Chains:
        draws = {name: values[:, index] for name, values in self.draws.items()}
        slopes = {name: values[:, index] for name, values in self.slopes.items()}
        # Shared out over the devices as the chains were.
        mesh = mesh_for(self.draws["energy"].shape[2])
        params = shared(mesh, point(self.states.chains.params, index), axis=0)
        return assemble(
            self.posteriors[index], params, self.numbers[index], draws, self.thinning,
            slopes, self.sloping,
        )  # fmt: skip


def drive(
    posteriors: Sequence[Posterior],
    transition: Transition,
    keys: Iterable[PRNGKeyArray],
    counts: Counts,
    *,
    exchange: Exchange | None = None,
    observables: Mapping[str, Observable] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Callable[[Report], None] | None = None,
) -> Driven:
    """The driver of all points at once; arguments as for `sample_points`."""
    start = time.monotonic()
    forget_programs()
    posteriors = checked_posteriors(posteriors)
    keys = [random_key(key) for key in checked_keys(keys)]
    if len(posteriors) != len(keys) or not posteriors:
        raise InputError(
            f"each point needs a key of its own, got {len(posteriors)} posteriors and "
            f"{len(keys)} keys"
        )
    for posterior in posteriors:
        refuse_jumps(posterior, transition)
    extra = checked_observables(posteriors[0], observables)
    points = [_as_arrays(posterior) for posterior in posteriors]
    split = [jax.random.split(key, 4) for key in keys]
    # Two streams for each chain: one for its steps, one for what is drawn at its records.
    streams = tuple(
        jnp.stack([jax.random.split(each[i], counts.num_chains) for each in split]) for i in (2, 3)
    )
    key_geometry = [each[1] for each in split]
    # Compiled: one by one the operations on a marginalised read-out are new programs in every run.
    init = eqx.filter_jit(transition.init)
    begun = [
        init(posterior, posterior.sample_prior(each[0], counts.num_chains))
        for posterior, each in zip(points, split, strict=True)
    ]
    target = _stacked(points)
    carried = exchange.begin(len(points), counts.num_chains) if exchange else None
    states = States(stacked(begun), carried)
    at_train = counts.num_chains * counts.num_samples * points[0].y_train.nbytes <= SERIES_BYTES
    saved = None
    if checkpoint is not None:
        names = (*dataclasses.astuple(counts), sorted(extra), exchange is not None)
        saved = Checkpoint(checkpoint, fingerprint(points, transition, keys, names))
    chunks: list[Buffer] = []
    if saved and resume and saved.exists:
        states, done, chunks = saved.load(states)
    else:
        first = [
            dict(transition.prepare(*each))
            for each in zip(points, begun, key_geometry, strict=True)
        ]
        done = Progress(0, 0, first)
    numbers = done.numbers
    earlier = numbers[0].get("seconds", 0.0)
    mesh = mesh_for(counts.num_chains)
    states, streams = shared(mesh, (states, streams), axis=1)
    target, dynamics = copied(mesh, (target, _moving(transition, numbers, points[0])))
    # Swaps mix the laws of the rungs: the bias of each is then another one.
    sloping = transition.unadjusted and exchange is None
    every = slope_stride(counts.num_samples, counts.thinning)
    room = room_for_slopes(counts.num_samples) if sloping else None
    first_step = copied(mesh, jnp.int32(0))
    with jax.set_mesh(mesh):
        zeros = buffer_for(
            target, dynamics, states, streams, first_step, extra, exchange, at_train,
            counts.num_samples, room, BUFFER_BYTES,
        )  # fmt: skip
        moving = (target, dynamics, states, streams[0], first_step, exchange)
        told = eqx.filter_eval_shape(move, *moving)[1]
    # What a draw has of its steps (acceptances, swaps) is summed over all of them, in one chunk.
    divisible = not told
    buffer: Buffer = shared(mesh, zeros, axis=2)
    capacity = len(buffer.draws["energy"])

    # Cholesky factors of a few hundred rows are slower, up to forty times on a busy machine, where
    # the threads of BLAS wait for each other.
    blas = ThreadpoolController().select(user_api="blas")
    pace = _Pace()
    while done.steps < counts.steps:
        pace.start()
        warm, within = done.steps < counts.num_warmup, 0
        if not warm and "settled" not in numbers[0]:
            here = jax.device_get(states.chains)
            for i, (posterior, key) in enumerate(zip(points, key_geometry, strict=True)):
                state = jax.tree.map(jnp.asarray, point(here, i))
                found = transition.settle(posterior, state, numbers[i], key)
                numbers[i] |= {**found, "settled": 1.0}
            dynamics = copied(mesh, _moving(transition, numbers, points[0]))
        if warm:
            stride = min(pace.steps, counts.num_warmup - done.steps)
            part = Chunk(done.steps, stride, 1, 1, NEVER)
        elif within := _within_a_draw(done, counts, pace.steps if divisible else None):
            part = Chunk(done.steps, within, 1, 1, NEVER)
        else:
            most = min(capacity, counts.num_samples - done.draws)
            begun = done.steps - counts.num_warmup - done.draws * counts.thinning
            stride = counts.thinning - begun
            count = 1 if begun else min(max(pace.steps // stride, 1), most)
            part = Chunk(done.steps, stride, count, done.draws, every)
        with blas.limit(limits=1), jax.set_mesh(mesh):
            states, buffer = advance(
                target,
                dynamics,
                states,
                streams,
                _traced(mesh, part),
                buffer,
                extra,
                exchange,
                at_train,
            )
            chunk = Buffer(
                {name: np.array(values[: part.count]) for name, values in buffer.draws.items()},
                {name: np.array(v[: len(part.slopes)]) for name, v in buffer.slopes.items()},
            )
        steps = part.stride * part.count
        recorded = not warm and not within
        done = Progress(done.steps + steps, done.draws + recorded * part.count, numbers)
        finite = np.isfinite(chunk.draws["energy"]).all(axis=0)
        if not finite.any():
            step_size = min(each["step_size"] for each in numbers)
            raise _diverged(counts, done.steps, step_size, transition, _dtype(posteriors[0]))
        if recorded:
            chunks.append(chunk)
        for each in numbers:
            each["seconds"] = earlier + time.monotonic() - start
        if saved:
            saved.save(states, done, chunk if recorded else None)
        if progress:
            last = chunk.draws["train_error"][-1]
            error = float(np.mean(last[:1][finite[:1]] if finite[0].any() else last[finite]))
            lost = int(np.sum(~finite))
            progress(Report(done.steps, counts.steps, counts.num_warmup, error, lost))
        pace.stop(steps)
    draws, slopes = (joined([getattr(chunk, part) for chunk in chunks]) for part in Buffer._fields)
    numbered = np.arange(0, counts.num_samples, every)
    if slopes:  # a checkpoint of an earlier version has none in the draws before it
        numbered = numbered[len(numbered) - len(slopes["train_error"]) :]
    return Driven(posteriors, states, numbers, draws, slopes, numbered, counts.thinning)


def _within_a_draw(done: Progress, counts: Counts, pace: int | None) -> int:
    """The steps of a chunk that ends between two draws; 0 where the next one ends at a draw.

    There are such chunks where the steps of one draw would take far longer than a chunk; none where
    no `pace` is given.
    """
    left = counts.num_warmup + (done.draws + 1) * counts.thinning - done.steps
    return pace if pace is not None and left > 2 * pace else 0


class _Pace:
    """How many steps make a chunk of about CHUNK_SECONDS, from the time of the last one.

    The first chunk is short, and its time, which is compilation, tells nothing.
    """

    def __init__(self) -> None:
        self.steps = FIRST_CHUNK_STEPS
        self._compiled = False
        self._began = 0.0

    def start(self) -> None:
        self._began = time.monotonic()

    def stop(self, steps: int) -> None:
        if self._compiled:
            each = (time.monotonic() - self._began) / steps
            self.steps = max(1, int(CHUNK_SECONDS / each))
        self._compiled = True


def _traced(mesh: Mesh, chunk: Chunk) -> Chunk:
    """The chunk's numbers as arrays."""
    return Chunk(*copied(mesh, tuple(map(jnp.int32, chunk))))


def _dtype(posterior: Posterior) -> Any:
    return posterior.y_train.dtype


def _as_arrays(posterior: Posterior) -> Posterior:
    """T, the precisions and the like as arrays in the sampling precision.

    Other values then compile nothing. What numbers a network holds stays as it is.
    """
    dtype = _dtype(posterior)

    def numbers(posterior: Posterior) -> Any:
        return posterior.temperature, posterior.prior, posterior.targets_midpoint

    arrays = jax.tree.map(lambda x: jnp.asarray(x, dtype), numbers(posterior))
    found = eqx.tree_at(numbers, posterior, arrays)
    assert isinstance(found, Posterior)
    return found


def _stacked(points: Sequence[Posterior]) -> Posterior:
    try:
        target = stacked(points)
    except ValueError as error:
        raise InputError(
            "points that run side by side must share all shapes (numbers of examples, rank of the "
            "inputs, widths, outputs) and the activation; give the others a call of their own: "
            f"{str(error).splitlines()[0]}"
        ) from error
    assert isinstance(target, Posterior)
    return target


def _moving(
    transition: Transition, numbers: Sequence[dict[str, float]], posterior: Posterior
) -> Transition:
    """The transition of every point, with its numbers."""
    moving = stacked([transition.with_numbers(each, _dtype(posterior)) for each in numbers])
    assert isinstance(moving, Transition)
    return moving


def _diverged(
    counts: Counts, steps: int, step_size: float, transition: Transition, dtype: Any
) -> Diverged:
    instead = f"step_size = {step_size / 10:.2g}"
    if getattr(transition, "step_size", None) is not None:
        instead += ' or step_size = "auto"'
    elif dtype == jnp.float64:
        instead += ", or a larger temperature"
    else:
        instead += ', precision = "float64", or a larger temperature'
    return Diverged(
        f"all {counts.num_chains} chains diverged within {steps} steps at step_size = "
        f"{step_size:.3g}: write {instead}"
    )
