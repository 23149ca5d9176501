"""The two peaks during training: gradient flow over sample size and time, with noisy labels.

    python -m experiments.peaks_in_training [--smoke | --full | --draw] [FOLDER]

Follows flows on a teacher's data and on MNIST (digits where it is not at hand), keeps results.json
and draws peaks_in_training.png in FOLDER (this one), and prints the table; --draw makes the figure
again from results.json.
"""

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments import num_cores
from experiments.common import Call, Results, experiment, legend_below, markdown, processes
from langevin_nn.data.image_files import available
from langevin_nn.estimates import plus_minus
from langevin_nn.types import Estimate

IN_SIZE, WIDTH, NOISE = 30, 10, 5.0
"""The numbers N_0, N_1 and τ² of the networks, which have N_1(N_0 + 1) = 310 weights."""
NUM_WEIGHTS = WIDTH * (IN_SIZE + 1)
SIZES = {
    "smoke": ((15,), (0.3,), 3, 2, 50),
    "config": ((10, 30, 60, 130, 220, 310, 620), (0.3, 1.0, 4.0, 20.0), 8, 8, 800),
    "full": (
        (10, 15, 22, 30, 40, 60, 90, 130, 180, 240, 310, 400, 500, 620, 1000),
        (0.1, 0.3, 1.0, 3.0, 10.0, 100.0, 1000.0), 16, 10, 2000,
    ),
}  # fmt: skip
"""The numbers of examples, the times, and how many initialisations, data sets and test points."""
COLOURS = ("#56B4E9", "#0072B2", "#E69F00", "#D55E00", "#CC79A7", "#009E73", "black")


def teacher_task(num_train: int, num_test: int, seed: int) -> lnn.Dataset:
    """A task of the teacher y = v·tanh(W² tanh(W¹x/√N_0)/10)/10 + ε, the same for all seeds.

    It has 100 units in each layer.
    """
    rules, rng = np.random.default_rng(0), np.random.default_rng([1, seed, num_train])
    first, second = rules.standard_normal((100, IN_SIZE)), rules.standard_normal((100, 100))
    last = rules.standard_normal(100)

    def label(x: np.ndarray) -> np.ndarray:
        return np.tanh(np.tanh(x @ first.T / np.sqrt(IN_SIZE)) @ second.T / 10) @ last / 10

    x = rng.standard_normal((num_train, IN_SIZE))
    x_test = rng.standard_normal((num_test, IN_SIZE))
    noise = np.sqrt(NOISE) * rng.standard_normal(num_train)
    return lnn.Dataset("teacher", x, label(x) + noise, x_test, label(x_test))


def image_task(source: str, num_train: int, num_test: int, seed: int) -> lnn.Dataset:
    """The task of even against odd digits in 30 principal components, with noisy labels."""
    return lnn.load_dataset(
        source, num_train=num_train, num_test=num_test, num_components=IN_SIZE,
        classes=((0, 2, 4, 6, 8), (1, 3, 5, 7, 9)), noise_variance=NOISE,
        key=jax.random.fold_in(jax.random.key(seed), num_train),
    )  # fmt: skip


def measured(job: tuple[str, int, tuple[float, ...], int, int, int]) -> np.ndarray:
    """Errors (data set, time, quantity) of one network, of the ensemble, and on training data."""
    source, num_train, times, num_initialisations, num_data_sets, num_test = job
    rows = np.empty((num_data_sets, len(times), 3))
    for seed in range(num_data_sets):
        if source == "teacher":
            data = teacher_task(num_train, num_test, seed)
        else:
            data = image_task(source, num_train, num_test, seed)
        key = jax.random.key(100 + seed)
        network = lnn.FullyConnected(IN_SIZE, (WIDTH,), "tanh", key=key, dtype=np.float64)
        posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 1.0)
        for place, time in enumerate(times):
            flow = lnn.gradient_flow(
                posterior, key=key, num_initialisations=num_initialisations, max_time=time,
                rtol=1e-4, atol=1e-5, gradient_tolerance=1e-7, solver="stabilised",
            )  # fmt: skip
            f = flow.test_outputs
            rows[seed, place] = (
                np.mean((f - data.y_test) ** 2),
                np.mean((f.mean(axis=0) - data.y_test) ** 2),
                np.mean((flow.train_outputs - data.y_train) ** 2),
            )
    return rows


def sources() -> list[str]:
    """The teacher, and MNIST or, where it is not at hand, the digits."""
    present = {source.name for source in available() if source.present}
    return ["teacher", "mnist" if "mnist" in present else "digits"]


