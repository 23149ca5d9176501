"""What is derived from a class of the package is what is sampled and predicted, or is refused."""

import subprocess
import sys
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ensemble_of, gaussian_task, small_task, two_outputs
from extensions.loss_huber import Huber
from refusals import refuses

import langevin_nn as lnn
from langevin_nn.model.activations import AngleForm, ClosedForm, erf, identity, relu, tanh
from langevin_nn.model.losses import Loss, refuse_jumping_slope, require_loss
from langevin_nn.theory import THEORIES
from langevin_nn.theory.base import Theory
from langevin_nn.theory.style import OWN_STYLE
from langevin_nn.theory.suite import predict
from langevin_nn.wide_layers import InputLayer, Layer

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


class Centred(lnn.FullyConnected):
    """f at an input depends on the others of its batch."""

    def features(self, x):
        features = super().features(x)
        return features - features.mean(axis=-2, keepdims=True)


class Shared(lnn.FullyConnected):
    """f of a network depends on the others of its batch."""

    def features(self, x):
        features = super().features(x)
        return features / jnp.abs(features).max()


class Unreduced(lnn.FullyConnected):
    def reduced(self, data):
        return self


class Lost(Layer):
    def __call__(self, covariance, precision, scale=1.0, bias=None):
        return None


class LostLayer(lnn.FullyConnected):
    @property
    def layers(self):
        return super().layers[0], Lost()


class Called(lnn.FullyConnected):
    def __call__(self, x):
        return super().__call__(x) / 2


def posterior_on(network_class, kind=lnn.GibbsPosterior, num_train=4):
    data = small_task(num_train, in_size=6)
    network = network_class(6, (5,), key=KEY, dtype=jnp.float64)
    return network, data, kind(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)


class LogCosh(lnn.Squared):
    name = "log cosh"


class Deeper(LogCosh):
    pass


def test_losses_are_final():
    for kind in (LogCosh, Deeper):
        with refuses(kind.__name__, "Squared", f"class {kind.__name__}(Loss)"):
            require_loss(kind())


class LessTheMean(Huber):
    def __call__(self, f, y):
        loss = super().__call__(f, y)
        return loss - loss.mean(axis=0, keepdims=True)


class Frozen(Huber):
    def __call__(self, f, y):
        return super().__call__(jax.lax.stop_gradient(f), y)


class Wider(Huber):
    """In a type of its own: chains in float32 would go on in float64."""

    def __call__(self, f, y):
        return super().__call__(f, y).astype(jnp.float64)


class NamedAnother(Huber):
    name = "squared"


class WrongResidual(Huber):
    def residual(self, f, y, factor=1.0):
        return y - f


class OwnHinge(Loss):
    name, margin = "own_hinge", 0.5

    def __call__(self, f, y):
        return jnp.maximum(0.5 - y * f, 0) ** 2 / 2

    def residual(self, f, y, factor=1.0):
        return jnp.maximum(0.5 * factor - y * f, 0)


class FactorUnused(OwnHinge):
    def residual(self, f, y, factor=1.0):
        return jnp.maximum(0.5 - y * f, 0)


class WrongMargin(OwnHinge):
    margin = 0.1


@dataclass
class NotHashable(Huber):
    delta: float = 1.0


LOSSES = {
    LessTheMean: ["huber", "ℓ(f, y)"],
    Frozen: ["huber", "derivative"],
    Wider: ["huber", "float64", "float32"],
    NamedAnother: ["NamedAnother", "'squared'"],
    WrongResidual: ["huber", "residual(f, y, factor)", "None"],
    FactorUnused: ["own_hinge", "factor"],
    WrongMargin: ["own_hinge", "0.1"],
    NotHashable: ["NotHashable", "@dataclass(frozen=True)"],
}


@pytest.mark.parametrize("kind", LOSSES, ids=lambda kind: kind.__name__)
def test_a_loss_is_held_against_what_it_says(kind):
    data = small_task()
    labels = lnn.Dataset("labels", data.x_train, np.sign(data.y_train), data.x_test, data.y_test)
    network = lnn.FullyConnected(5, (3,), key=KEY, dtype=jnp.float64)
    with refuses(*LOSSES[kind]):
        lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), labels, 0.1, kind())


class NoFactor(Huber):
    def residual(self, f, y):
        return y - f


class NoTargets(Huber):
    def check(self):
        pass


