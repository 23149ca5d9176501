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


CASES = {
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


def test_the_mean_of_yes_and_no_is_a_share():
    posterior = posterior_of(small_task(6, in_size=5), (2,), key=KEY)
    chains = lnn.sample(posterior, Coin(), **COUNTS | {"thinning": 20})
    shares = chains.acceptance * 20
    np.testing.assert_allclose(shares, np.round(shares), atol=1e-4)
    assert 0.2 < chains.acceptance.mean() < 0.8


def test_a_class_is_looked_at_where_it_is_written():
    with refuses("Short.step", "def step(self, posterior, state, settings, keys)"):

        class Short(Still):
            def step(self, state):
                return state

    with refuses("Unset", "step_size", "NamedTuple"):

        class Unset(Still):
            settings = Info

    with refuses("Unused", "Usage"):

        class Unused(Still):
            usage = ("step_size",)

    with refuses("Bent.features", "def features(self, x)"):

        class Bent(lnn.FullyConnected):
            def features(self):
                return 0

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
    "short": ("    def start(self): return 1", ["mine.py", "def start(self, posterior, params"]),
}  # fmt: skip


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
    Path("mine.py").write_text(OWN + "    def init(self, posterior, params, settings): {}['x']\n")
    answer = cli(
        "sweep", "tiny.toml", "--sampler.dynamics", "mine:Own", "--theory", "[]", "--over",
        "seed=1", "--executor", "serial", "--output", "out",
    )  # fmt: skip
    assert answer.code == 1
    says(" ".join(answer.out.split()), "mine.py", "line 21", "KeyError: 'x'")
