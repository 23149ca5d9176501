"""NumPyro kernels and models: their laws, that both directions agree, that mistakes are caught."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from cases import gaussian_task, posterior_of
from numpyro.infer import MCMC, NUTS, Predictive
from numpyro.infer.util import potential_energy
from oracles import linear_langevin_law, nuts
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn.analysis.diagnostics import az, mcse
from langevin_nn.sampling.numpyro import models as numpyro_models
from langevin_nn.types import InputError

KEY = jax.random.key(6)
READOUTS = {"sampled": lnn.GibbsPosterior, "marginalised": lnn.MarginalisedPosterior}


def run(kernel, *args, num_chains=4, chain_method="vectorized", key=KEY, **changes):
    """MCMC that has run; `run_` arguments in `changes` are those of `MCMC.run`."""
    start = {name: changes.pop(name) for name in ("init_params", "extra_fields") if name in changes}
    settings = {"num_warmup": 20, "num_samples": 10, "progress_bar": False} | changes
    mcmc = MCMC(kernel, num_chains=num_chains, chain_method=chain_method, **settings)
    mcmc.run(key, *args, **start)
    return mcmc


# --- the law of a kernel on Gaussians: a linear network, and the same written in NumPyro

TEMPERATURE, PRECISION = 0.5, 0.7
LINEAR = gaussian_task(20, 3, 3)
FEATURES = LINEAR.x_train / np.sqrt(3)


def linear_model(temperature, offset=0.0):
    w = numpyro.sample("w", dist.Normal(offset, PRECISION**-0.5).expand([3]).to_event(1))
    with numpyro.plate("example", 20):
        numpyro.sample("y", dist.Normal(FEATURES @ w, temperature**0.5), obs=LINEAR.y_train)


def linear_kernel(side, transition, temperature=TEMPERATURE):
    """The kernel and the arguments of its model; ε = ηT on NumPyro's side."""
    if side == "model":
        if isinstance(transition, lnn.Langevin):
            transition = lnn.Langevin(transition.step_size * TEMPERATURE)
        return lnn.NumPyroKernel(linear_model, transition, steps_per_sample=1), (temperature,)
    posterior = posterior_of(LINEAR, (), "erf", (PRECISION,), temperature, key=KEY)
    observables = {"w": lambda network: network.weights[0][0]}
    return lnn.NumPyroKernel(
        posterior, transition, steps_per_sample=1, observables=observables
    ), ()  # fmt: skip


def linear_deviations(side, transition, seed, temperature=TEMPERATURE):
    """z-scores of the moments of w, for Langevin one step apart too, against the exact law."""
    kernel, args = linear_kernel(side, transition, temperature)
    mcmc = run(
        kernel, *args, num_chains=60_000, num_warmup=60, num_samples=2, key=jax.random.key(seed)
    )
    eta = transition.step_size if isinstance(transition, lnn.Langevin) else 0.0
    mean, covariance, lagged = linear_langevin_law(
        FEATURES, LINEAR.y_train, np.full(3, PRECISION), TEMPERATURE, eta
    )
    w = np.asarray(mcmc.get_samples(group_by_chain=True)["w"])
    before, after = np.moveaxis(w - mean, 1, 0)
    z = [z_scores(after, 0.0), z_scores(after[:, :, None] * after[:, None, :], covariance).ravel()]
    if eta:
        z.append(z_scores(before[:, :, None] * after[:, None, :], lagged).ravel())
    return worst(np.concatenate(z))


TRANSITIONS = {"langevin": lnn.Langevin(0.05), "split": lnn.Split()}


@pytest.mark.exhaustive_except("langevin-model", "split-posterior")
@pytest.mark.slow
@pytest.mark.parametrize("side", ["posterior", "model"])
@pytest.mark.parametrize("dynamics", ["langevin", "split"])
def test_kernels_have_their_exact_law(side, dynamics, seed):
    assert linear_deviations(side, TRANSITIONS[dynamics], seed) < SIGMAS


