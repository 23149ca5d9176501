"""Sweeps of real processes that are killed, started again, and started twice at once."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from cases import TINY_GRID
from conftest import FEW_OPTIMISATIONS

import langevin_nn as lnn
from langevin_nn.sweeps import executors, grid, results
from langevin_nn.sweeps.axes import over_of
from langevin_nn.sweeps.folder import SweepFolder

pytestmark = pytest.mark.slow

SLOW = TINY_GRID.replace("num_warmup = 30", "num_warmup = 20000").replace(
    "thinning = 2", "thinning = 4000"
)
GRID = ["--over", "prior.precisions[-1]=0.5,1,2", "--seeds", "2"]


@pytest.fixture
def slow(tmp_path):
    """A folder with a sweep of six points, a few seconds each."""
    (tmp_path / "slow.toml").write_text(SLOW)
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "slow.toml").write_text(SLOW)
    return finished(start(folder, "sweep"), folder / "sweep")[1]


def start(folder, name, *words):
    """`langevin-nn sweep` as a process group of its own."""
    command = [sys.executable, "-m", "langevin_nn.cli", "sweep", "slow.toml", *GRID, *words]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    environment["XLA_FLAGS"] = environment.get("XLA_FLAGS", "") + " " + FEW_OPTIMISATIONS
    return subprocess.Popen(
        [*command, "--output", name], cwd=folder, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip


def finished(process, path):
    """Its output, and the results that it left: all points done."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 3, err
    assert "Traceback" not in err and "6 points: 6 done" in out, err
    found = results.load(path / "results.nc")
    assert (found.status == "done").all()
    return out, found


def until(happens, process):
    limit = time.monotonic() + 200
    while not (found := happens()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit, "nothing happens"
        time.sleep(0.02)
    return found


def sampling(path):
    """The process that has a task with a checkpoint, where there is one."""
    for state in path.glob("tasks/*/*/state.npz"):
        if lock := (state.parent.parent / "lock").read_text().split():
            return int(lock[1])
    return None


def number_now(out):
    """How many points a process says that it has finished."""
    return int(re.search(r"done \((\d+) of them now\)", out)[1])


def assert_agree(found, reference):
    """To rounding: the points of a batch, and so the order of sums, may differ."""
    for name in ("bias2", "variance", "train_error", "theory_variance", "criterion"):
        np.testing.assert_allclose(found[name], reference[name], rtol=1e-6, err_msg=name)
    assert (found.point == reference.point).all()


def test_a_worker_that_is_killed(slow, undisturbed):
    process = start(slow, "sweep", "--executor", "local", "--workers", "2")
    worker = until(lambda: sampling(slow / "sweep"), process)
    assert worker != process.pid
    os.kill(worker, signal.SIGKILL)
    out, found = finished(process, slow / "sweep")
    assert number_now(out) == 6
    assert_agree(found, undisturbed)


def test_everything_killed_and_started_again(slow, undisturbed):
    words = ["--executor", "local", "--workers", "2"]
    process = start(slow, "sweep", *words)
    until(lambda: list(slow.glob("sweep/points/*/summary.json")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = {path: path.stat().st_mtime_ns for path in slow.glob("sweep/points/*/summary.json")}
    out, found = finished(start(slow, "sweep", *words), slow / "sweep")
    assert number_now(out) == 6 - len(before) < 6
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    assert_agree(found, undisturbed)


def test_killed_while_sampling_and_started_again(slow, undisturbed):
    """One process: the batch goes on from where it was."""
    process = start(slow, "sweep")
    until(lambda: sampling(slow / "sweep"), process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    folder = SweepFolder.existing(slow / "sweep")
    parts = [part for task in folder.tasks for part in folder.fractions(task).values()]
    assert max(parts) > 0 and not list(slow.glob("sweep/points/*"))
    out, found = finished(start(slow, "sweep"), slow / "sweep")
    assert number_now(out) == 6
    assert_agree(found, undisturbed)


def test_two_sweeps_at_once_on_one_folder(slow, undisturbed):
    """They share the work: each point is computed once, and both end with all results."""
    words = ["--executor", "local", "--workers", "1"]
    grid_of_tasks = grid.load(slow / "slow.toml", None, over_of(GRID[1:2]), 2)
    SweepFolder.begin(slow / "sweep", grid_of_tasks, 1)  # six tasks
    pair = [start(slow, "sweep", *words), start(slow, "sweep")]
    outs = [finished(process, slow / "sweep")[0] for process in pair]
    assert sum(map(number_now, outs)) == 6
    assert min(map(number_now, outs)) > 0, "one of them did everything"
    assert_agree(results.load(slow / "sweep/results.nc"), undisturbed)
    assert_agree(lnn.collect(slow / "sweep"), undisturbed)


def test_dask_serves_no_pages_beside_a_sweep():
    """FAULTS 4.4: nobody has asked for a dashboard, nor for metrics."""
    with executors.started("local", 1) as execute:
        scheduler = execute.args[0].cluster.scheduler
        server = scheduler.http_server
        assert server.address == "127.0.0.1", "not to be reached from other machines"
        for page in ("", "status", "metrics", "health", "info/main/workers.html"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{server.port}/{page}", timeout=10)
