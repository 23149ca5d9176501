"""Losses: their definitions, the law that they give a weight, and what only the squared one allows.

The law of one weight w, f = w x, is a density on a line: that of Langevin dynamics at its step size
is the left eigenvector of its Gaussian transition density, of the split dynamics the posterior.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task, posterior_of
from extensions.loss_huber import Huber
from numpyro.infer.util import log_density
from refusals import refuses
from samplers import DYNAMICS, HalfTheNoise, Unadjusted, evolved, traced
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn.analysis.tempering import thermodynamic_integration
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.runs import run, tables
from langevin_nn.types import InputError, NotApplicable

LOSSES = {
    "squared": (lnn.Squared(), lambda f, y: (y - f) ** 2 / 2, lambda f, y: f - y),
    "hinge, γ = 1": (
        lnn.Hinge(1, 0.7),
        lambda f, y: np.where(y * f < 0.7, 0.7 - y * f, 0),
        lambda f, y: np.where(y * f < 0.7, -y, 0),
    ),
    "hinge, γ = 2": (
        lnn.Hinge(2, 0.7),
        lambda f, y: np.where(y * f < 0.7, (0.7 - y * f) ** 2 / 2, 0),
        lambda f, y: np.where(y * f < 0.7, -y * (0.7 - y * f), 0),
    ),
    "logistic": (
        lnn.Logistic(),
        lambda f, y: np.log1p(np.exp(-y * f)),
        lambda f, y: -y / (1 + np.exp(y * f)),
    ),
}
LOSSES["huber"] = (  # of the user's own
    Huber(),
    lambda f, y: np.where(abs(f - y) < 1, (f - y) ** 2 / 2, abs(f - y) - 0.5),
    lambda f, y: np.clip(f - y, -1, 1),
)
by_loss = pytest.mark.parametrize("loss", LOSSES)

rng = np.random.default_rng(3)
TASK = replace(
    gaussian_task(6, 3, 1), y_train=np.array([1.0, 1.0, -1.0, -1.0, 1.0, -1.0]),
    x_train=np.array([[1.2], [-0.4], [-1.0], [0.6], [0.3], [-2.0]]),
)  # fmt: skip
TEMPERATURE, PRECISION = 0.6, 0.8
CHAINS, STEPS = 40_000, 40


@by_loss
def test_loss_and_its_slope(loss):
    ours, expected, slope = LOSSES[loss]
    f, y = 3 * rng.standard_normal(200), rng.choice([-1.0, 1.0], 200)
    np.testing.assert_allclose(ours(jnp.asarray(f), jnp.asarray(y)), expected(f, y), rtol=1e-12)
    found = jax.grad(lambda f: jnp.sum(ours(f, jnp.asarray(y))))(jnp.asarray(f))
    np.testing.assert_allclose(found, slope(f, y), rtol=1e-9, atol=1e-12)


def test_logistic_loss_of_large_margins_is_finite():
    f = jnp.array([-1e4, 1e4])
    value, slope = jax.value_and_grad(lambda f: jnp.sum(lnn.Logistic()(f, jnp.ones(2))))(f)
    assert value == 1e4 and slope.tolist() == [-1.0, 0.0]


@pytest.mark.slow_except("hinge, \\u03b3 = 1", "hinge, \\u03b3 = 2", "logistic", "huber")
@by_loss
def test_potential_of_a_network(loss):
    """β𝓛 by hand, and the log density of the NumPyro model up to a constant."""
    ours, expected, _ = LOSSES[loss]
    posterior = posterior_of(
        TASK, (4,), "tanh", (0.5, 2.0), TEMPERATURE, loss=ours, key=jax.random.key(0)
    )
    params = posterior.sample_prior(jax.random.key(1), 2)
    first, last = (np.asarray(w) for w in params.weights)
    x = np.asarray(posterior.x_train)
    f = np.einsum("coh,chp->cp", last, np.tanh(first @ x.T)) / 2
    energy = expected(f, TASK.y_train).sum(axis=1)
    weights = 0.25 * np.sum(first**2, axis=(1, 2)) + np.sum(last**2, axis=(1, 2))
    np.testing.assert_allclose(posterior.data_energy(params), energy, rtol=1e-12)
    potential = posterior.potential(params)
    np.testing.assert_allclose(potential, energy / TEMPERATURE + weights, rtol=1e-12)
    model = lnn.numpyro_model(posterior, test_outputs=False)
    values = []
    for chain in range(2):
        sites = {f"network.weights[{i}]": w[chain] for i, w in enumerate(params.weights)}
        values.append(log_density(model, (), {}, sites)[0])
    np.testing.assert_allclose(values[0] - values[1], potential[1] - potential[0], rtol=1e-9)


def law(loss, step_size, temperature=TEMPERATURE):
    """Probabilities on a grid of w; the posterior's at step size 0."""
    _, energy, slope = LOSSES[loss]
    w = np.linspace(-6, 6, 1201)
    f, y = TASK.x_train * w, TASK.y_train[:, None]
    potential = energy(f, y).sum(axis=0) / temperature + 0.5 * PRECISION * w**2
    found = np.exp(potential.min() - potential)
    if step_size:
        force = (slope(f, y) * TASK.x_train).sum(axis=0) + temperature * PRECISION * w
        spread = 4 * step_size * temperature
        kernel = np.exp(-np.square(w[None, :] - (w - step_size * force)[:, None]) / spread)
        kernel /= kernel.sum(axis=1, keepdims=True)
        for _ in range(200):
            found = found @ kernel / np.sum(found)
    return w, found / found.sum()


