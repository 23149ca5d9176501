"""Hidden units of a convolutional layer, its channels: their sample from the prior.

A channel has the same weights w (M,) for each of n patches x_s (M,) of an image, the preactivations
h_s = w·x_s/√M + bias, and the features φ_s = σ(h_s)/√(λ_1 n), s = 1 … n, each with a weight of the
read-out of its own. E_0[φ_s φ_tᵀ] = K_st/n are the Gram matrices of pairs of patches
(`kernels.patch_pairs`; Aiudi et al., arXiv:2307.11807), and their sum over s = t is the layer's K.

h = r·z with the coordinates r of a patch in the singular vectors of all patches of the training
images, and beyond these in an orthonormal basis of what those of the test images have besides; the
z are quasi-random (`units`). Patches are small: all directions are sampled, and none is left to
average over.
"""

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
from jaxtyping import Float

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.ensemble import decomposed_gram
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
from langevin_nn.theory.kernels.patch_pairs import patch_diagonal, patch_gram
from langevin_nn.types import Activation

__all__ = ["PatchUnits", "draw_patch_units"]


@dataclass(frozen=True, eq=False)
class PatchUnits(Units):
    """A sample of channels, with what is known exactly; made by `draw_patch_units`.

    `features` are φ at the training images; `pairs`, `cross` and `diagonal` are E_0[φ_s φ_tᵀ] at
    these, between test and training images, and at each test image. `coordinates` and
    `test_coordinates` are r, one patch of all images after the other.
    """

    features: Float[np.ndarray, "channels n P"] = field(repr=False)
    pairs: Float[np.ndarray, "n n P P"] = field(repr=False)
    cross: Float[np.ndarray, "n n P_test P"] = field(repr=False)
    diagonal: Float[np.ndarray, "n n P_test"] = field(repr=False)
    columns: Float[np.ndarray, "P b"] = field(repr=False)
    test_columns: Float[np.ndarray, "P_test b"] = field(repr=False)
    test_coordinates: Float[np.ndarray, "points r"] = field(repr=False)
    amplitude: float
    activation: Activation

    @property
    def gram(self) -> Float[np.ndarray, "P P"]:  # type: ignore[override]
        """K, the sum of the pairs s = t."""
        gram: np.ndarray = np.einsum("sspq->pq", self.pairs)
        return gram

    @property
    def num_units(self) -> int:
        """The number of channels."""
        return len(self.features)

    def outputs(self, a: Float[np.ndarray, " P"]) -> Float[np.ndarray, "channels n"]:
        """u_s = φ_sᵀa of each channel."""
        u: np.ndarray = self.features @ a
        return u

    def quadratic_form(self, factor: Float[np.ndarray, "P P"]) -> Float[np.ndarray, "channels n n"]:
        """φ_sᵀB φ_t of each channel, B = (L Lᵀ)⁻¹, for the lower triangular L, the `factor`.

        >>> data = two_points(1.0, 0.0)
        >>> patches = Patches((1, 2, 1), size=1, stride=1)
        >>> spec = EnsembleSpec(2, (9,), identity, (1.0, 1.0), 0.1, patches=patches)
        >>> units = draw_patch_units(Ensemble(spec, data), 64)
        >>> form, (one, other) = units.quadratic_form(2 * np.eye(2))[0], units.features[0]
        >>> bool(np.allclose(form[0], [one @ one / 4, one @ other / 4]))
        True
        """
        num, copies, _ = self.features.shape
        form = np.empty((num, copies, copies))
        for block in self._blocks():
            phi = self.features[block].reshape(-1, self.features.shape[2])
            solved = scipy.linalg.solve_triangular(factor, phi.T, lower=True, check_finite=False)
            solved = solved.T.reshape(-1, copies, len(factor))
            form[block] = solved @ np.swapaxes(solved, 1, 2)
        return form

    def prior_outputs(self, a: Float[np.ndarray, " P"]) -> Float[np.ndarray, "n n"]:
        """aᵀE_0[φ_s φ_tᵀ] a."""
        power: np.ndarray = np.einsum("stp,p->st", self.pairs @ a, a)
        return power

    def prior_quadratic_form(self, inverse: Float[np.ndarray, "P P"]) -> Float[np.ndarray, "n n"]:
        """Tr B E_0[φ_s φ_tᵀ], for the `inverse` of L."""
        form: np.ndarray = np.einsum("stpq,pq->st", self.pairs, inverse.T @ inverse)
        return form

    def moment(
        self, weights: Float[np.ndarray, "channels n n"], known: Float[np.ndarray, "n n"]
    ) -> Float[np.ndarray, "P P"]:
        """Σ_i Σ_st ω_ist φ_is φ_itᵀ, with c = `known` of it exact."""
        total: np.ndarray = np.einsum("st,stpq->pq", known, self.pairs)
        rest = weights - known / self.num_units
        for block in self._blocks():
            phi = self.features[block]
            total += _flat(phi).T @ _flat(rest[block] @ phi)
        return (total + total.T) / 2

    def moment_along(
        self,
        weights: Float[np.ndarray, "channels n n"],
        known: Float[np.ndarray, "n n"],
        a: Float[np.ndarray, " P"],
    ) -> Float[np.ndarray, " P"]:
        """`moment` times the vector a."""
        rest = weights - known / self.num_units
        parts = np.einsum("ist,it->is", rest, self.outputs(a))
        result: np.ndarray = np.einsum("st,stp->p", known, self.pairs @ a)
        result += parts.ravel() @ _flat(self.features)
        return result

    def moments_at_tests(
        self, known: Float[np.ndarray, "n n"], *weights: Float[np.ndarray, "channels n n"]
    ) -> list[tuple[Float[np.ndarray, "P_test P"], Float[np.ndarray, " P_test"]]]:
        """`moment` between test and training images, and at each test image, for several ω."""
        num, copies, _ = self.features.shape
        rests = [each - known / num for each in weights]
        totals = [
            tuple(np.einsum("st,st...->...", known, each) for each in (self.cross, self.diagonal))
            for _ in weights
        ]
        size = block_size(num, max(len(self.test_coordinates), copies * len(self.columns)))
        points = self.test_coordinates, self.amplitude, self.activation
        rank = self.test_coordinates.shape[1]
        for i, (_, z) in enumerate(gaussian_blocks(num, rank, size)):
            block = slice(i * size, (i + 1) * size)
            phi_x = np.asarray(features_at(z, *points)).reshape(size, copies, -1)
            for (cross, diagonal), rest in zip(totals, rests, strict=True):
                cross += _flat(phi_x).T @ _flat(rest[block] @ self.features[block])
                diagonal += np.sum(phi_x * (rest[block] @ phi_x), axis=(0, 1))
        return totals

    def _blocks(self) -> list[slice]:
        num, copies, points = self.features.shape
        size = block_size(num, copies * points)
        return [slice(i, i + size) for i in range(0, num, size)]


