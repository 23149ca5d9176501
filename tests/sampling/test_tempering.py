"""A ladder of temperatures: each rung keeps its law, and what is trapped alone gets free."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task, posterior_of
from statistics_in_sigmas import SIGMAS

import langevin_nn as lnn
from langevin_nn.analysis.tempering import _log_mean, _prior_misfits, thermodynamic_integration
from langevin_nn.sampling import tempering
from langevin_nn.sampling.engine import driver
from langevin_nn.theory import scale_mixture
from langevin_nn.types import InputError

KEY = jax.random.key(2)
READOUTS = {"sampled": lnn.GibbsPosterior, "marginalised": lnn.MarginalisedPosterior}
LADDER = (0.14, 0.2, 0.28, 0.4, 0.57, 0.8, 1.15, 1.7, 2.6, 4.0)
QUANTITIES = ("bias2", "variance", "generalisation_error", "train_error")


def narrow(kind, temperature=0.1):
    """A narrow linear network, whose posterior and evidence are known exactly."""
    data = gaussian_task(num_train=6, num_test=10, in_size=3)
    kind = READOUTS[kind]
    return posterior_of(data, (4,), "identity", (1.0, 1.5), temperature, key=KEY, kind=kind), data


def deviations(kind, seed, dynamics=None):
    """z-scores of every reported number at every rung, and of the log evidence at each."""
    posterior, data = narrow(kind)
    ladder = lnn.temper(
        posterior, dynamics or lnn.Split(), LADDER, key=jax.random.key(seed),
        num_chains=32, num_warmup=150, num_samples=200,
    )  # fmt: skip
    integrated = thermodynamic_integration(ladder, key=jax.random.key(seed + 1))
    z = {"numbers": [], "evidence": []}
    for i, rung in enumerate(ladder.posteriors):
        exact, measured = scale_mixture(rung.ensemble), lnn.summarise(ladder.chains[i])
        pairs = [(getattr(measured, name), getattr(exact, name).value) for name in QUANTITIES]
        z["numbers"] += [(mine.value - theirs) / mine.mcse for mine, theirs in pairs]
        evidence = integrated.log_evidence[i]
        z["evidence"].append((evidence.value - exact.log_evidence) / evidence.mcse)
    assert ladder.round_trips.sum() > 30 and ladder.swap_acceptance.min() > 0.2
    assert np.nanmax(integrated.quadrature) < 0.2 * max(e.mcse for e in integrated.log_evidence)
    return {name: float(np.max(np.abs(values))) for name, values in z.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", READOUTS)
def test_every_rung_has_its_exact_posterior_and_evidence(kind, seed):
    z = deviations(kind, seed)
    assert z["numbers"] < SIGMAS and z["evidence"] < SIGMAS, z


class Blind(type(tempering.swaps)):
    """Swaps that do not look at the misfits."""

    def misfit(self, stepper, posterior, chains):
        return jnp.zeros_like(chains.misfit)


@pytest.mark.slow
def test_swaps_that_do_not_look_are_caught(seed, monkeypatch):
    monkeypatch.setattr(tempering, "swaps", Blind())
    assert deviations("marginalised", seed)["numbers"] > 2 * SIGMAS


class TwoWells(eqx.Module):
    """f(x) = (w², w/10): the first output does not tell ±w apart, the second does."""

    w: jax.Array

    def __call__(self, x):
        return x[0] * jnp.concatenate([self.w**2, 0.1 * self.w])


def two_wells(temperature=0.04):
    """Symmetric under w → −w, with a barrier of some 60 T between the wells."""
    x, y = np.array([[1.0], [2.0]]), np.array([[1.0, 0.0], [2.0, 0.0]])
    data = lnn.Dataset("two wells", x, y, x, y)
    network = TwoWells(jnp.zeros(1, jnp.float64))
    return lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0,)), data, temperature)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dynamics", "thinning"),
    [
        pytest.param(lnn.Langevin(0.005), 16, id="langevin"),
        pytest.param(lnn.Split(), 4, id="split"),
    ],
)
def test_what_is_trapped_at_its_temperature_gets_free_on_a_ladder(dynamics, thinning, seed):
    """Alone, the chains disagree and say so; on the ladder both wells have the weight ½."""
    settings = {
        "key": jax.random.key(seed + 3), "num_chains": 8, "num_warmup": 400, "num_samples": 600,
        "thinning": thinning,
    }  # fmt: skip
    chains = lnn.sample(two_wells(), dynamics, **settings)
    stays = (chains.test_outputs[..., 0, 1] > 0).mean(axis=1)
    assert set(stays) == {0.0, 1.0}, "each chain keeps to its well, and both have some"
    alone = lnn.summarise(chains)
    assert not alone.converged and alone.diagnostics.rhat_max > 1.2
    ladder = lnn.temper(two_wells(), dynamics, (0.12, 0.4, 1.0, 3.0), **settings)
    measured = lnn.summarise(ladder.chains[0])
    assert measured.diagnostics.rhat_max < 1.02 and measured.diagnostics.ess_min > 400
    right = ladder.chains[0].test_outputs[..., 1] > 0
    error = 0.5 / np.sqrt(lnn.summarise(ladder.chains[0]).diagnostics.ess_min)
    assert abs(right.mean() - 0.5) < SIGMAS * error
    assert ladder.round_trips.min() > 10


@pytest.mark.slow
def test_chains_that_are_caught_in_one_well_agree_until_a_ladder_runs_beside_them():
    """FAULTS 2.6: R̂ cannot see the well that no chain is in, and bias² is that of one alone."""
    settings = {"num_chains": 2, "num_warmup": 400, "num_samples": 600, "thinning": 4}
    for number in range(20):
        key = jax.random.key(number)
        outputs = np.asarray(lnn.sample(two_wells(), lnn.Split(), key=key, **settings).test_outputs)
        if (outputs[..., 1] > 0).all():
            break
    assert (outputs[..., 1] > 0).all()
    alone = lnn.summarise(lnn.sample(two_wells(), lnn.Split(), key=key, **settings))
    assert alone.converged and alone.diagnostics.rhat_max < 1.01
    ladder = lnn.temper(two_wells(), lnn.Split(), "auto", key=key, **settings)
    measured = lnn.summarise(ladder.chains[0])
    right = ladder.chains[0].test_outputs[..., 1] > 0
    assert abs(right.mean() - 0.5) < SIGMAS * 0.5 / np.sqrt(measured.diagnostics.ess_min)
    off = abs(alone.bias2.value - measured.bias2.value)
    assert off > 20 * np.hypot(alone.bias2.mcse, measured.bias2.mcse)


@pytest.mark.exhaustive_except("temperatures0-marginalised", "temperatures2-sampled")
@pytest.mark.slow
@pytest.mark.parametrize("kind", READOUTS)
@pytest.mark.parametrize("temperatures", [(0.1, 1.0, 10.0), (0.05, 1.0, 20.0), (0.1, 10.0)])
def test_error_of_the_evidence_covers_coarse_ladders(kind, temperatures, seed):
    """FAULTS 1.15: one hidden unit and three examples, against a grid of both weights."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(3, 1)), rng.normal(size=3)
    data = lnn.Dataset("three", x, y, x, y)
    posterior = posterior_of(
        data, (1,), "tanh", temperature=temperatures[0], key=KEY, kind=READOUTS[kind]
    )
    key = jax.random.key(seed)
    ladder = lnn.temper(
        posterior, lnn.Split(), temperatures[1:], key=key,
        num_chains=16, num_warmup=200, num_samples=300,
    )  # fmt: skip
    found = thermodynamic_integration(ladder, key=key)
    axis = np.linspace(-8, 8, 1601)
    outputs = axis[:, None, None] * np.tanh(axis[:, None] * x[:, 0])
    energy = 0.5 * np.sum((y - outputs) ** 2, axis=2)
    prior = np.exp(-(axis[:, None] ** 2 + axis**2) / 2)
    for temperature, estimate, quadrature in zip(
        temperatures, found.log_evidence, found.quadrature, strict=True
    ):
        integral = np.sum(prior * np.exp(-energy / temperature)) / prior.sum()
        off = abs(estimate.value - np.log(integral) + 1.5 * np.log(2 * np.pi * temperature))
        assert off < 3 * np.hypot(estimate.mcse, quadrature), (temperature, off, quadrature)


