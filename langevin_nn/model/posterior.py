"""The Gibbs posterior of all weights of a network. β enters the package here, once.

    𝓛(θ) = ½ Σ_μ (y_μ − f(x_μ))² + (T/2) Σ_ℓ λ_ℓ‖W^ℓ‖²,      p(θ) ∝ exp(−β𝓛(θ)),   β = 1/T

(Pacelli et al., arXiv:2209.04882.) The likelihood is N(y; f, T) and the prior is not tempered. With
several outputs (y − f)² is summed over them; biases have terms of their own, λ_bℓ‖b^ℓ‖². Other
losses ℓ (`losses`) may stand for ½(y − f)².

Parameters of many chains are one pytree whose arrays have a leading chain axis; every method
takes such a batch and returns one value, or one row, for each chain.

`Target` is what a dynamics asks of a measure, `Posterior` what the records ask of a network's.
`GibbsPosterior` is that of all weights, `marginalised.MarginalisedPosterior` that of the hidden
weights, with the read-out integrated.
"""

import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.data.dataset import Dataset
from langevin_nn.model.ensemble import Beside, Ensemble
from langevin_nn.model.input_space import InputSpace
from langevin_nn.model.losses import Loss, Squared, require_loss
from langevin_nn.model.networks.base import evaluate, layers_of, of_each, reduced_on
from langevin_nn.model.networks.modules import as_sampled, refuse_wrong_derivatives
from langevin_nn.model.networks.outputs import require_output
from langevin_nn.model.prior import GaussianPrior
from langevin_nn.model.prior_grams import drawn_of
from langevin_nn.types import ChainKeys, EnsembleSpec, InputError, is_key, random_key
from langevin_nn.values import as_number, require_count, require_kind, shown


class Target(eqx.Module):
    """What a dynamics asks of the measure exp(−energy/T) that it samples. Abstract.

    Its energy is T × (misfit + the prior's energy).
    """

    temperature: eqx.AbstractVar[float | Array]

    @property
    @abc.abstractmethod
    def dtype(self) -> Any:
        """The floating-point type of the parameters."""

    @property
    @abc.abstractmethod
    def sampled_prior(self) -> GaussianPrior:
        """The prior of the parameters that are sampled, one precision for each of their arrays."""

    @abc.abstractmethod
    def sample_prior(self, key: PRNGKeyArray, num_chains: int) -> Any:
        """Parameters where `num_chains` chains may start."""

    @abc.abstractmethod
    def misfit(self, params: Any) -> Float[Array, " chains"]:
        """What the data add to the prior's energy: −log p(y | params) without its constant."""

    @abc.abstractmethod
    def energy(self, params: Any) -> Float[Array, " chains"]:
        """𝓛 of the parameters: T × (misfit + the prior's energy)."""

    def potential(self, params: Any) -> Float[Array, " chains"]:
        """β𝓛, so that p(params | data) ∝ exp(−potential)."""
        return self.energy(params) / self.temperature


