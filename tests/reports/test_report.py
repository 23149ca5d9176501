"""Reports: one page that holds every number, asks for nothing, and says what went wrong."""

import errno
import json
import os
import re
import shlex
import shutil
import tomllib
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import matplotlib
import pytest
from cases import SHORT_GRID
from command_line import unsealed
from refusals import refused, untouched

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn import files, plotting
from langevin_nn.analysis import diagnostics
from langevin_nn.analysis.comparison import grid_deviations
from langevin_nn.analysis.generalisation import summarise
from langevin_nn.analysis.tempering import Tempering, ThermodynamicIntegration
from langevin_nn.errors import InputError
from langevin_nn.estimates import plus_minus
from langevin_nn.reports import html, points
from langevin_nn.reports import sweep as sweep_module
from langevin_nn.result_text import QUANTITIES
from langevin_nn.runs.folder import RunFolder
from langevin_nn.runs.summary import Tempered, as_json
from langevin_nn.runs.tables import Criterion
from langevin_nn.sweeps import grid
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.theory.suite import theory_named
from langevin_nn.types import Estimate, StepSizeBias

OVER = {"posterior.temperature": [0.0, 0.5], "prior.precisions[-1]": [0.5, 2.0]}
T, LAMBDA = OVER
HOSTILE = "</td><script>alert('x')</script> & \"quotes\" \x1b[31m \ud800"
SHOWN = "</td><script>alert('x')</script> & \"quotes\" \ufffd[31m \ufffd"
VOID = {"meta", "img"}
REFERRING = ("src", "href", "xlink:href", "srcset", "data")
DRAWING = {name: getattr(plotting, name) for name in ("images", "run_figures", "grid_figures")}


class Page(HTMLParser):
    """A page as its reader finds it: tables by their captions, the text, what it refers to."""

    def __init__(self, path):
        super().__init__()
        self.content = Path(path).read_text(encoding="utf-8")
        self.open, self.tags, self.ids, self.refers = [], [], [], []
        self.tables, self.cell, self.text, self.drawn = {}, None, "", ""
        self.images, self.headings, self.marks = [], [], {}
        self.command, self.explained = None, {}
        self.feed(self.content)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        self.refers += [value for name, value in attrs if name in REFERRING]
        if tag in ("img", "svg"):
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.row, self.mark = [], dict(attrs).get("class", "")
        if tag in ("caption", "th", "td", "h1", "h2", "h3", "dt", "dd"):
            self.cell = ""

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"{tag} closes something else"
        if tag == "caption":
            self.caption = self.cell
            assert self.caption not in self.tables, "two tables of one caption"
            self.tables[self.caption], self.marks[self.caption] = [], []
        elif tag in ("th", "td"):
            self.row.append(self.cell)
        elif tag == "tr":
            self.tables[self.caption].append(self.row)
            self.marks[self.caption].append(self.mark)
        elif tag == "dt":
            self.term = self.cell
        elif tag == "dd":
            self.explained[self.term] = self.cell
        elif tag in ("h1", "h2", "h3"):
            self.headings.append((tag, self.cell))

    def handle_data(self, data):
        if "svg" in self.open:
            self.drawn += data
            return
        self.text += data
        if self.tags[-1:] == [("pre", {"class": "command"})]:
            self.command = self.command or data
        if self.cell is not None:
            self.cell += data

    def rows(self, caption):
        """The rows of the table whose caption begins so, each as a dictionary."""
        (found,) = [table for name, table in self.tables.items() if name.startswith(caption)]
        header, *rows = found
        return [dict(zip(header, row, strict=True)) for row in rows]

    def rows_with(self, *cells):
        """The rows of any table that have all of these cells, without those."""
        rows = [row for table in self.tables.values() for row in table]
        return [
            [cell for cell in row if cell not in cells] for row in rows if set(cells) <= set(row)
        ]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The folder of a sweep: T = 0 cannot be sampled, two points can, and do not converge."""
    path = tmp_path_factory.mktemp("swept") / "sweep"
    lnn.sweep(configuration.from_dict(tomllib.loads(SHORT_GRID)), OVER, output=path)
    return path


@pytest.fixture(autouse=True, scope="module")
def undrawn():
    """Drawing takes most of the time of a page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plotting, "run_figures", lambda *_: {"chains": None})
        patch.setattr(plotting, "grid_figures", lambda *_: {"lines": None})
        patch.setattr(plotting, "images", lambda figures: dict.fromkeys(figures, b"drawn"))
        yield


