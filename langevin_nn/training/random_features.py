"""Random features: the network with its hidden weights frozen, and regression on its read-out.

    f(x) = Σ_i v_i σ(W_i·x/√N_0)/√N_1,    W_ij ~ N(0, 1) frozen,    v_i ~ N(0, 1/λ_L)

The posterior of v at temperature T is Gaussian. With the singular values s_k of the features Z/√N_1
(P × N_1), Z/√N_1 = Σ_k s_k a_k b_kᵀ, its mean and the covariance of f are those of ridge regression
with the ridge λ_L T,

    ⟨v⟩ = Σ_k s_k/(s_k² + λ_L T) (a_k·y) b_k,      Var f(x) = T z(x)ᵀ (ZᵀZ/N_1 + λ_L T)⁻¹ z(x)/N_1

so that one decomposition serves every T, and T → 0 is the interpolation of the smallest norm.
"""

import abc
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Float, PRNGKeyArray

from langevin_nn.data.dataset import Dataset, as_finite_numbers
from langevin_nn.data.teachers import noise_scale
from langevin_nn.model.activations import activation as chosen_activation
from langevin_nn.model.networks.base import Network
from langevin_nn.model.precision import require_float64
from langevin_nn.model.quadrature import gaussian_mean
from langevin_nn.types import Activation, InputError, random_key
from langevin_nn.values import (
    require_count,
    require_flag,
    require_kind,
    require_not_negative,
    shown,
)

__all__ = ["FeatureRegression", "FrozenFeatures", "RandomFeatures", "feature_ensemble"]


class FrozenFeatures(abc.ABC):
    """Features z(x), (P, `width`) of inputs (P, `in_size`), that are not sampled. Abstract."""

    in_size: int
    width: int

    @abc.abstractmethod
    def _hidden(self, x: Float[np.ndarray, "P N_0"]) -> Any:
        """The features of inputs that have been checked."""

    def __call__(self, x: Float[np.ndarray, "P N_0"]) -> Float[np.ndarray, "P N_1"]:
        """The features σ(W x/√N_0), or with `centred` minus their mean.

        With features `of` a network they are its last hidden layer.

        Raises `InputError` for inputs of another size, or that are not finite.
        """
        x = as_finite_numbers("inputs", x)
        if x.ndim != 2 or x.shape[1] != self.in_size:
            raise InputError(f"inputs of shape (P, {self.in_size}) were expected, got {x.shape}")
        return np.asarray(self._hidden(x), np.float64)

    def task(self, data: Dataset) -> Dataset:
        """The task `data` with the features as inputs, for a network without hidden layers.

        The network's weights are then the read-out's and its prior precision is λ_L: every dynamics
        of the package samples the posterior that `regress` has in closed form.
        """
        require_kind("data", data, Dataset, "load_dataset(…)")
        return replace(
            data, name=f"random features of {data.name}", x_train=self(data.x_train),
            x_test=self(data.x_test), image_shape=None,
        )  # fmt: skip

    def regress(self, data: Dataset) -> "FeatureRegression":
        """The read-out's posterior given the training examples, for every ridge at once."""
        require_kind("data", data, Dataset, "load_dataset(…)")
        scale = np.sqrt(self.width)
        left, singular, right = scipy.linalg.svd(self(data.x_train) / scale, full_matrices=False)
        projected = self(data.x_test) / scale
        inside = projected @ right.T
        outside = np.maximum(np.sum(projected**2, axis=1) - np.sum(inside**2, axis=1), 0)
        return FeatureRegression(data, left, singular, right, inside, outside)


