"""The effective action of one hidden layer, and its global minimum.

With Q the order parameter, K the Gram matrix at Q = 1 with eigenvalues e_i, ỹ the targets in its
eigenbasis and N_1 the width,

    S(Q) = N_1 (Q − 1 − log Q) + log det(T I + Q K) + yᵀ(T I + Q K)⁻¹y
         = N_1 (Q − 1 − log Q) + Σ_i log(T + Q e_i) + Σ_i ỹ_i²/(T + Q e_i)

(Pacelli et al. 2023, arXiv:2209.04882; Baglioni et al. 2024, arXiv:2401.11004; their Q̄ at its
saddle point). exp(−S/2) is the weight of Q in d(log Q), so everything here is a function of
q = log Q.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

__all__ = ["OneLayerAction", "SaddlePoint", "minima", "minimise"]

Numbers = float | Float[np.ndarray, "*n"]
_SCAN_SPACING = 0.125  # in q; each term of S varies over a range of one or more
_MAX_ITERATIONS = 200
_TOLERANCE = 1e-13


@dataclass(frozen=True, eq=False)
class OneLayerAction:
    """S as a function of q = log Q, a number or an array, with its first two derivatives in q.

    Args:
        width: N_1.
        temperature: T; zero where every eigenvalue is positive.
        eigenvalues: e, shape (P,).
        projected_targets: ỹ, shape (P,).

    With e = (1,), y = (1,), T = 0 and N_1 = 1, S = Q − 1 − log Q + log Q + 1/Q = Q − 1 + 1/Q:

    >>> import numpy as np
    >>> action = OneLayerAction(1, 0.0, np.ones(1), np.ones(1))
    >>> [float(f(np.log(2.0)).round(12)) for f in (action.value, action.gradient, action.curvature)]
    [1.5, 1.5, 2.5]
    """

    width: int
    temperature: float
    eigenvalues: Float[np.ndarray, " P"]
    projected_targets: Float[np.ndarray, " P"]

    def value(self, q: Numbers) -> Numbers:
        """S(q)."""
        _, spectrum = self._spectrum(q)
        prior = self.width * (np.expm1(q) - q)
        return prior + np.sum(np.log(spectrum) + self.projected_targets**2 / spectrum, axis=-1)

    def gradient(self, q: Numbers) -> Numbers:
        """dS/dq = N_1 (Q − 1) + Σ_i Q e_i/(T + Q e_i) − Σ_i ỹ_i² Q e_i/(T + Q e_i)²."""
        return self.width * np.expm1(q) + np.sum(self._slopes(q), axis=-1)

    def curvature(self, q: Numbers) -> Numbers:
        """d²S/dq² = N_1 Q + Σ_i T Q e_i/(T + Q e_i)² − Σ_i ỹ_i² Q e_i (T − Q e_i)/(T + Q e_i)³."""
        signal, spectrum = self._spectrum(q)
        noise = self.temperature
        misfit = self.projected_targets**2 * (noise - signal) / spectrum
        return self.width * np.exp(q) + np.sum(signal / spectrum**2 * (noise - misfit), axis=-1)

    def bracket(self) -> tuple[float, float]:
        """An interval of q that holds every minimum of S: dS/dq < 0 below it, > 0 above it.

        Above: Q e/(T + Q e)² ≤ min(1/(4T), 1/(Q e)), so dS/dq > 0 for
        Q > 1 + Σ_i ỹ_i² min(1/(4T), 1/e_i)/N_1. Below, where Q < 1: if T > 0, the first two terms
        of dS/dq are at most N_1 (Q − 1) + Q Σ_i e_i/T; if T = 0, it is N_1 (Q − 1) + P − P s/Q
        with s = Σ_i ỹ_i²/(P e_i). The lower end is −∞ if there is no minimum, which takes y = 0,
        T = 0 and P ≥ N_1.
        """
        noise, num_train = self.temperature, self.eigenvalues.size
        with np.errstate(divide="ignore"):
            weights = np.minimum(np.divide(0.25, noise), np.divide(1.0, self.eigenvalues))
            misfit = np.sum(self.projected_targets**2 * weights)
            if noise > 0:
                lowest = 1 / (1 + np.sum(self.eigenvalues) / (noise * self.width))
            else:
                lowest = min(1.0, max(misfit / num_train, 1 - num_train / self.width))
            return float(np.log(lowest) - 0.1), float(np.log1p(misfit / self.width) + 0.1)

    def gradient_rounding(self, q: float) -> float:
        """How far rounding may put `gradient(q)` off."""
        terms = self.width * (1 + np.exp(q)) + np.sum(np.abs(self._slopes(q)))
        return float(8 * np.finfo(np.float64).eps * terms)

    def _slopes(self, q: Numbers) -> Float[np.ndarray, "*n P"]:
        """The terms of dS/dq that belong to the eigenvalues."""
        signal, spectrum = self._spectrum(q)
        return signal / spectrum * (1 - self.projected_targets**2 / spectrum)

    def _spectrum(self, q: Numbers) -> tuple[Float[np.ndarray, "*n P"], Float[np.ndarray, "*n P"]]:
        """Q e_i and T + Q e_i."""
        signal = np.multiply.outer(np.exp(q), self.eigenvalues)
        return signal, self.temperature + signal


@dataclass(frozen=True)
class SaddlePoint:
    """The order parameter at the lowest minimum of an action.

    `value` is Q*, `action` S(Q*), `iterations` the Newton and bisection steps taken at that
    minimum, `converged` whether log Q* is known to 1e-13 or, where that is less, to rounding;
    `message` says why not, or that there were several minima.
    """

    value: float
    action: float
    iterations: int
    converged: bool
    message: str = ""


def minimise(action: OneLayerAction) -> SaddlePoint:
    """The global minimum of S: a scan for the sign changes of dS/dq, Newton's method in each.

    Each change from minus to plus brackets a minimum. Newton's method starts where the chord
    between the two crosses zero; steps that leave the bracket are replaced by bisection. The
    lowest minimum wins.

    At T = 0, Q* = [(1 − α) + √((1 − α)² + 4 α s)]/2 with α = P/N_1 and s = yᵀK⁻¹y/P; here
    α = 1/2 and s = 4:

    >>> import numpy as np
    >>> saddle = minimise(OneLayerAction(4, 0.0, np.ones(2), np.full(2, 2.0)))
    >>> print(f"{saddle.value:.12f} {(0.5 + np.sqrt(0.25 + 8)) / 2:.12f}")
    1.686140661635 1.686140661635
    """
    found = minima(action)
    if not found:
        reason = "the action has no minimum: with y = 0, T = 0 and P ≥ N_1 it falls as Q → 0"
        return SaddlePoint(np.nan, np.nan, iterations=0, converged=False, message=reason)
    best = min(found, key=lambda saddle: saddle.action)
    if len(found) == 1:
        return best
    values = ", ".join(f"{saddle.value:.6g}" for saddle in found)
    several = f"the action has {len(found)} minima (Q = {values}): the lowest is taken"
    return replace(best, message="; ".join(filter(None, (best.message, several))))


def minima(action: OneLayerAction) -> list[SaddlePoint]:
    """Every minimum of S, in the order of Q; none if y = 0, T = 0 and P ≥ N_1. See `minimise`."""
    lowest, highest = action.bracket()
    if lowest == -np.inf:
        return []
    grid = np.linspace(lowest, highest, 2 + int((highest - lowest) / _SCAN_SPACING))
    slopes = np.asarray(action.gradient(grid))
    starts = np.flatnonzero((slopes[:-1] < 0) & (slopes[1:] >= 0))
    return [_refine(action, float(grid[i]), float(grid[i + 1])) for i in starts]


def _refine(action: OneLayerAction, lower: float, upper: float) -> SaddlePoint:
    """The minimum between `lower`, where dS/dq < 0, and `upper`, where it is not."""
    below, above = float(action.gradient(lower)), float(action.gradient(upper))
    q = lower + (upper - lower) * below / (below - above)
    step = upper - lower
    for iteration in range(1, _MAX_ITERATIONS + 1):
        slope, curvature = float(action.gradient(q)), float(action.curvature(q))
        lower, upper = (q, upper) if slope < 0 else (lower, q)
        newton = q - slope / curvature if curvature > 0 else np.inf
        following = newton if lower <= newton <= upper else 0.5 * (lower + upper)
        step, q = abs(following - q), following
        rounding = action.gradient_rounding(q) / abs(curvature) if curvature else 0.0
        if step <= max(_TOLERANCE, rounding):
            return SaddlePoint(float(np.exp(q)), float(action.value(q)), iteration, converged=True)
    return SaddlePoint(
        float(np.exp(q)),
        float(action.value(q)),
        _MAX_ITERATIONS,
        converged=False,
        message=f"log Q still moved by {step:.1e} after {_MAX_ITERATIONS} iterations",
    )