@pytest.fixture
def drawn(monkeypatch):
    """Figures as they are."""
    for name, function in DRAWING.items():
        monkeypatch.setattr(plotting, name, function)


@pytest.fixture
def whole(swept, tmp_path):
    """A copy of that sweep."""
    shutil.copytree(swept, tmp_path / "wide & deep")
    return SweepFolder.existing(tmp_path / "wide & deep")


@pytest.fixture(scope="module")
def page(swept, undrawn, tmp_path_factory):
    """Its page as it is."""
    return Page(lnn.report(swept, tmp_path_factory.mktemp("page") / "page.html"))


@pytest.fixture
def begun(tmp_path):
    """The same sweep, nothing computed yet."""
    return SweepFolder.begin(tmp_path / "begun", grid.grid(tomllib.loads(SHORT_GRID), OVER), 1)


@pytest.fixture
def ran(swept, tmp_path):
    """A run folder: that of a point."""
    sweep = SweepFolder.existing(swept)
    shutil.copytree(sweep.run(warm(sweep)[0]).path, tmp_path / "ran")
    return RunFolder(tmp_path / "ran")


def warm(sweep):
    """The two points that can be sampled."""
    return list(sweep.points)[2:]


def edit(path, change):
    """Change a JSON file; `change` works in place."""
    if (path.parent / "manifest.json").exists():
        unsealed(path.parent)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# --- the page


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sweep", "run"])
def test_page_is_whole_and_needs_nothing_else(kind, whole, ran, drawn):
    path = lnn.report(whole.path if kind == "sweep" else ran.path)
    page = Page(path)
    assert path.name == "report.html" and path.stat().st_size < 5e5
    names = [tag for tag, _ in page.tags]
    assert page.tags[0] == ("html", {"lang": "en"})
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(names)
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    for reference in page.refers:
        assert reference.startswith("data:image/png;base64,") or reference[1:] in page.ids
    assert not [part for part in ("@import", "://") if part in page.content]
    assert set(re.findall(r"url\((.)", page.content)) <= {"#"}
    assert set(re.findall(r"url\(#(\w+)\)", page.content)) <= {*page.ids}
    assert len(page.ids) == len({*page.ids}), "of several figures, too"
    assert "default-src 'none'" in page.content
    assert {attrs["scope"] for tag, attrs in page.tags if tag == "th"} == {"row", "col"}
    for header, *rows in page.tables.values():
        assert all(header) and rows and {len(row) for row in rows} == {len(header)}
    assert names.count("table") == len(page.tables) == names.count("caption")
    assert [tag for tag, _ in page.headings].count("h1") == 1
    assert page.images and all(image.get("alt", image.get("aria-label")) for image in page.images)
    assert "T = " in page.drawn and "variance" in page.drawn, "text that can be searched for"
    assert without_date(page) == without_date(Page(lnn.report(path.parent))), "drawn alike"


def without_date(page):
    return re.sub(r"As of [^,]*", "", page.content)


