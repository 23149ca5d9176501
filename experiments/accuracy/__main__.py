"""Test accuracy against the number of training images, up to all there are, by theory and sampled.

    python -m experiments.accuracy
        [--smoke | --all | --full | --checks | --collect | --draw] [FOLDER]

Theories of MNIST 0/1 and CIFAR-10 airplane/automobile (grey and colour) with their time and memory,
and config.toml sampled on the same images; --all goes on to every training image, with infinite
width alone, --full has all theories there and samples full.toml; --checks samples the points of
erf units again, from other weights than the prior's, and smaller ones, and adds that to
results.json. Keeps results.json and draws accuracy.png in FOLDER (this one), and prints the tables.
Each point is kept in sweeps/ as soon as it is known: a second start goes on. --collect takes what
is there of --all, adds it to results.json and computes nothing; --draw makes the figure again from
results.json.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.accuracy.checks import SMALLER, as_wide_as_many, from_elsewhere
from experiments.accuracy.points import COSTS, NUMBERS, compute, configured, stored
from experiments.common import Call, Results, experiment, keep, kept, markdown
from langevin_nn.config.record import RunConfig
from langevin_nn.estimates import plus_minus
from langevin_nn.plotting import CHAIN_COLOURS, style_of
from langevin_nn.result_text import QUANTITIES
from langevin_nn.runs.folder import RunFolder
from langevin_nn.sweeps.grid import grid
from langevin_nn.types import Estimate

TASKS: dict[str, dict[str, Any]] = {
    "MNIST 0/1": {"source": "mnist"},
    "CIFAR-10 cars/planes, grey": {"source": "cifar10"},
    "CIFAR-10 cars/planes, colour": {"source": "cifar10", "colour": True},
}
IMAGES = {"mnist": 12_665, "cifar10": 10_000}
SOURCE = {"mnist": 0.999, "cifar10": 0.86}
"""The accuracies that Pacelli et al. 2023 (arXiv:2209.04882) state."""
ACTIVATIONS = ("erf", "relu")
THEORIES = ("infinite_width", "one_layer", "one_layer_nonodd", "scale_mixture")
MOST_DECOMPOSED = 4000
"""The largest number of training images whose Gram matrix is decomposed, except with --full."""
MOST_DECOMPOSED_TWICE = 2000
"""The largest number of training images for `one_layer_nonodd`, which decomposes once more."""
MOST_REPEATED = 1000
"""The largest number of training images of which three draws are averaged over."""
NUM_TEST = 2000
"""The number of test images, all of two classes of CIFAR-10; sampled points have config.toml's."""
ALL = 0
"""The size that stands for all training images."""
SIZES = {
    "smoke": (10, 20),
    "config": (500, 1000, 2000),
    "all": (500, 1000, 2000, 4000, ALL),
    "full": (500, 1000, 2000, 4000, ALL),
}
AXES = ("task", "activation", "size", "seed", "theory")
FURTHER = {"sampled, relu": "cifar10_relu.toml", "sampled, colour": "colour.toml"}
"""Further sampled points by the name of their results: sweeps with fewer draws than config.toml."""
ELSEWHERE = {source: f"from other weights, {source}" for source in IMAGES}
SMALLER_POINTS = "smaller points"
CHECKS = (*ELSEWHERE.values(), SMALLER_POINTS)
"""The names of the results of `checks` in results.json."""


def theories(call: Call, values: dict[str, Any]) -> Iterator[xr.Dataset]:
    """The Dataset of the theories after each point that is computed, and at the end."""
    known, folder = unfilled(call, values), call.sweep_folder(values).parent / "accuracy-theories"
    if call.size == "collect" and call.results.exists():
        earlier = kept(call.results)["theories"]
        if all(earlier[axis].equals(known[axis]) for axis in AXES):
            known = earlier
    for point in points(known):
        config = point_config(call, values, point)
        content = stored(folder, config)
        if content is None and call.size != "collect":
            content = compute(folder, config)
            fill(known, point, content)
            call.say(point_line(point, content))
            yield known
        elif content is not None:
            fill(known, point, content)
    yield known


