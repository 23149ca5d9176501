"""A configuration with words on each of its fields, to begin one's own with.

This module imports no JAX.
"""

import dataclasses
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from langevin_nn.config.losses import LOSS_USAGES
from langevin_nn.config.record import from_dict, options
from langevin_nn.config.sections import SOURCES

__all__ = ["commented"]

WIDTH = 96
HEAD = """\
# Fields behind a # have that value, or the one in the words above, without being written.

"""


def commented(values: Mapping[str, Any], folder: Path | None = None) -> str:
    """The TOML of the configuration with these values, nested as `from_dict` takes them.

    Every field that the data source reads has its help, its values and its default above it. Those
    that are given, or that most configurations set, are written out; the others are comments.

    Raises `InputError` as `from_dict` does.

    >>> text = commented({"data": {"source": "mnist"}, "posterior": {"temperature": 0.01}})
    >>> text[text.index("[posterior]") :].splitlines()[:3]
    ['[posterior]', '# T = 1/beta; 0 for theory only (default 0.1)', 'temperature = 0.01']
    """
    config = from_dict(values, folder)
    own, resolved = _flat(values), _flat(config.to_dict())
    lines, before = [HEAD], ""
    for name, item in options().items():
        section, _, key = name.rpartition(".")
        is_read = (
            config.data.source in item.metadata["sources"] or config.data.source not in SOURCES
        )
        if not is_read and name not in own:
            continue
        if section != before:
            lines.append(f"\n[{section}]\n")
            before = section
        value = resolved.get(name, _default(key))
        is_written = name in own or (item.metadata["usual"] and value is not None)
        lines += [f"# {line}\n" for line in textwrap.wrap(_words(item, value), WIDTH)]
        equation = f"{key} = {'' if value is None else _toml(value)}".rstrip()
        lines.append(f"{'' if is_written else '#'}{equation}\n")
    return "".join(lines)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values by dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = value if isinstance(value, Mapping) else None
        flat |= {key: value} if inner is None else {f"{key}.{k}": v for k, v in inner.items()}
    return flat


def _default(key: str) -> Any:
    """The default of a number that only some losses have; None for what is no such number."""
    numbers = (usage.numbers for usage in LOSS_USAGES.values())
    return next((known[key].default for known in numbers if key in known), None)


def _words(item: dataclasses.Field[Any], value: Any) -> str:
    """The help of a field, the names that it takes, and its default where that is another value."""
    words, choices = item.metadata["help"], item.metadata["kind"].choices
    if not all(name in words for name in choices):
        words += f"; {' or '.join(choices)}"
    if item.default in (None, "", ()) or item.default == value or [*_listed(item.default)] == value:
        return str(words)
    return f"{words} (default {json.dumps(item.default)})"


def _listed(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else ()


def _toml(value: Any) -> str:
    """A value as TOML has it, lists in one line."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").rstrip("\n")
