"""One convolutional layer: experiment, local kernel renormalisation, infinite width; the matrix Q.

    python -m experiments.convolution [--smoke | --full | --draw] [FOLDER]

Sweeps config.toml (full.toml with --full) over the number of channels, samples the matrix of order
parameters at one of them, keeps results.json and draws convolution.png in FOLDER (this one), and
prints the table; --draw makes the figure again from results.json.
"""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.common import Call, Results, experiment, frame, legend_below, markdown, table
from langevin_nn import config as configuration
from langevin_nn.analysis.diagnostics import mcse
from langevin_nn.estimates import plus_minus
from langevin_nn.runs import assemble, run
from langevin_nn.theory.kernels.patch_pairs import patch_diagonal, patch_gram
from langevin_nn.types import Estimate

WIDTH = "network.hidden_widths[0]"
NAMES = {"mnist": "MNIST 0/1", "cifar10": "CIFAR-10 airplane/automobile"}
MATRIX_CHANNELS = 50
"""The number of channels of the networks whose matrix is sampled."""


def matrices(call: Call, values: dict[str, Any]) -> xr.Dataset:
    """The matrix Q_ij = (λ_1/N_c) Σ_c v_ic v_jc averaged over the posterior, and its saddle point.

    Given v, f has the covariance Σ_ij Q_ij K_ij/n if its fluctuations are taken as Gaussian.
    """
    base = {name: section for name, section in values.items() if name not in ("sweep", "theory")}
    sources = values["sweep"]["over"]["data.source"]
    channels = values["sweep"]["over"][WIDTH][-1] if call.size == "smoke" else MATRIX_CHANNELS
    columns: dict[str, list[np.ndarray]] = {"sampled": [], "error": [], "theory": []}
    for source in sources:
        data = base["data"] | {"source": source}
        network = base["network"] | {"hidden_widths": [channels]}
        config = configuration.from_dict(base | {"data": data, "network": network})
        setup = run.prepare(config)
        precision = config.prior.precisions[-1]

        def order_parameters(network: lnn.Convolutional, precision: float = precision) -> Any:
            v = network.weights[-1]
            return precision * (v @ v.T) / v.shape[-1]

        chains = lnn.sample(
            setup.posterior, assemble.dynamics_of(config.sampler), key=setup.key,
            observables={"Q": order_parameters}, **run.counts_of(config.sampler),
        )  # fmt: skip
        measured = lnn.summarise(chains)
        call.say(f"Q, {source}: run {config.content_hash}, {chains.wall_seconds:.0f} s "
                 f"{measured.message}")  # fmt: skip
        draws = chains.observables["Q"].astype(np.float64)
        theory = lnn.theory.convolutional(setup.posterior.ensemble)
        columns["sampled"].append(draws.mean(axis=(0, 1)))
        flat = draws.reshape(*draws.shape[:2], -1)
        columns["error"].append(mcse(flat).reshape(draws.shape[2:]))
        columns["theory"].append(np.array(theory.order_parameters))
    dims = ("source", "i", "j")
    return xr.Dataset(
        {name: (dims, np.array(matrix)) for name, matrix in columns.items()},
        coords={"source": sources},
        attrs={"channels": channels, "num_train": values["data"]["num_train"],
               "temperature": values["posterior"]["temperature"]},
    )  # fmt: skip


def mixtures(call: Call, values: dict[str, Any]) -> xr.Dataset:
    """The bias² and variance of the mixture over Q ~ Wishart(N_c, 1/N_c) given the data.

    f | Q ~ GP(0, Σ_ij Q_ij K_ij/n), of which `convolutional` is the saddle point: importance
    sampling from the Wishart with weights N(y; 0, A_Q), in blocks for the standard errors. It is
    done at the largest N_c alone.
    """
    base = {name: part for name, part in values.items() if name not in ("sweep", "theory")}
    sources = values["sweep"]["over"]["data.source"]
    channels = values["sweep"]["over"][WIDTH][-1:]
    blocks, draws = (3, 5) if call.size == "smoke" else (40, 200)
    numbers = np.empty((2, 2, len(sources), len(channels)))
    for column, source in enumerate(sources):
        data = base["data"] | {"source": source}
        config = configuration.from_dict(base | {"data": data, "network": base["network"] | {
            "hidden_widths": [channels[0]]}})  # fmt: skip
        _, ensemble = run.prepare_theory(config)
        spec, task = ensemble.spec, ensemble.data
        grams = [patch_gram(spec, task.x_train), patch_gram(spec, task.x_test, task.x_train)]
        grams.append(patch_diagonal(spec, task.x_test))
        rng = np.random.default_rng(0)
        for place, width in enumerate(channels):
            drawn = drawn_scales(rng, grams, task, spec.temperature, width, blocks * draws)
            numbers[:, 0, column, place] = averaged(task, drawn)
            # The error from leaving out one block of the draws after the other.
            indices = np.array_split(np.arange(blocks * draws), blocks)
            leave_one_out = [averaged(task, [np.delete(array, part, axis=0) for array in drawn])
                    for part in indices]  # fmt: skip
            numbers[:, 1, column, place] = np.std(leave_one_out, axis=0) * np.sqrt(blocks - 1)
    return xr.Dataset(
        {"mixture": (("quantity", "of", "source", "channels"), numbers)},
        coords={"quantity": ["bias2", "variance"], "of": ["value", "error"], "source": sources,
                "channels": channels},
    )  # fmt: skip


