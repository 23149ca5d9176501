"""The figure and the tables, from what results.json holds.

Standard errors are over the seeds, whose training examples, test examples and chains are their own;
differences between errors are taken seed by seed first.
"""

from collections.abc import Callable

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.common import Results, markdown
from langevin_nn.analysis.comparison import plus_minus
from langevin_nn.analysis.resampling import independent_mean
from langevin_nn.types import Estimate

COLOURS = ("#D55E00", "#E69F00", "#009E73", "#0072B2", "#56B4E9")
"""Of the temperatures, the hottest first; T = 0 is black."""
WHAT = {
    "draw": ("one draw", "o", "#0072B2"),
    "chain": ("mean of one chain", "s", "#009E73"),
    "ensemble": ("mean of all chains", "D", "#D55E00"),
}
MIXED = 1.1
"""R̂ of f at 90 % of the test points, in every seed."""


def estimate(values: xr.DataArray) -> Estimate:
    """Mean over the seeds and its standard error."""
    return independent_mean(values.to_numpy().ravel())


def geometric(values: xr.DataArray) -> Estimate:
    """Geometric mean over the seeds, among which norms below jamming differ by factors."""
    logs = estimate(np.log(values))
    return Estimate(float(np.exp(logs.value)), float(np.exp(logs.value) * logs.mcse))


def ratio(above: xr.DataArray, below: xr.DataArray) -> Estimate:
    """Of the means over the seeds, with the jackknife's error over the seeds."""
    a, b = above.to_numpy().ravel(), below.to_numpy().ravel()
    count = a.size
    with np.errstate(divide="ignore", invalid="ignore"):
        without = (a.sum() - a) / (b.sum() - b)
    return Estimate(float(a.sum() / b.sum()), float(np.std(without) * np.sqrt(count - 1)))


def along(
    ax: Axes,
    found: xr.DataArray,
    of: Callable[[xr.DataArray], Estimate] = estimate,
    **style: object,
) -> None:
    """A quantity (h, seed) against h with its error bars."""
    each = [of(found.sel(h=h)) for h in found.h]
    ax.errorbar(found.h, [e.value for e in each], [e.mcse for e in each], capsize=2, markersize=4,
                linewidth=1.2, **style)  # type: ignore[arg-type]  # fmt: skip


def jamming(flows: xr.Dataset) -> float:
    """h where half of the flows fit, between the two widths around it."""
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
    for key, (words, marker, colour) in WHAT.items():
        along(ax, chains[key], fmt=f"{marker}-", color=colour, label=words)
    ax.set_ylabel("fraction of test points wrong")
    ax.set_title(f"errors at T = {temperature:g}", fontsize="medium")
    ax.legend(frameon=False, fontsize="small")


