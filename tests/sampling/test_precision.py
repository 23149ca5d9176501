"""What float32 does to the marginalised posterior at T = 10⁻³, against float64.

At the same hidden weights, the error of a Cholesky solve with A = K_W + T is that of a relative
perturbation ‖δA‖ ≤ c P u ‖A‖ with u the unit of rounding and c of order one (Higham, Accuracy and
Stability of Numerical Algorithms, chapter 10). Then |δΦ| ≤ ½‖δA‖(tr A⁻¹ + ‖a‖²), and relative
errors of what is predicted are at most P u ‖A‖/T.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from samplers import KEY, PRECISIONS, Sampler
from statistics_in_sigmas import SIGMAS

import langevin_nn as lnn
from langevin_nn.model import gaussian_readout as readout

NUM_TRAIN, WIDTH, TEMPERATURE = 30, 60, 1e-3
ROUNDING = np.finfo(np.float32).eps / 2


@pytest.fixture(scope="module")
def data():
    return lnn.load_dataset("digits", num_train=NUM_TRAIN, num_test=40, key=KEY)


def sampled(precision, data, seed, temperature=TEMPERATURE, num_samples=100):
    posterior = Sampler("split", "marginalised", precision).posterior(
        data, (WIDTH,), (1.0, 1.0), temperature
    )
    chains = lnn.sample(
        posterior, lnn.Split(), key=jax.random.key(seed), num_chains=8, num_warmup=100,
        num_samples=num_samples,
    )  # fmt: skip
    return posterior, chains


@eqx.filter_jit
def predicted(networks, x, y, x_test, temperature):
    """Φ, and m_W and s_W at the test inputs, in the networks' precision."""

    def features(x):
        return networks.features(x) / jnp.sqrt(jnp.asarray(WIDTH, x.dtype))

    found = readout.regress(features(x), y, temperature)
    potential = readout.potential(features(x), y, temperature)
    return potential, found.means(features(x_test))[..., 0], found.variances(features(x_test))


def in_precision(networks, data, dtype, temperature=TEMPERATURE):
    networks = jax.tree.map(lambda leaf: leaf.astype(dtype), networks)
    arrays = data.x_train, data.y_train[:, None], data.x_test, temperature
    arrays = (jnp.asarray(each, dtype) for each in arrays)
    return [np.asarray(each, np.float64) for each in predicted(networks, *arrays)]


@pytest.mark.slow
def test_float32_at_the_same_weights_errs_as_rounding_theory_says(data):
    """Of bias² and variance they are below a thousandth; a jitter of T/10 is seen in Φ."""
    # Weights that float32 holds: what it cannot hold is no error of the arithmetic.
    network = lnn.FullyConnected(data.in_size, (WIDTH,), key=KEY)
    template = eqx.filter(network, eqx.is_inexact_array)
    networks = eqx.combine(lnn.GaussianPrior((1.0, 1.0)).sample(KEY, template, 16), network)
    rough, exact = (in_precision(networks, data, dtype) for dtype in PRECISIONS.values())
    h = np.einsum("cnr,pr->cpn", np.asarray(networks.weights[0], np.float64), data.x_train)
    features = scipy.special.erf(h / np.sqrt(data.in_size)) / np.sqrt(WIDTH)
    gram = features @ np.swapaxes(features, 1, 2) + TEMPERATURE * np.eye(NUM_TRAIN)
    largest = np.linalg.norm(gram, 2, axis=(1, 2))
    dual = np.linalg.solve(gram, np.broadcast_to(data.y_train[:, None], (16, NUM_TRAIN, 1)))
    sensitivity = np.trace(np.linalg.inv(gram), axis1=1, axis2=2) + np.sum(dual**2, axis=(1, 2))
    perturbation = NUM_TRAIN * ROUNDING * largest
    assert (np.abs(rough[0] - exact[0]) < 0.5 * perturbation * sensitivity).all()
    relative = perturbation[:, None] / TEMPERATURE
    for mine, theirs in zip(rough[1:], exact[1:], strict=True):
        scale = np.abs(theirs).max(axis=1, keepdims=True)
        assert (np.abs(mine - theirs) < relative * scale).all()

    def averages(_, means, variances):
        bias2 = np.mean(np.square(data.y_test - means.mean(axis=0)))
        return bias2, np.mean(variances.mean(axis=0) + means.var(axis=0))

    np.testing.assert_allclose(averages(*rough), averages(*exact), rtol=1e-3)
    jittered = in_precision(networks, data, jnp.float64, 1.1 * TEMPERATURE)
    assert not (np.abs(jittered[0] - exact[0]) < 0.5 * perturbation * sensitivity).all()


@pytest.mark.slow
def test_float32_samples_what_float64_samples(data, seed):
    """In standard errors; a temperature by a third off is seen."""
    summaries = [
        lnn.summarise(sampled(precision, data, seed + i, temperature)[1])
        for i, (precision, temperature) in enumerate(
            [("float64", TEMPERATURE), ("float32", TEMPERATURE), ("float32", 4 / 3 * TEMPERATURE)]
        )
    ]
    z = []
    for other in summaries[1:]:
        pairs = [
            (getattr(summaries[0], name), getattr(other, name))
            for name in ("bias2", "variance", "train_error")
        ]
        z.append(max(abs(a.value - b.value) / np.hypot(a.mcse, b.mcse) for a, b in pairs))
    assert z[0] < SIGMAS < 2 * SIGMAS < z[1], z
