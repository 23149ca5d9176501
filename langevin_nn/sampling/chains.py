"""The driver: many chains of one transition, in one compiled program, in chunks.

Each chunk runs a number of steps and records observables into a buffer; weights are never stored,
only carried. Step s of chain c uses the key fold_in(key_c, s), so that chunked, resumed and
uninterrupted runs agree to the last bit on one kind of device.
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
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.model.posterior import GibbsPosterior
from langevin_nn.sampling.base import Transition
from langevin_nn.sampling.checkpoint import Checkpoint, Progress
from langevin_nn.sampling.langevin import largest_curvature, mean_squared_gradient
from langevin_nn.types import InputError

AUTO_FRACTION = 0.1
"""An open step size becomes this fraction of the stability limit 2/Λ_max at draws of the prior."""

FIRST_CHUNK_STEPS = 100
CHUNK_SECONDS = 2.0
BUFFER_BYTES = 64e6

Observable = Callable[[Any], Array]


class Diverged(InputError):
    """The step size lies above the stability limit, or every chain left the finite numbers."""


@dataclass(frozen=True)
class Chains:
    """Recorded draws of all chains, and what is needed to judge them.

    `test_outputs` (chain, draw, P_test) are f at the test inputs, `train_error` (chain, draw) the
    mean of (y − f)² over the training examples, `energy` (chain, draw) is 𝓛, `observables` what
    else was asked for, (chain, draw, …). `diverged` (chain,) marks chains with numbers that are
    not finite. `params` is the last state.

    `curvature` is the largest Λ_max(∇²𝓛) over the chains at the end of the warm-up, and
    `step_size_shift` the predicted shift of the variance at a test point, averaged over them,
    that the finite step size causes: (ηT/2)⟨‖∇_θ f‖²⟩ to leading order in η, exact for a quadratic.
    """

    test_outputs: Float[np.ndarray, "chain draw P_test"]
    train_error: Float[np.ndarray, "chain draw"]
    energy: Float[np.ndarray, "chain draw"]
    observables: dict[str, np.ndarray]
    y_test: Float[np.ndarray, " P_test"]
    targets_midpoint: float
    params: Any
    step_size: float
    curvature: float
    step_size_shift: float
    thinning: int
    wall_seconds: float

    @property
    def diverged(self) -> np.ndarray:
        finite = np.isfinite(self.energy).all(axis=1) & np.isfinite(self.test_outputs).all((1, 2))
        return ~finite

    @property
    def stability_limit(self) -> float:
        """2/Λ_max: the dynamics diverges for larger step sizes."""
        return 2 / self.curvature


@dataclass(frozen=True)
class Report:
    """What the driver tells `progress` after each chunk."""

    steps: int
    total_steps: int
    warmup_steps: int
    train_error: float
    diverged_chains: int


def sample(
    posterior: GibbsPosterior,
    transition: Transition,
    *,
    key: PRNGKeyArray,
    num_chains: int = 8,
    num_warmup: int = 20_000,
    num_samples: int = 1_000,
    thinning: int = 100,
    observables: Mapping[str, Observable] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Callable[[Report], None] | None = None,
) -> Chains:
    """Run `num_chains` chains from draws of the prior and record every `thinning`-th state.

    `num_warmup` steps come before the first recorded draw. An observable is a function of one
    network (as given to the posterior: on inputs (N_0,)) that returns an array. With a
    `checkpoint` folder the run is saved after each chunk of about two seconds; `resume` goes on
    from what is there, bit for bit as if it had never stopped.

    Raises `Diverged` for a step size above the stability limit, `InputError` for counts that are
    not positive and for a checkpoint that cannot be used.
    """
    for name, value, least in (
        ("num_chains", num_chains, 1),
        ("num_warmup", num_warmup, 0),
        ("num_samples", num_samples, 4),
        ("thinning", thinning, 1),
    ):
        if not isinstance(value, int) or value < least:
            raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")
    start = time.monotonic()
    key_init, key_steps, key_geometry = jax.random.split(key, 3)
    chain_keys = jax.random.split(key_steps, num_chains)
    posterior = _as_arrays(posterior)
    extra = dict(observables or {})
    state = transition.init(posterior, posterior.sample_prior(key_init, num_chains))
    saved = None
    if checkpoint is not None:
        settings = (num_chains, num_warmup, num_samples, thinning, sorted(extra))
        saved = Checkpoint(checkpoint, _fingerprint(posterior, transition, key, settings))
    chunks: list[dict[str, np.ndarray]] = []
    if saved and resume and saved.exists:
        state, done, chunks = saved.load(state)
        state = jax.tree.map(jnp.asarray, state)
    else:
        curvature = np.asarray(largest_curvature(posterior, state.params, key_geometry))
        done = Progress(0, 0, {"step_size": _stable_step_size(transition, curvature)})
    numbers = done.numbers
    earlier = numbers.get("seconds", 0.0)
    transition = _with_step_size(transition, posterior, numbers["step_size"])
    posterior, transition, state, chain_keys = _on_devices(posterior, transition, state, chain_keys)

    total = num_warmup + num_samples * thinning
    buffer = _buffer_for(posterior, state, chain_keys, extra, num_samples)
    capacity = len(buffer["energy"])
    affordable = FIRST_CHUNK_STEPS
    compiled = False
    while done.steps < total:
        began = time.monotonic()
        warm = done.steps < num_warmup
        if not warm and "curvature" not in numbers:
            numbers |= _geometry(posterior, state, key_geometry)
        if warm:
            stride, count = min(affordable, num_warmup - done.steps), 1
        else:
            most = min(capacity, num_samples - done.draws)
            stride, count = thinning, min(max(affordable // thinning, 1), most)
        state, buffer = _advance(
            posterior, transition, state, chain_keys, *_integers(done.steps, stride, count),
            buffer, extra,
        )  # fmt: skip
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
        if compiled:
            pace = (time.monotonic() - began) / (stride * count)
            affordable = max(1, int(CHUNK_SECONDS / pace))
        compiled = True
    draws = {
        name: np.moveaxis(np.concatenate([chunk[name] for chunk in chunks]), 0, 1)
        for name in chunks[0]
    }
    shift = 0.5 * numbers["step_size"] * float(posterior.temperature) * numbers["squared_gradient"]
    return Chains(
        test_outputs=draws.pop("test_outputs"),
        train_error=draws.pop("train_error"),
        energy=draws.pop("energy"),
        observables=draws,
        y_test=np.asarray(posterior.y_test, np.float64),
        targets_midpoint=float(posterior.targets_midpoint),
        params=state.params,
        step_size=numbers["step_size"],
        curvature=numbers["curvature"],
        step_size_shift=shift,
        thinning=thinning,
        wall_seconds=numbers["seconds"],
    )


@eqx.filter_jit
def _advance(
    posterior: GibbsPosterior,
    transition: Transition,
    state: Any,
    chain_keys: PRNGKeyArray,
    first_step: Array,
    stride: Array,
    count: Array,
    buffer: dict[str, Array],
    extra: Mapping[str, Observable],
) -> tuple[Any, dict[str, Array]]:
    """`count` times: `stride` steps, then one record. The counts are traced: one compilation."""

    def one_step(step: Array, state: Any) -> Any:
        return transition.step(posterior, state, _fold(chain_keys, step))[0]

    def one_draw(i: Array, carry: tuple[Any, dict[str, Array]]) -> tuple[Any, dict[str, Array]]:
        state, buffer = carry
        begin = first_step + i * stride
        state = jax.lax.fori_loop(begin, begin + stride, one_step, state)
        values = _observe(posterior, state, chain_keys, begin + stride, extra)
        return state, {name: buffer[name].at[i].set(value) for name, value in values.items()}

    return jax.lax.fori_loop(0, count, one_draw, (state, buffer))


def _observe(
    posterior: GibbsPosterior,
    state: Any,
    chain_keys: PRNGKeyArray,
    step: Array,
    extra: Mapping[str, Observable],
) -> dict[str, Array]:
    """What is recorded of one state, each with a leading chain axis."""
    # The transition uses fold_in(key_c, s) itself; the observables' keys are one fold deeper.
    keys = _fold(_fold(chain_keys, step), jnp.uint32(1))
    residuals = posterior.y_train - posterior.train_outputs(state.params)
    values = {
        "test_outputs": posterior.test_outputs(state.params, keys),
        "train_error": jnp.mean(jnp.square(residuals), axis=1),
        "energy": posterior.energy(state.params),
    }
    if extra:
        networks = posterior.lifted_networks(state.params, keys)
        values |= {name: eqx.filter_vmap(function)(networks) for name, function in extra.items()}
    return values


def _fold(keys: PRNGKeyArray, number: Array) -> PRNGKeyArray:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def _on_devices(posterior: Any, transition: Any, state: Any, keys: PRNGKeyArray) -> Any:
    """Chains shared out over as many devices as divide their number; the rest copied to each."""
    devices = jax.devices()
    number = max(n for n in range(1, len(devices) + 1) if len(keys) % n == 0)
    mesh = jax.sharding.Mesh(np.array(devices[:number]), ("chains",))
    shared = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("chains"))
    copied = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    copy, share = (
        lambda tree, to=to: jax.tree.map(
            lambda x: jax.device_put(x, to) if eqx.is_array_like(x) else x, tree
        )
        for to in (copied, shared)
    )
    return copy(posterior), copy(transition), share(state), share(keys)


def _integers(*values: int) -> tuple[Array, ...]:
    return tuple(jnp.asarray(value, jnp.int32) for value in values)


def _buffer_for(
    posterior: GibbsPosterior,
    state: Any,
    chain_keys: PRNGKeyArray,
    extra: Mapping[str, Observable],
    num_samples: int,
) -> dict[str, Array]:
    """Zeros for as many draws as are worth keeping on the device between two chunks."""
    shapes = eqx.filter_eval_shape(
        _observe, posterior, state, chain_keys, *_integers(0), extra
    )
    bytes_each = sum(shape.size * shape.dtype.itemsize for shape in shapes.values())
    capacity = min(max(int(BUFFER_BYTES / bytes_each), 1), num_samples)
    return {name: jnp.zeros((capacity, *s.shape), s.dtype) for name, s in shapes.items()}


def _dtype(posterior: GibbsPosterior) -> Any:
    return posterior.y_train.dtype


def _as_arrays(posterior: GibbsPosterior) -> GibbsPosterior:
    """Python numbers as arrays in the sampling precision: other values then compile nothing."""
    dtype = _dtype(posterior)
    return jax.tree.map(
        lambda x: jnp.asarray(x, dtype) if isinstance(x, float) else x, posterior
    )


def _with_step_size(transition: Any, posterior: GibbsPosterior, step_size: float) -> Any:
    value = jnp.asarray(step_size, _dtype(posterior))
    return eqx.tree_at(lambda t: t.step_size, transition, value, is_leaf=lambda x: x is None)


def _stable_step_size(transition: Transition, curvature: np.ndarray) -> float:
    """The step size to use, given Λ_max(∇²𝓛) of each chain at its start."""
    automatic = AUTO_FRACTION * 2 / float(np.max(curvature))
    if transition.step_size is None:
        return automatic
    step_size = float(transition.step_size)
    limit = 2 / float(np.min(curvature))
    if not 0 < step_size < limit:
        raise Diverged(
            f"step_size = {step_size:.3g} is not between 0 and the stability limit 2/Λ_max = "
            f"{limit:.3g}, above which the dynamics diverges (Λ_max measured at draws of the "
            f'prior): write step_size = {automatic:.2g} or step_size = "auto"'
        )
    return step_size


def _geometry(posterior: GibbsPosterior, state: Any, key: PRNGKeyArray) -> dict[str, float]:
    """Λ_max over the chains and the mean ‖∇_θ f‖² at the test inputs, where the chains are now."""
    curvature = largest_curvature(posterior, state.params, key)
    gradient = mean_squared_gradient(posterior, state.params, key)
    return {
        "curvature": float(np.nanmax(curvature)),
        "squared_gradient": float(np.nanmean(gradient)),
    }


def _fingerprint(
    posterior: GibbsPosterior, transition: Transition, key: PRNGKeyArray, settings: Any
) -> str:
    """A hash of all that the draws depend on."""
    digest = hashlib.sha256()
    for leaf in (*jax.tree.leaves(posterior), jax.random.key_data(key)):
        if eqx.is_array_like(leaf):
            digest.update(np.asarray(leaf).tobytes())
    spec = posterior.spec
    activation = spec.activation.name if spec.activation else ""
    words = (spec.architecture, spec.hidden_widths, activation, type(transition).__name__)
    digest.update(repr((*words, transition.step_size, settings)).encode())
    return digest.hexdigest()
