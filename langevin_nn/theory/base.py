"""What a theory is: one object that carries all that others ask of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langevin_nn.data.load import Dataset
from langevin_nn.footprint import Needs
from langevin_nn.theory.covariance import Covariance
from langevin_nn.theory.regression.eigenbasis import Regression
from langevin_nn.theory.saddles.average import ScaleAverage
from langevin_nn.types import EnsembleSpec, Generalisation, NotApplicable
from langevin_nn.values import require_kind

__all__ = ["OWN_STYLE", "Solve", "Theory"]

Solve = Callable[..., Generalisation]
OfCovariance = Callable[[EnsembleSpec, Dataset, Generalisation, Regression | None], Covariance]
OfMixture = Callable[[EnsembleSpec, Dataset], tuple[Regression, ScaleAverage]]

OWN_STYLE: Mapping[str, Any] = {"color": "#CC79A7", "linestyle": "-.", "marker": "D"}
"""Of a theory that says nothing of its style."""


def _nothing(spec: EnsembleSpec) -> Any:
    return ""


@dataclass(frozen=True, eq=False)
class Theory:
    """A theory of the posterior: called, it gives what `solve` gives.

    Args:
        name: as in tables, files and configurations.
        solve: a function of (spec, data, regression=None), as `infinite_width`.
        summary: one sentence on what it says.
        style: colour, line style and marker in figures.
        domain: raises NotApplicable, with the reason, for ensembles that it does not describe.
        twin: why it says nothing new about an ensemble that another theory describes, or "".
        covariance: of a result of its own, what its log evidence derives from; None where the
            posterior is not a Gaussian process, or an average of some.
        mixture: the Gaussian processes that it averages, if it does.
        at_points: `solve` with arrays of widths, precisions and temperatures, if it has that.
        is_first: whether figures with room for few theories show it before others.
        needs: the memory that it takes.
        is_limit: whether it is what the others tend to as widths grow.
        one_scale: whether it multiplies the Gram matrix by one scale Q, of which the criterion
            tells whether Q* is above 1.

    >>> from langevin_nn.theory import THEORIES
    >>> from langevin_nn.types import EnsembleSpec
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)
    >>> THEORIES["one_layer"].applies(linear)
    'one_layer describes one hidden layer, this network has 0'
    """

    name: str
    solve: Solve
    summary: str = ""
    style: Mapping[str, Any] = field(default_factory=lambda: OWN_STYLE)
    domain: Callable[[EnsembleSpec], Any] = _nothing
    twin: Callable[[EnsembleSpec], str] = _nothing
    covariance: OfCovariance | None = None
    mixture: OfMixture | None = None
    at_points: Callable[..., Any] | None = None
    is_first: bool = False
    needs: Needs = Needs()
    is_limit: bool = False
    one_scale: bool = False

    def __call__(
        self,
        spec: EnsembleSpec,
        data: Dataset,
        regression: Regression | None = None,
        **options: Any,
    ) -> Generalisation:
        return self.solve(spec, data, regression, **options)

    def applies(self, spec: EnsembleSpec) -> str:
        """Why it does not describe the ensemble, or says nothing new about it; or nothing."""
        require_kind("spec", spec, EnsembleSpec, "posterior.spec")
        try:
            self.domain(spec)
        except NotApplicable as error:
            return str(error)
        return self.twin(spec)
