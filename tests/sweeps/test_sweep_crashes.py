"""A sweep's own files at every moment: whenever it is killed, or refused by the system, it goes on.

Its points are played: files that their runs would have written, without the sampling.
"""

import errno
import os
import shutil
import tomllib

import pytest
import xarray as xr
from cases import TINY_GRID, write_npz
from faulty_disk import CHANGES, READS, Killed, disk, sync
from run_cases import SUMMARY

import langevin_nn as lnn
from langevin_nn import plotting
from langevin_nn.errors import InputError
from langevin_nn.files import write_text
from langevin_nn.sweeps import data_files, engine, grid, status
from langevin_nn.sweeps.folder import SweepFolder

OVER = {"prior.precisions[-1]": [0.5, 2.0]}


@pytest.fixture(scope="module", autouse=True)
def cheap():
    """Neither power cuts nor figures, and of the results how the points stand."""

    def standing(found, engine):
        return memoryview(" ".join(found.status.values).encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        patch.setattr(plotting, "grid_figures", lambda *_: {})
        patch.setattr(xr.Dataset, "to_netcdf", standing)
        yield


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """A grid of two points, of a file of data."""
    path = tmp_path_factory.mktemp("data") / "task.npz"
    write_npz(path, num_train=5)
    data = {"source": "npz", "path": str(path), "num_train": 5, "num_test": 4}
    return grid.grid(tomllib.loads(TINY_GRID) | {"data": data}, OVER)


def play(folder, point):
    run = folder.run(point)
    with run.locked():
        write_text(run.path / "config.toml", folder.points[point].to_toml())
        write_text(run.path / "posterior.nc", "draws")
        (data,) = data_files.now(folder.grid.points).values()
        run.finish({"run_id": point, "data": data}, SUMMARY)


def begin(path, wanted):
    engine.begin(wanted, path, 1, prepare=False)


def play_first(path, wanted):
    """One point is done, and its results are there."""
    begin(path, wanted)
    folder = SweepFolder.existing(path)
    play(folder, next(iter(folder.points)))
    engine.gather(folder)
    lnn.report(path)


def play_both(path, wanted):
    """The second is done too, the results and the page are of the first alone."""
    play_first(path, wanted)
    folder = SweepFolder.existing(path)
    play(folder, list(folder.points)[1])


def play_failed(path, wanted):
    """The second point has failed, and the first is damaged."""
    play_first(path, wanted)
    folder = SweepFolder.existing(path)
    first, second = folder.points
    folder.record_failure(second, "it failed")
    (folder.run(first).path / "posterior.nc").write_text("others")


def gather(path, wanted):
    engine.gather(SweepFolder.existing(path))


def write_page(path, wanted):
    lnn.report(path)


def tidy_up(path, wanted):
    """What a worker does of its points beside sampling."""
    folder = SweepFolder.existing(path)
    first, second = folder.points
    (task,) = folder.tasks
    with folder.claimed(task) as mine:
        assert mine
        folder.discard(first)
        for point in (first, second):
            folder.batch(task, (point,))
            if not folder.is_done(point):
                play(folder, point)
            folder.remove_failure(point)
        folder.remove_batches(task)


def nothing(path, wanted):
    """The folder is not there."""


SCENES = {
    "begin": (nothing, begin), "begin again": (play_first, begin), "gather": (play_both, gather),
    "page": (play_both, write_page), "points": (play_failed, tidy_up),
}  # fmt: skip


@pytest.fixture(scope="module")
def scenes(tmp_path_factory, wanted):
    top = tmp_path_factory.mktemp("scenes")
    for before in {scene[0] for scene in SCENES.values()}:
        before(top / before.__name__, wanted)
    return top


def check_what_is_there(path, before):
    """What was there is there, and nothing is half-written; touches nothing."""
    if before is nothing and not (path / "sweep.toml").exists():
        return
    folder = SweepFolder.existing(path)
    assert status.status(folder).done >= {play_first: 1, play_both: 2}.get(before, 0)
    if before is not nothing:
        assert len(folder.results.read_text().split()) == 2
        assert (path / "report.html").read_text().endswith("</html>\n")


def check_it_goes_on(path, wanted, act):
    """The same once more, and all is as if nothing had been."""
    begin(path, wanted)
    act(path, wanted)
    folder = SweepFolder.existing(path)
    known = {"sweep.toml", "points", "failed", "tasks", "results.nc", "report.html"}
    assert {item.name for item in path.iterdir()} <= known
    assert not list(path.rglob(".*.part"))
    if act is begin:
        assert len(folder.tasks) == 1 and folder.data and folder.grid.toml == wanted.toml
    else:
        assert all(map(folder.is_done, folder.points)) and not list((path / "failed").iterdir())
    if act is gather:
        assert folder.results.read_text() == "done done"
    if act is write_page:
        assert "2 points: 2 done" in (path / "report.html").read_text()


def at_every_moment(scenes, tmp_path, wanted, scene, error, *, again=True, kinds=CHANGES):
    before, act = SCENES[scene]

    def copied(name):
        if (scenes / before.__name__).exists():
            shutil.copytree(scenes / before.__name__, tmp_path / name)
        return tmp_path / name

    path = copied("whole")
    with disk(kinds=kinds) as counted:
        act(path, wanted)
    assert counted.count > 1
    for at in range(1, counted.count + 1):
        path = copied(str(at))
        with disk(at, error, again=again, kinds=kinds):
            try:
                act(path, wanted)
            except (Killed, OSError, InputError) as ended:
                assert "\n" not in str(ended), at
        if path.exists():
            check_what_is_there(path, before)
        check_it_goes_on(path, wanted, act)
        shutil.rmtree(path)


@pytest.mark.slow_except("begin again", "gather", "page", "points")
@pytest.mark.parametrize(
    "scene",
    ["begin", "begin again", "gather", "page", pytest.param("points", marks=pytest.mark.slow)],
)
def test_a_sweep_killed_at_every_moment_goes_on(scenes, tmp_path, wanted, scene):  # FAULTS 3.2, 3.3
    at_every_moment(scenes, tmp_path, wanted, scene, Killed())


REFUSED = {
    "no space to begin": ("begin", errno.ENOSPC, False, CHANGES),
    "no space for results": ("gather", errno.ENOSPC, True, CHANGES),
    "no space for the page": ("page", errno.ENOSPC, False, CHANGES),
    "points, once": ("points", errno.EIO, False, CHANGES),
    "points, from then on": ("points", errno.EIO, True, CHANGES),
    "read to begin": ("begin again", errno.EIO, False, READS),
    "read for results": ("gather", errno.EIO, False, READS),
    "read for the page": ("page", errno.EIO, True, READS),
    "read for points": ("points", errno.EIO, False, READS),
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", REFUSED)
def test_a_sweep_refused_by_the_system_goes_on(scenes, tmp_path, wanted, moment):  # FAULTS 3.2, 3.3
    scene, code, again, kinds = REFUSED[moment]
    error = OSError(code, os.strerror(code))
    at_every_moment(scenes, tmp_path, wanted, scene, error, again=again, kinds=kinds)
