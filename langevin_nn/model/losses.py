"""Losses of an output f and its target y, of which the energy is the sum over the examples.

    squared    ½ (y − f)²
    hinge      (1/γ) max(0, κ − y f)^γ        γ = 1 or 2, margin κ
    logistic   log(1 + exp(−y f))

The last two take labels y = ±1. The squared loss alone makes exp(−β𝓛) the likelihood N(y; f, T), up
to its constant, and Gaussian in the read-out's weights. Hinge losses vanish where every margin y f
is above κ, which makes their T → 0 a problem of satisfaction: Geiger et al., arXiv:1809.09349, have
γ = 2 and κ = 1; exp(−β log(1 + e^(−yf))) at T = 1 is the likelihood of logistic regression.
"""

import abc
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.data.dataset import as_numbers
from langevin_nn.types import InputError
from langevin_nn.values import as_whole, require_array, require_positive, shown

__all__ = ["LOSSES", "Hinge", "Logistic", "Loss", "Squared", "loss_named"]


class Loss(abc.ABC):
    """ℓ(f, y) of one output and its target, elementwise. Abstract."""

    name: ClassVar[str]

    @abc.abstractmethod
    def __call__(
        self, f: Float[Array, "*shape"], y: Float[Array, "*#shape"]
    ) -> Float[Array, "*shape"]:
        """ℓ(f, y)."""

    def check(self, targets: Float[np.ndarray, "..."]) -> None:
        """Raise `InputError` for targets that the loss does not take."""
        targets = as_numbers("targets", targets)
        if targets.ndim > 1 or not np.all(np.abs(targets) == 1):
            shown = np.unique(targets)[:3]
            raise InputError(
                f"the {self.name} loss takes one output and labels y = ±1, got targets of shape "
                f"{targets.shape} with values {shown}: write targets = [-1.0, 1.0], two classes "
                'and no noise_variance under [data], or loss = "squared"'
            )


@dataclass(frozen=True)
class Squared(Loss):
    """½ (y − f)².

    >>> Squared()(jnp.array([0.0, 2.0]), jnp.array([1.0, 1.0])).tolist()
    [0.5, 0.5]
    """

    name: ClassVar[str] = "squared"

    def __call__(
        self, f: Float[Array, "*shape"], y: Float[Array, "*#shape"]
    ) -> Float[Array, "*shape"]:
        _require_outputs(f, y)
        return 0.5 * jnp.square(y - f)

    def check(self, targets: Float[np.ndarray, "..."]) -> None:
        """Takes any numbers."""
        as_numbers("targets", targets)


@dataclass(frozen=True)
class Hinge(Loss):
    """(1/γ) max(0, κ − y f)^γ with the power γ, 1 or 2, and the margin κ > 0.

    >>> Hinge(power=2)(jnp.array([-1.0, 0.5, 3.0]), jnp.array([1.0, 1.0, 1.0])).tolist()
    [2.0, 0.125, 0.0]
    """

    power: int = 2
    margin: float = 1.0

    name: ClassVar[str] = "hinge"

    def __post_init__(self) -> None:
        if as_whole(self.power) not in (1, 2):
            raise InputError(f"the power of the hinge loss is 1 or 2, got {shown(self.power)}")
        require_positive("the margin of the hinge loss", self.margin)

    def __call__(
        self, f: Float[Array, "*shape"], y: Float[Array, "*#shape"]
    ) -> Float[Array, "*shape"]:
        _require_outputs(f, y)
        return jnp.maximum(self.margin - y * f, 0) ** self.power / self.power


@dataclass(frozen=True)
class Logistic(Loss):
    """log(1 + exp(−y f)).

    >>> print(f"{float(Logistic()(jnp.array(0.0), jnp.array(1.0))):.6f}")
    0.693147
    """

    name: ClassVar[str] = "logistic"

    def __call__(
        self, f: Float[Array, "*shape"], y: Float[Array, "*#shape"]
    ) -> Float[Array, "*shape"]:
        _require_outputs(f, y)
        return jnp.logaddexp(0, -y * f)


def _require_outputs(f: Any, y: Any) -> None:
    """Raise `InputError` unless there is a target for each output, or one for several."""
    shape, of_targets = np.shape(require_array("f", f)), np.shape(require_array("y", y))
    fits = len(of_targets) <= len(shape) and all(
        own in (1, size) for own, size in zip(of_targets[::-1], shape[::-1], strict=False)
    )
    if not fits:
        raise InputError(f"outputs f of shape {shape} have no targets y of shape {of_targets}")


LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in (Squared, Hinge, Logistic)}


def loss_named(name: str, *, power: int = 2, margin: float = 1.0) -> Loss:
    """The loss of that name; `power` and `margin` are the hinge's.

    >>> loss_named("hinge", power=1)
    Hinge(power=1, margin=1.0)
    """
    if name not in LOSSES:
        raise InputError(f"unknown loss {name!r}: known are {', '.join(LOSSES)}")
    return Hinge(power, margin) if name == "hinge" else LOSSES[name]()
