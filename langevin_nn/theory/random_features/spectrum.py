"""Spectrum of the covariance of random features in the limit of many of all.

For features Z_μi = σ(W_i·x_μ/√N_0) of centred σ (P examples, N_1 features, N_0 inputs), Σ = ZᵀZ/P
and G(z) = Tr (z − Σ)⁻¹/N_1. With ψ = N_0/N_1, φ = N_0/P, η = E σ², ζ = (E zσ)² and t = 1/(zψ),

    G = (ψ A + 1 − ψ)/z,    A = 1 + (η − ζ) t A_φ A_ψ + ζ t A_φ A_ψ/(1 − ζ t A_φ A_ψ)
    A_φ = 1 + (A − 1)φ,     A_ψ = 1 + (A − 1)ψ,       ρ(λ) = −Im G(λ + i0)/π

(Pennington and Worah 2017, "Nonlinear random matrix theory for deep learning"). A is a root of a
quartic (a cubic for linear σ, a quadratic, Marchenko and Pastur's, for even σ). The physical one is
A → 1 as |z| → ∞; it is followed from there along Im z, with steps that are halved until the nearest
root is much nearer than any other.

A σ with a mean adds one large eigenvalue, near μ_0² N_1, that the density does not show: η stands
for its variance η_c throughout.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float

from langevin_nn.data.dataset import as_finite_numbers
from langevin_nn.theory.random_features.overlaps import FeatureMoments, feature_moments
from langevin_nn.types import Activation, InputError
from langevin_nn.values import require_positive

__all__ = ["FeatureSpectrum", "feature_spectrum"]

_START_DISTANCE = 1e6
"""|z| over the largest scale of Σ, where A is 1 to six digits."""
_ROOT_DISTANCE_RATIO = 0.2
"""The largest ratio of the distances to the nearest and to the second nearest root in a step."""


@dataclass(frozen=True)
class FeatureSpectrum:
    """The limit spectrum of ZᵀZ/P; made by `feature_spectrum`.

    `features` is N_1/N_0 and `examples` P/N_0.
    """

    moments: FeatureMoments
    features: float | int
    examples: float | int

    @property
    def atom(self) -> float:
        """The part of the eigenvalues that are zero: 1 − P/N_1, of a linear σ 1 − min(P, N_0)/N_1.

        Where this is negative, none is zero.
        """
        rank = self.examples
        if self.moments.nonlinear_power == 0:
            rank = min(rank, 1.0)
        return max(0.0, 1 - rank / self.features)

    def resolvent(self, z: complex | float | np.ndarray) -> Complex[np.ndarray, " n"]:
        """The resolvent G(z) = Tr (z − Σ)⁻¹/N_1 off the positive real axis.

        Raises `InputError` for z that is zero or on it, or is no finite number, or a row of them.
        """
        parts = getattr(z, "real", z), getattr(z, "imag", 0.0)
        real, imag = (as_finite_numbers("z", part) for part in parts)
        points = np.atleast_1d(np.asarray(real + 1j * imag, np.complex128))
        if points.ndim > 1:
            raise InputError(f"z must be a number or a row of numbers, got shape {points.shape}")
        if np.any((points.imag == 0) & (points.real >= 0)):
            raise InputError(
                "the resolvent is that of z off the positive real axis: write density for the "
                "eigenvalues there"
            )
        return self._followed(points)

    def density(
        self, eigenvalues: float | np.ndarray, broadening: float = 1e-10
    ) -> Float[np.ndarray, " n"]:
        """ρ(λ), without the atom at zero: −Im G(λ + iε)/π.

        ε is `broadening` times the largest scale of Σ.
        """
        points = np.atleast_1d(as_finite_numbers("eigenvalues", eigenvalues))
        broadening = require_positive("broadening", broadening)
        resolvent = self.resolvent(points + 1j * broadening * self._scale)
        away = np.abs(points) > 0
        atom = self.atom * broadening * self._scale / np.where(away, points, np.inf) ** 2
        return np.maximum(-resolvent.imag - atom, 0) / np.pi

    @property
    def _scale(self) -> float:
        """A scale above the largest eigenvalue of Σ."""
        grown = (1 + np.sqrt(self.features / self.examples)) ** 2
        return self.moments.centred_power * float(grown * (1 + np.sqrt(self.features)) ** 2)

    def _followed(self, z: Complex[np.ndarray, " n"]) -> Complex[np.ndarray, " n"]:
        """G at all points, followed side by side along rays from far above (far left for z < 0)."""
        direction = np.where(z.imag != 0, 1j * np.sign(z.imag), -1.0)
        distance = _START_DISTANCE * self._scale
        root, share = np.ones_like(z), 0.5
        nearest = 1e-3 * np.min(np.abs(z))
        while distance > 0:
            following = distance * share if distance * share > nearest else 0.0
            roots = self._roots(z + direction * following)
            gaps = np.sort(np.abs(roots - root[:, None]), axis=1)
            clear = gaps.shape[1] == 1 or np.all(gaps[:, 0] <= _ROOT_DISTANCE_RATIO * gaps[:, 1])
            if clear or share > 1 - 1e-6:
                chosen = np.argmin(np.abs(roots - root[:, None]), axis=1)
                root, distance = roots[np.arange(len(z)), chosen], following
                share = max(share**2, 0.25)
            else:
                share = np.sqrt(share)
        psi = 1 / self.features
        return (psi * root + 1 - psi) / z

    def _roots(self, z: Complex[np.ndarray, " n"]) -> Complex[np.ndarray, "n roots"]:
        """All A at each z, from u(1 − ζq) − (η − ζ)q(1 − ζq) − ζq = 0, q = t(1 + φu)(1 + ψu)."""
        psi, phi = 1 / self.features, 1 / self.examples
        eta, zeta = self.moments.centred_power, self.moments.linear_power
        t = 1 / (z * psi)
        factor = np.array([phi * psi, phi + psi, 1.0])  # of q, the highest power first
        q = t[:, None] * factor
        polynomial = np.zeros((len(z), 5), np.complex128)
        polynomial += (
            zeta * self.moments.nonlinear_power * (t**2)[:, None] * np.polymul(factor, factor)
        )
        polynomial[:, 1:4] -= zeta * q
        polynomial[:, 2:5] -= eta * q
        polynomial[:, 3] += 1
        polynomial = polynomial[:, np.flatnonzero(np.abs(polynomial).max(axis=0) > 0)[0] :]
        degree = polynomial.shape[1] - 1
        companion = np.zeros((len(z), degree, degree), np.complex128)
        companion[:, 0] = -polynomial[:, 1:] / polynomial[:, :1]
        companion[:, np.arange(1, degree), np.arange(degree - 1)] = 1
        roots = np.linalg.eigvals(companion)
        powers = np.arange(degree, 0, -1)
        for _ in range(3):  # Newton's method: eigenvalues of the companion matrix are rounded
            value, steep = np.zeros_like(roots), np.zeros_like(roots)
            for k in range(degree + 1):
                value = value * roots + polynomial[:, k, None]
                if k < degree:
                    steep = steep * roots + powers[k] * polynomial[:, k, None]
            move = value / np.where(steep == 0, np.inf, steep)
            roots = roots - np.where(np.abs(move) < 1e-6 * (1 + np.abs(roots)), move, 0)
        return 1 + roots


def feature_spectrum(
    activation: Activation, features: float | int, examples: float | int
) -> FeatureSpectrum:
    """The spectrum of the features' covariance ZᵀZ/P.

    Args:
        activation: σ; its mean is subtracted.
        features: N_1/N_0.
        examples: P/N_0.

    Raises `InputError` for numbers that are not positive and σ that does not vary.

    >>> spectrum = feature_spectrum(tanh, 5.0, 5.0)
    >>> print(f"{-spectrum.resolvent(-0.1)[0].real:.6f}")  # Tr (Σ + 0.1)⁻¹/N_1
    6.900161
    """
    for name, value in (("features", features), ("examples", examples)):
        require_positive(name, value)
    return FeatureSpectrum(feature_moments(activation), features, examples)
