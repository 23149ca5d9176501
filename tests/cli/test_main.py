"""The command line and the files of a run as a contract: codes, words, files, and no traces."""

import errno
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr
from cases import TINY, write_npz
from command_line import Answer
from refusals import refused, untouched

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn import files, plotting
from langevin_nn.analysis.generalisation import summarise
from langevin_nn.cli import commands, main, startup
from langevin_nn.cli.progress import RunCommandProgress
from langevin_nn.progress import Report
from langevin_nn.runs import provenance, run
from langevin_nn.runs.folder import RunFolder
from langevin_nn.sampling.dynamics import langevin
from langevin_nn.theory import THEORIES

RUN_FILES = {
    "config.toml",
    "manifest.json",
    "posterior.nc",
    "summary.json",
    "last_state.npz",
    "figures/chains.png",
    "figures/generalisation.png",
    "figures/predictions.png",
}
# A network without hidden layers mixes at once: these runs converge.
LINEAR = shlex.split("--network.hidden_widths [] --prior.precisions 1 --sampler.num_chains 4")
SHALLOW = {"infinite_width", "one_layer", "scale_mixture", "width_expansion", "matched"}
LONG = shlex.split("--sampler.num_samples 600 --sampler.thinning 20 --sampler.num_warmup 500")


@pytest.fixture
def no_figures(monkeypatch):
    """Figures take most of the time of a small run."""
    monkeypatch.setattr(run, "draw_figures", lambda *_: None)


def numbers(text):
    """Every number of a text."""
    return [float(word) for word in re.findall(r"(?<![\w.])-?\d+\.?\d*(?:e-?\d+)?(?![\w.])", text)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run on a file that is gone, that file's arrays, its titles."""
    top, titles, save = tmp_path_factory.mktemp("finished"), {}, plotting.save

    def noted(figures, folder, formats):
        titles.update({name: figure.get_suptitle() for name, figure in figures.items()})
        save(figures, folder, formats)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top)
        patch.setattr(plotting, "save", noted)
        Path("tiny.toml").write_text(TINY)
        Path("my data").mkdir()
        arrays = write_npz("my data/the task.npz")
        words = "run tiny.toml --quiet --output 'a folder/out' --data.num_train 5"
        assert main.main(shlex.split(words) + npz_words("my data/the task.npz")) == 3
    shutil.rmtree(top / "my data")
    return top / "a folder/out", arrays, titles


@pytest.fixture
def out(cli, finished):
    """A copy of that folder."""
    return shutil.copytree(finished[0], cli.folder / "out")


# --- a run and its folder


def test_run_that_converges(cli, no_figures):
    """The table has the numbers of the summary."""
    answer = cli("run", "tiny.toml", "--output", "out", *LINEAR, *LONG)
    assert answer.code == 0, answer
    assert "100 %" in answer.err and "NOT CONVERGED" not in answer.out and "out" in answer.out
    summary = cli.summary("out")
    experiment, theory = summary["experiment"], summary["theory"]["infinite_width"]
    assert experiment["converged"] is True
    assert experiment["rhat_max"] < 1.01 and experiment["ess_min"] > 400
    assert summary["not_applicable"].keys() == set(THEORIES) - {"infinite_width"}
    assert all(name in answer.out for name in THEORIES), "also those that were left out"
    told = numbers(answer.out)
    for name in ("bias2", "variance", "generalisation_error", "train_error"):
        value, error = experiment[name]["value"], experiment[name]["mcse"]
        assert any(number == pytest.approx(value, abs=error / 10) for number in told), name
        assert any(number == pytest.approx(theory[name], rel=1e-3) for number in told), name
    for name in ("test_accuracy", "rhat_max", "ess_min", "step_size"):
        assert any(n == pytest.approx(experiment[name], rel=1e-2) for n in told), name


@pytest.mark.slow
def test_numbers_of_langevin_dynamics_on_a_ladder_are_marked(cli):
    answer = cli("run", "tiny.toml", "--output", "out", "--sampler.ladder", "1.5", "4.0")
    assert answer.code == 3, answer
    message = cli.summary("out")["experiment"]["step_size_message"]
    assert message and message in answer.out
    measured = [line for line in answer.out.splitlines() if line.count(" ± ") > 3]
    assert len(measured) == 4 and all(line.count(" ‡") == 4 for line in measured)
    rungs = cli.summary("out")["tempering"]["rungs"]
    assert [rung["step_size_message"] for rung in rungs] == [message] * 3
    assert cli("report", "out").code == 0
    assert message in (cli.folder / "out" / "report.html").read_text().replace("&quot;", '"')


