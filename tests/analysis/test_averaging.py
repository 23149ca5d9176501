"""Averages over draws and chains, against the closed forms of Gaussian draws.

f_cs(x) = y(x) m + b_c(x) + s_cs(x) with independent b ~ N(0, B), s ~ N(0, W): the mean of t draws
of one chain has the variance B + W/t, that of all C chains (B + W/t)/C, and is wrong with the
probability Φ(−m/√variance).
"""

import jax
import numpy as np
import pytest
from cases import posterior_of
from scipy.stats import norm

import langevin_nn as lnn
from langevin_nn.analysis.averaging import averaging
from langevin_nn.types import InputError

MEAN, APART, WITHIN = 0.7, 0.5, 2.0
CHAINS, DRAWS, POINTS = 6, 32, 400


def gaussian(rng, chains=CHAINS, draws=DRAWS, points=POINTS):
    y = np.where(np.arange(points) % 2, 1.0, -1.0)
    apart = np.sqrt(APART) * rng.standard_normal((chains, 1, points))
    within = np.sqrt(WITHIN) * rng.standard_normal((chains, draws, points))
    return MEAN * y + apart + within, y


def expected(length):
    single, mean = APART + WITHIN, APART + WITHIN / length
    wrong = {"draw": single, "chain": mean, "ensemble": mean / CHAINS}
    return {
        "norm": MEAN**2 + single,
        **{name: norm.cdf(-MEAN / np.sqrt(variance)) for name, variance in wrong.items()},
        # Around the mean of the chains at hand.
        "total": single - mean / CHAINS,
        "between": mean,
    }


@pytest.mark.parametrize("length", [1, 8, None])
def test_gaussian_draws(length):
    """Mean over repetitions within five of its standard errors."""
    rng = np.random.default_rng(1)
    found = [averaging(*gaussian(rng), length=length) for _ in range(60)]
    for name, value in expected(length or DRAWS).items():
        values = np.array([getattr(each, name).value for each in found])
        error = values.std(ddof=1) / np.sqrt(len(values))
        assert error < 0.1 * value
        assert abs(values.mean() - value) < 5 * error, name


@pytest.mark.slow
def test_draws_of_f_have_the_posteriors_variance_on_either_readout():
    """In `total`, beside that of `summarise`, which knows the read-out's law. FAULTS 1.13."""
    key = jax.random.key(0)
    data = lnn.load_dataset("digits", classes=(0, 1), num_train=10, num_test=20, key=key)
    posterior = posterior_of(data, temperature=0.5, key=key, kind=lnn.MarginalisedPosterior)
    chains = lnn.sample(
        posterior, lnn.Split(), key=key, num_chains=8, num_warmup=100, num_samples=300
    )
    total, variance = averaging(chains.f, chains.y_test).total, lnn.summarise(chains).variance
    error = np.hypot(total.mcse, variance.mcse)
    assert error < 0.1 * variance.value and abs(total.value - variance.value) < 5 * error
    means = averaging(chains.test_outputs, chains.y_test).total
    assert means.value < variance.value - 5 * error


@pytest.mark.slow
def test_errors_are_the_spread_over_repetitions():
    """But for the ensemble's, which is no smooth function of the chains.

    The jackknife of a variance is too large on average, by a part of order one over the chains.
    """
    rng = np.random.default_rng(2)
    found = [averaging(*gaussian(rng, 20, 8, 60)) for _ in range(300)]
    for name in ("norm", "draw", "chain", "between"):
        each = [getattr(one, name) for one in found]
        spread = np.std([one.value for one in each], ddof=1)
        claimed = np.sqrt(np.mean([one.mcse**2 for one in each]))
        assert claimed == pytest.approx(spread, rel=0.2), name


def test_targets_on_either_side_of_a_midpoint():
    f, y = gaussian(np.random.default_rng(3))
    plain, moved = averaging(f, y), averaging(f + 2.5, y + 2.5, midpoint=2.5)
    for name in ("draw", "chain", "ensemble"):
        assert getattr(moved, name).value == getattr(plain, name).value
    for name in ("total", "between"):
        assert getattr(moved, name).value == pytest.approx(getattr(plain, name).value)


def test_shorter_chains_are_all_windows_of_the_longer():
    """Of 32 draws, three windows of ten; the last two draws are left."""
    f, y = gaussian(np.random.default_rng(5))
    windows = [averaging(f[:, begin : begin + 10], y) for begin in (0, 10, 20)]
    found = averaging(f, y, length=10)
    for name in ("norm", "draw", "chain", "ensemble", "total", "between"):
        mean = np.mean([getattr(each, name).value for each in windows])
        assert getattr(found, name).value == pytest.approx(mean, rel=1e-12), name


def test_chains_of_one_draw_are_their_own_means():
    f, y = gaussian(np.random.default_rng(4), draws=1)
    found = averaging(f, y)
    assert found.chain == found.draw
    assert found.between.value == pytest.approx(f[:, 0].var(axis=0, ddof=1).mean())


@pytest.mark.parametrize(
    "shape, length, message",
    [
        ((2, 5, 10), None, "three of them at least, got 2"),
        ((4, 10), None, r"outputs\[:, None\]"),
        ((4, 5, 9), None, "targets"),
        ((4, 5, 10, 3), None, "one output at a time"),
        ((4, 5, 10), 6, "length = 6 draws do not fit into chains of 5: write 1 to 5"),
        ((4, 5, 10), 0, "length must be a positive"),
    ],
)
def test_what_cannot_be_averaged(shape, length, message):
    with pytest.raises(InputError, match=message):
        averaging(np.zeros(shape), np.ones(10), length=length)
