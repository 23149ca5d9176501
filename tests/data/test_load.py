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
import sklearn.datasets
from refusals import refuses
from scipy.optimize import curve_fit
from scipy.special import erf

from langevin_nn.config.sections import SOURCES
from langevin_nn.data import image_files
from langevin_nn.data.dataset import Dataset
from langevin_nn.data.image_files import available, fetch, read_images
from langevin_nn.data.image_formats import ARRAY_NAMES, CIFAR10_BATCHES
from langevin_nn.data.load import load_dataset
from langevin_nn.data.published import CIFAR10_ARCHIVE, CIFAR10_FOLDER, IDX_NAMES

KEY = jax.random.key(7)
EVEN_ODD = ((0, 2, 4, 6, 8), (1, 3, 5, 7, 9))


def load(source, **changes):
    return load_dataset(source, **{"key": KEY, "num_train": 9, "num_test": 9, **changes})


def digits(**changes):
    return load("digits", **{"num_train": 100, "num_test": 200, **changes})


def everything(source, **changes):
    return load(source, **{"num_train": None, "num_test": None, "standardize": False, **changes})


def good_arrays(**changes):
    """A good task of 6 training and 4 test examples of 3 inputs."""
    x, y = np.random.default_rng(0).standard_normal((10, 3)), np.array([1.0, -1.0] * 5)
    return {"x_train": x[:6], "y_train": y[:6], "x_test": x[6:], "y_test": y[6:], **changes}


def rows(x):
    """Each row of inputs as a hashable value."""
    return [row.tobytes() for row in np.ascontiguousarray(x).reshape(len(x), -1)]


def assert_selected(x, y, images, labels, target_of):
    """Each row is another one of the images, with the target of its label, in another order."""
    label_of = dict(zip(rows(images), labels, strict=True))
    assert [target_of[label_of[row]] for row in rows(x)] == y.tolist()
    selected = dict.fromkeys(rows(x))
    published = [row for row in label_of if row in selected]
    assert len(published) == len(x) and list(selected) != published


def test_dataset_keeps_anything_numeric_as_read_only_float64():
    good = good_arrays()
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
    spread = good_arrays(y_train=[0, 3, 1, 1, 1, 1])
    assert Dataset("mine", **spread).targets_midpoint == 0  # of the two test targets ±1
    assert Dataset("mine", **spread | {"y_test": [1, 2, 3, 4]}).targets_midpoint == 1.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_train": np.ones((6, 1))}, ["(6, 1)", "y_train.ravel()"]),
        (
            {"x_train": np.ones((6, 3, 8, 8))},  # FAULTS 5, colours first
            ["x_train.reshape(len(x_train), -1)", "x_train.transpose(0, 2, 3, 1).reshape(len(x_"],
        ),
        ({"x_train": np.ones((6, 3, 1))}, ["(6, 3, 1)", "x_train.reshape(len(x_train), -1)"]),
        ({"x_test": np.ones(3)}, ["x_test", "(3,)"]),
        ({"y_train": np.arange(5.0)}, ["x_train", "6", "y_train", "5"]),
        ({"y_test": np.arange(5.0)}, ["x_test", "4", "y_test", "5"]),
        ({"x_test": np.ones((4, 2))}, ["x_train", "3", "x_test", "2"]),
        ({"x_test": np.ones((0, 3)), "y_test": []}, ["x_test", "(0, 3)"]),
        ({"y_test": np.ones((4, 1))}, ["(4, 1)", "y_test.ravel()"]),
        ({"y_train": np.eye(6)}, ["y_train", "6", "y_test", "(4,)"]),
        ({"y_test": np.ones((4, 2, 2))}, ["(4, 2, 2)", "y_test.reshape(len(y_test), -1)"]),
        ({"image_shape": (2, 2, 1)}, ["image_shape = (2, 2, 1)", "3"]),
        ({"image_shape": (3, 1)}, ["image_shape = (3, 1)"]),
        ({"y_train": list("aababb")}, ["y_train", "<U1"]),
        ({"x_train": [[1.0, 2.0], [1.0]]}, ["x_train"]),
        ({"x_test": [[1] * 3, [1] * 3, [np.nan] * 3]}, ["x_test", "3", "row 2"]),
        ({"y_train": [0, 1e10]}, ["y_train", "1e+09"]),
        ({"y_test": [0, 1, np.inf, 0]}, ["y_test", "infinite", "row 2"]),
    ],
)
def test_dataset_refuses(changes, words):
    with refuses(*words):
        Dataset("mine", **good_arrays(**changes))


