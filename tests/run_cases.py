"""Run folders with made-up numbers, which the tests of their files share."""

import dataclasses
from pathlib import Path

import numpy as np
import xarray as xr

from langevin_nn.analysis.generalisation import summarise
from langevin_nn.config.record import RunConfig, from_dict
from langevin_nn.files import write_text
from langevin_nn.runs.folder import RunFolder
from langevin_nn.runs.summary import Experiment, Summary, TheoryRecord
from langevin_nn.sampling.draws import Chains
from langevin_nn.types import Estimate, Generalisation

NUM_CHAINS, NUM_DRAWS, NUM_TEST = 3, 20, 4
SUMMARY = Summary(
    experiment=Experiment(
        **dict.fromkeys(
            ("bias2", "variance", "generalisation_error", "train_error"), Estimate(1.0, 0.0)
        ),
        converged=True,
        message="",
    ),
    theory={},
)


def some_chains(**replaced) -> Chains:
    rng = np.random.default_rng(0)
    draws = (NUM_CHAINS, NUM_DRAWS)
    chains = Chains(
        test_outputs=rng.standard_normal((*draws, NUM_TEST)).astype(np.float32),
        train_error=rng.random(draws).astype(np.float32),
        energy=rng.random(draws).astype(np.float32),
        observables={"norm": rng.random(draws), "features": rng.random((*draws, 2, 5))},
        y_test=np.array([1.0, -1, 1, -1]),
        targets_midpoint=0.25,
        params=None,
        step_size=1 / 3,
        curvature=0.7,
        thinning=7,
        wall_seconds=12.5,
    )
    return dataclasses.replace(chains, **replaced)


def some_theory(name: str, value: float = 0.1) -> Generalisation:
    return Generalisation(
        name=name,
        predictive_mean=np.linspace(-1, 1, NUM_TEST) + value,
        predictive_variance=np.linspace(1, 2, NUM_TEST) * value,
        bias2=Estimate(value),
        variance=Estimate(2 * value),
        generalisation_error=Estimate(3 * value),
        train_error=Estimate(4 * value),
        test_accuracy=Estimate(0.75),
        order_parameters=(value, 2.0),
        converged=False,
        message="it did not settle",
    )


def with_outputs(chains: Chains, theory: Generalisation) -> tuple[Chains, Generalisation]:
    """Two test points with two outputs each, and a theory whose order parameter is a matrix."""
    several = dataclasses.replace(
        chains,
        test_outputs=chains.test_outputs.reshape(NUM_CHAINS, NUM_DRAWS, 2, 2),
        y_test=np.array([[1.0, 0.0], [0.0, 1.0]]),
    )
    return several, dataclasses.replace(
        theory,
        predictive_mean=theory.predictive_mean.reshape(2, 2),
        predictive_variance=theory.predictive_variance.reshape(2, 2),
        order_parameters=((1.0, 0.25), (0.25, 2.0)),
        log_evidence=-12.5,
    )


def assert_same(mine, theirs) -> None:
    """Equal records, arrays and types of arrays included; targets where `theirs` have some."""
    for field in dataclasses.fields(theirs):
        if field.name == "y_train" and theirs.y_train is None:
            continue  # a file has them, made-up chains do not
        left, right = getattr(mine, field.name), getattr(theirs, field.name)
        if isinstance(right, dict):
            assert left.keys() == right.keys()
            pairs = [(left[name], right[name]) for name in right]
        else:
            pairs = [(left, right)]
        for a, b in pairs:
            np.testing.assert_array_equal(a, b, err_msg=field.name)
            assert getattr(a, "dtype", None) == getattr(b, "dtype", None), field.name


def some_config(num_train: int, num_test: int) -> RunConfig:
    """The configuration of a run that has `some_chains`."""
    counts = {"num_chains": NUM_CHAINS, "num_samples": NUM_DRAWS}
    return from_dict({"sampler": counts, "data": {"num_train": num_train, "num_test": num_test}})


def arrays(folder) -> dict[str, np.ndarray]:
    """Every array of posterior.nc by its path."""
    with xr.open_datatree(Path(folder) / "posterior.nc", engine="h5netcdf") as tree:
        return {
            f"{node.path}/{name}": variable.to_numpy()
            for node in tree.subtree
            for name, variable in node.dataset.variables.items()
        }


def saved(tmp_path, chains, theories, y_train=(1.0, -1.0, 1.0)):
    """The folder after the files are written, as a run writes them."""
    folder = RunFolder(tmp_path)
    config = some_config(len(y_train), len(chains.y_test))
    write_text(tmp_path / "config.toml", config.to_toml())
    folder.save_json("manifest.json", {"run_id": config.content_hash})
    folder.save_posterior(chains, np.array(y_train), theories, config.content_hash)
    summary = Summary(
        experiment=Experiment.of(summarise(chains), chains),
        theory={name: TheoryRecord.of(theory) for name, theory in theories.items()},
    )
    folder.save_json("summary.json", summary.to_json())
    return folder
