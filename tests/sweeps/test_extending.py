"""Finished sweeps that are extended: only points that fall short, from where they have ended."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from cases import TINY
from command_line import with_as_many_devices
from faulty_disk import Killed, disk, sync
from refusals import refused, refuses, untouched
from run_cases import arrays

import langevin_nn as lnn
from langevin_nn.sampling.engine import driver
from langevin_nn.sweeps import engine, extending, grid
from langevin_nn.sweeps.folder import SweepFolder

TEMPERATURES = ["--over", "posterior.temperature=0.1,0.5,1,2"]
MORE = ["--sampler.num_samples", "12"]


@pytest.fixture
def tiny():
    short = TINY.replace("num_warmup = 30", "num_warmup = 6")
    return 'theory = ["infinite_width"]' + short + 'dynamics = "split"\n'


@pytest.fixture
def cli(cli, monkeypatch):
    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", 10)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)
    return cli


def short_at(monkeypatch, temperatures):
    """Let these points fall short, whatever their numbers are."""
    monkeypatch.setattr(
        extending, "_falls_short", lambda run, config: config.posterior.temperature in temperatures
    )


def swept(cli, *words, code=3):
    answer = cli("sweep", "tiny.toml", *TEMPERATURES, "--output", "out", *words)
    assert answer.code == code, answer.err
    return answer


def names(results):
    return results.point.values.tolist()


def draws_of(folder, name):
    return lnn.load_run(folder / "points" / name).chains


def assert_all_points_are_those_of_a_long_sweep(cli):
    answer = cli("sweep", "tiny.toml", *TEMPERATURES, "--output", "whole", "--quiet", *MORE)
    assert answer.code == 3
    mine, theirs = (lnn.collect(cli.folder / name) for name in ("out", "whole"))
    assert names(mine) == names(theirs)
    for name in names(mine):
        left, right = (arrays(cli.folder / top / "points" / name) for top in ("out", "whole"))
        assert left.keys() == right.keys()
        for key, values in left.items():
            np.testing.assert_array_equal(values, right[key], err_msg=key)
    for name in mine.data_vars:
        if name != "seconds":
            np.testing.assert_array_equal(mine[name], theirs[name], err_msg=str(name))
    assert (mine.attrs["config"], mine.attrs["grid_hash"]) == (
        theirs.attrs["config"], theirs.attrs["grid_hash"],
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("weights", [False, True])
def test_where_all_points_fall_short_it_is_the_long_sweep_bit_for_bit(cli, weights):
    content = (cli.folder / "tiny.toml").read_text()
    (cli.folder / "tiny.toml").write_text(content + "keep_weights = true\n" * weights)
    swept(cli, "--quiet")
    first = names(lnn.collect(cli.folder / "out"))
    assert cli("sweep", "out/sweep.toml", "--extend", *MORE, "--quiet").code == 3
    assert not any((cli.folder / "out/points" / name).exists() for name in first)
    assert_all_points_are_those_of_a_long_sweep(cli)
    run = lnn.load_run(cli.folder / "out/points" / names(lnn.collect(cli.folder / "out"))[0])
    (step,) = run.manifest["extensions"]
    assert (step["from_run"], step["from_draws"], step["to_draws"]) == (first[0], 8, 12)
    if weights:
        files = [
            [path.read_bytes() for path in sorted((cli.folder / top).rglob("*weights*"))]
            for top in ("out", "whole")
        ]
        assert len(files[0]) == 4 and files[0] == files[1]


@pytest.mark.slow
def test_only_points_that_fall_short_go_on_and_go_on_again(cli, monkeypatch):
    swept(cli, "--quiet")
    out = cli.folder / "out"
    first = names(lnn.collect(out))
    drawn = [draws_of(out, name) for name in first]
    times = {p: p.stat().st_mtime_ns for p in (out / "points" / first[1]).iterdir()}
    (out / "points" / first[0] / "notes.txt").write_text("not a run's")
    short_at(monkeypatch, (0.1, 2.0))
    answer = swept(cli, "--extend", *MORE)
    assert "2 of the 4 points in out fall short and go on; 2 stay as they are" in answer.err
    assert "4 done (2 of them now)" in answer.out
    second = lnn.collect(out)
    assert names(second)[1:3] == first[1:3] and set(names(second)).isdisjoint((first[0], first[3]))
    assert {path.name for path in (out / "points").iterdir()} == set(names(second))
    assert (out / "points" / names(second)[0] / "notes.txt").read_text() == "not a run's"
    assert {p: p.stat().st_mtime_ns for p in (out / "points" / first[1]).iterdir()} == times
    for i, (name, before) in enumerate(zip(names(second), drawn, strict=True)):
        chains = draws_of(out, name)
        assert chains.energy.shape[1] == (12 if i in (0, 3) else 8)
        np.testing.assert_array_equal(chains.test_outputs[:, :8], before.test_outputs)
    # Everything that reads a sweep reads this one; the same command once more has nothing to do.
    assert "0 of them now" in swept(cli, "--extend", *MORE).out
    assert "0 of them now" in swept(cli, *MORE).out
    for words in (("report", "out"), ("export", "out"), ("plot", f"out/points/{first[1]}")):
        assert cli(*words).code == 0
    assert "4 done" in cli("sweep", "--status", "out").out
    # Again: one that has gone on, and one that has not.
    short_at(monkeypatch, (0.1, 0.5))
    swept(cli, "--extend", "--sampler.num_samples", "16", "--quiet")
    third = lnn.collect(out)
    numbers = [draws_of(out, name).energy.shape[1] for name in names(third)]
    assert numbers == [16, 16, 8, 12] and names(third)[2:] == names(second)[2:]
    history = lnn.load_run(out / "points" / names(third)[0]).manifest["extensions"]
    assert [step["to_draws"] for step in history] == [12, 16]


@pytest.mark.slow
def test_a_smaller_target_error_takes_the_points_with_larger_errors(cli):
    content = (cli.folder / "tiny.toml").read_text().replace("num_samples = 8\n", "")
    (cli.folder / "tiny.toml").write_text(content.replace("num_warmup = 6", "num_warmup = 60"))
    out, target = cli.folder / "out", "--sampler.target_error"
    swept(cli, target, "0.3", "--quiet", code=0)
    first = lnn.collect(out)
    ratios = [float((first[f"{n}_mcse"] / first[n]).max()) for n in ("bias2", "variance")]
    worst = max(ratios)
    assert worst > 0.02
    swept(cli, "--extend", target, f"{0.8 * worst:.3f}", "--quiet", code=0)
    second = lnn.collect(out)
    same = [a == b for a, b in zip(names(first), names(second), strict=True)]
    assert not all(same)
    for name in ("bias2", "variance"):
        assert (second[f"{name}_mcse"] <= 0.8 * worst * second[name]).all()


@pytest.mark.slow
def test_a_ladder_of_each_point_goes_on(cli):
    content = (cli.folder / "tiny.toml").read_text()
    (cli.folder / "tiny.toml").write_text(content + "ladder = [3.0]\nkeep_weights = true\n")
    swept(cli, "--quiet")
    swept(cli, "--extend", *MORE, "--quiet")
    assert_all_points_are_those_of_a_long_sweep(cli)


@pytest.mark.slow
def test_an_interrupted_extension_has_the_numbers_of_before_and_goes_on(cli, monkeypatch):
    swept(cli, "--quiet")
    out, first = cli.folder / "out", lnn.collect(cli.folder / "out")
    next_chunk, asked = driver.next_chunk, []

    def interrupted(done, *others):
        asked.append(done.draws)
        if done.draws > 9:
            raise KeyboardInterrupt
        return next_chunk(done, *others)

    with monkeypatch.context() as patch:
        patch.setattr(driver, "FIRST_CHUNK_STEPS", 2)
        patch.setattr(driver, "next_chunk", interrupted)
        swept(cli, "--extend", *MORE, "--quiet", code=130)
    assert asked[0] == 8, "it goes on where it has ended"
    between = lnn.collect(out)
    assert names(between) == names(first) and (between.status == "done").all()
    np.testing.assert_array_equal(between.bias2, first.bias2)
    assert "4 missing" in cli("sweep", "--status", "out").out
    swept(cli, *MORE, "--quiet")  # with or without --extend
    assert_all_points_are_those_of_a_long_sweep(cli)


@pytest.mark.slow
def test_a_point_that_cannot_go_on_has_failed_and_keeps_its_numbers(cli, monkeypatch):
    swept(cli, "--quiet")
    out, first = cli.folder / "out", lnn.collect(cli.folder / "out")
    state = out / "points" / names(first)[0] / "last_state.npz"
    content = state.read_bytes()
    state.write_bytes(content[:-1])
    short_at(monkeypatch, (0.1,))
    swept(cli, "--extend", *MORE, "--quiet", code=1)
    failed = lnn.collect(out)
    assert failed.status.values.tolist() == ["failed", "done", "done", "done"]
    assert "last_state.npz" in failed.reason.values[0] and names(failed) == names(first)
    assert failed.bias2.values[0] == first.bias2.values[0]
    state.write_bytes(content)
    swept(cli, "--extend", *MORE, "--quiet")
    assert (lnn.collect(out).status == "done").all()


@pytest.mark.slow
def test_what_cannot_be_extended_is_refused_before_anything_is_written(cli, monkeypatch):
    swept(cli, "--quiet")
    words = ["sweep", "tiny.toml", "--output", "out", "--extend"]
    with untouched():
        for other, said in (
            ([*TEMPERATURES, "--seed", "2"], "seed = 1 there, 2 here"),
            ([*TEMPERATURES, "--sampler.thinning", "3"], "sampler.thinning = 2 there, 3 here"),
            (TEMPERATURES[:1] + ["posterior.temperature=0.1,0.5"], "other axes"),
            (TEMPERATURES[:1] + ["posterior.temperature=0.1,0.5,1,3"], "posterior.temperature"),
            ([*TEMPERATURES, "--seeds", "2"], "other axes"),
        ):
            refused(cli(*words, *MORE, *other), said)
        refused(cli(*words, *TEMPERATURES, "--sampler.num_samples", "7"), "no more than 7")
        refused(cli("sweep", "tiny.toml", *TEMPERATURES, "--extend"), "--output")
        refused(cli(*words[:3], "nothing", "--extend", *TEMPERATURES), "no sweep")
        refused(cli("sweep", "--status", "out", "--extend"), "--extend")
        with refuses("theory_only and extend"):
            lnn.sweep(cli.folder / "out/sweep.toml", extend=True, theory_only=True)
    out = cli.folder / "out"
    name = names(lnn.collect(out))[0]
    shutil.move(out / "points" / name / "last_state.npz", cli.folder / "kept.npz")
    with untouched():
        refused(cli(*words, *TEMPERATURES, *MORE), f"points/{name}", "last_state.npz is gone")
    shutil.move(cli.folder / "kept.npz", out / "points" / name / "last_state.npz")
    shutil.move(out / "points" / name, cli.folder / "point")
    with untouched():
        refused(cli(*words, *TEMPERATURES, *MORE), "1 of the 4 points", "not finished")
    shutil.move(cli.folder / "point", out / "points" / name)
    folder = SweepFolder.existing(out)
    with folder.claimed(folder.tasks[0]), untouched():
        refused(cli(*words, *TEMPERATURES, *MORE), "in use")


@pytest.mark.slow
def test_points_without_their_states_cannot_go_on(cli):
    swept(cli, "--quiet", "--sampler.keep_state", "false")
    assert not list((cli.folder / "out").rglob("last_state.npz"))
    assert all(
        "cannot be extended" in text for text in lnn.collect(cli.folder / "out").message.values
    )
    with untouched():
        words = ["sweep", "out/sweep.toml", "--extend", *MORE]
        refused(cli(*words), "keep_state = false", "sweep into another folder")


@pytest.mark.slow
def test_killed_at_every_moment_of_its_beginning_a_sweep_loses_nothing(cli, monkeypatch):
    swept(cli, "--quiet")
    short_at(monkeypatch, (0.1,))
    monkeypatch.setattr(os, "fsync", sync)
    path = cli.folder / "tiny.toml"
    over = {"posterior.temperature": [0.1, 0.5, 1.0, 2.0]}
    wanted = grid.load(path, {"sampler.num_samples": ["12"]}, over)

    def begin(top):
        folder = SweepFolder(top)
        return engine.begin(
            wanted, top, 1, prepare=False, planned=extending.plan(folder, wanted)
        )  # fmt: skip

    shutil.copytree(cli.folder / "out", cli.folder / "copy")
    with disk() as counted:
        begin(cli.folder / "copy")
    assert counted.count > 4
    for at in range(1, counted.count + 1):
        top = shutil.copytree(cli.folder / "out", cli.folder / f"at {at}")
        with disk(at, Killed()), pytest.raises(Killed):
            begin(top)
        results = lnn.collect(top)
        assert (results.status == "done").all() and len(set(names(results))) == 4, at
        folder = begin(top)
        assert [*map(folder.is_done, folder.points)] == [False, True, True, True], at
        assert folder.name_of([*folder.points][0]) == names(results)[0], at


PROGRAM = """
import sys
from langevin_nn.cli import main
from langevin_nn.sampling.engine import driver
driver.CHUNK_SECONDS = 0.05
sys.exit(main.main())
"""


@pytest.mark.slow
def test_killed_while_its_points_go_on_it_goes_on(cli, monkeypatch):
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 2.0)
    path = cli.folder / "tiny.toml"
    path.write_text(path.read_text().replace("thinning = 2", "thinning = 800"))
    swept(cli, "--quiet")
    words = ["sweep", "out/sweep.toml", "--extend", *MORE]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], cwd=cli.folder, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env=with_as_many_devices(),
    )  # fmt: skip

    def draws():
        for state in (cli.folder / "out/tasks").glob("*/*/state.npz"):
            with np.load(state) as file:
                return file["progress"].tolist()[1]
        return 0

    limit = time.monotonic() + 240
    while draws() < 10 and process.poll() is None:
        assert time.monotonic() < limit, "no progress"
        time.sleep(0.005)
    process.kill()
    process.wait(60)
    assert draws() >= 10
    assert cli(*words, "--quiet").code == 3
    assert_all_points_are_those_of_a_long_sweep(cli)
