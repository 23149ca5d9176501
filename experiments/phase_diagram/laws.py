"""Exponents of the change of the tangent kernel and of its fluctuations, as tables."""

import numpy as np
import xarray as xr

import langevin_nn as lnn
from experiments.common import markdown
from langevin_nn.analysis.resampling import independent_mean
from langevin_nn.analysis.scaling import PowerLaw
from langevin_nn.estimates import plus_minus
from langevin_nn.types import Estimate

DEPTH = 2
"""L, the number of hidden layers."""
LAZY_SCALE, FEATURE_SCALE = 1e4, 1e-1
"""The output scales α̃ above and below which the exponents of the two regimes are fitted."""
CROSSOVER_WIDTH_RATIO = 1.5
"""The width, in units of the jamming width, above which the cross-over's exponent is fitted."""


def slope(numbers: xr.Dataset, source: str, width: int, *, lazy: bool) -> Estimate:
    """The slope d log ρ / d log α̃ at one end, ρ = ‖ΔΘ‖/‖Θ_0‖: a fit to each network, averaged."""
    scales = numbers.scale.to_numpy()
    end = scales >= LAZY_SCALE if lazy else scales <= FEATURE_SCALE
    if end.sum() < 2:
        return Estimate(np.nan, np.nan)
    change = numbers.change.sel(source=source, width=width).to_numpy()[end]  # (scale, network)
    fitted = np.polyfit(np.log(scales[end]), np.log(change), 1)[0]
    return independent_mean(fitted)


def crossover(numbers: xr.Dataset, source: str, width: int) -> Estimate:
    """The α̃ at which ρ = 1: the mean of log α̃ over networks, each by interpolation of log ρ."""
    logs = np.log(numbers.scale.to_numpy())
    change = np.log(numbers.change.sel(source=source, width=width).to_numpy())
    places = []
    for log_change in change.T:
        above = np.flatnonzero(log_change >= 0)
        if not above.size or above[-1] + 1 == len(log_change):
            return Estimate(np.nan, np.nan)
        pair = slice(above[-1], above[-1] + 2)
        places.append(np.interp(0.0, log_change[pair][::-1], logs[pair][::-1]))
    mean = independent_mean(np.array(places))
    return Estimate(float(np.exp(mean.value)), float(np.exp(mean.value)) * mean.mcse)


def jamming(numbers: xr.Dataset, source: str, scale: float) -> float:
    """The width at which half of the networks fit, NaN where all or none of the widths do."""
    fitted = numbers.fitted.sel(source=source, scale=scale).to_numpy()
    below = np.flatnonzero(fitted < 0.5)
    if not below.size or below[-1] + 1 == len(fitted):
        return np.nan
    pair = slice(below[-1], below[-1] + 2)
    return float(np.exp(np.interp(0.5, fitted[pair], np.log(numbers.width.to_numpy()[pair]))))


def fluctuation(numbers: xr.Dataset, source: str) -> PowerLaw | None:
    """The power law in the width of the kernel's fluctuation at initialisation."""
    values = numbers.fluctuation.sel(source=source).to_numpy().tolist()
    return along_width(numbers, [Estimate(*row) for row in values])


def along_width(numbers: xr.Dataset, values: list[Estimate]) -> PowerLaw | None:
    """The power law of these values in the width; None where there are too few of them."""
    pairs = [(w, v) for w, v in zip(numbers.width.to_numpy(), values, strict=True) if v.value > 0]
    if len(pairs) < 3 or not all(estimate.mcse > 0 for _, estimate in pairs):
        return None
    widths = np.array([width for width, _ in pairs])
    return lnn.power_law(widths, [estimate for _, estimate in pairs])


def slopes(numbers: xr.Dataset) -> str:
    """A table of the slopes at both ends of the cross-over, and of its place, for each width."""
    heads = [
        "data", "h", f"slope, α̃ ≥ {LAZY_SCALE:g} (−1)",
        f"slope, α̃ ≤ {FEATURE_SCALE:g} (−{2 * DEPTH}/{DEPTH + 1})", "α̃ where ρ = 1",
    ]  # fmt: skip
    rows = []
    for source in numbers.source.values:
        for width in numbers.width.values:
            ends = [slope(numbers, source, width, lazy=lazy) for lazy in (True, False)]
            middle = crossover(numbers, source, width)
            cells = [
                plus_minus(estimate) if np.isfinite(estimate.value) else "–" for estimate in ends
            ]
            middle_text = plus_minus(middle) if np.isfinite(middle.value) else "–"
            rows.append([str(source), str(width), *cells, middle_text])
    return markdown(heads, rows)


def exponents(numbers: xr.Dataset) -> str:
    """A table of the powers of the width in the α̃ where ρ = 1 and in the kernel's fluctuation."""
    heads = ["data", "α̃ where ρ = 1 (0)", "χ²/dof", "fluctuation of Θ_0 (−1/2)", "χ²/dof"]
    rows = []
    for source in numbers.source.values:
        widths = [jamming(numbers, source, scale) for scale in numbers.scale.values]
        fit = numbers.sel(width=numbers.width > CROSSOVER_WIDTH_RATIO * np.median(widths))
        middles = [crossover(fit, source, width) for width in fit.width.values]
        cells = [str(source)]
        for law in (along_width(fit, middles), fluctuation(numbers, source)):
            cells += ["–", "–"] if law is None else [
                f"h^({plus_minus(law.exponent)})", f"{law.chi2:.1f}"
            ]  # fmt: skip
        rows.append(cells)
    return markdown(heads, rows)


def transitions(numbers: xr.Dataset) -> str:
    """A table for each output scale of the jamming width and the errors of the widest networks."""
    widest = numbers.width.values[-1]
    heads = ["data", "α̃", "h where half of them fit", f"⟨err⟩, h = {widest}",
             f"error of the mean, h = {widest}"]  # fmt: skip
    rows = []
    for source in numbers.source.values:
        for scale in numbers.scale.values:
            point = numbers.sel(source=source, scale=scale, width=widest)
            cells = [
                plus_minus(Estimate(*point[name].to_numpy().tolist()))
                for name in ("single", "ensemble")
            ]
            width = jamming(numbers, source, scale)
            shown = f"{width:.1f}" if np.isfinite(width) else "–"
            rows.append([str(source), f"{scale:g}", shown, *cells])
    return markdown(heads, rows)
