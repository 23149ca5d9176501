"""Where a sweep stands: how many points are done, what runs, and how long the rest will take."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.sweeps.plan import Task

SAMPLED = 0.99
"""The part that is done of a point that is sampled and not yet written."""


@dataclass(frozen=True)
class Status:
    """Numbers of points, and the part of all work that is done, from 0 to 1.

    A point whose steps are all done is not whole before its results are written.
    `seconds_left` goes by what was done since the sweep was started here; None as long as that
    tells nothing.
    """

    points: int
    done: int
    failed: int
    fraction: float
    seconds_left: float | None = None

    @property
    def missing(self) -> int:
        return self.points - self.done - self.failed


def status(
    folder: SweepFolder,
    earlier: Mapping[str, str] | None = None,
    tasks: Sequence[Task] | None = None,
) -> Status:
    """From the files alone: whoever works on the sweep.

    `earlier` failures are not counted; `tasks` are those that count, all if left out.
    """
    chosen = folder.tasks if tasks is None else tasks
    parts = {p: part for task in chosen for p, part in folder.fractions(task).items()}
    attempts, earlier = folder.attempts(), earlier or {}
    failed = {p for p, mark in attempts.items() if p in parts and mark != earlier.get(p)}
    ended = {p for p in parts if p in failed or folder.is_done(p)}
    whole = sum(1.0 if p in ended else min(part, SAMPLED) for p, part in parts.items())
    return Status(len(parts), len(ended - failed), len(failed), whole / max(len(parts), 1))


class Outlook:
    """Status after status of some tasks, with an estimate of the time left."""

    def __init__(
        self, folder: SweepFolder, earlier: Mapping[str, str], tasks: Sequence[Task]
    ) -> None:
        self.folder = folder
        self.earlier = earlier
        self.tasks = tasks
        self.began = time.monotonic()
        self.first = status(folder, earlier, tasks).fraction

    def __call__(self) -> Status:
        now = status(self.folder, self.earlier, self.tasks)
        gained = now.fraction - self.first
        left = None
        if gained > 0:
            left = (time.monotonic() - self.began) * (1 - now.fraction) / gained
        return Status(now.points, now.done, now.failed, now.fraction, left)