def test_every_number_of_the_dataset(swept, page):
    """Each as the first number of its cell, beside the right point; a dash where there is none."""
    found = lnn.collect(swept)
    theories = list(found.theory.values)
    for index, precision in enumerate((0.5, 2.0), start=2):
        here = found.sel({T: 0.5, LAMBDA: precision})
        experiment = page.rows("The experiment")[index]
        assert {"0.5", str(precision)} <= set(experiment.values())
        assert leading(experiment["s"]) == pytest.approx(float(here.criterion), rel=1e-3)
        for key, name in QUANTITIES.items():
            row = page.rows(name)[index]
            measured = float(here[key])
            for cell in (experiment[name], row["experiment"]):
                assert leading(cell) == pytest.approx(measured, rel=0.05) and "±" in cell
        for caption, variable, accuracy in (
            *((name, here[f"theory_{key}"], 1e-4) for key, name in QUANTITIES.items()),
            ("log evidence", here.theory_log_evidence, 1e-3),
            ("order parameters", here.order_parameter.isel(order=0), 1e-3),
            ("test accuracy", here.theory_test_accuracy, 1e-3),
        ):
            values = [leading(page.rows(caption)[index][theory]) for theory in theories]
            assert values == pytest.approx(variable.values.tolist(), rel=accuracy), caption
        chains = page.rows("The chains")[index]
        assert leading(chains["R̂ max"]) == pytest.approx(float(here.rhat_max), rel=1e-3)
        assert str(here.point.values) in chains.values()
    failed = page.rows("The experiment")[0]
    assert failed["bias²"] == failed["s"] == "–" and failed["state"] == "failed"


def leading(cell):
    """The number that a cell begins with."""
    return float(cell.replace("−", "-").replace(",", "").split()[0])


def test_what_is_studied_where_it_is_from_and_what_went_wrong(swept, page):
    sweep = SweepFolder.existing(swept)
    done = sweep.run(warm(sweep)[0])
    manifest = done.load_manifest()
    assert all(page.rows_with(axis) for axis in OVER)
    assert sweep.definition in page.text and sweep.grid.content_hash in page.text
    assert page.rows_with("jax", manifest["versions"]["jax"])
    assert manifest["data"] and page.rows_with("data", ", ".join(manifest["data"]))
    places = [f"T = {cold}, λ_L = {last}" for cold, last in product((0.0, 0.5), (0.5, 2.0))]
    listed = [" ".join(*page.rows_with(place)) for place in places]
    for row, word in zip(listed, ("temperature", "temperature", "R̂", "R̂"), strict=True):
        assert word in row and ("failed" in row) == (word == "temperature")
    assert done.load_summary().experiment.message in listed[2]
    assert "--extend" in listed[2] and "extend=True of lnn.sweep" in listed[2]


def test_where_points_differ_in_what_they_depend_on(whole):
    def change(manifest):
        manifest["versions"]["jax"] = "0.0.1"
        manifest["git"] = None
        manifest["data"] = ["images.gz sha256:0123"]

    edit(whole.run(warm(whole)[1]).path / "manifest.json", change)
    page = Page(lnn.report(whole.path))
    for different in (("jax", "0.0.1"), ("data", "images.gz sha256:0123")):
        ((points,),) = page.rows_with(*different)
        assert "T = 0.5, λ_L = 2.0" in points
        assert len(page.rows_with(different[0])) == 2
    assert len(page.rows_with("numpy")) == 1


def test_agreement_is_that_of_points_that_have_converged(whole, page):
    assert not [name for name in page.tables if name.startswith("Each theory")]
    converge(whole, warm(whole)[0])
    page, found = Page(lnn.report(whole.path)), lnn.collect(whole.path)
    there = (
        grid_deviations(found, "variance").sel({T: 0.5, LAMBDA: 0.5}).sel(theory="scale_mixture")
    )
    (row,) = [
        row
        for row in page.rows("Each theory over the points")
        if (row["quantity"], row["theory"]) == ("variance", "scale_mixture")
    ]
    assert row["points"] == "1"
    assert leading(row["median |z|"]) == pytest.approx(abs(float(there.z)), abs=0.05)
    assert "T = 0.5, λ_L = 0.5" in row["largest deviation"]
    marks = page.marks["variance"][1:]
    assert len(set(marks)) == 3 and not marks[2], "failed, converged, and neither"


