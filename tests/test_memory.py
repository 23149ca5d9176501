"""Memory is said before it is taken, and refused where there is none. FAULTS 4.3."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from cases import posterior_of
from refusals import refused

import langevin_nn as lnn
from langevin_nn import footprint, memory
from langevin_nn.model.control_variates import NUM_CONTROLS
from langevin_nn.sampling import chains
from langevin_nn.sampling.base import dynamics_named
from langevin_nn.sampling.counts import Counts

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
def test_what_no_machine_has_is_refused_before_anything_is_written(cli, words):
    refused(cli("run", "tiny.toml", "--output", "out", *words.split()), "memory", "GB")
    assert cli.files() == {"tiny.toml"}


def test_chains_in_python_are_refused_too():
    key = jax.random.key(0)
    data = lnn.load_dataset("random", in_size=3, num_train=5, num_test=4, key=key)
    posterior = posterior_of(data, key=key, dtype="float32")
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


def test_python_is_warned_of_what_just_fits(monkeypatch):
    data = lnn.load_dataset("random", in_size=3, num_train=5, num_test=4, key=jax.random.key(0))
    posterior = posterior_of(data, key=jax.random.key(0), dtype="float32")
    counts = Counts(2, 4, 4, 1)
    parts = []
    with monkeypatch.context() as patch:
        patch.setattr(footprint, "require", lambda *words: parts.append(words[0]) or "")
        chains.require_room([posterior], lnn.Langevin(), counts)
    (needed,) = (sum(part.values()) for part in parts)
    for left, kind in (
        (1.2 * needed, pytest.warns(footprint.TightMemory, match="this takes")),
        (0.9 * needed, pytest.raises(lnn.InputError, match="not enough memory")),
    ):
        monkeypatch.setattr(footprint, "available_memory", lambda left=left: left)
        with kind:
            chains.require_room([posterior], lnn.Langevin(), counts)
    gram = sum(footprint.of_theories(5, 4, [lnn.theory.THEORIES["infinite_width"].needs]).values())
    monkeypatch.setattr(footprint, "available_memory", lambda: 1.2 * gram)
    with pytest.warns(footprint.TightMemory, match="programs 15 MB"):
        lnn.theory.predict(posterior.ensemble, ["infinite_width"])


def test_the_command_line_warns_in_a_line(cli, monkeypatch):
    words = "theory", "tiny.toml", "--theory", "infinite_width", "--json"
    quiet = cli(*words)
    needed = sum(footprint.of_theories(6, 5, [footprint.Needs()]).values())
    monkeypatch.setattr(footprint, "available_memory", lambda: 1.2 * needed)
    answer = cli(*words)
    assert (quiet.err, answer.code, answer.out) == ("", 0, quiet.out)
    assert answer.err.startswith("langevin-nn: warning: this takes about 15 MB of memory")
    assert answer.err.count("\n") == 1


MB = 1_000_000


@pytest.mark.parametrize(
    ("groups", "files", "left"),
    [
        ("0::/a/b/c", {"a/memory.max": 500, "a/memory.current": 100, "a/b/memory.max": "max",
                       "a/b/memory.current": 90, "a/b/c/memory.max": 450,
                       "a/b/c/memory.current": 80}, 370),
        ("0::/a/b", {"a/memory.max": 300, "a/memory.current": 250, "a/b/memory.max": 290,
                     "a/b/memory.current": 20}, 50),
        ("0::/../not/shown", {"memory.max": 200, "memory.current": 50}, 150),
        ("0::/a", {"a/memory.max": 200, "a/memory.current": 190,
                   "a/memory.stat": "anon 5\ninactive_file 100000000\n"}, 110),
        ("5:cpu,memory:/a/b\n0::/", {
            "memory/a/memory.limit_in_bytes": 400, "memory/a/memory.usage_in_bytes": 100,
            "memory/a/b/memory.limit_in_bytes": 2**63 // MB, "memory/a/b/memory.usage_in_bytes": 9,
        }, 300),
        ("0::/a", {"a/memory.max": "nonsense", "a/memory.current": 5}, sys.maxsize // MB),
        ("nonsense", {}, sys.maxsize // MB),
    ],
)  # fmt: skip
def test_the_limits_of_every_group_above_count(tmp_path, groups, files, left):
    """Of nested control groups, in both versions; sizes in MB. FAULTS 4.3."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups + "\n")
    for name, size in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{size * MB if isinstance(size, int) else size}\n")
    assert memory._left_in_container(tmp_path) // MB == left


