"""Classes of the user's own, looked at when they are used: methods, and what makes an object.

A class is not looked at where it is written, so that one mistake leaves the other classes of its
file usable. This module imports no JAX.
"""

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from langevin_nn.errors import InputError
from langevin_nn.values import require_signature

__all__ = [
    "Methods",
    "file_name",
    "has_argument",
    "naming",
    "require_constructor",
    "require_methods",
    "require_nothing_abstract",
    "required_arguments",
]

Methods = Mapping[str, Sequence[str]]
"""The methods of a kind of class by name, each with the arguments behind `self`."""


def file_name(path: str) -> str:
    """The name of the file that an import path leads to.

    >>> file_name("mymodule:wave"), file_name("package.waves:wave")
    ('mymodule.py', 'waves.py')
    """
    return f"{path.partition(':')[0].rpartition('.')[2]}.py"


@contextlib.contextmanager
def naming(kind: str, path: str) -> Iterator[None]:
    """A context in which an `InputError` about a class begins with its import path and file."""
    try:
        yield
    except InputError as error:
        raise InputError(f'{kind} = "{path}" ({file_name(path)}): {error}') from error


def require_methods(kind: type, methods: Methods) -> None:
    """Raise `InputError` unless the methods that the class has can be called as they are."""
    for name, arguments in methods.items():
        if (method := getattr(kind, name, None)) is not None:
            _require_method(f"{kind.__name__}.{name}", method, *arguments)


@lru_cache(maxsize=1024)
def _require_method(name: str, method: Any, *arguments: str) -> None:
    require_signature(name, method, "self", *arguments)


def require_nothing_abstract(kind: type, methods: Methods) -> None:
    """Raise `InputError` for a class with abstract methods or fields; it says what to write.

    >>> import abc
    >>> class Shape(abc.ABC):
    ...     @abc.abstractmethod
    ...     def area(self, unit): ...
    >>> require_nothing_abstract(Shape, {"area": ("unit",)})
    Traceback (most recent call last):
    langevin_nn.errors.InputError: Shape leaves area undefined: write def area(self, unit)
    """
    abstract = sorted(getattr(kind, "__abstractmethods__", ()))
    fields = sorted(getattr(kind, "__abstractvars__", ()))
    if not abstract and not fields:
        return
    parts = [_definition(kind, name, methods) for name in abstract]
    parts += [f"the field {name}" for name in fields]
    raise InputError(
        f"{kind.__name__} leaves {', '.join([*abstract, *fields])} undefined: write "
        f"{', '.join(parts)}"
    )


def _definition(kind: type, name: str, methods: Methods) -> str:
    if isinstance(inspect.getattr_static(kind, name), property):
        return f"@property def {name}(self)"
    return f"def {name}({', '.join(['self', *methods.get(name, ('…',))])})"


def has_argument(kind: type, name: str) -> bool:
    """Whether the class can be called with this argument by name.

    >>> has_argument(Exception, "name"), has_argument(dict, "name")
    (True, True)
    """
    try:
        parameters = inspect.signature(kind).parameters
    except (TypeError, ValueError):  # a class that is not written in Python
        return True
    return name in parameters or any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    )


def required_arguments(kind: type) -> list[str]:
    """The names of the arguments without which the class makes no object.

    >>> class Wide:
    ...     def __init__(self, width, depth=2): ...
    >>> required_arguments(Wide)
    ['width']
    """
    try:
        parameters = inspect.signature(kind).parameters
    except (TypeError, ValueError):  # a class that is not written in Python
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        name for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind not in variadic
    ]  # fmt: skip


def require_constructor(kind: type, arguments: Sequence[str], named: Sequence[str]) -> None:
    """Raise `InputError` unless the class of a network can be called with these arguments.

    `arguments` are given in this order, `named` by name.
    """
    try:
        inspect.signature(kind).bind(*arguments, **dict.fromkeys(named))
    except TypeError as error:
        expected = ", ".join(["self", *arguments, "*", *named])
        raise InputError(
            f"{kind.__name__} cannot be made from a configuration ({error}): write def "
            f"__init__({expected}), or a from_config of its own that calls cls(…) as it has to be"
        ) from error
