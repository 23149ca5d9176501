"""The progress of commands, which Ctrl-C ends wherever it was heard."""

import sys

from langevin_nn import progress
from langevin_nn.cli.startup import raise_swallowed
from langevin_nn.cli.streams import stages


class RunCommandProgress(progress.RunProgress):
    """The progress of a run: the steps of its chains."""

    def __call__(self, report: progress.Report) -> None:
        raise_swallowed()
        stages.end()
        super().__call__(report)


class SweepCommandProgress(progress.SweepProgress):
    """The progress of a sweep: its points, and the time that the rest will take."""

    def __call__(self, state: progress.Status) -> None:
        raise_swallowed()
        stages.end()
        super().__call__(state)


def tell(text: str) -> None:
    """Write a line on stderr that the user should know, quiet or not."""
    stages.end()
    sys.stderr.write(f"langevin-nn: {text}\n")
