"""Theories of learned features for one convolutional layer, whose units are channels.

The exact posterior is importance sampling over all hidden weights (`oracles`), in NumPy.
"""

from dataclasses import replace

import numpy as np
import pytest
from cases import ensemble_of, gaussian_task
from oracles import one_layer_by_importance
from statistics_in_sigmas import SIGMAS

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn.data.image_files import available
from langevin_nn.runs import run
from langevin_nn.theory import THEORIES, convolutional, infinite_width, mean_field, propagation
from langevin_nn.theory.features.response import response_of
from langevin_nn.theory.features.samples import draw_units
from langevin_nn.types import Patches

FOUR = Patches((4, 4, 1), size=2, stride=2)
NAMES = ("mean_field", "propagation")
FEW = 2**13


def channels_on(data, patches=FOUR, width=20, **options):
    options = {"architecture": "Convolutional", "patches": patches} | options
    return ensemble_of(data, (width,), **options)


def images(num_train, num_test=4):
    return gaussian_task(num_train, num_test, 16)


def assert_near(result, exact, **margins):
    """Within `SIGMAS` standard errors and the margins: of the mean, of the variance relatively."""
    for what, margin in margins.items():
        value, error = exact[what], exact[f"{what}_error"]
        allowed = margin * value if what == "variance" else margin
        name = what if what == "log_evidence" else f"predictive_{what}"
        distance = np.abs(getattr(result, name) - value)
        assert np.all(distance < SIGMAS * error + allowed), (what, distance)


@pytest.mark.parametrize("biases", [False, True])
def test_the_channels_are_those_of_the_prior(biases):
    """Their averages, of the sample alone, against the exact Gram matrices of pairs of patches."""
    units = draw_units(channels_on(images(6), activation="relu", biases=biases), 2**14)
    weights = np.arange(16.0).reshape(4, 4)
    weights = weights + weights.T
    equal = np.broadcast_to(weights / units.num_units, (units.num_units, 4, 4))
    nothing, a = np.zeros((4, 4)), np.linspace(-1, 1, 6)
    ((cross, diagonal),) = units.moments_at_tests(nothing, equal)
    ((known, of_each),) = units.moments_at_tests(weights, equal)
    for sampled, exact in (
        (units.moment(equal, nothing), units.moment(equal, weights)), (cross, known),
        (diagonal, of_each), (np.mean(units.quadratic_form(np.eye(6)), axis=0),
                              units.prior_quadratic_form(np.eye(6))),
        (np.einsum("is,it->st", units.outputs(a), units.outputs(a)) / units.num_units,
         units.prior_outputs(a)),
    ):  # fmt: skip
        np.testing.assert_allclose(sampled, exact, atol=0.015 * np.abs(exact).max())
    moment = units.moment(equal, weights / 2)
    np.testing.assert_allclose(units.moment_along(equal, weights / 2, a), moment @ a, atol=1e-10)


def test_the_field_of_a_channel_is_written_out():
    units = draw_units(channels_on(images(5)), 64)
    phi, rng = units.features, np.random.default_rng(0)
    root = np.tril(rng.normal(size=(5, 5))) + 3 * np.eye(5)
    inverse = np.linalg.inv(root @ root.T)
    form = units.quadratic_form(root)
    np.testing.assert_allclose(form, np.einsum("isp,pq,itq->ist", phi, inverse, phi), atol=1e-12)
    response = response_of(form, units.outputs(rng.normal(size=5)), 10)
    moment = np.einsum("ist,isp,itq->pq", response.square, phi, phi)
    np.testing.assert_allclose(
        units.moment(response.square, np.zeros((4, 4))), moment, atol=1e-12 * np.abs(moment).max()
    )


@pytest.mark.parametrize("name", NAMES)
def test_one_patch_that_is_the_image_is_a_fully_connected_layer(name):
    data = gaussian_task(6, 4, 4)
    patches = Patches((2, 2, 1), size=2, stride=2)
    dense, one = (
        THEORIES[name](ensemble, num_units=FEW)
        for ensemble in (ensemble_of(data, (20,)), channels_on(data, patches))
    )
    np.testing.assert_allclose(one.log_evidence, dense.log_evidence, rtol=1e-6)
    np.testing.assert_allclose(one.train_error.value, dense.train_error.value, rtol=1e-6)
    for what in ("predictive_mean", "predictive_variance"):
        np.testing.assert_allclose(getattr(one, what), getattr(dense, what), rtol=3e-3)


