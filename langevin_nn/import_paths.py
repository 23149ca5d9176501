"""What is the user's own, by import path: `activation = "mymodule:wave"`, and so for all kinds.

The module is one file. It is looked for, in this order,

    1. in the folder of the configuration,
    2. in a folder `modules` there, where run folders and sweeps keep copies of such files,
    3. in the current folder,
    4. on Python's path, as `import mymodule` does.

Modules of packages, `mypackage.waves:wave`, are on Python's path alone. What is in a folder is read
as a file, whatever else is imported by that name; what it imports itself is a file beside it
(`siblings`), or has to be installed. This module imports no JAX.
"""

import contextlib
import hashlib
import importlib.machinery
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langevin_nn import siblings as files_beside
from langevin_nn.errors import InputError, OwnFailure, first_line
from langevin_nn.values import nearest, shown

__all__ = [
    "COPIES",
    "ImportPath",
    "ModuleFile",
    "explained",
    "files_of",
    "in_folder",
    "is_import_path",
    "is_of_own_code",
    "load",
    "misfit",
    "named",
    "near_import_path",
    "own_failure",
    "reason_of",
]

COPIES = "modules"
"""The name of the folder, in that of a run or a sweep, with copies of its modules' files."""
OF_YOUR_OWN = '"module:name" of your own'
"""How messages name what a user may write beside the known names."""


class ImportPath(str):
    """`"module:name"` in a configuration, and the folder of that configuration.

    It is that text wherever it is written, compared or hashed.

    >>> path = ImportPath("mymodule:wave", Path("experiments"))
    >>> path == "mymodule:wave", path.folder.name
    (True, 'experiments')
    """

    folder: Path | None

    def __new__(cls, text: str, folder: Path | None = None) -> "ImportPath":
        path = super().__new__(cls, text)
        path.folder = folder
        return path


@dataclass(frozen=True)
class ModuleFile:
    """The file of a module, as it was when it was found.

    `installed` says that it is on Python's path, from which it is imported.
    """

    name: str
    path: Path
    content: bytes
    installed: bool

    @classmethod
    def of(cls, kind: str, path: str) -> "ModuleFile":
        """The file of the module in an import path; messages name the option `kind` that has it.

        Raises `InputError` where there is no such module.
        """
        name = path.partition(":")[0]
        folder = getattr(path, "folder", None)
        beside = [] if folder is None else [folder, folder / COPIES]
        places = list(dict.fromkeys(place.resolve() for place in (*beside, Path())))
        for place in places if "." not in name else ():
            if (file := place / f"{name}.py").is_file():
                return cls(name, file, _content(kind, path, file), installed=False)
        if (origin := _on_the_path(kind, path)) is not None:
            return cls(name, origin, _content(kind, path, origin), installed=True)
        if "." in name:
            last, rest = name.removesuffix(".py").rpartition(".")[2], path.partition(":")[2]
            raise InputError(
                f'{kind} = "{path}": there is no module {name} on Python\'s path, where those of '
                f'packages are: write "{last}:{rest}", and {last}.py beside the configuration'
            )
        raise InputError(
            f'{kind} = "{path}": there is no module {name}, neither {name}.py in '
            f"{', '.join(map(str, places))} nor on Python's path: write {name}.py beside the "
            "configuration, or the name of a module that is there"
        )

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file's content, in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def words(self) -> str:
        """The file's name and its SHA-256, in the form of the provenance of data.

        >>> ModuleFile("m", Path("m.py"), b"", False).words[:24]
        'm.py sha256:e3b0c44298fc'
        """
        return f"{self.path.name} sha256:{self.sha256}"

    def siblings(self, kind: str, path: str) -> "list[ModuleFile]":
        """The files beside this one that it imports, and those that they import."""
        sources = self._siblings(kind, path)
        return [ModuleFile(name, *source, installed=False) for name, source in sources.items()]

    def _siblings(self, kind: str, path: str) -> files_beside.Sources:
        """As `siblings`; `InputError` for one that is imported where no file is found any more."""
        sources = {} if self.installed else files_beside.siblings(self.path, self.content)
        if late := files_beside.imported_late(self.content, sources):
            raise InputError(
                f'{kind} = "{path}": {late}, a file beside {self.path.name}, is imported within a '
                f"function: write import {late} at the top"
            )
        return sources

    def record(self) -> dict[str, str]:
        """The module's name, file and SHA-256, for a manifest."""
        return {"module": self.name, "file": str(self.path), "sha256": self.sha256}

    def imported(self, kind: str, path: str) -> Any:
        """The module, executed once for each content of its file.

        Raises `InputError` for whatever is raised in it.
        """
        if not self.name.startswith("langevin_nn."):
            files_beside.EXECUTED[str(self.path)] = self.path.name
        sources = self._siblings(kind, path)
        content = b"".join([self.content, *(text for _, text in sources.values())])
        digest = hashlib.sha256(str(self.path).encode() + content).hexdigest()
        key = f"{self.name}@{digest}"
        try:
            if self.installed:
                return importlib.import_module(self.name)
            if key in sys.modules:
                return sys.modules[key]
            module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(key, None))
            with files_beside.importable(sources, digest):
                files_beside.execute(key, self.path, self.content, module)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the user's code
            sys.modules.pop(key, None)
            place = error.filename if isinstance(error, SyntaxError) else _own_file(error)
            file = Path(place or self.path)
            raise InputError(
                f'{kind} = "{path}": {file} cannot be imported ({reason_in(file, error)}): '
                "correct it"
            ) from error
        return module


