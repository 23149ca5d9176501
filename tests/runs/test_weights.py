"""weights.npy in a run's folder: written on request, verified, read without being read whole."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import TINY, write_npz
from command_line import CommandLine
from refusals import refused, refuses, untouched
from run_cases import arrays

import langevin_nn as lnn
from langevin_nn.cli import main, streams
from langevin_nn.config.record import from_dict
from langevin_nn.runs import run, weights
from langevin_nn.sampling.engine import kept_weights

KEEP = ["--sampler.keep_weights", "true", "--theory", "[]", "--quiet"]
WAYS = {
    "sampled": ["--data.in_size", "12", "--sampler.num_samples", "5"],
    "marginalised": ["--posterior.readout", "marginalised", "--sampler.dynamics", "split",
                     "--sampler.ladder", "2", "--precision", "float64"],
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs with and without weights, one with another seed; no test writes into this folder."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.toml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(run, "draw_figures", lambda *_: None)
        write_npz("task.npz")
        for way, words in WAYS.items():
            assert main.main(["run", "tiny.toml", *words, *KEEP, "--output", way]) == 3
            words = [*words, *KEEP[2:], "--output", f"{way} without"]
            assert main.main(["run", "tiny.toml", *words]) == 3
        words = [*WAYS["sampled"], *KEEP, "--seed", "9", "--output", "other"]
        assert main.main(["run", "tiny.toml", *words]) == 3
    return folder


@pytest.fixture
def cli(runs, tmp_path, capsys, monkeypatch):
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "draw_figures", lambda *_: None)
    return CommandLine(tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_networks_of_a_run_have_the_f_that_it_has_recorded(runs, way):
    loaded = lnn.load_run(runs / way)
    rungs = (2,) if way == "marginalised" else ()
    assert isinstance(loaded.weights, np.memmap), "it is not read"
    assert loaded.weights.shape[: 2 + len(rungs)] == loaded.chains.f.shape[:2] + rungs
    tolerance = 1e-5 if way == "sampled" else 1e-10
    inputs = jnp.asarray(loaded.data.x_test, loaded.weights.dtype)
    for chain, draw in ((0, 0), (1, -1), (-1, 3)):
        network = loaded.network(chain, draw)
        f = loaded.chains.f[chain, draw]
        assert np.abs(network.batch(inputs) - f).max() < tolerance
        assert np.abs(jax.vmap(network)(inputs) - f).max() < tolerance
        mistakes = [loaded.network(chain, draw - 1), loaded.network(chain - 1, draw)]
        mistakes += [loaded.network(chain, draw, 1)] if rungs else []
        assert min(np.abs(m.batch(inputs) - f).max() for m in mistakes) > 1e-3
    for place, word in (((2, 0), "chain"), ((0, 8), "draw"), ((0, 0, 2), "rung")):
        with refuses(word):
            loaded.network(*place)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_draws_are_those_of_a_run_without(runs, way):
    mine, theirs = arrays(runs / way), arrays(runs / f"{way} without")
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        if name.startswith("/posterior_predictive/y"):  # the run's name seeds their noise
            continue
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)
    without = lnn.load_run(runs / f"{way} without")
    assert without.weights is None
    with refuses("keep_weights = true"):
        without.network(0, 0)


def test_only_weights_that_are_kept_are_in_the_hash():
    plain = from_dict({})
    assert from_dict({"sampler": {"keep_weights": False}}).content_hash == plain.content_hash
    assert from_dict({"sampler": {"keep_weights": True}}).content_hash != plain.content_hash


def other_bytes(path, content):
    """The file of another run, of the same size."""
    other = Path("other/weights.npy").read_bytes()
    assert len(other) == len(content) and other != content
    path.write_bytes(other)


DAMAGES = {
    "absent": lambda path, content: path.unlink(),
    "cut": lambda path, content: path.write_bytes(content[:-4]),
    "longer": lambda path, content: path.write_bytes(content + b"x"),
    "foreign": other_bytes,
    "folder": lambda path, content: (path.unlink(), path.mkdir()),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_not_the_runs_is_refused_where_it_is_read(cli, damage):
    path = Path("sampled/weights.npy")
    DAMAGES[damage](path, path.read_bytes())
    loaded = lnn.load_run("sampled")  # has its numbers, without the weights
    assert loaded.chains.f is not None
    with refuses("sampled/weights.npy", "--overwrite"):
        _ = loaded.weights
    with refuses("sampled/weights.npy"):
        loaded.network(0, 0)
    with untouched("sampled"):
        words = ["run", "tiny.toml", *WAYS["sampled"], *KEEP, "--output", "sampled"]
        refused(cli(*words, "--resume"), "weights.npy")
    if damage != "folder":
        assert cli("plot", "sampled").code == 0, "which reads no weights"
        assert cli(*words, "--overwrite").code == 3
        assert path.read_bytes() == Path(cli.folder / "sampled/weights.npy").read_bytes()
        assert lnn.load_run("sampled").weights is not None


@pytest.mark.slow
def test_a_changed_number_is_found_where_the_run_is_checked_as_a_whole(cli, monkeypatch):
    """A look at a large file reads some blocks of it only."""
    monkeypatch.setattr(weights, "NUM_BLOCKS", 2)
    monkeypatch.setattr(weights, "BLOCK_BYTES", 256)
    manifest = json.loads(Path("sampled/manifest.json").read_text())
    assert manifest["files"]["weights.npy"] and manifest["weights"]["dtype"] == "float32"
    words = ["run", "tiny.toml", *WAYS["sampled"], *KEEP, "--output", "sampled"]
    assert cli(*words, "--overwrite").code == 3
    assert cli(*words, "--resume").code == 3
    path = Path("sampled/weights.npy")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert lnn.load_run("sampled").weights is not None
    refused(cli(*words, "--resume"), "sampled/weights.npy")


@pytest.mark.slow
def test_the_size_is_said_before(cli, monkeypatch):
    size = Path("sampled/weights.npy").stat().st_size
    words = ["run", "tiny.toml", *WAYS["sampled"], *KEEP[:-1]]
    with untouched():
        answer = cli(*words, "--dry-run", "--output", "new")
    assert answer.code == 0 and f"{size / 1e3:.3g} kB" in answer.out
    assert "weights.npy" not in cli("run", "tiny.toml", "--theory", "[]", "--dry-run").out
    with monkeypatch.context() as patch:
        patch.setattr(streams.stages, "is_shown", True)
        answer = cli(*words, "--output", "new")
    (line,) = (line for line in answer.err.splitlines() if "new/weights.npy" in line)
    assert f"{size / 1e3:.3g} kB" in line
    monkeypatch.setattr(kept_weights, "disk_left", lambda folder: 1000)
    for more in ([], ["--dry-run"]):
        with untouched():
            refused(cli(*words, *more, "--output", "new2"), f"{size / 1e3:.3g} kB", "1 kB")


@pytest.mark.slow
def test_data_that_have_changed_are_not_taken_for_the_runs(cli):
    own = ["--data.source", "npz", "--data.path", "task.npz"]
    assert cli("run", "tiny.toml", *own, *KEEP, "--output", "own").code == 3
    loaded = lnn.load_run("own")
    assert loaded.network(0, 0).weights[0].shape == (3, 3)
    write_npz("task.npz", seed=5)
    loaded = lnn.load_run("own")
    with refuses("task.npz"):
        loaded.network(0, 0)


@pytest.mark.slow
def test_a_sweep_keeps_the_weights_of_each_point(cli, monkeypatch):
    words = ["sweep", "tiny.toml", "--over", "posterior.temperature=0.5,1.0", *KEEP[:-1]]
    size = 2 * (2 * 8 * 12 * 4 + 128)
    with untouched(), monkeypatch.context() as patch:
        patch.setattr(kept_weights, "disk_left", lambda folder: 100)
        refused(cli(*words, "--output", "grid", "--quiet"), f"{size / 1e3:.3g} kB", "0.1 kB")
    with monkeypatch.context() as patch:
        patch.setattr(streams.stages, "is_shown", True)
        answer = cli(*words, "--output", "grid")
    assert answer.code == 3 and f"{size / 1e3:.3g} kB" in answer.err
    points = sorted(Path("grid/points").iterdir())
    assert len(points) == 2 and not list(Path("grid").rglob("*.part"))
    for point in points:
        loaded = lnn.load_run(point)
        f = loaded.network(1, 2).batch(jnp.asarray(loaded.data.x_test, jnp.float32))
        np.testing.assert_allclose(f, loaded.chains.f[1, 2], rtol=0, atol=1e-5)
    whole = {point: np.load(point / "weights.npy") for point in points}
    # Without its weights a point is damaged, and is sampled again.
    (points[0] / "weights.npy").unlink()
    assert cli(*words, "--output", "grid", "--quiet").code == 3
    for point in points:  # alone in its program: to rounding
        weights = np.load(point / "weights.npy")
        np.testing.assert_allclose(weights, whole[point], rtol=0, atol=1e-4)
