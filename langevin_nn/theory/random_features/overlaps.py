"""Random features' limit: the moments of σ, the root w, the overlaps of the replicas."""

import math
from dataclasses import dataclass
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from langevin_nn.model.precision import require_float64
from langevin_nn.types import Activation, InputError
from langevin_nn.values import require_kind

__all__ = [
    "FeatureMoments",
    "degrees_of_freedom",
    "factors",
    "feature_moments",
    "numerators",
    "order_parameters",
    "overlaps",
]


@dataclass(frozen=True)
class FeatureMoments:
    """Gaussian moments of an activation, z ~ N(0, 1); made by `feature_moments`.

    `mean` is μ_0 = E σ(z), `power` η = E σ(z)², `linear` μ_1 = E z σ(z). ζ = μ_1², μ_*² = η − μ_0²
    − ζ is what is neither constant nor linear in z.
    """

    mean: float
    power: float
    linear: float

    @property
    def centred_power(self) -> float:
        """η_c = η − μ_0², the variance of σ(z)."""
        return max(self.power - self.mean**2, 0.0)

    @property
    def linear_power(self) -> float:
        """ζ = μ_1²."""
        return self.linear**2

    @property
    def nonlinear_power(self) -> float:
        """μ_*² = η_c − ζ; rounding around zero is zero."""
        difference = self.centred_power - self.linear_power
        return difference if difference > 1e-13 * self.power else 0.0

    @property
    def linearity(self) -> float:
        """r = ζ/η, 1 for a linear activation and 0 for an even one (arXiv:2006.03509)."""
        return self.linear_power / self.power


def feature_moments(activation: Activation) -> FeatureMoments:
    """E σ, E σ² and E z σ by Gauss–Legendre quadrature on either side of zero.

    Exact to rounding for σ analytic there, with or without a kink or a jump at zero.

    Raises `InputError` for σ that vanishes or is constant, and with float64 switched off.

    >>> moments = feature_moments(relu)
    >>> print(f"{moments.mean:.7f} {moments.power:.7f} {moments.linear:.7f}")
    0.3989423 0.5000000 0.5000000
    >>> print(f"{moments.nonlinear_power:.8f}")
    0.09084506
    """
    require_float64()
    return _moments(require_kind("activation", activation, Activation, 'activation("erf")'))


@lru_cache(maxsize=64)
def _moments(activation: Activation) -> FeatureMoments:
    nodes, weights = np.polynomial.legendre.leggauss(300)
    z = 4.75 * (nodes + 1)  # to 9.5, beyond which the density is below 1e-20
    density = 4.75 * weights * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    right, left = (np.asarray(activation(jnp.asarray(points)), np.float64) for points in (z, -z))
    moments = FeatureMoments(
        mean=float((right + left) @ density),
        power=float((right**2 + left**2) @ density),
        linear=float((z * (right - left)) @ density),
    )
    if not moments.centred_power > 1e-12 * max(moments.power, np.finfo(np.float64).tiny):
        raise InputError(
            f"the activation {activation.name!r} does not vary: there are no features to regress on"
        )
    return moments


def degrees_of_freedom(moments: FeatureMoments, w: float) -> float:
    """g = p + a/(1 + a), over N_0, with p = μ_*² w and a = μ_1² w.

    A linear activation has no more of them than there are inputs (`random_features` has the rest):

    >>> round(degrees_of_freedom(feature_moments(identity), 1e9), 6)
    1.0
    """
    a = moments.linear_power * w
    return moments.nonlinear_power * w + a / (1 + a)


def order_parameters(
    moments: FeatureMoments, features: float | int, examples: float | int, ridge: float | int
) -> tuple[float, float, float]:
    """w, g and v = g/(ψ_2 − g) at the ridge λ_L T; the root is bracketed in log w.

    >>> w, g, v = order_parameters(feature_moments(identity), 1e9, 2.0, ridge=0.5)
    >>> print(f"{0.5 * w * (1 + w) / (2 + 2 * w - w):.6f} {abs(g / (2 - g) - v):.6f}")
    1.000000 0.000000
    """
    linear, nonlinear = moments.linear_power, moments.nonlinear_power
    smallest = min(features, examples)

    def excess(log_w: float) -> float:
        w = math.exp(log_w)
        g = degrees_of_freedom(moments, w)
        if g >= smallest:
            return 1.0
        return math.log(ridge * features * w) - math.log((features - g) * (examples - g))

    low = math.log(min(examples / ridge, smallest) / (linear + nonlinear)) - 2
    while excess(low) > 0:
        low -= 5
    high = low
    while excess(high) < 0:
        high += 5
    w = math.exp(brentq(excess, low, high, xtol=1e-14, rtol=1e-15))
    g = degrees_of_freedom(moments, w)
    # ψ_2 − g without cancelling where it is small, from the equation for w
    missing = ridge * features * w / (features - g) if examples <= features else examples - g
    return w, g, g / missing


