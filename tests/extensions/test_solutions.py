"""A theory of one's own whose numbers cannot be right says so in its row, or is refused."""

import dataclasses
from functools import partial

import numpy as np
import pytest
from cases import ensemble_of, toy
from refusals import refuses, says

import langevin_nn as lnn
from langevin_nn.theory import THEORIES, gram_regression, infinite_width
from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.covariance import at_scales
from langevin_nn.theory.suite import predict

ENSEMBLE = ensemble_of(toy())


def changed(**changes):
    """A theory that gives the numbers of infinite width with some of them replaced."""

    def function(ensemble):
        return dataclasses.replace(infinite_width(ensemble), **changes)

    return Theory("own", function)


def one_of(value, number=0.5):
    array = np.full(ENSEMBLE.data.y_test.shape, number)
    array[1] = value
    return array


WRONG = {
    "bias2": lnn.Estimate(np.nan),
    "variance": lnn.Estimate(-1.0),
    "generalisation_error": lnn.Estimate(np.inf),
    "train_error": lnn.Estimate(-0.5),
    "test_accuracy": lnn.Estimate(-0.5),
    "predictive_mean": one_of(np.nan),
    "predictive_variance": one_of(-0.25),
    "log_evidence": np.nan,
}


@pytest.mark.parametrize("name", WRONG)
def test_numbers_that_cannot_be_right_have_not_converged(name, monkeypatch):
    monkeypatch.setitem(THEORIES, "own", changed(**{name: WRONG[name]}))
    result = predict(ENSEMBLE, ["own"]).results["own"]
    assert not result.converged and result.message
    assert predict(ENSEMBLE, ["infinite_width"]).results["infinite_width"].converged


def test_what_is_not_known_is_no_mistake():
    unknown = lnn.Estimate(np.nan)
    assert changed(train_error=unknown, test_accuracy=unknown, log_evidence=None)(
        ENSEMBLE
    ).converged
    negative = changed(
        variance=lnn.Estimate(-1.0),
        predictive_variance=one_of(-1.0, -1.0),
        generalisation_error=lnn.Estimate(infinite_width(ENSEMBLE).bias2.value - 1),
    )
    expansion = dataclasses.replace(negative, is_expansion=True)
    assert expansion(ENSEMBLE).converged, "which is what expansions do"


def test_numbers_of_jax_are_numbers():
    """What is written, summary.json for one, takes Python's."""
    result = changed(log_evidence=np.float64(-3.0), order_parameters=(np.float64(2.0),))(ENSEMBLE)
    assert type(result.log_evidence) is float and type(result.order_parameters[0]) is float


@pytest.mark.parametrize("shape", [(3,), (25, 1), (1,)])
def test_predictions_of_another_shape_are_refused(shape):
    with refuses("own", str(shape), str(ENSEMBLE.data.y_test.shape)):
        changed(predictive_mean=np.ones(shape), predictive_variance=np.ones(shape))(ENSEMBLE)


def test_a_covariance_that_is_none_is_refused(monkeypatch):
    numbers = infinite_width(ENSEMBLE)
    own = _named(monkeypatch, lambda ensemble: Solution(numbers, lambda: 3))
    with refuses("own", "at_scales", "3"):
        lnn.theory.evidence(ENSEMBLE, own)


def _named(monkeypatch, function):
    monkeypatch.setitem(THEORIES, "own", Theory("own", function))
    return "own"


