"""Networks by the names that configurations have for them."""

from langevin_nn.config.architectures import ARCHITECTURES
from langevin_nn.import_paths import load, misfit, named
from langevin_nn.model.networks.base import METHODS, Network
from langevin_nn.own_classes import naming, require_methods, require_nothing_abstract

__all__ = ["network_named"]

KIND = "architecture"


def network_named(name: str) -> type[Network]:
    """The class of networks of a configuration's name or import path.

    Raises `InputError` for any other name, for what is no network, and for a class that leaves
    something undefined.

    >>> network_named("convolutional").__name__
    'Convolutional'
    """
    network_class = named(KIND, name, ARCHITECTURES)
    if name in ARCHITECTURES:
        network_class = load(KIND, network_class.place)
    if not (isinstance(network_class, type) and issubclass(network_class, Network)):
        write = f"class {name.rpartition(':')[2]}(langevin_nn.model.networks.base.Network)"
        if isinstance(network_class, Network):
            write = f'its class, "{name.partition(":")[0]}:{type(network_class).__name__}"'
        raise misfit(KIND, name, network_class, "a class of networks", write)
    with naming(KIND, name):
        require_methods(network_class, METHODS)
        require_nothing_abstract(network_class, METHODS)
    return network_class
