"""What a field of the configuration accepts, and how words of the command line become its value.

A `Kind` is checked at the edge, once: `check` returns the value in its final type or raises an
`InputError` that says what was given and what to write.
"""

import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langevin_nn.config.representations import REPRESENTATIONS
from langevin_nn.errors import InputError
from langevin_nn.import_paths import OF_YOUR_OWN, is_import_path, near_import_path
from langevin_nn.values import nearest, shown

LARGEST = 2**31 - 1
"""The largest size or number of steps: JAX counts them in 32 bits."""


@dataclass(frozen=True)
class Kind:
    """What a field accepts: `expected` in words, and by `parse`, which raises ValueError else.

    With both `is_list` and `is_text` the value is a list or one text. `choices` are the words that
    help and completion offer, `others` is what else is accepted where they are not all, as the
    words of the help that stand for it: one, or that of a list's first entry and of each further.
    """

    expected: str
    parse: Callable[[Any], Any]
    is_list: bool = False
    is_text: bool = False
    choices: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> Any:
        """`value` as the field `name` keeps it; InputError if the field does not accept it."""
        try:
            return self.parse(value)
        except ValueError:
            advice = near_import_path(value) if OF_YOUR_OWN in self.expected else ""
            write = f": write {advice}" if advice else ""
            raise InputError(f"{name} must be {self.expected}, got {shown(value)}{write}") from None

    def from_words(self, words: Sequence[str]) -> Any:
        """Command-line words as the value that the TOML would have: `1 2`, `1,2`, `[1, 2]`."""
        if not self.is_list:
            (word,) = words
            value = _literal(word)
            return word if self.is_text and not isinstance(value, str) else value
        words = [word.strip(" ,") for word in words]
        if not all(words):  # an empty variable of the shell is no empty list
            return ""
        try:
            values = _toml(f"[{', '.join(words)}]")
        except ValueError:
            values = [_literal(part.strip()) for word in words for part in word.split(",")]
        whole_value = list | str if self.is_text else list
        return values[0] if len(values) == 1 and isinstance(values[0], whole_value) else values


def whole(minimum: int, maximum: int = LARGEST) -> Kind:
    """A whole number in this range, both ends included."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError
        if not minimum <= value <= maximum:
            raise ValueError
        return value

    return Kind(f"a whole number from {minimum} to {maximum}", parse)


def choice(*names: str) -> Kind:
    """One of these names."""

    def parse(value: Any) -> str:
        return _require(value, isinstance(value, str) and value in names)

    listed = ", ".join(f'"{name}"' for name in names)
    return Kind(f"one of {listed}", parse, is_text=True, choices=names)


def described(table: Mapping[str, Any]) -> str:
    """The names of a table with their summaries, where they have one, for the help."""
    meanings = (
        f"{name}: {usage.summary}" if usage.summary else name for name, usage in table.items()
    )
    return ", or ".join(meanings)


def choice_or_path(*names: str) -> Kind:
    """One of these names, or the import path of an object of the user's own."""
    listed = ", ".join(f'"{name}"' for name in names)

    def parse(value: Any) -> str:
        return _require(value, isinstance(value, str) and (value in names or is_import_path(value)))

    expected = f"one of {listed}, or {OF_YOUR_OWN}"
    return Kind(expected, parse, is_text=True, choices=names)


def text(expected: str, *choices: str) -> Kind:
    """A text that can stand in a file, with `expected` in its error; the choices are offered."""

    def parse(value: Any) -> str:
        return _require(value, isinstance(value, str) and is_plain(value))

    return Kind(expected, parse, is_text=True, choices=choices)


def is_plain(word: str) -> bool:
    """Whether a text can stand in a file and name one: it is UTF-8 and has no NUL."""
    try:
        return b"\0" not in word.encode()
    except UnicodeEncodeError:
        return False


