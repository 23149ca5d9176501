"""Files of data that lie, are odd or are too large: one line, nothing read that was not checked."""

import gzip
import io
import os
import shutil
import struct
import tarfile
import tracemalloc
import zipfile

import jax
import numpy as np
import pytest

from langevin_nn import memory
from langevin_nn.config.record import from_dict
from langevin_nn.data import image_files, published
from langevin_nn.data.dataset import Dataset
from langevin_nn.data.image_formats import CIFAR10_BATCHES, CIFAR10_RECORD
from langevin_nn.data.load import load_dataset
from langevin_nn.data.npz_files import ARRAY_NAMES, read_npz
from langevin_nn.data.published import CIFAR10_ARCHIVE, CIFAR10_FOLDER, CIFAR10_PICKLES, IDX_NAMES
from langevin_nn.runs.assemble import network_of, require_room
from langevin_nn.types import InputError, Patches

KEY = jax.random.key(0)
BOMB = 100_000_000
"""Bytes that a bomb would unpack to: far more than the tests take, and quickly made."""
MOST = 20_000_000
"""Bytes that a refusal may take."""


def refused(function, *arguments, **options):
    """The error's message, of one line; that little memory was taken for it."""
    tracemalloc.start()
    with pytest.raises(InputError) as error:
        function(*arguments, **options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MOST, f"{peak / 1e6:.0f} MB"
    assert "\n" not in str(error.value)
    return str(error.value)


def header(shape, dtype="<f8", version=(1, 0)):
    stream = io.BytesIO()
    values = {"shape": shape, "fortran_order": False, "descr": dtype}
    np.lib.format.write_array_header_1_0(stream, values)
    return stream.getvalue()[:6] + bytes(version) + stream.getvalue()[8:]


def zipped(path, content, method=zipfile.ZIP_DEFLATED):
    """An .npz whose x_train is this content."""
    x = np.random.default_rng(0).standard_normal((6, 3))
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x_train.npy", content)
        for name in ARRAY_NAMES[1:]:
            stream = io.BytesIO()
            np.save(stream, x if name[0] == "x" else x[:, 0])
            archive.writestr(f"{name}.npy", stream.getvalue())
    return path


def flipped(path, offset, value):
    """The file with another 16-bit word there, from the start of its first zip header."""
    content = bytearray(path.read_bytes())
    for magic, shift in ((b"PK\3\4", 0), (b"PK\1\2", 2)):  # the file's own header, the directory's
        start = content.index(magic) + shift + offset
        content[start : start + 2] = struct.pack("<H", value)
    path.write_bytes(content)
    return path


NPZ = {  # FAULTS 4.2 and 3.6
    "promises more than it holds": (header((10**12, 3)), "not 24000000000"),
    "holds more than it promises": (header((6, 3)) + bytes(BOMB), f"{BOMB + 128} bytes, not 272"),
    "a header without end": (b"\x93NUMPY\2\0" + struct.pack("<I", BOMB) + bytes(BOMB), "header of"),
    "a shape below zero": (header((-1, 3)), "the shape (-1, 3)"),
    "a shape of no numbers": (header(("a", 3)), "not an .npz file"),
    "objects": (header((6, 3), "|O"), "Python objects, which are not unpickled"),
    "records": (header((6, 3), [("a", "<f8")]), "records, not numbers"),
    "an unknown version": (header((6, 3), version=(9, 0)), "x_train.npy is no array"),
    "no header": (b"", "x_train.npy is no array"),
    "a header that is code": (
        b"\x93NUMPY\1\0" + struct.pack("<H", 900) + b"(" * 899 + b"\n", "not an .npz file"
    ),
    "a header that nests": (
        b"\x93NUMPY\1\0" + struct.pack("<H", 9000) + b"-" * 8998 + b"1\n", "not an .npz file"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "fragment"), NPZ.values(), ids=list(NPZ))
def test_npz_headers_are_checked_before_anything_is_read(tmp_path, content, fragment):
    assert fragment in refused(read_npz, zipped(tmp_path / "mine.npz", content))


def test_npz_that_does_not_fit_into_memory(tmp_path, monkeypatch):
    """FAULTS 4.2: a small file of zeros that unpacks to more than there is."""
    path = zipped(tmp_path / "mine.npz", header((BOMB // 8,)) + bytes(BOMB))
    assert path.stat().st_size < BOMB / 500
    monkeypatch.setattr(memory, "available_memory", lambda: BOMB // 2)
    message = refused(read_npz, path)
    assert "mine.npz with x_train" in message and "takes 0.1 GB, and 0.05 GB" in message


@pytest.mark.parametrize(
    ("offset", "value", "fragment"),
    [(8, 12, "method that NumPy does not use"), (8, 97, "method that NumPy does not use"),
     (6, 1, "is encrypted"), (14, 1, "not an .npz file"), (4, 99, "not an .npz file")],
    ids=["bzip2", "unknown method", "encrypted", "checksum", "zip version 9.9"],
)  # fmt: skip
def test_npz_with_odd_zip_headers(tmp_path, offset, value, fragment):
    """FAULTS 3.6: these were NotImplementedError, RuntimeError and the like."""
    path = flipped(zipped(tmp_path / "mine.npz", header((6, 3)) + bytes(144)), offset, value)
    assert fragment in refused(read_npz, path)


def test_npz_that_are_read(tmp_path):
    """Every way in which NumPy saves an array, and zip64."""
    x = np.arange(12.0).reshape(4, 3)
    forms = {"x_train": np.asfortranarray(x), "y_train": x[:, 0].astype(">f4"),
             "x_test": x[::2].astype(np.float16), "y_test": np.array(["a", "b"])}  # fmt: skip
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "mine.npz", **forms)
        for name, array in zip(ARRAY_NAMES, read_npz(tmp_path / "mine.npz"), strict=True):
            np.testing.assert_array_equal(array, forms[name])
    stream = io.BytesIO()
    np.lib.format.write_array(stream, x, version=(2, 0))
    with zipfile.ZipFile(tmp_path / "large.npz", "w") as archive:
        with archive.open("x_train.npy", "w", force_zip64=True) as member:
            member.write(stream.getvalue())
    np.testing.assert_array_equal(read_npz(tmp_path / "large.npz", ["x_train"])[0], x)


@pytest.mark.slow
def test_npz_with_bytes_that_were_changed(tmp_path):
    """Every one of 2,000 mutated files is read or refused in one line."""
    rng, path = np.random.default_rng(0), tmp_path / "mine.npz"
    x, labels = rng.standard_normal((6, 3)), np.array(list("abaabb"))
    for attempt in range(2_000):
        (np.savez if attempt % 2 else np.savez_compressed)(
            path, x_train=x, y_train=labels, x_test=x, y_test=labels
        )
        content = bytearray(path.read_bytes())
        for _ in range(rng.integers(1, 6)):
            place, kind = rng.integers(len(content)), rng.integers(4)
            if kind == 0:
                del content[place : place + rng.integers(1, 40)]
            elif kind == 1:
                content[place:place] = rng.bytes(rng.integers(1, 20))
            elif kind == 2:
                content[place : place + 8] = b"\xff" * 8
            else:
                content[place] = rng.integers(256)
        path.write_bytes(content)
        options = {"key": KEY, "num_train": None, "num_test": None, "classes": ("a", "b")}
        try:
            load_dataset("npz", path=path, **options)
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["a\0b.npz", "a" * 5000 + ".npz", ""])
def test_npz_with_names_that_no_file_has(tmp_path, name):
    path = f"{tmp_path}/{name}" if name else ""
    options = {"key": KEY, "num_train": None, "num_test": None}
    message = refused(load_dataset, "npz", path=path, **options)
    assert any(part in message for part in ("no file", "needs a path", "must name a file"))


def idx(shape, content=b""):
    return struct.pack(f">{len(shape) + 1}I", 0x800 + len(shape), *shape) + content


def write_mnist(place, **changes):
    """A small set of MNIST's form, 4 training and 4 test images of classes 0 and 1."""
    place.mkdir(parents=True)
    images, labels = (
        np.arange(4 * 784, dtype=np.uint32).astype(np.uint8).tobytes(),
        bytes([0, 1] * 2),
    )
    parts = [idx((4, 28, 28), images), idx((4,), labels)] * 2
    for name, content in zip(IDX_NAMES, parts, strict=True):
        (place / name).write_bytes(gzip.compress(changes.get(name, content), 1))


@pytest.mark.parametrize(
    ("file", "content", "fragment"),
    [
        (IDX_NAMES[1], idx((4,), bytes(BOMB)), "more than 12 bytes, not 12"),
        (IDX_NAMES[0], idx((4, 28, 28), bytes(BOMB)), "more than 3152 bytes"),
        (IDX_NAMES[0], idx((2**32 - 1, 28, 28)), "images (4294967295, 28, 28), labels (4,)"),
        (IDX_NAMES[2], idx((4, 2**31, 2**31)), "images (4, 2147483648, 2147483648)"),
    ],
)
def test_idx_files_are_unpacked_no_further_than_their_headers_say(
    tmp_path, file, content, fragment
):
    """FAULTS 4.2"""
    write_mnist(tmp_path / "mnist", **{file: content})
    options = {"key": KEY, "num_train": 4, "num_test": 4, "folder": tmp_path}
    assert fragment in refused(load_dataset, "mnist", **options)


def test_files_that_are_not_the_published_ones_are_named(tmp_path, monkeypatch):
    """FAULTS 4.5: packed or not, a known content is recognised; another one is used and said."""
    write_mnist(tmp_path / "mnist")
    options = {"key": KEY, "num_train": 4, "num_test": 4, "folder": tmp_path}

    def odd():
        files = load_dataset("mnist", **options).provenance
        return [file for file in files if image_files.UNPUBLISHED in file]

    assert len(odd()) == 4
    contents = [gzip.decompress((tmp_path / "mnist" / name).read_bytes()) for name in IDX_NAMES]
    hashes = tuple(image_files.hashlib.sha256(content).hexdigest() for content in contents)
    monkeypatch.setitem(published.SHA256_UNPACKED, "mnist", hashes)
    assert odd() == []
    (tmp_path / "mnist" / IDX_NAMES[0]).unlink()
    unpacked = tmp_path / "mnist" / IDX_NAMES[0].removesuffix(".gz")
    unpacked.write_bytes(contents[0])
    assert odd() == []
    unpacked.write_bytes(contents[0][:-1] + b"\1")
    assert len(odd()) == 1 and odd()[0].startswith(unpacked.name)
    listed = next(record for record in image_files.available(tmp_path) if record.name == "mnist")
    assert listed.present and listed.what.endswith(f"(not the published file: {unpacked.name})")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_in_the_place_of_one(tmp_path, monkeypatch, make):
    """A pipe would be waited for, a folder is not to be downloaded into."""
    write_mnist(tmp_path / "mnist")
    place = tmp_path / "mnist" / IDX_NAMES[1].removesuffix(".gz")
    place.unlink(missing_ok=True)
    packed = place.with_name(f"{place.name}.gz")
    packed.unlink(missing_ok=True)
    make(packed)
    message = refused(load_dataset, "mnist", num_train=2, num_test=2, folder=tmp_path, key=KEY)
    assert message.startswith(f"{packed} is no file: remove it")


def write_archive(path, members):
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_cifar10_archives_that_are_none(tmp_path, monkeypatch):
    """FAULTS 4.2: no more is unpacked than the published archive holds."""
    monkeypatch.setattr("langevin_nn.data.image_formats.LONGEST_ARCHIVE", 1_000_000)
    (tmp_path / "cifar10").mkdir()
    path = tmp_path / "cifar10" / CIFAR10_ARCHIVE
    options = {"key": KEY, "num_train": 4, "num_test": 4, "folder": tmp_path}
    write_archive(path, {"data_batch_1.bin": bytes(BOMB)})
    assert "more than 1000000 bytes" in refused(load_dataset, "cifar10", **options)
    with tarfile.open(path, "w:gz") as archive:  # a link to itself
        member = tarfile.TarInfo("data_batch_1.bin")
        member.type, member.linkname = tarfile.SYMTYPE, "data_batch_1.bin"
        archive.addfile(member)
    assert "it lacks data_batch_1.bin" in refused(load_dataset, "cifar10", **options)
    write_archive(path, dict.fromkeys(CIFAR10_BATCHES, bytes(CIFAR10_RECORD - 1)))
    assert "no multiple of 3073" in refused(load_dataset, "cifar10", **options)


def test_pickles_are_never_read(tmp_path, monkeypatch):
    """FAULTS 4.1: neither CIFAR-10's, of which it is said what to do, nor any other."""

    class Refusing:
        def __init__(self, **_):
            pass

        def __call__(self, *_):
            raise ConnectionError

    monkeypatch.setattr("pooch.HTTPDownloader", Refusing)
    options = {"key": KEY, "num_train": 4, "num_test": 4, "folder": tmp_path}
    place = tmp_path / "cifar10" / CIFAR10_PICKLES[0]
    place.mkdir(parents=True)
    for batch in CIFAR10_BATCHES:
        (place / batch.removesuffix(".bin")).write_bytes(b"cos\nabort\n(tR.")
    for message in (
        refused(load_dataset, "cifar10", **options),
        next(record.what for record in image_files.available(tmp_path) if record.name == "cifar10"),
    ):
        assert f"{CIFAR10_PICKLES[0]} is there, but pickles are never read" in message
        assert "data/README.md" in message
    shutil.rmtree(place)
    (tmp_path / "cifar10" / CIFAR10_FOLDER).mkdir()
    for batch in CIFAR10_BATCHES:
        (tmp_path / "cifar10" / CIFAR10_FOLDER / batch).write_bytes(b"cos\nabort\n(tR.")
    assert "no multiple of 3073" in refused(load_dataset, "cifar10", **options)


def test_cifar10_as_other_libraries_save_it(tmp_path):
    """FAULTS 5, Keras: labels (N, 1), as it has them; a hint for images with colours first."""
    place = tmp_path / "cifar10"
    place.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(8)[:, None] % 2
    options = {"key": KEY, "num_train": 8, "num_test": 8, "folder": tmp_path}

    def save(x, y):
        np.savez(place / "keras.npz", x_train=x, y_train=y, x_test=x, y_test=y)

    save(images, labels)
    assert load_dataset("cifar10", **options).y_train.shape == (8,)
    save(images.transpose(0, 3, 1, 2), labels)
    message = refused(load_dataset, "cifar10", **options)
    assert "(8, 3, 32, 32)" in message and "x_train.transpose(0, 2, 3, 1)" in message
    save(images / 255, labels)
    assert "images of type float64" in refused(load_dataset, "cifar10", **options)


def test_a_convolution_on_images_with_their_colours_first_is_refused(tmp_path):
    """FAULTS 5, channels first."""
    x, y = np.random.default_rng(0).standard_normal((8, 3, 16, 16)), np.arange(8.0)
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    data = load_dataset("npz", key=KEY, num_train=None, num_test=None, path=tmp_path / "mine.npz")
    config = from_dict({"network": {"architecture": "convolutional"}})
    assert "x_train.transpose(0, 2, 3, 1)" in refused(network_of, config, data, KEY)
    assert "x_train.transpose(0, 2, 3, 1)" in refused(require_room, config, data)
    assert data.in_size == 768  # as rows: a fully connected network takes them


def test_tasks_that_do_not_fit_into_memory(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 10**9)
    options = {"key": KEY, "num_train": 10**7, "num_test": 10}
    assert "takes 32 GB, and 1 GB" in refused(load_dataset, "teacher_linear", **options)


ARRAYS = {"x_train": np.ones((4, 2)), "y_train": np.arange(4.0), "x_test": np.ones((3, 2)),
          "y_test": np.arange(3.0)}  # fmt: skip


def test_a_dataset_is_a_copy(tmp_path):
    """FAULTS 1.7: of arrays, views and memory-mapped files; in C order, whatever theirs."""
    np.save(tmp_path / "x.npy", np.ones((4, 2)))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r+")
    for x in (np.ones((4, 2)), np.ones((8, 4))[::2, 1:3], np.ones((2, 4)).T, mapped):
        task = Dataset("mine", **ARRAYS | {"x_train": x})
        x *= 10
        assert (task.x_train == 1).all() and type(task.x_train) is np.ndarray
        assert task.x_train.flags.c_contiguous
        with pytest.raises(ValueError, match="WRITEABLE"):
            task.x_train.flags.writeable = True


@pytest.mark.parametrize(
    ("name", "value", "fragment"),
    [
        # FAULTS 1.9: what is masked is no number, in an array or in a list of them.
        ("x_train", np.ma.masked_equal(ARRAYS["x_train"], -999), "x_train is a masked array"),
        ("x_train", [np.ma.masked_equal([1, 2], 1)] * 4, "x_train is a masked array"),
        ("y_train", [0, 1, None, 2], "it holds None, give real numbers"),
        ("y_train", [2**70] * 4, "numbers as Python objects"),
        ("y_train", [2**60] * 4, "beyond ±1e+09"),
        ("y_train", np.array([1.0, 2, 3, 4], object), "numbers as Python objects"),
        ("y_train", np.arange(4) * 1j, "y_train.real"),
        ("y_train", np.zeros(4, [("a", int)]), "give real numbers"),
        ("y_train", np.arange(4).astype("M8[D]"), "type datetime64[D]"),
        ("y_train", list("abab"), "numpy.where"),
        ("y_train", 3.0, "one target for each example"),
        # FAULTS 5, y (80, 2, 2): it was told to become y_train.ravel(), of another length.
        ("y_train", np.ones((4, 2, 2)), "write y_train.reshape(len(y_train), -1)"),
        ("y_train", np.full(4, np.finfo(np.longdouble).max), "beyond ±1e+09"),
        ("x_train", 3.0, "a row of inputs for each example"),
        ("x_train", np.ones((4, 0)), "at least one example and one input"),
        ("x_train", {"a": 1}, "x_train has values of type object"),
        ("x_train", object(), "x_train has values of type object"),
    ],
)
def test_arrays_that_are_no_numbers(name, value, fragment):
    assert fragment in refused(Dataset, "mine", **ARRAYS | {name: value})


def test_sparse_matrices_and_missing_values():
    scipy, pandas = pytest.importorskip("scipy.sparse"), pytest.importorskip("pandas")
    message = refused(Dataset, "mine", **ARRAYS | {"x_train": scipy.csr_array(ARRAYS["x_train"])})
    assert "x_train is a sparse matrix: write x_train.toarray()" in message
    frame = pandas.DataFrame({"a": [1.0, None, 3, 4], "b": 1})
    assert "x_train has 1 value(s)" in refused(Dataset, "mine", **ARRAYS | {"x_train": frame})
    missing = pandas.array([1, None, 3, 4], dtype="Int64")
    assert "y_train has 1 value(s)" in refused(Dataset, "mine", **ARRAYS | {"y_train": missing})


def test_patches_of_images_with_their_colours_first_get_a_hint():  # FAULTS 5, channels first
    for colours in (1, 3):
        expected = rf"colours first: write x.transpose\(0, 2, 3, 1\).* \(32, 32, {colours}\)"
        with pytest.raises(InputError, match=expected):
            Patches((colours, 32, 32), 1, 1)
    assert Patches((1, 20, 8), 1, 1).num_patches == 20  # a series of eight numbers
