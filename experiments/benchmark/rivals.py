"""The samplers of NumPyro and BlackJAX, under the conditions best for them.

They sample the same posteriors, with all weights or with the read-out marginalised, on the span of
the training inputs alone, start from draws of the posterior (`efficiency.equilibrium`), and know
the unit mass matrix that the prior with λ = 1 has. NUTS, HMC and MALA adapt their step sizes by
their own dual averaging (Hoffman, Gelman, JMLR 15, 1593, 2014); MCLMC (Robnik et al., JMLR 24, 311,
2023) and MAMS, which adjusts it by a Metropolis step (Robnik, Cohn-Gordon, Seljak, 2503.01707),
find step size and length of a trajectory by BlackJAX's functions for that, with their defaults.
Their chains are shared out over the devices, where each device waits for no other; on a CPU a
device runs one after the other (measured 2.5 times faster for NUTS than as a batch), on a GPU all
as a batch. Predictions are recorded as the driver of this package does it.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from numpyro.infer import HMC, NUTS

from experiments.benchmark.measuring import AXIS, chain_sharding, on_gpu


class Rival(NamedTuple):
    """A sampler of one chain by its `init` and `step`.

    A step returns state, acceptance (None without an acceptance step) and gradient evaluations.
    Without a `target_acceptance` the sampler adapts by itself in its first `warmup` steps, or has
    been tuned.
    """

    init: Callable[[Any, Any], Any]
    step: Callable[[Any, Any, Any], tuple[Any, Any, Any]]
    position: Callable[[Any], Any]
    warmup: int
    target_acceptance: float | None
    step_size: float | None = None
    """The one that tuning has found."""


class Run(NamedTuple):
    """The `records` of a run, arrays (chain, draw, …), with seconds and gradients of the sampling.

    The `acceptance` among them is NaN where the sampler has no acceptance step.
    """

    records: dict[str, np.ndarray]
    seconds: float
    gradients: float
    step_size: float
    thinning: int


def potential(posterior: Any) -> Callable[[Any], jax.Array]:
    """The function from the parameters of one chain to β𝓛."""
    return lambda params: posterior.potential(jax.tree.map(lambda w: w[None], params))[0]


def numpyro_nuts(posterior: Any, step_size: float, warmup: int) -> Rival:
    """NumPyro's NUTS, which adapts a step size for each chain and takes none from outside."""
    kernel = NUTS(potential_fn=potential(posterior), step_size=step_size, adapt_mass_matrix=False)
    return _numpyro(kernel, warmup)


def numpyro_hmc(posterior: Any, step_size: float, warmup: int) -> Rival:
    """NumPyro's HMC with trajectories of π/2, after which a draw of the prior is a new one."""
    kernel = HMC(
        potential_fn=potential(posterior), step_size=step_size, adapt_mass_matrix=False,
        trajectory_length=math.pi / 2,
    )  # fmt: skip
    return _numpyro(kernel, warmup)


def _numpyro(kernel: Any, warmup: int) -> Rival:
    def step(key: Any, state: Any, step_size: Any) -> tuple[Any, Any, Any]:
        state = kernel.sample(state, (), {})
        return state, state.accept_prob, state.num_steps

    return Rival(
        lambda key, params: kernel.init(key, warmup, params),
        step,
        lambda state: state.z,
        warmup,
        None,
    )


def blackjax_nuts(posterior: Any, warmup: int) -> Rival:
    """BlackJAX's NUTS, with dual averaging of one step size for all chains."""
    import blackjax

    kernel, energy = blackjax.nuts.build_kernel(), potential(posterior)

    def step(key: Any, state: Any, step_size: Any) -> tuple[Any, Any, Any]:
        size = sum(w.size for w in jax.tree.leaves(state.position))
        state, info = kernel(key, state, lambda w: -energy(w), step_size, jnp.ones(size))
        return state, info.acceptance_rate, info.num_integration_steps

    return Rival(
        lambda key, params: blackjax.nuts.init(params, lambda w: -energy(w)),
        step, lambda state: state.position, warmup, 0.8,
    )  # fmt: skip


