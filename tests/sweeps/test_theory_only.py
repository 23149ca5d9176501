"""`sweep --theory-only`: the theories' numbers, in a folder that can become a sampled sweep's."""

import json
import os
import shlex

import numpy as np
import pytest
import xarray as xr
from cases import SHORT_GRID
from refusals import refused, refuses, untouched

import langevin_nn as lnn
from langevin_nn.config.record import from_dict
from langevin_nn.runs import run
from langevin_nn.sweeps import engine, results
from langevin_nn.sweeps.grid import grid
from langevin_nn.theory import predict

OVER = {"posterior.temperature": [0.2, 1.0], "prior.precisions[-1]": [0.5, 2.0]}
WORDS = shlex.split("--over posterior.temperature=0.2,1.0 --over prior.precisions[-1]=0.5,2.0")


@pytest.fixture
def tiny():
    return SHORT_GRID


def stored(folder):
    return results.load(folder / "results.nc")


def of_theory(dataset):
    """The variables that no experiment has a part in."""
    names = ("criterion", "eigenvalue", "order", "theory", "point")
    return dataset[[name for name in dataset.data_vars if str(name).startswith(names)]]


@pytest.mark.slow
def test_it_has_the_theories_of_the_sampled_sweep_which_the_folder_can_become(cli):
    answer = cli("sweep", "tiny.toml", *WORDS, "--theory-only", "--output", "out")
    assert answer.code == 0 and "100 %" in answer.err
    expected = stored(cli.folder / "out")
    assert set(expected["status"].values.ravel()) == {"theory"}
    assert not expected["converged"].any() and expected["bias2"].isnull().all()
    assert cli.files("out") >= {"results.nc", "theories.json", "sweep.toml", "figures/lines.png"}
    assert not any(name.startswith("points/") and name != "points" for name in cli.files("out"))
    error = float(expected["theory_generalisation_error"].isel(theory=1)[1, 0])
    assert f"{error:.6g}" in answer.out
    xr.testing.assert_identical(lnn.collect("out"), expected)
    assert "4 missing" in cli("sweep", "--status", "out").out
    assert cli("report", "out").code == 0

    assert cli("sweep", "tiny.toml", *WORDS, "--output", "out", "--quiet").code == 3
    assert cli("sweep", "tiny.toml", *WORDS, "--output", "fresh", "--quiet").code == 3
    sampled, fresh = stored(cli.folder / "out"), stored(cli.folder / "fresh")
    assert set(sampled["status"].values.ravel()) == {"done"}
    xr.testing.assert_identical(of_theory(sampled), of_theory(expected))
    xr.testing.assert_identical(sampled.drop_vars(["seconds"]), fresh.drop_vars(["seconds"]))

    again = cli("sweep", "tiny.toml", *WORDS, "--theory-only", "--output", "out", "--quiet")
    assert (again.code, again.out, again.err) == (0, "", "")
    xr.testing.assert_identical(stored(cli.folder / "out"), sampled)


@pytest.mark.slow_except("depth", "data", "richness", "biases")
@pytest.mark.parametrize(
    "over",
    [
        {"network.hidden_widths": [[3], [5], [4, 3]], "posterior.temperature": [0.1, 0.5]},
        {"network.hidden_widths[0]": [3, 6], "data.num_train": [4, 6], "seed": [1, 2]},
        {"network.hidden_widths[0]": [3, 6], "posterior.richness": [0.5, 2.0]},
        {"network.biases": [True], "prior.bias_precisions[-1]": [0.5, 2.0]},
        {"data.source": ["teacher_linear", "digits"], "network.architecture": ["convolutional"]},
    ],
    ids=["depth", "data", "richness", "biases", "patches"],
)
def test_each_point_is_what_the_theory_says_of_its_own_configuration(over):
    """Or failed, with the reason why its configuration or its data do."""
    base = {
        "theory": ["infinite_width", "one_layer", "convolutional"],
        "data": {"source": "teacher_linear", "in_size": 3, "num_train": 5, "num_test": 4},
        "network": {"hidden_widths": [3]},
    }
    found = lnn.sweep(base, over, theory_only=True)
    for index, point in enumerate(grid(base, over).points):
        place = np.unravel_index(index, found["status"].shape)
        entry = found.isel(dict(zip(found["status"].dims, map(int, place), strict=True)))
        try:
            _, ensemble = run.prepare_theory(point)
        except lnn.InputError as error:
            assert (entry["status"], entry["reason"]) == ("failed", str(error))
            continue
        assert entry["status"] == "theory"
        for name, result in predict(ensemble, point.theory).results.items():
            row = entry.sel(theory=name)
            np.testing.assert_allclose(row["theory_bias2"], result.bias2.value, rtol=1e-9)
            np.testing.assert_allclose(row["theory_variance"], result.variance.value, rtol=1e-9)
            np.testing.assert_allclose(row["theory_log_evidence"], result.log_evidence, rtol=1e-9)


