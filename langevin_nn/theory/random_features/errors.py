"""Ridge regression on random features in the limit of many inputs, features and examples.

Features σ(W x/√N_0)/√N_1 with a frozen Gaussian W, N_1 of them, Gaussian inputs x of N_0
dimensions, and P examples of a teacher y = β·x + noise with |β| = 1 and noise of variance τ². As
N_0, N_1, P → ∞ at fixed ψ_1 = N_1/N_0 and ψ_2 = P/N_0, the read-out's posterior at temperature T
with the prior precision λ_L (or ridge regression with the ridge λ_L T: its mean) has

    mean test error    E = B + τ² V          (of the noise-free label)
    thermal variance   T v of f(x)           one draw of the posterior has the error E + T v
    training error     (E + τ²)/(1 + v)²     of the mean

that depend on σ through three Gaussian moments alone (`feature_moments`). E is the theorem of Mei
and Montanari (arXiv:1908.05355), with γ = λ_L T/ψ_2 for their ridge λ; v and the training error are
those of state evolution (Gerace et al., arXiv:2002.09339). All follow from one number w, the root
of

    λ_L T ψ_1 w = (ψ_1 − g)(ψ_2 − g),    g = p + a/(1 + a),   p = μ_*² w,   a = μ_1² w

(their equations on the imaginary axis, where p = −ν_1ν_2): the left side grows with w, the right
one falls until g reaches the smaller of ψ_1 and ψ_2, so that there is one root, which is bracketed.
v = g/(ψ_2 − g), and N_0 g, the trace of the map from labels to fitted values, is the number of
degrees of freedom of the regression.

A teacher that is not linear in x acts like noise: its non-linear part of the power F_*² adds to τ²,
and F_*² to E; its linear part of the power F_1² multiplies B.
"""

from dataclasses import dataclass

from langevin_nn.theory.random_features.overlaps import (
    factors,
    feature_moments,
    order_parameters,
    overlaps,
)
from langevin_nn.types import Activation, InputError
from langevin_nn.values import as_number, require_not_negative, require_positive, shown

__all__ = [
    "FeatureDecomposition",
    "RandomFeatureError",
    "random_feature_decomposition",
    "random_feature_error",
]


@dataclass(frozen=True)
class RandomFeatureError:
    """The errors of the read-out's posterior at one point of the plane of N_1/N_0 and P/N_0.

    Made by `random_feature_error`. `bias_factor` is B and `noise_factor` V of E = B + τ² V;
    `thermal_factor` is v; `test_error` is E of the posterior's mean and `train_error` the mean
    squared one at the (noisy) training labels; `degrees_of_freedom` is g, over N_0.
    """

    bias_factor: float
    noise_factor: float
    thermal_factor: float
    degrees_of_freedom: float
    test_error: float
    train_error: float
    temperature: float | int

    @property
    def thermal_variance(self) -> float:
        """T v, the mean posterior variance of f(x) at a test point."""
        return self.temperature * self.thermal_factor

    @property
    def draw_error(self) -> float:
        """E + T v, the test error of one draw of the posterior."""
        return self.test_error + self.thermal_variance


def random_feature_error(
    activation: Activation,
    features: float | int,
    examples: float | int,
    *,
    temperature: float | int,
    precision: float | int = 1.0,
    noise_variance: float | int = 0.0,
    linear_power: float | int = 1.0,
    nonlinear_power: float | int = 0.0,
) -> RandomFeatureError:
    """The asymptotic errors of the read-out's posterior on random features.

    Args:
        activation: σ.
        features: ψ_1 = N_1/N_0.
        examples: ψ_2 = P/N_0.
        temperature: T > 0; ridge regression is its mean, of the ridge λ_L T.
        precision: λ_L of the read-out.
        noise_variance: τ², of the training labels. (Where the literature says SNR it means 1/τ² or
            1/τ.) The test error is that of labels without noise.
        linear_power: F_1² of the teacher.
        nonlinear_power: F_*².

    Raises:
        InputError: numbers that are not positive (or negative noise), an activation that does not
            vary.

    >>> found = random_feature_error(relu, 3.0, 2.0, temperature=0.02, noise_variance=1.0)
    >>> print(f"{found.bias_factor:.8f} {found.noise_factor:.8f} {found.thermal_factor:.8f}")
    0.34177043 0.94926246 3.85636743
    >>> print(f"{found.draw_error - found.test_error:.8f}")  # T v
    0.07712735
    """
    moments = feature_moments(activation)
    _check(features, examples, temperature, precision)
    _check_powers(noise_variance, linear_power, nonlinear_power)
    w, g, thermal = order_parameters(moments, features, examples, precision * temperature)
    p, a = moments.nonlinear_power * w, moments.linear_power * w
    bias, noise = factors(p, a, features, examples)
    variance = noise_variance + nonlinear_power
    error = linear_power * bias + variance * noise + nonlinear_power
    noisy_error = linear_power * bias + variance * (1 + noise)
    return RandomFeatureError(
        bias_factor=bias,
        noise_factor=noise,
        thermal_factor=thermal,
        degrees_of_freedom=g,
        test_error=error,
        train_error=noisy_error / (1 + thermal) ** 2,
        temperature=temperature,
    )


