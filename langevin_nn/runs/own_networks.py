"""A network of the user's own, held against the configuration that makes it and against itself."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from langevin_nn.config.record import RunConfig
from langevin_nn.data.dataset import Dataset
from langevin_nn.import_paths import is_import_path
from langevin_nn.model.networks.base import Network, layers_of, says_layers
from langevin_nn.model.posterior import Posterior
from langevin_nn.model.prior_grams import drawn_grams
from langevin_nn.theory.own_layers import NUM_DRAWS, NUM_INPUTS, require_agreement
from langevin_nn.types import InputError
from langevin_nn.values import shown

__all__ = ["require_as_asked", "require_layers"]

LEAST_WIDTH = 300
"""The width of the narrowest layer of the networks that are drawn, but for very large ones."""
MOST_WEIGHTS = 4_000_000
"""Weights of the largest network that is drawn."""
_agreeing: set[Any] = set()
"""What this process has found to agree, by all that it depends on."""


def require_as_asked(network: Network, kind: type[Network], config: RunConfig) -> None:
    """Raise `InputError` where `from_config` of the user's own makes another network than asked."""
    chosen = config.network
    if not is_import_path(chosen.architecture):
        return
    name = f"{chosen.architecture}.from_config"
    if not isinstance(network, kind):
        raise InputError(
            f"{name} gives a {type(network).__name__}, and is to give a {kind.__name__}: write "
            "return cls(…)"
        )
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves((network.weights, network.biases))}
    for what, made, asked in (
        ("hidden_widths", list(network.hidden_widths), list(chosen.hidden_widths)),
        ("biases", bool(network.biases), chosen.biases),
        ("weights of type", sorted(dtypes), [config.precision]),
    ):
        if made != asked:
            raise InputError(
                f"{name} gives a network with {what} {shown(made)}, and was asked for "
                f"{shown(asked)}: write return cls(…) with what it is given"
            )


def require_layers(
    posterior: Posterior, kind: type[Network], config: RunConfig, data: Dataset
) -> None:
    """Raise `InputError` where the layers of a network of the user's own are another network's.

    The Gram matrix that follows of its `layers` is held against that of random networks' features,
    as wide as is quick. What is too large for that is not looked at.
    """
    if not says_layers(posterior.network):
        return
    key = kind, config.network, config.prior, data.in_size, data.num_outputs
    if key in _agreeing or (wide := _widened(kind, config, data)) is None:
        return
    spec = replace(
        posterior.spec, own_layers=layers_of(wide), hidden_widths=tuple(wide.hidden_widths)
    )
    draws = np.random.default_rng(0).standard_normal((NUM_INPUTS, data.in_size))
    x = draws + 0.7 * draws[:1]  # correlated, and of different lengths
    require_agreement(kind, spec, x, drawn_grams(wide, posterior.prior, x, NUM_DRAWS))
    _agreeing.add(key)


def _widened(kind: type[Network], config: RunConfig, data: Dataset) -> Network | None:
    """The network with all its widths multiplied; None where it is too large to be drawn."""
    widths = config.network.hidden_widths
    factor = max(1, -(-LEAST_WIDTH // min(widths, default=LEAST_WIDTH)))
    while True:
        chosen = replace(config.network, hidden_widths=tuple(factor * width for width in widths))
        if kind.sizes(chosen, data).num_drawn <= MOST_WEIGHTS:
            return kind.from_config(chosen, data, key=jax.random.key(0), dtype=jnp.float32)
        if factor == 1:
            return None
        factor //= 2
