"""Gram matrices of the infinitely wide network: input covariance and NNGP recursion, in float64.

With κ the Gaussian dual of σ and λ_0 … λ_L the prior precisions,

    C = X Xᵀ/(λ_0 N_0),   K_1 = κ(C)/λ_1,   K_{ℓ+1} = κ(K_ℓ)/λ_{ℓ+1}.

K_L, which includes 1/λ_L, is the covariance E[f fᵀ] of the prior over functions as the widths grow
(Neal 1996; Lee et al. 2018, arXiv:1711.00165); with one hidden layer it is so at any width. Without
hidden layers, f(x) = w·x/√N_0 and K = C with λ_0 = λ_L, the only precision.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.model.datasets import Dataset
from langevin_nn.types import Activation, EnsembleSpec, InputError, NotApplicable

__all__ = [
    "GramBlocks",
    "gram_blocks",
    "input_covariance",
    "nngp",
    "nngp_diagonal",
    "require_float64",
]


@dataclass(frozen=True, eq=False)
class GramBlocks:
    """The parts of a Gram matrix K that regression needs, float64.

    `train` is K(X, X), `cross` is K(X_test, X), `test_diagonal` is K(x, x) at each test point.
    """

    train: Float[np.ndarray, "P P"]
    cross: Float[np.ndarray, "P_test P"]
    test_diagonal: Float[np.ndarray, " P_test"]


def require_float64() -> None:
    """Do nothing if JAX computes in float64.

    Raises:
        InputError: it does not; the message says which line to add.
    """
    if jnp.result_type(float) != np.float64:
        raise InputError(
            "theory is computed in float64, which JAX has switched off: add the line "
            '`jax.config.update("jax_enable_x64", True)` before the first use of JAX'
        )


def input_covariance(
    x: Float[np.ndarray, "P N_0"], x2: Float[np.ndarray, "P2 N_0"], precision: float
) -> Float[np.ndarray, "P P2"]:
    """C = x x2ᵀ/(λ_0 N_0), the covariance of a first-layer preactivation, float64.

    Args:
        x: inputs.
        x2: other inputs, or the same.
        precision: λ_0 of the prior W⁰ ~ N(0, 1/λ_0).

    >>> import numpy as np
    >>> input_covariance(np.eye(2), np.ones((1, 2)), precision=0.5)
    array([[1.],
           [1.]])
    """
    x, x2 = np.asarray(x, np.float64), np.asarray(x2, np.float64)
    return x @ x2.T / (precision * x.shape[1])


def nngp(
    spec: EnsembleSpec,
    x: Float[np.ndarray, "P N_0"],
    x2: Float[np.ndarray, "P2 N_0"] | None = None,
) -> Float[np.ndarray, "P P2"]:
    """The infinite-width Gram matrix K_L(x, x2) of any depth, float64; x2 = x if left out.

    Raises:
        InputError: float64 is off, or the inputs are not of the size that `spec` says.
        NotApplicable: the package does not know the network's Gram matrix.

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.model.activations import erf
    >>> from langevin_nn.types import EnsembleSpec
    >>> spec = EnsembleSpec(2, (100,), erf, prior_precisions=(1.0, 2.0), temperature=0.1)
    >>> nngp(spec, np.sqrt(2) * np.eye(2)).round(6)  # the diagonal is arcsin(2/3)/π
    array([[0.23228, 0.     ],
           [0.     , 0.23228]])
    """
    layers = _layers(spec)
    rows = _checked_inputs(spec, x)
    columns = rows if x2 is None else _checked_inputs(spec, x2)
    row_variances, column_variances = (_input_variances(spec, each) for each in (rows, columns))
    covariance = jnp.asarray(input_covariance(rows, columns, spec.prior_precisions[0]))
    for activation, precision in layers:
        a, b = row_variances[:, None], column_variances[None, :]
        covariance = activation.dual(a, b, covariance) / precision
        row_variances = _next_variances(row_variances, activation, precision)
        column_variances = _next_variances(column_variances, activation, precision)
    return np.asarray(covariance)


def nngp_diagonal(spec: EnsembleSpec, x: Float[np.ndarray, "P N_0"]) -> Float[np.ndarray, " P"]:
    """K_L(x, x) at each input: the diagonal of `nngp(spec, x)` without the rest."""
    layers = _layers(spec)
    variances = _input_variances(spec, _checked_inputs(spec, x))
    for activation, precision in layers:
        variances = _next_variances(variances, activation, precision)
    return np.asarray(variances)


def gram_blocks(spec: EnsembleSpec, data: Dataset) -> GramBlocks:
    """The blocks of K_L over the training and the test inputs of `data`; errors as for `nngp`."""
    return GramBlocks(
        train=nngp(spec, data.x_train),
        cross=nngp(spec, data.x_test, data.x_train),
        test_diagonal=nngp_diagonal(spec, data.x_test),
    )


def _layers(spec: EnsembleSpec) -> list[tuple[Activation, float]]:
    """(σ, λ_{ℓ+1}) of each hidden layer; the network must be one whose Gram matrix is known."""
    require_float64()
    if spec.hidden_widths is None or (spec.hidden_widths and spec.activation is None):
        raise NotApplicable(
            f"the Gram matrix of {spec.architecture} is not known: the theories describe "
            "FullyConnected networks"
        )
    if spec.activation is None:
        return []
    following = spec.prior_precisions[1 : len(spec.hidden_widths) + 1]
    return [(spec.activation, precision) for precision in following]


def _checked_inputs(
    spec: EnsembleSpec, x: Float[np.ndarray, "P N_0"]
) -> Float[np.ndarray, "P N_0"]:
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or x.shape[1] != spec.in_size:
        raise InputError(
            f"the ensemble has inputs of size {spec.in_size}, the data have shape {x.shape}: "
            f"give inputs of shape (number of examples, {spec.in_size})"
        )
    return x


def _input_variances(spec: EnsembleSpec, x: Float[np.ndarray, "P N_0"]) -> Float[Array, " P"]:
    """C(x, x) = |x|²/(λ_0 N_0)."""
    return jnp.asarray(np.einsum("pi,pi->p", x, x) / (spec.prior_precisions[0] * x.shape[1]))


def _next_variances(
    variances: Float[Array, " P"], activation: Activation, precision: float
) -> Float[Array, " P"]:
    return activation.dual(variances, variances, variances) / precision
