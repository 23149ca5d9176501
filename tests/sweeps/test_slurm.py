"""Sweeps on a real SLURM of one node: jobs that end, workers and daemons that are killed."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import slurm_cluster
from cases import TINY_GRID
from conftest import FEW_OPTIMISATIONS

from langevin_nn.sweeps import results
from langevin_nn.sweeps.folder import SweepFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why := slurm_cluster.reason_without()), reason=why or "there is one"),
]

GRID = TINY_GRID.replace("num_warmup = 30", "num_warmup = 20000").replace(
    "thinning = 2", "thinning = 4000"
)
JOBS = """
[sweep]
seeds = 2
executor = "slurm"
workers = 2
[sweep.over]
"prior.precisions[-1]" = [0.5, 1, 2]
[sweep.slurm]
cores = 1
memory = "2GB"
walltime = "{walltime}"
interface = "lo"
"""
"""The jobs reach the sweep's process by the loopback address."""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with slurm_cluster.Slurm(tmp_path_factory.mktemp("slurm")) as found:
        flags = f"{os.environ.get('XLA_FLAGS', '')} {FEW_OPTIMISATIONS}"
        found.environment |= {"JAX_NUM_CPU_DEVICES": "1", "XLA_FLAGS": flags}
        yield found


@pytest.fixture
def empty(slurm):
    """The same with no job in it, whatever the last test left."""
    limit = time.monotonic() + 120
    while slurm.jobs():
        slurm.answer("scancel", *slurm.jobs())
        assert time.monotonic() < limit
        time.sleep(0.5)
    return slurm


def configured(folder, *, num_samples=8, walltime="00:20:00", jobs=JOBS):
    grid = GRID.replace("num_samples = 8", f"num_samples = {num_samples}")
    text = grid + jobs.format(walltime=walltime)
    (folder / "slow.toml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, slurm):
    folder = configured(tmp_path_factory.mktemp("undisturbed"))
    return finished(start(slurm, folder, "--executor", "serial"), folder)


def start(slurm, folder, *words):
    command = [sys.executable, "-m", "langevin_nn.cli", "sweep", "slow.toml", "--output", "sweep"]
    return subprocess.Popen(
        [*command, *words], cwd=folder, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=slurm.environment,
    )  # fmt: skip


def finished(process, folder):
    """The results, with every point done."""
    out, err = process.communicate(timeout=400)
    assert process.returncode == 3, err + out
    assert "Traceback" not in err and "6 points: 6 done" in out, err
    found = results.load(folder / "sweep/results.nc")
    assert (found.status == "done").all()
    return found


def until(happens, process=None):
    limit = time.monotonic() + 300
    while not (found := happens()):
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < limit, "nothing happens"
        time.sleep(0.05)
    return found


def saved(folder):
    """The tasks that have a checkpoint."""
    return list((folder / "sweep").glob("tasks/*/*/state.npz"))


def assert_agree(found, reference):
    for name in ("bias2", "variance", "train_error", "theory_variance", "criterion"):
        np.testing.assert_allclose(found[name], reference[name], rtol=1e-6, err_msg=name)


def test_a_worker_that_dies_and_a_job_that_is_cancelled(empty, tmp_path, undisturbed):
    """Both are replaced, and the numbers are those of one process."""
    configured(tmp_path)
    process = start(empty, tmp_path)
    state = until(lambda: saved(tmp_path), process)[0]
    worker = int((state.parent.parent / "lock").read_text().split()[1])
    assert worker != process.pid
    os.kill(worker, signal.SIGKILL)
    jobs = empty.jobs("running")
    assert len(jobs) == 2
    empty.answer("scancel", jobs[0])
    assert_agree(finished(process, tmp_path), undisturbed)
    assert until(lambda: not empty.jobs()), "the jobs end with the sweep"


def test_every_job_is_cancelled_again_and_again(empty, tmp_path, undisturbed):
    """A sweep whose jobs have all ended submits others: it never waits for ever."""
    configured(tmp_path)
    process = start(empty, tmp_path)
    for _ in range(2):
        until(lambda: empty.jobs("running"), process)
        empty.answer("scancel", *empty.jobs())
        until(lambda: not empty.jobs("running"), process)
    assert_agree(finished(process, tmp_path), undisturbed)


def test_the_process_that_submits_is_killed(empty, tmp_path, undisturbed):
    """With it goes Dask's scheduler. Its jobs end by themselves; the same command goes on."""
    configured(tmp_path)
    process = start(empty, tmp_path)
    until(lambda: saved(tmp_path), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert_agree(finished(start(empty, tmp_path), tmp_path), undisturbed)
    assert until(lambda: not empty.jobs())


def test_the_controller_is_killed(empty, tmp_path, undisturbed):
    """SLURM's own daemon fails and comes back: jobs run on, and nothing is submitted twice."""
    configured(tmp_path)
    process = start(empty, tmp_path)
    until(lambda: saved(tmp_path), process)
    empty.stop("slurmctld")
    time.sleep(12)  # the sweep looks for its jobs meanwhile
    empty.start("slurmctld", "-D")
    assert_agree(finished(process, tmp_path), undisturbed)


def test_a_walltime_that_ends(empty, tmp_path):
    """Jobs of a minute, SLURM's shortest, for tasks that take hours: the next one goes on."""
    configured(tmp_path, num_samples=100_000, walltime="00:01:00")
    process = start(empty, tmp_path)
    first = set(until(lambda: empty.jobs("running"), process))
    until(lambda: not first & set(empty.jobs("running")), process)
    folder = SweepFolder.existing(tmp_path / "sweep")

    def reached():
        return sum(sum(folder.fractions(task).values()) for task in folder.tasks)

    earlier = reached()
    assert earlier > 0
    until(lambda: set(empty.jobs("running")) - first, process)
    until(lambda: reached() > earlier, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "what was saved stays" in err
    assert until(lambda: not empty.jobs()), "Ctrl-C ends the jobs too"


def test_job_array(empty, tmp_path, undisturbed):
    """The documentation's line, a job cancelled in the middle, and the line again."""
    configured(tmp_path)
    command = f"{sys.executable} -m langevin_nn.cli sweep slow.toml --output sweep --task"
    array = ["sbatch", "--array=0-1", f"--chdir={tmp_path}", "--wrap"]
    array.append(f"{command} $SLURM_ARRAY_TASK_ID/2")
    job = re.search(r"\d+", empty.answer(*array))[0]
    until(lambda: saved(tmp_path))
    empty.answer("scancel", f"{job}_0")
    until(lambda: not empty.jobs())
    assert len(list(tmp_path.glob("sweep/points/*/summary.json"))) < 6
    empty.answer(*array)
    until(lambda: not empty.jobs())
    assert_agree(results.load(tmp_path / "sweep/results.nc"), undisturbed)


@pytest.mark.parametrize(
    ("settings", "fragment"),
    [
        ('queue = "nowhere"', "invalid partition specified: nowhere"),
        ('python = "/no/python"', "ended before their worker was there"),
    ],
)
def test_jobs_that_cannot_be(empty, tmp_path, settings, fragment):
    """One line that says why, and nothing waits."""
    configured(tmp_path, jobs=JOBS + settings + "\n")
    process = start(empty, tmp_path)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 2 and "Traceback" not in err, err
    assert fragment in " ".join(err.split())
