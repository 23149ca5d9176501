"""Order 1/N_1: against the exact posterior by importance sampling, linear networks, and limits.

The exact posterior: hidden weights drawn from their prior, weighted with exp(−Φ), the read-out
integrated out, all in NumPy. The entries of δK, whose mean is zero, are control variates: they
take the noise of N_1 × (exact − infinite width) from √N_1 to one.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from cases import SEED
from oracles import NUMPY_ACTIVATIONS
from statistics_in_sigmas import SIGMAS, worst

from langevin_nn.data.dataset import Dataset
from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.effective import hidden_units
from langevin_nn.theory.effective.hidden_units import (
    Terms,
    pull_of_targets,
    width_terms,
    with_training_points,
)
from langevin_nn.theory.effective.infinite_width import infinite_width
from langevin_nn.theory.effective.scale_mixture import scale_mixture
from langevin_nn.theory.effective.width_expansion import matched, width_expansion
from langevin_nn.theory.ensemble import gram_regression
from langevin_nn.theory.kernels.layers import host_gram
from langevin_nn.theory.kernels.nngp import fields
from langevin_nn.theory.suite import THEORIES
from langevin_nn.types import EnsembleSpec, InputError, NotApplicable, Patches

WIDTHS = (40, 80)
NARROW = 4
BIASES = (1.5, 2.5)


class SeveralOutputs(Dataset):
    """Targets (P, D)."""

    def __post_init__(self):
        pass


def task(num_outputs=1, in_size=3, num_train=4, num_test=3):
    """The same for every seed, so that planted mistakes keep their size."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((num_train + num_test, in_size))
    y = np.sign(x[:, :1] * x[:, 1:2]) + 0.5 * rng.standard_normal((len(x), num_outputs))
    y = y[:, 0] if num_outputs == 1 else y
    kind = Dataset if num_outputs == 1 else SeveralOutputs
    return kind("small", x[:num_train], y[:num_train], x[num_train:], y[num_train:])


def spec_of(data, width=100, activation="erf", biases=None, temperature=0.8):
    num_outputs = 1 if data.y_train.ndim == 1 else data.y_train.shape[1]
    return EnsembleSpec(
        data.in_size, (width,), ACTIVATIONS[activation], (0.8, 1.2), temperature,
        num_outputs=num_outputs, bias_precisions=biases,
    )  # fmt: skip


def ensemble_of(data, *width, **options):
    return Ensemble(spec_of(data, *width, **options), data)


def terms_of(spec, data, num_units=500_000, scale=1.0, beyond_scale=False):
    ensemble = Ensemble(spec, data)
    everywhere = with_training_points(gram_regression(ensemble))
    return width_terms(ensemble, everywhere, scale, num_units, beyond_scale)


def average_and_error(batches):
    """Of the batches of coefficients."""
    averages = Terms(*(part.mean(axis=0) for part in batches))
    return averages, Terms(*(part.std(axis=0, ddof=1) / np.sqrt(len(part)) for part in batches))


def at_all_points(spec, data):
    """Mean and variance (n, D) of infinite width, at the test and at the training points."""
    x, y = (
        np.concatenate(pair) for pair in ((data.x_test, data.x_train), (data.y_test, data.y_train))
    )
    both = type(data)("both", data.x_train, data.y_train, x, y)
    result = infinite_width(Ensemble(spec, both))
    shape = (len(x), -1)
    mean, variance = result.predictive_mean, result.predictive_variance
    return mean.reshape(shape), variance.reshape(shape), result.log_evidence


class Exact(NamedTuple):
    """N_1 × (exact − infinite width), and standard errors: as `Terms`, at all points."""

    value: Terms
    error: Terms


