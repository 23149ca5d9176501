"""The lazy limit with any loss: closed forms, other people's solvers, wide networks."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.optimize
import scipy.special
from cases import ensemble_of, gaussian_task, small_task, spec_of, two_outputs
from sklearn.svm import SVC
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory import infinite_width_flow, kernel_flow, lazy, ntk, support_vectors
from langevin_nn.types import InputError, NotApplicable

KEY = jax.random.key(3)


def labelled(num_train=20, in_size=4, num_test=None):
    """Test examples are the training examples unless their number is given."""
    task = gaussian_task(num_train, num_test or 1, in_size, seed=4)
    y = np.sign(task.y_train)
    if num_test is None:
        return replace(task, y_train=y, x_test=task.x_train, y_test=y)
    return replace(task, y_train=y, y_test=np.sign(task.y_test))


def three_points(x, y):
    """A linear network without biases, Θ = x·x'/3."""
    data = lnn.Dataset("three points", np.array(x), np.array(y), np.array(x), np.array(y))
    return data, spec_of(data, (), "identity", loss="hinge")


def coefficients(found, spec, data):
    """a in f = Θa, from f at the training points."""
    return np.linalg.solve(ntk(spec, data.x_train), found.predictive_mean)


def test_support_vectors_of_three_points():
    """The second point lies beyond the margin of the first, the third is orthogonal to both."""
    data, spec = three_points([[1.0, 0, 0], [2.0, 1, 0], [0, 0, 2.0]], [1.0, 1.0, -1.0])
    found = support_vectors(Ensemble(spec, data), margin=0.5)
    np.testing.assert_allclose(found.predictive_mean, [0.5, 1.0, -0.5], atol=1e-12)
    # Moved to the other side of its plane it is a support vector: w = ½(1, −3, −½).
    moved, _ = three_points([[1.0, 0, 0], [-2.0, -1, 0], [0, 0, 2.0]], [1.0, 1.0, -1.0])
    found = support_vectors(Ensemble(spec, replace(moved, x_test=np.eye(3))), margin=0.5)
    np.testing.assert_allclose(found.predictive_mean, [0.5, -1.5, -0.25], atol=1e-12)


@pytest.mark.parametrize("biases", [False, True])
def test_support_vectors_are_optimal(biases):
    """Margins reached, forces of one sign, and none where a margin is exceeded (Karush 1939)."""
    data = labelled()
    spec = spec_of(data, (10, 10), precisions=(0.3, 1.0, 1.0), biases=biases, loss="hinge")
    found = support_vectors(Ensemble(spec, data), margin=2.0)
    excess = data.y_train * found.predictive_mean - 2.0
    forces = data.y_train * coefficients(found, spec, data)
    assert found.converged and np.all(excess > -1e-9) and np.all(forces > -1e-9)
    assert np.max(np.abs(excess * forces)) < 1e-9
    assert 3 < np.sum(forces > 1e-6) < data.num_train  # of both kinds
    np.testing.assert_allclose(
        found.train_error.value, np.mean((data.y_train - found.predictive_mean) ** 2)
    )
    assert found.log_evidence is None and not found.predictive_variance.any()


@pytest.mark.slow
def test_support_vectors_are_those_of_scikit_learn():
    """Its SVC has an intercept, which vanishes for an odd kernel and every example twice: ±."""
    data = labelled(num_test=30)
    spec = spec_of(data, precisions=(0.3, 1.0), loss="hinge")
    x, y = (np.concatenate([each, -each]) for each in (data.x_train, data.y_train))
    machine = SVC(C=1e9, kernel="precomputed", tol=1e-9).fit(ntk(spec, x), y)
    expected = machine.decision_function(ntk(spec, data.x_test, x))
    assert abs(machine.intercept_[0]) < 1e-6
    np.testing.assert_allclose(
        support_vectors(Ensemble(spec, data)).predictive_mean, expected, atol=2e-5
    )


