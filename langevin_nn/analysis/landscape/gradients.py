"""The landscape of the data's energy: tangent kernel, Hessian and its two parts.

With E = Σ_μ ℓ(f(x_μ), y_μ) of one network with weights θ, the tangent kernel and the Hessian are

    Θ_μν = ∇_θ f(x_μ)·∇_θ f(x_ν)
    H = H_0 + H_p,   H_0 = Σ_μ ℓ''_μ ∇f_μ ∇f_μᵀ,   H_p = Σ_μ ℓ'_μ ∇∇f_μ

(Geiger et al., arXiv:1809.09349, who have ℓ = ½ max(0, 1 − yf)², for which the rank of H_0 is the
number of unsatisfied examples N_Δ as long as their gradients are independent). All of it is exact,
from the matrix of gradients (P, number of weights): for networks of up to some thousand weights;
the spectra of larger ones are in `spectra`.
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from langevin_nn.data.dataset import as_numbers
from langevin_nn.model.posterior import GibbsPosterior, Posterior
from langevin_nn.model.precision import full_precision
from langevin_nn.model.rows import BatchOf, rows_of
from langevin_nn.sampling.checks import checked_params, checked_posterior
from langevin_nn.types import InputError
from langevin_nn.values import require_count, require_not_negative, require_positive

__all__ = [
    "Hessian",
    "KernelAlignment",
    "effective_parameters",
    "hessian",
    "kernel_alignment",
    "relative_change",
    "tangent_kernel",
]

LARGEST_HESSIAN = 5_000
"""The largest number of weights whose Hessian is computed: 200 MB of float64."""


@dataclass(frozen=True, eq=False)
class Hessian:
    """The Hessian H of one network and its two parts, (K, K) for K weights; made by `hessian`.

    `unsatisfied` is N_Δ, the number of training examples whose loss is positive.
    """

    whole: Float[np.ndarray, "K K"]
    of_gradients: Float[np.ndarray, "K K"]
    unsatisfied: int

    @property
    def of_curvature(self) -> Float[np.ndarray, "K K"]:
        """The part of the outputs' curvature, H_p = H − H_0."""
        return self.whole - self.of_gradients

    def rank(self, tolerance: float = 1e-9) -> int:
        """The rank of H_0: the number of its eigenvalues above `tolerance` times the largest."""
        tolerance = require_not_negative("tolerance", tolerance)
        values = np.linalg.eigvalsh(self.of_gradients)
        return int(np.sum(values > tolerance * max(values[-1], np.finfo(np.float64).tiny)))


@dataclass(frozen=True, eq=False)
class KernelAlignment:
    """The leading principal components of n kernels and the labels; made by `kernel_alignment`.

    `eigenvalues` (n, r), largest first, are those of Θ/P. `overlaps` (n, r) are (φ_k·y)²/‖y‖² with
    the eigenvectors φ_k of unit length: over all P of them they sum up to one.
    """

    eigenvalues: Float[np.ndarray, "n r"]
    overlaps: Float[np.ndarray, "n r"]


def kernel_alignment(
    kernel: ArrayLike, labels: ArrayLike, num_components: int = 10
) -> KernelAlignment:
    """The share of the labels in each of the kernels' leading principal components.

    The kernels (n, P, P) are taken as they are, without centring, the labels are (P,). Learned
    features move the labels into the first components (Geiger, Petrini, Wyart, arXiv:2012.15110,
    Fig. 10; Paccolat et al., arXiv:2007.11471).

    Raises `InputError` for shapes that do not fit, for labels that are all zero, and for a number
    of components that is not between 1 and P.

    >>> found = kernel_alignment(np.diag([1.0, 9.0, 4.0])[None], np.array([1.0, 2.0, 0.0]), 2)
    >>> found.eigenvalues, found.overlaps
    (array([[3.        , 1.33333333]]), array([[0.8, 0. ]]))
    """
    kernel, labels = as_numbers("kernel", kernel), as_numbers("labels", labels)
    num_components = require_count("num_components", num_components)
    num_train = labels.shape[0] if labels.ndim == 1 else 0
    if not num_train or kernel.shape[1:] != (num_train, num_train):
        raise InputError(
            f"kernels (n, P, P) and labels (P,) were expected, got {kernel.shape} and "
            f"{labels.shape}"
        )
    if not 1 <= num_components <= num_train:
        raise InputError(
            f"num_components must be from 1 to P = {num_train}, got {num_components!r}"
        )
    if not labels.any():
        raise InputError("all labels are zero: nothing can be aligned with them")
    values, vectors = np.linalg.eigh(kernel)
    leading = slice(None, -num_components - 1, -1)
    overlaps = np.square(np.einsum("npk,p->nk", vectors, labels)) / np.sum(labels**2)
    return KernelAlignment(values[:, leading] / num_train, overlaps[:, leading])


