"""The temperatures that pilot runs choose for a ladder."""

import jax
import numpy as np
import pytest
from cases import gaussian_task, posterior_of
from statistics_in_sigmas import SIGMAS

import langevin_nn as lnn
from langevin_nn.analysis.tempering import thermodynamic_integration
from langevin_nn.sampling import ladders, tempering
from langevin_nn.sampling.ladders import chosen_ladder, prior_temperature, rejection_rate
from langevin_nn.theory import scale_mixture
from langevin_nn.types import InputError

KEY = jax.random.key(3)


def narrow(temperature=0.05):
    data = gaussian_task(num_train=6, num_test=10, in_size=3)
    return posterior_of(
        data, (4,), "identity", (1.0, 1.5), temperature, key=KEY, kind=lnn.MarginalisedPosterior
    )


def test_rate_of_rejections_is_that_of_pairs_and_of_gaussian_energies(seed):
    rng = np.random.default_rng(seed)
    energies = rng.normal(5.0, 2.0, size=(4, 500))
    pairs = np.abs(np.subtract.outer(energies.ravel(), energies.ravel())).sum() / (2000 * 1999)
    assert rejection_rate(3.0, energies) == pytest.approx(0.5 * 3.0 * pairs, rel=1e-12)
    many = rng.normal(5.0, 2.0, size=(4, 100_000))
    error = 3.0 * 2.0 * np.sqrt(0.2 / many.size)  # Var |E − E'| per pair bounds that of the mean
    assert abs(rejection_rate(3.0, many) - 3.0 * 2.0 / np.sqrt(np.pi)) < SIGMAS * error
    energies[1, 3] = np.nan  # a chain that has diverged does not count
    kept = np.delete(energies, 1, axis=0)
    assert rejection_rate(3.0, energies) == rejection_rate(3.0, kept)
    assert rejection_rate(3.0, energies * np.nan) == 0


def test_temperatures_without_a_state_may_be_of_another_run(tmp_path):
    ladders.save_ladder(tmp_path, (0.1, 0.2))
    assert ladders.saved_ladder(tmp_path) is None
    (tmp_path / "state.npz").touch()
    assert ladders.saved_ladder(tmp_path) == (0.1, 0.2)


@pytest.mark.slow
def test_the_hottest_temperature_is_the_lowest_at_which_the_prior_sees_the_data():
    posterior = narrow(0.01)
    hottest = prior_temperature(posterior, KEY, 8)
    draws = posterior.sample_prior(jax.random.key(11), 20_000)

    def share(temperature):
        misfit = np.asarray(posterior.at_temperature(temperature).misfit(draws))
        weights = np.exp(misfit.min() - misfit)
        return weights.sum() ** 2 / np.square(weights).sum() / len(weights)

    assert np.log2(hottest / 0.01) == pytest.approx(round(np.log2(hottest / 0.01)))
    # 512 draws know the share to some hundredths.
    assert share(hottest) > 0.4 and share(hottest / 2) < 0.6


def gaussian(temperatures, deviation):
    """What a pilot run gives: Gaussian energies of this deviation at each temperature."""
    rng = np.random.default_rng(0)
    return [rng.normal(0, deviation(t), (8, 4_000)) for t in temperatures]


@pytest.mark.parametrize("power", [1.0, 0.5, 1.5])
def test_steps_of_the_barrier_are_equal_where_it_is_known(power):
    """σ(E) = c T^a has Λ = c (T^(a−1) − T_0^(a−1)) / ((a − 1) √π), or c log(T/T_0)/√π."""
    posterior, asked = narrow(0.01), []

    def deviation(t):
        return 2.0 * t**power

    def pilot(temperatures, key):
        asked.append(temperatures)
        return gaussian((0.01, *temperatures), deviation)

    chosen = np.array([0.01, *chosen_ladder(posterior, pilot, key=KEY, num_chains=8)])
    assert len(asked) == ladders.PILOTS and all(len(t) == 7 for t in asked)
    assert chosen[-1] == pytest.approx(prior_temperature(posterior, jax.random.fold_in(KEY, 0), 8))
    a = power - 1
    of_temperature = 2 / np.sqrt(np.pi) * (np.log(chosen) if a == 0 else chosen**a / a)
    steps = np.diff(of_temperature)
    total = steps.sum()
    assert 0.95 * total / 0.5 < len(steps) < 1.1 * total / 0.5 + 1
    # A tenth of each step is one of log T.
    assert steps.max() < 1.15 * steps.mean() and steps.min() > 0.65 * steps.mean()


