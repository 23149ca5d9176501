"""What `langevin-nn theory` says: the criterion, null for what is not a number, T = 0."""

import json
from dataclasses import replace

import numpy as np
import pytest
from command_line import CommandLine
from refusals import refused

from langevin_nn.analysis.comparison import compare
from langevin_nn.config.record import from_dict
from langevin_nn.runs import run, tables
from langevin_nn.runs.summary import theory_part
from langevin_nn.theory import THEORIES, Solution, evidence_maximum, infinite_width, predict
from langevin_nn.theory.regression.moments import not_found


def prepared(temperature, **sampler):
    """Linear regression's task for a linear network of more examples than inputs."""
    return run.prepare_theory(
        from_dict(
            {
                "data": {"source": "teacher_linear", "num_train": 12, "num_test": 3, "in_size": 4},
                "network": {"hidden_widths": [20], "activation": "identity"},
                "posterior": {"temperature": temperature},
                "sampler": sampler,
            }
        )
    )


def test_zero_temperature_with_a_ladder():  # FAULTS 3.8
    config, ensemble = prepared(0.0, ladder=[0.1, 0.5])
    assert ensemble.spec.temperature == config.posterior.temperature == 0
    assert config.sampler.ladder == (0.1, 0.5)
    assert predict(ensemble, ["one_layer"]).results["one_layer"].converged


def test_a_training_error_of_rounding_is_zero_in_the_table_alone():
    """At T = 0, where the network fits all examples; not at a low temperature."""
    config = from_dict(
        {
            "data": {"source": "teacher_linear", "num_train": 5, "num_test": 4, "in_size": 3},
            "network": {"hidden_widths": [3]},
        }
    )
    errors = {}
    for temperature in (0.0, 1e-12):
        posterior = replace(config.posterior, temperature=temperature)
        _, ensemble = run.prepare_theory(replace(config, posterior=posterior))
        predictions = predict(ensemble, ["scale_mixture", "width_expansion"])
        column = predictions.table.header.index("training error")
        cells = [row[column] for row in predictions.table.rows]
        errors[temperature] = [result.train_error.value for result in predictions.results.values()]
        assert [cell == "0" for cell in cells] == [temperature == 0] * 2
    assert all(0 < abs(value) < 1e-15 for value in errors[0.0]), "as they are in files"


def failing(ensemble):
    raise np.linalg.LinAlgError("Singular matrix")


def test_what_is_not_a_number_is_null(monkeypatch):  # FAULTS 1.2
    monkeypatch.setitem(THEORIES, "global", failing)
    _, ensemble = prepared(0.0)
    predictions = predict(ensemble, ["one_layer", "global"])
    part = json.loads(json.dumps(run.theory_json(ensemble, predictions), allow_nan=False))
    assert part["theory"]["one_layer"]["converged"]
    assert part["theory"]["one_layer"]["log_evidence"] is None  # at T = 0 there is none
    failed = part["theory"]["global"]
    assert failed["predictive_mean"] == [None] * 3 and failed["test_accuracy"] is None
    assert (
        "global: not found, the calculation failed: LinAlgError: Singular matrix"
        in tables.remarks(predictions)
    )


