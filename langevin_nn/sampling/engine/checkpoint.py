"""Checkpoints of a run: the state after each chunk, and the draws chunk by chunk.

A folder holds `state.npz` and one `draws-NNNNNNNN.npz` for each chunk of recorded draws, named by
its first draw. The draws of a chunk are on the disk before the state that counts them, and each
file is renamed into place, so a process killed at any moment loses at most one chunk.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from langevin_nn import locks
from langevin_nn.files import Unreadable, make_folder, read_arrays, write_arrays
from langevin_nn.sampling.engine.chunks import Buffer, joined
from langevin_nn.sampling.engine.identity import Identity
from langevin_nn.types import InputError

SLOPE_PREFIX = "slope_"
"""The prefix of the names of slopes in a chunk's file, which has fewer of them than draws."""

FINGERPRINT_ENTRY, FIRST_DRAW_ENTRY = "chunk/fingerprint", "chunk/first"
"""The names, in a chunk's file, of the run's fingerprint and of the number of the first draw."""
WEIGHTS_ENTRY = "chunk/weights"
"""The name, in a chunk's file, of the checksums of the weights that are kept of its draws."""
STRIDE_ENTRY = "chunk/slope_stride"
"""The name, in a chunk's file, of the number of draws from one with slopes to the next."""
CORES_ENTRY, LINEAGE_ENTRY = "cores", "lineage"
"""The names, in `state.npz`, of the points' cores and of the fingerprints of shorter runs before.

A run that goes on longer than it was to has draws of both (`identity`).
"""
NO_LOOKS_ENTRY = "no_looks"
"""The name, in `state.npz`, of a mark: a rule is not asked whether it would have ended before."""

NUMBER_PREFIX = "number_"
"""The prefix of the names of a point's numbers in `state.npz`."""

START_AGAIN = "start again, by --overwrite at the command line, by resume=False in Python"
"""The advice of messages where a checkpoint cannot be resumed."""


@dataclass(frozen=True)
class EngineProgress:
    """The progress of a run: steps made, draws recorded, the time, and each point's settings.

    `settings` are those of the dynamics, and `curvatures` the largest Λ_max(∇²𝓛) over each point's
    chains at the end of the warm-up, NaN where it is not measured; None before that end. `warmup`
    is the number of its steps, and None as long as a warm-up that ends by itself has not ended; its
    `energies` (points, record, chain) are kept until then.
    """

    steps: int
    draws: int
    seconds: float
    settings: Sequence[Any]
    curvatures: Sequence[float] | None = None
    warmup: int | None = None
    energies: np.ndarray | None = None

    @property
    def is_warm(self) -> bool:
        """Whether all steps of the warm-up are done."""
        return self.warmup is not None and self.steps >= self.warmup

    @property
    def settled(self) -> bool:
        """Whether the warm-up has ended, so that the settings are those of the draws."""
        return self.curvatures is not None

    def columns(self) -> dict[str, list[Any]]:
        """The numbers of all points by name, in the form in which a checkpoint stores them."""
        num_points = len(self.settings)
        fields = self.settings[0]._fields
        columns = {name: [getattr(settings, name) for settings in self.settings] for name in fields}
        if self.curvatures is not None:
            columns |= {"curvature": list(self.curvatures), "settled": [1.0] * num_points}
        if self.warmup is not None:
            columns["warmup"] = [self.warmup] * num_points
        if self.energies is not None:
            columns["warmup_energies"] = list(self.energies)
        return columns | {"seconds": [self.seconds] * num_points}


class Saved(NamedTuple):
    """A checkpoint's content: state, steps, draws, each point's numbers by name, chunks of draws.

    Settings that are younger than the version that has written it are not among the numbers.
    `sums` are the first draw, the number of draws and the checksums of the kept weights of each
    chunk, as far as weights are kept.
    """

    state: Any
    steps: int
    draws: int
    numbers: list[dict[str, Any]]
    chunks: list[Buffer]
    sums: list[tuple[int, int, np.ndarray]]


