"""How a run takes a folder, and gives it back: in steps, after any of which it may be killed.

What is aside in a run's folder says how far that has come:

    .replacing/   an earlier run is on its way aside, or back: what is beside it is that run's too
    .replaced/    the earlier run, whole: what is beside it is the run that replaces it
    .restoring/   the earlier run, whole: what is beside it is of no use
    .discarded/   of no use
    .extending/   a run that goes on where the run beside it has ended, which stays as it is
    .extended/    the same when it is finished: it is on its way to take the place of that run

The first three become each other by one renaming. `recover` takes up what a killed process left:
an earlier run comes back unless the one that replaces it is finished or has saved a state, and a
run that has been extended to its end takes its place.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from langevin_nn.files import is_absent_or_file, make_folder, move, remove
from langevin_nn.import_paths import COPIES
from langevin_nn.runs import weights
from langevin_nn.values import FIGURE_FORMATS

LAST_STATE = "last_state.npz"
"""The name of the file with what a run goes on from when it is extended."""
FILES = (
    "config.toml", "manifest.json", "posterior.nc", "summary.json", "report.html", weights.NAME,
    LAST_STATE,
)  # fmt: skip
FIGURES = ("generalisation", "chains", "predictions")
"""The figures of a run, which may also be PDFs and SVGs; `plotting.run_figures` draws them."""
FOLDERS = {
    "figures": (".png", *(f"{name}.{ending}" for name in FIGURES for ending in FIGURE_FORMATS)),
    "checkpoint": (".npz", ".json"),
    COPIES: (".py",),
}
"""The files and folders of a run's folder; each folder with its files, or the endings of them."""
LOCK = ".lock"
SWEEP = "sweep.toml"
"""The file by which a sweep's folder is known; a run's has none."""
REPLACING, REPLACED, RESTORING, DISCARDED = ".replacing", ".replaced", ".restoring", ".discarded"
EXTENDING, EXTENDED = ".extending", ".extended"
FOLDERS_ASIDE = (REPLACING, REPLACED, RESTORING, DISCARDED, EXTENDING, EXTENDED)


def is_run(folder: Path) -> bool:
    """Whether the folder holds a run, finished or not."""
    begun = os.path.isfile(folder / "config.toml")
    return begun and (os.path.isdir(folder / "checkpoint") or is_finished(folder))


