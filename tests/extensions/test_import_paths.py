"""The user's own by import path: where its module is looked for, what a run keeps, what is refused.

What is refused is so in one line that says where, what is expected and what to write.
"""

import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import jax
import pytest
from cases import TINY
from command_line import CommandLine
from refusals import refused, says

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn import import_paths
from langevin_nn.import_paths import COPIES, ImportPath, ModuleFile
from langevin_nn.model.losses import loss_named
from langevin_nn.runs.data import load_data
from langevin_nn.runs.folder import RunFolder
from langevin_nn.sweeps import grid
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.theory.suite import theory_named
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
    "a class": ("class wave: ...", ["the class wave", "elementwise function"]),
    "a lookup that raises": ("def __getattr__(name): return 1 / 0", ["line 1", "ZeroDivision"]),
    "a lookup that leaves": ("def __getattr__(name): raise SystemExit", ["line 1", "SystemExit"]),
    "a class of functions": ("class wave:\n  def __call__(self, z): return z", ['"mine:mine"']),
    "no function of numbers": ("def wave(z): return z.sum()", ["on each element", "(96,)", "()"]),
    "two arguments": ("def wave(z, b): return b * z", ["'b'", "def wave(z)"]),
    "no JAX": ("import numpy\ndef wave(z): return numpy.tanh(z)", ["line 2: Tracer", "jax.numpy"]),
    "a branch": ("def wave(z): return z if z > 0 else 0 * z", ["line 1", "Error", "jnp.where"]),
    "a list": ("def wave(z): return [z]", ["a list", "real array"]),
    "nothing": ("def wave(z): pass", ["None", "real array"]),
    "complex": ("def wave(z): return 1j * z", ["complex", "real array"]),
    "no such function": (
        "import jax.numpy as jnp\ndef wave(z): return jnp.tahn(z)",
        ["mine.py", "line 2", "AttributeError", "'tahn'"],
    ),
    "a state": (
        "CALLS = []\ndef wave(z):\n  CALLS.append(1)\n  return z * len(CALLS)",
        ["again", "without a state"],
    ),
    "random": (
        "import numpy as np\ndef wave(z): return z + np.random.normal(size=z.shape)",
        ["again", "random numbers"],
    ),
    "not finite": (
        "import jax.numpy as jnp\ndef wave(z): return jnp.log(z)",
        ["nan", "z = -0.0833", "write one that is finite"],
    ),
}  # fmt: skip


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


SOURCE = """
import numpy as np
from langevin_nn import Dataset

RNG = np.random.default_rng(0)


def wave({arguments}):
    x, y = {x}, np.ones(9)
    return Dataset("d", x[:5], y[:5], x[5:], y[5:])
"""


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
        (SOURCE.format(arguments="in_size", x="np.eye(9)[:, :in_size + 1]"), ["in_size = 4", "3"]),
        (SOURCE.format(arguments="", x="np.random.default_rng().normal(size=(9, 3))"), ["rng"]),
        (SOURCE.format(arguments="", x="RNG.normal(size=(9, 3))"), ["x_train", "rng"]),
    ],
)
def test_data_sources_that_are_refused(here, content, fragments):
    Path("mine.py").write_text(content)
    answer = here("theory", "tiny.toml", "--data.source", "mine:wave")
    refused(answer, *fragments)


ECHO = """
import numpy as np
from langevin_nn import Dataset


def wave(path, num_train, num_test):
    x, y = np.eye(num_train + num_test, 3), np.ones(num_train + num_test)
    task = x[:num_train], y[:num_train], x[num_train:], y[num_train:]
    return Dataset(f"path {path!r}", *task)
"""


def test_a_source_is_called_with_the_path_that_the_reference_has(here):
    """The text of `data.path`, which is empty where nothing is written."""
    Path("mine.py").write_text(ECHO)
    counts = {"num_train": 5, "num_test": 2, "key": jax.random.key(0)}
    config = configuration.load(Path("tiny.toml"), {"data.source": ["mine:wave"]})
    given = configuration.load(
        Path("tiny.toml"), {"data.source": ["mine:wave"], "data.path": ["mine.py"]}
    )
    assert load_data(config)[1].name == "path ''"
    assert load_data(given)[1].name == f"path {str(Path('mine.py').resolve())!r}"
    assert lnn.load_dataset("mine:wave", **counts).name == "path ''"


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("erff", 'did you mean "erf"?'),
        ("mine:", '"module:name" of your own'),
        (":wave", '"module:name" of your own'),
        ("a b:c", '"module:name" of your own'),
        ("mine.py:wave", '"mine:wave"'),
        ("sub.mine:wave", '"mine:wave"'),
        ("sub/mine:wave", '"mine:wave"'),
        ("my-mine:wave", '"my_mine:wave"'),
        ("./mine.py:wave", '"mine:wave"'),
    ],
)
def test_names_that_are_none(here, name, fragment):
    answer = here("theory", "tiny.toml", "--network.activation", name)
    assert answer.code == 2 and fragment in answer.err


@pytest.mark.parametrize("line", ["return {}['nothing']", "raise SystemExit('nothing')"])
def test_a_theory_of_your_own_that_raises_ends_no_other(here, line):
    Path("mine.py").write_text(f"def wave(ensemble):\n    {line}\n")
    answer = here("theory", "tiny.toml", "--theory", "infinite_width", "mine:wave")
    assert answer.code == 0
    says(answer.out.replace("\n", " "), "mine:wave", "mine.py", "line 2", "nothing")
    (kind,) = re.findall("KeyError|SystemExit", answer.out)
    assert kind in ("KeyError", "SystemExit")


