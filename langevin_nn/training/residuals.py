"""The residuals r of an energy E = ½ Σ r², its gradient, its Hessian and JᵀJ, for `minimum`.

All is for one network: `row` are its weights, and `batch_of` makes of them a batch of one network,
as `model.rows.rows_of` gives both. `factor` multiplies the loss's margin.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from langevin_nn.model.posterior import GibbsPosterior
from langevin_nn.model.precision import full_precision
from langevin_nn.model.rows import BatchOf


def _residual(posterior: GibbsPosterior, f: Array, y: Array, factor: Array) -> Array:
    """The residuals √(2ℓ) of the posterior's loss, at `factor` times its margin."""
    r = posterior.loss.residual(f, y, factor)
    assert r is not None  # `minimum` has refused other losses
    return r


def _energy(
    posterior: GibbsPosterior, batch_of: BatchOf, factor: Array
) -> Callable[[Array], tuple[Array, Array]]:
    """The function from a row of weights to the energy E and the residuals."""

    def energy(row: Array) -> tuple[Array, Array]:
        f = posterior.train_outputs(batch_of(row))[0]
        residuals = _residual(posterior, f, posterior.y_train, factor)
        return 0.5 * jnp.sum(jnp.square(residuals)), residuals

    return energy


@eqx.filter_jit
def energy_and_gradient(
    posterior: GibbsPosterior, batch_of: BatchOf, row: Float[Array, " K"], factor: Array
) -> tuple[Array, Array, Array]:
    """The energy E, its gradient, and the largest residual with the margin as it is."""
    energy = _energy(posterior, batch_of, factor)
    (value, _), gradient = jax.value_and_grad(energy, has_aux=True)(row)
    _, residuals = _energy(posterior, batch_of, jnp.ones_like(factor))(row)
    return value, gradient, jnp.max(jnp.abs(residuals))


@eqx.filter_jit
def energy_hessian(
    posterior: GibbsPosterior, batch_of: BatchOf, row: Float[Array, " K"], factor: Array
) -> Float[Array, "K K"]:
    """The Hessian of the energy, computed row by row.

    On a CPU that is three times faster than all rows at once, whose arrays leave the cache.
    """
    energy = _energy(posterior, batch_of, factor)
    _, product = jax.linearize(jax.grad(lambda row: energy(row)[0]), row)
    return jax.lax.map(product, jnp.eye(len(row), dtype=row.dtype))


@eqx.filter_jit
@full_precision
def gauss_newton(
    posterior: GibbsPosterior, batch_of: BatchOf, row: Float[Array, " K"], factor: Array
) -> Float[Array, "K K"]:
    """The Gauss–Newton part JᵀJ of the Hessian, with J the slopes of the residuals."""

    def residual_slopes(x: Array, y: Array) -> Array:
        def residual_of(row: Array) -> Array:
            f = posterior.outputs_at(posterior.networks(batch_of(row)), x[None])[0, 0]
            return _residual(posterior, f, y, factor)

        return jax.jacrev(residual_of)(row)

    slopes = jax.vmap(residual_slopes)(posterior.x_train, posterior.y_train).reshape(-1, len(row))
    return slopes.T @ slopes
