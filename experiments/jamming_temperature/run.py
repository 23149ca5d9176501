"""Temperature across jamming: norm, error of a draw, of a chain's mean, of the ensemble.

    python experiments/jamming_temperature/run.py [--smoke | --full | --draw] [FOLDER]

Samples every point of config.toml (full.toml with --full), follows gradient flow for T = 0 and runs
a ladder of temperatures where chains do not mix. Keeps results.json, draws jamming_temperature.png
in FOLDER (this one) and prints the tables; --draw makes them again from results.json.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402
from common import Call, called, keep, kept  # noqa: E402
from drawing import draw, tables  # noqa: E402
from measuring import KEYS, flowed, lengths, sampled, tempered  # noqa: E402

from langevin_nn.config import RunConfig  # noqa: E402
from langevin_nn.sweeps.grid import grid  # noqa: E402

FLOWS = {"smoke": (4, 50), "config": (24, 20_000), "full": (96, 200_000)}
"""Initialisations of each flow, steps at most."""
LADDER = tuple(float(round(0.1 * 10 ** (k / 7), 4)) for k in range(1, 8))
"""From T = 0.1 up to 1."""
LADDER_WIDTHS = {"smoke": 1, "config": 3, "full": 3}
"""So many of the narrowest, at the temperature below the ladder and the first two seeds."""
NUMBERS = (*KEYS, *(f"{key}_mcse" for key in KEYS))
MIXING = ("rhat", "rhat_norm", "stuck", "acceptance", "steps")


def in_order(values: dict[str, Any]) -> tuple[np.ndarray, list[float], list[int]]:
    """The points (temperature, width, seed), the temperatures and the widths."""
    made = grid(values)
    points = np.array(made.points, dtype=object).reshape(made.shape)
    temperatures = [point.posterior.temperature for point in points[:, 0, 0]]
    return points, temperatures, [point.network.hidden_widths[0] for point in points[0, :, 0]]


def measured(call: Call, values: dict[str, Any]) -> dict[str, xr.Dataset]:
    points, temperatures, widths = in_order(values)
    seeds = list(range(points.shape[2]))
    place = {"T": temperatures, "h": widths, "seed": seeds}
    settings = points[0, 0, 0].sampler
    series = lengths(settings.num_samples)
    chains = empty(place, (*NUMBERS, *MIXING))
    short = empty(place | {"t": series}, KEYS)
    for i, j in np.ndindex(points.shape[:2]):
        began = time.monotonic()
        for seed, found in zip(seeds, sampled(points[i, j]), strict=True):
            fill(chains, (i, j, seed), found)
            for t, each in enumerate(found["shorter"]):
                fill(short, (i, j, seed, t), each)
        where = chains.isel({"T": i, "h": j})
        call.say(
            f"T = {temperatures[i]:g}, h = {widths[j]}: {time.monotonic() - began:.0f} s, "
            f"{float(where.steps.max()):.0f} steps, R̂ {np.round(where.rhat.values, 3)}, "
            f"stuck {int(where.stuck.sum())}, ⟨f²⟩ {np.round(where.norm.values, 1)}"
        )
    number, most = FLOWS[call.size]
    quality = ("few", "fitted", "unsatisfied", "settled")
    flows = empty({"h": widths, "seed": seeds}, (*NUMBERS, *quality))
    for j, seed in np.ndindex(points.shape[1:]):
        found = flowed(points[0, j, seed], number, settings.num_chains, most)
        fill(flows, (j, seed), found)
    call.say(f"flows fitted {np.round(flows.fitted.mean('seed').values, 2)}")
    results = {"chains": chains, "shorter": short, "flows": flows,
               "ladder": on_ladders(call, points, temperatures, widths)}  # fmt: skip
    words = {"num_train": points[0, 0, 0].data.num_train, "num_chains": settings.num_chains,
             "num_warmup": settings.num_warmup, "num_samples": settings.num_samples,
             "num_flows": number}  # fmt: skip
    return {name: found.assign_attrs(words) for name, found in results.items()}


def on_ladders(
    call: Call, points: np.ndarray, temperatures: list[float], widths: list[int]
) -> xr.Dataset:
    """The narrowest widths at the temperature just below the ladder."""
    row = max(i for i, T in enumerate(temperatures) if T < LADDER[0])
    narrow, seeds = widths[: LADDER_WIDTHS[call.size]], [0, 1]
    names = (*NUMBERS, *MIXING, "round_trips", "swaps")
    found = empty({"h": narrow, "seed": seeds}, names)
    for j, seed in np.ndindex(len(narrow), len(seeds)):
        config: RunConfig = points[row, j, seed]
        rungs = LADDER[-1:] if call.size == "smoke" else LADDER
        began = time.monotonic()
        fill(found, (j, seed), tempered(replace(config, seed=config.seed), rungs))
        here = found.isel(h=j, seed=seed)
        call.say(
            f"ladder, h = {narrow[j]}: {time.monotonic() - began:.0f} s, R̂ {float(here.rhat):.3f}, "
            f"{int(here.round_trips)} round trips, swaps {float(here.swaps):.2f}, stuck "
            f"{int(here.stuck)}, ⟨f²⟩ {float(here.norm):.1f}"
        )
    return found.assign_coords(T=temperatures[row])


def empty(place: dict[str, list[Any]], names: tuple[str, ...]) -> xr.Dataset:
    shape = tuple(len(values) for values in place.values())
    return xr.Dataset(
        {name: (tuple(place), np.full(shape, np.nan)) for name in names}, coords=place
    )


def fill(into: xr.Dataset, where: tuple[int, ...], found: dict[str, Any]) -> None:
    """One entry of every variable that was found."""
    for name in into:
        into[name].values[where] = found[str(name)]


def main() -> None:
    call = called(__file__, __doc__ or "")
    if not call.draw:
        values = call.values()
        if call.size == "smoke":
            over = values["sweep"]["over"] | {"network.hidden_widths": [[3, 3], [5, 5]]}
            values |= {"sweep": {"seeds": 2, "over": over}}
            values["sampler"] |= {"num_chains": 3}
        keep(call.results, measured(call, values))
    results = kept(call.results)
    call.save(draw(results))
    call.say(tables(results))


if __name__ == "__main__":
    main()
