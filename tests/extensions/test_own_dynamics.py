"""A dynamics of one's own is looked at before it moves chains.

Without that a mistake ended in JAX's words about carries, after the warm-up, or in none at all.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import posterior_of, small_task
from command_line import CommandLine
from refusals import refused, refuses, says

import langevin_nn as lnn
from langevin_nn.config.dynamics import Usage

KEY = jax.random.key(0)
COUNTS = {"key": KEY, "num_chains": 3, "num_warmup": 4, "num_samples": 4, "thinning": 1}


class Info(NamedTuple):
    acceptance: jax.Array


class Energy(NamedTuple):
    energy: jax.Array


class Still(lnn.Dynamics):
    """It stays where it is."""

    step_size: float | None = None

    def start(self, posterior, params, key):
        return self.settings(0.1)

    def step(self, posterior, state, settings, keys):
        return state, Info(jnp.ones(keys.shape))


class OtherSettings(Still):
    def start(self, posterior, params, key):
        return 0.1


class ArraySettings(Still):
    def start(self, posterior, params, key):
        return self.settings(jnp.ones(3))


class UnknownSettings(Still):
    def start(self, posterior, params, key):
        return self.settings(float("nan"))


class BareState(Still):
    def init(self, posterior, params, settings):
        return params


class FirstChain(Still):
    def init(self, posterior, params, settings):
        return super().init(posterior, jax.tree.map(lambda w: w[0], params), settings)


class StateAlone(Still):
    def step(self, posterior, state, settings, keys):
        return state


class OtherState(Still):
    def step(self, posterior, state, settings, keys):
        return state.params, Info(jnp.ones(keys.shape))


class OtherType(Still):
    def step(self, posterior, state, settings, keys):
        params = jax.tree.map(lambda w: w.astype(jnp.float32), state.params)
        return state._replace(params=params), Info(jnp.ones(keys.shape))


class OtherShape(Still):
    def step(self, posterior, state, settings, keys):
        params = jax.tree.map(lambda w: w[:1], state.params)
        return state._replace(params=params), Info(jnp.ones(keys.shape))


class NoInfo(Still):
    def step(self, posterior, state, settings, keys):
        return state, None


class MeanInfo(Still):
    def step(self, posterior, state, settings, keys):
        return state, Info(jnp.ones(()))


class RecordedInfo(Still):
    def step(self, posterior, state, settings, keys):
        return state, Energy(jnp.ones(keys.shape))


class File(NamedTuple):
    file: jax.Array


class Draw(NamedTuple):
    draw: jax.Array


class FileInfo(Still):
    def step(self, posterior, state, settings, keys):
        return state, File(jnp.ones(keys.shape))


class DrawInfo(Still):
    def step(self, posterior, state, settings, keys):
        return state, Draw(jnp.ones(keys.shape))


class ScalarSettings(Still):
    def start(self, posterior, params, key):
        return self.settings(jnp.asarray(0.1))


class Coin(Still):
    """Its acceptances are Booleans, as `u < a` is."""

    def step(self, posterior, state, settings, keys):
        return state, Info(jax.vmap(jax.random.bernoulli)(keys))


class NoSettings(Still):
    def adapted(self, state, settings):
        return None


class Meeting(lnn.Langevin):
    """Each chain is drawn to the mean of all."""

    def step(self, posterior, state, settings, keys):
        state, info = super().step(posterior, state, settings, keys)
        centred = jax.tree.map(lambda w: w - 0.01 * w.mean(axis=0, keepdims=True), state.params)
        return state._replace(params=centred), info


class OneKey(Still):
    """The noise of all chains is that of the first."""

    def step(self, posterior, state, settings, keys):
        def moved(w):
            return w + 0.01 * jax.random.normal(keys[0], w.shape[1:], w.dtype)[None]

        return state._replace(params=jax.tree.map(moved, state.params)), Info(jnp.ones(keys.shape))


class JointInit(lnn.Langevin):
    """The weights that chains begin with are those of the first."""

    def init(self, posterior, params, settings):
        return super().init(posterior, jax.tree.map(lambda w: 0 * w + w[:1], params), settings)


CASES = {
    Meeting: ["Meeting.step", "jax.vmap"],
    OneKey: ["OneKey.step", "jax.vmap"],
    JointInit: ["JointInit.step", "jax.vmap"],
    OtherSettings: ["OtherSettings.start", "0.1", "self.settings(…)"],
    ArraySettings: ["ArraySettings.start", "step_size"],
    UnknownSettings: ["UnknownSettings.start", "step_size", "nan"],
    BareState: ["BareState.init", "NamedTuple", "params"],
    FirstChain: ["FirstChain.init", "weights"],
    StateAlone: ["StateAlone.step", "return state, info"],
    OtherState: ["OtherState.step", "state._replace(…)"],
    OtherType: ["OtherType.step", "float32", "float64"],
    OtherShape: ["OtherShape.step", "(1, 2, 5)", "(3, 2, 5)"],
    NoInfo: ["NoInfo.step", "None", "(chains,)"],
    MeanInfo: ["MeanInfo.step", "(chains,)"],
    RecordedInfo: ["RecordedInfo.step", "energy", "own_energy"],
    FileInfo: ["FileInfo.step", "file", "own_file"],
    DrawInfo: ["DrawInfo.step", "draw", "own_draw"],
    ScalarSettings: ["ScalarSettings.start", "step_size", "float(…)"],
    NoSettings: ["NoSettings.adapted", "None", "self.settings(…)"],
}


@pytest.mark.slow_except(
    "OtherSettings",
    "ArraySettings",
    "UnknownSettings",
    "BareState",
    "FirstChain",
    "StateAlone",
    "OtherState",
    "OtherType",
    "OtherShape",
    "NoInfo",
    "MeanInfo",
    "RecordedInfo",
    "FileInfo",
    "DrawInfo",
    "ScalarSettings",
    "NoSettings",
)
@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_a_step_that_cannot_be_made_is_refused_before_it_is(kind, tmp_path):
    posterior = posterior_of(small_task(6, in_size=5), (2,), key=KEY)
    with refuses(*CASES[kind]):
        lnn.sample(posterior, kind(), checkpoint=tmp_path / "checkpoint", **COUNTS)
    assert not list(tmp_path.rglob("*.npz"))


def test_a_step_that_stays_is_one():
    posterior = posterior_of(small_task(6, in_size=5), (2,), key=KEY)
    chains = lnn.sample(posterior, Still(), **COUNTS)
    assert float(chains.acceptance.mean()) == 1


class Adapting(lnn.Split):
    """A dynamics that adapts a step size of all chains together is one."""


@pytest.mark.slow
def test_chains_that_adapt_together_are_independent():
    posterior = posterior_of(small_task(6, in_size=5), (2,), key=KEY)
    for kind in (Adapting, Coin):
        assert lnn.sample(posterior, kind(), **COUNTS).energy.shape == (3, 4)
    assert lnn.sample(posterior, Coin(), **COUNTS | {"num_chains": 1}).energy.shape == (1, 4)


def test_the_mean_of_yes_and_no_is_a_share():
    posterior = posterior_of(small_task(6, in_size=5), (2,), key=KEY)
    chains = lnn.sample(posterior, Coin(), **COUNTS | {"thinning": 20})
    shares = chains.acceptance * 20
    np.testing.assert_allclose(shares, np.round(shares), atol=1e-4)
    assert 0.2 < chains.acceptance.mean() < 0.8


class Short(Still):
    def step(self, state):
        return state


class Unset(Still):
    settings = Info


class Unused(Still):
    usage = ("step_size",)


class Bent(lnn.FullyConnected):
    def features(self):
        return 0


def test_a_class_is_looked_at_where_it_is_used():
    """Not where it is written: the other classes of its file are as they should be."""
    with refuses("Short.step", "def step(self, posterior, state, settings, keys)"):
        Short()
    with refuses("Unset", "step_size", "NamedTuple"):
        Unset()
    with refuses("Unused", "Usage"):
        Unused()
    with refuses("Bent.features", "def features(self, x)"):
        Bent(5, (2,), key=KEY)
    assert Usage().options == ("step_size",)


OWN = """
import langevin_nn as lnn
import jax.numpy as jnp
from typing import NamedTuple
from langevin_nn.config.dynamics import Usage


