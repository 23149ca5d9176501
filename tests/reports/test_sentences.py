"""The sentences at the top of a page, from numbers made for each clause: who is named, with what.

A word is a theory's name or a number; how a sentence says it is not tested.
"""

import dataclasses
import math
import re

import numpy as np
import pytest
import xarray as xr

from langevin_nn.reports.expectations import of_theories
from langevin_nn.reports.sentences import of_grid, of_run
from langevin_nn.types import Diagnostics, Estimate, Generalisation, StepSizeBias

NAN = math.nan
SETTLED = Diagnostics({}, {}, 1.0063, 1125.0, 4, 500, 0)


def result(name, bias2, variance, *, mcse=0.0, converged=True, message="", **others):
    numbers = [Estimate(value, mcse) for value in (bias2, variance, bias2 + variance, 0.1, 1.0)]
    flat = np.zeros(2)
    state = {"converged": converged, "message": message, **others}
    return Generalisation(name, flat, flat, *numbers, **state)


def experiment(bias2=0.5, variance=1.0, mcse=0.01, **others):
    return result("experiment", bias2, variance, mcse=mcse, diagnostics=SETTLED, **others)


def about(sentences, name):
    """The one sentence with this name or number in it."""
    (sentence,) = [
        text for text in sentences if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w])", text)
    ]
    return sentence


def test_theories_that_agree_are_in_one_sentence_and_the_first():
    """z of at most 2 agrees; 11 % of the variance is eleven standard errors."""
    found = of_run(
        experiment(),
        [result("far", 0.5, 1.11), result("near", 0.51, 1.019), result("exact", 0.5, 1.0)],
    )
    assert "near and exact" in found[0] and not re.search(r"\d", found[0])
    assert "bias²" in found[0] and "variance" in found[0]
    assert "2.5σ" in about(of_run(experiment(), [result("close", 0.5, 1.025)]), "close")
    far = about(found, "far")
    assert "11 % too large in the variance (11σ)" in far and "bias²" in far.partition(", and")[0]
    assert about(found, "1.0063") == about(found, "1125") == found[-1]
    assert about(found, "2 %"), "a standard error of the bias² is 2 % of it"


@pytest.mark.parametrize(
    ("expected", "amount"),
    [(0.8, "20 % too small"), (0.0, "100 % too small"), (2.5, "150 % too large")],
)
def test_too_large_or_too_small(expected, amount):
    (sentence,) = [s for s in of_run(experiment(), [result("theory", 0.5, expected)]) if "too" in s]
    assert amount in sentence


def test_an_expansion_that_is_negative_does_not_agree():
    """Not even where its number is within two standard errors."""
    sentence = about(of_run(experiment(variance=0.01, mcse=0.1), [result("e", 0.5, -0.05)]), "e")
    assert "negative in the variance" in sentence
    assert "variance" not in sentence.partition(", and")[0]


def test_an_experiment_below_zero_is_compared_in_errors():
    """The corrected bias² may be: there is no per cent of it."""
    found = of_run(experiment(bias2=-0.002), [result("theory", 0.05, 1.0)])
    assert "5.2σ" in about(found, "theory") and "%" not in about(found, "theory")
    assert "bias²" not in about(found, "1 %")


@pytest.mark.parametrize("error", [0.0, NAN])
def test_without_a_standard_error(error):
    """What nothing is known about does not agree, but where it is the same number."""
    found = of_run(experiment(mcse=error), [result("theory", 0.5, 1.1)])
    assert "10 % too large in the variance" in about(found, "theory")
    assert "σ" not in about(found, "theory") and len(found) == 2, "and nothing on a standard error"


def test_who_has_not_converged_is_named_and_not_compared():
    found = of_run(
        experiment(),
        [result("good", 0.5, 1.0), result("bad", 0.5, 1.0, converged=False, message="no"),
         result("empty", NAN, NAN)],
    )  # fmt: skip
    assert "good" in found[0] and about(found, "bad") == about(found, "empty") != found[0]


