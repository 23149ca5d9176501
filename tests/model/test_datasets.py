"""Data sets: what is selected, what the numbers are, and what bad input is told."""

import gzip
import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.special import erf

from langevin_nn.model import raw_files
from langevin_nn.model.datasets import SOURCES, Dataset, load_dataset
from langevin_nn.model.raw_files import available, fetch, read_images
from langevin_nn.types import InputError

KEY = jax.random.key(7)
EVEN_ODD = ((0, 2, 4, 6, 8), (1, 3, 5, 7, 9))
LABEL_COUNTS = {  # classes 0 … 9 of MNIST
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


def digits(**changes):
    return load_dataset("digits", **{"key": KEY, "num_train": 100, "num_test": 200, **changes})


def rows(x):
    """Each row of inputs as a hashable value."""
    return [row.tobytes() for row in np.ascontiguousarray(x)]


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in raw_files.ARRAY_NAMES
    )


def arrays(**changes):
    """A good task of 6 training and 4 test examples of 3 inputs."""
    rng = np.random.default_rng(0)
    good = {
        "x_train": rng.standard_normal((6, 3)),
        "y_train": np.array([1.0, -1.0, 1.0, -1.0, 1.0, 1.0]),
        "x_test": rng.standard_normal((4, 3)),
        "y_test": np.array([1.0, -1.0, 1.0, -1.0]),
    }
    return {**good, **changes}


def with_value(array, index, value):
    array = array.copy()
    array[index] = value
    return array


def assert_told(error, *fragments):
    message = str(error.value)
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message


# Dataset


def test_dataset_keeps_anything_numeric_as_read_only_float64():
    good = arrays()
    for convert in (np.ndarray.tolist, lambda a: jnp.asarray(a, jnp.float32), np.asarray):
        task = Dataset("mine", **{name: convert(array) for name, array in good.items()})
        assert (task.in_size, task.num_train, task.num_test) == (3, 6, 4)
        for name, array in good.items():
            kept = getattr(task, name)
            assert type(kept) is np.ndarray and kept.dtype == np.float64
            np.testing.assert_allclose(kept, array, rtol=1e-6)
            with pytest.raises(ValueError, match="read-only"):
                kept[0] = 0.0
    assert good["x_train"].flags.writeable
    assert Dataset("mine", **arrays(y_train=[0, 3, 1, 1, 1, 1])).targets_midpoint == 1.5


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"y_train": np.ones((6, 1))}, ["y_train has shape (6, 1)", "y_train.ravel()"]),
        ({"y_test": np.ones((4, 1))}, ["y_test has shape (4, 1)", "y_test.ravel()"]),
        ({"x_train": np.ones((6, 3, 1))}, ["(6, 3, 1)", "x_train.reshape(len(x_train), -1)"]),
        ({"x_test": np.ones(3)}, ["x_test has shape (3,)", "(examples, inputs)"]),
        ({"y_train": np.arange(5.0)}, ["x_train has 6 examples", "y_train has 5"]),
        ({"y_test": np.arange(5.0)}, ["x_test has 4 examples", "y_test has 5"]),
        ({"x_test": np.ones((4, 2))}, ["x_train has 3 inputs", "x_test has 2"]),
        ({"x_test": np.ones((0, 3)), "y_test": []}, ["x_test has shape (0, 3)", "at least one"]),
        ({"y_train": np.full(6, 2.0)}, ["all 6 training targets equal 2", "num_train"]),
        ({"y_train": list("aababb")}, ["y_train has values of type <U1", "real numbers"]),
        ({"x_train": np.ones((6, 3)) * 1j}, ["complex128"]),
        ({"x_train": [[1.0, 2.0], [1.0]]}, ["x_train is ragged"]),
        (
            {"x_train": with_value(np.ones((6, 3)), (slice(2, 4), 1), np.nan)},
            ["x_train has 2 value(s)", "first in row 2 "],
        ),
        ({"y_test": [0, 1, np.inf, 0]}, ["y_test has 1 value(s)", "infinite", "row 2 "]),
    ],
)
def test_dataset_refuses(changes, fragments):
    with pytest.raises(InputError) as error:
        Dataset("mine", **arrays(**changes))
    assert_told(error, *fragments)


