"""Runs and sweeps with a richness: what is sampled, and what files and tables say of it."""

import dataclasses
import json
import re

import equinox as eqx
import matplotlib.figure
import numpy as np
import pytest
import xarray as xr
from cases import SHORT_GRID, TINY
from command_line import CommandLine

import langevin_nn as lnn
from langevin_nn.config.record import from_dict
from langevin_nn.runs import run, tables
from langevin_nn.runs.standard_scaling import StandardScaling
from langevin_nn.runs.summary import Summary
from langevin_nn.sweeps import plan
from langevin_nn.sweeps.grid import grid
from langevin_nn.theory import one_layer

RICH = ("--posterior.richness", "2")
"""N_L = 3 of `TINY`: N_L γ² = 12, λ_1 = 12 and T = 0.5/12."""


def rich_values(richness=2.0, **sections):
    return {
        "precision": "float64",
        "theory": ["infinite_width"],
        "data": {"source": "teacher_linear", "in_size": 3, "num_train": 5, "num_test": 4},
        "network": {"hidden_widths": [3]},
        "posterior": {"temperature": 0.5} | ({} if richness is None else {"richness": richness}),
        "sampler": {"num_chains": 2, "num_warmup": 6, "num_samples": 8, "thinning": 2},
    } | sections


def attributes_of(folder):
    with xr.open_datatree(folder / "posterior.nc", engine="h5netcdf") as tree:
        return dict(tree.attrs), float(tree["constant_data"]["temperature"])


@pytest.fixture
def cli(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "draw_figures", lambda *_: None)
    return CommandLine(tmp_path, capsys, 'theory = ["infinite_width"]' + TINY)


@pytest.mark.parametrize("readout", ["sampled", "marginalised"])
@pytest.mark.parametrize("biases", [False, True], ids=["", "biases"])
def test_a_run_samples_the_posterior_of_the_standard_scaling(readout, biases):
    """That which its λ_L N_L γ² and T/(N_L γ²) make; and at γ = 1/√N_L the one without γ."""
    posterior = {"temperature": 0.5, "readout": readout}
    network = {"hidden_widths": [4, 3], "biases": biases}
    prior = {"precisions": [0.5, 1.0, 2.0]} | (
        {"bias_precisions": [1.0, 2.0, 3.0]} if biases else {}
    )
    readout_biases = {"bias_precisions": [1.0, 2.0, 36.0]} if biases else {}

    def made(richness, **changes):
        sections = {"posterior": posterior, "network": network, "prior": prior} | changes
        if richness is not None:
            sections["posterior"] = sections["posterior"] | {"richness": richness}
        return run.prepare(from_dict(rich_values(**sections)))

    rich = made(2.0)
    written = made(
        None, posterior=posterior | {"temperature": 0.5 / 12},
        prior={"precisions": [0.5, 1.0, 24.0]} | readout_biases,
    )  # fmt: skip
    assert eqx.tree_equal(rich.posterior, written.posterior)
    assert rich.posterior.ensemble.spec == written.posterior.ensemble.spec
    assert rich.config.posterior.richness == 2.0 and rich.config.prior.precisions[-1] == 2.0
    assert eqx.tree_equal(made(3**-0.5).posterior, made(None).posterior)
    assert not eqx.tree_equal(rich.posterior, made(None).posterior)


@pytest.mark.parametrize("temperature", [0.5, 0.0])
def test_a_theory_is_asked_about_it(temperature):
    posterior = {"temperature": temperature, "richness": 2.0}
    config, ensemble = run.prepare_theory(from_dict(rich_values(posterior=posterior)))
    assert config.posterior.temperature == temperature
    assert ensemble.spec.temperature == pytest.approx(temperature / 12)
    assert ensemble.spec.prior_precisions == (1.0, 12.0)


