"""Draws in the ArviZ schema: what posterior.nc and `to_arviz` have. The one importer of ArviZ.

    posterior              f (chain, draw, test_point): draws of f at the test inputs; observables;
                           with the read-out marginalised f_mean and f_variance, m_W and s_W, too
    posterior_predictive   y_test, y_train: f + √T ε, what targets there could be (squared loss)
    log_likelihood         y_train: log p(y_μ | f), of other losses −ℓ(f, y_μ)/T
    sample_stats           lp, gibbs_energy, train_error, diverging, acceptance_rate, nonfinite
    observed_data          y_train, and y_test, which was held out
    constant_data          y_test, targets_midpoint, temperature; theory_predictive_mean, …_variance

With several outputs, whatever has the dimension `test_point` or `train_point` has `output` too, but
for `f_variance` and the log likelihood, which is summed over them. Every group, every variable and
every coordinate says in its attributes what it is. What follows from f, the posterior predictive
and the log likelihood, is kept up to `SERIES_BYTES` a variable; `left_out` in the file's attributes
says what is not, and why.

The tree has the name of its run, `run_id`, which `runs.posterior_file` verifies.
"""

import abc
import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

import langevin_nn
from langevin_nn.footprint import SERIES_BYTES
from langevin_nn.model.losses import Loss
from langevin_nn.representations import series_of
from langevin_nn.types import PREDICTIVE_MOMENTS, Generalisation, InputError
from langevin_nn.values import as_number, require_kind, shown

DRAWS = ("chain", "draw")
COORDINATES = {
    "chain": "independent chain",
    "draw": "recorded draw of a chain",
    "theory": "name of a theory",
    "train_point": "training example",
    "test_point": "test example",
    "output": "output of the network",
    "control": "control variate",
}
"""Every dimension with what it counts, in the order in which the variables have them."""
VARIABLES_OF_F = ("f", "f_mean", "f_variance")
"""The variables of the group `posterior` that are of f: no observables."""
MEANING = {
    "f": ("output of the network", "draws of f at the test inputs, joint over them"),
    "f_mean": (
        "conditional mean of f",
        "m_W, the mean of f given the hidden weights of a draw: the read-out is marginalised",
    ),
    "f_variance": (
        "conditional variance of f",
        "s_W, the variance of f given the hidden weights of a draw, the same for each output: "
        "Var f = mean of f_variance + variance of f_mean",
    ),
    "lp": ("log posterior density", "−gibbs_energy/temperature, up to a constant"),
    "gibbs_energy": (
        "energy of the Gibbs measure",
        "the weights have the density exp(−gibbs_energy/temperature): no Hamiltonian's energy",
    ),
    "train_error": (
        "training error",
        "(y − f)² averaged over the training examples and summed over the outputs",
    ),
    "diverging": ("divergence", "the energy has left the finite numbers: no average has the chain"),
    "acceptance_rate": (
        "acceptance rate", "mean acceptance probability of the trajectories since the draw before"
    ),
    "nonfinite": (
        "rejected as not finite",
        "fraction of the trajectories since the draw before that left the finite numbers",
    ),
    "control_variates": (
        "control variates of f_mean",
        "functions of the weights of a draw whose posterior mean is zero, for each of f_mean",
    ),
    "y_train": ("training targets", "what the weights are conditioned on"),
    "y_test": ("test targets", "held out: nothing is conditioned on them"),
    "targets_midpoint": ("midpoint of the targets", "between the two classes, for the accuracy"),
    "temperature": ("temperature", "T = 1/β, the variance of the likelihood N(y; f, T)"),
    "theory_predictive_mean": ("predicted mean of f", "each theory's posterior mean of f"),
    "theory_predictive_variance": (
        "predicted variance of f", "each theory's posterior variance of f"
    ),
}  # fmt: skip
"""The long name and the description of each variable."""
GROUPS = {
    "posterior": "draws of what the network says at the test inputs",
    "posterior_predictive": "draws of targets: f plus Gaussian noise of variance temperature",
    "log_likelihood": "log likelihood of each training example at each draw",
    "sample_stats": "what the dynamics says of each draw",
    "observed_data": "targets: y_train, which was learnt from, and y_test, which was held out",
    "constant_data": "what does not change from draw to draw, and what the theories predict",
}
"""The description of each group."""
NUMBERS = ("step_size", "curvature")
"""The attributes of the group `sample_stats` that every run has."""


