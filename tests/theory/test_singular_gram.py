"""Singular Gram matrices: every theory against an equal problem whose Gram matrix is regular.

Two such pairs are exact for any K, any order parameter and any temperature. A linear network with
more examples than inputs sees X = U Σ Vᵀ as the examples Σ Vᵀ with the labels Uᵀy. And an example
that is there twice, with the labels y + δ and y − δ, is one with the label y at half the
temperature. What the labels have beside that is noise, whose part of log p(y) is known.
"""

import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg
from cases import SEED, ensemble_of, small_task, spec_of, two_outputs

from langevin_nn.data.dataset import Dataset
from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory import (
    THEORIES,
    evidence,
    infinite_width_flow,
    one_layer,
    order_parameter_distribution,
    predict,
    predictive_distribution,
)
from langevin_nn.theory.kernels.nngp import gram_blocks
from langevin_nn.theory.kernels.ntk import ntk
from langevin_nn.types import EnsembleSpec, InputError, NotApplicable, Patches

TEMPERATURES = (1e-3, 1e-8, 1e-12)
PATCHES = Patches((1, 5, 1), size=1, stride=1)
# Theory, and options of the ensemble.
CASES = [
    ("infinite_width", {}),
    ("one_layer", {}),
    ("one_layer_nonodd", {}),
    ("global", {"widths": (20, 9)}),
    ("nested", {"widths": (20, 9)}),
    ("scale_mixture", {}),
    ("scale_mixture", {"widths": (20, 9)}),
    ("width_expansion", {}),
    ("matched", {}),
    ("multi_output", {"outputs": 2}),
    ("convolutional", {"patches": PATCHES}),
]
COMPILED = ("nested", "convolutional", "one_layer_nonodd", "infinite_width")


def marked(slow, without=()):
    """The cases, with some theories among the slow tests and some left out."""
    return [
        pytest.param(*case, marks=[pytest.mark.slow] if case[0] in slow else [])
        for case in CASES
        if case[0] not in without
    ]


DERIVATIVES = marked(COMPILED, without=("width_expansion", "matched"))


def solve(theory, spec, data):
    """Few hidden units where they are drawn, as many in both problems."""
    if theory in ("width_expansion", "matched"):
        return THEORIES[theory](Ensemble(spec, data), num_units=640)
    return THEORIES[theory](Ensemble(spec, data))


def more_examples_than_inputs(outputs):
    """Seventeen examples of five inputs, and five that a linear network cannot tell from them."""
    data = small_task(num_train=17, in_size=5)
    data = data if outputs == 1 else two_outputs(data)
    left, values, right = np.linalg.svd(data.x_train, full_matrices=False)
    few = replace(data, x_train=values[:, None] * right, y_train=left.T @ data.y_train)
    noise = np.sum(data.y_train**2) - np.sum(few.y_train**2)
    return data, few, noise


def twice(outputs, opposite):
    """Six examples, and the same with every input twice; labels y ± δ, or y twice."""
    data = small_task()
    data = data if outputs == 1 else two_outputs(data)
    delta = np.random.default_rng(SEED + 3).standard_normal(data.y_train.shape) * opposite
    if opposite:  # (y, −y)
        data = replace(
            data, y_train=data.y_train * (np.arange(6) % 2).reshape(6, *[1] * (outputs - 1))
        )
    x, y = np.concatenate([data.x_train] * 2), (data.y_train + delta, data.y_train - delta)
    return replace(data, x_train=x, y_train=np.concatenate(y)), data, np.sum(2 * delta**2)


