"""The dual of the slope of an activation with kinks, E[σ'(u)σ'(v)], by the jumps of its slope.

With σ' = m + Σ_j Δ_j H(u − t_j), m continuous and H the step, and the coefficients m_k and h_k of
both parts in orthonormal Hermite polynomials of z = u/√a,

    E[σ'(u)σ'(v)] = Σ_k (m_k m_k' + m_k h_k' + h_k m_k') ρ^k + Σ_ij Δ_i Δ_j P(u > t_i, v > t_j),

where h_k = Σ_j Δ_j E[H(z − τ_j) He_k(z)], τ = t/√a. Mehler's sum of the steps alone would converge
as 1/√K at ρ = 1; P is Owen's (1956), by his function T. What is left of m without the kinks that it
has at the t_j is smooth enough for the trapezoidal rule; for a piecewise linear σ it is a constant.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float

from langevin_nn.model.derivative import derivative_along
from langevin_nn.model.jumps import jumps_of

__all__ = ["Kink", "kinks_of", "slope_of", "slopes_of_kinked"]

Numbers = Float[np.ndarray, "..."]
Function = Callable[[Array], Array]
Rule = tuple[np.ndarray, np.ndarray, np.ndarray]

_BESIDE = 1e-9
"""The distance from a kink at which the slope is that of one side, in units of its place."""
_SMALLEST_TERM = 1e-13
"""In units of the root of E[m²]: coefficients below it are the quadrature's rounding."""
_NUMBERS_AT_ONCE = 2**18  # 2 MiB


class Kink(NamedTuple):
    """A place where the slope of σ jumps by `change`, and the slope of the slope by `bend`."""

    place: float
    change: float
    bend: float


def slope_of(function: Function, z: Numbers) -> Numbers:
    """σ'(z) of an elementwise function, whatever rules of derivatives it has.

    >>> slope_of(jnp.square, np.array([0.0, 3.0]))
    array([0., 6.])
    """
    return np.asarray(_slope(function)(jnp.asarray(z, jnp.zeros(()).dtype)), np.float64)


def kinks_of(function: Function) -> tuple[Kink, ...]:
    """The kinks of σ in [−8, 8], ascending.

    Changes of the slope below 10⁻³ of the largest slope are none (`jumps`).

    >>> kinks_of(lambda z: jnp.clip(z, -1.0, 1.0))
    (Kink(place=-1.0, change=1.0, bend=0.0), Kink(place=1.0, change=-1.0, bend=0.0))
    >>> kinks_of(jnp.tanh)
    ()
    """
    places = np.array(jumps_of(lambda z: slope_of(function, np.asarray(z))))
    if not places.size:
        return ()
    aside = _BESIDE * np.maximum(1.0, np.abs(places))
    changes, bends = (
        slope_of(derivative, places + aside) - slope_of(derivative, places - aside)
        for derivative in (function, _slope(function))
    )
    return tuple(map(Kink, places.tolist(), changes.tolist(), bends.tolist()))


def _slope(function: Function) -> Function:
    return lambda z: derivative_along(function, z, jnp.ones_like(z))


