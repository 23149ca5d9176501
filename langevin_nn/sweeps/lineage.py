"""Which runs stand for the points of a sweep, in their folders.

A point's run has the name of its configuration. In a sweep that was extended shorter runs stand for
the points that did not fall short, and those that do go on from shorter ones: both are named in
`tasks/extended.json`.
"""

import abc
import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langevin_nn.errors import InputError
from langevin_nn.files import Unreadable, remove, write_text
from langevin_nn.runs.claims import carry
from langevin_nn.runs.folder import RunFolder
from langevin_nn.runs.records import read_record, record, sealed


@dataclass(frozen=True)
class Lineage:
    """The names of runs by the names of points: of runs that are `kept`, and that points extend."""

    kept: dict[str, str] = field(default_factory=dict)
    extends: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Lineage":
        """What the file says, if there is one. Raises `Unreadable` for a damaged one."""
        if not path.exists():
            return cls()
        content = read_record(path)
        return cls(_names(content.get("kept")), _names(content.get("extends")))


@dataclass(frozen=True)
class PointFolders(abc.ABC):
    """The run folders of the points of a sweep in the folder `path`. Abstract: `SweepFolder`."""

    path: Path

    @abc.abstractmethod
    def is_done(self, point: str) -> bool:
        """Whether the point is finished, and its files are those that its run has written."""

    def run(self, point: str) -> RunFolder:
        """The run folder of a point; that of a shorter run where this is kept."""
        return RunFolder(self.path / "points" / self.lineage.kept.get(point, point))

    def earlier(self, point: str) -> RunFolder | None:
        """The finished run that a point goes on from, as long as the point is not done."""
        name = self.lineage.extends.get(point)
        if name is None or self.is_done(point):
            return None
        run = RunFolder(self.path / "points" / name)
        return run if run.is_finished else None

    def name_of(self, point: str) -> str:
        """The name of the run whose numbers stand for the point: its own, or a shorter one's."""
        return (self.earlier(point) or self.run(point)).path.name

    def forget_earlier(self, point: str) -> None:
        """Remove the shorter run that a point has gone on from, when the point is done.

        What no run has put into its folder goes along.
        """
        name = self.lineage.extends.get(point)
        if name is not None and self.is_done(point):
            earlier = self.path / "points" / name
            if earlier.is_dir():
                carry(earlier, self.run(point).path)
            remove(earlier)

    @functools.cached_property
    def lineage(self) -> Lineage:
        """The shorter runs that stand for points, or that points go on from."""
        path = self._tasks / "extended.json"
        try:
            return Lineage.load(path)
        except Unreadable as error:
            raise InputError(
                f"cannot read {path} ({error}), which says what runs stand for the points of the "
                "sweep: put it back, or sweep into another folder"
            ) from error

    def write_lineage(self, kept: dict[str, str], extends: dict[str, str]) -> None:
        """Write which shorter runs stand for points, and which they go on from, atomically."""
        content = sealed({"kept": kept, "extends": extends})
        write_text(self._tasks / "extended.json", record(content))

    @property
    def _tasks(self) -> Path:
        return self.path / "tasks"


def _names(content: Any) -> dict[str, str]:
    if not isinstance(content, dict):
        raise Unreadable("it has no names of runs")
    return {str(point): str(run) for point, run in content.items()}