class Draws(abc.ABC):
    """The draws of a posterior that ArviZ can have: `sampling.draws.Chains`. Abstract."""

    test_outputs: np.ndarray
    test_variances: np.ndarray | None
    train_outputs: np.ndarray | None
    control_variates: np.ndarray | None
    train_error: np.ndarray
    energy: np.ndarray
    observables: dict[str, np.ndarray]
    acceptance: np.ndarray | None
    unadjusted: bool | None
    nonfinite: np.ndarray | None
    y_test: np.ndarray
    targets_midpoint: float
    temperature: float | None
    loss: Loss | None
    step_size: float
    curvature: float
    trajectory_length: float | None
    thinning: int
    wall_seconds: float
    y_train: np.ndarray | None

    @property
    @abc.abstractmethod
    def f(self) -> np.ndarray | None:
        """Draws of f at the test inputs."""

    @property
    @abc.abstractmethod
    def diverged(self) -> np.ndarray:
        """Whether each chain has left the finite numbers, (chain,)."""

    def to_arviz(self, theories: Iterable[Generalisation] = ()) -> Any:
        """The draws as ArviZ has them: groups `posterior`, `log_likelihood`, `sample_stats`, ….

        An `arviz.InferenceData`, or from ArviZ 1 on an `xarray.DataTree`, with what `theories`
        predict in `constant_data`; the groups are those of a run's posterior.nc. Raises
        `InputError` where the training targets are not known.
        """
        advice = "[lnn.theory.one_layer(posterior.ensemble)]"
        if not isinstance(theories, Iterable):
            raise InputError(
                f"theories are a list of results, got {shown(theories)}: write {advice}"
            )
        theories = list(theories)
        for theory in theories:
            require_kind("each of theories", theory, Generalisation, advice)
        if self.y_train is None:
            raise InputError(
                "these chains have no training targets: write dataclasses.replace(chains, "
                "y_train=data.y_train)"
            )
        by_name = {theory.name: theory for theory in theories}
        tree, arviz = posterior_tree(self, self.y_train, by_name), load_arviz()
        if int(arviz.__version__.partition(".")[0]) >= 1:  # which warns where it is asked for one
            return tree
        groups = {name: node.to_dataset() for name, node in tree.children.items()}
        return arviz.InferenceData(attrs=dict(tree.attrs), **groups)


def posterior_tree(
    chains: Draws,
    y_train: np.ndarray,
    theories: Mapping[str, Generalisation],
    run_id: str = "",
) -> xr.DataTree:
    """Draws and theories' predictions as groups in the ArviZ schema; `run_id` names the run.

    Raises `InputError` for an observable whose name the file has for something else.
    """
    output = ("output",) * (chains.y_test.ndim - 1)
    at_test = (*DRAWS, "test_point", *output)
    left_out: list[str] = []
    posterior = _f_variables(chains, at_test, left_out)
    for name, values in chains.observables.items():
        if name in {*VARIABLES_OF_F, *COORDINATES}:
            raise InputError(
                f'an observable cannot have the name "{name}", which posterior.nc has for '
                f"something else: write another"
            )
        dims = tuple(f"{name}_dim_{i}" for i in range(values.ndim - 2))
        attributes = {"long_name": name, "description": "observable of the network of a draw"}
        if (series := series_of(name, len(dims))) is not None:
            dims = series.dims
            attributes = {"long_name": series.long_name, "description": series.description}
        posterior[name] = ((*DRAWS, *dims), values, attributes)
    targets = {
        "y_train": (("train_point", *output), y_train),
        "y_test": (("test_point", *output), chains.y_test),
    }
    constant: dict[str, Any] = {
        "y_test": targets["y_test"],
        "targets_midpoint": ((), chains.targets_midpoint),
    }
    if chains.temperature is not None:
        constant["temperature"] = ((), chains.temperature)
    for name in PREDICTIVE_MOMENTS:
        values = np.array([getattr(theory, name) for theory in theories.values()])
        if theories:
            constant[f"theory_{name}"] = (("theory", "test_point", *output), values)
    groups = {
        "posterior": posterior,
        "posterior_predictive": _posterior_predictive(chains, output, run_id, left_out),
        "log_likelihood": _log_likelihood(chains, y_train, left_out),
        "sample_stats": _sample_stats(chains, output),
        "observed_data": targets,
        "constant_data": constant,
    }
    attributes = {
        "inference_library": "langevin_nn",
        "inference_library_version": langevin_nn.__version__,
        "run_id": run_id,
    }
    group_attributes = {
        "posterior": _posterior_attributes(chains),
        "sample_stats": _stats_attributes(chains),
    }
    tree = {
        f"/{name}": _dataset(variables, list(theories)).assign_attrs(
            {"description": GROUPS[name], **attributes, **group_attributes.get(name, {})}
        )
        for name, variables in groups.items()
        if variables
    }
    file_attributes = {
        "description": "draws of a Bayesian neural network, in the ArviZ schema",
        **attributes,
    }
    file_attributes |= {"left_out": "; ".join(left_out) or "nothing", "diverged": _diverged(chains)}
    tree["/"] = xr.Dataset(attrs=file_attributes)
    return xr.DataTree.from_dict(tree)


