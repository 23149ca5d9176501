"""What Python code may give as an argument: a whole number, a number, an object of some class.

What configurations and the command line give is checked in `config.fields`.
"""

import difflib
import inspect
import math
import operator
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from langevin_nn.errors import InputError

FIGURE_FORMATS = ("png", "pdf", "svg")
"""The formats of figures, which are the endings of their files."""
_REFUSED_CLASSES = ("bool", "bool_", "bytearray", "MaskedArray", "MaskedConstant")
"""Classes, of Python and of NumPy, whose values are no numbers though they turn into some."""
_REFUSED_KINDS = "bSUmMO"
"""The kinds of an array without axes that are no numbers: Booleans, text, times, objects."""


def shown(value: Any, most: int = 80) -> str:
    """A value as a message can have it: one line, and not a long one, whatever was given.

    >>> shown("erf"), shown([1.0, 2.0]), shown(10**5000)
    ("'erf'", '[1.0, 2.0]', 'a whole number of more than 4300 digits')
    >>> shown(int), shown(shown), shown(object())
    ('the class int', 'the function shown', 'an object')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    if type(value).__repr__ is object.__repr__:  # which has an address, and a module's whole name
        name = type(value).__name__
        return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
    try:
        whole_text = repr(value)
    except ValueError:  # Python writes no longer ones
        return f"a whole number of more than {sys.get_int_max_str_digits()} digits"
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deep"
    if "\n" in whole_text:
        whole_text = " ".join(whole_text.split())
    return clipped(whole_text, most)


def clipped(text: str, most: int = 80) -> str:
    """The text as it is, or its beginning and its length where it is longer than `most`."""
    return text if len(text) <= most else f"{text[: most - 20]}… ({len(text)} letters)"


def require_kind(name: str, value: Any, kind: type, write: str) -> Any:
    """The value if it is of this class; else an `InputError` that says what to `write`."""
    if not isinstance(value, kind):
        given = type(value).__name__
        if isinstance(value, type):
            given = f"the class {value.__name__}"
        elif value is None or isinstance(value, bool | int | float | str):
            given = shown(value)
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise InputError(f"{name} must be {article} {kind.__name__}, got {given}: write {write}")
    return value


def require_flag(name: str, value: Any) -> bool:
    """The value if it is True or False; `InputError` for words and numbers in their place.

    >>> require_flag("standardize", "no")
    Traceback (most recent call last):
    langevin_nn.errors.InputError: standardize must be True or False, got 'no'
    """
    if type(value).__name__ not in ("bool", "bool_"):
        raise InputError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def require_text(name: str, value: Any) -> str:
    """The value if it is text; else an `InputError`."""
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, got {shown(value)}")
    return value


def require_function(name: str, value: Any, write: str) -> Any:
    """The value if it can be called and is no class; else an `InputError`."""
    if not callable(value) or isinstance(value, type):
        raise InputError(f"{name} must be a function, got {shown(value)}: write {write}")
    return value


def require_signature(name: str, function: Any, *arguments: str) -> None:
    """Raise `InputError` unless the function of the user's own can be called with these arguments.

    >>> require_signature("step", lambda state: state, "state", "keys")
    Traceback (most recent call last):
    langevin_nn.errors.InputError: step cannot be called as it is (too many positional arguments): write def step(state, keys)
    """  # noqa: E501
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        last = name.rpartition(".")[2]
        raise InputError(
            f"{name} cannot be called as it is ({error}): write def {last}({', '.join(arguments)})"
        ) from error


def require_count(name: str, value: Any, least: int = 1) -> int:
    """The whole number, NumPy's among those that are taken, if it is `least` or more.

    >>> require_count("num_probes", 2.5)
    Traceback (most recent call last):
    langevin_nn.errors.InputError: num_probes must be a positive whole number, got 2.5
    """
    number = as_whole(value)
    if number is None or number < least:
        description = (
            "a positive whole number" if least == 1 else f"a whole number of at least {least}"
        )
        raise InputError(f"{name} must be {description}, got {shown(value)}")
    return number


def is_ordered(value: Any) -> bool:
    """Whether the value is a sequence or an array with an axis: no text, no set, no mapping.

    >>> is_ordered((1, 2)), is_ordered({1, 2}), is_ordered("12")
    (True, False, False)
    """
    if isinstance(value, str | bytes | set | frozenset) or type(value).__name__ in _REFUSED_CLASSES:
        return False
    if getattr(value, "shape", None) == () or hasattr(value, "keys"):
        return False
    return hasattr(value, "__iter__") and hasattr(value, "__len__")


def as_whole(value: Any) -> int | None:
    """The whole number that Python or NumPy calls one, and no Boolean; None for anything else.

    >>> as_whole(3), as_whole(True), as_whole(3.0)
    (3, None, None)
    """
    if type(value).__name__ in _REFUSED_CLASSES:
        return None
    if getattr(value, "shape", ()) != ():
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def as_number(value: Any) -> float | None:
    """The real number that Python or NumPy calls one, and no Boolean or text; None for others.

    >>> as_number(3), as_number(False), as_number("3")
    (3.0, None, None)
    """
    if isinstance(value, str | bytes) or type(value).__name__ in _REFUSED_CLASSES:
        return None
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if getattr(value, "shape", ()) != () or (kind and kind in _REFUSED_KINDS):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def require_array(name: str, value: Any, *shape: int | None) -> Any:
    """The array, one that JAX traces among those, if it is of numbers and has this shape.

    `shape` has None for any length; without a shape any will do, and Python's numbers too.

    >>> require_array("x", [1.0, 2.0], 2)
    Traceback (most recent call last):
    langevin_nn.errors.InputError: x must be an array of numbers of shape (2), got [1.0, 2.0]
    """
    actual_shape: Any = getattr(value, "shape", None)
    kind = getattr(getattr(value, "dtype", None), "kind", "O")
    is_array = isinstance(actual_shape, tuple) and kind not in _REFUSED_KINDS
    is_array = (
        is_array and type(value).__name__ not in _REFUSED_CLASSES and not isinstance(value, type)
    )
    if not shape and (is_array or as_number(value) is not None):
        return value
    if not is_array or len(actual_shape) != len(shape) or any(
        expected not in (None, given) for expected, given in zip(shape, actual_shape, strict=True)
    ):  # fmt: skip
        axes = ", ".join("…" if size is None else str(size) for size in shape)
        wanted_shape = f" of shape ({axes})" if shape else ""
        given = f"one of shape {actual_shape}" if is_array else shown(value)
        raise InputError(f"{name} must be an array of numbers{wanted_shape}, got {given}")
    return value


def require_positive(name: str, value: Any, most: float = math.inf, unit: str = "") -> float:
    """The number if it is positive, finite and at most `most`; else an `InputError`.

    >>> require_positive("refresh", 0.5, most=1.0)
    0.5
    >>> require_positive("refresh", "0.5", most=1.0)
    Traceback (most recent call last):
    langevin_nn.errors.InputError: refresh must be positive and at most 1, got '0.5'
    """
    number = as_number(value)
    if number is None or not 0 < number <= most or math.isinf(number):
        limit = "" if math.isinf(most) else f" and at most {most:.4g}"
        raise InputError(f"{name} must be positive{limit}{unit}, got {shown(value)}")
    return number


def require_number(name: str, value: Any) -> float:
    """The number if it is finite; else an `InputError`."""
    number = as_number(value)
    if number is None or not math.isfinite(number):
        raise InputError(f"{name} must be a finite number, got {shown(value)}")
    return number


def require_not_negative(name: str, value: Any) -> float:
    """The number if it is zero or positive, and finite; else an `InputError`."""
    number = as_number(value)
    if number is None or not 0 <= number < math.inf:
        raise InputError(f"{name} must not be negative, got {shown(value)}")
    return number


def require_ladder(name: str, temperatures: Any, lowest: float, of: str) -> tuple[float, ...]:
    """The temperatures in order, if they are different ones above the `lowest`, which is that `of`.

    >>> require_ladder("ladder", [2.0, 1.0], 0.1, "the posterior's temperature")
    (1.0, 2.0)
    """
    is_iterable = hasattr(temperatures, "__iter__") and not isinstance(temperatures, str | bytes)
    numbers = [as_number(temperature) for temperature in temperatures] if is_iterable else []
    rungs = sorted(number for number in numbers if number is not None)
    is_whole = rungs and len(set(rungs)) == len(numbers) and not any(map(math.isnan, rungs))
    if not is_whole or not lowest < rungs[0] or math.isinf(rungs[-1]):
        example = [10 * lowest, 100 * lowest] if lowest else [0.1, 1.0]
        given = list(temperatures) if is_iterable else temperatures
        raise InputError(
            f"{name} = {shown(given)} must be different temperatures above {of} = {lowest:g}: "
            f"write for example {name.rpartition('.')[2]} = {example}"
        )
    return tuple(rungs)


def require_time(name: str, value: Any) -> float:
    """The number if it is positive, infinity among those that are taken; else an `InputError`."""
    number = as_number(value)
    if number is None or not number > 0:
        raise InputError(f"{name} must be positive, got {shown(value)}")
    return number


def as_path(name: str, given: Any) -> Path:
    """The path that a text or a path says; `InputError` for what says none.

    >>> as_path("output", 5)
    Traceback (most recent call last):
    langevin_nn.errors.InputError: output must name a file or a folder, got 5: write text or a Path
    """
    if not isinstance(given, str | os.PathLike) or "\0" in str(given):
        raise InputError(
            f"{name} must name a file or a folder, got {shown(given)}: write text or a Path"
        )
    return Path(given)


def nearest(name: str, valid: Collection[str], cutoff: float = 0.6) -> str:
    """A hint `; did you mean "…"?`, or nothing where no valid name is near."""
    close = difflib.get_close_matches(name, valid, 1, cutoff)
    if not close:
        last = {option.split(".")[-1]: option for option in valid}
        close = [last[match] for match in difflib.get_close_matches(name.split(".")[-1], last, n=1)]
    return f'; did you mean "{close[0]}"?' if close else ""
