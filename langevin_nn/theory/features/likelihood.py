"""What a convex loss does to outputs that follow a Gaussian process: its pull, by its slope alone.

The likelihood of outputs f is exp(−V(f)) with V(f) = Σ_μ ℓ(f_μ, y_μ)/T. With a loss that is convex
in f, each z has one f, and one pull t on it (Moreau 1965, Bull. Soc. Math. France 93:273):

    f = argmin V(f) + (f − z)²/2s,     t = (f − z)/s ∈ −∂V(f),     V*(−t) = −t·f − V(f),

V* the convex conjugate, and every pair of an f and its t has its z = f − s t. Where ℓ has a
curvature, df/dz = 1/(1 + s V''). At a kink f stays, and t takes all values between the slopes;
where V is straight, or 0, t stays. f is found by halving an interval that ∂ℓ/∂f brackets, so a loss
needs no more than its values. Curvatures are said as a noise, 1/V'': T for the squared loss, 0 at a
kink, infinite where V is straight.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.model.losses import Loss
from langevin_nn.model.own_losses import along_outputs, few_targets
from langevin_nn.theory.features.outputs import flat, unflat

__all__ = ["Likelihood", "Pulled", "is_convex"]

_HALVINGS = 80
"""How often an interval is halved: to the resolution of floating point, and beyond."""
_KINK = 1e-9
"""The jump of ∂ℓ/∂f at the resolution of floating point, in units of 1 + |∂ℓ/∂f|, of a kink."""
_LOG_DROP, _NODES = 36.0, 200
"""How far the logarithm of a density is followed, and points of the rule on either side."""


class Pulled(NamedTuple):
    """Outputs and the pull on them, with what belongs to them; made by `Likelihood.pulled`.

    All are of the examples and outputs, flat: `f`, `pull` t, `noise` 1/V'', `slopes`, the
    smallest and the largest element of ∂V(f), and `values` V of each.

    >>> from langevin_nn.model.losses import Squared
    >>> found = Likelihood(Squared(), np.ones(1), 0.5).at(f=np.zeros(1), pull=2 * np.ones(1))
    >>> found.noise, found.conjugate  # V*(−t) = −y t + T t²/2
    (array([0.5]), -1.0)
    """

    f: Float[np.ndarray, " n"]
    pull: Float[np.ndarray, " n"]
    noise: Float[np.ndarray, " n"]
    slopes: Float[np.ndarray, "2 n"]
    values: Float[np.ndarray, " n"]

    @property
    def conjugate(self) -> float:
        """V*(−t)."""
        return float(-np.sum(self.pull * self.f) - np.sum(self.values))


class Tilted(NamedTuple):
    """Of one distribution for each output: log of its integral, mean and variance.

    Made by `Likelihood.moments`:

    >>> from langevin_nn.model.losses import Squared
    >>> found = Likelihood(Squared(), np.ones(1), 1.0).moments(np.zeros(1), np.ones(1))
    >>> found.mean.round(9), found.variance.round(9)
    (array([0.5]), array([0.5]))
    """

    log_integral: Float[np.ndarray, " n"]
    mean: Float[np.ndarray, " n"]
    variance: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Likelihood:
    """exp(−Σ ℓ(f, y)/T) of the outputs f at the training inputs.

    `y` are the targets (P,), or (P, D) of D outputs, which are flat elsewhere: one output after the
    other. With the squared loss it is N(y; f, T) up to its constant.

    >>> from langevin_nn.model.losses import Squared
    >>> Likelihood(Squared(), np.ones(2), 0.5).at(np.zeros(2), np.zeros(2)).values
    array([1., 1.])
    """

    loss: Loss
    y: Float[np.ndarray, " P *D"]
    temperature: float

    def pulled(self, z: Float[np.ndarray, " n"], scale: float) -> Pulled:
        """f and the pull on it at z, for s = `scale`.

        The squared loss, s = T, and hinge at its kink and beyond

        >>> from langevin_nn.model.losses import Hinge, Squared
        >>> found = Likelihood(Squared(), np.array([1.0]), 0.5).pulled(np.array([0.0]), 0.5)
        >>> print(f"{found.f[0]:.6f} {found.pull[0]:.6f} {found.noise[0]:.6f}")
        0.500000 1.000000 0.500000
        >>> found = Likelihood(Hinge(power=1), np.ones(2), 0.5).pulled(np.array([0.5, 3.0]), 0.5)
        >>> found.f.round(6), found.pull.round(6), found.noise
        (array([1., 3.]), array([1., 0.]), array([ 0., inf]))
        """
        f = flat(
            np.asarray(_outputs(*self._arrays(z), 1 / scale, None, self.loss, self.temperature))
        )
        return self.at(f, (f - z) / scale)

    def between(self, first: Pulled, second: Pulled, share: float) -> Pulled:
        """f at the pull that is the `share` of the way from the first to the second.

        >>> from langevin_nn.model.losses import Logistic
        >>> logistic = Likelihood(Logistic(), np.ones(1), 1.0)
        >>> ends = (logistic.pulled(np.array([z]), 1.0) for z in (-1.0, 1.0))
        >>> found = logistic.between(*ends, 0.5)
        >>> bool(np.allclose(found.pull, 1 / (1 + np.exp(found.f))))
        True
        """
        pull = first.pull + share * (second.pull - first.pull)
        ends = self._arrays(first.f, second.f)[:-1]
        f = _outputs(*self._arrays(pull), 0.0, ends, self.loss, self.temperature)
        return self.at(flat(np.asarray(f)), pull)

    def at(self, f: Float[np.ndarray, " n"], pull: Float[np.ndarray, " n"]) -> Pulled:
        """What belongs to outputs f and a pull on them."""
        values, curvature, low, high = (
            flat(np.asarray(array))
            for array in _derivatives(*self._arrays(f), self.loss, self.temperature)
        )
        jump = self.temperature * (high - low)
        kink = jump > _KINK * (1 + self.temperature * np.maximum(np.abs(low), np.abs(high)))
        straight = curvature <= 0
        noise = np.where(straight, np.inf, 1 / np.where(straight, 1.0, curvature))
        return Pulled(f, pull, np.where(kink, 0.0, noise), np.stack([low, high]), values)

    def _arrays(self, *arrays: Float[np.ndarray, " n"]) -> tuple[Array, ...]:
        """Flat arrays in the targets' shape, and the targets."""
        return *(jnp.asarray(unflat(each, self.y.shape)) for each in arrays), jnp.asarray(self.y)

    def moments(
        self, centre: Float[np.ndarray, " n"], variance: Float[np.ndarray, " n"]
    ) -> "Tilted":
        """Each output's distribution ∝ N(f; centre, variance) exp(−V(f)), by quadrature.

        >>> from langevin_nn.model.losses import Hinge
        >>> found = Likelihood(Hinge(power=1), np.ones(1), 1e-9).moments(np.ones(1), np.ones(1))
        >>> bool(np.allclose(found.mean, 1 + np.sqrt(2 / np.pi)))  # f > 1 alone
        True
        """
        found = _moments(*self._arrays(centre, variance), self.loss, self.temperature)
        return Tilted(*(flat(np.asarray(array)) for array in found))

    def log_normalisation(self) -> float:
        """log of the integral of the likelihood over y, where the loss is squared; else 0.

        >>> from langevin_nn.model.losses import Squared
        >>> print(f"{Likelihood(Squared(), np.zeros(2), 1.0).log_normalisation():.6f}")  # log 2π
        1.837877
        """
        if not self.loss.is_gaussian:
            return 0.0
        return float(0.5 * self.y.size * np.log(2 * np.pi * self.temperature))


