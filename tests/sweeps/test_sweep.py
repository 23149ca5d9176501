"""Sweeps: points are what they are alone, nothing is lost, nothing is computed twice."""

import contextlib
import dataclasses
import json
import os
import shlex
import shutil
import signal
import sys
import threading
import time
import tomllib
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from cases import SHORT_GRID, TINY_GRID
from command_line import unsealed
from refusals import refused, refuses, untouched

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn.errors import InputError
from langevin_nn.model import input_space
from langevin_nn.runs import data, run
from langevin_nn.runs.folder import RunFolder
from langevin_nn.sampling.engine import driver
from langevin_nn.sweeps import engine, executors, grid, report, results, slurm, task
from langevin_nn.sweeps.axes import over_of
from langevin_nn.sweeps.folder import SweepFolder

# One shape for all tests of this file, so that they share their programs.
OVER = {"posterior.temperature": [0.0, 0.5], "prior.precisions[-1]": [0.5, 2.0]}
WORDS = ["--over", "posterior.temperature=0,0.5", "--over", "prior.precisions[-1]=0.5,2"]
T, LAMBDA = OVER
NUMBERS = ("bias2", "variance", "generalisation_error", "train_error", "rhat_max", "ess_min")


def values():
    return tomllib.loads(SHORT_GRID)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an undisturbed sweep: T = 0 cannot be sampled, two points can."""
    path = tmp_path_factory.mktemp("whole") / "sweep"
    lnn.sweep(configuration.from_dict(values()), OVER, output=path)
    return SweepFolder.existing(path)


@pytest.fixture
def begun(tmp_path):
    """The folder of the same sweep, nothing computed yet."""
    return SweepFolder.begin(tmp_path / "sweep", grid.grid(values(), OVER), 32)


@pytest.fixture
def tiny():
    return SHORT_GRID


def cold_and_warm(folder):
    """The hashes of the two points at T = 0, and of the two that can be sampled."""
    points = list(folder.points)
    return points[:2], points[2:]


def task_of(folder):
    (found,) = [t for t in folder.tasks if set(cold_and_warm(folder)[1]) <= set(t.points)]
    return found


def draws(run_folder):
    with xr.open_datatree(run_folder.path / "posterior.nc", engine="h5netcdf") as tree:
        return tree["posterior"]["f"].to_numpy()


def run_alone(config, path):
    """The folder of a run of this configuration."""
    folder = RunFolder(path / "alone")
    problem = run.prepare(config)
    with folder.claimed(problem.config, resume=False, overwrite=False):
        run.run(problem, folder, figures=False)
    return folder


def written(folder):
    """When each file of the points was written."""
    top = folder.path / "points"
    return {str(p.relative_to(top)): p.stat().st_mtime_ns for p in top.rglob("*") if p.is_file()}


def assert_same_numbers(folder, reference):
    for point in cold_and_warm(reference)[1]:
        np.testing.assert_array_equal(draws(folder.run(point)), draws(reference.run(point)))
    mine, theirs = results.collect(folder.path), results.collect(reference.path)
    xr.testing.assert_equal(mine.drop_vars("seconds"), theirs.drop_vars("seconds"))


# --- the points


@pytest.mark.slow
def test_a_point_is_what_it_is_alone(whole, tmp_path):
    """Numbers to rounding, files and configuration to the letter."""
    _, (_, point) = cold_and_warm(whole)  # not the first of its batch
    folder = run_alone(whole.points[point], tmp_path)
    alone, mine = (f.load_summary().to_json() for f in (folder, whole.run(point)))
    np.testing.assert_allclose(draws(whole.run(point)), draws(folder), rtol=1e-9)
    for name in NUMBERS[:4]:
        expected = alone["experiment"][name]
        assert mine["experiment"][name] == pytest.approx(expected, rel=1e-7), name
    for name, theory in alone["theory"].items():
        assert mine["theory"][name]["variance"] == pytest.approx(theory["variance"], rel=1e-9)
    assert mine.keys() == alone.keys() and mine["experiment"].keys() == alone["experiment"].keys()
    assert whole.run(point).load_config() == folder.load_config()
    names = {"config.toml", "manifest.json", "posterior.nc", "summary.json", "last_state.npz"}
    assert {p.name for p in whole.run(point).path.iterdir()} == names
    manifest = json.loads((whole.run(point).path / "manifest.json").read_text())
    assert manifest["run_id"] == point and manifest["wall_seconds"] > 0


@pytest.mark.slow
def test_with_a_target_error_each_point_ends_by_itself(tmp_path):
    """Points side by side would all go on until the last of them is done."""
    sampler = {"num_chains": 4, "num_warmup": 20, "dynamics": "split", "target_error": 0.2}
    config = configuration.from_dict(values() | {"sampler": sampler})
    lnn.sweep(config, {LAMBDA: [0.01, 10.0]}, output=tmp_path / "sweep")
    folder = SweepFolder.existing(tmp_path / "sweep")
    numbers = []
    for point in folder.points:
        alone = run_alone(folder.points[point], tmp_path / point)
        np.testing.assert_array_equal(draws(folder.run(point)), draws(alone))
        numbers.append(draws(alone).shape[1])
    assert len(folder.tasks) == 1 and len(set(numbers)) == 2


@pytest.mark.slow
def test_another_seed_has_its_own_data_and_noise_in_a_batch(tmp_path):
    config = configuration.from_dict(values() | {"posterior": {"temperature": 0.5}})
    lnn.sweep(config, seeds=2, output=tmp_path / "sweep")
    folder = SweepFolder.existing(tmp_path / "sweep")
    first, second = (draws(folder.run(point)) for point in folder.points)
    assert len(folder.tasks) == 1 and not np.allclose(first, second)
    alone = run_alone(dataclasses.replace(config, seed=config.seed + 1), tmp_path)
    np.testing.assert_allclose(second, draws(alone), rtol=1e-9)


@pytest.mark.slow
def test_failed_points_have_their_reason_and_no_folder(whole):
    cold, _ = cold_and_warm(whole)
    for point in cold:
        assert "temperature must be positive" in whole.failure(point)["reason"]
        assert not whole.run(point).path.exists()


def test_one_decomposition_for_the_whole_grid(begun, monkeypatch):
    task.shared_decompositions.cache_clear()
    monkeypatch.setattr(task, "sample_points", stop)
    with pytest.raises(Stop):
        task.work(begun, task_of(begun), {})
    assert task.shared_decompositions().computed == 1


class Stop(BaseException):
    """Ends the process, as far as the sweep can tell."""


def stop(*_, **__):
    raise Stop


def test_the_dataset_has_the_numbers_of_the_summaries(whole):
    found = results.collect(whole.path)
    assert found.bias2.dims == (T, LAMBDA) and found.bias2.shape == (2, 2)
    assert found.theory_bias2.dims == (T, LAMBDA, "theory")
    assert list(found.theory.values) == ["infinite_width", "scale_mixture"]
    assert found.status.values.tolist() == [["failed", "failed"], ["done", "done"]]
    for index, point in enumerate(cold_and_warm(whole)[1]):
        summary = whole.run(point).load_summary().to_json()
        here = found.sel({T: 0.5, LAMBDA: [0.5, 2.0][index]})
        experiment = summary["experiment"]
        for name in NUMBERS[:4]:
            assert float(here[name]) == experiment[name]["value"]
            assert float(here[f"{name}_mcse"]) == experiment[name]["mcse"] > 0
            shift = experiment["step_size_bias"][name]
            assert float(here[f"{name}_step_size_shift"]) == shift["value"] != 0
            assert float(here[f"{name}_step_size_shift_mcse"]) == shift["mcse"] > 0
        assert not here.step_size_shift_unknown
        assert float(here.rhat_max) == experiment["rhat_max"] > 1
        assert float(here.seconds) == experiment["wall_seconds"] > 0
        assert not bool(here.converged) and "R̂ = " in str(here.message.values)
        assert float(here.criterion) == summary["criterion"]
        assert str(here.point.values) == point
        for name, theory in summary["theory"].items():
            there = here.sel(theory=name)
            assert float(there.theory_variance) == theory["variance"] > 0
            assert float(there.theory_log_evidence) == theory["log_evidence"]
            orders = [q for q in there.order_parameter.values if not np.isnan(q)]
            assert orders == theory["order_parameters"]
        assert float(here.theory_variance_mcse.sel(theory="infinite_width")) == 0
    failed = found.sel({T: 0.0})
    for name in (*NUMBERS, "acceptance", "criterion", "seconds", "theory_bias2"):
        assert np.isnan(failed[name].values).all(), name
    assert not failed.theory_converged.any() and not failed.step_size_shift_unknown.any()
    assert all("temperature must be positive" in reason for reason in failed.reason.values)
    assert found.attrs["grid_hash"] == whole.grid.content_hash
    assert grid.grid(tomllib.loads(found.attrs["config"])).points == whole.grid.points
    assert json.loads(found.attrs["versions"])["jax"]


def test_results_nc_is_the_dataset(whole):
    xr.testing.assert_identical(results.load(whole.path / "results.nc"), lnn.collect(whole.path))


def edited(folder, point, **changes):
    """The point's experiment in its summary with these changes; None takes the key away."""
    unsealed(folder.run(point).path)
    path = folder.run(point).path / "summary.json"
    summary = json.loads(path.read_text())
    for name, value in changes.items():
        summary["experiment"][name] = value
        if value is None:
            del summary["experiment"][name]
    path.write_text(json.dumps(summary))


