"""The predictions of the theories at one point, stored in a file as soon as they are computed.

A point is a configuration: task, activation, number of training images, seed and theories. Its file
is named by the configuration's `content_hash`, as a sweep's points are, so that a second start goes
on where the first one ended, and no other configuration's file is taken for it.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.linalg

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn.config.record import RunConfig
from langevin_nn.data.labels import is_right
from langevin_nn.files import write_text

NUMBERS = ("test_accuracy", "bias2", "variance")
COSTS = ("num_train", "decomposition", "gibibytes")
ROWS = 1000
"""The rows of a Gram matrix that are computed at once: intermediate results are far larger."""


def configured(
    values: dict[str, Any], point: dict[str, Any], theories: tuple[str, ...]
) -> RunConfig:
    """The configuration of a point: its data and units in those of config.toml, unsampled.

    `point` has the keys of [data] that are its own, `activation` and `seed`.
    """
    names = ("source", "colour", "num_train", "num_test")
    task = {name: point[name] for name in names if name in point}
    return configuration.from_dict({
        "seed": point["seed"],
        "theory": list(theories),
        "data": values["data"] | task,
        "network": values["network"] | {"activation": point["activation"]},
        "posterior": {"temperature": values["posterior"]["temperature"]},
    })  # fmt: skip


def stored(folder: Path, config: RunConfig) -> dict[str, Any] | None:
    """The stored content of a point; None where there is none or it cannot be read."""
    try:
        content = json.loads((folder / f"{config.content_hash}.json").read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def compute(folder: Path, config: RunConfig) -> dict[str, Any]:
    """The theories' predictions at a point with their time and memory, stored in `folder`.

    `infinite_width` alone takes one Cholesky factorisation and has no variance.
    """
    task = config.data
    assert task.classes is not None
    data = lnn.load_dataset(
        task.source, key=jax.random.split(jax.random.key(config.seed), 3)[0],  # as `run.prepare`
        num_train=task.num_train, num_test=task.num_test, classes=task.classes,
        colour=task.colour,
    )  # fmt: skip
    spec = lnn.EnsembleSpec(
        data.in_size, config.network.hidden_widths, lnn.activation(config.network.activation),
        config.prior.precisions, config.posterior.temperature,
    )  # fmt: skip
    assert config.theory is not None
    if config.theory == ("infinite_width",):
        decomposition, theories = direct(spec, data)
    else:
        decomposition, theories = decomposed(lnn.Ensemble(spec, data), config.theory)
    # ru_maxrss counts KiB, on macOS bytes.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory /= 2**30 if sys.platform == "darwin" else 2**20
    costs = dict(zip(COSTS, (data.num_train, decomposition, memory), strict=True))
    content = costs | {"theories": theories, "config": config.to_dict()}
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{config.content_hash}.json", json.dumps(content) + "\n")
    return content


def decomposed(
    ensemble: lnn.Ensemble, names: tuple[str, ...]
) -> tuple[float, dict[str, dict[str, float]]]:
    """The CPU seconds of the decomposition, and each theory's numbers and own CPU seconds."""
    began = time.process_time()
    lnn.theory.gram_regression(ensemble)
    decomposition = time.process_time() - began
    theories = {}
    for name in names:
        began = time.process_time()
        result = lnn.theory.THEORIES[name](ensemble)
        theories[name] = {key: getattr(result, key).value for key in NUMBERS}
        theories[name]["seconds"] = time.process_time() - began
    return decomposition, theories


def direct(spec: lnn.EnsembleSpec, data: lnn.Dataset) -> tuple[float, dict[str, dict[str, float]]]:
    """The CPU seconds and the mean's numbers of `infinite_width` by one Cholesky factorisation.

    It takes a tenth of the time of the decomposition.
    """
    began = time.process_time()
    noisy = np.empty((data.num_train, data.num_train))
    for start in range(0, data.num_train, ROWS):
        rows = slice(start, start + ROWS)
        noisy[rows] = lnn.theory.nngp(spec, data.x_train[rows], data.x_train)
    noisy[np.diag_indices_from(noisy)] += spec.temperature
    factor = scipy.linalg.cho_factor(noisy.T, overwrite_a=True, check_finite=False)
    seconds = time.process_time() - began
    weights = scipy.linalg.cho_solve(factor, data.y_train, check_finite=False)
    mean = lnn.theory.nngp(spec, data.x_test, data.x_train) @ weights
    accuracy = is_right(mean, data.y_test, data.targets_midpoint).mean()
    numbers = {"test_accuracy": accuracy, "bias2": np.mean((data.y_test - mean) ** 2)}
    return seconds, {"infinite_width": {name: float(number) for name, number in numbers.items()}}
