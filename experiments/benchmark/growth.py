"""The growth of time and memory with P, N_1, N_0 and the chains: each size in its own process.

    python -m experiments.benchmark.growth JSON

measures one size and prints as JSON the seconds of a step of `langevin` and of a gradient of the
marginalised split dynamics, and the memory that sampling adds to the process (on a GPU to the
device).
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import langevin_nn as lnn
from experiments.benchmark.efficiency import gradients_a_step
from experiments.benchmark.measuring import (
    Size,
    Stopwatch,
    configure_jax,
    drive,
    memory,
    posterior_of,
)

DYNAMICS = ("langevin", "split")
ROOT = Path(__file__).parents[2]
"""The folder from which `python -m experiments.…` is run."""
AXES = ("num_train", "width", "in_size", "num_chains")


def grow(
    base: Size, factors: Sequence[float], thinning: int, dynamics: Sequence[str] = DYNAMICS
) -> list[dict[str, Any]]:
    """Part d: rows of the base, and of sizes with one of its numbers multiplied by a factor."""
    sizes = {base: ""}
    for axis in AXES:
        for factor in factors:
            sizes.setdefault(replace(base, **{axis: round(factor * getattr(base, axis))}), axis)
    rows = []
    for size, axis in sizes.items():
        arguments = {"size": asdict(size), "thinning": thinning, "dynamics": list(dynamics)}
        command = [sys.executable, "-m", __spec__.name, json.dumps(arguments)]
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if process.returncode:
            raise RuntimeError(f"the measurement of {size} failed:\n{process.stderr}")
        rows.append({"axis": axis, "size": asdict(size)} | json.loads(process.stdout))
    return rows


def measure(size: Size, thinning: int, dynamics: Sequence[str]) -> dict[str, Any]:
    """The seconds of a step or gradient of each dynamics, and the largest memory so far."""
    posterior = posterior_of(size)
    costs: dict[str, Any] = {"rank": posterior.x_train.shape[1]}
    before = memory("now")
    if "langevin" in dynamics:
        stopwatch = Stopwatch(chunks=3)
        drive(
            posterior, lnn.Langevin(), stopwatch, num_chains=size.num_chains, num_warmup=1,
            num_samples=100, thinning=thinning,
        )  # fmt: skip
        costs["langevin"] = {"seconds": stopwatch.pace, "bytes": memory("peak") - before}
    if "split" in dynamics:
        stopwatch = Stopwatch()
        chains = drive(
            posterior_of(size, "marginalised"), lnn.Split(0.2, 1.5), stopwatch,
            num_chains=size.num_chains, num_warmup=1, num_samples=8, thinning=1,
        )  # fmt: skip
        seconds = stopwatch.pace / gradients_a_step(chains)
        costs["split"] = {"seconds": seconds, "bytes": memory("peak") - before}
    return costs


if __name__ == "__main__":
    configure_jax()
    given = json.loads(sys.argv[1])
    found = measure(Size(**given["size"]), given["thinning"], given["dynamics"])
    sys.stdout.write(json.dumps(found) + "\n")
