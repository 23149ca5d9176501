"""The names of what a run records of its network's representation; reads no JAX."""

from collections.abc import Iterable

from langevin_nn.errors import InputError
from langevin_nn.values import nearest, shown

REPRESENTATIONS = {
    "kernel": "the hidden layers' kernels: alignment with the labels, participation ratio, trace, "
    "spectrum",
    "order_parameter": "Q of the read-out",
}
"""The names with what they stand for, in the order in which numbers have them."""


def checked_representations(name: str, given: Iterable[str]) -> tuple[str, ...]:
    """The names in the order of the table, each once; `InputError` for one that is none.

    >>> checked_representations("observables", ["order_parameter", "kernel"])
    ('kernel', 'order_parameter')
    """
    names = list(given)
    for item in names:
        if item not in REPRESENTATIONS:
            hint = nearest(item, REPRESENTATIONS) if isinstance(item, str) else ""
            known = ", ".join(f'"{known}"' for known in REPRESENTATIONS)
            raise InputError(
                f"{name} are names among {known}, got {shown(item)}{hint or ':'} write {name} = "
                '["kernel", "order_parameter"], or leave it out'
            )
    return tuple(known for known in REPRESENTATIONS if known in names)
