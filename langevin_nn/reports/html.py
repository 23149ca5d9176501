"""HTML from its parts: elements that escape what they hold, tables, figures, a whole page.

Text is escaped as it goes into an element; only `Markup`, which the functions here return, is HTML
already. A page is one file: its style (`reports.style`) and its figures are inside, and it asks for
nothing else.
"""

import base64
import html
import re
import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from langevin_nn.reports.style import STYLE


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, *content: str, **attributes: str) -> Markup:
    """An HTML element around its content; trailing underscores of attribute names are left out.

    >>> element("p", "a < b, ", element("b", "now"), class_="note")
    '<p class="note">a &lt; b, <b>now</b></p>'
    """
    values = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    assignments = "".join(f' {name}="{escaped(value)}"' for name, value in values.items())
    return Markup(f"<{tag}{assignments}>{joined(content)}</{tag}>")


def joined(parts: Iterable[str], between: str = "") -> Markup:
    """The parts concatenated with `between` between them, text escaped."""
    return Markup(
        between.join(part if isinstance(part, Markup) else escaped(part) for part in parts)
    )


def escaped(text: str) -> Markup:
    """Text as HTML, with characters that no page may hold replaced."""
    return Markup(html.escape(_printable(text)))


def _printable(text: str) -> str:
    characters = (
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t"
        else letter
        for letter in text
    )
    return "".join(characters)


def table(
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    labels: int = 1,
    marks: Sequence[str] | None = None,
) -> Markup:
    """An HTML table; the first `labels` cells of a row are headers, `marks` the classes of rows."""
    head = element("tr", *(element("th", name, scope="col") for name in header))
    body = []
    for row, mark in zip(rows, marks or [""] * len(rows), strict=True):
        cells = [element("th", cell, scope="row") for cell in row[:labels]]
        cells += [element("td", cell) for cell in row[labels:]]
        body.append(element("tr", *cells, **({"class_": mark} if mark else {})))
    markup = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", head),
        element("tbody", joined(body, "\n")),
    )
    return element("div", markup, class_="wide", role="region", tabindex="0", aria_label=caption)


def figures(images: Mapping[str, str | bytes], captions: Mapping[str, str]) -> list[Markup]:
    """HTML figures with the images inside the page, each with the caption of its name.

    An image is an `<svg>` element or the content of a PNG (`plotting.images`).
    """
    parts = []
    for name, content in images.items():
        text = escaped(f"Figure {name}: {captions[name]}")
        if isinstance(content, bytes):
            data = base64.b64encode(content).decode()
            image = Markup(f'<img src="data:image/png;base64,{data}" alt="{text}">')
        else:
            image = Markup(
                _printable(content).replace("<svg", f'<svg role="img" aria-label="{text}"', 1)
            )
        card = element("div", image, class_="card", tabindex="0")
        parts.append(element("figure", card, element("figcaption", captions[name])))
    return parts


def findings(sentences: Sequence[str]) -> Markup:
    """What was found, a line for each sentence, the first one in bold."""
    first, *others = sentences
    lines = [element("p", first, class_="verdict"), *(element("p", line) for line in others)]
    return element("div", *lines, class_="findings")


def listing(items: Iterable[str]) -> Markup:
    """An HTML list of the items."""
    return element("ul", *(element("li", item) for item in items))


def page(title: str, lead: Sequence[Markup], sections: Mapping[str, Sequence[Markup]]) -> str:
    """A whole HTML document: a title, the lead, and sections by their headings."""
    names = {heading: re.sub(r"\W+", "-", heading.lower()) for heading in sections}
    contents = [element("a", heading, href=f"#{name}") for heading, name in names.items()]
    body = [
        element("header", element("h1", title), *lead),
        element("nav", listing(contents), aria_label="Contents"),
        element(
            "main",
            *(
                element("section", element("h2", heading), joined(parts, "\n"), id=names[heading])
                for heading, parts in sections.items()
            ),
        ),
    ]
    return PAGE.substitute(title=escaped(title), style=STYLE, body=joined(body, "\n"))


PAGE = string.Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
$style</style>
</head>
<body>
$body
</body>
</html>
""")
