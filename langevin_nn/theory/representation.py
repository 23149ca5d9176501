"""What theories say of a network's representation: the mean kernels of its layers, and Q.

Let the features of the N_1 hidden units be Gaussian, φ_i/√λ_1 ~ N(0, K) (P,) each, as they are for
identity σ. By partial integration over them, with p(y) the evidence as a function of K,

    E[Φ | y] = K + (2/N_1) K ∂log p(y)/∂K K,        Φ = Σ_i φ_iφ_iᵀ/(N_1 λ_1).

At one scale Q, ∂ log p/∂K = ½ Q (a aᵀ − A⁻¹) with A = T + Q K and a = A⁻¹y: the kernel grows along
the predictions Q K a, by a part of order 1/N_1 for labels of order one. It is not Q K, which is the
covariance of f given the read-out: Q is |v|².

Φ fluctuates, so that E Tr Φ² is more than Tr E[Φ]²: for N_1 independent Gaussian units by
((Tr K)² + Tr K²)/N_1, which is taken for those of the posterior too, whatever has been learnt.

Where units follow distributions of their own, `features.mean_kernels` has the same.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.representations import KernelNumbers, Representation, kernel_numbers
from langevin_nn.theory.covariance import OutputCovariance
from langevin_nn.theory.kernels.bases import layer_bases
from langevin_nn.types import Estimate

__all__ = ["MeanKernels", "by_the_evidence", "numbers_of", "of_infinite_width"]


class MeanKernels(NamedTuple):
    """E[Φ_ℓ] (P, P) of the hidden layers, none where they are not known, and E[Q] (D, D) or None.

    `squares` are E[Tr Φ_ℓ²]. Made by `of_infinite_width`, `by_the_evidence` and, of
    sampled units, `features.mean_kernels`.
    """

    layers: tuple[Float[np.ndarray, "P P"], ...]
    squares: tuple[float, ...]
    order: Float[np.ndarray, "D D"] | None


def of_infinite_width(ensemble: Ensemble) -> MeanKernels:
    """The kernels of the prior: K_1 … K_L, and Q = 1.

    Raises: as `layer_bases`.

    >>> data = two_points(1.0, -1.0)
    >>> linear = EnsembleSpec(2, (9,), identity, (0.5, 1.0), temperature=0.1)  # K = I
    >>> of_infinite_width(Ensemble(linear, data)).layers[0].diagonal()
    array([1., 1.])
    """
    layers = tuple(basis.gram for basis in layer_bases(ensemble))
    squares = tuple(float(np.sum(gram**2)) for gram in layers)
    return MeanKernels(layers, squares, np.eye(ensemble.spec.num_outputs))


def by_the_evidence(
    ensemble: Ensemble,
    covariance: Callable[[], OutputCovariance],
    order: Float[np.ndarray, "D D"],
) -> MeanKernels:
    """E[Φ] = K + (2/N_1) K ∂log p(y)/∂K K of one hidden layer of Gaussian units, and Q = `order`.

    `covariance` makes the evidence's derivative. Of several layers Q alone is known: that of the
    read-out. Raises what `covariance` raises.

    With K = I, Q = 1, T = 1 and y = (1, 0), ∂ log p/∂K = −diag(1, 2)/8:

    >>> from langevin_nn.theory.covariance import at_scales
    >>> from langevin_nn.theory.ensemble import gram_regression
    >>> spec = EnsembleSpec(2, (4,), identity, (0.5, 1.0), temperature=1.0)
    >>> ensemble = Ensemble(spec, two_points(1.0, 0.0))
    >>> outputs = [gram_regression(ensemble)]
    >>> made = lambda: at_scales(ensemble, outputs, np.ones(1))
    >>> by_the_evidence(ensemble, made, np.eye(1)).layers[0].diagonal()
    array([0.9375, 0.875 ])
    """
    widths = ensemble.spec.hidden_widths or ()
    if len(widths) != 1:
        return MeanKernels((), (), order)
    (basis,), of_gram = layer_bases(ensemble), covariance().sensitivity.of_gram
    prior = basis.gram
    gram = prior + 2 / widths[0] * prior @ of_gram @ prior
    scatter = (np.trace(prior) ** 2 + np.sum(prior**2)) / widths[0]
    return MeanKernels((gram,), (float(np.sum(gram**2) + scatter),), order)


def numbers_of(kernels: MeanKernels, ensemble: Ensemble, names: Iterable[str]) -> Representation:
    """The measures of these kernels; `names` are some of "kernel" and "order_parameter".

    >>> data = two_points(1.0, -1.0)
    >>> linear = EnsembleSpec(2, (9,), identity, (0.5, 1.0), temperature=0.1)  # K = I
    >>> ensemble = Ensemble(linear, data)
    >>> numbers_of(of_infinite_width(ensemble), ensemble, ["order_parameter"]).order_parameter
    ((1,),)
    """
    numbers: tuple[KernelNumbers, ...] = ()
    rows: tuple[tuple[Estimate, ...], ...] = ()
    if "kernel" in names:
        y, bases = ensemble.data.y_train, layer_bases(ensemble)
        labels = y[:, None] if y.ndim == 1 else y
        numbers = tuple(
            kernel_numbers(gram, square, labels, basis.vectors)
            for gram, square, basis in zip(kernels.layers, kernels.squares, bases, strict=False)
        )
    if "order_parameter" in names and kernels.order is not None:
        rows = tuple(tuple(Estimate(float(entry)) for entry in row) for row in kernels.order)
    return Representation(kernel=numbers, order_parameter=rows)