def converge(sweep, point):
    """Let a point say that it has converged."""
    edit(
        sweep.run(point).path / "summary.json",
        lambda content: content["experiment"].update(converged=True, message=""),
    )


def test_a_theory_that_has_not_converged_says_so(whole):
    def change(summary):
        summary["theory"]["scale_mixture"] |= {"converged": False, "message": "it did not settle"}

    edit(whole.run(warm(whole)[1]).path / "summary.json", change)
    page = Page(lnn.report(whole.path))
    cells = [row["scale_mixture"] for row in page.rows("variance")]
    assert ["not converged" in cell for cell in cells] == [False, False, False, True]
    assert "scale_mixture: not converged: it did not settle" in page.text


def test_what_files_say_is_escaped(whole, drawn):
    """Names are words, no markup and, in the figures, no formulas either."""
    edit(
        whole.path / "failed" / f"{list(whole.points)[0]}.json",
        lambda content: content.update(reason=HOSTILE),
    )

    def change(summary):
        summary["experiment"]["message"] = HOSTILE
        summary["theory"]["<b>own"] = summary["theory"]["scale_mixture"] | {"message": HOSTILE}
        summary["not_applicable"] = {"nested": HOSTILE}

    edit(whole.run(warm(whole)[0]).path / "summary.json", change)
    edit(
        whole.run(warm(whole)[0]).path / "manifest.json",
        lambda content: content["versions"].update({"<i>jax": HOSTILE}),
    )
    named = whole.path.rename(whole.path.with_name("<b>a & b $\\frac$"))
    page = Page(lnn.report(named))
    assert not {"script", "b", "i"} & {tag for tag, _ in page.tags}
    assert len(page.rows_with(SHOWN)) == 3, "the failed point, the other one, and the version"
    assert page.rows_with("<i>jax", SHOWN) and "<b>own" in page.rows("variance")[0]
    assert page.headings[0][1].endswith("<b>a & b $\\frac$")
    assert page.text.count(SHOWN) == 5, "the theory's message, and why one was left out"


def test_attributes_are_escaped():
    made = html.table('a" onclick="b', ["c"], [["<d>"]])
    assert 'aria-label="a&quot; onclick=&quot;b"' in made and "&lt;d&gt;" in made


def test_at_any_time(begun, whole):
    """Nothing done; then one point done, one being worked on."""
    page = Page(lnn.report(begun.path))
    assert not page.images and "4 missing" in page.text
    assert [row["state"] for row in page.rows("The experiment")] == ["missing"] * 4

    point = warm(begun)[0]
    shutil.copytree(whole.run(point).path, begun.run(point).path)
    (task,) = [task for task in begun.tasks if warm(begun)[1] in task.points]
    with begun.claimed(task):
        page = Page(lnn.report(begun.path))
    assert page.images and "1 done, 3 missing, 1 not converged" in page.text
    assert "25 %" in page.text and task.name in page.text and str(os.getpid()) in page.text
    states = [row["state"] for row in page.rows("The experiment")]
    assert states == ["missing", "missing", "not converged", "missing"]


def test_large_grids_have_their_first_points(whole, monkeypatch):
    monkeypatch.setattr(points, "MOST_ROWS", 3)
    monkeypatch.setattr(sweep_module, "MOST_ROWS", 3)
    tables = Page(lnn.report(whole.path)).tables
    cut = {name: len(rows) - 1 for name, rows in tables.items() if "first 3 of 4" in name}
    assert set(cut.values()) == {3} and any(name.startswith("variance") for name in cut)
    assert any("failed" in name for name in cut)


def test_long_numbers_on_an_axis():
    assert points._short([0.1, 1 / 3, 20]) == ["0.1", "0.333333", "20"]
    assert points._short([1 / 3, 1 / 3 + 1e-12]) == ["0.3333333333333333", "0.3333333333343333"]


