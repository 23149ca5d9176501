"""posterior.nc: written with checksums, and read back, verified, in the types of the package.

Its content is `sampling.posterior_tree`; every array has HDF5's checksum (Fletcher's).
Files of earlier versions, which have no names of runs and other names of variables, are read too.
"""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from langevin_nn.config.record import RunConfig
from langevin_nn.model.losses import LOSSES, Loss, loss_named
from langevin_nn.runs.summary import TheoryRecord
from langevin_nn.sampling.draws import Chains
from langevin_nn.sampling.posterior_tree import DRAWS, NUMBERS, VARIABLES_OF_F
from langevin_nn.types import PREDICTIVE_MOMENTS, Generalisation

EARLIER_NAMES = {"gibbs_energy": "energy", "acceptance_rate": "acceptance"}
"""The names that variables of sample_stats had in files of earlier versions."""
FINITE_VARIABLES = (*VARIABLES_OF_F, "train_error", "acceptance_rate", "nonfinite")
"""The variables that are finite in a chain that has not diverged."""


def content_of(tree: xr.DataTree) -> memoryview:
    """The bytes of the NetCDF file, with a checksum for each array that can have one.

    Release them after they are written: as long as there is a view of it, the stream that holds
    them cannot be closed.
    """
    encoding = {
        node.path: {
            str(name): {"fletcher32": True}
            for name, variable in node.variables.items()
            if variable.size and variable.ndim and variable.dtype.kind in "biuf"
        }
        for node in tree.subtree
    }
    content = tree.to_netcdf(engine="h5netcdf", encoding=encoding)
    assert isinstance(content, memoryview)
    return content


def load(path: Path) -> xr.DataTree:
    """The tree in the file. Raises `ValueError`, in one line, for a file that cannot be read."""
    try:
        with h5py.File(path) as file:
            # Where these cannot be read h5netcdf fails in opening, and leaves a traceback behind.
            dict(file.attrs)
            return xr.load_datatree(path, engine="h5netcdf")
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        # What HDF5 and the layers above it raise for a file with wrong bytes is not documented.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"it is no NetCDF file that can be read: {reason}") from error


def verify(tree: xr.DataTree, config: RunConfig, run_id: str | None = None) -> None:
    """Raise `ValueError`, in one line, where the file is not that of the run.

    `run_id` is the run's name, as far as it is known: the file's must be the same. Counts must be
    those of `config`, and chains that have not diverged finite.
    """
    stated = str(tree.attrs.get("run_id", ""))
    if stated and run_id and stated != run_id:
        raise ValueError(f"it is of the run {stated}, and the folder of the run {run_id}")
    posterior, stats = _group(tree, "posterior"), _group(tree, "sample_stats")
    sampler, data = config.sampler, config.data
    expected = {
        "chain": sampler.num_chains,
        "draw": sampler.num_samples or _num_draws(stats, sampler.most_draws),
        "test_point": data.num_test,
        "train_point": data.num_train,
    }
    for child in tree.children:
        for name, size in _group(tree, child).sizes.items():
            if expected.get(str(name), size) not in (None, size):
                raise ValueError(
                    f"{child} has {size} as its number of {name}, and the run "
                    f"{expected[str(name)]}: it is another run's file"
                )
    energy = _series(stats, *_stored_name(stats, "gibbs_energy"), DRAWS)
    finite = np.isfinite(energy).all(axis=1)
    for name in FINITE_VARIABLES:
        group = posterior if name in VARIABLES_OF_F else stats
        stored, current_name = _stored_name(group, name)
        if stored not in group.data_vars:
            continue
        dims = (*DRAWS, "test_point") if name in VARIABLES_OF_F else DRAWS
        values = _series(group, stored, current_name, dims)
        if len(values) != len(finite) or not np.all(np.isfinite(values[finite])):
            raise ValueError(f"{name} has values that are not finite in chains that are")
    for child in ("observed_data", "constant_data"):
        for name in ("y_train", "y_test"):
            if name in (targets := _group(tree, child)).data_vars:
                values = _series(targets, name, name, (f"{name.removeprefix('y_')}_point",))
                if not np.all(np.isfinite(values)):
                    raise ValueError(f"{name} has values that are not finite")


def _num_draws(stats: xr.Dataset, most: int) -> int:
    """The number of draws of a run that ended by its errors, of so many at most."""
    number = stats.sizes.get("draw", 0)
    if not 0 < number <= most:
        raise ValueError(f"it has {number} draws, and the run {most} at most")
    return number


