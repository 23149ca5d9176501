"""Spectra of Hessians of any size by Lanczos quadrature.

For a probe v of unit length, m steps of Lanczos' method turn a symmetric matrix H into a
tridiagonal one, whose eigenvalues θ_j and squared first components τ_j² are Gauss' quadrature of
the measure Σ_k (v·φ_k)² δ(λ − λ_k): its moments up to the order 2m − 1 are exact. The mean over
Gaussian probes is the spectral density of H (Golub, Meurant, "Matrices, Moments and Quadrature with
Applications", 2010; Lin, Saad, Yang, SIAM Rev. 58, 34, 2016). H itself is never formed, only
products H v.
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.analysis.landscape.gradients import one_network, outputs_of
from langevin_nn.model.posterior import GibbsPosterior, Posterior
from langevin_nn.model.precision import full_precision
from langevin_nn.model.rows import BatchOf
from langevin_nn.types import InputError, random_key
from langevin_nn.values import require_count, require_number, shown

__all__ = ["SpectralDensity", "spectral_density"]

PARTS = ("whole", "gradients", "curvature")
"""The names of the Hessian and of its two parts."""


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """A density of eigenvalues as weighted nodes; made by `spectral_density`.

    `nodes` and `weights` (num_probes, num_steps), one row for each probe; the weights of a row sum
    up to one. `size` is the number of eigenvalues, that of the weights of the network.
    """

    nodes: Float[np.ndarray, "probes steps"]
    weights: Float[np.ndarray, "probes steps"]
    size: int

    def moment(self, order: int) -> tuple[float, float]:
        """The moment Tr H^order / size, and its standard error over the probes."""
        order = require_count("order", order, least=0)
        values = np.sum(self.weights * self.nodes**order, axis=1)
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        return float(values.mean()), float(error)

    def count_above(self, threshold: float) -> tuple[float, float]:
        """The number of eigenvalues above the threshold, and its standard error over the probes."""
        threshold = require_number("threshold", threshold)
        values = self.size * np.sum(self.weights * (self.nodes > threshold), axis=1)
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        return float(values.mean()), float(error)


def spectral_density(
    posterior: Posterior,
    params: Any,
    *,
    key: PRNGKeyArray,
    part: str = "whole",
    num_probes: int = 8,
    num_steps: int = 64,
) -> SpectralDensity:
    """The density of the eigenvalues of the data energy's Hessian of one network of any size.

    `part` names H or one of its parts, H_0 ("gradients") and H_p ("curvature") as in `gradients`. A
    step takes one product with the Hessian, about three gradients. The memory is num_steps times
    that of the weights, since the basis is kept orthogonal. The largest eigenvalues are found to
    rounding, the density between them at a resolution of about the width over num_steps.

    Raises `InputError` as `tangent_kernel`, for several networks, another part, and numbers of
    probes or steps that are not positive.

    >>> data = lnn.load_dataset("digits", num_train=8, num_test=5, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (500,), "tanh", key=key, dtype=np.float64)
    >>> posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
    >>> found = lnn.spectral_density(posterior, posterior.sample_prior(key, 1), key=key)
    >>> found.size, found.nodes.shape
    (4500, (8, 64))
    """
    posterior, row, batch_of = one_network(posterior, params)
    if not isinstance(part, str) or part not in PARTS:
        names = ", ".join(PARTS)
        raise InputError(f"unknown part {shown(part)} of the Hessian: write one of {names}")
    num_probes = require_count("num_probes", num_probes)
    num_steps = require_count("num_steps", num_steps)
    probes = jax.random.normal(random_key(key), (num_probes, row.size), row.dtype)
    steps = min(num_steps, row.size)
    diagonals, sides = (
        np.asarray(array, np.float64)
        for array in _tridiagonals(posterior, row, batch_of, probes, part, steps)
    )
    nodes, squares = [], []
    for diagonal, side in zip(diagonals, sides, strict=True):
        values, vectors = np.linalg.eigh(
            np.diag(diagonal) + np.diag(side[:-1], 1) + np.diag(side[:-1], -1)
        )
        nodes.append(values)
        squares.append(vectors[0] ** 2)
    return SpectralDensity(np.array(nodes), np.array(squares), row.size)


@eqx.filter_jit
@full_precision
def _tridiagonals(
    posterior: GibbsPosterior,
    row: Float[Array, " K"],
    batch_of: BatchOf,
    probes: Float[Array, "probes K"],
    part: str,
    num_steps: int,
) -> tuple[Float[Array, "probes steps"], Float[Array, "probes steps"]]:
    """The diagonals and side diagonals of Lanczos' matrices, one probe after the other.

    The last number of a side diagonal is not used.
    """

    def outputs(w: Array) -> Array:
        return outputs_of(posterior, w, batch_of)

    def slopes(f: Array) -> Array:
        return jax.grad(lambda f: jnp.sum(posterior.loss(f, posterior.y_train)))(f)

    def whole(v: Array) -> Array:
        return jax.jvp(jax.grad(lambda w: jnp.sum(posterior.loss(outputs(w), posterior.y_train))),
                       (row,), (v,))[1]  # fmt: skip

    def of_gradients(v: Array) -> Array:
        f, image = jax.jvp(outputs, (row,), (v,))
        curved = jax.jvp(slopes, (f,), (image,))[1]
        return jax.vjp(outputs, row)[1](curved)[0]

    def product(v: Array) -> Array:
        if part == "whole":
            return whole(v)
        return of_gradients(v) if part == "gradients" else whole(v) - of_gradients(v)

    def lanczos(probe: Array) -> tuple[Array, Array]:
        def step(j: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            basis, diagonal, side = carry
            v = basis[j]
            image = product(v)
            diagonal = diagonal.at[j].set(v @ image)
            for _ in range(2):  # twice is enough, for all rounding
                image = image - basis.T @ (basis @ image)
            length = jnp.linalg.norm(image)
            # Where the space is exhausted the next vector is zero, and so are its products.
            exhausted = length <= jnp.finfo(length.dtype).eps * 100 * jnp.max(jnp.abs(diagonal))
            length = jnp.where(exhausted, 0.0, length)
            following = jnp.where(exhausted, 0.0, image / jnp.where(exhausted, 1.0, length))
            return basis.at[j + 1].set(following), diagonal, side.at[j].set(length)

        basis = jnp.zeros((num_steps + 1, row.size), row.dtype)
        basis = basis.at[0].set(probe / jnp.linalg.norm(probe))
        zeros = jnp.zeros(num_steps, row.dtype)
        _, diagonal, side = jax.lax.fori_loop(0, num_steps, step, (basis, zeros, zeros))
        return diagonal, side

    return jax.lax.map(lanczos, probes)
