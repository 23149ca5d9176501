"""What a network is to the package, and the outputs of many networks at once.

Many networks are arrays with leading axes. A `Network` evaluates them as batched matrix products;
any other Equinox module is mapped over chains and examples by `evaluate`.
"""

import abc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.config.architectures import ARCHITECTURES
from langevin_nn.config.sections import NetworkConfig
from langevin_nn.data.dataset import Dataset
from langevin_nn.footprint import NetworkSizes
from langevin_nn.model.input_space import InputSpace
from langevin_nn.model.precision import full_precision
from langevin_nn.own_classes import require_constructor, require_methods
from langevin_nn.types import Activation, InputError, Patches, random_key
from langevin_nn.values import require_array, shown
from langevin_nn.wide_layers import Layer

METHODS = {"features": ("x",), "batch": ("x",), "__call__": ("x",), "reduced": ("data",)}
"""The methods that classes of networks write anew, and the arguments that they are called with."""


BY_NAME = ("key", "dtype", "num_outputs", "biases")
"""The arguments by name that `Network.from_config` makes a network with."""


class Network(eqx.Module):
    """A network that the package knows: how to evaluate many, and what a theory may know. Abstract.

    `weights` and `biases` are tuples of arrays, one for each layer, the read-out's last; `biases`
    is empty for a network without. With leading axes (chains, say) in all of them the module
    stands for as many networks.
    """

    def __check_init__(self) -> None:
        """Raise `InputError` where a method of the object's class cannot be called as it is."""
        require_methods(type(self), METHODS)

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
    def layers(self) -> tuple[Layer, ...] | None:
        """What each layer does to covariances as the widths grow, in the order of the weights.

        The network's Gram matrix, tangent kernel and theories are made of them. None, unless a
        network says them: these are then not known. The first is an `InputLayer`.
        """
        return None

    @property
    def num_units(self) -> int:
        """The activations that one input takes, over all hidden layers, for the memory of a run."""
        return sum(self.hidden_widths)

    def reduced(self, data: Dataset) -> tuple["Network", InputSpace | None]:
        """The network on fewer coordinates of its inputs, with the same posterior, and their space.

        The network itself and None, unless it says more: one that sees its inputs through
        `weights[0]` alone gives `InputSpace.reduced(self, data)`.
        """
        return self, None

    @property
    def num_outputs(self) -> int:
        """D, the number of outputs; with one, arrays of outputs have no axis for it."""
        return 1

    def with_outputs(self, number: int) -> str:
        """The advice for a network of this kind, or of another, with that many outputs."""
        return f"write a {type(self).__name__} with num_outputs = {number}"

    def with_inputs(self, number: int) -> str:
        """The advice for a network of this kind with inputs of that size."""
        return f"write in_size = {number}"

    @property
    def receptive_fields(self) -> Patches | None:
        """The patches of a convolutional layer; None for a fully connected network."""
        return None

    @classmethod
    def from_config(
        cls, chosen: NetworkConfig, data: Dataset, *, key: PRNGKeyArray, dtype: Any
    ) -> "Network":
        """The network of a configuration for these data, its weights drawn from N(0, 1).

        It is made as a `FullyConnected` is, unless a network says otherwise. Raises `InputError`
        for data that do not fit it.
        """
        make: Callable[..., Network] = cls
        require_constructor(cls, ("in_size", "hidden_widths", "activation"), BY_NAME)
        return make(
            data.in_size, chosen.hidden_widths, chosen.activation, key=key, dtype=dtype,
            num_outputs=data.num_outputs, biases=chosen.biases,
        )  # fmt: skip

    @classmethod
    def sizes(cls, chosen: NetworkConfig, data: Dataset) -> NetworkSizes:
        """The sizes of the network that `from_config` makes; errors as there."""
        make = partial(cls.from_config, chosen, data, key=jax.random.key(0), dtype=jnp.float32)
        network = eqx.filter_eval_shape(make)
        number = sum(leaf.size for leaf in jax.tree.leaves((network.weights, network.biases)))
        return NetworkSizes(number, number, network.num_units, len(network.hidden_widths))

    @classmethod
    def caption(cls, common: Callable[[str], str]) -> str:
        """The network in a figure's caption; `common` is a setting's value by its name.

        Its widths, and what it is unless it is one of the package's.
        """
        places = {kind.place for kind in ARCHITECTURES.values()}
        own = "" if f"{cls.__module__}:{cls.__name__}" in places else f"{cls.__name__}, "
        return f"{own}N = ({common('hidden_widths')})"

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
        """f at one input x. Raises `InputError` for an x that is none, and for several networks."""
        require_array("x, one input of the network,", x, self._num_coordinates)
        first = self.weights[0]
        if first.ndim != 2:
            raise InputError(
                f"this stands for several networks, of shape {first.shape[:-2]}: write "
                "network.batch(x[None]) for f of each of them"
            )
        return self.batch(x[None, :])[0]

    @property
    def _num_coordinates(self) -> int:
        """The number of input coordinates that the first layer takes, N_0 or fewer."""
        return self.in_size

    def _require_inputs(self, x: Any) -> None:
        """Raise `InputError` unless x are inputs, one in each row."""
        require_array("x, inputs of the network, one in each row,", x, None, self._num_coordinates)


