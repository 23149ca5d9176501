"""The driver: all chains of all points in one compiled program, in chunks.

Each chunk runs a number of steps and records observables into a buffer; weights are only carried,
unless they are to be kept (`kept_weights`). Points run side by side (`program`), chains are shared
out over JAX's devices. Step s of chain c uses the key fold_in(key_c, s), so that chunked, resumed
and uninterrupted runs agree to the last bit as long as they run on the same number of devices of
one kind.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

from langevin_nn.config.sampler import DEFAULT_SAMPLES
from langevin_nn.display import counted
from langevin_nn.memory import forget_programs
from langevin_nn.model.posterior import Posterior
from langevin_nn.progress import Report
from langevin_nn.sampling.base import Dynamics, Stepper
from langevin_nn.sampling.checks import (
    checked_keys,
    checked_posteriors,
    observables_of_points,
    refuse_biased_controls,
    refuse_jumps,
)
from langevin_nn.sampling.counts import Counts
from langevin_nn.sampling.draws import SERIES_BYTES, Chains, assemble
from langevin_nn.sampling.dynamics.step_size import Diverged, room_for_slopes, slope_stride
from langevin_nn.sampling.engine.checkpoint import Checkpoint, EngineProgress
from langevin_nn.sampling.engine.chunks import Buffer, Chunk, joined, of_point
from langevin_nn.sampling.engine.identity import Identity
from langevin_nn.sampling.engine.kept_weights import KeptWeights
from langevin_nn.sampling.engine.last_state import LastState, require_longer
from langevin_nn.sampling.engine.pacing import Pace, next_chunk
from langevin_nn.sampling.engine.program import (
    Exchange,
    Observable,
    Observables,
    States,
    advance,
    buffer_for,
    copied,
    mesh_for,
    move,
    point,
    shared,
    weights_of_draw,
)
from langevin_nn.sampling.engine.start import (
    Start,
    Streams,
    as_arrays,
    observables_side_by_side,
    side_by_side,
    unlifted,
)
from langevin_nn.sampling.stopping import (
    FIRST_WARMUP_LOOK,
    Ending,
    Until,
    is_look,
    next_look,
)
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

    `slopes` are those of the draws numbered `sloping`, empty where none were recorded. `last` is
    what all points together go on from, None without a checkpoint; the points of a ladder do not go
    on apart, so that the first has it for all.
    """

    posteriors: Sequence[Posterior]
    states: States
    progress: EngineProgress
    draws: dict[str, np.ndarray]
    slopes: dict[str, np.ndarray]
    sloping: np.ndarray
    thinning: int
    unadjusted: bool
    last: LastState | None = None

    def chains(self, index: int) -> Chains:
        """The `Chains` of the point with this index."""
        draws, slopes = of_point(self.draws, index), of_point(self.slopes, index)
        # The weights are shared out over the devices as the chains were.
        mesh = mesh_for(self.draws["energy"].shape[2])
        params = shared(mesh, point(self.states.chains.params, index), axis=0)
        curvatures = self.progress.curvatures
        assert curvatures is not None, "every draw comes after the warm-up"
        return assemble(
            self.posteriors[index], params, self.progress.settings[index], draws, self.thinning,
            slopes, self.sloping, curvatures[index], self.progress.seconds, self.unadjusted,
            extendable=self.last is not None, last_state=self.last and self.last.of_point(index),
        )  # fmt: skip