def _potential(loss: Any, y: Array, temperature: Any) -> Callable[[Array], Array]:
    """V of each output."""
    return lambda f: loss(f[None], y[None])[0] / temperature


@partial(jax.jit, static_argnames=("loss",))
def _outputs(
    z: Float[Array, " P *D"],
    y: Float[Array, " P *D"],
    stiffness: Any,
    ends: tuple[Array, Array] | None,
    loss: Any,
    temperature: Any,
) -> Float[Array, " P *D"]:
    """Where V'(f) + (f − z)/s vanishes; between the ends, where V'(f) + z does, a pull."""
    slope = jax.grad(lambda f: jnp.sum(_potential(loss, y, temperature)(f)))

    def excess(f: Array) -> Array:
        return slope(f) + (z if ends is not None else stiffness * (f - z))

    def halved(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = low + (high - low) / 2
        beyond = excess(middle) > 0
        return jnp.where(beyond, low, middle), jnp.where(beyond, middle, high)

    # V is convex: without ends f is between z and z − s V'(z)
    first, second = (z, z - slope(z) / stiffness) if ends is None else ends
    between = jnp.minimum(first, second), jnp.maximum(first, second)
    low, high = jax.lax.fori_loop(0, _HALVINGS, halved, between)
    return low + (high - low) / 2


@partial(jax.jit, static_argnames=("loss",))
def _derivatives(
    f: Float[Array, " P *D"], y: Float[Array, " P *D"], loss: Any, temperature: Any
) -> tuple[Array, Array, Array, Array]:
    """V and V'' of each output, and V' on either side of it."""
    potential = _potential(loss, y, temperature)
    slope = jax.grad(lambda f: jnp.sum(potential(f)))
    curvature = jax.grad(lambda f: jnp.sum(slope(f)))
    apart = 4 * jnp.finfo(f.dtype).eps * jnp.maximum(1e-6, jnp.abs(f))
    return potential(f), curvature(f), slope(f - apart), slope(f + apart)


@partial(jax.jit, static_argnames=("loss",))
def _moments(
    centre: Float[Array, " P *D"],
    variance: Float[Array, " P *D"],
    y: Float[Array, " P *D"],
    loss: Any,
    temperature: Any,
) -> tuple[Array, Array, Array]:
    """The log of the integral, mean and variance of the distributions of `moments`.

    On either side of its mode the density falls until 10⁻¹⁶ of it is left; up to there Gauss and
    Legendre's rule.
    """
    mode = _outputs(centre, y, 1 / variance, None, loss, temperature)[None, None]
    centre, variance = centre[None, None], variance[None, None]

    def log_density(f: Float[Array, "points sides P *D"]) -> Float[Array, "points sides P *D"]:
        values = loss(f.reshape(-1, *y.shape), y[None]).reshape(f.shape) / temperature
        return -values - (f - centre) ** 2 / (2 * variance)

    def halved(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        beyond = highest - log_density(mode + signs * middle) > _LOG_DROP
        return jnp.where(beyond, low, middle), jnp.where(beyond, middle, high)

    highest = log_density(mode)
    ones = (1,) * y.ndim
    signs = jnp.array([-1.0, 1.0]).reshape(1, 2, *ones)
    most = jnp.sqrt(2 * _LOG_DROP * variance) * jnp.ones_like(signs)
    lengths = jax.lax.fori_loop(0, _HALVINGS, halved, (jnp.zeros_like(most), most))[1]
    nodes, weights = (
        jnp.asarray(array).reshape(-1, 1, *ones)
        for array in np.polynomial.legendre.leggauss(_NODES)
    )
    distance = signs * lengths * (1 + nodes) / 2
    density = weights * lengths / 2 * jnp.exp(log_density(mode + distance) - highest)
    total = jnp.sum(density, axis=(0, 1), keepdims=True)
    shift = jnp.sum(density * distance, axis=(0, 1), keepdims=True) / total
    spread = jnp.sum(density * (distance - shift) ** 2, axis=(0, 1), keepdims=True) / total
    log_integral = highest + jnp.log(total) - jnp.log(2 * jnp.pi * variance) / 2
    return log_integral[0, 0], (mode + shift)[0, 0], spread[0, 0]


def is_convex(loss: Loss, y: Float[np.ndarray, " P *D"]) -> bool:
    """Whether the slope of a loss never falls, from −8 to 8 at some of the targets.

    >>> from langevin_nn.model.losses import Hinge
    >>> is_convex(Hinge(power=1), np.array([1.0, -1.0]))
    True
    """
    return all(_is_convex_at(loss, target, 1 + y.ndim) for target in few_targets(y))


@lru_cache(maxsize=256)
def _is_convex_at(loss: Loss, target: float, ndim: int) -> bool:
    f, function = jnp.linspace(-8.0, 8.0, 1001), along_outputs(loss, target, ndim)
    slopes = np.asarray(jax.grad(lambda z: jnp.sum(function(z)))(f))
    rounding = 64 * np.finfo(slopes.dtype).eps * np.max(np.abs(slopes), initial=1.0)
    return bool(np.all(np.diff(slopes) >= -rounding))
