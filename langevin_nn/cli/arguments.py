"""What the words of a command line mean: the parser of all commands."""

import argparse
import sys
from typing import Any, NoReturn

import langevin_nn
from langevin_nn.cli.commands import COMMANDS
from langevin_nn.cli.words import names_first, options_of, readable
from langevin_nn.config.fields import is_plain
from langevin_nn.errors import InputError
from langevin_nn.values import clipped, nearest, shown

EXAMPLE = """an example:
  langevin-nn init --data digits > my.toml
  langevin-nn run my.toml --posterior.temperature 0.01
  langevin-nn COMMAND --help"""


class _Parser(argparse.ArgumentParser):
    """A parser that raises `InputError` where argparse would print its usage and leave.

    What stands at the end of its help keeps its lines.
    """

    def __init__(self, **settings: Any) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(formatter_class=formatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        lacking = message.removeprefix("the following arguments are required: ")
        if lacking != message:
            message = f"{lacking} is missing: write it first, {self.prog} {lacking} …"
        if lacking == "CONFIG.toml":
            message += " (behind a list of values only a name that ends in .toml is taken for it)"
        raise InputError(f"{clipped(message, 400)} (see {self.prog} --help)")


class _Version(argparse.Action):
    """The action of --version."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        sys.stdout.write(f"{parser.prog} {langevin_nn.__version__}\n")
        parser.exit()


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command and its options. Raises `InputError` for words that make no command.

    No words at all are a question for help, which is printed, and ends the process.
    """
    for word in arguments:
        if not is_plain(word):
            raise InputError(f"the argument {shown(word)} is not text in UTF-8 without NUL")
    parser = _Parser(
        prog="langevin-nn",
        description="Sample the posterior of a finite-width network and hold it against theory.",
        epilog=EXAMPLE,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="the version, and leave")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name, help=command.SUMMARY, description=command.SUMMARY,
            usage=f"langevin-nn {name} {command.USAGE}".strip(), epilog=command.EXAMPLE,
        )  # fmt: skip
        command.add(subparser)
        subparser.set_defaults(
            command=name, words=arguments, options=options_of(subparser), parser=parser
        )

    words = [readable(word) for word in arguments or ["--help"]]
    _require_command_first(words)
    if words[0] in COMMANDS:
        words[1:] = names_first(commands.choices[words[0]], words[1:])
    parsed, unknown = parser.parse_known_args(words)
    if unknown:
        word = next((word for word in unknown if word.startswith("-")), unknown[0])
        flag = word.split("=")[0]
        hint = nearest(flag, parsed.options) or f" (see langevin-nn {parsed.command} --help)"
        raise InputError(f"unknown argument {clipped(word)}{hint}")
    return parsed


def _require_command_first(words: list[str]) -> None:
    """Raise `InputError` for options and files before the command, which is then named."""
    first = words[0].partition("=")[0]
    own_options = ("-h", "--help", "--version")
    if first in own_options or not (first.startswith("-") or first.endswith(".toml")):
        return
    command = next((word for word in words[1:] if word in COMMANDS), "COMMAND")
    advice = f": write langevin-nn {command} {clipped(words[0])} … (see langevin-nn --help)"
    if command == "COMMAND":
        advice = nearest(first, own_options) or advice
    raise InputError(f"the command goes first, got {clipped(words[0])}{advice}")