def is_import_path(word: Any) -> bool:
    """Whether the value is a text `module:name`, each of them a name, or several with dots between.

    >>> [is_import_path(word) for word in ("mymodule:wave", "package.waves:wave", "erf", "a:", "a b:c")]
    [True, True, False, False, False]
    """  # noqa: E501
    if not isinstance(word, str):
        return False
    module, colon, name = word.partition(":")
    return bool(colon) and all(
        part.isidentifier() for part in (*module.split("."), *name.split("."))
    )


def in_folder(value: Any, folder: Path | None) -> Any:
    """A name or a tuple of names of a configuration, with the import paths bound to its folder.

    An import path that has a folder already keeps it.

    >>> in_folder(("one_layer", "mymodule:mine"), Path("here"))[1].folder
    PosixPath('here')
    """
    if isinstance(value, tuple):
        return tuple(in_folder(name, folder) for name in value)
    if not is_import_path(value) or getattr(value, "folder", None) is not None:
        return value
    return ImportPath(value, folder)


def load(kind: str, path: str) -> Any:
    """The object that an import path leads to; `kind` is what it is to be, for messages.

    Raises `InputError` for no such module, no such name in it, and whatever is raised while it is
    imported.

    >>> load("loss", "math:sqrt")(4)
    2.0
    """
    file = ModuleFile.of(kind, path)
    module = value = file.imported(kind, path)
    for part in path.partition(":")[2].split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            public = [name for name in vars(module) if not name.startswith("_")]
            hint = nearest(part, public) or ": write a name that it has"
            raise InputError(f'{kind} = "{path}": {file.path} has no {part}{hint}') from None
        except (Exception, SystemExit) as error:  # a module may have a __getattr__
            raise InputError(
                f'{kind} = "{path}": {part} of {file.path} fails ({reason_in(file.path, error)}): '
                "correct it"
            ) from error
    return value


def named(kind: str, name: Any, table: Mapping[str, Any], also: str = "") -> Any:
    """The table's entry of this name, or the object that an import path leads to.

    Raises `InputError` for any other name, and as `load` does; `also` is what else may be given.

    >>> named("loss", "squared", {"squared": 1, "hinge": 2})
    1
    >>> named("loss", "hinges", {"squared": 1, "hinge": 2})
    Traceback (most recent call last):
    langevin_nn.errors.InputError: unknown loss 'hinges'; did you mean "hinge"? known are squared, hinge, or "module:name" of your own
    """  # noqa: E501
    if isinstance(name, str) and name in table:
        return table[name]
    if is_import_path(name):
        return load(kind, name)
    if advice := near_import_path(name):
        raise InputError(f"{kind} = {shown(name)} is no import path: write {advice}")
    hint = nearest(name, table, cutoff=0.3) if isinstance(name, str) else ""
    raise InputError(
        f"unknown {kind} {shown(name)}{hint or ':'} known are {', '.join(table)}, or "
        f"{OF_YOUR_OWN}{also}"
    )


def near_import_path(name: Any) -> str:
    """What to write for a text that looks like an import path and is none; "" for all else.

    >>> near_import_path("my-waves:sine"), near_import_path("sub/waves.py:sine"), near_import_path("a:")
    ('"my_waves:sine", and rename the file my_waves.py', '"waves:sine"', '')
    """  # noqa: E501
    if not isinstance(name, str):
        return ""
    module, colon, last = name.rpartition(":")
    file = module.replace("\\", "/").rpartition("/")[2].removesuffix(".py")
    usable = re.sub(r"\W", "_", file)
    path = f"{usable}:{last}"
    if not (colon and module and is_import_path(path)) or path == name or " " in name:
        return ""
    return f'"{path}"' + (f", and rename the file {usable}.py" if usable != file else "")


