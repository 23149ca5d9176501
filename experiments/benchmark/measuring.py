"""The common parts of the benchmark: tasks, the pace of the driver, the machine."""

import contextlib
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

import langevin_nn as lnn
from experiments import num_cores
from langevin_nn.runs import provenance

PRECISIONS = (1.0, 1.0)
NUM_TEST = 100
AXIS = "chains of a rival"


@dataclass(frozen=True)
class Size:
    """A task and a network of one hidden layer of `width` erf units.

    The task is MNIST 0/1, CIFAR-10 airplane/automobile in colour, digits 0/1 or Gaussian inputs,
    whose dimension is `in_size`.
    """

    source: str
    num_train: int
    width: int
    num_chains: int
    in_size: int = 784
    temperature: float = 0.01


def posterior_of(
    size: Size, readout: str = "sampled", precisions: tuple[float, ...] = PRECISIONS
) -> Any:
    """The posterior in float32; the same task and template for the same size."""
    key = jax.random.key(0)
    data = lnn.load_dataset(
        size.source, num_train=size.num_train, num_test=NUM_TEST, in_size=size.in_size,
        colour=size.source == "cifar10", key=key,
    )  # fmt: skip
    network = lnn.FullyConnected(data.in_size, (size.width,), activation="erf", key=key)
    kind = lnn.MarginalisedPosterior if readout == "marginalised" else lnn.GibbsPosterior
    return kind(network, lnn.GaussianPrior(precisions), data, size.temperature)


class Enough(Exception):
    """The exception by which a progress callback ends a run of the driver."""


class Stopwatch:
    """A `progress` for `lnn.sample` that measures the driver.

    A chunk counts if it lies after the warm-up and is not the first there, which has the end of the
    warm-up in it. `meanwhile` is called before each chunk that counts, and is in none of their
    times. After `chunks` of them, if given, `Enough` is raised.
    """

    def __init__(
        self, chunks: int | None = None, meanwhile: Callable[[], None] | None = None
    ) -> None:
        self.chunks, self.meanwhile = chunks, meanwhile
        self.began = self.resumed = time.perf_counter()
        self.reports: list[tuple[int, float]] = []
        """The (steps, seconds since the start) of each report."""
        self.intervals: list[tuple[int, float]] = []
        """The (steps, seconds) of each chunk that counts."""

    def __call__(self, report: Any) -> None:
        now = time.perf_counter()
        before = self.reports[-1][0] if self.reports else 0
        self._last = (report.steps - before, now - self.resumed)
        if before > report.warmup_steps:
            self.intervals.append(self._last)
        self.reports.append((report.steps, now - self.began))
        if self.chunks is not None and len(self.intervals) >= self.chunks:
            raise Enough
        if self.meanwhile is not None and report.steps > report.warmup_steps:
            self.meanwhile()
        self.resumed = time.perf_counter()

    @property
    def paces(self) -> list[float]:
        """The seconds of a step in each chunk that counts."""
        return [seconds / steps for steps, seconds in self.intervals]

    @property
    def pace(self) -> float:
        """The mean seconds of a step in the chunks that count; in the last chunk if none counts."""
        chunks = self.intervals or [self._last]
        return sum(seconds for _, seconds in chunks) / sum(steps for steps, _ in chunks)


def drive(posterior: Any, dynamics: Any, stopwatch: Stopwatch, **counts: int) -> Any:
    """The chains of `lnn.sample`; None where the stopwatch ended it."""
    with contextlib.suppress(Enough):
        return lnn.sample(posterior, dynamics, key=jax.random.key(1), progress=stopwatch, **counts)
    return None


def name_of(dynamics: Any) -> str:
    return type(dynamics).__name__.lower()


def seconds_of(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def spread(values: Iterable[float]) -> dict[str, float]:
    """The median, the smallest and the largest of the values."""
    values = list(values)
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def configure_jax() -> None:
    """Set JAX to single precision, as at the command line, and to memory as it is needed."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    jax.config.update("jax_enable_x64", False)


def on_gpu() -> bool:
    return jax.default_backend() != "cpu"


def chain_sharding(num_chains: int) -> jax.sharding.NamedSharding:
    """A sharding of chains over as many devices as divide their number, as in the driver.

    Its axis has another name: what the package does on the driver's mesh is not done on this one.
    """
    devices = jax.devices()
    num_devices = max(n for n in range(1, len(devices) + 1) if num_chains % n == 0)
    mesh = jax.sharding.Mesh(np.array(devices[:num_devices]), (AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))


def machine() -> dict[str, Any]:
    """The versions, device, processor and commit on which the numbers depend."""
    versions = provenance.versions()
    for name in ("torch", "blackjax"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    device = provenance.device() | {"processor": _processor(), "cores": num_cores()}
    git = provenance.git_state(Path(provenance.__file__).parent)
    return {"versions": versions, "device": device, "git": git}


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def memory(kind: str) -> float:
    """The bytes of this process, "now" or at its "peak"; on a GPU those of the device.

    Linux counts the memory of the parent in a child's ru_maxrss, but not in VmHWM.
    """
    if on_gpu():
        statistics_of = jax.devices()[0].memory_stats() or {}
        return float(statistics_of["bytes_in_use" if kind == "now" else "peak_bytes_in_use"])
    status = Path("/proc/self/status")
    if status.exists():
        field = "VmRSS:" if kind == "now" else "VmHWM:"
        fields = [line.split() for line in status.read_text().splitlines()]
        return 1024 * next(float(line[1]) for line in fields if line[0] == field)
    scale = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * scale
