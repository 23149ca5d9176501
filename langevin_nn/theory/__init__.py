"""Theories of the posterior: Gram matrices, effective actions, and the predictions they make.

The names below are what a user needs. Further names in the modules serve the theories; their
docstrings give equation, shapes and an example all the same.
"""

from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.effective.convolutional import convolutional
from langevin_nn.theory.effective.global_scale import global_
from langevin_nn.theory.effective.infinite_width import infinite_width
from langevin_nn.theory.effective.multi_output import multi_output
from langevin_nn.theory.effective.nested import nested
from langevin_nn.theory.effective.one_layer import OneLayerSweep, one_layer
from langevin_nn.theory.effective.one_layer_nonodd import one_layer_nonodd
from langevin_nn.theory.effective.scale_mixture import scale_mixture
from langevin_nn.theory.effective.width_expansion import matched, width_expansion
from langevin_nn.theory.ensemble import gram_regression
from langevin_nn.theory.evidence import Evidence, evidence
from langevin_nn.theory.evidence_maximum import EvidenceMaximum, maximise_evidence
from langevin_nn.theory.features.adaptive import adaptive
from langevin_nn.theory.features.cavity import cavity
from langevin_nn.theory.features.mean_field import mean_field
from langevin_nn.theory.features.propagation import propagation
from langevin_nn.theory.kernels.nngp import gram_blocks, nngp
from langevin_nn.theory.kernels.ntk import ntk
from langevin_nn.theory.kernels.patch_pairs import patch_gram
from langevin_nn.theory.lazy.infinite_width_flow import infinite_width_flow
from langevin_nn.theory.lazy.kernel_machines import kernel_flow, support_vectors
from langevin_nn.theory.predictive import (
    OrderParameterDistribution,
    PredictiveDistribution,
    order_parameter_distribution,
    predictive_distribution,
)
from langevin_nn.theory.random_features.errors import (
    FeatureDecomposition,
    RandomFeatureError,
    random_feature_decomposition,
    random_feature_error,
)
from langevin_nn.theory.random_features.overlaps import FeatureMoments, feature_moments
from langevin_nn.theory.random_features.peaks import FeaturePeak, random_feature_peaks
from langevin_nn.theory.random_features.spectrum import FeatureSpectrum, feature_spectrum
from langevin_nn.theory.suite import THEORIES, Predictions, predict
from langevin_nn.theory.unit_sample import UnitSample

__all__ = [
    "Evidence",
    "EvidenceMaximum",
    "FeatureDecomposition",
    "FeatureMoments",
    "FeaturePeak",
    "FeatureSpectrum",
    "OneLayerSweep",
    "OrderParameterDistribution",
    "Solution",
    "THEORIES",
    "Theory",
    "PredictiveDistribution",
    "Predictions",
    "RandomFeatureError",
    "UnitSample",
    "adaptive",
    "cavity",
    "convolutional",
    "evidence",
    "global_",
    "feature_moments",
    "feature_spectrum",
    "gram_blocks",
    "gram_regression",
    "infinite_width",
    "infinite_width_flow",
    "kernel_flow",
    "matched",
    "maximise_evidence",
    "mean_field",
    "multi_output",
    "nested",
    "nngp",
    "ntk",
    "one_layer",
    "one_layer_nonodd",
    "order_parameter_distribution",
    "patch_gram",
    "predict",
    "predictive_distribution",
    "propagation",
    "random_feature_decomposition",
    "random_feature_error",
    "random_feature_peaks",
    "scale_mixture",
    "support_vectors",
    "width_expansion",
]
