"""Pages that are made of the repository's own texts, and links that hold there and on the site.

Every text of the repository links to files beside it, as a code host shows them. On the site, a
link to a text that is a page there leads to the page, and any other file is found where it is. The
gallery is made of the READMEs of `experiments/` when the site is built, and so are the pages of
CONTRIBUTING.md, CHANGELOG.md and data/README.md: none of them has a copy.
"""

import posixpath
import re
from pathlib import Path

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
EXPERIMENTS = ROOT / "experiments"

LINK = re.compile(r"\]\((?!https?:|mailto:|#|/)([^)\s#]+)(#[^)\s]*)?\)")
"""A link of Markdown to a file: its path, and a place in it."""

FINDINGS = "## What was found"
"""The heading above the table that has a row for each experiment."""

SINGLE_PAGES = {
    "CONTRIBUTING.md": "develop/contributing.md",
    "CHANGELOG.md": "develop/changelog.md",
    "data/README.md": "reference/data_files.md",
}
"""The texts outside of docs/ that are one page each, by their paths, with the pages' paths."""


def experiments() -> list[str]:
    """The folders of experiments/ that have a README, in the order of the table of findings."""
    names = sorted(path.parent.name for path in EXPERIMENTS.glob("*/README.md"))
    table = (DOCS / "explained/validity.md").read_text(encoding="utf-8").partition(FINDINGS)[2]
    places = {name: table.find(f"experiments/{name}/") for name in names}
    return sorted(names, key=lambda name: (places[name] < 0, places[name]))


def generated_pages() -> dict[str, str]:
    """The path of each page in docs/ that is made of a text, by the text's path."""
    gallery = {f"experiments/{name}/README.md": f"gallery/{name}.md" for name in experiments()}
    return SINGLE_PAGES | gallery


def relinked(text: str, home: str, page: str) -> str:
    """`text` of the repository's folder `home` with the links that it has as `page` of docs/.

    Links to what is no file stay what they are, so that Sphinx tells of them.

    >>> relinked("[a](../width_sweep/README.md)", "experiments/depth", "gallery/depth.md")
    '[a](/gallery/width_sweep.md)'
    >>> relinked("![b](depth.png)", "experiments/depth", "gallery/depth.md")
    '![b](../../experiments/depth/depth.png)'
    """
    pages = generated_pages() | {"README.md": "index.md"}
    start = posixpath.dirname(f"docs/{page}")

    def replaced(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(home, match[1]))
        place = match[2] or ""
        if target in pages:
            return f"](/{pages[target]}{place})"
        if (ROOT / target).is_file():
            return f"]({posixpath.relpath(target, start)}{place})"
        return match[0]

    return LINK.sub(replaced, text)


def page_of(text_path: str, page: str) -> str:
    """The page of docs/ that a text of the repository makes."""
    text = (ROOT / text_path).read_text(encoding="utf-8")
    return relinked(text.replace("$", r"\$"), posixpath.dirname(text_path), page)


def gallery() -> str:
    """The gallery's first page: the figure of each experiment, with its title and its page."""
    lines = ["# Gallery", "", GALLERY_TEXT, "", "::::{grid} 1 2 2 3", ":gutter: 3", ""]
    for name in experiments():
        text = (EXPERIMENTS / name / "README.md").read_text(encoding="utf-8")
        title = text.splitlines()[0].removeprefix("# ")
        figure = re.search(r"!\[[^]]*\]\(([^)]+)\)", text)
        lines += [f":::{{grid-item-card}} {title}", f":link: /gallery/{name}", ":link-type: doc"]
        if figure:
            lines += [f":img-bottom: ../../experiments/{name}/{figure[1]}"]
        lines += ["", f"`{name}`", ":::", ""]
    lines += ["::::", "", "```{toctree}", ":hidden:", "", *experiments(), "```", ""]
    return "\n".join(lines)


GALLERY_TEXT = """\
Each page is the README of a folder of `experiments/`: the question, the figure, predicted against
measured with standard errors, and what follows. [What was
found](/explained/validity.md#what-was-found) has all of them in one table."""


def write_pages() -> None:
    """Write the pages of the repository's texts, where they have changed."""
    contents = {page: page_of(text, page) for text, page in generated_pages().items()}
    contents["gallery/index.md"] = gallery()
    for page, content in contents.items():
        path = DOCS / page
        path.parent.mkdir(exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")
    for path in DOCS.glob("gallery/*.md"):
        if f"gallery/{path.name}" not in contents:
            path.unlink()


def setup(app):
    write_pages()
    made = {page.removesuffix(".md") for page in generated_pages().values()}

    def read(app, docname, source):
        if docname not in made and docname != "gallery/index":
            source[0] = relinked(source[0], posixpath.dirname(f"docs/{docname}"), f"{docname}.md")

    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
