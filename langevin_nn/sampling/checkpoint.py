"""Checkpoints of a run: the state after each chunk, and the draws chunk by chunk.

A folder holds `state.npz` and one `draws-NNNNNNNN.npz` for each chunk of recorded draws, named by
its first draw. The draws of a chunk are on the disk before the state that counts them, and each
file is renamed into place, so a process killed at any moment loses at most one chunk.
"""

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from langevin_nn.files import write_arrays
from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.base import Transition
from langevin_nn.types import InputError

NUMBER = "number_"
"""How the names of a point's numbers begin in `state.npz`."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands: steps made, draws recorded, and each point's numbers that outlive it."""

    steps: int
    draws: int
    numbers: list[dict[str, float]]


class Checkpoint:
    """Checkpoints in `folder`, of the run that `fingerprint` names."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        self.fingerprint = fingerprint

    @property
    def exists(self) -> bool:
        return (self.folder / "state.npz").exists()

    def save(self, state: Any, progress: Progress, chunk: dict[str, np.ndarray] | None) -> None:
        """Write the draws of one chunk (arrays (draw, point, chain, …)), then the state after."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if chunk:
            first = progress.draws - len(next(iter(chunk.values())))
            write_arrays(self.folder / f"draws-{first:08d}.npz", chunk)
        leaves = jax.tree.leaves(state)
        arrays = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        for name in progress.numbers[0]:
            arrays[NUMBER + name] = np.array([float(each[name]) for each in progress.numbers])
        arrays["progress"] = np.array([progress.steps, progress.draws])
        arrays["fingerprint"] = np.array(self.fingerprint)
        write_arrays(self.folder / "state.npz", arrays)

    def load(self, like: Any) -> tuple[Any, Progress, list[dict[str, np.ndarray]]]:
        """The state in the structure of `like`, the progress, and the chunks of draws so far.

        Raises `InputError` if a file cannot be read or belongs to another run.
        """
        saved = self._read("state.npz")
        if str(saved.get("fingerprint")) != self.fingerprint:
            raise InputError(
                f"the checkpoint in {self.folder} is of another run (its data or configuration "
                "differ): use the configuration that it was made with, "
                "or --overwrite to start again"
            )
        try:
            leaves, structure = jax.tree.flatten(like)
            state = jax.tree.unflatten(structure, [saved[f"leaf_{i}"] for i in range(len(leaves))])
            steps, draws = (int(x) for x in saved["progress"])
        except (KeyError, ValueError) as error:
            raise self._damaged("state.npz", error) from error
        columns = {k.removeprefix(NUMBER): v for k, v in saved.items() if k.startswith(NUMBER)}
        numbers = [
            dict(zip(columns, map(float, row), strict=True))
            for row in zip(*columns.values(), strict=True)
        ]
        chunks: list[dict[str, np.ndarray]] = []
        done = 0
        while done < draws:
            name = f"draws-{done:08d}.npz"
            chunks.append(self._read(name))
            lengths = {len(values) for values in chunks[-1].values()}
            if len(lengths) != 1 or not 0 < min(lengths) <= draws - done:
                raise self._damaged(name, f"{lengths} draws, of {draws - done}")
            done += lengths.pop()
        return state, Progress(steps, draws, numbers), chunks

    def _read(self, name: str) -> dict[str, np.ndarray]:
        try:
            with (self.folder / name).open("rb") as stream:
                file = np.load(stream, allow_pickle=False)
                if not isinstance(file, np.lib.npyio.NpzFile):
                    raise ValueError("it is no archive of arrays")
                return {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            raise self._damaged(name, error) from error

    def _damaged(self, name: str, reason: object) -> InputError:
        return InputError(
            f"the checkpoint file {self.folder / name} cannot be read ({reason}): "
            "use --overwrite to start again"
        )


def fingerprint(
    points: Sequence[Posterior], transition: Transition, keys: Sequence[PRNGKeyArray], settings: Any
) -> str:
    """A hash of all that the draws depend on; `keys` are typed."""
    digest = hashlib.sha256()
    for leaf in (*jax.tree.leaves(points), *(jax.random.key_data(key) for key in keys)):
        if eqx.is_array_like(leaf):
            digest.update(np.asarray(leaf).tobytes())
    for spec in (posterior.spec for posterior in points):
        activation = spec.activation.name if spec.activation else ""
        words = (spec.architecture, spec.hidden_widths, activation)
        digest.update(repr((words, spec.patches, spec.num_outputs, spec.bias_precisions)).encode())
    kinds = (type(points[0]).__name__, type(transition).__name__)
    own = [str(number) for number in jax.tree.leaves(transition, is_leaf=lambda x: x is None)]
    digest.update(repr((kinds, own, settings)).encode())
    return digest.hexdigest()