def test_shifts_by_the_step_size_are_marked_in_the_table(whole, tmp_path):
    """As large as the number, of an amount that is not known, of an earlier version, none."""
    folder = SweepFolder.existing(shutil.copytree(whole.path, tmp_path / "sweep"))
    names = NUMBERS[:4]

    def rows(first, second):
        for point, change in zip(cold_and_warm(folder)[1], (first, second), strict=True):
            edited(folder, point, **change)
        found = lnn.collect(folder.path)
        lines = report.report(folder, found, 0).splitlines()
        marked = [line for line in lines if line.startswith("0.5")]
        notes = [line for line in lines if line.startswith(("†", "‡"))]
        return found.sel({T: 0.5}), [(row.count("†"), row.count("‡")) for row in marked], notes

    def shift(value, mcse):
        return {"step_size_bias": dict.fromkeys(names, {"value": value, "mcse": mcse})}

    found, marks, notes = rows(shift(9.0, 0.1), shift(None, None))
    assert marks == [(4, 0), (0, 4)] and len(notes) == 2
    assert found.step_size_shift_unknown.values.tolist() == [False, True]
    assert found.variance_step_size_shift.values[0] == 9
    metropolis = {"step_size_bias": None, "acceptance": 0.9, "unadjusted": False}
    found, marks, notes = rows({"step_size_bias": None}, {**shift(0.0, 0.0), **metropolis})
    assert marks == [(0, 4), (0, 0)] and [note[0] for note in notes] == ["‡"]
    for name in names:
        np.testing.assert_array_equal(found[f"{name}_step_size_shift"], [np.nan, 0])
        np.testing.assert_array_equal(found[f"{name}_step_size_shift_mcse"], [np.nan, 0])
    assert found.step_size_shift_unknown.values.tolist() == [True, False]