class Checkpoint:
    """The checkpoints in `folder` of the run with this `identity`.

    What a run of another length has saved is gone on with where everything else is the same.
    """

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.folder = folder
        self.identity = identity
        self.lineage: tuple[str, ...] = ()
        """The fingerprints of the runs of other lengths that the first draws are of."""
        self.is_of_another_length = False
        """Whether the state that was loaded was saved by a run of another length."""
        self.looks_back = True
        """Whether a rule is asked, of a run of another length, if it would have ended before."""
        self.slope_stride = identity.slope_stride
        """The number of draws from one with slopes to the next, also of those that were loaded."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the run."""
        return self.identity.fingerprint

    @property
    def exists(self) -> bool:
        """Whether the folder holds a state, be it readable or not."""
        return os.path.lexists(self.folder / "state.npz")

    def save(
        self,
        state: Any,
        progress: EngineProgress,
        chunk: Buffer | None,
        sums: np.ndarray | None = None,
    ) -> None:
        """Write the draws of one chunk (arrays (draw, point, chain, …)), then the state after.

        `sums` are the checksums of the weights that are kept of these draws.
        """
        if chunk:
            first = progress.draws - len(next(iter(chunk.draws.values())))
            slopes = {SLOPE_PREFIX + name: values for name, values in chunk.slopes.items()}
            origin = {
                FINGERPRINT_ENTRY: np.array(self.fingerprint),
                FIRST_DRAW_ENTRY: np.array(first),
            } | ({} if sums is None else {WEIGHTS_ENTRY: sums})
            origin[STRIDE_ENTRY] = np.array(self.slope_stride)
            write_arrays(self.folder / f"draws-{first:08d}.npz", chunk.draws | slopes | origin)
        arrays = state_arrays(state, progress, self.identity)
        if self.lineage:
            arrays[LINEAGE_ENTRY] = np.array(self.lineage)
        write_arrays(self.folder / "state.npz", arrays)

    def load(self, like: Callable[[list[dict[str, Any]]], Any]) -> Saved:
        """The content saved last; `like` gives the state's shapes from each point's numbers.

        Raises `InputError` if a file cannot be read or belongs to another run.
        """
        saved = self._read("state.npz")
        self._compare(saved)
        columns = {
            k.removeprefix(NUMBER_PREFIX): v
            for k, v in saved.items()
            if k.startswith(NUMBER_PREFIX)
        }
        try:
            rows = zip(*(column.tolist() for column in columns.values()), strict=True)
            numbers = [dict(zip(columns, row, strict=True)) for row in rows]
            shapes = like(numbers)
            leaves, structure = jax.tree.flatten(shapes)
            state = jax.tree.unflatten(structure, [saved[f"leaf_{i}"] for i in range(len(leaves))])
            steps, draws = (int(x) for x in saved["progress"])
            _check_same_shapes(shapes, state)
        except (KeyError, ValueError, TypeError) as error:
            raise self._damaged("state.npz", error) from error
        chunks: list[Buffer] = []
        sums: list[tuple[int, int, np.ndarray]] = []
        origins: list[tuple[int, np.ndarray | None]] = []
        num_loaded = 0
        while num_loaded < draws:
            name = f"draws-{num_loaded:08d}.npz"
            arrays = self._read(name)
            # Files of an earlier version have neither entry.
            origin = (
                str(arrays.pop(FINGERPRINT_ENTRY, self.fingerprint)),
                str(arrays.pop(FIRST_DRAW_ENTRY, num_loaded)),
            )
            if origin[0] not in (self.fingerprint, *self.lineage) or origin[1] != str(num_loaded):
                raise self._damaged(name, "it holds draws of another run, or other draws")
            weight_sums = arrays.pop(WEIGHTS_ENTRY, None)
            stride = arrays.pop(STRIDE_ENTRY, None)
            slopes = {k: arrays.pop(k) for k in list(arrays) if k.startswith(SLOPE_PREFIX)}
            slopes = {k.removeprefix(SLOPE_PREFIX): values for k, values in slopes.items()}
            if self.lineage and not self.identity.at_train:
                arrays.pop("train_outputs", None)
            if stride is not None:
                self.slope_stride = math.lcm(self.slope_stride, int(stride))
            elif slopes and self.is_of_another_length:
                raise self._damaged(name, "an earlier version has written it, for this length only")
            else:
                slopes = {}  # an earlier version's, of draws that it does not name
            origins.append((num_loaded, stride))
            chunks.append(Buffer(arrays, slopes))
            lengths = {len(values) if values.ndim else 0 for values in arrays.values()}
            if len(lengths) != 1 or not 0 < min(lengths) <= draws - num_loaded:
                raise self._damaged(name, f"{lengths} draws, of {draws - num_loaded}")
            if chunks[-1].draws.keys() != chunks[0].draws.keys():
                raise self._damaged(name, "it holds other series than the draws before")
            if weight_sums is not None:
                sums.append((num_loaded, min(lengths), weight_sums))
            num_loaded += lengths.pop()
        chunks = [
            chunk
            if stride is None
            else Buffer(chunk.draws, self._at_stride(chunk.slopes, first, int(stride)))
            for chunk, (first, stride) in zip(chunks, origins, strict=True)
        ]
        return Saved(state, steps, draws, numbers, chunks, sums)

    def _compare(self, saved: Mapping[str, np.ndarray]) -> None:
        """Raise `InputError` unless the state is of this run, or of one of another length."""
        stated, cores = str(saved.get("fingerprint")), saved.get(CORES_ENTRY)
        self.lineage = tuple(map(str, saved.get(LINEAGE_ENTRY, ())))
        if stated == self.fingerprint:
            return
        if not self.identity.cores or cores is None or cores.tolist() != [*self.identity.cores]:
            raise InputError(
                f"the checkpoint in {self.folder} is of another run (its data or configuration "
                f"differ): use the configuration that it was made with, or {START_AGAIN}"
            )
        self.lineage = tuple(dict.fromkeys((*self.lineage, stated)))
        self.is_of_another_length = True
        self.looks_back = NO_LOOKS_ENTRY not in saved

    def _at_stride(
        self, slopes: dict[str, np.ndarray], first: int, stride: int
    ) -> dict[str, np.ndarray]:
        """The slopes that all draws have, of those from `first` on, each `stride`-th with some.

        These are the slopes of one long run, whose stride is a multiple of a shorter one's. Where
        it is none (a version before had others than powers of two, and a rule follows a run with
        more draws than it is expected to take), they are fewer.
        """
        if not slopes or self.slope_stride == stride:
            return slopes
        number = len(next(iter(slopes.values())))
        numbers = (-(-first // stride) + np.arange(number)) * stride
        return {name: values[numbers % self.slope_stride == 0] for name, values in slopes.items()}

    def _read(self, name: str) -> dict[str, np.ndarray]:
        try:
            return read_arrays(self.folder / name)
        except Unreadable as error:
            raise self._damaged(name, error) from error

    def _damaged(self, name: str, reason: object) -> InputError:
        return InputError(
            f"the checkpoint file {self.folder / name} cannot be read ({reason}): {START_AGAIN}"
        )


def state_arrays(state: Any, progress: EngineProgress, identity: Identity) -> dict[str, np.ndarray]:
    """The content of `state.npz` by name, but for the lineage."""
    leaves = jax.tree.leaves(state)
    arrays = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    arrays |= {NUMBER_PREFIX + name: np.array(row) for name, row in progress.columns().items()}
    arrays["progress"] = np.array([progress.steps, progress.draws])
    arrays["fingerprint"] = np.array(identity.fingerprint)
    if identity.cores:
        arrays[CORES_ENTRY] = np.array(identity.cores)
    return arrays


def steps_in(state: Path) -> int:
    """The steps that were made before this `state.npz`; 0 where it cannot be read."""
    with contextlib.suppress(Unreadable, KeyError, IndexError, ValueError):
        return int(read_arrays(state, only="progress")["progress"][0])
    return 0


class Reached(NamedTuple):
    """How far a run is, of which a checkpoint tells: its steps, seconds, and draws by name.

    The draws are those of the first point, (chain, draw, …); a run that has none yet has no names.
    """

    steps: int = 0
    seconds: float = 0.0
    series: Mapping[str, np.ndarray] = MappingProxyType({})

    @property
    def num_draws(self) -> int:
        """The number of draws of each chain."""
        return self.series["energy"].shape[1] if "energy" in self.series else 0


def reached(folder: Path) -> Reached | None:
    """How far the run is that saves checkpoints in `folder`, while it runs; None before the first.

    Only reads, and takes what is whole: draws that are not there yet, or of an earlier run, are
    left out. Raises `Unreadable` for a state that cannot be read.
    """
    if not (folder / "state.npz").exists():
        return None
    saved = read_arrays(folder / "state.npz")
    try:
        steps, draws = (int(number) for number in saved["progress"])
        seconds = float(saved[f"{NUMBER_PREFIX}seconds"].ravel()[0])
        fingerprints = {*map(str, (saved["fingerprint"], *saved.get(LINEAGE_ENTRY, ())))}
    except (KeyError, ValueError, IndexError) as error:
        raise Unreadable(f"it lacks {error}") from error
    chunks: list[dict[str, np.ndarray]] = []
    first = 0
    while first < draws:
        try:
            arrays = read_arrays(folder / f"draws-{first:08d}.npz")
        except Unreadable:
            break
        if str(arrays.pop(FINGERPRINT_ENTRY, saved["fingerprint"])) not in fingerprints:
            break
        for entry in (FIRST_DRAW_ENTRY, WEIGHTS_ENTRY, STRIDE_ENTRY):
            arrays.pop(entry, None)
        chunks.append({k: v for k, v in arrays.items() if not k.startswith(SLOPE_PREFIX)})
        length = max(len(values) for values in chunks[-1].values())
        if not length:
            break
        first += length
    series = {name: np.moveaxis(v[:, 0], 0, 1) for name, v in joined(chunks).items()}
    return Reached(steps, seconds, series)


@contextlib.contextmanager
def writing(folder: Path | None) -> Iterator[None]:
    """A context in which this process has made and locked the checkpoint's folder, if it is given.

    Raises `InputError` if another process writes checkpoints there.
    """
    if folder is None:
        yield
        return
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    with contextlib.ExitStack() as stack:
        for path in reversed(absent):
            make_folder(path)
            stack.callback(_remove_empty, path)
        lock = folder / ".lock"
        if not stack.enter_context(locks.held(lock)):
            raise InputError(
                f"{folder} is in use, by {locks.holder(lock) or 'another process'}: wait until "
                "that has ended, or give another folder as checkpoint"
            )
        yield


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def _check_same_shapes(like: Any, state: Any) -> None:
    """Raise ValueError if the arrays of two states differ in shape or type."""
    for expected, saved in zip(jax.tree.leaves(like), jax.tree.leaves(state), strict=True):
        if expected.shape != saved.shape or expected.dtype != saved.dtype:
            raise ValueError(f"an array {saved.dtype}{saved.shape} for one {expected.shape}")
