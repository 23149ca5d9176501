"""How much memory there is, asked before it is taken; compiled programs, forgotten in time."""

import gc
import os
import sys
from pathlib import Path

from langevin_nn.errors import InputError

__all__ = ["available_memory", "forget_programs", "is_out_of_memory", "require_memory"]

_CONTROL_GROUPS = {
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": (
        "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
        "total_inactive_file",
    ),
}  # fmt: skip
"""The files of both versions of Linux's control groups, by a controller in /proc/self/cgroup.

They are: their folder, the files of limit and use, and the entry of memory.stat for what the kernel
gives back when it is asked.
"""


def available_memory() -> int:
    """The bytes that machine, container and the process's own limit still leave this process."""
    return max(0, min(_left_on_machine(), _left_in_container(), _left_to_process()))


def require_memory(num_bytes: float | int, what: str, remedy: str) -> None:
    """Raise `InputError` if `what` takes more bytes than there are; `remedy` is what to write."""
    available = available_memory()
    if num_bytes > available:
        raise InputError(
            f"not enough memory: {what} takes {num_bytes / 1e9:.3g} GB, and {available / 1e9:.3g} "
            f"GB are left: {remedy}"
        )


def forget_programs(share: float = 0.3) -> bool:
    """Forget what JAX has compiled if it takes more than `share` of the memory maps there may be.

    Linux lets a process map so many regions (`vm.max_map_count`, 65,530 by default), a compiled
    program takes hundreds, and JAX keeps them all: after some hundred networks of different shapes
    in one process the compiler would end in a segmentation fault. Programs that are called again
    are compiled again, and the numbers stay the same.
    """
    limit, used = _lines("/proc/sys/vm/max_map_count")[:1], len(_lines("/proc/self/maps"))
    if "jax" not in sys.modules or not limit or used <= share * int(limit[0]):
        return False
    sys.modules["jax"].clear_caches()
    gc.collect()
    return True


def _left_on_machine() -> int:
    """The bytes that the machine has without swapping; all its memory where it does not say."""
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    names = getattr(os, "sysconf_names", {})
    if {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= names.keys():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return sys.maxsize


def _left_in_container(root: Path = Path("/")) -> int:
    """The bytes that the limits on this process's control group, and on each above it, leave.

    A group's path may be one that its container does not show: those are left out.
    """
    bytes_left = [sys.maxsize]
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for name in {*controllers.split(",")} & _CONTROL_GROUPS.keys():
            top, limit, use, given_back = _CONTROL_GROUPS[name]
            components = [component for component in path.split("/") if component not in ("", "..")]
            for depth in range(len(components) + 1):
                group = (root / top).joinpath(*components[:depth])
                limits, used = _number_in(group / limit), _number_in(group / use)
                if limits is not None and used is not None:
                    bytes_left.append(limits - used + _cached(group / "memory.stat", given_back))
    return min(bytes_left)


def _number_in(path: Path) -> int | None:
    """The number that a file consists of; None where it is absent, or says "max"."""
    text = "".join(_lines(path)[:1]).strip()
    return int(text) if text.isdecimal() else None


def _cached(path: Path, name: str) -> int:
    """The bytes of files that are kept in memory as long as nobody else wants it."""
    entries = (line.split() for line in _lines(path))
    return next((int(entry[1]) for entry in entries if entry[:1] == [name]), 0)


def _left_to_process() -> int:
    """The bytes that the limit on the process's address space leaves (`ulimit -v`)."""
    try:
        import resource
    except ImportError:  # not a Unix
        return sys.maxsize
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = [line.split()[1] for line in _lines("/proc/self/status") if line.startswith("VmSize:")]
    if limit == resource.RLIM_INFINITY or not used:
        return sys.maxsize
    return limit - int(used[0]) * 1024


def _lines(path: str | Path) -> list[str]:
    """The lines of a file; none where it cannot be read."""
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


_MESSAGES = (
    "RESOURCE_EXHAUSTED",
    "out of memory",
    "OUT_OF_MEMORY",
    "failed to allocate",
    "Failed to allocate",
    "unable to allocate",
    "Unable to allocate",
    "Cannot allocate memory",
    "ALLOC_FAILED",
    "bad_alloc",
    "array is too big",
    "Maximum allowed dimension exceeded",
    "Maximum allowed size exceeded",
    "can't start new thread",
)
"""What Python, NumPy, JAX, its backends and the system write where there is no memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, of whichever library, says that memory has run out."""
    return isinstance(error, MemoryError) or any(message in str(error) for message in _MESSAGES)