@dataclass(frozen=True)
class FeatureDecomposition:
    """The parts of the mean predictor's test error; from `random_feature_decomposition`.

    Over draws of the training inputs, of the features and of the noise: `bias` is the error of the
    mean over all three, `sampling`, `initialisation` and `noise` are what each adds. `irreducible`
    is F_*², what no function that is linear in x has.
    """

    bias: float
    sampling: float
    initialisation: float
    noise: float
    irreducible: float

    @property
    def total(self) -> float:
        """The test error, which is the sum of all parts."""
        return self.bias + self.sampling + self.initialisation + self.noise + self.irreducible


def random_feature_decomposition(
    activation: Activation,
    features: float | int,
    examples: float | int,
    *,
    temperature: float | int,
    precision: float | int = 1.0,
    noise_variance: float | int = 0.0,
    linear_power: float | int = 1.0,
    nonlinear_power: float | int = 0.0,
    num_ensemble: float | int = 1,
    num_noise: float | int = 1,
) -> FeatureDecomposition:
    """Bias and the variances of the mean of K networks with features of their own on one data set.

    With f_θ the predictor of features θ and data (X, ε), averages over test inputs of

        initialisation (Ψ_2 − Ψ_4)/K,   noise τ²[(Ψ_3 − Ψ_5)/K + Ψ_5]/B,
        sampling Ψ_4 − Ψ_6,             bias 1 − 2Ψ_1 + Ψ_6

    where Ψ_1 = E β·f, Ψ_2 = E|f|², Ψ_4 = E_X|E_θ f|², Ψ_6 = |E_X E_θ f|² are of noise-free labels
    and Ψ_3, Ψ_5 those of Ψ_2, Ψ_4 for labels of noise alone, of which each of the K networks is
    averaged over the same B draws (B = 1: one data set as it is); d'Ascoli, Refinetti, Biroli,
    Krzakala, arXiv:2003.01054, section 4. Theirs is a saddle point of two replicas; its stationary
    point and its Hessian follow from w in closed form, so that nothing is solved here.

    Arguments and errors as `random_feature_error`, and num_ensemble, K ≥ 1, num_noise, B ≥ 1.

    >>> common = {"temperature": 0.02, "noise_variance": 1.0}
    >>> one = random_feature_decomposition(relu, 3.0, 2.0, **common)
    >>> print(f"{one.total:.6f} {random_feature_error(relu, 3.0, 2.0, **common).test_error:.6f}")
    1.291033 1.291033
    >>> ten = random_feature_decomposition(relu, 3.0, 2.0, num_ensemble=10, **common)
    >>> print(f"noise {one.noise:.3f} {ten.noise:.3f}, sampling {one.sampling - ten.sampling:.3f}")
    noise 0.949 0.396, sampling 0.000
    """
    moments = feature_moments(activation)
    _check(features, examples, temperature, precision)
    _check_powers(noise_variance, linear_power, nonlinear_power)
    for name, number in (("num_ensemble", num_ensemble), ("num_noise", num_noise)):
        counted = as_number(number)
        if counted is None or not counted >= 1:
            raise InputError(f"{name} must be at least 1, got {shown(number)}")
    psi = overlaps(moments, features, examples, precision * temperature)
    noise = noise_variance / num_noise + nonlinear_power
    return FeatureDecomposition(
        bias=linear_power * (1 - 2 * psi[1] + psi[6]),
        sampling=linear_power * (psi[4] - psi[6]),
        initialisation=linear_power * (psi[2] - psi[4]) / num_ensemble,
        noise=noise * ((psi[3] - psi[5]) / num_ensemble + psi[5]),
        irreducible=nonlinear_power,
    )


def _check(
    features: float | int, examples: float | int, temperature: float | int, precision: float | int
) -> None:
    for name, value in (
        ("features", features), ("examples", examples), ("temperature", temperature),
        ("precision", precision),
    ):  # fmt: skip
        require_positive(name, value)


def _check_powers(
    noise_variance: float | int, linear_power: float | int, nonlinear_power: float | int
) -> None:
    for name, value in (
        ("noise_variance", noise_variance), ("linear_power", linear_power),
        ("nonlinear_power", nonlinear_power),
    ):  # fmt: skip
        require_not_negative(name, value)