def draw_patch_units(ensemble: Ensemble, num_units: int = NUM_UNITS) -> PatchUnits:
    """The sample of channels of an ensemble of one convolutional layer and one output.

    Arguments and errors as for `samples.draw_units`.

    Linear channels: the sample's own second moment, and that with half of it known

    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (9,), identity, (1.0, 1.0), 0.1, patches=Patches((1, 2, 1), 1, 1))
    >>> units = draw_patch_units(Ensemble(spec, data), 1000)
    >>> equal = np.full((units.num_units, 2, 2), 1 / units.num_units)
    >>> exact = units.moment(equal, np.ones((2, 2)))
    >>> off = [np.abs(units.moment(equal, c * np.ones((2, 2))) - exact).max() for c in (0, 0.5)]
    >>> units.num_units, round(float(off[1] / off[0]), 9)
    (1024, 0.5)
    """
    count = whole_number(num_units)
    spec, data, regression = ensemble.spec, ensemble.data, decomposed_gram(ensemble)
    assert spec.activation is not None, "one convolutional layer has one"
    train, test = (_patches(ensemble, x) for x in (data.x_train, data.x_test))
    copies = len(train)
    amplitude = float(1 / np.sqrt(spec.prior_precisions[1] * copies))
    basis = _basis(_rows(train), _rows(test))
    features = all_features(count, _rows(train) @ basis, amplitude, spec.activation)
    return PatchUnits(
        features=features.reshape(count, copies, -1),
        pairs=patch_gram(spec, data.x_train) / copies,
        cross=patch_gram(spec, data.x_test, data.x_train) / copies,
        diagonal=patch_diagonal(spec, data.x_test) / copies,
        columns=regression.eigenvectors @ regression.projected_columns,
        test_columns=regression.test_columns,
        test_coordinates=_rows(test) @ basis,
        amplitude=amplitude,
        activation=spec.activation,
    )


def _patches(ensemble: Ensemble, x: Float[np.ndarray, "m N_0"]) -> Float[np.ndarray, "n m inputs"]:
    """x_s/√(λ_0 M), and the hidden bias's standard deviation as one more input."""
    spec = ensemble.spec
    patches = fields(spec, x)
    patches = patches / np.sqrt(spec.prior_precisions[0] * patches.shape[2])
    if spec.bias_precisions is None:
        return patches
    bias = np.full((*patches.shape[:2], 1), 1 / np.sqrt(spec.bias_precisions[0]))
    return np.concatenate([patches, bias], axis=2)


def _basis(
    train: Float[np.ndarray, "points inputs"], test: Float[np.ndarray, "test_points inputs"]
) -> Float[np.ndarray, "inputs r"]:
    """The singular vectors of the patches, and then of what others have beside them."""
    inside = _directions(train, float(np.linalg.norm(train, 2)))
    beyond = _directions(test - test @ inside @ inside.T, float(np.linalg.norm(test, 2)))
    basis: np.ndarray = np.concatenate([inside, beyond], axis=1)
    return basis if basis.shape[1] else np.eye(train.shape[1], 1)


def _directions(
    points: Float[np.ndarray, "points inputs"], size: float
) -> Float[np.ndarray, "inputs r"]:
    """Right singular vectors, of values that are no rounding error in numbers of this size."""
    _, values, right = np.linalg.svd(points, full_matrices=False)
    return right[values > size * max(points.shape) * np.finfo(float).eps].T


def _rows(patches: Float[np.ndarray, "n m inputs"]) -> Float[np.ndarray, "points inputs"]:
    return patches.reshape(-1, patches.shape[2])


def _flat(features: Float[np.ndarray, "channels n points"]) -> Float[np.ndarray, "rows points"]:
    return features.reshape(-1, features.shape[2])
