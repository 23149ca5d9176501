"""Standard output and standard error of a process, whatever the shell has made of them."""

import contextlib
import io
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import NoReturn, TextIO

from langevin_nn.progress import is_terminal

LONGEST_MESSAGE = 2_000
"""The largest number of letters in the message of an error."""


def open_streams() -> None:
    """Open each standard stream that was closed (`>&-`), to one that fails when it is written to.

    Else the next file that is opened would take its number, and what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 1 else os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8")


def discard_broken() -> None:
    """Discard what Python would still write into a broken stream when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):  # a stream without a file
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def set_encodings() -> None:
    """Let the streams replace the letters that the terminal does not have."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")


class Stages:
    """What a command does before its first numbers, as a line on stderr that grows.

    `reading mnist · theories · compiling`. A terminal has it at once, and it is wiped when
    something else is written; a log has it after `DELAY`, so that input that is refused soon is
    one line.
    """

    DELAY = 0.7

    def __init__(self) -> None:
        self.is_shown = False
        """Whether stages are shown: in the command line's own process, but with --quiet."""
        self._names: list[str] = []
        self._written = ""
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def begin(self, name: str) -> None:
        """Begin the stage of this name."""
        if not self.is_shown:
            return
        with self._lock:
            self._names.append(name)
            if is_terminal() or self._written:
                self._write()
            elif self._timer is None:
                self._timer = threading.Timer(self.DELAY, self._late)
                self._timer.daemon = True
                self._timer.start()

    def end(self) -> None:
        """End the line, for something else to be written."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            written, self._written, self._names, self._timer = self._written, "", [], None
            if written:
                _put(f"\r{' ' * len(written)}\r" if is_terminal() else "\n")

    def _late(self) -> None:
        with self._lock:
            if self._timer is not None and self._names:
                self._write()

    def _write(self) -> None:
        line = f"langevin-nn: {' · '.join(self._names)}"
        new, self._written = line.removeprefix(self._written), line
        _put(new)


stages = Stages()
"""The stages of this process."""


def _put(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it: no reason to stop
        sys.stderr.write(text)
        sys.stderr.flush()


def complain(message: str) -> None:
    """Write an error as one line on stderr, whatever its message has in it."""
    stages.end()
    line = " ".join(message.split())
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    if len(line) > LONGEST_MESSAGE:
        half = LONGEST_MESSAGE // 2
        line = f"{line[:half]} … {line[-half:]}"
    with contextlib.suppress(OSError):  # nobody listens: the code says it
        sys.stderr.write(f"langevin-nn: error: {line}\n")
        sys.stderr.flush()


def warn(message: str) -> None:
    """Write a warning as a line on stderr, if there is one."""
    if message:
        stages.end()
        sys.stderr.write(f"langevin-nn: warning: {message}\n")


@contextlib.contextmanager
def warnings_as_lines(kind: type[Warning]) -> Iterator[None]:
    """Write warnings of this kind as `warn` does, when they come; others stay Python's."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", kind)
        show = warnings.showwarning

        def as_line(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, kind):
                warn(str(message))
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = as_line
        yield


def leave(code: int) -> NoReturn:
    """End the process now, without what Python and its libraries do at an end."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)
