"""Products of matrices in full precision, on every device; float64 where it is needed.

GPUs multiply float32 matrices in TF32 unless they are told not to: 10 bits of mantissa in place of
23, which is what JAX lets them do by default. With a relative error of 10⁻³ in every f(x_μ) what is
sampled would depend on the device. On a CPU nothing changes: it knows one precision.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from langevin_nn.errors import InputError

MATMUL_PRECISION = "highest"
"""The precision of every product of weights, inputs and features, whatever JAX's setting is."""

F = TypeVar("F", bound=Callable[..., Any])


def full_precision(function: F) -> F:
    """`function` with the matrix products that it makes, or traces, in MATMUL_PRECISION."""

    @functools.wraps(function)
    def in_full(*args: Any, **kwargs: Any) -> Any:
        with jax.default_matmul_precision(MATMUL_PRECISION):
            return function(*args, **kwargs)

    return cast(F, in_full)


def require_float64(what: str = "theory is") -> None:
    """Do nothing if JAX computes in float64; `what` begins the message otherwise.

    Raises:
        InputError: float64 is off; the message says which line to add.

    >>> require_float64("random features are")
    """
    if jnp.result_type(float) != np.float64:
        raise InputError(
            f"{what} computed in float64, which JAX has switched off: add the line "
            '`jax.config.update("jax_enable_x64", True)` before the first use of JAX'
        )