@pytest.mark.slow
def test_split_moves_sites_whose_prior_is_not_centred(seed):
    def model():
        a = numpyro.sample("a", dist.Normal(2.0, 0.5))
        with numpyro.plate("group", 3):
            b = numpyro.sample("b", dist.Normal(a, jnp.asarray([0.3, 0.6, 0.9])))
            numpyro.sample("y", dist.Normal(b, 0.4), obs=jnp.asarray([1.0, 3.0, 2.5]))

    mcmc = run(
        lnn.NumPyroKernel(model, lnn.Split()), num_chains=20_000, num_warmup=60, num_samples=1,
        key=jax.random.key(seed),
    )  # fmt: skip
    drawn = mcmc.get_samples()
    x = np.concatenate([drawn["a"][:, None], drawn["b"]], axis=1)
    prior = np.diag([0.0, 0.3**2, 0.6**2, 0.9**2]) + 0.25  # of (a, b): b = a + noise
    precision = np.linalg.inv(prior) + np.diag([0.0, 1, 1, 1]) / 0.16
    shift = np.linalg.inv(prior) @ np.full(4, 2.0) + np.array([0.0, 1.0, 3.0, 2.5]) / 0.16
    covariance = np.linalg.inv(precision)
    x = x - covariance @ shift
    squares = x[:, :, None] * x[:, None, :]
    assert worst(z_scores(x, 0.0)) < SIGMAS and worst(z_scores(squares, covariance)) < SIGMAS


class NoiseTooSmall(lnn.Langevin):
    """Noise √(ηT) for √(2ηT)."""

    def step(self, posterior, state, settings, keys):
        cold = eqx.tree_at(lambda p: p.temperature, posterior, posterior.temperature / 2)
        return super().step(cold, state, settings, keys)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "transition", "temperature"),
    [
        ("posterior", lnn.Split(), 1.1 * TEMPERATURE),
        ("model", lnn.Split(), 1.1 * TEMPERATURE),
        ("posterior", NoiseTooSmall(0.05), TEMPERATURE),
    ],
    ids=["temperature", "temperature of the model", "noise"],
)
def test_planted_mistakes_are_caught(side, transition, temperature, seed):
    assert linear_deviations(side, transition, seed, temperature) > 2 * SIGMAS


@pytest.mark.slow
def test_latent_sites_with_bounds_are_sampled_where_nuts_samples_them(seed):
    """Gamma(3, 2): z = log x has the density of log x, the transform's Jacobian with it."""
    kernel = lnn.NumPyroKernel(
        lambda: numpyro.sample("x", dist.Gamma(3.0, 2.0)), lnn.Langevin(1e-3), steps_per_sample=500
    )
    draws = run(
        kernel, num_chains=20_000, num_warmup=20, num_samples=1, key=jax.random.key(seed)
    ).get_samples()["x"]
    # E[x] and E[1/x] of the exact law; the step adds less than 0.1 %.
    moments = np.stack([draws, 1 / draws], axis=1)
    assert worst(z_scores(moments, np.array([1.5, 1.0]))) < SIGMAS


# --- the posterior as a NumPyro model


class TwoPaths(eqx.Module):
    straight: jax.Array
    bent: dict

    def __call__(self, x):
        return self.straight @ x + jnp.sum(jnp.tanh(self.bent["w"] * x + self.bent["b"]))


def small(kind):
    """A small posterior in float64: P = 6 inputs of N_0 = 8."""
    outputs = 1 if kind == "own module" else 3
    data = gaussian_task(6, 4, 8, num_outputs=outputs)
    if kind == "own module":
        own = TwoPaths(jnp.zeros(8), {"w": jnp.zeros(8), "b": jnp.zeros(())})
        return lnn.GibbsPosterior(own, lnn.GaussianPrior((1.0, 2.0, 0.5)), data, 0.2)
    return posterior_of(
        data, (5,), "tanh", (1.0, 1.5), 0.2, bias_precisions=(0.7, 2.0), key=KEY,
        kind=READOUTS[kind],
    )  # fmt: skip


def narrow(kind="sampled", dtype=jnp.float64):
    data = gaussian_task(4, 3, 6)
    return posterior_of(
        data, (3,), "tanh", (1.0, 1.5), 0.2, key=KEY, kind=READOUTS[kind], dtype=dtype
    )


