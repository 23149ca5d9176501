"""Random functions on the sphere: the lazy regime, and the sparse one of features.

    python -m experiments.sphere [--smoke | --full | --draw] [FOLDER]

Learning curves of the tangent kernel and of the interpolant of minimal total variation (`atomic`)
through the same points, and of gradient flow from small outputs; keeps results.json, draws
sphere.png in FOLDER (this one) and prints the tables; --draw makes the figure again.
"""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from experiments import num_cores
from experiments.common import Call, Results, experiment, markdown, processes
from experiments.sphere.regimes import (
    SMOOTHNESS,
    Task,
    closed_forms,
    kernel_deviation,
    with_results,
)
from langevin_nn.analysis.resampling import independent_mean
from langevin_nn.estimates import plus_minus
from langevin_nn.types import Estimate

Sizes = dict[str, dict[int, tuple[int, tuple[int, ...]]]]
SIZES: dict[str, Sizes] = {
    # for each d the number of seeds and of training points n
    "smoke": {
        "lazy": {3: (2, (32, 64, 128, 256))},
        "feature": {3: (2, (8, 16, 32))},
        "flow": {3: (1, (8,))},
    },
    "config": {
        "lazy": {
            2: (6, (16, 32, 64, 128, 256, 512, 1024)),
            3: (6, (16, 32, 64, 128, 256, 512, 1024, 2048)),
            5: (6, (16, 32, 64, 128, 256, 512, 1024, 2048)),
        },
        "feature": {
            2: (6, (16, 32, 64, 128)), 3: (5, (16, 32, 64, 128)), 5: (4, (16, 32, 64, 128)),
        },
        "flow": {3: (3, (16, 32, 64))},
    },
    "full": {
        "lazy": {
            2: (20, (16, 32, 64, 128, 256, 512, 1024)),
            3: (20, (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)),
            5: (20, (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)),
        },
        "feature": {
            2: (20, (16, 32, 64, 128, 256)), 3: (20, (16, 32, 64, 128, 256, 512)),
            5: (20, (16, 32, 64, 128, 256, 512)),
        },
        "flow": {3: (10, (16, 32, 64, 128, 256))},
    },
}  # fmt: skip
SCALES = (1e-1, 1e-2, 1e-3)
"""The output scales α̃ of the flows."""
WIDTH = {"smoke": 30, "config": 200, "full": 10_000}
FITTED_FROM = {"lazy": 128, "feature": 32}
"""The number n of training points from which on exponents are fitted."""
COLOURS = {"lazy": "#0072B2", "feature": "#D55E00", "flow": "#009E73"}
NAMES = {
    "constant": "constant", "smooth": "smooth, $\\nu_t = 5.5$", "rough": "rough, $\\nu_t = 1.5$"
}  # fmt: skip


def expected(regime: str, d: int, target: str) -> float:
    """The expected exponent β: lazy min(2ν_t, 2d)/(d − 1), feature min(2ν_t, d + 2)/(d − 1)."""
    return min(2 * SMOOTHNESS[target], 2 * d if regime == "lazy" else d + 2) / (d - 1)


def measured(call: Call) -> dict[str, xr.Dataset]:
    """The results of all tasks by kind, computed with as many at once as there are cores."""
    sizes = SIZES[call.size]
    tasks = [
        Task(kind, d, seed, nums, SCALES if kind == "flow" else (), WIDTH[call.size])
        for kind in ("flow", "feature", "lazy")  # the longest first
        for d, (seeds, nums) in reversed(sizes[kind].items())
        for seed in range(seeds)
    ]
    results = {}
    with processes(1 if call.size == "smoke" else num_cores()) as pool:
        for task, result in pool.map(with_results, tasks):
            results[task] = result
            call.say(f"{task.kind}, d = {task.d}, seed {task.seed}")
    return {kind: gathered(kind, results) for kind in sizes}