class OnLabels(Loss):
    """It says nothing of its targets."""

    name = "on_labels"

    def __call__(self, f, y):
        return jnp.abs(f - y)


def test_the_methods_of_a_loss_take_what_they_are_given():
    with refuses("NoFactor.residual", "def residual(self, f, y, factor=1.0)"):
        require_loss(NoFactor())
    with refuses("NoTargets.check", "def check(self, targets)"):
        require_loss(NoTargets())


def test_a_loss_says_which_targets_it_takes():
    with refuses("on_labels", "[-1.0, 1.0]", "def check(self, targets): pass", "OnLabels"):
        require_loss(OnLabels(), np.array([0.5, 2.0]))
    with refuses("hinge", "[-1.0, 1.0]", 'loss = "squared"'):
        require_loss(lnn.Hinge(), np.array([0.5, 2.0]))


class Absolute(Huber):
    """Its slope jumps at the target, of which it says nothing."""

    def __call__(self, f, y):
        return jnp.abs(y - f)


@pytest.mark.slow
def test_a_flow_looks_at_the_slope_of_a_loss():
    network, data, posterior = posterior_on(lnn.FullyConnected)
    jumping = lnn.GibbsPosterior(network, posterior.prior, data, 0.1, Absolute())
    with refuses("Absolute", "Hinge(power=2)"):
        lnn.gradient_flow(jumping, key=KEY)
    refuse_jumping_slope(Huber(), data.y_train)
    with refuses("Hinge(power=1, margin=1.0)", "Hinge(power=2)"):
        refuse_jumping_slope(lnn.Hinge(1), data.y_train)


def test_losses_that_are_what_they_say():
    data = small_task()
    for loss, y in (
        (Huber(), data.y_train),
        (Huber(), two_outputs(data).y_train),
        (OwnHinge(), np.sign(data.y_train)),
        (lnn.Hinge(), np.sign(data.y_train)),
    ):
        assert require_loss(loss, y) is loss


def dual(formula, **forms):
    return ClosedForm(formula, **forms)