class Info(NamedTuple):
    pass


class Own(lnn.Dynamics):
    step_size: float | None = None

    def start(self, posterior, params, key):
        return self.settings(0.1)

    def step(self, posterior, state, settings, keys):
        return state, Info()

"""
RAISING = {
    "option": ('    usage = Usage(options=("step_size", "friction"))', ["friction", "[sampler]"]),
    "argument": ('    usage = Usage(options=("step_size", "refresh"))', ["mine.py", "refresh"]),
    "start": ("    def start(self, posterior, params, key): 1 / 0", ["mine.py", "line 21"]),
    "init": ("    def init(self, posterior, params, settings): 1 / 0", ["mine.py", "line 21"]),
    "step": ("    def step(self, posterior, state, settings, keys): 1 / 0", ["mine.py", "line 21"]),
    "adapted": ("    def adapted(self, state, settings): return {}[0]", ["line 21", "KeyError"]),
    "leaves": ("    def adapted(self, state, settings): raise SystemExit", ["line 21", "Exit"]),
    "later": (
        "    def adapted(self, state, settings): return settings if ADAPTED.append(1) else 1 / 0\n"
        "ADAPTED = []",
        ["line 21", "ZeroDivisionError"],
    ),
    "not a number": (
        "    def adapted(self, state, settings): return self.settings(float('nan'))",
        ["Own.adapted", "step_size", "nan"],
    ),
    "short": ("    def start(self): return 1", ["mine.py", "def start(self, posterior, params"]),
}  # fmt: skip


LATE = ("later", "not a number")
"""What is known at the end of the warm-up alone."""
OWN_KEYS = '    usage = Usage(options=("step_size", "refresh"))\n    refresh: float = 1.0'

BESIDE = """

