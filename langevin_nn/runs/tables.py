"""What a run says in words: its caption, its table, and under it what is needed to judge it."""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from langevin_nn.analysis.comparison import compare
from langevin_nn.analysis.tempering import Tempering
from langevin_nn.config.dynamics import usage_of
from langevin_nn.config.losses import DEFAULT, loss_usage
from langevin_nn.config.record import RunConfig
from langevin_nn.config.sampler import AUTO
from langevin_nn.config.sections import TEACHERS
from langevin_nn.data.dataset import Dataset
from langevin_nn.data.image_files import UNPUBLISHED
from langevin_nn.display import aligned, counted
from langevin_nn.estimates import Estimate, plus_minus, shifted
from langevin_nn.model.networks.named import network_named
from langevin_nn.representations import Representation
from langevin_nn.result_text import QUANTITIES, bias_mark, message_of
from langevin_nn.runs.results import Result
from langevin_nn.runs.standard_scaling import StandardScaling
from langevin_nn.sampling.draws import Chains
from langevin_nn.theory.suite import Predictions, theory_named
from langevin_nn.types import Generalisation


def caption(*configs: RunConfig) -> str:
    """The parameters of a run in one line, for figures and tables.

    Several runs have the line of what they have in common, with "…" where they differ.

    >>> from langevin_nn.config.record import from_dict
    >>> caption(*(from_dict({"prior": {"precisions": [1, x]}}) for x in (0.5, 2)))
    'digits: P = 100, N = (200), erf, λ = (1, …), T = 0.1'
    """
    biases = ""
    if any(config.network.biases for config in configs):
        biases = f", λ_b = ({_common(configs, 'prior.bias_precisions')})"
    return (
        f"{_common_text([_source_text(config) for config in configs])}: "
        f"P = {_common(configs, 'data.num_train')}, {_layers_text(configs)}, "
        f"{_common(configs, 'network.activation')}, λ = ({_common(configs, 'prior.precisions')})"
        f"{biases}, T = {_common(configs, 'posterior.temperature')}{_richness_text(configs)}"
        f"{_loss_text(configs)}"
    )


def heading(config: RunConfig, data: Dataset) -> str:
    """The caption of a run, where its targets come from, and files that are not as published.

    A richness has a line on the λ_L and the T that it makes.
    """
    lines = [caption(config), f"targets: {data.labelling}"]
    if (scaling := StandardScaling.of(config)) is not None:
        lines.append(f"richness: {scaling.text}")
    unpublished_files = [file for file in data.provenance if UNPUBLISHED in file]
    return "\n".join([*lines, *(f"data: {file}" for file in unpublished_files)])


def sampling(*configs: RunConfig) -> str:
    """How the runs are sampled, in one line, with "…" where they differ."""

    def of(name: str) -> str:
        return _common(configs, f"sampler.{name}")

    units = {usage_of(config.sampler.dynamics).unit for config in configs}
    unit = units.pop() if len(units) == 1 else "steps"
    warmup = f"{counted(of('num_warmup'), unit)} of warm-up"
    if of("num_warmup") == AUTO:
        warmup = f"as many {unit} of warm-up as it takes"
    ladder = f", ladder T = {of('ladder')}" if any(c.sampler.ladder for c in configs) else ""
    if of("ladder") == AUTO:
        ladder = ", a ladder of temperatures that pilot runs choose"
    return (
        f"{of('dynamics')} dynamics, read-out {_common(configs, 'posterior.readout')}{ladder}; "
        f"{counted(of('num_chains'), 'chains')} of {warmup} and "
        f"{_draws_text(configs)}, thinning {of('thinning')}, step size {of('step_size')}, "
        f"{_common(configs, 'precision')}"
    )


def _draws_text(configs: Sequence[RunConfig]) -> str:
    """How many draws there are, or the errors that end them."""
    if not any(config.sampler.has_target for config in configs):
        return counted(_common(configs, "sampler.num_samples"), "draws")
    targets = []
    for sampler in (config.sampler for config in configs):
        relative, absolute = sampler.target_error, sampler.target_absolute_error
        if isinstance(relative, float | int):
            relative = (f"{relative:.3g} of bias² and variance",)
        targets.append(
            ", ".join((*(relative or ()), *(f"{text} absolute" for text in absolute or ())))
        )
    return f"draws until standard errors of {_common_text(targets)}"


