"""Whole hidden layers, drawn from their exact posterior out of units that are nearly independent.

With the read-out integrated out, N_1 units of features φ_i (P,) have the posterior

    ∏_i p_0(φ_i) exp(−½ log det A − ½ yᵀA⁻¹y),     A = T + V Vᵀ + (1/N_1) Σ_i φ_iφ_iᵀ,

and one of them, given the others, the weight exp(tilt) of `response` with the exact A⁻¹ of these,
a = A⁻¹y. Independent units of a theory's p, which has a mean in the place of A⁻¹, are not far from
it: many layers of such units are weighted by growing powers of what their exact posterior has more,
drawn anew by these weights (sequential Monte Carlo: Del Moral, Doucet and Jasra 2006, J. R. Stat.
Soc. B 68:411), and brought to it by Metropolis steps in which unit after unit of each layer
is replaced by a new one, accepted by the exact weight given the others: one from the `proposal`, or
the old one turned a little towards a unit of the prior, which reaches what the proposal has missed.
There are neither gradients nor step sizes; layers depend on each other by common ancestors alone.

The steps are in `replacements`. Given its layer, f is a Gaussian process with the
mean m = F_xᵀ W b and the covariance T F_xᵀ W F_x, F = (φ_1 … φ_N, √N_1 V)ᵀ/√N_1,
W = (T + F Fᵀ)⁻¹ and b = F y.
"""

from typing import NamedTuple

import jax
import numpy as np
import scipy.special
from jaxtyping import Array, Float, Key

from langevin_nn.theory.features.dense_units import DenseUnits
from langevin_nn.theory.features.proposal import (
    Adapted,
    Proposal,
    proposal_of,
    resampled,
    whitening_of,
)
from langevin_nn.theory.features.replacements import swept
from langevin_nn.theory.features.response import log_tilt

__all__ = ["BATCHES", "NUM_SWEEPS", "SEED", "LayerAverages", "average_over_layers"]

SEED = 20_261_201
"""The seed of the layers: the same call gives the same numbers."""
BATCHES = 32
"""The number of groups of layers whose scatter standard errors come from."""
_SWEEPS_OF_STEPS, _LEAST_STEP = 4, 0.005
"""Sweeps over the units after each step from independent units to the exact posterior, and the
smallest step in the power."""
_SWEEPS_BEFORE, _SWEEPS_OF_LOOKS = (15, 30), 15
"""Sweeps over the units before each time that the proposal is made anew, of their own z; then those
between two looks at what the layers remember."""
_RECORDS, _SWEEPS_BETWEEN = 30, 5
"""The number of times that the layers are averaged over, and the sweeps between them."""
_FORGOTTEN, _MOST_LOOKS = 10.0, 60
"""The number of correlation times after which layers have forgotten what they began with, and the
largest number of looks before it is given up."""
_STRATA = 2
"""Over what test inputs have beside the training inputs there are so many points for each unit."""
NUM_SWEEPS = sum(_SWEEPS_BEFORE) + 2 * _RECORDS * _SWEEPS_BETWEEN
"""How often each unit of each layer may be replaced, in all, where layers forget soon."""
_NUMBERS_AT_ONCE = 2**22


class LayerAverages(NamedTuple):
    """Averages over the layers of each batch; made by `average_over_layers`.

    `second` is the mean of m² + s, of the process's mean and variance at a test input given the
    layer; `train_error` that of (y − f)² over the training examples; `along` that of
    aᵀ(A − T − V Vᵀ)a. `memory` is the number of sweeps over which a layer's predictions and energy
    are correlated, and `sweeps` the number of those before the averages begin. `log_integral` is
    log E_0 exp(−½ log det A − ½ yᵀA⁻¹y) over layers of the prior, but for T^(rows/2 − P/2) with the
    layer's `rows`, N_1 and those of the read-out's bias; it has a standard error.
    """

    mean: Float[np.ndarray, "batches P_test"]
    second: Float[np.ndarray, "batches P_test"]
    train_error: Float[np.ndarray, " batches"]
    along: Float[np.ndarray, " batches"]
    acceptance: float
    ancestors: int  # the number of the layers of independent units that have left some
    memory: float
    sweeps: int
    log_integral: float
    log_integral_error: float

    @property
    def forgotten(self) -> bool:
        """Whether the layers have forgotten what they began with."""
        return self.sweeps >= _FORGOTTEN * self.memory


