"""Reports: one page that holds every number, asks for nothing, and says what went wrong."""

import base64
import errno
import json
import os
import shutil
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from command_line import TINY_GRID, CommandLine, unsealed

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn import files, plotting
from langevin_nn.analysis.comparison import QUANTITIES, grid_deviations, plus_minus
from langevin_nn.analysis.generalisation import summarise
from langevin_nn.analysis.tempering import Tempering, ThermodynamicIntegration
from langevin_nn.errors import InputError
from langevin_nn.reports import html, points
from langevin_nn.reports import sweep as sweep_module
from langevin_nn.runs.folder import RunFolder
from langevin_nn.runs.summary import Tempered, plain
from langevin_nn.sweeps import grid
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.types import Estimate, StepSizeBias

CONFIG = TINY_GRID.replace("num_warmup = 30", "num_warmup = 6")
OVER = {"posterior.temperature": [0.0, 0.5], "prior.precisions[-1]": [0.5, 2.0]}
T, LAMBDA = OVER
HOSTILE = "</td><script>alert('x')</script> & \"quotes\" \x1b[31m \ud800"
SHOWN = "</td><script>alert('x')</script> & \"quotes\" \ufffd[31m \ufffd"
VOID = {"meta", "img"}


class Page(HTMLParser):
    """A page as its reader finds it: tables by their captions, the text, what it refers to."""

    def __init__(self, path):
        super().__init__()
        self.content = Path(path).read_text(encoding="utf-8")
        self.open, self.tags, self.ids, self.refers = [], [], set(), []
        self.tables, self.cell, self.text = {}, None, ""
        self.images, self.headings, self.marks = [], [], {}
        self.feed(self.content)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids |= {value for name, value in attrs if name == "id"}
        self.refers += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.row, self.mark = [], dict(attrs).get("class", "")
        if tag in ("caption", "th", "td", "h1", "h2", "h3"):
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
        elif tag in ("h1", "h2", "h3"):
            self.headings.append((tag, self.cell))

    def handle_data(self, data):
        self.text += data
        if self.cell is not None:
            self.cell += data

    def rows(self, caption):
        """The rows of the table whose caption begins so, each as a dictionary."""
        (found,) = [table for name, table in self.tables.items() if name.startswith(caption)]
        header, *rows = found
        return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The folder of a sweep: T = 0 cannot be sampled, two points can, and do not converge."""
    path = tmp_path_factory.mktemp("swept") / "sweep"
    lnn.sweep(configuration.from_dict(tomllib.loads(CONFIG)), OVER, output=path)
    return path


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Drawing takes most of the time of a page."""
    monkeypatch.setattr(plotting, "pngs", lambda figures: dict.fromkeys(figures, b"drawn"))


@pytest.fixture
def whole(swept, tmp_path):
    """A copy of that sweep."""
    shutil.copytree(swept, tmp_path / "wide & deep")
    return SweepFolder.existing(tmp_path / "wide & deep")


@pytest.fixture
def begun(tmp_path):
    """The same sweep, nothing computed yet."""
    return SweepFolder.begin(tmp_path / "begun", grid.grid(tomllib.loads(CONFIG), OVER), 1)


@pytest.fixture
def ran(swept, tmp_path):
    """A run folder: that of a point."""
    sweep = SweepFolder.existing(swept)
    shutil.copytree(sweep.run(warm(sweep)[0]).path, tmp_path / "ran")
    return RunFolder(tmp_path / "ran")


@pytest.fixture
def cli(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys)


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


@pytest.mark.parametrize("kind", ["sweep", "run"])
def test_page_is_whole_and_needs_nothing_else(kind, whole, ran, monkeypatch):
    monkeypatch.undo()
    path = lnn.report(whole.path if kind == "sweep" else ran.path)
    page = Page(path)
    assert path.name == "report.html" and path.stat().st_size < 2e6
    names = [tag for tag, _ in page.tags]
    assert page.tags[0] == ("html", {"lang": "en"})
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(names)
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    for reference in page.refers:
        assert reference.startswith("data:image/png;base64,") or reference[1:] in page.ids
    assert "url(" not in page.content and "@import" not in page.content
    assert "://" not in page.content
    assert "default-src 'none'" in page.content
    for tag, attrs in page.tags:
        assert tag != "th" or attrs["scope"] in ("row", "col")
    for header, *rows in page.tables.values():
        assert all(header) and rows and {len(row) for row in rows} == {len(header)}
    assert names.count("table") == len(page.tables) == names.count("caption")
    assert [tag for tag, _ in page.headings].count("h1") == 1
    assert len(page.images) == (2 if kind == "sweep" else 3)
    for image in page.images:
        assert len(image["alt"]) > 40
        assert base64.b64decode(image["src"].partition(",")[2]).startswith(b"\x89PNG")


