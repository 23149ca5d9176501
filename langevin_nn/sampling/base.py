"""The contract of a transition: what a dynamics must offer to be run by the driver.

A transition moves all chains at once. Its state is a NamedTuple with a field `params`, whose
arrays have a leading chain axis; with `prepare`'s and `settle`'s numbers it is all that a
checkpoint needs. One key for each chain and step is the only source of randomness, so that results
depend neither on the chunking nor on an interruption; and one chain's numbers not on how many
others run beside it, unless the chains adapt something together in the warm-up.

The driver calls `init` and `prepare` once, steps `with_numbers` of what they found, calls `settle`
after the warm-up and goes on with the numbers updated. The info of a step is a NamedTuple of arrays
(chains,), perhaps of none; their means between two draws are recorded with the second.
"""

from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Array, Float

from langevin_nn.model.posterior import Posterior
from langevin_nn.types import ChainKeys


@runtime_checkable
class State(Protocol):
    """What a transition carries from step to step."""

    @property
    def params(self) -> Any: ...


@runtime_checkable
class Transition(Protocol):
    """A Markov transition that leaves, or nearly leaves, the posterior invariant."""

    default_warmup: ClassVar[int]
    default_thinning: ClassVar[int]
    unadjusted: ClassVar[bool]
    """Langevin dynamics without an acceptance step: its step size's bias is measured."""

    def init(self, posterior: Posterior, params: Any) -> Any:
        """The state of chains that start from `params`."""
        ...

    def prepare(self, posterior: Posterior, state: Any, key: Any) -> dict[str, float]:
        """Numbers that hold for the warm-up, `step_size` among them."""
        ...

    def settle(
        self, posterior: Posterior, state: Any, numbers: dict[str, float], key: Any
    ) -> dict[str, float]:
        """Numbers that hold from the warm-up's end: `curvature`, and others."""
        ...

    def with_numbers(self, numbers: dict[str, float], dtype: Any) -> "Transition":
        """The transition with these numbers as arrays; `settled` is among them after `settle`."""
        ...

    def misfit(self, posterior: Posterior, state: Any) -> Float[Array, " chains"]:
        """The posterior's misfit of each chain where it is."""
        ...

    def relocated(self, posterior: Posterior, state: Any, other: Any) -> Any:
        """`state` of chains that stand where `other`, chains of another posterior, do.

        What is adapted stays; what belongs to the place, momenta too, is `other`'s, seen by
        `posterior`.
        """
        ...

    def step(self, posterior: Posterior, state: Any, keys: ChainKeys) -> tuple[Any, Any]:
        """One step of every chain; `keys` (chains,) has one key for each. (state, info)."""
        ...
