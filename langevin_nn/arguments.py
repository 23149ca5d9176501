"""What the words of a command line mean.

Every field of the configuration is an option of `run` and `theory`, `--SECTION.FIELD VALUE`.
"""

import argparse
import json
import re
from pathlib import Path
from typing import NoReturn

from langevin_nn import config as configuration
from langevin_nn.config import RunConfig
from langevin_nn.errors import InputError
from langevin_nn.validation import nearest


class _Parser(argparse.ArgumentParser):
    """Errors are raised, not printed with the usage."""

    def error(self, message: str) -> NoReturn:
        first = ", before the options" if "CONFIG.toml" in message else ""
        raise InputError(f"{message}{first} (see {self.prog} --help)")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="langevin-nn",
        description="Sample the posterior of a finite-width network and hold it against theory.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, meaning: str, usage: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=meaning, description=meaning, usage=f"langevin-nn {name} {usage}".strip(),
            allow_abbrev=False,
        )  # fmt: skip
        added.set_defaults(command=name, words=arguments, options=[])
        return added

    run = command(
        "run", "sample a posterior and compare it with the theories",
        "CONFIG.toml [--output DIR] [--SECTION.FIELD VALUE ...]\n"
        "                       [--resume | --overwrite] [--quiet]",
    )  # fmt: skip
    run.add_argument("config", type=Path, metavar="CONFIG.toml")
    run.add_argument("--output", type=Path, metavar="DIR", help="the run folder (runs/NAME-HASH)")
    existing = run.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    existing.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    run.add_argument("--quiet", action="store_true", help="no progress, no table")
    _add_fields(run, ["--output", "--resume", "--overwrite", "--quiet"])
    theory = command(
        "theory", "the theories' predictions only, in seconds",
        "CONFIG.toml [--SECTION.FIELD VALUE ...]\n"
        "                          [--json] [--plot FILE.png]",
    )  # fmt: skip
    theory.add_argument("config", type=Path, metavar="CONFIG.toml")
    theory.add_argument("--json", action="store_true", help="everything, as JSON")
    theory.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the theories")
    _add_fields(theory, ["--json", "--plot"])
    plot = command("plot", "draw the figures of a run folder again", "RUN_DIR")
    plot.add_argument("folder", type=Path, metavar="RUN_DIR")
    data = command("data", "list or fetch data sets", "list | fetch NAME")
    data.add_argument("action", choices=("list", "fetch"), metavar="list|fetch")
    data.add_argument("name", nargs="?", metavar="NAME")
    command("info", "versions, devices, precision", "")

    parsed, unknown = parser.parse_known_args([_readable(word) for word in arguments])
    if unknown:
        word = next((word for word in unknown if word.startswith("-")), unknown[0])
        flag = word.split("=")[0]
        hint = nearest(flag, parsed.options) or f" (see langevin-nn {parsed.command} --help)"
        if flag in parsed.options:
            hint = f": write it behind langevin-nn {parsed.command}"
        raise InputError(f"unknown argument {word}{hint}")
    return parsed


def _add_fields(parser: argparse.ArgumentParser, others: list[str]) -> None:
    group = parser.add_argument_group(
        "fields of the configuration",
        "Each goes before the value in CONFIG.toml. Lists: --prior.precisions 1 2.",
    )
    for name, item in configuration.options().items():
        meaning = item.metadata["help"].replace("%", "%%")
        if item.default not in (None, ""):
            meaning += f" (default {json.dumps(item.default)})"
        group.add_argument(
            f"--{name}", nargs="+" if item.metadata["kind"].is_list else None,
            dest=f"field:{name}", metavar="VALUE", help=meaning,
        )  # fmt: skip
    parser.set_defaults(options=[*others, *(f"--{name}" for name in configuration.options())])


def _readable(word: str) -> str:
    """A word as argparse can read it.

    `--sampler.num-chains` means `--sampler.num_chains`; `-1e-3` is a number and no option.
    """
    if re.fullmatch(r"-[\d.]+[eE][-+]?\d+", word):
        return f" {word}"
    flag, equals, value = word.partition("=")
    known = flag[2:].replace("-", "_")
    return f"--{known}{equals}{value}" if known in configuration.options() else word


def config_of(arguments: argparse.Namespace) -> RunConfig:
    given = {
        key.removeprefix("field:"): value if isinstance(value, list) else [value]
        for key, value in vars(arguments).items()
        if key.startswith("field:") and value is not None
    }
    return configuration.load(arguments.config, given)
