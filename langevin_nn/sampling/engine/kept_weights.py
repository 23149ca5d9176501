"""The weights of all recorded draws, streamed into a file while they are drawn.

The file is NumPy's, of an array (chain, draw, weight), on a ladder (chain, draw, rung, weight). A
draw's weights are those of the whole network on the original inputs, its arrays one after the
other in the order of `jax.tree.leaves`, each row by row: those that `observables` see.

The file is made at its largest size under a temporary name. Each draw is written at its place,
those of a chunk are on the disk before the state that counts them, and the checkpoint has their
checksums (CRC-32), with which a run that goes on compares what it finds. At the end the file is
renamed; one of a run that has ended before its largest number of draws is copied without the rest.
Where a run that has ended goes on, its file is copied into a longer one, and stays until then.
"""

import contextlib
import errno
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from langevin_nn.files import Unreadable, remove, require_file
from langevin_nn.footprint import in_words
from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.engine.checkpoint import START_AGAIN
from langevin_nn.types import ChainKeys, InputError

READ_BYTES = 2**24
"""The most bytes that are read at once while a file is compared with its checksums."""


def flat_weights(
    posterior: Posterior, params: Any, keys: ChainKeys
) -> Float[Array, "chains weights"]:
    """The weights of the networks that have the f of `record` with the same keys."""
    networks = posterior.lifted_networks(params, keys)
    marks: Any = eqx.is_inexact_array
    if posterior.sampled_leaves is not None:
        marks = jax.tree.unflatten(jax.tree.structure(networks), posterior.sampled_leaves)
    weights: Array = jax.vmap(lambda arrays: ravel_pytree(arrays)[0])(eqx.filter(networks, marks))
    return weights


def number_of_weights(posterior: Posterior) -> int:
    """The number of weights of one network as they are kept; nothing is computed."""

    def of_one(key: Array) -> Array:
        return flat_weights(posterior, posterior.sample_prior(key, 1), key[None])

    return int(eqx.filter_eval_shape(of_one, jax.random.key(0)).shape[1])


