"""Losses of an output f and its target y, of which the energy is the sum over the examples.

    squared    ½ (y − f)²
    hinge      (1/p) max(0, κ − y f)^p        power p = 1 or 2, margin κ
    logistic   log(1 + exp(−y f))

The last two take labels y = ±1. The squared loss alone makes exp(−β𝓛) the likelihood N(y; f, T), up
to its constant, and Gaussian in the read-out's weights. Hinge losses vanish where every margin y f
is above κ, which makes their T → 0 a problem of satisfaction: Geiger et al., arXiv:1809.09349, have
p = 2 and κ = 1; exp(−β log(1 + e^(−yf))) at T = 1 is the likelihood of logistic regression.
"""

import abc
import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.config.losses import HINGE, LOGISTIC, SQUARED, LossUsage, loss_usage
from langevin_nn.data.dataset import as_numbers
from langevin_nn.import_paths import explained, is_import_path, misfit, named
from langevin_nn.model.jumps import jump_of
from langevin_nn.model.own_losses import along_outputs, complaint_on_loss, few_of, few_targets
from langevin_nn.own_classes import (
    file_name,
    naming,
    require_methods,
    require_nothing_abstract,
    required_arguments,
)
from langevin_nn.types import InputError
from langevin_nn.values import (
    as_whole,
    require_array,
    require_kind,
    require_positive,
    shown,
)

__all__ = [
    "LOSSES",
    "Hinge",
    "Logistic",
    "Loss",
    "Squared",
    "loss_named",
    "refuse_jumping_slope",
    "require_loss",
]


METHODS = {
    "__call__": ("f", "y"),
    "residual": ("f", "y", "factor=1.0"),
    "check": ("targets",),
}
"""The methods of a loss, and the arguments that they are called with."""


class Loss(abc.ABC):
    """ℓ(f, y) of one output and its target, elementwise. Abstract.

    `name` is what tables say; `usage` says how configurations use a loss of the package. What a
    loss of the user's own says of itself is held against its values (`require_loss`).
    """

    name: ClassVar[str]
    usage: ClassVar[LossUsage] = LossUsage()

    @property
    def is_gaussian(self) -> bool:
        """Whether exp(−βℓ) is a Gaussian of f with the variance T: with the squared loss alone."""
        return self.usage.is_gaussian and self.usage is loss_usage(self.name)

    margin: float | None = None
    """κ, from which on the loss is exactly 0; None for a loss that is 0 at the target alone."""
    slope_jumps: bool = False
    """Whether ∂ℓ/∂f is discontinuous, so that no gradient flow follows it."""

    def residual(
        self, f: Float[Array, "*shape"], y: Float[Array, "*#shape"], factor: Any = 1.0
    ) -> Float[Array, "*shape"] | None:
        """r of a loss ℓ = ½ r², with `factor` times its margin; None for one that is no square."""
        return None

    @abc.abstractmethod
    def __call__(
        self, f: Float[Array, "*shape"], y: Float[Array, "*#shape"]
    ) -> Float[Array, "*shape"]:
        """ℓ(f, y) of each output and its target."""

    def check(self, targets: Float[np.ndarray, "..."]) -> None:
        """Raise `InputError` for targets that the loss does not take."""
        targets = as_numbers("targets", targets)
        if targets.ndim > 1 or not np.all(np.abs(targets) == 1):
            instead = 'loss = "squared"'
            if is_own_loss(self) and type(self).check is Loss.check:
                kind = type(self).__name__
                instead = f"def check(self, targets): pass in class {kind} if it takes any numbers"
            raise InputError(
                f"the {self.name} loss takes one output and labels y = ±1, got targets of shape "
                f"{targets.shape} with values {np.unique(targets)[:3]}: write targets = [-1.0, "
                f"1.0], two classes and no noise_variance under [data], or {instead}"
            )


@dataclass(frozen=True)
class Squared(Loss):
    """The squared loss ½ (y − f)².

    >>> Squared()(jnp.array([0.0, 2.0]), jnp.array([1.0, 1.0])).tolist()
    [0.5, 0.5]
    """

    name: ClassVar[str] = SQUARED.name
    usage: ClassVar[LossUsage] = SQUARED

    def __call__(
        self, f: Float[Array, "*shape"], y: Float[Array, "*#shape"]
    ) -> Float[Array, "*shape"]:
        _require_outputs(f, y)
        return 0.5 * jnp.square(y - f)

    def residual(
        self, f: Float[Array, "*shape"], y: Float[Array, "*#shape"], factor: Any = 1.0
    ) -> Float[Array, "*shape"]:
        """The residual y − f, half of whose square is the loss."""
        return y - f

    def check(self, targets: Float[np.ndarray, "..."]) -> None:
        """Raise `InputError` for targets that are no numbers: the squared loss takes any."""
        as_numbers("targets", targets)


