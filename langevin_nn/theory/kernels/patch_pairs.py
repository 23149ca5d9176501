"""Gram matrices of pairs of patches, of which a convolutional layer's are made, in float64.

K_ij(x, x') = κ(C_ij)/λ_1 with C_ij the covariance of the preactivations of patch i of x and patch j
of x' under the same weights (`nngp`; Aiudi et al., arXiv:2307.11807).
"""

import numpy as np
from jaxtyping import Float

from langevin_nn.theory.kernels.layers import host_gram
from langevin_nn.theory.kernels.nngp import Inputs, fields
from langevin_nn.types import EnsembleSpec

__all__ = ["patch_diagonal", "patch_gram"]


def patch_gram(
    spec: EnsembleSpec, x: Inputs, x2: Float[np.ndarray, "P2 N_0"] | None = None
) -> Float[np.ndarray, "n n P P2"]:
    """K_ij(x, x2), the Gram matrices of all pairs of patches (i of x, j of x2), float64.

    K_ij = κ(x_i x2_jᵀ/(λ_0 M) + b_0)/λ_1 (P, P2) for patches x_i (P, M) and x2_j (P2, M) (Aiudi et
    al., arXiv:2307.11807). n = 1 for a fully connected network of one hidden layer. Errors as for
    `nngp`.

    >>> patches = Patches((1, 4, 1), size=1, stride=1)
    >>> spec = EnsembleSpec(4, (9,), identity, (1.0, 0.5), temperature=0.1, patches=patches)
    >>> patch_gram(spec, np.array([[1.0, 2.0, 0.0, 0.0]]))[:2, :2, 0, 0]  # x_i x_j/λ_1
    array([[2., 4.],
           [4., 8.]])
    """
    rows = fields(spec, x)
    columns = rows if x2 is None else fields(spec, x2)
    if x2 is not None:
        return np.array([[host_gram(spec, i[None], j[None]) for j in columns] for i in rows])
    n = len(rows)
    gram = np.empty((n, n, len(x), len(x)))
    for i, j in zip(*np.triu_indices(n), strict=True):
        gram[i, j] = host_gram(spec, rows[i : i + 1], rows[j : j + 1])
        gram[j, i] = gram[i, j].T
    return gram


def patch_diagonal(spec: EnsembleSpec, x: Inputs) -> Float[np.ndarray, "n n P"]:
    """K_ij(x, x) of each input: the diagonals of `patch_gram(spec, x)` without the rest.

    >>> spec = EnsembleSpec(2, (9,), identity, (1.0, 1.0), 0.1, patches=Patches((1, 2, 1), 1, 1))
    >>> patch_diagonal(spec, np.array([[1.0, 2.0]]))[:, :, 0]
    array([[1., 2.],
           [2., 4.]])
    """
    patches = np.moveaxis(fields(spec, x), 1, 0)  # as so many inputs of a dense network each
    grams = [host_gram(spec, image[None], image[None]) for image in patches]
    return np.stack(grams, axis=-1)
