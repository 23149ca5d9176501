"""Regression tasks: two classes of an image data set, arrays from a file, or a teacher.

Every task is P training pairs (x_μ, y_μ) and P_test test pairs, x in R^{N_0}, y a number. Images
have the targets of their class; the rules of the teachers are in `teachers.py`.

All randomness comes from one JAX key through NumPy's generator, so a task depends on its key and
its parameters alone. A larger `num_train` extends the training set (the first examples stay) and
leaves the test set as it is, and the other way round.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, SupportsIndex, no_type_check

import jax
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.model.raw_files import fingerprint, nearest, read_images
from langevin_nn.model.raw_formats import ARRAY_NAMES, as_rows, read_npz
from langevin_nn.model.teachers import TEACHERS, draw_task, positive, two_targets
from langevin_nn.types import InputError

SOURCES = ("digits", "mnist", "fashion_mnist", "cifar10", "npz", *TEACHERS)

LARGEST = 1e9  # input or target: its square stays far inside float32
_LAYOUTS = {
    "x": (2, "(examples, inputs)", "{0}.reshape(len({0}), -1)"),
    "y": (1, "(examples,)", "{0}.ravel()"),
}


@no_type_check  # not by jaxtyping: users' arrays are converted and checked here, with advice
@dataclass(frozen=True, eq=False)
class Dataset:
    """A regression task: P training examples, P_test test examples, N_0 inputs.

    Anything that NumPy takes as numbers is accepted (lists, JAX arrays, float32) and kept as
    read-only float64. `provenance` says where it comes from: file names with the start of their
    SHA-256, or the teacher in words.

    Raises `InputError` for other shapes, for values that are not finite, and if all training
    targets are equal.
    """

    name: str
    x_train: Float[np.ndarray, "P N_0"]
    y_train: Float[np.ndarray, " P"]
    x_test: Float[np.ndarray, "P_test N_0"]
    y_test: Float[np.ndarray, " P_test"]
    provenance: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for array in ARRAY_NAMES:
            object.__setattr__(self, array, _as_float64(array, getattr(self, array)))
        for part, x, y in (
            ("train", self.x_train, self.y_train),
            ("test", self.x_test, self.y_test),
        ):
            if x.shape[0] != y.shape[0]:
                raise InputError(
                    f"x_{part} has {x.shape[0]} examples, but y_{part} has {y.shape[0]}: "
                    "give one target for each row of inputs"
                )
        if self.x_train.shape[1] != self.x_test.shape[1]:
            raise InputError(
                f"x_train has {self.x_train.shape[1]} inputs, but x_test has "
                f"{self.x_test.shape[1]}: give training and test examples of one size"
            )
        if self.y_train.min() == self.y_train.max():
            raise InputError(
                f"all {self.num_train} training targets equal {self.y_train[0]:g}: give targets "
                "of at least two values (a larger num_train, other classes, or another seed)"
            )

    @property
    def in_size(self) -> int:
        """N_0, the number of inputs."""
        return self.x_train.shape[1]

    @property
    def num_train(self) -> int:
        """P, the number of training examples."""
        return self.x_train.shape[0]

    @property
    def num_test(self) -> int:
        """P_test, the number of test examples."""
        return self.x_test.shape[0]

    @property
    def targets_midpoint(self) -> float:
        """Midway between smallest and largest training target: the threshold of the accuracy."""
        return float(self.y_train.min() + self.y_train.max()) / 2


def load_dataset(
    source: str,
    *,
    key: Array,
    num_train: SupportsIndex | None,
    num_test: SupportsIndex | None,
    classes: Sequence[Any] = (0, 1),
    targets: Sequence[Any] = (-1.0, 1.0),
    standardize: bool = True,
    colour: bool = False,
    path: str | Path | None = None,
    in_size: int = 100,
    noise_variance: float | int = 0.0,
    teacher_width: int = 100,
    folder: str | Path | None = None,
) -> Dataset:
    """The task of one of SOURCES.

    - "digits", "mnist", "fashion_mnist", "cifar10": `num_train` and `num_test` examples (None: all)
      of two `classes`, or two groups of classes such as ((0, 2, 4), (1, 3, 5)), drawn without
      replacement, in random order, with the two `targets`. Training and test examples come from
      the published training and test files; "digits" is one pool, whose shuffled examples are
      taken for testing from the front and for training from the back. Pixels are on the scale
      0..1, rows first (28×28; digits 8×8). CIFAR-10 is turned into grey (luma) and averaged over
      areas from 32×32 to 28×28 pixels, or with `colour` kept as 32×32×3, colours last.
      Files lie in `folder`, else in LANGEVIN_NN_DATA, else in `data`; absent ones are fetched.
    - "npz": the arrays x_train (P, …), y_train (P,), x_test, y_test of the file `path`, in their
      order; the first `num_train` and `num_test` rows if given. Inputs are flattened.
    - "teacher_linear", "teacher_network", "random": Gaussian inputs of `in_size` dimensions and
      the rules of `teachers.py`, with `teacher_width` hidden units and `noise_variance`.

    `standardize` subtracts one mean and divides by one standard deviation, both over all inputs
    of all selected training examples, from training and test inputs.

    Parameters that a source does not use are ignored, except `colour`. Raises `InputError` for
    everything that cannot be done, with what to write instead.
    """
    if source not in SOURCES:
        raise InputError(f"unknown data source {source!r}: write {nearest(source, SOURCES)}")
    if colour and source != "cifar10":
        raise InputError(f"{source} has no colours: write colour=False, or use cifar10")
    rng = _generator(key)
    if source in TEACHERS:
        arrays, words = draw_task(
            source, rng, num_train, num_test, in_size, teacher_width, noise_variance, targets
        )
        task = Dataset(source, *arrays, (words,))
    elif source == "npz":
        task = _npz_task(path, num_train, num_test)
    else:
        groups, low_high = _class_groups(classes), two_targets(targets)
        task = _image_task(source, rng, num_train, num_test, groups, low_high, colour, folder)
    return _standardized(task) if standardize else task


def _image_task(
    source: str,
    rng: np.random.Generator,
    num_train: SupportsIndex | None,
    num_test: SupportsIndex | None,
    groups: tuple[list[int], list[int]],
    targets: tuple[float, float],
    colour: bool,
    folder: str | Path | None,
) -> Dataset:
    wanted = groups[0] + groups[1]
    raw = read_images(source, folder, wanted)
    train, test = (
        rng.permutation(np.flatnonzero(np.isin(labels, wanted)))
        for labels in (raw.y_train, raw.y_test)
    )
    if source == "digits":
        train, test = _two_ends(test, num_train, num_test)
    what = f"{source} with classes = {groups}"
    train = train[: _up_to("num_train", num_train, len(train), f"the training part of {what}")]
    test = test[: _up_to("num_test", num_test, len(test), f"the test part of {what}")]
    return Dataset(
        source,
        x_train=as_rows(raw.x_train[train], colour) / raw.white,
        y_train=np.where(np.isin(raw.y_train[train], groups[0]), *targets),
        x_test=as_rows(raw.x_test[test], colour) / raw.white,
        y_test=np.where(np.isin(raw.y_test[test], groups[0]), *targets),
        provenance=raw.files,
    )


def _two_ends(
    pool: np.ndarray, num_train: SupportsIndex | None, num_test: SupportsIndex | None
) -> tuple[np.ndarray, np.ndarray]:
    """Training examples from the back of the shuffled pool, test examples from its front."""
    train, test = (
        None if value is None else positive(name, value)
        for name, value in (("num_train", num_train), ("num_test", num_test))
    )
    if train is None and test is not None:
        train = len(pool) - test
    elif test is None and train is not None:
        test = len(pool) - train
    if train is None or test is None or min(train, test) < 1 or train + test > len(pool):
        raise InputError(
            f"num_train = {num_train} and num_test = {num_test}, but digits is one pool of "
            f"{len(pool)} examples of these classes: write two numbers whose sum is at most that"
        )
    return pool[::-1][:train], pool[:test]


def _npz_task(
    path: str | Path | None, num_train: SupportsIndex | None, num_test: SupportsIndex | None
) -> Dataset:
    if not path:
        raise InputError('source "npz" needs a path: write path = "file.npz"')
    file = Path(path).expanduser()
    x_train, y_train, x_test, y_test = read_npz(file)
    x_train, x_test = (
        x.reshape(x.shape[0], math.prod(x.shape[1:])) if x.ndim > 2 else x
        for x in (x_train, x_test)
    )
    whole = Dataset("npz", x_train, y_train, x_test, y_test, (fingerprint(file),))
    train = _up_to("num_train", num_train, whole.num_train, f"x_train of {file}")
    test = _up_to("num_test", num_test, whole.num_test, f"x_test of {file}")
    x_train, y_train = whole.x_train[:train], whole.y_train[:train]
    x_test, y_test = whole.x_test[:test], whole.y_test[:test]
    return replace(whole, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


def _generator(key: Array) -> np.random.Generator:
    """NumPy's generator from the words of one JAX key, new-style or legacy."""
    try:
        words = np.asarray(jax.random.key_data(key))
    except TypeError as error:
        raise InputError(f"key must be a JAX key such as jax.random.key(0), got {key}") from error
    if words.ndim != 1:
        raise InputError(
            f"key must be one JAX key, got an array of keys of shape {words.shape[:-1]}: write "
            "key[0], or jax.random.key(0)"
        )
    return np.random.default_rng(words)


