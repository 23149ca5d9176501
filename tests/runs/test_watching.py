"""A run under way, and one that is not begun: what is said of them is what they are."""

import contextlib
import dataclasses
import signal
import subprocess
import sys
import time

import pytest
from refusals import refused, untouched

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn.cli.commands import run as run_command
from langevin_nn.cli.commands import watch as watch_command
from langevin_nn.runs import forecast, run
from langevin_nn.runs.folder import RunFolder
from langevin_nn.runs.watching import standing
from langevin_nn.sampling.engine import driver

WAYS = {
    "split, marginalised": "--sampler.dynamics split --posterior.readout marginalised",
    "ladder": "--sampler.ladder 1 3",
}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def interrupted(request, cli, monkeypatch):
    """The words of a run, and that run in `out`, which Ctrl-C ended after some draws."""
    words = ["tiny.toml", "--sampler.num_samples", "40", *request.param.split()]
    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", 5)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)

    class Progress(run_command.RunCommandProgress):
        def __call__(self, report):
            super().__call__(report)
            if report.steps > report.warmup_steps + (report.total_steps - report.warmup_steps) // 2:
                signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(run_command, "RunCommandProgress", Progress)
        assert cli("run", *words, "--output", "out").code == 130
    return words


@pytest.mark.slow
def test_the_numbers_so_far_are_those_of_the_draws_so_far(cli, interrupted, monkeypatch):
    folder = RunFolder(cli.folder / "out")
    config = folder.load_config()
    with untouched():
        state = standing(folder, config, run.prepare(config).data)
        answer = cli("watch", "out")
    assert (answer.code, answer.out) == (0, f"{state}\n") and state.worker == ""
    assert 10 <= state.draws < state.total_draws == 40
    assert state.steps == state.warmup_steps + 2 * state.draws
    assert state.seconds_left > 0
    monkeypatch.setattr(forecast, "MEASURED_SECONDS", 0.0)
    again = ["run", *interrupted, "--output", "out", "--resume"]
    with untouched():
        answer = cli(*again, "--dry-run")
    left = f"{state.total_steps - state.steps} of them left"
    assert answer.code == 0 and f"{state.total_steps} " in answer.out and left in answer.out
    assert cli(*again).code == 3
    with untouched():
        answer = cli(*again, "--dry-run")
    assert answer.code == 0 and "out is finished" in answer.out
    chains = lnn.load_run("out").chains
    cut = {
        field.name: value[:, : state.draws]
        for field in dataclasses.fields(chains)
        if getattr(value := getattr(chains, field.name), "shape", ())[:2] == (2, 40)
    }
    measured = lnn.summarise(dataclasses.replace(chains, observables={}, **cut))
    for key in ("bias2", "variance", "generalisation_error", "train_error", "test_accuracy"):
        assert getattr(state.measured, key) == getattr(measured, key), key
    assert state.measured.diagnostics.ess_min == measured.diagnostics.ess_min
    answer = cli("watch", "out")
    assert answer.code == 3 and str(lnn.load_run("out")) in answer.out


def test_what_cannot_be_watched_is_refused(cli):
    cli.folder.joinpath("empty").mkdir()
    with untouched():
        refused(cli("watch", "empty", "--once"), "empty")
        refused(cli("watch", "nowhere", "--once"), "nowhere")
        refused(cli("watch", "."), ".")  # it holds other things: no run will begin there
        refused(cli("watch", "empty", "--every", "0"), "--every")


def test_a_run_that_is_being_started_is_waited_for(cli, monkeypatch):
    """No folder yet; then the folder of a run that has saved no state."""
    folder = RunFolder(cli.folder / "out")
    config = run.prepare(configuration.load(cli.folder / "tiny.toml")).config

    def wait(seconds):
        """The run begins in the first wait, and is left alone in that after the first look."""
        if not folder.path.exists():
            claim.enter_context(folder.claimed(config, resume=False, overwrite=False))
        elif folder.worker:
            assert seconds == 5
            claim.close()

    with contextlib.ExitStack() as claim:
        monkeypatch.setattr(watch_command.time, "sleep", wait)
        answer = cli("watch", "out")
    assert answer.code == 0 and "out holds no run yet: waiting" in answer.err
    first, _, second = answer.out.partition("\n\n")
    assert "beginning" in first and "no checkpoint yet" in first
    assert "nobody works on it" in answer.out


