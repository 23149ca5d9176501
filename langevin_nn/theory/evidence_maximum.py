"""The largest log evidence of a theory over prior precisions and the temperature.

Type-II maximum likelihood (MacKay 1992; Rasmussen and Williams 2006, section 5.4.1): with u the
logarithms of the chosen λ and T, log p(y | X, u) is maximised between bounds by L-BFGS-B from
several starts. Its slope λ ∂ log p/∂λ is exact (`evidence`) where the theory has a covariance, and
a difference quotient for the others.
"""

import contextlib
import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from scipy import optimize
from scipy.stats import qmc

from langevin_nn.display import Displayed, Table
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require_ensemble
from langevin_nn.theory.base import Function, Theory
from langevin_nn.theory.evidence import evidence_gradient
from langevin_nn.theory.suite import THEORIES, theory_named, theory_of
from langevin_nn.types import InputError, NotApplicable
from langevin_nn.values import as_number, is_ordered, nearest, require_count, shown

__all__ = ["EvidenceMaximum", "maximise_evidence"]

ATTRIBUTES = {
    "prior.precisions": "prior_precisions",
    "prior.bias_precisions": "bias_precisions",
    "posterior.temperature": "temperature",
}
"""What may be varied, by its name in a configuration: the attribute of an `EnsembleSpec`."""
SPREAD = math.log(30.0)
"""The largest distance of a start from the ensemble's own values, in a logarithm."""
GRADIENT_TOLERANCE = 1e-4
"""The slope of log p in u below which a point is stationary, for each training example."""
FIRST_TEMPERATURE = 0.1
"""The temperature, in units of ⟨y²⟩, that starts are drawn about where the ensemble has T = 0."""

_FAILURES = (ValueError, ArithmeticError, jax.errors.JaxRuntimeError)

Logs = Float[np.ndarray, " fields"]


@dataclass(frozen=True, eq=False, repr=False)
class EvidenceMaximum(Displayed):
    """The largest log evidence of a theory; made by `maximise_evidence`.

    Args:
        theory: its name.
        values: the precisions and the temperature there, by their names.
        initial_values: the same of the ensemble that was given.
        log_evidence: log p(y | X) there.
        initial_log_evidence: log p(y | X) of the ensemble that was given; NaN where there is none.
        ensemble: the ensemble with these values.
        at_bounds: the names of the values that are at a bound, beyond which log p still grows.
        converged: whether log p is stationary there in all other values.
        message: what is to be said of the two; "" for a maximum between the bounds.
    """

    theory: str
    values: dict[str, float]
    initial_values: dict[str, float]
    log_evidence: float
    initial_log_evidence: float
    ensemble: Ensemble
    at_bounds: tuple[str, ...] = ()
    converged: bool = True
    message: str = ""

    @property
    def is_maximum(self) -> bool:
        """Whether log p is stationary there in all values, none of which is at a bound."""
        return self.converged and not self.at_bounds

    @property
    def _table(self) -> Table:
        initial = self.initial_log_evidence
        given = f"{initial:.6g}" if math.isfinite(initial) else "-"
        rows = [
            (name, f"{self.initial_values[name]:.6g}", f"{value:.6g}{self._mark(name)}")
            for name, value in self.values.items()
        ]
        rows.append(("log evidence", given, f"{self.log_evidence:.6g}"))
        title = f"the largest log evidence of {self.theory}"
        notes = (self.message,) if self.message else ()
        heading = "maximum" if self.is_maximum else "largest found"
        return Table(("", "given", heading), rows, title, notes)

    def _mark(self, name: str) -> str:
        """What stands behind a value that is at a bound."""
        return " (at a bound)" if name in self.at_bounds else ""


