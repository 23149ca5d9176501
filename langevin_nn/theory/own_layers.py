"""The layers that a network of the user's own says, held against networks drawn from the prior."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.model.networks.base import Network
from langevin_nn.theory.kernels.nngp import nngp
from langevin_nn.types import EnsembleSpec, InputError, NotApplicable

__all__ = ["NUM_DRAWS", "NUM_INPUTS", "require_agreement", "require_own_layers"]

NUM_DRAWS, NUM_INPUTS = 12, 3
"""Networks that are drawn from the prior, and the inputs that they are looked at."""
TOLERANCE, STANDARD_ERRORS = 0.15, 8.0
"""The deviation of a Gram matrix that is none: of finite widths, and of so few draws."""
WIDE = 300
"""The width of layers of which `NUM_DRAWS` networks are enough; of narrower ones more are drawn."""
LEAST_WIDTH = 20
"""The width below which several layers are too far from their limit to be held against it."""

_agreeing: set[Any] = set()
"""The identities of networks that this process has found to agree with their layers."""


def require_own_layers(ensemble: Ensemble) -> None:
    """Raise `InputError` where the layers of a network of the user's own are another network's.

    An ensemble of `posterior.ensemble` knows what networks of that class, drawn from the prior,
    have as Gram matrix. One that was made of a spec is taken at its word.

    >>> data = two_points(1.0, -1.0)
    >>> require_own_layers(Ensemble(EnsembleSpec(2, (50,), erf, (1.0, 1.0), 0.1), data))
    """
    for source in (ensemble, ensemble.origin):
        if source is not None and source.drawn is not None:
            source.once(_agreement)


def _agreement(ensemble: Ensemble) -> bool:
    drawn, spec = ensemble.drawn, ensemble.spec
    if drawn is not None and drawn.identity in _agreeing:
        return True
    widths = spec.hidden_widths or ()
    assert drawn is not None
    narrowest = min(widths, default=WIDE)
    if len(widths) > 1 and narrowest < LEAST_WIDTH:
        return False
    number = NUM_DRAWS * -(-WIDE // min(narrowest, WIDE))
    places = np.linspace(0, ensemble.data.num_train - 1, NUM_INPUTS).astype(int)
    require_agreement(drawn.kind, spec, ensemble.data.x_train[places], drawn.grams(places, number))
    _agreeing.add(drawn.identity)
    return True


def require_agreement(
    kind: type[Network],
    spec: EnsembleSpec,
    x: Float[np.ndarray, "P N_0"],
    grams: Float[np.ndarray, "draws P P"],
) -> None:
    """Raise `InputError` where the mean of drawn Gram matrices at `x` is not that of the layers.

    Layers whose Gram matrix the package does not know are not looked at.

    >>> spec, x = EnsembleSpec(2, (50,), erf, (1.0, 1.0), 0.1), np.sqrt(2) * np.eye(2)
    >>> grams = nngp(spec, x) + 0.01 * np.array([-1.0, 1.0])[:, None, None]
    >>> require_agreement(lnn.FullyConnected, spec, x, grams)
    >>> require_agreement(lnn.FullyConnected, spec, x, 2 * grams)
    Traceback (most recent call last):
    langevin_nn.errors.InputError: the layers of FullyConnected are another network's: E[f(x)f(x')] is 0.465 by them, and 0.929 by the features of random networks: write what features(x) does in layers, or def layers(self) that returns None
    """  # noqa: E501
    try:
        expected = np.asarray(nngp(spec, x))
    except NotApplicable:
        return
    mean, error = grams.mean(axis=0), grams.std(axis=0, ddof=1) / math.sqrt(len(grams))
    size: Any = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    excess = np.nan_to_num(np.abs(mean - expected) - TOLERANCE * size - STANDARD_ERRORS * error)
    if np.max(excess) > 0:
        i, j = np.unravel_index(np.argmax(excess), excess.shape)
        raise InputError(
            f"the layers of {kind.__name__} are another network's: E[f(x)f(x')] is "
            f"{expected[i, j]:.3g} by them, and {mean[i, j]:.3g} by the features of random "
            "networks: write what features(x) does in layers, or def layers(self) that returns None"
        )
