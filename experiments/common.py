"""The common parts of the experiments: sizes, sweeps, stored results and tables.

An experiment is a folder with `config.toml`, a configuration with a [sweep] table (or the base of
one), and perhaps `full.toml`, the size of the papers. Its `__main__.py` defines the measurement,
the figures and the printed report; `experiment` runs them.
"""

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn.analysis.comparison import grid_deviations
from langevin_nn.cli.progress import SweepCommandProgress
from langevin_nn.estimates import plus_minus
from langevin_nn.files import write_text
from langevin_nn.result_text import QUANTITIES
from langevin_nn.sweeps.grid import grid
from langevin_nn.types import Estimate

SMOKE_SAMPLER = {"num_chains": 2, "num_warmup": 4, "num_samples": 6, "thinning": 1}
OF_TARGETS = ("target_error", "target_absolute_error", "max_draws", "max_seconds")
"""The keys of [sampler] that do not go with a number of draws."""
SMOKE_DATA = {"num_train": 10, "num_test": 10}
Values = dict[str, Any]
Results = Mapping[str, xr.Dataset]
"""The results of an experiment: Datasets by name, as stored in `results.json`."""


@dataclass(frozen=True)
class Call:
    """The arguments of the command line; `size` is "smoke", "config", "full" or a script's own."""

    here: Path
    folder: Path
    size: str
    draw: bool

    @property
    def results(self) -> Path:
        """The path of `results.json`."""
        return self.folder / "results.json"

    def values(self, file: str = "") -> Values:
        """The configuration of this size with its [sweep] table, as in the TOML.

        It may be that of another `file` of the experiment's folder.
        """
        file = file or ("full.toml" if self.size == "full" else CONFIG)
        values = configuration.read(self.here / file)
        return shrunk(values) if self.size == "smoke" else values

    def sweep_folder(self, values: Mapping[str, Any]) -> Path:
        """The folder of the sweep with this configuration."""
        home = self.folder if self.size == "smoke" else Path()
        return home / "sweeps" / f"{self.here.name}-{grid(values).content_hash}"

    def swept(self, values: Mapping[str, Any]) -> xr.Dataset:
        """The Dataset of the sweep, which is kept in `sweeps/NAME-HASH` of the current folder.

        An interrupted sweep goes on, and `langevin-nn report` makes a page of it.
        """
        output = self.sweep_folder(values)
        with SweepCommandProgress(quiet=self.size == "smoke") as progress:
            results = lnn.sweep(values, output=output, progress=progress)
        self.say(f"{output.name}, {float(results.seconds.sum()):.0f} s of sampling")
        for reason in filter(None, np.unique(results.reason)):
            self.say(f"failed: {reason}")
        for place in np.argwhere(
            ~results.converged.to_numpy() & (results.status == "done").to_numpy()
        ):
            point = results.isel(dict(zip(results.status.dims, place, strict=True)))
            where = ", ".join(f"{name} = {point[name].item()}" for name in results.status.dims)
            self.say(f"not converged: {where}: {point.message.item()}")
        return results

    def say(self, text: str) -> None:
        """Print a line at once."""
        print(text, flush=True)

    def save(self, figure: Figure, name: str) -> None:
        """Write the figure as a PNG of few colours, small enough for a repository."""
        path = self.folder / f"{name}.png"
        figure.savefig(path, dpi=130)
        with Image.open(path) as image:
            reduced = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        reduced.save(path, optimize=True)
        if path.stat().st_size >= 200_000:
            raise RuntimeError(f"{path} is too large: draw less")


CONFIG = "config.toml"


def experiment(
    script: str,
    meaning: str | None,
    measure: Callable[[Call], Results],
    draw: Callable[[Results], Figure | Mapping[str, Figure]],
    report: Callable[[Results], str],
    *,
    sizes: Mapping[str, str] | None = None,
    digits: int = 6,
) -> None:
    """Run the command line of an experiment: measure and store, then draw and print the results.

    `script` and `meaning` are `__file__` and `__doc__` of the module that is run; `sizes` are
    further sizes of its own (name → meaning). `measure` returns Datasets by name, which are stored
    in `results.json` with so many `digits`; `draw` and `report` take the content of that file, also
    with --draw alone. A single figure goes to NAME.png, several go to their names.
    """
    call = called(script, meaning or "", sizes)
    try:
        if not call.draw:
            keep(call.results, measure(call), digits)
        results = kept(call.results)
    except lnn.InputError as error:
        sys.stderr.write(f"{script}: error: {error}\n")
        sys.exit(2)
    figures = draw(results)
    by_name = {call.here.name: figures} if isinstance(figures, Figure) else figures
    for name, figure in by_name.items():
        call.save(figure, name)
    call.say(report(results))


