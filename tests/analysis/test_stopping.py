"""Target errors: the intervals that they end with cover, and what they ask for is what they say."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task, posterior_of

import langevin_nn as lnn
from langevin_nn.analysis import generalisation, stopping
from langevin_nn.analysis.diagnostics import mcse
from langevin_nn.sampling.stopping import FIRST_WARMUP_LOOK, Ending, looks

KEY = jax.random.key(11)
DATA = gaussian_task(6, 3, 4)


def sampled(num_samples=1_500, key=KEY, dynamics=None, **changes):
    posterior = posterior_of(DATA, temperature=0.2, key=KEY, dtype=jnp.float64)
    counts = {"num_chains": 8, "num_warmup": 40, "num_samples": num_samples} | changes
    return lnn.sample(posterior, dynamics or lnn.Split(), key=key, **counts)


CHAINS = sampled()


def stopped(chains, rule):
    """The first draws of `chains`, up to where the rule would have ended the sampling."""
    ending = Ending(rule, *chains.energy.shape)
    draws = 0
    while not ending.is_reached(draws, 0.0, lambda draws=draws: [chains.first(draws)]):
        draws = ending.look(draws)
    return chains.first(draws)


@pytest.mark.parametrize(
    ("rule", "of"),
    [
        (lnn.TargetError(0.06), {"bias2": 0.06, "variance": 0.06}),
        (lnn.TargetError({"train_error": 0.01}), {"train_error": 0.01}),
        (lnn.TargetError({}, {"generalisation_error": 0.0012}), {"generalisation_error": None}),
    ],
    ids=["bias² and variance", "one number", "absolute"],
)
def test_the_errors_are_as_small_as_was_asked_for(rule, of):
    ended = stopped(CHAINS, rule)
    measured = lnn.summarise(ended)
    assert measured.converged and rule.shortfall(ended, measured) == ""
    for name, relative in of.items():
        estimate = getattr(measured, name)
        limit = 0.0012 if relative is None else relative * estimate.value
        assert estimate.mcse <= limit, name


def test_errors_of_every_prediction():
    """In units of the predictive standard deviation: 1/√ESS, at the worst of the inputs."""
    rule = lnn.TargetError({"predictions": 0.03})
    ended = stopped(CHAINS, rule)
    of_f = mcse(ended.test_outputs.astype(float))
    deviation = np.sqrt(lnn.summarise(ended).predictive_variance)
    assert 0.02 < np.max(of_f / deviation) <= 0.03
    assert rule.draws_needed(ended) == pytest.approx(
        ended.energy.shape[1] * np.max(of_f / deviation) ** 2 / 0.03**2, rel=0.2
    )
    strict = lnn.TargetError({"predictions": 0.03}, {"predictions": float(of_f.max()) / 2})
    assert strict.draws_needed(ended) == pytest.approx(4 * ended.energy.shape[1], rel=1e-9)
    assert "predictions" in strict.shortfall(ended, lnn.summarise(ended))


def test_half_the_error_takes_four_times_the_draws():
    needed = [lnn.TargetError(error).draws_needed(CHAINS) for error in (0.02, 0.01)]
    assert needed[1] == pytest.approx(4 * needed[0])
    assert needed[0] > CHAINS.energy.shape[1]


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_an_error_that_is_not_known_or_of_nothing_goes_on(monkeypatch, value):
    """A bias² of 0 ± 0.1 has no relative error, and one of unknown error none that is small."""
    measured, diagnosis = generalisation.undiagnosed(CHAINS)
    other = lnn.Estimate(value, 0.1 if value == 0 else np.nan)
    monkeypatch.setattr(
        stopping,
        "undiagnosed",
        lambda chains: (dataclasses.replace(measured, bias2=other), diagnosis),
    )
    assert lnn.TargetError(1.0).draws_needed(CHAINS) == np.inf


def test_what_has_not_converged_goes_on():
    """However small its errors: chains apart, and an ESS that is too small."""
    lax = lnn.TargetError(1.0)
    assert lax.draws_needed(CHAINS) <= 1_500
    apart = dataclasses.replace(
        CHAINS, test_outputs=CHAINS.test_outputs + np.arange(8.0)[:, None, None]
    )
    assert lax.draws_needed(apart) > 1_500
    assert lax.draws_needed(CHAINS.first(40)) > 40, "8 × 40 draws have no ESS of 400"
    energy = np.where(np.arange(8)[:, None] == 3, np.nan, CHAINS.energy)
    one_lost = dataclasses.replace(CHAINS, energy=energy)
    assert math.isfinite(lax.draws_needed(one_lost)) and one_lost.diverged.sum() == 1
    all_lost = dataclasses.replace(CHAINS, energy=CHAINS.energy * np.nan)
    assert lax.draws_needed(all_lost) == 0, "more draws of them are no better"


def test_a_look_that_is_cut_short_decides_as_a_whole_one():
    """What takes longer to find is looked at where nothing else asks for more draws."""
    one_apart = CHAINS.test_outputs.copy()
    one_apart[0, :, -1] += 0.05
    rule, decisions = lnn.TargetError(0.1), set()
    for chains in (CHAINS, dataclasses.replace(CHAINS, test_outputs=one_apart)):
        for number in itertools.takewhile(lambda look: look <= 1_500, looks(25)):
            first = chains.first(number)
            measured = lnn.summarise(first)
            whole = not rule.shortfall(first, measured) and (
                measured.diagnostics.rhat_max <= 1.01 and measured.diagnostics.ess_min >= 400
            )
            assert (rule.draws_needed(first) <= number) == whole, number
            decisions.add(whole)
    assert decisions == {True, False}


def test_what_was_found_at_a_look_holds_at_the_next_unless_a_chain_diverged():
    """The rule is asked once at each look, and gives what it gives when asked for both."""

    class Counting(lnn.TargetError):
        asked = []

        def draws_needed(self, chains):
            self.asked.append(chains.energy.shape[1])
            return super().draws_needed(chains)

    rule = Counting(0.06)
    ended = stopped(CHAINS, rule)
    assert len(set(rule.asked)) == len(rule.asked) and ended.energy.shape[1] == rule.asked[-1]
    lost = CHAINS.energy.copy()
    lost[0, rule.asked[-1] - 1 :] = np.nan
    chains, rule.asked[:] = dataclasses.replace(CHAINS, energy=lost), []
    stopped(chains, rule)
    assert len(set(rule.asked)) < len(rule.asked)


def test_a_point_all_of_whose_chains_diverged_since_counts_no_more():
    """A sampling that was interrupted asks anew at the look before: it ends at the same one."""

    class Needing(lnn.TargetError):
        def draws_needed(self, chains):
            return float(chains.energy[0, 0])

    def point(needed, number):
        energy = np.full((8, number), float(needed))
        return dataclasses.replace(CHAINS.first(number), energy=energy)

    rule = Needing(0.06)
    first = rule.first_look(8)
    second = next(look for look in looks(first) if look > first)
    whole, resumed = (Ending(rule, 8, 1_500) for _ in range(2))
    together = [point(1, first), point(second + 1, first)]
    assert not whole.is_reached(first, 0.0, lambda: together)
    alone = [point(1, second)]  # the other point has diverged: it is no longer among them
    assert [end.is_reached(second, 0.0, lambda: alone) for end in (whole, resumed)] == [True, True]


def test_without_an_error_that_is_asked_for_the_chains_have_to_mix():
    assert lnn.TargetError({}).draws_needed(CHAINS) <= 1_500
    assert lnn.TargetError({}).draws_needed(CHAINS.first(40)) > 40


REPETITIONS = 200


@pytest.fixture(scope="module")
def repeated():
    """Chains of 200 samplings that begin in the prior, with a warm-up as short as it can be."""
    posterior = posterior_of(DATA, temperature=0.2, key=KEY, dtype=jnp.float64)
    keys = jax.random.split(jax.random.key(2), REPETITIONS)
    return [
        chains
        for batch in np.split(np.arange(REPETITIONS), 10)
        for chains in lnn.sample_points(
            [posterior] * len(batch), lnn.Split(), keys=[keys[i] for i in batch], num_chains=8,
            num_warmup=FIRST_WARMUP_LOOK, num_samples=800,
        )
    ]  # fmt: skip


def scores_of(repeated, rule):
    """The deviations from what is exact in units of the stated errors, and the draws they took.

    What is exact are the averages over all draws of all repetitions, an error 20 times less.
    """
    f = np.concatenate([chains.test_outputs for chains in repeated])
    mean = f.mean(axis=(0, 1))
    exact = {"bias2": np.square(mean - DATA.y_test).mean(), "variance": f.var(axis=(0, 1)).mean()}
    ended = [stopped(chains, rule) for chains in repeated]
    measured = [lnn.summarise(chains) for chains in ended]
    estimates = {name: [getattr(m, name) for m in measured] for name in exact}
    return {
        name: np.array([(e.value - exact[name]) / e.mcse for e in estimates[name]])
        for name in exact
    }, np.array([chains.energy.shape[1] for chains in ended])


def covers(z):
    """Whether the mean of 200 is 0, their deviation 1, and 95 % within 1.96, by three errors."""
    return (
        abs(z.mean()) < 3 / math.sqrt(REPETITIONS)
        and 0.85 < z.std() < 1.15  # ± 3/√(2 · 200)
        and np.mean(np.abs(z) < 1.96) > 0.90  # 0.95 − 3 √(0.05 · 0.95/200)
    )


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.08, 0.15])
def test_the_intervals_cover(repeated, target):
    scores, draws = scores_of(repeated, lnn.TargetError(target))
    assert len(set(draws)) > 1 and np.mean(draws == 800) < 0.1, "the rule ends them"
    for name, z in scores.items():
        assert covers(z), (name, z.mean(), z.std())


class Hopeful(lnn.TargetError):
    """A planted mistake: it ends as soon as bias² is small."""

    def first_look(self, num_chains):
        return 8

    def draws_needed(self, chains):
        return 0.0 if lnn.summarise(chains).bias2.value < 0.0075 else np.inf


@pytest.mark.slow
def test_a_rule_that_ends_where_it_likes_the_number_is_seen(repeated):
    scores, _ = scores_of(repeated, Hopeful(0.1))
    assert not covers(scores["bias2"]) and scores["bias2"].mean() < -0.3
