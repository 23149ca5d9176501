"""What the experiments share: their sizes, the sweep, the numbers that stay, their tables.

An experiment is a folder with `config.toml`, a configuration with a [sweep] table (or the base that
it makes one of), and perhaps `full.toml`, the size of the papers. Its `__main__.py` says what is
measured, how that is drawn and what is printed of it; `experiment` does so.
"""

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
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
from langevin_nn.analysis.comparison import QUANTITIES, grid_deviations, plus_minus
from langevin_nn.cli.progress import SweepProgress
from langevin_nn.files import write_text
from langevin_nn.sweeps.grid import grid
from langevin_nn.types import Estimate

SMOKE_SAMPLER = {"num_chains": 2, "num_warmup": 4, "num_samples": 6, "thinning": 1}
SMOKE_DATA = {"num_train": 10, "num_test": 10}
Values = dict[str, Any]
Results = Mapping[str, xr.Dataset]
"""What an experiment measures: Datasets by name, as `results.json` has them."""


@dataclass(frozen=True)
class Call:
    """What the command line asked for; `size` is "smoke", "config", "full" or a script's own."""

    here: Path
    folder: Path
    size: str
    draw: bool

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    def values(self) -> Values:
        """The configuration of this size with its [sweep] table, as in the TOML."""
        values = configuration.read(self.here / ("full.toml" if self.size == "full" else CONFIG))
        return shrunk(values) if self.size == "smoke" else values

    def sweep_folder(self, values: Mapping[str, Any]) -> Path:
        home = self.folder if self.size == "smoke" else Path()
        return home / "sweeps" / f"{self.here.name}-{grid(values).content_hash}"

    def swept(self, values: Mapping[str, Any]) -> xr.Dataset:
        """The Dataset of the sweep in `sweeps/NAME-HASH` of the current folder.

        One that was interrupted goes on, and `langevin-nn report` makes a page of it.
        """
        output = self.sweep_folder(values)
        with SweepProgress(quiet=self.size == "smoke") as progress:
            found = lnn.sweep(values, output=output, progress=progress)
        self.say(f"{output.name}, {float(found.seconds.sum()):.0f} s of sampling")
        for reason in filter(None, np.unique(found.reason)):
            self.say(f"failed: {reason}")
        for place in np.argwhere(~found.converged.to_numpy() & (found.status == "done").to_numpy()):
            point = found.isel(dict(zip(found.status.dims, place, strict=True)))
            where = ", ".join(f"{name} = {point[name].item()}" for name in found.status.dims)
            self.say(f"not converged: {where}: {point.message.item()}")
        return found

    def say(self, text: str) -> None:
        print(text, flush=True)

    def save(self, figure: Figure, name: str) -> None:
        """The figure as a PNG of few colours, small enough for a repository."""
        path = self.folder / f"{name}.png"
        figure.savefig(path, dpi=130)
        with Image.open(path) as image:
            few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
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
    """The command line of an experiment: measure and keep, then draw and print what was kept.

    `script` and `meaning` are `__file__` and `__doc__` of the module that is run, which `sizes` of
    its own may be given (name → meaning). `measure` answers with Datasets by name, kept in
    `results.json` with so many `digits`; `draw` and `report` are given what that file holds, and
    so with --draw alone. A figure goes to NAME.png, several to their names.
    """
    call = called(script, meaning or "", sizes)
    if not call.draw:
        keep(call.results, measure(call), digits)
    results = kept(call.results)
    figures = draw(results)
    named = {call.here.name: figures} if isinstance(figures, Figure) else figures
    for name, figure in named.items():
        call.save(figure, name)
    call.say(report(results))


def called(
    script: str, meaning: str, sizes: Mapping[str, str] | None = None, *, full: bool = True
) -> Call:
    """The call that the command line describes; `sizes` are further ones with their meaning."""
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
    named = [name for name in ("smoke", "full", *(sizes or {})) if getattr(arguments, name, False)]
    chosen = named[0] if named else CONFIG.removesuffix(".toml")
    arguments.folder.mkdir(exist_ok=True)
    return Call(here, arguments.folder, chosen, arguments.draw)


