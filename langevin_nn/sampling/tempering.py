"""Tempering in β: a ladder of temperatures that run together and exchange their weights.

Rung k samples p_k(θ) ∝ p(θ) exp(−Φ_k(θ)), Φ_k the misfit at temperature T_k; T_0 < T_1 < … . After
each step of the dynamics neighbours propose to swap their weights, and do with probability

    min(1, exp[Φ_k(θ_k) + Φ_{k+1}(θ_{k+1}) − Φ_k(θ_{k+1}) − Φ_{k+1}(θ_k)])

(Hukushima, Nemoto, J. Phys. Soc. Jpn. 65, 1604, 1996), so that every rung keeps its own law, and
weights that are trapped at T_0 go up, forget, and come down elsewhere. The pairs (0,1), (2,3), …
and (1,2), (3,4), … take turns, so that weights climb K rungs in a time of order K, not K² (Okabe,
Kawata, Okamoto, Mikami, Chem. Phys. Lett. 335, 435, 2001; Syed, Bouchard-Côté, Deligiannidis,
Doucet, J. R. Stat. Soc. B 84, 321, 2022).

A chain of the ladder is one such set of rungs; chains are independent of each other.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.config.sampler import AUTO
from langevin_nn.model.posterior import Posterior
from langevin_nn.progress import Report, RunProgress, shown_progress
from langevin_nn.sampling.base import Dynamics, Stepper
from langevin_nn.sampling.chains import require_room
from langevin_nn.sampling.checks import checked_files, checked_posterior, checked_saving
from langevin_nn.sampling.counts import Counts
from langevin_nn.sampling.draws import Chains
from langevin_nn.sampling.engine.checkpoint import writing
from langevin_nn.sampling.engine.driver import drive
from langevin_nn.sampling.engine.kept_weights import KeptWeights, kept
from langevin_nn.sampling.engine.program import Observable, States
from langevin_nn.sampling.ladders import (
    PILOT_DRAWS,
    PILOT_WARMUP,
    Energies,
    chosen_ladder,
    save_ladder,
    saved_ladder,
)
from langevin_nn.sampling.stopping import Until
from langevin_nn.types import PointKeys, random_key
from langevin_nn.values import require_ladder

FEWEST_ROUND_TRIPS = 10
"""The number of round trips, of all chains together, before which a rule does not end a ladder."""
STREAM = 0x5A4B
"""The number folded into a step's key for the swaps; the dynamics splits the key instead."""