def blackjax_mala(posterior: Any, warmup: int) -> Rival:
    """BlackJAX's MALA, with dual averaging of one step size for all chains.

    The acceptance 0.574 is best for it in many dimensions (Roberts, Rosenthal, J. R. Stat. Soc. B
    60, 255, 1998).
    """
    import blackjax

    kernel, energy = blackjax.mala.build_kernel(), potential(posterior)

    def step(key: Any, state: Any, step_size: Any) -> tuple[Any, Any, Any]:
        state, info = kernel(key, state, lambda w: -energy(w), step_size)
        return state, info.acceptance_rate, 1

    return Rival(
        lambda key, params: blackjax.mala.init(params, lambda w: -energy(w)),
        step, lambda state: state.position, warmup, 0.574,
    )  # fmt: skip


MAMS_ACCEPTANCE = 0.9
"""The acceptance for which the step size of MAMS is tuned."""

GRADIENTS_OF_MCLMC = 2
"""Gradients of a step of `isokinetic_mclachlan`, MCLMC's and MAMS's integrator."""


def blackjax_mclmc(posterior: Any, start: Any, warmup: int) -> Rival:
    """BlackJAX's MCLMC, which has no acceptance step: its averages have a bias.

    Step size and length are tuned on one chain, over some `warmup` steps.
    """
    import blackjax

    kernel, log_density = blackjax.mcmc.mclmc.build_kernel(), _log_density(posterior)
    position = _first_chain(start)
    state = blackjax.mcmc.mclmc.init(position, log_density, jax.random.key(6))
    state, tuned, _ = blackjax.mclmc_find_L_and_step_size(
        mclmc_kernel=kernel, num_steps=3 * warmup, state=state, rng_key=jax.random.key(7),
        logdensity_fn=log_density, diagonal_preconditioning=False,
    )  # fmt: skip

    def step(key: Any, state: Any, step_size: Any) -> tuple[Any, Any, Any]:
        state, _ = kernel(key, state, log_density, jnp.ones(()), tuned.L, step_size)
        return state, None, GRADIENTS_OF_MCLMC

    return Rival(
        lambda key, params: blackjax.mcmc.mclmc.init(params, log_density, key),
        step, lambda state: state.position, 0, None, float(tuned.step_size),
    )  # fmt: skip


def blackjax_mams(posterior: Any, start: Any, warmup: int) -> Rival:
    """BlackJAX's adjusted MCLMC (MAMS), with random numbers of steps, two in the mean.

    The step size is tuned on one chain, over some `warmup` steps, for the acceptance of 0.9 that
    BlackJAX's documentation recommends.
    """
    import blackjax
    from blackjax.mcmc import adjusted_mclmc_dynamic as mams

    kernel = mams.build_kernel(mams.make_random_trajectory_length_fn(True))
    log_density, tuning_key = _log_density(posterior), jax.random.key(6)
    state = mams.init(_first_chain(start), log_density, tuning_key)
    state, tuned, _ = blackjax.adjusted_mclmc_find_L_and_step_size(
        mclmc_kernel=kernel, logdensity_fn=log_density, num_steps=5 * warmup, state=state,
        rng_key=jax.random.key(7), target=MAMS_ACCEPTANCE, diagonal_preconditioning=False,
    )  # fmt: skip
    average = float(tuned.L / tuned.step_size)

    def step(key: Any, state: Any, step_size: Any) -> tuple[Any, Any, Any]:
        state, info = kernel(
            key, state, log_density, step_size, integration_steps_params=(average,)
        )
        gradients = GRADIENTS_OF_MCLMC * info.num_integration_steps
        return state, info.acceptance_rate, gradients

    return Rival(
        lambda key, params: mams.init(params, log_density, key),
        step, lambda state: state.position, 0, None, float(tuned.step_size),
    )  # fmt: skip


