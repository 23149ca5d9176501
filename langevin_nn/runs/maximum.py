"""The configuration with the largest log evidence, and the options that lead there."""

import dataclasses

from langevin_nn.config.record import RunConfig
from langevin_nn.runs.summary import as_json
from langevin_nn.theory.evidence_maximum import EvidenceMaximum


def at_maximum(config: RunConfig, found: EvidenceMaximum) -> RunConfig:
    """The configuration with the precisions and the temperature of the largest log evidence.

    It has no ladder, whose temperatures may be on either side of that.
    """
    spec, biases = found.ensemble.spec, found.ensemble.spec.bias_precisions
    prior = dataclasses.replace(
        config.prior, precisions=tuple(spec.prior_precisions), bias_precisions=tuple(biases or ())
    )
    posterior = dataclasses.replace(config.posterior, temperature=spec.temperature)
    sampler = dataclasses.replace(config.sampler, ladder=())
    return dataclasses.replace(config, prior=prior, posterior=posterior, sampler=sampler)


def maximum_json(found: EvidenceMaximum) -> dict[str, object]:
    """The largest log evidence as plain values; null for what is not a number."""
    names = [item.name for item in dataclasses.fields(found) if item.name != "ensemble"]
    return {name: as_json(getattr(found, name)) for name in names}


def options_to(config: RunConfig, found: EvidenceMaximum) -> str:
    """The options of the command line that lead from `config` to the maximum, to the last digit."""
    there, options = at_maximum(config, found), []
    for name in dict.fromkeys(name.partition("[")[0] for name in found.values):
        section, _, key = name.partition(".")
        value = getattr(getattr(there, section), key)
        numbers = value if isinstance(value, tuple) else (value,)
        options.append(f"--{name} {' '.join(map(repr, numbers))}")
    return " ".join(options)
