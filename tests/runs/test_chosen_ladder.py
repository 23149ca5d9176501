"""Runs whose ladder pilot runs choose."""

import json

import pytest
from cases import TINY
from refusals import refused, untouched

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn.runs import run
from langevin_nn.runs.tables import sampling
from langevin_nn.sampling import ladders, tempering


@pytest.fixture
def tiny():
    sampler = '[sampler]\nladder = "auto"'
    return 'theory = ["infinite_width"]' + TINY.replace("[sampler]", sampler)


@pytest.fixture
def cli(cli, monkeypatch):
    monkeypatch.setattr(run, "draw_figures", lambda *_: None)
    for name in ("PILOT_DRAWS", "PILOT_WARMUP"):
        monkeypatch.setattr(tempering, name, 4)
    monkeypatch.setattr(ladders, "PILOTS", 1)
    return cli


def temperatures(folder):
    rungs = json.loads((folder / "summary.json").read_text())["tempering"]["rungs"]
    return [rung["temperature"] for rung in rungs]


@pytest.mark.slow
def test_a_run_chooses_its_ladder_and_is_extended_with_it(cli, monkeypatch):
    answer = cli("run", "tiny.toml", "--output", "short")
    assert answer.code in (0, 3)
    chosen = temperatures(cli.folder / "short")
    assert chosen == sorted(set(chosen)) and len(chosen) > 1
    assert lnn.load_run("short").config.sampler.ladder == "auto"
    more = ("--sampler.num_samples", "20", "--quiet")
    cli("run", "tiny.toml", "--output", "long", *more)
    with monkeypatch.context() as patched:
        patched.setattr(tempering, "_chosen", lambda *arguments: pytest.fail("chosen anew"))
        cli("run", "tiny.toml", "--output", "short", "--extend", *more)
    assert temperatures(cli.folder / "short") == temperatures(cli.folder / "long") == chosen
    ends = [lnn.load_run(name).chains.energy for name in ("short", "long")]
    assert ends[0].shape == ends[1].shape == (2, 20) and (ends[0] == ends[1]).all()


def test_before_the_pilots_have_run_the_number_of_temperatures_is_theirs(cli):
    config = configuration.load(cli.folder / "tiny.toml")
    assert config.sampler.num_rungs == 8
    assert "pilot runs choose" in sampling(config)


def test_what_a_ladder_may_be(cli):
    with untouched():
        refused(cli("theory", "tiny.toml", "--sampler.ladder", "automatic"), '"auto"')
        refused(cli("run", "tiny.toml", "--sampler.keep_weights", "true"), "keep_weights", "auto")
    assert cli("theory", "tiny.toml").code == 0
