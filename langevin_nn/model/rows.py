"""The weights of networks as rows of numbers, for what is made of matrices over all of them."""

from collections.abc import Callable
from typing import Any

import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

__all__ = ["BatchOf", "rows_of"]

BatchOf = Callable[[Array], Any]
"""A function from a row of weights to a batch of one network; made by `rows_of`."""


def rows_of(params: Any) -> tuple[Float[Array, "n K"], BatchOf]:
    """The weights of each network of a batch as one row, and the function back to a batch of one.

    As a static argument of a compiled function it is equal to that of any batch of such networks.

    >>> rows, batch_of = rows_of([jnp.zeros((3, 2, 2)), jnp.ones((3, 1))])
    >>> rows.shape, [leaf.shape for leaf in batch_of(rows[0])]
    ((3, 5), [(1, 2, 2), (1, 1)])
    """
    _, batch_of = ravel_pytree(jax.tree.map(lambda leaf: leaf[:1], params))
    return jax.vmap(lambda network: ravel_pytree(network)[0])(params), batch_of