def layers_of(network: Any) -> tuple[Layer, ...] | None:
    """The layers that a network says; None where none are known.

    A class that computes something else than the one it is derived from, and says no layers of its
    own, has none: those that it inherits are another network's.
    """
    if not isinstance(network, Network):
        return None
    if overridden(network, "layers", "features", "batch", "preactivations", "__call__"):
        return None
    layers = network.layers
    if (
        is_own_network(network)
        and isinstance(layers, tuple)
        and len(layers) != len(network.weights)
    ):
        raise InputError(
            f"{type(network).__name__} has {len(layers)} layers and {len(network.weights)} arrays "
            "of weights: write one layer for each of them in layers, the first an InputLayer"
        )
    return layers


def says_layers(network: Any) -> bool:
    """Whether a class of the user's own says the layers of its own."""
    home = next(kind for kind in type(network).__mro__ if "layers" in vars(kind))
    return not home.__module__.startswith("langevin_nn.") and layers_of(network) is not None


def require_hidden_features(network: Any) -> None:
    """Raise `InputError` unless the activations of all hidden layers of the network are known."""
    known = layers_of(network) is not None and hasattr(network, "hidden_features")
    if known and not overridden(network, "hidden_features", "features", "batch", "preactivations"):
        if network.hidden_widths:
            return
        raise InputError(
            "a network without hidden layers has no representation to record: leave observables out"
        )
    raise InputError(
        "the representation is known of fully connected networks, got a "
        f"{type(network).__name__}: leave observables out of the configuration, or give functions "
        "of your own, lnn.sample(…, observables={…})"
    )


def is_own_network(network: Any) -> bool:
    """Whether the network is of a class of the user's own, derived from `Network`."""
    return isinstance(network, Network) and not type(network).__module__.startswith("langevin_nn.")


def inherits_batch(network: Network) -> bool:
    """Whether the outputs are what a class of the package makes of the features."""
    home = next(kind for kind in type(network).__mro__ if "batch" in vars(kind))
    return home.__module__.startswith("langevin_nn.")


def overridden(network: Network, inherited: str, *names: str) -> bool:
    """Whether a class below the one that this attribute is inherited from has one of the others."""
    classes = type(network).__mro__
    home = next(place for place, kind in enumerate(classes) if inherited in vars(kind))
    return any(name in vars(kind) for kind in classes[:home] for name in names)


