"""Where a sampling ends by itself: the warm-up where nothing drifts, the draws by a rule.

What is decided depends on the draws alone: not on chunks, on interruptions, or on the machine.
"""

import dataclasses
import itertools
import math

import jax
import numpy as np
import pytest
from cases import gaussian_task, posterior_of

import langevin_nn as lnn
from langevin_nn.sampling import tempering
from langevin_nn.sampling.engine import driver
from langevin_nn.sampling.stopping import Ending, is_look, is_warm, look_before, looks
from langevin_nn.types import InputError

KEY = jax.random.key(5)
POSTERIOR = posterior_of(gaussian_task(6, 4, 8), precisions=(1.0, 1.0), temperature=0.1, key=KEY)


@dataclasses.dataclass(frozen=True)
class After:
    """A rule that asks for so many draws, whatever they are."""

    needed: int
    max_draws: int = 60
    max_seconds: float = math.inf

    def first_look(self, num_chains):
        return 10

    def draws_needed(self, chains):
        assert chains.params is None and chains.test_outputs.shape[1] == chains.energy.shape[1]
        return self.needed


def run(dynamics=None, target=POSTERIOR, **changes):
    settings = {"num_chains": 4, "num_warmup": "auto", "until": After(20)} | changes
    return lnn.sample(target, dynamics or lnn.Split(), key=KEY, **settings)


def same(left, right):
    for name in ("test_outputs", "energy", "train_error"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
    assert (left.step_size, left.trajectory_length) == (right.step_size, right.trajectory_length)


def test_looks():
    assert list(itertools.islice(looks(10), 5)) == [10, 13, 17, 22, 28]
    assert [n for n in range(30) if is_look(10, n)] == [10, 13, 17, 22, 28]
    assert [look_before(10, n) for n in (10, 13, 22)] == [None, 10, 17]


@pytest.mark.slow_except("13-17", "18-28", "22-28", "23-35", "1000000000.0-60")
@pytest.mark.parametrize(
    ("needed", "draws"), [(5, 13), (10, 13), (13, 17), (18, 28), (22, 28), (23, 35), (1e9, 60)]
)
def test_the_draws_end_where_two_looks_in_a_row_say_so(needed, draws):
    """At 10, 13, 17, 22, 28, 35 …: at both there are as many as are needed."""
    assert run(until=After(needed), num_warmup=5).energy.shape == (4, draws)


@pytest.mark.slow
def test_time_ends_the_draws_too():
    assert 4 <= run(until=After(10**9, 10**6, 0.5), num_warmup=5).energy.shape[1] < 10**6


@pytest.mark.parametrize(("first", "seconds"), [(1, 1e-9), (7, 1e-9), (1000, 100.0)])
def test_where_it_ends_does_not_depend_on_the_chunks(monkeypatch, first, seconds):
    whole = run()
    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", first)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", seconds)
    same(run(), whole)


@pytest.mark.slow_except("split")
@pytest.mark.parametrize("dynamics", [lnn.Split(), lnn.Langevin(0.02)], ids=["split", "langevin"])
def test_an_interrupted_run_ends_where_it_would_have(tmp_path, monkeypatch, dynamics):
    """Interrupted after each chunk of the warm-up, and after each that is recorded."""
    thinning = 1 if isinstance(dynamics, lnn.Split) else 20
    whole = run(dynamics, thinning=thinning)
    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", 5 * thinning)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)
    times = 0

    def interrupt(report):
        nonlocal times
        times += 1
        if times % 4 == 0:
            raise KeyboardInterrupt

    for _ in range(100):
        try:
            resumed = run(dynamics, thinning=thinning, checkpoint=tmp_path, resume=True,
                          progress=interrupt)  # fmt: skip
            break
        except KeyboardInterrupt:
            pass
    assert times > 12
    same(resumed, whole)


def test_the_warm_up_ends_by_itself_and_is_then_like_any_other():
    seen = []
    ended = run(progress=seen.append)
    steps = seen[-1].warmup_steps
    assert steps < 1000, "the default of the dynamics, at which it would end anyway"
    same(run(num_warmup=steps), ended)


def test_left_open_the_warm_up_of_split_ends_by_itself():
    same(run(num_warmup=None), run())


def test_the_warm_up_waits_for_what_the_dynamics_adapts(monkeypatch):
    monkeypatch.setattr(lnn.Split, "settled", lambda self, state, settings: False)
    monkeypatch.setattr(lnn.Split, "usage", dataclasses.replace(lnn.Split.usage, warmup=70))
    seen = []
    run(progress=seen.append)
    assert seen[-1].warmup_steps == 70


def energies(drift=0.0, apart=0.0, records=24, chains=8):
    noise = np.random.default_rng(0).normal(size=(records, chains))
    return noise + drift * np.linspace(0, 1, records)[:, None] + apart * np.arange(chains)


def test_what_is_warm():
    assert is_warm(energies(records=48)) and is_warm(energies(records=301))
    assert not is_warm(energies(drift=8.0, records=48)), "they still fall"
    assert not is_warm(energies(apart=1.0, records=48)), "each chain at a place of its own"
    early = np.vstack([energies() + 1e6, energies()])
    assert is_warm(early), "the first half does not count"
    lost = energies(records=48)
    lost[30:, 2] = np.nan
    assert is_warm(lost) and is_warm(lost * np.nan)
    assert is_warm(np.ones((48, 8))), "nothing moves: nothing to wait for"


@pytest.mark.slow
@pytest.mark.parametrize(("trips", "draws"), [(0, 17), (10**9, 60)])
def test_a_ladder_ends_by_its_coldest_rung_and_its_round_trips(monkeypatch, trips, draws):
    monkeypatch.setattr(tempering, "FEWEST_ROUND_TRIPS", trips)
    asked = []

    @dataclasses.dataclass(frozen=True)
    class Asking(After):
        def draws_needed(self, chains):
            asked.append(chains.temperature)
            return super().draws_needed(chains)

    ladder = lnn.temper(
        POSTERIOR, lnn.Split(), (0.3, 1.0), key=KEY, num_chains=4, num_warmup="auto",
        until=Asking(12),
    )  # fmt: skip
    assert {round(t, 6) for t in asked} == {0.1}
    assert all(chains.energy.shape == (4, draws) for chains in ladder.chains)


@pytest.mark.slow
def test_points_end_together():
    """Where the last of them would: none has fewer draws than it needs."""
    points = [POSTERIOR, POSTERIOR.at_temperature(0.4)]

    @dataclasses.dataclass(frozen=True)
    class OfTheHot(After):
        def draws_needed(self, chains):
            return self.needed if chains.temperature > 0.2 else 1

    sampled = lnn.sample_points(
        points, lnn.Split(), keys=jax.random.split(KEY, 2), num_chains=4, num_warmup=5,
        until=OfTheHot(14),
    )  # fmt: skip
    assert [chains.energy.shape for chains in sampled] == [(4, 22)] * 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"num_samples": 10}, "max_draws=10"),
        ({"num_chains": 1}, "num_chains = 2"),
        ({"num_warmup": "automatic"}, '"auto"'),
    ],
)
def test_what_does_not_go_together(given, words):
    with pytest.raises(InputError) as refused:
        run(**given)
    assert words in str(refused.value)


def test_before_the_first_look_nothing_is_asked():
    ending = Ending(After(1), 4, 60)
    assert not ending.is_reached(9, 0.0, lambda: pytest.fail("asked"))
    assert [ending.look(n) for n in (0, 10, 55)] == [10, 13, 60]
