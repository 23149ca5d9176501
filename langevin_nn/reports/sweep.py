"""The page of a sweep: its grid, figures, points and theories, convergence and provenance."""

from langevin_nn import plotting
from langevin_nn.analysis.comparison import grid_note
from langevin_nn.display import counted
from langevin_nn.reports import sentences, theories
from langevin_nn.reports.expectations import of_theories
from langevin_nn.reports.formats import legend, number, share, time_of
from langevin_nn.reports.html import Markup, element, figures, findings, listing, page, table
from langevin_nn.reports.points import MARKS, MOST_ROWS, Points
from langevin_nn.reports.provenance import provenance, reproduction
from langevin_nn.result_text import QUANTITIES
from langevin_nn.runs import tables
from langevin_nn.runs.standard_scaling import StandardScaling
from langevin_nn.sweeps import report
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.sweeps.results import collected
from langevin_nn.sweeps.status import status

THEORIES_ALONE = {
    "lines": (
        "Along the axis with the most values: theories as lines. Over seeds they are averaged."
    )
}
"""The captions of figures where nothing is sampled."""
PART = " Where the theories alone were asked there are lines and no points."
FIGURES = {
    "lines": (
        "Along the axis with the most values: the experiment as points with error bars of one "
        "standard error, hollow where it has not converged; theories as lines. Over seeds both are "
        "averaged. † where the step size shifts a point by more than its standard error, ‡ where "
        "it is not known how far."
    ),
    "maps": (
        "How far the experiment is from each theory, experiment/theory − 1 in per cent, over two "
        "axes (at the first value of the others). In brackets where it is below two standard "
        "errors, crossed out where the experiment has not converged; † and ‡ as along the axis."
    ),
}


def sweep_page(folder: SweepFolder, when: str) -> str:
    """The whole page of a sweep, finished or not; `when` is its line on date and version."""
    points = Points(folder, collected(folder))
    title = f"Sweep {folder.path.resolve().name}"
    sections = {"Grid": _grid(points), "Figures": _figures(points)}
    if points.is_sampled:
        notes = [element("p", note) for note in grid_note(points.results)]
        sections["Points"] = [_table_of_points(points), *notes]
    sections["Theories"] = theories.of_grid(points)
    if points.is_sampled:
        sections["Convergence"] = _convergence(points)
    elif failed := _troubles(points):
        sections["Points that failed"] = [failed]
    sections["Provenance"] = _provenance(points)
    return page(title, _lead(points, when), sections)


def _lead(points: Points, when: str) -> list[Markup]:
    counts = f"{report.counts(points.results)}."
    if points.is_sampled:
        found = sentences.of_grid(points.results, points.places)
    else:
        counts = f"{counts} Nothing was sampled."
        found = of_theories(points.results, points.places)
    lines = [findings([counts, *found])]
    if "missing" in points.states:
        fraction = status(points.folder).fraction
        lines.append(element("p", f"{share(fraction)} of the work is done."))
    if not {"missing", "theory"}.isdisjoint(points.states):
        if tasks := report.under_way(points.folder):
            lines.append(listing(tasks))
    is_rich = any(point.posterior.richness is not None for point in points.folder.grid.points)
    symbols = legend(compared=points.is_sampled, richness=is_rich)
    return [*lines, element("p", f"{symbols} {when}", class_="note")]


def _grid(points: Points) -> list[Markup]:
    grid = points.folder.grid
    rows = [
        [name, plotting.symbol(name), str(len(values)), ", ".join(map(str, values))]
        for name, values in grid.coordinates.items()
    ]
    axes = table("Axes", ["axis", "here", "number", "values"], rows)
    return [
        element("div", axes, class_="words"),
        element("p", f"At all points (“…” where they differ): {tables.caption(*grid.points)}"),
        *_richness(points),
        element("p", _sampling(points)),
    ]


