"""summary.json: the numbers of a run. Its keys are the fields of `Summary`, which writes and reads.

JSON has no NaN: null. What earlier versions did not write has its default. Draws: `posterior_file`.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from langevin_nn.analysis.tempering import Tempering
from langevin_nn.files import Unreadable
from langevin_nn.representations import Representation
from langevin_nn.result_text import QUANTITIES
from langevin_nn.runs.standard_scaling import StandardScaling
from langevin_nn.sampling.draws import Chains, is_adjusted
from langevin_nn.theory.suite import Predictions, theory_named
from langevin_nn.types import Estimate, Generalisation, InputError, StepSizeBias

__all__ = [
    "UNKNOWN", "Experiment", "Rung", "Summary", "Tempered", "TheoryRecord", "parsed", "as_json",
    "theory_fields", "theory_part",
]  # fmt: skip

LARGEST_INTEGER = 10**300
"""The bound below which a whole number is read as a floating-point number."""
UNKNOWN = Estimate(math.nan, math.nan)
"""The estimate of a number that an earlier version did not write."""
Orders = tuple[float, ...] | tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The numbers that were measured on a run's draws."""

    bias2: Estimate
    variance: Estimate
    generalisation_error: Estimate
    train_error: Estimate
    test_accuracy: float = math.nan
    test_accuracy_mcse: float = math.nan
    rhat: dict[str, float] = field(default_factory=dict)
    ess: dict[str, float] = field(default_factory=dict)
    rhat_max: float = math.nan
    ess_min: float = math.nan
    constant: tuple[str, ...] = ()
    converged: bool
    message: str
    unadjusted: bool | None = None
    acceptance: float | None = None
    nonfinite_proposals: float | None = None
    step_size: float = math.nan
    trajectory_length: float | None = None
    stability_limit: float = math.nan
    step_size_relative_bias: float | None = None
    step_size_bias: StepSizeBias | None = None
    step_size_message: str = ""
    variance_reduction: dict[str, float] = field(default_factory=dict)
    num_chains: int = 0
    num_draws: int = 0
    diverged_chains: int = 0
    wall_seconds: float = math.nan

    @classmethod
    def of(cls, measured: Generalisation, chains: Chains) -> "Experiment":
        """The numbers as the file has them: an infinite one is not known, NaN or None."""
        diagnostics = measured.diagnostics
        assert diagnostics is not None, "an experiment's result carries its diagnostics"
        bias, variance = measured.step_size_bias, measured.variance.value
        shift = 0.0 if chains.has_acceptance_step else math.nan
        if bias is not None:
            shift = bias.variance.value
        numbers = cls(
            bias2=measured.bias2,
            variance=measured.variance,
            generalisation_error=measured.generalisation_error,
            train_error=measured.train_error,
            test_accuracy=measured.test_accuracy.value,
            test_accuracy_mcse=measured.test_accuracy.mcse,
            rhat=diagnostics.rhat,
            ess=diagnostics.ess,
            rhat_max=diagnostics.rhat_max,
            ess_min=diagnostics.ess_min,
            constant=diagnostics.constant,
            converged=measured.converged,
            message=measured.message,
            unadjusted=not chains.has_acceptance_step,
            acceptance=diagnostics.acceptance,
            nonfinite_proposals=diagnostics.nonfinite,
            step_size=chains.step_size,
            trajectory_length=chains.trajectory_length,
            stability_limit=chains.stability_limit,
            step_size_relative_bias=shift / variance if variance else None,
            step_size_bias=bias,
            step_size_message=_step_size_message(measured),
            variance_reduction=measured.variance_reduction or {},
            num_chains=diagnostics.num_chains,
            num_draws=diagnostics.num_draws,
            diverged_chains=diagnostics.diverged_chains,
            wall_seconds=chains.wall_seconds,
        )
        stored = parsed(cls, as_json(numbers), "experiment")
        assert isinstance(stored, cls)
        return stored

    @property
    def has_acceptance_step(self) -> bool:
        """Whether the step size shifts nothing of what was sampled."""
        return is_adjusted(self.unadjusted, self.acceptance)

    def estimate(self, name: str) -> Estimate:
        """The number of this name with its standard error."""
        if name == "test_accuracy":
            return Estimate(self.test_accuracy, self.test_accuracy_mcse)
        number = getattr(self, name)
        assert isinstance(number, Estimate)
        return number

    def step_size_shift(self, name: str) -> Estimate:
        """The predicted shift of the number by the step size; 0 with an acceptance step."""
        if self.step_size_bias is None:
            return Estimate(0.0) if self.has_acceptance_step else UNKNOWN
        shift = getattr(self.step_size_bias, name)
        assert isinstance(shift, Estimate)
        return shift


