"""Files of the image data sets: where they lie, how they are fetched, which one is read.

    <folder>/mnist/           the four idx files, gzip-compressed as published or unpacked
    <folder>/fashion_mnist/   the same four names
    <folder>/cifar10/         cifar-10-batches-bin/, cifar-10-binary.tar.gz, or .npz files

`folder` is the argument of that name, else the environment variable LANGEVIN_NN_DATA, else `data`
in the working directory, where that has one of these, or in the package's checkout; else the user's
cache, where it is for all of the user's projects. Absent files are downloaded from the data sets'
public homes and kept only if their SHA-256 is the known one. Files that are there and are not the
published ones are read, and named as such. Provenance and citations: data/README.md.
"""

import contextlib
import hashlib
import logging
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from langevin_nn.data.image_formats import (
    ARRAY_NAMES,
    CIFAR10_BATCHES,
    IMAGE_SHAPES,
    RawImages,
    decode,
    read_digits,
    read_idx,
    read_npz,
    reason,
    require_classes,
    unpacked,
)
from langevin_nn.data.published import (
    CIFAR10_ARCHIVE,
    CIFAR10_FOLDER,
    CIFAR10_PICKLES,
    FILES,
    HOMES,
    IDX_NAMES,
    LARGEST_UNPACKED,
    SHA256,
    SHA256_UNPACKED,
)
from langevin_nn.files import at_home
from langevin_nn.types import InputError
from langevin_nn.values import nearest

TIMEOUT_SECONDS = 15
"""The time after which a silent download is given up."""
UNPUBLISHED = "not the published file"
"""The remark on files whose SHA-256 is not that of the published file of their name."""


@dataclass(frozen=True)
class Availability:
    """Whether a source can be used without a download, its place, its content and its size."""

    name: str
    present: bool
    where: str
    what: str
    size_bytes: int = 0


CHECKOUT = Path(__file__).parents[2]
"""The package's checkout, where it is no installation."""


def data_folder(folder: str | Path | None = None) -> Path:
    """The folder of the data sets: the argument, else LANGEVIN_NN_DATA, else the first of these.

    `data` in the working directory, where it has a folder of one of the data sets; `data` of the
    package's checkout, if it is used from one; the user's cache, as `platformdirs` has it.
    """
    if folder is not None and folder != "":
        return at_home("folder", folder)
    if given := os.environ.get("LANGEVIN_NN_DATA"):
        return at_home("LANGEVIN_NN_DATA", given)
    if any(Path("data", name).is_dir() for name in HOMES):
        return Path("data")
    if (CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "data/README.md").is_file():
        return CHECKOUT / "data"
    return platformdirs.user_cache_path("langevin_nn") / "data"


def fetch(name: str, folder: str | Path | None = None) -> tuple[Path, ...]:
    """Download the files of a data set from its public home into `<folder>/<name>/`.

    A file that is there with the known SHA-256 is left alone; a download takes a file's name only
    once it is complete and its SHA-256 is right. Returns the paths of the files.

    Raises `InputError` for a name that has no downloads, a folder that cannot be written, no
    network, or a file that came with another SHA-256.
    """
    if name not in HOMES:
        hint = nearest(name, HOMES) or ":"
        raise InputError(f"{name!r} has no files to fetch{hint} write one of {', '.join(HOMES)}")
    return _download(name, data_folder(folder), FILES[name])


def available(folder: str | Path | None = None) -> tuple[Availability, ...]:
    """The availability of each source of `load_dataset`; no image is decompressed."""
    root, drawn = data_folder(folder), "drawn from the key"
    return (
        Availability("digits", True, "scikit-learn", "1797 images 8×8, classes 0-9, one pool"),
        *(_availability(name, root / name) for name in HOMES),
        Availability("npz", True, "path", f"your own file with arrays {', '.join(ARRAY_NAMES)}"),
        Availability("teacher_linear", True, drawn, "Gaussian inputs, noisy linear teacher"),
        Availability("teacher_network", True, drawn, "Gaussian inputs, one-hidden-layer teacher"),
        Availability("random", True, drawn, "Gaussian inputs, targets that are pure noise"),
    )


