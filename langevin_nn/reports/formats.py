"""The formats of numbers in a report."""

import math

from langevin_nn import plotting
from langevin_nn.display import duration
from langevin_nn.estimates import plus_minus, with_one_decimal
from langevin_nn.types import Estimate

FIELDS = ("data.num_train", "network.hidden_widths", "prior.precisions", "posterior.temperature")
"""The fields that captions have by their symbols."""
NOTHING = "–"
"""The text in place of a number that does not exist."""


def number(value: float | None, form: str) -> str:
    """A number as text in the given form; `NOTHING` for NaN and None.

    >>> number(-1.00594, ".4f"), number(float("nan"), ".4f")
    ('−1.0059', '–')
    """
    if value is None or math.isnan(value):
        return NOTHING
    return _with_minus(format(float(value), form))


def estimate(value: float | None, mcse: float | None) -> str:
    """A number with its standard error as text; `NOTHING` for NaN and None."""
    if value is None or math.isnan(value):
        return NOTHING
    error = math.nan if mcse is None else float(mcse)
    return _with_minus(plus_minus(Estimate(float(value), error)))


def beside(expected: float, mcse: float, z: float, relative: float) -> str:
    """A theory's number with the experiment's deviations from it, as far as these are defined.

    >>> beside(0.0544312, 0.0, -4.5, -0.025), beside(0.0544312, 0.0, float("nan"), 0.5)
    ('0.054431 (−4.5σ, −2.5 %)', '0.054431 (+50.0 %)')
    """
    if math.isnan(expected):
        return NOTHING
    value = estimate(expected, mcse) if mcse > 0 else number(expected, ".5g")
    deviations = [f"{signed(z)}σ"] if math.isfinite(z) else []
    deviations += [per_cent(relative)] if math.isfinite(relative) else []
    return f"{value} ({', '.join(deviations)})" if deviations else value


def signed(value: float) -> str:
    """A number such as z as text, with its sign and one decimal, or whole if it is large.

    >>> signed(-0.04), signed(12.34), signed(-12345.0)
    ('−0.0', '+12.3', '−12,345')
    """
    return NOTHING if math.isnan(value) else _with_minus(with_one_decimal(value))


def per_cent(relative: float | None) -> str:
    """A relative deviation in per cent as text, with its sign; small ones have a further digit.

    >>> per_cent(-0.0251), per_cent(0.00312), per_cent(11.2)
    ('−2.5 %', '+0.31 %', '+1,120 %')
    """
    if relative is None or math.isnan(relative):
        return NOTHING
    value = 100 * relative
    return f"{number(value, '+.2f') if abs(value) < 1 else signed(value)} %"


def share(part: float) -> str:
    """A part of a whole as text, in per cent."""
    return NOTHING if math.isnan(part) else f"{part:.0%}".replace("%", " %")


def time_of(seconds: float | None) -> str:
    """A time in the unit that suits it as text; `NOTHING` for NaN and None."""
    return NOTHING if seconds is None or math.isnan(seconds) else duration(seconds)


def legend(*, compared: bool = True, richness: bool = False) -> str:
    """The names in a configuration of what a page has by its symbol, and what "too large" is.

    The latter where theories are `compared` with an experiment; γ where there is a `richness`.

    >>> legend()[:37]
    'P is data.num_train, N network.hidden'
    """
    fields = (*FIELDS, "posterior.richness") if richness else FIELDS
    first, *others = (f"{plotting.symbol(field)} {field}" for field in fields)
    names = ", ".join([first.replace(" ", " is ", 1), *others])
    layers = "layer by layer N_1 … N_L and λ_0 … λ_L, that of the read-out"
    too_large = " Too large is theory/experiment − 1." if compared else ""
    return f"{names}; {layers}.{too_large}"


def _with_minus(text: str) -> str:
    """The text with a leading hyphen as a minus sign, which is as wide as a plus."""
    return f"−{text[1:]}" if text.startswith("-") else text
