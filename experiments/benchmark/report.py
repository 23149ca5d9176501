"""The tables and the figure of results.json."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Results = dict[str, Any]
OURS, THEIRS, BIAS2, VARIANCE = "#0072B2", "#E69F00", "#D55E00", "#009E73"
SYMBOLS = {"num_train": "P", "width": "N_1", "in_size": "N_0", "num_chains": "chains"}


def tables(results: Results) -> str:
    """Markdown, a table for each part that was measured."""
    writers = {
        "a": _speed, "b": _efficiency, "c": _one_percent, "d": _growth, "e": _compilation,
        "f": _factorisations,
    }  # fmt: skip
    texts = []
    for name, write in writers.items():
        if name in results:
            head, rows = write(results[name]["found"])
            lines = [head, ["---"] * len(head), *rows]
            texts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n" + "\n\n".join(texts) + "\n"


def _speed(found: Any) -> tuple[list[str], list[list[str]]]:
    head = [
        "task", "P, N_0, r, N_1, chains", "`langevin`, ms per chain and step", "GFLOP/s",
        "products: JAX", "NumPy", "fraction", "PyTorch, ms", "ratio", "5·10⁶ steps",
    ]  # fmt: skip
    rows = []
    for row in found:
        size, torch = row["size"], row["pytorch_seconds"].get(row["pytorch_best"])
        shape = (size["num_train"], row["in_size"], row["rank"], size["width"], size["num_chains"])
        rows.append(
            [
                size["source"],
                ", ".join(map(str, shape)),
                _interval(row["langevin_seconds"], 1e3),
                _interval(row["langevin_rate"], 1e-9),
                _interval(row["product_rates"]["jax"], 1e-9),
                _interval(row["product_rates"]["numpy"], 1e-9),
                f"{row['fraction']:.2f}",
                "not installed" if torch is None
                else f"{_interval(torch, 1e3)} ({row['pytorch_best']})",
                "" if torch is None else f"{row['ratio']:.2f}",
                _duration(60 * row["paper_minutes"]),
            ]
        )  # fmt: skip
    return head, rows


def _efficiency(found: Any) -> tuple[list[str], list[list[str]]]:
    head = [
        "sampler", "s", "draws", "gradients a chain", "acceptance", "R̂ max", "ESS min, median",
        "ESS/s min, median", "Var f/MCSE² a second, min, median",
        "gradients to 1 %: bias², variance",
    ]  # fmt: skip
    rows = []
    for row in found:
        seconds, acceptance = row["seconds"], row["acceptance"]
        rows.append(
            [
                row["sampler"],
                f"{seconds:.0f}",
                f"{row['chains']} × {row['draws']}",
                f"{row['gradients'] / row['chains']:.3g}",
                "" if acceptance is None else f"{acceptance:.2f}",
                f"{row['rhat']:.3f}",
                _pair(row["ess"], 1),
                _pair(row["ess"], seconds),
                _pair(row["worth"], seconds),
                ", ".join(f"{n:.1e}" for n in row["gradients_to_one_percent"].values()),
            ]
        )
    return head, rows


def _one_percent(found: Any) -> tuple[list[str], list[list[str]]]:
    split, far, measured = (
        found[name] if name in found else None
        for name in ("split", "langevin_extrapolated", "langevin")
    )
    head = ["sampler", "1 % reached after", "of which the first chunk, with compilation", "draws",
            "gradients", "R̂ max", "bias²", "variance"]  # fmt: skip
    reached = split["reached"]
    draws = reached["draws"] if reached else split["num_samples"]
    rows = [
        [
            "split, marginalised",
            f"{reached['seconds']:.0f} s" if reached else "not reached",
            f"{split['first_report']:.0f} s",
            f"{split['size']['num_chains']} × {draws}",
            f"{split['gradients']:.2e}",
            f"{split['rhat']:.3f}",
            *(_estimate(split["measured"][q]) for q in ("bias2", "variance")),
        ]
    ]
    if far is not None:
        hours = "" if far["hours"] is None else _duration(3600 * far["hours"])
        mixing = f"{far['from_rhat']:.3f} in part b"
        cells = [hours, "", "", f"{far['gradients']:.2e}", mixing, "", ""]
        rows.append(["langevin, **extrapolated**", *cells])
    if measured is not None:
        gradients = max(measured["gradients_to_one_percent"].values())
        seconds = max(measured["seconds_to_one_percent"].values())
        rows.append(
            ["langevin, measured", _duration(seconds), "", "", f"{gradients:.2e}",
             f"{measured['rhat']:.3f}",
             *(_estimate(measured["measured"][q]) for q in ("bias2", "variance"))]
        )  # fmt: skip
    return head, rows


def _growth(found: Any) -> tuple[list[str], list[list[str]]]:
    head = ["P, N_1, N_0, chains", "r", "`langevin`, ms a step", "MiB",
            "marginalised split, ms a gradient", "MiB, both"]  # fmt: skip
    rows = [
        [
            ", ".join(str(row["size"][axis]) for axis in SYMBOLS),
            str(row["rank"]),
            *(cell for name in ("langevin", "split") for cell in _cost(row.get(name))),
        ]
        for row in found
    ]
    return head, rows


def _cost(cost: dict[str, float] | None) -> tuple[str, str]:
    if cost is None:
        return "", ""
    return f"{1e3 * cost['seconds']:.3g}", f"{cost['bytes'] / 2**20:.0f}"


def _compilation(found: Any) -> tuple[list[str], list[list[str]]]:
    head = ["sampler", "first report after", "again", "programs compiled", "again",
            "seconds in the compiler", "again"]  # fmt: skip
    rows = []
    for row in found:
        calls = [row["first"], row["again"]]
        cells = [f"{call['first_report']:.2f} s" for call in calls]
        cells += [str(call["programs"]) for call in calls]
        cells += [f"{call['compile_seconds']:.2f}" for call in calls]
        rows.append([row["sampler"], *cells])
    return head, rows


def _factorisations(found: Any) -> tuple[list[str], list[list[str]]]:
    head = ["operation", "matrices", "size", "one by one, ms", "batched, ms"]
    rows = [
        [
            row["operation"], str(row["matrices"]), str(row["size"]),
            _interval(row["one_by_one"], 1e3),
            _interval(row["batched"], 1e3) if "batched" in row else "not on a CPU",
        ]
        for row in found
    ]  # fmt: skip
    return head, rows


def _interval(spread: dict[str, float], unit: float) -> str:
    """The median, and in brackets the smallest and the largest."""
    return f"{unit * spread['median']:.3g} ({unit * spread['min']:.3g}–{unit * spread['max']:.3g})"


def _pair(values: dict[str, float], seconds: float) -> str:
    return f"{values['min'] / seconds:.3g}, {values['median'] / seconds:.3g}"


def _estimate(value: dict[str, float]) -> str:
    return f"{value['value']:.5f} ± {value['mcse']:.5f}"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def figure(results: Results) -> Figure:
    """A panel for each of the parts a to d that was measured."""
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
        device = results[present[0]]["machine"]["device"]
        where = f"{device['count']} × {device['kind']}"
        if device["platform"] == "cpu":
            where = f"{device['cores']} cores, {device['processor']}"
        drawn.suptitle(f"{where}; erf, λ = 1, T = 0.01", fontsize="medium")
    return drawn


def _draw_speed(ax: Axes, found: Any) -> None:
    places = np.arange(len(found))
    ours = [row["langevin_seconds"] for row in found]
    theirs = [row["pytorch_seconds"].get(row["pytorch_best"]) for row in found]
    for shift, label, colour, spreads in (
        (-0.2, "langevin", OURS, ours), (0.2, "PyTorch, best of its ways", THEIRS, theirs),
    ):  # fmt: skip
        if None in spreads:
            continue
        middle, low, high = (
            1e3 * np.array([s[k] for s in spreads]) for k in ("median", "min", "max")
        )
        errors = [middle - low, high - middle]
        ax.bar(places + shift, middle, 0.4, yerr=errors, capsize=3, color=colour, label=label)
    floor = [1e3 * row["langevin_seconds"]["median"] * row["fraction"] for row in found]
    ax.hlines(
        floor, places - 0.4, places, color="black", label="its matrix products alone", linewidth=2
    )
    names = [
        f"{row['size']['source']}\nP = {row['size']['num_train']}, N_1 = {row['size']['width']}\n"
        f"N_0 = {row['in_size']}, r = {row['rank']}"
        for row in found
    ]
    ax.set_xticks(places, names)
    ax.set_xlim(-0.7, len(found) - 0.3)
    ax.set_ylabel("ms per chain and step")
    ax.legend(frameon=False, fontsize="small")
    ax.set_title("a  speed of a step", loc="left", fontsize="medium")


def _draw_efficiency(ax: Axes, found: Any) -> None:
    rows = sorted(found, key=lambda row: row["worth"]["median"] / row["seconds"])
    places = np.arange(len(rows))
    middle, low = (
        np.array([row["worth"][which] / row["seconds"] for row in rows])
        for which in ("median", "min")
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
    size = found[0]["size"]
    title = (
        f"b  P = {size['num_train']}, N_1 = {size['width']}; * R̂ > 1.05: not mixed\n"
        "blue: this package, orange: others"
    )
    ax.set_title(title, loc="left", fontsize="medium")


def _draw_one_percent(ax: Axes, found: Any) -> None:
    split = found["split"]
    seconds = [point["seconds"] for point in split["course"]]
    for key, label, colour, marker in (
        ("bias2", "bias²", BIAS2, "o"), ("variance", "variance", VARIANCE, "s"),
    ):  # fmt: skip
        errors = [100 * point["errors"][key] for point in split["course"]]
        ax.plot(seconds, errors, color=colour, marker=marker, markersize=4, label=label)
    ax.axhline(1, color="black", linewidth=0.8, linestyle="--")
    ax.set_yscale("log")
    ax.set_xlim(left=0)
    ax.set_xlabel("seconds from the call, compilation and warm-up included")
    ax.set_ylabel("standard error, % of the value")
    ax.legend(frameon=False, fontsize="small")
    size = split["size"]
    title = f"c  marginalised split, P = {size['num_train']}, N_1 = {size['width']}"
    ax.set_title(title, loc="left", fontsize="medium")


def _draw_growth(ax: Axes, found: Any) -> None:
    base = found[0]
    for (axis, symbol), colour, marker in zip(
        SYMBOLS.items(), (OURS, THEIRS, BIAS2, VARIANCE), "osD^", strict=True
    ):
        rows = sorted(
            [base, *(row for row in found if row["axis"] == axis)], key=lambda r: r["size"][axis]
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