def _layers_text(configs: Sequence[RunConfig]) -> str:
    kinds = {config.network.architecture for config in configs}
    if len(kinds) > 1:
        return "…"
    return network_named(kinds.pop()).caption(lambda name: _common(configs, f"network.{name}"))


def _richness_text(configs: Sequence[RunConfig]) -> str:
    """The richness in a caption, empty where all the runs have the standard scaling."""
    if all(config.posterior.richness is None for config in configs):
        return ""
    return f", γ = {_common(configs, 'posterior.richness')}"


def _loss_text(configs: Sequence[RunConfig]) -> str:
    """The loss in a caption, empty where all the runs have the default."""
    posteriors = [config.posterior for config in configs]
    if all(posterior.loss == DEFAULT for posterior in posteriors):
        return ""
    captions = [
        loss_usage(posterior.loss).caption(posterior.loss, vars(posterior))
        for posterior in posteriors
    ]
    return f", {_common_text(captions)}"


def _source_text(config: RunConfig) -> str:
    """The data source in a caption, with its classes where each has an output of its own."""
    data = config.data
    if data.source in TEACHERS or not isinstance(data.targets, str):
        return data.source
    return f"{data.source} ({len(data.classes or ())} classes, {data.targets})"


def _common(configs: Sequence[RunConfig], field: str) -> str:
    """The text of the setting with the dotted name `field`, "…" where the runs differ."""
    return _common_text([operator.attrgetter(field)(config) for config in configs])


def _common_text(values: Sequence[Any]) -> str:
    """The text of the value that all are equal to, "…" where they differ.

    Tuples of one length are compared entry by entry.
    """
    first = values[0]
    lengths = {len(value) if isinstance(value, tuple) else None for value in values}
    if isinstance(first, tuple) and len(lengths) == 1:
        return ", ".join(_common_text(entries) for entries in zip(*values, strict=True))
    if any(value != first for value in values):
        return "…"
    if first is None:  # a number of examples that is left to the file
        return "all"
    return f"{first:g}" if isinstance(first, float) else str(first)


def report(result: Result, data: Dataset) -> str:
    """The table of a run and, below it, what is needed to judge the numbers."""
    measured, chains, predictions = result.measured, result.chains, result.predictions
    diagnostics = measured.diagnostics
    assert diagnostics is not None, "an experiment's result carries its diagnostics"
    acceptance = (
        "not recorded" if diagnostics.acceptance is None else f"{diagnostics.acceptance:.3f}"
    )
    if not chains.has_acceptance_step:
        acceptance = "none (unadjusted dynamics)"
    if diagnostics.nonfinite:
        acceptance += f"  ({diagnostics.nonfinite:.2%} of the proposals left the finite numbers)"
    step_size = _step_size_text(measured, chains, ladder=result.tempering is not None)
    chains_text = counted(str(diagnostics.num_chains), "chains")
    draws_text = counted(str(diagnostics.num_draws), "draws")
    lines = [
        heading(result.config, data),
        "",
        str(compare(measured, *predictions.results.values()).unmarked),
        "",
        f"R̂ max      {diagnostics.rhat_max:.4f}",
        f"ESS min    {diagnostics.ess_min:.0f}  ({chains_text} × {draws_text})",
        *_constant_lines(diagnostics.constant),
        *_reduction_lines(measured),
        f"acceptance {acceptance}",
        f"step size  {chains.step_size:.3g}  ({step_size})",
        *remarks(predictions, reasons=False),
    ]
    if result.representations:
        lines += ["", aligned(representation_rows(result.representations))]
    if result.tempering is not None:
        lines += ["", *_ladder_lines(result.tempering, predictions, result.config)]
    verdict = "converged" if measured.converged else f"NOT CONVERGED: {measured.message}"
    return "\n".join([*lines, "", f"{verdict}  ({chains.wall_seconds:.0f} s of sampling)"])


