"""Whole layers of hidden units: against exact posteriors, within their own standard errors."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.special
from cases import ensemble_of, gaussian_task, small_task, toy
from oracles import one_layer_by_importance
from statistics_in_sigmas import SIGMAS, worst, z_scores

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory import adaptive, predict, propagation, scale_mixture
from langevin_nn.theory.features import adaptive as of_adaptive
from langevin_nn.theory.features.layers import LayerAverages, average_over_layers
from langevin_nn.theory.features.proposal import Proposal, adapted, resampled
from langevin_nn.types import InputError

FEW = {"num_units": 2**12, "num_layers": 256}
QUANTITIES = ("bias2", "variance", "generalisation_error", "train_error")


def with_test_points_of_its_own(data):
    """Its training points as test points."""
    return replace(data, x_test=data.x_train, y_test=data.y_train)


@pytest.fixture
def error_of_evidence(monkeypatch):
    """A function that gives the standard error of the last log evidence."""
    errors = []

    def recorded(*arguments):
        averages = average_over_layers(*arguments)
        errors.append(averages.log_integral_error)
        return averages

    monkeypatch.setattr(of_adaptive, "average_over_layers", recorded)
    return lambda: errors[-1]


@pytest.mark.slow_except("1")
@pytest.mark.parametrize("width", [1, 3, 5])
def test_linear_units_are_those_of_the_exact_mixture(width, error_of_evidence):
    data = toy()
    ensemble = ensemble_of(data, (width,), activation="identity", temperature=0.3)
    found, exact = adaptive(ensemble, num_units=2**13, num_layers=1024), scale_mixture(ensemble)
    assert found.converged and width < data.num_train
    assert 0 < error_of_evidence() < 0.1
    assert abs(found.log_evidence - exact.log_evidence) < SIGMAS * error_of_evidence()
    for name in QUANTITIES:
        estimate = getattr(found, name)
        assert 0 < estimate.mcse < 0.05 * estimate.value
        assert abs(estimate.value - getattr(exact, name).value) < SIGMAS * estimate.mcse, name


@pytest.mark.slow
@pytest.mark.parametrize(
    "width, activation, biases",
    [(3, "erf", False), (3, "erf", True), (5, "relu", False), (1, "erf", False)],
)
def test_the_posterior_by_importance_sampling(width, activation, biases, error_of_evidence):
    """At each test input, two of which are outside of what the training inputs span."""
    data, temperature = small_task(num_train=6, in_size=8), 0.2
    ensemble = ensemble_of(
        data, (width,), activation=activation, temperature=temperature, biases=biases
    )
    found = adaptive(ensemble, num_units=2**12, num_layers=1024)
    assert found.converged
    exact = exact_posterior(ensemble, draws=200_000)
    assert exact["effective"] > 400
    for name in ("bias2", "variance", "train_error"):
        estimate = getattr(found, name)
        error = np.hypot(estimate.mcse, exact[f"{name}_error"])
        assert abs(estimate.value - exact[name]) < SIGMAS * error, name
    error = np.hypot(error_of_evidence(), exact["log_evidence_error"])
    assert abs(found.log_evidence - exact["log_evidence"]) < SIGMAS * error < 0.3


def exact_posterior(ensemble, draws):
    """bias², variance and training error with errors: hidden weights of the prior, weighted."""
    spec, data = ensemble.spec, ensemble.data
    rng, size = np.random.default_rng(7), data.num_train
    sigma = {"erf": scipy.special.erf, "relu": lambda h: np.maximum(h, 0)}
    x = np.concatenate([data.x_train, data.x_test])
    x = x / np.sqrt(spec.prior_precisions[0] * data.in_size)
    if spec.bias_precisions is not None:
        x = np.concatenate([x, np.full((len(x), 1), spec.bias_precisions[0] ** -0.5)], axis=1)
    (width,) = spec.hidden_widths
    w = rng.standard_normal((draws, width, x.shape[1]))
    phi = sigma[spec.activation.name](w @ x.T) / np.sqrt(spec.prior_precisions[1] * width)
    gram = np.swapaxes(phi, 1, 2) @ phi
    if spec.bias_precisions is not None:
        gram = gram + 1 / spec.bias_precisions[1]
    noisy = gram[:, :size, :size] + spec.temperature * np.eye(size)
    both = np.linalg.solve(noisy, gram[:, :size])  # (draws, P, P + P_test)
    mean = np.einsum("bpt,p->bt", both, data.y_train)
    solved = np.linalg.solve(noisy, np.tile(data.y_train, (draws, 1))[..., None])[..., 0]
    log = -0.5 * (solved @ data.y_train + np.linalg.slogdet(noisy)[1])
    square = np.einsum("btt->bt", gram) - np.einsum("bpt,bpt->bt", gram[:, :size], both) + mean**2
    share = np.exp(log - log.max())
    error_of_evidence = share.std() / share.mean() / np.sqrt(draws)
    log_evidence = log.max() + np.log(share.mean()) - 0.5 * size * np.log(2 * np.pi)
    share /= share.sum()
    y = np.concatenate([data.y_train, data.y_test])
    center = share @ mean
    parts = {
        "bias2": np.mean((-2 * (y - center) * mean)[:, size:], axis=1),
        "variance": np.mean((square - 2 * center * mean)[:, size:], axis=1),
        "train_error": np.mean((y**2 - 2 * y * mean + square)[:, :size], axis=1),
    }
    result = {"effective": 1 / np.sum(share**2)}
    result |= {"log_evidence": log_evidence, "log_evidence_error": error_of_evidence}
    for name, values in parts.items():
        result[f"{name}_error"] = np.sqrt(share**2 @ (values - share @ values) ** 2)
    result["bias2"] = np.mean((y - center)[size:] ** 2)
    result["variance"] = np.mean((share @ square - center**2)[size:])
    result["train_error"] = share @ parts["train_error"]
    return result


@pytest.mark.slow
def test_the_training_error_is_that_of_predictions_at_the_training_inputs():
    data = with_test_points_of_its_own(gaussian_task(12, 4, 20))
    found = adaptive(ensemble_of(data, (4,), biases=True), **FEW)
    total = found.bias2.value + found.variance.value
    np.testing.assert_allclose(found.train_error.value, total, rtol=1e-9)
    np.testing.assert_allclose(found.train_error.mcse, found.generalisation_error.mcse, rtol=1e-6)


def test_with_as_many_units_as_examples_it_is_propagation():
    ensemble = ensemble_of(small_task(), (6,))
    found, other = adaptive(ensemble, num_units=2**12), propagation(ensemble, num_units=2**12)
    assert other.converged and found.name == "adaptive"
    np.testing.assert_array_equal(found.predictive_variance, other.predictive_variance)
    assert found.log_evidence == other.log_evidence and found.bias2 == other.bias2


@pytest.mark.slow
def test_where_propagation_has_no_fixed_point_there_are_layers():
    data = gaussian_task(6, 4, 12)
    large = replace(data, y_train=30 * data.y_train, y_test=30 * data.y_test)
    ensemble = ensemble_of(large, (6,), temperature=0.01)
    assert not propagation(ensemble, num_units=2**12).converged
    found = adaptive(ensemble, **FEW)
    assert found.converged == (found.message == "") and found.bias2.mcse > 0


@pytest.mark.slow
def test_the_same_call_gives_the_same_numbers():
    ensemble = ensemble_of(small_task(), (2,))
    first, again = (adaptive(ensemble, **FEW) for _ in range(2))
    np.testing.assert_array_equal(first.predictive_mean, again.predictive_mean)
    assert "adaptive" not in predict(ensemble).results


@pytest.mark.parametrize("num_layers", [0, 10, 255])
def test_too_few_layers_are_refused(num_layers):
    with pytest.raises(InputError, match="num_layers must be at least 256"):
        adaptive(ensemble_of(small_task(), (2,)), num_units=64, num_layers=num_layers)


@pytest.mark.slow
def test_layers_that_take_hours_are_computed_where_their_number_is_given_alone(monkeypatch):
    ensemble = ensemble_of(small_task(), (2,))
    monkeypatch.setattr(of_adaptive, "_MOST_OPERATIONS", 1.0)
    found = adaptive(ensemble, num_units=2**10)
    assert not found.converged and np.isnan(found.bias2.value)
    assert "256 layers of 2 units at 6 examples take some" in found.message
    assert np.isfinite(adaptive(ensemble, **FEW).bias2.value)


def averages(**changed):
    nothing = np.zeros((32, 1))
    fields = {
        "mean": nothing, "second": nothing, "train_error": nothing[:, 0], "along": nothing[:, 0],
        "acceptance": 0.1, "ancestors": 500, "memory": 20.0, "sweeps": 210,
        "log_integral": 0.0, "log_integral_error": 0.1,
    }  # fmt: skip
    return LayerAverages(**(fields | changed))


def test_layers_that_remember_are_not_converged():
    assert of_adaptive._about(averages()) == ("", True)
    assert not of_adaptive._about(averages(sweeps=195))[1]
    message, converged = of_adaptive._about(averages(ancestors=3))
    assert "independent units 3 have left" in message and not converged
    message, converged = of_adaptive._about(averages(memory=300.0, sweeps=600))
    assert not converged
    assert "remember 300 sweeps" in message and "10 % of new units" in message


def test_a_proposal_has_the_density_that_it_draws_from():
    """E_{p_0}[g/p_0] = 1, and the moments of its draws by weights of draws of the prior."""
    rng = np.random.default_rng(1)
    factor = np.linalg.cholesky(np.array([[0.8, 0.3], [0.3, 0.5]]))
    proposal = Proposal(np.array([0.7, -0.4]), factor)
    z = rng.standard_normal((200_000, 2))
    ratio = np.exp(proposal.log_ratio(z))
    drawn = proposal.draw(rng, 200_000)
    assert worst(z_scores(ratio, 1.0)) < SIGMAS
    for power in (z**2, (z[:, :1] * z[:, 1:])):
        other = drawn**2 if power.shape[1] == 2 else drawn[:, :1] * drawn[:, 1:]
        weighted = power * ratio[:, None]
        error = np.hypot(weighted.std(axis=0), other.std(axis=0)) / np.sqrt(len(z))
        assert np.max(np.abs(weighted.mean(axis=0) - other.mean(axis=0)) / error) < SIGMAS


def test_units_are_adapted_where_those_of_the_prior_are_too_few():
    """exp(8 |z_1| − 2 z_2²): two Gaussians of mean ±8 and variances 1 and 1/5, far in its tail."""
    rng = np.random.default_rng(2)
    found = adapted(lambda z: (8 * abs(z[:, 0]) - 2 * z[:, 1] ** 2, z[:, 0]), 2, 4096, rng)
    assert found.effective > 1200
    aligned = found.z * np.sign(found.z[:, :1])
    moments = found.weights @ aligned, found.weights @ aligned**2
    np.testing.assert_allclose(moments[0], [8, 0], atol=0.1)
    np.testing.assert_allclose(moments[1] - moments[0] ** 2, [1, 0.2], rtol=0.1)


def test_resampling_keeps_each_share():
    weights = np.array([0.05, 0.5, 0.45])
    drawn = resampled(weights, 40, np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(drawn), [2, 20, 18])
    assert len(np.unique(drawn[:4])) > 1  # in random order


def test_one_layer_by_importance_is_the_same_oracle():
    """The oracle of this file against that of the others."""
    data = small_task(num_train=3)
    ensemble = ensemble_of(data, (4,), temperature=0.5)
    assert isinstance(ensemble, Ensemble)
    known = one_layer_by_importance(data, 4, (1.0, 1.0), 0.5, draws=60_000, seed=1)
    found = exact_posterior(ensemble, draws=60_000)
    error = np.hypot(np.mean(known["variance_error"]), found["variance_error"])
    assert abs(np.mean(known["variance"]) - found["variance"]) < SIGMAS * error
