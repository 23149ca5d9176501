"""The eigenvalues of random features' covariance against their limit density.

    python -m experiments.spectrum [--smoke | --full | --draw] [FOLDER]

Draws features, keeps histograms and traces in results.json, draws spectrum.png in FOLDER (this
one) and prints the table; --draw makes the figure again from results.json.
"""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import xarray as xr
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.common import Call, Results, experiment, markdown
from langevin_nn import theory
from langevin_nn.estimates import plus_minus
from langevin_nn.types import Activation, Estimate

SIZES = {
    "smoke": ((10, 3), (20, 3)),
    "config": ((100, 96), (200, 40), (400, 10)),
    "full": ((250, 160), (500, 40), (1000, 10)),
}
"""The N_0, and the number of draws of features and inputs; histograms are those of the last."""
FEATURES = 4.0
"""The ratio N_1/N_0."""
EXAMPLES = (0.5, 1.0, 4.0, 12.0)
"""The ratios P/N_0, below, at and above the linear peak at P = N_0."""
NAMES = ("absolute", "relu", "tanh", "identity")
SHIFTS = (0.03, 0.3, 3.0)
"""The shifts x of the traces Tr (Σ + x)⁻¹/N_1."""
BINS = np.geomspace(3e-3, 60, 61)
COLOURS = ("#CC79A7", "#009E73", "#0072B2", "#E69F00")


def activation_of(name: str) -> Activation:
    return lnn.activation(jnp.abs if name == "absolute" else name)


def eigenvalues(name: str, examples: float, in_size: int, seed: int) -> np.ndarray:
    """The N_1 eigenvalues of ZᵀZ/P for inputs on the sphere |x|² = N_0 and centred features."""
    rng = np.random.default_rng([seed, round(10 * examples)])
    x = rng.standard_normal((round(examples * in_size), in_size))
    x *= np.sqrt(in_size) / np.linalg.norm(x, axis=1, keepdims=True)
    width = round(FEATURES * in_size)
    features = lnn.RandomFeatures(
        in_size, width, activation_of(name), key=jax.random.key(seed), centred=True
    )
    z = features(x)
    gram = z.T @ z if len(x) >= width else z @ z.T
    values = np.maximum(scipy.linalg.eigvalsh(gram), 0) / len(x)
    return np.concatenate([np.zeros(width - len(values)), values])


