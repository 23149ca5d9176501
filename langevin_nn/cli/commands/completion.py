"""`langevin-nn completion`: the lines that let a shell complete commands, options and values."""

import argparse
import sys
from collections.abc import Iterable

from langevin_nn import config as configuration
from langevin_nn.cli.startup import loading
from langevin_nn.cli.words import path, picture

SUMMARY = "print the lines with which a shell completes words of langevin-nn"
USAGE = "bash | zsh | tcsh"
EXAMPLE = """an example, and another for zsh, whose fpath has ~/.zfunc:
  langevin-nn completion bash > \\
    ~/.local/share/bash-completion/completions/langevin-nn
  langevin-nn completion zsh > ~/.zfunc/_langevin-nn"""
SHELLS = ("bash", "zsh", "tcsh")


def add(parser: argparse.ArgumentParser) -> None:
    """Give the parser the shell."""
    parser.add_argument("shell", choices=SHELLS, metavar="|".join(SHELLS))


def execute(arguments: argparse.Namespace) -> int:
    """Print the lines."""
    with loading():
        import shtab

        from langevin_nn.theory.suite import THEORIES
    for parser in _commands(arguments.parser):
        for action in parser._actions:
            name = action.dest.removeprefix("field:")
            if name == "theory":
                action.choices = tuple(THEORIES)
            elif action.dest != name:
                action.choices = configuration.options()[name].metadata["kind"].choices or None
            if isinstance(action.metavar, tuple):  # of which a shell's lines have one
                action.metavar = action.metavar[0]
            if action.type in (path, picture) or name == "data.path":
                is_folder = "DIR" in str(action.metavar)
                setattr(action, "complete", shtab.DIRECTORY if is_folder else shtab.FILE)  # noqa: B010
    sys.stdout.write(shtab.complete(arguments.parser, arguments.shell) + "\n")
    return 0


def _commands(parser: argparse.ArgumentParser) -> Iterable[argparse.ArgumentParser]:
    """The parsers of the commands."""
    actions = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return next(actions).choices.values()