@pytest.mark.parametrize("name", NAMES)
def test_many_channels_are_infinite_width(name):
    ensemble = channels_on(images(6), width=10**5, biases=True)
    result, known = THEORIES[name](ensemble, num_units=FEW), infinite_width(ensemble)
    assert result.converged and not result.message
    np.testing.assert_allclose(result.predictive_mean, known.predictive_mean, atol=3e-4)
    np.testing.assert_allclose(result.predictive_variance, known.predictive_variance, rtol=3e-4)
    np.testing.assert_allclose(result.log_evidence, known.log_evidence, atol=1e-3)


# Activation, examples, channels, temperature; and by how much the theory may be off.
EXACT = [
    ("erf", 4, 20, 0.1, {"mean": 0.001, "variance": 0.003, "log_evidence": 0.003}),
    ("erf", 4, 10, 0.3, {"mean": 0.002, "variance": 0.005, "log_evidence": 0.003}),
    ("erf", 6, 6, 0.3, {"mean": 0.006, "variance": 0.015, "log_evidence": 0.02}),
    ("relu", 4, 20, 0.1, {"mean": 0.003, "variance": 0.006, "log_evidence": 0.02}),
    ("identity", 4, 20, 0.1, {"mean": 0.003, "variance": 0.006, "log_evidence": 0.01}),
]


@pytest.mark.slow_except("erf-4-10-0.3")
@pytest.mark.parametrize(
    "activation, num_train, width, temperature, margins", EXACT,
    ids=["-".join(map(str, case[:4])) for case in EXACT],
)  # fmt: skip
def test_propagation_against_the_exact_posterior(
    activation, num_train, width, temperature, margins
):
    """And nearer to it than the matrix of order parameters."""
    data = images(num_train)
    options = {"activation": activation, "temperature": temperature}
    ensemble = channels_on(data, width=width, **options)
    exact = one_layer_by_importance(
        data, width, (1.0, 1.0), **options, patches=(4, 2), draws=60_000, seed=2
    )
    result, other = propagation(ensemble, num_units=FEW), convolutional(ensemble)
    assert result.converged
    assert_near(result, exact, **margins)
    for what in ("mean", "variance"):
        distance, beside = (
            np.max(np.abs(getattr(each, f"predictive_{what}") - exact[what]))
            for each in (result, other)
        )
        assert distance < beside


@pytest.mark.slow_except("20-0.6")
@pytest.mark.parametrize("width, g", [(20, 0.6), (80, 0.35)])
def test_mean_field_at_labels_of_the_order_of_the_root_of_the_width(width, g):
    data = images(2)
    data = replace(data, y_train=np.sqrt(width) * g * np.array([1.0, -0.7]))
    exact = one_layer_by_importance(
        data, width, (1.0, 1.0), 0.1, patches=(4, 2), draws=60_000, seed=1
    )
    ensemble = channels_on(data, width=width)
    result, other = mean_field(ensemble, num_units=FEW), infinite_width(ensemble)
    assert result.converged and exact["effective"] > 1000
    assert_near(result, exact, mean=0.02 if width == 20 else 0.01, variance=0.04, log_evidence=0.05)
    beside = np.abs(other.predictive_variance - exact["variance"])
    assert np.all(np.abs(result.predictive_variance - exact["variance"]) < beside)


def test_theories_of_one_kind_of_layer_say_so():
    for name in ("cavity", "adaptive"):
        reason = THEORIES[name].applies(channels_on(images(4)))
        assert "this network is convolutional" in reason


@pytest.mark.slow
@pytest.mark.skipif(
    not any(source.name == "cifar10" and source.present for source in available()),
    reason="CIFAR-10 is not there",
)
def test_images_against_the_exact_sampler():
    """CIFAR-10 on 16 patches: bias² and variance, where the matrix of order parameters is off."""
    values = {
        "data": {"source": "cifar10", "classes": [0, 1], "num_train": 30, "num_test": 100},
        "network": {
            "architecture": "convolutional", "activation": "erf", "hidden_widths": [30],
            "patch_size": 8, "stride": 8,
        },
        "posterior": {"temperature": 0.1, "readout": "marginalised"},
        "sampler": {"dynamics": "split", "num_chains": 8, "num_warmup": 300, "num_samples": 400},
    }  # fmt: skip
    problem = run.prepare(configuration.from_dict(values))
    measured = lnn.summarise(run.sample_problem(problem))
    found, beside = (
        THEORIES[name](problem.posterior.ensemble) for name in ("propagation", "convolutional")
    )
    assert measured.converged and found.converged
    for quantity in ("bias2", "variance"):
        value, error = getattr(measured, quantity).value, getattr(measured, quantity).mcse
        distance, other = (abs(getattr(each, quantity).value - value) for each in (found, beside))
        assert distance < SIGMAS * error + 0.01 * value, quantity
        assert distance < other