def _log_density(posterior: Any) -> Callable[[Any], jax.Array]:
    energy = potential(posterior)
    return lambda params: -energy(params)


def _first_chain(start: Any) -> Any:
    return jax.tree.map(lambda array: jnp.asarray(array[0]), start)


def run(
    rival: Rival, posterior: Any, start: Any, step_size: float, thinning: int, seconds: float
) -> Run:
    """Run a rival's warm-up, then its draws until the time is used; compilation is not timed."""
    num_chains = jax.tree.leaves(start)[0].shape[0]
    sharding = chain_sharding(num_chains)
    keys = jax.random.split(jax.random.key(3), num_chains)
    state = jax.device_put(jax.jit(jax.vmap(rival.init))(keys, start), sharding)
    advance = _program(rival, posterior, sharding.mesh)

    def draw(index: int, state: Any, step_size: float, steps: int) -> tuple[Any, dict[str, Any]]:
        draw_keys = jax.random.split(jax.random.fold_in(jax.random.key(4), index), num_chains)
        state, record = advance(state, draw_keys, jnp.float32(step_size), steps)
        return state, jax.device_get(record)

    draw(0, state, step_size, 1)
    state, step_size = _adapted(rival, draw, state, step_size)

    records: list[dict[str, Any]] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(records) < 4:
        state, record = draw(rival.warmup + len(records), state, step_size, thinning)
        records.append(record)
    seconds_taken = time.perf_counter() - began
    arrays = {name: np.stack([r[name] for r in records], axis=1) for name in records[0]}
    gradients = float(arrays.pop("gradients").sum())
    # NumPyro has its own step sizes.
    step_size = float(np.mean(getattr(getattr(state, "adapt_state", None), "step_size", step_size)))
    return Run(arrays, seconds_taken, gradients, step_size, thinning)


def _adapted(
    rival: Rival, draw: Callable[..., Any], state: Any, step_size: float
) -> tuple[Any, float]:
    """The state after the warm-up, and the step size for all chains."""
    if rival.target_acceptance is None:
        for number in range(rival.warmup):
            state, _ = draw(number, state, step_size, 1)
        return state, step_size
    from blackjax.adaptation.step_size import dual_averaging_adaptation

    begin, update, final = dual_averaging_adaptation(rival.target_acceptance)
    adapting = begin(step_size)
    for number in range(rival.warmup):
        state, record = draw(number, state, float(jnp.exp(adapting.log_step_size)), 1)
        adapting = update(adapting, float(record["acceptance"].mean()))
    return state, float(final(adapting))


def _program(rival: Rival, posterior: Any, mesh: Any) -> Callable[..., Any]:
    """The compiled function of `steps` steps and one record of the chains, device by device."""
    chains = PartitionSpec(AXIS)

    @jax.jit
    @partial(
        jax.shard_map, mesh=mesh, in_specs=(chains, chains, PartitionSpec(), PartitionSpec()),
        out_specs=chains, check_vma=False,
    )  # fmt: skip
    def advance(state: Any, keys: Any, step_size: Any, steps: Any) -> tuple[Any, dict[str, Any]]:
        def one_chain(state_and_key: tuple[Any, Any]) -> Any:
            def one_step(i: Any, carry: Any) -> Any:
                state, acceptance, gradients = carry
                step_key = jax.random.fold_in(state_and_key[1], i)
                state, accepted, evaluated = rival.step(step_key, state, step_size)
                accepted = jnp.nan if accepted is None else accepted
                return state, acceptance + accepted, gradients + evaluated

            zero = jnp.zeros(())
            return jax.lax.fori_loop(0, steps, one_step, (state_and_key[0], zero, zero))

        over_chains = jax.vmap(one_chain) if on_gpu() else partial(jax.lax.map, one_chain)
        state, acceptance, gradients = over_chains((state, keys))
        params = rival.position(state)
        return state, {
            **posterior.record(params, keys),
            "acceptance": acceptance / steps,
            "gradients": gradients,
        }

    return advance
