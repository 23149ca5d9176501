"""The law of one hidden unit along the labels, from lazy to rich networks: sampled, and in theory.

    python -m experiments.features [--smoke | --full | --draw] [FOLDER]

Samples the network of config.toml for each data set, activation and richness γ, records yᵀh of all
hidden units at each draw, asks the theories for the same law, keeps results.json and draws
features.png in FOLDER (this one), and prints the tables; --draw makes the figure again from
results.json. --full has the width and the examples of the papers, for a GPU.
"""

import itertools
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.common import Call, Results, experiment, legend_below, markdown
from langevin_nn import config as configuration
from langevin_nn.estimates import plus_minus
from langevin_nn.runs import run
from langevin_nn.theory import THEORIES
from langevin_nn.types import Estimate

SOURCES, ACTIVATIONS = ("mnist", "cifar10"), ("erf", "relu")
RICHNESS = (0.1, 0.35, 1.0, 2.0)
ASKED = ("mean_field", "propagation")
NAMES = {"mnist": "MNIST 0/1", "cifar10": "CIFAR-10 airplane/automobile"}
EDGES = np.linspace(-4.0, 4.0, 33)
"""The ends of the bins, in units of the root of the sampled ⟨x²⟩."""


class AlongLabels:
    """yᵀh/√(yᵀC y) of each hidden unit of a network at the training inputs, (N_1,)."""

    def __init__(self, data: lnn.Dataset, covariance: np.ndarray, dtype: Any) -> None:
        scale = np.sqrt(data.y_train @ covariance @ data.y_train)
        self.x = data.x_train.astype(dtype)
        self.y = (data.y_train / scale).astype(dtype)

    def __call__(self, network: Any) -> Float[Array, " N_1"]:
        """The numbers of a network."""
        h: Array = self.y @ network.preactivations(0, self.x)
        return h


def measure(call: Call) -> dict[str, xr.Dataset]:
    values = call.values()
    values.pop("sweep", None)
    if call.size == "full":
        values["data"] |= {"num_train": 500}
        values["network"] |= {"hidden_widths": [500]}
    cases = [SOURCES, ACTIVATIONS, RICHNESS]
    if call.size == "smoke":
        cases = [SOURCES[:1], ACTIVATIONS, RICHNESS[-1:]]
        values["network"] |= {"hidden_widths": [5]}
    points = [of_case(values, *case, call) for case in itertools.product(*cases)]
    shape = [len(axis) for axis in cases]
    dims = ("source", "activation", "richness")
    more = {"sampled": ("bin",), "error": ("bin",), "edge": ("edge",), "prior": ("bin",),
            "theory": ("theory", "bin"), "theory_moments": ("theory", "moment"),
            "theory_converged": ("theory",), "effective": ("theory",),
            "moments": ("moment",), "moments_error": ("moment",)}  # fmt: skip
    variables = {
        name: (
            (*dims, *more.get(name, ())),
            np.reshape([point[name] for point in points], (*shape, *np.shape(points[0][name]))),
        )
        for name in points[0]
    }
    coordinates = dict(zip(dims, map(list, cases), strict=True))
    coordinates |= {"theory": list(ASKED), "moment": ["square", "kurtosis", "skewness"]}
    data, posterior = values["data"], values["posterior"]
    caption = (
        f"P = {data['num_train']}, N_1 = {values['network']['hidden_widths'][0]}, λ = 1 and T = "
        f"{posterior['temperature']:g} before the richness"
    )
    renamed = {"theory": "theory_density", "edge": "edges"}
    variables = {renamed.get(name, name): value for name, value in variables.items()}
    return {"units": xr.Dataset(variables, coordinates, {"caption": caption})}


def of_case(
    values: dict[str, Any], source: str, activation: str, richness: float, call: Call
) -> dict[str, Any]:
    """The law of x = yᵀh/√(yᵀC y) of one network, sampled and in theory."""
    config = configuration.from_dict(
        values
        | {
            "data": values["data"] | {"source": source},
            "network": values["network"] | {"activation": activation},
            "posterior": values["posterior"] | {"richness": richness},
        }
    )
    problem = run.prepare(config)
    posterior, data = problem.posterior, problem.data
    solutions = {name: THEORIES[name].solve(posterior.ensemble) for name in ASKED}
    laws = {name: solution.units() for name, solution in solutions.items() if solution.units}
    spec = posterior.ensemble.spec
    covariance = data.x_train @ data.x_train.T / (spec.prior_precisions[0] * spec.in_size)
    dtype = jax.tree.leaves(posterior.network)[0].dtype
    observables = {"along_labels": AlongLabels(data, covariance, dtype)}
    counts = run.counts_of(config.sampler)
    if call.size == "smoke":
        counts = {"num_chains": 2, "num_warmup": 4, "num_samples": 6}
    chains = lnn.sample(
        posterior, lnn.Split(), key=problem.key, observables=observables, progress=False, **counts
    )
    x = np.asarray(chains.observables["along_labels"], np.float64)  # (chain, draw, unit)
    root = float(np.sqrt(np.mean(x**2)))
    edges = root * EDGES
    widths = np.diff(edges)
    of_chains = [np.histogram(chain, edges)[0] / (chain.size * widths) for chain in x]
    moments, errors = jackknifed(x)
    missing = np.full(len(widths), np.nan)
    direction = data.y_train
    said = {name: laws[name].density(direction, edges) for name in laws}
    found = {name: moments_of(laws[name].along(direction), laws[name].weights) for name in laws}
    measured = lnn.summarise(chains)
    point = {
        "sampled": np.mean(of_chains, axis=0),
        "error": np.std(of_chains, axis=0, ddof=1) / np.sqrt(len(x)),
        "edge": edges,
        "moments": moments,
        "moments_error": errors,
        "theory": np.array([said.get(name, missing) for name in ASKED]),
        "theory_moments": np.array([found.get(name, np.full(3, np.nan)) for name in ASKED]),
        "theory_converged": [solutions[name].generalisation.converged for name in ASKED],
        "effective": [laws[name].effective_size if name in laws else np.nan for name in ASKED],
        "converged": measured.converged,
        "seconds": chains.wall_seconds,
        "draws": x.shape[1],
    }
    call.say(f"{source}, {activation}, γ = {richness:g}: {chains.wall_seconds:.0f} s of sampling")
    return point


