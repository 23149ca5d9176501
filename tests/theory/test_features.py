"""Theories of learned features: against closed forms, exact posteriors and exact orders in 1/N_1.

The exact posterior is importance sampling over all hidden weights (`oracles`), in NumPy.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from cases import deviation, ensemble_of, gaussian_task, small_task, spec_of, toy, two_outputs
from oracles import NUMPY_ACTIVATIONS, one_layer_by_importance
from scipy.optimize import brentq
from statistics_in_sigmas import SIGMAS

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn.data.dataset import Dataset
from langevin_nn.data.image_files import available
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.runs import run
from langevin_nn.theory import (
    THEORIES,
    cavity,
    evidence,
    infinite_width,
    mean_field,
    one_layer,
    predict,
    predictive_distribution,
    propagation,
    scale_mixture,
    width_expansion,
)
from langevin_nn.theory.features.cavity import field_of_mean
from langevin_nn.theory.features.dense_units import draw_dense_units
from langevin_nn.theory.features.field import TOLERANCE, solve_field
from langevin_nn.theory.features.mean_field import tail_index
from langevin_nn.theory.features.propagation import field_of_sites
from langevin_nn.theory.features.response import noise_of
from langevin_nn.theory.features.samples import draw_units
from langevin_nn.types import Activation, InputError, NotApplicable

NAMES = ("mean_field", "cavity", "propagation")
FEW = 2**13
MAP = Path(__file__).parents[2] / "experiments/validity_map/results.json"


def seen_again(data, num=None):
    """The task with its training points as test points: y − f̄ = T t there."""
    x, y = data.x_train[:num], data.y_train[:num]
    return replace(data, x_train=x, y_train=y, x_test=x, y_test=y)


def richly(width, g):
    """Two examples with labels of order √N_1, and a test input between them."""
    x = np.array([[1.2, 0.3, -0.5], [-0.4, 1.0, 0.8], [0.6, 0.9, -0.3]])
    y = np.sqrt(width) * g * np.array([1.0, -0.7])
    return Dataset("rich", x[:2], y, x[2:], np.zeros(1))


# --- what all three share


@pytest.mark.parametrize(
    "data, biases",
    [(small_task(), False), (small_task(), True), (two_outputs(small_task()), True)],
    ids=["False", "True", "two outputs"],
)
@pytest.mark.parametrize("name", NAMES)
def test_large_widths_are_infinite_width(name, data, biases):
    """As 1/N_1, at fixed labels: ten times the width, a tenth of the distance."""
    distances = []
    for width in (10**4, 10**5):
        ensemble = ensemble_of(data, (width,), biases=biases)
        result = THEORIES[name](ensemble, num_units=FEW)
        assert result.converged and result.message == ""
        distances.append(deviation(result, infinite_width(ensemble)))
    assert distances[0] < 3e-3 and abs(distances[0] / distances[1] - 10) < 0.5
    known = infinite_width(ensemble)
    np.testing.assert_allclose(result.train_error.value, known.train_error.value, rtol=1e-3)
    if name != "cavity":
        np.testing.assert_allclose(result.log_evidence, known.log_evidence, atol=1e-3)


@pytest.mark.slow_except("erf")
@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_order_one_over_width(activation):
    """Of `propagation` it is exact, mean, variance and evidence; of the others it is not."""
    ensemble = ensemble_of(small_task(), (1600,), activation=activation, temperature=0.3)
    exact = width_expansion(ensemble)
    found = {name: THEORIES[name](ensemble, num_units=2**16) for name in NAMES}

    def distance(name, of):
        """From the exact coefficient of 1/N_1."""
        return 1600 * np.max(np.abs(getattr(found[name], of) - getattr(exact, of)))

    for of in ("predictive_mean", "predictive_variance", "log_evidence"):
        assert distance("propagation", of) < 0.15 * distance("mean_field", of)
    assert distance("propagation", "predictive_mean") < distance("cavity", "predictive_mean")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_activation_of_ones_own(name):
    data = small_task()
    mine = Activation("mine", jnp.tanh, lnn.activation("tanh").dual, odd=True)
    spec = spec_of(data, (30,), "tanh")
    one, other = (
        THEORIES[name](Ensemble(replace(spec, activation=unit), data), num_units=FEW)
        for unit in (mine, spec.activation)
    )
    assert deviation(one, other) < 1e-9


def test_they_are_asked_for_by_name():
    ensemble = ensemble_of(small_task(), (30,))
    everything = predict(ensemble)
    assert set(NAMES) <= set(everything.not_applicable)
    assert "ask for it by name" in everything.not_applicable["propagation"]
    named = predict(ensemble, NAMES)
    assert list(named.results) == list(NAMES) and not named.not_applicable
    assert all(result.converged for result in named.results.values())


@pytest.mark.parametrize("name", NAMES)
def test_where_they_do_not_apply_they_say_so(name):
    data, theory = small_task(), THEORIES[name]
    for ensemble, reason in (
        (ensemble_of(data, (5, 5)), "describes one hidden layer, .* has 2"),
        (ensemble_of(data, (5,), loss="own"), "squared loss|only the name"),
    ):
        with pytest.raises(NotApplicable, match=reason):
            theory(ensemble)
    cold = ensemble_of(data, (5,), temperature=0.0)
    with pytest.raises(InputError, match=f"{name} describes T > 0"):
        theory(cold)
    result = predict(cold, name).results[name]
    assert not result.converged and "describes T > 0" in result.message
    with pytest.raises(InputError, match="num_units must be 64 to"):
        theory(ensemble_of(data, (5,)), num_units=63)


def test_units_of_one_width_have_no_others():
    with pytest.raises(NotApplicable, match="needs at least 2 hidden units"):
        propagation(ensemble_of(small_task(), (1,)))
    assert cavity(ensemble_of(small_task(), (1,), temperature=1.0), num_units=FEW).converged


def test_the_distribution_of_f_is_gaussian_where_the_theory_makes_it_so():
    ensemble = ensemble_of(small_task(), (30,))
    for name in ("mean_field", "propagation"):
        found, result = (
            predictive_distribution(ensemble, ensemble.data.x_test, name),
            THEORIES[name](ensemble),
        )
        np.testing.assert_allclose(found.mean, result.predictive_mean, rtol=1e-9)
        np.testing.assert_allclose(found.variance, result.predictive_variance, rtol=1e-9)
        assert found.weights.size == 1
    for ask in (
        lambda: predictive_distribution(ensemble, ensemble.data.x_test, "cavity"),
        lambda: evidence(ensemble, "propagation"),
    ):
        with pytest.raises(NotApplicable, match="cavity|propagation"):
            ask()


# --- the sample of units


@pytest.mark.slow_except("erf")
@pytest.mark.parametrize("activation", ["erf", "relu", "gelu"])
def test_the_units_are_those_of_the_prior(activation):
    """Second moments at training and test points without control variates, against the dual."""
    data = replace(small_task(in_size=9), x_test=2 * small_task(in_size=9).x_test)
    units = draw_dense_units(ensemble_of(data, (5,), activation=activation, biases=True), 2**14)
    equal = np.full(units.num_units, 1 / units.num_units)
    size = np.max(np.abs(units.gram))
    assert np.max(np.abs(units.second_moment(equal, 0.0) - units.gram)) < 0.02 * size
    ((cross, diagonal),) = units.at_tests((equal, 0.0))
    np.testing.assert_allclose(cross, units.cross, atol=0.02 * size)
    np.testing.assert_allclose(diagonal, units.diagonal, rtol=0.02)
    ((cross, diagonal),) = units.at_tests((equal, 1.0))
    np.testing.assert_allclose(cross, units.cross, atol=1e-12 * size)
    np.testing.assert_allclose(diagonal, units.diagonal, rtol=1e-12)


def test_a_prediction_does_not_depend_on_other_test_inputs():
    data = small_task(in_size=9)
    one = replace(data, x_test=data.x_test[:1], y_test=data.y_test[:1])
    whole, alone = (propagation(ensemble_of(each, (20,)), num_units=FEW) for each in (data, one))
    np.testing.assert_allclose(alone.predictive_mean, whole.predictive_mean[:1], rtol=1e-9)
    np.testing.assert_allclose(alone.predictive_variance, whole.predictive_variance[:1], rtol=1e-9)


# --- mean_field


def test_mean_field_of_linear_units_is_closed_form():
    """h stays Gaussian: Q = 1/(1 − tᵀKt/N_1), Φ = K + Q K ttᵀK/N_1, and Wick's theorem for M."""
    width, temperature = 60, 0.5
    data = replace(small_task(), y_train=3 * small_task().y_train)
    ensemble = ensemble_of(data, (width,), activation="identity", temperature=temperature)
    x = np.concatenate([data.x_train, data.x_test])
    whole = x @ x.T / data.in_size
    size, identity = data.num_train, np.eye(data.num_train)
    gram = whole[:size, :size]

    def field(q):
        return np.linalg.solve(temperature * identity + q * gram, data.y_train)

    def excess(q):
        return q * (1 - field(q) @ gram @ field(q) / width) - 1

    q = brentq(excess, 1.0, 50.0)
    assert q > 1.02
    t = np.concatenate([field(q), np.zeros(data.num_test)])
    phi = whole + q * np.outer(whole @ t, whole @ t) / width
    power, pulled = t @ phi @ t, phi @ t
    moment = phi * (1 + power / width) + np.outer(pulled, pulled) / width
    noisy, cross = temperature * identity + moment[:size, :size], moment[size:, :size]
    variance = np.diag(moment)[size:] - np.sum(cross * np.linalg.solve(noisy, cross.T).T, axis=1)
    short = t[:size]
    action = -data.y_train @ short + temperature * short @ short / 2
    action -= width / 2 * np.log(1 - short @ gram @ short / width)
    evidence = action - 0.5 * np.linalg.slogdet(noisy)[1] - size / 2 * np.log(2 * np.pi)

    result = mean_field(ensemble)
    assert result.converged
    np.testing.assert_allclose(result.order_parameters, [q], rtol=2e-3)
    np.testing.assert_allclose(result.predictive_mean, pulled[size:], atol=5e-3)
    np.testing.assert_allclose(result.predictive_variance, variance, rtol=1e-2)
    np.testing.assert_allclose(result.log_evidence, evidence, atol=0.02)
    same_mean = ensemble.at(temperature=temperature / q)  # that of the Gram matrix Q K
    np.testing.assert_allclose(
        result.predictive_mean, infinite_width(same_mean).predictive_mean, atol=5e-3
    )


