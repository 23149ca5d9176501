"""The decomposed Gram matrix of an ensemble, which ensembles that differ in little share.

K depends on the data, the activation, the depth and the precisions, not on the widths or the
temperature, and it is proportional to 1/λ_L. So of a grid over N, T and λ_L each data set needs one
decomposition.
"""

import hashlib
from typing import Any

import numpy as np

from langevin_nn.config.losses import loss_usage
from langevin_nn.data.dataset import Dataset
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require_ensemble, require_squared
from langevin_nn.theory.kernels.nngp import gram_blocks, gram_key
from langevin_nn.theory.regression.eigenbasis import Regression
from langevin_nn.theory.regression.factorise import decompose

__all__ = ["Decompositions", "decomposed_gram", "gram_regression", "same_units"]

MOST_BYTES = 1e9
"""Memory that a cache of decompositions may take, in bytes."""


def gram_regression(ensemble: Ensemble) -> Regression:
    """The decomposed infinite-width Gram matrix K_L, which most theories start from.

    It is made once, and the ensemble keeps it. An ensemble that `Ensemble.at` has made with other
    widths, temperature and λ_L takes the decomposition of its origin: K ∝ 1/λ_L.

    Raises:
        InputError: inputs or targets that do not fit the ensemble's `spec`, or float64 switched
            off.
        NotApplicable: the package does not know the network's Gram matrix; a loss that is not the
            squared one.

    >>> data = two_points(1.0, -1.0)
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.25,), temperature=1.0)
    >>> gram_regression(Ensemble(linear, data)).eigenvalues  # of I/(λ_0 N_0)
    array([2., 2.])
    """
    require_ensemble(ensemble)
    require_squared(ensemble)
    return decomposed_gram(ensemble)


def decomposed_gram(ensemble: Ensemble) -> Regression:
    """The decomposed Gram matrix of `gram_regression`, whatever the ensemble's loss is.

    Raises as `gram_regression` does, except for the loss.

    >>> data = two_points(1.0, -1.0)
    >>> linear = EnsembleSpec(2, (), None, (0.25,), temperature=1.0, loss="hinge")
    >>> decomposed_gram(Ensemble(linear, data)).eigenvalues
    array([2., 2.])
    """
    require_ensemble(ensemble)
    return ensemble.once(_regression)


def same_units(ensemble: Ensemble) -> Ensemble:
    """The ensemble's origin, where that has the same data and hidden units; else itself.

    It keeps (`Ensemble.once`) what does not depend on the widths, on the temperature and on λ_L.

    >>> data = two_points(1.0, -1.0)
    >>> ensemble = Ensemble(EnsembleSpec(2, (50,), erf, (1.0, 1.0), temperature=0.1), data)
    >>> same_units(ensemble.at(prior_precisions=(1.0, 7.0))) is ensemble
    True
    >>> same_units(ensemble.at(prior_precisions=(7.0, 1.0))) is ensemble
    False
    """
    origin = ensemble.origin
    return ensemble if origin is None or not _has_gram_of(origin, ensemble) else origin


def _regression(ensemble: Ensemble) -> Regression:
    origin = same_units(ensemble)
    if origin is ensemble:
        return decompose(gram_blocks(ensemble), ensemble.data.y_train)
    factor = origin.spec.prior_precisions[-1] / ensemble.spec.prior_precisions[-1]
    return origin.once(_regression).scaled(factor)


def _has_gram_of(origin: Ensemble, ensemble: Ensemble) -> bool:
    """Whether two ensembles have one Gram matrix up to a factor, and the same targets."""
    if gram_key(origin.spec) != gram_key(ensemble.spec):
        return False
    pairs = ((getattr(owner.data, name) for owner in (origin, ensemble)) for name in _ARRAYS)
    return all(first is second or np.array_equal(first, second) for first, second in pairs)


class Decompositions:
    """A cache of decomposed Gram matrices: those asked for last that fit `most_bytes`, or one.

    What theories keep beside them, such as features of hidden units, counts, too.

    >>> data = two_points(1.0, -1.0)
    >>> spec = EnsembleSpec(2, (50,), erf, (1.0, 1.0), temperature=0.1)
    >>> wider = EnsembleSpec(2, (90,), erf, (1.0, 0.5), temperature=0.1)
    >>> kept = Decompositions()
    >>> one, other = (kept.shared(Ensemble(each, data)) for each in (spec, wider))
    >>> gram_regression(other).eigenvalues / gram_regression(one).eigenvalues
    array([2., 2.])
    >>> kept.computed
    1
    """

    def __init__(self, most_bytes: float = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.computed = 0
        self._origins: dict[Any, Ensemble] = {}

    def shared(self, ensemble: Ensemble) -> Ensemble:
        """The ensemble with a decomposition that it shares with those asked for before.

        The decomposition is computed if the cache has none yet. An ensemble that no theory has a
        decomposition for (an unknown Gram matrix, another loss) is returned as it is.
        """
        spec, data = ensemble.spec, ensemble.data
        if spec.layers is None or not loss_usage(spec.loss).is_gaussian:
            return ensemble
        key = _digest(data), gram_key(spec)
        origin = self._origins.pop(key, None)
        if origin is None:
            self.computed += 1
            origin = ensemble
            gram_regression(origin)
        self._origins[key] = origin
        while len(self._origins) > 1 and self._bytes() > self.most_bytes:
            del self._origins[next(iter(self._origins))]
        return Ensemble(spec, data, origin, ensemble.drawn)

    def _bytes(self) -> int:
        return sum(origin.kept_bytes for origin in self._origins.values())


_ARRAYS = ("x_train", "y_train", "x_test")
"""The arrays of a data set that its regression depends on."""


def _digest(data: Dataset) -> bytes:
    digest = hashlib.sha256()
    for array in (getattr(data, name) for name in _ARRAYS):
        digest.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
    return digest.digest()
