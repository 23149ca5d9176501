"""Estimates and their standard errors on chains whose law is known."""

import dataclasses
import math
import warnings

import jax
import numpy as np
import pytest
import xarray as xr
from cases import gaussian_task, posterior_of
from statistics_in_sigmas import SIGMAS, z_scores

import langevin_nn as lnn
from langevin_nn.analysis import diagnostics, generalisation
from langevin_nn.analysis.comparison import Deviation, _with_deviation, compare
from langevin_nn.estimates import plus_minus
from langevin_nn.sampling.draws import Chains
from langevin_nn.types import Estimate, Generalisation, InputError

NUM_TEST, MEMORY = 6, 0.7
MEAN = np.linspace(-1, 1, NUM_TEST)
DEVIATION = np.linspace(0.2, 0.8, NUM_TEST)
TARGET = np.sign(MEAN)
BIAS2, VARIANCE = np.mean((TARGET - MEAN) ** 2), np.mean(DEVIATION**2)


def autoregressive(rng, num_chains=4, num_draws=400):
    """Chains f = MEAN + DEVIATION·u with u a stationary AR(1) process, the same at all points
    but for independent parts, so that test points are correlated as real ones are."""
    noise = rng.normal(size=(num_draws, num_chains, NUM_TEST + 1))
    u = np.empty_like(noise)
    u[0] = noise[0]
    for t in range(1, num_draws):
        u[t] = MEMORY * u[t - 1] + np.sqrt(1 - MEMORY**2) * noise[t]
    common = (u[..., :1] + u[..., 1:]) / np.sqrt(2)
    return np.moveaxis(MEAN + DEVIATION * common, 0, 1)


def chains_of(f, y=TARGET):
    first = f.reshape(*f.shape[:2], -1)[:, :, 0]
    return Chains(
        test_outputs=f, train_error=np.square(first), energy=first, observables={},
        y_test=y, targets_midpoint=0.0, params=None, step_size=0.1, curvature=1.0,
        thinning=1, wall_seconds=0.0,
    )  # fmt: skip


@pytest.mark.slow
def test_standard_errors_are_honest(seed):
    """Over many replicas, (estimate − truth)/standard error has mean 0 and variance 1."""
    rng = np.random.default_rng(seed)
    replicas = 150
    truths = {"bias2": BIAS2, "variance": VARIANCE, "generalisation_error": BIAS2 + VARIANCE}
    z = {name: [] for name in truths}
    for _ in range(replicas):
        measured = lnn.summarise(chains_of(autoregressive(rng, num_draws=300)))
        for name, truth in truths.items():
            estimate = getattr(measured, name)
            z[name].append((estimate.value - truth) / estimate.mcse)
    for name, scores in z.items():
        assert abs(np.mean(scores)) * np.sqrt(replicas) < 5, name
        # The variance of a normal sample has the relative standard error √(2/n); skewness of the
        # estimates and the ESS's own error widen it.
        assert 0.6 < np.var(scores) < 1.6, name


def test_squares_are_summed_over_the_outputs_and_averaged_over_the_examples(seed):
    """Six points with one output, or three with two: the same draws, twice the squares."""
    f = autoregressive(np.random.default_rng(seed))
    one = lnn.summarise(chains_of(f))
    two = lnn.summarise(chains_of(f.reshape(*f.shape[:2], 3, 2), TARGET.reshape(3, 2)))
    for name in ("bias2", "variance", "generalisation_error"):
        single, double = getattr(one, name), getattr(two, name)
        assert double.value == pytest.approx(2 * single.value, rel=1e-12)
        assert double.mcse == pytest.approx(2 * single.mcse, rel=1e-12)
    assert two.predictive_mean.shape == two.predictive_variance.shape == (3, 2)
    np.testing.assert_array_equal(two.predictive_mean.ravel(), one.predictive_mean)
    assert two.diagnostics.rhat_max == one.diagnostics.rhat_max


