"""Theories against the experiments of a sweep: agreement over the grid, and point by point."""

from collections.abc import Mapping, Sequence

import numpy as np

from langevin_nn.analysis.comparison import Agreement, grid_agreement, grid_deviations
from langevin_nn.reports.formats import NOTHING, beside, number, per_cent, share
from langevin_nn.reports.html import Markup, element, joined, listing, table
from langevin_nn.reports.points import Points
from langevin_nn.reports.sentences import COMPARED
from langevin_nn.result_text import QUANTITIES, is_rounding, message_of
from langevin_nn.runs.expected import Expected
from langevin_nn.runs.summary import Summary, TheoryRecord
from langevin_nn.theory.regression.rounding import rounding_of
from langevin_nn.theory.suite import THEORIES


def of_grid(points: Points) -> list[Markup]:
    """The section of a sweep's page on theories."""
    names = [str(name) for name in points.results["theory"].to_numpy()]
    remarks = remarks_on(points.answers)
    if not names:
        return [element("p", "There is no theory to compare with."), *remarks]
    compared = [
        _agreement(points),
        element(
            "p",
            "Beside a theory: z, in σ, is (experiment − theory)/(standard error of both); the per "
            "cent are experiment/theory − 1. They mean little where a point has not converged.",
        ),
    ]
    return [
        *explanations(points.theories),
        *(compared if points.is_sampled else []),
        *([] if all(points.of_experiment) else [_criteria(points)]),
        *(_of_quantity(points, names, key) for key in QUANTITIES),
        _accuracy(points, names),
        _evidence(points, names),
        _orders(points, names),
        *remarks,
    ]


def explanations(theories: Mapping[str, TheoryRecord]) -> list[Markup]:
    """What each theory says, in a sentence; nothing of theories that have none.

    The sentence is that of the record, or where an earlier version wrote it that of the theory
    which has the name now.
    """
    known = {name: getattr(theory, "summary", "") for name, theory in THEORIES.items()}
    sentences = {name: theory.summary or known.get(name) for name, theory in theories.items()}
    terms = [
        joined([element("dt", name), element("dd", sentence)])
        for name, sentence in sentences.items()
        if sentence
    ]
    return [element("h3", "What the theories are"), element("dl", *terms)] if terms else []


def _agreement(points: Points) -> Markup:
    if "converged" not in points.states:
        return element("p", "No point has converged, so that no theory can be judged.")
    agreements = [
        agreement for key in COMPARED for agreement in grid_agreement(points.results, key)
    ]
    header = [
        "quantity", "theory", "points", "median |z|", "within 2σ", "within 1 %", "within 5 %",
        "largest deviation",
    ]  # fmt: skip
    caption = "Each theory over the points where it and the experiment have converged"
    return table(caption, header, [_row(points, agreement) for agreement in agreements], labels=2)


def _criteria(points: Points) -> Markup:
    """The criteria of the variance's change by finite width, where no other table has them."""
    names = {"criterion": "s", "criterion_at_temperature": "yᵀA⁻¹KA⁻¹y/tr A⁻¹K at T"}
    columns = [[number(value, ".4g") for value in points.of(name)] for name in names]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return points.table("The criterion, s = yᵀK⁻¹y/P as T → 0", [*names.values()], rows)


def _row(points: Points, agreement: Agreement) -> list[str]:
    largest = NOTHING
    if agreement.place is not None:
        largest = f"{per_cent(agreement.largest)} at {points.places[agreement.place]}"
    shares = (
        agreement.within_two_sigmas,
        agreement.within_one_per_cent,
        agreement.within_five_per_cent,
    )
    return [
        QUANTITIES[agreement.quantity], agreement.theory, str(agreement.number),
        number(agreement.median_z, ".1f"), *map(share, shares), largest,
    ]  # fmt: skip