def test_where_nothing_is_rejected_there_is_one_step():
    chosen = chosen_ladder(
        narrow(), lambda temperatures, key: gaussian((0.05, *temperatures), lambda t: 0.0), key=KEY,
        num_chains=8,
    )  # fmt: skip
    assert len(chosen) == 1 and chosen[0] > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.05, 0.002])
def test_a_chosen_ladder_swaps_equally_and_has_the_exact_evidence(temperature, seed):
    posterior = narrow(temperature)
    ladder = lnn.temper(
        posterior, lnn.Split(), "auto", key=jax.random.key(seed), num_chains=16, num_warmup=100,
        num_samples=300,
    )  # fmt: skip
    # Steps of 1/2 are accepted with 0.53 where energies are Gaussian; rounding up makes them less.
    assert 0.4 < ladder.swap_acceptance.min() and ladder.swap_acceptance.max() < 0.8
    assert np.ptp(ladder.swap_acceptance) < 0.25 and ladder.round_trips.sum() > 30
    integrated = thermodynamic_integration(ladder, key=jax.random.key(seed + 1))
    evidence = integrated.log_evidence[0]
    exact = scale_mixture(posterior.ensemble).log_evidence
    assert abs(evidence.value - exact) < SIGMAS * evidence.mcse + integrated.quadrature[0]
    assert integrated.quadrature[-1] == 0, "the prior sees the data at the hottest temperature"


@pytest.mark.slow
def test_a_ladder_goes_on_with_the_temperatures_that_were_chosen(tmp_path, monkeypatch):
    arguments = {"key": KEY, "num_chains": 4, "num_warmup": 10, "checkpoint": tmp_path / "saved"}
    posterior = narrow()
    first = lnn.temper(posterior, lnn.Split(), "auto", num_samples=8, **arguments)
    monkeypatch.setattr(tempering, "_chosen", lambda *arguments: pytest.fail("chosen anew"))
    longer = lnn.temper(posterior, lnn.Split(), "auto", num_samples=16, resume=True, **arguments)
    assert longer.temperatures == first.temperatures
    assert np.array_equal(longer.chains[0].energy[:, :8], first.chains[0].energy)
    monkeypatch.undo()
    (tmp_path / "saved" / ladders.FILE).write_text('{"temperatures": "none"}')
    again = lnn.temper(posterior, lnn.Split(), "auto", num_samples=16, resume=True, **arguments)
    assert np.array_equal(again.chains[0].energy, longer.chains[0].energy)


def test_a_rule_waits_for_round_trips():
    trips = np.zeros((20, 3, 4))
    assert tempering.swaps.draws_needed({"round_trips": trips}, 2) == np.inf
    trips[3, 0, 1], trips[15, 0, 2] = 0.5, 1.0  # means over the two steps of a draw
    assert tempering.swaps.draws_needed({"round_trips": trips}, 2) == 20 * 10 / 3
    trips[:, 1] = 7.0  # of other rungs
    assert tempering.swaps.draws_needed({"round_trips": trips}, 2) == 20 * 10 / 3


def test_words_that_are_no_ladder_are_refused():
    with pytest.raises(InputError) as refused:
        lnn.temper(narrow(), lnn.Split(), "automatic", key=KEY)
    assert "automatic" in str(refused.value)