@dataclass(frozen=True, kw_only=True)
class TheoryRecord:
    """The numbers that a theory predicts; `mcse` has the standard errors of the sampled ones.

    `summary` is the sentence on what the theory says.
    """

    bias2: float = math.nan
    variance: float = math.nan
    generalisation_error: float = math.nan
    train_error: float = math.nan
    test_accuracy: float = math.nan
    order_parameters: Orders
    mcse: dict[str, float] = field(default_factory=dict)
    log_evidence: float | None = None
    converged: bool
    message: str
    summary: str = ""

    @classmethod
    def of(cls, theory: Generalisation, summary: str = "") -> "TheoryRecord":
        """The record of a theory's numbers, with the sentence that says what it is."""
        numbers = {name: getattr(theory, name) for name in QUANTITIES}
        return cls(
            **{name: number.value for name, number in numbers.items()},
            test_accuracy=theory.test_accuracy.value,
            order_parameters=theory.order_parameters,
            mcse={name: number.mcse for name, number in numbers.items() if number.mcse > 0},
            log_evidence=theory.log_evidence,
            converged=theory.converged,
            message=theory.message,
            summary=summary,
        )

    def estimate(self, name: str) -> Estimate:
        """The number of this name; its standard error is 0 where it is not sampled."""
        return Estimate(getattr(self, name), self.mcse.get(name, 0.0))

    def generalisation(self, name: str, mean: np.ndarray, variance: np.ndarray) -> Generalisation:
        """The theory's result, with its predictions at the test points."""
        return Generalisation(
            name=name,
            predictive_mean=mean,
            predictive_variance=variance,
            bias2=self.estimate("bias2"),
            variance=self.estimate("variance"),
            generalisation_error=self.estimate("generalisation_error"),
            train_error=self.estimate("train_error"),
            test_accuracy=Estimate(self.test_accuracy),
            order_parameters=self.order_parameters,
            log_evidence=self.log_evidence,
            converged=self.converged,
            message=self.message,
        )


@dataclass(frozen=True, kw_only=True)
class Rung:
    """The numbers that were measured on the draws at one temperature of a ladder."""

    temperature: float
    bias2: Estimate
    variance: Estimate
    generalisation_error: Estimate = UNKNOWN
    train_error: Estimate
    log_evidence: Estimate
    log_evidence_quadrature: float = math.nan
    rhat_max: float = math.nan
    ess_min: float = math.nan
    acceptance: float | None = None
    step_size_message: str = ""
    converged: bool = False
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Tempered:
    """The numbers of a ladder of temperatures, with one of `rungs` for each."""

    rungs: tuple[Rung, ...]
    swap_acceptance: tuple[float, ...]
    round_trips: int = 0
    message: str

    @classmethod
    def of(cls, tempering: Tempering) -> "Tempered":
        """The record of a ladder's numbers at all of its temperatures."""
        integration = tempering.integration
        rungs = []
        for temperature, measured, evidence, quadrature in zip(
            integration.temperatures, tempering.measured, integration.log_evidence,
            integration.quadrature, strict=True,
        ):  # fmt: skip
            diagnostics = measured.diagnostics
            assert diagnostics is not None, "an experiment's result carries its diagnostics"
            rungs.append(
                Rung(
                    temperature=temperature,
                    **{name: getattr(measured, name) for name in QUANTITIES},
                    log_evidence=evidence,
                    log_evidence_quadrature=quadrature,
                    rhat_max=diagnostics.rhat_max,
                    ess_min=diagnostics.ess_min,
                    acceptance=diagnostics.acceptance,
                    step_size_message=_step_size_message(measured),
                    converged=measured.converged,
                    message=measured.message,
                )
            )
        return cls(
            rungs=tuple(rungs),
            swap_acceptance=tempering.swap_acceptance,
            round_trips=tempering.round_trips,
            message=tempering.complaint,
        )


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The numbers of a run, in the order of the file.

    `eigenvalues`, `criterion` and `criterion_at_temperature` are those of `Predictions`;
    `tempering` is there with a ladder, `standard_scaling` with a richness, and with `observables`
    `representation`, of the experiment and of theories by name.
    """

    targets: str = ""
    experiment: Experiment
    theory: dict[str, TheoryRecord]
    not_applicable: dict[str, str] = field(default_factory=dict)
    criterion: float | None = None
    criterion_at_temperature: float | None = None
    eigenvalues: tuple[float, float] | None = None
    tempering: Tempered | None = None
    standard_scaling: StandardScaling | None = None
    representation: dict[str, Representation] | None = None

    @classmethod
    def of(
        cls,
        targets: str,
        experiment: Experiment,
        predictions: Predictions,
        tempering: Tempering | None = None,
        scaling: StandardScaling | None = None,
        representations: Mapping[str, Representation] | None = None,
    ) -> "Summary":
        """The summary of what was measured and predicted, with the targets in words."""
        return cls(
            targets=targets,
            experiment=experiment,
            **theory_fields(predictions),
            tempering=None if tempering is None else Tempered.of(tempering),
            standard_scaling=scaling,
            representation=dict(representations) if representations else None,
        )

    def to_json(self) -> dict[str, Any]:
        """The content of the file, without parts that not every run has, where there are none."""
        content = as_json(self)
        for name in ("tempering", "standard_scaling", "representation"):
            if content[name] is None:
                del content[name]
        assert isinstance(content, dict)
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Summary":
        """The record in the file. Raises `Unreadable` for what is absent or of another kind."""
        summary = parsed(cls, content, "")
        assert isinstance(summary, Summary)
        return summary


def theory_part(predictions: Predictions) -> dict[str, Any]:
    """The theories' part of a summary, under the same keys."""
    part = as_json(theory_fields(predictions))
    assert isinstance(part, dict)
    return part


