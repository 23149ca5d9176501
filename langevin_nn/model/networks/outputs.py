"""The outputs of a network are those of the data: whether its sizes fit, and what it returns."""

import inspect
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from langevin_nn.errors import TRACING_ERRORS, InputError, first_line
from langevin_nn.import_paths import is_of_own_code, reason_in, reason_of
from langevin_nn.model.networks.base import Network, inherits_batch, is_own_network, overridden
from langevin_nn.values import shown

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
    reads_features = is_own_network(network) and inherits_batch(network)
    expected = () if num_outputs == 1 else (num_outputs,)
    described = "a single number ()" if num_outputs == 1 else f"the targets' ({num_outputs},)"
    try:
        if reads_features:
            _require_features_of_readout(network, example)
        output = eqx.filter_eval_shape(network, example)
    except InputError:
        raise
    except TRACING_ERRORS as error:
        raise _failure(network, in_size, error) from error
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


def _require_features_of_readout(network: Network, example: jax.ShapeDtypeStruct) -> None:
    """Raise `InputError` unless the features of one input are as many as the read-out multiplies.

    A single feature would be broadcast against all of them.
    """
    *below, readout = network.weights
    if not below:
        return
    inputs = jax.ShapeDtypeStruct((1, *example.shape), example.dtype)
    features = eqx.filter_eval_shape(lambda network, x: network.features(x), network, inputs)
    shape = getattr(features, "shape", None)
    if shape not in ((1, readout.shape[-1]), (1, readout.size)):
        given = f"an array of shape {shape}" if shape is not None else shown(features)
        raise InputError(
            f"{type(network).__name__}.features gives {given} for one input, and the read-out "
            f"multiplies {readout.shape[-1]} features of each: write features(x) that gives (1, "
            f"{readout.shape[-1]}) there, or batch(x) and features(x) that go together"
        )


def _failure(network: Any, in_size: int, error: Exception) -> InputError:
    """The error for a network that fails on an input of the data's size, with its reason."""
    where = f"fails on an input of shape ({in_size},)"
    if is_of_own_code(error) or is_own_network(network):
        return InputError(
            f"the network {type(network).__name__} {where} ({_reason(network, error)}): correct it"
        )
    return InputError(
        f"the network does not fit the data: it {where}: {type(error).__name__}: "
        f"{first_line(error)}: write a network of {in_size} inputs"
    )


def _reason(network: Any, error: Exception) -> str:
    """The kind of an error and its message, with the file and the line of the network's class."""
    if is_of_own_code(error):
        return reason_of(error)
    try:
        file = Path(inspect.getsourcefile(type(network)) or "")
    except (TypeError, OSError):  # of a class that is written in no file
        return reason_of(error)
    return f"{file.name}, {reason_in(file, error)}"
