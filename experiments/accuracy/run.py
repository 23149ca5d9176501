"""Test accuracy against the number of training images, up to all there are, by theory and sampled.

    python experiments/accuracy/run.py [--smoke | --all | --full | --draw] [FOLDER]

Theories of MNIST 0/1 and CIFAR-10 airplane/automobile (grey and colour) with their time and memory,
and config.toml sampled on the same images; --all goes on to every training image, with infinite
width alone, --full does so and samples full.toml. Keeps results.json and draws accuracy.png in
FOLDER (this one), and prints the tables; --draw makes the figure again from results.json.
"""

import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax  # noqa: E402
import numpy as np  # noqa: E402
import scipy.linalg  # noqa: E402
import threadpoolctl  # noqa: E402
import xarray as xr  # noqa: E402
from common import Call, called, keep, kept, legend_below, markdown  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

import langevin_nn as lnn  # noqa: E402
from langevin_nn.analysis.comparison import QUANTITIES, plus_minus  # noqa: E402
from langevin_nn.plotting import CHAIN_COLOURS, style_of  # noqa: E402
from langevin_nn.types import Estimate  # noqa: E402

TASKS: dict[str, dict[str, Any]] = {
    "MNIST 0/1": {"source": "mnist"},
    "CIFAR-10 cars/planes, grey": {"source": "cifar10"},
    "CIFAR-10 cars/planes, colour": {"source": "cifar10", "colour": True},
}
IMAGES = {"mnist": 12_665, "cifar10": 10_000}
SOURCE = {"mnist": 0.999, "cifar10": 0.86}
"""Accuracies that Pacelli et al. 2023 (arXiv:2209.04882) state."""
ACTIVATIONS = ("erf", "relu")
THEORIES = ("infinite_width", "one_layer", "one_layer_nonodd", "scale_mixture")
MOST = {"one_layer_nonodd": 2000}
"""Training images up to which a theory is asked that needs a decomposition of its own."""
FEW = 1000
"""Training images up to which three draws of them are averaged over."""
ROWS = 1000
"""Of a Gram matrix at once: its intermediate results are several times as large as itself."""
ALL = 0
SIZES = {
    "smoke": (10, 20),
    "config": (500, 1000, 2000),
    "all": (500, 1000, 2000, ALL),
    "full": (500, 1000, 2000, 4000, ALL),
}
NUMBERS = ("test_accuracy", "bias2", "variance")
COSTS = ("num_train", "decomposition", "gibibytes")
AXES = ("task", "activation", "size", "seed", "theory")


def theories(call: Call, values: dict[str, Any]) -> Iterator[xr.Dataset]:
    """All that has been computed, after each point."""
    short = call.size == "smoke"
    found = nothing(
        SIZES[call.size], values, list(TASKS)[:1] if short else list(TASKS),
        ACTIVATIONS[:1] if short else ACTIVATIONS,
    )  # fmt: skip
    for point in points(found):
        call.say(compute(found, point, values))
        yield found


def nothing(
    sizes: Sequence[int], values: dict[str, Any], tasks: Sequence[str], activations: Sequence[str]
) -> xr.Dataset:
    """The Dataset to fill, NaN everywhere."""
    coordinates = {
        "task": list(tasks), "activation": list(activations), "size": list(sizes),
        "seed": [0, 1, 2], "theory": list(THEORIES),
    }  # fmt: skip
    return xr.Dataset(
        {
            name: (axes, np.full([len(coordinates[axis]) for axis in axes], np.nan))
            for names, axes in (((*NUMBERS, "seconds"), AXES), (COSTS, AXES[:-1]))
            for name in names
        },
        coords=coordinates,
        attrs={"num_test": values["data"]["num_test"],
               "width": values["network"]["hidden_widths"][0],
               "temperature": values["posterior"]["temperature"]},
    )  # fmt: skip


def points(found: xr.Dataset) -> list[dict[str, Any]]:
    """P grows from one to the next, so that the peak of memory is that of each."""
    return [
        {"task": task, "activation": activation, "size": size, "seed": seed}
        for size in found["size"].values.tolist()
        for task in sorted(
            found.task.values.tolist(), key=lambda name: IMAGES[TASKS[name]["source"]]
        )
        for activation in found.activation.values.tolist()
        for seed in ((0, 1, 2) if 0 < size <= FEW else (0,))
    ]


