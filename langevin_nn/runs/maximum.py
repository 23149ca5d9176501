"""The configuration with the largest log evidence, and the options that lead there.

A maximum is found in the λ and the T of the Gibbs measure. Where the configuration has a richness,
they are here those that it has, of which the richness makes the others.
"""

import dataclasses

from langevin_nn.config.record import RunConfig
from langevin_nn.runs.standard_scaling import StandardScaling
from langevin_nn.runs.summary import as_json
from langevin_nn.theory.evidence_maximum import EvidenceMaximum


def at_maximum(config: RunConfig, found: EvidenceMaximum) -> RunConfig:
    """The configuration with the precisions and the temperature of the largest log evidence.

    It has no ladder, whose temperatures may be on either side of that.
    """
    factor, spec = _factor(config), found.ensemble.spec
    prior = dataclasses.replace(
        config.prior,
        precisions=_readout_divided(spec.prior_precisions, factor),
        bias_precisions=_readout_divided(spec.bias_precisions or (), factor),
    )
    temperature = spec.temperature * factor
    posterior = dataclasses.replace(config.posterior, temperature=temperature)
    sampler = dataclasses.replace(config.sampler, ladder=())
    return dataclasses.replace(config, prior=prior, posterior=posterior, sampler=sampler)


def as_given(config: RunConfig, found: EvidenceMaximum) -> EvidenceMaximum:
    """The maximum with its values as those of the configuration; at a richness these are others.

    Its ensemble stays as it is, and so do bounds.
    """
    factor = _factor(config)
    if factor == 1:
        return found
    ratios = {name: _ratio(config, name, factor) for name in found.values}
    of_others = [name for name, ratio in ratios.items() if ratio != 1]
    message = found.message
    if message and of_others:
        message += f" (of {', '.join(of_others)}: as the Gibbs measure has it, not as it is given)"
    return dataclasses.replace(
        found,
        values={name: value * ratios[name] for name, value in found.values.items()},
        initial_values={name: value * ratios[name] for name, value in found.initial_values.items()},
        message=message,
    )


def _factor(config: RunConfig) -> float:
    """N_L γ², 1 without a richness."""
    scaling = StandardScaling.of(config)
    return 1.0 if scaling is None else scaling.factor


def _readout_divided(precisions: tuple[float, ...], factor: float) -> tuple[float, ...]:
    """The precisions, the last of them, the read-out's, divided by the factor."""
    return (*precisions[:-1], precisions[-1] / factor) if precisions else ()


def _ratio(config: RunConfig, name: str, factor: float) -> float:
    """The given value of what has that name over that of the Gibbs measure."""
    field, _, index = name.rstrip("]").partition("[")
    if not index:
        return factor  # of the temperature
    is_readout = int(index) in (-1, len(config.prior.precisions) - 1)
    return 1 / factor if is_readout else 1.0


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
