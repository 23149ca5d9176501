"""The style of a theory in figures: its colour, its line and its marker.

What is plainly right, a colour in six digits and a usual line and marker, is known by itself; for
anything else matplotlib is asked, which is imported for that alone.
"""

import re
from collections.abc import Mapping
from typing import Any

from langevin_nn.errors import InputError, first_line
from langevin_nn.values import clipped, is_ordered, nearest, require_kind, shown

__all__ = ["OWN_STYLE", "checked_style"]

OWN_STYLE: Mapping[str, Any] = {"color": "#CC79A7", "linestyle": "-.", "marker": "D"}
"""The style in figures of a theory that gives none of its own."""
LINES, MARKERS = ("-", "--", "-.", ":"), "os^vDPX<>*d"
"""The lines and the markers of matplotlib that need no look."""


def checked_style(name: str, style: Any) -> dict[str, Any]:
    """The style of the theory `name`, with those of `OWN_STYLE` for the keys that it leaves out.

    Raises `InputError` for a style that is no mapping, has other keys or cannot be drawn.

    >>> checked_style("mine", {"color": "#999999"})
    {'color': '#999999', 'linestyle': '-.', 'marker': 'D'}
    """
    require_kind(f"style of {name}", style, Mapping, 'style={"color": "#999999"}')
    for key in style:
        if key not in OWN_STYLE:
            hint = nearest(str(key), OWN_STYLE) or f": write {', '.join(OWN_STYLE)}"
            raise InputError(f"style of {name} has no {shown(key)}{hint}")
    whole_style = {**OWN_STYLE, **style}
    if not _is_plain(whole_style):
        _require_drawable(name, whole_style)
    return whole_style


def _is_plain(style: Mapping[str, Any]) -> bool:
    """Whether the style is one that every matplotlib draws."""
    color, line, marker = (style[key] for key in OWN_STYLE)
    return (
        isinstance(color, str) and re.fullmatch("#[0-9A-Fa-f]{6}", color) is not None
        and (isinstance(line, str) and line in LINES or _is_dashed(line))
        and isinstance(marker, str) and len(marker) == 1 and marker in MARKERS
    )  # fmt: skip


def _is_dashed(line: Any) -> bool:
    """Whether a line is an offset and the lengths of dashes and gaps, an even number of them."""
    if not (isinstance(line, tuple) and len(line) == 2 and is_ordered(line[1])):
        return False
    offset, lengths = line
    numbers = [offset, *lengths]
    return len(lengths) > 0 and len(lengths) % 2 == 0 and all(
        isinstance(number, int | float) and number >= 0 for number in numbers
    )  # fmt: skip


def _require_drawable(name: str, style: Mapping[str, Any]) -> None:
    """Raise `InputError` for a style that cannot be drawn, before there is a figure to draw."""
    from matplotlib.figure import Figure

    try:
        axes = Figure().subplots()
        axes.plot([0], [0], color=style["color"], linestyle=style["linestyle"])
        axes.errorbar([0], [0], [1], fmt=style["marker"], color=style["color"])
    except (ValueError, TypeError, AttributeError) as error:
        reason = clipped(first_line(error), 100)
        raise InputError(
            f"the style {shown(dict(style))} of {name} cannot be drawn ({reason}): write a color, "
            'a linestyle and a marker of matplotlib, {"color": "#999999"}'
        ) from error
