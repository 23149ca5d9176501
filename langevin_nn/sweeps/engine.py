"""A sweep from beginning to end: the folder, the tasks, the results.

Any number of processes may work on one folder. None waits for what another computes as long as it
finds something else to do, none computes what another has finished, and each ends with the results
of all.
"""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from langevin_nn.config.record import RunConfig
from langevin_nn.errors import InputError
from langevin_nn.files import require_writable
from langevin_nn.model.precision import require_float64
from langevin_nn.progress import Status, SweepProgress, shown_progress
from langevin_nn.runs import run
from langevin_nn.sampling.engine.kept_weights import require_disk
from langevin_nn.sweeps import (
    executors,
    extending,
    grid,
    kept_weights,
    plan,
    report,
    results,
    theories,
)
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.sweeps.grid import Grid
from langevin_nn.sweeps.plan import Task
from langevin_nn.sweeps.status import Outlook
from langevin_nn.sweeps.task import still_open
from langevin_nn.values import as_path, require_flag

POLL_SECONDS = 0.5
TELL_SECONDS = 1.0


def sweep(
    config: RunConfig | Mapping[str, Any] | Path | str,
    over: Mapping[str, Any] | None = None,
    seeds: int | None = None,
    *,
    output: Path | str | None = None,
    executor: str | None = None,
    workers: int | None = None,
    slurm: Mapping[str, Any] | None = None,
    progress: Callable[[Status], None] | bool | None = None,
    theory_only: bool = False,
    extend: bool = False,
) -> xr.Dataset:
    """Run a grid of configurations; its numbers as a Dataset over the grid.

    A sweep that was interrupted goes on when it is called again, points that failed are tried
    again, and calls that run at the same time share the work. A point that fails or does not
    converge is marked in the result (`status`, `reason`; `converged`, `message`) and stops nothing.

    Args:
        config: a configuration; or its values, nested as in the TOML, or the path of one, whose
            [sweep] table then counts too.
        over: the values of each axis, by field (`"posterior.temperature"`) or by one entry of a
            list (`"prior.precisions[-1]"`).
        seeds: so many seeds, from the configuration's own on.
        output: the folder; `sweep.toml`, `points/` and `results.nc` are in it. It may be left out
            with `theory_only`: nothing is written then.
        executor: "serial", which is the default; "local" for processes of this machine, one for
            each GPU where there are some; "slurm" for jobs. The last two need Dask, and a script
            that calls this must keep the call below `if __name__ == "__main__":`, since the
            processes are spawned.
        workers: how many processes or jobs; of processes, if left out, as many as GPUs, else cores.
        slurm: the settings of the jobs, as the table [sweep.slurm] has them.
            Executor, workers and slurm are those of the table [sweep] where they are left out.
        progress: called now and then with where the sweep stands; left out, a terminal or a
            notebook has a bar (True: a log has lines, too; False: nothing).
        theory_only: what the theories say at each point, without sampling, in this process; T = 0
            is allowed. `status` is then "theory", and what is measured NaN. Points of the folder
            that are sampled already stay as they are; the others may be later, by the same call
            without this.
        extend: go on with the finished sweep in the folder, whose grid differs in the number of
            draws or the target error alone. Points that have not converged, or whose errors are
            larger than the target, go on from the last states that their runs have kept; the others
            stay as they are. Points that one program runs side by side have the draws of a sweep
            that was that long from the start up to rounding, and bit for bit where all of them go
            on.

    Raises:
        InputError: a grid that makes no sense, a folder that is not this sweep's, an executor that
            does not exist, data that do not fit any point; float64 switched off; a sweep that
            cannot be extended so.

    >>> import tempfile
    >>> sampler = {"num_chains": 2, "num_warmup": 10, "num_samples": 5, "thinning": 1}
    >>> data = {"source": "teacher_linear", "in_size": 3, "num_train": 5, "num_test": 4}
    >>> config = lnn.config.from_dict({"data": data, "sampler": sampler})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = lnn.sweep(config, {"posterior.temperature": [0.1, 1.0]}, seeds=2, output=folder)
    >>> found.bias2.dims, found.bias2.shape, bool((found.status == "done").all())
    (('posterior.temperature', 'seed'), (2, 2), True)
    """
    if isinstance(config, RunConfig):
        wanted, table = grid.grid(config.to_dict(), over, seeds), {}
    elif isinstance(config, Mapping):
        wanted, table = grid.grid(config, over, seeds), grid.execution_table(config)
    else:
        path = as_path("config", config)
        wanted, table = grid.load(path, None, over, seeds), grid.execution(path)
    require_flag("theory_only", theory_only)
    require_flag("extend", extend)
    if extend and theory_only:
        raise InputError(
            "theories are not extended, got theory_only and extend: write one of the two"
        )
    if theory_only:
        require_float64()
        given = {"executor": executor, "workers": workers, "slurm": slurm}
        if others := [name for name, value in given.items() if value is not None]:
            raise InputError(
                f"theories are asked in this process, got {others[0]} beside theory_only: write "
                "one of the two"
            )
        target = None if output is None else as_path("output", output)
        with shown_progress(progress, SweepProgress) as tell:
            return expect(wanted, target, tell)
    settings = executors.chosen(table, executor, workers, slurm)
    executors.check(**settings)
    require_float64()
    num_workers = executors.number_of_workers(settings["executor"], settings["workers"])
    output = as_path("output", output)
    # Preparing a point takes a GPU, which is for the workers.
    is_serial = settings["executor"] == "serial"
    planned = extending.plan(SweepFolder(output), wanted) if extend else None
    if is_serial:
        require_disk(kept_weights.planned(SweepFolder(output), wanted, planned))
    folder = begin(wanted, output, num_workers, prepare=is_serial, planned=planned)
    for line in report.damaged(folder, folder.tasks):
        warnings.warn(line, stacklevel=2)
    with shown_progress(progress, SweepProgress) as tell:
        work_off(folder, folder.tasks, **settings, progress=tell)
    return gather(folder)