class _Process(NamedTuple):
    """What does not change: y, T, N_1, and how units make features."""

    y: Float[np.ndarray, " P"]
    temperature: float
    width: int
    units: DenseUnits
    field: tuple[Float[np.ndarray, "P P"], Float[np.ndarray, " P"]]  # L⁻¹ of B = (L Lᵀ)⁻¹, and a

    @property
    def fixed(self) -> Float[np.ndarray, "b P"]:
        """The read-out's bias as features, √N_1 V."""
        columns: np.ndarray = np.sqrt(self.width) * self.units.columns.T
        return columns


def average_over_layers(
    units: DenseUnits,
    y: Float[np.ndarray, " P"],
    temperature: float,
    width: int,
    adapted: Adapted,
    field: tuple[Float[np.ndarray, "P P"], Float[np.ndarray, " P"]],
    num_layers: int,
) -> LayerAverages:
    """Averages over so many layers of `width` units from their exact posterior.

    Args:
        units: the inputs, the activation and the read-out's bias.
        y: the targets.
        temperature: T > 0.
        width: N_1.
        adapted: units from near p, with weights, which the layers begin with.
        field: the lower Cholesky factor of B⁻¹, and a, of the field whose p that is.
        num_layers: a multiple of `BATCHES`.

    Layers of one linear unit with K = I and targets that are zero: the prior's variance is less

    >>> from langevin_nn.model.ensemble import Ensemble
    >>> from langevin_nn.theory.features.proposal import adapted
    >>> from langevin_nn.theory.features.dense_units import draw_dense_units
    >>> spec = EnsembleSpec(2, (1,), identity, (0.5, 1.0), temperature=1.0)
    >>> units = draw_dense_units(Ensemble(spec, two_points(0.0, 0.0)), 1024)
    >>> flat = lambda z: (np.zeros(len(z)), z[:, 0])
    >>> found = adapted(flat, 2, 1024, np.random.default_rng(0))
    >>> field = 1e9 * np.eye(2), np.zeros(2)  # B = 0
    >>> averages = average_over_layers(units, np.zeros(2), 1.0, 1, found, field, 64)
    >>> averages.mean.shape, bool(np.all(averages.mean == 0)), bool(averages.second.mean() < 1)
    ((32, 2), True, True)
    """
    rng, key = np.random.default_rng(SEED), jax.random.key(SEED)
    factor, along = field
    process = _Process(y, temperature, width, units, (whitening_of(factor), along))
    key, own = jax.random.split(key)
    z, features, ancestors, integral = _first_layers(process, adapted, num_layers, rng, own)
    proposal = adapted.proposal
    for num_sweeps in _SWEEPS_BEFORE:
        key, own = jax.random.split(key)
        proposal = _proposal(process, z, features)
        z, features, _ = _sweep(process, own, z, features, proposal, num_sweeps)
    proposal = _proposal(process, z, features)
    seen, memory, sweeps = _seen(process, features), np.inf, 0
    while sweeps < min(_FORGOTTEN * memory, _MOST_LOOKS * _SWEEPS_OF_LOOKS):
        key, own = jax.random.split(key)
        z, features, _ = _sweep(process, own, z, features, proposal, _SWEEPS_OF_LOOKS)
        before, seen = seen, _seen(process, features)
        memory, sweeps = _memory(before, seen), sweeps + _SWEEPS_OF_LOOKS
    records: list[tuple[np.ndarray, ...]] = []
    acceptances: list[float] = []
    for own in jax.random.split(key, _RECORDS):
        z, features, acceptance = _sweep(process, own, z, features, proposal, _SWEEPS_BETWEEN)
        records.append(_record(process, z, features, along, rng))
        acceptances.append(acceptance)
    mean, second, train_error, strength = (
        np.mean(np.stack(arrays), axis=0) for arrays in zip(*records, strict=True)
    )
    return LayerAverages(
        mean, second, train_error, strength, float(np.mean(acceptances)), ancestors, memory, sweeps,
        *integral,
    )  # fmt: skip


def _seen(process: _Process, features: Float[np.ndarray, "M rows P"]) -> list[np.ndarray]:
    """Of each layer what is remembered of it: its energy, and y − m at the training inputs."""
    small = features / np.sqrt(process.width)
    residuals, energy, _ = _at_training(process, small)
    return [energy[:, None], residuals]


