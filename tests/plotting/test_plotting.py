"""Figures from a sweep's Dataset: what is drawn is what is in it."""

import os

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from langevin_nn import plotting
from langevin_nn.errors import InputError
from langevin_nn.files import write_atomically
from langevin_nn.plotting import overview
from langevin_nn.runs import claims

WIDTH, PRECISION = "network.hidden_widths[0]", "prior.precisions[-1]"


def sweep(**axes):
    """A Dataset as `lnn.collect` makes it, with numbers that tell the points apart."""
    coordinates = {name.replace("__", "."): values for name, values in axes.items()}
    dims, shape = tuple(coordinates), tuple(len(values) for values in coordinates.values())
    numbers = 1.0 + np.arange(np.prod(shape)).reshape(shape)
    found = {"status": (dims, np.full(shape, "done")), "converged": (dims, np.ones(shape, bool))}
    for name in ("bias2", "variance", "generalisation_error", "train_error"):
        found[name] = (dims, numbers)
        found[f"{name}_mcse"] = (dims, 0.01 * numbers)
        found[f"theory_{name}"] = ((*dims, "theory"), np.stack([2 * numbers, numbers], -1))
        found[f"theory_{name}_mcse"] = ((*dims, "theory"), np.zeros((*shape, 2)))
    return xr.Dataset(found, coords=coordinates | {"theory": ["infinite_width", "one_layer"]})


def drawn(ax):
    """Points with their errors, by their colour and filling; lines by their label."""
    points = {}
    for container in ax.containers:
        line, _, (bars,) = container.lines
        ends = [s[:, 1] if len(s) else np.full(2, np.nan) for s in bars.get_segments()]
        errors = [(high - low) / 2 for low, high in ends]
        points[line.get_fillstyle()] = np.array([*line.get_data(), errors])
    bars = {container.lines[0] for container in ax.containers}
    caps = {cap for container in ax.containers for cap in container.lines[1]}
    lines = [line for line in ax.lines if line not in bars | caps]
    return points, {line.get_label(): np.array(line.get_data()) for line in lines}


def test_points_and_lines_along_an_axis():
    results = sweep(**{WIDTH: [10, 100, 1000]})
    results.converged[1] = False
    ax = plotting.plot_along(Figure().subplots(), results, "bias2", WIDTH)
    points, lines = drawn(ax)
    np.testing.assert_allclose(points["full"][:, [0, 2]], [[10, 1000], [1, 3], [0.01, 0.03]])
    assert np.isnan(points["full"][1, 1]) and points["none"][1, 1] == 2, "hollow: not converged"
    np.testing.assert_allclose(lines["infinite_width"], [[10, 100, 1000], [2, 4, 6]])
    np.testing.assert_allclose(lines["one_layer"][1], [1, 2, 3])
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "N_1", "bias²")


def test_seeds_are_averaged_over_those_that_are_done():
    """The standard error is √(Σ mcse²)/n; theories are averaged over the same seeds."""
    results = sweep(**{WIDTH: [10, 20], "seed": [0, 1, 2]})
    results.bias2[1, 2] = results.bias2_mcse[1, 2] = np.nan
    points, lines = drawn(plotting.plot_along(Figure().subplots(), results, "bias2", WIDTH))
    errors = [0.01 * np.sqrt(1 + 4 + 9) / 3, 0.01 * np.sqrt(16 + 25) / 2]
    np.testing.assert_allclose(points["full"], [[10, 20], [2, 4.5], errors])
    np.testing.assert_allclose(lines["one_layer"], [[10, 20], [2, 4.5]])
    along = plotting.plot_along(Figure().subplots(), results.isel({WIDTH: 0}), "bias2", "seed")
    np.testing.assert_allclose(drawn(along)[0]["full"][1], [1, 2, 3])


def with_shifts(results, shift):
    """The Dataset with a shift of bias² by the step size, ± 0, at each point."""
    dims, shape = results.bias2.dims, results.bias2.shape
    return results.assign(
        bias2_step_size_shift=(dims, np.broadcast_to(shift, shape)),
        bias2_step_size_shift_mcse=(dims, np.zeros(shape)),
    )


