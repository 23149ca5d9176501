"""Theories against the experiments of a sweep: agreement over the grid, and point by point."""

from collections.abc import Mapping

import numpy as np

from langevin_nn.analysis.comparison import Agreement, grid_agreement, grid_deviations
from langevin_nn.reports.formats import NOTHING, beside, number, per_cent, share
from langevin_nn.reports.html import Markup, element, joined, listing, table
from langevin_nn.reports.points import Points
from langevin_nn.reports.sentences import COMPARED
from langevin_nn.result_text import QUANTITIES, message_of
from langevin_nn.runs.summary import Summary, TheoryRecord
from langevin_nn.theory.suite import THEORIES


def of_grid(points: Points) -> list[Markup]:
    """The section of a sweep's page on theories."""
    names = [str(name) for name in points.results["theory"].to_numpy()]
    remarks = remarks_on(points.summaries)
    if not names:
        return [element("p", "There is no theory to compare with."), *remarks]
    return [
        *explanations(points.theories),
        _agreement(points),
        element(
            "p",
            "Beside a theory: z, in σ, is (experiment − theory)/(standard error of both); the per "
            "cent are experiment/theory − 1. They mean little where a point has not converged.",
        ),
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
    converged = points.of("theory_converged").tolist()
    rows = [
        [measured, *map(_cell, row, flags)]
        for measured, row, flags in zip(points.estimates(key), expected, converged, strict=True)
    ]
    return points.table(QUANTITIES[key], ["experiment", *names], rows)


def _cell(numbers: np.ndarray, converged: bool) -> str:
    text = beside(*map(float, numbers))
    return text if converged or text == NOTHING else f"{text}, not converged"


def _accuracy(points: Points, names: list[str]) -> Markup:
    measured, expected = points.of("test_accuracy"), points.of("theory_test_accuracy")
    rows = [
        [number(value, ".4f"), *(number(accuracy, ".4f") for accuracy in row)]
        for value, row in zip(measured, expected, strict=True)
    ]
    return points.table("test accuracy", ["experiment", *names], rows)


def _evidence(points: Points, names: list[str]) -> Markup:
    evidences = points.of("theory_log_evidence")
    rows = [[number(value, ".6g") for value in row] for row in evidences]
    return points.table("log evidence, log p(y | X)", names, rows)


def _orders(points: Points, names: list[str]) -> Markup:
    rows = [[_listed(orders) for orders in row] for row in points.of("order_parameter")]
    caption = "order parameters (of a matrix: in the point's summary.json)"
    return points.table(caption, names, rows)


def _listed(orders: np.ndarray) -> str:
    return ", ".join(f"{value:.5g}" for value in orders if np.isfinite(value)) or NOTHING


def remarks_on(summaries: Mapping[str, Summary]) -> list[Markup]:
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
