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
    bias_precision: float | None = None
    num_outputs: int = 1


CASES = {
    "one weight": Case(2, 1, 0.7, 0.5, 0.05),
    "one weight, half the limit": Case(2, 1, 0.7, 0.5, 0.5),
    "one weight, near the limit": Case(2, 1, 0.7, 0.5, 0.95),
    "more data than inputs": Case(8, 4, 2.0, 0.5, 0.3),
    "fewer data than inputs": Case(3, 6, 0.5, 1.5, 0.3),
    "an Equinox module": Case(3, 6, 0.5, 1.5, 0.3, own_module=True),
    "float32": Case(8, 4, 2.0, 0.5, 0.3, dtype=jnp.float32),
    "biases": Case(2, 3, 0.5, 3.0, 0.3, bias_precision=4.0),
    "three outputs": Case(8, 3, 2.0, 0.5, 0.3, num_outputs=3),
    "three outputs with biases": Case(2, 3, 0.5, 1.5, 0.3, bias_precision=2.0, num_outputs=3),
}


def law_deviations(case: Case, seed: int, transition: Any = lnn.Langevin, **planted: float):
    """z-scores of every first and second moment of weights and predictions, one and two steps."""
    data = gaussian_task(case.num_train, 3, case.in_size, num_outputs=case.num_outputs)
    scale = 1.0 if case.own_module else 1 / np.sqrt(case.in_size)
    features, test_features = data.x_train * scale, data.x_test * scale
    precisions = np.full(case.in_size, case.precision)
    outside = np.zeros((case.in_size, case.in_size))
    if not case.own_module:
        # Outside the span of the training inputs every record is a fresh draw of the prior.
        outside = np.eye(case.in_size) - np.linalg.pinv(features) @ features
    if case.bias_precision is not None:
        features, test_features = (
            np.pad(x, ((0, 0), (0, 1)), constant_values=1) for x in (features, test_features)
        )
        precisions = np.append(precisions, case.bias_precision)
        outside = np.pad(outside, (0, 1))
    inside = np.eye(len(outside)) - outside
    top = np.linalg.norm(features, 2) ** 2 + case.temperature * precisions.max()
    step_size = case.stability_fraction * 2 / top
    mean, covariance, lagged = linear_langevin_law(
        features, data.y_train, precisions, case.temperature, step_size
    )
    covariance = inside @ covariance @ inside + outside / case.precision
    lagged = inside @ lagged @ inside
    wrong_bias = planted.get("bias_precision", 1.0)
    prior = lnn.GaussianPrior(
        (case.precision * planted.get("precision", 1.0),),
        case.bias_precision and (case.bias_precision * wrong_bias,),
    )
    if case.own_module:
        network = RowModule(jnp.zeros(case.in_size, case.dtype))
    else:
        network = lnn.FullyConnected(
            case.in_size, (), key=jax.random.key(0), dtype=case.dtype,
            num_outputs=case.num_outputs, biases=case.bias_precision is not None,
        )  # fmt: skip
    temperature = case.temperature * planted.get("temperature", 1.0)
    posterior = lnn.GibbsPosterior(network, prior, data, temperature)
    slowest = step_size * case.temperature * precisions.min()

    def by_output(network: Any) -> jax.Array:
        """The weights of each output, its bias behind them."""
        columns = [jnp.reshape(leaf, (case.num_outputs, -1)) for leaf in jax.tree.leaves(network)]
        return jnp.concatenate(columns, axis=1)

    chains = lnn.sample(
        posterior, transition(step_size), key=jax.random.key(seed), num_chains=LAW_CHAINS,
        num_warmup=int(12 / min(slowest, 2 - 2 * case.stability_fraction)), num_samples=4,
        thinning=1, observables={"w": by_output},
    )  # fmt: skip
    means = mean.reshape(len(mean), -1).T
    w = chains.observables["w"].astype(np.float64) - means
    f = chains.test_outputs.astype(np.float64).reshape(LAW_CHAINS, 4, 3, -1)
    predicted = np.moveaxis(f[:, 0], 2, 1) - means @ test_features.T

    def products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = (each.reshape(LAW_CHAINS, -1) for each in (a, b))
        return np.einsum("ci,cj->cij", a, b).reshape(LAW_CHAINS, -1)

    def of_all_outputs(matrix: np.ndarray) -> np.ndarray:
        return np.kron(np.eye(case.num_outputs), matrix).ravel()

    moments = [
        (w[:, 0], 0.0),
        (products(w[:, 0], w[:, 0]), of_all_outputs(covariance)),
        (predicted, 0.0),
        (
            products(predicted, predicted),
            of_all_outputs(test_features @ covariance @ test_features.T),
        ),
        (products(w[:, 1], w[:, 0]), of_all_outputs(lagged)),
    ]
    return np.concatenate([z_scores(samples, expected).ravel() for samples, expected in moments])


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


class SharedNoise(lnn.Langevin):
    """The same ξ for all outputs."""

    def step(self, posterior, state, keys):
        moved, info = super().step(posterior, state, keys)
        gradient = jax.grad(lambda p: jnp.sum(posterior.energy(p)))(state.params)

        def share(new, old, slope):
            drift = old - self.step_size * slope
            return drift + (new - drift)[:, :1]

        return type(moved)(jax.tree.map(share, moved.params, state.params, gradient)), info


MISTAKES = {
    "noise": ("fewer data than inputs", HalfTheNoise, {}),
    "noise, own module": ("an Equinox module", HalfTheNoise, {}),
    "prior twice": ("fewer data than inputs", PriorTwice, {}),
    # A temperature shows where data dominate, a precision where the prior does.
    "temperature": ("more data than inputs", lnn.Langevin, {"temperature": 1.1}),
    "temperature, float32": ("float32", lnn.Langevin, {"temperature": 1.1}),
    "temperature, outputs": ("three outputs", lnn.Langevin, {"temperature": 1.1}),
    "noise, outputs": ("three outputs with biases", HalfTheNoise, {}),
    "noise that outputs share": ("three outputs", SharedNoise, {}),
    "precision of biases": ("biases", lnn.Langevin, {"bias_precision": 1.1}),
    "precision": ("fewer data than inputs", lnn.Langevin, {"precision": 1.1}),
    "precision, own module": ("an Equinox module", lnn.Langevin, {"precision": 1.1}),
}


@pytest.mark.parametrize(("name", "transition", "planted"), MISTAKES.values(), ids=MISTAKES)
def test_planted_mistakes_are_caught(name, transition, planted, seed):
    assert worst(law_deviations(CASES[name], seed, transition, **planted)) > 2 * SIGMAS
