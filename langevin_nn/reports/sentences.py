"""What a run or a sweep has found, in sentences made from its numbers, for the top of its page.

What has not converged is said first. A theory is held against the experiment in bias² and variance,
whose sum is the generalisation error; "too large" is theory/experiment − 1. Where there is nothing
to say there is no sentence.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr

from langevin_nn.analysis.comparison import (
    Agreement,
    Deviation,
    compare,
    grid_agreement,
    grid_deviations,
    grid_marks,
    shift_names,
)
from langevin_nn.estimates import LARGEST_WHOLE
from langevin_nn.reports.formats import number
from langevin_nn.result_text import MARK, QUANTITIES, UNKNOWN_MARK, bias_mark
from langevin_nn.types import Generalisation

COMPARED = ("bias2", "variance")
"""The quantities in which theories are held against the experiment."""
LIMIT = 2.0
"""The number of standard errors up to which a theory agrees."""
SUMS = ("generalisation_error",)
"""The quantities that are sums of those of `COMPARED`."""
PRELIMINARY = (
    "No sentence here compares theories with such draws; the tables below do, and are preliminary."
)
"""What is said of comparisons with an experiment of which nothing has converged."""
HIDDEN_LIMIT = 3.0
"""The number of standard errors from which on a further quantity is named, in which one is off."""
FURTHER = tuple(key for key in QUANTITIES if key not in COMPARED)
"""The quantities that are named where a theory is further off in them than in `COMPARED`.

The generalisation error, the sum of these, is named only where the theory agrees in both.
"""
MEANINGS = {
    MARK: "shifted by the step size by more than the standard error (†), which comparisons include",
    UNKNOWN_MARK: "shifted by the step size by an amount that is not known (‡)",
}
"""The meanings of the marks of numbers, as the ends of sentences."""
UNRESOLVED = (
    "perhaps shifted by the step size by more than the standard error: such a shift is predicted, "
    "but not resolved from zero"
)
"""The meaning of a predicted shift that is large and, by its own error, may be none: no mark."""
NAMES = {key: f"the {name}" if key != "bias2" else name for key, name in QUANTITIES.items()}
"""The names of quantities within a sentence."""


def of_run(measured: Generalisation, theories: Iterable[Generalisation]) -> list[str]:
    """The result of a run in sentences: its convergence, and how the theories compare with it.

    A theory without a converged number is named as such, and in no comparison. No theory is held
    against a run that has not converged, as none is against such a point of a sweep.
    """
    theories = list(theories)
    comparisons = _comparisons(measured, theories)
    sentences = [] if measured.converged else [f"NOT CONVERGED: {measured.message}."]
    if comparisons and measured.converged:
        sentences += [*comparisons, *_hidden(measured, theories), *_resolution(measured)]
    elif comparisons:
        sentences.append(PRELIMINARY)
    if failed := [theory.name for theory in theories if not _has_number(theory)]:
        verb = "has" if len(failed) == 1 else "have"
        sentences.append(f"{listed(failed)} {verb} no converged number.")
    shifts = {key: _shift_of(measured, key) for key in QUANTITIES}
    for meaning in dict.fromkeys(filter(None, shifts.values())):
        names = [NAMES[key] for key, shift in shifts.items() if shift == meaning]
        verb = "is" if len(names) == 1 else "are"
        sentences.append(f"{_capital(listed(names))} {verb} {meaning}.")
    return sentences + _convergence(measured)


def _has_number(theory: Generalisation) -> bool:
    values = [getattr(theory, key).value for key in COMPARED]
    return theory.converged and not all(map(math.isnan, values))


def _comparisons(measured: Generalisation, theories: Sequence[Generalisation]) -> list[str]:
    """A sentence on the theories that agree alike, those that agree in most numbers first."""
    names: dict[str, list[str]] = {}
    deviations: dict[str, list[Deviation]] = {}
    for theory in theories:
        of_theory = [
            deviation
            for deviation in compare(measured, theory).deviations
            if deviation.quantity in COMPARED
            and not math.isnan(deviation.measured.value - deviation.expected.value)
        ]
        if theory.converged and of_theory:
            clause = _clause(of_theory, 1)
            names.setdefault(clause, []).append(theory.name)
            deviations.setdefault(clause, of_theory)
    ordered = sorted(names, key=lambda clause: _rank(deviations[clause]))
    return [
        f"{listed(names[clause])} {_clause(deviations[clause], len(names[clause]))}."
        for clause in ordered
    ]


def _hidden(measured: Generalisation, theories: Sequence[Generalisation]) -> list[str]:
    """The sentence on theories that are further off in what the others do not name, if any is."""
    phrases = []
    for theory in filter(_has_number, theories):
        deviations = compare(measured, theory).deviations
        sizes = {deviation.quantity: abs(deviation.z) for deviation in deviations}
        said = max(np.nan_to_num(sizes[key], posinf=math.inf) for key in COMPARED)
        differing = [
            _difference(deviation)
            for deviation in deviations
            if deviation.quantity in FURTHER
            and (deviation.quantity not in SUMS or said <= LIMIT)
            and max(said, HIDDEN_LIMIT) < sizes[deviation.quantity] < math.inf
        ]
        phrases += [f"{theory.name} is {listed(differing)}"] if differing else []
    return [f"Beyond bias² and variance, {listed(phrases)}."] if phrases else []


def _rank(deviations: Sequence[Deviation]) -> tuple[int, float]:
    """In how many numbers a theory does not agree, and the largest size of its deviations there."""
    sizes = [abs(_too_large(deviation)) for deviation in deviations if not _agrees(deviation)]
    return len(sizes), max((math.inf if math.isnan(size) else size for size in sizes), default=0.0)


def _agrees(deviation: Deviation) -> bool:
    """Whether a theory agrees within `LIMIT` standard errors; a negative number never does."""
    return abs(deviation.z) <= LIMIT and deviation.expected.value >= 0


def _clause(deviations: Sequence[Deviation], num_theories: int) -> str:
    """What so many theories say about the experiment, from their deviations in each quantity."""
    agree, are = ("agrees", "is") if num_theories == 1 else ("agree", "are")
    agreeing = [NAMES[deviation.quantity] for deviation in deviations if _agrees(deviation)]
    differing = [_difference(deviation) for deviation in deviations if not _agrees(deviation)]
    parts = [f"{agree} within two standard errors in {listed(agreeing)}"] if agreeing else []
    parts += [f"{are} {listed(differing)}"] if differing else []
    return ", and ".join(parts)


def _difference(deviation: Deviation) -> str:
    """How far a theory is off in one quantity, which it does not agree in."""
    name, z, relative = NAMES[deviation.quantity], deviation.z, _too_large(deviation)
    if deviation.expected.value < 0:
        return f"negative in {name}"
    amounts = [_per_cent(relative)] if math.isfinite(relative) else []
    error = f"{abs(z):.3g}σ" if math.isfinite(z) else "without a standard error"
    direction = "too large" if deviation.expected.value > deviation.measured.value else "too small"
    return " ".join([*amounts, direction, "in", name, f"({error})"])


def _too_large(deviation: Deviation) -> float:
    """The relative deviation theory/experiment − 1; NaN for an experiment's number below 0."""
    measured = deviation.measured.value
    return deviation.expected.value / measured - 1 if measured > 0 else math.nan