def factors(p: float, a: float, psi1: float | int, psi2: float | int) -> tuple[float, float]:
    """B = E_1/E_0 and V = E_2/E_0 of Mei and Montanari's definition 1, with χ = −p, χζ² = −a.

    Nothing is learnt where both are zero:

    >>> factors(0.0, 0.0, 3.0, 2.0)
    (1.0, 0.0)
    """
    shared = p**2 * (1 + a) ** 3 + 2 * p * a * (1 + a)
    e0 = shared + a**2 * (1 - a) + (psi1 + psi2) * a**2 * (1 + a) - psi1 * psi2 * (1 + a) ** 3
    e1, e2 = numerators(p, a, psi1, psi2)
    return e1 / e0, e2 / e0


def numerators(p: float, a: float, psi1: float | int, psi2: float | int) -> tuple[float, float]:
    """E_1 and E_2 of Mei and Montanari's definition 1, with χ = −p, χζ² = −a.

    >>> numerators(0.5, 1.0, 3.0, 2.0)
    (-14.0, -10.0)
    """
    shared = p**2 * (1 + a) ** 3 + 2 * p * a * (1 + a)
    return -psi2 * (1 + a) * (p * a + psi1), -shared - (psi1 - 1) * a**3 - (psi1 + 1) * a**2


def overlaps(
    moments: FeatureMoments, psi1: float | int, psi2: float | int, ridge: float | int
) -> dict[int, float]:
    """Ψ_1 to Ψ_6. The replicas' saddle point is q = w/(ψ_1(ψ_2 − g)), r = q/(1 + μ_1² w).

    The off-diagonal elements of the replicas' matrices matter to first order in r_2, the overlap's
    fluctuation, alone: a function of the matrices has there the derivative of the same function of
    numbers, taken below by a complex step.

    >>> psi = overlaps(feature_moments(relu), 3.0, 2.0, ridge=0.02)
    >>> print(f"{psi[4]:.8f} {psi[5]:.8f} {psi[6]:.8f}")
    0.52955318 0.33424141 0.50102089
    """
    linear, nonlinear = moments.linear_power, moments.nonlinear_power
    w, g, thermal = order_parameters(moments, psi1, psi2, ridge)
    bias, noise = factors(nonlinear * w, linear * w, psi1, psi2)
    q = w * thermal / (g * psi1)
    r = q / (1 + linear * w)
    a, b = linear * psi1, linear * nonlinear * psi1**2
    s, k = 1 + a * r, psi1 * q * nonlinear
    t = 1 + k / s
    mx, mw = r / s, q / t
    curvature = 2 / r**2 + psi2 * a**2 * (4 * k / (s**3 * t) - 2 / s**2 - 2 * k**2 / (s**4 * t**2))

    def clean(mx: complex, mw: complex, n: complex) -> complex:
        dressed = n * (1 + b * mx * mw) ** 2 + (mx + b * mx**2 * mw) / psi2
        crossed = n * mw * (1 + b * mx * mw) + mx * mw / psi2
        own = mw / psi2 + b * mw**2 * n
        shared = linear**2 * dressed - 2 * linear**2 * nonlinear * psi1 * crossed
        return psi1**2 * psi2**2 * (shared + linear * nonlinear * own)

    def noisy(mx: complex, mw: complex) -> complex:
        inner = linear * mx + linear * b * mx**2 * mw - 2 * linear * nonlinear * psi1 * mx * mw
        return linear * psi1**2 * psi2 * (inner + nonlinear * mw)

    step = 1e-30j
    shifted = mx + step / s**2, mw + step * q * k * a / (s**2 * t**2)
    slope_n = (1 / s - a * mx) / s**2
    clean_slope = clean(*shifted, mx / s + step * slope_n).imag / 1e-30
    noisy_slope = noisy(*shifted).imag / 1e-30
    alone = (1 + b * mx * mw) * (1 + b * mx * mw - 2 * nonlinear * psi1 * mw)
    alone = linear**2 * alone + linear * nonlinear * b * mw**2
    first = linear * psi1 * psi2 * mx * (1 + b * mx * mw - psi1 * nonlinear * mw)
    return {
        1: first,
        2: bias - 1 + 2 * first,
        3: noise,
        4: 2 / curvature * clean_slope,
        5: 2 / curvature * noisy_slope,
        6: psi1**2 * psi2**2 * alone * mx**2,
    }
