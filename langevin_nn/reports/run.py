"""The page of one run: its figures, the theories beside it, convergence and provenance."""

import dataclasses
from collections.abc import Mapping

from langevin_nn import plotting
from langevin_nn.analysis.comparison import compare
from langevin_nn.analysis.diagnostics import ESS_LIMIT, RHAT_LIMIT
from langevin_nn.reports import sentences
from langevin_nn.reports.formats import beside, estimate, legend, number, per_cent, time_of
from langevin_nn.reports.html import Markup, element, figures, findings, page, table
from langevin_nn.reports.provenance import provenance, reproduction
from langevin_nn.reports.theories import explanations, remarks_on
from langevin_nn.representations import Representation
from langevin_nn.result_text import QUANTITIES, UNKNOWN_MARK, bias_mark, bias_note, orders
from langevin_nn.runs import tables
from langevin_nn.runs.folder import RunFolder
from langevin_nn.runs.loading import load_run
from langevin_nn.runs.standard_scaling import StandardScaling
from langevin_nn.runs.summary import Experiment, Summary, Tempered
from langevin_nn.theory.suite import THEORIES
from langevin_nn.types import Estimate, Generalisation

NUM_MODES = 8
"""The number of modes of a layer's kernel that the page shows, the largest first."""
FIGURES = {
    "generalisation": (
        "The experiment as points with error bars of one standard error, theories as lines; on "
        "the right the experiment over each theory, minus one, in per cent."
    ),
    "chains": (
        "Traces of the chains after the warm-up, and histograms of the ranks of their draws, flat "
        "where the chains agree."
    ),
    "predictions": (
        "Mean and spread of f at each test point: sampled, with one standard error, against each "
        "theory."
    ),
}


def run_page(folder: RunFolder, when: str) -> str:
    """The whole page of a finished run; `when` is its line on date and version."""
    run = load_run(folder.path)
    config, summary, measured, theories = run.config, run.summary, run.measured, run.theories
    title = f"Run {folder.path.resolve().name}"
    caption, scaling = tables.caption(config), StandardScaling.of(config)
    lead = [
        findings(sentences.of_run(measured, theories.values())),
        element("p", f"{caption}."),
        *([] if scaling is None else [element("p", f"Richness {scaling.text}.")]),
        element("p", f"Sampled by {tables.sampling(config)}."),
        element("p", f"{legend(richness=scaling is not None)} {when}", class_="note"),
    ]
    with plotting.own_settings():
        drawn = plotting.images(plotting.run_figures(run.chains, measured, theories, caption))
    sections = {
        "Theory and experiment": [
            _comparison(measured, theories),
            _of_theories(theories, summary, config.in_standard_scaling.posterior.temperature),
            *explanations(summary.theory),
            *remarks_on({title: summary}),
        ],
        "Figures": figures(drawn, FIGURES),
    }
    if summary.representation:
        sections["Representation"] = _representation(summary.representation)
    if summary.tempering is not None:
        sections["Ladder"] = _ladder(
            summary.tempering, summary.experiment, tables.symbol_of_t(config)
        )
    sections["Convergence"] = _convergence(
        dataclasses.replace(
            Experiment.of(measured, run.chains),
            step_size_relative_bias=summary.experiment.step_size_relative_bias,
        )
    )
    hashes = {"configuration hash": config.content_hash}
    sections["Provenance"] = [
        *reproduction("run", folder.path / "config.toml", [run.manifest]),
        *provenance({title: run.manifest}, hashes, config.to_toml()),
    ]
    return page(title, lead, sections)


def _comparison(measured: Generalisation, theories: Mapping[str, Generalisation]) -> Markup:
    numbers = [
        estimate((measured_estimate := getattr(measured, key)).value, measured_estimate.mcse)
        + bias_mark(measured, key)
        for key in QUANTITIES
    ]
    rows = [
        [measured.name, *numbers, number(measured.test_accuracy.value, ".4f")]
    ]  # fmt: skip
    deviations = iter(compare(measured, *theories.values()).deviations)
    for theory in theories.values():
        cells = []
        for _ in QUANTITIES:
            deviation = next(deviations)
            expected = deviation.expected
            cells.append(beside(expected.value, expected.mcse, deviation.z, deviation.relative))
        rows.append([theory.name, *cells, number(theory.test_accuracy.value, ".4f")])
    header = ["result", *QUANTITIES.values(), "test accuracy"]
    caption = (
        "Beside a theory: (experiment − theory)/(standard error of both) in σ, and "
        "experiment/theory − 1"
    )
    caption = ". ".join([caption, *bias_note(measured)])
    return table(caption, header, rows)


def _representation(results: Mapping[str, Representation]) -> list[Markup]:
    """The measures of the layers' kernels and Q, and the kernels' leading modes."""
    header, *rows = tables.representation_rows(results)
    caption = (
        "Averages over the posterior of the hidden layers' kernels Φ at the training inputs, and Q "
        "of the read-out. A theory's alignment and participation are made of means"
    )
    parts = [table(caption, header, rows)]
    for layer in range(max(len(result.kernel) for result in results.values())):
        of_layer = {
            name: result.kernel[layer].spectrum[:NUM_MODES]
            for name, result in results.items()
            if len(result.kernel) > layer
        }
        number_of_modes = max(map(len, of_layer.values()))
        caption = (
            f"The kernel of layer {layer + 1}, eᵀΦe, along the eigenvectors e of the largest "
            "eigenvalues at infinite width"
        )
        header = ["mode", *(str(mode + 1) for mode in range(number_of_modes))]
        rows = [
            [name, *(estimate(mode.value, mode.mcse) for mode in spectrum)]
            for name, spectrum in of_layer.items()
        ]
        parts.append(table(caption, header, rows))
    return parts