def linear(loss, temperature):
    key = jax.random.key(0)
    return posterior_of(TASK, (), "identity", (PRECISION,), temperature, loss=loss, key=key)


def deviations(dynamics, loss, seed, *, kind=None, sampled_loss=None, step_size=None, colder=1.0):
    """z-scores of averages over independent chains, of w, w² and whether w is above the median."""
    posterior = linear(LOSSES[sampled_loss or loss][0], TEMPERATURE * colder)
    posterior = traced(posterior, jnp.float64)
    row = DYNAMICS[dynamics]
    transition = traced((kind or row.kind)(*row.one_weight), jnp.float64)
    keys = jax.random.split(jax.random.key(seed), 2)
    start = posterior.sample_prior(keys[0], CHAINS)
    params = evolved(posterior, transition, start, keys[1], jnp.asarray(STEPS))
    sign = np.sign(float(posterior.x_train[0, 0]) * TASK.x_train[0, 0])  # of the input's basis
    found = sign * np.asarray(params.weights[0][:, 0, 0])
    if step_size is None:
        step_size = row.step_size["one_weight"]
    w, weights = law(loss, step_size)
    median = w[np.searchsorted(np.cumsum(weights), 0.5)] + 0.005  # between two places of the grid
    quantities = (lambda w: w, lambda w: w**2, lambda w: (w > median).astype(float))
    return np.array([float(z_scores(q(found), q(w) @ weights)) for q in quantities])


@pytest.mark.exhaustive_except(
    "split-logistic", "langevin-squared", "langevin-hinge, γ = 2", "langevin-huber",
    "split-hinge, γ = 1", "barker-logistic", "barker-hinge, γ = 2",
)  # fmt: skip
@pytest.mark.slow_except("langevin-squared")
@by_loss
@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_one_weight_has_its_density(dynamics, loss, seed):
    assert worst(deviations(dynamics, loss, seed)) < SIGMAS


@pytest.mark.slow_except("langevin-logistic-planted2")
@pytest.mark.parametrize(
    ("dynamics", "loss", "planted"),
    [
        ("langevin", "hinge, γ = 2", {"kind": HalfTheNoise}),
        ("langevin", "hinge, γ = 2", {"step_size": 0.0}),
        ("langevin", "logistic", {"colder": 0.8}),
        ("split", "hinge, γ = 2", {"sampled_loss": "hinge, γ = 1"}),
        ("split", "hinge, γ = 1", {"sampled_loss": "logistic"}),
        ("split", "logistic", {"kind": Unadjusted}),
        ("split", "logistic", {"colder": 0.8}),
    ],
)
def test_mistakes_with_one_weight_are_caught(dynamics, loss, planted, seed):
    assert worst(deviations(dynamics, loss, seed, **planted)) > 2 * SIGMAS


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["hinge, γ = 2", "logistic"])
def test_partition_function_from_a_ladder(loss, seed):
    """log ∫ p(w) exp(−βΣℓ) at each temperature, by quadrature."""
    posterior = linear(LOSSES[loss][0], 0.3)
    key = jax.random.key(seed)
    counts = {"num_chains": 8, "num_warmup": 200, "num_samples": 1000}
    ladder = lnn.temper(posterior, lnn.Split(0.7, 1.5), [0.5, 0.9, 1.6, 3.0], key=key, **counts)
    found = thermodynamic_integration(ladder, key=key)
    w = np.linspace(-9, 9, 4001)
    energy = LOSSES[loss][1](TASK.x_train * w, TASK.y_train[:, None]).sum(axis=0)
    prior = np.exp(-0.5 * PRECISION * w**2)
    for temperature, estimate in zip(found.temperatures, found.log_evidence, strict=True):
        expected = np.log(np.exp(-energy / temperature) @ prior / prior.sum())
        error = np.hypot(estimate.mcse, np.nanmax(found.quadrature))
        assert abs(estimate.value - expected) < SIGMAS * error, (temperature, expected)
        assert error < 0.02


