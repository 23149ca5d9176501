"""One task of a sweep: its points run side by side, each into its own run folder.

A task can be stopped at any moment and taken up by another process: what is finished is skipped,
what was begun goes on from its checkpoint. A point that fails is recorded and leaves the others
alone: it is prepared by itself, and a batch that fails as a whole is run again point by point.
"""

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np

from langevin_nn.errors import InputError
from langevin_nn.files import make_folder, remove
from langevin_nn.import_paths import reason_of
from langevin_nn.model.representation import Recorded
from langevin_nn.progress import Report
from langevin_nn.runs import run
from langevin_nn.runs.assemble import dynamics_of
from langevin_nn.runs.data import Load, LoadOnce
from langevin_nn.runs.extending import Ended, begin_checkpoint
from langevin_nn.runs.folder import RunFolder, Wanted
from langevin_nn.runs.results import Result, as_kept, measured_by
from langevin_nn.runs.run import Problem
from langevin_nn.sampling.chains import sample_points
from langevin_nn.sampling.draws import Chains
from langevin_nn.sampling.dynamics.step_size import Diverged
from langevin_nn.sampling.engine.kept_weights import KeptWeights, WeightsFile
from langevin_nn.sweeps.data_files import difference, of_modules, source_of
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.sweeps.plan import Task
from langevin_nn.theory.ensemble import Decompositions
from langevin_nn.theory.suite import Predictions

Tell = Callable[[Report], None]


def work(
    folder: SweepFolder, task: Task, earlier: Mapping[str, str], tell: Tell | None = None
) -> tuple[str, ...] | None:
    """Run the open points of the task; the points that were finished here.

    None, at once, where another process has the task. `earlier` are the attempts that had failed
    when the sweep was started: those are tried again, any that failed since are not. `tell` is
    called after each chunk of steps.
    """
    with folder.claimed(task) as is_claimed:
        if not is_claimed:
            return None
        open_points = tuple(
            point for point in still_open(folder, task, earlier) if _is_writable(folder, point)
        )
        if not open_points:
            return ()
        runner = _Ladder if folder.points[open_points[0]].sampler.ladder else _Batches
        done = runner(folder, task, tell).run(open_points)
        folder.remove_batches(task)
        return done


def still_open(folder: SweepFolder, task: Task, earlier: Mapping[str, str]) -> tuple[str, ...]:
    """The points that are neither finished nor failed since the sweep was started."""

    def is_open(point: str) -> bool:
        failure = folder.failure(point)
        is_tried = failure is None or failure["attempt"] == earlier.get(point)
        return is_tried and not folder.is_done(point)

    return tuple(point for point in task.points if is_open(point))


def _is_writable(folder: SweepFolder, point: str) -> bool:
    """Whether a run can write the point; its damaged files are discarded, or that has failed."""
    if not folder.damage(point):
        return True
    with _recorded(folder, point):
        folder.discard(point)
        return True
    return False


@functools.cache
def shared_decompositions() -> Decompositions:
    """The decomposed Gram matrices that all points run in this process share."""
    return Decompositions()


@dataclass(frozen=True)
class _Prepared:
    """A point that is ready to be sampled, and the seconds that its preparation took.

    `ended` is the shorter run that it goes on from, None for one that begins.
    """

    point: str
    problem: Problem
    predictions: Predictions
    seconds: float
    ended: Ended | None = None

    @property
    def shapes(self) -> tuple[object, ...]:
        """The shapes of the posterior's arrays, which points of one program share.

        The rank of the inputs, say, differs with seeds. Points that go on share their numbers of
        steps and draws, too.
        """
        shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(self.problem.posterior))
        return (shapes, None if self.ended is None else self.ended.progress)


