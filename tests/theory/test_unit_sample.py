"""The law of one hidden unit: against importance sampling over layers, and its own algebra."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
from cases import SEED, ensemble_of, gaussian_task, two_outputs
from oracles import unit_by_importance
from refusals import refuses
from statistics_in_sigmas import SIGMAS

from langevin_nn.theory import THEORIES, UnitSample

DATA = gaussian_task(num_train=4, num_test=3, in_size=6, seed=SEED)
LARGE = dataclasses.replace(DATA, y_train=2.5 * DATA.y_train)
"""Labels that units turn towards: their variance along them grows by half with 20 units."""
POWERS = (1, 2, 4)


def compared(theory, activation, draws, data=LARGE):
    """Moments of the theory minus the exact ones, in standard errors, and those of the prior."""
    exact = unit_by_importance(
        data, 20, (1.0, 1.0), 0.3, data.y_train, POWERS,
        activation=activation, draws=draws, seed=1,
    )  # fmt: skip
    ensemble = ensemble_of(data, (20,), activation, temperature=0.3)
    units = THEORIES[theory].solve(ensemble).units()
    said = np.array([units.moment(data.y_train, power) for power in POWERS])
    prior = np.array([0.0, 1.0, 3.0])
    return [(each - exact["moments"]) / exact["moments_error"] for each in (said, prior)]


def test_units_turn_towards_the_labels_as_the_exact_posterior_s():
    said, prior = compared("propagation", "erf", 20_000)
    assert np.abs(said).max() < SIGMAS
    assert np.abs(prior[1:]).min() > 2 * SIGMAS, "the test sees what is learnt"


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["erf", "relu", "identity"])
def test_each_activation_has_its_unit(activation):
    """relu's unit has a mean, too; `cavity` and `mean_field` leave a part of order 1/N_1."""
    said, prior = compared("propagation", activation, 100_000)
    assert np.abs(said).max() < SIGMAS
    assert (np.abs(prior[0]) > 2 * SIGMAS) is np.bool_(activation == "relu")
    for theory in ("cavity", "mean_field"):
        rough, _ = compared(theory, activation, 100_000)
        assert np.sign(rough[1]) == np.sign(-prior[1]) or abs(rough[1]) < abs(prior[1]) / 4


def test_a_direction_has_unit_variance_before_learning():
    """At T so high that nothing is learnt, in any direction, and with several outputs."""
    data = two_outputs(DATA)
    ensemble = ensemble_of(data, (20,), temperature=1e6, biases=True)
    for theory in ("mean_field", "cavity", "propagation"):
        units = THEORIES[theory].solve(ensemble).units()
        assert units.effective_size == pytest.approx(len(units.weights), rel=1e-6)
        for direction in (data.y_train[:, 0], np.eye(4)[2]):
            assert units.moment(direction, 2) == pytest.approx(1.0, abs=2e-3)
            edges = np.array([-6.0, -2.0, 0.0, 0.5, 1.5, 6.0])
            shares = np.diff(scipy.stats.norm.cdf(edges))
            density = units.density(direction, edges)
            np.testing.assert_allclose(density * np.diff(edges), shares, atol=2e-3)


def test_theories_of_gaussian_units_and_of_patches_say_no_law():
    ensemble = ensemble_of(DATA, (20,))
    for name in ("infinite_width", "one_layer", "matched"):
        assert THEORIES[name].solve(ensemble).units is None


def test_bad_directions_are_refused():
    units = UnitSample(np.eye(2), np.full(2, 0.5), np.diag([1.0, 0.0]))
    with refuses("direction", "shape (2)"):
        units.along(np.ones(3))
    with refuses("no unit varies"):
        units.moment(np.array([0.0, 1.0]), 2)
    assert units.along(np.array([2.0, 0.0])).tolist() == [1.0, 0.0]
