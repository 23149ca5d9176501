"""Temperature across jamming: norm, error of a draw, of a chain's mean, of the ensemble.

    python -m experiments.jamming_temperature [--smoke | --full | --draw] [FOLDER]

Samples every point of config.toml (full.toml with --full), follows gradient flow for T = 0 and runs
a ladder of temperatures where chains do not mix. Keeps results.json, draws jamming_temperature.png
in FOLDER (this one) and prints the tables; --draw makes them again from results.json.
"""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from experiments.common import Call, experiment
from experiments.jamming_temperature.drawing import draw, tables
from experiments.jamming_temperature.measuring import KEYS, flowed, lengths, sampled, tempered
from langevin_nn.sweeps.grid import grid

FLOWS = {"smoke": (4, 50), "config": (12, 3_000), "full": (96, 200_000)}
"""Initialisations of each flow, steps at most."""
LADDER = tuple(float(round(0.1 * 10 ** (k / 7), 4)) for k in range(1, 8))
"""From T = 0.1 up to 1."""
LADDER_WIDTHS = slice(2, 4)
"""Widths that are tempered, at the temperature below the ladder and with the first two seeds; the
last where there are fewer."""
NUMBERS = (*KEYS, *(f"{key}_mcse" for key in KEYS))
HOT, LONGER = 0.1, 2
"""From this temperature on, where trajectories have few steps, the warm-up is so much longer."""
Place = dict[str, list[Any]]
MIXING = ("rhat", "rhat_norm", "stuck", "acceptance", "steps")


def in_order(values: dict[str, Any]) -> tuple[np.ndarray, list[float], list[int]]:
    """The points (temperature, width, seed), the temperatures and the widths."""
    made = grid(values)
    points = np.array(made.points, dtype=object).reshape(made.shape)
    temperatures = [point.posterior.temperature for point in points[:, 0, 0]]
    for place in np.ndindex(points.shape):
        if temperatures[place[0]] >= HOT:
            sampler = points[place].sampler
            sampler = replace(sampler, num_warmup=LONGER * sampler.num_warmup)
            points[place] = replace(points[place], sampler=sampler)
    return points, temperatures, [point.network.hidden_widths[0] for point in points[0, :, 0]]


def measured(call: Call, values: dict[str, Any]) -> dict[str, xr.Dataset]:
    points, temperatures, widths = in_order(values)
    place = {"T": temperatures, "h": widths, "seed": list(range(points.shape[2]))}
    chains, short = on_chains(call, points, place)
    results = {
        "chains": chains,
        "shorter": short,
        "flows": on_flows(call, points, place),
        "ladder": on_ladders(call, points, place),
    }
    first = points[0, 0, 0]
    words = {
        "num_train": first.data.num_train,
        "num_chains": first.sampler.num_chains,
        "num_flows": FLOWS[call.size][0],
    }
    return {name: found.assign_attrs(words) for name, found in results.items()}


def on_chains(call: Call, points: np.ndarray, place: Place) -> tuple[xr.Dataset, xr.Dataset]:
    """Every point, and shorter chains of it."""
    series = lengths(points[0, 0, 0].sampler.num_samples)
    chains = empty(place, (*NUMBERS, *MIXING))
    short = empty(place | {"t": series}, KEYS)
    for i, j in np.ndindex(points.shape[:2]):
        began = time.monotonic()
        for seed, found in enumerate(sampled(points[i, j])):
            fill(chains, (i, j, seed), found)
            for t, each in enumerate(found["shorter"]):
                fill(short, (i, j, seed, t), each)
        where = chains.isel({"T": i, "h": j})
        call.say(
            f"T = {float(where['T']):g}, h = {int(where.h)}: {time.monotonic() - began:.0f} s, "
            f"{float(where.steps.max()):.0f} steps, R̂ {np.round(where.rhat.values, 3)}, "
            f"stuck {int(where.stuck.sum())}, ⟨f²⟩ {np.round(where.norm.values, 1)}"
        )
    return chains, short


def on_flows(call: Call, points: np.ndarray, place: Place) -> xr.Dataset:
    """T = 0, from draws of the prior."""
    began = time.monotonic()
    number, most = FLOWS[call.size]
    quality = ("few", "fitted", "unsatisfied", "settled")
    flows = empty({"h": place["h"], "seed": place["seed"]}, (*NUMBERS, *quality))
    for j, seed in np.ndindex(points.shape[1:]):
        config = points[0, j, seed]
        fill(flows, (j, seed), flowed(config, number, config.sampler.num_chains, most))
    call.say(
        f"flows: {time.monotonic() - began:.0f} s, fitted "
        f"{np.round(flows.fitted.mean('seed').values, 2)}"
    )
    return flows


def on_ladders(call: Call, points: np.ndarray, place: Place) -> xr.Dataset:
    """LADDER_WIDTHS at the temperature just below the ladder."""
    row = max(i for i, T in enumerate(place["T"]) if T < LADDER[0])
    narrow, seeds = place["h"][LADDER_WIDTHS] or place["h"][-1:], [0, 1]
    found = empty({"h": narrow, "seed": seeds}, (*NUMBERS, *MIXING, "round_trips", "swaps"))
    rungs = LADDER[-1:] if call.size == "smoke" else LADDER
    for j, seed in np.ndindex(len(narrow), len(seeds)):
        began = time.monotonic()
        config = points[row, place["h"].index(narrow[j]), seed]
        fill(found, (j, seed), tempered(config, rungs))
        here = found.isel(h=j, seed=seed)
        call.say(
            f"ladder, h = {narrow[j]}: {time.monotonic() - began:.0f} s, R̂ {float(here.rhat):.3f}, "
            f"{int(here.round_trips)} round trips, swaps {float(here.swaps):.2f}, stuck "
            f"{int(here.stuck)}, ⟨f²⟩ {float(here.norm):.1f}"
        )
    return found.assign_coords(T=place["T"][row])


def empty(place: Place, names: tuple[str, ...]) -> xr.Dataset:
    shape = tuple(len(values) for values in place.values())
    return xr.Dataset(
        {name: (tuple(place), np.full(shape, np.nan)) for name in names}, coords=place
    )


def fill(into: xr.Dataset, where: tuple[int, ...], found: dict[str, Any]) -> None:
    """One entry of every variable that was found."""
    for name in into:
        into[name].values[where] = found[str(name)]


def measure(call: Call) -> dict[str, xr.Dataset]:
    values = call.values()
    if call.size == "smoke":
        over = values["sweep"]["over"] | {"network.hidden_widths": [[3, 3], [4, 4]]}
        values |= {"sweep": {"seeds": 2, "over": over}}
        values["sampler"] |= {"num_chains": 3}
    return measured(call, values)


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, tables)
