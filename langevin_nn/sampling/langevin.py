"""Discrete Langevin dynamics, the object of study.

    θ' = θ − η∇𝓛(θ) + √(2ηT) ξ,      ξ ~ N(0, 1)

with step size η (the learning rate of Pacelli et al., arXiv:2209.04882) and temperature T. It has
no acceptance step, so its stationary law depends on η. On a quadratic 𝓛 = ½hθ² it is Gaussian with
variance T/(h(1 − ηh/2)) and lag-k autocorrelation (1 − ηh)^k, and there is none for η ≥ 2/h.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.model.posterior import GibbsPosterior
from langevin_nn.sampling.noise import standard_normal_like


class LangevinState(NamedTuple):
    """Parameters of all chains: arrays with a leading chain axis."""

    params: Any


class LangevinInfo(NamedTuple):
    """Nothing: every proposal is taken."""


class Langevin(eqx.Module):
    """θ' = θ − η∇𝓛(θ) + √(2ηT) ξ for many chains at once.

    `step_size` is η; None lets the driver set it to a stated fraction of the stability limit
    2/Λ_max(∇²𝓛), measured along the warm-up.
    """

    step_size: float | Array | None = None

    def init(self, posterior: GibbsPosterior, params: Any) -> LangevinState:
        return LangevinState(params)

    def step(
        self, posterior: GibbsPosterior, state: LangevinState, keys: PRNGKeyArray
    ) -> tuple[LangevinState, LangevinInfo]:
        """One step of every chain; `keys` holds one key for each."""
        assert self.step_size is not None, "the driver sets an open step size before it steps"
        gradient = jax.grad(lambda params: jnp.sum(posterior.energy(params)))(state.params)
        scale = jnp.sqrt(2 * self.step_size * posterior.temperature)
        noise = standard_normal_like(state.params, keys)
        params = jax.tree.map(
            lambda w, g, xi: w - self.step_size * g + scale * xi, state.params, gradient, noise
        )
        return LangevinState(params), LangevinInfo()


@eqx.filter_jit
def largest_curvature(
    posterior: GibbsPosterior, params: Any, key: PRNGKeyArray, num_iterations: int = 200
) -> Float[Array, " chains"]:
    """Λ_max(∇²𝓛) at each chain's parameters, by power iteration on Hessian–vector products.

    The stability limit of the dynamics is η < 2/Λ_max. Iterates until no chain's Rayleigh quotient
    changes by more than 10⁻³, at most `num_iterations` times.
    """
    gradient = jax.grad(lambda p: jnp.sum(posterior.energy(p)))
    num_chains = jax.tree.leaves(params)[0].shape[0]

    def product(a: Any, b: Any) -> Float[Array, " chains"]:
        terms = jax.tree.map(lambda x, y: jnp.sum((x * y).reshape(num_chains, -1), axis=1), a, b)
        return jnp.sum(jnp.stack(jax.tree.leaves(terms)), axis=0)

    def scaled(vector: Any, factor: Float[Array, " chains"]) -> Any:
        return jax.tree.map(lambda x: x * factor.reshape((-1,) + (1,) * (x.ndim - 1)), vector)

    def iterate(carry: tuple[Any, Array, Array, Array]) -> tuple[Any, Array, Array, Array]:
        vector, value, _, count = carry
        image = jax.jvp(gradient, (params,), (vector,))[1]
        updated = product(vector, image)
        change = jnp.max(jnp.abs(updated - value) / jnp.abs(updated))
        norm = jnp.sqrt(product(image, image))
        return scaled(image, 1 / norm), updated, change, count + 1

    def unfinished(carry: tuple[Any, Array, Array, Array]) -> Array:
        return (carry[2] > 1e-3) & (carry[3] < num_iterations)

    start = standard_normal_like(params, jax.random.split(key, num_chains))
    start = scaled(start, 1 / jnp.sqrt(product(start, start)))
    zero = jnp.zeros(num_chains, jax.tree.leaves(params)[0].dtype)
    carry = (start, zero, jnp.asarray(jnp.inf, zero.dtype), jnp.asarray(0))
    return jax.lax.while_loop(unfinished, iterate, carry)[1]


@eqx.filter_jit
def mean_squared_gradient(
    posterior: GibbsPosterior, params: Any, key: PRNGKeyArray, num_probes: int = 32
) -> Float[Array, " chains"]:
    """‖∇_θ f(x)‖² averaged over the test inputs, at each chain's parameters.

    To leading order in η (exactly, for a quadratic 𝓛) the dynamics' stationary covariance of θ is
    too large by ηT/2 in every direction, so that the variance of f(x) is too large by
    (ηT/2)‖∇_θ f(x)‖². The average is estimated with random signs: E_s‖∇_θ Σ_x s_x f(x)‖²/P_test.
    """
    num_chains = jax.tree.leaves(params)[0].shape[0]
    num_test = posterior.y_test.shape[0]
    outside = jax.random.split(key, num_chains)

    def probe(key: PRNGKeyArray) -> Float[Array, " chains"]:
        dtype = jax.tree.leaves(params)[0].dtype
        signs = jax.random.rademacher(key, (num_chains, num_test), dtype)
        gradient = jax.grad(lambda p: jnp.sum(signs * posterior.test_outputs(p, outside)))(params)
        squares = [
            jnp.sum(jnp.square(g).reshape(num_chains, -1), axis=1)
            for g in jax.tree.leaves(gradient)
        ]
        return jnp.sum(jnp.stack(squares), axis=0) / num_test

    return jnp.mean(jax.lax.map(probe, jax.random.split(key, num_probes)), axis=0)
