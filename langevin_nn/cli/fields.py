"""The fields of the configuration as options, `--SECTION.FIELD VALUE`."""

import argparse
import json

from langevin_nn import config as configuration
from langevin_nn.cli.words import Once
from langevin_nn.config.record import RunConfig


def add_fields(parser: argparse.ArgumentParser) -> None:
    """Give a command the configuration's fields as options."""
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


def config_of(arguments: argparse.Namespace) -> RunConfig:
    """The configuration of a command: the file, with the fields given as options."""
    return configuration.load(arguments.config, fields_of(arguments))


def fields_of(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The configuration's fields that were given as options, each with its words."""
    return {
        key.removeprefix("field:"): value if isinstance(value, list) else [value]
        for key, value in vars(arguments).items()
        if key.startswith("field:") and value is not None
    }