def misfit(kind: str, path: Any, found: Any, expected: str, write: str) -> InputError:
    """The error for an object that an import path leads to and that is not of its kind.

    >>> misfit("loss", "m:x", 3, "a Loss", "class x(Loss)")
    InputError('loss = "m:x" is 3, and is to be a Loss: write class x(Loss)')
    """
    return InputError(
        f'{kind} = "{path}" is {shown(found)}, and is to be {expected}: write {write}'
    )


@contextlib.contextmanager
def explained(kind: str, path: str) -> Iterator[None]:
    """A context in which an error of the user's own code is an `InputError` that says where."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        if not is_import_path(path):
            raise
        file = ModuleFile.of(kind, path).path
        raise InputError(
            f'{kind} = "{path}" fails ({file.name}, {reason_in(file, error)}): correct it'
        ) from error


def files_of(paths: Iterable[tuple[str, str]]) -> tuple[ModuleFile, ...]:
    """The files of the import paths among these names, each with its kind; one for each module.

    With those beside them that they import. Raises `InputError` for two files of one name.
    """
    files: dict[str, ModuleFile] = {}
    for kind, path in paths:
        if not is_import_path(path):
            continue
        module = ModuleFile.of(kind, path)
        for file in (module, *module.siblings(kind, path)):
            if (other := files.setdefault(file.name, file)).content != file.content:
                raise InputError(
                    f'{kind} = "{path}": {other.path} and {file.path} are two modules of one name: '
                    "rename one of them"
                )
    return tuple(files.values())


def reason_of(error: BaseException) -> str:
    """An error's kind and message, with file and line where it is one of the user's own code.

    >>> reason_of(KeyError("x"))
    "KeyError: 'x'"
    """
    file = _own_file(error)
    if file is None:
        return reason_in(Path(), error)
    return f"{files_beside.EXECUTED[file]}, {reason_in(Path(file), error)}"


def own_failure(error: BaseException) -> InputError | None:
    """An error raised in the user's own code as an `InputError` that says where; None for others.

    >>> own_failure(KeyError("x")) is None
    True
    """
    if isinstance(error, InputError) or (file := _own_file(error)) is None:
        return None
    return InputError(
        f"{files_beside.EXECUTED[file]} fails ({reason_in(Path(file), error)}): correct it"
    )


def is_of_own_code(error: BaseException) -> bool:
    """Whether the error was raised in the user's own code, or through it.

    >>> is_of_own_code(KeyError("x"))
    False
    """
    if isinstance(error, OwnFailure):
        return True
    return isinstance(error, Exception | SystemExit) and _own_file(error) is not None


def _own_file(error: BaseException) -> str | None:
    """The file of the user's own that an error, or what has caused it, was raised in or through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.filename for frame in frames if frame.filename in files_beside.EXECUTED]
    if own or error.__cause__ is None:
        return own[-1] if own else None
    return _own_file(error.__cause__)


def reason_in(file: Path, error: BaseException) -> str:
    """The line of the file in which an error was raised, and its message, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    is_of_jax = type(error).__module__.partition(".")[0] == "jax"  # whose pages follow the line
    message = first_line(error) if is_of_jax else " ".join(str(error).split())
    name = type(error).__name__
    return f"{f'line {line}: ' if line else ''}{name}{f': {message}' if message else ''}"


def _on_the_path(kind: str, path: str) -> Path | None:
    """The file of an installed module, None where there is none."""
    name = path.partition(":")[0]
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):  # no such package; __main__
        return None
    except (Exception, SystemExit) as error:
        raise InputError(
            f'{kind} = "{path}": the package of {name} cannot be imported '
            f"({reason_in(Path(), error)}): correct it"
        ) from error
    if spec is None:
        return None
    return Path(spec.origin) if spec.origin and spec.has_location else Path(name)


def _content(kind: str, path: str, file: Path) -> bytes:
    """The content of a module's file; empty for a module without one, as a built-in one."""
    if not file.is_absolute():
        return b""
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f'{kind} = "{path}": cannot read {file} ({error.strerror}): write a file that can be '
            "read"
        ) from error
