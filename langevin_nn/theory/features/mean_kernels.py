"""What a theory whose hidden units follow a distribution p of their own says of a layer.

E[Φ] is E_p[φφᵀ], and with the read-out's law given φ (`response`),
v ~ N(s/√N_1, (1 + q)⁻¹), Q is E_p[(1 + q)⁻¹ + s sᵀ/N_1].
E Tr Φ² is (1 − 1/N_1) Tr E[Φ]² + E_p|φ|⁴/N_1.
"""

from functools import partial
from typing import Any

import numpy as np

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.features.dense_units import draw_dense_units
from langevin_nn.theory.features.response import Response
from langevin_nn.theory.representation import MeanKernels
from langevin_nn.theory.unit_sample import UnitSample

__all__ = ["of_units", "said_by_units", "sample_of"]


def said_by_units(ensemble: Ensemble, response: Response) -> dict[str, Any]:
    """What a `Solution` has of its units: its `kernels`, and `units` of a fully connected layer.

    >>> from langevin_nn.theory.features.response import response_of
    >>> spec = EnsembleSpec(2, (4,), identity, (0.5, 1.0), temperature=1.0)
    >>> ensemble = Ensemble(spec, two_points(1.0, 0.0))
    >>> sorted(said_by_units(ensemble, response_of(0.0, np.zeros(64), 4)))
    ['kernels', 'units']
    """
    said: dict[str, Any] = {"kernels": partial(of_units, ensemble, response)}
    if ensemble.spec.patches is None:
        said["units"] = partial(sample_of, ensemble, response)
    return said


def of_units(ensemble: Ensemble, response: Response) -> MeanKernels:
    """E_p[φφᵀ] and E_p[(1 + q)⁻¹ + s sᵀ/N_1] of a weighted sample of units.

    Those of a convolutional layer are not known. Units that follow the prior have K, exactly:

    >>> from langevin_nn.theory.features.response import response_of
    >>> spec = EnsembleSpec(2, (4,), identity, (0.5, 1.0), temperature=1.0)  # K = I
    >>> kernels = of_units(Ensemble(spec, two_points(1.0, 0.0)), response_of(0.0, np.zeros(64), 4))
    >>> abs(kernels.layers[0]).round(9), kernels.order
    (array([[1., 0.],
           [0., 1.]]), array([[1.]]))
    """
    if ensemble.spec.patches is not None:
        return MeanKernels((), (), None)
    (width,) = ensemble.spec.hidden_widths or ()
    units = draw_dense_units(ensemble, len(response.weights))
    order = response.known + np.sum(response.square, axis=0)
    gram = units.second_moment(response.weights, 1.0)
    fourth = response.weights @ np.sum(units.features**2, axis=1) ** 2
    square = (1 - 1 / width) * np.sum(gram**2) + fourth / width
    return MeanKernels((gram,), (float(square),), order)


def sample_of(ensemble: Ensemble, response: Response) -> UnitSample:
    """The units of a weighted sample, as `draw_dense_units` draws them.

    Units that follow the prior have the same weights:

    >>> from langevin_nn.theory.features.response import response_of
    >>> spec = EnsembleSpec(2, (4,), identity, (0.5, 1.0), temperature=1.0)  # C = I
    >>> units = sample_of(Ensemble(spec, two_points(1.0, 0.0)), response_of(0.0, np.zeros(64), 4))
    >>> units.preactivations.shape, units.covariance.round(9) + 0, round(units.effective_size)
    ((64, 2), array([[1., 0.],
           [0., 1.]]), 64)
    """
    units = draw_dense_units(ensemble, len(response.weights))
    covariance = units.inputs @ units.inputs.T
    return UnitSample(units.preactivations(), response.weights, covariance)
