"""Gradient flow against closed forms, against integration by hand, and in the lazy limit."""

from dataclasses import replace
from functools import partial

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.special
from cases import ensemble_of, gaussian_task, small_task, spec_of
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.kernels.nngp import nngp
from langevin_nn.theory.kernels.ntk import ntk
from langevin_nn.theory.lazy.infinite_width_flow import infinite_width_flow
from langevin_nn.training.gradient_flow import Flow
from langevin_nn.types import InputError, NotApplicable

KEY = jax.random.key(5)
TASK = gaussian_task(5, 4, 3)
LABELLED = replace(TASK, y_train=np.sign(TASK.y_train))


posterior_of = partial(cases.posterior_of, key=KEY)


@pytest.mark.slow
@pytest.mark.parametrize("time", [0.3, 4.0])
def test_linear_network_has_its_closed_form(time):
    """f(t) = y + e^(−Kt)(f(0) − y), K = XXᵀ/N_0."""
    posterior = posterior_of(TASK, (), "identity")
    flow = lnn.gradient_flow(posterior, key=KEY, num_initialisations=3, max_time=time)
    gram = TASK.x_train @ TASK.x_train.T / 3
    start = np.asarray(posterior.train_outputs(flow.initial_params))
    expected = TASK.y_train + (start - TASK.y_train) @ scipy.linalg.expm(-gram * time)
    np.testing.assert_allclose(flow.train_outputs, expected, atol=1e-7)
    np.testing.assert_allclose(flow.energy, 0.5 * ((expected - TASK.y_train) ** 2).sum(1))
    assert not flow.converged and "write a larger max_time" in flow.message


@pytest.mark.slow
def test_deep_linear_flow_conserves_its_balance():
    """W^ℓ W^ℓᵀ − W^(ℓ+1)ᵀ W^(ℓ+1) of neighbouring layers."""
    posterior = posterior_of(TASK, (4, 3), "identity")
    flow = lnn.gradient_flow(posterior, key=KEY, num_initialisations=2)

    def balance(params):
        w = [np.asarray(each) for each in params.weights]
        pairs = zip(w, w[1:], strict=False)
        return [a @ a.swapaxes(1, 2) - b.swapaxes(1, 2) @ b for a, b in pairs]

    assert flow.converged and np.max(
        np.abs(flow.params.weights[0] - flow.initial_params.weights[0])
    )
    for end, start in zip(balance(flow.params), balance(flow.initial_params), strict=True):
        np.testing.assert_allclose(end, start, atol=1e-6)


@pytest.mark.exhaustive_except("loss1-0.4", "loss2-None", "loss5-0.4", "loss6-3.0")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "scale"),
    [(loss, scale) for loss in (lnn.Squared(), lnn.Hinge(2, 0.8), lnn.Logistic())
     for scale in (None, 0.4)] + [(lnn.Squared(), 3.0)],
)  # fmt: skip
def test_one_hidden_layer_integrated_by_hand(loss, scale):
    """With the gradient written out, by SciPy's Runge–Kutta method of order 8."""
    posterior = posterior_of(LABELLED, (3,), loss=loss)
    time = 2.5
    flow = lnn.gradient_flow(
        posterior, key=KEY, num_initialisations=1, max_time=time, output_scale=scale,
        rtol=1e-10, atol=1e-12,
    )  # fmt: skip
    first, last = (np.asarray(w)[0] for w in flow.initial_params.weights)
    x, y = np.asarray(posterior.x_train), LABELLED.y_train
    slopes = {
        "squared": lambda f: f - y,
        "hinge": lambda f: -y * np.maximum(0.8 - y * f, 0),
        "logistic": lambda f: -y * scipy.special.expit(-y * f),
    }

    def features(first):
        h = x @ first.T / np.sqrt(3)
        return scipy.special.erf(h), 2 / np.sqrt(np.pi) * np.exp(-(h**2))

    alpha = scale or 1.0
    origin = features(first)[0] @ last[0] / np.sqrt(3) if scale else 0.0

    def descent(_, weights):
        first, last = weights[:9].reshape(3, 3), weights[9:]
        s, ds = features(first)
        f = alpha * (s @ last / np.sqrt(3) - origin)
        force = slopes[loss.name](f) / alpha / np.sqrt(3)
        back = force[:, None] * last * ds / np.sqrt(3)
        return -np.concatenate([(back.T @ x).ravel(), s.T @ force])

    weights = np.concatenate([first.ravel(), last.ravel()])
    found = scipy.integrate.solve_ivp(descent, (0, time), weights, "DOP853", rtol=1e-10, atol=1e-12)
    end = np.concatenate([np.asarray(w)[0].ravel() for w in flow.params.weights])
    np.testing.assert_allclose(end, found.y[:, -1], atol=2e-7)


