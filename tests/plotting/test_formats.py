"""Figures as PNG, PDF and SVG: to the last byte the same whenever they are drawn."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from cases import TINY
from command_line import CommandLine
from matplotlib.figure import Figure
from refusals import refused, refuses, untouched

from langevin_nn import plotting
from langevin_nn.cli.main import main
from langevin_nn.runs import claims
from langevin_nn.values import FIGURE_FORMATS

BEGINS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
LINEAR = shlex.split("--network.hidden_widths [] --prior.precisions 1 --theory infinite_width")


def figure(points=3, label="N_1 = 3"):
    drawn = Figure(figsize=(3, 2), layout="constrained")
    ax = drawn.subplots()
    ax.plot(range(points), [i % 2 for i in range(points)], "o-", label=label)
    ax.fill_between([0, 1], [0, 1], [1, 2], hatch="//")  # has an id of its own in SVG
    ax.legend()
    return drawn


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run whose figures were drawn as PDF and SVG."""
    folder = tmp_path_factory.mktemp("ran")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("tiny.toml").write_text(TINY)
        words = ["run", *LINEAR, "--quiet", "--output", "out", "--format", "pdf", "svg"]
        assert main([*words, "tiny.toml"]) in (0, 3)
    return folder / "out"


@pytest.mark.parametrize("ending", FIGURE_FORMATS)
def test_files_are_reproducible(tmp_path, monkeypatch, ending):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    for name in ("one", "two"):
        plotting.save_as(figure(), tmp_path / f"{name}.{ending}")
    one, two = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("one", "two"))
    assert one == two and one.startswith(BEGINS[ending])
    assert b"CreationDate" not in one and b"<dc:date>" not in one


def test_several_formats_at_once(tmp_path):
    plotting.save({"a": figure(), "b": figure()}, tmp_path, FIGURE_FORMATS)
    paths = {f"{name}.{ending}" for name in "ab" for ending in FIGURE_FORMATS}
    assert {path.name for path in tmp_path.iterdir()} == paths
    (tmp_path / "a.svg").unlink()
    (tmp_path / "a.svg").mkdir()
    with untouched(tmp_path):
        with refuses("a.svg", "folder"):
            plotting.save({"a": figure()}, tmp_path, ["pdf", "svg"])
        with refuses("jpg", "png"):
            plotting.save({"a": figure()}, tmp_path, ["png", "jpg"])


def test_images_of_a_page_are_svg_where_that_is_small():
    images = plotting.images({"few": figure(), "many": figure(8_000)})
    assert images["few"].startswith("<svg") and images["few"].endswith("</svg>")
    assert images["many"].startswith(BEGINS["png"])


def test_svg_of_a_page_has_its_text_and_ids_of_its_own():
    """Numbers in words stay as they are, coordinates are short, and drawing again is the same."""
    label = "λ_L = 0.0166810053 <b>"
    first, second = (plotting.svg(figure(label=label), name) for name in ("first", "second"))
    assert first == plotting.svg(figure(label=label), "first")
    assert "λ_L = 0.0166810053 &lt;b&gt;" in first and "://" not in first
    assert not re.search(r' [dxy]="[^"]*\.\d{3}', first)
    ids, others = (re.findall(r'\bid="(.*?)"', text) for text in (first, second))
    assert ids and len({*ids, *others}) == len(ids) + len(others)
    assert {*re.findall(r'(?:href="|url\()#(\w+)', first)} <= {*ids}


@pytest.mark.slow
def test_the_figures_of_a_run_are_those_that_its_folder_may_have(ran):
    names = {path.name for path in (ran / "figures").iterdir()}
    assert names == {f"{name}.{ending}" for name in claims.FIGURES for ending in ("pdf", "svg")}


@pytest.mark.slow
def test_plot_draws_the_formats_that_are_asked_for(ran, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(tmp_path, capsys)
    shutil.copytree(ran, "out")
    drawn = {path.name: path.read_bytes() for path in Path("out/figures").iterdir()}
    shutil.rmtree("out/figures")
    answer = cli("plot", "--format", "svg", "pdf", "out")
    assert answer.code == 0
    assert answer.out.split() == [f"out/figures/{name}" for name in sorted(drawn)]
    assert {path.name: path.read_bytes() for path in Path("out/figures").iterdir()} == drawn
    assert "out/figures/chains.png" in cli("plot", "out").out
    with untouched():
        refused(cli("plot", "out", "--format", "jpg"), "jpg", "png")
    Path("out/figures/mine.svg").touch()
    words = ["run", "tiny.toml", *LINEAR, "--quiet", "--output", "out", "--overwrite"]
    with untouched():
        refused(cli(*words), "out holds figures/mine.svg")
    Path("out/figures/mine.svg").unlink()
    assert cli(*words).code in (0, 3)
    assert {path.suffix for path in Path("out/figures").iterdir()} == {".png"}