@pytest.mark.slow
def test_run_of_split_dynamics_on_a_ladder_with_the_readout_marginalised(cli):
    """From the words to the figures, which are drawn again from the folder alone."""
    words = ["--posterior.readout", "marginalised", "--sampler.dynamics", "split"]
    words += ["--sampler.ladder", "4.0", "1.5"]
    answer = cli("run", "tiny.toml", "--output", "out", *words)
    assert answer.code == 3, answer
    assert cli.files("out") == RUN_FILES
    ladder = cli.summary("out")["tempering"]
    assert [rung["temperature"] for rung in ladder["rungs"]] == [0.5, 1.5, 4.0]
    assert all(rung["log_evidence"]["mcse"] > 0 for rung in ladder["rungs"])
    assert all(0 < swap <= 1 for swap in ladder["swap_acceptance"])
    evidence = ladder["rungs"][0]["log_evidence"]["value"]
    assert any(number == pytest.approx(evidence, rel=0.01) for number in numbers(answer.out))
    assert ladder["rungs"][0]["bias2"] == cli.summary("out")["experiment"]["bias2"]
    experiment = cli.summary("out")["experiment"]
    assert 0 < experiment["acceptance"] <= 1 and experiment["nonfinite_proposals"] == 0
    assert experiment["stability_limit"] is None and experiment["step_size_relative_bias"] == 0
    chains, _ = RunFolder(cli.folder / "out").load_results()
    assert summarise(chains).variance.value == experiment["variance"]["value"]
    assert chains.test_variances.shape == (2, 8, 4) and chains.acceptance.shape == (2, 8)
    assert cli("plot", "out").code == 0


@pytest.mark.slow
def test_run_that_does_not_converge_says_so_everywhere(cli, finished, no_figures):
    folder, _, titles = finished
    own = json.loads((folder / "summary.json").read_text())["experiment"]
    assert own["converged"] is False and all(own["message"] in title for title in titles.values())
    assert titles.keys() == {"generalisation", "chains", "predictions"}
    answer = cli("run", "tiny.toml", "--output", "out")
    assert answer.code == 3
    message = cli.summary("out")["experiment"]["message"]
    assert "R̂" in message and "ESS" in message and f"NOT CONVERGED: {message}" in answer.out
    assert answer.out.count(message) == 1 and "(not converged)" not in answer.out, "said once"
    # FAULTS 3.5: what is advised can be done, by the options that there are.
    assert "num_warmup" in message and "--extend" in message
    more = ("run", "tiny.toml", "--sampler.num_samples", "9", "--output")
    refused(cli(*more, "out", "--resume"), "num_samples", "8", "9", "another folder")
    assert cli(*more, "longer").code == 3


def test_summary_holds_what_the_contract_names(out):
    text = (out / "summary.json").read_text()
    summary = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert {"experiment", "theory", "criterion"} <= summary.keys()
    experiment = summary["experiment"]
    for name in ("bias2", "variance", "generalisation_error", "train_error"):
        assert experiment[name].keys() == {"value", "mcse"}
        assert experiment[name]["value"] > 0 and experiment[name]["mcse"] > 0
    assert np.isclose(
        experiment["generalisation_error"]["value"],
        experiment["bias2"]["value"] + experiment["variance"]["value"],
    )
    assert experiment["num_chains"] == 2 and experiment["num_draws"] == 8
    assert experiment["diverged_chains"] == 0
    for name in ("test_accuracy", "rhat_max", "ess_min", "step_size", "wall_seconds"):
        assert isinstance(experiment[name], float), name
    assert summary["theory"].keys() == SHALLOW
    for theory in summary["theory"].values():
        assert {"bias2", "variance", "order_parameters", "converged"} <= theory.keys()
        assert len(theory["order_parameters"]) == 1
    assert summary["theory"]["infinite_width"]["order_parameters"] == [1.0]
    assert isinstance(summary["criterion"], float)


def test_manifest_and_config_name_the_run(out):
    manifest = json.loads((out / "manifest.json").read_text())
    resolved = configuration.load(out / "config.toml")
    assert manifest["run_id"] == resolved.content_hash
    assert manifest["seed"] == 1
    assert {"python", "jax", "jaxlib", "langevin-nn"} <= manifest["versions"].keys()
    assert manifest["device"]["platform"] == "cpu"
    assert manifest["wall_seconds"] > 0
    assert "git" in manifest
    every = tomllib.loads((out / "config.toml").read_text())
    assert every["sampler"]["step_size"] == "auto" and every["data"]["standardize"] is True


def test_the_folder_is_named_after_file_and_content(cli, no_figures):
    cli("run", "tiny.toml", "--quiet")
    cli("run", "tiny.toml", "--quiet", "--seed", "2")
    (cli.folder / "my task").mkdir()
    shutil.copy("tiny.toml", "my task/config.toml")
    cli("run", "my task/config.toml", "--quiet")
    first = configuration.load(cli.folder / "tiny.toml").content_hash
    second = configuration.load(cli.folder / "tiny.toml", {"seed": ["2"]}).content_hash
    names = {path.name for path in (cli.folder / "runs").iterdir()}
    assert names == {f"tiny-{first}", f"tiny-{second}", f"my task-{first}"}


def test_the_resolved_configuration_gives_the_same_numbers(cli, no_figures):
    cli("run", "tiny.toml", "--output", "one", "--sampler.thinning", "3")
    expected = configuration.load(cli.folder / "tiny.toml", {"sampler.thinning": ["3"]})
    assert configuration.load(cli.folder / "one/config.toml") == expected
    cli("run", "one/config.toml", "--output", "two")
    cli("run", "one/config.toml", "--output", "three", "--seed", "2")
    one, two, three = (cli.summary(name)["experiment"] for name in ("one", "two", "three"))
    for summary in (one, two, three):
        del summary["wall_seconds"]
    assert one == two
    assert one["bias2"] != three["bias2"]


def test_quiet(cli, no_figures):
    answer = cli("run", "tiny.toml", "--output", "out", "--quiet")
    assert (answer.code, answer.out, answer.err) == (3, "", "")