NETWORK = """
import langevin_nn as lnn


class wave(lnn.FullyConnected):
"""
LOSS = """
import jax.numpy as jnp
from langevin_nn.model.losses import Loss


class wave(Loss):
    name = "wave"

    def __call__(self, f, y):
        return {value}

    def check(self, targets):
        {check}
"""
INSTANCE = "import langevin_nn as lnn\n\nwave = lnn.Langevin()\n"
FAILING = {
    "layers": ("network.architecture", NETWORK + "    @property\n    def layers(self): 1 / 0\n",
               ["mine.py", "line 7", "ZeroDivisionError"]),
    "features": ("network.architecture", NETWORK + "    def features(self, x): return x.T\n",
                 ["wave.features", "(3, 1)", "(1, 3)"]),
    "one feature": ("network.architecture",
                    NETWORK + "    def features(self, x): return super().features(x)[..., :1]\n",
                    ["wave.features", "(1, 1)", "(1, 3)"]),
    "a missing key": ("network.architecture", NETWORK + "    def features(self, x): return {}[0]\n",
                      ["wave", "(3,)", "mine.py", "line 6", "KeyError: 0"]),
    "a product": ("network.architecture", NETWORK + "    def batch(self, x): return x @ x\n",
                  ["wave", "(3,)", "mine.py", "line 6", "TypeError"]),
    "arguments": ("network.architecture", NETWORK + "    def __init__(self, in_size, key): ...\n",
                  ["wave", "def __init__(self, in_size, hidden_widths, activation, *, key, dtype"]),
    "abstract": ("network.architecture", "from langevin_nn.model.networks.base import Network\n\n\n"
                 "class wave(Network): ...\n",
                 ["mine:wave", "def features(self, x)", "@property def in_size(self)", "weights"]),
    "sizes": ("network.architecture", NETWORK + "    @classmethod\n    def sizes(cls, *_): ...\n",
              ["mine:wave.sizes", "NetworkSizes"]),
    "from_config": ("network.architecture",
                    NETWORK + "    @classmethod\n    def from_config(cls, *_, **named): ...\n",
                    ["mine:wave.from_config", "Network"]),
    "style": ("theory", "import langevin_nn as lnn\n\nwave = lnn.Theory('wave', lnn.theory."
              "infinite_width, style={'color': 'no colour'})\n", ["mine:wave", "no colour"]),
    "loss": ("posterior.loss", LOSS.format(value="1 / 0", check="pass"),
             ["mine.py", "line 10", "ZeroDivisionError"]),
    "check": ("posterior.loss", LOSS.format(value="f - y", check="1 / 0"),
              ["mine.py", "line 13", "ZeroDivisionError"]),
    "coupled": ("posterior.loss", LOSS.format(value="jnp.abs(f - y) - f.mean()", check="pass"),
                ["wave", "ℓ(f, y)"]),
    "an instance": ("sampler.dynamics", INSTANCE, ['"mine:Langevin"', "class"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAILING)
def test_what_fails_in_use_is_one_line_and_leaves_nothing(here, kind):
    field, content, fragments = FAILING[kind]
    Path("mine.py").write_text(content)
    answer = here("run", "tiny.toml", f"--{field}", "mine:wave", "--output", "out", "--quiet")
    refused(answer, *fragments)
    assert not Path("out").exists()


LOSSES = (
    LOSS.format(value="jnp.abs(f - y)", check="pass")
    + """

class Wide(wave):
    name = "wide"

    def __init__(self, delta, power=2):
        self.delta = delta


mine = Wide(1.0)


class Silent(Loss):
    name = "silent"


class Failing(wave):
    def __init__(self):
        raise TypeError("nothing")
"""
)
CLASSES_OF_LOSSES = {
    "Wide": ["mine:Wide", "mine = Wide(delta)", 'loss = "mine:mine"'],
    "Silent": ["mine:Silent", "mine.py", "def __call__(self, f, y)"],
    "Failing": ["mine:Failing", "mine.py", "line 32", "TypeError: nothing"],
}


@pytest.mark.parametrize("name", CLASSES_OF_LOSSES)
def test_a_class_that_makes_no_loss_says_what_it_lacks(here, name):
    Path("mine.py").write_text(LOSSES)
    answer = here("run", "tiny.toml", "--posterior.loss", f"mine:{name}", "--output", "out")
    refused(answer, *CLASSES_OF_LOSSES[name])
    assert loss_named("mine:mine").delta == 1.0


@pytest.mark.parametrize("widths", [["3"], ["3", "3", "3"], ["3", "4"]])
def test_the_example_of_a_network_says_which_widths_it_has(here, widths):
    shutil.copy(Path(__file__).parent / "network_skip.py", ".")
    words = ["--network.architecture", "network_skip:SkipNetwork", "--network.hidden_widths"]
    answer = here("run", "tiny.toml", *words, *widths, "--output", "out")
    refused(answer, "hidden_widths = [200, 200]")
    assert not Path("out").exists()


def test_a_theory_is_a_function_of_an_ensemble(here):
    Path("mine.py").write_text("def wave(): ...")
    answer = here("theory", "tiny.toml", "--theory", "mine:wave")
    refused(answer, "def wave(ensemble)")


def test_a_function_says_in_its_docstring_what_it_is(here):
    content = 'def wave(ensemble):\n    """A wave.\n\n    More."""\n\ndef silent(ensemble): ...\n'
    Path("waves.py").write_text(content)
    assert theory_named("waves:wave").summary == "A wave."
    assert theory_named("waves:silent").summary == ""


@pytest.mark.slow
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
