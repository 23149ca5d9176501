"""A regression task as arrays: training and test examples, checked where they are given."""

import math
from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float

from langevin_nn.model.raw_formats import ARRAY_NAMES
from langevin_nn.types import InputError

LARGEST = 1e9  # input or target: its square stays far inside float32
_LAYOUTS = {
    "x": ((2,), "(examples, inputs)", "{0}.reshape(len({0}), -1)"),
    "y": ((1, 2), "(examples,) or (examples, outputs)", "{0}.ravel()"),
}


@no_type_check  # not by jaxtyping: users' arrays are converted and checked here, with advice
@dataclass(frozen=True, eq=False)
class Dataset:
    """A regression task: P training examples, P_test test examples, N_0 inputs, D outputs.

    Targets are (P,), or (P, D) for D ≥ 2. Anything that NumPy takes as numbers is accepted (lists,
    JAX arrays, float32) and kept as read-only float64. `provenance` says where it comes from: file
    names with the start of their SHA-256, or the teacher in words. `image_shape` (height, width,
    colours) says which images the inputs are, rows first and colours last; None for what is none.

    Raises `InputError` for other shapes, for values that are not finite, and if all training
    targets are equal.
    """

    name: str
    x_train: Float[np.ndarray, "P N_0"]
    y_train: Float[np.ndarray, " P *D"]
    x_test: Float[np.ndarray, "P_test N_0"]
    y_test: Float[np.ndarray, " P_test *D"]
    provenance: tuple[str, ...] = ()
    image_shape: tuple[int, int, int] | None = None

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
        if self.y_train.shape[1:] != self.y_test.shape[1:]:
            raise InputError(
                f"y_train has {self.num_outputs} output(s), but y_test has shape "
                f"{self.y_test.shape}: give training and test targets of one size"
            )
        if (self.y_train == self.y_train[:1]).all():
            first = np.array2string(self.y_train[0], formatter={"float_kind": "{:g}".format})
            raise InputError(
                f"all {self.num_train} training targets equal {first}: give targets "
                "of at least two values (a larger num_train, other classes, or another seed)"
            )
        if self.image_shape is not None:
            shape = tuple(self.image_shape)
            if len(shape) != 3 or math.prod(shape) != self.in_size:
                raise InputError(
                    f"image_shape = {shape} does not describe {self.in_size} inputs: give (height, "
                    f"width, colours) with the product {self.in_size}, or leave it out"
                )
            object.__setattr__(self, "image_shape", shape)

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
    def num_outputs(self) -> int:
        """D, the number of outputs: the numbers of one target."""
        return 1 if self.y_train.ndim == 1 else self.y_train.shape[1]

    @property
    def targets_midpoint(self) -> float:
        """Midway between smallest and largest training target, the accuracy's threshold.

        Of test targets with two values, those: training targets may have noise.
        """
        two = len(np.unique(self.y_test)) == 2
        y = self.y_test if two else self.y_train
        return float(y.min() + y.max()) / 2


def _as_float64(name: str, value: Any) -> np.ndarray:
    """The value as a read-only float64 array of the right rank with finite entries."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name} is ragged: give rows of one length") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} has values of type {array.dtype}: give real numbers")
    ranks, layout, fix = _LAYOUTS[name[0]]
    if array.ndim not in ranks or (name[0] == "y" and array.shape[1:] == (1,)):
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
