"""The public names of the package, each with the module that it is defined in."""

import ast
import importlib
import inspect
from pathlib import Path
from typing import Any

PACKAGES = ("langevin_nn", "langevin_nn.theory", "langevin_nn.plotting", "langevin_nn.config")
"""The packages whose `__all__` are the public names."""


def homes(package: str) -> dict[str, str]:
    """The module of each public name of a package, as the package imports it."""
    module = importlib.import_module(package)
    source = Path(inspect.getfile(module))
    if package == "langevin_nn":
        source = source.with_suffix(".pyi")
    imports = ast.parse(source.read_text("utf-8")).body
    found = {
        alias.asname or alias.name: str(line.module)
        for line in imports
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    return {name: found[name] for name in module.__all__}


def public_names() -> dict[str, str]:
    """The module of each public name, by the name as one writes it: langevin_nn.theory.nngp.

    The packages themselves are public names too, with pages of their own.
    """
    every = {
        f"{package}.{name}": home for package in PACKAGES for name, home in homes(package).items()
    }
    return {name: home for name, home in every.items() if name not in PACKAGES}


def named(name: str) -> Any:
    """What a public name stands for."""
    package, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(package), attribute)


def names_from(prefix: str) -> list[str]:
    """The public names that are defined in the module or package `prefix`, one for each object."""
    names = [name for name, home in public_names().items() if is_in(home, prefix)]
    shortest = {id(named(name)): name for name in sorted(names, key=len, reverse=True)}
    return [name for name in names if name in shortest.values()]


def is_in(home: str, prefix: str) -> bool:
    """Whether a module is `prefix`, or in the package of that name."""
    return f"{home}.".startswith(f"{prefix}.")


def linked_names() -> dict[str, str]:
    """What code in a docstring stands for: `sample`, `lnn.sample` and `theory.nngp`."""
    links = {}
    for name in sorted(public_names(), key=lambda name: -name.count(".")):
        short = name.removeprefix("langevin_nn.")
        links |= {spelling: name for spelling in (short, f"lnn.{short}", name)}
        if not short.startswith(("config.", "plotting.")):
            links[short.rpartition(".")[2]] = name
    return links
