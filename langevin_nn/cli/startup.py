"""What a command does before it works: libraries are loaded, JAX is set up, with its cache.

This module itself imports no JAX.
"""

import contextlib
import hashlib
import logging
import os
import platform
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from langevin_nn.cli import environment

CACHE_BYTES = 1_000_000_000
"""The size of the folder of compiled programs above which its older half is deleted."""

_interrupts: list[int] = []
"""The interrupts of this process that have not ended it yet, where they are remembered."""


_is_process = False
"""Whether this process is the command line's own: `begin_process` says so."""


def begin_process() -> None:
    """Let this process be the command line's own, with feedback from its start and JAX's cache."""
    global _is_process
    _is_process = True
    # Matplotlib says in two lines that it has no place for its cache, and takes a temporary one.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    remember_interrupts()


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
        with environment.settings_explained():
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
    if _is_process:
        _keep_compiled()
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


def _keep_compiled() -> None:
    """Let JAX keep its compiled programs in the user's cache, unless a variable of JAX's says more.

    A run of shapes that were compiled before begins within seconds. There is a folder for each
    version of JAX and each kind of CPU, as home folders are shared by machines. An entry that
    cannot be read or written is compiled, as without a cache.
    """
    import jax
    import platformdirs

    is_on, chosen = (
        getattr(jax.config, name)
        for name in ("jax_enable_compilation_cache", "jax_compilation_cache_dir")
    )
    warnings.filterwarnings("ignore", "Error (read|writ)ing persistent compilation cache")
    if not is_on or chosen is not None:
        return
    folder = program_folder(Path(platformdirs.user_cache_dir("langevin_nn")) / "compiled")
    if folder is None:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def program_folder(cache: Path) -> Path | None:
    """The folder in `cache` of the programs of this JAX for this CPU, which is not too full.

    None where nothing can be written.
    """
    import jax

    kind = hashlib.sha256(_cpu().encode()).hexdigest()[:8]
    folder = cache / f"jax-{jax.__version__}-{kind}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return None
        _prune(folder)
    except OSError:
        return None
    return folder


def _cpu() -> str:
    """What programs are compiled for: the machine's architecture and its CPU's features."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {features}"


def _prune(folder: Path) -> None:
    """Delete the older half of the files where they are more than `CACHE_BYTES` together."""
    with os.scandir(folder) as entries:
        files = [(entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in entries]
    if sum(size for _, size, _ in files) <= CACHE_BYTES:
        return
    for _, _, path in sorted(files)[: len(files) // 2]:
        with contextlib.suppress(OSError):  # another process deletes it
            os.unlink(path)
