"""How experiments and theories look, and how a figure is written.

Colours are Okabe and Ito's, which colour-blind readers can tell apart.
"""

import contextlib
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from langevin_nn.errors import InputError
from langevin_nn.files import write_atomically

DPI = 130.0
FORMATS = ("png", "pdf", "svg")
EXPERIMENT_COLOUR = "#000000"
THEORY_STYLES: Mapping[str, Mapping[str, Any]] = {
    "infinite_width": {"color": "#E69F00", "linestyle": "--", "marker": "s"},
    "one_layer": {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    "one_layer_nonodd": {"color": "#56B4E9", "linestyle": "-.", "marker": "P"},
    "nested": {"color": "#D55E00", "linestyle": "-.", "marker": "v"},
    "global": {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    "scale_mixture": {"color": "#009E73", "linestyle": ":", "marker": "^"},
    "multi_output": {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    "convolutional": {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    "width_expansion": {"color": "#CC79A7", "linestyle": (0, (1, 2.5)), "marker": "D"},
    "matched": {"color": "#D55E00", "linestyle": (0, (3, 1, 1, 1)), "marker": "v"},
}
CHAIN_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000",
)  # fmt: skip


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Within it matplotlib has its own defaults, whatever the user's matplotlibrc or code has set.

    For whole figures, of runs and sweeps; afterwards all is as it was. Axes that a user gives to
    the functions of `plotting` look as the user wants.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def style_of(theory: str) -> Mapping[str, Any]:
    """Colour, line style and marker of a theory; of one of your own, what no other has."""
    return THEORY_STYLES.get(theory, {"color": "#CC79A7", "linestyle": "-.", "marker": "D"})


def literal(words: str) -> str:
    """Words of the user's as a figure shows them: matplotlib takes what is between $ for TeX.

    >>> literal("runs/$HOME and $x")
    'runs/\\\\$HOME and \\\\$x'
    """
    return words.replace("$", r"\$")


def save(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write each figure as a PNG into `folder`."""
    folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
        _write(figure, folder / f"{name}.png")


def save_as(figure: Figure, path: Path) -> None:
    """Write one figure, in the format that the file's ending names: .png, .pdf or .svg."""
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise InputError(
            f"a figure ends in .{', .'.join(FORMATS)}, got {path}: write {path.stem}.png"
        )
    _write(figure, path, ending)


def pngs(figures: Mapping[str, Figure], pixels: float = 3e6) -> dict[str, bytes]:
    """Each figure as the content of a PNG; coarser where it would have more than so many pixels."""
    contents = {}
    for name, figure in figures.items():
        content = io.BytesIO()
        width, height = figure.get_size_inches()
        _draw(figure, content, min(DPI, math.sqrt(pixels / (width * height))))
        contents[name] = content.getvalue()
    return contents


def _write(figure: Figure, path: Path, ending: str = "png") -> None:
    write_atomically(path, lambda part: _draw(figure, part, ending=ending), shared=True)


def _draw(
    figure: Figure, where: Path | io.BytesIO, dpi: float = DPI, *, ending: str = "png"
) -> None:
    figure.savefig(where, format=ending, dpi=dpi)