def test_results_of_a_sweep_that_has_just_begun(begun):
    found = lnn.collect(begun.path)
    assert (found.status == "missing").all() and np.isnan(found.bias2).all()
    assert found.sizes["theory"] == 0 and (found.reason == "").all()
    results.save(begun, found)
    xr.testing.assert_identical(results.load(begun.results), found)


# --- again, and after an interruption


def test_finished_points_are_skipped_and_failed_ones_tried_again(whole, monkeypatch):
    before = written(whole)
    attempts = whole.attempts()
    asked = []
    prepare = run.prepare
    monkeypatch.setattr(run, "prepare", lambda c, **how: asked.append(c) or prepare(c, **how))
    monkeypatch.setattr(task, "sample_points", stop)
    found = lnn.sweep(configuration.from_dict(values()), OVER, output=whole.path)
    assert [config.posterior.temperature for config in asked] == [0.0, 0.0]
    assert written(whole) == before
    assert whole.attempts().keys() == attempts.keys()
    assert not set(whole.attempts().values()) & set(attempts.values())
    xr.testing.assert_identical(found, lnn.collect(whole.path))


def test_configuration_as_nested_values_with_its_table(whole, monkeypatch):
    """The same grid, so that everything finished is there already; slurm's settings are read."""
    monkeypatch.setattr(task, "sample_points", stop)
    given = []
    monkeypatch.setattr(executors, "check", lambda **settings: given.append(settings))
    table = {"over": OVER, "workers": 1, "slurm": {"queue": "gpu"}}
    found = lnn.sweep(values() | {"sweep": table}, output=whole.path)
    xr.testing.assert_identical(found, lnn.collect(whole.path))
    assert given == [{"executor": "serial", "workers": 1, "slurm": {"queue": "gpu"}}]
    with pytest.raises(InputError, match='unknown key "sweep.overs"'):
        lnn.sweep(values() | {"sweep": {"overs": OVER}}, output=whole.path)


