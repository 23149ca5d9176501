"""A run's folder at every moment: one writer; and whenever that one is killed, nothing is lost.

A run is played by `play`, which makes the changes to the file system that a run makes, in their
order, through the same functions, and computes nothing. Each of these changes is a moment at which
it is killed, or at which the system refuses it.
"""

import contextlib
import errno
import os
import platform
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from faulty_disk import CHANGES, READS, Killed, disk, sync
from run_cases import SUMMARY

from langevin_nn import config as configuration
from langevin_nn import locks
from langevin_nn.errors import InputError
from langevin_nn.files import write_atomically, write_bytes
from langevin_nn.runs import claims
from langevin_nn.runs.folder import RunFolder
from langevin_nn.sampling.base import Settings
from langevin_nn.sampling.dynamics.step_size import Diverged
from langevin_nn.sampling.engine.checkpoint import Checkpoint, EngineProgress, writing
from langevin_nn.sampling.engine.chunks import Buffer
from langevin_nn.sampling.engine.identity import Identity

OLD, NEW, NEWER = (configuration.from_dict({"seed": seed}) for seed in (1, 2, 3))
DATA = ("task.npz sha256:0123456789ab",)


def play(path, config, *, resume=False, overwrite=False, upto=2, diverges=False):
    """A run of two steps, which saves its draws after each; `upto` them without an end."""
    folder = RunFolder(path)
    with folder.claimed(config, resume=resume, overwrite=overwrite, data=DATA):
        if folder.is_finished:
            folder.check_finished()
            return
        with writing(folder.checkpoint):
            saved = Checkpoint(folder.checkpoint, Identity(config.content_hash))
            steps, chunks = 0, []
            if resume and saved.exists:
                _, steps, _, _, chunks, _ = saved.load(lambda _: [np.zeros(3)])
            for step in range(steps, upto):
                chunks.append(Buffer({"energy": np.full((1, 1), config.seed)}, {}))
                progress = EngineProgress(step + 1, len(chunks), 1.0, [Settings(0.5)])
                saved.save([np.ones(3)], progress, chunks[-1])
        if diverges:
            raise Diverged("it diverged")
        if upto < 2:
            raise KeyboardInterrupt
        assert [chunk.draws["energy"].item() for chunk in chunks] == [config.seed] * 2
        write_bytes(path / "posterior.nc", f"the draws of {config.seed}".encode())
        (path / "figures").mkdir(exist_ok=True)
        write_atomically(path / "figures/chains.png", lambda part: part.write_bytes(b"drawn"))
        folder.finish({"run_id": "0", "data": list(DATA), "seed": config.seed}, SUMMARY)


def finished(path) -> int | None:
    """The seed of the whole, finished run that is there, with nothing else."""
    folder = RunFolder(path)
    if not folder.is_finished:
        return None
    folder.check_finished()
    seed = folder.load_config().seed
    assert (path / "posterior.nc").read_text() == f"the draws of {seed}"
    assert folder.load_manifest()["seed"] == seed
    return seed


def kept(path) -> int | None:
    """The seed of the finished run that is there, or that unfinished ones there are to replace."""
    while finished(path) is None and (path / claims.REPLACED).exists():
        path = path / claims.REPLACED
    return finished(path)


def is_tidy(path) -> bool:
    names = {item.name for item in path.iterdir()}
    return names == {"config.toml", "manifest.json", "posterior.nc", "summary.json", "figures"}


def nothing(path):
    """The folder is not there."""


def emptied(path):
    (path / "checkpoint").mkdir(parents=True)


def old(path):
    play(path, OLD)


def unfinished(path):
    with contextlib.suppress(KeyboardInterrupt):
        play(path, OLD, upto=1)


def unfinished_over_old(path):
    """An unfinished run that is to replace a finished one."""
    old(path)
    with contextlib.suppress(KeyboardInterrupt):
        play(path, NEW, overwrite=True, upto=1)


def newer(path):
    """A finished run beside one that it replaced: killed before the last one was removed."""
    with disk() as whole:
        old(path)
        first = whole.count
        play(path, NEW, overwrite=True)
    shutil.rmtree(path)
    old(path)
    for at in range(whole.count - first, 0, -1):
        with disk(at, Killed()), contextlib.suppress(Killed):
            play(path, NEW, overwrite=True)
        if (path / claims.REPLACED).exists() and finished(path) == NEW.seed:
            return
        shutil.rmtree(path)
        old(path)