# Selection, on the digits


def test_digits_are_the_published_ones_with_their_targets_and_disjoint():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    label_of = dict(zip(rows(images / 16), labels, strict=True))
    task = digits(classes=(3, 8), targets=(-2.0, 5.0), standardize=False)
    assert task.provenance[0].startswith("scikit-learn")
    for x, y in ((task.x_train, task.y_train), (task.x_test, task.y_test)):
        expected = [{3: -2.0, 8: 5.0}[label_of[row]] for row in rows(x)]
        np.testing.assert_array_equal(y, expected)
    everything = rows(task.x_train) + rows(task.x_test)
    assert len(set(everything)) == 300
    # In random order: the published order of the same examples is another one.
    published = [row for row in rows(images / 16) if row in set(rows(task.x_train))]
    assert rows(task.x_train) != published


def test_groups_of_classes_and_all_of_the_pool():
    task = digits(classes=EVEN_ODD, num_train=None, num_test=897, standardize=False)
    assert (task.num_train, task.num_test) == (900, 897)
    assert len(set(rows(task.x_train) + rows(task.x_test))) == 1797  # no two digits are equal
    y = np.concatenate([task.y_train, task.y_test])
    assert (y == -1).sum() == 178 + 177 + 181 + 181 + 174  # scikit-learn's 0, 2, 4, 6, 8
    assert digits(classes=EVEN_ODD, num_train=900, num_test=None).num_test == 897


@pytest.mark.parametrize("source", ["digits", "teacher_linear", "teacher_network", "random"])
def test_each_set_keeps_its_first_examples_when_the_other_or_itself_grows(source):
    common = {"key": KEY, "standardize": False, "noise_variance": 0.5, "in_size": 8}
    small = load_dataset(source, num_train=30, num_test=40, **common)
    large = load_dataset(source, num_train=90, num_test=170, **common)
    np.testing.assert_array_equal(large.x_train[:30], small.x_train)
    np.testing.assert_array_equal(large.x_test[:40], small.x_test)
    np.testing.assert_allclose(large.y_train[:30], small.y_train, rtol=1e-12)
    np.testing.assert_allclose(large.y_test[:40], small.y_test, rtol=1e-12)


def test_standardized_by_one_mean_and_one_deviation_of_the_training_pixels():
    raw, task = digits(standardize=False), digits()
    mean, deviation = np.mean(raw.x_train), np.std(raw.x_train)
    np.testing.assert_allclose(task.x_train, (raw.x_train - mean) / deviation, rtol=1e-12)
    np.testing.assert_allclose(task.x_test, (raw.x_test - mean) / deviation, rtol=1e-12)
    assert abs(task.x_train.mean()) < 1e-12 and abs(task.x_train.std() - 1) < 1e-12
    assert raw.x_train.min() == 0 and raw.x_train.max() == 1


def test_everything_depends_on_the_key_alone():
    for source in ("digits", "teacher_network", "random"):

        def load(key, source=source):
            return load_dataset(source, key=key, num_train=20, num_test=20)

        first = load(KEY)
        np.random.default_rng().random()
        with jax.enable_x64(not jax.config.jax_enable_x64):
            assert same(first, load(jax.random.key(7)))
        assert same(first, load(jax.random.PRNGKey(7)))
        assert not same(first, load(jax.random.key(8)))


# Teachers


