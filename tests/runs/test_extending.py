"""Finished runs that are extended: as one long run, bit for bit; and at no moment is one lost.

For the moments a run is played, as in `test_claims`: the changes to the file system are made in
their order by the same functions, and nothing is computed.
"""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest
from cases import TINY
from command_line import unsealed, with_as_many_devices
from faulty_disk import CHANGES, READS, Killed, disk, sync
from refusals import refused, untouched
from run_cases import SUMMARY, arrays

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn.errors import InputError
from langevin_nn.files import write_arrays, write_bytes
from langevin_nn.runs import claims, extending, run
from langevin_nn.runs.folder import RunFolder
from langevin_nn.sampling.dynamics.step_size import Diverged
from langevin_nn.sampling.engine import driver

DRAW = run.draw_figures
SHORT = 'theory = ["infinite_width"]' + TINY.replace("num_warmup = 30", "num_warmup = 6")


@pytest.fixture
def tiny():
    return SHORT


@pytest.fixture
def cli(cli, monkeypatch):
    monkeypatch.setattr(run, "draw_figures", lambda *_: None)
    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", 10)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)
    return cli


def record_of(folder, name):
    return json.loads((folder / name).read_text())


def assert_same_run(folder, reference):
    """To the last bit, but for times and the history."""
    mine, theirs = arrays(folder), arrays(reference)
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        assert values.dtype == theirs[name].dtype, name
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)
    files = [{p.name for p in path.iterdir()} for path in (folder, reference)]
    assert files[0] == files[1]
    for name in files[0] & {"config.toml", "weights.npy"}:
        assert (folder / name).read_bytes() == (reference / name).read_bytes(), name
    summaries = [record_of(path, "summary.json") for path in (folder, reference)]
    for summary in summaries:
        assert summary["experiment"].pop("wall_seconds") > 0
    assert summaries[0] == summaries[1]
    manifests = [record_of(path, "manifest.json") for path in (folder, reference)]
    for manifest in manifests:
        for name in ("wall_seconds", "extensions", "files", "sha256", "weights"):
            manifest.pop(name, None)
    assert manifests[0] == manifests[1]
    states = [np.load(path / claims.LAST_STATE) for path in (folder, reference)]
    assert states[0].files == states[1].files
    for name in states[0].files:
        if name != "number_seconds":
            np.testing.assert_array_equal(states[0][name], states[1][name], err_msg=name)