def test_points_that_the_step_size_shifts_are_marked():
    """Beside the point, and once in the legend; on maps in the cell. bias² is n ± 0.01 n."""
    results = with_shifts(sweep(**{WIDTH: [10, 100, 1000]}), [0.02, 0.01, np.nan])
    ax = Figure().subplots()
    for label in ("one", "other", ""):
        plotting.plot_along(ax, results, "bias2", WIDTH, label=label)
    marks = {tuple(text.xy): text.get_text() for text in ax.texts}
    assert marks == {(10, 1): "†", (1000, 3): "‡"}
    labels = ax.get_legend_handles_labels()[1]
    assert sum("step size" in label for label in labels) == 2
    plotting.plot_along(ax := Figure().subplots(), results, "variance", WIDTH)
    assert not ax.texts, "of bias² alone there are shifts"
    results = with_shifts(
        sweep(**{WIDTH: [10, 20], PRECISION: [0.1, 1.0]}), [[0.02, 0], [np.nan, 0]]
    )
    figures = plotting.grid_figures(results, "caption")
    for panel in figures["maps"].axes[:2]:
        cells = {text.get_position(): text.get_text()[-2:] for text in panel.texts}
        assert [cells[place] for place in ((0, 0), (1, 0))] == [" †", " ‡"]
        assert not {*"†‡"} & {*cells[(0, 1)], *cells[(1, 1)]}
    assert all(mark in figures["maps"].get_suptitle() for mark in "†‡")
    (legend,) = figures["lines"].legends
    assert sum("step size" in text.get_text() for text in legend.get_texts()) == 2


def test_shifts_over_seeds():
    """The average is shifted by the average; its error is smaller. Of a seed not done, nothing."""
    results = with_shifts(sweep(**{WIDTH: [10, 20], "seed": [0, 1, 2]}), [0.01, 0.02, 0.0])
    results.bias2[1, 2] = results.bias2_mcse[1, 2] = np.nan
    results = results.copy(deep=True)
    results.bias2_step_size_shift[1, 2] = np.nan
    averaged = plotting.over_seeds(results, "bias2")
    np.testing.assert_allclose(averaged.bias2_step_size_shift, [0.01, 0.015])
    results.bias2_step_size_shift_mcse[:] = 0.003
    errors = plotting.over_seeds(results, "bias2").bias2_step_size_shift_mcse
    np.testing.assert_allclose(errors, 0.003 / np.sqrt([3, 2]))
    results.bias2_step_size_shift[0, 1] = np.nan
    ax = plotting.plot_along(Figure().subplots(), results, "bias2", WIDTH)
    assert [text.get_text() for text in ax.texts] == ["‡"], "of one seed it is not known"


@pytest.mark.parametrize(
    ("values", "places", "labels"),
    [
        (["[50]", "[100, 100]"], [50, 100], None),
        (["[50]", "[50, 50]"], [0, 1], ["[50]", "[50, 50]"]),
        (["[50, 20]", "[20, 50]"], [0, 1], ["[50, 20]", "[20, 50]"]),
        (["erf", "relu"], [0, 1], ["erf", "relu"]),
    ],
)
def test_places_of_values_that_are_no_numbers(values, places, labels):
    found = plotting.places_of(xr.DataArray(values))
    assert found[0].tolist() == places and found[1] == labels


@pytest.mark.parametrize("unit", ["per cent", "sigmas"])
def test_numbers_of_a_deviation_map(unit):
    """experiment/theory − 1, with what is not resolved in brackets; or standard errors."""
    results = sweep(**{WIDTH: [10, 20], PRECISION: [0.1, 1.0, 10.0]})
    results.converged[0, 1] = False
    results.theory_bias2[1, 2, 0] = -1.0
    results.theory_bias2[1, 1, 0] = 5.05  # of 5 ± 0.05
    ax = Figure().subplots()
    mesh = plotting.plot_deviation_map(
        ax, results, "infinite_width", "bias2", WIDTH, PRECISION, unit=unit
    )
    texts = {text.get_position(): text.get_text() for text in ax.texts}
    assert texts[(0, 1)].endswith("×") and not texts[(0, 0)].endswith("×")
    values = np.ma.filled(mesh.get_array(), np.nan).reshape(3, 2)
    if unit == "per cent":
        assert texts[(0, 0)] == "-50.0" and texts[(1, 1)] == "(-1.0)" and texts[(1, 2)] == "< 0"
        np.testing.assert_allclose(values[0], [-50, -50])
    else:
        np.testing.assert_allclose(values[:2, 1], [-100, -1], atol=1e-9)
        assert texts[(1, 1)] == "-1.0"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("N_1", "λ_L")


