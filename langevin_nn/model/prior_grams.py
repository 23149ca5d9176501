"""Gram matrices of networks drawn from the prior: what a network's layers are held against."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from langevin_nn.model.ensemble import Drawn
from langevin_nn.model.networks.base import Network, says_layers
from langevin_nn.model.prior import GaussianPrior

__all__ = ["drawn_grams", "drawn_of"]

BATCH = 12
"""The networks that are drawn at once."""


def drawn_grams(
    network: Network, prior: GaussianPrior, x: Float[np.ndarray, "P N_0"], num_draws: int
) -> Float[np.ndarray, "draws P P"]:
    """F Fᵀ/(λ_L M) + 1/λ_b of independent draws from the prior, float64.

    F (P, M) are the read-out's features at the inputs `x`, and λ_b is the precision of its bias,
    if it has one. The draws are the same in each call.
    """
    arrays, rest = eqx.partition(network, eqx.is_inexact_array)
    inputs = jnp.asarray(x, jax.tree.leaves(arrays)[0].dtype)

    @eqx.filter_jit
    def features(networks: Any) -> Any:
        return jax.lax.map(lambda one: eqx.combine(one, rest).features(inputs), networks)

    keys = jax.random.split(jax.random.key(1), -(-num_draws // BATCH))
    batches = [features(prior.sample(key, arrays, BATCH)) for key in keys]
    drawn = np.concatenate([np.asarray(batch, np.float64) for batch in batches])[:num_draws]
    bias = 0.0 if prior.bias_precisions is None else 1 / prior.bias_precisions[-1]
    return np.stack([f @ f.T / (prior.precisions[-1] * f.shape[-1]) + bias for f in drawn])


def drawn_of(network: Any, prior: GaussianPrior, x_train: Float[Array, "P r"]) -> Drawn | None:
    """What an ensemble knows of draws of a network that says layers of its own; else None.

    `x_train` are the training inputs as the network sees them.
    """
    if not (isinstance(network, Network) and says_layers(network)):
        return None

    def grams(places: Int[np.ndarray, " n"], num_draws: int) -> Float[np.ndarray, "draws n n"]:
        return drawn_grams(network, prior, np.asarray(x_train)[places], num_draws)

    identity = jax.tree.structure(network), tuple(network.hidden_widths), prior
    return Drawn(type(network), identity, grams)
