"""Theory against experiment: deviations in standard errors and in per cent, and their table."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from langevin_nn.display import Displayed, Table
from langevin_nn.estimates import (
    UNKNOWN_SHIFT_MESSAGE,
    is_shifted,
    plus_minus,
    with_one_decimal,
)
from langevin_nn.result_text import (
    MARK,
    QUANTITIES,
    SHIFT_ADVICE,
    SHIFTED,
    UNCONVERGED,
    UNKNOWN_MARK,
    bias_mark,
    bias_note,
    message_of,
    number_or_not_found,
)
from langevin_nn.types import Estimate, Generalisation
from langevin_nn.values import require_kind


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
    def in_sigmas(self) -> str:
        """z as text, `-3.3σ`; empty where it does not exist, "no error" where it is infinite."""
        if math.isnan(self.z):
            return ""
        if math.isinf(self.z):
            return "no error"
        return f"{with_one_decimal(self.z)}σ"

    @property
    def relative(self) -> float:
        """The relative deviation experiment/theory − 1; NaN for a theory's zero."""
        if self.expected.value == 0:
            return math.nan
        return self.measured.value / self.expected.value - 1


@dataclass(frozen=True, repr=False)
class Comparison(Displayed):
    """An experiment compared with theories; it shows itself as a table.

    An experiment that has not converged is marked so, and the message under the table says why.
    """

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

    @property
    def _table(self) -> Table:
        if self.measured.converged:
            return self.unmarked
        table = self.unmarked
        (name, *numbers), *theories = table.rows
        verdict = message_of(self.measured.name, self.measured)
        rows = [[name + UNCONVERGED, *numbers], *theories]
        return replace(table, rows=rows, notes=[*table.notes, verdict])

    @property
    def unmarked(self) -> Table:
        """The table for a text that says by itself whether the experiment has converged."""
        measured = [
            plus_minus(getattr(self.measured, key)) + bias_mark(self.measured, key)
            for key in QUANTITIES
        ]
        rows = [[self.measured.name, *measured, f"{self.measured.test_accuracy.value:.4f}"]]
        deviations = iter(self.deviations)
        for theory in self.expected:
            counts = theory.converged or theory.diagnostics is not None
            cells = [_with_deviation(next(deviations), counts) for _ in QUANTITIES]
            rows.append(
                [theory.name, *cells, number_or_not_found(theory.test_accuracy.value, ".4f")]
            )
        header = ["", *QUANTITIES.values(), "test accuracy"]
        return Table(header, rows, notes=bias_note(self.measured))


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
    not exist are NaN. `num_with_error` points have a z. At `num_not_positive` points both have
    converged and the theory's number is not positive, as that of an expansion may be: these have no
    relative deviation, and are not among the `number`.
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
    num_with_error: int
    num_not_positive: int


def grid_agreement(results: xr.Dataset, quantity: str) -> tuple[Agreement, ...]:
    """The agreement of each theory of a sweep's Dataset with the experiment over the grid."""
    axes = results["status"].dims
    # Without a theory the array is empty, and of no kind.
    settled = results["converged"] & results["theory_converged"].astype(bool)
    deviations = grid_deviations(results, quantity).where(settled).transpose(*axes, "theory")
    not_positive = settled & (results[f"theory_{quantity}"] <= 0) & results[quantity].notnull()
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
                z.size, int(not_positive.sel(theory=name).sum()),
            )
        )  # fmt: skip
    return tuple(agreements)


def _mean(values: np.ndarray, average: Callable[[np.ndarray], Any] = np.mean) -> float:
    return float(average(values)) if values.size else math.nan


def _with_deviation(deviation: Deviation, counts: bool = True) -> str:
    """A theory's number as text, with the experiment's deviation from it in standard errors.

    A theory that has not converged does not count: nothing is compared with it.
    """
    number = number_or_not_found(deviation.expected.value, ".5f")
    if not counts:
        return number if math.isnan(deviation.expected.value) else number + UNCONVERGED
    return f"{number} ({deviation.in_sigmas})" if deviation.in_sigmas else number