@pytest.mark.slow
def test_single_chain_of_a_deep_network_without_warmup(cli):
    """Numbers that do not exist are null in the summary, and the run has not converged."""
    words = (
        "--network.hidden_widths 4 3 --prior.precisions 1 1 1 --sampler.num_warmup 0 "
        "--theory infinite_width global one_layer"
    )
    answer = cli("run", "tiny.toml", "--output", "out", "--sampler.num_chains", "1", *words.split())
    assert answer.code == 3, answer
    assert cli.files("out") == RUN_FILES
    assert cli.summary("out")["experiment"]["rhat_max"] is None
    assert cli.summary("out")["theory"].keys() == {"infinite_width", "global"}
    assert cli.summary("out")["not_applicable"].keys() == {"one_layer"}


# --- arrays from a file


def npz_words(path):
    return ["--data.source", "npz", "--data.path", path]


def test_npz_uses_the_first_rows_as_they_are(finished):
    folder, arrays, _ = finished
    config = configuration.load(folder / "config.toml")
    assert config.data.path == str(folder.parents[1] / "my data/the task.npz")
    assert (config.data.num_train, config.data.num_test) == (5, 4)
    with xr.open_datatree(folder / "posterior.nc", engine="h5netcdf") as tree:
        np.testing.assert_array_equal(tree["observed_data"]["y_train"], arrays["y_train"][:5])
        np.testing.assert_array_equal(tree["constant_data"]["y_test"], arrays["y_test"])


def test_folder_and_manifest_of_npz_agree(cli, no_figures):
    """Also where the numbers of examples were left to the file."""
    write_npz("task.npz", num_train=5)
    text = (cli.folder / "tiny.toml").read_text()
    (cli.folder / "tiny.toml").write_text(text.replace("num_t", "# num_t"))
    cli("run", "tiny.toml", "--quiet", *npz_words("task.npz"))
    (folder,) = (cli.folder / "runs").iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert folder.name == f"tiny-{manifest['run_id']}"


def test_relative_path_of_a_configuration_elsewhere(cli):
    (cli.folder / "there").mkdir()
    write_npz("there/task.npz")
    text = (cli.folder / "tiny.toml").read_text().replace(
        'source = "teacher_linear"', 'source = "npz"\npath = "task.npz"'
    )  # fmt: skip
    (cli.folder / "there/mine.toml").write_text(text.replace("num_t", "# num_t"))
    answer = cli("theory", "there/mine.toml")
    assert answer.code == 0, answer
    assert "npz" in answer.out and "P = 6" in answer.out


# --- other networks

OTHER_NETWORKS = {
    "three classes, biases": (
        "--data.classes 0 1 2 --data.targets one_hot --network.biases true "
        "--prior.bias_precisions 1 0.5",
        (3,),
    ),
    "convolutional": ("--network.architecture convolutional --network.stride 2", ()),
}


SOME = ["infinite_width", "multi_output", "convolutional"]


@pytest.mark.slow
@pytest.mark.parametrize("theory", [SOME, ["[]"]], ids=["theories", "no theory"])
@pytest.mark.parametrize(("words", "outputs"), OTHER_NETWORKS.values(), ids=OTHER_NETWORKS)
def test_other_networks_are_run_and_drawn_again(cli, words, outputs, theory):
    words = shlex.split(f"--data.source digits --data.num_train 12 {words} --theory") + theory
    answer = cli("run", "tiny.toml", "--output", "out", *words)
    assert answer.code == 3, answer  # so short a run has not converged
    summary = cli.summary("out")
    for name in ("bias2", "variance", "generalisation_error", "train_error"):
        assert summary["experiment"][name]["value"] > 0, name
    assert (summary["theory"] == {}) is (theory == ["[]"])
    with xr.open_datatree("out/posterior.nc", engine="h5netcdf") as tree:
        assert tree["posterior"]["f"].shape == (2, 8, 4, *outputs)
        assert tree["observed_data"]["y_train"].shape == (12, *outputs)
    drawn = {path.name: path.read_bytes() for path in (cli.folder / "out/figures").iterdir()}
    assert {"chains.png", "generalisation.png"} <= drawn.keys()
    if theory == ["[]"]:
        return
    shutil.rmtree("out/figures")
    assert cli("plot", "out").code == 0
    again = {path.name: path.read_bytes() for path in (cli.folder / "out/figures").iterdir()}
    assert again == drawn


def test_only_the_chosen_theories_are_asked(cli, no_figures):
    words = ["--theory", "scale_mixture", "infinite_width"]
    cli("run", "tiny.toml", "--output", "out", *words)
    assert list(cli.summary("out")["theory"]) == ["scale_mixture", "infinite_width"]
    assert configuration.load(cli.folder / "out/config.toml").theory == tuple(words[1:])
    answer = cli("theory", "tiny.toml", "--json", *words)
    assert list(json.loads(answer.out)["theory"]) == ["scale_mixture", "infinite_width"]


# --- bad input: what the data, the network and the sampler refuse (the rest: test_config.py)