def test_the_teachers_are_what_they_say():
    common = {"key": KEY, "num_train": 4000, "num_test": 4000, "standardize": False, "in_size": 20}

    noisy = load_dataset("teacher_linear", noise_variance=0.25, **common)
    clean = load_dataset("teacher_linear", **common)
    weights, *_ = np.linalg.lstsq(clean.x_train, clean.y_train)
    np.testing.assert_allclose(noisy.y_test, noisy.x_test @ weights, atol=1e-10)
    assert 1 / 3 < np.mean((weights * np.sqrt(20)) ** 2) < 3  # chi² of 20: 5 standard errors
    noise = noisy.y_train - clean.y_train
    assert abs(noise.mean()) < 5 * 0.5 / np.sqrt(4000)
    assert abs(noise.var() - 0.25) < 5 * 0.25 * np.sqrt(2 / 4000)
    assert abs(clean.x_train.var() - 1) < 5 * np.sqrt(2 / clean.x_train.size)

    # Over inputs and teachers E[y²] = E[erf(√q z)²] with q ≈ 1: (2/π) arcsin(2/3).
    powers = []
    for seed in range(200):
        few = {**common, "key": jax.random.key(seed), "num_train": 20, "num_test": 20}
        task = load_dataset("teacher_network", teacher_width=50, **{**few, "in_size": 400})
        powers.append(np.mean(task.y_test**2))
    expected = 2 / np.pi * np.arcsin(2 / 3)
    assert abs(np.mean(powers) - expected) < 5 * np.std(powers) / np.sqrt(200)
    # One input and one hidden unit: y is v erf(w x), exactly.
    one = load_dataset("teacher_network", teacher_width=1, **{**common, "in_size": 1})
    (v, w), _ = curve_fit(lambda x, v, w: v * erf(w * x), one.x_train[:, 0], one.y_train)
    np.testing.assert_allclose(one.y_test, v * erf(w * one.x_test[:, 0]), atol=1e-7)

    noise_task = load_dataset("random", targets=(0, 3), **common)
    for y in (noise_task.y_train, noise_task.y_test):
        assert set(y) == {0.0, 3.0}
        assert abs((y == 3).mean() - 0.5) < 5 * 0.5 / np.sqrt(4000)


# Arrays from a file


@pytest.fixture
def npz(tmp_path):
    def save(**changes):
        np.savez(tmp_path / "mine.npz", **arrays(**changes))
        return tmp_path / "mine.npz"

    return save


def from_npz(path, **changes):
    options = {"num_train": None, "num_test": None, "standardize": False, "path": path, **changes}
    return load_dataset("npz", key=KEY, **options)


def test_npz_is_used_as_it_is_in_its_order(npz):
    images = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
    path = npz(x_train=images, x_test=images[:4] * 2)
    task = from_npz(str(path))
    np.testing.assert_array_equal(task.x_train, np.arange(24.0).reshape(6, 4))
    np.testing.assert_array_equal(task.y_train, arrays()["y_train"])
    assert task.provenance[0].startswith("mine.npz sha256:")
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(task.provenance[0][-12:])
    first = from_npz(path, num_train=3, num_test=2)
    np.testing.assert_array_equal(first.x_train, task.x_train[:3])
    np.testing.assert_array_equal(first.y_test, task.y_test[:2])
    standard = from_npz(path, num_train=3, standardize=True)
    np.testing.assert_allclose(
        standard.x_train.ravel(), (np.arange(12) - 5.5) / np.arange(12).std()
    )


@pytest.mark.parametrize(
    ("changes", "options", "fragments"),
    [
        ({"y_train": np.ones((6, 1))}, {}, ["y_train has shape (6, 1)", "y_train.ravel()"]),
        ({"x_train": np.ones(6)}, {}, ["x_train has shape (6,)", "reshape"]),
        ({"y_train": np.arange(5.0)}, {"num_train": 3}, ["6 examples", "y_train has 5"]),
        ({"x_test": np.ones((4, 5))}, {}, ["x_train has 3 inputs", "x_test has 5"]),
        ({"x_train": np.full((6, 3), np.nan)}, {"standardize": True}, ["18 value(s)", "row 0 "]),
        ({"x_train": np.array([{}] * 6)}, {}, ["plain numbers", "numpy.savez"]),
        ({"y_test": np.array(list("abab"))}, {}, ["y_test has values of type <U1"]),
        ({"x_train": np.full((6, 3), 0.1)}, {"standardize": True}, ["standardize = false"]),
        ({}, {"num_train": 7}, ["num_train = 7", "has 6 examples", "write num_train = 6"]),
        ({}, {"num_test": 5}, ["num_test = 5", "write num_test = 4"]),
        ({}, {"num_train": 0}, ["num_train must be a positive whole number", "got 0"]),
        ({}, {"num_train": 1}, ["all 1 training targets equal"]),
    ],
)
def test_npz_refuses(npz, changes, options, fragments):
    with pytest.raises(InputError) as error:
        from_npz(npz(**changes), **options)
    assert_told(error, *fragments)


