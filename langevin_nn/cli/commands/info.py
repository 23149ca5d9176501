"""`langevin-nn info`: versions, devices, precision."""

import argparse
import sys
from pathlib import Path

from langevin_nn.cli.startup import configure_jax, loading

SUMMARY = "versions, devices, precision"
USAGE = ""
EXAMPLE = """an example:
  langevin-nn info > versions.txt"""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the parser no arguments."""


def execute(arguments: argparse.Namespace) -> int:
    """Print what a report of a fault has to say about the machine."""
    with loading():
        from langevin_nn.runs import provenance

        configure_jax()
    sections = {
        "versions": {
            name: number or "not installed" for name, number in provenance.versions().items()
        },
        "device": provenance.device(),
        "precision": provenance.precision(),
        "git": provenance.git_state(Path(provenance.__file__).parent) or {"commit": None},
    }
    for title, content in sections.items():
        sys.stdout.write(f"{title}\n")
        sys.stdout.writelines(f"  {name:<20} {value}\n" for name, value in content.items())
    return 0
