"""What a run found, and the parts of summary.json that say so.

The draws are in posterior.nc: `posterior_file` and `posterior_reading`.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langevin_nn.analysis.tempering import Tempering
from langevin_nn.config.record import RunConfig
from langevin_nn.sampling.draws import Chains
from langevin_nn.theory.suite import Predictions
from langevin_nn.types import Estimate, Generalisation, InputError, StepSizeBias


@dataclass(frozen=True)
class Result:
    """What a run found; `tempering` where it had a ladder."""

    config: RunConfig
    chains: Chains
    measured: Generalisation
    predictions: Predictions
    tempering: Tempering | None = None


def experiment_summary(measured: Generalisation, chains: Chains) -> dict[str, Any]:
    """The part `experiment` of summary.json."""
    diagnostics = measured.diagnostics
    assert diagnostics is not None, "an experiment's result carries its diagnostics"
    bias, variance = measured.step_size_bias, measured.variance.value
    shift = 0.0 if diagnostics.acceptance is not None else math.nan
    if bias is not None:
        shift = bias.variance.value
    return {
        "bias2": _estimate(measured.bias2),
        "variance": _estimate(measured.variance),
        "generalisation_error": _estimate(measured.generalisation_error),
        "train_error": _estimate(measured.train_error),
        "test_accuracy": measured.test_accuracy.value,
        "test_accuracy_mcse": measured.test_accuracy.mcse,
        "rhat": {name: _number(value) for name, value in diagnostics.rhat.items()},
        "ess": {name: _number(value) for name, value in diagnostics.ess.items()},
        "rhat_max": _number(diagnostics.rhat_max),
        "ess_min": _number(diagnostics.ess_min),
        "constant": list(diagnostics.constant),
        "converged": measured.converged,
        "message": measured.message,
        "acceptance": diagnostics.acceptance,
        "nonfinite_proposals": diagnostics.nonfinite,
        "step_size": chains.step_size,
        "trajectory_length": chains.trajectory_length,
        "stability_limit": _number(chains.stability_limit),
        "step_size_relative_bias": _number(shift / variance) if variance else None,
        "step_size_bias": None
        if bias is None
        else {
            field.name: _estimate(getattr(bias, field.name)) for field in dataclasses.fields(bias)
        },
        "step_size_message": _of_shifts(measured),
        "num_chains": diagnostics.num_chains,
        "num_draws": diagnostics.num_draws,
        "diverged_chains": diagnostics.diverged_chains,
        "wall_seconds": chains.wall_seconds,
    }


def step_size_bias_of(experiment: Mapping[str, Any]) -> StepSizeBias | None:
    """The bias that `experiment_summary` stored; None where there is none, or an earlier version's.

    That had the first of three terms of the variance's alone, as `step_size_relative_bias`.
    """
    stored = experiment.get("step_size_bias")
    if stored is None:
        return None
    try:
        pairs = {
            field.name: [stored[field.name][key] for key in ("value", "mcse")]
            for field in dataclasses.fields(StepSizeBias)
        }
        return StepSizeBias(
            **{
                name: Estimate(*(math.nan if number is None else float(number) for number in pair))
                for name, pair in pairs.items()
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"summary.json is damaged: step_size_bias is {stored!r}, expected value and mcse of "
            "each number: sample the run again"
        ) from error


def tempering_summary(tempering: Tempering) -> dict[str, Any]:
    """The part `tempering` of summary.json: one entry of `rungs` for each temperature."""
    integration = tempering.integration
    rungs = []
    for temperature, measured, evidence, quadrature in zip(
        integration.temperatures, tempering.measured, integration.log_evidence,
        integration.quadrature, strict=True,
    ):  # fmt: skip
        diagnostics = measured.diagnostics
        assert diagnostics is not None, "an experiment's result carries its diagnostics"
        numbers = ("bias2", "variance", "generalisation_error", "train_error")
        rungs.append(
            {
                "temperature": temperature,
                **{name: _estimate(getattr(measured, name)) for name in numbers},
                "log_evidence": _estimate(evidence),
                "log_evidence_quadrature": _number(quadrature),
                "rhat_max": _number(diagnostics.rhat_max),
                "ess_min": _number(diagnostics.ess_min),
                "acceptance": diagnostics.acceptance,
                "step_size_message": _of_shifts(measured),
                "converged": measured.converged,
                "message": measured.message,
            }
        )
    return {
        "rungs": rungs,
        "swap_acceptance": list(tempering.swap_acceptance),
        "round_trips": tempering.round_trips,
        "message": tempering.complaint,
    }


def theory_summary(theory: Generalisation) -> dict[str, Any]:
    """One entry of the part `theory` of summary.json; `mcse` where a theory samples."""
    return {
        "bias2": _number(theory.bias2.value),
        "variance": _number(theory.variance.value),
        "generalisation_error": _number(theory.generalisation_error.value),
        "train_error": _number(theory.train_error.value),
        "test_accuracy": _number(theory.test_accuracy.value),
        "order_parameters": _stored(theory.order_parameters),
        "mcse": {
            name: _number(getattr(theory, name).mcse)
            for name in ("bias2", "variance", "generalisation_error", "train_error")
            if getattr(theory, name).mcse > 0
        },
        "log_evidence": None if theory.log_evidence is None else _number(theory.log_evidence),
        "converged": theory.converged,
        "message": theory.message,
    }


def _of_shifts(measured: Generalisation) -> str:
    """That it is not known how far the step size shifts the numbers; empty where it is."""
    return "" if measured.step_size_bias is None else measured.step_size_bias.message


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return {"value": _number(estimate.value), "mcse": _number(estimate.mcse)}


def _number(value: float) -> float | None:
    """JSON has no NaN: a number that does not exist is null."""
    return float(value) if math.isfinite(value) else None


def _stored(values: Any) -> Any:
    """Numbers, or the rows of a matrix, as lists."""
    return [_stored(v) if isinstance(v, tuple) else _number(v) for v in values]
