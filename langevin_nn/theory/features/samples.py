"""The sample of hidden units of an ensemble, whichever kind its layer is."""

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.features.dense_units import draw_dense_units
from langevin_nn.theory.features.units import NUM_UNITS, Units

__all__ = ["draw_units"]


def draw_units(ensemble: Ensemble, num_units: int = NUM_UNITS) -> Units:
    """The sample of units of an ensemble of one hidden layer.

    Arguments and errors as for `dense_units.draw_dense_units`.

    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=0.1)
    >>> draw_units(Ensemble(spec, data), 1000).num_units
    1024
    """
    return draw_dense_units(ensemble, num_units)
