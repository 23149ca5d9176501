"""How the driver's program is compiled."""

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax

Function = TypeVar("Function", bound=Callable[..., Any])

LEVEL = "xla_backend_optimization_level"
CPU_OPTIONS = {LEVEL: 2}
"""What XLA is told on CPUs.

At its default, level 3, it takes 1.3 times as long for the program that samples (6.9 and 5.2 s at
P = 100, N_1 = 200), and that is no faster: for five problems, from P = 50, N_1 = 20 to P = 500,
N_1 = 500, level 2 took 0.7 to 1.1 times the time of level 3. It changes the last bits of the draws.
"""


def compiled(function: Function) -> Function:
    """The function compiled by `equinox.filter_jit`, on CPUs with `CPU_OPTIONS`.

    A level in XLA_FLAGS counts for more. It must be no part of another compiled function, nor be
    asked for shapes: JAX takes options for a program as a whole only.
    """

    @functools.cache
    def program(backend: str) -> Callable[..., Any]:
        is_set = LEVEL in os.environ.get("XLA_FLAGS", "")
        options = {} if is_set or backend != "cpu" else {"compiler_options": CPU_OPTIONS}
        return eqx.filter_jit(function, **options)  # type: ignore[call-overload]

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return program(jax.default_backend())(*arguments)

    return call  # type: ignore[return-value]
