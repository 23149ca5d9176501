"""The figure and the tables, made from results.json.

Standard errors are over the seeds, whose training examples, test examples and chains are their own;
differences between errors are taken seed by seed first.
"""

from collections.abc import Callable

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.common import Results, markdown
from langevin_nn.analysis.resampling import independent_mean
from langevin_nn.estimates import plus_minus
from langevin_nn.types import Estimate

COLOURS = ("#D55E00", "#E69F00", "#009E73", "#0072B2", "#56B4E9")
"""The colours of the temperatures, the hottest first; T = 0 is black."""
ERROR_STYLES = {
    "draw": ("one draw", "o", "#0072B2"),
    "chain": ("mean of one chain", "s", "#009E73"),
    "ensemble": ("mean of all chains", "D", "#D55E00"),
}
MIXED_RHAT = 1.1
"""The R̂ of f, at 90 % of the test points in every seed, below which chains count as mixed."""


def estimate(values: xr.DataArray) -> Estimate:
    """The mean over the seeds and its standard error."""
    return independent_mean(values.to_numpy().ravel())


def geometric(values: xr.DataArray) -> Estimate:
    """The geometric mean over the seeds, among which norms below jamming differ by factors."""
    logs = estimate(np.log(values))
    return Estimate(float(np.exp(logs.value)), float(np.exp(logs.value) * logs.mcse))


def ratio(above: xr.DataArray, below: xr.DataArray) -> Estimate:
    """The ratio of the means over the seeds, with the jackknife's error over the seeds."""
    numerators, denominators = above.to_numpy().ravel(), below.to_numpy().ravel()
    count = numerators.size
    with np.errstate(divide="ignore", invalid="ignore"):
        leave_one_out = (numerators.sum() - numerators) / (denominators.sum() - denominators)
    return Estimate(
        float(numerators.sum() / denominators.sum()),
        float(np.std(leave_one_out) * np.sqrt(count - 1)),
    )


def along(
    ax: Axes,
    values: xr.DataArray,
    of: Callable[[xr.DataArray], Estimate] = estimate,
    **style: object,
) -> None:
    """Draw a quantity (h, seed) against h with its error bars."""
    estimates = [of(values.sel(h=h)) for h in values.h]
    ax.errorbar(values.h, [point.value for point in estimates],
                [point.mcse for point in estimates], capsize=2, markersize=4, linewidth=1.2,
                **style)  # type: ignore[arg-type]  # fmt: skip


def jamming(flows: xr.Dataset) -> float:
    """The width h at which half of the flows fit, by interpolation."""
    fitted = flows.fitted.mean("seed").to_numpy()
    return float(np.exp(np.interp(0.5, fitted, np.log(flows.h.to_numpy()))))


def by_temperature(results: Results) -> list[tuple[float, str]]:
    """The temperatures, the hottest first, with their colours."""
    temperatures = sorted(results["chains"]["T"].values, reverse=True)
    return list(zip(map(float, temperatures), COLOURS, strict=False))


