"""Classes and their targets: from labels to the numbers that a network is to say, and back.

One rule for the labels of every source, images and files: `classes` are two or more labels, or
groups of labels, and each example whose label is in one of them has the target of that group;
examples with other labels are left out. Labels are integers, floats, Booleans or text (bytes are
text in UTF-8). A class is the label that it equals; a label of text is also named by a number that
it reads as, "3" by 3 and "true" by true.

Back from outputs to classes there is one rule as well, `is_right`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from langevin_nn.config.fields import CODES
from langevin_nn.types import InputError
from langevin_nn.values import as_number, is_ordered, shown

Groups = tuple[list[Any], ...]
NO_CLASS = -1
"""The place of an example that is in none of the classes."""


@dataclass(frozen=True)
class Labelling:
    """The classes, as groups of labels, and their targets; made by `labelling`."""

    groups: Groups
    targets: Float[np.ndarray, " K *D"]
    code: str = ""

    @property
    def labels(self) -> list[Any]:
        """The labels of all classes."""
        return [label for group in self.groups for label in group]

    @property
    def pair(self) -> tuple[float, float] | None:
        """The targets of the two classes of one output; None with a code, for several outputs."""
        return (float(self.targets[0]), float(self.targets[1])) if not self.code else None

    def words(self, names: Mapping[Any, str] | None = None) -> str:
        """The labelling as text, with labels by their `names`.

        >>> labelling(("cat", "dog"), (-1, 1)).words()
        'cat → −1, dog → +1'
        >>> labelling(((0, 2), (1, 3)), "one_hot").words()
        'one_hot, outputs for {0, 2}, {1, 3}'
        """
        classes = self._classes(names)
        if self.code:
            return f"{self.code}, outputs for {', '.join(classes)}"
        pairs = zip(classes, self.targets, strict=True)
        return ", ".join(f"{name} → {signed(target)}" for name, target in pairs)

    def missing(self, places: Int[np.ndarray, " P"], names: Mapping[Any, str] | None = None) -> str:
        """A remark on classes that no training example is in; empty where there are none.

        >>> labelling(("cat", "dog"), (-1, 1)).missing(np.array([0, 0]))
        '; no training example of dog'
        """
        classes = enumerate(self._classes(names))
        absent = [name for place, name in classes if not np.any(places == place)]
        return f"; no training example of {', '.join(absent)}" if absent else ""

    def _classes(self, names: Mapping[Any, str] | None) -> list[str]:
        names_by_label = names or {}
        groups = [
            [printable(names_by_label.get(label, label)) for label in group]
            for group in self.groups
        ]
        return [labels[0] if len(labels) == 1 else f"{{{', '.join(labels)}}}" for labels in groups]

    def places(self, labels: np.ndarray, where: str) -> Int[np.ndarray, " P"]:
        """The place of each label's group, `NO_CLASS` for none; `where` names the labels in errors.

        Raises `InputError` for values that are no labels, and for a label that two groups name.
        """
        labels = as_labels(labels, where)
        places = np.full(labels.shape, NO_CLASS)
        for place, group in enumerate(self.groups):
            for label in group:
                members = _equal(labels, label)
                if np.any((places[members] != NO_CLASS) & (places[members] != place)):
                    raise InputError(
                        f"classes = {self.groups} name a label of {where} twice, as {label!r} and "
                        "as another: write each label once"
                    )
                places[members] = place
        return places

    def require(self, parts: Sequence[np.ndarray], where: str) -> None:
        """Raise `InputError` for a label that is in none of the `parts`, arrays of labels."""
        checked = [as_labels(part, where) for part in parts]
        present = listed(checked)
        for label in self.labels:
            if not any(_equal(part, label).any() for part in checked):
                raise InputError(
                    f"{where} has the labels {present}, not {label!r}: write classes that are "
                    "there, or leave classes and targets out if y holds the targets themselves"
                )


def printable(label: Any) -> str:
    """A label as text, with characters that would control a terminal written out.

    >>> printable("cat"), printable("a\\x1b[31m")
    ('cat', "'a\\\\x1b[31m'")
    """
    text = str(label)
    return text if text.isprintable() else repr(text)


def labelling(
    classes: Sequence[Any] | np.ndarray, targets: str | Sequence[Any] | np.ndarray
) -> Labelling:
    """The labelling of these classes and targets; `InputError` where they cannot be used."""
    groups = class_groups(classes)
    code = targets if isinstance(targets, str) else ""
    return Labelling(groups, class_targets(targets, len(groups)), code)


def class_groups(classes: Sequence[Any] | np.ndarray) -> Groups:
    """The disjoint groups of labels that are the classes, two or more; else `InputError`."""
    given = _as_python(classes)
    members = given if isinstance(given, list) else []
    groups = [group if isinstance(group, list) else [group] for group in members]
    labels = [label for group in groups for label in group]
    if (
        len(groups) < 2
        or not all(groups)
        or not all(isinstance(label, int | float | str) for label in labels)
        or any(isinstance(label, float) and not math.isfinite(label) for label in labels)
        or len(set(labels)) < sum(len(set(group)) for group in groups)
    ):
        raise InputError(
            "classes must be two or more labels such as (0, 1), or groups that share none such "
            f"as ((0, 2, 4, 6, 8), (1, 3, 5, 7, 9)), got {shown(classes)}"
        )
    return tuple(groups)


def class_targets(
    targets: str | Sequence[Any] | np.ndarray, num_classes: int
) -> Float[np.ndarray, " K *D"]:
    """The target of each class: two numbers (K,), or with D = K outputs the rows of a matrix.

    "one_hot" is 1 for the class and 0 for the others, "centred" is "one_hot" minus 1/D.

    >>> class_targets("centred", 2)
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])
    """
    if isinstance(targets, str):
        if targets not in CODES:
            raise InputError(
                f'targets must be two numbers, "one_hot" or "centred", got {shown(targets)}: '
                'write (-1.0, 1.0) for two classes, "one_hot" for one output for each class'
            )
        one_hot = np.eye(num_classes)
        return one_hot if targets == "one_hot" else one_hot - 1 / num_classes
    if num_classes > 2:
        raise InputError(
            f"{num_classes} classes need one output each, got targets {shown(targets)} for two: "
            'write targets = "one_hot" (or "centred")'
        )
    return np.array(two_targets(targets))


def two_targets(targets: Sequence[Any] | np.ndarray) -> tuple[float, float]:
    """The targets of two classes; `InputError` unless they are two different finite numbers."""
    numbers = [as_number(target) for target in targets] if is_ordered(targets) else []
    first, second = numbers if len(numbers) == 2 else (None, None)
    if first is None or second is None:
        first = second = math.nan
    if first == second or not (math.isfinite(first) and math.isfinite(second)):
        raise InputError(
            f"targets must be two different finite numbers, got {shown(targets)}: write (-1.0, 1.0)"
        )
    return first, second


def as_labels(labels: np.ndarray, where: str) -> np.ndarray:
    """The labels as numbers, Booleans or text, (P,); (P, 1) is taken as (P,).

    Raises `InputError` for values that are no labels.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(
            f"{where} has shape {labels.shape}, and classes are of labels (examples,): give one "
            "label for each example, or leave classes and targets out"
        )
    kind = labels.dtype.kind
    if kind == "S":
        try:
            return np.char.decode(labels, "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{where} has bytes that are no text in UTF-8: save labels as numbers or as text"
            ) from error
    if kind not in "biufU":
        raise InputError(
            f"{where} has labels of type {labels.dtype}: save whole numbers or text, as "
            "labels.astype(str) makes them"
        )
    if kind == "f" and not np.isfinite(labels).all():
        raise InputError(
            f"{where} has labels that are NaN or infinite: leave these examples out of the file"
        )
    return labels


