"""The derivative of a function of parameters along a direction, whatever rules its parts have."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def derivative_along(function: Callable[[Any], Any], params: Any, direction: Any) -> Any:
    """The derivative of the function's values, a tree of arrays, at `params` along `direction`."""
    try:
        return jax.jvp(function, (params,), (direction,))[1]
    except TypeError:
        # A part has a rule for the backward pass alone (`jax.custom_vjp`). That pass is linear in
        # its cotangents: its own backward pass is the derivative forward.
        values, pull = jax.vjp(function, params)
        return jax.vjp(pull, jax.tree.map(jnp.zeros_like, values))[1]((direction,))[0]
