"""The log evidence from a ladder of temperatures, by thermodynamic integration.

With the data's energy E = Σ_μ ℓ(f(x_μ), y_μ), of the squared loss ½ Σ_μ (y_μ − f(x_μ))², and
Z(β) = ∫ dθ p(θ) exp(−βE), d log Z/dβ = −⟨E⟩_β, so that the log evidence
log p(y | X) = log Z − (PD/2) log 2πT at rung k is that at the hottest rung, less

    ∫ (β⟨E⟩_β − PD/2) d log β        from the hottest rung to rung k.

Between neighbours, h apart in log β, it is h/2 (g_1 + g_2) + h²/12 (g'_1 − g'_2) + O(h⁵), where the
slope of the integrand g = β⟨E⟩ − PD/2 is known too: dg/d log β = β⟨E⟩ − β² Var E. All of this is a
sum of what was recorded at the rungs, hence one series for each chain, whose Monte-Carlo error has
the correlations of the rungs in it. At the hottest rung log p(y | X) = log ⟨p(y | θ)⟩ over draws of
the prior, with the read-out integrated out where it can be. With other losses exp(−βE) is no
normalised likelihood: "evidence" is then log Z itself, and the PD/2 is left out.

The error of this rule, H, between two rungs is

    min(B, |L − H| + J (|S − H| + w M)),    added up from the hottest rung to rung k,

B  the farther end of the bracket from H. Since ⟨E⟩ falls with β (its slope is −Var E), the
   integral of ⟨E⟩ lies between the rectangles Δβ⟨E⟩ of the colder and of the hotter rung.
L  ∫ ⟨E⟩ dβ with a cubic through values and slopes of log ⟨E⟩ over log β, which is right for every
   power ⟨E⟩ ∝ β^−a, the plateau of a misfit that stays (a = 0) among them;
S  the same Hermite rule over √β. H, L and S have errors O(h⁵) each, of different size.
M  h/2 |g_1 − g_2 − h/2 (g'_1 + g'_2)|: by so much the integral of g can differ when the part of
   its change that the slopes of the ends do not tell happens at one end or the other; O(h⁴).
w  max(ε, tanh² h): how much of M counts. ε, at most 1, is that part per h, over the mean of the
   ends' β² Var E.
J  R/(1 + R), with R = Δβ (⟨E⟩_hot − ⟨E⟩_cold), the width of the bracket and Jeffreys' divergence
   of the two rungs' laws (the sum of both relative entropies). Where neighbours overlap, R ≪ 1,
   nothing hides between them, and |L − H| is left: S counts as O(h⁷), M as O(h⁸).

S − H and M are linear in what was recorded; what they have by Monte-Carlo error alone is taken out,
the square of their standard error from their square. If fewer than 30 draws of the prior carry the
weight at the hottest rung, their standard error (at most 1) means nothing. Their average is hardly
ever far too large (e^t times its expectation at most once in e^t times, Markov), and log Z is at
most −β⟨E⟩ of that rung: what lies between is then part of every rung's error.

The identity: Gelman, Meng, Stat. Sci. 13, 163, 1998. The rule with slopes: Friel, Hurn, Wyse, Stat.
Comput. 24, 709, 2014. The divergence of neighbours in the error: Calderhead, Girolami, Comput.
Stat. Data Anal. 53, 4028, 2009. The estimate is ours; it is no bound, B apart.
"""

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.analysis.diagnostics import EXTEND, START_ANEW, mcse
from langevin_nn.analysis.generalisation import summarise
from langevin_nn.model.marginalised import MarginalisedPosterior
from langevin_nn.model.networks.base import Network
from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.tempering import Ladder
from langevin_nn.types import Estimate, Generalisation, InputError, random_key
from langevin_nn.values import require_kind

BATCH_BYTES = 64e6
"""The bound on the size of the arrays of one batch of draws of the prior."""
FEWEST_PRIOR_DRAWS = 30
"""The number of draws of the prior below which the standard error of their mean means nothing."""

GAUSS_NODES = 24
"""The number of Gauss–Legendre nodes of an integral between two rungs without a closed form."""

