"""Figures of one run: bias² and variance against theory, the chains, the test points."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from langevin_nn.analysis.diagnostics import mcse
from langevin_nn.plotting.style import CHAIN_COLOURS, EXPERIMENT_COLOUR, is_limit, literal, style_of
from langevin_nn.result_text import QUANTITIES
from langevin_nn.sampling.draws import Chains
from langevin_nn.theory.effective.one_layer import OneLayerSweep
from langevin_nn.types import Generalisation


def plot_generalisation(
    ax: Axes, measured: Generalisation | None, theories: Sequence[Generalisation]
) -> Axes:
    """Draw bias², variance and their sum: the experiment as points, theories as line segments."""
    keys = _on_quantities(ax)
    for theory in theories:
        values = [getattr(theory, key).value for key in keys]
        places = np.arange(len(keys))
        ax.hlines(
            values, places - 0.32, places + 0.32, label=literal(theory.name), linewidth=2,
            color=style_of(theory.name)["color"], linestyle=style_of(theory.name)["linestyle"],
        )  # fmt: skip
    if measured is not None:
        estimates = [getattr(measured, key) for key in keys]
        ax.errorbar(
            range(len(keys)), [estimate.value for estimate in estimates],
            [estimate.mcse for estimate in estimates], fmt="o", markersize=4, capsize=4,
            color=EXPERIMENT_COLOUR, zorder=3,
            label=f"{literal(measured.name)} (± 1 s.e.)",
        )  # fmt: skip
    ax.set_ylabel("average over the test set")
    if theories or measured is not None:
        _legend_above(ax, len(theories) + 1)
    return ax


def plot_deviations(ax: Axes, measured: Generalisation, theories: Sequence[Generalisation]) -> Axes:
    """Draw experiment/theory − 1 in per cent, ± one standard error of the experiment."""
    keys = _on_quantities(ax)
    ax.axhline(0, color="black", linewidth=0.8)
    for index, theory in enumerate(theories):
        offset = min(0.18, 0.7 / len(theories)) * (index - (len(theories) - 1) / 2)
        expected = np.array([getattr(theory, key).value for key in keys])
        expected = np.where(expected > 0, expected, np.nan)  # an expansion may come out negative
        values = np.array([getattr(measured, key).value for key in keys])
        errors = np.array([getattr(measured, key).mcse for key in keys])
        ax.errorbar(
            np.arange(len(keys)) + offset, 100 * (values / expected - 1), 100 * errors / expected,
            fmt=style_of(theory.name)["marker"], color=style_of(theory.name)["color"], capsize=3,
            markersize=5, label=literal(theory.name),
        )  # fmt: skip
    ax.set_ylabel("experiment / theory − 1  (%)")
    if theories:
        _legend_above(ax, len(theories))
    return ax


def _legend_above(ax: Axes, num_rows: int) -> None:
    """Add a legend at the top, above what is drawn."""
    lowest, highest = ax.get_ylim()
    ax.set_ylim(lowest, highest + 0.07 * num_rows * (highest - lowest))
    ax.legend(frameon=False, fontsize="small", loc="upper left")


def _on_quantities(ax: Axes) -> tuple[str, ...]:
    """The names of the compared quantities, which become the ticks of the horizontal axis."""
    keys = ("bias2", "variance", "generalisation_error")
    ax.set_xticks(range(len(keys)), ["bias²", "variance", "generalisation\nerror"])
    ax.set_xlim(-0.5, len(keys) - 0.5)
    return keys


def plot_runs(
    ax: Axes,
    quantity: str,
    measured: Mapping[str, Generalisation],
    theories: Mapping[str, Sequence[Generalisation]],
) -> Axes:
    """Draw one quantity of several runs beside each other, each with its theories.

    `measured` are the experiments by the names of the runs, `theories` what each was held against.
    """
    for place, (name, result) in enumerate(measured.items()):
        for theory in theories[name]:
            ax.hlines(
                getattr(theory, quantity).value, place - 0.32, place + 0.32, linewidth=2,
                color=style_of(theory.name)["color"], linestyle=style_of(theory.name)["linestyle"],
                label=literal(theory.name),
            )  # fmt: skip
        estimate = getattr(result, quantity)
        ax.errorbar(
            place, estimate.value, estimate.mcse, fmt="o", markersize=4, capsize=4, zorder=3,
            color=EXPERIMENT_COLOUR, markerfacecolor=EXPERIMENT_COLOUR if result.converged else "w",
            label="experiment (± 1 s.e., hollow: not converged)",
        )  # fmt: skip
    names = [literal(name) for name in measured]
    ax.set_xticks(range(len(names)), names, rotation=20 if max(map(len, names)) > 8 else 0)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylabel(QUANTITIES[quantity])
    return ax


def runs_figure(
    measured: Mapping[str, Generalisation],
    theories: Mapping[str, Sequence[Generalisation]],
    caption: str,
) -> Figure:
    """A figure of several runs beside each other; arguments as for `plot_runs`."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels = figure.subplots(1, 3)
    for ax, quantity in zip(panels, ("bias2", "variance", "train_error"), strict=True):
        plot_runs(ax, quantity, measured, theories)
    handles, labels = panels[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(
        unique.values(), unique.keys(), loc="outside lower center", ncols=4, frameon=False,
        fontsize="small",
    )  # fmt: skip
    figure.suptitle(literal(caption), fontsize="medium")
    return figure


def plot_sweep(
    ax: Axes, sweep: OneLayerSweep, along: str, wide: Generalisation | None, here: float
) -> Axes:
    """Draw `one_layer`'s bias² and variance along "width" or "readout_precision", on log axes.

    `wide` is infinite width at the ensemble's own precision; `here` marks the ensemble's value.
    """
    label = {"width": "N_1", "readout_precision": "λ_1"}[along]
    places = np.ravel(getattr(sweep, along))
    for key, name, colour in (("bias2", "bias²", "#0072B2"), ("variance", "variance", "#D55E00")):
        ax.plot(places, np.ravel(getattr(sweep, key)), color=colour, label=f"{name}, one_layer")
        if wide is not None:
            value = getattr(wide, key).value
            ax.axhline(value, color=colour, linestyle="--", linewidth=1, label=f"{name}, N_1 → ∞")
    ax.axvline(here, color="0.6", linewidth=0.8)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(label)
    ax.legend(frameon=False, fontsize="small")
    return ax


def theory_figure(
    theories: Sequence[Generalisation],
    sweeps: Mapping[str, tuple[OneLayerSweep, float]],
    caption: str,
    *,
    limit: bool = True,
) -> Figure:
    """A figure of the theories side by side, and of `one_layer` along each swept quantity.

    `limit` says whether infinite width is the same at each of the widths; not at one richness.
    """
    figure = Figure(figsize=(4.6 * (1 + len(sweeps)), 3.9), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(sweeps), squeeze=False)[0]
    plot_generalisation(first, None, theories)
    wide = next((theory for theory in theories if is_limit(theory.name)), None)
    for ax, (along, (sweep, here)) in zip(others, sweeps.items(), strict=True):
        plot_sweep(ax, sweep, along, wide if limit and along == "width" else None, here)
    figure.suptitle(literal(caption), fontsize="small", wrap=True)
    return figure


def plot_traces(ax: Axes, series: np.ndarray, label: str, thinning: int = 1) -> Axes:
    """Draw a recorded series (chain, draw), one line for each chain."""
    steps = np.arange(1, series.shape[1] + 1) * thinning
    for chain, values in enumerate(series):
        colour = CHAIN_COLOURS[chain % len(CHAIN_COLOURS)]
        ax.plot(steps, values, color=colour, linewidth=0.5, alpha=0.8)
    ax.set_xlabel("steps after warm-up")
    ax.set_ylabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    return ax


def plot_ranks(ax: Axes, series: np.ndarray, label: str, num_bins: int = 20) -> Axes:
    """Draw histograms of the ranks of each chain's draws among all: flat where chains agree.

    Vehtari et al., Bayesian Analysis 16, 667 (2021), section 5. The dashed line is uniform.
    """
    num_chains, num_draws = series.shape
    ranks = np.argsort(np.argsort(series.ravel())).reshape(series.shape)
    edges = np.linspace(0, series.size, num_bins + 1)
    uniform = num_draws / num_bins
    for chain in range(num_chains):
        heights, _ = np.histogram(ranks[chain], edges)
        ax.stairs(
            heights / (2.5 * uniform) + chain, edges, baseline=chain, fill=True, alpha=0.7,
            color=CHAIN_COLOURS[chain % len(CHAIN_COLOURS)],
        )  # fmt: skip
        ax.axhline(chain + 1 / 2.5, color="black", linewidth=0.5, linestyle="--")
    ax.set_xlabel(f"rank of {label}")
    ax.set_ylabel("chain")
    ax.set_yticks(np.arange(num_chains) + 0.4, [str(c) for c in range(num_chains)])
    ax.set_xlim(0, series.size)
    ax.set_ylim(-0.1, num_chains + 0.1)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    return ax


def plot_predictions(
    ax: Axes,
    predicted: np.ndarray,
    sampled: np.ndarray,
    error: np.ndarray,
    quantity: str,
    theory: str,
) -> Axes:
    """Draw a quantity at every test point, sampled (± 1 s.e.) against predicted, and the diagonal.

    With several outputs, (P_test, D), each output is a point.
    """
    predicted, sampled, error = predicted.ravel(), sampled.ravel(), error.ravel()
    ax.errorbar(
        predicted, sampled, error, fmt=".", markersize=3, elinewidth=0.6,
        color=style_of(theory)["color"], ecolor="0.6",
    )  # fmt: skip
    ends = [min(predicted.min(), sampled.min()), max(predicted.max(), sampled.max())]
    ax.plot(ends, ends, color="black", linewidth=0.8, zorder=3)
    ax.set_xlabel(f"{quantity}, {literal(theory)}")
    ax.set_ylabel(f"{quantity}, sampled")
    return ax


def run_figures(
    chains: Chains,
    measured: Generalisation,
    theories: Mapping[str, Generalisation],
    caption: str,
) -> dict[str, Figure]:
    """The figures of one run by file name: comparison with theory, chains, and test points."""
    keep = ~chains.diverged
    f = chains.test_outputs[keep].astype(np.float64)
    title = caption if measured.converged else f"{caption}\nNOT CONVERGED: {measured.message}"
    colour = "black" if measured.converged else "#D55E00"

    comparison = Figure(figsize=(9, 3.8), layout="constrained")
    values, deviations = comparison.subplots(1, 2)
    plot_generalisation(values, measured, list(theories.values()))
    plot_deviations(deviations, measured, list(theories.values()))

    diagnostics = measured.diagnostics
    assert diagnostics is not None, "an experiment's result carries its diagnostics"
    within = np.zeros(())
    if chains.test_variances is not None:
        within = chains.test_variances[keep].astype(np.float64)
        within = within.reshape(*within.shape, *[1] * (f.ndim - 3))
    squares = (np.square(chains.y_test - f) + within).reshape(*f.shape[:3], -1)
    series = {
        "generalisation error of a draw": squares.sum(axis=3).mean(axis=2),
        "training error of a draw": chains.train_error[keep].astype(np.float64),
    }
    traces = Figure(figsize=(9, 5.6), layout="constrained")
    for row, (label, values) in zip(traces.subplots(2, 2), series.items(), strict=True):
        plot_traces(row[0], values, label, chains.thinning)
        plot_ranks(row[1], values, label)
    note = f"R̂ max = {diagnostics.rhat_max:.4f}, ESS min = {diagnostics.ess_min:.0f}"

    figures = {"generalisation": comparison, "chains": traces}
    if theories:
        figures["predictions"] = _predictions_figure(f, within, measured, theories)
    for name, figure in figures.items():
        text = f"{title}\n{note}" if name == "chains" else title
        figure.suptitle(literal(text), fontsize="small", color=colour, wrap=True)
    return figures


def _predictions_figure(
    f: np.ndarray,
    within: np.ndarray,
    measured: Generalisation,
    theories: Mapping[str, Generalisation],
) -> Figure:
    """A figure of the mean and standard deviation of f at the test points, sampled and predicted.

    `within` is the variance of f given a draw.
    """
    mean_error = mcse(f)
    spread = np.sqrt(measured.predictive_variance)
    square_error = mcse(np.square(f - measured.predictive_mean) + within)
    spread_error = np.divide(  # zero for outputs that do not vary
        square_error, 2 * spread, out=np.zeros_like(spread), where=spread > 0
    )
    figure = Figure(figsize=(3.2 * len(theories), 6), layout="constrained")
    axes = figure.subplots(2, len(theories), squeeze=False)
    for column, theory in zip(axes.T, theories.values(), strict=True):
        plot_predictions(
            column[0], theory.predictive_mean, measured.predictive_mean, mean_error,
            "mean of f", theory.name,
        )  # fmt: skip
        plot_predictions(
            column[1], np.sqrt(np.maximum(theory.predictive_variance, 0)), spread, spread_error,
            "std of f", theory.name,
        )  # fmt: skip
    return figure
