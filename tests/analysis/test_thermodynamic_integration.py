"""The error that thermodynamic integration reports, against partition functions that are known."""

import math

import jax
import numpy as np
import pytest
from cases import gaussian_task, posterior_of
from oracles import NUMPY_ACTIVATIONS
from statistics_in_sigmas import SIGMAS

import langevin_nn as lnn
from langevin_nn.analysis.tempering import (
    Tempering,
    ThermodynamicIntegration,
    thermodynamic_integration,
)  # fmt: skip
from langevin_nn.runs.tables import _in_errors, _quadrature_text
from langevin_nn.sampling.tempering import Ladder
from langevin_nn.theory import scale_mixture

KEY = jax.random.key(0)
COARSE = [
    (0.1, 1.0, 10.0), (0.1, 10.0), (0.03, 0.3, 3.0, 30.0), (0.05, 1.0, 20.0), (0.3, 1.0, 10.0),
    (0.1, 0.2, 10.0), (0.1, 1.0, 2.0), (0.001, 0.01, 0.1, 1.0, 10.0), (0.1, 0.4, 2.0, 10.0, 40.0),
]  # fmt: skip


class Hidden:
    """One hidden layer of few units, one input: W on a grid, the read-out in closed form.

    Given W, with the eigenvalues κ of its Gram matrix and c = (uᵀy)² along their eigenvectors,
    −log Z(β | W) = ½ Σ [log(1 + βκ) + βc/(1 + βκ)], whose derivatives are the mean of the energy
    and minus its variance.
    """

    def __init__(self, activation, num_units, num_train, scale=1.0, seed=2):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=num_train), scale * rng.normal(size=num_train)
        axis = np.linspace(-6, 6, {1: 2001, 2: 161}[num_units])
        w = np.stack(np.meshgrid(*[axis] * num_units), axis=-1).reshape(-1, num_units)
        features = NUMPY_ACTIVATIONS[activation](x[:, None] * w[:, None]) / np.sqrt(num_units)
        self.kappa, u = np.linalg.eigh(features @ features.swapaxes(1, 2))
        self.square = np.einsum("wpi,p->wi", u, y) ** 2
        self.log_prior = -np.sum(w**2, axis=1) / 2
        self.log_prior -= np.log(np.sum(np.exp(self.log_prior)))

    def given_weights(self, beta):
        d = 1 + beta * self.kappa
        log_z = -0.5 * np.sum(np.log(d) + beta * self.square / d, axis=1) + self.log_prior
        mean = 0.5 * np.sum(self.kappa / d + self.square / d**2, axis=1)
        variance = 0.5 * np.sum((self.kappa / d) ** 2 + 2 * self.kappa * self.square / d**3, axis=1)
        return log_z, mean, variance

    def __call__(self, beta):
        """log Z(β), ⟨E⟩ and Var E."""
        log_z, mean, variance = self.given_weights(beta)
        weight = np.exp(log_z - log_z.max())
        total, weight = weight.sum(), weight / weight.sum()
        energy = weight @ mean
        return np.log(total) + log_z.max(), energy, weight @ (variance + (mean - energy) ** 2)

    def draws(self, beta, rng, shape=(4, 500)):
        """Independent draws of the mean of E given W, and its variance, of the posterior."""
        log_z, mean, variance = self.given_weights(beta)
        weight = np.exp(log_z - log_z.max())
        chosen = rng.choice(len(mean), shape, p=weight / weight.sum())
        return mean[chosen], variance[chosen]


def gaussian_model(beta):
    """A regression on five features: log Z = −½ Σ [log(1 + βκ) + βc/(1 + βκ)]."""
    kappa, square = np.array([3.0, 1.0, 0.3, 0.01, 0.0]), np.array([4.0, 0.1, 2.0, 0.5, 0.02])
    d = 1 + beta * kappa
    variance = 0.5 * np.sum((kappa / d) ** 2 + 2 * kappa * square / d**3)
    log_z = -0.5 * np.sum(np.log(d) + beta * square / d)
    return log_z, 0.5 * np.sum(kappa / d + square / d**2), variance