@dataclass(frozen=True)
class Ladder:
    """Chains at every temperature of a ladder, the coldest first.

    `posteriors` and `chains` are those of the rungs, `temperatures` T_0 < … < T_{K−1}. For each
    rung `data_energies` (chain, draw) is the mean of Σ_μ ℓ(f, y), with the squared loss
    ½ Σ (y − f)², given the weights that are sampled, and `energy_variances` (chain, draw) its
    variance, 0 where the read-out is among them. `swap_acceptance` (K − 1,) is the mean
    acceptance of the swaps between neighbours, and `round_trips` (chain,) counts, after the
    warm-up, the weights that came down to the coldest rung after they had been on the hottest.
    """

    posteriors: tuple[Posterior, ...]
    chains: tuple[Chains, ...]
    data_energies: tuple[Float[np.ndarray, "chain draw"], ...]
    energy_variances: tuple[Float[np.ndarray, "chain draw"], ...]
    swap_acceptance: Float[np.ndarray, " rungs_less_1"]
    round_trips: Float[np.ndarray, " chain"]

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures T_0 < T_1 < … of the rungs."""
        return tuple(float(posterior.temperature) for posterior in self.posteriors)


def temper(
    posterior: Posterior,
    dynamics: Dynamics,
    temperatures: Sequence[float] | str,
    *,
    key: PRNGKeyArray,
    num_chains: SupportsIndex = 8,
    num_warmup: SupportsIndex | str | None = None,
    num_samples: SupportsIndex | None = None,
    thinning: SupportsIndex | None = None,
    observables: Mapping[str, Observable] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Callable[[Report], None] | bool | None = None,
    until: Until | None = None,
    keep_weights: Path | str | None = None,
) -> Ladder:
    """Draws at the posterior's temperature and at `temperatures` above it, with swaps.

    "auto" chooses these by pilot runs, so that swaps are accepted equally often and the hottest is
    where the prior sees the data (`sampling.ladders`). Each rung adapts its own numbers in the
    warm-up. `until` looks at the coldest rung, and waits for `FEWEST_ROUND_TRIPS`. The file that
    `keep_weights` names is of an array (chain, draw, rung, weight). Other arguments and errors as
    for `sample`; `InputError` also for temperatures that are not above the posterior's or not all
    different.

    >>> data = lnn.load_dataset("digits", num_train=20, num_test=10, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (30,), activation="erf", key=key)
    >>> posterior = lnn.MarginalisedPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.01)
    >>> ladder = lnn.temper(
    ...     posterior, lnn.Split(), (0.1, 1.0), key=key, num_warmup=20, num_samples=5
    ... )
    >>> ladder.temperatures, ladder.swap_acceptance.shape
    ((0.01, 0.1, 1.0), (2,))
    """
    posterior = checked_posterior(posterior)
    counts = Counts.of(dynamics, num_chains, num_warmup, num_samples, thinning, until)
    checkpoint, chosen = checked_saving(checkpoint, resume), None
    if isinstance(temperatures, str) and temperatures == AUTO:
        saved = saved_ladder(checkpoint) if checkpoint and resume else None
        temperatures = saved or _chosen(posterior, dynamics, random_key(key), counts)
        chosen = temperatures
    rungs = ladder_of(posterior, temperatures)
    keeping = None
    if keep_weights is not None:
        paths = checked_files([keep_weights], 1)
        sizes = counts.num_chains, counts.num_samples, len(rungs)
        keeping = KeptWeights.of(paths, rungs[0], *sizes)
    require_room(rungs, dynamics, counts, keeping)
    keys = list(jax.random.split(random_key(key), len(rungs)))
    with (
        writing(checkpoint),
        kept(keeping, checkpoint),
        shown_progress(progress, RunProgress) as tell,
    ):
        if chosen and checkpoint:
            save_ladder(checkpoint, chosen)
        driven = drive(
            rungs, dynamics, keys, counts, exchange=swaps,
            observables=observables, checkpoint=checkpoint, resume=resume, progress=tell,
            until=until, keeping=keeping,
        )  # fmt: skip
    names = ("swap_acceptance", "round_trips", "data_energy", "energy_variance")
    acceptances, trips, energies, variances = (driven.draws.pop(name) for name in names)

    def by_rung(series: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.moveaxis(series, 1, 0).swapaxes(1, 2))

    return Ladder(
        posteriors=tuple(rungs),
        chains=tuple(driven.chains(i) for i in range(len(rungs))),
        data_energies=by_rung(energies),
        energy_variances=by_rung(variances),
        # Each pair takes every second turn.
        swap_acceptance=2 * acceptances[:, :-1].mean(axis=(0, 2), dtype=np.float64),
        round_trips=counts.thinning * trips[:, 0].sum(axis=0, dtype=np.float64),
    )


def _chosen(
    posterior: Posterior, dynamics: Dynamics, key: PRNGKeyArray, counts: Counts
) -> tuple[float, ...]:
    """The temperatures that pilot runs of the same chains and thinning choose."""

    def pilot(temperatures: Sequence[float], key: PRNGKeyArray) -> Energies:
        ladder = temper(
            posterior, dynamics, temperatures, key=key, num_chains=counts.num_chains,
            num_warmup=PILOT_WARMUP * counts.thinning, num_samples=PILOT_DRAWS,
            thinning=counts.thinning, progress=False,
        )  # fmt: skip
        return ladder.data_energies

    pilot_key = jax.random.fold_in(key, STREAM)
    return chosen_ladder(posterior, pilot, key=pilot_key, num_chains=counts.num_chains)


def ladder_of(posterior: Posterior, temperatures: Sequence[float] | str) -> list[Posterior]:
    """The posterior at its own temperature and at each higher one, in increasing order."""
    lowest = float(posterior.temperature)
    higher = require_ladder("temperatures", temperatures, lowest, "the posterior's temperature")
    return [posterior.at_temperature(temperature) for temperature in (lowest, *higher)]


class _Swaps:
    """An `Exchange` of the driver: swaps between neighbours, and a count of round trips."""

    def begin(self, num_points: int, num_chains: int) -> Float[Array, "rungs chains"]:
        """Zeros (rungs, chains); 1 will mark weights that come from the hottest rung."""
        return jnp.zeros((num_points, num_chains))

    def __call__(
        self,
        posterior: Posterior,
        stepper: Stepper,
        states: States,
        keys: PointKeys,
        step: Array,
    ) -> tuple[States, dict[str, Array]]:
        chains, heated = states
        num_rungs, num_chains = heated.shape
        rungs = jnp.arange(num_rungs, dtype=step.dtype)
        lower = rungs - (rungs + step) % 2  # the lower one of the pair
        partner = 2 * lower + 1 - rungs
        partner = jnp.where((lower < 0) | (lower + 1 >= num_rungs), rungs, partner)
        lower = jnp.minimum(rungs, partner)

        others = jax.tree.map(lambda leaf: leaf[partner], chains)
        relocated = eqx.filter_vmap(lambda stepper, *inputs: stepper.relocated(*inputs))(
            stepper, posterior, chains, others
        )
        target = (stepper, posterior)
        gain = self.misfit(*target, chains) - self.misfit(*target, relocated)
        log_ratio = gain + gain[partner]
        finite = jnp.isfinite(log_ratio) & (partner != rungs)[:, None]
        probability = jnp.where(finite, jnp.exp(jnp.minimum(log_ratio, 0)), 0)
        # One coin for both of a pair, from the lower one's key of this step.
        coins = jax.vmap(jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, STREAM))))
        coin = coins(keys)[lower]
        swapped = coin < probability.astype(coin.dtype)

        def where_swapped(new: Array, old: Array) -> Array:
            return jnp.where(swapped.reshape(*swapped.shape, *(1,) * (new.ndim - 2)), new, old)

        chains = jax.tree.map(where_swapped, relocated, chains)
        heated = where_swapped(heated[partner], heated)
        is_coldest, is_hottest = rungs == 0, rungs == num_rungs - 1
        trips = jnp.where(is_coldest[:, None], heated, 0)
        heated = jnp.where(is_hottest[:, None], 1, jnp.where(is_coldest[:, None], 0, heated))
        proposed = jnp.where((partner > rungs)[:, None], probability, 0)
        return States(chains, heated), {"swap_acceptance": proposed, "round_trips": trips}

    def misfit(self, stepper: Stepper, posterior: Posterior, chains: Any) -> Array:
        """The misfit Φ_k of every chain on its rung k, (rungs, chains)."""
        values: Array = eqx.filter_vmap(lambda stepper, *inputs: stepper.misfit(*inputs))(
            stepper, posterior, chains
        )
        return values

    def draws_needed(self, draws: Mapping[str, np.ndarray], thinning: int) -> float:
        """The number of draws in which there are `FEWEST_ROUND_TRIPS`, as far as these tell."""
        trips = float(draws["round_trips"][:, 0].sum(dtype=np.float64)) * thinning
        return len(draws["round_trips"]) * FEWEST_ROUND_TRIPS / trips if trips else math.inf

    def observe(self, posterior: Posterior, states: States) -> dict[str, Array]:
        params = states.chains.params

        def of_data(posterior: Posterior, params: Any) -> dict[str, Array]:
            variance = posterior.energy_variance(params)
            return {"data_energy": posterior.data_energy(params), "energy_variance": variance}

        return dict(eqx.filter_vmap(of_data)(posterior, params))


swaps = _Swaps()
