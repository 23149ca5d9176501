"""Decomposed Gram matrices kept for the ensembles that share them.

K depends on the data, the activation, the depth and the precisions, not on the widths or the
temperature, and it is proportional to 1/λ_L. So of a grid over N, T and λ_L each data set needs one
decomposition.
"""

import hashlib
from typing import Any

import numpy as np

from langevin_nn.model.datasets import Dataset
from langevin_nn.theory.predictors import gram_key, gram_regression
from langevin_nn.theory.regression import Regression
from langevin_nn.types import EnsembleSpec

MOST_BYTES = 1e9


class Decompositions:
    """The regressions asked for last, as many as fit into `most_bytes`, at least one.

    >>> import dataclasses, jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.model.activations import erf
    >>> data = Dataset("two points", np.eye(2), np.array([1.0, -1.0]), np.eye(2), np.ones(2))
    >>> spec = EnsembleSpec(2, (50,), erf, (1.0, 1.0), temperature=0.1)
    >>> kept = Decompositions()
    >>> wider = dataclasses.replace(spec, hidden_widths=(90,), prior_precisions=(1.0, 0.5))
    >>> kept.regression(wider, data).eigenvalues / kept.regression(spec, data).eigenvalues
    array([2., 2.])
    >>> kept.computed
    1
    """

    def __init__(self, most_bytes: float = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.computed = 0
        self._kept: dict[Any, Regression] = {}

    def regression(self, spec: EnsembleSpec, data: Dataset) -> Regression | None:
        """`gram_regression(spec, data)` up to rounding; None where it does not apply."""
        if spec.hidden_widths is None or spec.loss != "squared":
            return None
        key = _digest(data), gram_key(spec)
        found = self._kept.pop(key, None)
        if found is None:
            self.computed += 1
            found = gram_regression(spec, data)
        self._kept[key] = found
        while len(self._kept) > 1 and self._bytes() > self.most_bytes:
            del self._kept[next(iter(self._kept))]
        return gram_regression(spec, data, found)

    def _bytes(self) -> int:
        arrays = (value for each in self._kept.values() for value in vars(each).values())
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


def _digest(data: Dataset) -> bytes:
    """Of all that K and its regression depend on."""
    digest = hashlib.sha256()
    for array in (data.x_train, data.y_train, data.x_test):
        digest.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
    return digest.digest()
