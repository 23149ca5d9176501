"""Where a sweep stands: how many points are done, what runs, and how long the rest will take."""

import time
from collections.abc import Mapping, Sequence

from langevin_nn.progress import Status as Status
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.sweeps.plan import Task

SAMPLED_FRACTION = 0.99
"""The fraction that is done of a point that is sampled and not yet written."""


def status(
    folder: SweepFolder,
    earlier: Mapping[str, str] | None = None,
    tasks: Sequence[Task] | None = None,
) -> Status:
    """The status of a sweep by its files alone, whoever works on it.

    `earlier` failures are not counted; `tasks` are those that count, all if left out.
    """
    counted_tasks = folder.tasks if tasks is None else tasks
    fractions = {
        point: fraction
        for task in counted_tasks
        for point, fraction in folder.fractions(task).items()
    }
    attempts, earlier = folder.attempts(), earlier or {}
    failed = {
        point
        for point, attempt in attempts.items()
        if point in fractions and attempt != earlier.get(point)
    }
    ended = {point for point in fractions if point in failed or folder.is_done(point)}
    points_done = sum(
        1.0 if point in ended else min(fraction, SAMPLED_FRACTION)
        for point, fraction in fractions.items()
    )
    return Status(
        len(fractions), len(ended - failed), len(failed), points_done / max(len(fractions), 1)
    )


class Outlook:
    """The status of some tasks, at each call anew, with an estimate of the time left."""

    def __init__(
        self, folder: SweepFolder, earlier: Mapping[str, str], tasks: Sequence[Task]
    ) -> None:
        self.folder = folder
        self.earlier = earlier
        self.tasks = tasks
        self.began = time.monotonic()
        self.first = status(folder, earlier, tasks).fraction

    def __call__(self) -> Status:
        current = status(self.folder, self.earlier, self.tasks)
        gained = current.fraction - self.first
        seconds_left = None
        if gained > 0:
            seconds_left = (time.monotonic() - self.began) * (1 - current.fraction) / gained
        return Status(current.points, current.done, current.failed, current.fraction, seconds_left)
