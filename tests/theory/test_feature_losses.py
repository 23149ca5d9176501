"""`mean_field` of other convex losses: conjugates, saddle points, and exact posteriors.

The exact posterior is importance sampling over hidden weights and outputs (`oracles`), in NumPy.
"""

import pickle
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    deviation,
    ensemble_of,
    gaussian_task,
    posterior_of,
    small_task,
    spec_of,
    write_npz,
)
from extensions.loss_huber import Huber
from oracles import one_layer_of_loss_by_importance, weighted
from refusals import refuses
from statistics_in_sigmas import SIGMAS

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.runs import run
from langevin_nn.theory import mean_field, predict
from langevin_nn.theory.features.latent import most_likely
from langevin_nn.theory.features.likelihood import Likelihood, is_convex
from langevin_nn.theory.features.mean_field import among_fluctuations, saddle_point
from langevin_nn.theory.features.samples import draw_units
from langevin_nn.types import InputError, NotApplicable

FEW = 2**13


class Cauchy(lnn.Loss):
    """log(1 + (y − f)²), which is not convex."""

    name = "cauchy"

    def check(self, targets):
        np.asarray(targets, float)

    def __call__(self, f, y):
        return jnp.log1p((y - f) ** 2)


def entropy(s):
    return s * np.log(s) + (1 - s) * np.log(1 - s)


# ℓ and V*(−t) T, at y = 1, as a function of s = T t in its domain.
LOSSES = {
    "squared": (lnn.Squared(), lambda s: -s + s**2 / 2, (-5, 5)),
    "hinge": (lnn.Hinge(2, 0.7), lambda s: -0.7 * s + s**2 / 2, (0, 5)),
    "hinge, power 1": (lnn.Hinge(1, 0.7), lambda s: -0.7 * s, (0, 1)),
    "logistic": (lnn.Logistic(), entropy, (0, 1)),
    "huber": (Huber(), lambda s: -s + s**2 / 2, (-1, 1)),
}
NUMPY = {
    "squared": lambda f, y: (y - f) ** 2 / 2,
    "hinge": lambda f, y: np.maximum(0, 0.7 - y * f) ** 2 / 2,
    "hinge, power 1": lambda f, y: np.maximum(0, 0.7 - y * f),
    "logistic": lambda f, y: np.logaddexp(0, -y * f),
    "huber": lambda f, y: np.where(abs(y - f) < 1, (y - f) ** 2 / 2, abs(y - f) - 0.5),
}
KINDS = list(LOSSES)
SMOOTH = [name for name in KINDS if name != "hinge, power 1"]


def labelled(num_train, num_test=2, in_size=3, seed=3):
    """A task with labels ±1, of both kinds."""
    data = gaussian_task(num_train, num_test, in_size, seed=seed)
    y, y_test = np.sign(data.y_train), np.sign(data.y_test)
    y[1] = -y[0]
    return replace(data, y_train=y, y_test=y_test)


def ensemble_with(loss, data, width, temperature=0.3, richness=None, **options):
    spec = spec_of(data, (width,), temperature=temperature, loss=loss.name, **options)
    ensemble = Ensemble(spec, data, loss=loss)
    return ensemble if richness is None else ensemble.at_richness(richness)


# --- the pull of a loss


@pytest.mark.parametrize("name", KINDS)
def test_conjugates_are_in_closed_form(name):
    loss, conjugate, (low, high) = LOSSES[name]
    temperature, scale = 0.3, 0.2
    likelihood = Likelihood(loss, np.ones(200), temperature)
    found = likelihood.pulled(np.linspace(-4, 5, 200), scale)
    s = temperature * found.pull
    assert np.all(s >= low - 1e-12) and np.all(s <= high + 1e-12)
    inside = (s > low + 1e-9) & (s < high - 1e-9)
    of_each = -found.pull * found.f - found.values
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(inside, conjugate(np.where(inside, s, 0.5)) / temperature, of_each)
    assert inside.sum() > 10
    np.testing.assert_allclose(of_each, expected, atol=1e-12)
    slope = jax.vmap(jax.grad(lambda f: loss(f[None], jnp.ones(1))[0] / temperature))(found.f)
    smooth = found.noise > 0
    np.testing.assert_allclose(-found.pull[smooth], np.asarray(slope)[smooth], atol=1e-10)
    assert smooth.all() == (name != "hinge, power 1")
    np.testing.assert_allclose(found.f - scale * found.pull, np.linspace(-4, 5, 200), atol=1e-13)


