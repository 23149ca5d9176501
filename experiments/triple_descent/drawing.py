"""The figure and the tables of the experiment."""

import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from experiments.common import legend_below, markdown
from experiments.triple_descent.parts import PARTS
from experiments.triple_descent.points import (
    ACTIVATIONS,
    NOISE,
    RIDGES,
    THEORY_FIELDS,
    named,
    predicted,
)
from langevin_nn import theory
from langevin_nn.estimates import plus_minus
from langevin_nn.types import Estimate

NOISES = ((0.0, "#0072B2", "o"), (0.5, "#009E73", "s"), (5.0, "#D55E00", "^"))
"""The noise variances τ² with their colours and markers."""
LINE = np.geomspace(0.2, 10, 80)
TITLES = {"absolute": "|z|", "identity": "linear"}
SOURCES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "digits": "digits"}


def error_of(numbers: xr.DataArray, noise: float, predictor: str = "") -> np.ndarray:
    """The error B + τ²V of one network, or of the ensemble."""
    names = ("ensemble_bias", "ensemble_noise") if predictor else ("bias_factor", "noise_factor")
    bias, factor = (numbers.sel(field=name).to_numpy() for name in names)
    return bias + noise * factor


def spread_of(errors: xr.DataArray, noise: float, predictor: str = "") -> np.ndarray:
    names = ("ensemble_bias", "ensemble_noise") if predictor else ("bias_factor", "noise_factor")
    bias, factor = (errors.sel(field=name).to_numpy() for name in names)
    return np.hypot(bias, noise * factor)


def curve(name: str, ridge: float, ensemble: int, features: float, along: str) -> np.ndarray:
    """The limits (ratio, field) along P/N_0, or along N_1/N_0 at P/N_0 = `features`."""
    pairs = [(features, r) if along == "examples" else (r, features) for r in LINE]
    return np.array([predicted(name, *pair, ridge, ensemble) for pair in pairs])


def figure(points: xr.Dataset, parts: xr.Dataset, fixed: float) -> Figure:
    new_figure = Figure(figsize=(13.5, 7), layout="constrained")
    panels = new_figure.subplots(2, 4)
    along_p = points.where(points.features == fixed, drop=True)
    columns = {name: i for i, name in enumerate(THEORY_FIELDS)}
    for ax, name in zip(panels[0], ACTIVATIONS, strict=True):
        curve_data = along_p.where(along_p.activation == name, drop=True).sel(ridge=RIDGES[0])
        lines = curve(name, RIDGES[0], 1, fixed, "examples")
        for noise, colour, marker in NOISES:
            expected = lines[:, columns["bias_factor"]] + noise * lines[:, columns["noise_factor"]]
            ax.plot(LINE, expected, color=colour, linewidth=1.2)
            values, errors = (
                error_of(curve_data.value, noise),
                spread_of(curve_data.error, noise),
            )
            ax.errorbar(curve_data.examples, values, errors, fmt=marker, color=colour,
                        markersize=4, label=f"τ² = {noise:g}")  # fmt: skip
        moments = theory.feature_moments(named(name))
        linearity = moments.linear_power / moments.centred_power
        _dress(ax, f"{TITLES.get(name, name)}, r = {linearity:.2f}", fixed)
        ax.set_xlabel("P/N_0")
    panels[0, 0].set_ylabel(f"test error, ridge {RIDGES[0]:g}")
    _cures(panels[1, 0], along_p, fixed, int(points.attrs["ensemble"]), columns)
    _parts(panels[1, 1], parts, fixed)
    _along_width(panels[1, 2], points, fixed, columns)
    _plane(new_figure, panels[1, 3])
    legend_below(new_figure, panels[0, 0])
    return new_figure


def _dress(ax, title: str, fixed: float) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    for place in (1, fixed):
        ax.axvline(place, color="0.8", linewidth=0.8, zorder=0)
    ax.set_xticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
    ax.minorticks_off()
    ax.set_title(title, fontsize="small")


