"""Fully connected networks as Equinox modules, every factor 1/√N written out.

    h¹ = W⁰x/√N_0 + b⁰,   hˡ⁺¹ = Wˡσ(hˡ)/√N_ℓ + bˡ,   f(x) = v·σ(hᴸ)/√N_L + bᴸ        (W^L = v)

with the biases b only where they are asked for. Pacelli et al., arXiv:2209.04882. Parameters have
no units of width in them, so that the prior W^ℓ_ij ~ N(0, 1/λ_ℓ) gives outputs of order one at any
width (NTK scaling).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.config.sections import NetworkConfig
from langevin_nn.data.dataset import Dataset
from langevin_nn.footprint import NetworkSizes, num_weights
from langevin_nn.model.activations import activation as as_activation
from langevin_nn.model.input_space import InputSpace
from langevin_nn.model.networks.base import Network, of_one_type, standard_gaussian
from langevin_nn.model.precision import full_precision
from langevin_nn.types import Activation, InputError
from langevin_nn.values import as_whole, require_count, require_flag, shown
from langevin_nn.wide_layers import DenseLayer, InputLayer, Layer


class FullyConnected(Network):
    """A fully connected network with L hidden layers and D outputs.

    `weights[ℓ]` has shape (N_{ℓ+1}, N_ℓ), the read-out (D, N_L); `biases[ℓ]`, if there are any,
    (N_{ℓ+1},), the read-out's (D,). `fan_ins` are N_0 … N_L as they stand in the formula:
    `fan_ins[0]` stays N_0 when the first layer is expressed in fewer input coordinates.

    `key` draws all of them from a standard Gaussian. Without hidden layers, f(x) = w·x/√N_0. One
    network maps an input (N_0,) to (D,), or for D = 1 to a number ().

    Raises `InputError` for sizes that are not positive whole numbers.

    >>> network = FullyConnected(784, (500,), activation="erf", key=jax.random.key(0))
    >>> network(jnp.ones(784)).shape
    ()
    >>> network = FullyConnected(784, (500,), num_outputs=10, biases=True, key=jax.random.key(0))
    >>> network(jnp.ones(784)).shape, [bias.shape for bias in network.biases]
    ((10,), [(500,), (10,)])
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    activation: Activation = eqx.field(static=True)
    fan_ins: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        hidden_widths: Sequence[int],
        activation: str | Activation | Callable[[Array], Array] = "erf",
        *,
        key: PRNGKeyArray,
        dtype: Any = jnp.float32,
        num_outputs: int = 1,
        biases: bool = False,
    ) -> None:
        if isinstance(hidden_widths, str) or not hasattr(hidden_widths, "__iter__"):
            raise InputError(
                "hidden_widths are one number for each hidden layer, got "
                f"{shown(hidden_widths)}: write ({shown(hidden_widths)},)"
            )
        sizes = tuple(as_whole(size) or 0 for size in (in_size, *hidden_widths))
        if min(sizes) < 1:
            raise InputError(
                "in_size and hidden_widths must be positive whole numbers, "
                f"got {shown(in_size)} and {shown(tuple(hidden_widths))}"
            )
        require_count("num_outputs", num_outputs)
        require_flag("biases", biases)
        rows = (*sizes[1:], num_outputs)
        shapes = list(zip(rows, sizes, strict=True))
        self.weights, self.biases = standard_gaussian(
            key, shapes, [(size,) for size in rows] if biases else [], dtype
        )
        self.activation = as_activation(activation)
        self.fan_ins = sizes

    @property
    def in_size(self) -> int:
        """N_0, the number of inputs, also where the first layer is on fewer coordinates of them."""
        return self.fan_ins[0]

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """The numbers of hidden units, (N_1, …, N_L)."""
        return self.fan_ins[1:]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layer on the inputs, and a dense one for each hidden layer's activations."""
        return (
            InputLayer(self.in_size), *(DenseLayer(self.activation),) * len(self.hidden_widths)
        )  # fmt: skip

    @property
    def num_outputs(self) -> int:
        """D, the number of rows of the read-out."""
        return self.weights[-1].shape[-2]

    def reduced(self, data: Dataset) -> tuple[Network, InputSpace]:
        """The network on the span of the training inputs, and the space that they span."""
        return InputSpace.reduced(self, data)

    def with_outputs(self, number: int) -> str:
        """The advice for a fully connected network with that many outputs."""
        return f"write FullyConnected(…, num_outputs={number})"

    @classmethod
    def sizes(cls, chosen: NetworkConfig, data: Dataset) -> NetworkSizes:
        """The sizes of the network, with as many sampled inputs as the training inputs span."""
        rank = min(data.in_size, data.num_train)  # on the span of the training inputs
        sampled, drawn = (
            num_weights((size, *chosen.hidden_widths, data.num_outputs), chosen.biases)
            for size in (rank, data.in_size)
        )
        units, depth = sum(chosen.hidden_widths), len(chosen.hidden_widths)
        return NetworkSizes(sampled, drawn, units, depth)

    @full_precision
    def features(self, x: Float[Array, "P N_0"]) -> Float[Array, "... P M"]:
        """The activations σ(hᴸ) of the last hidden layer, (…, P, N_L), at x (P, N_0)."""
        return self.hidden_features(x)[-1]

    @full_precision
    def hidden_features(self, x: Float[Array, "P N_0"]) -> tuple[Float[Array, "... P _"], ...]:
        """The activations σ(h¹) … σ(hᴸ) of all hidden layers, each (…, P, N_ℓ), at x (P, N_0)."""
        activations = [self.activation(self.preactivations(0, x))]
        for layer in range(1, len(self.hidden_widths)):
            activations.append(self.activation(self.preactivations(layer, activations[-1])))
        return tuple(activations)

    @full_precision
    def batch(self, x: Float[Array, "P N_0"]) -> Float[Array, "..."]:
        """f of every network, (…, P), or (…, P, D) for D > 1 outputs, at x (P, N_0)."""
        last = len(self.hidden_widths)
        h = self.preactivations(last, self.features(x) if last else x)
        return h[..., 0] if self.num_outputs == 1 else h

    @full_precision
    def preactivations(
        self, layer: int, inputs: Float[Array, "... P M"]
    ) -> Float[Array, "... P N"]:
        """Wˡφ/√N_ℓ + bˡ of the inputs φ of layer ℓ, the features below or for ℓ = 0 x itself."""
        if layer == 0:
            return self._first_preactivations(inputs)
        features, weights = of_one_type(inputs, self.weights[layer])
        h = jnp.einsum("...pn,...mn->...pm", features, weights) / math.sqrt(self.fan_ins[layer])
        return self._with_bias(h, layer)

    @property
    def _num_coordinates(self) -> int:
        return self.weights[0].shape[-1]

    def _first_preactivations(self, x: Float[Array, "P N_0"]) -> Array:
        self._require_inputs(x)
        weights, x = of_one_type(self.weights[0], x)
        h = jnp.einsum("...nr,pr->...pn", weights, x) / math.sqrt(self.fan_ins[0])
        return self._with_bias(h, layer=0)

    def _with_bias(self, h: Float[Array, "*networks P N"], layer: int) -> Array:
        if not self.biases:
            return h
        h, bias = of_one_type(h, self.biases[layer])
        return h + bias[..., None, :]
