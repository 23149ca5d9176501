"""How results, of experiments and of theories, are written in tables.

A result is a `types.Generalisation`, which shows itself by these functions.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from langevin_nn.display import Table
from langevin_nn.estimates import Estimate, plus_minus, shifted

MARK = " †"
"""The mark of a number that the step size shifts by more than its standard error."""

UNKNOWN_MARK = " ‡"
"""The mark of a number that the step size shifts by an unknown amount."""

SHIFTED = "shifted by the step size by more than the standard error"
SHIFT_ADVICE = 'write a smaller step_size, or dynamics = "split"'

NOT_FOUND = "not found"
"""The text in place of a theory's number that does not exist; the theory's message says why."""

QUANTITIES = {
    "bias2": "bias²",
    "variance": "variance",
    "generalisation_error": "generalisation error",
    "train_error": "training error",
}
"""The names of compared quantities in tables and figures, by their names in results."""


def bias_mark(measured: Any, key: str) -> str:
    """The mark of the number `key`, for a step-size shift beyond its error or an unknown one."""
    if key in measured.biased:
        return MARK
    bias = measured.step_size_bias
    return UNKNOWN_MARK if bias is not None and key in bias.unknown else ""


def bias_note(measured: Any) -> list[str]:
    """The lines that explain the marks of numbers; none where no number has a mark."""
    bias = measured.step_size_bias
    if bias is None:
        return []
    not_known = [f"{UNKNOWN_MARK.strip()} {bias.message}"] if bias.message else []
    if not measured.biased:
        return not_known
    shifts = (f"{QUANTITIES[key]} by {shifted(getattr(bias, key))}" for key in measured.biased)
    return not_known + [
        f"{MARK.strip()} {SHIFTED}: {', '.join(shifts)} (predicted to leading order): "
        f"{SHIFT_ADVICE}"
    ]


UNCONVERGED = " (not converged)"
"""What stands behind the name, or the number, of a result that has not converged."""


SQUARED_ROUNDING = 1e-28
"""The part of the generalisation error up to which a training error is residuals' rounding."""


def is_rounding(error: float, beside: float, resolution: float = 0.0) -> bool:
    """Whether a training error is 0 within rounding, as that of what fits all examples.

    `beside` is the generalisation error, `resolution` what is known of the training error's own.

    >>> is_rounding(2.7e-34, 0.3), is_rounding(7e-17, 0.3), is_rounding(7e-17, 0.3, 1e-15)
    (True, False, True)
    """
    return bool(abs(error) <= max(resolution, SQUARED_ROUNDING * abs(beside)))


def results_table(results: Iterable[Any], resolution: float = 0.0) -> Table:
    """A table of the numbers of theories or experiments, a row for each.

    Columns that all leave empty, the log evidence say, are left out. Training errors that are
    rounding (`is_rounding`, with this `resolution`) are written as 0.
    """
    results = list(results)
    header = ["", *QUANTITIES.values(), "test accuracy", "log evidence", "order parameters"]
    rows = []
    for result in results:
        estimates = {key: getattr(result, key) for key in QUANTITIES}
        error, beside = result.train_error.value, result.generalisation_error.value
        if is_rounding(error, beside, resolution):
            estimates["train_error"] = Estimate(0.0)
        evidence = result.log_evidence
        rows.append(
            [
                result.name + _state(result),
                *(
                    NOT_FOUND
                    if math.isnan(estimate.value)
                    else plus_minus(estimate) + bias_mark(result, key)
                    for key, estimate in estimates.items()
                ),
                number_or_not_found(result.test_accuracy.value, ".4f"),
                "" if evidence is None else number_or_not_found(evidence, ".6g"),
                orders(result),
            ]
        )
    used = [place for place in range(len(header)) if place < 6 or any(row[place] for row in rows)]
    return Table(
        [header[place] for place in used], [[row[place] for place in used] for row in rows]
    )


def with_messages(table: Table, results: Iterable[Any]) -> Table:
    """The table with the notes on marks and the messages of these results under it."""
    notes = []
    for result in results:
        notes += bias_note(result)
        if result.message:
            notes.append(message_of(result.name, result))
    return replace(table, notes=[*table.notes, *notes])


def message_of(name: str, result: Any) -> str:
    """The message of a result in a line, under its name, with its state where it has numbers.

    `result` is a `Generalisation`, or a record of one with its `converged` and its `message`.
    """
    says_all = result.converged or result.message.startswith(NOT_FOUND)
    return f"{name}: {'' if says_all else 'not converged: '}{result.message}"


def _state(result: Any) -> str:
    """ " (not converged)" behind the name of numbers that have not; "" where there are none."""
    return "" if result.converged or math.isnan(result.bias2.value) else UNCONVERGED


def orders(theory: Any) -> str:
    """The order parameters as text; of a matrix its smallest and its largest eigenvalue."""
    orders = np.array(theory.order_parameters)
    if orders.ndim < 2 or not np.all(np.isfinite(orders)):
        return ", ".join(number_or_not_found(float(q), ".5g") for q in orders.ravel())
    eigenvalues = np.linalg.eigvalsh(orders)
    size = len(orders)
    return f"{size} × {size}, eigenvalues {eigenvalues[0]:.4g} … {eigenvalues[-1]:.4g}"


def number_or_not_found(value: float, form: str) -> str:
    """A theory's number as text, or `NOT_FOUND` for NaN."""
    return NOT_FOUND if math.isnan(value) else format(value, form)
