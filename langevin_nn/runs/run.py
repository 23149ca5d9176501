"""One run: from a configuration to a run folder. Assembly only, no formulas.

config ─► data ─► network, prior ─► posterior ─► chains ─► measured ─┐
                                        └─► spec ─► theories ────────┴─► table, files, figures
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from langevin_nn import plotting
from langevin_nn.analysis.representation import representation
from langevin_nn.analysis.tempering import summarise_ladder
from langevin_nn.config.record import RunConfig, SamplerConfig, modules_of
from langevin_nn.data.dataset import Dataset
from langevin_nn.footprint import without_warnings
from langevin_nn.import_paths import ModuleFile, explained, is_import_path
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.model.marginalised import MarginalisedPosterior
from langevin_nn.model.networks.base import Network
from langevin_nn.model.networks.named import KIND, network_named
from langevin_nn.model.posterior import Posterior
from langevin_nn.model.prior import GaussianPrior
from langevin_nn.model.representation import Recorded
from langevin_nn.progress import Report
from langevin_nn.runs.assemble import (
    READOUTS,
    dynamics_of,
    loss_of,
    network_of,
    require_room,
    until_of,
)
from langevin_nn.runs.data import Load, keys_of, load_data
from langevin_nn.runs.folder import RunFolder
from langevin_nn.runs.own_networks import require_layers
from langevin_nn.runs.provenance import manifest
from langevin_nn.runs.results import Result, as_kept, measured_by
from langevin_nn.runs.standard_scaling import StandardScaling, along_precision, along_width
from langevin_nn.runs.summary import Experiment, Summary, as_json, theory_part
from langevin_nn.runs.tables import caption
from langevin_nn.sampling.chains import sample
from langevin_nn.sampling.checks import refuse_biased_controls
from langevin_nn.sampling.draws import Chains
from langevin_nn.sampling.dynamics.step_size import Diverged
from langevin_nn.sampling.engine.driver import require_start
from langevin_nn.sampling.engine.kept_weights import KeptWeights
from langevin_nn.sampling.tempering import Ladder, temper
from langevin_nn.theory.effective.one_layer import OneLayerSweep
from langevin_nn.theory.ensemble import Decompositions
from langevin_nn.theory.evidence import evidence_gradient
from langevin_nn.theory.suite import Predictions, predict, theory_named
from langevin_nn.types import Generalisation, NotApplicable


@dataclass(frozen=True)
class Problem:
    """The data and the posterior of a configuration, loaded and checked; nothing is written.

    `modules` are the files of the user's own code that the configuration names, as loaded,
    `observables` what is recorded of the representation where it names some.
    """

    config: RunConfig
    data: Dataset
    posterior: Posterior
    key: jax.Array
    warning: str = ""
    modules: tuple[ModuleFile, ...] = ()
    observables: Mapping[str, Recorded] | None = None


def prepare(config: RunConfig, *, sampling: bool = True, load: Load | None = None) -> Problem:
    """Load the data and build the posterior. Raises `InputError` where they do not fit.

    T = 0 is refused: there is nothing to sample, but a theory to ask (`prepare_theory`). What does
    not fit the memory is refused as well; `warning` is what there is to say where it fits just so.
    `load` is `load_data` where it is not given.
    """
    modules = modules_of(config)
    if sampling:
        dynamics_of(config.sampler)
    with_controls = sampling and config.sampler.control_variates
    config, data = (load or load_data)(config)
    _, key_network, key_chains = keys_of(config)
    for name in filter(is_import_path, config.theory or ()):
        theory_named(name)
    warning = require_room(config, data, sampling=sampling)
    network = network_of(config, data, key_network)
    used = config.in_standard_scaling
    prior = GaussianPrior(used.prior.precisions, used.prior.bias_precisions or None)
    kind = READOUTS[config.posterior.readout]
    posterior = kind(network, prior, data, used.posterior.temperature, loss_of(config))
    architecture = config.network.architecture
    if is_import_path(architecture):
        with explained(KIND, architecture):
            require_layers(posterior, network_named(architecture), config, data)
    if with_controls:
        assert isinstance(posterior, MarginalisedPosterior), "the configuration has checked it"
        posterior = posterior.with_control_variates()
        refuse_biased_controls(posterior, dynamics_of(config.sampler))
    observables = None
    if sampling and config.sampler.observables:
        observables = representation(posterior, config.sampler.observables)
    return Problem(config, data, posterior, key_chains, warning, modules, observables)


def try_start(problem: Problem) -> None:
    """Raise what sampling would refuse at its start of code of the user's own; nothing moves.

    A few chains are looked at. That they diverge is no mistake of the code's.
    """
    if problem.modules:
        settings = problem.config.sampler
        with contextlib.suppress(Diverged):
            require_start(
                problem.posterior, dynamics_of(settings), problem.key, settings.num_chains
            )


def template_of(config: RunConfig, data: Dataset) -> Network:
    """The network of a configuration whose data are loaded, its weights not yet sampled."""
    return network_of(config, data, keys_of(config)[1])


def weights_file(problem: Problem, path: Path) -> KeptWeights | None:
    """The file at `path` for the weights of all draws of a problem; None where none are kept."""
    settings = problem.config.sampler
    if not settings.keep_weights:
        return None
    rungs = settings.num_rungs if settings.ladder else None
    counts = settings.num_chains, settings.most_draws
    files = KeptWeights.of([path], problem.posterior, *counts, rungs)
    return dataclasses.replace(files, at_most=settings.has_target)


def prepare_theory(config: RunConfig) -> tuple[RunConfig, Ensemble]:
    """The configuration with its data resolved, and its ensemble; nothing is to be sampled.

    T = 0 is allowed. The ensemble of a ladder is that of its coldest rung, and that of a richness
    has the λ_L and the T which that makes.
    """
    temperature = config.posterior.temperature
    posterior_settings = dataclasses.replace(
        config.posterior, temperature=temperature or 1.0, readout="sampled"
    )
    sampler_settings = dataclasses.replace(config.sampler, ladder=())
    problem = prepare(
        dataclasses.replace(config, posterior=posterior_settings, sampler=sampler_settings),
        sampling=False,
    )
    config = dataclasses.replace(problem.config, posterior=config.posterior, sampler=config.sampler)
    spec = dataclasses.replace(
        problem.posterior.spec, temperature=config.in_standard_scaling.posterior.temperature
    )
    return config, Ensemble(spec, problem.data, loss=problem.posterior.loss)


def run(
    problem: Problem,
    folder: RunFolder,
    *,
    resume: bool = False,
    progress: Callable[[Report], None] | None = None,
    figures: bool = True,
    formats: Sequence[str] = ("png",),
    predictions: Predictions | None = None,
    decompositions: Decompositions | None = None,
) -> Result:
    """Sample, compare with every theory that applies, and fill the run folder.

    `formats` are those of the figures. `predictions` are what `expect` says, if it has been asked
    already.
    """
    began = time.monotonic()
    predictions = predictions or expect(problem, decompositions)
    saving = {"keep_weights": folder.weights} if problem.config.sampler.keep_weights else {}
    sampled = sample_problem(
        problem, checkpoint=folder.checkpoint, resume=resume, progress=progress, **saving
    )  # fmt: skip
    if isinstance(sampled, Ladder):
        sampled = dataclasses.replace(
            sampled, chains=tuple(as_kept(problem.config, chains) for chains in sampled.chains)
        )
        chains = sampled.chains[0]
        tempering = summarise_ladder(sampled, key=jax.random.fold_in(problem.key, 1))
    else:
        chains, tempering = as_kept(problem.config, sampled), None
    measured = measured_by(problem.config, chains)
    result = Result(problem.config, chains, measured, predictions, tempering)
    extensions = folder.extensions(chains.energy.shape[1])
    keep(
        problem, folder, result, began, figures=figures, formats=formats, extensions=extensions
    )  # fmt: skip
    return result


def sample_problem(problem: Problem, **saving: Any) -> Chains | Ladder:
    """The draws of a problem, of all its temperatures where it has a ladder.

    `saving` are `checkpoint`, `resume`, `progress` and `keep_weights` of `sample`; without a
    `progress` there is no bar.
    """
    settings = problem.config.sampler
    arguments = counts_of(settings) | {"key": problem.key, "observables": problem.observables}
    arguments |= saving
    arguments["progress"] = saving.get("progress") or False
    posterior, dynamics = problem.posterior, dynamics_of(settings)
    with without_warnings():
        if settings.ladder:
            ladder = problem.config.in_standard_scaling.sampler.ladder
            return temper(posterior, dynamics, ladder, **arguments)
        return sample(posterior, dynamics, **arguments)


def expect(problem: Problem, decompositions: Decompositions | None = None) -> Predictions:
    """The theories' predictions; `decompositions` are shared with other problems."""
    ensemble = problem.posterior.ensemble
    if decompositions is not None:
        ensemble = decompositions.shared(ensemble)
    with without_warnings():
        observables = problem.config.sampler.observables or ()
        return predict(ensemble, problem.config.theory, observables=observables).numbers_only()


