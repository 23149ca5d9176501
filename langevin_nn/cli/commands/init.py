"""`langevin-nn init`: a configuration with words on each field, to begin one's own with.

Where nothing that is given says how to sample, it has the read-out integrated out and split
dynamics, which end when bias² and variance are known to 1 %.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from langevin_nn import config as configuration
from langevin_nn.cli.fields import add_fields, fields_of
from langevin_nn.cli.words import Once
from langevin_nn.config.sections import PLACEHOLDER_PATH, SOURCES
from langevin_nn.errors import InputError
from langevin_nn.import_paths import is_import_path
from langevin_nn.values import nearest, shown

SUMMARY = "print a configuration with words on each field, to edit"
USAGE = "[--data NAME] [--SECTION.FIELD VALUE ...] > my.toml"
FAST = {"posterior": {"readout": "marginalised"}, "sampler": {"dynamics": "split"}}
"""The values of a first run of one's own: the exact posterior, until 1 % is reached."""
CHOOSING = {"posterior": {"readout", "loss"}, "network": {"architecture"}}
"""The fields, beside all of [sampler], with which someone chooses how to sample."""
EXAMPLE = """an example:
  langevin-nn init --data mnist --network.hidden_widths 100 100 > my.toml"""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the parser the configuration's fields, and a short name for the data source."""
    parser.add_argument(
        "--data", action=Once, dest="field:data.source", metavar="NAME",
        help="the same as --data.source: fields that it does not read are left out; npz is your "
        "own file, --data.path FILE.npz",
    )  # fmt: skip
    add_fields(parser, "Each is written with the value that is given.")


def execute(arguments: argparse.Namespace) -> int:
    """Print the configuration."""
    values: dict[str, Any] = {}
    for name, words in fields_of(arguments).items():
        configuration.override(values, name, words)
    source = values.get("data", {}).get("source")
    if source is not None and source not in SOURCES and not is_import_path(source):
        hint = nearest(str(source), SOURCES) or ":"
        raise InputError(
            f"unknown data source {shown(source)}{hint} known are {', '.join(SOURCES)}, or "
            "module:name of your own"
        )
    if source == "npz":
        values["data"].setdefault("path", PLACEHOLDER_PATH)
    if not values.get("sampler") and not any(
        chosen & values.get(section, {}).keys() for section, chosen in CHOOSING.items()
    ):
        values = values | {section: values.get(section, {}) | FAST[section] for section in FAST}
    sys.stdout.write(configuration.commented(values, Path()))
    return 0