REFUSALS = {
    "configuration": ("--config '[sampler]\nthining = 3'", ["sampler.thining", "sampler.thinning"]),
    "word": ("--seed one", ["seed", "'one'"]),
    "activation": ("--network.activation rleu", ["'rleu'", "relu"]),
    "images": ("--data.source digits --data.num_train 5000", ["5000", "360"]),
    "file": ("--data.source npz --data.path nan.npz", ["x_train", "NaN"]),
    "step size": ("--sampler.step_size 50", ["step_size = 50", '"auto"']),
    "memory": ("--data.in_size 2000000000", ["memory"]),
    "convolution without images": ("--network.architecture convolutional", ["teacher_linear"]),
    "patches beyond the image": ("--data.source digits --network.architecture convolutional "
                                 "--network.patch_size 9", ["9 × 9", "8 × 8"]),
    "convolution with outputs": ("--data.source digits --network.architecture convolutional "
                                 "--data.targets one_hot", ["2", '"fully_connected"']),
    "theory": ("--theory one_layer infinite_wdith", ["'infinite_wdith'", '"infinite_width"']),
    "option": ("--sampler.num-chain 3", ["--sampler.num-chain", "--sampler.num_chains"]),
    "option without value": ("--seed", ["--seed"]),
    "word too many": ("other.toml", ["other.toml"]),
}  # fmt: skip


@pytest.mark.parametrize("command", ["run", "theory"])
@pytest.mark.parametrize(("words", "fragments"), REFUSALS.values(), ids=REFUSALS)
def test_refusals_leave_nothing_behind(cli, command, words, fragments):
    words = shlex.split(words)
    if "nan.npz" in words:
        write_npz("nan.npz", x_train=np.full((6, 3), np.nan))
    if words[0] == "--config":
        Path("tiny.toml").write_text(words[1])
        words = []
    with untouched():
        answer = cli(command, "tiny.toml", *words)
    if command == "theory" and "--sampler.step_size" in words:
        assert answer.code == 0  # theories have no step size
    else:
        refused(answer, *fragments)


def test_chains_that_diverge_on_the_way_leave_nothing_behind(cli, monkeypatch):
    monkeypatch.setattr(langevin, "stable_step_size", lambda *_: 1e3)
    with untouched():
        answer = cli("run", "tiny.toml", "--output", "new/out", "--quiet")
    refused(answer, "2 chains", "step_size = 1e+03", "step_size = 1e+02")
    (cli.folder / "empty").mkdir()
    assert cli("run", "tiny.toml", "--output", "empty", "--quiet").code == 2
    assert (cli.folder / "empty").is_dir() and cli.files("empty") == set()


# --- folders


def test_existing_runs_are_replaced_on_request_only(cli, out, no_figures):
    (out / "figures/old.png").touch()
    with untouched():
        answer = cli("run", "tiny.toml", "--output", "out", "--seed", "5")
    refused(answer, "out", "--overwrite", "--output")
    assert cli("run", "tiny.toml", "--output", "out", "--seed", "5", "--overwrite").code == 3
    assert configuration.load(out / "config.toml").seed == 5
    assert cli.files("out") == {name for name in RUN_FILES if not name.startswith("figures/")}


