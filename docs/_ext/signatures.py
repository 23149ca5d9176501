"""Signatures as they stand in the source: `key: PRNGKeyArray`, not what jaxtyping makes of it."""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

LONGEST_DEFAULT = 40
"""The most characters of a default that a signature shows."""


def signature_of(obj: Any, names: Mapping[str, str]) -> tuple[str, str] | None:
    """The arguments of a function or a class, and what it returns; None where it has no source.

    Types that are public names are written with their full `names`, which become links.

    >>> from pages import relinked
    >>> signature_of(relinked, {})
    ('(text: str, home: str, page: str)', 'str')
    """
    try:
        parameters = list(inspect.signature(obj).parameters.values())
        written = _of_class(obj) if inspect.isclass(obj) else _of_function(obj)
    except (OSError, TypeError, ValueError, SyntaxError):
        return None
    annotations, returned = written
    pieces, kinds = [], inspect.Parameter
    for index, parameter in enumerate(parameters):
        before = parameters[index - 1].kind if index else None
        if parameter.kind is kinds.KEYWORD_ONLY and before not in (
            kinds.KEYWORD_ONLY, kinds.VAR_POSITIONAL
        ):  # fmt: skip
            pieces.append("*")
        stars = {kinds.VAR_POSITIONAL: "*", kinds.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        piece = stars + parameter.name
        if annotation := annotations.get(parameter.name):
            piece += f": {_named(annotation, names)}"
        if parameter.default is not kinds.empty:
            piece += f" = {_default(parameter.default)}"
        pieces.append(piece)
    if not inspect.isclass(obj) and parameters and parameters[0].name in ("self", "cls"):
        pieces = pieces[1:]
    return f"({', '.join(pieces)})", _named(returned, names) if returned else ""


def _of_function(function: Any) -> tuple[dict[str, ast.expr], ast.expr | None]:
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    node = ast.parse(source).body[0]
    if not isinstance(node, ast.FunctionDef):
        raise TypeError(f"{function} is no function")
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    return {arg.arg: arg.annotation for arg in every if arg.annotation}, node.returns


def _of_class(cls: Any) -> tuple[dict[str, ast.expr], None]:
    """The annotations of its constructor; where a dataclass makes that, those of its fields."""
    init = next((vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base)), None)
    if init is not None and not dataclasses.is_dataclass(cls):
        return _of_function(init)[0], None
    try:
        return _of_function(init)[0], None
    except (OSError, TypeError):
        pass
    found: dict[str, ast.expr] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("langevin_nn"):
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
            assert isinstance(body, ast.ClassDef)
            found |= {
                line.target.id: line.annotation
                for line in body.body
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
            }
    return found, None


def _named(annotation: ast.expr, names: Mapping[str, str]) -> str:
    class Full(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            full = names.get(node.id, node.id)
            return ast.parse(full, mode="eval").body

    text = ast.unparse(annotation)  # a copy, since a tree is changed in its place
    return ast.unparse(Full().visit(ast.parse(text, mode="eval").body))


def _default(value: Any) -> str:
    text = repr(value)
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return "..."
    return text if len(text) <= LONGEST_DEFAULT else "..."
