"""The step size: its stability limit, what "auto" makes of it, and the bias that it causes.

A step size η is stable for η < 2/Λ_max(∇²𝓛) only. Below, the stationary law of the dynamics still
depends on it: on a quadratic 𝓛 with Hessian H the covariance of θ is T H⁻¹(1 − ηH/2)⁻¹. On any
other, with U = β𝓛 and ε = ηT, its density is to leading order that of U − (ε/4)|∇U|² + (ε/2)ΔU, so
that the average of an observable φ is off by

    δ⟨φ⟩ = (ε/4) [⟨Δφ⟩ − Cov(φ, ΔU)] = (ε/4) [2⟨∇φ·∇U⟩ − Cov(φ, |∇U|²)]

averaged over the posterior; the two are one by parts, ⟨Δφ⟩ = ⟨∇φ·∇U⟩ and Cov(φ, ΔU) = Cov(φ, |∇U|²)
− ⟨∇φ·∇U⟩. The second has first derivatives only, so it holds where σ has a kink and ΔU is a delta
function there. Much of the noise of |∇U|² is the prior's, whose part of the gradient is Λθ; by
parts again, with ∇·Λθ constant, Cov(φ, Λθ·∇U) = ⟨∇φ·Λθ⟩, so that the same is

    δ⟨φ⟩ = (ε/4) [⟨∇φ·(2∇U − Λθ)⟩ − Cov(φ, ∇U·(∇U − Λθ))].

It costs a gradient and a derivative along one direction, at some of the recorded draws
(`energy_slopes`); `analysis.step_size_bias` makes the bias of the reported numbers of them.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.model.derivative import derivative_along
from langevin_nn.model.marginalised import MarginalisedPosterior
from langevin_nn.model.posterior import Posterior, Target
from langevin_nn.sampling.dynamics.noise import standard_normal_like
from langevin_nn.types import ChainKeys, InputError

AUTO_FRACTION = 0.1
"""The fraction of the stability limit, at draws of the prior, that an open step size becomes."""


class Diverged(InputError):
    """The step size lies above the stability limit, or every chain left the finite numbers."""


def stable_step_size(given: float | Array | None, curvature: np.ndarray) -> float:
    """The step size to use, given Λ_max(∇²𝓛) of each chain at its start.

    Raises `Diverged` for a `given` step size above the stability limit and for a curvature that is
    not finite, `InputError` for a curvature of zero where none is given.
    Where 𝓛 is not convex power iteration may find a negative eigenvalue; none is then larger than
    its magnitude.
    """
    curvature = np.abs(curvature)
    if not np.isfinite(curvature).all():
        raise Diverged(
            "the curvature Λ_max(∇²𝓛) where the chains start is out of the precision's range: "
            'write precision = "float64", or a smaller temperature, precisions or inputs'
        )
    if np.max(curvature) == 0:
        if given is not None and 0 < float(given) < math.inf:
            return float(given)
        raise InputError(
            "the curvature Λ_max(∇²𝓛) is zero where the chains start, so that no step size follows "
            "from it: write Langevin(step_size=…), a positive number"
        )
    automatic = AUTO_FRACTION * 2 / float(np.max(curvature))
    if given is None:
        return automatic
    step_size = float(given)
    limit = 2 / float(np.min(curvature)) if np.min(curvature) > 0 else math.inf
    if not 0 < step_size < limit:
        raise Diverged(
            f"step_size = {step_size:.3g} is not between 0 and the stability limit 2/Λ_max = "
            f"{limit:.3g}, above which the dynamics diverges (Λ_max measured where the "
            f'chains start): write step_size = {automatic:.2g} or step_size = "auto"'
        )
    return step_size


@eqx.filter_jit
def largest_curvature(
    posterior: Target, params: Any, key: PRNGKeyArray, num_iterations: int = 200
) -> Float[Array, " chains"]:
    """The curvature Λ_max(∇²𝓛) at each chain's parameters, by power iteration.

    The stability limit of the dynamics is η < 2/Λ_max. Iterating Hessian–vector products gives
    the eigenvalue of largest magnitude, which may be negative where 𝓛 is not convex. Iterates until
    no chain's Rayleigh quotient changes by more than 10⁻³, at most `num_iterations` times.
    """
    gradient = jax.grad(lambda p: jnp.sum(posterior.energy(p)))
    num_chains = jax.tree.leaves(params)[0].shape[0]

    def product(a: Any, b: Any) -> Float[Array, " chains"]:
        terms = jax.tree.map(lambda x, y: jnp.sum((x * y).reshape(num_chains, -1), axis=1), a, b)
        return jnp.sum(jnp.stack(jax.tree.leaves(terms)), axis=0)

    def scaled(vector: Any, factor: Float[Array, " chains"]) -> Any:
        return jax.tree.map(lambda x: x * factor.reshape((-1,) + (1,) * (x.ndim - 1)), vector)

    def iterate(carry: tuple[Any, Array, Array, Array]) -> tuple[Any, Array, Array, Array]:
        vector, value, _, count = carry
        image = jax.jvp(gradient, (params,), (vector,))[1]
        updated = product(vector, image)
        change = jnp.max(jnp.abs(updated - value) / jnp.abs(updated))
        norm = jnp.sqrt(product(image, image))
        return scaled(image, 1 / norm), updated, change, count + 1

    def unfinished(carry: tuple[Any, Array, Array, Array]) -> Array:
        return (carry[2] > 1e-3) & (carry[3] < num_iterations)

    start = standard_normal_like(params, jax.random.split(key, num_chains))
    start = scaled(start, 1 / jnp.sqrt(product(start, start)))
    zero = jnp.zeros(num_chains, jax.tree.leaves(params)[0].dtype)
    carry = (start, zero, jnp.asarray(jnp.inf, zero.dtype), jnp.asarray(0))
    return jax.lax.while_loop(unfinished, iterate, carry)[1]


def final_curvature(posterior: Target, params: Any, key: PRNGKeyArray) -> float:
    """The largest Λ_max(∇²𝓛) over the chains where they are; NaN where none is finite."""
    curvature = np.asarray(largest_curvature(posterior, params, key))
    return float(np.nanmax(curvature)) if np.isfinite(curvature).any() else math.nan


MOST_SLOPES = 256
"""The largest number of draws with slopes of a chain."""

LEAST_SLOPES = 16
"""The least number of draws with slopes of a chain that has as many draws."""

STEPS_BETWEEN_SLOPES = 400
"""The number of steps between two draws with slopes that is enough, where there are many draws."""


def room_for_slopes(num_samples: int) -> int:
    """The least number of draws from one with slopes to the next, whatever the thinning."""
    return -(-num_samples // MOST_SLOPES)


def slope_stride(num_samples: int, thinning: int) -> int:
    """The number of draws from one with slopes to the next, a power of two.

    So a chain that goes on to more draws has slopes of a part of those that had some.

    >>> from langevin_nn.sampling.dynamics.step_size import slope_stride
    >>> slope_stride(1_000, 100), slope_stride(1_500, 100)
    (4, 8)
    """
    enough = max(min(STEPS_BETWEEN_SLOPES // thinning, num_samples // LEAST_SLOPES), 1)
    at_least = (room_for_slopes(num_samples) - 1).bit_length()
    return 1 << max(at_least, enough.bit_length() - 1)


def energy_slopes(posterior: Posterior, params: Any, keys: ChainKeys) -> dict[str, Array]:
    """The slopes ∇φ·(2v − p) of a draw's records φ, and the `stiffness` v·(v − p), of each chain.

    v = ∇𝓛/√T, and p = √T Λθ is the prior's part of it. The slopes are those of `test_outputs`
    (chains, P_test, *D) and `train_error` (chains,), where the read-out is marginalised also that
    of `test_variances` averaged over the test inputs (chains,). `keys` are those of the record.
    """
    root = jnp.sqrt(posterior.temperature)
    force = jax.grad(lambda p: jnp.sum(posterior.energy(p)))(params)
    pull = jax.grad(lambda p: jnp.sum(posterior.sampled_prior.energy(p)))(params)
    v = jax.tree.map(lambda g: g / root, force)
    remainder = jax.tree.map(lambda g, w: g - root * w, v, pull)
    slopes = _record_along(posterior, params, keys, jax.tree.map(jnp.add, v, remainder))
    products = [
        jnp.sum((a * b).reshape(len(a), -1), axis=1)
        for a, b in zip(jax.tree.leaves(v), jax.tree.leaves(remainder), strict=True)
    ]
    by_name = {name: slopes[name] for name in ("test_outputs", "train_error")}
    by_name["stiffness"] = jnp.sum(jnp.stack(products), axis=0)
    if "test_variances" in slopes:
        by_name["test_variances"] = jnp.mean(slopes["test_variances"], axis=1)
    return by_name


def _record_along(
    posterior: Posterior, params: Any, keys: ChainKeys, direction: Any
) -> dict[str, Array]:
    """The derivatives along `direction` of all records of a draw except its energy."""
    if isinstance(posterior, MarginalisedPosterior):  # in closed form
        return posterior.record_along(params, keys, direction)

    def recorded(params: Any) -> dict[str, Array]:
        values = posterior.record(params, keys)
        return {name: value for name, value in values.items() if name != "energy"}

    derivatives: dict[str, Array] = derivative_along(recorded, params, direction)
    return derivatives