def test_every_number_of_the_dataset(whole):
    """Each as the first number of its cell, beside the right point; a dash where there is none."""
    page, found = Page(lnn.report(whole.path)), lnn.collect(whole.path)
    theories = list(found.theory.values)
    for index, precision in enumerate((0.5, 2.0), start=2):
        here = found.sel({T: 0.5, LAMBDA: precision})
        experiment = page.rows("The experiment")[index]
        assert (experiment["T"], experiment["λ_L"]) == ("0.5", str(precision))
        assert leading(experiment["s"]) == pytest.approx(float(here.criterion), rel=1e-3)
        for key, name in QUANTITIES.items():
            row = page.rows(name)[index]
            assert experiment[name] == row["experiment"] and "±" in row["experiment"]
            assert leading(row["experiment"]) == pytest.approx(float(here[key]), rel=0.05)
            for theory in theories:
                there = float(here[f"theory_{key}"].sel(theory=theory))
                assert leading(row[theory]) == pytest.approx(there, rel=1e-4)
        for caption, variable in (
            ("log evidence", here.theory_log_evidence),
            ("order parameters", here.order_parameter.isel(order=0)),
            ("test accuracy", here.theory_test_accuracy),
        ):
            row = page.rows(caption)[index]
            values = [leading(row[theory]) for theory in theories]
            assert values == pytest.approx(variable.values.tolist(), rel=1e-3)
        chains = page.rows("The chains")[index]
        assert leading(chains["R̂ max"]) == pytest.approx(float(here.rhat_max), rel=1e-3)
        assert chains["folder, in points/"] == str(here.point.values)
    failed = page.rows("The experiment")[0]
    assert failed["bias²"] == failed["s"] == "–" and failed["state"] == "failed"
    assert (
        page.marks["The experiment, ± one standard error"][1:] == ["failed"] * 2 + ["restless"] * 2
    )


def leading(cell):
    """The number that a cell begins with."""
    return float(cell.replace("−", "-").replace(",", "").split()[0])


def test_what_is_studied_and_where_it_is_from(whole):
    page = Page(lnn.report(whole.path))
    assert page.headings[0] == ("h1", "Sweep wide & deep")
    assert [row["axis"] for row in page.rows("Axes")] == [T, LAMBDA]
    assert whole.definition in page.text and whole.grid.content_hash in page.text
    depends = {
        row["what"]: (row["value"], row["finished points"]) for row in page.rows("What the numbers")
    }
    manifest = whole.run(warm(whole)[0]).load_manifest()
    assert depends["jax"] == (manifest["versions"]["jax"], "all")
    assert depends["data"] == (", ".join(manifest["data"]), "all") and manifest["data"]


def test_where_points_differ_in_what_they_depend_on(whole):
    def change(manifest):
        manifest["versions"]["jax"] = "0.0.1"
        manifest["git"] = None
        manifest["data"] = ["images.gz sha256:0123"]

    edit(whole.run(warm(whole)[1]).path / "manifest.json", change)
    rows = page_rows = Page(lnn.report(whole.path)).rows("What the numbers")
    rows = {(row["what"], row["value"]): row["finished points"] for row in page_rows}
    assert rows["jax", "0.0.1"] == f"1 of 2: {T} = 0.5, {LAMBDA} = 2.0"
    assert rows["data", "images.gz sha256:0123"] == rows["jax", "0.0.1"]
    assert sum(row["what"] == "jax" for row in page_rows) == 2
    assert any(row["what"] == "numpy" and row["finished points"] == "all" for row in page_rows)


def test_failed_and_unconverged_points_are_listed_with_their_reasons(whole):
    rows = Page(lnn.report(whole.path)).rows("Points that failed or have not converged")
    assert [row["state"] for row in rows] == ["failed"] * 2 + ["not converged"] * 2
    assert rows[1]["point"] == f"{T} = 0.0, {LAMBDA} = 2.0"
    assert "temperature must be positive" in rows[1]["reason"]
    assert rows[2]["reason"] == whole.run(warm(whole)[0]).load_summary().experiment.message