def maximise_evidence(
    ensemble: Ensemble,
    fields: str | Sequence[str],
    *,
    theory: str | Theory | Function | None = None,
    bounds: tuple[float, float] = (1e-6, 1e6),
    num_starts: int = 4,
) -> EvidenceMaximum:
    """Maximise a theory's log evidence over prior precisions and the temperature.

    Args:
        ensemble: what is not varied, and where the first start is.
        fields: as in configurations, "prior.precisions[-1]", "posterior.temperature"; a list
            without an index is all of its entries, each for itself.
        theory: its name, a `Theory` or a function of an ensemble; left out, the first of `THEORIES`
            that applies.
        bounds: the smallest and the largest value of each.
        num_starts: the ensemble's own values, and quasi-random ones about them.

    Raises:
        InputError: no such field or theory, no evidence at any of the starts.
        NotApplicable: the theory does not describe the network.

    Bayesian linear regression with orthogonal inputs, K = diag(2, 1)/λ: log p is stationary in both
    where each A_μμ = T + K_μμ is y_μ² (here 3 and 2), so that λ = T = 1.

    >>> x, y = np.diag([2.0, 2**0.5]), np.array([3**0.5, 2**0.5])
    >>> data = lnn.Dataset("two", x, y, x, y)
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.3,), temperature=0.2)
    >>> fields = "prior.precisions[0]", "posterior.temperature"
    >>> found = maximise_evidence(Ensemble(linear, data), fields)
    >>> print(found.converged, *(f"{value:.4f}" for value in found.values.values()))
    True 1.0000 1.0000
    """
    require_ensemble(ensemble)
    low, high = _checked_bounds(bounds)
    num_starts = require_count("num_starts", num_starts)
    entries = _entries(ensemble, (fields,) if isinstance(fields, str) else fields)
    chosen = _first_theory(ensemble) if theory is None else theory_of(theory)
    chosen.domain(ensemble)
    objective = _Objective(ensemble, chosen, entries, (low, high))
    own = np.log(np.clip([entry.of(ensemble) for entry in entries], low, high))
    best, reasons = None, []
    for start in _starts(own, num_starts, ensemble, entries):
        try:
            found = _climb(objective, np.clip(start, math.log(low), math.log(high)))
        except _NoEvidence as error:
            reasons.append(str(error))
            continue
        if best is None or found.fun < best.fun:
            best = found
    if best is None:
        raise InputError(
            f"the log evidence of {chosen.name} is not known at any of the starts ({reasons[0]})"
        )
    found = _maximum(objective, best)
    return _no_lower(objective, found) if found.initial_log_evidence > found.log_evidence else found


class _Entry(NamedTuple):
    """A number of a spec that is varied: its name, its attribute, its place in a list."""

    name: str
    attribute: str
    place: int | None

    def of(self, ensemble: Ensemble) -> float:
        value = getattr(ensemble.spec, self.attribute)
        return float(value if self.place is None else value[self.place])


class _NoEvidence(Exception):
    """A theory has no log evidence at a point; the message says why."""


class _Objective:
    """−log p and its slope as a function of the logarithms of the entries."""

    def __init__(
        self,
        ensemble: Ensemble,
        theory: Theory,
        entries: Sequence[_Entry],
        bounds: tuple[float, float],
    ) -> None:
        self.ensemble = ensemble
        self.theory = theory
        self.entries = entries
        self.bounds = bounds
        self.is_exact = True

    def at(self, logs: Logs) -> Ensemble:
        """The ensemble with these values."""
        changes: dict[str, Any] = {}
        low, high = self.bounds
        values = np.select(
            [logs <= math.log(low), logs >= math.log(high)], [low, high], np.exp(logs)
        )
        for entry, value in zip(self.entries, values.tolist(), strict=True):
            if entry.place is None:
                changes[entry.attribute] = value
                continue
            listed = changes.get(entry.attribute, getattr(self.ensemble.spec, entry.attribute))
            place = entry.place % len(listed)
            changes[entry.attribute] = (*listed[:place], value, *listed[place + 1 :])
        return self.ensemble.at(**changes)

    def value(self, logs: Logs) -> float:
        """−log p. Raises `_NoEvidence` where the theory has none."""
        return self._solved(self.at(logs))[0]

    def value_and_slope(self, logs: Logs) -> tuple[float, Logs]:
        """−log p and its derivatives in the logarithms. Raises as `value`, and `NotApplicable`."""
        ensemble = self.at(logs)
        value, solution = self._solved(ensemble)
        try:
            found = evidence_gradient(ensemble, solution)
        except NotApplicable:
            raise
        except _FAILURES as error:
            raise _NoEvidence(str(error)) from error
        slopes = {
            "prior_precisions": found.precision_gradient,
            "bias_precisions": found.bias_precision_gradient or (),
            "temperature": (found.temperature_gradient,),
        }
        slope = [slopes[entry.attribute][entry.place or 0] for entry in self.entries]
        return value, -np.array(slope) * np.exp(logs)

    def _solved(self, ensemble: Ensemble) -> tuple[float, Any]:
        try:
            solution = self.theory.solve(ensemble)
        except _FAILURES as error:
            raise _NoEvidence(str(error)) from error
        result = solution.generalisation
        if not result.converged or result.log_evidence is None:
            raise _NoEvidence(result.message or f"{self.theory.name} has no log evidence")
        if not math.isfinite(result.log_evidence):
            raise _NoEvidence(f"it is {result.log_evidence}; {result.message}".rstrip("; "))
        return -result.log_evidence, solution