def _richness(points: Points) -> list[Markup]:
    """What a richness makes of λ_L and T; nothing where all points are of the standard scaling."""
    scalings = {StandardScaling.of(point) for point in points.folder.grid.points} - {None}
    if not scalings:
        return []
    text = "γ stands for λ_L N_L γ² in place of λ_L and T/(N_L γ²) in place of T at each point."
    if len(scalings) == 1 and (scaling := scalings.pop()) is not None:
        text = f"Richness {scaling.text}."
    return [element("p", text)]


def _sampling(points: Points) -> str:
    """How the points are sampled, and at how many of them, in words."""
    every = points.folder.grid.points
    sampled = [point for point, is_so in zip(every, points.of_experiment, strict=True) if is_so]
    if not points.is_sampled:
        return "Nothing was sampled: the theories alone were asked."
    if len(sampled) == len(every):
        return f"Sampled by {tables.sampling(*every)}."
    return (
        f"At {len(sampled)} of the {counted(len(every), 'points')} sampled by "
        f"{tables.sampling(*sampled)}; at the others the theories alone were asked."
    )


def _figures(points: Points) -> list[Markup]:
    if not points.finished and "theory" not in points.states:
        return [element("p", "No point is done yet, so that there is nothing to draw.")]
    with plotting.own_settings():
        drawn = plotting.grid_figures(points.results, tables.caption(*points.folder.grid.points))
        return figures(plotting.images(drawn), _captions(points))


def _captions(points: Points) -> dict[str, str]:
    """The captions of the figures, by what is sampled."""
    if not points.is_sampled:
        return THEORIES_ALONE
    if all(points.of_experiment):
        return FIGURES
    return FIGURES | {"lines": FIGURES["lines"] + PART}


def _table_of_points(points: Points) -> Markup:
    columns = [points.estimates(name) for name in QUANTITIES]
    forms = {"test_accuracy": ".4f", "criterion": ".4g", "rhat_max": ".4f", "ess_min": ".0f"}
    for name, form in forms.items():
        columns.append([number(value, form) for value in points.of(name)])
    rows = [list(row) for row in zip(*columns, points.states, strict=True)]
    header = [*QUANTITIES.values(), "test accuracy", "s", "R̂ max", "ESS min", "state"]
    return points.table("The experiment, ± one standard error", header, rows, points.of_experiment)


def _convergence(points: Points) -> list[Markup]:
    forms = {"rhat_max": ".4f", "ess_min": ".0f", "acceptance": ".3f", "step_size": ".3g"}
    columns = [[number(value, form) for value in points.of(name)] for name, form in forms.items()]
    columns.append([time_of(value) for value in points.of("seconds")])
    columns.append([str(point) for point in points.of("point")])
    rows = [list(row) for row in zip(*columns, strict=True)]
    header = ["R̂ max", "ESS min", "acceptance", "step size", "sampling", "folder, in points/"]
    fine = element("p", "No point has failed, and every point that is done has converged.")
    return [
        _troubles(points) or fine,
        points.table("The chains of each point", header, rows, points.of_experiment),
    ]


def _troubles(points: Points) -> Markup | None:
    """The table of points that failed or have not converged; None where there is none."""
    troubles = report.troubles(points.results, points.places)
    if not troubles:
        return None
    caption = "Points that failed or have not converged" if points.is_sampled else "Points"
    if len(troubles) > MOST_ROWS:
        caption += f" (the first {MOST_ROWS} of {len(troubles)})"
    marks = [MARKS[state] for _, state, _ in troubles]
    rows = [list(trouble) for trouble in troubles]
    return element(
        "div",
        table(caption, ["point", "state", "reason"], rows[:MOST_ROWS], marks=marks[:MOST_ROWS]),
        class_="words",
    )


def _provenance(points: Points) -> list[Markup]:
    folder = points.folder
    manifests = {
        place: folder.run(point).load_manifest() for place, point in points.finished.items()
    }
    options = [] if points.is_sampled else ["--theory-only"]
    return [
        *reproduction("sweep", folder.path / "sweep.toml", manifests.values(), options),
        *provenance(manifests, {"grid hash": folder.grid.content_hash}, folder.definition),
    ]