def test_one_number_that_a_theory_lacks():
    sentence = of_run(experiment(), [result("half", 0.5, NAN)])[0]
    assert "half" in sentence and "bias²" in sentence and "variance" not in sentence


def test_a_run_that_has_not_converged_says_so_first():
    unsettled = {"converged": False, "message": "R̂ = 1.9 is not below 1.01"}
    found = of_run(experiment(**unsettled), [result("theory", 0.5, 1.0)])
    assert "NOT CONVERGED" in found[0] and "1.9" in found[0]
    assert len(found) == 2 and "preliminary" in found[1]
    (of_sweep,) = of_grid(sweep(1.0, converged=False), PLACES)
    assert of_sweep.endswith(found[1]), "by one rule"
    assert "none is made" not in of_sweep, "the tables make them"
    failed = result("bad", 0.5, 1.0, converged=False)
    assert "bad" in of_run(experiment(**unsettled), [failed])[1]
    assert len(of_run(experiment(**unsettled), [])) == 1, "there is nothing preliminary"


def with_train_error(name, train_error, *, bias2=0.5, mcse=0.0, **others):
    found = experiment(**others) if name == "experiment" else result(name, bias2, 1.0, **others)
    return dataclasses.replace(found, train_error=Estimate(train_error, mcse))


@pytest.mark.parametrize(
    ("train_error", "bias2", "sigmas"),
    [(0.125, 0.5, "5σ"), (0.115, 0.5, "3σ"), (0.1151, 0.5, "3.02σ"), (0.125, 0.56, None)],
)
def test_a_disagreement_that_bias_and_variance_hide_is_named(train_error, bias2, sigmas):
    """Beside 0.1 ± 0.005: above three standard errors, and further off than in what is said."""
    measured = with_train_error("experiment", 0.1, mcse=0.005)
    theory = with_train_error("theory", train_error, bias2=bias2)
    further = [text for text in of_run(measured, [theory]) if "training error" in text]
    assert len(further) == (sigmas not in ("3σ", None))
    if further:
        assert "theory" in further[0] and f"({sigmas})" in further[0]
        assert of_run(measured, [theory]).index(further[0]) == 1, "right after what it corrects"


def test_rounding_of_a_training_error_without_an_error_hides_nothing():
    measured, theory = (with_train_error(name, 1e-33) for name in ("experiment", "theory"))
    theory = dataclasses.replace(theory, train_error=Estimate(2e-33))
    assert not [text for text in of_run(measured, [theory]) if "training error" in text]


def test_without_theories_there_is_convergence_alone():
    assert of_run(experiment(), []) == [about(of_run(experiment(), []), "1125")]
    assert of_run(result("experiment", 0.5, 1.0), []) == []


def test_numbers_that_the_step_size_shifts():
    def shifted(bias2, variance, error=0.001):
        shifts = [Estimate(value, value and error) for value in (bias2, variance)]
        bias = StepSizeBias(*shifts, generalisation_error=Estimate(0.0), train_error=Estimate(0.0))
        return of_run(experiment(step_size_bias=bias), [])[:-1]

    (marked,) = shifted(0.0, 0.02)
    assert "†" in marked and "variance" in marked and "bias²" not in marked
    (marked,) = shifted(NAN, 0.0)
    assert "‡" in marked and "bias²" in marked and "variance" not in marked
    assert not shifted(0.005, 0.005)
    (unresolved,) = shifted(0.005, 0.02, error=0.015)
    assert "variance" in unresolved and "†" not in unresolved and "bias²" not in unresolved


# --- grids


PLACES = [f"λ_L = {value}" for value in (1, 2, 3, 4)]


