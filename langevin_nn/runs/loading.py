"""Finished runs in Python: loaded from their folders, and several compared with each other."""

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsIndex

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree

from langevin_nn import plotting
from langevin_nn.analysis.comparison import Comparison, Deviation, compare
from langevin_nn.config.record import RunConfig, flat, modules_of
from langevin_nn.data.dataset import Dataset
from langevin_nn.display import Displayed, Table
from langevin_nn.model.networks.base import Network
from langevin_nn.model.precision import require_float64
from langevin_nn.result_text import QUANTITIES
from langevin_nn.runs.data import load_data
from langevin_nn.runs.folder import RunFolder
from langevin_nn.runs.modules import module_differences
from langevin_nn.runs.provenance import data_differences
from langevin_nn.runs.results import measured_by
from langevin_nn.runs.run import template_of
from langevin_nn.runs.summary import Summary
from langevin_nn.runs.tables import caption
from langevin_nn.sampling.draws import Chains
from langevin_nn.types import ESTIMATES, Generalisation, InputError
from langevin_nn.values import as_path, as_whole, shown


@dataclass(frozen=True, repr=False)
class Run(Displayed):
    """A finished run, loaded from its folder by `load_run`.

    `config` made it, `chains` are its draws without the last weights, `measured` are the numbers of
    the experiment and `theories` those of the theories by name. `summary` is what summary.json
    says, `manifest` the versions, the device, the data and the time. With `keep_weights` in the
    configuration, `weights` are those of all draws, and `network` makes networks of them.
    """

    path: Path
    config: RunConfig
    chains: Chains
    measured: Generalisation
    theories: dict[str, Generalisation]
    summary: Summary
    manifest: dict[str, Any]

    @cached_property
    def data(self) -> Dataset:
        """The data set of the run, loaded again.

        Raises `InputError` where it cannot be loaded, or is not the one that the run had.
        """
        _, data = load_data(self.config)
        stated = self.manifest.get("data")
        theirs = list(map(str, stated)) if isinstance(stated, list) else []
        if differences := data_differences(theirs, data.provenance):
            raise InputError(
                f"the data of {self.path} have changed ({', '.join(differences)}): put back the "
                "files that the run had"
            )
        return data

    @cached_property
    def weights(self) -> np.memmap[Any, Any] | None:
        """The weights of all draws, (chain, draw, weight), on a ladder (chain, draw, rung, weight).

        They are those of the whole network on the original inputs, N_0 of them, with its read-out:
        its arrays one after the other, W⁰ … Wᴸ and then the biases, each row by row (a fully
        connected network's W^ℓ are N_{ℓ+1} × N_ℓ). The array is mapped into memory from
        weights.npy, in the precision of the sampling: what is not looked at is not read. None
        without `keep_weights` in the configuration.

        Raises `InputError` for a file that is not there, is cut, or is not the one that the run
        has written.
        """
        if not self.config.sampler.keep_weights:
            return None
        return RunFolder(self.path).load_weights()

    def network(self, chain: SupportsIndex, draw: SupportsIndex, rung: SupportsIndex = 0) -> Any:
        """The network of one draw, an Equinox module: `network(x)` is f at one input (N_0,).

        At the training and the test inputs its f is the f that the run has recorded with this draw,
        up to the rounding of the sampling's precision: `chains.f[chain, draw]` at those of
        `data.x_test`. Where the read-out is marginalised, it is drawn from its posterior given the
        hidden weights, and f with it, while `chains.test_outputs` are averages over it. Outside the
        span of the training inputs the first layer is drawn from its prior, as the posterior has
        it. `rung` counts the temperatures of a ladder, from the posterior's own, 0, upwards.

        Raises `InputError` where no weights were kept, for a draw that is not there, where the
        data, which say what the network is like, cannot be loaded, and as `weights` does.

        >>> import tempfile, jax
        >>> sampler = {"num_chains": 2, "num_warmup": 9, "num_samples": 5, "keep_weights": True}
        >>> data = {"source": "teacher_linear", "in_size": 3, "num_train": 5, "num_test": 4}
        >>> config = lnn.config.from_dict({"data": data, "sampler": sampler})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     swept = lnn.sweep(config, {"seed": [1]}, output=folder, progress=False)
        ...     run = lnn.load_run(f"{folder}/points/{swept.point.item()}")
        ...     network = run.network(chain=0, draw=-1)
        >>> run.weights.shape, network.weights[0].shape
        ((2, 5, 800), (200, 3))
        >>> f = network.batch(jnp.asarray(run.data.x_test, jnp.float32))
        >>> bool(np.allclose(f, run.chains.f[0, -1], atol=1e-5))
        True
        """
        weights = self.weights
        if weights is None:
            weights = RunFolder(self.path).load_weights()  # says that there are none
        index = tuple(
            _place(name, value, size)
            for name, value, size in zip(
                ("chain", "draw", "rung"), (chain, draw, rung), (*weights.shape[:-1], 1),
                strict=False,
            )
        )  # fmt: skip
        arrays, rest = eqx.partition(self._template, eqx.is_inexact_array)
        unflattened = ravel_pytree(arrays)[1]
        row = np.array(weights[index[: weights.ndim - 1]])
        return eqx.combine(unflattened(jnp.asarray(row)), rest)

    @cached_property
    def _template(self) -> Network:
        """A network of the run's kind, in the run's precision."""
        if self.config.precision == "float64":
            require_float64(f"the networks of {self.path} are")
        changed = module_differences(self.manifest.get("modules"), modules_of(self.config))
        if changed:
            raise InputError(
                f"the modules of {self.path} are not those that the run had "
                f"({', '.join(changed)}): put back its files, which are in modules/"
            )
        return template_of(self.config, self.data)

    @property
    def comparison(self) -> Comparison:
        """The experiment compared with the theories, as `compare` does."""
        return compare(self.measured, *self.theories.values())

    def to_arviz(self) -> Any:
        """The draws and the theories as ArviZ has them (`Chains.to_arviz`)."""
        return self.chains.to_arviz(self.theories.values())

    def to_dataset(self) -> xr.Dataset:
        """Every number with its standard error, `bias2` and `bias2_mcse`, …, over `result`.

        `result` is "experiment" or the name of a theory; `log_evidence` is NaN where there is none.
        A theory's accuracy has no error, NaN. `bias2_step_size_shift`, … are the shifts of the
        experiment's numbers by the step size, 0 with an acceptance step and NaN where they are not
        known.
        """
        results = {self.measured.name: self.measured, **self.theories}
        variables = {}
        for key in ESTIMATES:
            estimates = [getattr(result, key) for result in results.values()]
            variables[key] = [estimate.value for estimate in estimates]
            variables[f"{key}_mcse"] = [estimate.mcse for estimate in estimates]
        of_theories = [math.nan] * len(self.theories)
        variables["test_accuracy_mcse"] = [self.measured.test_accuracy.mcse, *of_theories]
        for key in QUANTITIES:
            shift = self.summary.experiment.step_size_shift(key)
            variables[f"{key}_step_size_shift"] = [shift.value, *of_theories]
            variables[f"{key}_step_size_shift_mcse"] = [shift.mcse, *of_theories]
        evidence = [result.log_evidence for result in results.values()]
        variables["log_evidence"] = [math.nan if number is None else number for number in evidence]
        variables["converged"] = [result.converged for result in results.values()]
        columns = {name: ("result", values) for name, values in variables.items()}
        return xr.Dataset(columns, {"result": list(results)})

    @property
    def _table(self) -> Table:
        table = self.comparison.unmarked
        verdict = "converged"
        if not self.measured.converged:
            verdict = f"not converged: {self.measured.message}"
        lines = [f"{name}: {theory.message}" for name, theory in self.theories.items()
                 if theory.message]  # fmt: skip
        notes = [*table.notes, *lines, verdict]
        return dataclasses.replace(table, title=caption(self.config), notes=notes)


