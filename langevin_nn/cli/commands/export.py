"""`langevin-nn export`: the numbers of a run or a sweep as a table for other programs."""

import argparse
import sys

from langevin_nn.cli.startup import loading
from langevin_nn.cli.words import Once, path
from langevin_nn.errors import InputError

SUMMARY = "the numbers of a run or a sweep as CSV, LaTeX or Parquet"
USAGE = "DIR [--format csv|latex|parquet] [--output FILE]"
EXAMPLE = """an example:
  langevin-nn export sweeps/mine --output mine.tex"""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the parser the folder, the format and the file."""
    parser.add_argument(
        "folder", type=path, metavar="DIR", help="of a run; of a sweep, at any time"
    )
    parser.add_argument(
        "--format", action=Once, choices=("csv", "latex", "parquet"),
        help="left out: as the file's ending says, else csv",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=path, action=Once, metavar="FILE", help="left out: standard output"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Write the table, and print its path, or the table itself."""
    if arguments.format == "parquet" and arguments.output is None:
        raise InputError("Parquet is no text: write --output FILE.parquet")
    with loading():
        from langevin_nn.reports.export import export
    written = export(arguments.folder, arguments.output, format=arguments.format)
    sys.stdout.write(written.decode() if isinstance(written, bytes) else f"{written}\n")
    return 0