def _climb(objective: _Objective, start: Logs) -> optimize.OptimizeResult:
    """L-BFGS-B from one start, by exact slopes where the theory has them."""
    ends = [tuple(map(math.log, objective.bounds))] * len(start)
    settings = {"method": "L-BFGS-B", "bounds": ends}
    tolerance = GRADIENT_TOLERANCE * objective.ensemble.data.num_train
    options = {"ftol": 1e-15, "gtol": tolerance / 100, "maxiter": 200}
    if objective.is_exact:
        try:
            return optimize.minimize(
                objective.value_and_slope, start, jac=True, options=options, **settings
            )
        except NotApplicable:
            objective.is_exact = False
    return optimize.minimize(objective.value, start, options=options, **settings)


def _maximum(objective: _Objective, best: optimize.OptimizeResult) -> EvidenceMaximum:
    """The maximum that the best of the climbs has found, with what is to be said of it."""
    logs, slope, (low, high) = best.x, best.jac, map(math.log, objective.bounds)
    is_at_bound = ((logs <= low) & (slope > 0)) | ((logs >= high) & (slope < 0))
    rest = np.max(np.abs(slope), where=~is_at_bound, initial=0.0)
    converged = bool(rest <= GRADIENT_TOLERANCE * objective.ensemble.data.num_train)
    names = [entry.name for entry in objective.entries]
    own = {entry.name: entry.of(objective.ensemble) for entry in objective.entries}
    there = objective.at(logs)
    values = {entry.name: entry.of(there) for entry in objective.entries}
    at_bounds = tuple(name for name, is_there in zip(names, is_at_bound, strict=True) if is_there)
    message = ""
    if at_bounds:
        listed = ", ".join(f"{name} = {values[name]:.3g}" for name in at_bounds)
        message = f"no maximum between the bounds: log p still grows at {listed}"
    if not converged:
        message = f"no maximum was found: the slope of log p is still {rest:.2g} ({best.message})"
    try:
        initial = -objective._solved(objective.ensemble)[0]
    except _NoEvidence:
        initial = math.nan
    return EvidenceMaximum(
        objective.theory.name, values, own, float(-best.fun), initial, there,
        at_bounds, converged, message,
    )  # fmt: skip


def _no_lower(objective: _Objective, below: EvidenceMaximum) -> EvidenceMaximum:
    """What stands for a maximum `below` the given values: these, what is zero held as it is.

    T = 0 lies beyond the lower bound, and a climb may end where the theory has no evidence.
    """
    ensemble = objective.ensemble
    zeros = tuple(name for name, value in below.initial_values.items() if value == 0)
    others = [entry for entry in objective.entries if entry.name not in zeros]
    given = dataclasses.replace(
        below, values=below.initial_values, log_evidence=below.initial_log_evidence,
        ensemble=ensemble,
    )  # fmt: skip
    if math.isclose(given.log_evidence, below.log_evidence, rel_tol=1e-12) and not zeros:
        return given  # another rounding of the same values
    message = "no maximum was found, and nothing above the given values"
    if zeros:
        message = f"no maximum between the bounds: log p is larger at {', '.join(zeros)} = 0"
    found = dataclasses.replace(given, at_bounds=(), converged=bool(zeros) and not others)
    if zeros and others:
        rest = _Objective(ensemble, objective.theory, others, objective.bounds)
        own = np.clip([entry.of(ensemble) for entry in others], *objective.bounds)
        with contextlib.suppress(_NoEvidence):
            at_zero = _maximum(rest, _climb(rest, np.log(own)))
            if at_zero.log_evidence >= given.log_evidence:
                values = given.values | at_zero.values
                found = dataclasses.replace(
                    at_zero, values=values, initial_values=below.initial_values
                )
                message = f"{message}; {at_zero.message}" if at_zero.message else message
    return dataclasses.replace(found, at_bounds=(*zeros, *found.at_bounds), message=message)