ACTIVATIONS = {
    "of another function": (jnp.sin, erf.dual, True),
    "one per cent": (erf.function, dual(lambda xp, *abc: 1.01 * erf.dual.formula(xp, *abc)), True),
    "not a number": (erf.function, lambda a, b, c: c * jnp.nan, True),
    "transposed": (erf.function, lambda a, b, c: erf.dual(a, b, c).T, True),
    "summed": (erf.function, lambda a, b, c: erf.dual(a, b, c).sum(), True),
    "by quadrature of another": (erf.function, tanh.dual, True),
    "in NumPy": (erf.function, lambda *abc: erf.dual.on_host(*map(np.asarray, abc)), True),
    "in 16 bits": (lambda z: erf.function(z).astype(jnp.float16), erf.dual, True),
    "odd": (relu.function, relu.dual, True),
    "not odd": (erf.function, erf.dual, False),
    "linear": (erf.function, dual(erf.dual.formula, is_linear=True), True),
    "slope": (
        relu.function,
        dual(relu.dual.formula, by_angle=AngleForm(np.cos, relu.dual.by_angle.lack)),
        False,
    ),
    "lack": (
        relu.function,
        dual(relu.dual.formula, by_angle=AngleForm(relu.dual.by_angle.slope, np.sin)),
        False,
    ),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_an_activation_is_held_against_what_it_says(kind):
    own = lnn.Activation("own", *ACTIVATIONS[kind])
    with refuses("'own'"):
        lnn.FullyConnected(3, (2,), own, key=KEY)
    spec = lnn.EnsembleSpec(5, (2,), own, (1.0, 1.0), 0.1)
    with refuses("'own'"):
        lnn.Ensemble(spec, small_task())


def sign_dual(xp, a, b, c):
    return 2 / xp.pi * xp.arcsin(xp.clip(c / xp.sqrt(a * b), -1, 1))


def test_activations_that_are_what_they_say():
    """Smooth, with kinks, with a jump; also where JAX traces what makes the network."""
    sine = lnn.activation(jnp.sin)
    for own in (
        lnn.Activation("own", erf.function, lambda *abc: erf.dual(*abc), True),
        lnn.Activation("own", relu.function, relu.dual, False),
        lnn.Activation("own", identity.function, identity.dual, True),
        lnn.Activation("own", jnp.sign, ClosedForm(sign_dual), True),
        lnn.Activation("own", sine.function, sine.dual, True),
    ):
        jax.eval_shape(lambda own=own: lnn.FullyConnected(3, (2,), own, key=KEY).weights)
        assert lnn.activation(own) is own


@pytest.mark.slow
def test_a_network_that_sees_its_inputs_beside_its_first_layer_says_so():
    with refuses("InputSkip", "weights[0]", "def reduced(self, data): return self, None"):
        posterior_on(InputSkip)
    network, data, posterior = posterior_on(WholeInputSkip)
    params = posterior.sample_prior(KEY, 3)
    networks = posterior.lifted_networks(params, jax.random.split(KEY, 3))
    f = networks.batch(jnp.asarray(data.x_train))
    np.testing.assert_allclose(posterior.train_outputs(params), f, rtol=1e-12)


@pytest.mark.slow
def test_layers_that_are_inherited_are_those_of_another_network():
    for changed in (Doubled, Halved, WholeInputSkip):
        assert posterior_on(changed)[2].spec.layers is None
    assert posterior_on(lnn.FullyConnected)[2].spec.layers is not None


class Misdescribed(lnn.FullyConnected):
    """Its units see twice their preactivations, of which its layers say nothing."""

    @property
    def layers(self):
        return super().layers

    def features(self, x):
        return self.activation(2 * self.preactivations(0, x))


class Described(Misdescribed):
    @property
    def layers(self):
        first, *others = super().layers
        return (DoubledInput(first.size), *others)


@dataclass(frozen=True)
class DoubledInput(InputLayer):
    def __call__(self, covariance, precision, scale=1.0, bias=None):
        return super().__call__(covariance, precision / 4, scale, bias)


@pytest.mark.slow
def test_layers_are_held_against_networks_drawn_from_the_prior():
    """Also where no configuration has named the class."""
    ensemble = posterior_on(Misdescribed)[2].ensemble
    for asked in (ensemble, ensemble.at(hidden_widths=(50,))):
        with refuses("the layers of Misdescribed", "features(x)"):
            lnn.theory.infinite_width(asked)
    with refuses("the layers of Misdescribed"):
        lnn.theory.predictive_distribution(ensemble.at(temperature=0.5), ensemble.data.x_test)
    described = posterior_on(Described)[2].ensemble
    assert predict(described).results["infinite_width"].converged
    again = described.drawn._replace(grams=None)  # nothing is drawn once more
    lnn.theory.infinite_width(lnn.Ensemble(described.spec, described.data, drawn=again))


class Louder(lnn.FullyConnected):
    """Of its preactivations the read-out is one: `features` are the class's, f is another."""

    def preactivations(self, layer, x):
        return 1.5 * super().preactivations(layer, x)


class Bounded(lnn.FullyConnected):
    def features(self, x):
        return super().features(x)

    def batch(self, x):
        return jnp.tanh(super().batch(x))


@pytest.mark.slow
@pytest.mark.exhaustive_except("False-1-Louder", "True-1-Bounded")
@pytest.mark.parametrize("kind", [Louder, Bounded])
@pytest.mark.parametrize(("biases", "outputs"), [(False, 1), (True, 1), (True, 3)])
def test_a_readout_that_features_do_not_have_is_not_integrated_out(kind, biases, outputs):
    data = gaussian_task(6, 3, 4, num_outputs=outputs)
    prior = lnn.GaussianPrior((1.0, 2.0), (0.5, 3.0) if biases else None)
    settings = {"key": KEY, "biases": biases, "num_outputs": outputs}
    with refuses(kind.__name__, "features(x)", "GibbsPosterior"):
        lnn.MarginalisedPosterior(kind(4, (5,), "erf", **settings), prior, data, 0.1)

    class Same(lnn.FullyConnected):
        def features(self, x):
            return super().features(x)

        def batch(self, x):
            return super().batch(x)

    lnn.MarginalisedPosterior(Same(4, (5,), "erf", **settings), prior, data, 0.1)


def test_a_readout_that_is_not_known_is_not_integrated_out():
    posterior_on(Doubled, lnn.MarginalisedPosterior)
    with refuses("Halved", "features(x)"):
        posterior_on(Halved, lnn.MarginalisedPosterior)
    with refuses("Called", "batch(x)"):
        posterior_on(Called)


@pytest.mark.parametrize("network_class", [Centred, Shared])
def test_outputs_are_of_each_input_and_network_alone(network_class):
    with refuses(network_class.__name__, "features(x)"):
        posterior_on(network_class)


def test_what_a_network_says_of_itself_is_of_its_kind():
    with refuses("Unreduced.reduced", "return self, None"):
        posterior_on(Unreduced)
    with refuses("Lost", "None", "Covariance"):
        predict(posterior_on(LostLayer)[2].ensemble)


def test_the_domain_of_a_theory_is_asked_also_where_it_is_named(monkeypatch):
    def nowhere(ensemble):
        raise lnn.NotApplicable("it describes nothing")

    own = Theory("nowhere", THEORIES["infinite_width"].function, domain=nowhere)
    monkeypatch.setitem(THEORIES, "nowhere", own)
    predictions = predict(ensemble_of(small_task(), (5,)), ["nowhere", "infinite_width"])
    assert predictions.not_applicable == {"nowhere": "it describes nothing"}
    assert list(predictions.results) == ["infinite_width"]


@pytest.mark.parametrize("name", ["domain", "twin"])
def test_a_reason_that_is_returned_counts(name):
    function, ensemble = THEORIES["infinite_width"].function, ensemble_of(small_task(), (5,))
    own = Theory("mine", function, **{name: lambda ensemble: "of other networks"})
    assert own.applies(ensemble) == "of other networks"
    if name == "domain":
        with pytest.raises(lnn.NotApplicable, match="of other networks"):
            own(ensemble)
    with refuses(f"{name} of mine", "False", "as a text"):
        Theory("mine", function, **{name: lambda ensemble: False}).applies(ensemble)


@pytest.mark.parametrize("place", ["function", "domain"])
def test_a_theory_of_ones_own_that_fails_ends_no_other(monkeypatch, place):
    def failing(ensemble):
        return {}["x"]

    parts = {"function": THEORIES["infinite_width"].function, place: failing}
    monkeypatch.setitem(THEORIES, "mine", Theory("mine", **parts))
    predictions = predict(ensemble_of(small_task(), (5,)))
    assert "KeyError: 'x'" in predictions.results["mine"].message
    assert not predictions.results["mine"].converged
    assert predictions.results["infinite_width"].converged


def test_numbers_that_have_not_converged_are_compared_with_nothing(monkeypatch):
    def contradicting(ensemble):
        numbers = THEORIES["infinite_width"](ensemble)
        return replace(numbers, predictive_variance=2 * numbers.predictive_variance)

    monkeypatch.setitem(THEORIES, "mine", contradicting)
    results = predict(ensemble_of(small_task(), (5,)), ["mine", "infinite_width"]).results
    table = str(lnn.compare(results["infinite_width"], *results.values()))
    (row,) = (line for line in table.splitlines() if line.startswith("mine"))
    assert row.count("(not converged)") == 4 and "σ" not in row
    assert "mine (not converged)" in str(lnn.theory.predict(
        ensemble_of(small_task(), (5,)), ["mine"]
    ))  # fmt: skip


def test_a_style_that_cannot_be_drawn_is_refused_where_the_theory_is_made():
    function = THEORIES["infinite_width"].function
    for key, value in (
        ("color", "no colour"), ("color", "#12345g"), ("color", 3), ("linestyle", "zz"),
        ("marker", "zz"), ("marker", None),
    ):  # fmt: skip
        with refuses("own", str(value)):
            Theory("own", function, style={key: value})
    with refuses("own", "colour", "color"):
        Theory("own", function, style={"colour": "red"})


def test_styles_of_matplotlib_are_taken():
    function = THEORIES["infinite_width"].function
    for style in (
        {}, {"color": "red"}, {"color": (0.1, 0.2, 0.3)}, {"linestyle": "dashed"},
        {"linestyle": (0, (1, 2.5))}, {"marker": "h"},
    ):  # fmt: skip
        assert Theory("own", function, style=style).style == {**OWN_STYLE, **style}


@pytest.mark.slow
def test_the_package_is_imported_without_matplotlib():
    """Its own theories have styles that are plainly right."""
    code = "import langevin_nn.theory, sys; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_a_style_may_leave_keys_out():
    style = Theory("red", THEORIES["infinite_width"].function, style={"color": "#ff0000"}).style
    assert style == {**OWN_STYLE, "color": "#ff0000"}
