"""All functions are checked, and their checks made once, when they are first called.

jaxtyping's hook writes two functions of a function's signature and lets beartype compile their
checks, a millisecond for each function of the package, of which most processes call a part; and
again whenever a function is defined inside another one, which was more than half of what tests of
theories took. The checks of equal signatures are equal.
"""

import functools
from collections.abc import Callable
from typing import Any

from jaxtyping import _decorator

PLAIN = (type, type(None), bool, int, float, str)
"""The kinds of defaults with which a signature is remembered; others would be kept alive."""


def remember() -> None:
    """Let jaxtyping make its checks so, where its version makes them by these functions."""
    make, check = "_make_fn_with_signature", "_apply_typechecker"
    there = hasattr(_decorator, make) and hasattr(_decorator, check)
    if there and not hasattr(getattr(_decorator, make), "__wrapped__"):  # else it is done already
        setattr(_decorator, make, remembered(getattr(_decorator, make)))
        setattr(_decorator, check, remembered(deferred(getattr(_decorator, check))))


def deferred(apply: Callable[..., Any]) -> Callable[..., Any]:
    """The same decorator, which decorates a function when that is first called."""

    @functools.wraps(apply)
    def later(typechecker: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        checked = None

        @functools.wraps(function)
        def check(*arguments: Any, **options: Any) -> Any:
            nonlocal checked
            if checked is None:
                checked = apply(typechecker, function)
            return checked(*arguments, **options)

        return check

    return later


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which is called once for the same arguments."""
    kept = functools.lru_cache(maxsize=20_000)(function)

    @functools.wraps(function)
    def once(*arguments: Any, **options: Any) -> Any:
        if all(map(_is_plain, arguments)):
            return kept(*arguments, **options)
        return function(*arguments, **options)

    return once


def _is_plain(argument: Any) -> bool:
    """Whether it may be kept: it can be hashed, and is no signature of defaults of some size."""
    try:
        hash(argument)
    except TypeError:  # an annotation, say
        return False
    parameters = getattr(argument, "parameters", {}).values()
    return all(isinstance(p.default, PLAIN) for p in parameters)
