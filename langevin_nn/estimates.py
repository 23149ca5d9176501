"""Numbers with their errors."""

import math
from dataclasses import dataclass, fields
from typing import Any

from langevin_nn.errors import InputError
from langevin_nn.values import as_number, shown


@dataclass(frozen=True)
class Estimate:
    """A number with its Monte-Carlo standard error (zero where nothing was sampled).

    Either is NaN where it is not known. Raises `InputError` for what are no numbers, and for an
    error that is negative. It shows itself rounded, with the last digits' error in brackets.

    >>> Estimate(0.06238, 0.00112), Estimate(1234.5, 67.8), Estimate(0.25)
    (0.0624(11), 1234(68), 0.25)
    """

    value: float
    mcse: float = 0.0

    def __post_init__(self) -> None:
        value, mcse = as_number(self.value), as_number(self.mcse)
        if value is None or mcse is None or mcse < 0:
            raise InputError(
                "an estimate is a number and its standard error, which is not negative: got "
                f"{shown(self.value)} and {shown(self.mcse)}: write Estimate(0.25, 0.01)"
            )
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "mcse", mcse)

    def __repr__(self) -> str:
        return bracketed(self.value, self.mcse, 2)

    def _repr_html_(self) -> str:
        return repr(self)


MOST_DECIMALS, LARGEST_WRITTEN_OUT = 12, 1e15
"""The bounds beyond which numbers are written with a power of ten."""
LARGEST_WHOLE = 1e6
"""The size from which on z, and numbers in per cent, are written with a power of ten."""

UNKNOWN_SHIFT_MESSAGE = (
    "step-size shift not known (it is not predicted with a ladder, whose swaps change it, and for "
    "draws without slopes): hold the numbers against those of a smaller step_size, or write "
    'dynamics = "split"'
)


def is_shifted(number: Estimate, shift: Estimate) -> bool:
    """Whether a number is shifted by more than its standard error, and twice the shift's own.

    >>> is_shifted(Estimate(0.25, 0.01), Estimate(-0.02, 0.001))
    True
    """
    return abs(shift.value) > max(number.mcse, 2 * shift.mcse)


@dataclass(frozen=True)
class StepSizeBias:
    """The shifts of a `Generalisation`'s numbers by a finite step size, to leading order in it.

    Each has the Monte-Carlo error of the prediction itself; NaN is a shift that is not known.
    """

    bias2: Estimate
    variance: Estimate
    generalisation_error: Estimate
    train_error: Estimate

    @classmethod
    def not_known(cls) -> "StepSizeBias":
        """The shifts of a dynamics that has them, of draws that do not tell how large they are.

        >>> StepSizeBias.not_known().unknown
        ('bias2', 'variance', 'generalisation_error', 'train_error')
        """
        return cls(**{field.name: Estimate(math.nan, math.nan) for field in fields(cls)})

    @property
    def unknown(self) -> tuple[str, ...]:
        """The names of the numbers whose shifts are not known."""
        names = (field.name for field in fields(self))
        return tuple(name for name in names if math.isnan(getattr(self, name).value))

    @property
    def message(self) -> str:
        """The message that shifts are not known, and what to write; empty where all are known."""
        return UNKNOWN_SHIFT_MESSAGE if self.unknown else ""

    def beyond_the_error(self, numbers: Any) -> tuple[str, ...]:
        """The names of those numbers that are shifted by more than their standard error.

        The shift has to be larger than twice its own error, too.
        """
        names = (field.name for field in fields(self))
        return tuple(
            name for name in names if is_shifted(getattr(numbers, name), getattr(self, name))
        )


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


def with_one_decimal(value: float) -> str:
    """A number such as z, or one in per cent, as text with its sign; from 1,000 on a whole one.

    >>> with_one_decimal(-0.04), with_one_decimal(1120.3), with_one_decimal(-1.2e7)
    ('-0.0', '+1,120', '-1.2e+07')
    """
    if abs(value) < 999.95:
        return f"{value:+.1f}"
    return f"{value:+,.0f}" if abs(value) < LARGEST_WHOLE else f"{value:+.2g}"


def shifted(estimate: Estimate, unit: float = 1.0) -> str:
    """A shift in units of `unit` as text, `+0.0123(4)`: the error of the last digit in brackets."""
    return bracketed(estimate.value / unit, estimate.mcse / unit, 1, "+")


def bracketed(value: float, error: float, error_digits: int, sign: str = "-") -> str:
    """A number as text with its error in brackets, in units of the last digit that is written.

    The error has `error_digits` digits. A `sign` of "+" writes that of positive numbers too.

    >>> bracketed(0.01234, 0.00041, 1, "+"), bracketed(2.0, 0.0997, 2), bracketed(3e-20, 1e-21, 2)
    ('+0.0123(4)', '2.00(10)', '3e-20 ± 1e-21')
    """
    error = abs(error)
    if not (math.isfinite(error) and error > 0):
        return f"{value:{sign}.{3 if sign == '+' else 6}g}"
    digits = max(error_digits - 1 - math.floor(math.log10(error)), 0)
    if digits > MOST_DECIMALS or not max(abs(value), error) < LARGEST_WRITTEN_OUT:
        return f"{value:{sign}.{3 if sign == '+' else 6}g} ± {error:.{error_digits}g}"
    if round(error * 10**digits) == 10**error_digits:
        digits = max(digits - 1, 0)
    return f"{value:{sign}.{digits}f}({error * 10**digits:.0f})"
