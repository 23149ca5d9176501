"""The tangent kernel (NTK) of the infinitely wide network, in float64."""

import numpy as np
from jaxtyping import Float

from langevin_nn.theory.kernels.layers import first_covariances, require_accurate_dual
from langevin_nn.theory.kernels.nngp import fields
from langevin_nn.types import EnsembleSpec

__all__ = ["ntk"]


def ntk(
    spec: EnsembleSpec, x: Float[np.ndarray, "P N_0"], x2: Float[np.ndarray, "P2 N_0"] | None = None
) -> Float[np.ndarray, "P P2"]:
    """The tangent kernel Θ = ⟨∇_θ f(x)·∇_θ f(x2)⟩ at infinite width, float64.

    With κ̇ = E[σ'(u)σ'(v)] and one more, for the bias, in each line if there are biases,

        Θ_0 = x·x2/N_0,   Θ_{ℓ+1} = κ(C_ℓ) + κ̇(C_ℓ) Θ_ℓ/λ_{ℓ+1},   C_0 = C, C_ℓ = K_ℓ + b_ℓ

    (Jacot et al. 2018, arXiv:1806.07572, theorem 1, in this parametrisation). Arguments and errors
    as for `nngp`.

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.model.activations import identity
    >>> from langevin_nn.types import EnsembleSpec
    >>> spec = EnsembleSpec(2, (100,), identity, prior_precisions=(1.0, 2.0), temperature=0.1)
    >>> ntk(spec, np.eye(2))  # x·x/N_0 (1/λ_0 + 1/λ_1)
    array([[0.75, 0.  ],
           [0.  , 0.75]])
    """
    rows = fields(spec, x)
    columns = rows if x2 is None else fields(spec, x2)
    return np.mean([_tangent(spec, i, j) for i, j in zip(rows, columns, strict=True)], axis=0)


def _tangent(
    spec: EnsembleSpec, row: Float[np.ndarray, "P M"], column: Float[np.ndarray, "P2 M"]
) -> Float[np.ndarray, "P P2"]:
    """Θ_L of one field."""
    own_bias = 0.0 if spec.bias_precisions is None else 1.0
    a, b, c = first_covariances(row, column, spec.prior_precisions[0])
    tangent = spec.prior_precisions[0] * c + own_bias
    for layer, precision in enumerate(spec.prior_precisions[1:]):
        shift = 0.0 if spec.bias_precisions is None else 1 / spec.bias_precisions[layer]
        a, b, c = a + shift, b + shift, c + shift
        assert spec.activation is not None, "`fields` has checked it"
        require_accurate_dual(spec, np.asarray(a), np.asarray(b))
        pair = (a[:, None], b[None, :], c)
        features, slopes = spec.activation.dual(*pair), spec.activation.derivative_dual(*pair)
        tangent = features + slopes * tangent / precision + own_bias
        c = features / precision
        a, b = (spec.activation.dual(each, each, each) / precision for each in (a, b))
    return np.asarray(tangent)
