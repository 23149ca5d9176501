"""`langevin-nn compare`: several finished runs beside each other."""

import argparse
import sys

from langevin_nn.cli.startup import configure_jax, loading
from langevin_nn.cli.words import PICTURE, add_plot, path, require_folder_of
from langevin_nn.errors import InputError

SUMMARY = "finished runs beside each other: one table, one figure"
USAGE = f"RUN_DIR RUN_DIR ... [--plot {PICTURE}]"
EXAMPLE = """an example:
  langevin-nn compare runs/narrow runs/wide --plot widths.png"""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the parser the runs' folders and the figure's file."""
    parser.add_argument("folders", type=path, metavar="RUN_DIR", nargs="+")
    add_plot(parser, "the runs")


def execute(arguments: argparse.Namespace) -> int:
    """Print the table; each run stands beside the first, and beside its theories."""
    plot = arguments.plot
    if len(arguments.folders) < 2:
        raise InputError(
            f"compare takes two runs or more, got {arguments.folders[0]} alone: write langevin-nn "
            "compare RUN_DIR RUN_DIR"
        )
    if plot is not None:
        require_folder_of(plot)
    with loading():
        from langevin_nn import plotting
        from langevin_nn.files import require_no_folder, require_writable
        from langevin_nn.runs.loading import compare_runs

        configure_jax()
    if plot is not None:
        require_no_folder(plot, "another name")
        require_writable(plot.parent, "write --plot with a file in another folder")
    comparison = compare_runs(*arguments.folders)
    sys.stdout.write(f"{comparison}\n")
    if plot is not None:
        try:
            plotting.save_as(comparison.figure(), plot)
        except OSError as error:
            raise InputError(f"cannot write {plot}: {error.strerror or error}") from error
        sys.stdout.write(f"\nfigure: {plot}\n")
    return 0