def test_files_that_are_no_npz(tmp_path, npz):
    for path in (None, ""):
        with pytest.raises(InputError, match="needs a path"):
            from_npz(path)
    with pytest.raises(InputError, match="there is no file .*absent.npz"):
        from_npz(tmp_path / "absent.npz")
    np.savez(tmp_path / "half.npz", x_train=np.ones((2, 2)), y_train=np.arange(2))
    with pytest.raises(InputError, match="lacks x_test, y_test .it holds x_train, y_train"):
        from_npz(tmp_path / "half.npz")
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("1 2 3")
    (tmp_path / "cut.npz").write_bytes(npz().read_bytes()[:-30])
    for name in ("one.npy", "empty.npz", "text.npz", "cut.npz"):
        with pytest.raises(InputError, match=f"{name} is not an .npz file"):
            from_npz(tmp_path / name)


# Arguments


@pytest.mark.parametrize(
    ("source", "changes", "fragments"),
    [
        ("minst", {}, ["'minst'", "write 'mnist', or one of digits"]),
        ("digits", {"key": jax.random.split(KEY)}, ["one JAX key", "(2,)", "jax.random.key(0)"]),
        ("digits", {"key": jnp.zeros(3)}, ["key must be a JAX key"]),
        ("digits", {"colour": True}, ["digits has no colours"]),
        ("random", {"colour": True}, ["random has no colours"]),
        ("digits", {"classes": (0, 12)}, ["classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, not 12"]),
        ("digits", {"classes": (0, 0)}, ["two of 0 to 9", "got (0, 0)"]),
        ("digits", {"classes": ((0, 1), (1, 2))}, ["share none", "got ((0, 1), (1, 2))"]),
        ("digits", {"classes": ((), (1,))}, ["got ((), (1,))"]),
        ("digits", {"classes": (0, 1, 2)}, ["got (0, 1, 2)"]),
        ("digits", {"classes": (0, 1.5)}, ["got (0, 1.5)"]),
        ("digits", {"classes": "01"}, ["got '01'"]),
        ("digits", {"targets": (1, 1.0)}, ["two different finite numbers", "(1, 1.0)"]),
        ("digits", {"targets": (1, np.nan)}, ["two different finite numbers"]),
        ("digits", {"targets": (1, 2, 3)}, ["two different finite numbers"]),
        ("digits", {"num_train": 0}, ["num_train must be a positive whole number", "got 0"]),
        ("digits", {"num_test": -1}, ["num_test must be a positive whole number", "got -1"]),
        ("digits", {"num_train": 161}, ["num_train = 161", "num_test = 200", "360 examples"]),
        ("digits", {"num_train": None, "num_test": None}, ["one pool of 360", "two numbers"]),
        ("digits", {"num_test": 360, "num_train": None}, ["one pool of 360"]),
        ("digits", {"num_train": 1}, ["all 1 training targets", "num_train", "another seed"]),
        ("teacher_linear", {"num_train": None}, ["num_train must be", "got None"]),
        ("random", {"num_test": None}, ["num_test must be", "got None"]),
        ("random", {"targets": (2.0, 2.0)}, ["two different finite numbers"]),
        ("teacher_linear", {"in_size": 0}, ["in_size must be a positive"]),
        ("teacher_network", {"teacher_width": 0}, ["teacher_width must be a positive"]),
        ("teacher_linear", {"noise_variance": -0.1}, ["noise_variance", "-0.1"]),
        ("teacher_linear", {"noise_variance": np.nan}, ["noise_variance", "nan"]),
    ],
)
def test_load_dataset_refuses(source, changes, fragments):
    with pytest.raises(InputError) as error:
        load_dataset(source, **{"key": KEY, "num_train": 100, "num_test": 200, **changes})
    assert_told(error, *fragments)