def two_phases(beta, units=25, gap=0.3, transition=100.0):
    """Two Gaussian models of which the wider one, `gap` lower, wins above `transition`."""
    shift = gap * transition
    first, second = -units / 2 * np.log1p(beta) + np.array([0.0, shift - gap * beta])
    log_z = np.logaddexp(first, second)
    p = np.exp(second - log_z)
    energy = units / 2 / (1 + beta) + p * gap
    return log_z, energy, units / 2 / (1 + beta) ** 2 + p * (1 - p) * gap**2


MODELS = {
    "gaussian": gaussian_model,
    "two phases": two_phases,
    "tanh, N_1 = 1, P = 3": Hidden("tanh", 1, 3),
    "tanh, N_1 = 1, P = 3, large targets": Hidden("tanh", 1, 3, scale=3.0),
    "relu, N_1 = 1, P = 3": Hidden("relu", 1, 3),
    "relu, N_1 = 1, P = 2, large targets": Hidden("relu", 1, 2, scale=3.0, seed=0),
    "erf, N_1 = 1, P = 5": Hidden("erf", 1, 5, seed=1),
    "tanh, N_1 = 2, P = 5": Hidden("tanh", 2, 5, scale=3.0, seed=0),
    "relu, N_1 = 2, P = 4": Hidden("relu", 2, 4, seed=3),
}


@pytest.fixture(scope="module")
def any_posterior():
    """What the integral does not depend on, apart from temperature and number of targets."""
    data = gaussian_task(num_train=1, num_test=1, in_size=1)
    return posterior_of(data, (2,), temperature=1.0, key=KEY)


def integrated(posterior, temperatures, energies, variances, num_prior=500):
    shape = np.shape(energies[0])
    chains = lnn.Chains(
        test_outputs=np.zeros((*shape, 1)), train_error=np.zeros(shape),
        energy=np.zeros(shape), observables={}, y_test=np.zeros(1), targets_midpoint=0.0,
        params=None, step_size=0.0, curvature=0.0, thinning=1, wall_seconds=0.0,
    )  # fmt: skip
    ladder = Ladder(
        posteriors=tuple(posterior.at_temperature(temperature) for temperature in temperatures),
        chains=(chains,) * len(temperatures),
        data_energies=tuple(energies),
        energy_variances=tuple(variances),
        swap_acceptance=np.ones(len(temperatures) - 1),
        round_trips=np.ones(shape[0]),
    )
    return thermodynamic_integration(ladder, key=KEY, num_prior=num_prior)


def misses(posterior, model, temperatures, draws=None):
    """The integral's error at each rung but the hottest, and what is said of it."""
    beta = 1 / np.array(temperatures)
    if draws is None:
        _, energy, variance = np.array([model(b) for b in beta]).T
        constant = np.ones((len(beta), 2, 4))
        recorded = [list(number[:, None, None] * constant) for number in (energy, variance)]
    else:
        recorded = list(zip(*(model.draws(b, draws) for b in beta), strict=True))
    found = integrated(posterior, temperatures, *recorded)
    size = posterior.y_train.size
    exact = [model(b)[0] + size / 2 * math.log(b / (2 * math.pi)) for b in beta]
    start = found.log_evidence[-1].value - exact[-1]
    off = [e.value - x - start for e, x in zip(found.log_evidence, exact, strict=True)]
    return np.abs(off[:-1]), np.array(found.quadrature[:-1]), found


@pytest.mark.slow_except(
    "tanh, N_1 = 1, P = 3",
    "tanh, N_1 = 1, P = 3, large targets",
    "relu, N_1 = 1, P = 3",
    "erf, N_1 = 1, P = 5",
    "tanh, N_1 = 2, P = 5",
    "relu, N_1 = 2, P = 4",
)
@pytest.mark.parametrize("name", MODELS)
def test_error_of_the_quadrature_covers_coarse_ladders(name, any_posterior):
    """FAULTS 1.15: ⟨E⟩ and Var E as they are, so that nothing but the quadrature is off."""
    for temperatures in COARSE:
        off, said, _ = misses(any_posterior, MODELS[name], temperatures)
        assert np.all(np.isfinite(said)) and np.all(off < 2 * said + 1e-12), (temperatures, off)