@pytest.mark.parametrize("words", [[], ["--json"]], ids=["table", "json"])
def test_theories_that_failed_are_said(words, tmp_path, capsys, monkeypatch):
    """In words, and with a code where there is no other; it was nan (+nanσ), and 0."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(THEORIES, "global", failing)
    monkeypatch.setitem(THEORIES, "nested", failing)
    cli = CommandLine(tmp_path, capsys)
    answer = cli("theory", "tiny.toml", *words, "--theory", "global", "nested")
    why = "not found, the calculation failed: LinAlgError: Singular matrix"
    assert answer.code == 1
    assert answer.err == f"langevin-nn: no theory has a result (global: {why}; nested: {why})\n"
    assert "nan" not in answer.out.lower()
    if not words:
        line = next(line for line in answer.out.splitlines() if line.startswith("global  "))
        assert line.split("  ")[-1].strip() == "not found" and line.count("not found") == 5
    answer = cli("theory", "tiny.toml", *words, "--theory", "global", "infinite_width")
    assert (answer.code, answer.err) == (0, "")


def test_a_theory_that_failed_beside_an_experiment():
    _, ensemble = prepared(0.1)
    measured, failed = infinite_width(ensemble), not_found("mine", ensemble.data, "no minimum")
    line = str(compare(measured, failed)).splitlines()[-1]
    assert line.startswith("mine  ") and line.count("not found") == 5 and "nan" not in line


@pytest.mark.parametrize("temperature", [0.0, 0.1])
def test_the_criterion_is_printed_for_the_temperature_of_the_run(temperature):  # FAULTS 2.2
    _, ensemble = prepared(temperature)
    predictions = predict(ensemble, ["one_layer"])
    line = tables.remarks(predictions)[0]
    assert line.startswith("criterion  s = yᵀK⁻¹y/P does not exist (the Gram matrix is singular")
    ratio = predictions.criterion_at_temperature
    above = predictions.results["one_layer"].order_parameters[0] > 1
    assert (ratio > 1) is above
    assert f"tr A⁻¹K = {ratio:.4g} at T = {temperature:g}" in line
    assert ("Q* > 1: more variance" if above else "Q* < 1: less variance") in line
    assert theory_part(predictions)["criterion_at_temperature"] == ratio


def test_the_criterion_decides_nothing_for_several_outputs():
    """FAULTS 2.2: there the variance falls although the criterion is above 1."""
    words = {
        "seed": 1, "network": {"hidden_widths": [10]}, "prior": {"precisions": [1.0, 3.0]},
        "posterior": {"temperature": 0.1},
        "data": {"classes": [0, 1, 2], "targets": "centred", "num_train": 20, "num_test": 20},
    }  # fmt: skip
    _, ensemble = run.prepare_theory(from_dict(words))
    predictions = predict(ensemble, ["infinite_width", "multi_output"])
    assert predictions.criterion_at_temperature > 1
    wide, narrow = (predictions.results[name] for name in ("infinite_width", "multi_output"))
    assert narrow.converged and narrow.variance.value < wide.variance.value
    line = tables.remarks(predictions)[0]
    assert "at T = 0.1  (decides for theories of one common scale; none is here)" in line


def test_the_criterion_does_not_decide_among_several_minima():
    _, ensemble = prepared(0.1)
    predictions = predict(ensemble, ["one_layer"])
    other = 0.5 if predictions.criterion_at_temperature > 1 else 2.0
    elsewhere = replace(predictions.results["one_layer"], order_parameters=(other,))
    said = tables.remarks(replace(predictions, solutions={"one_layer": Solution(elsewhere)}))[0]
    assert "decides where S has one minimum; here it has several" in said


@pytest.mark.parametrize("rounding", [-1e-12, 0.0, 1e-12])
def test_the_criterion_at_one_says_neither_more_nor_less(rounding):
    """At a maximum of infinite width's evidence in λ_L it is 1, to rounding."""
    predictions = replace(
        predict(prepared(0.1)[1], ["one_layer"]), criterion_at_temperature=1 + rounding
    )
    line = tables.remarks(predictions)[0]
    assert "Q* = 1" in line and "less" not in line and "more" not in line


