"""The documentation: what it links to is there, and its reference leaves nothing out.

The site itself, with the tutorials that are executed for it, is built in .ci/run.
"""

import argparse
import ast
import doctest
import importlib
import inspect
import re
import tomllib

import pytest
from pages import FINDINGS, LINK, ROOT, experiments, generated_pages, relinked
from public import is_in, public_names

from langevin_nn import config as configuration
from langevin_nn.cli.commands import COMMANDS
from langevin_nn.cli.words import options_of
from langevin_nn.runs import claims
from langevin_nn.sweeps import folder
from langevin_nn.sweeps.grid import SWEEP_KEYS

DOCS = ROOT / "docs"
MADE = {DOCS / page for page in generated_pages().values()} | {DOCS / "gallery/index.md"}
PAGES = sorted(
    path for path in DOCS.rglob("*.md") if path not in MADE and "_build" not in path.parts
)
TEXTS = [ROOT / text for text in generated_pages()] + [ROOT / "README.md"]


@pytest.mark.parametrize("path", PAGES + TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(path):
    """On a code host, beside the file; on the site a made page stands in for its text."""
    for target, _ in LINK.findall(path.read_text("utf-8")):
        place = (path.parent / target).resolve()
        on_site = (DOCS / "gallery/index.md").resolve()
        assert place.exists() or place == on_site, f"{path.relative_to(ROOT)} links to {target}"


def anchor_of(heading):
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_headings_that_are_linked_to_are_there():
    for path in PAGES + TEXTS:
        for target, anchor in LINK.findall(path.read_text("utf-8")):
            page = (path.parent / target).resolve()
            if anchor and page.suffix == ".md":
                headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)
                anchors = {f"#{anchor_of(heading)}" for heading in headings}
                assert anchor in anchors, f"{path.relative_to(ROOT)} links to {target}{anchor}"


def test_the_table_of_findings_has_each_experiment():
    table = (DOCS / "explained/validity.md").read_text("utf-8").partition(FINDINGS)[2]
    absent = [name for name in experiments() if f"experiments/{name}/README.md)" not in table]
    assert absent == []


def test_a_text_of_the_repository_becomes_a_page_with_its_links():
    text = "[a](../depth/README.md#b) ![c](width_sweep.png) [d](results.json) [e](https://f.g)"
    assert relinked(text, "experiments/width_sweep", "gallery/width_sweep.md") == (
        "[a](/gallery/depth.md#b) ![c](../../experiments/width_sweep/width_sweep.png) "
        "[d](../../experiments/width_sweep/results.json) [e](https://f.g)"
    )


def test_the_reference_has_each_public_name_once():
    pages = [path.read_text("utf-8") for path in (DOCS / "reference/python").glob("*.md")]
    directives = re.findall(r"^\.\. public-names::((?:\s+langevin_nn\S*)+)", "\n".join(pages), re.M)
    prefixes = " ".join(directives).split()
    places = {
        name: [prefix for prefix in prefixes if is_in(home, prefix)]
        for name, home in public_names().items()
    }
    assert {name: found for name, found in places.items() if len(found) != 1} == {}
    assert len(places) > 100


def test_the_design_names_what_is_there():
    """Its tree has each module and room, and what it names between backticks exists."""
    package, page = ROOT / "langevin_nn", (DOCS / "design.md").read_text("utf-8")
    tree = re.search(r"^    langevin_nn/\n((?:      .*\n)+)", page, re.M)[1]
    rooms = {path.name: path for path in package.iterdir() if (path / "__init__.py").is_file()}
    named = {f"{room}/" for room in rooms} | {path.name for path in package.glob("[!_]*.py")}
    columns = [re.match(r" *((?:\w+(?:\.py|/) ?)+)", line)[1].split() for line in tree.splitlines()]
    assert sorted(sum(columns, [])) == sorted(named)
    for (first, *_), line in zip(columns, tree.splitlines(), strict=True):
        inner = re.findall(r"(\w+/)", line)[1:] if first.endswith("/") else []
        if inner:
            parts = rooms[first[:-1]].glob("*/__init__.py")
            assert sorted(inner) == sorted(f"{part.parent.name}/" for part in parts)
    for path in re.findall(r"`([\w/]+(?:\.py|/[\w/]*))`", page):
        assert (package / path).exists() or (ROOT / path).exists(), path
    for module, name in re.findall(r"`([a-z_.]+)\.(\w+)`", page):
        if (package / module.replace(".", "/")).with_suffix(".py").is_file():
            assert hasattr(importlib.import_module(f"langevin_nn.{module}"), name), (module, name)


