"""The README's Python runs, and so do the docstrings' examples."""

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import FEW_OPTIMISATIONS

import langevin_nn
from langevin_nn import config as configuration

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(langevin_nn.__path__, "langevin_nn.")
)


@pytest.mark.slow
def test_python_blocks_of_the_readme_run_in_order(tmp_path):
    assert BLOCKS, "the README shows the Python pipeline"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(BLOCKS)], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"XLA_FLAGS": FEW_OPTIMISATIONS}, timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "bias²" in done.stdout and "one_layer" in done.stdout


NAMESPACE: dict[str, object] = {}
"""What all examples in docstrings begin with: the package's docstring says it, and runs here."""
SET_UP = doctest.DocTestParser().get_doctest(
    langevin_nn.__doc__, NAMESPACE, "langevin_nn", None, None
)
assert doctest.DocTestRunner().run(SET_UP, clear_globs=False).failed == 0
NAMESPACE |= SET_UP.globs

LONG = (
    "analysis.ensembles analysis.landscape.gradients analysis.landscape.spectra analysis.stopping "
    "model.marginalised reports.report runs.loading sampling.chains sampling.draws "
    "sampling.dynamics.split sampling.numpyro.kernel sampling.tempering sweeps.engine "
    "theory.lazy.kernel_machines training.gradient_flow training.minimum training.random_features"
)
"""What these examples compile takes longer than all the others together."""


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.slow_except(*{*MODULES}.difference(f"langevin_nn.{name}" for name in LONG.split()))
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
    names = NAMESPACE | vars(module)
    assert doctest.testmod(module, globs=names, optionflags=doctest.ELLIPSIS).failed == 0


def test_the_long_examples_are_there_under_these_names():
    assert {f"langevin_nn.{name}" for name in LONG.split()} <= {*MODULES}


def test_configuration_in_the_documentation_is_the_default():
    page = (ROOT / "docs/reference/configuration.md").read_text()
    block = re.search(r"^```toml\n(.*?)^```", page, re.M | re.S)
    assert configuration.from_dict(tomllib.loads(block.group(1))) == configuration.RunConfig()
    assert set(tomllib.loads(block.group(1))) == set(configuration.RunConfig().to_dict())


def test_the_citation_has_the_version_and_the_licence_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {project['version']}\nlicense: {project['license']}\n" in citation
    assert (ROOT / "LICENSE").read_text().split()[:2] == ["Apache", "License"]


def test_public_names_exist_and_are_documented():
    for name in langevin_nn.__all__:
        assert getattr(langevin_nn, name).__doc__, f"{name} has no docstring"