@pytest.mark.slow
def test_accuracy_of_the_largest_output_and_its_error(seed):
    """Over many replicas the accuracy scatters by its standard error, near ties included.

    The outputs of a point share most of their noise, which the margins between them do not have.
    """
    rng = np.random.default_rng(seed)
    replicas, points, draws = 200, 24, (2, 60)
    own, common = 0.3, 3.0
    error_of_margin = own * np.sqrt(2 / np.prod(draws))
    margins = error_of_margin * np.linspace(-6, 6, points)
    mean = np.stack([np.zeros(points), -margins, np.full(points, -1.0)], axis=1)
    mean[::3, 2] = -margins[::3] - 6 * error_of_margin
    order = rng.permuted(np.tile(np.arange(3), (points, 1)), axis=1)
    wanted = (order == 0).argmax(axis=1)
    mean = np.take_along_axis(mean, order, axis=1)
    y = np.eye(3)[wanted] - 1 / 3
    accuracy, error = np.empty(replicas), np.empty(replicas)
    for replica in range(replicas):
        f = mean + own * rng.normal(size=(*draws, points, 3))
        f += common * rng.normal(size=(*draws, points, 1))
        measured = generalisation.accuracy_of_the_largest(y, f)
        accuracy[replica], error[replica] = measured.value, measured.mcse
    assert measured == lnn.summarise(chains_of(f, y)).test_accuracy
    assert measured.value == (f.mean(axis=(0, 1)).argmax(axis=1) == wanted).mean()
    assert 0.6 < np.var(accuracy) / np.mean(error**2) < 1.6


@pytest.mark.slow
def test_bias_is_not_raised_by_its_own_monte_carlo_noise(seed):
    """Where bias² is zero the plug-in is all noise, and the correction takes it away."""
    rng = np.random.default_rng(seed)
    runs = [chains_of(autoregressive(rng, 2, 160), y=MEAN) for _ in range(240)]
    corrected = np.array([lnn.summarise(run).bias2.value for run in runs])
    plug_in = np.array([np.mean((MEAN - r.test_outputs.mean((0, 1))) ** 2) for r in runs])
    assert abs(z_scores(corrected, 0.0)) < SIGMAS
    assert z_scores(plug_in, 0.0) > 2 * SIGMAS


def test_sum_is_the_mean_squared_error_of_single_draws(seed):
    f = autoregressive(np.random.default_rng(seed))
    measured = lnn.summarise(chains_of(f))
    direct = np.mean((TARGET - f) ** 2)
    assert measured.generalisation_error.value == pytest.approx(direct, rel=1e-12)
    assert measured.bias2.value + measured.variance.value == pytest.approx(direct, rel=1e-12)
    assert measured.test_accuracy.value == np.mean((MEAN > 0) == (TARGET > 0))


def test_good_chains_converge_and_a_shifted_one_does_not(seed):
    f = autoregressive(np.random.default_rng(seed), num_draws=2000)
    good = lnn.summarise(chains_of(f))
    assert good.converged and good.message == ""
    assert good.diagnostics.rhat_max < 1.01 and good.diagnostics.ess_min > 400
    f[0] += 0.5
    shifted = lnn.summarise(chains_of(f))
    assert not shifted.converged and "R̂ = " in shifted.message
    short = lnn.summarise(chains_of(f[:, :50]))
    assert not short.converged and "ESS = " in short.message
    lone = lnn.summarise(chains_of(f[1:2]))
    assert not lone.converged and "two chains" in lone.message


def test_chains_that_all_diverged_cannot_be_summarised():
    with pytest.raises(InputError, match="every chain diverged"):
        lnn.summarise(chains_of(np.full((2, 10, NUM_TEST), np.nan)))


def theory_like(measured: Generalisation, **changes) -> Generalisation:
    return dataclasses.replace(
        measured, name="some_theory", converged=True, diagnostics=None, **changes
    )


def test_comparison_in_standard_errors_and_per_cent(seed):
    measured = lnn.summarise(chains_of(autoregressive(np.random.default_rng(seed))))
    expected = theory_like(
        measured, variance=Estimate(measured.variance.value - 3 * measured.variance.mcse)
    )
    by_name = {d.quantity: d for d in compare(measured, expected).deviations}
    assert by_name["variance"].z == pytest.approx(3)
    assert by_name["variance"].relative == pytest.approx(
        measured.variance.value / expected.variance.value - 1
    )
    assert by_name["bias2"].z == 0
    assert "(+3.0σ)" in str(compare(measured, expected))


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.0308547, 0.00057), "0.03085 ± 0.00057"),
        (Estimate(12.3456, 0.123), "12.35 ± 0.12"),
        (Estimate(1234.5, 67.0), "1234 ± 67"),
        (Estimate(0.5), "0.5"),
        (Estimate(0.25, float("nan")), "0.25"),
        (Estimate(0.5, 1e-63), "0.5 ± 1e-63"),  # FAULTS 5, digits
        (Estimate(1.5e300, 2e298), "1.5e+300 ± 2e+298"),
    ],
)
def test_two_digits_of_the_error_decide(estimate, text):
    assert plus_minus(estimate) == text


