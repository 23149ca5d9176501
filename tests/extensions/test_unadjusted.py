"""Whether there is no acceptance step is what a dynamics declares, and no name of what it records.

It decides in tables, reports and files alike.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest
from cases import posterior_of, small_task
from command_line import CommandLine
from refusals import refuses

import langevin_nn as lnn
from langevin_nn.runs.posterior_file import chains_of
from langevin_nn.sampling.posterior_tree import posterior_tree

KEY = jax.random.key(0)
COUNTS = {"key": KEY, "num_chains": 3, "num_warmup": 4, "num_samples": 8, "thinning": 1}


class Acceptance(NamedTuple):
    acceptance: jax.Array


class Nothing(NamedTuple):
    pass


class Recording(lnn.Langevin):
    """It records what an acceptance step would say, and takes every proposal."""

    shifts_as_langevin = False

    def step(self, posterior, state, settings, keys):
        return super().step(posterior, state, settings, keys)[0], Acceptance(jnp.ones(keys.shape))


class Silent(lnn.Dynamics):
    """With an acceptance step, of which it records nothing."""

    step_size: float | None = None

    def start(self, posterior, params, key):
        return self.settings(0.1)

    def step(self, posterior, state, settings, keys):
        return state, Nothing()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Recording, Silent, lnn.Langevin, lnn.Split])
def test_the_declaration_decides(kind):
    posterior = posterior_of(small_task(6, in_size=5), (2,), key=KEY)
    chains = lnn.sample(posterior, kind(), **COUNTS)
    measured = lnn.summarise(chains)
    stored = chains_of(posterior_tree(chains, small_task(6, in_size=5).y_train, {}))
    for read in (chains, stored):
        bias = lnn.summarise(read).step_size_bias
        assert read.has_acceptance_step == (not kind.unadjusted) == (bias is None)
    if kind in (Recording, Silent):
        assert measured.step_size_bias is None or math.isnan(measured.step_size_bias.variance.value)


class Often(Silent):
    unadjusted = "often"


def test_it_is_a_flag():
    with refuses("Often", "unadjusted", "'often'", "True"):
        Often()


OWN = """
import jax.numpy as jnp
import langevin_nn as lnn
from typing import NamedTuple


class Info(NamedTuple):
    {info}


class Own(lnn.Langevin):
    unadjusted = {unadjusted}

    def step(self, posterior, state, settings, keys):
        return super().step(posterior, state, settings, keys)[0], Info({value})
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unadjusted", "info", "value"),
    [(True, "acceptance: object", "jnp.ones(keys.shape)"), (False, "pass", "")],
)
def test_what_a_run_says_of_it(unadjusted, info, value, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(tmp_path, capsys)
    Path("mine.py").write_text(OWN.format(unadjusted=unadjusted, info=info, value=value))
    words = ["--sampler.dynamics", "mine:Own", "--theory", "[]", "--output", "out"]
    answer = cli("run", "tiny.toml", *words)
    assert answer.code == 3, answer.err
    lines = {line.split()[0]: line for line in answer.out.splitlines() if line.strip()}
    assert ("no bias" in lines["step"]) == (not unadjusted)
    assert ("unadjusted" in lines["acceptance"]) == unadjusted
    experiment = json.loads(Path("out/summary.json").read_text())["experiment"]
    assert experiment["unadjusted"] is unadjusted
    assert (experiment["step_size_relative_bias"] == 0) == (not unadjusted)