def _diverged(chains: Draws) -> str:
    """In words, which chains have diverged, and how to leave them out of every average."""
    diverged, finite = (
        np.flatnonzero(chains.diverged).tolist(),
        np.flatnonzero(~chains.diverged).tolist(),
    )
    return f"chains {diverged}: leave them out, with .sel(chain={finite})" if diverged else "none"


def _f_variables(chains: Draws, at_test: tuple[str, ...], left_out: list[str]) -> dict[str, Any]:
    variables: dict[str, Any] = {}
    if chains.f is None:
        left_out.append("f: no read-out was drawn, the run was begun by an earlier version")
    else:
        variables["f"] = (at_test, chains.f)
    if chains.test_variances is not None:
        variables["f_mean"] = (at_test, chains.test_outputs)
        variables["f_variance"] = (at_test[:3], chains.test_variances)
    return variables


def _posterior_predictive(
    chains: Draws, output: tuple[str, ...], run_id: str, left_out: list[str]
) -> dict[str, Any]:
    """Draws of targets f + √T ε, the stream of ε seeded with the run's name."""
    if chains.loss is None or not chains.loss.is_gaussian or chains.temperature is None:
        left_out.append("posterior_predictive: exp(−ℓ/T) is no density of y, or not known")
        return {}
    rng = np.random.default_rng([*run_id.encode()])
    variables = {}
    for name, f in (("test", chains.f), ("train", chains.train_outputs)):
        if f is None or f.nbytes > SERIES_BYTES:
            left_out.append(f"posterior_predictive y_{name}: {_why_left_out(f)}")
            continue
        noise = rng.standard_normal(f.shape, dtype=f.dtype)
        noise *= np.sqrt(chains.temperature).astype(f.dtype)
        attributes = {"description": "f + √T ε: a target that there could be, beside observed_data"}
        variables[f"y_{name}"] = ((*DRAWS, f"{name}_point", *output), f + noise, attributes)
    return variables


def _log_likelihood(chains: Draws, y_train: np.ndarray, left_out: list[str]) -> dict[str, Any]:
    if chains.train_outputs is None or chains.loss is None or chains.temperature is None:
        left_out.append(f"log_likelihood: {_why_left_out(None)}")
        return {}
    loss, temperature = chains.loss, chains.temperature
    values = [_log_density(loss, f, y_train, temperature) for f in chains.train_outputs]
    description = "log N(y; f, temperature), summed over the outputs"
    if not loss.is_gaussian:
        description = (
            f"−ℓ(f, y)/temperature of the {loss.name} loss: a log likelihood for the logistic one "
            "at temperature 1 alone, else a weight that is not normalised over y"
        )
    attributes = {"long_name": "log likelihood of a training example", "description": description}
    return {"y_train": ((*DRAWS, "train_point"), np.array(values), attributes)}


