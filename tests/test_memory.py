"""Memory is said before it is taken, and refused where there is none. FAULTS 4.3."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from command_line import CommandLine

import langevin_nn as lnn
from langevin_nn import footprint, memory

HUGE = {
    "width": "--network.hidden_widths 2000000000",
    "depth": "--network.hidden_widths 200000 200000 --prior.precisions 1 1 1",
    "chains": "--sampler.num_chains 2000000000",
    "draws": "--sampler.num_samples 2000000000 --sampler.thinning 1",
    "examples": "--data.num_train 2000000000",
    "tests": "--data.num_test 2000000000",
    "inputs": "--data.in_size 2000000000",
    "Gram matrices": "--data.num_train 2000000 --network.hidden_widths 1",
    "matrices": "--posterior.readout marginalised --data.num_train 2000000",
    "ladder": "--sampler.num_chains 200000000 --sampler.ladder 1 2 4",
}


@pytest.mark.parametrize("words", HUGE.values(), ids=HUGE)
def test_what_no_machine_has_is_refused_before_anything_is_written(
    tmp_path, capsys, monkeypatch, words
):
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(tmp_path, capsys)
    answer = cli("run", "tiny.toml", "--output", "out", *words.split())
    assert (answer.code, answer.out) == (2, "")
    assert "not enough memory" in answer.err and "GB" in answer.err and "write fewer" in answer.err
    assert answer.err.count("\n") == 1
    assert cli.files() == {"tiny.toml"}


def test_chains_in_python_are_refused_too():
    key = jax.random.key(0)
    data = lnn.load_dataset("random", in_size=3, num_train=5, num_test=4, key=key)
    network = lnn.FullyConnected(3, (5,), key=key)
    posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
    for counts in (
        {"num_chains": 10**9},
        {"num_samples": 2**31 - 1, "thinning": 1, "num_warmup": 0},
    ):
        with pytest.raises(lnn.InputError, match="not enough memory.*write fewer"):
            lnn.sample(posterior, lnn.Langevin(), key=key, **counts)
    with pytest.raises(lnn.InputError, match="not enough memory"):
        lnn.temper(posterior, lnn.Langevin(), (1.0,), key=key, num_chains=10**9)


def test_what_just_fits_is_said_with_numbers():
    parts = {"weights": 6e9, "draws": 2e9, "activations": 1e6}
    assert footprint.require(parts, "", available=20e9) == ""
    warning = footprint.require(parts, "", available=10e9)
    assert "about 8 GB of memory (weights 6 GB, draws 2 GB), and 10 GB are left" in warning
    with pytest.raises(lnn.InputError, match=r"about 8 GB .*, and 7 GB are left: write"):
        footprint.require(parts, "write less", available=7e9)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of maps")
def test_compiled_programs_are_forgotten_before_the_system_refuses_more():
    """A process that samples at 100 shapes and more ends in a segmentation fault otherwise."""

    def maps():
        return len(Path("/proc/self/maps").read_text().splitlines())

    limit = int(Path("/proc/sys/vm/max_map_count").read_text())
    program = jax.jit(lambda x: jax.numpy.sort(x) @ x)
    program(jax.numpy.ones(2)).block_until_ready()
    before = maps()
    for size in range(3, 33):
        program(jax.numpy.ones(size)).block_until_ready()
    grown = maps()
    assert grown > before
    assert not memory.forget_programs(1.0) and maps() >= grown
    assert memory.forget_programs((grown - 1) / limit) and maps() < before + (grown - before) / 2


MEASURED = """
import json, jax, sys
jax.config.update("jax_enable_x64", True)
from langevin_nn import config, footprint, problem, run
from langevin_nn.sampling import chains

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

def sampled(widths, num_train, dynamics, readout):
    sampler = {"num_chains": 4, "num_warmup": 2, "num_samples": 4, "thinning": 1}
    sampler |= {"dynamics": dynamics} | ({"step_size": 1e-6} if dynamics == "langevin" else {})
    one = run.prepare(config.from_dict({
        "data": {"source": "random", "in_size": 20, "num_train": num_train, "num_test": 20},
        "network": {"hidden_widths": widths}, "theory": [], "sampler": sampler,
        "posterior": {"readout": readout},
    }))
    transition = problem.transition_of(one.config.sampler)
    counts = run.counts_of(one.config.sampler)
    chains.sample(one.posterior, transition, key=one.key, **counts)

widths, *others = json.loads(sys.argv[1])
sampled([20] * len(widths), 20, *others[1:])
before = peak()
sampled(widths, *others)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("widths", "num_train", "dynamics", "readout"),
    [
        ([2000, 2000], 20, "langevin", "sampled"),
        ([1500, 1500], 20, "split", "sampled"),
        ([1000], 4000, "langevin", "sampled"),
        ([1000], 4000, "split", "sampled"),
        ([1000], 1000, "split", "marginalised"),
    ],
)
def test_the_estimate_is_what_a_run_takes(widths, num_train, dynamics, readout):
    """To 30 per cent, in a process of its own: weights, then activations, then factors."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, json.dumps([widths, num_train, dynamics, readout])],
        capture_output=True, text=True, check=True, env=os.environ | {"XLA_FLAGS": ""},
    )  # fmt: skip
    weights = footprint.num_weights((20, *widths, 1), biases=False)
    sizes = footprint.Sizes(
        weights, sum(widths), num_train, 20, num_networks=4, split=dynamics == "split",
        marginalised=readout == "marginalised",
    )  # fmt: skip
    estimate = sum(footprint.of_sampling(sizes).values())
    assert estimate == pytest.approx(json.loads(done.stdout), rel=0.3)