def unfilled(call: Call, values: dict[str, Any]) -> xr.Dataset:
    """The Dataset of the theories with NaN everywhere, to be filled."""
    short = call.size == "smoke"
    coordinates = {
        "task": list(TASKS)[:1] if short else list(TASKS),
        "activation": list(ACTIVATIONS[:1] if short else ACTIVATIONS),
        "size": list(SIZES["all" if call.size == "collect" else call.size]),
        "seed": [0, 1, 2], "theory": list(THEORIES),
    }  # fmt: skip
    return xr.Dataset(
        {
            name: (axes, np.full([len(coordinates[axis]) for axis in axes], np.nan))
            for names, axes in (((*NUMBERS, "seconds"), AXES), (COSTS, AXES[:-1]))
            for name in names
        },
        coords=coordinates,
        attrs={"num_test": num_test(call, values),
               "width": values["network"]["hidden_widths"][0],
               "temperature": values["posterior"]["temperature"]},
    )  # fmt: skip


def num_test(call: Call, values: dict[str, Any]) -> int:
    return int(values["data"]["num_test"]) if call.size == "smoke" else NUM_TEST


def points(known: xr.Dataset) -> list[dict[str, Any]]:
    """The points in the order of P, so that the peak of memory so far is that of the latest."""
    return [
        {"task": task, "activation": activation, "size": size, "seed": seed}
        for size in known["size"].values.tolist()
        for task in sorted(
            known.task.values.tolist(), key=lambda name: IMAGES[TASKS[name]["source"]]
        )
        for activation in known.activation.values.tolist()
        for seed in ((0, 1, 2) if 0 < size <= MOST_REPEATED else (0,))
    ]


def point_config(call: Call, values: dict[str, Any], point: dict[str, Any]) -> RunConfig:
    """The configuration of a point, with the theories that are computed there."""
    task = TASKS[point["task"]]
    number = IMAGES[task["source"]] if point["size"] == ALL else point["size"]
    names = list(THEORIES)
    if lnn.activation(point["activation"]).odd or number > MOST_DECOMPOSED_TWICE:
        names.remove("one_layer_nonodd")  # of odd units the same as one_layer
    if number > MOST_DECOMPOSED and call.size != "full":
        names = ["infinite_width"]
    settings = {
        "num_train": number, "num_test": num_test(call, values), "seed": point["seed"],
        "activation": point["activation"],
    }  # fmt: skip
    return configured(values, task | settings, tuple(names))


def fill(known: xr.Dataset, point: dict[str, Any], content: dict[str, Any]) -> None:
    for name in COSTS:
        known[name].loc[point] = content[name]
    for theory, numbers in content["theories"].items():
        for name, value in numbers.items():
            known[name].loc[point | {"theory": theory}] = value


def point_line(point: dict[str, Any], content: dict[str, Any]) -> str:
    accuracies = [
        f"{name} {numbers['test_accuracy']:.4f}" for name, numbers in content["theories"].items()
    ]
    return (
        f"{point['task']}, {point['activation']}, P = {content['num_train']}, seed "
        f"{point['seed']}: {content['decomposition']:.1f} s, {content['gibibytes']:.2f} GiB; "
        f"{', '.join(accuracies)}"
    )


def sampled(results: Results, task: str, activation: str) -> list[xr.Dataset]:
    """The sampled points of a task along P, of each sweep that has some."""
    settings = TASKS[task]
    axes = {"data.source": settings["source"], "network.activation": activation}
    return [
        points.sel(axes)
        for name, points in sampled_sweeps(results).items()
        if ("colour" in settings) == ("colour" in name)
        and all(value in points[axis] for axis, value in axes.items())
    ]


def sampled_sweeps(results: Results) -> dict[str, xr.Dataset]:
    """The Datasets of sampled points among the results."""
    return {name: results[name] for name in ("sampled", *FURTHER) if name in results}


