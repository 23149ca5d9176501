"""Networks as Equinox modules, every factor 1/√N written out.

    h¹ = W⁰x/√N_0,   hˡ⁺¹ = Wˡσ(hˡ)/√N_ℓ,   f(x) = v·σ(hᴸ)/√N_L        (W^L = v)

Pacelli et al., arXiv:2209.04882. Parameters have no units of width in them, so that the prior
W^ℓ_ij ~ N(0, 1/λ_ℓ) gives outputs of order one at any width (NTK scaling).

Many networks at once: arrays with leading axes. `FullyConnected` evaluates them as batched matrix
products; any other Equinox module is mapped over chains and examples by `evaluate`.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.model.activations import activation as as_activation
from langevin_nn.types import Activation, InputError


class FullyConnected(eqx.Module):
    """A fully connected network with L hidden layers and one output.

    `weights[ℓ]` has shape (N_{ℓ+1}, N_ℓ), the read-out (1, N_L); with leading axes (chains, say)
    the module stands for as many networks. `fan_ins` are N_0 … N_L as they stand in the formula:
    `fan_ins[0]` stays N_0 when the first layer is expressed in fewer input coordinates.

    `key` draws the weights from a standard Gaussian. Without hidden layers, f(x) = w·x/√N_0.

    >>> import jax
    >>> network = FullyConnected(784, (500,), activation="erf", key=jax.random.key(0))
    >>> network(jax.numpy.ones(784)).shape
    ()
    """

    weights: tuple[Array, ...]
    activation: Activation = eqx.field(static=True)
    fan_ins: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        hidden_widths: tuple[int, ...],
        activation: str | Activation | Callable[[Array], Array] = "erf",
        *,
        key: PRNGKeyArray,
        dtype: Any = jnp.float32,
    ) -> None:
        sizes = (in_size, *hidden_widths)
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise InputError(
                "in_size and hidden_widths must be positive whole numbers, "
                f"got {in_size} and {tuple(hidden_widths)}"
            )
        shapes = list(zip((*sizes[1:], 1), sizes, strict=True))
        keys = jax.random.split(key, len(shapes))
        self.weights = tuple(
            jax.random.normal(k, shape, dtype) for k, shape in zip(keys, shapes, strict=True)
        )
        self.activation = as_activation(activation)
        self.fan_ins = sizes

    @property
    def in_size(self) -> int:
        return self.fan_ins[0]

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        return self.fan_ins[1:]

    def __call__(self, x: Float[Array, " N_0"]) -> Float[Array, ""]:
        return self.batch(x[None, :])[0]

    def batch(self, x: Float[Array, "P N_0"]) -> Float[Array, "*networks P"]:
        """f at P inputs for every network that the weights' leading axes hold."""
        first, *rest = self.weights
        h = jnp.einsum("...nr,pr->...pn", first, x) / math.sqrt(self.fan_ins[0])
        for weight, fan_in in zip(rest, self.fan_ins[1:], strict=True):
            features = self.activation(h)
            h = jnp.einsum("...pn,...mn->...pm", features, weight) / math.sqrt(fan_in)
        return h[..., 0]


def evaluate(networks: Any, x: Float[Array, "P N_0"]) -> Float[Array, "chains P"]:
    """f at P inputs for a batch of networks: a module whose arrays have a leading chain axis."""
    if isinstance(networks, FullyConnected):
        return networks.batch(x)
    return eqx.filter_vmap(lambda network: jax.vmap(network)(x))(networks)


def output_problem(network: Any, in_size: int) -> str | None:
    """Why `network` does not map one input (N_0,) to one number, or None where it does."""
    example = jax.ShapeDtypeStruct((in_size,), jnp.float32)
    try:
        output = eqx.filter_eval_shape(network, example)
    except (TypeError, ValueError) as error:
        return f"it fails on an input of shape ({in_size},): {str(error).splitlines()[0]}"
    if not isinstance(output, jax.ShapeDtypeStruct) or output.shape != ():
        shape = getattr(output, "shape", type(output).__name__)
        return f"it maps an input of shape ({in_size},) to {shape}, not to a single number ()"
    return None