@pytest.mark.parametrize("name", KINDS)
def test_what_lies_between_is_on_the_graph(name):
    loss, conjugate, _ = LOSSES[name]
    likelihood = Likelihood(loss, np.ones(3), 0.3)
    first, second = (likelihood.pulled(np.array(z), 0.2) for z in ([-2, 0.1, 1], [0.4, 3, -0.3]))
    for share in (0.2, 0.7, 1.0):
        found = likelihood.between(first, second, share)
        np.testing.assert_allclose(
            found.pull, first.pull + share * (second.pull - first.pull), rtol=1e-14
        )
        again = likelihood.pulled(found.f - 0.2 * found.pull, 0.2)
        np.testing.assert_allclose(again.pull, found.pull, atol=1e-12)
        np.testing.assert_allclose(again.conjugate, found.conjugate, atol=1e-11)


@pytest.mark.parametrize("rank", [40, 6])
@pytest.mark.parametrize("name", KINDS)
def test_outputs_of_largest_likelihood(name, rank):
    """The dual function, whose gap to V(f) + ½ tᵀMt is zero at the minimum alone."""
    rng, temperature, mean = np.random.default_rng(rank), 0.02, 0.3
    x = rng.normal(size=(40, rank))
    covariance, y = x @ x.T / rank, np.sign(x[:, 0] + 0.7 * rng.normal(size=40))
    likelihood = Likelihood(LOSSES[name][0], y, temperature)
    found = most_likely(likelihood, np.full(40, mean), covariance, np.zeros(40))
    primal = np.sum(NUMPY[name](found.f, y)) / temperature
    primal += found.pull @ covariance @ found.pull / 2
    dual = found.conjugate + mean * found.pull.sum() + found.pull @ covariance @ found.pull / 2
    np.testing.assert_allclose(found.f, mean + covariance @ found.pull, atol=1e-9)
    np.testing.assert_allclose(primal, -dual, rtol=1e-10)


def test_convexity():
    y = np.array([1.0, -1.0])
    assert all(is_convex(loss, y) for loss, _, _ in LOSSES.values())
    assert not is_convex(Cauchy(), y)


# --- the saddle point


def dual_action(units, y, temperature, width, conjugate):
    """G(t), written out, of labels y and V*(−t) = Σ conjugate(T t y)/T."""

    def action(t):
        u = jnp.asarray(units.features) @ t
        log_average = jax.scipy.special.logsumexp(u**2 / (2 * width)) - jnp.log(len(u))
        beyond = (t @ units.gram @ t - jnp.mean(u**2)) / 2
        own = jnp.sum(conjugate(temperature * t * y)) / temperature
        return own + width * log_average + beyond

    return action


def jax_entropy(s):
    return s * jnp.log(s) + (1 - s) * jnp.log(1 - s)


