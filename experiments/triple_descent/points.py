"""The common parts of the experiment and its figure: activations, ridges, limits at a point."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax.numpy as jnp

from langevin_nn import theory
from langevin_nn.model.activations import activation

ACTIVATIONS = ("tanh", "absolute", "relu", "identity")
RIDGES = (1e-3, 0.3)
"""The ridges λ_L T."""
NOISE = 5.0
"""The noise variance τ² of the parts and of the images."""
THEORY_FIELDS = (
    "bias_factor", "noise_factor", "thermal_factor", "train_bias", "train_noise",
    "ensemble_bias", "ensemble_noise",
)  # fmt: skip


def _absolute(z: Any) -> Any:
    return jnp.abs(z)


@cache
def named(name: str) -> Any:
    """The activation of this name, one of the package's or the absolute value."""
    function: str | Callable[[Any], Any] = _absolute if name == "absolute" else name
    return activation(function)


def predicted(
    name: str, features: float, examples: float, ridge: float, ensemble: int
) -> list[float]:
    """The limits of THEORY_FIELDS at one point."""
    common = {"temperature": ridge, "precision": 1.0}
    single = theory.random_feature_error(named(name), features, examples, **common)
    parts = theory.random_feature_decomposition(
        named(name), features, examples, noise_variance=1.0, num_ensemble=ensemble, **common
    )
    shrink = (1 + single.thermal_factor) ** 2
    return [
        single.bias_factor, single.noise_factor, single.thermal_factor, single.bias_factor / shrink,
        (1 + single.noise_factor) / shrink, parts.total - parts.noise, parts.noise,
    ]  # fmt: skip
