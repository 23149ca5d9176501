"""Which theory was right where: what maps of tasks measured, said of an ensemble like theirs.

The maps are those of `experiments/validity_map`: one hidden layer, fully connected, over N_1 and
λ_1, held against the exact sampler. Their points are put into ranges of N_1/P and of
s = yᵀK⁻¹y/P, and of each theory that has converged at all points of a range the median and the
largest of |experiment/theory − 1| are kept, the larger one of bias² and variance at each point.
"""

import math
from typing import NamedTuple

from langevin_nn.config.losses import loss_usage
from langevin_nn.model.ensemble import Ensemble

__all__ = ["GUIDE", "MAPS", "TOLERANCE", "Off", "Range", "guidance"]

MAPS = "MNIST 0/1 and CIFAR-10 0/1, erf, P = 50, T = 0.1"
"""What the maps are of."""
TOLERANCE = 5.0
"""The per cent within which the cheapest theory of a range is named."""


class Off(NamedTuple):
    """A theory, and the median and the largest of its deviations at the points, in per cent.

    >>> Off("matched", 0.1, 0.2).worst
    0.2
    """

    theory: str
    median: float
    worst: float


class Range(NamedTuple):
    """A range of N_1/P and one of s, from the first number on and below the second.

    Of the theories that have converged at all of its `points`, `nearest` is that whose largest
    deviation is the smallest, `cheapest` the cheapest one within `TOLERANCE`, if there is one.

    >>> Range((1.0, 2.0), (0.0, 1.0), 4, Off("matched", 0.1, 0.2), None).holds(1.0, 0.3)
    True
    """

    ratio: tuple[float, float]
    criterion: tuple[float, float]
    points: int
    nearest: Off
    cheapest: Off | None

    def holds(self, ratio: float, criterion: float) -> bool:
        """Whether N_1/P and s are in the range."""
        return (
            self.ratio[0] <= ratio < self.ratio[1]
            and self.criterion[0] <= criterion < self.criterion[1]
        )


GUIDE: tuple[Range, ...] = (
    Range((0, 0.3), (0, 1), 4, Off("matched", 23.0, 31.0),
          None),
    Range((0, 0.3), (1, 10), 3, Off("matched", 15.0, 27.0),
          None),
    Range((0, 0.3), (10, math.inf), 3, Off("one_layer", 4.0, 22.0),
          None),
    Range((0.3, 1), (0, 1), 4, Off("matched", 9.3, 17.0),
          None),
    Range((0.3, 1), (1, 10), 3, Off("matched", 4.1, 10.0),
          None),
    Range((0.3, 1), (10, math.inf), 3, Off("propagation", 2.3, 7.1),
          None),
    Range((1, 2), (0, 1), 4, Off("propagation", 0.47, 0.77),
          Off("matched", 1.2, 1.9)),
    Range((1, 2), (1, 10), 3, Off("propagation", 0.18, 0.32),
          Off("matched", 1.3, 3.4)),
    Range((1, 2), (10, math.inf), 3, Off("propagation", 0.2, 0.39),
          Off("cavity", 2.9, 5.0)),
    Range((2, 10), (0, 1), 7, Off("propagation", 0.15, 0.34),
          Off("one_layer", 1.7, 3.8)),
    Range((2, 10), (1, 10), 5, Off("propagation", 0.072, 0.41),
          Off("one_layer", 2.8, 4.7)),
    Range((2, 10), (10, math.inf), 4, Off("propagation", 0.035, 0.13),
          Off("matched", 0.9, 4.1)),
    Range((10, math.inf), (0, 1), 3, Off("cavity", 0.11, 0.18),
          Off("one_layer", 0.8, 0.83)),
    Range((10, math.inf), (1, 10), 2, Off("matched", 0.094, 0.098),
          Off("one_layer", 1.0, 1.3)),
    Range((10, math.inf), (10, math.inf), 1, Off("propagation", 0.11, 0.11),
          Off("one_layer", 2.4, 2.4)),
)  # fmt: skip
"""The ranges of the maps, as `python -m experiments.validity_map --draw` prints them."""


def guidance(ensemble: Ensemble, criterion: float | None) -> str:
    """Which theory was right on the maps at this N_1/P and s = `criterion`, in a line; else "".

    Networks that are not like those of the maps have none: deep or convolutional ones, several
    outputs, biases, other losses, T = 0, and places where the maps have no points.

    >>> spec = EnsembleSpec(2, (50, 50), erf, (1.0, 1.0, 1.0), temperature=0.1)
    >>> guidance(Ensemble(spec, two_points(1.0, -1.0)), 0.5)
    ''
    """
    spec = ensemble.spec
    widths = spec.hidden_widths or ()
    is_like_theirs = (
        len(widths) == 1 and spec.patches is None and spec.own_layers is None
        and spec.num_outputs == 1 and spec.bias_precisions is None and spec.temperature > 0
        and loss_usage(spec.loss).is_gaussian
    )  # fmt: skip
    if not is_like_theirs or criterion is None or not math.isfinite(criterion):
        return ""
    ratio = widths[0] / ensemble.data.num_train
    here = next((place for place in GUIDE if place.holds(ratio, criterion)), None)
    if here is None:
        return ""
    text = f"at N_1/P = {ratio:.2g} and s = {criterion:.2g}: {_words(here.nearest)}"
    if here.cheapest is None:
        text += f"; none was within {TOLERANCE:g} % at all points: try adaptive"
    elif here.cheapest != here.nearest:
        text += f"; cheaper, {_words(here.cheapest)}"
    return f"{text} ({here.points} points; {MAPS})"


def _words(off: Off) -> str:
    return f"{off.theory} was {off.median:.2g} % off, {off.worst:.2g} % at most"
