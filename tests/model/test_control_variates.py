"""Control variates against derivatives that JAX takes of the whole network's functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task, posterior_of
from refusals import refuses
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn.model import gaussian_readout
from langevin_nn.model.marginalised import MarginalisedPosterior

KEY = jax.random.key(7)
WIDTH, PRECISIONS, BIASES, TEMPERATURE = 4, (1.3, 0.7), (2.0, 3.0), 0.1
DATA = gaussian_task(5, 3, 9)


def posterior_with(biases, activation="erf", **changes):
    options = {"data": DATA, "widths": (WIDTH,)} | changes
    network = lnn.FullyConnected(
        options["data"].in_size, options["widths"], activation=activation, key=KEY,
        dtype=jnp.float64, biases=biases, num_outputs=options["data"].num_outputs,
    )  # fmt: skip
    precisions = PRECISIONS if len(options["widths"]) == 1 else (1.0, 1.0, 1.0)
    prior = lnn.GaussianPrior(precisions, bias_precisions=BIASES if biases else None)
    return MarginalisedPosterior(network, prior, options["data"], TEMPERATURE)


def functions(posterior, q, biases):
    """φ¹, φ² and φ³ at the whitened weights q of one network, as the module has them, and Φ."""
    space, reference = posterior.space, posterior.reference
    size = space.test.shape[1]
    weights = q[: WIDTH * size].reshape(WIDTH, size) / np.sqrt(PRECISIONS[0])
    bias = q[None, WIDTH * size :] / np.sqrt(BIASES[0]) if biases else 0.0
    train = np.pad(space.train, ((0, 0), (0, size - space.rank)))
    h = np.concatenate([train, space.test]) @ weights.T / np.sqrt(DATA.in_size) + bias
    features = posterior.network.activation(h) / np.sqrt(PRECISIONS[1] * WIDTH)
    full = features
    if biases:
        full = jnp.concatenate([features, jnp.full((len(h), 1), 1 / np.sqrt(BIASES[1]))], axis=1)
    kernel = full @ full.T
    shifted = kernel[:5, :5] + TEMPERATURE * jnp.eye(5)
    y = posterior.y_train
    mean = kernel[5:, :5] @ jnp.linalg.solve(shifted, y)

    def bilinear(part):
        return (part[5:] - reference.regressors @ part[:5]) @ (part[:5].T @ reference.dual)

    num_outputs = y.size // len(y)
    misfit = 0.5 * num_outputs * jnp.linalg.slogdet(shifted)[1]
    misfit += 0.5 * jnp.sum(y * jnp.linalg.solve(shifted, y))
    return jnp.stack([mean, bilinear(features), bilinear(h) / WIDTH]), misfit


@pytest.mark.slow
@pytest.mark.parametrize("biases", [False, True], ids=["", "biases"])
@pytest.mark.parametrize(
    ("activation", "num_outputs"), [("erf", 1), ("gelu", 1), ("erf", 3)], ids=["erf", "gelu", "D=3"]
)
def test_they_are_the_generator_of_the_dynamics_on_the_whole_weights(
    activation, num_outputs, biases
):
    """Also of those outside the span of the training inputs, which a record draws afresh."""
    data = gaussian_task(5, 3, 9, num_outputs=num_outputs)
    posterior = posterior_with(biases, activation, data=data).with_control_variates()
    params, keys = posterior.sample_prior(KEY, 2), jax.random.split(KEY, 2)
    record = posterior.record(params, keys)
    beyond = posterior.space.outside(posterior.networks(params), PRECISIONS[0], keys)
    for chain in range(2):
        whole = jnp.concatenate([params.weights[0][chain], beyond[chain]], axis=1)
        q = whole.ravel() * np.sqrt(PRECISIONS[0])
        if biases:
            q = jnp.concatenate([q, params.biases[0][chain] * np.sqrt(BIASES[0])])
        values, _ = functions(posterior, q, biases)
        np.testing.assert_allclose(values[0], record["test_outputs"][chain], rtol=1e-12)
        hessian = jax.hessian(lambda q: functions(posterior, q, biases)[0])(q)
        jacobian = jax.jacobian(lambda q: functions(posterior, q, biases)[0])(q)
        drift = q + jax.grad(lambda q: functions(posterior, q, biases)[1])(q)
        expected = jnp.trace(hessian, axis1=-2, axis2=-1) - jacobian @ drift
        np.testing.assert_allclose(
            record["control_variates"][chain], expected, rtol=1e-10, atol=1e-10
        )


@pytest.mark.slow
def test_nothing_else_of_a_record_changes():
    posterior = posterior_with(biases=True)
    params, keys = posterior.sample_prior(KEY, 2), jax.random.split(KEY, 2)
    plain, more = (p.record(params, keys) for p in (posterior, posterior.with_control_variates()))
    assert more.keys() - plain.keys() == {"control_variates"}
    for name, values in plain.items():
        np.testing.assert_array_equal(values, more[name], err_msg=name)


@pytest.mark.slow
def test_their_posterior_mean_is_zero():
    """That of draws by an exact dynamics, whatever the reference; of the prior it is not."""
    posterior = posterior_of(
        gaussian_task(4, 3, 5), (3,), precisions=(1.0, 1.0), temperature=0.1, key=KEY,
        dtype=jnp.float64, kind=MarginalisedPosterior,
    ).with_control_variates()  # fmt: skip
    chains = lnn.sample(
        posterior, lnn.Split(), key=KEY, num_chains=400, num_warmup=60, num_samples=10, thinning=3
    )
    controls = chains.control_variates
    assert controls.shape == (400, 10, 3, 3)
    assert worst(z_scores(controls.mean(axis=1), 0.0)) < SIGMAS
    prior = posterior.record(posterior.sample_prior(KEY, 4000), jax.random.split(KEY, 4000))
    assert worst(z_scores(np.asarray(prior["control_variates"]), 0.0)) > 2 * SIGMAS


@pytest.mark.slow
def test_the_mean_of_several_outputs_is_zero_and_with_the_force_of_one_it_is_not(monkeypatch):
    """All outputs pull at the weights: with ∇Φ of one in their place L is another generator."""
    posterior = posterior_of(
        gaussian_task(4, 3, 5, num_outputs=2), (3,), temperature=0.1, key=KEY, dtype=jnp.float64,
        kind=MarginalisedPosterior,
    ).with_control_variates()  # fmt: skip
    chains = lnn.sample(
        posterior, lnn.Split(), key=KEY, num_chains=1000, num_warmup=60, num_samples=4, thinning=3
    )
    controls = chains.control_variates
    assert controls.shape == (1000, 4, 3, 3, 2)
    assert worst(z_scores(controls.mean(axis=1), 0.0)) < SIGMAS

    def misfit_of_one(self, params):
        return gaussian_readout.potential(
            self._train_features(params), self._targets[:, :1], self._typed_temperature
        )

    monkeypatch.setattr(MarginalisedPosterior, "misfit", misfit_of_one)
    wrong = posterior.record(chains.params, jax.random.split(KEY, 1000))["control_variates"]
    for control in np.moveaxis(np.asarray(wrong), 1, 0):
        assert worst(z_scores(control, 0.0)) > 1.5 * SIGMAS


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"activation": "relu"}, ["relu"]), ({"widths": (3, 2)}, ["2 hidden layers"])],
    ids=["kinks", "deep"],
)
def test_where_they_are_not_known(changes, words):
    posterior = posterior_with(False, **changes)
    with refuses("one hidden layer", "control_variates = false", *words):
        posterior.with_control_variates()


def test_a_biased_dynamics_is_refused():
    posterior = posterior_with(biases=False).with_control_variates()
    with refuses("Langevin", "Split()"):
        lnn.sample(posterior, lnn.Langevin(), key=KEY, num_warmup=4, num_samples=4)
