"""Interrupted runs: killed, stopped, out of space, or damaged; then resumed, bit for bit."""

import contextlib
import dataclasses
import errno
import io
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cases import TINY, write_npz
from command_line import CommandLine, unsealed, with_as_many_devices
from run_cases import arrays

from langevin_nn import files
from langevin_nn.cli import main
from langevin_nn.cli.commands import run as run_command
from langevin_nn.runs import run
from langevin_nn.sampling.dynamics import langevin
from langevin_nn.sampling.engine import driver

QUICK = 'theory = ["infinite_width", "scale_mixture"]' + TINY + "keep_weights = true\n"
SHORT = QUICK.replace("num_warmup = 30", "num_warmup = 6")


def in_chunks(folder, monkeypatch) -> None:
    """Runs in `folder` without figures, saved after every step of the warm-up and every draw."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(run, "draw_figures", lambda *_: None)
    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", 2)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)


@pytest.fixture
def cli(tmp_path, capsys, monkeypatch):
    in_chunks(tmp_path, monkeypatch)
    line = CommandLine(tmp_path, capsys)
    (tmp_path / "tiny.toml").write_text(SHORT)
    return line


def assert_same_run(folder, reference) -> None:
    """To the last bit; wall times differ."""
    mine, theirs = arrays(folder), arrays(reference)
    assert mine.keys() == theirs.keys()
    assert {"/posterior/f", "/sample_stats/lp", "/sample_stats/train_error"} <= mine.keys()
    for name, values in mine.items():
        assert values.dtype == theirs[name].dtype, name
        assert np.array_equal(values, theirs[name]), name
    weights = [(Path(f) / "weights.npy").read_bytes() for f in (folder, reference)]
    assert weights[0] == weights[1]
    assert not list(Path(folder).rglob("*.part"))
    summaries = [json.loads((Path(f) / "summary.json").read_text()) for f in (folder, reference)]
    for summary in summaries:
        assert summary["experiment"].pop("wall_seconds") > 0
    assert summaries[0] == summaries[1]


def stop_after(monkeypatch, reports) -> None:
    """Ctrl-C after so many chunks: the signal itself."""
    told = []

    class Progress(run_command.RunCommandProgress):
        def __call__(self, report):
            told.append(report)
            super().__call__(report)
            if len(told) == reports:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(run_command, "RunCommandProgress", Progress)


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory) -> Path:
    """A folder with a run in `out` that Ctrl-C ended after some draws, and a whole one."""
    folder = tmp_path_factory.mktemp("two runs")
    (folder / "tiny.toml").write_text(SHORT)
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        in_chunks(folder, patch)
        assert main.main(["run", "tiny.toml", "--output", "whole", "--quiet"]) == 3
        stop_after(patch, 9)
        assert main.main(["run", "tiny.toml", "--output", "out"]) == 130
    assert out.getvalue() == ""
    assert len(list((folder / "out/checkpoint").glob("draws-*.npz"))) > 1
    return folder


@pytest.fixture
def whole(cli, two_runs):
    """An uninterrupted run in `whole`."""
    shutil.copytree(two_runs / "whole", cli.folder / "whole")
    return cli


@pytest.fixture
def stopped(whole, two_runs):
    """A run in `out` that Ctrl-C ended after some draws, and an uninterrupted one in `whole`."""
    shutil.copytree(two_runs / "out", whole.folder / "out")
    return whole


def contents(folder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


# --- real processes and signals

LANGEVIN = ["--sampler.num_warmup", "60000", "--sampler.thinning", "8000"]
SPLIT = ["--sampler.dynamics", "split", "--sampler.num_warmup", "6000", "--sampler.thinning", "800"]
MARGINALISED = ["--posterior.readout", "marginalised"]
LADDER = ["--sampler.ladder", "1", "3"]
WAYS = {
    "langevin": LANGEVIN,
    "langevin, ladder": LANGEVIN + LADDER,
    "split, marginalised": SPLIT + MARGINALISED,
    "split, marginalised, ladder": SPLIT + MARGINALISED + LADDER,
}
PROGRAM = """
import sys
from langevin_nn.cli import main
from langevin_nn.sampling.engine import driver
driver.CHUNK_SECONDS = 0.05
sys.exit(main.main())
"""


@dataclasses.dataclass(frozen=True)
class Moment:
    steps: int
    draws: int

    @classmethod
    def of(cls, folder) -> "Moment":
        try:
            with np.load(folder / "checkpoint/state.npz") as file:
                return cls(*file["progress"].tolist())
        except FileNotFoundError:
            return cls(0, 0)


def killed(folder, words, wanted):
    """Start a process and kill it when its checkpoint is as `wanted`; its stderr."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, *words],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=with_as_many_devices(),
    )  # fmt: skip
    limit = time.monotonic() + 120
    while not wanted(Moment.of(folder / "the run")) and process.poll() is None:
        assert time.monotonic() < limit, "no progress"
        time.sleep(0.005)
    process.kill()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (-signal.SIGKILL, ""), err
    assert "Traceback" not in err and "Warning" not in err
    return err