def draw(results: Results) -> Figure:
    """A panel for each task: theories as lines, sampled points, and the source's accuracy."""
    theory, measured = results["theories"], results.get("sampled")
    figure = Figure(figsize=(11, 4.3), layout="constrained")
    panels = figure.subplots(1, theory.sizes["task"], squeeze=False)[0]
    for ax, task in zip(panels, theory.task.values, strict=True):
        for colour, activation in zip(CHAIN_COLOURS, theory.activation.values, strict=False):
            task_results = theory.sel(task=task, activation=activation)
            lines(ax, task_results, colour, activation, int(theory.num_test))
            for sampled_points in sampled(results, str(task), str(activation)):
                diamonds(ax, sampled_points, colour, str(activation))
        error = 100 * (1 - SOURCE[TASKS[task]["source"]])
        ax.axhline(error, color="black", linewidth=1, linestyle=":", label="Pacelli et al. 2023")
        ax.set_xscale("log")
        ticks = (10, 20, 500, 1000, 2000, 4000, 10_000)
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
        ax.minorticks_off()
        numbers = theory.num_train.values
        ax.set_xlim(0.85 * np.nanmin(numbers), 1.25 * np.nanmax(numbers))
        ax.set_ylim(bottom=0)
        ax.set_xlabel("training images P")
        ax.set_title(str(task), fontsize="medium")
        ax.grid(alpha=0.25, which="both")
    panels[0].set_ylabel("test error, 100 % − accuracy (%)")
    figure.suptitle(
        f"N_1 = {theory.width}, T = {theory.temperature:g}, λ = 1, {theory.num_test} test images"
        f"{tested(theory, measured)} (error bars: ± 1 standard error, of their number and of the "
        "draws)", fontsize="small",
    )  # fmt: skip
    handles = {
        label: handle for ax in panels
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }  # fmt: skip
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False,
        fontsize="small",
    )  # fmt: skip
    return figure


def tested(known: xr.Dataset, measured: xr.Dataset | None) -> str:
    """A remark on the number of test images of the sampled points, where it is smaller."""
    if measured is None or measured.num_test == known.num_test:
        return ""
    return f", of these {measured.num_test} sampled"


def lines(ax: Axes, results: xr.Dataset, colour: str, activation: str, num_test: int) -> None:
    """Draw `infinite_width` and `one_layer`, averaged over draws of the training images."""
    for name, shift in (("infinite_width", 1.0), ("one_layer", 1.04)):
        accuracy = over_draws(results.test_accuracy.sel(theory=name), num_test)
        ax.errorbar(
            results.num_train.isel(seed=0) * shift, 100 * (1 - accuracy[0]), 100 * accuracy[1],
            color=colour, linestyle=style_of(name)["linestyle"], marker=".", capsize=2,
            elinewidth=0.8, label=f"{activation}, {name}",
        )  # fmt: skip


def diamonds(ax: Axes, points: xr.Dataset, colour: str, activation: str) -> None:
    """Draw the sampled points as diamonds, open where the chains have not converged."""
    for converged, face, remark in ((True, colour, ""), (False, "white", ", not converged")):
        shown_points = points.where(points.converged.astype(bool) == converged)
        accuracy = shown_points.test_accuracy
        if accuracy.isnull().all():
            continue
        ax.errorbar(
            points["data.num_train"] / 1.04, 100 * (1 - accuracy),
            100 * np.hypot(shown_points.test_accuracy_mcse, binomial(accuracy, points.num_test)),
            fmt="D", color=colour, markerfacecolor=face, markersize=6, capsize=3, zorder=4,
            label=f"{activation}, sampled{remark}",
        )  # fmt: skip


def over_draws(accuracy: xr.DataArray, num_test: int) -> tuple[Any, Any]:
    """The average over the draws of training images, and its standard error.

    The error includes that of the choice of the test images.
    """
    mean, number = accuracy.mean("seed").values, accuracy.count("seed").values
    scatter = accuracy.std("seed").values / np.sqrt(np.maximum(number - 1, 1))
    return mean, np.hypot(scatter, binomial(mean, num_test))


def binomial(accuracy: Any, number: int) -> Any:
    """The standard error of a share of `number` test images."""
    return np.sqrt(accuracy * (1 - accuracy) / number)


def table(theory: xr.Dataset) -> str:
    """Two tables: accuracies of the theories in per cent, and their time and memory."""
    rows, costs = [], []
    for task in theory.task.values:
        for activation in theory.activation.values:
            for size in theory["size"].values:
                point = theory.sel(task=task, activation=activation, size=size)
                cells = [str(task), str(activation), f"{float(point.num_train.isel(seed=0)):.0f}"]
                for name in THEORIES:
                    accuracy = point.test_accuracy.sel(theory=name)
                    cells.append(percent(*over_draws(accuracy, theory.num_test)))
                rows.append(cells)
    for column, size in enumerate(theory["size"].values):
        point = theory.isel(size=column)
        seconds = [point.decomposition, *(point.seconds.sel(theory=name) for name in THEORIES)]
        cells = ["all (Cholesky)" if size == ALL else str(size)]
        cells += [
            "–" if times.isnull().all() else f"{float(times.mean()):.2g}" for times in seconds
        ]
        costs.append([*cells, f"{float(point.gibibytes.max()):.2f}"])
    heads = ["data", "units", "P", *THEORIES]
    cost_heads = ["P", "Gram matrix, decomposition", *THEORIES, "largest memory (GiB)"]
    return markdown(heads, rows) + "\n\n" + markdown(cost_heads, costs)