def called(
    script: str, meaning: str, sizes: Mapping[str, str] | None = None, *, full: bool = True
) -> Call:
    """The arguments of the command line; `sizes` are further sizes with their meaning."""
    here = Path(script).resolve().parent
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{here.name}", description=meaning.splitlines()[0]
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--smoke", action="store_true", help="a short form, for the tests")
    if full:
        size.add_argument("--full", action="store_true", help="the size of the papers, for a GPU")
    size.add_argument("--draw", action="store_true", help="the figure again from results.json")
    for name, help_text in (sizes or {}).items():
        size.add_argument(f"--{name}", action="store_true", help=help_text)
    parser.add_argument("folder", nargs="?", type=Path, default=here, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.smoke and arguments.folder.resolve() == here:
        parser.error("--smoke needs a FOLDER: this one has the results that its README quotes")
    given_sizes = [
        name for name in ("smoke", "full", *(sizes or {})) if getattr(arguments, name, False)
    ]
    size_name = given_sizes[0] if given_sizes else CONFIG.removesuffix(".toml")
    arguments.folder.mkdir(exist_ok=True)
    return Call(here, arguments.folder, size_name, arguments.draw)


def shrunk(values: Mapping[str, Any]) -> Values:
    """A configuration shrunk to the ends of each axis, two seeds at most, and very short chains.

    Axes of widths have one value, as each would be compiled by itself; those of depths have two.
    """
    shrunk_values = dict(values)
    over = {}
    for name, axis_values in values.get("sweep", {}).get("over", {}).items():
        over[name] = [axis_values[0], axis_values[-1]] if len(axis_values) > 1 else axis_values
        if name == "data.num_train":
            over[name] = [10]
        if name == "network.hidden_widths[0]":
            over[name] = [5]
        if name == "network.hidden_widths":
            over[name] = [[5], [5, 5]]
    seeds = {"seeds": 2} if "seeds" in values.get("sweep", {}) else {}
    shrunk_values["sweep"] = {"over": over} | seeds
    sampler = {k: v for k, v in values.get("sampler", {}).items() if k not in OF_TARGETS}
    shrunk_values["sampler"] = sampler | SMOKE_SAMPLER
    shrunk_values["data"] = dict(values.get("data", {})) | SMOKE_DATA
    return shrunk_values


def one_thread() -> threadpoolctl.threadpool_limits:
    """Limit BLAS to one thread from here on, or within a `with`."""
    importlib.import_module("scipy.linalg")  # it brings a BLAS of its own
    return threadpoolctl.threadpool_limits(1)


@contextlib.contextmanager
def processes(number: int) -> Iterator[Executor]:
    """An executor of `number` processes, each with one thread of BLAS and one device.

    Give the longest jobs first. Processes are not forked, as JAX has threads; a single one is a
    thread of this process.
    """
    if number == 1:
        with one_thread(), ThreadPoolExecutor(1) as pool:
            yield pool
        return
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(number, spawn, one_thread) as pool:
        yield pool


def keep(path: Path, results: Results, digits: int = 6) -> None:
    """Write Datasets by name as JSON with so many digits of each number."""
    content = {name: _rounded(dataset.to_dict(), digits) for name, dataset in results.items()}
    write_text(path, json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")


def kept(path: Path) -> dict[str, xr.Dataset]:
    """The Datasets by name that `keep` has written."""
    if not path.is_file():
        raise lnn.InputError(f"{path} is not there: leave --draw out, so that it is measured")
    content = json.loads(path.read_text())
    return {name: xr.Dataset.from_dict(_with_nan(dataset)) for name, dataset in content.items()}


def table(
    results: xr.Dataset, theories: Sequence[str], quantities: Sequence[str] = ("bias2", "variance")
) -> str:
    """A Markdown table with a row for each point: measured, predicted, and deviations in σ."""
    axes = [str(name) for name in results.status.dims]
    heads = [lnn.plotting.symbol(name) for name in axes] + ["s"]
    for key in quantities:
        heads += [QUANTITIES[key], *(f"{name}" for name in theories)]
    rows = []
    for place in np.ndindex(*(results.sizes[name] for name in axes)):
        point = results.isel(dict(zip(axes, place, strict=True)))
        cells = [str(point[name].item()) for name in axes] + [f"{float(point.criterion):.3g}"]
        for key in quantities:
            error = float(point[f"{key}_mcse"])
            mark = "" if bool(point.converged) else " (not converged)"
            cells.append(plus_minus(Estimate(float(point[key]), error)) + mark)
            z = grid_deviations(point, key)["z"]
            cells += [
                f"{float(point[f'theory_{key}'].sel(theory=name)):.4g} "
                f"({float(z.sel(theory=name)):+.1f})"
                for name in theories
            ]
        rows.append(cells)
    return markdown(heads, rows)


def verdicts(results: xr.Dataset) -> str:
    """A Markdown table of finite against infinite width, by s and Q* below and above 1.

    Q* is that of `one_layer` at the runs' own T. For each group the table counts the converged
    points at which a quantity is lower, or higher, than at infinite width by more than two standard
    errors.
    """
    quantities = {"variance": "variance", "bias2": "bias²", "generalisation_error": "error"}
    converged = results.converged.astype(bool)
    order = results.order_parameter.sel(theory="one_layer").isel(order=0)
    heads = ["", "points", "of these Q* > 1"]
    heads += [f"{name} {way}" for name in quantities.values() for way in ("lower", "higher")]
    rows = []
    for label, group in (
        ("s < 1", results.criterion < 1), ("s > 1", results.criterion > 1),
        ("Q* < 1", order < 1), ("Q* > 1", order > 1),
    ):  # fmt: skip
        group = group & converged
        cells = [label, str(int(group.sum())), str(int((group & (order > 1)).sum()))]
        for quantity in quantities:
            z = grid_deviations(results, quantity)["z"].sel(theory="infinite_width")
            cells += [str(int((group & (sign * z > 2)).sum())) for sign in (-1, 1)]
        rows.append(cells)
    return markdown(heads, rows)


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with these heads and rows."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))


def mnist_caption(values: Mapping[str, Any]) -> str:
    """A caption with the parameters that do not vary in a sweep over MNIST 0/1."""
    data, posterior = values["data"], values["posterior"]
    return f"MNIST 0/1, P = {data['num_train']}, erf, T = {posterior['temperature']:g}"


def by_depth(results: xr.Dataset) -> xr.Dataset:
    """The Dataset with its axis of lists of equal widths as two axes, `depth` and `width`."""
    name = "network.hidden_widths"
    widths = [json.loads(str(text)) for text in results[name].values]
    coordinates = {
        "depth": (name, [len(layer_widths) for layer_widths in widths]),
        "width": (name, [layer_widths[0] for layer_widths in widths]),
    }
    return results.assign_coords(coordinates).set_index({name: ["depth", "width"]}).unstack(name)


def curves(
    ax: Axes,
    results: xr.Dataset,
    quantity: str,
    along: str,
    curve: str,
    theories: Sequence[str],
    label: str,
) -> None:
    """Draw the quantity along an axis, with a colour for each value of the axis `curve`."""
    values = results[curve].values
    for colour, value in zip(lnn.plotting.CHAIN_COLOURS, values, strict=False):
        lnn.plotting.plot_along(
            ax, results.sel({curve: value}), quantity, along, theories=theories, colour=colour,
            label=f"{label} = {value}",
        )  # fmt: skip
    for name in theories:
        ax.plot([], [], color="0.4", linestyle=lnn.plotting.style_of(name)["linestyle"], label=name)


def frame(ax: Axes, *values: xr.DataArray, margin: float = 0.12, log: bool = False) -> None:
    """Set the limits of the vertical axis around these values, so that a theory far off is cut."""
    numbers = np.concatenate([np.ravel(value) for value in values])
    numbers = np.log(numbers) if log else numbers
    lowest, highest = np.nanmin(numbers), np.nanmax(numbers)
    ends = lowest - margin * (highest - lowest), highest + margin * (highest - lowest)
    if log:
        ax.set_yscale("log")
    ax.set_ylim(*(np.exp(ends) if log else ends))


def legend_below(figure: Figure, ax: Axes, ncols: int = 4) -> None:
    """Draw one legend for all panels, from the labels of one panel."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=ncols, frameon=False, fontsize="small"
    )


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item, digits) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if np.isfinite(value) else None
    return value


def _with_nan(content: Values) -> Values:
    """The content of a Dataset with NaN in place of null among its numbers."""

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(item) for item in value]
        return np.nan if value is None else value

    for part in ("coords", "data_vars"):
        for variable in content[part].values():
            variable["data"] = filled(variable["data"])
    return content
