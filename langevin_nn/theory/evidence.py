"""The log evidence log p(y | X) of a theory, and its derivatives in the precisions and in T.

−log p(y | X) is the free energy, in units where β multiplies nothing. Each theory is a Gaussian
process, or an average of some, with A = T I + K_R(λ; Q) + (read-out bias), and its order parameters
make S stationary. So a derivative is taken at fixed Q (or Q's posterior weights):

    log N(y; 0, A) = −½ (yᵀA⁻¹y + log det A + P log 2π),
    ∂ log p = Tr Γ ∂A,   Γ = ½ ⟨a aᵀ − A⁻¹⟩,   a = A⁻¹y

(Rasmussen and Williams 2006, eqs. 2.30 and 5.9, at fixed Q). ∂K_R/∂λ comes by automatic
differentiation (forward mode) through the Gram matrix; exactly where the Gaussian dual is exact.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.data.load import Dataset
from langevin_nn.theory.decompositions import gram_regression
from langevin_nn.theory.effective.common import scale_action
from langevin_nn.theory.effective.one_layer_nonodd import feature_means
from langevin_nn.theory.kernels.layers import feature_gram, skeleton_of
from langevin_nn.theory.kernels.nngp import GramBlocks, fields, readout_columns
from langevin_nn.theory.regression.eigenbasis import Regression, Sensitivity, decompose
from langevin_nn.theory.saddles.average import average_over_scale
from langevin_nn.theory.suite import is_own, theory_named
from langevin_nn.types import EnsembleSpec, Generalisation, NotApplicable

__all__ = ["Evidence", "evidence", "evidence_gradient"]

Lambdas = tuple[Float[np.ndarray | Array, " layers"], Float[np.ndarray | Array, " layers"] | None]
Arrays = tuple[Float[np.ndarray | Array, "n P M"], Float[np.ndarray | Array, " *orders"]]
OWN_KERNELS = ("nested", "one_layer_nonodd", "convolutional")
COMMON_SCALES = ("infinite_width", "one_layer", "global", "scale_mixture", "multi_output")


@dataclass(frozen=True)
class Evidence:
    """log p(y | X) and its derivatives in λ_0 … λ_L, in the biases' precisions, and in T.

    Made by `evidence`. Numbers, and tuples of L + 1 of them; None without biases.
    """

    log_evidence: float
    precision_gradient: tuple[float, ...]
    bias_precision_gradient: tuple[float, ...] | None
    temperature_gradient: float


def evidence(spec: EnsembleSpec, data: Dataset, theory: str = "one_layer") -> Evidence:
    """The log evidence of a theory with its derivatives: a function to maximise over λ and T.

    log p = −½ (S(Q*) + P log 2π), or log ∫ p(Q) N(y; 0, A_Q) dQ for `scale_mixture`, and
    ∂ log p = Tr Γ ∂A with Γ = ½ (A⁻¹y yᵀA⁻¹ − A⁻¹), A = T I + K_R (P, P), y (P,) (Rasmussen and
    Williams 2006, eqs. 2.30 and 5.9).

    Args:
        spec: the ensemble, with λ and T.
        data: its training examples.
        theory: the name of a theory.

    Raises:
        InputError: an unknown theory; what the theory itself raises.
        NotApplicable: the theory does not describe the network; it has no K_R of its own
            (`width_expansion`, `matched`), or is not the package's, so that it is not known; T = 0
            with a singular Gram matrix, where the log evidence has no limit.

    With f = w, y = 1, λ = 1: log N(1; 0, T + 1), whose derivative in T vanishes at T + 1 = y².

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.data.load import Dataset
    >>> from langevin_nn.types import EnsembleSpec
    >>> data = Dataset("two points", np.eye(2), np.array([1.0, -1.0]), np.eye(2), np.ones(2))
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(1.0,), temperature=0.5)  # K = 1/2
    >>> found = evidence(linear, data, "infinite_width")
    >>> print(f"{found.log_evidence:.6f} {-1 - np.log(2 * np.pi):.6f}")
    -2.837877 -2.837877
    >>> print(f"{abs(found.temperature_gradient):.6f} {abs(found.precision_gradient[0]):.6f}")
    0.000000 0.000000
    """
    result = theory_named(theory)(spec, data, None)
    return evidence_gradient(spec, data, replace(result, name=theory))


def evidence_gradient(
    spec: EnsembleSpec,
    data: Dataset,
    result: Generalisation,
    regression: Regression | None = None,
) -> Evidence:
    """The same for a theory's `result` for this ensemble; `regression` as for `infinite_width`.

    With A = 2 I and y = (1, 0), Γ = −diag(1, 2)/8, and ∂K/∂λ_0 = −2 I:

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.theory.effective.infinite_width import infinite_width
    >>> data = Dataset("two inputs", np.eye(2), np.array([1.0, 0.0]), np.eye(2), np.ones(2))
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)  # K = I
    >>> found = evidence_gradient(linear, data, infinite_width(linear, data))
    >>> print(f"{found.temperature_gradient:.6f} {found.precision_gradient[0]:.6f}")
    -0.375000 0.750000
    """
    known = (*OWN_KERNELS, *COMMON_SCALES)
    if result.name not in known or not is_own(result.name):
        raise NotApplicable(
            f"the Gram matrix that {result.name} ends in is not known to evidence, and so is the "
            f"derivative of its log evidence: known are {', '.join(known)}"
        )
    own = result.name in OWN_KERNELS
    kernel = _Kernel(result.name if own else "", skeleton_of(spec))
    arrays = fields(spec, data.x_train), np.array(result.order_parameters if own else ())
    lambdas = np.array(spec.prior_precisions), _array(spec.bias_precisions)
    scaled, whole, trace = _sensitivities(spec, data, result, kernel, lambdas, arrays, regression)
    by_precision, by_bias = _gradient(lambdas, arrays, scaled, np.sum(whole), kernel)
    return Evidence(
        log_evidence=np.nan if result.log_evidence is None else result.log_evidence,
        precision_gradient=tuple(map(float, by_precision)),
        bias_precision_gradient=None if by_bias is None else tuple(map(float, by_bias)),
        temperature_gradient=trace,
    )


def _array(precisions: tuple[float, ...] | None) -> Float[np.ndarray, " layers"] | None:
    return None if precisions is None else np.array(precisions)


class _Kernel(NamedTuple):
    """K of the precisions: K_R at the theory's order parameters, or what its one scale scales.

    Its program depends on what `skeleton_of` leaves of the ensemble, and on the theory if that is
    one of `OWN_KERNELS`; all others share the one of K_L.
    """

    theory: str
    skeleton: EnsembleSpec

    def __call__(self, lambdas: Lambdas, arrays: Arrays) -> Float[Array, "P P"]:
        (precisions, biases), (train, orders) = lambdas, arrays
        given = {"precisions": precisions, "bias_precisions": biases}
        if self.theory == "convolutional":
            return self._of_patches(given, train, orders / len(train))
        layers = {"orders": orders} if self.theory == "nested" else {}
        gram = feature_gram(self.skeleton, train, train, **given, **layers)
        if self.theory != "one_layer_nonodd":
            return gram
        means = feature_means(self.skeleton, train[0], precisions, biases)
        outer = means[:, None] * means[None, :]
        return orders[0] * (gram - outer) + outer / (1 + orders[1])

    def _of_patches(
        self,
        given: dict[str, Any],
        train: Float[np.ndarray | Array, "n P M"],
        weights: Float[np.ndarray | Array, "n n"],
    ) -> Float[Array, "P P"]:
        """Σ_ij Q_ij K_ij/n, one pair of patches after the other."""

        def add(total: Array, pair: tuple[Array, Array, Array]) -> tuple[Array, None]:
            row, column, weight = pair
            gram = feature_gram(self.skeleton, train[row][None], train[column][None], **given)
            return total + weight * gram, None

        n, num_train = train.shape[:2]
        rows, columns = (jnp.asarray(each.ravel()) for each in np.indices((n, n)))
        zero = jnp.zeros((num_train, num_train))
        return jax.lax.scan(add, zero, (rows, columns, jnp.ravel(weights)))[0]


@partial(jax.jit, static_argnames=("kernel",))
def _gram_of(lambdas: Lambdas, arrays: Arrays, kernel: _Kernel) -> Float[Array, "P P"]:
    return kernel(lambdas, arrays)


@partial(jax.jit, static_argnames=("kernel",))
def _gradient(
    lambdas: Lambdas,
    arrays: Arrays,
    scaled: Float[Array, "P P"],
    whole: Float[Array, ""],
    kernel: _Kernel,
) -> Lambdas:
    """The derivatives of Σ Γ K, and of Σ Γ times the variance of the read-out's bias."""

    def objective(lambdas: Lambdas) -> Float[Array, ""]:
        total = jnp.sum(scaled * kernel(lambdas, arrays))
        return total if lambdas[1] is None else total + whole / lambdas[1][-1]

    return jax.jacfwd(objective)(lambdas)


