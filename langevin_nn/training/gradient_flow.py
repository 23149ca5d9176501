"""Gradient flow, the limit T → 0 of the dynamics, from draws of the prior.

    dθ/dt = −∇_θ E_α(θ),   E_α = (1/α²) Σ_μ ℓ(f_α(x_μ), y_μ),   f_α = α (f̃_θ − f̃_θ(0))

with the network's own output f̃ and the output scale α (Chizat, Oyallon, Bach, arXiv:1812.07956;
Geiger et al., arXiv:1906.08034). At large α the weights hardly move (lazy), at small α they must
(features). Without an α, E = Σ_μ ℓ(f̃(x_μ), y_μ) of the network as it is. The Gaussian prior's part
of 𝓛 is of order T: it is left out, and is there in the draws θ(0) alone.

The flow is integrated (`flow_integration`) until the loss of every training example is at most a
stated one (zero: hinge losses get there from below only), or the gradient has fallen.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from langevin_nn.model.losses import refuse_jumping_slope
from langevin_nn.model.posterior import GibbsPosterior, Posterior
from langevin_nn.sampling.checks import checked_posterior, refuse_jumps_for
from langevin_nn.sampling.engine.program import mesh_for
from langevin_nn.training.flow_integration import SOLVERS, End, Rules, integrated
from langevin_nn.types import InputError, random_key
from langevin_nn.values import (
    as_number,
    require_count,
    require_not_negative,
    require_positive,
    require_time,
    shown,
)

__all__ = ["Flow", "gradient_flow"]


@dataclass(frozen=True, eq=False)
class Flow:
    """The ends of the gradient flows of n initialisations; made by `gradient_flow`.

    `train_outputs` (n, P, *D) and `test_outputs` (n, P_test, *D) are f_α, `energy` (n,) is Σ_μ ℓ
    and `gradient_norm` (n,) is ‖∇_θ E_α‖. `unsatisfied` (n,) is N_Δ, the number of training
    examples whose loss is above the `loss_tolerance` (at zero, a margin may be approached from
    below and never reached: look at the energy too). `params` are the weights in the coordinates
    in which they are integrated, `initial_params` those at time 0. Each flow ended at `time` (n,)
    after `num_steps` (n,) steps; `settled` (n,) is whether its gradient or losses had then fallen
    as far as asked, `converged` whether all had, and `message` says why not.
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
    time: Float[np.ndarray, " n"]
    num_steps: Int[np.ndarray, " n"]
    settled: Bool[np.ndarray, " n"]
    message: str

    @property
    def converged(self) -> bool:
        """Whether all flows have settled."""
        return bool(self.settled.all())


def gradient_flow(
    posterior: Posterior,
    *,
    key: PRNGKeyArray,
    num_initialisations: int = 16,
    output_scale: float | None = None,
    gradient_tolerance: float = 1e-5,
    loss_tolerance: float = 0.0,
    fitted_fraction: float = 1.0,
    max_time: float = math.inf,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 100_000,
    solver: str = "tsit5",
) -> Flow:
    """Integrate the gradient flow of the data's energy from draws of the prior, all at once.

    Initialisations are shared out over JAX's devices as chains are.

    Args:
        posterior: network, prior, data and loss; its temperature does not count. Its network's
            arrays should be float64 for gradients as small as these.
        key: the random key of the initialisations.
        num_initialisations: the number of networks, integrated side by side.
        output_scale: α; None for the network's own output, f̃ at time 0 included.
        gradient_tolerance: a flow ends where ‖∇E_α‖ is at most this times its own at time 0.
        loss_tolerance: a flow also ends where no training example has a loss above this. For a
            hinge of power 2 and margin 1, 5e-5 are margins of 0.99, which a flow reaches in finite
            time.
        fitted_fraction: the part of the examples for which `loss_tolerance` must hold.
        max_time: the time at which a flow ends at the latest; it has then not settled.
        rtol, atol: tolerances of each step. Where the flow is stiff the weights keep an error of
            this size, and gradients do not fall below Λ_max times that. They must be above the
            rounding of the weights: with float32 write rtol = 1e-5, atol = 1e-6,
            gradient_tolerance = 1e-2.
        max_steps: the largest number of steps; too few are reported in `message`, not raised.
        solver: "tsit5", of order five, or "stabilised", of order two, whose steps may be 28 times
            as long where stability limits them, at twice the cost of each (`stabilised`): the
            faster one for tolerances as loose as rtol = 1e-3, atol = 1e-4 and flows that have to
            go on for long after their fastest modes have decayed.

    Raises:
        InputError: a posterior whose read-out is integrated out; the hinge loss of power 1, whose
            slope jumps; a network that jumps; numbers that are not positive; an rtol below the
            rounding of the weights.

    >>> data = lnn.load_dataset("digits", num_train=10, num_test=20, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (50,), key=key, dtype=jnp.float64)
    >>> prior = lnn.GaussianPrior((1.0, 1.0))
    >>> posterior = lnn.GibbsPosterior(network, prior, data, 0.1)
    >>> flow = lnn.gradient_flow(posterior, key=key, num_initialisations=3, output_scale=10.0)
    >>> flow.converged, bool((flow.energy < 1e-6).all()), flow.test_outputs.shape
    (True, True, (3, 20))
    """
    rules = Rules(
        gradient_tolerance, loss_tolerance, fitted_fraction, max_time, rtol, atol, max_steps, solver
    )
    _check(posterior, num_initialisations, output_scale, rules)
    assert isinstance(posterior, GibbsPosterior), "it has been checked"
    _check_rounding(posterior, rtol)
    refuse_jumps_for("gradient flow", posterior)
    key_start, key_outside = jax.random.split(random_key(key))
    start = posterior.sample_prior(key_start, num_initialisations)
    outside = jax.random.split(key_outside, num_initialisations)
    scale = jnp.asarray(1.0 if output_scale is None else output_scale, posterior.y_train.dtype)
    origin = None if output_scale is None else posterior.train_outputs(start)
    end = integrated(posterior, start, origin, scale, rules, mesh_for(num_initialisations))
    f_test = posterior.test_outputs(end.params, outside)
    if output_scale is not None:
        # Where the clock is in float64, so are weights in float32 at the end.
        f_start = posterior.test_outputs(start, outside).astype(f_test.dtype)
        f_test = scale.astype(f_test.dtype) * (f_test - f_start)
    arrays = jax.tree.map(np.asarray, end)
    return Flow(
        train_outputs=arrays.train_outputs,
        test_outputs=np.asarray(f_test),
        energy=arrays.losses.sum(axis=1),
        gradient_norm=arrays.gradient_norm,
        unsatisfied=(arrays.losses > loss_tolerance).sum(axis=1),
        y_train=np.asarray(posterior.y_train),
        y_test=np.asarray(posterior.y_test),
        targets_midpoint=posterior.targets_midpoint,
        params=end.params,
        initial_params=start,
        time=arrays.time,
        num_steps=arrays.num_steps,
        settled=arrays.settled,
        message=_message(arrays, rules),
    )


