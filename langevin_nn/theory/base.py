"""What a theory is: one object that carries all that others ask of it; and what it answers."""

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
"""Of a theory that says nothing of its style."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What a theory finds for an ensemble: its numbers, and what others may derive from them.

    Args:
        generalisation: the numbers, among them the order parameters, the log evidence, and whether
            the theory has converged.
        covariance: makes the Gram matrix that the log evidence depends on, and how
            (`theory.covariance`); None where the posterior is not a Gaussian process, or an average
            of some.
        mixture: the scales of K_L that it averages over and their weights, if it does.

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


def _nothing(ensemble: Ensemble) -> Any:
    return ""


@dataclass(frozen=True, eq=False)
class Theory:
    """A theory of the posterior: called, it gives the numbers of what `solve` gives.

    Args:
        name: as in tables, files and configurations.
        function: of an `Ensemble`; a `Solution`, or a `Generalisation` alone.
        summary: one sentence on what it says.
        style: colour, line style and marker in figures.
        domain: raises NotApplicable, with the reason, for ensembles that it does not describe.
        twin: why it says nothing new about an ensemble that another theory describes, or "".
        at_points: itself with arrays of widths, precisions and temperatures, if it has that.
        is_first: whether figures with room for few theories show it before others.
        needs: the memory that it takes.
        is_limit: whether it is what the others tend to as widths grow.
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
    domain: Callable[[Ensemble], Any] = _nothing
    twin: Callable[[Ensemble], str] = _nothing
    at_points: Callable[..., Any] | None = None
    is_first: bool = False
    needs: Needs = Needs()
    is_limit: bool = False
    one_scale: bool = False

    def __call__(self, ensemble: Ensemble, **options: Any) -> Generalisation:
        return self.solve(ensemble, **options).generalisation

    def solve(self, ensemble: Ensemble, **options: Any) -> Solution:
        """What the theory finds, under its name; `options` are those of its function.

        Raises:
            InputError: no ensemble; a function that gives neither a Solution nor a Generalisation;
                and what it raises itself.
            NotApplicable: the theory does not describe the ensemble.
        """
        require_ensemble(ensemble)
        found = self.function(ensemble, **options)
        if not isinstance(found, Solution):
            write = "return Generalisation(…), or a Solution"
            found = Solution(require_kind(f"what {self.name} gives", found, Generalisation, write))
        numbers = found.generalisation
        if numbers.name == self.name:
            return found
        return replace(found, generalisation=replace(numbers, name=self.name))

    def applies(self, ensemble: Ensemble) -> str:
        """Why it does not describe the ensemble, or says nothing new about it; or nothing."""
        require_ensemble(ensemble)
        try:
            self.domain(ensemble)
        except NotApplicable as error:
            return str(error)
        return self.twin(ensemble)
