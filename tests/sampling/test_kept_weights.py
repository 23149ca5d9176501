"""Weights that are kept: those of the recorded draws, of the whole networks, streamed to a file.

What stands in the file is compared with what the same draws have recorded: f at the training and
the test inputs, and observables, which see the networks themselves.
"""

import dataclasses
import os
import zlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task, posterior_of
from faulty_disk import Killed, disk
from jax.flatten_util import ravel_pytree
from refusals import refuses, untouched

import langevin_nn as lnn
from langevin_nn.sampling.engine import driver, kept_weights

KEY = jax.random.key(3)
DATA = gaussian_task(num_train=4, num_test=3, in_size=9)
"""The training inputs span 4 of 9 dimensions, all inputs 7."""
TWO = gaussian_task(num_train=4, num_test=3, in_size=9, num_outputs=2)
IMAGES = dataclasses.replace(DATA, image_shape=(3, 3, 1))
COUNTS = {"key": KEY, "num_chains": 2, "num_warmup": 3, "num_samples": 5, "thinning": 2}
COUNTS |= {"progress": False}


class Frozen(eqx.Module):
    """A module of one's own, one of whose arrays is not sampled."""

    first: jax.Array
    fixed: jax.Array
    second: jax.Array

    def __call__(self, x):
        return self.second @ jnp.tanh(self.first @ x + self.fixed)


def connected(data, kind=lnn.GibbsPosterior, **options):
    return posterior_of(data, (4, 3), key=KEY, kind=kind, **options)


def convolutional(kind):
    patches = lnn.Patches((3, 3, 1), 2, 1)
    network = lnn.Convolutional(patches, 3, activation="erf", key=KEY, dtype=jnp.float64)
    return kind(network, lnn.GaussianPrior((1.0, 2.0)), IMAGES, 0.3)


def frozen():
    arrays = (jnp.asarray(np.random.default_rng(i).normal(size=s))
              for i, s in enumerate([(3, 9), (3,), (3,)]))  # fmt: skip
    module = Frozen(*arrays)
    marks = Frozen(True, False, True)
    return lnn.GibbsPosterior(module, lnn.GaussianPrior((1.0, 1.0)), DATA, 0.3, sampled=marks)


BIASES = (1.5, 2.0, 2.5)
CASES = {
    "langevin": (connected(DATA), lnn.Langevin()),
    "split, marginalised": (
        connected(TWO, lnn.MarginalisedPosterior, bias_precisions=BIASES), lnn.Split()
    ),
    "convolutional": (convolutional(lnn.MarginalisedPosterior), lnn.Langevin()),
    "module": (frozen(), lnn.Split()),
}  # fmt: skip


def all_weights(network):
    """What an observable says of its network: every array, one after the other."""
    return ravel_pytree(eqx.filter(network, eqx.is_inexact_array))[0]


def restored(network, row):
    arrays, rest = eqx.partition(network, eqx.is_inexact_array)
    return eqx.combine(ravel_pytree(arrays)[1](jnp.asarray(row)), rest)


def original(posterior):
    """A network as it was given, on the original inputs."""
    space = posterior.space
    return posterior.network if space is None else space.whole(posterior.network)


def error_of(weights, chains, posterior):
    """The largest difference between f of these weights and f as recorded, at all inputs."""
    data, network = posterior.beside.data, original(posterior)
    inputs = jnp.asarray(np.concatenate([data.x_train, data.x_test]))
    outputs = jax.jit(jax.vmap(lambda row: jax.vmap(restored(network, row))(inputs)))
    f = np.asarray(outputs(np.asarray(weights).reshape(-1, weights.shape[-1])))
    recorded = np.concatenate([chains.train_outputs, chains.f], axis=2)
    return np.abs(f.reshape(recorded.shape) - recorded).max()


@pytest.mark.slow
@pytest.mark.parametrize("case", [name for name in CASES if name != "module"])
def test_the_weights_have_the_recorded_f_and_leave_it_as_it_is(tmp_path, case):
    posterior, dynamics = CASES[case]
    path = tmp_path / "w.npy"
    chains = lnn.sample(posterior, dynamics, **COUNTS, keep_weights=path)
    without = lnn.sample(posterior, dynamics, **COUNTS)
    for name in ("f", "test_outputs", "train_outputs", "energy", "train_error"):
        assert np.array_equal(getattr(chains, name), getattr(without, name)), name
    assert os.listdir(tmp_path) == ["w.npy"]

    weights = np.load(path, mmap_mode="r")
    network = original(posterior)
    assert weights.shape == (2, 5, all_weights(network).size) and weights.dtype == np.float64
    assert error_of(weights, chains, posterior) < 1e-10
    # Mistakes that this must see: another draw's, another chain's, no read-out, the span alone.
    readout = np.array(weights)
    for row in readout.reshape(-1, readout.shape[-1]):
        broken = eqx.tree_at(
            lambda n: n.weights[-1], restored(network, row), replace_fn=jnp.zeros_like
        )
        row[:] = all_weights(broken)
    wrong = [weights[:, ::-1], weights[::-1], readout]
    if posterior.space is not None:
        within = np.array(weights)
        project = posterior.space.basis @ posterior.space.basis.T
        for row in within.reshape(-1, within.shape[-1]):
            made = restored(network, row)
            row[:] = all_weights(
                eqx.tree_at(lambda n: n.weights[0], made, made.weights[0] @ project)
            )
        wrong.append(within)
    for mistake in wrong:
        assert error_of(mistake, chains, posterior) > 1e-3


