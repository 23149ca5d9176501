"""Progress on stderr: tqdm on a terminal, plain lines (one in ten per cent) elsewhere."""

import os
import sys
from typing import TYPE_CHECKING, Any

from langevin_nn.cli.startup import raise_swallowed

if TYPE_CHECKING:
    from langevin_nn.sampling.engine.driver import Report
    from langevin_nn.sweeps.status import Status


def _is_terminal() -> bool:
    """Whether lines can be written over on stderr."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _size() -> dict[str, int]:
    """A size for a terminal that does not know its own, on which tqdm would show nothing."""
    try:
        known = min(os.get_terminal_size(sys.stderr.fileno())) > 0
    except OSError:
        known = False
    return {} if known else {"ncols": 80, "nrows": 24}


class _Shown:
    """One bar, or one line for each tenth."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: Any = None
        self.told = -1

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def line(self, fraction: float, words: str) -> None:
        """A line, if another tenth is done."""
        tenth = int(10 * fraction)
        if tenth > self.told:
            self.told = tenth
            try:
                sys.stderr.write(f"{10 * tenth:3d} %  {words}\n")
                sys.stderr.flush()
            except OSError:  # nobody reads it: no reason to stop
                self.quiet = True

    def bar_of(self, **settings: Any) -> Any:
        if self.bar is None:
            from tqdm import tqdm

            self.bar = tqdm(leave=False, **_size(), **settings)
        return self.bar


class RunProgress(_Shown):
    """Of one run: the steps of its chains."""

    def __call__(self, report: "Report") -> None:
        raise_swallowed()
        if self.quiet:
            return
        phase = "warm-up" if report.steps < report.warmup_steps else "sampling"
        numbers = f"training error {report.train_error:.3g}"
        if report.diverged_chains:
            numbers += f", {report.diverged_chains} chains diverged"
        if not _is_terminal():
            self.line(report.steps / report.total_steps, f"{phase}, {numbers}")
            return
        bar = self.bar_of(
            total=report.total_steps, initial=report.steps, unit="step", unit_scale=True
        )
        bar.set_description(phase)
        bar.set_postfix_str(numbers)
        bar.update(report.steps - bar.n)


class SweepProgress(_Shown):
    """Of a sweep: its points, and the time that the rest will take."""

    def __call__(self, status: "Status") -> None:
        raise_swallowed()
        if self.quiet:
            return
        words = f"{status.done} of {status.points} points done"
        if status.failed:
            words += f", {status.failed} failed"
        if status.seconds_left and status.fraction < 1:
            words += f", about {duration(status.seconds_left)} left"
        if not _is_terminal():
            self.line(status.fraction, words)
            return
        bar = self.bar_of(total=100, bar_format="{percentage:3.0f}%|{bar}| {desc}")
        bar.set_description_str(words)
        bar.update(100 * status.fraction - bar.n)


def tell(words: str) -> None:
    """A line for what the user should know, quiet or not."""
    sys.stderr.write(f"langevin-nn: {words}\n")


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

    >>> duration(38.2), duration(1e3), duration(9e3)
    ('38 s', '17 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
