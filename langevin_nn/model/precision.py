"""Products of matrices in full precision, on every device.

GPUs multiply float32 matrices in TF32 unless they are told not to: 10 bits of mantissa in place of
23, which is what JAX lets them do by default. With a relative error of 10⁻³ in every f(x_μ) what is
sampled would depend on the device. On a CPU nothing changes: it knows one precision.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax

MATMUL_PRECISION = "highest"
"""Of every product of weights, inputs and features, whatever JAX's own setting is."""

F = TypeVar("F", bound=Callable[..., Any])


def full_precision(function: F) -> F:
    """`function` with the matrix products that it makes, or traces, in MATMUL_PRECISION."""

    @functools.wraps(function)
    def in_full(*args: Any, **kwargs: Any) -> Any:
        with jax.default_matmul_precision(MATMUL_PRECISION):
            return function(*args, **kwargs)

    return cast(F, in_full)
