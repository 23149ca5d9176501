"""Experiments, one folder for each question: configuration, measurement, figures and results.

    python -m experiments.NAME [--smoke | --full | --draw] [FOLDER]

from the top of the repository. What is compared with a theory is computed in float64, with a CPU
device for each core: JAX is told so here, before any experiment computes, and so in the processes
that one starts as well.
"""

import contextlib
import os

import jax


def num_cores() -> int:
    """The number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


jax.config.update("jax_enable_x64", True)
_flags = os.environ.get("XLA_FLAGS", "")
if "JAX_NUM_CPU_DEVICES" not in os.environ and "host_platform_device_count" not in _flags:
    with contextlib.suppress(RuntimeError):  # where JAX already runs, its devices stay
        jax.config.update("jax_num_cpu_devices", num_cores())
