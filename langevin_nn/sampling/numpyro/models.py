"""A posterior as a NumPyro model, and a NumPyro model as a posterior.

`numpyro_model` is for NUTS and every other kernel of NumPyro. The other way, a model has T = 1 and
the energy U = −log p. `Langevin` moves its latent sites z as NUTS does, in unconstrained space,

    z' = z − ε∇U(z) + √(2ε) ξ,      ξ ~ N(0, 1)

and its `step_size` is ε: ηT of a posterior's dynamics with the step size η. `Split` needs a
Gaussian prior and moves q ~ N(0, 1), with z = μ + sq at each latent site N(μ, s²), where μ and s
may depend on other sites.
"""

import abc
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.contrib.module import random_eqx_module
from numpyro.handlers import seed, substitute, trace
from numpyro.infer import init_to_uniform
from numpyro.infer.util import compute_log_probs, initialize_model, potential_energy

from langevin_nn.model.input_space import InputSpace
from langevin_nn.model.posterior import GibbsPosterior, Posterior, Target
from langevin_nn.model.prior import GaussianPrior
from langevin_nn.sampling.checks import checked_posterior
from langevin_nn.types import ChainKeys, InputError
from langevin_nn.values import require_flag


def numpyro_model(posterior: Posterior, *, test_outputs: bool = True) -> Callable[[], None]:
    """The posterior as a NumPyro model without arguments.

    Latent sites `network.…`, one for each parameter array, with their priors N(0, 1/λ_ℓ) (the
    network's first layer in coordinates of the training span, as it is sampled); the likelihood
    N(y; f, T) at the site `y`, or the marginal one where the read-out is integrated out, or the
    factor exp(−βΣℓ) of another loss. Predictions
    at the test inputs are deterministic sites: `test_outputs` and, marginalised,
    `test_variances`. For them the first layer's columns outside the span are a latent site
    `outside`, which meets no data; `test_outputs=False` leaves all that out.

    NumPyro 0.22's NUTS mixes types on its own: with `jax_numpy_dtype_promotion = "strict"` write
    `with jax.numpy_dtype_promotion("standard"): mcmc.run(key)`. `NumPyroKernel` needs none of it.

    Raises `InputError` where a parameter array gets no site.

    >>> import numpyro
    >>> data = lnn.load_dataset("digits", num_train=10, num_test=5, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (3,), activation="erf", key=key)
    >>> posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
    >>> model = lnn.numpyro_model(posterior)  # as in numpyro.infer.NUTS(model)
    >>> from_prior = numpyro.infer.Predictive(model, num_samples=5)(key)
    >>> for name, draws in sorted(from_prior.items()):
    ...     print(name, draws.shape)
    network.weights[0] (5, 3, 10)
    network.weights[1] (5, 1, 3)
    outside (5, 3, 5)
    test_outputs (5, 5)
    y (5, 10)
    """
    posterior, key = checked_posterior(posterior), jax.random.key(0)
    require_flag("test_outputs", test_outputs)
    drawn = eqx.filter_eval_shape(posterior.sample_prior, key, 1)
    template = jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), drawn)
    arrays = jax.tree_util.tree_leaves_with_path(template)
    names = [jax.tree_util.keystr(path)[1:] for path, _ in arrays]
    priors = {
        name: dist.Normal(0, precision**-0.5)
        for name, precision in zip(names, posterior.sampled_prior.by_array, strict=True)
    }

    def model() -> None:
        params = random_eqx_module("network", template, priors, scope_divider=".")
        params = jax.tree.map(lambda w: w[None], params)
        if isinstance(posterior, GibbsPosterior) and posterior.loss.is_gaussian:
            f = posterior.train_outputs(params)[0]
            with numpyro.plate("train_example", posterior.num_train):
                likelihood = dist.Normal(f, jnp.sqrt(posterior.temperature)).to_event(f.ndim - 1)
                numpyro.sample("y", likelihood, obs=posterior.y_train)
        else:
            numpyro.factor("y", -posterior.misfit(params)[0])
        if test_outputs:
            # A record needs no derivative, and a kernel that takes that of the density none of it.
            fixed = jax.lax.stop_gradient(params)
            whole = _with_outside(posterior, fixed)
            for name, value in whole.predictions(fixed, key[None]).items():
                numpyro.deterministic(name, value[0])

    _check_sites(
        model, {f"network.{name}": x.shape for name, (_, x) in zip(names, arrays, strict=True)}
    )
    return model


