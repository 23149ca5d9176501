"""What theories whose order parameter is a matrix share."""

import numpy as np
from jaxtyping import Float

from langevin_nn.theory.saddles.scale import ScaleAction, minima

__all__ = []


def starting_scales(along: ScaleAction) -> list[float]:
    """Where to begin, as multiples of Q = 1: the minima of S along it."""
    return [saddle.value for saddle in minima(along)] or [1.0]


def rows_of(order: Float[np.ndarray, "D D"]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in order)
