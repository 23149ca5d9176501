"""The outputs of a network are those of the data: whether its sizes fit, and what it returns."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from langevin_nn.errors import TRACING_ERRORS, InputError, first_line
from langevin_nn.model.networks.base import Network, overridden

__all__ = ["require_output"]


def _require_sizes(network: Network, in_size: int, num_outputs: int) -> None:
    """Raise `InputError` unless the network has these inputs and outputs, those of the data."""
    if network.in_size != in_size:
        raise InputError(
            f"the network takes inputs of size {network.in_size}, the data have {in_size}: "
            f"{network.with_inputs(in_size)}"
        )
    if network.num_outputs != num_outputs:
        raise InputError(
            f"the network has {network.num_outputs} output(s), the data have {num_outputs}: "
            f"{network.with_outputs(num_outputs)}"
        )


def require_output(network: Any, in_size: int, num_outputs: int, dtype: Any) -> None:
    """Raise `InputError` unless `network` maps one input (N_0,) to (D,), or for D = 1 to ()."""
    if isinstance(network, Network):
        _require_sizes(network, in_size, num_outputs)
        if overridden(network, "batch", "__call__"):
            raise InputError(
                f"{type(network).__name__} has a __call__ of its own and inherits batch(x), which "
                "is what is sampled: write batch(x), or derive it from equinox.Module alone"
            )
    example = jax.ShapeDtypeStruct((in_size,), dtype)
    expected = () if num_outputs == 1 else (num_outputs,)
    described = "a single number ()" if num_outputs == 1 else f"the targets' ({num_outputs},)"
    try:
        output = eqx.filter_eval_shape(network, example)
    except TRACING_ERRORS as error:
        raise InputError(
            "the network does not fit the data: it fails on an input of shape "
            f"({in_size},): {first_line(error)}"
        ) from error
    is_array = isinstance(output, jax.ShapeDtypeStruct)
    is_real = is_array and jnp.issubdtype(output.dtype, jnp.floating)
    if not is_real or output.shape != expected:
        returned = type(output).__name__
        if is_array:
            returned = f"{output.shape}" if is_real else f"{output.dtype} {output.shape}"
        number = "one real number ()" if num_outputs == 1 else f"real numbers of shape {expected}"
        advice = f"let it return {number}"
        if is_real and (output.shape == () or output.ndim == 1 and output.shape != (1,)):
            columns = f"P, {output.shape[0]}" if output.shape else "P,"
            advice += f", or give targets of shape ({columns})"
        raise InputError(
            f"the network does not fit the data: it maps an input of shape ({in_size},) to "
            f"{returned}, not to {described}: {advice}"
        )
