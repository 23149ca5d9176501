"""The stripe model: learning curves of the lazy and the feature regime, and how features are made.

    python -m experiments.stripe [--smoke | --full | --draw] [FOLDER]

Trains on the stripe model at the sizes in measuring.py, keeps results.json and draws stripe.png in
FOLDER (this one), and prints the tables; --draw makes the figure again from results.json.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from experiments.common import Call, Results, experiment, markdown
from experiments.stripe.measuring import SIZES, amplified, lazy, trained
from langevin_nn.analysis.resampling import independent_mean
from langevin_nn.estimates import plus_minus
from langevin_nn.types import Estimate

COLOURS = {2: "#009E73", 5: "#0072B2", 10: "#D55E00"}
NUM_FITTED_SIZES = 4
"""The number of largest sizes to which an exponent is fitted."""


def predicted(regime: str, dimension: int) -> float:
    """The exponent β of arXiv:2007.11471 for one informative direction."""
    over = 3 * dimension - 2
    return (dimension if regime == "lazy" else 2 * dimension - 1) / over


def exponent(values: xr.DataArray, sign: float = -1.0) -> Estimate:
    """The exponent of values ~ P^(sign · exponent): mean and error of a fit to each task."""
    fitted_values = values.isel(P=slice(-NUM_FITTED_SIZES, None))
    slopes = [sign * np.polyfit(np.log(fitted_values.P), np.log(fitted_values.sel(task=task)), 1)[0]
              for task in range(fitted_values.sizes["task"])]  # fmt: skip
    return independent_mean(np.array(slopes))


def mean(values: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """The mean over the tasks, with its standard error."""
    error = values.std("task", ddof=1) / np.sqrt(values.sizes["task"])
    return values.mean("task").to_numpy(), error.to_numpy()


def curve(ax: Axes, values: xr.DataArray, colour: str, fmt: str, label: str) -> None:
    ax.errorbar(values.P, *mean(values), fmt=fmt, color=colour, markersize=4, capsize=2,
                linewidth=1.2, label=label)  # fmt: skip


def guide(ax: Axes, values: xr.DataArray, power: float, colour: str) -> None:
    """Draw the predicted power through the middle of the fitted sizes."""
    fitted_values = values.isel(P=slice(-NUM_FITTED_SIZES, None))
    level = np.exp(np.mean(np.log(fitted_values.mean("task")) - power * np.log(fitted_values.P)))
    ax.plot(
        fitted_values.P,
        float(level) * fitted_values.P.astype(float) ** power,
        "--",
        color=colour,
        linewidth=1,
    )


def draw(results: Results) -> Figure:
    kernel, flow, growth = (results[name] for name in ("lazy", "trained", "amplified"))
    figure = Figure(figsize=(11, 6.6), layout="constrained")
    panels = figure.subplots(2, 3)
    ax = panels[0, 0]
    for d in kernel.d.values:
        values = kernel.error.sel(d=d)
        curve(ax, values, COLOURS[d], "o", f"d = {d}")
        guide(ax, values, -predicted("lazy", d), COLOURS[d])
    ax.set_title("lazy: support vectors, exact tangent kernel", fontsize="small")
    ax = panels[0, 1]
    for d in flow.d.values:
        values = flow.error.sel(d=d)
        curve(ax, kernel.error.sel(d=d, P=flow.P), COLOURS[d], "o:", f"lazy, d = {d}")
        curve(ax, values, COLOURS[d], "s", f"features, d = {d}")
        guide(ax, values, -predicted("features", d), COLOURS[d])
    ax.set_title(f"gradient flow at α̃ = {flow.scale:g}, {flow.width} units", fontsize="small")
    for ax, panel_results in zip(panels[0, :2], (kernel, flow), strict=True):
        logarithmic(ax, panel_results.P, "test error")
        ax.legend(fontsize="x-small", frameon=False)
    ax = panels[0, 2]
    for scale, fmt in zip(growth.scale.values, ("o", "^"), strict=True):
        for d in growth.d.values:
            values = growth.amplification.sel(scale=scale, d=d)
            curve(ax, values, COLOURS[d], fmt, f"α̃ = {scale:g}, d = {d}")
            guide(ax, values, 0.5, COLOURS[d])
    logarithmic(ax, growth.P, "Λ when 10 % are fitted")
    ax.set_title("amplification of the informative direction", fontsize="small")
    ax.legend(fontsize="x-small", frameon=False, ncols=2)
    picture(panels[1, :2], growth)
    components(panels[1, 2], flow)
    return figure


def logarithmic(ax: Axes, numbers: xr.DataArray, label: str) -> None:
    ax.set(xscale="log", yscale="log", xlabel="P", ylabel=label)
    ax.set_xticks(numbers.values, [str(number) for number in numbers.values])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(top=2 * ax.get_ylim()[1])  # for the legend


def picture(panels: np.ndarray, growth: xr.Dataset) -> None:
    """Draw a dot for each hidden unit, in units of the root mean square of both directions."""
    titles = "weights at the start", "when 10 % are fitted"
    for ax, when, title in zip(panels, growth.when.values, titles, strict=True):
        along, across = growth.weights.sel(when=when).to_numpy()
        unit = np.sqrt(np.mean(along**2 + across**2) / 2)
        ax.plot(across / unit, along / unit, ".", color="#0072B2", markersize=4)
        reach = 1.1 * max(np.max(np.abs(along)), np.max(np.abs(across))) / unit
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="weight across the normal",
               ylabel="weight along it", aspect="equal")  # fmt: skip
        setting = (
            f"d = {growth.pictured}, P = {growth.P.values[-1]}, α̃ = {growth.scale.values[-1]:g}"
        )
        ax.set_title(f"{title} ({setting})", fontsize="small")


def components(ax: Axes, flow: xr.Dataset) -> None:
    """Draw the part of the labels in the leading principal components of the tangent kernel."""
    for d in flow.d.values:
        for when, fmt in (("before", "o:"), ("after", "s-")):
            shares = flow.overlap.sel(d=d, when=when).cumsum("component")
            value, error = mean(shares)
            ax.errorbar(flow.component, value, error, fmt=fmt, color=COLOURS[d], markersize=4,
                        capsize=2, linewidth=1.2, label=f"{when} training, d = {d}")  # fmt: skip
    ax.set(xlabel="leading kernel components", ylabel="part of the labels in them",
           ylim=(0, 1.02))  # fmt: skip
    ax.set_title(f"kernel PCA, P = {flow.P.values[-1]}", fontsize="small")
    ax.legend(fontsize="small", frameon=False, loc="upper left")


def exponents(results: Results) -> str:
    kernel, flow, growth = (results[name] for name in ("lazy", "trained", "amplified"))
    rows = []
    for name, regime, results_of_regime in (
        ("β, lazy", "lazy", kernel),
        ("β, features", "features", flow),
    ):
        for d in results_of_regime.d.values:
            curve_values = results_of_regime.error.sel(d=d)
            values, errors = mean(curve_values)
            rows.append([name, str(d), span(curve_values), f"{predicted(regime, d):.3f}",
                         plus_minus(exponent(curve_values)),
                         plus_minus(Estimate(float(values[-1]), float(errors[-1])))])  # fmt: skip
    for scale in growth.scale.values:
        for d in growth.d.values:
            curve_values = growth.amplification.sel(scale=scale, d=d)
            values, errors = mean(curve_values)
            rows.append([f"Λ, α̃ = {scale:g}", str(d), span(curve_values), "0.5",
                         plus_minus(exponent(curve_values, 1.0)),
                         plus_minus(Estimate(float(values[-1]), float(errors[-1])))])  # fmt: skip
    return markdown(["exponent of", "d", "P", "predicted", "fitted", "at the largest P"], rows)


def span(values: xr.DataArray) -> str:
    numbers = values.P.values[-NUM_FITTED_SIZES:]
    return f"{numbers[0]}–{numbers[-1]}"


def machines(results: Results) -> str:
    """A table of the errors of the lazy machines at one P, and of the trained networks."""
    kernel, flow = results["lazy"], results["trained"]
    num_train = kernel.compared
    rows = []
    for d in kernel.d.values:
        cells = [str(d)]
        for machine in kernel.machine.values:
            cells.append(cell(kernel.compared_error.sel(d=d, machine=machine)))
        cells.append(cell(kernel.apart.sel(d=d)))
        cells.append(cell(flow.error.sel(d=d, P=num_train)) if d in flow.d else "–")
        rows.append(cells)
    heads = [*(str(name) for name in kernel.machine.values), "‖flow − SVM‖/‖SVM‖", "features"]
    return f"P = {num_train}\n\n" + markdown(["d", *heads], rows)


def cell(values: xr.DataArray) -> str:
    value, error = mean(values)
    return plus_minus(Estimate(float(value), float(error))) if np.isfinite(value) else "–"


def measure(call: Call) -> dict[str, xr.Dataset]:
    sizes = SIZES[call.size]
    return {
        "amplified": amplified(call, sizes),
        "lazy": lazy(call, sizes),
        "trained": trained(call, sizes),
    }


def report(results: Results) -> str:
    return f"{exponents(results)}\n\n{machines(results)}"


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
