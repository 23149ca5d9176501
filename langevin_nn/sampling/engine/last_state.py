"""What a sampling that has ended goes on from: its last state, and records that its draws lack.

A file of it has the content of a checkpoint's `state.npz` (weights, momenta and whatever else the
dynamics carries, the settings, the curvatures, the number of steps of the warm-up), the slopes, and
the records that `Chains` does not give back from a file: f at the training inputs, and on a ladder
all records of all rungs. With the draws it becomes a checkpoint again (`write_checkpoint`), from
which a run of another length goes on as if it had never stopped.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from langevin_nn.files import Unreadable, read_arrays, write_arrays
from langevin_nn.sampling.draws import Chains
from langevin_nn.sampling.engine.checkpoint import (
    CORES_ENTRY,
    FINGERPRINT_ENTRY,
    FIRST_DRAW_ENTRY,
    NO_LOOKS_ENTRY,
    NUMBER_PREFIX,
    SLOPE_PREFIX,
    STRIDE_ENTRY,
    WEIGHTS_ENTRY,
    Checkpoint,
    EngineProgress,
    state_arrays,
)
from langevin_nn.sampling.stopping import Ending
from langevin_nn.types import InputError

RECORD_PREFIX = "record_"
"""The prefix of the names of records in the file."""


@dataclass(frozen=True)
class LastState:
    """The last state of some points by name, their records and slopes (draw, point, chain, …).

    `stride` is the number of draws from one with slopes to the next. Points that exchange weights
    are `coupled`: they go on together only.
    """

    state: dict[str, np.ndarray]
    records: dict[str, np.ndarray]
    slopes: dict[str, np.ndarray]
    stride: int
    coupled: bool = False

    @classmethod
    def of(
        cls,
        states: Any,
        progress: EngineProgress,
        checkpoint: Checkpoint,
        records: Mapping[str, np.ndarray],
        slopes: Mapping[str, np.ndarray],
        coupled: bool,
    ) -> "LastState":
        """What the points of a sampling go on from after its last draw."""
        state = state_arrays(jax.device_get(states), progress, checkpoint.identity)
        return cls(state, dict(records), dict(slopes), checkpoint.slope_stride, coupled)

    def of_point(self, index: int) -> "LastState | None":
        """What one of the points goes on from; of coupled ones the first has it for all."""
        if self.coupled:
            return None if index else self
        whole = {"progress", "fingerprint"}
        state = {k: v if k in whole else v[index : index + 1] for k, v in self.state.items()}
        records, slopes = (
            {name: values[:, index : index + 1] for name, values in series.items()}
            for series in (self.records, self.slopes)
        )
        return LastState(state, records, slopes, self.stride)

    @property
    def num_draws(self) -> int:
        """The number of draws of each chain."""
        return int(self.state["progress"][1])

    @property
    def warmup(self) -> int:
        """The number of steps of the warm-up."""
        return int(self.state[f"{NUMBER_PREFIX}warmup"][0])

    def save(self, path: Path) -> None:
        """Write the file, atomically; of uncoupled points without the records of `Chains`."""
        known = () if self.coupled else RESTORED
        arrays = dict(self.state)
        arrays |= {RECORD_PREFIX + k: v for k, v in self.records.items() if k not in known}
        arrays |= {SLOPE_PREFIX + name: values for name, values in self.slopes.items()}
        arrays[STRIDE_ENTRY] = np.array(self.stride)
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path, chains: Chains) -> "LastState":
        """What the file has, with the records of the chains that were saved beside it.

        Raises `Unreadable` for a file that cannot be read or does not fit the chains.
        """
        arrays = read_arrays(path)
        try:
            stride = int(arrays.pop(STRIDE_ENTRY))
            records = _without_prefix(arrays, RECORD_PREFIX)
            slopes = _without_prefix(arrays, SLOPE_PREFIX)
            coupled = "energy" in records
            if not coupled:
                records |= {name: v[:, None] for name, v in chains.records().items()}
            loaded = cls(arrays, records, slopes, stride, coupled)
            lengths = {len(values) for values in records.values()}
            if lengths != {loaded.num_draws} or not loaded.warmup >= 0:
                raise Unreadable(f"it has {loaded.num_draws} draws, and the run {lengths}")
        except (KeyError, ValueError, IndexError, TypeError) as error:
            if isinstance(error, Unreadable):
                raise
            raise Unreadable(f"it lacks {error}") from error
        return loaded


RESTORED = (
    "test_outputs", "train_error", "energy", "test_variances", "acceptance", "nonfinite",
    "test_draws", "control_variates",
)  # fmt: skip
"""The names of the records that `Chains` which were read from a file give back."""


def write_checkpoint(
    folder: Path,
    points: Sequence[LastState],
    seconds: float,
    sums: np.ndarray | None,
    *,
    looks: bool = True,
) -> None:
    """Write a checkpoint from which these points go on side by side, the state last.

    They have the same number of draws and the same warm-up. `seconds` is the time of their
    sampling, `sums` are the checksums (files, chains) of the weights that are kept. `looks` says
    whether a rule is asked at the looks before, too, where one long sampling might have ended.
    """
    state = {"progress": points[0].state["progress"]}
    for name in points[0].state.keys() - {"progress", "fingerprint"}:
        state[name] = np.concatenate([point.state[name] for point in points])
    state[f"{NUMBER_PREFIX}seconds"] = np.full(len(state[CORES_ENTRY]), seconds)
    made_of = repr((state[CORES_ENTRY].tolist(), state["progress"].tolist()))
    # No sampling of its own has this name: one of another length goes on.
    name_of_run = np.array(f"ended-{hashlib.sha256(made_of.encode()).hexdigest()}")
    state["fingerprint"] = name_of_run
    if not looks:
        state[NO_LOOKS_ENTRY] = np.array(True)
    chunk = {
        name: np.concatenate([point.records[name] for point in points], axis=1)
        for name in points[0].records
        if all(name in point.records for point in points)
    }
    chunk |= {
        SLOPE_PREFIX + name: np.concatenate([point.slopes[name] for point in points], axis=1)
        for name in points[0].slopes
    }
    chunk |= {FINGERPRINT_ENTRY: name_of_run, FIRST_DRAW_ENTRY: np.array(0)}
    chunk[STRIDE_ENTRY] = np.array(points[0].stride)
    if sums is not None:
        chunk[WEIGHTS_ENTRY] = sums
    write_arrays(folder / f"draws-{0:08d}.npz", chunk)
    write_arrays(folder / "state.npz", state)


def require_longer(
    ending: Ending, draws: int, chains: Callable[[], Sequence[Chains]], *, looks: bool
) -> None:
    """Raise `InputError` where a sampling that ends so would not have had so many draws.

    With `looks` its rule is asked at the looks before.
    """
    if draws > ending.num_samples:
        raise InputError(
            f"there are {draws:,} draws of each chain already, and {ending.num_samples:,} are "
            "asked for: write more than that"
        )
    if looks and (number := ending.earlier_end(draws, chains)) is not None:
        raise InputError(
            f"there are {draws:,} draws of each chain already, and the errors that are asked for "
            f"were reached after {number:,}: write smaller ones"
        )


def _without_prefix(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Take the arrays whose names have the prefix out of `arrays`, by the rest of their names."""
    names = [name for name in arrays if name.startswith(prefix)]
    return {name.removeprefix(prefix): arrays.pop(name) for name in names}