@pytest.mark.slow_except("20-0.4")
@pytest.mark.parametrize("width, g", [(20, 0.4), (20, 0.6), (80, 0.35)])
def test_mean_field_at_labels_of_the_order_of_the_root_of_the_width(width, g):
    """Within a per cent of the mean; its variance nearer than that of `one_layer`; its evidence."""
    data = richly(width, g)
    exact = one_layer_by_importance(data, width, (1.0, 1.0), 0.1, draws=100_000, seed=1)
    assert exact["effective"] > 500
    ensemble = ensemble_of(data, (width,))
    result, other = mean_field(ensemble), one_layer(ensemble)
    assert result.converged
    distances = {}
    for name, rel in (("mean", 0.01), ("variance", 0.045)):
        value = getattr(result, f"predictive_{name}")
        margin = SIGMAS * exact[f"{name}_error"] + rel * np.abs(exact[name])
        distances[name] = np.abs(value - exact[name])
        assert np.all(distances[name] < margin)
    beside = np.abs(other.predictive_variance - exact["variance"])
    assert np.all(distances["variance"] < beside)
    margin = SIGMAS * exact["log_evidence_error"] + 0.1
    assert abs(result.log_evidence - exact["log_evidence"]) < margin


@pytest.mark.slow
def test_mean_field_is_the_minimum_of_its_action():
    """The derivatives of G, the units' average done here, by automatic differentiation."""
    temperature, width = 0.2, 15
    data = seen_again(replace(small_task(), y_train=2 * small_task().y_train))
    ensemble = ensemble_of(data, (width,), temperature=temperature)
    result, units = mean_field(ensemble, num_units=FEW), draw_units(ensemble, FEW)
    t = (data.y_train - result.predictive_mean) / temperature

    @jax.jit
    def action(t):
        u = jnp.asarray(units.features) @ t
        log_average = jax.scipy.special.logsumexp(u**2 / (2 * width)) - jnp.log(len(u))
        beyond = (t @ units.gram @ t - jnp.mean(u**2)) / 2
        return -data.y_train @ t + temperature * t @ t / 2 + width * log_average + beyond

    assert result.converged
    scale = np.abs(data.y_train).max()
    slope = jax.jit(jax.grad(action))(jnp.asarray(t))
    np.testing.assert_allclose(slope, 0, atol=1e-3 * scale)
    hessian = np.asarray(jax.jit(jax.hessian(action))(jnp.asarray(t)))  # T + M
    variance = temperature - temperature**2 * np.diag(np.linalg.inv(hessian))
    np.testing.assert_allclose(result.predictive_variance, variance, rtol=2e-2)
    for direction in np.eye(len(t)):
        assert action(t + 0.05 * direction) > action(t) < action(t - 0.05 * direction)