def _memory(before: list[np.ndarray], after: list[np.ndarray]) -> float:
    """τ of the correlation exp(−t/τ) over the layers between two looks: the longer of the two."""
    correlations = []
    for first, second in zip(before, after, strict=True):
        first, second = (x - np.mean(x, axis=0) for x in (first, second))
        size = np.sqrt(np.sum(first**2) * np.sum(second**2))
        correlations.append(np.sum(first * second) / size if size > 0 else 0.0)
    largest = float(np.clip(max(correlations), 1e-3, 1 - 1e-9))
    return float(-_SWEEPS_OF_LOOKS / np.log(largest))


def _first_layers(
    process: _Process,
    adapted: Adapted,
    num_layers: int,
    rng: np.random.Generator,
    key: Key[Array, ""],
) -> tuple[
    Float[np.ndarray, "M N r"], Float[np.ndarray, "M rows P"], int, tuple[float, float]
]:  # fmt: skip
    """Layers of independent units of p, led to the exact posterior; and how many are left.

    From ∏ p to it by powers t of what it has more, in steps that leave half of the layers an
    effective weight; after each of these they are drawn anew, and swept over with that power. The
    integral is that of ∏ p, times the mean weight of each step; its logarithm, and the error.
    """
    width = process.width
    chosen = resampled(adapted.weights, num_layers * width, rng)
    z = adapted.z[chosen].reshape(num_layers, width, -1)
    features = _with_bias(
        process, process.units.features_of(adapted.z[chosen]).reshape(num_layers, width, -1)
    )
    proposal, power, ancestors = adapted.proposal, 0.0, np.arange(num_layers)
    log_integral = width * adapted.log_integral
    squared_error = (width * adapted.log_integral_error) ** 2
    while power < 1:
        _, energy, _ = _at_training(process, features / np.sqrt(width))
        logs = -energy - np.sum(_tilts(process, features), axis=1)
        step = _step(logs, 1 - power)
        weights = scipy.special.softmax(step * logs)
        log_integral += float(scipy.special.logsumexp(step * logs)) - np.log(num_layers)
        squared_error += float(np.sum(weights**2)) - 1 / num_layers
        kept = resampled(weights, num_layers, rng)
        z, features, ancestors = z[kept], features[kept], ancestors[kept]
        power = 1.0 if step >= 1 - power else power + step
        key, own = jax.random.split(key)
        z, features, _ = _sweep(process, own, z, features, proposal, _SWEEPS_OF_STEPS, power)
        proposal = _proposal(process, z, features)
    integral = log_integral, float(np.sqrt(squared_error))
    return z, features, len(np.unique(ancestors)), integral


def _step(logs: Float[np.ndarray, " M"], most: float) -> float:
    """The largest step, up to `most`, by which weights leave half of the layers, by bisection."""
    low, high = 0.0, 2 * most
    for _ in range(40):
        weights = scipy.special.softmax((low + high) / 2 * logs)
        enough = 1 / np.sum(weights**2) >= len(logs) / 2
        low, high = ((low + high) / 2, high) if enough else (low, (low + high) / 2)
    return max(min(low, most), _LEAST_STEP)


def _tilts(process: _Process, features: Float[np.ndarray, "M rows P"]) -> Float[np.ndarray, "M N"]:
    """log p/p_0 of each unit, but for a constant."""
    whitening, along = process.field
    phi = features[:, : process.width].reshape(-1, features.shape[2])
    q = np.sum((phi @ whitening.T) ** 2, axis=1) / process.width
    tilts = log_tilt(q[:, None], (phi @ along)[:, None], process.width)
    return tilts.reshape(len(features), process.width)


def _proposal(
    process: _Process, z: Float[np.ndarray, "M N r"], features: Float[np.ndarray, "M rows P"]
) -> Proposal:
    """The proposal with the moments of the layers' own units."""
    flat = z.reshape(-1, z.shape[2])
    u = features[:, : process.width].reshape(len(flat), -1) @ process.field[1]
    return proposal_of(flat, np.where(u < 0, -1.0, 1.0), np.full(len(flat), 1 / len(flat)))


def _with_bias(
    process: _Process, features: Float[np.ndarray, "M N P"]
) -> Float[np.ndarray, "M rows P"]:
    fixed = np.broadcast_to(process.fixed, (len(features), *process.fixed.shape))
    return np.concatenate([features, fixed], axis=1)


