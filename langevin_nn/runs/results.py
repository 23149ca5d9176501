"""The result of a run, with its draws and what the theories predict."""

from dataclasses import dataclass, replace
from functools import cached_property

from langevin_nn.analysis.diagnostics import GO_ON
from langevin_nn.analysis.generalisation import summarise
from langevin_nn.analysis.representation import summarise_representation
from langevin_nn.analysis.tempering import Tempering
from langevin_nn.config.record import RunConfig
from langevin_nn.representations import Representation
from langevin_nn.runs.assemble import until_of
from langevin_nn.sampling.draws import Chains
from langevin_nn.theory.suite import Predictions
from langevin_nn.types import Generalisation


@dataclass(frozen=True)
class Result:
    """The draws of a run, its numbers and the theories'; `tempering` where it had a ladder."""

    config: RunConfig
    chains: Chains
    measured: Generalisation
    predictions: Predictions
    tempering: Tempering | None = None

    @cached_property
    def representations(self) -> dict[str, Representation]:
        """What was recorded of the representation, and what theories say of it, by their names.

        Empty where the configuration asks for none.
        """
        if self.config.sampler.observables is None:
            return {}
        measured = summarise_representation(self.chains)
        sampled = {} if measured is None else {self.measured.name: measured}
        return sampled | self.predictions.representations


def as_kept(config: RunConfig, chains: Chains) -> Chains:
    """The chains as a run keeps them: without their last state where the configuration says so."""
    if config.sampler.keep_state:
        return chains
    return replace(chains, extendable=False, last_state=None)


def measured_by(config: RunConfig, chains: Chains) -> Generalisation:
    """The numbers of a run's draws; a target error that was not reached counts as not converged."""
    measured, until = summarise(chains), until_of(config.sampler)
    shortfall = until.shortfall(chains, measured) if until is not None else ""
    if not shortfall:
        return measured
    advice = f"go on with more max_draws {GO_ON}"
    if measured.message or not chains.extendable:
        advice = ""
    message = "; ".join(filter(None, (measured.message, shortfall, advice)))
    return replace(measured, converged=False, message=message)
