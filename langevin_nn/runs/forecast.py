"""What a run will take, before it is begun: its sizes, its memory, and its time by measurement."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

from langevin_nn.config.dynamics import usage_of
from langevin_nn.display import Displayed, Table, counted, duration
from langevin_nn.files import Unreadable
from langevin_nn.footprint import in_words
from langevin_nn.memory import available_memory
from langevin_nn.progress import Report
from langevin_nn.runs.assemble import dynamics_of, memory_needs, sizes_of
from langevin_nn.runs.run import Problem, counts_of, sample_problem
from langevin_nn.runs.tables import heading, sampling
from langevin_nn.sampling.counts import Counts
from langevin_nn.sampling.draws import SERIES_BYTES
from langevin_nn.sampling.engine.checkpoint import START_AGAIN, Reached, reached
from langevin_nn.sampling.engine.kept_weights import KeptWeights
from langevin_nn.sampling.engine.start import shapes_of_state
from langevin_nn.types import InputError

MEASURED_SECONDS = 3.0
"""The time after the first chunk of steps for which the pace is measured."""


class _Measured(Exception):
    """The end of a sampling that was begun to measure its pace."""


@dataclass(frozen=True, repr=False)
class Forecast(Displayed):
    """The sizes of a run, and what it takes; made by `forecast`.

    `num_weights` are those that one network samples, `bytes_needed` the memory of the stage that
    takes most, `kept_weights` what weights.npy takes of the disk where weights are kept. Writing
    them is not in the time. `start_seconds` is the time to the end of the first chunk of steps,
    most of it of compiling, `steps_per_second` the pace behind it, of all chains together.
    Where a run ends by its errors (`ends_by_errors`), `steps` is the largest number.
    `bytes_of_state` is about the size of last_state.npz, 0 where that is not kept.

    Of a run that is gone on with, `steps_left` are those that its saved state has not made yet, and
    `seconds_so_far` is the time that it has taken; they are all of its steps, and 0, of another.
    """

    title: str
    description: str
    unit: str
    num_weights: int
    num_chains: int
    steps: int
    steps_left: int
    seconds_so_far: float
    bytes_needed: float
    bytes_left: float
    start_seconds: float
    steps_per_second: float
    kept_weights: str = ""
    bytes_of_state: float = 0.0
    ends_by_errors: bool = False

    @property
    def seconds(self) -> float:
        """The time of what is left of the sampling, at the pace that was measured."""
        return self.start_seconds + self.steps_left / self.steps_per_second

    @property
    def _table(self) -> Table:
        memory = f"about {in_words(self.bytes_needed)}; {in_words(self.bytes_left)} are left"
        most = "at most " if self.ends_by_errors else ""
        start, left = duration(self.start_seconds), duration(self.seconds)
        steps = f"{most}{counted(self.steps, self.unit)} of every chain"
        if self.seconds_so_far:
            so_far = duration(self.seconds_so_far)
            steps += f", {most}{self.steps_left:,} of them left after {so_far}"
            left += " left"
        rows = [
            ("sampling", self.description),
            ("weights", f"{self.num_weights:,} of each of {counted(self.num_chains, 'networks')}"),
            ("memory", memory),
            ("steps", steps),
            ("time", f"{most or 'about '}{left}, {start} of these to compile and begin"),
        ]
        if self.bytes_of_state:
            size = in_words(self.bytes_of_state)
            rows.append(("last_state.npz", f"about {size}, from which --extend goes on"))
        if self.kept_weights:
            rows.append(("weights.npy", f"{self.kept_weights} (writing it is not in the time)"))
        if math.isfinite(self.steps_per_second):
            pace = f"{self.steps_per_second:.3g} {self.unit} of all chains a second, measured"
            rows.insert(4, ("pace", pace))
        return Table((), rows, title=self.title)


def forecast(
    problem: Problem,
    kept_weights: KeptWeights | None = None,
    checkpoint: Path | None = None,
    ended: Reached | None = None,
) -> Forecast:
    """What the run of a problem will take; it is sampled for some seconds, and nothing is written.

    `kept_weights` is the file of its weights, where they are kept, `checkpoint` the folder of the
    saved state from which the run is to be gone on with; or it goes on where one has `ended`. The
    pace is that of the first steps: a dynamics that adapts in its warm-up, as `Split` does the
    length of its trajectories, may be slower or faster after it. Raises `InputError` for a state
    that cannot be read.
    """
    config = problem.config
    counts = Counts.of(dynamics_of(config.sampler), **counts_of(config.sampler))
    state = _state_in(checkpoint) if ended is None else ended
    steps_left = counts.steps - state.steps
    if counts.auto_warmup and (draws := state.num_draws):  # which has ended, maybe early
        steps_left = (counts.num_samples - draws) * counts.thinning
    began = time.monotonic()
    reports: list[tuple[float, int]] = []

    def measure(report: Report) -> None:
        reports.append((time.monotonic() - began, report.steps))
        if reports[-1][0] > reports[0][0] + MEASURED_SECONDS:
            raise _Measured

    try:
        sample_problem(problem, progress=measure)
    except _Measured:
        pass
    (start, first), (end, last) = reports[0], reports[-1]
    # A run of one chunk has no pace behind it: all its time counts as the start's.
    pace = (last - first) / (end - start) if last > first else math.inf
    needs = memory_needs(config, problem.data)
    return Forecast(
        title=heading(config, problem.data),
        description=sampling(config),
        unit=usage_of(config.sampler.dynamics).unit,
        num_weights=sizes_of(config, problem.data).num_weights,
        num_chains=config.sampler.num_chains * config.sampler.num_rungs,
        steps=counts.steps,
        steps_left=steps_left,
        seconds_so_far=state.seconds,
        bytes_needed=max(math.fsum(parts.values()) for parts, _ in needs.values()),
        bytes_left=float(available_memory()),
        start_seconds=max(start - first / pace, 0.0),
        steps_per_second=pace,
        kept_weights=str(kept_weights or ""),
        bytes_of_state=_bytes_of_state(problem) if config.sampler.keep_state else 0.0,
        ends_by_errors=config.sampler.has_target,
    )


def _bytes_of_state(problem: Problem) -> float:
    """The bytes of the file of the last state, about: most are the chains' state and the records.

    The slopes, of some draws, are left out.
    """
    config, data, posterior = problem.config, problem.data, problem.posterior
    sampler, itemsize = config.sampler, posterior.dtype.itemsize
    shapes = shapes_of_state(posterior, dynamics_of(sampler), sampler.num_chains)
    of_chains = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in shapes)
    draws = sampler.num_chains * sampler.most_draws
    records = draws * data.num_train * data.num_outputs * itemsize
    if records > SERIES_BYTES:
        records = 0
    if sampler.ladder:
        records += 2 * draws * data.num_test * data.num_outputs * itemsize
    return float(sampler.num_rungs * (of_chains + records))


def _state_in(checkpoint: Path | None) -> Reached:
    """How far the run with this checkpoint is; not begun where there is none."""
    if checkpoint is None:
        return Reached()
    try:
        return reached(checkpoint) or Reached()
    except Unreadable as error:
        raise InputError(
            f"the saved state in {checkpoint} cannot be read ({error}): {START_AGAIN}"
        ) from error
