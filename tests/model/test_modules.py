"""Equinox modules of the user's own as networks, against plain NumPy (FAULTS 1.5 and 5)."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from cases import gaussian_task, some_params
from oracles import nuts
from samplers import slow_unless
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn.analysis.diagnostics import mcse
from langevin_nn.types import InputError

KEY = jax.random.key(0)
DATA = gaussian_task(6, 3, 4)
MASK = np.array([True, False, True, True])


class Linear(eqx.Module):
    """w·x, and whatever `change` makes of it with `extra`."""

    w: jax.Array
    extra: Any
    change: Callable = eqx.field(static=True)

    def __call__(self, x):
        return self.change(self.w, self.extra, x)


class Shared(eqx.Module):
    """Two layers, the second with the first's weights, transposed."""

    pair: eqx.nn.Shared

    def __init__(self):
        first, second = (eqx.nn.Linear(4, 4, use_bias=False, key=KEY) for _ in range(2))
        self.pair = eqx.nn.Shared(
            (first, second), where=lambda pair: pair[1].weight, get=lambda pair: pair[0].weight.T
        )

    def __call__(self, x):
        first, second = self.pair()
        return jnp.sum(second(jnp.tanh(first(x))))


def linear(extra, change, in_numpy, size=4):
    """A module, and f of its array and the inputs in NumPy."""
    return Linear(jnp.zeros(size), extra, change), lambda leaves, x: in_numpy(leaves[0], x)


def of_layers(layers):
    return {"a": [layers, None], "b": (2.0, "name")}


def standardised(w, x):
    z = w * x
    centred = z - z.mean(axis=1, keepdims=True)
    return (centred / np.sqrt(z.var(axis=1, keepdims=True) + 1e-5)) @ np.arange(4.0)


NOISE_KEY = jax.random.key(5)
DROPPED = np.asarray(jax.random.bernoulli(NOISE_KEY, 0.5, (4,)))


def with_mask(w, mask, x):
    return jnp.sum(jnp.where(mask, w, 0) * x)


def with_numbers(w, e, x):
    return (e["scale"] if e["flag"] else 1.0) * jnp.sum(w[: e["n"]] ** e["n"])


def with_scalars(w, e, x):
    return e[0] * jnp.sum(w[: e[1]] * x[: e[1]]) if e[2] else x[0]


def with_key(w, key, x):
    return jnp.sum(jnp.where(jax.random.bernoulli(key, 0.5, (4,)), w * x, 0))


def with_norm(w, norm, x):
    return norm(w * x) @ jnp.arange(4.0)


def tied_in_numpy(leaves, x):
    return (np.tanh(x @ leaves[0].T) @ leaves[0]).sum(axis=1)


SIGNS = [1, -1, 1, -1]
NO_WEIGHTS = eqx.nn.LayerNorm(4, use_weight=False, use_bias=False)
MODULES = {
    "mask": linear(MASK, with_mask, lambda w, x: x @ (w * MASK)),
    "mask of JAX": linear(jnp.asarray(MASK), with_mask, lambda w, x: x @ (w * MASK)),
    "signs": linear(
        jnp.asarray(SIGNS),
        lambda w, s, x: jnp.sum(s.astype(w.dtype) * w * x),
        lambda w, x: x @ (w * SIGNS),
    ),
    "indices": linear(
        jnp.asarray([2, 0]),
        lambda w, i, x: jnp.sum(w[i] * x[i]),
        lambda w, x: x[:, [2, 0]] @ w[[2, 0]],
    ),
    "numbers": linear(
        {"scale": 0.5, "n": 3, "flag": True, "nothing": None},
        with_numbers,
        lambda w, x: np.full(len(x), 0.5 * np.sum(w[:3] ** 3)),
    ),
    "scalars of NumPy": linear(
        (np.sqrt(2.0), np.int64(3), np.bool_(True)),
        with_scalars,
        lambda w, x: np.sqrt(2) * x[:, :3] @ w[:3],
    ),
    "dropout in inference": linear(
        eqx.nn.Dropout(0.5, inference=True),
        lambda w, drop, x: jnp.sum(drop(w * x)),
        lambda w, x: x @ w,
    ),
    "a random key": linear(NOISE_KEY, with_key, lambda w, x: x @ (w * DROPPED)),
    "functions, names and containers": linear(
        of_layers(jnp.tanh),
        lambda w, e, x: jnp.sum(e["a"][0](w * x)) * e["b"][0],
        lambda w, x: 2 * np.tanh(w * x).sum(axis=1),
    ),
    "a layer norm without weights": linear(NO_WEIGHTS, with_norm, standardised),
    "a layer norm": (
        Linear(jnp.zeros(4), eqx.nn.LayerNorm(4), with_norm),
        lambda leaves, x: normed(*leaves, x),
    ),
    "a number as an array": (
        Linear(jnp.zeros(()), None, lambda w, _, x: w * jnp.sum(x)),
        lambda leaves, x: leaves[0] * x.sum(axis=1),
    ),
    "layers in a list": (
        Linear(
            jnp.zeros(4), [eqx.nn.Linear(4, 1, key=KEY)], lambda w, layers, x: layers[0](w * x)[0]
        ),
        lambda leaves, x: (leaves[0] * x) @ leaves[1][0] + leaves[2][0],
    ),
    "weights tied by Shared": (Shared(), tied_in_numpy),
}