@pytest.mark.slow
def test_a_failed_point_that_can_be_run_again_is_no_longer_failed(begun, whole, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(run, "prepare", lambda _, **how: 1 / 0)
        assert engine.work_off(begun, begun.tasks) == ()
    reasons = {begun.failure(point)["reason"] for point in begun.points}
    assert reasons == {"ZeroDivisionError: division by zero"}
    _, warm = cold_and_warm(begun)
    assert engine.work_off(begun, begun.tasks) == tuple(warm)
    assert begun.attempts().keys() == set(cold_and_warm(begun)[0])
    assert_same_numbers(begun, whole)


def interrupted(folder, monkeypatch, steps):
    """Work on the task that ends after so many of its 22 steps."""

    def end(report):
        if report.steps >= steps:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(driver, "FIRST_CHUNK_STEPS", 2)
        patch.setattr(driver, "CHUNK_SECONDS", 1e-9)
        with pytest.raises(Stop):
            task.work(folder, task_of(folder), {}, end)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [4, 14, 22])
def test_an_interrupted_batch_goes_on_from_its_checkpoint(begun, whole, monkeypatch, steps):
    """Also where all is sampled and nothing is written; `--status` shows it."""
    interrupted(begun, monkeypatch, steps)
    (line,) = report.under_way(begun)
    assert task_of(begun).name in line and "interrupted" in line
    (points,) = begun.batches(task_of(begun))
    assert points == tuple(cold_and_warm(begun)[1])
    assert begun.fractions(task_of(begun))[points[0]] == pytest.approx(steps / 22, abs=0.1)
    told = []
    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", 1)
    assert task.work(begun, task_of(begun), {}, told.append) == points
    assert not told or told[0].steps in (steps + 1, steps + 2), "it began anew"
    assert_same_numbers(begun, whole)
    assert not report.under_way(begun)
    assert not begun.batches(task_of(begun))
    assert {path.name for path in (begun.path / "tasks" / task_of(begun).name).iterdir()} == {
        "lock"
    }