@dataclass(frozen=True)
class Hinge(Loss):
    """The hinge loss (1/p) max(0, κ − y f)^p with the power p, 1 or 2, and the margin κ > 0.

    >>> Hinge(power=2)(jnp.array([-1.0, 0.5, 3.0]), jnp.array([1.0, 1.0, 1.0])).tolist()
    [2.0, 0.125, 0.0]
    """

    power: int = HINGE.default("power")
    margin: float = HINGE.default("margin")

    name: ClassVar[str] = HINGE.name
    usage: ClassVar[LossUsage] = HINGE

    @property
    def slope_jumps(self) -> bool:  # type: ignore[override]
        """Whether ∂ℓ/∂f is discontinuous: for p = 1 it is, at the margin."""
        return self.power == 1

    def __post_init__(self) -> None:
        if as_whole(self.power) not in (1, 2):
            raise InputError(f"the power of the hinge loss is 1 or 2, got {shown(self.power)}")
        require_positive("the margin of the hinge loss", self.margin)

    def __call__(
        self, f: Float[Array, "*shape"], y: Float[Array, "*#shape"]
    ) -> Float[Array, "*shape"]:
        _require_outputs(f, y)
        return jnp.maximum(self.margin - y * f, 0) ** self.power / self.power

    def residual(
        self, f: Float[Array, "*shape"], y: Float[Array, "*#shape"], factor: Any = 1.0
    ) -> Float[Array, "*shape"] | None:
        """The residual max(0, factor κ − y f) of p = 2; None for p = 1."""
        return jnp.maximum(factor * self.margin - y * f, 0) if self.power == 2 else None


@dataclass(frozen=True)
class Logistic(Loss):
    """The logistic loss log(1 + exp(−y f)).

    >>> print(f"{float(Logistic()(jnp.array(0.0), jnp.array(1.0))):.6f}")
    0.693147
    """

    name: ClassVar[str] = LOGISTIC.name
    usage: ClassVar[LossUsage] = LOGISTIC

    def __call__(
        self, f: Float[Array, "*shape"], y: Float[Array, "*#shape"]
    ) -> Float[Array, "*shape"]:
        _require_outputs(f, y)
        return jnp.logaddexp(0, -y * f)


def _require_outputs(f: Any, y: Any) -> None:
    """Raise `InputError` unless there is a target for each output, or one for several."""
    shape, of_targets = np.shape(require_array("f", f)), np.shape(require_array("y", y))
    fits = len(of_targets) <= len(shape) and all(
        target_size in (1, size)
        for target_size, size in zip(of_targets[::-1], shape[::-1], strict=False)
    )
    if not fits:
        raise InputError(f"outputs f of shape {shape} have no targets y of shape {of_targets}")


LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in (Squared, Hinge, Logistic)}


def loss_named(name: str, **numbers: int | float) -> Loss:
    """The loss of that name, or import path, with the numbers that its class takes.

    An import path leads to a subclass of `Loss`, or to a loss. Raises `InputError` for any other
    name, and for what is no loss.

    >>> loss_named("hinge", power=1)
    Hinge(power=1, margin=1.0)
    """
    choice = named("loss", name, LOSSES)
    if isinstance(choice, type) and issubclass(choice, Loss):
        loss = _own_made(name, choice) if is_import_path(name) else _made(choice, **numbers)
    else:
        loss = choice
    if not isinstance(loss, Loss):
        write = f"class {str(name).rpartition(':')[2]}(Loss), with a name and __call__(f, y)"
        raise misfit("loss", name, loss, "a loss", write)
    return require_loss(loss)