def test_agreement_is_that_of_points_that_have_converged(whole):
    page = Page(lnn.report(whole.path))
    assert "No point has converged, so that no theory can be judged." in page.text
    converge(whole, warm(whole)[0])
    page, found = Page(lnn.report(whole.path)), lnn.collect(whole.path)
    rows = page.rows("Each theory over the points")
    names = [(row["quantity"], row["theory"]) for row in rows]
    assert names[:2] == [("bias²", "infinite_width"), ("bias²", "scale_mixture")]
    there = (
        grid_deviations(found, "variance").sel({T: 0.5, LAMBDA: 0.5}).sel(theory="scale_mixture")
    )
    row = rows[3]
    assert (row["quantity"], row["theory"], row["points"]) == ("variance", "scale_mixture", "1")
    assert leading(row["median |z|"]) == pytest.approx(abs(float(there.z)), abs=0.05)
    assert row["largest deviation"].endswith(f"{T} = 0.5, {LAMBDA} = 0.5")
    assert page.marks["variance"][1:] == ["failed", "failed", "", "restless"]


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
    assert page.rows("variance")[3]["scale_mixture"].endswith(" %), not converged")
    assert not page.rows("variance")[2]["scale_mixture"].endswith("not converged")
    assert f"scale_mixture: it did not settle, at {T} = 0.5, {LAMBDA} = 2.0" in page.text


def test_what_files_say_is_escaped(whole, monkeypatch):
    """Names are words, no markup and, in the figures, no formulas either."""
    monkeypatch.undo()
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
    reasons = [row["reason"] for row in page.rows("Points that failed")]
    assert reasons[0] == SHOWN and reasons[2] == SHOWN
    assert (
        page.headings[0] == ("h1", "Sweep <b>a & b $\\frac$")
        and "<b>own" in page.rows("variance")[0]
    )
    assert f"<b>own: {SHOWN}" in page.text and f"nested: left out ({SHOWN})" in page.text
    assert [row["value"] for row in page.rows("What the") if row["what"] == "<i>jax"] == [SHOWN]


def test_attributes_are_escaped():
    made = html.table('a" onclick="b', ["c"], [["<d>"]])
    assert 'aria-label="a&quot; onclick=&quot;b"' in made and "&lt;d&gt;" in made


def test_at_any_time(begun, whole):
    """Nothing done, one point done, one being worked on."""
    page = Page(lnn.report(begun.path))
    assert "4 points: 0 done, 4 missing." in page.text and "0 % of the work is done." in page.text
    assert not page.images and "No point is done yet" in page.text
    assert [row["state"] for row in page.rows("The experiment")] == ["missing"] * 4
    assert "There is no theory to compare with." in page.text
    assert "No point has failed, and every point that is done has converged." in page.text

    point = warm(begun)[0]
    shutil.copytree(whole.run(point).path, begun.run(point).path)
    (task,) = [task for task in begun.tasks if warm(begun)[1] in task.points]
    with begun.claimed(task):
        page = Page(lnn.report(begun.path))
    assert "4 points: 1 done, 3 missing, 1 not converged." in page.text and page.images
    assert "25 % of the work is done." in page.text
    assert f"task {task.name}: 1 points, 0%, in process {os.getpid()}" in page.text
    states = [row["state"] for row in page.rows("The experiment")]
    assert states == ["missing", "missing", "not converged", "missing"]


def test_large_grids_have_their_first_points(whole, monkeypatch):
    monkeypatch.setattr(points, "MOST_ROWS", 3)
    monkeypatch.setattr(sweep_module, "MOST_ROWS", 3)
    page = Page(lnn.report(whole.path))
    note = " (the first 3 of 4 points; results.nc has them all)"
    assert len(page.rows(f"variance{note}")) == 3
    assert len(page.rows("Points that failed or have not converged (the first 3 of 4)")) == 3


def test_long_numbers_on_an_axis():
    assert points._short([0.1, 1 / 3, 20]) == ["0.1", "0.333333", "20"]
    assert points._short([1 / 3, 1 / 3 + 1e-12]) == ["0.3333333333333333", "0.3333333333343333"]


# --- the page of a run


