"""The folder of a sweep, in which any number of processes may work at the same time.

    sweep.toml             the configuration and the grid, as they can be swept again
    modules/               copies of the files of the user's own code that the points name
    points/HASH/           the run folder of each point, its name the configuration's hash
    failed/HASH.json       why a point could not be run, until it can
    tasks/plan.json        how many points run side by side
    tasks/extended.json    which runs stand for the points, of a sweep that was extended
    tasks/NAME/lock        held by the process that works on the task
    tasks/NAME/BATCH/      while it lasts: members.json and the checkpoint of a batch
    theories.json          the theories' numbers alone, of a sweep with --theory-only
    figures/               and what it has drawn of them
    results.nc             the numbers of all points
    report.html            the page that `langevin-nn report` made of them, if it was asked to

A task's lock is the kernel's (`flock`): it goes with the process that holds it, however that ends.
Whatever is in a file was renamed into place, and a point's `summary.json`, which makes it finished,
comes last.
"""

import contextlib
import functools
import json
import shlex
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from langevin_nn import locks
from langevin_nn.config.record import RunConfig
from langevin_nn.errors import InputError
from langevin_nn.files import (
    Unreadable,
    is_absent_or_file,
    make_folder,
    remove,
    require_no_folder,
    write_text,
)
from langevin_nn.import_paths import COPIES
from langevin_nn.runs import claims
from langevin_nn.runs.archive import Damaged
from langevin_nn.runs.folder import RunFolder
from langevin_nn.runs.modules import copy_files
from langevin_nn.runs.records import read_json, read_record, record, sealed
from langevin_nn.sampling.engine.checkpoint import steps_in
from langevin_nn.sweeps import data_files, plan
from langevin_nn.sweeps.grid import Grid, differences, load
from langevin_nn.sweeps.lineage import PointFolders
from langevin_nn.sweeps.plan import Task

PARTS = {
    COPIES, "points", "failed", "tasks", "theories.json", "figures", "results.nc", "report.html"
}  # fmt: skip
"""The entries of a sweep's folder beside its sweep.toml."""


