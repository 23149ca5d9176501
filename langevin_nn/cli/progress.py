"""Progress on stderr: tqdm on a terminal, plain lines (one in ten per cent) elsewhere."""

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from langevin_nn.cli.startup import raise_swallowed
from langevin_nn.cli.streams import is_terminal, stages
from langevin_nn.display import duration

if TYPE_CHECKING:
    from langevin_nn.sampling.engine.driver import Report
    from langevin_nn.sweeps.status import Status


def _size() -> dict[str, int]:
    """The size of a bar on a terminal that does not know its own, where tqdm would show nothing."""
    try:
        is_known = min(os.get_terminal_size(sys.stderr.fileno())) > 0
    except OSError:
        is_known = False
    return {} if is_known else {"ncols": 80, "nrows": 24}


class _Progress:
    """Progress shown as one bar, or as one line for each tenth that is done."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
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
            from tqdm import tqdm

            self.bar = tqdm(leave=False, **_size(), **settings)
        return self.bar


class RunProgress(_Progress):
    """The progress of a run: the steps of its chains."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self._first: tuple[float, int] | None = None

    def __call__(self, report: "Report") -> None:
        raise_swallowed()
        stages.end()
        if self.quiet:
            return
        phase = "warm-up" if report.steps < report.warmup_steps else "sampling"
        numbers = f"training error {report.train_error:.3g}"
        if report.diverged_chains:
            numbers += f", {report.diverged_chains} chains diverged"
        if not is_terminal():
            self.line(report.steps / report.total_steps, f"{phase}, {numbers}{self._left(report)}")
            return
        bar = self.bar_of(
            total=report.total_steps, initial=report.steps, unit="step", unit_scale=True
        )
        bar.set_description(phase)
        bar.set_postfix_str(numbers)
        bar.update(report.steps - bar.n)

    def _left(self, report: "Report") -> str:
        """In words, the time that is left at the pace since the first report; empty at first."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, report.steps)
        seconds, steps = now - self._first[0], report.steps - self._first[1]
        remaining = report.total_steps - report.steps
        if not steps or not remaining:
            return ""
        return f", about {duration(seconds * remaining / steps)} left"


class SweepProgress(_Progress):
    """The progress of a sweep: its points, and the time that the rest will take."""

    def __call__(self, status: "Status") -> None:
        raise_swallowed()
        stages.end()
        if self.quiet:
            return
        text = f"{status.done} of {status.points} points done"
        if status.failed:
            text += f", {status.failed} failed"
        if status.seconds_left and status.fraction < 1:
            text += f", about {duration(status.seconds_left)} left"
        if not is_terminal():
            self.line(status.fraction, text)
            return
        bar = self.bar_of(total=100, bar_format="{percentage:3.0f}%|{bar}| {desc}")
        bar.set_description_str(text)
        bar.update(100 * status.fraction - bar.n)


def tell(text: str) -> None:
    """Write a line on stderr that the user should know, quiet or not."""
    stages.end()
    sys.stderr.write(f"langevin-nn: {text}\n")
