"""A theory of one's own whose numbers cannot be right says so in its row, or is refused."""

import dataclasses

import numpy as np
import pytest
from cases import ensemble_of, toy
from refusals import refuses

import langevin_nn as lnn
from langevin_nn.theory import THEORIES, infinite_width
from langevin_nn.theory.base import Solution, Theory
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


def test_a_theory_itself_is_no_name():
    own = changed()
    with refuses("own", 'THEORIES["own"]', '"module:own"'):
        predict(ENSEMBLE, (own,))
    with refuses("infinite_width", '"infinite_width"'):
        predict(ENSEMBLE, [infinite_width])
