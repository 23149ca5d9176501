"""The joint law of weights and targets, of every row of the table: Geweke's test and SBC.

Weights θ* are drawn from the prior and y from N(f(x; θ*), T), so that θ* is a draw of the posterior
given y. Transitions that leave the posterior invariant then keep the joint law, and every average
over it (Geweke, JASA 99, 799, 2004): E[β(y − f)²] = 1, E[λ_ℓ w²] = 1, E[λ_0² w⁴] = 3.

Among states of one chain, with θ* at a place of it that is drawn at random, the rank of θ* is
uniform, whether the chain mixes or not, if it is reversible (Besag and Clifford, Biometrika 76,
633, 1989; Gandy and Scott, arXiv:2001.06465, algorithm 2). A reversible chain goes backwards by
going forwards: two chains start at θ*, one of which is the past.

Langevin dynamics has this law only as η → 0. On all weights the shift of β(y − f)² by
(η/2)‖∇_θ f‖², about half a standard error here, is added to what is expected; the relative shift
of weights, ηTλ/2, is an eighth of a standard error or less.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import erf_dual
from samplers import DYNAMICS, SAMPLERS, HalfTheNoise, Sampler, Unadjusted, rows, stepper
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn.data.dataset import Dataset

PRECISIONS, TEMPERATURE, WIDTH = (1.0, 0.5), 0.2, 4
# Orthogonal inputs and a low temperature: the data tell about every direction of f.
X_TRAIN = 3 * np.eye(4)
DATA = Dataset(
    "orthogonal", X_TRAIN, np.arange(4.0), np.array([[1.0, 2.0, -1.0, 0.5]]), np.zeros(1)
)
DRAWS = 8
EXPECTED = {"β error²": 1.0, "β error² given W": 1.0, "λ w²": 1.0, "λ² w⁴": 3.0, "λ v²": 1.0}
RANKED = ("f", "β error²", "λ w²")

# Chains of one replica go one after the other through LAPACK where the read-out is marginalised;
# there the average over the read-out makes up for the smaller number.
MISTAKES = {
    Sampler("langevin", "marginalised", "float64"): HalfTheNoise,
    Sampler("split", "sampled", "float64"): Unadjusted,
}


@eqx.filter_jit
def replicated(truth, target, dynamics, thinning, keys, at_once):
    """Of each replica: quantities at θ* (1,) and of two chains that start there, (2, DRAWS)."""
    x_train, x_test = (jnp.asarray(x, truth.y_train.dtype) for x in (DATA.x_train, DATA.x_test))
    moving, marginalised = stepper(dynamics), isinstance(target, lnn.MarginalisedPosterior)

    def quantities(networks, y):
        first, last = networks.weights
        squares = jnp.square(first) * truth.prior.precisions[0]
        return {
            "f": networks.batch(x_test)[:, 0],
            "β error²": jnp.mean(jnp.square(y - networks.batch(x_train)), 1) / truth.temperature,
            "λ w²": jnp.mean(squares, (1, 2)),
            "λ² w⁴": jnp.mean(jnp.square(squares), (1, 2)),
            "λ v²": jnp.mean(jnp.square(last), (1, 2)) * truth.prior.precisions[1],
        }

    def one(key):
        key_weights, key_noise, *streams = jax.random.split(key, 6)
        params = truth.sample_prior(key_weights, 1)
        f = truth.train_outputs(params)[0]
        noise = jax.random.normal(key_noise, f.shape, f.dtype)
        y = f + jnp.sqrt(truth.temperature) * noise
        posterior = eqx.tree_at(lambda p: p.y_train, target, y)
        start = eqx.tree_at(lambda n: n.weights[-1], params, None) if marginalised else params
        start = jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, axis=0), start)

        def fold(keys, number):
            return jax.vmap(jax.random.fold_in, (0, None))(jnp.stack(keys), number)

        def step(i, state):
            return moving.step(posterior, state, fold(streams[:2], i))[0]

        def draw(state, i):
            state = jax.lax.fori_loop(i * thinning, (i + 1) * thinning, step, state)
            values = quantities(
                posterior.lifted_networks(state.params, fold(streams[2:], i)), y[None]
            )
            errors = jnp.mean(posterior.squared_errors(state.params), axis=1)
            return state, values | {"β error² given W": errors / truth.temperature}

        state = dynamics.init(posterior, start, moving.settings)
        values = jax.lax.scan(draw, state, jnp.arange(DRAWS))[1]
        return quantities(truth.lifted_networks(params, key[None]), y[None]), values

    return jax.lax.map(one, keys, batch_size=len(keys) if at_once else None)


@functools.cache
def joint_draws(sampler: Sampler, seed: int, temperature: float = 1.0, mistaken: bool = False):
    """Draws of the table's row, its temperature wrong by this factor, or its dynamics mistaken."""
    count, thinning, numbers = DYNAMICS[sampler.dynamics].joint[sampler.readout]
    truth = sampler.posterior(
        DATA, (WIDTH,), PRECISIONS, TEMPERATURE, readout=lnn.GibbsPosterior
    )  # fmt: skip
    target = sampler.posterior(DATA, (WIDTH,), PRECISIONS, TEMPERATURE * temperature)
    kind = MISTAKES[sampler] if mistaken else None
    dynamics = sampler.transition(*numbers, kind=kind)
    keys = jax.random.split(jax.random.key(seed), count)
    at_once = sampler.readout == "sampled"
    found = replicated(truth, target, dynamics, jnp.asarray(thinning), keys, at_once)
    return jax.tree.map(lambda values: np.asarray(values, np.float64), found)


