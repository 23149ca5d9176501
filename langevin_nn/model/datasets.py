"""Regression tasks: classes of an image data set, arrays from a file, or a teacher.

Every task is P training pairs (x_μ, y_μ) and P_test test pairs, x in R^{N_0}, y a number or D of
them. Images have the targets of their class; the rules of the teachers are in `teachers.py`.

All randomness comes from one JAX key through NumPy's generator, so a task depends on its key and
its parameters alone. A larger `num_train` extends the training set (the first examples stay) and
leaves the test set as it is, and the other way round.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsIndex

import jax
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from langevin_nn.model.labels import Groups, class_groups, class_targets, targets_of
from langevin_nn.model.raw_files import fingerprint, nearest, read_images
from langevin_nn.model.raw_formats import IMAGE_SHAPES, RawImages, as_images, read_npz
from langevin_nn.model.task import Dataset
from langevin_nn.model.teachers import TEACHERS, draw_task, noise_scale, positive
from langevin_nn.types import InputError

__all__ = ["IMAGE_SOURCES", "SOURCES", "Dataset", "load_dataset"]

IMAGE_SOURCES = ("digits", *IMAGE_SHAPES)
SOURCES = (*IMAGE_SOURCES, "npz", *TEACHERS)


def load_dataset(
    source: str,
    *,
    key: Array,
    num_train: SupportsIndex | None,
    num_test: SupportsIndex | None,
    classes: Sequence[Any] = (0, 1),
    targets: str | Sequence[Any] = (-1.0, 1.0),
    standardize: bool = True,
    colour: bool = False,
    path: str | Path | None = None,
    in_size: int = 100,
    noise_variance: float | int = 0.0,
    teacher_width: int = 100,
    num_components: SupportsIndex | None = None,
    folder: str | Path | None = None,
) -> Dataset:
    """The task of one of SOURCES.

    - "digits", "mnist", "fashion_mnist", "cifar10": `num_train` and `num_test` examples (None: all)
      of two or more `classes`, or groups of classes such as ((0, 2, 4), (1, 3, 5)), drawn without
      replacement, in random order. `targets` are two numbers for two classes, or with one output
      for each of D classes "one_hot" (1 for the class, 0 for the others) or "centred" (that minus
      1/D). Training and test examples come from the published training and test files; "digits"
      is one pool, whose shuffled examples are taken for testing from the front and for training
      from the back. Pixels are on the scale 0..1, rows first (28×28; digits 8×8). CIFAR-10 is
      turned into grey (luma) and averaged over areas from 32×32 to 28×28 pixels, or with `colour`
      kept as 32×32×3, colours last. Files lie in `folder`, else in LANGEVIN_NN_DATA, else in
      `data`; absent ones are fetched.
    - "npz": the arrays x_train (P, …), y_train (P,) or (P, D), x_test, y_test of the file `path`,
      in their order; the first `num_train` and `num_test` rows if given. Inputs are flattened;
      (P, H, W) and (P, H, W, C) are images.
    - "teacher_linear", "teacher_network", "random": Gaussian inputs of `in_size` dimensions and
      the rules of `teachers.py`, with `teacher_width` hidden units.

    `noise_variance` is that of independent Gaussian noise on the training targets, of any source.
    Test targets have none, and which examples are drawn does not depend on it.

    `num_components` turns images into that many of their principal components, largest first,
    those of all published training images of these classes (digits: of the pool): they depend on
    neither `num_train` nor the key. They keep their variances, nothing is whitened. Pixels are
    centred at their means first.

    `standardize` subtracts one mean and divides by one standard deviation, both over all inputs
    of all selected training examples, from training and test inputs; of components it subtracts
    nothing, so that the scale is the root of their mean square.

    Parameters that a source does not use are ignored, except `colour`. Raises `InputError` for
    everything that cannot be done, with what to write instead.
    """
    if source not in SOURCES:
        raise InputError(f"unknown data source {source!r}: write {nearest(source, SOURCES)}")
    if colour and source != "cifar10":
        raise InputError(f"{source} has no colours: write colour=False, or use cifar10")
    if num_components is not None and source not in IMAGE_SOURCES:
        raise InputError(
            f"principal components are those of images, {source} has none to take them from: "
            "leave num_components out"
        )
    rng = _generator(key)
    if source in TEACHERS:
        arrays, words = draw_task(
            source, rng, num_train, num_test, in_size, teacher_width, noise_variance, targets
        )
        task = Dataset(source, *arrays, (words,))
    elif source == "npz":
        task = _npz_task(path, num_train, num_test)
    else:
        groups = class_groups(classes)
        values = class_targets(targets, len(groups))
        raw = read_images(source, folder, [label for group in groups for label in group])
        task = _image_task(source, raw, rng, num_train, num_test, groups, values, colour)
        if num_components is not None:
            number = positive("num_components", num_components)
            task = _projected(task, _pool(raw, groups, colour), number)
    if source == "random" or source not in TEACHERS:  # the teachers draw their own
        task = _noisy(task, noise_variance, rng.spawn(1)[0])
    return _standardized(task) if standardize else task


def _image_task(
    source: str,
    raw: RawImages,
    rng: np.random.Generator,
    num_train: SupportsIndex | None,
    num_test: SupportsIndex | None,
    groups: Groups,
    values: Float[np.ndarray, " K *D"],
    colour: bool,
) -> Dataset:
    wanted = [label for group in groups for label in group]
    train, test = (
        rng.permutation(np.flatnonzero(np.isin(labels, wanted)))
        for labels in (raw.y_train, raw.y_test)
    )
    if source == "digits":
        train, test = _two_ends(test, num_train, num_test)
    what = f"{source} with classes = {groups}"
    train = train[: _up_to("num_train", num_train, len(train), f"the training part of {what}")]
    test = test[: _up_to("num_test", num_test, len(test), f"the test part of {what}")]
    x_train, x_test = (
        as_images(images, colour) / raw.white for images in (raw.x_train[train], raw.x_test[test])
    )
    return Dataset(
        source,
        x_train=_as_rows(x_train),
        y_train=targets_of(raw.y_train[train], groups, values),
        x_test=_as_rows(x_test),
        y_test=targets_of(raw.y_test[test], groups, values),
        provenance=raw.files,
        image_shape=_image_shape(x_train),
    )


def _pool(raw: RawImages, groups: Groups, colour: bool) -> Iterator[Float[np.ndarray, "B N_0"]]:
    """All published training images of these classes, some at a time."""
    chosen = np.flatnonzero(np.isin(raw.y_train, [label for group in groups for label in group]))
    for rows in np.array_split(chosen, max(1, len(chosen) // 2_000)):
        yield _as_rows(as_images(raw.x_train[rows], colour) / raw.white)


def _projected(task: Dataset, pool: Iterable[Float[np.ndarray, "B N_0"]], number: int) -> Dataset:
    """The task in the leading eigenvectors of the pool's covariance, each with a stated sign."""
    size = task.in_size
    if number > size:
        raise InputError(
            f"num_components = {number}, but images of {task.name} have {size} pixels: write "
            f"num_components = {size} or less"
        )
    count, total, products = 0, np.zeros(size), np.zeros((size, size))
    for rows in pool:
        count, total, products = (
            count + len(rows),
            total + rows.sum(axis=0),
            products + rows.T @ rows,
        )
    mean = total / count
    covariance = products / count - np.outer(mean, mean)
    axes = scipy.linalg.eigh(covariance, subset_by_index=(size - number, size - 1))[1][:, ::-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(number)])
    x_train, x_test = ((x - mean) @ axes for x in (task.x_train, task.x_test))
    words = (*task.provenance, f"{number} principal components")
    return replace(task, x_train=x_train, x_test=x_test, provenance=words, image_shape=None)