def test_digits_are_the_published_ones_with_their_targets_and_disjoint():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    task = digits(classes=(3, 8), targets=(-2.0, 5.0), standardize=False)
    assert task.provenance[0].startswith("scikit-learn")
    for x, y in ((task.x_train, task.y_train), (task.x_test, task.y_test)):
        assert_selected(x, y, images / 16, labels, {3: -2.0, 8: 5.0})
    assert len(set(rows(task.x_train) + rows(task.x_test))) == 300


def test_groups_of_classes_and_all_of_the_pool():
    task = digits(classes=EVEN_ODD, num_train=None, num_test=897, standardize=False)
    assert (task.num_train, task.num_test) == (900, 897)
    assert len(set(rows(task.x_train) + rows(task.x_test))) == 1797  # no two digits are equal
    y = np.concatenate([task.y_train, task.y_test])
    assert (y == -1).sum() == 178 + 177 + 181 + 181 + 174  # scikit-learn's 0, 2, 4, 6, 8
    assert digits(classes=EVEN_ODD, num_train=900, num_test=None).num_test == 897


@pytest.mark.parametrize("classes", [(3, 8, 1), ((3, 4), (8,), (1, 0))])
@pytest.mark.parametrize(("targets", "low"), [("one_hot", 0.0), ("centred", -1 / 3)])
def test_several_classes_have_one_output_each(classes, targets, low):
    """The class of an example does not depend on how it is coded, nor its place on the classes."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    task = digits(classes=classes, targets=targets, standardize=False)
    assert task.num_outputs == 3 and task.image_shape == (8, 8, 1)
    label_of = dict(zip(rows(images / 16), labels, strict=True))
    for x, y in ((task.x_train, task.y_train), (task.x_test, task.y_test)):
        assert y.shape == (len(x), 3)
        for row, target in zip(rows(x), y, strict=True):
            group = np.atleast_1d(classes[int(target.argmax())])
            assert label_of[row] in group
            np.testing.assert_allclose(np.sort(target), [low, low, low + 1])
    assert set(task.y_train.argmax(axis=1)) == {0, 1, 2}


def test_two_classes_may_have_two_outputs():
    one, two = digits(targets=(1, 0)), digits(targets="one_hot")
    np.testing.assert_array_equal(two.y_train, np.stack([one.y_train, 1 - one.y_train], axis=1))


@pytest.mark.parametrize("source", ["digits", "teacher_linear", "teacher_network", "random"])
def test_each_set_keeps_its_first_examples_when_the_other_or_itself_grows(source):
    common = {"standardize": False, "noise_variance": 0.5, "in_size": 8}
    small = load(source, num_train=30, num_test=40, **common)
    large = load(source, num_train=90, num_test=170, **common)
    for name in ARRAY_NAMES:
        first = getattr(small, name)
        np.testing.assert_allclose(getattr(large, name)[: len(first)], first, rtol=1e-12)


def test_standardized_by_one_mean_and_one_deviation_of_the_training_pixels():
    raw, task = digits(standardize=False), digits()
    mean, deviation = np.mean(raw.x_train), np.std(raw.x_train)
    np.testing.assert_allclose(task.x_train, (raw.x_train - mean) / deviation, rtol=1e-12)
    np.testing.assert_allclose(task.x_test, (raw.x_test - mean) / deviation, rtol=1e-12)
    assert raw.x_train.min() == 0 and raw.x_train.max() == 1


@pytest.mark.parametrize("source", ["digits", "teacher_network", "random"])
def test_everything_depends_on_the_key_alone(source):
    def content(key):
        task = load(source, key=key)
        return [getattr(task, name).tobytes() for name in ARRAY_NAMES]

    first = content(KEY)
    np.random.default_rng().random()
    with jax.enable_x64(not jax.config.jax_enable_x64):
        assert first == content(jax.random.key(7))
    assert first == content(jax.random.PRNGKey(7))
    assert first != content(jax.random.key(8))


@pytest.mark.parametrize(
    ("source", "options"),
    [("digits", {}), ("digits", {"targets": "one_hot"}), ("random", {"in_size": 5})],
)
def test_noise_is_on_training_targets_alone(source, options):
    """The examples are those without noise; accuracy still tells the classes apart."""
    common = {"num_train": 150, "num_test": 60, **options}
    clean, noisy = load(source, **common), load(source, noise_variance=4.0, **common)
    for name in ("x_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(noisy, name), getattr(clean, name))
    noise = noisy.y_train - clean.y_train
    if noise.ndim == 2:  # of each output its own
        assert abs(np.corrcoef(noise.T)[0, 1]) < 5 / np.sqrt(len(noise))
    noise = noise.ravel()
    assert abs(noise.mean()) < 5 * 2 / np.sqrt(noise.size)
    assert abs(noise.var() - 4) < 5 * 4 * np.sqrt(2 / noise.size)
    assert abs(np.corrcoef(noise, clean.y_train.ravel())[0, 1]) < 5 / np.sqrt(noise.size)
    assert noisy.targets_midpoint == clean.targets_midpoint
    assert "noise of variance 4" in noisy.provenance[-1]
    assert "noise" not in "".join(clean.provenance)


def test_the_teachers_are_what_they_say():
    common = {"num_train": 4000, "num_test": 4000, "standardize": False, "in_size": 20}

    noisy = load("teacher_linear", noise_variance=0.25, **common)
    clean = load("teacher_linear", **common)
    weights, *_ = np.linalg.lstsq(clean.x_train, clean.y_train)
    np.testing.assert_allclose(noisy.y_test, noisy.x_test @ weights, atol=1e-10)
    assert 1 / 3 < np.mean((weights * np.sqrt(20)) ** 2) < 3  # chi² of 20: 5 standard errors
    noise = noisy.y_train - clean.y_train
    assert abs(noise.mean()) < 5 * 0.5 / np.sqrt(4000)
    assert abs(noise.var() - 0.25) < 5 * 0.25 * np.sqrt(2 / 4000)
    assert abs(clean.x_train.var() - 1) < 5 * np.sqrt(2 / clean.x_train.size)

    # Over inputs and teachers E[y²] = E[erf(√q z)²] with q ≈ 1: (2/π) arcsin(2/3).
    few = {"num_train": 2, "num_test": 200, "standardize": False, "in_size": 400}
    powers = [
        np.mean(load("teacher_network", key=key, teacher_width=200, **few).y_test ** 2)
        for key in map(jax.random.key, range(100))
    ]
    expected = 2 / np.pi * np.arcsin(2 / 3)
    assert np.std(powers) / np.sqrt(100) < 0.02 * expected  # 10 % off would be seen
    assert abs(np.mean(powers) - expected) < 5 * np.std(powers) / np.sqrt(100)
    # One input and one hidden unit: y is v erf(w x), exactly.
    one = load("teacher_network", teacher_width=1, **{**common, "in_size": 1})
    (v, w), _ = curve_fit(lambda x, v, w: v * erf(w * x), one.x_train[:, 0], one.y_train)
    np.testing.assert_allclose(one.y_test, v * erf(w * one.x_test[:, 0]), atol=1e-7)

    random = load("random", targets=(0, 3), **common)
    for y in (random.y_train, random.y_test):
        assert set(y) == {0.0, 3.0}
        assert abs((y == 3).mean() - 0.5) < 5 * 0.5 / np.sqrt(4000)


def test_npz_is_used_as_it_is_in_its_order(tmp_path):
    images, path = np.arange(24, dtype=np.uint8).reshape(6, 2, 2), tmp_path / "mine.npz"
    np.savez(path, **good_arrays(x_train=images, x_test=images[:4] * 2))
    task = everything("npz", path=str(path))
    np.testing.assert_array_equal(task.x_train, np.arange(24.0).reshape(6, 4))
    assert task.image_shape == (2, 2, 1)
    np.testing.assert_array_equal(task.y_train, good_arrays()["y_train"])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert task.provenance == (f"mine.npz sha256:{digest[:12]}",)
    first = everything("npz", path=path, num_train=3, num_test=2)
    np.testing.assert_array_equal(first.x_train, task.x_train[:3])
    np.testing.assert_array_equal(first.y_test, task.y_test[:2])
    standard = everything("npz", path=path, num_train=3, standardize=True).x_train.ravel()
    np.testing.assert_allclose(standard, (np.arange(12) - 5.5) / np.arange(12).std())


def test_npz_may_hold_several_outputs_and_colours(tmp_path):
    images, y = np.arange(72).reshape(6, 2, 2, 3), np.random.default_rng(1).normal(size=(6, 4))
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=images, y_train=y, x_test=images.reshape(6, 12), y_test=y)
    task = everything("npz", path=path, num_train=5)
    assert (task.num_outputs, task.image_shape) == (4, (2, 2, 3))
    np.testing.assert_array_equal(task.y_train, y[:5])
    assert everything("npz", path=path, standardize=True).image_shape == (2, 2, 3)


def test_principal_components_are_those_of_the_pool():
    """Held against the singular vectors of all images, however many are used."""

    def task(num_train, standardize=False, **changes):
        return digits(num_train=num_train, standardize=standardize, **changes)

    images = sklearn.datasets.load_digits()
    pool = images.data[np.isin(images.target, (0, 1))] / 16
    few, pixels = task(30, num_components=5), task(30)
    vectors = np.linalg.svd(pool - pool.mean(axis=0), full_matrices=False)[2][:5]
    for x, images in ((few.x_train, pixels.x_train), (few.x_test, pixels.x_test)):
        expected = (images - pool.mean(axis=0)) @ vectors.T
        signs = np.sign(np.sum(expected * x, axis=0))
        np.testing.assert_allclose(x, expected * signs, atol=1e-12)
    more = task(60, num_components=6)
    np.testing.assert_allclose(more.x_train[:30, :5], few.x_train, atol=1e-12)
    assert few.image_shape is None and "5 principal components" in few.provenance
    standard = task(30, standardize=True, num_components=5).x_train
    np.testing.assert_allclose(standard, (few.x_train - few.x_train.mean()) / few.x_train.std())


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"y_train": np.arange(5.0)}, {"num_train": 3}, ["6", "y_train", "5"]),
        ({"x_train": np.full((6, 3), np.nan)}, {"standardize": True}, ["x_train", "18", "row 0"]),
        ({"x_train": np.array([{}] * 6)}, {}, ["numpy.savez"]),
        ({"x_train": np.full((6, 3), 0.1)}, {"standardize": True}, ["standardize = false"]),
        (
            {"x_train": np.ones((6, 1, 3)), "x_test": np.ones((4, 3, 1))},
            {},
            ["(1, 3)", "(3, 1)"],
        ),
        ({}, {"num_train": 7}, ["num_train = 7", "num_train = 6"]),
        ({}, {"num_test": 5}, ["num_test = 5", "num_test = 4"]),
        ({}, {"path": None}, ["path"]),
        ({}, {"path": "absent.npz"}, ["absent.npz"]),
    ],
)
def test_npz_refuses(tmp_path, changes, options, words):
    np.savez(tmp_path / "mine.npz", **good_arrays(**changes))
    with refuses(*words):
        everything("npz", **{"path": tmp_path / "mine.npz", **options})


def test_files_that_are_no_npz(tmp_path):
    np.savez(tmp_path / "half.npz", x_train=np.ones((2, 2)), y_train=np.arange(2))
    with refuses("x_test, y_test", "x_train, y_train"):
        everything("npz", path=tmp_path / "half.npz")
    one = io.BytesIO()
    np.save(one, np.ones(3))
    for content in (one.getvalue(), b"", b"1 2 3", (tmp_path / "half.npz").read_bytes()[:-30]):
        (tmp_path / "mine.npz").write_bytes(content)
        with refuses("mine.npz", "not an .npz"):
            everything("npz", path=tmp_path / "mine.npz")


@pytest.mark.parametrize(
    ("source", "changes", "words"),
    [
        ("minst", {}, ["'minst'", '"mnist"', "digits"]),
        ("digits", {"key": jax.random.split(KEY)}, ["(2,)", "jax.random.key(0)"]),
        ("digits", {"key": jnp.zeros(3)}, ["key"]),
        ("random", {"colour": True}, ["random", "colour"]),
        ("digits", {"classes": (0, 12)}, ["0, 1, 2, 3, 4, 5, 6, 7, 8, 9", "12"]),
        *(
            ("digits", {"classes": classes}, ["two", f"{classes!r}"])
            for classes in ((0, 0), ((0, 1), (1, 2)), ((), (1,)), (0,))
        ),
        *(
            ("digits", {"targets": targets}, ["two", "different", f"{targets}"])
            for targets in ((1, 1.0), (1, np.nan), (1, 2, 3))
        ),
        ("digits", {"targets": "onehot"}, ['"one_hot"', '"centred"', "'onehot'"]),
        ("digits", {"classes": (0, 1, 2)}, ["3 classes", 'targets = "one_hot"']),
        ("random", {"targets": "one_hot"}, ["two", "different", "'one_hot'"]),
        ("digits", {"num_train": 0}, ["num_train", "0"]),
        ("digits", {"num_test": -1}, ["num_test", "-1"]),
        ("digits", {"num_train": 161}, ["num_train = 161", "num_test = 200", "360"]),
        ("digits", {"num_train": None, "num_test": None}, ["360"]),
        ("digits", {"num_test": 360, "num_train": None}, ["360"]),
        ("digits", {"num_test": None, "num_train": 360}, ["360"]),
        *(
            ("digits", {"classes": classes}, ["0 to 9", f"{wrong!r}"])
            for classes, wrong in (((0, 1.5), 1.5), ("01", "01"), ((0, True), True))
        ),
        ("teacher_linear", {"num_train": None}, ["num_train", "None"]),
        ("random", {"targets": (2.0, 2.0)}, ["two", "different"]),
        ("digits", {"num_components": 65}, ["num_components = 65", "64"]),
        ("digits", {"num_components": 0}, ["num_components"]),
        ("random", {"num_components": 3}, ["random", "components"]),
        ("teacher_linear", {"in_size": 0}, ["in_size"]),
        ("teacher_network", {"teacher_width": 0}, ["teacher_width"]),
        ("teacher_linear", {"noise_variance": -0.1}, ["noise_variance", "-0.1"]),
        ("teacher_linear", {"noise_variance": np.nan}, ["noise_variance", "nan"]),
        ("digits", {"noise_variance": -0.1}, ["noise_variance", "-0.1"]),
    ],
)
def test_load_dataset_refuses(source, changes, words):
    with refuses(*words):
        load(source, **{"num_train": 100, "num_test": 200, **changes})


def idx(array):
    header = (0x0800 + array.ndim, *array.shape)
    return b"".join(size.to_bytes(4, "big") for size in header) + array.tobytes()


def image_set(shape):
    """60 training and 40 test images with labels 0 … 3."""
    rng = np.random.default_rng(0)
    labels = [rng.permutation(np.arange(size, dtype=np.uint8) % 4) for size in (60, 40)]
    images = [rng.integers(0, 256, (size, *shape), dtype=np.uint8) for size in (60, 40)]
    return dict(zip(ARRAY_NAMES, (images[0], labels[0], images[1], labels[1]), strict=True))


def assert_all_of(task, images, target_of):
    for part in ("train", "test"):
        x, y, pixels, labels = (
            origin[f"{axis}_{part}"] for origin in (vars(task), images) for axis in "xy"
        )
        assert len(x) == np.isin(labels, list(target_of)).sum()
        assert_selected(x, y, pixels / 255, labels, target_of)


@pytest.fixture
def mnist(tmp_path):
    """A data folder with a small set of MNIST's form; one file unpacked."""
    place = tmp_path / "mnist"
    place.mkdir()
    first, *others = zip(IDX_NAMES, map(idx, image_set((28, 28)).values()), strict=True)
    (place / first[0].removesuffix(".gz")).write_bytes(first[1])
    for name, content in others:
        (place / name).write_bytes(gzip.compress(content))
    return tmp_path


