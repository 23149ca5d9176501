"""The whole distribution of f at a point, and of the order parameter, where a theory has one.

A saddle point makes f(x) Gaussian; the scale mixture makes it an average of Gaussians over the
posterior of Q, with tails that are heavier.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from langevin_nn.data.dataset import as_finite_numbers, as_numbers
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require_ensemble
from langevin_nn.theory.base import Function, Theory
from langevin_nn.theory.effective import scale_mixture
from langevin_nn.theory.ensemble import gram_regression
from langevin_nn.theory.own_layers import require_own_layers
from langevin_nn.theory.suite import theory_of
from langevin_nn.types import InputError, NotApplicable
from langevin_nn.values import as_number, require_number, shown

__all__ = [
    "OrderParameterDistribution",
    "PredictiveDistribution",
    "order_parameter_distribution",
    "predictive_distribution",
]


@dataclass(frozen=True, eq=False)
class PredictiveDistribution:
    """The distribution of f at each of n inputs: Σ_k w_k N(means[…, k], variances[…, k]).

    Made by `predictive_distribution`.
    `means` and `variances` have the shape (n, K), or (n, D, K) for D outputs, each output alone.
    """

    weights: Float[np.ndarray, " K"]
    means: Float[np.ndarray, "n *D K"]
    variances: Float[np.ndarray, "n *D K"]

    @property
    def mean(self) -> Float[np.ndarray, " n *D"]:
        """E[f] at each input."""
        return self.means @ self.weights

    @property
    def variance(self) -> Float[np.ndarray, " n *D"]:
        """Var[f] at each input: the mean of the variances plus the variance of the means."""
        spread = np.square(self.means - self.mean[..., None])
        return (self.variances + spread) @ self.weights

    def density(self, f: float | Float[np.ndarray, " m"]) -> Float[np.ndarray, "..."]:
        """p(f) at the numbers f, which become the last axis; 0 or ∞ where f has no variance."""
        points = as_finite_numbers("f", f)[..., None]
        means, variances = (self._aligned(array, points) for array in (self.means, self.variances))
        with np.errstate(divide="ignore", invalid="ignore"):
            exponent = -0.5 * np.square(points - means) / variances
            density = np.exp(exponent) / np.sqrt(2 * np.pi * variances)
        spike = np.where(points == means, np.inf, 0.0)
        return np.where(variances == 0, spike, density) @ self.weights

    def probability_above(self, threshold: float) -> Float[np.ndarray, " n *D"]:
        """P(f > threshold) at each input."""
        number = as_number(threshold)
        if number is None or np.isnan(number):
            raise InputError(f"threshold must be one number, got {shown(threshold)}")
        distance = self.means - number
        with np.errstate(divide="ignore", invalid="ignore"):
            above = ndtr(distance / np.sqrt(self.variances))
        return np.where(self.variances == 0, distance > 0, above) @ self.weights

    @staticmethod
    def _aligned(values: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The values with an axis of length one for each axis of `points`, before their last."""
        axes = (1,) * (points.ndim - 1)
        return values.reshape(*values.shape[:-1], *axes, values.shape[-1])


def predictive_distribution(
    ensemble: Ensemble,
    x: Float[np.ndarray, "n N_0"],
    theory: str | Theory | Function = "scale_mixture",
) -> PredictiveDistribution:
    """The posterior distribution of f, without the noise T, at the inputs x.

    N(m(x), s(x)) of a saddle point, of `mean_field` and of `propagation`;
    Σ_k w_k N(m_Q(x), s_Q(x)) at the nodes Q_k of `scale_mixture`, w_k their posterior weights
    (`saddles.average`).

    Args:
        ensemble: the spec, and the training examples.
        x: inputs, of the size that the spec says.
        theory: its name, a `Theory`, or a function of an ensemble.

    Raises:
        NotApplicable: the theory does not describe the network, or has two moments but no
            distribution (`width_expansion`, `matched`, `cavity`, and functions of one's own that
            give numbers alone).
        InputError: as the theory; an unknown name.

    >>> data = two_points(1.0, -1.0)
    >>> spec = EnsembleSpec(2, (10,), erf, (1.0, 1.0), temperature=0.1)
    >>> found = predictive_distribution(Ensemble(spec, data), np.array([[1.0, 0.0]]))
    >>> found.density(np.array([0.0, 1.0])).shape, found.probability_above(0.0).round(3)
    ((1, 2), array([0.997]))
    """
    chosen = theory_of(theory)
    require_ensemble(ensemble)
    x = as_numbers("x", x)
    if x.ndim != 2:
        raise InputError(
            f"x has shape {x.shape}, not (examples, inputs): give a row of inputs for each example"
        )
    data, temperature = ensemble.data, ensemble.spec.temperature
    y_test = np.zeros((len(x), *data.y_train.shape[1:]))
    require_own_layers(ensemble)
    at_inputs = Ensemble(ensemble.spec, replace(data, x_test=x, y_test=y_test), loss=ensemble.loss)
    solution = chosen.solve(at_inputs)
    if (average := solution.mixture) is not None:
        regression = gram_regression(at_inputs)
        means = regression.mean(temperature, average.scales)
        variances = regression.variance(temperature, average.scales)
        return PredictiveDistribution(average.weights, means, variances)
    if solution.covariance is None and not solution.is_gaussian:
        raise NotApplicable(
            f"{chosen.name} gives the mean and the variance of f, not its distribution"
        )
    result = solution.generalisation
    return PredictiveDistribution(
        np.ones(1), result.predictive_mean[..., None], result.predictive_variance[..., None]
    )


@dataclass(frozen=True, eq=False)
class OrderParameterDistribution:
    """The posterior density of the common scale Q at `scales`, equally spaced in log Q.

    Made by `order_parameter_distribution`.
    """

    scales: Float[np.ndarray, " K"]
    density: Float[np.ndarray, " K"]

    def moment(self, power: int) -> float:
        """E[Q^power | data], by the trapezoidal rule in log Q."""
        require_number("power", power)
        spacing = np.log(self.scales[1] / self.scales[0])
        return float(np.sum(self.density * self.scales ** (power + 1)) * spacing)


def order_parameter_distribution(ensemble: Ensemble) -> OrderParameterDistribution:
    """p(Q | data) ∝ p(Q) N(y; 0, T I + Q K) of `scale_mixture`, Q = Q_1 ⋯ Q_L.

    For one hidden layer p(Q) is Gamma(N_1/2, rate N_1/2), for more that of the product of such
    numbers (`saddles.average`). In the network Q is λ_1‖v‖²/N_1 for one hidden layer: given v, and
    exactly so for a linear network, f has the covariance (λ_1‖v‖²/N_1) K_1.

    Raises `NotApplicable` and `InputError` as `scale_mixture`, and `InputError` where there is no
    such distribution.

    >>> data = two_points(2.0, -2.0)
    >>> spec = EnsembleSpec(2, (10,), identity, (1.0, 1.0), temperature=0.1)
    >>> found = order_parameter_distribution(Ensemble(spec, data))
    >>> print(f"{found.moment(0):.6f} {found.moment(1):.3f}")
    1.000000 1.639
    """
    average = scale_mixture.THEORY.solve(ensemble).mixture
    assert average is not None, "scale_mixture has one"
    if average.scales.size < 2:
        raise InputError(f"the order parameter has no distribution here: {average.message}")
    spacing = np.log(average.scales[1] / average.scales[0])
    return OrderParameterDistribution(average.scales, average.weights / (spacing * average.scales))
