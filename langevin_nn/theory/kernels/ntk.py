"""The tangent kernel (NTK) of the infinitely wide network, in float64: a loop over its layers.

At nearly equal inputs κ̇ = E[σ'(u)σ'(v)] of a σ with a kink falls linearly in the angle θ between
their preactivations, of which a, b, c keep no more than 1e-8: cos θ = c/√(ab) is quadratic in it.
So for relu θ itself is carried from layer to layer, to ε. For other σ with kinks κ̇ is known to 1e-8
there (`model.kinks`).
"""

import numpy as np
from jaxtyping import Float

from langevin_nn.covariances import Covariance
from langevin_nn.theory.kernels.layers import steps_of
from langevin_nn.theory.kernels.nngp import fields, require_finite
from langevin_nn.types import EnsembleSpec

__all__ = ["ntk", "ntk_diagonal", "ntk_uncertainty"]

_PARTS = ("rows", "columns", "between", "tangent", "angle")


def ntk(
    spec: EnsembleSpec, x: Float[np.ndarray, "P N_0"], x2: Float[np.ndarray, "P2 N_0"] | None = None
) -> Float[np.ndarray, "P P2"]:
    """The tangent kernel Θ = ⟨∇_θ f(x)·∇_θ f(x2)⟩ at infinite width, float64.

    With κ̇ = E[σ'(u)σ'(v)] and one more, for the bias, in each line if there are biases,

        Θ_0 = x·x2/N_0,   Θ_{ℓ+1} = κ(C_ℓ) + κ̇(C_ℓ) Θ_ℓ/λ_{ℓ+1},   C_0 = C, C_ℓ = K_ℓ + b_ℓ

    (Jacot et al. 2018, arXiv:1806.07572, theorem 1, in this parametrisation). Arguments and errors
    as for `nngp`; `NotApplicable` also for equal inputs and an activation that jumps, whose Θ is
    infinite there.

    >>> spec = EnsembleSpec(2, (100,), identity, prior_precisions=(1.0, 2.0), temperature=0.1)
    >>> ntk(spec, np.eye(2))  # x·x/N_0 (1/λ_0 + 1/λ_1)
    array([[0.75, 0.  ],
           [0.  , 0.75]])
    """
    rows = fields(spec, x)
    columns = [None] * len(rows) if x2 is None else fields(spec, x2)
    with np.errstate(all="ignore"):  # what is not finite is told
        tangents = [_tangent(spec, i, j) for i, j in zip(rows, columns, strict=True)]
        tangent = np.mean(tangents, axis=0)
    require_finite("the tangent kernel", tangent)
    return tangent


def ntk_diagonal(spec: EnsembleSpec, x: Float[np.ndarray, "P N_0"]) -> Float[np.ndarray, " P"]:
    """Θ(x, x) of each input, without the others of the matrix; errors as for `ntk`.

    >>> linear = EnsembleSpec(2, (100,), identity, prior_precisions=(1.0, 2.0), temperature=0.1)
    >>> ntk_diagonal(linear, np.array([[1.0, 0.0], [2.0, 0.0]]))
    array([0.75, 3.  ])
    """
    with np.errstate(all="ignore"):  # what is not finite is told
        squares = [np.einsum("pi,pi->p", row, row) for row in fields(spec, x)]
        diagonal = np.mean([_of_squares(spec, square)[0].tangent for square in squares], axis=0)
    require_finite("the tangent kernel", diagonal)
    return diagonal.ravel()


def ntk_uncertainty(spec: EnsembleSpec, x: Float[np.ndarray, "P N_0"]) -> float:
    """The rounding error of an entry of Θ, from that of the scalar products of the largest input.

    Θ of equal inputs, whose scalar product is wrong by ε, is off by about ε a times itself for erf
    units and preactivations of variance a: κ̇ falls as fast as the angle grows to 1/√a. Where the
    angle is carried from layer to layer, as for relu, it is not.

    >>> spec = EnsembleSpec(2, (100,), erf, prior_precisions=(1.0, 1.0), temperature=0.1)
    >>> small, large = (ntk_uncertainty(spec, size * np.ones((1, 2))) for size in (1.0, 1e3))
    >>> small < 1e-15, large > 1e-8
    (True, True)
    """
    squares = np.einsum("npi,npi->np", *(fields(spec, x),) * 2)
    largest = np.array([np.max(squares)])
    with np.errstate(all="ignore"):
        exact, moved = _of_squares(spec, largest, largest * (1 - np.finfo(np.float64).eps))
    return float(np.abs(exact.tangent - moved.tangent).item())


def _of_squares(
    spec: EnsembleSpec,
    squares: Float[np.ndarray, " P"],
    *products: Float[np.ndarray, " P"],
) -> list[Covariance]:
    """What the layers make of x·x of each input for itself, and of other products in its place."""
    found = []
    for product in (squares, *products):
        covariance = Covariance(
            rows=squares[:, None], columns=squares[:, None], between=product[:, None, None],
            tangent=0.0, angle=np.zeros((len(squares), 1, 1)),
        )  # fmt: skip
        for step in steps_of(spec, readout_bias=True):
            covariance = step(covariance).evaluated(*_PARTS)
        found.append(covariance)
    return found


def _tangent(
    spec: EnsembleSpec, row: Float[np.ndarray, "P M"], column: Float[np.ndarray, "P2 M"] | None
) -> Float[np.ndarray, "P P2"]:
    """Θ_L of one field."""
    first, *rest = steps_of(spec, readout_bias=True)
    covariance = first(Covariance.of_inputs(row, column))
    for step in rest:
        covariance = step(covariance)
        covariance = covariance.evaluated(*_PARTS)
    return covariance.tangent