def extrapolated(sizes: np.ndarray, values: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """The c of the weighted least squares fit c + c_1/N_0, and its standard error."""
    (_, c), covariance = np.polyfit(1 / sizes, values, 1, w=1 / errors, cov="unscaled")
    return c, np.sqrt(covariance[1, 1])


def measured(call: Call) -> xr.Dataset:
    sizes = np.array([in_size for in_size, _ in SIZES[call.size]])
    counts = np.zeros((len(NAMES), len(EXAMPLES), len(BINS) - 1))
    traces = np.zeros((2, len(sizes), len(NAMES), len(EXAMPLES), len(SHIFTS)))
    extrapolations = np.zeros((2, *traces.shape[2:]))
    limits = np.zeros(traces.shape[2:])
    zeros = np.zeros((2, len(NAMES), len(EXAMPLES)))
    for i, name in enumerate(NAMES):
        for j, examples in enumerate(EXAMPLES):
            for k, (in_size, draws) in enumerate(SIZES[call.size]):
                sets = np.array([
                    eigenvalues(name, examples, in_size, seed) for seed in range(draws)
                ])  # fmt: skip
                draw_traces = np.array([np.mean(1 / (sets + x), axis=1) for x in SHIFTS])
                traces[:, k, i, j] = (
                    draw_traces.mean(axis=1),
                    draw_traces.std(axis=1, ddof=1) / np.sqrt(draws),
                )
            counts[i, j] = np.histogram(sets, BINS)[0] / sets.size
            for m in range(len(SHIFTS)):
                extrapolations[:, i, j, m] = extrapolated(sizes, *traces[:, :, i, j, m])
            limit = theory.feature_spectrum(activation_of(name), FEATURES, examples)
            limits[i, j] = -limit.resolvent(-np.array(SHIFTS)).real
            zeros[:, i, j] = np.mean(sets < 1e-9), limit.atom
        call.say(f"{name}: {len(EXAMPLES)} ratios P/N_0")
    axes = ("activation", "examples")
    return xr.Dataset(
        {
            "counts": ((*axes, "bin"), counts),
            "trace": (("of", "in_size", *axes, "shift"), traces),
            "extrapolated": (("of", *axes, "shift"), extrapolations),
            "limit": ((*axes, "shift"), limits),
            "zero": (("what", *axes), zeros),
        },
        coords={"activation": list(NAMES), "examples": list(EXAMPLES), "shift": list(SHIFTS),
                "in_size": sizes.tolist(), "of": ["value", "error"], "what": ["measured", "limit"]},
        attrs={"draws": [draws for _, draws in SIZES[call.size]]},
    )  # fmt: skip


def draw(results: Results) -> Figure:
    """A figure of densities of log λ: a row for each activation, a column for each P/N_0."""
    spectrum = results["spectrum"]
    figure = Figure(figsize=(12, 8), layout="constrained")
    panels = figure.subplots(len(NAMES), len(EXAMPLES), sharex=True)
    fine = np.geomspace(BINS[0], BINS[-1], 240)
    steps = np.diff(np.log(BINS))
    for row, name, colour in zip(panels, NAMES, COLOURS, strict=True):
        for ax, examples in zip(row, EXAMPLES, strict=True):
            counts = spectrum.counts.sel(activation=name, examples=examples).to_numpy()
            ax.stairs(counts / steps, BINS, fill=True, color=colour, alpha=0.45)
            limit = theory.feature_spectrum(activation_of(name), FEATURES, examples)
            ax.plot(fine, fine * limit.density(fine), color="black", linewidth=1)
            ax.set_xscale("log")
            ax.set_yticks([])
            ax.set_ylim(0, 1.15 * max(counts[5:] / steps[5:]))
            if limit.atom:
                ax.text(0.03, 0.9, f"at 0: {limit.atom:.2f}", transform=ax.transAxes,
                        fontsize="x-small", va="top")  # fmt: skip
            if name == NAMES[0]:
                titles_of_peaks = {1.0: " = 1, P = N_0", FEATURES: f" = {FEATURES:g}, P = N_1"}
                ax.set_title(
                    "P/N_0" + titles_of_peaks.get(examples, f" = {examples:g}"), fontsize="small"
                )
            if name == NAMES[-1]:
                ax.set_xlabel("eigenvalue λ of ZᵀZ/P")
        moments = theory.feature_moments(activation_of(name))
        linearity = moments.linear_power / moments.centred_power
        title = {"absolute": "|z|", "identity": "linear"}.get(name, name)
        row[0].set_ylabel(f"{title}, r = {linearity:.2f}\nλ ρ(λ)")
    return figure


def table(results: xr.Dataset) -> str:
    largest = int(results.in_size[-1])
    heads = ["σ", "P/N_0", "x", f"Tr (Σ + x)⁻¹/N_1, N_0 = {largest}", "N_0 → ∞", "limit (σ)"]
    rows = []
    for name in NAMES:
        for examples in EXAMPLES:
            for x in SHIFTS:
                point = results.sel(activation=name, examples=examples, shift=x)
                limit = float(point.limit)
                value, error = point.trace.sel(in_size=largest).to_numpy()
                extrapolation, extrapolation_error = point.extrapolated.to_numpy()
                at_size = plus_minus(Estimate(float(value), float(error)))
                rows.append([
                    name, f"{examples:g}", f"{x:g}",
                    f"{at_size} ({100 * (value / limit - 1):+.2f} %)",
                    plus_minus(Estimate(float(extrapolation), float(extrapolation_error))),
                    f"{limit:.8g} ({(extrapolation - limit) / extrapolation_error:+.1f})",
                ])  # fmt: skip
    return markdown(heads, rows)


def agreement(results: xr.Dataset) -> str:
    value, error = results.extrapolated
    z = np.abs((value - results.limit) / error).to_numpy()
    zeros = np.abs(np.diff(results.zero.to_numpy(), axis=0)).max()
    return (
        f"{np.sum(z < 2)} of {z.size} extrapolated traces within two standard errors of the "
        f"limit, median {np.median(z):.2f}, largest {z.max():.1f}; the part of the eigenvalues "
        f"that are zero is off by {zeros:.5f} at most"
    )


def measure(call: Call) -> dict[str, xr.Dataset]:
    return {"spectrum": measured(call)}


def report(results: Results) -> str:
    spectrum = results["spectrum"]
    return f"{table(spectrum)}\n\n{agreement(spectrum)}"


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report, digits=9)
