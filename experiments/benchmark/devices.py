"""Scale: chains over several devices, and points of a sweep side by side on one.

    python -m experiments.benchmark.devices JSON

measures one case and prints it as JSON. On a CPU n devices are n that JAX simulates, each with one
thread and, as far as there are as many, a core of its own; on GPUs they are the first n.
"""

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import jax
import numpy as np

import langevin_nn as lnn
from experiments import num_cores
from experiments.benchmark.growth import ROOT
from experiments.benchmark.measuring import (
    Size,
    Stopwatch,
    configure_jax,
    drive,
    on_gpu,
    posterior_of,
    spread,
)

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"


def scale(
    size: Size,
    devices: Sequence[int],
    thinning: int,
    repeats: int,
    small: Size,
    points: Sequence[int],
) -> dict[str, Any]:
    """Part i: rows of `langevin` on n devices, and of n points of a sweep in one program.

    The numbers of devices take turns, `repeats` times.
    """
    paces: dict[int, list[float]] = {n: [] for n in devices}
    drawn: dict[int, np.ndarray] = {}
    case = {"size": asdict(size), "thinning": thinning}
    for _ in range(repeats):
        for n in devices:
            found = _in_a_process(case | {"devices": n})
            paces[n].append(found["seconds"])
            drawn[n] = np.load(io.BytesIO(base64.b64decode(found["f"])))
    first = devices[0]
    over_devices = [
        {
            "devices": n,
            "cores": None if on_gpu() else min(n, num_cores()),
            "seconds": spread(paces[n]),
            "times": spread(one / many for one, many in zip(paces[first], paces[n], strict=True)),
            "difference": float(np.abs(drawn[n] - drawn[first]).max() / drawn[first].std()),
        }
        for n in devices
    ]
    return {
        "size": asdict(size),
        "over_devices": over_devices,
        "small": asdict(small),
        "side_by_side": side_by_side(small, points, repeats),
    }


def side_by_side(size: Size, points: Sequence[int], repeats: int) -> list[dict[str, Any]]:
    """The seconds of a gradient of one point, of so many points of other λ_1 in one program."""
    paces: dict[int, list[float]] = {n: [] for n in points}
    for _ in range(repeats):
        for n in points:
            posteriors = [
                posterior_of(size, "marginalised", (1.0, precision))
                for precision in np.geomspace(0.1, 10, n).tolist()
            ]
            stopwatch = Stopwatch()
            lnn.sample_points(
                posteriors, lnn.Split(0.2, 1.5), keys=jax.random.split(jax.random.key(1), n),
                num_chains=size.num_chains, num_warmup=1, num_samples=400, thinning=1,
                progress=stopwatch,
            )  # fmt: skip
            paces[n].append(stopwatch.pace / n)
    first = points[0]
    return [
        {
            "points": n,
            "seconds": spread(paces[n]),
            "times": spread(one / many for one, many in zip(paces[first], paces[n], strict=True)),
        }
        for n in points
    ]


def on_devices(size: Size, thinning: int) -> dict[str, Any]:
    """The seconds of a step of all chains on the devices of this process, and f of all draws."""
    stopwatch = Stopwatch()
    chains = drive(
        posterior_of(size), lnn.Langevin(1e-3), stopwatch, num_chains=size.num_chains,
        num_warmup=1, num_samples=8, thinning=thinning,
    )  # fmt: skip
    file = io.BytesIO()
    np.save(file, chains.test_outputs)
    return {"seconds": stopwatch.pace, "f": base64.b64encode(file.getvalue()).decode()}


def _in_a_process(case: dict[str, Any]) -> dict[str, Any]:
    """What a process with so many devices measures."""
    n = case["devices"]
    if on_gpu():
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(n)))}
    else:
        flags = f"{os.environ.get('XLA_FLAGS', '')} {ONE_THREAD}"
        environment = {"JAX_NUM_CPU_DEVICES": str(n), "XLA_FLAGS": flags.strip()}
    command = [sys.executable, "-m", __spec__.name, json.dumps(case)]
    process = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | environment
    )
    if process.returncode:
        raise RuntimeError(f"the measurement on {n} devices failed:\n{process.stderr}")
    return json.loads(process.stdout)


def _keep_to_cores(n: int) -> None:
    """Let this process, whose devices have not been made, use as many cores as devices."""
    if hasattr(os, "sched_setaffinity"):  # not on macOS
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    if "JAX_NUM_CPU_DEVICES" in os.environ:
        _keep_to_cores(given["devices"])
    configure_jax()
    assert jax.device_count() == given["devices"], jax.devices()
    sys.stdout.write(json.dumps(on_devices(Size(**given["size"]), given["thinning"])) + "\n")
