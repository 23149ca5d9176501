"""The result of a run, with its draws and what the theories predict."""

from dataclasses import dataclass

from langevin_nn.analysis.tempering import Tempering
from langevin_nn.config.record import RunConfig
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
