"""The division of a run into chunks: their numbers of steps, and whether they end at a draw."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from langevin_nn.sampling.counts import Counts
from langevin_nn.sampling.engine.checkpoint import EngineProgress
from langevin_nn.sampling.engine.chunks import Chunk
from langevin_nn.sampling.stopping import FIRST_WARMUP_LOOK, next_look

NO_SLOPES_STRIDE = 2**30
"""A stride of slopes so large that no record of the warm-up has slopes."""


class Pace:
    """The number of steps for a chunk of about `seconds`, from the time that the last one took.

    The first chunk has `first_steps`; its time is not used, since most of it is compilation.
    """

    def __init__(self, first_steps: int, seconds: float) -> None:
        self.steps = first_steps
        self._seconds = seconds
        self._compiled = False

    @contextmanager
    def timed(self, steps: int) -> Iterator[None]:
        """Measure the time of the statements within it, which run a chunk of `steps` steps."""
        began = time.monotonic()
        yield
        if self._compiled:
            self.steps = max(1, int(self._seconds * steps / (time.monotonic() - began)))
        self._compiled = True


def next_chunk(
    done: EngineProgress,
    counts: Counts,
    pace: int,
    capacity: int,
    slope_stride: int,
    divisible: bool,
    last_draw: int,
) -> tuple[Chunk, bool]:
    """The next chunk, and whether its draws are recorded; there are `last_draw` draws at most.

    A chunk of the warm-up ends in a record that tells whether the chains are finite; one that ends
    by itself has a record in each `thinning` steps. A chunk that is recorded has as many draws as
    `pace` steps make and the buffer has room for; where the steps of one draw would take far
    longer, it ends between two draws, if a draw is `divisible`.
    """
    if done.warmup is None:
        records = done.steps // counts.thinning
        count = min(pace // counts.thinning, next_look(FIRST_WARMUP_LOOK, records) - records)
        left = -(-(counts.num_warmup - done.steps) // counts.thinning)
        count = min(max(count, 1), left, capacity)
        return Chunk(done.steps, counts.thinning, count, 1, NO_SLOPES_STRIDE), False
    if done.steps < done.warmup:
        stride = min(pace, done.warmup - done.steps)
        return Chunk(done.steps, stride, 1, 1, NO_SLOPES_STRIDE), False
    since_draw = done.steps - done.warmup - done.draws * counts.thinning
    stride = counts.thinning - since_draw
    if divisible and stride > 2 * pace:
        return Chunk(done.steps, pace, 1, 1, NO_SLOPES_STRIDE), False
    max_count = min(capacity, last_draw - done.draws)
    count = 1 if since_draw else min(max(pace // stride, 1), max_count)
    return Chunk(done.steps, stride, count, done.draws, slope_stride), True
