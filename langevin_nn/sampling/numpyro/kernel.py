"""Any dynamics as a kernel of NumPyro's `MCMC`, on a posterior or on a NumPyro model.

NumPyro batches chains with `chain_method="vectorized"` alone: its state then has a leading chain
axis, as a dynamics' has. A single chain, or each of those that "sequential" runs one after
another, is a batch of one, whose records have no chain axis.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, SupportsIndex

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from numpyro.handlers import seed
from numpyro.infer.mcmc import MCMCKernel
from numpyro.infer.util import constrain_fn
from numpyro.util import is_prng_key

from langevin_nn.model.networks.base import Network
from langevin_nn.model.posterior import Posterior, Target
from langevin_nn.sampling.base import Dynamics, Stepper
from langevin_nn.sampling.checks import (
    checked_dynamics,
    checked_observables,
    refuse_jumps,
)
from langevin_nn.sampling.counts import checked_count
from langevin_nn.sampling.engine.program import Observable, begin, record
from langevin_nn.sampling.numpyro.models import (
    NumPyroModel,
    UnconstrainedModel,
    WhitenedModel,
    types_promoted,
)
from langevin_nn.types import ChainKeys, InputError, as_threefry


class KernelState(NamedTuple):
    """The state that `MCMC` carries: several chains with a leading axis, or one chain without.

    `step` counts from the end of the warm-up and is negative in it. `z` are the draws,
    `potential_energy` is β𝓛, `diverging` where it is not finite, `info` the dynamics' info,
    averaged over the steps of this sample, `adapt_state` its settings: those of the start, and from
    the end of the warm-up those that it settled on; `settings` are the same in the form that the
    steps take.
    The dynamics' own state `chains` has a chain axis always, of length one for a single chain.
    """

    step: Int[Array, ""]
    z: dict[str, Array]
    potential_energy: Float[Array, " *chains"]
    diverging: Bool[Array, " *chains"]
    info: Any
    adapt_state: Any
    chains: Any
    settings: Any
    rng_key: Any


class NumPyroKernel(MCMCKernel):
    """A dynamics as a kernel of `numpyro.infer.MCMC`.

    `target` is a posterior of the package or a NumPyro model, `dynamics` any dynamics. One
    NumPyro step, in the warm-up too, is `steps_per_sample` steps of the dynamics (its
    `usage.thinning` if left out): write this rather than `MCMC(thinning=…)`.

    Samples are what `sample` records: of a posterior `test_outputs`, `train_error`, `energy` and
    the `observables`, functions of one network, but no weights (with a marginalised read-out
    `test_outputs` are means of f, and `test_draws` draws of it); of a model its latent and
    deterministic sites. Extra fields are `potential_energy`, `diverging`, `info.acceptance` (of
    `Split`) and `adapt_state.step_size`.

    Write `MCMC(…, chain_method="vectorized")`: all chains move in one batch and adapt together.
    With "sequential" each chain is a batch of one, with a step size of its own. Chains start from
    draws of the prior; those of a model under `Langevin` from NumPyro's `init_to_uniform`. The
    warm-up ends in a call back to the host, so chains cannot be mapped by "parallel" or `jax.vmap`.

    Raises `InputError` for a model with discrete latent sites or none, for one with a latent site
    that is not Gaussian under `Split`, and for starts that do not fit.

    >>> import numpyro, numpyro.distributions as dist
    >>> def model(y):
    ...     mean = numpyro.sample("mean", dist.Normal(0, 10))
    ...     numpyro.sample("y", dist.Normal(mean, 1), obs=y)
    >>> mcmc = numpyro.infer.MCMC(
    ...     lnn.NumPyroKernel(model, lnn.Split()), num_warmup=100, num_samples=200,
    ...     num_chains=4, chain_method="vectorized", progress_bar=False,
    ... )
    >>> mcmc.run(jax.random.key(0), jnp.array([1.0, 2.0, 1.5]))
    >>> mcmc.get_samples(group_by_chain=True)["mean"].shape
    (4, 200)
    """

    sample_field: ClassVar[str] = "z"
    default_fields: ClassVar[tuple[str, ...]] = ("z", "diverging")

    def __init__(
        self,
        target: Any,
        dynamics: Dynamics,
        *,
        steps_per_sample: SupportsIndex | None = None,
        observables: Mapping[str, Observable] | None = None,
    ) -> None:
        dynamics = checked_dynamics(dynamics)
        steps = dynamics.usage.thinning if steps_per_sample is None else steps_per_sample
        steps = checked_count("steps_per_sample", steps, 1)
        if isinstance(target, type | Dynamics | Network) or not (
            isinstance(target, Posterior) or callable(target)
        ):
            raise InputError(
                f"a {type(target).__name__} is neither a posterior nor a NumPyro model: write "
                "NumPyroKernel(posterior, …) or NumPyroKernel(model, …)"
            )
        if observables is not None and not isinstance(target, Posterior):
            raise InputError(
                "observables are functions of a posterior's network: write "
                "numpyro.deterministic(name, value) in the model"
            )
        if isinstance(target, Posterior):
            refuse_jumps(target, dynamics)
        self.target, self.dynamics = target, dynamics
        self.steps_per_sample = steps
        self.observables = (
            checked_observables(target, observables) if isinstance(target, Posterior) else {}
        )
        # NumPyro calls `init` before it resumes where this is None; `sample` needs no preparation.
        self._sample_fn = self.sample

    @property
    def model(self) -> Callable[..., Any] | None:
        """The NumPyro model, for ArviZ; None for a posterior of the package."""
        return None if isinstance(self.target, Posterior) else self.target

    def get_diagnostics_str(self, state: KernelState) -> str:
        """The settings and the acceptance in the line of NumPyro's progress bar."""
        values = state.adapt_state._asdict() | state.info._asdict()
        return ", ".join(
            f"{name} {float(jnp.mean(value)):.2g}"
            for name, value in values.items()
            if value.dtype != bool
        )

    def postprocess_fn(self, model_args: Any, model_kwargs: Any) -> Callable[[Any], Any]:
        """The function that takes unconstrained sites to a model's sites, deterministic ones too.

        For a posterior it returns its argument.
        """
        if self.model is None:
            return lambda z: z
        model, kwargs = seed(self.model, 0), model_kwargs or {}

        def sites(z: Any) -> Any:
            with types_promoted():
                return constrain_fn(model, model_args, kwargs, z, return_deterministic=True)

        return sites

    def init(
        self, rng_key: Any, num_warmup: int, init_params: Any, model_args: Any, model_kwargs: Any
    ) -> KernelState:
        """The chains at their start; `init_params` have a chain axis if there are several.

        They are a posterior's parameters, as `Chains.params`, or a model's unconstrained sites.
        """
        if isinstance(rng_key, jax.core.Tracer):
            raise InputError(
                "chains of this kernel cannot be mapped over devices or by jax.vmap: write "
                'MCMC(…, chain_method="vectorized")'
            )
        keys = _split(_batch(rng_key), 4)
        posterior = self._posterior(model_args, model_kwargs)
        params = _start(posterior, keys[:, 1], init_params, is_prng_key(rng_key))
        settings = self.dynamics.start(posterior, params, keys[0, 2])
        stepper = Stepper.of(self.dynamics, settings, posterior.dtype)
        chains = begin(posterior, stepper, params)
        info = _zero_info(posterior, stepper, chains, keys[:, 0])
        records = eqx.filter_jit(self._records)(posterior, chains, info, keys[:, 3], rng_key)
        if not jnp.all(jnp.isfinite(records["potential_energy"])):
            raise InputError(
                "the density is not finite where the chains start: give MCMC.run(…, init_params=…)"
            )
        shape = jnp.shape(records["potential_energy"])
        return KernelState(
            step=jnp.asarray(-num_warmup),
            adapt_state=jax.tree.map(lambda value: jnp.full(shape, value), settings),
            chains=chains,
            settings=stepper.settings,
            rng_key=_in_form_of(rng_key, keys[:, 0]),
            **records,
        )

    def sample(self, state: KernelState, model_args: Any, model_kwargs: Any) -> KernelState:
        """The state after `steps_per_sample` steps of every chain, with a record of them."""
        posterior = self._posterior(model_args, model_kwargs)
        keys = _batch(state.rng_key)
        num_chains = jax.tree.leaves(state.chains.params)[0].shape[0]
        if len(keys) != num_chains:
            raise InputError(
                f"the state is of {num_chains} chain(s), MCMC runs {len(keys)}: write num_chains = "
                f"{num_chains}"
            )
        keys = _split(keys, 3)
        state = self._settled(posterior, state)
        stepper = Stepper.of(self.dynamics, state.settings, posterior.dtype)

        def one_step(i: Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            chains, sums = carry
            step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys[:, 1], i)
            chains, info = stepper.step(posterior, chains, step_keys)
            return chains, jax.tree.map(jnp.add, sums, info)

        zeros = _zero_info(posterior, stepper, state.chains, keys[:, 1])
        chains, sums = jax.lax.fori_loop(0, self.steps_per_sample, one_step, (state.chains, zeros))
        info = jax.tree.map(lambda total: total / self.steps_per_sample, sums)
        return state._replace(
            step=state.step + 1,
            chains=chains,
            rng_key=_in_form_of(state.rng_key, keys[:, 0]),
            **self._records(posterior, chains, info, keys[:, 2], state.rng_key),
        )

    def _posterior(self, model_args: Any, model_kwargs: Any) -> Target:
        if isinstance(self.target, Posterior):
            return self.target
        kind: type[NumPyroModel] = UnconstrainedModel
        if self.dynamics.in_gaussian_prior:
            kind = WhitenedModel
        return kind(self.target, model_args, model_kwargs or {})

    def _records(
        self, posterior: Target, chains: Any, info: Any, keys: ChainKeys, rng_key: Any
    ) -> dict[str, Any]:
        if isinstance(posterior, NumPyroModel):
            z = posterior.sites(chains.params)
        else:
            assert isinstance(posterior, Posterior)
            z = record(posterior, chains.params, keys, self.observables)
        potential = posterior.potential(chains.params)
        diverging = ~jnp.isfinite(potential)
        records = {"z": z, "potential_energy": potential, "diverging": diverging, "info": info}
        return jax.tree.map(lambda x: x[0], records) if is_prng_key(rng_key) else records

    def _settled(self, posterior: Target, state: KernelState) -> KernelState:
        """The state, at the warm-up's end with the settings that hold from there on."""
        if type(self.dynamics).adapted is Dynamics.adapted:
            return state  # It steps in the warm-up as it does afterwards.
        arrays, static = eqx.partition(state.chains, eqx.is_array)

        def on_host(arrays: Any, displayed: Any, taken: Any) -> Any:
            old = jax.tree.map(lambda value: np.ravel(value)[0].item(), displayed)
            new = self.dynamics.adapted(eqx.combine(arrays, static), old)
            return tuple(
                jax.tree.map(lambda x, value: np.full(x.shape, value, x.dtype), before, new)
                for before in (displayed, taken)
            )

        before = (state.adapt_state, state.settings)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), before)
        adapted, settings = jax.lax.cond(
            state.step == 0,
            lambda: jax.pure_callback(on_host, shapes, arrays, *before),
            lambda: before,
        )
        return state._replace(adapt_state=adapted, settings=settings)