@pytest.mark.slow
def test_interrupted_between_the_points_of_a_batch(begun, whole, monkeypatch):
    """The finished one stays as it is, the other one comes from the same draws."""
    _, (first, second) = cold_and_warm(begun)
    keep = run.keep

    def once(problem, folder, *words, **settings):
        if folder.path.name == second:
            raise Stop
        keep(problem, folder, *words, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(run, "keep", once)
        with pytest.raises(Stop):
            task.work(begun, task_of(begun), {})
    assert begun.run(first).is_finished and not begun.run(second).is_finished
    before = {name: when for name, when in written(begun).items() if first in name}
    told = []
    assert task.work(begun, task_of(begun), {}, told.append) == (second,)
    assert not told, "the batch had been sampled to the end"
    assert before.items() <= written(begun).items()
    assert_same_numbers(begun, whole)


@pytest.mark.slow
def test_a_damaged_checkpoint_begins_anew(begun, whole, monkeypatch):
    interrupted(begun, monkeypatch, 14)
    (folder,) = begun.batches(task_of(begun)).values()
    content = (folder / "state.npz").read_bytes()
    (folder / "state.npz").write_bytes(content[: len(content) // 2])
    assert len(task.work(begun, task_of(begun), {})) == 2
    assert_same_numbers(begun, whole)


# --- points that fail together with others


@pytest.mark.slow
def test_a_batch_that_fails_is_run_point_by_point(begun, whole, monkeypatch):
    sample, asked = task.sample_points, []

    def fragile(points, *words, **settings):
        precisions = [float(point.prior.precisions[-1]) for point in points]
        asked.append(precisions)
        if 0.5 in precisions:
            raise RuntimeError("out of\nmemory")
        return sample(points, *words, **settings)

    monkeypatch.setattr(task, "sample_points", fragile)
    _, (bad, good) = cold_and_warm(begun)
    assert task.work(begun, task_of(begun), {}) == (good,)
    assert asked == [[0.5, 2.0], [0.5], [2.0]]
    assert begun.failure(bad)["reason"] == "RuntimeError: out of memory"
    np.testing.assert_allclose(draws(begun.run(good)), draws(whole.run(good)), rtol=1e-9)


def test_a_point_whose_chains_all_diverge_leaves_the_others(begun, whole, monkeypatch):
    sample = task.sample_points

    def diverging(*words, **settings):
        first, second = sample(*words, **settings)
        lost = np.full_like(first.energy, np.nan)
        return [dataclasses.replace(first, energy=lost), second]

    monkeypatch.setattr(task, "sample_points", diverging)
    _, (bad, good) = cold_and_warm(begun)
    assert task.work(begun, task_of(begun), {}) == (good,)
    assert "every chain diverged" in begun.failure(bad)["reason"]
    np.testing.assert_array_equal(draws(begun.run(good)), draws(whole.run(good)))


def test_the_data_of_a_task_are_loaded_once(tmp_path, monkeypatch):
    """Its input space is made once, too; another seed has data of its own, which come next."""
    asked, made, load = [], [], data.load_dataset
    space = input_space.InputSpace.__init__
    monkeypatch.setattr(data, "load_dataset", lambda *a, **b: asked.append(a) or load(*a, **b))
    monkeypatch.setattr(
        input_space.InputSpace, "__init__", lambda self, *a: made.append(a) or space(self, *a)
    )
    monkeypatch.setattr(task, "sample_points", lambda *_, **__: 1 / 0)
    over = {"seed": [1, 2], "posterior.temperature": [0.1, 0.2, 0.3]}
    folder = SweepFolder.begin(tmp_path / "s", grid.grid(values(), over), 32)
    (everything,) = folder.tasks
    assert task.work(folder, everything, {}) == ()
    assert all(folder.failure(point) for point in folder.points)
    assert (len(asked), len(made)) == (2, 2)


def test_points_of_other_shapes_are_batches_of_their_own(tmp_path, monkeypatch):
    """The rank of the inputs, and so the shapes, may differ with the seed of the data."""
    prepare = run.prepare

    def flat(config, **how):
        problem = prepare(config, **how)
        if config.seed == 1:
            return problem
        data = dataclasses.replace(problem.data, x_train=problem.data.x_train[:, [0, 0, 1]])
        prior = problem.posterior.prior
        posterior = lnn.GibbsPosterior(problem.posterior.network, prior, data, 0.5)
        return dataclasses.replace(problem, data=data, posterior=posterior)

    asked = []
    monkeypatch.setattr(run, "prepare", flat)
    monkeypatch.setattr(task, "sample_points", lambda p, *_, **__: asked.append(len(p)) or 1 / 0)
    folder = SweepFolder.begin(tmp_path / "s", grid.grid(values(), {"seed": [1, 2, 3]}), 32)
    engine.work_off(folder, folder.tasks)
    assert asked == [1, 2, 1, 1]


@pytest.mark.slow
def test_a_ladder_is_run_alone_and_goes_on(tmp_path, monkeypatch):
    """From the checkpoint in its own run folder; a damaged one begins anew."""
    ladder = values() | {"sampler": values()["sampler"] | {"ladder": [1.0, 2.0]}}
    wanted = grid.grid(ladder, {"posterior.temperature": [0.5]})
    whole, folder = (SweepFolder.begin(tmp_path / name, wanted, 32) for name in ("a", "b"))
    (point,) = whole.points
    assert engine.work_off(whole, whole.tasks) == (point,)
    assert len(whole.run(point).load_summary().tempering.rungs) == 3

    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", 2)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)

    def end(report):
        if report.steps >= 12:
            raise Stop

    for damage in (False, True):
        with pytest.raises(Stop):
            task.work(folder, folder.tasks[0], {}, end)
        state = folder.run(point).checkpoint / "state.npz"
        assert 0.4 < folder.fractions(folder.tasks[0])[point] < 1
        if damage:
            state.write_bytes(state.read_bytes()[:100])
        told = []
        assert task.work(folder, folder.tasks[0], {}, told.append) == (point,)
        assert (told[0].steps < 5) == damage
        np.testing.assert_array_equal(draws(folder.run(point)), draws(whole.run(point)))
        shutil.rmtree(folder.run(point).path)


def test_a_task_that_ends_its_workers_again_and_again(begun, monkeypatch):
    @contextlib.contextmanager
    def started(*_):
        yield lambda _, tasks, *__: (executors.Outcome(each, (), "KilledWorker") for each in tasks)

    monkeypatch.setattr(executors, "started", started)
    assert engine.work_off(begun, begun.tasks) == ()
    reasons = {begun.failure(point)["reason"] for point in begun.points}
    assert reasons == {"its worker died (KilledWorker)"}


# --- several processes


def test_a_task_that_another_process_has_is_left_to_it(begun):
    with begun.claimed(task_of(begun)) as mine:
        assert mine
        assert task.work(begun, task_of(begun), {}) is None
        assert str(os.getpid()) in begun.holder(task_of(begun))
    assert begun.holder(task_of(begun)) is None


def test_a_sweep_waits_for_what_another_one_computes(begun, whole, monkeypatch):
    """It neither computes it again nor ends without it."""
    monkeypatch.setattr(task, "sample_points", stop)
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.01)
    cold, warm = cold_and_warm(begun)
    held, let_go = threading.Event(), threading.Event()

    def other():
        with begun.claimed(task_of(begun)):
            held.set()
            let_go.wait(30)
            for point in warm:
                shutil.copytree(whole.run(point).path, begun.run(point).path)
            for point in cold:
                begun.record_failure(point, "it cannot be sampled")

    asked, holder = [], begun.holder

    def looked_up(_, each):  # once it waits, and has not seen any of the other's points before
        asked.append(each)
        if len(asked) == 3:
            let_go.set()
        return holder(each)

    told = []
    thread = threading.Thread(target=other)
    thread.start()
    assert held.wait(30)
    monkeypatch.setattr(type(begun), "holder", looked_up)
    assert engine.work_off(begun, begun.tasks, progress=told.append) == ()
    assert len(asked) >= 3, "it has not waited"
    thread.join()
    assert told[-1].done == 2 and told[-1].failed == 2
    reasons = {begun.failure(point)["reason"] for point in cold}
    assert reasons == {"it cannot be sampled"}, "it was tried again at once"


def test_what_another_process_left_unfinished_is_taken_up(begun, monkeypatch):
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.01)
    held = threading.Event()

    def other():
        with begun.claimed(task_of(begun)):
            held.set()
            time.sleep(0.3)

    threading.Thread(target=other).start()
    held.wait(30)
    assert set(engine.work_off(begun, begun.tasks)) == set(cold_and_warm(begun)[1])


def test_a_folder_is_begun_by_one_of_two(tmp_path):
    """The plan of the first one holds, whatever the second one would have planned."""
    wanted = grid.grid(values(), OVER)
    first = SweepFolder.begin(tmp_path / "sweep", wanted, 32)
    second = SweepFolder.begin(tmp_path / "sweep", wanted, 1)
    assert second.tasks == first.tasks and len(first.tasks) == 1


# --- executors


# Found, not imported: its import alone changes what Ctrl-C does.
with_jobqueue = pytest.mark.skipif(not find_spec("dask_jobqueue"), reason="needs dask_jobqueue")


@with_jobqueue
def test_job_script_of_slurm():
    settings = {"queue": "gpu", "cores": 8, "memory": "16GB", "walltime": "04:00:00",
                "account": "physics", "job_extra_directives": ["--gres=gpu:1"]}  # fmt: skip
    ctrl_c = signal.getsignal(signal.SIGINT)
    with slurm.slurm_cluster(settings) as cluster:
        script = cluster.job_script()
    assert signal.getsignal(signal.SIGINT) is ctrl_c
    for line in ("-p gpu", "-A physics", "--cpus-per-task=8", "--mem=15G", "-t 04:00:00",
                 "--gres=gpu:1"):  # fmt: skip
        assert f"#SBATCH {line}\n" in script
    assert sys.executable in script and "--nthreads 1 " in script, "one task at a time"


@with_jobqueue
@pytest.mark.parametrize(
    ("workers", "settings", "words"),
    [
        (2, {}, ["cores", "memory"]),
        (2, {"cores": 2, "memory": "1GB", "quue": "x"}, ["quue"]),
        (None, {"cores": 2, "memory": "1GB"}, ["workers"]),
        (2, {"cores": 2, "memory": "1GB"}, ["sbatch", "PATH"]),
    ],
)
def test_what_slurm_does_not_take(monkeypatch, workers, settings, words):
    monkeypatch.setenv("PATH", "")  # where no job can be submitted from
    with refuses(*words):
        executors.check("slurm", workers, settings)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('executor = "locla"', ["executor", "'locla'", "serial, local, slurm"]),
        ("executor = 3", ["executor", "3"]),
        ("workers = 0", ["workers", "0"]),
        ("workers = true", ["workers", "True"]),
        ("workers = 3", ['executor = "local"', "workers"]),
    ],
)
def test_how_to_work_off_a_grid_as_the_table_has_it(cli, table, words):
    over = f'[sweep]\n{table}\n[sweep.over]\n"prior.precisions[-1]" = [1, 2]\n'
    (cli.folder / "grid.toml").write_text(TINY_GRID + over)
    with untouched():
        refused(cli("sweep", "grid.toml", "--output", "sweep"), *words)


