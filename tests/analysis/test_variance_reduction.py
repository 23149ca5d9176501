"""Control variates make errors smaller, never larger, and what is left of them is honest."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task, posterior_of

import langevin_nn as lnn
from langevin_nn.analysis.diagnostics import mcse

KEY = jax.random.key(3)
DATA = gaussian_task(6, 4, 5)
POSTERIOR = posterior_of(
    DATA, (8,), temperature=0.1, key=KEY, dtype=jnp.float64, kind=lnn.MarginalisedPosterior
).with_control_variates()


def sampled(key=KEY, posterior=POSTERIOR, **changes):
    counts = {"num_chains": 8, "num_warmup": 40, "num_samples": 100} | changes
    return lnn.sample(posterior, lnn.Split(), key=key, **counts)


@pytest.fixture(scope="module")
def chains():
    return sampled()


def without(chains):
    return dataclasses.replace(chains, control_variates=None)


def as_outputs(chains):
    """The four test inputs as two outputs at two of them, with the variance of the first two."""
    shape = (*chains.energy.shape, 2, 2)
    return dataclasses.replace(
        chains,
        y_test=chains.y_test.reshape(2, 2),
        test_outputs=chains.test_outputs.reshape(shape),
        test_variances=chains.test_variances[..., :2],
        control_variates=chains.control_variates.reshape(*shape[:2], 3, 2, 2),
        test_draws=chains.test_draws.reshape(shape),
    )


def test_outputs_are_further_points(chains):
    """Every average over points is times D then; the rest, accuracy aside, stays."""
    points, outputs = lnn.summarise(chains), lnn.summarise(as_outputs(chains))
    assert outputs.variance_reduction == pytest.approx(points.variance_reduction)
    assert outputs.bias2.value == pytest.approx(2 * points.bias2.value)
    assert outputs.bias2.mcse == pytest.approx(2 * points.bias2.mcse)
    np.testing.assert_allclose(outputs.predictive_mean, points.predictive_mean.reshape(2, 2))
    total = outputs.bias2.value + outputs.variance.value
    assert outputs.generalisation_error.value == pytest.approx(total)


@pytest.mark.slow
def test_errors_are_smaller_by_what_is_said(chains):
    plain, reduced = lnn.summarise(without(chains)), lnn.summarise(chains)
    assert plain.variance_reduction is None
    gain = reduced.variance_reduction["bias2"]
    assert gain > 2 and reduced.variance_reduction["predictions"] > 2
    # Bias² has an error of second order besides.
    assert reduced.bias2.mcse < 1.1 * plain.bias2.mcse / np.sqrt(gain)
    assert abs(reduced.bias2.value - plain.bias2.value) < 5 * plain.bias2.mcse
    assert abs(reduced.variance.value - plain.variance.value) < 5 * plain.variance.mcse
    assert reduced.train_error == plain.train_error
    names = ("generalisation_error", "train_error")
    rhats = [[m.diagnostics.rhat[name] for name in names] for m in (plain, reduced)]
    assert rhats[0] == rhats[1], "how the chains mix is judged by their draws"


@pytest.mark.slow
def test_errors_of_several_outputs_are_smaller():
    posterior = posterior_of(
        gaussian_task(6, 4, 5, num_outputs=3), (8,), temperature=0.1, key=KEY, dtype=jnp.float64,
        kind=lnn.MarginalisedPosterior,
    ).with_control_variates()  # fmt: skip
    chains = sampled(posterior=posterior)
    plain, reduced = lnn.summarise(without(chains)), lnn.summarise(chains)
    assert reduced.variance_reduction["bias2"] > 2 and reduced.variance_reduction["predictions"] > 2
    assert reduced.bias2.mcse < 0.75 * plain.bias2.mcse
    assert abs(reduced.bias2.value - plain.bias2.value) < 5 * plain.bias2.mcse
    assert abs(reduced.variance.value - plain.variance.value) < 5 * plain.variance.mcse
    assert reduced.train_error == plain.train_error
    # The largest of the outputs is that of the predictions that are reported.
    right = reduced.predictive_mean.argmax(axis=1) == chains.y_test.argmax(axis=1)
    assert reduced.test_accuracy.value == right.mean()


@pytest.mark.slow
def test_bias_and_variance_still_add_up(chains):
    measured = lnn.summarise(chains)
    total = measured.bias2.value + measured.variance.value
    np.testing.assert_allclose(measured.generalisation_error.value, total, rtol=1e-12)


def of_what_is_no_use(name, chains):
    controls = chains.control_variates
    rng = np.random.default_rng(1)
    residual = chains.y_test - chains.test_outputs.mean(axis=(0, 1))
    return {
        "noise": rng.standard_normal(controls.shape),
        "zero": np.zeros_like(controls),
        "not finite": np.where(np.arange(controls.shape[1])[:, None, None] == 7, np.nan, controls),
        "not of mean zero": controls + 0.5 * controls.std() * np.sign(residual),
    }[name]


@pytest.mark.parametrize("name", ["noise", "zero", "not finite", "not of mean zero"])
def test_useless_ones_leave_the_numbers_as_they_are(chains, name):
    useless = dataclasses.replace(chains, control_variates=of_what_is_no_use(name, chains))
    plain, measured = lnn.summarise(without(chains)), lnn.summarise(useless)
    assert measured.bias2.mcse <= plain.bias2.mcse
    if measured.variance_reduction is None:
        assert measured.bias2 == plain.bias2 and measured.variance == plain.variance
    else:
        assert name == "noise" and measured.variance_reduction["bias2"] < 1.05


@pytest.mark.slow
def test_too_few_draws_or_one_chain_have_no_regression(chains):
    for part in (chains.first(4), sampled(num_chains=1, num_samples=40)):
        few = dataclasses.replace(part, **{
            name: getattr(part, name)[:2] for name in (
                "test_outputs", "train_error", "energy", "test_variances", "control_variates",
                "acceptance", "nonfinite", "test_draws", "train_outputs")
        })  # fmt: skip
        assert lnn.summarise(few).variance_reduction is None


def test_a_target_is_reached_after_fewer_draws(chains):
    rule = lnn.TargetError({"bias2": 0.02})
    assert rule.draws_needed(chains) < 0.6 * rule.draws_needed(without(chains))
    of_points = lnn.TargetError({"predictions": 0.02})
    with_controls, plain = (
        of_points._errors(some, lnn.summarise(some))["predictions"][0]
        for some in (chains, without(chains))
    )
    assert with_controls < 0.8 * plain


def scores(num_runs, num_samples):
    """The deviations of short runs from a long one, in units of the errors that they state."""
    keys = jax.random.split(jax.random.key(8), num_runs)
    short = [
        run
        for batch in np.split(np.arange(num_runs), 10)
        for run in lnn.sample_points(
            [POSTERIOR] * len(batch), lnn.Split(), keys=[keys[i] for i in batch], num_chains=8,
            num_warmup=40, num_samples=num_samples,
        )
    ]  # fmt: skip
    f = np.concatenate([run.test_outputs for run in short])
    controls = np.concatenate([run.control_variates for run in short])
    # What is exact is the average over all, with one regression for them.
    mean = f.mean(axis=(0, 1))
    for x in range(f.shape[2]):
        c = controls[..., x].reshape(-1, controls.shape[2])
        fit = np.linalg.lstsq(c - c.mean(axis=0), f[..., x].ravel() - mean[x], rcond=None)[0]
        mean[x] -= c.mean(axis=0) @ fit
    exact = np.square(mean - DATA.y_test).mean()
    measured = [lnn.summarise(run) for run in short]
    assert np.mean([m.variance_reduction is not None for m in measured]) > 0.95
    of_bias = np.array([(m.bias2.value - exact) / m.bias2.mcse for m in measured])
    return of_bias, np.array([m.variance_reduction["bias2"] for m in measured])


@pytest.mark.slow
def test_stated_errors_cover():
    """z-scores of 200 short runs are standard normal within five of the errors that 200 leave."""
    z, gains = scores(num_runs=200, num_samples=50)
    assert abs(z.mean()) < 5 / np.sqrt(len(z)) and np.median(gains) > 2
    assert abs(z.std() - 1) < 5 / np.sqrt(2 * len(z))
    assert (np.abs(z) > 1.96).mean() < 0.05 + 5 * np.sqrt(0.05 * 0.95 / len(z))


def test_a_series_that_is_averaged_has_the_error_that_is_stated(chains):
    """The error of f̄ at each input is that of the draws that are averaged."""
    from langevin_nn.analysis.variance_reduction import averaged_outputs

    draws = averaged_outputs(chains)
    np.testing.assert_array_equal(averaged_outputs(as_outputs(chains)), draws)
    np.testing.assert_allclose(
        lnn.summarise(chains).predictive_mean, draws.mean(axis=(0, 1)), rtol=1e-12
    )
    assert (mcse(draws) < 0.9 * mcse(chains.test_outputs)).all()
