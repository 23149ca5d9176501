"""Directives that make the reference of the package itself: names, keys, commands.

.. public-names:: langevin_nn.sampling     the public names whose modules begin like this
.. configuration-keys:: sampler            the keys of one table of a configuration
.. command:: run                           what `langevin-nn run --help` says
"""

import contextlib
import inspect
import io
import json
import os
import re
from typing import Any

from docstrings import restructured
from pages import DOCS, ROOT
from public import linked_names, named, names_from, public_names
from signatures import signature_of
from sphinx.util.docutils import SphinxDirective

from langevin_nn import config as configuration
from langevin_nn.cli import arguments
from langevin_nn.cli.commands import COMMANDS


class PublicNames(SphinxDirective):
    """A table of public names with their first sentences, and the documentation of each."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[Any]:
        self.env.note_dependency(str(ROOT / "langevin_nn/__init__.pyi"))
        names: list[str] = []
        for prefix in self.arguments[0].split():
            found = names_from(prefix)
            if not found:
                raise self.error(f"no public name is defined in {prefix}")
            names += found
        lines = [".. autosummary::", "   :nosignatures:", "", *(f"   ~{name}" for name in names)]
        lines.append("")
        for name in names:
            lines += [f".. {_directive(name)}:: {name}", *_options(name), ""]
            lines += [
                line
                for result in _results(name)
                for line in (f".. autoclass:: {result}", "   :members:", "")
            ]
        return self.parse_text_to_nodes("\n".join(lines), offset=0)


def _classes() -> list[str]:
    """The full names of all classes that the reference has."""
    names = [name for name in public_names() if inspect.isclass(named(name))]
    results = [result for name in public_names() for result in _results(name)]
    contracts = (DOCS / "reference/python/contracts.md").read_text("utf-8")
    return [*re.findall(r"^\.\. autoclass:: (\S+)$", contracts, re.M), *results, *names]


def _results(name: str) -> list[str]:
    """The classes of the package that a public function returns and that have no public name."""
    function = named(name)
    if not inspect.isfunction(function):
        return []
    returned = inspect.signature(function, eval_str=True).return_annotation
    is_own = inspect.isclass(returned) and returned.__module__.startswith("langevin_nn.")
    if not is_own or any(named(other) is returned for other in public_names()):
        return []
    return [f"{returned.__module__}.{returned.__qualname__}"]


def _directive(name: str) -> str:
    obj = named(name)
    if inspect.isclass(obj):
        return "autoexception" if issubclass(obj, BaseException) else "autoclass"
    return "autofunction" if callable(obj) else "autodata"


def _options(name: str) -> list[str]:
    kind = _directive(name)
    if kind == "autoclass":
        return ["   :members:"]
    return ["   :no-value:"] if kind == "autodata" else []


class ConfigurationKeys(SphinxDirective):
    """The keys of one table of the configuration, or those outside of all tables."""

    optional_arguments = 1

    def run(self) -> list[Any]:
        self.env.note_reread()  # what the package says may have changed
        table = self.arguments[0] if self.arguments else ""
        lines = []
        for name, item in configuration.options().items():
            if name.rpartition(".")[0] == table:
                lines += _key(name, item)
        if not lines:
            raise self.error(f"the configuration has no table {table}")
        return self.parse_text_to_nodes("\n".join(lines), offset=0)


def _key(name: str, item: Any) -> list[str]:
    default = "left out" if item.default in (None, ()) else f"``{json.dumps(item.default)}``"
    meaning = restructured([item.metadata["help"]], {})[0]
    return [
        f".. confval:: {name}",
        f"   :type: {item.metadata['kind'].expected}",
        f"   :default: {default}",
        "",
        f"   {meaning}",
        "",
    ]


class Command(SphinxDirective):
    """The help of a command, as the command line prints it, without the configuration's fields."""

    required_arguments = 1

    def run(self) -> list[Any]:
        self.env.note_reread()
        lines = help_of(self.arguments[0]).splitlines()
        text = [".. code-block:: text", "", *(f"   {line}" for line in lines), ""]
        return self.parse_text_to_nodes("\n".join(text), offset=0)


def help_of(command: str) -> str:
    """What `langevin-nn COMMAND --help` prints, without the fields of the configuration."""
    os.environ["COLUMNS"] = "90"
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        arguments.parse([command, "--help"])
    text, fields, _ = printed.getvalue().partition("fields of the configuration:")
    return (text + COMMANDS[command].EXAMPLE if fields else text).rstrip()


def _parameters(obj: Any) -> set[str]:
    """The names that an object's docstring uses for its own arguments and fields."""
    try:
        return set(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        return set()


def setup(app):
    names = linked_names()

    def process(app, what, name, obj, options, lines):
        package = name.rpartition(".")[0]
        own = {
            full.rpartition(".")[2]: full
            for full in public_names()
            if full.rpartition(".")[0] == package
        }
        taken = _parameters(obj) | {name.rpartition(".")[2]}
        links = {short: full for short, full in (names | own).items() if short not in taken}
        lines[:] = restructured(lines, links)

    types = {full.rpartition(".")[2]: full for full in _classes()}

    def sign(app, what, name, obj, options, signature, returned):
        return signature_of(obj, types) if signature is not None else None

    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", sign)
    app.add_directive("public-names", PublicNames)
    app.add_directive("configuration-keys", ConfigurationKeys)
    app.add_directive("command", Command)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
