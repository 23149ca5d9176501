"""What one process of the experiment measures: ends of the minimiser, the line, Hessians."""

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
NEGLIGIBLE = 1e-10
"""An eigenvalue, in units of the largest, that is taken for zero."""
ON_ITS_WAY = 1e-7
"""Loss E/P of a state that is about to be satisfied."""


@dataclass(frozen=True)
class Sizes:
    """What is measured; the activation of all but one comparison is `activation`."""

    line: tuple[int, ...]
    """P of the line N*(P)."""
    seeds: int
    brackets: dict[str, tuple[float, float]]
    """Of P/N*, by source, or by algorithm: where bisection begins."""
    line_steps: int
    sweep: int
    """P of the sweep over widths."""
    widths: dict[str, tuple[int, ...]]
    sweep_seeds: int
    sweep_steps: int
    compared: int
    """P at which algorithms, and activations, are compared."""
    flow_time: float
    sources: tuple[str, ...] = ("random", "mnist")
    activation: str = "gelu"
    line_tolerance: float = 1e-5
    sweep_tolerance: float = 1e-8
    processes: int = num_cores()


@dataclass(frozen=True)
class Job:
    """One draw of data and initial weights."""

    kind: str
    source: str
    num_train: int
    seed: int
    width: int = 0
    algorithm: str = "lm"


@cache
def pool(source: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels, from which each seed takes its own."""
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
    own = slice(job.seed * largest, job.seed * largest + job.num_train)
    data = lnn.Dataset(job.source, x[own], y[own], x[:1], y[:1])
    activation = "swish10" if job.algorithm == "swish10" else sizes.activation
    network = lnn.FullyConnected(
        IN_SIZE, (width,), activation, key=jax.random.key(0), dtype=np.float64
    )
    return lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 1.0, lnn.Hinge())


def minimum(job: Job, sizes: Sizes, width: int, max_steps: int, tolerance: float) -> Any:
    """The posterior and where its minimiser ends, from a draw of the prior."""
    posterior = posterior_of(job, sizes, width)
    key = jax.random.key(1000 * job.seed + width)
    if job.algorithm == "flow":
        start = lnn.gradient_flow(
            posterior, key=key, num_initialisations=1, max_time=sizes.flow_time,
            loss_tolerance=5e-5, rtol=1e-4, atol=1e-6,
        ).params  # fmt: skip
    else:  # the same draw
        start = posterior.sample_prior(jax.random.split(key)[0], 1)
    found = lnn.find_minimum(
        posterior, start, max_steps=max_steps, gradient_tolerance=tolerance
    )  # fmt: skip
    return posterior, found


def record(job: Job, width: int, found: Any) -> dict[str, Any]:
    return {
        "source": job.source, "num_train": job.num_train, "seed": job.seed, "width": width,
        "algorithm": job.algorithm, "weights": (IN_SIZE + 1) * width,
        "energy": float(found.energy[0]), "unsatisfied": int(found.unsatisfied[0]),
        "relative_gradient": float(found.relative_gradient[0]),
        "steps": int(found.num_steps[0]), "converged": bool(found.converged[0]),
        "size": float(np.sqrt(np.mean(np.concatenate(
            [np.square(leaf).ravel() for leaf in jax.tree.leaves(found.params)])))),
    }  # fmt: skip


def bisected(job: Job, sizes: Sizes) -> list[dict[str, Any]]:
    """Widths between the widest that is not satisfied and the narrowest that is."""
    low, high = sizes.brackets.get(job.algorithm, sizes.brackets[job.source])
    lower = int(job.num_train / high / (IN_SIZE + 1))
    upper = int(np.ceil(job.num_train / low / (IN_SIZE + 1))) + 1
    tried = []
    steps = sizes.line_steps * (4 if job.algorithm == "lm, 4 times the steps" else 1)

    def satisfied(width: int) -> bool:
        _, found = minimum(job, sizes, width, steps, sizes.line_tolerance)
        tried.append(record(job, width, found))
        return tried[-1]["energy"] == 0

    while upper - lower > 1:
        middle = (lower + upper) // 2
        lower, upper = (lower, middle) if satisfied(middle) else (middle, upper)
    return tried


def with_hessian(job: Job, sizes: Sizes) -> list[dict[str, Any]]:
    """The end at one width, and what the Hessian is there."""
    posterior, found = minimum(job, sizes, job.width, sizes.sweep_steps, sizes.sweep_tolerance)
    line = record(job, job.width, found)
    empty = {"negative": 0, "positive": 0, "rank": 0, "lowest": 0.0, "trace": 0.0, "ratio": 0.0}
    if line["energy"] == 0:
        return [line | empty]
    hessian = lnn.hessian(posterior, found.params)
    values = np.linalg.eigvalsh(hessian.whole)
    curvature = np.linalg.eigvalsh(hessian.of_curvature)
    size = np.abs(curvature).max()
    return [line | {
        "negative": int(np.sum(curvature < -NEGLIGIBLE * size)),
        "positive": int(np.sum(curvature > NEGLIGIBLE * size)),
        "rank": scaled_rank(hessian.of_gradients), "lowest": float(values[0] / values[-1]),
        "trace": float(curvature.sum() / np.abs(curvature).sum()),
        "ratio": float(size / values[-1]),
    }]  # fmt: skip


def scaled_rank(matrix: np.ndarray) -> int:
    """The rank, of the matrix with ones on its diagonal: weights differ by orders of magnitude."""
    scale = np.sqrt(np.maximum(np.diag(matrix), np.finfo(np.float64).tiny))
    return int(np.linalg.matrix_rank(matrix / np.outer(scale, scale), tol=1e-13, hermitian=True))


def spectra(job: Job, sizes: Sizes) -> list[dict[str, Any]]:
    """Eigenvalues of H, H_0 and H_p; where the energy vanishes, when it was ON_ITS_WAY last."""
    posterior, found = minimum(job, sizes, job.width, sizes.sweep_steps, sizes.sweep_tolerance)
    steps = int(found.num_steps[0])
    while found.energy[0] < ON_ITS_WAY * job.num_train:
        steps -= 1
        posterior, found = minimum(job, sizes, job.width, steps, sizes.sweep_tolerance)
    hessian = lnn.hessian(posterior, found.params)
    parts = (hessian.whole, hessian.of_gradients, hessian.of_curvature)
    return [record(job, job.width, found) | {"values": [np.linalg.eigvalsh(p) for p in parts]}]


KINDS: dict[str, Callable[[Job, Sizes], list[dict[str, Any]]]] = {
    "line": bisected, "sweep": with_hessian, "spectra": spectra,
}  # fmt: skip


def done(job: Job, sizes: Sizes) -> list[dict[str, Any]]:
    return KINDS[job.kind](job, sizes)


def all_done(jobs: list[Job], sizes: Sizes, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """A process for each core, the longest jobs first; records in the order of the jobs."""
    found = []
    with processes(min(sizes.processes, len(jobs))) as pool:
        waiting = [pool.submit(done, job, sizes) for job in jobs]
        for job, each in zip(jobs, waiting, strict=True):
            found.append(each.result())
            say(
                f"{job.kind}, {job.source}, {job.algorithm}, P = {job.num_train}, seed {job.seed}: "
                + ", ".join(f"{r['width']}: {r['energy']:.2g} ({r['steps']})" for r in found[-1])
            )
    return [line for lines in found for line in lines]