class RandomFeatures(FrozenFeatures):
    """A hidden layer of `width` units, frozen at a draw of its prior N(0, 1).

    `activation` is a name, an `Activation` or an elementwise callable; `centred` subtracts its mean
    under a standard Gaussian, E σ(z). `of` takes the hidden layers of a network as they are.

    Raises `InputError` for sizes that are not positive, an unknown activation, and with float64
    switched off, where rounded features could not be told from independent ones.

    >>> data = lnn.load_dataset("digits", num_train=50, num_test=20, key=key)
    >>> features = lnn.RandomFeatures(data.in_size, 30, "relu", key=key)
    >>> regression = features.regress(data)
    >>> regression.mean(ridge=0.1).shape, regression.variance(ridge=0.1, temperature=0.1).shape
    ((20,), (20,))
    """

    def __init__(
        self,
        in_size: int,
        width: int,
        activation: str | Activation = "erf",
        *,
        key: PRNGKeyArray,
        centred: bool = False,
    ) -> None:
        for name, size in (("in_size", in_size), ("width", width)):
            require_count(name, size)
        require_flag("centred", centred)
        require_float64("random features are")
        chosen = chosen_activation(activation)
        drawn = jax.random.normal(random_key(key), (width, in_size), jnp.float32)
        weights = np.asarray(drawn, np.float64)
        mean = float(gaussian_mean(chosen, jnp.ones(1))[0]) if centred else 0.0
        self.in_size, self.width = in_size, width
        self._weights, self._activation, self._mean = weights, chosen, mean

    @staticmethod
    def of(network: Any) -> FrozenFeatures:
        """The features that the read-out of one of the package's networks sees, at any depth.

        The hidden weights are taken as they are: a draw of any prior, of a posterior, or trained.

        Raises `InputError` for other modules, for a network without hidden layers or with biases,
        and for several networks at once.

        >>> import equinox as eqx
        >>> data = lnn.load_dataset("digits", num_train=50, num_test=20, key=key)
        >>> network = lnn.FullyConnected(data.in_size, (30, 40), "relu", key=key)
        >>> v = lnn.RandomFeatures.of(network).regress(data).readout(ridge=0.1)
        >>> best = eqx.tree_at(lambda network: network.weights[-1], network, v[None])
        >>> bool(((jax.vmap(best)(data.x_train) - data.y_train) ** 2).mean() < 0.1)
        True
        """
        return _LastLayer(network)

    def _hidden(self, x: Float[np.ndarray, "P N_0"]) -> Any:
        z = jnp.asarray(x @ self._weights.T / np.sqrt(self.in_size))
        return self._activation(z) - self._mean


class _LastLayer(FrozenFeatures):
    """The last hidden layer of a network as features; made by `RandomFeatures.of`."""

    def __init__(self, network: Any) -> None:
        if not isinstance(network, Network) or not network.hidden_widths or network.biases:
            given = type(network).__name__
            if isinstance(network, Network):
                biases = "with biases" if network.biases else "without biases"
                given += f" of hidden widths {network.hidden_widths} {biases}"
            raise InputError(
                "features are those of a FullyConnected or Convolutional network with hidden "
                f"layers and without biases, got {given}"
            )
        require_float64("random features are")
        float64_network = jax.tree.map(lambda leaf: leaf.astype(np.float64), network)
        shape = jax.eval_shape(float64_network.features, jnp.zeros((1, network.in_size))).shape
        if len(shape) != 2:
            raise InputError(f"one network was expected, got several of shape {shape[:-2]}")
        self.in_size, self.width = network.in_size, shape[-1]
        self._network = float64_network

    def _hidden(self, x: Float[np.ndarray, "P N_0"]) -> Any:
        return self._network.features(jnp.asarray(x))


@dataclass(frozen=True, eq=False)
class FeatureRegression:
    """Regression on features by a singular-value decomposition; made by `RandomFeatures.regress`.

    `left` (P, k), `singular` (k,) and `right` (k, N_1) are the singular vectors and values of
    Z/√N_1, `inside` (P_test, k) the test features along its right singular vectors and `outside`
    (P_test,) the squared length of the remainder.
    """

    data: Dataset
    left: Float[np.ndarray, "P k"]
    singular: Float[np.ndarray, " k"]
    right: Float[np.ndarray, "k N_1"]
    inside: Float[np.ndarray, "P_test k"]
    outside: Float[np.ndarray, " P_test"]

    def weights(
        self, ridge: float | int, targets: Float[np.ndarray, " P *draws"] | None = None
    ) -> Float[np.ndarray, " k *draws"]:
        """The mean ⟨v⟩ along the right singular vectors; `targets` replace the task's own."""
        y = self.data.y_train
        if targets is not None:
            y = as_finite_numbers("targets", targets)
            if y.shape[:1] != self.data.y_train.shape[:1]:
                raise InputError(
                    f"targets must be {self.data.num_train} numbers, or such columns, one row for "
                    f"each training example, got an array of shape {y.shape}"
                )
        return (self.left * self._gains(ridge)).T @ y

    def readout(
        self, ridge: float | int, targets: Float[np.ndarray, " P *draws"] | None = None
    ) -> Float[np.ndarray, " N_1 *draws"]:
        """The mean ⟨v⟩, a read-out for the network with these hidden weights."""
        return self.right.T @ self.weights(ridge, targets)

    def mean(
        self, ridge: float | int, targets: Float[np.ndarray, " P *draws"] | None = None
    ) -> Float[np.ndarray, " P_test *draws"]:
        """The posterior's mean of f at the test points, with the ridge λ_L T; 0 interpolates."""
        return self.inside @ self.weights(ridge, targets)

    def train_mean(
        self, ridge: float | int, targets: Float[np.ndarray, " P *draws"] | None = None
    ) -> Float[np.ndarray, " P *draws"]:
        """The posterior's mean of f at the training points, with the ridge λ_L T."""
        return (self.left * self.singular) @ self.weights(ridge, targets)

    def variance(
        self, ridge: float | int, temperature: float | int
    ) -> Float[np.ndarray, " P_test"]:
        """The posterior's variance of f at the test points, T z(ZᵀZ/N_1 + λ_L T)⁻¹z/N_1."""
        self._check(ridge)
        if not ridge > 0:
            raise InputError(f"the variance needs a positive ridge λ_L T, got {shown(ridge)}")
        require_not_negative("temperature", temperature)
        inside = np.sum(self.inside**2 / (self.singular**2 + ridge), axis=1)
        return temperature * (inside + self.outside / ridge)

    def _gains(self, ridge: float | int) -> Float[np.ndarray, " k"]:
        self._check(ridge)
        if ridge > 0:
            return self.singular / (self.singular**2 + ridge)
        resolved = self.singular > 1e-13 * max(self.left.shape) * self.singular[0]
        return np.where(resolved, 1 / np.where(resolved, self.singular, 1), 0)

    @staticmethod
    def _check(ridge: float | int) -> None:
        require_not_negative("the ridge λ_L T", ridge)


