"""Samples of hidden units: what theories of features average over, whatever kind the layer is.

A unit has the features φ (P,) at the training inputs, of each of its k copies: the weights of a
convolutional layer look at n patches, k = n, those of a fully connected layer at the whole input.
Each copy has a weight of the read-out of its own. In a field of the data on the outputs of mean a
and covariance B a unit has

    u_s = φ_s·a,   q_st = φ_sᵀBφ_t/N_1   (k,), (k, k)

(`response`), and averages over units are Σ_i Σ_st ω_ist φ_is φ_itᵀ with weights ω_i (k, k). D
outputs of a fully connected layer are the same: k = D fields, of one unit whose features are those
of each. Fields and averages are flat then, one output after the other.

The weights of the units are a scrambled Sobol sequence (Owen 1998, J. Complexity 14:466). The
prior's E_0[φ_s φ_tᵀ] = K_st is known exactly. It is a control variate of an average with any
weights, which becomes

    Σ_i Σ_st (ω_i − c/n)_st φ_is φ_itᵀ + Σ_st c_st K_st,

n the number of units: its noise vanishes where the weights are equal, ω_i = c/n.
"""

import abc
from collections.abc import Iterator
from functools import partial

import jax
import numpy as np
import scipy.special
from jaxtyping import Array, Float
from scipy.stats import qmc

from langevin_nn.types import Activation, InputError
from langevin_nn.values import as_whole, shown

__all__ = [
    "FEWEST_UNITS", "MOST_UNITS", "NUM_UNITS", "SEED", "Units", "all_features", "block_size",
    "features_at", "gaussian_blocks", "whole_number",
]  # fmt: skip

NUM_UNITS = 2**15
"""The default number of hidden units in the sample."""
FEWEST_UNITS, MOST_UNITS = 64, 2**24
"""The smallest and the largest number of units of a sample."""
SEED = 20_240_616
"""The seed of the units' weights: the same call gives the same numbers."""

_NUMBERS_AT_ONCE = 2**21  # units × points of one block: 16 MiB in each of a few arrays
_HALF_STEP = 2.0**-31
"""Half the spacing of the sequence, of 30 bits: a number that is exactly 0 has no quantile."""

Flat = Float[np.ndarray, " m"]
Matrix = Float[np.ndarray, "m m"]


class Units(abc.ABC):
    """A sample of n units of one layer, with what is known exactly; n is a `whole_number`.

    Made by `samples.draw_units`.

    `gram` is K, the Gram matrix of the layer, and V = `columns`, `test_columns` at the test inputs
    have the covariance V Vᵀ of the read-out's bias.
    """

    gram: Float[np.ndarray, "P P"]
    columns: Float[np.ndarray, "P b"]
    test_columns: Float[np.ndarray, "P_test b"]

    @property
    @abc.abstractmethod
    def num_units(self) -> int:
        """n."""

    @abc.abstractmethod
    def outputs(self, a: Flat) -> Float[np.ndarray, "n k"]:
        """u of each unit, in a field of mean a."""

    @abc.abstractmethod
    def quadratic_form(self, factor: Matrix) -> Float[np.ndarray, "n k k"]:
        """N_1 q of each unit, for the lower Cholesky factor L of B⁻¹ = L Lᵀ."""

    @abc.abstractmethod
    def prior_outputs(self, a: Flat) -> Float[np.ndarray, "k k"]:
        """E_0[u uᵀ], exactly."""

    @abc.abstractmethod
    def prior_quadratic_form(self, inverse: Matrix) -> Float[np.ndarray, "k k"]:
        """E_0[N_1 q], exactly, for the `inverse` of L."""

    @abc.abstractmethod
    def moment(
        self, weights: Float[np.ndarray, "n k k"], known: Float[np.ndarray, "k k"]
    ) -> Matrix:
        """Σ_i Σ_st ω_ist φ_is φ_itᵀ at the training inputs, with c = `known` of it exact."""

    @abc.abstractmethod
    def moment_along(
        self, weights: Float[np.ndarray, "n k k"], known: Float[np.ndarray, "k k"], a: Flat
    ) -> Flat:
        """`moment` times the vector a."""

    @abc.abstractmethod
    def moments_at_tests(
        self, known: Float[np.ndarray, "k k"], *weights: Float[np.ndarray, "n k k"]
    ) -> list[tuple[Float[np.ndarray, "x m"], Float[np.ndarray, " x"]]]:
        """`moment` between test and training inputs, and at each test input, for several ω."""


def whole_number(num_units: int) -> int:
    """The number of units of a sample, the next power of two; `InputError` for what is none.

    >>> whole_number(1000)
    1024
    """
    count = as_whole(num_units) or 0
    if not FEWEST_UNITS <= count <= MOST_UNITS:
        raise InputError(
            f"num_units must be {FEWEST_UNITS} to {MOST_UNITS}, got {shown(num_units)}"
        )
    return 1 << (count - 1).bit_length()


def block_size(num_units: int, num_points: int) -> int:
    """How many units are computed at once: a power of two that divides their number.

    >>> block_size(2**15, 1000), block_size(2**10, 50)
    (2048, 1024)
    """
    return min(num_units, 1 << max(4, (_NUMBERS_AT_ONCE // num_points).bit_length() - 1))


def gaussian_blocks(
    num: int, size: int, block: int
) -> Iterator[tuple[Float[np.ndarray, " m"], Float[np.ndarray, "m size"]]]:
    """Places in strata, and standard Gaussian vectors, `num` of them in blocks: quasi-random.

    >>> places, z = next(gaussian_blocks(64, 2, 64))
    >>> bool(np.all((0 < places) & (places < 1))), abs(z.mean(axis=0)).round(2)
    (True, array([0., 0.]))
    """
    sequence = qmc.Sobol(size + 1, seed=np.random.default_rng(SEED))
    for _ in range(0, num, block):
        uniform = sequence.random(block) + _HALF_STEP
        yield uniform[:, -1], scipy.special.ndtri(uniform[:, :-1])


def all_features(
    num_units: int, inputs: Float[np.ndarray, "points r"], amplitude: float, activation: Activation
) -> Float[np.ndarray, "n points"]:
    """φ at points of these coordinates; `InputError` where some are not finite.

    >>> all_features(64, np.eye(2), 0.5, identity).shape
    (64, 2)
    """
    features = np.empty((num_units, len(inputs)))
    size = block_size(num_units, max(inputs.shape))
    for i, (_, z) in enumerate(gaussian_blocks(num_units, inputs.shape[1], size)):
        features[i * size : (i + 1) * size] = features_at(z, inputs, amplitude, activation)
    if not np.isfinite(features).all():
        raise InputError(
            f"{activation.name} is not finite at some hidden units: look for inputs that are too "
            "large, or an activation that overflows"
        )
    return features


@partial(jax.jit, static_argnames=("activation",))
def features_at(
    z: Float[Array, "m r"],
    inputs: Float[Array, "points r"],
    amplitude: Float[Array, ""] | float,
    activation: Activation,
) -> Float[Array, "m points"]:
    """φ of units of the coordinates z: amplitude σ(inputs·z).

    >>> features_at(np.ones((1, 2)), np.eye(2), 0.5, identity).tolist()
    [[0.5, 0.5]]
    """
    return amplitude * activation(z @ inputs.T)
