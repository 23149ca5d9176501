"""HTML from its parts: elements that escape what they hold, tables, figures, a whole page.

Text is escaped as it goes into an element; only `Markup`, which the functions here return, is HTML
already. A page is one file: its style and its figures are inside, and it asks for nothing else.
"""

import base64
import html
import re
import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence


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
    characters = (
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t"
        else letter
        for letter in text
    )
    return Markup(html.escape("".join(characters)))


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
        element("caption", caption),
        element("thead", head),
        element("tbody", joined(body, "\n")),
    )
    return element("div", markup, class_="wide", role="region", tabindex="0", aria_label=caption)


PNG = b"\x89PNG"
"""The first bytes of a PNG."""


def figures(images: Mapping[str, bytes], captions: Mapping[str, str]) -> list[Markup]:
    """HTML figures with the PNGs or SVGs inside the page, each with the caption of its name."""
    parts = []
    for name, content in images.items():
        kind = "png" if content.startswith(PNG) else "svg+xml"
        data = base64.b64encode(content).decode()
        text = escaped(f"Figure {name}: {captions[name]}")
        image = Markup(f'<img src="data:image/{kind};base64,{data}" alt="{text}">')
        parts.append(element("figure", image, element("figcaption", captions[name])))
    return parts


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

STYLE = """\
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 78rem; padding: 1rem; color: #111; background: #fff;
  font: 1rem/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1, h2, h3 { line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin-top: 2.5rem; border-bottom: 2px solid #111; }
p, li, figcaption { max-width: 48rem; overflow-wrap: anywhere; }
.verdict { font-size: 1.15rem; font-weight: 600; }
.note, figcaption { color: #444; font-size: 0.9rem; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; padding: 0; list-style: none; }
a { color: #0b5394; }
.wide { overflow-x: auto; margin: 1.25rem 0; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
caption { padding: 0.25rem 0; font-weight: 600; text-align: left; }
th, td { padding: 0.2rem 0.7rem 0.2rem 0; text-align: left; vertical-align: top;
  white-space: nowrap; border-bottom: 1px solid #ddd; }
thead th { border-bottom: 1px solid #111; vertical-align: bottom; }
tbody th { font-weight: normal; }
.words td:last-child { min-width: 18rem; white-space: normal; overflow-wrap: anywhere; }
.failed > * { background: #fbdcd8; }
.restless > * { background: #fff1c9; }
figure { margin: 1.25rem 0; overflow-x: auto; }
img { max-width: max(100%, 44rem); height: auto; }
pre { padding: 0.75rem; border: 1px solid #ccc; font-size: 0.85rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
@media print {
  :root { font-size: 9pt; }
  body { max-width: none; padding: 0; }
  nav { display: none; }
  h2, h3, caption { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  .wide, figure { overflow: visible; }
  img { max-width: 100%; }
  table { font-size: 7pt; }
  th, td { padding-right: 0.4rem; white-space: normal; }
  .words td:last-child { min-width: 0; }
}
"""
