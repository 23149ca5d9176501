"""weights.npy: the weights of all draws of a run, read without reading them all.

The manifest has the file's size, the shape and type of its array, and a checksum of blocks spread
over it, which tells another run's file from this one's. These are compared whenever it is opened.
Its SHA-256 stands beside those of the other files, and is compared where a run is checked as a
whole: a file may have far more bytes than a look at it is worth reading.
"""

import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from langevin_nn.files import Unreadable, require_file
from langevin_nn.sampling.engine.kept_weights import READ_BYTES

NAME = "weights.npy"
"""The name of the file in a run's folder."""
NUM_BLOCKS, BLOCK_BYTES = 64, 4096
"""The blocks that the quick checksum reads, the file's first and last among them."""


def described(path: Path) -> dict[str, Any]:
    """What the manifest says of the file. Raises `Unreadable` where it cannot be read."""
    array = _mapped(path)
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "bytes": path.stat().st_size,
        "blocks_sha256": _sum_of_blocks(path),
    }


def opened(path: Path, stated: Mapping[str, Any]) -> np.memmap[Any, Any]:
    """The array in the file, mapped into memory, read only.

    Raises `Unreadable` for a file that is absent, cut, or not the one that the manifest describes.
    """
    require_file(path)
    size = path.stat().st_size
    if size != stated.get("bytes"):
        raise Unreadable(f"it has {size} bytes, and the run has written {stated.get('bytes')}")
    if _sum_of_blocks(path) != stated.get("blocks_sha256"):
        raise Unreadable("it is not the file that the run has written")
    return _mapped(path)


def checksums(path: Path) -> tuple[np.ndarray, str]:
    """The CRC-32 (chains,) of all draws of each chain, and the SHA-256 of the whole file.

    The file is read once. Raises `Unreadable` where it cannot be.
    """
    array = _mapped(path)
    row_bytes = array.nbytes // len(array)
    sums = np.zeros(len(array), np.uint32)
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256(file.read(array.offset))
            for chain in range(len(array)):
                left = row_bytes
                while left:
                    content = file.read(min(left, READ_BYTES))
                    if not content:
                        raise Unreadable("it ends too early")
                    digest.update(content)
                    sums[chain] = zlib.crc32(content, int(sums[chain]))
                    left -= len(content)
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    return sums, digest.hexdigest()


def _mapped(path: Path) -> np.memmap[Any, Any]:
    require_file(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    except (ValueError, EOFError) as error:
        raise Unreadable(f"it is no array: {error}") from error
    if not isinstance(array, np.memmap):
        raise Unreadable("it holds several arrays")
    return array


def _sum_of_blocks(path: Path) -> str:
    """The SHA-256 of blocks at equal distances, or of the whole file where that is shorter."""
    digest, size = hashlib.sha256(), path.stat().st_size
    last = max(size - BLOCK_BYTES, 0)
    try:
        with path.open("rb") as file:
            for place in sorted({last * i // (NUM_BLOCKS - 1) for i in range(NUM_BLOCKS)}):
                file.seek(place)
                digest.update(file.read(BLOCK_BYTES))
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    return digest.hexdigest()
