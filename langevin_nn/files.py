"""Atomic file writes: a reader sees the old file or the new one, never a part."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write` on a temporary file beside `path`, flush it to disk, rename it to `path`.

    If `write` raises, `path` is as it was and the temporary file is gone.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    write_atomically(path, lambda temporary: _write_bytes(temporary, content))


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An uncompressed .npz without pickled objects."""
    write_atomically(path, lambda temporary: _write_arrays(temporary, arrays))


def _write_bytes(path: Path, content: bytes | memoryview) -> None:
    path.write_bytes(content)


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
