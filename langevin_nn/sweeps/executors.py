"""Who works off the tasks: this process, processes of this machine, or jobs of a cluster.

Dask is imported here and in `slurm` alone, and only `local` and `slurm` need it. Tasks go to the
workers as the path of the sweep's folder and the names of points; all else passes through that
folder. A task whose worker dies goes to another one, where it goes on from its checkpoint.

This module imports no JAX: a worker sets up its environment first.
"""

import contextlib
import functools
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langevin_nn.errors import InputError
from langevin_nn.sweeps.slurm import (
    ALLOWED_FAILURES,
    NO_PAGES,
    Jobs,
    checked,
    dask_explained,
    slurm_cluster,
)
from langevin_nn.values import as_whole, shown

if TYPE_CHECKING:
    from langevin_nn.sweeps.folder import SweepFolder
    from langevin_nn.sweeps.plan import Task

EXECUTORS = ("serial", "local", "slurm")
POLL_SECONDS = 0.2
SETTINGS = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
}
"""Dask's settings: no pages, and several failures of a task's workers."""
INHERITED_PREFIXES = ("JAX_", "JAXTYPING_", "EQX_", "XLA_FLAGS")
"""The prefixes of variables that workers inherit and that may keep JAX from starting there."""
TRIAL = "import equinox, jax, numpy; jax.numpy.sin(numpy.ones(2))"
"""The Python code that every worker can run."""


@dataclass(frozen=True)
class Outcome:
    """The points of a task that are finished, None where another process has it; an error."""

    task: "Task"
    done: tuple[str, ...] | None
    error: str = ""


Execute = Callable[
    ["SweepFolder", Sequence["Task"], Mapping[str, str], Callable[[], None]], Iterator[Outcome]
]
"""A function that works off tasks of a folder, given earlier failures and a function to call."""


