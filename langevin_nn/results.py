"""What a run found, in the form that is stored, and back.

`posterior_tree` is posterior.nc: the ArviZ schema, with a further group for the theories. The
`…_summary` functions are the parts of summary.json.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from langevin_nn.analysis.tempering import Tempering
from langevin_nn.config import RunConfig
from langevin_nn.sampling.draws import Chains
from langevin_nn.theory.suite import Predictions
from langevin_nn.types import Estimate, Generalisation


@dataclass(frozen=True)
class Result:
    """What a run found; `tempering` where it had a ladder."""

    config: RunConfig
    chains: Chains
    measured: Generalisation
    predictions: Predictions
    tempering: Tempering | None = None


PER_DRAW = ("acceptance", "nonfinite")
"""Series (chain, draw) that only a dynamics with an acceptance step has."""


def posterior_tree(
    chains: Chains, y_train: np.ndarray, theories: Mapping[str, Generalisation]
) -> xr.DataTree:
    """Draws and theories as groups in the ArviZ schema.

    `f` has a companion `f_variance` where the read-out is marginalised: mean and variance given
    the hidden weights of a draw. With several outputs, whatever has the dimension `test_point` or
    `train_point` has `output` too, but for `f_variance`, which is the same for each output.
    """
    draws = ("chain", "draw")
    output = ("output",) * (chains.y_test.ndim - 1)
    f = xr.Dataset({"f": ((*draws, "test_point", *output), chains.test_outputs)})
    if chains.test_variances is not None:
        f["f_variance"] = ((*draws, "test_point"), chains.test_variances)
    for name, values in chains.observables.items():
        extra = [f"{name}_dim_{i}" for i in range(values.ndim - 2)]
        f[name] = ((*draws, *extra), values)
    f = f.assign_coords(
        {name: np.arange(f.sizes[name]) for name in (*draws, "test_point", *output)}
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
    for name in PER_DRAW:
        if (values := getattr(chains, name)) is not None:
            stats[name] = (draws, values)
    stats.attrs = {
        "step_size": chains.step_size,
        "curvature": chains.curvature,
        "step_size_shift": chains.step_size_shift,
    }
    if chains.trajectory_length is not None:
        stats.attrs["trajectory_length"] = chains.trajectory_length
    groups = {
        "posterior": f,
        "sample_stats": stats,
        "observed_data": xr.Dataset({"y_train": (("train_point", *output), y_train)}),
        "constant_data": xr.Dataset(
            {
                "y_test": (("test_point", *output), chains.y_test),
                "targets_midpoint": chains.targets_midpoint,
            }
        ),
        "theory": xr.Dataset(
            {
                name: (
                    ("theory", "test_point", *output),
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
    variables = {str(k): v.to_numpy() for k, v in posterior.data_vars.items()}
    trajectory = stats.attrs.get("trajectory_length")
    return Chains(
        test_outputs=variables.pop("f"),
        test_variances=variables.pop("f_variance", None),
        train_error=stats["train_error"].to_numpy(),
        energy=stats["energy"].to_numpy(),
        observables=variables,
        acceptance=stats["acceptance"].to_numpy() if "acceptance" in stats else None,
        nonfinite=stats["nonfinite"].to_numpy() if "nonfinite" in stats else None,
        trajectory_length=None if trajectory is None else float(trajectory),
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
        at_points = stored.sel(theory=name)
        theories[name] = Generalisation(
            name=name,
            predictive_mean=at_points["predictive_mean"].to_numpy(),
            predictive_variance=at_points["predictive_variance"].to_numpy(),
            bias2=_kept(numbers, "bias2"),
            variance=_kept(numbers, "variance"),
            generalisation_error=_kept(numbers, "generalisation_error"),
            train_error=_kept(numbers, "train_error"),
            test_accuracy=_kept(numbers, "test_accuracy"),
            order_parameters=_loaded(numbers["order_parameters"]),
            log_evidence=numbers.get("log_evidence"),
            converged=numbers["converged"],
            message=numbers["message"],
        )
    return theories


def experiment_summary(measured: Generalisation, chains: Chains) -> dict[str, Any]:
    """The part `experiment` of summary.json."""
    diagnostics = measured.diagnostics
    assert diagnostics is not None, "an experiment's result carries its diagnostics"
    variance = measured.variance.value
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
        "nonfinite_proposals": diagnostics.nonfinite,
        "step_size": chains.step_size,
        "trajectory_length": chains.trajectory_length,
        "stability_limit": _number(chains.stability_limit),
        "step_size_relative_bias": _number(chains.step_size_shift / variance) if variance else None,
        "num_chains": diagnostics.num_chains,
        "num_draws": diagnostics.num_draws,
        "diverged_chains": diagnostics.diverged_chains,
        "wall_seconds": chains.wall_seconds,
    }


def tempering_summary(tempering: Tempering) -> dict[str, Any]:
    """The part `tempering` of summary.json: one entry of `rungs` for each temperature."""
    integration = tempering.integration
    rungs = []
    for temperature, measured, evidence, quadrature in zip(
        integration.temperatures, tempering.measured, integration.log_evidence,
        integration.quadrature, strict=True,
    ):  # fmt: skip
        diagnostics = measured.diagnostics
        assert diagnostics is not None, "an experiment's result carries its diagnostics"
        numbers = ("bias2", "variance", "generalisation_error", "train_error")
        rungs.append(
            {
                "temperature": temperature,
                **{name: _estimate(getattr(measured, name)) for name in numbers},
                "log_evidence": _estimate(evidence),
                "log_evidence_quadrature": _number(quadrature),
                "rhat_max": _number(diagnostics.rhat_max),
                "ess_min": _number(diagnostics.ess_min),
                "acceptance": diagnostics.acceptance,
                "converged": measured.converged,
                "message": measured.message,
            }
        )
    return {
        "rungs": rungs,
        "swap_acceptance": list(tempering.swap_acceptance),
        "round_trips": tempering.round_trips,
        "message": tempering.complaint,
    }


def theory_summary(theory: Generalisation) -> dict[str, Any]:
    """One entry of the part `theory` of summary.json; `mcse` where a theory samples."""
    return {
        "bias2": _number(theory.bias2.value),
        "variance": _number(theory.variance.value),
        "generalisation_error": _number(theory.generalisation_error.value),
        "train_error": _number(theory.train_error.value),
        "test_accuracy": _number(theory.test_accuracy.value),
        "order_parameters": _stored(theory.order_parameters),
        "mcse": {
            name: _number(getattr(theory, name).mcse)
            for name in ("bias2", "variance", "generalisation_error", "train_error")
            if getattr(theory, name).mcse > 0
        },
        "log_evidence": None if theory.log_evidence is None else _number(theory.log_evidence),
        "converged": theory.converged,
        "message": theory.message,
    }


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return {"value": _number(estimate.value), "mcse": _number(estimate.mcse)}


def _number(value: float) -> float | None:
    """JSON has no NaN: a number that does not exist is null."""
    return float(value) if math.isfinite(value) else None


def _kept(numbers: Mapping[str, Any], name: str) -> Estimate:
    """A theory's number as `theory_summary` stored it."""
    return Estimate(_read(numbers[name]), numbers.get("mcse", {}).get(name, 0.0))


def _read(value: float | None) -> float:
    return math.nan if value is None else value


def _stored(values: Any) -> Any:
    """Numbers, or the rows of a matrix, as lists."""
    return [_stored(v) if isinstance(v, tuple) else _number(v) for v in values]


def _loaded(values: Any) -> Any:
    """Numbers, or the rows of a matrix, as `_stored` stored them."""
    return tuple(_loaded(v) if isinstance(v, list) else _read(v) for v in values)