def sweep(expected, *, measured=1.0, error=0.01, converged=True, status="done", **others):
    """A sweep over four points, with one theory's number of bias² and variance at each."""
    shape = (4,)
    own = {"converged": converged, "status": status}
    for key in ("bias2", "variance"):
        own |= {key: measured, f"{key}_mcse": error}
        own |= {f"{key}_step_size_shift": 0.0, f"{key}_step_size_shift_mcse": 0.0}
    for key in ("generalisation_error", "train_error"):
        own |= {key: 1.0, f"{key}_mcse": error}
    own |= {key: value for key, value in others.items() if key in own}
    theory = {"theory_converged": others.get("settled", True)}
    for key in ("bias2", "variance"):
        theory |= {f"theory_{key}": others.get(f"theory_{key}", expected)}
        theory |= {f"theory_{key}_mcse": 0.0}
    variables = {key: ("x", np.broadcast_to(value, shape)) for key, value in own.items()}
    variables |= {
        key: (("x", "theory"), np.broadcast_to(value, shape)[:, None])
        for key, value in theory.items()
    }
    return xr.Dataset(variables, coords={"theory": ["theory"]})


def counted(sentence):
    """The words behind each "at": how many points, and at last the worst one."""
    return re.findall(r"at ((?:all )?\d+|none)(?: of (\d))?\b", sentence)


def test_counts_and_the_worst_point():
    """Beside 1 ± 0.01: z = 1, 0, −4, −10 in the variance, all exact in the bias²."""
    (sentence,) = of_grid(sweep(1.0, theory_variance=[0.99, 1.0, 1.04, 1 / 0.9]), PLACES)
    assert counted(sentence) == [("all 4", ""), ("all 4", ""), ("2", ""), ("3", "")]
    assert "4 points" in sentence and "λ_L = 4" in sentence
    assert sentence.rstrip(".").endswith("the variance is 11 % too large")


def test_points_that_have_not_converged_come_first_and_do_not_count():
    converged = [True, True, False, True]
    first, sentence = of_grid(sweep([1.0, 1.0, 5.0, 1.0], converged=converged), PLACES)
    assert "NOT CONVERGED" in first and "1 point" in first and "preliminary" in first
    assert "3 points" in sentence and "λ_L" not in sentence, "nothing deviates"


def test_where_nothing_has_converged_no_theory_is_judged():
    (first,) = of_grid(sweep(1.0, converged=False), PLACES)
    assert "NOT CONVERGED" in first and "4 points" in first


@pytest.mark.parametrize("status", ["failed", "missing", "theory"])
def test_nothing_was_measured(status):
    """All diverged, not begun, or not sampled: there is nothing to say."""
    assert of_grid(sweep(1.0, measured=NAN, converged=False, status=status), PLACES) == []


def test_no_theory():
    results = sweep(1.0).isel(theory=[])
    results["theory_converged"] = results["theory_converged"].astype(float)  # as of a folder
    assert of_grid(results, PLACES) == []


def test_a_disagreement_that_a_sweep_would_hide_is_named():
    """z of the training error 0, 5, 12 and, not converged, 50, beside 1 ± 0.01."""
    results = sweep(1.0, converged=[True, True, True, False]).assign(
        theory_train_error=(("x", "theory"), np.array([[1.0], [1.05], [1.12], [1.5]])),
        theory_train_error_mcse=(("x", "theory"), np.zeros((4, 1))),
    )
    (further,) = [text for text in of_grid(results, PLACES) if "training error" in text]
    assert "theory" in further and "2 points" in further and "12σ" in further
    assert "λ_L = 3" in further
    agreeing = results.assign(theory_train_error=results.theory_train_error * 0 + 1.02)
    assert not [text for text in of_grid(agreeing, PLACES) if "training error" in text]


def test_a_theory_that_has_converged_at_some_points():
    settled = [True, False, True, True]
    sentence, missing = of_grid(sweep(1.0, settled=settled), PLACES)
    assert "3 points" in sentence and "1 of the 4 points" in missing
    (nowhere,) = of_grid(sweep(1.0, settled=False), PLACES)
    assert "theory" in nowhere and "4 of the 4 points" in nowhere and "within" not in nowhere


