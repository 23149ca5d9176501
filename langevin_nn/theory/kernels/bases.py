"""The kernels of the hidden layers at infinite width, and the bases of their eigenvectors."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.kernels.layers import host_gram
from langevin_nn.theory.kernels.nngp import fields, require_finite
from langevin_nn.types import EnsembleSpec, NotApplicable

__all__ = ["LayerBasis", "layer_bases"]


class LayerBasis(NamedTuple):
    """K_ℓ (P, P) of one hidden layer, and its eigenvectors as columns, the largest first.

    >>> LayerBasis(np.diag([1.0, 2.0]), np.eye(2)[:, ::-1]).vectors[:, 0]
    array([0., 1.])
    """

    gram: Float[np.ndarray, "P P"]
    vectors: Float[np.ndarray, "P P"]


def layer_bases(ensemble: Ensemble) -> list[LayerBasis]:
    """K_1 … K_L of the ensemble at the training inputs, without biases, and their eigenvectors.

    K_ℓ = κ(K_{ℓ−1} + b_{ℓ−1})/λ_ℓ is what Φ_ℓ = σ(hˡ)σ(hˡ)ᵀ/(N_ℓ λ_ℓ) tends to as the widths grow
    (`nngp`). The sign of an eigenvector is arbitrary, and so are those of equal eigenvalues.

    Raises:
        NotApplicable: other than a fully connected network of known layers.
        InputError: inputs that do not fit the spec; float64 is off.

    >>> data = two_points(1.0, -1.0)
    >>> linear = EnsembleSpec(2, (9, 9), identity, (0.5, 1.0, 2.0), temperature=0.1)
    >>> [basis.gram.diagonal() for basis in layer_bases(Ensemble(linear, data))]
    [array([1., 1.]), array([0.5, 0.5])]
    """
    spec = ensemble.spec
    if spec.activation is None or spec.patches is not None or spec.hidden_widths is None:
        raise NotApplicable(
            f"layers are known one by one of fully connected networks, this is {spec.architecture}"
        )
    inputs, bases = fields(spec, ensemble.data.x_train), []
    for depth in range(1, len(spec.hidden_widths) + 1):
        gram = host_gram(_first_layers(spec, depth), inputs, inputs)
        require_finite(f"the Gram matrix of layer {depth}", gram)
        bases.append(LayerBasis(gram, np.linalg.eigh(gram)[1][:, ::-1]))
    return bases


def _first_layers(spec: EnsembleSpec, depth: int) -> EnsembleSpec:
    """The ensemble whose read-out is on the hidden layer number `depth`."""
    biases, layers = spec.bias_precisions, spec.own_layers
    assert spec.hidden_widths is not None, "the caller has checked it"
    return replace(
        spec,
        hidden_widths=spec.hidden_widths[:depth],
        prior_precisions=spec.prior_precisions[: depth + 1],
        bias_precisions=None if biases is None else biases[: depth + 1],
        own_layers=None if layers is None else layers[: depth + 1],
    )
