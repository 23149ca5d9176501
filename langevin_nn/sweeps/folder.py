"""The folder of a sweep, in which any number of processes may work at the same time.

    sweep.toml             the configuration and the grid, as they can be swept again
    points/HASH/           the run folder of each point, its name the configuration's hash
    failed/HASH.json       why a point could not be run, until it can
    tasks/plan.json        how many points run side by side
    tasks/NAME/lock        held by the process that works on the task
    tasks/NAME/BATCH/      while it lasts: members.json and the checkpoint of a batch
    results.nc             the numbers of all points
    report.html            the page that `langevin-nn report` made of them, if it was asked to

A task's lock is the kernel's (`flock`): it goes with the process that holds it, however that ends.
Whatever is in a file was renamed into place, and a point's `summary.json`, which makes it finished,
comes last.
"""

import contextlib
import fcntl
import functools
import json
import os
import platform
import shutil
import time
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langevin_nn.config import RunConfig
from langevin_nn.errors import InputError
from langevin_nn.files import write_text
from langevin_nn.store import RunFolder
from langevin_nn.sweeps import grid as grids
from langevin_nn.sweeps import plan
from langevin_nn.sweeps.grid import Grid
from langevin_nn.sweeps.plan import Task


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one sweep; made by `begin`, found by `existing`."""

    path: Path

    @classmethod
    def begin(cls, path: Path, grid: Grid, points_per_task: int) -> "SweepFolder":
        """The folder of this grid, made if it is not there.

        Raises `InputError`, and leaves everything as it was, for the folder of another sweep or of
        a run, for one that holds anything else, and for one that cannot be written.
        """
        folder = cls(path)
        folder.check(grid)
        try:
            folder._tasks.mkdir(parents=True, exist_ok=True)
            with _locked(folder._tasks / "lock", wait=True):
                if not folder._definition.exists():
                    text = json.dumps({"points_per_task": points_per_task})
                    write_text(folder._tasks / "plan.json", text + "\n")
                    write_text(folder._definition, grid.toml)
            for part in (folder._points, folder._failed):
                part.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot write into {path} ({error.strerror}): write --output with a folder that "
                "can be written"
            ) from error
        folder.check(grid)
        return folder

    @classmethod
    def existing(cls, path: Path) -> "SweepFolder":
        """The sweep that is in `path`. Raises `InputError` if there is none."""
        folder = cls(path)
        if not folder._definition.is_file():
            raise InputError(
                f"{path} is not a sweep's folder (it has no sweep.toml): write the folder that "
                "langevin-nn sweep was given as --output"
            )
        return folder

    def check(self, grid: Grid) -> None:
        """Raise `InputError` for a folder that is not this grid's and not free; touches nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file: write --output FOLDER")
        if self._definition.exists():
            if self.grid.content_hash != grid.content_hash:
                raise InputError(
                    f"{self.path} is the folder of another sweep ({_differences(self.grid, grid)}"
                    "): write the same grid to go on, or --output with another folder"
                )
        elif self.path.is_dir() and (names := {p.name for p in self.path.iterdir()} - {"tasks"}):
            what = "a run" if RunFolder(self.path).is_run else f"{min(names)}, which is no sweep's"
            raise InputError(f"{self.path} holds {what}: write --output with another folder")

    @property
    def has_begun(self) -> bool:
        return self._definition.is_file()

    @functools.cached_property
    def grid(self) -> Grid:
        return grids.load(self._definition)

    @functools.cached_property
    def points(self) -> dict[str, RunConfig]:
        """The points by their hashes, in C order."""
        return {point.content_hash: point for point in self.grid.points}

    @functools.cached_property
    def tasks(self) -> list[Task]:
        try:
            found = json.loads((self._tasks / "plan.json").read_text())
            return plan.tasks(self.grid, int(found["points_per_task"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"cannot read {self._tasks / 'plan.json'} ({error}): delete it together with "
                "sweep.toml, and start the sweep again; its finished points stay"
            ) from error

    @property
    def results(self) -> Path:
        return self.path / "results.nc"

    @property
    def definition(self) -> str:
        """The text of sweep.toml."""
        return self._definition.read_text(encoding="utf-8")

    def run(self, point: str) -> RunFolder:
        """The run folder of a point."""
        return RunFolder(self._points / point)

    def failure(self, point: str) -> dict[str, str] | None:
        """Why the point failed, and the mark of that attempt; None if it did not, or not yet."""
        if self.run(point).is_finished:
            return None
        try:
            found = json.loads((self._failed / f"{point}.json").read_text())
            return {"reason": str(found["reason"]), "attempt": str(found["attempt"])}
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return {"reason": "its record cannot be read", "attempt": ""}

    def failed(self) -> list[str]:
        """The points that have failed at some time."""
        names = {path.stem for path in self._failed.glob("*.json")}
        return [point for point in self.points if point in names]

    def attempts(self) -> dict[str, str]:
        """The marks of the attempts that failed."""
        found = {point: self.failure(point) for point in self.failed()}
        return {point: failure["attempt"] for point, failure in found.items() if failure}

    def record_failure(self, point: str, reason: str) -> None:
        content = {"reason": reason, "attempt": uuid.uuid4().hex, "when": time.ctime()}
        write_text(self._failed / f"{point}.json", json.dumps(content, ensure_ascii=False) + "\n")

    def remove_failure(self, point: str) -> None:
        (self._failed / f"{point}.json").unlink(missing_ok=True)

    def claimed(self, task: Task) -> "contextlib.AbstractContextManager[bool]":
        """The task as this process's own; False, at once, where another has it."""
        return _locked(self._tasks / task.name / "lock")

    def gathering(self) -> "contextlib.AbstractContextManager[bool]":
        """For the one that writes the results; waits for its turn."""
        return _locked(self._tasks / "results.lock", wait=True)

    def holder(self, task: Task) -> str | None:
        """Who works on the task; None if nobody does."""
        path = self._tasks / task.name / "lock"
        if not path.is_file():
            return None
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "a process"
        return None

    def batch(self, task: Task, points: tuple[str, ...]) -> Path:
        """Where these points of the task, run side by side, are saved on the way."""
        folder = self._tasks / task.name / plan.joint_name(points)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "members.json", json.dumps(points) + "\n")
        return folder

    def batches(self, task: Task) -> dict[tuple[str, ...], Path]:
        """The batches of the task that have saved a state, by their points."""
        found = {}
        for state in sorted((self._tasks / task.name).glob("*/state.npz")):
            with contextlib.suppress(OSError, ValueError):
                points = tuple(json.loads((state.parent / "members.json").read_text()))
                if points and set(points) <= set(task.points):
                    found[points] = state.parent
        return found

    def remove_batches(self, task: Task) -> None:
        for item in (self._tasks / task.name).iterdir():
            if item.is_dir():
                shutil.rmtree(item)

    def fractions(self, task: Task) -> dict[str, float]:
        """How much of each point of the task is done, from 0 to 1."""
        done = {point: float(self.run(point).is_finished) for point in task.points}
        if all(done.values()):
            return done
        states = [(points, path / "state.npz") for points, path in self.batches(task).items()]
        states += [((point,), self.run(point).checkpoint / "state.npz") for point in task.points]
        for points, state in states:
            steps = _steps_in(state)
            for point in points:
                done[point] = max(done[point], steps / plan.total_steps(self.points[point]))
        return done

    @property
    def _definition(self) -> Path:
        return self.path / "sweep.toml"

    @property
    def _points(self) -> Path:
        return self.path / "points"

    @property
    def _failed(self) -> Path:
        return self.path / "failed"

    @property
    def _tasks(self) -> Path:
        return self.path / "tasks"


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """The lock of that file as this process's own, or False where another has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        yield True


def _steps_in(state: Path) -> int:
    try:
        with np.load(state) as file:
            return int(file["progress"][0])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return 0


def _differences(theirs: Grid, mine: Grid) -> str:
    """In what two grids differ, in a few words."""

    def listed(of: dict[str, Any], name: str) -> str:
        return str(of[name]) if name in of else "no axis"

    there, here = theirs.coordinates, mine.coordinates
    names = [n for n in {**there, **here} if there.get(n) != here.get(n)]
    if names:
        return ", ".join(f"{n}: {listed(there, n)} there, {listed(here, n)} here" for n in names)
    return "the same axes in another order, or another configuration under them"