@pytest.mark.slow_except("identity")
@pytest.mark.parametrize("activation", ["identity", "relu"])
def test_mean_field_near_its_wall_is_not_converged(activation):
    data = replace(small_task(), y_train=40 * small_task().y_train)
    result = mean_field(ensemble_of(data, (5,), activation=activation), num_units=FEW)
    assert not result.converged and "the wall" in result.message
    assert mean_field(ensemble_of(small_task(), (50,), activation=activation)).converged


def test_the_index_of_a_tail():
    rng = np.random.default_rng(2)
    for index in (0.3, 0.6, 1.2):
        assert abs(tail_index(rng.random(10**6) ** -index) / index - 1) < 0.15


def test_weights_of_few_units_are_not_converged():
    for g, reason in ((0.6, "too few for an average"), (20.0, "collapse on a few")):
        result = mean_field(ensemble_of(richly(20, g), (20,)), num_units=128)
        assert not result.converged and reason in result.message


# --- cavity and propagation


UPDATES = {"cavity": field_of_mean, "propagation": field_of_sites}


@pytest.mark.parametrize("name, width", [("cavity", 40), ("propagation", 20), ("propagation", 60)])
def test_a_solution_is_a_fixed_point(name, width):
    """The equations of the field, written out with sums over the units and inverses."""
    temperature, data = 0.1, toy()
    ensemble = ensemble_of(data, (width,), temperature=temperature)
    units, y = draw_units(ensemble, FEW), data.y_train
    noise = noise_of(units, temperature)
    more = () if name == "cavity" else (width,)
    update = partial(UPDATES[name], units, y, noise, *more)
    field = solve_field(units, y, noise, width, update)
    assert field.converged and field.residual < TOLERANCE
    covariance, a = np.linalg.inv(field.factor @ field.factor.T), field.a
    phi, exact = units.features, units.gram
    q, u = np.einsum("ip,pr,ir->i", phi, covariance, phi) / width, phi @ a
    logs = -0.5 * np.log(1 + q) + 0.5 * u**2 / (width * (1 + q))
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    beyond = exact - phi.T @ phi / len(phi)  # what the sample's K lacks
    inner = phi.T @ (phi * (weights / (1 + q))[:, None]) + np.sum(weights / (1 + q)) * beyond
    inverse = np.linalg.inv(covariance)
    if name == "cavity":
        np.testing.assert_allclose(inverse, noise + inner, atol=1e-5)
        np.testing.assert_allclose(inverse @ a, y, atol=1e-5)
        return
    mean = inner @ a / width
    square = phi.T @ (phi * (weights * u**2 / (width * (1 + q) ** 2))[:, None])
    tilted = (inner + square) / width - np.outer(mean, mean)  # C
    sites = (inverse - noise) / (width - 1)  # S
    np.testing.assert_allclose(
        tilted, sites - sites @ np.linalg.solve(inverse + sites, sites), atol=1e-5
    )
    mu = mean - sites @ (a - covariance @ mean)
    np.testing.assert_allclose(inverse @ a, y - (width - 1) * mu, atol=1e-4)


