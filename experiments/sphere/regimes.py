"""Three targets on the sphere S^(d − 1), and their solutions in the two regimes.

Targets of x with |x| = 1: a constant, and Gaussian fields f(x) = Σ_h ±|θ_h·x|^a/√H of smoothness
ν_t = a + 1/2, all even, as bias-free relu networks are but for a linear part. Errors are the mean
square over test points, as a part of the target's own. A task is one draw of points and fields.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import langevin_nn as lnn
from experiments.sphere.atomic import Interpolant, interpolant, on_sphere

SMOOTHNESS = {"constant": math.inf, "smooth": 5.5, "rough": 1.5}
"""The smoothness ν_t of each target."""
FIELDS = 10_000
"""The number H of terms of a Gaussian field."""
NUM_TEST = 4000


@dataclass(frozen=True)
class Task:
    """A draw of points and fields; `kind` is "lazy", "feature" or "flow", with scales α̃."""

    kind: str
    d: int
    seed: int
    nums: tuple[int, ...]
    scales: tuple[float, ...] = ()
    width: int = 0


def points(task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The inputs x (n, d) and targets y (n, 3) of training and test; more points extend fewer."""
    train, test, teacher = np.random.default_rng([task.d, task.seed]).spawn(3)
    x = on_sphere(train, max(task.nums), task.d)
    x_test = on_sphere(test, NUM_TEST, task.d)
    theta = on_sphere(teacher, FIELDS, task.d)
    signs = teacher.choice([-1.0, 1.0], FIELDS) / math.sqrt(FIELDS)

    def targets(x: np.ndarray) -> np.ndarray:
        size = np.abs(x @ theta.T)
        return np.column_stack([np.ones(len(x)), size**2 * size**2 * size @ signs, size @ signs])

    return x, targets(x), x_test, targets(x_test)


def with_results(task: Task) -> tuple[Task, Any]:
    """The task with its results, an array of the first axes (n,) or (n, scale)."""
    return task, {"lazy": lazy, "feature": feature, "flow": flow}[task.kind](task)


def spec(d: int) -> lnn.EnsembleSpec:
    relu = lnn.activation("relu")
    return lnn.EnsembleSpec(d, (1,), relu, (1.0, 1.0), temperature=0.0, num_outputs=3)


def relative_error(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.mean((outputs - y) ** 2, axis=0) / np.mean(y**2, axis=0)


def lazy(task: Task) -> np.ndarray:
    """The errors (n, 3) of regression with the tangent kernel, without a ridge."""
    x, y, x_test, y_test = points(task)
    errors = []
    for n in task.nums:
        data = lnn.Dataset("sphere", x[:n], y[:n], x_test, y_test)
        prediction = lnn.theory.infinite_width_flow(lnn.Ensemble(spec(task.d), data), centred=True)
        errors.append(relative_error(prediction.predictive_mean, y_test))
    return np.array(errors)


def feature(task: Task) -> np.ndarray:
    """The error, n_A, gap, certainty and residual of the atomic interpolant, (n, 3, 5)."""
    x, y, x_test, y_test = points(task)
    rng = np.random.default_rng(task.seed)
    results = np.empty((len(task.nums), y.shape[1], 5))
    for row, n in enumerate(task.nums):
        for column in range(y.shape[1]):
            f = interpolant(x[:n], y[:n, column], rng)
            error = relative_error(f(x_test), y_test[:, column])
            results[row, column] = error, len(f.weights), f.gap, f.certain, f.residual
    return results


def flow(task: Task) -> np.ndarray:
    """The results of gradient flow to the constant target for each n and α̃, (n, scale, 5).

    They are the error, the mean squared distance from the atomic interpolant, n_A, the number of
    steps, and whether the flow has settled.
    """
    x, y, x_test, y_test = points(task)
    rng = np.random.default_rng(task.seed)
    key = jax.random.key(task.seed)
    results = np.empty((len(task.nums), len(task.scales), 5))
    for row, n in enumerate(task.nums):
        target = y[:n, 0].copy()
        sparse = interpolant(x[:n], target, rng)(x_test)
        target[0] += 1e-12  # a Dataset does not take targets that are all equal
        data = lnn.Dataset("sphere", x[:n], target, x_test, y_test[:, 0])
        network = lnn.FullyConnected(
            task.d, (task.width,), activation="swish10", key=key, dtype=jax.numpy.float64
        )
        posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 1.0)
        for column, scale in enumerate(task.scales):
            end = lnn.gradient_flow(
                posterior, key=key, num_initialisations=1,
                output_scale=scale / math.sqrt(task.width), gradient_tolerance=1e-12,
                loss_tolerance=5e-7, rtol=1e-4, atol=1e-6, max_steps=60_000,
            )  # fmt: skip
            f = end.test_outputs[0]
            weights, readout = (np.asarray(w)[0] for w in jax.tree.leaves(end.params))
            atoms = atom_count(weights, readout.ravel(), np.asarray(posterior.x_train))
            results[row, column] = (
                relative_error(f, y_test[:, 0]), np.mean((f - sparse) ** 2), atoms,
                end.num_steps[0], end.settled[0],
            )  # fmt: skip
    return results


def atom_count(weights: np.ndarray, readout: np.ndarray, x: np.ndarray) -> int:
    """The number n_A of patterns of active examples and sign with 10⁻³ of the largest or more."""
    size = np.abs(readout) * np.linalg.norm(weights, axis=1)
    patterns = np.column_stack([weights @ x.T > 0, readout > 0])
    _, group = np.unique(patterns, axis=0, return_inverse=True)
    carried = np.bincount(group, size)
    return int(np.sum(carried > 1e-3 * carried.max()))


def closed_forms() -> list[tuple[float, int, Interpolant]]:
    """Known total variations, the most atoms of a solution, and the interpolants that are found.

    The constant target at n = 9 points evenly on the circle, 2n sin(π/2n): ν_i = 2 sin(π/2n) has
    |g| ≤ 1. Orthonormal points with y = 1 at p of them and −1 at m, √p + √m: one atom of each
    sign, at the sum of its points, and ν_i = 1/√p and −1/√m.
    """
    n, rng = 9, np.random.default_rng(0)
    angle = 2 * np.pi * np.arange(n) / n
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    signs = np.array([1.0, 1.0, 1.0, -1.0, -1.0])
    return [
        (2 * n * math.sin(math.pi / (2 * n)), n, interpolant(circle, np.ones(n), rng)),
        (math.sqrt(3) + math.sqrt(2), 2, interpolant(np.eye(5), signs, rng)),
    ]


def kernel_deviation() -> float:
    """The largest |2d Θ − (c k_0 + k_1)| over pairs, with c = cos φ and the package's Θ.

    k_0 = (π − φ)/π, k_1 = (sin φ + (π − φ) cos φ)/π, φ from the chord |x − y|, which does not
    cancel where points nearly coincide.
    """
    largest = 0.0
    for d in (2, 3, 5):
        x = on_sphere(np.random.default_rng(d), 256, d)
        chord = np.linalg.norm(x[:, None] - x[None], axis=2)
        phi = 2 * np.arcsin(np.minimum(chord / 2, 1))
        c = np.cos(phi)
        known = (2 * c * (np.pi - phi) + np.sin(phi)) / np.pi
        largest = max(largest, np.abs(2 * d * lnn.theory.ntk(spec(d), x) - known).max())
    return float(largest)
