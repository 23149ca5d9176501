"""The effective action of one common scale Q of the Gram matrix, and its global minimum.

With K the Gram matrix at Q = 1, e_i its eigenvalues, ỹ the targets in its eigenbasis, V the columns
that Q does not scale (`regression.eigenbasis`; none without a bias of the read-out), and
A = T I + Q K + V Vᵀ,

    S(Q) = p(Q) + log det A + yᵀA⁻¹y
         = p(Q) + Σ_i log(T + Q e_i) + Σ_i ỹ_i²/(T + Q e_i) + (terms of V)

and p(Q) = N_1 (Q − 1 − log Q) for one hidden layer (Pacelli et al. 2023, arXiv:2209.04882; Baglioni
et al. 2024, arXiv:2401.11004; their Q̄ at its saddle point). For L layers that share the scale
Q = Q_1 ⋯ Q_L (the Wishart ansatz of arXiv:2605.29684), p is the least Σ_ℓ N_ℓ (Q_ℓ − 1 − log Q_ℓ)
at that product: Q_ℓ = 1 + u/N_ℓ, with one u, and u = dp/d(log Q).

exp(−S/2) is the weight of Q in d(log Q), so everything here is a function of q = log Q.
"""

from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from langevin_nn.theory.saddles import low_rank
from langevin_nn.theory.saddles.low_rank import ColumnTerms, Numbers

__all__ = ["Action", "SaddlePoint", "ScaleAction", "minima", "minimise"]

_SCAN_SPACING = 0.25  # in q; each term of S varies over a range of one or more
_MAX_ITERATIONS = 200
_TOLERANCE = 1e-13


@runtime_checkable
class Action(Protocol):
    """A function S of one number q that falls far to the left and rises far to the right.

    `minima` takes any: `ScaleAction` and `one_layer_nonodd.NonOddAction` are two.
    """

    def value(self, q: Numbers) -> Numbers:
        """S(q), of the shape of q."""
        ...

    def gradient(self, q: Numbers) -> Numbers:
        """dS/dq, of the shape of q."""
        ...

    def curvature(self, q: Numbers) -> Numbers:
        """d²S/dq², of the shape of q."""
        ...

    def bracket(self) -> tuple[float, float]:
        """An interval of q, the lower end first, that holds every minimum of S."""
        ...

    def gradient_rounding(self, q: float) -> float:
        """How far rounding may put `gradient(q)` off."""
        ...