def test_a_run_that_cannot_begin_replaces_nothing(cli, out):
    for words in ("--sampler.step_size 50", "--data.num_train 0", "--seed x"):
        with untouched():
            refused(cli("run", "tiny.toml", "--output", "out", "--overwrite", *words.split()))


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize(
    "names",
    [
        ["notes.txt"],
        ["config.toml", "run.py", "README.md"],  # a folder of somebody's experiment
        ["config.toml"],
        ["summary.json"],
        [".hidden"],
        ["checkpoint/state.npz"],
    ],
)
def test_foreign_folders_are_never_touched(cli, names, overwrite):
    for name in names:
        (cli.folder / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (cli.folder / "mine" / name).write_text("mine")
    with untouched():
        refused(cli("run", "tiny.toml", "--output", "mine", *overwrite), "mine", "--output")


@pytest.mark.parametrize("name", ["notes.txt", "figures/mine.pdf", "more/data.nc", ".secret"])
def test_foreign_files_in_a_run_folder_are_never_deleted(cli, out, name):
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")
    with untouched():
        answer = cli("run", "tiny.toml", "--output", "out", "--overwrite")
    refused(answer, f"out holds {name.removesuffix('/data.nc')}")


def test_output_that_is_a_file_or_below_one(cli):
    with untouched():
        for output in ("tiny.toml", "tiny.toml/out", "x" * 300):
            refused(cli("run", "tiny.toml", "--output", output), output[:30])


def test_output_that_cannot_be_written(cli, monkeypatch):
    """By permissions where they count (they do not for root), by the failure that they cause."""
    (cli.folder / "locked").mkdir(mode=0o555)
    if os.access(cli.folder / "locked", os.W_OK):

        def denied(*_):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(files, "_write_bytes", denied)
    before = cli.files()
    answer = cli("run", "tiny.toml", "--output", "locked/deep/out")
    refused(answer, "locked/deep/out", "Permission denied", "--output")
    assert cli.files() == before


# --- the other commands


THEORY_CASES = {
    name: shlex.split(words)
    for name, words in {
        "one layer": "",
        "not odd": "--network.activation relu --network.biases true",
        "deep": "--network.hidden_widths 4 3 --prior.precisions 1 1 2",
        "deep, by quadrature": "--network.hidden_widths 4 3 --prior.precisions 1 1 2 "
        "--network.activation tanh --network.biases true",
        "outputs": "--data.source digits --data.classes 0 1 2 --data.targets one_hot",
        "patches": "--data.source digits --network.architecture convolutional",
        "by name": "--theory nested global one_layer_nonodd multi_output convolutional",
    }.items()
}
MORE_IN_JSON = ("predictive_mean", "predictive_variance", "log_evidence_gradient")


def test_theory_json_is_the_theory_of_the_summary_and_more(cli, no_figures):
    cli("run", "tiny.toml", "--output", "out", "--posterior.temperature", ".25")
    answer = cli("theory", "tiny.toml", "--json", "--posterior.temperature", ".25")
    assert (answer.code, answer.err) == (0, "")
    summary = cli.summary("out")
    del summary["experiment"]
    told = json.loads(answer.out)
    for entry in told["theory"].values():
        more = {key: entry.pop(key) for key in MORE_IN_JSON}
        assert len(more["predictive_mean"]) == len(more["predictive_variance"]) == 4
        if more["log_evidence_gradient"] is not None:
            assert len(more["log_evidence_gradient"]["precisions"]) == 2
    assert told == summary
    table = numbers(cli("theory", "tiny.toml", "--posterior.temperature", ".25").out)
    for theory in told["theory"].values():
        for name in ("bias2", "variance", "generalisation_error", "train_error", "log_evidence"):
            assert any(number == pytest.approx(theory[name], rel=1e-3) for number in table), name


@pytest.mark.slow_except("by name")
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=name, marks=[pytest.mark.slow] * ("quadrature" in name))
        for name, words in THEORY_CASES.items()
    ],
)
def test_every_theory_answers_or_says_why(cli, words):
    """At T = 0 too, where all Gram matrices of this task are regular."""
    for temperature in ("0.2", "0"):
        here = [*words, "--data.num_train", "5", "--posterior.temperature", temperature]
        answer = cli("theory", "tiny.toml", "--json", "--plot", "theory.png", *here)
        assert (answer.code, answer.err) == (0, "")
        told = json.loads(answer.out)
        asked = set(words[1:6]) if "--theory" in words else set(THEORIES)
        assert set(told["theory"]) | set(told["not_applicable"]) == asked
        assert all(each["converged"] for each in told["theory"].values())
        assert all(each["log_evidence"] is not None for each in told["theory"].values())
        assert 0 < told["eigenvalues"][0] < told["eigenvalues"][1]
        assert (cli.folder / "theory.png").read_bytes().startswith(b"\x89PNG")
    assert cli.files() == {"tiny.toml", "theory.png"}


def test_figure_of_theories_that_cannot_be_written(cli):
    """It is said before the data are read, which may take a download."""
    for data in ([], ["--data.source", "npz", "--data.path", "missing.npz"]):
        answer = cli("theory", "tiny.toml", "--plot", "none/theory.png", *data)
        refused(answer, "none/theory.png", "mkdir -p none")


def test_zero_temperature_is_not_sampled(cli):
    refused(cli("run", "tiny.toml", "--posterior.temperature", "0"), "temperature", "T = 0")
    assert cli.files() == {"tiny.toml"}


def test_plot_makes_the_figures_again_from_the_folder_alone(cli, finished):
    folder, *_ = finished
    assert cli.files(folder) == RUN_FILES
    drawn = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
    shutil.copytree(folder, "moved", ignore=shutil.ignore_patterns("figures"))
    (cli.folder / "tiny.toml").unlink()
    answer = cli("plot", "moved")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.split() == [f"moved/figures/{name}" for name in sorted(drawn)]
    again = {path.name: path.read_bytes() for path in (cli.folder / "moved/figures").iterdir()}
    assert again == drawn