def test_a_run_that_leaves_no_trace_is_told_of(cli, monkeypatch):
    """One that ends before it has saved a state, while it is watched."""
    folder = RunFolder(cli.folder / "out")
    config = run.prepare(configuration.load(cli.folder / "tiny.toml")).config

    def wait(seconds):
        claim.__exit__(ValueError, ValueError("it fails"), None)

    claim = folder.claimed(config, resume=False, overwrite=False)
    claim.__enter__()
    monkeypatch.setattr(watch_command.time, "sleep", wait)
    answer = cli("watch", "out")
    assert answer.code == 2 and "beginning" in answer.out and "no run any more" in answer.err


def test_a_run_that_is_not_begun_is_not_waited_for_without_end(cli, monkeypatch):
    monkeypatch.setattr(watch_command, "START_SECONDS", 0.3)
    began = time.monotonic()
    with untouched():
        answer = cli("watch", "nowhere")
    assert answer.code == 2 and 0.3 <= time.monotonic() - began
    assert answer.err.splitlines()[-1].startswith("langevin-nn: error: nowhere is not a run folder")


@pytest.mark.slow
def test_a_run_is_watched_to_its_end(cli):
    words = ["--sampler.num_samples", "200000", "--output", "out"]
    command = [sys.executable, "-m", "langevin_nn"]
    with subprocess.Popen([*command, "run", "tiny.toml", *words, "--quiet"]) as process:
        folder = RunFolder(cli.folder / "out")
        while not folder.has_state and process.poll() is None:
            pass
        done = subprocess.run([*command, "watch", "out", "--every", "1"], capture_output=True)
        code = process.wait()
    out = done.stdout.decode()
    assert done.returncode == code and "under way" in out, done
    assert out.endswith(f"{lnn.load_run('out')}\n")


def test_a_dry_run_says_what_it_takes_and_writes_nothing(cli):
    words = ["tiny.toml", "--sampler.num_samples", "300", "--sampler.ladder", "2"]
    with untouched():
        answer = cli("run", *words, "--dry-run")
    assert answer.code == 0 and "630 steps" in answer.out and "4 networks" in answer.out
    problem = run.prepare(configuration.load(cli.folder / "tiny.toml"))
    result = forecast.forecast(problem)
    # 3 × 3 weights of the first layer and 3 of the read-out, two chains of 30 + 8 × 2 steps.
    assert (result.num_weights, result.num_chains, result.steps) == (12, 2, 46)
    assert 0 < result.bytes_needed < result.bytes_left and result.seconds >= result.start_seconds
    assert result.steps_left == 46


def test_a_dry_run_says_what_is_left_only_of_the_run_that_is_there(cli, monkeypatch):
    monkeypatch.setattr(forecast, "MEASURED_SECONDS", 0.0)
    RunFolder(cli.folder / "out").checkpoint.mkdir(parents=True)
    config = run.prepare(configuration.load(cli.folder / "tiny.toml")).config
    (cli.folder / "out" / "config.toml").write_text(config.to_toml())
    words = ["run", "tiny.toml", "--output", "out", "--dry-run"]
    with untouched():
        answer = cli(*words, "--resume")
        refused(cli(*words, "--resume", "--seed", "2"), "seed", "2", "1")
    assert answer.code == 0 and "46 steps" in answer.out and "left after" not in answer.out
    assert "out has no saved state" in answer.err
    (cli.folder / "out" / "checkpoint" / "state.npz").write_bytes(b"cut")
    with untouched():
        refused(cli(*words, "--resume"), "checkpoint", "--overwrite")


@pytest.mark.slow
def test_ctrl_c_after_the_summary_leaves_a_finished_run(cli, monkeypatch):
    """Nothing of the checkpoint stays, and what is said names the folder."""
    finish = RunFolder.finish

    def finished_and_interrupted(*arguments, **options):
        finish(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "finish", finished_and_interrupted)
    answer = cli("run", "tiny.toml", "--output", "out", "--quiet")
    assert answer.code == 130 and "out is finished" in answer.err
    assert not (cli.folder / "out" / "checkpoint").exists()
    assert lnn.load_run("out").chains.f.shape == (2, 8, 4)
