"""The stationary law on networks that are linear in their weights: Gaussian, in closed form.

Of Langevin dynamics with the bias of its step size, of the split dynamics the posterior itself.
Thousands of independent chains are compared with it in standard errors; the same comparison must
reject planted mistakes.
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task
from oracles import linear_langevin_law
from samplers import (
    DYNAMICS,
    KEY,
    HalfTheNoise,
    OtherNoise,
    Unadjusted,
    evolved,
    slow_unless,
    traced,
)
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn


class RowModule(eqx.Module):
    """An Equinox module of a user's own, f(x) = w·x, with nothing of FullyConnected in it."""

    weight: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.sum(self.weight * x)


@dataclass(frozen=True)
class Case:
    """A linear problem, and where on the stability axis a Langevin step size lies."""

    num_train: int
    in_size: int
    precision: float
    temperature: float
    stability_fraction: float
    own_module: bool = False
    dtype: Any = jnp.float64
    bias_precision: float | None = None
    num_outputs: int = 1
    num_chains: int = 40_000


CASES = {
    "one weight": Case(2, 1, 0.7, 0.5, 0.05),
    "one weight, half the limit": Case(2, 1, 0.7, 0.5, 0.5),
    "one weight, near the limit": Case(2, 1, 0.7, 0.5, 0.95),
    "more data than inputs": Case(8, 4, 2.0, 0.5, 0.3),
    "fewer data than inputs": Case(3, 6, 0.5, 1.5, 0.3),
    "an Equinox module": Case(3, 6, 0.5, 1.5, 0.3, own_module=True, num_chains=10_000),
    "float32": Case(8, 4, 2.0, 0.5, 0.3, dtype=jnp.float32),
    "biases": Case(2, 3, 0.5, 3.0, 0.3, bias_precision=4.0),
    "three outputs": Case(8, 3, 2.0, 0.5, 0.3, num_outputs=3),
    "three outputs with biases": Case(2, 3, 0.5, 1.5, 0.3, bias_precision=2.0, num_outputs=3),
}
EXACT = {
    name: (row.linear[0], row.kind(*row.linear[1])) for name, row in DYNAMICS.items() if row.linear
} | {"split, partial refresh": (40, lnn.Split(0.3, 0.9, refresh=0.5))}
"""Dynamics without a bias, and the steps from the prior to the posterior."""


@eqx.filter_jit
def seen(posterior, params, keys):
    """The weights of each output, its bias behind them, and what is recorded of f."""
    networks = posterior.lifted_networks(params, keys)
    outputs = posterior.y_train.shape[1] if posterior.y_train.ndim == 2 else 1
    columns = [leaf.reshape(len(leaf), outputs, -1) for leaf in jax.tree.leaves(networks)]
    return jnp.concatenate(columns, axis=2), posterior.predictions(params, keys)["test_outputs"]


def linear_deviations(case: Case, seed: int, dynamics: Any = lnn.Langevin, **planted: float):
    """z-scores of every first and second moment of weights and predictions, one and two steps.

    `dynamics` is a class of Langevin dynamics, or an entry of `EXACT`.
    """
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
    exact = isinstance(dynamics, tuple)
    step_size = 0.0 if exact else case.stability_fraction * 2 / top
    mean, covariance, lagged = linear_langevin_law(
        features, data.y_train, precisions, case.temperature, step_size
    )
    covariance = inside @ covariance @ inside + outside / case.precision
    lagged = inside @ lagged @ inside
    bias = case.bias_precision and (case.bias_precision * planted.get("bias_precision", 1.0),)
    prior = lnn.GaussianPrior((case.precision * planted.get("precision", 1.0),), bias)
    if case.own_module:
        network = RowModule(jnp.zeros(case.in_size, case.dtype))
    else:
        network = lnn.FullyConnected(
            case.in_size, (), key=KEY, dtype=case.dtype, num_outputs=case.num_outputs,
            biases=case.bias_precision is not None,
        )  # fmt: skip
    temperature = case.temperature * planted.get("temperature", 1.0)
    posterior = traced(lnn.GibbsPosterior(network, prior, data, temperature), case.dtype)
    transition = traced(dynamics[1] if exact else dynamics(step_size), case.dtype)
    slowest = min(step_size * case.temperature * precisions.min(), 2 - 2 * case.stability_fraction)
    steps = dynamics[0] if exact else int(12 / slowest)

    keys = jax.random.split(jax.random.key(seed), 5)
    params = posterior.sample_prior(keys[0], case.num_chains)
    means = mean.reshape(len(mean), -1).T
    w, f = [], []
    for key, record, count in ((keys[1], keys[2], steps), (keys[3], keys[4], 1)):
        params = evolved(posterior, transition, params, key, jnp.asarray(count))
        values = seen(posterior, params, jax.random.split(record, case.num_chains))
        weights, outputs = (np.asarray(each, np.float64) for each in values)
        w.append(weights - means)
        f.append(np.moveaxis(outputs.reshape(case.num_chains, 3, -1), 1, 2))
    predicted = f[0] - means @ test_features.T

    def products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = (each.reshape(case.num_chains, -1) for each in (a, b))
        return np.einsum("ci,cj->cij", a, b).reshape(case.num_chains, -1)

    def of_all_outputs(matrix: np.ndarray) -> np.ndarray:
        return np.kron(np.eye(case.num_outputs), matrix).ravel()

    spread = of_all_outputs(test_features @ covariance @ test_features.T)
    moments = [
        (w[0], 0.0),
        (products(w[0], w[0]), of_all_outputs(covariance)),
        (predicted, 0.0),
        (products(predicted, predicted), spread),
    ]
    if not exact:
        moments.append((products(w[1], w[0]), of_all_outputs(lagged)))
    return np.concatenate([z_scores(samples, expected).ravel() for samples, expected in moments])