def moments_of(
    x: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "3"]:
    """⟨x²⟩, and excess kurtosis and skewness about the mean, of a weighted sample."""
    mean = weights @ x
    second, third, fourth = (weights @ (x - mean) ** power for power in (2, 3, 4))
    return np.array([weights @ x**2, fourth / second**2 - 3, third / second**1.5])


def jackknifed(
    x: Float[np.ndarray, "chains draws units"],
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """`moments_of` all numbers, with standard errors by leaving out one chain after another."""

    def equal(part: np.ndarray) -> np.ndarray:
        flat = np.ravel(part)
        return moments_of(flat, np.full(flat.size, 1 / flat.size))

    left_out = np.array([equal(np.delete(x, i, axis=0)) for i in range(len(x))])
    spread = np.sum((left_out - left_out.mean(axis=0)) ** 2, axis=0)
    return equal(x), np.sqrt((len(x) - 1) / len(x) * spread)


def draw(results: Results) -> Figure:
    """A figure with a row for each task and a column for each richness."""
    units = results["units"]
    tasks = list(itertools.product(units.source.values, units.activation.values))
    figure = Figure(figsize=(11, 0.8 + 2.2 * len(tasks)), layout="constrained")
    panels = figure.subplots(len(tasks), units.sizes["richness"], squeeze=False)
    for row, (source, activation) in zip(panels, tasks, strict=True):
        for ax, gamma in zip(row, units.richness.values, strict=True):
            point = units.sel(source=source, activation=activation, richness=gamma)
            edges = point.edges.values
            centres = (edges[1:] + edges[:-1]) / 2
            prior = np.exp(-(centres**2) / 2) / np.sqrt(2 * np.pi)
            ax.plot(centres, prior, color="0.6", linewidth=1, label="before learning")
            for name in units.theory.values:
                if bool(point.theory_converged.sel(theory=name)):
                    style = lnn.plotting.style_of(str(name))
                    density = point.theory_density.sel(theory=name)
                    ax.plot(centres, density, color=style["color"], linewidth=1.3,
                            linestyle=style["linestyle"], label=str(name))  # fmt: skip
            ax.errorbar(centres, point.sampled, point.error, color="k", fmt="o", markersize=2.5,
                        linewidth=0.8, label="experiment (± 1 s.e.)")  # fmt: skip
            ax.set_title(f"{NAMES.get(str(source), source)}, {activation}, γ = {gamma:g}",
                         fontsize="x-small")  # fmt: skip
            ax.set_ylim(bottom=0)
            ax.tick_params(labelsize="x-small")
        row[0].set_ylabel("p(x)", fontsize="small")
    for ax in panels[-1]:
        ax.set_xlabel("x = yᵀh/√(yᵀC y)", fontsize="small")
    figure.suptitle(units.caption, fontsize="small")
    legend_below(figure, panels[0, 0])
    return figure


def report(results: Results) -> str:
    """⟨x²⟩, excess kurtosis and skewness, sampled and by each theory, and χ² of the density."""
    units = results["units"]
    rows = []
    axes = (units.source.values, units.activation.values, units.richness.values)
    for source, activation, gamma in itertools.product(*axes):
        point = units.sel(source=source, activation=activation, richness=gamma)
        cells = [f"{NAMES.get(str(source), source)}, {activation}", f"{gamma:g}"]
        for moment in units.moment.values:
            value = float(point.moments.sel(moment=moment))
            error = float(point.moments_error.sel(moment=moment))
            cells.append(plus_minus(Estimate(value, error)))
            cells += [
                said(point, str(name), float(point.theory_moments.sel(theory=name, moment=moment)))
                for name in units.theory.values
            ]
        rows.append(cells)
    names = [str(name) for name in units.theory.values]
    heads = ["task", "γ"]
    for label in ("⟨x²⟩", "excess kurtosis", "skewness"):
        heads += [label, *names]
    return markdown(heads, rows)


def said(point: xr.Dataset, name: str, value: float) -> str:
    """A theory's number, a dash where it has not converged."""
    return f"{value:.3f}" if bool(point.theory_converged.sel(theory=name)) else "–"


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
