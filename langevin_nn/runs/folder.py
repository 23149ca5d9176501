"""Run folders: what a run leaves behind, written so that nothing is ever half there.

    config.toml      the configuration with every default resolved
    manifest.json    versions, device, seed, git state, data, wall time; SHA-256 of the other files
    posterior.nc     draws in the ArviZ schema (`posterior_file`)
    weights.npy      all weights of each draw, if they are kept (`weights`)
    last_state.npz   what the run goes on from when it is extended (`extending`)
    summary.json     the numbers, with their standard errors
    figures/         PNG; PDF and SVG where they are asked for
    report.html      the page that `langevin-nn report` made of it, if it was asked to
    modules/         copies of the files of the user's own code that the configuration names
    checkpoint/      while the run lasts: its data files, the state and the draws so far
    .replaced/       while the run lasts: the run that it replaces
    .extending/      while the run is extended: the longer one, as it is then in its place
    .lock            while a process works on the run: which one

A folder is a run's if it holds `config.toml` and, while the run is unfinished, `checkpoint/`, or
else `summary.json`. Only such a folder, with nothing else in it, is ever replaced (`claims`).
"""

import contextlib
import dataclasses
import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langevin_nn import locks
from langevin_nn.config.record import RunConfig, flat
from langevin_nn.config.sampler import FIELDS_OF_LENGTH
from langevin_nn.files import Unreadable, make_folder, write_text
from langevin_nn.import_paths import ModuleFile, is_of_own_code
from langevin_nn.runs import claims
from langevin_nn.runs.archive import Archive
from langevin_nn.runs.modules import copy_files, module_differences
from langevin_nn.runs.posterior_file import chains_of, theories_of
from langevin_nn.runs.provenance import data_differences, extension
from langevin_nn.runs.records import read_record, record
from langevin_nn.sampling.dynamics.step_size import Diverged
from langevin_nn.sampling.posterior_tree import posterior_tree
from langevin_nn.types import InputError
from langevin_nn.values import FIGURE_FORMATS

RESUME_HINT = "--resume to go on, "
"""The advice beside --overwrite where a run is not finished."""

__all__ = [
    "RunFolder",
    "chains_of",
    "posterior_tree",
    "theories_of",
]