def test_plot_of_what_is_no_finished_run(cli, out):
    for path in ("nowhere", "tiny.toml"):
        refused(cli("plot", path), path)
    (out / "checkpoint").mkdir()
    (out / "summary.json").rename("summary.json")
    refused(cli("plot", "out"), "out", "--resume")
    (out / "summary.json").write_text("{")
    refused(cli("plot", "out"), "out/summary.json", "--overwrite")
    (cli.folder / "summary.json").rename("out/summary.json")
    content = (out / "posterior.nc").read_bytes()
    for damaged in (b"", content[:100], content[: len(content) // 2]):
        (out / "posterior.nc").write_bytes(damaged)
        refused(cli("plot", "out"), "out/posterior.nc", "--overwrite")


def test_info_leaves_a_running_jax_as_it_is(cli):
    devices = jax.device_count()
    answer = cli("info")
    assert (answer.code, answer.err) == (0, "")
    assert all(word in answer.out for word in ("python", "cpu", "jax", jax.__version__))
    assert jax.device_count() == devices


def test_data_list_and_its_refusals(cli, monkeypatch):
    monkeypatch.setenv("LANGEVIN_NN_DATA", str(cli.folder / "no such folder"))
    answer = cli("data", "list")
    assert (answer.code, answer.err) == (0, "")
    rows = {line.split()[0]: line for line in answer.out.splitlines()}
    assert "yes" in rows["digits"] and "data fetch mnist" in rows["mnist"]
    assert str(cli.folder / "no such folder") in rows["mnist"]
    for words, known in {
        "list mnist": "data list", "fetch": "mnist", "fetch minst": "mnist", "get": "list",
        "": "fetch",
    }.items():  # fmt: skip
        refused(cli("data", *words.split()), known)
    assert cli.files() == {"tiny.toml"}


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        ("sample tiny.toml", ["'sample'", "theory"]),
        ("run", ["CONFIG.toml", "langevin-nn run --help"]),
        ("--quiet run tiny.toml", ["--quiet", "the command goes first", "langevin-nn run"]),
        ("--sampler.num_samples 20 run tiny.toml",
         ["--sampler.num_samples", "the command goes first", "langevin-nn run --sampler.num_s"]),
        ("--seed=3 --sampler.num-chains 2", ["--seed=3", "the command goes first", "COMMAND"]),
        ("tiny.toml theory --json", ["the command goes first", "langevin-nn theory tiny.toml"]),
        ("--versoin", ['"--version"']),
        ("theory --maximise-evidence posterior.temperature tiny",
         ["CONFIG.toml is missing", "langevin-nn theory CONFIG.toml", ".toml"]),
        ("run --sampler.ladder 1 2 tiny", ["CONFIG.toml is missing", ".toml"]),
        ("run tiny.toml --over-write", ["--over-write", '"--overwrite"']),
        ("run tiny.toml --resume --overwrite", ["--resume", "--overwrite"]),
        ("run tiny.toml --json", ["--json"]),
        ("theory tiny.toml --output x", ["--output", "theory --help"]),
        ("plot", ["RUN_DIR"]),
        ("info all", ["all"]),
        ("run missing.toml", ["missing.toml", "No such file", "langevin-nn init"]),
        ("theory tiny", ["No such file", "write tiny.toml"]),
        ("run tny.toml", ["No such file", "write tiny.toml"]),
        ("run .", ["Is a directory", "tiny.toml"]),
    ],
)  # fmt: skip
def test_words_that_make_no_command(cli, words, fragments):
    refused(cli(*words.split()), *fragments)
    assert cli.files() == {"tiny.toml"}


@pytest.mark.parametrize(
    ("name", "words"), [("config.toml", "there/config.toml"), ("sweep.toml", "langevin-nn sweep")]
)
@pytest.mark.parametrize("command", ["run", "theory", "sweep"])
def test_a_folder_in_place_of_its_configuration(cli, command, name, words):
    Path("there").mkdir()
    shutil.move("tiny.toml", f"there/{name}")
    refused(cli(command, "there"), words, f"there/{name}")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["nested", "multi_output"], "none of nested, multi_output applies ("),
        (["one_layer"], "one_layer does not apply ("),
    ],
)
def test_theories_that_do_not_apply(cli, names, words):
    data = ["--data.source", "digits", "--data.num_train", "6"]
    answer = cli("run", "tiny.toml", *data, "--theory", *names, "--posterior.loss", "hinge")
    assert words in answer.err
    refused(answer, 'loss = "squared"')


