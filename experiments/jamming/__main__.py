"""The jamming transition of networks with the hinge loss: N*(P), N_Δ and the Hessian around it.

    python -m experiments.jamming [--smoke | --full | --draw] [FOLDER]

Minimises the energy from draws of the prior (`langevin_nn.find_minimum`) for random labels on a
sphere and for the parity of MNIST, keeps results.json and draws jamming.png in FOLDER (this one),
and prints the tables; --draw makes the figure again from results.json.
"""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from experiments.common import Call, Results, experiment, markdown
from experiments.jamming.drawing import NAMES, draw_with_lines
from experiments.jamming.measuring import IN_SIZE, Job, Sizes, all_done
from langevin_nn.analysis.resampling import independent_mean
from langevin_nn.estimates import plus_minus
from langevin_nn.types import Estimate

BRACKETS = {"random": (1.7, 4.5), "mnist": (2.5, 12.0), "swish10": (0.9, 3.0)}
SIZES = {
    "smoke": Sizes(
        line=(12, 24), seeds=2, brackets=BRACKETS, line_steps=30, sweep=30,
        widths={"random": (1, 6), "mnist": (1, 6)}, sweep_seeds=1, sweep_steps=30, compared=12,
        flow_time=0.1, processes=1,
    ),
    "config": Sizes(
        line=(100, 200, 400, 800), seeds=5, brackets=BRACKETS, line_steps=1000, sweep=200,
        widths={"random": (3, 4, 5, 6, 7, 8, 10), "mnist": (2, 3, 4, 5, 6)}, sweep_seeds=5,
        sweep_steps=2000, compared=200, flow_time=100.0,
    ),
    "full": Sizes(
        line=(125, 250, 500, 1000, 2000, 4000), seeds=20, brackets=BRACKETS, line_steps=10_000,
        sweep=1000, widths={"random": tuple(range(14, 50, 2)), "mnist": tuple(range(6, 26))},
        sweep_seeds=20, sweep_steps=20_000, compared=500, flow_time=1000.0,
    ),
}  # fmt: skip
ALGORITHMS = ("lm", "lm, 4 times the steps", "flow", "swish10")
MEANINGS = {
    "lm": "Levenberg–Marquardt",
    "lm, 4 times the steps": "the same, four times as many steps",
    "flow": "gradient flow, then Levenberg–Marquardt",
    "swish10": "Levenberg–Marquardt, swish10 for gelu",
}


def measured(sizes: Sizes, say: Any) -> dict[str, xr.Dataset]:
    """The line N*(P), the sweep over widths, and the spectra of Hessians in three states."""
    line = [
        Job("line", source, num_train, seed)
        for num_train in sorted(sizes.line, reverse=True)
        for source in sizes.sources
        for seed in range(sizes.seeds)
    ]
    others = [
        Job("line", "random", sizes.compared, seed, algorithm=algorithm)
        for algorithm in ALGORITHMS
        for seed in range(sizes.seeds)
        if algorithm != "lm" or sizes.compared not in sizes.line
    ]
    sweep = [
        Job("sweep", source, sizes.sweep, seed, width)
        for source in sizes.sources
        for width in sizes.widths[source]
        for seed in range(sizes.sweep_seeds)
    ]
    rows = all_done(line + others + sweep, sizes, say)
    bisections = [row for row in rows if "rank" not in row]
    swept = [row for row in rows if "rank" in row]
    return {
        "line": table_of(bisections),
        "sweep": table_of(swept),
        "spectra": spectra_of(all_done(three_states(swept), sizes, say)),
    }