@pytest.mark.slow_except("hinge")
@pytest.mark.parametrize("name", ["squared", "hinge", "logistic", "huber"])
def test_the_saddle_point_is_the_minimum_of_its_action(name):
    """Gradient and Hessian by automatic differentiation, the units' average done here."""
    loss, conjugate, _ = LOSSES[name]
    temperature, width, data = 0.3, 15, labelled(5)
    ensemble = ensemble_with(loss, data, width, temperature, precisions=(1.0, 0.3))
    units, y = draw_units(ensemble, FEW), data.y_train
    likelihood = Likelihood(loss, y, temperature)
    found = saddle_point(units, likelihood, width)
    t, curved = found.t, np.isfinite(found.noise)
    assert not found.message and curved.sum() >= 3
    slope = jax.vmap(jax.grad(lambda f, y: loss(f[None], y[None])[0]))
    pull = -np.asarray(slope(jnp.asarray(found.f), jnp.asarray(y))) / temperature
    np.testing.assert_allclose(t, pull, atol=1e-9)
    conjugate = jax_entropy if name == "logistic" else conjugate
    action = dual_action(units, y, temperature, width, conjugate)
    gradient = np.asarray(jax.jit(jax.grad(action))(jnp.asarray(t)))
    np.testing.assert_allclose(gradient[curved], 0, atol=1e-4)
    hessian = np.asarray(jax.jit(jax.hessian(action))(jnp.asarray(t)))
    np.testing.assert_allclose(
        hessian[np.ix_(curved, curved)],
        (found.prior + np.diag(np.where(curved, found.noise, 0)))[np.ix_(curved, curved)],
        atol=1e-3,
    )
    if curved.all():
        log_determinant = np.linalg.slogdet(hessian)[1] - np.sum(np.log(found.noise))
        expected = float(action(t)) - log_determinant / 2 - likelihood.log_normalisation()
        np.testing.assert_allclose(found.log_evidence, expected, atol=1e-3)


@pytest.mark.slow_except("huber")
@pytest.mark.parametrize("name", [name for name in KINDS if name != "squared"])
def test_the_mean_has_the_mean_slope_of_the_loss(name):
    """t_μ = −⟨∂ℓ/∂f⟩/T, over the tilted distribution of each output, here on a grid."""
    loss, temperature, width, data = LOSSES[name][0], 0.3, 15, labelled(4)
    ensemble = ensemble_with(loss, data, width, temperature, precisions=(1.0, 0.3))
    units, y = draw_units(ensemble, FEW), data.y_train
    likelihood = Likelihood(loss, y, temperature)
    found = among_fluctuations(units, likelihood, width, saddle_point(units, likelihood, width))
    np.testing.assert_allclose(found.f, found.slope, atol=2e-4)
    root = np.linalg.inv(np.linalg.inv(found.prior) + np.diag(1 / found.noise))
    outside = 1 / np.diag(root) - 1 / found.noise
    centre = found.f - found.t / outside
    grid = np.linspace(-12, 12, 400_001)[:, None]
    log = -NUMPY[name](grid, y) / temperature - outside * (grid - centre) ** 2 / 2
    density = np.exp(log - log.max(axis=0))
    density /= density.sum(axis=0)
    mean = np.sum(density * grid, axis=0)
    np.testing.assert_allclose(mean, found.f, atol=1e-4)
    variance = np.sum(density * (grid - mean) ** 2, axis=0)
    np.testing.assert_allclose(variance, np.diag(root), rtol=1e-4)
    slope = np.gradient(NUMPY[name](grid, y), grid[:, 0], axis=0)
    np.testing.assert_allclose(found.t, -np.sum(density * slope, axis=0) / temperature, atol=2e-3)


@pytest.mark.slow_except("logistic")
@pytest.mark.parametrize("name", KINDS)
def test_large_widths_are_the_gaussian_process_of_that_loss(name):
    """At fixed labels: the outputs' exact posterior by importance sampling from their prior."""
    loss, temperature, data = LOSSES[name][0], 0.5, labelled(4)
    ensemble = ensemble_with(loss, data, 10**6, temperature, biases=True)
    units, y = draw_units(ensemble, FEW), data.y_train
    columns = units.columns @ units.columns.T
    gram, cross = units.gram + columns, units.cross + units.test_columns @ units.columns.T
    own = units.diagonal + np.sum(units.test_columns**2, axis=1)
    rng = np.random.default_rng(4)
    f = rng.standard_normal((200_000, 4)) @ np.linalg.cholesky(gram).T
    log = -np.sum(NUMPY[name](f, y), axis=1) / temperature
    smoother = np.linalg.solve(gram, cross.T).T
    mean = f @ smoother.T
    spread = own - np.sum(smoother * cross, axis=1)
    if name == "squared":
        log -= 2 * np.log(2 * np.pi * temperature)
    exact = weighted(log, mean, spread + mean**2)
    result = mean_field(ensemble, num_units=FEW)
    assert result.converged and exact["effective"] > 10_000
    for what in ("mean", "variance"):
        distance = np.abs(getattr(result, f"predictive_{what}") - exact[what])
        assert np.all(distance < SIGMAS * exact[f"{what}_error"] + 2e-3), what
    distance = abs(result.log_evidence - exact["log_evidence"])
    assert distance < SIGMAS * exact["log_evidence_error"] + 2e-3


