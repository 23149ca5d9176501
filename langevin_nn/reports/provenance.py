"""The origin of a report's numbers, from the manifests of its runs."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from langevin_nn.reports.formats import NOTHING, time_of
from langevin_nn.reports.html import Markup, element, table

MOST_NAMED_POINTS = 3
"""The largest number of points that are named beside a value that not all points have."""
KINDS = {
    "git": "git ", "precision": "", "device": "device ", "data": "", "versions": "",
    "extensions": "",
}  # fmt: skip
"""The parts of a manifest that are shown, in order, with the prefixes of their names."""


def provenance(
    manifests: Mapping[str, Mapping[str, Any]], hashes: Mapping[str, str], configuration: str
) -> list[Markup]:
    """A section on versions, device, git state, data, seeds and times, and the points of each.

    `manifests` are those of the finished runs, by their places in words; `hashes` and
    `configuration`, the text of a TOML file, define the run or sweep.
    """
    rows = [[name, value, "all"] for name, value in hashes.items()]
    for name, values in _by_name(manifests).items():
        rows += _rows(name, values, len(manifests))
    if manifests:
        rows += [_seeds(manifests), _times(manifests)]
    header = ["what", "value", "finished points"]
    if len(manifests) < 2:  # there is no other point
        header, rows = header[:2], [row[:2] for row in rows]
    return [
        element("div", table("What the numbers depend on", header, rows), class_="words"),
        element("h3", "Configuration"),
        element("pre", configuration),
    ]


def reproduction(
    command: str,
    definition: Path,
    manifests: Iterable[Mapping[str, Any]],
    options: Sequence[str] = (),
) -> list[Markup]:
    """A section on the command that makes the numbers again from the file in the folder.

    The command is one for the folder that has this one in it.
    """
    folder = definition.resolve().parent.name
    folder = f"./{folder}" if folder.startswith("-") else folder
    words = ["langevin-nn", command, f"{folder}/{definition.name}", *options]
    makers = dict.fromkeys(filter(None, map(_maker, manifests)))
    by = f" They were made by {' and by '.join(makers)}." if makers else ""
    note = f"In the folder that {folder} is in; its {definition.name} is printed below.{by}"
    return [
        element("h3", "To make the numbers again"),
        element("pre", shlex.join([*words, "--output", f"{folder}-again"]), class_="command"),
        element("p", note, class_="note"),
    ]


def _maker(manifest: Mapping[str, Any]) -> str:
    """The versions and the commit that a run was made with, in words; as far as they are known."""
    versions, git = manifest.get("versions"), manifest.get("git")
    versions = versions if isinstance(versions, Mapping) else {}
    names = {"langevin-nn": "langevin_nn", "jax": "JAX"}
    parts = [f"{name} {versions[key]}" for key, name in names.items() if versions.get(key)]
    if isinstance(git, Mapping) and git.get("commit"):
        parts.append(
            f"commit {git['commit']}{' with changes' * bool(git.get('uncommitted_changes'))}"
        )
    return ", ".join(parts)


def _by_name(manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[str]]]:
    """The values of each entry of the manifests, and the places of the runs with each value."""
    places_by_value: dict[str, dict[str, list[str]]] = {}
    for kind, prefix in KINDS.items():
        for place, manifest in manifests.items():
            content = manifest.get(kind, {} if kind == "extensions" else None)
            for name, value in _entries(kind, content).items():
                places_by_value.setdefault(prefix + name, {}).setdefault(value, []).append(place)
    return places_by_value


def _entries(kind: str, content: Any) -> dict[str, str]:
    if isinstance(content, Mapping):
        return {str(name).replace("_", " "): _text(value) for name, value in content.items()}
    if isinstance(content, list):
        return {kind: ", ".join(map(_text, content)) or NOTHING}
    return {kind if kind != "git" else "commit": _text(content)}


def _text(value: Any) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping) and "to_draws" in value:
        by = f"langevin_nn {value.get('version')}"
        numbers = f"from {value.get('from_draws')} to {value['to_draws']} draws of each chain"
        return f"{numbers}, {value.get('when')}, {by}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _rows(
    name: str, places_by_value: Mapping[str, Sequence[str]], num_points: int
) -> list[list[str]]:
    """A row for each value of the entry `name`, the most frequent first."""
    ordered = sorted(places_by_value.items(), key=lambda item: -len(item[1]))
    return [[name, value, _points_in_words(places, num_points)] for value, places in ordered]


def _points_in_words(places: Sequence[str], num_points: int) -> str:
    if len(places) == num_points:
        return "all"
    named = "; ".join(places[:MOST_NAMED_POINTS])
    more = "; …" if len(places) > MOST_NAMED_POINTS else ""
    return f"{len(places)} of {num_points}: {named}{more}"


def _seeds(manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    seeds = dict.fromkeys(_text(manifest.get("seed")) for manifest in manifests.values())
    return ["seed" if len(seeds) == 1 else "seeds", ", ".join(seeds), "all"]


def _times(manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The row of the wall times, which include the theories."""
    times = [float(manifest.get("wall_seconds") or 0) for manifest in manifests.values()]
    text = time_of(sum(times))
    if len(times) > 1:
        text += f" in all, {time_of(min(times))} to {time_of(max(times))} a point"
    return ["wall time", text, "all"]
