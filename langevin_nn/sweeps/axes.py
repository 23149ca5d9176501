"""Axes of a grid: a field of the configuration, or one entry of a list, with its values.

`posterior.temperature` is an axis, and so is `prior.precisions[-1]`. This module imports no JAX.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langevin_nn import config as configuration
from langevin_nn.config.architectures import layer_names
from langevin_nn.config.fields import Kind
from langevin_nn.config.other_names import nearest_field
from langevin_nn.config.record import NetworkConfig, RunConfig
from langevin_nn.config.sections import DEFAULT_CLASSES, DEFAULT_TARGETS
from langevin_nn.errors import InputError
from langevin_nn.import_paths import is_import_path
from langevin_nn.values import shown


@dataclass(frozen=True)
class Axis:
    """A field of the configuration, or the entry `index` of one that is a list, and its values."""

    field: str
    index: int | None
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The axis as it is written: a field, or one entry of it, `prior.precisions[-1]`."""
        return self.field if self.index is None else f"{self.field}[{self.index}]"

    @property
    def dimension(self) -> str:
        """The axis as a dimension of the results, where `theory` is that of the predictions."""
        return "theories" if self.name == "theory" else self.name

    def put(self, values: dict[str, Any], value: Any) -> None:
        """Put the value at the axis's field into a configuration's nested values."""
        *section, key = self.field.split(".")
        table = values.setdefault(section[0], {}) if section else values
        if self.index is None:
            table[key] = value
            return
        given = table.get(key) or _list_default(self.field) or ()
        if not isinstance(given, list | tuple):
            raise InputError(
                f"{self.name} is one entry of a list, got {self.field} = {shown(given)}: write a "
                f"list, or sweep over {self.field}"
            )
        network, advice = values.get("network", {}), ""
        if not given and section == ["prior"]:  # precisions that were left out
            if not isinstance(network, dict):
                return  # a configuration that is refused for it
            given = [1.0] * len(layer_names(_hidden_widths(network)))
            if is_import_path(architecture := network.get("architecture")):
                advice = f": write {key} under [prior], one for each layer of {architecture}"
        entries = list(given)
        if not -len(entries) <= self.index < len(entries):
            raise InputError(
                f"{self.name} is out of range: {self.field} = {entries} has {len(entries)} "
                f"entries, [0] to [{len(entries) - 1}] or [-{len(entries)}] to [-1]{advice}"
            )
        entries[self.index] = value
        table[key] = entries

    def of(self, config: RunConfig) -> Any:
        """The value that the configuration has at the axis's field."""
        value: Any = config
        for part in self.field.split("."):
            value = getattr(value, part)
        return value if self.index is None else value[self.index]


def axis_of(name: str, listed: Any, folder: Path | None = None) -> Axis:
    """The axis of that name; a relative `data.path` is looked for in `folder` first.

    Raises `InputError` for what is no field, and for values that it does not take.
    """
    field, index = _field_and_index(name)
    listed = listed.tolist() if hasattr(listed, "tolist") else listed
    if isinstance(listed, str | Mapping) or not isinstance(listed, Sequence):
        raise InputError(f"a sweep over {name} takes a list of values, got {listed!r}")
    if not listed:
        raise InputError(f"a sweep over {name} has no values: write at least one")
    values = [as_toml(value) for value in listed]
    if field == "data.path" and folder is not None:
        values = [
            configuration.located(path, folder) if isinstance(path, str) else path
            for path in values
        ]
    if index is None:
        values = [kind_of(field).check(field, value) for value in values]
    return Axis(field, index, tuple(values))