@pytest.mark.slow
def test_hinge_ends_where_the_margins_are_reached():
    """Those below κ are counted, however little is missing."""
    posterior = posterior_of(LABELLED, (30,), loss=lnn.Hinge(2, 0.5))
    for time in (0.5, np.inf):
        flow = lnn.gradient_flow(posterior, key=KEY, max_time=time)
        margins = LABELLED.y_train * flow.train_outputs
        assert np.array_equal(flow.unsatisfied, (margins < 0.5).sum(axis=1))
        missing = np.maximum(0.5 - margins, 0)
        np.testing.assert_allclose(flow.energy, 0.5 * np.square(missing).sum(axis=1), atol=1e-15)
    assert flow.converged and np.max(missing) < 1e-4 and np.max(margins) > 0.6
    assert np.all(np.isfinite(flow.time))


@pytest.mark.slow
def test_flow_ends_once_a_part_is_fitted():
    """Hinge losses at most the tolerance: of a part of the examples, then of all."""
    posterior = posterior_of(LABELLED, (30,), loss=lnn.Hinge(2, 0.5))
    half, whole, start = (
        lnn.gradient_flow(posterior, key=KEY, loss_tolerance=1e-4, **changes)
        for changes in ({"fitted_fraction": 0.6}, {}, {"max_time": 1e-12})
    )
    losses = [0.5 * np.maximum(0.5 - LABELLED.y_train * flow.train_outputs, 0) ** 2
              for flow in (half, whole, start)]  # fmt: skip
    for flow, each, fitted in zip((half, whole), losses, (3, 5), strict=False):
        assert flow.converged and np.all((each <= 1e-4).sum(axis=1) >= fitted)
        assert np.array_equal(flow.unsatisfied, (each > 1e-4).sum(axis=1))
    already = (losses[2] <= 1e-4).sum(axis=1) >= 3
    assert not already.all() and np.array_equal(half.time == 0, already)
    later = half.time[~already] < whole.time[~already]
    assert later.any() and np.all((losses[0] <= 1e-4).sum(axis=1)[~already][later] == 3)


@pytest.mark.slow
def test_no_tolerance_needs_to_know_the_output_scale():
    """Ten decades of α with a hinge: small ones fit with large weights, large ones agree."""
    posterior = posterior_of(LABELLED, (20,), "swish10", loss=lnn.Hinge())

    def flow(alpha, **until):
        return lnn.gradient_flow(
            posterior, key=KEY, num_initialisations=4, output_scale=alpha, rtol=1e-6, atol=1e-8,
            **until,
        )  # fmt: skip

    for alpha in (1e-4, 1e6):
        found = flow(alpha, loss_tolerance=5e-5)
        assert found.converged and np.all(found.unsatisfied == 0) and found.num_steps.max() < 2000
    some, more, fewer = (flow(alpha, max_time=3.0).test_outputs for alpha in (1e6, 1e5, 1.0))
    np.testing.assert_allclose(more, some, atol=1e-4)
    assert np.max(np.abs(fewer - some)) > 0.1