def _sweep(
    process: _Process,
    key: Key[Array, ""],
    z: Float[np.ndarray, "M N r"],
    features: Float[np.ndarray, "M rows P"],
    proposal: Proposal,
    num_sweeps: int,
    power: float = 1.0,
) -> tuple[Float[np.ndarray, "M N r"], Float[np.ndarray, "M rows P"], float]:
    """Layers after so many sweeps, and the share of new units that was accepted.

    `power` is that of what the exact posterior has more than independent units.
    """
    units = process.units
    whitening, along = process.field
    z, features, accepted = swept(
        key, z, features, process.y, process.temperature, units.inputs, units.amplitude,
        proposal.mean, proposal.factor, whitening_of(proposal.factor), whitening, along, power,
        num_sweeps, units.activation, process.width,
    )  # fmt: skip
    return np.asarray(z), np.asarray(features), float(accepted)


def _record(
    process: _Process,
    z: Float[np.ndarray, "M N r"],
    features: Float[np.ndarray, "M rows P"],
    along: Float[np.ndarray, " P"],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Means over each batch: m and m² + s at test inputs, training error, aᵀK_W a."""
    batches = []
    places = rng.random(z.shape[:2])
    for batch in np.array_split(np.arange(len(z)), BATCHES):
        m, second = _at_tests(process, z[batch], features[batch], places[batch])
        small = features[batch] / np.sqrt(process.width)
        residuals, _, spread = _at_training(process, small)
        train = (np.sum(residuals**2, axis=1) + spread) / len(process.y)
        strength = np.sum((small[:, : process.width] @ along) ** 2, axis=1)
        batches.append([np.mean(x, axis=0) for x in (m, second, train, strength)])
    return tuple(np.stack(column) for column in zip(*batches, strict=True))  # type: ignore[return-value]


def _at_training(
    process: _Process, small: Float[np.ndarray, "M rows P"]
) -> tuple[Float[np.ndarray, "M P"], Float[np.ndarray, " M"], Float[np.ndarray, " M"]]:
    """y − m at the training inputs, ½ log det A + ½ yᵀA⁻¹y but for T's part, and the sum of s."""
    y, temperature, rows = process.y, process.temperature, small.shape[1]
    gram = temperature * np.eye(rows) + small @ small.transpose(0, 2, 1)
    inverse = np.linalg.inv(gram)
    weights = np.einsum("mij,mj->mi", inverse, small @ y)  # W b
    residuals = y - np.einsum("mi,mip->mp", weights, small)
    spread = temperature * (rows - temperature * np.trace(inverse, axis1=1, axis2=2))
    energy = np.linalg.slogdet(gram)[1] / 2 + residuals @ y / (2 * temperature)
    return residuals, energy, spread


def _at_tests(
    process: _Process,
    z: Float[np.ndarray, "M N r"],
    features: Float[np.ndarray, "M rows P"],
    places: Float[np.ndarray, "M N"],
) -> tuple[Float[np.ndarray, "M P_test"], Float[np.ndarray, "M P_test"]]:
    """m and m² + s, averaged over what test inputs have beside the training inputs."""
    units, width = process.units, process.width
    num, rows = features.shape[:2]
    small = features / np.sqrt(width)
    inverse = np.linalg.inv(process.temperature * np.eye(rows) + small @ small.transpose(0, 2, 1))
    weights = np.einsum("mij,mj->mi", inverse, small @ process.y)  # W b
    fixed = units.test_columns.T  # (b, P_test)
    means, seconds = [], []
    size = max(1, _NUMBERS_AT_ONCE // (rows * len(units.test_inputs)))
    for start in range(0, num, size):
        block = slice(start, start + size)
        count = len(z[block])
        phi, squares = (
            array.reshape(count, width, -1)
            for array in units.averages_of(
                places[block].reshape(-1), z[block].reshape(count * width, -1), _STRATA
            )
        )
        beyond = (squares - phi**2) / width  # of what varies beside z, unit by unit
        phi = np.concatenate(
            [phi / np.sqrt(width), np.broadcast_to(fixed, (count, *fixed.shape))], axis=1
        )
        own, read_out = inverse[block], weights[block]
        mean = np.einsum("mi,mix->mx", read_out, phi)
        variance = np.sum((own @ phi) * phi, axis=1)
        variance += np.einsum("mi,mix->mx", np.diagonal(own, axis1=1, axis2=2)[:, :width], beyond)
        second = mean**2 + np.einsum("mi,mix->mx", read_out[:, :width] ** 2, beyond)
        means.append(mean)
        seconds.append(second + process.temperature * variance)
    return np.concatenate(means), np.concatenate(seconds)
