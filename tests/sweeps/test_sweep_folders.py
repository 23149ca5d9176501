"""What is in a sweep's folder is believed as far as it is what the sweep has written."""

import dataclasses
import io
import json
import os
import shutil
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from cases import SHORT_GRID, write_npz
from command_line import unsealed
from refusals import refuses, says

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn import plotting
from langevin_nn.errors import InputError
from langevin_nn.files import write_text
from langevin_nn.sweeps import engine, grid, report, results, status, task
from langevin_nn.sweeps.folder import SweepFolder

OVER = {"prior.precisions[-1]": [0.5, 2.0]}
WORDS = ["sweep", "tiny.toml", "--over", "prior.precisions[-1]=0.5,2", "--output", "out"]
FILES = ["summary.json", "manifest.json", "config.toml", "posterior.nc"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    path = tmp_path_factory.mktemp("swept") / "sweep"
    lnn.sweep(tomllib.loads(SHORT_GRID), OVER, output=path)
    return path


@pytest.fixture
def whole(swept, tmp_path):
    """A copy of a sweep of two points that are done."""
    return SweepFolder.existing(shutil.copytree(swept, tmp_path / "out"))


@pytest.fixture
def tiny():
    return SHORT_GRID


def absent(path):
    path.unlink()


def cut(path):
    content = path.read_bytes()
    half = len(content) // 2
    if path.suffix == ".toml":  # within a line: at the end of one it would be whole TOML
        half = content.index(b"= ", half) + 1
    path.write_bytes(content[:half])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def anothers(path):
    (other,) = [each for each in path.parent.parent.iterdir() if each != path.parent]
    shutil.copy(other / path.name, path)


def nonsense(path):
    path.write_text('{"experiment": [], "theory": 3, "data": 5, "files": [1]}')


@pytest.mark.parametrize("damage", [absent, cut, flipped, anothers, nonsense])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_point_is_missing(whole, name, damage):  # FAULTS 3.3
    first, second = whole.points
    damage(whole.run(second).path / name)
    again = SweepFolder.existing(whole.path)
    found = results.collected(again)
    assert found.status.values.tolist() == ["done", "missing"]
    assert np.isnan(found.bias2.values[1]) and np.isfinite(found.bias2.values[0])
    now = status.status(again)
    assert (now.done, now.missing, now.failed) == (1, 1, 0)
    assert task.still_open(again, again.tasks[0], {}) == (second,)
    if (name, damage) != ("summary.json", absent):
        (line,) = report.damaged(again, again.tasks)
        assert str(whole.run(second).path / name) in line or name == "manifest.json", line
        assert "--overwrite" not in line and "\n" not in line


@pytest.mark.slow_except("summary.json-cut", "posterior.nc-nonsense", "manifest.json-cut")
@pytest.mark.exhaustive_except("summary.json-cut", "posterior.nc-nonsense", "manifest.json-cut")
@pytest.mark.parametrize("damage", [cut, nonsense])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_point_of_an_earlier_version(whole, name, damage):  # FAULTS 3.3
    """Without checksums: whatever is there, nothing stops, and what can be told is told."""
    first, second = whole.points
    for point in whole.points:
        unsealed(whole.run(point).path)
    assert (lnn.collect(whole.path).status == "done").all()
    damage(whole.run(second).path / name)
    found = lnn.collect(whole.path)
    expected = "done" if name == "posterior.nc" else "missing"  # the draws are not opened
    assert found.status.values.tolist() == ["done", expected]
    lnn.report(whole.path)


def test_damaged_points_are_sampled_again_and_said(cli, whole):  # FAULTS 3.3
    reference = lnn.collect(whole.path)
    cut(whole.run(list(whole.points)[0]).path / "summary.json")
    flipped(whole.run(list(whole.points)[1]).path / "posterior.nc")
    answer = cli("sweep", "--status", "out")
    assert answer.code == 0 and "0 done, 0 failed, 2 missing" in answer.out
    assert answer.out.count("missing        prior.precisions[-1] = ") == 2
    assert cli("report", "out").code == 0
    answer = cli(*WORDS, "--quiet")
    assert answer.code == 3
    names = ("summary.json", "posterior.nc")
    for line, value, point, name in zip(
        answer.err.splitlines(), (0.5, 2.0), whole.points, names, strict=True
    ):
        says(line, f"prior.precisions[-1] = {value}", f"out/points/{point}/{name}")
    found = lnn.collect("out")
    xr.testing.assert_equal(found.drop_vars("seconds"), reference.drop_vars("seconds"))
    assert not list(Path("out/points").rglob(".*"))


@pytest.mark.slow
def test_damaged_files_of_the_sweep_itself(whole, monkeypatch):  # FAULTS 3.3
    monkeypatch.setattr(task, "sample_points", None)
    values = tomllib.loads(SHORT_GRID)
    for content in ("", "[", '{"points_per_task": 0}', '{"points_per_task": "x"}', "7"):
        write_text(whole.path / "tasks/plan.json", content)
        with refuses("plan.json", "start the sweep again"):
            _ = SweepFolder.existing(whole.path).tasks
        found = lnn.sweep(values, OVER, output=whole.path)
        assert (found.status == "done").all()
    for content in ("", "[", "\x00", "[[" * 5000):
        write_text(whole.path / "tasks/data.json", content)
        write_text(whole.path / "sweep.toml", content)
        for reads in (lnn.collect, lambda path: lnn.sweep(values, OVER, output=path)):
            with refuses("sweep.toml", "delete it"):
                reads(whole.path)
        (whole.path / "sweep.toml").unlink()
        assert (lnn.sweep(values, OVER, output=whole.path).status == "done").all()
    cut(whole.results)
    with refuses("results.nc", "langevin_nn.collect"):
        results.load(whole.results)
    (whole.path / "notes.txt").touch()
    (whole.path / "sweep.toml").unlink()
    with refuses("notes.txt"):
        lnn.sweep(values, OVER, output=whole.path)


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"reason": []}', "[" * 9999, "\x00"])
def test_damaged_records_of_failures_and_batches(tmp_path, content):  # FAULTS 3.3, 3.6
    folder = SweepFolder.begin(tmp_path / "out", grid.grid(tomllib.loads(SHORT_GRID), OVER), 32)
    first, second = folder.points
    folder.record_failure(first, "it failed")
    write_text(folder.path / "failed" / f"{first}.json", content)
    (only,) = folder.tasks
    batch = folder.batch(only, (first, second))
    write_text(batch / "members.json", content)
    write_text(batch / "state.npz", content)
    write_text(batch.parent / "lock", content)
    assert folder.failure(first)["reason"] == "its record cannot be read"
    assert folder.batches(only) == {} and folder.holder(only) is None
    assert lnn.collect(folder.path).status.values.tolist() == ["failed", "missing"]
    assert status.status(folder).failed == 1 and task.still_open(
        folder, only, folder.attempts()
    ) == (first, second)


