"""A regression task as arrays: training and test examples, checked where they are given."""

import math
from dataclasses import dataclass
from typing import Any, SupportsIndex, no_type_check

import numpy as np
from jaxtyping import Float

from langevin_nn.data.npz_files import ARRAY_NAMES
from langevin_nn.display import Displayed, Table
from langevin_nn.memory import require_memory
from langevin_nn.types import InputError
from langevin_nn.values import as_number, as_whole, is_ordered, require_text, shown

LARGEST_NUMBER = 1e9
"""The largest size of an input or a target: its square stays far inside float32."""
_LAYOUTS = {"x": (2,), "y": (1, 2)}


@no_type_check  # not by jaxtyping: users' arrays are converted and checked here, with advice
@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Displayed):
    """A regression task: P training examples, P_test test examples, N_0 inputs, D outputs.

    Targets are (P,), or (P, D) for D ≥ 2. Anything that NumPy takes as numbers is accepted (lists,
    JAX arrays, float32) and copied once, into read-only float64: what happens to the caller's
    arrays afterwards does not matter. `provenance` says where the task comes from: file names with
    the start of their SHA-256, or the teacher in words. `image_shape` (height, width, colours) says
    which images the inputs are, rows first and colours last; it is None for other inputs. It counts
    for patches alone: the order of the inputs does not matter to fully connected networks, so that
    images with their colours first, (P, 3, 32, 32) in a file, are right for them. `labelling`
    says in words how the targets come from labels.

    `class_targets` are the targets of two classes, without noise. The accuracy's threshold,
    `targets_midpoint`, lies midway between them; `dataclasses.replace` keeps them.

    Raises `InputError` for other shapes, for masked arrays and for values that are not finite.
    """

    name: str
    x_train: Float[np.ndarray, "P N_0"]
    y_train: Float[np.ndarray, " P *D"]
    x_test: Float[np.ndarray, "P_test N_0"]
    y_test: Float[np.ndarray, " P_test *D"]
    provenance: tuple[str, ...] = ()
    image_shape: tuple[int, int, int] | None = None
    labelling: str = "as they are"
    class_targets: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for text in ("name", "labelling"):
            require_text(text, getattr(self, text))
        if not is_ordered(self.provenance):
            raise InputError(
                f"provenance is a tuple of words, got {shown(self.provenance)}: write (WORDS,)"
            )
        for entry in self.provenance:
            require_text("each entry of provenance", entry)
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
        targets = self.class_targets
        if targets is not None and not (
            is_ordered(targets)
            and len(targets) == 2
            and all(as_number(y) is not None for y in targets)
        ):
            raise InputError(
                f"class_targets are the two numbers of two classes, got {shown(targets)}: write "
                "(-1.0, 1.0), or leave them out"
            )
        if self.image_shape is not None:
            shape = tuple(self.image_shape) if is_ordered(self.image_shape) else ()
            sizes = [as_whole(size) or 0 for size in shape]
            if len(shape) != 3 or math.prod(sizes) != self.in_size:
                raise InputError(
                    f"image_shape = {shown(self.image_shape)} does not describe {self.in_size} "
                    "inputs: give (height, "
                    f"width, colours) with the product {self.in_size}, or leave it out"
                )
            object.__setattr__(self, "image_shape", shape)

    def __repr__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self._table.rows)
        return f"Dataset {self.name}: {facts}"

    @property
    def _table(self) -> Table:
        rows = [
            ("P =", str(self.num_train)), ("P_test =", str(self.num_test)),
            ("N_0 =", str(self.in_size)), ("targets", self.labelling),
        ]  # fmt: skip
        if self.num_outputs > 1:
            rows.insert(3, ("D =", str(self.num_outputs)))
        return Table((), rows, title=self.name)

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
        """The accuracy's threshold: midway between the targets of the two classes.

        Where these are not known, it lies midway between the two values of the test targets, if
        there are three targets or more with two values (the training targets may have noise); else
        midway between the smallest and the largest training target; where all of these are equal,
        midway between the smallest and the largest of all targets; and at 0 if all are equal.
        """
        if self.class_targets is not None:
            y = np.array(self.class_targets)
        elif len(np.unique(self.y_test)) == 2 < self.num_test:
            y = self.y_test
        elif self.y_train.min() < self.y_train.max():
            y = self.y_train
        else:
            y = np.concatenate([self.y_train.ravel(), self.y_test.ravel()])
        return float(y.min() + y.max()) / 2 if y.min() < y.max() else 0.0


def _as_float64(name: str, value: Any) -> np.ndarray:
    """A read-only float64 copy of the value, of the right rank and with finite entries."""
    array = _as_array(name, value)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} has values of type {array.dtype}: {_advice_on_type(name, array)}")
    if array.ndim not in _LAYOUTS[name[0]] or (name[0] == "y" and array.shape[1:] == (1,)):
        raise InputError(f"{name} has shape {array.shape}, not {_advice_on_shape(name, array)}")
    if array.size == 0:
        raise InputError(f"{name} has shape {array.shape}: give at least one example and one input")
    with np.errstate(over="ignore"):  # of 128 bits: infinite below
        array = array.astype(np.float64, order="C", subok=False)
    bad = np.argwhere(~(np.abs(array) <= LARGEST_NUMBER))
    if bad.size:
        raise InputError(
            f"{name} has {len(bad)} value(s) that are NaN, infinite or beyond ±{LARGEST_NUMBER:g}, "
            f"the first in row {bad[0, 0]} (counted from 0): remove these examples or rescale"
        )
    array.flags.writeable = False
    return array.view()


