"""Labels become targets by one rule for every source, and outputs classes by one rule for all."""

import dataclasses

import jax
import numpy as np
import pytest
from refusals import refuses

from langevin_nn import config as configuration
from langevin_nn.analysis.averaging import averaging
from langevin_nn.analysis.ensembles import classification_errors, summarise_flow
from langevin_nn.analysis.generalisation import accuracy_of_the_largest, accuracy_of_the_mean
from langevin_nn.data.dataset import Dataset
from langevin_nn.data.labels import is_right, labelling
from langevin_nn.data.load import load_dataset
from langevin_nn.model.activations import erf
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.regression.moments import Moments, generalisation
from langevin_nn.theory.suite import predict
from langevin_nn.training.gradient_flow import Flow
from langevin_nn.types import EnsembleSpec

KEY = jax.random.key(5)
TRAIN, TEST = np.array([0, 1, 1, 0, 2, 1]), np.array([1, 0, 2, 1])  # places in the table of labels
X = np.random.default_rng(0).standard_normal((10, 3))


def saved(path, y_train, y_test, **changes):
    arrays = {"x_train": X[:6], "y_train": y_train, "x_test": X[6:], "y_test": y_test}
    np.savez(path, **{**arrays, **changes})
    return path


def flow_of(f, y, midpoint):
    """A flow that has ended with these test outputs."""
    zeros = np.zeros(len(f))
    of_each = (f[:, :1], f, zeros, zeros, zeros.astype(int))
    return Flow(*of_each, y[:1], y, midpoint, None, None, zeros, zeros.astype(int), zeros == 0, "")


def load(path, **changes):
    options = {"num_train": None, "num_test": None, "standardize": False, "path": path}
    return load_dataset("npz", key=KEY, **{**options, **changes})


LABELS = {
    "integers": (np.array([7, -3, 0]), (7, -3)),
    "unsigned": (np.array([7, 255, 0], np.uint8), (np.int64(7), np.uint8(255))),
    "floats": (np.array([0.1, 2.5, 3.0], np.float32), (0.1, 2.5)),
    "text": (np.array(["cat", "dög", "cow"]), ("cat", np.str_("dög"))),
    "bytes": (np.array(["cat", "dog", "cow"]).astype("S"), (b"cat", "dog")),
    "digits as text": (np.array(["0", "1", "2"]), (0, 1)),  # `--data.classes 0 1` says numbers
    "big-endian": (np.array([7, 256, 0], ">i4"), (7, 256)),
    "column, as Keras has them": (np.array([[7], [3], [0]]), (7, 3)),
}


@pytest.mark.parametrize(("labels", "classes"), LABELS.values(), ids=list(LABELS))
def test_labels_of_every_kind_become_targets(tmp_path, labels, classes):
    """FAULTS 1.6: examples of other classes are left out, the rest keep their order."""
    path = saved(tmp_path / "mine.npz", labels[TRAIN], labels[TEST])
    task = load(path, classes=classes)
    np.testing.assert_array_equal(task.y_train, [-1, 1, 1, -1, 1])
    np.testing.assert_array_equal(task.y_test, [1, -1, 1])
    np.testing.assert_array_equal(task.x_train, X[[0, 1, 2, 3, 5]])
    assert "→ −1, " in task.labelling and "(2 examples of other classes left out)" in task.labelling
    coded = load(path, classes=classes, targets="one_hot", num_train=2, num_test=2)
    np.testing.assert_array_equal(coded.y_train, [[1, 0], [0, 1]])
    third = labels.ravel()[2].item()
    grouped = load(path, classes=((classes[0], third), (classes[1],)), targets=(3, 5))
    np.testing.assert_array_equal(grouped.y_train, np.where(TRAIN == 1, 5, 3))
    assert grouped.class_targets == (3, 5) and "left out" not in grouped.labelling


@pytest.mark.parametrize("classes", [(False, True), (0, 1), ("False", "True")])
def test_booleans_are_labels(tmp_path, classes):
    path = saved(tmp_path / "mine.npz", TRAIN > 0, TEST > 0)
    np.testing.assert_array_equal(load(path, classes=classes).y_train, np.where(TRAIN > 0, 1, -1))


def test_targets_of_a_file_are_as_in_the_file(tmp_path):
    path = saved(tmp_path / "mine.npz", TRAIN, TEST[:, None])
    task = load(path)
    np.testing.assert_array_equal(task.y_train, TRAIN)
    np.testing.assert_array_equal(task.y_test, TEST)
    assert task.labelling == "as in the file" and task.class_targets is None