# --- other data


def with_data(path):
    data = {"source": "npz", "path": str(path), "num_train": 5, "num_test": 4}
    return tomllib.loads(SHORT_GRID) | {"data": data}


@pytest.mark.slow
def test_a_sweep_never_goes_on_with_other_data(tmp_path, monkeypatch):  # FAULTS 1.11
    path = tmp_path / "task.npz"
    write_npz(path)
    shutil.copy(path, tmp_path / "first.npz")
    values = with_data(path)
    keep = task.run.keep

    def once(problem, folder, *words, **settings):
        keep(problem, folder, *words, **settings)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(task.run, "keep", once)
        lnn.sweep(values, OVER, output=tmp_path / "out")
    write_npz(path, seed=1)
    for _ in range(2):
        with pytest.raises(InputError, match=r"out .*task.npz sha256:\w+ .*task.npz sha256:\w+"):
            lnn.sweep(values, OVER, output=tmp_path / "out")
        (tmp_path / "out/tasks/data.json").unlink(missing_ok=True)  # of an earlier version
    # The file is replaced while the sweep runs, or an earlier version went on with it.
    folder = SweepFolder.existing(tmp_path / "out")
    assert task.work(folder, folder.tasks[0], {}) == ()
    second = list(folder.points)[1]
    assert "task.npz sha256:" in folder.failure(second)["reason"]
    shutil.copytree(folder.run(list(folder.points)[0]).path, folder.run(second).path)
    manifest = folder.run(second).path / "manifest.json"
    unsealed(manifest.parent)
    content = json.loads(manifest.read_text())
    write_text(manifest, json.dumps(content | {"run_id": second, "data": ["task.npz sha256:00"]}))
    found = lnn.collect(folder.path)
    assert found.status.values.tolist() == ["done", "failed"]
    shutil.copy(tmp_path / "first.npz", path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = lnn.sweep(values, OVER, output=tmp_path / "out")
    assert (found.status == "done").all() and any("task.npz" in str(w.message) for w in said)


# --- axes of every kind


AXES = {
    "theory": [["infinite_width"], ["scale_mixture", "infinite_width"], []],
    "seed": [0, 2**63 - 1],
    "precision": ["float32", "float64"],
    "data.standardize": [True, False],
    "data.noise_variance": [0, 0.5],
    "data.source": ["random", "teacher_linear"],
    "data.classes": [[0, 1], [2, 3], [[0, 2], [1, 3]]],
    "data.targets": [[-1, 1], "one_hot"],
    "data.targets[0]": [-1, -2.0],
    "network.hidden_widths": [[3], [3, 3], []],
    "network.activation": ["erf", "relu"],
    "network.biases": [False, True],
    "network.architecture": ["fully_connected", "convolutional"],
    "posterior.readout": ["sampled", "marginalised"],
    "posterior.loss": ["squared", "hinge", "logistic"],
    "sampler.dynamics": ["langevin", "split"],
    "sampler.step_size": ["auto", 0.1],
    "sampler.ladder": [[], [1.0], [1.0, 2.0]],
    "sampler.num_chains": [2, 3],
}
DRAWN = ("theory", "data.classes", "network.biases")


@pytest.mark.slow_except("data.targets")
@pytest.mark.exhaustive_except(
    "network.activation", "data.targets", "posterior.loss",
    "sampler.ladder", "seed", "network.hidden_widths",
)  # fmt: skip
@pytest.mark.parametrize("field", AXES)
def test_a_sweep_over_any_kind_of_field(whole, tmp_path, field, monkeypatch):  # FAULTS 3.4
    """Points with the numbers of another sweep's, at these places: collected, shown and drawn."""
    if field not in DRAWN:
        monkeypatch.setattr(plotting, "images", lambda figures: dict.fromkeys(figures, b"drawn"))
    values = tomllib.loads(SHORT_GRID)
    del values["theory"], values["seed"]
    over = {field: AXES[field], "posterior.temperature": [0.5, 0.7]}
    folder = SweepFolder.begin(tmp_path / "axis", grid.grid(values, over), 32)
    like = whole.run(list(whole.points)[0])
    for point, config in folder.points.items():
        there = folder.run(point)
        there.path.mkdir()
        write_text(there.path / "config.toml", config.to_toml())
        shutil.copy(like.path / "posterior.nc", there.path)
        there.finish(like.load_manifest() | {"run_id": point}, like.load_summary())
    found = engine.gather(folder)
    assert (found.status == "done").all() and found.bias2.shape == folder.grid.shape
    xr.testing.assert_identical(results.load(folder.results), found)
    again = SweepFolder.existing(folder.path)
    assert again.grid.content_hash == folder.grid.content_hash
    assert "6 done" in report.report(again, found, 6) or len(folder.points) != 6
    assert f"{len(folder.points)} done" in report.standing(again, status.status(again), found)
    lnn.report(folder.path)
    if field == "theory":
        assert found.bias2.dims == ("theories", "posterior.temperature")
        assert found.theory_bias2.dims == ("theories", "posterior.temperature", "theory")
        labels = found.theories.values.tolist()
        assert labels == ['["infinite_width"]', '["scale_mixture", "infinite_width"]', "[]"]
        table = report.report(again, found, 6)  # by the key that was written
        assert table.split()[0] == "theory" and "theory (3)" in report.standing(
            again, status.status(again), found
        )
        page = (folder.path / "report.html").read_text()
        assert '<th scope="col">theory</th>' in page and '<th scope="col">theories</th>' not in page


@pytest.mark.slow
def test_a_sweep_over_theory_from_beginning_to_end(tmp_path):  # FAULTS 3.4
    config = configuration.from_dict(tomllib.loads(SHORT_GRID))
    config = dataclasses.replace(config, theory=None)
    found = lnn.sweep(config, {"theory": AXES["theory"]}, output=tmp_path / "out")
    assert (found.status == "done").all()
    there = np.isfinite(found.theory_bias2.transpose("theories", "theory"))
    assert there.values.tolist() == [[True, False], [True, True], [False, False]]
    lnn.report(tmp_path / "out")


# --- what is no file


def folder(path):
    path.mkdir()


def link_to_nowhere(path):
    path.symlink_to("nowhere")


def pipe(path):
    os.mkfifo(path)


def file(path):
    path.write_text("")


def in_place(path, put):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    put(path)


@pytest.mark.parametrize("put", [folder, link_to_nowhere, pipe])
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_in_the_place_of_one_is_a_missing_point(whole, name, put):  # FAULTS 3.3
    first, second = whole.points
    in_place(whole.run(second).path / name, put)
    again = SweepFolder.existing(whole.path)
    assert lnn.collect(whole.path).status.values.tolist() == ["done", "missing"]
    assert (status.status(again).done, status.status(again).missing) == (1, 1)
    (line,) = report.damaged(again, again.tasks)
    assert str(whole.run(second).path / name) in line and "\n" not in line
    again.discard(second)
    assert again.damage(second) == ""


@pytest.mark.slow
def test_a_folder_in_the_place_of_a_file_keeps_what_is_in_it(cli, whole):  # FAULTS 3.3
    first, second = (whole.run(point).path / "posterior.nc" for point in whole.points)
    first.unlink()
    first.mkdir()
    (first / "mine.txt").write_text("years of work")
    second.unlink()
    second.mkdir()
    answer = cli(*WORDS, "--quiet")
    assert answer.code == 1
    assert f"{first.parent.name}/posterior.nc" in answer.err and "move it away" in answer.err
    assert (first / "mine.txt").read_text() == "years of work" and second.is_file()
    shutil.move(first, cli.folder / "mine")
    assert cli(*WORDS, "--quiet").code == 3 and first.is_file()


def test_what_each_point_costs_a_status_and_a_report(cli, whole, monkeypatch):
    """FAULTS 3.7: by what there is to count, one configuration made into a hash a point."""
    made, read = [], []
    to_dict, open_ = configuration.RunConfig.to_dict, io.open

    def counted(config):
        made.append(config)
        return to_dict(config)

    def opened(path, *args, **kwargs):
        read.append(str(path))
        return open_(path, *args, **kwargs)

    monkeypatch.setattr(configuration.RunConfig, "to_dict", counted)
    monkeypatch.setattr(io, "open", opened)
    assert cli("sweep", "--status", "out").code == 0
    assert len(made) <= 2 * len(whole.points)
    for point in whole.points:
        files = [Path(name).name for name in read if point in name]
        assert files and max(files.count(name) for name in files) <= 3 and len(files) <= 9, files


@pytest.mark.slow_except("folder", "link_to_nowhere")
@pytest.mark.exhaustive_except("folder", "link_to_nowhere")
@pytest.mark.parametrize("put", [folder, link_to_nowhere, pipe, file])
def test_what_is_no_file_of_the_sweep_is_sampled_over(whole, put):  # FAULTS 3.3
    """Everywhere at once: whatever is there of these two points, and of how they had failed."""
    reference = lnn.collect(whole.path)
    first, second = whole.points
    for name in FILES:
        in_place(whole.run(first).path / name, put)
    (only,) = whole.tasks
    checkpoint = whole.batch(only, (first, second))
    for path in (
        whole.run(second).path, whole.path / "failed" / f"{first}.json", checkpoint / "state.npz",
        whole.run(first).path / ".config.toml.part", whole.path / "tasks/data.json",
    ):  # fmt: skip
        in_place(path, put)
    assert not lnn.collect(whole.path).status.isin(["done"]).any()
    status.status(SweepFolder.existing(whole.path))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = lnn.sweep(tomllib.loads(SHORT_GRID), OVER, output=whole.path)
    assert (found.status == "done").all(), found.reason.values
    assert sum("it is sampled again" in str(w.message) for w in said) >= 1
    xr.testing.assert_equal(found.drop_vars("seconds"), reference.drop_vars("seconds"))
    assert (whole.path / "nowhere").exists() is False
