"""Barker's proposal: θ' = θ ± εξ, + with probability 1/(1 + exp(εξ ∂U)) for each weight, U = β𝓛.

ξ ~ N(0, 1), and an acceptance step (Livingstone, Zanella, J. R. Stat. Soc. B 84, 496, 2022).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

import langevin_nn as lnn


class Info(NamedTuple):
    acceptance: jax.Array


class Barker(lnn.Dynamics):
    step_size: float | None = None

    def start(self, posterior, params, key):
        return self.settings(self.step_size or 0.2)

    def step(self, posterior, state, settings, keys):
        def energy_and_slope(w):
            energy, pull = jax.vjp(lambda w: posterior.potential(jax.vmap(build)(w)), w)
            return energy, pull(jnp.ones_like(energy))[0]

        build = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], state.params))[1]
        w = jax.vmap(lambda params: ravel_pytree(params)[0])(state.params)
        draws = jax.vmap(lambda key: jax.random.normal(key, (2 * w[0].size + 1,), w.dtype))(keys)
        noise, coins = draws[:, : w[0].size], jax.scipy.special.ndtr(draws[:, w[0].size :])
        (energy, slope), z = energy_and_slope(w), settings.step_size * noise
        z = jnp.where(coins[:, 1:] < jax.nn.sigmoid(-z * slope), z, -z)
        after, back = energy_and_slope(w + z)
        ratio = jax.nn.log_sigmoid(z * back) - jax.nn.log_sigmoid(-z * slope)
        acceptance = jnp.exp(jnp.minimum(energy - after + ratio.sum(axis=1), 0))
        w = jnp.where(coins[:, :1] < acceptance[:, None], w + z, w)
        return state._replace(params=jax.vmap(build)(w)), Info(acceptance)