def gathered(kind: str, results: dict[Task, np.ndarray]) -> xr.Dataset:
    """The Dataset of the tasks of one kind, NaN where there was none."""
    of_kind = {task: result for task, result in results.items() if task.kind == kind}
    dims = sorted({task.d for task in of_kind})
    sizes = sorted({n for task in of_kind for n in task.nums})
    seeds = sorted({task.seed for task in of_kind})
    example = next(iter(of_kind.values()))
    values = np.full((len(dims), len(seeds), len(sizes), *example.shape[1:]), np.nan)
    for task, result in of_kind.items():
        values[dims.index(task.d), seeds.index(task.seed), : len(task.nums)] = result
    axes: dict[str, list] = {"d": dims, "seed": seeds, "n": sizes}
    if kind == "flow":
        axes |= {"scale": list(SCALES)}
        names = ["error", "distance", "atoms", "steps", "settled"]
    else:
        axes |= {"target": list(SMOOTHNESS)}
        names = ["error", "atoms", "gap", "certain", "residual"]
    if kind == "lazy":
        return xr.Dataset({"error": (list(axes), values)}, axes)
    variables = {name: (list(axes), values[..., place]) for place, name in enumerate(names)}
    return xr.Dataset(variables, axes)


def mean(values: np.ndarray) -> Estimate:
    """The mean over the seeds that there are, with its standard error."""
    return independent_mean(values[np.isfinite(values)])


def shown(values: xr.DataArray) -> str:
    numbers = values.to_numpy().ravel()
    return plus_minus(mean(numbers)) if len(numbers) > 1 else f"{numbers[0]:.3g}"


def curve(error: xr.DataArray, d: int, target: str) -> tuple[np.ndarray, np.ndarray]:
    """The numbers n and the log errors (seed, n), of the seeds and n that there are."""
    errors = error.sel(d=d, target=target).transpose("seed", "n")
    errors = errors.dropna("n", how="all").dropna("seed", how="all")
    return errors.n.to_numpy(), np.log(errors.to_numpy())


def exponent(error: xr.DataArray, regime: str, d: int, target: str) -> Estimate:
    """The exponent β by a linear fit of log error against log n for each seed."""
    nums, logs = curve(error, d, target)
    is_fitted = nums >= FITTED_FROM[regime]
    if is_fitted.sum() < 2:  # the short form
        is_fitted[:] = True
    return mean(-np.polyfit(np.log(nums[is_fitted]), logs[:, is_fitted].T, 1)[0])


def draw(results: Results) -> Figure:
    """A figure with a row for each target and a column for each d."""
    dims = results["lazy"].d.values
    figure = Figure(figsize=(3.7 * len(dims), 9.4), layout="constrained")
    panels = figure.subplots(3, len(dims), squeeze=False, sharex="col")
    for row, target in zip(panels, SMOOTHNESS, strict=True):
        for ax, d in zip(row, dims, strict=True):
            for regime, mark in (("lazy", "o"), ("feature", "s")):
                nums, logs = curve(results[regime].error, d, target)
                centre, spread = logs.mean(0), logs.std(0, ddof=1) / np.sqrt(len(logs))
                beta = expected(regime, d, target)
                low, high = np.exp(centre) - np.exp(centre - spread), np.expm1(spread)
                ax.errorbar(nums, np.exp(centre), [low, np.exp(centre) * high], fmt=mark,
                            markersize=4, capsize=2, color=COLOURS[regime],
                            label=f"{regime}: $\\beta$ = {beta:.3g}")  # fmt: skip
                line = np.exp(centre[-1]) * (nums[-1] / nums) ** beta
                ax.plot(nums, line, color=COLOURS[regime], linewidth=1.2)
            flow = results["flow"]
            if target == "constant" and d in flow.d.values:
                errors = flow.error.sel(d=d, scale=min(SCALES))
                ax.plot(flow.n, np.exp(np.log(errors).mean("seed")), "^", color=COLOURS["flow"],
                        markersize=5, label="gradient flow")  # fmt: skip
            ax.set(xscale="log", yscale="log")
            ax.set_title(f"d = {d}, {NAMES[target]}", fontsize="medium")
            ax.legend(fontsize="small", frameon=False)
            ax.grid(alpha=0.25)
    for ax in panels[-1]:
        ax.set_xlabel("training points n")
    for ax in panels[:, 0]:
        ax.set_ylabel("relative test error")
    return figure