def effective_parameters(posterior: Posterior, params: Any, tolerance: float = 1e-9) -> int:
    """N_eff of one network, the number of directions of weight space that change the function.

    The rank of ∇_θ f over many more Gaussian inputs than weights (singular values above
    `tolerance` times the largest). Directions that leave f as it is are not counted: with relu
    units the rescaling of each, so that N_eff is the number of weights minus that of hidden units
    (Geiger et al., arXiv:1809.09349), and with linear units all but N_0.

    Raises `InputError` as `hessian` does.

    >>> data = lnn.load_dataset("digits", num_train=8, num_test=5, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (3,), "relu", key=key, dtype=np.float64)
    >>> posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
    >>> lnn.effective_parameters(posterior, posterior.sample_prior(key, 1))  # of 8 × 3 + 3
    24
    """
    tolerance = require_positive("tolerance", tolerance)
    posterior, row, batch_of = _one_small_network(posterior, params)
    size = posterior.x_train.shape[1]
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.standard_normal((2 * row.size + 1_000, size)), posterior.x_train.dtype)
    inputs = inputs * jnp.sqrt(jnp.mean(jnp.square(posterior.x_train)))
    gradients = _gradients(posterior, row, batch_of, inputs)
    singular = np.linalg.svd(np.asarray(gradients, np.float64), compute_uv=False)
    return int(np.sum(singular > tolerance * singular[0]))


def tangent_kernel(posterior: Posterior, params: Any) -> Float[np.ndarray, "n P P"]:
    """The tangent kernel Θ over the training inputs, of each of the n networks with these weights.

    The gradient is in the weights as they are sampled: weights outside the span of the training
    inputs have none there. At infinite width it is `theory.ntk`.

    Raises `InputError` for a posterior that is no `GibbsPosterior`, and for several outputs.

    >>> data = lnn.load_dataset("digits", num_train=10, num_test=5, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (20,), activation="erf", key=key)
    >>> posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
    >>> lnn.tangent_kernel(posterior, posterior.sample_prior(key, 3)).shape
    (3, 10, 10)
    """
    posterior = with_one_output(posterior)
    weights, batch_of = rows_of(checked_params(posterior, params))
    return np.asarray(_kernels(posterior, weights, batch_of), np.float64)


def relative_change(
    after: Float[np.ndarray, "n P P"], before: Float[np.ndarray, "n P P"]
) -> Float[np.ndarray, " n"]:
    """The change ‖Θ_t − Θ_0‖/‖Θ_0‖ of each network's kernel, in the Frobenius norm.

    >>> relative_change(3 * np.eye(2)[None], np.eye(2)[None])
    array([2.])
    """
    return np.linalg.norm(after - before, axis=(1, 2)) / np.linalg.norm(before, axis=(1, 2))


def hessian(posterior: Posterior, params: Any) -> Hessian:
    """The Hessian H, its part H_0 and N_Δ of one network, with weights of a leading axis of one.

    Rows and columns are in the order of the flattened weights, layer after layer.

    Raises `InputError` for several networks, for more weights than `LARGEST_HESSIAN`, and as
    `tangent_kernel`.

    >>> data = lnn.load_dataset("digits", num_train=8, num_test=5, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (3,), "tanh", key=key, dtype=np.float64)
    >>> prior = lnn.GaussianPrior((1.0, 1.0))
    >>> posterior = lnn.GibbsPosterior(network, prior, data, 0.1, lnn.Hinge())
    >>> found = lnn.hessian(posterior, posterior.sample_prior(key, 1))
    >>> found.whole.shape, found.rank() == found.unsatisfied
    ((27, 27), True)
    """
    posterior, row, batch_of = _one_small_network(posterior, params)
    whole, gradients, losses = _second_order(posterior, row, batch_of)
    curvature = _curvatures(posterior, params)
    of_gradients = (np.asarray(gradients, np.float64).T * curvature) @ np.asarray(gradients)
    return Hessian(np.asarray(whole, np.float64), of_gradients, int(np.sum(np.asarray(losses) > 0)))


