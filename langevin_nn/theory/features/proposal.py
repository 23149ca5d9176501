"""Units drawn from near their distribution in a field: a mixture of the prior and two Gaussians.

A unit of coordinates z ~ N(0, I) under the prior (`units`) has in a field of a and B the density
p(z) ∝ p_0(z) exp(tilt(φ(z))). Units of an odd activation turn to both sides alike, so that

    g(z) = δ N(0, I) + ½ (1 − δ) [N(μ, Σ) + N(−μ, Σ)]

has as μ and Σ the moments under p of z with the sign of u = φᵀa. They are found by population
Monte Carlo (Cappé et al. 2004, J. Comput. Graph. Stat. 13:907): units from g have weights
p_0 exp(β tilt)/g, of which a new g is made, with the largest β ≤ 1 that leaves enough of them.
The prior's share δ keeps p_0/g below 1/δ.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.special
from jaxtyping import Array, Float, Int

__all__ = [
    "PRIOR_SHARE", "Adapted", "Proposal", "adapted", "log_ratio", "mixed", "proposal_of",
    "resampled", "whitening_of",
]  # fmt: skip

PRIOR_SHARE = 0.1
"""δ, the share of the prior."""
_WIDENED = 1.1
"""The factor of Σ, by which the tails of g are above those of p."""
_ROUNDS, _ROUNDS_OF_INTEGRAL = 12, 16
"""The most rounds in which g is made anew, and those of units that p's normalisation is from."""
_ENOUGH = 0.3
"""The effective size, as a part of the sample, at which g is not made anew."""
_LEAST, _LEAST_BY_RANK = 600.0, 8.0
"""The effective size that a new g is made of: so many units, and so many for each coordinate."""

Tilt = Callable[[Float[np.ndarray, "n r"]], tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]]
"""From z to the logarithm of p/p_0, but for a constant, and the u whose sign z is given."""


class Proposal(NamedTuple):
    """The mixture g: μ, and the lower Cholesky factor of Σ; made by `proposal_of`."""

    mean: Float[np.ndarray, " r"]
    factor: Float[np.ndarray, "r r"]

    def draw(self, rng: np.random.Generator, num: int) -> Float[np.ndarray, "n r"]:
        """So many units of g."""
        noise, places = rng.standard_normal((num, len(self.mean))), rng.random((num, 1))
        return np.asarray(mixed(noise, places, self.mean, self.factor))

    def log_ratio(self, z: Float[np.ndarray, "n r"]) -> Float[np.ndarray, " n"]:
        """log g/p_0.

        >>> Proposal(np.zeros(2), np.eye(2)).log_ratio(np.array([[1.0, 2.0]])).round(6) + 0.0
        array([0.])
        """
        return np.asarray(log_ratio(z, self.mean, whitening_of(self.factor)))


@jax.jit
def mixed(
    noise: Float[Array, "n r"],
    places: Float[Array, "n 1"],
    mean: Float[Array, " r"],
    factor: Float[Array, "r r"],
) -> Float[Array, "n r"]:
    """Units of g, of a proposal's μ and the factor of its Σ, from those of the prior.

    `places` in [0, 1) say which of the three parts a unit is of: first the prior.

    >>> mean, factor = np.array([3.0]), np.array([[2.0]])
    >>> mixed(np.ones((3, 1)), np.array([[0.05], [0.5], [0.9]]), mean, factor)[:, 0]
    Array([ 1.,  5., -1.], dtype=float64)
    """
    signs = jnp.where(places < (1 + PRIOR_SHARE) / 2, 1.0, -1.0)
    return jnp.where(places < PRIOR_SHARE, noise, signs * mean[None] + noise @ factor.T)


@jax.jit
def log_ratio(
    z: Float[Array, "n r"], mean: Float[Array, " r"], whitening: Float[Array, "r r"]
) -> Float[Array, " n"]:
    """log g/p_0, of a proposal's μ and `whitening_of` its factor.

    >>> log_ratio(np.zeros((1, 1)), np.zeros(1), 2 * np.eye(1)).round(6)  # log(0.1 + 0.9 × 2)
    Array([0.641854], dtype=float64)
    """
    prior, whitened = -0.5 * jnp.sum(z**2, axis=1), z @ whitening.T
    determinant, center = jnp.sum(jnp.log(jnp.diag(whitening))), (whitening @ mean)[None]
    sides = [
        jnp.log((1 - PRIOR_SHARE) / 2)
        - 0.5 * jnp.sum((whitened - sign * center) ** 2, axis=1) + determinant
        for sign in (1, -1)
    ]  # fmt: skip
    parts = jnp.stack([jnp.log(PRIOR_SHARE) + prior, *sides])
    return jax.nn.logsumexp(parts, axis=0) - prior


def whitening_of(factor: Float[np.ndarray, "r r"]) -> Float[np.ndarray, "r r"]:
    """L⁻¹ of a lower triangular L.

    >>> whitening_of(np.array([[2.0, 0.0], [1.0, 1.0]]))
    array([[ 0.5,  0. ],
           [-0.5,  1. ]])
    """
    inverse: np.ndarray = scipy.linalg.solve_triangular(factor, np.eye(len(factor)), lower=True)
    return inverse