def _message(end: End, rules: Rules) -> str:
    """The reason why flows have not settled, with the largest gradient as an example, or ""."""
    unsettled = np.flatnonzero(~end.settled)
    if not unsettled.size:
        return ""
    worst = unsettled[np.argmax(np.nan_to_num(end.fallen[unsettled], nan=np.inf))]
    time, steps = float(end.time[worst]), int(end.num_steps[worst])
    remedy = "max_time" if time >= rules.max_time else "max_steps or a larger gradient_tolerance"
    return (
        f"{unsettled.size} of {len(end.settled)} flows have not settled, one ended at time "
        f"{time:.3g} after {steps} steps with a gradient of {float(end.fallen[worst]):.1e} of the "
        f"first: write a larger {remedy}"
    )


def _check_rounding(posterior: GibbsPosterior, rtol: float) -> None:
    dtype = posterior.y_train.dtype
    rounding = float(jnp.finfo(dtype).eps)
    rtol = require_positive("rtol", rtol)
    if not rtol > 10 * rounding:
        raise InputError(
            f"rtol = {rtol:g} is not above the rounding of {dtype} weights ({rounding:.0e}): build "
            "the network with dtype=jax.numpy.float64, or write rtol = 1e-5, atol = 1e-6 and "
            "gradient_tolerance = 1e-2"
        )


def _check(
    posterior: Posterior, num_initialisations: int, output_scale: float | None, rules: Rules
) -> None:
    if not isinstance(posterior, Posterior):
        checked_posterior(posterior)
    if not isinstance(posterior, GibbsPosterior):
        raise InputError(
            f"gradient flow moves all weights, got a {type(posterior).__name__}: write "
            "GibbsPosterior(network, prior, data, temperature)"
        )
    refuse_jumping_slope(posterior.loss, np.asarray(posterior.y_train))
    for name, count in (
        ("num_initialisations", num_initialisations), ("max_steps", rules.max_steps)
    ):  # fmt: skip
        require_count(name, count)
    for name, value in (
        ("output_scale", 1.0 if output_scale is None else output_scale),
        ("gradient_tolerance", rules.gradient_tolerance),
        ("max_time", rules.max_time),
    ):
        require_time(name, value)
    if not isinstance(rules.solver, str) or rules.solver not in SOLVERS:
        raise InputError(f"unknown solver {shown(rules.solver)}: write {' or '.join(SOLVERS)}")
    require_not_negative("loss_tolerance", rules.loss_tolerance)
    require_positive("atol", rules.atol)
    fraction = as_number(rules.fitted_fraction)
    if fraction is None or not 0 < fraction <= 1:
        raise InputError(
            f"fitted_fraction must be above 0 and at most 1, got {shown(rules.fitted_fraction)}"
        )