@pytest.mark.slow
def test_a_sampled_posterior_and_its_exact_theory_agree(seed):
    """The whole pipeline: on a network without hidden layers the theory is exact."""
    data = gaussian_task(12, 20, 6)
    posterior = posterior_of(data, (), precisions=(1.5,), temperature=0.5, key=jax.random.key(0))
    chains = lnn.sample(
        posterior, lnn.Langevin(0.005), key=jax.random.key(seed), num_chains=100,
        num_warmup=3000, num_samples=60, thinning=200,
    )  # fmt: skip
    measured = lnn.summarise(chains)
    theory = lnn.theory.infinite_width(posterior.ensemble)
    assert measured.diagnostics.ess_min > 1000
    shift = measured.step_size_bias.variance.value
    assert abs(measured.bias2.value - theory.bias2.value) < 5 * measured.bias2.mcse
    assert abs(measured.variance.value - shift - theory.variance.value) < 5 * measured.variance.mcse
    train = measured.train_error
    assert abs(train.value - theory.train_error.value) < 5 * train.mcse + 2 * shift


@pytest.mark.parametrize("name", ["rhat", "ess"])
def test_series_that_were_diagnosed_are_known_again_by_what_they_are(monkeypatch, name):
    function, of_arviz, asked = getattr(diagnostics, name), getattr(diagnostics.az, name), []

    def counted(*arguments, **options):
        asked.append(arguments)
        return of_arviz(*arguments, **options)

    monkeypatch.setattr(diagnostics.az, name, counted)
    series = np.random.default_rng(7).normal(size=(4, 50, 3))
    first = function(series)
    number, kept = len(asked), first.copy()
    first[:] = 0.0
    np.testing.assert_array_equal(function(series.copy()), kept)
    assert len(asked) == number
    other = series.copy()
    other[3, 49, 2] = np.nextafter(other[3, 49, 2], 9.0)
    forms = (series[:, :, :2], np.concatenate([series, series]), np.asfortranarray(series))
    for different in (other, -series, *forms):
        known = len(asked)
        assert function(different).shape == different.shape[2:] and len(asked) > known


def test_what_is_the_same_in_every_draw_has_no_error_and_is_named(seed):
    """FAULTS 2.1: one blank test image, f = 0 in every draw."""
    f = autoregressive(np.random.default_rng(seed), num_draws=2000)
    blank = f.copy()
    blank[..., 2] = 0.0
    measured = lnn.summarise(chains_of(blank))
    assert measured.converged and measured.message == ""
    assert measured.diagnostics.constant == (f"f at 1 of {NUM_TEST} test points",)
    others = np.arange(NUM_TEST) != 2
    rest = lnn.summarise(chains_of(f[..., others], TARGET[others])).diagnostics
    assert measured.diagnostics.rhat_max < 1.01 and rest.rhat_max < 1.01
    last_bit = blank.astype(np.float32)
    last_bit[..., 2] = 1 + np.finfo(np.float32).eps * (f[..., 2] > 0)
    rounded = lnn.summarise(chains_of(last_bit))
    assert rounded.converged and rounded.diagnostics.constant == measured.diagnostics.constant
    assert rounded.predictive_variance[2] < 1e-20


def test_chains_that_stand_still_have_not_converged(seed):
    """FAULTS 2.1: at different values, with a blank test point, and all at the same."""
    f = autoregressive(np.random.default_rng(seed), num_draws=1000)
    f[:] = f[:, :1]
    f[..., 0] = 0.0
    stuck = lnn.summarise(chains_of(f))
    assert not stuck.converged and "each at a value of its own" in stuck.message
    assert stuck.diagnostics.rhat_max == np.inf
    one_point = autoregressive(np.random.default_rng(seed), num_draws=2000)
    one_point[..., 1] = np.arange(len(f))[:, None]
    assert not lnn.summarise(chains_of(one_point)).converged
    f[:] = 0.1
    dead = lnn.summarise(chains_of(f))
    assert not dead.converged and "do not move" in dead.message
    assert dead.variance == Estimate(0.0, 0.0)