def chosen(
    table: Mapping[str, Any],
    executor: str | None,
    workers: int | None,
    slurm: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """`executor`, `workers` and `slurm`: as given, else as the table [sweep] has them.

    The table's `workers` are those of its executor, another one that is given does not take them.

    >>> chosen({"executor": "local", "workers": 4}, None, None)
    {'executor': 'local', 'workers': 4, 'slurm': {}}
    >>> chosen({"executor": "local", "workers": 4}, "serial", None)
    {'executor': 'serial', 'workers': None, 'slurm': {}}
    """
    table_executor = table.get("executor", "serial")
    is_table_executor = executor is None or (
        isinstance(executor, str) and executor == table_executor
    )
    if workers is None and is_table_executor:
        workers = table.get("workers")
    return {
        "executor": table_executor if executor is None else executor,
        "workers": workers,
        "slurm": dict(_checked_settings(slurm) or table.get("slurm", {})),
    }


def _checked_settings(slurm: Any) -> Mapping[str, Any] | None:
    if slurm is not None and not isinstance(slurm, Mapping):
        raise InputError(
            f"slurm is a table of the jobs' settings, got {shown(slurm)}: write for example "
            '{"walltime": "01:00:00"}'
        )
    return slurm


def check(executor: str, workers: int | None, slurm: Mapping[str, Any]) -> None:
    """Raise `InputError` for an executor that does not exist or that lacks something."""
    if not isinstance(executor, str) or executor not in EXECUTORS:
        raise InputError(f"executor must be one of {', '.join(EXECUTORS)}, got {shown(executor)}")
    if workers is not None and (as_whole(workers) or 0) < 1:
        raise InputError(f"workers must be a whole number from 1, got {shown(workers)}")
    if executor == "serial" and workers not in (None, 1):
        raise InputError(
            f'executor = "serial" is one process, got workers = {workers}: write '
            'executor = "local" or leave workers out'
        )
    if executor != "serial":
        with dask_explained():
            import distributed  # noqa: F401
        _require_startable(executor)
    if slurm and executor != "slurm" and importlib.util.find_spec("dask_jobqueue"):
        checked(slurm)  # for another time
    if executor == "slurm":
        slurm_cluster(slurm).close()
        if workers is None:
            raise InputError(
                'executor = "slurm" needs workers, the number of jobs: write for example 8'
            )
        if shutil.which("sbatch") is None:
            raise InputError(
                'executor = "slurm" submits jobs by sbatch, which is not on the PATH: start the '
                'sweep where jobs can be submitted, or write executor = "local"'
            )


def _require_startable(executor: str) -> None:
    """Raise `InputError` where JAX does not start with what workers inherit: each point would fail.

    Other processes try it: this one leaves the GPUs to the workers. The nodes of a cluster may
    have devices that are not here, but no platforms that JAX does not know.
    """
    variables = [
        (name, value) for name, value in sorted(os.environ.items())
        if name.startswith(INHERITED_PREFIXES) and name != "JAX_NUM_CPU_DEVICES" and value.strip()
    ]  # fmt: skip
    if not _complaint_about(*variables):
        return
    for name, value in variables:
        complaint = _complaint_about((name, value))
        is_unknown = any(
            f"Backend '{platform}' is not" in complaint for platform in value.split(",")
        )
        on_nodes = executor == "slurm" and name == "JAX_PLATFORMS" and not is_unknown
        if complaint and not on_nodes:
            raise InputError(
                f"the environment variable {name} = {shown(value)} cannot be used, JAX does not "
                f"start in workers that inherit it ({complaint}): correct it, or write unset {name}"
            )


@functools.cache
def _complaint_about(*variables: tuple[str, str]) -> str:
    """JAX's error where it does not start with these variables as all its own, else ""."""
    if not variables:
        return ""
    others = {
        name: value for name, value in os.environ.items() if not name.startswith(INHERITED_PREFIXES)
    }
    completed = subprocess.run(
        [sys.executable, "-P", "-c", TRIAL], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, errors="replace",
        env=others | dict(variables) | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
    )  # fmt: skip
    if not completed.returncode:
        return ""
    lines = [line.strip() for line in completed.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return (errors or lines or [f"exit code {completed.returncode}"])[0][:300]


def number_of_workers(executor: str, workers: int | None) -> int:
    """The number of workers: as given, else that of GPUs, else of cores; one for serial."""
    if executor == "serial":
        return 1
    return workers or len(_gpus()) or _cores()


@contextlib.contextmanager
def started(
    executor: str, workers: int | None = None, slurm: Mapping[str, Any] | None = None
) -> Iterator[Execute]:
    """A context with the executor, whose workers start with it and end with it."""
    if executor == "serial":
        yield _serial
        return
    with dask_explained():
        import dask
        import distributed
    number = number_of_workers(executor, workers)
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(SETTINGS))
        renew = _renew_nothing
        if executor == "local":
            scratch = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            try:
                cluster = distributed.LocalCluster(
                    n_workers=number, threads_per_worker=1, processes=True, memory_limit=0,
                    dashboard_address=None, local_directory=scratch, silence_logs=logging.CRITICAL,
                    scheduler_kwargs=NO_PAGES,
                )  # fmt: skip
            except (RuntimeError, OSError, TimeoutError) as error:
                raise InputError(
                    f"{number} worker(s) could not be started ({error}): write fewer workers, or "
                    'executor = "serial"; in a script of your own keep the call below '
                    'if __name__ == "__main__":'
                ) from error
            environment = {"NPROC": str(max(1, _cores() // number)), "JAX_NUM_CPU_DEVICES": "1"}
        else:
            cluster = slurm_cluster(slurm or {})
            renew = Jobs(cluster, number)
            environment = {"JAX_NUM_CPU_DEVICES": str((slurm or {})["cores"])}
        stack.enter_context(cluster)
        renew()
        client = stack.enter_context(distributed.Client(cluster))
        gpus = _gpus() if executor == "local" else []
        yield functools.partial(_on_dask, client, environment, gpus, renew)


def _renew_nothing() -> None:
    """Do nothing: workers that are processes of this machine are not renewed."""


def _serial(
    folder: "SweepFolder",
    tasks: Sequence["Task"],
    earlier: Mapping[str, str],
    tick: Callable[[], None],
) -> Iterator[Outcome]:
    """Work off the tasks in this process."""
    from langevin_nn.sweeps.task import work

    for task in tasks:
        yield Outcome(task, work(folder, task, earlier, lambda _: tick()))
        tick()


def _on_dask(
    client: Any,
    environment: Mapping[str, str],
    gpus: Sequence[str],
    renew: Callable[[], None],
    folder: "SweepFolder",
    tasks: Sequence["Task"],
    earlier: Mapping[str, str],
    tick: Callable[[], None],
) -> Iterator[Outcome]:
    """Work off the tasks in the workers of Dask's client."""
    path = str(folder.path.absolute())
    futures = {
        client.submit(
            _in_worker, dict(environment), list(gpus), path, task.points, dict(earlier), pure=False
        ): task
        for task in tasks
    }
    while futures:
        for future in [future for future in futures if future.done()]:
            task = futures.pop(future)
            error = future.exception()
            yield Outcome(task, () if error else future.result(), str(error) if error else "")
        tick()
        renew()
        time.sleep(POLL_SECONDS)


def _in_worker(
    environment: dict[str, str],
    gpus: list[str],
    path: str,
    points: tuple[str, ...],
    earlier: dict[str, str],
) -> tuple[str, ...] | None:
    """Work off one task in a worker's process, which its first task sets up."""
    import dask
    import distributed

    if "jax" not in sys.modules:
        os.environ.update(environment)
        if gpus:
            name = distributed.get_worker().name
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus[int(name) % len(gpus)]
    import jax

    from langevin_nn.sweeps.plan import Task
    from langevin_nn.sweeps.task import work

    jax.config.update("jax_enable_x64", True)
    # Else xarray, which finds itself in a worker, asks the scheduler for a lock for each file.
    with dask.config.set(scheduler="synchronous"):
        return work(_opened(path), Task(tuple(points)), earlier)


@functools.cache
def _opened(path: str) -> "SweepFolder":
    """The sweep's folder, opened once in a worker's process."""
    from langevin_nn.sweeps.folder import SweepFolder

    return SweepFolder.existing(Path(path))


def _cores() -> int:
    """The number of CPU cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _gpus() -> list[str]:
    """The GPUs that JAX would use, as CUDA_VISIBLE_DEVICES names them."""
    if "cuda" not in os.environ.get("JAX_PLATFORMS", "cuda"):
        return []
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return completed.stdout.split()