# Files of images, made here


def idx(array):
    header = (0x0800 + array.ndim, *array.shape)
    return b"".join(size.to_bytes(4, "big") for size in header) + array.tobytes()


def image_set(shape, seed=0):
    """60 training and 40 test images with labels 0 … 3."""
    rng = np.random.default_rng(seed)
    labels = [rng.permutation(np.arange(size, dtype=np.uint8) % 4) for size in (60, 40)]
    images = [rng.integers(0, 256, (size, *shape), dtype=np.uint8) for size in (60, 40)]
    return images[0], labels[0], images[1], labels[1]


@pytest.fixture
def mnist(tmp_path):
    """A data folder with a small set of MNIST's form; one file unpacked."""
    (tmp_path / "mnist").mkdir()
    for name, array in zip(raw_files.IDX_NAMES, image_set((28, 28)), strict=True):
        (tmp_path / "mnist" / name).write_bytes(gzip.compress(idx(array)))
    packed = tmp_path / "mnist" / raw_files.IDX_NAMES[0]
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    return tmp_path


def test_training_and_test_files_are_kept_apart(mnist, monkeypatch):
    monkeypatch.setenv("LANGEVIN_NN_DATA", str(mnist))
    common = {"key": KEY, "classes": ((0, 2), 3), "standardize": False}
    task = load_dataset("mnist", num_train=None, num_test=None, **common)
    x_train, y_train, x_test, y_test = image_set((28, 28))
    for x, y, images, labels in (
        (task.x_train, task.y_train, x_train, y_train),
        (task.x_test, task.y_test, x_test, y_test),
    ):
        chosen = labels != 1
        scaled = rows(images[chosen].reshape(-1, 784) / 255)
        target_of = dict(zip(scaled, np.where(labels[chosen] == 3, 1.0, -1.0), strict=True))
        assert dict(zip(rows(x), y, strict=True)) == target_of
        assert rows(x) != scaled
    few = load_dataset("mnist", num_train=9, num_test=7, **common)
    np.testing.assert_array_equal(few.x_train, task.x_train[:9])
    np.testing.assert_array_equal(few.x_test, task.x_test[:7])
    with pytest.raises(InputError, match="num_test = 31, .*has 30 examples: write num_test = 30"):
        load_dataset("mnist", num_train=9, num_test=31, **common)
    with pytest.raises(InputError, match="training part of mnist .* 0, 1, 2, 3, not 5"):
        load_dataset("mnist", num_train=9, num_test=9, key=KEY, classes=(0, 5))


@pytest.mark.parametrize(
    ("damage", "fragment"),
    [
        (lambda packed: packed[:-40], "is damaged"),
        (lambda packed: b"nonsense", "is damaged"),
        (lambda packed: gzip.compress(gzip.decompress(packed)[:-1]), "47 bytes, not 48"),
        (lambda packed: gzip.compress(b""), "starts with 0x0, not 0x801"),
        (lambda packed: gzip.compress(idx(np.zeros((40, 1), np.uint8))), "0x802, not 0x801"),
        (lambda packed: gzip.compress(idx(np.zeros(39, np.uint8))), "labels (39,)"),
    ],
)
def test_damaged_idx_files_are_named(mnist, damage, fragment):
    path = mnist / "mnist" / raw_files.IDX_NAMES[3]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError) as error:
        load_dataset("mnist", key=KEY, num_train=9, num_test=9, folder=mnist)
    assert_told(error, fragment, "delete it", "`langevin-nn data fetch mnist`")


