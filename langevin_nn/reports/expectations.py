"""What the theories of a grid say that is not sampled, in sentences made from their numbers.

Where infinite width is among the theories, each of the others is held against it in bias² and
variance: its largest deviation theory/(infinite width) − 1 over the grid, and where that is.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from langevin_nn.display import counted
from langevin_nn.reports.formats import number, per_cent
from langevin_nn.reports.sentences import COMPARED, NAMES, listed
from langevin_nn.theory.suite import THEORIES

SAME = 1e-9
"""The relative deviation up to which two theories have the same number."""


def of_theories(results: xr.Dataset, places: Sequence[str]) -> list[str]:
    """The theories' numbers over a grid in sentences, one or two for each theory.

    `places` are the points' places in words, in C order. Points where a theory, or infinite width,
    has no converged number do not count.
    """
    names = [str(name) for name in results["theory"].to_numpy()]
    limits = (name for name in names if getattr(THEORIES.get(name), "is_limit", False))
    limit = next(limits, None)
    others = [name for name in names if name != limit]
    if limit is None or not others:
        return [text for name in names if (text := _range(results, name, places))]
    sentences = []
    for name in others:
        numbers = {key: (_of(results, key, name), _of(results, key, limit)) for key in COMPARED}
        if text := _distance(name, limit, numbers, places):
            sentences.append(text)
        for key, (values, _) in numbers.items():
            if below := int((values < 0).sum()):
                where = counted(below, "points")
                sentences.append(f"{name} is negative in {NAMES[key]} at {where}.")
    return sentences


def _of(results: xr.Dataset, key: str, theory: str) -> np.ndarray:
    """A theory's number at each point, (points,); NaN where it has not converged."""
    numbers = results[f"theory_{key}"].where(results["theory_converged"].astype(bool))
    axes = results["status"].dims
    values: np.ndarray = numbers.sel(theory=theory).transpose(*axes).to_numpy().ravel()
    return values


def _distance(
    name: str,
    limit: str,
    numbers: dict[str, tuple[np.ndarray, np.ndarray]],
    places: Sequence[str],
) -> str:
    """How far a theory is from infinite width at most, and where; empty where nothing is known."""
    parts, usable = [], 0
    for key, (values, reference) in numbers.items():
        relative = values / np.where(reference > 0, reference, np.nan) - 1
        known = np.isfinite(relative)
        usable = max(usable, int(known.sum()))
        if not known.any():
            continue
        worst = int(np.nanargmax(abs(relative)))
        if abs(relative[worst]) <= SAME:
            parts.append(f"not at all in {NAMES[key]}")
        else:
            amount = per_cent(float(relative[worst]))
            parts.append(f"by {amount} at most in {NAMES[key]} ({places[worst]})")
    if not parts:
        return ""
    over = counted(usable, "points")
    return f"{name} differs from {limit}, over {over}, {listed(parts)}."


def _range(results: xr.Dataset, name: str, places: Sequence[str]) -> str:
    """Between which numbers a theory lies over the grid; empty where none is known."""
    parts = []
    for key in COMPARED:
        values = _of(results, key, name)
        if not np.isfinite(values).any():
            continue
        ends = [int(np.nanargmin(values)), int(np.nanargmax(values))]
        low, high = (f"{number(float(values[end]), '.4g')} ({places[end]})" for end in ends)
        parts.append(
            f"{NAMES[key]} from {low} to {high}" if values[ends[0]] != values[ends[1]]
            else f"{NAMES[key]} {low.partition(' (')[0]}"
        )  # fmt: skip
    return f"{name} has {listed(parts)}." if parts else ""
