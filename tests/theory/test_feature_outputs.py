"""Theories of learned features with several outputs: against exact posteriors and symmetries.

The exact posterior is importance sampling over all hidden weights, or over the read-out of linear
units (`oracles`), in NumPy.
"""

from dataclasses import replace

import numpy as np
import pytest
from cases import deviation, ensemble_of, small_task, toy, two_outputs
from oracles import linear_outputs_by_importance, one_layer_by_importance
from statistics_in_sigmas import SIGMAS

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn.data.dataset import Dataset
from langevin_nn.data.image_files import available
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.runs import run
from langevin_nn.theory import THEORIES, mean_field, multi_output, propagation
from langevin_nn.theory.features.dense_units import draw_dense_units
from langevin_nn.theory.features.outputs import in_blocks, repeated
from langevin_nn.theory.features.response import noise_of, response_of

NAMES = ("mean_field", "cavity", "propagation")
FEW = 2**13
QUANTITIES = ("bias2", "variance", "train_error")


def numbers(result):
    return np.array([getattr(result, name).value for name in QUANTITIES])


# --- what all three share


@pytest.mark.parametrize("name", NAMES)
def test_outputs_may_be_rotated(name):
    """The prior does not know of a basis of the outputs."""
    data, angle = two_outputs(small_task()), 0.7
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rotated = replace(data, y_train=data.y_train @ rotation, y_test=data.y_test @ rotation)
    one, other = (
        THEORIES[name](ensemble_of(each, (20,), biases=True), num_units=FEW)
        for each in (data, rotated)
    )
    assert one.converged and other.converged
    np.testing.assert_allclose(one.predictive_mean @ rotation, other.predictive_mean, atol=1e-5)
    np.testing.assert_allclose(numbers(one), numbers(other), rtol=1e-5)
    if name != "cavity":
        np.testing.assert_allclose(one.log_evidence, other.log_evidence, atol=1e-4)
    both = one.predictive_variance.sum(axis=1), other.predictive_variance.sum(axis=1)
    np.testing.assert_allclose(*both, rtol=1e-5)
    assert deviation(one, other) > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_an_output_without_a_target_takes_part(name):
    """Its mean is zero; the units turn to the others, but it holds them as well."""
    data = small_task()
    y, y_test = (np.stack([each, 0 * each], axis=1) for each in (data.y_train, data.y_test))
    both = replace(data, y_train=y, y_test=y_test)
    alone, result = (
        THEORIES[name](ensemble_of(each, (12,)), num_units=FEW) for each in (data, both)
    )
    assert np.max(np.abs(result.predictive_mean[:, 1])) < 1e-6
    off = np.max(np.abs(result.predictive_mean[:, 0] - alone.predictive_mean))
    assert off < 1e-6 if name == "mean_field" else off > 1e-3


# Examples, width, temperature; by how much mean, variance (relative) and evidence of `propagation`
# are off at most, over eight draws of the data.
SMALL = [
    (2, 20, 0.1, 0.004, 0.006, 0.02),
    (4, 10, 0.3, 0.005, 0.012, 0.035),
    (8, 8, 0.5, 0.008, 0.016, 0.035),
    (10, 40, 0.3, 0.002, 0.004, 0.015),
]


@pytest.mark.slow_except("4-10-0.3-0.005-0.012-0.035")
@pytest.mark.parametrize("num_train, width, temperature, off, relative, of_evidence", SMALL)
def test_propagation_against_the_exact_posterior(
    num_train, width, temperature, off, relative, of_evidence
):
    """And nearer to it than `multi_output`, mean and variance together."""
    data = two_outputs(small_task(num_train=num_train))
    exact = one_layer_by_importance(data, width, (1.0, 1.0), temperature, draws=40_000, seed=1)
    ensemble = ensemble_of(data, (width,), temperature=temperature)
    result, other = propagation(ensemble), multi_output(ensemble)
    assert result.converged
    distances = np.zeros(2)
    for what, margin in (("mean", off), ("variance", relative * exact["variance"])):
        distance, beside = (
            np.abs(getattr(each, f"predictive_{what}") - exact[what]) for each in (result, other)
        )
        assert np.all(distance < SIGMAS * exact[f"{what}_error"] + margin), what
        distances += np.max(distance), np.max(beside)
    assert distances[0] < distances[1]
    distance = abs(result.log_evidence - exact["log_evidence"])
    assert distance < SIGMAS * exact["log_evidence_error"] + of_evidence


def richly(width, g):
    """Two examples with two labels of order √N_1, and a test input between them."""
    x = np.array([[1.2, 0.3, -0.5], [-0.4, 1.0, 0.8], [0.6, 0.9, -0.3]])
    y = np.sqrt(width) * g * np.array([[1.0, 0.4], [-0.7, 0.5]])
    return Dataset("rich", x[:2], y, x[2:], np.zeros((1, 2)))