def test_numbers_of_a_run(ran):
    page, summary = Page(lnn.report(ran.path)), ran.load_summary()
    experiment = summary.experiment
    assert page.headings[0] == ("h1", "Run ran")
    assert f"NOT CONVERGED: {experiment.message}." in page.text
    measured, *theories = page.rows("Beside a theory")
    for key, name in QUANTITIES.items():
        assert measured[name] == plus_minus(getattr(experiment, key))
        assert all(row[name] for row in theories)
    named = [row["result"] for row in theories]
    assert named == [row["theory"] for row in page.rows("Theories; s = ")] == [*summary.theory]
    series = [row["series"] for row in page.rows("Converged: R̂ < ")]
    assert series[:-1] == list(QUANTITIES.values())
    assert page.rows("The chains")[0]["value"] == "2"
    depends = {row["what"]: row["value"] for row in page.rows("What the numbers")}
    assert depends["configuration hash"] == ran.load_manifest()["run_id"]
    assert ran.load_config().to_toml() in page.text


def test_why_theories_were_left_out_of_a_run(ran):
    why = {"nested": "with one hidden layer it is <another>"}
    edit(ran.path / "summary.json", lambda content: content.update(not_applicable=why))
    assert f"nested: left out ({why['nested']})" in Page(lnn.report(ran.path)).text


def test_a_run_without_theories(ran):
    edit(ran.path / "summary.json", lambda content: content.update(theory={}))
    page = Page(lnn.report(ran.path))
    assert "There is no theory to compare with." in page.text
    assert [row["result"] for row in page.rows("Beside a theory")] == ["experiment"]
    assert len(page.images) == 2


def test_rungs_of_a_ladder(ran):
    measured = summarise(ran.load_results()[0])
    evidence = (Estimate(-3.25, 0.5), Estimate(-2.0, 0.1))
    integration = ThermodynamicIntegration((0.5, 1.5), evidence, (float("nan"), 0.0))
    ladder = plain(Tempered.of(Tempering((measured, measured), integration, (0.031,), 0)))
    edit(ran.path / "summary.json", lambda content: content.update(tempering=ladder))
    page = Page(lnn.report(ran.path))
    cold, hot = page.rows("Every temperature")
    assert (cold["T"], hot["T"]) == ("0.5", "1.5")
    # Langevin dynamics: what its step size shifts on a ladder is not known.
    assert (cold["log evidence"], hot["log evidence"]) == ("−3.25 ± 0.50 ‡", "−2.00 ± 0.10 ‡")
    assert (cold["error of the quadrature"], hot["error of the quadrature"]) == ("–", "0")
    assert cold["variance"] == f"{plus_minus(measured.variance)} ‡"
    assert cold["state"] == "not converged"
    assert "Accepted swaps between neighbours: 0.03. Round trips: 0." in page.text
    assert "swaps between T = 0.5 and 1.5 are accepted with 0.031 only" in page.text


def test_shifts_that_are_not_known_are_marked(ran):
    """As with a ladder; the folder of an earlier version says nothing of them."""
    known = Page(lnn.report(ran.path))
    assert "‡" not in known.text and "predicted shift of the variance" in known.text
    bias = StepSizeBias.not_known()
    nothing = dict.fromkeys(bias.unknown, {"value": None, "mcse": None})
    for change in (
        {"step_size_bias": nothing, "step_size_message": bias.message},
        {"step_size_bias": None},
    ):
        change["step_size_relative_bias"] = None
        edit(
            ran.path / "summary.json", lambda content, new=change: content["experiment"].update(new)
        )
        page = Page(lnn.report(ran.path))
        row = page.rows("Beside a theory")[0]
        assert all(row[name].endswith(" ‡") for name in QUANTITIES.values())
        assert f"‡ {bias.message}" in page.text
        assert {"what": "shift by the step size", "value": "not known"} in page.rows("The chains")
    edit(ran.path / "summary.json", lambda content: content["experiment"].pop("step_size_bias"))
    edit(
        ran.path / "summary.json",
        lambda content: content["experiment"].update(step_size_relative_bias=0.02),
    )
    rows = {row["what"]: row["value"] for row in Page(lnn.report(ran.path)).rows("The chains")}
    assert rows["predicted bias of the variance by the step size"] == "+2.0 %"


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
    answer = cli("report", whole.path)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"{whole.path / 'report.html'}\n"
    assert cli.files() - before == {"wide & deep/report.html"}
    answer = cli("report", "ran", "--output", "page.html")
    assert (answer.code, answer.out, answer.err) == (0, "page.html\n", "")
    assert cli.files() - before == {"wide & deep/report.html", "page.html"}
    assert Page("page.html").headings[0] == ("h1", "Run ran")
    assert cli("report", "ran").code == 0
    assert cli("run", "ran/config.toml", "--output", "ran", "--overwrite", "--quiet").code == 3
    assert "ran/summary.json" in cli.files() and "ran/report.html" not in cli.files()


