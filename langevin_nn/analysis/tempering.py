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
"""

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.analysis.diagnostics import mcse
from langevin_nn.analysis.generalisation import summarise
from langevin_nn.model.losses import Squared
from langevin_nn.model.marginalised import MarginalisedPosterior
from langevin_nn.model.networks import Network
from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.tempering import Ladder
from langevin_nn.types import Estimate, Generalisation, InputError

BATCH_BYTES = 64e6
LEAST_SWAPS = 0.05
"""A ladder with a lower swap acceptance between two rungs is remarked on."""


@dataclass(frozen=True)
class ThermodynamicIntegration:
    """log p(y | X) at each temperature of a ladder, the coldest first.

    `quadrature` is, for each, an estimate of the error of the integral, which is not in the
    Monte-Carlo standard errors: 1/15 of its change when every second rung is left out, since it
    falls as h⁴. With fewer than two rungs above, it is not known, NaN.
    """

    temperatures: tuple[float, ...]
    log_evidence: tuple[Estimate, ...]
    quadrature: tuple[float, ...]


@dataclass(frozen=True)
class Tempering:
    """What a ladder found: the result at each temperature, the coldest first, and how it mixed.

    `swap_acceptance` is that between neighbours, `round_trips` how many weights came down to the
    coldest rung from the hottest, over all chains.
    """

    measured: tuple[Generalisation, ...]
    integration: ThermodynamicIntegration
    swap_acceptance: tuple[float, ...]
    round_trips: int

    @property
    def temperatures(self) -> tuple[float, ...]:
        return self.integration.temperatures

    @property
    def complaint(self) -> str:
        """Why the ladder does not help its coldest rung, in words; empty where it does."""
        worst = int(np.argmin(self.swap_acceptance))
        if self.swap_acceptance[worst] < LEAST_SWAPS:
            low, high = self.temperatures[worst : worst + 2]
            return (
                f"swaps between T = {low:g} and {high:g} are accepted with "
                f"{self.swap_acceptance[worst]:.2g} only: put {math.sqrt(low * high):.2g} between"
            )
        if self.round_trips == 0:
            return "nothing came down from the hottest rung: sample for longer"
        return ""


def summarise_ladder(ladder: Ladder, *, key: PRNGKeyArray) -> Tempering:
    """`summarise` at each temperature, and the log evidence; `key` draws from the prior."""
    return Tempering(
        measured=tuple(summarise(chains) for chains in ladder.chains),
        integration=thermodynamic_integration(ladder, key=key),
        swap_acceptance=tuple(float(x) for x in ladder.swap_acceptance),
        round_trips=round(float(ladder.round_trips.sum())),
    )


def thermodynamic_integration(
    ladder: Ladder, *, key: PRNGKeyArray, num_prior: int = 20_000
) -> ThermodynamicIntegration:
    """The log evidence at each temperature; `num_prior` draws of the prior serve the hottest.

    The hottest temperature must be so high that draws of the prior see the data: where they do
    not, the standard error is large, and is every rung's.

    Raises `InputError` if every chain diverged.
    """
    keep = ~np.any([chains.diverged for chains in ladder.chains], axis=0)
    if not keep.any():
        raise InputError("every chain diverged: there is nothing to integrate")
    hottest = ladder.posteriors[-1]
    start = prior_log_evidence(hottest, key, num_prior)
    beta = 1 / np.array(ladder.temperatures)
    energies, spreads = (
        np.stack([series[keep] for series in each], axis=-1).astype(np.float64)
        for each in (ladder.data_energies, ladder.energy_variances)
    )  # (chain, draw, rung)
    variances = np.square(energies - energies.mean(axis=(0, 1))) + spreads
    normalised = isinstance(hottest.loss, Squared)
    integrand = beta * energies - (0.5 * hottest.y_train.size if normalised else 0.0)
    slope = beta * energies - np.square(beta) * variances
    found, quadrature = [], []
    for rung in range(len(beta)):
        series = _integral(np.log(beta), integrand, slope, rung)
        coarse = _integral(np.log(beta), integrand, slope, rung, stride=2)
        error = float(np.hypot(mcse(series), start.mcse))
        found.append(Estimate(start.value - float(series.mean()), error))
        known = rung < len(beta) - 2 or rung == len(beta) - 1
        change = abs(float((series - coarse).mean())) / 15
        quadrature.append(change if known else float("nan"))
    return ThermodynamicIntegration(ladder.temperatures, tuple(found), tuple(quadrature))


def _integral(
    log_beta: Float[np.ndarray, " K"],
    integrand: Float[np.ndarray, "chain draw K"],
    slope: Float[np.ndarray, "chain draw K"],
    rung: int,
    stride: int = 1,
) -> Float[np.ndarray, "chain draw"]:
    """The integral from the hottest rung to `rung`, of each draw.

    With a stride only some of the rungs between are used, and both ends.
    """
    last = len(log_beta) - 1
    kept = np.unique([*range(rung, last, stride), last])
    colder, hotter = kept[:-1], kept[1:]
    h = log_beta[colder] - log_beta[hotter]
    trapezoid = (integrand[..., colder] + integrand[..., hotter]) @ (h / 2)
    return np.asarray(trapezoid + (slope[..., hotter] - slope[..., colder]) @ (h**2 / 12))


def prior_log_evidence(posterior: Posterior, key: PRNGKeyArray, num_draws: int) -> Estimate:
    """log p(y | X) = log ⟨p(y | θ)⟩ over draws of the prior, with its standard error.

    Of use where the posterior is not far from the prior: at high temperatures.
    """
    network = posterior.network
    squared = isinstance(posterior.loss, Squared)
    if squared and isinstance(network, Network) and network.hidden_widths:
        posterior = MarginalisedPosterior.of(posterior)
    shape = (posterior.num_train, *jax.tree.leaves(posterior.sample_prior(key, 1))[0].shape)
    batch = int(np.clip(BATCH_BYTES / (8 * np.prod(shape)), 1, num_draws))
    misfits = []
    for part in jax.random.split(key, -(-num_draws // batch)):
        misfits.append(np.asarray(_prior_misfits(posterior, part, batch), np.float64))
    misfit = np.concatenate(misfits)
    weights = np.exp(misfit.min() - misfit)
    value = float(np.log(weights.mean()) - misfit.min()) - posterior.log_normalisation
    return Estimate(value, float(weights.std(ddof=1) / weights.mean() / np.sqrt(len(weights))))


@eqx.filter_jit
def _prior_misfits(
    posterior: Posterior, key: PRNGKeyArray, num_draws: int
) -> Float[Array, " draws"]:
    return posterior.misfit(posterior.sample_prior(key, num_draws))