@pytest.mark.slow_except("20-0.6-0.025")
@pytest.mark.parametrize("width, g, off", [(20, 0.4, 0.02), (20, 0.6, 0.025), (80, 0.35, 0.008)])
def test_mean_field_at_labels_of_the_order_of_the_root_of_the_width(width, g, off):
    data = richly(width, g)
    exact = one_layer_by_importance(data, width, (1.0, 1.0), 0.1, draws=60_000, seed=1)
    ensemble = ensemble_of(data, (width,))
    result, other = mean_field(ensemble), multi_output(ensemble)
    assert result.converged and exact["effective"] > 10_000
    for what, margin in (("mean", off), ("variance", 0.045 * exact["variance"])):
        distance, beside = (
            np.abs(getattr(each, f"predictive_{what}") - exact[what]) for each in (result, other)
        )
        assert np.all(distance < SIGMAS * exact[f"{what}_error"] + margin), what
        assert np.max(distance) < np.max(beside)
    distance = abs(result.log_evidence - exact["log_evidence"])
    assert distance < SIGMAS * exact["log_evidence_error"] + 0.05


@pytest.mark.slow_except("cavity-200-0.3-None")
@pytest.mark.parametrize(
    "name, width, percent, of_evidence",
    [("cavity", 200, 0.3, None), ("propagation", 200, 0.15, 0.02)],
)
def test_linear_units_against_the_exact_average_over_wishart_matrices(
    name, width, percent, of_evidence
):
    data = two_outputs(toy())
    exact = linear_outputs_by_importance(data, width, (1.0, 1.0), 0.1, draws=4_000, seed=2)
    result = THEORIES[name](ensemble_of(data, (width,), activation="identity"))
    assert result.converged
    for what in ("mean", "variance"):
        distance = np.abs(getattr(result, f"predictive_{what}") - exact[what])
        size = percent / 100 * np.max(np.abs(exact[what]))
        assert np.all(distance < SIGMAS * exact[f"{what}_error"] + size), what
    if of_evidence is not None:
        distance = abs(result.log_evidence - exact["log_evidence"])
        assert distance < SIGMAS * exact["log_evidence_error"] + of_evidence


# --- the response of a unit


def test_a_units_response_to_a_field_of_several_outputs():
    """Written out with determinants and inverses, unit by unit."""
    data, width, rng = two_outputs(small_task()), 7, np.random.default_rng(1)
    units = draw_dense_units(ensemble_of(data, (width,)), 64)
    size = data.num_train
    root = np.tril(rng.normal(size=(2 * size, 2 * size))) + 3 * np.eye(2 * size)
    covariance = np.linalg.inv(root @ root.T)
    q = units.quadratic_form(root) / width
    blocks = covariance.reshape(2, size, 2, size)
    expected = np.einsum("np,dpeq,nq->nde", units.features, blocks, units.features) / width
    np.testing.assert_allclose(q, expected, atol=1e-12)
    u = rng.normal(size=(64, 2))
    found = response_of(20 * q, u, width)
    stiff = np.eye(2) + 20 * q
    s = np.linalg.solve(stiff, u[..., None])[..., 0]
    logs = -0.5 * np.linalg.slogdet(stiff)[1] + 0.5 * np.sum(u * s, axis=1) / width
    weights = np.exp(logs) / np.exp(logs).sum()
    np.testing.assert_allclose(found.weights, weights, rtol=1e-12)
    np.testing.assert_allclose(found.log_normaliser, np.log(np.mean(np.exp(logs))), rtol=1e-12)
    inverse = weights[:, None, None] * np.linalg.inv(stiff)
    np.testing.assert_allclose(found.linear, inverse, atol=1e-14)
    outer = weights[:, None, None] * s[:, :, None] * s[:, None, :] / width
    np.testing.assert_allclose(found.square, outer, atol=1e-14)
    a = rng.normal(size=2 * size)
    outer = in_blocks(2, lambda i, j: units.second_moment(inverse[:, i, j], inverse[:, i, j].sum()))
    np.testing.assert_allclose(found.along(units, a), outer @ a, atol=1e-12)
    noise = repeated(noise_of(units, 0.5), 2)
    assert noise.shape == (2 * size, 2 * size) and np.all(noise[:size, size:] == 0)


# --- three classes


@pytest.mark.slow
@pytest.mark.skipif(
    not any(source.name == "mnist" and source.present for source in available()),
    reason="MNIST is not there",
)
def test_three_classes_of_mnist_against_the_exact_sampler():
    values = {
        "data": {"source": "mnist", "classes": [0, 1, 2], "targets": "one_hot", "num_train": 30,
                 "num_test": 100},
        "network": {"hidden_widths": [30], "activation": "erf"},
        "posterior": {"temperature": 0.1, "readout": "marginalised"},
        "sampler": {"dynamics": "split", "num_chains": 8, "num_samples": 1500},
        "theory": [],
    }  # fmt: skip
    problem = run.prepare(configuration.from_dict(values))
    found = lnn.summarise(run.sample_problem(problem))
    ensemble = Ensemble(problem.posterior.spec, problem.posterior.ensemble.data)
    for name, percent in (("propagation", 0.6), ("cavity", 1.8)):
        result = THEORIES[name](ensemble)
        assert result.converged
        for quantity in ("bias2", "variance"):
            measured, value = getattr(found, quantity), getattr(result, quantity).value
            assert measured.mcse < 0.01 * measured.value
            distance = abs(value - measured.value)
            assert distance < SIGMAS * measured.mcse + percent / 100 * value, (name, quantity)