@pytest.mark.slow
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
    assert memory.forget_programs(before / limit / 2) and maps() < before + (grown - before) / 2


PLAIN = os.environ | {"XLA_FLAGS": "", "JAX_ENABLE_COMPILATION_CACHE": "false"}
"""The environment of processes whose memory is measured: programs that are kept take some, too."""
MEASURED = """
import json, jax, sys
jax.config.update("jax_enable_x64", True)
from langevin_nn import config as configuration, summarise
from langevin_nn.runs import assemble
from langevin_nn.runs import run
from langevin_nn.sampling import chains
from langevin_nn.sampling.counts import Counts
from langevin_nn.sampling.dynamics import langevin, step_size

# One iteration of the curvature takes what two hundred do.
many = step_size.largest_curvature
langevin.largest_curvature = step_size.largest_curvature = lambda *words: many(*words, 1)

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

def sampled(widths, num_train, dynamics, readout, num_samples=4, num_test=20):
    sampler = {"num_chains": 4, "num_warmup": 2, "num_samples": num_samples, "thinning": 1}
    sampler |= {"dynamics": dynamics} | ({"step_size": 1e-6} if dynamics == "langevin" else {})
    if readout == "with control variates":
        readout, sampler["control_variates"] = "marginalised", True
    one = run.prepare(configuration.from_dict({
        "data": {"source": "random", "in_size": 20, "num_train": num_train, "num_test": num_test},
        "network": {"hidden_widths": widths}, "theory": [], "sampler": sampler,
        "posterior": {"readout": readout},
    }))
    dynamics = assemble.dynamics_of(one.config.sampler)
    counts = run.counts_of(one.config.sampler)
    found = chains.sample(one.posterior, dynamics, key=one.key, **counts)
    if num_samples > 4:
        summarise(found)

widths, *others = json.loads(sys.argv[1])
sampled([20] * len(widths), 20, *others[1:3])
before = peak()
sampled(widths, *others)
print(peak() - before)
"""


@pytest.mark.exhaustive_except("widths1-20-split-sampled-4-20")
@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("widths", "num_train", "dynamics", "readout", "num_samples", "num_test"),
    [
        ([2000, 2000], 20, "langevin", "sampled", 4, 20),
        ([1500, 1500], 20, "split", "sampled", 4, 20),
        ([1000], 4000, "langevin", "sampled", 4, 20),
        ([1000], 4000, "split", "sampled", 4, 20),
        ([1000], 1000, "split", "marginalised", 4, 20),
        ([1000], 1000, "split", "with control variates", 4, 20),
        ([1000], 1000, "split", "with control variates", 4, 1000),
        ([5], 10, "langevin", "marginalised", 1500, 300),
    ],
)
def test_the_estimate_is_what_a_run_takes(
    widths, num_train, dynamics, readout, num_samples, num_test
):
    """To 30 per cent, in a process of its own: weights, activations, factors, draws."""
    words = [widths, num_train, dynamics, readout, num_samples, num_test]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, json.dumps(words)],
        capture_output=True, text=True, check=True, env=PLAIN,
    )  # fmt: skip
    weights = footprint.num_weights((20, *widths, 1), biases=False)
    sizes = footprint.Sizes(
        weights, sum(widths), num_train, num_test, num_networks=4, num_samples=num_samples,
        copies=dynamics_named(dynamics).copies, marginalised=readout != "sampled",
        num_controls=NUM_CONTROLS if readout == "with control variates" else 0,
    )  # fmt: skip
    estimate = sum(footprint.of_sampling(sizes).values())
    assert estimate == pytest.approx(json.loads(done.stdout), rel=0.3)