def _own_made(path: str, kind: type[Loss]) -> Loss:
    """The loss of a class of the user's own, made without arguments.

    Raises `InputError` for a class that leaves something undefined or needs arguments.
    """
    with naming("loss", path):
        _require_class(kind)
        require_nothing_abstract(kind, METHODS)
    if needed := required_arguments(kind):
        module, example = path.partition(":")[0], f"mine = {kind.__name__}({', '.join(needed)})"
        raise InputError(
            f'loss = "{path}" is a class that needs the arguments {", ".join(needed)}: write '
            f'{example}, with numbers for them, in {file_name(path)}, and loss = "{module}:mine"'
        )
    with explained("loss", path):
        return _made(kind)


@functools.cache
def _made(kind: type[Loss], **numbers: int | float) -> Loss:
    """The loss of this class with its numbers: one for all points of a sweep, and one program."""
    return kind(**numbers)


def require_loss(loss: Any, targets: Float[np.ndarray, " P *D"] | None = None) -> Loss:
    """The loss, if it is one and, where there are targets, takes them and does what it says.

    A loss of the user's own acts on each output alone, in its type, has the derivative of its
    values, is half the square of its `residual`, and zero from its `margin` on. Its values at these
    targets are looked at once for each loss and shape.

    Raises `InputError` for what is no loss, for one that has the name of another or cannot be
    hashed, and for one that does not do what it says.

    >>> require_loss(Squared(), np.array([0.3, 0.7])).name
    'squared'
    """
    write = "Squared()"
    if isinstance(loss, type):
        write = f"{loss.__name__}({', '.join(required_arguments(loss))})"
    require_kind("loss", loss, Loss, write)
    if is_own_loss(loss):
        _require_class(type(loss))
        _require_identity(loss)
    if targets is not None:
        loss.check(targets)
        if is_own_loss(loss) and (complaint := complaint_on_loss(loss, few_of(targets))):
            raise InputError(f"the loss {loss.name} {complaint}")
    return loss


def _require_class(kind: type[Loss]) -> None:
    """Raise `InputError` for a class with other methods, or derived from a loss of the package.

    The package's losses are final: what is asked of a `Squared` is true of every one.
    """
    if final := [base for base in kind.__mro__[1:] if base in LOSSES.values()]:
        raise InputError(
            f"the loss {final[0].__name__} is final, {kind.__name__} is derived from it: write "
            f"class {kind.__name__}(Loss), with a name and __call__(f, y)"
        )
    require_methods(kind, METHODS)


def is_own_loss(loss: Loss) -> bool:
    """Whether the loss is none of the package's.

    >>> is_own_loss(Hinge(power=1))
    False
    """
    return type(loss) not in LOSSES.values()


def jump_of_own_loss(loss: Loss, targets: Any) -> float | None:
    """An output f where a loss of the user's own jumps, at some of the targets; None for none.

    Targets that are being traced are not looked at.
    """
    if not is_own_loss(loss) or isinstance(targets, jax.core.Tracer):
        return None
    for target in few_targets(np.asarray(targets)):
        if (place := jump_of(along_outputs(loss, target, 1 + np.ndim(targets)))) is not None:
            return place * max(1.0, abs(target) / 4)
    return None


def refuse_jumping_slope(loss: Loss, targets: Float[np.ndarray, " P *D"]) -> None:
    """Raise `InputError` for a loss whose ∂ℓ/∂f jumps, which gradient flow would slide along.

    It says so in `slope_jumps`; the values of one of the user's own are looked at, between −8 and 8
    at some of the targets.
    """
    jumps = loss.slope_jumps
    if not jumps and is_own_loss(loss):
        for y in np.unique(as_numbers("targets", targets))[:2]:
            slope = jax.grad(lambda f, y=y: jnp.sum(loss(f, jnp.full(f.shape, y, f.dtype))))
            jumps = jumps or jump_of(slope) is not None
    if jumps:
        raise InputError(
            f"the slope of the loss {shown(loss)} jumps, where its gradient flow would slide "
            "along: write Hinge(power=2), or a loss whose slope is continuous"
        )


def _require_identity(loss: Loss) -> None:
    """Raise `InputError` for a loss with the name of another, or that cannot be hashed."""
    kind, name = type(loss).__name__, getattr(loss, "name", None)
    if not isinstance(name, str) or name in LOSSES:
        raise InputError(
            f"the loss {kind} has the name {shown(name)}: write a name that no other loss has"
        )
    try:
        hash(loss)
    except TypeError as error:
        raise InputError(
            f"the loss {name} cannot be hashed, by which compiled programs know it ({error}): "
            f"write @dataclass(frozen=True) above class {kind}"
        ) from error
