"""Progress on stderr: a bar where somebody watches, lines (one in ten per cent) in a log."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from langevin_nn.display import counted, duration
from langevin_nn.errors import InputError
from langevin_nn.values import shown

DELAY = 1.0
"""The seconds before there is a bar for a function that is called in Python."""

State = TypeVar("State")


@dataclass(frozen=True)
class Report:
    """The argument of the `progress` function, which the driver calls after each chunk.

    `total_steps` and `warmup_steps` are those at the end as far as is known: a run that ends by
    itself learns more of them as it goes.
    """

    steps: int
    total_steps: int
    warmup_steps: int
    train_error: float
    diverged_chains: int


@dataclass(frozen=True)
class Status:
    """The numbers of points, and the fraction of all work that is done, from 0 to 1.

    A point whose steps are all done is not whole before its results are written.
    `seconds_left` goes by what was done since the sweep was started here; None as long as that
    tells nothing.
    """

    points: int
    done: int
    failed: int
    fraction: float
    seconds_left: float | None = None

    @property
    def missing(self) -> int:
        """The number of points that are neither done nor failed."""
        return self.points - self.done - self.failed


class Progress:
    """Progress shown as one bar, or as one line for each tenth that is done."""

    def __init__(self, quiet: bool = False, *, delay: float = 0.0) -> None:
        self.quiet = quiet
        self.delay = delay
        self.bar: Any = None
        self.last_tenth = -1

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def line(self, fraction: float, text: str) -> None:
        """Write a line, if another tenth is done."""
        tenth = int(10 * fraction)
        if tenth > self.last_tenth:
            self.last_tenth = tenth
            try:
                sys.stderr.write(f"{10 * tenth:3d} %  {text}\n")
                sys.stderr.flush()
            except OSError:  # nobody reads it: no reason to stop
                self.quiet = True

    def bar_of(self, **settings: Any) -> Any:
        """The bar, made with these settings where there is none yet."""
        if self.bar is None:
            self.bar = _tqdm()(leave=False, delay=self.delay, **_size(), **settings)
        return self.bar


class RunProgress(Progress):
    """The progress of a run: the steps of its chains."""

    def __init__(self, quiet: bool = False, *, delay: float = 0.0) -> None:
        super().__init__(quiet, delay=delay)
        self._first: tuple[float, int] | None = None

    def __call__(self, report: Report) -> None:
        if self.quiet:
            return
        phase = "warm-up" if report.steps < report.warmup_steps else "sampling"
        numbers = f"training error {report.train_error:.3g}"
        if report.diverged_chains:
            numbers += f", {counted(report.diverged_chains, 'chains')} diverged"
        if not is_watched():
            self.line(report.steps / report.total_steps, f"{phase}, {numbers}{self._left(report)}")
            return
        bar = self.bar_of(
            total=report.total_steps, initial=report.steps, unit="step", unit_scale=True
        )
        bar.total = report.total_steps  # which a run that ends by its errors learns as it goes
        bar.set_description(phase, refresh=not self.delay)
        bar.set_postfix_str(numbers, refresh=not self.delay)
        bar.update(report.steps - bar.n)

    def _left(self, report: Report) -> str:
        """In words, the time that is left at the pace since the first report; empty at first."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, report.steps)
        seconds, steps = now - self._first[0], report.steps - self._first[1]
        remaining = report.total_steps - report.steps
        if not steps or not remaining:
            return ""
        return f", about {duration(seconds * remaining / steps)} left"


class SweepProgress(Progress):
    """The progress of a sweep: its points, and the time that the rest will take."""

    def __call__(self, state: Status) -> None:
        if self.quiet:
            return
        text = f"{state.done} of {counted(str(state.points), 'points')} done"
        if state.failed:
            text += f", {state.failed} failed"
        if state.seconds_left and state.fraction < 1:
            text += f", about {duration(state.seconds_left)} left"
        if not is_watched():
            self.line(state.fraction, text)
            return
        bar = self.bar_of(total=100, bar_format="{percentage:3.0f}%|{bar}| {desc}")
        bar.set_description_str(text, refresh=not self.delay)
        bar.update(100 * state.fraction - bar.n)


@contextlib.contextmanager
def shown_progress(
    progress: Callable[[State], None] | bool | None, kind: type[Progress]
) -> Iterator[Callable[[State], None] | None]:
    """A context with the function to be called as things proceed; None for no such function.

    A function is itself; True is a bar or lines of this `kind`, False nothing, and None a bar where
    somebody watches, else nothing. Raises `InputError` for anything else.
    """
    if progress is None:
        progress = is_watched()
    if progress is False:
        yield None
    elif progress is True:
        with kind(delay=DELAY) as bar:
            yield bar
    elif callable(progress) and not isinstance(progress, type):
        yield progress
    else:
        raise InputError(
            f"progress is True, False or a function, got {shown(progress)}: write lambda report: …"
        )


def is_terminal() -> bool:
    """Whether lines can be written over on stderr."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def is_watched() -> bool:
    """Whether stderr is a terminal or a notebook, where a bar is seen and goes."""
    return is_terminal() or type(sys.stderr).__module__.startswith("ipykernel.")


def _tqdm() -> Any:
    """The bar's class: in a notebook with ipywidgets its own, else that of terminals."""
    if not is_terminal():
        with contextlib.suppress(ImportError):
            import_module("ipywidgets")
            from tqdm.notebook import tqdm_notebook

            return tqdm_notebook
    from tqdm import tqdm

    return tqdm


def _size() -> dict[str, int]:
    """The size of a bar on a terminal that does not know its own, where tqdm would show nothing."""
    try:
        is_known = min(os.get_terminal_size(sys.stderr.fileno())) > 0
    except OSError:
        is_known = False
    return {} if is_known else {"ncols": 80, "nrows": 24}
