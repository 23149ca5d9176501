"""Run folders: what a run leaves behind, written so that nothing is ever half there.

    config.toml      the configuration with every default resolved
    manifest.json    versions, device, seed, git state, data, wall time
    posterior.nc     draws in the ArviZ schema: groups posterior (chain, draw, test_point),
                     sample_stats, observed_data, constant_data; and theory (theory, test_point)
    summary.json     the numbers, with their standard errors
    figures/         PNG
    checkpoint/      while the run lasts: the state and the draws so far

A folder is a run's if it holds `config.toml`; the run is finished if it holds `summary.json`.
"""

import dataclasses
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from langevin_nn import config as configuration
from langevin_nn.config import RunConfig
from langevin_nn.files import write_atomically, write_text
from langevin_nn.sampling.chains import Chains
from langevin_nn.types import Estimate, Generalisation, InputError

@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def is_run(self) -> bool:
        return (self.path / "config.toml").is_file()

    @property
    def is_finished(self) -> bool:
        return (self.path / "summary.json").is_file()

    def claim(self, config: RunConfig, *, resume: bool, overwrite: bool) -> None:
        """Make the folder this run's own, or raise `InputError` and leave it as it was."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file: write --output FOLDER")
        occupied = self.path.is_dir() and any(self.path.iterdir())
        if occupied and not self.is_run:
            raise InputError(
                f"{self.path} holds files that are not a run's: write --output with another folder"
            )
        if occupied and overwrite:
            self._delete()
        elif occupied and not resume:
            state = "a finished run" if self.is_finished else "an unfinished run"
            goes_on = "" if self.is_finished else "--resume to go on, "
            raise InputError(
                f"{self.path} holds {state}: write {goes_on}--overwrite to replace it, "
                "or --output with another folder"
            )
        elif occupied:
            self._check_same(config)
            return
        existed = self.path.is_dir()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(self.path / "config.toml", config.to_toml())
        except OSError as error:
            if self.path.is_dir() and not existed:
                self.path.rmdir()
            raise InputError(
                f"cannot write into {self.path} ({error.strerror}): write --output with a folder "
                "that can be written"
            ) from error

    def discard(self) -> None:
        """Remove a run that produced nothing."""
        if self.is_run and not self.is_finished:
            self._delete()
            self.path.rmdir()

    def remove_checkpoint(self) -> None:
        if self.checkpoint.exists():
            shutil.rmtree(self.checkpoint)

    def load_config(self) -> RunConfig:
        if not self.is_run:
            raise InputError(f"{self.path} is not a run folder: it has no config.toml")
        return configuration.load(self.path / "config.toml")

    def save_posterior(
        self, chains: Chains, y_train: np.ndarray, theories: Mapping[str, Generalisation]
    ) -> None:
        tree = posterior_tree(chains, y_train, theories)
        write_atomically(
            self.path / "posterior.nc", lambda path: tree.to_netcdf(path, engine="h5netcdf")
        )

    def save_json(self, name: str, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        write_text(self.path / name, text + "\n")

    def load_summary(self) -> dict[str, Any]:
        if not self.is_finished:
            raise InputError(
                f"{self.path} holds no finished run (no summary.json): "
                "run it first, or go on with --resume"
            )
        content = json.loads((self.path / "summary.json").read_text(encoding="utf-8"))
        assert isinstance(content, dict)
        return content

    def load_posterior(self) -> xr.DataTree:
        try:
            return xr.load_datatree(self.path / "posterior.nc", engine="h5netcdf")
        except OSError as error:
            raise InputError(f"cannot read {self.path / 'posterior.nc'}: {error}") from error

    def _check_same(self, config: RunConfig) -> None:
        mine, theirs = config.to_dict(), self.load_config().to_dict()
        if mine == theirs:
            return
        flat_mine, flat_theirs = _flat(mine), _flat(theirs)
        names = [n for n in sorted({*flat_mine, *flat_theirs}) if flat_mine.get(n) != flat_theirs.get(n)]
        listed = ", ".join(
            f"{n} = {flat_theirs.get(n)!r} there, {flat_mine.get(n)!r} here" for n in names
        )
        raise InputError(f"{self.path} is a run of another configuration ({listed})")

    def _delete(self) -> None:
        for item in self.path.iterdir():
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            else:
                item.unlink()


def posterior_tree(
    chains: Chains, y_train: np.ndarray, theories: Mapping[str, Generalisation]
) -> xr.DataTree:
    """Draws and theories as groups in the ArviZ schema."""
    draws = ("chain", "draw")
    f = xr.Dataset({"f": ((*draws, "test_point"), chains.test_outputs)})
    for name, values in chains.observables.items():
        extra = [f"{name}_dim_{i}" for i in range(values.ndim - 2)]
        f[name] = ((*draws, *extra), values)
    f = f.assign_coords(
        chain=np.arange(f.sizes["chain"]),
        draw=np.arange(f.sizes["draw"]),
        test_point=np.arange(f.sizes["test_point"]),
    )
    f.attrs = {
        "inference_library": "langevin_nn",
        "sampling_time": chains.wall_seconds,
        "thinning": chains.thinning,
    }
    stats = xr.Dataset(
        {
            "energy": (draws, chains.energy),
            "train_error": (draws, chains.train_error),
            "diverging": (draws, ~np.isfinite(chains.energy)),
        },
        coords={"chain": f.chain, "draw": f.draw},
    )
    stats.attrs = {
        "step_size": chains.step_size,
        "curvature": chains.curvature,
        "step_size_shift": chains.step_size_shift,
    }
    groups = {
        "posterior": f,
        "sample_stats": stats,
        "observed_data": xr.Dataset({"y_train": ("train_point", y_train)}),
        "constant_data": xr.Dataset(
            {"y_test": ("test_point", chains.y_test), "targets_midpoint": chains.targets_midpoint}
        ),
        "theory": xr.Dataset(
            {
                name: (
                    ("theory", "test_point"),
                    np.array([getattr(theory, name) for theory in theories.values()]),
                )
                for name in ("predictive_mean", "predictive_variance")
                if theories
            },
            coords={"theory": list(theories)},
        ),
    }
    return xr.DataTree.from_dict({f"/{name}": group for name, group in groups.items()})


def chains_of(tree: xr.DataTree) -> Chains:
    """The chains that `posterior_tree` stored, without their last state."""
    posterior, stats = tree["posterior"], tree["sample_stats"]
    return Chains(
        test_outputs=posterior["f"].to_numpy(),
        train_error=stats["train_error"].to_numpy(),
        energy=stats["energy"].to_numpy(),
        observables={str(k): v.to_numpy() for k, v in posterior.data_vars.items() if k != "f"},
        y_test=tree["constant_data"]["y_test"].to_numpy(),
        targets_midpoint=float(tree["constant_data"]["targets_midpoint"]),
        params=None,
        step_size=float(stats.attrs["step_size"]),
        curvature=float(stats.attrs["curvature"]),
        step_size_shift=float(stats.attrs["step_size_shift"]),
        thinning=int(posterior.attrs["thinning"]),
        wall_seconds=float(posterior.attrs["sampling_time"]),
    )


def theories_of(tree: xr.DataTree, summary: Mapping[str, Any]) -> dict[str, Generalisation]:
    """The theories that `posterior_tree` and `theory_summary` stored."""
    stored = tree["theory"]
    theories = {}
    for name, numbers in summary["theory"].items():
        at_points = {
            key: stored[key].sel(theory=name).to_numpy()
            for key in ("predictive_mean", "predictive_variance")
        }
        averages = {
            key: Estimate(numbers[key])
            for key in ("bias2", "variance", "generalisation_error", "train_error", "test_accuracy")
        }
        theories[name] = Generalisation(
            name=name,
            **at_points,
            **averages,
            order_parameters=tuple(numbers["order_parameters"]),
            converged=numbers["converged"],
            message=numbers["message"],
        )
    return theories


def experiment_summary(measured: Generalisation, chains: Chains) -> dict[str, Any]:
    """The part `experiment` of summary.json."""
    diagnostics = measured.diagnostics
    assert diagnostics is not None, "an experiment's result carries its diagnostics"
    return {
        "bias2": _estimate(measured.bias2),
        "variance": _estimate(measured.variance),
        "generalisation_error": _estimate(measured.generalisation_error),
        "train_error": _estimate(measured.train_error),
        "test_accuracy": measured.test_accuracy.value,
        "test_accuracy_mcse": measured.test_accuracy.mcse,
        "rhat": {name: _number(value) for name, value in diagnostics.rhat.items()},
        "ess": {name: _number(value) for name, value in diagnostics.ess.items()},
        "rhat_max": _number(diagnostics.rhat_max),
        "ess_min": _number(diagnostics.ess_min),
        "converged": measured.converged,
        "message": measured.message,
        "acceptance": diagnostics.acceptance,
        "step_size": chains.step_size,
        "stability_limit": chains.stability_limit,
        "step_size_relative_bias": _number(chains.step_size_shift / measured.variance.value),
        "num_chains": diagnostics.num_chains,
        "num_draws": diagnostics.num_draws,
        "diverged_chains": diagnostics.diverged_chains,
        "wall_seconds": chains.wall_seconds,
    }


def theory_summary(theory: Generalisation) -> dict[str, Any]:
    """One entry of the part `theory` of summary.json."""
    return {
        "bias2": theory.bias2.value,
        "variance": theory.variance.value,
        "generalisation_error": theory.generalisation_error.value,
        "train_error": theory.train_error.value,
        "test_accuracy": theory.test_accuracy.value,
        "order_parameters": list(theory.order_parameters),
        "converged": theory.converged,
        "message": theory.message,
    }


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return {"value": _number(estimate.value), "mcse": _number(estimate.mcse)}


def _number(value: float) -> float | None:
    """JSON has no NaN: a number that does not exist is null."""
    return float(value) if math.isfinite(value) else None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