def drive(
    posteriors: Sequence[Posterior],
    dynamics: Dynamics,
    keys: Iterable[PRNGKeyArray],
    counts: Counts,
    *,
    exchange: Exchange | None = None,
    observables: Observables = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Callable[[Report], None] | None = None,
    until: Until | None = None,
    keeping: KeptWeights | None = None,
) -> Driven:
    """Run the chains of all points at once; arguments as for `sample_points`.

    Where a rule ends the draws (`until`), it ends those of all points together. `keeping` are the
    files that the draws' weights go into; the caller closes them.
    """
    start = time.monotonic()
    forget_programs()
    posteriors, keys = _checked(posteriors, dynamics, keys)
    functions = observables_side_by_side(observables_of_points(posteriors, observables))
    points = [
        as_arrays(posterior if functions else unlifted(posterior)) for posterior in posteriors
    ]
    target = side_by_side(points)
    chains = Start(dynamics, points, Streams.of(keys, counts.num_chains), exchange)
    expected = counts.num_samples if until is None else min(counts.num_samples, DEFAULT_SAMPLES)
    stride, at_train = slope_stride(expected, counts.thinning), _kept_at_train(points[0], counts)
    saver = None
    if checkpoint is not None:
        saver = Checkpoint(checkpoint, Identity.of(
            points, dynamics, keys, counts, until, functions, exchange=exchange is not None,
            weights=keeping is not None, slope_stride=stride, at_train=at_train,
        ))  # fmt: skip
    chunks: list[Buffer] = []
    if saver and resume and saver.exists:
        states, reached, content = chains.resumed(saver)
        chunks, stride = content.chunks, saver.slope_stride
        if keeping and reached.draws:
            keeping.go_on(content.sums)
    else:
        states, reached = chains.fresh()
    if reached.warmup is None and not counts.auto_warmup:
        reached = dataclasses.replace(reached, warmup=counts.num_warmup)
    if keeping and not reached.draws:
        keeping.begin()
    earlier = reached.seconds

    mesh = mesh_for(counts.num_chains)
    states, streams = shared(mesh, (states, chains.streams.moving), axis=1)
    target, functions = copied(mesh, (target, functions))
    stepper = copied(mesh, chains.stepper(reached.settings))
    whole = None
    if keeping:
        whole = target if functions else copied(mesh, side_by_side([*map(as_arrays, posteriors)]))
    program = _Program(
        mesh, target, streams, functions, exchange, at_train,
        ThreadpoolController().select(user_api="blas"), whole,
    )  # fmt: skip
    # Swaps mix the laws of the rungs: the bias of each is then another one.
    sloping = dynamics.unadjusted and dynamics.shifts_as_langevin and exchange is None
    slope_room = room_for_slopes(expected) if sloping else None
    buffer, divisible = program.buffer(stepper, states, counts.num_samples, slope_room)
    capacity = len(buffer.draws["energy"])
    pace = Pace(FIRST_CHUNK_STEPS, CHUNK_SECONDS)

    def of_exchange(number: int) -> float:
        """The number of draws that the exchange needs, by the first ones so far."""
        draws = joined([chunk.draws for chunk in chunks])
        first = {name: values[:number] for name, values in draws.items()}
        return exchange.draws_needed(first, counts.thinning) if exchange else 0.0

    ending = Ending(until, counts.num_chains, counts.num_samples, of_exchange)

    def judged() -> list[Chains]:
        """The draws so far of each point; of a ladder, of its coldest rung."""
        draws = joined([chunk.draws for chunk in chunks])
        return [
            assemble(
                posterior, None, reached.settings[i], of_point(draws, i), counts.thinning, {},
                np.arange(0), math.nan, reached.seconds, dynamics.unadjusted,
            )
            for i, posterior in enumerate(posteriors[:1] if exchange else posteriors)
        ]  # fmt: skip

    if saver and saver.is_of_another_length:
        require_longer(ending, reached.draws, judged, looks=saver.looks_back)
    while not ending.is_reached(reached.draws, reached.seconds, judged):
        plan, recorded = next_chunk(
            reached, counts, pace.steps, capacity, stride, divisible, ending.look(reached.draws)
        )
        steps = plan.stride * plan.count
        with pace.timed(steps):
            if reached.is_warm and not reached.settled:
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
            sums = None
            if recorded:
                chunks.append(chunk)
            if reached.warmup is None:
                reached = _warmed(chains, states, reached, counts, chunk)
            if recorded and keeping:
                sums = keeping.keep(plan.first_draw, program.weights(plan, buffer))
            if saver:
                saver.save(states, reached, chunk if recorded else None, sums)
            if progress:
                last = chunk.draws["train_error"][-1]
                progress(_report(reached, counts, ending.expected, last, finite))
    if keeping:
        keeping.finish(reached.draws)
    draws, slopes = joined([chunk.draws for chunk in chunks]), joined([c.slopes for c in chunks])
    slope_draws = np.arange(0, reached.draws, stride)
    if not all(map(len, slopes.values())):  # those that had some were an earlier version's
        slopes = {}
    if slopes:  # a checkpoint of an earlier version has none in the draws before it
        slope_draws = slope_draws[len(slope_draws) - len(slopes["train_error"]) :]
    last = None
    if saver and (not slopes or not slope_draws[0]):
        last = LastState.of(states, reached, saver, draws, slopes, exchange is not None)
    return Driven(
        posteriors, states, reached, draws, slopes, slope_draws, counts.thinning,
        dynamics.unadjusted, last,
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
        refuse_biased_controls(posterior, dynamics)
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
    whole: Posterior | None
    """The target with what its networks on the original inputs need; None: no weights are kept."""

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
                self.at_train, num_samples, slope_room, BUFFER_BYTES, self.whole is not None,
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
                _first(part.count, buffer.draws), _first(len(part.slopes), buffer.slopes)
            )
        return states, buffer, chunk

    def weights(self, part: Chunk, buffer: Buffer) -> Iterator[np.ndarray]:
        """The weights (points, chains, weights) of each draw of the chunk that is in the buffer."""
        assert self.whole is not None, "weights are kept"
        traced = Chunk(*copied(self.mesh, tuple(map(jnp.int32, part))))
        for i in range(part.count):
            number = copied(self.mesh, jnp.int32(i))
            with self.blas.limit(limits=1), jax.set_mesh(self.mesh):
                weights = weights_of_draw(
                    self.whole, buffer.params, self.streams[1], traced, number
                )
            yield np.asarray(weights)


