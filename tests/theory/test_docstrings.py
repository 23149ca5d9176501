"""Public functions of the theories show themselves at work, and each theory names its source."""

import importlib
import inspect
import pkgutil
import re
from keyword import iskeyword

import pytest

from langevin_nn import theory
from langevin_nn.theory import THEORIES
from langevin_nn.theory.suite import theory_named

MODULES = [
    *(found.name for found in pkgutil.walk_packages(theory.__path__, "langevin_nn.theory.")),
    "langevin_nn.model.activations",
    "langevin_nn.model.quadrature",
]


def public_objects(name):
    """The functions and classes that the module defines, without those of a leading underscore."""
    for key, value in vars(importlib.import_module(name)).items():
        named = inspect.isfunction(value) or inspect.isclass(value)
        if named and value.__module__ == name and not key.startswith("_"):
            yield key, value


OBJECTS = {
    f"{name.removeprefix('langevin_nn.')}.{key}": value
    for name in MODULES
    for key, value in public_objects(name)
}


def has_example(value):
    return ">>>" in (inspect.getdoc(value) or "")


@pytest.mark.parametrize("name", OBJECTS)
def test_docstring_has_an_example(name):
    """Its own; a class may name the function of its module that makes it instead."""
    value = OBJECTS[name]
    if inspect.isclass(value) and not has_example(value):
        named = re.findall(r"`(\w+)`", inspect.getdoc(value) or "")
        value = next(o for o in map(vars(inspect.getmodule(value)).get, named) if has_example(o))
    assert has_example(value)


@pytest.mark.parametrize("name", THEORIES)
def test_a_theory_gives_equation_shapes_and_source(name):
    one = theory_named(name)
    text = inspect.getdoc(getattr(theory, f"{name}_" if iskeyword(name) else name))
    assert one.name == name and one.summary.endswith(".")
    assert " = " in text and "(P" in text
    derived_here = name in ("width_expansion", "matched")
    assert ("`hidden_units`" in text) if derived_here else re.search(r"arXiv:\d{4}\.\d{4,5}", text)