def _class_groups(classes: Sequence[Any]) -> tuple[list[int], list[int]]:
    """Two disjoint groups of class labels, from two labels or two groups."""
    members = classes if isinstance(classes, Sequence) else ()
    groups = [list(group) if isinstance(group, Sequence) else [group] for group in members]
    labels = [label for group in groups for label in group]
    if (
        len(groups) != 2
        or not all(groups)
        or not all(type(label) is int for label in labels)
        or set(groups[0]) & set(groups[1])
    ):
        raise InputError(
            f"classes must be two of 0 to 9 such as (0, 1), or two groups that share none such as "
            f"((0, 2, 4, 6, 8), (1, 3, 5, 7, 9)), got {classes!r}"
        )
    return groups[0], groups[1]


def _up_to(name: str, value: SupportsIndex | None, exist: int, what: str) -> int:
    """`value` checked against the number of examples that exist; all of them for None."""
    number = exist if value is None else positive(name, value)
    if number > exist:
        raise InputError(
            f"{name} = {number}, but {what} has {exist} examples: write {name} = {exist} or less"
        )
    return number


def _as_float64(name: str, value: Any) -> np.ndarray:
    """The value as a read-only float64 array of the right rank with finite entries."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name} is ragged: give rows of one length") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} has values of type {array.dtype}: give real numbers")
    rank, layout, fix = _LAYOUTS[name[0]]
    if array.ndim != rank:
        raise InputError(f"{name} has shape {array.shape}, not {layout}: write {fix.format(name)}")
    if array.size == 0:
        raise InputError(f"{name} has shape {array.shape}: give at least one example and one input")
    array = array.astype(np.float64, copy=False).view()
    array.flags.writeable = False
    bad = np.argwhere(~(np.abs(array) <= LARGEST))
    if bad.size:
        raise InputError(
            f"{name} has {len(bad)} value(s) that are NaN, infinite or beyond ±{LARGEST:g}, the "
            f"first in row {bad[0, 0]} (counted from 0): remove these examples or rescale"
        )
    return array


def _standardized(task: Dataset) -> Dataset:
    """One mean and one standard deviation over all inputs of all training examples."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = task.x_train.mean(), task.x_train.std()
    if task.x_train.min() == task.x_train.max() or not np.isfinite(scale):
        raise InputError(
            f"the training inputs of {task.name} cannot be standardized, their standard deviation "
            f"is {scale:g}: write standardize = false, or give inputs that vary"
        )
    return replace(task, x_train=(task.x_train - mean) / scale, x_test=(task.x_test - mean) / scale)