@pytest.mark.slow_except(
    "JAX_ENABLE_X64-maybe-truth value",
    "XLA_FLAGS---nosuch-Unknown flag",
    "JAX_TRANSFER_GUARD-disallow-Disallowed",
)
@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("JAX_PLATFORMS", "cpu,nope", "'nope'"),
        pytest.param("JAX_ENABLE_X64", "maybe", "truth value", marks=pytest.mark.slow),
        pytest.param("XLA_FLAGS", "--nosuch", "Unknown flag", marks=pytest.mark.slow),
        pytest.param("JAX_TRANSFER_GUARD", "disallow", "Disallowed", marks=pytest.mark.slow),
    ],
)
def test_workers_that_cannot_start_are_known_before_the_sweep(
    tmp_path, monkeypatch, variable, value, reason
):
    """FAULTS 5: every point failed, one by one. The variable may have been set after JAX was
    imported."""
    pytest.importorskip("distributed")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setenv("JAX_LOG_COMPILES", "0")  # another one, which is right
    monkeypatch.setenv(variable, value)
    with refuses(f"{variable} = '{value}'", reason, "unset"):
        lnn.sweep(configuration.from_dict(values()), OVER, output=tmp_path / "s", executor="local")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("platforms", "complains"), [("cuda", False), ("tpu,nope", True)])
