"""What to write in place of a configuration's name that cannot be read: the files that are near.

This module imports no JAX.
"""

import contextlib
import difflib
import os
from pathlib import Path

__all__ = ["other_file"]

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
        beside = sorted(name for name in os.listdir(folder) if name.endswith(".toml"))
    if is_folder and beside:
        return f"write the name of a TOML file in it, {path / beside[0]}"
    near = [] if is_folder else difflib.get_close_matches(path.name, beside, 1, SIMILARITY)
    if f"{path.name}.toml" in beside:
        near = [f"{path.name}.toml"]
    if near:
        return f"write {path.with_name(near[0])}, which is there"
    return "write the name of a TOML file (langevin-nn init prints one to begin with)"
