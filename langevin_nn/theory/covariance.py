"""The covariance that a theory's posterior comes from, as its log evidence depends on it.

log p(y) = log N(y; 0, A) with A = T I + K_R(λ; Q) + (read-out bias), K_R at the order parameters Q.
An `OutputCovariance` has K_R as a JAX function of the precisions, and ∂ log p/∂K_R.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.ensemble import gram_regression
from langevin_nn.theory.kernels.layers import feature_gram, skeleton_of
from langevin_nn.theory.kernels.nngp import GramBlocks, fields, readout_columns
from langevin_nn.theory.regression.eigenbasis import Regression, Sensitivity
from langevin_nn.theory.regression.factorise import decompose
from langevin_nn.theory.regression.resolvable import require_resolved_action
from langevin_nn.types import EnsembleSpec

__all__ = [
    "Arrays", "OutputCovariance", "InfiniteWidthKernel", "Kernel", "Lambdas", "at_scales",
    "of_infinite_width", "of_kernel", "precisions_of",
]  # fmt: skip

Lambdas = tuple[Float[np.ndarray | Array, " layers"], Float[np.ndarray | Array, " layers"] | None]
Arrays = tuple[Float[np.ndarray | Array, "n P M"], Float[np.ndarray | Array, " *orders"]]
Kernel = Callable[[Lambdas, Arrays], Float[Array, "P P"]]


class OutputCovariance(NamedTuple):
    """A Gram matrix of the precisions, kernel(λ, arrays), and ∂ log p/∂ of this matrix.

    It is K_R, or K_L where K_R = Q K_L has one scale (or an average over such). Made by
    `at_scales`, `of_infinite_width` and `of_kernel`. `kernel` is hashable, equal for ensembles
    that share its program; `arrays` are the inputs and the order parameters.
    """

    kernel: Kernel
    arrays: Arrays
    sensitivity: Sensitivity


@dataclass(frozen=True)
class InfiniteWidthKernel:
    """K_L as a function of the precisions, for theories with one scale of it or a mixture.

    Its program depends on `skeleton`, which is what `skeleton_of` leaves of the ensemble.

    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)
    >>> InfiniteWidthKernel(linear)((np.array([0.5]), None), (np.eye(2)[None], np.empty(0)))
    Array([[1., 0.],
           [0., 1.]], dtype=float64)
    """

    skeleton: EnsembleSpec

    def __call__(self, prior_precisions: Lambdas, arrays: Arrays) -> Float[Array, "P P"]:
        (precisions, biases), (train, _) = prior_precisions, arrays
        return feature_gram(
            self.skeleton, train, train, precisions=precisions, bias_precisions=biases
        )


def precisions_of(spec: EnsembleSpec) -> Lambdas:
    """The prior precisions of the weights, and of the biases or None, as arrays.

    >>> precisions_of(EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0))
    (array([0.5]), None)
    """
    biases = spec.bias_precisions
    return np.array(spec.prior_precisions), None if biases is None else np.array(biases)


def at_scales(
    ensemble: Ensemble,
    outputs: list[Regression],
    scales: Float[np.ndarray, " D"],
) -> OutputCovariance:
    """The covariance of outputs j that are independent with Q_j K_L each: ∂ log p is their sum.

    With A = 2 I and y = (1, 0), ∂ log p/∂K = ½ (a aᵀ − A⁻¹) = −diag(1, 2)/8:

    >>> data = two_points(1.0, 0.0)
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)  # K = I
    >>> ensemble = Ensemble(linear, data)
    >>> found = at_scales(ensemble, [gram_regression(ensemble)], np.ones(1))
    >>> np.diag(found.sensitivity.of_gram)
    array([-0.125, -0.25 ])
    """
    sensitivities, temperature = [], ensemble.spec.temperature
    for regression, scale in zip(outputs, scales, strict=True):
        # Γ is summed with ∂K/∂λ, which has the rounding of K itself
        require_resolved_action(replace(regression, beyond=None), temperature, float(scale))
        sensitivities.append(regression.sensitivity(temperature, np.array([scale]), np.ones(1)))
    of_gram, whole, traces = zip(*sensitivities, strict=True)
    scaled = np.einsum("j,jpq->pq", scales, np.array(of_gram))
    summed = Sensitivity(scaled, np.sum(whole, axis=0), float(sum(traces)))
    return of_infinite_width(ensemble, summed)


def of_infinite_width(ensemble: Ensemble, sensitivity: Sensitivity) -> OutputCovariance:
    """The `OutputCovariance` with the kernel K_L, for a ∂ log p/∂K_L that is known.

    >>> data = two_points(1.0, 0.0)
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)
    >>> found = of_infinite_width(Ensemble(linear, data), Sensitivity(np.eye(2), np.eye(2), 2.0))
    >>> found.sensitivity.trace
    2.0
    """
    arrays: Arrays = fields(ensemble.spec, ensemble.data.x_train), np.array(())
    return OutputCovariance(InfiniteWidthKernel(skeleton_of(ensemble.spec)), arrays, sensitivity)


def of_kernel(
    kernel_of: Callable[[EnsembleSpec], Kernel],
    ensemble: Ensemble,
    orders: Any,
) -> OutputCovariance:
    """The covariance K_R that is not a scale times K_L, at the order parameters `orders`.

    `kernel_of` makes the kernel of what `skeleton_of` leaves of the ensemble. K_L vanishes where
    K_R does.

    >>> data = two_points(1.0, 0.0)
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)  # K = I
    >>> of_kernel(InfiniteWidthKernel, Ensemble(linear, data), (1.0,)).sensitivity.trace
    -0.375
    """
    spec, data = ensemble.spec, ensemble.data
    kernel = kernel_of(skeleton_of(spec))
    arrays = fields(spec, data.x_train), np.array(orders)
    gram = np.asarray(_gram_of(precisions_of(spec), arrays, kernel))
    blocks = GramBlocks(
        gram, np.zeros((1, len(gram))), np.zeros(1), readout_columns(spec, len(gram)),
        readout_columns(spec, 1),
    )  # fmt: skip
    num_null = int(np.sum(~gram_regression(ensemble).in_range))
    regression = decompose(blocks, data.y_train, num_null=num_null)
    require_resolved_action(regression, spec.temperature, 1.0)
    return OutputCovariance(
        kernel, arrays, regression.sensitivity(spec.temperature, np.ones(1), np.ones(1))
    )


@partial(jax.jit, static_argnames=("kernel",))
def _gram_of(prior_precisions: Lambdas, arrays: Arrays, kernel: Kernel) -> Float[Array, "P P"]:
    return kernel(prior_precisions, arrays)