def test_nodes_of_a_cluster_may_have_other_devices(monkeypatch, platforms, complains):
    def complaint(*variables):
        if "nope" in dict(variables).get("JAX_PLATFORMS", ""):
            return "RuntimeError: Backend 'nope' is not in the list of known backends"
        return "AssertionError" if "JAX_PLATFORMS" in dict(variables) else ""

    monkeypatch.setattr(executors, "_complaint_about", complaint)
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    with refuses("JAX_PLATFORMS"):
        executors._require_startable("local")
    with refuses("JAX_PLATFORMS") if complains else contextlib.nullcontext():
        executors._require_startable("slurm")


def test_workers_that_do_not_start(monkeypatch):
    """As in a script that calls `sweep` while it is imported: it ended in Dask's traceback."""
    distributed = pytest.importorskip("distributed")

    def fails(**_):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(distributed, "LocalCluster", fails)
    with refuses("2 worker", "Nanny failed to start", "__main__"), executors.started("local", 2):
        pass


def test_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with refuses("langevin_nn[dask]"):
        executors.check("local", None, {})


# --- the command line


def test_command_and_its_codes(cli, whole, monkeypatch):
    answer = cli("sweep", "tiny.toml", *WORDS, "--output", "out")
    assert answer.code == 1, answer
    assert "2 done (2 of them now), 2 failed, 2 not converged" in answer.out
    for reason, (cold, last) in zip(
        ("temper", "temper", "R̂ = ", "R̂ = "), product((0.0, 0.5), (0.5, 2.0)), strict=True
    ):
        place = f"{T} = {cold}, {LAMBDA} = {last}"
        assert any(place in line and reason in line for line in answer.out.splitlines()), place
    assert "  0 %" in answer.err and "100 %" in answer.err
    assert_same_numbers(SweepFolder.existing(Path("out")), whole)
    numbers = lnn.collect("out").sel({T: 0.5, LAMBDA: 2.0})
    assert f"{float(numbers.criterion):.4g}" in answer.out

    monkeypatch.setattr(task, "sample_points", stop)
    answer = cli("sweep", "tiny.toml", *WORDS, "--output", "out", "--quiet")
    assert (answer.code, answer.out, answer.err) == (1, "", "")
    status = cli("sweep", "--status", "out")
    assert status.code == 0 and "2 done, 2 failed, 0 missing" in status.out
    assert T in status.out and LAMBDA in status.out and "R̂ = " in status.out


