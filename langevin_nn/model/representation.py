"""Functions of one network that say what its representation is: what samplers record of a draw.

    Φ_ℓ = σ(hˡ)σ(hˡ)ᵀ/(N_ℓ λ_ℓ),   ℓ = 1 … L,       Q = λ_L v vᵀ/N_L

at the training inputs, λ_ℓ the precision of the weights that multiply σ(hˡ). The prior means of Φ_1
and of Q are the kernel K_1 of infinite width and 1, at any width.
"""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from langevin_nn.representations import Measure

__all__ = ["KernelMeasure", "OrderParameter", "Recorded", "layer_kernels"]


class Recorded(eqx.Module):
    """A function of one network that the package itself has a name for. Abstract."""

    @abc.abstractmethod
    def __call__(self, network: Any) -> Array:
        """The numbers of a network on inputs (N_0,)."""


class KernelMeasure(Recorded):
    """A `Measure` of the kernel of each hidden layer, one row for each: (L,) or (L, P).

    `x` (P, N_0) are the training inputs, `precisions` λ_1 … λ_L, and `needed` what the measure
    needs of each layer: labels (P, D), or a basis (P, P); empty for nothing.
    """

    x: Float[Array, "P N_0"]
    precisions: Float[Array, " L"]
    needed: tuple[Array, ...]
    measure: Measure = eqx.field(static=True)

    def __call__(self, network: Any) -> Array:
        """The measure of Φ_1 … Φ_L of a network."""
        kernels = layer_kernels(network, self.x, self.precisions)
        if not self.needed:
            return jnp.stack([self.measure.function(kernel) for kernel in kernels])
        pairs = zip(kernels, self.needed, strict=True)
        return jnp.stack([self.measure.function(*pair) for pair in pairs])


class OrderParameter(Recorded):
    """Q = λ_L |v|²/N_L of the read-out v, (), or with D outputs λ_L v vᵀ/N_L (D, D).

    The prior mean is 1, or the unit matrix. Given v, f has the prior covariance Q K_L as far as the
    features are Gaussian: Pacelli et al. 2023, arXiv:2209.04882.
    """

    precision: Float[Array, ""]

    def __call__(self, network: Any) -> Array:
        """Q of a network."""
        v = network.weights[-1]
        matrix = self.precision * (v @ v.T) / v.shape[-1]
        return matrix[0, 0] if len(v) == 1 else matrix


def layer_kernels(
    network: Any, x: Float[Array, "P N_0"], precisions: Float[Array, " L"]
) -> list[Float[Array, "P P"]]:
    """Φ_ℓ = σ(hˡ)σ(hˡ)ᵀ/(N_ℓ λ_ℓ) of one network's hidden layers at inputs x (P, N_0).

    >>> network = lnn.FullyConnected(2, (3,), activation="identity", key=key)
    >>> x, precisions = jnp.eye(2, dtype=jnp.float32), jnp.ones(1, dtype=jnp.float32)
    >>> (gram,) = layer_kernels(network, x, precisions)
    >>> h = np.asarray(network.weights[0].T) / np.sqrt(2)
    >>> bool(np.allclose(gram, h @ h.T / 3))
    True
    """
    return [
        features @ features.T / (features.shape[-1] * precision)
        for features, precision in zip(network.hidden_features(x), precisions, strict=True)
    ]
