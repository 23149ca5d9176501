"""Finished runs, loaded and compared: the numbers are those of their folders."""

import dataclasses
import math
import os
from html import escape

import numpy as np
import pytest
from refusals import refused, refuses, untouched
from run_cases import saved, some_chains, some_theory

import langevin_nn as lnn
from langevin_nn.result_text import QUANTITIES
from langevin_nn.runs import loading, tables
from langevin_nn.types import InputError


def run_in(folder, shift=0.0, theories=("one_layer", "matched")):
    folder.mkdir(parents=True, exist_ok=True)
    chains = some_chains()
    chains = dataclasses.replace(chains, train_error=chains.train_error + np.float32(shift))
    named = {name: some_theory(name, 0.1 + len(name) / 100) for name in theories}
    return saved(folder, chains, named)


def test_a_loaded_run_has_the_numbers_of_its_folder(tmp_path):
    folder = run_in(tmp_path)
    run = lnn.load_run(str(tmp_path))
    summary = folder.load_summary().experiment
    assert run.measured.bias2 == summary.bias2
    assert repr(run.summary.experiment) == repr(summary), "NaN among its numbers are alike"
    assert list(run.theories) == ["one_layer", "matched"]
    dataset = run.to_dataset()
    assert dataset.result.values.tolist() == ["experiment", "one_layer", "matched"]
    for key in QUANTITIES:
        assert float(dataset[key].sel(result="experiment")) == getattr(summary, key).value
        assert float(dataset[f"{key}_mcse"].sel(result="experiment")) == getattr(summary, key).mcse
        assert (
            float(dataset[key].sel(result="matched")) == getattr(run.theories["matched"], key).value
        )
    assert np.isnan(dataset.log_evidence.sel(result="experiment"))
    np.testing.assert_array_equal(run.chains.y_train, [1.0, -1.0, 1.0])
    assert run.to_arviz()["posterior"]["f"].shape == run.chains.f.shape


def test_runs_are_compared_with_the_first(tmp_path):
    run_in(tmp_path / "a" / "run"), run_in(tmp_path / "b" / "run", 0.5, ("one_layer",))
    compared = lnn.compare_runs(tmp_path / "a" / "run", lnn.load_run(tmp_path / "b" / "run"))
    assert compared.names == ("a/run", "b/run") and compared.settings == {}
    by_quantity = {deviation.quantity: deviation for deviation in compared.deviations}
    assert len(by_quantity) == len(QUANTITIES) and by_quantity["bias2"].z == 0
    train = by_quantity["train_error"]
    error = math.hypot(*(run.measured.train_error.mcse for run in compared.runs))
    assert train.z == pytest.approx(0.5 / error, rel=1e-5)
    dataset = compared.to_dataset()
    assert dict(dataset.sizes) == {"run": 2, "result": 3}
    assert np.isnan(dataset.bias2.sel(run="b/run", result="matched"))
    assert not dataset.converged.sel(run="b/run", result="matched")
    assert len(compared.figure().axes) == 3
    text = str(compared)
    assert all(name in text for name in ("a/run", "b/run", "matched"))


def test_settings_are_those_that_differ(tmp_path):
    run_in(tmp_path / "a")
    (tmp_path / "b").mkdir()
    saved(tmp_path / "b", some_chains(), {}, y_train=(1.0, 1.0, -1.0, -1.0))
    compared = lnn.compare_runs(tmp_path / "a", tmp_path / "b")
    assert compared.settings == {"data.num_train": (3, 4)}
    assert compared.to_dataset()["data.num_train"].values.tolist() == [3, 4]


@pytest.mark.parametrize("folders", [[], ["a"], ["a", "a"], ["a", "nowhere"]])
def test_what_cannot_be_compared_is_refused(tmp_path, folders):
    run_in(tmp_path / "a")
    with pytest.raises(InputError):
        lnn.compare_runs(*(tmp_path / name for name in folders))


def test_a_damaged_run_is_not_loaded(tmp_path):
    folder = run_in(tmp_path)
    text = (tmp_path / "summary.json").read_text()
    (tmp_path / "summary.json").write_text(text[: len(text) // 2])
    with pytest.raises(InputError):
        lnn.load_run(folder.path)


def test_what_is_no_run_is_named_as_such(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        with refuses(path.name, "not a run folder"):
            lnn.load_run(path)


def test_a_figure_that_cannot_be_written_is_refused_before_the_work(cli, monkeypatch):
    run_in(cli.folder / "a"), run_in(cli.folder / "b")
    monkeypatch.setattr(loading, "compare_runs", lambda *_: pytest.fail("it works"))
    with monkeypatch.context() as patch, untouched():
        patch.setattr(os, "access", lambda *_: False)  # root may write everywhere
        refused(cli("compare", "a", "b", "--plot", "f.png"), "--plot")
    with untouched():
        for name, word in (("none/f.png", "none/f.png"), ("f.jpg", ".png")):
            refused(cli("compare", "a", "b", "--plot", name), word)


def test_a_run_that_has_not_converged_says_so_once(tmp_path):
    run_in(tmp_path)
    run = lnn.load_run(tmp_path)
    message = run.measured.message
    for text in (repr(run), run._repr_html_(), repr(run.comparison), run.comparison._repr_html_()):
        assert text.count(escape(message) if "<table>" in text else message) == 1
    assert "(not converged)" in str(run.comparison) and not run.measured.converged


def test_a_theory_has_no_error_of_its_accuracy(tmp_path):
    run_in(tmp_path)
    run = lnn.load_run(tmp_path)
    errors = run.to_dataset()["test_accuracy_mcse"].values
    assert errors[0] == run.measured.test_accuracy.mcse and np.isnan(errors[1:]).all()


def test_one_chain_of_one_step_is_in_the_singular():
    counts = {"num_chains": 1, "num_warmup": 1, "num_samples": 4}
    one = lnn.config.from_dict({"sampler": counts})
    assert "1 chain of 1 step of warm-up and 4 draws, thinning" in tables.sampling(one)
    split = lnn.config.from_dict({"sampler": counts | {"dynamics": "split", "num_chains": 2}})
    assert "2 chains of 1 trajectory of warm-up" in tables.sampling(split)
    assert "… chains of 1 " in tables.sampling(one, split)
