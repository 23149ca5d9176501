"""Finished runs that go on with more draws, bit for bit as if they had been longer from the start.

A run keeps its last state (`last_state.npz`). To extend it, a checkpoint is made of that and of its
draws in `.extending/`, a run folder in its own, and the run of the new configuration goes on from
there as from any checkpoint. The finished run stays beside it, whole, until the longer one is
finished and takes its place (`claims.promote`). Only the number of draws and the errors that end
them may be other ones.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langevin_nn.config.record import RunConfig
from langevin_nn.config.sampler import FIELDS_OF_LENGTH
from langevin_nn.files import link, make_folder, remove
from langevin_nn.import_paths import ModuleFile, is_of_own_code
from langevin_nn.runs import claims
from langevin_nn.runs.folder import RunFolder, Wanted, quietly
from langevin_nn.runs.provenance import extension
from langevin_nn.sampling.draws import Chains
from langevin_nn.sampling.dynamics.step_size import Diverged
from langevin_nn.sampling.engine.checkpoint import Reached, steps_in
from langevin_nn.sampling.engine.kept_weights import WeightsFile
from langevin_nn.sampling.engine.last_state import LastState, write_checkpoint
from langevin_nn.sampling.ladders import save_ladder
from langevin_nn.types import InputError

MORE = (
    "write --sampler.num_samples with more draws (with a target error --sampler.max_draws), or a "
    "smaller --sampler.target_error"
)
"""The advice where nothing is there to go on for."""

ANEW = "run it anew by --overwrite, or into another folder by --output"
"""The advice for a run that cannot go on."""


@dataclass(frozen=True)
class Ended:
    """A finished run that can go on: its last state, its draws and its manifest."""

    folder: RunFolder
    state: LastState
    chains: Chains
    manifest: Mapping[str, Any]

    @classmethod
    def of(cls, folder: RunFolder, wanted: Wanted) -> "Ended":
        """The finished run in the folder, which is to go on as the wanted one.

        Raises `InputError`, with nothing touched, where it cannot.
        """
        require_extendable(folder, wanted)
        chains, _ = folder.load_results()
        state = folder.load_last_state(chains)
        sampler = wanted.config.sampler
        if state.num_draws > sampler.most_draws:
            raise InputError(
                f"{folder.path} has {state.num_draws:,} draws of each chain already, and "
                f"{sampler.most_draws:,} are asked for: {MORE}"
            )
        return cls(folder, state, chains, folder.load_manifest())

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures of its ladder above its own, none without one."""
        tempering = self.folder.load_summary().tempering
        return tuple(rung.temperature for rung in tempering.rungs[1:]) if tempering else ()

    @property
    def reached(self) -> Reached:
        """How far the run is on its way to the longer one."""
        series = {"energy": self.chains.energy}
        return Reached(int(self.state.state["progress"][0]), self.chains.wall_seconds, series)

    @property
    def progress(self) -> tuple[int, int, int]:
        """What runs that go on together share: numbers of draws, of the warm-up's steps, stride."""
        return self.state.num_draws, self.state.warmup, self.state.stride

    def extensions(self, chains: Chains) -> list[Any]:
        """The records of how often the longer run with these chains was extended."""
        earlier = self.origin["extensions"]
        return [*earlier, extension(self.origin["extends"], chains.energy.shape[1])]

    @property
    def origin(self) -> dict[str, Any]:
        """What the longer run's checkpoint says of this one, for the history in its manifest."""
        run_id, extensions = self.manifest.get("run_id"), self.manifest.get("extensions", [])
        extends = {"run_id": run_id, "draws": self.state.num_draws}
        return {"extends": extends, "extensions": extensions}


def require_extendable(folder: RunFolder, wanted: Wanted, instead: str = ANEW) -> None:
    """Raise `InputError` unless the folder has a finished run that can go on as the wanted one.

    Where its last state is not there, `instead` is the advice.
    """
    if not folder.is_run:
        raise InputError(
            f"{folder.path} holds no run to be extended: leave --extend out to begin one, or write "
            "--output with the folder of a finished run"
        )
    if not folder.is_finished:
        raise InputError(
            f"{folder.path} holds an unfinished run: write --resume in place of --extend to go on "
            "with it"
        )
    if differences := folder.differences(wanted, but_for=FIELDS_OF_LENGTH):
        raise InputError(
            f"--extend goes on with the same run, but for its number of draws or its target error; "
            f"that in {folder.path} is another one ({', '.join(differences)}): write the same, or "
            "--output with another folder and no --extend"
        )
    if not folder.keeps_state():
        raise InputError(
            f"{folder.path} cannot be extended, since {_why_no_state(folder)}: {instead}"
        )


