"""Hidden units drawn from the prior: the fixed sample that theories of features average over.

One unit has the preactivations h ~ N(0, C), C = X Xᵀ/(λ_0 N_0) + b_0, and the features
φ = σ(h)/√λ_1, at the training inputs (P,) and at the test inputs. With the singular vectors of the
training inputs, X/√(λ_0 N_0) = R Vᵀ, h = R z, z ~ N(0, I); at a test input, h = r·z + s ξ with its
coordinates r in V, the length s of what it has beyond them, and ξ ~ N(0, 1). The z are a scrambled
Sobol sequence (Owen 1998, J. Complexity 14:466), the largest singular value first. Over ξ features
are averaged, given z, by one point in each of eight strata of equal probability.

E_0[φφᵀ] = K is known exactly. It is a control variate of Σ_i ω_i φ_iφ_iᵀ for any weights ω, which
becomes

    Σ_i (ω_i − c/n) φ_iφ_iᵀ + c K,

whose noise vanishes where the weights are equal, ω_i = c/n.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float
from scipy.stats import qmc

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.ensemble import decomposed_gram
from langevin_nn.theory.kernels.nngp import fields
from langevin_nn.types import Activation, InputError
from langevin_nn.values import as_whole, shown

__all__ = ["FEWEST_UNITS", "MOST_UNITS", "NUM_UNITS", "SEED", "Units", "draw_units"]

NUM_UNITS = 2**15
"""The default number of hidden units in the sample."""
FEWEST_UNITS, MOST_UNITS = 64, 2**24
"""The smallest and the largest number of units of a sample."""
SEED = 20_240_616
"""The seed of the units' weights: the same call gives the same numbers."""

_NUMBERS_AT_ONCE = 2**21  # units × points of one block: 16 MiB in each of a few arrays
_STRATA = 8
_HALF_STEP = 2.0**-31
"""Half the spacing of the sequence, of 30 bits: a number that is exactly 0 has no quantile."""


