"""Exported numbers are those of the folder: in a file for programs, and rounded for a paper."""

import io
import os
import shutil
import tomllib

import numpy as np
import pandas as pd
import pytest
from cases import SHORT_GRID
from refusals import refused, refuses, untouched

import langevin_nn as lnn
from langevin_nn import locks
from langevin_nn.analysis.comparison import grid_marks
from langevin_nn.reports.export import FORMATS, _latex, _mark, _rounded, table_of
from langevin_nn.result_text import QUANTITIES

T = "posterior.temperature"
OVER = {T: [0.0, 0.5, 1.0]}  # T = 0 cannot be sampled: its point fails


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    path = tmp_path_factory.mktemp("swept") / "sweep"
    lnn.sweep(lnn.config.from_dict(tomllib.loads(SHORT_GRID)), OVER, output=path)
    return path


@pytest.mark.slow
def test_a_sweep_has_a_row_for_the_experiment_and_each_theory_of_a_point(swept, tmp_path):
    results = lnn.collect(swept)
    table = pd.read_csv(io.BytesIO(lnn.export(swept)))
    assert table.columns[:2].tolist() == [T, "result"]
    warm = ["experiment", "infinite_width", "scale_mixture"]
    assert table["result"].tolist() == ["experiment", *warm, *warm]
    assert table["status"].dropna().tolist() == ["failed", "done", "done"]
    for temperature in OVER[T][1:]:
        rows = table[table[T] == temperature].set_index("result")
        point = results.sel({T: temperature})
        for key in QUANTITIES:
            for name in (key, f"{key}_mcse"):
                assert rows.loc["experiment", name] == float(point[name])
                expected = float(point[f"theory_{name}"].sel(theory="scale_mixture"))
                assert rows.loc["scale_mixture", name] == expected
            shift = f"{key}_step_size_shift"
            assert rows.loc["experiment", shift] == float(point[shift]) != 0
            assert np.isnan(rows.loc["scale_mixture", shift])
        assert np.isnan(rows.loc["experiment", "log_evidence"])
    written = lnn.export(swept, tmp_path / "numbers.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(written), table, check_dtype=False)


def test_a_latex_table_has_the_rounded_numbers(swept):
    lines = lnn.export(swept, format="latex").decode().splitlines()
    rows = [line.removesuffix(r" \\").split(" & ") for line in lines if " & " in line]
    assert rows[0][:2] == [T, "result"] and rows[1][2:] == [""] * 5
    results = lnn.collect(swept)
    bias2 = lnn.Estimate(*(float(results[name][1]) for name in ("bias2", "bias2_mcse")))
    marks = [str(grid_marks(results, key).values[1]) for key in QUANTITIES]
    assert rows[2][:3] == ["0.5", "experiment *", f"{bias2}{marks[0]}"] and "(" in str(bias2)
    assert [cell[-2:] if cell[-1] in "†‡" else "" for cell in rows[2][2:-1]] == marks
    assert rows[3][1] == r"infinite\_width" and "†" not in "".join(rows[3])
    assert rows[1][1] == "experiment", "a point without numbers"
    assert "% * not converged" in lines


def test_only_what_has_not_converged_has_its_mark(swept):
    run = lnn.load_run(swept / "points" / str(lnn.collect(swept).point.values[1]))
    table = table_of(run.path)
    assert "experiment *" in _latex(table) and "% * not converged" in _latex(table)
    assert "*" not in _latex(table.assign(converged=True))
    of_theory = table.assign(converged=table["result"] != "scale_mixture")
    assert "scale\\_mixture *" in _latex(of_theory) and "experiment *" not in _latex(of_theory)


def test_accuracies_have_no_error_of_rounding(swept):
    """A theory's is not known, of a run as of a sweep; an experiment's below float64 is none."""
    run = swept / "points" / str(lnn.collect(swept).point.values[1])
    for path in (run, swept):
        table = table_of(path)
        of_theories = table[table["result"] != "experiment"]
        assert len(of_theories) and of_theories["test_accuracy_mcse"].isna().all()
    errors = _rounded(pd.DataFrame({"test_accuracy_mcse": [2.5e-40, 1e-9, np.nan]}))
    assert errors["test_accuracy_mcse"].tolist()[:2] == [0.0, 1e-9]
    assert errors["test_accuracy_mcse"].isna().tolist() == [False, False, True]


def test_marks_are_those_of_the_tables():
    number = lnn.Estimate(1.0, 0.1)
    cases = {(0.0, 0.0): "", (0.2, 0.01): " †", (0.2, 0.15): "", (np.nan, np.nan): " ‡"}
    assert {shift: _mark(number, *shift) for shift in cases} == cases
    assert _mark(lnn.Estimate(np.nan), np.nan, np.nan) == ""


def test_theories_alone_have_no_row_of_an_experiment(tmp_path):
    config = lnn.config.from_dict(tomllib.loads(SHORT_GRID))
    lnn.sweep(config, OVER, output=tmp_path / "theories", theory_only=True)
    table = pd.read_csv(io.BytesIO(lnn.export(tmp_path / "theories")))
    assert table["result"].tolist() == ["infinite_width", "scale_mixture"] * 3


def test_a_run_has_a_row_for_each_result(cli, swept):
    (point,) = {str(name) for name in lnn.collect(swept).point.values[1:2]}
    run = lnn.load_run(swept / "points" / point)
    answer = cli("export", str(run.path))
    table = pd.read_csv(io.StringIO(answer.out)).set_index("result")
    assert answer.code == 0 and table.loc["experiment", "variance"] == run.measured.variance.value
    assert list(table.index) == ["experiment", *run.theories]
    shift = run.measured.step_size_bias.variance
    assert table.loc["experiment", "variance_step_size_shift"] == shift.value
    assert table.loc["experiment", "variance_step_size_shift_mcse"] == shift.mcse
    assert table["variance_step_size_shift"].count() == 1
    answer = cli("export", str(run.path), "--output", "run.tex")
    assert (answer.code, answer.out) == (0, "run.tex\n")
    assert (cli.folder / "run.tex").read_text().startswith(r"\begin{tabular}")


def without_pyarrow(*_, **__):
    raise ImportError("Unable to find a usable engine")


def test_what_cannot_be_exported_is_refused(cli, swept, monkeypatch):
    cli.folder.joinpath("empty").mkdir()
    cli.folder.joinpath("taken.csv").mkdir()
    with untouched():
        refused(cli("export", "empty"), "empty")
        refused(cli("export", "nowhere"), "nowhere")
        refused(cli("export", str(swept), "--output", "numbers.xls"), "numbers.xls", "numbers.csv")
        refused(cli("export", str(swept), "--output", "."), "numbers.csv")
        refused(cli("export", str(swept), "--output", "taken.csv"), "taken.csv")
        refused(cli("export", str(swept), "--output", "nowhere/numbers.csv"), "numbers.csv")
        refused(cli("export", str(swept), "--format", "parquet"), "--output")
        monkeypatch.setattr(pd.DataFrame, "to_parquet", without_pyarrow)
        refused(cli("export", str(swept), "--output", "a.parquet"), "langevin_nn[parquet]")
    with refuses("'xls'", 'format="csv"'):
        lnn.export(swept, format="xls")
    with refuses("page.pdf", "page.html"):
        lnn.report(swept, "page.pdf")


@pytest.mark.parametrize("format", ["csv", "latex", "parquet"])
@pytest.mark.parametrize("ending", [*FORMATS, ".TEX"])
def test_an_ending_of_another_format_is_refused(cli, swept, format, ending):
    """A table in LaTeX was overwritten with CSV."""
    name, right = f"table{ending}", {v: k for k, v in FORMATS.items()}[format]
    (cli.folder / name).write_text("mine")
    agrees = FORMATS[ending.lower()] == format
    answer = cli("export", str(swept), "--format", format, "--output", name)
    assert ((cli.folder / name).read_bytes() != b"mine") is agrees
    if agrees:
        assert (answer.code, answer.out) == (0, f"{name}\n")
        return
    refused(answer, name, format, f"table{right}")
    with refuses(name, format, f"table{right}"):
        lnn.export(swept, name, format=format)


def test_an_ending_of_no_format_takes_the_one_that_is_given(cli, swept):
    cli("export", str(swept), "--format", "latex", "--output", "table.txt")
    assert (cli.folder / "table.txt").read_text().startswith(r"\begin{tabular}")


READERS = {
    "report": ["report"], "export": ["export"], "plot": ["plot"], "compare": ["compare", "other"]
}  # fmt: skip


@pytest.fixture
def unfinished(cli, swept):
    """The folder of a run that has saved nothing yet, and a finished run beside it."""
    (point,) = {str(name) for name in lnn.collect(swept).point.values[1:2]}
    shutil.copytree(swept / "points" / point, cli.folder / "other")
    shutil.copytree(swept / "points" / point, cli.folder / "run")
    (cli.folder / "run/summary.json").unlink()
    (cli.folder / "run/checkpoint").mkdir()
    return cli.folder / "run"


@pytest.mark.parametrize("words", READERS.values(), ids=READERS)
def test_a_run_under_way_is_said_to_be_so(cli, unfinished, words):
    """It was told to be run first. So it is before its configuration is written."""
    with locks.held(unfinished / ".lock"):
        user = f"process {os.getpid()} on "
        refused(cli(*words, "run"), "under way", user, "langevin-nn watch run")
        (unfinished / "config.toml").unlink()
        refused(cli(*words, "run"), "under way", user, "langevin-nn watch run")


@pytest.mark.parametrize("words", READERS.values(), ids=READERS)
def test_a_run_that_was_interrupted_is_gone_on_with(cli, unfinished, words):
    line = "langevin-nn run run/config.toml --output run --resume"
    refused(cli(*words, "run"), "no finished run", line)


@pytest.mark.parametrize("words", [["plot"], ["compare", "other"], ["watch"]])
def test_a_sweep_is_no_run(cli, unfinished, swept, words):
    status = f"langevin-nn sweep --status {swept}"
    report = f"langevin-nn report {swept}"
    refused(cli(*words, str(swept)), status, report, f"{swept}/points/HASH")
    refused(cli(*words, str(swept / "points/absent"), *["--once"] * (words == ["watch"])), status)


def test_a_run_is_no_sweep(cli, unfinished):
    refused(cli("sweep", "--status", "other"), "langevin-nn watch other")


def test_compared_runs_are_printed_and_drawn(cli, swept):
    points = [str(swept / "points" / str(name)) for name in lnn.collect(swept).point.values[1:]]
    answer = cli("compare", *points, "--plot", "both.svg")
    assert answer.code == 0
    compared = lnn.compare_runs(*points)
    assert compared.settings[T] == (0.5, 1.0) and str(compared) in answer.out
    assert (cli.folder / "both.svg").read_bytes().startswith(b"<?xml")
    with untouched():
        refused(cli("compare", points[0]), "two", "RUN_DIR RUN_DIR")
        refused(cli("compare", *points, "nowhere"), "nowhere")
        refused(cli("compare", *points, "--plot", "nowhere/both.svg"), "mkdir -p nowhere")
