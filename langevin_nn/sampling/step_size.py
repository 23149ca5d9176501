"""The step size: its stability limit, what "auto" makes of it, and the bias that it causes.

A step size η is stable for η < 2/Λ_max(∇²𝓛) only. Below, the stationary law of the dynamics still
depends on it: on a quadratic 𝓛 with Hessian H the covariance of θ is T H⁻¹(1 − ηH/2)⁻¹, to leading
order the posterior's plus ηT/2 in every direction.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.model.posterior import GibbsPosterior, Posterior
from langevin_nn.sampling.noise import standard_normal_like
from langevin_nn.types import InputError

AUTO_FRACTION = 0.1
"""An open step size becomes this fraction of the stability limit at draws of the prior."""


class Diverged(InputError):
    """The step size lies above the stability limit, or every chain left the finite numbers."""


def stable_step_size(given: float | Array | None, curvature: np.ndarray) -> float:
    """The step size to use, given Λ_max(∇²𝓛) of each chain at its start.

    Where 𝓛 is not convex power iteration may find a negative eigenvalue; none is then larger than
    its magnitude.
    """
    curvature = np.abs(curvature)
    automatic = AUTO_FRACTION * 2 / float(np.max(curvature))
    if given is None:
        return automatic
    step_size = float(given)
    limit = 2 / float(np.min(curvature))
    if not 0 < step_size < limit:
        raise Diverged(
            f"step_size = {step_size:.3g} is not between 0 and the stability limit 2/Λ_max = "
            f"{limit:.3g}, above which the dynamics diverges (Λ_max measured where the "
            f'chains start): write step_size = {automatic:.2g} or step_size = "auto"'
        )
    return step_size


def local_geometry(
    posterior: Posterior, state: Any, step_size: float, key: PRNGKeyArray
) -> dict[str, float]:
    """Λ_max over the chains where they are now, and the variance's shift (ηT/2)⟨‖∇_θ f‖²⟩.

    The shift is known where f is a function of the parameters; NaN where they leave it open.
    """
    curvature = np.asarray(largest_curvature(posterior, state.params, key))
    shift = float("nan")
    if not np.isfinite(curvature).any():
        return {"curvature": shift, "step_size_shift": shift}
    if isinstance(posterior, GibbsPosterior):
        squares = float(np.nanmean(mean_squared_gradient(posterior, state.params, key)))
        shift = 0.5 * step_size * float(posterior.temperature) * squares
    return {"curvature": float(np.nanmax(curvature)), "step_size_shift": shift}


@eqx.filter_jit
def largest_curvature(
    posterior: Posterior, params: Any, key: PRNGKeyArray, num_iterations: int = 200
) -> Float[Array, " chains"]:
    """Λ_max(∇²𝓛) at each chain's parameters, by power iteration on Hessian–vector products.

    The stability limit of the dynamics is η < 2/Λ_max. It is the eigenvalue of largest magnitude,
    which may be negative where 𝓛 is not convex. Iterates until no chain's Rayleigh quotient
    changes by more than 10⁻³, at most `num_iterations` times.
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


@eqx.filter_jit
def mean_squared_gradient(
    posterior: GibbsPosterior, params: Any, key: PRNGKeyArray, num_probes: int = 32
) -> Float[Array, " chains"]:
    """‖∇_θ f(x)‖² averaged over the test inputs, at each chain's parameters.

    Summed over the outputs where there are several.

    To leading order in η the dynamics' stationary covariance of θ is too large by ηT/2 in every
    direction (on a quadratic 𝓛 by (ηT/2)(1 − ηH/2)⁻¹), so that the variance of f(x) is too large by
    (ηT/2)‖∇_θ f(x)‖². The average is estimated with random signs: E_s‖∇_θ Σ_x s_x f(x)‖²/P_test.
    """
    num_chains = jax.tree.leaves(params)[0].shape[0]
    targets = posterior.y_test.shape
    outside = jax.random.split(key, num_chains)

    def probe(key: PRNGKeyArray) -> Float[Array, " chains"]:
        dtype = jax.tree.leaves(params)[0].dtype
        signs = jax.random.rademacher(key, (num_chains, *targets), dtype)
        gradient = jax.grad(lambda p: jnp.sum(signs * posterior.test_outputs(p, outside)))(params)
        squares = [
            jnp.sum(jnp.square(g).reshape(num_chains, -1), axis=1)
            for g in jax.tree.leaves(gradient)
        ]
        return jnp.sum(jnp.stack(squares), axis=0) / targets[0]

    return jnp.mean(jax.lax.map(probe, jax.random.split(key, num_probes)), axis=0)
