"""The speed of the samplers, against PyTorch, NumPyro, BlackJAX and the machine's own rate.

    python -m experiments.benchmark [FOLDER] [--smoke | --full] [--draw] [--parts a b …]

Measures, in this process, on the devices that JAX sees, and writes results.json and benchmark.png
into FOLDER (this one); what other parts found there stays. Prints the tables of the README; --draw
only makes the figure and the tables from results.json.

    a  steps a second of `langevin` against the PyTorch loop and the machine's matrix products
    b  effective samples a second of all samplers
    c  wall time to a standard error of one per cent
    d  how time and memory grow with P, N_1, N_0 and the chains
    e  compilation
    f  Cholesky factors as a batch and one by one (not in the default)
    g  what a sweep adds to each of its points, and how long its status and its report take
    h  a sweep over 36 points to one per cent at each, by one command
    i  chains over several devices, and points of a sweep side by side on one

PyTorch and BlackJAX are optional: pip install -e ".[benchmark]". What is not installed is left out.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import langevin_nn as lnn
from experiments.benchmark import (
    devices,
    drawing,
    efficiency,
    folders,
    growth,
    report,
    speed,
)
from experiments.benchmark.efficiency import Budget
from experiments.benchmark.growth import DYNAMICS
from experiments.benchmark.measuring import Size, configure_jax, machine, on_gpu

HERE = Path(__file__).parent
MARGINALISED_SPLIT = ("split", "marginalised")
CASES = tuple(
    (dynamics, readout)
    for dynamics in (lnn.Langevin(), lnn.Split())
    for readout in ("sampled", "marginalised")
)


@dataclass(frozen=True)
class Settings:
    """The sizes and times of the measurements; on a GPU a chunk has GPU_STEPS times the steps."""

    speed: tuple[tuple[Size, int, int], ...]
    """The cases of part a: (size, steps between two records, repeats)."""
    rival_seconds: float
    """The seconds of each measurement of a rival in part a."""
    budgets: dict[tuple[str, str], Budget]
    rival_budgets: dict[tuple[str, str], Budget]
    efficiency: Size = Size("mnist", 100, 200, 8)
    one_percent: tuple[tuple[Size, int], ...] = (
        (Size("mnist", 100, 400, 8), 1000), (Size("mnist", 500, 500, 4), 400),
    )  # fmt: skip
    """The runs of part c: (size, most draws); the last is compared with `langevin`."""
    langevin_seconds: float = 0.0
    growth: tuple[Size, tuple[float, ...], int, tuple[str, ...]] = (
        Size("random", 250, 250, 4, 500), (0.5, 2), 20, DYNAMICS,
    )  # fmt: skip
    """The runs of part d: (base, factors, steps between two records, dynamics)."""
    compilation: tuple[Size, Sequence[tuple[Any, str]]] = (Size("mnist", 100, 200, 8), CASES)
    factors: tuple[int, tuple[int, ...], int, int] = (8, (100, 500), 5, 20)
    """The factorisations of part f: (matrices, sizes, repeats, times in one program)."""
    sweep: tuple[int, int] = (1000, 3)
    """The sweep of part g: (points, repeats of the commands that read them)."""
    one_percent_sweep: tuple[str, ...] = ()
    """Options of the command of part h."""
    scale: tuple[Size, tuple[int, ...], int, int, Size, tuple[int, ...]] = (
        Size("mnist", 500, 500, 8), (1, 2, 4), 20, 3, Size("mnist", 20, 20, 8), (1, 4, 16),
    )  # fmt: skip
    """The runs of part i: (size, devices, steps between two records, repeats, small size, points).
    """


GPU_STEPS = 50
TINY = Size("digits", 20, 16, 4)

SMOKE = Settings(
    speed=((replace(TINY, num_chains=2), 2, 2),),
    rival_seconds=0.01,
    budgets={MARGINALISED_SPLIT: Budget(0, 8)},
    rival_budgets={
        (name, readout): Budget(0.01, 8, thinning=2)
        for name, readout in (
            ("BlackJAX MALA", "sampled"),
            ("BlackJAX MCLMC", "sampled"),
            ("BlackJAX MAMS", "marginalised"),
            ("NumPyro HMC", "sampled"),
        )
    },
    efficiency=TINY,
    one_percent=((TINY, 40),),
    growth=(TINY, (), 2, DYNAMICS[:1]),
    compilation=(TINY, CASES[-1:]),
    factors=(2, (8,), 1, 2),
    sweep=(2, 1),
    one_percent_sweep=tuple(
        "--data.source digits --data.num_train 10 --data.num_test 10 --theory one_layer "
        "--sampler.max_draws 8 --sampler.num_warmup 4 --over network.hidden_widths[0]=5 "
        "--over prior.precisions[-1]=1,3".split()
    ),
    scale=(replace(TINY, num_chains=2), (1, 2), 2, 1, TINY, (1, 2)),
)
DEFAULT = Settings(
    speed=((Size("mnist", 500, 500, 8), 100, 5), (Size("cifar10", 500, 500, 8), 100, 3)),
    rival_seconds=0.6,
    budgets={
        MARGINALISED_SPLIT: Budget(15, 150),
        ("split", "sampled"): Budget(15, 60),
        ("langevin", "sampled"): Budget(60, 100, share=0.4, thinning=100),
        ("langevin", "marginalised"): Budget(20, 100, share=0.4, thinning=20),
    },
    rival_budgets={
        ("NumPyro NUTS", "sampled"): Budget(20, 40),
        ("NumPyro HMC", "sampled"): Budget(20, 40),
        ("BlackJAX NUTS", "sampled"): Budget(20, 40),
        ("BlackJAX MALA", "sampled"): Budget(15, 200, thinning=50),
        ("BlackJAX MCLMC", "sampled"): Budget(20, 2000, thinning=20),
        ("BlackJAX MAMS", "sampled"): Budget(20, 1000, thinning=10),
        ("BlackJAX NUTS", "marginalised"): Budget(15, 40),
        ("BlackJAX MCLMC", "marginalised"): Budget(15, 2000, thinning=5),
        ("BlackJAX MAMS", "marginalised"): Budget(15, 500, thinning=2),
    },
)
FULL = replace(
    DEFAULT,
    speed=tuple((size, steps, 9) for size, steps, _ in DEFAULT.speed),
    rival_seconds=2.0,
    budgets={
        MARGINALISED_SPLIT: Budget(60, 400),
        ("split", "sampled"): Budget(180, 200),
        ("langevin", "sampled"): Budget(1200, 100, share=0.4, thinning=100),
        ("langevin", "marginalised"): Budget(600, 100, share=0.4, thinning=20),
    },
    rival_budgets={
        (name, readout): replace(
            budget, seconds=300 if readout == "sampled" else 60, warmup=2 * budget.warmup
        )
        for (name, readout), budget in DEFAULT.rival_budgets.items()
    },
    one_percent=tuple((size, 4 * draws) for size, draws in DEFAULT.one_percent),
    growth=(Size("random", 500, 500, 8, 784), (0.25, 0.5, 2, 4), 50, DYNAMICS),
    factors=(16, (100, 500, 2000), 5, 20),
)
ON_GPU: tuple[tuple[Size, int, int], ...] = (
    (Size("mnist", 500, 500, 4), 100, 3),
    (Size("mnist", 500, 500, 1), 100, 3),
    (Size("mnist", 2000, 2000, 16), 20, 3),
)
"""The further sizes of part a on a GPU, which fewer chains do not fill."""
GPU_LANGEVIN_SECONDS = 300.0
"""The seconds of `langevin` in part c, with --full on a GPU."""


def part_a(settings: Settings, results: dict[str, Any]) -> Any:
    steps = GPU_STEPS if on_gpu() else 1
    return [
        speed.steps_per_second(size, thinning * steps, repeats, settings.rival_seconds)
        for size, thinning, repeats in settings.speed
    ]


def part_b(settings: Settings, results: dict[str, Any]) -> Any:
    return efficiency.effective_samples(
        settings.efficiency, settings.budgets, settings.rival_budgets
    )


def part_c(settings: Settings, results: dict[str, Any]) -> Any:
    size, _ = settings.one_percent[-1]
    rows = results.get("a", {}).get("found", [])
    same_size = [
        row for row in rows
        if all(
            row["size"][name] == getattr(size, name) for name in ("source", "num_train", "width")
        )
    ]  # fmt: skip
    runs = {
        "runs": [
            efficiency.one_percent(task, has_control_variates, most_draws)
            for task, most_draws in settings.one_percent
            for has_control_variates in (False, True)
        ],
        "langevin_extrapolated": efficiency.langevin_extrapolated(
            size,
            results.get("b", {}).get("found", []),
            same_size[0]["langevin_seconds"]["median"] if same_size else None,
        ),
    }
    if settings.langevin_seconds:
        longer = replace(size, num_chains=8)
        runs["langevin"] = efficiency.langevin_measured(longer, settings.langevin_seconds)
    return runs


def part_d(settings: Settings, results: dict[str, Any]) -> Any:
    base, factors, thinning, dynamics = settings.growth
    steps = GPU_STEPS if on_gpu() else 1
    return growth.grow(base, factors, thinning * steps, dynamics)


def part_e(settings: Settings, results: dict[str, Any]) -> Any:
    return speed.compilation(*settings.compilation)


def part_f(settings: Settings, results: dict[str, Any]) -> Any:
    return speed.factorisations(*settings.factors)


def part_g(settings: Settings, results: dict[str, Any]) -> Any:
    return folders.sweep_overhead(*settings.sweep)


def part_h(settings: Settings, results: dict[str, Any]) -> Any:
    return folders.to_one_percent(settings.one_percent_sweep)


def part_i(settings: Settings, results: dict[str, Any]) -> Any:
    return devices.scale(*settings.scale)


PARTS: dict[str, Callable[[Settings, dict[str, Any]], Any]] = {
    "a": part_a, "b": part_b, "c": part_c, "d": part_d, "e": part_e, "f": part_f,
    "g": part_g, "h": part_h, "i": part_i,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast the samplers are.")
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="?", default=HERE)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--smoke", action="store_true", help="tiny sizes, in seconds")
    length.add_argument("--full", action="store_true", help="longer runs, and what needs a GPU")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        help="a to e and g to i if left out; all for --full, a to d for --smoke",
    )
    parser.add_argument("--draw", action="store_true", help="only the figure and the tables")
    arguments = parser.parse_args()
    configure_jax()
    if arguments.smoke and arguments.folder.resolve() == HERE.resolve():
        parser.error("--smoke needs a FOLDER: this one has the results that its README quotes")
    settings = SMOKE if arguments.smoke else FULL if arguments.full else DEFAULT
    if on_gpu() and not arguments.smoke:
        settings = replace(
            settings,
            speed=(*settings.speed, *ON_GPU),
            one_percent=FULL.one_percent,
            langevin_seconds=GPU_LANGEVIN_SECONDS if arguments.full else 0.0,
        )
    default_parts = "abcd" if arguments.smoke else "abcdefghi" if arguments.full else "abcdeghi"
    chosen = arguments.parts or list(default_parts)
    parts = [name for name in PARTS if name in chosen]
    arguments.folder.mkdir(exist_ok=True, parents=True)
    path = arguments.folder / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name in () if arguments.draw else parts:
        began = time.perf_counter()
        part_results = PARTS[name](settings, results)
        results[name] = {
            "found": part_results,
            "length": "smoke" if arguments.smoke else "full" if arguments.full else "default",
            "minutes": (time.perf_counter() - began) / 60,
            "machine": machine(),
        }
        path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        sys.stdout.write(f"part {name}: {results[name]['minutes']:.1f} min\n")
        sys.stdout.flush()
    sys.stdout.write(report.tables(results))
    drawing.figure(results).savefig(arguments.folder / "benchmark.png", dpi=110)


if __name__ == "__main__":
    main()
