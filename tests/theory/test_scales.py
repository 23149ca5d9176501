"""Theories of the posterior: against reference values, direct integrals, draws, and limits."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import GOLDEN, SEED, deviation, ensemble_of, small_task, spec_of, toy, two_outputs
from scipy.integrate import quad
from scipy.stats import gamma, multivariate_normal

from langevin_nn.data.dataset import Dataset
from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory import suite
from langevin_nn.theory.effective.infinite_width import infinite_width
from langevin_nn.theory.effective.one_layer import one_layer
from langevin_nn.theory.effective.scale_mixture import scale_mixture
from langevin_nn.theory.kernels.nngp import gram_blocks, nngp
from langevin_nn.theory.predictive import order_parameter_distribution
from langevin_nn.theory.suite import THEORIES, predict
from langevin_nn.types import Activation, EnsembleSpec, InputError, NotApplicable, Patches

ROWS = json.loads((GOLDEN / "toy_theory.json").read_text())["rows"]


@pytest.mark.parametrize(
    "row", ROWS, ids=[f"{r['theory']}-{r['activation']}-{r['widths'][0]}" for r in ROWS]
)
def test_reference_values(row):
    data = toy()
    activation = {"id": "identity"}.get(row["activation"], row["activation"])
    spec = spec_of(
        data, tuple(row["widths"]), activation, tuple(row["precisions"]), row["temperature"]
    )
    result = THEORIES[row["theory"]](Ensemble(spec, data))
    assert result.converged
    assert abs(result.bias2.value - row["bias"]) < 1e-6
    assert abs(result.variance.value - row["variance"]) < 1e-6
    np.testing.assert_allclose(result.order_parameters, row["Q"], atol=1e-6)


def test_results_are_assembled_as_defined():
    data = toy()
    result = one_layer(ensemble_of(data))
    bias2 = np.mean((data.y_test - result.predictive_mean) ** 2)
    variance = np.mean(result.predictive_variance)
    assert result.bias2.value == pytest.approx(bias2, rel=1e-14)
    assert result.variance.value == pytest.approx(variance, rel=1e-14)
    assert result.generalisation_error.value == pytest.approx(bias2 + variance, rel=1e-14)
    accuracy = np.mean(np.sign(result.predictive_mean) == data.y_test)
    assert result.test_accuracy.value == accuracy
    assert 0.5 < accuracy < 1
    assert result.bias2.mcse == result.variance.mcse == result.train_error.mcse == 0
    assert result.predictive_mean.dtype == result.predictive_variance.dtype == np.float64


def test_accuracy_is_about_the_midpoint_of_the_targets():
    data = toy()
    shifted = Dataset("0 and 1", data.x_train, (data.y_train + 1) / 2, data.x_test, data.y_test > 0)
    spec = spec_of(data, temperature=0.01)
    mean = infinite_width(Ensemble(spec, shifted)).predictive_mean
    expected = np.mean((mean > 0.5) == (data.y_test > 0))
    assert infinite_width(Ensemble(spec, shifted)).test_accuracy.value == expected
    assert expected != np.mean((mean > 0) == (data.y_test > 0))


@pytest.mark.parametrize("temperature", [0.05, 2.0])
def test_without_hidden_layers_it_is_bayesian_linear_regression(temperature):
    """In weight space, where the posterior precision is λ_0 I + XᵀX/(T N_0)."""
    data = small_task()
    spec = EnsembleSpec(data.in_size, (), None, (0.7,), temperature)
    x, x_test = (each / np.sqrt(data.in_size) for each in (data.x_train, data.x_test))
    precision = 0.7 * np.eye(data.in_size) + x.T @ x / temperature
    weights = np.linalg.solve(precision, x.T @ data.y_train) / temperature
    result = infinite_width(Ensemble(spec, data))
    np.testing.assert_allclose(result.predictive_mean, x_test @ weights, atol=1e-12)
    variance = np.sum(x_test * np.linalg.solve(precision, x_test.T).T, axis=1)
    np.testing.assert_allclose(result.predictive_variance, variance, atol=1e-12)
    train = (data.y_train - x @ weights) ** 2 + np.sum(x * np.linalg.solve(precision, x.T).T, 1)
    np.testing.assert_allclose(result.train_error.value, np.mean(train), atol=1e-12)


def test_infinite_width_of_a_deep_network():
    data = small_task()
    spec = spec_of(data, (7, 8, 9), "relu", (0.9, 1.1, 0.6, 1.4))
    assert infinite_width(Ensemble(spec, data)).predictive_mean.shape == (4,)
    check_infinite_width(spec, data)
    check_infinite_width(spec_of(data, (7,), "gelu", biases=True), data)
    check_infinite_width(spec_of(data, (), precisions=(0.8,), biases=True), data)


def check_infinite_width(spec, data):
    noisy = nngp(spec, data.x_train) + 0.1 * np.eye(data.num_train)
    cross = nngp(spec, data.x_test, data.x_train)
    result = infinite_width(Ensemble(spec, data))
    mean = cross @ np.linalg.solve(noisy, data.y_train)
    np.testing.assert_allclose(result.predictive_mean, mean, atol=1e-12)
    explained = np.diagonal(cross @ np.linalg.solve(noisy, cross.T))
    variance = np.diagonal(nngp(spec, data.x_test)) - explained
    np.testing.assert_allclose(result.predictive_variance, variance, atol=1e-12)
    residual = data.y_train - (noisy - 0.1 * np.eye(6)) @ np.linalg.solve(noisy, data.y_train)
    spread = np.trace(0.1 * np.eye(6) - 0.01 * np.linalg.inv(noisy))
    train_error = np.mean(residual**2) + spread / 6
    np.testing.assert_allclose(result.train_error.value, train_error, rtol=1e-11)
    evidence = multivariate_normal.logpdf(data.y_train, np.zeros(6), noisy)
    np.testing.assert_allclose(result.log_evidence, evidence, rtol=1e-12)
    own = predict(Ensemble(spec, data), []).criterion
    kernel = noisy - 0.1 * np.eye(6)
    if own is not None:
        np.testing.assert_allclose(
            own, data.y_train @ np.linalg.solve(kernel, data.y_train) / 6, rtol=1e-6
        )


def conditional(blocks, y, temperature, scale):
    """log N(y; 0, T I + Q K), and the mean and variance at the test points, for one Q."""
    noisy = scale * blocks.train + temperature * np.eye(len(y))
    cross = scale * blocks.cross
    mean = cross @ np.linalg.solve(noisy, y)
    variance = scale * blocks.test_diagonal - np.diagonal(cross @ np.linalg.solve(noisy, cross.T))
    return multivariate_normal.logpdf(y, np.zeros(len(y)), noisy), mean, variance


@pytest.mark.parametrize("width, temperature", [(1, 0.1), (3, 0.0), (4, 0.01), (60, 0.1)])
def test_scale_mixture_is_the_integral_over_the_gamma_prior(width, temperature):
    data = small_task()
    spec = spec_of(data, (width,), temperature=temperature)
    blocks = gram_blocks(Ensemble(spec, data))
    result = scale_mixture(Ensemble(spec, data))
    prior = gamma(width / 2, scale=2 / width)
    centre = np.log(one_layer(Ensemble(spec, data)).order_parameters[0])
    reference = conditional(blocks, data.y_train, temperature, np.exp(centre))[0]

    def moment(function):
        """∫ function(Q, m_Q, s_Q) p(y | Q) p(Q) dQ, in q = log Q."""

        def integrand(q):
            log_likelihood, *moments = conditional(blocks, data.y_train, temperature, np.exp(q))
            weight = np.exp(log_likelihood - reference + prior.logpdf(np.exp(q)) + q)
            return weight * function(np.exp(q), *moments)

        reach = 40 if width < 10 else 3
        points = {"epsrel": 1e-9, "epsabs": 0.0, "limit": 200}
        return sum(
            quad(integrand, *sorted((centre, centre + side)), **points)[0]
            for side in (-reach, min(reach, 6))
        )

    total = moment(lambda q, m, s: 1.0)
    mean = moment(lambda q, m, s: m[0]) / total
    second = moment(lambda q, m, s: s[0] + m[0] ** 2) / total
    assert result.converged
    np.testing.assert_allclose(result.order_parameters[0], moment(lambda q, m, s: q) / total, 1e-7)
    np.testing.assert_allclose(result.predictive_mean[0], mean, rtol=1e-7)
    np.testing.assert_allclose(result.predictive_variance[0], second - mean**2, rtol=1e-7)


def weighted_z_scores(weights, values, expected):
    """(Self-normalised importance average of values − expected) in standard errors."""
    weights = weights / np.sum(weights)
    average = weights @ values
    error = np.sqrt(np.square(weights) @ np.square(values - average))
    return np.abs(average - expected) / error


def test_scale_mixture_is_the_average_over_draws_of_the_scale():
    data = small_task()
    width, temperature = 6, 0.2
    spec = spec_of(data, (width,), temperature=temperature)
    blocks = gram_blocks(Ensemble(spec, data))
    result = scale_mixture(Ensemble(spec, data))
    scales = np.random.default_rng(SEED + 2).gamma(width / 2, 2 / width, size=20_000)
    noisy = scales[:, None, None] * blocks.train + temperature * np.eye(data.num_train)
    fit = np.linalg.solve(noisy, np.broadcast_to(data.y_train[:, None], (*noisy.shape[:2], 1)))
    fit = fit[:, :, 0]
    log_weights = -0.5 * (np.linalg.slogdet(noisy)[1] + fit @ data.y_train)
    weights = np.exp(log_weights - log_weights.max())
    means = scales[:, None] * fit @ blocks.cross.T
    explained = np.linalg.solve(noisy, np.broadcast_to(blocks.cross.T, (*noisy.shape[:2], 4)))
    explained = scales[:, None] ** 2 * np.einsum("tp,npt->nt", blocks.cross, explained)
    squares = scales[:, None] * blocks.test_diagonal - explained + means**2
    expected = result.predictive_variance + result.predictive_mean**2
    assert np.max(weighted_z_scores(weights, scales, result.order_parameters[0])) < 5
    assert np.max(weighted_z_scores(weights, means, result.predictive_mean)) < 5
    assert np.max(weighted_z_scores(weights, squares, expected)) < 5
    hotter = scale_mixture(ensemble_of(data, (width,), temperature=1.1 * temperature))
    wider = scale_mixture(ensemble_of(data, (9,), temperature=temperature))
    for mistaken in (hotter, wider):
        shifted = mistaken.predictive_variance + mistaken.predictive_mean**2
        assert np.max(weighted_z_scores(weights, squares, shifted)) > 5


@pytest.mark.parametrize("widths", [(4,), (3, 2)])
def test_order_parameter_of_a_linear_network_is_that_of_the_mixture(widths):
    """Q = λ_1‖v‖²/N_1, of two layers with ‖vW‖²: drawn from the prior, weighted with N(y; 0, A_Q).

    The density of one layer is that of a Gamma, times the likelihood, at each point.
    """
    data, temperature = small_task(num_train=3, num_test=2, in_size=3), 0.3
    spec = spec_of(data, widths, "identity", (0.9, 1.3, 0.8)[: len(widths) + 1], temperature)
    found = order_parameter_distribution(Ensemble(spec, data))
    gram = gram_blocks(Ensemble(spec, data)).train

    def likelihood(scales):
        noisy = scales[:, None, None] * gram + temperature * np.eye(3)
        return multivariate_normal.pdf(
            np.linalg.solve(np.linalg.cholesky(noisy), data.y_train[:, None])[..., 0], np.zeros(3)
        ) / np.sqrt(np.linalg.det(noisy))

    rng = np.random.default_rng(SEED + 4)
    readout = rng.standard_normal((200_000, 1, widths[-1]))
    for width in widths[-2::-1]:
        readout = readout @ rng.standard_normal((len(readout), readout.shape[2], width))
    scales = np.sum(np.square(readout), axis=(1, 2)) / np.prod(widths)
    weights = likelihood(scales)
    assert abs(found.moment(0) - 1) < 1e-12
    assert weighted_z_scores(weights, scales, found.moment(1)) < 5
    assert weighted_z_scores(weights, scales**2, found.moment(2)) < 5
    assert weighted_z_scores(weights, scales, 1.1 * found.moment(1)) > 5
    if len(widths) == 1:
        expected = gamma(widths[0] / 2, scale=2 / widths[0]).pdf(found.scales)
        expected = expected * likelihood(found.scales)
        bulk = found.density > 1e-6 * found.density.max()
        ratio = found.density[bulk] / expected[bulk]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-8)


@pytest.mark.parametrize("widths", [(2,), (3, 2), (1, 4, 2)])
def test_scale_mixture_is_exact_for_narrow_linear_networks(widths):
    """Against all weights drawn from the prior, weighted with exp(−½ Σ (y − f)²/T)."""
    data = small_task(num_train=3, num_test=2, in_size=3)
    temperature, draws = 0.8, 300_000
    precisions = (0.9, 1.3, 0.8, 1.1)[: len(widths) + 1]
    spec = spec_of(data, widths, "identity", precisions, temperature)
    rng = np.random.default_rng(SEED + 3)
    effective = np.broadcast_to(np.eye(3), (draws, 3, 3))
    for width, precision in zip((*widths, 1), precisions, strict=True):
        weights = rng.standard_normal((draws, effective.shape[2], width))
        effective = effective @ weights / np.sqrt(precision * effective.shape[2])
    effective = effective[:, :, 0]
    misfit = np.sum((data.y_train - effective @ data.x_train.T) ** 2, axis=1)
    weights = np.exp(-misfit / (2 * temperature))
    values = effective @ data.x_test.T
    result = scale_mixture(Ensemble(spec, data))
    squares = result.predictive_variance + result.predictive_mean**2
    assert np.max(weighted_z_scores(weights, values, result.predictive_mean)) < 5
    assert np.max(weighted_z_scores(weights, values**2, squares)) < 5
    train_error = result.train_error.value
    assert weighted_z_scores(weights, misfit / 3, train_error) < 5
    likelihood = np.exp(result.log_evidence) * (2 * np.pi * temperature) ** 1.5
    assert weighted_z_scores(np.ones(draws), weights, likelihood) < 5
    wide = infinite_width(Ensemble(spec, data))
    wide_squares = wide.predictive_variance + wide.predictive_mean**2
    assert np.max(weighted_z_scores(weights, values**2, wide_squares)) > 5


def test_scale_mixture_approaches_one_layer_as_one_over_the_width():
    ensemble, differences = ensemble_of(toy()), []
    for width in (500, 1000, 2000, 4000):
        there = ensemble.at(hidden_widths=(width,))
        mixture, saddle = (theory(there) for theory in (scale_mixture, one_layer))
        differences.append(deviation(mixture, saddle))
    ratios = np.array(differences[:-1]) / differences[1:]
    assert np.all(np.abs(ratios - 2) < 0.15)


@pytest.mark.parametrize("theory", [one_layer, scale_mixture])
def test_large_width_is_infinite_width(theory):
    data = toy()
    near, far = (
        deviation(theory(Ensemble(spec, data)), infinite_width(Ensemble(spec, data)))
        for spec in (spec_of(data, (10**8,)), spec_of(data, (10**2,)))
    )
    assert near < 1e-5 < 1e-3 < far


def test_closed_form_at_zero_temperature():
    data = toy()
    spec = spec_of(data, (50,), precisions=(1.0, 3.0), temperature=0.0)
    alpha, criterion = data.num_train / 50, predict(Ensemble(spec, data), []).criterion
    root = np.sqrt((1 - alpha) ** 2 + 4 * alpha * criterion)
    expected = ((1 - alpha) + root) / 2
    np.testing.assert_allclose(
        one_layer(Ensemble(spec, data)).order_parameters, [expected], rtol=1e-11
    )
    assert one_layer(Ensemble(spec, data)).train_error.value < 1e-20


def test_bias_at_zero_temperature_depends_neither_on_width_nor_on_readout_precision():
    data = toy()
    specs = [
        spec_of(data, (width,), precisions=(1.0, precision), temperature=0.0)
        for width, precision in [(10, 1.0), (1000, 1.0), (10, 50.0)]
    ]
    for theory in (one_layer, scale_mixture):
        biases = [theory(Ensemble(spec, data)).bias2.value for spec in specs]
        np.testing.assert_allclose(biases, biases[0], rtol=1e-10)
    warm = spec_of(data, (10,), precisions=(1.0, 50.0), temperature=0.1)
    assert abs(one_layer(Ensemble(warm, data)).bias2.value / biases[0] - 1) > 0.01


def test_variance_at_large_readout_precision_falls_as_its_square_root():
    """Variance ∝ Q/λ_1 → √(α s_0/λ_1) at T = 0."""
    data = toy()
    variances = [
        one_layer(ensemble_of(data, (80,), precisions=(1.0, p), temperature=0.0)).variance.value
        for p in (1e6, 1e8)
    ]
    np.testing.assert_allclose(variances[0] / variances[1], 10, rtol=1e-2)


def test_finite_width_lowers_the_variance_exactly_where_the_criterion_is_below_one():
    data = toy()
    for precision in (0.05, 5.0):
        spec = spec_of(data, (80,), precisions=(1.0, precision), temperature=0.0)
        predictions = predict(Ensemble(spec, data))
        below = predictions.results["one_layer"].order_parameters[0] < 1
        assert below is (predictions.criterion < 1)
        assert below is (precision == 0.05)


def test_all_theories_share_one_factorisation(monkeypatch):
    data = toy()
    spec = spec_of(data)
    names = ["infinite_width", "one_layer", "scale_mixture", "global"]
    alone = {name: THEORIES[name](Ensemble(spec, data)) for name in names}
    calls = []
    eigh = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda a: calls.append(a.shape) or eigh(a))
    together = predict(Ensemble(spec, data), names)
    assert calls == [(40, 40)]
    assert list(together.results) == names
    assert together.not_applicable == {}
    assert all(deviation(together.results[name], alone[name]) == 0 for name in names)
    gram = nngp(spec, data.x_train)
    expected = data.y_train @ np.linalg.solve(gram, data.y_train) / 40
    np.testing.assert_allclose(together.criterion, expected, rtol=1e-9)


def test_theories_that_do_not_apply_say_why():
    data = toy()
    deep = predict(ensemble_of(data, (5, 5)))
    assert list(deep.results) == ["infinite_width", "nested", "global", "scale_mixture"]
    assert set(deep.results) | set(deep.not_applicable) == set(THEORIES)
    assert deep.not_applicable["one_layer"] == (
        "one_layer describes one hidden layer, this network has 2"
    )
    assert "this network is fully connected" in deep.not_applicable["convolutional"]
    shallow = predict(ensemble_of(data))
    assert "ask for it by name" in shallow.not_applicable["nested"]
    assert list(predict(ensemble_of(data), ["nested"]).results) == ["nested"]
    with pytest.raises(NotApplicable, match="needs at least 2 hidden units, this network has 1"):
        THEORIES["one_layer_nonodd"](ensemble_of(data, (1,), "relu"))
    patches = Patches((4, 4, 1), 2, 2)
    with pytest.raises(NotApplicable, match="this network is convolutional"):
        one_layer(ensemble_of(data, patches=patches))
    with pytest.raises(NotApplicable, match="describes one output, this network has 2"):
        one_layer(ensemble_of(two_outputs(data)))
    unknown = EnsembleSpec(data.in_size, None, None, (1.0,), 0.1, architecture="LeNet")
    predictions = predict(Ensemble(unknown, data), ["one_layer"])
    assert predictions.results == {}
    assert "LeNet" in predictions.not_applicable["one_layer"]
    assert predictions.criterion is None
    assert "LeNet" in predictions.criterion_message
    for theory in THEORIES.values():
        with pytest.raises(NotApplicable, match="LeNet"):
            theory(Ensemble(unknown, data))
    with pytest.raises(NotApplicable, match="this network has 0"):
        one_layer(ensemble_of(data, ()))


def test_linear_network_with_more_examples_than_inputs_has_no_criterion():
    data = toy()
    predictions = predict(ensemble_of(data, activation="identity"))
    assert predictions.criterion is None
    assert "singular" in predictions.criterion_message
    assert all(result.converged for result in predictions.results.values())


def test_an_activation_that_is_not_odd_is_named():
    data = toy()
    predictions = predict(ensemble_of(data, activation="relu"))
    assert predictions.results["infinite_width"].message == ""
    for name in ("one_layer", "scale_mixture"):
        assert "relu is not odd" in predictions.results[name].message
        assert predict(ensemble_of(data)).results[name].message == ""


def test_an_average_that_does_not_converge_says_so(monkeypatch):
    monkeypatch.setattr("langevin_nn.theory.saddles.average._MOST_INTERVALS", 16)
    monkeypatch.setattr("langevin_nn.theory.saddles.average._FEWEST_INTERVALS", 8)
    data = toy()
    result = scale_mixture(ensemble_of(data))
    assert not result.converged
    assert "still moved by" in result.message


BROKEN = Activation(
    "broken", lambda z: z, lambda a, b, c: jnp.where(jnp.abs(c) > 5, np.nan, c), odd=True
)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"in_size": 7}, r"inputs of size 7, the data have shape \(40, 16\)"),
        ({"activation": BROKEN, "prior_precisions": (0.01, 1.0)}, "not finite"),
        (
            {
                "hidden_widths": (),
                "prior_precisions": (1.0,),
                "bias_precisions": (1.0,),
                "temperature": 0.0,
            },
            "singular",
        ),
        ({"names": ["one_layr"]}, "unknown theory 'one_layr'; did you mean \"one_layer\""),
    ],
)
def test_bad_input_is_told_what_to_give(change, message):
    data = toy()
    fields = {
        "in_size": data.in_size,
        "hidden_widths": (10,),
        "activation": ACTIVATIONS["erf"],
        "prior_precisions": (1.0, 1.0),
        "temperature": 0.1,
    }
    names = change.pop("names", None)
    with pytest.raises(InputError, match=message) as caught:
        predict(Ensemble(EnsembleSpec(**(fields | change)), data), names)
    assert "\n" not in str(caught.value)


def test_float32_is_refused():
    data = toy()
    with jax.enable_x64(False), pytest.raises(InputError, match="jax_enable_x64"):
        suite.predict(ensemble_of(data))
