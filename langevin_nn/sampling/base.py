"""The contract of a dynamics: what it must offer to be run by the driver, by ladders, by NumPyro.

A dynamics moves all chains at once. `start` finds its settings, `init` makes the chains' state,
`step` moves them, and `adapted` gives the settings that hold from the end of the warm-up. Settings
and state are all that a checkpoint needs. One key for each chain and step is the only source of
randomness, so that results depend neither on the chunking nor on an interruption; and one chain's
numbers not on how many others run beside it, unless the chains adapt something together in the
warm-up.
"""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.config.dynamics import DYNAMICS, Usage
from langevin_nn.footprint import Copies
from langevin_nn.import_paths import load, misfit, named
from langevin_nn.model.posterior import Target
from langevin_nn.own_classes import naming, require_methods, require_nothing_abstract
from langevin_nn.types import ChainKeys, InputError
from langevin_nn.values import require_flag, require_kind, shown


class Settings(NamedTuple):
    """The settings of a dynamics with a step size alone.

    Another dynamics has a NamedTuple of its own with numbers and flags, `step_size` among them, and
    `trajectory_length` if it has trajectories. In `step` all of them are arrays.
    """

    step_size: float


@runtime_checkable
class State(Protocol):
    """The state that a dynamics carries from step to step: a NamedTuple of arrays (chains, …).

    Some of its fields have a meaning on a ladder, where weights go from one temperature to another:
    `params` and `momentum` go with the weights, `adaptation` stays where it is, and everything else
    is found anew by `init`. `misfit` is Φ of each chain, where the state has it.
    """

    @property
    def params(self) -> Any:
        """The parameters of each chain, as the posterior takes them."""
        ...


class Weights(NamedTuple):
    """The state of a dynamics that carries the weights alone."""

    params: Any


METHODS = {
    "start": ("posterior", "params", "key"),
    "init": ("posterior", "params", "settings"),
    "step": ("posterior", "state", "settings", "keys"),
    "settled": ("state", "settings"),
    "adapted": ("state", "settings"),
}
"""The methods of a dynamics, and the arguments that they are called with."""


class Dynamics(eqx.Module):
    """A Markov transition that leaves, or nearly leaves, the posterior invariant.

    >>> isinstance(lnn.Split(), lnn.Dynamics), lnn.Split.usage.unit
    (True, 'trajectories')
    """

    settings: ClassVar[type[Any]] = Settings
    """The class of this dynamics' settings."""
    usage: ClassVar[Usage] = Usage()
    """The default counts, the unit of a step, and how a configuration makes the dynamics."""
    unadjusted: ClassVar[bool] = False
    """Whether there is no acceptance step, so that the step size shifts what is sampled.

    This alone decides, whatever is recorded as `acceptance`: tables and reports call the numbers
    free of step-size bias where it is False. Where it is True the curvature is measured, and jumps
    are refused, of which gradients say nothing.
    """
    shifts_as_langevin: ClassVar[bool] = False
    """Whether the leading shift of an unadjusted dynamics is that of θ' = θ − η∇𝓛 + √(2ηT) ξ.

    It is predicted then; that of any other unadjusted dynamics is marked as not known.
    """
    in_gaussian_prior: ClassVar[bool] = False
    """Whether the prior must be Gaussian; a NumPyro model is then whitened with its own prior."""
    copies: ClassVar[Copies] = Copies()
    """The numbers of copies of weights and activations that the dynamics holds in memory."""

    def __check_init__(self) -> None:
        """Raise `InputError` where the class of the object says of itself what cannot be."""
        require_class(type(self))

    @abstractmethod
    def start(self, posterior: Target, params: Any, key: PRNGKeyArray) -> Any:
        """The settings of the warm-up, for chains that start from `params`, as Python numbers."""

    def init(self, posterior: Target, params: Any, settings: Any) -> Any:
        """The state of chains at `params`."""
        return Weights(params)

    @abstractmethod
    def step(
        self, posterior: Target, state: Any, settings: Any, keys: ChainKeys
    ) -> tuple[Any, Any]:
        """The state after one step of every chain, and the step's info, with one key per chain.

        `keys` is (chains,). The info is a NamedTuple of arrays (chains,), perhaps of none; their
        means between two draws are recorded with the second. `acceptance` and `nonfinite` have a
        meaning to summaries and reports.
        """

    def settled(self, state: Any, settings: Any) -> bool:
        """Whether the numbers that the warm-up adapts no longer drift, so that it may end.

        Asked where the warm-up ends by itself (`num_warmup = "auto"`).
        """
        return True

    def adapted(self, state: Any, settings: Any) -> Any:
        """The settings that hold from the end of the warm-up, given the state there."""
        return settings

    @property
    def identity(self) -> list[str]:
        """The dynamics' numbers as they stand in a checkpoint's fingerprint."""
        return [str(number) for number in jax.tree.leaves(self, is_leaf=lambda x: x is None)]


