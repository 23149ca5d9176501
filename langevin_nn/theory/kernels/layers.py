"""The recursion of `nngp` from layer to layer, K_ℓ = (Q_ℓ/λ_ℓ) κ(K_{ℓ−1} + b_{ℓ−1}).

Twice the same formulas: `feature_gram` in JAX, to be differentiated and compiled as part of
something else, and `host_gram` in NumPy for its numbers. One by one the JAX operations would be
compiled again for every number of examples, which takes longer than small matrices do.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.model.activations import ClosedForm
from langevin_nn.model.quadrature import QuadratureDual
from langevin_nn.types import EnsembleSpec, NotApplicable

__all__ = [
    "Precisions",
    "dual_of",
    "feature_gram",
    "first_covariances",
    "host_gram",
    "require_accurate_dual",
    "skeleton_of",
]

_WIDE = 100.0  # a variance up to which quadrature is right for every σ that is smooth
_MOST_UNROLLED = 4  # layers in one program: a loop over as many compiles no faster
_MOST_ERROR = 1e-4  # of E[σ²], which is 0.4 % of E[1 − σ²] for tanh

Fields = Float[np.ndarray | Array, "n P M"]
Precisions = Sequence[float] | Float[np.ndarray | Array, " _"]


def feature_gram(
    spec: EnsembleSpec,
    rows: Fields,
    columns: Float[np.ndarray | Array, "n P2 M"] | None = None,
    *,
    precisions: Precisions | None = None,
    bias_precisions: Precisions | None = None,
    orders: Precisions | None = None,
) -> Float[Array, "P ..."]:
    """K_L without the read-out's bias, averaged over the fields; the diagonal without `columns`.

    A JAX function of the precisions, which take the place of those of `spec`, and of the orders
    Q_1 … Q_L, which multiply each layer: K_ℓ = (Q_ℓ/λ_ℓ) κ(K_{ℓ−1} + b_{ℓ−1}).

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.model.activations import identity
    >>> linear = EnsembleSpec(2, (9, 9), identity, (0.5, 1.0, 2.0), temperature=0.1)
    >>> feature_gram(linear, np.eye(2)[None], orders=(3.0, 2.0))  # 3 · 2/(2 N_0 λ_0)
    Array([3., 3.], dtype=float64)
    """
    lambdas = spec.prior_precisions if precisions is None else precisions
    biases = spec.bias_precisions if bias_precisions is None else bias_precisions
    return _averaged(jnp, spec, rows, columns, lambdas, biases, orders)


def host_gram(
    spec: EnsembleSpec,
    rows: Float[np.ndarray, "n P M"],
    columns: Float[np.ndarray, "n P2 M"] | None = None,
    orders: Precisions | None = None,
) -> Float[np.ndarray, "P ..."]:
    """The numbers of `feature_gram`, in NumPy where the dual is a closed form: nothing is compiled.

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.model.activations import identity
    >>> linear = EnsembleSpec(2, (9, 9), identity, (0.5, 1.0, 2.0), temperature=0.1)
    >>> host_gram(linear, np.eye(2)[None], orders=(3.0, 2.0))
    array([3., 3.])
    """
    lambdas, biases = spec.prior_precisions, spec.bias_precisions
    with np.errstate(all="ignore"):  # what is not finite is told where the matrix is used
        return np.asarray(_averaged(np, spec, rows, columns, lambdas, biases, orders))


def _averaged(
    xp: Any,
    spec: EnsembleSpec,
    rows: Fields,
    columns: Float[np.ndarray | Array, "n P2 M"] | None,
    lambdas: Precisions,
    biases: Precisions | None,
    orders: Precisions | None,
) -> Any:
    num_hidden = len(spec.hidden_widths or ())
    factors = [1.0] * num_hidden if orders is None else orders
    total: Any = 0.0
    for row, column in zip(rows, rows if columns is None else columns, strict=True):
        a, b, c = first_covariances(row, column, lambdas[0], xp)
        c = a if columns is None else c
        shifts = [0.0 if biases is None else 1 / biases[layer] for layer in range(num_hidden)]
        scales = [factors[layer] / lambdas[layer + 1] for layer in range(num_hidden)]
        if xp is jnp and num_hidden > _MOST_UNROLLED:
            c = _looped(spec, a, b, c, shifts, scales)
        else:
            for layer in range(num_hidden):
                a, b, c = a + shifts[layer], b + shifts[layer], c + shifts[layer]
                if xp is np:
                    require_accurate_dual(spec, a, b)
                c = scales[layer] * _dual_of_block(spec, xp, a, b, c)
                if layer + 1 < num_hidden:
                    a, b = (scales[layer] * dual_of(spec, xp)(each, each, each) for each in (a, b))
        total = total + c
    return total / len(rows)


def _dual_of_block(spec: EnsembleSpec, xp: Any, a: Any, b: Any, c: Any) -> Any:
    """κ of variances a (P,) and b (P2,) and c (P, P2), or of the diagonal c (P,)."""
    return dual_of(spec, xp)(a, b, c) if c.ndim == 1 else dual_of(spec, xp)(a[:, None], b[None], c)


def _looped(
    spec: EnsembleSpec,
    a: Float[Array, " P"],
    b: Float[Array, " P2"],
    c: Float[Array, " P *P2"],
    shifts: list[Any],
    scales: list[Any],
) -> Float[Array, " P *P2"]:
    """The recursion of `_averaged` over the layers as one loop of XLA.

    Layer by layer, a program would have κ and its derivatives once for each of them, which take
    seconds to compile for one.
    """
    dual = dual_of(spec, jnp)

    def step(carry: tuple[Array, Array, Array], layer: tuple[Array, ...]) -> tuple[Any, None]:
        shift, scale = layer
        a, b, c = (each + shift for each in carry)
        moved = scale * _dual_of_block(spec, jnp, a, b, c)
        return (scale * dual(a, a, a), scale * dual(b, b, b), moved), None

    layers = tuple(jnp.stack([jnp.asarray(x, c.dtype) for x in each]) for each in (shifts, scales))
    return jax.lax.scan(step, (a, b, c), layers)[0][2]


def dual_of(spec: EnsembleSpec, xp: Any) -> Callable[[Any, Any, Any], Any]:
    """κ of arrays of `xp`, which is `jax.numpy` or `numpy`.

    >>> from langevin_nn.model.activations import identity
    >>> linear = EnsembleSpec(2, (9,), identity, (0.5, 1.0), temperature=0.1)
    >>> dual_of(linear, np)(np.ones(2), np.ones(2), np.array([1.0, 0.5]))
    array([1. , 0.5])
    """
    assert spec.activation is not None, "`fields` has checked it"
    dual = spec.activation.dual
    if xp is jnp:
        return dual
    if isinstance(dual, ClosedForm):
        return dual.on_host
    return lambda *arguments: np.asarray(dual(*map(jnp.asarray, arguments)))


def require_accurate_dual(spec: EnsembleSpec, *variances: Float[np.ndarray, " _"]) -> None:
    """Do nothing if the dual of σ is right at preactivations of these variances.

    Raises:
        NotApplicable: it is made by quadrature, wrong by more than 1e-4 of E[σ²] at one of them.

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.model.activations import tanh
    >>> spec = EnsembleSpec(2, (9,), tanh, (1.0, 1.0), temperature=0.1)
    >>> require_accurate_dual(spec, np.array([1.0, 300.0]))
    """
    assert spec.activation is not None, "`fields` has checked it"
    dual = spec.activation.dual
    largest = max(float(np.max(each, initial=0.0)) for each in variances)
    if not isinstance(dual, QuadratureDual) or not _WIDE < largest < np.inf:
        return
    error = _error_of(dual, largest)
    if error > _MOST_ERROR:
        raise NotApplicable(
            f"the Gram matrix of {spec.activation.name} is made by quadrature, which is wrong by "
            f"{error:.2%} at preactivations of variance {largest:.3g}: scale the inputs "
            "(standardize = true) or raise λ_0"
        )


@lru_cache(maxsize=64)
def _error_of(dual: QuadratureDual, variance: float) -> float:
    return dual.error(variance)


def first_covariances(
    row: Float[np.ndarray | Array, "P M"],
    column: Float[np.ndarray | Array, "P2 M"],
    precision: float | Array,
    xp: Any = jnp,
) -> tuple[Any, Any, Any]:
    """The variances (P,) and (P2,) of either side and the covariances (P, P2), C without the bias.

    Arrays of `jax.numpy` or, if `xp` is it, of `numpy`.

    >>> import numpy as np
    >>> a, b, c = first_covariances(np.eye(2), np.ones((1, 2)), precision=0.5)
    >>> a.tolist(), b.tolist(), c.tolist()
    ([1.0, 1.0], [2.0], [[1.0], [1.0]])
    """
    row, column = xp.asarray(row), xp.asarray(column)
    scale = precision * row.shape[1]
    a, b = (xp.einsum("pi,pi->p", each, each) / scale for each in (row, column))
    return a, b, row @ column.T / scale


def skeleton_of(spec: EnsembleSpec) -> EnsembleSpec:
    """What a program made of `feature_gram` depends on: σ, the number of layers, whether of biases.

    >>> skeleton_of(EnsembleSpec(2, (90,), None, (0.5, 2.0), temperature=0.1)).prior_precisions
    (1.0, 1.0)
    """
    ones = (1.0,) * len(spec.prior_precisions)
    return replace(
        spec, hidden_widths=(1,) * (len(ones) - 1), prior_precisions=ones, temperature=0.0,
        bias_precisions=None if spec.bias_precisions is None else ones,
    )  # fmt: skip
