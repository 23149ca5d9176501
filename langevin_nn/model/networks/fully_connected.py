"""Networks as Equinox modules, every factor 1/√N written out.

    h¹ = W⁰x/√N_0 + b⁰,   hˡ⁺¹ = Wˡσ(hˡ)/√N_ℓ + bˡ,   f(x) = v·σ(hᴸ)/√N_L + bᴸ        (W^L = v)

with the biases b only where they are asked for. Pacelli et al., arXiv:2209.04882. Parameters have
no units of width in them, so that the prior W^ℓ_ij ~ N(0, 1/λ_ℓ) gives outputs of order one at any
width (NTK scaling).

Many networks at once: arrays with leading axes. A `Network` evaluates them as batched matrix
products; any other Equinox module is mapped over chains and examples by `evaluate`.
"""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.config.fields import shown
from langevin_nn.model.activations import activation as as_activation
from langevin_nn.model.precision import full_precision
from langevin_nn.types import Activation, InputError, Patches, random_key
from langevin_nn.values import as_whole


class Network(eqx.Module):
    """What the package knows of its own networks: how to evaluate many, what a theory may know.

    `weights` and `biases` are tuples of arrays, one for each layer, the read-out's last; `biases`
    is empty for a network without. With leading axes (chains, say) in all of them the module
    stands for as many networks.
    """

    weights: eqx.AbstractVar[tuple[Array, ...]]
    biases: eqx.AbstractVar[tuple[Array, ...]]
    activation: eqx.AbstractVar[Activation]

    @property
    @abc.abstractmethod
    def in_size(self) -> int:
        """N_0, the number of inputs."""

    @property
    @abc.abstractmethod
    def hidden_widths(self) -> tuple[int, ...]:
        """N_1 … N_L; the number of channels of a convolutional layer."""

    @property
    def num_outputs(self) -> int:
        """D. With one output, outputs have no axis for it."""
        return 1

    @property
    def receptive_fields(self) -> Patches | None:
        """The patches of a convolutional layer; None for a fully connected network."""
        return None

    @abc.abstractmethod
    def features(self, x: Float[Array, "P N_0"]) -> Float[Array, "... P M"]:
        """What the read-out multiplies, for every network of the leading axes.

        The activations σ(hᴸ) of the last hidden layer; of a convolutional one all patches' channels
        side by side, M = n N_c. f = features·v/√M + b. They need no read-out: its weights may be
        None.
        """

    @abc.abstractmethod
    def batch(self, x: Float[Array, "P N_0"]) -> Float[Array, "..."]:
        """f at P inputs, (…, P) or (…, P, D), for every network of the leading axes."""

    def __call__(self, x: Float[Array, " N_0"]) -> Float[Array, "*D"]:
        return self.batch(x[None, :])[0]


class FullyConnected(Network):
    """A fully connected network with L hidden layers and D outputs.

    `weights[ℓ]` has shape (N_{ℓ+1}, N_ℓ), the read-out (D, N_L); `biases[ℓ]`, if there are any,
    (N_{ℓ+1},), the read-out's (D,). `fan_ins` are N_0 … N_L as they stand in the formula:
    `fan_ins[0]` stays N_0 when the first layer is expressed in fewer input coordinates.

    `key` draws all of them from a standard Gaussian. Without hidden layers, f(x) = w·x/√N_0. One
    network maps an input (N_0,) to (D,), or for D = 1 to a number ().

    Raises `InputError` for sizes that are not positive whole numbers.

    >>> import jax
    >>> network = FullyConnected(784, (500,), activation="erf", key=jax.random.key(0))
    >>> network(jax.numpy.ones(784)).shape
    ()
    >>> network = FullyConnected(784, (500,), num_outputs=10, biases=True, key=jax.random.key(0))
    >>> network(jax.numpy.ones(784)).shape, [bias.shape for bias in network.biases]
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
        if (as_whole(num_outputs) or 0) < 1:
            raise InputError(
                f"num_outputs must be a positive whole number, got {shown(num_outputs)}"
            )
        rows = (*sizes[1:], num_outputs)
        shapes = list(zip(rows, sizes, strict=True))
        self.weights, self.biases = standard_gaussian(
            key, shapes, [(size,) for size in rows] if biases else [], dtype
        )
        self.activation = as_activation(activation)
        self.fan_ins = sizes

    @property
    def in_size(self) -> int:
        return self.fan_ins[0]

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        return self.fan_ins[1:]

    @property
    def num_outputs(self) -> int:
        return self.weights[-1].shape[-2]

    @full_precision
    def features(self, x: Float[Array, "P N_0"]) -> Float[Array, "... P M"]:
        h = self._first(x)
        for layer, fan_in in enumerate(self.fan_ins[1:-1], 1):
            h = self._next(self.activation(h), layer, fan_in)
        return self.activation(h)

    @full_precision
    def batch(self, x: Float[Array, "P N_0"]) -> Float[Array, "..."]:
        if self.hidden_widths:
            h = self._next(self.features(x), len(self.hidden_widths), self.fan_ins[-1])
        else:
            h = self._first(x)
        return h[..., 0] if self.num_outputs == 1 else h

    def _first(self, x: Float[Array, "P N_0"]) -> Array:
        weights, x = of_one_type(self.weights[0], x)
        h = jnp.einsum("...nr,pr->...pn", weights, x) / math.sqrt(self.fan_ins[0])
        return self._shifted(h, layer=0)

    def _next(self, features: Array, layer: int, fan_in: int) -> Array:
        features, weights = of_one_type(features, self.weights[layer])
        h = jnp.einsum("...pn,...mn->...pm", features, weights) / math.sqrt(fan_in)
        return self._shifted(h, layer)

    def _shifted(self, h: Float[Array, "*networks P N"], layer: int) -> Array:
        if not self.biases:
            return h
        h, bias = of_one_type(h, self.biases[layer])
        return h + bias[..., None, :]


def of_one_type(*arrays: Array | np.ndarray) -> list[Array]:
    """The arrays in the type that JAX takes for their product, whether it may be implied or not."""
    with jax.numpy_dtype_promotion("standard"):
        common = jnp.result_type(*arrays)
    return [jnp.asarray(array, common) for array in arrays]


def standard_gaussian(
    key: PRNGKeyArray,
    weights: Sequence[tuple[int, ...]],
    biases: Sequence[tuple[int, ...]],
    dtype: Any,
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Weights and biases of these shapes, every entry N(0, 1).

    Raises `InputError` for what is no key or no floating-point type.
    """
    key = random_key(key)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"weights are floating-point numbers, got dtype={dtype!r}: write float32")
    shapes = [*weights, *biases]
    keys = jax.random.split(key, len(shapes))
    drawn = [jax.random.normal(k, shape, dtype) for k, shape in zip(keys, shapes, strict=True)]
    return tuple(drawn[: len(weights)]), tuple(drawn[len(weights) :])