def require_features(network: Network) -> None:
    """Raise `InputError` where `batch` is not known to be the read-out of `features`."""
    if overridden(network, "features", "batch"):
        raise InputError(
            f"{type(network).__name__} has a batch(x) of its own and inherits features(x), so that "
            "its read-out is not known: write features(x) as well, or GibbsPosterior (readout = "
            '"sampled")'
        )


def reduced_on(network: Any, data: Dataset) -> tuple[Any, InputSpace | None]:
    """`network.reduced(data)`; the network itself and None of a module that is no `Network`.

    Raises `InputError` for a class of the user's own whose reduction is another network.
    """
    if not isinstance(network, Network):
        return network, None
    if is_own_network(network):
        _require_apart(network, data.x_train[:3])
    pair: Any = network.reduced(data)
    if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], Network)):
        raise InputError(
            f"{type(network).__name__}.reduced gives {shown(pair)}: write return self, None, or "
            "InputSpace.reduced(self, data)"
        )
    reduced, space = pair
    if is_own_network(network) and space is not None:
        _require_same(network, reduced, data.x_train[:8], space.train[:8])
    return reduced, space


def _require_apart(network: Network, x: np.ndarray) -> None:
    """Raise `InputError` where f depends on the other inputs or networks of a batch."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(network)):
        return
    inputs = jnp.asarray(x, network.weights[0].dtype)
    with jax.ensure_compile_time_eval():
        together, apart = map(np.asarray, _outputs_of_two(network, inputs))
    size = np.max(np.abs(apart), where=np.isfinite(apart), initial=0.0)
    if together.shape != apart.shape or not np.allclose(
        together, apart, rtol=0, atol=1e-3 * size, equal_nan=True
    ):
        raise InputError(
            f"{type(network).__name__} has other outputs for many inputs or networks at once than "
            "for each alone: write features(x) and batch(x) without means or sums over their "
            "leading axes"
        )


@eqx.filter_jit
def _outputs_of_two(network: Network, x: Float[Array, "P N_0"]) -> tuple[Array, Array]:
    """f of two networks at inputs x, from one batch, and of each network and input alone."""
    arrays, rest = eqx.partition(network, eqx.is_inexact_array)
    pair = jax.tree.map(lambda w: jnp.stack([w, 0.7 * w]), arrays)

    def alone(arrays: Any, x: Float[Array, " N_0"]) -> Array:
        return eqx.combine(arrays, rest).batch(x[None])[0]

    apart = jax.vmap(jax.vmap(alone, (None, 0)), (0, None))(pair, x)
    return eqx.combine(pair, rest).batch(x), apart


def _require_same(network: Network, reduced: Network, x: np.ndarray, coordinates: Any) -> None:
    """Raise `InputError` unless both networks have the same outputs at inputs x (P, N_0).

    `coordinates` (P, r) are these inputs as the reduced network takes them.
    """

    def outputs(network: Network, inputs: Any) -> np.ndarray:
        return np.asarray(network.batch(jnp.asarray(inputs, dtype)), np.float64)

    dtype = network.weights[0].dtype
    f, f_reduced = outputs(network, x), outputs(reduced, coordinates)
    size = sum(np.max(np.abs(a), where=np.isfinite(a), initial=0.0) for a in (f, f_reduced))
    if not np.allclose(f, f_reduced, rtol=0, atol=1e-3 * size, equal_nan=True):
        raise InputError(
            f"{type(network).__name__} on the span of the training inputs is another network: it "
            "sees its inputs by more than weights[0]: write def reduced(self, data): return "
            "self, None"
        )


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
    try:
        floating = dtype is not None and jnp.issubdtype(np.dtype(dtype), jnp.floating)
    except TypeError:  # what NumPy knows no type by
        floating = False
    if not floating:
        raise InputError(
            f"weights are floating-point numbers, got dtype={shown(dtype)}: write float32"
        )
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
    batched, shared = eqx.partition(networks, marks)
    return jax.vmap(lambda arrays: function(eqx.combine(arrays, shared)))(batched)
