"""The self-consistent field of all units but one: a fixed point in its mean a and covariance B.

From a and B come q = φᵀBφ/N_1 and u = φᵀa of each unit of the sample, from these the units'
weights (`response`), and from averages with these the next a and B. The state of the iteration is
the vector (q, u, a); its norm is that of the changes of q/(1 + q) and u/√(N_1 (1 + q)), which are
those of the logarithms of the weights, averaged over the weighted units.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float

from langevin_nn.theory.features.fixed_point import fixed_point
from langevin_nn.theory.features.response import Response, quadratic_form, response_of
from langevin_nn.theory.features.units import Units

__all__ = ["Field", "Update", "about_the_iteration", "solve_field"]

MOST_STEPS = 150
TOLERANCE = 1e-7
"""The norm of the last change at which the field is self-consistent."""

Update = Callable[
    [Response, Float[np.ndarray, " P"]], tuple[Float[np.ndarray, " P"], Float[np.ndarray, "P P"]]
]
"""From the units' response and a to the next a and the lower Cholesky factor of the next B⁻¹."""


class Field(NamedTuple):
    """A self-consistent field, and the units' q, u and response in it; made by `solve_field`.

    `factor` is the lower Cholesky factor of B⁻¹.
    """

    a: Float[np.ndarray, " P"]
    factor: Float[np.ndarray, "P P"]
    q: Float[np.ndarray, " n"]
    u: Float[np.ndarray, " n"]
    response: Response
    residual: float
    num_steps: int

    @property
    def converged(self) -> bool:
        """Whether the iteration has ended."""
        return self.residual <= TOLERANCE


def solve_field(
    units: Units,
    y: Float[np.ndarray, " P"],
    noise: Float[np.ndarray, "P P"],
    width: int,
    update: Update,
) -> Field:
    """The field that `update` leaves as it is, from that of infinite width on.

    A field of infinite width, B = (T + K)⁻¹ and a = B y, whatever the units' response is:

    >>> from langevin_nn.theory.features.units import draw_units
    >>> from langevin_nn.model.ensemble import Ensemble
    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=1.0)  # K = I
    >>> units = draw_units(Ensemble(spec, data), 64)
    >>> root = np.sqrt(2) * np.eye(2)
    >>> field = solve_field(units, data.y_train, np.eye(2), 100, lambda *_: (data.y_train / 2, root))
    >>> field.a, field.num_steps, field.converged
    (array([0.5, 0. ]), 1, True)
    """  # noqa: E501
    size, num = len(y), units.num_units

    def state(a: np.ndarray, factor: np.ndarray) -> np.ndarray:
        return np.concatenate([quadratic_form(units, factor) / width, units.features @ a, a])

    def parts(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.maximum(x[:num], 0.0), x[num:-size], x[-size:]

    def step(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        q, u, a = parts(x)
        response = response_of(q, u, width)
        weights = response.weights
        norm = np.concatenate([weights / (1 + q) ** 2, weights / (width * (1 + q)), np.zeros(size)])
        return state(*update(response, a)), norm

    factor = scipy.linalg.cholesky(noise + units.gram, lower=True)
    start = state(scipy.linalg.cho_solve((factor, True), y), factor)
    found = fixed_point(step, start, tolerance=TOLERANCE, most_steps=MOST_STEPS)
    q, u, a = parts(found.point)
    response = response_of(q, u, width)
    residual = found.residual
    try:
        a, factor = update(response, a)
    except np.linalg.LinAlgError:  # the sample is no distribution there
        residual = np.inf
    return Field(a, factor, q, u, response, residual, found.num_steps)


def about_the_iteration(field: Field) -> str:
    """The message that the iteration has not ended; "" where it has.

    >>> nothing = np.zeros(1)
    >>> response = response_of(0.0, nothing, 1)
    >>> about_the_iteration(Field(nothing, np.eye(1), nothing, nothing, response, 0.25, 150))
    'no self-consistent field found in 150 steps: units change by 0.25 in the last of them'
    """
    if field.converged:
        return ""
    return (
        f"no self-consistent field found in {field.num_steps} steps: units change by "
        f"{field.residual:.2g} in the last of them"
    )
