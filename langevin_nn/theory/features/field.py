"""The self-consistent field of all units but one: a fixed point in its mean a and covariance B.

From a and B come q = φᵀBφ/N_1 and u = φᵀa of each unit of the sample, from these the units'
weights (`response`), and from averages with these the next a and B. The state of the iteration is
the vector (q, u, a); its norm is that of the changes of q/(1 + q) and u/√(N_1 (1 + q)), which are
those of the logarithms of the weights, averaged over the weighted units.

With D outputs a has P D numbers. B is the same for each of them, and none between two, where it is
given as one block (P, P); else it has D × D blocks, and q (D, D).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float

from langevin_nn.theory.features.fixed_point import fixed_point
from langevin_nn.theory.features.outputs import repeated, solved_by
from langevin_nn.theory.features.response import Response, response_of
from langevin_nn.theory.features.units import Units

__all__ = ["Field", "Update", "about_the_iteration", "solve_field"]

MOST_STEPS = 150
TOLERANCE = 1e-7
"""The norm of the last change at which the field is self-consistent."""

Update = Callable[
    [Response, Float[np.ndarray, " m"]], tuple[Float[np.ndarray, " m"], Float[np.ndarray, "k k"]]
]
"""From the units' response and a to the next a and the lower Cholesky factor of the next B⁻¹."""


class Field(NamedTuple):
    """A self-consistent field, and the units' q, u and response in it; made by `solve_field`.

    `factor` is the lower Cholesky factor of B⁻¹, q is 1 × 1 where B is the same for each output.
    """

    a: Float[np.ndarray, " m"]
    factor: Float[np.ndarray, "k k"]
    q: Float[np.ndarray, "n blocks blocks"]
    u: Float[np.ndarray, "n D"]
    response: Response
    residual: float
    num_steps: int

    @property
    def converged(self) -> bool:
        """Whether the iteration has ended."""
        return self.residual <= TOLERANCE


def solve_field(
    units: Units,
    y: Float[np.ndarray, " m"],
    noise: Float[np.ndarray, "k k"],
    width: int,
    update: Update,
) -> Field:
    """The field that `update` leaves as it is, from that of infinite width on.

    `y` are the targets, one output after the other, and `noise` is T, and the bias's part, in one
    block or in as many as there are outputs.

    A field of infinite width, B = (T + K)⁻¹ and a = B y, whatever the units' response is:

    >>> from langevin_nn.theory.features.samples import draw_units
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
    factor = scipy.linalg.cholesky(
        noise + repeated(units.gram, len(noise) // len(units.gram)), lower=True
    )
    a = solved_by(factor, y)

    def state(a: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return units.quadratic_form(factor) / width, units.outputs(a), a

    first_q, first_u, _ = start = state(a, factor)
    blocks, copies, end = first_q.shape[1], first_u.shape[1], first_q.size

    def parts(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        q = x[:end].reshape(num, blocks, blocks)
        if blocks == 1:
            q = np.maximum(q, 0.0)
        return q, x[end:-size].reshape(num, copies), x[-size:]

    def step(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        q, u, a = parts(x)
        response = response_of(q, u, width)
        mean_q = np.maximum(np.trace(q, axis1=1, axis2=2) / blocks, 0.0)
        of_q, of_u = response.weights / (1 + mean_q) ** 2, response.weights / (width * (1 + mean_q))
        norm = [np.repeat(of_q, blocks**2), np.repeat(of_u, copies), np.zeros(size)]
        return _joined(*state(*update(response, a))), np.concatenate(norm)

    found = fixed_point(step, _joined(*start), tolerance=TOLERANCE, most_steps=MOST_STEPS)
    q, u, a = parts(found.point)
    response = response_of(q, u, width)
    residual = found.residual
    try:
        a, factor = update(response, a)
    except np.linalg.LinAlgError:  # the sample is no distribution there
        residual = np.inf
    return Field(a, factor, q, u, response, residual, found.num_steps)


def _joined(*arrays: Float[np.ndarray, "..."]) -> Float[np.ndarray, " m"]:
    return np.concatenate([array.ravel() for array in arrays])


def about_the_iteration(field: Field) -> str:
    """The message that the iteration has not ended; "" where it has.

    >>> nothing = np.zeros(1)
    >>> response = response_of(0.0, nothing, 1)
    >>> form = np.zeros((1, 1, 1))
    >>> about_the_iteration(Field(nothing, np.eye(1), form, form[0], response, 0.25, 150))
    'no self-consistent field found in 150 steps: units change by 0.25 in the last of them'
    """
    if field.converged:
        return ""
    return (
        f"no self-consistent field found in {field.num_steps} steps: units change by "
        f"{field.residual:.2g} in the last of them"
    )
