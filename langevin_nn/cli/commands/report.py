"""`langevin-nn report`: one HTML page of a sweep or a run."""

import argparse
import sys

from langevin_nn.cli.startup import loading
from langevin_nn.cli.words import Once, path

SUMMARY = "one HTML page of a sweep or a run: figures, tables, provenance"
USAGE = "DIR [--output FILE.html]"
EXAMPLE = """an example:
  langevin-nn report sweeps/mine --output mine.html"""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the parser the folder and the page's file."""
    parser.add_argument(
        "folder", type=path, metavar="DIR", help="of a sweep, at any time; of a run"
    )
    parser.add_argument(
        "--output",
        type=path,
        action=Once,
        metavar="FILE.html",
        help="the page (report.html in that folder)",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Write the page, and print its path."""
    with loading():
        from langevin_nn.reports.report import report
    sys.stdout.write(f"{report(arguments.folder, arguments.output)}\n")
    return 0
