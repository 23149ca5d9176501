"""Standard Gaussian numbers for many chains: half of a step's cost on a CPU, so it is kept short.

JAX's default generator computes two words of Threefry-2x32 (Salmon et al., SC'11) for each 32-bit
word that it returns. In float32 both are used here, as inputs to the same inverse error function
that `jax.random.normal` applies; in float64 `jax.random.normal` is called.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_2x32
from jaxtyping import Array, PRNGKeyArray

from langevin_nn.types import ChainKeys


def standard_normal_like(params: Any, keys: ChainKeys) -> Any:
    """Independent N(0, 1) in the shapes of `params`: chain c's numbers depend on `keys[c]` only."""
    leaves, structure = jax.tree.flatten(params)

    def draw(key: PRNGKeyArray) -> list[Array]:
        parts = jax.random.split(key, len(leaves))
        return [
            standard_normal(part, leaf.shape[1:], leaf.dtype)
            for part, leaf in zip(parts, leaves, strict=True)
        ]

    return jax.tree.unflatten(structure, jax.vmap(draw)(keys))


def standard_normal(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Array:
    """Independent N(0, 1) of one key."""
    if dtype != jnp.float32:
        return jax.random.normal(key, shape, dtype)
    count = math.prod(shape)
    counter = jnp.arange(count + count % 2, dtype=jnp.uint32)
    words = threefry_2x32(jax.random.key_data(key), counter)[:count].reshape(shape)
    # 23 random bits as the mantissa of a number in [1, 2), then (−1, 1), then the inverse of Φ.
    unit = jax.lax.bitcast_convert_type((words >> 9) | jnp.uint32(0x3F800000), jnp.float32) - 1
    low = np.nextafter(np.float32(-1), np.float32(0))
    symmetric = jnp.maximum(unit * (1 - low) + low, low)
    return np.float32(math.sqrt(2)) * jax.lax.erf_inv(symmetric)
