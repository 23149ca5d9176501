"""Gradient flow of the hinge² loss until a fraction of the examples reaches the margin."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

import langevin_nn as lnn


@eqx.filter_jit
def until_fitted(
    posterior: lnn.GibbsPosterior, start: Any, alpha: Any, fraction: Any, short: Any = 0.0,
    rtol: float = 1e-4, max_steps: int = 20_000,
) -> tuple[Any, Array, Array]:
    """The weights of one network when y f ≥ 1 − short on this fraction, the time, the steps.

    `start` are weights with a leading axis of length one. f = α (f̃ − f̃(0)), E = Σ ℓ/α².
    """
    leaves, structure = jax.tree.flatten(start)
    origin = posterior.train_outputs(start)
    y = posterior.y_train[None]

    def outputs(leaves: list[Array]) -> Array:
        return alpha * (posterior.train_outputs(jax.tree.unflatten(structure, leaves)) - origin)

    def energy(leaves: list[Array]) -> Array:
        return jnp.sum(posterior.loss(outputs(leaves), y)) / alpha**2

    def fitted(t: Any, leaves: list[Array], *_: Any, **__: Any) -> Array:
        return jnp.mean(y * outputs(leaves) >= 1 - short) >= fraction

    def descent(_: Any, leaves: list[Array], __: Any) -> list[Array]:
        return [-gradient for gradient in jax.grad(energy)(leaves)]

    sizes = [jnp.max(jnp.abs(leaf)) for leaf in descent(0.0, leaves, None)]
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(descent), diffrax.Tsit5(), 0.0, jnp.inf, 1e-3 / jnp.max(jnp.stack(sizes)), leaves,
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol, pcoeff=0.2, icoeff=0.4),
        event=diffrax.Event(fitted), max_steps=max_steps, throw=False,
    )  # fmt: skip
    end = jax.tree.unflatten(structure, [leaf[0] for leaf in solution.ys])
    return end, solution.ts[0], solution.stats["num_steps"]
