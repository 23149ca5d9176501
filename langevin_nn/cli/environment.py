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

from langevin_nn.errors import InputError
from langevin_nn.values import shown

SETTLED_VARIABLES = {
    "MPLBACKEND": "agg",
    "MATPLOTLIBRC": os.devnull,
    "JAX_DEFAULT_PRNG_IMPL": "threefry2x32",
    "JAX_THREEFRY_PARTITIONABLE": "1",
    "JAX_RANDOM_SEED_OFFSET": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
"""The variables of the command line's process and its workers, whatever the shell says.

Figures need no window, no notebook and no TeX; the seed alone determines random numbers. XLA logs
dozens of lines on features of the CPU for each program that it finds compiled.
"""
MOST_DEVICES = 1_024
"""The largest number of CPU devices of one process; each has threads of its own."""
GUARDS = tuple(
    f"JAX_TRANSFER_GUARD{way}"
    for way in ("", "_HOST_TO_DEVICE", "_DEVICE_TO_HOST", "_DEVICE_TO_DEVICE")
)
"""The variables that may forbid to move arrays between NumPy and JAX, as every run does."""
FORBIDDING_VARIABLES = ("JAX_NO_TRACING", "JAX_NO_EXECUTION", "JAX_DEBUG_KEY_REUSE")
"""The variables that forbid what runs do.

Runs compile, compute, and look at a draw twice (for its slopes).
"""
BOOLEAN = "1 or 0"
ACCEPTED_VALUES = {
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
    **dict.fromkeys(FORBIDDING_VARIABLES, "0"),
}
"""The values that some of the variables may have, as the messages say it."""
SETTINGS_FILES = {
    "arviz": "arvizrc in this folder, in that of ARVIZ_DATA, or in ~/.config/arviz",
    "dask": "the YAML files in ~/.config/dask, or where DASK_CONFIG says",
}
"""The places where libraries have their settings."""


def settle() -> None:
    """Give this process, before it imports a library, the variables that are alike everywhere."""
    os.environ.update(SETTLED_VARIABLES)


def require_usable() -> None:
    """Raise `InputError` for a variable that would end the process with no word of Python's.

    XLA aborts at a flag that it does not know, in the middle of a run; another process tries them.
    """
    if "jax" in sys.modules:  # what is in them has been read
        return
    for name in GUARDS:
        if os.environ.get(name, "").lower().startswith("disallow"):
            refuse(name)
    for name in FORBIDDING_VARIABLES:
        if os.environ.get(name, "").lower() in ("y", "yes", "t", "true", "on", "1"):
            refuse(name)
    devices = os.environ.get("JAX_NUM_CPU_DEVICES")
    if devices is not None and not _is_count(devices):
        refuse("JAX_NUM_CPU_DEVICES")
    if os.environ.get("XLA_FLAGS", "").strip():
        code = "from jaxlib import xla_client; xla_client.CompileOptions()"
        trial = subprocess.run(
            [sys.executable, "-P", "-c", code], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace",
        )  # fmt: skip
        if trial.returncode:
            complaint = trial.stderr.strip().splitlines()[:1]
            refuse("XLA_FLAGS", "".join(complaint).rpartition("] ")[2])


@contextlib.contextmanager
def settings_explained() -> Iterator[None]:
    """A context in which a library's error about a variable or its settings is an `InputError`.

    It is for imports. Other errors are raised as they are.
    """
    try:
        yield
        if "DASK_CONFIG" in os.environ or os.path.isdir(os.path.expanduser("~/.config/dask")):
            with contextlib.suppress(ImportError):
                importlib.import_module("dask")  # else xarray does, while it reads a run's file
    except InputError:
        raise
    except ValueError as error:
        message = str(error).lower().replace(".", "_")
        for name in os.environ:
            if name.startswith(("JAX", "EQX_")) and name.lower() in message:
                refuse(name, "", BOOLEAN if "truth value" in message else "")
        for frame, _ in traceback.walk_tb(error.__traceback__):
            library = frame.f_globals.get("__name__", "").partition(".")[0]
            if library in SETTINGS_FILES:
                raise InputError(
                    f"{library} cannot read its settings ({str(error)[:300]}): correct or remove "
                    f"{SETTINGS_FILES[library]}"
                ) from error
        raise


def refuse(name: str, reason: str = "", accepted: str = "") -> NoReturn:
    """Raise the `InputError` about an environment variable: what it holds and what it may hold."""
    cause = f" ({reason.strip()[:200]})" if reason.strip() else ""
    accepted = ACCEPTED_VALUES.get(name, accepted or "what its library's documentation says")
    raise InputError(
        f"the environment variable {name} = {shown(os.environ.get(name, ''))} cannot be "
        f"used{cause}: it may hold {accepted}; correct it, or write unset {name}"
    )


def _is_count(text: str) -> bool:
    """Whether JAX can make that many devices; −1 is its default, the number that XLA chooses."""
    try:
        return int(text) == -1 or 1 <= int(text) <= MOST_DEVICES
    except ValueError:
        return False
