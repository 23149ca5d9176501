"""Imports point one way: the layers of the design, and one importer for each big library."""

import ast
import graphlib
from pathlib import Path

import pytest

from langevin_nn.config.architectures import ARCHITECTURES
from langevin_nn.config.dynamics import DYNAMICS
from langevin_nn.model.losses import LOSSES
from langevin_nn.sampling.base import dynamics_named
from langevin_nn.theory import THEORIES

PACKAGE = Path(__file__).parent.parent / "langevin_nn"

# A module may import from its own layer and from those above it in this list; `sampling` and
# `theory` share a line and never import each other.
LAYERS = [
    {"errors"},
    {"values", "siblings"},
    {"import_paths", "own_classes", "richness"},
    {"config", "display", "estimates", "files", "locks", "memory"},
    {"covariances", "footprint", "progress", "representations", "result_text"},
    {"wide_layers"},
    {"types"},
    {"data"},
    {"model"},
    {"sampling", "theory"},
    {"training"},
    {"analysis"},
    {"plotting"},
    {"runs"},
    {"sweeps"},
    {"reports"},
    {"cli"},
    {"__main__"},
]
ONE_IMPORTER = {
    "arviz": {"sampling.posterior_tree"},
    "diffrax": {"training.flow_integration", "training.stabilised"},
    "dask": {"sweeps.executors"},
    "dask_jobqueue": {"sweeps.slurm"},
    "distributed": {"sweeps.executors"},
    "matplotlib": {
        "plotting.grids",
        "plotting.overview",
        "plotting.runs",
        "plotting.style",
        "theory.style",
    },
    "numpyro": {"sampling.numpyro.kernel", "sampling.numpyro.models"},
}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if name != "__init__":
            yield name.removesuffix(".__init__"), ast.parse(path.read_text())


MODULES = dict(modules())
"""The syntax trees of the package's modules, by name."""


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(part):
    found = [depth for depth, names in enumerate(LAYERS) if part in names]
    assert found, f"{part} has no layer: add it to LAYERS and to the tree in docs/design.md"
    return found[0]


@pytest.mark.parametrize(("name", "tree"), MODULES.items(), ids=MODULES)
def test_imports_point_one_way(name, tree):
    mine = name.split(".")[0]
    for target in imported(tree):
        library = target.split(".")[0]
        if library in ONE_IMPORTER:
            assert name in ONE_IMPORTER[library], f"{name} imports {library}"
        if library != "langevin_nn" or target == "langevin_nn":
            continue
        other = target.split(".")[1]
        if not (PACKAGE / other).is_dir() and not (PACKAGE / f"{other}.py").is_file():
            continue
        assert layer(other) < layer(mine) or other == mine, f"{name} imports {target}"


def test_rooms_and_modules_import_in_no_circle():
    """Rooms within rooms, such as theory.saddles, are one node; a module beside them is another."""
    arrows = {}
    for name, tree in MODULES.items():
        mine = ".".join(name.split(".")[:2])
        targets = (target.removeprefix("langevin_nn.") for target in imported(tree))
        others = {".".join(target.split(".")[:2]) for target in targets if target in MODULES}
        arrows.setdefault(mine, set()).update(others - {mine})
    assert len(arrows) > 80
    graphlib.TopologicalSorter(arrows).prepare()  # CycleError names the circle


def test_modules_are_one_idea_each():
    """Cut by idea, not by ruler: 300 lines are a hint to look, above 400 there are two ideas."""
    long = {
        path.name: lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long, f"modules above 400 lines are two ideas: {long}"


def compared(tree):
    """Constants that something is compared with, looked up by, or matched against."""
    for node in ast.walk(tree):
        parts = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Subscript):
            parts = [node.slice]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        for part in parts:
            yield from (each for each in ast.walk(part) if isinstance(each, ast.Constant))


def classes(table):
    """The names of the classes of a table."""
    return {kind.place.partition(":")[2] for kind in table.values()}


NAMES = {
    "theory": {*THEORIES},
    "network": {*ARCHITECTURES, *classes(ARCHITECTURES)},
    "dynamics": {*DYNAMICS, *classes(DYNAMICS)},
    "loss": {*LOSSES, *(kind.__name__ for kind in LOSSES.values())},
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_no_branch_on_the_name_of(names):
    """What others ask of a theory, a network, a dynamics or a loss, its object says."""
    found = {
        f"{name}:{constant.lineno} {constant.value}"
        for name, tree in MODULES.items()
        for constant in compared(tree)
        if isinstance(constant.value, str) and constant.value in names
    }
    assert not found


CLASSES = {
    "network": classes(ARCHITECTURES),
    "dynamics": classes(DYNAMICS),
    "loss": {kind.__name__ for kind in LOSSES.values()},
}


@pytest.mark.parametrize("names", CLASSES.values(), ids=CLASSES)
def test_no_branch_on_the_class_of(names):
    found = [
        f"{name}:{node.lineno}"
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        or (isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"))
        for part in ast.walk(node)
        if isinstance(part, ast.Name | ast.Attribute)
        and ast.unparse(part).rpartition(".")[2] in names
    ]
    assert not found


@pytest.mark.parametrize("name", DYNAMICS)
def test_the_table_of_dynamics_and_their_classes_say_the_same(name):
    assert dynamics_named(name).usage is DYNAMICS[name] and DYNAMICS[name].name == name
