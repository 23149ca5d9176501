"""Run folders: what a run leaves behind, written so that nothing is ever half there.

    config.toml      the configuration with every default resolved
    manifest.json    versions, device, seed, git state, data, wall time
    posterior.nc     draws in the ArviZ schema (`posterior_file`)
    summary.json     the numbers, with their standard errors
    figures/         PNG
    report.html      the page that `langevin-nn report` made of it, if it was asked to
    checkpoint/      while the run lasts: the state and the draws so far
    .replaced/       while the run lasts: the run that it replaces

A folder is a run's if it holds `config.toml` and, while the run is unfinished, `checkpoint/`, or
else `summary.json`. Only such a folder, with nothing else in it, is ever replaced.
"""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from langevin_nn import config as configuration
from langevin_nn.config import RunConfig
from langevin_nn.files import write_bytes, write_text
from langevin_nn.posterior_file import content_of, posterior_tree
from langevin_nn.posterior_reading import chains_of, load, theories_of, verify
from langevin_nn.results import experiment_summary, tempering_summary, theory_summary
from langevin_nn.sampling.draws import Chains
from langevin_nn.sampling.step_size import Diverged
from langevin_nn.types import Generalisation, InputError

__all__ = [
    "RunFolder",
    "chains_of",
    "experiment_summary",
    "posterior_tree",
    "tempering_summary",
    "theories_of",
    "theory_summary",
]

