"""Sweeps: what they add to the sampling of their points, and how long a whole map takes."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tomli_w

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn.theory.suite import theory_named

POINT = {
    "theory": ["infinite_width"],
    "data": {"source": "teacher_linear", "in_size": 3, "num_train": 5, "num_test": 4},
    "network": {"hidden_widths": [3]},
    "sampler": {"num_chains": 2, "num_warmup": 6, "num_samples": 8, "thinning": 2},
}
"""A point so small that hardly any of its time is sampling."""
MAP = Path(__file__).parents[1] / "validity_map" / "config.toml"
EXECUTORS = ("serial", "local")


def sweep_overhead(num_points: int, repeats: int) -> dict[str, Any]:
    """Part g: the times of a sweep of `num_points` by one process, of its status and its report.

    They are seconds of the clock, and of this process on the processor, which other processes of a
    shared machine do not lengthen; both include compilation. Commands are those of the command
    line, in processes of their own, whose start is also timed alone.
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
    start = [_command("data", "list") for _ in range(repeats)]
    return {
        "points": num_points,
        "wall_seconds_a_point": wall / num_points,
        "processor_seconds_a_point": processor / num_points,
        "status_seconds": statistics.median(status),
        "report_seconds": statistics.median(report),
        "start_seconds": statistics.median(start),
    }


def to_one_percent(options: Sequence[str]) -> list[dict[str, Any]]:
    """Part h: the seconds of `langevin-nn sweep` on the map of (N_1, λ_1), to 1 % at each point.

    With each executor the command runs twice: in a home without programs, where all that it
    samples is compiled, and again, in another folder, with these.
    """
    rows = []
    values = configuration.read(MAP)
    values["sampler"].pop("max_draws")
    values["theory"] = [
        name for name in values["theory"] if not theory_named(name).on_request
    ]  # what is timed is the sampling
    for executor in EXECUTORS:
        with tempfile.TemporaryDirectory() as name:
            programs, config = Path(name) / "programs", Path(name) / "map.toml"
            config.write_text(tomli_w.dumps(values))
            for attempt in ("first", "again"):
                folder = Path(name) / attempt
                seconds = _command(
                    "sweep", config, "--sampler.target_error", "0.01", *options, "--quiet",
                    "--executor", executor, "--output", folder, programs=programs,
                )  # fmt: skip
                results = lnn.collect(folder)
                errors = [
                    float((results[f"{key}_mcse"] / results[key]).max())
                    for key in ("bias2", "variance")
                ]
                rows.append(
                    {
                        "executor": executor,
                        "attempt": attempt,
                        "seconds": seconds,
                        "points": int(results.status.size),
                        "converged": int(results.converged.sum()),
                        "largest_error": max(errors),
                        "sampling_seconds": float(results.seconds.sum()),
                    }
                )
    return rows


def _sweep(folder: Path, num_points: int) -> tuple[float, float]:
    """The seconds of the clock and of the processor that a sweep takes."""
    over = {"prior.precisions[-1]": np.geomspace(0.1, 10, num_points).tolist()}
    began, processor_began = time.perf_counter(), time.process_time()
    results = lnn.sweep(POINT, over, output=folder)
    assert (results.status == "done").all()
    return time.perf_counter() - began, time.process_time() - processor_began


def _command(*arguments: object, programs: Path | None = None) -> float:
    """The seconds of a command, with the compiled programs of that folder where one is given."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "langevin_nn.cli", *map(str, arguments)]
    of_programs = {} if programs is None else {"JAX_COMPILATION_CACHE_DIR": str(programs)}
    environment = os.environ | of_programs
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    if process.returncode not in (0, 3):
        raise RuntimeError(f"{' '.join(command)} failed:\n{process.stderr}")
    return time.perf_counter() - began