def _state(theory: Generalisation) -> str:
    """The state of a theory's solution, which a remark may say more about."""
    if not theory.converged:
        return "not converged"
    return "converged, with a remark" if theory.message else "converged"


def _of_theories(
    theories: Mapping[str, Generalisation], summary: Summary, temperature: float
) -> Markup:
    rows = [
        [
            name, number(theory.log_evidence, ".6g"), orders(theory), _state(theory),
        ]
        for name, theory in theories.items()
    ]  # fmt: skip
    if not theories:
        return element("p", "There is no theory to compare with.")
    known = {name: theory for name, theory in theories.items() if name in THEORIES}
    criterion = tables.Criterion.of(
        summary.criterion, summary.criterion_at_temperature, temperature, known
    )
    caption = f"The theories. The criterion is {criterion.limit}"
    if criterion.at_temperature:
        caption += f", and {criterion.at_temperature} ({criterion.verdict})"
    header = ["theory", "log evidence, log p(y | X)", "order parameters", "state"]
    return table(caption, header, rows)


def _convergence(experiment: Experiment) -> list[Markup]:
    rows = [
        [QUANTITIES.get(name, name), number(rhat, ".4f"), number(experiment.ess[name], ".0f")]
        for name, rhat in experiment.rhat.items()
    ]
    worst = [number(experiment.rhat_max, ".4f"), number(experiment.ess_min, ".0f")]
    rows.append(["worst, with f at every test point", *worst])
    chains = [
        ["chains", str(experiment.num_chains)],
        ["of these diverged", str(experiment.diverged_chains)],
        ["draws of each", str(experiment.num_draws)],
        ["acceptance", number(experiment.acceptance, ".3f")],
        ["step size", number(experiment.step_size, ".3g")],
        ["stability limit", number(experiment.stability_limit, ".3g")],
        ["trajectory length", number(experiment.trajectory_length, ".3g")],
        ["share of proposals not finite", number(experiment.nonfinite_proposals, ".2g")],
        *_predicted_bias(experiment),
        *(
            [f"variance of the error of {name}, smaller by control variates", number(gain, ".2f")]
            for name, gain in experiment.variance_reduction.items()
        ),
        ["the same in every draw", ", ".join(experiment.constant) or "nothing"],
        ["time of sampling", time_of(experiment.wall_seconds)],
    ]  # fmt: skip
    rule = f"A run has converged if R̂ < {RHAT_LIMIT} and ESS > {ESS_LIMIT} in every series"
    return [
        table(rule, ["series", "R̂", "ESS"], rows),
        table("The chains", ["what", "value"], chains),
    ]


def _predicted_bias(experiment: Experiment) -> list[list[str]]:
    """The rows of the step size's shifts; an earlier version stored the variance's alone."""
    shift = "predicted shift of the {} by the step size"
    bias, relative = experiment.step_size_bias, experiment.step_size_relative_bias
    if bias is not None and not experiment.step_size_message:
        return [
            [shift.format(QUANTITIES[item.name]), _written(getattr(bias, item.name))]
            for item in dataclasses.fields(bias)
        ]
    if bias is not None and relative is None:
        return [["shift by the step size", "not known"]]
    return [["predicted bias of the variance by the step size", per_cent(relative)]]


def _ladder(tempering: Tempered, experiment: Experiment, symbol: str) -> list[Markup]:
    names = ("bias2", "variance", "train_error")
    rows, marks = [], []
    # A dynamics without an acceptance step is biased, and on a ladder it is not known by how much.
    for rung in tempering.rungs:
        mark = "" if experiment.has_acceptance_step else UNKNOWN_MARK
        rows.append(
            [
                f"{rung.temperature:g}", *(_written(getattr(rung, name)) + mark for name in names),
                _written(rung.log_evidence) + mark, number(rung.log_evidence_quadrature, ".2g"),
                number(rung.rhat_max, ".4f"), number(rung.ess_min, ".0f"),
                "converged" if rung.converged else "not converged",
            ]
        )  # fmt: skip
        marks.append("" if rung.converged else "restless")
    header = [
        symbol, *(QUANTITIES[name] for name in names), "log evidence", "error of the quadrature",
        "R̂ max", "ESS min", "state",
    ]  # fmt: skip
    swaps = ", ".join(f"{swap:.2f}" for swap in tempering.swap_acceptance)
    text = f"Accepted swaps between neighbours: {swaps}. Round trips: {tempering.round_trips}."
    parts = [
        table("Every temperature, the coldest first", header, rows, marks=marks),
        element("p", text),
    ]
    return [*parts, element("p", f"{tempering.message}.")] if tempering.message else parts


def _written(number: Estimate) -> str:
    return estimate(number.value, number.mcse)