def as_sites(params):
    """One network's arrays as the model's sites."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"network." + jax.tree_util.keystr(path)[1:]: x for path, x in leaves}


KINDS = [
    "sampled",
    *(pytest.param(k, marks=pytest.mark.slow) for k in ("marginalised", "own module")),
]


def density_error(model, posterior):
    """Largest error of the log density (up to a constant) and of its gradient, at some draws."""
    draws = posterior.sample_prior(KEY, 4)
    both = jax.jit(jax.vmap(jax.value_and_grad(lambda z: potential_energy(model, (), {}, z))))
    theirs, other = both(as_sites(draws))
    difference = theirs - posterior.potential(draws)
    mine = jax.jit(jax.grad(lambda p: jnp.sum(posterior.potential(p))))(draws)
    errors = [jnp.max(jnp.abs(value - other[name])) for name, value in as_sites(mine).items()]
    return float(jnp.ptp(difference)), float(jnp.max(jnp.stack(errors)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_model_has_the_posteriors_density(kind):
    posterior = small(kind)
    assert max(density_error(lnn.numpyro_model(posterior, test_outputs=False), posterior)) < 1e-10
    warm = eqx.tree_at(lambda p: p.temperature, posterior, 0.21)
    assert min(density_error(lnn.numpyro_model(warm, test_outputs=False), posterior)) > 1e-3


def assert_predictions_of_the_sites(posterior, found):
    """What is recorded is what the posterior predicts at the draws of the sites beside it."""
    example = jax.tree.map(lambda x: x[0], posterior.sample_prior(KEY, 1))
    names = as_sites(example)
    assert set(names) <= set(found)
    params = jax.tree.unflatten(jax.tree.structure(example), [found[name] for name in names])
    number = len(found["test_outputs"])
    if posterior.space is None:
        assert "outside" not in found
    else:
        # The columns outside the span, as inputs see them on which the network is not reduced.
        wide = jnp.concatenate([params.weights[0], found["outside"]], axis=-1)
        params = eqx.tree_at(lambda n: n.weights[0], params, wide)
        inputs = np.pad(posterior.x_train, ((0, 0), (0, wide.shape[-1] - posterior.space.rank)))
        posterior = eqx.tree_at(
            lambda p: (p.space, p.x_train, p.network.weights[0]), posterior,
            (None, jnp.asarray(inputs), wide[0]),
        )  # fmt: skip
    expected = posterior.predictions(params, jax.random.split(KEY, number))
    assert set(expected) == {name for name in found if name.startswith("test_")}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*READOUTS, "own module"])
def test_the_models_test_outputs_are_the_networks(kind):
    posterior = small(kind)
    found = Predictive(lnn.numpyro_model(posterior), num_samples=1)(KEY)
    assert_predictions_of_the_sites(posterior, found)


def test_records_have_no_part_in_the_derivative():
    """A marginalised read-out's have none that goes backwards, and NUTS asks for that."""
    posterior = narrow("marginalised")
    whole, bare = (lnn.numpyro_model(posterior, test_outputs=on) for on in (True, False))
    sites = as_sites(jax.tree.map(lambda x: x[0], posterior.sample_prior(KEY, 1)))
    outside = jnp.full((3, 6 - posterior.space.rank), 0.3)

    @jax.jit
    def gradients(sites, outside):
        energy = [
            lambda z, model=model: potential_energy(model, (), {}, z) for model in (whole, bare)
        ]
        return jax.grad(energy[0])(sites | {"outside": outside}), jax.grad(energy[1])(sites)

    found, expected = gradients(sites, outside)
    np.testing.assert_allclose(found.pop("outside"), outside, rtol=1e-12)  # of its prior, N(0, 1)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12)


def convolution():
    data = gaussian_task(4, 3, 16)
    network = lnn.Convolutional(
        lnn.Patches((4, 4, 1), size=2, stride=2), 3, "erf", key=KEY, dtype=jnp.float64
    )
    return lnn.MarginalisedPosterior(network, lnn.GaussianPrior((1.0, 1.5)), data, 0.2)


@pytest.mark.exhaustive_except("convolution")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "method"),
    [(lambda: small("marginalised"), "vectorized"), (convolution, "sequential")],
    ids=["three outputs, biases", "convolution"],
)
def test_nuts_records_what_the_posterior_predicts_at_its_draws(made, method):
    posterior = made()
    kernel = NUTS(lnn.numpyro_model(posterior), max_tree_depth=3)
    with jax.numpy_dtype_promotion("standard"):  # NumPyro's NUTS implies types
        draws = run(
            kernel, num_chains=2, chain_method=method, num_warmup=5, num_samples=4
        ).get_samples()
    assert "test_variances" in draws
    assert np.ptp(np.asarray(draws["test_outputs"]), axis=0).min() > 0
    assert_predictions_of_the_sites(posterior, draws)


