"""What a module of the user's own imports from its own folder: files that belong to it.

They are found in its text, so that nothing has to be executed to know what a run depends on, and
imported as files while it is executed, whatever else is imported by their names. What is on
Python's path (but for the current folder) is installed, and no sibling. This module imports no JAX.
"""

import ast
import contextlib
import functools
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from langevin_nn.errors import InputError

__all__ = ["EXECUTED", "Sources", "execute", "importable", "imported_late", "siblings"]

EXECUTED: dict[str, str] = {}
"""The names of the modules of the user's own that this process has executed, by their files."""

Sources = Mapping[str, tuple[Path, bytes]]
"""Files by the names that they are imported by, each with its content."""


def siblings(path: Path, content: bytes) -> dict[str, tuple[Path, bytes]]:
    """The files beside a module's that it imports, and that these import, with their contents.

    Raises `InputError` for one that cannot be read.
    """
    found: dict[str, tuple[Path, bytes]] = {}
    pending = [content]
    while pending:
        for name, _ in _imports(pending.pop()):
            file = path.parent / f"{name}.py"
            if name not in found and file != path and _is_beside(name, file):
                found[name] = file, _content(file)
                pending.append(found[name][1])
    return found


def imported_late(content: bytes, sources: Sources) -> str | None:
    """The first of these files that a module imports within a function, when none is found."""
    texts = [content, *(text for _, text in sources.values())]
    names = [name for text in texts for name, is_late in _imports(text) if is_late]
    return next((name for name in names if name in sources), None)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {file} ({error.strerror}): write a file that can be read"
        ) from error


@functools.lru_cache(maxsize=64)  # a sweep asks it of each of its points
def _imports(content: bytes) -> tuple[tuple[str, bool], ...]:
    """The first parts of the names that are imported, and whether that is within a function.

    >>> _imports(b"import a.b, c; from d import e; f = lambda: 0")
    (('a', False), ('c', False), ('d', False))
    """
    names: list[tuple[str, bool]] = []

    def visit(node: ast.AST, is_late: bool) -> None:
        if isinstance(node, ast.Import):
            names.extend((alias.name.partition(".")[0], is_late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.append((node.module.partition(".")[0], is_late))
        inner = is_late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            visit(child, inner)

    with contextlib.suppress(SyntaxError, ValueError):  # told where it is executed
        visit(ast.parse(content), False)
    return tuple(names)


def _is_beside(name: str, file: Path) -> bool:
    """Whether the file is what this name means: it is there, and nothing of it is installed."""
    if name in sys.stdlib_module_names or not file.is_file():
        return False
    here = Path().resolve()
    places = [place for place in sys.path if place and Path(place).resolve() != here]
    return importlib.machinery.PathFinder.find_spec(name, places) is None


def execute(name: str, path: Path, content: bytes, module: Any) -> None:
    """Execute a file as `module`, which is found by `name` from then on, as by pickle."""
    EXECUTED[str(path)] = path.name
    module.__name__, module.__file__ = name, str(path)
    sys.modules[name] = module  # where dataclasses look for it
    exec(compile(content, str(path), "exec"), module.__dict__)


@contextlib.contextmanager
def importable(sources: Sources, digest: str) -> Iterator[None]:
    """A context in which these files are imported by their names.

    They are found as `name@digest` later. Modules of these names that were imported before are back
    in their places in the end.
    """

    class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
            return importlib.machinery.ModuleSpec(name, self) if name in sources else None

        def exec_module(self, module: Any) -> None:
            name = module.__name__
            execute(f"{name}@{digest}", *sources[name], module)

    finder = Finder()
    before = {name: sys.modules.pop(name) for name in sources if name in sys.modules}
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in sources:
            sys.modules.pop(name, None)
        sys.modules.update(before)
