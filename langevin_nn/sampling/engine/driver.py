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
from langevin_nn.progress import Report
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
from langevin_nn.sampling.engine.checkpoint import Checkpoint, EngineProgress, fingerprint
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
from langevin_nn.sampling.engine.start import Start, Streams, as_arrays, side_by_side, unlifted
from langevin_nn.types import InputError, PointKeys, random_key

FIRST_CHUNK_STEPS = 100
"""The number of steps of the first chunk, whose time is not known."""
CHUNK_SECONDS = 2.0
"""The time that a later chunk is meant to take."""
BUFFER_BYTES = 64e6
"""The largest size of the buffer of draws on the devices."""


@dataclass(frozen=True)
class Driven:
    """The result of `drive`: last states, progress, and draws (draw, point, chain, …) by name.

    `slopes` are those of the draws numbered `sloping`, empty where none were recorded.
    """

    posteriors: Sequence[Posterior]
    states: States
    progress: EngineProgress
    draws: dict[str, np.ndarray]
    slopes: dict[str, np.ndarray]
    sloping: np.ndarray
    thinning: int
    unadjusted: bool

    def chains(self, index: int) -> Chains:
        """The `Chains` of the point with this index."""
        draws = {name: values[:, index] for name, values in self.draws.items()}
        slopes = {name: values[:, index] for name, values in self.slopes.items()}
        # The weights are shared out over the devices as the chains were.
        mesh = mesh_for(self.draws["energy"].shape[2])
        params = shared(mesh, point(self.states.chains.params, index), axis=0)
        curvatures = self.progress.curvatures
        assert curvatures is not None, "every draw comes after the warm-up"
        return assemble(
            self.posteriors[index], params, self.progress.settings[index], draws, self.thinning,
            slopes, self.sloping, curvatures[index], self.progress.seconds, self.unadjusted,
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
    """Run the chains of all points at once; arguments as for `sample_points`."""
    start = time.monotonic()
    forget_programs()
    posteriors, keys = _checked(posteriors, dynamics, keys)
    functions = checked_observables(posteriors[0], observables)
    points = [
        as_arrays(posterior if functions else unlifted(posterior)) for posterior in posteriors
    ]
    target = side_by_side(points)
    chains = Start(dynamics, points, Streams.of(keys, counts.num_chains), exchange)
    saver = None
    if checkpoint is not None:
        names = (*dataclasses.astuple(counts), sorted(functions), exchange is not None)
        saver = Checkpoint(checkpoint, fingerprint(points, dynamics, keys, names))
    chunks: list[Buffer] = []
    if saver and resume and saver.exists:
        states, reached, chunks = chains.resumed(saver)
    else:
        states, reached = chains.fresh()
    earlier = reached.seconds

    mesh = mesh_for(counts.num_chains)
    states, streams = shared(mesh, (states, chains.streams.moving), axis=1)
    target, stepper = copied(mesh, (target, chains.stepper(reached.settings)))
    stride = slope_stride(counts.num_samples, counts.thinning)
    program = _Program(
        mesh, target, streams, functions, exchange, _kept_at_train(points[0], counts),
        ThreadpoolController().select(user_api="blas"),
    )  # fmt: skip
    # Swaps mix the laws of the rungs: the bias of each is then another one.
    sloping = dynamics.unadjusted and dynamics.shifts_as_langevin and exchange is None
    slope_room = room_for_slopes(counts.num_samples) if sloping else None
    buffer, divisible = program.buffer(stepper, states, counts.num_samples, slope_room)
    capacity = len(buffer.draws["energy"])
    pace = Pace(FIRST_CHUNK_STEPS, CHUNK_SECONDS)
    while reached.steps < counts.steps:
        plan, recorded = next_chunk(reached, counts, pace.steps, capacity, stride, divisible)
        steps = plan.stride * plan.count
        with pace.timed(steps):
            if reached.steps >= counts.num_warmup and not reached.settled:
                reached = chains.settled(states, reached)
                stepper = copied(mesh, chains.stepper(reached.settings))
            states, buffer, chunk = program.run(plan, stepper, states, buffer)
            reached = dataclasses.replace(
                reached, steps=reached.steps + steps, draws=reached.draws + recorded * plan.count,
                seconds=earlier + time.monotonic() - start,
            )  # fmt: skip
            finite = np.isfinite(chunk.draws["energy"]).all(axis=0)
            if not finite.any():
                raise _diverged(counts, reached, dynamics, points[0].dtype)
            if recorded:
                chunks.append(chunk)
            if saver:
                saver.save(states, reached, chunk if recorded else None)
            if progress:
                progress(_report(reached, counts, chunk.draws["train_error"][-1], finite))
    draws, slopes = (joined([getattr(chunk, plan) for chunk in chunks]) for plan in Buffer._fields)
    slope_draws = np.arange(0, counts.num_samples, stride)
    if slopes:  # a checkpoint of an earlier version has none in the draws before it
        slope_draws = slope_draws[len(slope_draws) - len(slopes["train_error"]) :]
    return Driven(
        posteriors, states, reached, draws, slopes, slope_draws, counts.thinning,
        dynamics.unadjusted,
    )  # fmt: skip


def require_start(
    posterior: Posterior, dynamics: Dynamics, key: PRNGKeyArray, num_chains: int
) -> None:
    """Raise what `drive` raises before it moves chains, three of which are looked at."""
    (posterior,), (key,) = _checked([posterior], dynamics, [key])
    streams = Streams.of([key], min(num_chains, 3))
    Start(dynamics, [as_arrays(unlifted(posterior))], streams, None).fresh()


def _checked(
    posteriors: Sequence[Posterior], dynamics: Dynamics, keys: Iterable[PRNGKeyArray]
) -> tuple[list[Posterior], list[PRNGKeyArray]]:
    """The points and a key for each; `InputError` where they do not fit each other."""
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
    """The compiled program with all its arguments that stay the same from chunk to chunk."""

    mesh: Mesh
    target: Posterior
    streams: tuple[PointKeys, PointKeys]
    extra: Mapping[str, Observable]
    exchange: Exchange | None
    at_train: bool
    blas: ThreadpoolController
    """The thread pools of BLAS, limited to one thread while a chunk runs.

    Cholesky factors of a few hundred rows are slower, up to forty times on a busy machine, where
    the threads of BLAS wait for each other.
    """

    def buffer(
        self, stepper: Stepper, states: States, num_samples: int, slope_room: int | None
    ) -> tuple[Buffer, bool]:
        """A buffer for draws on the devices, and whether a draw's steps may be split over chunks.

        They may not where the steps have an info (acceptances, swaps): it is summed in one chunk.
        """
        first_step = copied(self.mesh, jnp.int32(0))
        with jax.set_mesh(self.mesh):
            zeros = buffer_for(
                self.target, stepper, states, self.streams, first_step, self.extra, self.exchange,
                self.at_train, num_samples, slope_room, BUFFER_BYTES,
            )  # fmt: skip
            moving = (self.target, stepper, states, self.streams[0], first_step, self.exchange)
            info = eqx.filter_eval_shape(move, *moving)[1]
        buffer: Buffer = shared(self.mesh, zeros, axis=2)
        return buffer, not info

    def run(
        self, part: Chunk, stepper: Stepper, states: States, buffer: Buffer
    ) -> tuple[States, Buffer, Buffer]:
        """The states after the chunk `part`, the buffer, and the chunk's records on the host."""
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


def _report(done: EngineProgress, counts: Counts, last: np.ndarray, finite: np.ndarray) -> Report:
    """The report on a chunk with the last training errors `last` (point, chain)."""
    error = float(np.mean(last[:1][finite[:1]] if finite[0].any() else last[finite]))
    lost = int(np.sum(~finite))
    return Report(done.steps, counts.steps, counts.num_warmup, error, lost)


def _diverged(counts: Counts, done: EngineProgress, dynamics: Dynamics, dtype: Any) -> Diverged:
    step_size = min(settings.step_size for settings in done.settings)
    advice = f"step_size = {step_size / 10:.2g}"
    if getattr(dynamics, "step_size", None) is not None:
        advice += ' or step_size = "auto"'
    elif dtype == jnp.float64:
        advice += ", or a larger temperature"
    else:
        advice += ', precision = "float64", or a larger temperature'
    return Diverged(
        f"all {counts.num_chains} chains diverged within {done.steps} steps at step_size = "
        f"{step_size:.3g}: write {advice}"
    )