@pytest.mark.exhaustive_except("split")
@pytest.mark.slow
@pytest.mark.parametrize("transition", TRANSITIONS.values(), ids=TRANSITIONS)
def test_our_kernels_record_it_too(transition):
    posterior = narrow("marginalised")
    kernel = lnn.NumPyroKernel(lnn.numpyro_model(posterior), transition)
    draws = run(kernel, num_chains=2, num_warmup=5, num_samples=4).get_samples()
    assert_predictions_of_the_sites(posterior, draws)


@pytest.mark.slow
def test_what_lies_outside_the_span_has_its_prior(seed):
    """Before any data f(x) of a linear network is N(0, |x|²/(λN_0)), here mostly from outside."""
    data = gaussian_task(2, 3, 6)
    posterior = posterior_of(data, (), precisions=(2.0,), temperature=0.5, key=KEY)
    prior = numpyro.handlers.block(lnn.numpyro_model(posterior), hide=["y"])
    f = Predictive(prior, num_samples=20_000)(jax.random.key(seed))["test_outputs"]
    exact = np.sum(data.x_test**2, axis=1) / 12
    assert worst(z_scores(f**2, exact)) < SIGMAS
    assert worst(z_scores((f**2), 1.1 * exact)) > SIGMAS


def test_an_array_without_a_site_is_refused(monkeypatch):
    def forgetful(name, module, prior, scope_divider):
        kept = dict(list(prior.items())[1:])
        return whole(name, module, kept, scope_divider)

    whole = numpyro_models.random_eqx_module
    monkeypatch.setattr(numpyro_models, "random_eqx_module", forgetful)
    with pytest.raises(InputError, match=r"\['network.weights\[0\]'\] got no site"):
        lnn.numpyro_model(small("sampled"))


@pytest.mark.slow
def test_nuts_on_the_model_agrees_with_our_dynamics(seed):
    data = gaussian_task(5, 12, 8)
    network = lnn.FullyConnected(8, (6,), "erf", key=KEY, dtype=jnp.float64)
    settings = (network, lnn.GaussianPrior((1.0, 1.5)), data, 0.3)
    f = nuts(
        lnn.numpyro_model(lnn.GibbsPosterior(*settings)), key=jax.random.key(seed), num_warmup=500,
        num_samples=3000, num_chains=4,
    )["test_outputs"]  # fmt: skip
    chains = lnn.sample(
        lnn.MarginalisedPosterior(*settings), lnn.Split(), key=jax.random.key(seed), num_chains=8,
        num_samples=2000,
    )  # fmt: skip
    m, s = chains.test_outputs, chains.test_variances
    for mine, theirs in ((m, f), (s + m**2, f**2)):
        error = np.hypot(mcse(mine), mcse(theirs))
        assert np.all(error < 0.05 * np.sqrt(np.mean(f**2)))
        assert worst((mine.mean((0, 1)) - theirs.mean((0, 1))) / error) < SIGMAS


# --- one chain is the same from either side


@pytest.mark.exhaustive_except("marginalised-langevin")
@pytest.mark.slow
@pytest.mark.parametrize("dynamics", ["langevin", "split"])
@pytest.mark.parametrize("kind", ["sampled", "marginalised"])
def test_both_directions_make_the_same_chain(kind, dynamics):
    """The same keys and starts: one on the posterior, one on its NumPyro model at ε = ηT."""
    posterior = narrow(kind)
    start = posterior.sample_prior(KEY, 3)
    pairs = {
        "langevin": (lnn.Langevin(1e-3), lnn.Langevin(1e-3 * 0.2)),
        "split": (lnn.Split(), lnn.Split()),
    }
    model = lnn.numpyro_model(posterior, test_outputs=False)
    mine, theirs = (
        run(
            lnn.NumPyroKernel(target, transition, steps_per_sample=2), num_chains=3,
            num_warmup=5, num_samples=5, init_params=first,
            extra_fields=("adapt_state.step_size",),
        )
        for target, transition, first in zip(
            (posterior, model), pairs[dynamics], (start, as_sites(start)), strict=True
        )
    )  # fmt: skip
    last = mine.last_state.chains.params
    draws = theirs.get_samples(group_by_chain=True)
    for name, value in as_sites(last).items():
        np.testing.assert_allclose(draws[name][:, -1], value, rtol=1e-6)
    if dynamics == "split":
        sizes = [m.get_extra_fields()["adapt_state.step_size"] for m in (mine, theirs)]
        np.testing.assert_allclose(*sizes, rtol=1e-6)
        assert np.ptp(sizes[0]) == 0 and sizes[0][0] != 0.1, "it settles once, at the warm-up's end"