def refused(cli, *words):
    """One line and code 2, nothing written; the line."""
    before = {path: path.stat().st_mtime_ns for path in cli.folder.rglob("*")}
    answer = cli("report", *words)
    assert (answer.code, answer.out) == (2, ""), answer
    assert answer.err.startswith("langevin-nn: error: ") and answer.err.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in cli.folder.rglob("*")} == before
    return answer.err


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_figures_are_drawn_under_own_settings(kind, whole, ran, monkeypatch):
    """FAULTS 5, environment: text.usetex of a matplotlibrc where there is no TeX."""
    settings = []

    def note(figures):
        settings.append(matplotlib.rcParams["text.usetex"])
        return dict.fromkeys(figures, b"drawn")

    monkeypatch.setattr(plotting, "pngs", note)
    with matplotlib.rc_context({"text.usetex": True}):
        lnn.report(ran.path if kind == "run" else whole.path)
        assert matplotlib.rcParams["text.usetex"], "as before"
    assert settings == [False]


def test_what_is_neither(cli):
    Path("own").mkdir()
    Path("own/config.toml").write_text("title = 'mine'")
    for folder in ("own", "nowhere", "tiny.toml", "."):
        line = refused(cli, folder)
        assert f"{folder} is neither a sweep's folder nor a run's" in line
        assert "write the folder that langevin-nn run or sweep named" in line
    assert "File name too long" in refused(cli, "x" * 300)
    assert "DIR" in refused(cli)


def test_a_run_that_is_not_finished(cli, ran):
    (ran.path / "summary.json").unlink()
    ran.checkpoint.mkdir()
    assert "ran holds no finished run" in refused(cli, "ran")


@pytest.mark.parametrize("name", ["summary.json", "posterior.nc", "manifest.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b'{"experiment": ', b"\xff\xfe"])
def test_damaged_files(cli, ran, whole, name, content):
    (ran.path / name).write_bytes(content)
    line = refused(cli, "ran")
    assert f"cannot read ran/{name}" in line and "run it again with --overwrite" in line
    point = whole.run(warm(whole)[0]).path  # FAULTS 3.3
    (point / name).write_bytes(content)
    page = Page(lnn.report(whole.path))
    assert "4 points: 1 done, 2 failed, 1 missing" in page.text
    (row,) = [r for r in page.rows("Points that failed") if r["state"] == "missing"]
    assert f"cannot read {point / name}" in row["reason"] and "--" not in row["reason"]


def test_where_a_page_cannot_be_written(cli, ran, monkeypatch):
    assert "cannot write none/page.html (No such file or" in refused(
        cli, "ran", "--output", "none/page.html"
    )
    assert "write --output FILE.html" in refused(cli, "ran", "--output", "ran/config.toml")
    Path("page.html").mkdir()
    assert "page.html is a folder where" in refused(cli, "ran", "--output", "page.html")
    lnn.report("ran")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def half(path, content):
        path.write_bytes(content[:100])
        raise full

    monkeypatch.setattr(files, "_write_bytes", half)
    before = Path("ran/report.html").read_bytes()
    with pytest.raises(InputError, match=r"cannot write ran/report.html \(No space left"):
        lnn.report("ran")
    assert Path("ran/report.html").read_bytes() == before
    assert not list(Path("ran").glob(".*"))


def test_a_sweep_over_seeds_alone(whole, tmp_path):
    """One axis, which is no place to draw along: the figure has one place for each seed."""
    values = tomllib.loads(CONFIG)
    folder = SweepFolder.begin(tmp_path / "seeds", grid.grid(values, {"seed": [1, 2]}), 1)
    point = list(folder.points)[0]
    shutil.copytree(whole.run(warm(whole)[0]).path, folder.run(point).path)
    edit(folder.run(point).path / "manifest.json", lambda content: content.update(run_id=point))
    page = Page(lnn.report(folder.path))
    assert len(page.images) == 1 and np.isclose(len(page.rows("variance")), 2)
