"""Gaussian regression on the eigenvalues of the Gram matrix, which `factorise` has found.

For f ~ GP(0, Q K), y = f(X) + √T noise, and K(X, X) = U diag(e) Uᵀ with ỹ = Uᵀy and projected
cross block G = K(X_test, X) U,

    mean(x) = Σ_i Q G_xi ỹ_i/(T + Q e_i),   variance(x) = Q K(x, x) − Σ_i (Q G_xi)²/(T + Q e_i)

(Rasmussen and Williams 2006, eqs. 2.25 and 2.26, in the eigenbasis.) So one decomposition serves
every scale Q and temperature T, and with Q λ_L/λ' for Q every other read-out precision λ'.

Where the covariance is Q K + V Vᵀ with a few columns V that Q does not scale (the bias of the
read-out), A⁻¹ = D − D V H⁻¹VᵀD with D = (T + Q e)⁻¹ and H = 1 + VᵀD V. Then w = V_x − Q G D V
is what regression without V leaves of V at the test points, and mean gains w H⁻¹VᵀD ỹ, variance
gains w H⁻¹wᵀ (their section 2.7, with a unit Gaussian prior of the basis functions' weights).

A singular K (repeated inputs, or a linear network with more examples than inputs) has e_i = 0 for
some i, and then G_xi = 0 for every x: K(x, X) lies in the range of K(X, X). In floating point both
are rounding errors, which 1/T would multiply, so `factorise` sets both to zero where both are. Such
directions are noise alone: at T > 0 they add ỹ_i²/T + log T to −2 log p(y), whatever Q is. T = 0 is
the limit T → 0 of the posterior, in which they are dropped (1/e_i is that of the pseudo-inverse);
the log evidence has no limit there.

A nearly singular K (inputs at a distance δ) has e_i ~ δ², which rounding hides long before it hides
G_xi ~ δ: such a direction is kept. What it says at T above the rounding of e_i is right; below,
`resolvable` refuses, as it does wherever the rounding of K moves the answer.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from langevin_nn.data.dataset import as_finite_numbers
from langevin_nn.theory.regression.rounding import EPSILON, as_scales, require_scale
from langevin_nn.types import InputError, NotApplicable
from langevin_nn.values import require_not_negative, require_positive, shown

__all__ = ["Regression", "Resolved", "Scale", "Sensitivity"]

Scale = float | Float[np.ndarray, " scales"]


class Resolved(NamedTuple):
    """The r directions in which K does not vanish, and what the others add to −2 log p(y).

    Made by a `Regression` (see `factorise`); `constant` is Σ_i [log T + ỹ_i²/T] over the
    others, NaN at T = 0.
    """

    eigenvalues: Float[np.ndarray, " r"]
    projected_targets: Float[np.ndarray, " r *D"]
    projected_columns: Float[np.ndarray, "r columns"]
    constant: float


class Sensitivity(NamedTuple):
    """∂ log p/∂A on the range of K, on all directions, and its trace; made by a `Regression`.

    K changes on its range alone (see `factorise`): `of_gram` leaves out the directions in which K
    vanishes for all precisions, where `whole` is of order y²/T² and would meet rounding errors
    alone.
    """

    of_gram: Float[np.ndarray, "P P"]
    whole: Float[np.ndarray, "P P"]
    trace: float


class _Columns(NamedTuple):
    """What the columns V add: H⁻¹VᵀDỹ, H, w and D V, the scales last but in H."""

    weights: Float[np.ndarray, " r *scales"]
    core: Float[np.ndarray, "*scales r r"]
    left_over: Float[np.ndarray, " P_test r *scales"]
    resolved: Float[np.ndarray, " P r *scales"]


@dataclass(frozen=True, eq=False)
class Regression:
    """A decomposed Gram matrix, with the targets and the test points in its eigenbasis.

    Made by `factorise.decompose`. In its methods, `temperature` is T in units of f² and `scale` is
    Q: each a number, or an array of shape (scales,) that becomes the last axis of the result.
    `indefinite` is by how much the most negative eigenvalue was below zero, or may have been. Where
    a factor of K was known, eigenvalues are right to ε √(e_i e_max), and `beyond` is the part of
    K(x, x) that no G_xi sees, K(x, x) − Σ_i G_xi²/e_i; None where not.

    >>> blocks = GramBlocks(np.diag([1.0, 3.0]), cross=np.eye(2), test_diagonal=np.ones(2))
    >>> decompose(blocks, np.array([4.0, 4.0])).mean(temperature=1.0, scale=np.array([1.0, 5.0]))
    array([[2.        , 3.33333333],
           [1.        , 1.25      ]])
    """

    eigenvalues: Float[np.ndarray, " P"]
    eigenvectors: Float[np.ndarray, "P P"]
    projected_targets: Float[np.ndarray, " P *D"]
    projected_cross: Float[np.ndarray, "P_test P"]
    test_diagonal: Float[np.ndarray, " P_test"]
    projected_columns: Float[np.ndarray, "P r"]
    test_columns: Float[np.ndarray, "P_test r"]
    indefinite: float = 0.0
    beyond: Float[np.ndarray, " P_test"] | None = None

    @property
    def rounding(self) -> float:
        """The spectral norm of the error of K: 3 ε e_max, or more where quadrature is worse."""
        return max(3 * EPSILON * float(self.eigenvalues[-1]), self.indefinite)

    @property
    def in_range(self) -> Bool[np.ndarray, " P"]:
        """The eigenvectors that span the range of K: all of them unless it is singular."""
        return self.eigenvalues > 0

    @property
    def is_singular(self) -> bool:
        """Whether some eigenvalue of K is zero to rounding."""
        return not bool(np.all(self.in_range))

    @property
    def is_separable(self) -> bool:
        """Whether V, like K, vanishes in the null directions of K; True where K is regular."""
        return not np.any(self.projected_columns[~self.in_range])

    @property
    def num_outputs(self) -> int:
        """The number D of outputs."""
        return 1 if self.projected_targets.ndim == 1 else self.projected_targets.shape[1]

    def per_output(self) -> "list[Regression]":
        """The regressions of the outputs one by one, all with this Gram matrix."""
        columns = self.projected_targets.reshape(self.eigenvalues.size, -1).T
        return [replace(self, projected_targets=targets) for targets in columns]

    def scaled(self, factor: float) -> "Regression":
        """The regression with K times a factor, as of another read-out precision λ_L: K ∝ 1/λ_L."""
        factor = require_positive("factor", factor)
        if factor == 1:
            return self
        require_scale(factor * self.eigenvalues)
        return replace(
            self,
            eigenvalues=factor * self.eigenvalues,
            projected_cross=factor * self.projected_cross,
            test_diagonal=factor * self.test_diagonal,
            indefinite=factor * self.indefinite,
            beyond=None if self.beyond is None else factor * self.beyond,
        )

    def check_temperature(self, temperature: Scale) -> None:
        """Raise `InputError` at T = 0 where V alone explains directions in which K vanishes.

        T and K that are both too small for float64 raise it too (`rounding.require_scale`).
        """
        temperature, _ = as_scales(temperature)
        require_scale(self.eigenvalues, float(np.min(temperature)))
        if np.min(temperature) > 0 or self.is_separable:
            return
        raise InputError(
            "temperature 0 needs a regular Gram matrix where the network has biases or its "
            f"features a mean, and this one is singular ({np.sum(~self.in_range)} of "
            f"{self.eigenvalues.size} eigenvalues are 0; repeated inputs, or more examples than a "
            "linear network has inputs): give a higher temperature"
        )

    def reach(
        self, temperature: float, scale: float
    ) -> tuple[Float[np.ndarray, " r *D"], Float[np.ndarray, "P_test r"]]:
        """A⁻¹y and A⁻¹K(X, x) for each x, both in the directions in which K does not vanish."""
        temperature, scale = as_scales(require_not_negative("temperature", temperature), scale)
        gain = self._gain(temperature, scale)
        fits, solved_cross = [], self.projected_cross * gain
        for output in self.per_output():
            fits.append(output._along_targets(gain / scale))
            if self.projected_columns.size:
                of_columns = output._columns(gain, temperature, scale)
                fits[-1] = fits[-1] - of_columns.resolved @ of_columns.weights
        if self.projected_columns.size:
            solved_cross = solved_cross + of_columns.left_over @ np.linalg.solve(
                of_columns.core, of_columns.resolved.T
            )
        along = np.stack(fits, axis=-1).reshape(self.projected_targets.shape)
        return along[self.in_range], solved_cross[:, self.in_range]

    def resolved(self, temperature: float) -> Resolved:
        """What an action depends on: the directions in which K does not vanish.

        Where V does not vanish in the others, all directions are left, which takes T > 0.
        """
        self.check_temperature(require_not_negative("temperature", temperature))
        targets, columns = self.projected_targets, self.projected_columns
        if not self.is_singular or not self.is_separable:
            return Resolved(self.eigenvalues, targets, columns, 0.0)
        in_range, constant = self.in_range, np.nan
        if temperature > 0:
            null_targets = targets[~in_range]
            constant = float(
                null_targets.size * np.log(temperature) + np.sum(null_targets**2) / temperature
            )
        return Resolved(self.eigenvalues[in_range], targets[in_range], columns[in_range], constant)

    def mean(self, temperature: Scale, scale: Scale = 1.0) -> Float[np.ndarray, "P_test ..."]:
        """Posterior mean of f at the test points."""
        temperature, scale = as_scales(temperature, scale)
        gain = self._gain(temperature, scale)
        mean = self.projected_cross @ self._along_targets(gain)
        if self.projected_columns.size:
            of_columns = self._columns(gain, temperature, scale)
            mean = mean + np.einsum("xr...,r...->x...", of_columns.left_over, of_columns.weights)
        return mean

    def variance(self, temperature: Scale, scale: Scale = 1.0) -> Float[np.ndarray, "P_test ..."]:
        """Posterior variance of f, without the noise T, at the test points."""
        temperature, scale = as_scales(temperature, scale)
        gain = self._gain(temperature, scale)
        if self.beyond is None:
            explained = np.square(self.projected_cross) @ (gain * scale)
            variance = np.multiply.outer(self.test_diagonal, scale) - explained
        else:  # no difference of large numbers: 1 − Q e/(T + Q e) is T/(T + Q e)
            span = self.in_range
            inside = np.square(self.projected_cross[:, span] / np.sqrt(self.eigenvalues[span]))
            variance = inside @ (temperature * gain[span]) + np.multiply.outer(self.beyond, scale)
        if self.projected_columns.size:
            of_columns = self._columns(gain, temperature, scale)
            variance = variance + _weighed(of_columns.core, of_columns.left_over)
        return np.maximum(variance, 0.0)

    def train_error(self, temperature: Scale, scale: Scale = 1.0) -> Scale:
        """⟨(y − f)²⟩ averaged over the training examples: residual² of the mean plus variance.

        In the eigenbasis, (1/P) Σ_i [(ỹ_i T/(T + Q e_i))² + T Q e_i/(T + Q e_i)]; the columns make
        T A⁻¹ỹ of the first and add T² tr H⁻¹VᵀD²V.
        """
        temperature, scale = as_scales(temperature, scale)
        gain = self._gain(temperature, scale)
        fitted = (gain.T * self.eigenvalues).T
        residuals, spread = self._along_targets(1 - fitted), temperature * fitted
        if self.projected_columns.size:
            of_columns = self._columns(gain, temperature, scale)
            residuals = residuals - temperature * np.einsum(
                "pr...,r...->p...", of_columns.resolved, of_columns.weights
            )
            spread = spread + temperature**2 * _weighed(of_columns.core, of_columns.resolved)
        return np.mean(residuals**2 + spread, axis=0)

    def criterion(self) -> float | None:
        """s = yᵀK⁻¹y/P at Q = 1, of all outputs; None where K is singular to rounding.

        Below 1, finite width lowers the one-hidden-layer theory's Q, hence its variance, as T → 0
        (Pacelli et al. 2023, arXiv:2209.04882). At the ensemble's own T, and with biases, which are
        a part of K here, `criterion_at` says so.
        """
        if self.is_singular:
            return None
        total = 0.0
        for output in self.per_output():
            solved = output.projected_targets / output.eigenvalues
            projections = output.projected_columns.T @ solved
            explained = projections @ np.linalg.solve(
                output._core(1 / output.eigenvalues), projections
            )
            total += float(output.projected_targets @ solved - explained)
        return total / (self.eigenvalues.size * self.num_outputs)

    def criterion_at(self, temperature: float) -> float | None:
        """yᵀA⁻¹KA⁻¹y/tr A⁻¹K with A = T + K + V Vᵀ, of all outputs.

        None where K vanishes, or is lost in the rounding of V Vᵀ.

        dS/dQ of the theory of one common scale (`saddles.scale`) is tr A⁻¹K − yᵀA⁻¹KA⁻¹y at Q = 1,
        whatever the widths: where S has one minimum, Q* > 1 exactly if the ratio is above 1, and
        the variance is then above that of infinite width. Without biases it becomes s = yᵀK⁻¹y/P
        as T → 0 (with the rank for P, and the pseudo-inverse, where K is singular).

        >>> blocks = GramBlocks(np.eye(2), cross=np.ones((1, 2)), test_diagonal=np.ones(1))
        >>> decompose(blocks, np.array([3.0, 1.0])).criterion_at(1.0)  # 10/(1 + T)²/(2/(1 + T))
        2.5
        """
        temperature = require_not_negative("temperature", temperature)
        if not np.any(self.in_range):
            return None
        gain = self._gain(temperature, 1.0)
        misfit = trace = 0.0
        for output in self.per_output():
            fit = output._along_targets(gain)
            trace += float(gain @ self.eigenvalues)
            if output.projected_columns.size:
                of_columns = output._columns(gain, temperature, 1.0)
                fit = fit - of_columns.resolved @ of_columns.weights
                solved = np.linalg.solve(of_columns.core, of_columns.resolved.T)
                trace -= float(np.sum(of_columns.resolved.T * solved * self.eigenvalues))
            misfit += float(self.eigenvalues @ fit**2)
        return misfit / trace if trace > 0 else None

    def sensitivity(
        self, temperature: float, scales: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]
    ) -> Sensitivity:
        """Σ_j w_j ½ (a_j a_jᵀ − A_j⁻¹), A_j = T + Q_j K + V Vᵀ, a_j = A_j⁻¹y.

        With weights of sum one it is the average of ∂ log N(y; 0, A)/∂A over the scales Q_j.

        Raises:
            NotApplicable: T = 0 and a singular K, where the log evidence has no limit.
        """
        temperature = require_not_negative("temperature", temperature)
        weights = as_finite_numbers("weights", weights)
        if np.shape(scales) != weights.shape or weights.ndim != 1:
            raise InputError(f"scales and weights are rows of one length, got {shown(scales)}")
        _, scales = as_scales(temperature, scales)
        if temperature == 0 and self.is_singular:
            raise NotApplicable(
                "the log evidence has no limit at T = 0 where the Gram matrix is singular: give a "
                "temperature above 0"
            )
        gain = self._gain(temperature, scales)
        resolvent = gain / scales
        fit = self._along_targets(resolvent)
        inner = np.diag(-resolvent @ weights)
        if self.projected_columns.size:
            of_columns = self._columns(gain, temperature, scales)
            fit = fit - np.einsum("prn,rn->pn", of_columns.resolved, of_columns.weights)
            solved = np.linalg.solve(of_columns.core, of_columns.resolved.T)
            inner += np.einsum("prn,nrq,n->pq", of_columns.resolved, solved, weights)
        inner += (fit * weights) @ fit.T

        def in_inputs(directions: Any) -> Float[np.ndarray, "P P"]:
            vectors = self.eigenvectors[:, directions]
            return 0.5 * vectors @ inner[directions][:, directions] @ vectors.T

        if not self.is_singular:
            whole = in_inputs(slice(None))
            return Sensitivity(whole, whole, float(np.trace(whole)))
        of_gram = in_inputs(self.in_range)
        if not self.is_separable:
            whole = in_inputs(slice(None))
            return Sensitivity(of_gram, whole, float(np.trace(whole)))
        null_targets = self.projected_targets[~self.in_range]
        beside = np.sum((null_targets / temperature) ** 2) - null_targets.size / temperature
        trace = float(np.trace(of_gram) + 0.5 * np.sum(weights) * beside)
        return Sensitivity(of_gram, of_gram, trace)

    def _gain(self, temperature: Scale, scale: Scale) -> Float[np.ndarray, "P ..."]:
        """Q/(T + Q e_i); zero where K and V vanish, which nothing but the noise sees."""
        self.check_temperature(temperature)
        spectrum = temperature + np.multiply.outer(self.eigenvalues, scale)
        if not self.is_singular or not self.is_separable:
            return scale / spectrum
        mask = self.in_range.reshape(-1, *(1,) * (spectrum.ndim - 1))
        return np.divide(scale, spectrum, out=np.zeros_like(spectrum), where=mask)

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
        """What the columns V add to mean and variance, for Q/(T + Q e) in `gain`."""
        resolvent = gain / scale
        core = self._core(resolvent)
        projections = np.einsum(
            "pr,p...->r...", self.projected_columns, self._along_targets(resolvent)
        )
        resolved = np.einsum("pr,p...->pr...", self.projected_columns, resolvent)
        explained = np.einsum("xp,pr...->xr...", self.projected_cross, resolved) * scale
        around = self.test_columns.reshape(self.test_columns.shape + (1,) * np.ndim(scale))
        weights = np.linalg.solve(core, projections.T[..., None])[..., 0].T
        return _Columns(weights, core, around - explained, resolved)


def _weighed(
    core: Float[np.ndarray, "*scales r r"], rows: Float[np.ndarray, " n r *scales"]
) -> Float[np.ndarray, " n *scales"]:
    """b H⁻¹bᵀ for each row b, with H in `core`."""
    return np.sum(rows.T * np.linalg.solve(core, rows.T), axis=-2).T
