"""The weights of networks as rows of numbers, for what is made of matrices over all of them."""

from collections.abc import Callable
from typing import Any

import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

__all__ = ["BatchOf", "rows_of"]

BatchOf = Callable[[Array], Any]
"""What makes a batch of one network of a row of weights; `rows_of` gives it."""


def rows_of(params: Any) -> tuple[Float[Array, "n K"], BatchOf]:
    """The weights of each network of a batch as one row, and what makes a batch of one of a row.

    As a static argument of a compiled function it is equal to that of any batch of such networks.

    >>> rows, batch_of = rows_of([jnp.zeros((3, 2, 2)), jnp.ones((3, 1))])
    >>> rows.shape, [leaf.shape for leaf in batch_of(rows[0])]
    ((3, 5), [(1, 2, 2), (1, 1)])
    """
    _, batch_of = ravel_pytree(jax.tree.map(lambda leaf: leaf[:1], params))
    return jax.vmap(lambda one: ravel_pytree(one)[0])(params), batch_of
