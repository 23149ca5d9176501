"""Regression tasks: classes of an image data set, arrays from a file, or a teacher.

Every task is P training pairs (x_μ, y_μ) and P_test test pairs, x in R^{N_0}, y a number or D of
them. Images have the targets of their class; the rules of the teachers are in `teachers.py`.

All randomness comes from one JAX key through NumPy's generator, so a task depends on its key and
its parameters alone. A larger `num_train` extends the training set (the first examples stay) and
leaves the test set as it is, and the other way round.
"""

import math
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsIndex

import jax
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from langevin_nn.config.fields import CLASS_NAMES, class_numbers
from langevin_nn.config.sections import DEFAULT_CLASSES, DEFAULT_TARGETS, SOURCES, TEACHERS
from langevin_nn.data.dataset import (
    Dataset,
    as_rows,
    image_shape,
    positive,
    require_inputs,
    up_to,
)
from langevin_nn.data.image_files import read_images
from langevin_nn.data.image_formats import RawImages, as_images
from langevin_nn.data.labels import Labelling, labelling, signed, two_targets
from langevin_nn.data.own_files import npz_task
from langevin_nn.data.own_sources import KIND, arguments_of, own_task
from langevin_nn.data.teachers import draw_task, noise_scale
from langevin_nn.import_paths import is_import_path, named
from langevin_nn.types import InputError
from langevin_nn.values import is_ordered, require_flag, shown

__all__ = ["load_dataset"]


def load_dataset(
    source: str,
    *,
    key: Array,
    num_train: SupportsIndex | None,
    num_test: SupportsIndex | None,
    classes: Sequence[Any] | np.ndarray | None = None,
    targets: str | Sequence[Any] | np.ndarray | None = None,
    standardize: bool = True,
    colour: bool = False,
    path: str | Path | None = None,
    in_size: int = 100,
    noise_variance: float | int = 0.0,
    teacher_width: int = 100,
    num_components: SupportsIndex | None = None,
    folder: str | Path | None = None,
) -> Dataset:
    """The task of a source: one of `SOURCES`, or the import path of a function.

    - "digits", "mnist", "fashion_mnist", "cifar10": `num_train` and `num_test` examples (None: all)
      of two or more `classes`, or groups of classes such as ((0, 2, 4), (1, 3, 5)), drawn without
      replacement, in random order; by number or by name ("airplane"), and 0 and 1 if left out.
      `targets` are two numbers for two classes (−1 and 1), or with one output
      for each of D classes "one_hot" (1 for the class, 0 for the others) or "centred" ("one_hot"
      minus 1/D). Training and test examples come from the published training and test files;
      "digits" is one pool, whose shuffled examples are taken for testing from the front and for
      training from the back. Pixels are on the scale 0..1, rows first (28×28; digits 8×8). CIFAR-10
      is turned into grey (luma) and averaged over areas from 32×32 to 28×28 pixels, or with
      `colour` kept as 32×32×3, colours last. Files lie in `folder`, else in LANGEVIN_NN_DATA, else
      in `data` of the working directory or of a checkout, else in the user's cache; absent ones are
      fetched.
    - "npz": the arrays x_train (P, …), y_train (P,) or (P, D), x_test, y_test of the file `path`,
      in their order; the first `num_train` and `num_test` rows if given. Inputs are flattened;
      (P, H, W) and (P, H, W, C) are images. Without `classes`, y holds the targets. With them it
      holds labels of any kind, which become targets as those of images do (`labels.py`).
    - "module:name": the task that a function of your own returns (`own_sources`).
    - "teacher_linear", "teacher_network", "random": Gaussian inputs of `in_size` dimensions and
      the rules of `teachers.py`, with `teacher_width` hidden units.

    `noise_variance` is the variance of independent Gaussian noise on the training targets, for any
    source. Test targets have no noise, and which examples are drawn does not depend on it.

    `num_components` turns images into that many of their principal components, largest first. They
    are the components of all published training images of these classes (digits: of the pool), and
    depend on neither `num_train` nor the key. They keep their variances, nothing is whitened.
    Pixels are centred at their means first.

    `standardize` subtracts one mean and divides by one standard deviation, both over all inputs
    of all selected training examples, from training and test inputs, be they pixels or components.

    `Dataset.labelling` has the targets of the labels in words.

    Parameters that a source does not use are ignored, except `colour`, `classes` and `targets`.
    Raises `InputError` for arguments that cannot be used, with advice on what to write instead.
    """
    function = named(KIND, source, dict.fromkeys(SOURCES))
    for name, flag in (("standardize", standardize), ("colour", colour)):
        require_flag(name, flag)
    if colour and source != "cifar10":
        raise InputError(f"{source} has no colours: write colour=False, or use cifar10")
    if num_components is not None and source not in CLASS_NAMES:
        raise InputError(
            f"principal components are those of images, {source} has none to take them from: "
            "leave num_components out"
        )
    rng = _generator(key)
    if is_import_path(source):
        arguments = {
            "rng": rng, "num_train": num_train, "num_test": num_test, "classes": classes,
            "targets": targets, "path": "" if path is None else path, "in_size": in_size,
            "teacher_width": teacher_width,
        }  # fmt: skip
        _refuse_labels(source, classes, targets, arguments_of(source, function))
        task = own_task(source, function, arguments)
    elif source in TEACHERS:
        _refuse_labels(source, classes, targets, ("targets",) if source == "random" else ())
        arrays, words = draw_task(
            source, rng, num_train, num_test, in_size, teacher_width, noise_variance,
            DEFAULT_TARGETS if targets is None else targets,
        )  # fmt: skip
        task = Dataset(source, *arrays, (words,), **_teacher_labels(source, targets))
    elif source == "npz":
        chosen = None
        if classes is not None:
            chosen = labelling(classes, DEFAULT_TARGETS if targets is None else targets)
        elif targets is not None:
            raise InputError(
                f"targets = {shown(targets)} are the targets of classes, and those of a file are "
                "not known: write classes = (0, 1), or which labels the file has, or leave targets "
                "out"
            )
        task = npz_task(path, num_train, num_test, chosen)
    else:
        numbers = class_numbers(source, _as_lists(DEFAULT_CLASSES if classes is None else classes))
        chosen = labelling(numbers, DEFAULT_TARGETS if targets is None else targets)
        raw = read_images(source, folder, chosen.labels)
        task = _image_task(source, raw, rng, num_train, num_test, chosen, colour)
        if num_components is not None:
            number = positive("num_components", num_components)
            task = _projected(task, _pool(raw, chosen, colour), number)
    if source == "random" or source not in TEACHERS:  # the teachers draw their own
        task = _noisy(task, noise_variance, rng.spawn(1)[0])
    return _standardized(task) if standardize else task