@pytest.mark.parametrize(
    ("y", "options", "words"),
    [
        (list("abbacb"), {}, ["'a', 'b', 'c'", "classes = ", "targets = [-1.0, 1.0]"]),
        (TRAIN, {"targets": "one_hot"}, ["'one_hot'", "classes"]),
        (TRAIN, {"classes": (0, 9)}, ["0, 1, 2", "9"]),
        (TRAIN, {"classes": ("0", "1")}, ["'0'"]),
        (list("abbacb"), {"classes": ("a", "a")}, ["two", "'a'"]),
        (list("011020"), {"classes": (0, "0")}, ["twice"]),
        (TRAIN, {"classes": (0, 1, 2)}, ["3 classes"]),
        (TRAIN, {"classes": (0, 1), "targets": (1, 1)}, ["two", "different"]),
        (TRAIN, {"classes": (0, 1), "num_train": 6}, ["num_train = 6", "5"]),
        (np.ones((6, 2)), {"classes": (0, 1)}, ["(6, 2)"]),
        ([0, 1, np.nan, 0, 1, 0], {"classes": (0, 1)}, ["NaN"]),
        (TRAIN + 0j, {"classes": (0, 1)}, ["complex128"]),
        (TRAIN.astype("M8[D]"), {"classes": (0, 1)}, ["datetime64[D]"]),
        (TRAIN.astype("M8[D]"), {}, ["datetime64[D]"]),
        ([b"\xff"] * 6, {"classes": ("a", "b")}, ["UTF-8"]),
        (np.array([None] * 6), {"classes": (0, 1)}, ["numpy.savez"]),
        (np.zeros(6, [("a", int)]), {"classes": (0, 1)}, ["records"]),
        (np.array(3), {"classes": (0, 1)}, ["y_train", "()"]),
        (TRAIN[:5], {"classes": (0, 1)}, ["6", "y_train", "5"]),
    ],
)
def test_labels_that_cannot_be_used_are_refused(tmp_path, y, options, words):
    y = np.asarray(y)
    test = y[:4] if y.ndim else np.arange(4)
    with refuses(*words):
        load(saved(tmp_path / "mine.npz", y, test), **options)


def test_classes_of_images_by_name():
    """FAULTS 5, classes by name: as numbers, so that the configuration is the same either way."""

    def of(**data):
        return configuration.from_dict({"data": data})

    named = of(source="cifar10", classes=["Airplane", "automobile"])
    assert named.data.classes == (0, 1)
    assert named.content_hash == of(source="cifar10").content_hash
    fashion = of(source="fashion_mnist", classes=[["T-shirt/top", "ankle boot"], ["bag", 4]])
    assert fashion.data.classes == ((0, 9), (8, 4))
    for source, wrong, hint in (
        ("cifar10", "air plane", '"airplane"?'),
        ("mnist", "zero", "write "),
    ):
        with refuses(source, wrong, hint):
            of(source=source, classes=[wrong, 1])
    digits = {"key": KEY, "num_train": 9, "num_test": 9}
    assert load_dataset("digits", classes=np.array([3, 8]), **digits).labelling == "3 → −1, 8 → +1"


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("teacher_linear", {"classes": (3, 8)}),
        ("teacher_network", {"targets": "one_hot"}),
        ("random", {"classes": (3, 8)}),
    ],
)
def test_what_a_teacher_does_not_use_is_refused(source, options):
    """FAULTS 1.6: its configuration would state targets that were not used."""
    with refuses(source, *options):
        load_dataset(source, key=KEY, num_train=4, num_test=4, **options)


def test_configurations_of_files_keep_their_names(tmp_path):
    """FAULTS 1.6: a configuration of version 0.1 is the same run; one with classes is another."""
    plain = {"source": "npz", "path": "/d.npz"}
    as_it_is = configuration.from_dict({"data": plain})
    assert (as_it_is.data.classes, as_it_is.data.targets) == (None, None)
    assert as_it_is.content_hash == "af7124f1156b"
    mapped = configuration.from_dict({"data": plain | {"classes": [0, 1]}})
    assert (mapped.data.classes, mapped.data.targets) == (((0,), (1,)), (-1.0, 1.0))
    assert mapped.content_hash != as_it_is.content_hash
    with refuses("data.targets = (0.0, 1.0)", "classes"):
        configuration.from_dict({"data": plain | {"targets": [0, 1]}})

    stored = tmp_path / "config.toml"  # as version 0.1 wrote it into the run's folder
    stored.write_text(as_it_is.to_toml().replace("[data]", "[data]\nclasses = [0, 1]\n"
                                                 "targets = [-1.0, 1.0]"))  # fmt: skip
    assert configuration.load(stored) == mapped  # a file of the user's own
    (tmp_path / "summary.json").touch()
    assert configuration.load(stored) == as_it_is
    assert configuration.load(stored, {"data.classes": ["0", "1"]}) == mapped
    stored.write_text(mapped.to_toml())
    assert configuration.load(stored) == mapped


@pytest.mark.parametrize(
    ("source", "options"),
    [("digits", {"noise_variance": 9.0}), ("random", {"noise_variance": 9.0}),
     ("teacher_linear", {"noise_variance": 9.0}), ("teacher_network", {})],
)  # fmt: skip
def test_the_threshold_does_not_depend_on_noise_nor_on_the_test_set(source, options):
    """FAULTS 1.10: it was 1.17 for the first of these."""
    task = load_dataset(source, key=KEY, num_train=20, num_test=1, **options)
    assert task.targets_midpoint == 0
    one = load_dataset("digits", key=KEY, num_train=1, num_test=1, targets=(0, 3))
    assert one.targets_midpoint == 1.5 and one.num_train == 1


