"""The plane of width and output scale: error of the ensemble, lazy and feature regime, jamming.

    python -m experiments.phase_diagram [--smoke | --full | --draw] [FOLDER]

Follows the gradient from draws of the prior at every width and output scale, on the tasks of
config.toml and cifar10.toml, keeps results.json and draws phase_diagram.png in FOLDER (this one),
and prints the tables; --draw makes the figure again from results.json.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import equinox as eqx
import jax
import numpy as np
import xarray as xr

import langevin_nn as lnn
from experiments.common import SMOKE_DATA, Call, Results, experiment
from experiments.phase_diagram.drawing import draw
from experiments.phase_diagram.laws import exponents, slopes, transitions
from langevin_nn import config as configuration
from langevin_nn.analysis.landscape.gradients import relative_change
from langevin_nn.runs import run
from langevin_nn.runs.assemble import loss_of


@dataclasses.dataclass(frozen=True)
class Size:
    """The widths, output scales α̃ and number of flows; the kernel's examples and draws."""

    widths: tuple[int, ...]
    scales: tuple[float, ...]
    number: int
    kernel_points: int
    kernel_draws: int


SIZES = {
    "smoke": Size((4, 8), (1e-2, 1e2), 3, 8, 4),
    "config": Size((3, 4, 6, 8, 11, 16, 28, 48), tuple(10.0 ** np.arange(-3, 7)), 8, 60, 64),
    "full": Size((20, 28, 40, 56, 80, 113, 160, 226, 320, 453, 640, 905, 1280),
                 tuple(10.0 ** np.arange(-3, 8)), 16, 500, 64),
}  # fmt: skip
TASKS = ("config.toml", "cifar10.toml")
FULL_DATA = {"num_train": 5000}
FLOW: dict[str, Any] = {
    "loss_tolerance": 5e-5, "rtol": 1e-3, "atol": 1e-4, "solver": "stabilised",
}  # fmt: skip
"""The settings of the flows: fitted means that every margin y f is above 0.99."""
STEPS = {"smoke": 200, "config": 800, "full": 20_000}
"""The number of steps after which a network counts as one that does not fit."""


def tasks(call: Call) -> list[run.Problem]:
    """Both tasks, at the size of the call."""
    change = {"smoke": SMOKE_DATA, "config": {}, "full": FULL_DATA}[call.size]
    values = [configuration.read(call.here / name) for name in TASKS]
    return [
        run.prepare(configuration.from_dict(task_values | {"data": task_values["data"] | change}))
        for task_values in values
    ]


def column(call: Call, task: run.Problem, width: int) -> dict[str, Any]:
    """The numbers of all output scales of one width, from the same initialisations.

    They share one compilation.
    """
    size, data = SIZES[call.size], task.data
    key = jax.random.fold_in(task.key, width)
    network = lnn.FullyConnected(
        data.in_size, (width, width), task.config.network.activation, key=key, dtype=np.float64
    )
    prior = lnn.GaussianPrior((1.0, 1.0, 1.0))
    posterior = lnn.GibbsPosterior(network, prior, data, 1.0, loss_of(task.config))
    kernel_posterior = eqx.tree_at(
        lambda p: (p.x_train, p.y_train), posterior,
        (posterior.x_train[: size.kernel_points], posterior.y_train[: size.kernel_points]),
    )  # fmt: skip
    draws = lnn.tangent_kernel(kernel_posterior, posterior.sample_prior(key, size.kernel_draws))
    spread = np.linalg.norm(draws - draws.mean(axis=0), axis=(1, 2)) ** 2
    spread *= size.kernel_draws / (size.kernel_draws - 1)
    initial_kernel = None
    names = ("single", "ensemble", "difference", "change")
    numbers: dict[str, Any] = {name: [] for name in (*names, "fitted", "settled", "steps")}
    for scale in size.scales:
        flow = lnn.gradient_flow(
            posterior, key=key, num_initialisations=size.number, output_scale=scale / width**0.5,
            max_steps=STEPS[call.size], **FLOW,
        )  # fmt: skip
        errors = lnn.classification_errors(flow)
        for name in names[:3]:
            estimate = getattr(errors, name)
            numbers[name].append((estimate.value, estimate.mcse))
        if initial_kernel is None:
            initial_kernel = lnn.tangent_kernel(kernel_posterior, flow.initial_params)
        numbers["change"].append(
            relative_change(lnn.tangent_kernel(kernel_posterior, flow.params), initial_kernel)
        )
        numbers["fitted"].append(np.mean(flow.unsatisfied == 0))
        numbers["settled"].append(np.mean(flow.settled))
        numbers["steps"].append(int(flow.num_steps.max()))
    call.say(
        f"{task.config.data.source}, h = {width}: {numbers['steps']} steps, fitted "
        f"{np.round(numbers['fitted'], 2)}, error {np.round(numbers['ensemble'], 3)[:, 0]}"
    )
    relative = spread / np.linalg.norm(draws.mean(axis=0)) ** 2
    error = relative.std(ddof=1) / np.sqrt(size.kernel_draws)
    root = np.sqrt(relative.mean())
    return numbers | {"fluctuation": (root, error / (2 * root))}


def measured(call: Call) -> xr.Dataset:
    """The numbers of every task, width and output scale."""
    size, problems = SIZES[call.size], tasks(call)
    with ThreadPoolExecutor(2) as pool:  # one compiles while the other runs; large widths first
        jobs = [(task, width) for task in problems for width in size.widths[::-1]]
        columns = list(pool.map(lambda job: column(call, *job), jobs))
    by_task = [
        columns[i : i + len(size.widths)][::-1] for i in range(0, len(columns), len(size.widths))
    ]

    def array_of(name: str) -> list[list[Any]]:
        return [[column_numbers[name] for column_numbers in row] for row in by_task]

    dims = ("source", "width", "scale")
    content: dict[str, Any] = {
        name: ((*dims, "of"), array_of(name)) for name in ("single", "ensemble", "difference")
    }
    content |= {name: (dims, array_of(name)) for name in ("fitted", "settled", "steps")}
    content["change"] = ((*dims, "network"), array_of("change"))
    content["fluctuation"] = (("source", "width", "of"), array_of("fluctuation"))
    return xr.Dataset(
        content,
        coords={"source": [task.config.data.source for task in problems],
                "width": list(size.widths), "scale": list(size.scales), "of": ["value", "error"]},
        attrs={"number": size.number, "num_train": problems[0].data.num_train,
               "kernel_points": size.kernel_points,
               "kernel_draws": size.kernel_draws},
    )  # fmt: skip


def measure(call: Call) -> dict[str, xr.Dataset]:
    return {"measured": measured(call)}


def report(results: Results) -> str:
    numbers = results["measured"]
    return "\n\n".join([slopes(numbers), exponents(numbers), transitions(numbers)])


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
