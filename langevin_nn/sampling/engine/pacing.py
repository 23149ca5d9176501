"""The division of a run into chunks: their numbers of steps, and whether they end at a draw."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from langevin_nn.sampling.checks import Counts
from langevin_nn.sampling.engine.checkpoint import EngineProgress
from langevin_nn.sampling.engine.chunks import Chunk

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
) -> tuple[Chunk, bool]:
    """The next chunk, and whether its draws are recorded.

    A chunk of the warm-up ends in a record that tells whether the chains are finite. A chunk
    that is recorded has as many draws as `pace` steps make and the buffer has room for; where the
    steps of one draw would take far longer, it ends between two draws, if a draw is `divisible`.
    """
    if done.steps < counts.num_warmup:
        stride = min(pace, counts.num_warmup - done.steps)
        return Chunk(done.steps, stride, 1, 1, NO_SLOPES_STRIDE), False
    since_draw = done.steps - counts.num_warmup - done.draws * counts.thinning
    stride = counts.thinning - since_draw
    if divisible and stride > 2 * pace:
        return Chunk(done.steps, pace, 1, 1, NO_SLOPES_STRIDE), False
    max_count = min(capacity, counts.num_samples - done.draws)
    count = 1 if since_draw else min(max(pace // stride, 1), max_count)
    return Chunk(done.steps, stride, count, done.draws, slope_stride), True
