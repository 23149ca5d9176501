"""Gradient flow's differential equation, integrated for many initialisations side by side.

diffrax's Tsit5, or `stabilised`, with a PID controller, its own steps for each initialisation. The
state is made of the weights, or with an output scale of max(α, 1)(θ − θ(0)), whose flow has a limit
as α → ∞: no tolerance needs to know α. As α → 0 its time is α times a fixed one, and the first step
is one in which the state moves by a given length.
"""

import math
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from langevin_nn.model.posterior import GibbsPosterior
from langevin_nn.training.stabilised import Stabilised
from langevin_nn.types import CHAIN_AXIS

__all__ = ["SOLVERS", "End", "Rules", "integrated"]

SOLVERS = {"tsit5": diffrax.Tsit5, "stabilised": Stabilised}
"""The methods of integration by their names."""


class Rules(eqx.Module):
    """The rules of an integration: when a flow ends, and with what tolerances it is followed.

    The numbers are traced: flows that differ in them alone are one program.
    """

    gradient_tolerance: float | Array
    loss_tolerance: float | Array
    fitted_fraction: float | Array
    max_time: float | Array
    rtol: float | Array
    atol: float | Array
    max_steps: int = eqx.field(static=True)
    solver: str = eqx.field(static=True, default="tsit5")


FIRST_MOVE = 1e-3
"""The root mean square of the first step's change of the state."""


class _Energy(eqx.Module):
    """The energy E_α of one network, its outputs and losses.

    `origin` is f̃ at time 0 where an output scale α is given, else None.
    """

    posterior: GibbsPosterior
    origin: Float[Array, " P *D"] | None
    scale: Array

    def outputs(self, params: Any) -> Float[Array, " P *D"]:
        """The outputs f_α at the training inputs."""
        f = self.posterior.train_outputs(jax.tree.map(lambda leaf: leaf[None], params))[0]
        return f if self.origin is None else self.scale * (f - self.origin)

    def losses(self, params: Any) -> Float[Array, " P"]:
        """The loss ℓ of each training example, summed over the outputs."""
        losses = self.posterior.loss(self.outputs(params), self.posterior.y_train)
        return jnp.sum(losses.reshape(len(losses), -1), axis=1)

    def __call__(self, params: Any) -> Float[Array, ""]:
        total = jnp.sum(self.losses(params))
        return total if self.origin is None else total / self.scale**2


class End(eqx.Module):
    """The ends of the flows of all initialisations, with the weights and numbers of each."""

    params: Any
    train_outputs: Any
    losses: Any
    gradient_norm: Any
    fallen: Any
    time: Any
    num_steps: Any
    settled: Any


def integrated(
    posterior: GibbsPosterior, start: Any, origin: Any, scale: Array, rules: Rules, mesh: Mesh
) -> End:
    """The ends of the flows that begin at the weights `start` (n, …), shared out over the mesh."""
    dtype = posterior.y_train.dtype
    numbers = jax.tree.map(lambda number: jnp.asarray(number, dtype), rules)
    numbers = eqx.tree_at(lambda r: r.max_time, numbers, jnp.asarray(rules.max_time, float))
    # diffrax's clock is in float64 beside weights in float32, and its steps mix the two.
    with jax.numpy_dtype_promotion("standard"):
        return _integrated_on_mesh(posterior, start, origin, scale, numbers, mesh)


@eqx.filter_jit
def _integrated_on_mesh(
    posterior: GibbsPosterior, start: Any, origin: Any, scale: Array, rules: Rules, mesh: Mesh
) -> End:
    shared, replicated = PartitionSpec(CHAIN_AXIS), PartitionSpec()
    arrays, static = eqx.partition(posterior, eqx.is_array)

    def on_device(arrays: Any, start: Any, origin: Any, scale: Array, rules: Rules) -> End:
        whole_posterior = eqx.combine(arrays, static)
        return jax.vmap(
            lambda params, outputs: _integrated_one(
                _Energy(whole_posterior, outputs, scale), params, rules
            )
        )(start, origin)

    specs = (replicated, shared, shared, replicated, replicated)
    mapped = jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=shared, check_vma=False)
    return mapped(arrays, start, origin, scale, rules)


def _integrated_one(energy: _Energy, start: Any, rules: Rules) -> End:
    gradient = jax.grad(energy)
    slope = _norm(gradient(start))
    limit = rules.gradient_tolerance * slope
    leaves, structure = jax.tree.flatten(start)  # diffrax's buffers take arrays alone
    scaled = energy.origin is not None
    factor = jnp.maximum(energy.scale, 1)
    pace = slope * factor if scaled else slope
    size = sum(leaf.size for leaf in leaves)
    # diffrax's own choice, from a state of zeros, is a step so long that the weights overflow
    first_step = FIRST_MOVE * math.sqrt(size) / jnp.where(pace > 0, pace, 1.0)

    def weights(state: list[Array]) -> Any:
        if scaled:
            state = [first + change / factor for first, change in zip(leaves, state, strict=True)]
        return jax.tree.unflatten(structure, state)

    def descent(t: Any, state: list[Array], _: Any) -> list[Array]:
        return [-g * factor if scaled else -g for g in jax.tree.leaves(gradient(weights(state)))]

    def settled(params: Any) -> Array:
        share = jnp.mean(energy.losses(params) <= rules.loss_tolerance)
        fitted = share >= jnp.asarray(rules.fitted_fraction, share.dtype)
        return (_norm(gradient(params)) <= limit) | fitted

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(descent),
        SOLVERS[rules.solver](),
        t0=0.0,
        t1=rules.max_time,
        dt0=jnp.minimum(first_step, rules.max_time),
        y0=[jnp.zeros_like(leaf) for leaf in leaves] if scaled else leaves,
        stepsize_controller=diffrax.PIDController(
            rtol=rules.rtol, atol=rules.atol, pcoeff=0.2, icoeff=0.4
        ),
        saveat=diffrax.SaveAt(t1=True),
        event=diffrax.Event(lambda t, state, *_, **__: settled(weights(state))),
        max_steps=rules.max_steps,
        throw=False,
    )
    assert solution.ys is not None and solution.ts is not None
    end = weights([leaf[0] for leaf in solution.ys])
    norm = _norm(gradient(end))
    return End(
        params=end,
        train_outputs=energy.outputs(end),
        losses=energy.losses(end),
        gradient_norm=norm,
        fallen=norm / _norm(gradient(start)),
        time=solution.ts[0],
        num_steps=solution.stats["num_steps"],
        settled=settled(end) & jnp.isfinite(norm),
    )


def _norm(tree: Any) -> Float[Array, ""]:
    """The Euclidean norm of all arrays of a tree together."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))
