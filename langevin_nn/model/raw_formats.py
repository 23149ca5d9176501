"""Formats of image files: from bytes to labelled images, and from these to plain numbers.

    idx      MNIST and Fashion-MNIST: big-endian words 0x0800 + rank and the sizes, then bytes
    batches  CIFAR-10: six pickles of Python 2, as files or in one tar archive, colours in planes
    npz      the arrays of ARRAY_NAMES, as `numpy.savez` writes them
    digits   scikit-learn's own, in its package

Images and labels are integers here, as published. Which file is read is the business of
`raw_files.py`; what is selected from it, and its targets, that of `datasets.py`.
"""

import gzip
import io
import math
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from langevin_nn.types import InputError

ARRAY_NAMES = ("x_train", "y_train", "x_test", "y_test")
IMAGE_SHAPES = {"mnist": (28, 28), "fashion_mnist": (28, 28), "cifar10": (32, 32, 3)}
CIFAR10_BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
LUMA = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R BT.601
GREY_SIZE = 28

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
    if name == "cifar10":
        x_train, y_train, x_test, y_test = _read_cifar10(paths)
    else:
        x_train, y_train, x_test, y_test = (
            read_idx(name, path, rank) for path, rank in zip(paths, (3, 1, 3, 1), strict=True)
        )
    for images, labels, path in ((x_train, y_train, paths[0]), (x_test, y_test, paths[-1])):
        if images.shape != (labels.size, *IMAGE_SHAPES[name]) or labels.ndim != 1:
            raise _damaged(name, path, f"images {images.shape}, labels {labels.shape}")
        if images.dtype != np.uint8 or labels.dtype.kind not in "iu":
            raise _damaged(name, path, f"images {images.dtype}, labels {labels.dtype}")
    return x_train, y_train, x_test, y_test


def read_digits() -> RawImages:
    """scikit-learn's 1797 handwritten digits, 8×8 pixels from 0 to 16, training and test in one.

    E. Alpaydin, C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning
    Repository (1998), the test part.
    """
    import sklearn
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.int64)
    provenance = (f"scikit-learn {sklearn.__version__} load_digits",)
    return RawImages(images, labels, images, labels, provenance, white=16)


def read_npz(path: Path, names: Iterable[str] = ARRAY_NAMES) -> tuple[np.ndarray, ...]:
    """The named arrays of an `.npz` file; pickled objects are refused.

    Raises `InputError` for a file that is not there or cannot be read, and for a missing array.
    """
    advice = "save it with numpy.savez(path, x_train=…, y_train=…, x_test=…, y_test=…)"
    if not path.is_file():
        raise InputError(f"there is no file {path}: write the path of an .npz file, or {advice}")
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("one array without a name")
            arrays = {name: file[name] for name in names if name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path} is not an .npz file of plain numbers ({reason(error)}): {advice}"
        ) from error
    if absent := [name for name in names if name not in arrays]:
        raise InputError(
            f"{path} lacks {', '.join(absent)} (it holds {', '.join(file.files)}): {advice}"
        )
    return tuple(arrays[name] for name in names)


def read_idx(name: str, path: Path, rank: int) -> UInt8[np.ndarray, "..."]:
    """The array of `rank` dimensions in an idx file of the data set `name`, packed or not."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(name, path, reason(error)) from error
    start = 4 + 4 * rank
    magic, *shape = np.frombuffer(content[:start].ljust(start, b"\0"), dtype=">u4").tolist()
    if magic != 0x0800 + rank:
        raise _damaged(name, path, f"it starts with {magic:#x}, not {0x800 + rank:#x}")
    if len(content) != start + math.prod(shape):
        raise _damaged(name, path, f"{len(content)} bytes, not {start + math.prod(shape)}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def require_classes(
    wanted: Sequence[int], labels: np.ndarray, where: str, remedy: str = ""
) -> None:
    """Raises `InputError` if `labels`, the ones in `where`, lack one of the wanted classes."""
    if (lacking := np.setdiff1d(wanted, labels)).size:
        held, absent = (", ".join(map(str, np.unique(each))) for each in (labels, lacking))
        raise InputError(
            f"{where} has the classes {held}, not {absent}: write classes that are there{remedy}"
        )


def as_images(images: UInt8[np.ndarray, "P H W *C"], colour: bool) -> Float[np.ndarray, "P h w *c"]:
    """Images as float64, on their own scale; in grey and 28×28 unless `colour`."""
    if images.ndim == 4 and not colour:
        grey = sum(weight * images[..., channel] for channel, weight in enumerate(LUMA))
        average = _area_average(images.shape[1], GREY_SIZE)
        images = average @ grey @ average.T
    return images.astype(np.float64)


def reason(error: Exception) -> str:
    """Why something failed, in one short line."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return text if 0 < len(text) <= 80 else type(error).__name__


def _damaged(name: str, path: Path, detail: str) -> InputError:
    return InputError(
        f"{path} is damaged ({detail}): delete it and fetch it again with "
        f"`langevin-nn data fetch {name}`"
    )


def _area_average(size: int, new_size: int) -> Float[np.ndarray, "new_size size"]:
    """Row i holds the shares that the old pixels have in the area of new pixel i; its sum is 1."""
    edges = np.arange(new_size + 1)[:, None] * size / new_size
    old = np.arange(size)
    overlap = np.minimum(edges[1:], old + 1) - np.maximum(edges[:-1], old)
    return np.maximum(overlap, 0) * new_size / size


def _read_cifar10(paths: tuple[Path, ...]) -> tuple[np.ndarray, ...]:
    if paths[0].suffix == ".npz":
        return read_npz(paths[0])
    batches = {name: _read_batch(path, content) for path, name, content in _batches(paths)}
    if absent := [batch for batch in CIFAR10_BATCHES if batch not in batches]:
        raise _damaged("cifar10", paths[0], f"it lacks {', '.join(absent)}")
    *train, test = [batches[batch] for batch in CIFAR10_BATCHES]
    images, labels = zip(*train, strict=True)
    return np.concatenate(images), np.concatenate(labels), *test


def _batches(paths: tuple[Path, ...]) -> Iterator[tuple[Path, str, bytes]]:
    """File, name and content of each batch, in the folder or in the archive."""
    try:
        if paths[0].suffix != ".gz":
            yield from ((path, path.name, path.read_bytes()) for path in paths)
            return
        with tarfile.open(paths[0]) as archive:
            for member in archive:
                stream = archive.extractfile(member)
                if stream and (name := PurePosixPath(member.name).name) in CIFAR10_BATCHES:
                    yield paths[0], name, stream.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise _damaged("cifar10", paths[0], reason(error)) from error


class _BatchUnpickler(pickle.Unpickler):
    """Rebuilds the arrays of a CIFAR-10 batch (a pickle of Python 2); calls nothing else."""

    known = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): lambda code, *_flags: np.dtype(code, copy=True),
        ("numpy.core.multiarray", "_reconstruct"): lambda _kind, shape, _code: np.empty(shape),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise pickle.UnpicklingError(f"it calls {module}.{name}")
        return self.known[module, name]


def _read_batch(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) and labels (N,) of a batch, whose rows are three colour planes."""
    try:
        batch = _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
        images = np.asarray(batch[b"data"]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return images, np.asarray(batch[b"labels"])
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError) as error:
        raise _damaged("cifar10", path, reason(error)) from error
