"""The chunks of a run: the steps and draws of each chunk, and its records."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Chunk(NamedTuple):
    """The steps and draws of a chunk: whole numbers, traced.

    From `first_step` on, the chunk has `count` times `stride` steps and a draw. `first_draw` is the
    number of the first in the run; draws numbered by multiples of `slope_stride` have slopes.
    """

    first_step: Any
    stride: Any
    count: Any
    first_draw: Any
    slope_stride: Any

    @property
    def first_slope(self) -> Any:
        """The number of draws with slopes before this chunk."""
        return -(-self.first_draw // self.slope_stride)

    @property
    def slopes(self) -> Any:
        """The numbers of the draws of this chunk that have slopes; the chunk is not traced."""
        last = self.first_draw + self.count
        return range(self.first_slope * self.slope_stride, last, self.slope_stride)


class Buffer(NamedTuple):
    """The records of a chunk, arrays (draw, point, chain, …) by name.

    `slopes` (`step_size.energy_slopes`) has entries for some draws only, and is empty where the
    dynamics has no bias. `params` are the parameters of each draw, on the devices, None where no
    weights are kept.
    """

    draws: dict[str, Any]
    slopes: dict[str, Any]
    params: Any = None


def of_point(records: Mapping[str, np.ndarray], index: int) -> dict[str, np.ndarray]:
    """The records (draw, chain, …) of one point."""
    return {name: values[:, index] for name, values in records.items()}


def joined(chunks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The records of all chunks, concatenated; chunks without records are left out."""
    chunks = [chunk for chunk in chunks if chunk] or [{}]
    # Chunks that an earlier version has saved lack some of the series.
    names = [name for name in chunks[0] if all(name in chunk for chunk in chunks)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in names}
