"""What a command does before it works: libraries are loaded, JAX is set up.

This module itself imports no JAX.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

from langevin_nn.cli import environment

_interrupts: list[int] = []
"""The interrupts of this process that have not ended it yet, where they are remembered."""


def remember_interrupts() -> None:
    """Let Ctrl-C be remembered, beside what it does: `raise_swallowed` raises it again.

    A library may be interrupted where Python ignores exceptions, as in a callback while JAX traces:
    the run would go on as if nothing had been said, but for a traceback, which is left out.
    """
    if _is_ours(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, _interrupt)
        sys.unraisablehook = _unraisable


@contextlib.contextmanager
def not_swallowed() -> Iterator[None]:
    """A context in which an interrupt ends in `KeyboardInterrupt`, whatever a library makes of it.

    XLA's compiler, for one, makes an error of its own of what is raised in a callback.
    """
    try:
        yield
    finally:
        raise_swallowed()


def raise_swallowed() -> None:
    """Raise `KeyboardInterrupt`, once, if there was one that did not end what it interrupted."""
    if _interrupts:
        _interrupts.clear()
        raise KeyboardInterrupt


def _unraisable(ignored: "sys.UnraisableHookArgs") -> None:
    """Show an exception that Python ignores, unless it is an interrupt, which is remembered."""
    if not issubclass(ignored.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)


def _interrupt(number: int, frame: object) -> None:
    """Remember the interrupt, and raise it."""
    _interrupts.append(number)
    raise KeyboardInterrupt


def _is_ours(handler: object) -> bool:
    """Whether Python or this module handles interrupts, and this thread may change that."""
    is_main_thread = threading.current_thread() is threading.main_thread()
    return is_main_thread and handler in (signal.default_int_handler, _interrupt)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """A context for the import of libraries, in which Ctrl-C ends the process at once.

    A library that is interrupted in its import may swallow that or crash, and nothing has been
    written yet. Environment variables that the libraries refuse are named.
    """
    environment.require_usable()
    handler = signal.getsignal(signal.SIGINT)
    is_ours = _is_ours(handler)
    if is_ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        with environment.explained():
            yield
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, handler)


def configure_jax(*, workers: bool = False) -> None:
    """Give JAX float64, for the theories, and a CPU device for each core, for chains side by side.

    Where workers do the work, this process leaves the GPUs to them. Raises `InputError` where the
    devices that the environment asks for are not there.
    """
    import jax

    jax.config.update("jax_enable_x64", True)
    if workers:
        jax.config.update("jax_platforms", "cpu")
    flags = os.environ.get("XLA_FLAGS", "")
    if "JAX_NUM_CPU_DEVICES" not in os.environ and (
        "xla_force_host_platform_device_count" not in flags
    ):
        affinity = getattr(os, "sched_getaffinity", None)
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        with contextlib.suppress(RuntimeError):  # where JAX already runs, its devices stay
            jax.config.update("jax_num_cpu_devices", cores)
    if not os.environ.get("JAX_PLATFORMS") or workers:
        return
    try:
        jax.devices()
    except (RuntimeError, ValueError, AssertionError) as error:
        environment.refuse("JAX_PLATFORMS", str(error).partition("\n")[0])