@pytest.mark.slow
def test_first_step_knows_how_fast_the_flow_is():
    """At small α its time is of order α: steps that are too long have weights that overflow."""
    posterior = posterior_of(LABELLED, (6, 6), "swish10", loss=lnn.Hinge())
    moved = []
    for alpha in (1e-5, 1e-8):
        flow = lnn.gradient_flow(
            posterior, key=KEY, num_initialisations=6, output_scale=alpha, rtol=1e-4, atol=1e-6,
            loss_tolerance=0.4, fitted_fraction=0.2, max_steps=300,
        )  # fmt: skip
        pairs = zip(flow.initial_params.weights, flow.params.weights, strict=True)
        moved.append(np.max([np.abs(end - start).max((1, 2)) for start, end in pairs], axis=0))
    assert np.all(moved[0] > 1) and np.all(moved[1] > 2 * moved[0]), moved


@pytest.mark.slow
def test_solvers_of_a_stiff_flow():
    """Both follow the closed form; where stability limits the steps one needs far fewer."""
    stiff = replace(TASK, x_train=TASK.x_train * np.array([20.0, 1.0, 1.0]))
    posterior = posterior_of(stiff, (), "identity")
    gram = stiff.x_train @ stiff.x_train.T / 3
    for time, tolerance, deviation in ((0.5, 1e-6, 1e-5), (2.0, 1e-3, 0.01)):
        steps = {}
        for solver in ("tsit5", "stabilised"):
            flow = lnn.gradient_flow(
                posterior, key=KEY, num_initialisations=3, max_time=time, rtol=tolerance,
                atol=tolerance / 10, gradient_tolerance=1e-12, solver=solver,
            )  # fmt: skip
            start = np.asarray(posterior.train_outputs(flow.initial_params))
            expected = stiff.y_train + (start - stiff.y_train) @ scipy.linalg.expm(-gram * time)
            np.testing.assert_allclose(flow.train_outputs, expected, atol=deviation)
            steps[solver] = flow.num_steps
    assert np.all(5 * steps["stabilised"] < steps["tsit5"]), steps


@pytest.mark.slow
def test_initialisations_do_not_know_of_each_other():
    posterior = posterior_of(TASK, (4,))
    flow = lnn.gradient_flow(posterior, key=KEY, num_initialisations=6)
    assert len(set(flow.num_steps.tolist())) > 1
    assert flow.time.shape == flow.settled.shape == (6,)


