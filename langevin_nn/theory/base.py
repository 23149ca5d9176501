"""The contract of a theory: `Theory`, which is asked about an ensemble, and its `Solution`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from langevin_nn.footprint import Needs
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require_ensemble
from langevin_nn.theory.covariance import Covariance
from langevin_nn.theory.saddles.average import ScaleAverage
from langevin_nn.types import Generalisation, NotApplicable
from langevin_nn.values import require_kind

__all__ = ["OWN_STYLE", "Function", "Solution", "Theory"]

OWN_STYLE: Mapping[str, Any] = {"color": "#CC79A7", "linestyle": "-.", "marker": "D"}
"""The style in figures of a theory that gives none of its own."""


@dataclass(frozen=True, eq=False)
class Solution:
    """A theory's answer for one ensemble: its numbers, and what the evidence is derived from.

    Args:
        generalisation: the numbers, among them the order parameters, the log evidence, and whether
            the theory has converged.
        covariance: makes the `theory.covariance.Covariance` that the log evidence depends on; None
            where the posterior is neither a Gaussian process nor an average of some.
        mixture: the scales of K_L and their weights where the theory averages over them, else None.

    >>> from langevin_nn.theory import THEORIES
    >>> data = two_points(1.0, 0.0)
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)  # K = I
    >>> solution = THEORIES["infinite_width"].solve(Ensemble(linear, data))
    >>> solution.generalisation.order_parameters, solution.covariance().sensitivity.trace
    ((1.0,), -0.375)
    """

    generalisation: Generalisation
    covariance: Callable[[], Covariance] | None = None
    mixture: ScaleAverage | None = None

    def __post_init__(self) -> None:
        require_kind("generalisation", self.generalisation, Generalisation, "Generalisation(…)")


Function = Callable[..., Generalisation | Solution]


def _no_reason(ensemble: Ensemble) -> Any:
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
        domain: raises NotApplicable, with the reason, for ensembles that it does not describe.
        twin: why it says nothing new about an ensemble that another theory describes, or "".
        at_points: the theory at arrays of widths, precisions and temperatures, if it has that.
        is_first: whether figures with room for few theories show it before others.
        needs: the memory that it takes.
        is_limit: whether the other theories tend to it as widths grow.
        one_scale: whether it multiplies the Gram matrix by one scale Q, of which the criterion
            tells whether Q* is above 1.

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
    twin: Callable[[Ensemble], str] = _no_reason
    at_points: Callable[..., Any] | None = None
    is_first: bool = False
    needs: Needs = Needs()
    is_limit: bool = False
    one_scale: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "style", {**OWN_STYLE, **self.style})

    def __call__(self, ensemble: Ensemble, **options: Any) -> Generalisation:
        return self.solve(ensemble, **options).generalisation

    def solve(self, ensemble: Ensemble, **options: Any) -> Solution:
        """The theory's answer for an ensemble, under its own name; `options` go to its function.

        Raises:
            InputError: no ensemble; a function that gives neither a Solution nor a Generalisation;
                and what it raises itself.
            NotApplicable: the theory does not describe the ensemble.
        """
        require_ensemble(ensemble)
        self.domain(ensemble)
        solution = self.function(ensemble, **options)
        if not isinstance(solution, Solution):
            write = "return Generalisation(…), or a Solution"
            solution = Solution(
                require_kind(f"what {self.name} gives", solution, Generalisation, write)
            )
        numbers = solution.generalisation
        if numbers.name == self.name:
            return solution
        return replace(solution, generalisation=replace(numbers, name=self.name))

    def applies(self, ensemble: Ensemble) -> str:
        """Why the theory does not describe the ensemble, or says nothing new about it; else ""."""
        require_ensemble(ensemble)
        try:
            self.domain(ensemble)
        except NotApplicable as error:
            return str(error)
        return self.twin(ensemble)
