"""The files of a configuration: its text, what to write where that cannot be read, its data's.

This module imports no JAX.
"""

import contextlib
import difflib
import os
from pathlib import Path

from langevin_nn.errors import InputError
from langevin_nn.values import shown

__all__ = ["content_of", "located", "other_file"]

LARGEST_FILE = 4_000_000
"""The most bytes that a configuration has; a larger file holds something else."""

SIMILARITY = 0.8
"""The similarity of two names, by difflib, from which on one may be meant by the other."""


def other_file(path: Path) -> str:
    """The advice that names a configuration in the folder `path`, or one beside the file `path`.

    >>> other_file(Path("nowhere/mine.toml"))
    'write the name of a TOML file (langevin-nn init prints one to begin with)'
    """
    if os.path.isfile(path / "sweep.toml"):
        return f"it is a sweep's folder, write langevin-nn sweep {path / 'sweep.toml'}"
    if os.path.isfile(path / "config.toml"):
        return f"write {path / 'config.toml'}"
    beside: list[str] = []
    is_folder = os.path.isdir(path)
    with contextlib.suppress(OSError, ValueError):  # no such folder; a name with NUL
        folder = path if is_folder else path.parent
        names = (name for name in os.listdir(folder) if name.endswith(".toml"))
        beside = sorted(name for name in names if is_folder or name != path.name)
    if is_folder and beside:
        return f"write the name of a TOML file in it, {path / beside[0]}"
    near = [] if is_folder else difflib.get_close_matches(path.name, beside, 1, SIMILARITY)
    if f"{path.name}.toml" in beside:
        near = [f"{path.name}.toml"]
    if near:
        return f"write {path.with_name(near[0])}, which is there"
    return "write the name of a TOML file (langevin-nn init prints one to begin with)"


def content_of(path: Path) -> str:
    """The text of a configuration's file; a pipe, which may have no end, is refused."""
    try:
        if not path.is_dir() and path.exists() and not path.is_file():
            raise InputError(f"the configuration {path} is a pipe or a device: write a file's name")
        if path.is_file() and path.stat().st_size > LARGEST_FILE:
            raise InputError(
                f"the configuration {path} has {path.stat().st_size} bytes, more than the "
                f"{LARGEST_FILE} that a configuration can have: write a TOML file's name"
            )
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"cannot read the configuration {path}: not text in UTF-8: save it in UTF-8, or "
            f"{other_file(path)}"
        ) from error
    except (OSError, ValueError) as error:  # a name with NUL
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot read the configuration {path}: {reason}: {other_file(path)}"
        ) from error


def located(given: str, folder: Path) -> str:
    """An absolute `data.path`: of the file in `folder`, else of that in the current folder.

    Raises `InputError` for what cannot be the name of a file.
    """
    if not given:
        return given
    try:
        path = Path(given).expanduser()
        beside = folder / path
        return str((path if path.exists() and not beside.exists() else beside).resolve())
    except (OSError, RuntimeError, ValueError) as error:  # too long; no such user; NUL
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"data.path = {shown(given)} is not the name of a file ({reason}): "
            'write path = "FILE.npz"'
        ) from error