class Posterior(Target):
    """p(params | data) ∝ exp(−β𝓛) of a network's parameters, whose prior is Gaussian. Abstract."""

    network: Any
    prior: GaussianPrior
    temperature: float | Array
    x_train: Float[Array, "P r"]
    y_train: Float[Array, " P *D"]
    x_test: Float[Array, "P_test r_plus_m"]
    y_test: Float[np.ndarray, " P_test *D"]
    targets_midpoint: float
    space: InputSpace | None
    in_size: int = eqx.field(static=True)
    loss: Loss = eqx.field(static=True)
    sampled_leaves: tuple[bool, ...] | None = eqx.field(static=True)
    beside: Beside = eqx.field(static=True)

    def __init__(
        self,
        network: Any,
        prior: GaussianPrior,
        data: Dataset,
        temperature: float,
        loss: Loss | None = None,
        *,
        sampled: Any = None,
    ) -> None:
        network, self.sampled_leaves, dtype = as_sampled(network, sampled)
        write = f"{type(self).__name__}(network, prior, data, temperature)"
        require_kind("prior", prior, GaussianPrior, write)
        require_kind("data", data, Dataset, write)
        number = _checked_temperature(temperature, dtype)
        for value in prior.by_array:
            require_in_range("a prior precision", value, dtype)
        require_output(network, data.in_size, data.num_outputs, dtype)
        prior.check(network, self.sampled_leaves)
        self.loss = require_loss(Squared() if loss is None else loss, data.y_train)
        self.network, self.space = reduced_on(network, data)
        train, test = data.x_train, data.x_test
        if self.space is not None:
            train, test = self.space.train, self.space.test
        self.prior, self.temperature = prior, number
        self.x_train, self.x_test = jnp.asarray(train, dtype), jnp.asarray(test, dtype)
        self.y_train = jnp.asarray(data.y_train, dtype)
        self.y_test = data.y_test
        self.targets_midpoint = data.targets_midpoint
        self.in_size = data.in_size
        self.beside = Beside(data)

    @property
    def spec(self) -> EnsembleSpec:
        """The ensemble as a theory sees it."""
        layers = layers_of(self.network)
        known, biases = layers is not None, self.prior.bias_precisions
        return EnsembleSpec(
            in_size=self.in_size,
            hidden_widths=self.network.hidden_widths if known else None,
            activation=self.network.activation if known else None,
            prior_precisions=tuple(float(p) for p in self.prior.precisions),
            temperature=float(self.temperature),
            architecture=type(self.network).__name__,
            num_outputs=self.y_train.shape[1] if self.y_train.ndim == 2 else 1,
            bias_precisions=None if biases is None else tuple(float(p) for p in biases),
            patches=self.network.receptive_fields if known else None,
            loss=self.loss.name,
            own_layers=layers,
        )

    @property
    def ensemble(self) -> Ensemble:
        """What a theory may know: `spec` and the data. A new one each time, which shares nothing.

        Raises `InputError` where no data were given, as for a NumPyro model.
        """
        if (data := self.beside.data) is None:
            raise InputError(f"{type(self).__name__} has no data set: give a GibbsPosterior")
        drawn = drawn_of(self.network, self.prior, self.x_train)
        return Ensemble(self.spec, data, drawn=drawn, loss=self.loss)

    @property
    def dtype(self) -> Any:
        """The floating-point type of the parameters, that of the targets."""
        return self.y_train.dtype

    @property
    def num_train(self) -> int:
        """P, the number of training examples."""
        return self.y_train.shape[0]

    def at_temperature(self, temperature: float) -> "Posterior":
        """This posterior at another temperature; `InputError` for one that is not positive."""
        number = _checked_temperature(temperature, self.y_train.dtype)
        posterior = eqx.tree_at(lambda p: p.temperature, self, number)
        assert isinstance(posterior, Posterior)
        return posterior

    @property
    def sampled_prior(self) -> GaussianPrior:
        return self.prior

    @property
    def _template(self) -> Any:
        """Parameters of one network, for their shapes and type."""
        return eqx.filter(self.network, self._marks)

    @property
    def _marks(self) -> Any:
        """Which leaves of the network are sampled, for `eqx.filter`."""
        if self.sampled_leaves is None:
            return eqx.is_inexact_array
        return jax.tree.unflatten(jax.tree.structure(self.network), self.sampled_leaves)

    def sample_prior(self, key: PRNGKeyArray, num_chains: int) -> Any:
        """Parameters of `num_chains` networks drawn from the prior."""
        number = require_count("num_chains", num_chains)
        return self.sampled_prior.sample(random_key(key), self._template, number)

    def networks(self, params: Any) -> Any:
        """The batch of networks with these parameters, on the inputs as they are sampled.

        In a module of the user's own the sampled arrays alone have a chain axis.
        """
        self._require_params(params)
        return eqx.combine(params, eqx.filter(self.network, self._marks, inverse=True))

    def _require_params(self, params: Any) -> None:
        """Raise `InputError` for what are no weights of this posterior, by their shapes alone."""
        template_leaves, structure = jax.tree.flatten(self._template)
        leaves, given_structure = jax.tree.flatten(params)
        fits = len({given_structure, structure}) == 1 and all(
            isinstance(leaf, jax.Array | np.ndarray)
            and leaf.shape == (*leaves[0].shape[:1], *template.shape)
            for leaf, template in zip(leaves, template_leaves, strict=True)
        )
        if not fits:
            raise InputError(
                "params must be the weights of networks of this posterior, with a leading axis of "
                f"chains, got {type(params).__name__} with arrays of shapes "
                f"{shown([getattr(leaf, 'shape', leaf) for leaf in leaves])}: write "
                "posterior.sample_prior(key, 4)"
            )

    def of_each(self, function: Callable[[Any], Any], networks: Any) -> Any:
        """What `function` says of each network of a batch, with a leading chain axis."""
        return of_each(function, networks, self.sampled_leaves)

    def outputs_at(self, networks: Any, x: Float[Array, "Q N_0"]) -> Float[Array, "chains Q *D"]:
        """f of each network of a batch at inputs in the coordinates of these networks."""
        return evaluate(networks, x, self.sampled_leaves)

    def lifted_networks(self, params: Any, keys: ChainKeys) -> Any:
        """The batch of networks on the original inputs (N_0,); one key for each chain.

        At the test inputs their f is that of `record` with the same keys.
        """
        return self._lifted(self.networks(params), keys)

    def _lifted(self, networks: Any, keys: ChainKeys) -> Any:
        if self.space is None:
            return networks
        require_keys(keys, len(networks.weights[0]))
        return self.space.lift(networks, self.prior.precisions[0], keys)

    def _extended(self, networks: Any, keys: ChainKeys) -> Any:
        """The networks on the test inputs; `keys` draw what lies outside the training span."""
        if self.space is None:
            return networks
        require_keys(keys, len(networks.weights[0]))
        return self.space.extend(networks, self.prior.precisions[0], keys)

    @property
    @abc.abstractmethod
    def log_normalisation(self) -> float:
        """What `misfit` leaves out: −log p(y | params) − misfit."""

    @abc.abstractmethod
    def squared_errors(self, params: Any) -> Float[Array, "chains P"]:
        """⟨(y_μ − f(x_μ))²⟩ given the parameters, summed over the outputs if there are several."""

    @abc.abstractmethod
    def data_energy(self, params: Any) -> Float[Array, " chains"]:
        """⟨Σ_μ ℓ(f(x_μ), y_μ)⟩ given the parameters, with the squared loss ⟨½ Σ_μ (y_μ − f)²⟩."""

    @abc.abstractmethod
    def energy_variance(self, params: Any) -> Float[Array, " chains"]:
        """The variance of Σ_μ ℓ(f(x_μ), y_μ) given the parameters."""

    @abc.abstractmethod
    def predictions(self, params: Any, keys: ChainKeys) -> dict[str, Array]:
        """What is known of f at the test inputs given the parameters, by its name in `Chains`.

        `test_outputs` (chains, P_test, *D) are f, or its mean where the parameters leave it open;
        its variance `test_variances` (chains, P_test), the same for each output, is then there too.
        """

    def record(
        self, params: Any, keys: ChainKeys, *, train_outputs: bool = False
    ) -> dict[str, Array]:
        """What a draw keeps, by its name in `Chains`.

        `predictions`, the mean squared `train_error`, the `energy`; where `predictions` leave f
        open `test_draws` (chains, P_test, *D), a draw of it at the test inputs; if asked for
        `train_outputs` (chains, P, *D), that draw of f at the training inputs.
        """
        values = {
            **self.predictions(params, keys),
            "train_error": jnp.mean(self.squared_errors(params), axis=1),
            "energy": self.energy(params),
        }
        if train_outputs:
            values["train_outputs"] = self.outputs_at(self.networks(params), self.x_train)
        return values


