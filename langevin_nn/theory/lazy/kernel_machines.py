"""The lazy limit of losses that are not squared: kernel gradient flow, and support vectors.

At a large output scale α the weights hardly move, and with it the tangent kernel Θ (`kernels.ntk`).
The output with f(0) subtracted then stays in the span of Θ(·, x_μ) and follows

    f(x; t) = Σ_μ Θ(x, x_μ) a_μ(t),   da_μ/dt = −ℓ'(f(x_μ), y_μ),   a(0) = 0,

exactly, for any ℓ (Chizat, Oyallon, Bach, arXiv:1812.07956). For hinge^2 it ends where all
margins y f ≥ κ are reached. Of all functions that reach them, the one of smallest norm

    f = Σ_μ Θ(·, x_μ) a_μ,   y_μ a_μ ≥ 0,   y_μ f(x_μ) ≥ κ,   one of both with equality for each μ

is the hard-margin support-vector machine without intercept (Cortes, Vapnik 1995); Geiger et al.,
arXiv:1906.08034, and Paccolat et al., arXiv:2007.11471, take it for the lazy limit. The flow's end
is in general another one: an example that overshot its margin on the way keeps its a_μ.

An error E of Θ in float64 moves the support vectors' f(x) by vᵀE a to first order, with v that of
Θ v = Θ(X, x) among them, and the flow's by ∫ (Hq)ᵀE a dt with H = diag ℓ'' and dq/dt = Θ H q, which
goes back in time from Θ(X, x). As d(qᵀΘ⁻¹q)/dt = 2 qᵀHq, it is below |E| √(½ Θ(x, x) ∫ |H||a|² dt).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.integrate import solve_ivp
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cholesky, solve_triangular
from scipy.optimize import nnls

from langevin_nn.config.losses import HINGE, loss_usage
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.model.losses import Hinge, Loss, refuse_jumping_slope, require_loss
from langevin_nn.theory.applicability import require_ensemble
from langevin_nn.theory.kernels.ntk import ntk, ntk_diagonal, ntk_uncertainty
from langevin_nn.theory.regression.moments import Moments, generalisation
from langevin_nn.theory.regression.resolvable import RESOLVED
from langevin_nn.theory.regression.rounding import EPSILON, rounding_of
from langevin_nn.types import Generalisation, InputError, NotApplicable
from langevin_nn.values import require_time

__all__ = ["kernel_flow", "support_vectors"]

_MARGIN_TOLERANCE = 1e-6
"""How much a margin of the support vectors may be too low, in units of κ."""


def support_vectors(ensemble: Ensemble, *, margin: float = 1.0) -> Generalisation:
    """The hard-margin support-vector machine with the tangent kernel and without intercept.

    With Q_μν = y_μ y_ν Θ(x_μ, x_ν) the minimum of ½ cᵀQc − κ Σ_μ c_μ over c ≥ 0, (P,), a
    non-negative least-squares problem for the Cholesky factor of Q (SciPy's active-set method,
    exact to rounding), and f(x) = Σ_μ Θ(x, x_μ) y_μ c_μ. An output bias of the network is in Θ.

    Of all f in the span that reach the margins it is the smallest in the norm of Θ, √(aᵀΘa).
    Gradient flow of the hinge loss reaches them too, at a point near it; `kernel_flow` is exact.

    Args:
        ensemble: of its temperature and widths nothing counts but the depth; labels y = ±1.
        margin: κ.

    Returns:
        f at the test points as the mean predictor, no variance and no evidence.

    Raises:
        NotApplicable: a network without a known Gram matrix, a loss that is not the hinge.
        InputError: labels that are not ±1; a margin that is not positive; a tangent kernel that is
            singular, or so nearly that its rounding decides the answer; float64 switched off.

    >>> data = two_points(1.0, -1.0)
    >>> spec = EnsembleSpec(2, (100,), erf, (1.0, 1.0), temperature=0.1, loss="hinge")
    >>> support_vectors(Ensemble(spec, data)).predictive_mean.round(9)
    array([ 1., -1.])
    """
    require_ensemble(ensemble)
    spec, data = ensemble.spec, ensemble.data
    if loss_usage(spec.loss) is not HINGE:
        raise NotApplicable(f"support_vectors is of the hinge loss, this is {spec.loss}")
    Hinge(margin=margin).check(data.y_train)  # a margin that is not positive raises there
    tangent, y = ntk(spec, data.x_train), data.y_train
    factor = _factor(tangent * np.outer(y, y))
    # ½‖Rc − R⁻ᵀ1‖² = ½cᵀQc − 1ᵀc + a constant
    weights, _ = nnls(factor, solve_triangular(factor, np.ones(len(y)), trans="T"))
    coefficients = margin * y * weights
    trained = tangent @ coefficients
    shortfall = float(np.max(1 - y * trained / margin))
    converged = shortfall <= _MARGIN_TOLERANCE
    cross = ntk(spec, data.x_test, data.x_train)
    error = _Error.of(ensemble, tangent)
    supports = weights > 0
    excess = y * trained - margin  # of those that rounding may make support vectors
    supports |= excess <= error.of_supports(tangent, tangent, supports, coefficients)
    moves = error.of_supports(tangent, cross, supports, coefficients)
    _require_resolved(moves, cross @ coefficients, margin)
    return _at_test_points(
        "support_vectors", ensemble, coefficients, trained, cross, converged,
        "" if converged
        else f"the tangent kernel is nearly singular: a margin is {shortfall:.1e} too low",
    )  # fmt: skip


def kernel_flow(
    ensemble: Ensemble,
    loss: Loss,
    *,
    time: float = math.inf,
    loss_tolerance: float = 5e-5,
    rtol: float = 1e-6,
) -> Generalisation:
    """Gradient flow of Σ_μ ℓ(f(x_μ), y_μ) of an infinitely wide network without its f(0).

    The limit of `gradient_flow` with an output scale α as both α and the widths go to infinity:
    da_μ/dt = −ℓ'(f(x_μ), y_μ), f(x; t) = Σ_μ Θ(x, x_μ) a_μ(t), a (P,), in units of time of
    E_α = Σ_μ ℓ/α². Integrated implicitly (SciPy's BDF), for Θ is stiff; some seconds for P = 1000.

    Args:
        ensemble: of its temperature and widths nothing counts but the depth.
        loss: ℓ, of the name in its spec; hinge^1 excepted, whose slope jumps.
        time: t; at infinity the flow ends where each example's loss is at most `loss_tolerance`.
        loss_tolerance: for the hinge with κ = 1, 5e-5 is a margin of 0.99.
        rtol: of f in each step.

    Returns:
        f at the test points as the mean predictor, no variance and no evidence. Not `converged`
        where the integration has failed.

    Raises:
        NotApplicable: a network without a known Gram matrix.
        InputError: a loss that is not the ensemble's, or hinge^1; targets that the loss does not
            take; several outputs; numbers that are not positive; a tangent kernel that is singular,
            where the time is infinite; one whose rounding decides the answer; float64 switched off.

    >>> data = two_points(1.0, -1.0)
    >>> spec = EnsembleSpec(2, (100,), identity, (1.0, 1.0), temperature=0.1, loss="hinge")
    >>> found = kernel_flow(Ensemble(spec, data), Hinge(), time=np.log(2))  # Θ = 1
    >>> found.predictive_mean.round(5)
    array([ 0.5, -0.5])
    """
    _check_flow(ensemble, loss, time, loss_tolerance, rtol)
    spec, data = ensemble.spec, ensemble.data
    tangent, y = ntk(spec, data.x_train), jnp.asarray(data.y_train)
    if math.isinf(time):
        _factor(tangent)  # regular, or the flow might have no end
    slope = jax.grad(lambda f: jnp.sum(loss(f, y)))
    slopes, curvatures = jax.jit(slope), jax.jit(jax.grad(lambda f: jnp.sum(slope(f))))

    def outputs(a: Float[np.ndarray, " P"]) -> Float[Array, " P"]:
        return jnp.asarray(tangent @ a)

    def flow(_: float, a: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
        return -np.asarray(slopes(outputs(a)))

    def jacobian(_: float, a: Float[np.ndarray, " P"]) -> Float[np.ndarray, "P P"]:
        return -np.asarray(curvatures(outputs(a)))[:, None] * tangent

    def excess(_: float, a: Float[np.ndarray, " P"]) -> float:
        return float(jnp.max(loss(outputs(a), y))) - loss_tolerance

    excess.terminal = math.isinf(time)  # type: ignore[attr-defined]
    pace = np.max(np.sum(np.abs(tangent), axis=1))  # f = Θa moves by at most this times a's change
    solution = solve_ivp(
        flow, (0.0, time), np.zeros(len(y)), "BDF", jac=jacobian, events=excess,
        rtol=rtol, atol=rtol / pace,
    )  # fmt: skip
    a = solution.y[:, -1]
    message = "" if solution.status >= 0 else f"the flow failed: {solution.message}"
    cross = ntk(spec, data.x_test, data.x_train)
    if not message:
        slopes_of_steps = np.stack([np.asarray(curvatures(outputs(at))) for at in solution.y.T])
        path = _Path(np.diff(solution.t), solution.y.T[1:], slopes_of_steps[1:])
        unit = float(np.sqrt(np.mean(np.square(data.y_train))))
        unit = unit if loss.margin is None else loss.margin
        _require_resolved_flow(ensemble, tangent, cross, path, unit)
    return _at_test_points("kernel_flow", ensemble, a, tangent @ a, cross, not message, message)


def _factor(q: Float[np.ndarray, "P P"]) -> Float[np.ndarray, "P P"]:
    """R of Q = RᵀR, upper triangular."""
    try:
        factor = np.asarray(cholesky(q))
        smallest = float(np.min(np.diag(factor))) ** 2
    except LinAlgError:
        smallest = 0.0
    if smallest <= len(q) * np.finfo(np.float64).eps * np.max(np.diag(q)):
        raise InputError(
            "the tangent kernel is singular, so that the labels need not be within reach: remove "
            "training examples that occur twice, write a nonlinear activation, or for a flow a "
            "finite time"
        )
    return factor


class _Error(NamedTuple):
    """What rounding does to Θ: |E| of the matrix between the training inputs, and of an entry."""

    norm: float
    of_entry: float

    @classmethod
    def of(cls, ensemble: Ensemble, tangent: Float[np.ndarray, "P P"]) -> "_Error":
        spec, data = ensemble.spec, ensemble.data
        of_entry = ntk_uncertainty(spec, np.concatenate([data.x_train, data.x_test]))
        return cls(rounding_of(np.linalg.eigvalsh(tangent), of_entry), of_entry)

    def of_cross(
        self, cross: Float[np.ndarray, "n P"], coefficients: Float[np.ndarray, " P"]
    ) -> Float[np.ndarray, " n"]:
        """By how much f moves at most with Θ(x, X) alone."""
        own = EPSILON * np.linalg.norm(cross, axis=1) + self.of_entry * np.sqrt(cross.shape[1])
        return own * np.linalg.norm(coefficients)

    def of_supports(
        self,
        tangent: Float[np.ndarray, "P P"],
        cross: Float[np.ndarray, "n P"],
        supports: Bool[np.ndarray, " P"],
        coefficients: Float[np.ndarray, " P"],
    ) -> Float[np.ndarray, " n"]:
        """By how much f of support vectors moves at most, to first order."""
        block = cho_factor(tangent[np.ix_(supports, supports)])
        reach = np.linalg.norm(cho_solve(block, cross[:, supports].T), axis=0)
        return self.norm * reach * np.linalg.norm(coefficients) + self.of_cross(cross, coefficients)


class _Path(NamedTuple):
    """The steps of a flow: their lengths in time, and a and ℓ'' of each example at their ends."""

    steps: Float[np.ndarray, " n"]
    coefficients: Float[np.ndarray, "n P"]
    curvatures: Float[np.ndarray, "n P"]


def _require_resolved_flow(
    ensemble: Ensemble,
    tangent: Float[np.ndarray, "P P"],
    cross: Float[np.ndarray, "P_test P"],
    path: _Path,
    unit: float,
) -> None:
    """Raise `InputError` where rounding of Θ decides where a flow arrives.

    The bound that takes nothing but the path first; where that is too large, q is followed back.
    """
    error, mean = _Error.of(ensemble, tangent), cross @ path.coefficients[-1]
    sizes = np.linalg.norm(path.coefficients, axis=1)
    of_cross = error.of_cross(cross, path.coefficients[-1])
    with np.errstate(all="ignore"):  # what overflows is not resolved
        action = np.sum(path.steps * np.max(path.curvatures, axis=1) * sizes**2)
        prior = ntk_diagonal(ensemble.spec, ensemble.data.x_test)
        moves = error.norm * np.sqrt(prior * action / 2) + of_cross
        if _are_resolved(moves, mean, unit):
            return
        reach, moves, identity = cross.T, of_cross, np.eye(len(tangent))
        for step, size, curvature in zip(
            path.steps[::-1], sizes[::-1], path.curvatures[::-1], strict=True
        ):
            reach = np.linalg.solve(identity + step * tangent * curvature, reach)
            kicks = np.linalg.norm(curvature[:, None] * reach, axis=0)
            moves = moves + error.norm * step * size * kicks
    _require_resolved(moves, mean, unit)


def _are_resolved(
    moves: Float[np.ndarray, " n"], mean: Float[np.ndarray, " n"], unit: float
) -> bool:
    """Whether f moves by one per cent at most, of itself or of the unit where that is larger."""
    return bool(np.all(moves <= RESOLVED * np.maximum(np.abs(mean), unit)))


def _require_resolved(
    moves: Float[np.ndarray, " n"], mean: Float[np.ndarray, " n"], unit: float
) -> None:
    if not _are_resolved(moves, mean, unit):
        raise InputError(
            "the tangent kernel is nearly singular for float64: its rounding may move the mean by "
            f"more than {RESOLVED:.0%}. If inputs are nearly equal, leave out all but one of them; "
            "if they are large, scale them; for a flow write a shorter time"
        )


def _at_test_points(
    name: str,
    ensemble: Ensemble,
    coefficients: Float[np.ndarray, " P"],
    trained: Float[np.ndarray, " P"],
    cross: Float[np.ndarray, "P_test P"],
    converged: bool,
    message: str,
) -> Generalisation:
    """The result with f(x) = Σ_μ Θ(x, x_μ) a_μ at the test points."""
    data = ensemble.data
    mean = cross @ coefficients
    error = float(np.mean(np.square(data.y_train - trained)))
    moments = Moments(mean, np.zeros_like(mean), error, math.nan)
    return generalisation(name, data, moments, converged=converged, message=message)


def _check_flow(
    ensemble: Ensemble, loss: Loss, time: float, loss_tolerance: float, rtol: float
) -> None:
    require_ensemble(ensemble)
    spec, data = ensemble.spec, ensemble.data
    require_loss(loss)
    if loss.name != spec.loss:
        raise InputError(
            f"the ensemble has the {spec.loss} loss, the flow is to be of the {loss.name}: write "
            f'EnsembleSpec(…, loss="{loss.name}")'
        )
    require_loss(loss, data.y_train)
    refuse_jumping_slope(loss, data.y_train)
    if data.num_outputs > 1:
        raise InputError(
            f"kernel_flow is of one output, the targets have shape {data.y_train.shape}: give it "
            "the columns one by one"
        )
    for name, value in (("time", time), ("loss_tolerance", loss_tolerance), ("rtol", rtol)):
        require_time(f"the {name} of a flow", value)