class WeightsFile:
    """The file `path` of an array of this shape and type, chains and draws its first two axes."""

    def __init__(self, path: Path, shape: Sequence[int], dtype: Any) -> None:
        self.path = path
        self.part = _begun(path)
        self.dtype = np.dtype(dtype)
        self._descriptor = -1
        self._num_whole: int | None = None
        self._set_shape(tuple(shape))

    def _set_shape(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        header = BytesIO()
        layout = {"descr": self.dtype.str, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(header, layout)
        self.header = header.getvalue()

    @property
    def row_bytes(self) -> int:
        """The bytes of one draw of one chain."""
        return int(np.prod(self.shape[2:], dtype=np.int64)) * self.dtype.itemsize

    @property
    def num_bytes(self) -> int:
        """The bytes of the whole file."""
        return len(self.header) + self.shape[0] * self.shape[1] * self.row_bytes

    @property
    def bytes_to_come(self) -> int:
        """The bytes that the disk does not hold yet: all of them, unless the file was begun."""
        for path in (self.part, self.path):
            with contextlib.suppress(OSError):
                status = os.stat(path)
                if status.st_size == self.num_bytes:
                    return max(0, self.num_bytes - 512 * status.st_blocks)
        return self.num_bytes

    def begin(self) -> None:
        """Make the file anew, at its full size."""
        remove(self.part)
        self._open(self.part, os.O_RDWR | os.O_CREAT)
        os.ftruncate(self._descriptor, self.num_bytes)
        self._write(self.header, 0)

    def go_on(self, sums: Sequence[tuple[int, int, np.ndarray]]) -> None:
        """Open the file that was begun, or that is whole already.

        `sums` are the first draw, the number of draws and the sums (chains,) of each chunk. Raises
        `InputError` for a file that is not there or does not hold these draws.
        """
        path, wanted = self.part, self.shape[1]
        self._num_whole = None
        if not os.path.lexists(path):  # it is whole, without the draws that a rule has spared
            path = self.path
            num_draws = sum(count for _, count, _ in sums)
            self._num_whole = wanted
            self._set_shape((self.shape[0], num_draws, *self.shape[2:]))
        try:
            require_file(path)
            self._open(path, os.O_RDWR)
            if (size := os.fstat(self._descriptor).st_size) != self.num_bytes:
                raise Unreadable(f"it has {size:,} bytes, not {self.num_bytes:,}")
            if os.pread(self._descriptor, len(self.header), 0) != self.header:
                raise Unreadable("it is of an array of another shape or type")
            for first, count, expected in sums:
                if any(self._sum(c, first, count) != number for c, number in enumerate(expected)):
                    raise Unreadable(f"draws {first} to {first + count - 1} are not those drawn")
        except (OSError, Unreadable) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"the weights in {path} cannot be gone on with ({reason}): {START_AGAIN}"
            ) from error

    def write(self, draw: int, rows: np.ndarray, sums: np.ndarray) -> None:
        """Write a draw of all chains, (chains, …); it is added to the sums (chains,)."""
        if draw >= self.shape[1] and self._num_whole:
            self._lengthen(self._num_whole)
        for chain, row in enumerate(rows):
            content = np.ascontiguousarray(row, self.dtype).tobytes()
            self._write(content, self._place(chain, draw))
            sums[chain] = zlib.crc32(content, int(sums[chain]))

    def flush(self) -> None:
        """Let the disk have what was written."""
        os.fsync(self._descriptor)

    def finish(self, num_draws: int) -> None:
        """Give the file its name; it has so many draws."""
        self.flush()
        if not os.path.lexists(self.part):
            return
        if num_draws < self.shape[1]:
            self._copy(num_draws)
        else:
            os.replace(self.part, self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    @staticmethod
    def remove_begun(path: Path) -> None:
        """Remove what was begun of the file at `path`, and is not gone on with."""
        with contextlib.suppress(OSError):
            remove(_begun(path))

    def _copy(self, num_draws: int) -> None:
        """Write the first draws as a file of their own, and remove this one."""
        with self._copied(num_draws, num_draws) as shorter:
            shorter.finish(num_draws)
        remove(self.part)

    def _lengthen(self, num_draws: int) -> None:
        """Go on in a file that was begun, with room for so many draws; this one stays as it is."""
        with self._copied(self.shape[1], num_draws) as longer:
            longer.flush()
            os.replace(longer.part, self.part)
        self._set_shape(longer.shape)
        self._open(self.part, os.O_RDWR)
        self._num_whole = None

    @contextlib.contextmanager
    def _copied(self, num_copied: int, num_draws: int) -> Iterator["WeightsFile"]:
        """A context with a file of `num_draws` that has the first `num_copied` draws of this one.

        It has a temporary name; what still has that at the end of the context is removed.
        """
        other = WeightsFile(self.path, (self.shape[0], num_draws, *self.shape[2:]), self.dtype)
        other.part = self.path.with_name(f".{self.path.name}.0.part")
        try:
            other.begin()
            for chain in range(self.shape[0]):
                place, left = self._place(chain, 0), num_copied * self.row_bytes
                target = other._place(chain, 0)
                while left:
                    content = os.pread(self._descriptor, min(left, READ_BYTES), place)
                    if not content:
                        raise OSError(errno.EIO, "it ends too early", str(self.part))
                    other._write(content, target)
                    place, target = place + len(content), target + len(content)
                    left -= len(content)
            yield other
        finally:
            other.close()
            with contextlib.suppress(OSError):
                remove(other.part)

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _open(self, path: Path, flags: int) -> None:
        self.close()
        self._descriptor = os.open(path, flags, 0o666)

    def _place(self, chain: int, draw: int) -> int:
        return len(self.header) + (chain * self.shape[1] + draw) * self.row_bytes

    def _write(self, content: bytes, place: int) -> None:
        rest = memoryview(content)
        while rest:
            written = os.pwrite(self._descriptor, rest, place)
            rest, place = rest[written:], place + written

    def _sum(self, chain: int, first: int, count: int) -> int:
        """The CRC-32 of consecutive draws of one chain, as the file has them."""
        place, left, number = self._place(chain, first), count * self.row_bytes, 0
        while left:
            content = os.pread(self._descriptor, min(left, READ_BYTES), place)
            if not content:
                return -1
            number = zlib.crc32(content, number)
            place, left = place + len(content), left - len(content)
        return number


@dataclass(frozen=True)
class KeptWeights:
    """The files into which the weights of several points go, while these are sampled together.

    Each point has a file, None for a point whose weights are not kept; or all of them, the rungs of
    a ladder, are `joined` in one.
    """

    files: tuple[WeightsFile | None, ...]
    joined: bool = False
    at_most: bool = False
    """Whether a rule may end the draws before their largest number."""

    @classmethod
    def of(
        cls,
        paths: Sequence[Path | None],
        posterior: Posterior,
        num_chains: int,
        num_samples: int,
        rungs: int | None = None,
    ) -> "KeptWeights":
        """The files at `paths` for posteriors like this one, or the one for a ladder of `rungs`."""
        inner = () if rungs is None else (rungs,)
        shape = (num_chains, num_samples, *inner, number_of_weights(posterior))
        files = [WeightsFile(path, shape, posterior.dtype) if path else None for path in paths]
        return cls(tuple(files), rungs is not None)

    def __str__(self) -> str:
        first = self._open[0]
        names = ("chains", "draws", *(("rungs",) if self.joined else ()), "weights")
        sizes = " × ".join(f"{n:,} {name}" for n, name in zip(first.shape, names, strict=True))
        left = in_words(disk_left(existing(first.path.parent)))
        size = f"{in_words(self.num_bytes)}{' at most' if self.at_most else ''}"
        return f"{sizes}, {size}; {left} are left on the disk"

    @property
    def num_bytes(self) -> int:
        """The bytes of all files."""
        return sum(file.num_bytes for file in self._open)

    def require_disk(self) -> None:
        """Raise `InputError`, with the numbers, where the disks have no room for what is to come.

        Nothing is touched.
        """
        require_disk(self._open)

    def begin(self) -> None:
        """Make all files anew."""
        for file in self._open:
            file.begin()

    def go_on(self, sums: Sequence[tuple[int, int, np.ndarray]]) -> None:
        """Open all files, which hold the draws that have these sums (files, chains)."""
        for index, file in enumerate(self.files):
            if file:
                file.go_on([(first, count, by_file[index]) for first, count, by_file in sums])

    def keep(self, first: int, draws: Iterable[np.ndarray]) -> np.ndarray:
        """Write consecutive draws (point, chain, weight); their sums (files, chains)."""
        num_chains = next(file.shape[0] for file in self._open)
        sums = np.zeros((len(self.files), num_chains), np.uint32)
        for number, weights in enumerate(draws, first):
            by_file = [np.moveaxis(weights, 0, 1)] if self.joined else weights
            for file, rows, file_sums in zip(self.files, by_file, sums, strict=True):
                if file:
                    file.write(number, rows, file_sums)
        for file in self._open:
            file.flush()
        return sums

    def finish(self, num_draws: int) -> None:
        """Give all files their names; they have so many draws."""
        for file in self._open:
            file.finish(num_draws)

    def close(self, *, discard: bool) -> None:
        """Close all files; those that were begun are removed if they are to be discarded."""
        for file in self._open:
            file.close()
            if discard:
                file.remove_begun(file.path)

    @property
    def _open(self) -> list[WeightsFile]:
        return [file for file in self.files if file]


@contextlib.contextmanager
def kept(keeping: KeptWeights | None, checkpoint: Path | None) -> Iterator[None]:
    """A context at whose end the files are closed; without a saved state none is left unfinished.

    A file that cannot be made is an OSError.
    """
    try:
        yield
    finally:
        if keeping:
            saved = checkpoint is not None and os.path.lexists(checkpoint / "state.npz")
            keeping.close(discard=not saved)


def _begun(path: Path) -> Path:
    """The name of the file at `path` while it is not whole."""
    return path.with_name(f".{path.name}.part")


def require_disk(files: Iterable[WeightsFile]) -> None:
    """Raise `InputError`, with the numbers, where the disks have no room for these files.

    What the disk holds of them already counts. Nothing is touched.
    """
    needed: dict[int, int] = {}
    folders: dict[int, Path] = {}
    for file in files:
        folder = existing(file.path.parent)
        device = folder.stat().st_dev
        needed[device] = needed.get(device, 0) + file.bytes_to_come
        folders[device] = folder
    for device, num_bytes in needed.items():
        if num_bytes > (left := disk_left(folders[device])):
            raise InputError(
                f"not enough room on the disk: the weights that are kept take "
                f"{in_words(num_bytes)}, and {in_words(left)} are left in {folders[device]}: "
                "write fewer chains, draws or hidden units, or a path on another disk"
            )


def existing(folder: Path) -> Path:
    """The folder, or the innermost one above it that there is."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())


def disk_left(folder: Path) -> int:
    """The bytes that the disk of this folder has left for this user."""
    return shutil.disk_usage(folder).free
