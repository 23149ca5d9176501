"""Theory against experiment: deviations in standard errors and in per cent, and their table."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from langevin_nn.estimates import UNKNOWN_SHIFT_MESSAGE, is_shifted
from langevin_nn.types import Estimate, Generalisation
from langevin_nn.values import require_kind

MARK = " †"
"""The mark of a number that the step size shifts by more than its standard error."""

UNKNOWN_MARK = " ‡"
"""The mark of a number that the step size shifts by an unknown amount."""

NOT_FOUND = "not found"
"""The text in place of a theory's number that does not exist; the theory's message says why."""

MOST_DECIMALS, LARGEST_WRITTEN_OUT = 12, 1e15
"""The bounds beyond which numbers are written with a power of ten."""

SHIFTED = "shifted by the step size by more than the standard error"
SHIFT_ADVICE = 'write a smaller step_size, or dynamics = "split"'

QUANTITIES = {
    "bias2": "bias²",
    "variance": "variance",
    "generalisation_error": "generalisation error",
    "train_error": "training error",
}
"""The names of compared quantities in tables and figures, by their names in results."""


@dataclass(frozen=True)
class Deviation:
    """One number of an experiment compared with a theory's.

    `z` is (experiment − theory)/(standard error of both), ±∞ for numbers that differ without an
    error, NaN where one of them does not exist; `relative` is experiment/theory − 1.
    """

    quantity: str
    theory: str
    measured: Estimate
    expected: Estimate

    @property
    def z(self) -> float:
        """The difference (experiment − theory) in units of the standard error of both."""
        error = math.hypot(self.measured.mcse, self.expected.mcse)
        difference = self.measured.value - self.expected.value
        if error == 0 and not math.isnan(difference):
            return 0.0 if difference == 0 else math.copysign(math.inf, difference)
        return difference / error if error else math.nan

    @property
    def relative(self) -> float:
        """The relative deviation experiment/theory − 1; NaN for a theory's zero."""
        if self.expected.value == 0:
            return math.nan
        return self.measured.value / self.expected.value - 1


@dataclass(frozen=True)
class Comparison:
    """An experiment compared with theories; its `str` is a table."""

    measured: Generalisation
    expected: tuple[Generalisation, ...]

    @property
    def deviations(self) -> tuple[Deviation, ...]:
        """The deviations from every theory, quantity by quantity."""
        return tuple(
            Deviation(key, theory.name, getattr(self.measured, key), getattr(theory, key))
            for theory in self.expected
            for key in QUANTITIES
        )

    def __str__(self) -> str:
        rows = [["", *QUANTITIES.values(), "test accuracy"]]
        measured = [
            plus_minus(getattr(self.measured, key)) + bias_mark(self.measured, key)
            for key in QUANTITIES
        ]
        rows.append([self.measured.name, *measured, f"{self.measured.test_accuracy.value:.4f}"])
        deviations = iter(self.deviations)
        for theory in self.expected:
            cells = [_with_deviation(next(deviations)) for _ in QUANTITIES]
            rows.append(
                [theory.name, *cells, _number_or_not_found(theory.test_accuracy.value, ".4f")]
            )
        return "\n".join([aligned(rows), *bias_note(self.measured)])


def bias_mark(measured: Generalisation, key: str) -> str:
    """The mark of the number `key`, for a step-size shift beyond its error or an unknown one."""
    if key in measured.biased:
        return MARK
    bias = measured.step_size_bias
    return UNKNOWN_MARK if bias is not None and key in bias.unknown else ""


def bias_note(measured: Generalisation) -> list[str]:
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


def shift_names(results: xr.Dataset, quantity: str) -> list[str]:
    """The names in a sweep's Dataset of the quantity's shift by the step size and of its error.

    There are none in Datasets of earlier versions, nor of a quantity without a predicted shift.
    """
    shift = f"{quantity}_step_size_shift"
    return [shift, f"{shift}_mcse"] if shift in results else []


