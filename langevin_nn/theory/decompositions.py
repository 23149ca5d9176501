"""The decomposed Gram matrix of an ensemble, and those that are kept for ensembles that share them.

K depends on the data, the activation, the depth and the precisions, not on the widths or the
temperature, and it is proportional to 1/λ_L. So of a grid over N, T and λ_L each data set needs one
decomposition.
"""

import hashlib
from typing import Any

import numpy as np

from langevin_nn.data.load import Dataset
from langevin_nn.theory.applicability import require_task
from langevin_nn.theory.kernels.nngp import Source, gram_blocks, gram_key
from langevin_nn.theory.regression.eigenbasis import Regression
from langevin_nn.theory.regression.factorise import decompose
from langevin_nn.types import EnsembleSpec, InputError, NotApplicable
from langevin_nn.values import require_kind

__all__ = ["Decompositions", "gram_regression"]

MOST_BYTES = 1e9


def gram_regression(
    spec: EnsembleSpec, data: Dataset, regression: Regression | None = None
) -> Regression:
    """The decomposed infinite-width Gram matrix K_L, which most theories start from.

    Args:
        spec: the ensemble.
        data: its training and test examples.
        regression: what this function gave for the same data and an ensemble that differs in
            widths, temperature and λ_L alone: K is not factorised again.

    Raises:
        InputError: inputs or targets that do not fit `spec`, a `regression` of another ensemble or
            other data, or float64 switched off.
        NotApplicable: the package does not know the network's Gram matrix; a loss that is not the
            squared one.

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.data.load import Dataset
    >>> from langevin_nn.types import EnsembleSpec
    >>> data = Dataset("two points", np.eye(2), np.array([1.0, -1.0]), np.eye(2), np.ones(2))
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.25,), temperature=1.0)
    >>> gram_regression(linear, data).eigenvalues  # of I/(λ_0 N_0)
    array([2., 2.])
    """
    require_task(spec, data)
    if regression is not None:
        require_kind("regression", regression, Regression, "gram_regression(spec, data)")
    if spec.loss != "squared":
        raise NotApplicable(
            f"the theories describe the squared loss, this ensemble has {spec.loss}"
        )
    precision = spec.prior_precisions[-1]
    if regression is None:
        made_of = Source(gram_key(spec), precision, data.x_train, data.y_train, data.x_test)
        return decompose(gram_blocks(spec, data), data.y_train, made_of)
    source = regression.source
    if source is None:
        raise InputError(
            "the regression was not made by gram_regression(spec, data), so that it may be of "
            "another ensemble: give that one, or leave it out"
        )
    for name in ("x_train", "y_train", "x_test"):
        own, given = getattr(data, name), getattr(source, name)
        if own is not given and not np.array_equal(own, given):
            raise InputError(
                f"the regression is of other data: its {name} has shape {given.shape}, that of the "
                f"data {own.shape}{' and other values' if own.shape == given.shape else ''}: give "
                "gram_regression(spec, data) of these, or leave it out"
            )
    if source.key != gram_key(spec):
        raise InputError(
            "the regression is of another ensemble (activation, depth, λ_0 … λ_{L−1}, biases, "
            "patches or outputs differ): give gram_regression(spec, data) of this one, or leave it "
            "out"
        )
    return regression.at_precision(precision)


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
        if spec.layers is None or spec.loss != "squared":
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