@pytest.mark.parametrize(
    "changes",
    [
        {"bias2": lnn.Estimate(0.123)},
        {"variance": lnn.Estimate(0.123)},
        {"generalisation_error": lnn.Estimate(0.123)},
        {"test_accuracy": lnn.Estimate(1.5)},
        {"order_parameters": (np.nan,)},
        {"predictive_variance": one_of(0.75, 0.75)},
        {"predictive_mean": one_of(3.0)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_numbers_that_contradict_each_other_have_not_converged(changes):
    result = changed(**changes)(ENSEMBLE)
    assert not result.converged and next(iter(changes)).partition("_")[0] in result.message


def test_numbers_in_single_precision_do_not_contradict_each_other():
    exact = infinite_width(ENSEMBLE)
    rounded = {
        name: np.float32(getattr(exact, name)).astype(float)
        for name in ("predictive_mean", "predictive_variance")
    }
    assert changed(**rounded)(ENSEMBLE).converged


def test_a_theory_itself_will_do_beside_names():
    """A `Theory`, a function of an ensemble, and the functions of the package."""
    own = Theory("own", infinite_width)

    def mine(ensemble):
        """Mine."""
        return THEORIES["infinite_width"].solve(ensemble)

    expected = predict(ENSEMBLE, "infinite_width").results["infinite_width"].bias2
    for choice in (own, [own], (mine,), ["infinite_width", own, mine], infinite_width):
        assert {result.bias2 for result in predict(ENSEMBLE, choice).results.values()} == {expected}
    assert list(predict(ENSEMBLE, ["one_layer", own, mine]).results) == ["one_layer", "own", "mine"]
    evidence = lnn.theory.evidence(ENSEMBLE, "infinite_width")
    assert lnn.theory.evidence(ENSEMBLE, mine) == evidence
    assert lnn.theory.evidence(ENSEMBLE, infinite_width) == evidence
    x = ENSEMBLE.data.x_test
    mean = lnn.theory.predictive_distribution(ENSEMBLE, x, theory=mine).mean
    np.testing.assert_array_equal(mean, infinite_width(ENSEMBLE).predictive_mean)
    best = lnn.theory.maximise_evidence(
        ENSEMBLE, "posterior.temperature", theory=Theory("best", mine), num_starts=1
    )
    assert best.theory == "best"


def test_a_theory_with_the_name_of_another_is_refused():
    one, two = Theory("own", infinite_width), Theory("own", lambda ensemble: None)
    with refuses("one_layer", "own_one_layer"):
        predict(ENSEMBLE, Theory("one_layer", infinite_width))
    with refuses("own", "two theories"):
        predict(ENSEMBLE, [one, two])
    for wrong in ([3], [None], Theory):
        with refuses("one_layer", "Theory"):
            predict(ENSEMBLE, wrong)
    with refuses("3", '("one_layer",)'):
        predict(ENSEMBLE, 3)
    with refuses("3", "Theory"):
        lnn.theory.evidence(ENSEMBLE, 3)


def _of_zero():
    return 1 / 0


SOLUTION = THEORIES["infinite_width"].solve(ENSEMBLE)


@pytest.mark.parametrize(
    ("covariance", "words"),
    [
        (_of_zero, ["not found", "ZeroDivisionError", "division by zero"]),
        (lambda: {}["x"], ["not found", "KeyError: 'x'"]),
        (lambda: 3, ["at_scales", "3"]),
    ],
)
def test_a_covariance_that_fails_is_not_found_with_the_reason(covariance, words):
    own = Theory("own", lambda ensemble: dataclasses.replace(SOLUTION, covariance=covariance))
    result = predict(ENSEMBLE, ["one_layer", own]).results["own"]
    assert not result.converged
    says(result.message, *words)


def test_a_covariance_that_the_package_does_not_find_is_no_mistake():
    """Neither numbers beyond float64 in its own functions nor where it says so."""
    outputs = gram_regression(ENSEMBLE).per_output()
    infinite = partial(at_scales, ENSEMBLE, outputs, np.full(len(outputs), np.finfo(float).max))
    with np.errstate(all="raise"), pytest.raises(ArithmeticError):
        infinite()
    for made in (infinite, lambda: infinite(), _unknown):
        own = Theory("own", lambda _, made=made: dataclasses.replace(SOLUTION, covariance=made))
        with np.errstate(all="raise"):
            assert predict(ENSEMBLE, own).results["own"].converged


def _unknown():
    raise lnn.NotApplicable("not known here")