QUICK = ("one weight", "fewer")


@pytest.mark.slow_except("one weight")
@pytest.mark.parametrize("case", [slow_unless(QUICK, name, case) for name, case in CASES.items()])
def test_langevin_has_the_closed_form(case, seed):
    assert worst(linear_deviations(case, seed)) < SIGMAS


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["more data than inputs", pytest.param("float32", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("dynamics", EXACT.values(), ids=EXACT)
def test_what_has_an_acceptance_step_has_the_exact_posterior(dynamics, name, seed):
    """At any step size: there is no bias to predict."""
    assert worst(linear_deviations(CASES[name], seed, dynamics)) < SIGMAS


class PriorTwice(lnn.Langevin):
    """The prior's force counted a second time."""

    def step(self, posterior, state, settings, keys):
        moved, info = super().step(posterior, state, settings, keys)
        force = settings.step_size * posterior.temperature * posterior.prior.precisions[0]
        params = jax.tree.map(lambda new, old: new - force * old, moved.params, state.params)
        return type(moved)(params), info


class SharedNoise(OtherNoise):
    """The same ξ for all outputs."""

    def replaced(self, noise):
        return jnp.broadcast_to(noise[:, :1], noise.shape)


MISTAKES = {
    "noise": ("fewer data than inputs", HalfTheNoise, {}),
    "own module, noise": ("an Equinox module", HalfTheNoise, {}),
    "prior twice": ("fewer data than inputs", PriorTwice, {}),
    # A temperature shows where data dominate, a precision where the prior does.
    "temperature": ("more data than inputs", lnn.Langevin, {"temperature": 1.1}),
    "temperature, float32": ("float32", lnn.Langevin, {"temperature": 1.1}),
    "temperature, outputs": ("three outputs", lnn.Langevin, {"temperature": 1.1}),
    "outputs that share noise": ("three outputs", SharedNoise, {}),
    "biases' precision": ("biases", lnn.Langevin, {"bias_precision": 1.1}),
    "precision": ("fewer data than inputs", lnn.Langevin, {"precision": 1.1}),
    "split, no Metropolis": ("more data than inputs", (40, Unadjusted(0.5, 1.5)), {}),
    "split, temperature": ("more data than inputs", EXACT["split"], {"temperature": 1.1}),
    "split, precision": ("more data than inputs", EXACT["split"], {"precision": 2.0}),
    "barker, temperature": ("more data than inputs", EXACT["barker"], {"temperature": 1.1}),
}


QUICK_MISTAKES = ("precision", "split, temperature")


@pytest.mark.slow_except(
    "noise",
    "own module, noise",
    "prior twice",
    "temperature",
    "temperature, float32",
    "temperature, outputs",
    "outputs that share noise",
    "biases' precision",
    "precision",
    "split, no Metropolis",
    "split, precision",
    "barker, temperature",
)
@pytest.mark.parametrize(
    ("name", "dynamics", "planted"),
    [slow_unless(QUICK_MISTAKES, name, *values) for name, values in MISTAKES.items()],
)
def test_planted_mistakes_are_caught(name, dynamics, planted, seed):
    assert worst(linear_deviations(CASES[name], seed, dynamics, **planted)) > 2 * SIGMAS