def _sensitivities(
    spec: EnsembleSpec,
    data: Dataset,
    result: Generalisation,
    kernel: _Kernel,
    lambdas: Lambdas,
    arrays: Arrays,
    regression: Regression | None,
) -> Sensitivity:
    """Γ in what the kernel is scaled by, in A itself, and its trace, summed over the outputs."""
    if result.name in OWN_KERNELS:
        gram = np.asarray(_gram_of(lambdas, arrays, kernel))
        blocks = GramBlocks(
            gram, np.zeros((1, len(gram))), np.zeros(1), readout_columns(spec, len(gram)),
            readout_columns(spec, 1),
        )  # fmt: skip
        num_null = int(np.sum(~gram_regression(spec, data, regression).in_range))
        own = decompose(blocks, data.y_train, num_null=num_null)
        return own.sensitivity(spec.temperature, np.ones(1), np.ones(1))
    regression = gram_regression(spec, data, regression)
    scales, weights = np.ones(regression.num_outputs), np.ones(1)
    outputs = regression.per_output()
    if result.name == "multi_output":
        scales, rotation = np.linalg.eigh(np.array(result.order_parameters))
        targets = regression.projected_targets.reshape(data.num_train, -1) @ rotation
        outputs = replace(regression, projected_targets=targets).per_output()
    elif result.name == "scale_mixture":
        assert spec.hidden_widths is not None, "the theory has checked it"
        action = scale_action(spec, regression, spec.hidden_widths)
        average = average_over_scale(*action, regression)
        in_scale, alone = (
            regression.sensitivity(spec.temperature, average.scales, average.weights * factor)
            for factor in (average.scales, np.ones_like(average.scales))
        )
        return alone._replace(of_gram=in_scale.of_gram)
    elif result.name in ("one_layer", "global"):
        scales = np.array([np.prod(result.order_parameters)])
    parts = [
        one.sensitivity(spec.temperature, np.array([scale]), weights)
        for one, scale in zip(outputs, scales, strict=True)
    ]
    of_gram, whole, traces = zip(*parts, strict=True)
    scaled = np.einsum("j,jpq->pq", scales, np.array(of_gram))
    return Sensitivity(scaled, np.sum(whole, axis=0), float(sum(traces)))