def slopes_of_kinked(
    function: Function,
    kinks: tuple[Kink, ...],
    rule: Rule,
    a: Float[np.ndarray, "... P 1"],
    b: Float[np.ndarray, "... 1 P2"],
    c: Float[np.ndarray, "... P P2"],
) -> Float[np.ndarray, "... P P2"]:
    """E[σ'(u)σ'(v)] of σ with these kinks; 0 where a variance is 0.

    Args:
        function: σ.
        kinks: those of σ, as `kinks_of` has them.
        rule: nodes (n,), weights (n,) and weighted Hermite polynomials (K, n) of a quadrature under
            N(0, 1).
        a: variances of u.
        b: variances of v.
        c: covariances.
    """
    positive = [np.where(variance > 0, variance, 1.0) for variance in (a, b)]
    left, right = (_Side.of(function, kinks, rule, variance) for variance in positive)
    values = np.empty(c.shape)
    height = max(1, _NUMBERS_AT_ONCE // max(1, c.size // c.shape[-2]))
    for start in range(0, c.shape[-2], height):
        rows = (..., slice(start, start + height), slice(None))
        values[rows] = _slopes(left.at(rows), right, c[rows], kinks)
    return np.where((a > 0) & (b > 0), values, 0.0)


class _Side(NamedTuple):
    """The coefficients m_k and h_k for the variances of one side, k first, and the variances."""

    smooth: Float[np.ndarray, "K ..."]
    steps: Float[np.ndarray, "K ..."]
    variances: Numbers

    @classmethod
    def of(
        cls, function: Function, kinks: tuple[Kink, ...], rule: Rule, variances: Numbers
    ) -> "_Side":
        nodes, weights, table = rule
        roots = np.sqrt(variances.ravel())
        u = nodes[:, None] * roots
        for kink in kinks:  # m is continuous: its value beside a kink is that at the kink
            aside = _BESIDE * max(1.0, abs(kink.place))
            u = np.where(np.abs(u - kink.place) < aside, kink.place + 2 * aside, u)
        rest = np.array(slope_of(function, u))
        for kink in kinks:
            rest -= kink.change * (u > kink.place)
            rest -= kink.bend * np.maximum(u - kink.place, 0.0)
        smooth, steps = table @ rest, np.zeros((len(table), roots.size))
        for kink in kinks:
            of_step = _of_step(kink.place / roots, len(table))
            steps += kink.change * of_step
            smooth += kink.bend * roots * _of_ramp(kink.place / roots, of_step)
        smooth[np.abs(smooth) <= _SMALLEST_TERM * np.sqrt(weights @ rest**2)] = 0.0
        num_terms = 1 + int(np.max(np.nonzero(np.any(smooth, axis=1))[0], initial=0))
        smooth, steps = (
            terms[:num_terms].reshape(num_terms, *variances.shape) for terms in (smooth, steps)
        )
        return cls(smooth, steps, variances)

    def at(self, rows: Any) -> "_Side":
        return _Side(*(part[rows] for part in self))

    def term(self, k: int) -> tuple[Numbers | float, Numbers | float]:
        """m_k and h_k, both zero where m has no such term: then h_k counts by P alone."""
        return (self.smooth[k], self.steps[k]) if k < len(self.smooth) else (0.0, 0.0)


def _slopes(
    left: _Side, right: _Side, c: Float[np.ndarray, "... n P2"], kinks: tuple[Kink, ...]
) -> Float[np.ndarray, "... n P2"]:
    root, root_2 = np.sqrt(left.variances), np.sqrt(right.variances)
    rho = np.clip(c / (root * root_2), -1.0, 1.0)
    total = np.zeros(rho.shape)
    for k in reversed(range(max(len(left.smooth), len(right.smooth)))):
        (m, h), (m_2, h_2) = left.term(k), right.term(k)
        total *= rho
        total += m * (m_2 + h_2) + h * m_2
    for kink in kinks:
        for other in kinks:
            both = _both_above(kink.place / root, other.place / root_2, rho)
            total += kink.change * other.change * both
    return total


def _of_step(tau: Float[np.ndarray, " n"], num_terms: int) -> Float[np.ndarray, "K n"]:
    """E[H(z − τ) He_k(z)], k < K: Φ(−τ), and φ(τ) He_{k−1}(τ)/√k."""
    rows = np.empty((num_terms, tau.size))
    rows[0] = scipy.special.ndtr(-tau)
    before, polynomial = np.zeros_like(tau), np.exp(-(tau**2) / 2) / np.sqrt(2 * np.pi)
    for k in range(1, num_terms):
        rows[k] = polynomial / np.sqrt(k)
        following = (tau * polynomial - np.sqrt(k - 1) * before) / np.sqrt(k)
        before, polynomial = polynomial, following
    return rows


def _of_ramp(
    tau: Float[np.ndarray, " n"], of_step: Float[np.ndarray, "K n"]
) -> Float[np.ndarray, "K n"]:
    """E[max(z − τ, 0) He_k(z)]: φ(τ) − τ Φ(−τ), and by parts that of the step before over √k."""
    rows = np.empty_like(of_step)
    rows[0] = np.exp(-(tau**2) / 2) / np.sqrt(2 * np.pi) - tau * of_step[0]
    rows[1:] = of_step[:-1] / np.sqrt(np.arange(1, len(of_step)))[:, None]
    return rows


def _both_above(tau: Numbers, tau_2: Numbers, rho: Numbers) -> Numbers:
    """P(x > τ, y > τ') of standard Gaussian x and y with the correlation ρ.

    >>> _both_above(np.zeros(2), np.zeros(2), np.array([0.5, 1.0])).round(6)  # ½ − θ/2π
    array([0.333333, 0.5     ])
    """
    tiny = np.finfo(np.float64).tiny  # stands for zero, whose quotients have a sign
    h, k = (np.where(t == 0, tiny, -t) for t in (tau, tau_2))
    root = np.sqrt((1 - rho) * (1 + rho))
    with np.errstate(all="ignore"):
        slants = [(other - rho * own) / (own * root) for own, other in ((h, k), (k, h))]
    halves = (scipy.special.ndtr(h) + scipy.special.ndtr(k) - (np.sign(h) != np.sign(k))) / 2
    slants = [np.where(np.isnan(slant), 0.0, slant) for slant in slants]  # of 0/0: x = y, or −y
    return halves - sum(map(scipy.special.owens_t, (h, k), slants))
