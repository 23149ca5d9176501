"""The speed of the theories: one decomposition, then sweeps, against points done one by one.

    python -m experiments.theory_speed [--num_train P] [--points n] [--alone n] [--smoke]

Prints medians over the repeats, and the process's largest memory.
"""

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np

import langevin_nn as lnn


def seconds(action: Callable[[], object], repeats: int) -> float:
    """The median time of the action."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast the theories answer.")
    parser.add_argument("--num_train", type=int, default=1000)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--alone", type=int, default=4, help="points done one by one; 0 for none")
    parser.add_argument("--smoke", action="store_true", help="a small one, in seconds")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.num_train, arguments.points, arguments.repeats = 40, 8, 1
    size, num_points = arguments.num_train, arguments.points
    data = lnn.load_dataset(
        "teacher_network", num_train=size, num_test=size, in_size=784, key=jax.random.key(0)
    )
    erf = lnn.activation("erf")
    spec = lnn.EnsembleSpec(784, (size,), erf, (1.0, 1.0), temperature=0.01)
    ensemble = lnn.Ensemble(spec, data)
    began = time.perf_counter()
    lnn.theory.gram_regression(ensemble)
    decomposition = time.perf_counter() - began

    widths = np.round(np.geomspace(0.1 * size, 10 * size, num_points))
    precisions = np.tile([0.1, 1.0, 10.0, 100.0], -(-num_points // 4))[:num_points]
    temperatures = np.geomspace(1e-3, 1.0, num_points)

    def sweep() -> None:
        lnn.theory.one_layer(
            ensemble, width=widths, readout_precision=precisions,
            temperature=temperatures,
        )  # fmt: skip

    def one_by_one(count: int) -> None:
        for i in range(0, num_points, max(num_points // count, 1)):
            point_spec = replace(
                spec, hidden_widths=(int(widths[i]),), prior_precisions=(1.0, precisions[i]),
                temperature=temperatures[i],
            )  # fmt: skip
            lnn.theory.one_layer(lnn.Ensemble(point_spec, data))

    swept = seconds(sweep, arguments.repeats)
    lines = [
        f"P = P_test = {size}",
        f"Gram matrix and eigendecomposition   {decomposition:8.2f} s",
        f"one_layer at {num_points:4} points after it   {swept:8.2f} s",
    ]
    if arguments.alone:
        num_alone = min(num_points, arguments.alone)
        alone = seconds(lambda: one_by_one(num_alone), 1) / num_alone * num_points
        lines += [
            f"the same, each with its own          {alone:8.2f} s  (from {num_alone} of them)",
            f"ratio                                {alone / (decomposition + swept):8.1f}",
        ]
    # ru_maxrss counts KiB, on macOS bytes.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**30 if sys.platform == "darwin" else 2**20
    )
    lines.append(f"largest memory                       {memory:8.2f} GiB")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