def _resolution(measured: Generalisation) -> list[str]:
    """How much a standard error is of each number, without which agreement says little."""
    parts = []
    for key in COMPARED:
        estimate = getattr(measured, key)
        if estimate.value > 0 and 0 < estimate.mcse < math.inf:
            parts.append(f"{_per_cent(estimate.mcse / estimate.value)} of {NAMES[key]}")
    return [f"One standard error is {listed(parts)}."] if parts else []


def _shift_of(measured: Generalisation, key: str) -> str:
    """The meaning of a number's shift by the step size, empty where it does not matter."""
    if mark := bias_mark(measured, key):
        return MEANINGS[mark]
    bias = measured.step_size_bias
    is_small = bias is None or abs(getattr(bias, key).value) <= getattr(measured, key).mcse
    return "" if is_small else UNRESOLVED


def _convergence(measured: Generalisation) -> list[str]:
    diagnostics = measured.diagnostics
    if not measured.converged or diagnostics is None:
        return []
    rhat, size = number(diagnostics.rhat_max, ".4f"), number(diagnostics.ess_min, ".0f")
    return [f"The chains have converged (R̂ {rhat}, ESS {size})."]


def of_grid(results: xr.Dataset, places: Sequence[str]) -> list[str]:
    """The result of a sweep in sentences: what has not converged, and how each theory does.

    `places` are the points' places in words, in C order. Theories are held against the experiment
    at the points where both have converged.
    """
    num_converged = int(results["converged"].sum())
    num_unsettled = int((results["status"] == "done").sum()) - num_converged
    sentences = []
    if num_unsettled:
        which = f"NOT CONVERGED: {_points(num_unsettled)}."
        counted = "Comparisons there are preliminary, and not counted here."
        sentences.append(f"{which} {counted if num_converged else PRELIMINARY}")
    agreements = zip(*(grid_agreement(results, key) for key in COMPARED), strict=True)
    for agreement in sorted(agreements, key=_grid_rank):
        sentences += _of_theory(agreement, num_converged, places)
        sentences += _hidden_in_grid(results, agreement[0].theory, places)
    return sentences + [sentence for key in COMPARED for sentence in _shifts(results, key)]


def _grid_rank(agreements: Sequence[Agreement]) -> tuple[float, float]:
    """The order of theories: those that agree in more numbers first, then those that are closer."""
    shares = ((agreement.within_two_sigmas, agreement.num_with_error) for agreement in agreements)
    agreeing = sum((share * total for share, total in shares if total), 0.0)
    sizes = [abs(agreement.largest) for agreement in agreements if agreement.number]
    return -agreeing, max(sizes, default=math.inf)


