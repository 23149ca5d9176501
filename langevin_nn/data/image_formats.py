"""Formats of image files: from bytes to labelled images, and from these to plain numbers.

    idx      MNIST and Fashion-MNIST: big-endian words 0x0800 + rank and the sizes, then bytes
    batches  CIFAR-10: six binary files, as such or in one tar archive, of records of 3073 bytes:
             the label, then the planes of red, green and blue
    npz      the arrays of ARRAY_NAMES (`npz_files.py`)
    digits   scikit-learn's own, in its package

Images and labels are integers here, as published. Sizes are checked where they are stated, before
anything is read or unpacked, and nothing is ever unpickled. `image_files.py` chooses the file that
is read, `load.py` the examples that are taken from it, and their targets.
"""

import gzip
import io
import math
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float, Int, UInt8

from langevin_nn.data.npz_files import ARRAY_NAMES, read_npz, reason
from langevin_nn.memory import require_memory
from langevin_nn.types import InputError

__all__ = ["ARRAY_NAMES", "read_npz", "reason"]

IMAGE_SHAPES = {"mnist": (28, 28), "fashion_mnist": (28, 28), "cifar10": (32, 32, 3)}
CIFAR10_BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
CIFAR10_RECORD = 1 + 3 * 32 * 32
"""The bytes of a record of CIFAR-10: a label and its image."""
LONGEST_ARCHIVE = 6 * 10_000 * CIFAR10_RECORD + 1_000_000
"""The most bytes of CIFAR-10's unpacked tar archive: the batches, and ample space for the rest."""
LUMA = (0.299, 0.587, 0.114)
"""The weights of red, green and blue in grey: ITU-R BT.601."""
GREY_SIZE = 28
"""The height and width of grey images."""

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # in the order of ARRAY_NAMES


@dataclass(frozen=True)
class RawImages:
    """Labelled images as published: H×W pixels from 0 to `white`, colours (if any) last.

    `files` names the files that they came from, with the start of their SHA-256.
    """

    x_train: UInt8[np.ndarray, "N H W *C"]
    y_train: Int[np.ndarray, " N"]
    x_test: UInt8[np.ndarray, "N_test H W *C"]
    y_test: Int[np.ndarray, " N_test"]
    files: tuple[str, ...]
    white: int = 255


def decode(name: str, paths: tuple[Path, ...]) -> Arrays:
    """Images and labels of "mnist", "fashion_mnist" or "cifar10" from the files that hold them.

    Raises `InputError` for a file that is damaged or holds something else.
    """
    if paths[0].suffix == ".npz":
        return _read_images_npz(name, paths[0])
    if name == "cifar10":
        return _read_cifar10(paths)
    shapes = [idx_shape(name, path, rank) for path, rank in zip(paths, (3, 1, 3, 1), strict=True)]
    for images, labels, path in zip(shapes[::2], shapes[1::2], paths[::3], strict=True):
        if images != (*labels, *IMAGE_SHAPES[name]):
            raise _damaged(name, path, f"images {images}, labels {labels}")
    x_train, y_train, x_test, y_test = (
        read_idx(name, path, len(shape)) for path, shape in zip(paths, shapes, strict=True)
    )
    return x_train, y_train, x_test, y_test


def read_digits() -> RawImages:
    """The 1797 handwritten digits of scikit-learn, 8×8 pixels from 0 to 16, one pool for all uses.

    E. Alpaydin, C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning
    Repository (1998), the test part.
    """
    import sklearn
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.int64)
    provenance = (f"scikit-learn {sklearn.__version__} load_digits",)
    return RawImages(images, labels, images, labels, provenance, white=16)


def idx_shape(name: str, path: Path, rank: int) -> tuple[int, ...]:
    """The shape that an idx file of the data set `name` states, packed or not."""
    try:
        with unpacked(path) as stream:
            return _idx_header(name, path, stream, rank)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(name, path, reason(error)) from error


def read_idx(name: str, path: Path, rank: int) -> UInt8[np.ndarray, "..."]:
    """The array of `rank` dimensions in an idx file of the data set `name`, packed or not."""
    try:
        with unpacked(path) as stream:
            shape = _idx_header(name, path, stream, rank)
            size = math.prod(shape)
            require_memory(size, path.name, _fetch_again(name))
            content, rest = stream.read(size), stream.read(1)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(name, path, reason(error)) from error
    if len(content) != size or rest:
        start = 4 + 4 * rank
        length = f"more than {start + size}" if rest else f"{start + len(content)}"
        raise _damaged(name, path, f"{length} bytes, not {start + size}")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def unpacked(path: Path) -> io.BufferedIOBase:
    """A stream of a file's content, which is unpacked while it is read if it is compressed."""
    return gzip.GzipFile(path) if path.suffix == ".gz" else path.open("rb")


def as_images(images: UInt8[np.ndarray, "P H W *C"], colour: bool) -> Float[np.ndarray, "P h w *c"]:
    """The images as float64, on their own scale; in grey and 28×28 unless `colour`."""
    if images.ndim == 4 and not colour:
        grey = sum(weight * images[..., channel] for channel, weight in enumerate(LUMA))
        average = _area_average(images.shape[1], GREY_SIZE)
        images = average @ grey @ average.T
    return images.astype(np.float64)


