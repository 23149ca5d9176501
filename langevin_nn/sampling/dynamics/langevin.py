"""Discrete Langevin dynamics, the object of study.

    θ' = θ − η∇𝓛(θ) + √(2ηT) ξ,      ξ ~ N(0, 1)

with step size η (the learning rate of Pacelli et al., arXiv:2209.04882) and temperature T. It has
no acceptance step, so its stationary law depends on η. On a quadratic 𝓛 = ½hθ² it is Gaussian with
variance T/(h(1 − ηh/2)) and lag-k autocorrelation (1 − ηh)^k, and there is none for η ≥ 2/h.
"""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.dynamics.noise import standard_normal_like
from langevin_nn.sampling.dynamics.step_size import largest_curvature, stable_step_size
from langevin_nn.types import ChainKeys
from langevin_nn.values import require_positive


class LangevinState(NamedTuple):
    """Parameters of all chains: arrays with a leading chain axis."""

    params: Any


class LangevinInfo(NamedTuple):
    """Nothing: every proposal is taken."""


class Langevin(eqx.Module):
    """θ' = θ − η∇𝓛(θ) + √(2ηT) ξ for many chains at once.

    `step_size` is η; None lets the driver set it to a stated fraction of the stability limit
    2/Λ_max(∇²𝓛), measured at the chains' start, draws of the prior (`step_size.AUTO_FRACTION`).
    Raises `InputError` for one that is not positive and finite.
    """

    default_warmup: ClassVar[int] = 20_000
    default_thinning: ClassVar[int] = 100
    unadjusted: ClassVar[bool] = True

    step_size: float | Array | None = None

    def __check_init__(self) -> None:
        if self.step_size is None or isinstance(self.step_size, jax.core.Tracer):
            return  # one that is traced was looked at before
        require_positive("step_size of Langevin dynamics (left out it is measured)", self.step_size)

    def prepare(self, posterior: Posterior, state: LangevinState, key: Any) -> dict[str, float]:
        """A step size that is stable where the chains start."""
        curvature = np.asarray(largest_curvature(posterior, state.params, key))
        return {"step_size": stable_step_size(self.step_size, curvature)}

    def settle(
        self, posterior: Posterior, state: LangevinState, numbers: dict[str, float], key: Any
    ) -> dict[str, float]:
        """The curvature where the chains are now: the largest of theirs."""
        curvature = np.asarray(largest_curvature(posterior, state.params, key))
        found = np.nanmax(curvature) if np.isfinite(curvature).any() else np.nan
        return {"curvature": float(found)}

    def with_numbers(self, numbers: dict[str, float], dtype: Any) -> "Langevin":
        value = jnp.asarray(numbers["step_size"], dtype)
        return eqx.tree_at(lambda t: t.step_size, self, value, is_leaf=lambda x: x is None)

    def init(self, posterior: Posterior, params: Any) -> LangevinState:
        return LangevinState(params)

    def misfit(self, posterior: Posterior, state: LangevinState) -> Float[Array, " chains"]:
        return posterior.misfit(state.params)

    def relocated(
        self, posterior: Posterior, state: LangevinState, other: LangevinState
    ) -> LangevinState:
        return other

    def step(
        self, posterior: Posterior, state: LangevinState, keys: ChainKeys
    ) -> tuple[LangevinState, LangevinInfo]:
        """One step of every chain; `keys` holds one key for each."""
        assert self.step_size is not None, "the driver sets an open step size before it steps"
        gradient = jax.grad(lambda params: jnp.sum(posterior.energy(params)))(state.params)
        scale = jnp.sqrt(2 * self.step_size * posterior.temperature)
        noise = standard_normal_like(state.params, keys)
        params = jax.tree.map(
            lambda w, g, xi: w - self.step_size * g + scale * xi, state.params, gradient, noise
        )
        return LangevinState(params), LangevinInfo()