@dataclass(frozen=True)
class _Batches:
    """The points of a task without a ladder."""

    folder: SweepFolder
    task: Task
    tell: Tell | None
    load: Load = field(default_factory=LoadOnce)

    def run(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Run the wanted points, with others that share their saved batches; the finished ones."""
        saved = [
            points
            for points in self.folder.batches(self.task)
            if not set(wanted).isdisjoint(points)
        ]
        needed_points = {*wanted}.union(*saved)
        candidates = (self._prepared(point) for point in self.task.points if point in needed_points)
        prepared = {ready.point: ready for ready in candidates if ready is not None}
        done: list[str] = []
        for batch in self._batches(
            saved, [point for point in wanted if point in prepared], prepared
        ):
            done += self._run(batch, wanted)
        return tuple(done)

    def _prepared(self, point: str) -> _Prepared | None:
        """The point ready to be sampled; None where that has failed, which is recorded."""
        with _recorded(self.folder, point):
            began = time.monotonic()
            problem = _prepared(self.folder, point, self.load)
            predictions = run.expect(problem, shared_decompositions())
            ended = _ended(self.folder, point, problem)
            return _Prepared(point, problem, predictions, time.monotonic() - began, ended)
        return None

    def _batches(
        self,
        saved: Sequence[tuple[str, ...]],
        wanted: Sequence[str],
        prepared: Mapping[str, _Prepared],
    ) -> list[list[_Prepared]]:
        """The batches that were begun, and batches of the other points by their shapes."""
        batches, remaining = [], dict.fromkeys(wanted)
        for points in saved:
            if prepared.keys() >= set(points) and not remaining.keys().isdisjoint(points):
                batches.append([prepared[point] for point in points])
                remaining = {point: None for point in remaining if point not in points}
        by_shape: dict[object, list[_Prepared]] = {}
        for point in remaining:
            alone = point if self._one_by_one else None
            by_shape.setdefault((alone, prepared[point].shapes), []).append(prepared[point])
        return [*batches, *by_shape.values()]

    @property
    def _one_by_one(self) -> bool:
        """Whether points run one after the other, in one program still.

        Side by side they would all go on until the last of them has the errors asked for, and cores
        are no faster with several points than with one (experiments/benchmark, part i).
        """
        sampler = self.folder.points[self.task.points[0]].sampler
        return sampler.has_target and jax.default_backend() == "cpu"

    def _run(self, batch: Sequence[_Prepared], wanted: Sequence[str]) -> list[str]:
        """Sample the batch and write what is wanted of it; the points that were written."""
        checkpoint = self.folder.batch(self.task, tuple(ready.point for ready in batch))
        try:
            sampled = self._sampled(batch, checkpoint)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is recorded
            remove(checkpoint)
            for path in filter(None, self._weights(batch) or ()):
                WeightsFile.remove_begun(path)
            wanted_batch = [ready for ready in batch if ready.point in wanted]
            if len(batch) == 1:
                self.folder.record_failure(wanted_batch[0].point, _reason(error))
                return []
            return [point for ready in wanted_batch for point in self._run([ready], wanted)]
        pairs = zip(batch, sampled, strict=True)
        return [
            ready.point
            for ready, chains in pairs
            if ready.point in wanted and self._write(ready, chains, len(batch))
        ]

    def _sampled(self, batch: Sequence[_Prepared], checkpoint: Path) -> list[Chains]:
        """The chains of each point, from the checkpoint on or, where it is damaged, anew."""
        settings = batch[0].problem.config.sampler
        posteriors = [ready.problem.posterior for ready in batch]
        paths = self._weights(batch)
        if paths:
            counts = settings.num_chains, settings.most_draws
            KeptWeights.of(paths, posteriors[0], *counts).require_disk()
            for path in filter(None, paths):
                make_folder(path.parent)
        sample = functools.partial(
            sample_points,
            posteriors,
            dynamics_of(settings),
            keys=[ready.problem.key for ready in batch],
            checkpoint=checkpoint,
            progress=self.tell,
            keep_weights=paths,
            observables=self._observables(batch),
            **run.counts_of(settings),
        )
        ended = [ready.ended for ready in batch if ready.ended is not None]
        if ended and not os.path.lexists(checkpoint / "state.npz"):
            begin_checkpoint(checkpoint, ended, paths, looks=False)
        try:
            return sample(resume=True)
        except Diverged:
            raise
        except InputError:
            if not os.path.lexists(checkpoint / "state.npz"):
                raise
            for path in checkpoint.glob("*.npz"):  # some of them are damaged
                remove(path)
            if ended:
                begin_checkpoint(checkpoint, ended, paths, looks=False)
            return sample(resume=bool(ended))

    def _observables(self, batch: Sequence[_Prepared]) -> list[Mapping[str, Recorded]] | None:
        """What is recorded of each point's representation; None where the grid asks for none."""
        recorded = [ready.problem.observables for ready in batch]
        return None if None in recorded else [own for own in recorded if own is not None]

    def _weights(self, batch: Sequence[_Prepared]) -> list[Path | None] | None:
        """The file of each point's weights, None for points that have theirs.

        None instead of a list where no weights are kept.
        """
        if not batch[0].problem.config.sampler.keep_weights:
            return None
        return [
            None if self.folder.is_done(ready.point) else self.folder.run(ready.point).weights
            for ready in batch
        ]

    def _write(self, ready: _Prepared, chains: Chains, batch_size: int) -> bool:
        """Whether the point's run folder could be written; a failure is recorded.

        The seconds of the run are its share of the batch's.
        """
        run_folder, problem = self.folder.run(ready.point), ready.problem
        chains = dataclasses.replace(chains, wall_seconds=chains.wall_seconds / batch_size)
        chains = as_kept(problem.config, chains)
        with _recorded(self.folder, ready.point):
            result = Result(
                problem.config, chains, measured_by(problem.config, chains), ready.predictions
            )
            began = time.monotonic() - ready.seconds - chains.wall_seconds
            extensions = ready.ended.extensions(chains) if ready.ended else []
            with run_folder.locked():
                run_folder.write_config(problem.config, problem.modules)
                run.keep(
                    problem, run_folder, result, began, figures=False, extensions=extensions
                )  # fmt: skip
            self.folder.remove_failure(ready.point)
            self.folder.forget_earlier(ready.point)
            return True
        return False


class _Ladder(_Batches):
    """A point with a ladder, which fills the program alone."""

    def run(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Run the point, anew where its checkpoint is damaged; the point if it is finished."""
        (point,) = wanted
        run_folder = self.folder.run(point)
        with _recorded(self.folder, point):
            problem = _prepared(self.folder, point, self.load)
            if kept_weights := run.weights_file(problem, run_folder.weights):
                kept_weights.require_disk()
            try:
                self._go_on(problem, run_folder)
            except Diverged:
                raise
            except InputError:
                if not run_folder.has_state:
                    raise
                remove(run_folder.path)  # the checkpoint was damaged
                self._go_on(problem, run_folder)
            self.folder.remove_failure(point)
            self.folder.forget_earlier(point)
            return (point,)
        return ()

    def _go_on(self, problem: Problem, run_folder: RunFolder) -> None:
        """Run the point from its saved state on, or anew where there is none."""
        if run_folder.path.exists() and not run_folder.has_state:
            remove(run_folder.path)
        ended = _ended(self.folder, run_folder.path.name, problem)
        claim = run_folder.claimed(
            problem.config, resume=True, overwrite=False, data=problem.data.provenance,
            modules=problem.modules,
        )  # fmt: skip
        with claim:
            if ended and not run_folder.has_state:
                run_folder.begin(_wanted(problem), ended.origin)
                paths = [run_folder.weights] if problem.config.sampler.keep_weights else None
                begin_checkpoint(run_folder.checkpoint, [ended], paths, looks=False)
            run.run(
                problem, run_folder, resume=True, progress=self.tell, figures=False,
                decompositions=shared_decompositions(),
            )  # fmt: skip


def _prepared(folder: SweepFolder, point: str, load: Load) -> Problem:
    """The problem of a point. Raises `InputError` for other data than the sweep was begun with."""
    config = folder.points[point]
    problem = run.prepare(config, load=load)
    present_sums = {source_of(config): problem.data.provenance, **of_modules(problem.modules)}
    for source, sums in present_sums.items():
        if change := difference(source, folder.data.get(source, ()), sums):
            raise InputError(change)
    return problem


def _ended(folder: SweepFolder, point: str, problem: Problem) -> Ended | None:
    """The shorter run that a point goes on from, None for a point that begins.

    Raises `InputError` where that cannot go on as the point's.
    """
    earlier = folder.earlier(point)
    return None if earlier is None else Ended.of(earlier, _wanted(problem))


def _wanted(problem: Problem) -> Wanted:
    return Wanted(problem.config, problem.data.provenance, problem.modules)


@contextlib.contextmanager
def _recorded(folder: SweepFolder, point: str) -> Iterator[None]:
    """A context in which an error of the point ends, and is recorded as its reason."""
    try:
        yield
    except (Exception, SystemExit) as error:  # noqa: BLE001 - one failed point never stops the others
        folder.record_failure(point, _reason(error))


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) if isinstance(error, InputError) else reason_of(error)