def test_theories_alone_have_a_page_without_an_experiment(tmp_path):
    config = configuration.from_dict(tomllib.loads(SHORT_GRID))
    lnn.sweep(config, OVER, output=tmp_path / "theories", theory_only=True)
    page = Page(lnn.report(tmp_path / "theories"))
    opening = page.text[: page.text.index("Grid")]
    assert "Nothing was sampled" in opening
    assert "scale_mixture differs from infinite_width, over 4 points" in opening
    for word in ("experiment", "Sampled by", "converged", "chains", "error bars", "finished"):
        assert word not in page.text.partition("Configuration")[0].replace("reproduc", ""), word
    headings = [text for tag, text in page.headings if tag == "h2"]
    assert headings == ["Grid", "Figures", "Theories", "Provenance"]
    for header, *rows in page.tables.values():
        assert rows and "–" not in {cell for row in rows for cell in row}, header
    errors = [row["scale_mixture"] for row in page.rows("training error")]
    assert errors[:2] == ["0", "0"] and float(errors[2]) > 0.1, "T = 0 and T = 0.5"
    assert [row["s"] for row in page.rows("The criterion")] == ["0.5087", "2.035"] * 2
    assert "--theory-only" in page.command


def test_points_that_failed_where_theories_alone_were_asked(tmp_path):
    config = configuration.from_dict(tomllib.loads(SHORT_GRID))
    over = {"data.num_train": [5, 2_000_000_000]}
    lnn.sweep(config, over, output=tmp_path / "theories", theory_only=True)
    page = Page(lnn.report(tmp_path / "theories"))
    assert "Nothing was sampled" in page.text and "--theory-only" in page.command
    (row,) = page.rows("Points")
    assert row["state"] == "failed" and "memory" in row["reason"] and "–" in page.text
    assert ("h2", "Points that failed") in page.headings


def test_a_sweep_that_is_sampled_in_part(whole):
    """The points of theory alone are in the theories' tables and not in the experiment's."""
    for point in list(whole.points)[:2]:
        (whole.path / "failed" / f"{point}.json").unlink()
    lnn.sweep(whole.grid.points[0], OVER, output=whole.path, theory_only=True)
    page = Page(lnn.report(whole.path))
    assert "2 done, 2 of theory alone" in page.text and "At 2 of the 4 points sampled" in page.text
    assert [row["T"] for row in page.rows("The experiment")] == ["0.5", "0.5"]
    assert [row["T"] for row in page.rows("The chains")] == ["0.5", "0.5"]
    assert [row["experiment"] == "–" for row in page.rows("variance")] == [True] * 2 + [False] * 2
    assert len(page.rows("The criterion")) == 4


# --- the page of a run


def test_numbers_of_a_run(ran):
    page, summary = Page(lnn.report(ran.path)), ran.load_summary()
    experiment = summary.experiment
    assert "NOT CONVERGED" in page.text and experiment.message in page.text
    measured, *theories = page.rows("Beside a theory")
    for key, name in QUANTITIES.items():
        assert measured[name] == plus_minus(getattr(experiment, key))
        for row in theories:
            expected = getattr(summary.theory[row["result"]], key)
            assert leading(row[name]) == pytest.approx(expected, rel=1e-4)
    named = [row["result"] for row in theories]
    assert named == [row["theory"] for row in page.rows("The theories")] == [*summary.theory]
    assert page.rows_with(ran.load_manifest()["run_id"])
    assert ran.load_config().to_toml() in page.text


def test_the_words_of_a_run_are_those_of_the_command_line(ran):
    """The criterion's verdict; a theory that is solved, and has a remark."""

    def change(summary):
        summary["theory"]["scale_mixture"]["message"] = "N_1 is too small for it"
        summary |= {"criterion": 0.5, "criterion_at_temperature": 0.6}

    edit(ran.path / "summary.json", change)
    page = Page(lnn.report(ran.path))
    (caption,) = [name for name in page.tables if name.startswith("The theories")]
    words = Criterion.of(0.5, 0.6, 0.5, {})
    assert f"is {words.limit}, and {words.at_temperature} ({words.verdict})" in caption
    states = {row["theory"]: row["state"] for row in page.rows("The theories")}
    assert states["infinite_width"] == "converged" != states["scale_mixture"]
    assert "remark" in states["scale_mixture"] and "too small" in page.text