def feature_ensemble(
    data: Dataset,
    width: int,
    activation: str | Activation = "erf",
    *,
    key: PRNGKeyArray,
    ridge: float | int,
    num_ensemble: int,
    num_noise: int = 1,
    noise_variance: float | int = 0.0,
    shared_noise: bool = False,
    centred: bool = False,
) -> Float[np.ndarray, "features noise P_test"]:
    """Predictions at the test points by several draws of the features, and of noise for each.

    Their mean over the first axis is the prediction of an ensemble, over the second that of bagging
    over the noise. Stacked over data sets, they are the predictions for `lnn.error_parts`.

    Args:
        data: a task of one output; Gaussian noise is added to its training targets.
        width, activation, centred: the features, as for `RandomFeatures`.
        ridge: λ_L T ≥ 0.
        num_ensemble: the number of draws of the features.
        num_noise: the number of draws of the noise for each draw of the features.
        noise_variance: τ², 0 for the targets as they are.
        shared_noise: whether all features have the same draws of the noise (the ensemble is trained
            on one data set, its limit is `theory.random_feature_decomposition` with
            `num_ensemble`), or each has draws of its own, as `lnn.error_parts` expects them.

    The draws of one member do not depend on how many there are.

    Raises `InputError` for numbers that are not positive, several outputs, a negative variance, and
    as `RandomFeatures`.

    >>> data = lnn.load_dataset("digits", num_train=50, num_test=20, key=key)
    >>> f = lnn.feature_ensemble(
    ...     data, 50, "relu", key=key, ridge=1e-3, num_ensemble=6, num_noise=4, noise_variance=1.0
    ... )
    >>> f.shape
    (6, 4, 20)
    >>> mean_errors = [((each - data.y_test) ** 2).mean() for each in (f, f.mean(axis=(0, 1)))]
    >>> bool(mean_errors[1] < 0.5 * mean_errors[0])
    True
    """
    for name, number in (("num_ensemble", num_ensemble), ("num_noise", num_noise)):
        require_count(name, number)
    require_kind("data", data, Dataset, "load_dataset(…)")
    require_flag("shared_noise", shared_noise)
    if data.y_train.ndim != 1:
        raise InputError(
            f"an ensemble is of one output, the task has {data.num_outputs}: give one column of "
            "its targets at a time"
        )
    scale = noise_scale(noise_variance)
    features_key, noise_key = jax.random.split(random_key(key))
    draws = []
    for member in range(num_ensemble):
        member_key = jax.random.fold_in(features_key, member)
        features = RandomFeatures(data.in_size, width, activation, key=member_key, centred=centred)
        member_noise_key = noise_key if shared_noise else jax.random.fold_in(noise_key, member)
        noise = jax.random.normal(member_noise_key, (data.num_train, num_noise), np.float64)
        labels = data.y_train[:, None] + scale * np.asarray(noise)
        draws.append(features.regress(data).mean(ridge, labels).T)
    return np.stack(draws)
