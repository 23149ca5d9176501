"""The contract of a transition: what a dynamics must offer to be run by the driver.

A transition moves all chains at once. Its state is a NamedTuple with a field `params`, whose
arrays have a leading chain axis; it is all that a checkpoint needs. One key for each chain and
step is the only source of randomness, so that results depend neither on the chunking nor on an
interruption, and one chain's numbers not on how many others run beside it.
"""

from typing import Any, Protocol, runtime_checkable

from langevin_nn.model.posterior import GibbsPosterior
from langevin_nn.types import ChainKeys


@runtime_checkable
class State(Protocol):
    """What a transition carries from step to step."""

    @property
    def params(self) -> Any: ...


@runtime_checkable
class Transition(Protocol):
    """A Markov transition that leaves, or nearly leaves, the posterior invariant."""

    step_size: Any

    def init(self, posterior: GibbsPosterior, params: Any) -> Any:
        """The state of chains that start from `params`."""
        ...

    def step(self, posterior: GibbsPosterior, state: Any, keys: ChainKeys) -> tuple[Any, Any]:
        """One step of every chain; `keys` (chains,) has one key for each. (state, info)."""
        ...
