"""Hidden units of a fully connected layer: their sample from the prior.

One unit has the preactivations h ~ N(0, C), C = X Xᵀ/(λ_0 N_0) + b_0, and the features
φ = σ(h)/√λ_1, at the training inputs (P,) and at the test inputs. With the singular vectors of the
training inputs, X/√(λ_0 N_0) = R Vᵀ, h = R z, z ~ N(0, I); at a test input, h = r·z + s ξ with its
coordinates r in V, the length s of what it has beyond them, and ξ ~ N(0, 1). The z are quasi-random
(`units`), the largest singular value first. Over ξ features are averaged, given z, by one point in
each of eight strata of equal probability.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.ensemble import decomposed_gram
from langevin_nn.theory.features.outputs import in_blocks
from langevin_nn.theory.features.units import (
    NUM_UNITS,
    Units,
    all_features,
    block_size,
    features_at,
    gaussian_blocks,
    whole_number,
)
from langevin_nn.theory.kernels.nngp import fields
from langevin_nn.types import Activation

__all__ = ["DenseUnits", "draw_dense_units"]

_STRATA = 8


@dataclass(frozen=True, eq=False)
class DenseUnits(Units):
    """A sample of n units, with what is known exactly; made by `draw_dense_units`.

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
        size = block_size(self.num_units, self.features.shape[1])
        return (slice(i, i + size) for i in range(0, self.num_units, size))

    def preactivations(self) -> Float[np.ndarray, "n P"]:
        """h of the units at the training inputs, drawn again: R z."""
        size = block_size(self.num_units, max(self.inputs.shape))
        blocks = gaussian_blocks(self.num_units, self.inputs.shape[1], size)
        return np.concatenate([z @ self.inputs.T for _, z in blocks])

    def features_of(self, z: Float[np.ndarray, "m r"]) -> Float[np.ndarray, "m P"]:
        """φ at the training inputs of other units, of the coordinates z."""
        result = np.empty((len(z), len(self.inputs)))
        size = block_size(self.num_units, max(self.inputs.shape))
        for start in range(0, len(z), size):
            block = slice(start, start + size)
            result[block] = features_at(z[block], self.inputs, self.amplitude, self.activation)
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
        size = block_size(n, max(*self.test_inputs.shape, self.features.shape[1]))
        points = self.test_inputs, self.beyond, self.amplitude
        for i, (places, z) in enumerate(gaussian_blocks(n, self.test_inputs.shape[1], size)):
            block = slice(i * size, (i + 1) * size)
            phi_x, squares = map(
                np.asarray, _averages(places, z, *points, self.activation, _STRATA)
            )
            for (cross, diagonal), rest in zip(totals, rests, strict=True):
                cross += (rest[block, None] * phi_x).T @ self.features[block]
                diagonal += rest[block] @ squares
        return totals

    def outputs(self, a: Float[np.ndarray, " m"]) -> Float[np.ndarray, "n D"]:
        """u_d = φᵀa_d of each unit, for the D fields a.

        >>> spec = EnsembleSpec(2, (9,), erf, (1.0, 1.0), 0.5)
        >>> units = draw_dense_units(Ensemble(spec, two_points(1.0, 0.0)), 64)
        >>> units.outputs(np.array([1.0, 0.0, 2.0, 0.0])).shape
        (64, 2)
        """
        return np.stack([self.features @ field for field in self._fields(a)], axis=1)

    def quadratic_form(self, factor: Float[np.ndarray, "m m"]) -> Float[np.ndarray, "n k k"]:
        """φᵀB_deφ of each unit, B = (L Lᵀ)⁻¹ of k × k blocks (P, P), for the lower triangular L.

        L is the `factor`, of one block or of as many as there are outputs.

        >>> data = two_points(1.0, 0.0)
        >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=0.1)
        >>> units = draw_dense_units(Ensemble(spec, data), 64)
        >>> form = units.quadratic_form(2 * np.eye(2))
        >>> bool(np.allclose(form[:, 0, 0], np.sum(units.features**2, axis=1) / 4))
        True
        """
        size = self.features.shape[1]
        num = len(factor) // size
        form = np.empty((self.num_units, num, num))
        for block in self.blocks():
            phi, solved = self.features[block].T, []
            for start in range(0, num * size, size):  # L⁻¹ of φ in this block alone, 0 above it
                below = np.zeros((len(factor) - start, phi.shape[1]))
                below[:size] = phi
                solved.append(
                    scipy.linalg.solve_triangular(
                        factor[start:, start:], below, lower=True, check_finite=False
                    )
                )
            for i in range(num):
                for j in range(i, num):
                    common = solved[i][(j - i) * size :] * solved[j]
                    form[block, i, j] = form[block, j, i] = np.sum(common, axis=0)
        return form

    def prior_outputs(self, a: Float[np.ndarray, " m"]) -> Float[np.ndarray, "D D"]:
        """a_dᵀK a_e of the fields of D outputs.

        >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=0.1)  # K = I
        >>> units = draw_dense_units(Ensemble(spec, two_points(1.0, 0.0)), 64)
        >>> units.prior_outputs(np.array([1.0, 0.0, 1.0, 2.0])).round(9)
        array([[1., 1.],
               [1., 5.]])
        """
        fields = self._fields(a)
        return np.array([[one @ self.gram @ other for other in fields] for one in fields])

    def prior_quadratic_form(self, inverse: Float[np.ndarray, "m m"]) -> Float[np.ndarray, "D D"]:
        """Tr B_de K, for the `inverse` of L."""
        size = len(self.gram)
        num = len(inverse) // size
        columns = inverse.reshape(len(inverse), num, size)
        return np.array([
            [np.sum((columns[:, i] @ self.gram) * columns[:, j]) for j in range(num)]
            for i in range(num)
        ])  # fmt: skip

    def moment(
        self, weights: Float[np.ndarray, "n D D"], known: Float[np.ndarray, "D D"]
    ) -> Float[np.ndarray, "m m"]:
        """The D × D blocks Σ_i ω_ide φ_iφ_iᵀ, with c = `known` of them exact."""
        return in_blocks(len(known), lambda i, j: self.second_moment(weights[:, i, j], known[i, j]))

    def moment_along(
        self,
        weights: Float[np.ndarray, "n D D"],
        known: Float[np.ndarray, "D D"],
        a: Float[np.ndarray, " m"],
    ) -> Float[np.ndarray, " m"]:
        """`moment` times the vector a, of P n operations for each pair of outputs."""
        fields = np.split(a, len(known))
        return np.concatenate([
            sum(
                self.first_moment(weights[:, i, j], known[i, j], field)
                for j, field in enumerate(fields)
            )
            for i in range(len(known))
        ])  # fmt: skip

    def moments_at_tests(
        self, known: Float[np.ndarray, "D D"], *weights: Float[np.ndarray, "n D D"]
    ) -> list[tuple[Float[np.ndarray, "x m"], Float[np.ndarray, " x"]]]:
        """The blocks of `moment` between test and training inputs, and those at each test input."""
        num = len(known)
        pairs = [(i, j) for i in range(num) for j in range(i, num)]
        found = iter(
            self.at_tests(*((each[:, i, j], known[i, j]) for each in weights for i, j in pairs))
        )
        return [_of_outputs(num, {pair: next(found) for pair in pairs}) for _ in weights]

    def _fields(self, a: Float[np.ndarray, " m"]) -> list[Float[np.ndarray, " P"]]:
        return np.split(a, len(a) // len(self.gram))


def _of_outputs(
    num: int,
    pairs: dict[
        tuple[int, int], tuple[Float[np.ndarray, "P_test P"], Float[np.ndarray, " P_test"]]
    ],
) -> tuple[Float[np.ndarray, "x m"], Float[np.ndarray, " x"]]:
    """The blocks between test and training inputs, and the diagonal, of pairs of outputs."""
    cross = in_blocks(num, lambda i, j: pairs[i, j][0])
    return cross, np.concatenate([pairs[i, i][1] for i in range(num)])


def draw_dense_units(ensemble: Ensemble, num_units: int = NUM_UNITS) -> DenseUnits:
    """The sample of units of an ensemble of one fully connected hidden layer.

    Args:
        ensemble: the spec and the data.
        num_units: n, rounded up to a power of two, from 64 on.

    Raises:
        InputError: another number of units; an activation that is not finite at some of them.

    Linear units, K = I: the sample's own second moment, and that with half of it known

    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=0.1)
    >>> units = draw_dense_units(Ensemble(spec, data), 1000)
    >>> equal = np.full(units.num_units, 1 / units.num_units)
    >>> off = [np.abs(units.second_moment(equal, known) - np.eye(2)).max() for known in (0, 0.5, 1)]
    >>> units.num_units, [round(float(distance / off[0]), 9) for distance in off]
    (1024, [1.0, 0.5, 0.0])
    """
    count = whole_number(num_units)
    spec, regression = ensemble.spec, decomposed_gram(ensemble)
    assert spec.activation is not None, "one hidden layer has one"
    amplitude = float(1 / np.sqrt(spec.prior_precisions[1]))
    train_inputs, test_inputs, beyond = _coordinates(ensemble)
    vectors = regression.eigenvectors
    return DenseUnits(
        features=all_features(count, train_inputs, amplitude, spec.activation),
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