# --- what only the squared loss allows, and input that fits no loss


def with_loss(loss, kind=lnn.GibbsPosterior, data=TASK):
    key = jax.random.key(0)
    return posterior_of(data, (4,), loss=loss, kind=kind, key=key, dtype=jnp.float32)


def test_read_out_is_marginalised_with_the_squared_loss_alone():
    for refused in (
        lambda: with_loss(lnn.Logistic(), lnn.MarginalisedPosterior),
        lambda: lnn.MarginalisedPosterior.of(with_loss(lnn.Hinge())),
    ):
        with pytest.raises(InputError, match='the squared loss alone.*readout = "sampled"'):
            refused()


@pytest.mark.parametrize("loss", [lnn.Hinge(), lnn.Logistic()])
def test_targets_that_are_no_labels(loss):
    several = replace(
        TASK, y_train=np.stack([TASK.y_train, -TASK.y_train], 1), y_test=np.ones((3, 2))
    )
    for data in (replace(TASK, y_train=np.array([0.0, 1, 0, 0, 1, 1])), several):
        with pytest.raises(InputError, match=rf"the {loss.name} loss takes one output and labels"):
            with_loss(loss, data=data)
    with_loss(lnn.Squared(), data=several)


@pytest.mark.parametrize("numbers", [(3, 1.0), (0, 1.0), (2, 0.0), (2, float("inf"))])
def test_hinge_that_is_none(numbers):
    with pytest.raises(InputError, match="hinge loss"):
        lnn.Hinge(*numbers)


def test_theories_say_that_they_are_of_the_squared_loss():
    spec = with_loss(lnn.Hinge()).spec
    predictions = lnn.theory.predict(Ensemble(spec, TASK))
    assert not predictions.results and predictions.criterion is None
    reasons = dict(predictions.not_applicable)
    assert "ask for it by name" in reasons.pop("mean_field")
    assert all("squared loss" in why for why in reasons.values())
    with pytest.raises(NotApplicable, match="squared loss, this ensemble has hinge"):
        lnn.theory.one_layer(Ensemble(spec, TASK))


def test_configuration_of_a_loss():
    values = {"posterior": {"loss": "hinge"}, "data": {"num_train": 10, "num_test": 5}}
    config = configuration.from_dict(values)
    chosen = config.posterior
    assert (chosen.hinge_power, chosen.margin) == (2, 1.0)
    assert tables.caption(config).endswith("T = 0.1, hinge loss (power 2, margin 1)")
    assert configuration.from_dict(config.to_dict()) == config
    problem = run.prepare(configuration.from_dict({**values, "posterior": {
        "loss": "hinge", "hinge_power": 1, "margin": 0.5}}))  # fmt: skip
    assert problem.posterior.loss == lnn.Hinge(1, 0.5)
    assert "hinge_power" not in configuration.from_dict({}).to_dict()["posterior"]


def test_names_of_runs_with_the_squared_loss_are_what_they_were():
    """Those that results are quoted with."""
    assert configuration.from_dict({}).content_hash == "7ea4d8a57332"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"loss": "hinges"}, ["posterior.loss", "hinge"]),
        ({"loss": "logistic", "readout": "marginalised"}, ['readout = "sampled"']),
        ({"loss": "logistic", "margin": 1.0}, ["margin", 'loss = "hinge"']),
        ({"hinge_power": 2}, ["posterior.hinge_power = 2", 'loss = "hinge"']),
        ({"loss": "hinge", "hinge_power": 3}, ["posterior.hinge_power"]),
        ({"loss": "hinge", "margin": 0}, ["posterior.margin", "positive"]),
    ],
)
def test_configurations_that_make_no_loss(values, words):
    with refuses(*words):
        configuration.from_dict({"posterior": values})