def compute(found: xr.Dataset, point: dict[str, Any], values: dict[str, Any]) -> str:
    """Fill in what the theories say at one point, and what it took; returns it in words."""
    data = images(TASKS[point["task"]], point["size"], int(found.num_test), point["seed"])
    spec = lnn.EnsembleSpec(
        data.in_size, tuple(values["network"]["hidden_widths"]),
        lnn.activation(point["activation"]), (1.0, 1.0), values["posterior"]["temperature"],
    )  # fmt: skip
    decomposition, results = direct(spec, data) if point["size"] == ALL else predicted(spec, data)
    # ru_maxrss counts KiB, on macOS bytes.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory /= 2**30 if sys.platform == "darwin" else 2**20
    for name, value in zip(COSTS, (data.num_train, decomposition, memory), strict=True):
        found[name].loc[point] = value
    for theory, numbers in results.items():
        for name, value in numbers.items():
            found[name].loc[point | {"theory": theory}] = value
    accuracies = [f"{name} {each['test_accuracy']:.4f}" for name, each in results.items()]
    return (
        f"{point['task']}, {point['activation']}, P = {data.num_train}, seed {point['seed']}: "
        f"{decomposition:.1f} s, {memory:.2f} GiB; {', '.join(accuracies)}"
    )


def images(task: dict[str, Any], size: int, num_test: int, seed: int) -> lnn.Dataset:
    key = jax.random.split(jax.random.key(seed), 3)[0]  # as `langevin_nn.run.prepare` has it
    return lnn.load_dataset(**task, key=key, num_train=size or None, num_test=num_test)


def predicted(
    spec: lnn.EnsembleSpec, data: lnn.Dataset
) -> tuple[float, dict[str, dict[str, float]]]:
    """CPU seconds of the decomposition, and by theory its numbers and its own CPU seconds."""
    began = time.process_time()
    regression = lnn.theory.gram_regression(spec, data)
    decomposition = time.process_time() - began
    assert spec.activation is not None
    found = {}
    for name in THEORIES:
        alone = name == "one_layer_nonodd" and spec.activation.odd  # the same as one_layer
        if alone or data.num_train > MOST.get(name, data.num_train):
            continue
        began = time.process_time()
        result = lnn.theory.THEORIES[name](spec, data, regression)
        found[name] = {key: getattr(result, key).value for key in NUMBERS}
        found[name]["seconds"] = time.process_time() - began
    return decomposition, found


def direct(spec: lnn.EnsembleSpec, data: lnn.Dataset) -> tuple[float, dict[str, dict[str, float]]]:
    """The mean of `infinite_width` by one Cholesky factorisation, a tenth of the decomposition."""
    began = time.process_time()
    noisy = np.empty((data.num_train, data.num_train))
    for start in range(0, data.num_train, ROWS):
        rows = slice(start, start + ROWS)
        noisy[rows] = lnn.theory.nngp(spec, data.x_train[rows], data.x_train)
    noisy[np.diag_indices_from(noisy)] += spec.temperature
    factor = scipy.linalg.cho_factor(noisy.T, overwrite_a=True, check_finite=False)
    seconds = time.process_time() - began
    weights = scipy.linalg.cho_solve(factor, data.y_train, check_finite=False)
    mean = lnn.theory.nngp(spec, data.x_test, data.x_train) @ weights
    accuracy = np.mean((mean > data.targets_midpoint) == (data.y_test > data.targets_midpoint))
    numbers = {"test_accuracy": accuracy, "bias2": np.mean((data.y_test - mean) ** 2)}
    return seconds, {"infinite_width": {name: float(each) for name, each in numbers.items()}}


def sampled(results: xr.Dataset, task: str, activation: str) -> xr.Dataset | None:
    """What was sampled of a task, along P; None where nothing was."""
    words = TASKS[task]
    axes = {"data.source": words["source"], "network.activation": activation}
    if "colour" in words or any(value not in results[axis] for axis, value in axes.items()):
        return None
    return results.sel(axes)


def draw(results: dict[str, xr.Dataset]) -> Figure:
    """A panel for each task: theories as lines, sampled points, and the source's accuracy."""
    theory, points = results["theories"], results["sampled"]
    figure = Figure(figsize=(11, 4.3), layout="constrained")
    panels = figure.subplots(1, theory.sizes["task"], squeeze=False)[0]
    for ax, task in zip(panels, theory.task.values, strict=True):
        for colour, activation in zip(CHAIN_COLOURS, theory.activation.values, strict=False):
            here = theory.sel(task=task, activation=activation)
            lines(ax, here, colour, activation, int(theory.num_test))
            own = sampled(points, str(task), str(activation))
            if own is None:
                continue
            accuracy = own.test_accuracy.values
            ax.errorbar(
                own["data.num_train"], 100 * (1 - accuracy),
                100 * binomial(accuracy, theory.num_test),
                fmt="D", color=colour, markerfacecolor="white", markersize=6, capsize=3, zorder=4,
                label=f"{activation}, sampled",
            )  # fmt: skip
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
        f"N_1 = {theory.width}, T = {theory.temperature:g}, λ = 1, {theory.num_test} test images "
        "(error bars: ± 1 standard error, of their number and of the draws)", fontsize="small",
    )  # fmt: skip
    legend_below(figure, panels[0], ncols=4)
    return figure


