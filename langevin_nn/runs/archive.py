"""The files of a run: how they are written, and read, each verified against the manifest.

`manifest.json` has the SHA-256 of the others and one of its own, so that no file of a finished run
is believed that is not the one that the run has written. Runs of earlier versions have no sums.
"""

import contextlib
import dataclasses
import hashlib
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from langevin_nn import config as configuration
from langevin_nn import locks
from langevin_nn.config.record import RunConfig
from langevin_nn.files import Unreadable, sum_of, write_bytes, write_text
from langevin_nn.import_paths import COPIES
from langevin_nn.runs import claims, weights
from langevin_nn.runs.posterior_file import chains_of, content_of, load, theories_of, verify
from langevin_nn.runs.records import read_record, record, sealed
from langevin_nn.runs.summary import Summary
from langevin_nn.sampling.draws import Chains
from langevin_nn.sampling.engine.last_state import LastState
from langevin_nn.sampling.posterior_tree import posterior_tree
from langevin_nn.types import Generalisation, InputError


class Damaged(InputError):
    """A file of a run that is not what the run has written; `reason` says how it differs."""

    def __init__(self, folder: Path, name: str, reason: object) -> None:
        self.reason = f"cannot read {folder / name} ({reason})"
        command = _command("run", "CONFIG.toml", "--output", folder)
        super().__init__(f"{self.reason}: run it again with --overwrite ({command} --overwrite)")


