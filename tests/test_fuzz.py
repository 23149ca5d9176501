"""Mutated configurations and command lines end in an answer or in one line. FAULTS 5.

Derandomised: the same mutations in every run. Each must leave code 0 with every option stored and
finite numbers, code 1 where none is found and that is said, or code 2 with one line; never a
traceback, and never within more than a minute.
"""

import json
import math
import shutil
import tomllib

import pytest
from cases import TINY
from fuzzing import FUZZ, answered
from hypothesis import given, settings
from hypothesis import strategies as st

from langevin_nn import config as configuration
from langevin_nn import footprint
from langevin_nn.runs import run
from langevin_nn.sampling.dynamics.step_size import Diverged

NAMES = sorted(configuration.options())
HOSTILE = st.sampled_from([
    "", " ", "0", "-1", "1", "2", "3", "7", "0.5", "1e30", "1e-30", "1e400", "1e-400", "nan",
    "inf", "true", "false", "auto", "one_hot", "centred", "[]", "[[]]", "[1]", "[1, 2]",
    "[[0], [1]]", "9" * 5000, "[" * 3000, "'", '"', "\n", "\0", "$x$", "~nosuchuser", "erf",
    "relu", "random", "teacher_linear", "npz", "infinite_width", "one_layer", "split",
    "hinge", "logistic", "marginalised", "convolutional", "float64", "2147483647", "x" * 5000,
])  # fmt: skip
ANY = st.one_of(st.integers(-3, 2**64).map(str), st.floats().map(str), st.text(max_size=12))
VIOLENT = st.sampled_from(
    ["9" * 5000, "[" * 3000, "x" * 5000, "\0", "1e400", "1e30", "[[]]", "~nosuchuser", "nan"]
)
WORDS = st.one_of(VIOLENT, HOSTILE, HOSTILE, ANY)
OPTION = st.sampled_from(NAMES)
ONE_OPTION = st.tuples(OPTION, WORDS.map(lambda word: [word])).map(lambda each: [each])
"""What is refused first hides the others: most mutations are of one option, by one word."""
SEVERAL = st.lists(
    st.tuples(OPTION, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=3
)
LINES = TINY.splitlines(keepends=True)
VALUE_EDITS = st.tuples(
    st.sampled_from([i for i, line in enumerate(LINES) if "=" in line]),
    st.one_of(WORDS, WORDS.map(json.dumps)),
).map(
    lambda edit: [(
        len("".join(LINES[: edit[0]])) + LINES[edit[0]].index("=") + 1,
        len(LINES[edit[0]].partition("=")[2]) - 1, edit[1],
    )]
)  # fmt: skip
"""The value of a line is another: text that is no TOML at all is refused where nothing is."""
EDITS = st.lists(
    st.tuples(st.integers(0, len(TINY)), st.integers(0, 8), WORDS), min_size=1, max_size=3
)


@pytest.fixture(autouse=True)
def small_machine(monkeypatch):
    """The same on every machine: what a large one would compute for minutes is refused."""
    monkeypatch.setattr(footprint, "available_memory", lambda: 1e9)


def predicted(cli, *words):
    """The answer, which is one line on stderr with code 2 or finite numbers with code 0.

    With code 1, which is said, there are no numbers.
    """
    answer = answered(cli, *words, codes=(0, 1, 2))
    if answer.code == 2:
        assert answer.err.count("\n") == 1, answer
        return answer
    told = json.loads(answer.out)
    assert told["theory"] or told["not_applicable"]
    for entry in told["theory"].values():
        values = [entry[name] for name in ("bias2", "variance")]
        numbers = [v["value"] if isinstance(v, dict) else v for v in values]
        # What is not there is said.
        assert not entry["converged"] or all(n is not None and math.isfinite(n) for n in numbers)
    found = any(entry["converged"] for entry in told["theory"].values())
    assert answer.code == (0 if found else 1) and bool(answer.err) == (not found), answer
    return answer


@pytest.mark.slow
@settings(max_examples=1000, **FUZZ)
@given(st.one_of(ONE_OPTION, ONE_OPTION, SEVERAL))
def test_mutated_command_lines(cli, mutations):
    words = [word for name, values in mutations for word in (f"--{name}", *values)]
    answer = predicted(cli, "theory", "tiny.toml", "--json", *words)
    if answer.code == 0:  # what was given is what is computed
        given_names = {name for name, _ in mutations}
        assert len(given_names) == len(mutations), "an option twice is refused"
    assert cli.files() == {"tiny.toml"}


@pytest.mark.slow
@settings(max_examples=1000, **FUZZ)
@given(st.one_of(VALUE_EDITS, EDITS))
def test_mutated_configurations(cli, edits):
    text = TINY
    for place, length, word in edits:
        text = text[:place] + word + text[place + length :]
    (cli.folder / "mutated.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    predicted(cli, "theory", "mutated.toml", "--json", "--theory", "infinite_width")
    assert cli.files() == {"tiny.toml", "mutated.toml"}


VALUES = {
    "seed": st.integers(0, 2**31), "precision": st.sampled_from(["float32", "float64"]),
    "data.num_train": st.integers(1, 30), "data.num_test": st.integers(1, 30),
    "data.in_size": st.integers(1, 20), "data.noise_variance": st.floats(0, 1e3),
    "data.standardize": st.booleans(), "network.hidden_widths": st.lists(st.integers(1, 9)),
    "network.activation": st.sampled_from(["erf", "relu", "tanh", "gelu", "identity"]),
    "network.biases": st.booleans(), "prior.precisions": st.lists(st.floats(1e-3, 1e3)),
    "posterior.temperature": st.floats(1e-6, 1e3), "sampler.num_chains": st.integers(1, 9),
    "posterior.readout": st.sampled_from(["sampled", "marginalised"]),
    "sampler.dynamics": st.sampled_from(["langevin", "split"]),
    "sampler.num_warmup": st.integers(0, 99), "sampler.num_samples": st.integers(3, 99),
    "sampler.thinning": st.integers(0, 9), "sampler.ladder": st.lists(st.floats(1e-3, 1e3)),
    "sampler.step_size": st.one_of(st.just("auto"), st.floats(-1, 2)),
    "sampler.refresh": st.floats(0, 1),
}  # fmt: skip
OPTIONS = st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names})
)


