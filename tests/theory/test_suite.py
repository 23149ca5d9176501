"""What holds for all theories alike, and which of them are one another in a limit."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from cases import SEED, deviation, ensemble_of, small_task, spec_of, toy, two_outputs
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from langevin_nn.data.dataset import Dataset
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory import (
    THEORIES,
    evidence,
    gram_regression,
    one_layer,
    predict,
)
from langevin_nn.theory.effective.common import at_common_scale
from langevin_nn.theory.evidence import evidence_gradient
from langevin_nn.theory.predictive import predictive_distribution
from langevin_nn.types import InputError, NotApplicable, Patches

PATCHES = Patches((4, 4, 1), size=2, stride=2)
WHOLE = Patches((4, 4, 1), size=4, stride=1)


def case(theory, widths=(20,), outputs=1, **options):
    """A task and an ensemble that the theory describes."""
    data = toy() if outputs == 1 else two_outputs(toy())
    if theory == "convolutional":
        options = {"patches": PATCHES} | options
    return data, spec_of(data, widths, **options)


# Theory, and options of the ensemble: each with and without biases where that is another path.
SADDLES = [
    ("one_layer", {}),
    ("one_layer", {"biases": True}),
    ("global", {"widths": (20, 50, 35)}),
    ("global", {"widths": (20, 50), "activation": "relu", "biases": True}),
    ("nested", {"widths": (20, 50, 35)}),
    ("nested", {"widths": (30, 20), "activation": "gelu", "biases": True}),
    ("one_layer_nonodd", {"activation": "relu"}),
    ("one_layer_nonodd", {"activation": "gelu", "biases": True}),
    ("multi_output", {"outputs": 2}),
    ("multi_output", {"outputs": 2, "biases": True, "activation": "relu"}),
    ("convolutional", {}),
    ("convolutional", {"biases": True}),
]
EVIDENCES = [
    ("infinite_width", {"widths": (20, 50), "biases": True}),
    ("infinite_width", {"outputs": 2}),
    ("scale_mixture", {}),
    ("scale_mixture", {"widths": (20, 50), "biases": True}),
    *SADDLES,
]


def result_of(theory, **options):
    data, spec = case(theory, **options)
    return THEORIES[theory](Ensemble(spec, data))


# Two theories that are one: (theory, other, options).
TWINS = [
    ("multi_output", "one_layer", {"biases": True}),
    ("nested", "one_layer", {"activation": "gelu"}),
    ("global", "one_layer", {"biases": True}),
    ("one_layer_nonodd", "one_layer", {}),
    ("one_layer_nonodd", "one_layer", {"biases": True, "activation": "tanh"}),
    ("nested", "global", {"widths": (20, 50, 35), "activation": "relu"}),
    ("nested", "global", {"widths": (50, 20), "activation": "identity"}),
]


@pytest.mark.parametrize("theory, other, options", TWINS)
def test_theories_that_are_one(theory, other, options):
    one, two = result_of(theory, **options), result_of(other, **options)
    assert one.converged and two.converged
    assert deviation(one, two) < 1e-9
    np.testing.assert_allclose(one.log_evidence, two.log_evidence, rtol=1e-11)
    scale = [np.ravel(each.order_parameters)[0] for each in (one, two)]
    np.testing.assert_allclose(*scale, rtol=1e-9)


def test_one_patch_is_one_layer():
    data, spec = case("convolutional", patches=WHOLE, biases=True)
    dense = one_layer(Ensemble(replace(spec, patches=None), data))
    whole = THEORIES["convolutional"](Ensemble(spec, data))
    assert deviation(whole, dense) < 1e-9
    np.testing.assert_allclose(whole.order_parameters[0], dense.order_parameters, rtol=1e-9)


def test_outputs_with_one_target_share_it():
    """y₂ = −y₁ leaves nothing in the direction (1, 1): rotated, one output has all the signal."""
    data = toy()
    both = [np.stack([y, -y], axis=1) for y in (data.y_train, data.y_test)]
    twice = Dataset("twice", data.x_train, both[0], data.x_test, both[1])
    result = THEORIES["multi_output"](ensemble_of(twice))
    np.testing.assert_allclose(
        result.predictive_mean[:, 0], -result.predictive_mean[:, 1], atol=1e-12
    )
    order = np.array(result.order_parameters)
    np.testing.assert_allclose(order, order[::-1, ::-1], rtol=1e-10)
    assert order[0, 1] < -0.1


def test_targets_that_span_too_few_outputs_have_no_minimum_at_zero_temperature():
    data = two_outputs(toy())
    flat = Dataset("flat", data.x_train, data.y_train[:, :1] * [1, -1], data.x_test, data.y_test)
    result = THEORIES["multi_output"](ensemble_of(flat, (20,), temperature=0.0))
    assert not result.converged
    assert "the targets span 1 of 2 outputs" in result.message


LIMITS = [
    *SADDLES[::2],
    ("scale_mixture", {"widths": (20, 50)}),
    ("scale_mixture", {"biases": True}),
]


@pytest.mark.slow_except(
    "one_layer-options0",
    "global-options1",
    "nested-options2",
    "one_layer_nonodd-options3",
    "multi_output-options4",
    "scale_mixture-options6",
    "scale_mixture-options7",
)
@pytest.mark.parametrize("theory, options", LIMITS)
def test_large_widths_are_infinite_width(theory, options):
    """As 1/N: ten times the width, a tenth of the distance."""
    depth = len(options.get("widths", (1,)))
    distances = []
    for width in (10**6, 10**7):
        data, spec = case(theory, **options | {"widths": (width,) * depth})
        wide = THEORIES["infinite_width"](Ensemble(spec, data))
        distances.append(deviation(THEORIES[theory](Ensemble(spec, data)), wide))
    assert distances[0] < 1e-3
    assert abs(distances[0] / distances[1] - 10) < 0.1


@pytest.mark.slow_except(
    "infinite_width-options0",
    "infinite_width-options1",
    "scale_mixture-options2",
    "scale_mixture-options3",
    "one_layer-options4",
    "one_layer-options5",
    "global-options6",
    "global-options7",
    "nested-options8",
    "one_layer_nonodd-options10",
    "multi_output-options12",
    "multi_output-options13",
    "convolutional-options15",
)
@pytest.mark.parametrize("theory, options", EVIDENCES)
def test_derivatives_of_the_evidence(theory, options):
    """Those in λ, along one direction, against differences; that in T against the training error.

    d/dβ (log p + (P/2) log 2πT) = −½ Σ ⟨(y − f)²⟩, since β multiplies the misfit alone.
    """
    data, spec = case(theory, **options)
    found = evidence(Ensemble(spec, data), theory)
    rng = np.random.default_rng(SEED + 12)
    slopes = {
        "prior_precisions": found.precision_gradient,
        "bias_precisions": found.bias_precision_gradient or (),
    }
    directions = {field: rng.uniform(-1, 1, len(slope)) for field, slope in slopes.items()}

    def log_evidence(step):
        moved = {
            field: tuple(np.array(getattr(spec, field)) + step * direction)
            for field, direction in directions.items()
            if direction.size
        }
        return THEORIES[theory](Ensemble(replace(spec, **moved), data)).log_evidence

    step = 1e-4
    difference = (log_evidence(step) - log_evidence(-step)) / (2 * step)
    slope = sum(float(np.dot(directions[field], slopes[field])) for field in slopes)
    np.testing.assert_allclose(slope, difference, rtol=1e-5, atol=1e-6)
    result = THEORIES[theory](Ensemble(spec, data))
    temperature, number = spec.temperature, data.y_train.size
    in_beta = -(temperature**2) * found.temperature_gradient - number * temperature / 2
    misfit = data.num_train * result.train_error.value / 2
    np.testing.assert_allclose(in_beta, -misfit, rtol=1e-9)


def test_the_evidence_chooses_a_precision():
    data, spec = case("one_layer")

    def objective(log_precision):
        there = replace(spec, prior_precisions=(1.0, float(np.exp(log_precision[0]))))
        found = evidence(Ensemble(there, data))
        return -found.log_evidence, [-found.precision_gradient[1] * np.exp(log_precision[0])]

    best = minimize(objective, [0.0], jac=True, method="BFGS", options={"gtol": 1e-6})
    grid = np.exp(best.x[0] + np.linspace(-1, 1, 41))
    scan = one_layer(Ensemble(spec, data), readout_precision=grid).log_evidence
    assert np.argmax(scan) == 20
    np.testing.assert_allclose(-best.fun, scan[20], rtol=1e-9)


# An order parameter that is off its saddle point by this much is seen.
@pytest.mark.parametrize("theory, options", SADDLES)
def test_predictions_are_those_of_the_renormalised_gram_matrix(theory, options):
    """Mean and variance by a direct solve, and −2 log p + const at Q* and beside it."""
    data, spec = case(theory, **options)
    result = THEORIES[theory](Ensemble(spec, data))
    orders = np.array(result.order_parameters)
    gram, cross, diagonal = renormalised(theory, spec, data, orders)
    y = data.y_train.T.ravel()
    noisy = gram + spec.temperature * np.eye(len(y))
    mean = cross @ np.linalg.solve(noisy, y)
    variance = diagonal - np.sum(cross * np.linalg.solve(noisy, cross.T).T, axis=1)
    np.testing.assert_allclose(result.predictive_mean.T.ravel(), mean, atol=1e-9)
    np.testing.assert_allclose(result.predictive_variance.T.ravel(), variance, atol=1e-9)

    def action(orders):
        gram = renormalised(theory, spec, data, orders)[0]
        noisy = gram + spec.temperature * np.eye(len(y))
        likelihood = multivariate_normal.logpdf(y, np.zeros(len(y)), noisy)
        return prior_action(theory, spec, orders) - 2 * likelihood

    np.testing.assert_allclose(result.log_evidence, -0.5 * action(orders), rtol=1e-9)
    rng = np.random.default_rng(SEED + 11)
    for direction in rng.standard_normal((4, *orders.shape)):
        if orders.ndim == 2:
            direction = direction + direction.T
        step = 1e-4 * direction
        here, up, down = action(orders), action(orders + step), action(orders - step)
        assert abs(up - down) < 1e-3 * abs(up + down - 2 * here) + 1e-7
        if theory != "one_layer_nonodd":
            assert up > here < down
    if theory == "one_layer_nonodd":  # a maximum in R
        step = np.array([0.0, 1e-4])
        assert action(orders + step) < action(orders) > action(orders - step)


def renormalised(theory, spec, data, orders):
    """K_R at the training points, between test and training, and at the test points.

    By plain NumPy from duals, one layer after the other.
    """
    x = np.concatenate([data.x_train, data.x_test])
    shifts = [0.0] * 9 if spec.bias_precisions is None else [1 / p for p in spec.bias_precisions]
    lambdas, dual = spec.prior_precisions, spec.activation.dual

    def layer(gram, scale):
        a = np.diagonal(gram)
        return scale * np.asarray(dual(*map(jnp.asarray, (a[:, None], a[None, :], gram))))

    def first(left, right):
        return left @ right.T / (lambdas[0] * left.shape[1]) + shifts[0]

    if theory == "convolutional":
        fields = np.moveaxis(x[:, spec.patches.indices()], 1, 0)
        n, size = len(fields), len(x)
        everything = fields.reshape(n * size, -1)
        pairs = layer(first(everything, everything), 1 / lambdas[1]).reshape(n, size, n, size)
        whole = np.einsum("ij,ipjq->pq", orders, pairs) / n
    else:
        whole = first(x, x)
        for number, precision in enumerate(lambdas[1:]):
            whole = whole + (shifts[number] if number else 0.0)
            whole = layer(whole, (orders[number] if theory == "nested" else 1.0) / precision)
        if theory == "global":
            whole = np.prod(orders) * whole
        if theory == "one_layer":
            whole = orders[0] * whole
        if theory == "one_layer_nonodd":
            variances = np.diagonal(first(x, x))
            mean = {
                "relu": np.sqrt(variances / (2 * np.pi)),
                "gelu": variances / np.sqrt(2 * np.pi * (1 + variances)),
            }[spec.activation.name] / np.sqrt(lambdas[1])
            outer = np.outer(mean, mean)
            whole = orders[0] * (whole - outer) + outer / (1 + orders[1])
    number = data.num_train
    if theory == "multi_output":
        parts = [np.kron(orders, part[:, :number]) for part in (whole[:number], whole[number:])]
        bias = shifts[len(lambdas) - 1] * np.eye(len(orders))
        train = parts[0] + np.kron(bias, np.ones((number, number)))
        cross = parts[1] + np.kron(bias, np.ones((data.num_test, number)))
        diagonal = np.kron(np.diagonal(orders), np.diagonal(whole)[number:]) + bias[0, 0]
        return train, cross, diagonal
    whole = whole + shifts[len(lambdas) - 1]
    return whole[:number, :number], whole[number:, :number], np.diagonal(whole)[number:]


def prior_action(theory, spec, orders):
    """The part of S that does not see the data."""
    if theory == "one_layer_nonodd":
        scale, r = orders
        return spec.hidden_widths[0] * (-scale * r + np.log1p(r))
    if orders.ndim == 2:
        trace = np.trace(orders) - len(orders) - np.linalg.slogdet(orders)[1]
        return spec.hidden_widths[0] * trace
    return np.sum(np.array(spec.hidden_widths) * (orders - 1 - np.log(orders)))


# Prior draws of all hidden weights give p(y | X) itself: E[N(y; 0, T + K_W)].
DRAWN = [
    ("one_layer", {}),
    ("one_layer_nonodd", {"activation": "relu"}),
    ("global", {"second": True}),
    ("multi_output", {"outputs": 2}),
    ("convolutional", {"patches": Patches((1, 6, 1), size=1, stride=1)}),
]


@pytest.mark.slow_except(
    "one_layer-options0", "one_layer_nonodd-options1", "global-options2", "multi_output-options3"
)
@pytest.mark.parametrize("theory, options", DRAWN)
def test_evidence_against_networks_drawn_from_the_prior(theory, options):
    """For a Gaussian s̄·σ the saddle point misses O(1/N): twice the width, half the distance.

    The activation is the identity, or for relu the features are Gaussian with relu's mean.
    """
    distances = [evidence_distance(theory, width, **options) for width in (15, 30)]
    ratio = distances[0][0] / distances[1][0]
    error = ratio * np.hypot(*(e / d for d, e in distances))
    assert error < 0.2
    assert abs(ratio - 2) < 0.25 + 5 * error


def evidence_distance(theory, width, activation="identity", second=False, outputs=1, **options):
    """(Drawn log evidence − theory's, its standard error) at P = 3."""
    data = small_task(num_train=3, num_test=2, in_size=6)
    data = two_outputs(data) if outputs == 2 else data
    widths = (width, width) if second else (width,)
    spec = spec_of(data, widths, activation, temperature=0.3, **options)
    rng = np.random.default_rng(SEED + 13)
    draws = 60_000
    grams = np.zeros((draws, 3, 3))
    if theory == "one_layer_nonodd":
        gram = np.asarray(gram_regression(Ensemble(spec, data)).eigenvectors)
        gram = (gram * gram_regression(Ensemble(spec, data)).eigenvalues) @ gram.T
        mean = np.sqrt(np.sum(data.x_train**2, axis=1) / 6 / (2 * np.pi))
        root = np.linalg.cholesky(gram - np.outer(mean, mean))
        for _ in range(width):
            unit = mean + rng.standard_normal((draws, 3)) @ root.T
            grams += np.einsum("ip,iq->ipq", unit, unit) / width
    else:
        inputs = data.x_train[:, :, None] if theory == "convolutional" else data.x_train[:, None]
        covariance = np.einsum("pnm,qnm->pq", inputs, inputs) / inputs[0].size
        if theory == "convolutional":
            for _ in range(width):
                unit = data.x_train * rng.standard_normal((draws, 1, 1))
                grams += unit @ np.swapaxes(unit, 1, 2) / (6 * width)
        else:
            root = np.linalg.cholesky(covariance)
            scale = 1.0 if not second else rng.gamma(width / 2, 2 / width, draws)[:, None, None]
            for _ in range(width):
                unit = rng.standard_normal((draws, 3)) @ root.T
                grams += np.einsum("ip,iq->ipq", unit, unit) / width
            grams = grams * scale
    noisy = grams + 0.3 * np.eye(3)
    targets = data.y_train.reshape(3, -1)
    solved = np.linalg.solve(noisy, np.broadcast_to(targets, (draws, *targets.shape)))
    misfit = np.sum(targets * solved, axis=(1, 2))
    size = targets.shape[1]
    logs = -0.5 * (misfit + size * np.linalg.slogdet(noisy)[1] + 3 * size * np.log(2 * np.pi))
    likelihood = np.exp(logs)
    estimate, error = likelihood.mean(), likelihood.std() / np.sqrt(draws)
    expected = THEORIES[theory](Ensemble(spec, data)).log_evidence
    return np.log(estimate) - expected, error / estimate


def test_deep_linear_saddle_solves_its_equation():
    """1 − Q = α (1 − s/Q^L) at T → 0 (Li and Sompolinsky 2021, PRX 11, 031059)."""
    data = small_task(num_train=8, num_test=4, in_size=12)
    for depth in (1, 2, 4):
        spec = spec_of(data, (16,) * depth, "identity", temperature=0.0)
        result = THEORIES["global"](Ensemble(spec, data))
        q, s = result.order_parameters[0], predict(Ensemble(spec, data), []).criterion
        np.testing.assert_allclose(result.order_parameters, q, rtol=1e-12)
        np.testing.assert_allclose(1 - q, 0.5 * (1 - s / q**depth), rtol=1e-9)


@pytest.mark.parametrize("theory, options", SADDLES[1::2])
def test_zero_temperature_is_the_limit(theory, options):
    data, spec = case(theory, **options)
    zero, cold = (
        THEORIES[theory](Ensemble(replace(spec, temperature=t), data)) for t in (0.0, 1e-9)
    )
    assert zero.converged
    assert zero.train_error.value < 1e-12
    assert deviation(zero, cold) < 1e-5


def test_sweep_is_the_points_one_by_one():
    data = toy()
    spec = spec_of(data, (30,), precisions=(0.9, 1.4), biases=True)
    widths, precisions = np.array([[5], [500]]), np.array([0.2, 1.4, 30.0])
    sweep = one_layer(
        Ensemble(spec, data), width=widths, readout_precision=precisions, temperature=0.02
    )
    assert sweep.bias2.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        there = replace(
            spec, hidden_widths=(int(widths[i, 0]),), prior_precisions=(0.9, precisions[j]),
            temperature=0.02,
        )  # fmt: skip
        alone = one_layer(Ensemble(there, data))
        for name in ("bias2", "variance", "generalisation_error", "train_error", "test_accuracy"):
            np.testing.assert_allclose(
                getattr(sweep, name)[i, j], getattr(alone, name).value, rtol=1e-9
            )
        np.testing.assert_allclose(
            sweep.order_parameter[i, j], alone.order_parameters[0], rtol=1e-9
        )
        np.testing.assert_allclose(sweep.log_evidence[i, j], alone.log_evidence, rtol=1e-9)


@pytest.mark.parametrize(
    "points, message",
    [
        ({"width": [3, 4.5]}, "width must be whole numbers from 1, got 4.5"),
        ({"readout_precision": [1.0, -2.0]}, "readout_precision must be positive.*got -2"),
        ({"temperature": np.nan}, "temperature must be zero or positive, and finite, got nan"),
        ({"width": [1, 2], "temperature": [1, 2, 3]}, r"broadcast, got shapes .*\(2,\).*\(3,\)"),
        ({"width": "wide"}, "must be numbers or arrays"),
        ({"width": []}, "are empty"),
    ],
)
def test_bad_points_of_a_sweep(points, message):
    data = toy()
    with pytest.raises(InputError, match=message):
        one_layer(ensemble_of(data), **points)


def test_predictive_distribution_of_the_mixture_is_that_of_drawn_scales():
    data = small_task()
    spec = spec_of(data, (4,), temperature=0.2)
    found = predictive_distribution(Ensemble(spec, data), data.x_test)
    mixture = THEORIES["scale_mixture"](Ensemble(spec, data))
    np.testing.assert_allclose(found.mean, mixture.predictive_mean, rtol=1e-9)
    np.testing.assert_allclose(found.variance, mixture.predictive_variance, rtol=1e-9)
    f = np.linspace(-12, 12, 4001)
    density = found.density(f)
    np.testing.assert_allclose(np.trapezoid(density, f, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.trapezoid(f * density, f, axis=1), found.mean, atol=1e-6)
    above = np.trapezoid(np.where(f > 0.5, density, 0), f, axis=1)
    np.testing.assert_allclose(found.probability_above(0.5), above, atol=3e-3)
    centred = np.square(np.square(f - found.mean[:, None]))
    kurtosis = np.trapezoid(centred * density, f, axis=1) / found.variance**2
    assert np.all(kurtosis > 3.05)  # heavier than a Gaussian's


def test_predictive_distribution_of_a_saddle_point_is_gaussian():
    data = two_outputs(toy())
    found = predictive_distribution(ensemble_of(data), data.x_test[:3], "multi_output")
    assert found.mean.shape == (3, 2)
    expected = np.exp(-0.5) / np.sqrt(2 * np.pi * found.variance)
    value = found.density(float(found.mean[0, 0] + np.sqrt(found.variance[0, 0])))
    np.testing.assert_allclose(value[0, 0], expected[0, 0], rtol=1e-12)


ASKED = {
    "predict": predict,
    "evidence": evidence,
    "sweep": lambda ensemble: one_layer(ensemble, width=[3, 4]),
    "distribution": lambda each: predictive_distribution(each, each.data.x_test),
    **THEORIES,
}
ASKED_OF_DENSE = [name for name in ASKED if name != "convolutional"]


@pytest.mark.parametrize("name", ASKED_OF_DENSE)
def test_targets_that_do_not_fit_the_outputs_are_refused(name):
    data = toy()
    with pytest.raises(InputError, match=r"has 1 output\(s\), the targets have shape \(40, 2\)"):
        ASKED[name](Ensemble(spec_of(data), two_outputs(data)))


@pytest.mark.parametrize("name", ["infinite_width", "multi_output", "width_expansion"])
def test_outputs_that_have_no_targets_are_refused(name):
    data = toy()
    with pytest.raises(InputError, match=r"has 2 output\(s\), the targets have shape \(40,\)"):
        THEORIES[name](Ensemble(spec_of(two_outputs(data)), data))


def mine(ensemble):
    """A theory of a user's own: `one_layer` at half the width."""
    return at_common_scale("mine", (ensemble.spec.hidden_widths[0] // 2,), ensemble)


def test_a_solution_of_ones_own_has_what_it_carries(monkeypatch):
    data, spec = case("one_layer")
    monkeypatch.setitem(THEORIES, "mine", mine)
    ensemble, half = (Ensemble(spec, data).at(hidden_widths=(width,)) for width in (20, 10))
    assert evidence(ensemble, "mine") == evidence(half)
    one, other = (
        predictive_distribution(each, data.x_test, name)
        for each, name in ((ensemble, "mine"), (half, "one_layer"))
    )
    np.testing.assert_array_equal(one.variance, other.variance)
    numbers = predict(ensemble, "mine").numbers_only()
    assert numbers.results["mine"].converged and numbers.solutions["mine"].covariance is None


def test_numbers_alone_have_no_gradient_and_no_distribution(monkeypatch):  # FAULTS 1.3
    data, spec = case("one_layer")
    monkeypatch.setitem(THEORIES, "mine", lambda ensemble: mine(ensemble).generalisation)
    monkeypatch.setitem(THEORIES, "wrapped", lambda ensemble: one_layer(ensemble))
    monkeypatch.setitem(THEORIES, "global", THEORIES["mine"])
    found = predict(Ensemble(spec, data), ["mine", "wrapped", "global", "one_layer"])
    assert [result.name for result in found.results.values()] == list(found.results)
    for name in ("mine", "wrapped", "global"):
        assert found.results[name].converged
        for ask in (
            lambda name=name: evidence(Ensemble(spec, data), name),
            lambda name=name: evidence_gradient(Ensemble(spec, data), found.solutions[name]),
            lambda name=name: predictive_distribution(Ensemble(spec, data), data.x_test, name),
        ):
            with pytest.raises(NotApplicable, match=name):
                ask()


def test_a_theory_that_fails_ends_no_other(monkeypatch):  # FAULTS 1.2
    data, spec = case("one_layer")

    def failing(error):
        def theory(ensemble):
            if isinstance(error, Exception):
                raise error
            return replace(one_layer(ensemble), predictive_mean=np.full(data.num_test, error))

        return theory

    errors = {
        "newton": ValueError("array must not contain infs or NaNs"),
        "cholesky": np.linalg.LinAlgError("Matrix is not\npositive definite"),
        "overflow": FloatingPointError("overflow"),
        "zero": ZeroDivisionError("division by zero"),
        "memory": MemoryError(),
        "refused": InputError("temperature 0 needs a regular Gram matrix"),
        "nan": np.nan,
    }
    for name, error in errors.items():
        monkeypatch.setitem(THEORIES, name, failing(error))
    found = predict(Ensemble(spec, data), [*errors, "one_layer"])
    assert found.results["one_layer"].converged
    for name in errors:
        result = found.results[name]
        assert not result.converged and result.message and "\n" not in result.message
    assert "positive definite" in found.results["cholesky"].message
    assert "MemoryError" in found.results["memory"].message
    assert "not finite" in found.results["nan"].message


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda spec, data, regression=None: None, r"wrong is no function of an Ensemble"),
        (lambda ensemble: 5.0, "what wrong gives must be a Generalisation, got 5.0"),
    ],
)
def test_a_function_that_is_no_theory_is_refused(function, message, monkeypatch):
    data, spec = case("one_layer")
    monkeypatch.setitem(THEORIES, "wrong", function)
    with pytest.raises(InputError, match=message):
        evidence(Ensemble(spec, data), "wrong")


def test_a_theory_that_does_not_apply_has_no_evidence():
    data = toy()
    with pytest.raises(NotApplicable, match="one hidden layer"):
        evidence(ensemble_of(data, (5, 5)))
    with pytest.raises(InputError, match="unknown theory 'one_layr'"):
        evidence(ensemble_of(data), "one_layr")
