"""The package's changes to the file system, and how it reads its own files.

A file is written atomically: a reader sees the old one or the new one, never a part. Whatever else
a folder of the package goes through (it is made, moved, removed) goes through the functions here,
each step of which is one call of the system, after any of which a process may be killed.
"""

import contextlib
import errno
import glob
import hashlib
import io
import os
import shutil
import stat
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from langevin_nn.errors import InputError
from langevin_nn.values import as_path, shown

LEFT_OVER_SECONDS = 3600.0
"""The age from which a temporary file that several processes may write is left over."""


class Unreadable(ValueError):
    """A file that is absent, damaged or no file of its kind. The message is the reason."""


def at_home(name: str, given: Any) -> Path:
    """`as_path`, in which ~ is the home folder. Raises `InputError` for a user who has none."""
    path = as_path(name, given)
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{name} = {shown(str(given))}: there is no home folder {path.parts[0]:.80} "
            f"({str(error).rstrip('.')}): write the whole name"
        ) from error


def write_atomically(path: Path, write: Callable[[Path], object], *, shared: bool = False) -> None:
    """Call `write` on a temporary file beside `path`, flush it to disk, rename it to `path`.

    If `write` raises, `path` is as it was and the temporary file is gone. What several processes
    may write at once, for no lock keeps them from it, is `shared`: each has a temporary file of its
    own, and those that killed ones left an hour ago are removed.
    """
    if _is_folder(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(f".{path.name}.part")
    if shared:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        _remove_left_over(path)
    if not is_absent_or_file(temporary) or temporary.is_symlink():
        remove(temporary)
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if temporary.exists():
            os.unlink(temporary)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove_left_over(path: Path) -> None:
    """Remove temporary files of `path` that no process can be writing any more."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > LEFT_OVER_SECONDS:
                os.unlink(part)


def write_text(path: Path, text: str, *, shared: bool = False) -> None:
    """Write a text file in UTF-8, atomically."""
    write_bytes(path, text.encode(), shared=shared)


def write_bytes(path: Path, content: bytes | memoryview, *, shared: bool = False) -> None:
    """Write a file of these bytes, atomically."""
    write_atomically(path, lambda temporary: _write_bytes(temporary, content), shared=shared)


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an uncompressed .npz without pickled objects, atomically."""
    write_atomically(path, lambda temporary: _write_arrays(temporary, arrays))


def make_folder(path: Path) -> None:
    """Make the folder `path`, unless it is there."""
    if not path.is_dir():
        os.mkdir(path)


def move(old: Path, new: Path) -> None:
    """Rename a file or a folder, at once."""
    os.rename(old, new)


def link(old: Path, new: Path) -> None:
    """Give a file a second name; where the file system cannot, write a copy of it there."""
    try:
        os.link(old, new)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        write_atomically(new, lambda temporary: shutil.copyfile(old, temporary))


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; nothing if it is not there."""
    if path.is_dir() and not path.is_symlink():
        for item in sorted(path.iterdir()):
            remove(item)
        os.rmdir(path)
    elif path.exists() or path.is_symlink():
        os.unlink(path)


def is_absent_or_file(path: Path) -> bool:
    """Whether a file can be renamed to `path`: no folder, pipe or device stands there."""
    return path.is_file() or path.is_symlink() or not os.path.lexists(path)


def _is_folder(path: Path) -> bool:
    """Whether `path` is a folder, in whose place no file can be renamed; no link to one."""
    return path.is_dir() and not path.is_symlink()


def require_writable(folder: Path, write: str) -> None:
    """Raise `InputError` where no file can be made in the folder, or the folder not be made.

    `write` is the advice. Nothing is touched.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"{there} is a file where a folder is to be: {write}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"cannot write into {there}: {write}")


def require_no_folder(path: Path, instead: str = "") -> None:
    """Raise `InputError` where a folder stands in the place of a file that is to be written."""
    if _is_folder(path):
        advice = instead and f", or write {instead}"
        raise InputError(f"{path} is a folder where a file is to be: move it away{advice}")


def require_file(path: Path) -> None:
    """Raise `Unreadable` for what is no file: a pipe would be waited for without end."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    if not stat.S_ISREG(mode):
        raise Unreadable("it is a folder" if stat.S_ISDIR(mode) else "it is a pipe or a device")


def read_arrays(path: Path, only: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of a .npz that `write_arrays` wrote, each verified by its checksum (CRC-32).

    `only` names a single array to be read. The checksum of a member covers its header, and is
    verified before that is believed. Raises `Unreadable` for a file that cannot be read, is
    damaged, or holds pickled objects.
    """
    require_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = path.stat().st_size
            for member in archive.infolist():
                if member.file_size > size or member.compress_type != zipfile.ZIP_STORED:
                    raise Unreadable(f"the size of {member.filename} is wrong")
            _check_complete(path, archive)
            return {
                member.filename.removesuffix(".npy"): np.lib.format.read_array(
                    io.BytesIO(archive.read(member)), allow_pickle=False
                )
                for member in archive.infolist()
                if only in (None, member.filename.removesuffix(".npy"))
            }
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    # RuntimeError: encrypted, an unknown method (NotImplementedError); the others are of headers.
    except (
        RuntimeError, ValueError, KeyError, TypeError, SyntaxError, EOFError, MemoryError,
        OverflowError, struct.error, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise Unreadable(f"it is damaged: {error}") from error


def _check_complete(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise `Unreadable` unless the listed members fill the file: a damaged list may lack some."""
    offset = 0
    with path.open("rb") as file:
        for member in archive.infolist():
            if member.header_offset != offset:
                break
            file.seek(offset + 26)
            name_length, extra_length = struct.unpack("<HH", file.read(4))
            offset += 30 + name_length + extra_length + member.compress_size
    if offset != archive.start_dir:
        raise Unreadable("its list of arrays is damaged")


def sum_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits. Raises `Unreadable` where it cannot be read."""
    require_file(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error


def _write_bytes(path: Path, content: bytes | memoryview) -> None:
    path.write_bytes(content)


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