@pytest.mark.slow
def test_lazy_limit_is_the_flow_of_the_tangent_kernel_at_the_start():
    """f → Θ_0(x, X) Θ_0⁻¹ y, with an error that falls as 1/α; Θ_0 by finite differences."""
    posterior = posterior_of(TASK, (40,))
    outside = jax.random.split(jax.random.split(KEY)[1], 1)

    def outputs(params):
        both = posterior.train_outputs(params), posterior.test_outputs(params, outside)
        return jnp.concatenate(both, axis=1)[0]

    start = posterior.sample_prior(jax.random.split(KEY)[0], 1)
    leaves, structure = jax.tree.flatten(start)
    rows = []
    for place, leaf in enumerate(leaves):
        for index in np.ndindex(leaf.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [*leaves[:place], leaf.at[index].add(step), *leaves[place + 1 :]]
                ends.append(outputs(jax.tree.unflatten(structure, moved)))
            rows.append((ends[0] - ends[1]) / 2e-5)
    jacobian = np.stack(rows)
    tangent = jacobian.T @ jacobian
    expected = tangent[5:, :5] @ np.linalg.solve(tangent[:5, :5], TASK.y_train)
    distances = []
    for alpha in (30.0, 300.0):
        flow = lnn.gradient_flow(
            posterior, key=KEY, num_initialisations=1, output_scale=alpha, gradient_tolerance=1e-7
        )
        np.testing.assert_allclose(flow.train_outputs[0], TASK.y_train, atol=1e-4)
        distances.append(np.max(np.abs(flow.test_outputs[0] - expected)))
    assert 0 < distances[1] < 0.2 * distances[0] < 0.2 * 0.1


@pytest.mark.slow
def test_wide_networks_are_those_of_the_tangent_kernel():
    """Mean and variance over initialisations at a time, before 1/N_1 is seen at its end."""
    data, number, time = small_task(), 2000, 0.7
    precisions = (3.0, 0.3)
    posterior = posterior_of(data, (200,), precisions=precisions)
    flow = lnn.gradient_flow(
        posterior, key=KEY, num_initialisations=number, rtol=1e-4, atol=1e-6, max_time=time
    )
    spec = spec_of(data, (200,), "erf", precisions, temperature=1e-6)
    expected = infinite_width_flow(Ensemble(spec, data), time=time)
    f = flow.test_outputs

    def deviations(theory):
        mean, variance = theory.predictive_mean, theory.predictive_variance
        squares = (f - f.mean(axis=0)) ** 2 * number / (number - 1)
        return np.array([*z_scores(f, mean), *z_scores(squares, variance)])

    assert worst(deviations(expected)) < SIGMAS
    assert worst(deviations(lnn.theory.infinite_width(Ensemble(spec, data)))) > 2 * SIGMAS
    assert worst(deviations(infinite_width_flow(Ensemble(spec, data), time=0.85))) > 2 * SIGMAS
    assert (
        worst(deviations(infinite_width_flow(Ensemble(spec, data), time=time, centred=True)))
        > 2 * SIGMAS
    )
    measured = lnn.summarise_flow(flow)
    for name in ("bias2", "variance", "train_error", "generalisation_error"):
        estimate, value = getattr(measured, name), getattr(expected, name).value
        assert abs(estimate.value - value) < SIGMAS * estimate.mcse, name


@pytest.mark.slow
@pytest.mark.parametrize("time", [0.4, np.inf])
def test_kernel_flow_from_draws_of_the_gaussian_process(time):
    """dr/dt = −Θ r integrated for many f(0) ~ GP(0, K); without f(0) the mean alone."""
    data = small_task(num_train=4, num_test=3)
    spec = spec_of(data, (50,), "tanh", (0.8, 1.2), temperature=0.1)
    x = np.concatenate([data.x_train, data.x_test])
    gram, tangent = nngp(spec, x), ntk(spec, x)
    rng = np.random.default_rng(0)
    start = rng.multivariate_normal(np.zeros(7), gram, size=40_000)
    until = 1e4 if np.isinf(time) else time
    pace = scipy.linalg.expm(-until * np.block([[tangent[:4, :4]]]))
    moved = np.linalg.solve(tangent[:4, :4], (np.eye(4) - pace) @ (data.y_train - start[:, :4]).T)
    f = start[:, 4:] + (tangent[4:, :4] @ moved).T
    found = infinite_width_flow(Ensemble(spec, data), time=time)
    assert worst(z_scores(f, found.predictive_mean)) < SIGMAS
    squares = (f - found.predictive_mean) ** 2
    assert worst(z_scores(squares, found.predictive_variance)) < SIGMAS
    left = (start[:, :4] - data.y_train) @ pace
    errors = (left**2).mean(axis=1)
    if np.isinf(time):
        assert found.train_error.value < 1e-20
    else:
        assert worst(z_scores(errors[:, None], np.array([found.train_error.value]))) < SIGMAS
    centred = infinite_width_flow(Ensemble(spec, data), time=time, centred=True)
    assert not centred.predictive_variance.any()
    np.testing.assert_allclose(centred.predictive_mean, found.predictive_mean, rtol=1e-12)
    several = replace(
        data, y_train=np.stack([data.y_train, -2 * data.y_train], 1),
        y_test=np.stack([data.y_test, data.y_test], 1),
    )  # fmt: skip
    both = infinite_width_flow(Ensemble(replace(spec, num_outputs=2), several), time=time)
    np.testing.assert_allclose(both.predictive_mean[:, 1], -2 * found.predictive_mean, rtol=1e-9)
    np.testing.assert_allclose(both.variance.value, 2 * found.variance.value, rtol=1e-9)


def test_ensemble_of_known_outputs():
    """bias² and variance are unbiased, and their errors those of repetitions."""
    rng = np.random.default_rng(1)
    y, mean, spread = rng.standard_normal(6), rng.standard_normal(6), 0.5 + rng.random(6)
    values = []
    for _ in range(400):
        f = mean + spread * rng.standard_normal((8, 6))
        zeros = np.zeros(8)
        of_each = (f[:, :2], f, zeros, zeros, zeros.astype(int))
        rest = np.ones(8), np.ones(8, int), np.ones(8, bool), ""
        flow = Flow(*of_each, y[:2], y, 0.0, None, None, *rest)
        found = lnn.summarise_flow(flow)
        numbers = [found.bias2, found.variance, found.generalisation_error, found.train_error]
        values.append([(n.value, n.mcse) for n in numbers])
    values = np.array(values)
    bias2, variance = np.mean((y - mean) ** 2), np.mean(spread**2)
    train = np.mean(((y - mean) ** 2 + spread**2)[:2])
    expected = np.array([bias2, variance, bias2 + variance, train])
    assert worst(z_scores(values[..., 0], expected)) < SIGMAS
    ratio = np.sqrt(np.mean(values[..., 1] ** 2, axis=0)) / values[..., 0].std(axis=0)
    assert np.all(np.abs(ratio - 1) < 0.2), ratio


@pytest.mark.slow_except(
    "<lambda>-GibbsPosterior",
    "<lambda>-output_scale must be",
    "<lambda>-num_initialisations",
    "<lambda>-max_time must be positive",
    "<lambda>-must not be negative",
    "<lambda>-at most 1, got 1.2",
    "<lambda>-unknown solver 'euler': write",
    "<lambda>-must be positive, got 0.0",
)
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: lnn.gradient_flow(lnn.MarginalisedPosterior.of(p), key=KEY), "GibbsPosterior"),
        (lambda p: lnn.gradient_flow(p, key=KEY, output_scale=0.0), "output_scale must be"),
        (lambda p: lnn.gradient_flow(p, key=KEY, num_initialisations=0), "num_initialisations"),
        (lambda p: lnn.gradient_flow(p, key=KEY, max_time=-1.0), "max_time must be positive"),
        (lambda p: lnn.gradient_flow(p, key=KEY, loss_tolerance=-1.0), "must not be negative"),
        (lambda p: lnn.gradient_flow(p, key=KEY, fitted_fraction=1.2), "at most 1, got 1.2"),
        (lambda p: lnn.gradient_flow(p, key=KEY, solver="euler"), "unknown solver 'euler': write"),
        (lambda p: lnn.summarise_flow(lnn.gradient_flow(p, key=KEY, num_initialisations=2)),
         "three initialisations at least, got 2"),
        (lambda p: infinite_width_flow(p.ensemble, time=0.0), "must be positive, got 0.0"),
    ],
)  # fmt: skip
def test_what_cannot_flow(call, message):
    with pytest.raises(InputError, match=message):
        call(posterior_of(TASK, (4,)))


