"""Classes and their targets: from the labels of images to the numbers that a network is to say."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from langevin_nn.types import InputError
from langevin_nn.validation import CODES

Groups = tuple[list[int], ...]


def class_groups(classes: Sequence[Any]) -> Groups:
    """Two or more disjoint groups of class labels, from labels or from groups of them."""
    members = classes if isinstance(classes, Sequence) else ()
    groups = [list(group) if isinstance(group, Sequence) else [group] for group in members]
    labels = [label for group in groups for label in group]
    if (
        len(groups) < 2
        or not all(groups)
        or not all(type(label) is int for label in labels)
        or len(set(labels)) < sum(len(set(group)) for group in groups)
    ):
        raise InputError(
            f"classes must be two or more of 0 to 9 such as (0, 1), or groups that share none such "
            f"as ((0, 2, 4, 6, 8), (1, 3, 5, 7, 9)), got {classes!r}"
        )
    return tuple(groups)


def class_targets(targets: str | Sequence[Any], num_classes: int) -> Float[np.ndarray, " K *D"]:
    """The target of each class: two numbers (K,), or with D = K outputs the rows of a matrix.

    "one_hot" is 1 for the class and 0 for the others, "centred" that minus 1/D.

    >>> class_targets("centred", 2)
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])
    """
    if isinstance(targets, str):
        if targets not in CODES:
            raise InputError(
                f'targets must be two numbers, "one_hot" or "centred", got {targets!r}: '
                'write (-1.0, 1.0) for two classes, "one_hot" for one output for each class'
            )
        one_hot = np.eye(num_classes)
        return one_hot if targets == "one_hot" else one_hot - 1 / num_classes
    if num_classes > 2:
        raise InputError(
            f"{num_classes} classes need one output each, got targets {targets!r} for two: "
            'write targets = "one_hot" (or "centred")'
        )
    return np.array(two_targets(targets))


def targets_of(
    labels: Int[np.ndarray, " P"], groups: Groups, values: Float[np.ndarray, " K *D"]
) -> Float[np.ndarray, " P *D"]:
    """The value of the group that each label is in; the labels are all in one of the groups."""
    return values[np.argmax([np.isin(labels, group) for group in groups], axis=0)]


def two_targets(targets: Sequence[Any]) -> tuple[float, float]:
    """The targets of the two classes if they are two different finite numbers."""
    try:
        first, second = (float(target) for target in targets)
    except (TypeError, ValueError):
        first = second = math.nan
    if first == second or not (math.isfinite(first) and math.isfinite(second)):
        raise InputError(
            f"targets must be two different finite numbers, got {targets!r}: write (-1.0, 1.0)"
        )
    return first, second
