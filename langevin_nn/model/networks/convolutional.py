"""One convolutional layer with a dense read-out.

    h_ic = W_c·x_i/√M + b_c,      f(x) = Σ_i Σ_c v_ic σ(h_ic)/√(N_c n) + b

with x_i the M inputs of patch i of n, and N_c channels that share W over the patches; the biases
only where they are asked for. Aiudi, Pacelli, Vezzani, Burioni, Rotondo, arXiv:2307.11807.

Its prior has E[f(x) f(x')] = n⁻¹ Σ_i κ(x_i, x'_i)/λ_1 at any number of channels: read-outs of
different patches are independent, whatever the features of one patch have to do with another's.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.config.sections import NetworkConfig
from langevin_nn.data.dataset import Dataset
from langevin_nn.footprint import NetworkSizes, num_weights
from langevin_nn.model.activations import activation as as_activation
from langevin_nn.model.networks.base import Network, of_one_type, standard_gaussian
from langevin_nn.model.precision import full_precision
from langevin_nn.own_classes import require_constructor
from langevin_nn.types import Activation, InputError, Patches
from langevin_nn.values import require_count, require_flag, shown
from langevin_nn.wide_layers import DenseLayer, Layer, PatchLayer


class Convolutional(Network):
    """A convolutional layer of `num_channels` channels on `patches`, and a dense read-out.

    `weights` are W (N_c, M) and the read-out v (n, N_c); `biases`, if there are any, b_c (N_c,)
    and the read-out's (1,). `key` draws all of them from a standard Gaussian. One network maps an
    input (N_0,), an image as `Patches` describes it, to a number ().

    Raises `InputError` for patches that are none and for a number of channels that is not a
    positive whole number.

    >>> patches = Patches((8, 8, 1), size=4, stride=4)
    >>> network = Convolutional(patches, 50, "erf", key=jax.random.key(0))
    >>> network(jnp.ones(64)).shape, [weight.shape for weight in network.weights]
    ((), [(50, 16), (4, 50)])
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    activation: Activation = eqx.field(static=True)
    patches: Patches = eqx.field(static=True)

    def __init__(
        self,
        patches: Patches,
        num_channels: int,
        activation: str | Activation | Callable[[Array], Array] = "erf",
        *,
        key: PRNGKeyArray,
        dtype: Any = jnp.float32,
        biases: bool = False,
    ) -> None:
        if not isinstance(patches, Patches):
            raise InputError(
                f"patches must be Patches(image_shape, size, stride), got {shown(patches)}: write "
                "Patches((28, 28, 1), size=4, stride=4) for images of 28 × 28 grey pixels"
            )
        require_count("num_channels", num_channels)
        require_flag("biases", biases)
        shapes = [(num_channels, patches.patch_size), (patches.num_patches, num_channels)]
        self.weights, self.biases = standard_gaussian(
            key, shapes, [(num_channels,), (1,)] if biases else [], dtype
        )
        self.activation = as_activation(activation)
        height, width, colours = patches.image_shape  # a tuple, for JAX to hash
        self.patches = replace(patches, image_shape=(height, width, colours))

    @property
    def in_size(self) -> int:
        """N_0, the number of pixels of an image, all colours counted."""
        return math.prod(self.patches.image_shape)

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """The number of channels, (N_c,)."""
        return (self.weights[0].shape[-2],)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layer on the patches, and the read-out of all of them."""
        return PatchLayer.on(self.patches), DenseLayer(self.activation)

    @property
    def num_units(self) -> int:
        """The activations that one input takes, n N_c: all channels on all patches."""
        return self.patches.num_patches * self.hidden_widths[0]

    @property
    def receptive_fields(self) -> Patches:
        """The patches on which the channels look."""
        return self.patches

    def with_inputs(self, number: int) -> str:
        """The advice for a convolutional network on images with that many inputs."""
        return f"give patches of images with {number} inputs"

    def with_outputs(self, number: int) -> str:
        """The advice for a network with that many outputs, which is another than this kind."""
        return (
            "a convolutional network has one output: write targets of shape (P,), of two classes "
            f"say, or FullyConnected(…, num_outputs={number})"
        )

    @classmethod
    def from_config(
        cls, chosen: NetworkConfig, data: Dataset, *, key: PRNGKeyArray, dtype: Any
    ) -> "Convolutional":
        """The network of a configuration on patches of these data's images, drawn from N(0, 1).

        Raises `InputError` for data that are no images, and for several outputs.
        """
        patches = _patches(chosen, data)
        if data.num_outputs > 1:
            raise InputError(
                f"a convolutional network has one output, the targets have {data.num_outputs}: "
                'write two classes with targets = [-1.0, 1.0], or architecture = "fully_connected"'
            )
        (channels,) = chosen.hidden_widths
        named = ("key", "dtype", "biases")
        require_constructor(cls, ("patches", "num_channels", "activation"), named)
        return cls(patches, channels, chosen.activation, key=key, dtype=dtype, biases=chosen.biases)

    @classmethod
    def sizes(cls, chosen: NetworkConfig, data: Dataset) -> NetworkSizes:
        """The sizes of the network: N_c M weights of the channels and n N_c of the read-out."""
        patches, (channels,) = _patches(chosen, data), chosen.hidden_widths
        readout = patches.num_patches * channels
        weights = num_weights((patches.patch_size, channels), chosen.biases) + readout
        return NetworkSizes(weights, weights, readout, 1, patches.num_patches)

    @classmethod
    def caption(cls, common: Callable[[str], str]) -> str:
        """The sizes of the patches and the number of channels, in a figure's caption."""
        size, stride, channels = map(common, ("patch_size", "stride", "hidden_widths"))
        return f"convolution on {size}×{size} patches (stride {stride}), N_c = {channels}"

    @full_precision
    def features(self, x: Float[Array, "P N_0"]) -> Float[Array, "*networks P M"]:
        """σ(h_ic) of all channels on all patches side by side, (…, P, n N_c), at x (P, N_0)."""
        of_patches = self._of_patches(x)
        return of_patches.reshape(*of_patches.shape[:-2], -1)

    @full_precision
    def batch(self, x: Float[Array, "P N_0"]) -> Float[Array, "*networks P"]:
        """f = Σ_ic v_ic σ(h_ic)/√(n N_c) + b of every network, (…, P), at x (P, N_0)."""
        of_patches, readout = of_one_type(self._of_patches(x), self.weights[1])
        f = jnp.einsum("...pic,...ic->...p", of_patches, readout)
        f = f / math.sqrt(readout.shape[-1] * readout.shape[-2])
        if not self.biases:
            return f
        f, bias = of_one_type(f, self.biases[1])
        return f + bias

    def _of_patches(self, x: Float[Array, "P N_0"]) -> Float[Array, "*networks P n N_c"]:
        """σ(h_ic) of all channels on each patch."""
        self._require_inputs(x)
        weights, inputs = of_one_type(self.weights[0], x[:, self.patches.indices()])
        h = jnp.einsum("...cm,pim->...pic", weights, inputs) / math.sqrt(inputs.shape[-1])
        if self.biases:
            h, bias = of_one_type(h, self.biases[0])
            h = h + bias[..., None, None, :]
        return self.activation(h)


def _patches(chosen: NetworkConfig, data: Dataset) -> Patches:
    """The patches of a configuration. Raises `InputError` for data that are no images.

    Images with their colours first would have patches of rows. A fully connected network does not
    mind, and takes them.
    """
    if data.image_shape is None:
        raise InputError(
            f"a convolutional network needs images, and {data.name} has inputs without a shape: "
            "write another data.source, x_train of shape (P, H, W) in an npz file, or "
            'architecture = "fully_connected"'
        )
    height, _, colours = data.image_shape
    if height in (1, 3) and colours not in (1, 3, 4):
        raise InputError(
            f"images of height {height} with {colours} colours have their colours first: save "
            "x_train.transpose(0, 2, 3, 1), and x_test as well"
        )
    return Patches(data.image_shape, chosen.patch_size, chosen.stride)