def flows(call: Call) -> xr.Dataset:
    """The errors of all flows, averaged over the data sets."""
    examples, times, num_initialisations, num_data_sets, num_test = SIZES[call.size]
    tasks = sources()
    jobs = [
        (source, p, times, num_initialisations, num_data_sets, num_test)
        for source in tasks
        for p in examples
    ]
    longest = sorted(jobs, key=lambda job: -job[1])
    with processes(1 if call.size == "smoke" else num_cores()) as pool:
        errors = dict(zip(longest, pool.map(measured, longest), strict=True))
    values = np.array([[errors[source, p, *longest[0][2:]] for p in examples] for source in tasks])
    return xr.Dataset(
        {
            "value": (("source", "P", "t", "of"), values.mean(axis=2)),
            "error": (
                ("source", "P", "t", "of"), values.std(axis=2, ddof=1) / np.sqrt(num_data_sets)
            ),
            "gain": (("source", "P", "t"), (values[..., 1] / values[..., 0]).mean(axis=2)),
        },
        coords={"source": tasks, "P": list(examples), "t": list(times),
                "of": ["one", "ensemble", "train"]},
        attrs={"initialisations": num_initialisations, "data_sets": num_data_sets},
    )  # fmt: skip


def draw(results: Results) -> Figure:
    """A figure with a row for each data set: one network, the ensemble, and three sizes in time."""
    flow_results = results["flows"]
    figure = Figure(figsize=(12, 0.8 + 3.2 * flow_results.sizes["source"]), layout="constrained")
    panels = figure.subplots(flow_results.sizes["source"], 3, squeeze=False)
    examples, times = flow_results.P.to_numpy(), flow_results.t.to_numpy()
    titles = {"teacher": "network teacher", "mnist": "MNIST parity", "digits": "digits parity"}
    for row, source in zip(panels, flow_results.source.values, strict=True):
        source_results = flow_results.sel(source=source)
        for ax, predictor in zip(row, ("one", "ensemble"), strict=False):
            for colour, time in zip(COLOURS, times, strict=False):
                point = source_results.sel(t=time, of=predictor)
                style = {"color": colour, "markersize": 4, "capsize": 2, "linewidth": 1}
                ax.errorbar(
                    examples, point.value, point.error, fmt="o-", label=f"t = {time:g}", **style
                )
            for place in (IN_SIZE, NUM_WEIGHTS):
                ax.axvline(place, color="0.85", linewidth=0.8, zorder=0)
            ax.set_xlabel(f"P (N_0 = {IN_SIZE}, {NUM_WEIGHTS} weights)")
            names = {
                "one": "one network",
                "ensemble": f"mean of {flow_results.initialisations}",
            }
            ax.set_title(f"{titles[source]}: {names[predictor]}", fontsize="small")
            ax.set_ylabel("test error (labels without noise)")
            ax.set_xscale("log")
            ax.set_yscale("log")
            # the same scale for one network and for the ensemble
            errors = source_results.value.sel(of=["one", "ensemble"])
            ax.set_ylim(0.8 * float(errors.min()), 1.3 * float(errors.max()))
        ax = row[2]
        for colour, p in zip(("#0072B2", "0.5", "#D55E00"), _three(examples), strict=False):
            point = source_results.sel(P=p, of="one")
            ax.errorbar(times, point.value, point.error, fmt="o-", color=colour, markersize=4,
                        capsize=2, linewidth=1, label=f"P = {p}")  # fmt: skip
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("time t")
        ax.set_title(f"{titles[source]}: over time", fontsize="small")
        ax.legend(frameon=False, fontsize="small")
    legend_below(figure, panels[0, 0], ncols=len(times))
    return figure


def _three(examples: np.ndarray) -> list[int]:
    """The sizes nearest to N_0, between the peaks, and nearest to the number of weights."""
    targets = (IN_SIZE, 0.5 * NUM_WEIGHTS, NUM_WEIGHTS)
    return sorted({int(examples[np.argmin(np.abs(np.log(examples / p)))]) for p in targets})


def table(results: xr.Dataset) -> str:
    heads = ["data", "P"]
    heads += [f"t = {time:g}: one, ensemble" for time in results.t.values]
    heads += [f"training error at t = {results.t.values[-1]:g}"]
    rows = []
    for source in results.source.values:
        for p in results.P.values:
            cells = [str(source), str(p)]
            for time in results.t.values:
                point = results.sel(source=source, P=p, t=time)
                cells.append(", ".join(
                    plus_minus(Estimate(float(point.value.sel(of=predictor)),
                                        float(point.error.sel(of=predictor))))
                    for predictor in ("one", "ensemble")
                ))  # fmt: skip
            cells.append(f"{float(point.value.sel(of='train')):.2g}")
            rows.append(cells)
    return markdown(heads, rows)


def measure(call: Call) -> dict[str, xr.Dataset]:
    return {"flows": flows(call)}


def report(results: Results) -> str:
    return table(results["flows"])


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