def require_class(kind: type[Dynamics]) -> None:
    """Raise `InputError` for a class of dynamics whose settings, usage or methods are none.

    A class is looked at when it is used, in whatever file it is.
    """
    name = kind.__name__
    fields = getattr(kind.settings, "_fields", ())
    if not isinstance(kind.settings, type) or "step_size" not in fields:
        raise InputError(
            f"the settings of {name} are a NamedTuple with step_size among its fields, got "
            f"{shown(kind.settings)}: write settings = Settings, a class(NamedTuple)"
        )
    require_kind(f"usage of {name}", kind.usage, Usage, 'Usage(options=("step_size",))')
    require_kind(f"copies of {name}", kind.copies, Copies, "Copies(…)")
    for flag in ("unadjusted", "shifts_as_langevin", "in_gaussian_prior"):
        require_flag(f"{flag} of {name}", getattr(kind, flag))
    require_methods(kind, METHODS)


class Stepper(eqx.Module):
    """A dynamics with its settings, all of them arrays: other values are the same program."""

    dynamics: Dynamics
    settings: Any

    @classmethod
    def of(cls, dynamics: Dynamics, settings: Any, dtype: Any) -> "Stepper":
        """The dynamics with these settings, its floating-point numbers arrays of type `dtype`.

        Whole numbers of the dynamics stay Python numbers.
        """

        def is_number(leaf: Any) -> bool:
            return isinstance(leaf, float) or eqx.is_inexact_array(leaf)

        def as_array(leaf: Any) -> Array:
            return jnp.asarray(leaf, dtype if is_number(leaf) else None)

        numbers = jax.tree.map(lambda x: as_array(x) if is_number(x) else x, dynamics)
        return cls(numbers, jax.tree.map(as_array, settings))

    def step(self, posterior: Target, state: Any, keys: ChainKeys) -> tuple[Any, Any]:
        """The state after one step of every chain, and the step's info."""
        return self.dynamics.step(posterior, state, self.settings, keys)

    def misfit(self, posterior: Target, state: Any) -> Float[Array, " chains"]:
        """The misfit Φ at each chain's weights, taken from the state where it has it."""
        known: Array | None = getattr(state, "misfit", None)
        return posterior.misfit(state.params) if known is None else known

    def relocated(self, posterior: Target, state: Any, other: Any) -> Any:
        """The state of chains that take over the weights of `other`, a state at another posterior.

        Momenta go with the weights, the adaptation of `state` stays.
        """
        fresh = self.dynamics.init(posterior, other.params, self.settings)
        sources = {"momentum": other, "adaptation": state}
        return fresh._replace(
            **{
                name: getattr(source, name)
                for name, source in sources.items()
                if name in fresh._fields
            }
        )


def dynamics_named(name: str) -> type[Dynamics]:
    """The class of dynamics of this name or import path.

    Raises `InputError` for any other name, for an import path of anything else, and for a class
    that says of itself what cannot be or leaves a method undefined.

    >>> from langevin_nn.sampling.base import dynamics_named
    >>> dynamics_named("split").__name__
    'Split'
    """
    kind = named("dynamics", name, DYNAMICS)
    if name in DYNAMICS:
        kind = load("dynamics", kind.place)
    if not (isinstance(kind, type) and issubclass(kind, Dynamics)):
        advice = f"class {name.rpartition(':')[2]}(langevin_nn.Dynamics)"
        if isinstance(kind, Dynamics):
            advice = f'its class, "{name.partition(":")[0]}:{type(kind).__name__}"'
        raise misfit("dynamics", name, kind, "a class of dynamics", advice)
    with naming("dynamics", name):
        require_class(kind)
        require_nothing_abstract(kind, METHODS)
    return kind