def evaluate(
    networks: Any, x: Float[Array, "P N_0"], sampled: tuple[bool, ...] | None = None
) -> Float[Array, "chains P *D"]:
    """f at P inputs for a batch of networks; `sampled` as for `of_each`."""
    if isinstance(networks, Network):
        return networks.batch(x)
    return of_each(lambda network: jax.vmap(network)(x), networks, sampled)


@full_precision
def of_each(
    function: Callable[[Any], Any], networks: Any, sampled: tuple[bool, ...] | None = None
) -> Any:
    """What `function` says of each network of a batch, with a leading chain axis.

    `sampled` marks the leaves of `networks` that have the chain axis; what else is in a module is
    the same for all chains. None stands for all of its arrays.
    """
    marks: Any = eqx.is_array
    if sampled is not None:
        marks = jax.tree.unflatten(jax.tree.structure(networks), sampled)
    batched, rest = eqx.partition(networks, marks)
    return jax.vmap(lambda one: function(eqx.combine(one, rest)))(batched)


def _require_sizes(network: Network, in_size: int, num_outputs: int) -> None:
    """Raise `InputError` unless the network has these inputs and outputs, those of the data."""
    if network.in_size != in_size:
        advice = f"write in_size = {in_size}"
        if network.receptive_fields is not None:
            advice = f"give patches of images with {in_size} inputs"
        raise InputError(
            f"the network takes inputs of size {network.in_size}, the data have {in_size}: {advice}"
        )
    if network.num_outputs != num_outputs:
        raise InputError(
            f"the network has {network.num_outputs} output(s), the data have {num_outputs}: "
            f"write FullyConnected(…, num_outputs={num_outputs})"
        )


def require_output(network: Any, in_size: int, num_outputs: int, dtype: Any) -> None:
    """Raise `InputError` unless `network` maps one input (N_0,) to (D,), or for D = 1 to ()."""
    if isinstance(network, Network):
        _require_sizes(network, in_size, num_outputs)
    example = jax.ShapeDtypeStruct((in_size,), dtype)
    expected = () if num_outputs == 1 else (num_outputs,)
    words = "a single number ()" if num_outputs == 1 else f"the targets' ({num_outputs},)"
    try:
        output = eqx.filter_eval_shape(network, example)
    except TRACING_ERRORS as error:
        raise InputError(
            "the network does not fit the data: it fails on an input of shape "
            f"({in_size},): {first_line(error)}"
        ) from error
    is_array = isinstance(output, jax.ShapeDtypeStruct)
    is_real = is_array and jnp.issubdtype(output.dtype, jnp.floating)
    if not is_real or output.shape != expected:
        returned = type(output).__name__
        if is_array:
            returned = f"{output.shape}" if is_real else f"{output.dtype} {output.shape}"
        raise InputError(
            f"the network does not fit the data: it maps an input of shape ({in_size},) to "
            f"{returned}, not to {words}"
        )


TRACING_ERRORS = (
    TypeError, ValueError, AttributeError, LookupError, NameError, ArithmeticError, AssertionError,
    RuntimeError,
)  # fmt: skip
"""What a function of the user's raises where it cannot be traced, besides mistakes of its own."""


def first_line(error: Exception) -> str:
    """The first line of an error's message, its kind where it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
