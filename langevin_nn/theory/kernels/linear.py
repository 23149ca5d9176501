"""The factor of a linear network's Gram matrix: K_L = F Fᵀ with features F (P, m) that are known.

With σ(z) = z the recursion of `nngp` ends in

    K_L = Σ_i x_i x_iᵀ/(n M λ_0 ⋯ λ_L) + Σ_{ℓ<L} b_ℓ/(λ_{ℓ+1} ⋯ λ_L)

over n patches (one, the whole input, for a fully connected network), so that F is the inputs and,
where there are biases below the read-out, one column.
"""

import numpy as np
from jaxtyping import Float

from langevin_nn.theory.kernels.layers import steps_of
from langevin_nn.types import EnsembleSpec

__all__ = ["linear_factor"]


def linear_factor(
    spec: EnsembleSpec, patches: Float[np.ndarray, "n P M"]
) -> Float[np.ndarray, "P m"] | None:
    """F of K_L = F Fᵀ; None for a network that is not linear.

    >>> linear = EnsembleSpec(2, (9,), identity, (0.5, 2.0), 0.1, bias_precisions=(4.0, 1.0))
    >>> linear_factor(linear, np.array([[[3.0, 4.0]]])) ** 2  # x²/(N_0 λ_0 λ_1) and b_0/λ_1
    array([[4.5  , 8.   , 0.125]])
    """
    first, *rest = steps_of(spec)
    divisors = [step.layer.precision_of_linear(step.precision) for step in rest]
    if any(divisor is None for divisor in divisors):
        return None
    num_patches, num_examples, size = patches.shape
    after = np.cumprod((1.0, *divisors[::-1]))[::-1]  # λ_{ℓ+1} ⋯ λ_L for ℓ = 0 … L
    scale = np.sqrt(num_patches * size * first.precision) * np.sqrt(after[0])
    factor = np.moveaxis(patches, 0, 1).reshape(num_examples, num_patches * size) / scale
    if spec.bias_precisions is None or not rest:
        return factor
    bias = np.sqrt(np.sum(1 / (np.array(spec.bias_precisions[:-1]) * after[:-1])))
    return np.concatenate([factor, np.full((num_examples, 1), bias)], axis=1)