def three_states(swept: list[dict[str, Any]]) -> list[Job]:
    """The jobs for spectra far below, just below (at the lowest N_Δ/N above 0) and above N*."""
    random_rows = [row for row in swept if row["source"] == "random"]
    unsatisfied = [row for row in random_rows if row["energy"] > 0 and row["converged"]]
    unsatisfied = unsatisfied or [row for row in random_rows if row["energy"] > 0]
    nearest = min(unsatisfied, key=lambda row: row["unsatisfied"] / row["weights"])
    states = (min(unsatisfied, key=lambda row: row["width"]), nearest,
              max(random_rows, key=lambda row: row["width"]))  # fmt: skip
    return [
        Job("spectra", "random", state["num_train"], state["seed"], state["width"])
        for state in states
    ]


def table_of(rows: list[dict[str, Any]]) -> xr.Dataset:
    """A Dataset of the rows, with a variable for each key along the runs."""
    return xr.Dataset({key: ("run", np.array([row[key] for row in rows])) for key in rows[0]})


def spectra_of(rows: list[dict[str, Any]]) -> xr.Dataset:
    """A Dataset of the rows with eigenvalues (state, part, index), NaN behind the last."""
    dataset = table_of(
        [{key: value for key, value in row.items() if key != "values"} for row in rows]
    )
    most_weights = max(row["weights"] for row in rows)
    values = np.full((len(rows), 3, most_weights), np.nan)
    for place, row in enumerate(rows):
        values[place, :, : row["weights"]] = row["values"]
    return dataset.assign(values=(("run", "part", "index"), values))


def thresholds(line: xr.Dataset) -> dict[tuple[str, str, int], np.ndarray]:
    """N* of each seed, by source, algorithm and P, between the bisection's last two widths."""
    by_group: dict[tuple[str, str, int], list[float]] = {}
    keys = [line[name].values for name in ("source", "algorithm", "num_train", "seed")]
    for group in sorted(set(zip(*(key.tolist() for key in keys), strict=True))):
        is_member = np.all([key == value for key, value in zip(keys, group, strict=True)], axis=0)
        width, energy = line.width.values[is_member], line.energy.values[is_member]
        above, below = width[energy == 0], width[energy > 0]
        # A bracket whose end was never tried is the neighbour of the last that was.
        narrowest = above.min() if len(above) else below.max() + 1
        by_group.setdefault(group[:3], []).append((IN_SIZE + 1) * (narrowest - 0.5))
    return {group: np.array(values) for group, values in by_group.items()}


def slope(line: xr.Dataset, source: str) -> tuple[Estimate, float]:
    """The slope, with its error over seeds, and the offset of log N* against log P."""
    by_num_train = {
        num_train: values
        for (label, algorithm, num_train), values in thresholds(line).items()
        if label == source and algorithm == "lm"
    }
    x = np.log(list(by_num_train))
    logs = np.log(np.array(list(by_num_train.values())))
    slopes = np.polyfit(x, logs, 1)[0]
    return independent_mean(slopes), float(np.mean(logs) - slopes.mean() * x.mean())


def line_of(line: xr.Dataset, source: str) -> tuple[Estimate, Estimate]:
    """The c and N_0 of N* = P/c + N_0 by least squares for each seed, with errors over seeds."""
    by_num_train = {
        num_train: values
        for (label, algorithm, num_train), values in thresholds(line).items()
        if label == source and algorithm == "lm"
    }
    rising, offset = np.polyfit(
        np.array(list(by_num_train), float), np.array(list(by_num_train.values())), 1
    )
    return independent_mean(1 / rising), independent_mean(offset)


def tables(results: Results) -> str:
    line, sweep = results["line"], results["sweep"]
    threshold_rows, algorithm_rows = [], []
    for (source, algorithm, num_train), values in thresholds(line).items():
        estimate, ratio = independent_mean(values), independent_mean(num_train / values)
        cells = [NAMES[source], str(num_train), plus_minus(estimate), plus_minus(ratio)]
        if algorithm == "lm":
            threshold_rows.append(cells)
        if (source, num_train) == (
            "random",
            int(line.num_train.values[line.algorithm.values == "flow"][0]),
        ):
            algorithm_rows.append([MEANINGS[algorithm], *cells[1:]])
    lines = [markdown(["labels", "P", "N*", "P/N*"], threshold_rows), ""]
    for source in NAMES:
        ratio, offset = map(plus_minus, line_of(line, source))
        lines.append(f"{NAMES[source]}: N* ~ P^({plus_minus(slope(line, source)[0])}), "
                    f"or N* = P/({ratio}) + ({offset})")  # fmt: skip
    lines += [
        "",
        markdown(["from the prior by", "P", "N*", "P/N*"], algorithm_rows),
        "",
        states(sweep),
    ]
    lines += ["", headline(sweep)]
    return "\n".join(lines)