def _of_theory(
    agreements: Sequence[Agreement], num_converged: int, places: Sequence[str]
) -> list[str]:
    """The sentences on one theory, from its agreement in each of the compared quantities."""
    name = agreements[0].theory
    usable = max(agreement.number + agreement.num_not_positive for agreement in agreements)
    parts: list[str] = []
    for agreement in agreements:
        counts = {
            "two standard errors": (agreement.within_two_sigmas, agreement.num_with_error),
            "5 %": (agreement.within_five_per_cent, agreement.number),
        }
        limits = [
            f"within {limit} at {_count(share, total, usable)}"
            for limit, (share, total) in counts.items()
            if total
        ]
        parts += [f"{NAMES[agreement.quantity]} {listed(limits)}"] if limits else []
    sentences = []
    if parts:
        worst = max(agreements, key=lambda agreement: np.nan_to_num(abs(agreement.largest)))
        sentences.append(
            f"{name}, over {_points(usable)}: {', '.join(parts)}{_worst(worst, places)}."
        )
    for agreement in agreements:
        if total := agreement.num_not_positive:
            noun = _points(total)
            sentences.append(f"{name} is not positive in {NAMES[agreement.quantity]} at {noun}.")
    if missing := num_converged - usable:
        where = f"{missing} of the {_points(num_converged)} that have converged"
        sentences.append(f"{name} has no converged number at {where}.")
    return sentences


def _hidden_in_grid(results: xr.Dataset, theory: str, places: Sequence[str]) -> list[str]:
    """At how many points a theory is further off in a quantity that no other sentence names."""
    axes = results["status"].dims
    settled = results["converged"] & results["theory_converged"].sel(theory=theory).astype(bool)

    def size(key: str) -> np.ndarray:
        if f"theory_{key}" not in results:
            return np.full(settled.size, np.nan)
        z = grid_deviations(results, key)["z"].sel(theory=theory).where(settled)
        return np.abs(z.transpose(*axes).to_numpy().ravel())

    said = np.fmax.reduce([*map(size, COMPARED)])
    least = np.fmax(said, HIDDEN_LIMIT)
    sentences = []
    for key in FURTHER:
        sizes = size(key)
        is_further = (sizes > least) & ((said <= LIMIT) if key in SUMS else True)
        beyond = np.where(is_further, sizes, 0.0)
        if number_of_points := int(np.count_nonzero(beyond)):
            worst = int(np.argmax(beyond))
            most = " at most" if number_of_points > 1 else ""
            sentences.append(
                f"{theory} is further off in {NAMES[key]} than in bias² and variance at "
                f"{_points(number_of_points)}, by {beyond[worst]:.3g}σ{most} ({places[worst]})."
            )
    return sentences


def _worst(agreement: Agreement, places: Sequence[str]) -> str:
    """The largest deviation of a theory and its place, as the end of a sentence."""
    if agreement.place is None or agreement.largest == 0:
        return ""
    ratio = 1 + agreement.largest
    amount = f"{_per_cent(1 / ratio - 1)} " if ratio > 0 else ""
    direction = "too large" if ratio < 1 else "too small"
    return (
        f"; worst at {places[agreement.place]}, where {NAMES[agreement.quantity]} is "
        f"{amount}{direction}"
    )


def _shifts(results: xr.Dataset, key: str) -> list[str]:
    """At how many of the converged points the step size shifts a number; nothing where at none."""
    marks = grid_marks(results, key)
    kinds = [(meaning, marks == mark) for mark, meaning in MEANINGS.items()]
    for shift in shift_names(results, key)[:1]:
        kinds.append((UNRESOLVED, (marks == "") & (abs(results[shift]) > results[f"{key}_mcse"])))
    return [
        f"At {_points(number_of_points)} {NAMES[key]} is {meaning}."
        for meaning, where in kinds
        if (number_of_points := int((where & results["converged"]).sum()))
    ]


def _count(share: float, total: int, expected: int) -> str:
    """A share of `total` points as their number; `total` is said where it is not as `expected`.

    >>> _count(0.5, 4, 4), _count(1.0, 4, 4), _count(0.0, 3, 4)
    ('2', 'all 4', 'none of 3')
    """
    counted = round(share * total)
    text = f"all {total}" if counted == total else str(counted or "none")
    return text if total in (expected, counted) else f"{text} of {total}"


def _points(total: int) -> str:
    return "1 point" if total == 1 else f"{total} points"


def _per_cent(relative: float) -> str:
    """The size of a relative deviation in per cent, to two digits.

    >>> _per_cent(-0.0314), _per_cent(11.2), _per_cent(1e6)
    ('3.1 %', '1,120 %', '1e+08 %')
    """
    value = 100 * abs(relative)
    return f"{value:,.0f} %" if 10 <= value < LARGEST_WHOLE else f"{value:.2g} %"


def listed(parts: Sequence[str]) -> str:
    """The parts as in a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _capital(text: str) -> str:
    return f"The {text[4:]}" if text.startswith("the ") else text
