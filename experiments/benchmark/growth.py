"""How time and memory grow with P, N_1, N_0 and the number of chains: each size in its own process.

    python -m experiments.benchmark.growth JSON

measures one and prints it as JSON: seconds a step of `langevin` and a gradient of the marginalised
split dynamics, and what sampling adds to the process's memory (on a GPU the device's).
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
"""Where `python -m experiments.…` finds this."""
AXES = ("num_train", "width", "in_size", "num_chains")


def grow(
    base: Size, factors: Sequence[float], thinning: int, dynamics: Sequence[str] = DYNAMICS
) -> list[dict[str, Any]]:
    """Part d: the base, and one size at a time multiplied by each factor."""
    sizes = {base: ""}
    for axis in AXES:
        for factor in factors:
            sizes.setdefault(replace(base, **{axis: round(factor * getattr(base, axis))}), axis)
    rows = []
    for size, axis in sizes.items():
        given = {"size": asdict(size), "thinning": thinning, "dynamics": list(dynamics)}
        words = [sys.executable, "-m", __spec__.name, json.dumps(given)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the measurement of {size} failed:\n{done.stderr}")
        rows.append({"axis": axis, "size": asdict(size)} | json.loads(done.stdout))
    return rows


def measure(size: Size, thinning: int, dynamics: Sequence[str]) -> dict[str, Any]:
    """Seconds of a step or a gradient, and the largest memory so far, of each dynamics."""
    posterior = posterior_of(size)
    found: dict[str, Any] = {"rank": posterior.x_train.shape[1]}
    before = memory("now")
    if "langevin" in dynamics:
        stopwatch = Stopwatch(chunks=3)
        drive(
            posterior, lnn.Langevin(), stopwatch, num_chains=size.num_chains, num_warmup=1,
            num_samples=100, thinning=thinning,
        )  # fmt: skip
        found["langevin"] = {"seconds": stopwatch.pace, "bytes": memory("peak") - before}
    if "split" in dynamics:
        stopwatch = Stopwatch()
        chains = drive(
            posterior_of(size, "marginalised"), lnn.Split(0.2, 1.5), stopwatch,
            num_chains=size.num_chains, num_warmup=1, num_samples=8, thinning=1,
        )  # fmt: skip
        seconds = stopwatch.pace / gradients_a_step(chains)
        found["split"] = {"seconds": seconds, "bytes": memory("peak") - before}
    return found


if __name__ == "__main__":
    configure_jax()
    given = json.loads(sys.argv[1])
    found = measure(Size(**given["size"]), given["thinning"], given["dynamics"])
    sys.stdout.write(json.dumps(found) + "\n")
