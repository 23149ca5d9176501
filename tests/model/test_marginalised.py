"""The posterior with its read-out integrated out, against plain NumPy and against draws."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task, some_params
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn.types import InputError

KEY = jax.random.key(0)
CHAINS = 3


def marginalised(case, dtype=jnp.float64, temperature=0.3):
    widths, num_train, outputs, biases, convolution = CASES[case]
    data = gaussian_task(num_train, 5, 8, num_outputs=outputs)
    settings = {"key": KEY, "dtype": dtype, "biases": biases}
    if convolution:
        network = lnn.Convolutional(lnn.Patches((2, 2, 2), 1, 1), widths[0], "erf", **settings)
    else:
        network = lnn.FullyConnected(8, widths, "erf", num_outputs=outputs, **settings)
    layers = len(widths) + 1
    prior = lnn.GaussianPrior(
        (0.5, 2.0, 1.5)[:layers], (0.3, 3.0, 0.9)[:layers] if biases else None
    )
    return lnn.MarginalisedPosterior(network, prior, data, temperature)


CASES = {
    "more features than data": ((9,), 6, 1, False, False),
    "fewer features than data": ((4,), 9, 1, False, False),
    "deep, outputs, biases": ((5, 4), 9, 3, True, False),
    "outputs, more features": ((12,), 6, 3, False, False),
    "convolution": ((3,), 9, 1, True, True),
    "convolution, few channels": ((1,), 9, 1, False, True),
}


@pytest.fixture(params=CASES)
def case(request):
    return request.param


def numpy_features(posterior, params, x):
    """F of each chain from the network's own outputs, which are linear in the read-out."""
    network, prior = posterior.network, posterior.prior
    whole = jax.tree.map(lambda a: np.zeros((CHAINS, *a.shape), a.dtype), _arrays(network))
    whole = _with_hidden(whole, params)
    outputs = eqx.filter_jit(jax.vmap(lambda n: n.batch(x)))
    first = whole.weights[-1]
    conv = network.receptive_fields is not None
    columns = []
    shape = first.shape[1:] if conv else (first.shape[1], first.shape[2])
    zero = np.asarray(outputs(_filled(network, whole)))
    size = shape[0] * shape[1] if conv else shape[1]
    for i in range(size):
        place = np.unravel_index(i, shape) if conv else (0, i)
        unit = np.zeros_like(first)
        unit[(slice(None), *place)] = 1.0
        f = np.asarray(outputs(_filled(network, _with_readout(whole, unit)))) - zero
        f = f[..., 0] if f.ndim == 3 else f
        columns.append(f / np.sqrt(prior.precisions[-1]))
    if prior.bias_precisions is not None:
        columns.append(np.full_like(columns[0], 1 / np.sqrt(prior.bias_precisions[-1])))
    return np.stack(columns, axis=-1)


def _arrays(network):
    return eqx.filter(network, eqx.is_inexact_array)


def _filled(network, params):
    return eqx.combine(params, network)


def _with_hidden(whole, params):
    return eqx.combine(params, whole)


def _with_readout(whole, readout):
    return eqx.tree_at(lambda n: n.weights[-1], whole, readout)


@eqx.filter_jit
def numbers_of(posterior, params):
    """Everything that is said of the hidden weights, in one program."""
    keys = jax.random.split(KEY, CHAINS)
    return {
        "misfit": posterior.misfit(params),
        "errors": posterior.squared_errors(params),
        "energy": posterior.energy(params),
        "potential": posterior.potential(params),
        "predictions": posterior.predictions(params, keys),
        "record": posterior.record(params, keys, train_outputs=True),
    }


@pytest.mark.slow_except("more features than data")
def test_potential_predictions_and_errors_equal_numpy(case):
    posterior = marginalised(case)
    params = some_params(posterior, CHAINS)
    found = numbers_of(posterior, params)
    temperature = float(posterior.temperature)
    features = numpy_features(posterior, params, posterior.x_train)
    y = np.asarray(posterior.y_train).reshape(len(posterior.y_train), -1)
    expected, errors = [], []
    for f in features:
        a = f @ f.T + temperature * np.eye(len(f))
        phi = 0.5 * y.shape[1] * np.linalg.slogdet(a)[1] + 0.5 * np.sum(y * np.linalg.solve(a, y))
        expected.append(phi)
        mean = f @ f.T @ np.linalg.solve(a, y)
        variance = np.diag(f @ f.T - f @ f.T @ np.linalg.solve(a, f @ f.T))
        errors.append(np.sum((y - mean) ** 2, axis=1) + y.shape[1] * variance)
    np.testing.assert_allclose(found["misfit"], expected, rtol=1e-10)
    np.testing.assert_allclose(found["errors"], errors, rtol=1e-9)
    hidden = [
        sum(
            0.5 * p * np.sum(np.square(leaf[c]))
            for p, leaf in zip(
                posterior.sampled_prior.by_array, jax.tree.leaves(params), strict=True
            )
        )
        for c in range(CHAINS)
    ]
    energy = temperature * np.add(expected, hidden)
    np.testing.assert_allclose(found["energy"], energy, rtol=1e-10)
    np.testing.assert_allclose(found["potential"], energy / temperature, rtol=1e-10)
    record = {**found["predictions"], "train_error": np.mean(errors, axis=1), "energy": energy}
    drawn = {name: found["record"].pop(name) for name in ("test_draws", "train_outputs")}
    assert drawn["test_draws"].shape == (CHAINS, 5, *posterior.y_train.shape[1:])
    assert drawn["train_outputs"].shape == (CHAINS, *posterior.y_train.shape)
    assert record.keys() == found["record"].keys()
    for name, value in found["record"].items():
        np.testing.assert_allclose(value, record[name], rtol=1e-9)
    assert record["test_outputs"].shape == (CHAINS, 5, *posterior.y_train.shape[1:])
    assert record["test_variances"].shape == (CHAINS, 5)
    assert (np.asarray(record["test_variances"]) > 0).all()