def begin(
    wanted: Grid,
    output: Path,
    workers: int,
    *,
    prepare: bool = True,
    planned: extending.Plan | None = None,
) -> SweepFolder:
    """The folder of the grid, made or found; with what is `planned`, that of one to be extended.

    Raises `InputError`, before anything is written, if the folder is not free, and with `prepare`
    if a sweep that begins has no point that could be run, or code of the user's own that could
    not be.
    """
    folder = SweepFolder(output)
    if planned is not None:
        extending.begin(folder, wanted, planned)
        folder = SweepFolder(output)
    folder.check(wanted)
    if prepare and not folder.has_begun:
        check_points(wanted)
    return SweepFolder.begin(output, wanted, plan.points_per_task(wanted, workers))


def expect(
    wanted: Grid, output: Path | None, progress: Callable[[Status], None] | None = None
) -> xr.Dataset:
    """What the theories say at each point of the grid, written into the folder if there is one.

    Raises `InputError`, before anything is written, for a folder that is not free, and where the
    theories say nothing at any point.
    """
    if output is not None:
        SweepFolder(output).check(wanted)
        require_writable(output, "write --output (output=) with a folder that can be written")
    records = theories.expected(wanted, progress)
    if output is None:
        status = [results.status_of(expected) for expected in records.values()]
        return results.dataset(wanted, [*records.values()], status, wanted.toml)
    workers = executors.number_of_workers("local", None)
    folder = SweepFolder.begin(output, wanted, plan.points_per_task(wanted, workers))
    theories.save(folder, records)
    return gather(folder)


def check_points(wanted: Grid) -> None:
    """Raise the error of the first point if none can be prepared.

    Where a point can be, the user's own code is tried there, as a run tries it at its start.
    """
    first: InputError | None = None
    for point in wanted.points:
        try:
            problem = run.prepare(point)
        except InputError as error:
            first = first or error
            continue
        run.try_start(problem)
        return
    assert first is not None, "a grid has points"
    raise first


def work_off(
    folder: SweepFolder,
    tasks: Sequence[Task],
    *,
    executor: str = "serial",
    workers: int | None = None,
    slurm: Mapping[str, Any] | None = None,
    progress: Callable[[Status], None] | None = None,
) -> tuple[str, ...]:
    """The points of these tasks that were finished here.

    Open points are run, those that other processes hold are waited for.
    """
    earlier = folder.attempts()
    tell = _Teller(folder, earlier, tasks, progress)
    done: list[str] = []

    def is_open(task: Task) -> bool:
        return bool(still_open(folder, task, earlier))

    pending = [task for task in tasks if is_open(task)]
    tell.now()
    if not pending:
        return ()
    with executors.started(executor, workers, slurm) as execute:
        while pending:
            unfinished = []
            done_before = {task: _points_done(folder, task) for task in pending}
            for outcome in execute(folder, pending, earlier, tell):
                if outcome.done is None:
                    unfinished.append(outcome.task)
                    continue
                done += outcome.done
                if outcome.error and _points_done(folder, outcome.task) > done_before[outcome.task]:
                    unfinished.append(outcome.task)  # its workers ended, but it gets on: walltimes
                elif outcome.error:
                    _give_up(folder, outcome, earlier)
            pending = _freed(folder, unfinished, is_open, tell)
    tell.now()
    return tuple(done)


def gather(folder: SweepFolder) -> xr.Dataset:
    """The results of all points that are finished, written to results.nc too.

    One process at a time does this, so that the last one writes what all have found.
    """
    with folder.gathering():
        for point in folder.points:
            folder.forget_earlier(point)
        dataset = results.collected(folder)
        results.save(folder, dataset)
    return dataset


def _freed(
    folder: SweepFolder,
    held: Sequence[Task],
    is_open: Callable[[Task], bool],
    tell: Callable[[], None],
) -> list[Task]:
    """The open ones of tasks that others hold, as soon as one of them is free or all are done."""
    while True:
        open_tasks = [task for task in held if is_open(task)]
        free_tasks = [task for task in open_tasks if folder.holder(task) is None]
        if free_tasks or not open_tasks:
            return open_tasks
        tell()
        time.sleep(POLL_SECONDS)


def _points_done(folder: SweepFolder, task: Task) -> float:
    """How much of a task is done, in points."""
    return sum(folder.fractions(task).values())


def _give_up(folder: SweepFolder, outcome: executors.Outcome, earlier: Mapping[str, str]) -> None:
    """Record the open points of a task that ends its workers again and again as failed."""
    with folder.claimed(outcome.task) as is_claimed:
        if is_claimed:
            for point in still_open(folder, outcome.task, earlier):
                folder.record_failure(point, f"its worker died ({outcome.error})")


class _Teller:
    """Calls `progress` with the status, not too often."""

    def __init__(
        self,
        folder: SweepFolder,
        earlier: Mapping[str, str],
        tasks: Sequence[Task],
        progress: Callable[[Status], None] | None,
    ) -> None:
        self.progress = progress
        self.outlook = Outlook(folder, earlier, tasks) if progress else None
        self.next = 0.0

    def __call__(self) -> None:
        if time.monotonic() >= self.next:
            self.now()

    def now(self) -> None:
        if self.progress is None or self.outlook is None:
            return
        began = time.monotonic()
        self.progress(self.outlook())
        ended = time.monotonic()
        self.next = ended + max(TELL_SECONDS, 20 * (ended - began))