def test_a_run_without_theories_that_says_why(ran, drawn):
    why = {"nested": "with one hidden layer it is <another>"}
    edit(ran.path / "summary.json", lambda content: content.update(theory={}, not_applicable=why))
    page = Page(lnn.report(ran.path))
    assert "nested" in page.text and why["nested"] in page.text
    assert [row["result"] for row in page.rows("Beside a theory")] == ["experiment"]
    assert page.images


def test_rungs_of_a_ladder(ran):
    measured = summarise(ran.load_results()[0])
    evidence = (Estimate(-3.25, 0.5), Estimate(-2.0, 0.1))
    integration = ThermodynamicIntegration((0.5, 1.5), evidence, (float("nan"), 0.0))
    ladder = as_json(Tempered.of(Tempering((measured, measured), integration, (0.031,), 0)))
    edit(ran.path / "summary.json", lambda content: content.update(tempering=ladder))
    page = Page(lnn.report(ran.path))
    cold, hot = page.rows("Every temperature")
    assert (cold["T"], hot["T"]) == ("0.5", "1.5")
    assert [leading(rung["log evidence"]) for rung in (cold, hot)] == [-3.25, -2.0]
    # Langevin dynamics: what its step size shifts on a ladder is not known.
    assert all("‡" in rung[name] for rung in (cold, hot) for name in ("log evidence", "variance"))
    assert (cold["error of the quadrature"], hot["error of the quadrature"]) == ("–", "0")
    assert leading(cold["variance"]) == pytest.approx(measured.variance.value, rel=0.05)
    assert cold["state"] == "not converged" and "0.031" in page.text


def test_shifts_that_are_not_known_are_marked(ran):
    """As with a ladder; the folder of an earlier version says nothing of them."""
    path, bias = ran.path / "summary.json", StepSizeBias.not_known()
    assert "‡" not in Page(lnn.report(ran.path)).text
    nothing = dict.fromkeys(bias.unknown, {"value": None, "mcse": None})
    for change in (
        {"step_size_bias": nothing, "step_size_message": bias.message},
        {"step_size_bias": None},
    ):
        change["step_size_relative_bias"] = None
        edit(path, lambda content, new=change: content["experiment"].update(new))
        page = Page(lnn.report(ran.path))
        assert all("‡" in page.rows("Beside a theory")[0][name] for name in QUANTITIES.values())
        assert bias.message in page.text and page.rows_with("not known")

    def earlier(content):
        del content["experiment"]["step_size_bias"]
        content["experiment"]["step_size_relative_bias"] = 0.02

    edit(path, earlier)
    shift = "predicted bias of the variance by the step size"
    assert not page.rows_with(shift)
    assert Page(lnn.report(ran.path)).rows_with(shift) == [["+2.0 %"]]


def test_shifts_in_the_tables_of_a_sweep(whole):
    """Marks where the table of a run has them, and one line for each."""
    for point, value in zip(warm(whole), (9.0, None), strict=True):
        shift = {"value": value, "mcse": value and 0.1}
        bias = dict.fromkeys(QUANTITIES, shift)
        path = whole.run(point).path / "summary.json"
        edit(path, lambda content, bias=bias: content["experiment"].update(step_size_bias=bias))
    page = Page(lnn.report(whole.path))
    experiment = page.rows("The experiment")[2:]
    for name in QUANTITIES.values():
        assert [row[name][-2:] for row in experiment] == [" †", " ‡"]
        assert [row["experiment"][-2:] for row in page.rows(name)[2:]] == [" †", " ‡"]
    assert StepSizeBias.not_known().message in page.text and "† shifted" in page.text