def definitions(path):
    """The public functions, classes, methods and properties of a module, and what each is there.

    The docstring of a class is its own, that of a method may be inherited.
    """
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    for node in ast.parse(path.read_text("utf-8")).body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        value = getattr(module, node.name)
        is_class = isinstance(node, ast.ClassDef)
        yield f"{name}.{node.name}", ast.get_docstring(node) if is_class else inspect.getdoc(value)
        for part in node.body if is_class else ():
            if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
                doc = inspect.getdoc(getattr(value, part.name))
                yield f"{name}.{node.name}.{part.name}", doc


def test_what_is_public_says_what_it_is():
    paths = sorted((ROOT / "langevin_nn").rglob("*.py"))
    docs = {
        name: doc for path in paths if path.stem != "__main__" for name, doc in definitions(path)
    }
    assert [name for name, doc in docs.items() if not doc] == []
    assert len(docs) > 1_000


def test_the_reference_has_each_key_of_a_configuration():
    page = (DOCS / "reference/configuration.md").read_text("utf-8")
    tables = re.findall(r"^\.\. configuration-keys::(?: (\w+))?$", page, re.M)
    assert sorted(tables) == sorted(["", *configuration.SECTIONS])
    sweep = page[page.index("### [sweep]") :]
    assert re.findall(r"^\| `(\w+)` \|", sweep, re.M) == list(SWEEP_KEYS)


def test_the_reference_has_each_command():
    page = (DOCS / "reference/command_line.md").read_text("utf-8")
    assert re.findall(r"^\.\. command:: (\w+)$", page, re.M) == list(COMMANDS)


def test_the_usage_of_each_command_is_whole():
    """Help and the reference name the same options, all that there are but for the fields."""
    page = (DOCS / "reference/command_line.md").read_text("utf-8")
    block = page.partition("\n\n## ")[0]
    for name, command in COMMANDS.items():
        parser = argparse.ArgumentParser()
        command.add(parser)
        fields = {"--data", *(f"--{field}" for field in configuration.options())}
        options = {word for word in options_of(parser) if word not in fields}
        shown = "\n".join(re.findall(rf"^    langevin-nn {name}\b(.*)", block, re.M))
        for text in (command.USAGE, shown):
            named = set(re.findall(r"--[a-z][a-z-]+", text)) - fields
            assert named == options, (name, text)
            assert ("--SECTION.FIELD" in text) is ("--seed" in options_of(parser)), name


def test_the_reference_has_each_part_of_a_folder():
    page = (DOCS / "reference/files.md").read_text("utf-8")
    run, sweep = page.split("\n## A sweep's folder\n")
    for part in (*claims.FILES, "figures", "checkpoint", "modules"):
        assert re.search(rf"`{re.escape(part)}[`/]", run), part
    for part in folder.PARTS:
        assert re.search(rf"`{re.escape(part)}[`/]", sweep), part


def test_the_page_of_the_installation_has_each_extra():
    page = (DOCS / "start/install.md").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = re.findall(r"^\| `\.\[(\w+)\]` \|", page, re.M)
    assert sorted(named) == sorted(project["optional-dependencies"])


def test_python_that_is_shown_is_executed():
    """By the build of the documentation, or, as whole files, by tests/extensions."""
    examples = "".join(path.read_text() for path in (ROOT / "tests/extensions").glob("*.py"))
    executed = 0
    for path in PAGES:
        text = path.read_text("utf-8")
        for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
            assert block in examples, f"{path.relative_to(ROOT)}: write {{code-cell}} python"
        if cells := text.count("```{code-cell} python"):
            assert text.startswith("---\nfile_format: mystnb\n"), path
            executed += cells
    assert executed > 30


def test_the_readme_is_short_and_names_files_that_exist():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 120
    for path in re.findall(r"experiments/\w+/config\.toml", text):
        assert (ROOT / path).is_file()


@pytest.mark.parametrize("name", ["pages", "docstrings", "signatures"])
def test_examples_of_the_extensions_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
