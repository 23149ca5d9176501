"""MNIST and Fashion-MNIST with noisy labels: cures of the peaks of random features."""

from typing import Any

import jax
import numpy as np
import xarray as xr

import langevin_nn as lnn
from experiments.triple_descent.points import NOISE, RIDGES
from langevin_nn.data.image_files import available

CURES = ("one network", "ensemble", "bagged", "ridge")


def sources() -> list[str]:
    present = {source.name for source in available() if source.present}
    return [name for name in ("mnist", "fashion_mnist") if name in present] or ["digits"]


def errors_job(job: tuple[str, int, dict[str, int], int]) -> np.ndarray:
    """The errors of CURES on one draw of the examples: even against odd classes, tanh features."""
    source, num_train, size, seed = job
    in_size, num_members = size["components"], size["image_ensemble"]
    data = lnn.load_dataset(
        source, num_train=num_train, num_test=size["num_test"], num_components=in_size,
        classes=((0, 2, 4, 6, 8), (1, 3, 5, 7, 9)), key=jax.random.key(seed),
    )  # fmt: skip
    arguments = {
        "key": jax.random.key(seed), "num_ensemble": num_members, "num_noise": num_members,
        "noise_variance": NOISE, "shared_noise": True,
    }  # fmt: skip
    width = 3 * in_size

    def errors(f: np.ndarray) -> float:
        return float(np.mean((f - data.y_test) ** 2))

    cold, warm = (
        lnn.feature_ensemble(data, width, "tanh", ridge=ridge, **arguments) for ridge in RIDGES
    )
    return np.array([errors(cold), errors(cold.mean(0)), errors(cold.mean(1)), errors(warm)])


def measured(pool: Any, ratios: tuple[float, ...], size: dict[str, int]) -> xr.Dataset:
    """Test errors over P/N_0 with N_0 principal components, N_1 = 3 N_0."""
    present_sources, num_data_sets = sources(), size["image_data_sets"]
    jobs = [
        (source, round(ratio * size["components"]), size, seed)
        for source in present_sources for ratio in ratios for seed in range(num_data_sets)
    ]  # fmt: skip
    errors = np.array(list(pool.map(errors_job, jobs[::-1])))[::-1]
    errors = errors.reshape(len(present_sources), len(ratios), num_data_sets, len(CURES))
    spread = errors.std(axis=2, ddof=1) / np.sqrt(num_data_sets)
    dims = ("source", "examples", "cure")
    return xr.Dataset(
        {"value": (dims, errors.mean(axis=2)), "error": (dims, spread)},
        coords={"source": present_sources, "examples": list(ratios), "cure": list(CURES)},
        attrs={"components": size["components"], "ensemble": size["image_ensemble"]},
    )