def grid_marks(results: xr.Dataset, quantity: str) -> xr.DataArray:
    """The mark of the experiment's quantity at each point of a sweep's Dataset, as `bias_mark`.

    It is empty at points that are not done, and where `shift_names` has no names.
    """
    names = shift_names(results, quantity)
    if not names:
        return xr.full_like(results[quantity], "", dtype=f"<U{len(MARK)}")

    def mark(value: float, mcse: float, shift: float, shift_mcse: float) -> str:
        if math.isnan(shift):
            return "" if math.isnan(value) else UNKNOWN_MARK
        return MARK if is_shifted(Estimate(value, mcse), Estimate(shift, shift_mcse)) else ""

    numbers = [results[name] for name in (quantity, f"{quantity}_mcse", *names)]
    points = zip(*(values.to_numpy().ravel().tolist() for values in numbers), strict=True)
    marks = np.array([mark(*point) for point in points], dtype=f"<U{len(MARK)}")
    return numbers[0].copy(data=marks.reshape(numbers[0].shape))


def grid_note(results: xr.Dataset) -> list[str]:
    """The lines that explain the marks of a sweep's numbers; none where no number has a mark."""
    marks = {str(mark) for key in QUANTITIES for mark in grid_marks(results, key).values.flat}
    notes = {
        UNKNOWN_MARK: UNKNOWN_SHIFT_MESSAGE,
        MARK: f"{SHIFTED} (predicted to leading order; results.nc has the shifts): {SHIFT_ADVICE}",
    }
    return [f"{mark.strip()} {text}" for mark, text in notes.items() if mark in marks]


def compare(measured: Generalisation, *expected: Generalisation) -> Comparison:
    """Compare an experiment with one or more theories. Raises `InputError` for other objects."""
    for name, result in (("measured", measured), *(("expected", theory) for theory in expected)):
        require_kind(name, result, Generalisation, "compare(summarise(chains), theory, …)")
    return Comparison(measured, expected)


def grid_deviations(results: xr.Dataset, quantity: str) -> xr.Dataset:
    """The deviations `z` and `relative` (see `Deviation`) of each theory over a sweep's grid.

    `results` is the Dataset of a sweep; both have its axes and the dimension `theory`. The quantity
    cannot be negative: where a theory's expansion is, `relative` is NaN.
    """
    measured, expected = results[quantity], results[f"theory_{quantity}"]
    error = (results[f"{quantity}_mcse"] ** 2 + results[f"theory_{quantity}_mcse"] ** 2) ** 0.5
    difference = measured - expected
    relative = difference / expected.where(expected > 0)
    return xr.Dataset({"z": difference / error.where(error > 0), "relative": relative})


@dataclass(frozen=True)
class Agreement:
    """The agreement of a theory with the experiment in one quantity over the grid of a sweep.

    The `number` points where experiment and theory have converged count. `median_z` is the median
    of |z|; `within_two_sigmas`, `within_one_per_cent` and `within_five_per_cent` are shares of
    these points; `largest` is the relative deviation that is largest in size, with its sign, and
    `place` that point's place in the grid, in C order (None where no point counts). Numbers that do
    not exist are NaN.
    """

    quantity: str
    theory: str
    number: int
    median_z: float
    within_two_sigmas: float
    within_one_per_cent: float
    within_five_per_cent: float
    largest: float
    place: int | None


def grid_agreement(results: xr.Dataset, quantity: str) -> tuple[Agreement, ...]:
    """The agreement of each theory of a sweep's Dataset with the experiment over the grid."""
    axes = results["status"].dims
    settled = results["converged"] & results["theory_converged"]
    deviations = grid_deviations(results, quantity).where(settled).transpose(*axes, "theory")
    agreements = []
    for name in results["theory"].to_numpy():
        z, relative = (
            np.abs(deviations[key].sel(theory=name).to_numpy().ravel()) for key in ("z", "relative")
        )
        signed = deviations["relative"].sel(theory=name).to_numpy().ravel()
        place = int(np.nanargmax(relative)) if np.any(np.isfinite(relative)) else None
        z, relative = z[np.isfinite(z)], relative[np.isfinite(relative)]
        agreements.append(
            Agreement(
                quantity, str(name), len(relative), _mean(z, np.median), _mean(z <= 2),
                _mean(relative <= 0.01), _mean(relative <= 0.05),
                math.nan if place is None else float(signed[place]), place,
            )
        )  # fmt: skip
    return tuple(agreements)


