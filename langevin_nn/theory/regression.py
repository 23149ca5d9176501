"""Gaussian regression on the eigenvalues of the Gram matrix: the one place that factorises it.

For f ~ GP(0, Q K), y = f(X) + √T noise, and K(X, X) = U diag(e) Uᵀ with ỹ = Uᵀy and projected
cross block G = K(X_test, X) U,

    mean(x) = Σ_i Q G_xi ỹ_i/(T + Q e_i),   variance(x) = Q K(x, x) − Σ_i (Q G_xi)²/(T + Q e_i)

(Rasmussen and Williams 2006, eqs. 2.25 and 2.26, in the eigenbasis.) So one decomposition serves
every scale Q and temperature T, and with Q λ_L/λ' for Q every other read-out precision λ'.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from langevin_nn.theory.gram import GramBlocks
from langevin_nn.types import InputError

__all__ = ["Regression", "Scale", "decompose"]

Scale = float | Float[np.ndarray, " scales"]
_NEGATIVE = 1e-6  # of the largest eigenvalue: more than any quadrature error


@dataclass(frozen=True, eq=False)
class Regression:
    """A decomposed Gram matrix, with the targets and the test points in its eigenbasis.

    Made by `decompose`. In its methods, `temperature` is T in units of f², and `scale` is Q: a
    number, or an array of shape (scales,) that becomes the last axis of the result.
    """

    eigenvalues: Float[np.ndarray, " P"]
    eigenvectors: Float[np.ndarray, "P P"]
    projected_targets: Float[np.ndarray, " P"]
    projected_cross: Float[np.ndarray, "P_test P"]
    test_diagonal: Float[np.ndarray, " P_test"]

    @property
    def resolution(self) -> float:
        """P ε e_max: eigenvalues below this are rounding errors."""
        epsilon = np.finfo(np.float64).eps
        return float(self.eigenvalues.size * epsilon * self.eigenvalues[-1])

    def check_temperature(self, temperature: float) -> None:
        """Raise `InputError` where T I + K is singular to rounding, as with T = 0 and a double."""
        smallest, largest = self.eigenvalues[[0, -1]]
        if smallest + temperature <= self.resolution:
            raise InputError(
                f"temperature {temperature:g} needs a regular Gram matrix, and this one is "
                f"singular (eigenvalues from {smallest:.3g} to {largest:.3g}; repeated inputs, or "
                "a linear network with more examples than inputs): give a higher temperature"
            )

    def mean(self, temperature: float, scale: Scale = 1.0) -> Float[np.ndarray, "P_test ..."]:
        """Posterior mean of f at the test points."""
        return self.projected_cross @ self._along_targets(self._gain(temperature, scale))

    def variance(self, temperature: float, scale: Scale = 1.0) -> Float[np.ndarray, "P_test ..."]:
        """Posterior variance of f, without the noise T, at the test points."""
        gain = self._gain(temperature, scale)
        explained = np.square(self.projected_cross) @ (gain * scale)
        return np.maximum(np.multiply.outer(self.test_diagonal, scale) - explained, 0.0)

    def train_error(self, temperature: float, scale: Scale = 1.0) -> Scale:
        """⟨(y − f)²⟩ averaged over the training examples: residual² of the mean plus variance.

        In the eigenbasis, (1/P) Σ_i [(ỹ_i T/(T + Q e_i))² + T Q e_i/(T + Q e_i)].
        """
        gain = self._gain(temperature, scale)
        fitted = (gain.T * self.eigenvalues).T
        residuals = self._along_targets(1 - fitted)
        return np.mean(residuals**2 + temperature * fitted, axis=0)

    def criterion(self) -> float | None:
        """s = yᵀK⁻¹y/P at Q = 1; None where the Gram matrix is singular to rounding.

        Below 1, finite width lowers the one-hidden-layer theory's Q, hence its variance, at T → 0
        (Pacelli et al. 2023, arXiv:2209.04882).
        """
        if self.eigenvalues[0] <= self.resolution:
            return None
        return float(np.mean(self.projected_targets**2 / self.eigenvalues))

    def _gain(self, temperature: float, scale: Scale) -> Float[np.ndarray, "P ..."]:
        """Q/(T + Q e_i)."""
        self.check_temperature(temperature)
        return scale / (temperature + np.multiply.outer(self.eigenvalues, scale))

    def _along_targets(self, factors: Float[np.ndarray, "P ..."]) -> Float[np.ndarray, "P ..."]:
        return (factors.T * self.projected_targets).T


def decompose(blocks: GramBlocks, targets: Float[np.ndarray, " P"]) -> Regression:
    """Factorise K(X, X) once, O(P³) time, and project the targets and the cross block on it.

    Eigenvalues that rounding has made negative are set to zero.

    Args:
        blocks: the Gram matrix over training and test inputs.
        targets: y, shape (P,).

    Raises:
        InputError: NaN or infinity in the Gram matrix, or one that is not positive semi-definite.

    >>> import numpy as np
    >>> from langevin_nn.theory.gram import GramBlocks
    >>> blocks = GramBlocks(2 * np.eye(2), cross=np.ones((1, 2)), test_diagonal=np.ones(1))
    >>> regression = decompose(blocks, np.array([3.0, 1.0]))
    >>> regression.mean(temperature=2.0), regression.variance(temperature=2.0)
    (array([1.]), array([0.5]))
    >>> regression.criterion()
    2.5
    """
    for name, block in vars(blocks).items():
        if not np.all(np.isfinite(block)):
            raise InputError(
                f"the Gram matrix ({name}) has {np.count_nonzero(~np.isfinite(block))} entries "
                f"that are not finite of {block.size}: look for inputs that are NaN or too large, "
                "or an activation that overflows"
            )
    eigenvalues, eigenvectors = np.linalg.eigh(blocks.train)
    if eigenvalues[0] < -_NEGATIVE * abs(eigenvalues[-1]):
        raise InputError(
            f"the Gram matrix is not positive semi-definite (eigenvalues from {eigenvalues[0]:.3g} "
            f"to {eigenvalues[-1]:.3g}): its activation's dual is not that of any function"
        )
    return Regression(
        eigenvalues=np.maximum(eigenvalues, 0.0),
        eigenvectors=eigenvectors,
        projected_targets=targets @ eigenvectors,
        projected_cross=blocks.cross @ eigenvectors,
        test_diagonal=blocks.test_diagonal,
    )