def tuple_of_or_auto(item: Kind, expected: str) -> Kind:
    """A list of what `item` accepts, kept as a tuple, or "auto"."""
    listed = tuple_of(item, expected)

    def parse(value: Any) -> Any:
        return value if value == "auto" else listed.parse(value)

    return Kind(
        f'{expected}, or "auto"', parse, is_list=True, is_text=True, choices=("auto",),
        others=("NUMBER", "NUMBER"),
    )  # fmt: skip


def tuple_of(item: Kind, expected: str, length: int | None = None) -> Kind:
    """A list of what `item` accepts, of so many if `length` is given, kept as a tuple."""

    def parse(value: Any) -> tuple[Any, ...]:
        right = isinstance(value, list | tuple) and length in (None, len(value))
        return tuple(item.parse(part) for part in _require(value, right))

    return Kind(expected, parse, is_list=True)


def _require(value: Any, right: bool) -> Any:
    if not right:
        raise ValueError
    return value


class _Unrepresentable(float):
    """A number of a text that no float is near, 1e400 or 1e-400: its text is what is shown."""

    def __new__(cls, text: str) -> "_Unrepresentable":
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str

    def __repr__(self) -> str:
        return self.text


def as_float(text: str) -> float:
    """The number that a text says; `Kind`s refuse it if it overflows, or is rounded to zero."""
    number = float(text)
    digits = text.lower().partition("e")[0]
    too_large = math.isinf(number) and "inf" not in text.lower()
    too_small = number == 0 and any(digit in digits for digit in "123456789")
    return _Unrepresentable(text) if too_large or too_small else number


def _number(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool | _Unrepresentable)
    try:
        number = float(_require(value, is_number))
    except OverflowError:
        raise ValueError from None
    return _require(number, math.isfinite(number))


def _positive(value: Any) -> float:
    return _require(_number(value), value > 0)


def _classes(value: Any) -> tuple[Any, ...]:
    _require(value, isinstance(value, list | tuple) and len(value) >= 2)
    if all(isinstance(group, list | tuple) for group in value):
        _require(value, all(value))
        return tuple(tuple(_label(member) for member in group) for group in value)
    return tuple(_label(member) for member in value)


