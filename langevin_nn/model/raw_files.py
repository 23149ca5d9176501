"""Raw files of the image data sets: where they lie, how they are fetched, what is in them.

    <folder>/mnist/           the four idx files, gzip-compressed as published or unpacked
    <folder>/fashion_mnist/   the same four names
    <folder>/cifar10/         cifar-10-batches-py/, cifar-10-python.tar.gz, or .npz files

`folder` is the argument of that name, else the environment variable LANGEVIN_NN_DATA, else `data`
in the working directory. What is absent is downloaded from the data sets' public homes and kept
only if its SHA-256 is the known one. Images and labels are integers here, as published; selection,
scale and targets are the business of `datasets.py`. Provenance and citations: data/README.md.
"""

import contextlib
import difflib
import gzip
import hashlib
import io
import logging
import math
import os
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from langevin_nn.types import InputError

IDX_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
CIFAR10_ARCHIVE = "cifar-10-python.tar.gz"
CIFAR10_BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
ARRAY_NAMES = ("x_train", "y_train", "x_test", "y_test")

HOMES = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion_mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "cifar10": "https://www.cs.toronto.edu/~kriz/",
}
FILES = {"mnist": IDX_NAMES, "fashion_mnist": IDX_NAMES, "cifar10": (CIFAR10_ARCHIVE,)}
SHA256 = {
    "mnist": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    "fashion_mnist": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    "cifar10": ("6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",),
}
TIMEOUT_SECONDS = 15

Arrays = tuple[np.ndarray, ...]  # in the order of ARRAY_NAMES


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


@dataclass(frozen=True)
class Availability:
    """Whether a source can be used without a download, where it is, what is in it, its bytes."""

    name: str
    present: bool
    where: str
    what: str
    size_bytes: int = 0


def data_folder(folder: str | Path | None = None) -> Path:
    """The folder of the data sets: the argument, else LANGEVIN_NN_DATA, else `data`."""
    return Path(folder or os.environ.get("LANGEVIN_NN_DATA") or "data").expanduser()


def fetch(name: str, folder: str | Path | None = None) -> tuple[Path, ...]:
    """Download the files of a data set from its public home into `<folder>/<name>/`.

    A file that is there with the known SHA-256 is left alone; a download takes a file's name only
    once it is complete and its SHA-256 is right. Returns the paths of the files.

    Raises `InputError` for a name that has no downloads, a folder that cannot be written, no
    network, or a file that came with another SHA-256.
    """
    if name not in HOMES:
        raise InputError(f"{name!r} has no files to fetch: write {nearest(name, HOMES)}")
    return _download(name, data_folder(folder), FILES[name])


def available(folder: str | Path | None = None) -> tuple[Availability, ...]:
    """For each source of `load_dataset` whether it can be used now. No image is decompressed."""
    root, drawn = data_folder(folder), "drawn from the key"
    return (
        Availability("digits", True, "scikit-learn", "1797 images 8×8, classes 0 to 9, one pool"),
        *(_availability(name, root / name) for name in HOMES),
        Availability("npz", True, "path", f"your own file with arrays {', '.join(ARRAY_NAMES)}"),
        Availability("teacher_linear", True, drawn, "Gaussian inputs, noisy linear teacher"),
        Availability("teacher_network", True, drawn, "Gaussian inputs, one-hidden-layer teacher"),
        Availability("random", True, drawn, "Gaussian inputs, targets that are pure noise"),
    )


def read_images(name: str, folder: str | Path | None, classes: Iterable[int]) -> RawImages:
    """The images of "mnist", "fashion_mnist" or "cifar10"; files that are absent are fetched.

    `classes` are the ones that will be used: they decide between several `.npz` copies of
    CIFAR-10, of which the one with most training examples of these classes is read.

    Raises `InputError` for files that are absent and cannot be fetched, that are damaged, or that
    lack one of the classes.
    """
    root = data_folder(folder)
    wanted = sorted(set(classes))
    if not _locate(name, root / name):
        absent = [file for file in FILES[name] if not _unpacked_or_packed(root / name, file)]
        _download(name, root, tuple(absent))
    paths = _locate(name, root / name)
    if paths[0].suffix == ".npz":
        paths = (_choose_npz(paths, wanted),)
    x_train, y_train, x_test, y_test = _read(name, paths)
    remedy = f", or run `langevin-nn data fetch {name}`" if paths[0].suffix == ".npz" else ""
    for part, labels in (("training", y_train), ("test", y_test)):
        require_classes(wanted, labels, f"the {part} part of {name} ({paths[0].name})", remedy)
    files = tuple(fingerprint(path) for path in paths)
    return RawImages(x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64), files)


