"""How each loss is used: what configurations and captions say of it, without its code.

A loss carries its `LossUsage` (`model.losses.Loss.usage`), so that its keys, their defaults and
its words are written once; nothing here imports JAX.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "DEFAULT",
    "HINGE",
    "LOGISTIC",
    "LOSS_USAGES",
    "SQUARED",
    "LossUsage",
    "Number",
    "loss_usage",
]


@dataclass(frozen=True)
class Number:
    """A number of a loss: the argument of its class, and the default of that."""

    argument: str
    default: int | float


@dataclass(frozen=True)
class LossUsage:
    """How a loss is used.

    Args:
        name: as in configurations; none where it has no row in `LOSS_USAGES`.
        summary: for the help.
        numbers: its numbers by their keys under [posterior].
        is_gaussian: whether exp(−βℓ) is a Gaussian of the outputs, so that the read-out can be
            integrated out.
    """

    name: str = ""
    summary: str = ""
    numbers: Mapping[str, Number] = field(default_factory=dict)
    is_gaussian: bool = False

    def default(self, argument: str) -> Any:
        """The default of an argument of the loss's class.

        >>> HINGE.default("power")
        2
        """
        return next(n.default for n in self.numbers.values() if n.argument == argument)

    def caption(self, name: str, values: Mapping[str, Any]) -> str:
        """The loss of that name in a caption, with its numbers by their keys.

        >>> HINGE.caption("hinge", {"hinge_power": 2, "margin": 0.5})
        'hinge loss (power 2, margin 0.5)'
        """
        numbers = [f"{number.argument} {values[key]:g}" for key, number in self.numbers.items()]
        return f"{name} loss" + (f" ({', '.join(numbers)})" if numbers else "")


SQUARED = LossUsage("squared", "(y - f)^2/2", is_gaussian=True)
HINGE = LossUsage(
    "hinge",
    "for y = -1, 1",
    {"hinge_power": Number("power", 2), "margin": Number("margin", 1.0)},
)
LOGISTIC = LossUsage("logistic", "for y = -1, 1")

LOSS_USAGES: dict[str, LossUsage] = {usage.name: usage for usage in (SQUARED, HINGE, LOGISTIC)}
"""The losses of the package by their names in a configuration."""

DEFAULT = SQUARED.name
"""The loss of a configuration that names none; it is in no content hash."""


def loss_usage(name: str) -> LossUsage:
    """How the loss of this name is used; a loss of the user's own has no keys.

    >>> loss_usage("squared").is_gaussian, loss_usage("mymodule:Huber").is_gaussian
    (True, False)
    """
    return LOSS_USAGES.get(name, LossUsage())
