"""The problems that tests share: tasks, their ensembles and posteriors, configurations."""

import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import langevin_nn as lnn
from langevin_nn.data.dataset import Dataset
from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.model.posterior import Posterior
from langevin_nn.types import EnsembleSpec

SEED = 1000 * int(os.environ.get("LANGEVIN_NN_TEST_SEED", "0"))
GOLDEN = Path(__file__).parent / "golden"

TINY = """
seed = 1
[data]
source = "teacher_linear"
in_size = 3
num_train = 5
num_test = 4
[network]
hidden_widths = [3]
[posterior]
temperature = 0.5
[sampler]
num_chains = 2
num_warmup = 30
num_samples = 8
thinning = 2
"""
"""A run that takes moments."""

TINY_GRID = (
    """
precision = "float64"
theory = ["infinite_width", "scale_mixture"]
"""
    + TINY
)
"""The same for sweeps, whose points are compared to rounding."""

SHORT_GRID = TINY_GRID.replace("num_warmup = 30", "num_warmup = 6")
"""A sweep of one shape for all tests of a module, so that they share their programs."""


def gaussian_task(
    num_train: int, num_test: int, in_size: int, seed: int = 0, num_outputs: int = 1
) -> Dataset:
    """Gaussian inputs with targets that a linear rule explains in part."""
    rng = np.random.default_rng(seed)
    outputs = () if num_outputs == 1 else (num_outputs,)
    x, x_test = rng.normal(size=(num_train, in_size)), rng.normal(size=(num_test, in_size))
    rule = rng.normal(size=(in_size, *outputs)) / np.sqrt(in_size)
    y = x @ rule + 0.3 * rng.normal(size=(num_train, *outputs))
    return Dataset("gaussian", x, y, x_test, x_test @ rule)


def toy():
    arrays = np.load(GOLDEN / "toy.npz")
    return Dataset("toy", *(arrays[name] for name in ("x_train", "y_train", "x_test", "y_test")))


def small_task(num_train=6, num_test=4, in_size=5):
    rng = np.random.default_rng(SEED + 1)
    x = rng.standard_normal((num_train + num_test, in_size))
    y = np.sign(x[:, 0] * x[:, 1]) + 0.3 * rng.standard_normal(len(x))
    return Dataset("small", x[:num_train], y[:num_train], x[num_train:], y[num_train:])


def two_outputs(data):
    """The task with a second target, which depends on other inputs."""
    y_train, y_test = (
        np.stack([y, np.cos(2 * x[:, 2])], axis=1)
        for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test))
    )
    return Dataset(data.name, data.x_train, y_train, data.x_test, y_test)


def spec_of(
    data, widths=(10,), activation="erf", precisions=None, temperature=0.1, biases=False, **others
):
    precisions = precisions or (1.0,) * (len(widths) + 1)
    of_biases = tuple(1.5 + 0.5 * layer for layer in range(len(precisions))) if biases else None
    num_outputs = 1 if data.y_train.ndim == 1 else data.y_train.shape[1]
    return EnsembleSpec(
        data.in_size, widths, ACTIVATIONS[activation], precisions, temperature,
        num_outputs=num_outputs, bias_precisions=of_biases, **others,
    )  # fmt: skip


def ensemble_of(data, *widths, **options):
    return Ensemble(spec_of(data, *widths, **options), data)


def deviation(one, other):
    """Largest difference of the predictive means and variances."""
    return max(
        np.max(np.abs(one.predictive_mean - other.predictive_mean)),
        np.max(np.abs(one.predictive_variance - other.predictive_variance)),
    )


def posterior_of(
    data, widths=(5,), activation="erf", precisions=None, temperature=0.1, *, key, loss=None,
    kind=lnn.GibbsPosterior, bias_precisions=None, dtype=jnp.float64,
) -> Posterior:  # fmt: skip
    """Of a fully connected network with this task's outputs; precisions are 1 unless given."""
    network = lnn.FullyConnected(
        data.in_size, widths, activation, key=key, dtype=dtype, num_outputs=data.num_outputs,
        biases=bias_precisions is not None,
    )  # fmt: skip
    prior = lnn.GaussianPrior(precisions or (1.0,) * (len(widths) + 1), bias_precisions)
    return kind(network, prior, data, temperature, loss)


def some_params(posterior: Posterior, num_chains: int, seed: int = 0) -> Any:
    """Standard Gaussian parameters from NumPy, for tests of what is made of them.

    `sample_prior` would compile a program for the shape of every array.
    """
    rng = np.random.default_rng(seed)
    shapes = eqx.filter_eval_shape(posterior.sample_prior, jax.random.key(0), num_chains)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape), s.dtype), shapes)


def write_npz(path, *, num_train=6, num_test=4, in_size=3, seed=0, **replaced):
    """A small regression task as a file."""
    rng = np.random.default_rng(seed)
    arrays = {
        "x_train": rng.standard_normal((num_train, in_size)),
        "y_train": rng.standard_normal(num_train),
        "x_test": rng.standard_normal((num_test, in_size)),
        "y_test": rng.standard_normal(num_test),
    }
    np.savez(path, **(arrays | replaced))
    return arrays