def with_own_diagnostics(measured: xr.Dataset, folder: Path) -> xr.Dataset:
    """The sampled points with R̂ and ESS of bias² and the variance themselves.

    The numbers of `collect` are those of the slowest series, f at each test image among them.
    """
    for name in ("bias2", "variance"):
        for kind in ("rhat", "ess"):
            values = np.full(measured.status.shape, np.nan)
            for place in np.argwhere((measured.status == "done").values):
                point = str(measured.point.values[tuple(place)])
                summary = RunFolder(folder / "points" / point).load_summary()
                values[tuple(place)] = getattr(summary.experiment, kind)[name]
            measured[f"{name}_{kind}"] = (measured.status.dims, values)
    return measured


def with_earlier(measured: xr.Dataset, earlier: xr.Dataset) -> xr.Dataset:
    """The sampled points with those of `earlier` that are not done here, of the same settings.

    Variables that `earlier` has not are left out, as they would be known of some points alone, and
    its attributes stay.
    """
    if not np.any(measured.status == "done"):
        return earlier
    axes = (*measured.status.dims, "theory")
    if any(not earlier[axis].equals(measured[axis]) for axis in axes):
        return measured
    is_same = (measured.point == earlier.point) & (earlier.status == "done")
    is_taken = is_same & (measured.status != "done")
    shared = {
        name: xr.where(is_taken, earlier[name], variable).transpose(*variable.dims)
        for name, variable in measured.data_vars.items()
        if name in earlier
    }
    return measured.assign(shared)[list(shared)].assign_attrs(earlier.attrs)


def sampled_table(sweeps: Results) -> str:
    """A table of the sampled points and of the theories on the same images."""
    heads = ["data", "units", "P", "", "sampled", *next(iter(sweeps.values())).theory.values]
    heads += ["R̂", "ESS", "R̂ max", "ESS min"]
    rows = [
        cells
        for name, points in sweeps.items()
        for cells in sampled_rows(points, ", colour" if "colour" in name else "")
    ]
    return markdown(heads, rows)


def sampled_rows(points: xr.Dataset, remark: str) -> list[list[str]]:
    """The rows of one sweep, with a remark on its data."""
    rows = []
    axes = ("data.source", "network.activation", "data.num_train")
    for place in np.ndindex(*(points.sizes[axis] for axis in axes)):
        point = points.isel(dict(zip(axes, place, strict=True)))
        if str(point.status.item()) != "done":
            continue
        source, *others = (str(point[axis].item()) for axis in axes)
        labels = [source + remark, *others]
        accuracy = float(point.test_accuracy)
        error = float(np.hypot(point.test_accuracy_mcse, binomial(accuracy, points.num_test)))
        slowest = [f"{float(point.rhat_max):.3f}", f"{float(point.ess_min):.0f}"]
        expected = [f"{100 * float(value):.2f}" for value in point.theory_test_accuracy.values]
        cells = [*labels, "accuracy (%)", percent(accuracy, error), *expected, "–", "–", *slowest]
        rows.append(cells)
        for name in ("bias2", "variance"):
            measured = Estimate(float(point[name]), float(point[f"{name}_mcse"]))
            expected = [f"{float(value):.4g}" for value in point[f"theory_{name}"].values]
            diagnostics = [
                f"{float(point[f'{name}_rhat']):.3f}",
                f"{float(point[f'{name}_ess']):.0f}",
            ]
            cells = [
                *labels,
                QUANTITIES[name],
                plus_minus(measured),
                *expected,
                *diagnostics,
                *slowest,
            ]
            rows.append(cells)
    return rows


def percent(accuracy: Any, error: Any) -> str:
    return "–" if np.isnan(accuracy) else f"{100 * float(accuracy):.2f} ± {100 * float(error):.2f}"


