"""`langevin-nn init`: what it prints is the configuration that was asked for, whole and alone."""

import itertools
import re
import shlex
import tomllib

import pytest
from cases import write_npz
from refusals import refused

from langevin_nn import config as configuration
from langevin_nn.config.sections import PLACEHOLDER_PATH, SOURCES
from langevin_nn.errors import InputError

LINE = re.compile(r"^(#?)(\w+) =(.*)$", re.MULTILINE)
WORDS = {
    "none": "",
    "short": "--data mnist --posterior.temperature 0.01 --prior.precisions 1 2",
    "deep": "--network.hidden_widths 5 6 --network.biases true --theory one_layer global",
    "groups": "--data cifar10 --data.classes '[[0, 2], [1]]' --data.colour true",
    "targets": "--data digits --data.targets one_hot --sampler.dynamics split",
    "hinge": "--posterior.loss hinge --posterior.margin 0.5 --sampler.ladder 2 1",
    "file": "--data npz --data.path 'the task.npz' --data.num_train 4",
    "labels": """--data npz --data.path 'the task.npz' --data.classes '["a b", "c"]'""",
    "unread": "--data mnist --data.in_size 7",
    "extreme": "--posterior.temperature 1e-300 --seed 9223372036854775807 --data.noise_variance .1",
}


def told(cli, words):
    answer = cli("init", *words)
    assert (answer.code, answer.err) == (0, "")
    return answer.out


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_the_configuration_is_the_one_that_was_asked_for(cli, words):
    """Also where any of the lines that are comments is written out."""
    words = [word.replace("--data ", "") for word in shlex.split(words)]
    if "npz" in words:
        write_npz("the task.npz")
    text = told(cli, words)
    (cli.folder / "empty.toml").write_text("")
    (cli.folder / "my.toml").write_text(text)
    fields = ["--data.source" if word == "--data" else word for word in words]
    starts = [i for i, word in enumerate(fields) if word.startswith("--")]
    pairs = itertools.pairwise([*starts, len(fields)])
    options = {fields[begin][2:]: fields[begin + 1 : end] for begin, end in pairs}
    if not any(name.startswith("sampler.") or name == "posterior.loss" for name in options):
        options |= {"posterior.readout": ["marginalised"], "sampler.dynamics": ["split"]}
    wanted = configuration.load(cli.folder / "empty.toml", options)
    assert configuration.load(cli.folder / "my.toml").content_hash == wanted.content_hash
    own = tomllib.loads(text)
    for name in options:
        section, _, key = name.rpartition(".")
        assert key in (own[section] if section else own), "what is given is written"
    lines = [match for match in LINE.finditer(text) if match[1] and match[3]]
    assert len(lines) > 10
    for line in lines:
        (cli.folder / "my.toml").write_text(text[: line.start()] + text[line.start() + 1 :])
        try:
            found = configuration.load(cli.folder / "my.toml").content_hash
        except InputError:  # a number of a loss that is not the one here
            assert line[2] in ("hinge_power", "margin") and "hinge" not in words
        else:
            assert found == wanted.content_hash, line[0]


@pytest.mark.parametrize(
    ("words", "dynamics", "readout"),
    [
        ("", "split", "marginalised"),
        ("--posterior.temperature 0.5", "split", "marginalised"),
        ("--sampler.num_chains 3", "langevin", "sampled"),
        ("--posterior.readout sampled", "langevin", "sampled"),
        ("--posterior.loss logistic", "langevin", "sampled"),
        ("--network.architecture convolutional", "langevin", "sampled"),
    ],
)
def test_the_fast_sampler_where_none_is_chosen(cli, words, dynamics, readout):
    (cli.folder / "my.toml").write_text(told(cli, ["--data", "mnist", *words.split()]))
    config = configuration.load(cli.folder / "my.toml")
    assert (config.sampler.dynamics, config.posterior.readout) == (dynamics, readout)
    assert (config.sampler.target_error is not None) is (dynamics == "split")


@pytest.mark.parametrize("source", SOURCES)
def test_fields_that_the_source_reads_are_there(cli, source):
    text = told(cli, ["--data", source, *(["--data.path", "x.npz"] if source == "npz" else [])])
    data, options = text.partition("[data]")[2].partition("[network]")[0], configuration.options()
    listed = [match[2] for match in LINE.finditer(data)]
    assert listed == [
        name.removeprefix("data.")
        for name, item in options.items()
        if name.startswith("data.") and source in item.metadata["sources"]
    ]
    assert len(LINE.findall(text)) == len(listed) + sum("data." not in name for name in options)
    assert ("in_size" in listed) is (source in ("teacher_linear", "teacher_network", "random"))
    assert ("colour" in listed) is (source == "cifar10")
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize("command", ["run", "theory"])
def test_a_file_of_ones_own_has_a_placeholder_until_it_is_named(cli, command):
    """The path is the one line to write; what is not written over is told by its name."""
    text = told(cli, ["--data", "npz"])
    (cli.folder / "my.toml").write_text(text)
    answer = cli(command, "my.toml")
    refused(answer, "data.path", PLACEHOLDER_PATH, "placeholder", "your own")
    write_npz("mine.npz")
    (cli.folder / "my.toml").write_text(text.replace(PLACEHOLDER_PATH, "mine.npz"))
    config = configuration.load(cli.folder / "my.toml")
    assert config.data.path == str(cli.folder / "mine.npz")
    refused(cli("init", "--data", "npz", "--data.path", ""), "data.path")


def test_what_makes_no_configuration_prints_none(cli):
    refused(cli("init", "--data", "mnist", "--data.source", "digits"), "--data.source", "twice")
    refused(cli("init", "--network.hidden_width", "3"), "--network.hidden_widths")
    refused(cli("init", "--sampler.num_chains", "0"), "0")
    refused(cli("init", "my.toml"), "my.toml")
    assert cli.files() == {"tiny.toml"}


@pytest.mark.parametrize("name", ["foo", "", "mnistt"])
def test_a_source_that_there_is_not_is_refused(cli, name):
    refused(cli("init", "--data", name), "mnist", "npz")
