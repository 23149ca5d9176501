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
from langevin_nn.sampling.base import Dynamics, Stepper
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
from langevin_nn.sampling.engine.pacing import Pace, next_chunk
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
)
from langevin_nn.sampling.engine.start import Start, Streams, as_arrays, side_by_side
from langevin_nn.types import InputError, PointKeys, random_key

FIRST_CHUNK_STEPS = 100
CHUNK_SECONDS = 2.0
BUFFER_BYTES = 64e6


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
    """What `drive` leaves: the last states, where each point stands, draws (draw, point, chain, …).

    `slopes` are those of the draws `sloping`, empty where none were recorded.
    """

    posteriors: Sequence[Posterior]
    states: States
    progress: Progress
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
        curvatures = self.progress.curvatures
        assert curvatures is not None, "every draw comes after the warm-up"
        return assemble(
            self.posteriors[index], params, self.progress.settings[index], draws, self.thinning,
            slopes, self.sloping, curvatures[index], self.progress.seconds,
        )  # fmt: skip


def drive(
    posteriors: Sequence[Posterior],
    dynamics: Dynamics,
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
    posteriors, keys = _checked(posteriors, dynamics, keys)
    extra = checked_observables(posteriors[0], observables)
    points = [as_arrays(posterior) for posterior in posteriors]
    target = side_by_side(points)
    chains = Start(dynamics, points, Streams.of(keys, counts.num_chains), exchange)
    saved = None
    if checkpoint is not None:
        names = (*dataclasses.astuple(counts), sorted(extra), exchange is not None)
        saved = Checkpoint(checkpoint, fingerprint(points, dynamics, keys, names))
    chunks: list[Buffer] = []
    if saved and resume and saved.exists:
        states, done, chunks = chains.resumed(saved)
    else:
        states, done = chains.fresh()
    earlier = done.seconds

    mesh = mesh_for(counts.num_chains)
    states, streams = shared(mesh, (states, chains.streams.moving), axis=1)
    target, stepper = copied(mesh, (target, chains.stepper(done.settings)))
    every = slope_stride(counts.num_samples, counts.thinning)
    program = _Program(
        mesh, target, streams, extra, exchange, _kept_at_train(points[0], counts),
        ThreadpoolController().select(user_api="blas"),
    )  # fmt: skip
    # Swaps mix the laws of the rungs: the bias of each is then another one.
    sloping = dynamics.unadjusted and exchange is None
    room = room_for_slopes(counts.num_samples) if sloping else None
    buffer, divisible = program.buffer(stepper, states, counts.num_samples, room)
    capacity = len(buffer.draws["energy"])
    pace = Pace(FIRST_CHUNK_STEPS, CHUNK_SECONDS)
    while done.steps < counts.steps:
        part, recorded = next_chunk(done, counts, pace.steps, capacity, every, divisible)
        steps = part.stride * part.count
        with pace.timed(steps):
            if done.steps >= counts.num_warmup and not done.settled:
                done = chains.settled(states, done)
                stepper = copied(mesh, chains.stepper(done.settings))
            states, buffer, chunk = program.run(part, stepper, states, buffer)
            done = dataclasses.replace(
                done, steps=done.steps + steps, draws=done.draws + recorded * part.count,
                seconds=earlier + time.monotonic() - start,
            )  # fmt: skip
            finite = np.isfinite(chunk.draws["energy"]).all(axis=0)
            if not finite.any():
                raise _diverged(counts, done, dynamics, points[0].dtype)
            if recorded:
                chunks.append(chunk)
            if saved:
                saved.save(states, done, chunk if recorded else None)
            if progress:
                progress(_report(done, counts, chunk.draws["train_error"][-1], finite))
    draws, slopes = (joined([getattr(chunk, part) for chunk in chunks]) for part in Buffer._fields)
    numbered = np.arange(0, counts.num_samples, every)
    if slopes:  # a checkpoint of an earlier version has none in the draws before it
        numbered = numbered[len(numbered) - len(slopes["train_error"]) :]
    return Driven(posteriors, states, done, draws, slopes, numbered, counts.thinning)


def _checked(
    posteriors: Sequence[Posterior], dynamics: Dynamics, keys: Iterable[PRNGKeyArray]
) -> tuple[list[Posterior], list[PRNGKeyArray]]:
    """The points and a key of each; `InputError` for what does not fit."""
    posteriors = checked_posteriors(posteriors)
    keys = [random_key(key) for key in checked_keys(keys)]
    if len(posteriors) != len(keys) or not posteriors:
        raise InputError(
            f"each point needs a key of its own, got {len(posteriors)} posteriors and "
            f"{len(keys)} keys"
        )
    for posterior in posteriors:
        refuse_jumps(posterior, dynamics)
    return posteriors, keys


@dataclass(frozen=True)
class _Program:
    """The compiled program with all that stays the same from chunk to chunk."""

    mesh: Mesh
    target: Posterior
    streams: tuple[PointKeys, PointKeys]
    extra: Mapping[str, Observable]
    exchange: Exchange | None
    at_train: bool
    blas: ThreadpoolController
    """Cholesky factors of a few hundred rows are slower, up to forty times on a busy machine, where
    the threads of BLAS wait for each other."""

    def buffer(
        self, stepper: Stepper, states: States, num_samples: int, slope_room: int | None
    ) -> tuple[Buffer, bool]:
        """Room for draws on the devices, and whether the steps of one may be in several chunks.

        What a draw has of its steps (acceptances, swaps) is summed over all of them, in one chunk.
        """
        first_step = copied(self.mesh, jnp.int32(0))
        with jax.set_mesh(self.mesh):
            zeros = buffer_for(
                self.target, stepper, states, self.streams, first_step, self.extra, self.exchange,
                self.at_train, num_samples, slope_room, BUFFER_BYTES,
            )  # fmt: skip
            moving = (self.target, stepper, states, self.streams[0], first_step, self.exchange)
            told = eqx.filter_eval_shape(move, *moving)[1]
        buffer: Buffer = shared(self.mesh, zeros, axis=2)
        return buffer, not told

    def run(
        self, part: Chunk, stepper: Stepper, states: States, buffer: Buffer
    ) -> tuple[States, Buffer, Buffer]:
        """The states after the chunk, the buffer, and what of it is the chunk's, on the host."""
        traced = Chunk(*copied(self.mesh, tuple(map(jnp.int32, part))))
        with self.blas.limit(limits=1), jax.set_mesh(self.mesh):
            states, buffer = advance(
                self.target, stepper, states, self.streams, traced, buffer, self.extra,
                self.exchange, self.at_train,
            )  # fmt: skip
            chunk = Buffer(
                {name: np.array(values[: part.count]) for name, values in buffer.draws.items()},
                {name: np.array(v[: len(part.slopes)]) for name, v in buffer.slopes.items()},
            )
        return states, buffer, chunk


def _kept_at_train(first: Posterior, counts: Counts) -> bool:
    """Whether draws of f at the training inputs are small enough to be kept."""
    return counts.num_chains * counts.num_samples * first.y_train.nbytes <= SERIES_BYTES


def _report(done: Progress, counts: Counts, last: np.ndarray, finite: np.ndarray) -> Report:
    """What is told of a chunk, whose last training errors are (point, chain)."""
    error = float(np.mean(last[:1][finite[:1]] if finite[0].any() else last[finite]))
    lost = int(np.sum(~finite))
    return Report(done.steps, counts.steps, counts.num_warmup, error, lost)


def _diverged(counts: Counts, done: Progress, dynamics: Dynamics, dtype: Any) -> Diverged:
    step_size = min(each.step_size for each in done.settings)
    instead = f"step_size = {step_size / 10:.2g}"
    if getattr(dynamics, "step_size", None) is not None:
        instead += ' or step_size = "auto"'
    elif dtype == jnp.float64:
        instead += ", or a larger temperature"
    else:
        instead += ', precision = "float64", or a larger temperature'
    return Diverged(
        f"all {counts.num_chains} chains diverged within {done.steps} steps at step_size = "
        f"{step_size:.3g}: write {instead}"
    )
