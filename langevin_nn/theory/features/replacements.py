"""Metropolis steps that replace one hidden unit of each of many layers after the other.

Everything is computed in the space of units, F = (φ_1 … φ_N, √N_1 V)ᵀ/√N_1 with W = (T + F Fᵀ)⁻¹,
b = F y: with unit i left out, W without i and, for a new φ, g = F φ/√N_1 and x = W g,

    σ = T + |φ|²/N_1 − gᵀx,   β = φᵀy/√N_1 − xᵀb,   tilt = −½ log(σ/T) + ½ β²/(T σ),

which is −½ log(1 + q) + ½ u²/(N_1 (1 + q)).

A new unit is one from a `proposal`, or the old one turned a little towards a unit of the prior.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from langevin_nn.theory.features.proposal import log_ratio, mixed
from langevin_nn.types import Activation

__all__ = ["swept"]

_LOCAL_SHARE, _SMALLEST_STEP = 0.5, 0.03
"""The share of new units z' = √(1 − ε²) z + ε ξ, ξ ~ N(0, I), from the old ones z, by which the
prior stays as it is, and the smallest ε: its logarithm is uniform up to ε = 1."""


@partial(jax.jit, static_argnames=("activation", "width"))
def swept(
    key: Key[Array, ""],
    z: Float[Array, "M N r"],
    features: Float[Array, "M rows P"],
    y: Float[Array, " P"],
    temperature: Float[Array, ""] | float,
    inputs: Float[Array, "P r"],
    amplitude: Float[Array, ""] | float,
    mean: Float[Array, " r"],
    factor: Float[Array, "r r"],
    whitening: Float[Array, "r r"],
    field_whitening: Float[Array, "P P"],
    field_mean: Float[Array, " P"],
    power: Float[Array, ""] | float,
    num_sweeps: Int[Array, ""] | int,
    activation: Activation,
    width: int,
) -> tuple[Float[Array, "M N r"], Float[Array, "M rows P"], Float[Array, ""]]:
    """Layers of the coordinates z and these features after sweeps over their units, and acceptance.

    Args:
        key: of random numbers.
        z: coordinates of the units.
        features: φ of the units, and √N_1 V of the read-out's bias, which stays.
        y: the targets.
        temperature: T.
        inputs: the training inputs in the coordinates of z.
        amplitude: 1/√λ_1.
        mean: μ of the proposal.
        factor: the lower Cholesky factor of its Σ.
        whitening: the inverse of that.
        field_whitening: L⁻¹, of B = (L Lᵀ)⁻¹, for the part of the tilt that is not exact.
        field_mean: a, for the same.
        power: of the exact tilt; that of the field has 1 − power.
        num_sweeps: how often each unit may be replaced.
        activation: σ.
        width: N_1.

    Without targets and at a high temperature the units are those of the prior:

    >>> z = np.random.default_rng(0).standard_normal((64, 1, 2))
    >>> eye = np.eye(2)
    >>> new, features, accepted = swept(
    ...     jax.random.key(0), z, z, np.zeros(2), 1e9, eye, 1.0, np.zeros(2), eye, eye, eye,
    ...     np.zeros(2), 1.0, 5, identity, 1)
    >>> bool(accepted > 0.999), bool(np.allclose(new, features)), bool(np.mean(new**2) < 1.5)
    (True, True, True)
    """
    num, rank = z.shape[0], z.shape[2]
    root = jnp.sqrt(1.0 * width)

    def tilt(size: Array, signal: Array) -> Array:  # from σ and β
        return -0.5 * jnp.log(size) + 0.5 * signal**2 / (temperature * size)

    def tilt_in_the_field(phi: Array) -> Array:
        stiffness = 1 + jnp.sum((phi @ field_whitening.T) ** 2, axis=1) / width
        return -0.5 * jnp.log(stiffness) + 0.5 * (phi @ field_mean) ** 2 / (width * stiffness)

    def replace(i: Array, state: tuple) -> tuple:
        key, z, features, inverse, values, ratios, accepted = state
        key, of_new, of_choices = jax.random.split(key, 3)
        side, local, size, step = jax.random.uniform(of_choices, (4, num, 1))
        noise, old = jax.random.normal(of_new, (num, rank)), z[:, i]
        new = mixed(noise, side, mean, factor)
        size, local = _SMALLEST_STEP**size, local < _LOCAL_SHARE
        new = jnp.where(local, jnp.sqrt(1 - size**2) * old + size * noise, new)
        phi, ratio = amplitude * activation(new @ inputs.T), log_ratio(new, mean, whitening)
        value = phi @ y / root
        column, own = inverse[:, :, i], inverse[:, i, i]
        overlap = jnp.einsum("mnp,mp->mn", features, phi) / width  # g, of which g_i drops out
        along = jnp.einsum("mij,mj->mi", inverse, overlap)
        along = along - column * (along[:, i] / own)[:, None]  # x, with x_i = 0
        size = temperature + jnp.sum(phi**2, axis=1) / width - jnp.sum(overlap * along, axis=1)
        signal = value - jnp.sum(along * values, axis=1)
        exact = tilt(size, signal) - tilt(1 / own, jnp.sum(column * values, axis=1) / own)
        alone = tilt_in_the_field(phi) - tilt_in_the_field(features[:, i])
        gain = power * exact + (1 - power) * alone
        gain = gain + jnp.where(local[:, 0], 0.0, ratios[:, i] - ratio)
        better = jnp.log(step[:, 0]) < gain
        vector = (-along).at[:, i].set(1.0)
        changed = inverse - column[:, :, None] * (column / own[:, None])[:, None, :]
        changed = changed + vector[:, :, None] * (vector / size[:, None])[:, None, :]
        return (
            key,
            z.at[:, i].set(jnp.where(better[:, None], new, old)),
            features.at[:, i].set(jnp.where(better[:, None], phi, features[:, i])),
            jnp.where(better[:, None, None], changed, inverse),
            values.at[:, i].set(jnp.where(better, value, values[:, i])),
            ratios.at[:, i].set(jnp.where(better, ratio, ratios[:, i])),
            accepted + jnp.mean(better, dtype=accepted.dtype),
        )

    def sweep(_: Array, state: tuple) -> tuple:
        key, z, features, ratios, accepted = state
        small = features / root
        gram = temperature * jnp.eye(features.shape[1])[None] + small @ small.swapaxes(1, 2)
        state = key, z, features, jnp.linalg.inv(gram), small @ y, ratios, accepted
        key, z, features, _, _, ratios, accepted = jax.lax.fori_loop(0, width, replace, state)
        return key, z, features, ratios, accepted

    ratios = log_ratio(z.reshape(-1, rank), mean, whitening).reshape(num, width)
    state = key, z, features, ratios, jnp.zeros(())
    _, z, features, _, accepted = jax.lax.fori_loop(0, num_sweeps, sweep, state)
    return z, features, accepted / (num_sweeps * width)
