"""The law of one hidden unit along the labels, from lazy to rich networks: sampled, and in theory.

    python -m experiments.features [--smoke | --full | --draw] [FOLDER]

Samples the network of config.toml for each data set, activation and richness γ, records yᵀh of all
hidden units at each draw, asks the theories for the same law, keeps results.json and draws
features.png in FOLDER (this one), and prints the tables; --draw makes the figure again from
results.json. --full has the width and the examples of the papers, for a GPU.
"""

import itertools
from collections.abc import Iterator
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
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.runs import run
from langevin_nn.theory import THEORIES
from langevin_nn.types import Estimate

SOURCES, ACTIVATIONS = ("mnist", "cifar10"), ("erf", "relu")
RICHNESS = (0.1, 0.35, 1.0, 2.0)
ASKED = ("mean_field", "propagation")
NAMES = {"mnist": "MNIST 0/1", "cifar10": "CIFAR-10 airplane/automobile"}
EDGES = np.linspace(-4.0, 4.0, 33)
"""The ends of the bins, in units of the root of the sampled ⟨x²⟩."""
HIGH = 0.05
"""The share of its maximum that a density has at least where a valley is looked for."""


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
        cases = [SOURCES[:1], ACTIVATIONS, RICHNESS[:1]]
        values["network"] |= {"hidden_widths": [5]}
    points = [of_case(values, *case, call) for case in itertools.product(*cases)]
    shape = [len(axis) for axis in cases]
    dims = ("source", "activation", "richness")
    more = {"density": ("bin",), "density_error": ("bin",), "edges": ("edge",),
            "theory_density": ("theory", "bin"), "theory_density_error": ("theory", "bin"),
            "theory_moments": ("theory", "moment"),
            "theory_converged": ("theory",), "theory_effective": ("theory",),
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
    edges = float(np.sqrt(np.mean(x**2))) * EDGES
    widths = np.diff(edges)
    of_chains = [np.histogram(chain, edges)[0] / (chain.size * widths) for chain in x]
    moments, errors = sampled_moments(x)
    theories = [of_theory(posterior.ensemble, name, data.y_train, edges) for name in ASKED]
    call.say(f"{source}, {activation}, γ = {richness:g}: {chains.wall_seconds:.0f} s of sampling")
    return {
        "density": np.mean(of_chains, axis=0),
        "density_error": np.std(of_chains, axis=0, ddof=1) / np.sqrt(len(x)),
        "edges": edges,
        "moments": moments,
        "moments_error": errors,
        **{f"theory_{key}": [said[key] for said in theories] for key in theories[0]},
        "converged": lnn.summarise(chains).converged,
        "seconds": chains.wall_seconds,
        "draws": x.shape[1],
    }


def of_theory(
    ensemble: Ensemble,
    name: str,
    direction: Float[np.ndarray, " P"],
    edges: Float[np.ndarray, " m"],
) -> dict[str, Any]:
    """The density in the bins and the moments as a theory has them, NaN where it finds no law."""
    solution = THEORIES[name].solve(ensemble)
    said = {"converged": solution.generalisation.converged, "effective": np.nan}
    said |= {f"density{kind}": np.full(len(edges) - 1, np.nan) for kind in ("", "_error")}
    said["moments"] = np.full(3, np.nan)
    if solution.units is None:
        return said
    units = solution.units()
    x, weights = units.along(direction), units.weights
    squares, _ = np.histogram(x, edges, weights=weights**2)
    return said | {
        "effective": units.effective_size,
        "density": units.density(direction, edges),
        "density_error": np.sqrt(squares) / np.diff(edges),
        "moments": moments_of(x, weights),
    }


def moments_of(
    x: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "3"]:
    """⟨x²⟩, and excess kurtosis and skewness about the mean, of a sample with these weights."""
    shares = weights / np.sum(weights)
    mean = shares @ x
    second, third, fourth = (shares @ (x - mean) ** power for power in (2, 3, 4))
    return np.array([shares @ x**2, fourth / second**2 - 3, third / second**1.5])


def sampled_moments(
    x: Float[np.ndarray, "chains draws units"],
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """`moments_of` all numbers, with standard errors by leaving out one chain after another."""

    def equal(part: np.ndarray) -> np.ndarray:
        return moments_of(np.ravel(part), np.ones(part.size))

    left_out = [equal(np.delete(x, i, axis=0)) for i in range(len(x))]
    return equal(x), np.sqrt((len(x) - 1) * np.var(left_out, axis=0))


def valley(
    density: Float[np.ndarray, " bins"], error: Float[np.ndarray, " bins"]
) -> tuple[float, float]:
    """How deep the valley between two peaks is: 1 − its floor over the lower peak; and its error.

    It is 0 for a law of one peak, but for noise. Tails below `HIGH` of the maximum are left out.
    """
    high = np.flatnonzero(density >= HIGH * density.max())
    inner = slice(high[0], high[-1] + 1)
    p, sigma = density[inner], error[inner]
    left, right = np.maximum.accumulate(p), np.maximum.accumulate(p[::-1])[::-1]
    lower = np.minimum(left, right)
    floor = int(np.argmin(p / lower))
    peak = int(np.argmax(p == lower[floor]))
    depth = 1 - p[floor] / p[peak]
    return float(depth), float(np.hypot(sigma[floor], p[floor] / p[peak] * sigma[peak]) / p[peak])


def distance(point: xr.Dataset, name: str) -> tuple[float, float]:
    """½∫|p − p*| of the sampled and a theory's law, and what their noise alone would make it."""
    theory = point.sel(theory=name)
    widths = np.diff(point.edges)
    off = np.abs(point.density - theory.theory_density)
    noise = np.sqrt(2 / np.pi) * np.hypot(point.density_error, theory.theory_density_error)
    return float(0.5 * off.values @ widths), float(0.5 * noise.values @ widths)


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
                if settled(point.sel(theory=name)):
                    style = lnn.plotting.style_of(str(name))
                    density = point.theory_density.sel(theory=name)
                    ax.plot(centres, density, color=style["color"], linewidth=1.3,
                            linestyle=style["linestyle"], label=str(name))  # fmt: skip
            ax.errorbar(centres, point.density, point.density_error, color="k", fmt="o",
                        markersize=2.5, linewidth=0.8, label="experiment (± 1 s.e.)")  # fmt: skip
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
    """Moments, sampled and by each theory, and how far the laws are apart."""
    return f"{moment_table(results['units'])}\n\n{law_table(results['units'])}"


def moment_table(units: xr.Dataset) -> str:
    """⟨x²⟩, excess kurtosis and skewness of each task and richness."""
    rows = []
    for task, gamma, point in points_of(units):
        cells = [task, gamma]
        for moment in units.moment.values:
            at = point.sel(moment=moment)
            cells.append(with_error(at.moments, at.moments_error))
            cells += [
                f"{of.theory_moments.item():.3f}" if settled(of) else "–"
                for of in (at.sel(theory=name) for name in units.theory.values)
            ]
        rows.append(cells)
    heads = ["task", "γ"]
    for label in ("⟨x²⟩", "excess kurtosis", "skewness"):
        heads += [label, *map(str, units.theory.values)]
    return markdown(heads, rows)


def law_table(units: xr.Dataset) -> str:
    """The depth of the valley between two peaks, and the distance of each theory's law."""
    rows = []
    for task, gamma, point in points_of(units):
        cells = [task, gamma, with_error(*valley(point.density.values, point.density_error.values))]
        for name in units.theory.values:
            of = point.sel(theory=name)
            if settled(of):
                arrays = of.theory_density.values, of.theory_density_error.values
                apart, noise = distance(point, str(name))
                cells += [with_error(*valley(*arrays)), f"{apart:.3f} ({noise:.3f})"]
            else:
                cells += ["–", "–"]
        rows.append(cells)
    heads = ["task", "γ", "valley"]
    for name in units.theory.values:
        heads += [f"{name}: valley", f"{name}: distance (of noise alone)"]
    return markdown(heads, rows)


def points_of(units: xr.Dataset) -> Iterator[tuple[str, str, xr.Dataset]]:
    """The points with the names of their task and richness."""
    axes = (units.source.values, units.activation.values, units.richness.values)
    for source, activation, gamma in itertools.product(*axes):
        name = f"{NAMES.get(str(source), source)}, {activation}"
        yield name, f"{gamma:g}", units.sel(source=source, activation=activation, richness=gamma)


def settled(point: xr.Dataset) -> bool:
    """Whether a theory has converged at a point, and says the law of a unit."""
    return bool(point.theory_converged) and bool(np.isfinite(point.theory_effective))


def with_error(value: Any, error: Any) -> str:
    """A number with its standard error, as tables have it."""
    return plus_minus(Estimate(float(value), float(error)))


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