def test_end_of_the_flow_of_two_points_that_meet_their_margins_one_after_the_other():
    """r = κ − y f decays as e^(−Qt) until the first is zero; then the second alone pushes both."""
    x, y = [[2.0, 0, 0], [0.75, 0.7, 0]], [1.0, -1.0]
    data, spec = three_points([*x, [0, 0, 1.0]], [*y, 1.0])
    data = replace(data, x_train=data.x_train * np.array([1, -1, 1])[:, None])  # both push one way
    q = (data.x_train @ data.x_train.T * np.outer(data.y_train, data.y_train))[:2, :2] / 3

    def left(time):
        return scipy.linalg.expm(-q * time) @ np.ones(2)

    met = scipy.optimize.brentq(lambda time: left(time)[0], 0.1, 15.0)
    overshoot = q[0, 1] / q[1, 1] * left(met)[1]
    assert overshoot > 0.05
    expected = np.array([1 + overshoot, -1.0, 1.0])
    data = replace(data, x_test=data.x_train)
    found = kernel_flow(Ensemble(spec, data), lnn.Hinge(), loss_tolerance=1e-12, rtol=1e-9)
    assert found.converged
    np.testing.assert_allclose(found.predictive_mean, expected, atol=3e-6)
    half = kernel_flow(Ensemble(spec, data), lnn.Hinge(), time=met / 2, rtol=1e-9).predictive_mean
    np.testing.assert_allclose(half[:2], np.array(y) * (1 - left(met / 2)), atol=1e-6)
    # For the support-vector machine the second alone pushes, from the start.
    least = support_vectors(Ensemble(spec, data)).predictive_mean
    np.testing.assert_allclose(least, [q[0, 1] / q[1, 1], -1.0, 1.0], atol=1e-12)


@pytest.mark.parametrize("time", [0.2, 3.0, np.inf])
def test_flow_of_the_squared_loss_has_its_closed_form(time):
    data = small_task()
    spec = spec_of(data, (10, 10), precisions=(0.5, 1.0, 2.0), biases=True)
    expected = infinite_width_flow(Ensemble(spec, data), time=time, centred=True)
    found = kernel_flow(
        Ensemble(spec, data), lnn.Squared(), time=time, loss_tolerance=1e-12, rtol=1e-8
    )
    np.testing.assert_allclose(found.predictive_mean, expected.predictive_mean, atol=2e-5)
    np.testing.assert_allclose(found.train_error.value, expected.train_error.value, atol=1e-5)


@pytest.mark.parametrize("loss", [lnn.Hinge(2, 0.7), lnn.Logistic()])
def test_flow_integrated_by_hand(loss):
    """With the slopes written out, by SciPy's Runge–Kutta method of order 8, f itself the state."""
    data = labelled(8)
    spec, y = spec_of(data, loss=loss.name), data.y_train
    slopes = {
        "hinge": lambda f: -y * np.maximum(0.7 - y * f, 0),
        "logistic": lambda f: -y * scipy.special.expit(-y * f),
    }
    tangent = ntk(spec, data.x_train)
    found = scipy.integrate.solve_ivp(
        lambda _, f: -tangent @ slopes[loss.name](f),
        (0, 4.0), np.zeros(8), "DOP853", rtol=1e-10, atol=1e-12,
    )  # fmt: skip
    flow = kernel_flow(Ensemble(spec, data), loss, time=4.0, rtol=1e-8)
    np.testing.assert_allclose(flow.predictive_mean, found.y[:, -1], atol=1e-5)


def test_flow_ends_at_the_loss_tolerance_or_at_the_time_that_is_asked_for():
    data = labelled(8)
    spec = spec_of(data, precisions=(0.3, 1.0), loss="hinge")
    for tolerance in (0.02, 5e-5):
        found = kernel_flow(Ensemble(spec, data), lnn.Hinge(), loss_tolerance=tolerance, rtol=1e-8)
        missing = np.max(1 - data.y_train * found.predictive_mean)
        np.testing.assert_allclose(0.5 * missing**2, tolerance, rtol=1e-3)
    later = kernel_flow(Ensemble(spec, data), lnn.Hinge(), loss_tolerance=0.02, time=1e4, rtol=1e-8)
    assert np.max(1 - data.y_train * later.predictive_mean) < 1e-3


