"""The benchmark's figure, drawn from results.json."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.benchmark.report import SYMBOLS, Results, runs_to_one_percent

OURS, THEIRS, BIAS2, VARIANCE = "#0072B2", "#E69F00", "#D55E00", "#009E73"


def figure(results: Results) -> Figure:
    """A figure with a panel for each of the parts a to d that was measured."""
    panels = {"a": _draw_speed, "b": _draw_efficiency, "c": _draw_one_percent, "d": _draw_growth}
    present = [name for name in panels if name in results]
    rows, columns = -(-max(len(present), 1) // 2), min(max(len(present), 1), 2)
    drawn = Figure(figsize=(5.4 * columns, 4 * rows), layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False).ravel()
    for ax, name in zip(axes, present, strict=False):
        panels[name](ax, results[name]["found"])
    for ax in axes[len(present) :]:
        ax.set_axis_off()
    if present:
        machines: dict[str, str] = {}  # the parts that each has measured
        for part in present:
            machine = _machine(results[part]["machine"]["device"])
            machines[machine] = f"{machines[machine]}, {part}" if machine in machines else part
        line = "; ".join(
            machine if len(machines) == 1 else f"{parts}: {machine}"
            for machine, parts in machines.items()
        )
        drawn.suptitle(f"{line}; erf, λ = 1, T = 0.01", fontsize="medium")
    return drawn


def _machine(device: dict[str, Any]) -> str:
    if device["platform"] == "cpu":
        return f"{device['cores']} cores, {device['processor']}"
    return f"{device['count']} × {device['kind']}"


def _draw_speed(ax: Axes, rows: Any) -> None:
    places = np.arange(len(rows))
    ours = [row["langevin_seconds"] for row in rows]
    theirs = [row["pytorch_seconds"].get(row["pytorch_best"]) for row in rows]
    for shift, label, colour, spreads in (
        (-0.2, "langevin", OURS, ours), (0.2, "PyTorch, best of its ways", THEIRS, theirs),
    ):  # fmt: skip
        if None in spreads:
            continue
        middle, low, high = (
            1e3 * np.array([times[statistic] for times in spreads])
            for statistic in ("median", "min", "max")
        )
        errors = [middle - low, high - middle]
        ax.bar(places + shift, middle, 0.4, yerr=errors, capsize=3, color=colour, label=label)
    floor = [1e3 * row["langevin_seconds"]["median"] * row["fraction"] for row in rows]
    ax.hlines(
        floor, places - 0.4, places, color="black", label="its matrix products alone", linewidth=2
    )
    is_crowded = len(rows) > 3
    names = [
        f"{row['size']['source']}\nP = {row['size']['num_train']}"
        + (",\n" if is_crowded else ", ")
        + f"N_1 = {row['size']['width']}\nN_0 = {row['in_size']}"
        + (",\n" if is_crowded else ", ")
        + f"r = {row['rank']}"
        + (f"\n{row['size']['num_chains']} chains" if is_crowded else "")
        for row in rows
    ]
    ax.set_xticks(places, names, fontsize="small" if is_crowded else None)
    ax.set_xlim(-0.7, len(rows) - 0.3)
    ax.set_ylabel("ms per chain and step")
    if is_crowded:
        ax.set_yscale("log")
        ax.set_ylim(top=10 * ax.get_ylim()[1])
    ax.legend(frameon=False, fontsize="small")
    ax.set_title("a  speed of a step", loc="left", fontsize="medium")


def _draw_efficiency(ax: Axes, results: Any) -> None:
    rows = sorted(results, key=lambda row: row["worth"]["median"] / row["seconds"])
    places = np.arange(len(rows))
    middle, low = (
        np.array([row["worth"][statistic] / row["seconds"] for row in rows])
        for statistic in ("median", "min")
    )
    colours = [OURS if row["sampler"].startswith(("split", "langevin")) else THEIRS for row in rows]
    ax.hlines(places, low, middle, color=colours, linewidth=2)
    ax.scatter(middle, places, color=colours, label="median test point", zorder=3)
    ax.scatter(low, places, color=colours, marker="|", s=80, label="worst test point")
    names = [row["sampler"] + (" *" if row["rhat"] > 1.05 else "") for row in rows]
    ax.set_yticks(places, names)
    ax.set_xscale("log")
    ax.set_xlabel("independent draws of f(x) a second, Var f/MCSE²")
    ax.legend(frameon=False, fontsize="small", loc="lower right")
    size = results[0]["size"]
    title = (
        f"b  P = {size['num_train']}, N_1 = {size['width']}; * R̂ > 1.05: not mixed\n"
        "blue: this package, orange: others"
    )
    ax.set_title(title, loc="left", fontsize="medium")


def _draw_one_percent(ax: Axes, results: Any) -> None:
    """The errors of the last size; with control variates, where there are, as full lines."""
    runs = runs_to_one_percent(results)
    size = runs[-1]["size"]
    for run in (run for run in runs if run["size"] == size):
        is_last = run is runs[-1]
        seconds = [point["seconds"] for point in run["course"]]
        for key, label, colour, marker in (
            ("bias2", "bias²", BIAS2, "o"), ("variance", "variance", VARIANCE, "s"),
        ):  # fmt: skip
            errors = [100 * point["errors"][key] for point in run["course"]]
            ax.plot(
                seconds, errors, color=colour, marker=marker, markersize=4,
                linestyle="-" if is_last else ":", fillstyle="full" if is_last else "none",
                label=label if is_last else f"{label}, without control variates",
            )  # fmt: skip
    ax.axhline(1, color="black", linewidth=0.8, linestyle="--")
    ax.set_yscale("log")
    ax.set_xlim(left=0)
    ax.set_xlabel("seconds from the call, compilation and warm-up included")
    ax.set_ylabel("standard error, % of the value")
    ax.legend(frameon=False, fontsize="small")
    title = f"c  marginalised split, P = {size['num_train']}, N_1 = {size['width']}"
    ax.set_title(title, loc="left", fontsize="medium")


def _draw_growth(ax: Axes, results: Any) -> None:
    base = results[0]
    for (axis, symbol), colour, marker in zip(
        SYMBOLS.items(), (OURS, THEIRS, BIAS2, VARIANCE), "osD^", strict=True
    ):
        rows = sorted(
            [base, *(row for row in results if row["axis"] == axis)],
            key=lambda sized_row: sized_row["size"][axis],
        )
        x = [row["size"][axis] / base["size"][axis] for row in rows]
        for key, line in (("seconds", "-"), ("bytes", ":")):
            y = [row["langevin"][key] / base["langevin"][key] for row in rows]
            label = symbol if line == "-" else None
            ax.plot(x, y, line, color=colour, marker=marker, markersize=4, label=label)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ax.set_xlabel("size over that of the base")
    ax.set_ylabel("over that of the base")
    ax.legend(frameon=False, fontsize="small")
    numbers = ", ".join(f"{symbol} = {base['size'][axis]}" for axis, symbol in SYMBOLS.items())
    title = f"d  time a step (lines), memory (dots)\nbase {numbers}"
    ax.set_title(title, loc="left", fontsize="medium")
