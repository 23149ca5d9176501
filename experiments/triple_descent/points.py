"""What the experiment and its figure share: activations, ridges, and the limit at one point."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax.numpy as jnp

from langevin_nn import theory
from langevin_nn.model.activations import activation

ACTIVATIONS = ("tanh", "absolute", "relu", "identity")
RIDGES = (1e-3, 0.3)
"""λ_L T."""
NOISE = 5.0
"""τ² of the parts and of the images."""
THEORY_FIELDS = (
    "bias_factor", "noise_factor", "thermal_factor", "train_bias", "train_noise",
    "ensemble_bias", "ensemble_noise",
)  # fmt: skip


def _absolute(z: Any) -> Any:
    return jnp.abs(z)


@cache
def named(name: str) -> Any:
    """The activation of a name, with the absolute value besides the package's."""
    chosen: str | Callable[[Any], Any] = _absolute if name == "absolute" else name
    return activation(chosen)


def predicted(
    name: str, features: float, examples: float, ridge: float, ensemble: int
) -> list[float]:
    """The limit of THEORY_FIELDS."""
    common = {"temperature": ridge, "precision": 1.0}
    one = theory.random_feature_error(named(name), features, examples, **common)
    parts = theory.random_feature_decomposition(
        named(name), features, examples, noise_variance=1.0, num_ensemble=ensemble, **common
    )
    shrink = (1 + one.thermal_factor) ** 2
    return [
        one.bias_factor, one.noise_factor, one.thermal_factor, one.bias_factor / shrink,
        (1 + one.noise_factor) / shrink, parts.total - parts.noise, parts.noise,
    ]  # fmt: skip
