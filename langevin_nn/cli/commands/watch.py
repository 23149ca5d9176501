"""`langevin-nn watch`: a run while it is under way."""

import argparse
import sys
import time

from langevin_nn.cli.codes import NOT_CONVERGED
from langevin_nn.cli.startup import configure_jax, loading, not_swallowed
from langevin_nn.cli.streams import stages
from langevin_nn.cli.words import Once, count, path
from langevin_nn.errors import InputError

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
    folder = RunFolder(arguments.folder)
    config = folder.load_config()
    data = None
    shown_lines = 0
    while not folder.is_finished:
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
    finished = load_run(folder.path)
    sys.stdout.write(f"{_over(shown_lines)}{finished}\n")
    return 0 if finished.measured.converged else NOT_CONVERGED


def _over(lines: int) -> str:
    """What lets a terminal write over the last lines; nothing before the first, or in a file."""
    if not lines:
        return ""
    return f"\x1b[{lines}F\x1b[J" if sys.stdout.isatty() else "\n"
