"""The chunks of a run: which steps and draws each has, and what it records."""

from typing import Any, NamedTuple

import numpy as np


class Chunk(NamedTuple):
    """Which steps and draws a chunk has: whole numbers, traced.

    From `first_step`, `count` times `stride` steps and a draw, the first of which is the
    `first_draw` of the run; every draw whose number is a multiple of `slope_stride` has slopes.
    """

    first_step: Any
    stride: Any
    count: Any
    first_draw: Any
    slope_stride: Any

    @property
    def first_slope(self) -> Any:
        """How many draws before this chunk have slopes."""
        return -(-self.first_draw // self.slope_stride)

    @property
    def slopes(self) -> Any:
        """The draws of this chunk that have slopes, by their numbers, for a chunk of integers."""
        last = self.first_draw + self.count
        return range(self.first_slope * self.slope_stride, last, self.slope_stride)


class Buffer(NamedTuple):
    """What a chunk records, arrays (draw, point, chain, …).

    `slopes` (`step_size.energy_slopes`) are of some draws only, and of none where the dynamics has
    no bias: it is empty then.
    """

    draws: dict[str, Any]
    slopes: dict[str, Any]


def joined(chunks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The records of all chunks behind each other, of those that have any."""
    chunks = [chunk for chunk in chunks if chunk] or [{}]
    # Chunks that an earlier version has saved lack some of the series.
    whole = [name for name in chunks[0] if all(name in chunk for chunk in chunks)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in whole}