@pytest.mark.slow
def test_cold_losses_that_are_one():
    """For T → 0 hinge losses know their margin alone; Huber's is squared near its target."""
    data, temperature = labelled(12, in_size=20), 1e-9
    for losses in ((lnn.Hinge(1, 0.7), lnn.Hinge(2, 0.7)), (Huber(), lnn.Squared())):
        found, expected = (
            mean_field(ensemble_with(loss, data, 400, temperature), num_units=FEW)
            for loss in losses
        )
        assert found.converged and expected.converged and deviation(found, expected) < 1e-4


# Loss, examples, width, T, richness; how far off mean, variance (relative) and evidence may be.
EXACT = [
    ("logistic", 2, 20, 0.3, 0.5, 0.008, 0.02, 0.03),
    ("logistic", 2, 80, 0.3, 0.5, 0.003, 0.012, 0.015),
    ("logistic", 4, 80, 0.3, 0.3, 0.008, 0.03, 0.02),
    ("hinge", 2, 20, 0.3, 0.5, 0.01, 0.03, 0.03),
    ("huber", 2, 20, 0.3, 0.5, 0.015, 0.04, 0.06),
    ("huber", 4, 80, 0.3, 0.4, 0.005, 0.03, 0.05),
    ("hinge, power 1", 2, 20, 0.3, 0.3, 0.018, 0.03, 0.02),
    ("hinge, power 1", 2, 80, 0.02, 0.2, 0.004, 0.03, 0.02),
    ("hinge, power 1", 3, 20, 0.02, 0.2, 0.02, 0.06, 0.04),
]


@pytest.mark.slow_except("hinge, power 1-2-80-0.02-0.2-0.004-0.03-0.02")
@pytest.mark.parametrize(
    "name, num_train, width, temperature, richness, off, relative, of_evidence", EXACT
)
def test_against_the_exact_posterior(
    name, num_train, width, temperature, richness, off, relative, of_evidence
):
    loss, data = LOSSES[name][0], labelled(num_train)
    ensemble = ensemble_with(loss, data, width, temperature, richness)
    again = replace(data, x_test=data.x_train, y_test=data.y_train)
    at_train = mean_field(Ensemble(ensemble.spec, again, loss=loss), num_units=FEW)

    def potential(f):
        return np.sum(NUMPY[name](f, data.y_train), axis=-1) / ensemble.spec.temperature

    exact = one_layer_of_loss_by_importance(
        data, width, ensemble.spec.prior_precisions, potential, at_train.predictive_mean,
        1.5 * np.sqrt(at_train.predictive_variance) + 0.02, draws=40_000, seed=1,
    )  # fmt: skip
    result = mean_field(ensemble)
    assert exact["effective"] > 500 and result.converged and not result.message
    for what, margin in (("mean", off), ("variance", relative * exact["variance"])):
        distance = np.abs(getattr(result, f"predictive_{what}") - exact[what])
        assert np.all(distance < SIGMAS * exact[f"{what}_error"] + margin), what
    distance = abs(result.log_evidence - exact["log_evidence"])
    assert distance < SIGMAS * exact["log_evidence_error"] + of_evidence


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic", "hinge", "hinge, power 1"])
def test_against_the_sampler(name):
    loss, data = LOSSES[name][0], labelled(8, num_test=6, in_size=5)
    spec = ensemble_with(loss, data, 80, 0.3, 0.3).spec
    posterior = posterior_of(
        data, (80,), loss=loss, precisions=spec.prior_precisions, temperature=spec.temperature,
        key=jax.random.key(1),
    )  # fmt: skip
    chains = lnn.sample(
        posterior, lnn.Split(), key=jax.random.key(2), num_chains=8, num_samples=1500
    )
    found, result = lnn.summarise(chains), mean_field(posterior.ensemble)
    assert result.converged
    for quantity, relative in (("bias2", 0.03), ("variance", 0.05), ("train_error", 0.05)):
        measured, value = getattr(found, quantity), getattr(result, quantity).value
        assert measured.mcse < 0.05 * measured.value
        assert abs(value - measured.value) < SIGMAS * measured.mcse + relative * value, quantity