def as_numbers(name: str, value: Any) -> np.ndarray:
    """The value as a float64 array, if NumPy takes it as real numbers; else `InputError`.

    >>> as_numbers("labels", [1, 2])
    array([1., 2.])
    >>> as_numbers("labels", "12")
    Traceback (most recent call last):
    langevin_nn.errors.InputError: labels must be an array of real numbers, got '12'
    """
    array = _as_array(name, value)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} must be an array of real numbers, got {shown(value)}")
    return array.astype(np.float64, copy=False)


def as_finite_numbers(name: str, value: Any) -> np.ndarray:
    """The value as a float64 array, if it holds finite real numbers and no Booleans.

    >>> as_finite_numbers("x", [1.0, float("nan")])
    Traceback (most recent call last):
    langevin_nn.errors.InputError: x must be finite numbers, got [1.0, nan]
    """
    array = as_numbers(name, value)
    if np.asarray(value).dtype.kind == "b" or not np.all(np.isfinite(array)):
        raise InputError(f"{name} must be finite numbers, got {shown(value)}")
    return array


def _as_array(name: str, value: Any) -> np.ndarray:
    arrays = (value, *value) if isinstance(value, list | tuple) else (value,)
    if any(isinstance(array, np.ma.MaskedArray) for array in arrays):
        raise InputError(
            f"{name} is a masked array, and what is masked has no value: leave these examples out "
            f"(numpy.ma.compress_rows), or write {name}.filled(VALUE)"
        )
    if hasattr(value, "toarray") and not hasattr(value, "__array__"):
        raise InputError(f"{name} is a sparse matrix: write {name}.toarray()")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name} is ragged: give rows of one length") from error
    except (TypeError, RuntimeError) as error:
        raise InputError(
            f"{name} is no array ({type(value).__name__}: {error}): give numbers, as "
            "numpy.asarray takes them"
        ) from error


def _advice_on_type(name: str, array: np.ndarray) -> str:
    if array.dtype.kind in "US" and name[0] == "y":
        return f'give real numbers, for example numpy.where({name} == "…", -1.0, 1.0)'
    if array.dtype.kind == "O":
        first = next(
            (entry for entry in array.flat if not isinstance(entry, int | float | np.number)), 0
        )
        content = " ".join(repr(first).split())[:40] if first != 0 else "numbers as Python objects"
        return f"it holds {content}, give real numbers, as {name}.astype(float) makes them"
    if array.dtype.kind == "c":
        return f"give real numbers, such as {name}.real"
    return "give real numbers"


def _advice_on_shape(name: str, array: np.ndarray) -> str:
    """The shape that the array should have, and the command that gives it that shape."""
    size = f"{name}.reshape(len({name}), -1)"
    if name[0] == "x":
        expected = "(examples, inputs)"
        if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] > 4:
            colours_last = f"{name}.transpose(0, 2, 3, 1)"
            return (
                f"{expected}: write {size}, or where the images are to stay images, for patches of "
                f"a Convolutional, {colours_last}.reshape(len({name}), -1), with their colours last"
            )
        return f"{expected}: write {size if array.ndim else 'a row of inputs for each example'}"
    expected = "(examples,) or (examples, outputs)"
    if array.ndim == 0:
        return f"{expected}: give one target for each example"
    return f"{expected}: write {f'{name}.ravel()' if array.shape[1:] == (1,) else size}"


def as_rows(x: np.ndarray) -> np.ndarray:
    """The array with each example flattened into one row, (P, N_0)."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def image_shape(x: np.ndarray) -> tuple[int, int, int] | None:
    """The (height, width, colours) of images (P, H, W) or (P, H, W, C); None for other arrays."""
    if x.ndim not in (3, 4) or 0 in x.shape:
        return None
    height, width, *colours = x.shape[1:]
    return height, width, colours[0] if colours else 1


def positive(name: str, value: SupportsIndex | None) -> int:
    """The user's parameter `name` as an int; `InputError` unless it is a positive whole number."""
    number = as_whole(value) or 0
    if number < 1:
        raise InputError(f"{name} must be a positive whole number here, got {shown(value)}")
    return number


def up_to(name: str, value: SupportsIndex | None, exist: int, what: str) -> int:
    """The number of examples that are asked for, at most `exist`; all of these for None."""
    number = exist if value is None else positive(name, value)
    if number > exist:
        raise InputError(
            f"{name} = {number}, but {what} has {exist} examples: write {name} = {exist} or less"
        )
    return number


def require_inputs(num_examples: int, in_size: int) -> None:
    """Raise `InputError` if four float64 arrays of the inputs' size do not fit into memory."""
    what = f"a task of {num_examples} examples with {in_size} inputs"
    require_memory(4 * 8 * num_examples * in_size, what, "write fewer examples or inputs")
