"""Sample the Bayesian posterior of a finite-width network and hold it against theory.

    import jax, langevin_nn as lnn
    jax.config.update("jax_enable_x64", True)          # the theories need float64
    key = jax.random.key(0)

    data = lnn.load_dataset("digits", classes=(0, 1), num_train=50, num_test=100, key=key)
    network = lnn.FullyConnected(data.in_size, (100,), activation="erf", key=key)
    posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, temperature=0.1)
    chains = lnn.sample(posterior, lnn.Langevin(), key=key, num_chains=8, num_samples=500)
    print(lnn.compare(lnn.summarise(chains), lnn.theory.one_layer(posterior.ensemble)))

Names are loaded when they are first used: `import langevin_nn` alone imports no JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langevin_nn import config, plotting, theory
    from langevin_nn.analysis.averaging import Averaging, averaging
    from langevin_nn.analysis.comparison import compare
    from langevin_nn.analysis.ensembles import classification_errors, summarise_flow
    from langevin_nn.analysis.generalisation import summarise
    from langevin_nn.analysis.landscape.gradients import (
        effective_parameters,
        hessian,
        kernel_alignment,
        tangent_kernel,
    )
    from langevin_nn.analysis.landscape.spectra import spectral_density
    from langevin_nn.analysis.scaling import power_law
    from langevin_nn.analysis.tempering import summarise_ladder
    from langevin_nn.analysis.variances import error_parts
    from langevin_nn.data.load import Dataset, load_dataset
    from langevin_nn.model.activations import activation
    from langevin_nn.model.ensemble import Ensemble
    from langevin_nn.model.losses import Hinge, Logistic, Squared
    from langevin_nn.model.marginalised import MarginalisedPosterior
    from langevin_nn.model.networks.convolutional import Convolutional
    from langevin_nn.model.networks.fully_connected import FullyConnected
    from langevin_nn.model.posterior import GibbsPosterior
    from langevin_nn.model.prior import GaussianPrior
    from langevin_nn.reports.report import report
    from langevin_nn.sampling.chains import sample, sample_points
    from langevin_nn.sampling.draws import Chains
    from langevin_nn.sampling.dynamics.langevin import Langevin
    from langevin_nn.sampling.dynamics.split import Split
    from langevin_nn.sampling.dynamics.step_size import Diverged
    from langevin_nn.sampling.numpyro.kernel import NumPyroKernel
    from langevin_nn.sampling.numpyro.models import numpyro_model
    from langevin_nn.sampling.tempering import Ladder, temper
    from langevin_nn.sweeps.engine import sweep
    from langevin_nn.sweeps.results import collect
    from langevin_nn.training.gradient_flow import gradient_flow
    from langevin_nn.training.minimum import find_minimum
    from langevin_nn.training.random_features import RandomFeatures, feature_ensemble
    from langevin_nn.types import (
        Activation,
        Diagnostics,
        EnsembleSpec,
        Estimate,
        Generalisation,
        InputError,
        NotApplicable,
        Patches,
    )

__all__ = [
    "Activation",
    "Averaging",
    "Chains",
    "Convolutional",
    "Dataset",
    "Diagnostics",
    "Diverged",
    "Ensemble",
    "EnsembleSpec",
    "Estimate",
    "FullyConnected",
    "GaussianPrior",
    "Generalisation",
    "GibbsPosterior",
    "Hinge",
    "InputError",
    "Ladder",
    "Langevin",
    "Logistic",
    "MarginalisedPosterior",
    "NotApplicable",
    "NumPyroKernel",
    "Patches",
    "RandomFeatures",
    "Split",
    "Squared",
    "activation",
    "averaging",
    "classification_errors",
    "collect",
    "compare",
    "config",
    "effective_parameters",
    "error_parts",
    "feature_ensemble",
    "find_minimum",
    "gradient_flow",
    "hessian",
    "kernel_alignment",
    "load_dataset",
    "numpyro_model",
    "plotting",
    "power_law",
    "report",
    "sample",
    "sample_points",
    "spectral_density",
    "summarise",
    "summarise_flow",
    "summarise_ladder",
    "sweep",
    "tangent_kernel",
    "temper",
    "theory",
]

_MODULES = {
    "analysis.averaging": ("Averaging", "averaging"),
    "analysis.comparison": ("compare",),
    "analysis.ensembles": ("classification_errors", "summarise_flow"),
    "analysis.generalisation": ("summarise",),
    "analysis.landscape.gradients": (
        "effective_parameters", "hessian", "kernel_alignment", "tangent_kernel",
    ),
    "analysis.scaling": ("power_law",),
    "analysis.landscape.spectra": ("spectral_density",),
    "analysis.tempering": ("summarise_ladder",),
    "analysis.variances": ("error_parts",),
    "model.activations": ("activation",),
    "model.ensemble": ("Ensemble",),
    "model.networks.convolutional": ("Convolutional",),
    "data.load": ("Dataset", "load_dataset"),
    "model.losses": ("Hinge", "Logistic", "Squared"),
    "model.marginalised": ("MarginalisedPosterior",),
    "model.networks.fully_connected": ("FullyConnected",),
    "model.posterior": ("GibbsPosterior",),
    "model.prior": ("GaussianPrior",),
    "training.random_features": ("RandomFeatures", "feature_ensemble"),
    "reports.report": ("report",),
    "sampling.chains": ("sample", "sample_points"),
    "sampling.draws": ("Chains",),
    "training.gradient_flow": ("gradient_flow",),
    "sampling.dynamics.langevin": ("Langevin",),
    "training.minimum": ("find_minimum",),
    "sampling.numpyro.kernel": ("NumPyroKernel",),
    "sampling.numpyro.models": ("numpyro_model",),
    "sampling.dynamics.split": ("Split",),
    "sampling.dynamics.step_size": ("Diverged",),
    "sampling.tempering": ("Ladder", "temper"),
    "sweeps.engine": ("sweep",),
    "sweeps.results": ("collect",),
    "types": (
        "Activation", "Diagnostics", "EnsembleSpec", "Estimate", "Generalisation", "InputError",
        "NotApplicable", "Patches",
    ),
}  # fmt: skip
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in ("config", "plotting", "theory"):
        return importlib.import_module(f"langevin_nn.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"langevin_nn.{_HOME[name]}"), name)
    raise AttributeError(f"module 'langevin_nn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
