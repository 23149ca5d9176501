"""Arrays from `.npz` files, whose headers are checked before anything else is read.

An `.npz` is a zip archive of `.npy` files, and either can promise more than it holds or hold more
than there is memory for: 13 MB of a zip can unpack to 23 GB. Numbers and text are read, with the
two compressions that `numpy.savez` and `savez_compressed` use; pickled objects never are.
"""

import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from langevin_nn.config.sections import PLACEHOLDER_PATH
from langevin_nn.memory import require_memory
from langevin_nn.types import InputError

ARRAY_NAMES = ("x_train", "y_train", "x_test", "y_test")
"""The names of the arrays of a task in a file."""
ADVICE = "save it with numpy.savez(path, x_train=…, y_train=…, x_test=…, y_test=…)"
MAGIC = b"\x93NUMPY"
LONGEST_HEADER = 10_000
"""The most bytes of an array's header, as for NumPy."""
_ENCRYPTED = 0x1
_DAMAGES = (
    OSError, ValueError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""The exceptions of Python for files that are no zip archives, and for unreadable parts of one.

NotImplementedError, which is among them, is a RuntimeError.
"""


def read_npz(path: Path, names: Iterable[str] = ARRAY_NAMES) -> tuple[np.ndarray, ...]:
    """The named arrays of an `.npz` file; pickled objects are refused.

    Raises `InputError` for a file that is not there, cannot be read or does not fit into memory,
    and for a missing array.
    """
    names = tuple(names)
    if not _is_file(path):
        if path.name == PLACEHOLDER_PATH:
            raise InputError(
                f'data.path = "{path}" is a placeholder, and no file: write the path of your own '
                f".npz file in its place, or {ADVICE}"
            )
        raise InputError(f"there is no file {path}: write the path of an .npz file, or {ADVICE}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
            if missing := [name for name in names if name not in members]:
                raise InputError(
                    f"{path} lacks {', '.join(missing)} (it holds {', '.join(members)}): {ADVICE}"
                )
            size = sum(_size_by_headers(archive, members[name]) for name in names)
            description = f"{path.name} with {', '.join(names)}"
            require_memory(size, description, "save fewer examples, or as uint8 or float32")
            return tuple(_array(archive, members[name]) for name in names)
    except InputError:
        raise
    except _DAMAGES as error:
        raise InputError(
            f"{path} is not an .npz file of plain numbers ({_reason(path, error)}): {ADVICE}"
        ) from error


def reason(error: Exception) -> str:
    """The reason of an error in one short line."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return text if 0 < len(text) <= 80 else type(error).__name__


def _is_file(path: Path) -> bool:
    """Whether the path is that of a file; False for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or has a NUL
        return False


def _reason(path: Path, error: Exception) -> str:
    if not isinstance(error, zipfile.BadZipFile):
        return reason(error)
    with path.open("rb") as stream:
        return "one array without a name" if stream.read(6) == MAGIC else reason(error)


def _size_by_headers(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> int:
    """The bytes of an array by its headers; ValueError unless all of these agree."""
    if item.flag_bits & _ENCRYPTED:
        raise ValueError(f"{item.filename} is encrypted")
    if item.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{item.filename} is compressed by a method that NumPy does not use")
    with archive.open(item) as stream:
        start, shape, dtype = _header(stream.read(LONGEST_HEADER), item.filename)
    size = math.prod(shape) * dtype.itemsize
    if start + size != item.file_size:
        raise ValueError(f"{item.filename} has {item.file_size} bytes, not {start + size}")
    return size


def _header(start: bytes, name: str) -> tuple[int, tuple[int, ...], np.dtype]:
    """The place where an array's numbers begin, its shape and type, from the start of its file."""
    count, read = ("<H", np.lib.format.read_array_header_1_0)
    if start[6:7] != b"\1":
        count, read = ("<I", np.lib.format.read_array_header_2_0)
    begin = 8 + struct.calcsize(count)
    if start[:6] != MAGIC or start[6:8] not in (b"\1\0", b"\2\0", b"\3\0") or len(start) < begin:
        raise ValueError(f"{name} is no array")
    (length,) = struct.unpack(count, start[8:begin])
    if length > LONGEST_HEADER:
        raise ValueError(f"{name} has a header of {length} bytes")
    try:
        shape, _, dtype = read(io.BytesIO(start[8:]))
    except (TypeError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError) as error:
        raise ValueError(f"{name} has a header that cannot be read") from error
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, which are not unpickled")
    if dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"{name} holds records, not numbers")
    if any(isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError(f"{name} has the shape {shape}")
    return begin + length, shape, dtype


def _array(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(item) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read(1)  # the end of the file, where its checksum is compared
    return np.asarray(array)
