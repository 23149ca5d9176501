"""The eigenvalues of random features' covariance against their limit density.

    python experiments/spectrum/run.py [--smoke | --full | --draw] [FOLDER]

Draws features, keeps histograms and traces in results.json, draws spectrum.png in FOLDER (this
one) and prints the table; --draw makes the figure again from results.json.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import scipy.linalg  # noqa: E402
import xarray as xr  # noqa: E402
from common import Call, called, keep, kept, markdown  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

import langevin_nn as lnn  # noqa: E402
from langevin_nn import theory  # noqa: E402
from langevin_nn.analysis.comparison import plus_minus  # noqa: E402
from langevin_nn.types import Activation, Estimate  # noqa: E402

SIZES = {"smoke": (20, 3), "config": (400, 6), "full": (1000, 10)}
"""N_0, and how many draws of features and inputs."""
FEATURES = 4.0
"""N_1/N_0."""
EXAMPLES = (0.5, 1.0, 4.0, 12.0)
"""P/N_0: below, at and above the linear peak, at the other one."""
NAMES = ("absolute", "relu", "tanh", "identity")
SHIFTS = (0.03, 0.3, 3.0)
"""x of the traces Tr (Σ + x)⁻¹/N_1."""
BINS = np.geomspace(3e-3, 60, 61)
COLOURS = ("#CC79A7", "#009E73", "#0072B2", "#E69F00")


def chosen(name: str) -> Activation:
    return lnn.activation(jnp.abs if name == "absolute" else name)


def eigenvalues(name: str, examples: float, in_size: int, seed: int) -> np.ndarray:
    """Those of ZᵀZ/P, N_1 of them, of inputs on the sphere |x|² = N_0 and centred features."""
    rng = np.random.default_rng([seed, round(10 * examples)])
    x = rng.standard_normal((round(examples * in_size), in_size))
    x *= np.sqrt(in_size) / np.linalg.norm(x, axis=1, keepdims=True)
    width = round(FEATURES * in_size)
    drawn = lnn.RandomFeatures(in_size, width, chosen(name), key=jax.random.key(seed), centred=True)
    z = drawn(x)
    gram = z.T @ z if len(x) >= width else z @ z.T
    values = np.maximum(scipy.linalg.eigvalsh(gram), 0) / len(x)
    return np.concatenate([np.zeros(width - len(values)), values])


def measured(call: Call) -> xr.Dataset:
    in_size, draws = SIZES[call.size]
    counts = np.zeros((len(NAMES), len(EXAMPLES), len(BINS) - 1))
    traces = np.zeros((2, len(NAMES), len(EXAMPLES), len(SHIFTS)))
    limits = np.zeros(traces.shape[1:])
    zeros = np.zeros((2, len(NAMES), len(EXAMPLES)))
    for i, name in enumerate(NAMES):
        for j, examples in enumerate(EXAMPLES):
            sets = np.array([eigenvalues(name, examples, in_size, seed) for seed in range(draws)])
            counts[i, j] = np.histogram(sets, BINS)[0] / sets.size
            each = np.array([np.mean(1 / (sets + x), axis=1) for x in SHIFTS])
            traces[:, i, j] = each.mean(axis=1), each.std(axis=1, ddof=1) / np.sqrt(draws)
            limit = theory.feature_spectrum(chosen(name), FEATURES, examples)
            limits[i, j] = -limit.resolvent(-np.array(SHIFTS)).real
            zeros[:, i, j] = np.mean(sets < 1e-9), limit.atom
        call.say(f"{name}: {draws} draws at {len(EXAMPLES)} ratios")
    here = ("activation", "examples")
    return xr.Dataset(
        {
            "counts": ((*here, "bin"), counts),
            "trace": (("of", *here, "shift"), traces),
            "limit": ((*here, "shift"), limits),
            "zero": (("what", *here), zeros),
        },
        coords={"activation": list(NAMES), "examples": list(EXAMPLES), "shift": list(SHIFTS),
                "of": ["value", "error"], "what": ["measured", "limit"]},
        attrs={"in_size": in_size, "draws": draws},
    )  # fmt: skip


def draw(found: xr.Dataset) -> Figure:
    """A row for each activation, a column for each P/N_0; densities of log λ."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    panels = figure.subplots(len(NAMES), len(EXAMPLES), sharex=True)
    fine = np.geomspace(BINS[0], BINS[-1], 240)
    steps = np.diff(np.log(BINS))
    for row, name, colour in zip(panels, NAMES, COLOURS, strict=True):
        for ax, examples in zip(row, EXAMPLES, strict=True):
            counts = found.counts.sel(activation=name, examples=examples).to_numpy()
            ax.stairs(counts / steps, BINS, fill=True, color=colour, alpha=0.45)
            limit = theory.feature_spectrum(chosen(name), FEATURES, examples)
            ax.plot(fine, fine * limit.density(fine), color="black", linewidth=1)
            ax.set_xscale("log")
            ax.set_yticks([])
            ax.set_ylim(0, 1.15 * max(counts[5:] / steps[5:]))
            if limit.atom:
                ax.text(0.03, 0.9, f"at 0: {limit.atom:.2f}", transform=ax.transAxes,
                        fontsize="x-small", va="top")  # fmt: skip
            if name == NAMES[0]:
                at = {1.0: " = 1, P = N_0", FEATURES: f" = {FEATURES:g}, P = N_1"}
                ax.set_title("P/N_0" + at.get(examples, f" = {examples:g}"), fontsize="small")
            if name == NAMES[-1]:
                ax.set_xlabel("eigenvalue λ of ZᵀZ/P")
        moments = theory.feature_moments(chosen(name))
        linearity = moments.linear_power / moments.centred_power
        title = {"absolute": "|z|", "identity": "linear"}.get(name, name)
        row[0].set_ylabel(f"{title}, r = {linearity:.2f}\nλ ρ(λ)")
    return figure


def table(found: xr.Dataset) -> str:
    heads = ["σ", "P/N_0", "at zero, limit"]
    heads += [f"{word} x = {x:g}" for x in SHIFTS for word in ("Tr (Σ + x)⁻¹/N_1,", "limit,")]
    rows = []
    for name in NAMES:
        for examples in EXAMPLES:
            point = found.sel(activation=name, examples=examples)
            cells = [name, f"{examples:g}"]
            cells.append(", ".join(f"{value:.4f}" for value in point.zero.to_numpy()))
            for x in SHIFTS:
                value, error = point.trace.sel(shift=x).to_numpy()
                limit = float(point.limit.sel(shift=x))
                cells.append(plus_minus(Estimate(float(value), float(error))))
                cells.append(f"{limit:.5g} ({100 * (value / limit - 1):+.2f} %)")
            rows.append(cells)
    return markdown(heads, rows)


def main() -> None:
    call = called(__file__, __doc__ or "")
    if not call.draw:
        keep(call.results, {"spectrum": measured(call)})
    found = kept(call.results)["spectrum"]
    call.save(draw(found))
    call.say(table(found))


if __name__ == "__main__":
    main()
