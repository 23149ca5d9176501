"""The parts of a run that a configuration names: network, posterior and dynamics."""

import jax
import jax.numpy as jnp

from langevin_nn import footprint
from langevin_nn.config.record import RunConfig, SamplerConfig
from langevin_nn.data.load import Dataset
from langevin_nn.model.losses import Loss, loss_named
from langevin_nn.model.marginalised import MarginalisedPosterior
from langevin_nn.model.networks.base import Network
from langevin_nn.model.networks.convolutional import Convolutional
from langevin_nn.model.networks.fully_connected import FullyConnected
from langevin_nn.model.posterior import GibbsPosterior, Posterior
from langevin_nn.sampling.dynamics.langevin import Langevin
from langevin_nn.sampling.dynamics.split import Split
from langevin_nn.theory.suite import THEORIES, theory_named
from langevin_nn.types import InputError, Patches

READOUTS: dict[str, type[Posterior]] = {
    "sampled": GibbsPosterior,
    "marginalised": MarginalisedPosterior,
}


def loss_of(config: RunConfig) -> Loss:
    chosen = config.posterior
    return loss_named(chosen.loss, power=chosen.hinge_power or 2, margin=chosen.margin or 1.0)


def transition_of(settings: SamplerConfig) -> Langevin | Split:
    """The dynamics, its open numbers None."""
    step_size, length = (
        None if value == "auto" else float(value)
        for value in (settings.step_size, settings.trajectory_length)
    )
    if settings.dynamics == "langevin":
        return Langevin(step_size)
    return Split(step_size, length, settings.refresh, settings.target_acceptance)


def require_room(config: RunConfig, data: Dataset, *, sampling: bool = True) -> str:
    """Raise `InputError` if what the configuration describes does not fit the memory.

    Before anything of it is made. A warning where it fits just so, else nothing.
    """
    chosen, counts = config.network, config.sampler
    itemsize = 4 if config.precision == "float32" else 8
    widths, positions = chosen.hidden_widths, 1
    if chosen.is_convolutional and data.image_shape is not None:
        _refuse_colours_first(data.image_shape)
        patches = Patches(data.image_shape, chosen.patch_size, chosen.stride)
        positions, inputs = patches.num_patches, patches.patch_size
        layers = (inputs, *widths)
        weights = footprint.num_weights(layers, chosen.biases) + positions * widths[-1]
        made = float(weights)
    else:
        inputs = min(data.in_size, data.num_train)  # on the span of the training inputs
        layers = (inputs, *widths, data.num_outputs)
        weights = footprint.num_weights(layers, chosen.biases)
        made = float(footprint.num_weights((data.in_size, *layers[1:]), chosen.biases))
    remedy = "write fewer hidden units, training examples, test examples, chains or draws"
    warnings = [footprint.require({"the network": 3 * itemsize * made}, remedy)]
    if config.theory != ():
        named = THEORIES if config.theory is None else config.theory
        needs = [theory_named(name).needs for name in named]
        patched = positions if chosen.is_convolutional and data.image_shape is not None else None
        if config.theory is None:
            needs = footprint.by_default(needs, len(widths), patched)
        gram = footprint.of_theories(data.num_train, data.num_test, needs, len(widths), patched)
        warnings.append(footprint.require(gram, "write fewer examples, or --theory [] for none"))
    if sampling:
        sizes = footprint.Sizes(
            weights, positions * sum(widths), data.num_train, data.num_test, data.num_outputs,
            counts.num_chains * (1 + len(counts.ladder)), counts.num_samples, itemsize,
            config.posterior.readout == "marginalised", counts.dynamics == "split",
            counts.num_chains, written=True,
        )  # fmt: skip
        warnings.append(footprint.require(footprint.of_sampling(sizes), remedy))
    return next(filter(None, warnings), "")


def network_of(config: RunConfig, data: Dataset, key: jax.Array) -> Network:
    """The network, drawn from a standard Gaussian. Raises `InputError` where data do not fit it."""
    chosen, dtype = config.network, jnp.dtype(config.precision)
    if not chosen.is_convolutional:
        return FullyConnected(
            data.in_size, chosen.hidden_widths, chosen.activation, key=key, dtype=dtype,
            num_outputs=data.num_outputs, biases=chosen.biases,
        )  # fmt: skip
    if data.image_shape is None:
        raise InputError(
            f"a convolutional network needs images, and {data.name} has inputs without a shape: "
            "write another data.source, x_train of shape (P, H, W) in an npz file, or "
            'architecture = "fully_connected"'
        )
    _refuse_colours_first(data.image_shape)
    if data.num_outputs > 1:
        raise InputError(
            f"a convolutional network has one output, the targets have {data.num_outputs}: write "
            'two classes with targets = [-1.0, 1.0], or architecture = "fully_connected"'
        )
    patches = Patches(data.image_shape, chosen.patch_size, chosen.stride)
    (channels,) = chosen.hidden_widths
    return Convolutional(
        patches, channels, chosen.activation, key=key, dtype=dtype, biases=chosen.biases
    )


def _refuse_colours_first(shape: tuple[int, int, int]) -> None:
    """Raise `InputError` for images of a file whose patches would be of rows in place of colours.

    A fully connected network does not mind, and takes them.
    """
    height, _, colours = shape
    if height in (1, 3) and colours not in (1, 3, 4):
        raise InputError(
            f"images of height {height} with {colours} colours have their colours first: save "
            "x_train.transpose(0, 2, 3, 1), and x_test as well"
        )
