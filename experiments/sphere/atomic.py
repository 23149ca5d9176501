"""The sparsest relu network through the data: the interpolant of minimal total variation.

    min_γ ∫|dγ(θ)|   with   f(x_i) = ∫ max(0, θ·x_i) dγ(θ) = y_i,   i = 1 … n,   |θ| = 1

is what a network of one hidden layer and infinite width learns under a vanishing l1 penalty of its
read-out weights (Bach, arXiv:1412.8690; Petrini et al., arXiv:2206.12314). Its dual,

    max_ν y·ν   with   |g(θ)| ≤ 1 on the whole sphere,   g(θ) = Σ_i ν_i max(0, θ·x_i),

bounds it from below. In a cell of the sphere, where the signs of all θ·x_i are fixed, g is linear,
g = θ·s with s = Σ_active ν_i x_i, so that |g| is largest at the projection of ±s on the cell's
cone; and atoms of one sign in one cell, w_k θ_k, are on the training set the one atom Σ_k w_k θ_k,
which has no larger total variation: a solution has no two in a cell. Hence column generation: a
linear programme on a few directions, then on those besides where its ν breaks the constraint most,
until the merged atoms and the dual agree.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog, nnls

DUAL_BOUND = 1e5
"""The bound of |ν|, for programmes whose directions do not yet fit the data."""
MOST_FACES = 400_000
"""The largest number of faces of the cells that are all searched for the largest |g|."""
STARTS, NEIGHBOURS = 2, 12
"""The ascents for each example, and its neighbours in them, where not all faces are searched."""
ROUNDING = 1e-10
"""The relative size below which weights, and heights above 1, are rounding."""


@dataclass(frozen=True)
class Interpolant:
    """The interpolant f(x) = Σ_k w_k max(0, θ_k·x) with one atom for each cell and sign.

    `directions` θ (n_A, d), `weights` w (n_A,), `total_variation` Σ_k |w_k|. The minimum is at most
    `gap` (relative) lower: the dual ν (n,) is admissible if `certain`, where max|g| has been taken
    over all faces, and otherwise as far as ascent from many directions sees. `residual` is the
    largest |f(x_i) − y_i|, `rounds` the number of linear programmes.
    """

    directions: np.ndarray
    weights: np.ndarray
    dual: np.ndarray
    total_variation: float
    gap: float
    certain: bool
    residual: float
    rounds: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The values f(x) at points x (m, d)."""
        return np.maximum(x @ self.directions.T, 0) @ self.weights


def interpolant(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator, *, tolerance: float = 1e-6,
    max_rounds: int = 60,
) -> Interpolant:  # fmt: skip
    """The interpolant of minimal total variation through x (n, d) on the sphere and y (n,).

    It ends where the gap is below the tolerance, or after `max_rounds` with the gap that it has.
    """
    n, d = x.shape
    countable = math.comb(n, d - 1) * 3 ** (d - 1) <= MOST_FACES
    directions = np.concatenate([on_sphere(rng, 6 * n, d), x, -x])
    total, last_value, rounds, gap = math.inf, math.inf, 0, math.inf
    while gap >= tolerance and rounds < max_rounds:
        rounds += 1
        weights, dual = _programme(x, y, directions)
        value = float(y @ dual)
        is_used = np.abs(weights) > ROUNDING * np.abs(weights).max()
        merged, merged_weights = _merged(x, directions[is_used], weights[is_used])
        if (variation := float(np.abs(merged_weights).sum())) < total:
            total, atoms = variation, (merged, merged_weights)
        certain = countable and d == 2  # where looking at all faces is the faster
        if not certain:
            peaks, largest = _highest(x, dual, _ascended(x, dual, merged, rng))
            certain = countable and 1 - value / largest / total < tolerance
        if certain:
            peaks, largest = _highest(x, dual, _critical(x, dual, 1.0))
        gap = 1 - value / largest / total
        # What is slack goes, but for where ν is not unique and might come back to it.
        slack = 1 - np.abs(np.maximum(directions @ x.T, 0) @ dual)
        is_kept = is_used | (slack < 2 * (largest - 1)) | (value > last_value * (1 - ROUNDING))
        last_value = value
        directions = np.concatenate([directions[is_kept], merged, peaks])
    misfit = y - np.maximum(x @ atoms[0].T, 0) @ atoms[1]
    residual = float(np.abs(misfit).max())
    return Interpolant(*atoms, dual / largest, total, gap, certain, residual, rounds)


