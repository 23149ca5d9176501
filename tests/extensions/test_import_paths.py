"""The user's own by import path: where its module is looked for, what a run keeps, what is refused.

What is refused is so in one line that says where, what is expected and what to write.
"""

import json
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
from cases import TINY
from command_line import CommandLine
from refusals import refused

from langevin_nn import config as configuration
from langevin_nn import import_paths
from langevin_nn.import_paths import COPIES, ImportPath, ModuleFile
from langevin_nn.runs.folder import RunFolder
from langevin_nn.sweeps import grid
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.types import InputError

WAVE = "import jax.numpy as jnp\n\n\ndef wave(z):\n    return jnp.sin({} * z)\n"
THEORY = "--network.activation=mine:wave", "--theory", "infinite_width"


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """The command line in `tmp_path`/here; the configuration lies in `tmp_path`/home."""
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "home/own.toml").write_text(
        TINY.replace("[network]", '[network]\nactivation = "mine:wave"')
    )
    monkeypatch.chdir(tmp_path / "here")
    yield CommandLine(tmp_path / "here", capsys)
    sys.modules.pop("mine", None)


def loaded(text):
    return import_paths.load("activation", configuration.load(text).network.activation)


def test_order_in_which_a_module_is_looked_for(here, monkeypatch):
    """Beside the configuration, in `modules` there, in the current folder, on Python's path."""
    installed, home = here.folder.parent / "installed", here.folder.parent / "home"
    installed.mkdir()
    monkeypatch.syspath_prepend(installed)
    places = [installed, here.folder, home / COPIES, home]
    for number, place in enumerate(places):
        place.mkdir(exist_ok=True)
        (place / "mine.py").write_text(f"wave = {number}")
        assert loaded(Path("../home/own.toml")) == number
        path = configuration.load(Path("../home/own.toml")).network.activation
        assert ModuleFile.of("activation", path).path == place / "mine.py"
    assert import_paths.load("activation", "mine:wave") == 1, "no configuration, no folder"


def test_what_is_written_compared_and_hashed_is_the_text(here):
    config = configuration.load(Path("../home/own.toml"))
    plain = configuration.from_dict(config.to_dict())
    assert config == plain and config.content_hash == plain.content_hash
    path = config.network.activation
    assert isinstance(path, ImportPath) and path.folder == Path("../home")
    assert 'activation = "mine:wave"' in config.to_toml()


def test_a_file_that_changes_is_another_module(here):
    for number in (1, 2):
        Path("mine.py").write_text(f"wave = {number}")
        assert import_paths.load("activation", "mine:wave") == number


BAD = {
    "no module": ("", ["there is no module mine", "mine.py", "Python's path", "write mine.py"]),
    "no name": ("def waves(z): ...", ["mine.py has no wave", 'did you mean "waves"?']),
    "raises": ("x = 1\ny = x / 0", ["line 2: ZeroDivisionError: division by zero", "correct it"]),
    "leaves": ("raise SystemExit(3)", ["line 1: SystemExit: 3"]),
    "no Python": ("def wave(z:", ["line 1: SyntaxError"]),
    "needs others": ("import not_installed_", ["line 1: ModuleNotFoundError"]),
    "not callable": ("wave = 3", ["is 3", "elementwise function", "write def wave(z)"]),
    "a class": ("class wave: ...", ["elementwise function"]),
    "no function of numbers": ("def wave(z): return z.sum()", ["on each element"]),
}


@pytest.mark.parametrize("kind", BAD)
def test_modules_that_are_refused(here, kind):
    content, fragments = BAD[kind]
    if content:
        Path("mine.py").write_text(content)
    answer = here("theory", "tiny.toml", *THEORY)
    refused(answer, *fragments)


