"""The driver: many chains of one transition, in one compiled program, in chunks.

Each chunk runs a number of steps and records observables into a buffer; weights are never stored,
only carried. Chains are shared out over JAX's devices. Step s of chain c uses the key
fold_in(key_c, s), so that chunked, resumed and uninterrupted runs agree to the last bit as long as
they run on the same number of devices of one kind.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from threadpoolctl import ThreadpoolController

from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.base import Transition
from langevin_nn.sampling.checkpoint import Checkpoint, Progress
from langevin_nn.sampling.draws import Chains, assemble
from langevin_nn.sampling.program import (
    Observable,
    advance,
    buffer_for,
    copied,
    mesh_for,
    shared,
)
from langevin_nn.sampling.step_size import Diverged
from langevin_nn.types import InputError

FIRST_CHUNK_STEPS = 100
CHUNK_SECONDS = 2.0
BUFFER_BYTES = 64e6


@dataclass(frozen=True)
class Report:
    """What the driver tells `progress` after each chunk."""

    steps: int
    total_steps: int
    warmup_steps: int
    train_error: float
    diverged_chains: int


def sample(
    posterior: Posterior,
    transition: Transition,
    *,
    key: PRNGKeyArray,
    num_chains: int = 8,
    num_warmup: int | None = None,
    num_samples: int = 1_000,
    thinning: int | None = None,
    observables: Mapping[str, Observable] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Callable[[Report], None] | None = None,
) -> Chains:
    """Run `num_chains` chains from draws of the prior and record every `thinning`-th state.

    `num_warmup` steps come before the first recorded draw; a step of `Split` is a trajectory. Left
    out, `num_warmup` and `thinning` are the transition's own defaults. An observable is a function
    of one network (as given to the posterior: on inputs (N_0,)) that returns an array. With a
    `checkpoint` folder the run is saved after each chunk of about two seconds; `resume` goes on
    from what is there, bit for bit as if it had never stopped.

    Raises `Diverged` for a step size above the stability limit, `InputError` for counts that are
    not positive and for a checkpoint that cannot be used.
    """
    num_warmup = transition.default_warmup if num_warmup is None else num_warmup
    thinning = transition.default_thinning if thinning is None else thinning
    for name, value, least in (
        ("num_chains", num_chains, 1),
        ("num_warmup", num_warmup, 0),
        ("num_samples", num_samples, 4),
        ("thinning", thinning, 1),
    ):
        if not isinstance(value, int) or value < least:
            raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")
    start = time.monotonic()
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    key_init, key_geometry, *streams = jax.random.split(key, 4)
    # Two streams for each chain: one for its steps, one for what is drawn at its records.
    keys = tuple(jax.random.split(stream, num_chains) for stream in streams)
    posterior = _as_arrays(posterior)
    extra = dict(observables or {})
    # Compiled: one by one the operations on a marginalised read-out are new programs in every run.
    params = posterior.sample_prior(key_init, num_chains)
    state = eqx.filter_jit(transition.init)(posterior, params)
    saved = None
    if checkpoint is not None:
        settings = (num_chains, num_warmup, num_samples, thinning, sorted(extra))
        saved = Checkpoint(checkpoint, _fingerprint(posterior, transition, key, settings))
    chunks: list[dict[str, np.ndarray]] = []
    if saved and resume and saved.exists:
        state, done, chunks = saved.load(state)
        state = jax.tree.map(jnp.asarray, state)
    else:
        done = Progress(0, 0, dict(transition.prepare(posterior, state, key_geometry)))
    numbers = done.numbers
    earlier = numbers.get("seconds", 0.0)
    moving = transition.with_numbers(numbers, _dtype(posterior))
    buffer = buffer_for(posterior, moving, state, keys[1], extra, num_samples, BUFFER_BYTES)
    capacity = len(buffer["energy"])
    mesh = mesh_for(num_chains)
    state, keys = shared(mesh, (state, keys), axis=0)
    buffer = shared(mesh, buffer, axis=1)
    target, dynamics = copied(mesh, (posterior, moving))

    # Cholesky factors of a few hundred rows are slower, up to forty times on a busy machine, where
    # the threads of BLAS wait for each other.
    blas = ThreadpoolController().select(user_api="blas")
    total = num_warmup + num_samples * thinning
    pace = _Pace()
    while done.steps < total:
        pace.start()
        warm = done.steps < num_warmup
        if not warm and "settled" not in numbers:
            here = jax.tree.map(jnp.asarray, jax.device_get(state))
            found = transition.settle(posterior, here, numbers, key_geometry)
            numbers |= {**found, "settled": 1.0}
            dynamics = copied(mesh, transition.with_numbers(numbers, _dtype(posterior)))
        if warm:
            stride, count = min(pace.steps, num_warmup - done.steps), 1
        else:
            most = min(capacity, num_samples - done.draws)
            stride, count = thinning, min(max(pace.steps // thinning, 1), most)
        counts = _integers(done.steps, stride, count)
        with blas.limit(limits=1):
            state, buffer = advance(target, dynamics, state, keys, counts, buffer, extra)
            chunk = {name: np.array(values[:count]) for name, values in buffer.items()}
        done = Progress(done.steps + stride * count, done.draws + (not warm) * count, numbers)
        finite = np.isfinite(chunk["energy"]).all(axis=0)
        if not finite.any():
            raise Diverged(
                f"all {num_chains} chains diverged within {done.steps} steps at step_size = "
                f"{numbers['step_size']:.3g}: write step_size = {numbers['step_size'] / 10:.2g} "
                'or step_size = "auto"'
            )
        if not warm:
            chunks.append(chunk)
        numbers["seconds"] = earlier + time.monotonic() - start
        if saved:
            saved.save(state, done, None if warm else chunk)
        if progress:
            error = float(np.mean(chunk["train_error"][-1][finite]))
            progress(Report(done.steps, total, num_warmup, error, int(np.sum(~finite))))
        pace.stop(stride * count)
    return assemble(posterior, state, numbers, chunks, thinning)


class _Pace:
    """How many steps make a chunk of about CHUNK_SECONDS, from the time of the last one.

    The first chunk is short, and its time, which is compilation, tells nothing.
    """

    def __init__(self) -> None:
        self.steps = FIRST_CHUNK_STEPS
        self._compiled = False
        self._began = 0.0

    def start(self) -> None:
        self._began = time.monotonic()

    def stop(self, steps: int) -> None:
        if self._compiled:
            each = (time.monotonic() - self._began) / steps
            self.steps = max(1, int(CHUNK_SECONDS / each))
        self._compiled = True


def _integers(first_step: int, stride: int, count: int) -> tuple[Array, Array, Array]:
    return jnp.int32(first_step), jnp.int32(stride), jnp.int32(count)


def _dtype(posterior: Posterior) -> Any:
    return posterior.y_train.dtype


def _as_arrays(posterior: Posterior) -> Posterior:
    """Python numbers as arrays in the sampling precision: other values then compile nothing."""
    dtype = _dtype(posterior)
    return jax.tree.map(lambda x: jnp.asarray(x, dtype) if isinstance(x, float) else x, posterior)


def _fingerprint(
    posterior: Posterior, transition: Transition, key: PRNGKeyArray, settings: Any
) -> str:
    """A hash of all that the draws depend on."""
    digest = hashlib.sha256()
    for leaf in (*jax.tree.leaves(posterior), jax.random.key_data(key)):
        if eqx.is_array_like(leaf):
            digest.update(np.asarray(leaf).tobytes())
    spec = posterior.spec
    activation = spec.activation.name if spec.activation else ""
    words = (spec.architecture, spec.hidden_widths, activation, type(transition).__name__)
    shape = (spec.patches, spec.num_outputs, spec.bias_precisions, type(posterior).__name__)
    own = [str(number) for number in jax.tree.leaves(transition, is_leaf=lambda x: x is None)]
    digest.update(repr((*words, *shape, own, settings)).encode())
    return digest.hexdigest()
