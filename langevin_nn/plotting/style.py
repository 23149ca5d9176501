"""The look of experiments and theories in figures, and the writing of figures to files.

Colours are Okabe and Ito's, which colour-blind readers can tell apart.
"""

import contextlib
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from langevin_nn.errors import InputError
from langevin_nn.files import require_no_folder, write_atomically
from langevin_nn.import_paths import ImportPath
from langevin_nn.theory.base import Theory
from langevin_nn.theory.style import OWN_STYLE
from langevin_nn.theory.suite import THEORIES, theory_named
from langevin_nn.values import FIGURE_FORMATS

DPI = 130.0
LARGEST_SVG = 120_000
"""The largest number of characters of a figure that a page has as SVG."""
SVG_SETTINGS: Mapping[Any, Any] = {
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
}
"""The settings of SVG with text as text, in a font as wide as the one that was measured."""
DATES: Mapping[str, dict[str, None]] = {
    "png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}
}  # fmt: skip
"""The dates that are left out of each format."""
EXPERIMENT_COLOUR = "#000000"
THEORY_STYLES: Mapping[str, Mapping[str, Any]] = {
    name: theory_named(name).style for name in THEORIES
}
CHAIN_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000",
)  # fmt: skip


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """A context with matplotlib's own defaults, whatever the user's matplotlibrc or code has set.

    It is for whole figures of runs and sweeps; afterwards the settings are as before. Axes that a
    user gives to the functions of `plotting` look as the user wants.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def style_of(theory: str) -> Mapping[str, Any]:
    """The colour, line style and marker of a theory; a style of its own for an unknown theory."""
    known = _theory_or_none(theory)
    return OWN_STYLE if known is None else known.style


def is_first(theory: str) -> bool:
    """Whether the theory is shown before others where there is room for few.

    >>> is_first("one_layer"), is_first("nested"), is_first("one that has gone")
    (True, False, False)
    """
    known = _theory_or_none(theory)
    return known is not None and known.is_first


def is_limit(theory: str) -> bool:
    """Whether the theory is the limit of other theories as widths grow.

    >>> is_limit("infinite_width"), is_limit("one_layer")
    (True, False)
    """
    known = _theory_or_none(theory)
    return known is not None and known.is_limit


def _theory_or_none(theory: str) -> Theory | None:
    """The theory of this name, or of an import path that can be imported; else None."""
    if theory in THEORIES or isinstance(theory, ImportPath):
        with contextlib.suppress(InputError):  # a module that has gone
            return theory_named(theory)
    return None


def literal(words: str) -> str:
    """A user's text, with dollar signs escaped: matplotlib takes text between them for TeX.

    >>> literal("runs/$HOME and $x")
    'runs/\\\\$HOME and \\\\$x'
    """
    return words.replace("$", r"\$")


def save(figures: Mapping[str, Figure], folder: Path, formats: Sequence[str] = ("png",)) -> None:
    """Write each figure into `folder`, in each of the formats "png", "pdf", "svg".

    The files are the same to the last byte whenever they are drawn, in the same formats: the layout
    of the second begins with that of the first. Raises `InputError`, and writes
    none, where a folder has the name of a figure's file.
    """
    for ending in formats:
        _require_format(ending, f"the format {ending!r}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file where a folder is to be: move it away")
    ordered = [ending for ending in FIGURE_FORMATS if ending in formats]
    paths = {(name, ending): folder / f"{name}.{ending}" for name in figures for ending in ordered}
    for path in paths.values():
        require_no_folder(path)
    folder.mkdir(exist_ok=True)
    for (name, ending), path in paths.items():
        _write(figures[name], path, ending)


def save_as(figure: Figure, path: Path) -> None:
    """Write one figure, in the format that the file's ending names: .png, .pdf or .svg."""
    ending = path.suffix.lower().removeprefix(".")
    _require_format(ending, f"{path}", f"{path.stem}.png")
    _write(figure, path, ending)


def _require_format(ending: str, given: str, write: str = "png") -> None:
    """Raise `InputError` for an ending that names none of the formats."""
    if ending not in FIGURE_FORMATS:
        raise InputError(
            f"a figure ends in .{', .'.join(FIGURE_FORMATS)}, got {given}: write {write}"
        )


def pngs(figures: Mapping[str, Figure], pixels: float = 3e6) -> dict[str, bytes]:
    """The content of a PNG of each figure, coarser where it would have more than `pixels`."""
    contents = {}
    for name, figure in figures.items():
        content = io.BytesIO()
        width, height = figure.get_size_inches()
        _draw(figure, content, min(DPI, math.sqrt(pixels / (width * height))))
        contents[name] = content.getvalue()
    return contents


def images(figures: Mapping[str, Figure]) -> dict[str, str | bytes]:
    """Each figure for a page: as an `<svg>` element, or as a PNG where that has many points."""
    contents: dict[str, str | bytes] = {}
    for name, figure in figures.items():
        content = svg(figure, name)
        contents[name] = content if len(content) <= LARGEST_SVG else pngs({name: figure})[name]
    return contents


def svg(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element of an HTML page, whose ids no figure of another name has.

    Text can be selected, coordinates have two decimals (of 1/72 inch), and nothing in it depends on
    when it was drawn.
    """
    content = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({**SVG_SETTINGS, "svg.hashsalt": name}):
        figure.savefig(content, format="svg", metadata=nothing)
    text = content.getvalue()
    text = re.sub(r"<!--.*?-->|<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"|(?<=<g) id="[^"]*"', "", text)
    text = re.sub(r' (?:d|x|y)="[^"]*"', lambda match: _rounded(match[0]), text)
    return re.sub(r"\n\s*", "\n", text).strip()


def _rounded(coordinates: str) -> str:
    """The coordinates in SVG with two decimals."""
    return re.sub(r"\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}", coordinates)


def _write(figure: Figure, path: Path, ending: str) -> None:
    write_atomically(path, lambda part: _draw(figure, part, ending=ending), shared=True)


def _draw(
    figure: Figure, where: Path | io.BytesIO, dpi: float = DPI, *, ending: str = "png"
) -> None:
    with matplotlib.rc_context({"svg.hashsalt": "langevin_nn"}):
        figure.savefig(where, format=ending, dpi=dpi, metadata=DATES[ending])