def representation_rows(results: Mapping[str, Representation]) -> list[list[str]]:
    """The numbers of each result's representation, a row for each, below the names of the columns.

    A hidden layer has three columns; Q of D outputs has the mean of its diagonal. What a result
    does not say is "–".
    """
    depth = max(len(result.kernel) for result in results.values())
    measures = {
        "alignment": "alignment", "along_labels": "yᵀΦy/|y|²",
        "participation_ratio": "participation", "trace": "Tr Φ/P",
    }  # fmt: skip
    has_orders = any(result.order_parameter for result in results.values())
    heads = [
        f"{symbol}{f' of layer {layer + 1}' * (depth > 1)}"
        for layer in range(depth)
        for symbol in measures.values()
    ]
    rows = [["representation", *heads, *["Q"] * has_orders]]
    for name, result in results.items():
        cells = [
            plus_minus(getattr(numbers, field)) for numbers in result.kernel for field in measures
        ]
        cells += ["–"] * (len(heads) - len(cells))
        rows.append([name, *cells, *[_order_text(result)] * has_orders])
    return rows


def _order_text(result: Representation) -> str:
    """Q, or the mean of the diagonal of the matrix Q; its errors are taken as independent."""
    matrix = result.order_parameter
    if not matrix:
        return "–"
    diagonal = [row[i] for i, row in enumerate(matrix)]
    error = math.hypot(*(number.mcse for number in diagonal))
    value = sum(number.value for number in diagonal)
    return plus_minus(Estimate(value / len(matrix), error / len(matrix)))


def _reduction_lines(measured: Generalisation) -> list[str]:
    """By how much control variates have made the variances of errors smaller, if they have."""
    if measured.variance_reduction is None:
        return []
    gains = (f"{name} {factor:.1f}" for name, factor in measured.variance_reduction.items())
    return [f"controls   the variance of errors is smaller by factors: {', '.join(gains)}"]


def _constant_lines(names: Sequence[str]) -> list[str]:
    """The line naming the observables that have no Monte-Carlo error and no R̂, or none."""
    if not names:
        return []
    return [f"constant   {', '.join(names)}: the same in every draw, without a Monte-Carlo error"]


def symbol_of_t(config: RunConfig) -> str:
    """What the temperatures of a ladder's numbers are: T, or what a richness makes of it."""
    return "T" if config.posterior.richness is None else "T/(N_L γ²)"


def _ladder_lines(tempering: Tempering, predictions: Predictions, config: RunConfig) -> list[str]:
    """The lines on a ladder, with the log evidence of the run and of the theories."""
    squared = loss_usage(config.posterior.loss).is_gaussian
    evidence_of = "log p(y | X)" if squared else "log ⟨exp(−βΣℓ)⟩"
    names = ("bias2", "variance", "train_error")
    heads = ["log evidence", "quadrature", "R̂ max"]
    rows = [[symbol_of_t(config), *(QUANTITIES[name] for name in names), *heads]]
    integration = tempering.integration
    # The energies that are integrated are shifted as the numbers are.
    mark = bias_mark(tempering.measured[0], "train_error")
    for temperature, measured, evidence, quadrature in zip(
        integration.temperatures, tempering.measured, integration.log_evidence,
        integration.quadrature, strict=True,
    ):  # fmt: skip
        assert measured.diagnostics is not None
        numbers = [
            plus_minus(getattr(measured, name)) + bias_mark(measured, name) for name in names
        ]
        rhat = f"{measured.diagnostics.rhat_max:.4f}"
        rows.append(
            [f"{temperature:g}", *numbers, plus_minus(evidence) + mark,
             _quadrature_text(quadrature), rhat]
        )  # fmt: skip
    swaps = ", ".join(f"{swap:.2f}" for swap in tempering.swap_acceptance)
    evidence, quadrature = integration.log_evidence[0], integration.quadrature[0]
    theories = [
        f"{name} {theory.log_evidence:.5g} "
        f"({_in_errors(evidence.value - theory.log_evidence, evidence.mcse, quadrature)})"
        for name, theory in predictions.results.items()
        if theory.log_evidence is not None
    ]
    lines = [
        aligned(rows),
        "",
        f"swaps      accepted {swaps}; {tempering.round_trips} round trips",
        f"evidence   {evidence_of} = {plus_minus(evidence)}{mark} by thermodynamic integration "
        f"(quadrature {_quadrature_text(quadrature)})",
    ]
    if theories:
        lines.append(f"           of the theories: {', '.join(theories)}")
    return [*lines, f"ladder     {tempering.complaint}"] if tempering.complaint else lines


