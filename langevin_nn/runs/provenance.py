"""Where numbers come from: versions, device, git state. For manifests and `langevin-nn info`."""

import dataclasses
import functools
import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

import langevin_nn
from langevin_nn.config.record import RunConfig
from langevin_nn.import_paths import ModuleFile
from langevin_nn.model.precision import MATMUL_PRECISION
from langevin_nn.runs.standard_scaling import StandardScaling

PACKAGES = (
    "langevin-nn", "jax", "jaxlib", "equinox", "numpyro", "arviz", "xarray", "numpy", "matplotlib",
)  # fmt: skip
SUM_PATTERN = re.compile(r"sha256:([0-9a-f]+)")
"""The SHA-256 of a file in the provenance of a data set."""


def manifest(
    config: RunConfig,
    provenance: tuple[str, ...],
    wall_seconds: float,
    modules: Sequence[ModuleFile] = (),
    extensions: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The content of a run's manifest: what, besides the configuration, its numbers depend on.

    `extensions` are the records (`extension`) of how often the run was extended.
    """
    scaling = StandardScaling.of(config)
    user_modules = {"modules": [module.record() for module in modules]} if modules else {}
    return {
        "run_id": config.content_hash,
        "seed": config.seed,
        "precision": config.precision,
        "matmul_precision": MATMUL_PRECISION,
        "data": list(provenance),
        **({} if scaling is None else {"standard_scaling": dataclasses.asdict(scaling)}),
        **user_modules,
        **({"extensions": list(extensions)} if extensions else {}),
        "versions": versions(),
        "device": device(),
        "git": _own_git_state(),
        "wall_seconds": wall_seconds,
    }


def extension(extends: Mapping[str, Any], num_draws: int) -> dict[str, Any]:
    """The record of an extension that ends now: draws of each chain, when, and by which version.

    `extends` says what run was extended, and how many draws it had.
    """
    return {
        "from_run": extends.get("run_id"),
        "from_draws": extends.get("draws"),
        "to_draws": num_draws,
        "when": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "version": langevin_nn.__version__,
    }


def data_differences(theirs: Sequence[str], mine: Sequence[str]) -> list[str]:
    """In words, the data files whose SHA-256 differ between two provenances.

    They are compared where both provenances have sums, by the digits that both sums have.

    >>> data_differences(["task.npz sha256:01234567"], ["task.npz sha256:ff23"])
    ['task.npz sha256:01234567 there, task.npz sha256:ff23 here']
    """
    their_files, my_files = (
        [entry for entry in provenance if SUM_PATTERN.search(entry)]
        for provenance in (theirs, mine)
    )
    if not their_files or not my_files:
        return []
    if len(their_files) == len(my_files) and all(map(_same_file, their_files, my_files)):
        return []
    return [f"{', '.join(their_files)} there, {', '.join(my_files)} here"]


def _same_file(entry: str, other: str) -> bool:
    sums = [match[1] for match in map(SUM_PATTERN.search, (entry, other)) if match]
    length = min(map(len, sums))
    return sums[0][:length] == sums[1][:length]


def device() -> dict[str, Any]:
    """The device that JAX computes on, and the machine around it."""
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
    """The git state of this process's own code, asked for once."""
    return git_state(Path(__file__).parent)


@functools.cache
def versions() -> dict[str, str | None]:
    """The versions of Python and of `PACKAGES`, None for a package that is not installed."""

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {"python": platform.python_version()} | {name: installed(name) for name in PACKAGES}


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit and cleanness of the checkout that the package in `folder` is from.

    None outside one: an installed package says nothing about a repository that it happens to be in.
    """

    def git(*words: str) -> str | None:
        try:
            completed = subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return completed.stdout.strip()

    tracked = git("ls-files", "--error-unmatch", Path(__file__).name)
    commit = git("rev-parse", "HEAD")
    if tracked is None or commit is None:
        return None
    return {"commit": commit, "uncommitted_changes": bool(git("status", "--porcelain"))}
