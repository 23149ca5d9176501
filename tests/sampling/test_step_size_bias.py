"""The predicted bias of the step size against brute force (FAULTS 1.14).

With two weights the dynamics' stationary law is the leading eigenvector of its transition density
on a grid, at any step size. What the package makes of draws of the posterior is held against it.
"""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task, posterior_of, some_params
from oracles import NUMPY_ACTIVATIONS
from samplers import slow_unless
from scipy.sparse.linalg import LinearOperator, eigs
from statistics_in_sigmas import SIGMAS

import langevin_nn as lnn
from langevin_nn.sampling.draws import Slopes
from langevin_nn.sampling.dynamics.step_size import energy_slopes, slope_stride
from langevin_nn.sampling.engine import driver

KEY = jax.random.key(3)
PRECISIONS, TEMPERATURE = (2.0, 0.3), 1.0
NAMES = ("bias2", "variance", "generalisation_error", "train_error")
STEPS = (0.03, 0.015)


def tiny(activation="tanh", *, in_size=1, kind=lnn.GibbsPosterior, labels=False, loss=None):
    data = gaussian_task(3, 4, in_size, seed=1)
    if labels:
        data = lnn.Dataset("labels", data.x_train, np.array([1.0, -1, 1]), data.x_test, data.y_test)
    return posterior_of(
        data, (1,), activation, PRECISIONS, TEMPERATURE, loss=loss, key=KEY, kind=kind
    )


class WithOwnRule(eqx.Module):
    """v tanh(w x), whose backward pass alone is defined: nothing can be pushed forward."""

    w: jax.Array
    v: jax.Array

    def __call__(self, x):
        return self.v[0] * _squashed(self.w * x)[0]


@jax.custom_vjp
def _squashed(z):
    return jnp.tanh(z)


def _squashed_forward(z):
    return jnp.tanh(z), jnp.tanh(z)


def _squashed_backward(value, cotangent):
    return (cotangent * (1 - value**2),)


_squashed.defvjp(_squashed_forward, _squashed_backward)


def own_rule():
    network = WithOwnRule(jnp.zeros(1, jnp.float64), jnp.zeros(1, jnp.float64))
    prior = lnn.GaussianPrior(PRECISIONS)
    return lnn.GibbsPosterior(network, prior, gaussian_task(3, 4, 1, seed=1), TEMPERATURE)


CASES = {
    "erf": lambda: tiny("erf"),
    "tanh": tiny,
    "relu": lambda: tiny("relu"),
    "gelu": lambda: tiny("gelu"),
    "logistic": lambda: tiny(labels=True, loss=lnn.model.losses.Logistic()),
    "marginalised": lambda: tiny(in_size=2, kind=lnn.MarginalisedPosterior),
    "own rule": own_rule,
}