def test_the_largest_evidence_is_that_of_the_options_it_ends_in(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(tmp_path, capsys)
    fields = ["prior.precisions[-1]", "posterior.temperature"]
    noisy = ["--data.noise_variance", "0.5", "--data.num_train", "12", "--theory", "one_layer"]
    words = ["theory", *noisy, "--maximise-evidence", *fields, "tiny.toml"]
    answer, text = cli(*words, "--json"), cli(*words)
    assert (answer.code, answer.err, text.code, text.err) == (0, "", 0, "")
    told = json.loads(answer.out)
    found = told["evidence_maximum"]
    assert found["theory"] == "one_layer" and [*found["values"]] == fields and found["converged"]
    assert found["initial_values"] == dict(zip(fields, [1.0, 0.5], strict=True))
    before = json.loads(cli("theory", "tiny.toml", *noisy, "--json").out)["theory"]["one_layer"]
    assert found["initial_log_evidence"] == before["log_evidence"] < found["log_evidence"]
    line = next(line for line in text.out.splitlines() if line.startswith("as options: "))
    there = cli("theory", "tiny.toml", *noisy, "--json", *line.split()[2:])
    evidence = told["theory"]["one_layer"]["log_evidence"]
    assert there.code == 0 and found["log_evidence"] == pytest.approx(evidence, abs=1e-9)
    del told["evidence_maximum"]
    assert json.loads(there.out) == told
    assert f"{found['log_evidence']:.6g}" in text.out
    assert " maximum\n" in text.out and "bound" not in text.out


def test_the_largest_evidence_at_a_richness_has_the_values_that_are_given(
    tmp_path, capsys, monkeypatch
):
    """Those of the options; N_L γ² = 12 times, or as much smaller than, those of no richness."""
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(tmp_path, capsys)
    fields = ["prior.precisions[-1]", "posterior.temperature"]
    words = "theory tiny.toml --data.noise_variance 0.5 --data.num_train 12 --theory one_layer"
    words = words.split()
    rich = [*words, "--posterior.richness", "2"]
    search = ["--maximise-evidence", *fields]
    told = json.loads(cli(*rich, *search, "--json").out)
    found, other = (
        json.loads(cli(*start, *search, "--json").out)["evidence_maximum"]
        for start in (rich, words)
    )
    assert found["log_evidence"] == pytest.approx(other["log_evidence"], abs=1e-4)
    precision, temperature = (found["values"][name] / other["values"][name] for name in fields)
    assert (precision, temperature) == pytest.approx((1 / 12, 12), rel=0.02)
    assert found["initial_values"] == pytest.approx(dict(zip(fields, [1.0, 0.5], strict=True)))
    (line,) = (x for x in cli(*rich, *search).out.splitlines() if x.startswith("as options: "))
    there = json.loads(cli(*rich, "--json", *line.split()[2:]).out)
    evidence = there["theory"]["one_layer"]["log_evidence"]
    assert found["log_evidence"] == pytest.approx(evidence, abs=1e-9)
    del told["evidence_maximum"]
    scaling = there["standard_scaling"]
    assert scaling["temperature"] == pytest.approx(found["values"][fields[1]] / 12)
    assert scaling["prior_precisions"][-1] == pytest.approx(found["values"][fields[0]] * 12)
    assert there["theory"]["one_layer"]["log_evidence_gradient"]["temperature"] == pytest.approx(
        0, abs=1e-2
    )


@pytest.mark.parametrize("words", [[], ["--json"]], ids=["table", "json"])
def test_a_value_at_a_bound_is_no_maximum(words, tmp_path, capsys, monkeypatch):
    """It was headed so, and ended in 0. Without noise no temperature is too low."""
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(tmp_path, capsys)
    words = [*words, "--theory", "infinite_width", "--maximise-evidence", "posterior.temperature"]
    answer = cli("theory", "tiny.toml", *words)
    why = "no maximum between the bounds: log p still grows at posterior.temperature = 1e-06"
    assert (answer.code, answer.err) == (1, f"langevin-nn: --maximise-evidence: {why}\n")
    if "--json" in words:
        assert json.loads(answer.out)["evidence_maximum"]["at_bounds"] == ["posterior.temperature"]
        return
    _, heading, _, line, *_ = answer.out.splitlines()
    assert heading.split("  ")[-1].strip() == "largest found" and "maximum" not in heading
    assert line.startswith("posterior.temperature") and line.endswith("1e-06 (at a bound)")


@pytest.mark.slow
def test_a_maximum_that_is_not_there(tmp_path, capsys, monkeypatch):
    """At a bound, and where no slope ends: both are said, and the code says it as well."""
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(tmp_path, capsys)
    words = ["theory", "tiny.toml", "--theory", "infinite_width", "--maximise-evidence"]
    noisy = ["--data.noise_variance", "0.5", "--data.num_train", "30"]
    answer = cli(*words, "prior.precisions", "posterior.temperature", *noisy)
    assert answer.code == 1 and "prior.precisions[0] = 1e+06" in answer.err
    monkeypatch.setattr(evidence_maximum, "GRADIENT_TOLERANCE", 1e-30)
    answer = cli(*words, "posterior.temperature", *noisy)
    assert answer.code == 1 and "no maximum was found" in answer.err
    refused(cli(*words, "posterior.temperatur"), "posterior.temperature")
