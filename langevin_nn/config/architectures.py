"""What a configuration has to know of a network before JAX is there: the table of architectures.

The classes themselves, which carry all the rest, are found by `model.networks.named`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from langevin_nn.errors import InputError

__all__ = ["ARCHITECTURES", "Architecture", "check_widths", "layer_names"]


@dataclass(frozen=True)
class Architecture:
    """A network that a configuration may name.

    Args:
        place: its class, as "module:Class".
        summary: for the help, what it is where the name does not tell.
        depth: the only number of hidden layers; None for any.
        widths: what `hidden_widths` are, where they are no numbers of units.
    """

    place: str
    summary: str = ""
    depth: int | None = None
    widths: str = "its numbers of units"


ARCHITECTURES = {
    "fully_connected": Architecture("langevin_nn.model.networks.fully_connected:FullyConnected"),
    "convolutional": Architecture(
        "langevin_nn.model.networks.convolutional:Convolutional",
        summary="one layer on patches of images, a dense read-out",
        depth=1,
        widths="its number of channels",
    ),
}
"""The networks of the package by their names in a configuration."""


def check_widths(architecture: str, hidden_widths: Sequence[int]) -> None:
    """Raise `InputError` for a number of hidden layers that the architecture does not have.

    An architecture of the user's own refuses it itself, when the network is made.

    >>> check_widths("convolutional", (200,))
    """
    kind = ARCHITECTURES.get(architecture)
    if kind is None or kind.depth in (None, len(hidden_widths)):
        return
    layers = "one hidden layer" if kind.depth == 1 else f"{kind.depth} hidden layers"
    raise InputError(
        f"a {architecture.replace('_', ' ')} network has {layers}, got network.hidden_widths = "
        f"{list(hidden_widths)}: write {kind.widths}, hidden_widths = [200]"
    )


def layer_names(hidden_widths: Sequence[int]) -> tuple[str, ...]:
    """The names of the prior precisions of a network of the package, one for each layer's weights.

    A network of the user's own says how many it has only when it is made, for its data: one that
    has another number of layers than this has its precisions written in the configuration.

    >>> layer_names((200, 200))
    ('λ_0', 'λ_1', 'λ_2')
    """
    return tuple(f"λ_{layer}" for layer in range(len(hidden_widths) + 1))
