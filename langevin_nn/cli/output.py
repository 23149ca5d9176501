"""What commands that write a folder share: its name, what is printed, and words on obstacles."""

import argparse
import errno
import sys
from pathlib import Path


def default_output(path: Path, content_hash: str, folder: str = "runs") -> Path:
    """`runs/NAME-HASH`: NAME from the file, or from its folder if it is a config.toml."""
    name = path.resolve().parent.name if path.stem == "config" else path.stem
    return Path(folder) / f"{name or 'run'}-{content_hash}"


def obstacle_advice(error: OSError) -> str:
    """The advice to move a folder that stands in a file's place; empty for other errors."""
    if error.errno != errno.EISDIR or not (name := error.filename2 or error.filename):
        return ""
    return f"{name} is a folder where a file is to be: move it away; "


def write_unless_quiet(arguments: argparse.Namespace, text: str) -> None:
    """Write a text and a line break to standard output, unless --quiet was given."""
    if not arguments.quiet:
        sys.stdout.write(text + "\n")