@pytest.mark.slow
def test_flow_of_float32_weights():
    """Refused with tolerances below their rounding; with those that the error names it ends."""
    posterior = posterior_of(TASK, (4,), dtype=jnp.float32)
    with pytest.raises(InputError, match="rounding of float32 weights.*dtype=jax.numpy.float64"):
        lnn.gradient_flow(posterior, key=KEY)
    rough = {"rtol": 1e-5, "atol": 1e-6, "gradient_tolerance": 1e-2, "num_initialisations": 4}
    flow = lnn.gradient_flow(posterior, key=KEY, output_scale=2.0, **rough)
    assert flow.converged and np.all(np.isfinite(flow.test_outputs))


@pytest.mark.slow
def test_flow_that_did_not_get_there_says_so():
    flow = lnn.gradient_flow(posterior_of(TASK, (4,)), key=KEY, max_steps=3)
    assert not flow.converged and "after 3 steps" in flow.message and "max_steps" in flow.message
    assert not lnn.summarise_flow(flow).converged


def test_kernel_flow_of_what_it_does_not_describe():
    with pytest.raises(NotApplicable, match="squared loss, this is hinge"):
        infinite_width_flow(posterior_of(LABELLED, (4,), loss=lnn.Hinge()).ensemble)
    twice = replace(TASK, x_train=TASK.x_train[[0, 0, 1, 2, 3]])
    with pytest.raises(InputError, match="singular.*write a finite time"):
        infinite_width_flow(ensemble_of(twice))
    assert np.isfinite(infinite_width_flow(ensemble_of(twice), time=3.0).bias2.value)
