"""The law of one hidden unit given the data, as theories of learned features have it: p(h).

A hidden unit's preactivations at the training inputs are h ~ N(0, C) under the prior,
C = X Xᵀ/(λ_0 N_0) + b_0, and follow p (`response`) in the posterior. p is known by a sample from
the prior with weights. Along a direction d (P,), dᵀh/√(dᵀC d) is a standard Gaussian before
learning; after it, units that code for the labels have a law that is wider, or of two peaks.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from langevin_nn.types import InputError
from langevin_nn.values import as_whole, require_array, shown

__all__ = ["UnitSample"]


@dataclass(frozen=True, eq=False)
class UnitSample:
    """A weighted sample of one hidden unit's preactivations: `Solution.units` makes it.

    Args:
        preactivations: h (n, P) of n units at the training inputs, drawn from the prior.
        weights: those of the unit's law p, (n,), which sum to one.
        covariance: C (P, P), of h under the prior.

    An average over p has a relative error of about 1/√(`effective_size`). For q = 0 p is the law of
    van Meegen and Sompolinsky 2024, arXiv:2406.16689.

    >>> units = UnitSample(np.array([[1.0], [-2.0]]), np.array([0.75, 0.25]), np.eye(1))
    >>> units.effective_size, units.moment(np.ones(1), 2)
    (1.6, 1.75)
    """

    preactivations: Float[np.ndarray, "n P"] = field(repr=False)
    weights: Float[np.ndarray, " n"] = field(repr=False)
    covariance: Float[np.ndarray, "P P"] = field(repr=False)

    @property
    def effective_size(self) -> float:
        """1/Σ w², the number of equal weights that average as well."""
        return float(1 / np.sum(self.weights**2))

    def along(self, direction: Float[np.ndarray, " P"]) -> Float[np.ndarray, " n"]:
        """dᵀh/√(dᵀC d) of each unit, of unit variance under the prior.

        Raises `InputError` for a direction that is not of P finite numbers, or that no h has.

        >>> units = UnitSample(np.eye(2), np.full(2, 0.5), 4 * np.eye(2))
        >>> units.along(np.array([1.0, 0.0]))
        array([0.5, 0. ])
        """
        d = np.asarray(require_array("direction", direction, len(self.covariance)), np.float64)
        if not np.isfinite(d).all():
            raise InputError("direction has numbers that are not finite: write data.y_train, say")
        variance = float(d @ self.covariance @ d)
        if variance <= 0:
            raise InputError("no unit varies along this direction: write another one")
        projected: np.ndarray = self.preactivations @ d / np.sqrt(variance)
        return projected

    def moment(self, direction: Float[np.ndarray, " P"], power: int) -> float:
        """E_p[xᵏ] of x = `along` the direction, for the power k ≥ 1; raises as `along`."""
        k = as_whole(power)
        if k is None or k < 1:
            raise InputError(f"power is a whole number from 1, got {shown(power)}")
        return float(self.weights @ self.along(direction) ** k)

    def density(
        self, direction: Float[np.ndarray, " P"], edges: Float[np.ndarray, " m"]
    ) -> Float[np.ndarray, " bins"]:
        """The mean of p's density of x = `along` the direction between neighbouring `edges`.

        Raises `InputError` for edges that do not rise, and as `along`.

        >>> units = UnitSample(np.array([[1.0], [-2.0]]), np.array([0.75, 0.25]), np.eye(1))
        >>> units.density(np.ones(1), np.array([-3.0, 0.0, 3.0]))
        array([0.08333333, 0.25      ])
        """
        ends = np.asarray(require_array("edges", edges, None), np.float64)
        if ends.size < 2 or not np.all(np.diff(ends) > 0):
            raise InputError("edges are two rising numbers or more: write np.linspace(-4, 4, 33)")
        found, _ = np.histogram(self.along(direction), ends, weights=self.weights)
        return found / np.diff(ends)