@pytest.mark.parametrize(
    ("axes", "names", "shape"),
    [
        ({"seed": [0, 1]}, {"lines"}, (1, 4)),
        ({PRECISION: [0.1, 1.0]}, {"lines"}, (1, 4)),
        ({PRECISION: [1.0, 2.0], WIDTH: [1, 2, 3]}, {"lines", "maps"}, (1, 4)),
        ({PRECISION: [1.0, 2.0], WIDTH: [1, 2, 3], "seed": [0, 1]}, {"lines", "maps"}, (1, 4)),
        ({"a": [1, 2], "b": [1, 2, 3], "c": [1, 2, 3, 4]}, {"lines", "maps"}, (2, 4)),
        ({"a": [1, 2, 3], "b": [1, 2, 3, 4], "c": [1, 2, 3, 4, 5]}, {"lines", "maps"}, (2, 4)),
    ],
)  # fmt: skip
def test_figures_of_any_sweep(axes, names, shape, monkeypatch):
    """Of the third axis the first rows alone, where there are many."""
    monkeypatch.setattr(overview, "MOST_ROWS", 2)
    figures = plotting.grid_figures(sweep(**axes), "caption")
    assert set(figures) == names
    grid = figures["lines"].axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == shape
    if "maps" in names:
        assert len(figures["maps"].axes) == 2 * 2 + 1, "two quantities, two theories, colours"


def test_a_large_map_has_no_numbers_that_nobody_could_read():
    """FAULTS 3.7: they were nine tenths of the time of a report on 1,000 points."""
    results = sweep(**{WIDTH: list(range(1, 41)), PRECISION: [0.1 * i for i in range(1, 26)]})
    results.converged[3, 2] = False
    ax = Figure().subplots()
    plotting.plot_deviation_map(ax, results, "infinite_width", "bias2", WIDTH, PRECISION)
    assert not ax.texts and len(ax.get_xticks()) <= 25
    (crosses,) = ax.collections[1:]
    np.testing.assert_array_equal(crosses.get_offsets(), [[3, 2]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r, ax: plotting.plot_along(ax, r, "bias2", "width"), "no axis 'width': its axes"),
        (lambda r, ax: plotting.plot_along(ax, r, "bias2", WIDTH), "further axes prior.precisions"),
        (lambda r, ax: plotting.plot_along(ax, r[{PRECISION: 0}], "bias", WIDTH),
         "no 'bias': write one of bias2"),
        (lambda r, ax: plotting.plot_along(ax, r[{PRECISION: 0}], "bias2", WIDTH,
                                           theories=["nested"]), "no theory 'nested': it has"),
        (lambda r, ax: plotting.plot_deviation_map(ax, r, "one_layer", "bias2", WIDTH, PRECISION,
                                                   unit="%"), "per cent"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn(call, message):
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        call(sweep(**{WIDTH: [1, 2], PRECISION: [1.0, 2.0]}), Figure().subplots())


def test_two_processes_may_write_one_figure(tmp_path, monkeypatch):
    """FAULTS 5, folders: `plot` or `report` twice at once shared a temporary file."""
    path, mine = tmp_path / "x.png", os.getpid()
    left_over = tmp_path / ".x.png.7.part"
    left_over.touch()
    os.utime(left_over, (0, 0))

    def first(part):
        part.write_text("first")
        monkeypatch.setattr(os, "getpid", lambda: mine + 1)
        write_atomically(path, lambda other: other.write_text("second"), shared=True)
        assert path.read_text() == "second"

    write_atomically(path, first, shared=True)
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["x.png"]
    assert (
        claims.target_of(left_over).name
        == claims.target_of(tmp_path / ".x.png.part").name
        == "x.png"
    )


def test_one_theory_by_its_name():
    """It was taken for the names of its letters. FAULTS 5, arguments."""
    results = sweep(**{WIDTH: [10, 100]})
    ax = plotting.plot_along(Figure().subplots(), results, "bias2", WIDTH, theories="one_layer")
    assert list(drawn(ax)[1]) == ["one_layer"]