def test_an_expansion_that_is_negative_at_a_point():
    """It is said, and not counted as close; what remains is called by its number."""
    sentence, negative = of_grid(sweep(1.0, theory_variance=[1.0, -1.0, 1.0, 1.0]), PLACES)
    assert counted(sentence)[2:] == [("3", ""), ("all 3", "")]
    assert "variance" in negative and "1 point" in negative


def test_no_standard_errors_no_count_of_them():
    (sentence,) = of_grid(sweep(1.02, error=0.0), PLACES)
    assert counted(sentence) == [("all 4", ""), ("all 4", "")] and "5 %" in sentence
    assert "standard error" not in sentence


def test_theories_that_agree_at_more_points_come_first():
    close = sweep(1.0).assign_coords(theory=["close"])
    two = xr.concat([sweep(1.2), close], "theory", data_vars="minimal")
    first, second = of_grid(two, PLACES)
    assert first.startswith("close") and "17 %" not in first and "20 % too large" in second


def test_points_that_the_step_size_shifts():
    found = of_grid(sweep(1.0, variance_step_size_shift=[0.0, 0.5, 0.5, 0.005]), PLACES)
    assert "†" in found[-1] and "2 points" in found[-1] and len(found) == 2
    converged = [True, False, True, True]
    found = of_grid(sweep(1.0, variance_step_size_shift=0.5, converged=converged), PLACES)
    assert "†" in found[-1] and "3 points" in found[-1], "what has not converged is not counted"
    found = of_grid(sweep(1.0, bias2_step_size_shift=[NAN, 0.0, 0.0, 0.0]), PLACES)
    assert "‡" in found[-1] and "1 point" in found[-1] and "bias²" in found[-1]
    shift = {"variance_step_size_shift": [0.5, -0.5, 0.5, 0.005]}
    errors = {"variance_step_size_shift_mcse": [0.4, 0.4, 0.1, 0.4]}
    marked, unresolved = of_grid(sweep(1.0, **shift, **errors), PLACES)[1:]
    assert "†" in marked and "1 point" in marked
    assert "†" not in unresolved and "2 points" in unresolved


# --- grids that are not sampled


def expected(**theories):
    """The theories of a grid over four points, each with its bias² and variance, none measured."""
    names = list(theories)
    variables = {"status": ("x", ["theory"] * 4)}
    for key, place in (("bias2", 0), ("variance", 1)):
        numbers = [np.broadcast_to(theories[name][place], 4) for name in names]
        variables[f"theory_{key}"] = (("x", "theory"), np.array(numbers, float).T)
    variables["theory_converged"] = (("x", "theory"), np.ones((4, len(names)), bool))
    return xr.Dataset(variables, coords={"theory": names})


def test_theories_alone_are_held_against_infinite_width():
    """The largest deviation in size, its sign, and where; a negative variance besides."""
    far = ([1.0, 0.9, 1.05, 1.0], [2.0, 2.0, -1.0, 2.5])
    results = expected(infinite_width=(1.0, 2.0), far=far, same=(1.0, 2.0))
    first, negative, same = of_theories(results, PLACES)
    assert first.startswith("far differs from infinite_width") and "4 points" in first
    assert "−10.0 % at most in bias² (λ_L = 2)" in first
    assert "−150.0 % at most in the variance (λ_L = 3)" in first
    assert "negative in the variance at 1 point" in negative and "%" not in same


def test_points_without_a_converged_number_do_not_count():
    results = expected(infinite_width=(1.0, 2.0), one_layer=([1.1, 1.2, 9.0, 1.0], 2.0))
    results["theory_converged"][2, 1] = False
    (sentence,) = of_theories(results, PLACES)
    assert "3 points" in sentence and "+20.0 % at most in bias² (λ_L = 2)" in sentence
    results["theory_converged"][:] = False
    assert of_theories(results, PLACES) == []


def test_without_infinite_width_theories_have_their_ranges():
    (sentence,) = of_theories(expected(one_layer=([0.3, 0.1, 0.2, 0.2], 0.5)), PLACES)
    assert "bias² from 0.1 (λ_L = 2) to 0.3 (λ_L = 1)" in sentence and "variance 0.5" in sentence