def require_classes(
    wanted: Sequence[int], labels: np.ndarray, where: str, remedy: str = ""
) -> None:
    """Raise `InputError` if `labels`, those of `where`, lack one of the wanted classes."""
    if (lacking := np.setdiff1d(wanted, labels)).size:
        present, absent = (", ".join(map(str, np.unique(classes))) for classes in (labels, lacking))
        raise InputError(
            f"{where} has the classes {present}, not {absent}: write classes that are there{remedy}"
        )


def _fetch_again(name: str) -> str:
    return f"delete it and fetch it again with `langevin-nn data fetch {name}`"


def _damaged(name: str, path: Path, detail: str) -> InputError:
    return InputError(f"{path} is damaged ({detail}): {_fetch_again(name)}")


def _idx_header(name: str, path: Path, stream: io.BufferedIOBase, rank: int) -> tuple[int, ...]:
    start = stream.read(4 + 4 * rank).ljust(4 + 4 * rank, b"\0")
    magic, *shape = np.frombuffer(start, dtype=">u4").tolist()
    if magic != 0x0800 + rank:
        raise _damaged(name, path, f"it starts with {magic:#x}, not {0x800 + rank:#x}")
    return tuple(shape)


def _area_average(size: int, new_size: int) -> Float[np.ndarray, "new_size size"]:
    """The matrix of averages over areas: row i has the shares of the old pixels in new pixel i."""
    edges = np.arange(new_size + 1)[:, None] * size / new_size
    old = np.arange(size)
    overlap = np.minimum(edges[1:], old + 1) - np.maximum(edges[:-1], old)
    return np.maximum(overlap, 0) * new_size / size


def _read_images_npz(name: str, path: Path) -> Arrays:
    """The arrays of an .npz copy of a data set; labels (N, 1), as in Keras, are taken as (N,)."""
    x_train, y_train, x_test, y_test = read_npz(path)
    y_train, y_test = (y[:, 0] if y.shape[1:] == (1,) else y for y in (y_train, y_test))
    shape = IMAGE_SHAPES[name]
    for part, images, labels in (("train", x_train, y_train), ("test", x_test, y_test)):
        advice = f"save x_{part} as uint8 of shape (N, {', '.join(map(str, shape))})"
        if images.shape[1:] == (shape[-1], *shape[:-1]):
            advice = f"its colours come first, write x_{part}.transpose(0, 2, 3, 1)"
        if images.shape != (labels.size, *shape) or labels.ndim != 1:
            raise InputError(
                f"{path} has images {images.shape} and labels {labels.shape}: {advice} and "
                f"y_{part} as whole numbers of shape (N,)"
            )
        if images.dtype != np.uint8 or labels.dtype.kind not in "iu":
            raise InputError(
                f"{path} has images of type {images.dtype} and labels of type {labels.dtype}: "
                f"{advice} and y_{part} as whole numbers of shape (N,)"
            )
    return x_train, y_train, x_test, y_test


def _read_cifar10(paths: tuple[Path, ...]) -> Arrays:
    batches = {name: _read_batch(path, content) for path, name, content in _batches(paths)}
    if absent := [batch for batch in CIFAR10_BATCHES if batch not in batches]:
        raise _damaged("cifar10", paths[0], f"it lacks {', '.join(absent)}")
    *train, test = [batches[batch] for batch in CIFAR10_BATCHES]
    images, labels = zip(*train, strict=True)
    return np.concatenate(images), np.concatenate(labels), *test


def _batches(paths: tuple[Path, ...]) -> Iterator[tuple[Path, str, bytes]]:
    """The file, name and content of each batch, from the folder or from the archive."""
    require_memory(
        2 * LONGEST_ARCHIVE, "cifar10", "use another data set, or an .npz of fewer images"
    )
    try:
        if paths[0].suffix != ".gz":
            for path in paths:
                if path.stat().st_size > LONGEST_ARCHIVE:
                    raise _damaged("cifar10", path, f"{path.stat().st_size} bytes")
                yield path, path.name, path.read_bytes()
            return
        with unpacked(paths[0]) as stream:
            content = stream.read(LONGEST_ARCHIVE + 1)
        if len(content) > LONGEST_ARCHIVE:
            raise _damaged("cifar10", paths[0], f"more than {LONGEST_ARCHIVE} bytes")
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                stream_of = archive.extractfile(member) if member.isreg() else None
                if stream_of and (name := PurePosixPath(member.name).name) in CIFAR10_BATCHES:
                    yield paths[0], name, stream_of.read()
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise _damaged("cifar10", paths[0], reason(error)) from error


def _read_batch(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The images (N, 32, 32, 3) and labels (N,) of a batch of records."""
    if not content or len(content) % CIFAR10_RECORD:
        detail = f"{len(content)} bytes, no multiple of {CIFAR10_RECORD}"
        raise _damaged("cifar10", path, detail)
    records = np.frombuffer(content, np.uint8).reshape(-1, CIFAR10_RECORD)
    if (highest := int(records[:, 0].max())) > 9:
        raise _damaged("cifar10", path, f"a label {highest}, not 0 to 9")
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, records[:, 0]
