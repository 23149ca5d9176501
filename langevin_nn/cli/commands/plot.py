"""`langevin-nn plot`: the figures of a run folder again."""

import argparse
import sys

from langevin_nn.cli.startup import configure_jax, loading
from langevin_nn.cli.words import add_formats, path
from langevin_nn.errors import InputError

SUMMARY = "draw the figures of a run folder again"
USAGE = "RUN_DIR [--format FORMAT ...]"
EXAMPLE = """an example:
  langevin-nn plot runs/cold --format pdf"""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the parser the run's folder, and the formats."""
    parser.add_argument("folder", type=path, metavar="RUN_DIR")
    add_formats(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Draw the figures, and print their paths."""
    with loading():
        from langevin_nn.runs import run
        from langevin_nn.runs.folder import RunFolder
        from langevin_nn.runs.results import measured_by

        configure_jax()
    folder = RunFolder(arguments.folder)
    config = folder.load_config()
    chains, theories = folder.load_results()
    formats = arguments.format or ["png"]
    try:
        run.draw_figures(folder, config, chains, measured_by(config, chains), theories, formats)
    except OSError as error:
        raise InputError(
            f"cannot write into {folder.figures} ({error.strerror or error}): copy the run folder "
            "to a place that can be written"
        ) from error
    paths = sorted(path for ending in set(formats) for path in folder.figures.glob(f"*.{ending}"))
    sys.stdout.write("".join(f"{path}\n" for path in paths))
    return 0