def test_a_run_says_both_scalings_in_each_of_its_files(cli):
    answer = cli("run", "tiny.toml", *RICH, "--output", "out")
    assert answer.code in (0, 3)
    line = (
        "richness: γ = 2, N_L = 3: λ_L N_L γ² = 12 in place of λ_L = 1, T/(N_L γ²) = 0.04167 in "
        "place of T = 0.5"
    )
    assert line in answer.out and "λ = (1, 1), T = 0.5, γ = 2" in answer.out
    assert "at T = 0.0416667" in answer.out  # the criterion's
    done = lnn.load_run("out")
    expected = StandardScaling(
        richness=2.0, width=3, prior_precisions=(1.0, 12.0), temperature=0.5 / 12
    )
    assert done.summary.standard_scaling == expected == StandardScaling.of(done.config)
    assert (done.config.posterior.richness, done.config.posterior.temperature) == (2.0, 0.5)
    for content in (cli.summary("out"), done.manifest):
        assert content["standard_scaling"] == json.loads(json.dumps(dataclasses.asdict(expected)))
    attributes, temperature = attributes_of(cli.folder / "out")
    assert (attributes["richness"], temperature) == (2.0, pytest.approx(0.5 / 12))
    assert attributes["standard_scaling_temperature"] == expected.temperature
    assert attributes["standard_scaling_prior_precisions"].tolist() == [1.0, 12.0]
    assert done.chains.temperature == expected.temperature
    again = cli("run", "out/config.toml", "--output", "out", "--resume")
    assert again.code == answer.code and "is finished" in again.out
    assert cli("report", "out").code == 0
    page = re.sub("<[^>]*>", "", (cli.folder / "out" / "report.html").read_text())
    assert line.removeprefix("richness: ") in page and "γ posterior.richness" in page


def test_a_run_of_the_standard_scaling_has_no_word_of_it(cli):
    """Nor has one of an earlier version, whose files are these."""
    answer = cli("run", "tiny.toml", "--output", "out")
    assert "richness" not in answer.out + answer.err and "γ" not in answer.out
    done = lnn.load_run("out")
    assert done.summary.standard_scaling is None
    for content in (cli.summary("out"), done.manifest, attributes_of(cli.folder / "out")[0]):
        assert not any("richness" in key or "scaling" in key for key in content)
    assert "richness" not in (cli.folder / "out" / "config.toml").read_text()
    assert Summary.from_json(cli.summary("out")).standard_scaling is None
    assert cli("report", "out").code == 0
    assert "richness" not in (cli.folder / "out" / "report.html").read_text()


@pytest.mark.slow
def test_a_ladder_is_given_in_the_temperatures_that_the_richness_scales(cli):
    answer = cli("run", "tiny.toml", *RICH, "--sampler.ladder", "2", "6", "--output", "out")
    assert answer.code in (0, 3)
    rungs = cli.summary("out")["tempering"]["rungs"]
    assert [rung["temperature"] for rung in rungs] == pytest.approx([0.5 / 12, 2 / 12, 6 / 12])
    header = next(line for line in answer.out.splitlines() if "quadrature  " in line)
    assert header.split("  ")[0] == "T/(N_L γ²)"
    more = ("--sampler.num_samples", "12", "--quiet")
    assert cli("run", "out/config.toml", "--output", "out", "--extend", *more).code in (0, 3)
    done = lnn.load_run("out")
    assert done.config.sampler.ladder == (2.0, 6.0) and done.chains.energy.shape == (2, 12)
    assert done.summary.tempering.rungs[1].temperature == pytest.approx(2 / 12)


def test_another_richness_is_another_run(cli):
    assert cli("run", "tiny.toml", *RICH, "--output", "out", "--quiet").code in (0, 3)
    answer = cli("run", "tiny.toml", "--output", "out", "--resume")
    assert answer.code == 2 and "posterior.richness = 2.0 there, None here" in answer.err
    bad = cli("run", "tiny.toml", "--posterior.richness", "0", "--output", "other")
    assert bad.code == 2 and len(bad.err.splitlines()) == 1
    assert "posterior.richness must be a positive number, for example 0.5, got 0" in bad.err
    assert not (cli.folder / "other").exists()