def _as_lists(classes: Any) -> Any:
    """The classes with NumPy's arrays and numbers as lists and Python's numbers."""
    if isinstance(classes, np.ndarray | np.generic):
        return classes.tolist()
    if isinstance(classes, list | tuple):
        return [_as_lists(entry) for entry in classes]
    return classes


def _refuse_labels(source: str, classes: Any, targets: Any, used: Container[str]) -> None:
    """Raise `InputError` for classes or targets that the source does not use: it draws its own."""
    given = {"classes": (classes, DEFAULT_CLASSES), "targets": (targets, DEFAULT_TARGETS)}
    for name, (value, default) in given.items():
        if name in used or value is None:
            continue
        if not is_ordered(value) or tuple(value) != default:
            raise InputError(
                f"{source} draws its targets itself, got {name} = {shown(value)}: leave {name} out"
            )


def _teacher_labels(source: str, targets: Any) -> dict[str, Any]:
    """The `labelling` and `class_targets` of a teacher's task.

    The targets of the two network teachers have a law that is symmetric about 0.
    """
    if source != "random":
        return {"labelling": "those of the teacher", "class_targets": (-1.0, 1.0)}
    low, high = two_targets(DEFAULT_TARGETS if targets is None else targets)
    description = f"{signed(low)} or {signed(high)} with equal probability"
    return {"labelling": description, "class_targets": (low, high)}