def python2_batch(images, labels):
    """A CIFAR-10 batch as Python 2 and NumPy 1 pickled it: byte strings, dtype('u1', 0, 1)."""
    planes = images.transpose(0, 3, 1, 2).tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN" + b"J" + b"\xff" * 4
    dtype += b"J" + b"\xff" * 4 + b"K\x00tb"
    shape = b"K" + bytes([len(images)]) + b"M\x00\x0c\x86"
    content = b"T" + len(planes).to_bytes(4, "little") + planes
    items = b"".join(b"K" + bytes([label]) for label in labels)
    data = array + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"
    return b"\x80\x02}(U\x04data" + data + b"U\x06labels](" + items + b"eu."


def batches(seed=0):
    x_train, y_train, x_test, y_test = image_set((32, 32, 3), seed)
    parts = [(x_train[i::5], y_train[i::5]) for i in range(5)] + [(x_test, y_test)]
    return {
        name: python2_batch(*part)
        for name, part in zip(raw_files.CIFAR10_BATCHES, parts, strict=True)
    }


def colour(folder, **changes):
    options = {"num_train": None, "num_test": None, "standardize": False, "colour": True}
    return load_dataset("cifar10", key=KEY, folder=folder, **{**options, **changes})


def assert_grey_of(grey, full):
    """32 pixels are 28 of 8/7: repeat each pixel 7 times, then average over squares of 8."""
    luma = full.x_train.reshape(-1, 32, 32, 3) @ np.array([0.299, 0.587, 0.114])
    fine = np.kron(luma, np.ones((1, 7, 7))).reshape(-1, 28, 8, 28, 8)
    np.testing.assert_allclose(grey.x_train, fine.mean((2, 4)).reshape(-1, 784), atol=1e-14)
    np.testing.assert_array_equal(grey.y_train, full.y_train)


def test_cifar10_from_batches_archive_and_npz_in_that_order(tmp_path):
    place = tmp_path / "cifar10"
    (place / "cifar-10-batches-py").mkdir(parents=True)
    x_train, y_train, x_test, y_test = image_set((32, 32, 3))

    def expected(images, labels, classes):
        chosen = np.isin(labels, classes)
        scaled = images[chosen].reshape(-1, 3072) / 255
        return dict(
            zip(rows(scaled), np.where(labels[chosen] == classes[0], -1.0, 1.0), strict=True)
        )

    def assert_read(task, classes=(0, 1)):
        assert dict(zip(rows(task.x_train), task.y_train, strict=True)) == expected(
            x_train, y_train, classes
        )
        assert dict(zip(rows(task.x_test), task.y_test, strict=True)) == expected(
            x_test, y_test, classes
        )

    some = np.flatnonzero(y_train != 2)[:20]
    np.savez(
        place / "a_few.npz", x_train=x_train, y_train=y_train % 2, x_test=x_test, y_test=y_test
    )
    np.savez(place / "b_all.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    np.savez(
        place / "c_some.npz",
        x_train=x_train[some],
        y_train=y_train[some],
        x_test=x_test,
        y_test=y_test,
    )
    task = colour(tmp_path, classes=(2, 3))  # only b_all has both
    assert_read(task, (2, 3))
    assert task.provenance[0].startswith("b_all.npz sha256:")
    assert colour(tmp_path, classes=(0, 1)).provenance[0].startswith("a_few.npz")
    with pytest.raises(InputError, match="not 7: .*langevin-nn data fetch cifar10"):
        colour(tmp_path, classes=(0, 7))

    with tarfile.open(place / raw_files.CIFAR10_ARCHIVE, "w:gz") as archive:
        for name, content in reversed(batches().items()):
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    task = colour(tmp_path)
    assert_read(task)
    assert task.provenance[0].startswith(raw_files.CIFAR10_ARCHIVE)

    for name, content in batches().items():
        (place / "cifar-10-batches-py" / name).write_bytes(content)
    task = colour(tmp_path)
    assert_read(task)
    assert len(task.provenance) == 6 and task.provenance[5].startswith("test_batch sha256:")
    assert_grey_of(colour(tmp_path, colour=False), task)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "data_batch_3 is damaged"),
        (b"cos\nsystem\n(U\x04trueR.", "it calls os.system"),
        (pickle.dumps({"data": 1}), "data_batch_3 is damaged"),
        (pickle.dumps({b"data": 1, b"labels": [1]}), "data_batch_3 is damaged"),
    ],
)
def test_damaged_batches_are_named_and_never_run(tmp_path, content, fragment):
    place = tmp_path / "cifar10" / "cifar-10-batches-py"
    place.mkdir(parents=True)
    for name, good in batches().items():
        (place / name).write_bytes(content if name == "data_batch_3" else good)
    with pytest.raises(InputError) as error:
        colour(tmp_path)
    assert_told(error, fragment, "`langevin-nn data fetch cifar10`")


