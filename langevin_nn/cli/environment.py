"""The environment variables that the libraries read: which the command line settles itself, and a
line about those that hold what cannot be used.

This module itself imports no JAX.
"""

import contextlib
import importlib
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from typing import NoReturn

from langevin_nn.config.fields import shown
from langevin_nn.errors import InputError

SETTLED = {
    "MPLBACKEND": "agg",
    "MATPLOTLIBRC": os.devnull,
    "JAX_DEFAULT_PRNG_IMPL": "threefry2x32",
    "JAX_THREEFRY_PARTITIONABLE": "1",
    "JAX_RANDOM_SEED_OFFSET": "0",
}
"""What a process of the command line and its workers have, whatever the shell says: figures that
need no window, no notebook and no TeX, and random numbers that the seed alone determines."""
MOST_DEVICES = 1_024
"""CPU devices of one process; each has threads of its own."""
GUARDS = tuple(
    f"JAX_TRANSFER_GUARD{way}"
    for way in ("", "_HOST_TO_DEVICE", "_DEVICE_TO_HOST", "_DEVICE_TO_DEVICE")
)
"""They may forbid what every run does, to move arrays between NumPy and JAX."""
FORBIDDING = ("JAX_NO_TRACING", "JAX_NO_EXECUTION", "JAX_DEBUG_KEY_REUSE")
"""They forbid what runs do: to compile, to compute, to look at a draw twice (for its slopes)."""
BOOLEAN = "1 or 0"
ACCEPTED = {
    "JAX_PLATFORMS": "cpu, or cuda on a machine with a GPU and JAX's CUDA version",
    "JAX_NUM_CPU_DEVICES": f"a whole number from 1 to {MOST_DEVICES}",
    "JAX_DEFAULT_MATMUL_PRECISION": "default, high, highest, bfloat16, tensorfloat32, float32",
    "JAX_NUMPY_RANK_PROMOTION": "allow, warn, raise",
    "JAX_NUMPY_DTYPE_PROMOTION": "standard, strict",
    "JAX_TRACEBACK_FILTERING": "auto, off, tracebackhide, remove_frames, quiet_remove_frames",
    "JAX_DEFAULT_DEVICE": "cpu, or the name of another platform that is there",
    "JAXTYPING_DISABLE": BOOLEAN,
    "EQX_ON_ERROR": "raise, breakpoint, nan, off",
    "XLA_FLAGS": "XLA's flags, such as --xla_force_host_platform_device_count=8",
    **dict.fromkeys(GUARDS, "allow, log, log_explicit"),
    **dict.fromkeys(FORBIDDING, "0"),
}
"""What may be in some of the variables, as the messages have it."""
SETTINGS = {
    "arviz": "arvizrc in this folder, in that of ARVIZ_DATA, or in ~/.config/arviz",
    "dask": "the YAML files in ~/.config/dask, or where DASK_CONFIG says",
}
"""Where libraries have their settings."""


def settle() -> None:
    """Give this process, before it imports a library, the variables that are alike everywhere."""
    os.environ.update(SETTLED)


def require_usable() -> None:
    """Raise `InputError` for a variable that would end the process with no word of Python's.

    XLA aborts at a flag that it does not know, in the middle of a run; another process tries them.
    """
    if "jax" in sys.modules:  # what is in them has been read
        return
    for name in GUARDS:
        if os.environ.get(name, "").lower().startswith("disallow"):
            refuse(name)
    for name in FORBIDDING:
        if os.environ.get(name, "").lower() in ("y", "yes", "t", "true", "on", "1"):
            refuse(name)
    devices = os.environ.get("JAX_NUM_CPU_DEVICES")
    if devices is not None and not _is_count(devices):
        refuse("JAX_NUM_CPU_DEVICES")
    if os.environ.get("XLA_FLAGS", "").strip():
        words = "from jaxlib import xla_client; xla_client.CompileOptions()"
        tried = subprocess.run(
            [sys.executable, "-P", "-c", words], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace",
        )  # fmt: skip
        if tried.returncode:
            complaint = tried.stderr.strip().splitlines()[:1]
            refuse("XLA_FLAGS", "".join(complaint).rpartition("] ")[2])


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """What a library says of an environment variable, or of its file of settings, while it is
    imported becomes an `InputError`.

    Raises what was raised, if it is about none of these.
    """
    try:
        yield
        if "DASK_CONFIG" in os.environ or os.path.isdir(os.path.expanduser("~/.config/dask")):
            with contextlib.suppress(ImportError):
                importlib.import_module("dask")  # else xarray does, while it reads a run's file
    except InputError:
        raise
    except ValueError as error:
        words = str(error).lower().replace(".", "_")
        for name in os.environ:
            if name.startswith(("JAX", "EQX_")) and name.lower() in words:
                refuse(name, "", BOOLEAN if "truth value" in words else "")
        for frame, _ in traceback.walk_tb(error.__traceback__):
            library = frame.f_globals.get("__name__", "").partition(".")[0]
            if library in SETTINGS:
                raise InputError(
                    f"{library} cannot read its settings ({str(error)[:300]}): correct or remove "
                    f"{SETTINGS[library]}"
                ) from error
        raise


def refuse(name: str, reason: str = "", accepted: str = "") -> NoReturn:
    """Raise the `InputError` about an environment variable: what it holds and what it may hold."""
    because = f" ({reason.strip()[:200]})" if reason.strip() else ""
    accepted = ACCEPTED.get(name, accepted or "what its library's documentation says")
    raise InputError(
        f"the environment variable {name} = {shown(os.environ.get(name, ''))} cannot be "
        f"used{because}: it may hold {accepted}; correct it, or write unset {name}"
    )


def _is_count(text: str) -> bool:
    """Whether JAX can make so many devices; −1 is its default, the number that XLA chooses."""
    try:
        return int(text) == -1 or 1 <= int(text) <= MOST_DEVICES
    except ValueError:
        return False