def _image_task(
    source: str,
    raw: RawImages,
    rng: np.random.Generator,
    num_train: SupportsIndex | None,
    num_test: SupportsIndex | None,
    chosen: Labelling,
    colour: bool,
) -> Dataset:
    """The task of randomly chosen images of the classes of `chosen`."""
    train, test = (
        rng.permutation(np.flatnonzero(np.isin(labels, chosen.labels)))
        for labels in (raw.y_train, raw.y_test)
    )
    if source == "digits":
        train, test = _two_ends(test, num_train, num_test)
    classes = f"{source} with classes = {chosen.groups}"
    train = train[: up_to("num_train", num_train, len(train), f"the training part of {classes}")]
    test = test[: up_to("num_test", num_test, len(test), f"the test part of {classes}")]
    require_inputs(len(train) + len(test), math.prod(raw.x_train.shape[1:]))
    x_train, x_test = (
        as_images(images, colour) / raw.white for images in (raw.x_train[train], raw.x_test[test])
    )
    train_places, test_places = (
        chosen.places(labels, source) for labels in (raw.y_train[train], raw.y_test[test])
    )
    names = dict(enumerate(CLASS_NAMES[source]))
    return Dataset(
        source,
        x_train=as_rows(x_train),
        y_train=chosen.targets[train_places],
        x_test=as_rows(x_test),
        y_test=chosen.targets[test_places],
        provenance=raw.files,
        image_shape=image_shape(x_train),
        labelling=chosen.words(names) + chosen.missing(train_places, names),
        class_targets=chosen.pair,
    )


def _pool(raw: RawImages, chosen: Labelling, colour: bool) -> Iterator[Float[np.ndarray, "B N_0"]]:
    """The published training images of these classes, in batches of about 2000."""
    selected = np.flatnonzero(np.isin(raw.y_train, chosen.labels))
    for rows in np.array_split(selected, max(1, len(selected) // 2_000)):
        yield as_rows(as_images(raw.x_train[rows], colour) / raw.white)


def _projected(task: Dataset, pool: Iterable[Float[np.ndarray, "B N_0"]], number: int) -> Dataset:
    """The task in the `number` leading eigenvectors of the pool's covariance.

    The component of an eigenvector that is largest in size is positive.
    """
    size = task.in_size
    if number > size:
        raise InputError(
            f"num_components = {number}, but images of {task.name} have {size} pixels: write "
            f"num_components = {size} or less"
        )
    num_images, total, products = 0, np.zeros(size), np.zeros((size, size))
    for rows in pool:
        num_images, total, products = (
            num_images + len(rows),
            total + rows.sum(axis=0),
            products + rows.T @ rows,
        )
    mean = total / num_images
    covariance = products / num_images - np.outer(mean, mean)
    axes = scipy.linalg.eigh(covariance, subset_by_index=(size - number, size - 1))[1][:, ::-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(number)])
    x_train, x_test = ((x - mean) @ axes for x in (task.x_train, task.x_test))
    provenance = (*task.provenance, f"{number} principal components")
    return replace(task, x_train=x_train, x_test=x_test, provenance=provenance, image_shape=None)


def _noisy(task: Dataset, variance: float | int, rng: np.random.Generator) -> Dataset:
    """The task with Gaussian noise on its training targets, drawn from `rng`."""
    scale = noise_scale(variance)
    if scale == 0:
        return task
    provenance = (*task.provenance, f"noise of variance {variance:g} on the training targets")
    y_train = task.y_train + scale * rng.standard_normal(task.y_train.shape)
    return replace(task, y_train=y_train, provenance=provenance)


def _two_ends(
    pool: np.ndarray, num_train: SupportsIndex | None, num_test: SupportsIndex | None
) -> tuple[np.ndarray, np.ndarray]:
    """The training examples from the shuffled pool's back, the test examples from its front."""
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


def _generator(key: Array) -> np.random.Generator:
    """A NumPy generator that is seeded by one JAX key, new-style or legacy."""
    try:
        words = np.asarray(jax.random.key_data(key))
    except TypeError as error:
        raise InputError(
            f"key must be a JAX key such as jax.random.key(0), got {shown(key)}"
        ) from error
    if words.ndim != 1:
        raise InputError(
            f"key must be one JAX key, got an array of keys of shape {words.shape[:-1]}: write "
            "key[0], or jax.random.key(0)"
        )
    return np.random.default_rng(words)


def _standardized(task: Dataset) -> Dataset:
    """The task with inputs shifted and scaled by one mean and standard deviation of all of them.

    Both are those of all inputs of all training examples.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = task.x_train.mean(), task.x_train.std()
    if task.x_train.min() == task.x_train.max() or not np.isfinite(scale):
        raise InputError(
            f"the training inputs of {task.name} cannot be standardized, their standard deviation "
            f"is {scale:g}: write standardize = false, or give inputs that vary"
        )
    return replace(task, x_train=(task.x_train - mean) / scale, x_test=(task.x_test - mean) / scale)
