"""Gradient flow, the limit T → 0 of the dynamics, from draws of the prior.

    dθ/dt = −∇_θ E_α(θ),   E_α = (1/α²) Σ_μ ℓ(f_α(x_μ), y_μ),   f_α = α (f̃_θ − f̃_θ(0))

with the network's own output f̃ and the output scale α (Chizat, Oyallon, Bach, arXiv:1812.07956;
Geiger et al., arXiv:1906.08034). At large α the weights hardly move (lazy), at small α they must
(features). Without an α, E = Σ_μ ℓ(f̃(x_μ), y_μ) of the network as it is. The Gaussian prior's part
of 𝓛 is of order T: it is left out, and is there in the draws θ(0) alone.

Many initialisations are one system of ordinary differential equations, whose steps are as small as
the worst of them needs (diffrax's Tsit5 with a PID controller). It ends where every one has a zero
energy (hinge losses) or a gradient below a stated norm.
"""

import math
from dataclasses import dataclass
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from langevin_nn.model.losses import Hinge
from langevin_nn.model.posterior import GibbsPosterior, Posterior
from langevin_nn.types import InputError

__all__ = ["Flow", "gradient_flow"]


@dataclass(frozen=True, eq=False)
class Flow:
    """Where gradient flow has led each of n initialisations; made by `gradient_flow`.

    `train_outputs` (n, P, *D) and `test_outputs` (n, P_test, *D) are f_α, `energy` (n,) is Σ_μ ℓ
    and `gradient_norm` (n,) is ‖∇_θ E_α‖. `unsatisfied` (n,) is N_Δ, the number of training
    examples whose loss is positive (a margin may be approached from below and never reached: look
    at the energy too). `params` are the weights, on the inputs as they are integrated, and
    `initial_params` those at time 0. `time` is where the flow ended, after `num_steps` steps.
    If it ended before every gradient was small, `converged` is False and `message` says why.
    """

    train_outputs: Float[np.ndarray, "n P *D"]
    test_outputs: Float[np.ndarray, "n P_test *D"]
    energy: Float[np.ndarray, " n"]
    gradient_norm: Float[np.ndarray, " n"]
    unsatisfied: Int[np.ndarray, " n"]
    y_train: Float[np.ndarray, " P *D"]
    y_test: Float[np.ndarray, " P_test *D"]
    targets_midpoint: float
    params: Any
    initial_params: Any
    time: float
    num_steps: int
    converged: bool
    message: str


class _Energy(eqx.Module):
    """E_α and what it is made of; `origin` is f̃ at time 0, None without an output scale."""

    posterior: GibbsPosterior
    origin: Array | None
    scale: Array

    def outputs(self, params: Any) -> Float[Array, "n P *D"]:
        f = self.posterior.train_outputs(params)
        return f if self.origin is None else self.scale * (f - self.origin)

    def losses(self, params: Any) -> Float[Array, "n P *D"]:
        return self.posterior.loss(self.outputs(params), self.posterior.y_train[None])

    def __call__(self, params: Any) -> Float[Array, " n"]:
        """E_α of each initialisation."""
        losses = self.losses(params)
        total = jnp.sum(losses.reshape(len(losses), -1), axis=1)
        return total if self.origin is None else total / self.scale**2

    def gradient(self, params: Any) -> Any:
        return jax.grad(lambda p: jnp.sum(self(p)))(params)


def gradient_flow(
    posterior: Posterior,
    *,
    key: PRNGKeyArray,
    num_initialisations: int = 16,
    output_scale: float | None = None,
    gradient_tolerance: float = 1e-5,
    max_time: float = math.inf,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 100_000,
) -> Flow:
    """Follow the gradient of the data's energy from draws of the prior, all at once.

    Args:
        posterior: network, prior, data and loss; its temperature does not count. Its network's
            arrays should be float64 for gradients as small as these.
        key: of the initialisations.
        num_initialisations: how many networks, integrated side by side.
        output_scale: α; None for the network's own output, f̃ at time 0 included.
        gradient_tolerance: the flow ends where every ‖∇E_α‖ is at most this times its own at time
            0, or the energy is zero.
        max_time: or here, at the latest, for the outputs at that time; `converged` is then False.
        rtol, atol: of the weights, for each step. Where the flow is stiff the weights keep an error
            of this size, and gradients do not fall below Λ_max times that. Above the rounding of
            the weights: with float32 write rtol = 1e-5, atol = 1e-6, gradient_tolerance = 1e-2.
        max_steps: an error of the integration if they are not enough: reported, not raised.

    Raises:
        InputError: a posterior whose read-out is integrated out; the hinge loss of power 1, whose
            slope jumps; numbers that are not positive; an rtol below the rounding of the weights.

    >>> import jax, langevin_nn as lnn
    >>> jax.config.update("jax_enable_x64", True)
    >>> key = jax.random.key(0)
    >>> data = lnn.load_dataset("digits", num_train=10, num_test=20, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (50,), key=key, dtype=jax.numpy.float64)
    >>> prior = lnn.GaussianPrior((1.0, 1.0))
    >>> posterior = lnn.GibbsPosterior(network, prior, data, 0.1)
    >>> flow = lnn.gradient_flow(posterior, key=key, num_initialisations=3, output_scale=10.0)
    >>> flow.converged, bool((flow.energy < 1e-6).all()), flow.test_outputs.shape
    (True, True, (3, 20))
    """
    _check(posterior, num_initialisations, output_scale, gradient_tolerance, max_time, max_steps)
    assert isinstance(posterior, GibbsPosterior), "it has been checked"
    _check_rounding(posterior, rtol)
    key_start, key_outside = jax.random.split(key)
    start = posterior.sample_prior(key_start, num_initialisations)
    outside = jax.random.split(key_outside, num_initialisations)
    scale = jnp.asarray(1.0 if output_scale is None else output_scale, posterior.y_train.dtype)
    origin = None if output_scale is None else posterior.train_outputs(start)
    energy = _Energy(posterior, origin, scale)
    end, time, steps, settled = _integrated(
        energy, start, gradient_tolerance, max_time, rtol, atol, max_steps
    )
    f_test = posterior.test_outputs(end, outside)
    if output_scale is not None:
        f_test = scale * (f_test - posterior.test_outputs(start, outside))
    losses, norms = energy.losses(end), _norms(energy.gradient(end))
    finite = bool(jnp.all(jnp.isfinite(norms)))
    here = bool(settled) and finite
    message = ""
    if not here:
        worst = float(jnp.max(norms / _norms(energy.gradient(start))))
        reached = float(time) >= max_time
        message = (
            f"the flow ended at time {float(time):.3g} after {int(steps)} steps with a gradient of "
            f"{worst:.1e} of the first: write a larger "
            + ("max_time" if reached else "max_steps or a larger gradient_tolerance")
        )
    per_example = losses if losses.ndim == 2 else jnp.sum(losses, axis=2)
    return Flow(
        train_outputs=np.asarray(energy.outputs(end)),
        test_outputs=np.asarray(f_test),
        energy=np.asarray(jnp.sum(per_example, axis=1)),
        gradient_norm=np.asarray(norms),
        unsatisfied=np.asarray(jnp.sum(per_example > 0, axis=1)),
        y_train=np.asarray(posterior.y_train),
        y_test=np.asarray(posterior.y_test),
        targets_midpoint=posterior.targets_midpoint,
        params=end,
        initial_params=start,
        time=float(time),
        num_steps=int(steps),
        converged=here,
        message=message,
    )


