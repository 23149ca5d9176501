"""Runs with control variates: kept in the file, gone on with, refused where they are not known."""

import json

import numpy as np
import pytest
from cases import TINY, write_npz
from refusals import refused, untouched

import langevin_nn as lnn
from langevin_nn.config.record import from_dict
from langevin_nn.runs import run

OPTIONS = {
    "posterior.readout": "marginalised", "sampler.dynamics": "split", "sampler.num_warmup": "20",
    "sampler.num_samples": "40",
}  # fmt: skip


def words(controls=True, **changes):
    options = OPTIONS | {name.replace("__", "."): value for name, value in changes.items()}
    options |= {"sampler.control_variates": "true"} if controls else {}
    given = [word for name, value in options.items() for word in (f"--{name}", *value.split())]
    return ["run", "tiny.toml", "--theory", "[]", "--quiet", *given]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "draw_figures", lambda *_: None)
    (tmp_path / "tiny.toml").write_text(TINY)
    write_npz("task.npz")
    return tmp_path


@pytest.mark.slow
def test_a_run_has_them_in_its_file_and_its_numbers(cli, folder):
    cli(*words(), "--output", "out")
    cli(*words(controls=False), "--output", "plain")
    loaded, plain = lnn.load_run("out"), lnn.load_run("plain")
    controls = loaded.chains.control_variates
    assert controls.shape[:3] == (*loaded.chains.energy.shape, 3)
    assert plain.chains.control_variates is None
    np.testing.assert_array_equal(loaded.chains.test_outputs, plain.chains.test_outputs)
    measured = lnn.summarise(loaded.chains)
    summary = json.loads((folder / "out/summary.json").read_text())["experiment"]
    assert summary["variance_reduction"] == pytest.approx(measured.variance_reduction)
    assert summary["bias2"]["mcse"] == pytest.approx(measured.bias2.mcse)
    assert summary["bias2"]["mcse"] < lnn.summarise(plain.chains).bias2.mcse
    described = loaded.chains.to_arviz()["sample_stats"]["control_variates"]
    assert described.dims == ("chain", "draw", "control", "test_point")
    answer = cli("report", "out", "--output", "page.html")
    assert answer.code == 0 and "smaller by control variates" in (folder / "page.html").read_text()


@pytest.mark.slow
def test_an_extended_run_is_the_long_one(cli, folder):
    """Of a task with two outputs."""
    write_npz("two.npz", y_train=np.eye(6)[:, :2], y_test=np.eye(4)[:, :2])
    of_two = {"data__source": "npz", "data__path": "two.npz"}
    longer = words(**of_two, sampler__num_samples="60")
    cli(*words(**of_two), "--output", "out")
    cli(*longer, "--output", "out", "--extend")
    cli(*longer, "--output", "long")
    one, other = lnn.load_run("out").chains, lnn.load_run("long").chains
    assert one.control_variates.shape == (2, 60, 3, 4, 2)
    np.testing.assert_array_equal(one.control_variates, other.control_variates)
    np.testing.assert_array_equal(one.test_outputs, other.test_outputs)


@pytest.mark.slow_except("sampled", "kinks", "deep")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"posterior__readout": "sampled"}, ['readout = "marginalised"']),
        ({"sampler__dynamics": "langevin"}, ["Langevin", 'dynamics = "split"']),
        ({"network__activation": "relu"}, ["relu", "control_variates = false"]),
        ({"network__hidden_widths": "3 2", "prior__precisions": "1 1 1"}, ["2 hidden layers"]),
    ],
    ids=["sampled", "langevin", "kinks", "deep"],
)
def test_where_they_are_not_known_nothing_is_begun(cli, folder, changes, said):
    with untouched():
        refused(cli(*words(**changes), "--output", "out"), *said)


def test_the_name_of_a_run_without_them_stays():
    sampler = {"dynamics": "split", "num_warmup": 1000, "num_samples": 1000}
    names = {
        flag: from_dict(
            {"posterior": {"readout": "marginalised"}, "sampler": sampler | flags}
        ).content_hash
        for flag, flags in (
            ("absent", {}), ("false", {"control_variates": False}),
            ("true", {"control_variates": True}),
        )
    }  # fmt: skip
    assert names["absent"] == names["false"] != names["true"]