def drawn_scales(
    rng: np.random.Generator,
    grams: list[np.ndarray],
    data: lnn.Dataset,
    temperature: float,
    width: int,
    draws: int,
) -> list[np.ndarray]:
    """The log N(y; 0, A_Q) up to a constant, and mean and variance of f, at each draw of Q."""
    n = len(grams[0])
    columns = []
    for _ in range(draws):
        z = rng.standard_normal((n, width))
        train, cross, diagonal = (np.tensordot(z @ z.T / (n * width), gram, 2) for gram in grams)
        root = np.linalg.cholesky(train + temperature * np.eye(len(train)))
        fit, explained = np.linalg.solve(root, data.y_train), np.linalg.solve(root, cross.T)
        log_weight = -0.5 * fit @ fit - np.sum(np.log(np.diagonal(root)))
        columns.append((log_weight, explained.T @ fit, diagonal - np.sum(explained**2, axis=0)))
    return [np.array(column) for column in zip(*columns, strict=True)]


def averaged(data: lnn.Dataset, drawn: list[np.ndarray]) -> tuple[float, float]:
    """The bias² and variance of the mixture, from its draws."""
    log_weights, means, variances = drawn
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    mean = weights @ means
    variance = weights @ variances + weights @ np.square(means - mean)
    return float(np.mean((data.y_test - mean) ** 2)), float(np.mean(variance))


def draw(results: Results) -> Figure:
    """A figure with a row for each data set: bias² and variance against N_c, and both Q."""
    channels, matrices = results["channels"], results["matrices"]
    sources = channels["data.source"].values
    figure = Figure(figsize=(14, 0.8 + 3.3 * len(sources)), layout="constrained")
    panels = figure.subplots(len(sources), 4, squeeze=False)
    theories = [str(name) for name in channels.theory.values]
    for row, source in zip(panels, sources, strict=True):
        results_of_source, matrix = (
            channels.sel({"data.source": source}),
            matrices.sel(source=source),
        )
        for ax, quantity in zip(row, ("bias2", "variance"), strict=False):
            lnn.plotting.plot_along(ax, results_of_source, quantity, WIDTH, theories=theories)
            frame(ax, results_of_source[quantity], results_of_source[f"theory_{quantity}"])
            s = float(results_of_source.criterion[0])
            ax.set_title(f"{NAMES.get(source, source)}, s = {s:.2f}", fontsize="small")
            ax.set_xlabel("channels N_c")
        limit = float(np.max(np.abs([matrix.sampled - np.eye(len(matrix.i)),
                                     matrix.theory - np.eye(len(matrix.i))])))  # fmt: skip
        for ax, name in zip(row[2:], ("theory", "sampled"), strict=True):
            image = picture(ax, matrix[name].to_numpy(), limit)
            titles = {"theory": "saddle point", "sampled": "sampled"}[name]
            ax.set_title(f"Q − 1, {titles}, N_c = {matrices.channels}", fontsize="small")
        figure.colorbar(image, ax=list(row[2:]), shrink=0.85)
    figure.suptitle(
        f"one convolutional layer, erf, 7×7 patches, P = {matrices.num_train}, "
        f"T = {matrices.temperature:g}", fontsize="small",
    )  # fmt: skip
    legend_below(figure, panels[0, 0])
    return figure


def picture(ax: Axes, matrix: np.ndarray, limit: float) -> Any:
    ax.set_xlabel("patch j")
    ax.set_ylabel("patch i")
    return ax.imshow(matrix - np.eye(len(matrix)), cmap="RdBu_r", vmin=-limit, vmax=limit)


def agreement(matrices: xr.Dataset) -> str:
    """A table of the agreement of the matrix's entries, sampled and in theory."""
    heads = ["", "correlation of the entries of Q − 1", "rms (sampled − theory)",
             "rms (sampled − 1)", "rms standard error"]  # fmt: skip
    rows = []
    for source in matrices.source.values:
        matrix = matrices.sel(source=source)
        upper = np.triu_indices(len(matrix.i))
        identity = np.eye(len(matrix.i))[upper]
        sampled, error, theory = (
            matrix[name].to_numpy()[upper] for name in ("sampled", "error", "theory")
        )
        correlation = np.corrcoef(sampled - identity, theory - identity)[0, 1]
        sizes = [
            np.sqrt(np.mean(values**2)) for values in (sampled - theory, sampled - identity, error)
        ]
        rows.append([str(source), f"{correlation:.3f}", *(f"{size:.4f}" for size in sizes)])
    return markdown(heads, rows)


def of_mixtures(mixtures: xr.Dataset, results: xr.Dataset) -> str:
    """A table of the mixture over Q, its saddle point and the experiment."""
    heads = ["data", "N_c", "", "sampled", "infinite_width", "convolutional", "mixture over Q"]
    rows = []
    for source in mixtures.source.values:
        for width in mixtures.channels.values:
            point = results.sel({"data.source": source, WIDTH: width})
            for key in mixtures.quantity.values:
                value, error = mixtures.mixture.sel(
                    source=source, channels=width, quantity=key
                ).values
                expected = point[f"theory_{key}"]
                cells = [str(source), str(width), str(key).replace("bias2", "bias²")]
                cells.append(plus_minus(Estimate(float(point[key]), float(point[f"{key}_mcse"]))))
                cells += [f"{float(expected.sel(theory=name)):.5f}"
                          for name in ("infinite_width", "convolutional")]  # fmt: skip
                rows.append([*cells, plus_minus(Estimate(float(value), float(error)))])
    return markdown(heads, rows)


def measure(call: Call) -> dict[str, xr.Dataset]:
    values = call.values()
    return {
        "channels": call.swept(values),
        "matrices": matrices(call, values),
        "mixtures": mixtures(call, values),
    }


def report(results: Results) -> str:
    return "\n\n".join([
        agreement(results["matrices"]),
        of_mixtures(results["mixtures"], results["channels"]),
        table(results["channels"], ["infinite_width", "convolutional"]),
    ])  # fmt: skip


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
