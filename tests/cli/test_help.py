"""Help: it fits a terminal, names every choice, and ends in an example that the parser takes."""

import contextlib
import json
import re
import shlex

import pytest

from langevin_nn import config as configuration
from langevin_nn.cli import commands
from langevin_nn.cli.arguments import parse
from langevin_nn.config.sections import ACTIVATION_NAMES
from langevin_nn.errors import InputError
from langevin_nn.model.activations import ACTIVATIONS

WITH_FIELDS = ("init", "run", "sweep", "theory")


def help_of(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        parse([*words])
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ["", *commands.COMMANDS])
def test_help_fits_a_terminal_and_explains_every_option(capsys, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(capsys, *command.split(), "--help")
    assert all(len(line) <= 80 for line in text.splitlines())
    if command not in WITH_FIELDS:
        return
    for name, item in configuration.options().items():
        section = text.rpartition(f"  --{name} ")[0].rpartition("\n\n[")[2].partition("]")[0]
        assert section == name.rpartition(".")[0] or "." not in name
        row = re.search(rf"\n  --{re.escape(name)} (.*)(\n {{10,}}| {{2,}})\w", text)
        assert row, name
        choices, listed = item.metadata["kind"].choices, row[1].partition("}")[0].strip("{")
        if choices and "…" not in listed:
            assert tuple(listed.split(",")) == choices
        assert bool(item.metadata["of"]) <= (not choices or "MODULE:NAME" in row[1])
        if others := item.metadata["kind"].others:
            further = f" [{others[1]} ...]" if len(others) > 1 else ""
            assert row[1].strip().endswith(f"}} or {others[0]}{further}")
    assert "20000" in text and '"auto"' in text, "defaults"


@pytest.mark.parametrize(
    "name",
    [name for name, item in configuration.options().items() if item.metadata["kind"].choices],
)
def test_choices_that_are_not_all_there_is_are_not_shown_as_such(name):
    """`{auto}` alone stood where a number of steps may."""
    kind = configuration.options()[name].metadata["kind"]
    with contextlib.suppress(InputError):
        value = kind.check(name, kind.from_words(["1", "2"] if kind.is_list else ["1"]))
        assert isinstance(value, str) or kind.others[:1] == ("NUMBER",)


def test_what_auto_is_said_to_be(capsys):
    """It was said to be π/2, where the adaptation only starts."""
    text = " ".join(help_of(capsys, "run", "--help").split())
    assert "the mean angle of a trajectory; auto adapted in the warm-up, from pi/2 on" in text


def test_figures_are_said_to_have_three_formats(capsys):
    for command in ("theory", "compare"):
        usage = help_of(capsys, command, "--help").partition("\n\n")[0]
        assert "--plot FILE.png|.pdf|.svg" in usage
    usage = help_of(capsys, "theory", "--help").partition("\n\n")[0]
    options = set(re.findall(r"\[(--[\w-]+)", usage))
    assert options == {"--json", "--plot", "--maximise-evidence", "--SECTION"}


def test_no_words_at_all_are_a_question_for_help(capsys):
    assert help_of(capsys) == help_of(capsys, "--help")


@pytest.mark.parametrize("command", ["", *commands.COMMANDS])
def test_the_example_at_the_end_of_the_help_is_a_command(capsys, command):
    """Its words are read as they stand there."""
    end = help_of(capsys, *command.split(), "--help").partition("\nan example")[2]
    lines = end.partition(":\n")[2].replace("\\\n", "").splitlines()
    assert lines
    for line in lines:
        program, *words = shlex.split(line.partition(" > ")[0])
        assert program == "langevin-nn"
        if "--help" not in words:
            assert parse(words).command == (command or words[0])


def test_names_of_activations_are_those_that_there_are():
    """They stand twice, since the help comes without JAX."""
    assert ACTIVATION_NAMES == tuple(ACTIVATIONS)


@pytest.mark.parametrize(
    "name",
    [name for name, item in configuration.options().items() if item.metadata["kind"].choices],
)
def test_choices_of_the_help_are_accepted(name):
    kind = configuration.options()[name].metadata["kind"]
    for word in kind.choices:
        assert kind.check(name, kind.from_words([word])) in (word, word == "true", (word,))


@pytest.mark.parametrize(
    "words",
    [
        "--posterior.temperature 0.25 tiny.toml --json",
        "--prior.precisions 1 2 tiny.toml --json",
        "--json --seed=3 tiny.toml --prior.precisions 1 2",
        "--theory infinite_width tiny.toml --json",
    ],
)
def test_options_before_the_file(cli, words):
    """FAULTS 5, options: also behind a list, whose last entry it would be."""
    answer = cli(
        "theory", *words.split(), *[] if "--theory" in words else ["--theory", "one_layer"]
    )
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out)["theory"].keys() <= {"infinite_width", "one_layer"}


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("run --quiet my.toml --resume", {"config": "my.toml", "resume": True}),
        ("sweep --over seed=1,2 --seeds 2 my.toml", {"config": "my.toml", "over": ["seed=1,2"]}),
        ("report --output page.html out", {"folder": "out", "output": "page.html"}),
    ],
)
def test_options_before_files_and_folders_of_all_commands(words, read):
    parsed = vars(parse(words.split()))
    assert {key: str(parsed[key]) for key in read} == {key: str(read[key]) for key in read}
