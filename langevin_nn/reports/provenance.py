"""Where the numbers of a report come from, by the manifests of its runs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langevin_nn.reports.formats import NOTHING, duration
from langevin_nn.reports.html import Markup, element, table

NAMED = 3
"""Points that are named where a value is not that of all."""
KINDS = {"git": "git ", "precision": "", "device": "device ", "data": "", "versions": ""}
"""The parts of a manifest that are shown, in this order, and what comes before their names."""


def provenance(
    manifests: Mapping[str, Mapping[str, Any]], hashes: Mapping[str, str], configuration: str
) -> list[Markup]:
    """Versions, device, git state, data, seeds and times; where they differ, at which points.

    `manifests` are those of the finished runs, by their places in words; `hashes` and
    `configuration`, the text of a TOML file, say what was asked for.
    """
    rows = [[name, value, "all"] for name, value in hashes.items()]
    for name, of_runs in _by_name(manifests).items():
        rows += _rows(name, of_runs, len(manifests))
    if manifests:
        rows += [_seeds(manifests), _times(manifests)]
    header = ["what", "value", "finished points"]
    if len(manifests) == 1:  # whose point it is goes without saying
        header, rows = header[:2], [row[:2] for row in rows]
    return [
        element("div", table("What the numbers depend on", header, rows), class_="words"),
        element("h3", "Configuration"),
        element("pre", configuration),
    ]


def _by_name(manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[str]]]:
    """The values of each thing, with the places that have them."""
    found: dict[str, dict[str, list[str]]] = {}
    for kind, before in KINDS.items():
        for place, manifest in manifests.items():
            for name, value in _entries(kind, manifest.get(kind)).items():
                found.setdefault(before + name, {}).setdefault(value, []).append(place)
    return found


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
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _rows(name: str, of_runs: Mapping[str, Sequence[str]], number: int) -> list[list[str]]:
    """One for each value, the most frequent first."""
    ordered = sorted(of_runs.items(), key=lambda item: -len(item[1]))
    return [[name, value, _which(places, number)] for value, places in ordered]


def _which(places: Sequence[str], number: int) -> str:
    if len(places) == number:
        return "all"
    named = "; ".join(places[:NAMED])
    more = "; …" if len(places) > NAMED else ""
    return f"{len(places)} of {number}: {named}{more}"


def _seeds(manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    seeds = dict.fromkeys(_text(manifest.get("seed")) for manifest in manifests.values())
    return ["seed" if len(seeds) == 1 else "seeds", ", ".join(seeds), "all"]


def _times(manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The wall times, which include the theories."""
    times = [float(manifest.get("wall_seconds") or 0) for manifest in manifests.values()]
    text = duration(sum(times))
    if len(times) > 1:
        text += f" in all, {duration(min(times))} to {duration(max(times))} a point"
    return ["wall time", text, "all"]