# --- what MCMC makes of it


@pytest.mark.slow
def test_a_kernel_samples_what_the_driver_samples(seed):
    posterior, key = narrow("marginalised"), jax.random.key(seed)
    chains = lnn.sample(posterior, lnn.Split(), key=key, num_chains=64, num_warmup=100,
                        num_samples=100)  # fmt: skip
    mcmc = run(
        lnn.NumPyroKernel(posterior, lnn.Split()), num_chains=64, num_warmup=100, num_samples=100,
        extra_fields=("info.acceptance", "adapt_state.step_size"), key=key,
    )  # fmt: skip
    draws, fields = mcmc.get_samples(group_by_chain=True), mcmc.get_extra_fields(True)
    assert set(draws) == {
        "test_outputs", "test_variances", "test_draws", "train_error", "energy"
    }  # fmt: skip
    for name in draws:
        mine, theirs = np.asarray(draws[name]), getattr(chains, name)
        error = np.hypot(mcse(mine), mcse(theirs))
        assert worst((mine.mean((0, 1)) - theirs.mean((0, 1))) / error) < SIGMAS, name
    # Both warm-ups aim at 0.8 with 100 trajectories of 64 chains.
    for acceptance in (fields["info.acceptance"], chains.acceptance):
        assert acceptance.shape == (64, 100) and 0.7 < acceptance.mean() < 0.95
    assert not fields["diverging"].any()
    assert fields["adapt_state.step_size"][0, 0] == pytest.approx(chains.step_size, rel=0.3)


@pytest.mark.exhaustive_except("3")
@pytest.mark.slow
@pytest.mark.parametrize("num_chains", [1, 3])
def test_sequential_chains_are_the_vectorised_ones(num_chains):
    kernel = lnn.NumPyroKernel(narrow(), lnn.Langevin(0.01), steps_per_sample=3)
    one, other = (
        run(kernel, num_chains=num_chains, chain_method=method, extra_fields=["potential_energy"])
        for method in ("vectorized", "sequential")
    )
    for mine, theirs in (
        (one.get_samples(True), other.get_samples(True)),
        (one.get_extra_fields(True), other.get_extra_fields(True)),
    ):
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert mine[name].shape[:2] == (num_chains, 10)
            np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-9)


@pytest.mark.exhaustive_except("vectorized")
@pytest.mark.slow
@pytest.mark.parametrize("method", ["vectorized", "sequential"])
def test_a_run_goes_on_from_its_last_state(method):
    kernel = lnn.NumPyroKernel(narrow(), lnn.Split())
    whole = run(kernel, num_chains=2, chain_method=method, num_samples=12).get_samples(True)
    # A new kernel, as in another process, which has seen no warm-up.
    first = run(kernel, num_chains=2, chain_method=method, num_samples=6)
    again = MCMC(
        lnn.NumPyroKernel(narrow(), lnn.Split()), num_warmup=0, num_samples=6, num_chains=2,
        chain_method=method, progress_bar=False,
    )  # fmt: skip
    again.post_warmup_state = first.last_state
    again.run(first.last_state.rng_key)
    for name, value in whole.items():
        parts = [first.get_samples(True)[name], again.get_samples(True)[name]]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), value)
    other = MCMC(
        kernel, num_warmup=0, num_samples=6, num_chains=3, chain_method=method, progress_bar=False
    )
    other.post_warmup_state = first.last_state
    if method == "vectorized":
        with pytest.raises(InputError, match="write num_chains = 2"):
            other.run(KEY)


@pytest.mark.slow
def test_warmup_alone_then_a_run_and_keys_of_the_old_kind():
    kernel = lnn.NumPyroKernel(narrow(dtype=jnp.float32), lnn.Split())
    settings = {"num_warmup": 20, "num_samples": 5, "progress_bar": False}
    mcmc = MCMC(kernel, num_chains=2, chain_method="vectorized", **settings)
    mcmc.warmup(jax.random.PRNGKey(0))
    assert mcmc.post_warmup_state.step == 0
    before = mcmc.post_warmup_state.adapt_state.step_size
    mcmc.run(jax.random.PRNGKey(1))
    assert mcmc.last_state.step == 5
    assert np.all(mcmc.last_state.adapt_state.step_size != before)
    assert mcmc.get_samples()["test_outputs"].dtype == jnp.float32


