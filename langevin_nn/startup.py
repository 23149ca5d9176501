"""What a command does before it works: libraries are loaded, JAX is set up.

This module itself imports no JAX.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Ctrl-C ends the process at once: libraries that it interrupts in their import may swallow it
    or crash. Nothing has been written yet."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def configure_jax(*, workers: bool = False) -> None:
    """float64 for the theories; one CPU device for each core, so that chains run side by side.

    Where workers do the work, this process leaves the GPUs to them.
    """
    import jax

    jax.config.update("jax_enable_x64", True)
    if workers:
        jax.config.update("jax_platforms", "cpu")
    flags = os.environ.get("XLA_FLAGS", "")
    if "JAX_NUM_CPU_DEVICES" in os.environ or "xla_force_host_platform_device_count" in flags:
        return
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):  # where JAX already runs, its devices stay as they are
        jax.config.update("jax_num_cpu_devices", cores)
