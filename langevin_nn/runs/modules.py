"""The user's own code in the folder of a run or a sweep: copies of its files, and their sums."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from langevin_nn.files import make_folder, write_bytes
from langevin_nn.import_paths import COPIES, ModuleFile

__all__ = ["copy_files", "module_differences"]


def copy_files(folder: Path, modules: Iterable[ModuleFile]) -> None:
    """Write the files that are not installed into `folder`/modules, where they are found again."""
    for module in modules:
        if not module.installed:
            make_folder(folder / COPIES)
            write_bytes(folder / COPIES / f"{module.name}.py", module.content)


def module_differences(theirs: Any, mine: Sequence[ModuleFile]) -> list[str]:
    """In words, which modules' files are not those of the records, each a `ModuleFile.record`.

    A module that only one of the two has is no difference here: their configurations differ.

    >>> module_differences([{"module": "m", "sha256": "12"}], [ModuleFile("m", Path("m.py"), b"", False)])
    ['m.py has changed: sha256 12 there, e3b0c44298fc here']
    """  # noqa: E501
    recorded_sums = {
        str(record.get("module")): str(record.get("sha256"))
        for record in (theirs if isinstance(theirs, list) else [])
        if isinstance(record, dict)
    }
    return [
        f"{module.path.name} has changed: sha256 {recorded_sums[module.name][:12]} there, "
        f"{module.sha256[:12]} here"
        for module in mine
        if recorded_sums.get(module.name, module.sha256) != module.sha256
    ]