@dataclasses.dataclass(frozen=True)
class RunFolder(Archive):
    """The folder of one run, which a process claims for its run or finds finished."""

    @property
    def checkpoint(self) -> Path:
        """The folder of the state of a run that is not finished."""
        return self.path / "checkpoint"

    @property
    def figures(self) -> Path:
        """The folder of the run's figures."""
        return self.path / "figures"

    @property
    def figure_formats(self) -> list[str]:
        """The formats in which the figures of the run have been drawn."""
        return [
            ending for ending in FIGURE_FORMATS
            if any((self.figures / f"{name}.{ending}").is_file() for name in claims.FIGURES)
        ]  # fmt: skip

    @property
    def has_report(self) -> bool:
        """Whether a page has been made of the run."""
        return (self.path / "report.html").is_file()

    @property
    def has_state(self) -> bool:
        """Whether the folder holds a state of the run to go on from."""
        return claims.has_state(self.path)

    @property
    def is_vacant(self) -> bool:
        """Whether there is nothing yet, or no more than a run begins with; no folder counts, too.

        False where the folder cannot be looked into.
        """
        try:
            return not os.path.lexists(self.path) or (
                self.path.is_dir() and not self.is_run and claims.is_remnant(self.path)
            )
        except OSError:
            return False

    @property
    def extension(self) -> "RunFolder":
        """The folder, in this one, of the longer run to which it is being extended."""
        return RunFolder(self.path / claims.EXTENDING)

    @contextlib.contextmanager
    def claimed(
        self,
        config: RunConfig,
        *,
        resume: bool,
        overwrite: bool,
        data: Sequence[str] = (),
        modules: Sequence[ModuleFile] = (),
    ) -> Iterator["RunFolder"]:
        """A context in which the folder, which it gives, belongs to this run alone.

        `data` is the data's provenance, `modules` are the files of the user's own code.

        Raises `InputError`, and leaves everything as it was, for a folder that cannot be written,
        that another process writes into, that holds another run, or anything that is no run's. A
        run that diverges, that the user's own code ends, or that ends in an error before it has
        saved a state, leaves no trace: what it replaced comes back.
        """
        wanted = Wanted(config, data, modules)
        if self._is_settled(wanted, resume, overwrite):
            yield self
            return
        with self.locked():
            try:
                self._take(wanted, resume, overwrite)
            except OSError as error:
                raise self.unwritable(error) from error
            goes_on = self.has_state
            try:
                yield self
            except BaseException as error:
                # What the user's own code has ended is not gone on with when that has changed.
                ended = isinstance(error, Diverged) or (is_of_own_code(error) and not goes_on)
                if ended or not (self.is_finished or self.has_state):
                    quietly(claims.take_back, self.path)
                elif self.is_finished:  # interrupted after the summary, which comes last
                    quietly(claims.settle, self.path)
                raise
            if self.is_finished:
                quietly(claims.settle, self.path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """A context in which only this process writes into the folder, made if it is not there.

        Raises `InputError` if another process does, or if the folder cannot be written. A folder
        that was made here and is empty in the end is gone.
        """
        absent = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        with contextlib.ExitStack() as stack:
            try:
                for folder in reversed(absent):
                    make_folder(folder)
                    stack.callback(quietly, os.rmdir, folder)
                is_acquired = stack.enter_context(locks.held(self._lock))
            except OSError as error:
                raise self.unwritable(error) from error
            if not is_acquired:
                raise self._in_use()
            yield

    def require_resumable(
        self, config: RunConfig, data: Sequence[str] = (), modules: Sequence[ModuleFile] = ()
    ) -> None:
        """Raise the `InputError` that `claimed` raises where it is to resume; touch nothing.

        A folder that is not there is begun, and a finished run is left as it is.
        """
        self._is_settled(Wanted(config, data, modules), resume=True, overwrite=False)

    def settle(self) -> None:
        """Remove the checkpoint of a finished run, and the run that it has replaced."""
        claims.settle(self.path)

    @property
    def _data(self) -> Path:
        """The file with the provenance of an unfinished run's data and modules."""
        return self.checkpoint / "data.json"

    def _is_settled(self, wanted: "Wanted", resume: bool, overwrite: bool) -> bool:
        """Whether the run is finished and nothing is to be written. Touches nothing.

        Raises `InputError` for a folder that is in use, and for one that `_check` refuses where
        this can be told without touching it.
        """
        try:
            return self._settled(wanted, resume, overwrite)
        except OSError as error:
            raise self.unwritable(error) from error

    def _settled(self, wanted: "Wanted", resume: bool, overwrite: bool) -> bool:
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file: write --output FOLDER")
        outer = claims.enclosing(self.path)
        if outer and not self.is_run:
            raise InputError(
                f"{self.path} lies in {outer}, the folder of another run, with which it would be "
                "replaced: write --output with a folder beside that"
            )
        if locks.holder(self._lock):
            raise self._in_use()
        if claims.is_unsettled(self.path):
            return False
        self._check(wanted, resume, overwrite)
        remains = self.checkpoint.exists() or self._lock.exists()
        return resume and self.is_finished and not remains

    def _take(self, wanted: "Wanted", resume: bool, overwrite: bool) -> None:
        """Prepare the locked folder: to go on with the run that it holds, or to begin this one."""
        keep = resume and self.is_run and not self.differences(wanted)
        claims.recover(self.path, keep=keep)
        self._check(wanted, resume, overwrite)
        if resume and self.is_finished:
            claims.settle(self.path)
        if resume and self.is_run:
            return
        try:
            claims.set_aside(self.path)
        except OSError:
            quietly(claims.recover, self.path)
            raise
        try:
            self.begin(wanted)
        except OSError:
            quietly(claims.take_back, self.path)
            raise

    def begin(self, wanted: "Wanted", origin: Mapping[str, Any] | None = None) -> None:
        """Write what makes the folder that of an unfinished run; `origin` is what it extends."""
        make_folder(self.checkpoint)
        modules = {"modules": [module.record() for module in wanted.modules]}
        write_text(self._data, record({"data": list(wanted.data)} | modules | dict(origin or {})))
        self.write_config(wanted.config, wanted.modules)

    def _check(self, wanted: "Wanted", resume: bool, overwrite: bool) -> None:
        """Raise `InputError` where the folder is neither free nor to be gone on with or replaced.

        Nothing is touched.
        """
        if not self.path.is_dir() or claims.is_remnant(self.path):
            return
        if not self.is_run:
            raise InputError(
                f"{self.path} holds files that are not a run's: write --output with another folder"
            )
        if resume:
            if differences := self.differences(wanted):
                raise InputError(
                    f"{self.path} is a run of another configuration or of other data "
                    f"({', '.join(differences)}): write the same ones to go on, or --output with "
                    "another folder"
                )
            obstacle = claims.obstacle(self.path) or claims.figure_obstacle(self.path)
            if obstacle is not None and not self.is_finished:
                actual, expected = ("folder", "file") if obstacle.is_dir() else ("file", "folder")
                raise InputError(
                    f"{obstacle} is a {actual} where a {expected} is to be: move it away, or write "
                    "--output with another folder"
                )
        elif not overwrite:
            state = "a finished run" if self.is_finished else "an unfinished run"
            resume_hint = self._extension_hint(wanted) if self.is_finished else RESUME_HINT
            raise InputError(
                f"{self.path} holds {state}: write {resume_hint}--overwrite to replace it, "
                "or --output with another folder"
            )
        elif foreign := claims.foreign(self.path):
            raise InputError(
                f"{self.path} holds {foreign}, which is not a run's and which --overwrite would "
                "delete: move it elsewhere, or write --output with another folder"
            )

    def _extension_hint(self, wanted: "Wanted") -> str:
        """The advice to extend a finished run, where the wanted one has other draws alone."""
        with contextlib.suppress(InputError):
            if not self.differences(wanted, FIELDS_OF_LENGTH) and self.differences(wanted):
                return "--extend to go on with it, " if self.keeps_state() else ""
        return ""

    def write_config(self, config: RunConfig, modules: Sequence[ModuleFile] = ()) -> None:
        """Write the configuration, and before it the user's own code that it names."""
        copy_files(self.path, modules)
        write_text(self.path / "config.toml", config.to_toml())

    def differences(self, wanted: "Wanted", but_for: Sequence[str] = ()) -> list[str]:
        """In words, where the run in the folder differs from the wanted one.

        Fields of the configuration with the names `but_for` may differ.
        """
        mine, theirs = flat(wanted.config.to_dict()), flat(self.load_config().to_dict())
        names = sorted(
            name
            for name in {*mine, *theirs}.difference(but_for)
            if mine.get(name) != theirs.get(name)
        )
        differences = [
            f"{name} = {theirs.get(name)!r} there, {mine.get(name)!r} here" for name in names
        ]
        provenance = self._begun_with()
        differences += module_differences(provenance.get("modules"), wanted.modules)
        return [*differences, *data_differences(_texts(provenance.get("data")), wanted.data)]

    def _begun_with(self) -> Mapping[str, Any]:
        """The provenance of data and modules of the run in the folder, as far as it is known."""
        if self.is_finished:
            return self.load_manifest()
        with contextlib.suppress(Unreadable):  # else the checkpoint's fingerprint decides
            return read_record(self._data)
        return {}

    def extensions(self, num_draws: int) -> list[Any]:
        """The records of how often the unfinished run was extended, if it ends with these draws."""
        begun_with = self._begun_with()
        earlier, extends = begun_with.get("extensions"), begun_with.get("extends")
        records = [*earlier] if isinstance(earlier, list) else []
        if isinstance(extends, Mapping):
            records.append(extension(extends, num_draws))
        return records

    def _in_use(self) -> InputError:
        user = locks.holder(self._lock) or "another process"
        return InputError(
            f"{self.path} is in use, by {user}: wait until that has ended, or write --output with "
            "another folder"
        )

    def unwritable(self, error: OSError) -> InputError:
        """The error that says why nothing can be written into the folder."""
        if error.errno == errno.EISDIR and self._lock.is_dir():
            return InputError(
                f"{self._lock} is a folder, and a run has a file of that name there: move it away, "
                "or write --output with another folder"
            )
        return InputError(
            f"cannot write into {self.path} ({error.strerror}): write --output with a folder that "
            "can be written"
        )


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The run that claims a folder: its configuration, data's provenance and user's modules."""

    config: RunConfig
    data: Sequence[str]
    modules: Sequence[ModuleFile]


def quietly(function: Callable[[Path], None], path: Path) -> None:
    """Apply the function and ignore its `OSError`: an earlier error is the one to report."""
    with contextlib.suppress(OSError):
        function(path)


def _texts(values: Any) -> list[str]:
    return list(map(str, values)) if isinstance(values, list) else []
