"""The contract of a theory: `Theory`, which is asked about an ensemble, and its `Solution`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from langevin_nn.data.dataset import Dataset, as_numbers
from langevin_nn.footprint import Needs
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require_ensemble
from langevin_nn.theory.covariance import OutputCovariance
from langevin_nn.theory.own_layers import require_own_layers
from langevin_nn.theory.representation import MeanKernels
from langevin_nn.theory.saddles.average import ScaleAverage
from langevin_nn.theory.style import OWN_STYLE, checked_style
from langevin_nn.theory.unit_sample import UnitSample
from langevin_nn.types import (
    ESTIMATES,
    PREDICTIVE_MOMENTS,
    Generalisation,
    InputError,
    NotApplicable,
)
from langevin_nn.values import (
    as_number,
    is_ordered,
    require_flag,
    require_function,
    require_kind,
    require_text,
    shown,
)  # fmt: skip

__all__ = ["Function", "Solution", "Theory"]

CONTRADICTION = 1e-3
"""The largest difference between two numbers that must be equal which is put down to rounding.

It is in units of the larger of the two and of the numbers beside them, and covers averages in
single precision.
"""
MAY_BE_UNKNOWN = ("train_error", "test_accuracy")
"""The estimates of a result that a theory may leave unknown, as NaN; all others must be finite."""


@dataclass(frozen=True, eq=False)
class Solution:
    """A theory's answer for one ensemble: its numbers, and what the evidence is derived from.

    Args:
        generalisation: the numbers, among them the order parameters, the log evidence, and whether
            the theory has converged.
        covariance: makes the `theory.covariance.OutputCovariance` that the log evidence depends on;
            None where the posterior is neither a Gaussian process nor an average of some.
        mixture: the scales of K_L and their weights where the theory averages over them, else None.
        is_gaussian: whether f is Gaussian at each input though no such covariance is known.
        kernels: makes the `theory.representation.MeanKernels` of the hidden layers; None where the
            theory does not say them.
        units: makes the `theory.unit_sample.UnitSample` of one hidden unit; None where the
            theory does not say its law.

    >>> from langevin_nn.theory import THEORIES
    >>> data = two_points(1.0, 0.0)
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)  # K = I
    >>> solution = THEORIES["infinite_width"].solve(Ensemble(linear, data))
    >>> solution.generalisation.order_parameters, solution.covariance().sensitivity.trace
    ((1.0,), -0.375)
    """

    generalisation: Generalisation
    covariance: Callable[[], OutputCovariance] | None = None
    mixture: ScaleAverage | None = None
    is_gaussian: bool = False
    kernels: Callable[[], MeanKernels] | None = None
    units: Callable[[], UnitSample] | None = None

    def __post_init__(self) -> None:
        require_kind("generalisation", self.generalisation, Generalisation, "Generalisation(…)")
        if self.covariance is not None:
            write = "lambda: at_scales(ensemble, …), or leave it out"
            require_function("the covariance of a solution", self.covariance, write)
        if self.kernels is not None:
            write = "lambda: MeanKernels(…) of theory.representation, or leave it out"
            require_function("the kernels of a solution", self.kernels, write)
        if self.units is not None:
            write = "lambda: UnitSample(…) of theory.unit_sample, or leave it out"
            require_function("the units of a solution", self.units, write)
        if self.mixture is not None:
            write = "average_over_scale(…), or leave it out"
            require_kind("mixture", self.mixture, ScaleAverage, write)

    def required_covariance(self) -> OutputCovariance | None:
        """The covariance, made; None for a solution without. `InputError` for anything else."""
        if self.covariance is None:
            return None
        what = f"what the covariance of {self.generalisation.name} makes"
        write = "at_scales(…), of_infinite_width(…) or of_kernel(…) of theory.covariance"
        made: OutputCovariance = require_kind(what, self.covariance(), OutputCovariance, write)
        return made


Function = Callable[..., Generalisation | Solution]


def _no_reason(ensemble: Ensemble) -> str:
    return ""


@dataclass(frozen=True, eq=False)
class Theory:
    """A theory of the posterior; called with an ensemble, it gives the numbers of its `Solution`.

    Args:
        name: as in tables, files and configurations.
        function: from an `Ensemble` to a `Solution`, or to a `Generalisation` alone.
        summary: one sentence on what it says.
        style: colour, line style and marker in figures, or some of them: "color", "linestyle",
            "marker".
        domain: why it does not describe an ensemble, as a text; or raises NotApplicable with that,
            as `applicability.require` does.
        twin: why it says nothing new about an ensemble that another theory describes, or "".
        at_points: the theory at arrays of widths, precisions and temperatures, if it has that.
        is_first: whether figures with room for few theories show it before others.
        needs: the memory that it takes.
        is_limit: whether the other theories tend to it as widths grow.
        is_expansion: whether it is one in a small number, whose variances may come out negative.
        one_scale: whether it multiplies the Gram matrix by one scale Q, of which the criterion
            tells whether Q* is above 1.
        on_request: whether it is left out where no theory is named, since it takes its time.
        any_loss: whether it is asked about ensembles of other losses than the squared one.

    >>> from langevin_nn.theory import THEORIES
    >>> data = two_points(1.0, 0.0)
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)
    >>> THEORIES["one_layer"].applies(Ensemble(linear, data))
    'one_layer describes one hidden layer, this network has 0'
    """

    name: str
    function: Function
    summary: str = ""
    style: Mapping[str, Any] = field(default_factory=lambda: OWN_STYLE)
    domain: Callable[[Ensemble], Any] = _no_reason
    twin: Callable[[Ensemble], Any] = _no_reason
    at_points: Callable[..., Any] | None = None
    is_first: bool = False
    needs: Needs = Needs()
    is_limit: bool = False
    is_expansion: bool = False
    one_scale: bool = False
    on_request: bool = False
    any_loss: bool = False

    def __post_init__(self) -> None:
        require_text("the name of a theory", self.name)
        for name in ("function", "domain", "twin"):
            require_function(f"{name} of {self.name}", getattr(self, name), "def f(ensemble)")
        if self.at_points is not None:
            require_function(f"at_points of {self.name}", self.at_points, "None for none")
        require_kind(f"needs of {self.name}", self.needs, Needs, "Needs(…), or leave it out")
        object.__setattr__(self, "style", checked_style(self.name, self.style))

    def __call__(self, ensemble: Ensemble, **options: Any) -> Generalisation:
        return self.solve(ensemble, **options).generalisation

    def solve(self, ensemble: Ensemble, **options: Any) -> Solution:
        """The theory's answer for an ensemble, under its own name; `options` go to its function.

        It has not converged, and says why, where its numbers are not finite or, but for an
        expansion, negative, and where they contradict each other.

        Raises:
            InputError: no ensemble; a function that gives neither a Solution nor a Generalisation,
                or predictions of another shape than the test targets; and what it raises itself.
            NotApplicable: the theory does not describe the ensemble.
        """
        require_ensemble(ensemble)
        if reason := self._outside(ensemble):
            raise NotApplicable(reason)
        require_own_layers(ensemble)
        solution = self.function(ensemble, **options)
        if not isinstance(solution, Solution):
            write = "return Generalisation(…), or a Solution"
            solution = Solution(
                require_kind(f"what {self.name} gives", solution, Generalisation, write)
            )
        return self._checked(solution, ensemble)

    def _checked(self, solution: Solution, ensemble: Ensemble) -> Solution:
        """The solution under this theory's name, not converged where its numbers cannot be right.

        Raises `InputError` for numbers of another kind, and for predictions that are not of the
        test targets' shape.
        """
        numbers, expected = solution.generalisation, ensemble.data.y_test.shape
        require_text(f"message of {self.name}", numbers.message)
        require_flag(f"converged of {self.name}", numbers.converged)
        orders: Any = numbers.order_parameters
        if not is_ordered(orders):
            raise InputError(
                f"order_parameters of {self.name} must be a tuple of numbers, got {shown(orders)}: "
                "write (1.0,)"
            )
        if (log_evidence := numbers.log_evidence) is not None and as_number(log_evidence) is None:
            raise InputError(
                f"log_evidence of {self.name} must be a number, got {shown(log_evidence)}: write "
                "None where it is not known"
            )
        mean, variance = (
            as_numbers(f"{name} of {self.name}", getattr(numbers, name))
            for name in PREDICTIVE_MOMENTS
        )
        for name, array in zip(PREDICTIVE_MOMENTS, (mean, variance), strict=True):
            if array.shape != expected:
                raise InputError(
                    f"{self.name} gives a {name} of shape {array.shape}, and the test targets have "
                    f"{expected}: write one number for each of them"
                )
        numbers = replace(
            numbers, name=self.name, predictive_mean=mean, predictive_variance=variance,
            order_parameters=_as_tuples(orders), converged=bool(numbers.converged),
            log_evidence=None if log_evidence is None else float(log_evidence),
        )  # fmt: skip
        complaint = self._complaint(numbers) or _contradiction(numbers, ensemble.data)
        if not numbers.converged or not complaint:
            return replace(solution, generalisation=numbers)
        message = "; ".join(filter(None, (numbers.message, complaint)))
        return Solution(
            replace(numbers, converged=False, message=message), is_gaussian=solution.is_gaussian
        )

    def _complaint(self, numbers: Generalisation) -> str:
        """Which of the numbers cannot be right, in words; "" where all may be.

        The training error, the accuracy and the log evidence may be unknown.
        """
        variances = numbers.predictive_variance
        if not np.isfinite([numbers.predictive_mean, variances]).all():
            return "the predictions are not finite numbers"
        least = 0.0 if not self.is_expansion else -math.inf
        for name in ESTIMATES:
            value = getattr(numbers, name).value
            if not (math.isfinite(value) or (math.isnan(value) and name in MAY_BE_UNKNOWN)):
                return f"{name} = {value} is no finite number"
            if value < least:
                return f"{name} = {value:.3g} is negative"
        if np.min(variances) < least:
            return f"predictive_variance = {np.min(variances):.3g} is negative at a test point"
        if (accuracy := numbers.test_accuracy.value) > 1:
            return f"test_accuracy = {accuracy:.3g} is above 1"
        if np.isnan(np.ravel(np.array(numbers.order_parameters, float))).any():
            return f"order_parameters = {shown(numbers.order_parameters)} are no numbers"
        if numbers.log_evidence is not None and not math.isfinite(numbers.log_evidence):
            return f"log_evidence = {numbers.log_evidence} is no finite number"
        return ""

    def applies(self, ensemble: Ensemble) -> str:
        """Why the theory does not describe the ensemble, or says nothing new about it; else "".

        Of one on request: that it has to be named.
        """
        require_ensemble(ensemble)
        on_request = "it takes its time: ask for it by name" if self.on_request else ""
        return self._outside(ensemble) or self._reason("twin", ensemble) or on_request

    def _outside(self, ensemble: Ensemble) -> str:
        """Why the theory does not describe the ensemble; "" where it does."""
        try:
            return self._reason("domain", ensemble)
        except NotApplicable as error:
            return str(error)

    def _reason(self, name: str, ensemble: Ensemble) -> str:
        """The text that `domain` or `twin` gives; "" for what is no text, as of `require`."""
        reason = getattr(self, name)(ensemble)
        if isinstance(reason, bool | np.bool_):
            raise InputError(
                f"{name} of {self.name} gives {shown(reason)}: write the reason as a text where "
                'there is one, else ""'
            )
        return reason if isinstance(reason, str) else ""


def _contradiction(numbers: Generalisation, data: Dataset) -> str:
    """In words, which numbers of a theory are not those of its others; "" where all are.

    bias² and variance are means over the test points, summed over the outputs, of what is predicted
    there, and the generalisation error is their sum.
    """
    squares = np.sum(np.square(data.y_test - numbers.predictive_mean)) / data.num_test
    variances = np.sum(numbers.predictive_variance) / data.num_test
    total = numbers.bias2.value + numbers.variance.value
    for name, expected, what in (
        ("bias2", squares, "the mean of (y_test - predictive_mean)²"),
        ("variance", variances, "the mean of predictive_variance"),
        ("generalisation_error", total, "bias2 + variance"),
    ):
        value, size = getattr(numbers, name).value, abs(numbers.bias2.value) + abs(squares)
        size = max(size, abs(expected), abs(numbers.variance.value))
        if abs(value - expected) > CONTRADICTION * size:
            return f"{name} = {value:.6g} is not {what}, {expected:.6g}"
    return ""


def _as_tuples(orders: Any) -> Any:
    """Order parameters, or the rows of a matrix of some, as tuples of Python's numbers."""
    return tuple(_as_tuples(row) if is_ordered(row) else float(row) for row in orders)