class GibbsPosterior(Posterior):
    """p(θ | data) of `network`'s weights at temperature T, in the precision of its arrays.

    `network` is a `FullyConnected`, whose first layer is then sampled on the span of the training
    inputs alone (`InputSpace`: exact), a `Convolutional`, or any Equinox module that maps one input
    (N_0,) to one number, or to (D,) for targets (P, D): these are sampled as they are. Its weights
    serve as a template of shapes and precision only.

    All floating-point arrays of a module are sampled; what else it holds stays as it is. To freeze
    some, give `sampled`, a filter of `eqx.partition` that leaves them out: a function of a leaf, or
    a tree of Booleans in the shape of the module. They keep their values and have no prior.

    Raises `InputError` for a temperature that is not positive, a network that does not fit the
    data, a prior that does not fit the network, targets that do not fit the `loss` (squared, if
    left out), and modules that cannot be sampled (see `modules`).

    >>> data = lnn.load_dataset("digits", num_train=20, num_test=10, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (30,), activation="erf", key=key)
    >>> posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
    >>> posterior.potential(posterior.sample_prior(key, num_chains=4)).shape
    (4,)
    """

    def __check_init__(self) -> None:
        refuse_wrong_derivatives(self)

    def train_outputs(self, params: Any) -> Float[Array, "chains P *D"]:
        """f at the training inputs."""
        return self.outputs_at(self.networks(params), self.x_train)

    def residuals(self, params: Any) -> Float[Array, "chains P *D"]:
        """f(x_μ) − y_μ."""
        return self.train_outputs(params) - self.y_train[None]

    def squared_errors(self, params: Any) -> Float[Array, "chains P"]:
        """(y_μ − f(x_μ))², summed over the outputs where there are several."""
        squares = jnp.square(self.residuals(params))
        return jnp.sum(squares, axis=2) if squares.ndim == 3 else squares

    def data_energy(self, params: Any) -> Float[Array, " chains"]:
        """Σ_μ ℓ(f(x_μ), y_μ), summed over the outputs where there are several."""
        if self.loss.is_gaussian:  # rounded as the squared errors are
            return 0.5 * jnp.sum(self.squared_errors(params), axis=1)
        return jnp.sum(self.loss(self.train_outputs(params), self.y_train[None]), axis=1)

    def energy_variance(self, params: Any) -> Float[Array, " chains"]:
        """Zero, as the parameters determine f."""
        self._require_params(params)
        return jnp.zeros(jax.tree.leaves(params)[0].shape[0], self.y_train.dtype)

    def test_outputs(self, params: Any, keys: ChainKeys) -> Float[Array, "chains P_test *D"]:
        """f at the test inputs; `keys`, one for each chain, draw what lies outside the span."""
        return self.outputs_at(self._extended(self.networks(params), keys), self.x_test)

    def predictions(self, params: Any, keys: ChainKeys) -> dict[str, Array]:
        """f at the test inputs, (chains, P_test, *D), which the parameters determine."""
        return {"test_outputs": self.test_outputs(params, keys)}

    def misfit(self, params: Any) -> Float[Array, " chains"]:
        """Σ_μ ℓ(f(x_μ), y_μ)/T."""
        return self.data_energy(params) / self.temperature

    @property
    def log_normalisation(self) -> float:
        """(PD/2) log 2πT with the squared loss; 0 with others, whose weights are as they are."""
        if not self.loss.is_gaussian:
            return 0.0
        return 0.5 * self.y_train.size * math.log(2 * math.pi * float(self.temperature))

    def energy(self, params: Any) -> Float[Array, " chains"]:
        """𝓛(θ) = Σ_μ ℓ(f(x_μ), y_μ) + (T/2) Σ_ℓ λ_ℓ‖W^ℓ‖²."""
        return self.data_energy(params) + self.temperature * self.prior.energy(params)


