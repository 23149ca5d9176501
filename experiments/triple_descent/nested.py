"""Draws nested in each other: the parts of the error, and images with noisy labels."""

from typing import Any

import jax
import numpy as np
import xarray as xr
from points import RIDGES, named
from threadpoolctl import threadpool_limits

import langevin_nn as lnn
from langevin_nn.model.raw_files import available

NOISE = 5.0
"""τ²."""
PARTS = ("bias2", "sampling", "initialisation", "noise")
CURES = ("one network", "ensemble", "bagged", "ridge")


def parts_job(job: tuple[float, float, dict[str, int], int]) -> np.ndarray:
    """(features, noise, P_test) of one data set; the teacher and test points are those of all."""
    features, examples, size, seed = job
    in_size = size["parts_in_size"]
    shared = np.random.default_rng(0)
    teacher = shared.standard_normal(in_size)
    teacher /= np.linalg.norm(teacher)
    x_test = shared.standard_normal((size["num_test"], in_size))
    rng = np.random.default_rng([3, seed, round(1e6 * examples)])
    x = rng.standard_normal((round(examples * in_size), in_size))
    data = lnn.Dataset("teacher", x, x @ teacher, x_test, x_test @ teacher)
    with threadpool_limits(1):
        return lnn.feature_ensemble(
            data, round(features * in_size), named("tanh"), key=jax.random.key(seed),
            ridge=RIDGES[0], num_features=4, num_noise=4, noise_variance=NOISE,
        ) - data.y_test  # fmt: skip


def parts(
    pool: Any, features: float, ratios: tuple[float, ...], size: dict[str, int]
) -> xr.Dataset:
    """The parts of tanh's error over P/N_0, measured."""
    sets = size["parts_data_sets"]
    jobs = [(features, ratio, size, seed) for ratio in ratios for seed in range(sets)]
    errors = iter(pool.map(parts_job, jobs[::-1]))
    rows = np.empty((2, len(ratios), len(PARTS)))
    for i in range(len(ratios))[::-1]:
        stacked = np.array([next(errors) for _ in range(sets)])
        found = lnn.error_parts(stacked, np.zeros(stacked.shape[-1]))
        for j, name in enumerate(PARTS):
            estimate = getattr(found, name)
            rows[:, i, j] = estimate.value, estimate.mcse
    return xr.Dataset(
        {"value": (("examples", "part"), rows[0]), "error": (("examples", "part"), rows[1])},
        coords={"examples": list(ratios), "part": list(PARTS)},
    )


def sources() -> list[str]:
    present = {each.name for each in available() if each.present}
    return [name for name in ("mnist", "fashion_mnist") if name in present] or ["digits"]


def images_job(job: tuple[str, int, dict[str, int], int]) -> np.ndarray:
    """Errors of CURES on one draw of the examples: even classes against odd, tanh features."""
    source, num_train, size, seed = job
    in_size, number = size["components"], size["image_ensemble"]
    data = lnn.load_dataset(
        source, num_train=num_train, num_test=size["num_test"], num_components=in_size,
        classes=((0, 2, 4, 6, 8), (1, 3, 5, 7, 9)), key=jax.random.key(seed),
    )  # fmt: skip
    given = {
        "key": jax.random.key(seed), "num_features": number, "num_noise": number,
        "noise_variance": NOISE, "shared_noise": True,
    }  # fmt: skip
    width = 3 * in_size

    def errors(f: np.ndarray) -> float:
        return float(np.mean((f - data.y_test) ** 2))

    with threadpool_limits(1):
        cold, warm = (
            lnn.feature_ensemble(data, width, "tanh", ridge=ridge, **given) for ridge in RIDGES
        )
    return np.array([errors(cold), errors(cold.mean(0)), errors(cold.mean(1)), errors(warm)])


def images(pool: Any, ratios: tuple[float, ...], size: dict[str, int]) -> xr.Dataset:
    """Test errors over P/N_0 with N_0 principal components, N_1 = 3 N_0."""
    chosen, sets = sources(), size["image_data_sets"]
    jobs = [
        (source, round(ratio * size["components"]), size, seed)
        for source in chosen for ratio in ratios for seed in range(sets)
    ]  # fmt: skip
    errors = np.array(list(pool.map(images_job, jobs[::-1])))[::-1]
    errors = errors.reshape(len(chosen), len(ratios), sets, len(CURES))
    spread = errors.std(axis=2, ddof=1) / np.sqrt(sets)
    dims = ("source", "examples", "cure")
    return xr.Dataset(
        {"value": (dims, errors.mean(axis=2)), "error": (dims, spread)},
        coords={"source": chosen, "examples": list(ratios), "cure": list(CURES)},
        attrs={"components": size["components"], "ensemble": size["image_ensemble"]},
    )