def test_damaged_archives_are_named(tmp_path):
    (tmp_path / "cifar10").mkdir()
    archive = tmp_path / "cifar10" / raw_files.CIFAR10_ARCHIVE
    archive.write_bytes(gzip.compress(b"x" * 5000)[:-9])
    with pytest.raises(InputError, match="cifar-10-python.tar.gz is damaged"):
        colour(tmp_path)
    with tarfile.open(archive, "w:gz"):
        pass
    with pytest.raises(InputError, match="it lacks data_batch_1"):
        colour(tmp_path)


# Downloads


@pytest.fixture
def offline(monkeypatch):
    """Homes that refuse every connection."""
    monkeypatch.setattr(raw_files, "HOMES", dict.fromkeys(raw_files.HOMES, "http://127.0.0.1:9/"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_offline_says_which_file_to_put_where(tmp_path, offline, capfd):
    for name, file in (
        ("mnist", "t10k-images-idx3-ubyte.gz"),
        ("cifar10", "cifar-10-python.tar.gz"),
    ):
        for attempt in (
            lambda name=name: fetch(name, tmp_path / "new"),
            lambda name=name: load_dataset(
                name, key=KEY, num_train=9, num_test=9, folder=tmp_path / "new"
            ),
        ):
            with pytest.raises(InputError) as error:
                attempt()
            place = tmp_path / "new" / name
            assert_told(error, file, f"into {place}", "LANGEVIN_NN_DATA", f"data fetch {name}`")
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_only_the_missing_file_is_asked_for(mnist, offline):
    (mnist / "mnist" / raw_files.IDX_NAMES[1]).unlink()
    with pytest.raises(InputError, match=f"put {raw_files.IDX_NAMES[1]} into"):
        load_dataset("mnist", key=KEY, num_train=9, num_test=9, folder=mnist)
    assert len(list((mnist / "mnist").iterdir())) == 3


def test_a_folder_that_cannot_be_written(tmp_path, offline):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to the data folder .*LANGEVIN_NN_DATA"):
        fetch("mnist", tmp_path / "file" / "data")
    with pytest.raises(InputError, match="'digits' has no files to fetch: write .*mnist"):
        fetch("digits", tmp_path)


def test_a_download_is_kept_only_if_its_sha256_is_right(tmp_path, offline, monkeypatch):
    class Served:
        """What pooch calls to download, without a network."""

        def __init__(self, **options):
            assert 0 < options["timeout"] <= 60

        def __call__(self, url, output_file, pooch):
            assert url.startswith("http://127.0.0.1:9/")
            Path(output_file).write_bytes(contents[url.rpartition("/")[2]])

    contents = {
        name: gzip.compress(idx(array))
        for name, array in zip(raw_files.IDX_NAMES, image_set((28, 28)), strict=True)
    }
    monkeypatch.setattr("pooch.HTTPDownloader", Served)
    with pytest.raises(InputError, match="another SHA-256"):
        fetch("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []
    hashes = tuple(hashlib.sha256(content).hexdigest() for content in contents.values())
    monkeypatch.setitem(raw_files.SHA256, "mnist", hashes)
    task = load_dataset("mnist", key=KEY, num_train=9, num_test=9, folder=tmp_path)
    assert task.in_size == 784
    contents.clear()  # nothing is downloaded twice
    assert [path.name for path in fetch("mnist", tmp_path)] == list(raw_files.IDX_NAMES)


def test_available_lists_every_source(mnist):
    listing = {record.name: record for record in available(mnist)}
    assert tuple(listing) == SOURCES
    assert listing["mnist"].present and str(mnist) in listing["mnist"].where
    assert listing["mnist"].what == "60 training and 40 test examples of the classes 0, 1, 2, 3"
    files = (mnist / "mnist").iterdir()
    assert listing["mnist"].size_bytes == sum(path.stat().st_size for path in files)
    assert not listing["cifar10"].present and "data fetch cifar10" in listing["cifar10"].what
    (mnist / "mnist" / raw_files.IDX_NAMES[1]).write_bytes(b"")
    record = next(record for record in available(mnist) if record.name == "mnist")
    assert not record.present and "damaged" in record.what


# The real files, where they are


def real(name):
    record = next(record for record in available() if record.name == name)
    if not record.present:
        pytest.skip(f"{name} is not in {record.where}: set LANGEVIN_NN_DATA")
    return record


@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [("mnist", 0.130660, 0.308108), ("fashion_mnist", 0.286041, 0.353024)],
)
def test_real_images_have_the_published_moments(name, mean, deviation):
    real(name)
    raw = read_images(name, None, range(10))
    counts = np.bincount(raw.x_train.ravel(), minlength=256) / raw.x_train.size
    values = np.arange(256) / 255
    assert counts @ values == pytest.approx(mean, abs=1e-6)
    assert np.sqrt(counts @ values**2 - (counts @ values) ** 2) == pytest.approx(
        deviation, abs=1e-6
    )
    for part, labels in (("train", raw.y_train), ("test", raw.y_test)):
        uniform = [6000 if part == "train" else 1000] * 10
        expected = LABEL_COUNTS[part] if name == "mnist" else uniform
        assert np.bincount(labels).tolist() == expected
    published = dict(zip(raw_files.IDX_NAMES, raw_files.SHA256[name], strict=True))
    for file, _, prefix in (file.partition(" sha256:") for file in raw.files):
        assert published.get(file, prefix).startswith(prefix)  # unpacked files have other hashes


def test_real_mnist_task():
    real("mnist")
    task = load_dataset("mnist", key=KEY, num_train=500, num_test=1000, standardize=False)
    raw = read_images("mnist", None, (0, 1))
    label_of = {row.tobytes(): label for row, label in zip(raw.x_train, raw.y_train, strict=True)}
    pixels = np.rint(task.x_train * 255).astype(np.uint8)
    assert [2 * label_of[row] - 1 for row in rows(pixels)] == task.y_train.tolist()
    with pytest.raises(InputError, match="has 12665 examples: write num_train = 12665 or less"):
        load_dataset("mnist", key=KEY, num_train=13000, num_test=9)


def test_real_cifar10_task_in_grey_and_colour():
    real("cifar10")
    common = {"key": KEY, "num_train": 50, "num_test": 20, "standardize": False}
    full = load_dataset("cifar10", colour=True, **common)
    assert full.in_size == 3072
    assert_grey_of(load_dataset("cifar10", **common), full)


def test_real_cifar10_copies_are_chosen_by_class():
    pair = raw_files.data_folder() / "cifar10" / "cifar10_airplane_automobile.npz"
    if not pair.is_file() or len(raw_files._locate("cifar10", pair.parent)) != 2:
        pytest.skip("the two .npz copies of CIFAR-10 are not in LANGEVIN_NN_DATA")
    raw = read_images("cifar10", None, (0, 1))
    assert raw.files == (f"{pair.name} sha256:e80fe483d98c",)
    assert hashlib.sha256(raw.x_train.tobytes()).hexdigest().startswith("9ac752eea46118ad")
    assert np.bincount(raw.y_train).tolist() == [5000, 5000]
    others = read_images("cifar10", None, (3, 5))
    assert others.files == ("cifar10_batch1_test2000.npz sha256:5ab35b279294",)
    # The first batch has the same airplanes and automobiles, in the same order.
    both = np.isin(others.y_train, (0, 1))
    np.testing.assert_array_equal(others.x_train[both], raw.x_train[: both.sum()])