@pytest.mark.slow
@settings(max_examples=25, **FUZZ)
@given(OPTIONS)
def test_every_option_is_stored_or_refused(cli, monkeypatch, values):
    """As it was given; a ladder in its order."""
    stored = []

    def look(problem, folder, **_):
        stored.append(tomllib.loads((folder.path / "config.toml").read_text()))
        raise Diverged("here it would sample")

    monkeypatch.setattr(run, "run", look)
    words = []
    for name, value in values.items():
        given_words = [json.dumps(value)] if isinstance(value, list | bool) else [str(value)]
        words += [f"--{name}", *given_words]
    answer = answered(cli, "run", "tiny.toml", "--output", "out", *words, codes=(2,))
    assert len(stored) == ("here it would sample" in answer.err), answer
    assert cli.files() == {"tiny.toml"}
    for found in stored:
        for name, value in values.items():
            table, _, key = name.rpartition(".")
            kept = (found[table] if table else found)[key]
            if name == "prior.precisions" and not value:
                value = [1.0] * (len(found["network"]["hidden_widths"]) + 1)
            assert kept == (sorted(value) if name == "sampler.ladder" else value), (name, kept)


SAMPLED = st.fixed_dictionaries({
    "network.activation": st.sampled_from(["erf", "relu", "identity"]),
    "posterior.temperature": st.sampled_from([1e-12, 1e-3, 1.0, 1e6, 1e30]),
    "prior.precisions": st.sampled_from(["[1e-12, 1]", "[1, 1e12]", "[1e-30, 1e30]", "[2, 3]"]),
    "data.noise_variance": st.sampled_from([0.0, 1.0, 1e12]),
    "sampler.step_size": st.sampled_from(["auto", 1e-9, 0.01, 1.0]),
    "sampler.dynamics": st.sampled_from(["langevin", "split"]),
})  # fmt: skip


@pytest.mark.slow
@settings(max_examples=12, **FUZZ)
@given(SAMPLED)
def test_extreme_numbers_that_are_sampled(cli, monkeypatch, values):
    """A whole folder whose summary says what its code says, or one line and nothing left."""
    monkeypatch.setattr(run, "draw_figures", lambda *_: None)
    shutil.rmtree(cli.folder / "out", ignore_errors=True)
    words = [word for name, value in values.items() for word in (f"--{name}", value)]
    answer = answered(cli, "run", "tiny.toml", "--output", "out", *words)
    if answer.code == 2:
        assert cli.files() == {"tiny.toml"}
        return
    experiment = cli.summary("out")["experiment"]
    assert experiment["converged"] == (answer.code == 0)
    numbers = [experiment[name]["value"] for name in ("bias2", "variance", "train_error")]
    assert all(n is not None and math.isfinite(n) for n in numbers), (numbers, answer)
