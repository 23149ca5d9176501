"""Error rates of networks and of their mean, against those of Gaussian outputs."""

import numpy as np
import pytest
import scipy.stats
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn.errors import InputError
from langevin_nn.training.gradient_flow import Flow


def flow_of(f, y, midpoint=0.0):
    """A flow that has ended with these test outputs."""
    zeros = np.zeros(len(f))
    of_each = (f[:, :1], f, zeros, zeros, zeros.astype(int))
    return Flow(*of_each, y[:1], y, midpoint, None, None, zeros, zeros.astype(int), zeros == 0, "")


def gaussian_rates(shared):
    """ClassificationErrors of many ensembles of f_i(x) = m(x) + s(x) z_i, and what they are.

    z_i the same for all x, or one for each. The sign of n networks' mean is wrong with Φ(−√n m/s).
    """
    rng = np.random.default_rng(1)
    number, num_test, midpoint = 8, 200, 0.3
    y = np.where(rng.random(num_test) < 0.5, 1.3, -0.7)
    margin, spread = 0.5 + rng.standard_normal(num_test), 0.5 + rng.random(num_test)
    found = []
    for _ in range(400):
        z = rng.standard_normal((number, 1 if shared else num_test))
        f = midpoint + (y - midpoint) * (margin + spread * z)
        found.append(lnn.classification_errors(flow_of(f, y, midpoint)))
    single, ensemble = (
        scipy.stats.norm.cdf(-np.sqrt(n) * margin / spread).mean() for n in (1, number)
    )
    return found, np.array([single, ensemble, single - ensemble])


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_rates_of_gaussian_outputs(shared):
    """In the mean of repetitions the closed form, with the standard errors that these have."""
    found, expected = gaussian_rates(shared)
    estimates = [(rates.single, rates.ensemble, rates.difference) for rates in found]
    values = np.array([[[e.value, e.mcse] for e in of_one] for of_one in estimates])
    assert expected[2] > 0.04
    assert worst(z_scores(values[..., 0], expected)) < SIGMAS
    ratio = np.sqrt(np.mean(values[..., 1] ** 2, axis=0)) / values[..., 0].std(axis=0)
    assert np.all(np.abs(ratio - 1) < 0.2), ratio


@pytest.mark.slow
def test_error_of_few_networks():
    """Three, whose mean's error is linear in their offsets b: its variance is Var b/(4 · 3)."""
    rng = np.random.default_rng(4)
    places, y = np.linspace(-1, 1, 1001), np.ones(1001)  # wrong where places + mean b < 0
    squares = []
    for _ in range(1500):
        f = places + 0.1 * rng.standard_normal((3, 1))
        squares.append(lnn.classification_errors(flow_of(f, y)).ensemble.mcse ** 2)
    assert worst(z_scores(np.array(squares)[:, None], np.array([0.01 / 12]))) < SIGMAS


def test_error_from_the_choice_of_the_test_set():
    """Each test example is wrong for some of the networks: means over examples drawn anew."""
    rng = np.random.default_rng(2)
    values = []
    for _ in range(400):
        y = rng.choice([-1.0, 1.0], 150)
        places = rng.standard_normal(150)  # the same three networks, at other inputs
        f = y * np.stack([places + 0.2, places + 0.9, places + 1.0])
        found = lnn.classification_errors(flow_of(f, y))
        shown = (found.single, found.ensemble, found.difference)
        values.append([[e.value, s] for e, s in zip(shown, found.over_test_set, strict=True)])
    values = np.array(values)
    one, two, three, mean = scipy.stats.norm.cdf([-0.2, -0.9, -1.0, -0.7])
    single = (one + two + three) / 3
    assert worst(z_scores(values[..., 0], np.array([single, mean, single - mean]))) < SIGMAS
    ratio = np.sqrt(np.mean(values[..., 1] ** 2, axis=0)) / values[..., 0].std(axis=0)
    assert np.all(np.abs(ratio - 1) < 0.15), ratio


def test_several_outputs_are_right_where_the_largest_is():
    """Two of three networks wrong at the first example, none of them in the mean."""
    y = np.eye(3)[[0, 2]]
    f = np.array([
        [[9.0, 0.0, 0.0], [0.0, 0.0, 1.0]],
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [[0.0, 0.0, 1.0], [0.0, 2.0, 1.0]],
    ])  # fmt: skip
    found = lnn.classification_errors(flow_of(f, y))
    assert found.single.value == pytest.approx(0.5) and found.ensemble.value == 0
    assert found.difference.value == pytest.approx(0.5)
    with pytest.raises(InputError, match="three initialisations at least, got 2"):
        lnn.classification_errors(flow_of(f[:2], y))