@pytest.mark.slow
@pytest.mark.exhaustive_except("langevin")
@pytest.mark.parametrize("case", CASES)
def test_the_weights_are_those_that_observables_see(tmp_path, case):
    """Beyond all inputs as well, where the first layer is as in its prior."""
    posterior, dynamics = CASES[case]
    seen = all_weights if case != "module" else lambda m: ravel_pytree((m.first, m.second))[0]
    chains = lnn.sample(
        posterior, dynamics, **COUNTS, keep_weights=tmp_path / "w.npy", observables={"all": seen}
    )
    kept = np.load(tmp_path / "w.npy")
    np.testing.assert_allclose(kept, chains.observables["all"], rtol=0, atol=1e-10)


@pytest.mark.slow
def test_a_ladder_has_the_weights_of_each_rung(tmp_path):
    posterior, path = connected(DATA, lnn.MarginalisedPosterior), tmp_path / "w.npy"
    ladder = lnn.temper(posterior, lnn.Split(), (1.0, 3.0), **COUNTS, keep_weights=path)
    weights = np.load(path)
    assert weights.shape == (2, 5, 3, all_weights(original(posterior)).size)
    for rung, chains in enumerate(ladder.chains):
        assert error_of(weights[:, :, rung], chains, posterior) < 1e-10
        assert error_of(weights[:, :, rung - 1], chains, posterior) > 1e-3


@pytest.mark.slow
def test_several_posteriors_have_a_file_each(tmp_path):
    posteriors = [connected(DATA).at_temperature(t) for t in (0.1, 1.0, 10.0)]
    paths = [tmp_path / "0.npy", None, tmp_path / "2.npy"]
    options = {k: v for k, v in COUNTS.items() if k != "key"}
    sampled = lnn.sample_points(
        posteriors, lnn.Langevin(), keys=jax.random.split(KEY, 3), **options, keep_weights=paths
    )
    assert sorted(os.listdir(tmp_path)) == ["0.npy", "2.npy"]
    for i in (0, 2):
        assert error_of(np.load(paths[i]), sampled[i], posteriors[i]) < 1e-10
    for wrong in (paths[:2], [tmp_path, None, None], [paths[0]] * 3):
        with refuses("keep_weights"), untouched(tmp_path):
            lnn.sample_points(
                posteriors, lnn.Langevin(), keys=jax.random.split(KEY, 3), **options,
                keep_weights=wrong,
            )  # fmt: skip


