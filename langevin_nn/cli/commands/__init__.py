"""The commands of the command line: a new one is a module here and a line of the table."""

import argparse
from collections.abc import Mapping
from typing import Protocol

from langevin_nn.cli.commands import (
    compare,
    completion,
    data,
    export,
    info,
    init,
    plot,
    report,
    run,
    sweep,
    theory,
    watch,
)


class Command(Protocol):
    """What a command's module has. It imports JAX in functions only, so that help comes at once."""

    SUMMARY: str
    """What the command does, in a line of the help."""
    USAGE: str
    """The words after the command's name, as the help shows them."""

    EXAMPLE: str
    """The end of the command's help: how it is written, on an example."""

    def add(self, parser: argparse.ArgumentParser, /) -> None:
        """Give the parser of the command its arguments."""

    def execute(self, arguments: argparse.Namespace, /) -> int:
        """Do what the arguments say; return the exit code.

        Raises `InputError` for what was wrong in the arguments, or in what they name.
        """


COMMANDS: Mapping[str, Command] = {
    "init": init,
    "run": run,
    "sweep": sweep,
    "theory": theory,
    "watch": watch,
    "plot": plot,
    "report": report,
    "compare": compare,
    "export": export,
    "data": data,
    "info": info,
    "completion": completion,
}
"""The commands by their names, in the order of the help."""
