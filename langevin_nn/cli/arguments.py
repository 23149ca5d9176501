"""What the words of a command line mean.

Every field of the configuration is an option of `run`, `sweep` and `theory`,
`--SECTION.FIELD VALUE`.
"""

import argparse
import json
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn

from langevin_nn import config as configuration
from langevin_nn.cli.words import Once, config_first, count, path, picture, readable
from langevin_nn.config.fields import clipped, is_plain, shown
from langevin_nn.config.record import RunConfig
from langevin_nn.errors import InputError
from langevin_nn.sweeps.axes import over_of
from langevin_nn.sweeps.executors import EXECUTORS
from langevin_nn.sweeps.grid import Grid, load
from langevin_nn.values import nearest


class _Parser(argparse.ArgumentParser):
    """A parser that raises `InputError` where argparse would print its usage and leave."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{clipped(message, 400)} (see {self.prog} --help)")


class _Version(argparse.Action):
    """The action of --version, which reads the version from the package's metadata."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        try:
            number = version("langevin-nn")
        except PackageNotFoundError:
            number = "(not installed)"
        sys.stdout.write(f"{parser.prog} {number}\n")
        parser.exit()


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command and its options. Raises `InputError` for words that make no command."""
    for word in arguments:
        if not is_plain(word):
            raise InputError(f"the argument {shown(word)} is not text in UTF-8 without NUL")
    parser = _Parser(
        prog="langevin-nn",
        description="Sample the posterior of a finite-width network and hold it against theory.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="the version, and leave")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, meaning: str, usage: str) -> argparse.ArgumentParser:
        subparser = commands.add_parser(
            name, help=meaning, description=meaning, usage=f"langevin-nn {name} {usage}".strip(),
            allow_abbrev=False,
        )  # fmt: skip
        subparser.set_defaults(command=name, words=arguments, options=[])
        return subparser

    run = command(
        "run", "sample a posterior and compare it with the theories",
        "CONFIG.toml [--output DIR] [--SECTION.FIELD VALUE ...]\n"
        "                       [--resume | --overwrite] [--quiet]",
    )  # fmt: skip
    run.add_argument("config", type=path, metavar="CONFIG.toml")
    run.add_argument(
        "--output", type=path, action=Once, metavar="DIR", help="the run folder (runs/NAME-HASH)"
    )
    existing = run.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    existing.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    run.add_argument("--quiet", action="store_true", help="no progress, no table")
    _add_fields(run, ["--output", "--resume", "--overwrite", "--quiet"])
    sweep = command(
        "sweep", "run a grid of configurations, or say where one stands",
        "CONFIG.toml --over FIELD=VALUES ... [--seeds N]\n"
        "                         [--output DIR] [--executor serial|local|slurm]\n"
        "                         [--workers N] [--task I/N] [--quiet]\n"
        "                         [--SECTION.FIELD VALUE ...]\n"
        "       langevin-nn sweep --status DIR",
    )  # fmt: skip
    sweep.add_argument("config", type=path, metavar="CONFIG.toml", nargs="?")
    sweep.add_argument(
        "--over", action="append", metavar="FIELD=VALUES",
        help="an axis of the grid: a field, or one entry of a list as in prior.precisions[-1]",
    )  # fmt: skip
    sweep.add_argument(
        "--seeds", type=count, action=Once, metavar="N", help="N seeds, from the file's own on"
    )
    sweep.add_argument(
        "--output", type=path, action=Once, metavar="DIR", help="the folder (sweeps/NAME-HASH)"
    )
    sweep.add_argument(
        "--executor", action=Once, choices=EXECUTORS,
        help="this process, processes of this machine, or jobs (as [sweep.slurm] says); "
        "left out: as [sweep] says, else this process",
    )  # fmt: skip
    sweep.add_argument(
        "--workers",
        type=count,
        action=Once,
        metavar="N",
        help="how many (local: as many as GPUs, else cores)",
    )
    sweep.add_argument(
        "--task", action=Once, metavar="I/N", help="only every N-th task, from the I-th (0 ...)"
    )
    sweep.add_argument(
        "--status", type=path, action=Once, metavar="DIR", help="where the sweep in DIR stands"
    )
    sweep.add_argument("--quiet", action="store_true", help="no progress, no table")
    own_options = ("over", "seeds", "output", "executor", "workers", "task", "status", "quiet")
    _add_fields(sweep, [f"--{name}" for name in own_options])
    theory = command(
        "theory", "the theories' predictions only, in seconds",
        "CONFIG.toml [--SECTION.FIELD VALUE ...]\n"
        "                          [--json] [--plot FILE.png]",
    )  # fmt: skip
    theory.add_argument("config", type=path, metavar="CONFIG.toml")
    theory.add_argument("--json", action="store_true", help="everything, as JSON")
    theory.add_argument(
        "--plot", type=picture, action=Once, metavar="FILE.png", help="draw the theories"
    )
    _add_fields(theory, ["--json", "--plot"])
    plot = command("plot", "draw the figures of a run folder again", "RUN_DIR")
    plot.add_argument("folder", type=path, metavar="RUN_DIR")
    report = command(
        "report", "one HTML page of a sweep or a run: figures, tables, provenance",
        "DIR [--output FILE.html]",
    )  # fmt: skip
    report.add_argument(
        "folder", type=path, metavar="DIR", help="of a sweep, at any time; of a run"
    )
    report.add_argument(
        "--output",
        type=path,
        action=Once,
        metavar="FILE.html",
        help="the page (report.html in that folder)",
    )
    report.set_defaults(options=["--output"])
    data = command("data", "list or fetch data sets", "list | fetch NAME")
    data.add_argument("action", choices=("list", "fetch"), metavar="list|fetch")
    data.add_argument("name", nargs="?", metavar="NAME")
    command("info", "versions, devices, precision", "")

    words = [readable(word) for word in arguments]
    if words and words[0] in ("run", "sweep", "theory"):
        words[1:] = config_first(commands.choices[words[0]], words[1:])
    parsed, unknown = parser.parse_known_args(words)
    if unknown:
        word = next((word for word in unknown if word.startswith("-")), unknown[0])
        flag = word.split("=")[0]
        hint = nearest(flag, parsed.options) or f" (see langevin-nn {parsed.command} --help)"
        if flag in parsed.options:
            hint = f": write it behind langevin-nn {parsed.command}"
        raise InputError(f"unknown argument {clipped(word)}{hint}")
    return parsed


def _add_fields(parser: argparse.ArgumentParser, others: list[str]) -> None:
    """Add the configuration's fields to a command whose other options are `others`."""
    group = parser.add_argument_group(
        "fields of the configuration",
        "Each goes before the value in CONFIG.toml. Lists: --prior.precisions 1 2.",
    )
    for name, item in configuration.options().items():
        meaning = item.metadata["help"].replace("%", "%%")
        if item.default not in (None, ""):
            meaning += f" (default {json.dumps(item.default)})"
        group.add_argument(
            f"--{name}", nargs="+" if item.metadata["kind"].is_list else None, action=Once,
            dest=f"field:{name}", metavar="VALUE", help=meaning,
        )  # fmt: skip
    parser.set_defaults(options=[*others, *(f"--{name}" for name in configuration.options())])


