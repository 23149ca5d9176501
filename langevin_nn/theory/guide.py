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

__all__ = ["GUIDE", "MAPS", "TOLERANCE", "Range", "guidance"]

MAPS = "MNIST 0/1, erf, P = 50, T = 0.1"
"""What the maps are of."""
TOLERANCE = 5.0
"""The per cent within which the cheapest theory of a range is named."""


class Range(NamedTuple):
    """A range of N_1/P and one of s, from the first number on and below the second.

    `off` has the theories, the cheapest first, with the median and the largest of their deviations
    in per cent at its `points`.
    """

    ratio: tuple[float, float]
    criterion: tuple[float, float]
    points: int
    off: tuple[tuple[str, float, float], ...]

    def holds(self, ratio: float, criterion: float) -> bool:
        """Whether N_1/P and s are in the range.

        >>> Range((1.0, 2.0), (0.0, 1.0), 4, ()).holds(1.0, 0.3)
        True
        """
        return (
            self.ratio[0] <= ratio < self.ratio[1]
            and self.criterion[0] <= criterion < self.criterion[1]
        )

    @property
    def nearest(self) -> tuple[str, float, float]:
        """The theory whose largest deviation is the smallest one."""
        return min(self.off, key=lambda theory: theory[2])

    @property
    def cheapest(self) -> tuple[str, float, float] | None:
        """The cheapest theory that is within `TOLERANCE` at all points; None where none is."""
        return next((theory for theory in self.off if theory[2] <= TOLERANCE), None)


GUIDE: tuple[Range, ...] = ()
"""The ranges of the maps, as `python -m experiments.validity_map` prints them."""


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
    text = f"at N_1/P = {ratio:.2g} and s = {criterion:.2g}: {_words(*here.nearest)}"
    if here.cheapest not in (None, here.nearest):
        text += f"; cheaper, {_words(*here.cheapest)}"
    return f"{text} ({here.points} points; {MAPS})"


def _words(name: str, median: float, worst: float) -> str:
    return f"{name} was {median:.2g} % off, {worst:.2g} % at most"