def _quadrature_text(error: float) -> str:
    """The error of the integral over the temperatures, or that it is not known."""
    return f"± {error:.2g}" if math.isfinite(error) else "error not known"


def _in_errors(difference: float, mcse: float, quadrature: float) -> str:
    """The difference in units of its standard error, or that the error is not known."""
    error = math.hypot(mcse, quadrature)
    is_known = math.isfinite(error) and error > 0
    return f"{difference / error:+.1f}σ" if is_known else "error not known"


def _step_size_text(measured: Generalisation, chains: Chains, ladder: bool) -> str:
    """The meaning of the step size, and how it biases the numbers."""
    if chains.trajectory_length is not None and chains.has_acceptance_step:
        steps = max(1.0, chains.trajectory_length / chains.step_size)
        return (
            f"radians; trajectories of {chains.trajectory_length:.3g} on average, about "
            f"{steps:.1f} steps each; no bias"
        )
    if chains.has_acceptance_step:
        return "no bias"
    bias, predicted = "", measured.step_size_bias
    if predicted is not None and predicted.unknown:
        bias = "; its bias is not known"
        if ladder:
            bias = "; swaps change what it biases: not predicted"
    elif predicted is not None and measured.variance.value > 0:
        share = shifted(predicted.variance, measured.variance.value / 100)
        bias = f"; predicted bias of the variance {share}%"
    return f"{chains.step_size / chains.stability_limit:.0%} of the stability limit{bias}"


def remarks(predictions: Predictions, *, reasons: bool = True) -> list[str]:
    """The lines on the criterion, on theories that were left out and on the messages of others."""
    criterion = Criterion.of(
        predictions.criterion, predictions.criterion_at_temperature, predictions.temperature,
        predictions.results, predictions.criterion_message,
    )  # fmt: skip
    line = f"criterion  {criterion.limit}"
    if criterion.at_temperature:
        line += f",\n           {criterion.at_temperature}  ({criterion.verdict})"
    lines = [line]
    if predictions.guidance:
        lines.append(f"maps       {predictions.guidance}")
    left_out = predictions.not_applicable
    if reasons:
        lines += [f"{name}: left out ({reason})" for name, reason in left_out.items()]
    elif left_out:
        lines.append(f"left out   {', '.join(left_out)}  (summary.json says why)")
    return lines + [
        message_of(result.name, result) for result in predictions.results.values() if result.message
    ]


@dataclass(frozen=True)
class Criterion:
    """The criterion for the sign of the variance's change by finite width, in words.

    It holds in the theory of one common scale. `limit` is the criterion as T → 0; `at_temperature`
    is that at T, empty where it does not exist, and `verdict` is what it says.
    """

    limit: str
    at_temperature: str = ""
    verdict: str = ""

    @classmethod
    def of(
        cls,
        limit: float | None,
        at: float | None,
        temperature: float,
        theories: Mapping[str, Generalisation],
        message: str = "",
    ) -> "Criterion":
        """The words on these two numbers, by those of the theories that have one common scale.

        `message` says why the first one does not exist.
        """
        text = "s = yᵀK⁻¹y/P does not exist" + f" ({message})" * bool(message)
        if limit is not None:
            text = f"s = yᵀK⁻¹y/P = {limit:.4g} as T → 0"
        if at is None:
            return cls(text)
        at_temperature = f"yᵀA⁻¹KA⁻¹y/tr A⁻¹K = {at:.4g} at T = {temperature:g}"
        return cls(text, at_temperature, _criterion_verdict(theories, at))


def _criterion_verdict(theories: Mapping[str, Generalisation], criterion: float) -> str:
    """What the criterion at T says, by the theories of one common scale that were asked."""
    scales = {
        name: float(np.ravel(result.order_parameters)[0])
        for name, result in theories.items()
        if result.converged and theory_named(name).one_scale
    }
    if not scales:
        return "decides for theories of one common scale; none is here"
    if math.isclose(criterion, 1.0, rel_tol=1e-6):
        return f"Q* = 1: the variance of infinite width, by {' and '.join(scales)}"
    if any((scale > 1) != (criterion > 1) for scale in scales.values()):
        return "decides where S has one minimum; here it has several"
    q, less = ("<", "less") if criterion < 1 else (">", "more")
    return f"Q* {q} 1: {less} variance than at infinite width, by {' and '.join(scales)}"