def read_images(name: str, folder: str | Path | None, classes: Iterable[int]) -> RawImages:
    """The images of "digits" or of a key of HOMES; files that are absent are fetched.

    `classes` are the ones that will be used: they decide between several `.npz` copies of
    CIFAR-10, of which the one with most training examples of these classes is read.

    Raises `InputError` for files that are absent and cannot be fetched, that are damaged, or that
    lack one of the classes.
    """
    wanted = sorted(set(classes))
    if name == "digits":
        raw = read_digits()
        require_classes(wanted, raw.y_train, name)
        return raw
    root = data_folder(folder)
    if not _locate(name, root / name):
        absent = [file for file in FILES[name] if not _existing_file(root / name, file)]
        _download(name, root, tuple(absent))
    paths = _locate(name, root / name)
    if paths[0].suffix == ".npz":
        paths = (_choose_npz(paths, wanted),)
    x_train, y_train, x_test, y_test = decode(name, paths)
    remedy = f", or run `langevin-nn data fetch {name}`" if paths[0].suffix == ".npz" else ""
    for part, labels in (("training", y_train), ("test", y_test)):
        require_classes(wanted, labels, f"the {part} part of {name} ({paths[0].name})", remedy)
    files = tuple(_with_remark(name, path) for path in paths)
    return RawImages(x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64), files)


def fingerprint(path: Path) -> str:
    """The name of a file and the start of its SHA-256: equal as long as no byte has changed."""
    return f"{path.name} sha256:{_sha256(path)[:12]}"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _with_remark(name: str, path: Path) -> str:
    """The fingerprint of a file, with a remark if it is not the published file of its name."""
    remark = "" if _is_published(name, path) else f" ({UNPUBLISHED})"
    return f"{fingerprint(path)}{remark}"


def _is_published(name: str, path: Path) -> bool:
    """Whether a file of a known name has the published content, packed or not.

    True also for copies in `.npz` files, which are users' own, and for CIFAR-10's single batches,
    whose checksums are not published.
    """
    if path.suffix in (".npz", ".bin"):
        return True
    index = [file.removesuffix(".gz") for file in FILES[name]].index(path.name.removesuffix(".gz"))
    if name not in SHA256_UNPACKED or _sha256(path) == SHA256[name][index]:
        return _sha256(path) == SHA256[name][index]
    content = hashlib.sha256()
    try:
        with unpacked(path) as stream:
            for _ in range(LARGEST_UNPACKED // 2**20 + 1):
                content.update(stream.read(2**20))
            complete = not stream.read(1)
    except (OSError, EOFError, zlib.error):
        return False
    return complete and content.hexdigest() == SHA256_UNPACKED[name][index]


def _download(name: str, root: Path, files: tuple[str, ...]) -> tuple[Path, ...]:
    import pooch

    folder, checksums = root / name, dict(zip(FILES[name], SHA256[name], strict=True))
    paths = tuple(folder / file for file in files)
    missing = [
        path for path in paths if not path.is_file() or _sha256(path) != checksums[path.name]
    ]
    for path in missing:  # a pipe would be waited for without end
        if os.path.lexists(path) and not path.is_file():
            raise InputError(f"{path} is no file: remove it, or put the file of that name there")
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write to the data folder {folder} ({reason(error)}): set LANGEVIN_NN_DATA to "
            "a folder that can be written"
        ) from error
    downloader = pooch.HTTPDownloader(chunk_size=2**16, timeout=TIMEOUT_SECONDS)
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        for path in missing:
            url, sha256 = HOMES[name] + path.name, f"sha256:{checksums[path.name]}"
            pooch.retrieve(url, sha256, path.name, folder, downloader=downloader)
    except (OSError, ValueError) as error:  # network errors are OSErrors, a wrong hash is not
        for path in created:
            with contextlib.suppress(OSError):
                path.rmdir()
        cause = reason(error) if isinstance(error, OSError) else "it has another SHA-256"
        raise InputError(
            f"could not download {url} ({cause}): put {', '.join(path.name for path in missing)} "
            f"into {folder}, or set LANGEVIN_NN_DATA to a folder that holds {name}/, or run "
            f"`langevin-nn data fetch {name}` on a machine with network{_advice_on_pickles(folder)}"
        ) from error
    finally:
        logger.setLevel(level)
    return paths


