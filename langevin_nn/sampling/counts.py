"""The number of chains and their lengths, and the rule that may end them."""

from dataclasses import dataclass
from typing import Any, SupportsIndex

from langevin_nn.config.fields import LARGEST
from langevin_nn.config.sampler import AUTO, DEFAULT_SAMPLES
from langevin_nn.errors import InputError
from langevin_nn.sampling.base import Dynamics
from langevin_nn.sampling.checks import checked_dynamics
from langevin_nn.sampling.stopping import Until
from langevin_nn.values import as_whole, shown


@dataclass(frozen=True)
class Counts:
    """The number of chains, and their lengths. Raises `InputError` for counts out of range.

    Where the warm-up ends by itself (`auto_warmup`), `num_warmup` is the largest number of its
    steps; where a rule ends the draws, `num_samples` is the largest number of them.
    """

    num_chains: Any
    num_warmup: Any
    num_samples: Any
    thinning: Any
    auto_warmup: bool = False

    def __post_init__(self) -> None:
        for name, least in (
            ("num_chains", 1), ("num_warmup", 0), ("num_samples", 4), ("thinning", 1)
        ):  # fmt: skip
            object.__setattr__(self, name, checked_count(name, getattr(self, name), least))
        checked_count("num_warmup + num_samples × thinning", self.steps, 4)

    @classmethod
    def of(
        cls,
        dynamics: Dynamics,
        num_chains: SupportsIndex,
        num_warmup: SupportsIndex | str | None,
        num_samples: SupportsIndex | None,
        thinning: SupportsIndex | None,
        until: Until | None = None,
    ) -> "Counts":
        """The counts with the dynamics' own defaults in place of None.

        A warm-up that ends by itself ("auto") takes the steps of `Usage.warmup` at most.
        """
        checked_dynamics(dynamics)
        if num_warmup is None and dynamics.usage.until_known:
            num_warmup = AUTO
        if isinstance(num_warmup, str) and num_warmup != AUTO:
            raise InputError(
                f'num_warmup is a whole number or "auto", got {shown(num_warmup)}: write "auto"'
            )
        if until is not None:
            num_chains = _checked_until(until, num_chains, num_samples)
            num_samples = until.max_draws
        return cls(
            num_chains,
            dynamics.usage.warmup if num_warmup in (None, AUTO) else num_warmup,
            DEFAULT_SAMPLES if num_samples is None else num_samples,
            dynamics.usage.thinning if thinning is None else thinning,
            isinstance(num_warmup, str),
        )

    @property
    def steps(self) -> int:
        """The largest number of steps of each chain, warm-up and thinning included."""
        return self.num_warmup + self.num_samples * self.thinning

    @property
    def identity(self) -> tuple[Any, ...]:
        """The counts as they stand in a checkpoint's fingerprint."""
        counts = (self.num_chains, self.num_warmup, self.num_samples, self.thinning)
        return (*counts, AUTO) if self.auto_warmup else counts

    @property
    def but_for_draws(self) -> tuple[Any, ...]:
        """The counts that stay the same in a run that goes on longer."""
        return (self.num_chains, self.num_warmup, self.thinning, self.auto_warmup)


def _checked_until(until: Any, num_chains: Any, num_samples: Any) -> int:
    """The number of chains; `InputError` for what is no rule, or does not go with one."""
    if not isinstance(until, Until) or isinstance(until, type):
        raise InputError(f"until is a rule, got {shown(until)}: write until=TargetError(0.01)")
    if num_samples is not None:
        raise InputError(
            f"num_samples = {shown(num_samples)} does not go with until, which ends the draws: "
            f"leave it out, or write {type(until).__name__}(…, max_draws={shown(num_samples)})"
        )
    number = checked_count("num_chains", num_chains, 1)
    if number < 2:
        raise InputError(
            "one chain alone cannot tell whether it has converged, and until waits for that: write "
            "num_chains = 2 or more, or num_samples in place of until"
        )
    return number


def checked_count(name: str, value: Any, least: int) -> int:
    """The count `name` as a Python int, also from a NumPy integer; `InputError` below `least`."""
    number = as_whole(value)
    if number is None or not least <= number:
        raise InputError(f"{name} must be a whole number of at least {least}, got {shown(value)}")
    if number > LARGEST:
        raise InputError(f"{name} must be at most {LARGEST}, got {shown(value)}")
    return number