class Law:
    """The posterior on a grid of its two weights, and the dynamics' law at a step size."""

    def __init__(self, posterior, spacing):
        self.posterior = posterior
        precisions = [p for p in posterior.sampled_prior.by_array for _ in range(2)]
        reach = [5 / np.sqrt(p) for p in (precisions[0], precisions[-1])]
        # relu's force jumps at w = 0: sums over a grid are of first order in the spacing unless
        # the jump lies half-way between two points.
        counts = [np.arange(-int(half / spacing), int(half / spacing) + 1) for half in reach]
        self.axes = [(count + 0.5) * spacing for count in counts]
        points = np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1).reshape(-1, 2)
        shapes = eqx.filter_eval_shape(posterior.sample_prior, KEY, len(points))
        leaves, structure = jax.tree.flatten(shapes)
        ends = np.cumsum([leaf.size // len(points) for leaf in leaves])[:-1]
        columns = np.split(points, ends, axis=1)
        filled = [
            jnp.asarray(c.reshape(leaf.shape)) for c, leaf in zip(columns, leaves, strict=True)
        ]
        self.points, self.params = points, jax.tree.unflatten(structure, filled)
        found = evaluated(posterior, self.params, jax.random.split(KEY, len(points)))
        self.values, self.slopes, gradient = jax.tree.map(np.asarray, found)
        self.force = np.concatenate(
            [g.reshape(len(points), -1) for g in jax.tree.leaves(gradient)], axis=1
        )
        weight = np.exp(-(self.values["energy"] - self.values["energy"].min()) / TEMPERATURE)
        self.weight = weight / weight.sum()

    def at_step_size(self, step_size):
        moved = self.points - step_size * self.force
        kernels = []
        for axis, mean in zip(self.axes, moved.T, strict=True):
            kernel = np.exp(-np.square(axis - mean[:, None]) / (4 * step_size * TEMPERATURE))
            kernels.append(kernel / kernel.sum(axis=1, keepdims=True))
        first, second = kernels

        def pushed(weight):
            return (first.T @ (weight.ravel()[:, None] * second)).ravel()

        size = len(self.points)
        operator = LinearOperator((size, size), matvec=pushed, dtype=np.float64)
        law = np.real(eigs(operator, k=1, v0=self.weight, ncv=60, tol=1e-11)[1][:, 0])
        return law / law.sum()

    def numbers(self, law):
        """What `summarise` would report, were the draws these points with these weights."""
        y, f = self.posterior.y_test, self.values["test_outputs"]
        mean = law @ f
        within = self.values.get("test_variances", np.zeros_like(f))
        bias2 = np.mean((y - mean) ** 2)
        variance = np.mean(law @ ((f - mean) ** 2 + within))
        return np.array([bias2, variance, bias2 + variance, law @ self.values["train_error"]])

    def predicted(self):
        """The leading order by the package's slopes, each over η, by exact averages."""
        y, f = self.posterior.y_test, self.values["test_outputs"]
        mean = self.weight @ f
        within = self.values.get("test_variances", np.zeros_like(f)).mean(axis=1)
        along = self.slopes["test_outputs"]
        pairs = [
            (-2 * f @ (y - mean) / len(y), -2 * along @ (y - mean) / len(y)),
            (
                np.mean((f - mean) ** 2, axis=1) + within,
                2 * np.mean((f - mean) * along, axis=1) + self.slopes.get("test_variances", 0),
            ),
            (self.values["train_error"], self.slopes["train_error"]),
        ]
        bias2, variance, train = (
            0.25
            * self.weight
            @ (
                np.sqrt(TEMPERATURE) * slope
                - (value - self.weight @ value)
                * (self.slopes["stiffness"] - self.weight @ self.slopes["stiffness"])
            )
            for value, slope in pairs
        )
        return np.array([bias2, variance, bias2 + variance, train])


@eqx.filter_jit
def evaluated(posterior, params, keys):
    gradient = jax.grad(lambda p: jnp.sum(posterior.energy(p)))(params)
    return posterior.record(params, keys), energy_slopes(posterior, params, keys), gradient


@functools.cache
def law_of(case, spacing):
    return Law(CASES[case](), spacing)


COARSE, FINE = 0.17, 0.03
"""Spacings for the transition density, a noise's standard deviation, and for a kink's posterior."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [slow_unless(("tanh", "marginalised"), name, name) for name in CASES]
)
def test_leading_order_is_that_of_the_transition_density(case):
    """FAULTS 1.14: the bias over η as η → 0, from two step sizes."""
    posterior = law_of(case, FINE)
    exact, predicted = posterior.numbers(posterior.weight), posterior.predicted()

    def shift(spacing, step_size):
        law = law_of(case, spacing)
        return (law.numbers(law.at_step_size(step_size)) - exact) / step_size

    coarse, fine = (shift(COARSE, step_size) for step_size in STEPS)
    if case == "relu":  # whose kink leaves the second order in the spacing
        closer = [shift(COARSE / np.sqrt(2), step_size) for step_size in STEPS]
        coarse, fine = 2 * closer[0] - coarse, 2 * closer[1] - fine
    limit = 2 * fine - coarse
    np.testing.assert_allclose(predicted, limit, rtol=0.03, atol=0.03 * np.abs(limit).max())


def chains_of(posterior, seed, **settings):
    settings = {
        "num_chains": 200, "num_warmup": 400, "num_samples": 50, "thinning": 20
    } | settings  # fmt: skip
    return lnn.sample(posterior, lnn.Langevin(0.01), key=jax.random.key(seed), **settings)


@pytest.mark.slow
@pytest.mark.parametrize(("num_train", "biases"), [(4, True), (12, False)])
def test_derivatives_of_a_marginalised_record(num_train, biases):
    """In closed form, by either of the two factors, against differences."""
    data = gaussian_task(num_train, 5, 4, num_outputs=2)
    posterior = posterior_of(
        data, (9,), precisions=(1.0, 0.5), temperature=0.05, key=KEY,
        bias_precisions=(1.0, 2.0) if biases else None, kind=lnn.MarginalisedPosterior,
    )  # fmt: skip
    params, direction = (some_params(posterior, 3, seed) for seed in (0, 1))
    keys = jax.random.split(KEY, 3)
    record = eqx.filter_jit(lambda p: posterior.record(p, keys))
    ahead, behind = (
        record(jax.tree.map(lambda w, d, h=h: w + h * d, params, direction)) for h in (1e-5, -1e-5)
    )
    found = eqx.filter_jit(lambda p: posterior.record_along(p, keys, direction))(params)
    for name, value in found.items():
        np.testing.assert_allclose(value, (ahead[name] - behind[name]) / 2e-5, atol=1e-6)


@pytest.mark.exhaustive_except("erf", "tanh", "marginalised", "own rule", "logistic")
@pytest.mark.slow
@pytest.mark.parametrize("case", [slow_unless(("tanh",), name, name) for name in CASES])
def test_prediction_from_draws_is_within_its_error(case, seed):
    """And its error is a few times smaller than the numbers' own."""
    measured = lnn.summarise(chains_of(CASES[case](), seed))
    for name, exact in zip(NAMES, 0.01 * law_of(case, FINE).predicted(), strict=True):
        predicted = getattr(measured.step_size_bias, name)
        assert abs(predicted.value - exact) < SIGMAS * predicted.mcse + 0.1 * abs(exact), name
        assert 0 < predicted.mcse < 0.5 * getattr(measured, name).mcse


@pytest.mark.exhaustive_except("erf", "relu")
@pytest.mark.slow
@pytest.mark.parametrize("activation", ["erf", "tanh", "relu", "gelu"])
def test_chains_are_shifted_by_what_is_predicted(activation, seed):
    """FAULTS 1.14's case: N_0 = 2, N_1 = 1, P = 3, against the posterior on a grid."""
    posterior = tiny(activation, in_size=2)
    exact = on_a_grid(NUMPY_ACTIVATIONS[activation], posterior)
    chains = lnn.sample(
        posterior, lnn.Langevin(0.04), key=jax.random.key(seed), num_chains=2_000,
        num_warmup=1_000, num_samples=100, thinning=20,
    )  # fmt: skip
    measured, largest = lnn.summarise(chains), 0.0
    for name, value in exact.items():
        found, predicted = getattr(measured, name), getattr(measured.step_size_bias, name)
        error = np.hypot(found.mcse, predicted.mcse)
        # The next order in η is a part η Λ of this one.
        slack = 0.4 * abs(predicted.value)
        assert abs(found.value - value - predicted.value) < SIGMAS * error + slack, name
        largest = max(largest, abs(found.value - value) / found.mcse)
    assert largest > 2 * SIGMAS, "the shift is seen"
    assert "train_error" in measured.biased and "†" in str(lnn.compare(measured))


def on_a_grid(function, posterior):
    """bias², variance and training error of one hidden unit, by sums over its three weights."""
    w = np.linspace(-4.2, 4.2, 121)
    v = np.linspace(-11, 11, 181)
    hidden = np.stack(np.meshgrid(w, w, indexing="ij"), axis=-1).reshape(-1, 2)
    x, x_test = (np.asarray(each) / np.sqrt(2) for each in (posterior.x_train, posterior.x_test))
    y, y_test = np.asarray(posterior.y_train), posterior.y_test
    features, test = function(hidden @ x.T), function(hidden @ x_test.T)
    square, cross = np.sum(features**2, axis=1), features @ y
    errors = square[:, None] * v**2 - 2 * cross[:, None] * v + y @ y
    energy = PRECISIONS[0] / 2 * np.sum(hidden**2, axis=1)[:, None] + PRECISIONS[1] / 2 * v**2
    energy += errors / 2 / TEMPERATURE
    weight = np.exp(energy.min() - energy)
    weight /= weight.sum()
    mean = (weight @ v) @ test
    variance = (weight @ v**2) @ test**2 - mean**2
    return {
        "bias2": np.mean((y_test - mean) ** 2),
        "variance": np.mean(variance),
        "train_error": np.sum(weight * errors) / len(y),
    }


@pytest.mark.slow
def test_prediction_on_a_linear_network_is_the_linear_laws(seed):
    """With D outputs (η T/2) D x·x/N_0 for each test point, averaged; f̄ has none."""
    data = gaussian_task(9, 6, 3, num_outputs=2)
    posterior = posterior_of(data, (), temperature=0.4, key=KEY)
    measured = lnn.summarise(
        lnn.sample(posterior, lnn.Langevin(0.02), key=jax.random.key(seed), num_chains=100)
    )
    bias = measured.step_size_bias
    exact = 0.02 * 0.4 / 2 * 2 * np.mean(np.sum(data.x_test**2, axis=1)) / 3
    assert abs(bias.variance.value - exact) < SIGMAS * bias.variance.mcse < 0.2 * exact
    assert abs(bias.bias2.value) < SIGMAS * bias.bias2.mcse


@pytest.mark.slow
def test_slopes_go_on_after_an_interruption(tmp_path, monkeypatch):
    """Bit for bit, in chunks that do not care where the draws with slopes are."""
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)
    settings = {"num_chains": 2, "num_warmup": 5, "num_samples": 300, "thinning": 1}
    whole = chains_of(tiny(), 0, **settings)

    def interrupt(report):
        if report.steps == 108:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chains_of(tiny(), 0, **settings, checkpoint=tmp_path, progress=interrupt)
    resumed = chains_of(tiny(), 0, **settings, checkpoint=tmp_path, resume=True)
    assert whole.slopes.draws.tolist() == list(range(0, 300, slope_stride(300, 1)))
    for mine, theirs in zip(
        jax.tree.leaves(vars(resumed.slopes)), jax.tree.leaves(vars(whole.slopes)), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    assert lnn.summarise(resumed).step_size_bias == lnn.summarise(whole).step_size_bias


@pytest.mark.parametrize(
    ("counts", "stride"),
    [((1000, 100), 4), ((1000, 1), 32), ((4, 1), 1), ((100_000, 1), 512), ((65_536, 100), 256)],
)
def test_few_draws_have_slopes(counts, stride):
    """At most 256 of each chain, no more than 400 steps apart where that is not to be less, 16 at
    least where there are as many draws."""
    assert slope_stride(*counts) == stride


@pytest.mark.slow
def test_none_where_there_is_none_and_where_it_is_not_known():
    """Swaps bring the bias of other rungs: half and twice the prediction were seen on two."""
    settings = {"key": KEY, "num_chains": 2, "num_warmup": 5, "num_samples": 4, "thinning": 1}
    split = lnn.sample(tiny(), lnn.Split(), **settings)
    ladder = lnn.temper(tiny(), lnn.Langevin(0.01), (3.0,), **settings)
    assert split.slopes is None and ladder.chains[0].slopes is None
    assert lnn.summarise(split).step_size_bias is None and "‡" not in table_of(split)
    for chains in ladder.chains:
        assert_not_known(chains)


def assert_not_known(chains):
    measured, table = lnn.summarise(chains), table_of(chains)
    bias = measured.step_size_bias
    assert bias.unknown == ("bias2", "variance", "generalisation_error", "train_error")
    assert bias.message.startswith("step-size shift not known") and "with a ladder" in bias.message
    assert measured.biased == () and "†" not in table
    row, note = table.splitlines()[2:4]
    assert row.count(" ‡") == 4 and note == f"‡ {bias.message}"


def table_of(chains):
    return str(lnn.compare(lnn.summarise(chains)))


@pytest.mark.slow
def test_numbers_are_marked_where_the_shift_is_larger_than_the_error():
    chains = chains_of(tiny(), 0, num_samples=8, thinning=1)
    known = lnn.summarise(chains).step_size_bias
    assert known.unknown == () and known.message == "" and "‡" not in table_of(chains)
    fewer = {
        name: getattr(chains, name)[:, :4] for name in ("test_outputs", "train_error", "energy")
    }
    assert_not_known(dataclasses.replace(chains, slopes=None))
    assert_not_known(dataclasses.replace(chains, **fewer, train_outputs=None))
    doubled = Slopes(**vars(chains.slopes) | {"stiffness": 1e3 * chains.slopes.stiffness})
    assert lnn.summarise(chains).biased == ()
    assert "†" not in str(lnn.compare(lnn.summarise(chains)))
    marked = lnn.summarise(dataclasses.replace(chains, slopes=doubled))
    assert marked.biased
    table = str(lnn.compare(marked))
    assert " †" in table and "shifted by the step size by more than" in table
