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

_asked: list[int] = []
"""The interrupts of this process, where they are remembered."""


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
    """Within it an interrupt ends in `KeyboardInterrupt`, whatever a library makes of it.

    XLA's compiler, for one, makes an error of its own of what is raised in a callback.
    """
    try:
        yield
    finally:
        raise_swallowed()


def raise_swallowed() -> None:
    """Raise `KeyboardInterrupt`, once, if there was one that did not end what it interrupted."""
    if _asked:
        _asked.clear()
        raise KeyboardInterrupt


def _unraisable(ignored: "sys.UnraisableHookArgs") -> None:
    """Of what Python ignores an interrupt is not shown: it is remembered."""
    if not issubclass(ignored.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)


def _interrupt(number: int, frame: object) -> None:
    _asked.append(number)
    raise KeyboardInterrupt


def _is_ours(handler: object) -> bool:
    here = threading.current_thread() is threading.main_thread()
    return here and handler in (signal.default_int_handler, _interrupt)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Ctrl-C ends the process at once: libraries that it interrupts in their import may swallow it
    or crash. Nothing has been written yet. Environment variables that they refuse are named."""
    environment.require_usable()
    before = signal.getsignal(signal.SIGINT)
    ours = _is_ours(before)
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        with environment.explained():
            yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


def configure_jax(*, workers: bool = False) -> None:
    """float64 for the theories; one CPU device for each core, so that chains run side by side.

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
