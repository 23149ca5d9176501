"""Which files a sweep was begun with, data and the user's own code: it never goes on with others.

A source that reads files, `npz /path/of/task.npz` or `mnist`, has their sums in
`tasks/data.json` from the sweep's begin on, and in the manifest of each point that it was used for.
"""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from langevin_nn import config as configuration
from langevin_nn.config.record import RunConfig
from langevin_nn.data.image_files import fingerprint
from langevin_nn.errors import InputError
from langevin_nn.import_paths import ModuleFile
from langevin_nn.runs.provenance import data_differences

Sums = Mapping[str, list[str]]
"""The provenance of each source, with the SHA-256 of its files."""


def source_of(config: RunConfig) -> str:
    """The source of a configuration's data, with its path: the name of its files in `Sums`."""
    return f"{config.data.source} {config.data.path}".strip()


def now(points: Iterable[RunConfig]) -> Sums:
    """The sums of the files as they are; files that cannot be read fail with their points."""
    points = list(points)
    paths = {source_of(point): Path(point.data.path) for point in points if point.data.path}
    sums = {source: [fingerprint(path)] for source, path in paths.items() if path.is_file()}
    return sums | of_modules(modules_of(points))


def modules_of(points: Iterable[RunConfig]) -> tuple[ModuleFile, ...]:
    """The modules that the points name; those that are not there fail with their points."""
    modules: dict[str, ModuleFile] = {}
    for point in points:
        with contextlib.suppress(InputError):
            modules |= {module.name: module for module in configuration.modules_of(point)}
    return tuple(modules.values())


def of_modules(modules: Iterable[ModuleFile]) -> dict[str, list[str]]:
    """The sums of these files, each by the name of its module."""
    return {f"module {module.name}": [module.words] for module in modules}


def difference(source: str, earlier: Iterable[str], present: Iterable[str]) -> str | None:
    """In words, how the files of a source have changed; None where they have not."""
    differences = data_differences(list(earlier), list(present))
    return f"the files of {source} are others: {differences[0]}" if differences else None


def read(content: Any) -> Sums:
    """The sums in a record that are sound."""
    sources = content.get("sources") if isinstance(content, Mapping) else None
    sums_by_source = sources if isinstance(sources, Mapping) else {}
    return {str(name): list(map(str, sums)) for name, sums in sums_by_source.items() if sums}


def check(earlier: Sums, present: Sums, folder: Path) -> None:
    """Raise `InputError` where a sweep would go on with other data than it was begun with."""
    for source, sums in present.items():
        if change := difference(source, earlier.get(source, ()), sums):
            raise InputError(
                f"{folder} was begun with other files ({change}): put back what was there, "
                "or write --output (output=) with another folder"
            )