def _noisy(task: Dataset, variance: float | int, rng: np.random.Generator) -> Dataset:
    """The task with noise on its training targets, from a stream of its own."""
    scale = noise_scale(variance)
    if scale == 0:
        return task
    words = (*task.provenance, f"noise of variance {variance:g} on the training targets")
    y_train = task.y_train + scale * rng.standard_normal(task.y_train.shape)
    return replace(task, y_train=y_train, provenance=words)


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
    image_shape = _image_shape(x_train)
    if image_shape and x_test.ndim > 2 and image_shape != _image_shape(x_test):
        raise InputError(
            f"x_train of {file} has images of shape {x_train.shape[1:]}, x_test of "
            f"{x_test.shape[1:]}: give training and test images of one shape"
        )
    x_train, x_test = (_as_rows(x) if x.ndim > 2 else x for x in (x_train, x_test))
    provenance = (fingerprint(file),)
    whole = Dataset("npz", x_train, y_train, x_test, y_test, provenance, image_shape)
    train = _up_to("num_train", num_train, whole.num_train, f"x_train of {file}")
    test = _up_to("num_test", num_test, whole.num_test, f"x_test of {file}")
    x_train, y_train = whole.x_train[:train], whole.y_train[:train]
    x_test, y_test = whole.x_test[:test], whole.y_test[:test]
    return replace(whole, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


def _as_rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def _image_shape(x: np.ndarray) -> tuple[int, int, int] | None:
    """(height, width, colours) of arrays of images, (P, H, W) or (P, H, W, C)."""
    if x.ndim not in (3, 4) or 0 in x.shape:
        return None
    height, width, *colours = x.shape[1:]
    return height, width, colours[0] if colours else 1


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


def _up_to(name: str, value: SupportsIndex | None, exist: int, what: str) -> int:
    """`value` checked against the number of examples that exist; all of them for None."""
    number = exist if value is None else positive(name, value)
    if number > exist:
        raise InputError(
            f"{name} = {number}, but {what} has {exist} examples: write {name} = {exist} or less"
        )
    return number


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
