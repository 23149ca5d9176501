"""Gradient flow of the infinitely wide network, whose weights hardly move: a kernel's flow.

With the squared loss the output of a network that is linear in its weights follows, from f(0),

    f(t) = f(0) + Θ(·, X) Θ⁻¹ (1 − e^(−Θt)) (y − f(0)(X)),      Θ = Θ(X, X)

with the tangent kernel Θ (`kernels.ntk`). Over the initialisations f(0) ~ GP(0, K), K the NNGP's,
so that with G(t) = Θ(x, X) Θ⁻¹ (1 − e^(−Θt))

    mean = G y,   variance = K(x, x) − 2 G K(X, x) + G K(X, X) Gᵀ

(Lee et al. 2019, arXiv:1902.06720, corollary 1). Where f(0) is subtracted (an output scale), the
mean is the same and there is no variance.
"""

import math

import numpy as np
from jaxtyping import Float

from langevin_nn.config.losses import loss_usage
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require_ensemble
from langevin_nn.theory.kernels.nngp import nngp
from langevin_nn.theory.kernels.ntk import ntk, ntk_uncertainty
from langevin_nn.theory.regression.moments import Moments, about_variances, generalisation
from langevin_nn.theory.regression.resolvable import RESOLVED, UNSEEN
from langevin_nn.theory.regression.rounding import (
    EPSILON,
    mixing,
    null_directions,
    require_scale,
    resolution_of,
    rounding_of,
)
from langevin_nn.types import EnsembleSpec, Generalisation, InputError, NotApplicable
from langevin_nn.values import require_flag, require_time

__all__ = ["infinite_width_flow"]