# --- interrupted, and gone on with


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that saves after every draw, its weights in `folder`/w.npy."""
    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", 2)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)

    def sampled(folder, seed=3, **options):
        (tmp_path / folder).mkdir(exist_ok=True)
        files = {
            "checkpoint": tmp_path / folder / "saved",
            "keep_weights": tmp_path / folder / "w.npy",
        }
        counts = COUNTS | {"key": jax.random.key(seed), "num_warmup": 2}
        counts |= {"num_samples": None} if "until" in options else {}
        return lnn.sample(connected(DATA), lnn.Langevin(), **(counts | files | options))

    return sampled


def stopping_after(reports):
    seen = []

    def progress(report):
        seen.append(report)
        if len(seen) == reports:
            raise KeyboardInterrupt

    return progress


@dataclasses.dataclass(frozen=True)
class Enough:
    """A rule that ends the draws at the second look, after five of them."""

    max_draws: int = 9
    max_seconds: float = 1e9

    def first_look(self, num_chains):
        return 4

    def draws_needed(self, chains):
        return 4.0


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"until": Enough()}], ids=["number", "rule"])
def test_killed_at_every_moment_the_file_is_the_same_to_the_last_byte(run, tmp_path, options):
    with disk() as counted:
        whole = run("whole", **options)
    assert error_of(np.load(tmp_path / "whole/w.npy"), whole, connected(DATA)) < 1e-10
    expected = (tmp_path / "whole/w.npy").read_bytes()
    assert counted.count > 20
    for call in range(1, counted.count + 1):
        folder = f"killed{call}"
        (tmp_path / folder).mkdir()
        with disk(call, Killed()), pytest.raises(Killed):
            run(folder, **options)
        chains = run(folder, resume=True, **options)
        assert (tmp_path / folder / "w.npy").read_bytes() == expected, call
        assert not list((tmp_path / folder).glob(".*.part")), call
        assert np.array_equal(chains.f, whole.f)


@pytest.mark.slow
def test_no_room_for_a_draw(run, tmp_path, monkeypatch):
    """What is written again on going on is what had no room."""
    run("whole")
    writes, original_write = [], os.pwrite

    def pwrite(descriptor, content, place):
        writes.append(place)
        if len(writes) == 6:
            raise OSError(28, "No space left on device")
        return original_write(descriptor, content[: len(content) // 2 + 1], place)  # in parts

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(os, "pwrite", pwrite)
        run("full")
    assert not (tmp_path / "full/w.npy").exists()
    run("full", resume=True)
    assert (tmp_path / "full/w.npy").read_bytes() == (tmp_path / "whole/w.npy").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["absent", "cut", "one bit", "another run's", "another shape"])
def test_a_damaged_file_is_not_gone_on_with(run, tmp_path, damage):
    run("other", seed=4)
    with pytest.raises(KeyboardInterrupt):
        run("out", progress=stopping_after(4))
    part = tmp_path / "out/.w.npy.part"
    content = bytearray(part.read_bytes())
    assert any(content[200:]), "some draws"
    if damage == "absent":
        part.unlink()
    elif damage == "another shape":
        np.save(part.with_suffix(".npy"), np.zeros(3))
        part.with_suffix(".npy").replace(part)
    elif damage == "another run's":
        part.write_bytes((tmp_path / "other/w.npy").read_bytes())
    else:
        content[160] ^= damage == "one bit"
        part.write_bytes(content[: -8 if damage == "cut" else None])
    with refuses("resume=False"), untouched(tmp_path / "out"):
        run("out", resume=True)
    run("out")
    run("whole")
    assert (tmp_path / "out/w.npy").read_bytes() == (tmp_path / "whole/w.npy").read_bytes()


@pytest.mark.slow
def test_a_run_that_kept_no_weights_is_not_gone_on_with_by_one_that_does(run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run("out", keep_weights=None, progress=stopping_after(4))
    with refuses("saved"):
        run("out", resume=True)


def test_what_fails_leaves_no_file(tmp_path):
    path = tmp_path / "w.npy"
    path.write_bytes(b"of mine")
    with pytest.raises(lnn.Diverged):
        lnn.sample(connected(DATA), lnn.Langevin(1e6), **COUNTS, keep_weights=path)
    with pytest.raises(KeyboardInterrupt):
        lnn.sample(
            connected(DATA), lnn.Langevin(), **COUNTS | {"progress": stopping_after(1)},
            keep_weights=path,
        )  # fmt: skip
    assert os.listdir(tmp_path) == ["w.npy"] and path.read_bytes() == b"of mine"


def test_the_disk_is_asked_before_anything_is_written(run, tmp_path, monkeypatch):
    """What the disk holds of the file already counts as written."""
    whole = run("whole")
    size = (tmp_path / "whole/w.npy").stat().st_size
    monkeypatch.setattr(kept_weights, "disk_left", lambda folder: size - 1)
    (tmp_path / "out").mkdir()
    with refuses(f"{size / 1e3:.3g} kB", f"{(size - 1) / 1e3:.3g} kB", "fewer"):
        with untouched(tmp_path):
            run("out")
    monkeypatch.setattr(kept_weights, "disk_left", lambda folder: size)
    with pytest.raises(KeyboardInterrupt):
        run("out", progress=stopping_after(5))
    monkeypatch.setattr(kept_weights, "disk_left", lambda folder: 0)
    blocks = (tmp_path / "out/.w.npy.part").stat().st_blocks
    if 512 * blocks >= size:  # a file so small is one block
        assert np.array_equal(run("out", resume=True).f, whole.f)


def test_checksums_are_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_weights, "READ_BYTES", 7)
    file = kept_weights.WeightsFile(tmp_path / "w.npy", (2, 3, 5), np.float32)
    file.begin()
    rows = np.arange(30, dtype=np.float32).reshape(3, 2, 5)
    sums = np.zeros(2, np.uint32)
    for draw, by_chain in enumerate(rows):
        file.write(draw, by_chain, sums)
    file.finish(3)
    file.close()
    np.testing.assert_array_equal(np.load(tmp_path / "w.npy"), rows.swapaxes(0, 1))
    assert sums.tolist() == [zlib.crc32(rows[:, c].tobytes()) for c in range(2)]
    file.go_on([(0, 3, sums)])
    file.close()
    with refuses("0 to 2"):
        file.go_on([(0, 3, sums[::-1])])
    file.close()