def _mean(values: np.ndarray, average: Callable[[np.ndarray], Any] = np.mean) -> float:
    return float(average(values)) if values.size else math.nan


def theory_table(theories: Iterable[Generalisation]) -> str:
    """A table of the theories' numbers, one row for each theory."""
    rows = [["", *QUANTITIES.values(), "test accuracy", "log evidence", "order parameters"]]
    for theory in theories:
        estimates = [getattr(theory, key) for key in QUANTITIES]
        numbers = [
            NOT_FOUND if math.isnan(estimate.value) else plus_minus(estimate)
            for estimate in estimates
        ]
        evidence = (
            "" if theory.log_evidence is None else _number_or_not_found(theory.log_evidence, ".6g")
        )
        accuracy = _number_or_not_found(theory.test_accuracy.value, ".4f")
        rows.append([theory.name, *numbers, accuracy, evidence, orders(theory)])
    return aligned(rows)


def orders(theory: Generalisation) -> str:
    """The order parameters as text; of a matrix its smallest and its largest eigenvalue."""
    orders = np.array(theory.order_parameters)
    if orders.ndim < 2 or not np.all(np.isfinite(orders)):
        return ", ".join(_number_or_not_found(float(q), ".5g") for q in orders.ravel())
    eigenvalues = np.linalg.eigvalsh(orders)
    size = len(orders)
    return f"{size} × {size}, eigenvalues {eigenvalues[0]:.4g} … {eigenvalues[-1]:.4g}"


def plus_minus(estimate: Estimate) -> str:
    """An estimate as text, `0.03085 ± 0.00057`, to two significant digits of the error.

    Very small or very large numbers have six digits and a power of ten: `1.5e+300 ± 2e+298`.
    """
    if not (math.isfinite(estimate.mcse) and estimate.mcse > 0):
        return f"{estimate.value:.6g}"
    digits = max(1 - math.floor(math.log10(estimate.mcse)), 0)
    if digits > MOST_DECIMALS or not max(abs(estimate.value), estimate.mcse) < LARGEST_WRITTEN_OUT:
        return f"{estimate.value:.6g} ± {estimate.mcse:.2g}"
    return f"{estimate.value:.{digits}f} ± {estimate.mcse:.{digits}f}"


def shifted(estimate: Estimate, unit: float = 1.0) -> str:
    """A shift in units of `unit` as text, `+0.0123(4)`: the error of the last digit in brackets."""
    value, error = estimate.value / unit, abs(estimate.mcse / unit)
    if not (math.isfinite(error) and error > 0):
        return f"{value:+.3g}"
    digits = max(-math.floor(math.log10(error)), 0)
    if digits > MOST_DECIMALS or not max(abs(value), error) < LARGEST_WRITTEN_OUT:
        return f"{value:+.3g} ± {error:.1g}"
    if round(error * 10**digits) == 10:
        digits = max(digits - 1, 0)
    last_digits = f"{error * 10**digits:.0f}" if digits else f"{error:.0f}"
    return f"{value:+.{digits}f}({last_digits})"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table as text: rows in left-aligned columns, the first row ruled off as the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "─" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def _number_or_not_found(value: float, form: str) -> str:
    """A theory's number as text, or `NOT_FOUND` for NaN."""
    return NOT_FOUND if math.isnan(value) else format(value, form)


def _with_deviation(deviation: Deviation) -> str:
    """A theory's number as text, with the experiment's deviation from it in standard errors."""
    if math.isnan(deviation.z):
        return _number_or_not_found(deviation.expected.value, ".5f")
    if math.isinf(deviation.z):
        return f"{deviation.expected.value:.5f} (no error)"
    z = f"{deviation.z:+.1f}" if abs(deviation.z) < 1000 else f"{deviation.z:+.0e}"
    return f"{deviation.expected.value:.5f} ({z}σ)"
