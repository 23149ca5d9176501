"""Networks by the names that configurations have for them."""

import importlib

from langevin_nn.config.architectures import ARCHITECTURES
from langevin_nn.model.networks.base import Network
from langevin_nn.types import InputError
from langevin_nn.values import nearest, shown

__all__ = ["network_named"]


def network_named(name: str) -> type[Network]:
    """The class of that name. Raises `InputError` for one that is not in the table.

    >>> network_named("convolutional").__name__
    'Convolutional'
    """
    if not isinstance(name, str) or name not in ARCHITECTURES:
        hint = nearest(name, ARCHITECTURES, cutoff=0.3) if isinstance(name, str) else ""
        raise InputError(
            f"unknown architecture {shown(name)}{hint or ':'} known are {', '.join(ARCHITECTURES)}"
        )
    module, _, attribute = ARCHITECTURES[name].place.partition(":")
    found: type[Network] = getattr(importlib.import_module(module), attribute)
    return found
