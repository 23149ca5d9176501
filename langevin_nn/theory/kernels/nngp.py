"""Gram matrices of the infinitely wide network, in float64: NNGP.

With κ the Gaussian dual of σ, λ_0 … λ_L the prior precisions and b_ℓ the prior variance of the
biases of layer ℓ (0 without biases),

    C = X Xᵀ/(λ_0 N_0) + b_0,   K_1 = κ(C)/λ_1,   K_{ℓ+1} = κ(K_ℓ + b_ℓ)/λ_{ℓ+1}.

K_L + b_L, which includes 1/λ_L, is the covariance E[f fᵀ] of the prior over functions as the widths
grow (Neal 1996; Lee et al. 2018, arXiv:1711.00165); with one hidden layer it is so at any width.
Without hidden layers, f(x) = w·x/√N_0 and K = C with λ_0 = λ_L, the only precision.

Each layer is what `wide_layers` says of it, of the package's networks or of the user's own. A
convolutional layer sees each of n patches x_i (M inputs) with the same weights. With
K_ij(x, x') = κ(patch i of x, patch j of x')/λ_1, its K is Σ_i K_ii/n (Aiudi et al.,
arXiv:2307.11807). A fully connected network is the case of one patch, the whole input.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.covariances import Covariance
from langevin_nn.data.dataset import as_numbers
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.model.precision import require_float64
from langevin_nn.theory.applicability import require_ensemble, require_spec
from langevin_nn.theory.kernels.layers import (
    Precisions,
    Step,
    host_gram,
    known_layers,
    steps_of,
)
from langevin_nn.theory.kernels.linear import linear_factor
from langevin_nn.types import EnsembleSpec, InputError
from langevin_nn.wide_layers import InputLayer

__all__ = [
    "GramBlocks",
    "fields",
    "gram_blocks",
    "gram_key",
    "nngp",
    "probe_inputs",
    "readout_columns",
    "require_finite",
]

Inputs = Float[np.ndarray, "P N_0"]
_NUM_PROBES = 3
_MODERATE_VARIANCE = 1e3
"""A variance up to which rounding errors are of the size of ε times an entry."""


@dataclass(frozen=True, eq=False)
class GramBlocks:
    """The parts of a Gram matrix K + V Vᵀ that regression needs, float64; see `gram_blocks`.

    `train` is K(X, X), `cross` is K(X_test, X), `test_diagonal` is K(x, x) at each test point.
    V are directions that no order parameter of K renormalises, `train_columns` at the training
    and `test_columns` at the test points: the read-out's bias, for one (`readout_columns`).
    `probe` makes K(x, X) and K(x, x) at a few random inputs x, which may see differences between
    training inputs that the test inputs do not see. `uncertainty` is the rounding error of an
    entry, where it is more than that of a number of the entry's size. `factors` are F (P, m) and
    F_x (P_test, m) of K(X, X) = F Fᵀ and K(x, X) = F_x Fᵀ, where they are known.
    """

    train: Float[np.ndarray, "P P"]
    cross: Float[np.ndarray, "P_test P"]
    test_diagonal: Float[np.ndarray, " P_test"]
    train_columns: Float[np.ndarray, "P r"] = field(default_factory=lambda: np.zeros((1, 0)))
    test_columns: Float[np.ndarray, "P_test r"] = field(default_factory=lambda: np.zeros((1, 0)))
    probe: Callable[[], tuple[Float[np.ndarray, "n P"], Float[np.ndarray, " n"]]] | None = None
    uncertainty: float = 0.0
    factors: tuple[Float[np.ndarray, "P m"], Float[np.ndarray, "P_test m"]] | None = None

    def __post_init__(self) -> None:
        for name, size in (("train_columns", len(self.train)), ("test_columns", len(self.cross))):
            if getattr(self, name).size == 0:
                object.__setattr__(self, name, np.zeros((size, 0)))

    def require_finite(self) -> None:
        """Raise `InputError` for NaN or infinity in a block."""
        for name, block in vars(self).items():
            if isinstance(block, np.ndarray):
                require_finite(f"the Gram matrix ({name})", block)

    def with_probes(self) -> tuple[Float[np.ndarray, "n P"], Float[np.ndarray, " n"]]:
        """K(x, X) and K(x, x) at the test inputs and at those of `probe`."""
        cross, diagonal = self.probe() if self.probe else (self.cross[:0], self.test_diagonal[:0])
        return np.concatenate([self.cross, cross]), np.concatenate([self.test_diagonal, diagonal])


def require_finite(name: str, block: Float[np.ndarray, "..."]) -> None:
    """Raise `InputError` for NaN or infinity in the matrix of that name.

    >>> require_finite("the Gram matrix", np.array([[np.inf]]))
    Traceback (most recent call last):
    langevin_nn.errors.InputError: the Gram matrix has 1 entries that are not finite of 1: look for inputs that are NaN or too large, or an activation that overflows
    """  # noqa: E501
    if not np.all(np.isfinite(block)):
        raise InputError(
            f"{name} has {np.count_nonzero(~np.isfinite(block))} entries that are not finite of "
            f"{block.size}: look for inputs that are NaN or too large, or an activation that "
            "overflows"
        )


def nngp(
    spec: EnsembleSpec, x: Inputs, x2: Float[np.ndarray, "P2 N_0"] | None = None
) -> Float[np.ndarray, "P P2"]:
    """The covariance E[f(x) f(x2)ᵀ] of one output at infinite width, float64; x2 = x if left out.

    C = x x2ᵀ/(λ_0 N_0) + b_0, K_1 = κ(C)/λ_1, K_{ℓ+1} = κ(K_ℓ + b_ℓ)/λ_{ℓ+1} up to K_L + b_L, the
    biases' variances b only if there are some (Lee et al. 2018, arXiv:1711.00165); Σ_i K_ii/n for a
    convolutional layer.

    Args:
        spec: the ensemble.
        x: inputs, shape (P, N_0).
        x2: other inputs, shape (P2, N_0).

    Raises:
        InputError: float64 is off, or the inputs are not of the size that `spec` says.
        NotApplicable: the package does not know the network's Gram matrix.

    >>> spec = EnsembleSpec(2, (100,), erf, prior_precisions=(1.0, 2.0), temperature=0.1)
    >>> nngp(spec, np.sqrt(2) * np.eye(2)).round(6)  # the diagonal is arcsin(2/3)/π
    array([[0.23228, 0.     ],
           [0.     , 0.23228]])
    """
    rows = fields(spec, x)
    columns = rows if x2 is None else fields(spec, x2)
    gram = host_gram(spec, rows, columns) + _readout_variance(spec)
    require_finite("the Gram matrix", gram)
    return gram


def gram_blocks(ensemble: Ensemble, orders: Precisions | None = None) -> GramBlocks:
    """The blocks of K_L over the training and the test inputs; errors as for `nngp`.

    The bias of the read-out is in the columns. With `orders` Q_1 … Q_L these multiply the layers,
    as in `layers.feature_gram`, and no factors are given.

    >>> data = Dataset("two points", np.eye(2), np.array([1.0, -1.0]), np.eye(2)[:1], np.ones(1))
    >>> spec = EnsembleSpec(2, (10,), erf, (1.0, 1.0), temperature=0.1, bias_precisions=(1.0, 4.0))
    >>> blocks = gram_blocks(Ensemble(spec, data))
    >>> blocks.cross.shape, blocks.train_columns.ravel()
    ((1, 2), array([0.5, 0.5]))
    """
    require_ensemble(ensemble)
    spec, data = ensemble.spec, ensemble.data
    train, test = fields(spec, data.x_train), fields(spec, data.x_test)
    if spec.num_outputs != data.num_outputs:
        raise InputError(
            f"the ensemble has {spec.num_outputs} output(s), the targets have shape "
            f"{data.y_train.shape}: give one number for each output to each example"
        )
    return GramBlocks(
        train=host_gram(spec, train, train, orders),
        cross=host_gram(spec, test, train, orders),
        test_diagonal=host_gram(spec, test, orders=orders),
        train_columns=readout_columns(spec, data.num_train),
        test_columns=readout_columns(spec, data.num_test),
        probe=partial(_at_probes, spec, data.x_train, orders),
        uncertainty=_uncertainty(spec, train, orders),
        factors=_factors(spec, train, test) if orders is None else None,
    )


def _factors(
    spec: EnsembleSpec, train: Float[np.ndarray, "n P M"], test: Float[np.ndarray, "n P_test M"]
) -> tuple[Float[np.ndarray, "P m"], Float[np.ndarray, "P_test m"]] | None:
    train_factor, test_factor = linear_factor(spec, train), linear_factor(spec, test)
    return None if train_factor is None or test_factor is None else (train_factor, test_factor)


def _uncertainty(
    spec: EnsembleSpec, train: Float[np.ndarray, "n P M"], orders: Precisions | None
) -> float:
    """The rounding error of an entry: ε a ∂c'/∂c … at the largest first variance a.

    It is what a rounding of the first covariances becomes. For erf it is of order ε √a, where
    entries are of order one, and no more than what ρ = 1 − ε is to a step: with δρ = δ/a of an
    error δ, √(2δρ) times the variance that the layer makes of a.
    """
    first, *rest = steps_of(spec, orders=orders)
    largest = np.max(np.einsum("npi,npi->np", train, train))
    a = float(first._replace(bias=None)(Covariance(np.array([largest]))).rows[0])
    if not rest or not _MODERATE_VARIANCE < a < np.inf:
        return 0.0
    error = np.finfo(np.float64).eps * a
    a += 0.0 if first.bias is None else 1 / first.bias
    with np.errstate(all="ignore"):  # what overflows is told where the matrix is used
        for step in rest:
            value, slope = _at_variance(step, a)
            largest_step = np.sqrt(2 * error / a) * value
            error, a = np.fmin(error * slope, largest_step), value
            a += 0.0 if step.bias is None else 1 / step.bias
    return float(error)


def _at_variance(step: Step, variance: float) -> tuple[float, float]:
    """The variance that a layer without its biases makes of `variance` a, and ∂c'/∂c at c = a."""
    a, c = jnp.full(1, variance), jnp.full((1, 1), variance)
    without_bias = step._replace(bias=None)

    def between(c: Float[Array, "1 1"]) -> Float[Array, "1 1"]:
        return without_bias(Covariance(a, between=c)).between

    slope = jax.jvp(between, (c,), (jnp.ones_like(c),))[1]
    return float(without_bias(Covariance(a)).rows[0]), float(slope[0, 0])


