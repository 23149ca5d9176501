"""How much memory there is, asked before it is taken; compiled programs, forgotten in time."""

import gc
import os
import sys
from pathlib import Path

from langevin_nn.errors import InputError

__all__ = ["available_memory", "forget_programs", "is_out_of_memory", "require_memory"]

_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Limit and use of a container, in both versions of Linux's control groups."""


def available_memory() -> int:
    """Bytes that this process can still take: the machine's, its container's, its own limit's."""
    return max(0, min(_of_machine(), _of_container(), _of_process()))


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


def _of_machine() -> int:
    """What can be taken without swapping; where the system does not say, all that there is."""
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    names = getattr(os, "sysconf_names", {})
    if {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= names.keys():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return sys.maxsize


def _of_container() -> int:
    limits = [sys.maxsize]
    for limit, use in _GROUPS:
        numbers = [*_lines(limit)[:1], *_lines(use)[:1]]
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
            limits.append(int(numbers[0]) - int(numbers[1]))
    return min(limits)


def _of_process() -> int:
    """What the limit on the address space leaves (`ulimit -v`)."""
    try:
        import resource
    except ImportError:  # not a Unix
        return sys.maxsize
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = [line.split()[1] for line in _lines("/proc/self/status") if line.startswith("VmSize:")]
    if limit == resource.RLIM_INFINITY or not used:
        return sys.maxsize
    return limit - int(used[0]) * 1024


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


_WORDS = (
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
"""How Python, NumPy, JAX, its backends and the system say that there is no memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, of whichever library, says that memory has run out."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _WORDS)