def enclosing(folder: Path) -> Path | None:
    """The folder of another run in which this one lies, None for none."""
    return next((outer for outer in folder.absolute().parents if is_run(outer)), None)


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a finished run; False, too, where it cannot be looked into."""
    return os.path.isfile(folder / "summary.json")


def has_state(folder: Path) -> bool:
    """Whether the folder holds a state to go on from, even damaged, or a link to nowhere."""
    return os.path.lexists(folder / "checkpoint" / "state.npz")


def is_remnant(folder: Path) -> bool:
    """Whether the folder holds nothing but what a run killed before writing config.toml leaves."""
    names = {item.name for item in contents(folder)}
    known = names <= {"checkpoint", COPIES, ".config.toml.part"} and foreign(folder) is None
    return known and not has_state(folder)


def is_unsettled(folder: Path) -> bool:
    """Whether a killed process left something in the folder to `recover` from."""
    aside = (name for name in FOLDERS_ASIDE if name != EXTENDING)
    return any((folder / name).exists() for name in aside) or is_finished(folder / EXTENDING)


def contents(folder: Path) -> list[Path]:
    """The entries of the folder but for its lock and what is aside."""
    return [item for item in folder.iterdir() if item.name not in (*FOLDERS_ASIDE, LOCK)]


def foreign(folder: Path) -> str | None:
    """The name of an entry of the folder that no run has put there, None for none."""
    path = next(_foreign(folder), None)
    return None if path is None else str(path.relative_to(folder))


def _foreign(folder: Path) -> Iterator[Path]:
    """The entries of the folder, and of the folders of a run in it, that no run has put there."""
    for item in contents(folder):
        endings = FOLDERS.get(item.name)
        if endings and item.is_dir() and not item.is_symlink():
            for inner in item.iterdir():
                if not (_is_of(inner, endings) or inner.name == LOCK) or _is_filled(inner):
                    yield inner
        elif target_of(item).name not in FILES or _is_filled(item):
            yield item


def carry(source: Path, folder: Path) -> None:
    """Move what no run has put into `source` to the same place in the folder, unless it is taken.

    That is for a run that takes the place of a shorter one: of the figures all go along that are
    not a run's by their names.
    """
    figures = source / "figures"
    drawn = set(figures.iterdir()) if figures.is_dir() else set()
    others = {path for path in drawn if path.stem not in FIGURES}
    for path in sorted({*_foreign(source), *others}):
        place = folder / path.relative_to(source)
        if not os.path.lexists(place):
            make_folder(place.parent)
            move(path, place)


def _is_of(path: Path, names: tuple[str, ...]) -> bool:
    """Whether a path has one of these names or endings."""
    return target_of(path).name in names or target_of(path).suffix in names


def _is_filled(item: Path) -> bool:
    """Whether a path, where a file is expected, is a folder that is not empty."""
    return item.is_dir() and not item.is_symlink() and any(item.iterdir())


def figure_obstacle(folder: Path) -> Path | None:
    """The first path that is no file and stands where a run has a figure, None for none."""
    figures = folder / "figures"
    paths = figures.iterdir() if figures.is_dir() else ()
    own = (path for path in paths if _is_of(path, FOLDERS["figures"]))
    return min((path for path in own if not is_absent_or_file(path)), default=None)


def obstacle(folder: Path) -> Path | None:
    """The first path that stands in the place of one of a run's files or folders and is none.

    None where there is none. Raises OSError where the folder cannot be read.
    """
    if not folder.is_dir():
        return folder if os.path.lexists(folder) else None
    with os.scandir(folder) as items:
        misplaced = [
            folder / item.name
            for item in items
            if (item.name in FILES and not (item.is_file() or item.is_symlink()))
            or (item.name in FOLDERS and not item.is_dir())
        ]
    return min(misplaced, default=None)


def set_aside(folder: Path) -> None:
    """Make room for another run: one in the folder is kept aside, with what it was to replace."""
    if not is_run(folder):
        clear(folder)
        return
    make_folder(folder / REPLACING)
    for item in sorted(folder.iterdir(), key=_moving_order, reverse=True):
        if item.name not in (REPLACING, EXTENDED, LOCK):
            move(item, folder / REPLACING / item.name)
    move(folder / REPLACING, folder / REPLACED)


def take_back(folder: Path) -> None:
    """Undo `set_aside`: the run in the folder is removed, the one set aside comes back."""
    if (folder / REPLACED).exists():
        move(folder / REPLACED, folder / RESTORING)
        recover(folder)
    else:
        clear(folder)


def recover(folder: Path, *, keep: bool = False) -> None:
    """Finish the moves of files that a killed process had begun.

    With `keep`, a run in the folder that has saved no state yet stays.
    """
    remove(folder / DISCARDED)
    if (folder / EXTENDED).exists() or is_finished(folder / EXTENDING):
        promote(folder)
    if (folder / RESTORING).exists():
        clear(folder)
        move(folder / RESTORING, folder / REPLACING)
    if (folder / REPLACING).exists():
        _bring_back(folder)
    if not (folder / REPLACED).exists():
        return
    if not is_run(folder / REPLACED):  # set aside in part, by an earlier version
        move(folder / REPLACED, folder / REPLACING)
        _bring_back(folder)
    elif is_run(folder) and is_finished(folder):
        settle(folder)
    elif not has_state(folder) and not (keep and is_run(folder)):
        move(folder / REPLACED, folder / RESTORING)
        recover(folder, keep=keep)


def settle(folder: Path) -> None:
    """Remove the checkpoint of a finished run, and the run that it has replaced."""
    if (folder / REPLACED).exists():
        move(folder / REPLACED, folder / DISCARDED)
    remove(folder / DISCARDED)
    remove(folder / "checkpoint")


def promote(folder: Path) -> None:
    """Let the run that was extended, and is finished, take the place of the one that it extends.

    What no run has put into the folder stays there. From the first renaming on, `recover` does what
    is left of it.
    """
    aside = folder / EXTENDED
    if not aside.exists():
        move(folder / EXTENDING, aside)
    if (folder / REPLACING).exists():
        _bring_back(folder)
    if is_finished(aside) and not (folder / REPLACED).exists():
        set_aside(folder)
    for item in sorted(aside.iterdir(), key=_moving_order):
        if item.name != "checkpoint":
            move(item, folder / item.name)
    if (folder / REPLACED).exists():
        carry(folder / REPLACED, folder)
    remove(aside)
    settle(folder)


def clear(folder: Path) -> None:
    """Remove what is not aside, in an order that leaves a run until nothing is left."""
    checkpoint, configuration = folder / "checkpoint", folder / "config.toml"
    remove(checkpoint / "state.npz")
    for item in contents(folder):
        if item not in (checkpoint, configuration):
            remove(item)
    remove(configuration)
    remove(checkpoint)


def _bring_back(folder: Path) -> None:
    """Move everything in `.replacing` into the folder, but for what the folder has already."""
    aside = folder / REPLACING
    for item in sorted(aside.iterdir(), key=_moving_order):
        if (folder / item.name).exists():
            remove(item)
        else:
            move(item, folder / item.name)
    remove(aside)


def _moving_order(item: Path) -> int:
    """The key that sorts a folder's entries in the order in which they are moved into it.

    The files whose presence makes a folder a run, and a finished one, are never there alone.
    """
    return {"config.toml": 1, "summary.json": 2}.get(item.name, 0)


def target_of(path: Path) -> Path:
    """The file that a left-over temporary of `write_atomically` was to become: `.NAME.part`, or
    `.NAME.PROCESS.part`."""
    left_over = re.fullmatch(r"\.(.+?)(\.\d+)?\.part", path.name)
    return path.with_name(left_over[1]) if left_over else path
