"""A network of one's own is the one that is asked for, and its layers are those of its features."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from cases import small_task
from command_line import CommandLine
from refusals import refused, refuses

import langevin_nn as lnn
from langevin_nn.model.activations import ACTIVATIONS, erf, tanh
from langevin_nn.model.networks.base import layers_of
from langevin_nn.wide_layers import InputLayer

HERE = Path(__file__).parent
FULL = """
import jax.numpy as jnp
import langevin_nn as lnn
from langevin_nn.wide_layers import DenseLayer, InputLayer


class wave(lnn.FullyConnected):
"""
SKIP = (HERE / "network_skip.py").read_text().replace("class SkipNetwork", "class wave")
FEATURES = """
    @property
    def layers(self):
        return super().layers

    def features(self, x):
        return {features}
"""
FROM = """
    @classmethod
    def from_config(cls, chosen, data, *, key, dtype):
        return {cls}(
            data.in_size, {widths}, chosen.activation, key=key, dtype={dtype},
            num_outputs=data.num_outputs, biases={biases},
        )
"""
MADE = {"cls": "cls", "widths": "chosen.hidden_widths", "dtype": "dtype", "biases": "chosen.biases"}
LAYERS = """
    @property
    def layers(self):
        return {layers}
"""
WRONG = {
    "twice": (FULL + FEATURES.format(features="2 * super().features(x)"), ["wave", "layers"]),
    "another function": (
        FULL + FEATURES.format(features="jnp.cos(self.preactivations(0, x))"), ["wave", "layers"],
    ),
    "another activation": (
        FULL + LAYERS.format(
            layers="InputLayer(self.in_size), DenseLayer(lnn.activation('relu'))"
        ), ["wave", "layers"],
    ),
    "no skip": (SKIP.replace("+ covariance", ""), ["wave", "layers"]),
    "too many": (FULL + LAYERS.format(layers="(*super().layers, super().layers[1])"), ["3", "2"]),
    "another class": (
        FULL + FROM.format(**MADE | {"cls": "lnn.FullyConnected"}), ["FullyConnected", "cls(…)"],
    ),
    "other widths": (
        FULL + FROM.format(**MADE | {"widths": "(7, 7)"}), ["hidden_widths", "[7, 7]", "[3, 3]"],
    ),
    "another type": (FULL + FROM.format(**MADE | {"dtype": "'float64'"}), ["float64", "float32"]),
    "biases": (FULL + FROM.format(**MADE | {"biases": "True"}), ["biases", "True", "False"]),
}  # fmt: skip
RIGHT = {
    "nothing new": FULL + "    pass\n",
    "the same": FULL + FROM.format(**MADE),
    "the same features": FULL + FEATURES.format(features="super().features(x)"),
    "skip": SKIP,
}


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys)


def words(name):
    widths = ["3", "3"] if name in ("skip", "no skip", "other widths") else ["3"]
    return ["tiny.toml", "--network.architecture", "mine:wave", "--network.hidden_widths", *widths]


@pytest.mark.slow_except(
    "another activation", "too many", "another class", "other widths", "another type", "biases"
)
@pytest.mark.parametrize("name", WRONG)
def test_what_is_another_network_is_refused(name, cli):
    Path("mine.py").write_text(WRONG[name][0])
    refused(cli("run", *words(name), "--output", "out", "--quiet"), *WRONG[name][1])
    assert not Path("out").exists()


@pytest.mark.slow_except(
    "more0-nothing new", "more0-the same", "more0-the same features", "more1-the same"
)
@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("more", [(), ("--network.biases", "true", "--network.activation", "relu")])
def test_what_is_the_network_is_not(name, more, cli):
    Path("mine.py").write_text(RIGHT[name])
    answer = cli("theory", *words(name), *more, "--theory", "infinite_width")
    assert answer.code == 0, answer.err


class ThreeLayers(lnn.FullyConnected):
    @property
    def layers(self):
        return (*super().layers, InputLayer(5))


def test_as_many_layers_as_weights():
    network = ThreeLayers(5, (3,), key=jax.random.key(0), dtype=jnp.float64)
    with refuses("ThreeLayers", "3", "2"):
        layers_of(network)
    data = small_task()
    posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
    with refuses("ThreeLayers", "3", "2"):
        _ = posterior.ensemble


@pytest.mark.slow
def test_an_activation_does_not_take_the_name_of_another():
    with refuses("'erf'", "own_erf"):
        lnn.activation(lnn.Activation("erf", tanh.function, tanh.dual, odd=True))

    def relu(z):
        return 2 * jax.nn.relu(z)

    assert lnn.activation(relu).name not in ACTIVATIONS
    assert lnn.activation(jnp.tanh).name == "tanh"
    same = lnn.Activation("erf", erf.function, erf.dual, odd=True)
    assert lnn.activation(same) is same
