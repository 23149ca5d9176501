"""The parts of a run that a configuration names: network, posterior and dynamics."""

import jax
import jax.numpy as jnp

from langevin_nn.config import RunConfig, SamplerConfig
from langevin_nn.model.convolutional import Convolutional
from langevin_nn.model.datasets import Dataset
from langevin_nn.model.losses import Loss, loss_named
from langevin_nn.model.marginalised import MarginalisedPosterior
from langevin_nn.model.networks import FullyConnected, Network
from langevin_nn.model.posterior import GibbsPosterior, Posterior
from langevin_nn.sampling.langevin import Langevin
from langevin_nn.sampling.split import Split
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
    if data.image_shape[0] in (1, 3) and data.image_shape[2] not in (1, 3, 4):
        raise InputError(
            f"images of height {data.image_shape[0]} with {data.image_shape[2]} colours have their "
            "colours first: save x_train.transpose(0, 2, 3, 1), and x_test as well"
        )
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