# What is there; the run that begins; how.
OFTEN = {
    "over a finished run": (old, NEW, {"overwrite": True}),
    "diverging, over a finished run over another": (
        newer, NEWER, {"overwrite": True, "diverges": True},
    ),
}  # fmt: skip
SCENES = OFTEN | {
    "resumed, over a finished run": (unfinished_over_old, NEW, {"resume": True}),
    "over an unfinished run over a finished one": (unfinished_over_old, NEWER, {"overwrite": True}),
    "first": (nothing, OLD, {}),
    "first, into an emptied checkpoint": (emptied, OLD, {"resume": True}),
    "over an unfinished run": (unfinished, NEW, {"overwrite": True}),
    "resumed": (unfinished, OLD, {"resume": True}),
    "over a finished run over another": (newer, NEWER, {"overwrite": True}),
    "diverging": (nothing, OLD, {"diverges": True}),
    "diverging, over a finished run": (old, NEW, {"overwrite": True, "diverges": True}),
    "diverging, over an unfinished run": (unfinished, NEW, {"overwrite": True, "diverges": True}),
}
EVERY = [
    pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow, id=name) for name in SCENES
]
BEFORE = {old: OLD.seed, unfinished_over_old: OLD.seed, newer: NEW.seed}


@pytest.fixture(scope="module", autouse=True)
def unsynced():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        yield


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """The folders before, to be copied."""
    top = tmp_path_factory.mktemp("scenes")
    for before in {scene[0] for scene in SCENES.values()}:
        before(top / before.__name__)
    return top


def begun(scenes, top, name, before):
    if (scenes / before.__name__).exists():
        shutil.copytree(scenes / before.__name__, top / name)
    return top / name


def attempt(path, config, **how):
    """What came of it: "done", "diverged", or the refusal."""
    try:
        play(path, config, **how)
        return "done"
    except Diverged:
        return "diverged"
    except InputError as error:
        assert "\n" not in str(error)
        return str(error)


def total(scenes, tmp_path, scene, kinds=CHANGES):
    before, config, how = SCENES[scene]
    path = begun(scenes, tmp_path, "whole", before)
    with disk(kinds=kinds) as counted:
        attempt(path, config, **how)
    shutil.rmtree(path, ignore_errors=True)
    return counted.count