def _label(value: Any) -> int | float | str | bool:
    """The label of a class: a number, true or false, or a text; ValueError for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _require(value, -(2**63) <= value < 2**64)
    return _number(value) if isinstance(value, float) else _require(value, isinstance(value, str))


def _targets(value: Any) -> tuple[float, ...] | str:
    if isinstance(value, str):
        return _require(value, value in CODES)
    return tuple_of(NUMBER, "", 2).parse(value)


CODES = ("one_hot", "centred")
"""Targets that are named: codes of D classes in D outputs."""

CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "digits": (),
    "mnist": (),
    "fashion_mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
        "Ankle boot",
    ),
    "cifar10": (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
}  # fmt: skip
"""The names of the classes 0 to 9 of the image data sets, as published; digits need none."""

NUMBER = Kind("a number", _number)
POSITIVE = Kind("a positive number", _positive)
RICHNESS = Kind("a positive number, for example 0.5", _positive)
FRACTION = Kind(
    "a number above 0 and at most 1", lambda value: _require(_positive(value), value <= 1)
)
NOT_NEGATIVE = Kind("zero or a positive number", lambda value: _require(_number(value), value >= 0))
FLAG = Kind(
    "true or false",
    lambda value: _require(value, isinstance(value, bool)),
    choices=("true", "false"),
)
STEP_SIZE = Kind(
    'a positive number or "auto"',
    lambda value: value if value == "auto" else _positive(value),
    choices=("auto",),
    others=("NUMBER",),
)
COUNT_OR_AUTO = Kind(
    f'a whole number from 0 to {LARGEST}, or "auto"',
    lambda value: value if value == "auto" else whole(0).parse(value),
    choices=("auto",),
    others=("NUMBER",),
)
ERROR_NAMES = ("bias2", "variance", "generalisation_error", "train_error", "predictions")
"""The numbers whose standard errors a run may be asked for."""
ERRORS = Kind(
    'errors by name, for example ["bias2=1e-4", "predictions=0.05"]; names are '
    + ", ".join(ERROR_NAMES),
    lambda value: _errors(value), is_list=True,
)  # fmt: skip
ERROR_OR_ERRORS = Kind(
    f"{FRACTION.expected}, for example 0.01, or {ERRORS.expected}",
    lambda value: _error_or_errors(value),
    is_list=True,
)
CLASSES = Kind(
    'two or more classes [0, 1] or ["cat", "dog"], or groups of classes [[0, 2], [1, 3]]',
    _classes, is_list=True,
)  # fmt: skip
TARGETS = Kind(
    'two numbers, for example [-1.0, 1.0], or "one_hot" or "centred"',
    _targets, is_list=True, is_text=True, choices=CODES, others=("NUMBER", "NUMBER"),
)  # fmt: skip
OBSERVABLES = replace(
    tuple_of(text("a name"), 'a list of names, for example ["kernel", "order_parameter"]'),
    choices=tuple(REPRESENTATIONS),
)
NAMES = tuple_of(text("a name"), 'a list of names, for example ["one_layer"]')


def errors_by_name(errors: Sequence[str]) -> dict[str, float]:
    """What `ERRORS` accepts, as numbers by name.

    >>> errors_by_name(["bias2=0.01", "predictions = .1"])
    {'bias2': 0.01, 'predictions': 0.1}
    """
    pairs = (text.partition("=") for text in errors)
    return {name.strip(): as_float(number) for name, _, number in pairs}


def _error_or_errors(value: Any) -> float | tuple[str, ...]:
    """One error, on a command line a list of it alone, or errors by name."""
    if not isinstance(value, list | tuple):
        return FRACTION.parse(value)
    if len(value) == 1 and isinstance(value[0], int | float):
        return FRACTION.parse(value[0])
    return _errors(value)


def _errors(value: Any) -> tuple[str, ...]:
    _require(value, isinstance(value, list | tuple) and len(value) > 0)
    for text in value:
        _require(text, isinstance(text, str) and text.count("=") == 1)
    numbers = errors_by_name(value)
    _require(value, len(numbers) == len(value) and set(numbers) <= set(ERROR_NAMES))
    return tuple(f"{name}={_positive(number)!r}" for name, number in numbers.items())


def class_numbers(source: str, classes: Any) -> Any:
    """The classes of an image data set by number, where they may be given by name.

    Upper and lower case are the same. Raises `InputError` for what is no name and no number.

    >>> class_numbers("cifar10", ("Airplane", ["cat", 9]))
    (0, (3, 9))
    """
    if isinstance(classes, list | tuple | range):
        return tuple(class_numbers(source, member) for member in classes)
    if isinstance(classes, int) and not isinstance(classes, bool):
        return classes
    names = CLASS_NAMES[source]
    lower = [name.lower() for name in names]
    if isinstance(classes, str) and classes.lower() in lower:
        return lower.index(classes.lower())
    hint = nearest(classes.lower(), lower) if isinstance(classes, str) else ""
    held = f"0 to 9, or {', '.join(names)}" if names else "0 to 9"
    raise InputError(f"classes of {source} are {held}, got {classes!r}{hint}: write [0, 1]")


def _literal(word: str) -> Any:
    """A TOML value if the word is one, a number such as `.5` or `007`, or else the word itself."""
    try:
        return _toml(word)
    except ValueError:
        if re.fullmatch(r"\s*[-+]?0\d{1,30}\s*", word):  # as `seq -w` numbers seeds
            return int(word)
        try:
            return as_float(word)
        except ValueError:
            return word


def _toml(value: str) -> Any:
    """One value in TOML; ValueError for anything else, that with a line break included."""
    table = toml(f"value = {value}")
    return table["value"] if table.keys() == {"value"} else _require(value, False)


def toml(content: str) -> dict[str, Any]:
    """A TOML document. ValueError, with what is wrong, for everything that is none."""
    try:
        return tomllib.loads(content, parse_float=as_float)
    except RecursionError:
        raise ValueError("lists or tables inside each other without end") from None