def test_errors_do_not_depend_on_the_unit(seed):
    """ArviZ takes what varies by less than 10⁻¹⁵ for constant: no error but that of white noise."""
    f = autoregressive(np.random.default_rng(seed))
    error, sizes = diagnostics.mcse(f), diagnostics.ess(f)
    for unit in (2.0**-70, 2.0**70):
        np.testing.assert_array_equal(diagnostics.mcse(unit * f), unit * error)
        np.testing.assert_array_equal(diagnostics.ess(unit * f), sizes)


@pytest.mark.parametrize(
    ("measured", "expected", "z", "text"),
    [
        (Estimate(0.0, 0.0), 0.5, -math.inf, "0.50000 (no error)"),
        (Estimate(0.5, 0.0), 0.5, 0.0, "0.50000 (+0.0σ)"),
        (Estimate(0.5, 0.1), math.nan, math.nan, "not found"),
        (Estimate(0.5, 0.0), math.nan, math.nan, "not found"),
    ],
)
def test_deviations_without_an_error(measured, expected, z, text):
    """FAULTS 2.1: a variance of exactly zero beside a theory's, and a theory that failed."""
    found = Deviation("variance", "one_layer", measured, Estimate(expected))
    assert found.z == z or (math.isnan(found.z) and math.isnan(z))
    assert _with_deviation(found) == text


@pytest.mark.parametrize(
    ("shape", "changes", "reason", "remedy"),
    [
        ((1, 50), {}, "needs two chains or more", "start anew with num_chains = 4 or more"),
        ((4, 50), {}, "is not", "start anew with more num_warmup or num_samples × thinning"),
        ((4, 50), {"step_size": 1e-30}, "step_size = 1e-30 is too small",
         'start anew with a larger step_size, or "auto"'),
        ((4, 50), {"step_size": 1e-30, "curvature": np.nan}, "is not", "more num_warmup or"),
        ((4, 50), {"step_size": 1e-30, "trajectory_length": 1.5}, "step_size = 1e-30 is too small",
         'a larger step_size, or "auto"'),
        # adapted, to a posterior that is stiff
        ((4, 50), {"step_size": 1e-30, "trajectory_length": 1.5, "acceptance": 0.8}, "is not",
         "more num_warmup or"),
    ],
)  # fmt: skip
def test_advice_is_what_helps(seed, shape, changes, reason, remedy):
    """FAULTS 5, advice: one chain needs others, not more draws; tiny steps larger ones."""
    chains = chains_of(autoregressive(np.random.default_rng(seed), *shape))
    if "trajectory_length" in changes:
        changes = changes | {"acceptance": np.full(shape, changes.get("acceptance", 1.0))}
    message = lnn.summarise(dataclasses.replace(chains, **changes)).message
    assert reason in message and remedy in message and message.count("start anew") == 1


@pytest.mark.parametrize("draws", [4, 7, 8, 9, 33])
@pytest.mark.parametrize("chains", [1, 2, 5])
def test_rhat_and_ess_of_many_series_are_arviz_s_of_each(draws, chains):
    """Ties, tiny numbers, NaN and a constant among them; ranks are found of all at once."""
    rng = np.random.default_rng(draws)
    series = rng.standard_normal((chains, draws, 6)).cumsum(axis=1)
    series[..., 1] = np.round(series[..., 1])
    series[..., 2] *= 1e-10
    series[..., 3] = 2.0
    series[0, 0, 4] = np.nan
    series[..., 5] = rng.integers(0, 2, series.shape[:2])
    moving = np.flatnonzero(~diagnostics.constant(series))

    def of_each(function, **how):
        values = []
        for place in moving:
            single = xr.Dataset({"x": (["chain", "draw"], series[..., place])})
            values.append(float(function(single, **how)["x"]))
        return np.array(values)

    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sizes = [of_each(diagnostics.az.ess, method=method) for method in ("bulk", "tail")]
        np.testing.assert_allclose(diagnostics.ess(series)[moving], np.minimum(*sizes), rtol=1e-12)
        if chains > 1:
            rhats = of_each(diagnostics.az.rhat)
            np.testing.assert_allclose(diagnostics.rhat(series)[moving], rhats, rtol=1e-12)
    assert np.isnan(diagnostics.ess(series)[3])