def geweke(sampler, draws) -> dict[str, float]:
    """z-scores of averages over the later draws, whose expectations are known."""
    _, values = draws
    shift = step_size_shift(sampler)
    z = {}
    for name, expected in EXPECTED.items():
        later = values[name][:, DRAWS // 2 :].mean(axis=(1, 2))
        z[name] = float(z_scores(later, expected + shift * ("error" in name)))
    return z


def step_size_shift(sampler) -> float:
    """(η/2) E‖∇_θ f‖² under the prior, the same at every training input."""
    row = DYNAMICS[sampler.dynamics]
    if not row.kind.unadjusted or sampler.readout == "marginalised":
        return 0.0
    step_size = row.joint[sampler.readout][2][0]
    inputs = X_TRAIN @ X_TRAIN.T / X_TRAIN.shape[1]
    c = inputs[0, 0]
    slopes = 4 / np.pi / np.sqrt(1 + 4 * c / PRECISIONS[0])
    readout = erf_dual(inputs / PRECISIONS[0])[0, 0]
    return step_size / 2 * (readout + slopes * c / PRECISIONS[1])


def calibration(draws, seed) -> dict[str, float]:
    """z-scores of the ranks' mean, DRAWS/2, and variance, DRAWS (DRAWS + 2)/12.

    Rejected proposals leave states equal to θ*: among those its place is drawn at random.
    """
    start, values = draws
    rng = np.random.default_rng(seed)
    past = rng.integers(0, DRAWS + 1, size=len(start["f"]))
    place = np.arange(DRAWS)[None, :]
    chosen = np.stack([place < DRAWS - past[:, None], place < past[:, None]], axis=2)
    z = {}
    for name in RANKED:
        here = start[name][:, :, None]
        below = ((values[name] < here) & chosen).sum(axis=(1, 2))
        equal = ((values[name] == here) & chosen).sum(axis=(1, 2))
        rank = below + rng.integers(0, equal + 1) - DRAWS / 2
        z[f"mean rank of {name}"] = float(z_scores(rank, 0.0))
        z[f"variance of the rank of {name}"] = float(z_scores(rank**2, DRAWS * (DRAWS + 2) / 12))
    return z


def largest(z: dict[str, float]) -> float:
    return worst(np.array(list(z.values())))


pytestmark = pytest.mark.slow


in_float64_at_least = pytest.mark.exhaustive_except(
    *(str(sampler) for sampler in SAMPLERS if "64" in str(sampler))
)


@in_float64_at_least
@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_the_joint_law_of_weights_and_targets_is_invariant(sampler, seed):
    z = geweke(sampler, joint_draws(sampler, seed))
    assert largest(z) < SIGMAS, z


@in_float64_at_least
@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_the_joint_law_sees_a_temperature_ten_per_cent_off(sampler, seed):
    z = geweke(sampler, joint_draws(sampler, seed, 1.1))
    assert largest(z) > 2 * SIGMAS, z


@in_float64_at_least
@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_ranks_of_the_truth_are_uniform(sampler, seed):
    z = calibration(joint_draws(sampler, seed), seed)
    assert largest(z) < SIGMAS, z


@pytest.mark.parametrize("sampler", rows(precision="float64"), ids=str)
def test_ranks_see_a_wrong_temperature(sampler, seed):
    z = calibration(joint_draws(sampler, seed, 1.5), seed)
    assert largest(z) > 2 * SIGMAS, z


@pytest.mark.parametrize("sampler", MISTAKES, ids=str)
def test_mistakes_of_the_dynamics_are_caught(sampler, seed):
    draws = joint_draws(sampler, seed, mistaken=True)
    z = geweke(sampler, draws), calibration(draws, seed)
    assert min(map(largest, z)) > 2 * SIGMAS, z
