"""How the package's objects show themselves in a terminal and in a notebook: as tables."""

import abc
import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of text under a header (empty where there is none), with a title and notes.

    `str` is the table in aligned columns, and so is `repr`; a notebook gets it as HTML.

    >>> Table(("", "bias²"), (("one_layer", "0.03357"),), notes=("not converged",))
               bias²
    ──────────────────
    one_layer  0.03357
    not converged
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        title = [self.title] if self.title else []
        rows = aligned([self.header, *self.rows]) if self.header else columns(self.rows)
        return "\n".join([*title, rows, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        style = ' style="text-align: left"'
        head = "".join(f"<th{style}>{html.escape(cell)}</th>" for cell in self.header)
        rows = "".join(
            f"<tr><th{style}>{html.escape(first)}</th>"
            + "".join(f"<td{style}>{html.escape(cell)}</td>" for cell in rest)
            + "</tr>"
            for first, *rest in self.rows
        )
        caption = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        thead = f"<thead><tr>{head}</tr></thead>" if head else ""
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<table>{caption}{thead}<tbody>{rows}</tbody></table>{notes}"


class Displayed(abc.ABC):
    """An object that shows itself as a table. Abstract."""

    @property
    @abc.abstractmethod
    def _table(self) -> Table:
        """The table that a terminal and a notebook show."""

    def __repr__(self) -> str:
        return str(self._table)

    def _repr_html_(self) -> str:
        return self._table._repr_html_()


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table as text: rows in left-aligned columns, the first row ruled off as the header."""
    header, *others = columns(rows).split("\n")
    width = sum(widths := _widths(rows)) + 2 * len(widths) - 2
    return "\n".join([header, "─" * width, *others])


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text, in left-aligned columns."""
    widths = _widths(rows)
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def counted(number: int | str, plural: str) -> str:
    """A number, or its text, with a noun that is given in the plural: in the singular beside one.

    >>> counted(1, "steps"), counted("1", "trajectories"), counted(2000, "draws"), counted("…", "x")
    ('1 step', '1 trajectory', '2,000 draws', '… x')
    """
    text = number if isinstance(number, str) else f"{number:,}"
    if text != "1":
        return f"{text} {plural}"
    stem = plural.removesuffix("s")
    return f"1 {stem.removesuffix('ie')}y" if stem.endswith("ie") else f"1 {stem}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

    >>> duration(3.28), duration(38.2), duration(1e3), duration(9e3), duration(1e6)
    ('3.3 s', '38 s', '17 min', '2.5 h', '12 days')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"