def theory_fields(predictions: Predictions) -> dict[str, Any]:
    """The fields of `Summary` that the theories fill."""
    return {
        "theory": {
            name: TheoryRecord.of(result, theory_named(name).summary)
            for name, result in predictions.results.items()
        },
        "not_applicable": predictions.not_applicable,
        "criterion": predictions.criterion,
        "criterion_at_temperature": predictions.criterion_at_temperature,
        "eigenvalues": predictions.eigenvalues,
    }


def _step_size_message(measured: Generalisation) -> str:
    """The message on the step size's bias, empty where that is known."""
    return "" if measured.step_size_bias is None else measured.step_size_bias.message


def as_json(value: Any) -> Any:
    """Records, sequences and numbers as JSON has them: null for what is not a finite number."""
    if dataclasses.is_dataclass(value):
        return {item.name: as_json(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def parsed(kind: Any, value: Any, name: str) -> Any:
    """The value as the annotation `kind` says. Raises `Unreadable` where it is not of that kind."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _parsed_union(arguments, value, name)
    if origin is dict:
        return {key: parsed(arguments[1], item, key) for key, item in _table(value, name).items()}
    if origin is tuple:
        if not isinstance(value, list) or (
            arguments[-1] is not ... and len(value) != len(arguments)
        ):
            raise Unreadable(f"its {name} is not of its kind: {value!r:.60}")
        return tuple(parsed(arguments[0], item, name) for item in value)
    if kind is float:
        return _number(value, name)
    if kind in (str, bool, int):
        if type(value) is not kind:
            raise Unreadable(f"its {name} is not of its kind: {value!r:.60}")
        return value
    return _parsed_record(kind, _table(value, name), name)


def _parsed_union(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    if types.NoneType in kinds:
        return None if value is None else parsed(kinds[0], value, name)
    is_matrix = isinstance(value, list) and any(isinstance(row, list) for row in value)
    return parsed(kinds[is_matrix], value, name)


def _parsed_record(kind: Any, value: Mapping[str, Any], name: str) -> Any:
    kinds, values = typing.get_type_hints(kind), {}
    for item in dataclasses.fields(kind):
        if item.name in value:
            values[item.name] = parsed(kinds[item.name], value[item.name], item.name)
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise Unreadable(f"{f'its {name}' if name else 'it'} lacks the {item.name}")
    try:
        return kind(**values)
    except InputError as error:
        raise Unreadable(f"its {name} is not of its kind: {error}") from error


def _table(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Unreadable(f"its {name} is no table")
    return value


def _number(value: Any, name: str) -> float:
    if value is None:
        return math.nan
    is_whole = type(value) is int and abs(value) < LARGEST_INTEGER
    if not is_whole and not isinstance(value, float):
        raise Unreadable(f"its {name} is no number: {value!r:.60}")
    return float(value)