def test_flow_reaches_the_margins_with_a_larger_norm_than_the_support_vectors():
    data = labelled()
    spec = spec_of(data, precisions=(0.3, 1.0), biases=True, loss="hinge")
    flow = kernel_flow(Ensemble(spec, data), lnn.Hinge(), loss_tolerance=1e-10)
    least = support_vectors(Ensemble(spec, data))
    norms = [f.predictive_mean @ coefficients(f, spec, data) for f in (flow, least)]
    assert np.all(data.y_train * flow.predictive_mean > 1 - 2e-5)
    assert 1.001 < norms[0] / norms[1] < 1.3, norms
    distance = np.linalg.norm(flow.predictive_mean - least.predictive_mean)
    assert 0.01 < distance / np.linalg.norm(least.predictive_mean) < 0.5


@pytest.mark.slow
def test_wide_networks_with_a_large_output_scale_are_those_of_the_flow():
    """Over initialisations f scatters by 1/√N_1 around it, with a mean 1/N_1 off."""
    data, number, time = labelled(6, num_test=4), 40, 0.5
    network = lnn.FullyConnected(4, (400,), key=KEY, dtype=jnp.float64, biases=True)
    prior = lnn.GaussianPrior((0.5, 1.0), (1.5, 2.0))
    posterior = lnn.GibbsPosterior(network, prior, data, 0.1, lnn.Hinge())
    flow = lnn.gradient_flow(
        posterior, key=KEY, num_initialisations=number, output_scale=100.0, max_time=time,
        rtol=1e-5, atol=1e-7,
    )  # fmt: skip

    def deviations(expected):
        return z_scores(flow.test_outputs, expected.predictive_mean)

    spec = posterior.spec
    assert worst(deviations(kernel_flow(Ensemble(spec, data), lnn.Hinge(), time=time))) < SIGMAS
    # It is seen if the time, the loss or the biases are others.
    assert (
        worst(deviations(kernel_flow(Ensemble(spec, data), lnn.Hinge(), time=1.4 * time))) > SIGMAS
    )
    assert (
        worst(deviations(kernel_flow(Ensemble(spec, data), lnn.Hinge(margin=0.6), time=time)))
        > SIGMAS
    )
    without = replace(spec, bias_precisions=None)
    assert worst(deviations(kernel_flow(Ensemble(without, data), lnn.Hinge(), time=time))) > SIGMAS


def near_inputs(size, distance):
    """Two inputs on a line, almost equal, with both labels, and Θ of a layer of erf with biases.

    κ = (2/π) arcsin and κ̇ = (4/π)/√(…) of Williams 1997, in extended precision.
    """
    x = size * np.array([[1.0], [1.0 + distance]])
    x_test = size * np.array([[1.5], [-1.0], [0.3]])

    def theta(x, there):
        x, there = x.astype(np.longdouble), there.astype(np.longdouble)
        a, b, c = np.sum(x**2, 1)[:, None] + 1, np.sum(there**2, 1) + 1, x @ there.T + 1
        rest = np.sqrt((1 + 2 * a) * (1 + 2 * b) - 4 * c**2)
        pi = 4 * np.arctan(np.longdouble(1))
        return 2 / pi * np.arctan2(2 * c, rest) + 4 / pi / rest * c + 1

    data = lnn.Dataset("near", x, np.array([1.0, -1.0]), x_test, np.ones(3))
    return data, theta(x, x), theta(x_test, x)


def after(theta, cross, time):
    """f at the test inputs after this time of the squared loss's flow, by both eigenvectors."""
    half, off = (theta[0, 0] - theta[1, 1]) / 2, theta[0, 1]
    largest = (theta[0, 0] + theta[1, 1]) / 2 + np.hypot(half, off)
    smallest = (theta[0, 0] * theta[1, 1] - off**2) / largest
    a = 0
    for e in (largest, smallest):
        vector = np.array([off, e - theta[0, 0]])
        share = vector @ np.array([1, -1]) / (vector @ vector)
        a = a + share * (-np.expm1(-e * time) / e if np.isfinite(time) else 1 / e) * vector
    return (cross @ a).astype(float)