@dataclass(frozen=True)
class SweepFolder(PointFolders):
    """The folder of one sweep; made by `begin`, found by `existing`."""

    @classmethod
    def begin(cls, path: Path, grid: Grid, points_per_task: int) -> "SweepFolder":
        """The folder of this grid, made if it is not there.

        Raises `InputError`, and leaves everything as it was, for the folder of another sweep or of
        a run, for one that holds anything else, and for one that cannot be written.
        """
        folder = cls(path)
        folder.check(grid)
        sums = data_files.now(grid.points)
        try:
            folder._tasks.mkdir(parents=True, exist_ok=True)
            with locks.held(folder._tasks / "lock", wait=True, keep=True):
                if folder._points_per_task is None:
                    content = sealed({"points_per_task": points_per_task})
                    write_text(folder._tasks / "plan.json", record(content))
                if not folder._definition.exists():
                    copy_files(path, data_files.modules_of(grid.points))
                    write_text(folder._definition, grid.toml)
                if sums.keys() - folder.data.keys():
                    content = sealed({"sources": {**sums, **folder.data}})
                    write_text(folder._tasks / "data.json", record(content))
            for part in (path / "points", folder._failed):
                make_folder(part)
        except (IsADirectoryError, FileExistsError) as error:
            actual, expected = "folder", "file"
            if isinstance(error, FileExistsError):
                actual, expected = expected, actual
            raise InputError(
                f"{error.filename2 or error.filename} is a {actual} where a {expected} is to be: "
                "move it away, or write --output (output=) with another folder"
            ) from error
        except OSError as error:
            raise InputError(
                f"cannot write into {path} ({error.strerror}): write --output (output=) with a "
                "folder that can be written"
            ) from error
        written = cls(path)
        written.check(grid)
        return written

    @classmethod
    def existing(cls, path: Path) -> "SweepFolder":
        """The sweep that is in `path`. Raises `InputError` if there is none."""
        folder = cls(path)
        if not folder._definition.is_file():
            if claims.is_run(path):
                raise InputError(
                    f"{path} is a run's folder, not a sweep's: write "
                    f"{shlex.join(['langevin-nn', 'watch', str(path)])}, which says where it stands"
                )
            raise InputError(
                f"{path} is not a sweep's folder (it has no sweep.toml): write the folder that "
                "langevin-nn sweep was given as --output"
            )
        return folder

    def check(self, grid: Grid) -> None:
        """Raise `InputError` for a folder that is not this grid's and not free; touches nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file: write --output FOLDER (output=FOLDER)")
        require_no_folder(self.results, "--output (output=) with another folder")
        outer = claims.enclosing(self.path)
        if outer and not self.has_begun:
            raise InputError(
                f"{self.path} lies in {outer}, the folder of a run, with which it would be "
                "replaced: write --output (output=) with a folder beside that"
            )
        if self._definition.exists():
            if self.grid.content_hash != grid.content_hash:
                difference = differences(self.grid, grid)
                raise InputError(
                    f"{self.path} is the folder of another sweep ({difference}): write the same "
                    "grid to go on, or --output (output=) with another folder"
                )
            data_files.check(self.data, data_files.now(grid.points), self.path)
        elif self.path.is_dir() and (foreign := self._foreign()):
            content = "a run" if RunFolder(self.path).is_run else f"{foreign}, which is no sweep's"
            raise InputError(
                f"{self.path} holds {content}: write --output (output=) with another folder"
            )

    @property
    def has_begun(self) -> bool:
        """Whether the folder has the definition of a sweep, sweep.toml."""
        return self._definition.is_file()

    def _foreign(self) -> str | None:
        """The name of an entry, in a folder without sweep.toml, that no sweep has put there."""
        names = {claims.target_of(path).name for path in self.path.iterdir()}
        known = PARTS | {self._definition.name} if "tasks" in names else {"tasks"}
        return min(names - known, default=None)

    @functools.cached_property
    def grid(self) -> Grid:
        """The sweep's grid, from sweep.toml. Raises `InputError` where that is damaged."""
        try:
            return load(self._definition)
        except InputError as error:
            raise InputError(
                f"{error}. If {self._definition} is damaged, delete it and start the sweep again "
                "with its grid: the finished points stay"
            ) from error

    @functools.cached_property
    def points(self) -> dict[str, RunConfig]:
        """The points by their hashes, in C order."""
        return {point.content_hash: point for point in self.grid.points}

    @functools.cached_property
    def tasks(self) -> list[Task]:
        """The sweep's tasks, from its plan. Raises `InputError` where that cannot be read."""
        if (number := self._points_per_task) is None:
            raise InputError(
                f"cannot read {self._tasks / 'plan.json'}: start the sweep again with its grid, "
                "which writes it anew; the finished points stay"
            )
        return plan.tasks(self.grid, number)

    def preparing(self) -> "contextlib.AbstractContextManager[bool]":
        """A context in which no other process changes what the sweep is; waits for its turn."""
        return locks.held(self._tasks / "lock", wait=True, keep=True)

    @functools.cached_property
    def data(self) -> data_files.Sums:
        """The data files that the sweep was begun with, as far as they are known."""
        known: dict[str, list[str]] = {}
        with contextlib.suppress(Unreadable):
            known |= data_files.read(read_record(self._tasks / "data.json"))
        for point, config in self.points.items():
            source = data_files.source_of(config)
            if source not in known and self.run(point).is_finished:  # of an earlier version
                with contextlib.suppress(InputError):
                    known[source] = self.run(point).data()
        return known

    def damage(self, point: str) -> str:
        """Why the results in a point's folder cannot be used; empty where nothing is wrong."""
        folder = self.run(point)
        try:
            if obstacle := claims.obstacle(folder.path):
                return f"cannot read {obstacle} (it is not what a run has written there)"
        except OSError as error:
            return f"cannot read {folder.path} ({error.strerror})"
        summary = folder.path / "summary.json"
        try:
            stat = summary.stat() if summary.exists() else summary.lstat()
        except OSError:
            return ""
        stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if self._verdicts.get(point, ((), ""))[0] != stamp:
            self._verdicts[point] = stamp, self._damage(point, folder)
        return self._verdicts[point][1]

    def remedy(self, point: str) -> str:
        """What becomes of a damaged point: its files are written anew, unless somebody's remain."""
        obstacle = claims.obstacle(self.run(point).path)
        if obstacle is not None and _has_files(obstacle):
            return "it is a folder with files in it, move it away"
        return "it is sampled again"

    def is_done(self, point: str) -> bool:
        """Whether the point is finished, and its files are those that its run has written."""
        return not self.damage(point) and self.run(point).is_finished

    def discard(self, point: str) -> None:
        """Make a damaged point an unfinished one, in whose folder a run can write.

        Raises `InputError`, with nothing removed, for a folder in the place of a file that has
        something in it: that is somebody's.
        """
        folder = self.run(point)
        while obstacle := claims.obstacle(folder.path):
            if _has_files(obstacle):
                raise InputError(
                    f"{obstacle} is a folder where a file is to be, and has files in it: move it "
                    "away, and start the sweep again"
                )
            remove(obstacle)
        if folder.path.exists():
            with folder.locked():
                remove(folder.path / "summary.json")

    def _damage(self, point: str, folder: RunFolder) -> str:
        """Why the files of a finished point cannot be used, empty where they can."""
        config = self.points[point]
        is_whole = None not in (config.data.num_train, config.data.num_test)
        try:
            manifest = folder.check_finished()
            if is_whole and manifest["run_id"] != folder.path.name:
                return f"{folder.path} holds another run"
            source, sums = data_files.source_of(config), folder.data(manifest)
            return data_files.difference(source, self.data.get(source, ()), sums) or ""
        except Damaged as error:
            return error.reason
        except InputError as error:
            return str(error)

    @property
    def results(self) -> Path:
        """The file of the results of all points."""
        return self.path / "results.nc"

    @property
    def figures(self) -> Path:
        """The folder of the sweep's figures."""
        return self.path / "figures"

    @property
    def theories(self) -> Path:
        """The file of what the theories predict at points that are not sampled."""
        return self.path / "theories.json"

    @property
    def definition(self) -> str:
        """The text of sweep.toml."""
        return self._definition.read_text(encoding="utf-8")

    def failure(self, point: str) -> dict[str, str] | None:
        """The reason of the point's failure and that attempt's mark; None without a failure."""
        path = self._failed / f"{point}.json"
        if not path.exists() or self.is_done(point):
            return None
        try:
            failure = read_record(path)
            return {"reason": str(failure["reason"]), "attempt": str(failure["attempt"])}
        except (Unreadable, KeyError):
            return {"reason": "its record cannot be read", "attempt": ""}

    def attempts(self) -> dict[str, str]:
        """The marks of the attempts that failed, by their points."""
        names = {path.stem for path in self._failed.glob("*.json")}
        failures = {point: self.failure(point) for point in self.points if point in names}
        return {point: failure["attempt"] for point, failure in failures.items() if failure}

    def record_failure(self, point: str, reason: str) -> None:
        """Write why an attempt at the point has failed, with a new mark for the attempt."""
        reason = reason.encode(errors="replace").decode()
        content = {"reason": reason, "attempt": uuid.uuid4().hex, "when": time.ctime()}
        path = self._failed / f"{point}.json"
        if not is_absent_or_file(path):
            remove(path)
        write_text(path, record(content))

    def remove_failure(self, point: str) -> None:
        """Remove the record of the point's failure, if there is one."""
        remove(self._failed / f"{point}.json")

    def claimed(self, task: Task) -> "contextlib.AbstractContextManager[bool]":
        """A context in which this process has the task; False, at once, where another has it."""
        folder = self._tasks / task.name
        folder.mkdir(parents=True, exist_ok=True)
        return locks.held(folder / "lock", keep=True)

    def gathering(self) -> "contextlib.AbstractContextManager[bool]":
        """A context in which no other process writes the results; waits for its turn."""
        return locks.held(self._tasks / "results.lock", wait=True, keep=True)

    def holder(self, task: Task) -> str | None:
        """The process that works on the task, in words; None if none does."""
        return locks.holder(self._tasks / task.name / "lock")

    def batch(self, task: Task, points: tuple[str, ...]) -> Path:
        """The folder, made here, for the state of points of the task that run side by side."""
        folder = self._tasks / task.name / plan.joint_name(points)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "members.json", json.dumps(points) + "\n")
        return folder

    def batches(self, task: Task) -> dict[tuple[str, ...], Path]:
        """The batches of the task that have saved a state, by their points."""
        folders = {}
        for state in sorted((self._tasks / task.name).glob("*/state.npz")):
            with contextlib.suppress(Unreadable):
                points = read_json(state.parent / "members.json")
                if (
                    isinstance(points, list)
                    and points
                    and all(point in task.points for point in points)
                ):
                    folders[tuple(points)] = state.parent
        return folders

    def remove_batches(self, task: Task) -> None:
        """Remove the states of the task's points that run side by side."""
        for item in (self._tasks / task.name).iterdir():
            if item.is_dir():
                remove(item)

    def fractions(self, task: Task) -> dict[str, float]:
        """The fraction of each point of the task that is done, from 0 to 1."""
        done = {point: float(self.is_done(point)) for point in task.points}
        if all(done.values()):
            return done
        states = [(points, path / "state.npz") for points, path in self.batches(task).items()]
        states += [((point,), self.run(point).checkpoint / "state.npz") for point in task.points]
        for points, state in states:
            steps = steps_in(state)
            for point in points:
                done[point] = max(done[point], plan.fraction(self.points[point], steps))
        return done

    @property
    def _points_per_task(self) -> int | None:
        """The number of points in a task, from the plan; None where that cannot be read."""
        with contextlib.suppress(Unreadable):
            number = read_record(self._tasks / "plan.json").get("points_per_task")
            if isinstance(number, int) and 1 <= number <= plan.LARGEST_TASK:
                return number
        return None

    @functools.cached_property
    def _verdicts(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """The damage found in each point's files, with the stamp of its summary.json then."""
        return {}

    @property
    def _definition(self) -> Path:
        return self.path / claims.SWEEP

    @property
    def _failed(self) -> Path:
        return self.path / "failed"


def _has_files(path: Path) -> bool:
    """Whether a folder stands there that has something in it."""
    return path.is_dir() and any(path.iterdir())
