"""The posterior of the hidden weights alone: the Gaussian read-out is integrated out exactly.

    p(W | data) ∝ p(W) exp(−Φ(W)),   Φ = ½ D log det(K_W + T) + ½ Σ_d y_dᵀ (K_W + T)⁻¹ y_d
    K_W = F Fᵀ,   F = [σ(hᴸ)/√(λ_L M), 1/√λ_b]

with M = N_L features, or n N_c of a convolutional layer, and a column for the read-out's bias where
there is one. The D outputs share the hidden weights, and given those are independent of each other
(Pacelli et al., arXiv:2209.04882, integrate the same read-out to get their effective action).

Given W, f is Gaussian in closed form (`gaussian_readout.ReadoutRegression`). Averages over the
posterior are then E[f] = E_W[m_W] and Var[f] = E_W[s_W] + Var_W[m_W] (Rao–Blackwell), with far less
Monte-Carlo noise.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.data.dataset import Dataset
from langevin_nn.model import gaussian_readout
from langevin_nn.model.control_variates import (
    HiddenPreactivations,
    ReferenceRegression,
    control_variates,
    require_known,
)
from langevin_nn.model.gaussian_readout import ReadoutRegression
from langevin_nn.model.losses import Loss
from langevin_nn.model.networks.base import Network, is_own_network, require_features
from langevin_nn.model.networks.modules import refuse_wrong_derivatives
from langevin_nn.model.posterior import Posterior, require_keys
from langevin_nn.model.precision import full_precision
from langevin_nn.model.prior import GaussianPrior
from langevin_nn.types import ChainKeys, InputError
from langevin_nn.values import require_kind

REFERENCE_UNITS = 4_000
"""The least number of hidden units that the reference of control variates is an average over."""
READOUT_STREAM = 1
"""What is folded into a record's key for the read-out; the part outside the span takes the key."""


