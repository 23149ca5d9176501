"""Where numbers come from: versions, device, git state. For manifests and `langevin-nn info`."""

import functools
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from langevin_nn.config.record import RunConfig
from langevin_nn.import_paths import ModuleFile
from langevin_nn.model.precision import MATMUL_PRECISION

PACKAGES = (
    "langevin-nn", "jax", "jaxlib", "equinox", "numpyro", "arviz", "xarray", "numpy", "matplotlib",
)  # fmt: skip
SUM = re.compile(r"sha256:([0-9a-f]+)")
"""A file's sum in a data set's provenance."""


def manifest(
    config: RunConfig,
    provenance: tuple[str, ...],
    wall_seconds: float,
    modules: Sequence[ModuleFile] = (),
) -> dict[str, Any]:
    """Everything besides the configuration that a run's numbers may depend on."""
    own = {"modules": [module.record() for module in modules]} if modules else {}
    return {
        "run_id": config.content_hash,
        "seed": config.seed,
        "precision": config.precision,
        "matmul_precision": MATMUL_PRECISION,
        "data": list(provenance),
        **own,
        "versions": versions(),
        "device": device(),
        "git": _own_git_state(),
        "wall_seconds": wall_seconds,
    }


def data_differences(theirs: Sequence[str], mine: Sequence[str]) -> list[str]:
    """The data files that differ between two provenances, by their SHA-256, in words.

    Only what both of them have a sum of is compared, by the digits that both have.

    >>> data_differences(["task.npz sha256:01234567"], ["task.npz sha256:ff23"])
    ['task.npz sha256:01234567 there, task.npz sha256:ff23 here']
    """
    there, here = ([word for word in words if SUM.search(word)] for words in (theirs, mine))
    if not there or not here:
        return []
    if len(there) == len(here) and all(map(_same_file, there, here)):
        return []
    return [f"{', '.join(there)} there, {', '.join(here)} here"]


def _same_file(one: str, other: str) -> bool:
    sums = [found[1] for found in map(SUM.search, (one, other)) if found]
    length = min(map(len, sums))
    return sums[0][:length] == sums[1][:length]


def device() -> dict[str, Any]:
    """What JAX computes on, and the machine around it."""
    first = jax.devices()[0]
    return {
        "platform": first.platform,
        "kind": first.device_kind,
        "count": jax.device_count(),
        "cpu_cores": os.cpu_count(),
        "system": platform.platform(),
    }


def precision() -> dict[str, str]:
    """The floating-point types of sampling and theory, and whether JAX's switch allows float64."""
    switch = "on" if jax.numpy.result_type(float) == "float64" else "off"
    return {
        "sampling": "float32 by default, float64 on request",
        "theory": "float64",
        "matrix products": f"{MATMUL_PRECISION}: float32 is float32, not TF32, on GPUs too",
        "jax_enable_x64": f"{switch} (the command line turns it on)",
    }


@functools.cache
def _own_git_state() -> dict[str, Any] | None:
    """That of the code in this process, however many runs it makes."""
    return git_state(Path(__file__).parent)


@functools.cache
def versions() -> dict[str, str | None]:
    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {"python": platform.python_version()} | {name: installed(name) for name in PACKAGES}


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and cleanness of the checkout that the package in `folder` is from.

    None outside one: an installed package says nothing about a repository that it happens to be in.
    """

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    tracked = git("ls-files", "--error-unmatch", Path(__file__).name)
    commit = git("rev-parse", "HEAD")
    if tracked is None or commit is None:
        return None
    return {"commit": commit, "uncommitted_changes": bool(git("status", "--porcelain"))}
