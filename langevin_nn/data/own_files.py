"""Tasks from your own `.npz` files, whose y holds targets, or labels of classes with targets."""

import math
from pathlib import Path
from typing import SupportsIndex

import numpy as np

from langevin_nn.data.dataset import Dataset, as_rows, image_shape, require_inputs, up_to
from langevin_nn.data.image_files import fingerprint
from langevin_nn.data.image_formats import Arrays
from langevin_nn.data.labels import NO_CLASS, Labelling, listed
from langevin_nn.data.npz_files import read_npz
from langevin_nn.files import at_home
from langevin_nn.types import InputError


def npz_task(
    path: str | Path | None,
    num_train: SupportsIndex | None,
    num_test: SupportsIndex | None,
    chosen: Labelling | None,
) -> Dataset:
    """The task of a file from its first rows whose labels are in one of the `chosen` classes.

    Raises `InputError` for a file that cannot be used, as `read_npz` and `Dataset` do.
    """
    if path is None or path == "":
        raise InputError('source "npz" needs a path: write path = "file.npz"')
    file = at_home("path", path)
    x_train, y_train, x_test, y_test = _arrays(file)
    if chosen is not None:
        chosen.require((y_train, y_test), str(file))
    arrays: dict[str, np.ndarray] = {}
    num_left_out, train_places = 0, np.empty(0, int)
    for part, x, y, number in (
        ("train", x_train, y_train, num_train),
        ("test", x_test, y_test, num_test),
    ):
        description, rows = f"x_{part} of {file}", np.arange(len(x))
        if chosen is not None:
            places = chosen.places(y, f"y_{part} of {file}")
            rows = np.flatnonzero(places != NO_CLASS)
            y = chosen.targets[places]
            num_left_out += len(places) - len(rows)
            description += f" with {chosen.words()}"
        elif y.dtype.kind in "US":
            raise InputError(
                f"y_{part} of {file} holds the labels {listed([y])}, not targets: write which "
                f"classes to use, for example classes = [{listed([y], 2)}], and their targets, "
                'targets = [-1.0, 1.0] or "one_hot"'
            )
        if chosen is not None and not len(rows):
            raise InputError(f"{description} has no example: write classes that are there")
        rows = rows[: up_to(f"num_{part}", number, len(rows), description)]
        if chosen is not None and part == "train":
            train_places = places[rows]
        require_inputs(len(rows), math.prod(x.shape[1:]))
        arrays |= {f"x_{part}": as_rows(x[rows]) if x.ndim > 2 else x[rows], f"y_{part}": y[rows]}
    labelling = "as in the file"
    if chosen is not None:
        labelling = chosen.words()
        labelling += f" ({num_left_out} examples of other classes left out)" if num_left_out else ""
        labelling += chosen.missing(train_places)
    return Dataset(
        "npz",
        **arrays,
        provenance=(fingerprint(file),),
        image_shape=image_shape(x_train),
        labelling=labelling,
        class_targets=None if chosen is None else chosen.pair,
    )


def _arrays(file: Path) -> Arrays:
    """The arrays of a file, checked for equal numbers of examples; y of shape (P, 1) as (P,)."""
    x_train, y_train, x_test, y_test = read_npz(file)
    y_train, y_test = (y[:, 0] if y.shape[1:] == (1,) else y for y in (y_train, y_test))
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if x.ndim == 0 or y.ndim == 0:
            raise InputError(
                f"x_{part} of {file} has shape {x.shape} and y_{part} {y.shape}: give one row of "
                "x and one target for each example"
            )
        if len(x) != len(y):
            raise InputError(
                f"x_{part} of {file} has {len(x)} examples, but y_{part} has {len(y)}: give one "
                "target for each row of inputs"
            )
    shapes = image_shape(x_train), image_shape(x_test)
    if all(shapes) and shapes[0] != shapes[1]:
        raise InputError(
            f"x_train of {file} has images of shape {x_train.shape[1:]}, x_test of "
            f"{x_test.shape[1:]}: give training and test images of one shape"
        )
    return x_train, y_train, x_test, y_test