# --- what the page says in words


def test_a_run_opens_with_what_was_found(ran, monkeypatch):
    page, summary = Page(lnn.report(ran.path)), ran.load_summary()
    opening = page.text[: page.text.index("Theory and experiment")]
    assert summary.experiment.message in opening and "NOT CONVERGED" in opening
    assert not any(name in opening for name in summary.theory), "as in a sweep"
    monkeypatch.setattr(diagnostics, "RHAT_LIMIT", 1e6)
    monkeypatch.setattr(diagnostics, "ESS_LIMIT", 0)
    page = Page(lnn.report(ran.path))
    opening = page.text[: page.text.index("Theory and experiment")]
    assert all(name in opening for name in summary.theory)


def test_a_sweep_opens_with_what_was_found(whole, page):
    opening = page.text[: page.text.index("Grid")]
    assert "NOT CONVERGED: 2 points" in opening and "scale_mixture" not in opening
    converge(whole, warm(whole)[0])
    page = Page(lnn.report(whole.path))
    opening = page.text[: page.text.index("Grid")]
    assert "NOT CONVERGED: 1 point" in opening and "scale_mixture" in opening
    assert "λ_L = 0.5" in opening, "the one point that has converged is the worst"


def test_each_theory_is_explained(whole, ran):
    """By the sentence in its folder, which one of your own has too; else by today's."""
    theories = {name: theory_named(name).summary for name in ran.load_summary().theory}
    for name, theory in ran.load_summary().theory.items():
        assert theory.summary == theories[name] != ""

    def change(summary):
        del summary["theory"]["infinite_width"]["summary"]  # of an earlier version
        summary["theory"]["scale_mixture"]["summary"] = "What I <think>."

    for path, folder in ((ran.path, ran.path), (whole.run(warm(whole)[0]).path, whole.path)):
        edit(path / "summary.json", change)
        explained = Page(lnn.report(folder)).explained
        assert explained["infinite_width"] == theories["infinite_width"]
        assert len(explained) == len(theories), "whatever the other points say"
    assert Page(lnn.report(ran.path)).explained["scale_mixture"] == "What I <think>."


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_its_command_makes_the_numbers_again(kind, cli, ran, whole, drawn):
    folder, path = (ran, ran.path) if kind == "run" else (whole, whole.path)
    manifest = (ran if kind == "run" else whole.run(warm(whole)[0])).load_manifest()
    path = path.rename(path.with_name("-it's mine"))
    page = Page(lnn.report(path))
    program, *words = shlex.split(page.command)
    assert program == "langevin-nn" and manifest["versions"]["jax"] in page.text
    cli(*words)
    again = Path(words[-1])
    assert again.resolve() == path.with_name("-it's mine-again")
    if kind == "run":
        assert RunFolder(again).load_summary().experiment.bias2 == ran_bias(path)
    else:
        assert SweepFolder.existing(again).grid.content_hash == folder.grid.content_hash


def ran_bias(path):
    return RunFolder(path).load_summary().experiment.bias2


def test_fields_have_their_symbols(page):
    """The name of the configuration stands once beside the symbol, and where it is defined."""
    for name, symbol in ((T, "T"), (LAMBDA, "λ_L")):
        assert [row[0] for row in page.rows_with(name)] == [symbol]
        tables = [name for name, rows in page.tables.items() if symbol in rows[0]]
        assert len(tables) > 6 and not [rows for rows in page.tables.values() if name in rows[0]]


# --- folders


def test_a_run_with_a_report_is_replaced_and_a_sweep_goes_on(ran, whole):
    lnn.report(ran.path)
    (ran.path / ".report.html.part").touch()  # of a process that was killed
    with ran.claimed(ran.load_config(), resume=False, overwrite=True):
        (ran.path / "summary.json").write_text("{}")
    assert {path.name for path in ran.path.iterdir()} == {"config.toml", "summary.json"}
    lnn.report(whole.path)
    again = SweepFolder.begin(whole.path, whole.grid, 1)
    assert again.tasks == whole.tasks and (whole.path / "report.html").is_file()