# --- where it applies, and how it is asked


@pytest.mark.slow
def test_it_is_asked_by_name_and_has_no_criterion():
    ensemble = ensemble_with(lnn.Logistic(), labelled(6), 30)
    everything = predict(ensemble)
    assert not everything.results
    assert "ask for it by name" in everything.not_applicable["mean_field"]
    named = predict(ensemble, ["mean_field", "cavity", "infinite_width"])
    assert list(named.results) == ["mean_field"] and named.criterion is None
    assert all("squared loss" in why for why in named.not_applicable.values())
    assert named.results["mean_field"].converged


def test_a_loss_that_it_does_not_describe():
    data = small_task()
    for ensemble, reason in (
        (ensemble_with(Cauchy(), data, 5), "convex in the output, cauchy is not"),
        (ensemble_of(data, (5,), loss="huber"), "of huber only the name is known"),
    ):
        with pytest.raises(NotApplicable, match=reason):
            mean_field(ensemble)
        assert reason.split()[-1] in predict(ensemble, "mean_field").not_applicable["mean_field"]
    with pytest.raises(InputError, match="labels y = ±1"):
        mean_field(ensemble_of(data, (5,), loss="hinge"))


def test_the_loss_of_an_ensemble_is_that_of_its_spec():
    data = labelled(4)
    with refuses("hinge", "logistic", 'loss="logistic"'):
        Ensemble(spec_of(data, loss="hinge"), data, loss=lnn.Logistic())
    ensemble = ensemble_with(lnn.Hinge(1, 0.5), data, 10)
    assert ensemble.at(temperature=1.0).loss == ensemble.at_richness(1.0).loss == lnn.Hinge(1, 0.5)
    assert ensemble.at(loss="logistic").loss == lnn.Logistic()
    assert pickle.loads(pickle.dumps(ensemble)).loss == lnn.Hinge(1, 0.5)


@pytest.mark.slow
def test_a_configuration_has_the_numbers_of_its_loss(tmp_path):
    y = np.array([1.0, -1.0, 1.0, 1.0])
    write_npz(tmp_path / "labels.npz", num_train=4, y_train=y, y_test=y)
    posterior = {"loss": "hinge", "hinge_power": 1, "margin": 0.5, "temperature": 0.2}
    config = configuration.from_dict({
        "data": {"source": "npz", "path": str(tmp_path / "labels.npz")}, "posterior": posterior,
        "network": {"hidden_widths": [20]}, "theory": ["mean_field"],
    })  # fmt: skip
    _, ensemble = run.prepare_theory(config)
    assert ensemble.loss == lnn.Hinge(1, 0.5)
    found, other = mean_field(ensemble), mean_field(Ensemble(ensemble.spec, ensemble.data))
    assert found.converged and deviation(found, other) > 0.01
    over = {"posterior.temperature": [0.2, 0.4]}
    swept = lnn.sweep(config, over, theory_only=True)
    values = swept["theory_bias2"].sel(theory="mean_field").to_numpy()
    colder = mean_field(ensemble.at(temperature=0.4))
    np.testing.assert_allclose(values, [found.bias2.value, colder.bias2.value], rtol=1e-12)