def test_linear_units_of_propagation_have_the_scale_of_one_layer():
    """N_1 S = Q K but for a matrix of rank one, 1/Q = 1 + Tr(K B)/N_1 − aᵀKa/N_1."""
    data = toy()
    for width, tolerance in ((50, 0.04), (400, 3e-3)):
        ensemble = ensemble_of(data, (width,), activation="identity")
        units = draw_units(ensemble)
        noise, y = noise_of(units, 0.1), data.y_train
        update = partial(field_of_sites, units, y, noise, width)
        field = solve_field(units, y, noise, width, update)
        covariance = scipy.linalg.cho_solve((field.factor, True), np.eye(len(y)))
        power = field.a @ units.gram @ field.a - np.sum(units.gram * covariance)
        q = 1 / (1 - power / width)
        np.testing.assert_allclose(q, one_layer(ensemble).order_parameters[0], rtol=tolerance)


@pytest.mark.parametrize(
    "name, width, percent",
    [("cavity", 200, 0.2), ("propagation", 200, 0.1), ("propagation", 50, 0.4)],
)
def test_linear_units_against_the_exact_mixture(name, width, percent):
    ensemble = ensemble_of(toy(), (width,), activation="identity")
    found, exact = THEORIES[name](ensemble), scale_mixture(ensemble)
    assert found.converged
    for quantity in ("bias2", "variance", "train_error"):
        ratio = getattr(found, quantity).value / getattr(exact, quantity).value
        assert abs(ratio - 1) < percent / 100, quantity
    if name == "propagation":
        assert abs(found.log_evidence - exact.log_evidence) < 0.04