def require_keys(keys: Any, number: int) -> None:
    """Raise `InputError` unless `keys` are random keys, one for each of `number` chains."""
    raw = getattr(keys, "dtype", None) == jnp.uint32 and getattr(keys, "ndim", 0) == 2
    if not (raw or (is_key(keys) and keys.ndim == 1)) or len(keys) != number:
        description = f"some of shape {keys.shape}" if is_key(keys) else shown(keys)
        raise InputError(
            f"keys must be one random key for each of {number} chain(s), got {description}: write "
            f"jax.random.split(key, {number})"
        )


def _checked_temperature(temperature: Any, dtype: Any) -> float:
    """T as a Python number; `InputError` for one that nothing can be sampled at."""
    number = as_number(temperature)
    if number is None or not 0 < number < float("inf"):
        raise InputError(
            f"temperature must be positive and finite to sample, got {shown(temperature)}: "
            "write a positive one (theory takes T = 0)"
        )
    require_in_range("the temperature", number, dtype)
    return number


def require_in_range(name: str, value: float | Array, dtype: Any) -> None:
    """Raise `InputError` for a number that the weights' type has no value for: ∞ or 0 in its place.

    >>> require_in_range("the temperature", 1e300, np.float32)
    Traceback (most recent call last):
    langevin_nn.errors.InputError: the temperature = 1e+300 is out of the range of float32 (1.2e-38 to 3.4e+38): write precision = "float64" (dtype=jax.numpy.float64), or another value
    """  # noqa: E501
    limits = jnp.finfo(dtype)
    if not float(limits.tiny) <= float(value) <= float(limits.max):
        raise InputError(
            f"{name} = {float(value):.4g} is out of the range of {np.dtype(dtype)} "
            f"({float(limits.tiny):.2g} to {float(limits.max):.2g}): write precision = "
            '"float64" (dtype=jax.numpy.float64), or another value'
        )
