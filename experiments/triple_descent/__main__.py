"""Triple descent: the test error of random features against its limit, over P/N_0 and N_1/N_0.

    python -m experiments.triple_descent [--smoke | --full | --draw] [FOLDER]

Regresses on drawn features at every point, keeps results.json and draws triple_descent.png and
images.png in FOLDER (this one), and prints the tables; --draw makes the figures again.
"""

from concurrent.futures import Executor
from typing import Any

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments import num_cores
from experiments.common import Call, Results, experiment, processes
from experiments.triple_descent import drawing, images, parts
from experiments.triple_descent.points import ACTIVATIONS, RIDGES, THEORY_FIELDS, named, predicted

SIZES = {
    "smoke": {
        "in_size": 20, "data_draws": 2, "ensemble": 2, "num_test": 50, "columns": 3,
        "parts_in_size": 10, "parts_data_sets": 3,
        "components": 20, "image_ensemble": 2, "image_data_sets": 2,
    },
    "config": {
        "in_size": 400, "data_draws": 4, "ensemble": 3, "num_test": 1000, "columns": 8,
        "parts_in_size": 150, "parts_data_sets": 10,
        "components": 100, "image_ensemble": 8, "image_data_sets": 6,
    },
    "full": {
        "in_size": 1000, "data_draws": 8, "ensemble": 10, "num_test": 4000, "columns": 16,
        "parts_in_size": 400, "parts_data_sets": 20,
        "components": 196, "image_ensemble": 10, "image_data_sets": 20,
    },
}  # fmt: skip
FIXED = 3.0
"""The ratio N_1/N_0 where P varies, and P/N_0 where N_1 does."""
RATIOS = (0.3, 0.6, 1.0, 1.5, 2.2, 3.0, 4.5, 7.0)
CUTS = [(name, FIXED, ratio) for name in ACTIVATIONS for ratio in RATIOS]
CUTS += [(name, ratio, FIXED) for name in ("tanh", "relu") for ratio in RATIOS if ratio != FIXED]
"""The measured points (activation, N_1/N_0, P/N_0)."""


def measured(job: tuple[str, float, float, dict[str, int], int]) -> np.ndarray:
    """The quantities (field, ridge) of one draw of the data.

    They are B and V of one network (a mean over the ensemble's), the thermal factor, the training
    error's two parts, and B and V of the ensemble. The predictor is linear in the labels: those of
    teachers and those of noise alone are columns of their own, whose errors add up for every noise
    variance.
    """
    name, features, examples, size, seed = job
    rng = np.random.default_rng([seed, round(1e6 * features), round(1e6 * examples)])
    in_size, columns = size["in_size"], size["columns"]
    num_train, width = round(examples * in_size), round(features * in_size)
    x = rng.standard_normal((num_train, in_size))
    x_test = rng.standard_normal((size["num_test"], in_size))
    teachers = rng.standard_normal((in_size, columns))
    teachers /= np.linalg.norm(teachers, axis=0)
    labels = np.hstack([x @ teachers, rng.standard_normal((num_train, columns))])
    clean = np.hstack([x_test @ teachers, np.zeros((len(x_test), columns))])
    data = lnn.Dataset("linear teachers", x, labels, x_test, clean)
    keys = jax.random.split(jax.random.key(seed), size["ensemble"])
    means, rows = [], []
    for key in keys:
        network_features = lnn.RandomFeatures(in_size, width, named(name), key=key, centred=True)
        regression = network_features.regress(data)
        means.append([regression.mean(ridge) for ridge in RIDGES])
        rows.append([
            [*_parts(means[-1][i], clean), regression.variance(ridge, 1.0).mean(),
             *_parts(regression.train_mean(ridge), labels)]
            for i, ridge in enumerate(RIDGES)
        ])  # fmt: skip
    single = np.mean(rows, axis=0).T
    ensemble = np.array([_parts(mean, clean) for mean in np.mean(means, axis=0)]).T
    return np.concatenate([single, ensemble])


def _parts(outputs: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """The mean squared errors of the teachers' columns, and of the columns of noise."""
    errors = np.mean((outputs - expected) ** 2, axis=0)
    half = len(errors) // 2
    return float(errors[:half].mean()), float(errors[half:].mean())


def points(call: Call, pool: Executor) -> xr.Dataset:
    size = SIZES[call.size]
    cuts = CUTS if call.size != "smoke" else CUTS[::9]
    jobs = [(*cut, size, seed) for cut in cuts for seed in range(size["data_draws"])]
    jobs.sort(key=lambda job: -job[1] * job[2] * min(job[1], job[2]))  # the longest first
    rows_by_cut: dict[Any, list[np.ndarray]] = {cut: [] for cut in cuts}
    for index, (job, row) in enumerate(zip(jobs, pool.map(measured, jobs), strict=True)):
        rows_by_cut[job[:3]].append(row)
        if index % 50 == 49:
            call.say(f"{index + 1} of {len(jobs)} data sets")
    values = np.array([np.mean(rows_by_cut[cut], axis=0) for cut in cuts])
    spread = np.array([np.std(rows_by_cut[cut], axis=0, ddof=1) for cut in cuts])
    theory = np.array([
        [predicted(*cut, ridge, size["ensemble"]) for ridge in RIDGES] for cut in cuts
    ]).swapaxes(1, 2)  # fmt: skip
    return xr.Dataset(
        {
            "value": (("point", "field", "ridge"), values),
            "error": (("point", "field", "ridge"), spread / np.sqrt(size["data_draws"])),
            "theory": (("point", "field", "ridge"), theory),
            "activation": ("point", [cut[0] for cut in cuts]),
            "features": ("point", [cut[1] for cut in cuts]),
            "examples": ("point", [cut[2] for cut in cuts]),
        },
        coords={"field": list(THEORY_FIELDS), "ridge": list(RIDGES)},
        attrs=size,
    )


def measure(call: Call) -> dict[str, xr.Dataset]:
    size = SIZES[call.size]
    ratios = RATIOS if call.size != "smoke" else RATIOS[1::3]
    with processes(1 if call.size == "smoke" else num_cores()) as pool:
        return {
            "points": points(call, pool),
            "parts": parts.measured(pool, FIXED, ratios, size),
            "images": images.measured(pool, ratios, size),
        }


def draw(results: Results) -> dict[str, Figure]:
    return {
        "triple_descent": drawing.figure(results["points"], results["parts"], FIXED),
        "images": drawing.images(results["images"], FIXED),
    }


def report(results: Results) -> str:
    return "\n\n".join([
        drawing.table(results["points"], FIXED),
        drawing.agreement(results["points"]),
        drawing.parts_table(results["parts"], FIXED),
        drawing.images_table(results["images"]),
    ])  # fmt: skip


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