def _why_no_state(folder: RunFolder) -> str:
    if not folder.load_config().sampler.keep_state:
        return "its configuration has keep_state = false"
    if claims.LAST_STATE in folder.load_manifest().get("files", {}):
        return f"its {claims.LAST_STATE} is gone"
    return f"it has no {claims.LAST_STATE}, which earlier versions did not keep"


def ended(
    folder: RunFolder,
    config: RunConfig,
    *,
    data: Sequence[str] = (),
    modules: Sequence[ModuleFile] = (),
) -> Ended:
    """The finished run in the folder, as `claimed` extends it; nothing is touched.

    Raises `InputError` where it cannot be extended so.
    """
    return Ended.of(folder, Wanted(config, data, modules))


def is_as_wanted(folder: RunFolder, wanted: Wanted) -> bool:
    """Whether the finished run in the folder is the wanted one already."""
    return folder.is_finished and not folder.differences(wanted)


def is_under_way(folder: RunFolder, config: RunConfig) -> bool:
    """Whether the run in the folder is being extended, or was, to that of this configuration."""
    staged = folder.extension
    with contextlib.suppress(InputError):
        return _goes_on(staged) and staged.load_config().content_hash == config.content_hash
    return False


@contextlib.contextmanager
def claimed(
    folder: RunFolder,
    config: RunConfig,
    *,
    data: Sequence[str] = (),
    modules: Sequence[ModuleFile] = (),
) -> Iterator[RunFolder]:
    """A context in which the finished run in the folder is extended to that of `config`.

    `data` is the data's provenance, `modules` are the files of the user's own code.

    It gives the folder of the longer run, whose checkpoint is to be resumed; at the end of the
    context that run takes the place of the shorter one. Where the folder has the run of `config`
    already, it gives that.

    Raises `InputError`, and leaves everything as it was, where the run cannot be extended so. An
    extension that diverges, or ends in an error before it has saved anything, leaves no trace.
    """
    wanted = Wanted(config, data, modules)
    staged = folder.extension
    if not folder.is_run and not claims.is_unsettled(folder.path):
        require_extendable(folder, wanted)
    with folder.locked():
        try:
            claims.recover(folder.path)
            is_new = not _goes_on(staged)
            is_there = is_new and is_as_wanted(folder, wanted)
            if not is_there:
                _take(folder, staged, wanted)
        except OSError as error:
            raise folder.unwritable(error) from error
        if is_there:
            yield folder
            return
        begun_at = steps_in(staged.checkpoint / "state.npz")
        try:
            yield staged
        except BaseException as error:
            is_as_begun = is_new and steps_in(staged.checkpoint / "state.npz") == begun_at
            ended_by_user = is_of_own_code(error) and is_new
            if staged.is_finished:  # interrupted after the summary, which comes last
                quietly(claims.promote, folder.path)
            elif isinstance(error, Diverged) or ended_by_user or is_as_begun:
                quietly(remove, staged.path)
            raise
        claims.promote(folder.path)


def _goes_on(staged: RunFolder) -> bool:
    """Whether the folder of a longer run was made to its end, so that it can go on."""
    return staged.is_run and staged.has_state


def _take(folder: RunFolder, staged: RunFolder, wanted: Wanted) -> None:
    """Make the folder of the longer run, unless it can go on; its state comes last."""
    if _goes_on(staged):
        if differences := staged.differences(wanted):
            raise InputError(
                f"{folder.path} is being extended to another run ({', '.join(differences)}): write "
                f"the same to go on, or delete {staged.path} to give that up"
            )
        return
    ended = Ended.of(folder, wanted)
    try:
        remove(staged.path)
        make_folder(staged.path)
        staged.begin(wanted, ended.origin)
        paths = [staged.weights] if wanted.config.sampler.keep_weights else None
        begin_checkpoint(staged.checkpoint, [ended], paths)
    except BaseException:
        quietly(remove, staged.path)
        raise


def begin_checkpoint(
    checkpoint: Path,
    runs: Sequence[Ended],
    weights: Sequence[Path | None] | None,
    *,
    looks: bool = True,
) -> None:
    """Write a checkpoint from which these runs go on side by side, in a folder that is there.

    `weights` are the files that the weights of their draws go into, None where none are kept.
    Without `looks` a rule that would have ended them before is not held against them.
    """
    sums: np.ndarray | None = None
    for index, path in enumerate(weights or ()):
        if path is not None:
            rows = runs[index].folder.checksums_of_weights()
            sums = np.zeros((len(runs), len(rows)), np.uint32) if sums is None else sums
            sums[index] = rows
            WeightsFile.remove_begun(path)
            remove(path)
            link(runs[index].folder.weights, path)
    if runs[0].temperatures:
        save_ladder(checkpoint, runs[0].temperatures)
    seconds = sum(run.chains.wall_seconds for run in runs)
    write_checkpoint(checkpoint, [run.state for run in runs], seconds, sums, looks=looks)
