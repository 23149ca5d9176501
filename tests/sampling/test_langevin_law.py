"""Discrete Langevin dynamics has exactly the law that its equation gives it.

On a network that is linear in its weights the stationary law is Gaussian in closed form, step-size
bias included. Thousands of independent chains are run through the driver and compared with it in
standard errors; the same comparison must reject planted mistakes.
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import gaussian_task, linear_langevin_law
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn

LAW_CHAINS = 40_000


class RowModule(eqx.Module):
    """An Equinox module of a user's own, f(x) = w·x, with nothing of FullyConnected in it."""

    weight: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.sum(self.weight * x)


@dataclass(frozen=True)
class Case:
    """A linear problem, and where on the stability axis the step size lies."""

    num_train: int
    in_size: int
    precision: float
    temperature: float
    stability_fraction: float
    own_module: bool = False
    dtype: Any = jnp.float64


CASES = {
    "one weight": Case(2, 1, 0.7, 0.5, 0.05),
    "one weight, half the limit": Case(2, 1, 0.7, 0.5, 0.5),
    "one weight, near the limit": Case(2, 1, 0.7, 0.5, 0.95),
    "more data than inputs": Case(8, 4, 2.0, 0.5, 0.3),
    "fewer data than inputs": Case(3, 6, 0.5, 1.5, 0.3),
    "an Equinox module": Case(3, 6, 0.5, 1.5, 0.3, own_module=True),
    "float32": Case(8, 4, 2.0, 0.5, 0.3, dtype=jnp.float32),
}


def law_deviations(case: Case, seed: int, transition: Any = lnn.Langevin, **planted: float):
    """z-scores of every first and second moment of weights and predictions, one and two steps."""
    data = gaussian_task(case.num_train, 3, case.in_size)
    scale = 1.0 if case.own_module else 1 / np.sqrt(case.in_size)
    features, test_features = data.x_train * scale, data.x_test * scale
    top = np.linalg.norm(features, 2) ** 2 + case.temperature * case.precision
    step_size = case.stability_fraction * 2 / top
    mean, covariance, lagged = linear_langevin_law(
        features, data.y_train, case.precision, case.temperature, step_size
    )
    if not case.own_module:
        # Outside the span of the training inputs every record is a fresh draw of the prior.
        outside = np.eye(case.in_size) - np.linalg.pinv(features) @ features
        inside = np.eye(case.in_size) - outside
        covariance = inside @ covariance @ inside + outside / case.precision
        lagged = inside @ lagged @ inside
    if case.own_module:
        network = RowModule(jnp.zeros(case.in_size, case.dtype))
    else:
        network = lnn.FullyConnected(case.in_size, (), key=jax.random.key(0), dtype=case.dtype)
    prior = lnn.GaussianPrior((case.precision * planted.get("precision", 1.0),))
    temperature = case.temperature * planted.get("temperature", 1.0)
    posterior = lnn.GibbsPosterior(network, prior, data, temperature)
    slowest = step_size * case.temperature * case.precision
    chains = lnn.sample(
        posterior, transition(step_size), key=jax.random.key(seed), num_chains=LAW_CHAINS,
        num_warmup=int(12 / min(slowest, 2 - 2 * case.stability_fraction)), num_samples=4,
        thinning=1, observables={"w": lambda n: jnp.ravel(jax.tree.leaves(n)[0])},
    )  # fmt: skip
    w = chains.observables["w"].astype(np.float64)
    f = chains.test_outputs.astype(np.float64)

    def products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.einsum("ci,cj->cij", a, b).reshape(len(a), -1)

    first, second = w[:, 0] - mean, w[:, 1] - mean
    predicted = f[:, 0] - test_features @ mean
    moments = [
        (first, np.zeros(case.in_size)),
        (products(first, first), covariance.ravel()),
        (predicted, np.zeros(3)),
        (products(predicted, predicted), (test_features @ covariance @ test_features.T).ravel()),
        (products(second, first), lagged.ravel()),
    ]
    return np.concatenate([z_scores(samples, expected) for samples, expected in moments])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_stationary_law_is_the_closed_form(case, seed):
    assert worst(law_deviations(case, seed)) < SIGMAS


class HalfTheNoise(lnn.Langevin):
    """√(ηT) ξ in place of √(2ηT) ξ."""

    def step(self, posterior, state, keys):
        moved, info = super().step(posterior, state, keys)
        gradient = jax.grad(lambda p: jnp.sum(posterior.energy(p)))(state.params)

        def weaken(new, old, slope):
            drift = old - self.step_size * slope
            return drift + (new - drift) / jnp.sqrt(jnp.asarray(2, new.dtype))

        return type(moved)(jax.tree.map(weaken, moved.params, state.params, gradient)), info


class PriorTwice(lnn.Langevin):
    """The prior's force counted a second time."""

    def step(self, posterior, state, keys):
        moved, info = super().step(posterior, state, keys)
        force = self.step_size * posterior.temperature * posterior.prior.precisions[0]
        params = jax.tree.map(lambda new, old: new - force * old, moved.params, state.params)
        return type(moved)(params), info


MISTAKES = {
    "noise": ("fewer data than inputs", HalfTheNoise, {}),
    "noise, own module": ("an Equinox module", HalfTheNoise, {}),
    "prior twice": ("fewer data than inputs", PriorTwice, {}),
    # A temperature shows where data dominate, a precision where the prior does.
    "temperature": ("more data than inputs", lnn.Langevin, {"temperature": 1.1}),
    "temperature, float32": ("float32", lnn.Langevin, {"temperature": 1.1}),
    "precision": ("fewer data than inputs", lnn.Langevin, {"precision": 1.1}),
    "precision, own module": ("an Equinox module", lnn.Langevin, {"precision": 1.1}),
}


@pytest.mark.parametrize(("name", "transition", "planted"), MISTAKES.values(), ids=MISTAKES)
def test_planted_mistakes_are_caught(name, transition, planted, seed):
    assert worst(law_deviations(CASES[name], seed, transition, **planted)) > 2 * SIGMAS
