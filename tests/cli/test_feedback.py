"""What a process says before its first numbers, and the programs that it keeps compiled."""

import io
import subprocess
import sys
import time

import pytest
from cases import TINY
from command_line import with_own_cache

import langevin_nn as lnn
from langevin_nn.cli.progress import RunCommandProgress
from langevin_nn.cli.streams import Stages, complain, stages
from langevin_nn.progress import Report


def process(folder, *words, **variables):
    """The command line as a process of its own, in `folder`."""
    here = with_own_cache(folder)
    del here["TF_CPP_MIN_LOG_LEVEL"]
    return subprocess.run(
        [sys.executable, "-m", "langevin_nn", *words], cwd=folder, capture_output=True, text=True,
        env=here | {"HOME": str(folder)} | variables,
    )  # fmt: skip


def draws(folder):
    return lnn.load_run(folder).chains.f.tobytes()


@pytest.mark.slow
def test_a_second_run_takes_the_programs_of_the_first_with_the_same_bits(tmp_path):
    """The theories come before the sampling; damaged programs are compiled once more."""
    (tmp_path / "tiny.toml").write_text(TINY)
    first = process(tmp_path, "run", "tiny.toml", "--output", "first")
    assert first.returncode == 3, first.stderr
    assert first.stderr.startswith("langevin-nn: loading JAX · reading teacher_linear · theories\n")
    table, _, sampled = first.stderr.partition("compiling")
    assert "infinite_width" in table and "100 %" in sampled
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert kept
    for path in kept[::2]:
        path.write_bytes(path.read_bytes()[:100])
    second = process(tmp_path, "run", "tiny.toml", "--output", "second", "--quiet")
    assert (second.returncode, second.stdout, second.stderr) == (3, "", "")
    assert draws(tmp_path / "first") == draws(tmp_path / "second")


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"JAX_ENABLE_COMPILATION_CACHE": "false"}, {"XDG_CACHE_HOME": "/proc/nowhere"},
        {"JAX_COMPILATION_CACHE_DIR": "elsewhere"},
    ],
    ids=["switched off", "nowhere to write", "chosen by the user"],
)  # fmt: skip
def test_programs_are_kept_where_they_may_be(tmp_path, variables):
    (tmp_path / "tiny.toml").write_text(TINY)
    done = process(tmp_path, "run", "tiny.toml", "--output", "out", "--quiet", **variables)
    assert (done.returncode, done.stderr) == (3, "")
    assert not (tmp_path / "cache" / "langevin_nn").exists()


def screen_of(monkeypatch, is_terminal=False):
    """Standard error from now on: a log, or a terminal."""
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    return screen


def test_a_terminal_has_each_stage_at_once_and_the_line_is_wiped(monkeypatch):
    screen = screen_of(monkeypatch, is_terminal=True)
    line = Stages()
    line.is_shown = True
    line.begin("reading")
    assert screen.getvalue() == "langevin-nn: reading"
    line.begin("theories")
    assert screen.getvalue().endswith(" · theories")
    line.end()
    written = screen.getvalue().partition("\r")[0]
    assert screen.getvalue() == f"{written}\r{' ' * len(written)}\r"


def test_a_log_has_the_stages_that_take_long(monkeypatch):
    screen = screen_of(monkeypatch)
    line = Stages()
    line.is_shown, line.DELAY = True, 0.05
    line.begin("quick")
    line.end()
    time.sleep(0.2)
    assert screen.getvalue() == ""
    line.begin("reading")
    line.begin("theories")
    deadline = time.monotonic() + 30
    while not screen.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    line.begin("compiling")
    line.end()
    assert screen.getvalue() == "langevin-nn: reading · theories · compiling\n"


def test_an_error_has_a_line_of_its_own(monkeypatch):
    screen = screen_of(monkeypatch)
    monkeypatch.setattr(stages, "is_shown", True)
    monkeypatch.setattr(stages, "DELAY", 0.0)
    stages.begin("reading")
    deadline = time.monotonic() + 30
    while not screen.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    complain("no such file")
    assert screen.getvalue().splitlines() == [
        "langevin-nn: reading", "langevin-nn: error: no such file"
    ]  # fmt: skip


def test_a_log_says_how_long_a_run_will_take(monkeypatch):
    screen = screen_of(monkeypatch)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with RunCommandProgress(quiet=False) as progress:
        for seconds, steps in ((0.0, 100), (10.0, 200), (90.0, 1000)):
            now[0] = seconds
            progress(Report(steps, 1000, 50, 0.25, 0))
    first, second, last = screen.getvalue().splitlines()
    assert "left" not in first and second.endswith("about 80 s left") and "left" not in last
