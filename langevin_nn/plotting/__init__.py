"""Figures: axes in, axes out. The one importer of matplotlib.

Experiments are points with error bars of one standard error, theories are lines. `runs` draws one
run, `grids` the Dataset of a sweep.
"""

from langevin_nn.plotting.grids import over_seeds, places_of, plot_along, plot_deviation_map, symbol
from langevin_nn.plotting.overview import grid_figures
from langevin_nn.plotting.runs import (
    plot_deviations,
    plot_generalisation,
    plot_predictions,
    plot_ranks,
    plot_runs,
    plot_sweep,
    plot_traces,
    run_figures,
    runs_figure,
    theory_figure,
)
from langevin_nn.plotting.style import (
    CHAIN_COLOURS,
    EXPERIMENT_COLOUR,
    THEORY_STYLES,
    images,
    own_settings,
    pngs,
    save,
    save_as,
    style_of,
    svg,
)

__all__ = [
    "CHAIN_COLOURS",
    "EXPERIMENT_COLOUR",
    "THEORY_STYLES",
    "grid_figures",
    "images",
    "over_seeds",
    "own_settings",
    "places_of",
    "plot_along",
    "plot_deviation_map",
    "plot_deviations",
    "plot_generalisation",
    "plot_predictions",
    "plot_ranks",
    "plot_runs",
    "plot_sweep",
    "plot_traces",
    "pngs",
    "run_figures",
    "runs_figure",
    "save",
    "save_as",
    "style_of",
    "svg",
    "symbol",
    "theory_figure",
]