@dataclass(frozen=True, eq=False)
class ScaleAction:
    """S as a function of q = log Q, a number or an array, with its first two derivatives in q.

    Args:
        widths: N_1 … N_L of the layers whose scales multiply to Q.
        temperature: T; zero where every eigenvalue is positive.
        eigenvalues: e, shape (P,); those that are zero are best left out (`Regression.resolved`),
            where all that they add is a constant.
        projected_targets: ỹ, shape (P,).
        projected_columns: V in the eigenbasis, shape (P, r).

    With e = (1,), y = (1,), T = 0 and N_1 = 1, S = Q − 1 − log Q + log Q + 1/Q = Q − 1 + 1/Q:

    >>> action = ScaleAction((1,), 0.0, np.ones(1), np.ones(1))
    >>> [float(f(np.log(2.0)).round(12)) for f in (action.value, action.gradient, action.curvature)]
    [1.5, 1.5, 2.5]
    """

    widths: tuple[int, ...]
    temperature: float
    eigenvalues: Float[np.ndarray, " P"]
    projected_targets: Float[np.ndarray, " P"]
    projected_columns: Float[np.ndarray, "P r"] = field(default_factory=lambda: np.zeros((0, 0)))

    def value(self, q: Numbers) -> Numbers:
        """S(q) = p(q) + log det A + yᵀA⁻¹y."""
        return self.prior(q) + self.misfit(q)

    def prior(self, q: Numbers) -> Numbers:
        """p(q) = Σ_ℓ N_ℓ (Q_ℓ − 1 − log Q_ℓ)."""
        logs = self._log_orders(q)
        return sum(n * (np.expm1(log) - log) for n, log in zip(self.widths, logs, strict=True))

    def misfit(self, q: Numbers) -> Numbers:
        """log det A + yᵀA⁻¹y, that is −2 log N(y; 0, A) − P log 2π."""
        _, spectrum = self._spectrum(q)
        without_columns = np.sum(np.log(spectrum) + self.projected_targets**2 / spectrum, axis=-1)
        if not self.projected_columns.size:
            return without_columns
        return without_columns + low_rank.value(self._columns(q))

    def gradient(self, q: Numbers) -> Numbers:
        """dS/dq = u + Σ_i Q e_i/(T + Q e_i) − Σ_i ỹ_i² Q e_i/(T + Q e_i)²; u = N_1 (Q − 1)."""
        of_columns = (
            low_rank.first_derivative(self._columns(q)) if self.projected_columns.size else 0.0
        )
        return self.multiplier(q) + np.sum(self._slopes(q), axis=-1) + of_columns

    def curvature(self, q: Numbers) -> Numbers:
        """d²S/dq² = du/dq + Σ_i T Q e_i/(T + Q e_i)² − Σ_i ỹ_i² Q e_i (T − Q e_i)/(T + Q e_i)³."""
        u = self.multiplier(q)
        return 1 / sum(1 / (width + u) for width in self.widths) + self.misfit_curvature(q)

    def misfit_curvature(self, q: Numbers) -> Numbers:
        """d²/dq² of `misfit`, the part of d²S/dq² that the prior has no share in."""
        signal, spectrum = self._spectrum(q)
        misfit = self.projected_targets**2 * (self.temperature - signal) / spectrum
        without_columns = np.sum(signal / spectrum**2 * (self.temperature - misfit), axis=-1)
        if not self.projected_columns.size:
            return without_columns
        return without_columns + low_rank.second_derivative(self._columns(q))

    def orders(self, q: float) -> tuple[float, ...]:
        """Q_1 … Q_L = 1 + u/N_ℓ, whose product is exp(q)."""
        return tuple(float(np.exp(log)) for log in self._log_orders(q))

    def multiplier(self, q: Numbers) -> Numbers:
        """u = N_ℓ (Q_ℓ − 1) of each layer ℓ, which is dp/dq."""
        return self.widths[0] * np.expm1(self._log_orders(q)[0])

    def _log_orders(self, q: Numbers) -> list[Numbers]:
        """log Q_ℓ with Σ_ℓ log Q_ℓ = q and one N_ℓ (Q_ℓ − 1): q itself for one layer.

        In v = log Q of the narrowest layer the sum is convex with a slope of at least one, so that
        Newton's method from the right falls onto the root.
        """
        if len(self.widths) == 1:
            return [q]
        ratios = [min(self.widths) / width for width in self.widths]
        goal = np.asarray(q, np.float64)
        v = np.maximum(goal, 0.0)
        for _ in range(_MAX_ITERATIONS):
            total = sum(_log_order(ratio, v) for ratio in ratios)
            slope = sum(ratio * np.exp(v - _log_order(ratio, v)) for ratio in ratios)
            step = (total - goal) / slope
            v = v - step
            if np.all(np.abs(step) <= 1e-15 * (1 + np.abs(v))):
                break
        return [_log_order(ratio, v) for ratio in ratios]

    def bracket(self) -> tuple[float, float]:
        """An interval of q that holds every minimum of S: dS/dq < 0 below it, > 0 above it.

        dS/dq = u + tr A⁻¹QK − aᵀQK a with a = A⁻¹y. Above, where Q ≥ 1: aᵀQK a is at most
        |y|²/(4T) and at most Σ_i ỹ_i²/(T + e_i), so dS/dq > 0 once u exceeds the smaller one.
        Below, where Q < 1 and u < 0: if T > 0, tr A⁻¹QK ≤ Q Σ_i e_i/T with Q ≤ 1 + u/N_min; if
        T = 0, it is at most P, while aᵀK a ≥ s_⊥/Q, the least of (y − Vβ)ᵀK⁻¹(y − Vβ)/Q over β. The
        lower end is −∞ if there is no minimum, which takes s_⊥ = 0, T = 0 and P ≥ N_min.
        """
        temperature, num_train = self.temperature, self.eigenvalues.size
        smallest = min(self.widths)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            squares = self.projected_targets**2
            misfit = min(
                self._least_misfit(temperature), np.sum(squares) * np.divide(0.25, temperature)
            )
            if temperature > 0:
                # log Q_min by itself: Q_min − 1 would round to −1
                spread = np.log(np.sum(self.eigenvalues)) - np.log(temperature) - np.log(smallest)
                log_least = -np.logaddexp(0.0, spread)
                lowest = sum(_log_order(smallest / width, log_least) for width in self.widths)
            else:
                highest = self._log_scale(-num_train) if num_train < smallest else -np.inf
                unexplained = self._unexplained() / max(num_train, 1)
                lowest = min(0.0, max(np.log(unexplained), highest))
            return float(lowest - 0.1), float(self._log_scale(misfit) + 0.1)

    def gradient_rounding(self, q: float) -> float:
        """How far rounding may put `gradient(q)` off."""
        terms = sum(self.widths) * (1 + np.exp(q)) + np.sum(np.abs(self._slopes(q)))
        return float(8 * np.finfo(np.float64).eps * terms)

    def _log_scale(self, multiplier: float | int) -> float:
        return float(sum(np.log1p(multiplier / width) for width in self.widths))

    def _least_misfit(self, temperature: float) -> float:
        spectrum = temperature + self.eigenvalues
        return float(np.sum(np.divide(self.projected_targets**2, spectrum)))

    def _unexplained(self) -> float:
        """s_⊥ = yᵀK⁻¹y less what the columns alone can explain, at T = 0."""
        misfit = self._least_misfit(0.0)
        if not self.projected_columns.size:
            return misfit
        weighted = self.projected_columns / self.eigenvalues[:, None]
        projections = weighted.T @ self.projected_targets
        explained = (
            projections @ np.linalg.lstsq(weighted.T @ self.projected_columns, projections)[0]
        )
        return max(misfit - float(explained), 0.0)

    def _slopes(self, q: Numbers) -> Float[np.ndarray, "*n P"]:
        """The terms of dS/dq that belong to the eigenvalues."""
        signal, spectrum = self._spectrum(q)
        return signal / spectrum * (1 - self.projected_targets**2 / spectrum)

    def _spectrum(self, q: Numbers) -> tuple[Float[np.ndarray, "*n P"], Float[np.ndarray, "*n P"]]:
        """Q e_i and T + Q e_i."""
        signal = np.multiply.outer(np.exp(q), self.eigenvalues)
        return signal, self.temperature + signal

    def _columns(self, q: Numbers) -> ColumnTerms:
        return ColumnTerms.of(*self._spectrum(q), self.projected_targets, self.projected_columns)