FILES = ("config.toml", "manifest.json", "posterior.nc", "summary.json", "report.html")
FOLDERS = {"figures": ".png", "checkpoint": ".npz"}
"""What a run's folder may hold, and the endings of the files in its subfolders."""


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def is_run(self) -> bool:
        begun = (self.path / "config.toml").is_file()
        return begun and (self.checkpoint.is_dir() or self.is_finished)

    @property
    def is_finished(self) -> bool:
        return (self.path / "summary.json").is_file()

    @property
    def has_state(self) -> bool:
        """Whether there is something to go on from."""
        return (self.checkpoint / "state.npz").is_file()

    @contextlib.contextmanager
    def claimed(self, config: RunConfig, *, resume: bool, overwrite: bool) -> Iterator[None]:
        """The folder as this run's own, while the run lasts.

        Raises `InputError`, and leaves everything as it was, for a folder that cannot be written,
        that holds another run, or anything that is no run's. A run that diverges, or ends in an
        error before it has saved a state, leaves no trace: what it replaced comes back.
        """
        with contextlib.ExitStack() as undo:
            try:
                self._claim(config, resume, overwrite, undo)
            except OSError as error:
                raise InputError(
                    f"cannot write into {self.path} ({error.strerror}): write --output with a "
                    "folder that can be written"
                ) from error
            try:
                yield
            except Diverged:
                raise
            except BaseException:
                if self.is_finished or self.has_state:
                    undo.pop_all()
                raise
            undo.pop_all()
        self._remove(self._replaced)

    def remove_checkpoint(self) -> None:
        self._remove(self.checkpoint)

    def load_config(self) -> RunConfig:
        if not self.is_run:
            raise InputError(
                f"{self.path} is not a run folder (config.toml with summary.json or checkpoint/): "
                "write the folder that `langevin-nn run` named"
            )
        return configuration.load(self.path / "config.toml")

    def save_posterior(
        self,
        chains: Chains,
        y_train: np.ndarray,
        theories: Mapping[str, Generalisation],
        run_id: str = "",
    ) -> None:
        # By way of the memory: HDF5 itself, on a full disk, ends the process.
        content = content_of(posterior_tree(chains, y_train, theories, run_id))
        write_bytes(self.path / "posterior.nc", content)

    def save_json(self, name: str, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        write_text(self.path / name, text + "\n")

    def load_summary(self) -> dict[str, Any]:
        if not self.is_finished:
            raise InputError(
                f"{self.path} holds no finished run (no summary.json): "
                "run it first, or go on with --resume"
            )
        content = self._load_json("summary.json")
        if not {"experiment", "theory"} <= content.keys():
            raise self._damaged("summary.json", "it lacks the experiment or the theory")
        return content

    def load_manifest(self) -> dict[str, Any]:
        """What a finished run says of where its numbers come from."""
        return self._load_json("manifest.json")

    def load_results(self) -> tuple[Chains, dict[str, Generalisation]]:
        """The chains (without their last state) and the theories of a finished run."""
        summary, config = self.load_summary(), self.load_config()
        manifest = self.load_manifest() if (self.path / "manifest.json").exists() else {}
        try:
            tree = load(self.path / "posterior.nc")
            verify(tree, config, str(manifest.get("run_id", "")))
            return chains_of(tree), theories_of(tree, summary)
        except ValueError as error:
            raise self._damaged("posterior.nc", error) from error

    @property
    def _replaced(self) -> Path:
        return self.path / ".replaced"

    def _claim(
        self, config: RunConfig, resume: bool, overwrite: bool, undo: contextlib.ExitStack
    ) -> None:
        """Go on or begin, and tell `undo` what would take it back."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file: write --output FOLDER")
        occupied = self.path.is_dir() and any(self.path.iterdir())
        if occupied and resume:
            self._check_run()
            self._check_same(config)
            undo.callback(_quietly, self._restore)
            undo.callback(_quietly, self._clear)
            return
        if occupied:
            self._check_run()
            self._check_replaceable(overwrite)
        absent = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        for folder in reversed(absent):
            folder.mkdir()
            undo.callback(_quietly, folder.rmdir)
        undo.callback(_quietly, self._restore)
        self._set_aside()
        undo.callback(_quietly, self._clear)
        self.checkpoint.mkdir()
        write_text(self.path / "config.toml", config.to_toml())

    def _check_run(self) -> None:
        if not self.is_run:
            raise InputError(
                f"{self.path} holds files that are not a run's: write --output with another folder"
            )

    def _check_replaceable(self, overwrite: bool) -> None:
        if not overwrite:
            state = "a finished run" if self.is_finished else "an unfinished run"
            goes_on = "" if self.is_finished else "--resume to go on, "
            raise InputError(
                f"{self.path} holds {state}: write {goes_on}--overwrite to replace it, "
                "or --output with another folder"
            )
        if foreign := self._foreign():
            raise InputError(
                f"{self.path} holds {foreign}, which is not a run's and which --overwrite would "
                "delete: move it elsewhere, or write --output with another folder"
            )

    def _check_same(self, config: RunConfig) -> None:
        mine, theirs = _flat(config.to_dict()), _flat(self.load_config().to_dict())
        names = sorted(n for n in {*mine, *theirs} if mine.get(n) != theirs.get(n))
        if names:
            listed = ", ".join(
                f"{n} = {theirs.get(n)!r} there, {mine.get(n)!r} here" for n in names
            )
            raise InputError(
                f"{self.path} is a run of another configuration ({listed}): write the same one to "
                "go on, or --output with another folder"
            )

    def _foreign(self) -> str | None:
        """The name of something that no run has put here."""
        for item in self.path.iterdir():
            ending = FOLDERS.get(item.name)
            if ending and item.is_dir() and not item.is_symlink():
                names = (inner for inner in item.iterdir() if _plain(inner).suffix != ending)
                if inner := next(names, None):
                    return str(inner.relative_to(self.path))
            elif item != self._replaced and _plain(item).name not in FILES:
                return item.name
        return None

    def _set_aside(self) -> None:
        """Keep the run that is replaced; of one that was itself replacing, nothing."""
        if self._replaced.exists():
            self._clear()
        elif contents := list(self.path.iterdir()):
            self._replaced.mkdir()
            for item in contents:
                item.rename(self._replaced / item.name)

    def _restore(self) -> None:
        if self._replaced.exists():
            for item in self._replaced.iterdir():
                item.rename(self.path / item.name)
            self._replaced.rmdir()

    def _clear(self) -> None:
        for item in self.path.iterdir():
            if item != self._replaced:
                self._remove(item)

    def _remove(self, item: Path) -> None:
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink(missing_ok=True)

    def _load_json(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._damaged(name, error) from error
        if not isinstance(content, dict):
            raise self._damaged(name, "it is no table")
        return content

    def _damaged(self, name: str, reason: object) -> InputError:
        return InputError(
            f"cannot read {self.path / name} ({reason}): run it again with --overwrite"
        )


def _quietly(function: Callable[[], None]) -> None:
    """For what is tidied up after an error, which is the one to report."""
    with contextlib.suppress(OSError):
        function()


def _plain(path: Path) -> Path:
    """The file that a left-over temporary `.NAME.part` of `write_atomically` was to become."""
    if path.name.startswith(".") and path.suffix == ".part":
        return path.with_name(path.stem[1:])
    return path


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