def exponents(results: Results) -> str:
    """A table of fitted and local β, and of the ratio of the two regimes' errors."""
    rows = []
    for d in results["feature"].d.values:
        for target in SMOOTHNESS:
            cells = [str(d), target]
            for regime in ("lazy", "feature"):
                nums, logs = curve(results[regime].error, d, target)
                slopes = -np.diff(logs, axis=1) / np.diff(np.log(nums))
                local = ", ".join(f"{slope:.2f}" for slope in slopes.mean(0)[-4:])
                fitted = exponent(results[regime].error, regime, d, target)
                cells += [f"{expected(regime, d, target):.3g}", plus_minus(fitted), local]
            ratio = results["feature"].error / results["lazy"].error
            last = ratio.sel(d=d, target=target).dropna("n", how="all").isel(n=-1)
            estimate = mean(np.log(last.to_numpy()))
            cells.append(f"{np.exp(estimate.value):.3g} ×/÷ {np.exp(estimate.mcse):.2f} "
                         f"(n = {int(last.n)})")  # fmt: skip
            atoms = (results["feature"].atoms / results["feature"].n).sel(d=d, target=target)
            ends = atoms.dropna("n", how="all").isel(n=[0, -1])
            cells.append(" … ".join(plus_minus(mean(ends.isel(n=k).to_numpy())) for k in (0, 1)))
            rows.append(cells)
    heads = ["d", "target"]
    for regime in ("lazy", "feature"):
        heads += [f"β {regime}, expected", "fitted", "local"]
    return markdown([*heads, "feature/lazy", "n_A/n"], rows)


def flows(results: Results) -> str:
    """A table of gradient flow of the constant target and of the atomic and lazy solutions."""
    flow, rows = results["flow"], []
    d = int(flow.d[0])
    for n in flow.n.values:
        for scale in flow.scale.values:
            point = flow.sel(d=d, n=n, scale=scale).dropna("seed", how="all")
            cells = [str(n), f"{scale:g}"]
            cells.append(shown(point.error))
            cells += [
                f"{float(values.mean()):.3g}"
                for values in (point.distance, point.atoms / n, point.steps)
            ]
            cells.append(f"{int(point.settled.sum())} of {len(point.seed)}")
            for regime in ("feature", "lazy"):
                other_error = results[regime].error.sel(
                    d=d, target="constant", seed=point.seed.values
                )
                cells.append(shown(other_error.sel(n=n)) if n in other_error.n.values else "")
            rows.append(cells)
    heads = ["n", "α̃", "error of the flow", "distance² from the atomic one", "n_A/n", "steps",
             "settled", "error, atomic", "error, lazy"]  # fmt: skip
    return markdown(heads, rows)


def checks(call: Call) -> None:
    """Check the kernel and the linear programme against closed forms; RuntimeError if they fail."""
    kernel = kernel_deviation()
    call.say(f"tangent kernel: off by {kernel:.0e}")
    if not kernel < 1e-7:  # √ε, from arccos where points coincide
        raise RuntimeError("the tangent kernel is not c k_0 + k_1")
    for known, atoms, solution in closed_forms():
        deviation = abs(solution.total_variation / known - 1)
        call.say(f"total variation {known:.6f}: off by {deviation:.0e} after {solution.rounds} "
                 f"programmes, gap {solution.gap:.0e}")  # fmt: skip
        is_closed = abs(solution.gap) < 1e-6 and solution.certain
        if not (deviation < 1e-6 and is_closed and len(solution.weights) <= atoms):
            raise RuntimeError("the minimal total variation is not the known one")


def measure(call: Call) -> dict[str, xr.Dataset]:
    checks(call)
    return measured(call)


def report(results: Results) -> str:
    feature = results["feature"]
    gap, residual = float(feature.gap.max()), float(feature.residual.max())
    if not (gap < 1e-4 and residual < 1e-6):
        raise RuntimeError(
            f"a linear programme has not converged: gap {gap:.1e}, residual {residual:.1e}"
        )
    certain = (
        f"largest gap {gap:.1e}, largest residual {residual:.1e}, certain of "
        f"{float(feature.certain.mean()):.0%}"
    )
    return "\n\n".join([exponents(results), flows(results), certain])


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
