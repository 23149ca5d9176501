"""Metropolis-adjusted dynamics that rotates in the Gaussian prior: exact at any step size.

In whitened weights q = √λ W the posterior is p(q) ∝ exp(−Φ(q) − ½q²), Φ the posterior's `misfit`.
With momenta p ~ N(0, 1) the flow of H = Φ + ½q² + ½p² is split into two flows that are exact:

    p ← p − ½ε∇Φ;     (q, p) ← (q cos ε + p sin ε, p cos ε − q sin ε);     p ← p − ½ε∇Φ

A trajectory is several such steps, accepted with probability min(1, exp(−ΔH)), p reversed if not.
The rotation leaves the prior as it is, so only Φ limits the angle ε: where data constrain little,
ε is of order one and a trajectory of length π/2 forgets where it began. (Neal 2011, section 5.5.1;
Beskos, Pinski, Sanz-Serna, Stuart, Stoch. Proc. Appl. 121, 2201, 2011; Shahbaba, Lan, Johnson,
Neal, Stat. Comput. 24, 339, 2014.) Before each trajectory p ← √(1−r) p + √r ξ (Horowitz 1991).

During the warm-up an open step size follows the acceptance by dual averaging (Hoffman, Gelman,
JMLR 15, 1593, 2014, section 3.2), one step size for all chains; then it is frozen.
"""

import math
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.noise import standard_normal_like
from langevin_nn.types import ChainKeys, InputError

FIRST_STEP_SIZE = 0.1
"""Where an open step size starts; it stays there without a warm-up."""
LARGEST_STEP_SIZE = math.pi / 2
DEFAULT_TRAJECTORY = math.pi / 2
"""The rotation that puts p in the place of q."""
MOST_STEPS = 1000
"""A trajectory has no more steps than this, whatever its length."""


class Adaptation(NamedTuple):
    """Dual averaging: trajectories so far, mean error of the acceptance, log ε and its average."""

    trajectories: Float[Array, " chains"]
    error: Float[Array, " chains"]
    log_step: Float[Array, " chains"]
    log_average: Float[Array, " chains"]


class SplitState(NamedTuple):
    """Weights, whitened momenta, Φ and ∇_WΦ of each chain; the adaptation, the same in each."""

    params: Any
    momentum: Any
    misfit: Float[Array, " chains"]
    gradient: Any
    adaptation: Adaptation


class SplitInfo(NamedTuple):
    """min(1, exp(−ΔH)), and 1 where ΔH is not finite: such a trajectory is rejected."""

    acceptance: Float[Array, " chains"]
    nonfinite: Float[Array, " chains"]


class Split(eqx.Module):
    """Trajectories of prior rotations and kicks of the misfit, Metropolis-adjusted.

    `step_size` is the largest angle ε of one rotation, in radians; None adapts it in the warm-up to
    an acceptance of `target_acceptance`. `trajectory_length` is the mean angle τ of a trajectory,
    None π/2: each has the angle uτ, with u uniform in [½, 3/2] against resonances and shared by the
    chains, in ⌈uτ/ε⌉ equal steps. `refresh` is the fraction r of the momenta's variance that is
    drawn afresh before each trajectory, 1 all of it.

    Raises `InputError` for numbers out of these ranges.

    >>> import jax, langevin_nn as lnn
    >>> key = jax.random.key(0)
    >>> data = lnn.load_dataset("digits", num_train=20, num_test=10, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (30,), activation="erf", key=key)
    >>> posterior = lnn.MarginalisedPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
    >>> chains = lnn.sample(posterior, lnn.Split(), key=key, num_warmup=100, num_samples=10)
    >>> chains.test_outputs.shape, chains.acceptance.shape
    ((8, 10, 10), (8, 10))
    """

    default_warmup: ClassVar[int] = 1_000
    default_thinning: ClassVar[int] = 1

    step_size: float | Array | None = None
    trajectory_length: float | Array | None = None
    refresh: float | Array = 1.0
    target_acceptance: float | Array = 0.8
    adapting: bool | Array = False

    def __check_init__(self) -> None:
        for name, value, top in (
            ("step_size", self.step_size, LARGEST_STEP_SIZE),
            ("trajectory_length", self.trajectory_length, math.inf),
            ("refresh", self.refresh, 1.0),
            ("target_acceptance", self.target_acceptance, 1.0),
        ):
            if isinstance(value, float | int) and not 0 < value <= top:
                limit = "" if math.isinf(top) else f" and at most {top:.4g}"
                what = " radians" if top > 1 else ""
                raise InputError(
                    f"{name} of the split dynamics must be positive{limit}{what}, got {value}"
                )

    def prepare(self, posterior: Posterior, state: Any, key: Any) -> dict[str, float]:
        """The step size to start with, and the length of the trajectories."""
        start = FIRST_STEP_SIZE if self.step_size is None else float(self.step_size)
        given = self.trajectory_length
        return {
            "step_size": start,
            "trajectory_length": DEFAULT_TRAJECTORY if given is None else float(given),
        }

    def with_numbers(self, numbers: dict[str, float], dtype: Any) -> "Split":
        """These trajectories with every number an array; adapting while nothing has settled."""
        return type(self)(
            step_size=jnp.asarray(numbers["step_size"], dtype),
            trajectory_length=jnp.asarray(numbers["trajectory_length"], dtype),
            refresh=jnp.asarray(self.refresh, dtype),
            target_acceptance=jnp.asarray(self.target_acceptance, dtype),
            adapting=jnp.asarray(self.step_size is None and "settled" not in numbers),
        )

    def settle(
        self, posterior: Posterior, state: SplitState, numbers: dict[str, float], key: Any
    ) -> dict[str, float]:
        """The adapted step size. There is no stability limit, and no bias that the steps cause."""
        found = {"curvature": math.nan, "step_size_shift": 0.0}
        if self.step_size is None:
            found["step_size"] = float(np.exp(np.float64(state.adaptation.log_average[0])))
        return found

    def init(self, posterior: Posterior, params: Any) -> SplitState:
        misfit, gradient = misfit_and_gradient(posterior, params)
        ones = jnp.ones_like(misfit)
        start = math.log(FIRST_STEP_SIZE) * ones
        momentum = jax.tree.map(jnp.zeros_like, params)
        return SplitState(
            params, momentum, misfit, gradient, Adaptation(0 * ones, 0 * ones, start, start)
        )

    def step(
        self, posterior: Posterior, state: SplitState, keys: ChainKeys
    ) -> tuple[SplitState, SplitInfo]:
        """One trajectory of every chain; `keys` holds one key for each, the first one also u."""
        assert self.step_size is not None and self.trajectory_length is not None, (
            "the driver sets open numbers before it steps"
        )
        parts = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
        dtype = state.misfit.dtype
        fresh = standard_normal_like(state.params, parts[:, 0])
        # There are no momenta to keep before the first trajectory.
        r = jnp.where(state.adaptation.trajectories[0] > 0, jnp.asarray(self.refresh, dtype), 1)
        kept, new = jnp.sqrt(1 - r), jnp.sqrt(r)
        momentum = jax.tree.map(lambda p, xi: kept * p + new * xi, state.momentum, fresh)
        start = state._replace(momentum=momentum)

        step_size = jnp.where(
            jnp.asarray(self.adapting), jnp.exp(state.adaptation.log_step[0]), self.step_size
        )
        u = jax.random.uniform(parts[0, 2], (), dtype, 0.5, 1.5)
        angle = u * jnp.asarray(self.trajectory_length, dtype)
        steps = jnp.clip(jnp.ceil(angle / step_size), 1, MOST_STEPS).astype(jnp.int32)
        step_size = jnp.minimum(angle / steps.astype(dtype), step_size)
        end, change = self.trajectory(posterior, start, step_size, steps)

        finite = jnp.isfinite(change)
        for leaf in jax.tree.leaves((end.params, end.gradient)):
            finite &= jnp.all(jnp.isfinite(leaf), axis=range(1, leaf.ndim))
        acceptance = jnp.where(finite, jnp.exp(-jnp.maximum(change, 0)), 0)
        coin = jax.vmap(lambda key: jax.random.uniform(key, (), dtype))(parts[:, 1])
        back = start._replace(momentum=jax.tree.map(jnp.negative, start.momentum))
        taken = coin < acceptance
        moved = jax.tree.map(
            lambda yes, no: jnp.where(taken.reshape((-1,) + (1,) * (yes.ndim - 1)), yes, no),
            end, back,
        )  # fmt: skip
        moved = moved._replace(adaptation=self._adapted(state.adaptation, acceptance))
        return moved, SplitInfo(acceptance, (~finite).astype(dtype))

    def trajectory(
        self, posterior: Posterior, start: SplitState, step_size: Array, steps: Array
    ) -> tuple[SplitState, Float[Array, " chains"]]:
        """Where `steps` steps lead, and ΔH.

        Rotations do not change H, so ΔH is ΔΦ and what the kicks do to ½p²: small numbers, where
        the difference of two values of H would be one of large ones.
        """
        roots = jax.tree.unflatten(
            jax.tree.structure(start.params),
            [jnp.sqrt(jnp.asarray(p, start.misfit.dtype)) for p in _precisions(posterior)],
        )
        cos, sin = jnp.cos(step_size), jnp.sin(step_size)

        def kick(state: SplitState, work: Array) -> tuple[Any, Array]:
            kicked = jax.tree.map(
                lambda p, g, root: p - 0.5 * step_size * g / root,
                state.momentum, state.gradient, roots,
            )  # fmt: skip
            gains = [
                0.5 * jnp.sum((new - old) * (new + old), axis=range(1, new.ndim))
                for new, old in zip(
                    jax.tree.leaves(kicked), jax.tree.leaves(state.momentum), strict=True
                )
            ]
            return kicked, work + sum(gains[1:], gains[0])

        def one(_: Array, carry: tuple[SplitState, Array]) -> tuple[SplitState, Array]:
            state, work = carry
            momentum, work = kick(state, work)
            params = jax.tree.map(
                lambda w, p, root: cos * w + sin * p / root, state.params, momentum, roots
            )
            momentum = jax.tree.map(
                lambda w, p, root: cos * p - sin * root * w, state.params, momentum, roots
            )
            misfit, gradient = misfit_and_gradient(posterior, params)
            state = SplitState(params, momentum, misfit, gradient, state.adaptation)
            momentum, work = kick(state, work)
            return state._replace(momentum=momentum), work

        end, work = jax.lax.fori_loop(0, steps, one, (start, jnp.zeros_like(start.misfit)))
        return end, end.misfit - start.misfit + work

    def _adapted(self, old: Adaptation, acceptance: Float[Array, " chains"]) -> Adaptation:
        """One update of dual averaging with the mean acceptance of all chains.

        The constants are Hoffman and Gelman's, the centre ten times the first step size.
        """
        shrink, delay, power = 0.05, 10.0, 0.75
        count = old.trajectories + 1
        weight = 1 / (count + delay)
        error = (1 - weight) * old.error + weight * (self.target_acceptance - jnp.mean(acceptance))
        log_step = math.log(10 * FIRST_STEP_SIZE) - jnp.sqrt(count) / shrink * error
        length = jnp.asarray(self.trajectory_length, log_step.dtype)
        log_step = jnp.minimum(log_step, jnp.log(jnp.minimum(length, LARGEST_STEP_SIZE)))
        share = count**-power
        average = share * log_step + (1 - share) * old.log_average
        new = Adaptation(count, error, log_step, average)
        adapting = jnp.asarray(self.adapting)
        kept = jax.tree.map(lambda yes, no: jnp.where(adapting, yes, no), new, old)
        return kept._replace(trajectories=count)


def misfit_and_gradient(posterior: Posterior, params: Any) -> tuple[Float[Array, " chains"], Any]:
    """Φ of each chain and its gradient in the weights."""

    def total(params: Any) -> tuple[Array, Array]:
        each = posterior.misfit(params)
        return jnp.sum(each), each

    (_, misfit), gradient = jax.value_and_grad(total, has_aux=True)(params)
    return misfit, gradient


def _precisions(posterior: Posterior) -> tuple[float | Array, ...]:
    return posterior.sampled_prior.by_array
