"""The sample of hidden units of an ensemble, whichever kind its layer is."""

from langevin_nn.footprint import FEWER_UNITS
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.features.dense_units import draw_dense_units
from langevin_nn.theory.features.patch_units import draw_patch_units
from langevin_nn.theory.features.units import NUM_UNITS, Units

__all__ = ["draw_units"]


def draw_units(ensemble: Ensemble, num_units: int | None = None) -> Units:
    """The sample of units of an ensemble of one hidden layer, fully connected or convolutional.

    Args:
        ensemble: the spec and the data.
        num_units: n, rounded up to a power of two, from 64 on; by default 32,768, and a number of
            times fewer for patches, n and at most eight: each unit has so many features.

    Raises:
        InputError: another number of units; an activation that is not finite at some of them.

    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=0.1)
    >>> draw_units(Ensemble(spec, data), 1000).num_units
    1024
    """
    patches = ensemble.spec.patches
    if patches is None:
        return draw_dense_units(ensemble, NUM_UNITS if num_units is None else num_units)
    fewer = NUM_UNITS // min(patches.num_patches, FEWER_UNITS)
    return draw_patch_units(ensemble, fewer if num_units is None else num_units)