def test_cavity_is_the_law_of_networks_of_independent_units(seed):
    """Units drawn from its p: the Gaussian process that they leave, averaged, to order 1/N_1.

    Without γ the variance is a tenth smaller; seen to fail on that, and on (1 + q)⁰ in γ.
    """
    width, temperature, num = 40, 0.1, 2000
    data = seen_again(gaussian_task(40, 4, 25, seed=seed))
    ensemble = Ensemble(spec_of(data, (width,), temperature=temperature), data)
    units, y = draw_units(ensemble, FEW), data.y_train
    noise = noise_of(units, temperature)
    update = partial(field_of_mean, units, y, noise)
    weights = solve_field(units, y, noise, width, update).response.weights
    found, rng = cavity(ensemble, num_units=FEW), np.random.default_rng(seed)
    assert found.converged
    means, given_weights = [], []
    for _ in range(num):
        phi = units.features[rng.choice(units.num_units, width, p=weights)]
        gram = phi.T @ phi / width
        smoother = np.linalg.solve(gram + noise, gram).T
        means.append(smoother @ y)
        given_weights.append(np.diag(gram - smoother @ gram))
    deviations = np.stack(means) - np.mean(means, axis=0)
    of_draws = np.mean(given_weights + deviations**2, axis=1)
    error = of_draws.std() / np.sqrt(num)
    off = found.predictive_variance.mean() - of_draws.mean()
    assert abs(off) < SIGMAS * error + 0.01 * of_draws.mean()


# Examples, width, temperature, and by how much the theories may be off: in means and evidence.
SMALL = [(2, 20, 0.1, 0.004), (4, 10, 0.3, 0.012), (8, 8, 0.5, 0.02), (10, 40, 0.3, 0.004)]