def read_npz(path: Path, names: Iterable[str] = ARRAY_NAMES) -> Arrays:
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
            f"{path} is not an .npz file of plain numbers ({_reason(error)}): {advice}"
        ) from error
    if absent := [name for name in names if name not in arrays]:
        raise InputError(
            f"{path} lacks {', '.join(absent)} (it holds {', '.join(file.files)}): {advice}"
        )
    return tuple(arrays[name] for name in names)


def require_classes(
    wanted: Sequence[int], labels: np.ndarray, where: str, remedy: str = ""
) -> None:
    """Raises `InputError` if `labels`, the ones in `where`, lack one of the wanted classes."""
    if (lacking := np.setdiff1d(wanted, labels)).size:
        raise InputError(
            f"{where} has the classes {_listing(labels)}, not {_listing(lacking)}: write classes "
            f"that are there{remedy}"
        )


def fingerprint(path: Path) -> str:
    """The name of a file and the start of its SHA-256."""
    return f"{path.name} sha256:{_sha256(path)[:12]}"


def nearest(name: str, names: Iterable[str]) -> str:
    """The valid names, the one that was probably meant first."""
    names = tuple(names)
    guesses = difflib.get_close_matches(name, names, n=1)
    return "".join(f"{guess!r}, or " for guess in guesses) + f"one of {', '.join(names)}"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _listing(labels: np.ndarray) -> str:
    return ", ".join(str(label) for label in np.unique(labels))


