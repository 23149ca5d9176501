"""The residuals r of an energy E = ½ Σ r², its gradient, its Hessian and JᵀJ, for `minimum`.

Of one network: `template` are its weights with a leading axis of length one, `row` the same in the
order of their leaves, one behind the other. `factor` multiplies the margin of a hinge loss.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.model.losses import Hinge, Loss
from langevin_nn.model.posterior import GibbsPosterior
from langevin_nn.model.precision import full_precision


def unflattened(template: Any, row: Any) -> Any:
    """The weights of one network, with a leading axis of length one, from their row."""
    leaves, structure = jax.tree.flatten(template)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = jnp.split(jnp.asarray(row), ends)
    shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(structure, shaped)


def residual(loss: Loss, f: Array, y: Array, factor: Any = 1.0) -> Array:
    """√(2ℓ), with a sign where the loss has two branches; `factor` times the margin is asked."""
    return jnp.maximum(factor * loss.margin - y * f, 0) if isinstance(loss, Hinge) else y - f


def _energy(
    posterior: GibbsPosterior, template: Any, factor: Array
) -> Callable[[Array], tuple[Array, Array]]:
    """E and the residuals of a row."""

    def energy(row: Array) -> tuple[Array, Array]:
        f = posterior.train_outputs(unflattened(template, row))[0]
        residuals = residual(posterior.loss, f, posterior.y_train, factor)
        return 0.5 * jnp.sum(jnp.square(residuals)), residuals

    return energy


@eqx.filter_jit
def energy_and_gradient(
    posterior: GibbsPosterior, template: Any, row: Float[Array, " K"], factor: Array
) -> tuple[Array, Array, Array]:
    """E, its gradient, and the largest residual with the margin as it is."""
    energy = _energy(posterior, template, factor)
    (value, _), gradient = jax.value_and_grad(energy, has_aux=True)(row)
    _, own = _energy(posterior, template, jnp.ones_like(factor))(row)
    return value, gradient, jnp.max(jnp.abs(own))


@eqx.filter_jit
def energy_hessian(
    posterior: GibbsPosterior, template: Any, row: Float[Array, " K"], factor: Array
) -> Float[Array, "K K"]:
    """Row by row: on a CPU three times faster than all at once, whose arrays leave the cache."""
    energy = _energy(posterior, template, factor)
    _, product = jax.linearize(jax.grad(lambda row: energy(row)[0]), row)
    return jax.lax.map(product, jnp.eye(len(row), dtype=row.dtype))


@eqx.filter_jit
@full_precision
def gauss_newton(
    posterior: GibbsPosterior, template: Any, row: Float[Array, " K"], factor: Array
) -> Float[Array, "K K"]:
    def of_one(x: Array, y: Array) -> Array:
        def of_row(row: Array) -> Array:
            f = posterior.outputs_at(posterior.networks(unflattened(template, row)), x[None])[0, 0]
            return residual(posterior.loss, f, y, factor)

        return jax.jacrev(of_row)(row)

    slopes = jax.vmap(of_one)(posterior.x_train, posterior.y_train).reshape(-1, len(row))
    return slopes.T @ slopes
