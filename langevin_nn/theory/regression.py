"""Gaussian regression on the eigenvalues of the Gram matrix: the one place that factorises it.

For f ~ GP(0, Q K), y = f(X) + √T noise, and K(X, X) = U diag(e) Uᵀ with ỹ = Uᵀy and projected
cross block G = K(X_test, X) U,

    mean(x) = Σ_i Q G_xi ỹ_i/(T + Q e_i),   variance(x) = Q K(x, x) − Σ_i (Q G_xi)²/(T + Q e_i)

(Rasmussen and Williams 2006, eqs. 2.25 and 2.26, in the eigenbasis.) So one decomposition serves
every scale Q and temperature T, and with Q λ_L/λ' for Q every other read-out precision λ'.

Where the covariance is Q K + V Vᵀ with a few columns V that Q does not scale (the bias of the
read-out), A⁻¹ = D − D V H⁻¹VᵀD with D = (T + Q e)⁻¹ and H = 1 + VᵀD V. Then w = V_x − Q G D V
is what regression without V leaves of V at the test points, and mean gains w H⁻¹VᵀD ỹ, variance
gains w H⁻¹wᵀ (their section 2.7, with a unit Gaussian prior of the basis functions' weights).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from langevin_nn.theory.gram import GramBlocks
from langevin_nn.types import InputError

__all__ = ["Regression", "Scale", "decompose"]

Scale = float | Float[np.ndarray, " scales"]
_NEGATIVE = 1e-6  # of the largest eigenvalue: more than any quadrature error


class _Columns(NamedTuple):
    """What the columns V add: H⁻¹VᵀDỹ, H, w and D V, the scales last but in H."""

    weights: Float[np.ndarray, " r *scales"]
    core: Float[np.ndarray, "*scales r r"]
    left_over: Float[np.ndarray, " P_test r *scales"]
    resolved: Float[np.ndarray, " P r *scales"]


@dataclass(frozen=True, eq=False)
class Regression:
    """A decomposed Gram matrix, with the targets and the test points in its eigenbasis.

    Made by `decompose`. In its methods, `temperature` is T in units of f² and `scale` is Q: each a
    number, or an array of shape (scales,) that becomes the last axis of the result.
    """

    eigenvalues: Float[np.ndarray, " P"]
    eigenvectors: Float[np.ndarray, "P P"]
    projected_targets: Float[np.ndarray, " P *D"]
    projected_cross: Float[np.ndarray, "P_test P"]
    test_diagonal: Float[np.ndarray, " P_test"]
    projected_columns: Float[np.ndarray, "P r"]
    test_columns: Float[np.ndarray, "P_test r"]

    @property
    def resolution(self) -> float:
        """P ε e_max: eigenvalues below this are rounding errors."""
        epsilon = np.finfo(np.float64).eps
        return float(self.eigenvalues.size * epsilon * self.eigenvalues[-1])

    @property
    def num_outputs(self) -> int:
        """D."""
        return 1 if self.projected_targets.ndim == 1 else self.projected_targets.shape[1]

    def per_output(self) -> "list[Regression]":
        """The same Gram matrix with the targets of one output each."""
        columns = self.projected_targets.reshape(self.eigenvalues.size, -1).T
        return [replace(self, projected_targets=targets) for targets in columns]

    def scaled(self, factor: float) -> "Regression":
        """The regression with factor·K in place of K, as another read-out precision makes it."""
        return replace(
            self,
            eigenvalues=factor * self.eigenvalues,
            projected_cross=factor * self.projected_cross,
            test_diagonal=factor * self.test_diagonal,
        )

    def check_temperature(self, temperature: Scale) -> None:
        """Raise `InputError` where T I + K is singular to rounding, as with T = 0 and a double."""
        smallest, largest = self.eigenvalues[[0, -1]]
        if smallest + np.min(temperature) <= self.resolution:
            raise InputError(
                f"temperature {np.min(temperature):g} needs a regular Gram matrix, and this one is "
                f"singular (eigenvalues from {smallest:.3g} to {largest:.3g}; repeated inputs, or "
                "a linear network with more examples than inputs): give a higher temperature"
            )

    def mean(self, temperature: Scale, scale: Scale = 1.0) -> Float[np.ndarray, "P_test ..."]:
        """Posterior mean of f at the test points."""
        gain = self._gain(temperature, scale)
        mean = self.projected_cross @ self._along_targets(gain)
        if self.projected_columns.size:
            added = self._columns(gain, temperature, scale)
            mean = mean + np.einsum("xr...,r...->x...", added.left_over, added.weights)
        return mean

    def variance(self, temperature: Scale, scale: Scale = 1.0) -> Float[np.ndarray, "P_test ..."]:
        """Posterior variance of f, without the noise T, at the test points."""
        gain = self._gain(temperature, scale)
        explained = np.square(self.projected_cross) @ (gain * scale)
        variance = np.multiply.outer(self.test_diagonal, scale) - explained
        if self.projected_columns.size:
            added = self._columns(gain, temperature, scale)
            variance = variance + _weighed(added.core, added.left_over)
        return np.maximum(variance, 0.0)

    def train_error(self, temperature: Scale, scale: Scale = 1.0) -> Scale:
        """⟨(y − f)²⟩ averaged over the training examples: residual² of the mean plus variance.

        In the eigenbasis, (1/P) Σ_i [(ỹ_i T/(T + Q e_i))² + T Q e_i/(T + Q e_i)]; the columns make
        T A⁻¹ỹ of the first and add T² tr H⁻¹VᵀD²V.
        """
        gain = self._gain(temperature, scale)
        fitted = (gain.T * self.eigenvalues).T
        residuals, spread = self._along_targets(1 - fitted), temperature * fitted
        if self.projected_columns.size:
            added = self._columns(gain, temperature, scale)
            residuals = residuals - temperature * np.einsum(
                "pr...,r...->p...", added.resolved, added.weights
            )
            spread = spread + temperature**2 * _weighed(added.core, added.resolved)
        return np.mean(residuals**2 + spread, axis=0)

    def criterion(self) -> float | None:
        """s = yᵀK⁻¹y/P at Q = 1, of all outputs; None where K is singular to rounding.

        Below 1, finite width lowers the one-hidden-layer theory's Q, hence its variance, at T → 0
        (Pacelli et al. 2023, arXiv:2209.04882). The bias of the read-out is part of K here.
        """
        if self.eigenvalues[0] <= self.resolution:
            return None
        total = 0.0
        for one in self.per_output():
            solved = one.projected_targets / one.eigenvalues
            added = one.projected_columns.T @ solved
            explained = added @ np.linalg.solve(one._core(1 / one.eigenvalues), added)
            total += float(one.projected_targets @ solved - explained)
        return total / (self.eigenvalues.size * self.num_outputs)

    def sensitivity(
        self, temperature: float, scales: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]
    ) -> Float[np.ndarray, "P P"]:
        """Σ_j w_j ½ (a_j a_jᵀ − A_j⁻¹), A_j = T + Q_j K + V Vᵀ, a_j = A_j⁻¹y.

        With weights of sum one it is the average of ∂ log N(y; 0, A)/∂A over the scales Q_j.
        """
        gain = self._gain(temperature, scales)
        resolvent = gain / scales
        fit = self._along_targets(resolvent)
        inner = np.diag(-resolvent @ weights)
        if self.projected_columns.size:
            added = self._columns(gain, temperature, scales)
            fit = fit - np.einsum("prn,rn->pn", added.resolved, added.weights)
            solved = np.linalg.solve(added.core, added.resolved.T)
            inner += np.einsum("prn,nrq,n->pq", added.resolved, solved, weights)
        inner += (fit * weights) @ fit.T
        return 0.5 * self.eigenvectors @ inner @ self.eigenvectors.T

    def _gain(self, temperature: Scale, scale: Scale) -> Float[np.ndarray, "P ..."]:
        """Q/(T + Q e_i)."""
        self.check_temperature(temperature)
        return scale / (temperature + np.multiply.outer(self.eigenvalues, scale))

    def _along_targets(self, factors: Float[np.ndarray, "P ..."]) -> Float[np.ndarray, "P ..."]:
        return (factors.T * self.projected_targets).T

    def _core(self, resolvent: Float[np.ndarray, "P ..."]) -> np.ndarray:
        """H = 1 + VᵀD V for D (P, …), the matrix axes last."""
        columns = self.projected_columns
        return np.eye(columns.shape[1]) + np.einsum(
            "pr,p...,ps->...rs", columns, resolvent, columns
        )

    def _columns(
        self, gain: Float[np.ndarray, "P ..."], temperature: Scale, scale: Scale
    ) -> _Columns:
        resolvent = gain / scale
        core = self._core(resolvent)
        seen = np.einsum("pr,p...->r...", self.projected_columns, self._along_targets(resolvent))
        resolved = np.einsum("pr,p...->pr...", self.projected_columns, resolvent)
        explained = np.einsum("xp,pr...->xr...", self.projected_cross, resolved) * scale
        around = self.test_columns.reshape(self.test_columns.shape + (1,) * np.ndim(scale))
        weights = np.linalg.solve(core, seen.T[..., None])[..., 0].T
        return _Columns(weights, core, around - explained, resolved)


def _weighed(
    core: Float[np.ndarray, "*scales r r"], rows: Float[np.ndarray, " n r *scales"]
) -> Float[np.ndarray, " n *scales"]:
    """b H⁻¹bᵀ for each row b."""
    return np.sum(rows.T * np.linalg.solve(core, rows.T), axis=-2).T


def decompose(blocks: GramBlocks, targets: Float[np.ndarray, " P *D"]) -> Regression:
    """Factorise K(X, X) once, O(P³) time, and project the targets and the cross block on it.

    Eigenvalues that rounding has made negative are set to zero.

    Args:
        blocks: the Gram matrix over training and test inputs.
        targets: y, shape (P,) or (P, D).

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
        projected_targets=eigenvectors.T @ targets,
        projected_cross=blocks.cross @ eigenvectors,
        test_diagonal=blocks.test_diagonal,
        projected_columns=eigenvectors.T @ blocks.train_columns,
        test_columns=blocks.test_columns,
    )