@pytest.mark.slow_except("4-10-0.3-0.012")
@pytest.mark.parametrize("num_train, width, temperature, margin", SMALL)
def test_propagation_against_the_exact_posterior(num_train, width, temperature, margin):
    """And nearer to it than `one_layer`, mean and variance together."""
    data = small_task(num_train=num_train)
    exact = one_layer_by_importance(data, width, (1.0, 1.0), temperature, draws=100_000, seed=2)
    ensemble = ensemble_of(data, (width,), temperature=temperature)
    result, other = propagation(ensemble), one_layer(ensemble)
    assert result.converged
    distances = np.zeros(2)
    for name in ("mean", "variance"):
        distance, beside = (
            np.abs(getattr(each, f"predictive_{name}") - exact[name]) for each in (result, other)
        )
        assert np.max(distance - SIGMAS * exact[f"{name}_error"]) < margin
        distances += np.max(distance), np.max(beside)
    assert distances[0] < distances[1]
    distance = abs(result.log_evidence - exact["log_evidence"])
    assert distance < margin + SIGMAS * exact["log_evidence_error"]


def test_the_exact_posterior_is_that_of_linear_units():
    """The oracle itself: against the mixture, which is exact there."""
    data = small_task()
    exact = one_layer_by_importance(
        data, 6, (1.0, 1.0), 0.5, activation="identity", draws=100_000, seed=3
    )
    known = scale_mixture(ensemble_of(data, (6,), activation="identity", temperature=0.5))
    for name in ("mean", "variance"):
        z = (getattr(known, f"predictive_{name}") - exact[name]) / exact[f"{name}_error"]
        assert np.max(np.abs(z)) < SIGMAS
    z = (known.log_evidence - exact["log_evidence"]) / exact["log_evidence_error"]
    assert abs(z) < SIGMAS
    assert "identity" in NUMPY_ACTIVATIONS


def test_an_iteration_without_end_is_not_converged():
    data = toy()
    result = propagation(ensemble_of(data, (4,), temperature=0.01, precisions=(1.0, 0.05)))
    assert not result.converged
    assert "no self-consistent field found" in result.message or "too few" in result.message


# Theory, width, λ_1, and its deviation from the sampler in per cent beside the standard errors.
ON_THE_MAP = [
    ("propagation", 20, 10.0, 0.7), ("propagation", 50, 0.1, 0.7), ("propagation", 50, 30.0, 0.7),
    ("propagation", 100, 1.0, 0.4), ("propagation", 200, 10.0, 0.4), ("cavity", 50, 1.0, 1.5),
    ("cavity", 100, 1.0, 0.5), ("cavity", 200, 0.3, 0.4),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(
    not any(source.name == "mnist" and source.present for source in available()),
    reason="MNIST is not there",
)
def test_points_of_the_validity_map():
    values = {
        "data": {"source": "mnist", "classes": [0, 1], "num_train": 50, "num_test": 200},
        "network": {"activation": "erf"},
        "posterior": {"temperature": 0.1, "readout": "marginalised"},
    }
    _, ensemble = run.prepare_theory(configuration.from_dict(values))
    results = json.loads(MAP.read_text())["mnist, erf"]
    places = [results["coords"][name]["data"] for name in results["data_vars"]["bias2"]["dims"]]
    for name, width, precision, percent in ON_THE_MAP:
        here = ensemble.at(hidden_widths=(width,), prior_precisions=(1.0, precision))
        found = THEORIES[name](here)
        assert found.converged, (name, width, precision)
        place = places[0].index(width), places[1].index(precision)
        for quantity in ("bias2", "variance"):
            value, error = (
                results["data_vars"][key]["data"][place[0]][place[1]]
                for key in (quantity, f"{quantity}_mcse")
            )
            distance = abs(getattr(found, quantity).value - value)
            assert distance < SIGMAS * error + percent / 100 * value, (name, width, quantity)