def listed(parts: Sequence[np.ndarray], most: int = 12) -> str:
    """The distinct labels as text, at most the first `most` of them."""
    labels = list(dict.fromkeys(label for part in parts for label in np.unique(part).tolist()))
    names = [repr(label) for label in labels[:most]]
    return ", ".join([*names, "…"] if len(labels) > most else names)


def signed(number: float) -> str:
    """A number as text with its sign, 0 without.

    >>> signed(-1.0), signed(1.0), signed(0.0)
    ('−1', '+1', '0')
    """
    return f"{number:+g}".replace("-", "−") if number else "0"


def is_right(
    outputs: Float[np.ndarray, "..."], targets: Float[np.ndarray, " P *D"], midpoint: float
) -> Bool[np.ndarray, "..."]:
    """Whether outputs (…, P) or (…, P, D) have the class of their targets: every accuracy's rule.

    One output must lie strictly on its target's side of the midpoint. Of several the largest,
    larger than all others, must be the largest of the targets. A tie decides nothing
    and is not right: an output that equals the midpoint, two largest outputs, a target that names
    no class because it is such a tie itself.

    >>> is_right(np.array([0.2, 0.0, -0.1]), np.array([1.0, 1.0, 1.0]), 0.0)
    array([ True, False, False])
    >>> is_right(np.array([[0.2, 0.1], [0.2, 0.2]]), np.array([[1.0, 0.0], [1.0, 0.0]]), 0.0)
    array([ True, False])
    """
    f, y = np.asarray(outputs, np.float64), np.asarray(targets, np.float64)
    if y.ndim == 1:
        return np.sign(f - midpoint) * np.sign(y - midpoint) > 0
    is_target = y == y.max(axis=1, keepdims=True)
    own = np.where(is_target, f, np.inf).min(axis=-1)
    others = np.where(is_target, -np.inf, f).max(axis=-1)
    return (own > others) & (is_target.sum(axis=1) == 1)


def _equal(labels: np.ndarray, label: Any) -> Bool[np.ndarray, " P"]:
    """Whether each of `labels`, as `as_labels` returns them, is the label of a class."""
    is_text = isinstance(label, str)
    if labels.dtype.kind == "U":
        names = {label} if is_text else {str(label), str(label).lower()}
        return np.isin(labels, list(names))
    if labels.dtype.kind == "b" and is_text:
        return labels == (label == "True") if label in ("True", "False") else labels & False
    if is_text:
        return np.zeros(labels.shape, bool)
    return np.asarray(labels == label)


def _as_python(value: Any) -> Any:
    """The value with sequences and arrays as lists, and NumPy's numbers and bytes as Python's."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple | range):
        return [_as_python(item) for item in value]
    return value