def shrunk(values: Mapping[str, Any]) -> Values:
    """The same with the ends of each axis, two seeds at most, and the shortest of chains.

    Axes of widths have one, as each would be compiled by itself; of depths two.
    """
    small = dict(values)
    over = {}
    for name, listed in values.get("sweep", {}).get("over", {}).items():
        over[name] = [listed[0], listed[-1]] if len(listed) > 1 else listed
        if name == "data.num_train":
            over[name] = [10]
        if name == "network.hidden_widths[0]":
            over[name] = [5]
        if name == "network.hidden_widths":
            over[name] = [[5], [5, 5]]
    seeds = {"seeds": 2} if "seeds" in values.get("sweep", {}) else {}
    small["sweep"] = {"over": over} | seeds
    small["sampler"] = dict(values.get("sampler", {})) | SMOKE_SAMPLER
    small["data"] = dict(values.get("data", {})) | SMOKE_DATA
    return small


def one_thread() -> threadpoolctl.threadpool_limits:
    """BLAS has one thread from here on, or within a `with`."""
    importlib.import_module("scipy.linalg")  # it brings a BLAS of its own
    return threadpoolctl.threadpool_limits(1)


@contextlib.contextmanager
def processes(number: int) -> Iterator[Executor]:
    """So many at once, each with one thread of BLAS and one device; give the longest jobs first.

    They are not forked, as JAX has threads. One is a thread of this process.
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
    """Datasets by name as JSON with so many digits of each number."""
    content = {name: _rounded(found.to_dict(), digits) for name, found in results.items()}
    write_text(path, json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")


def kept(path: Path) -> dict[str, xr.Dataset]:
    """What `keep` wrote."""
    content = json.loads(path.read_text())
    return {name: xr.Dataset.from_dict(_with_nan(found)) for name, found in content.items()}


def table(
    results: xr.Dataset, theories: Sequence[str], quantities: Sequence[str] = ("bias2", "variance")
) -> str:
    """A Markdown table: a row for each point, predicted beside measured, deviations in σ."""
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
    """A Markdown table: where s, and where Q* of `one_layer` at the runs' own T, is above 1.

    For each group the points that have converged at which a quantity is lower, or higher, than at
    infinite width by more than two standard errors.
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
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))


def mnist_caption(values: Mapping[str, Any]) -> str:
    """What does not vary in a sweep over MNIST 0/1."""
    data, posterior = values["data"], values["posterior"]
    return f"MNIST 0/1, P = {data['num_train']}, erf, T = {posterior['temperature']:g}"


def by_depth(results: xr.Dataset) -> xr.Dataset:
    """The axis of lists of equal widths as two, `depth` and `width`."""
    name = "network.hidden_widths"
    widths = [json.loads(str(text)) for text in results[name].values]
    coordinates = {
        "depth": (name, [len(w) for w in widths]),
        "width": (name, [w[0] for w in widths]),
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
    """The quantity along an axis, a colour for each value of the axis `curve`, named `label`."""
    values = results[curve].values
    for colour, value in zip(lnn.plotting.CHAIN_COLOURS, values, strict=False):
        lnn.plotting.plot_along(
            ax, results.sel({curve: value}), quantity, along, theories=theories, colour=colour,
            label=f"{label} = {value}",
        )  # fmt: skip
    for name in theories:
        ax.plot([], [], color="0.4", linestyle=lnn.plotting.style_of(name)["linestyle"], label=name)


def frame(ax: Axes, *values: xr.DataArray, margin: float = 0.12, log: bool = False) -> None:
    """Limits of the vertical axis around these values, so that a theory far off is cut."""
    numbers = np.concatenate([np.ravel(value) for value in values])
    numbers = np.log(numbers) if log else numbers
    lowest, highest = np.nanmin(numbers), np.nanmax(numbers)
    ends = lowest - margin * (highest - lowest), highest + margin * (highest - lowest)
    if log:
        ax.set_yscale("log")
    ax.set_ylim(*(np.exp(ends) if log else ends))


def legend_below(figure: Figure, ax: Axes, ncols: int = 4) -> None:
    """One legend for all panels, from the labels of one."""
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
    """null back as NaN in what are numbers."""

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(item) for item in value]
        return np.nan if value is None else value

    for part in ("coords", "data_vars"):
        for variable in content[part].values():
            variable["data"] = filled(variable["data"])
    return content
