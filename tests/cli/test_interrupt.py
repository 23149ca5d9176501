"""Ctrl-C while XLA compiles, with real processes and real signals. FAULTS 5, Ctrl-C.

XLA compiles in threads of its own, which go on after the signal: the process ended by another one,
SIGSEGV, in 7 of 18. It ends at once, with code 130 and a word on what is left.
"""

import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from cases import TINY
from command_line import with_own_cache

from langevin_nn.cli import startup

SLOW_TO_COMPILE = TINY.replace("hidden_widths = [3]", "hidden_widths = [3, 3, 3, 3]").replace(
    "num_warmup = 30", "num_warmup = 100_000_000"
)
WORDS = [
    "run", "tiny.toml", "--output", "out", "--network.activation", "gelu", "--network.biases",
    "true", "--sampler.ladder", "1", "2",
]  # fmt: skip
PROGRAM = """
import pathlib, sys
from langevin_nn.cli import environment, main
environment.settle()
from langevin_nn.sampling.engine import driver
advance = driver.advance
def marked(*words):
    pathlib.Path("compiling").touch()
    return advance(*words)
driver.advance = marked
sys.exit(main.main())
"""


def start(folder, *words):
    """The command in a process of its own that Ctrl-C reaches, from the moment that it compiles."""
    (folder / "compiling").unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *WORDS, *words], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        env=with_own_cache(folder) | {"PYTHONFAULTHANDLER": "1"},
    )  # fmt: skip
    wait_for(folder / "compiling", process)
    return process


def wait_for(path: Path, process) -> None:
    limit = time.monotonic() + 180
    while not path.exists():
        if process.poll() is not None or time.monotonic() > limit:
            process.kill()
            pytest.fail(str(process.communicate()))
        time.sleep(0.01)


def interrupted(process) -> str:
    """What it says in the end."""
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 130, (process.returncode, err)
    assert out == "" and "Traceback" not in err and "Fatal" not in err, err
    return err.split("\ninterrupted: ")[1]


@pytest.mark.exhaustive_except("0.7")
@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.7, 2.5])
def test_while_xla_compiles(tmp_path, seconds):
    (tmp_path / "tiny.toml").write_text(SLOW_TO_COMPILE)
    process = start(tmp_path)
    time.sleep(seconds)
    told = interrupted(process)
    if not (tmp_path / "out").exists():
        assert told == "nothing had been saved yet, and nothing is left behind\n"
    else:
        assert told.startswith("what was saved stays; go on with: langevin-nn run tiny.toml")
        assert (tmp_path / "out/checkpoint/state.npz").is_file()


SWALLOWING = """
import signal, sys
from langevin_nn.cli import environment, main
environment.settle()
from langevin_nn.sampling.engine import driver
class Interrupted:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
advance, done = driver.advance, []
def marked(*words):
    if not done:
        done.append(Interrupted())
        done[0] = None
    return advance(*words)
driver.advance = marked
sys.exit(main.main())
"""


@pytest.mark.slow
def test_where_python_ignores_exceptions(tmp_path):
    """A finaliser swallows it, as one of JAX did once while it traced: the run went on for ever."""
    (tmp_path / "tiny.toml").write_text(SLOW_TO_COMPILE)
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWING, "run", "tiny.toml", "--output", "out"], cwd=tmp_path,
        capture_output=True, text=True, timeout=180,
        env=with_own_cache(tmp_path),
    )  # fmt: skip
    assert done.returncode == 130 and "Traceback" not in done.stderr
    assert "interrupted: what was saved stays; go on with:" in done.stderr


def test_whatever_a_library_makes_of_it(monkeypatch, capsys):
    """An error of its own, as XLA does of what is raised in a callback; or a word on what was
    ignored, which was a traceback in 2 of 28."""
    monkeypatch.setattr(startup, "_interrupts", [signal.SIGINT])
    with pytest.raises(KeyboardInterrupt), startup.not_swallowed():
        raise RuntimeError("INTERNAL: KeyboardInterrupt")
    startup._unraisable(types.SimpleNamespace(exc_type=KeyboardInterrupt))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(startup, "_interrupts", [])
    with pytest.raises(RuntimeError), startup.not_swallowed():
        raise RuntimeError("INTERNAL: another one")


@pytest.mark.slow
def test_while_xla_compiles_what_is_gone_on_with(tmp_path):
    """A state that was saved stays, byte for byte, and is gone on with."""
    (tmp_path / "tiny.toml").write_text(SLOW_TO_COMPILE)
    state = tmp_path / "out/checkpoint/state.npz"
    process = start(tmp_path)
    wait_for(state, process)
    assert "what was saved stays" in interrupted(process)
    before = state.read_bytes()
    process = start(tmp_path, "--resume")
    time.sleep(0.5)
    assert "what was saved stays" in interrupted(process)
    if state.read_bytes() != before:  # it compiled faster than that
        assert state.stat().st_size == len(before)