def chains_of(tree: xr.DataTree) -> Chains:
    """The chains that were stored, without their last state and their training outputs.

    Raises `ValueError`, in one line, for what a file of a run has and this one lacks.
    """
    posterior, stats = _group(tree, "posterior"), _group(tree, "sample_stats")
    constant = _group(tree, "constant_data")
    y_test = _series(constant, "y_test", "y_test", ("test_point",))
    f_variables = {
        name: _series(posterior, name, name, (*DRAWS, "test_point"))
        for name in VARIABLES_OF_F
        if name in posterior
    }
    # A marginalised run of an earlier version has the means under the name of f.
    means = f_variables.get("f_mean", f_variables.get("f"))
    if means is None or means.shape[2:] != y_test.shape:
        raise ValueError("f and y_test do not fit each other")
    series = {}
    for name in ("gibbs_energy", "train_error", "acceptance_rate", "nonfinite"):
        stored, current_name = _stored_name(stats, name)
        if stored in stats or name in ("gibbs_energy", "train_error"):
            series[name] = _series(stats, stored, current_name, DRAWS)
            if series[name].shape != means.shape[:2]:
                raise ValueError(f"{name} and f do not fit each other")
    controls = None
    if "control_variates" in stats:
        dims = (*DRAWS, "control", "test_point")
        controls = _series(stats, "control_variates", "control_variates", dims)
        if controls[:, :, 0].shape != means.shape:
            raise ValueError("control_variates and f do not fit each other")
    step_size, curvature = (_attribute(stats, name) for name in NUMBERS)
    has_trajectory = "trajectory_length" in stats.attrs
    return Chains(
        test_outputs=means,
        test_variances=f_variables.get("f_variance"),
        test_draws=f_variables.get("f") if "f_mean" in f_variables else None,
        train_error=series["train_error"],
        energy=series["gibbs_energy"],
        observables={
            str(name): values.to_numpy()
            for name, values in posterior.data_vars.items()
            if name not in VARIABLES_OF_F
        },
        acceptance=series.get("acceptance_rate"),
        nonfinite=series.get("nonfinite"),
        control_variates=controls,
        trajectory_length=_attribute(stats, "trajectory_length") if has_trajectory else None,
        y_test=y_test,
        targets_midpoint=_number(constant, "targets_midpoint"),
        params=None,
        thinning=_count(posterior, "thinning"),
        wall_seconds=_attribute(posterior, "sampling_time"),
        temperature=_number(constant, "temperature") if "temperature" in constant else None,
        loss=_loss(posterior),
        unadjusted=bool(_attribute(stats, "unadjusted")) if "unadjusted" in stats.attrs else None,
        step_size=step_size,
        curvature=curvature,
        y_train=_y_train(tree),
    )


def _y_train(tree: xr.DataTree) -> np.ndarray | None:
    """The training targets; None in files of earlier versions that lack them."""
    if "observed_data" not in tree.children or "y_train" not in tree["observed_data"]:
        return None
    return _series(_group(tree, "observed_data"), "y_train", "y_train", ("train_point",))


def theories_of(
    tree: xr.DataTree, theories: Mapping[str, TheoryRecord]
) -> dict[str, Generalisation]:
    """The theories of summary.json with their predictions at the test points, from the file.

    Raises `ValueError`, in one line, for a theory that the file lacks.
    """
    if not theories:
        return {}
    at_points = _predictions(tree)
    generalisations = {}
    for name, theory in theories.items():
        if name not in at_points["theory"]:
            raise ValueError(f"it lacks the theory {name}")
        mean, variance = (at_points[key].sel(theory=name).to_numpy() for key in PREDICTIVE_MOMENTS)
        generalisations[name] = theory.generalisation(name, mean, variance)
    return generalisations


def _predictions(tree: xr.DataTree) -> xr.Dataset:
    """Mean and variance of each theory at the test points."""
    stored = _group(tree, "constant_data")
    names = {f"theory_{name}": name for name in PREDICTIVE_MOMENTS}
    if not set(names) <= set(stored.data_vars):  # an earlier version's group
        stored, names = _group(tree, "theory"), {name: name for name in PREDICTIVE_MOMENTS}
    dims = ("theory", "test_point")
    for name in names:
        _series(stored, name, name, dims)
    if "theory" not in stored.coords:
        raise ValueError("it lacks the names of the theories")
    return xr.Dataset({predicted_name: stored[name] for name, predicted_name in names.items()})


def _group(tree: xr.DataTree, name: str) -> xr.Dataset:
    if name not in tree.children:
        raise ValueError(f"it lacks the group {name}")
    return tree[name].to_dataset()


def _stored_name(stats: xr.Dataset, name: str) -> tuple[str, str]:
    """The name under which the file has a variable of sample_stats, and its present name."""
    return (name if name in stats else EARLIER_NAMES.get(name, name)), name


def _series(group: xr.Dataset, stored: str, name: str, dims: tuple[str, ...]) -> np.ndarray:
    """The values of a variable that has these dimensions and perhaps `output`."""
    if stored not in group.data_vars:
        raise ValueError(f"it lacks {name}")
    variable = group[stored]
    if variable.dims not in (dims, (*dims, "output")) or variable.dtype.kind != "f":
        raise ValueError(f"{name} has the dimensions {variable.dims} of {variable.dtype}")
    return np.asarray(variable.to_numpy())


def _number(group: xr.Dataset, name: str) -> float:
    if name not in group.data_vars or group[name].ndim or group[name].dtype.kind != "f":
        raise ValueError(f"it lacks the number {name}")
    return float(group[name])


def _attribute(group: xr.Dataset, name: str) -> float:
    value = group.attrs.get(name)
    if not isinstance(value, float | int | np.number):
        raise ValueError(f"it lacks the number {name}")
    return float(value)


def _count(group: xr.Dataset, name: str) -> int:
    value = _attribute(group, name)
    if not (value >= 1 and value.is_integer()):
        raise ValueError(f"{name} is no whole number: {value}")
    return int(value)


def _loss(posterior: xr.Dataset) -> Loss | None:
    """The loss with its numbers; None for one that is not known, or is the user's own."""
    name = str(posterior.attrs.get("loss"))
    if name not in LOSSES:
        return None
    readers = {int: _count, float: _attribute}
    numbers = {
        number.argument: readers[type(number.default)](posterior, f"loss_{number.argument}")
        for number in LOSSES[name].usage.numbers.values()
        if f"loss_{number.argument}" in posterior.attrs
    }
    return loss_named(name, **numbers)
