"""The derivative of a function of parameters along a direction, whatever rules its parts have."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp


def derivative_along(function: Callable[[Any], Any], params: Any, direction: Any) -> Any:
    """The derivative of the function's values, a tree of arrays, at `params` along `direction`."""
    program = jax.make_jaxpr(function)(params).jaxpr
    if not any(name.startswith("custom_vjp_call") for name in _operations(program)):
        return jax.jvp(function, (params,), (direction,))[1]
    # A part has a rule for the backward pass alone (`jax.custom_vjp`). That pass is linear in its
    # cotangents: its own backward pass is the derivative forward.
    values, pull = jax.vjp(function, params)
    return jax.vjp(pull, jax.tree.map(jnp.zeros_like, values))[1]((direction,))[0]


def _operations(program: Any) -> Iterator[str]:
    """The names of all operations of a traced function, those inside of loops and calls too."""
    for equation in program.eqns:
        yield equation.primitive.name
        for parameter in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                yield from _operations(inner)