def test_points_of_several_richnesses_share_a_program():
    over = {"posterior.richness": [0.5, 1.0, 2.0], "posterior.temperature": [0.1, 1.0]}
    assert [len(task.points) for task in plan.tasks(grid(rich_values(), over), 32)] == [6]


@pytest.mark.slow
def test_each_point_of_a_sweep_over_the_richness_is_the_run_of_the_standard_scaling(tmp_path):
    richnesses = [0.5, 2.0]
    swept = lnn.sweep(
        rich_values(), {"posterior.richness": richnesses}, output=tmp_path / "rich", progress=False
    )
    for richness in richnesses:
        config = from_dict(rich_values(richness)).in_standard_scaling
        alone = lnn.sweep(
            config, {"seed": [0]}, output=tmp_path / f"alone{richness}", progress=False
        ).isel(seed=0)
        mine = swept.sel({"posterior.richness": richness})
        for name in ("bias2", "variance", "train_error", "theory_variance", "criterion"):
            np.testing.assert_allclose(mine[name], alone[name], rtol=1e-9)
    assert cli_report(tmp_path / "rich").count("λ_L N_L γ²") == 1


def cli_report(folder):
    """The text of the page of a sweep."""
    return re.sub("<[^>]*>", "", lnn.report(folder).read_text())


def test_captions_and_axes_have_the_symbol():
    rich, other, standard = (from_dict(rich_values(richness)) for richness in (2.0, 0.5, None))
    assert tables.caption(rich).endswith("T = 0.5, γ = 2")
    assert tables.caption(rich, other).endswith("T = 0.5, γ = …")
    assert tables.caption(rich, standard).endswith("T = 0.5, γ = …")
    assert tables.caption(standard, standard).endswith("T = 0.5")
    assert lnn.plotting.symbol("posterior.richness") == "γ"


def drawn(monkeypatch, tmp_path, **sections):
    """The panels of `theory --plot`: by their label, the places and the lines."""
    figures = []
    save = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig",
        lambda figure, *args, **kw: (figures.append(figure), save(figure, *args, **kw)),
    )  # fmt: skip
    config, ensemble = run.prepare_theory(from_dict(rich_values(**sections)))
    predictions = lnn.theory.predict(ensemble, ["infinite_width", "one_layer"])
    scaling = StandardScaling.of(config)
    run.draw_theory(ensemble, predictions, "caption", tmp_path / "f.png", scaling)
    lines = {ax.get_xlabel(): ax.get_lines() for ax in figures[0].axes}
    return ensemble, {label: [line.get_data() for line in those] for label, those in lines.items()}


def test_a_figure_along_the_width_is_at_one_richness(monkeypatch, tmp_path):
    """And along λ_1 at the values that are given."""
    _, panels = drawn(monkeypatch, tmp_path)
    widths, bias2 = panels["N_1"][0]
    _, there = run.prepare_theory(
        from_dict(rich_values(network={"hidden_widths": [int(widths[-1])]}))
    )
    assert bias2[-1] == pytest.approx(one_layer(there).bias2.value, rel=1e-9)
    assert len(panels["N_1"]) == 3  # infinite width has no level line at one richness
    precisions, _ = panels["λ_1"][0]
    assert precisions[30] == pytest.approx(1.0) and panels["λ_1"][2][0][0] == pytest.approx(1.0)
    _, panels = drawn(monkeypatch, tmp_path, network={"hidden_widths": [3], "biases": True})
    assert "N_1" not in panels and "λ_1" in panels


def test_a_short_grid_of_the_richness_at_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(tmp_path, capsys, SHORT_GRID)
    answer = cli("sweep", "tiny.toml", "--over", "posterior.richness=0.5,1", "--theory-only",
                 "--output", "out")  # fmt: skip
    assert answer.code == 0
    found = lnn.collect("out")
    assert found["posterior.richness"].values.tolist() == [0.5, 1.0]
    bad = cli("sweep", "tiny.toml", "--over", "posterior.richness=0.5,-1")
    assert bad.code == 2 and "posterior.richness" in bad.err and "-1" in bad.err