def test_code_of_points_that_have_not_converged_and_of_those_that_have(cli, whole):
    """The folder of a sweep whose points are finished; their verdict is the code."""
    words = ["sweep", "tiny.toml", "--over", "prior.precisions[-1]=0.5,2", "--output", "out"]
    folder = SweepFolder.begin(
        Path("out"), grid.load(Path("tiny.toml"), None, over_of(words[3:4])), 1
    )
    for point in folder.points:
        shutil.copytree(whole.run(point).path, folder.run(point).path)
    assert cli(*words).code == 3
    for point in folder.points:
        unsealed(folder.run(point).path)
        path = folder.run(point).path / "summary.json"
        text = path.read_text()
        path.write_text(text.replace('"converged": false', '"converged": true'))
    answer = cli(*words)
    assert answer.code == 0 and "2 done (0 of them now)" in answer.out


def test_every_nth_task(cli, whole):
    """Parts of one folder, as the elements of a job array run them."""
    words = ["sweep", "tiny.toml", *WORDS, "--output", "out", "--task"]
    folder = SweepFolder.begin(Path("out"), grid.load(Path("tiny.toml"), None, OVER), 1)
    _, warm = cold_and_warm(folder)
    for point in warm[:1]:
        shutil.copytree(whole.run(point).path, folder.run(point).path)
    answer = cli(*words, "2/4")
    assert answer.code == 3 and "1 done (0 of them now), 3 missing" in answer.out
    answer = cli(*words, "0/4")
    assert answer.code == 1 and "1 failed, 2 missing" in answer.out
    assert "of 1 point done" in answer.err, "progress is that of the part"


def test_interrupted_by_the_user(cli, monkeypatch):
    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", 8)
    monkeypatch.setattr(task, "sample_points", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    words = ["sweep", "tiny.toml", *WORDS, "--output", "out", "--quiet"]
    answer = cli(*words)
    assert (answer.code, answer.out) == (130, "")
    advice = answer.err.partition("langevin-nn ")[2]
    assert shlex.split(advice) == words, "what goes on is to be copied from the line"


BAD = [
    ([], ["--over"]),
    (["--over", "prior.precision=1"], ['"prior.precision"', "prior.precisions"]),
    (["--over", "posterior.temperature=cold"], ["posterior.temperature", "cold"]),
    (
        ["--over", "network.hidden_widths=[5],[5,5]", "--prior.precisions", "1", "1"],
        ["[5, 5]", "precisions"],
    ),
    (["--seeds", "0"], ["seeds"]),
    (["--seeds", "few"], ["--seeds", "few"]),
    (["--seeds", "2", "--executor", "cloud"], ["--executor", "cloud"]),
    (["--seeds", "2", "--workers", "3"], ['executor = "local"']),
    (["--seeds", "2", "--executor", "local", "--workers", "0"], ["workers"]),
    (["--seeds", "2", "--executor", "slurm"], ["cores", "memory"]),
    (["--seeds", "2", "--task", "3/3"], ["--task 3/3"]),
    (["--seeds", "2", "--task", "one"], ["--task one"]),
    (["--seeds", "2", "--data.source", "no such data"], ["no such data"]),
    (["--seeds", "2", "--posterior.temperature", "0"], ["temperature"]),
]


@pytest.mark.parametrize(("words", "fragments"), BAD, ids=lambda words: " ".join(words[:4]))
def test_bad_input_touches_nothing(cli, words, fragments):
    with untouched():
        refused(cli("sweep", "tiny.toml", "--output", "out", *words), *fragments)


def test_folders_that_are_not_this_sweeps(cli, whole):
    shutil.copytree(whole.path, "sweep")
    shutil.copytree(whole.run(cold_and_warm(whole)[1][0]).path, "run")
    Path("own").mkdir()
    Path("own/thesis.tex").touch()
    Path("file").touch()
    with untouched():
        for folder, *words in (
            ("sweep", "another sweep", "seed", "[1, 2]"),
            ("run", "a run"),
            ("own", "thesis.tex"),
            ("file", "file"),
            ("file/below", "file/below"),
        ):
            refused(cli("sweep", "tiny.toml", "--seeds", "2", "--output", folder), folder, *words)
        for folder in ("run", "own", "nowhere"):
            refused(cli("sweep", "--status", folder), folder)
        assert cli("sweep").code == 2


def test_a_grid_is_not_run(cli):
    (cli.folder / "grid.toml").write_text(SHORT_GRID + "[sweep]\nseeds = 2\n")
    for command in ("run", "theory"):
        refused(cli(command, "grid.toml"), "langevin-nn sweep grid.toml")
