"""The richness γ: the package's posterior is that of f = w·φ/(N_L γ), and of targets γ√N_L y.

The mean-field ensemble is written down here on its own, in NumPy: prior N(0, 1/λ), Gibbs weight
exp(−(N_L γ²/T) Σ_μ ℓ(f(x_μ), y_μ)).
"""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import SEED, small_task, spec_of, two_outputs
from refusals import refuses
from scipy.special import erf
from statistics_in_sigmas import SIGMAS

import langevin_nn as lnn
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.richness import precision_factor
from langevin_nn.theory import infinite_width, matched, one_layer, predict, width_expansion

PRECISIONS, BIAS_PRECISIONS, TEMPERATURE, RICHNESS = (0.8, 1.2, 0.7), (1.5, 2.5, 0.6), 0.3, 0.6
LOSSES = {
    "squared": (lnn.Squared(), lambda f, y: (f - y) ** 2 / 2),
    "logistic": (lnn.Logistic(), lambda f, y: np.log1p(np.exp(-y * f))),
}


def network_of(data, widths, *, biases=False):
    return lnn.FullyConnected(
        data.in_size, widths, activation="erf", biases=biases, key=jax.random.key(0),
        num_outputs=1 if data.y_train.ndim == 1 else data.y_train.shape[1], dtype=jnp.float64,
    )  # fmt: skip


def prior_of(widths, biases):
    depth = len(widths) + 1
    return lnn.GaussianPrior(PRECISIONS[-depth:], BIAS_PRECISIONS[-depth:] if biases else None)


def mean_field_potential(weights, biases, data, loss):
    """−log of the density of the mean-field ensemble without its constants, in NumPy alone."""
    depth, (signs, h) = len(weights), (data.y_train, data.x_train)
    widths = [weight.shape[1] for weight in weights]
    for layer, weight in enumerate(weights):
        features = h if layer == 0 else erf(h)
        h = features @ weight.T / np.sqrt(widths[layer])
        if biases:
            h = h + biases[layer]
    f = h.reshape(signs.shape) / (RICHNESS * np.sqrt(widths[-1]))  # all of the read-out's part
    quadratic = sum(
        p * np.sum(w**2)
        for precisions, arrays in ((PRECISIONS, weights), (BIAS_PRECISIONS, biases))
        for p, w in zip(precisions[-depth:], arrays, strict=bool(arrays))
    )
    beta = widths[-1] * RICHNESS**2 / TEMPERATURE
    return beta * np.sum(loss(f, signs)) + quadratic / 2


def signs_of(data):
    return replace(data, y_train=np.sign(data.y_train), y_test=np.sign(data.y_test))


@pytest.mark.slow_except(
    "one layer-biases-squared-2", "two layers--squared-1", "one layer--logistic-1"
)
@pytest.mark.parametrize(("loss", "outputs"), [("squared", 1), ("squared", 2), ("logistic", 1)])
@pytest.mark.parametrize("biases", [False, True], ids=["", "biases"])
@pytest.mark.parametrize("widths", [(7,), (4, 9)], ids=["one layer", "two layers"])
def test_the_posterior_is_that_of_the_mean_field_ensemble(widths, biases, outputs, loss):
    """At any weights, w = γ√N_L v: no constant is lost, the biases of the read-out included."""
    data = signs_of(small_task() if outputs == 1 else two_outputs(small_task()))
    network, (package_loss, function) = network_of(data, widths, biases=biases), LOSSES[loss]
    prior, temperature = lnn.at_richness(RICHNESS, network, prior_of(widths, biases), TEMPERATURE)
    unreduced = replace(data, x_train=data.x_train[:, :4], x_test=data.x_test[:, :4])
    network = network_of(unreduced, widths, biases=biases)  # more examples than inputs: as they are
    posterior = lnn.GibbsPosterior(network, prior, unreduced, temperature, package_loss)
    params = posterior.sample_prior(jax.random.key(SEED + 1), 3)
    for chain, energy in enumerate(posterior.potential(params)):
        batch = posterior.lifted_networks(params, jax.random.split(jax.random.key(1), 3))
        weights, of_biases = ([np.array(a[chain]) for a in arrays] for arrays in
                              (batch.weights, batch.biases))  # fmt: skip
        factor = RICHNESS * np.sqrt(widths[-1])
        weights[-1] = weights[-1] * factor
        if biases:
            of_biases[-1] = of_biases[-1] * factor
        weights[-1] = weights[-1].reshape(-1, widths[-1])
        expected = mean_field_potential(weights, of_biases, unreduced, function)
        np.testing.assert_allclose(energy, expected, rtol=1e-10)