def test_version_and_the_package_as_a_module(tmp_path):
    command = [sys.executable, "-m", "langevin_nn", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["langevin-nn", lnn.__version__] and not done.returncode


def test_dashes_signs_and_exponents_of_options(cli, no_figures):
    words = "--sampler.num-warmup=9 --data.targets -1e0 +2 --data.source random --seed 3"
    cli("run", "tiny.toml", "--output", "out", *words.split())
    config = configuration.load(cli.folder / "out/config.toml")
    assert config.sampler.num_warmup == 9
    assert config.data.targets == (-1.0, 2.0)


def test_interrupted_before_it_began(cli, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(commands.run, "configure_jax", interrupt)
    answer = cli("run", "tiny.toml")
    assert (answer.code, answer.out, answer.err) == (130, "", "\ninterrupted\n")
    assert cli.files() == {"tiny.toml"}


def test_interrupted_while_libraries_load():
    """The system ends the process: what Python would raise, some libraries swallow."""
    before = signal.getsignal(signal.SIGINT)
    assert before is signal.default_int_handler
    with startup.loading():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is before
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup does
    try:
        with startup.loading():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_state_is_that_of_the_package(tmp_path):
    """A package installed inside somebody's repository says nothing about that repository."""

    def git(*words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True)

    assert provenance.git_state(tmp_path) is None
    git("init")
    (tmp_path / "provenance.py").write_text("installed")
    (tmp_path / "paper.tex").write_text("theirs")
    git("add", "paper.tex")
    git("commit", "-m", "theirs")
    assert provenance.git_state(tmp_path) is None
    git("add", ".")
    git("commit", "-m", "ours")
    state = provenance.git_state(tmp_path)
    assert len(state["commit"]) == 40 and state["uncommitted_changes"] is False
    (tmp_path / "provenance.py").write_text("edited")
    assert provenance.git_state(tmp_path)["uncommitted_changes"] is True


@pytest.mark.slow
def test_a_reader_that_has_gone_is_no_error():
    """As in `langevin-nn data list | head -1`."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "langevin_nn.cli", "data", "list"],
            stdout=pipe, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, ""), "as of a program that SIGPIPE ends"


# --- folders that are moved, or stand where files are to be (FAULTS 5)


@pytest.mark.parametrize("command", [["run"], ["sweep", "--seeds", "2"]])
def test_a_folder_within_another_run_s(cli, command):
    """--overwrite of that run would have deleted this one."""
    (cli.folder / "out/checkpoint").mkdir(parents=True)
    (cli.folder / "out/config.toml").touch()
    for output in ("out/sub", "out/figures/a/b"):
        with untouched():
            answer = cli(command[0], "tiny.toml", *command[1:], "--output", output)
        refused(answer, output, f"{cli.folder}/out")


def test_a_folder_in_place_of_the_lock(cli):
    for words, lock in (("run", "out/.lock"), ("sweep --seeds 2", "swept/tasks/lock")):
        (cli.folder / lock).mkdir(parents=True)
        command, *more = words.split()
        output = lock.partition("/")[0]
        refused(cli(command, "tiny.toml", *more, "--output", output), f"{lock} is a folder")


@pytest.mark.parametrize(
    ("there", "missing", "command"),
    [
        ("summary.json/", "file", "run"),
        ("posterior.nc/", "file", "run"),
        ("figures/predictions.png/", "file", "run"),
        ("figures", "folder", "run"),
        ("results.nc/", "file", "sweep --seeds 2"),
        ("points", "folder", "sweep --seeds 2"),
    ],
)
def test_what_stands_in_place_of_a_file_is_told_before_anything_is_computed(
    cli, monkeypatch, there, missing, command
):
    """Only when all was sampled was it found that the file could not be written. FAULTS 3."""
    monkeypatch.setattr(run, "run", None)
    words = (command.split()[0], "tiny.toml", *command.split()[1:], "--output", "out")
    if command == "run":
        words += ("--resume",)
        (cli.folder / "out/checkpoint").mkdir(parents=True)
        config = configuration.load(cli.folder / "tiny.toml").to_toml()
        (cli.folder / "out/config.toml").write_text(config)
    path = cli.folder / "out" / there
    path.parent.mkdir(parents=True, exist_ok=True)
    if command != "run":
        (cli.folder / "out/tasks").mkdir()
    if there.endswith("/"):
        path.mkdir()
    else:
        path.touch()
    refused(cli(*words), there.rstrip("/"), missing)
    assert path.exists() and not (cli.folder / "out/summary.json").is_file()


def test_a_folder_in_place_of_a_page_or_a_figure(cli, out):
    """Some of the figures were drawn anew, and the advice was to copy the run. FAULTS 3."""
    for words, there in (
        ("plot out", "out/figures/predictions.png"),
        ("report out", "out/report.html"),
        ("report out --output page.html", "page.html"),
        ("theory tiny.toml --theory infinite_width --plot theory.svg", "theory.svg"),
    ):
        path = cli.folder / there
        path.unlink(missing_ok=True)
        path.mkdir(parents=True)
        with untouched():
            answer = cli(*words.split())
        refused(answer, there, "is a folder")
    shutil.rmtree(out / "figures")
    (out / "figures").touch()
    refused(cli("plot", "out"), "out/figures", "is a file")


@pytest.mark.parametrize("place", ["manifest.json", "figures/mine.png", "checkpoint/state.npz"])
def test_overwrite_keeps_what_is_in_a_folder_in_place_of_a_file(cli, place):
    """It deleted a folder of the user's that had the name of a run's file."""
    (cli.folder / "out/checkpoint").mkdir(parents=True)
    config = configuration.load(cli.folder / "tiny.toml").to_toml()
    (cli.folder / "out/config.toml").write_text(config)
    (cli.folder / "out" / place).mkdir(parents=True)
    (cli.folder / "out" / place / "notes.txt").write_text("precious")
    refused(cli("run", "tiny.toml", "--output", "out", "--overwrite"), place)
    assert (cli.folder / "out" / place / "notes.txt").read_text() == "precious"


def test_a_configuration_that_is_empty_in_a_run_s_folder(cli):
    """It was read as one of defaults."""
    (cli.folder / "out/checkpoint").mkdir(parents=True)
    (cli.folder / "out/config.toml").write_text("\n")
    refused(cli("run", "tiny.toml", "--output", "out", "--resume"), "out/config.toml", "empty")


@pytest.mark.parametrize("what", ["moved", "in the way"])
def test_why_writing_failed(cli, monkeypatch, what):
    def fails(*_, **__):
        if what == "moved":
            (cli.folder / "out").rename(cli.folder / "moved")
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "out/x")
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), ".x.part", None, "out/x")

    monkeypatch.setattr(run, "run", fails)
    answer = cli("run", "tiny.toml", "--output", "out", "--theory", "infinite_width")
    if what == "moved":
        refused(answer, "renamed", "--output")
        assert (cli.folder / "moved/config.toml").is_file()
    else:
        refused(answer, "out/x", "is a folder")


# --- the terminal, the shell and the machine (FAULTS 5)


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["theory", "tiny.toml", "--plot", ""], ["--plot", "''"]),
        (["theory", "tiny.toml", "--plot", "x.xyz"], [".png, .pdf, .svg", "x.png"]),
        (["theory", "tiny.toml", "--plot", "x"], [".png, .pdf, .svg", "x.png"]),
        (["run", "tiny.toml", "--output", ""], ["--output", "''"]),
        (["run", ""], ["''"]),
        (["run", "a\0b"], ["NUL"]),
        (["plot", "\udcff"], ["UTF-8"]),
        (["run", "x" * 5000], ["too long"]),
        (["plot", "x" * 5000], ["too long"]),
        (["report", "x" * 5000], ["too long"]),
        (["sweep", "--status", "x" * 5000], ["too long"]),
        (["sweep", "--status", "out", "--seed", "3"], ["--seed"]),
        (["sweep", "tiny.toml", "--seeds", "9" * 5000], ["--seeds"]),
        (["sweep", "tiny.toml", "--over", "seed=" + "9" * 5000], ["seed"]),
        (["sweep", "tiny.toml", "--task", "9" * 5000], ["I/N"]),
        (["theory", "tiny.toml", "--seed", "1", "--seed", "2"], ["--seed", "twice"]),
        (["run", "tiny.toml", "--data.source", "npz", "--data.path", "~nosuchuser"], ["data.path"]),
        (["theory", "tiny.toml", "--theory", "convolutional"], ["convolutional"]),  # FAULTS 3.8
        (["run", "tiny.toml", "--theory", "convolutional"], ["convolutional"]),
        (["theory", "tiny.toml", "--theory", "[]"], ["no theory"]),
        (["sweep", "tiny.toml", "--seeds", "99999999999"], ["--seeds"]),
        (["theory", "tiny.toml", "--posterior.temperature", "-inf"], ["-inf"]),
    ],
    ids=range(22),
)  # fmt: skip
def test_words_that_no_shell_forbids(cli, words, fragments):
    """FAULTS 5, --plot '' and paths of NUL and of 5000 letters; 3.8."""
    refused(cli(*words), *fragments)
    assert cli.files() == {"tiny.toml"}


def shell(line, **environment):
    """A line of sh in which $L is the command; its answer."""
    command = f"{sys.executable} -m langevin_nn.cli"
    return subprocess.run(
        ["sh", "-c", line], env=os.environ | {"L": command} | environment,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("sink", ["/dev/full", "&-"])
def test_output_that_goes_nowhere_is_an_error(sink):
    """FAULTS 5, /dev/full: the table is lost, so the code is not 0."""
    done = shell(f"$L data list >{sink}")
    refused(Answer(done.returncode, done.stdout, done.stderr), "output")


@pytest.mark.slow
def test_closed_streams_and_letters_that_are_not_needed(cli):
    """FAULTS 5, >&-: <&- and 2>&- alone stop nothing; an opened file is never taken for them."""
    done = shell("$L data list <&- 2>&-", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "") and "8?8" in done.stdout


@pytest.mark.parametrize(("columns", "term"), [(0, "xterm"), (0, "dumb")])
def test_progress_on_a_terminal_of_no_size(columns, term, monkeypatch):
    """FAULTS 5, a terminal of 0 × 0, as some serial lines and editors have it."""
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(screen, "fileno", lambda: 2)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((columns, 0)))
    monkeypatch.setenv("TERM", term)
    with RunCommandProgress(quiet=False) as progress:
        for steps in (10, 100):
            progress(Report(steps, 100, 50, 0.25, 0))
    assert "training error 0.25" in screen.getvalue()


def test_progress_that_nobody_reads_stops_nothing(monkeypatch):
    """FAULTS 5, /dev/full: as 2>/dev/full."""

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    screen = io.StringIO()
    monkeypatch.setattr(screen, "write", full)
    monkeypatch.setattr(sys, "stderr", screen)
    with RunCommandProgress(quiet=False) as progress:
        progress(Report(10, 100, 50, 0.25, 0))
        assert progress.quiet


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"),
        np._core._exceptions._ArrayMemoryError((2**40,), np.dtype("f8")),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), RuntimeError("std::bad_alloc"),
        ValueError("array is too big; `arr.size * arr.dtype.itemsize` is larger"),
        RuntimeError("INTERNAL: Failed to allocate 8 bytes"),
    ],
    ids=range(7),
)  # fmt: skip
def test_out_of_memory_of_every_wording(cli, monkeypatch, error):
    """FAULTS 4.3"""

    def raises(*_):
        raise error

    monkeypatch.setattr(commands.info, "execute", raises)
    refused(cli("info"), "memory")
    monkeypatch.setattr(commands.info, "execute", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli("info")


@pytest.mark.slow
def test_dollars_are_dollars_in_figures(cli):
    """FAULTS 4.4: what stands between two of them is no formula."""
    for words in ("a $x_{ b", "$a$", r"\$x", "$"):
        figure = plotting.theory_figure([], {}, words)
        assert len(plotting.pngs({"x": figure})["x"]) > 1000
    write_npz("$x_{$.npz")
    answer = cli("theory", "tiny.toml", "--theory", "one_layer", "--plot", "$x_{$.svg",
                 *npz_words("$x_{$.npz"))  # fmt: skip
    assert (answer.code, answer.err) == (0, "")
    ticks = plotting.places_of(xr.DataArray(np.array(["a $x_{ b$", "c"])))[1]
    assert ticks == [r"a \$x_{ b\$", "c"]
    assert b"<svg" in (cli.folder / "$x_{$.svg").read_bytes()


@pytest.mark.slow
def test_home_that_cannot_be_written():
    """FAULTS 5, HOME: as in containers; ArviZ notes there when it was used last."""
    code = "import langevin_nn.analysis.diagnostics, os; print(os.environ.get('XDG_CACHE_HOME'))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True,
        env={k: v for k, v in os.environ.items() if k != "XDG_CACHE_HOME"} | {"HOME": "/proc/no"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr
