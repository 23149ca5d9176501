"""Metropolis-adjusted dynamics that rotates in the Gaussian prior: exact at any step size.

In whitened weights q = √λ W the posterior is p(q) ∝ exp(−Φ(q) − ½q²), Φ the posterior's `misfit`.
With momenta p ~ N(0, 1) the flow of H = Φ + ½q² + ½p² is split into two flows that are exact:

    p ← p − ½ε∇Φ;     (q, p) ← (q cos ε + p sin ε, p cos ε − q sin ε);     p ← p − ½ε∇Φ

A trajectory is several such steps, accepted with probability min(1, exp(−ΔH)), p reversed if not.
The rotation leaves the prior as it is, so only Φ limits the angle ε: where data constrain little,
ε is of order one and a trajectory of length π/2 forgets where it began. (Neal 2011, section 5.5.1;
Beskos, Pinski, Sanz-Serna, Stuart, Stoch. Proc. Appl. 121, 2201, 2011; Shahbaba, Lan, Johnson,
Neal, Stat. Comput. 24, 339, 2014.) Before each trajectory p ← √(1−r) p + √r ξ (Horowitz 1991).

During the warm-up an open step size follows the acceptance, and an open length of the trajectories
what they change (`adaptation`), one of each for all chains; then they are frozen.
"""

import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.config.dynamics import SPLIT, Usage
from langevin_nn.footprint import Copies
from langevin_nn.model.posterior import Target
from langevin_nn.sampling.base import Dynamics
from langevin_nn.sampling.dynamics.adaptation import (
    DEFAULT_TRAJECTORY,
    FIRST_STEP_SIZE,
    LARGEST_STEP_SIZE,
    SETTLED_ACCEPTANCE,
    SETTLED_LENGTH,
    Adaptation,
    adapt_length,
    adapt_step,
    chees_slope,
    unadapted,
)
from langevin_nn.sampling.dynamics.noise import standard_normal_like
from langevin_nn.types import ChainKeys
from langevin_nn.values import require_positive

MOST_STEPS = 1000
"""The largest number of steps of a trajectory, whatever its length."""


class SplitSettings(NamedTuple):
    """The angle of a rotation, the mean angle of a trajectory, and which of the two are adapted."""

    step_size: float
    trajectory_length: float
    adapting_step: bool = False
    adapting_length: bool = False


class SplitState(NamedTuple):
    """The weights, whitened momenta, Φ and ∇_WΦ of each chain, and the adaptation, equal in all."""

    params: Any
    momentum: Any
    misfit: Float[Array, " chains"]
    gradient: Any
    adaptation: Adaptation


class SplitInfo(NamedTuple):
    """The acceptance min(1, exp(−ΔH)), and 1 in `nonfinite` where a trajectory left the numbers."""

    acceptance: Float[Array, " chains"]
    nonfinite: Float[Array, " chains"]


class Split(Dynamics):
    """Trajectories of prior rotations and kicks of the misfit, Metropolis-adjusted.

    `step_size` is the largest angle ε of one rotation, in radians; None adapts it in the warm-up to
    an acceptance of `target_acceptance`. `trajectory_length` is the mean angle τ of a trajectory;
    None starts at π/2 and adapts it by the ChEES criterion. Each trajectory has the angle uτ, with
    u uniform in [½, 3/2] against resonances and shared by the chains, in ⌈uτ/ε⌉ equal steps.
    `refresh` is the fraction r of the momenta's variance that is drawn afresh before each
    trajectory, 1 all of it.

    Raises `InputError` for numbers out of these ranges.

    >>> data = lnn.load_dataset("digits", num_train=20, num_test=10, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (30,), activation="erf", key=key)
    >>> posterior = lnn.MarginalisedPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
    >>> chains = lnn.sample(posterior, lnn.Split(), key=key, num_warmup=100, num_samples=10)
    >>> chains.test_outputs.shape, chains.acceptance.shape
    ((8, 10, 10), (8, 10))
    """

    settings: ClassVar[type[Any]] = SplitSettings
    usage: ClassVar[Usage] = SPLIT
    in_gaussian_prior: ClassVar[bool] = True
    copies: ClassVar[Copies] = Copies(weights=17.0, activations=4.0)

    step_size: float | Array | None = None
    trajectory_length: float | Array | None = None
    refresh: float | Array = 1.0
    target_acceptance: float | Array = 0.8

    def __check_init__(self) -> None:
        for name, value, top in (
            ("step_size", self.step_size, LARGEST_STEP_SIZE),
            ("trajectory_length", self.trajectory_length, math.inf),
            ("refresh", self.refresh, 1.0),
            ("target_acceptance", self.target_acceptance, 1.0),
        ):
            open_number = value is None and name in ("step_size", "trajectory_length")
            if not open_number and not isinstance(value, jax.core.Tracer):
                unit = " radians" if top > 1 else ""
                require_positive(f"{name} of the split dynamics", value, top, unit)

    @property
    def identity(self) -> list[str]:
        return [*super().identity, "False", "False"]  # two numbers of earlier versions

    def start(self, posterior: Target, params: Any, key: PRNGKeyArray) -> SplitSettings:
        """Settings with the angles of rotations and trajectories at which the warm-up starts."""
        step, length = self.step_size, self.trajectory_length
        return SplitSettings(
            FIRST_STEP_SIZE if step is None else float(step),
            DEFAULT_TRAJECTORY if length is None else float(length),
            adapting_step=step is None,
            adapting_length=length is None,
        )

    def settled(self, state: SplitState, settings: SplitSettings) -> bool:
        """Whether acceptance and length of the trajectories have come to where they stay."""
        adaptation = state.adaptation
        drift = adaptation.log_length[0] - adaptation.log_length_average[0]
        step_settled = self.step_size is not None or abs(adaptation.error[0]) < SETTLED_ACCEPTANCE
        length_settled = self.trajectory_length is not None or abs(drift) < SETTLED_LENGTH
        return bool(step_settled and length_settled)

    def adapted(self, state: SplitState, settings: SplitSettings) -> SplitSettings:
        """Settings with the averages that the warm-up found for the open numbers, now frozen."""
        logarithms = {}
        if self.step_size is None:
            logarithms["step_size"] = state.adaptation.log_step_average
        if self.trajectory_length is None:
            logarithms["trajectory_length"] = state.adaptation.log_length_average
        numbers = {name: float(np.exp(np.float64(log[0]))) for name, log in logarithms.items()}
        return settings._replace(**numbers, adapting_step=False, adapting_length=False)

    def init(self, posterior: Target, params: Any, settings: SplitSettings) -> SplitState:
        """The state at these parameters: no momentum, and the misfit with its gradient."""
        misfit, gradient = misfit_and_gradient(posterior, params)
        momentum = jax.tree.map(jnp.zeros_like, params)
        return SplitState(params, momentum, misfit, gradient, unadapted(misfit))

    def step(
        self, posterior: Target, state: SplitState, settings: SplitSettings, keys: ChainKeys
    ) -> tuple[SplitState, SplitInfo]:
        """The state after one trajectory of every chain, and the acceptances.

        `keys` (chains,) holds one key for each chain; the first also draws u.
        """
        split_keys = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
        dtype = state.misfit.dtype
        fresh = standard_normal_like(state.params, split_keys[:, 0])
        # There are no momenta to keep before the first trajectory.
        refresh = jnp.where(
            state.adaptation.trajectories[0] > 0, jnp.asarray(self.refresh, dtype), 1
        )
        kept_share, new_share = jnp.sqrt(1 - refresh), jnp.sqrt(refresh)
        momentum = jax.tree.map(
            lambda p, xi: kept_share * p + new_share * xi, state.momentum, fresh
        )
        start = state._replace(momentum=momentum)

        adaptation = state.adaptation
        step_size, length = (
            jnp.where(jnp.asarray(adapting), jnp.exp(updated[0]), jnp.asarray(given, dtype))
            for adapting, updated, given in (
                (settings.adapting_step, adaptation.log_step, settings.step_size),
                (settings.adapting_length, adaptation.log_length, settings.trajectory_length),
            )
        )
        u = jax.random.uniform(split_keys[0, 2], (), dtype, 0.5, 1.5)
        angle = u * length
        num_steps = jnp.clip(jnp.ceil(angle / step_size), 1, MOST_STEPS).astype(jnp.int32)
        step_size = jnp.minimum(angle / num_steps.astype(dtype), step_size)
        end, change = self.trajectory(posterior, start, step_size, num_steps)

        finite = jnp.isfinite(change)
        for leaf in jax.tree.leaves((end.params, end.gradient)):
            finite &= jnp.all(jnp.isfinite(leaf), axis=range(1, leaf.ndim))
        acceptance = jnp.where(finite, jnp.exp(-jnp.maximum(change, 0)), 0)
        coin = jax.vmap(lambda key: jax.random.uniform(key, (), dtype))(split_keys[:, 1])
        reversed_start = start._replace(momentum=jax.tree.map(jnp.negative, start.momentum))
        accepted = coin < acceptance
        moved = jax.tree.map(
            lambda new, old: jnp.where(accepted.reshape((-1,) + (1,) * (new.ndim - 1)), new, old),
            end, reversed_start,
        )  # fmt: skip
        roots = _roots(posterior, start)
        slope = chees_slope(
            jax.tree.map(jnp.multiply, start.params, roots),
            jax.tree.map(jnp.multiply, end.params, roots),
            end.momentum, acceptance, finite, angle,
        )  # fmt: skip
        updated = self._learnt(adaptation, settings, acceptance, length, slope)
        return moved._replace(adaptation=updated), SplitInfo(acceptance, (~finite).astype(dtype))

    def trajectory(
        self, posterior: Target, start: SplitState, step_size: Array, steps: Array
    ) -> tuple[SplitState, Float[Array, " chains"]]:
        """The state after `steps` steps of every chain, and ΔH (chains,).

        Rotations do not change H, so ΔH is ΔΦ and what the kicks do to ½p²: small numbers, where
        the difference of two values of H would be one of large ones.
        """
        roots = _roots(posterior, start)
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

        def step(_: Array, carry: tuple[SplitState, Array]) -> tuple[SplitState, Array]:
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

        end, work = jax.lax.fori_loop(0, steps, step, (start, jnp.zeros_like(start.misfit)))
        return end, end.misfit - start.misfit + work

    def _learnt(
        self,
        old: Adaptation,
        settings: SplitSettings,
        acceptance: Float[Array, " chains"],
        length: Array,
        slope: Array,
    ) -> Adaptation:
        new = old._replace(trajectories=old.trajectories + 1)
        target = jnp.asarray(self.target_acceptance, length.dtype)
        new = _where(settings.adapting_step, adapt_step(new, acceptance, target, length), new)
        return _where(settings.adapting_length, adapt_length(new, slope), new)


def misfit_and_gradient(posterior: Target, params: Any) -> tuple[Float[Array, " chains"], Any]:
    """The misfit Φ of each chain, and its gradient in the weights."""

    def total(params: Any) -> tuple[Array, Array]:
        misfits = posterior.misfit(params)
        return jnp.sum(misfits), misfits

    (_, misfit), gradient = jax.value_and_grad(total, has_aux=True)(params)
    return misfit, gradient


def _where(adapting: bool | Array, adapted: Adaptation, old: Adaptation) -> Adaptation:
    mask = jnp.asarray(adapting)
    return jax.tree.map(lambda new, kept: jnp.where(mask, new, kept), adapted, old)


def _roots(posterior: Target, state: SplitState) -> Any:
    """The factor √λ of each array of weights, by which q = √λ W."""
    return jax.tree.unflatten(
        jax.tree.structure(state.params),
        [jnp.sqrt(jnp.asarray(p, state.misfit.dtype)) for p in posterior.sampled_prior.by_array],
    )