@pytest.mark.exhaustive_except("langevin, ladder")
@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_killed_in_the_warmup_and_while_sampling(cli, monkeypatch, way):
    """The numbers are those of a run that nothing interrupted, in one process."""
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 2.0)
    longer = WAYS[way]
    warmup, thinning = (
        int(longer[longer.index(f"--sampler.{n}") + 1]) for n in ("num_warmup", "thinning")
    )
    (cli.folder / "tiny.toml").write_text(QUICK)
    assert cli("run", "tiny.toml", "--output", "whole", "--quiet", *longer).code == 3
    words = ["run", "tiny.toml", "--output", "the run", *longer]

    killed(cli.folder, words, lambda moment: moment.steps > warmup / 12)
    warm = Moment.of(cli.folder / "the run")
    assert warmup / 12 < warm.steps < warmup and warm.draws == 0

    words.append("--resume")
    err = killed(cli.folder, words, lambda moment: moment.draws > 1)
    sampling = Moment.of(cli.folder / "the run")
    assert 1 < sampling.draws < 8
    assert "  0 %" not in err or warm.steps < 0.1 * (warmup + 8 * thinning), "it began anew"

    assert cli(*words).code == 3
    assert_same_run("the run", "whole")
    assert not (cli.folder / "the run/checkpoint").exists()


# --- every moment at which a file is written


class Killed(BaseException):
    """Stands for SIGKILL."""


def fail_at(monkeypatch, name, call, error):
    """Let the call number `call` of os.`name` in `files` fail; counts the calls."""
    calls = []
    original = getattr(os, name)

    def function(*words):
        calls.append(words)
        if len(calls) == call:
            raise error
        return original(*words)

    monkeypatch.setattr(files.os, name, function)
    return calls


def number_of_calls(cli, name):
    with pytest.MonkeyPatch.context() as patch:
        calls = fail_at(patch, name, 0, None)
        assert cli("run", "tiny.toml", "--output", "whole").code == 3
    return len(calls)


def sparse(total):
    """Every fifth call, and the last ones, which write the results."""
    return [call for call in range(1, total + 1) if call % 5 == 1 or call > total - 3]


@pytest.mark.slow
def test_killed_before_any_file_takes_its_name(cli, monkeypatch):
    total = number_of_calls(cli, "replace")
    assert total > 20, "config, a state after each chunk, draws, and three results"
    for call in sparse(total):
        with monkeypatch.context() as patch:
            calls = fail_at(patch, "replace", call, Killed())
            with pytest.raises(Killed):
                cli("run", "tiny.toml", "--output", f"out{call}", "--quiet")
        temporary, path = map(Path, calls[-1])
        if path.parent.exists():
            temporary.write_text("half a file")  # as a kill would leave it
        answer = cli("run", "tiny.toml", "--output", f"out{call}", "--resume", "--quiet")
        assert answer.code == 3, (path, answer)
        assert_same_run(f"out{call}", "whole")


