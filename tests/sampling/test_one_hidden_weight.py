"""The stationary law of one hidden weight, the read-out marginalised: a density on a line.

The smallest network there is. The law of Langevin dynamics at its step size, and the posterior that
the split dynamics has, by quadrature; independent chains are compared with it in standard errors.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from cases import gaussian_task
from samplers import (
    DYNAMICS,
    HalfTheNoise,
    Sampler,
    Unadjusted,
    WithoutDeterminant,
    evolved,
    rows,
    slow_unless,
)
from statistics_in_sigmas import SIGMAS, worst, z_scores

ONE_UNIT = gaussian_task(3, 2, 1)
UNIT_CHAINS, UNIT_STEPS = 10_000, 30
UNIT_PRECISIONS, UNIT_TEMPERATURE = (1.0, 0.5), 0.3


def unit_law(step_size: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Probabilities on a grid of w, and the quantities there; the posterior's at step size 0.

    With s = FᵀF and c = Fᵀy, Φ = ½ log(T + s) − ½ c²/(T(T + s)) + const (Sherman and Morrison). At
    η > 0 the law is the left eigenvector of the Gaussian dynamics density.
    """
    w = np.linspace(-9, 9, 901)
    temperature, (first, last) = UNIT_TEMPERATURE, UNIT_PRECISIONS
    x, x_test, y = ONE_UNIT.x_train, ONE_UNIT.x_test, ONE_UNIT.y_train[:, None]
    f = scipy.special.erf(x * w) / np.sqrt(last)
    slope = 2 / np.sqrt(np.pi) * np.exp(-np.square(x * w)) * x / np.sqrt(last)
    s, c = np.sum(f**2, axis=0), np.sum(f * y, axis=0)
    total = temperature + s
    potential = 0.5 * np.log(total) - 0.5 * c**2 / (temperature * total) + 0.5 * first * w**2
    f_test = scipy.special.erf(x_test * w) / np.sqrt(last)
    quantities = {
        "w²": w**2, "mean": f_test * c / total, "variance": temperature * f_test**2 / total,
    }  # fmt: skip
    law = np.exp(potential.min() - potential)
    if step_size:
        ds, dc = 2 * np.sum(f * slope, axis=0), np.sum(slope * y, axis=0)
        force = 0.5 * ds / total - c * dc / (temperature * total)
        force += 0.5 * c**2 * ds / (temperature * total**2) + first * w
        pace = step_size * temperature
        kernel = np.exp(-np.square(w[None, :] - (w - pace * force)[:, None]) / (4 * pace))
        kernel /= kernel.sum(axis=1, keepdims=True)
        for _ in range(200):
            law = law @ kernel / np.sum(law)
    return law / law.sum(), quantities


def unit_deviations(
    sampler: Sampler, seed: int, kind=None, readout=None, step_size=None, temperature=1.0
) -> np.ndarray:
    """z-scores of averages of w², m_W and s_W, each chain an independent draw."""
    posterior = sampler.posterior(
        ONE_UNIT, (1,), UNIT_PRECISIONS, UNIT_TEMPERATURE * temperature, readout=readout
    )
    row = DYNAMICS[sampler.dynamics]
    dynamics = sampler.transition(*row.hidden_weight, kind=kind)
    keys = jax.random.split(jax.random.key(seed), 3)
    start = posterior.sample_prior(keys[0], UNIT_CHAINS)
    params = evolved(posterior, dynamics, start, keys[1], jnp.asarray(UNIT_STEPS))
    values = posterior.predictions(params, jax.random.split(keys[2], UNIT_CHAINS))
    if step_size is None:
        step_size = row.step_size["hidden_weight"]
    law, expected = unit_law(step_size)
    found = {
        "w²": jnp.square(params.weights[0][:, 0, 0]),
        "mean": values["test_outputs"], "variance": values["test_variances"],
    }  # fmt: skip
    return np.concatenate(
        [
            np.atleast_1d(z_scores(np.asarray(found[name], np.float64), expected[name] @ law))
            for name in found
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "sampler",
    [
        slow_unless(("langevin, marginalised, float64", "split, marginalised, float64"), str(s), s)
        for s in rows(readout="marginalised")
    ],
)
def test_one_hidden_weight_has_its_density(sampler, seed):
    assert worst(unit_deviations(sampler, seed)) < SIGMAS


LANGEVIN = Sampler("langevin", "marginalised", "float64")
SPLIT = Sampler("split", "marginalised", "float64")
UNIT_MISTAKES = {
    "noise": (LANGEVIN, {"kind": HalfTheNoise}),
    "no bias of the step size": (LANGEVIN, {"step_size": 0.0}),
    "temperature": (LANGEVIN, {"temperature": 1.2}),
    "no Metropolis": (SPLIT, {"kind": Unadjusted}),
    "no log det": (SPLIT, {"readout": WithoutDeterminant}),
    "temperature, split": (SPLIT, {"temperature": 1.2}),
}


@pytest.mark.slow_except(
    "noise", "temperature", "no Metropolis", "no log det", "temperature, split"
)
@pytest.mark.parametrize(
    ("sampler", "planted"),
    [slow_unless(("no bias",), name, *values) for name, values in UNIT_MISTAKES.items()],
)
def test_mistakes_with_one_hidden_weight_are_caught(sampler, planted, seed):
    assert worst(unit_deviations(sampler, seed, **planted)) > 2 * SIGMAS
