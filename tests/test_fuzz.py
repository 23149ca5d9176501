"""Mutated configurations and command lines end in an answer or in one line. FAULTS 5.

Derandomised: the same mutations in every run. Each must leave code 0 with every option stored and
finite numbers, or code 2 with one line; never a traceback, and never within more than a minute.
"""

import json
import math
import signal

import pytest
from command_line import TINY, CommandLine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langevin_nn import config as configuration

SECONDS = 60
FUZZ = {
    "derandomize": True, "deadline": None, "database": None,
    "suppress_health_check": list(HealthCheck),
}  # fmt: skip
NAMES = sorted(configuration.options())
WORDS = st.one_of(
    st.sampled_from([
        "", " ", "0", "-1", "1", "2", "3", "7", "0.5", "1e30", "1e-30", "1e400", "1e-400", "nan",
        "inf", "true", "false", "auto", "one_hot", "centred", "[]", "[[]]", "[1]", "[1, 2]",
        "[[0], [1]]", "9" * 5000, "[" * 3000, "'", '"', "\n", "\0", "$x$", "~nosuchuser", "erf",
        "relu", "random", "teacher_linear", "npz", "infinite_width", "one_layer", "split",
        "hinge", "logistic", "marginalised", "convolutional", "float64", "2147483647", "x" * 5000,
    ]),
    st.integers(-3, 2**64).map(str), st.floats().map(str), st.text(max_size=12),
)  # fmt: skip


@pytest.fixture
def cli(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys)


@pytest.fixture(autouse=True)
def watchdog():
    """A hang ends as an error."""

    def bark(*_):
        raise TimeoutError(f"no answer within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, bark)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def answered(cli, *words):
    """The answer, which is one line on stderr with code 2 or finite numbers with code 0."""
    signal.alarm(SECONDS)
    answer = cli(*words)
    signal.alarm(0)
    assert answer.code in (0, 2), answer
    if answer.code == 2:
        assert answer.out == "" and answer.err.count("\n") == 1, answer
        assert answer.err.startswith("langevin-nn: error: ") and len(answer.err) < 2200, answer
        return answer
    told = json.loads(answer.out)
    assert told["theory"] or told["not_applicable"]
    for entry in told["theory"].values():
        values = [entry[name] for name in ("bias2", "variance")]
        numbers = [v["value"] if isinstance(v, dict) else v for v in values]
        # What is not there is said.
        assert not entry["converged"] or all(n is not None and math.isfinite(n) for n in numbers)
    return answer


@pytest.mark.slow
@settings(max_examples=1000, **FUZZ)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.lists(WORDS, min_size=1, max_size=3)),
                min_size=1, max_size=3))  # fmt: skip
def test_mutated_command_lines(cli, mutations):
    words = [word for name, values in mutations for word in (f"--{name}", *values)]
    answer = answered(cli, "theory", "tiny.toml", "--json", *words)
    if answer.code == 0:  # what was given is what is computed
        given_names = {name for name, _ in mutations}
        assert len(given_names) == len(mutations), "an option twice is refused"
    assert cli.files() == {"tiny.toml"}


@pytest.mark.slow
@settings(max_examples=1000, **FUZZ)
@given(
    st.lists(st.tuples(st.integers(0, len(TINY)), st.integers(0, 8), WORDS), min_size=1, max_size=3)
)
def test_mutated_configurations(cli, edits):
    text = TINY
    for place, length, word in edits:
        text = text[:place] + word + text[place + length :]
    (cli.folder / "mutated.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    answered(cli, "theory", "mutated.toml", "--json", "--theory", "infinite_width")
    assert cli.files() == {"tiny.toml", "mutated.toml"}
