"""What a sweep adds to the sampling of its points, and how long its folder takes to read."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import langevin_nn as lnn

POINT = {
    "theory": ["infinite_width"],
    "data": {"source": "teacher_linear", "in_size": 3, "num_train": 5, "num_test": 4},
    "network": {"hidden_widths": [3]},
    "sampler": {"num_chains": 2, "num_warmup": 6, "num_samples": 8, "thinning": 2},
}
"""So small that next to nothing of the time is sampling."""


def sweep_overhead(num_points: int, repeats: int) -> dict[str, Any]:
    """Part g: a sweep of `num_points` by one process, its status and its report.

    Seconds of the clock, and of this process on the processor, which other processes of a shared
    machine do not lengthen; compilation is in both. Commands are those of the command line, in
    processes of their own, and their start alone stands beside them.
    """
    x64 = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "sweep"
            wall, processor = _sweep(folder, num_points)
            status = [_command("sweep", "--status", folder) for _ in range(repeats)]
            report = [_command("report", folder) for _ in range(repeats)]
    finally:
        jax.config.update("jax_enable_x64", x64)
    nothing = [_command("data", "list") for _ in range(repeats)]
    return {
        "points": num_points,
        "wall_seconds_a_point": wall / num_points,
        "processor_seconds_a_point": processor / num_points,
        "status_seconds": statistics.median(status),
        "report_seconds": statistics.median(report),
        "start_seconds": statistics.median(nothing),
    }


def _sweep(folder: Path, num_points: int) -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    over = {"prior.precisions[-1]": np.geomspace(0.1, 10, num_points).tolist()}
    began, used = time.perf_counter(), time.process_time()
    found = lnn.sweep(POINT, over, output=folder)
    assert (found.status == "done").all()
    return time.perf_counter() - began, time.process_time() - used


def _command(*words: object) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "langevin_nn.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 3):
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return time.perf_counter() - began
