"""The measurements of one process of the experiment: minima, the line N*(P), Hessians."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import numpy as np

import langevin_nn as lnn
from experiments import num_cores
from experiments.common import processes

IN_SIZE = 10
PARITY = ((0, 2, 4, 6, 8), (1, 3, 5, 7, 9))
NEGLIGIBLE_EIGENVALUE = 1e-10
"""The size of an eigenvalue, in units of the largest, below which it is taken for zero."""
NEARLY_SATISFIED_LOSS = 1e-7
"""The loss E/P below which a state is about to be satisfied."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of the measurements; `activation` is that of all but one comparison."""

    line: tuple[int, ...]
    """The values of P of the line N*(P)."""
    seeds: int
    brackets: dict[str, tuple[float, float]]
    """The bracket of P/N* at which bisection begins, by source or by algorithm."""
    line_steps: int
    sweep: int
    """The P of the sweep over widths."""
    widths: dict[str, tuple[int, ...]]
    sweep_seeds: int
    sweep_steps: int
    compared: int
    """The P at which algorithms and activations are compared."""
    flow_time: float
    sources: tuple[str, ...] = ("random", "mnist")
    activation: str = "gelu"
    line_tolerance: float = 1e-5
    sweep_tolerance: float = 1e-8
    processes: int = num_cores()


@dataclass(frozen=True)
class Job:
    """A measurement on one draw of data and initial weights."""

    kind: str
    source: str
    num_train: int
    seed: int
    width: int = 0
    algorithm: str = "lm"