@eqx.filter_jit
def _integrated(
    energy: _Energy,
    start: Any,
    gradient_tolerance: float,
    max_time: float,
    rtol: float,
    atol: float,
    max_steps: int,
) -> tuple[Any, Array, Array, Array]:
    """The weights at the end, its time, the number of steps, whether it has settled there."""
    limits = gradient_tolerance * _norms(energy.gradient(start))
    weights, structure = jax.tree.flatten(start)  # diffrax's buffers take arrays alone

    def descent(weights: list[Array]) -> list[Array]:
        gradient = energy.gradient(jax.tree.unflatten(structure, weights))
        return [-g for g in jax.tree.leaves(gradient)]

    def settled(params: Any) -> Array:
        small = _norms(energy.gradient(params)) <= limits
        return jnp.all(small | (energy(params) == 0))

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, weights, _: descent(weights)),
        diffrax.Tsit5(),
        t0=0.0,
        t1=max_time,
        dt0=None,
        y0=weights,
        stepsize_controller=diffrax.PIDController(
            rtol=rtol, atol=atol, norm=_worst, pcoeff=0.2, icoeff=0.4
        ),
        saveat=diffrax.SaveAt(t1=True),
        event=diffrax.Event(lambda t, w, *_, **__: settled(jax.tree.unflatten(structure, w))),
        max_steps=max_steps,
        throw=False,
    )
    assert solution.ys is not None and solution.ts is not None
    end = jax.tree.unflatten(structure, [leaf[0] for leaf in solution.ys])
    return end, solution.ts[0], solution.stats["num_steps"], settled(end)


def _norms(tree: Any) -> Float[Array, " n"]:
    """The Euclidean norm over all arrays, of each initialisation."""
    squares = [jnp.sum(jnp.square(x).reshape(len(x), -1), axis=1) for x in jax.tree.leaves(tree)]
    return jnp.sqrt(jnp.sum(jnp.stack(squares), axis=0))


def _worst(tree: Any) -> Float[Array, ""]:
    """The largest root mean square over the initialisations: no step is larger than one needs."""
    sizes = sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(tree))
    return jnp.max(_norms(tree)) / math.sqrt(sizes)


def _check_rounding(posterior: GibbsPosterior, rtol: float) -> None:
    dtype = posterior.y_train.dtype
    rounding = float(jnp.finfo(dtype).eps)
    if not rtol > 10 * rounding:
        raise InputError(
            f"rtol = {rtol:g} is not above the rounding of {dtype} weights ({rounding:.0e}): build "
            "the network with dtype=jax.numpy.float64, or write rtol = 1e-5, atol = 1e-6 and "
            "gradient_tolerance = 1e-2"
        )


def _check(
    posterior: Posterior,
    num_initialisations: int,
    output_scale: float | None,
    gradient_tolerance: float,
    max_time: float,
    max_steps: int,
) -> None:
    if not isinstance(posterior, GibbsPosterior):
        raise InputError(
            f"gradient flow moves all weights, got a {type(posterior).__name__}: write "
            "GibbsPosterior(network, prior, data, temperature)"
        )
    if isinstance(posterior.loss, Hinge) and posterior.loss.power == 1:
        raise InputError(
            "the slope of the hinge loss of power 1 jumps at the margin, where its gradient flow "
            "would slide along: write Hinge(power=2)"
        )
    for name, value in (
        ("num_initialisations", num_initialisations),
        ("output_scale", 1.0 if output_scale is None else output_scale),
        ("gradient_tolerance", gradient_tolerance),
        ("max_time", max_time),
        ("max_steps", max_steps),
    ):
        if not value > 0:
            raise InputError(f"{name} must be positive, got {value!r}")