def measure(call: Call) -> dict[str, xr.Dataset]:
    """Theories, sampled points and, in the short form, chains from elsewhere; stored one by one."""
    if call.size == "checks":
        results = kept(call.results)
        check(call, replace(call, size="config").values(), results, SMALLER)
        return results
    as_configured = call.size in ("all", "collect")
    values = (replace(call, size="config") if as_configured else call).values()
    earlier = kept(call.results) if call.results.exists() else {}
    names = earlier if call.size == "collect" else CHECKS
    results = {name: earlier[name] for name in names if name in earlier}
    with threadpoolctl.threadpool_limits(1):  # on busy cores two are slower than one
        for results["theories"] in theories(call, values):
            keep(call.results, results)
    sweeps = {"sampled": values}
    if as_configured or call.size == "smoke":
        sweeps |= {name: call.values(file) for name, file in FURTHER.items()}
    for name, of_sweep in sweeps.items():
        folder, measured = call.sweep_folder(of_sweep), None
        if call.size != "collect":
            measured = call.swept(of_sweep)
        elif folder.is_dir():
            measured = lnn.collect(folder)
        if measured is not None:
            attributes = {"num_test": of_sweep["data"]["num_test"]}
            measured = with_own_diagnostics(measured.drop_dims("order"), folder)
            if call.size == "collect" and name in earlier:
                measured = with_earlier(measured, earlier[name])
            results[name] = measured.assign_attrs(attributes)
        keep(call.results, results)
    if call.size == "smoke":
        check(call, values, results, (5, 6))
    return results


def report(results: Results) -> str:
    tables = [table(results["theories"])]
    if sweeps := sampled_sweeps(results):
        tables.append(sampled_table(sweeps))
    tables += [from_other_weights(results[name]) for name in ELSEWHERE.values() if name in results]
    if SMALLER_POINTS in results:
        tables.append(smaller_table(results[SMALLER_POINTS]))
    return "\n\n".join(tables)


def check(call: Call, values: dict[str, Any], results: Results, sizes: tuple[int, ...]) -> None:
    """Sample chains from elsewhere at the points of erf units, and smaller points.

    The results are stored one by one.
    """
    erf_points = [
        point for point in grid(values).points if point.network.activation == ACTIVATIONS[0]
    ]
    results[SMALLER_POINTS] = as_wide_as_many(erf_points[0], sizes)
    keep(call.results, results)
    for config in erf_points:
        results[ELSEWHERE[config.data.source]] = from_elsewhere(config)
        keep(call.results, results)


def from_other_weights(results: xr.Dataset) -> str:
    """A line on the results of chains from elsewhere."""
    numbers = []
    for name in ("bias2", "variance"):
        value, error, rhat = (float(results[name + suffix]) for suffix in ("", "_mcse", "_rhat"))
        numbers.append(f"{QUANTITIES[name]} {plus_minus(Estimate(value, error))} (R̂ {rhat:.3f})")
    factors = ", ".join(f"{factor:g}" for factor in results.factor.values)
    return (
        f"{results.source}, {results.activation}, P = {results.num_train}, from the prior's "
        f"weights times {factors}: {', '.join(numbers)}, R̂ max {float(results.rhat_max):.3f}, "
        f"ESS min {float(results.ess_min):.0f}"
    )


def smaller_table(results: xr.Dataset) -> str:
    """A table of the points with fewer images and as many units."""
    rows = []
    for size in results["size"].values:
        point = results.sel(size=size)
        diagnostics = [f"{float(point.rhat_max):.3f}", f"{float(point.ess_min):.0f}"]
        for name in ("bias2", "variance"):
            measured = Estimate(float(point[name]), float(point[f"{name}_mcse"]))
            expected = [f"{float(value):.4g}" for value in point[f"theory_{name}"].values]
            rows.append(
                [str(size), QUANTITIES[name], plus_minus(measured), *expected, *diagnostics]
            )
    heads = ["P = N_1", "", "sampled", *results.theory.values, "R̂ max", "ESS min"]
    return markdown(heads, rows)


if __name__ == "__main__":
    experiment(
        __file__, __doc__, measure, draw, report,
        sizes={
            "all": "theories up to every training image",
            "checks": "points of erf units from other weights than the prior's, and smaller ones",
            "collect": "what is there of --all beside what results.json has, computing nothing",
        },
    )  # fmt: skip
