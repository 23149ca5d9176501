"""Every dynamics on every read-out against NumPyro's NUTS on all weights, and against each other.

One small network, one reference. What the step size of Langevin dynamics adds to the variance is
predicted where all weights are sampled; where they are not, its step size is so small that half of
it, ηTλ/2 in the weights, is below the errors.
"""

import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest
from cases import gaussian_task
from oracles import nuts_one_layer
from samplers import Sampler
from statistics_in_sigmas import SIGMAS

import langevin_nn as lnn

DATA, WIDTH, PRECISIONS, TEMPERATURE = gaussian_task(12, 8, 3), 6, (1.0, 1.5), 0.3
QUANTITIES = ("bias2", "variance", "generalisation_error")
RUNS = {
    ("langevin", "sampled"): (0.02, {"num_chains": 100, "num_warmup": 2_000, "thinning": 60}),
    ("langevin", "marginalised"): (0.02, {"num_chains": 16, "num_warmup": 1_500, "thinning": 80}),
    ("split", "sampled"): (None, {"num_chains": 100, "num_warmup": 200, "thinning": 2}),
    ("split", "marginalised"): (None, {"num_chains": 16, "num_warmup": 200, "thinning": 2}),
}
SAMPLERS = [Sampler(*names, "float32") for names in RUNS]


@functools.cache
def measured(sampler, seed, temperature=TEMPERATURE):
    """The chains' summary, and what the step size adds to its variance."""
    step_size, counts = RUNS[sampler.dynamics, sampler.readout]
    posterior = sampler.posterior(DATA, (WIDTH,), PRECISIONS, temperature)
    chains = lnn.sample(
        posterior, lnn.Split() if step_size is None else lnn.Langevin(step_size),
        key=jax.random.key(seed), num_samples=100, **counts,
    )  # fmt: skip
    summary = checked(lnn.summarise(chains))
    bias = summary.step_size_bias
    return summary, 0.0 if bias is None else bias.variance.value


@functools.cache
def reference(seed):
    """NUTS through the same estimator; its training error and energy are not compared."""
    f = nuts_one_layer(
        DATA, WIDTH, PRECISIONS, TEMPERATURE, num_warmup=500, num_samples=2_000, num_chains=4,
        seed=seed + 1,
    )  # fmt: skip
    shape = f.shape[:2]
    blank = lnn.sample(
        Sampler("split", "sampled", "float32").posterior(DATA, (WIDTH,), PRECISIONS, TEMPERATURE),
        lnn.Split(0.3, 1.0), key=jax.random.key(0), num_chains=1, num_warmup=0, num_samples=4,
    )  # fmt: skip
    counter = np.zeros(shape) + np.arange(shape[1])
    return checked(
        lnn.summarise(
            dataclasses.replace(
                blank, test_outputs=f, train_error=counter, energy=counter, acceptance=None,
                nonfinite=None, train_outputs=None,
            )
        )
    ), 0.0  # fmt: skip


def checked(result):
    sizes = {k: v for k, v in result.diagnostics.ess.items() if k != "train_error"}
    assert min(sizes.values()) > 600, f"{result.name} has not mixed: {sizes}"
    return result


def deviations(one, other):
    """z-scores of the averages, and of the mean of f at each test point."""
    (mine, shift), (theirs, other_shift) = one, other
    z = {}
    for name in QUANTITIES:
        a, b = getattr(mine, name), getattr(theirs, name)
        error = np.hypot(a.mcse, b.mcse)
        assert error < 0.03 * b.value, f"{name} is too noisy to compare"
        z[name] = (a.value - b.value - (name != "bias2") * (shift - other_shift)) / error
    errors = [result.predictive_variance / result.diagnostics.ess_min for result in (mine, theirs)]
    means = (mine.predictive_mean - theirs.predictive_mean) / np.sqrt(errors[0] + errors[1])
    return z | {"mean": means[np.abs(means).argmax()]}


def largest(z):
    return max(abs(value) for value in z.values())


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_agrees_with_nuts_within_standard_errors(sampler, seed):
    z = deviations(measured(sampler, seed), reference(seed))
    assert largest(z) < SIGMAS, z


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(SAMPLERS, 2)), ids=str)
def test_agree_with_each_other(one, other, seed):
    z = deviations(measured(one, seed), measured(other, seed))
    assert largest(z) < SIGMAS, z


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_a_wrong_temperature_disagrees_with_nuts(sampler, seed):
    z = deviations(measured(sampler, seed, 1.5 * TEMPERATURE), reference(seed))
    assert largest(z) > 2 * SIGMAS, z