def over_of(words: Sequence[str]) -> dict[str, list[Any]]:
    """The values of each axis by its field, from the command line's words `FIELD=VALUES`.

    >>> over_of(["network.hidden_widths=[50],[100, 100]", "prior.precisions[-1]=0.1,1"])
    {'network.hidden_widths': [[50], [100, 100]], 'prior.precisions[-1]': [0.1, 1]}
    """
    axes: dict[str, list[Any]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.strip():
            raise InputError(
                f"--over {word}: write FIELD=VALUES, for example --over posterior.temperature=0.1,1"
            )
        name = normal(name)
        if name in axes:
            raise InputError(f"--over {name} is given twice: write all its values in one")
        axes[name] = [_value(name, part) for part in _split(name, text)]
    return axes


def label(value: Any) -> Any:
    """A value of an axis as a coordinate: a number or a word; a list becomes its text."""
    return json.dumps(as_toml(value)) if isinstance(value, tuple) else value


def place(axes: Sequence[Axis], values: Sequence[Any]) -> str:
    """A point's place in words, from its value on each axis: `prior.precisions[-1] = 0.1`."""
    pairs = zip(axes, values, strict=True)
    return ", ".join(f"{axis.name} = {label(value)}" for axis, value in pairs)


def as_toml(value: Any) -> Any:
    """The value as TOML has it: tuples become lists, NumPy's numbers become Python's."""
    if isinstance(value, tuple | list):
        return [as_toml(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def normal(name: str) -> str:
    """The axis's name in the form that is kept. Raises `InputError` for what is no field."""
    field, index = _field_and_index(name)
    return field if index is None else f"{field}[{index}]"


def _field_and_index(name: str) -> tuple[str, int | None]:
    """`prior.precisions[-1]` as field and index. Raises `InputError` for what is no field."""
    match = re.fullmatch(r"\s*([\w.-]+?)\s*(?:\[\s*(-?\d{1,9})\s*\])?\s*", name)
    field = (match[1] if match else name.partition("[")[0]).strip().replace("-", "_")
    fields = configuration.options()
    if field not in fields:
        hint = nearest_field(field, tuple(fields)) or "; the fields are " + ", ".join(fields)
        raise InputError(f'a sweep over an unknown field "{field}"{hint}')
    if match is None:
        raise InputError(f'"{name}" is not a field or one entry of it: write {field}[-1]')
    if match[2] is not None and _list_default(field) is None:
        raise InputError(f"{field} is not a list, {name} has an index: write {field}")
    return field, None if match[2] is None else int(match[2])


def _list_default(field: str) -> tuple[Any, ...] | None:
    """The entries of a list that was not given; None for a field that has no entries."""
    defaults = {"data.classes": DEFAULT_CLASSES, "data.targets": DEFAULT_TARGETS}
    default = defaults.get(field, configuration.options()[field].default)
    return default if isinstance(default, tuple) else None


def _hidden_widths(network: Mapping[str, Any]) -> tuple[int, ...]:
    """The hidden widths in the table [network] of a configuration's values, or their default."""
    name, default = "network.hidden_widths", NetworkConfig().hidden_widths
    widths = kind_of(name).check(name, network.get("hidden_widths", default))
    assert isinstance(widths, tuple)
    return widths


def kind_of(field: str) -> Kind:
    """The kind of values that the field takes."""
    kind = configuration.options()[field].metadata["kind"]
    assert isinstance(kind, Kind)
    return kind


def _split(name: str, text: str) -> list[str]:
    """The parts between the commas that no bracket and no quote encloses."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        else:
            depth += (letter == "[") - (letter == "]")
        if letter == "," and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    if depth or quote:
        raise InputError(f"--over {name}={text}: a bracket or a quote is not closed")
    parts = [part.strip() for part in parts]
    if not all(parts):
        raise InputError(
            f"--over {name}={text} has an empty value: write values with commas between them, "
            f"for example --over {name}=VALUE,VALUE"
        )
    return parts


def _value(name: str, word: str) -> Any:
    """A word as the value of the field, or of one of its entries, as TOML would have it."""
    field, index = _field_and_index(name)
    value = kind_of(field).from_words([word])
    is_entry = index is not None and isinstance(value, list) and len(value) == 1
    return value[0] if is_entry else value
