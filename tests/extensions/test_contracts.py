"""What is derived from a class of the package is what is sampled and predicted, or is refused."""

import jax
import jax.numpy as jnp
import numpy as np
from cases import ensemble_of, small_task
from refusals import refuses

import langevin_nn as lnn
from langevin_nn.theory import THEORIES
from langevin_nn.theory.base import OWN_STYLE, Theory
from langevin_nn.theory.suite import predict

KEY = jax.random.key(0)


class InputSkip(lnn.FullyConnected):
    """It sees its inputs beside its first layer, and says no layers."""

    def features(self, x):
        h = self.preactivations(0, x)
        return self.activation(h + jnp.broadcast_to(x.sum(axis=1)[:, None], h.shape))


class WholeInputSkip(InputSkip):
    def reduced(self, data):
        return self, None


class Doubled(lnn.FullyConnected):
    def features(self, x):
        return 2 * super().features(x)


class Halved(lnn.FullyConnected):
    def batch(self, x):
        return super().batch(x) / 2


class Called(lnn.FullyConnected):
    def __call__(self, x):
        return super().__call__(x) / 2


def posterior_on(network_class, kind=lnn.GibbsPosterior, num_train=4):
    data = small_task(num_train, in_size=6)
    network = network_class(6, (5,), key=KEY, dtype=jnp.float64)
    return network, data, kind(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)


def test_losses_are_final():
    with refuses("LogCosh", "Squared", "class LogCosh(Loss)"):

        class LogCosh(lnn.Squared):
            name = "log cosh"


def test_a_network_that_sees_its_inputs_beside_its_first_layer_says_so():
    with refuses("InputSkip", "weights[0]", "def reduced(self, data): return self, None"):
        posterior_on(InputSkip)
    network, data, posterior = posterior_on(WholeInputSkip)
    params = posterior.sample_prior(KEY, 3)
    networks = posterior.lifted_networks(params, jax.random.split(KEY, 3))
    f = networks.batch(jnp.asarray(data.x_train))
    np.testing.assert_allclose(posterior.train_outputs(params), f, rtol=1e-12)


def test_layers_that_are_inherited_are_those_of_another_network():
    for changed in (Doubled, Halved, WholeInputSkip):
        assert posterior_on(changed)[2].spec.layers is None
    assert posterior_on(lnn.FullyConnected)[2].spec.layers is not None


def test_a_readout_that_is_not_known_is_not_integrated_out():
    posterior_on(Doubled, lnn.MarginalisedPosterior)
    with refuses("Halved", "features(x)"):
        posterior_on(Halved, lnn.MarginalisedPosterior)
    with refuses("Called", "batch(x)"):
        posterior_on(Called)


def test_the_domain_of_a_theory_is_asked_also_where_it_is_named(monkeypatch):
    def nowhere(ensemble):
        raise lnn.NotApplicable("it describes nothing")

    own = Theory("nowhere", THEORIES["infinite_width"].function, domain=nowhere)
    monkeypatch.setitem(THEORIES, "nowhere", own)
    predictions = predict(ensemble_of(small_task(), (5,)), ["nowhere", "infinite_width"])
    assert predictions.not_applicable == {"nowhere": "it describes nothing"}
    assert list(predictions.results) == ["infinite_width"]


def test_a_style_may_leave_keys_out():
    style = Theory("red", THEORIES["infinite_width"].function, style={"color": "#ff0000"}).style
    assert style == {**OWN_STYLE, "color": "#ff0000"}