class Short(Own):
    def step(self, state): return state


class NoField(lnn.Dynamics):
    start, step = Own.start, Own.step


class NoKeys(NoField):
    usage = Usage(options=())


class NoStart(lnn.Dynamics):
    step = Own.step


class Rated(NoField):
    rate: float
    step_size: float | None = None


class Fresh(NoField):
    refresh: float
    step_size: float | None = None
"""
CLASSES = {
    "Short": ["mine:Short", "mine.py", "Short.step", "def step(self, posterior, state"],
    "NoField": ["mine:NoField", "step_size: float | None = None", "usage = Usage(options=())"],
    "NoStart": ["mine:NoStart", "def start(self, posterior, params, key)"],
    "Rated": ["mine:Rated", "rate: float = 0.1", "default"],
    "Fresh": ["mine:Fresh", "usage = Usage(options=('step_size', 'refresh'))"],
}


@pytest.mark.slow_except("Short", "NoField", "NoStart", "Rated", "Fresh", "Own")
@pytest.mark.parametrize("name", [*CLASSES, "Own", "NoKeys"])
def test_each_class_of_a_file_is_right_or_wrong_by_itself(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(tmp_path, capsys)
    Path("mine.py").write_text(OWN + BESIDE)
    words = ["--sampler.dynamics", f"mine:{name}", "--theory", "[]", "--output", "out", "--quiet"]
    answer = cli("run", "tiny.toml", *words)
    if name in CLASSES:
        refused(answer, *CLASSES[name])
    else:
        assert answer.code == 3, answer.err
    assert Path("out").exists() == (name not in CLASSES)


@pytest.mark.parametrize("kind", RAISING)
def test_a_mistake_at_the_command_line_is_one_line_and_leaves_nothing(
    kind, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(tmp_path, capsys)
    lines, words = RAISING[kind]
    Path("mine.py").write_text(OWN + lines + "\n")
    answer = cli(
        "run", "tiny.toml", "--sampler.dynamics", "mine:Own", "--theory", "[]", "--output", "out",
        "--quiet",
    )  # fmt: skip
    refused(answer, *words)
    assert not Path("out").exists()


def test_the_reason_of_a_point_that_failed_says_where(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(tmp_path, capsys)
    raising = "    def start(self, posterior, params, key): return {}['x']"
    Path("mine.py").write_text(
        OWN + f"{raising} if posterior.temperature > 1 else self.settings(0.1)\n"
    )
    words = ["sweep", "tiny.toml", "--sampler.dynamics", "mine:Own", "--theory", "[]", "--over"]
    answer = cli(*words, "posterior.temperature=0.1,2", "--executor", "serial", "--output", "out")
    assert answer.code == 1
    says(" ".join(answer.out.split()), "mine.py", "line 21", "KeyError: 'x'")


@pytest.mark.parametrize(
    ("lines", "words", "key"),
    [
        *((*RAISING[kind], "step_size") for kind in RAISING if kind not in LATE),
        (OWN_KEYS, ["trajectory_length", "step_size", "refresh"], "trajectory_length"),
    ],
)
@pytest.mark.parametrize("command", ["run", "sweep"])
def test_a_sweep_refuses_at_once_what_a_run_refuses(
    command, lines, words, key, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(tmp_path, capsys)
    Path("mine.py").write_text(OWN + lines + "\n")
    axes = ["--over", "seed=1,2", "--executor", "serial"] if command == "sweep" else []
    options = ["--sampler.dynamics", "mine:Own", f"--sampler.{key}", "0.1", "--theory", "[]"]
    answer = cli(command, "tiny.toml", *options, "--output", "out", "--quiet", *axes)
    refused(answer, *words)
    assert not Path("out").exists()


def test_the_largest_step_size_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(tmp_path, capsys)
    Path("mine.py").write_text(OWN + "    usage = Usage(largest_step_size=1.0)\n")
    words = ["run", "tiny.toml", "--sampler.dynamics", "mine:Own", "--sampler.step_size", "1.5"]
    refused(cli(*words), "step_size", "1.5", '"auto"')


def test_settings_that_are_none_after_a_long_warm_up_leave_nothing(tmp_path, monkeypatch, capsys):
    """A state has been saved by then, and is of no use to the code as it has to be."""
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(tmp_path, capsys)
    Path("mine.py").write_text(
        OWN + "    def adapted(self, state, settings): return self.settings(float('nan'))\n"
    )
    words = ["--sampler.dynamics", "mine:Own", "--sampler.num_warmup", "1000", "--theory", "[]"]
    answer = cli("run", "tiny.toml", *words, "--output", "out", "--quiet")
    refused(answer, "Own.adapted", "step_size", "nan")
    assert not Path("out").exists()


class Infinite(lnn.Loss):
    name = "infinite"

    def __call__(self, f, y):
        return jnp.sqrt(-1 - (f - y) ** 2)

    def check(self, targets):
        pass


class Lost(lnn.FullyConnected):
    def features(self, x):
        return super().features(x) + jnp.log(-1.0)


@pytest.mark.slow_except("Infinite-Split", "Infinite-Still")
@pytest.mark.parametrize("dynamics", [lnn.Langevin, lnn.Split, Still])
@pytest.mark.parametrize("kind", [Infinite, Lost])
def test_what_is_not_finite_where_chains_start_is_called_so(kind, dynamics):
    data = small_task(6, in_size=5)
    network = (Lost if kind is Lost else lnn.FullyConnected)(5, (2,), key=KEY, dtype=jnp.float64)
    loss = Infinite() if kind is Infinite else None
    prior = lnn.GaussianPrior((1.0, 1.0))
    posterior = lnn.GibbsPosterior(network, prior, data, 0.1, loss)
    with refuses("infinite" if kind is Infinite else "Lost", "finite") as caught:
        lnn.sample(posterior, dynamics(), **COUNTS)
    assert "step_size" not in str(caught.value)
    assert ("precisions" in str(caught.value)) == (kind is Lost), "no prior helps a loss"


class Steep(Infinite):
    """It overflows where outputs are large, as of some draws of the prior."""

    name = "steep"

    def __call__(self, f, y):
        return jnp.exp(2000 * f**2) + 0 * y


@pytest.mark.slow
def test_what_diverges_at_the_start_by_ones_own_loss_says_so():
    """The step size and the precision of numbers have no part in it."""
    network = lnn.FullyConnected(5, (2,), key=KEY, dtype=jnp.float64)
    prior = lnn.GaussianPrior((1.0, 1.0))
    posterior = lnn.GibbsPosterior(network, prior, small_task(6, in_size=5), 0.1, Steep())
    with refuses("steep", "of 8 draws", "larger prior precisions") as caught:
        lnn.sample(posterior, lnn.Langevin(), **COUNTS | {"num_chains": 8})
    assert isinstance(caught.value, lnn.Diverged) and "float64" not in str(caught.value)