def _cures(ax, along_p: xr.Dataset, fixed: float, ensemble: int, columns) -> None:
    """Draw the error of tanh with noise: one network, an ensemble, and a larger ridge."""
    noise = 5.0
    points = along_p.where(along_p.activation == "tanh", drop=True)
    cases = (
        ("one network", RIDGES[0], "", "#D55E00", "^"),
        (f"ensemble of {ensemble}", RIDGES[0], "ensemble", "#CC79A7", "D"),
        (f"ridge {RIDGES[1]:g}", RIDGES[1], "", "0.3", "v"),
    )
    for label, ridge, predictor, colour, marker in cases:
        lines = curve("tanh", ridge, ensemble, fixed, "examples")
        names = (
            ("ensemble_bias", "ensemble_noise") if predictor else ("bias_factor", "noise_factor")
        )
        ax.plot(LINE, lines[:, columns[names[0]]] + noise * lines[:, columns[names[1]]],
                color=colour, linewidth=1.2)  # fmt: skip
        point = points.sel(ridge=ridge)
        ax.errorbar(point.examples, error_of(point.value, noise, predictor),
                    spread_of(point.error, noise, predictor), fmt=marker, color=colour,
                    markersize=4, label=label)  # fmt: skip
    _dress(ax, "tanh, τ² = 5: what removes a peak", fixed)
    ax.set_xlabel("P/N_0")
    ax.set_ylabel("test error")
    ax.legend(frameon=False, fontsize="x-small")


PART_COLOURS = {
    "bias2": "black", "sampling": "#56B4E9", "initialisation": "#009E73", "noise": "#D55E00",
}  # fmt: skip


def _parts(ax, parts: xr.Dataset, fixed: float) -> None:
    """Draw bias and variances of tanh with noise, measured and in the limit."""
    rows = [
        theory.random_feature_decomposition(
            named("tanh"), fixed, ratio, temperature=RIDGES[0], noise_variance=5.0
        )
        for ratio in LINE
    ]
    infinite_ensemble = [
        theory.random_feature_decomposition(
            named("tanh"), fixed, ratio, temperature=RIDGES[0], noise_variance=5.0,
            num_ensemble=1_000_000,
        ).noise
        for ratio in LINE
    ]  # fmt: skip
    for name, colour in PART_COLOURS.items():
        of_limit = {"bias2": "bias"}.get(name, name)
        ax.plot(LINE, [getattr(row, of_limit) for row in rows], color=colour, label=of_limit)
        point = parts.sel(part=name)
        resolved = (point.value > 3 * point.error).to_numpy()
        ax.errorbar(point.examples.to_numpy()[resolved], point.value.to_numpy()[resolved],
                    point.error.to_numpy()[resolved], fmt="o", color=colour,
                    markersize=3)  # fmt: skip
    ax.plot(
        LINE, infinite_ensemble, color="#D55E00", linestyle=":", label="noise, infinite ensemble"
    )
    _dress(ax, "tanh, τ² = 5: the parts", fixed)
    ax.set_ylim(1e-3, None)
    ax.set_xlabel("P/N_0")
    ax.legend(frameon=False, fontsize="x-small")


def _along_width(ax, points: xr.Dataset, fixed: float, columns) -> None:
    width_points = points.where(points.examples == fixed, drop=True).sel(ridge=RIDGES[0])
    for name, marker, fill in (("tanh", "^", "full"), ("relu", "s", "none")):
        lines = curve(name, RIDGES[0], 1, fixed, "features")
        point = width_points.where(width_points.activation == name, drop=True)
        for noise, colour in ((5.0, "#D55E00"), (0.0, "#0072B2")):
            values = lines[:, columns["bias_factor"]] + noise * lines[:, columns["noise_factor"]]
            ax.plot(LINE, values, color=colour, linewidth=1.2,
                    linestyle="-" if name == "tanh" else "--")  # fmt: skip
            ax.errorbar(point.features, error_of(point.value, noise), spread_of(point.error, noise),
                        fmt=marker, color=colour, markersize=4, fillstyle=fill,
                        label=f"{name}, τ² = {noise:g}")  # fmt: skip
    _dress(ax, f"over N_1/N_0, P/N_0 = {fixed:g}", fixed)
    ax.set_xlabel("N_1/N_0")
    ax.legend(frameon=False, fontsize="x-small")


def _plane(new_figure: Figure, ax) -> None:
    ratios = np.geomspace(0.2, 10, 45)
    plane = np.array([
        [theory.random_feature_error(named("tanh"), psi1, psi2, temperature=RIDGES[0],
                                     noise_variance=5.0).test_error for psi1 in ratios]
        for psi2 in ratios
    ])  # fmt: skip
    image = ax.pcolormesh(ratios, ratios, plane, norm=LogNorm(), cmap="viridis", rasterized=True)
    new_figure.colorbar(image, ax=ax, label="test error")
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
    ax.minorticks_off()
    ax.set_xlabel("N_1/N_0")
    ax.set_ylabel("P/N_0")
    ax.set_title("tanh, τ² = 5: the plane (theory)", fontsize="small")


