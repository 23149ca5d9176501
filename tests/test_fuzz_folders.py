"""Run folders and sweeps' folders that something has damaged. FAULTS 3.3, 3.6.

Files are absent, cut, flipped, exchanged, nonsense, folders or links. Whatever it is, a command
ends in the answer that it had given or in one line, nothing is lost, and no number that was changed
is reported as if it had been measured.
"""

import contextlib
import io
import json
import os
import re
import tomllib
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
import xarray as xr
from cases import SHORT_GRID, TINY
from command_line import CommandLine
from fuzzing import DAMAGES, FUZZ, answered, copied, damage, files_in
from hypothesis import given, settings

from langevin_nn.cli import main
from langevin_nn.cli.commands import run as run_command
from langevin_nn.sampling.engine import driver

QUICK = 'theory = ["infinite_width", "scale_mixture"]' + TINY.replace("warmup = 30", "warmup = 6")
RUN = ["run", "tiny.toml", "--output", "out", "--resume", "--quiet"]
SWEEP = ["sweep", "tiny.toml", "--over", "prior.precisions[-1]=0.5,2", "--output", "out", "--quiet"]
RESULTS = ("config.toml", "manifest.json", "posterior.nc", "summary.json")


def quick_figures(patch) -> None:
    """Figures are made, and their files are not drawn."""

    def savefig(self, where, **_):
        if isinstance(where, io.StringIO):
            where.write("<svg></svg>")
        elif isinstance(where, io.BytesIO):
            where.write(b"figure")
        else:
            Path(where).write_bytes(b"figure")

    patch.setattr(matplotlib.figure.Figure, "savefig", savefig)


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    """Runs that are finished and that are not, each with another of its kind, and such sweeps."""
    folder = tmp_path_factory.mktemp("originals")
    (folder / "tiny.toml").write_text(QUICK)
    (folder / "grid.toml").write_text(SHORT_GRID)

    def do(*words):
        assert main.main([str(word) for word in words]) in (3, 130)

    class Interrupting(run_command.RunCommandProgress):
        def __call__(self, report):
            if report.steps > 12:
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.chdir(folder)
        quick_figures(patch)
        for name, seed in (("finished", 1), ("another", 2)):
            do("run", "tiny.toml", "--output", name, "--quiet", "--seed", seed)
        do(*SWEEP[:1], "grid.toml", *SWEEP[2:-2], "swept", "--quiet")
        do(*SWEEP[:1], "grid.toml", *SWEEP[2:-2], "swept_another", "--quiet", "--seed", "2")
        patch.setattr(driver, "FIRST_CHUNK_STEPS", 4)
        patch.setattr(driver, "CHUNK_SECONDS", 1e-9)
        patch.setattr(run_command, "RunCommandProgress", Interrupting)
        for name, seed in (("stopped", 1), ("stopped_another", 2)):
            do("run", "tiny.toml", "--output", name, "--quiet", "--seed", seed)
            assert (folder / name / "checkpoint/state.npz").exists()
    return folder


@pytest.fixture
def cli(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick_figures(monkeypatch)
    return CommandLine(tmp_path, capsys)


def arrays(path) -> dict[str, np.ndarray]:
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        return {
            f"{node.path}/{name}": variable.to_numpy()
            for node in tree.subtree
            for name, variable in node.dataset.variables.items()
        }


def meaning(name, content):
    """What the file says; a record without its own checksum."""
    if content is None:
        return None
    if name.endswith(".nc"):
        return content
    try:
        if name.endswith(".toml"):
            return tomllib.loads(content.decode())
        return {k: v for k, v in json.loads(content).items() if len(str(v)) != 64}
    except (ValueError, RecursionError, AttributeError):
        return content


def is_same(folder, whole) -> bool:
    """Whether the results are, in what they say, those that the run has written."""
    mine, theirs = files_in(folder), files_in(whole)
    return all(meaning(n, mine.get(n)) == meaning(n, theirs[n]) for n in RESULTS)


@pytest.mark.slow
@settings(max_examples=50, **FUZZ)
@given(DAMAGES)
def test_finished_runs(cli, originals, damages):
    (cli.folder / "tiny.toml").write_text(QUICK)
    out = copied(originals / "finished", cli.folder / "out")
    damage(out, originals / "another", damages)
    same, before = is_same(out, originals / "finished"), files_in(out)
    for words in (RUN, ["plot", "out"], ["report", "out"]):
        answer = answered(cli, *words)
        assert same or answer.code == 2, (words, answer)
        left = files_in(out)
        assert before.items() <= {**left, ".lock": b""}.items() or answer.code != 2, words


@pytest.mark.slow
@settings(max_examples=60, **FUZZ)
@given(DAMAGES)
def test_unfinished_runs(cli, originals, damages):
    """Refused, with nothing touched, or gone on with to the numbers of an uninterrupted run."""
    (cli.folder / "tiny.toml").write_text(QUICK)
    out = copied(originals / "stopped", cli.folder / "out")
    damage(out, originals / "stopped_another", damages)
    before = files_in(out)
    anew = not os.path.lexists(out / "checkpoint/state.npz")
    answer = answered(cli, *RUN)
    if answer.code == 2:
        assert files_in(out) == before
        for words in (["plot", "out"], ["report", "out"]):
            assert answered(cli, *words).code == 2
        return
    assert ("begins anew" in answer.err) == anew, answer
    mine, theirs = (arrays(f / "posterior.nc") for f in (out, originals / "finished"))
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)


@pytest.mark.slow
@settings(max_examples=14, **FUZZ)
@given(DAMAGES)
def test_sweeps(cli, originals, damages):
    """Points whose files are not what their runs have written are missing, and sampled again."""
    (cli.folder / "tiny.toml").write_text(SHORT_GRID)
    swept = originals / "swept"
    out = copied(swept, cli.folder / "out")
    damage(out, originals / "swept_another", damages)
    points = sorted((swept / "points").iterdir())
    whole = sum(is_same(out / "points" / point.name, point) for point in points)
    answer = answered(cli, "sweep", "--status", "out")
    if answer.code == 0:
        done = int(re.search(r"(\d+) done", answer.out)[1])
        assert done <= whole, answer
    answered(cli, "report", "out")
    done = answered(cli, *SWEEP, codes=(1, 2, 3))
    if done.code == 1:  # something is in a file's place that no sweep removes
        again = answered(cli, "sweep", "--status", "out")
        assert "0 failed" not in again.out and "failed" in again.out, again
    elif done.code == 3:
        again = answered(cli, "sweep", "--status", "out")
        assert again.code == 0 and "2 done, 0 failed, 0 missing" in again.out, again
        found, expected = (
            xr.load_dataset(folder / "results.nc", engine="h5netcdf").drop_vars("seconds")
            for folder in (out, swept)
        )
        xr.testing.assert_allclose(found, expected, rtol=1e-6)
