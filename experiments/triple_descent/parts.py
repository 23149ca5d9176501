"""The parts of the error from nested draws of data sets, features and noise."""

from typing import Any

import jax
import numpy as np
import xarray as xr

import langevin_nn as lnn
from experiments.triple_descent.points import NOISE, RIDGES, named

PARTS = ("bias2", "sampling", "initialisation", "noise")


def predictions_job(job: tuple[float, float, dict[str, int], int]) -> np.ndarray:
    """The predictions (features, noise, P_test) on one data set, less the teacher's outputs.

    Teacher and test points are the same for all data sets.
    """
    features, examples, size, seed = job
    in_size = size["parts_in_size"]
    shared_rng = np.random.default_rng(0)
    teacher = shared_rng.standard_normal(in_size)
    teacher /= np.linalg.norm(teacher)
    x_test = shared_rng.standard_normal((size["num_test"], in_size))
    rng = np.random.default_rng([3, seed, round(1e6 * examples)])
    x = rng.standard_normal((round(examples * in_size), in_size))
    data = lnn.Dataset("teacher", x, x @ teacher, x_test, x_test @ teacher)
    return lnn.feature_ensemble(
        data, round(features * in_size), named("tanh"), key=jax.random.key(seed),
        ridge=RIDGES[0], num_ensemble=4, num_noise=4, noise_variance=NOISE,
    ) - data.y_test  # fmt: skip


def measured(
    pool: Any, features: float, ratios: tuple[float, ...], size: dict[str, int]
) -> xr.Dataset:
    """The parts of tanh's error over P/N_0, measured."""
    num_data_sets = size["parts_data_sets"]
    jobs = [(features, ratio, size, seed) for ratio in ratios for seed in range(num_data_sets)]
    errors = iter(pool.map(predictions_job, jobs[::-1]))
    rows = np.empty((2, len(ratios), len(PARTS)))
    for i in range(len(ratios))[::-1]:
        stacked = np.array([next(errors) for _ in range(num_data_sets)])
        parts = lnn.error_parts(stacked, np.zeros(stacked.shape[-1]))
        for j, name in enumerate(PARTS):
            estimate = getattr(parts, name)
            rows[:, i, j] = estimate.value, estimate.mcse
    return xr.Dataset(
        {"value": (("examples", "part"), rows[0]), "error": (("examples", "part"), rows[1])},
        coords={"examples": list(ratios), "part": list(PARTS)},
    )
