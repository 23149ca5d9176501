"""`langevin-nn data`: list or fetch data sets."""

import argparse
import sys

from langevin_nn.cli.startup import loading
from langevin_nn.errors import InputError

SUMMARY = "list or fetch data sets"
USAGE = "list | fetch NAME"
EXAMPLE = """an example:
  langevin-nn data fetch mnist"""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the parser what is to be done, and with which data set."""
    parser.add_argument("action", choices=("list", "fetch"), metavar="list|fetch")
    parser.add_argument("name", nargs="?", metavar="NAME")


def execute(arguments: argparse.Namespace) -> int:
    """Print which data sets are here, or fetch one."""
    with loading():
        from langevin_nn.data import image_files
        from langevin_nn.display import aligned
    if arguments.action == "list":
        if arguments.name is not None:
            raise InputError(f"data list takes no name, got {arguments.name}: write data list")
        rows = [["name", "here", "where", "what"]]
        for source in image_files.available():
            rows.append([source.name, "yes" if source.present else "no", source.where, source.what])
        sys.stdout.write(aligned(rows) + "\n")
        return 0
    if arguments.name is None:
        raise InputError("data fetch needs a name, for example: langevin-nn data fetch mnist")
    for path in image_files.fetch(arguments.name):
        sys.stdout.write(f"{path}\n")
    return 0
