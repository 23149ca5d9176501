"""The Gaussian prior of the weights: W^ℓ_ij ~ N(0, 1/λ_ℓ), not tempered.

Its energy is ½ Σ_ℓ λ_ℓ‖W^ℓ‖², whatever the temperature: β never multiplies it.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.types import InputError


class GaussianPrior(eqx.Module):
    """One precision λ_ℓ for each parameter array of the network, in the order of its layers.

    For an Equinox module of the user's own the arrays come in the order of `jax.tree.leaves`;
    `check` says how many there are.
    """

    precisions: tuple[float | Array, ...]

    def __init__(self, precisions: Sequence[float]) -> None:
        if not precisions or not all(0 < p < float("inf") for p in precisions):
            raise InputError(f"prior precisions must be positive and finite, got {precisions}")
        self.precisions = tuple(float(p) for p in precisions)

    def check(self, params: Any) -> None:
        """Raise `InputError` unless there is one precision for each array of `params`."""
        arrays = jax.tree_util.tree_leaves_with_path(params)
        if len(arrays) != len(self.precisions):
            listed = ", ".join(f"{jax.tree_util.keystr(path)} {a.shape}" for path, a in arrays)
            raise InputError(
                f"the prior has {len(self.precisions)} precision(s) {self.precisions}, the network "
                f"{len(arrays)} parameter array(s) ({listed}): give one precision for each"
            )

    def sample(self, key: PRNGKeyArray, params: Any, num_chains: int) -> Any:
        """Independent draws in the shapes of `params`, each array with a leading chain axis."""
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(key, len(leaves))
        draws = [
            jax.random.normal(k, (num_chains, *leaf.shape), leaf.dtype) / precision**0.5
            for k, leaf, precision in zip(keys, leaves, self.precisions, strict=True)
        ]
        return jax.tree.unflatten(structure, draws)

    def energy(self, params: Any) -> Float[Array, " chains"]:
        """½ Σ_ℓ λ_ℓ‖W^ℓ‖² of each chain; the arrays of `params` have a leading chain axis."""
        leaves = jax.tree.leaves(params)
        squares = [jnp.sum(jnp.square(leaf), axis=range(1, leaf.ndim)) for leaf in leaves]
        terms = [0.5 * p * s for p, s in zip(self.precisions, squares, strict=True)]
        return jnp.sum(jnp.stack(terms), axis=0)
