"""What the split dynamics learns: the slope of the ChEES criterion, and where it leads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task, posterior_of
from scipy.optimize import minimize_scalar
from statistics_in_sigmas import SIGMAS, z_scores

import langevin_nn as lnn
from langevin_nn.sampling.dynamics.adaptation import chees_slope

CHAINS, DIMENSION = 50, 3


def slopes(angle, seed, velocity="end", repeats=4000):
    """dC/d log τ of rotations by `angle` in a Gaussian prior, many times."""
    q, p = np.random.default_rng(seed).normal(size=(2, repeats, CHAINS, DIMENSION))
    end, momentum = q * np.cos(angle) + p * np.sin(angle), p * np.cos(angle) - q * np.sin(angle)
    ones = jnp.ones(CHAINS)

    def one(*places):
        return chees_slope(*([x] for x in places), ones, ones > 0, jnp.asarray(angle))

    return np.asarray(jax.vmap(one)(q, end, momentum if velocity == "end" else p))


@pytest.mark.parametrize("angle", [0.4, 1.3, 1.9])
def test_slope_of_the_criterion_of_a_rotation_is_its_closed_form(angle, seed):
    """C = d sin²θ in d dimensions; a centre estimated from n chains costs (1 − 1/n)²."""
    expected = DIMENSION * angle * np.sin(2 * angle) * (1 - 1 / CHAINS) ** 2
    assert abs(z_scores(slopes(angle, seed), expected)) < SIGMAS
    assert abs(z_scores(slopes(angle, seed, velocity="start"), expected)) > 2 * SIGMAS


def test_chains_that_are_not_finite_do_not_reach_the_slope(seed):
    q, p = np.random.default_rng(seed).normal(size=(2, 6, 4))
    finite, angle = np.arange(6) != 2, jnp.asarray(0.7)

    def slope(*places, finite):
        ones = jnp.ones(len(finite))
        return chees_slope(*([jnp.asarray(x)] for x in places), ones, jnp.asarray(finite), angle)

    rest = slope(*(x[finite] for x in (q, p, p)), finite=np.full(5, True))
    spoiled = p.copy()
    spoiled[2] = np.nan
    assert slope(q, spoiled, p, finite=finite) == pytest.approx(rest)
    alone = slope(q[:1], p[:1], p[:1], finite=np.full(1, True))
    assert alone == 0, "one chain has no centre of its own"


@pytest.mark.slow
def test_the_length_climbs_to_the_largest_criterion(seed):
    """Data that say little leave C ∝ E_u sin²(uτ), u uniform in [½, 3/2]."""
    data = gaussian_task(4, 3, 3)
    posterior = posterior_of(data, (), temperature=1e4, key=jax.random.key(0))
    chains = lnn.sample(
        posterior, lnn.Split(), key=jax.random.key(seed), num_chains=200, num_warmup=2_000,
        num_samples=4,
    )  # fmt: skip
    u = np.linspace(0.5, 1.5, 1001)
    best = minimize_scalar(lambda t: -np.mean(np.sin(u * t) ** 2), bounds=(0.5, 2.5)).x
    assert chains.trajectory_length == pytest.approx(best, rel=0.05)
    fixed = lnn.sample(
        posterior, lnn.Split(trajectory_length=0.8), key=jax.random.key(seed), num_chains=2,
        num_warmup=10, num_samples=4,
    )  # fmt: skip
    assert fixed.trajectory_length == 0.8