def _reason(error: Exception) -> str:
    """Why something failed, in one short line."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return text if 0 < len(text) <= 80 else type(error).__name__


def _damaged(name: str, path: Path, detail: str) -> InputError:
    return InputError(
        f"{path} is damaged ({detail}): delete it and fetch it again with "
        f"`langevin-nn data fetch {name}`"
    )


def _download(name: str, root: Path, files: tuple[str, ...]) -> tuple[Path, ...]:
    import pooch

    place, known = root / name, dict(zip(FILES[name], SHA256[name], strict=True))
    paths = tuple(place / file for file in files)
    wanted = [path for path in paths if not path.is_file() or _sha256(path) != known[path.name]]
    created = [path for path in (place, *place.parents) if not path.exists()]
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write to the data folder {place} ({_reason(error)}): set LANGEVIN_NN_DATA to "
            "a folder that can be written"
        ) from error
    downloader = pooch.HTTPDownloader(chunk_size=2**16, timeout=TIMEOUT_SECONDS)
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        for path in wanted:
            url, sha256 = HOMES[name] + path.name, f"sha256:{known[path.name]}"
            pooch.retrieve(url, sha256, path.name, place, downloader=downloader)
    except (OSError, ValueError) as error:  # network errors are OSErrors, a wrong hash is not
        for path in created:
            with contextlib.suppress(OSError):
                path.rmdir()
        reason = _reason(error) if isinstance(error, OSError) else "it has another SHA-256"
        raise InputError(
            f"could not download {url} ({reason}): put {', '.join(path.name for path in wanted)} "
            f"into {place}, or set LANGEVIN_NN_DATA to a folder that holds {name}/, or run "
            f"`langevin-nn data fetch {name}` on a machine with network"
        ) from error
    finally:
        logger.setLevel(level)
    return paths


def _availability(name: str, place: Path) -> Availability:
    paths = _locate(name, place)
    if not paths:
        return Availability(name, False, str(place), f"absent: run `langevin-nn data fetch {name}`")
    size = sum(path.stat().st_size for path in paths)
    try:
        if name != "cifar10":
            what = _count(_read_idx(name, paths[1], ()), _read_idx(name, paths[3], ()))
        elif paths[0].suffix == ".npz":
            labels = {path.name: read_npz(path, ("y_train", "y_test")) for path in paths}
            what = "; ".join(f"{file}: {_count(*pair)}" for file, pair in labels.items())
        else:
            what = _count(np.repeat(np.arange(10), 5000), np.repeat(np.arange(10), 1000))
    except InputError as error:
        return Availability(name, False, str(place), str(error), size)
    return Availability(name, True, str(place), what, size)


def _count(y_train: np.ndarray, y_test: np.ndarray) -> str:
    held = _listing(y_train)
    return f"{y_train.size} training and {y_test.size} test examples of the classes {held}"


def _unpacked_or_packed(place: Path, file: str) -> Path | None:
    paths = (place / file, place / file.removesuffix(".gz"))
    return next((path for path in paths if path.is_file()), None)


def _locate(name: str, place: Path) -> tuple[Path, ...]:
    """The files that hold a data set, none if they are incomplete.

    The four idx files; for CIFAR-10 the six batches, else the archive of them, else .npz files.
    """
    if name != "cifar10":
        found = [_unpacked_or_packed(place, file) for file in IDX_NAMES]
        return tuple(path for path in found if path) if all(found) else ()
    batches = tuple(place / "cifar-10-batches-py" / batch for batch in CIFAR10_BATCHES)
    if all(path.is_file() for path in batches):
        return batches
    archive = place / CIFAR10_ARCHIVE
    return (archive,) if archive.is_file() else tuple(sorted(place.glob("*.npz")))


def _choose_npz(paths: tuple[Path, ...], wanted: Sequence[int]) -> Path:
    """The file that holds all wanted classes, and of those the one with most training examples."""

    def rank(path: Path) -> tuple[bool, int]:
        y_train, y_test = read_npz(path, ("y_train", "y_test"))
        complete = np.isin(wanted, y_train).all() and np.isin(wanted, y_test).all()
        return bool(complete), int(np.isin(y_train, wanted).sum())

    return max(paths, key=rank)


def _read(name: str, paths: tuple[Path, ...]) -> Arrays:
    if name != "cifar10":
        shapes: tuple[tuple[int, ...], ...] = ((28, 28), (), (28, 28), ())
        arrays = [_read_idx(name, *pair) for pair in zip(paths, shapes, strict=True)]
        item_shape: tuple[int, ...] = (28, 28)
    else:
        arrays, item_shape = list(_read_cifar10(paths)), (32, 32, 3)
    for images, labels in (arrays[:2], arrays[2:]):
        if images.shape != (labels.size, *item_shape) or labels.ndim != 1:
            raise _damaged(name, paths[0], f"images {images.shape}, labels {labels.shape}")
        if images.dtype != np.uint8 or labels.dtype.kind not in "iu":
            raise _damaged(name, paths[0], f"images {images.dtype}, labels {labels.dtype}")
    return tuple(arrays)


def _read_idx(name: str, path: Path, item_shape: tuple[int, ...]) -> np.ndarray:
    """An idx file of bytes: big-endian words 0x0800 + rank and the sizes, then the data."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(name, path, _reason(error)) from error
    start = 8 + 4 * len(item_shape)
    magic, *shape = np.frombuffer(content[:start].ljust(start, b"\0"), dtype=">u4").tolist()
    if magic != 0x0801 + len(item_shape):
        raise _damaged(name, path, f"it starts with {magic:#x}, not {0x801 + len(item_shape):#x}")
    if len(content) != start + math.prod(shape):
        raise _damaged(name, path, f"{len(content)} bytes, not {start + math.prod(shape)}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _read_cifar10(paths: tuple[Path, ...]) -> Arrays:
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
        if paths[0].name != CIFAR10_ARCHIVE:
            yield from ((path, path.name, path.read_bytes()) for path in paths)
            return
        with tarfile.open(paths[0]) as archive:
            for member in archive:
                stream = archive.extractfile(member)
                if stream and (name := PurePosixPath(member.name).name) in CIFAR10_BATCHES:
                    yield paths[0], name, stream.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise _damaged("cifar10", paths[0], _reason(error)) from error


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
        raise _damaged("cifar10", path, _reason(error)) from error