def _lengths(mixing: Axes, gap: Axes, results: Results, temperature: float) -> None:
    short = results["shorter"].sel(T=temperature)
    whole = results["chains"].sel(T=temperature)
    chosen = [h for h in (4, 6, 8, 20) if h in short.h] or list(short.h.values)
    for h, colour in zip(chosen, ("#D55E00", "#E69F00", "#009E73", "#0072B2"), strict=False):
        at = short.sel(h=h)
        each = [ratio(at.between.sel(t=t), whole.total.sel(h=h)) for t in short.t]
        mixing.errorbar(short.t, [e.value for e in each], [e.mcse for e in each], fmt="o-",
                        color=colour, capsize=2, markersize=4, label=f"h = {h}")  # fmt: skip
        each = [estimate(at.chain.sel(t=t) - whole.ensemble.sel(h=h)) for t in short.t]
        gap.errorbar(short.t, [e.value for e in each], [e.mcse for e in each], fmt="o-",
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


def share(found: xr.Dataset) -> Estimate:
    """(draw − chain)/(draw − ensemble): of the gain of the ensemble, what one chain's mean has."""
    return ratio(found.draw - found.chain, found.draw - found.ensemble)


def mixed(found: xr.Dataset) -> bool:
    return bool((found.rhat < MIXED).all() and (found.stuck == 0).all())


def _map(ax: Axes, results: Results) -> None:
    chains = results["chains"]
    temperatures, widths = chains["T"].values, chains.h.values
    values = [[share(chains.sel(T=T, h=h)).value for h in widths] for T in temperatures]
    values = np.array([[0.0] * len(widths), *values])
    image = ax.imshow(values, origin="lower", aspect="auto", cmap="viridis", vmin=0, vmax=1)
    ax.figure.colorbar(image, ax=ax, label="(draw − chain)/(draw − ensemble)")
    for (row, column), value in np.ndenumerate(values):
        dark = value < 0.6
        here = row == 0 or mixed(chains.isel(T=row - 1, h=column))
        text = f"{value:.2f}" + ("" if here else "*")
        ax.text(column, row, text, ha="center", va="center", fontsize="small",
                color="white" if dark else "black")  # fmt: skip
    ax.set_xticks(range(len(widths)), [str(h) for h in widths])
    ax.set_yticks(range(len(temperatures) + 1), ["0", *(f"{T:g}" for T in temperatures)])
    ax.set_xlabel("width h of both hidden layers")
    ax.set_ylabel("temperature T")
    words = "what one chain has of the ensemble's gain\n(* not mixed, or a chain stands still)"
    ax.set_title(words, fontsize="medium")


def tables(results: Results) -> str:
    parts = (_plane(results), _flows(results), _ladder(results))
    return "\n\n".join(parts)


def _cells(found: xr.Dataset, keys: tuple[str, ...]) -> list[str]:
    return [plus_minus(estimate(found[key])) for key in keys]


def _plane(results: Results) -> str:
    chains = results["chains"]
    heads = ["T", "h", "⟨f²⟩", "one draw", "mean of a chain", "mean of all chains",
             "draw − chain", "chain − all", "share", "chain − flows",
             "B/V", "R̂", "stuck"]  # fmt: skip
    rows = []
    for T in chains["T"].values:
        for h in chains.h.values:
            at = chains.sel(T=T, h=h)
            rows.append([
                f"{T:g}", str(h), plus_minus(geometric(at.norm)),
                *_cells(at, ("draw", "chain", "ensemble")),
                plus_minus(estimate(at.draw - at.chain)),
                plus_minus(estimate(at.chain - at.ensemble)),
                plus_minus(share(at)),
                plus_minus(estimate(at.chain - results["flows"].ensemble.sel(h=h))),
                plus_minus(ratio(at.between, at.total)),
                f"{float(at.rhat.max()):.2f}",
                f"{int(at.stuck.sum())} of {at.stuck.size * chains.num_chains}",
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
    """A ladder beside the chains of the same seeds without one."""
    ladder = results["ladder"]
    heads = ["h", "seed", "", "⟨f²⟩", "one draw", "mean of a chain", "mean of all chains", "B/V",
             "R̂", "stuck", "round trips"]  # fmt: skip
    rows = []
    for h in ladder.h.values:
        for seed in ladder.seed.values:
            alone = results["chains"].sel(T=float(ladder["T"]), h=h, seed=seed)
            for words, at in (("alone", alone), ("ladder", ladder.sel(h=h, seed=seed))):
                cells = [plus_minus(Estimate(float(at[key]), float(at[f"{key}_mcse"])))
                         for key in ("norm", "draw", "chain", "ensemble")]  # fmt: skip
                trips = f"{int(at.round_trips)}" if "round_trips" in at else ""
                apart = f"{float(at.between / at.total):.3f}"
                rows.append([str(h), str(seed), words, *cells, apart,
                             f"{float(at.rhat):.2f}", f"{int(at.stuck)}", trips])  # fmt: skip
    return markdown(heads, rows)