def _of_quantity(points: Points, names: list[str], key: str) -> Markup:
    deviations = grid_deviations(points.results, key)
    order = points.results[f"theory_{key}"].dims
    z, relative = (points.flat(deviations[name].transpose(*order)) for name in ("z", "relative"))
    expected = np.stack(
        [points.of(f"theory_{key}"), points.of(f"theory_{key}_mcse"), z, relative], axis=-1
    )
    if key == "train_error":
        expected[_is_rounding(points), :2] = 0.0
    converged = points.of("theory_converged").tolist()
    rows = [
        list(map(_cell, row, flags)) for row, flags in zip(expected, converged, strict=True)
    ]  # fmt: skip
    return _beside_experiment(points, QUANTITIES[key], names, points.estimates(key), rows)


def _is_rounding(points: Points) -> np.ndarray:
    """Whether each theory's training error at each point is 0 within rounding, (points, theories).

    At T = 0 it is where the rounding of the Gram matrix makes it as large.
    """
    ends = np.stack([points.of("eigenvalue_min"), points.of("eigenvalue_max")], axis=-1)
    resolutions = [
        rounding_of(spectrum)
        if point.posterior.temperature == 0 and np.all(np.isfinite(spectrum))
        else 0.0
        for spectrum, point in zip(ends, points.folder.grid.points, strict=True)
    ]
    errors, beside = points.of("theory_train_error"), points.of("theory_generalisation_error")
    flags = [
        is_rounding(error, whole, resolution)
        for row, of_row, resolution in zip(errors, beside, resolutions, strict=True)
        for error, whole in zip(row, of_row, strict=True)
    ]
    return np.array(flags, bool).reshape(errors.shape)


def _beside_experiment(
    points: Points,
    caption: str,
    names: list[str],
    measured: Sequence[str],
    rows: Sequence[list[str]],
) -> Markup:
    """A table of theories, with the experiment's numbers before theirs where there is one."""
    if not points.is_sampled:
        return points.table(caption, names, list(rows))
    whole = [[value, *row] for value, row in zip(measured, rows, strict=True)]
    return points.table(caption, ["experiment", *names], whole)


def _cell(numbers: np.ndarray, converged: bool) -> str:
    text = beside(*map(float, numbers))
    return text if converged or text == NOTHING else f"{text}, not converged"


def _accuracy(points: Points, names: list[str]) -> Markup:
    measured, expected = points.of("test_accuracy"), points.of("theory_test_accuracy")
    rows = [[number(accuracy, ".4f") for accuracy in row] for row in expected]
    experiment = [number(value, ".4f") for value in measured]
    return _beside_experiment(points, "test accuracy", names, experiment, rows)


def _evidence(points: Points, names: list[str]) -> Markup:
    evidences = points.of("theory_log_evidence")
    rows = [[number(value, ".6g") for value in row] for row in evidences]
    return points.table("log evidence, log p(y | X)", names, rows)


def _orders(points: Points, names: list[str]) -> Markup:
    rows = [[_listed(orders) for orders in row] for row in points.of("order_parameter")]
    caption = "order parameters"
    if points.is_sampled:
        caption += " (of a matrix: in the point's summary.json)"
    return points.table(caption, names, rows)


def _listed(orders: np.ndarray) -> str:
    return ", ".join(f"{value:.5g}" for value in orders if np.isfinite(value)) or NOTHING


def remarks_on(summaries: Mapping[str, Summary | Expected]) -> list[Markup]:
    """The messages of theories, and the reasons why others were left out, with their points."""
    places_by_remark: dict[str, list[str]] = {}
    for place, summary in summaries.items():
        for name, theory in summary.theory.items():
            if theory.message:
                places_by_remark.setdefault(message_of(name, theory), []).append(place)
        for name, reason in summary.not_applicable.items():
            places_by_remark.setdefault(f"{name}: left out ({reason})", []).append(place)
    if not places_by_remark:
        return []
    lines = [
        remark if len(places) == len(summaries) else f"{remark}, at {_first_and_number(places)}"
        for remark, places in places_by_remark.items()
    ]
    return [element("h3", "Remarks"), listing(lines)]


def _first_and_number(places: list[str]) -> str:
    return places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1} more"