def probe_inputs(x: Float[np.ndarray, "P N_0"]) -> Float[np.ndarray, "n N_0"]:
    """A few random inputs of the size of x, the same for the same size.

    >>> probe_inputs(np.ones((5, 2))).shape
    (3, 2)
    """
    size = np.sqrt(np.mean(np.square(x)))
    return size * np.random.default_rng(0).standard_normal((_NUM_PROBES, x.shape[1]))


def _at_probes(
    spec: EnsembleSpec, x: Float[np.ndarray, "P N_0"], orders: Precisions | None
) -> tuple[Float[np.ndarray, "n P"], Float[np.ndarray, " n"]]:
    probes = fields(spec, probe_inputs(x))
    cross = host_gram(spec, probes, fields(spec, x), orders)
    return cross, host_gram(spec, probes, orders=orders)


def readout_columns(spec: EnsembleSpec, num_examples: int) -> Float[np.ndarray, "P r"]:
    """V with V Vᵀ = b_L, the covariance of the read-out's bias; no column without biases.

    >>> readout_columns(EnsembleSpec(2, (), None, (1.0,), 0.1, bias_precisions=(4.0,)), 3).ravel()
    array([0.5, 0.5, 0.5])
    """
    if spec.bias_precisions is None:
        return np.zeros((num_examples, 0))
    return np.full((num_examples, 1), np.sqrt(_readout_variance(spec)))


