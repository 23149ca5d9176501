"""Exponents of the change of the tangent kernel and of its fluctuations, as tables."""

import numpy as np
import xarray as xr

import langevin_nn as lnn
from experiments.common import markdown
from langevin_nn.analysis.comparison import plus_minus
from langevin_nn.analysis.resampling import independent_mean
from langevin_nn.analysis.scaling import PowerLaw
from langevin_nn.types import Estimate

DEPTH = 2
"""L, the number of hidden layers."""
LAZY, FEATURE = 1e4, 1e-1
"""Exponents are fitted to the output scales α̃ from here up, and to those up to here."""
BEYOND = 1.5
"""That of the cross-over with h is fitted beyond this times the jamming width."""


def slope(found: xr.Dataset, source: str, width: int, *, lazy: bool) -> Estimate:
    """d log ρ / d log α̃ at one end, ρ = ‖ΔΘ‖/‖Θ_0‖: fitted to each network, then averaged."""
    scales = found.scale.to_numpy()
    end = scales >= LAZY if lazy else scales <= FEATURE
    if end.sum() < 2:
        return Estimate(np.nan, np.nan)
    change = found.change.sel(source=source, width=width).to_numpy()[end]  # (scale, network)
    fitted = np.polyfit(np.log(scales[end]), np.log(change), 1)[0]
    return independent_mean(fitted)


def crossover(found: xr.Dataset, source: str, width: int) -> Estimate:
    """The α̃ at which ρ = 1: of each network by interpolation of log ρ, then the mean of log α̃."""
    logs = np.log(found.scale.to_numpy())
    change = np.log(found.change.sel(source=source, width=width).to_numpy())
    places = []
    for each in change.T:
        above = np.flatnonzero(each >= 0)
        if not above.size or above[-1] + 1 == len(each):
            return Estimate(np.nan, np.nan)
        pair = slice(above[-1], above[-1] + 2)
        places.append(np.interp(0.0, each[pair][::-1], logs[pair][::-1]))
    mean = independent_mean(np.array(places))
    return Estimate(float(np.exp(mean.value)), float(np.exp(mean.value)) * mean.mcse)


def jamming(found: xr.Dataset, source: str, scale: float) -> float:
    """The width at which half of the networks fit, NaN where all or none of the widths do."""
    fitted = found.fitted.sel(source=source, scale=scale).to_numpy()
    below = np.flatnonzero(fitted < 0.5)
    if not below.size or below[-1] + 1 == len(fitted):
        return np.nan
    pair = slice(below[-1], below[-1] + 2)
    return float(np.exp(np.interp(0.5, fitted[pair], np.log(found.width.to_numpy()[pair]))))


def fluctuation(found: xr.Dataset, source: str) -> PowerLaw | None:
    """Of the kernel at initialisation with the width."""
    values = found.fluctuation.sel(source=source).to_numpy().tolist()
    return along_width(found, [Estimate(*row) for row in values])


def along_width(found: xr.Dataset, values: list[Estimate]) -> PowerLaw | None:
    """None where there are too few of them."""
    pairs = [(w, v) for w, v in zip(found.width.to_numpy(), values, strict=True) if v.value > 0]
    if len(pairs) < 3 or not all(estimate.mcse > 0 for _, estimate in pairs):
        return None
    widths = np.array([width for width, _ in pairs])
    return lnn.power_law(widths, [estimate for _, estimate in pairs])


def slopes(found: xr.Dataset) -> str:
    """A row for each task and width: both ends of the cross-over and where it is."""
    heads = ["data", "h", f"slope, α̃ ≥ {LAZY:g} (−1)",
             f"slope, α̃ ≤ {FEATURE:g} (−{2 * DEPTH}/{DEPTH + 1})", "α̃ where ρ = 1"]  # fmt: skip
    rows = []
    for source in found.source.values:
        for width in found.width.values:
            ends = [slope(found, source, width, lazy=lazy) for lazy in (True, False)]
            middle = crossover(found, source, width)
            cells = [plus_minus(each) if np.isfinite(each.value) else "–" for each in ends]
            shown = plus_minus(middle) if np.isfinite(middle.value) else "–"
            rows.append([str(source), str(width), *cells, shown])
    return markdown(heads, rows)


def exponents(found: xr.Dataset) -> str:
    """Powers of the width: of the α̃ where ρ = 1, of the kernel's fluctuation."""
    heads = ["data", "α̃ where ρ = 1 (0)", "χ²/dof", "fluctuation of Θ_0 (−1/2)", "χ²/dof"]
    rows = []
    for source in found.source.values:
        widths = [jamming(found, source, scale) for scale in found.scale.values]
        fit = found.sel(width=found.width > BEYOND * np.median(widths))
        middles = [crossover(fit, source, width) for width in fit.width.values]
        cells = [str(source)]
        for law in (along_width(fit, middles), fluctuation(found, source)):
            cells += ["–", "–"] if law is None else [
                f"h^({plus_minus(law.exponent)})", f"{law.chi2:.1f}"
            ]  # fmt: skip
        rows.append(cells)
    return markdown(heads, rows)


def transitions(found: xr.Dataset) -> str:
    """A row for each output scale: the jamming width, and errors of the widest networks."""
    widest = found.width.values[-1]
    heads = ["data", "α̃", "h where half of them fit", f"⟨err⟩, h = {widest}",
             f"error of the mean, h = {widest}"]  # fmt: skip
    rows = []
    for source in found.source.values:
        for scale in found.scale.values:
            here = found.sel(source=source, scale=scale, width=widest)
            cells = [
                plus_minus(Estimate(*here[name].to_numpy().tolist()))
                for name in ("single", "ensemble")
            ]
            width = jamming(found, source, scale)
            shown = f"{width:.1f}" if np.isfinite(width) else "–"
            rows.append([str(source), f"{scale:g}", shown, *cells])
    return markdown(heads, rows)
