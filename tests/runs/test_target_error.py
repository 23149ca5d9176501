"""Runs that end where their errors are small enough: folders, sweeps, interruptions, refusals."""

import tomllib

import numpy as np
import pytest
from cases import TINY

import langevin_nn as lnn
from langevin_nn.config.record import from_dict, load
from langevin_nn.runs import run
from langevin_nn.sampling.engine import driver

COUNTS = "num_warmup = 30\nnum_samples = 8\nthinning = 2\n"
SPLIT = 'dynamics = "split"\nnum_warmup = "auto"\n'


@pytest.fixture
def tiny():
    assert COUNTS in TINY
    return 'theory = ["infinite_width"]' + TINY.replace(COUNTS, SPLIT + "target_error = 0.2\n")


@pytest.fixture
def cli(cli, monkeypatch):
    monkeypatch.setattr(run, "draw_figures", lambda *_: None)
    return cli


@pytest.mark.slow
def test_a_run_ends_where_its_errors_are_small_enough(cli):
    answer = cli("run", "tiny.toml", "--output", "out")
    assert answer.code == 0, answer.err
    loaded = lnn.load_run(cli.folder / "out")
    for name in ("bias2", "variance"):
        estimate = getattr(loaded.measured, name)
        assert estimate.mcse <= 0.2 * estimate.value
    number = loaded.chains.energy.shape[1]
    assert 100 < number < 20_000 and f"× {number} draws" in answer.out
    assert loaded.config.sampler.num_samples is None
    for words in (("plot",), ("report",), ("export",)):
        assert cli(*words, "out").code == 0
    assert cli("run", "tiny.toml", "--output", "out", "--resume").code == 0


@pytest.mark.slow
def test_a_run_that_ends_before_says_which_error_is_too_large(cli):
    words = ["--sampler.target_error", "bias2=1e-4", "--sampler.max_draws", "250", "--quiet"]
    assert cli("run", "tiny.toml", "--output", "out", *words).code == 3
    loaded = lnn.load_run(cli.folder / "out")
    measured, said = loaded.measured, loaded.summary.experiment
    assert measured.diagnostics.num_draws == 250
    assert "bias2" in measured.message and "variance" not in measured.message
    assert (said.converged, said.message) == (measured.converged, measured.message)
    assert not measured.converged


@pytest.mark.slow
def test_interrupted_and_resumed(cli, monkeypatch):
    words = ["run", "tiny.toml", "--quiet", "--output"]
    assert cli(*words, "whole").code == 0
    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", 40)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)
    monkeypatch.setattr(driver, "next_chunk", interrupting(driver.next_chunk, monkeypatch))
    assert cli(*words, "out").code == 130
    assert cli(*words, "out", "--resume").code == 0
    whole, resumed = (lnn.load_run(cli.folder / name).chains for name in ("whole", "out"))
    np.testing.assert_array_equal(whole.test_outputs, resumed.test_outputs)


def interrupting(next_chunk, monkeypatch):
    """Ctrl-C before the chunk after 60 draws, once."""

    def asked(done, *others):
        if done.draws >= 60:
            monkeypatch.setattr(driver, "next_chunk", next_chunk)
            raise KeyboardInterrupt
        return next_chunk(done, *others)

    return asked


@pytest.mark.slow
def test_a_sweep_ends_each_point_by_its_errors(cli):
    words = ["sweep", "tiny.toml", "--over", "prior.precisions[-1]=0.5,2", "--output", "out"]
    answer = cli(*words, "--quiet")
    assert answer.code == 0, answer.err
    results = lnn.collect(cli.folder / "out")
    assert (results.bias2_mcse <= 0.2 * results.bias2).all()


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        ({"target_error": 0.0}, "0.01"),
        ({"target_error": 1.5}, "at most 1"),
        ({"target_error": ["bias=0.1"]}, "bias2"),
        ({"target_error": ["bias2=0.1", "bias2=0.2"]}, "bias2"),
        ({"target_error": []}, "0.01"),
        ({"target_error": 0.1, "num_samples": 1000}, "max_draws = 1000"),
        ({"target_error": 0.1, "num_chains": 1}, "num_chains = 2"),
        ({"target_absolute_error": 0.1}, "bias2=1e-4"),
        ({"max_draws": 100}, "target_error = 0.01"),
        ({"max_seconds": 100}, "target_error = 0.01"),
        ({"num_warmup": "automatic"}, '"auto"'),
    ],
)
def test_what_does_not_go_together_is_refused(sampler, words):
    with pytest.raises(lnn.InputError) as refused:
        from_dict({"sampler": sampler})
    assert words in str(refused.value)


def test_a_configuration_without_a_target_is_what_it_was():
    """Its hash, and what is written of it."""
    config = from_dict({"sampler": {"num_samples": 8}})
    assert config.content_hash == from_dict(tomllib.loads(config.to_toml())).content_hash
    known = {"num_chains", "num_warmup", "num_samples", "thinning"}
    new = {"target_error", "target_absolute_error", "max_draws", "max_seconds"}
    assert (
        known <= config.to_dict()["sampler"].keys() and not new & config.to_dict()["sampler"].keys()
    )
    assert from_dict({}).sampler.num_samples == 1_000


def test_errors_by_name_keep_all_their_digits():
    config = from_dict({"sampler": {"target_error": ["bias2 = 0.0123456789", "variance=1e-2"]}})
    assert config.sampler.target_error == ("bias2=0.0123456789", "variance=0.01")


def test_an_error_on_the_command_line(tmp_path):
    """It is a number, and errors by name are several words."""
    path = tmp_path / "my.toml"
    path.write_text("")
    for words, expected in (
        (["0.2"], 0.2), (["bias2=0.1"], ("bias2=0.1",)),
        (["bias2=0.1", "variance=0.2"], ("bias2=0.1", "variance=0.2")),
    ):  # fmt: skip
        assert load(path, {"sampler.target_error": words}).sampler.target_error == expected
    with pytest.raises(lnn.InputError, match="at most 1"):
        load(path, {"sampler.target_error": ["1.5"]})
