"""Maps of the theories' deviations from the exact sampler over (N_1, λ_1), task by task.

    python -m experiments.validity_map
        [--smoke | --further | --collect | --full | --draw] [FOLDER]

Sweeps config.toml and the three other tasks of `TASKS` (with --further the maps of `FURTHER` too,
with --full full.toml in place of all) and asks `adaptive` at the same points; keeps results.json,
with the maps that are there already and are not made anew, and draws a figure of the tasks and one
of the further maps in FOLDER (this one); prints how far each theory is off, and which one to take
where. --collect takes what is finished of all that and computes nothing; --draw makes the figures
again from results.json.
"""

from dataclasses import replace
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.common import Call, Results, Values, experiment, kept, table, verdicts
from experiments.validity_map.agreement import (
    WIDTH,
    agreement_table,
    guide,
    guide_table,
    ranges,
)
from experiments.validity_map.drawing import draw_maps

TASKS = {
    "mnist, erf": "config.toml",
    "cifar10, erf": "cifar10_erf.toml",
    "mnist, relu": "mnist_relu.toml",
    "cifar10, relu": "cifar10_relu.toml",
}
"""The maps of the first figure, by name, and the configuration of each."""
FURTHER = {
    "mnist, erf, another split": "another_split.toml",
    "mnist, erf, P = 200": "p200.toml",
}
"""The maps of --further."""
MOST_OF_ADAPTIVE = 50
"""The largest number of examples at which `adaptive` is asked: at 200 a point takes minutes."""
NAMES = {"mnist": "MNIST 0/1", "cifar10": "CIFAR-10 0/1"}
NUMBERS = [
    f"{name}{kind}"
    for name in ("bias2", "variance", "generalisation_error")
    for kind in ("", "_mcse")
]
KEPT = (
    *NUMBERS, *(f"theory_{name}" for name in NUMBERS),
    "converged", "theory_converged", "message", "status", "rhat_max", "ess_min", "seconds",
    "criterion", "order_parameter",
)  # fmt: skip
"""The variables of a sweep's Dataset that results.json has of each map."""


def measure(call: Call) -> dict[str, xr.Dataset]:
    """The maps of this size, and those of other sizes that results.json has already."""
    configured = replace(call, size="config") if call.size in ("further", "collect") else call
    files = TASKS | FURTHER if call.size in ("further", "collect") else TASKS
    if call.size == "full":
        files = {"mnist, erf": "full.toml"}
    results = kept(call.results) if call.results.exists() else {}
    for name, file in files.items():
        values = configured.values(file)
        if call.size != "collect":
            swept = configured.swept(values)
        elif (folder := call.sweep_folder(values)).is_dir():
            swept = lnn.collect(folder)
        else:
            continue
        if not bool((swept.status == "done").any()):
            continue
        points = swept[list(KEPT)]
        if values["data"]["num_train"] <= MOST_OF_ADAPTIVE:
            points = with_adaptive(points, call, values)
        results[name] = points.assign_attrs(described(values))
    return {name: results[name] for name in (*TASKS, *FURTHER) if name in results}


def with_adaptive(points: xr.Dataset, call: Call, values: Values) -> xr.Dataset:
    """The map with `adaptive` among its theories, which takes up to minutes a point.

    For N_1 ≥ P that is `propagation`, where it has converged. Each other width is asked by itself
    and kept as soon as it is known, beside the sweep; where nothing is to be computed and one is
    not known, the map is as it was.
    """
    of_theories = [name for name in KEPT if name.startswith("theory_")]
    over, known = values["sweep"]["over"], []
    for width in over[WIDTH]:
        same = points[of_theories].sel({WIDTH: [width], "theory": ["propagation"]})
        if width >= values["data"]["num_train"] and bool(same.theory_converged.all()):
            known.append(same.assign_coords(theory=["adaptive"]))
            continue
        of_width = values | {"theory": ["adaptive"], "sweep": {"over": over | {WIDTH: [width]}}}
        folder = call.sweep_folder(of_width)
        if not folder.is_dir() and call.size != "collect":
            lnn.sweep(of_width, output=folder, theory_only=True)
        if not folder.is_dir():
            return points
        known.append(lnn.collect(folder)[of_theories])
    joined = xr.concat([points[of_theories], xr.concat(known, WIDTH)], "theory")
    return points.drop_vars(of_theories).reindex(theory=joined.theory).assign(joined.data_vars)


def described(values: Values) -> dict[str, Any]:
    """What the figure and the table of all maps say of one, by its configuration."""
    data, temperature = values["data"], values["posterior"]["temperature"]
    seed = f", seed {values['seed']}" if "seed" in values else ""
    return {
        "task": f"{NAMES[data['source']]}, {values['network']['activation']}{seed}",
        "caption": f"P = {data['num_train']}, T = {temperature:g}",
        "num_train": data["num_train"],
    }


def draw(results: Results) -> dict[str, Figure]:
    """A figure of the tasks and one of the further maps, where there are some."""
    figures = {"validity_map": TASKS, "validity_map_further": FURTHER}
    maps = {
        figure: [results[name] for name in names if name in results]
        for figure, names in figures.items()
    }
    return {figure: draw_maps(of_figure) for figure, of_figure in maps.items() if of_figure}


def report(results: Results) -> str:
    parts = []
    for name, points in results.items():
        theories = [str(theory) for theory in points.theory.values]
        parts += [f"## {name}", agreement_table(points), table(points, theories), verdicts(points)]
    of_tasks = {name: points for name, points in results.items() if name in TASKS}
    of_maps = guide(of_tasks)
    parts += ["## Which theory where", guide_table(of_maps)]
    if of_tasks:
        lines = "\n".join(f"    {each}," for each in ranges(of_maps))
        parts += ["## The same as GUIDE of langevin_nn/theory/guide.py", lines]
    return "\n\n".join(parts)


if __name__ == "__main__":
    experiment(
        __file__, __doc__, measure, draw, report,
        sizes={
            "further": "another split and P = 200 as well",
            "collect": "what is finished of all sweeps, computing nothing",
        },
        digits=5,
    )  # fmt: skip