def test_evidence_of_the_prior_is_that_of_the_theory(seed):
    """At a high temperature, for either read-out: draws of the prior serve both."""
    for kind in READOUTS:
        posterior, data = narrow(kind, temperature=5.0)
        found = _log_mean(*_prior_misfits(posterior, jax.random.key(seed), 20_000))
        exact = scale_mixture(posterior.ensemble).log_evidence
        assert abs(found.value - exact) < SIGMAS * found.mcse < 0.01
        hotter = posterior.at_temperature(5.5)
        wrong = _log_mean(*_prior_misfits(hotter, jax.random.key(seed), 20_000))
        assert abs(wrong.value - exact) > 2 * SIGMAS * wrong.mcse


@pytest.mark.slow
def test_a_ladder_goes_on_after_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)
    settings = {"key": KEY, "num_chains": 2, "num_warmup": 10, "num_samples": 8}
    posterior, _ = narrow("marginalised")
    whole = lnn.temper(posterior, lnn.Split(), (0.3, 1.0), **settings)

    def interrupt(report):
        if report.steps > 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lnn.temper(
            posterior, lnn.Split(), (0.3, 1.0), **settings, checkpoint=tmp_path, progress=interrupt
        )
    resumed = lnn.temper(
        posterior, lnn.Split(), (0.3, 1.0), **settings, checkpoint=tmp_path, resume=True
    )
    for mine, theirs in zip(resumed.chains, whole.chains, strict=True):
        np.testing.assert_array_equal(mine.test_outputs, theirs.test_outputs)
    np.testing.assert_array_equal(resumed.round_trips, whole.round_trips)
    np.testing.assert_array_equal(resumed.swap_acceptance, whole.swap_acceptance)


@pytest.mark.parametrize(
    ("temperatures", "message"),
    [((), "temperatures above .*= 0.1"), ((0.05, 1.0), "above"), ((0.5, 0.5), "different")],
)
def test_ladders_that_are_none(temperatures, message):
    with pytest.raises(InputError, match=message):
        lnn.temper(narrow("sampled")[0], lnn.Split(), temperatures, key=KEY)