OBJECTS = {
    "theory": ("theory = [\"mine:wave\"]\n", ["Theory or a function", "def wave(ensemble)"]),
    "data source": ("data.source", ["function that returns a Dataset"]),
    "architecture": ("network.architecture", ["a class of networks", "Network"]),
    "dynamics": ("sampler.dynamics", ["a class of dynamics", "Dynamics"]),
    "loss": ("posterior.loss", ["a loss", "class wave(Loss)"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_that_do_not_fit_are_refused(here, kind):
    field, fragments = OBJECTS[kind]
    Path("mine.py").write_text("wave = 3")
    option = "--theory" if kind == "theory" else f"--{field}"
    answer = here("run", "tiny.toml", option, "mine:wave", "--output", "out")
    refused(answer, f'{kind} = "mine:wave" is 3', *fragments)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("def wave(rng, size): ...", ["asks for size", "num_train"]),
        ("def wave(): return 3", ["returns a int", "return langevin_nn.Dataset"]),
        ("def wave(rng):\n    return rng['x']", ["fails (mine.py, line 2: TypeError"]),
        (
            "import numpy as np\nfrom langevin_nn import Dataset\n\n\n"
            "def wave():\n    return Dataset('d', *2 * (np.eye(3), np.ones(3)))",
            ["num_train = 3 and was asked for 5"],
        ),
    ],
)
def test_data_sources_that_are_refused(here, content, fragments):
    Path("mine.py").write_text(content)
    answer = here("theory", "tiny.toml", "--data.source", "mine:wave")
    refused(answer, *fragments)


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("erff", 'did you mean "erf"?'),
        ("mine:", '"module:name" of your own'),
        (":wave", '"module:name" of your own'),
        ("a b:c", '"module:name" of your own'),
    ],
)
def test_names_that_are_none(here, name, fragment):
    answer = here("theory", "tiny.toml", "--network.activation", name)
    assert answer.code == 2 and fragment in answer.err


def test_a_theory_of_your_own_that_raises_ends_no_other(here):
    Path("mine.py").write_text("def wave(ensemble):\n    return {}['nothing']\n")
    answer = here("theory", "tiny.toml", "--theory", "infinite_width", "mine:wave")
    assert answer.code == 0 and "mine:wave" in answer.out and "'nothing'" in answer.out


def test_a_run_keeps_its_code_and_is_gone_on_with_by_no_other(here):
    home = here.folder.parent / "home"
    (home / "mine.py").write_text(WAVE.format(2))
    words = ["run", "../home/own.toml", "--theory", "infinite_width", "--output", "out"]
    assert here(*words).code == 3
    (module,) = json.loads(Path("out/manifest.json").read_text())["modules"]
    sha256 = ModuleFile.of("activation", ImportPath("mine:wave", home)).sha256
    assert module == {"module": "mine", "file": str(home.resolve() / "mine.py"), "sha256": sha256}
    assert (Path("out") / COPIES / "mine.py").read_text() == WAVE.format(2)

    (home / "mine.py").write_text(WAVE.format(3))
    changed = here(*words, "--resume")
    assert changed.code == 2 and re.search(r"mine.py has changed: sha256 \w+ there", changed.err)
    (home / "mine.py").unlink()
    os.chdir(here.folder.parent)
    again = here("run", "here/out/config.toml", "--output", "here/out", "--resume")
    assert "is finished" in again.out, again.err
    (here.folder / "out" / COPIES / "mine.py").write_text("raise RuntimeError")
    for command in ("report", "plot"):  # which execute nothing of it
        assert here(command, "here/out").code == 0
    written = "modules/mine.py .*not the file that the run has written.*--output /[^ ]*/out --over"
    with pytest.raises(InputError, match=written):
        RunFolder(here.folder / "out").check_finished()
    assert here("run", "home/own.toml", "--output", "here/out", "--overwrite").code == 2


def test_a_sweep_does_not_go_on_with_code_that_has_changed(here):
    home = here.folder.parent / "home"
    (home / "mine.py").write_text(WAVE.format(2))
    values = tomllib.loads((home / "own.toml").read_text())
    values["network"]["activation"] = ImportPath("mine:wave", home)
    points = grid.grid(values, {"seed": [1, 2]})
    SweepFolder.begin(here.folder / "out", points, 1)
    SweepFolder.begin(here.folder / "out", points, 1)  # goes on
    (home / "mine.py").write_text(WAVE.format(3))
    with pytest.raises(InputError, match="begun with other files .*module mine are others"):
        SweepFolder.begin(here.folder / "out", points, 1)
