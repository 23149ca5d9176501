"""Maps of the theories' deviations from the exact sampler over (N_1, λ_1).

    python -m experiments.validity_map [--smoke | --full | --draw] [FOLDER]

Sweeps config.toml (full.toml with --full), keeps results.json and draws validity_map.png (in per
cent) and validity_map_sigmas.png (in standard errors) in FOLDER (this one), and prints how much of
the map each theory has right; --draw makes the figures again from results.json.
"""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.common import Call, Results, experiment, markdown, mnist_caption, table, verdicts
from langevin_nn.analysis.comparison import grid_deviations
from langevin_nn.result_text import QUANTITIES

WIDTH, PRECISION = "network.hidden_widths[0]", "prior.precisions[-1]"
SHOWN = ("bias2", "variance")
WITHIN = (1, 2, 5, 10)


def draw_map(results: xr.Dataset, unit: str, caption: str) -> Figure:
    """A figure with a row for each quantity and a column for each theory."""
    theories = [str(name) for name in results.theory.values]
    figure = Figure(figsize=(2.6 * len(theories) + 1, 6.6), layout="constrained")
    panels = figure.subplots(len(SHOWN), len(theories), sharex=True, sharey=True)
    for row, quantity in zip(panels, SHOWN, strict=True):
        for ax, theory in zip(row, theories, strict=True):
            mesh = lnn.plotting.plot_deviation_map(
                ax, results, theory, quantity, WIDTH, PRECISION, unit=unit
            )
            ax.set_title(f"{QUANTITIES[quantity]}, {theory}", fontsize="small")
            ax.set_ylabel("λ_1")
            ax.label_outer()
    labels = {
        "per cent": "experiment / theory − 1  (%)",
        "sigmas": "(experiment − theory) / standard error",
    }
    figure.colorbar(mesh, ax=panels, label=labels[unit], extend="both", pad=0.01)
    figure.suptitle(caption, fontsize="medium")
    return figure


def shares(results: xr.Dataset) -> str:
    """A table of each theory's share of points within some per cent, and its largest deviation."""
    heads = ["", "theory", *(f"within {limit} %" for limit in WITHIN), "within 2σ", "largest"]
    rows = []
    for quantity in SHOWN:
        deviations = grid_deviations(results, quantity)
        for theory in results.theory.values:
            relative = 100 * np.abs(deviations["relative"].sel(theory=theory).to_numpy())
            z = np.abs(deviations["z"].sel(theory=theory).to_numpy())
            cells = [f"{np.sum(relative < limit)}/{relative.size}" for limit in WITHIN]
            largest = f"{np.nanmax(relative):.3g} %"
            if num_negative := int(np.isnan(relative).sum()):
                largest += f", negative at {num_negative}"
            cells += [f"{np.sum(z < 2)}/{z.size}", largest]
            rows.append([QUANTITIES[quantity], str(theory), *cells])
    return markdown(heads, rows)


def measure(call: Call) -> dict[str, xr.Dataset]:
    values = call.values()
    caption = mnist_caption(values) + "; in brackets: below 2σ"
    return {"map": call.swept(values).assign_attrs(caption=caption)}


def draw(results: Results) -> dict[str, Figure]:
    deviation_map = results["map"]
    return {
        "validity_map": draw_map(deviation_map, "per cent", deviation_map.caption),
        "validity_map_sigmas": draw_map(
            deviation_map, "sigmas", deviation_map.caption.split(";")[0]
        ),
    }


def report(results: Results) -> str:
    deviation_map = results["map"]
    theories = [str(name) for name in deviation_map.theory.values]
    return "\n\n".join(
        [shares(deviation_map), table(deviation_map, theories), verdicts(deviation_map)]
    )


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