def fields(spec: EnsembleSpec, x: Inputs) -> Float[np.ndarray, "n P M"]:
    """What the first layer sees of each input: its n patches, or the input itself (n = 1).

    Raises: as `nngp`.

    >>> fields(EnsembleSpec(2, (), None, (1.0,), 0.1), np.eye(2)).shape
    (1, 2, 2)
    """
    require_float64()
    require_spec(spec)
    first = known_layers(spec)[0]
    assert isinstance(first, InputLayer), "the ensemble has checked it"
    x = as_numbers("the inputs", x)
    if x.ndim != 2 or x.shape[1] != spec.in_size:
        raise InputError(
            f"the ensemble has inputs of size {spec.in_size}, the data have shape {x.shape}: "
            f"give inputs of shape (number of examples, {spec.in_size})"
        )
    if not np.all(np.isfinite(x)):
        raise InputError(
            f"the inputs have {np.count_nonzero(~np.isfinite(x))} value(s) that are NaN or "
            "infinite, and so would the Gram matrix: remove these examples"
        )
    return first.positions(x)


def _readout_variance(spec: EnsembleSpec) -> float:
    return 0.0 if spec.bias_precisions is None else 1 / spec.bias_precisions[-1]


def gram_key(spec: EnsembleSpec) -> Any:
    """All that K depends on but the data and λ_L, if it is proportional to 1/λ_L.

    >>> one, two = (EnsembleSpec(2, (n,), erf, (1.0, 0.5 * n), temperature=0.1) for n in (3, 4))
    >>> gram_key(one) == gram_key(two)
    True
    """
    readout_counts = spec.layers is not None and not spec.layers[-1].inverse_to_precision
    precisions = spec.prior_precisions if readout_counts else spec.prior_precisions[:-1]
    return spec.in_size, spec.layers, precisions, spec.bias_precisions, spec.num_outputs
