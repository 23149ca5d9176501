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
import functools
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.config.losses import HINGE, LOGISTIC, SQUARED, LossUsage
from langevin_nn.data.dataset import as_numbers
from langevin_nn.import_paths import misfit, named
from langevin_nn.model.jumps import jump_of
from langevin_nn.types import InputError
from langevin_nn.values import (
    as_whole,
    require_array,
    require_kind,
    require_positive,
    require_signature,
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
    "__call__": ("self", "f", "y"),
    "residual": ("self", "f", "y", "factor=1.0"),
    "check": ("self", "targets"),
}
"""The methods of a loss, and the arguments that they are called with."""


class Loss(abc.ABC):
    """ℓ(f, y) of one output and its target, elementwise. Abstract.

    `name` is what tables say; `usage` says how configurations use a loss of the package. What a
    loss of the user's own says of itself is held against its values (`require_loss`).
    """

    name: ClassVar[str]
    usage: ClassVar[LossUsage] = LossUsage()

    def __init_subclass__(cls, **settings: Any) -> None:
        """The package's losses are final: what is asked of a `Squared` is true of every one."""
        super().__init_subclass__(**settings)
        parent = next(kind for kind in cls.__mro__[1:] if issubclass(kind, Loss))
        if parent is not Loss and parent.__module__ == Loss.__module__:
            raise InputError(
                f"the loss {parent.__name__} is final, {cls.__name__} is derived from it: write "
                f"class {cls.__name__}(Loss), with a name and __call__(f, y)"
            )
        for method, arguments in METHODS.items():
            if method in vars(cls):
                require_signature(f"{cls.__name__}.{method}", vars(cls)[method], *arguments)

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
            shown = np.unique(targets)[:3]
            raise InputError(
                f"the {self.name} loss takes one output and labels y = ±1, got targets of shape "
                f"{targets.shape} with values {shown}: write targets = [-1.0, 1.0], two classes "
                'and no noise_variance under [data], or loss = "squared"'
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
    """The hinge loss (1/γ) max(0, κ − y f)^γ with the power γ, 1 or 2, and the margin κ > 0.

    >>> Hinge(power=2)(jnp.array([-1.0, 0.5, 3.0]), jnp.array([1.0, 1.0, 1.0])).tolist()
    [2.0, 0.125, 0.0]
    """

    power: int = HINGE.default("power")
    margin: float = HINGE.default("margin")

    name: ClassVar[str] = HINGE.name
    usage: ClassVar[LossUsage] = HINGE

    @property
    def slope_jumps(self) -> bool:  # type: ignore[override]
        """Whether ∂ℓ/∂f is discontinuous: for γ = 1 it is, at the margin."""
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
        """The residual max(0, factor κ − y f) of γ = 2; None for γ = 1."""
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
    write = f"class {str(name).rpartition(':')[2]}(Loss), with a name and __call__(f, y)"
    is_class = isinstance(choice, type) and issubclass(choice, Loss)
    try:
        loss = _made(choice, **numbers) if is_class else choice
    except TypeError as error:  # abstract, or with arguments that have no default
        raise InputError(f'loss = "{name}" cannot be made ({error}): write {write}') from error
    if not isinstance(loss, Loss):
        raise misfit("loss", name, loss, "a loss", write)
    return require_loss(loss)


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
    write = f"{loss.__name__}()" if isinstance(loss, type) else "Squared()"
    require_kind("loss", loss, Loss, write)
    is_own = type(loss) not in LOSSES.values()
    if is_own:
        _require_identity(loss)
    if targets is not None:
        loss.check(targets)
        if is_own and (complaint := _complaint(loss, _few_of(targets))):
            raise InputError(f"the loss {loss.name} {complaint}")
    return loss


def refuse_jumping_slope(loss: Loss, targets: Float[np.ndarray, " P *D"]) -> None:
    """Raise `InputError` for a loss whose ∂ℓ/∂f jumps, which gradient flow would slide along.

    It says so in `slope_jumps`; the values of one of the user's own are looked at, between −8 and 8
    at some of the targets.
    """
    jumps = loss.slope_jumps
    if not jumps and type(loss) not in LOSSES.values():
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


def _few_of(targets: Any) -> tuple[Any, ...]:
    """Eight of the different targets at most, nested tuples that a cache can go by."""
    different = np.unique(as_numbers("targets", targets), axis=0)
    few = different[:: -(-len(different) // 8)]
    return tuple(few.tolist()) if few.ndim == 1 else tuple(map(tuple, few.tolist()))


@functools.lru_cache(maxsize=256)
def _complaint(loss: Loss, targets: tuple[Any, ...]) -> str:
    """What a loss of the user's own does not do, and what to write; "" where all is well."""
    y = np.array([targets])
    places = np.arange(3 * y.size).reshape(3, *y.shape[1:])  # of three chains
    f = 2 * max(1.0, float(np.abs(y).max())) * np.sin(1.0 + places**1.5)
    if complaint := _complaint_on_types(loss, f, y):
        return complaint
    with jax.ensure_compile_time_eval():
        probes = _probed(*map(jnp.asarray, (f, y)), loss)
    rounding = float(jnp.finfo(probes["together"].dtype).eps)
    values = {name: np.asarray(array, np.float64) for name, array in probes.items()}
    together, slope, quotient = (values[name] for name in ("together", "slope", "quotient"))
    size = np.max(np.abs(together), where=np.isfinite(together), initial=1.0)
    close = partial(np.allclose, rtol=0, atol=rounding**0.5 * size, equal_nan=True)
    if not close(together, values["alone"]):
        return (
            "does not act on each output and its target alone: write ℓ(f, y) without means, sums "
            "or maxima over their axes"
        )
    missed = np.abs(slope - quotient) > 0.02 * np.abs(quotient) + rounding**0.5 * size
    if np.mean(missed) > 0.25:
        return (
            "has a derivative that is not that of its values (jax.lax.stop_gradient, or rounding?),"
            " so that gradients would lead elsewhere than the density says: write it without"
        )
    if "square" in values and not close(together, values["square"]):
        return (
            "is not half the square of its residual(f, y, factor): write r of ℓ = ½ r², or return "
            "None"
        )
    return _complaint_on_margin(loss, y[np.abs(y) == 1])


def _complaint_on_types(loss: Loss, f: np.ndarray, y: np.ndarray) -> str:
    for dtype in {np.dtype(np.float32), np.dtype(jnp.zeros(()).dtype)}:
        outputs, targets = (jax.ShapeDtypeStruct(array.shape, dtype) for array in (f, y))
        value = jax.eval_shape(loss, outputs, targets)
        if getattr(value, "shape", None) != f.shape or value.dtype != dtype:
            return (
                f"makes {shown(value)} of {dtype} outputs of shape {f.shape} and targets of shape "
                f"{y.shape}: write one that acts on each of them alone, in its type"
            )
        residual = jax.eval_shape(loss.residual, outputs, targets, 1.0)
        if residual is not None and getattr(residual, "shape", None) != f.shape:
            return f"has a residual {shown(residual)}: write one of the shape of its outputs"
    return ""


@partial(jax.jit, static_argnames=("loss",))
def _probed(f: Float[Array, "3 P *D"], y: Float[Array, "1 P *D"], loss: Loss) -> dict[str, Array]:
    """ℓ of all outputs together and of each alone, ∂ℓ/∂f and its quotient, ½ r² if there is r."""
    alone = (f.size, *(1,) * f.ndim)  # each by itself, with the axes of all
    outputs, targets = f.reshape(alone), jnp.broadcast_to(y, f.shape).reshape(alone)
    step = jnp.finfo(f.dtype).eps ** (1 / 3) * jnp.max(jnp.abs(f))
    of_each = jax.vmap(loss)
    ends = [of_each(outputs + sign * step, targets) for sign in (1, -1)]
    probes = {
        "together": loss(f, y),
        "alone": of_each(outputs, targets),
        "slope": jax.grad(lambda outputs: jnp.sum(of_each(outputs, targets)))(outputs),
        "quotient": (ends[0] - ends[1]) / (2 * step),
    }
    if (residual := loss.residual(f, y, 1.0)) is not None:
        probes["square"] = jnp.square(residual) / 2
    return {name: array.ravel() for name, array in probes.items()}


def _complaint_on_margin(loss: Loss, labels: Float[np.ndarray, " n"]) -> str:
    """What a loss does not do with its margin κ; y f = κ/2, 3κ/2 and 5κ/2 are looked at."""
    if (margin := loss.margin) is None:
        return ""
    if not require_positive(f"the margin of the loss {loss.name}", margin) or not labels.size:
        return ""
    below, above, far = (jnp.asarray(labels * margin * s) for s in (0.5, 1.5, 2.5))
    y = jnp.asarray(labels)
    if not (jnp.all(loss(below, y) > 0) and jnp.all(loss(above, y) == 0)):
        return (
            f"is to be zero from its margin y f = {margin:g} on, and positive below: write margin "
            "= None, or where that is"
        )
    asked, met = (loss.residual(f, y, 2.0) for f in (above, far))
    if asked is not None and not (jnp.all(asked != 0) and jnp.all(met == 0)):
        return "has a residual without factor: write factor times the margin in it"
    return ""