def config_of(arguments: argparse.Namespace) -> RunConfig:
    """The configuration of a command: the file, with the fields given as options."""
    return configuration.load(arguments.config, _fields_of(arguments))


def grid_of(arguments: argparse.Namespace) -> Grid:
    """The grid of a sweep; replaces the text `arguments.task` by two numbers."""
    if arguments.config is None:
        raise InputError(
            "sweep needs a configuration: write langevin-nn sweep CONFIG.toml --over FIELD=VALUES, "
            "or langevin-nn sweep --status DIR"
        )
    arguments.task = _task(arguments.task)
    over = over_of(arguments.over or [])
    return load(arguments.config, _fields_of(arguments), over, arguments.seeds)


def require_status_alone(arguments: argparse.Namespace) -> None:
    """Raise `InputError` for words beside `sweep --status DIR`, which would have no effect."""
    others = [f"--{name}" for name in _fields_of(arguments)]
    own_options = ("over", "seeds", "output", "executor", "workers", "task", "quiet")
    others += [f"--{name}" for name in own_options if getattr(arguments, name)]
    others += [str(arguments.config)] if arguments.config else []
    if others:
        raise InputError(
            f"sweep --status DIR says where the sweep in DIR stands, got {others[0]} beside it: "
            "write one of the two"
        )


def default_output(path: Path, content_hash: str, folder: str = "runs") -> Path:
    """`runs/NAME-HASH`: NAME from the file, or from its folder if it is a config.toml."""
    name = path.resolve().parent.name if path.stem == "config" else path.stem
    return Path(folder) / f"{name or 'run'}-{content_hash}"


def _task(word: str | None) -> tuple[int, int] | None:
    """The two numbers in a text such as `3/10`: a task's index and the number of parts."""
    if word is None:
        return None
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", word)
    index, num_parts = (int(match[1]), int(match[2])) if match else (1, 0)
    if index >= num_parts:
        raise InputError(
            f"--task {clipped(word)}: write I/N with I from 0 to N - 1, for example "
            "--task 0/10 … 9/10"
        )
    return index, num_parts


def _fields_of(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The configuration's fields that were given as options, each with its words."""
    return {
        key.removeprefix("field:"): value if isinstance(value, list) else [value]
        for key, value in vars(arguments).items()
        if key.startswith("field:") and value is not None
    }