def types_promoted() -> AbstractContextManager[None]:
    """A context in which NumPyro can compute any model, also where JAX promotes types strictly.

    Its distributions (Bernoulli, Multinomial, LKJCholesky of NumPyro 0.22) promote on their own.
    """
    return jax.numpy_dtype_promotion("standard")


class LatentSite(NamedTuple):
    """A latent site of a NumPyro model: its value's shape and type, and its distribution.

    `kind` is "Normal" where its numbers are independent Gaussians, else another description.
    """

    value: jax.ShapeDtypeStruct
    kind: str
    discrete: bool


class NumPyroModel(Target):
    """The density exp(−U) of a NumPyro model's latent sites, with T = 1. Abstract.

    `params` are a dictionary of sites, each with a chain axis.
    """

    model: Callable[..., Any] = eqx.field(static=True)
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    prior: GaussianPrior
    temperature: float
    precision: Any = eqx.field(static=True)

    def __init__(self, model: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.model, self.arguments = model, (tuple(args), dict(kwargs))
        sites = self._latent()
        if not sites:
            name = getattr(model, "__name__", type(model).__name__)
            raise InputError(f"the model {name} has no latent sites: nothing to sample")
        if discrete := [name for name, site in sites.items() if site.discrete]:
            raise InputError(
                f"the latent sites {discrete} are discrete and have no gradient: sum over them, or "
                "take numpyro.infer.DiscreteHMCGibbs"
            )
        self.prior, self.temperature = GaussianPrior((1.0,) * len(sites)), 1.0
        self.precision = jnp.result_type(*(site.value.dtype for site in sites.values()))

    @property
    def dtype(self) -> Any:
        return self.precision

    @property
    def sampled_prior(self) -> GaussianPrior:
        return self.prior

    @abc.abstractmethod
    def coordinates(self, z: dict[str, Array]) -> dict[str, Array]:
        """The parameters of one chain with these unconstrained sites."""

    @abc.abstractmethod
    def sites(self, params: dict[str, Array]) -> dict[str, Array]:
        """The unconstrained values of the latent sites."""

    def _latent(self) -> dict[str, LatentSite]:
        """The latent sites by name, from a trace without computing their values."""
        run = substitute(seed(self.model, 0), substitute_fn=init_to_uniform)
        latent_sites = {}

        def record_sites() -> None:
            for name, site in trace(run).get_trace(*self.arguments[0], **self.arguments[1]).items():
                if site["type"] == "sample" and not site["is_observed"]:
                    value = jax.ShapeDtypeStruct(site["value"].shape, site["value"].dtype)
                    discrete = bool(site["fn"].support.is_discrete)
                    latent_sites[name] = LatentSite(value, _distribution(site), discrete)

        with types_promoted():
            jax.eval_shape(record_sites)
        return latent_sites


class UnconstrainedModel(NumPyroModel):
    """The model in unconstrained space, where its prior is flat and all of U is misfit."""

    def sample_prior(self, key: PRNGKeyArray, num_chains: int) -> dict[str, Array]:
        """Unconstrained sites where NumPyro starts by default, uniform in [−2, 2]."""
        keys = jax.random.split(key, num_chains)
        args, kwargs = self.arguments
        with types_promoted():
            model_info = initialize_model(keys, self.model, model_args=args, model_kwargs=kwargs)
        return model_info.param_info.z

    def coordinates(self, z: dict[str, Array]) -> dict[str, Array]:
        return z

    def sites(self, params: dict[str, Array]) -> dict[str, Array]:
        return params

    def misfit(self, params: dict[str, Array]) -> Float[Array, " chains"]:
        """U = −log p(z, y), with the Jacobian of the transforms, as NUTS has it."""
        model = seed(self.model, 0)
        with types_promoted():
            return jax.vmap(lambda z: potential_energy(model, *self.arguments, z))(params)

    def energy(self, params: dict[str, Array]) -> Float[Array, " chains"]:
        return self.misfit(params)


class WhitenedModel(NumPyroModel):
    """The model in coordinates q ~ N(0, 1), z = μ + sq at each latent site N(μ, s²)."""

    def __init__(self, model: Callable[..., Any], args: Any, kwargs: Any) -> None:
        super().__init__(model, args, kwargs)
        sites = self._latent()
        not_normal = [
            f"{name} ~ {site.kind}" for name, site in sites.items() if site.kind != "Normal"
        ]
        if not_normal:
            raise InputError(
                f"the split dynamics needs Gaussian priors, and {', '.join(not_normal)}: write "
                "each as a function of sites with dist.Normal, or take lnn.Langevin"
            )

    def sample_prior(self, key: PRNGKeyArray, num_chains: int) -> dict[str, Array]:
        """Coordinates q of `num_chains` draws of the prior."""
        shapes = {name: site.value for name, site in self._latent().items()}
        return self.prior.sample(key, shapes, num_chains)

    def coordinates(self, z: dict[str, Array]) -> dict[str, Array]:
        run = trace(substitute(seed(self.model, 0), data=z))
        with types_promoted():
            sites = run.get_trace(*self.arguments[0], **self.arguments[1])
            return {name: (z[name] - site["fn"].mean) / _scale(site) for name, site in sites.items()
                    if name in z}  # fmt: skip

    def sites(self, params: dict[str, Array]) -> dict[str, Array]:

        def values(q: dict[str, Array]) -> dict[str, Array]:
            sites = trace(self._at(q)).get_trace(*self.arguments[0], **self.arguments[1])
            return {name: sites[name]["value"] for name in q}

        with types_promoted():
            return jax.vmap(values)(params)

    def misfit(self, params: dict[str, Array]) -> Float[Array, " chains"]:
        """The misfit −log p of the observed sites and factors."""

        def minus_log_likelihood(q: dict[str, Array]) -> Array:
            log_probs, _ = compute_log_probs(self._at(q), *self.arguments, {})
            return -jnp.asarray(sum(value for name, value in log_probs.items() if name not in q))

        with types_promoted():
            return jax.vmap(minus_log_likelihood)(params)

    def energy(self, params: dict[str, Array]) -> Float[Array, " chains"]:
        """The energy Φ(q) + ½|q|²."""
        return self.misfit(params) + self.prior.energy(params)

    def _at(self, q: dict[str, Array]) -> Callable[..., Any]:
        """The NumPyro model with z = μ + sq substituted at its latent sites."""

        def value(site: dict[str, Any]) -> Array | None:
            if site["type"] != "sample" or site["name"] not in q:
                return None
            return site["fn"].mean + _scale(site) * q[site["name"]]

        return substitute(seed(self.model, 0), substitute_fn=value)


class _KnownOutside(InputSpace):
    """An input space whose networks are extended by given columns, W⁰V_⊥ (N_1, m)."""

    columns: Array

    def __init__(self, space: InputSpace, columns: Array) -> None:
        self.basis, self.complement = space.basis, space.complement
        self.train, self.test = space.train, space.test
        self.columns = columns

    def outside(self, networks: Any, precision: Array | float, keys: ChainKeys) -> Array:
        return self.columns[None]


def _with_outside(posterior: Posterior, params: Any) -> Posterior:
    """The posterior with the columns outside the training span sampled, if there are any."""
    space = posterior.space
    if space is None or space.test.shape[1] == space.rank:
        return posterior
    shape = (params.weights[0].shape[1], space.test.shape[1] - space.rank)
    prior = dist.Normal(0, posterior.prior.precisions[0] ** -0.5).expand(shape).to_event(2)
    known = _KnownOutside(space, jax.lax.stop_gradient(numpyro.sample("outside", prior)))
    return eqx.tree_at(lambda target: target.space, posterior, known)


def _check_sites(model: Callable[[], None], shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise `InputError` unless the model has these sites: NumPyro leaves others fixed silently."""
    found_shapes = {}

    def record_shapes() -> None:
        sites = trace(seed(model, 0)).get_trace().items()
        found_shapes.update(
            {k: site["value"].shape for k, site in sites if site["type"] == "sample"}
        )

    jax.eval_shape(record_shapes)
    missing = [name for name, shape in shapes.items() if found_shapes.get(name) != shape]
    if missing:
        raise InputError(f"the parameter arrays {missing} got no site in the NumPyro model")


def _distribution(site: dict[str, Any]) -> str:
    """The name of the distribution of a site's single numbers: "Normal" if independent Gaussian."""
    distribution = site["fn"]
    while isinstance(distribution, dist.Independent | dist.ExpandedDistribution):
        distribution = distribution.base_dist
    return type(distribution).__name__ + ("" if site["scale"] is None else ", scaled")


def _scale(site: dict[str, Any]) -> Array:
    return jnp.sqrt(site["fn"].variance)