def _log_order(ratio: float, v: Numbers) -> Numbers:
    """log(1 + r (eᵛ − 1)), which is v for r = 1."""
    return v if ratio == 1 else np.log1p(ratio * np.expm1(v))


@dataclass(frozen=True)
class SaddlePoint:
    """The order parameter at the lowest minimum of an action, as `minimise` finds it.

    `value` is Q*, `action` S(Q*), `iterations` the Newton and bisection steps taken at that
    minimum, `converged` whether log Q* is known to 1e-13 or, where that is less, to rounding;
    `message` says why not, or that there were several minima.
    """

    value: float
    action: float
    iterations: int
    converged: bool
    message: str = ""


def minimise(action: Action) -> SaddlePoint:
    """The global minimum of S: a scan for the sign changes of dS/dq, Newton's method in each.

    Each change from minus to plus brackets a minimum. Newton's method starts where the chord
    between the two crosses zero; steps that leave the bracket are replaced by bisection. The
    lowest minimum wins.

    At T = 0, Q* = [(1 − α) + √((1 − α)² + 4 α s)]/2 with α = P/N_1 and s = yᵀK⁻¹y/P; here
    α = 1/2 and s = 4:

    >>> saddle = minimise(ScaleAction((4,), 0.0, np.ones(2), np.full(2, 2.0)))
    >>> print(f"{saddle.value:.12f} {(0.5 + np.sqrt(0.25 + 8)) / 2:.12f}")
    1.686140661635 1.686140661635
    """
    saddles = minima(action)
    if not saddles:
        reason = (
            "the action has no minimum: with T = 0, no signal in the targets beyond what biases "
            "explain, and at least N_1 directions of the Gram matrix, it falls as Q → 0"
        )
        return SaddlePoint(np.nan, np.nan, iterations=0, converged=False, message=reason)
    best = min(saddles, key=lambda saddle: saddle.action)
    if len(saddles) == 1:
        return best
    values = ", ".join(f"{saddle.value:.6g}" for saddle in saddles)
    several = f"the action has {len(saddles)} minima (Q = {values}): the lowest is taken"
    return replace(best, message="; ".join(filter(None, (best.message, several))))


def minima(action: Action) -> list[SaddlePoint]:
    """Every minimum of S, in the order of Q; none if y = 0, T = 0 and P ≥ N_1 (see `minimise`).

    Fifty directions without a signal pull Q down, one of a small eigenvalue pulls it up:

    >>> eigenvalues, targets = np.r_[1e-4, np.ones(50)], np.r_[3.0, np.zeros(50)]
    >>> [saddle.value > 1 for saddle in minima(ScaleAction((5,), 1e-3, eigenvalues, targets))]
    [False, True]
    """
    lowest, highest = action.bracket()
    if lowest == -np.inf:
        return []
    grid = np.linspace(lowest, highest, 2 + int((highest - lowest) / _SCAN_SPACING))
    slopes = np.asarray(action.gradient(grid))
    starts = np.flatnonzero((slopes[:-1] < 0) & (slopes[1:] >= 0))
    return [_refine(action, float(grid[i]), float(grid[i + 1])) for i in starts]


def _refine(action: Action, lower: float, upper: float) -> SaddlePoint:
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
