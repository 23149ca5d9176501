"""The public names, each with its module: the one list of them, which `__init__.py` reads.

Type checkers and editors read it as it is.
"""

from langevin_nn import config as config
from langevin_nn import plotting as plotting
from langevin_nn import theory as theory
from langevin_nn.analysis.averaging import Averaging as Averaging
from langevin_nn.analysis.averaging import averaging as averaging
from langevin_nn.analysis.comparison import compare as compare
from langevin_nn.analysis.ensembles import classification_errors as classification_errors
from langevin_nn.analysis.ensembles import summarise_flow as summarise_flow
from langevin_nn.analysis.generalisation import summarise as summarise
from langevin_nn.analysis.landscape.gradients import effective_parameters as effective_parameters
from langevin_nn.analysis.landscape.gradients import hessian as hessian
from langevin_nn.analysis.landscape.gradients import kernel_alignment as kernel_alignment
from langevin_nn.analysis.landscape.gradients import tangent_kernel as tangent_kernel
from langevin_nn.analysis.landscape.spectra import spectral_density as spectral_density
from langevin_nn.analysis.representation import representation as representation
from langevin_nn.analysis.representation import (
    summarise_representation as summarise_representation,
)
from langevin_nn.analysis.scaling import power_law as power_law
from langevin_nn.analysis.stopping import TargetError as TargetError
from langevin_nn.analysis.tempering import summarise_ladder as summarise_ladder
from langevin_nn.analysis.variances import error_parts as error_parts
from langevin_nn.data.dataset import Dataset as Dataset
from langevin_nn.data.load import load_dataset as load_dataset
from langevin_nn.model.activations import activation as activation
from langevin_nn.model.ensemble import Ensemble as Ensemble
from langevin_nn.model.losses import Hinge as Hinge
from langevin_nn.model.losses import Logistic as Logistic
from langevin_nn.model.losses import Loss as Loss
from langevin_nn.model.losses import Squared as Squared
from langevin_nn.model.marginalised import MarginalisedPosterior as MarginalisedPosterior
from langevin_nn.model.networks.convolutional import Convolutional as Convolutional
from langevin_nn.model.networks.fully_connected import FullyConnected as FullyConnected
from langevin_nn.model.posterior import GibbsPosterior as GibbsPosterior
from langevin_nn.model.prior import GaussianPrior as GaussianPrior
from langevin_nn.model.prior import at_richness as at_richness
from langevin_nn.reports.export import export as export
from langevin_nn.reports.report import report as report
from langevin_nn.runs.loading import Run as Run
from langevin_nn.runs.loading import RunsComparison as RunsComparison
from langevin_nn.runs.loading import compare_runs as compare_runs
from langevin_nn.runs.loading import load_run as load_run
from langevin_nn.sampling.base import Dynamics as Dynamics
from langevin_nn.sampling.chains import sample as sample
from langevin_nn.sampling.chains import sample_points as sample_points
from langevin_nn.sampling.draws import Chains as Chains
from langevin_nn.sampling.dynamics.langevin import Langevin as Langevin
from langevin_nn.sampling.dynamics.split import Split as Split
from langevin_nn.sampling.dynamics.step_size import Diverged as Diverged
from langevin_nn.sampling.numpyro.kernel import NumPyroKernel as NumPyroKernel
from langevin_nn.sampling.numpyro.models import numpyro_model as numpyro_model
from langevin_nn.sampling.tempering import Ladder as Ladder
from langevin_nn.sampling.tempering import temper as temper
from langevin_nn.sweeps.engine import sweep as sweep
from langevin_nn.sweeps.results import collect as collect
from langevin_nn.theory.base import Theory as Theory
from langevin_nn.training.gradient_flow import gradient_flow as gradient_flow
from langevin_nn.training.minimum import find_minimum as find_minimum
from langevin_nn.training.random_features import RandomFeatures as RandomFeatures
from langevin_nn.training.random_features import feature_ensemble as feature_ensemble
from langevin_nn.types import Activation as Activation
from langevin_nn.types import Diagnostics as Diagnostics
from langevin_nn.types import EnsembleSpec as EnsembleSpec
from langevin_nn.types import Estimate as Estimate
from langevin_nn.types import Generalisation as Generalisation
from langevin_nn.types import InputError as InputError
from langevin_nn.types import NotApplicable as NotApplicable
from langevin_nn.types import Patches as Patches

__version__: str