def _first(number: int, series: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The first rows, cut on the host: for JAX each number of them would be another program."""
    return {name: np.asarray(values)[:number].copy() for name, values in series.items()}


def _kept_at_train(first: Posterior, counts: Counts) -> bool:
    """Whether draws of f at the training inputs are small enough to be kept."""
    return counts.num_chains * counts.num_samples * first.y_train.nbytes <= SERIES_BYTES


def _report(
    done: EngineProgress, counts: Counts, num_samples: int, last: np.ndarray, finite: np.ndarray
) -> Report:
    """The report on a chunk with the last training errors `last` (point, chain).

    `num_samples` is the number of draws at the end, as far as is known.
    """
    error = float(np.mean(last[:1][finite[:1]] if finite[0].any() else last[finite]))
    warmup = done.warmup
    if warmup is None:
        records = next_look(FIRST_WARMUP_LOOK, done.steps // counts.thinning)
        warmup = min(records * counts.thinning, counts.num_warmup)
    total = warmup + num_samples * counts.thinning
    return Report(done.steps, total, warmup, error, int(np.sum(~finite)))


def _warmed(
    chains: Start, states: States, done: EngineProgress, counts: Counts, chunk: Buffer
) -> EngineProgress:
    """The progress after a chunk of a warm-up that ends by itself, and whether it ends here."""
    new = np.moveaxis(chunk.draws["energy"], 0, 1)
    energies = new if done.energies is None else np.concatenate([done.energies, new], axis=1)
    done = dataclasses.replace(done, energies=energies)
    is_over = done.steps >= counts.num_warmup
    if is_over or is_look(FIRST_WARMUP_LOOK, energies.shape[1]) and chains.is_warm(states, done):
        return dataclasses.replace(done, warmup=done.steps, energies=None)
    return done


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
        f"{'all ' * (counts.num_chains > 1)}{counted(str(counts.num_chains), 'chains')} diverged "
        f"within {counted(str(done.steps), 'steps')} at step_size = "
        f"{step_size:.3g}: write {advice}"
    )
