"""The jobs of a sweep on SLURM: submitted by dask-jobqueue, and replaced when they end.

This module imports no JAX, and Dask only when it is called.
"""

import contextlib
import getpass
import inspect
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langevin_nn.errors import InputError
from langevin_nn.values import nearest

ALLOWED_FAILURES = 5
"""The number of workers that may die under a task, or jobs before their worker is there."""
RENEWAL_SECONDS = 10.0
"""The interval at which jobs that have ended are looked for and replaced."""
NO_PAGES = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""The options for no pages and metrics of Dask's, which whoever can reach the port could read."""


def slurm_cluster(settings: Mapping[str, Any]) -> Any:
    """A SLURMCluster of dask-jobqueue with these settings, no job started.

    `settings` are SLURMCluster's own: queue, cores, memory, walltime, account,
    job_extra_directives, … A worker has all `cores` of its job and one task at a time.
    `job_script()` of the result is what goes to sbatch. Raises `InputError` for settings that it
    does not take, and without dask-jobqueue.
    """
    arguments = dict(settings)
    if missing := [name for name in ("cores", "memory") if name not in arguments]:
        raise InputError(
            f"a SLURM job needs {' and '.join(missing)}: write for example cores = 8, "
            'memory = "16GB" and walltime = "04:00:00" under [sweep.slurm]'
        )
    arguments.setdefault("job_cpu", arguments["cores"])
    arguments |= {"cores": 1, "processes": 1}
    arguments.setdefault("python", sys.executable)
    options = arguments.get("scheduler_options") or {}
    arguments["scheduler_options"] = (
        options if "dashboard_address" in options else NO_PAGES | options
    )
    prologue = arguments.get("job_script_prologue") or []
    arguments["job_script_prologue"] = [
        "export DASK_DISTRIBUTED__WORKER__HTTP__ROUTES=[]",
        *prologue,
    ]
    return checked(arguments).SLURMCluster(**arguments)


def checked(settings: Mapping[str, Any]) -> Any:
    """dask_jobqueue's module of SLURM. Raises `InputError` for settings that it does not know."""
    ctrl_c = signal.getsignal(signal.SIGINT)
    with dask_explained():
        from dask_jobqueue import core, slurm
    if signal.getsignal(signal.SIGINT) is not ctrl_c:
        signal.signal(signal.SIGINT, ctrl_c)  # importing dask_jobqueue made it a silent exit
    takers = (core.JobQueueCluster, core.Job, slurm.SLURMJob)
    known = {name for taker in takers for name in inspect.signature(taker).parameters}
    for name in settings:
        if name not in known:
            hint = nearest(name, sorted(known)) or "; SLURMCluster's documentation lists them"
            raise InputError(f'[sweep.slurm] has an unknown setting "{name}"{hint}')
    return slurm


class Jobs:
    """The jobs of a cluster: called now and then, it replaces those that have ended.

    A job ends at its walltime, with its node, or by scancel, and Dask would wait for it for ever.
    Raises `InputError` where jobs cannot be submitted, or end again and again before a worker is
    there.
    """

    def __init__(self, cluster: Any, number: int) -> None:
        self.cluster = cluster
        self.number = number
        self.seen: set[str] = set()
        self.fruitless = 0
        self.looked = -RENEWAL_SECONDS

    def __call__(self) -> None:
        if time.monotonic() < self.looked + RENEWAL_SECONDS:
            return
        self.looked = time.monotonic()
        connected = {
            str(worker["name"]) for worker in self.cluster.scheduler_info["workers"].values()
        }
        if connected - self.seen:
            self.fruitless = 0
        self.seen |= connected
        jobs = {name: str(job.job_id) for name, job in list(self.cluster.workers.items())}
        present = _present_jobs()
        ended = (
            [] if present is None else [name for name, job in jobs.items() if job not in present]
        )
        self.fruitless += sum(str(name) not in self.seen for name in ended)
        if self.fruitless > ALLOWED_FAILURES:
            raise InputError(
                f"{self.fruitless} SLURM jobs in a row ended before their worker was there, the "
                f"last of them {jobs[ended[-1]]}: their output (slurm-JOBID.out) says why; look "
                "also at python, job_script_prologue and walltime under [sweep.slurm]"
            )
        try:
            self.cluster.sync(self._replace, ended)
        except RuntimeError as error:  # what sbatch answered
            # The cluster's end would submit them once more, and then trip over those never begun.
            self.cluster.worker_spec.clear()
            for job in list(self.cluster._created):
                if getattr(job, "job_id", None) is None:
                    self.cluster._created.discard(job)
            answer = " ".join(str(error).partition("stderr:")[2].split()) or str(error)
            raise InputError(
                f"the jobs of the sweep cannot be submitted ({answer}): look at [sweep.slurm]"
            ) from error

    async def _replace(self, ended: Sequence[str]) -> None:
        for name in ended:
            self.cluster.worker_spec.pop(name, None)
            self.cluster.workers.pop(name, None)
        while len(self.cluster.worker_spec) < self.number:  # `scale` would log its own traceback
            self.cluster.worker_spec.update(self.cluster.new_worker_spec())
        await self.cluster


def _present_jobs() -> set[str] | None:
    """This user's jobs that wait or run, by number; None where the controller does not answer."""
    command = ["squeue", "--noheader", "--format=%A", f"--user={getpass.getuser()}"]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(completed.stdout.split())


@contextlib.contextmanager
def dask_explained() -> Iterator[None]:
    """A context in which a failing import of Dask raises an `InputError`: what to install."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"the executors local and slurm need {error.name or 'dask'}: write "
            "pip install 'langevin_nn[dask]', or executor = \"serial\""
        ) from error
