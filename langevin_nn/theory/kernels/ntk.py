"""The tangent kernel (NTK) of the infinitely wide network, in float64.

At nearly equal inputs κ̇ = E[σ'(u)σ'(v)] of a σ with a kink falls linearly in the angle θ between
their preactivations, of which a, b, c keep no more than 1e-8: cos θ = c/√(ab) is quadratic in it.
So for relu θ itself is carried from layer to layer, to ε. In the first it is that of unit
vectors, 2 atan(|x̂ − x̂'|/|x̂ + x̂'|) (Kahan 2006), where a bias is one more entry.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from langevin_nn.model.activations import AngleForm
from langevin_nn.theory.kernels.layers import first_covariances, require_accurate_dual
from langevin_nn.theory.kernels.nngp import fields, require_finite
from langevin_nn.types import EnsembleSpec

__all__ = ["ntk"]

_NEAR = 1e-4  # 1 ± ρ up to which the angle is that of the vectors: above, ρ knows it to 1e-14
_NUMBERS_AT_ONCE = 2**20  # of the vectors: 8 MiB


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
    with np.errstate(all="ignore"):  # what is not finite is told
        tangents = [_tangent(spec, i, j) for i, j in zip(rows, columns, strict=True)]
        tangent = np.mean(tangents, axis=0)
    require_finite("the tangent kernel", tangent)
    return tangent


def _tangent(
    spec: EnsembleSpec, row: Float[np.ndarray, "P M"], column: Float[np.ndarray, "P2 M"]
) -> Float[np.ndarray, "P P2"]:
    """Θ_L of one field."""
    own_bias = 0.0 if spec.bias_precisions is None else 1.0
    a, b, c = first_covariances(row, column, spec.prior_precisions[0])
    tangent = spec.prior_precisions[0] * c + own_bias
    by_angle: AngleForm | None = getattr(spec.activation and spec.activation.dual, "by_angle", None)
    angle = np.empty(0) if by_angle is None else _angles_of_inputs(spec, row, column)
    for layer, precision in enumerate(spec.prior_precisions[1:]):
        shift = 0.0 if spec.bias_precisions is None else 1 / spec.bias_precisions[layer]
        if by_angle is not None and layer > 0:
            lack = np.asarray(by_angle.lack(angle))
            angle = _following(lack, np.asarray(a)[:, None], np.asarray(b)[None, :], shift)
        a, b, c = a + shift, b + shift, c + shift
        assert spec.activation is not None, "`fields` has checked it"
        require_accurate_dual(spec, np.asarray(a), np.asarray(b))
        pair = (a[:, None], b[None, :], c)
        features = spec.activation.dual(*pair)
        if by_angle is None:
            slopes = spec.activation.derivative_dual(*pair)
        else:
            slopes = jnp.asarray(
                np.where((pair[0] > 0) & (pair[1] > 0), by_angle.slope(angle), 0.0)
            )
        tangent = features + slopes * tangent / precision + own_bias
        c = features / precision
        a, b = (spec.activation.dual(each, each, each) / precision for each in (a, b))
    return np.asarray(tangent)


def _angles_of_inputs(
    spec: EnsembleSpec, row: Float[np.ndarray, "P M"], column: Float[np.ndarray, "P2 M"]
) -> Float[np.ndarray, "P P2"]:
    """θ of the first preactivations: by the vectors themselves where ρ is near 1 or −1."""
    bias = 0.0
    if spec.bias_precisions is not None:
        bias = np.sqrt(spec.prior_precisions[0] * row.shape[1] / spec.bias_precisions[0])
    rows, columns = (_unit_vectors(each, bias) for each in (row, column))
    rho = np.clip(rows @ columns.T, -1.0, 1.0)
    angle = np.arccos(rho)
    near = np.argwhere(1 - np.abs(rho) < _NEAR)
    for pairs in np.array_split(near, 1 + near.size * row.shape[1] // _NUMBERS_AT_ONCE):
        i, j = pairs.T
        apart, along = (np.linalg.norm(rows[i] + sign * columns[j], axis=1) for sign in (-1, 1))
        angle[i, j] = 2 * np.arctan2(apart, along)
    return angle


def _unit_vectors(x: Float[np.ndarray, "P M"], bias: float) -> Float[np.ndarray, "P m"]:
    """The inputs, and the bias beside them, divided by their length; zero stays zero."""
    vectors = np.concatenate([x, np.full((len(x), 1), bias)], axis=1)
    for norm in (np.inf, 2):  # the largest entry first: squares may overflow
        size = np.linalg.norm(vectors, norm, axis=1, keepdims=True)
        vectors = vectors / np.where(size > 0, size, 1.0)
    return vectors


def _following(
    lack: Float[np.ndarray, "P P2"],
    a: Float[np.ndarray, "P 1"],
    b: Float[np.ndarray, "1 P2"],
    shift: float,
) -> Float[np.ndarray, "P P2"]:
    """θ of the next preactivations, whose variances are a + s and b + s.

    Their covariance is c + s with c = √(ab) − m, m = √(ab) · lack, so that with r² = (a + s)(b + s)

        1 − ρ = [m(√(ab) + c) + s((√a − √b)² + 2m)]/(r(r + c + s)) = 2 sin² ½θ.
    """
    root_a, root_b = np.sqrt(a), np.sqrt(b)
    root = np.sqrt(a + shift) * np.sqrt(b + shift)
    missing = root_a * root_b * lack
    whole = root + root_a * root_b - missing + shift
    apart = (root_a - root_b) ** 2 + 2 * missing
    with np.errstate(all="ignore"):  # zero over zero of inputs that are zero
        far = missing / root * ((2 * root_a * root_b - missing) / whole) + shift / root * (
            apart / whole
        )
    return 2 * np.arcsin(np.sqrt(np.clip(np.nan_to_num(far) / 2, 0.0, 1.0)))
