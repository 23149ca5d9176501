"""What Python code may give as an argument: a whole number, a number, an object of some class.

What configurations and the command line give is checked in `config.fields`.
"""

import math
import operator
from typing import Any

from langevin_nn.errors import InputError


def require_kind(name: str, value: Any, kind: type, write: str) -> Any:
    """The value if it is of this class; else an `InputError` that says what to `write`."""
    if not isinstance(value, kind):
        given = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise InputError(f"{name} must be a {kind.__name__}, got {given}: write {write}")
    return value


def as_whole(value: Any) -> int | None:
    """The whole number that Python or NumPy calls one, and no Boolean; None for anything else.

    >>> as_whole(3), as_whole(True), as_whole(3.0)
    (3, None, None)
    """
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
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
    if isinstance(value, bool | str | bytes) or type(value).__name__ in ("bool", "bool_"):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


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
        raise InputError(f"{name} must be positive{limit}{unit}, got {value!r:.60}")
    return number