@pytest.mark.exhaustive_except(
    *(f"{case}-float64-1e-06" for case in CASES), "convolution, few channels-float32-0.02"
)
@pytest.mark.slow_except(
    "more features than data-float64-1e-06", "deep, outputs, biases-float64-1e-06"
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-6), (jnp.float32, 2e-2)])
def test_gradient_is_the_finite_difference(case, dtype, tolerance):
    """Along random directions; of the float64 potential, for float32 gradients too."""
    posterior, exact = marginalised(case, dtype), marginalised(case)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), some_params(exact, CHAINS))
    gradient = jax.jit(jax.grad(lambda p: posterior.misfit(p).sum()))(params)
    wide, direction = (
        jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), each)
        for each in (params, some_params(exact, CHAINS, seed=1))
    )
    misfit = eqx.filter_jit(exact.misfit)
    step = 1e-5

    def at(distance):
        return misfit(jax.tree.map(lambda w, d: w + distance * d, wide, direction))

    ahead, behind = at(step), at(-step)
    slopes = sum(
        np.sum(np.asarray(g, np.float64) * d, axis=tuple(range(1, d.ndim)))
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )
    differences = (np.asarray(ahead) - np.asarray(behind)) / (2 * step)
    np.testing.assert_allclose(
        slopes, differences, rtol=tolerance, atol=tolerance * abs(differences).max()
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", ["outputs, more features"])
def test_draws_of_f_are_those_of_one_network(case):
    """FAULTS 1.13: jointly over test and training inputs, and the observables' network's.

    The five test inputs lie outside the span of the six training inputs of eight.
    """
    posterior = marginalised(case)
    data = posterior.ensemble.data
    params, keys = some_params(posterior, CHAINS), jax.random.split(KEY, CHAINS)

    @eqx.filter_jit
    def drawn(posterior):
        networks = posterior.lifted_networks(params, keys)
        outputs = [networks.batch(jnp.asarray(x)) for x in (data.x_train, data.x_test)]
        return posterior.record(params, keys, train_outputs=True), *outputs

    record, at_train, at_test = drawn(posterior)
    np.testing.assert_allclose(record["train_outputs"], at_train, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(record["test_draws"], at_test, rtol=1e-8, atol=1e-9)
    assert np.abs(record["test_draws"] - record["test_outputs"]).max() > 0.1


@pytest.mark.slow
def test_lifted_networks_have_the_law_of_the_predictions(case, seed):
    """Many draws of the read-out at one set of hidden weights: mean and variance of f."""
    posterior = marginalised(case)
    draws = 3_000
    params = jax.tree.map(
        lambda leaf: jnp.repeat(leaf, draws, axis=0), posterior.sample_prior(KEY, 1)
    )
    networks = posterior.lifted_networks(params, jax.random.split(jax.random.key(seed), draws))
    x = posterior.x_train if posterior.space is None else None
    x = x if x is not None else jnp.asarray(posterior.space.train @ posterior.space.basis.T)
    f = np.asarray(networks.batch(x)).reshape(draws, len(x), -1)
    found = posterior.regression(jax.tree.map(lambda leaf: leaf[:1], params))
    mean = np.asarray(found.means(found.features))[0]
    variance = np.asarray(found.train_variances)[0]
    centred = f - mean
    assert worst(z_scores(f, mean)) < SIGMAS
    assert worst(z_scores(centred**2, variance[:, None] + np.zeros_like(mean))) < SIGMAS
    assert worst(z_scores(centred**2, 1.5 * variance[:, None] + np.zeros_like(mean))) > 2 * SIGMAS


def test_what_has_no_known_readout_is_refused():
    data = gaussian_task(6, 4, 8)
    linear = lnn.FullyConnected(8, (), key=KEY)
    with pytest.raises(InputError, match='nothing is left to sample .* readout = "sampled"'):
        lnn.MarginalisedPosterior(linear, lnn.GaussianPrior((1.0,)), data, 0.1)