LEAST_SWAPS = 0.05
"""The swap acceptance between two rungs below which a ladder is complained of."""
LARGEST_QUADRATURE = 1.0
"""The error of the quadrature above which a ladder's log evidence is complained of."""


@dataclass(frozen=True)
class ThermodynamicIntegration:
    """The log evidence log p(y | X) at each temperature of a ladder, the coldest first.

    `quadrature` is at each temperature an estimate of the error of the integral, which is not in
    the Monte-Carlo standard errors: see the module. It falls as h⁴ with the distance h of
    the rungs in log T, and is large, up to the bracket by rectangles, where they are far apart. At
    the hottest rung it is 0 unless that is too cold for draws of the prior.
    """

    temperatures: tuple[float, ...]
    log_evidence: tuple[Estimate, ...]
    quadrature: tuple[float, ...]


@dataclass(frozen=True)
class Tempering:
    """The results of a ladder at each temperature, the coldest first, and how it mixed.

    `swap_acceptance` is the mean acceptance of swaps between neighbours, `round_trips` the number
    of times that weights came down to the coldest rung from the hottest, over all chains.
    `extendable` says whether the chains can go on.
    """

    measured: tuple[Generalisation, ...]
    integration: ThermodynamicIntegration
    swap_acceptance: tuple[float, ...]
    round_trips: int
    extendable: bool = False

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures of the rungs, the coldest first."""
        return self.integration.temperatures

    @property
    def complaint(self) -> str:
        """The reason why the ladder fails its coldest rung or its evidence; empty without one."""
        worst = int(np.argmin(self.swap_acceptance))
        if self.swap_acceptance[worst] < LEAST_SWAPS:
            low, high = self.temperatures[worst : worst + 2]
            return (
                f"swaps between T = {low:g} and {high:g} are accepted with "
                f"{self.swap_acceptance[worst]:.2g} only: put {math.sqrt(low * high):.2g} between"
            )
        if self.round_trips == 0:
            advice = EXTEND if self.extendable else START_ANEW
            return f"nothing came down from the hottest rung; {advice}"
        quadrature = self.integration.quadrature
        if quadrature[-1] > 0:
            hottest = self.temperatures[-1]
            return (
                f"hardly any draw of the prior sees the data at T = {hottest:g}, where the "
                f"evidence starts: put {10 * hottest:g} on top"
            )
        if quadrature[0] > LARGEST_QUADRATURE:
            widest = int(np.argmin(np.diff(quadrature)))
            low, high = self.temperatures[widest : widest + 2]
            return (
                f"too few temperatures for the evidence (quadrature ± {quadrature[0]:.2g}): put "
                f"{math.sqrt(low * high):.2g} between T = {low:g} and {high:g}"
            )
        return ""


def summarise_ladder(ladder: Ladder, *, key: PRNGKeyArray) -> Tempering:
    """The summary at each temperature and the log evidence; `key` is that of draws of the prior."""
    require_kind("ladder", ladder, Ladder, "temper(posterior, dynamics, temperatures, key=…)")
    key = random_key(key)
    return Tempering(
        measured=tuple(summarise(chains) for chains in ladder.chains),
        integration=thermodynamic_integration(ladder, key=key),
        swap_acceptance=tuple(float(x) for x in ladder.swap_acceptance),
        round_trips=round(float(ladder.round_trips.sum())),
        extendable=ladder.chains[0].extendable,
    )


def thermodynamic_integration(
    ladder: Ladder, *, key: PRNGKeyArray, num_prior: int = 20_000
) -> ThermodynamicIntegration:
    """The log evidence at each temperature; at the hottest it is that of `num_prior` prior draws.

    The hottest temperature must be so high that draws of the prior see the data: where they do
    not, the error is large, and it is part of the error at every temperature.

    Raises `InputError` if every chain diverged.
    """
    keep = ~np.any([chains.diverged for chains in ladder.chains], axis=0)
    if not keep.any():
        raise InputError("every chain diverged: there is nothing to integrate")
    hottest = ladder.posteriors[-1]
    normalised = hottest.loss.is_gaussian
    misfit, normalisation = _prior_misfits(hottest, key, num_prior)
    start = _log_mean(misfit, normalisation)
    beta = 1 / np.array(ladder.temperatures)
    energies, energy_variances = (
        np.stack([series[keep] for series in ladder_series], axis=-1).astype(np.float64)
        for ladder_series in (ladder.data_energies, ladder.energy_variances)
    )  # (chain, draw, rung)
    variances = np.square(energies - energies.mean(axis=(0, 1))) + energy_variances
    integrand = beta * energies - (0.5 * hottest.y_train.size if normalised else 0.0)
    slope = beta * energies - np.square(beta) * variances
    log_evidences = []
    for rung in range(len(beta)):
        series = _integral(np.log(beta), integrand, slope, rung)
        error = float(np.hypot(mcse(series), start.mcse))
        log_evidences.append(Estimate(start.value - float(series.mean()), error))
    highest = -beta[-1] * energies[..., -1].mean()
    if normalised:
        highest -= 0.5 * hottest.y_train.size * np.log(2 * np.pi / beta[-1])
    start_error = max(0.0, float(highest) - start.value) if _few_dominate(misfit) else 0.0
    errors = [*_errors_between(beta, energies, variances), start_error]
    quadrature = np.cumsum(errors[::-1])[::-1]
    return ThermodynamicIntegration(
        ladder.temperatures, tuple(log_evidences), tuple(quadrature.tolist())
    )


def _integral(
    places: Float[np.ndarray, " K"],
    values: Float[np.ndarray, "chain draw K"],
    slopes: Float[np.ndarray, "chain draw K"],
    rung: int,
) -> Float[np.ndarray, "chain draw"]:
    """The integral of each draw from the hottest rung to `rung`, by values and slopes there."""
    colder, hotter = np.arange(rung, len(places) - 1), np.arange(rung + 1, len(places))
    h = places[colder] - places[hotter]
    trapezoid = (values[..., colder] + values[..., hotter]) @ (h / 2)
    return np.asarray(trapezoid + (slopes[..., hotter] - slopes[..., colder]) @ (h**2 / 12))


def _errors_between(
    beta: Float[np.ndarray, " K"],
    energies: Float[np.ndarray, "chain draw K"],
    variances: Float[np.ndarray, "chain draw K"],
) -> Float[np.ndarray, " K_less_1"]:
    """The errors min(B, |L − H| + J (|S − H| + w M)) of the integral between neighbours."""
    h = np.log(beta[:-1] / beta[1:])
    heat = np.square(beta) * variances
    g = beta * energies
    hermite = _between(np.log(beta), g, g - heat)
    value = hermite.mean(axis=(0, 1))

    root = np.sqrt(beta)
    over_root = _between(root, 2 * root * energies, 2 * energies - 4 * beta * variances)
    energy, variance = energies.mean(axis=(0, 1)), variances.mean(axis=(0, 1))
    power_error = np.abs(_log_cubic(beta, energy, variance) - value)

    slope_misfit = (
        g[..., :-1] - g[..., 1:] - h / 2 * (g - heat)[..., :-1] - h / 2 * (g - heat)[..., 1:]
    )
    resolved_misfit = _resolved(slope_misfit)
    width = np.abs(np.diff(beta) * np.diff(energy))
    capacity = 0.5 * (beta**2 * variance)[:-1] + 0.5 * (beta**2 * variance)[1:]
    share = np.minimum(resolved_misfit, h * capacity) / np.where(capacity > 0, h * capacity, np.inf)
    share = np.where(capacity > 0, share, 1.0)
    weighted_misfit = np.maximum(share, np.tanh(h) ** 2) * h / 2 * resolved_misfit
    separation = width / (1 + width)

    rectangles = -np.diff(beta) * np.stack([energy[:-1], energy[1:]])
    bracket = np.abs(rectangles - value).max(axis=0)
    estimate = power_error + separation * (_resolved(over_root - hermite) + weighted_misfit)
    return np.where(np.isnan(estimate), bracket, np.minimum(bracket, estimate))


def _between(
    places: Float[np.ndarray, " K"],
    values: Float[np.ndarray, "chain draw K"],
    slopes: Float[np.ndarray, "chain draw K"],
) -> Float[np.ndarray, "chain draw K_less_1"]:
    """The integral from each rung to the next colder one of each draw, by values and slopes."""
    pairs = [slice(rung, rung + 2) for rung in range(len(places) - 1)]
    return np.stack(
        [_integral(places[pair], values[..., pair], slopes[..., pair], 0) for pair in pairs],
        axis=-1,
    )


def _log_cubic(
    beta: Float[np.ndarray, " K"],
    energy: Float[np.ndarray, " K"],
    variance: Float[np.ndarray, " K"],
) -> Float[np.ndarray, " K_less_1"]:
    """The integrals L = ∫ ⟨E⟩ dβ between neighbours, with log ⟨E⟩ a cubic of log β.

    They are NaN where ⟨E⟩ is not positive.
    """
    h = np.log(beta[:-1] / beta[1:])[:, None]
    nodes, weights = np.polynomial.legendre.leggauss(GAUSS_NODES)
    t = 0.5 * (1 + nodes)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        values, slopes = np.log(beta * energy), 1 - beta * variance / energy
        cubic = (
            (1 + 2 * t) * (1 - t) ** 2 * values[1:, None]
            + t**2 * (3 - 2 * t) * values[:-1, None]
            + h * t * (1 - t) ** 2 * slopes[1:, None]
            - h * t**2 * (1 - t) * slopes[:-1, None]
        )
        return np.asarray(h[:, 0] * (np.exp(cubic) @ weights) / 2)


def _resolved(series: Float[np.ndarray, "chain draw K"]) -> Float[np.ndarray, " K"]:
    """The modulus of the mean with its Monte-Carlo error taken out, square from square."""
    noise = np.nan_to_num(mcse(series))
    return np.sqrt(np.maximum(np.square(series.mean(axis=(0, 1))) - np.square(noise), 0))


def _few_dominate(misfit: Float[np.ndarray, " draws"]) -> bool:
    """Whether few draws dominate the mean of the weights w = exp(−misfit), by (Σw)²/Σw²."""
    weights = np.exp(misfit.min() - misfit)
    return bool(weights.sum() ** 2 < FEWEST_PRIOR_DRAWS * np.square(weights).sum())


def _log_mean(misfit: Float[np.ndarray, " draws"], normalisation: float) -> Estimate:
    """The log evidence log ⟨p(y | θ)⟩ from the misfits of draws of the prior, with its error."""
    weights = np.exp(misfit.min() - misfit)
    value = float(np.log(weights.mean()) - misfit.min()) - normalisation
    return Estimate(value, float(weights.std(ddof=1) / weights.mean() / np.sqrt(len(weights))))


def _prior_misfits(
    posterior: Posterior, key: PRNGKeyArray, num_draws: int
) -> tuple[Float[np.ndarray, " draws"], float]:
    """The misfits of draws of the prior, and the normalisation −log p(y | θ) − misfit.

    The read-out is integrated out where it can be.
    """
    network = posterior.network
    squared = posterior.loss.is_gaussian
    if squared and isinstance(network, Network) and network.hidden_widths:
        posterior = MarginalisedPosterior.of(posterior)
    shape = (posterior.num_train, *jax.tree.leaves(posterior.sample_prior(key, 1))[0].shape)
    batch_size = int(np.clip(BATCH_BYTES / (8 * np.prod(shape)), 1, num_draws))
    misfits = []
    for batch_key in jax.random.split(key, -(-num_draws // batch_size)):
        misfits.append(np.asarray(_batch_of_misfits(posterior, batch_key, batch_size), np.float64))
    return np.concatenate(misfits), posterior.log_normalisation


@eqx.filter_jit
def _batch_of_misfits(
    posterior: Posterior, key: PRNGKeyArray, num_draws: int
) -> Float[Array, " draws"]:
    return posterior.misfit(posterior.sample_prior(key, num_draws))