def _starts(
    own: Logs, number: int, ensemble: Ensemble, entries: Sequence[_Entry]
) -> Iterable[Logs]:
    """The ensemble's own values, and Halton's points in a box about them."""
    is_zero = np.array([entry.of(ensemble) == 0 for entry in entries])
    scale = FIRST_TEMPERATURE * float(np.mean(ensemble.data.y_train**2)) or FIRST_TEMPERATURE
    centre = np.where(is_zero, math.log(scale), own)
    points = qmc.Halton(len(own), scramble=False).random(number)
    yield from centre + SPREAD * (2 * points[1:] - 1) if number > 1 else ()
    yield centre


def _entries(ensemble: Ensemble, fields: Any) -> list[_Entry]:
    """The numbers that the fields name. Raises `InputError` for what is none, or named twice."""
    if not is_ordered(fields) or not len(fields):
        raise InputError(
            f'fields are names, got {shown(fields)}: write ("prior.precisions[-1]", '
            '"posterior.temperature")'
        )
    entries: list[_Entry] = []
    places = set()
    for field in fields:
        for entry in _entries_of(ensemble, field):
            listed = getattr(ensemble.spec, entry.attribute)
            place = 0 if entry.place is None else entry.place % len(listed)
            if (entry.attribute, place) in places:
                raise InputError(f"{entry.name} is named twice: write each field once")
            places.add((entry.attribute, place))
            entries.append(entry)
    return entries


def _entries_of(ensemble: Ensemble, field: Any) -> list[_Entry]:
    """The numbers that one field names: one, or all of a list without an index."""
    match = re.fullmatch(r"\s*([\w.-]+?)\s*(?:\[\s*(-?\d{1,9})\s*\])?\s*", str(field))
    name = match[1].replace("-", "_") if match else str(field)
    if match is None or name not in ATTRIBUTES:
        hint = nearest(name, ATTRIBUTES) or f": write one of {', '.join(ATTRIBUTES)}"
        raise InputError(f"the evidence is not maximised over {shown(field)}{hint}")
    attribute = ATTRIBUTES[name]
    listed = getattr(ensemble.spec, attribute)
    if listed is None:
        raise InputError(f"{name}: the network has no biases, write biases = true, or leave it out")
    if not is_ordered(listed):
        if match[2] is not None:
            raise InputError(f"{name} is not a list, {field} has an index: write {name}")
        return [_Entry(name, attribute, None)]
    if match[2] is None:
        return [_Entry(f"{name}[{index}]", attribute, index) for index in range(len(listed))]
    index, size = int(match[2]), len(listed)
    if not -size <= index < size:
        raise InputError(
            f"{field} is out of range: there are {size}, [0] to [{size - 1}] or [-{size}] to [-1]"
        )
    return [_Entry(f"{name}[{index}]", attribute, index)]


def _checked_bounds(bounds: Any) -> tuple[float, float]:
    numbers = [as_number(value) or 0.0 for value in bounds] if is_ordered(bounds) else []
    if len(numbers) == 2 and 0 < numbers[0] < numbers[1] < math.inf:
        return float(numbers[0]), float(numbers[1])
    raise InputError(f"bounds are two positive numbers, got {shown(bounds)}: write (1e-6, 1e6)")


def _first_theory(ensemble: Ensemble) -> Theory:
    """The first theory that describes the ensemble. Raises `NotApplicable` where none does."""
    reasons = {}
    for name in THEORIES:
        theory = theory_named(name)
        if not (reason := theory.applies(ensemble)):
            return theory
        reasons[reason] = name
    raise NotApplicable(f"no theory applies ({'; '.join(reasons)})")