def test_the_estimate_of_theories_knows_depth_and_patches():  # FAULTS 4.3
    needs = {name: theory.needs for name, theory in lnn.theory.THEORIES.items()}

    def estimate(name, depth=1, patches=None):
        named = [needs[name]] if name else footprint.by_default(needs.values(), depth, patches)
        return sum(footprint.of_theories(1500, 100, named, depth, patches).values())

    least = estimate("infinite_width", 3)
    assert least < estimate("nested", 2) < estimate("nested", 40) == estimate(None, 40)
    assert estimate(None, 1, 16) == estimate("convolutional", 1, 16) > 100 * least
    assert estimate("infinite_width", 1, 16) == least


THEORY = """
import json, jax, sys
import numpy as np
jax.config.update("jax_enable_x64", True)
import langevin_nn as lnn

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

def predicted(num_train, num_test, theory, depth, outputs, side):
    rng = np.random.default_rng(0)
    x, x_test = rng.normal(size=(num_train, 64)), rng.normal(size=(num_test, 64))
    chosen = 0 if outputs == 1 else slice(outputs)
    data = lnn.Dataset("random", x, np.sign(x[:, chosen]), x_test, np.sign(x_test[:, chosen]))
    unit = lnn.activation("relu" if theory == "one_layer_nonodd" else "erf")
    shape = {"num_outputs": outputs}
    if side:
        patches = lnn.types.Patches((8, 8, 1), side, side)
        shape |= {"patches": patches, "architecture": "Convolutional"}
    width = num_train // 4 if theory == "adaptive" else 300
    spec = lnn.types.EnsembleSpec(64, (width,) * depth, unit, (1.0,) * (depth + 1), 0.1, **shape)
    lnn.theory.predict(lnn.Ensemble(spec, data), [theory])

num_train, *others = json.loads(sys.argv[1])
of_features = others[1] != "convolutional" and others[-1] > 0  # as many units at any size
predicted(20, 10, *(["infinite_width", 1, 1, 0] if of_features else others[1:]))
before = peak()
predicted(num_train, *others)
print(peak() - before)
"""


@pytest.mark.exhaustive_except(
    "1200-1200-infinite_width-1-1-0", "1200-20-one_layer_nonodd-1-1-0", "400-20-convolutional-1-1-4"
)
@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("num_train", "num_test", "theory", "depth", "outputs", "side"),
    [
        (1200, 1200, "infinite_width", 1, 1, 0),
        (1200, 20, "one_layer_nonodd", 1, 1, 0),
        (1000, 20, "width_expansion", 1, 1, 0),
        (1000, 20, "mean_field", 1, 1, 0),
        (400, 20, "mean_field", 1, 5, 0),
        (100, 20, "propagation", 1, 4, 0),
        (60, 20, "adaptive", 1, 1, 0),
        (1500, 100, "nested", 2, 1, 0),
        (1200, 20, "nested", 4, 1, 0),
        (400, 20, "convolutional", 1, 1, 4),
        (50, 200, "propagation", 1, 1, 2),
        (200, 20, "propagation", 1, 1, 4),
        (100, 20, "mean_field", 1, 1, 2),
    ],
)
def test_the_estimate_is_what_a_theory_takes(num_train, num_test, theory, depth, outputs, side):
    """To 30 per cent, in a process of its own."""
    words = [num_train, num_test, theory, depth, outputs, side]
    done = subprocess.run(
        [sys.executable, "-c", THEORY, json.dumps(words)],
        capture_output=True, text=True, check=True, env=PLAIN,
    )  # fmt: skip
    patches = (8 // side) ** 2 if side else None
    parts = footprint.of_theories(
        num_train, num_test, [lnn.theory.THEORIES[theory].needs], depth, patches, outputs
    )
    assert sum(parts.values()) == pytest.approx(json.loads(done.stdout), rel=0.3)