@dataclass(frozen=True, eq=False)
class Units:
    """A sample of n units, with what is known exactly; made by `draw_units`.

    `features` are φ at the training inputs; `gram` K, `cross` k = K(X_test, X) and `diagonal`
    K(x, x) at the test inputs are E_0[φφᵀ]; V = `columns` and `test_columns` have the covariance
    V Vᵀ of the read-out's bias. `inputs` are R, `test_inputs` r, and `beyond` s.
    """

    features: Float[np.ndarray, "n P"] = field(repr=False)
    gram: Float[np.ndarray, "P P"] = field(repr=False)
    cross: Float[np.ndarray, "P_test P"] = field(repr=False)
    diagonal: Float[np.ndarray, " P_test"] = field(repr=False)
    columns: Float[np.ndarray, "P b"] = field(repr=False)
    test_columns: Float[np.ndarray, "P_test b"] = field(repr=False)
    inputs: Float[np.ndarray, "P r"] = field(repr=False)
    test_inputs: Float[np.ndarray, "P_test r"] = field(repr=False)
    beyond: Float[np.ndarray, " P_test"] = field(repr=False)
    amplitude: float
    activation: Activation

    @property
    def num_units(self) -> int:
        """n."""
        return len(self.features)

    def blocks(self) -> Iterator[slice]:
        """Blocks of units of one size that fill the sample."""
        size = _block_size(self.num_units, self.features.shape[1])
        return (slice(i, i + size) for i in range(0, self.num_units, size))

    def features_of(self, z: Float[np.ndarray, "m r"]) -> Float[np.ndarray, "m P"]:
        """φ at the training inputs of other units, of the coordinates z."""
        result = np.empty((len(z), len(self.inputs)))
        size = _block_size(self.num_units, max(self.inputs.shape))
        for start in range(0, len(z), size):
            block = slice(start, start + size)
            result[block] = _features(z[block], self.inputs, self.amplitude, self.activation)
        return result

    def averages_of(
        self, places: Float[np.ndarray, " m"], z: Float[np.ndarray, "m r"], strata: int
    ) -> tuple[Float[np.ndarray, "m P_test"], Float[np.ndarray, "m P_test"]]:
        """E_ξ φ_x and E_ξ φ_x² at the test inputs of such units, by one of `places` a stratum."""
        found = _averages(
            places, z, self.test_inputs, self.beyond, self.amplitude, self.activation, strata
        )
        return np.asarray(found[0]), np.asarray(found[1])

    def second_moment(
        self, weights: Float[np.ndarray, " n"], known: float
    ) -> Float[np.ndarray, "P P"]:
        """Σ_i ω_i φ_iφ_iᵀ at the training inputs, with c = `known` of it exact."""
        total, rest = known * self.gram, weights - known / self.num_units
        for block in self.blocks():
            phi = self.features[block]
            total += (rest[block, None] * phi).T @ phi
        return (total + total.T) / 2

    def first_moment(
        self, weights: Float[np.ndarray, " n"], known: float, along: Float[np.ndarray, " P"]
    ) -> Float[np.ndarray, " P"]:
        """`second_moment` times the vector `along`, of P n operations."""
        rest = weights - known / self.num_units
        result: np.ndarray = known * (self.gram @ along)
        result += (rest * (self.features @ along)) @ self.features
        return result

    def at_tests(
        self, *weights_and_known: tuple[Float[np.ndarray, " n"], float]
    ) -> list[tuple[Float[np.ndarray, "P_test P"], Float[np.ndarray, " P_test"]]]:
        """Σ_i ω_i φ_x φᵀ and Σ_i ω_i φ_x² at the test inputs x, for several weights at once."""
        n = self.num_units
        rests = [weights - known / n for weights, known in weights_and_known]
        totals = [(known * self.cross, known * self.diagonal) for _, known in weights_and_known]
        size = _block_size(n, max(*self.test_inputs.shape, self.features.shape[1]))
        points = self.test_inputs, self.beyond, self.amplitude
        for i, (places, z) in enumerate(_gaussian_blocks(n, self.test_inputs.shape[1], size)):
            block = slice(i * size, (i + 1) * size)
            phi_x, squares = map(
                np.asarray, _averages(places, z, *points, self.activation, _STRATA)
            )
            for (cross, diagonal), rest in zip(totals, rests, strict=True):
                cross += (rest[block, None] * phi_x).T @ self.features[block]
                diagonal += rest[block] @ squares
        return totals


def draw_units(ensemble: Ensemble, num_units: int = NUM_UNITS) -> Units:
    """The sample of units of an ensemble of one fully connected hidden layer.

    Args:
        ensemble: the spec and the data.
        num_units: n, rounded up to a power of two, from 64 on.

    Raises:
        InputError: another number of units; an activation that is not finite at some of them.

    Linear units, K = I: the sample's own second moment, and that with half of it known

    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=0.1)
    >>> units = draw_units(Ensemble(spec, data), 1000)
    >>> equal = np.full(units.num_units, 1 / units.num_units)
    >>> off = [np.abs(units.second_moment(equal, known) - np.eye(2)).max() for known in (0, 0.5, 1)]
    >>> units.num_units, [round(float(distance / off[0]), 9) for distance in off]
    (1024, [1.0, 0.5, 0.0])
    """
    count = as_whole(num_units) or 0
    if not FEWEST_UNITS <= count <= MOST_UNITS:
        raise InputError(
            f"num_units must be {FEWEST_UNITS} to {MOST_UNITS}, got {shown(num_units)}"
        )
    count = 1 << (count - 1).bit_length()
    spec, regression = ensemble.spec, decomposed_gram(ensemble)
    assert spec.activation is not None, "one hidden layer has one"
    amplitude = float(1 / np.sqrt(spec.prior_precisions[1]))
    train_inputs, test_inputs, beyond = _coordinates(ensemble)
    vectors = regression.eigenvectors
    return Units(
        features=_all_features(count, train_inputs, amplitude, spec.activation),
        gram=(vectors * regression.eigenvalues) @ vectors.T,
        cross=regression.projected_cross @ vectors.T,
        diagonal=regression.test_diagonal,
        columns=vectors @ regression.projected_columns,
        test_columns=regression.test_columns,
        inputs=train_inputs,
        test_inputs=test_inputs,
        beyond=beyond,
        amplitude=amplitude,
        activation=spec.activation,
    )