def test_command(cli, whole, ran):
    before = cli.files()
    for words, path, heading in (
        ([whole.path], whole.path / "report.html", "wide & deep"),
        (["ran", "--output", "page.html"], "page.html", "ran"),
    ):
        answer = cli("report", *words)
        assert (answer.code, answer.out, answer.err) == (0, f"{path}\n", "")
        assert Page(path).headings[0][1].endswith(heading)
    assert cli.files() - before == {"wide & deep/report.html", "page.html"}


def refuses(cli, *words):
    """One line and code 2, nothing written; the line."""
    with untouched(cli.folder):
        answer = cli("report", *words)
    refused(answer)
    return answer.err


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_figures_are_drawn_under_own_settings(kind, whole, ran, monkeypatch):
    """FAULTS 5, environment: text.usetex of a matplotlibrc where there is no TeX."""
    settings = []

    def note(figures):
        settings.append(matplotlib.rcParams["text.usetex"])
        return dict.fromkeys(figures, b"drawn")

    monkeypatch.setattr(plotting, "images", note)
    with matplotlib.rc_context({"text.usetex": True}):
        lnn.report(ran.path if kind == "run" else whole.path)
        assert matplotlib.rcParams["text.usetex"], "as before"
    assert settings == [False]


def test_what_is_neither(cli, ran):
    Path("own").mkdir()
    Path("own/config.toml").write_text("title = 'mine'")
    for folder in ("own", "nowhere", "tiny.toml", ".", "x" * 300):
        assert folder[:30] in refuses(cli, folder)
    refuses(cli)
    (ran.path / "summary.json").unlink()
    ran.checkpoint.mkdir()
    assert "no finished run" in refuses(cli, "ran")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", b'{"experiment": '),
        ("summary.json", b"[]"),
        ("posterior.nc", b""),
        ("manifest.json", b"\xff\xfe"),
    ],
)
def test_damaged_files(cli, ran, whole, name, content):
    (ran.path / name).write_bytes(content)
    line = refuses(cli, "ran")
    assert f"ran/{name}" in line and "--overwrite" in line
    point = whole.run(warm(whole)[0]).path  # FAULTS 3.3
    (point / name).write_bytes(content)
    page = Page(lnn.report(whole.path))
    assert "1 done, 2 failed, 1 missing" in page.text
    (row,) = [r for r in page.rows("Points that failed") if r["state"] == "missing"]
    assert str(point / name) in row["reason"] and "--" not in row["reason"]


def test_where_a_page_cannot_be_written(cli, ran, monkeypatch):
    Path("page.html").mkdir()
    for output in ("none/page.html", "ran/config.toml", "page.html"):
        assert output in refuses(cli, "ran", "--output", output)
    lnn.report("ran")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def half(path, content):
        path.write_bytes(content[:100])
        raise full

    monkeypatch.setattr(files, "_write_bytes", half)
    before = Path("ran/report.html").read_bytes()
    with pytest.raises(InputError, match=r"ran/report.html .*No space left"):
        lnn.report("ran")
    assert Path("ran/report.html").read_bytes() == before
    assert not list(Path("ran").glob(".*"))


def test_a_sweep_over_seeds_alone(whole, tmp_path, drawn):
    """One axis, which is no place to draw along: the figure has one place for each seed."""
    values = tomllib.loads(SHORT_GRID)
    folder = SweepFolder.begin(tmp_path / "seeds", grid.grid(values, {"seed": [1, 2]}), 1)
    point = list(folder.points)[0]
    shutil.copytree(whole.run(warm(whole)[0]).path, folder.run(point).path)
    edit(folder.run(point).path / "manifest.json", lambda content: content.update(run_id=point))
    page = Page(lnn.report(folder.path))
    assert len(page.images) == 1 and len(page.rows("variance")) == 2