@pytest.mark.parametrize("machine", ["infinite_width_flow", "kernel_flow", "support_vectors"])
def test_what_rounding_of_the_kernel_decides_is_refused(machine, monkeypatch):
    """It was given, 16 % off, without a word: at variances a the rounding of Θ is ε a."""

    def answer(size, distance, time):
        data, theta, cross = near_inputs(size, distance)
        loss = "hinge" if machine == "support_vectors" else "squared"
        spec = replace(spec_of(data, loss=loss), bias_precisions=(1.0, 1.0))
        ensemble = Ensemble(spec, data)
        found = {
            "infinite_width_flow": lambda: infinite_width_flow(ensemble, time=time, centred=True),
            "kernel_flow": lambda: kernel_flow(ensemble, lnn.Squared(), time=time),
            "support_vectors": lambda: support_vectors(ensemble),
        }[machine]()
        time = np.inf if machine == "support_vectors" else time
        expected = after(theta, cross, time)
        assert found.converged
        return np.max(np.abs(found.predictive_mean / expected - 1))

    assert answer(10.0, 1e-3, 100.0) < 1e-4
    with pytest.raises(InputError, match="may move the mean by more than 1%"):
        answer(1000.0, 1e-5, 1e7)
    for module in (lazy.infinite_width_flow, lazy.kernel_machines):
        monkeypatch.setattr(module, "RESOLVED", np.inf)
    assert answer(1000.0, 1e-5, 1e7) > 0.05


def test_what_rounding_does_not_decide_is_kept():
    """At the inputs themselves, whose f every flow pins, the bound by the path is too large."""
    x = np.array([[0.3, 0.7, 0.2], [0.3, 0.7, 0.2] + 3e-5 * np.array([1, -1, 1])])
    data, spec = three_points(x, [1.0, -1.0])
    found = kernel_flow(Ensemble(spec, data), lnn.Hinge())
    np.testing.assert_allclose(found.predictive_mean, [0.99, -0.99], atol=1e-6)
    with pytest.raises(InputError, match="may move the mean by more than 1%"):
        three = replace(data, x_train=np.array([x[0], x[0] + 1e-7 * np.array([1, -1, 1])]))
        support_vectors(Ensemble(spec, three))


def test_what_has_no_kernel_machine():
    data = labelled()
    hinge = spec_of(data, loss="hinge")
    with pytest.raises(NotApplicable, match="hinge loss, this is squared"):
        support_vectors(ensemble_of(data))
    with pytest.raises(InputError, match="labels y = ±1"):
        support_vectors(Ensemble(hinge, small_task(in_size=4)))
    with pytest.raises(InputError, match="margin of the hinge loss must be positive, got 0"):
        support_vectors(Ensemble(hinge, data), margin=0.0)
    rows = [0, *range(19)]
    twice = replace(data, x_train=data.x_train[rows], y_train=data.y_train[rows])
    with pytest.raises(InputError, match="singular.*remove training examples that occur twice"):
        support_vectors(Ensemble(hinge, twice))
    torn = replace(twice, y_train=np.array([1.0, -1.0, *data.y_train[1:19]]))
    with pytest.raises(InputError, match="singular.*for a flow a finite time"):
        kernel_flow(
            Ensemble(hinge, torn), lnn.Hinge()
        )  # one input with both labels: it would never end
    assert np.all(
        np.isfinite(kernel_flow(Ensemble(hinge, torn), lnn.Hinge(), time=1.0).predictive_mean)
    )
    with pytest.raises(InputError, match='squared loss.*logistic: write EnsembleSpec.*"logistic"'):
        kernel_flow(ensemble_of(data), lnn.Logistic())
    with pytest.raises(InputError, match=r"write Hinge\(power=2\)"):
        kernel_flow(Ensemble(hinge, data), lnn.Hinge(power=1))
    with pytest.raises(InputError, match="time of a flow must be positive, got -1"):
        kernel_flow(Ensemble(hinge, data), lnn.Hinge(), time=-1.0)
    several = two_outputs(small_task())
    with pytest.raises(InputError, match="one output.*columns one by one"):
        kernel_flow(ensemble_of(several), lnn.Squared())