def one_network(
    posterior: Posterior, params: Any
) -> tuple[GibbsPosterior, Float[Array, " K"], BatchOf]:
    """The posterior, the weights of its one network as a row, and the map from rows to weights.

    Raises `InputError` for several networks, and as `with_one_output`.
    """
    posterior = with_one_output(posterior)
    weights, batch_of = rows_of(checked_params(posterior, params))
    if len(weights) != 1:
        raise InputError(f"this is of one network, got {len(weights)}: give one of them")
    return posterior, weights[0], batch_of


def _one_small_network(
    posterior: Posterior, params: Any
) -> tuple[GibbsPosterior, Float[Array, " K"], BatchOf]:
    """What `one_network` gives; `InputError` for more weights than `LARGEST_HESSIAN`, too."""
    posterior, row, batch_of = one_network(posterior, params)
    if row.size > LARGEST_HESSIAN:
        raise InputError(
            f"the matrix of {row.size} weights is too large: {LARGEST_HESSIAN} at most, write a "
            "smaller network, or spectral_density for the spectrum of a Hessian"
        )
    return posterior, row, batch_of


def outputs_of(
    posterior: GibbsPosterior,
    row: Float[Array, " K"],
    batch_of: BatchOf,
    inputs: Float[Array, "P N_0"] | None = None,
) -> Float[Array, " P"]:
    """The outputs f of the network with these weights, at the training inputs if none are given."""
    networks = posterior.networks(batch_of(row))
    return posterior.outputs_at(networks, posterior.x_train if inputs is None else inputs)[0]


@eqx.filter_jit
def _gradients(
    posterior: GibbsPosterior, row: Float[Array, " K"], batch_of: BatchOf, inputs: Array
) -> Float[Array, "P K"]:
    """The gradients ∇_θ f at each input, (P, K)."""

    def at(x: Float[Array, " N_0"]) -> Float[Array, " K"]:
        return jax.grad(lambda w: outputs_of(posterior, w, batch_of, x[None])[0])(row)

    return jax.vmap(at)(inputs)


@eqx.filter_jit
@full_precision
def _kernels(posterior: GibbsPosterior, weights: Float[Array, "n K"], batch_of: BatchOf) -> Array:
    def of_one(row: Array) -> Array:
        gradients = _gradients(posterior, row, batch_of, posterior.x_train)
        return gradients @ gradients.T

    return jax.lax.map(of_one, weights)


@eqx.filter_jit
def _second_order(
    posterior: GibbsPosterior, row: Float[Array, " K"], batch_of: BatchOf
) -> tuple[Array, Array, Array]:
    """The Hessian of E (K, K), the gradients of f (P, K) and the losses (P,)."""

    def losses(w: Array) -> Array:
        return posterior.loss(outputs_of(posterior, w, batch_of), posterior.y_train)

    whole = jax.hessian(lambda w: jnp.sum(losses(w)))(row)
    gradients = _gradients(posterior, row, batch_of, posterior.x_train)
    return whole, gradients, losses(row)


def _curvatures(posterior: GibbsPosterior, params: Any) -> Float[np.ndarray, " P"]:
    """The second derivative ℓ'' of the loss at each training example."""
    f = posterior.train_outputs(params)[0]

    def slope(f: Array, y: Array) -> Array:
        return jax.grad(lambda f: posterior.loss(f, y))(f)

    return np.asarray(jax.vmap(jax.grad(slope))(f, posterior.y_train), np.float64)


def with_one_output(posterior: Posterior) -> GibbsPosterior:
    """The posterior; `InputError` unless it is a `GibbsPosterior` of networks with one output."""
    posterior = checked_posterior(posterior)
    if not isinstance(posterior, GibbsPosterior):
        raise InputError(
            f"the landscape is that of all weights, got a {type(posterior).__name__}: write "
            "GibbsPosterior(network, prior, data, temperature)"
        )
    if posterior.y_train.ndim > 1:
        raise InputError(
            f"the landscape is of networks with one output, this one has "
            f"{posterior.y_train.shape[1]}"
        )
    return posterior