@pytest.mark.slow
def test_no_space_for_any_file(cli, monkeypatch):
    total = number_of_calls(cli, "fsync")
    with_state = 0
    for call in sparse(total):
        folder = cli.folder / f"out{call}"
        with monkeypatch.context() as patch:
            fail_at(patch, "fsync", call, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
            answer = cli("run", "tiny.toml", "--output", folder.name, "--quiet")
        assert answer.code == 2 and answer.out == ""
        assert answer.err.count("\n") == 1 and "No space left on device" in answer.err
        is_gone_on_with = (folder / "checkpoint/state.npz").exists()
        begun = {".weights.npy.part"} if is_gone_on_with else set()
        assert {path.name for path in folder.rglob("*.part")} <= begun
        resume = f"go on with: langevin-nn run tiny.toml --output {folder.name} --quiet --resume"
        if (folder / "summary.json").exists():
            assert "is finished" in answer.err
        elif is_gone_on_with:
            with_state += 1
            assert resume in answer.err
        else:
            assert not folder.exists()
            assert "go on" not in answer.err
        assert cli("run", "tiny.toml", "--output", folder.name, "--resume").code == 3
        assert_same_run(folder.name, "whole")
    assert with_state > total / 10


@pytest.mark.slow_except("100-config.toml", "5000-posterior.nc")
@pytest.mark.parametrize(
    ("limit", "what"),
    [(100, "config.toml"), (1500, "state"), (5000, "posterior.nc")],
)
def test_a_limit_on_the_size_of_files(cli, monkeypatch, limit, what):
    """The system itself stops the writing in the middle: nothing half-written stays."""
    monkeypatch.undo()
    monkeypatch.chdir(cli.folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        answer = cli("run", "tiny.toml", "--output", "out", "--quiet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert answer.code == 2, (what, answer)
    assert answer.err.count("\n") == 1 and "File too large" in answer.err
    left = cli.files("out") if (cli.folder / "out").exists() else set()
    saved = {"config.toml"}
    saved |= {f"checkpoint/{name}" for name in ("state.npz", "draws-00000000.npz", "data.json")}
    saved |= {"weights.npy"}
    expected = {"config.toml": set(), "state": set(), "posterior.nc": saved}
    assert left == expected[what]


@pytest.mark.slow
def test_a_limit_on_the_size_of_files_met_by_a_figure(cli, monkeypatch):
    """posterior.nc is larger than figures: drawn anew, they meet the limit first."""
    monkeypatch.undo()
    monkeypatch.chdir(cli.folder)
    assert cli("run", "tiny.toml", "--output", "out", "--quiet").code == 3
    before = {path: path.read_bytes() for path in (cli.folder / "out").rglob("*.*")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        answer = cli("plot", "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert answer.code == 2 and answer.err.count("\n") == 1 and "File too large" in answer.err
    assert {path: path.read_bytes() for path in (cli.folder / "out").rglob("*.*")} == before


@pytest.mark.slow
def test_killed_before_the_first_state(whole):  # FAULTS 3.8
    """It begins anew, and says so."""
    cli = whole
    (cli.folder / "out/checkpoint").mkdir(parents=True)
    (cli.folder / "out/config.toml").write_text((cli.folder / "whole/config.toml").read_text())
    answer = cli("run", "tiny.toml", "--output", "out")
    assert answer.code == 2 and "out holds an unfinished run: write --resume to go on" in answer.err
    answer = cli("run", "tiny.toml", "--output", "out", "--resume", "--quiet")
    assert answer.code == 3
    assert answer.err == (
        "langevin-nn: out has no saved state to go on from: the run begins anew\n"
    )
    assert_same_run("out", "whole")


# --- what may be resumed, and what not


def test_interrupted_run_says_how_to_go_on(whole, monkeypatch):
    """Also where the command line left the folder open, and with spaces in names."""
    cli = whole
    (cli.folder / "tiny.toml").rename("my task.toml")
    with monkeypatch.context() as patch:
        stop_after(patch, 9)
        answer = cli("run", "my task.toml", "--quiet", "--overwrite")
    assert (answer.code, answer.out) == (130, "")
    start, message, end = answer.err.split("\n")
    before, _, line = message.partition("go on with: ")
    assert (start, before, end) == ("", "interrupted: what was saved stays; ", "")
    (folder,) = (cli.folder / "runs").iterdir()
    output = f"runs/{folder.name}"
    program, *words = shlex.split(line)
    assert program == "langevin-nn"
    assert words == ["run", "my task.toml", "--quiet", "--output", output, "--resume"]
    assert cli(*words).code == 3
    assert_same_run(output, "whole")


def test_resume_takes_up_where_it_stopped(stopped):
    state = Moment.of(stopped.folder / "out")
    assert state.draws > 1
    answer = stopped("run", "tiny.toml", "--output", "out", "--resume")
    first = int(answer.err.split()[0])
    assert first == 10 * (10 * (state.steps + 2) // 22)
    assert_same_run("out", "whole")
    assert not (stopped.folder / "out/checkpoint").exists()


@pytest.mark.slow
def test_long_draws_are_saved_between_their_steps(cli, monkeypatch):
    """Of dynamics whose steps tell nothing; a draw may take longer than a job."""
    words = ["run", "tiny.toml", "--sampler.thinning", "9", "--quiet", "--output"]
    with monkeypatch.context() as patch:
        patch.setattr(driver, "CHUNK_SECONDS", 60.0)
        assert cli(*words, "whole").code == 3
    with monkeypatch.context() as patch:
        stop_after(patch, 22)
        assert cli(*words, "out").code == 130
    state = Moment.of(cli.folder / "out")
    assert state.draws > 0 and 0 < state.steps - 6 - 9 * state.draws < 9
    assert cli(*words, "out", "--resume").code == 3
    assert_same_run("out", "whole")


def test_resume_of_another_configuration(stopped):
    before = contents("out")
    answer = stopped("run", "tiny.toml", "--output", "out", "--resume", "--seed", "9")
    assert answer.code == 2
    assert "of another configuration or of other data (seed = 1 there, 9 here)" in answer.err
    assert contents("out") == before
    assert stopped("run", "tiny.toml", "--output", "out", "--resume").code == 3
    assert_same_run("out", "whole")


@pytest.mark.slow
def test_resume_with_other_data_in_the_same_file(cli, monkeypatch):  # FAULTS 1.11
    write_npz("task.npz")
    words = ["run", "tiny.toml", "--data.source", "npz", "--data.path", "task.npz",
             "--data.num_train", "5", "--output", "out"]  # fmt: skip
    stop_after(monkeypatch, 9)
    assert cli(*words).code == 130
    before = contents("out")
    shutil.copy("task.npz", "first.npz")
    write_npz("task.npz", seed=1)

    answer = cli(*words, "--resume")
    assert answer.code == 2
    assert "out is a run of another configuration or of other data (task.npz sha256:" in answer.err
    assert contents("out") == before
    (cli.folder / "out/checkpoint/data.json").unlink()  # as in folders of earlier versions
    answer = cli(*words, "--resume")
    assert answer.code == 2
    assert "the checkpoint in out/checkpoint is of another run (its data or conf" in answer.err
    shutil.copy("first.npz", "task.npz")
    monkeypatch.undo()
    monkeypatch.chdir(cli.folder)
    assert cli(*words, "--resume").code == 3
    write_npz("task.npz", seed=1)
    answer = cli(*words, "--resume")
    assert answer.code == 2 and "of other data (task.npz sha256:" in answer.err


@pytest.mark.slow_except("truncated-state.npz")
@pytest.mark.exhaustive_except(
    "truncated-state.npz", "one bit-draws-00000001.npz",
    "absent-draws-00000000.npz", "another format-state.npz",
)  # fmt: skip
@pytest.mark.parametrize("name", ["state.npz", "draws-00000000.npz", "draws-00000001.npz"])
@pytest.mark.parametrize("damage", ["absent", "empty", "truncated", "one bit", "another format"])
def test_damaged_checkpoints(stopped, name, damage):
    path = stopped.folder / "out/checkpoint" / name
    content = bytearray(path.read_bytes())
    if damage == "another format":
        np.save(path.with_suffix(".npy"), np.zeros(3))
        path.with_suffix(".npy").replace(path)
    elif damage == "absent":
        path.unlink()
    else:
        content[content.index(b"NUMPY") + 130] ^= 1
        cut = {"empty": 0, "truncated": len(content) // 2, "one bit": len(content)}[damage]
        path.write_bytes(content[:cut])
    if (damage, name) == ("absent", "state.npz"):
        return  # no state: the run begins anew (test_killed_before_the_first_state)
    before = contents("out")
    answer = stopped("run", "tiny.toml", "--output", "out", "--resume")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert f"the checkpoint file out/checkpoint/{name} cannot be read" in answer.err
    assert "start again, by --overwrite" in answer.err
    assert contents("out") == before
    assert stopped("run", "tiny.toml", "--output", "out", "--overwrite").code == 3
    assert_same_run("out", "whole")


def test_resume_of_a_finished_run_computes_nothing(cli, monkeypatch):
    cli("run", "tiny.toml", "--output", "out")
    before = contents("out")
    monkeypatch.setattr(run, "run", lambda *_, **__: pytest.fail("it computes"))
    answer = cli("run", "tiny.toml", "--output", "out", "--resume")
    assert answer.code == 3, "as it ended"
    assert answer.out == "out is finished; its figures again: langevin-nn plot out\n"
    unsealed("out")
    summary = json.loads((cli.folder / "out/summary.json").read_text())
    summary["experiment"]["converged"] = True
    (cli.folder / "out/summary.json").write_text(json.dumps(summary))
    before = contents("out")
    assert cli("run", "tiny.toml", "--output", "out", "--resume").code == 0
    assert contents("out") == before


def test_resume_of_nothing_begins(whole):
    assert whole("run", "tiny.toml", "--output", "out", "--resume").code == 3
    assert_same_run("out", "whole")


def test_an_unfinished_run_is_replaced_on_request_only(stopped):
    before = contents("out")
    answer = stopped("run", "tiny.toml", "--output", "out")
    assert answer.code == 2
    assert "out holds an unfinished run: write --resume to go on, --overwrite" in answer.err
    assert contents("out") == before
    assert stopped("run", "tiny.toml", "--output", "out", "--overwrite").code == 3
    assert_same_run("out", "whole")


def test_a_replaced_run_comes_back_unless_the_new_one_has_saved_something(stopped, monkeypatch):
    words = ["run", "tiny.toml", "--output", "whole", "--overwrite", "--seed", "4"]
    before = contents("whole")
    with monkeypatch.context() as patch:
        patch.setattr(run, "predict", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        answer = stopped(*words)
    assert answer.code == 130 and "nothing is left behind" in answer.err
    assert contents("whole") == before
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        assert stopped(*words).code == 130
    words[words.index("--overwrite")] = "--resume"
    assert stopped(*words).code == 3
    assert stopped.files("whole") == {
        "config.toml",
        "last_state.npz",
        "manifest.json",
        "posterior.nc",
        "summary.json",
        "weights.npy",
    }


@pytest.mark.slow
def test_chains_that_diverge_after_a_state_was_saved_leave_nothing_behind(cli, monkeypatch):
    """What a diverged run has saved is of no use, and would be in the way."""
    monkeypatch.setattr(langevin, "stable_step_size", lambda *_: 30.0)
    before = cli.files()
    answer = cli("run", "tiny.toml", "--output", "out", "--network.activation", "relu")
    assert answer.code == 2
    *progress, error, end = answer.err.split("\n")
    assert len(progress) >= 1 and all("training error" in line for line in progress)
    assert "all 2 chains diverged" in error and end == ""
    assert cli.files() == before