def on_sphere(rng: np.random.Generator, number: int, d: int) -> np.ndarray:
    """Independent uniform points (number, d) on the sphere."""
    theta = rng.standard_normal((number, d))
    return theta / np.linalg.norm(theta, axis=1)[:, None]


def largest_value(x: np.ndarray, dual: np.ndarray) -> float:
    """The maximum of |g| over the whole sphere, from all faces."""
    return float(np.abs(np.maximum(_critical(x, dual, 0.0) @ x.T, 0) @ dual).max())


def _programme(
    x: np.ndarray, y: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The weights of the directions and the dual ν, by the linear programme on these alone."""
    values = np.maximum(directions @ x.T, 0)
    for method, accuracy in (("highs-ds", 1e-9), ("highs-ipm", 1e-9), ("highs", 1e-7)):
        solution = linprog(
            -y, A_ub=np.concatenate([values, -values]), b_ub=np.ones(2 * len(values)),
            bounds=(-DUAL_BOUND, DUAL_BOUND), method=method,
            options={
                "primal_feasibility_tolerance": accuracy, "dual_feasibility_tolerance": accuracy
            },
        )  # fmt: skip
        if solution.success:
            break
    else:
        raise RuntimeError(f"no method has solved the linear programme: {solution.message}")
    up, down = np.split(-solution.ineqlin.marginals, 2)
    return up - down, solution.x


def _merged(
    x: np.ndarray, directions: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The directions and weights with one merged atom for each pattern and sign."""
    patterns = np.column_stack([directions @ x.T > 1e-12, weights > 0])
    _, group = np.unique(patterns, axis=0, return_inverse=True)
    sums = np.zeros((group.max() + 1, x.shape[1]))
    np.add.at(sums, group, np.abs(weights)[:, None] * directions)
    signs = np.zeros(len(sums))
    signs[group] = np.sign(weights)
    norms = np.linalg.norm(sums, axis=1)
    return sums / norms[:, None], signs * norms


def _highest(x: np.ndarray, dual: np.ndarray, peaks: np.ndarray) -> tuple[np.ndarray, float]:
    """The highest distinct peaks with |g| above 1, and the largest |g| at them, or 1."""
    heights = np.abs(np.maximum(peaks @ x.T, 0) @ dual)
    above = heights > 1 + ROUNDING
    peaks, heights = peaks[above], heights[above]
    distinct = np.unique(peaks.round(9), axis=0, return_index=True)[1]
    highest = distinct[np.argsort(-heights[distinct])][: 4 * len(x)]
    return peaks[highest], float(heights.max(initial=1.0))


def _ascended(
    x: np.ndarray, dual: np.ndarray, atoms: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Local maxima of |g| by ascent from the atoms, from random points, and in hyperplanes.

    Between the hyperplanes of two near examples, whose ν may be large, are cells too narrow to be
    met by chance: the ascent is also done on the spheres θ·x_i = 0, and where θ is orthogonal to
    some of the neighbours of x_i besides, and all cells that meet there are looked at.
    """
    n, d = x.shape
    maxima = [
        _in_cells(x, dual, _climbed(x, dual, np.concatenate([atoms, on_sphere(rng, 8 * n, d)])))
    ]
    near = np.argsort(-np.abs(x @ x.T), axis=1)  # each itself first
    for number in range(1, d):
        hyperplanes = np.repeat(near[:, :1], STARTS, axis=0)
        others = [rng.choice(row[1:NEIGHBOURS], number - 1, replace=False)
                  for row in np.repeat(near, STARTS, axis=0)]  # fmt: skip
        hyperplanes = np.column_stack(
            [hyperplanes, np.array(others, int).reshape(len(hyperplanes), -1)]
        )
        basis = np.linalg.qr(np.swapaxes(x[hyperplanes], 1, 2))[0]
        theta = _climbed(x, dual, on_sphere(rng, len(hyperplanes), d), basis)
        # one point in each of the cells: towards the columns of the inverse of the x_i that meet
        directions = np.swapaxes(np.linalg.pinv(x[hyperplanes]), 1, 2)
        directions /= np.linalg.norm(directions, axis=2)[:, :, None]
        for sides in itertools.product((1, -1), repeat=number):
            shifted = theta + 1e-7 * np.einsum("k,mkd->md", sides, directions)
            maxima.append(_in_cells(x, dual, shifted))
    return np.concatenate(maxima)


def _climbed(
    x: np.ndarray, dual: np.ndarray, theta: np.ndarray, basis: np.ndarray | None = None
) -> np.ndarray:
    """The points after steps along the slope of |g|, orthogonal to the bases (m, d, k) if given."""

    def within(vectors: np.ndarray) -> np.ndarray:
        if basis is None:
            return vectors
        return vectors - np.einsum("mdk,mek,me->md", basis, basis, vectors)

    theta = within(theta)
    theta /= np.linalg.norm(theta, axis=1)[:, None]
    for step in np.geomspace(0.3, 1e-3, 40):
        fields = theta @ x.T
        signs = np.sign(np.maximum(fields, 0) @ dual)
        slope = within(signs[:, None] * ((fields > 0) * dual @ x))
        slope -= np.sum(slope * theta, axis=1)[:, None] * theta
        theta = theta + step * slope / np.maximum(np.linalg.norm(slope, axis=1)[:, None], 1)
        theta = within(theta)
        theta /= np.linalg.norm(theta, axis=1)[:, None]
    return theta


def _in_cells(x: np.ndarray, dual: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """The maximum of |g| in the cell of each θ, its boundary included."""
    fields = theta @ x.T
    above = np.maximum(fields, 0) @ dual > 0
    patterns = np.unique(np.column_stack([fields > 0, above]), axis=0)
    slopes = np.where(patterns[:, -1:], 1, -1) * (patterns[:, :-1] * dual @ x)
    is_above = np.linalg.norm(slopes, axis=1) > 1
    patterns, slopes = patterns[is_above, :-1], slopes[is_above]
    maxima = []
    for pattern, slope in zip(patterns, slopes, strict=True):
        # The projection on the cone {θ: sides θ ≥ 0} is s + Σ λ_i sides_i with λ ≥ 0.
        sides = np.where(pattern, 1.0, -1.0)[:, None] * x
        if not np.all(sides @ slope >= 0):
            slope = slope + nnls(sides.T, -slope)[0] @ sides
        if (size := np.linalg.norm(slope)) > 1:
            maxima.append(slope / size)
    return np.array(maxima).reshape(-1, x.shape[1])


def _critical(x: np.ndarray, dual: np.ndarray, above: float) -> np.ndarray:
    """The points of all faces of the cells where |g| can have a local maximum above `above`.

    These are ±s of a face, projected on the hyperplanes θ·x_i = 0 that it lies in, with |g| = |s|;
    and each face has one of the 2 C(n, d − 1) vertices.
    """
    n, d = x.shape
    hyperplanes = np.array(list(itertools.combinations(range(n), d - 1)))
    points = []
    for batch in np.array_split(hyperplanes, max(1, len(hyperplanes) // 4000)):
        vertex = np.linalg.svd(x[batch])[2][:, -1]
        points.append(vertex)
        for sign in (1, -1):
            active = sign * vertex @ x.T > 0
            np.put_along_axis(active, batch, False, axis=1)
            base = active * dual @ x
            for kinds in itertools.product((0, 1, 2), repeat=d - 1):
                is_active, is_tight = (np.array(kinds) == kind for kind in (1, 2))
                if is_tight.all():
                    continue
                s = base + np.einsum("mk,mkd->md", dual[batch] * is_active, x[batch])
                if is_tight.any():
                    basis = np.linalg.qr(np.swapaxes(x[batch][:, is_tight], 1, 2))[0]
                    s = s - np.einsum("mdk,mek,me->md", basis, basis, s)
                norm = np.linalg.norm(s, axis=1)
                # +s or −s lies on the face's side of the other hyperplanes through the vertex
                sides = np.einsum("mkd,md->mk", x[batch][:, ~is_tight], s)
                sides = sides * np.where(is_active[~is_tight], 1, -1)
                inside = np.all(sides > -1e-12, axis=1) | np.all(sides < 1e-12, axis=1)
                is_candidate = inside & (norm > above)
                points.append(s[is_candidate] / norm[is_candidate, None])
    theta = np.concatenate(points)
    return np.concatenate([theta, -theta])