def assert_same(one, other, scale=1.0):
    assert one.converged and other.converged
    np.testing.assert_allclose(one.order_parameters, other.order_parameters, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(one.predictive_mean, other.predictive_mean, atol=1e-8)
    spread = np.max(np.abs(other.predictive_variance))
    np.testing.assert_allclose(
        one.predictive_variance, other.predictive_variance, rtol=1e-6, atol=1e-7 * spread + 1e-12
    )


@pytest.mark.parametrize("theory, options", marked(("nested", "convolutional")))
def test_linear_network_with_more_examples_than_inputs(theory, options):  # FAULTS 1.1, 1.2
    outputs = options.get("outputs", 1)
    data, few, noise = more_examples_than_inputs(outputs)
    options = {key: value for key, value in options.items() if key != "outputs"}
    for temperature in (*TEMPERATURES, 0.0):
        spec = spec_of(data, **{"activation": "identity", "temperature": temperature} | options)
        found, expected = (solve(theory, spec, each) for each in (data, few))
        assert_same(found, expected)
        total = 5 * expected.train_error.value + noise
        np.testing.assert_allclose(17 * found.train_error.value, total, rtol=1e-9)
        if temperature == 0:
            assert found.log_evidence is None
            continue
        number = 12 * outputs
        beside = number * np.log(2 * np.pi * temperature) + noise / temperature
        np.testing.assert_allclose(
            found.log_evidence, expected.log_evidence - beside / 2, rtol=1e-9
        )


@pytest.mark.parametrize("opposite", [False, True], ids=["equal", "opposite"])
@pytest.mark.parametrize("theory, options", marked(("nested", "convolutional")))
def test_examples_that_are_there_twice(theory, options, opposite):  # FAULTS 1.1, 1.2
    outputs = options.get("outputs", 1)
    data, once, noise = twice(outputs, opposite)
    options = {key: value for key, value in options.items() if key != "outputs"}
    activation = "relu" if theory in ("one_layer_nonodd", "nested") else "erf"
    for temperature in TEMPERATURES:
        spec = spec_of(data, **{"activation": activation, "biases": True} | options)
        found = solve(theory, replace(spec, temperature=temperature), data)
        expected = solve(theory, replace(spec, temperature=temperature / 2), once)
        assert_same(found, expected)
        total = 2 * expected.train_error.value * 6 + noise
        np.testing.assert_allclose(12 * found.train_error.value, total, rtol=1e-6, atol=1e-11)
        beside = 6 * outputs * np.log(4 * np.pi * temperature) + noise / temperature
        np.testing.assert_allclose(
            found.log_evidence, expected.log_evidence - beside / 2, rtol=1e-8
        )


@pytest.mark.slow_except(
    "infinite_width-options0",
    "one_layer-options1",
    "one_layer_nonodd-options2",
    "nested-options4",
    "scale_mixture-options5",
    "multi_output-options7",
    "convolutional-options8",
)
@pytest.mark.parametrize("theory, options", DERIVATIVES)
def test_derivatives_of_the_evidence(theory, options):  # FAULTS 1.1
    outputs = options.get("outputs", 1)
    data, once, noise = twice(outputs, opposite=True)
    options = {key: value for key, value in options.items() if key != "outputs"}
    for temperature in TEMPERATURES:
        spec = spec_of(data, **{"activation": "relu", "biases": True} | options)
        found = evidence(Ensemble(replace(spec, temperature=temperature), data), theory)
        expected = evidence(Ensemble(replace(spec, temperature=temperature / 2), once), theory)
        for name in ("precision_gradient", "bias_precision_gradient"):
            slopes = [getattr(each, name) for each in (found, expected)]
            np.testing.assert_allclose(*slopes, rtol=1e-5, atol=1e-6 * np.max(np.abs(slopes[1])))
        beside = noise / temperature**2 - 6 * outputs / temperature
        np.testing.assert_allclose(
            found.temperature_gradient, (expected.temperature_gradient + beside) / 2, rtol=1e-6
        )


def noise_alone():
    """FAULTS 1.1: a hundred labels that twenty inputs cannot explain."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 20)), rng.normal(size=100)
    return Dataset("noise", x, y, x[:5], y[:5])


def linear(widths, temperature):
    precisions = (1.0,) * (len(widths) + 1)
    return EnsembleSpec(20, widths, ACTIVATIONS["identity"], precisions, temperature)


def test_the_numbers_of_noise_alone():  # FAULTS 1.1
    result = one_layer(Ensemble(linear((50,), 1e-8), noise_alone()))
    np.testing.assert_allclose(result.order_parameters, 0.7224301547, rtol=1e-9)
    np.testing.assert_allclose(result.bias2.value, 0.9025330340, rtol=1e-9)
    np.testing.assert_allclose(result.train_error.value, 0.8129396683, rtol=1e-9)


def test_deep_linear_networks_at_low_temperature():  # FAULTS 1.2
    """Q of T = 1e-6 is that of T = 1e-4 but for terms of the order of T."""
    warm, cold, coldest = (
        predict(Ensemble(linear((50, 50), temperature), noise_alone()))
        for temperature in (1e-4, 1e-6, 1e-12)
    )
    for name in ("global", "nested", "scale_mixture"):
        orders = [each.results[name].order_parameters for each in (warm, cold, coldest)]
        assert all(each.results[name].converged for each in (warm, cold, coldest))
        np.testing.assert_allclose(orders[1], orders[0], rtol=1e-4)
        np.testing.assert_allclose(orders[2], orders[1], rtol=1e-6)


@pytest.mark.parametrize("temperature", [1e-18, 1e-30, 1e-300, 0.0])
def test_temperatures_below_the_resolution_are_the_limit(temperature):  # FAULTS 5, T = 1e-18
    data = noise_alone()
    for widths in ((50,), (7,), (50, 7)):
        limit, found = (
            predict(Ensemble(linear(widths, each), data), ["global", "scale_mixture"]).results
            for each in (1e-10, temperature)
        )
        for name, result in found.items():
            assert result.converged, result.message
            np.testing.assert_allclose(
                result.order_parameters, limit[name].order_parameters, rtol=1e-7
            )
            np.testing.assert_allclose(result.bias2.value, limit[name].bias2.value, rtol=1e-7)


def test_one_layer_at_many_points_is_one_by_one():  # FAULTS 1.1
    data, spec = noise_alone(), linear((50,), 0.1)
    temperatures = np.array([1e-3, 1e-8, 1e-12, 0.0])
    many = one_layer(
        Ensemble(spec, data), temperature=temperatures, readout_precision=[[0.3], [4.0]]
    )
    for i, j in np.ndindex(2, 4):
        there = replace(spec, temperature=temperatures[j], prior_precisions=(1.0, (0.3, 4.0)[i]))
        alone = one_layer(Ensemble(there, data))
        for name in ("bias2", "variance", "train_error"):
            number, rounding = getattr(alone, name).value, 20 * np.finfo(float).eps
            # The variance is k − kᵀA⁻¹k, of 20 inputs: a difference of numbers of order one.
            np.testing.assert_allclose(getattr(many, name)[i, j], number, rtol=1e-9, atol=rounding)
        np.testing.assert_allclose(many.order_parameter[i, j], alone.order_parameters[0])
        evidence_there = np.nan if alone.log_evidence is None else alone.log_evidence
        np.testing.assert_allclose(many.log_evidence[i, j], evidence_there, rtol=1e-12)


def test_distributions_at_low_temperature():  # FAULTS 1.1
    data, spec = noise_alone(), linear((50,), 0.1)
    few = replace(spec, temperature=1e-3), replace(spec, temperature=1e-12)
    orders = [order_parameter_distribution(Ensemble(each, data)) for each in few]
    np.testing.assert_allclose([each.moment(0) for each in orders], 1, rtol=1e-8)
    np.testing.assert_allclose(orders[0].moment(1), orders[1].moment(1), rtol=1e-3)
    own = [predictive_distribution(Ensemble(each, data), data.x_test) for each in few]
    np.testing.assert_allclose(own[0].mean, own[1].mean, rtol=1e-3)
    at_an_example = predictive_distribution(
        Ensemble(replace(spec, temperature=0.0), data), np.zeros((1, 20))
    )
    np.testing.assert_array_equal(at_an_example.density(np.array([0.0, 1.0])), [[np.inf, 0.0]])
    np.testing.assert_allclose(at_an_example.probability_above(-1.0), [1.0], rtol=1e-14)


def test_zero_temperature_has_no_evidence_where_the_gram_matrix_is_singular():
    with pytest.raises(NotApplicable, match="no limit at T = 0.*singular"):
        evidence(Ensemble(linear((50,), 0.0), noise_alone()))


def test_a_bias_that_explains_what_the_weights_cannot_needs_a_temperature():
    """Linear regression with a bias: the examples leave the range of K, not that of K + V Vᵀ."""
    data = noise_alone()
    spec = replace(linear((), 1e-9), bias_precisions=(2.0,))
    found = THEORIES["infinite_width"](Ensemble(spec, data))
    design = np.column_stack([data.x_train, np.ones(100)])
    least_squares = np.linalg.lstsq(design, data.y_train)[0]
    mean = np.column_stack([data.x_test, np.ones(5)]) @ least_squares
    np.testing.assert_allclose(found.predictive_mean, mean, atol=1e-6)
    with pytest.raises(InputError, match="biases.*20|80 of 100 eigenvalues.*higher temperature"):
        THEORIES["infinite_width"](Ensemble(replace(spec, temperature=0.0), data))


@pytest.mark.parametrize("activation", ["erf", "identity"])
def test_gradient_flow_of_examples_that_are_there_twice(
    activation,
):  # FAULTS 1.1, by the tangent kernel
    """The slope of ½Σ(y − f)² is twice that of the examples once: time runs twice as fast."""
    data, once, noise = twice(1, opposite=True)
    spec = spec_of(data, (20,), activation)
    for time in (1.0, 1e8, 1e20):
        found = infinite_width_flow(Ensemble(spec, data), time=time)
        expected = infinite_width_flow(Ensemble(spec, once), time=2 * time)
        np.testing.assert_allclose(found.predictive_mean, expected.predictive_mean, atol=1e-9)
        error = expected.train_error.value + noise / 12
        np.testing.assert_allclose(found.train_error.value, error, rtol=1e-9)


def with_targets(data, size, y):
    """The first examples with targets that `Dataset` need not take: all equal, or only one."""
    made = replace(data)
    object.__setattr__(made, "x_train", data.x_train[:size])
    object.__setattr__(made, "y_train", np.broadcast_to(y, (size, *data.y_train.shape[1:])).copy())
    return made


@pytest.mark.slow
@pytest.mark.exhaustive_except("0.0-1-1.5", "1e-12-6-1.5", "0.1-6-0.0")
@pytest.mark.parametrize("size, target", [(1, 1.5), (6, 1.5), (6, 0.0)])
@pytest.mark.parametrize("temperature", [0.0, 1e-12, 0.1])
def test_one_example_and_constant_targets(size, target, temperature):  # FAULTS 5, P = 1
    for theory, options in CASES:
        if theory in ("width_expansion", "matched"):
            continue
        data = small_task()
        data = data if options.get("outputs", 1) == 1 else two_outputs(data)
        data = with_targets(data, size, target)
        options = {key: value for key, value in options.items() if key != "outputs"}
        spec = spec_of(data, **{"widths": (20,), "temperature": temperature} | options)
        result = THEORIES[theory](Ensemble(spec, data))
        assert result.converged, (theory, result.message)
        if target == 0:
            np.testing.assert_allclose(result.predictive_mean, 0, atol=1e-12)
            assert np.all(np.diagonal(np.atleast_2d(result.order_parameters)) <= 1)


def test_zero_targets_at_zero_temperature_have_a_minimum_below_the_width():
    """Q* = 1 − P/N_1 there; for P ≥ N_1 the action falls as Q → 0, and that is said."""
    data = with_targets(small_task(), 6, 0.0)
    spec = spec_of(data, (20,), temperature=0.0)
    np.testing.assert_allclose(
        one_layer(Ensemble(spec, data)).order_parameters, 1 - 6 / 20, rtol=1e-9
    )
    narrow = replace(spec, hidden_widths=(6,))
    result = one_layer(Ensemble(narrow, data))
    assert not result.converged and "no minimum" in result.message
    assert np.isnan(result.test_accuracy.value)
    with pytest.raises(InputError, match="has no distribution here: the action has no minimum"):
        order_parameter_distribution(Ensemble(narrow, data))


def test_the_criterion_at_a_temperature_is_the_sign_of_the_change_of_the_variance():  # FAULTS 2.2
    """Q* > 1, and more variance than infinite width, exactly where it is above 1; s misses some."""
    data, disagree = small_task(num_train=9), 0
    for precision in (0.1, 0.5, 1.0, 2.0, 8.0):
        for temperature in (1e-6, 0.03, 0.3):
            for biases in (False, True):
                spec = spec_of(
                    data, (12,), precisions=(1.0, precision), temperature=temperature, biases=biases
                )
                found = predict(Ensemble(spec, data), ["one_layer", "infinite_width"])
                finite, wide = found.results.values()
                above = found.criterion_at_temperature > 1
                assert (finite.order_parameters[0] > 1) == above
                assert np.all((finite.predictive_variance > wide.predictive_variance) == above)
                disagree += above != (found.criterion > 1)
    assert disagree > 0


DISTANCES = (1e-4, 1e-7, 1e-8)


def nearly_twice(distance, outputs=1):
    """Six inputs of five numbers, three of them at that distance from the others; labels differ."""
    data = small_task()
    data = data if outputs == 1 else two_outputs(data)
    moved = np.random.default_rng(SEED + 4).standard_normal((3, 5))
    x = np.concatenate([data.x_train[:3], data.x_train[:3] + distance * moved])
    return replace(data, x_train=x)


def exact(data, temperature):
    """Mean and variance of Bayesian linear regression with K = x·x'/N_0, in rational arithmetic."""
    x, y, there = (
        np.vectorize(Fraction, otypes=[object])(each)
        for each in (data.x_train, data.y_train, data.x_test)
    )
    size = data.in_size
    rows = np.concatenate([x @ x.T / size, y[:, None], x @ there.T / size], axis=1)
    for i in range(len(x)):
        rows[i, i] += Fraction(temperature)
    for i in range(len(x)):  # Gauss and Jordan: A is positive definite
        rows[i] = rows[i] / rows[i, i]
        for j in set(range(len(x))) - {i}:
            rows[j] = rows[j] - rows[j, i] * rows[i]
    cross, solved = there @ x.T / size, rows[:, len(x) :]
    prior = np.sum(there * there, axis=1) / size
    variance = prior - np.sum(cross * solved[:, 1:].T, axis=1)
    return (cross @ solved[:, 0]).astype(float), variance.astype(float)


@pytest.mark.parametrize("distance", DISTANCES)
def test_inputs_that_are_nearly_equal_against_rational_numbers(distance):  # FAULTS 1.1
    """Right to the error that is allowed, or refused: and refused only far below e_max/10¹¹."""
    data = nearly_twice(distance)
    for temperature in (1e-1, 1e-3, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-14, 0.0):
        spec = spec_of(data, (), "identity", temperature=temperature)
        try:
            found = THEORIES["infinite_width"](Ensemble(replace(spec, activation=None), data))
        except InputError as error:
            assert temperature < 1e-9 and "too low for this Gram matrix" in str(error)
            continue
        mean, variance = exact(data, temperature or 1e-40)
        size = max(np.sqrt(np.mean(mean**2)), np.sqrt(np.mean(data.y_train**2)))
        np.testing.assert_allclose(found.predictive_mean, mean, atol=0.01 * size)
        known = re.search(r"knows the variance at . of . test points to (\S+) only", found.message)
        assert bool(known) == (temperature == 0)
        error = float(known[1]) if known else 0.0
        assert error < 1e-13
        np.testing.assert_allclose(found.variance.value, np.mean(variance), rtol=0.01, atol=error)
        if temperature > 1e-8:
            np.testing.assert_allclose(found.predictive_mean, mean, atol=1e-5 * size)


def test_the_numbers_of_two_inputs_that_are_nearly_equal():  # FAULTS 1.1
    x = np.array([[1.0, 0.0], [1.0, 0.0]])
    for distance, temperature, mean in (
        (1e-8, 1e-8, -0.5),
        (1e-7, 1e-6, -0.05),
        (6e-8, 1e-7, -0.3),
    ):
        x[1, 1] = distance
        data = Dataset("near", x, np.array([1.0, -1.0]), np.array([[0.0, 1.0]]), np.zeros(1))
        for activation, slope in (("identity", 1.0), ("erf", 2 / np.pi), ("relu", 0.25)):
            spec = spec_of(data, (50,), activation, temperature=temperature)
            found = THEORIES["infinite_width"](Ensemble(spec, data))
            np.testing.assert_allclose(found.predictive_mean, slope * mean, rtol=1e-6)
    cold = replace(spec, temperature=0.0)
    for name, result in predict(Ensemble(cold, data)).results.items():
        assert not result.converged and "inputs are nearly equal" in result.message, name


@pytest.mark.parametrize("activation", ["erf", "relu", "gelu"])
def test_inputs_that_are_nearly_equal_against_a_linear_solver(activation):  # FAULTS 1.1
    """K + T solved by LU factors has a relative error of about ε e_max/T, 10⁻⁷ at the lowest."""
    for distance in DISTANCES:
        data = nearly_twice(distance)
        spec = spec_of(data, (20, 20), activation)
        blocks = gram_blocks(Ensemble(spec, data))
        for temperature in (1e-3, 1e-6, 1e-8):
            found = THEORIES["infinite_width"](
                Ensemble(replace(spec, temperature=temperature), data)
            )
            noisy = blocks.train + temperature * np.eye(6)
            mean = blocks.cross @ np.linalg.solve(noisy, data.y_train)
            explained = np.sum(blocks.cross * np.linalg.solve(noisy, blocks.cross.T).T, axis=1)
            size = max(1.0, np.sqrt(np.mean(mean**2)))
            np.testing.assert_allclose(found.predictive_mean, mean, atol=1e-5 * size)
            np.testing.assert_allclose(
                found.predictive_variance, blocks.test_diagonal - explained, atol=1e-6
            )


@pytest.mark.parametrize("theory, options", marked(("nested", "convolutional")))
def test_every_theory_of_inputs_that_are_nearly_equal(theory, options):  # FAULTS 1.1
    """A linear network sees X = U Σ Vᵀ as Σ Vᵀ with Uᵀy, whose Gram matrix Σ² has no rounding."""
    outputs = options.get("outputs", 1)
    options = {key: value for key, value in options.items() if key != "outputs"}
    for distance, temperature in ((1e-8, 1e-6), (1e-7, 1e-6), (1e-3, 1e-4)):
        data = nearly_twice(distance, outputs)
        left, values, right = np.linalg.svd(data.x_train)
        turned = replace(
            data,
            x_train=np.eye(6, 5) * values @ right,
            y_train=left.T @ data.y_train,
        )
        spec = spec_of(data, **{"activation": "identity", "temperature": temperature} | options)
        found, expected = (solve(theory, spec, each) for each in (data, turned))
        np.testing.assert_allclose(found.order_parameters, expected.order_parameters, atol=1e-3)
        if theory in ("infinite_width", "one_layer", "global", "nested"):  # mean of Q K at T
            mean, _ = exact(data, temperature / np.prod(found.order_parameters))
            np.testing.assert_allclose(found.predictive_mean, mean, atol=1e-5)
        size = np.max(np.abs(expected.predictive_mean))
        np.testing.assert_allclose(
            found.predictive_mean, expected.predictive_mean, atol=1e-3 * size
        )
        np.testing.assert_allclose(
            found.predictive_variance, expected.predictive_variance, rtol=1e-3, atol=1e-9
        )


def test_gradient_flow_of_inputs_that_are_nearly_equal():  # FAULTS 1.1, by the tangent kernel
    data = nearly_twice(1e-8)
    spec = spec_of(data, (20,), "identity")
    tangent, cross = (ntk(spec, data.x_train), ntk(spec, data.x_test, data.x_train))
    for time in (1.0, 1e4, 1e7):
        whole = np.zeros((7, 7))  # ∫ e^(−Θs) ds y, by one exponential of a matrix
        whole[:6, :6], whole[:6, 6] = -time * tangent, time * data.y_train
        mean = cross @ scipy.linalg.expm(whole)[:6, 6]
        found = infinite_width_flow(Ensemble(spec, data), time=time)
        np.testing.assert_allclose(found.predictive_mean, mean, rtol=1e-6, atol=1e-6)
    with pytest.raises(InputError, match="time 1e\\+16 is too long.*nearly equal"):
        infinite_width_flow(Ensemble(spec, data), time=1e16)


@pytest.mark.parametrize("activation", ["identity", "relu", "gelu"])
@pytest.mark.parametrize("size, resolved", [(1e4, True), (1e7, False)])
def test_large_inputs_are_right_or_refused(activation, size, resolved):  # FAULTS 1.1
    """At a training input the variance, k − kᵀA⁻¹k, is T less a little; rounding made 0 of 0.1."""
    data = small_task(in_size=7)
    data = replace(data, x_train=size * data.x_train, x_test=size * data.x_train[:4])
    spec = spec_of(data, (50,), activation, temperature=0.1)
    result = predict(Ensemble(spec, data), ["one_layer"]).results["one_layer"]
    resolved |= activation == "identity"  # whose factor is known
    assert result.converged == resolved
    if resolved:
        np.testing.assert_allclose(result.predictive_variance, 0.1, rtol=1e-5)
    else:
        assert "if they are large, scale them" in result.message


@pytest.mark.slow_except(
    "one_layer-options0", "scale_mixture-options1",
    "one_layer_nonodd-options2", "multi_output-options6",
)  # fmt: skip
@pytest.mark.parametrize(
    "theory, options",
    [
        ("one_layer", {}),
        ("scale_mixture", {}),
        ("one_layer_nonodd", {"activation": "relu"}),
        ("nested", {"widths": (50, 50), "activation": "relu"}),
        ("nested", {"widths": (50, 50)}),
        ("convolutional", {"patches": Patches((1, 2, 1), size=1, stride=1)}),
        ("multi_output", {}),
    ],
)
def test_differences_that_no_test_input_sees(theory, options):  # FAULTS 1.1
    """Q depends on them: with e_i for e, yᵀA⁻¹y has ỹ² e/T², 25 here, which rounding knows to 6."""
    x = np.array([[1.0, 0.0], [1.0, 1e-7]])
    data = Dataset("near", x, np.array([1.0, -1.0]), x[:1], np.ones(1))
    for temperature, refused in ((1e-4, False), (1e-8, True), (1e-12, True)):
        spec = spec_of(data, **{"widths": (50,), "temperature": temperature} | options)
        result = predict(Ensemble(spec, data), [theory]).results[theory]
        assert result.converged != refused
    exactly = replace(data, x_train=x[[0, 0]])
    assert predict(Ensemble(spec, exactly), [theory]).results[theory].converged


def test_one_layer_at_many_points_of_which_some_are_too_cold():  # FAULTS 1.1
    """Only these have no numbers."""
    data = nearly_twice(1e-8)
    temperatures = np.array([1e-3, 1e-10, 1e-6])
    many = one_layer(ensemble_of(data, (50,)), temperature=temperatures)
    assert many.converged.tolist() == [True, False, True]
    for name in ("bias2", "variance", "train_error", "log_evidence", "order_parameter"):
        assert np.isfinite(getattr(many, name)).tolist() == [True, False, True]


def test_derivatives_of_an_evidence_that_rounding_decides():  # FAULTS 1.1
    """relu is homogeneous: λ_0 and λ_1 have one slope. It was (−3.1, −3.6) in place of −5.3."""
    data = nearly_twice(1e-8)
    spec = spec_of(data, (50,), "relu", temperature=1e-8)
    with pytest.raises(InputError, match="may move the action"):
        evidence(Ensemble(spec, data), "infinite_width")
    slopes = evidence(
        Ensemble(replace(spec, temperature=1e-3), data), "infinite_width"
    ).precision_gradient
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-6)


@pytest.mark.parametrize("temperature, resolved", [(1e-2, True), (1e-10, False), (0.0, False)])
def test_rounding_of_erf_at_large_inputs(temperature, resolved):  # FAULTS 1.1
    """Entries of order one are wrong by ε √a: at T = 0 bias² was 13.8 in place of 21.2."""
    rng = np.random.default_rng(4)
    x, y = 1e5 * (1 + rng.uniform(0, 0.5, (9, 1))), rng.normal(size=9)
    data = Dataset("far", x[:4], y[:4], x[4:], y[4:])
    spec = replace(spec_of(data, (50,), temperature=temperature), bias_precisions=(1.0, 1.0))
    assert (
        predict(Ensemble(spec, data), ["infinite_width"]).results["infinite_width"].converged
        == resolved
    )
