"""Discrete Langevin dynamics, the object of study.

    θ' = θ − η∇𝓛(θ) + √(2ηT) ξ,      ξ ~ N(0, 1)

with step size η (the learning rate of Pacelli et al., arXiv:2209.04882) and temperature T. It has
no acceptance step, so its stationary law depends on η. On a quadratic 𝓛 = ½hθ² it is Gaussian with
variance T/(h(1 − ηh/2)) and lag-k autocorrelation (1 − ηh)^k, and there is none for η ≥ 2/h.
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from langevin_nn.config.dynamics import LANGEVIN, Usage
from langevin_nn.footprint import Copies
from langevin_nn.model.posterior import Target
from langevin_nn.sampling.base import Dynamics, Settings, Weights
from langevin_nn.sampling.dynamics.noise import standard_normal_like
from langevin_nn.sampling.dynamics.step_size import largest_curvature, stable_step_size
from langevin_nn.types import ChainKeys
from langevin_nn.values import require_positive


class LangevinInfo(NamedTuple):
    """The info of a step without acceptance: it has no fields, since every proposal is taken."""


class Langevin(Dynamics):
    """Langevin dynamics θ' = θ − η∇𝓛(θ) + √(2ηT) ξ for many chains at once.

    `step_size` is η; None lets the driver set it to a stated fraction of the stability limit
    2/Λ_max(∇²𝓛), measured at the chains' start, draws of the prior (`step_size.AUTO_FRACTION`).
    Raises `InputError` for a step size that is not positive and finite.
    """

    usage: ClassVar[Usage] = LANGEVIN
    unadjusted: ClassVar[bool] = True
    shifts_as_langevin: ClassVar[bool] = True
    copies: ClassVar[Copies] = Copies(weights=12.0, activations=7.0, slopes=True)

    step_size: float | Array | None = None

    def __check_init__(self) -> None:
        if self.step_size is None or isinstance(self.step_size, jax.core.Tracer):
            return  # a traced step size was checked before
        require_positive("step_size of Langevin dynamics (left out it is measured)", self.step_size)

    def start(self, posterior: Target, params: Any, key: PRNGKeyArray) -> Settings:
        """Settings with a step size that is stable where the chains start."""
        curvature = np.asarray(largest_curvature(posterior, params, key))
        return Settings(stable_step_size(self.step_size, curvature))

    def step(
        self, posterior: Target, state: Weights, settings: Settings, keys: ChainKeys
    ) -> tuple[Weights, LangevinInfo]:
        """The weights after one step of every chain; `keys` (chains,) holds one key for each."""
        gradient = jax.grad(lambda params: jnp.sum(posterior.energy(params)))(state.params)
        step_size = settings.step_size
        scale = jnp.sqrt(2 * step_size * posterior.temperature)
        noise = standard_normal_like(state.params, keys)
        params = jax.tree.map(
            lambda w, g, xi: w - step_size * g + scale * xi, state.params, gradient, noise
        )
        return Weights(params), LangevinInfo()