@pytest.mark.parametrize("kind", [lnn.GibbsPosterior, lnn.MarginalisedPosterior])
def test_it_is_the_standard_posterior_of_larger_targets(kind):
    """Of γ√N_L y at the λ_L and the T that are given: the same weight at w = γ√N_L v."""
    data, widths = small_task(), (8,)
    network, prior = network_of(data, widths), prior_of(widths, False)
    factor = RICHNESS * np.sqrt(8)
    rich = kind(network, *_ordered(lnn.at_richness(RICHNESS, network, prior, TEMPERATURE), data))
    larger = replace(data, y_train=factor * data.y_train, y_test=factor * data.y_test)
    standard = kind(network, prior, larger, TEMPERATURE)
    params = rich.sample_prior(jax.random.key(SEED), 4)
    others = params
    if kind is lnn.GibbsPosterior:
        others = eqx.tree_at(lambda p: p.weights[-1], params, factor * params.weights[-1])
    np.testing.assert_allclose(rich.potential(params) - standard.potential(others), _difference(
        kind, data.num_train, factor), rtol=1e-9, atol=1e-9)  # fmt: skip


def _ordered(scaled, data):
    prior, temperature = scaled
    return prior, data, temperature


def _difference(kind, num_train, factor):
    """½ log det(K + T) of the smaller f, where the read-out is integrated out."""
    return 0.0 if kind is lnn.GibbsPosterior else -num_train * np.log(factor)


@pytest.mark.parametrize("biases", [False, True], ids=["", "biases"])
def test_theories_are_those_of_larger_targets(biases):
    """Means are smaller by γ√N, variances and errors by its square, log p(y) by the Jacobian."""
    data, width = small_task(), 12
    ensemble = Ensemble(spec_of(data, (width,), biases=biases), data)
    factor = RICHNESS * np.sqrt(width)
    larger = replace(data, y_train=factor * data.y_train, y_test=factor * data.y_test)
    names = ("infinite_width", "one_layer", "scale_mixture", "width_expansion", "matched")
    rich = predict(ensemble.at_richness(RICHNESS), names).results
    standard = predict(Ensemble(ensemble.spec, larger), names).results
    for name, mine in rich.items():
        other = standard[name]
        assert mine.converged and other.converged
        np.testing.assert_allclose(mine.predictive_mean * factor, other.predictive_mean, rtol=1e-7)
        for quantity in ("bias2", "variance", "train_error"):
            value, expected = (getattr(result, quantity).value for result in (mine, other))
            assert value * factor**2 == pytest.approx(expected, rel=1e-7), (name, quantity)
        assert mine.order_parameters == pytest.approx(other.order_parameters, rel=1e-9)
        jacobian = data.num_train * np.log(factor)
        assert mine.log_evidence == pytest.approx(other.log_evidence + jacobian, rel=1e-9)
        assert mine.message == other.message


def test_infinite_width_is_the_regression_of_the_mean_field_ensemble():
    """K = κ(C)/(λ_1 N γ²) and the noise T/(N γ²), κ that of erf, all in NumPy."""
    data, width = small_task(), 12
    spec = spec_of(data, (width,), precisions=(0.8, 1.2), temperature=TEMPERATURE)
    x = np.concatenate([data.x_train, data.x_test])
    c = 2 * x @ x.T / (0.8 * data.in_size)
    norms = np.sqrt(1 + np.diag(c))
    kernel = 2 / np.pi * np.arcsin(c / np.outer(norms, norms)) / (1.2 * width * RICHNESS**2)
    seen = slice(data.num_train)
    noisy = kernel[seen, seen] + TEMPERATURE / (width * RICHNESS**2) * np.eye(data.num_train)
    rest = kernel[data.num_train :, seen]
    found = infinite_width(Ensemble(spec, data).at_richness(RICHNESS))
    np.testing.assert_allclose(
        found.predictive_mean, rest @ np.linalg.solve(noisy, data.y_train), rtol=1e-9
    )
    prior = np.diag(kernel)[data.num_train :]
    explained = np.sum(rest * np.linalg.solve(noisy, rest.T).T, axis=1)
    np.testing.assert_allclose(found.predictive_variance, prior - explained, rtol=1e-9)


