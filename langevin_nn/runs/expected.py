"""The record of what theories say of a configuration that is not sampled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langevin_nn.runs.summary import TheoryRecord, parsed, theory_fields
from langevin_nn.theory.suite import Predictions


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the theories say of a configuration that is not sampled, or the reason why they cannot.

    The numbers are those of a `Summary`, whose experiment is missing.
    """

    reason: str = ""
    theory: dict[str, TheoryRecord] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)
    criterion: float | None = None
    criterion_at_temperature: float | None = None
    eigenvalues: tuple[float, float] | None = None

    @property
    def experiment(self) -> None:
        """There is none."""

    @classmethod
    def of(cls, predictions: Predictions) -> "Expected":
        """The record of what the theories predict at a point."""
        return cls(**theory_fields(predictions))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Expected":
        """The record in a file. Raises `Unreadable` for what is absent or of another kind."""
        expected = parsed(cls, content, "")
        assert isinstance(expected, Expected)
        return expected