def exact_posterior(spec, data, num_networks, seed):
    """By importance sampling over hidden weights, with control variates."""
    (width,), noise = spec.hidden_widths, spec.temperature
    first, last = spec.prior_precisions
    num_test, num_train = data.num_test, data.num_train
    sigma = NUMPY_ACTIVATIONS[spec.activation.name]
    x = np.concatenate([data.x_test, data.x_train])
    targets = data.y_train.reshape(num_train, -1)
    hidden_bias, readout_bias = (1 / p for p in spec.bias_precisions or (np.inf, np.inf))
    everywhere = fields(spec, x)
    gram = host_gram(spec, everywhere, everywhere)
    rows, columns = np.triu_indices(len(x))
    known = (columns >= num_test) | (rows == columns)
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(num_networks // 2000):
        w = rng.standard_normal((2000 * width, data.in_size)) / np.sqrt(first)
        b = rng.standard_normal((2000 * width, 1)) * np.sqrt(hidden_bias)
        phi = sigma(w @ x.T / np.sqrt(data.in_size) + b).reshape(2000, width, -1)
        features = np.swapaxes(phi, 1, 2) @ phi / (last * width)
        whole = features + readout_bias
        a_w = whole[:, num_test:, num_test:] + noise * np.eye(num_train)
        cross = whole[:, :, num_test:]
        gain = np.swapaxes(np.linalg.solve(a_w, np.swapaxes(cross, 1, 2)), 1, 2)
        means = gain @ targets
        variances = np.diagonal(whole, axis1=1, axis2=2) - np.sum(gain * cross, axis=2)
        solved = np.linalg.solve(a_w, np.broadcast_to(targets, (2000, *targets.shape)))
        energy = 0.5 * targets.shape[1] * np.linalg.slogdet(a_w)[1]
        energy += 0.5 * np.sum(targets * solved, axis=(1, 2))
        delta = (features - gram)[:, rows[known], columns[known]]
        parts.append((means, variances[:, :, None], energy, delta))
    means, variances, energy, delta = (np.concatenate(part) for part in zip(*parts, strict=True))
    shape = means.shape[1:]
    base_mean, base_variance, base_evidence = at_all_points(spec, data)
    base_energy = -base_evidence - 0.5 * targets.size * np.log(2 * np.pi)
    design = np.concatenate([np.ones((num_networks, 1)), delta], axis=1)

    def expectation(values):
        """E and its error: the intercept of a regression on δK."""
        values = values.reshape(num_networks, -1)
        fit = np.linalg.lstsq(design, values, rcond=None)[0]
        return fit[0], np.std(values - design @ fit, axis=0) / np.sqrt(num_networks)

    weights = np.exp(base_energy - energy)
    (evidence,), (evidence_error,) = expectation(weights)
    columnwise = weights[:, None, None] / evidence
    shift, mean_error = (e.reshape(shape) for e in expectation(columnwise * (means - base_mean)))
    squares = variances + (means - base_mean - shift) ** 2 - base_variance
    growth, variance_error = (e.reshape(shape) for e in expectation(columnwise * squares))
    value = Terms(shift, growth, np.log(evidence))
    error = Terms(mean_error, variance_error, evidence_error / evidence)
    return Exact(*(Terms(*(width * part for part in each)) for each in (value, error)))


def extrapolated(narrow, wide):
    """At N and 2N: 2 X(2N) − X(N), which is X(∞) + O(1/N²) if X(N) = X(∞) + c/N + …"""
    value = Terms(*(2 * w - n for n, w in zip(narrow.value, wide.value, strict=True)))
    error = Terms(*(np.hypot(2 * w, n) for n, w in zip(narrow.error, wide.error, strict=True)))
    return Exact(value, error)


def z_scores(exact, coefficients, errors):
    """Of every coefficient, in one array."""
    parts = zip(exact.value, exact.error, coefficients, errors, strict=True)
    return np.concatenate([np.ravel((x - c) / np.hypot(e, m)) for x, e, c, m in parts])


CASES = {
    "erf": ({}, {}),
    "relu": ({}, {"activation": "relu"}),
    "erf, biases, two outputs": ({"num_outputs": 2}, {"biases": BIASES}),
    "gelu, biases, more inputs than points": (
        {"in_size": 9},
        {"activation": "gelu", "biases": BIASES},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_coefficients_are_those_of_the_exact_posterior(case):
    """Mean and variance at test and training points, and evidence; the rest falls as 1/N_1²."""
    shape, kind = CASES[case]
    data = task(**shape)
    spec = spec_of(data, **kind)
    coefficients, errors = average_and_error(terms_of(spec, data))
    narrow, *wide = (
        exact_posterior(spec_of(data, width, **kind), data, 40_000, SEED + width)
        for width in (NARROW, *WIDTHS)
    )
    exact = extrapolated(*wide)
    assert worst(z_scores(exact, coefficients, errors)) < SIGMAS

    def distance(found):
        return np.sqrt(
            sum(np.sum((x - c) ** 2) for x, c in zip(found.value, coefficients, strict=True))
        )

    assert worst(z_scores(narrow, coefficients, errors)) > SIGMAS
    assert distance(wide[0]) < distance(narrow) / 3  # 1/10 up to higher orders

    def caught(wrong):
        return worst(z_scores(exact, wrong, errors)) > SIGMAS

    for name in Terms._fields:
        assert caught(coefficients._replace(**{name: 1.25 * getattr(coefficients, name)}))
    hotter = spec_of(data, temperature=0.9, **kind)
    assert caught(average_and_error(terms_of(hotter, data))[0])
    assert caught(without_its_own(spec, data, coefficients))


def without_its_own(spec, data, coefficients):
    """A planted mistake: of the scale alone, or of each output as if there were no other."""
    if spec.num_outputs == 1:
        beyond, _ = average_and_error(terms_of(spec, data, beyond_scale=True))
        return Terms(*(c - b for c, b in zip(coefficients, beyond, strict=True)))
    outputs = []
    for d in range(spec.num_outputs):
        one = Dataset("", data.x_train, data.y_train[:, d], data.x_test, data.y_test[:, d])
        alone = spec_of(one, biases=spec.bias_precisions)
        outputs.append(average_and_error(terms_of(alone, one))[0])
    mean, variance = (np.concatenate([each[i] for each in outputs], axis=1) for i in (0, 1))
    return Terms(mean, variance, sum(each.log_evidence for each in outputs))


def test_a_fluctuating_scale_has_the_coefficients_of_the_scale_mixture():
    """What `beyond_scale` subtracts, against N_1 × (mixture − infinite width) as N_1 grows."""
    data = task()
    x, y = (
        np.concatenate(pair) for pair in ((data.x_test, data.x_train), (data.y_test, data.y_train))
    )
    both = Dataset("both", data.x_train, data.y_train, x, y)
    spec = spec_of(both, biases=BIASES)
    wide, mixtures = infinite_width(Ensemble(spec, both)), []
    for width in (1000, 2000, 4000):
        mixture = scale_mixture(ensemble_of(both, width, biases=BIASES))
        mixtures.append(
            width
            * np.concatenate(
                [
                    mixture.predictive_mean - wide.predictive_mean,
                    mixture.predictive_variance - wide.predictive_variance,
                    [mixture.log_evidence - wide.log_evidence],
                ]
            )
        )
    expected = np.array([1 / 3, -2, 8 / 3]) @ mixtures
    whole, beyond = (
        average_and_error(terms_of(spec, data, 64, beyond_scale=beyond))[0]
        for beyond in (False, True)
    )
    found = np.concatenate([np.ravel(w - b) for w, b in zip(whole, beyond, strict=True)])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.min(np.abs(expected)) > 1e-3


def test_of_a_linear_network_the_scale_is_all():
    data = task()
    spec = spec_of(data, 10, "identity")
    beyond, errors = average_and_error(terms_of(spec, data, beyond_scale=True))
    assert max(worst(b / e) for b, e in zip(beyond, errors, strict=True)) < SIGMAS
    whole, _ = average_and_error(terms_of(spec, data))
    assert max(worst(w / e) for w, e in zip(whole, errors, strict=True)) > 10 * SIGMAS
    result, mixture = matched(Ensemble(spec, data)), scale_mixture(Ensemble(spec, data))
    for name in ("bias2", "variance", "generalisation_error", "train_error"):
        found = getattr(result, name)
        assert abs(found.value - getattr(mixture, name).value) < SIGMAS * found.mcse < 0.01


def test_the_scale_of_the_kernel_is_a_readout_precision():
    data = task()
    spec = spec_of(data, biases=BIASES)
    stronger = EnsembleSpec(
        data.in_size, (100,), spec.activation, (0.8, 1.2 / 1.7), 0.8, bias_precisions=BIASES
    )
    scaled, expected = terms_of(spec, data, 200, scale=1.7), terms_of(stronger, data, 200)
    for found, other in zip(scaled, expected, strict=True):
        np.testing.assert_allclose(found, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("theory", [width_expansion, matched])
def test_large_width_is_infinite_width(theory):
    data = task()
    wide = infinite_width(ensemble_of(data))
    distances = []
    for width in (10**9, 10**2):
        result = theory(ensemble_of(data, width), num_units=1000)
        distances.append(np.abs(result.predictive_mean - wide.predictive_mean).max())
        distances[-1] += np.abs(result.predictive_variance - wide.predictive_variance).max()
        distances[-1] += abs(result.train_error.value - wide.train_error.value)
        distances[-1] += abs(result.log_evidence - wide.log_evidence)
    assert distances[0] < 1e-7 < 1e-3 < distances[1]


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_matched_and_width_expansion_differ_at_the_next_order(activation):
    """As 1/N_1², from the same units."""
    data = task()
    differences = []
    for width in (1000, 2000, 4000):
        spec = spec_of(data, width, activation, BIASES)
        one, other = (
            theory(Ensemble(spec, data), num_units=5000) for theory in (matched, width_expansion)
        )
        differences.append(
            [
                np.abs(one.predictive_mean - other.predictive_mean).max(),
                np.abs(one.predictive_variance - other.predictive_variance).max(),
                abs(one.train_error.value - other.train_error.value),
                abs(one.log_evidence - other.log_evidence),
            ]
        )
    ratios = np.array(differences[:-1]) / differences[1:]
    assert np.all(np.abs(ratios - 4) < 0.2)


@pytest.mark.parametrize("num_outputs", [1, 2])
def test_results_are_assembled_as_defined(num_outputs):
    data = task(num_outputs)
    spec = spec_of(data, 20, biases=BIASES)
    result = width_expansion(Ensemble(spec, data), num_units=6400)
    coefficients, _ = average_and_error(terms_of(spec, data, 6400))
    mean, variance, log_evidence = (
        base + c / 20 for base, c in zip(at_all_points(spec, data), coefficients, strict=True)
    )
    shape, n = data.y_test.shape, data.num_test
    np.testing.assert_allclose(result.predictive_mean, mean[:n].reshape(shape), rtol=1e-12)
    np.testing.assert_allclose(result.predictive_variance, variance[:n].reshape(shape), rtol=1e-12)
    np.testing.assert_allclose(result.log_evidence, log_evidence, rtol=1e-12)
    residuals = data.y_train - mean[n:].reshape(data.y_train.shape)
    train_error = (np.sum(residuals**2) + np.sum(variance[n:])) / data.num_train
    np.testing.assert_allclose(result.train_error.value, train_error, rtol=1e-12)
    bias2 = np.sum((data.y_test - result.predictive_mean) ** 2) / n
    np.testing.assert_allclose(result.bias2.value, bias2, rtol=1e-12)
    total = result.bias2.value + result.variance.value
    assert result.generalisation_error.value == pytest.approx(total, rel=1e-14)
    assert result.order_parameters == (1.0,)
    assert result.converged and result.message == ""
    again = width_expansion(Ensemble(spec, data), num_units=6400)
    assert np.array_equal(again.predictive_mean, result.predictive_mean)


@pytest.mark.slow
def test_standard_errors_are_the_scatter_over_seeds(monkeypatch):
    data = task()
    spec = spec_of(data, 20, "relu")
    names = ("bias2", "variance", "generalisation_error", "train_error")
    values, errors = [], []
    for seed in range(200):
        monkeypatch.setattr(hidden_units, "SEED", SEED + 10_000 + seed)
        result = width_expansion(Ensemble(spec, data), num_units=6400)
        values.append([getattr(result, name).value for name in names])
        errors.append([getattr(result, name).mcse for name in names])
    scatter = np.std(values, axis=0, ddof=1)
    reported = np.sqrt(np.mean(np.square(errors), axis=0))
    assert np.all(np.abs(np.log(scatter / reported)) < SIGMAS / np.sqrt(2 * len(values)))
    assert reported[2] > 1.1 * np.hypot(reported[0], reported[1])  # its parts are correlated


def test_small_batches_are_the_same_average(monkeypatch):
    data = task()
    spec = spec_of(data)
    few, error = average_and_error(terms_of(spec, data, 50_000))
    monkeypatch.setattr(hidden_units, "_NUMBERS_AT_ONCE", 700)
    batches = terms_of(spec, data, 50_000)
    many, _ = average_and_error(batches)
    assert len(batches.log_evidence) == 500
    assert max(worst((f - m) / e) for f, m, e in zip(few, many, error, strict=True)) < SIGMAS


@pytest.mark.parametrize("biases", [None, BIASES], ids=["", "biases"])
@pytest.mark.parametrize("num_outputs", [1, 2])
def test_the_pull_of_the_targets_is_that_of_the_matrices(num_outputs, biases):
    """aᵀK a, a = (T + Q K + V Vᵀ)⁻¹y, with the Gram matrix as it is."""
    data, scale = task(num_outputs), 1.7
    spec = spec_of(data, biases=biases)
    x = fields(spec, data.x_train)
    bias = 0.0 if biases is None else 1 / biases[1]
    gram = host_gram(spec, x, x)  # without the bias of the read-out
    noisy = scale * gram + bias + spec.temperature * np.eye(data.num_train)
    a = np.linalg.solve(noisy, data.y_train.reshape(data.num_train, -1))
    expected = np.linalg.eigvalsh(a.T @ (scale * gram) @ a)[-1]
    everywhere = with_training_points(gram_regression(Ensemble(spec, data)))
    assert pull_of_targets(everywhere, spec.temperature, scale) == pytest.approx(expected, rel=1e-9)


def test_the_message_begins_where_the_pull_is_the_width():
    """γ² aᵀK a = 1, of infinite width at the standard scaling; larger targets are the same."""
    data = task()
    ensemble = ensemble_of(data, 20)
    everywhere = with_training_points(gram_regression(ensemble))
    critical = pull_of_targets(everywhere, ensemble.spec.temperature, 1.0) ** -0.5
    for factor, is_said in ((0.99, False), (1.01, True)):
        rich = width_expansion(ensemble.at_richness(factor * critical), num_units=1000)
        y = factor * critical * np.sqrt(20) * data.y_train
        larger = width_expansion(Ensemble(ensemble.spec, replace(data, y_train=y)), num_units=1000)
        assert rich.message == larger.message
        assert ("aᵀKa/N_1 = 1.02" in rich.message) is is_said and rich.converged


@pytest.mark.parametrize("theory", [width_expansion, matched])
def test_at_zero_temperature_the_training_set_is_learnt(theory):
    data = task(in_size=6)
    cold, colder = (
        theory(ensemble_of(data, 200, biases=BIASES, temperature=t), num_units=1000)
        for t in (1e-8, 0.0)
    )
    assert colder.train_error.value < 1e-14 < cold.train_error.value < 1e-7
    np.testing.assert_allclose(cold.predictive_mean, colder.predictive_mean, atol=1e-6)
    np.testing.assert_allclose(cold.predictive_variance, colder.predictive_variance, atol=1e-6)
    assert colder.message == ""


def test_a_negative_variance_is_kept_and_told():
    data = task()
    easy = Dataset("", data.x_train, data.y_train / 10, data.x_test, data.y_test / 10)
    result = width_expansion(ensemble_of(easy, 1, temperature=0.01), num_units=6400)
    negative = np.sum(result.predictive_variance < 0)
    assert negative > 0
    assert f"negative at {negative} of 3 test points" in result.message
    assert result.converged and "however well that is solved" in result.message
    assert "N_1 = 1 is too small" in result.message


def test_where_they_do_not_apply_they_say_so():
    data = task()
    deep = EnsembleSpec(3, (5, 5), ACTIVATIONS["erf"], (1.0,) * 3, 0.1)
    patches = EnsembleSpec(
        4, (5,), ACTIVATIONS["erf"], (1.0, 1.0), 0.1, patches=Patches((2, 2, 1), 1, 1)
    )
    images = task(in_size=4)
    for name in ("width_expansion", "matched"):
        with pytest.raises(NotApplicable, match=f"{name} describes one hidden layer, .* has 2"):
            THEORIES[name](Ensemble(deep, data))
        with pytest.raises(NotApplicable, match="this network is convolutional"):
            THEORIES[name](Ensemble(patches, images))
    two = task(num_outputs=2)
    with pytest.raises(NotApplicable, match="matched describes one output, this network has 2"):
        matched(ensemble_of(two))


@pytest.mark.parametrize("theory", [width_expansion, matched])
def test_bad_input_is_told_what_to_give(theory):
    data = task()
    with pytest.raises(InputError, match="num_units must be 64 or more, got 63"):
        theory(ensemble_of(data), num_units=63)
    with pytest.raises(InputError, match="inputs of size 3"):
        theory(Ensemble(spec_of(data), task(in_size=4)))


def test_hidden_units_are_drawn_once_for_all_that_share_them(monkeypatch):
    """Two theories at other widths, T and λ_1, and the same numbers where nothing is kept."""
    drawn, draw = [], hidden_units._drawn
    monkeypatch.setattr(hidden_units, "_drawn", lambda *a: drawn.append(a) or draw(*a))
    ensemble = Ensemble(spec_of(task()), task())
    others = [
        ensemble,
        ensemble.at(hidden_widths=(7,), temperature=0.1, prior_precisions=(0.8, 5.0)),
    ]

    def numbers(ensembles):
        return [
            theory(other, num_units=640).predictive_variance
            for other in ensembles
            for theory in (width_expansion, matched)
        ]

    shared = numbers(others)
    assert len(drawn) == 1
    numbers([ensemble.at(prior_precisions=(3.0, 1.2))])
    assert len(drawn) == 2, "other hidden units"
    monkeypatch.setattr(hidden_units, "KEPT_UNIT_BYTES", 0.0)
    np.testing.assert_array_equal(shared, numbers(others))
    assert len(drawn) == 6