def test_the_threshold_of_a_files_noisy_labels(tmp_path):
    path = saved(tmp_path / "mine.npz", TRAIN, TEST)
    noisy = load(path, classes=(0, 1), noise_variance=9.0, num_test=1)
    assert noisy.targets_midpoint == 0


def test_the_threshold_where_the_classes_are_not_known():
    def midpoint(y_train, y_test):
        arrays = np.ones((len(y_train), 1)), y_train, np.ones((len(y_test), 1)), y_test
        return Dataset("mine", *arrays).targets_midpoint

    assert midpoint([0.3, 3.0, -2.2], [-1, 1, 1]) == 0  # noise on the training targets
    assert midpoint([0.0, 1.0, 0.0], [1.0]) == 0.5
    assert (
        midpoint([-2.0, 1.0, 4.0], [0.3, 0.2]) == 1
    )  # regression: two test targets are no classes
    assert midpoint([1.0], [-1.0, 1.0]) == 0
    assert midpoint([2.0, 2.0], [2.0]) == 0


def test_ties_are_wrong_everywhere():
    """FAULTS 1.16: f at the midpoint and equal outputs, by every accuracy."""
    y, f = np.array([1.0, -1.0, 1.0, -1.0]) + 2, np.array([2.0, 2.0, 2.5, 1.0])
    one = Dataset("one", np.eye(4), y, np.eye(4), y)
    two = Dataset("two", np.eye(4), np.stack([y, 4 - y], 1), np.eye(4), np.stack([y, 4 - y], 1))
    g = np.stack([f, 4 - f], axis=1)
    assert accuracy_of_the_mean(y, f, np.ones(4), 2.0).value == 0.5
    assert accuracy_of_the_largest(two.y_test, np.tile(g, (2, 8, 1, 1))).value == 0.5
    for data, mean in ((one, f), (two, g)):
        moments = Moments(mean, np.ones(mean.shape), 0.1, -3.0)
        assert generalisation("theory", data, moments).test_accuracy.value == 0.5
        none = moments._replace(mean=np.full(mean.shape, np.nan))
        assert np.isnan(generalisation("not found", data, none).test_accuracy.value)
        flow = flow_of(np.tile(mean, (3, *[1] * mean.ndim)), data.y_test, 2.0)
        assert classification_errors(flow).ensemble.value == 0.5
        assert classification_errors(flow).single.value == 0.5
        assert summarise_flow(flow).test_accuracy.value == 0.5
    assert averaging(np.tile(f, (3, 2, 1)), y, midpoint=2.0).ensemble.value == 0.5
    tied = np.array([[1.0, 1.0], [0.0, 0.0]])  # targets that name no class
    assert not is_right(np.array([[2.0, 1.0], [1.0, 2.0]]), tied, 0.0).any()


def test_one_training_example_and_constant_targets_are_tasks():
    """FAULTS 5, P = 1: the theories have no need for two values."""
    data = dataclasses.replace(
        load_dataset("digits", key=KEY, num_train=1, num_test=4), class_targets=None
    )
    flat = Dataset("flat", data.x_test, np.ones(4), data.x_test, np.ones(4))
    for task in (data, flat):
        spec = EnsembleSpec(task.in_size, (5,), erf, (1.0, 1.0), temperature=0.1)
        found = predict(Ensemble(spec, task)).results
        assert len(found) >= 5
        for theory in found.values():
            assert theory.converged and np.isfinite(theory.generalisation_error.value), theory.name


def test_labels_that_move_a_terminal_s_cursor_are_written_out():
    """FAULTS 5, a label with an ESC."""
    words = labelling(("a\x1b[31mx", "b"), (-1, 1)).words()
    assert words == r"'a\x1b[31mx' → −1, b → +1" and words.isprintable()


def test_a_class_that_no_training_example_is_in_is_said(tmp_path):
    """FAULTS 1.8: one rule for every source, stated in the table that is printed."""
    whole = load_dataset("digits", classes=(0, 1), num_train=2, num_test=5, key=jax.random.key(3))
    for seed in range(20):
        one = load_dataset(
            "digits", classes=(0, 1), num_train=1, num_test=5, key=jax.random.key(seed)
        )
        absent = {-1.0: "1", 1.0: "0"}[float(one.y_train[0])]
        assert one.labelling == f"0 → −1, 1 → +1; no training example of {absent}"
    assert ("no training" in whole.labelling) == (len(set(whole.y_train)) < 2)
    y = np.array(["cat", "dog", "dog"])
    arrays = {"x_train": np.eye(3), "y_train": y[[1, 1, 0]], "x_test": np.eye(3), "y_test": y}
    np.savez(tmp_path / "own.npz", **arrays)
    given = {"path": tmp_path / "own.npz", "classes": ("cat", "dog"), "key": KEY, "num_test": 3}
    assert load_dataset("npz", num_train=2, **given).labelling.endswith(
        "no training example of cat"
    )
    assert "no training" not in load_dataset("npz", num_train=3, **given).labelling
