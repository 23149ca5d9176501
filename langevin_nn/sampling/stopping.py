"""Where a sampling looks whether it may end: rules for the warm-up and for the draws.

Both are asked at set numbers of records only, each a quarter more than the one before (`looks`), so
that neither the speed of the machine nor an interruption changes where a run ends.

The warm-up ends by itself (`is_warm`) when what the dynamics adapts no longer drifts, and the
energies of the second half of the records so far are those of one law: with each chain's cut in
two, the variance between the 2C halves is what that within them explains,

    R = √(1 − 1/n + B/W),    B the variance of the halves' means, W the mean of their variances,

(Gelman, Rubin, Statist. Sci. 7, 457, 1992), and R < `WARM`. Draws may end by an `Until`.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from langevin_nn.sampling.draws import Chains

FIRST_WARMUP_LOOK = 24
"""The number of records of the warm-up at which is looked first."""
FEWEST_DRAWS_FOR_RHAT = 4
"""The least number of draws of each chain, from which R̂ and ESS can be known."""
GROWTH = 1.25
"""The ratio of the numbers of records of two looks."""
WARM = 1.1
"""The R of the energies below which chains count as warm."""


@runtime_checkable
class Until(Protocol):
    """A rule by which a sampling ends before its largest number of draws.

    `max_draws` is the largest number of each chain's draws, `max_seconds` the time after which the
    sampling ends wherever it is. At each look `draws_needed` is asked, of points side by side until
    one needs more; the sampling ends where there are as many at this look and at the one before
    (`Ending`).
    """

    @property
    def max_draws(self) -> int:
        """The largest number of draws of each chain."""
        ...

    @property
    def max_seconds(self) -> float:
        """The time in seconds after which the sampling ends wherever it is."""
        ...

    def first_look(self, num_chains: int) -> int:
        """The number of draws of each chain at which is looked first."""
        ...

    def draws_needed(self, chains: Chains) -> float:
        """The number of draws that each chain needs, as far as these draws tell."""
        ...


def looks(first: int) -> Iterator[int]:
    """The numbers of records at which is looked: `first`, and each a quarter more, rounded up.

    >>> list(itertools.islice(looks(24), 5))
    [24, 30, 38, 48, 60]
    """
    number = first
    while True:
        yield number
        number = math.ceil(GROWTH * number)


def next_look(first: int, number: int) -> int:
    """The first look after `number` records."""
    return next(look for look in looks(first) if look > number)


def is_look(first: int, number: int) -> bool:
    """Whether there is a look at this number of records."""
    return next(look for look in looks(first) if look >= number) == number


def look_before(first: int, number: int) -> int | None:
    """The last look before `number` records, None where there is none."""
    earlier = list(itertools.takewhile(lambda look: look < number, looks(first)))
    return earlier[-1] if earlier else None


class Ending:
    """Where the draws of one sampling end: at `num_samples`, or before by a rule.

    `chains` gives the draws so far of each point that counts, and `besides` the number of draws
    that something else needs, as far as so many draws tell.
    """

    def __init__(
        self,
        until: Until | None,
        num_chains: int,
        num_samples: int,
        besides: Callable[[int], float] = lambda draws: 0.0,
    ) -> None:
        self.until = until
        self.besides = besides
        self.num_samples = num_samples
        self.expected = num_samples
        """The number of draws at the end, as far as is known; of many points, as one tells."""
        self._first = num_samples
        self._seen = self._slowest = 0
        self._found: dict[int, tuple[int, bool]] = {}
        if until is not None:
            self._first = self.expected = min(until.first_look(num_chains), num_samples)

    def look(self, draws: int) -> int:
        """The number of draws at the next look, or at the end."""
        if self.until is None:
            return self.num_samples
        return min(next_look(self._first, draws), self.num_samples)

    def is_reached(
        self, draws: int, seconds: float, chains: Callable[[], Sequence[Chains]]
    ) -> bool:
        """Whether the sampling ends after so many draws and seconds."""
        if self.until is None or draws >= self.num_samples or draws < FEWEST_DRAWS_FOR_RHAT:
            return draws >= self.num_samples
        if seconds >= self.until.max_seconds:
            return True
        if draws == self._seen or not is_look(self._first, draws):
            return False
        self._seen = draws
        points = chains()
        needed = self.besides(draws)
        # The point that was not there at the last look comes first: it is enough that one is not.
        for i in sorted(range(len(points)), key=lambda i: i != self._slowest):
            needed = max(needed, self.until.draws_needed(points[i]))
            if needed > draws:
                self._slowest = i
                break
        self.expected = math.ceil(min(max(needed, self.look(draws)), self.num_samples))
        self._found[draws] = len(points), needed <= draws
        before = look_before(self._first, draws)
        return needed <= draws and before is not None and self._were_enough(points, before)

    def _were_enough(self, points: Sequence[Chains], before: int) -> bool:
        """Whether there were as many draws as were needed at the look before.

        What was found then holds unless a chain, or all chains of a point, diverged since: they
        were not left out then.
        """
        assert self.until is not None
        if self.besides(before) > before:
            return False
        num_points, were_enough = self._found.get(before, (0, False))
        if num_points == len(points) and not any(point.diverged.any() for point in points):
            return were_enough
        return all(self.until.draws_needed(point.first(before)) <= before for point in points)

    def earlier_end(self, draws: int, chains: Callable[[], Sequence[Chains]]) -> int | None:
        """The number of draws, below `draws`, at which this sampling would have ended.

        None where it would not: what has so many draws may go on as this one.
        """
        if self.until is None:
            return None
        points = chains()
        for number in itertools.takewhile(lambda look: look < draws, looks(self._first)):
            firsts = [point.first(number) for point in points]
            if self.is_reached(number, 0.0, lambda firsts=firsts: firsts):  # type: ignore[misc]
                return number
        self._seen = 0
        return None


def is_warm(energies: Float[np.ndarray, "record chain"]) -> bool:
    """Whether the energies of the second half of these records are those of one law.

    Chains that have diverged do not count; without one that has not, there is nothing to wait for.
    """
    half = energies[len(energies) // 2 :]
    half = half[len(half) % 2 :, np.isfinite(energies).all(axis=0)].astype(np.float64)
    if not half.shape[1]:
        return True
    parts = half.reshape(2, len(half) // 2, half.shape[1])
    within = float(parts.var(axis=1, ddof=1).mean())
    between = float(parts.mean(axis=1).var(ddof=1))
    return between == 0 or between < (WARM**2 - 1 + 1 / parts.shape[1]) * within