class Adapted(NamedTuple):
    """A proposal, units drawn from it, and their weights under p, which sum to one.

    Made by `adapted`. `tilt` is log p/p_0 of the units, but for its normalisation, the logarithm of
    E_0 exp(tilt), which `log_integral` is, with its standard error.
    """

    proposal: Proposal
    z: Float[np.ndarray, "n r"]
    tilt: Float[np.ndarray, " n"]
    weights: Float[np.ndarray, " n"]
    log_integral: float
    log_integral_error: float

    @property
    def effective(self) -> float:
        """1/Σ w²."""
        return float(1 / np.sum(self.weights**2))


def proposal_of(
    z: Float[np.ndarray, "n r"], signs: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]
) -> Proposal:
    """The proposal with the moments of z times its sign; `weights` sum to one.

    Where few units carry the weight, Σ is drawn towards a multiple of the unit matrix.

    >>> z = np.array([[1.0], [-3.0]])
    >>> found = proposal_of(z, np.array([1.0, -1.0]), np.array([0.5, 0.5]))
    >>> found.mean, (found.factor**2).round(6)
    (array([2.]), array([[1.1]]))
    """
    aligned = z * signs[:, None]
    mean = weights @ aligned
    covariance = (aligned * weights[:, None]).T @ aligned - np.outer(mean, mean)
    rank = len(mean)
    share = min(0.5, rank * float(np.sum(weights**2)))
    covariance *= 1 - share
    covariance += share * np.eye(rank) * max(np.trace(covariance) / (1 - share) / rank, 1e-12)
    return Proposal(mean, scipy.linalg.cholesky(_WIDENED * covariance, lower=True))


def adapted(tilt: Tilt, rank: int, num: int, rng: np.random.Generator) -> Adapted:
    """The proposal for a field, by population Monte Carlo with so many units.

    Units h = z with the weight exp(3 z): a Gaussian of mean 3 and variance one

    >>> rng = np.random.default_rng(0)
    >>> found = adapted(lambda z: (3 * abs(z[:, 0]), z[:, 0]), 1, 4096, rng)
    >>> bool(abs(found.proposal.mean - 3) < 0.1), found.effective > 0.5 * 4096
    (True, True)
    >>> exact = 4.5 + np.log(2 * scipy.special.ndtr(3))  # E exp(3 |z|)
    >>> abs(found.log_integral - exact) < 4 * found.log_integral_error < 0.03
    True
    """
    proposal = Proposal(np.zeros(rank), np.eye(rank))
    for last in range(_ROUNDS):
        z = proposal.draw(rng, num)
        logs, along = tilt(z)
        prior = -proposal.log_ratio(z)
        weights = _weights(logs, prior)
        effective = 1 / np.sum(weights**2)
        if last + 1 == _ROUNDS or (last and effective > _ENOUGH * num):
            break
        least = max(_LEAST, _LEAST_BY_RANK * rank)
        tempered = weights if effective >= least else _tempered(logs, prior, least)
        proposal = proposal_of(z, np.where(along < 0, -1.0, 1.0), tempered)
    return Adapted(proposal, z, logs, weights, *_integral(tilt, proposal, num, rng))


def _integral(
    tilt: Tilt, proposal: Proposal, num: int, rng: np.random.Generator
) -> tuple[float, float]:
    """log E_0 exp(tilt) by units from g, and its standard error to first order."""
    logs = []
    for _ in range(_ROUNDS_OF_INTEGRAL):
        z = proposal.draw(rng, num)
        logs.append(scipy.special.logsumexp(tilt(z)[0] - proposal.log_ratio(z)) - np.log(num))
    log_integral = float(scipy.special.logsumexp(logs) - np.log(len(logs)))
    ratios = np.exp(np.array(logs) - log_integral)
    return log_integral, float(np.std(ratios, ddof=1) / np.sqrt(len(logs)))


def resampled(
    weights: Float[np.ndarray, " n"], num: int, rng: np.random.Generator
) -> Int[np.ndarray, " m"]:
    """Indices of so many draws with replacement, whose numbers are as near their means as can be.

    Systematic resampling, in random order (Kitagawa 1996, J. Comput. Graph. Stat. 5:1).

    >>> sorted(resampled(np.array([0.25, 0.75]), 4, np.random.default_rng(0)).tolist())
    [0, 1, 1, 1]
    """
    places = (np.arange(num) + rng.random()) / num
    indices = np.minimum(np.searchsorted(np.cumsum(weights), places), len(weights) - 1)
    rng.shuffle(indices)
    return indices


def _weights(logs: Float[np.ndarray, " n"], prior: Float[np.ndarray, " n"]) -> np.ndarray:
    weights: np.ndarray = scipy.special.softmax(logs + prior)
    return weights


def _tempered(
    logs: Float[np.ndarray, " n"], prior: Float[np.ndarray, " n"], least: float
) -> np.ndarray:
    """The weights with the largest β that leave an effective size of `least`, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        enough = 1 / np.sum(_weights(middle * logs, prior) ** 2) >= least
        low, high = (middle, high) if enough else (low, middle)
    return _weights(low * logs, prior)