def test_error_of_the_quadrature_covers_with_the_noise_of_draws(any_posterior, seed):
    """FAULTS 1.15: independent draws of each rung's exact posterior."""
    rng = np.random.default_rng(seed)
    off_by = []
    for name, temperatures in zip(list(MODELS)[2:] * 2, COARSE * 2, strict=False):
        off, said, found = misses(any_posterior, MODELS[name], temperatures, draws=rng)
        error = np.array([estimate.mcse for estimate in found.log_evidence[:-1]])
        assert np.all(off < SIGMAS * np.hypot(error, said)), (name, temperatures, off, said, error)
        off_by += (off / error).tolist()
    assert np.median(off_by) > SIGMAS, "the standard errors alone do not cover"


@pytest.mark.parametrize("name", ["gaussian", "tanh, N_1 = 1, P = 3", "relu, N_1 = 2, P = 4"])
def test_error_of_the_quadrature_falls_as_the_rungs_get_close(name, any_posterior):
    """By 16 where they are twice as close, as the error does: it is small where it can be."""
    coarse, fine = (
        misses(any_posterior, MODELS[name], np.geomspace(0.1, 10, number).tolist())
        for number in (33, 65)
    )
    assert np.all(fine[0] < 1.5 * fine[1]) and fine[1][0] < 1e-5
    assert 13 < coarse[1][0] / fine[1][0] < 20


@pytest.mark.slow
def test_evidence_of_a_hottest_rung_that_is_too_cold_for_draws_of_the_prior():
    """One of them carries the weight: a standard error of 1 where the log evidence is off by 20."""
    data = gaussian_task(num_train=12, num_test=1, in_size=10)
    posterior = posterior_of(
        data, (2,), "identity", (1.0, 1.5), 0.001, key=KEY, kind=lnn.MarginalisedPosterior
    )

    def exact(temperature):
        theory = scale_mixture(posterior.ensemble.at(temperature=temperature))
        return theory.log_evidence, 0.5 * data.num_train * theory.train_error.value

    for temperatures, cold in (((0.001, 0.01), True), ((3.0, 5.0), False)):
        truth, energies = np.array([exact(temperature) for temperature in temperatures]).T
        recorded = [np.full((2, 4), energy) for energy in energies]
        found = integrated(posterior, temperatures, recorded, [np.zeros((2, 4))] * 2)
        last = found.log_evidence[-1]
        off = abs(last.value - truth[-1])
        assert (off > SIGMAS * last.mcse) == (found.quadrature[-1] > 0) == cold
        assert off < SIGMAS * last.mcse + found.quadrature[-1]
        assert found.quadrature[0] >= found.quadrature[1]


def test_ladders_that_do_not_do_for_the_evidence_are_remarked_on():
    estimates = (lnn.types.Estimate(-3.0, 0.1),) * 3

    def remark(*quadrature):
        integration = ThermodynamicIntegration((0.1, 1.0, 100.0), estimates, quadrature)
        return Tempering((), integration, (0.5, 0.5), 9).complaint

    assert remark(0.9, 0.1, 0.0) == remark(math.nan, math.nan, 0.0) == ""
    assert "put 10 between T = 1 and 100" in remark(2.5, 2.0, 0.0)
    assert "at T = 100, where the evidence starts: put 1000 on top" in remark(9.0, 9.0, 9.0)


def test_energies_without_a_logarithm_have_the_bracket(any_posterior):
    """A hinge loss that no draw pays has ⟨E⟩ = 0: the rectangles still bound the integral."""
    recorded = [np.full((2, 4), energy) for energy in (0.0, 0.5)]
    found = integrated(any_posterior, (0.1, 1.0), recorded, [np.zeros((2, 4)), np.ones((2, 4))])
    assert 4.5 / 2 <= found.quadrature[0] <= 2 * 4.5


def test_errors_that_are_not_known_are_said_in_words():
    assert _in_errors(1.0, 0.3, 0.4) == "+2.0σ"
    for mcse, quadrature in ((0.1, math.nan), (math.nan, 0.1), (0.0, 0.0), (math.inf, 0.1)):
        assert _in_errors(1.0, mcse, quadrature) == "error not known"
    assert (_quadrature_text(0.321), _quadrature_text(math.nan)) == ("± 0.32", "error not known")
