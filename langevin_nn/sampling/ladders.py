"""The temperatures of a ladder, chosen by pilot runs.

The hottest is the lowest T_0 2^k, k = 1, 2, …, at which draws of the prior see the data: their
weights w = exp(−Φ) have (Σw)²/Σw² of at least half their number. Above it there is little but the
prior, and the evidence of a ladder starts there.

Between, swaps of neighbours a little apart in log T are rejected with the probability λ d log T,

    λ(T) = ½ β ⟨|E − E'|⟩,    Λ(T) = ∫ λ d log T    from the posterior's temperature on,

E and E' the data's energies of two independent draws at T. Pilot runs at `PILOT_RUNGS` temperatures
measure λ; from one to the next these are spaced anew, by equal steps of Λ. In the end there are as
few rungs as keep the steps of Λ, the communication barrier, at `STEP` or below: there round trips
are the most frequent for the work, and of Gaussian energies a swap is accepted with the probability
erfc(√π/4) = 0.53 (Syed, Bouchard-Côté, Deligiannidis, Doucet, J. R. Stat. Soc. B 84, 321, 2022).
λ is local: it is right however many swaps the pilot runs have refused. With the read-out integrated
out E is its mean given the weights, which is −T² dΦ/dT up to a constant, and λ is the same.
"""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.interpolate import PchipInterpolator

from langevin_nn.config.sampler import PILOT_RUNGS
from langevin_nn.files import make_folder, write_text
from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.engine.start import as_arrays
from langevin_nn.values import as_number

PILOTS = 3
"""The number of pilot runs, each spaced by the one before; the first has equal steps of log T."""
PILOT_WARMUP, PILOT_DRAWS = 24, 24
"""The records of a pilot run's warm-up, and its draws of each chain."""
STEP = 0.5
"""The largest step of the communication barrier Λ between neighbours."""
PRIOR_DRAWS = 512
"""The number of draws of the prior that say where it sees the data."""
DOUBLINGS = 200
"""How often the posterior's temperature is doubled at most to find the hottest one."""
FILE = "ladder.json"
"""The name of the file, in a checkpoint, with the temperatures that were chosen."""

Energies = Sequence[Float[np.ndarray, "chain draw"]]
"""The data's energies of the draws at each temperature."""
Pilot = Callable[[Sequence[float], PRNGKeyArray], Energies]
"""What runs chains at the posterior's temperature and at these above it."""


def chosen_ladder(
    posterior: Posterior, pilot: Pilot, *, key: PRNGKeyArray, num_chains: int
) -> tuple[float, ...]:
    """The temperatures above the posterior's, in increasing order; the same for the same key."""
    lowest = float(posterior.temperature)
    hottest = prior_temperature(posterior, jax.random.fold_in(key, 0), num_chains)
    places = np.linspace(math.log(lowest), math.log(hottest), PILOT_RUNGS)
    for number in range(PILOTS):
        energies = pilot(np.exp(places[1:]).tolist(), jax.random.fold_in(key, 1 + number))
        rates = list(map(rejection_rate, np.exp(-places).tolist(), energies))
        barrier = _integral(places, np.array(rates))
        if number + 1 < PILOTS:
            places = _spaced(barrier, places, PILOT_RUNGS)
    number_of_steps = max(math.ceil(barrier[-1] / STEP), 1)
    return _rounded(lowest, np.exp(_spaced(barrier, places, number_of_steps + 1)[1:]))


def prior_temperature(posterior: Posterior, key: PRNGKeyArray, num_chains: int) -> float:
    """The lowest T_0 2^k, k = 1, 2, …, at which half of the prior's draws carry the weight."""
    batches = [
        posterior.sample_prior(batch_key, num_chains)
        for batch_key in jax.random.split(key, math.ceil(PRIOR_DRAWS / num_chains))
    ]
    temperature = float(posterior.temperature)
    for _ in range(DOUBLINGS):
        temperature *= 2
        heated = as_arrays(posterior.at_temperature(temperature))
        misfits = np.concatenate([np.asarray(_misfits(heated, batch)) for batch in batches])
        weights = np.exp(np.nanmin(misfits) - misfits[np.isfinite(misfits)])
        if 2 * weights.sum() ** 2 >= len(misfits) * np.square(weights).sum():
            break
    return temperature


def rejection_rate(beta: float, energies: Float[np.ndarray, "chain draw"]) -> float:
    """The rate λ = ½ β ⟨|E − E'|⟩ of rejections of swaps per d log T, E and E' any two draws.

    Chains that have diverged do not count; it is 0 where none is left.
    """
    values = np.sort(energies[np.isfinite(energies).all(axis=1)].astype(np.float64), axis=None)
    n = len(values)
    if not n:
        return 0.0
    ranks = 2 * np.arange(n) - n + 1
    return float(beta * (ranks @ values) / (n * (n - 1)))


def _integral(
    places: Float[np.ndarray, " K"], rates: Float[np.ndarray, " K"]
) -> Float[np.ndarray, " K"]:
    """The communication barrier Λ at each place, 0 at the first, by a monotone cubic of λ."""
    return np.asarray(PchipInterpolator(places, rates).antiderivative()(places))


def _spaced(
    barrier: Float[np.ndarray, " K"], places: Float[np.ndarray, " K"], number: int
) -> Float[np.ndarray, " number"]:
    """So many places between the same ends, at equal steps of the barrier.

    A tenth of each step is one of log T, so that no two of them are the same where λ is 0.
    """
    even = np.linspace(0.0, 1.0, number)
    share = (places - places[0]) / (places[-1] - places[0])
    if barrier[-1] > 0:
        share = 0.9 * barrier / barrier[-1] + 0.1 * share
    return np.asarray(PchipInterpolator(share, places)(even))


def _rounded(lowest: float, temperatures: Float[np.ndarray, " K"]) -> tuple[float, ...]:
    """The temperatures to four digits, unless two of them are one then."""
    rounded = [float(f"{temperature:.4g}") for temperature in temperatures]
    are_rising = all(cold < hot for cold, hot in itertools.pairwise([lowest, *rounded]))
    return tuple(rounded if are_rising else temperatures.tolist())


@eqx.filter_jit
def _misfits(posterior: Posterior, params: Any) -> Float[Array, " chains"]:
    return posterior.misfit(params)


def save_ladder(checkpoint: Path, temperatures: Sequence[float]) -> None:
    """Keep the temperatures that were chosen in the folder of a checkpoint."""
    make_folder(checkpoint)
    write_text(checkpoint / FILE, json.dumps({"temperatures": [*temperatures]}) + "\n")


def saved_ladder(checkpoint: Path) -> tuple[float, ...] | None:
    """The temperatures kept in the folder of a checkpoint; None where there are none to be read.

    They are then chosen anew, and are the same. Without a state beside them, which says of which
    run it is, they may be another run's, and are not taken.
    """
    if not (checkpoint / "state.npz").is_file():
        return None
    try:
        content = json.loads((checkpoint / FILE).read_text(encoding="utf-8"))
        numbers = [as_number(temperature) for temperature in content["temperatures"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not numbers or None in numbers:
        return None
    return tuple(number for number in numbers if number is not None)