def load_run(path: Path | str) -> Run:
    """The finished run in the folder `path`, its files verified against its manifest.

    A point of a sweep, `DIR/points/HASH`, is a run as well. Raises `InputError` for a folder that
    holds no finished run, and for files that are damaged.
    """
    folder = RunFolder(as_path("path", path))
    config = folder.load_config()  # first: it says what a folder that is no run's is
    summary, manifest = folder.load_summary(), folder.load_manifest()
    chains, theories = folder.load_results()
    measured = measured_by(config, chains)
    if (bias := summary.experiment.step_size_bias) is not None:
        measured = dataclasses.replace(measured, step_size_bias=bias)
    return Run(folder.path, config, chains, measured, theories, summary, manifest)


@dataclass(frozen=True, repr=False)
class RunsComparison(Displayed):
    """Several runs beside each other; it shows itself as a table. Made by `compare_runs`.

    `names` are the runs' folders in the shortest form that tells them apart.
    """

    runs: tuple[Run, ...]
    names: tuple[str, ...]

    @cached_property
    def settings(self) -> dict[str, tuple[Any, ...]]:
        """The fields of the configuration in which the runs differ, each with its values."""
        of_runs = [flat(run.config.to_dict()) for run in self.runs]
        fields = dict.fromkeys(name for values in of_runs for name in values)
        by_field = {name: tuple(values.get(name) for values in of_runs) for name in fields}
        return {
            name: values
            for name, values in by_field.items()
            if any(value != values[0] for value in values)
        }

    @property
    def deviations(self) -> tuple[Deviation, ...]:
        """The deviations of every later run from the first, quantity by quantity."""
        first = self.runs[0].measured
        return tuple(
            Deviation(key, self.names[0], getattr(run.measured, key), getattr(first, key))
            for run in self.runs[1:]
            for key in QUANTITIES
        )

    def figure(self) -> Any:
        """A figure of the runs beside each other, the theories as lines (`plotting.plot_runs`)."""
        runs = dict(zip(self.names, self.runs, strict=True))
        with plotting.own_settings():
            return plotting.runs_figure(
                {name: run.measured for name, run in runs.items()},
                {name: [*run.theories.values()] for name, run in runs.items()},
                caption(*(run.config for run in self.runs)),
            )

    def to_dataset(self) -> xr.Dataset:
        """The runs' numbers (`Run.to_dataset`) over `run` and `result`.

        The fields in `settings` are coordinates of `run`, lists as text. What a run has no number
        for is NaN.
        """
        datasets = [run.to_dataset() for run in self.runs]
        fill = {name: False if name == "converged" else math.nan for name in datasets[0]}
        dataset = xr.concat(datasets, "run", join="outer", fill_value=fill)
        settings: dict[str, Any] = {
            name: ("run", [_text(value) if isinstance(value, list) else value for value in values])
            for name, values in self.settings.items()
        }
        return dataset.assign_coords({"run": list(self.names), **settings})

    @property
    def _table(self) -> Table:
        rows: list[list[str]] = []
        notes: dict[str, None] = {}
        deviations = iter(self.deviations)
        for name, run in zip(self.names, self.runs, strict=True):
            table = run.comparison.unmarked
            _, *numbers, accuracy = table.rows[0]
            if run is not self.runs[0]:
                beside = [next(deviations).in_sigmas for _ in numbers]
                numbers = [
                    f"{number} ({sigmas})" if sigmas else number
                    for number, sigmas in zip(numbers, beside, strict=True)
                ]
            rows.append([name, *numbers, accuracy])
            rows += [[f"  {theory}", *cells] for theory, *cells in table.rows[1:]]
            notes |= dict.fromkeys(table.notes)
            if not run.measured.converged:
                notes[f"{name} has not converged: {run.measured.message}"] = None
        for field, values in self.settings.items():
            notes[f"{field}: {' | '.join(map(_text, values))}"] = None
        if len(self.runs) > 1:
            notes[f"beside a run: (it − {self.names[0]})/standard error of both; beside a theory: "
                  "(its run − theory)/standard error of both"] = None  # fmt: skip
        title = caption(*(run.config for run in self.runs))
        return Table(["", *QUANTITIES.values(), "test accuracy"], rows, title, list(notes))


