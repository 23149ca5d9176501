"""Numbers with their errors."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A number with its Monte-Carlo standard error (zero where nothing was sampled)."""

    value: float
    mcse: float = 0.0


@dataclass(frozen=True)
class StepSizeBias:
    """What a finite step size adds to the numbers of a `Generalisation`, to leading order in it.

    Each has the Monte-Carlo error of the prediction itself.
    """

    bias2: Estimate
    variance: Estimate
    generalisation_error: Estimate
    train_error: Estimate

    def beyond_the_error(self, numbers: Any) -> tuple[str, ...]:
        """Which of these numbers are shifted by more than their standard error, by name.

        The shift has to be larger than twice its own error, too.
        """
        names = (field.name for field in fields(self))
        pairs = {name: (getattr(self, name), getattr(numbers, name)) for name in names}
        return tuple(
            name
            for name, (shift, number) in pairs.items()
            if abs(shift.value) > max(number.mcse, 2 * shift.mcse)
        )
