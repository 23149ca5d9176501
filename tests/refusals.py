"""Bad input is refused in one line. What the line has to say is tested, not how it says it.

A word is what the user gave, or what is to be written in its place: a name, a value, a number.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from langevin_nn.errors import InputError


def says(line: str, *words: str) -> None:
    """One line, with each of these words; a number is no part of a longer one."""
    assert line and "\n" not in line, line
    lacking = [w for w in words if not re.search(rf"(?<!\d)(?<!\d\.){re.escape(w)}(?!\.?\d)", line)]
    assert lacking == [], line


@contextlib.contextmanager
def refuses(*words: str) -> Iterator[pytest.ExceptionInfo[InputError]]:
    """The block ends in an InputError whose one line has each of these words."""
    with pytest.raises(InputError) as caught:
        yield caught
    says(str(caught.value), *words)


def refused(answer, *words: str) -> None:
    """A command ended with code 2, without a word on stdout, and with such a line on stderr."""
    assert (answer.code, answer.out) == (2, ""), answer
    assert answer.err.startswith("langevin-nn: error: ") and answer.err.endswith("\n"), answer
    says(answer.err[:-1], *words)


@contextlib.contextmanager
def untouched(folder: str | Path = ".") -> Iterator[None]:
    """No file or folder below this one comes or goes in the block, and no file is written."""

    def state():
        paths = Path(folder).rglob("*")
        return {path: None if path.is_dir() else path.lstat().st_mtime_ns for path in paths}

    before = state()
    yield
    assert state() == before
