"""How each dynamics is used: what configurations, tables and pages say of it, without its code.

A dynamics carries its `Usage` (`sampling.base.Dynamics.usage`), so that its numbers are written
once; nothing here imports JAX.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """How a dynamics is used.

    Args:
        name: as in configurations; none where it has no row in `DYNAMICS`.
        place: its class, as "module:Class".
        summary: a few words on it.
        warmup: steps of the warm-up, where nothing else is said; the most that one that ends by
            itself takes.
        until_known: whether, where nothing else is said, the warm-up ends by itself, and a run
            where its errors are small enough.
        thinning: steps between two draws, where nothing else is said.
        unit: what one step is, in the plural.
        options: the keys of [sampler] that are arguments of its class, "auto" for None.
        largest_step_size: above this a step size is refused.
        step_size: what a step size is, where some are refused.
    """

    name: str = ""
    place: str = ""
    summary: str = ""
    warmup: int = 1_000
    thinning: int = 1
    unit: str = "steps"
    options: tuple[str, ...] = ("step_size",)
    largest_step_size: float = math.inf
    step_size: str = ""
    until_known: bool = False


LANGEVIN = Usage(
    name="langevin",
    place="langevin_nn.sampling.dynamics.langevin:Langevin",
    warmup=20_000,
    thinning=100,
)
SPLIT = Usage(
    name="split",
    place="langevin_nn.sampling.dynamics.split:Split",
    summary="rotations in the prior with an acceptance step, exact",
    unit="trajectories",
    options=("step_size", "trajectory_length", "refresh", "target_acceptance"),
    largest_step_size=math.pi / 2,
    step_size="the angle of a rotation, at most π/2",
    until_known=True,
)

DYNAMICS: dict[str, Usage] = {usage.name: usage for usage in (LANGEVIN, SPLIT)}
"""The package's dynamics by their names in a configuration; `dynamics_named` has their classes."""


def usage_of(name: str) -> Usage:
    """How the dynamics of this name is used; of the user's own, the defaults of `Usage`.

    >>> usage_of("split").unit, usage_of("mymodule:Mine").warmup
    ('trajectories', 1000)
    """
    return DYNAMICS.get(name, Usage())


def users_of(option: str) -> list[str]:
    """The names of the dynamics that have this key of [sampler]; none for keys of the sampling.

    >>> users_of("refresh"), users_of("num_chains")
    (['split'], [])
    """
    return [name for name, usage in DYNAMICS.items() if option in usage.options]