def table(points: xr.Dataset, fixed: float) -> str:
    """A table of measured and predicted test errors at τ² = 5 for the small ridge, by P/N_0."""
    heads = ["σ", "N_1/N_0", "P/N_0", "one network", "limit (σ)", "ensemble", "limit (σ)"]
    heads += ["thermal variance/T", "limit (σ)"]
    rows = []
    for place in range(points.sizes["point"]):
        point = points.isel(point=place).sel(ridge=RIDGES[0])
        cells = [TITLES.get(str(point.activation.item()), str(point.activation.item()))]
        cells += [f"{point.features.item():g}", f"{point.examples.item():g}"]
        for value, error, expected in (
            *((error_of(point.value, 5.0, which), spread_of(point.error, 5.0, which),
               error_of(point.theory, 5.0, which)) for which in ("", "ensemble")),
            tuple(part.sel(field="thermal_factor").item()
                  for part in (point.value, point.error, point.theory)),
        ):  # fmt: skip
            cells.append(plus_minus(Estimate(float(value), float(error))))
            cells.append(f"{float(expected):.4g} ({(value - expected) / error:+.1f})")
        rows.append(cells)
    return markdown(heads, rows)


def parts_table(parts: xr.Dataset, fixed: float) -> str:
    """A table of the parts of tanh's error at τ² = 5, measured and in the limit."""
    heads = ["P/N_0"] + [f"{head}, limit (σ)" for head in ("bias", *PARTS[1:])]
    rows = []
    for ratio in parts.examples.values:
        limit = theory.random_feature_decomposition(
            named("tanh"), fixed, float(ratio), temperature=RIDGES[0], noise_variance=NOISE
        )
        cells = [f"{ratio:g}"]
        for name in PARTS:
            point = parts.sel(examples=ratio, part=name)
            value, error = float(point.value), float(point.error)
            expected = getattr(limit, {"bias2": "bias"}.get(name, name))
            measured = plus_minus(Estimate(value, error))
            cells.append(f"{measured}, {expected:.3g} ({(value - expected) / error:+.1f})")
        rows.append(cells)
    return markdown(heads, rows)


CURE_LOOKS = {
    "one network": ("#D55E00", "^"), "ensemble": ("#CC79A7", "D"), "bagged": ("#0072B2", "o"),
    "ridge": ("0.3", "v"),
}  # fmt: skip


def images(results: xr.Dataset, fixed: float) -> Figure:
    """A figure with a panel for each set of images."""
    num_sources = results.sizes["source"]
    new_figure = Figure(figsize=(0.5 + 4.5 * num_sources, 3.9), layout="constrained")
    panels = new_figure.subplots(1, num_sources, squeeze=False)[0]
    labels = {
        "ensemble": f"ensemble of {results.attrs['ensemble']}",
        "bagged": f"mean over {results.attrs['ensemble']} draws of the noise",
        "ridge": f"one network, ridge {RIDGES[1]:g}",
    }
    for ax, source in zip(panels, results.source.values, strict=True):
        for cure, (colour, marker) in CURE_LOOKS.items():
            point = results.sel(source=source, cure=cure)
            ax.errorbar(point.examples, point.value, point.error, fmt=f"{marker}-", color=colour,
                        markersize=4, linewidth=1, label=labels.get(cure, cure))  # fmt: skip
        _dress(ax, f"{SOURCES[str(source)]}, tanh, τ² = {NOISE:g}", fixed)
        ax.set_xlabel(f"P/N_0, N_0 = {results.attrs['components']} components")
    panels[0].set_ylabel(f"test error, ridge {RIDGES[0]:g}")
    legend_below(new_figure, panels[0], ncols=2)
    return new_figure


def images_table(results: xr.Dataset) -> str:
    heads = ["data", "P/N_0", *results.cure.values]
    rows = []
    for source in results.source.values:
        for ratio in results.examples.values:
            point = results.sel(source=source, examples=ratio)
            cells = [SOURCES[str(source)], f"{ratio:g}"]
            for cure in results.cure.values:
                cure_point = point.sel(cure=cure)
                cells.append(plus_minus(Estimate(float(cure_point.value), float(cure_point.error))))
            rows.append(cells)
    return markdown(heads, rows)


def agreement(results: xr.Dataset) -> str:
    """A line on the deviations of all numbers from their limits, absolute and relative."""
    z = ((results.value - results.theory) / results.error).to_numpy()
    relative = np.abs(results.value / results.theory - 1).to_numpy()
    finite = np.isfinite(z)
    return (
        f"{finite.sum()} numbers: median |z| {np.median(np.abs(z[finite])):.2f}, "
        f"{100 * np.mean(np.abs(z[finite]) < 2):.0f} % within 2 standard errors, "
        f"median relative deviation {100 * np.nanmedian(relative):.2f} %, "
        f"largest {100 * np.nanmax(relative[finite]):.0f} %"
    )
