"""Random features' limit: the literature's numbers, closed forms, and regression itself."""

from functools import lru_cache

import jax
import numpy as np
import pytest
import scipy.integrate

import langevin_nn as lnn
from langevin_nn.model.activations import ACTIVATIONS, activation
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory import (
    feature_moments,
    feature_spectrum,
    infinite_width,
    random_feature_decomposition,
    random_feature_error,
    random_feature_peaks,
)
from langevin_nn.theory.random_features.overlaps import order_parameters, overlaps
from langevin_nn.types import EnsembleSpec, InputError

RELU, TANH, IDENTITY = (ACTIVATIONS[name] for name in ("relu", "tanh", "identity"))
ABSOLUTE, NEGATIVE = activation(jax.numpy.abs), activation(jax.numpy.negative)

# arXiv:1908.05355 and 2003.01054 evaluated independently, for relu, τ² = 1, at the ridge γ:
# ψ_1, ψ_2, γ: B, V, Ψ_1, Ψ_2, Ψ_4, Ψ_5, Ψ_6, thermal factor, training error
TABLE = [
    (3, 2, 1e-2, 0.34177043, 0.94926246, 0.70782829, 0.75742701, 0.52955318, 0.33424141,
     0.50102089, 3.85636743, 0.09714227),
    (3, 3, 1e-2, 0.28261959, 0.79526646, 0.76209424, 0.80680808, 0.59437557, 0.24007303,
     0.58078764, 1.79362519, 0.26624745),
    (10, 1, 1e-3, 0.33955277, 0.54330023, 0.55015612, 0.43986501, 0.39050487, 0.43404487,
     0.30267175, 183.08586564, 5.556e-5),
    (10, 10, 1e-3, 0.08580538, 1.20528355, 0.94626908, 0.97834354, 0.89570910, 0.09834893,
     0.89542517, 2.76768706, 0.16139583),
    (0.5, 2, 0.1, 0.82260138, 0.20017908, 0.27127759, 0.36515657, 0.09387787, 0.03820142,
     0.07359153, 0.25513917, 1.28399988),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_numbers_of_the_literature(row):
    psi1, psi2, gamma, bias, noise, first, second, fourth, fifth, sixth, thermal, train = row
    common = {"temperature": gamma * psi2, "noise_variance": 1.0}
    found = random_feature_error(RELU, psi1, psi2, **common)
    numbers = [found.bias_factor, found.noise_factor, found.thermal_factor, found.train_error]
    np.testing.assert_allclose(numbers, [bias, noise, thermal, train], rtol=1e-4, atol=6e-9)
    np.testing.assert_allclose(numbers[:3], [bias, noise, thermal], rtol=4e-8, atol=6e-9)
    psi = overlaps(feature_moments(RELU), psi1, psi2, gamma * psi2)
    expected = [first, second, noise, fourth, fifth, sixth]
    np.testing.assert_allclose([psi[i] for i in range(1, 7)], expected, atol=6e-9)


def test_numbers_of_the_ensembles():
    """arXiv:2003.01054's setting, τ = 5, ψ_1 = 100: at N_1 = P one of K = 10 has a ninth."""
    common = {"temperature": 1e-5 * 115, "noise_variance": 25.0}
    one = random_feature_decomposition(RELU, 100.0, 115.0, **common)
    ten = random_feature_decomposition(RELU, 100.0, 115.0, num_ensemble=10, **common)
    assert one.total / ten.total == pytest.approx(9.8, abs=0.1)
    error = random_feature_error(RELU, 100.0, 115.0, **common).test_error
    assert one.total == pytest.approx(error, rel=1e-6)


def test_averaging_over_noise_leaves_what_is_not_noise():
    """Of infinitely many draws of it, the error of labels without; a non-linear part stays."""
    common = {"temperature": 0.05, "nonlinear_power": 0.7, "num_ensemble": 3}
    without = random_feature_decomposition(TANH, 3.0, 2.0, **common)
    bagged, one = (
        random_feature_decomposition(TANH, 3.0, 2.0, noise_variance=4.0, num_noise=b, **common)
        for b in (1e12, 1)
    )
    assert bagged.total == pytest.approx(without.total, rel=1e-9) != pytest.approx(one.total)
    assert bagged.noise > 0.1 * one.noise


MOMENTS = {
    "relu": (1 / np.sqrt(2 * np.pi), 0.5, 0.5),
    "tanh": (0.0, 0.39429449, 0.60570551),
    "erf": (0.0, 2 / np.pi * np.arcsin(2 / 3), 2 / np.sqrt(3 * np.pi)),
    "identity": (0.0, 1.0, 1.0),
    "gelu": (0.28209479, 0.42522148, 0.5),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_moments_in_closed_form(name):
    found = feature_moments(ACTIVATIONS[name])
    np.testing.assert_allclose((found.mean, found.power, found.linear), MOMENTS[name], atol=1e-8)
    assert found.linearity == pytest.approx(MOMENTS[name][2] ** 2 / MOMENTS[name][1], abs=1e-8)


def test_moments_of_what_is_even_or_jumps():
    even = feature_moments(ABSOLUTE)
    assert even.linear == even.linearity == 0 and even.power == pytest.approx(1)
    assert even.nonlinear_power == pytest.approx(1 - 2 / np.pi)
    sign = feature_moments(activation(jax.numpy.sign))
    assert sign.linear == pytest.approx(np.sqrt(2 / np.pi))
    assert feature_moments(IDENTITY).nonlinear_power == 0


def marchenko_pastur(of, ratio):
    """∫ of(s) over the eigenvalues of XᵀX/N_0, P/N_0 = ratio, the atom at zero with them."""
    low, high = (1 - np.sqrt(ratio)) ** 2, (1 + np.sqrt(ratio)) ** 2

    def density(s):
        return of(s) * np.sqrt((s - low) * (high - s)) / (2 * np.pi * s)

    return max(0, 1 - ratio) * of(0.0) + scipy.integrate.quad(density, low, high, limit=200)[0]


@pytest.mark.parametrize("ratio", [0.5, 2.0, 5.0])
def test_infinitely_many_linear_features_are_ridge_regression(ratio):
    """On the inputs themselves, B = κ²⟨(s + κ)⁻²⟩, V = ⟨s(s + κ)⁻²⟩ with the ridge κ."""
    ridge = 0.3
    found = random_feature_error(IDENTITY, 1e7, ratio, temperature=0.1, precision=3.0)
    bias = ridge**2 * marchenko_pastur(lambda s: 1 / (s + ridge) ** 2, ratio)
    noise = marchenko_pastur(lambda s: s / (s + ridge) ** 2, ratio)
    effective = marchenko_pastur(lambda s: s / (s + ridge), ratio)
    np.testing.assert_allclose(
        [found.bias_factor, found.noise_factor, found.degrees_of_freedom],
        [bias, noise, effective], rtol=1e-5,
    )  # fmt: skip


def test_infinitely_many_features_are_the_kernel():
    """Their error no longer moves with ψ_1, and nothing depends on the draw of the features."""
    errors = [
        random_feature_error(TANH, psi1, 3.0, temperature=0.1, noise_variance=0.5).test_error
        for psi1 in (1e3, 1e5, 1e7)
    ]
    assert abs(errors[2] - errors[1]) < 0.02 * abs(errors[1] - errors[0]) < 1e-2
    parts = random_feature_decomposition(TANH, 1e6, 3.0, temperature=0.1, noise_variance=0.5)
    assert parts.initialisation < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("precision", [1.0, 3.0])
def test_infinitely_many_features_are_the_infinitely_wide_network(precision):
    """bias² and variance of Gaussian-process regression with the tanh kernel on drawn data."""
    in_size, temperature, noise = 200, 0.1, 0.5
    spec = EnsembleSpec(in_size, (1_000,), TANH, (1.0, precision), temperature)
    rows = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        teacher = rng.standard_normal(in_size)
        teacher *= 1 / np.linalg.norm(teacher)
        x, x_test = rng.standard_normal((600, in_size)), rng.standard_normal((500, in_size))
        y = x @ teacher + np.sqrt(noise) * rng.standard_normal(len(x))
        found = infinite_width(
            Ensemble(spec, lnn.Dataset("teacher", x, y, x_test, x_test @ teacher))
        )
        rows.append((found.bias2.value, found.variance.value))
    rows = np.array(rows)
    error = 5 * rows.std(axis=0, ddof=1) / np.sqrt(len(rows))

    def limit(precision, noise=noise):
        found = random_feature_error(
            TANH, 1e7, 3.0, temperature=temperature, precision=precision, noise_variance=noise
        )
        return np.array([found.test_error, found.thermal_variance])

    off = np.abs(rows.mean(axis=0) - limit(precision)) - limit(precision) / in_size
    assert np.all(off < error), (rows.mean(axis=0), limit(precision), error)
    others = limit(precision, 2 * noise)[0], limit(1.5 * precision)[1]
    assert np.all(np.abs(rows.mean(axis=0) - others) > error)


# arXiv:1908.05355 evaluated independently at N_1 = 10 N_0: σ, τ², ridge γ = λ_L T N_0/P, and the
# maxima over P/N_0
PEAKS = [
    (TANH, 5.0, 1e-5, [("linear", 1.12, 7.69), ("nonlinear", 10.0, 41.5)]),
    (TANH, 0.0, 1e-5, [("nonlinear", 10.0, 0.0764)]),
    (RELU, 5.0, 1e-5, [("nonlinear", 10.0, 77.7)]),
    (ABSOLUTE, 5.0, 1e-5, [("nonlinear", 10.0, 178.9)]),  # r = 0: no linear peak
    (ABSOLUTE, 0.0, 1e-5, [("nonlinear", 10.0, 30.6)]),
]


@pytest.mark.slow_except("relu, 5.0")
@pytest.mark.parametrize("row", PEAKS, ids=lambda row: f"{row[0].name}, {row[1]}")
def test_where_the_peaks_are(row):
    """At P = N_0 by noise and a linear part, at P = N_1 by a non-linear one."""
    which, noise, gamma, expected = row
    for kind, where, high in expected:
        found = random_feature_peaks(which, 10.0, temperature=gamma * where, noise_variance=noise)
        assert [peak.kind for peak in found] == [each[0] for each in expected]
        peak = next(each for each in found if each.kind == kind)
        assert peak.examples == pytest.approx(where, rel=0.05)
        assert peak.test_error == pytest.approx(high, rel=3e-3)
        assert peak.parts.total == pytest.approx(peak.test_error, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("features", [0.5, 3.0])
@pytest.mark.parametrize("which", [TANH, ABSOLUTE, NEGATIVE], ids=lambda each: each.name)
def test_weights_are_the_limits_without_a_ridge(which, features):
    """√(λ_L T) E approaches them as √(λ_L T), at exactly P = N_0 or N_1, by noise and without."""
    for noise in (2.0, 0.0):
        common = {"noise_variance": noise, "linear_power": 0.7, "nonlinear_power": 0.4}
        *_, peak = random_feature_peaks(which, features, temperature=1e-8, precision=2.0, **common)
        place = 1.0 if peak.kind == "linear" else features
        assert peak.kind == ("linear" if which is NEGATIVE and features > 1 else "nonlinear")
        rescaled = [
            np.sqrt(2 * t) * random_feature_error(
                which, features, place, temperature=t, precision=2.0, **common
            ).test_error
            for t in (1e-8, 1e-10)
        ]  # fmt: skip
        off = np.array(rescaled) / peak.weight - 1
        assert abs(off[1]) < 1e-3 and off[1] == pytest.approx(off[0] / 10, rel=0.02)


@pytest.mark.slow
def test_a_peak_that_stays_finite_has_no_weight():
    """Without a ridge tanh's peak at P = N_0 has the height 7.71: its rest is a ridge to it."""
    heights = []
    for ridge in (1e-6, 1e-12):
        linear, nonlinear = random_feature_peaks(TANH, 10.0, temperature=ridge, noise_variance=5.0)
        assert linear.weight == 0 and nonlinear.weight > 0
        heights.append((linear.test_error, nonlinear.test_error))
    assert heights[1][0] == pytest.approx(heights[0][0], rel=1e-4)
    assert heights[1][1] == pytest.approx(1e3 * heights[0][1], rel=0.01)
    assert random_feature_peaks(IDENTITY, 10.0, temperature=1e-6) == ()  # no noise, no peak


@lru_cache
def regressions(
    which, num_draws=12, in_size=300, features=3.0, examples=2.0, noise=0.8, quadratic=0.0
):
    """Error of the mean, thermal variance/T and training error, over draws.

    The teacher has a random quadratic form of the power `quadratic` besides its linear part.
    """
    rows = []
    width, num_train = int(features * in_size), int(examples * in_size)
    for seed in range(num_draws):
        rng = np.random.default_rng(seed)
        teacher = rng.standard_normal(in_size)
        teacher *= 1 / np.linalg.norm(teacher)
        x, x_test = rng.standard_normal((num_train, in_size)), rng.standard_normal((1000, in_size))
        form = rng.standard_normal((in_size, in_size))
        form += form.T
        form *= np.sqrt(quadratic / 2) / np.linalg.norm(form)

        def label(x, teacher=teacher, form=form):
            return x @ teacher + np.sum((x @ form) * x, axis=1) - np.trace(form)

        y = label(x) + np.sqrt(noise) * rng.standard_normal(num_train)
        data = lnn.Dataset("teacher", x, y, x_test, label(x_test))
        drawn = lnn.RandomFeatures(in_size, width, which, key=jax.random.key(seed), centred=True)
        found = drawn.regress(data)
        ridge, temperature = 0.05, 0.1
        rows.append((
            np.mean((found.mean(ridge) - data.y_test) ** 2),
            np.mean(found.variance(ridge, temperature)),
            np.mean((found.train_mean(ridge) - y) ** 2),
        ))  # fmt: skip
    return np.array(rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "quadratic"), [("tanh", 0.0), ("relu", 0.0), ("identity", 0.0), ("tanh", 1.5)]
)
def test_regression_has_the_limits_errors(which, quadratic):
    """Error of the mean, thermal variance and training error, in standard errors over draws."""
    found = regressions(which, quadratic=quadratic)
    common = {"noise_variance": 0.8, "nonlinear_power": quadratic}
    expected = random_feature_error(
        ACTIVATIONS[which], 3.0, 2.0, temperature=0.1, precision=0.5, **common
    )
    numbers = [expected.test_error, expected.thermal_variance, expected.train_error]
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    # at N_0 = 300 the limit itself is off by up to about 1/N_0
    allowed = 5 * error + np.array(numbers) / 300
    assert np.all(np.abs(found.mean(axis=0) - numbers) < allowed), (found.mean(axis=0), numbers)
    wrong = random_feature_error(
        ACTIVATIONS[which], 3.0, 2.0, temperature=0.1, precision=1.0, **common
    )
    off = [wrong.test_error, wrong.thermal_variance, wrong.train_error]
    assert np.any(np.abs(found.mean(axis=0) - off) > 2 * allowed)


REFERENCE = {
    ("tanh", 5.0, 5.0): (38.997887, 6.900161, 0.863953),
    ("tanh", 10.0, 1.0): (90.094422, 9.078957, 0.935738),
    ("tanh", 2.0, 10.0): (16.590734, 4.951536, 0.798945),
    ("relu", 5.0, 5.0): (25.086045, 5.580112, 0.841707),
    ("relu", 10.0, 1.0): (90.054322, 9.050571, 0.931324),
    ("relu", 2.0, 10.0): (7.428394, 3.823892, 0.793191),
}


@pytest.mark.parametrize("case", REFERENCE, ids=str)
def test_resolvent_of_the_literature(case):
    name, features, examples = case
    spectrum = feature_spectrum(ACTIVATIONS[name], features, examples)
    found = -spectrum.resolvent(-np.array([0.01, 0.1, 1.0])).real
    np.testing.assert_allclose(found, REFERENCE[case], rtol=1e-7, atol=6e-7)


@pytest.mark.parametrize("examples", [0.5, 3.0, 30.0])
def test_even_features_have_marchenko_and_pasturs_law(examples):
    """With η_c times a white covariance: edges and density in closed form."""
    spectrum = feature_spectrum(ABSOLUTE, 10.0, examples)
    scale, ratio = 1 - 2 / np.pi, 10.0 / examples
    low, high = scale * (1 - np.sqrt(ratio)) ** 2, scale * (1 + np.sqrt(ratio)) ** 2
    inside = np.linspace(low, high, 9)[1:-1]
    root = np.sqrt((inside - low) * (high - inside))
    expected = root / (2 * np.pi * ratio * scale * inside)
    np.testing.assert_allclose(spectrum.density(inside), expected, rtol=1e-5)
    assert np.all(spectrum.density(np.array([0.98 * low, 1.02 * high])) < 1e-6)
    assert spectrum.atom == pytest.approx(max(0, 1 - 1 / ratio))


@pytest.mark.parametrize(("name", "examples"), [("tanh", 1.0), ("tanh", 3.0), ("identity", 3.0)])
def test_density_is_that_of_features(name, examples):
    """Mass, first moment and the counts between quantiles of one large draw."""
    in_size, features = 300, 5.0
    spectrum = feature_spectrum(ACTIVATIONS[name], features, examples)
    grid = np.geomspace(1e-3, 60, 400)
    density = spectrum.density(grid)
    mass = np.concatenate([[0], np.cumsum(np.diff(grid) * (density[1:] + density[:-1]) / 2)])
    assert mass[-1] + spectrum.atom == pytest.approx(1, abs=5e-3)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((int(examples * in_size), in_size))
    drawn = lnn.RandomFeatures(in_size, int(features * in_size), name, key=jax.random.key(1))
    z = drawn(x * np.sqrt(in_size) / np.linalg.norm(x, axis=1, keepdims=True))
    values = np.linalg.svd(z, compute_uv=False) ** 2 / len(x)
    nonzero = values[values > 1e-9]
    assert len(nonzero) == round((1 - spectrum.atom) * in_size * features)
    counted = np.searchsorted(np.sort(nonzero), grid) / (in_size * features)
    assert np.max(np.abs(counted - mass)) < 0.01


def test_where_the_gap_closes():
    """At P = N_0 for a linear activation alone (N_1 = 10 N_0); tanh's lower edge is 0.206."""
    below = np.array([0.05, 0.19, 0.22])
    assert np.all(feature_spectrum(IDENTITY, 10.0, 1.0).density(below) > 1e-3)
    found = feature_spectrum(TANH, 10.0, 1.0).density(below)
    assert np.all(found[:2] < 1e-6) and found[2] > 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_feature_error(RELU, 0.0, 1.0, temperature=1.0), "features must be pos"),
        (lambda: random_feature_error(RELU, 1.0, 1.0, temperature=-1.0), "temperature must be"),
        (lambda: random_feature_error(RELU, 1.0, 1.0, temperature=1.0, noise_variance=-1.0),
         "noise_variance must not be negative"),
        (lambda: random_feature_decomposition(RELU, 1.0, 1.0, temperature=1.0, num_ensemble=0),
         "num_ensemble must be at least 1"),
        (lambda: random_feature_decomposition(RELU, 1.0, 1.0, temperature=1.0, num_noise=0.5),
         "num_noise must be at least 1, got 0.5"),
        (lambda: random_feature_peaks(RELU, -1.0, temperature=1.0), "features must be pos"),
        (lambda: feature_spectrum(RELU, 1.0, np.inf), "examples must be positive"),
        (lambda: feature_spectrum(RELU, 1.0, 2.0).resolvent(0.5), "off the positive real axis"),
        (lambda: feature_moments(activation(lambda z: 0 * z + 1)), "does not vary"),
        (lambda: lnn.RandomFeatures(3, 0, key=jax.random.key(0)), "width must be a positive"),
        (lambda: lnn.RandomFeatures(3, 2, key=jax.random.key(0))(np.ones((2, 4))),
         r"\(P, 3\) were expected, got \(2, 4\)"),
    ],
)  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_float64_is_required():
    """In float32 a linear σ would seem to have a non-linear part."""
    with jax.enable_x64(False):
        for call in (
            lambda: random_feature_error(IDENTITY, 2.0, 1.0, temperature=1.0),
            lambda: feature_spectrum(IDENTITY, 2.0, 1.0),
            lambda: lnn.RandomFeatures(3, 2, key=jax.random.key(0)),
        ):
            with pytest.raises(InputError, match=r'config.update\("jax_enable_x64", True\)'):
                call()
    assert feature_moments(IDENTITY).nonlinear_power == 0


def test_order_parameters_at_small_ridges():
    """Nothing cancels: v grows as the inverse of the ridge where the data are interpolated."""
    moments = feature_moments(TANH)
    found = [order_parameters(moments, 5.0, 2.0, ridge)[2] for ridge in (1e-9, 1e-11)]
    assert found[1] / found[0] == pytest.approx(100, rel=1e-6)