@cache
def pool(source: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The inputs and labels of all seeds, each of which takes its own part."""
    if source == "mnist":
        data = lnn.load_dataset(
            "mnist", key=jax.random.key(0), num_train=number, num_test=1, classes=PARITY,
            num_components=IN_SIZE,
        )  # fmt: skip
        return data.x_train, data.y_train
    rng = np.random.default_rng(0)
    x = rng.standard_normal((number, IN_SIZE))
    x *= np.sqrt(IN_SIZE) / np.linalg.norm(x, axis=1, keepdims=True)
    return x, rng.choice([-1.0, 1.0], size=number)


def posterior_of(job: Job, sizes: Sizes, width: int) -> lnn.GibbsPosterior:
    largest = max(*sizes.line, sizes.sweep)
    x, y = pool(job.source, largest * max(sizes.seeds, sizes.sweep_seeds))
    rows = slice(job.seed * largest, job.seed * largest + job.num_train)
    data = lnn.Dataset(job.source, x[rows], y[rows], x[:1], y[:1])
    activation = "swish10" if job.algorithm == "swish10" else sizes.activation
    network = lnn.FullyConnected(
        IN_SIZE, (width,), activation, key=jax.random.key(0), dtype=np.float64
    )
    return lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 1.0, lnn.Hinge())


def minimum(job: Job, sizes: Sizes, width: int, max_steps: int, tolerance: float) -> Any:
    """The posterior, and the end of the minimiser from a draw of its prior."""
    posterior = posterior_of(job, sizes, width)
    key = jax.random.key(1000 * job.seed + width)
    if job.algorithm == "flow":
        start = lnn.gradient_flow(
            posterior, key=key, num_initialisations=1, max_time=sizes.flow_time,
            loss_tolerance=5e-5, rtol=1e-4, atol=1e-6,
        ).params  # fmt: skip
    else:  # the same draw
        start = posterior.sample_prior(jax.random.split(key)[0], 1)
    end = lnn.find_minimum(
        posterior, start, max_steps=max_steps, gradient_tolerance=tolerance
    )  # fmt: skip
    return posterior, end


def record(job: Job, width: int, end: Any) -> dict[str, Any]:
    return {
        "source": job.source, "num_train": job.num_train, "seed": job.seed, "width": width,
        "algorithm": job.algorithm, "weights": (IN_SIZE + 1) * width,
        "energy": float(end.energy[0]), "unsatisfied": int(end.unsatisfied[0]),
        "relative_gradient": float(end.relative_gradient[0]),
        "steps": int(end.num_steps[0]), "converged": bool(end.converged[0]),
        "size": float(np.sqrt(np.mean(np.concatenate(
            [np.square(leaf).ravel() for leaf in jax.tree.leaves(end.params)])))),
    }  # fmt: skip


def bisected(job: Job, sizes: Sizes) -> list[dict[str, Any]]:
    """The records of a bisection between unsatisfied and satisfied widths."""
    low, high = sizes.brackets.get(job.algorithm, sizes.brackets[job.source])
    lower = int(job.num_train / high / (IN_SIZE + 1))
    upper = int(np.ceil(job.num_train / low / (IN_SIZE + 1))) + 1
    records = []
    steps = sizes.line_steps * (4 if job.algorithm == "lm, 4 times the steps" else 1)

    def satisfied(width: int) -> bool:
        _, found = minimum(job, sizes, width, steps, sizes.line_tolerance)
        records.append(record(job, width, found))
        return records[-1]["energy"] == 0

    while upper - lower > 1:
        middle = (lower + upper) // 2
        lower, upper = (lower, middle) if satisfied(middle) else (middle, upper)
    return records


def with_hessian(job: Job, sizes: Sizes) -> list[dict[str, Any]]:
    """The record of the end at one width, with properties of its Hessian."""
    posterior, end = minimum(job, sizes, job.width, sizes.sweep_steps, sizes.sweep_tolerance)
    end_record = record(job, job.width, end)
    empty = {"negative": 0, "positive": 0, "rank": 0, "lowest": 0.0, "trace": 0.0, "ratio": 0.0}
    if end_record["energy"] == 0:
        return [end_record | empty]
    hessian = lnn.hessian(posterior, end.params)
    values = np.linalg.eigvalsh(hessian.whole)
    curvature = np.linalg.eigvalsh(hessian.of_curvature)
    size = np.abs(curvature).max()
    return [end_record | {
        "negative": int(np.sum(curvature < -NEGLIGIBLE_EIGENVALUE * size)),
        "positive": int(np.sum(curvature > NEGLIGIBLE_EIGENVALUE * size)),
        "rank": scaled_rank(hessian.of_gradients), "lowest": float(values[0] / values[-1]),
        "trace": float(curvature.sum() / np.abs(curvature).sum()),
        "ratio": float(size / values[-1]),
    }]  # fmt: skip


def scaled_rank(matrix: np.ndarray) -> int:
    """The rank of the matrix scaled to a diagonal of ones: scales differ by orders of magnitude."""
    scale = np.sqrt(np.maximum(np.diag(matrix), np.finfo(np.float64).tiny))
    return int(np.linalg.matrix_rank(matrix / np.outer(scale, scale), tol=1e-13, hermitian=True))


def spectra(job: Job, sizes: Sizes) -> list[dict[str, Any]]:
    """The record of one end with the eigenvalues of H, H_0 and H_p.

    Where the energy vanishes, it is of the last step with a loss above NEARLY_SATISFIED_LOSS.
    """
    posterior, end = minimum(job, sizes, job.width, sizes.sweep_steps, sizes.sweep_tolerance)
    steps = int(end.num_steps[0])
    while end.energy[0] < NEARLY_SATISFIED_LOSS * job.num_train:
        steps -= 1
        posterior, end = minimum(job, sizes, job.width, steps, sizes.sweep_tolerance)
    hessian = lnn.hessian(posterior, end.params)
    matrices = (hessian.whole, hessian.of_gradients, hessian.of_curvature)
    return [
        record(job, job.width, end)
        | {"values": [np.linalg.eigvalsh(matrix) for matrix in matrices]}
    ]


KINDS: dict[str, Callable[[Job, Sizes], list[dict[str, Any]]]] = {
    "line": bisected, "sweep": with_hessian, "spectra": spectra,
}  # fmt: skip


def records_of(job: Job, sizes: Sizes) -> list[dict[str, Any]]:
    return KINDS[job.kind](job, sizes)


def all_done(jobs: list[Job], sizes: Sizes, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The records of all jobs in their order, by a process for each core."""
    records = []
    with processes(min(sizes.processes, len(jobs))) as pool:
        futures = [pool.submit(records_of, job, sizes) for job in jobs]
        for job, future in zip(jobs, futures, strict=True):
            records.append(future.result())
            say(
                f"{job.kind}, {job.source}, {job.algorithm}, P = {job.num_train}, seed {job.seed}: "
                + ", ".join(
                    f"{end['width']}: {end['energy']:.2g} ({end['steps']})" for end in records[-1]
                )
            )
    return [line for lines in records for line in lines]
