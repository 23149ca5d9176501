"""`langevin-nn watch`: a run while it is under way."""

import argparse
import sys
import time
from typing import TYPE_CHECKING

from langevin_nn.cli.codes import NOT_CONVERGED
from langevin_nn.cli.progress import tell
from langevin_nn.cli.startup import configure_jax, loading, not_swallowed
from langevin_nn.cli.streams import stages
from langevin_nn.cli.words import Once, count, path
from langevin_nn.errors import InputError

if TYPE_CHECKING:
    from langevin_nn.runs.folder import RunFolder

START_SECONDS = 60.0
"""The time for which a run is waited for that is being started and has no folder yet."""

SUMMARY = "a run while it is under way: progress, R̂, ESS and the numbers so far"
USAGE = "RUN_DIR [--every SECONDS] [--once]"
EXAMPLE = """an example:
  langevin-nn watch runs/mine"""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the parser the run's folder, and how often to look."""
    parser.add_argument("folder", type=path, metavar="RUN_DIR")
    parser.add_argument(
        "--every", type=count, action=Once, metavar="SECONDS", help="between two looks (5)"
    )
    parser.add_argument("--once", action="store_true", help="look once, and leave")


def execute(arguments: argparse.Namespace) -> int:
    """Show the run until it is finished or nobody works on it; the code is then that of the run."""
    if arguments.every == 0:
        raise InputError("--every 0 would never rest: write a number of seconds from 1 on")
    stages.begin("loading JAX")
    with loading():
        from langevin_nn.runs import run
        from langevin_nn.runs.folder import RunFolder
        from langevin_nn.runs.loading import load_run
        from langevin_nn.runs.watching import standing

        configure_jax()
    top = folder = RunFolder(arguments.folder)
    if not arguments.once:
        _await_start(folder)
    if top.extension.has_state:
        folder = top.extension
    config = folder.load_config()
    data = None
    shown_lines = 0
    while folder.is_run and not folder.is_finished:
        if data is None:
            stages.begin(f"reading {config.data.source}")
            data = run.prepare(config, sampling=False).data
        text = str(standing(folder, config, data))
        if folder.is_finished:  # meanwhile
            break
        stages.end()
        sys.stdout.write(_over(shown_lines) + text + "\n")
        sys.stdout.flush()
        shown_lines = text.count("\n") + 1
        if arguments.once or not folder.worker:
            return 0
        with not_swallowed():
            time.sleep(arguments.every or 5)
    stages.end()
    while top.extension.is_run and top.worker:  # which takes its place now
        time.sleep(0.1)
    if shown_lines and not top.is_run:
        raise InputError(
            f"{top.path} holds no run any more: it was removed, or it diverged or ended in an "
            "error before it saved a state, which is told where it was started"
        )
    finished = load_run(top.path)
    sys.stdout.write(f"{_over(shown_lines)}{finished}\n")
    return 0 if finished.measured.converged else NOT_CONVERGED


def _await_start(folder: "RunFolder") -> None:
    """Wait until the folder holds a run, for `START_SECONDS` at most; say so on stderr.

    A run that is being started has no folder before it has read its data. A folder that holds
    anything else is not waited for.
    """
    if not folder.is_vacant:
        return
    tell(
        f"{folder.path} holds no run yet: waiting {START_SECONDS:.0f} s for one that is being "
        "started"
    )
    deadline = time.monotonic() + START_SECONDS
    while folder.is_vacant and time.monotonic() < deadline:
        with not_swallowed():
            time.sleep(0.2)


def _over(lines: int) -> str:
    """What lets a terminal write over the last lines; nothing before the first, or in a file."""
    if not lines:
        return ""
    return f"\x1b[{lines}F\x1b[J" if sys.stdout.isatty() else "\n"