def draw(results: Results) -> Figure:
    figure = Figure(figsize=(13, 7.4), layout="constrained")
    (norms, low, high), (mixing, gap, map_) = figure.subplots(2, 3)
    chains, flows = results["chains"], results["flows"]
    _norms(norms, results)
    coldest, middle = (float(chains["T"].values[i]) for i in (0, len(chains["T"]) // 2))
    _errors(low, results, coldest)
    _errors(high, results, middle)
    _lengths(mixing, gap, results, coldest)
    _map(map_, results)
    for ax in (norms, low, high):
        ax.axvline(jamming(flows), color="0.75", linewidth=5, alpha=0.5, zorder=0)
        ax.set_xscale("log")
        ax.set_xticks(chains.h.values, [str(h) for h in chains.h.values])
        ax.minorticks_off()
        ax.set_xlabel("width h of both hidden layers")
    bottom = min(ax.get_ylim()[0] for ax in (low, high))
    top = max(ax.get_ylim()[1] for ax in (low, high))
    for ax in (low, high):
        ax.set_ylim(bottom, top)
    figure.suptitle(
        f"digits, parity, 10 principal components, P = {chains.num_train}; "
        f"{chains.sizes['seed']} training sets × {chains.num_chains} chains "
        f"(± 1 s.e. over the training sets); grey: half of the flows fit",
        fontsize="medium",
    )
    return figure


def _norms(ax: Axes, results: Results) -> None:
    chains, flows = results["chains"], results["flows"]
    along(ax, flows.norm, geometric, fmt="k^-", label="T = 0 (gradient flow)")
    for temperature, colour in reversed(by_temperature(results)):
        along(
            ax, chains.norm.sel(T=temperature), geometric, fmt="o-", color=colour,
            label=f"T = {temperature:g}",
        )  # fmt: skip
    ax.set_yscale("log")
    ax.set_ylabel("norm of the output ⟨f²⟩")
    ax.set_title("is there a cusp at T > 0?", fontsize="medium")
    ax.legend(frameon=False, fontsize="small")


def _errors(ax: Axes, results: Results, temperature: float) -> None:
    chains, flows = results["chains"].sel(T=temperature), results["flows"]
    along(ax, flows.draw, fmt="^:", color="0.4", label="T = 0: one flow")
    along(ax, flows.ensemble, fmt="v--", color="0.4", label=f"T = 0: {flows.num_flows} flows")
    for key, (label, marker, colour) in ERROR_STYLES.items():
        along(ax, chains[key], fmt=f"{marker}-", color=colour, label=label)
    ax.set_ylabel("fraction of test points wrong")
    ax.set_title(f"errors at T = {temperature:g}", fontsize="medium")
    ax.legend(frameon=False, fontsize="small")


def _lengths(mixing: Axes, gap: Axes, results: Results, temperature: float) -> None:
    short = results["shorter"].sel(T=temperature)
    whole = results["chains"].sel(T=temperature)
    widths = [h for h in (4, 6, 8, 20) if h in short.h] or list(short.h.values)
    for h, colour in zip(widths, ("#D55E00", "#E69F00", "#009E73", "#0072B2"), strict=False):
        curves = short.sel(h=h)
        estimates = [ratio(curves.between.sel(t=t), whole.total.sel(h=h)) for t in short.t]
        mixing.errorbar(short.t, [value.value for value in estimates],
                        [value.mcse for value in estimates], fmt="o-",
                        color=colour, capsize=2, markersize=4, label=f"h = {h}")  # fmt: skip
        estimates = [estimate(curves.chain.sel(t=t) - whole.ensemble.sel(h=h)) for t in short.t]
        gap.errorbar(short.t, [value.value for value in estimates],
                     [value.mcse for value in estimates], fmt="o-",
                     color=colour, capsize=2, markersize=4, label=f"h = {h}")  # fmt: skip
    mixing.plot(short.t, 1 / short.t, color="0.4", linestyle="--", label="independent draws, 1/t")
    mixing.set_yscale("log")
    mixing.set_ylabel("B(t)/V, variance between chains' means")
    gap.axhline(0, color="0.4", linewidth=1)
    gap.set_ylabel("error, mean of a chain − mean of all")
    for ax in (mixing, gap):
        ax.set_xscale("log", base=2)
        ax.set_xticks(short.t.values, [str(t) for t in short.t.values])
        ax.set_xlabel("draws in the chain, t")
        ax.set_title(f"longer chains at T = {temperature:g}", fontsize="medium")
    mixing.legend(frameon=False, fontsize="small")
    gap.legend(
        frameon=False, fontsize="small", ncols=2, loc="center right", bbox_to_anchor=(1, 0.41)
    )


def share(results: xr.Dataset) -> Estimate:
    """The share (draw − chain)/(draw − ensemble) of the ensemble's gain that a chain's mean has."""
    return ratio(results.draw - results.chain, results.draw - results.ensemble)


def mixed(results: xr.Dataset) -> bool:
    return bool((results.rhat < MIXED_RHAT).all() and (results.stuck == 0).all())


def _map(ax: Axes, results: Results) -> None:
    chains = results["chains"]
    temperatures, widths = chains["T"].values, chains.h.values
    values = [[share(chains.sel(T=T, h=h)).value for h in widths] for T in temperatures]
    values = np.array([[0.0] * len(widths), *values])
    image = ax.imshow(values, origin="lower", aspect="auto", cmap="viridis", vmin=0, vmax=1)
    ax.figure.colorbar(image, ax=ax, label="(draw − chain)/(draw − ensemble)")
    for (row, column), value in np.ndenumerate(values):
        dark = value < 0.6
        is_mixed = row == 0 or mixed(chains.isel(T=row - 1, h=column))
        text = f"{value:.2f}" + ("" if is_mixed else "*")
        ax.text(column, row, text, ha="center", va="center", fontsize="small",
                color="white" if dark else "black")  # fmt: skip
    ax.set_xticks(range(len(widths)), [str(h) for h in widths])
    ax.set_yticks(range(len(temperatures) + 1), ["0", *(f"{T:g}" for T in temperatures)])
    ax.set_xlabel("width h of both hidden layers")
    ax.set_ylabel("temperature T")
    title = "what one chain has of the ensemble's gain\n(* not mixed, or a chain stands still)"
    ax.set_title(title, fontsize="medium")


def tables(results: Results) -> str:
    parts = (_plane(results), _flows(results), _ladder(results))
    return "\n\n".join(parts)


def _cells(results: xr.Dataset, keys: tuple[str, ...]) -> list[str]:
    return [plus_minus(estimate(results[key])) for key in keys]


def _plane(results: Results) -> str:
    chains = results["chains"]
    heads = ["T", "h", "⟨f²⟩", "one draw", "mean of a chain", "mean of all chains",
             "draw − chain", "chain − all", "share", "chain − flows",
             "B/V", "R̂", "stuck"]  # fmt: skip
    rows = []
    for T in chains["T"].values:
        for h in chains.h.values:
            point = chains.sel(T=T, h=h)
            rows.append([
                f"{T:g}", str(h), plus_minus(geometric(point.norm)),
                *_cells(point, ("draw", "chain", "ensemble")),
                plus_minus(estimate(point.draw - point.chain)),
                plus_minus(estimate(point.chain - point.ensemble)),
                plus_minus(share(point)),
                plus_minus(estimate(point.chain - results["flows"].ensemble.sel(h=h))),
                plus_minus(ratio(point.between, point.total)),
                f"{float(point.rhat.max()):.2f}",
                f"{int(point.stuck.sum())} of {point.stuck.size * chains.num_chains}",
            ])  # fmt: skip
    return markdown(heads, rows)


def _flows(results: Results) -> str:
    flows = results["flows"]
    heads = ["T = 0, h", "fitted", "N_Δ", "⟨f²⟩", "one flow",
             f"mean of {results['chains'].num_chains}", f"mean of {flows.num_flows}"]  # fmt: skip
    rows = [
        [str(h), f"{float(flows.fitted.sel(h=h).mean()):.2f}",
         f"{float(flows.unsatisfied.sel(h=h).mean()):.1f}",
         plus_minus(geometric(flows.norm.sel(h=h))),
         *_cells(flows.sel(h=h), ("draw", "few", "ensemble"))]
        for h in flows.h.values
    ]  # fmt: skip
    return markdown(heads, rows)


def _ladder(results: Results) -> str:
    """A table of the ladders and of the chains of the same seeds without one."""
    ladder = results["ladder"]
    heads = ["h", "seed", "", "⟨f²⟩", "one draw", "mean of a chain", "mean of all chains", "B/V",
             "R̂", "stuck", "round trips"]  # fmt: skip
    rows = []
    for h in ladder.h.values:
        for seed in ladder.seed.values:
            alone = results["chains"].sel(T=float(ladder["T"]), h=h, seed=seed)
            for kind, numbers in (("alone", alone), ("ladder", ladder.sel(h=h, seed=seed))):
                cells = [plus_minus(Estimate(float(numbers[key]), float(numbers[f"{key}_mcse"])))
                         for key in ("norm", "draw", "chain", "ensemble")]  # fmt: skip
                trips = f"{int(numbers.round_trips)}" if "round_trips" in numbers else ""
                between_share = f"{float(numbers.between / numbers.total):.3f}"
                rows.append([str(h), str(seed), kind, *cells, between_share,
                             f"{float(numbers.rhat):.2f}", f"{int(numbers.stuck)}",
                             trips])  # fmt: skip
    return markdown(heads, rows)
