"""What the points of a sweep record of their networks' representation, as arrays over the grid.

`kernel_alignment` and the other numbers of the hidden layers' kernels (`representations.SERIES`)
have the dimension `layer`, the spectrum `mode` too, and `mean_order_parameter` is E[Q] of the
read-out, of networks with one output. Each has its standard error `…_mcse`, and
`theory_kernel_alignment` and the like have `theory` before these dimensions.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from langevin_nn.representations import MEASURES, Representation
from langevin_nn.runs.summary import Summary
from langevin_nn.types import Estimate

SPECTRUM = "spectrum"
EXPERIMENT = "experiment"
"""The name of the sampled representation among those of a summary."""


class Variable(NamedTuple):
    """A variable of a sweep's results: its name, further dimensions, and its values."""

    name: str
    sizes: dict[str, int]
    values: np.ndarray


def representation_variables(
    summaries: Sequence[Summary | object | None], theories: Sequence[str]
) -> Iterator[Variable]:
    """The variables of the representation, of the points in C order; none where none recorded it.

    Points that have recorded nothing, and what a theory does not say, are NaN.
    """
    said = [_said(summary) for summary in summaries]
    every = [each for of_point in said for each in of_point.values()]
    layers = max((len(each.kernel) for each in every), default=0)
    modes = max((len(layer.spectrum) for each in every for layer in each.kernel), default=0)
    sizes: dict[str, dict[str, int]] = {}
    if layers:
        sizes |= {f"kernel_{name}": {"layer": layers} for name in MEASURES}
        sizes[f"kernel_{SPECTRUM}"] = {"layer": layers, "mode": modes}
    if any(len(each.order_parameter) == 1 for each in every):
        sizes["mean_order_parameter"] = {}
    for name, extra in sizes.items():
        shape = tuple(extra.values())
        sampled = [_numbers(of_point.get(EXPERIMENT), name, shape) for of_point in said]
        for suffix, values in zip(("", "_mcse"), np.moveaxis(np.array(sampled), 1, 0), strict=True):
            yield Variable(f"{name}{suffix}", extra, values)
        by_theory = [
            [_numbers(of_point.get(theory), name, shape)[0] for theory in theories]
            for of_point in said
        ]
        theory_sizes = {"theory": len(theories), **extra}
        yield Variable(f"theory_{name}", theory_sizes, np.array(by_theory))


def _said(summary: Summary | object | None) -> Mapping[str, Representation]:
    return (isinstance(summary, Summary) and summary.representation) or {}


def _numbers(
    said: Representation | None, name: str, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Values and standard errors of the numbers of this name, of this shape, filled with NaN."""
    values, errors = np.full(shape, np.nan), np.full(shape, np.nan)
    for place, estimate in _estimates(said, name):
        values[place], errors[place] = estimate.value, estimate.mcse
    return values, errors


def _estimates(
    said: Representation | None, name: str
) -> Iterator[tuple[tuple[int, ...], Estimate]]:
    if said is None:
        return
    if name == "mean_order_parameter":
        if len(said.order_parameter) == 1:
            yield (), said.order_parameter[0][0]
        return
    for layer, kernel in enumerate(said.kernel):
        number = getattr(kernel, name.removeprefix("kernel_"))
        if isinstance(number, Estimate):
            yield (layer,), number
        else:
            yield from (((layer, mode), each) for mode, each in enumerate(number))
