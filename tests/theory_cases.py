"""Tasks and ensembles that the tests of the theories share."""

import os
from pathlib import Path

import numpy as np

from langevin_nn.data.load import Dataset
from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.types import EnsembleSpec

SEED = 1000 * int(os.environ.get("LANGEVIN_NN_TEST_SEED", "0"))
GOLDEN = Path(__file__).parent / "golden"


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
