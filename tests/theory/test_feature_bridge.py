"""The sampled read-out of random features against their limit: three observables in closed form.

Eight tasks of N_0 = 60 inputs, each with a teacher, examples, noise and features of its own. With
v the thermal factor and g the degrees of freedom (`theory.random_features`),

    bias² = E,   variance = T v,   training error of a draw = (E + τ²)/(1 + v)² + T g/ψ_2
"""

import jax
import numpy as np
import pytest

import langevin_nn as lnn
from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.theory import random_feature_error

IN_SIZE, WIDTH, NUM_TRAIN, NOISE, PRECISION, TEMPERATURE = 60, 120, 180, 3.0, 2.0, 0.3
NUM_TASKS = 8
PRIOR = lnn.GaussianPrior((1.0, PRECISION))


def tasks(num_tasks=NUM_TASKS):
    for seed in range(num_tasks):
        rng = np.random.default_rng(seed)
        teacher = rng.standard_normal(IN_SIZE)
        teacher /= np.linalg.norm(teacher)
        x = rng.standard_normal((NUM_TRAIN, IN_SIZE))
        x_test = rng.standard_normal((400, IN_SIZE))
        y = x @ teacher + np.sqrt(NOISE) * rng.standard_normal(NUM_TRAIN)
        yield lnn.Dataset("teacher", x, y, x_test, x_test @ teacher)


def sampled(dynamics, options):
    """Chains on the features as inputs, summarised as any run is."""
    posteriors = []
    for seed, data in enumerate(tasks()):
        features = lnn.RandomFeatures(IN_SIZE, WIDTH, "tanh", key=jax.random.key(seed))
        task = features.task(data)
        network = lnn.FullyConnected(
            WIDTH, (), "identity", key=jax.random.key(seed), dtype=np.float64
        )
        prior = lnn.GaussianPrior((PRECISION,))
        posteriors.append(lnn.GibbsPosterior(network, prior, task, TEMPERATURE))
    keys = jax.random.split(jax.random.key(5), NUM_TASKS)
    found = [lnn.summarise(each) for each in lnn.sample_points(
        posteriors, dynamics, keys=keys, num_chains=20, **options
    )]  # fmt: skip
    return [(one.bias2.value, one.variance.value, one.train_error.value) for one in found]


def marginalised():
    """The read-out integrated out, at one draw of the hidden weights from their prior."""
    rows = []
    for seed, data in enumerate(tasks()):
        key = jax.random.key(seed)
        network = lnn.FullyConnected(IN_SIZE, (WIDTH,), "tanh", key=key, dtype=np.float64)
        posterior = lnn.MarginalisedPosterior(network, PRIOR, data, TEMPERATURE)
        hidden = posterior.sample_prior(key, 1)
        found = posterior.predictions(hidden, jax.random.split(key, 1))
        rows.append((
            np.mean((np.asarray(found["test_outputs"])[0] - data.y_test) ** 2),
            np.mean(found["test_variances"]),
            np.mean(posterior.squared_errors(hidden)),
        ))  # fmt: skip
    return rows


def expected(temperature=TEMPERATURE, noise=NOISE):
    limit = random_feature_error(
        ACTIVATIONS["tanh"], WIDTH / IN_SIZE, NUM_TRAIN / IN_SIZE, temperature=temperature,
        precision=PRECISION * TEMPERATURE / temperature, noise_variance=noise,
    )  # fmt: skip
    spread = temperature * limit.degrees_of_freedom * IN_SIZE / NUM_TRAIN
    return np.array([limit.test_error, limit.thermal_variance, limit.train_error + spread])


@pytest.mark.slow
@pytest.mark.parametrize(
    "rows",
    [
        lambda: sampled(lnn.Split(), {"num_warmup": 100, "num_samples": 30, "thinning": 4}),
        lambda: sampled(lnn.Langevin(), {"num_warmup": 2000, "num_samples": 30, "thinning": 100}),
        marginalised,
    ],
    ids=["split", "langevin", "marginalised"],
)
def test_three_observables_have_their_limits(rows):
    """In standard errors over the tasks, and the limit's own error of 1/N_0."""
    found = np.array(rows())
    error = 4 * found.std(axis=0, ddof=1) / np.sqrt(NUM_TASKS) + np.abs(expected()) / IN_SIZE

    def off(limit):
        return np.abs(found.mean(axis=0) - limit) / error

    assert np.all(off(expected()) < 1), (found.mean(axis=0), expected(), error)
    assert off(expected(temperature=1.3 * TEMPERATURE))[1] > 2
    assert np.all(off(expected(noise=2 * NOISE))[[0, 2]] > 1)