def _coordinates(
    ensemble: Ensemble,
) -> tuple[Float[np.ndarray, "P r"], Float[np.ndarray, "P_test r"], Float[np.ndarray, " P_test"]]:
    """R at the training inputs, r and s at the test inputs."""
    data = ensemble.data
    train, test = (_hidden_inputs(ensemble, x) for x in (data.x_train, data.x_test))
    left, values, right = np.linalg.svd(train, full_matrices=False)
    rank = max(1, int(np.sum(values > values[0] * max(train.shape) * np.finfo(float).eps)))
    inside = test @ right[:rank].T
    beyond = np.linalg.norm(test - inside @ right[:rank], axis=1)
    return left[:, :rank] * values[:rank], inside, beyond


def _hidden_inputs(
    ensemble: Ensemble, x: Float[np.ndarray, "m N_0"]
) -> Float[np.ndarray, "m inputs"]:
    """x/√(λ_0 N_0), and the hidden bias's standard deviation as one more input."""
    spec = ensemble.spec
    inputs = fields(spec, x)[0] / np.sqrt(spec.prior_precisions[0] * spec.in_size)
    if spec.bias_precisions is None:
        return inputs
    bias = np.full((len(x), 1), 1 / np.sqrt(spec.bias_precisions[0]))
    return np.concatenate([inputs, bias], axis=1)


def _all_features(
    num_units: int, inputs: Float[np.ndarray, "P r"], amplitude: float, activation: Activation
) -> Float[np.ndarray, "n P"]:
    features = np.empty((num_units, len(inputs)))
    size = _block_size(num_units, max(inputs.shape))
    for i, (_, z) in enumerate(_gaussian_blocks(num_units, inputs.shape[1], size)):
        features[i * size : (i + 1) * size] = _features(z, inputs, amplitude, activation)
    if not np.isfinite(features).all():
        raise InputError(
            f"{activation.name} is not finite at some hidden units: look for inputs that are too "
            "large, or an activation that overflows"
        )
    return features


def _gaussian_blocks(
    num: int, size: int, block: int
) -> Iterator[tuple[Float[np.ndarray, " m"], Float[np.ndarray, "m size"]]]:
    """Places in strata, and standard Gaussian vectors, `num` of them in blocks: quasi-random."""
    sequence = qmc.Sobol(size + 1, seed=np.random.default_rng(SEED))
    for _ in range(0, num, block):
        uniform = sequence.random(block) + _HALF_STEP
        yield uniform[:, -1], scipy.special.ndtri(uniform[:, :-1])


def _block_size(num_units: int, num_points: int) -> int:
    """A power of two that divides the number of units."""
    return min(num_units, 1 << max(4, (_NUMBERS_AT_ONCE // num_points).bit_length() - 1))


@partial(jax.jit, static_argnames=("activation",))
def _features(
    z: Float[Array, "m r"],
    inputs: Float[Array, "points r"],
    amplitude: Float[Array, ""] | float,
    activation: Activation,
) -> Float[Array, "m points"]:
    return amplitude * activation(z @ inputs.T)


@partial(jax.jit, static_argnames=("activation", "strata"))
def _averages(
    places: Float[Array, " m"],
    z: Float[Array, "m r"],
    inputs: Float[Array, "points r"],
    beyond: Float[Array, " points"],
    amplitude: Float[Array, ""] | float,
    activation: Activation,
    strata: int,
) -> tuple[Float[Array, "m points"], Float[Array, "m points"]]:
    """φ and φ² at test inputs, averaged over ξ given z."""
    center = z @ inputs.T
    mean = square = jnp.zeros_like(center)
    for stratum in range(strata):
        xi = jax.scipy.special.ndtri((stratum + places) / strata)
        phi = amplitude * activation(center + xi[:, None] * beyond[None, :])
        mean, square = mean + phi / strata, square + phi**2 / strata
    return mean, square