def compare_runs(*runs: Run | Path | str) -> RunsComparison:
    """Two or more finished runs beside each other, each a `Run` or its folder.

    Raises `InputError` for fewer, for the same folder twice, and as `load_run` does.
    """
    if len(runs) < 2:
        raise InputError(
            f"two runs or more can be compared, got {len(runs)}: write compare_runs(DIR, DIR)"
        )
    loaded = [run if isinstance(run, Run) else load_run(run) for run in runs]
    paths = [run.path.resolve() for run in loaded]
    if twice := [path for place, path in enumerate(paths) if path in paths[:place]]:
        raise InputError(f"{twice[0]} is given twice: write different runs")
    depth = next(
        depth
        for depth in range(1, max(len(path.parts) for path in paths) + 1)
        if len({path.parts[-depth:] for path in paths}) == len(paths)
    )
    names = ["/".join(path.parts[-depth:]) for path in paths]
    return RunsComparison(tuple(loaded), tuple(names))


def _place(name: str, given: Any, size: int) -> int:
    """An index below `size`, from the end if negative; `InputError` for any other."""
    place = as_whole(given)
    if place is None or not -size <= place < size:
        raise InputError(
            f"{name} must be a whole number from 0 to {size - 1} (or from -{size}, counted from "
            f"the end), got {shown(given)}"
        )
    return place


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"({', '.join(map(_text, value))})"
    return f"{value:g}" if isinstance(value, float) else str(value)
