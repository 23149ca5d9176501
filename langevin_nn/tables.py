"""What a run says in words: its caption, its table, and under it what is needed to judge it."""

import math
from collections.abc import Sequence

from langevin_nn.analysis.comparison import QUANTITIES, aligned, compare, plus_minus
from langevin_nn.analysis.tempering import Tempering
from langevin_nn.config import RunConfig
from langevin_nn.model.datasets import IMAGE_SOURCES
from langevin_nn.results import Result
from langevin_nn.sampling.draws import Chains
from langevin_nn.theory.suite import Predictions
from langevin_nn.types import Generalisation


def caption(config: RunConfig) -> str:
    """The run's parameters in one line, for figures and tables."""
    network, prior = config.network, config.prior
    widths = ", ".join(str(width) for width in network.hidden_widths)
    layers = f"N = ({widths})"
    if network.is_convolutional:
        size = f"{network.patch_size}×{network.patch_size}"
        layers = f"convolution on {size} patches (stride {network.stride}), N_c = {widths}"
    biases = f", λ_b = ({_listed(prior.bias_precisions)})" if network.biases else ""
    return (
        f"{config.data.source}{_coding(config)}: P = {config.data.num_train}, {layers}, "
        f"{network.activation}, λ = ({_listed(prior.precisions)}){biases}, "
        f"T = {config.posterior.temperature:g}"
    )


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def _coding(config: RunConfig) -> str:
    """How many classes there are, where each has an output of its own."""
    data = config.data
    if data.source not in IMAGE_SOURCES or not isinstance(data.targets, str):
        return ""
    return f" ({len(data.classes)} classes, {data.targets})"


def report(result: Result) -> str:
    """The table of a run, and under it what is needed to judge it."""
    measured, chains, predictions = result.measured, result.chains, result.predictions
    diagnostics = measured.diagnostics
    assert diagnostics is not None, "an experiment's result carries its diagnostics"
    acceptance = "none (unadjusted dynamics)"
    if diagnostics.acceptance is not None:
        acceptance = f"{diagnostics.acceptance:.3f}"
    if diagnostics.nonfinite:
        acceptance += f"  ({diagnostics.nonfinite:.2%} of the proposals left the finite numbers)"
    lines = [
        caption(result.config),
        "",
        str(compare(measured, *predictions.results.values())),
        "",
        f"R̂ max      {diagnostics.rhat_max:.4f}",
        f"ESS min    {diagnostics.ess_min:.0f}  ({diagnostics.num_chains} chains × "
        f"{diagnostics.num_draws} draws)",
        f"acceptance {acceptance}",
        f"step size  {chains.step_size:.3g}  ({_of_step_size(measured, chains)})",
        *remarks(predictions, reasons=False),
    ]
    if result.tempering is not None:
        lines += ["", *_of_ladder(result.tempering, predictions)]
    verdict = "converged" if measured.converged else f"NOT CONVERGED: {measured.message}"
    return "\n".join([*lines, "", f"{verdict}  ({chains.wall_seconds:.0f} s of sampling)"])


def _of_ladder(tempering: Tempering, predictions: Predictions) -> list[str]:
    """Every temperature with its log evidence, and what the theories say of the coldest's."""
    names = ("bias2", "variance", "train_error")
    rows = [["T", *(QUANTITIES[name] for name in names), "log evidence", "R̂ max"]]
    integration = tempering.integration
    for temperature, measured, evidence in zip(
        integration.temperatures, tempering.measured, integration.log_evidence, strict=True
    ):
        assert measured.diagnostics is not None
        numbers = [plus_minus(getattr(measured, name)) for name in names]
        rhat = f"{measured.diagnostics.rhat_max:.4f}"
        rows.append([f"{temperature:g}", *numbers, plus_minus(evidence), rhat])
    swaps = ", ".join(f"{swap:.2f}" for swap in tempering.swap_acceptance)
    evidence, quadrature = integration.log_evidence[0], integration.quadrature[0]
    theories = [
        f"{name} {theory.log_evidence:.5g} "
        f"({(evidence.value - theory.log_evidence) / math.hypot(evidence.mcse, quadrature):+.1f}σ)"
        for name, theory in predictions.results.items()
        if theory.log_evidence is not None
    ]
    lines = [
        aligned(rows),
        "",
        f"swaps      accepted {swaps}; {tempering.round_trips} round trips",
        f"evidence   log p(y | X) = {plus_minus(evidence)} by thermodynamic integration "
        f"(quadrature ± {quadrature:.2g})",
        f"           of the theories: {', '.join(theories)}",
    ]
    return [*lines, f"ladder     {tempering.complaint}"] if tempering.complaint else lines


def _of_step_size(measured: Generalisation, chains: Chains) -> str:
    """What the step size means, and what it does to the numbers."""
    if chains.trajectory_length is not None:
        steps = max(1.0, chains.trajectory_length / chains.step_size)
        return (
            f"radians; trajectories of {chains.trajectory_length:.3g} on average, about "
            f"{steps:.1f} steps each; no bias"
        )
    bias = ""
    if measured.variance.value > 0 and math.isfinite(chains.step_size_shift):
        share = chains.step_size_shift / measured.variance.value
        bias = f"; predicted bias of the variance {share:+.1%}"
    return f"{chains.step_size / chains.stability_limit:.0%} of the stability limit{bias}"


def remarks(predictions: Predictions, *, reasons: bool = True) -> list[str]:
    """The criterion, the theories that were left out, and what the others have to say."""
    lines = [f"criterion  {_criterion(predictions)}"]
    left_out = predictions.not_applicable
    if reasons:
        lines += [f"{name}: left out ({why})" for name, why in left_out.items()]
    elif left_out:
        lines.append(f"left out   {', '.join(left_out)}  (summary.json says why)")
    return lines + [f"{g.name}: {g.message}" for g in predictions.results.values() if g.message]


def _criterion(predictions: Predictions) -> str:
    s = predictions.criterion
    if s is None:
        return f"s = yᵀK⁻¹y/P does not exist: {predictions.criterion_message}"
    side = "below 1: finite width helps" if s < 1 else "above 1: infinite width does better"
    return f"s = yᵀK⁻¹y/P = {s:.4g}  ({side}, by the one-layer theory at T → 0)"
