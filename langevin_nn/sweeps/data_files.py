"""Which data files a sweep was begun with, so that it never goes on with others.

A source that reads files, `npz /path/of/task.npz` or `mnist`, has their sums in
`tasks/data.json` from the sweep's begin on, and in the manifest of each point that it was used for.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from langevin_nn.config.record import RunConfig
from langevin_nn.data.image_files import fingerprint
from langevin_nn.errors import InputError
from langevin_nn.runs.provenance import data_differences

Sums = Mapping[str, list[str]]
"""The provenance of each source."""


def source_of(config: RunConfig) -> str:
    return f"{config.data.source} {config.data.path}".strip()


def now(points: Iterable[RunConfig]) -> Sums:
    """The sums of the .npz files as they are; those that cannot be read fail with their points."""
    paths = {source_of(point): Path(point.data.path) for point in points if point.data.path}
    return {source: [fingerprint(path)] for source, path in paths.items() if path.is_file()}


def difference(source: str, then: Iterable[str], here: Iterable[str]) -> str | None:
    """In words, None where there is none."""
    words = data_differences(list(then), list(here))
    return f"the data of {source} are others: {words[0]}" if words else None


def read(content: Any) -> Sums:
    """The sums in a record, those that are sound."""
    sources = content.get("sources") if isinstance(content, Mapping) else None
    found = sources if isinstance(sources, Mapping) else {}
    return {str(name): list(map(str, sums)) for name, sums in found.items() if sums}


def check(then: Sums, here: Sums, folder: Path) -> None:
    """Raise `InputError` where a sweep would go on with other data than it was begun with."""
    for source, sums in here.items():
        if words := difference(source, then.get(source, ()), sums):
            raise InputError(
                f"{folder} was begun with other data ({words}): put back the file that was there, "
                "or write --output with another folder"
            )