@dataclasses.dataclass(frozen=True)
class Archive:
    """The files in the folder of one run, written and read with their checksums."""

    path: Path

    @property
    def is_run(self) -> bool:
        """Whether the folder is that of a run, finished or not."""
        return claims.is_run(self.path)

    @property
    def is_finished(self) -> bool:
        """Whether the folder's run is finished."""
        return claims.is_finished(self.path)

    @property
    def worker(self) -> str:
        """Who works on the run: process, host and since when; empty where nobody does.

        On one to which another is being extended works who has locked that.
        """
        is_extension = self.path.name == claims.EXTENDING
        return locks.holder(self.path.parent / claims.LOCK if is_extension else self._lock) or ""

    @property
    def _lock(self) -> Path:
        return self.path / claims.LOCK

    def require_idle(self) -> None:
        """Raise `InputError` where a process works on the run, which is not finished then."""
        if worker := self.worker:
            raise InputError(
                f"{self.path} is that of a run which is under way, by {worker}: wait until it has "
                f"ended, {_command('watch', self.path)} shows how far it is"
            )

    @property
    def weights(self) -> Path:
        """The file of the weights, which is there where they are kept."""
        return self.path / weights.NAME

    @property
    def last_state(self) -> Path:
        """The file of the last state, which is there where it is kept."""
        return self.path / claims.LAST_STATE

    def load_config(self) -> RunConfig:
        """The run's configuration. Raises `InputError` where there is none that can be read."""
        if not self.is_run:
            try:
                (self.path / "config.toml").stat()
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError as error:
                raise InputError(f"cannot read {self.path}: {error.strerror}") from error
            self.require_idle()
            raise InputError(f"{self.path} is {self._other_than_a_run()}")
        self._verify("config.toml")
        try:
            if not (self.path / "config.toml").read_bytes().strip():
                raise ValueError("it is empty")
            return configuration.load(self.path / "config.toml")
        except (ValueError, RecursionError) as error:
            raise Damaged(self.path, "config.toml", error) from error

    def _other_than_a_run(self) -> str:
        """What a folder is that holds no run, and what to write."""
        sweep = self.path.parent.parent
        if (self.path / claims.SWEEP).is_file():
            return (
                f"a sweep's folder, not a run's: write {_command('sweep', '--status', self.path)} "
                f"or {_command('report', self.path)}, or one of its points, "
                f"{self.path / 'points' / 'HASH'}"
            )
        if self.path.parent.name == "points" and (sweep / claims.SWEEP).is_file():
            return (
                f"no point of the sweep in {sweep} that is done: write "
                f"{_command('sweep', '--status', sweep)}, which says where it stands"
            )
        return (
            "not a run folder (config.toml with summary.json or checkpoint/): write the folder "
            "that `langevin-nn run` named"
        )

    def save_posterior(
        self,
        chains: Chains,
        y_train: np.ndarray,
        theories: Mapping[str, Generalisation],
        run_id: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Write posterior.nc: the draws, and the predictions of the theories by name.

        `attributes` are further ones of the file.
        """
        tree = posterior_tree(chains, y_train, theories, run_id)
        tree.attrs |= dict(attributes or {})
        # By way of the memory: HDF5 itself, on a full disk, ends the process.
        with content_of(tree) as content:
            write_bytes(self.path / "posterior.nc", content)

    def save_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a record as the JSON file of that name."""
        write_text(self.path / name, record(content))

    def finish(
        self,
        manifest: Mapping[str, Any],
        summary: Summary,
        *,
        with_weights: bool = False,
        with_state: bool = False,
    ) -> None:
        """Write the manifest, with the sums of the other files, and last of all the summary.

        `with_weights` and `with_state` say that the run has written weights.npy and last_state.npz.
        Raises `InputError` where a file that was just written cannot be read.
        """
        text = record(summary.to_json())
        copies = (f"{COPIES}/{path.name}" for path in sorted((self.path / COPIES).glob("*.py")))
        names = ("config.toml", "posterior.nc", *copies, *[claims.LAST_STATE] * with_state)
        if with_weights:
            names = (*names, weights.NAME)
            manifest = {**manifest, "weights": self._described_weights()}
        sums = {name: self._sum_of(name) for name in names}
        sums["summary.json"] = hashlib.sha256(text.encode()).hexdigest()
        self.save_json("manifest.json", sealed({**manifest, "files": sums}))
        write_text(self.path / "summary.json", text)

    def _sum_of(self, name: str) -> str:
        with self._readable(name):
            return sum_of(self.path / name)

    def _described_weights(self) -> dict[str, Any]:
        with self._readable(weights.NAME):
            return weights.described(self.weights)

    @contextlib.contextmanager
    def _readable(self, name: str) -> Iterator[None]:
        """A context that reads a file which was just written."""
        try:
            yield
        except Unreadable as error:
            raise InputError(
                f"{self.path / name} was written and cannot be read ({error}): go on with "
                "--resume, or write --output with a folder on another disk"
            ) from error

    def load_summary(self) -> Summary:
        """The run's summary. Raises `InputError` where there is none that can be read."""
        if not self.is_finished:
            self.require_idle()
            earlier = (self.path / claims.REPLACED).is_dir() and (
                f"; the run that it is to replace is kept in {claims.REPLACED} until then"
            )
            words = ("run", self.path / "config.toml", "--output", self.path, "--resume")
            raise InputError(
                f"{self.path} holds no finished run (no summary.json), and nobody works on it: go "
                f"on with {_command(*words)}{earlier or ''}"
            )
        self._verify("summary.json")
        try:
            return Summary.from_json(read_record(self.path / "summary.json"))
        except Unreadable as error:
            raise Damaged(self.path, "summary.json", error) from error

    def load_manifest(self) -> dict[str, Any]:
        """The table in the manifest of a finished run, which says where its numbers come from.

        Raises `InputError` where it cannot be read.
        """
        content = self._record("manifest.json")
        if not isinstance(content.get("run_id"), str):
            raise Damaged(self.path, "manifest.json", "it lacks the name of its run")
        return content

    def data(self, manifest: Mapping[str, Any] | None = None) -> list[str]:
        """The provenance of a finished run's data, as its manifest has it."""
        provenance = (manifest or self.load_manifest()).get("data")
        return list(map(str, provenance)) if isinstance(provenance, list) else []

    def load_results(self) -> tuple[Chains, dict[str, Generalisation]]:
        """The chains (without their last state) and the theories of a finished run."""
        summary, config = self.load_summary(), self.load_config()
        manifest = self.load_manifest()
        self._verify("posterior.nc")
        try:
            tree = load(self.path / "posterior.nc")
            verify(tree, config, manifest["run_id"])
            configured = {
                str(name): name for name in config.theory or ()
            }  # paths with their folder
            theories = theories_of(tree, summary.theory)
            chains = dataclasses.replace(chains_of(tree), extendable=self.keeps_state(manifest))
            return chains, {configured.get(name, name): theory for name, theory in theories.items()}
        except ValueError as error:
            raise Damaged(self.path, "posterior.nc", error) from error

    def keeps_state(self, manifest: Mapping[str, Any] | None = None) -> bool:
        """Whether a finished run has kept its last state, from which it can be extended."""
        sums = _sums(manifest or self.load_manifest())
        return claims.LAST_STATE in sums and self.last_state.is_file()

    def load_last_state(self, chains: Chains) -> LastState:
        """What a finished run with these chains goes on from when it is extended.

        Raises `InputError` for a file that is not the one that the run has written.
        """
        self._verify(claims.LAST_STATE)
        try:
            return LastState.load(self.last_state, chains)
        except Unreadable as error:
            raise Damaged(self.path, claims.LAST_STATE, error) from error

    def load_weights(self) -> np.memmap[Any, Any]:
        """The weights of a finished run's draws, mapped into memory.

        Their size and the checksum of some blocks are compared with the manifest. Raises
        `InputError` where they were not kept, and for a file that is not what the run has written.
        """
        manifest = self.load_manifest()
        if not isinstance(stated := manifest.get("weights"), Mapping):
            raise InputError(
                f"{self.path} has kept no weights: write keep_weights = true under [sampler], and "
                "run it again"
            )
        try:
            return weights.opened(self.weights, stated)
        except Unreadable as error:
            raise Damaged(self.path, weights.NAME, error) from error

    def checksums_of_weights(self) -> np.ndarray:
        """The CRC-32 (chains,) of the draws' weights; the whole file is compared with its SHA-256.

        Raises `InputError` for a file that is not the one that the run has written.
        """
        try:
            sums, digest = weights.checksums(self.weights)
        except Unreadable as error:
            raise Damaged(self.path, weights.NAME, error) from error
        if digest != _sums(self.load_manifest()).get(weights.NAME):
            reason = "it is not the file that the run has written"
            raise Damaged(self.path, weights.NAME, reason)
        return sums

    def check_finished(self, *, with_all_weights: bool = False) -> dict[str, Any]:
        """The manifest of a finished run, whose files have all been compared with their checksums.

        Of weights.npy this is the quick one, and last_state.npz is left out, unless the whole files
        are asked for. Raises `InputError` where a file is not what the run has written.
        """
        manifest = self.load_manifest()
        sums = _sums(manifest)
        if not sums:  # of an earlier version
            self.load_summary()
            self.load_config()
        for name in ("config.toml", "summary.json", "posterior.nc", *_copies(sums)):
            self._compare(name, sums.get(name))
        if "weights" in manifest:
            self.load_weights()
        if "weights" in manifest and with_all_weights:
            self._compare(weights.NAME, sums.get(weights.NAME))
        if with_all_weights and self.keeps_state(manifest):
            self._compare(claims.LAST_STATE, sums.get(claims.LAST_STATE))
        return manifest

    def _record(self, name: str) -> dict[str, Any]:
        try:
            return read_record(self.path / name)
        except Unreadable as error:
            raise Damaged(self.path, name, error) from error

    def _verify(self, name: str) -> None:
        """Raise `InputError` where a finished run's file is not the one that its manifest names."""
        if self.is_finished:
            self._compare(name, _sums(self.load_manifest()).get(name))

    def _compare(self, name: str, stated: object) -> None:
        try:
            actual = sum_of(self.path / name)
        except Unreadable as error:
            raise Damaged(self.path, name, error) from error
        if stated not in (None, actual):
            raise Damaged(self.path, name, "it is not the file that the run has written")


def _command(*words: str | Path) -> str:
    """A command line of langevin-nn, as a shell reads it."""
    return shlex.join(["langevin-nn", *map(str, words)])


def _copies(sums: Mapping[str, Any]) -> list[str]:
    """The names of a run's files that are copies of the user's own code."""
    return [name for name in sums if name.startswith(f"{COPIES}/")]


def _sums(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The SHA-256 of each of a run's files; empty for a run of an earlier version."""
    sums = manifest.get("files")
    return sums if isinstance(sums, Mapping) else {}