@pytest.mark.slow
def test_zero_temperature_is_asked_and_not_sampled(cli):
    words = ["sweep", "tiny.toml", "--over", "posterior.temperature=0,1", "--output", "out"]
    assert cli(*words, "--theory-only", "--quiet").code == 0
    expected = stored(cli.folder / "out")
    assert expected["theory_bias2"].notnull().all()
    assert cli(*words, "--quiet").code == 1
    sampled = stored(cli.folder / "out")
    assert sampled["status"].values.tolist() == ["failed", "done"]
    xr.testing.assert_identical(of_theory(sampled), of_theory(expected))


@pytest.mark.slow
def test_from_python_nothing_is_written_without_a_folder(cli):
    config = from_dict({"data": {"source": "teacher_linear", "in_size": 3, "num_train": 5}})
    with untouched():
        found = lnn.sweep(config, OVER, seeds=2, theory_only=True)
        assert found["theory_bias2"].dims == (*OVER, "seed", "theory")
        assert (found["status"] == "theory").all()
        with refuses("output"):
            lnn.sweep(config, OVER)
        with refuses("executor", "theory_only"):
            lnn.sweep(config, OVER, theory_only=True, executor="serial")
    figures = lnn.plotting.grid_figures(found)
    assert figures.keys() == {"lines"}
    lines = [line for ax in figures["lines"].axes for line in ax.lines if len(line.get_xdata()) > 1]
    assert lines and all(np.all(np.isfinite(line.get_ydata())) for line in lines)


def test_what_is_refused_leaves_nothing_behind(cli):
    (cli.folder / "mine").mkdir()
    (cli.folder / "mine/notes.txt").touch()
    with untouched():
        words = ["sweep", "tiny.toml", *WORDS, "--theory-only", "--output"]
        refused(cli(*words, "mine"), "mine", "notes.txt")
        refused(cli(*words, "out", "--task", "0/2"), "--task", "--theory-only")
        refused(cli(*words, "out", "--workers", "2"), "--workers")
        answer = cli(
            *words, "out", "--quiet", "--data.source", "digits", "--data.num_train", "5000"
        )
        refused(answer, "5000")
        refused(cli("sweep", "--status", "out", "--theory-only"), "--theory-only")
        refused(cli(*words, "out", "--quiet", "--theory", "[]"), "no theory")
        refused(cli(*words, "out", "--quiet", "--theory", "convolutional"), "convolutional")
        refused(cli(*words, "out", "--quiet", "--theory", "convolution"), '"convolutional"')
    assert cli(*words, "out", "--quiet").code == 0
    with untouched():
        refused(cli(*words, "out", "--seeds", "2"), "out", "--output")


def test_a_damaged_record_of_theories_is_as_none(cli):
    cli("sweep", "tiny.toml", *WORDS, "--theory-only", "--output", "out", "--quiet")
    path = cli.folder / "out/theories.json"
    content = json.loads(path.read_text())
    point = next(iter(content["points"].values()))
    point["criterion"] = 3.0
    for text in (json.dumps(content), "{", ""):
        path.write_text(text)
        assert set(lnn.collect("out")["status"].values.ravel()) == {"missing"}


def test_an_output_that_cannot_be_written_is_refused_before_the_work(cli, monkeypatch):
    words = ["sweep", "tiny.toml", "--seeds", "2", "--theory-only", "--output"]
    monkeypatch.setattr(engine.theories, "expected", lambda *_: pytest.fail("it works"))
    with untouched():
        refused(cli(*words, "tiny.toml/grid"), "tiny.toml is a file")
        with monkeypatch.context() as patch:
            patch.setattr(os, "access", lambda *_: False)  # root may write everywhere
            refused(cli(*words, "new/grid"), "--output")