def states(sweep: xr.Dataset) -> str:
    """A table of ends for each width: zero energy, converged minima above zero, and the others."""
    heads = ["labels", "N", "P/N", "satisfied", "minima", "loss E/P", "N_Δ/N", "N⁻/N", "N_Δ ≥ N⁻"]
    heads += ["rank H_0 = min(N_Δ, N)", "Tr H_p / Tr abs H_p", "not converged", "N_Δ/N there"]
    rows = []
    for source in ("random", "mnist"):
        for width in np.unique(sweep.width.values[sweep.source.values == source]):
            ends = sweep.isel(run=(sweep.source.values == source) & (sweep.width.values == width))
            num_ends, weights = ends.sizes["run"], int(ends.weights[0])
            satisfied, converged = ends.energy.values == 0, ends.converged.values.astype(bool)
            cells = [NAMES[source], str(weights), f"{float(ends.num_train[0]) / weights:.2f}",
                     f"{satisfied.sum()}/{num_ends}"]  # fmt: skip
            minima = ends.isel(run=~satisfied & converged)
            count, trace = minima.unsatisfied.values, minima.trace.values
            full = minima["rank"].values == np.minimum(count, weights)
            bound = count >= minima.negative.values
            loss = minima.energy.values / minima.num_train.values
            cells += [f"{count.size}/{num_ends}"]
            cells += map(ranged, (loss, count / weights, minima.negative.values / weights))
            cells += [
                f"{flags.sum()}/{flags.size}" if flags.size else "–" for flags in (bound, full)
            ]
            creeping = ends.isel(run=~satisfied & ~converged).unsatisfied.values
            cells += [ranged(trace), f"{creeping.size}/{num_ends}", ranged(creeping / weights)]
            rows.append(cells)
    return markdown(heads, rows)


def headline(sweep: xr.Dataset) -> str:
    """Lines on the smallest N_Δ/N at a converged minimum whose energy is not zero, by labels."""
    lines = []
    for source, name in NAMES.items():
        is_source = sweep.source.values == source
        minima = sweep.isel(
            run=is_source & (sweep.energy.values > 0) & sweep.converged.values.astype(bool)
        )
        shares = minima.unsatisfied.values / minima.weights.values
        smallest = f"N_Δ/N from {shares.min():.3g} on" if shares.size else "none to speak of"
        satisfied = int((is_source & (sweep.energy.values == 0)).sum())
        lines.append(
            f"{name}: {satisfied} of {is_source.sum()} ends have zero energy, {shares.size} are "
            f"minima above zero that have converged, {smallest}"
        )
    return "\n".join(lines)


def ranged(values: np.ndarray) -> str:
    if not values.size:
        return "–"
    low, high = values.min(), values.max()
    return f"{low:.2g}" if len(values) == 1 else f"{low:.2g} to {high:.2g}"


def measure(call: Call) -> dict[str, xr.Dataset]:
    return measured(SIZES[call.size], call.say)


def draw(results: Results) -> Figure:
    lines = {
        source: (
            {num_train: independent_mean(values)
             for (label, algorithm, num_train), values in thresholds(results["line"]).items()
             if label == source and algorithm == "lm"},
            slope(results["line"], source),
        )
        for source in NAMES
    }  # fmt: skip
    return draw_with_lines(results, lines)


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, tables)