def normed(w, gains, shifts, x):
    z = w * x
    centred = z - z.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt(z.var(axis=1, keepdims=True) + 1e-5)
    return (scaled * gains + shifts) @ np.arange(4.0)


def is_weight(leaf):
    return eqx.is_inexact_array(leaf) and not isinstance(leaf, np.generic)


def in_float64(module):
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.float64) if is_weight(leaf) else leaf, module
    )


def posterior_of(module, temperature=0.3, **settings):
    number = sum(map(is_weight, jax.tree.leaves(module)))
    prior = lnn.GaussianPrior((0.5, 2.0, 1.0)[: max(number, 1)])
    return lnn.GibbsPosterior(module, prior, DATA, temperature, **settings)


def in_numpy(formula, params, x):
    """f of each chain."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    return np.stack([formula([leaf[c] for leaf in leaves], x) for c in range(len(leaves[0]))])


QUICK = ("mask", "indices", "numbers", "scalars of NumPy", "weights tied by Shared")


@pytest.mark.parametrize("name", [slow_unless(QUICK, name, name) for name in MODULES])
def test_outputs_of_each_module_are_those_of_numpy(name):
    """FAULTS 1.5: only the sampled arrays have a chain axis; numbers of modules stay numbers."""
    module, formula = MODULES[name]
    posterior = posterior_of(in_float64(module))
    params = some_params(posterior, 3)
    f = eqx.filter_jit(lambda posterior, params: posterior.train_outputs(params))(posterior, params)
    np.testing.assert_allclose(f, in_numpy(formula, params, DATA.x_train), rtol=1e-12, atol=1e-12)


class Everything(eqx.Module):
    """A bit of each kind of leaf, and `frozen`, which is not sampled."""

    w: jax.Array
    mask: np.ndarray
    signs: jax.Array
    indices: jax.Array
    gain: jax.Array
    frozen: jax.Array
    key: jax.Array
    norm: eqx.nn.LayerNorm
    drop: eqx.nn.Dropout
    layers: dict
    scale: float
    count: int
    flag: bool
    nothing: None
    name: str
    activation: Callable

    def __call__(self, x):
        assert self.flag is True and self.count == 2 and isinstance(self.scale, float)
        h = jnp.where(self.mask, self.w, 0) @ x * self.signs.astype(x.dtype)
        h = self.activation(self.norm(self.drop(h)))[self.indices] * self.scale
        h = h + 0.1 * jax.random.normal(self.key, (self.count,), x.dtype)
        return self.gain * jnp.dot(self.frozen, h)


def everything(dtype):
    rng = np.random.default_rng(3)
    return Everything(
        w=jnp.zeros((3, 4), dtype), mask=rng.random((3, 4)) < 0.6, signs=jnp.asarray([1, -1, 1]),
        indices=jnp.asarray([2, 0]), gain=jnp.zeros((), dtype),
        frozen=jnp.asarray([0.7, -1.3], dtype), key=jax.random.key(9),
        norm=eqx.nn.LayerNorm(3, use_weight=False, use_bias=False),
        drop=eqx.nn.Dropout(0.3, inference=True), layers={"a": [None, 1]}, scale=1.5, count=2,
        flag=True, nothing=None, name="all", activation=jnp.tanh,
    )  # fmt: skip


def everything_in_numpy(module):
    def formula(leaves, x):
        w, gain = leaves
        h = x @ np.where(module.mask, w, 0).T * np.asarray(module.signs)
        h = (h - h.mean(axis=1, keepdims=True)) / np.sqrt(h.var(axis=1, keepdims=True) + 1e-5)
        h = 1.5 * np.tanh(h)[:, [2, 0]]
        h = h + 0.1 * np.asarray(jax.random.normal(module.key, (2,), module.w.dtype))
        return gain * (h @ np.asarray(module.frozen))

    return formula


def frozen_left_out(module):
    everything_else = jax.tree.map(lambda _: True, module)
    return eqx.tree_at(lambda m: m.frozen, everything_else, False)


def everything_posterior(dtype, temperature=0.3):
    module = everything(dtype)
    return lnn.GibbsPosterior(
        module, lnn.GaussianPrior((0.5, 2.0)), DATA, temperature, sampled=frozen_left_out(module)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dynamics", "dtype", "keys"),
    [
        (lnn.Langevin(), jnp.float64, [jax.random.PRNGKey(1), jax.random.PRNGKey(2)]),
        (lnn.Split(), jnp.float32, jax.random.split(jax.random.key(1, impl="rbg"), 2)),
    ],
    ids=["langevin", "split"],
)
def test_a_module_of_every_kind_of_leaf_is_sampled(dynamics, dtype, keys):
    """FAULTS 1.5 and 5: numbers of Python as fields, two points at once, rbg keys in float32."""
    posteriors = [everything_posterior(dtype, temperature) for temperature in (0.3, 0.6)]
    sampled = lnn.sample_points(
        posteriors, dynamics, keys=keys, num_chains=3, num_warmup=np.int64(7), num_samples=4,
        thinning=2, observables={"weights": lambda network: network.w},
    )  # fmt: skip
    formula = everything_in_numpy(posteriors[0].network)
    for chains in sampled:
        expected = in_numpy(formula, chains.params, DATA.x_test)
        tolerance = 1e-11 if dtype == jnp.float64 else 2e-5
        np.testing.assert_allclose(
            chains.test_outputs[:, -1], expected, rtol=tolerance, atol=tolerance
        )
        np.testing.assert_array_equal(chains.observables["weights"][:, -1], chains.params.w)
        assert chains.params.frozen is None


@pytest.mark.slow
def test_density_of_a_module_in_numpyro_is_the_posterior_s():
    """What NUTS samples: its potential is β𝓛 up to a constant."""
    posterior = everything_posterior(jnp.float64)
    model = lnn.numpyro_model(posterior, test_outputs=False)
    params = some_params(posterior, 2)

    def of_one(one):
        sites = {"network.w": one.w, "network.gain": one.gain}
        return -numpyro.infer.util.log_density(model, (), {}, sites)[0]

    both = eqx.filter_jit(lambda params: (jax.vmap(of_one)(params), posterior.potential(params)))
    mine, theirs = (np.diff(each) for each in both(params))
    np.testing.assert_allclose(mine, theirs, rtol=1e-10)


@pytest.mark.slow
def test_dynamics_and_nuts_agree_on_a_module(seed):
    """Mean and square of f at each test point, by three samplers, in standard errors."""
    posterior = everything_posterior(jnp.float64)
    series = []
    for dynamics in (lnn.Langevin(), lnn.Split()):
        settings = {"num_warmup": 4000, "thinning": 50} if not series else {"num_warmup": 500}
        chains = lnn.sample(
            posterior,
            dynamics,
            key=jax.random.key(seed),
            num_chains=8,
            num_samples=500,
            **settings,
        )
        series.append(np.asarray(chains.test_outputs))
    draws = nuts(
        lnn.numpyro_model(posterior), key=jax.random.key(seed), num_warmup=500, num_samples=500,
        num_chains=8,
    )  # fmt: skip
    series.append(draws["test_outputs"])
    moments = [np.concatenate([f, f**2], axis=2) for f in series]
    means, errors = ([g(each) for each in moments] for g in (lambda m: m.mean((0, 1)), mcse))
    for other in (0, 1):  # the step size's bias is far below these errors
        z = (means[other] - means[2]) / np.hypot(errors[other], errors[2])
        assert worst(z) < SIGMAS


@pytest.mark.slow
@pytest.mark.parametrize("dynamics", [lnn.Langevin(), lnn.Split()], ids=["langevin", "split"])
def test_a_masked_linear_module_has_its_exact_law(dynamics, seed):
    """FAULTS 1.5: with the mask along the chains the variance was 1.78 in place of 0.08."""
    posterior = posterior_of(in_float64(MODULES["mask"][0]), temperature=0.1)
    chains = lnn.sample(
        posterior, dynamics, key=jax.random.key(seed), num_chains=400, num_warmup=150,
        num_samples=4,
    )  # fmt: skip
    features, f = DATA.x_train * MASK, chains.test_outputs[:, -1]
    precision = features.T @ features / 0.1 + 0.5 * np.eye(4)
    if isinstance(dynamics, lnn.Langevin):  # its stationary law is known at its step size
        h = 0.1 * precision
        covariance = 0.1 * np.linalg.inv(h @ (np.eye(4) - chains.step_size * h / 2))
    else:
        covariance = np.linalg.inv(precision)
    at_test = DATA.x_test * MASK
    mean = at_test @ np.linalg.solve(precision, features.T @ DATA.y_train / 0.1)
    centred = f - mean
    z = [z_scores(centred, 0.0), z_scores(centred**2, np.diag(at_test @ covariance @ at_test.T))]
    assert worst(np.concatenate(z)) < SIGMAS


class Stateful(eqx.Module):
    norm: eqx.nn.BatchNorm
    w: jax.Array

    def __call__(self, x):
        return jnp.sum(self.w * x)


def half_stopped(w, _, x):
    return jnp.sum(w * x) + jnp.sum(jax.lax.stop_gradient(w) * x)


def one_entry_stopped(w, _, x):
    return jnp.sum(w.at[1].set(jax.lax.stop_gradient(w[1])) * x)


def tied():
    one = eqx.nn.Linear(4, 1, key=KEY)
    return Linear(one.weight, one, lambda w, layer, x: jnp.sum(w @ x + layer(x)))


def own(change, extra=None, dtype=jnp.float64):
    return Linear(jnp.zeros(4, dtype), extra, change)


def plain(w, extra, x):
    return jnp.sum(w * x)


def scaled(w, scale, x):
    return scale * jnp.sum(w * x)


def called_back(vmap_method):
    def function(w, _, x):
        f = jnp.sum(w * x)
        shape = jax.ShapeDtypeStruct((), f.dtype)
        return jax.pure_callback(np.asarray, shape, f, vmap_method=vmap_method)

    return function


REFUSED = {
    "all of it under stop_gradient": (
        lambda: own(lambda w, _, x: jnp.sum(jax.lax.stop_gradient(w) * x)), "stop_gradient"),
    "an entry under stop_gradient": (lambda: own(one_entry_stopped), "stop_gradient"),
    "half of it under stop_gradient": (lambda: own(half_stopped), "stop_gradient"),
    "rounded": (lambda: own(lambda w, _, x: jnp.sum(
        (w + jax.lax.stop_gradient(jnp.round(w) - w)) * x)), "stop_gradient"),
    "one array in two places": (tied, "eqx.nn.Shared"),
    "BatchNorm": (lambda: Stateful(
        eqx.nn.BatchNorm(4, axis_name="batch", mode="batch"), jnp.zeros(4)), "LayerNorm"),
    "complex": (lambda: own(plain, jnp.zeros(2, complex)), "complex128"),
    "float16": (lambda: own(plain, dtype=jnp.float16), "float16"),
    "bfloat16": (lambda: own(plain, dtype=jnp.bfloat16), "bfloat16"),
    "two types": (lambda: own(plain, jnp.zeros(2, jnp.float32)), "float32"),
    "no weights": (lambda: own(plain, dtype=jnp.int32), "nothing can be sampled"),
    "dropout": (lambda: own(lambda w, drop, x: jnp.sum(drop(w * x)), eqx.nn.Dropout(0.5)),
                "it fails on an input"),
    "a set among its fields": (lambda: own(plain, {"tag"}), r"\.extra.*frozenset for a set"),
    "no entries": (lambda: own(plain, jnp.zeros(0)), r"\.extra of the network has no entries"),
    "a callback": (lambda: own(called_back(None)), "many inputs and weights at once"),
    "a callback without a derivative": (lambda: own(called_back("sequential")), "JVP"),
    "a class": (lambda: Linear, "got Linear"),
    "no module": (lambda: 3.0, "got float"),
    "two outputs": (lambda: own(lambda w, _, x: (w @ x, x)), "not to a single number"),
    "whole numbers": (lambda: own(lambda w, _, x: jnp.sum(w).astype(jnp.int32)), "int32"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_modules_that_cannot_be_sampled_are_refused(name):
    """FAULTS 5, stop_gradient among them."""
    make, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        posterior_of(make())


def test_what_is_under_stop_gradient_for_good_reasons_is_sampled():
    """The largest number, which logsumexp subtracts; dead units of relu; weights of no effect."""

    def of_relu(w, extra, x):
        shifted = jax.nn.relu(jnp.outer(extra, x) - 0.5)
        return jax.nn.logsumexp(w * x) + w[0] * jnp.sum(shifted)

    posterior_of(own(of_relu, jnp.zeros(6, jnp.float64)))
    posterior_of(own(lambda w, _, x: jnp.sum(w[:2] * x[:2])))


def test_filters_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="a filter of eqx.partition"):
        posterior_of(own(plain), sampled=[True, False])
    with pytest.raises(InputError, match="nothing can be sampled"):
        posterior_of(own(plain), sampled=lambda leaf: False)
    network = lnn.FullyConnected(4, (3,), key=KEY)
    with pytest.raises(InputError, match="RandomFeatures"):
        lnn.GibbsPosterior(
            network, lnn.GaussianPrior((1.0, 1.0)), DATA, 0.1, sampled=lambda leaf: True
        )


def test_points_whose_modules_have_other_numbers_are_refused():
    """They were those of the first."""
    points = [posterior_of(own(scaled, scale)) for scale in (1.0, 2.0)]
    with pytest.raises(InputError, match=r"1\.0 of the first point is 2\.0 of another"):
        lnn.sample_points(points, lnn.Split(), keys=jax.random.split(KEY), num_warmup=1)
