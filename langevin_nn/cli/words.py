"""Words of a command line as argparse can take them, and what single words mean."""

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

from langevin_nn import config as configuration
from langevin_nn.errors import InputError
from langevin_nn.values import FIGURE_FORMATS, clipped

PICTURES = tuple(f".{name}" for name in FIGURE_FORMATS)
"""The endings of figures, each the name of its format."""
PICTURE = f"FILE{'|'.join(PICTURES)}"
"""A figure's file, as the help shows it."""


class Once(argparse.Action):
    """The action that keeps the value of an option, and refuses one that is given twice."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if getattr(namespace, self.dest, self.default) is not self.default:
            raise InputError(f"{option_string} is given twice: write it once")
        setattr(namespace, self.dest, values)


def path(word: str) -> Path:
    """The path that a word names; `Path("")`, the current folder, is refused."""
    if not word.strip():
        raise argparse.ArgumentTypeError("expected the name of a file or a folder, got ''")
    return Path(word)


def picture(word: str) -> Path:
    """The path of a figure, in one of the formats that are written."""
    name = path(word)
    if name.suffix.lower() not in PICTURES:
        raise argparse.ArgumentTypeError(
            f"a figure ends in {', '.join(PICTURES)}, got {clipped(word)!r}: write "
            f"{clipped(name.stem or 'theory')}.png"
        )
    return name


def add_plot(parser: argparse.ArgumentParser, what: str) -> None:
    """Give a command the file of its figure."""
    parser.add_argument("--plot", type=picture, action=Once, metavar=PICTURE, help=f"draw {what}")


def require_folder_of(plot: Path) -> None:
    """Raise `InputError` where the folder of a figure does not exist."""
    if not plot.absolute().parent.is_dir():
        raise InputError(
            f"--plot {plot}: there is no folder {plot.parent}, make it first (mkdir -p "
            f"{shlex.quote(str(plot.parent))}), or write a file in one that is there"
        )


def add_formats(parser: argparse.ArgumentParser) -> None:
    """Give a command the formats of its figures."""
    parser.add_argument(
        "--format", nargs="+", action=Once, choices=[ending[1:] for ending in PICTURES],
        help="the formats of the figures, one or several (default png)",
    )  # fmt: skip


def count(word: str) -> int:
    """The whole number, of up to nine digits, that a word says."""
    if not re.fullmatch(r"\s*\+?\d{1,9}\s*", word):
        raise argparse.ArgumentTypeError(
            f"expected a whole number of up to nine digits, got {clipped(word)!r}"
        )
    return int(word)


def options_of(parser: argparse.ArgumentParser) -> list[str]:
    """The options of a command as words, but for --help."""
    return [option for option in parser._option_string_actions if option not in ("-h", "--help")]


def names_first(parser: argparse.ArgumentParser, words: list[str]) -> list[str]:
    """The words behind a command, with those that belong to no option in front: files, folders.

    argparse would give CONFIG.toml to a list before it, as in `--prior.precisions 1 2 CONFIG.toml`.
    """
    options = parser._option_string_actions
    places, ends = [], []
    i = 0
    while i < len(words):
        action = options.get(words[i])
        i += 1
        if action is None:
            if not words[i - 1].startswith("-"):
                places.append(i - 1)
        elif action.nargs is None:
            i += 1
        elif action.nargs == "+":
            first = i
            while i < len(words) and not words[i].startswith("--"):
                i += 1
            if i - first > 1 and _ends_list(action, words[i - 1]):
                ends.append(i - 1)
    if not places and len(ends) == 1:
        places = ends
    return [words[i] for i in places] + [word for i, word in enumerate(words) if i not in places]


def _ends_list(action: argparse.Action, word: str) -> bool:
    """Whether the last word of an option's list is the name of a file or folder behind it."""
    return word not in action.choices if action.choices else word.lower().endswith(".toml")


def readable(word: str) -> str:
    """A word as argparse can read it.

    `--sampler.num-chains` means `--sampler.num_chains`; `-1e-3` and `-inf` are numbers, no options.
    """
    if re.fullmatch(r"-([\d.]+[eE][-+]?\d+|inf|nan)", word, re.IGNORECASE):
        return f" {word}"
    flag, equals, value = word.partition("=")
    field = flag[2:].replace("-", "_")
    return f"--{field}{equals}{value}" if field in configuration.options() else word
