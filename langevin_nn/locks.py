"""Locks: who writes into a folder, so that nobody else does.

A lock is a file that a process has locked (`flock`). The kernel gives it free when the process
ends, however that is, so that a file which is left behind, with its process dead or its number
given to another, locks nothing. What the file says is for the reader: process, host, since when.

Where the file system has no `flock` (some NFS and Lustre mounts), what the file says decides: on
this host whether that process still runs, by its start time too; of another host, whether there
has been a sign of life within `SILENT_SECONDS`.
"""

import contextlib
import errno
import fcntl
import os
import platform
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SILENT_SECONDS = 3600.0
"""The time without a sign of life after which another host's process has ended, without `flock`."""
NO_FLOCK_ERRORS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""The error numbers of file systems that have no `flock`."""


@contextlib.contextmanager
def held(path: Path, *, wait: bool = False, keep: bool = False) -> Iterator[bool]:
    """A context in which this process has the lock of the file `path`; False where another has it.

    With `wait` the lock is waited for. The file is gone when the block ends, or with `keep` stays
    there without a holder. Raises OSError where the file cannot be written.
    """
    file = _acquired(path, wait)
    if file is None:
        yield False
        return
    try:
        yield True
    finally:
        try:
            if not keep:
                with contextlib.suppress(OSError):
                    os.unlink(path)
        finally:
            os.close(file)


def holder(path: Path) -> str | None:
    """The process that has the lock, in words; None where none has it.

    The words are, for example, `process 4242 on node7 since 2026-11-28 13:20:01 +0000`.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe is not waited for
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _Record.of(file).words
    except OSError:
        record = _Record.of(file)
        return record.words if record.is_alive(path) else None
    finally:
        os.close(file)


def _acquired(path: Path, wait: bool) -> int | None:
    """The file descriptor of the locked file; None where another process has the lock.

    A symbolic link is refused: what it names is somebody else's, and would be overwritten.
    """
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            if error.errno == errno.ELOOP and path.is_symlink():
                raise OSError(error.errno, f"{path.name} is a symbolic link: remove it") from error
            raise
        is_mine = False
        try:
            is_mine = _locked(file, path, wait) and _is_still(file, path)
            if is_mine:
                os.ftruncate(file, 0)
                os.pwrite(file, f"{_Record.mine().text}\n".encode(), 0)
                return file
            if _is_still(file, path):
                return None
        except BaseException:
            is_mine = False
            raise
        finally:
            if not is_mine:
                os.close(file)


def _locked(file: int, path: Path, wait: bool) -> bool:
    """Whether the open file could be locked, by `flock` or else by what it says."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return True
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_FLOCK_ERRORS:
            raise
    while wait and _Record.of(file).is_alive(path):
        time.sleep(1.0)
    return not _Record.of(file).is_alive(path)


def _is_still(file: int, path: Path) -> bool:
    """Whether the open file is still at `path`: an earlier holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


@dataclass(frozen=True)
class _Record:
    """The content of a lock file: process, host, time of locking, and the process's start time."""

    process: int
    host: str
    since: str
    start: str

    @classmethod
    def mine(cls) -> "_Record":
        now = time.strftime("%Y-%m-%d %H:%M:%S %z")
        return cls(os.getpid(), platform.node(), now, _start_of(os.getpid()))

    @classmethod
    def of(cls, file: int) -> "_Record":
        text = os.pread(file, 4096, 0).decode(errors="replace")
        match = re.match(r"process (\d{1,9}) on (\S*) since ([^(]*?) \(start (\w*)\)", text)
        return cls(int(match[1]), *match.groups()[1:]) if match else cls(0, "", "", "")

    @property
    def words(self) -> str:
        if not self.process:
            return "another process"
        return f"process {self.process} on {self.host} since {self.since}"

    @property
    def text(self) -> str:
        return f"{self.words} (start {self.start})"

    def is_alive(self, path: Path) -> bool:
        """Whether the process still runs, as far as it can be known without `flock`."""
        if not self.process:
            return False
        if self.host != platform.node():
            return time.time() - _newest(path.parent) < SILENT_SECONDS
        if self.process == os.getpid():
            return self.start == _start_of(self.process)
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return self.start == _start_of(self.process)


def _start_of(process: int) -> str:
    """The time when the process started, in the kernel's ticks; empty where it is not known."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def _newest(folder: Path) -> float:
    """The time at which something in the folder was last written."""
    times = [folder.stat().st_mtime]
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)
