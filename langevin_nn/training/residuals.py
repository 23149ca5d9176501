"""The residuals r of an energy E = ½ Σ r², its gradient, its Hessian and JᵀJ, for `minimum`.

Of one network: `row` are its weights, and `batch_of` makes a batch of one network of them, as
`model.rows.rows_of` gives both. `factor` multiplies the loss's margin.
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
    r = posterior.loss.residual(f, y, factor)
    assert r is not None  # `minimum` has refused other losses
    return r


def _energy(
    posterior: GibbsPosterior, batch_of: BatchOf, factor: Array
) -> Callable[[Array], tuple[Array, Array]]:
    """E and the residuals of a row."""

    def energy(row: Array) -> tuple[Array, Array]:
        f = posterior.train_outputs(batch_of(row))[0]
        residuals = _residual(posterior, f, posterior.y_train, factor)
        return 0.5 * jnp.sum(jnp.square(residuals)), residuals

    return energy


@eqx.filter_jit
def energy_and_gradient(
    posterior: GibbsPosterior, batch_of: BatchOf, row: Float[Array, " K"], factor: Array
) -> tuple[Array, Array, Array]:
    """E, its gradient, and the largest residual with the margin as it is."""
    energy = _energy(posterior, batch_of, factor)
    (value, _), gradient = jax.value_and_grad(energy, has_aux=True)(row)
    _, own = _energy(posterior, batch_of, jnp.ones_like(factor))(row)
    return value, gradient, jnp.max(jnp.abs(own))


@eqx.filter_jit
def energy_hessian(
    posterior: GibbsPosterior, batch_of: BatchOf, row: Float[Array, " K"], factor: Array
) -> Float[Array, "K K"]:
    """Row by row: on a CPU three times faster than all at once, whose arrays leave the cache."""
    energy = _energy(posterior, batch_of, factor)
    _, product = jax.linearize(jax.grad(lambda row: energy(row)[0]), row)
    return jax.lax.map(product, jnp.eye(len(row), dtype=row.dtype))


@eqx.filter_jit
@full_precision
def gauss_newton(
    posterior: GibbsPosterior, batch_of: BatchOf, row: Float[Array, " K"], factor: Array
) -> Float[Array, "K K"]:
    def of_one(x: Array, y: Array) -> Array:
        def of_row(row: Array) -> Array:
            f = posterior.outputs_at(posterior.networks(batch_of(row)), x[None])[0, 0]
            return _residual(posterior, f, y, factor)

        return jax.jacrev(of_row)(row)

    slopes = jax.vmap(of_one)(posterior.x_train, posterior.y_train).reshape(-1, len(row))
    return slopes.T @ slopes