@pytest.mark.slow_except(
    "resumed, over a finished run",
    "over an unfinished run over a finished one",
    "first",
    "first, into an emptied checkpoint",
    "over an unfinished run",
    "resumed",
    "over a finished run over another",
    "diverging",
    "diverging, over a finished run",
    "diverging, over an unfinished run",
)
@pytest.mark.parametrize("scene", EVERY)
def test_killed_at_every_moment(scenes, tmp_path, scene):  # FAULTS 3.1, 3.2
    """Whatever one writes then goes on as documented, and no finished run is lost or hidden."""
    before, config, how = SCENES[scene]
    number, earlier = total(scenes, tmp_path, scene), BEFORE.get(before)
    assert number > 12
    for at in range(1, number + 1):
        path = begun(scenes, tmp_path, f"at {at}", before)
        with disk(at, Killed()), pytest.raises(Killed):
            play(path, config, **how)
        if not path.exists():
            continue
        ended = finished(path) == config.seed
        for then in (
            ("resume", "overwrite")[at % 2 :: 2] if scene in OFTEN else ("resume", "overwrite")
        ):
            folder = shutil.copytree(path, tmp_path / f"{at} {then}")
            said = attempt(folder, config)
            if said != "done":
                assert "--overwrite to replace it" in said, (at, said)
                if earlier and "an unfinished run" not in said:
                    assert finished(folder) == (config.seed if ended else earlier), (at, said)
                said = attempt(folder, config, **{then: True})
            if said != "done":
                assert then == "resume" and "another configuration" in said, (at, said)
                assert attempt(folder, config, overwrite=True) == "done", at
            assert finished(folder) == config.seed and is_tidy(folder), (at, then)
            shutil.rmtree(folder)
        # One that diverges brings back the last finished one, or what was to replace that.
        assert attempt(path, OLD if ended else NEWER, overwrite=True, diverges=True) == "diverged"
        if earlier and finished(path) is None:
            assert RunFolder(path).has_state and kept(path) == earlier, at
        elif earlier:
            assert finished(path) == (config.seed if ended else earlier), at
        shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize(
    "again", [
        pytest.param(False, id="once"),
        pytest.param(True, id="from then on", marks=pytest.mark.exhaustive),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("scene", "code"),
    [(scene, errno.ENOSPC) for scene in SCENES]
    + [(scene, code) for scene in OFTEN for code in (errno.EACCES, errno.EIO)],
)
@pytest.mark.slow
def test_refused_by_the_system_at_every_moment(scenes, tmp_path, scene, code, again):  # FAULTS 3.2
    """One of the runs is there, and can be gone on with; what was finished before is not lost."""
    refused_at_every_moment(scenes, tmp_path, scene, code, again=again)


@pytest.mark.slow
def test_no_space_at_every_moment_over_a_finished_run(scenes, tmp_path):  # FAULTS 3.2
    refused_at_every_moment(scenes, tmp_path, "over a finished run", errno.ENOSPC, again=False)


@pytest.mark.slow_except(
    "resumed-True", "resumed, over a finished run-False", "over a finished run-True"
)
@pytest.mark.parametrize(
    ("scene", "again"),
    [
        ("resumed", False),
        pytest.param("resumed", True, marks=pytest.mark.slow),
        pytest.param("resumed, over a finished run", False, marks=pytest.mark.slow),
        pytest.param("over a finished run", True, marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_read_at_every_moment(scenes, tmp_path, scene, again):  # FAULTS 3.2, 3.6
    """An error of the disk in reading (EIO), once or from then on, is no reason to lose a run."""
    refused_at_every_moment(scenes, tmp_path, scene, errno.EIO, again=again, kinds=READS)


def refused_at_every_moment(scenes, tmp_path, scene, code, *, again, kinds=CHANGES):
    before, config, how = SCENES[scene]
    earlier = BEFORE.get(before)
    for at in range(1, total(scenes, tmp_path, scene, kinds) + 1):
        path = begun(scenes, tmp_path, f"at {at}", before)
        refusal = OSError(code, os.strerror(code))
        with disk(at, refusal, again=again, kinds=kinds), contextlib.suppress(OSError):
            attempt(path, config, **how)
        if not path.exists():
            assert before is nothing
            continue
        if earlier and finished(path) is None:
            attempt(path, config)  # refused; what was on its way back is there
            assert kept(path) == earlier, at
        if attempt(path, config, resume=True) != "done":
            assert attempt(path, config, overwrite=True) == "done", at
        assert finished(path) == config.seed and is_tidy(path), at
        shutil.rmtree(path)


# --- one writer

HOLDER = """
import sys, time
from langevin_nn import config as configuration
from langevin_nn.runs.folder import RunFolder
with RunFolder(__import__("pathlib").Path(sys.argv[1])).claimed(
    configuration.from_dict({"seed": 1}), resume=False, overwrite=False
):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_second_writer_is_refused_until_the_first_is_killed(tmp_path):  # FAULTS 3.1
    path = tmp_path / "out"
    words = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        before = sorted(path.rglob("*"))
        for how in ({}, {"resume": True}, {"overwrite": True}):
            said = attempt(path, OLD, **how)
            assert f"in use, by process {process.pid} on {platform.node()} since 2" in said
        with pytest.raises(InputError, match=f"process {process.pid}"), RunFolder(path).locked():
            pass
        assert sorted(path.rglob("*")) == before
        assert RunFolder(path).load_config() == OLD, "readers are not in the way"
        process.kill()
    assert (path / ".lock").exists(), "what a killed process leaves"
    assert attempt(path, OLD, resume=True) == "done" and is_tidy(path)


def test_the_same_process_cannot_write_twice(tmp_path):  # FAULTS 3.1
    with RunFolder(tmp_path / "out").claimed(OLD, resume=False, overwrite=False):
        assert f"process {os.getpid()} on" in attempt(tmp_path / "out", OLD, overwrite=True)
    with writing(tmp_path / "saved"):
        with pytest.raises(InputError, match="in use, by process"), writing(tmp_path / "saved"):
            pass
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    ("record", "alive"),
    [
        ("process {me} on {here} since now (start {start})", True),
        ("process {me} on {here} since now (start 1)", False),  # the number is another's
        ("process 4194305 on {here} since now (start 1)", False),
        ("process 7 on elsewhere since now (start 1)", True),
        ("\xff half a rec", False),
        ("", False),
    ],
)
def test_stale_locks_where_the_file_system_has_no_flock(tmp_path, monkeypatch, record, alive):
    """FAULTS 3.1: what the file says decides, and of another host how long it has been silent."""

    def without(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(locks.fcntl, "flock", without)
    lock = tmp_path / ".lock"
    start = locks._start_of(os.getpid())
    lock.write_text(record.format(me=os.getpid(), here=platform.node(), start=start))
    with locks.held(lock) as mine:
        assert mine != alive
        assert str(locks.holder(lock)).startswith("process")
    assert lock.exists() == alive
    if "elsewhere" in record:
        for item in (lock, tmp_path):
            os.utime(item, (1e9, 1e9))
        with locks.held(lock) as mine:
            assert mine


@pytest.mark.parametrize("there", [True, False])
def test_a_lock_that_is_a_link_to_another_file(tmp_path, there):
    """FAULTS 3.1: what it names is not overwritten, and not made."""
    book, folder = tmp_path / "thesis.tex", tmp_path / "run"
    folder.mkdir()
    (folder / ".lock").symlink_to(book)
    if there:
        book.write_text("a year of work")
    with pytest.raises(InputError, match="lock is a symbolic link: remove it"):
        play(folder, OLD)
    assert book.exists() is there and (not there or book.read_text() == "a year of work")


def test_a_lock_that_its_holder_removes_meanwhile(tmp_path):
    """The one that waits gets a lock that others see, not the file that is gone."""
    lock, entered = tmp_path / ".lock", []

    def enter():
        with locks.held(lock, wait=True) as mine:
            entered.append(mine and lock.exists() and locks.holder(lock) is not None)

    threads = [threading.Thread(target=enter) for _ in range(8)]
    with locks.held(lock):
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        assert not entered
    for thread in threads:
        thread.join(30)
    assert entered == [True] * 8 and not lock.exists()