@pytest.mark.slow
def test_arviz_reads_posteriors_and_models():
    fields = ["potential_energy", "info.acceptance", "adapt_state.step_size"]
    kernel = lnn.NumPyroKernel(narrow(), lnn.Split())
    found = az.from_numpyro(run(kernel, extra_fields=fields))
    assert found["posterior"]["test_outputs"].shape == (4, 10, 3)
    assert found["sample_stats"]["diverging"].shape == (4, 10)
    assert float(az.rhat(found["posterior"])["energy"]) > 0
    kernel, args = linear_kernel("model", lnn.Split())
    found = az.from_numpyro(run(kernel, *args, extra_fields=fields))
    assert found["posterior"]["w"].shape == (4, 10, 3)
    assert found["observed_data"]["y"].shape == (20,)
    model = lnn.numpyro_model(narrow())
    found = az.from_numpyro(run(lnn.NumPyroKernel(model, lnn.Split())))
    assert {"network.weights[0]", "test_outputs", "outside"} <= set(found["posterior"])
    assert found["observed_data"]["y"].dims == ("train_example",)


@pytest.mark.slow
def test_chains_that_diverge_are_marked():
    data = gaussian_task(6, 4, 8)
    posterior = posterior_of(data, (5, 5), "relu", (1e-2,) * 3, 0.2, key=KEY, dtype=jnp.float32)
    kernel = lnn.NumPyroKernel(posterior, Reckless(10.0))
    mcmc = run(kernel)
    assert mcmc.get_extra_fields()["diverging"].all()


class Reckless(lnn.Langevin):
    """Any step size is taken."""

    def start(self, posterior, params, key):
        return self.settings(self.step_size)


# --- input that cannot be used


def nothing_latent():
    numpyro.sample("y", dist.Normal(0, 1), obs=1.0)


def with_scale():
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    numpyro.sample("w", dist.Normal(0, scale))
    with numpyro.handlers.scale(scale=2.0):
        numpyro.sample("v", dist.Normal(0, 1))


def discrete():
    numpyro.sample("coin", dist.Bernoulli(0.5))


def promoting():
    """What NumPyro's distributions compute mixes types: Booleans, integers and floats."""
    w = numpyro.sample("w", dist.Normal(0.0, jnp.float32(1)).expand([2]).to_event(1))
    numpyro.sample("coin", dist.Bernoulli(logits=w[0]), obs=1)
    numpyro.sample("dice", dist.Multinomial(3, logits=w), obs=np.array([1, 2]))


@pytest.mark.slow_except("split")
@pytest.mark.parametrize(
    "transition",
    [lnn.Langevin(0.05), pytest.param(lnn.Split(), marks=pytest.mark.slow)],
    ids=["langevin", "split"],
)
def test_models_whose_types_numpyro_promotes(transition):
    """With `jax_numpy_dtype_promotion = "strict"`, as all tests, under which NUTS itself fails."""
    assert jax.config.jax_numpy_dtype_promotion == "strict"
    kernel = lnn.NumPyroKernel(promoting, transition, steps_per_sample=1)
    assert np.all(np.isfinite(run(kernel).get_samples()["w"]))


@pytest.mark.parametrize(
    ("model", "transition", "message"),
    [
        (nothing_latent, lnn.Langevin(0.1), "nothing_latent has no latent sites"),
        (discrete, lnn.Langevin(0.1), r"\['coin'\] are discrete"),
        (with_scale, lnn.Split(), "scale ~ HalfNormal, v ~ Normal, scaled"),
    ],
)
def test_models_that_cannot_be_sampled_are_refused(model, transition, message):
    with pytest.raises(InputError, match=message):
        run(lnn.NumPyroKernel(model, transition))


def test_other_input_that_cannot_be_used():
    posterior = narrow()
    kernel = lnn.NumPyroKernel(posterior, lnn.Split())
    with pytest.raises(InputError, match="steps_per_sample must be"):
        lnn.NumPyroKernel(posterior, lnn.Split(), steps_per_sample=0)
    with pytest.raises(InputError, match="numpyro.deterministic"):
        lnn.NumPyroKernel(with_scale, lnn.Langevin(), observables={"w": lambda n: n})
    with pytest.raises(InputError, match="neither a posterior nor a NumPyro model"):
        lnn.NumPyroKernel(3.0, lnn.Split())
    with pytest.raises(InputError, match="init_params have the shapes"):
        run(kernel, init_params={"w": jnp.zeros((4, 3))})
    with pytest.raises(InputError, match='chain_method="vectorized"'):
        run(kernel, chain_method=jax.vmap)