class MarginalisedPosterior(Posterior):
    """p(W | data) of the hidden weights of `network` at temperature T.

    Arguments and errors as for `GibbsPosterior`; the network is one of the package's own, with a
    hidden layer at least. `energy` is T (Φ + ½ Σ_{ℓ<L} λ_ℓ‖W^ℓ‖²), so that a step size η of
    Langevin dynamics means what it means for all weights.

    >>> data = lnn.load_dataset("digits", num_train=20, num_test=10, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (30,), activation="erf", key=key)
    >>> posterior = lnn.MarginalisedPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
    >>> hidden = posterior.sample_prior(key, num_chains=4)
    >>> posterior.potential(hidden).shape, [w.shape for w in jax.tree.leaves(hidden)]
    ((4,), [(4, 30, 20)])
    """

    reference: ReferenceRegression | None
    """What control variates are made from (`with_control_variates`); None where there are none."""

    def __init__(
        self,
        network: Any,
        prior: GaussianPrior,
        data: Dataset,
        temperature: float,
        loss: Loss | None = None,
    ) -> None:
        super().__init__(network, prior, data, temperature, loss)
        self.reference = None
        _require_readout(network)
        _require_squared(self.loss)
        if is_own_network(network):
            self._require_own_readout()

    def __check_init__(self) -> None:
        refuse_wrong_derivatives(self)

    @classmethod
    def of(cls, posterior: Posterior) -> "MarginalisedPosterior":
        """A posterior with its read-out integrated out; errors as for `MarginalisedPosterior`."""
        require_kind("posterior", posterior, Posterior, "GibbsPosterior(…)")
        _require_readout(posterior.network)
        _require_squared(posterior.loss)
        network, space = posterior.network, posterior.space
        return cls(
            network if space is None else space.whole(network), posterior.prior,
            posterior.ensemble.data, float(posterior.temperature), posterior.loss,
        )  # fmt: skip

    def with_control_variates(self) -> "MarginalisedPosterior":
        """The posterior whose records have control variates (`model.control_variates`).

        Raises `InputError` where they are not known.
        """
        require_known(self.network)
        number = math.ceil(REFERENCE_UNITS / self.network.hidden_widths[0])
        key = jax.random.key(0)  # the same for each posterior: a reference of its own gains nothing
        params = self.sample_prior(key, number)
        at_test = self._test_features(params, jax.random.split(key, number))
        reference = ReferenceRegression.of(
            self._train_features(params), at_test, self.y_train, float(self.temperature)
        )
        of_posterior = eqx.tree_at(
            lambda posterior: posterior.reference, self, reference, is_leaf=lambda x: x is None
        )
        assert isinstance(of_posterior, MarginalisedPosterior)
        return of_posterior

    @property
    def sampled_prior(self) -> GaussianPrior:
        """The prior of the hidden layers: the read-out's is integrated out."""
        biases = self.prior.bias_precisions
        hidden = (self.prior.precisions[:-1], None if biases is None else biases[:-1])
        return eqx.tree_at(
            lambda prior: (prior.precisions, prior.bias_precisions),
            self.prior, hidden, is_leaf=lambda leaf: leaf is None,
        )  # fmt: skip

    @property
    def _template(self) -> Any:
        return _without_readout(super()._template)

    def regression(self, params: Any) -> ReadoutRegression:
        """The read-out's posterior given the hidden weights of each chain."""
        return gaussian_readout.regress(
            self._train_features(params), self._targets, self._typed_temperature
        )

    def misfit(self, params: Any) -> Float[Array, " chains"]:
        """Φ = −log p(y | W) − (PD/2) log 2π."""
        return gaussian_readout.potential(
            self._train_features(params), self._targets, self._typed_temperature
        )

    @property
    def log_normalisation(self) -> float:
        """(PD/2) log 2π, which Φ leaves out of −log p(y | W)."""
        return 0.5 * self.y_train.size * math.log(2 * math.pi)

    def energy(self, params: Any) -> Float[Array, " chains"]:
        """T (Φ + ½ Σ_{ℓ<L} λ_ℓ‖W^ℓ‖²)."""
        return self._energy(self.misfit(params), params)

    def squared_errors(self, params: Any) -> Float[Array, "chains P"]:
        """⟨(y_μ − f(x_μ))²⟩ = (y_μ − m_μ)² + s_μ given W, summed over the outputs."""
        return self.regression(params).squared_errors

    def data_energy(self, params: Any) -> Float[Array, " chains"]:
        """⟨½ Σ_μ (y_μ − f(x_μ))²⟩ given W, summed over the outputs."""
        return 0.5 * jnp.sum(self.squared_errors(params), axis=1)

    def energy_variance(self, params: Any) -> Float[Array, " chains"]:
        """Var(½ Σ_μ (y_μ − f(x_μ))²) given W, summed over the outputs."""
        return self.regression(params).energy_variance

    def predictions(self, params: Any, keys: ChainKeys) -> dict[str, Array]:
        """m_W and s_W at the test inputs; `keys` draw what lies outside the training span."""
        return self._predictions(self.regression(params), self._test_features(params, keys))

    @full_precision
    def record(
        self, params: Any, keys: ChainKeys, *, train_outputs: bool = False
    ) -> dict[str, Array]:
        """What a draw keeps, by its name in `Chains`, as for any posterior; from one factor.

        `test_draws` and `train_outputs` have one read-out, drawn from its posterior given
        W: the one that `lifted_networks` draws with the same keys.
        """
        regression, at_test = self.regression(params), self._test_features(params, keys)
        drawn = regression.drawn(*self._standard_gaussians(regression.features, keys))
        values = {
            **self._predictions(regression, at_test),
            "train_error": jnp.mean(regression.squared_errors, axis=1),
            "energy": self._energy(regression.potential, params),
            "test_draws": self._as_outputs(at_test @ drawn),
        }
        if train_outputs:
            values["train_outputs"] = self._as_outputs(regression.features @ drawn)
        if self.reference is not None:
            values["control_variates"] = self._control_variates(params, keys, regression, at_test)
        return values

    @full_precision
    def record_along(self, params: Any, keys: ChainKeys, direction: Any) -> dict[str, Array]:
        """The derivative along `direction` of the averages in `record`, in closed form."""
        _, moved = jax.jvp(self._train_features, (params,), (direction,))
        regression = self.regression(params)
        features, features_moved = jax.jvp(
            lambda p: self._test_features(p, keys), (params,), (direction,)
        )
        means = regression.means(features_moved) + features @ regression.weights_along(moved)
        return {
            "test_outputs": means if self.y_train.ndim == 2 else means[..., 0],
            "test_variances": regression.variances_along(moved, features, features_moved),
            "train_error": regression.squared_error_along(moved),
        }

    def _control_variates(
        self, params: Any, keys: ChainKeys, regression: ReadoutRegression, at_test: Array
    ) -> Float[Array, "chains 3 P_test *D"]:
        networks = self.networks(params)
        gradient = jax.grad(lambda params: jnp.sum(self.misfit(params)))(params)
        parts = zip(jax.tree.leaves(gradient), self.sampled_prior.by_array, strict=True)
        drift = [leaf / jnp.asarray(precision, leaf.dtype) for leaf, precision in parts]
        pushed = self.networks(jax.tree.unflatten(jax.tree.structure(gradient), drift))
        h = networks.preactivations(0, self.x_train)
        h_at_test = self._extended(networks, keys).preactivations(0, self.x_test)
        within = self.x_test[:, : self.x_train.shape[1]]  # ∇Φ has no part outside of their span
        scale = 1 / jnp.sqrt(self._number(self.prior.precisions[0]) * self.network.fan_ins[0])
        inputs = [scale * x for x in (self.x_train, within)]
        norms = [jnp.sum(jnp.square(scale * x), axis=1) for x in (self.x_train, self.x_test)]
        if self.prior.bias_precisions is not None:
            variance = 1 / self._number(self.prior.bias_precisions[0])
            inputs = [
                jnp.pad(x, ((0, 0), (0, 1)), constant_values=jnp.sqrt(variance)) for x in inputs
            ]
            norms = [squares + variance for squares in norms]
        assert self.reference is not None
        return control_variates(
            self.reference, regression, at_test, networks.activation,
            1 / jnp.sqrt(self._number(self.prior.precisions[-1]) * h.shape[-1]),
            HiddenPreactivations(
                h, h + pushed.preactivations(0, self.x_train), inputs[0], norms[0]
            ),
            HiddenPreactivations(
                h_at_test, h_at_test + pushed.preactivations(0, within), inputs[1], norms[1]
            ),
        )  # fmt: skip

    def _energy(self, misfit: Float[Array, " chains"], params: Any) -> Float[Array, " chains"]:
        return self.temperature * (misfit + self.sampled_prior.energy(params))

    def _predictions(
        self, regression: ReadoutRegression, features: Float[Array, "chains P_test M"]
    ) -> dict[str, Array]:
        return {
            "test_outputs": self._as_outputs(regression.means(features)),
            "test_variances": regression.variances(features),
        }

    def _as_outputs(self, outputs: Float[Array, "chains Q D"]) -> Float[Array, "chains Q *D"]:
        """The outputs, with an axis for D only where the targets have one."""
        return outputs if self.y_train.ndim == 2 else outputs[..., 0]

    @full_precision
    def lifted_networks(self, params: Any, keys: ChainKeys) -> Any:
        """Whole networks on the original inputs: the read-out drawn from its posterior given W.

        With w⁰ and noise of variance T from the prior, w⁰ + Fᵀ(K_W + T)⁻¹(y − F w⁰ − noise) is a
        draw of the posterior (Matheron's rule), in the unit-free weights √λ v.
        """
        features = self._train_features(params)
        prior, noise = self._standard_gaussians(features, keys)
        residuals = (
            self._targets[None] - features @ prior - jnp.sqrt(self._typed_temperature) * noise
        )
        drawn = (
            prior + gaussian_readout.regress(features, residuals, self._typed_temperature).weights
        )
        return self._lifted(self._with_readout(params, drawn), keys)

    def _standard_gaussians(
        self, features: Float[Array, "chains P M"], keys: ChainKeys
    ) -> list[Array]:
        """What Matheron's rule starts from: (chains, M, D) for w⁰, (chains, P, D) for the noise."""
        require_keys(keys, len(features))
        keys = jax.vmap(lambda key: jax.random.fold_in(key, READOUT_STREAM))(keys)
        num_outputs = self._targets.shape[1]
        shapes = [(features.shape[2], num_outputs), (features.shape[1], num_outputs)]

        def draw(key: Any) -> list[Array]:
            subkeys = jax.random.split(key)
            return [
                jax.random.normal(k, shape, features.dtype)
                for k, shape in zip(subkeys, shapes, strict=True)
            ]

        return list(jax.vmap(draw)(keys))

    def _with_readout(self, params: Any, weights: Float[Array, "chains M D"]) -> Any:
        """Networks with the read-out v = w/√λ_L and the bias w/√λ_b."""
        template = self.network.weights[-1]
        biases = self.prior.bias_precisions
        chains = weights.shape[0]
        count = weights.shape[1] - (biases is not None)
        v = weights[:, :count] / jnp.sqrt(self._number(self.prior.precisions[-1]))
        if template.shape[-1] == count:  # (D, N_L)
            v = jnp.swapaxes(v, 1, 2)
        networks = eqx.combine(params, self.network)
        networks = eqx.tree_at(
            lambda n: n.weights[-1], networks, v.reshape(chains, *template.shape)
        )
        if biases is None:
            return networks
        bias = weights[:, count] / jnp.sqrt(self._number(biases[-1]))
        return eqx.tree_at(lambda n: n.biases[-1], networks, bias)

    def _require_own_readout(self) -> None:
        """Raise `InputError` where the network of the user's own is not its features' read-out."""
        arrays, rest = eqx.partition(self.network, eqx.is_inexact_array)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arrays)):
            return
        x = self.x_train[:3]
        networks = eqx.combine(jax.tree.map(lambda w: jnp.stack([w, 0.7 * w]), arrays), rest)
        features, biases = self._scaled(networks, x), self.prior.bias_precisions
        count = features.shape[-1] - (biases is not None)
        v = networks.weights[-1]
        by_output = self.network.weights[-1].shape[-1] == count  # (D, N_L)
        v = jnp.swapaxes(v.reshape(2, -1, count), 1, 2) if by_output else v.reshape(2, count, -1)
        weights = v * jnp.sqrt(self._number(self.prior.precisions[-1]))
        if biases is not None:
            bias = networks.biases[-1].reshape(2, 1, -1) * jnp.sqrt(self._number(biases[-1]))
            weights = jnp.concatenate([weights, bias], axis=1)
        read_out = np.asarray(self._as_outputs(features @ weights))
        outputs = np.asarray(networks.batch(x))
        if outputs.shape != read_out.shape or not np.allclose(
            outputs, read_out, rtol=0, atol=1e-3 * np.abs(outputs).max(initial=0.0), equal_nan=True
        ):
            raise InputError(
                f"{type(self.network).__name__} is not the read-out of its features, v·features(x)/"
                "√M + b with v its last weights: write features(x) that is, or GibbsPosterior "
                '(readout = "sampled")'
            )

    def _test_features(self, params: Any, keys: ChainKeys) -> Float[Array, "chains P_test M"]:
        return self._scaled(self._extended(self.networks(params), keys), self.x_test)

    def _train_features(self, params: Any) -> Float[Array, "chains P M"]:
        return self._scaled(self.networks(params), self.x_train)

    def _scaled(self, networks: Any, x: Array) -> Float[Array, "chains P M"]:
        """F: the features so scaled that the prior of their weights is N(0, 1)."""
        features = networks.features(x)
        precision = self._number(self.prior.precisions[-1])
        features = features / jnp.sqrt(precision * features.shape[-1])
        if self.prior.bias_precisions is None:
            return features
        column = jnp.ones((*features.shape[:-1], 1), features.dtype)
        column = column / jnp.sqrt(self._number(self.prior.bias_precisions[-1]))
        return jnp.concatenate([features, column], axis=-1)

    @property
    def _targets(self) -> Float[Array, "P D"]:
        return self.y_train if self.y_train.ndim == 2 else self.y_train[:, None]

    @property
    def _typed_temperature(self) -> Array:
        return self._number(self.temperature)

    def _number(self, value: float | Array) -> Array:
        return jnp.asarray(value, self.y_train.dtype)


def _require_squared(loss: Loss) -> None:
    if not loss.is_gaussian:
        raise InputError(
            f"the read-out is Gaussian given the hidden weights with the squared loss alone, got "
            f'loss {loss.name}: write GibbsPosterior (in a configuration readout = "sampled")'
        )


def _require_readout(network: Any) -> None:
    """Raise `InputError` unless there is a read-out on features that are sampled."""
    advice = 'write GibbsPosterior, readout = "sampled" in a configuration'
    if not isinstance(network, Network):
        raise InputError(
            f"the read-out of a {type(network).__name__} is not known and cannot be "
            f"marginalised: {advice}"
        )
    require_features(network)
    if not network.hidden_widths:
        raise InputError(
            "without hidden layers nothing is left to sample once the read-out is "
            f"marginalised: {advice}"
        )


def _without_readout(params: Any) -> Any:
    """The parameters with None in place of the read-out's weights and bias."""
    params = eqx.tree_at(lambda n: n.weights[-1], params, None)
    return eqx.tree_at(lambda n: n.biases[-1], params, None) if params.biases else params
