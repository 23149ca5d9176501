"""Runs that record the representation: in the file, the summary and the table, gone on with."""

import json

import numpy as np
import pytest
from cases import TINY, TINY_GRID
from refusals import refused, refuses, untouched

import langevin_nn as lnn
from langevin_nn.config.record import from_dict
from langevin_nn.representations import SERIES
from langevin_nn.runs import run
from langevin_nn.runs.summary import Summary

NAMES = ["kernel", "order_parameter"]
WORDS = ["--theory", "infinite_width", "scale_mixture", "--posterior.readout", "marginalised"]


def words(*changes, recorded=True):
    names = ["--sampler.observables", *NAMES] if recorded else []
    return ["run", "tiny.toml", "--quiet", *WORDS, *names, *changes]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "draw_figures", lambda *_: None)
    (tmp_path / "tiny.toml").write_text(TINY)
    return tmp_path


def summary_of(path):
    return json.loads((path / "summary.json").read_text())


@pytest.mark.slow
def test_a_run_has_them_in_its_files_and_its_table(cli, folder):
    answer = cli("run", "tiny.toml", *WORDS, "--sampler.observables", *NAMES, "--output", "out")
    assert answer.code == 3  # it has not converged
    rows = [line.split() for line in answer.out.splitlines()]
    heads = next(row for row in rows if row[:1] == ["representation"])
    assert heads == ["representation", "alignment", "yᵀΦy/|y|²", "participation", "Tr", "Φ/P", "Q"]
    cli(*words(recorded=False), "--output", "plain")
    loaded, plain = lnn.load_run("out"), lnn.load_run("plain")
    np.testing.assert_array_equal(loaded.chains.test_outputs, plain.chains.test_outputs)
    assert set(loaded.chains.observables) == set(SERIES)

    measured = lnn.summarise_representation(loaded.chains)
    said = loaded.summary.representation
    assert set(said) == {"experiment", "infinite_width", "scale_mixture"}
    assert said["experiment"] == measured
    ((q,),) = said["scale_mixture"].order_parameter
    assert q.value == loaded.theories["scale_mixture"].order_parameters[0] and q.mcse == 0
    content = summary_of(folder / "out")
    assert Summary.from_json(content).to_json() == content
    assert "representation" not in summary_of(folder / "plain")
    for name, series in SERIES.items():
        variable = loaded.chains.to_arviz()["posterior"][name]
        assert variable.dims == ("chain", "draw", *series.dims)
        assert variable.attrs["long_name"] and variable.attrs["description"]
    answer = cli("report", "out", "--output", "page.html")
    page = (folder / "page.html").read_text()
    assert answer.code == 0 and "participation" in page and "The kernel of layer 1" in page


@pytest.mark.slow
def test_an_extended_and_a_resumed_run_is_the_long_one(cli, folder):
    longer = words("--sampler.num_samples", "12")
    cli(*words(), "--output", "out")
    cli(*longer, "--output", "out", "--extend")
    cli(*longer, "--output", "long")
    one, other = lnn.load_run("out").chains, lnn.load_run("long").chains
    for name in SERIES:
        assert one.observables[name].shape[:2] == (2, 12)
        np.testing.assert_array_equal(one.observables[name], other.observables[name])
    assert (
        summary_of(folder / "out")["representation"]
        == summary_of(folder / "long")["representation"]
    )


@pytest.mark.slow
def test_points_of_a_sweep_and_a_ladder_have_their_own(folder):
    values = TINY_GRID + '\nobservables = ["kernel", "order_parameter"]\n'
    (folder / "grid.toml").write_text(values)
    swept = lnn.sweep(
        folder / "grid.toml", {"prior.precisions[1]": [0.5, 2.0]}, output="out", progress=False
    )
    traces = []
    for point in swept.point.values:
        found = lnn.load_run(f"out/points/{point}")
        single = run.sample_problem(run.prepare(found.config))
        for name in SERIES:
            np.testing.assert_allclose(
                found.chains.observables[name], single.observables[name], rtol=1e-9, err_msg=name
            )
        said = found.summary.representation
        traces.append(said["infinite_width"].kernel[0].trace.value)
        at = {"prior.precisions[1]": found.config.prior.precisions[1]}
        of_point = swept.sel(at)
        first = said["experiment"].kernel[0]
        for numbers, suffix in (("value", ""), ("mcse", "_mcse")):
            recorded = of_point[f"kernel_spectrum{suffix}"].sel(layer=0).values
            assert recorded.tolist() == [getattr(each, numbers) for each in first.spectrum]
            order = getattr(said["experiment"].order_parameter[0][0], numbers)
            assert of_point[f"mean_order_parameter{suffix}"] == order
        of_theory = of_point.theory_kernel_alignment.sel(theory="infinite_width", layer=0)
        assert of_theory == said["infinite_width"].kernel[0].alignment.value
        assert of_point.theory.values.tolist() == list(found.theories)
    assert traces[0] == pytest.approx(4 * traces[1])
    assert swept.theory_mean_order_parameter.sel(theory="infinite_width").values == pytest.approx(1)
    tempered = from_dict({
        **found.config.to_dict(), "sampler": found.config.to_dict()["sampler"] | {"ladder": [2.0]},
    })  # fmt: skip
    ladder = run.sample_problem(run.prepare(tempered))
    assert set(ladder.chains[0].observables) == set(SERIES)


def test_configurations_without_them_keep_their_names():
    plain = from_dict({})
    assert "observables" not in plain.to_dict()["sampler"]
    for absent in ([], ()):
        same = from_dict({"sampler": {"observables": absent}})
        assert same.content_hash == plain.content_hash and same == plain
    one, other = (from_dict({"sampler": {"observables": names}}) for names in (NAMES, NAMES[::-1]))
    assert one.content_hash == other.content_hash != plain.content_hash
    assert one.sampler.observables == tuple(NAMES)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["kernle"], ["kernle", "kernel"]), ("kernel", ["kernel", "list"]), ([3], ["3", "names"]),
        (["order"], ["order", "order_parameter"]),
    ],
)  # fmt: skip
def test_other_names_are_refused(given, expected):
    with refuses("sampler.observables", *expected):
        from_dict({"sampler": {"observables": given}})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["--sampler.observables", "kernle"], ["kernle", "kernel"]),
        (["--sampler.observables", "kernel", "--network.hidden_widths", "[]"],
         ["hidden layers", "observables"]),
    ],
)  # fmt: skip
def test_a_run_that_cannot_record_them_leaves_nothing(cli, folder, changes, expected):
    with untouched():
        refused(cli("run", "tiny.toml", "--theory", "[]", *changes), *expected)