SPLIT = ["--sampler.dynamics", "split", "--posterior.readout", "marginalised"]
CASES = {
    "langevin, weights": (["--sampler.keep_weights", "true"], [8, 32]),
    "langevin, extended twice": ([], [8, 16, 32]),
    "split, marginalised, auto": ([*SPLIT, "--sampler.num_warmup", "auto"], [8, 12]),
    "ladder, weights": (
        [*SPLIT, "--sampler.ladder", "1", "3", "--sampler.keep_weights", "true"], [8, 12],
    ),
    "langevin, ladder": (["--sampler.ladder", "1", "3"], [8, 12]),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_an_extended_run_is_the_long_one(cli, case):
    options, numbers = CASES[case]
    words = [*options, "--quiet", "--sampler.num_samples"]
    assert cli("run", "tiny.toml", "--output", "out", *words, numbers[0]).code == 3
    first = lnn.load_run(cli.folder / "out")
    for number in numbers[1:]:
        assert cli("run", "out/config.toml", "--extend", *words[-2:], number).code == 3
    assert cli("run", "tiny.toml", "--output", "whole", *words, numbers[-1]).code == 3
    assert_same_run(cli.folder / "out", cli.folder / "whole")

    loaded = lnn.load_run(cli.folder / "out")
    assert loaded.chains.extendable and "--extend" in loaded.measured.message
    history = loaded.manifest["extensions"]
    pairs = list(zip(numbers, numbers[1:], strict=False))
    assert [(step["from_draws"], step["to_draws"]) for step in history] == pairs
    assert history[0]["from_run"] == first.config.content_hash
    assert {"when", "version"} <= history[0].keys()
    assert cli("report", "out").code == 0
    page = (cli.folder / "out/report.html").read_text()
    assert f"{numbers[0]} to {numbers[1]} draws of each chain" in page
    # The same once more: there is nothing to do.
    (cli.folder / "out/report.html").unlink()
    before = {path: path.stat().st_mtime_ns for path in (cli.folder / "out").iterdir()}
    answer = cli("run", "tiny.toml", "--output", "out", *options, "--extend", *words[-1:], number)
    assert answer.code == 3 and "is finished" in answer.out
    assert {path: path.stat().st_mtime_ns for path in (cli.folder / "out").iterdir()} == before


@pytest.mark.slow
def test_what_is_not_the_runs_stays_in_its_folder(cli, monkeypatch):
    """Notes, figures of one's own, and what was made of the run: in its formats, and its page."""
    monkeypatch.setattr(run, "draw_figures", DRAW)
    out, words = cli.folder / "out", ["--theory", "[]", "--quiet"]
    run_words = ["run", "tiny.toml", "--output", "out", *words, "--format", "png", "svg"]
    assert cli(*run_words).code == 3
    assert cli("report", "out").code == 0
    page = (out / "report.html").read_text()
    own = {"notes.txt": "mine", "figures/mine.png": "drawn", "figures/more/a.txt": "kept"}
    own["figures/chains.jpg"] = "a format that is not a run's"
    (out / "figures/more").mkdir()
    for name, content in own.items():
        (out / name).write_text(content)
    (out / "elsewhere").symlink_to(cli.folder)
    stale = (out / "figures/chains.svg").read_text()
    draws = ["--sampler.num_samples", "12"]
    assert cli("run", "out/config.toml", "--extend", *draws, "--quiet").code == 3
    assert {name: (out / name).read_text() for name in own} == own
    assert (out / "elsewhere").is_symlink() and (cli.folder / "tiny.toml").is_file()
    assert (out / "report.html").read_text() != page
    assert (out / "figures/chains.svg").read_text() != stale
    assert (out / "figures/chains.png").is_file() and not (out / "figures/chains.pdf").exists()
    assert lnn.load_run(out).chains.energy.shape[1] == 12


@pytest.mark.slow
def test_a_target_error_goes_on_where_a_larger_one_has_ended(cli):
    words = [*SPLIT, "--sampler.num_warmup", "auto", "--quiet"]
    content = (cli.folder / "tiny.toml").read_text().replace("num_samples = 8\n", "")
    (cli.folder / "tiny.toml").write_text(content)
    for name, error in (("out", 0.4), ("whole", 0.2)):
        answer = cli("run", "tiny.toml", "--output", name, *words, "--sampler.target_error", error)
        assert answer.code == 0
    # The number of the file's rule gives way, too.
    assert cli("run", "out/config.toml", "--extend", "--sampler.target_error", "0.2").code == 0
    assert_same_run(cli.folder / "out", cli.folder / "whole")


def test_a_number_and_a_target_take_each_other_s_place(cli, monkeypatch):
    """On the command line of an extension: the configuration of the run has one of them."""
    seen = []

    def prepared(config):
        seen.append(config.sampler)
        raise InputError("enough")

    assert cli("run", "tiny.toml", "--output", "out", "--quiet").code == 3
    monkeypatch.setattr(run, "prepare", prepared)
    cli("run", "out/config.toml", "--extend", "--sampler.target_error", "0.2")
    assert (seen[-1].num_samples, seen[-1].target_error) == (None, 0.2)
    target = ["--sampler.target_absolute_error", "bias2=1e-3", "--sampler.max_draws", "90"]
    content = (cli.folder / "out/config.toml").read_text().replace("num_samples = 8", "")
    content += "target_error = 0.1\nmax_draws = 50\nmax_seconds = 9.0\n"
    (cli.folder / "config.toml").write_text(content)
    cli("run", "config.toml", "--extend", *target)
    assert (seen[-1].target_error, seen[-1].max_draws) == (0.1, 90)
    cli("run", "config.toml", "--extend", "--sampler.num_samples", "90")
    assert (seen[-1].num_samples, seen[-1].target_error, seen[-1].max_draws) == (90, None, None)
    refused(cli("run", "config.toml", "--sampler.num_samples", "90"), "target error")


@pytest.mark.slow
def test_what_cannot_be_extended_is_refused_in_one_line(cli):
    assert cli("run", "tiny.toml", "--output", "out", "--quiet").code == 3
    more = ["--sampler.num_samples", "16"]
    extend = ["run", "tiny.toml", "--output", "out", "--extend"]
    with untouched():
        for words, said in (
            (["--seed", "2"], "seed = 1 there, 2 here"),
            (["--posterior.temperature", "0.4"], "posterior.temperature = 0.5 there, 0.4 here"),
            (["--sampler.thinning", "3"], "sampler.thinning = 2 there, 3 here"),
            (["--sampler.num_chains", "3"], "sampler.num_chains = 2 there, 3 here"),
            (["--sampler.num_warmup", "7"], "sampler.num_warmup = 6 there, 7 here"),
            (["--sampler.keep_weights", "true"], "sampler.keep_weights"),
            (["--data.num_train", "4"], "data.num_train = 5 there, 4 here"),
        ):
            refused(cli(*extend, *more, *words), said)
        refused(cli(*extend, "--sampler.num_samples", "7"), "8 draws", "7 are asked for")
        refused(cli("run", "tiny.toml", "--extend", *more), "--output")
        refused(cli("run", "tiny.toml", "--output", "nothing", "--extend"), "no run", "--output")
        refused(cli(*extend, *more, "--overwrite"), "--overwrite")
        answer = cli("run", "tiny.toml", "--output", "out", *more)
        refused(answer, "--extend", "--overwrite to replace it")

    content = (cli.folder / "out" / claims.LAST_STATE).read_bytes()
    (cli.folder / "out" / claims.LAST_STATE).write_bytes(content[:-1])
    with untouched():
        refused(cli(*extend, *more), "out/last_state.npz", "not the file that the run has written")
    (cli.folder / "out" / claims.LAST_STATE).unlink()
    with untouched():
        refused(cli(*extend, *more), "its last_state.npz is gone", "--overwrite")
    loaded = lnn.load_run(cli.folder / "out")
    assert not loaded.chains.extendable and "cannot be extended" in loaded.measured.message
    assert cli("run", "tiny.toml", "--output", "out", "--resume").code == 3, (
        "it is whole all the same"
    )
    unsealed("out")  # as an earlier version has left it
    with untouched():
        refused(cli(*extend, *more), "earlier versions did not keep", "--overwrite")


def test_a_run_without_its_state_has_another_name_and_cannot_be_extended(cli):
    words = ["run", "tiny.toml", "--output", "out", "--sampler.keep_state", "false"]
    answer = cli(*words)
    assert answer.code == 3 and "cannot be extended" in answer.out
    assert not (cli.folder / "out" / claims.LAST_STATE).exists()
    with untouched():
        refused(cli(*words, "--extend", "--sampler.num_samples", "16"), "keep_state = false")
    kept, left_out = (
        configuration.from_dict(tomllib.loads(SHORT) | {"sampler": {"keep_state": flag}})
        for flag in (True, False)
    )
    without = configuration.from_dict(tomllib.loads(SHORT) | {"sampler": {}})
    assert kept.content_hash == without.content_hash != left_out.content_hash


# --- real kills

PROGRAM = """
import sys
from langevin_nn.cli import main
from langevin_nn.runs import run
from langevin_nn.sampling.engine import driver
driver.CHUNK_SECONDS = 0.05
run.draw_figures = lambda *_: None
sys.exit(main.main())
"""


def killed(folder, words, when):
    """Start a process and kill it as soon as `when` says so."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], cwd=folder, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env=with_as_many_devices(),
    )  # fmt: skip
    limit = time.monotonic() + 240
    while not when() and process.poll() is None:
        assert time.monotonic() < limit, "no progress"
        time.sleep(0.001)
    process.kill()
    process.wait(60)


@pytest.mark.slow
def test_killed_in_mid_extension_and_while_the_run_is_replaced(cli, monkeypatch):
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 2.0)
    words = ["run", "tiny.toml", "--quiet", "--sampler.keep_weights", "true"]
    words += ["--sampler.thinning", "8000", "--output"]
    assert cli(*words, "out").code == 3
    out, number = cli.folder / "out", ["--sampler.num_samples", "12"]
    assert cli(*words, "whole", *number).code == 3
    before = {item.name: item.read_bytes() for item in out.iterdir()}
    state = out / claims.EXTENDING / "checkpoint/state.npz"

    def draws():
        with contextlib.suppress(OSError):
            return np.load(state)["progress"].tolist()[1]
        return 0

    moments = (
        lambda: draws() == 8,
        lambda: draws() >= 9,
        lambda: draws() >= 10,
        lambda: (out / claims.EXTENDING / "posterior.nc").exists(),
    )
    for kills, when in enumerate(moments, 1):
        killed(cli.folder, [*words, "out", *number, "--extend"], when)
        if kills > 3 and not state.exists():
            break  # it was killed later, while the run was being replaced
        assert state.exists()
        assert {name: (out / name).read_bytes() for name in before} == before
        assert lnn.load_run(out).chains.energy.shape[1] == 8
        seen = cli("watch", "out", "--once").out
        assert f"{draws()} of 12 of each chain" in seen and "nobody works on it" in seen
    killed(
        cli.folder, [*words, "out", *number, "--extend"],
        lambda: (out / claims.EXTENDED).exists() or (out / claims.REPLACED).exists(),
    )  # fmt: skip
    assert cli(*words, "out", *number, "--extend").code == 3
    assert_same_run(out, cli.folder / "whole")


# --- at every moment

FIRST, LONG, LONGER = (
    configuration.from_dict({"sampler": {"num_samples": number}}) for number in (10, 20, 30)
)
OTHER = configuration.from_dict({"seed": 9})
DATA = ("task.npz sha256:0123456789ab",)


def save(checkpoint, draws):
    write_arrays(checkpoint / f"draws-{draws:08d}.npz", {"energy": np.zeros(3)})
    write_arrays(checkpoint / "state.npz", {"progress": np.array([draws, draws])})


def end(folder, config):
    """The last writing of a run; a second name of weights.npy is written anew."""
    name = str(config.sampler.num_samples)
    write_bytes(folder.path / "weights.npy", f"weights of {name}".encode())
    write_bytes(folder.path / "posterior.nc", f"draws of {name}".encode())
    write_arrays(folder.last_state, {"draws": np.zeros(3)})
    manifest = {"run_id": name, "data": list(DATA), "extensions": folder.extensions(20)}
    folder.finish(manifest, SUMMARY, with_state=True)


def play(path, config, *, overwrite=False, resume=False):
    folder = RunFolder(path)
    with folder.claimed(config, resume=resume, overwrite=overwrite, data=DATA):
        if not folder.is_finished:
            save(folder.checkpoint, config.sampler.num_samples)
            end(folder, config)


def extend(path, config, ends=None):
    """An extension of two steps; before the last it ends in the error `ends`."""
    with extending.claimed(RunFolder(path), config, data=DATA) as staged:
        if staged.is_finished:
            return
        assert staged.worker == RunFolder(path).worker != ""
        for draws in (15, config.sampler.num_samples):
            if ends and draws > 15:
                raise ends
            save(staged.checkpoint, draws)
        end(staged, config)


@pytest.fixture(scope="module")
def played():
    """What is read of the shorter run is not there, and no moment is that of a power cut."""

    class Ended:
        def __init__(self, folder):
            self.folder = folder
            self.origin = {"extends": {"run_id": "10", "draws": 10}}

        @classmethod
        def of(cls, folder, wanted):
            extending.require_extendable(folder, wanted)
            return cls(folder)

    def begin_checkpoint(checkpoint, runs, weights):
        extending.link(runs[0].folder.weights, checkpoint.parent / "weights.npy")
        save(checkpoint, 10)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extending, "Ended", Ended)
        patch.setattr(extending, "begin_checkpoint", begin_checkpoint)
        patch.setattr(os, "fsync", sync)
        yield


def finished(path):
    """The number of draws of the whole, finished run that is there; None without one."""
    folder = RunFolder(path)
    if not folder.is_finished:
        return None
    folder.check_finished(with_all_weights=True)
    number = folder.load_config().sampler.num_samples
    assert (path / "posterior.nc").read_text() == f"draws of {number}"
    assert (path / "weights.npy").read_text() == f"weights of {number}"
    assert folder.keeps_state()
    return number


def begun(path):
    """A finished run whose extension was interrupted."""
    whole(path)
    with contextlib.suppress(KeyboardInterrupt):
        extend(path, LONG, KeyboardInterrupt())
    assert finished(path) == 10 and RunFolder(path).extension.has_state


def whole(path):
    play(path, FIRST)
    (path / "notes.txt").write_text("not a run's")


SCENES = {"of a finished run": whole, "that was interrupted": begun}
NAMES = {
    "config.toml", "manifest.json", "posterior.nc", "summary.json", "weights.npy", "last_state.npz",
    "notes.txt",
}  # fmt: skip


def attempt(act, *words, **options):
    try:
        act(*words, **options)
        return ""
    except (InputError, OSError) as error:
        assert "\n" not in str(error)
        return str(error)


def at_moments(tmp_path, before, error, *, again=True, kinds=CHANGES, stride=1):
    """The folders after the extension has ended so at each of its moments, or some of them."""
    before(tmp_path / "before")
    path = shutil.copytree(tmp_path / "before", tmp_path / "whole")
    with disk(kinds=kinds) as counted:
        extend(path, LONG)
    assert finished(path) == 20 and {item.name for item in path.iterdir()} == NAMES
    assert counted.count > 12
    for at in range(1, counted.count + 1, stride):
        path = shutil.copytree(tmp_path / "before", tmp_path / f"at {at}")
        with (
            disk(at, error, again=again, kinds=kinds),
            contextlib.suppress(type(error), InputError),
        ):
            extend(path, LONG)
        yield at, path
        shutil.rmtree(path)


@pytest.mark.parametrize(
    ("scene", "stride"),
    [("of a finished run", 7), *(pytest.param(s, 1, marks=pytest.mark.slow) for s in SCENES)],
)
def test_killed_at_any_moment_an_extension_loses_nothing(tmp_path, played, scene, stride):
    readable = []
    for at, path in at_moments(tmp_path, SCENES[scene], Killed(), stride=stride):
        readable.append(finished(path) is not None)
        aside = [path / claims.REPLACED, path / claims.EXTENDED, path / claims.REPLACING]
        assert finished(path) or any(map(finished, filter(os.path.exists, aside))) or (
            (path / claims.EXTENDED).exists()
        ), at  # fmt: skip
        saved = RunFolder(path).extension.has_state
        again = shutil.copytree(path, tmp_path / f"again {at}")
        if at % 2 and (saved or finished(path) == 20):
            assert attempt(play, again, LONG, resume=True) == "" or finished(again) == 10, at
        assert attempt(extend, again, LONG) == "", at
        assert finished(again) == 20 and {item.name for item in again.iterdir()} == NAMES, at
        assert len(RunFolder(again).load_manifest()["extensions"]) == 1, at
        shutil.rmtree(again)
        # The shorter one as it was, or another in its place.
        said = attempt(play, path, FIRST, resume=True)
        assert said == "" or "num_samples = 20 there" in said, at
        assert finished(path) == (10 if said == "" else 20), at
        assert (path / "notes.txt").read_text() == "not a run's", at
        if at % 3 == 0:
            assert "notes.txt" in attempt(play, path, OTHER, overwrite=True)
            (path / "notes.txt").unlink()
            assert attempt(play, path, OTHER, overwrite=True) == "", at
            assert RunFolder(path).load_config() == OTHER
            assert {item.name for item in path.iterdir()} == NAMES - {"notes.txt"}, at
    assert np.mean(readable) > 0.5, "but for the moments of its replacement the run can be read"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "again", "kinds"),
    [(errno.ENOSPC, False, CHANGES), (errno.EIO, True, CHANGES), (errno.EIO, False, READS)],
)
def test_refused_by_the_system_at_every_moment_an_extension_loses_nothing(
    tmp_path, played, code, again, kinds
):
    error = OSError(code, os.strerror(code))
    for at, path in at_moments(tmp_path, begun, error, again=again, kinds=kinds):
        assert attempt(extend, path, LONG) == "", at
        assert finished(path) == 20 and {item.name for item in path.iterdir()} == NAMES, at


def test_the_finished_run_stays_readable_until_the_longer_one_is_whole(tmp_path, played):
    path = tmp_path / "out"
    play(path, FIRST)
    before = {item.name: item.read_bytes() for item in path.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        extend(path, LONG, KeyboardInterrupt())
    assert {name: (path / name).read_bytes() for name in before} == before
    assert attempt(play, path, FIRST, resume=True) == "" and finished(path) == 10
    said = attempt(extend, path, LONGER)
    assert "num_samples = 20 there, 30 here" in said and claims.EXTENDING in said
    shutil.rmtree(path / claims.EXTENDING)
    extend(path, LONGER)
    assert finished(path) == 30


@pytest.mark.parametrize("ends", [Diverged("it diverged"), KeyboardInterrupt()])
def test_an_extension_that_diverges_leaves_no_trace(tmp_path, played, ends):
    path = tmp_path / "out"
    play(path, FIRST)
    with pytest.raises(type(ends)):
        extend(path, LONG, ends)
    assert (path / claims.EXTENDING).exists() == isinstance(ends, KeyboardInterrupt)
    assert finished(path) == 10