def lines(ax: Axes, here: xr.Dataset, colour: str, activation: str, num_test: int) -> None:
    """`infinite_width` and `one_layer`, averages over the draws of the training images."""
    for name, shift in (("infinite_width", 1.0), ("one_layer", 1.04)):
        accuracy = over_draws(here.test_accuracy.sel(theory=name), num_test)
        ax.errorbar(
            here.num_train.isel(seed=0) * shift, 100 * (1 - accuracy[0]), 100 * accuracy[1],
            color=colour, linestyle=style_of(name)["linestyle"], marker=".", capsize=2,
            elinewidth=0.8, label=f"{activation}, {name}",
        )  # fmt: skip


def over_draws(accuracy: xr.DataArray, num_test: int) -> tuple[Any, Any]:
    """The average, and the standard error of the draws of training images and the test images."""
    mean, number = accuracy.mean("seed").values, accuracy.count("seed").values
    scatter = accuracy.std("seed").values / np.sqrt(np.maximum(number - 1, 1))
    return mean, np.hypot(scatter, binomial(mean, num_test))


def binomial(accuracy: Any, number: int) -> Any:
    """The standard error of a share of that many test images."""
    return np.sqrt(accuracy * (1 - accuracy) / number)


def table(theory: xr.Dataset) -> str:
    """Accuracies in per cent; time and memory."""
    rows, costs = [], []
    for task in theory.task.values:
        for activation in theory.activation.values:
            for size in theory["size"].values:
                here = theory.sel(task=task, activation=activation, size=size)
                cells = [str(task), str(activation), f"{float(here.num_train.isel(seed=0)):.0f}"]
                for name in THEORIES:
                    accuracy = here.test_accuracy.sel(theory=name)
                    cells.append(percent(*over_draws(accuracy, theory.num_test)))
                rows.append(cells)
    for column, size in enumerate(theory["size"].values):
        here = theory.isel(size=column)
        seconds = [here.decomposition, *(here.seconds.sel(theory=name) for name in THEORIES)]
        cells = ["all (Cholesky)" if size == ALL else str(size)]
        cells += ["–" if each.isnull().all() else f"{float(each.mean()):.2g}" for each in seconds]
        costs.append([*cells, f"{float(here.gibibytes.max()):.2f}"])
    heads = ["data", "units", "P", *THEORIES]
    cost_heads = ["P", "Gram matrix, decomposition", *THEORIES, "largest memory (GiB)"]
    return markdown(heads, rows) + "\n\n" + markdown(cost_heads, costs)


def sampled_table(points: xr.Dataset, num_test: int) -> str:
    """What was sampled, beside the theories on the same images."""
    heads = ["data", "units", "P", "", "sampled", *points.theory.values, "R̂ max", "ESS min"]
    rows = []
    axes = ("data.source", "network.activation", "data.num_train")
    for place in np.ndindex(*(points.sizes[axis] for axis in axes)):
        here = points.isel(dict(zip(axes, place, strict=True)))
        if str(here.status.item()) != "done":
            continue
        words = [str(here[axis].item()) for axis in axes]
        accuracy = float(here.test_accuracy)
        error = float(np.hypot(here.test_accuracy_mcse, binomial(accuracy, num_test)))
        marks = [f"{float(here.rhat_max):.3f}", f"{float(here.ess_min):.0f}"]
        expected = [f"{100 * float(each):.2f}" for each in here.theory_test_accuracy.values]
        rows.append([*words, "accuracy (%)", percent(accuracy, error), *expected, *marks])
        for name in ("bias2", "variance"):
            measured = Estimate(float(here[name]), float(here[f"{name}_mcse"]))
            expected = [f"{float(each):.4g}" for each in here[f"theory_{name}"].values]
            rows.append([*words, QUANTITIES[name], plus_minus(measured), *expected, *marks])
    return markdown(heads, rows)


def percent(accuracy: Any, error: Any) -> str:
    return "–" if np.isnan(accuracy) else f"{100 * float(accuracy):.2f} ± {100 * float(error):.2f}"


def main() -> None:
    call = called(__file__, __doc__ or "", {"all": "theories up to every training image"})
    if not call.draw:
        values = (call if call.size != "all" else replace(call, size="config")).values()
        points = call.swept(values).drop_dims("order")
        with threadpoolctl.threadpool_limits(1):  # on busy cores two are slower than one
            for found in theories(call, values):
                keep(call.results, {"theories": found, "sampled": points})
    results = kept(call.results)
    call.save(draw(results))
    call.say(table(results["theories"]))
    call.say(sampled_table(results["sampled"], int(results["theories"].num_test)))


if __name__ == "__main__":
    main()