def test_training_and_test_files_are_kept_apart(mnist, monkeypatch):
    monkeypatch.setenv("LANGEVIN_NN_DATA", str(mnist))
    task = everything("mnist", classes=((0, 2), 3))
    assert_all_of(task, image_set((28, 28)), {0: -1.0, 2: -1.0, 3: 1.0})
    assert task.image_shape == (28, 28, 1)
    with refuses("num_test = 31", "num_test = 30"):
        load("mnist", num_test=31, classes=((0, 2), 3))
    with refuses("mnist", "0, 1, 2, 3", "5"):
        load("mnist", classes=(0, 5))


def binary_batch(images, labels):
    """A CIFAR-10 batch: of each image its label, then its planes of red, green and blue."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([labels[:, None], planes], axis=1).astype(np.uint8).tobytes()


def write_batches(place):
    x_train, y_train, x_test, y_test = image_set((32, 32, 3)).values()
    parts = [(x_train[i::5], y_train[i::5]) for i in range(5)] + [(x_test, y_test)]
    place.mkdir(parents=True, exist_ok=True)
    for name, part in zip(CIFAR10_BATCHES, parts, strict=True):
        (place / name).write_bytes(binary_batch(*part))


def assert_grey_of(grey, full):
    """32 pixels are 28 of 8/7: repeat each pixel 7 times, then average over squares of 8."""
    luma = full.x_train.reshape(-1, 32, 32, 3) @ np.array([0.299, 0.587, 0.114])
    fine = np.kron(luma, np.ones((1, 7, 7))).reshape(-1, 28, 8, 28, 8)
    np.testing.assert_allclose(grey.x_train, fine.mean((2, 4)).reshape(-1, 784), atol=1e-14)
    np.testing.assert_array_equal(grey.y_train, full.y_train)


def test_cifar10_from_batches_archive_and_npz_in_that_order(tmp_path):
    place, images = tmp_path / "cifar10", image_set((32, 32, 3))

    def assert_read(file, classes=(0, 1)):
        task = everything("cifar10", folder=tmp_path, colour=True, classes=classes)
        assert_all_of(task, images, dict(zip(classes, (-1.0, 1.0), strict=True)))
        assert task.provenance[-1].startswith(f"{file} sha256:")
        assert ("not the published file" in task.provenance[0]) == (file == CIFAR10_ARCHIVE)
        return task

    place.mkdir()
    y = images["y_train"]
    np.savez(place / "a_two.npz", **{**images, "y_train": np.where(y < 2, y, 0)})
    np.savez(place / "b_all.npz", **images)
    assert_read("b_all.npz", classes=(0, 3))  # a_two has more of them, but none of class 3
    most = everything("cifar10", folder=tmp_path, colour=True, classes=(0, 1))
    assert most.num_train == 60 and most.provenance[0].startswith("a_two.npz")
    with refuses("7", "langevin-nn data fetch cifar10"):
        load("cifar10", folder=tmp_path, classes=(0, 7))

    write_batches(tmp_path / CIFAR10_FOLDER)
    with tarfile.open(place / CIFAR10_ARCHIVE, "w:gz") as archive:
        for name in reversed(CIFAR10_BATCHES):
            archive.add(tmp_path / CIFAR10_FOLDER / name, f"{CIFAR10_FOLDER}/{name}")
    assert_read(CIFAR10_ARCHIVE)

    (tmp_path / CIFAR10_FOLDER).rename(place / CIFAR10_FOLDER)
    task = assert_read("test_batch.bin")
    assert len(task.provenance) == 6
    assert_grey_of(everything("cifar10", folder=tmp_path), task)


LABELS = idx(image_set((28, 28))["y_test"])
BATCH = f"cifar10/{CIFAR10_FOLDER}/data_batch_3.bin"
ARCHIVE = f"cifar10/{CIFAR10_ARCHIVE}"


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (f"mnist/{IDX_NAMES[3]}", gzip.compress(LABELS)[:-12], []),
        (f"mnist/{IDX_NAMES[3]}", b"nonsense", []),
        (f"mnist/{IDX_NAMES[3]}", gzip.compress(LABELS[:-1]), ["47", "48"]),
        (f"mnist/{IDX_NAMES[3]}", gzip.compress(b""), ["0x0", "0x801"]),
        (f"mnist/{IDX_NAMES[3]}", gzip.compress(b"\0\0\x08\2" + LABELS), ["0x802", "0x801"]),
        (f"mnist/{IDX_NAMES[3]}", gzip.compress(idx(np.zeros(39, np.uint8))), ["(39,)"]),
        (BATCH, b"", []),
        (BATCH, bytes(3072), ["3072", "3073"]),
        (BATCH, b"\x0a" + bytes(3072), ["10", "0 to 9"]),
        (BATCH, pickle.dumps({b"data": 1, b"labels": [1]}), ["3073"]),
        (ARCHIVE, gzip.compress(b"x" * 5000)[:-9], []),
        (ARCHIVE, gzip.compress(bytes(10240)), ["data_batch_1"]),
    ],
    ids=range(12),
)
def test_damaged_files_are_named_and_never_run(mnist, file, content, words):
    path, source = mnist / file, file.partition("/")[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    if file == BATCH:
        write_batches(path.parent)
    path.write_bytes(content)
    with refuses(str(path), *words, "damaged", f"langevin-nn data fetch {source}"):
        load(source, folder=mnist)


@pytest.fixture
def offline(monkeypatch):
    """Homes that refuse every connection."""
    monkeypatch.setattr(
        image_files, "HOMES", dict.fromkeys(image_files.HOMES, "http://127.0.0.1:9/")
    )
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "file"), [("mnist", "t10k-images-idx3-ubyte.gz"), ("cifar10", CIFAR10_ARCHIVE)]
)
def test_offline_says_which_file_to_put_where(tmp_path, offline, capfd, name, file):
    folder = tmp_path / "new"
    for attempt in (fetch, lambda name, folder: load(name, folder=folder)):
        with refuses(file, str(folder / name), "LANGEVIN_NN_DATA", f"data fetch {name}"):
            attempt(name, folder)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_fetched(mnist, offline, tmp_path):
    (mnist / "mnist" / IDX_NAMES[1]).unlink()
    with refuses(f"put {IDX_NAMES[1]} into"):  # the missing file alone
        load("mnist", folder=mnist)
    assert len(list((mnist / "mnist").iterdir())) == 3
    (tmp_path / "file").touch()
    with refuses("file/data", "LANGEVIN_NN_DATA"):
        fetch("mnist", tmp_path / "file" / "data")
    with refuses("'digits'", "mnist"):
        fetch("digits", tmp_path)


def test_a_download_is_kept_only_if_its_sha256_is_right(tmp_path, offline, monkeypatch):
    class Served:
        """What pooch calls to download, without a network."""

        def __init__(self, **options):
            assert 0 < options["timeout"] <= 60

        def __call__(self, url, output_file, pooch):
            assert url.startswith("http://127.0.0.1:9/")
            Path(output_file).write_bytes(contents[url.rpartition("/")[2]])

    packed = [gzip.compress(idx(array)) for array in image_set((28, 28)).values()]
    contents = dict(zip(IDX_NAMES, packed, strict=True))
    monkeypatch.setattr("pooch.HTTPDownloader", Served)
    with refuses("SHA-256"):
        fetch("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []
    hashes = tuple(hashlib.sha256(content).hexdigest() for content in packed)
    monkeypatch.setitem(image_files.SHA256, "mnist", hashes)
    assert load("mnist", folder=tmp_path).in_size == 784
    contents.clear()  # nothing is downloaded twice
    assert [path.name for path in fetch("mnist", tmp_path)] == list(IDX_NAMES)


def test_available_lists_every_source(mnist):
    def listing():
        return {record.name: record for record in available(mnist)}

    assert tuple(listing()) == SOURCES
    found = listing()["mnist"]
    assert found.present and str(mnist) in found.where
    assert found.what.startswith("60 + 40 images 28×28, classes 0, 1, 2, 3 (not the published ")
    assert found.size_bytes == sum(path.stat().st_size for path in (mnist / "mnist").iterdir())
    (mnist / "mnist" / IDX_NAMES[1]).write_bytes(b"")
    assert not listing()["mnist"].present and "damaged" in listing()["mnist"].what

    assert not listing()["cifar10"].present
    assert "data fetch cifar10" in listing()["cifar10"].what
    (mnist / "cifar10").mkdir()
    np.savez(mnist / "cifar10" / "a.npz", y_train=np.array([7, 0, 7]), y_test=np.array([0, 7]))
    np.savez(mnist / "cifar10" / "b.npz", y_train=np.arange(20) % 10, y_test=np.arange(10))
    two_files = "3 + 2 images 32×32, classes 0, 7; 20 + 10 images 32×32, classes 0-9"
    assert listing()["cifar10"].what == two_files
    write_batches(mnist / "cifar10" / CIFAR10_FOLDER)
    assert listing()["cifar10"].what == "50000 + 10000 images 32×32, classes 0-9"


@pytest.mark.slow_except("mnist-0.13066-0.308108-12665")
@pytest.mark.parametrize(
    ("name", "mean", "deviation", "zeros_and_ones"),
    [("mnist", 0.130660, 0.308108, 12665), ("fashion_mnist", 0.286041, 0.353024, 12000)],
)
def test_real_images_have_the_published_moments(name, mean, deviation, zeros_and_ones):
    """The files themselves, where they are."""
    record = next(record for record in available() if record.name == name)
    if not record.present:
        pytest.skip(f"{name} is not in {record.where}: set LANGEVIN_NN_DATA")
    assert record.what == "60000 + 10000 images 28×28, classes 0-9"
    raw = read_images(name, None, range(10))
    shares = np.bincount(raw.x_train.ravel(), minlength=256) / raw.x_train.size
    values = np.arange(256) / 255
    measured = shares @ values, np.sqrt(shares @ values**2 - (shares @ values) ** 2)
    assert measured == pytest.approx((mean, deviation), abs=1e-6)
    published = dict(zip(IDX_NAMES, image_files.SHA256[name], strict=True))
    for file, _, prefix in (file.partition(" sha256:") for file in raw.files):
        assert published.get(file, prefix).startswith(prefix)  # unpacked files have other hashes

    task = load(name, num_train=500, num_test=1000, standardize=False)
    pixels = np.rint(task.x_train * 255).astype(np.uint8)
    assert_selected(pixels, task.y_train, raw.x_train, raw.y_train, {0: -1.0, 1: 1.0})
    with refuses("num_train = 13000", f"num_train = {zeros_and_ones}"):
        load(name, num_train=13000)


@pytest.mark.parametrize(("colour", "in_size"), [(False, 784), (True, 3072)])
def test_real_cifar10_gives_a_balanced_task(colour, in_size):
    record = next(record for record in available() if record.name == "cifar10")
    if not record.present:
        pytest.skip(f"cifar10 is not in {record.where}: set LANGEVIN_NN_DATA")
    task = load("cifar10", num_train=200, num_test=300, colour=colour)
    assert (task.num_train, task.num_test, task.in_size) == (200, 300, in_size)
    assert task.x_train.mean() == pytest.approx(0, abs=1e-12)
    assert task.x_train.std() == pytest.approx(1, abs=1e-12)
    # Half of the pool are airplanes: within five standard deviations of a draw without replacement.
    assert abs(np.mean(task.y_train)) < 5 / np.sqrt(200)