def _advice_on_pickles(place: Path) -> str:
    """The advice on CIFAR-10's pickled batches, empty where there are none."""
    pickled = next((pickles for pickles in CIFAR10_PICKLES if (place / pickles).exists()), None)
    if place.name != "cifar10" or pickled is None:
        return ""
    return (
        f" ({pickled} is there, but pickles are never read, because they can run anything: "
        "data/README.md has the lines that turn them into an .npz)"
    )


def _availability(name: str, place: Path) -> Availability:
    paths = _locate(name, place)
    if not paths:
        content = f"absent: run `langevin-nn data fetch {name}`{_advice_on_pickles(place)}"
        return Availability(name, False, str(place), content)
    size = sum(path.stat().st_size for path in paths)
    try:
        content = _contents(name, paths)
        if unpublished := [path.name for path in paths if not _is_published(name, path)]:
            content += f" ({UNPUBLISHED}: {', '.join(unpublished)})"
    except InputError as error:
        return Availability(name, False, str(place), str(error), size)
    return Availability(name, True, str(place), content, size)


def _contents(name: str, paths: tuple[Path, ...]) -> str:
    """The numbers and classes of a set's images in words, from the labels.

    For CIFAR-10's archive and batches they are those of the published set.
    """
    labels: list[tuple[np.ndarray, ...]]
    if name != "cifar10":
        labels = [(read_idx(name, paths[1], 1), read_idx(name, paths[3], 1))]
    elif paths[0].suffix == ".npz":
        labels = [read_npz(path, ("y_train", "y_test")) for path in paths]
    else:
        return "50000 + 10000 images 32×32, classes 0-9"
    height, width, *_ = IMAGE_SHAPES[name]
    return "; ".join(
        f"{y_train.size} + {y_test.size} images {height}×{width}, classes {_class_range(y_train)}"
        for y_train, y_test in labels
    )


def _class_range(labels: np.ndarray) -> str:
    classes = np.unique(labels).tolist()
    return "0-9" if classes == [*range(10)] else ", ".join(map(str, classes))


def _existing_file(place: Path, file: str) -> Path | None:
    paths = (place / file, place / file.removesuffix(".gz"))
    return next((path for path in paths if path.is_file()), None)


def _locate(name: str, place: Path) -> tuple[Path, ...]:
    """The files that hold a data set; none if they are incomplete.

    They are the four idx files; for CIFAR-10 the six batches, else their archive, else .npz files.
    """
    if name != "cifar10":
        files = [_existing_file(place, file) for file in IDX_NAMES]
        return tuple(path for path in files if path) if all(files) else ()
    batches = tuple(place / CIFAR10_FOLDER / batch for batch in CIFAR10_BATCHES)
    if all(path.is_file() for path in batches):
        return batches
    archive = place / CIFAR10_ARCHIVE
    return (archive,) if archive.is_file() else tuple(sorted(place.glob("*.npz")))


def _choose_npz(paths: tuple[Path, ...], wanted: Sequence[int]) -> Path:
    """The file with most training examples of the wanted classes, among those with all of them."""

    def rank(path: Path) -> tuple[bool, int]:
        y_train, y_test = read_npz(path, ("y_train", "y_test"))
        complete = np.isin(wanted, y_train).all() and np.isin(wanted, y_test).all()
        return bool(complete), int(np.isin(y_train, wanted).sum())

    return max(paths, key=rank)