def mean_field_predictions(data, width, num_networks, rng, richness=RICHNESS):
    """Mean and variance of f at the test points by importance sampling of w's hidden layer.

    Each with its standard error, over batches of networks.
    """
    lambda_0, lambda_1 = PRECISIONS[:2]
    x = np.concatenate([data.x_train, data.x_test])
    num_train, batches = data.num_train, []
    for _ in range(40):
        shape = (num_networks // 40, width, data.in_size)
        hidden = rng.standard_normal(shape) / np.sqrt(lambda_0 * data.in_size)
        phi = erf(hidden @ x.T).swapaxes(1, 2)  # (networks, points, N)
        kernel = phi @ phi.swapaxes(1, 2) / (lambda_1 * width**2 * richness**2)
        noisy = kernel[:, :num_train, :num_train] + (
            TEMPERATURE / (width * richness**2) * np.eye(num_train)
        )
        a = np.linalg.solve(noisy, data.y_train[:, None])
        k = kernel[:, num_train:, :num_train]
        mean = (k @ a)[:, :, 0]
        explained = np.sum(k * np.linalg.solve(noisy, k.swapaxes(1, 2)).swapaxes(1, 2), axis=2)
        variance = np.diagonal(kernel, axis1=1, axis2=2)[:, num_train:] - explained
        logs = -0.5 * (np.linalg.slogdet(noisy)[1] + (data.y_train @ a)[:, 0])
        batches.append((logs, mean, variance))
    largest = max(logs.max() for logs, *_ in batches)
    weights = [np.exp(logs - largest) for logs, *_ in batches]

    def moments(indices):
        total = sum(weights[i].sum() for i in indices)
        first = sum(weights[i] @ batches[i][1] for i in indices) / total
        second = sum(weights[i] @ (batches[i][2] + batches[i][1] ** 2) for i in indices) / total
        return np.stack([first, second - first**2])

    jackknife = np.stack([moments([j for j in range(40) if j != i]) for i in range(40)])
    error = np.sqrt(39 / 40 * np.sum((jackknife - jackknife.mean(axis=0)) ** 2, axis=0))
    return moments(range(40)), error


@pytest.mark.slow
@pytest.mark.parametrize("kind", [lnn.MarginalisedPosterior, lnn.GibbsPosterior])
def test_samples_are_those_of_the_mean_field_ensemble(kind):
    """A λ_L or a T that is not scaled is seen, at infinite width already."""
    data, width = small_task(num_train=4, num_test=3, in_size=3), 6
    network = network_of(data, (width,))
    prior = lnn.GaussianPrior(PRECISIONS[:2])
    scaled, temperature = lnn.at_richness(RICHNESS, network, prior, TEMPERATURE)
    truth, error = mean_field_predictions(data, width, 200_000, np.random.default_rng(SEED + 5))
    chains = lnn.sample(
        kind(network, scaled, data, temperature), lnn.Split(), key=jax.random.key(SEED + 2),
        num_chains=16, num_warmup=300, num_samples=1500, progress=False,
    )  # fmt: skip
    f = chains.f

    def worst(mean, variance):
        """In standard errors, over f and its square about the true mean: linear in the draws."""
        draws = np.stack([f, np.square(f - truth[0])]).mean(axis=2)
        mcse = np.hypot(draws.std(axis=1, ddof=1) / np.sqrt(len(f)), error)
        expected = np.stack([mean, variance + (mean - truth[0]) ** 2])
        return np.max(np.abs(draws.mean(axis=1) - expected) / mcse)

    assert worst(*truth) < SIGMAS
    for mistake in ((prior, TEMPERATURE), (scaled, TEMPERATURE), (prior, temperature)):
        wrong = infinite_width(kind(network, mistake[0], data, mistake[1]).ensemble)
        assert worst(wrong.predictive_mean, wrong.predictive_variance) > 4 * SIGMAS


def same_task():
    """The same for every seed, so that what theories are off by keeps its size."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((7, 3))
    y = np.sign(x[:, 0] * x[:, 1]) + 0.3 * rng.standard_normal(7)
    return lnn.Dataset("small", x[:4], y[:4], x[4:], y[4:])


@pytest.mark.parametrize("theory", [width_expansion, matched])
def test_expansions_say_where_networks_are_too_rich_for_them(theory):
    """And only there: where they say nothing both moments are the truth's to 1 %."""
    data, width = same_task(), 12
    spec = spec_of(data, (width,), precisions=PRECISIONS[:2], temperature=TEMPERATURE)
    deviations, messages = {}, {}
    for richness in (0.2, 1.0):
        rng = np.random.default_rng(SEED + 7)
        truth, error = mean_field_predictions(data, width, 40_000, rng, richness)
        found = theory(Ensemble(spec, data).at_richness(richness))
        moments = np.stack([found.predictive_mean, found.predictive_variance])
        assert np.max(error[1] / truth[1]) < 0.03
        deviations[richness] = np.max(np.abs(moments[1] / truth[1] - 1))
        messages[richness] = found.message
    assert deviations[0.2] < 0.01 and messages[0.2] == ""
    assert deviations[1.0] > 0.2 and "too large for order 1/N_1" in messages[1.0]
    assert "a richness of order one" in messages[1.0] and found.converged


def test_it_is_the_richness_that_expansions_fail_at_and_not_the_size_of_the_targets():
    """At γ = 0.2 they hold at any width, with targets γ√N_1 y of 4.5 y as well."""
    data, width = same_task(), 500
    spec = spec_of(data, (width,), precisions=PRECISIONS[:2], temperature=TEMPERATURE)
    truth, error = mean_field_predictions(
        data, width, 10_000, np.random.default_rng(SEED + 8), richness=0.2
    )
    rich = Ensemble(spec, data).at_richness(0.2)
    expected, lazy = width_expansion(rich), infinite_width(rich)
    moments = np.stack([expected.predictive_mean, expected.predictive_variance])
    assert expected.message == ""
    assert np.all(np.abs(moments - truth) < SIGMAS * error + 0.003 * np.abs(truth))
    assert np.max(np.abs(lazy.predictive_variance / truth[1] - 1)) > 0.03


@pytest.mark.parametrize("width", [1, 2, 3, 7, 100, 200, 784, 12_345])
def test_the_standard_scaling_is_exactly_that(width):
    for richness in (1 / np.sqrt(width), width**-0.5):
        assert precision_factor(float(richness), width) == 1.0
    assert precision_factor(width**-0.5 * (1 + 1e-14), width) != 1.0


def test_a_convolution_s_width_is_its_number_of_channels():
    """The channels are the units: γ = 1/√N_c is the standard scaling, whatever the patches."""
    data = lnn.load_dataset("digits", num_train=5, num_test=4, key=jax.random.key(0))
    network = lnn.Convolutional(lnn.Patches((8, 8, 1), 4, 4), 9, "erf", key=jax.random.key(0))
    prior = lnn.GaussianPrior((1.0, 2.0))
    scaled, temperature = lnn.at_richness(1 / 3, network, prior, 0.1)
    assert (scaled.precisions, temperature) == (prior.precisions, 0.1)
    scaled, temperature = lnn.at_richness(1.0, network, prior, 0.9)
    assert (scaled.precisions, temperature) == ((1.0, 18.0), 0.1)
    ensemble = lnn.GibbsPosterior(network, prior, data, 0.9).ensemble
    assert ensemble.at_richness(1.0).spec.prior_precisions == (1.0, 18.0)


def test_an_ensemble_at_zero_temperature_stays_there():
    data = small_task()
    ensemble = Ensemble(spec_of(data, (12,), temperature=0.0), data)
    rich = ensemble.at_richness(1.0)
    assert rich.spec.temperature == 0 and rich.spec.prior_precisions == (1.0, 12.0)
    mine, other = one_layer(rich), one_layer(ensemble)
    np.testing.assert_allclose(mine.predictive_mean, other.predictive_mean, rtol=1e-6)
    assert mine.order_parameters[0] > other.order_parameters[0]


def test_what_has_no_richness_says_so():
    data = small_task()
    network, prior = network_of(data, (5,)), lnn.GaussianPrior((1.0, 1.0))
    for richness in (0.0, -1.0, float("nan"), float("inf"), "rich", True):
        with refuses("richness", "positive"):
            lnn.at_richness(richness, network, prior, 0.1)
        with refuses("richness", "positive"):
            spec_of(data, (5,)).at_richness(richness)
    with refuses("richness = 1e-200", "N_L = 5", "0.447"):
        lnn.at_richness(1e-200, network, prior, 0.1)
    with refuses("last hidden layer", "hidden_widths"):
        lnn.at_richness(0.5, network_of(data, ()), lnn.GaussianPrior((1.0,)), 0.1)
    with refuses("last hidden layer", "N_L γ²"):
        lnn.at_richness(0.5, eqx.nn.Linear(5, 1, key=jax.random.key(0)), prior, 0.1)
    with refuses("temperature", "-1.0"):
        lnn.at_richness(0.5, network, prior, -1.0)
    with refuses("prior", "GaussianPrior"):
        lnn.at_richness(0.5, network, (1.0, 1.0), 0.1)
    with refuses("precision"):
        lnn.at_richness(0.5, network, lnn.GaussianPrior((1.0,)), 0.1)
    unknown = replace(spec_of(data, (5,)), hidden_widths=None, activation=None)
    with refuses("last hidden layer", "not known"):
        unknown.at_richness(0.5)