def _log_density(loss: Loss, f: np.ndarray, y: np.ndarray, temperature: float) -> np.ndarray:
    """−ℓ/T of one chain, with the squared loss less ½ log 2πT, summed over the outputs."""
    losses = loss(jnp.asarray(f), jnp.asarray(y[None], f.dtype))
    values = -np.asarray(losses, np.float64) / temperature
    if loss.is_gaussian:
        values = values - 0.5 * np.log(2 * np.pi * temperature)
    with np.errstate(over="ignore", invalid="ignore"):  # of chains that have diverged
        return (values if y.ndim == 1 else values.sum(axis=-1)).astype(f.dtype)


def _why_left_out(series: np.ndarray | None) -> str:
    if series is not None:
        return f"{series.nbytes / 1e6:.0f} MB are more than {SERIES_BYTES / 1e6:.0f} MB"
    return (
        f"the draws of f were not kept (more than {SERIES_BYTES / 1e6:.0f} MB, or a run that an "
        "earlier version began)"
    )


def _sample_stats(chains: Draws, output: tuple[str, ...]) -> dict[str, Any]:
    series = {
        "gibbs_energy": chains.energy,
        "train_error": chains.train_error,
        "diverging": ~np.isfinite(chains.energy),
        "acceptance_rate": chains.acceptance,
        "nonfinite": chains.nonfinite,
    }
    if chains.temperature is not None:
        with np.errstate(over="ignore"):  # of chains that have diverged
            series["lp"] = -chains.energy / np.asarray(chains.temperature, chains.energy.dtype)
    variables: dict[str, Any] = {
        name: (DRAWS, values) for name, values in series.items() if values is not None
    }
    if chains.control_variates is not None:
        dims = (*DRAWS, "control", "test_point", *output)
        variables["control_variates"] = (dims, chains.control_variates)
    return variables


def _posterior_attributes(chains: Draws) -> dict[str, Any]:
    """The attributes of the group `posterior`; numbers are floats: JSON has no NumPy integers."""
    attributes = {"sampling_time": float(chains.wall_seconds), "thinning": float(chains.thinning)}
    if chains.loss is None:
        return attributes
    fields = {f"loss_{name}": as_number(value) for name, value in vars(chains.loss).items()}
    numbers = {name: number for name, number in fields.items() if number is not None}
    return attributes | {"loss": chains.loss.name, **numbers}


def _stats_attributes(chains: Draws) -> dict[str, float]:
    """The attributes of the group `sample_stats`: the numbers of the dynamics."""
    numbers = {name: float(getattr(chains, name)) for name in NUMBERS}
    if chains.unadjusted not in (None, chains.acceptance is None):  # as files say it otherwise
        numbers["unadjusted"] = float(chains.unadjusted)
    if chains.trajectory_length is not None:
        numbers["trajectory_length"] = float(chains.trajectory_length)
    return numbers


def _dataset(variables: Mapping[str, Any], theories: list[str]) -> xr.Dataset:
    """A group's variables and coordinates, each with its attributes.

    All dimensions but those of observables have coordinates.
    """
    described = {}
    for name, (dims, values, *attributes) in variables.items():
        long_name, description = MEANING.get(name, ("", ""))
        defaults = {"long_name": long_name, "description": description}
        described[name] = (dims, values, defaults | (attributes[0] if attributes else {}))
    dataset = xr.Dataset(described)
    coordinates = {}
    for name, meaning in COORDINATES.items():
        if name in dataset.dims:
            values = theories if name == "theory" else np.arange(dataset.sizes[name])
            coordinates[name] = (name, values, {"long_name": meaning, "description": meaning})
    return dataset.assign_coords(coordinates)


def load_arviz() -> Any:
    """The module `arviz`, also where its cache cannot be written, without its announcements."""
    with warnings.catch_warnings():
        # ArviZ 0.23 announces its refactoring at import, and notes that it has in the user's cache.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            import arviz
        except OSError:  # a home that cannot be written, as in containers
            with tempfile.TemporaryDirectory() as folder:
                home = os.environ.get("XDG_CACHE_HOME")
                os.environ["XDG_CACHE_HOME"] = folder
                try:
                    import arviz
                finally:
                    del os.environ["XDG_CACHE_HOME"]
                    if home is not None:
                        os.environ["XDG_CACHE_HOME"] = home
    return arviz
