"""Theory against experiment: deviations in standard errors and in per cent, and their table."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from langevin_nn.types import Estimate, Generalisation

QUANTITIES = {
    "bias2": "bias²",
    "variance": "variance",
    "generalisation_error": "generalisation error",
    "train_error": "training error",
}


@dataclass(frozen=True)
class Deviation:
    """One number of an experiment beside a theory's.

    `z` is (experiment − theory)/MCSE; `relative` is experiment/theory − 1.
    """

    quantity: str
    theory: str
    measured: Estimate
    expected: float

    @property
    def z(self) -> float:
        error = self.measured.mcse
        difference = self.measured.value - self.expected
        if error == 0:
            return 0.0 if difference == 0 else math.copysign(math.inf, difference)
        return difference / error

    @property
    def relative(self) -> float:
        if self.expected == 0:
            return math.nan
        return self.measured.value / self.expected - 1


@dataclass(frozen=True)
class Comparison:
    """An experiment beside theories; `str` of it is the table."""

    measured: Generalisation
    expected: tuple[Generalisation, ...]

    @property
    def deviations(self) -> tuple[Deviation, ...]:
        return tuple(
            Deviation(key, theory.name, getattr(self.measured, key), getattr(theory, key).value)
            for key in QUANTITIES
            for theory in self.expected
        )

    def __str__(self) -> str:
        rows = [["", self.measured.name, *(theory.name for theory in self.expected)]]
        deviations = iter(self.deviations)
        for key, label in QUANTITIES.items():
            row = [label, plus_minus(getattr(self.measured, key))]
            row += [_beside(next(deviations)) for _ in self.expected]
            rows.append(row)
        accuracy = [self.measured, *self.expected]
        rows.append(["test accuracy", *(f"{g.test_accuracy.value:.4f}" for g in accuracy)])
        return aligned(rows)


def compare(measured: Generalisation, *expected: Generalisation) -> Comparison:
    """Hold an experiment against one or more theories."""
    return Comparison(measured, expected)


def theory_table(theories: Iterable[Generalisation]) -> str:
    """The theories' numbers side by side, one column each."""
    columns = list(theories)
    rows = [["", *(theory.name for theory in columns)]]
    for key, label in QUANTITIES.items():
        rows.append([label, *(f"{getattr(theory, key).value:.6g}" for theory in columns)])
    rows.append(["test accuracy", *(f"{theory.test_accuracy.value:.4f}" for theory in columns)])
    orders = [", ".join(f"{q:.5g}" for q in theory.order_parameters) for theory in columns]
    return aligned([*rows, ["order parameters", *orders]])


def plus_minus(estimate: Estimate) -> str:
    """`0.03085 ± 0.00057`: two significant digits of the error decide the digits shown."""
    if not (math.isfinite(estimate.mcse) and estimate.mcse > 0):
        return f"{estimate.value:.6g}"
    digits = max(1 - math.floor(math.log10(estimate.mcse)), 0)
    return f"{estimate.value:.{digits}f} ± {estimate.mcse:.{digits}f}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as left-aligned columns under a ruled header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "─" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def _beside(deviation: Deviation) -> str:
    z = f"{deviation.z:+.1f}" if abs(deviation.z) < 1000 else f"{deviation.z:+.0e}"
    return f"{deviation.expected:.5f} ({z}σ)"
