"""One hidden layer whose units follow their own posterior: the theory `mean_field`.

The read-out integrated out, the data act on each unit through t = (y − f̄)/T, which minimises

    G(t) = −yᵀt + (T/2)|t|² + N_1 log E_0 exp((φ·t)²/2N_1),       φ = σ(h)/√λ_1, h ~ N(0, C).

G is convex. A unit's posterior is p(φ) ∝ p_0(φ) exp((φ·t)²/2N_1), and with Φ = E_p[φφᵀ]

    ∇G = −y + (T + Φ) t,    ∇²G = T + M,    M = Φ + E_p[φφᵀ (φ·t)²]/N_1 − (Φt)(Φt)ᵀ/N_1.

M is N_1 times the covariance of one unit's contribution to f. With test inputs x among the points,

    mean = Φ_x t,   variance = M_xx − M_x (T + M)⁻¹ M_xᵀ,
    log p(y) = G(t) − ½ log det(T + M) − (P/2) log 2π,

the saddle point of p(y) = ∫ dt/(2π)^P exp(−i t·y − ½T|t|²) (E_0 exp(−(φ·t)²/2N_1))^N_1, at an
imaginary t, and the Gaussian integral around it.

Another convex loss has V(f) = Σ_μ ℓ(f_μ, y_μ)/T for its likelihood exp(−V). Then f is a variable of
the integral as well, with exp(−V(f) − i t·f) in place of exp(−i t·y − ½T|t|²). Its saddle point has
t_μ = −∂ℓ/∂f(f̄_μ, y_μ)/T at f̄ = Φt, and minimises

    G(t) = V*(−t) + N_1 log E_0 exp((φ·t)²/2N_1) = V*(−t) + W(t),

V* the convex conjugate of V (`likelihood`): −yᵀt + (T/2)|t|² for the squared loss. Around any t the
outputs have, to second order of W, the Gaussian prior N(Φt − M t, M), and

    E exp(−V) = exp(W(t) − tᵀΦt + ½ tᵀM t) E_{f ~ N(Φt − M t, M)} exp(−V(f)).

The rest is a Gaussian process with the likelihood exp(−V), of which mean and variance are matched
(`latent`): for other losses than the squared one V is no square over the fluctuations of f, and
where it has a kink, or is straight on one side of f̄, not even nearly. t is such that the mean of f
is Φt, as is that of the prior with the tilt t: t_μ = −⟨∂ℓ/∂f⟩/T. Labels of order √N_1 leave no
fluctuations, and this is the saddle point. Each output then has a noise 1/τ_μ, T for the squared
loss, that stands for T in the variances.

With D outputs t and f have P D numbers, (φ·t)² is a sum over them, and M has D × D blocks,

    M_de = δ_de Φ + E_p[φφᵀ (φ·t_d)(φ·t_e)]/N_1 − (Φt_d)(Φt_e)ᵀ/N_1.

G is minimised by steps to the minimum of V*(−t) and the second order of the rest, which are those
of Newton's method for the squared loss.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float

from langevin_nn.footprint import Needs
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.model.losses import Loss
from langevin_nn.theory.applicability import require
from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.features.latent import matched, most_likely, sites_at, through_examples
from langevin_nn.theory.features.likelihood import Likelihood, is_convex
from langevin_nn.theory.features.mean_kernels import said_by_units
from langevin_nn.theory.features.outputs import flat, repeated
from langevin_nn.theory.features.response import (
    Response,
    about_the_sample,
    contribution_at_tests,
    gaussian_moments,
    require_warm,
    response_of,
    scale_along,
)
from langevin_nn.theory.features.samples import draw_units
from langevin_nn.theory.features.units import NUM_UNITS, Units
from langevin_nn.theory.regression.moments import generalisation, joined, not_found
from langevin_nn.types import Generalisation, NotApplicable

__all__ = ["THEORY", "mean_field"]

_MOST_STEPS = 60
_TOLERANCE = 1e-10
"""The Newton decrement, in units of G, below which a point is the minimum."""
_SUFFICIENT = 1e-4
"""The part of the predicted decrease that a step must have."""
_COLLAPSED = (
    "the weights of the units collapse on a few of them, as beyond the wall of an unbounded "
    "activation or where N_1 is too small for the labels: G has no minimum that a sample resolves"
)
HEAVY_TAIL = 0.7
"""The tail index of the weights from which their averages are not to be relied on."""


def mean_field(ensemble: Ensemble, *, num_units: int | None = None) -> Generalisation:
    """One hidden layer, any activation, its units in the field of the data: mean-field scaling.

    With y (P,), t (P,) minimises G(t) = −yᵀt + (T/2)|t|² + N_1 log E_0 exp((φ·t)²/2N_1), a convex
    function, where φ (P,) are one unit's features σ(h)/√λ_1 with h from the prior; the units' own
    distribution is p ∝ p_0 exp((φ·t)²/2N_1), and mean = E_p[φ_x φᵀ] t. The variance is that of a
    Gaussian process with N_1 times the covariance of a unit's contribution to f, which a unit's
    non-Gaussian read-out raises above E_p[φφᵀ]. The equations are in `features.mean_field`: the
    mean as in Lauditi, Bordelon and Pehlevan 2025, arXiv:2502.07998, and van Meegen and Sompolinsky
    2024, arXiv:2406.16689, with λ, T and N_1 as here; variance and evidence are derived there.

    Another convex loss has V*(−t) for −yᵀt + (T/2)|t|², the conjugate of V(f) = Σ ℓ(f, y)/T, and
    t_μ = −⟨∂ℓ/∂f⟩/T over the fluctuations of f_μ, of which mean and variance are matched
    (`features.latent`). `log_evidence` is then log E exp(−V) over the prior. With D outputs y and
    t are (P, D), (φ·t)² is the sum over them, and the covariances are P D × P D. The units of a
    convolutional layer are its channels, and (φ·t)² is the sum over patches (`features.response`).

    It holds for N_1 → ∞ at fixed P with labels of order √N_1 (richness of order one). With labels
    of order one and P of the order of N_1 it lacks the determinant's part of `one_layer`'s action.

    The order parameter is tᵀΦt/tᵀKt, by which the Gram matrix has grown along t; for identity σ it
    is Q = 1/(1 − tᵀKt/N_1), and `one_layer`'s mean at this Q. E_p is an average over `num_units`
    quasi-random units, the same ones in each call, with weights. `converged` is False, and
    `message` says why, where the weights are those of too few units, and where they have so heavy
    a tail that the average does not exist or is not found by a sample: unbounded σ (relu, identity)
    have G finite only within a wall, tᵀKt < N_1 for identity.

    Args:
        ensemble: the spec, and the training and test examples.
        num_units: rounded up to a power of two; 32,768, with n patches up to eight times fewer.

    Raises:
        NotApplicable: other than one hidden layer, fully connected or convolutional; a loss that is
            not convex, or one of the user's own of which the ensemble has the name alone.
        InputError: inputs that do not fit the spec; targets that the loss does not take; T = 0; a
            number of units below 64.

    Linear units with K = I: t solves (T + Q) t = y with Q = 1/(1 − |t|²/N_1)

    >>> data = two_points(2.0, -2.0)
    >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=1.0)
    >>> result = mean_field(Ensemble(spec, data), num_units=4096)
    >>> t = data.y_train - result.predictive_mean
    >>> (q,) = result.order_parameters
    >>> bool(abs(q - 1 / (1 - t @ t / 100)) < 1e-3), ((1 + q) * t).round(3)
    (True, array([ 2., -2.]))
    """
    return THEORY(ensemble, num_units=num_units)


def _domain(ensemble: Ensemble) -> tuple[int, ...]:
    """The hidden widths; NotApplicable for another network, and for a loss that is not convex."""
    widths = require(
        "mean_field", ensemble, depth=1, several_outputs=True, convolutional=None, any_loss=True
    )
    _convex_loss(ensemble)
    return widths


def _convex_loss(ensemble: Ensemble) -> Loss:
    loss, y = ensemble.loss, ensemble.data.y_train
    if loss is None:
        raise NotApplicable(
            f"mean_field takes the values of a loss, of {ensemble.spec.loss} only the name is "
            "known: write Ensemble(spec, data, loss=…), or posterior.ensemble"
        )
    if not is_convex(loss, y):
        raise NotApplicable(
            f"mean_field describes losses that are convex in the output, {loss.name} is not: "
            "write theory = [] for none"
        )
    return loss


class Saddle(NamedTuple):
    """A point t with what belongs to it; made by `saddle_point` and `among_fluctuations`.

    `prior` is M with the read-out's bias, `slope` Φt with the bias's part, `rest` W. Of the outputs
    f at the training inputs: mean, noise, and log E exp(−V).
    """

    t: Float[np.ndarray, " m"]
    response: Response
    prior: Float[np.ndarray, "m m"]
    slope: Float[np.ndarray, " m"]
    rest: float
    f: Float[np.ndarray, " m"]
    noise: Float[np.ndarray, " m"]
    log_evidence: float
    message: str


def _solve(ensemble: Ensemble, *, num_units: int | None = None) -> Solution:
    (width,) = _domain(ensemble)
    spec, data = ensemble.spec, ensemble.data
    require_warm("mean_field", spec.temperature)
    loss = _convex_loss(ensemble)
    loss.check(data.y_train)
    units = draw_units(ensemble, num_units)
    likelihood = Likelihood(loss, data.y_train, spec.temperature)
    try:
        found = saddle_point(units, likelihood, width)
        if not loss.is_gaussian:
            found = among_fluctuations(units, likelihood, width, found)
    except np.linalg.LinAlgError:
        return Solution(not_found("mean_field", data, _COLLAPSED))
    except ArithmeticError as error:
        return Solution(not_found("mean_field", data, str(error)))
    t, response = found.t, found.response
    curved, factor = through_examples(found.prior, found.noise)
    solved = scipy.linalg.solve_triangular(factor, found.prior[:, curved].T, lower=True)
    squares = np.sum((flat(data.y_train) - found.f) ** 2)
    squares += np.sum(np.diag(found.prior) - np.sum(solved**2, axis=0))
    process = contribution_at_tests(units, width, t, response.along(units, t), response)
    moments = gaussian_moments(
        units, data, t, process, factor, float(squares / data.num_train), found.log_evidence,
        curved,
    )  # fmt: skip
    enough, message = about_the_sample(response)
    index = tail_index(response.weights)
    if heavy := index >= HEAVY_TAIL:
        message = joined(
            message,
            f"the weights of the units have a tail of index {index:.2f}: near the wall, where the "
            "average over units of an unbounded activation ceases to exist, samples do not find it",
        )
    message = joined(found.message, message)
    converged = not found.message and enough and not heavy
    orders = (scale_along(units, response, t),)
    result = generalisation("mean_field", data, moments, orders, converged, message)
    return Solution(result, is_gaussian=True, **said_by_units(ensemble, response))


def action(
    units: Units,
    bias: Float[np.ndarray, "m m"],
    width: int,
    t: Float[np.ndarray, " m"],
) -> tuple[float, Response]:
    """N_1 log E_0 exp((φ·t)²/2N_1) with the sampled E_0, the bias's part, and the units' weights.

    E_0[(φ·t)²], which the sample has wrong by its noise, is exact: ½ tᵀ(K − K_sample)t is added.

    >>> data = two_points(2.0, -2.0)
    >>> spec = EnsembleSpec(2, (10**6,), identity, (0.5, 1.0), temperature=1.0)
    >>> units = draw_units(Ensemble(spec, data), 64)  # K = I
    >>> print(f"{action(units, np.zeros((2, 2)), 10**6, np.ones(2))[0]:.4f}")  # |t|²/2
    1.0000
    """
    u = units.outputs(t)
    response = response_of(0.0, u, width)
    value = 0.5 * t @ bias @ t + width * response.log_normaliser
    beyond_the_sample = np.trace(units.prior_outputs(t)) - np.mean(np.sum(u**2, axis=1))
    return float(value + 0.5 * beyond_the_sample), response


def saddle_point(units: Units, likelihood: Likelihood, width: int) -> Saddle:
    """The minimum of G, from infinite width on, by steps that lower it; exact for a square V.

    A step is to the minimum of V*(−t) and the second order of W, or a part of the way. The evidence
    is that of the Gaussian integral around it, where V has a curvature at each output.

    >>> from langevin_nn.model.losses import Squared
    >>> data = two_points(2.0, -2.0)
    >>> spec = EnsembleSpec(2, (10**6,), identity, (0.5, 1.0), temperature=1.0)
    >>> units = draw_units(Ensemble(spec, data), 64)  # K = I
    >>> found = saddle_point(units, Likelihood(Squared(), data.y_train, 1.0), 10**6)
    >>> found.t.round(4), found.noise
    (array([ 1., -1.]), array([1., 1.]))
    """
    size, bias = likelihood.y.size, _bias(units, likelihood)
    gram = repeated(units.gram, size // len(units.gram))
    point = most_likely(likelihood, np.zeros(size), gram + bias, np.zeros(size))
    for num_steps in range(_MOST_STEPS + 1):
        t = point.pull
        rest, response, slope, prior = _second_order(units, bias, width, t)
        value = rest + point.conjugate
        aim = most_likely(likelihood, slope - prior @ t, prior, t)
        step = aim.pull - t
        curvature = step @ prior @ step
        decrement = -2 * float(slope @ step + curvature / 2 + aim.conjugate - point.conjugate)
        converged = decrement < _TOLERANCE * max(1.0, abs(value))
        if converged or num_steps == _MOST_STEPS:
            break
        share = 1.0
        while True:
            trial = likelihood.between(point, aim, share)
            trial_rest, _ = action(units, bias, width, trial.pull)
            lowered = trial_rest + trial.conjugate <= value - _SUFFICIENT * share * decrement
            if lowered or share < 1e-6:
                break
            share /= 2
        point = trial
    curved, factor = through_examples(prior, aim.noise)
    log_determinant = 2 * np.sum(np.log(np.diag(factor)))
    log_determinant -= np.sum(np.log(aim.noise[curved & (aim.noise > 0)]))
    evidence = float(value - 0.5 * log_determinant - likelihood.log_normalisation())
    if np.any(aim.noise == 0):
        evidence = np.nan
    message = "" if converged else f"no minimum of G found in {_MOST_STEPS} steps"
    return Saddle(t, response, prior, slope, rest, point.f, aim.noise, evidence, message)


def among_fluctuations(units: Units, likelihood: Likelihood, width: int, saddle: Saddle) -> Saddle:
    """t at which the mean of the outputs is Φt, from the saddle point on, by `latent.matched`.

    The squared loss has this at the saddle point:

    >>> from langevin_nn.model.losses import Squared
    >>> data = two_points(2.0, -2.0)
    >>> spec = EnsembleSpec(2, (10,), identity, (0.5, 1.0), temperature=1.0)
    >>> units = draw_units(Ensemble(spec, data), 64)
    >>> likelihood = Likelihood(Squared(), data.y_train, 1.0)
    >>> saddle = saddle_point(units, likelihood, 10)
    >>> found = among_fluctuations(units, likelihood, 10, saddle)
    >>> bool(np.allclose(found.t, saddle.t, atol=1e-4)), bool(np.allclose(found.noise, 1.0))
    (True, True)
    """
    bias, t, rest, response = _bias(units, likelihood), saddle.t, saddle.rest, saddle.response
    slope, prior = saddle.slope, saddle.prior
    sites = sites_at(likelihood, saddle.f, t)
    for num_steps in range(_MOST_STEPS):
        found = matched(likelihood, slope - prior @ t, prior, sites)
        step, sites = found.pull - t, found.sites
        decrement = float(step @ prior @ step)
        converged = decrement < _TOLERANCE * max(1.0, abs(rest))
        if converged or num_steps == _MOST_STEPS - 1:
            break
        t = t + step
        rest, response, slope, prior = _second_order(units, bias, width, t)
    value = rest - t @ slope + t @ prior @ t / 2 + found.log_evidence
    message = saddle.message
    if not (converged and found.converged):
        message = joined(message, f"no outputs of matching moments found in {_MOST_STEPS} steps")
    with np.errstate(divide="ignore"):
        noise = 1 / sites.precision
    evidence = float(value - likelihood.log_normalisation())
    return Saddle(t, response, prior, slope, rest, found.mean, noise, evidence, message)


def _bias(units: Units, likelihood: Likelihood) -> Float[np.ndarray, "m m"]:
    """The covariance of the read-out's bias, which is no part of the units."""
    return repeated(units.columns @ units.columns.T, likelihood.y.size // len(units.gram))


def _second_order(
    units: Units, bias: Float[np.ndarray, "m m"], width: int, t: Float[np.ndarray, " m"]
) -> tuple[float, Response, Float[np.ndarray, " m"], Float[np.ndarray, "m m"]]:
    """W, the units' response, and W's gradient Φt and curvature M, with the bias's part."""
    rest, response = action(units, bias, width, t)
    along = response.along(units, t)
    return rest, response, along + bias @ t, bias + response.covariance(units, along, width)


def tail_index(weights: Float[np.ndarray, " n"]) -> float:
    """The index k of the tail P(w > s) ~ s^(−1/k) of weights: Hill's estimate, of their largest √n.

    From k = ½ on w has no variance, from 1 on no mean (Vehtari et al. 2024, J. Mach. Learn. Res.
    25:72, whose rule for averages with such weights is k < 0.7).

    >>> u = (np.arange(10**4) + 0.5) / 10**4
    >>> print(f"{tail_index(u**-0.5):.2f}")
    0.50
    """
    largest = np.sort(weights)[-int(3 * np.sqrt(len(weights))) :]
    return float(np.mean(np.log(largest[1:])) - np.log(largest[0]))


THEORY = Theory(
    "mean_field",
    _solve,
    summary="Each unit in the field of the data: the units' own posterior at labels of order √N_1.",
    style={"color": "#882255", "linestyle": (0, (5, 1, 1, 1, 1, 1)), "marker": "P"},
    domain=_domain,
    needs=Needs(
        10.0,
        per_pair=2.0,
        programs=60e6,
        sampled=NUM_UNITS,
        per_output_pair=4.0,
        per_unit_pair=5.0,
        least_depth=1,
        most_depth=1,
    ),
    on_request=True,
    any_loss=True,
)
