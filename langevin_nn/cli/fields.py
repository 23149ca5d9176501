"""The fields of the configuration as options, `--SECTION.FIELD VALUE`."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from langevin_nn import config as configuration
from langevin_nn.cli.words import Once
from langevin_nn.config.record import RunConfig
from langevin_nn.config.sampler import in_place_of_length

WIDTH = 76
"""The letters of a line of the help that an option and its values may take."""


def add_fields(
    parser: argparse.ArgumentParser, use: str = "Each goes before the value in CONFIG.toml."
) -> None:
    """Give a command the configuration's fields as options, in groups by their tables."""
    group = parser.add_argument_group(
        "fields of the configuration", f"{use} Lists: --prior.precisions 1 2."
    )
    for name, item in configuration.options().items():
        section = name.rpartition(".")[0]
        if section and group.title != f"[{section}]":
            group = parser.add_argument_group(f"[{section}]")
        group.add_argument(
            f"--{name}", nargs="+" if item.metadata["kind"].is_list else None, action=Once,
            dest=f"field:{name}", metavar=_values(name, item), help=_meaning(item),
        )  # fmt: skip


def _meaning(item: dataclasses.Field[Any]) -> str:
    """The help of a field, with its default."""
    meaning = str(item.metadata["help"]).replace("%", "%%")
    if item.default in (None, ""):
        return meaning
    return f"{meaning} (default {json.dumps(item.default)})"


def _values(name: str, item: dataclasses.Field[Any]) -> str | tuple[str, ...]:
    """The values of a field in a few words, `{erf,relu} or MODULE:NAME`, as argparse's metavar.

    Names that make the line too long are left out. Of a list it is two: what its first entry may
    be, and what each further one.
    """
    kind = item.metadata["kind"]
    names = list(kind.choices)
    if not names:
        return "VALUE"
    first, *further = ("MODULE:NAME",) if item.metadata["of"] else kind.others or ("",)
    more, end = "", f" or {first}" if first else ""
    while len(f"--{name} {{{','.join(names)}{more}}}{end}") > WIDTH:
        names, more = names[:-1], ",…"
    values = f"{{{','.join(names)}{more}}}{end}"
    return (values, *further) if further else values


def config_of(arguments: argparse.Namespace) -> RunConfig:
    """The configuration of a command: the file, with the fields given as options."""
    return configuration.load(arguments.config, fields_of(arguments))


def fields_of(arguments: argparse.Namespace) -> dict[str, Sequence[str] | None]:
    """The configuration's fields that were given as options, each with its words.

    Of an extension, a number of draws or a rule that ends them takes the place of the other one.
    """
    given = {
        key.removeprefix("field:"): value if isinstance(value, list) else [value]
        for key, value in vars(arguments).items()
        if key.startswith("field:") and value is not None
    }
    return in_place_of_length(given) if getattr(arguments, "extend", False) else {**given}