def _start(posterior: Target, keys: ChainKeys, given: Any, single: bool) -> Any:
    """The chains' first parameters: those given, or draws of the prior, each from its own key."""
    if given is None:
        return eqx.filter_jit(_prior_draws)(posterior, keys)
    likes = eqx.filter_eval_shape(_prior_draws, posterior, keys)
    if single:
        given = jax.tree.map(lambda x: jnp.asarray(x)[None], given)
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (given, likes)]
    if not eqx.tree_equal(*shapes):
        raise InputError(f"init_params have the shapes {shapes[0]}, the chains need {shapes[1]}")
    given = jax.tree.map(lambda x, like: jnp.asarray(x, like.dtype), given, likes)
    return jax.vmap(posterior.coordinates)(given) if isinstance(posterior, NumPyroModel) else given


def _prior_draws(posterior: Target, keys: ChainKeys) -> Any:
    params = jax.vmap(lambda key: posterior.sample_prior(key, 1))(keys)
    return jax.tree.map(lambda x: x[:, 0], params)


def _zero_info(posterior: Target, stepper: Stepper, chains: Any, keys: ChainKeys) -> Any:
    info = jax.eval_shape(lambda: stepper.step(posterior, chains, keys)[1])
    return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), info)


def _batch(rng_key: Any) -> ChainKeys:
    """The keys of all chains, typed, with a chain axis; `rng_key` is one key or several."""
    typed = jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key)
    keys = rng_key if typed else jax.random.wrap_key_data(rng_key)
    return jax.vmap(as_threefry)(keys[None] if keys.ndim == 0 else keys)


def _in_form_of(rng_key: Any, keys: ChainKeys) -> Any:
    """The keys in the form of `rng_key`: one or several, typed or raw."""
    keys = keys[0] if is_prng_key(rng_key) else keys
    typed = jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key)
    return keys if typed else jax.random.key_data(keys)


def _split(keys: ChainKeys, number: int) -> Key[Array, "chains number"]:
    return jax.vmap(lambda key: jax.random.split(key, number))(keys)
