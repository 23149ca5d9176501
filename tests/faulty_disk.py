"""A file system whose calls are counted, and at any of which a process is killed or refused."""

import builtins
import contextlib
import dataclasses
import functools
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

CHANGES = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "ftruncate", "link")
"""What changes something; files that come to be through `os.open` count too."""
READS = ("listdir", "scandir", "read", "pread")
"""What reads; files that are opened for reading count too."""


class Killed(BaseException):
    """Stands for SIGKILL: whatever the process still tries, nothing of it happens."""


def sync(_):
    """No moment of a test is that of a power cut."""


@dataclasses.dataclass
class Disk:
    """Every change to the file system, counted; the change number `at` is what `ends` it."""

    at: int
    error: BaseException | None
    again: bool
    """Whether everything fails from there on, and not this one change."""
    count: int = 0

    def change(self, original: Callable, *words, **settings):
        self.count += 1
        if self.error and (self.count == self.at or (self.again and self.count > self.at)):
            if original is sync and self.count == self.at:
                with contextlib.suppress(OSError):  # a folder's
                    os.truncate(f"/proc/self/fd/{words[0]}", os.fstat(words[0]).st_size // 2)
            raise self.error
        return original(*words, **settings)


@contextlib.contextmanager
def disk(at=0, error=None, *, again=True, kinds=CHANGES):
    """Calls of these kinds are counted; number `at` ends in the error, with `again` all later too.

    Calls in reading count where they are about files that a test writes, not modules or devices.
    """
    counted = Disk(at, error, again)
    with pytest.MonkeyPatch.context() as patch:
        for name in kinds:
            patch.setattr(os, name, functools.partial(counted.change, getattr(os, name)))
        openings, opening = os.open, io.open

        def made(path, flags, *words, **settings):
            if flags & os.O_CREAT and not Path(path).exists():
                return counted.change(openings, path, flags, *words, **settings)
            return openings(path, flags, *words, **settings)

        def read(path, mode="r", *words, **settings):
            is_ours = isinstance(path, str | Path) and str(path).startswith("/tmp")
            if is_ours and "r" in mode and not str(path).endswith(".py"):
                return counted.change(opening, path, mode, *words, **settings)
            return opening(path, mode, *words, **settings)

        if kinds is CHANGES:
            patch.setattr(os, "open", made)
        else:
            patch.setattr(io, "open", read)
            patch.setattr(builtins, "open", read)
        yield counted
