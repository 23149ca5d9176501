"""The Gaussian prior of the parameters: W^ℓ_ij ~ N(0, 1/λ_ℓ), b^ℓ_i ~ N(0, 1/λ_bℓ), not tempered.

Its energy is ½ Σ_ℓ (λ_ℓ‖W^ℓ‖² + λ_bℓ‖b^ℓ‖²), whatever the temperature: β never multiplies it.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from langevin_nn.model.networks.base import Network
from langevin_nn.richness import scaled
from langevin_nn.types import InputError, random_key
from langevin_nn.values import (
    as_number,
    is_ordered,
    require_count,
    require_kind,
    require_not_negative,
    shown,
)


class GaussianPrior(eqx.Module):
    """A Gaussian prior: a precision λ_ℓ for the weights of each layer, and one λ_bℓ for its biases.

    `bias_precisions` belong to a network with biases, and are left out for one without. For an
    Equinox module of the user's own there is one of `precisions` for each of its arrays, biases
    among them, in the order of `jax.tree.leaves`; `check` says how many there are.

    Raises `InputError` for precisions that are not positive and finite.

    >>> GaussianPrior((1.0, 2.0), bias_precisions=(1.0, 0.5)).by_array
    (1.0, 2.0, 1.0, 0.5)
    """

    precisions: tuple[float | Array, ...]
    bias_precisions: tuple[float | Array, ...] | None

    def __init__(
        self, precisions: Sequence[float], bias_precisions: Sequence[float] | None = None
    ) -> None:
        self.precisions = _positive("prior precisions", precisions)
        self.bias_precisions = None
        if bias_precisions is not None:
            self.bias_precisions = _positive("bias precisions", bias_precisions)

    @property
    def by_array(self) -> tuple[float | Array, ...]:
        """The precision of each parameter array in the order of leaves: weights, then biases."""
        return self.precisions + (self.bias_precisions or ())

    def check(self, network: Any, sampled: tuple[bool, ...] | None = None) -> None:
        """Raise `InputError` unless there is one precision for each sampled array of `network`.

        `sampled` marks its leaves; None stands for all floating-point arrays.
        """
        is_module = not isinstance(network, Network)
        biases = 0 if is_module else len(network.biases)
        if biases and self.bias_precisions is None:
            raise InputError(
                f"the network has biases in {biases} layer(s), the prior no precisions for them: "
                f"write bias_precisions = {(1.0,) * biases}"
            )
        if self.bias_precisions is not None and len(self.bias_precisions) != biases:
            advice = "give one for each layer, the read-out's last"
            if is_module:
                advice = "give one of precisions for each array of your own module"
            elif not biases:
                advice = "write biases=True in the network, or leave bias_precisions out"
            raise InputError(
                f"the prior has {len(self.bias_precisions)} bias precision(s) "
                f"{self.bias_precisions}, the network {biases} layer(s) with biases: {advice}"
            )
        leaves = jax.tree_util.tree_leaves_with_path(network)
        marks = [eqx.is_inexact_array(leaf) for _, leaf in leaves] if sampled is None else sampled
        arrays = [leaf for leaf, mark in zip(leaves, marks, strict=True) if mark]
        if len(arrays) != len(self.by_array):
            listed = ", ".join(f"{jax.tree_util.keystr(path)} {a.shape}" for path, a in arrays)
            raise InputError(
                f"the prior has {len(self.by_array)} precision(s) {self.by_array}, the network "
                f"{len(arrays)} parameter array(s) ({listed}): give one precision for each"
            )

    def sample(self, key: PRNGKeyArray, params: Any, num_chains: int) -> Any:
        """Independent draws in the shapes of `params`, each array with a leading chain axis."""
        number, leaves = require_count("num_chains", num_chains), self._leaves(params)
        structure = jax.tree.structure(params)
        keys = jax.random.split(random_key(key), len(leaves))
        draws = [
            jax.random.normal(k, (number, *leaf.shape), leaf.dtype) / precision**0.5
            for k, leaf, precision in zip(keys, leaves, self.by_array, strict=True)
        ]
        return jax.tree.unflatten(structure, draws)

    def energy(self, params: Any) -> Float[Array, " chains"]:
        """½ Σ_ℓ (λ_ℓ‖W^ℓ‖² + λ_bℓ‖b^ℓ‖²) of each chain; arrays have a leading chain axis."""
        leaves = self._leaves(params)
        squares = [jnp.sum(jnp.square(leaf), axis=range(1, leaf.ndim)) for leaf in leaves]
        terms = [0.5 * p * s for p, s in zip(self.by_array, squares, strict=True)]
        return jnp.sum(jnp.stack(terms), axis=0)

    def _leaves(self, params: Any) -> list[Any]:
        """The arrays of the parameters, if there is one for each precision."""
        leaves = jax.tree.leaves(params)
        if len(leaves) != len(self.by_array) or not all(hasattr(leaf, "ndim") for leaf in leaves):
            raise InputError(
                f"params must be {len(self.by_array)} arrays, one for each precision, got "
                f"{shown(params)}"
            )
        return leaves


def at_richness(
    richness: float, network: Network, prior: GaussianPrior, temperature: float
) -> tuple[GaussianPrior, float]:
    """The prior and the temperature that are the given ones at a richness γ of the network.

    They have λ_L N_L γ² for λ_L, the read-out's precision, as much for that of its bias, and
    T/(N_L γ²) for T, with N_L the width of the last hidden layer: the mean-field scaling
    f = w·φ/(N_L γ), p ∝ exp(−(N_L γ²/T) Σℓ) with w of the given prior (`richness`). γ = 1/√N_L is
    the standard scaling, lazy where the network is wide, and γ of order one is rich.

    Raises `InputError` for a richness that is not positive, and for a network without a hidden
    layer; in an Equinox module of the user's own the read-out is not known.

    >>> network = lnn.FullyConnected(3, (50,), activation="erf", key=key)
    >>> prior, temperature = at_richness(1.0, network, GaussianPrior((1.0, 1.0)), 0.1)
    >>> prior.precisions, temperature
    ((1.0, 50.0), 0.002)
    """
    if not isinstance(network, Network):
        raise InputError(
            "richness is that of the last hidden layer, which is known of a FullyConnected and "
            f"other networks of lnn, got {shown(type(network))}: multiply the precision of its "
            "read-out by N_L γ² and divide T by it"
        )
    require_kind("prior", prior, GaussianPrior, "at_richness(richness, network, prior, T)")
    prior.check(network)
    number = require_not_negative("temperature", temperature)
    biases = prior.bias_precisions
    numbers = scaled(
        richness, network.hidden_widths, tuple(map(float, prior.precisions)),
        None if biases is None else tuple(map(float, biases)), number,
    )  # fmt: skip
    return GaussianPrior(numbers.precisions, numbers.bias_precisions), numbers.temperature


def _positive(name: str, precisions: Sequence[float]) -> tuple[float, ...]:
    if not is_ordered(precisions):
        number = as_number(precisions)
        raise InputError(
            f"{name} are one number for each array, got {shown(precisions)}: write "
            f"({1.0 if number is None else number},)"
        )
    numbers = [as_number(precision) for precision in precisions]
    if not numbers or not all(p is not None and 0 < p < float("inf") for p in numbers):
        raise InputError(f"{name} must be positive and finite, got {shown(precisions)}")
    return tuple(p for p in numbers if p is not None)