def infinite_width_flow(
    ensemble: Ensemble, *, time: float = math.inf, centred: bool = False
) -> Generalisation:
    """What gradient flow of Σ_μ ½(y_μ − f(x_μ))² makes of an infinitely wide network.

    Args:
        ensemble: of its temperature and widths nothing counts but the depth; with D outputs each
            flows alone.
        time: t; at infinity the training examples are fitted exactly.
        centred: whether f(0) is subtracted from the output, as with an output scale α.

    Returns:
        The mean predictor over initialisations and the variance of f over them.

    Raises:
        NotApplicable: a network without a known Gram matrix, a loss that is not the squared one.
        InputError: inputs that do not fit; a time that is not positive; a tangent kernel that is
            singular, where the time is infinite; a time so long that rounding of the kernel
            decides the answer; float64 switched off.

    >>> data = two_points(1.0, -1.0)
    >>> spec = EnsembleSpec(2, (100,), erf, (1.0, 1.0), temperature=0.1)
    >>> found = infinite_width_flow(Ensemble(spec, data))
    >>> found.predictive_mean.round(9), found.predictive_variance.round(9)
    (array([ 1., -1.]), array([0., 0.]))
    """
    require_ensemble(ensemble)
    spec, data = ensemble.spec, ensemble.data
    if not loss_usage(spec.loss).is_gaussian:
        raise NotApplicable(f"infinite_width_flow is of the squared loss, this is {spec.loss}")
    time = require_time("the time of a flow", time)
    centred = require_flag("centred", centred)
    tangent, gram = ntk(spec, data.x_train), nngp(spec, data.x_train)
    require_scale(np.concatenate([tangent.diagonal(), gram.diagonal()]))
    eigenvalues, vectors = np.linalg.eigh(tangent)
    cross = ntk(spec, data.x_test, data.x_train) @ vectors
    threshold = max(resolution_of(len(eigenvalues)) * eigenvalues[-1], -eigenvalues[0])
    if math.isinf(time) and eigenvalues[0] <= threshold:
        raise InputError(
            f"the tangent kernel is singular (its smallest eigenvalue is {eigenvalues[0]:.1e}), so "
            "that the flow does not fit the data: write a finite time"
        )
    inputs = np.concatenate([data.x_train, data.x_test])
    rounding = rounding_of(eigenvalues, ntk_uncertainty(spec, inputs))
    # at λ = 0 nothing moves: Θ(x, X) vanishes there too, but for rounding that t would multiply
    in_range = ~null_directions(eigenvalues, cross)
    if np.any(in_range & (eigenvalues <= threshold)) and time * threshold > RESOLVED:
        raise InputError(
            f"the time {time:.3g} is too long for this tangent kernel (eigenvalues up to "
            f"{eigenvalues[-1]:.3g}, some lost in the rounding of float64): write a time up to "
            f"{RESOLVED / threshold:.1e}; if inputs are nearly equal, leave out all but one"
        )
    eigenvalues = np.where(in_range, np.maximum(eigenvalues, 0.0), 0.0)
    exponents = -eigenvalues * time
    decayed = np.exp(exponents)
    moving = eigenvalues > 0
    pace = np.divide(
        -np.expm1(exponents), eigenvalues, out=np.where(in_range, time, 0.0), where=moving
    )
    reach = cross * pace
    gains = reach @ vectors.T
    propagator = (vectors * decayed) @ vectors.T  # e^(−Θt)
    mean = gains @ data.y_train
    residual = propagator @ data.y_train
    targets = (vectors.T @ data.y_train).reshape(data.num_train, -1)
    from_null = mixing(rounding, eigenvalues[in_range], cross[:, in_range]) * reach[:, in_range]
    reach = rounding * np.linalg.norm(reach, axis=1)
    errors = np.outer(reach, np.linalg.norm(pace[:, None] * targets, axis=0))
    errors += np.outer(
        np.linalg.norm(from_null, axis=1), np.linalg.norm(targets[~in_range], axis=0)
    )
    power = float(np.mean(data.y_train**2))
    size = np.maximum(np.abs(mean), np.sqrt(power))
    _require_resolved(errors.reshape(mean.shape), size, time, "the mean")
    spread, initial_error, message = np.zeros(data.num_test), 0.0, ""
    if not centred:
        cross, prior = nngp(spec, data.x_test, data.x_train), _diagonal(spec, data.x_test)
        missed = cross - gains @ gram  # of f(0) at the test points
        spread = np.maximum(prior - np.sum(gains * (cross + missed), axis=1), 0.0)
        initial_error = float(np.sum((propagator @ gram) * propagator) / data.num_train)
        errors = 2 * reach * np.linalg.norm(missed @ vectors * pace, axis=1)
        errors += EPSILON * (np.sqrt(prior) + np.abs(gains) @ np.sqrt(np.diagonal(gram))) ** 2
        _require_resolved(errors, np.maximum(spread, UNSEEN * power), time, "the variance")
        message = about_variances(errors, spread)
    columns = data.y_train.shape[1:]
    num_outputs = math.prod(columns)
    moments = Moments(
        mean=mean,
        variance=np.broadcast_to(spread.reshape(-1, *(1,) * len(columns)), mean.shape).copy(),
        train_error=float(np.sum(residual**2) / data.num_train) + num_outputs * initial_error,
        log_evidence=math.nan,
        message=message,
    )
    return generalisation("infinite_width_flow", data, moments)


def _require_resolved(
    errors: Float[np.ndarray, " P_test *D"],
    size: Float[np.ndarray, " P_test *D"],
    time: float,
    quantity: str,
) -> None:
    """Raise `InputError` where rounding moves a quantity by more than one per cent of `size`.

    It is `resolvable.require_resolved` with Θ for K, and (1 − e^(−et))/e for 1/(T + e).
    """
    if not np.all(errors <= RESOLVED * size):
        raise InputError(
            f"the time {time:.3g} is too long for this tangent kernel in float64: its rounding may "
            f"move {quantity} by more than {RESOLVED:.0%}. Write a shorter time; if inputs are "
            "nearly equal, leave out all but one of them"
        )


def _diagonal(spec: EnsembleSpec, x: Float[np.ndarray, "P N_0"]) -> Float[np.ndarray, " P"]:
    return np.array([nngp(spec, row[None])[0, 0] for row in x])