def counts_of(settings: SamplerConfig) -> dict[str, Any]:
    """The number of chains and what ends them, as keyword arguments of `sample`."""
    return {
        "num_chains": settings.num_chains,
        "num_warmup": settings.num_warmup,
        "num_samples": settings.num_samples,
        "thinning": settings.thinning,
        "until": until_of(settings),
    }


def keep(
    problem: Problem,
    folder: RunFolder,
    result: Result,
    began: float,
    *,
    figures: bool = True,
    formats: Sequence[str] = ("png",),
    extensions: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the result of a run into its folder. `began` is its start, by `time.monotonic`.

    `extensions` are the records of how often it was extended. The summary, which makes the run a
    finished one, comes last.
    """
    config, chains, measured = result.config, result.chains, result.measured
    theories = result.predictions.results
    scaling = StandardScaling.of(config)
    folder.save_posterior(
        chains, problem.data.y_train, theories, config.content_hash,
        {} if scaling is None else scaling.attributes,
    )  # fmt: skip
    if chains.last_state is not None:
        chains.last_state.save(folder.last_state)
    if figures:
        draw_figures(folder, config, chains, measured, theories, formats)
    seconds = time.monotonic() - began
    provenance = (*problem.data.provenance, f"targets: {problem.data.labelling}")
    experiment = Experiment.of(measured, chains)
    summary = Summary.of(
        problem.data.labelling, experiment, result.predictions, result.tempering, scaling,
        result.representations,
    )  # fmt: skip
    folder.finish(
        manifest(config, provenance, seconds, problem.modules, extensions), summary,
        with_weights=config.sampler.keep_weights, with_state=chains.last_state is not None,
    )  # fmt: skip


def theory_json(
    ensemble: Ensemble, predictions: Predictions, scaling: StandardScaling | None = None
) -> dict[str, object]:
    """`theory_part` with predictions at the test points and derivatives of the log evidence.

    These are in the λ and T of the ensemble, which `scaling` has where there is a richness.
    """
    part = {"targets": ensemble.data.labelling, **theory_part(predictions)}
    if scaling is not None:
        part["standard_scaling"] = scaling
    entries = part["theory"]
    for name, solution in predictions.solutions.items():
        result = solution.generalisation
        entries[name] |= {
            "predictive_mean": result.predictive_mean.tolist(),
            "predictive_variance": result.predictive_variance.tolist(),
            "log_evidence_gradient": None,
        }
        if result.converged:
            with contextlib.suppress(NotApplicable, ValueError, ArithmeticError):  # else null
                gradient = evidence_gradient(ensemble, solution)
                entries[name]["log_evidence_gradient"] = {
                    "precisions": gradient.precision_gradient,
                    "bias_precisions": gradient.bias_precision_gradient,
                    "temperature": gradient.temperature_gradient,
                }
    return {key: as_json(value) for key, value in part.items()}


def draw_theory(
    ensemble: Ensemble,
    predictions: Predictions,
    caption: str,
    path: Path,
    scaling: StandardScaling | None = None,
) -> None:
    """Save a figure of the theories at `path`.

    The first theory that is quick at many points is drawn as a function of N_1 and λ_1, too; at
    one richness, and of the λ_1 that is given, where there is one, as `scaling` says.
    """
    sweeps: dict[str, tuple[OneLayerSweep, float]] = {}
    candidates = (
        theory_named(name).at_points
        for name, result in predictions.results.items()
        if result.converged
    )
    if at_points := next(filter(None, candidates), None):
        spec = ensemble.spec
        (width,) = spec.hidden_widths or ()
        widths = np.unique(np.maximum(1, np.round(width * np.geomspace(0.1, 100, 61))))
        if (swept := along_width(at_points, ensemble, widths, scaling)) is not None:
            sweeps["width"] = swept, float(width)
        ratios = np.geomspace(0.01, 100, 61)
        sweeps["readout_precision"] = along_precision(at_points, ensemble, ratios, scaling)
    with plotting.own_settings():
        figure = plotting.theory_figure(
            list(predictions.results.values()), sweeps, caption, limit=scaling is None
        )
        plotting.save_as(figure, path)


def draw_figures(
    folder: RunFolder,
    config: RunConfig,
    chains: Chains,
    measured: Generalisation,
    theories: dict[str, Generalisation],
    formats: Sequence[str] = ("png",),
) -> None:
    """Save the figures of a run in its folder, in each of these formats."""
    with plotting.own_settings():
        figures = plotting.run_figures(chains, measured, theories, caption(config))
        plotting.save(figures, folder.figures, formats)
