"""A module of one's own may import files beside it: they go with it, and are those that it saw."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from cases import TINY
from command_line import CommandLine
from refusals import refused

from langevin_nn import import_paths
from langevin_nn.import_paths import COPIES, ImportPath, ModuleFile

MINE = (
    "import jax.numpy as jnp\nimport helper\n\n\ndef wave(z):\n    return helper.slow(jnp.sin)(z)\n"
)
HELPER = "from factor import FACTOR\n\n\ndef slow(f):\n    return lambda z: f(FACTOR * z)\n"
FACTOR = "FACTOR = {}\n"
THEORY = "--network.activation=mine:wave", "--theory", "infinite_width"


def write(folder, factor=2):
    folder.mkdir(exist_ok=True)
    files = {"mine": MINE, "helper": HELPER, "factor": FACTOR.format(factor)}
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield CommandLine(tmp_path, capsys)
    assert not {"mine", "helper", "factor"} & (set(sys.modules) - before)


def factor_of(folder):
    return float(import_paths.load("activation", ImportPath("mine:helper.FACTOR", folder)))


def test_files_of_one_name_in_two_folders_are_two_modules(here):
    for factor, name in enumerate(("a", "b"), start=2):
        write(Path(name), factor)
    assert [factor_of(Path(name)) for name in "aba"] == [2.0, 3.0, 2.0]
    (Path("a") / "factor.py").write_text(FACTOR.format(5))
    assert factor_of(Path("a")) == 5.0, "which is another module now"


def test_what_is_installed_is_no_file_beside(here, monkeypatch):
    write(Path("a"))
    (Path("a") / "json.py").write_text("1 / 0")
    Path("installed").mkdir()
    Path("installed/factor.py").write_text(FACTOR.format(7))
    monkeypatch.syspath_prepend(Path("installed").resolve())
    assert factor_of(Path("a")) == 7.0
    file = ModuleFile.of("activation", ImportPath("mine:wave", Path("a")))
    assert [module.name for module in file.siblings("activation", "mine:wave")] == ["helper"]
    sys.modules.pop("factor")


@pytest.mark.slow
def test_a_run_keeps_the_files_and_goes_on_with_no_others(here):
    write(Path("home"))
    Path("home/own.toml").write_text(
        TINY.replace("[network]", '[network]\nactivation = "mine:wave"')
    )
    words = ["run", "home/own.toml", "--theory", "infinite_width", "--output", "out"]
    assert here(*words).code == 3
    assert {path.name for path in Path("out", COPIES).iterdir()} == {
        "mine.py", "helper.py", "factor.py",
    }  # fmt: skip
    modules = json.loads(Path("out/manifest.json").read_text())["modules"]
    assert [module["module"] for module in modules] == ["mine", "helper", "factor"]
    Path("home/factor.py").write_text(FACTOR.format(3))
    refused(here(*words, "--resume"), "factor.py")
    shutil.rmtree("home")
    Path("elsewhere").mkdir()
    os.chdir("elsewhere")
    again = here("run", "../out/config.toml", "--output", "../new", "--quiet")
    assert again.code == 3, again.err
    assert Path("../new", COPIES, "helper.py").read_text() == HELPER
    for folder in ("../out", "../new"):
        assert here("report", folder).code == 0


def test_an_import_that_comes_too_late_is_refused(here):
    Path("mine.py").write_text("def wave(z):\n    import helper\n    return helper.slow(z)\n")
    Path("helper.py").write_text("slow = abs\n")
    refused(here("theory", "tiny.toml", *THEORY), "mine.py", "helper", "import helper")


def test_a_mistake_in_a_file_beside_says_where(here):
    write(Path())
    Path("factor.py").write_text("FACTOR = 1 / 0\n")
    refused(here("theory", "tiny.toml", *THEORY), "factor.py", "line 1", "ZeroDivisionError")
