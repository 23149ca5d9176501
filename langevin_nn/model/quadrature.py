"""Gaussian averages of any activation by quadrature: its dual and its mean.

The dual: with He_k the Hermite polynomials orthonormal under N(0, 1) and ρ = c/√(ab), Mehler's
formula turns the double integral into single ones,

    κ(a, b, c) = Σ_k s_k(a) s_k(b) ρ^k,   s_k(a) = E[σ(√a z) He_k(z)],   z ~ N(0, 1),

and the trapezoidal rule, whose error falls exponentially for analytic σ, gives the s_k. The sum
stops where Σ_{j≥k} s_j² is below 1e-12 of E[σ²]. What remains after `_MAX_TERMS` is put into one
last term, √(tail(a) tail(b)) ρ^k: it keeps the diagonal (ρ = 1, a = b) exact, and the Gram matrix
positive, for a σ with kinks too.

The mean E[σ(√a z)] is by Gauss–Legendre quadrature on either side of zero.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.model.jumps import jump_of
from langevin_nn.model.kinks import Kink, kinks_of, slopes_of_kinked
from langevin_nn.types import Activation, NotApplicable

__all__ = [
    "QuadratureDual", "correlation", "gaussian_mean", "with_quadrature",
]  # fmt: skip

_MAX_TERMS = 2048  # even; Hermite coefficients at most
_TERMS_AT_ONCE = 16  # in one pass over the block
_NODE_SPACING = 1 / 32
_NODE_RANGE = 9.5  # exp(−9.5²/2) = 3e-20
_SMALLEST_TAIL = 1e-12  # in units of E[σ²]
_MEAN_NODES = 256  # on each side of zero
_MOST_NODES = 10**6  # on each side of zero
_MOST_VARIANCES = 2**15  # that are expanded at once
_SAME = 1e-9  # 1 − ρ of inputs that are the same to rounding


def correlation(a: Any, b: Any, c: Any, xp: Any = jnp) -> tuple[Any, Any]:
    """√(ab) and ρ = c/√(ab), both 0 with zero derivatives where a variance is 0.

    Arrays that broadcast against each other, of `jax.numpy` or, if `xp` is it, of `numpy`.

    >>> scale, rho = correlation(jnp.array([4.0, 0.0]), jnp.ones(2), jnp.array([1.0, 0.0]))
    >>> scale.tolist(), rho.tolist()
    ([2.0, 0.0], [0.5, 0.0])
    """
    positive = (a > 0) & (b > 0)
    scale = xp.sqrt(xp.where(positive, a, 1.0)) * xp.sqrt(xp.where(positive, b, 1.0))
    return xp.where(positive, scale, 0.0), xp.where(positive, c / scale, 0.0)


def gaussian_mean(activation: Activation, variances: Float[Array, " P"]) -> Float[Array, " P"]:
    """E[σ(√a z)], z ~ N(0, 1), at each variance a; zero for odd σ.

    Gauss–Legendre quadrature on either side of zero: exact to rounding for σ that is analytic
    there, with or without a kink at zero.

    >>> gaussian_mean(relu, jnp.array([1.0, 4.0])) * np.sqrt(2 * np.pi)
    Array([1., 2.], dtype=float64)
    """
    if activation.odd:
        return jnp.zeros_like(variances)
    nodes, weights = np.polynomial.legendre.leggauss(_MEAN_NODES)
    z = _NODE_RANGE * (nodes + 1) / 2
    density = _NODE_RANGE / 2 * weights * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    h = _roots(variances)[:, None] * jnp.asarray(z)[None, :]
    return (activation(h) + activation(-h)) @ jnp.asarray(density)


def _roots(variances: Float[Array, "..."]) -> Float[Array, "..."]:
    """√a, with a zero derivative where a is 0."""
    positive = variances > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, variances, 1.0)), 0.0)


@lru_cache(maxsize=2)
def _hermite_table(odd: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes z (n,), weights w (n,) and He_k(z) w, (K, n), of the trapezoidal rule under N(0, 1).

    For odd σ only the odd k are kept. √w He_k is what the recurrence runs on: it cannot overflow.
    """
    half = round(_NODE_RANGE / _NODE_SPACING)
    nodes = _NODE_SPACING * np.arange(-half, half + 1)
    weights = _NODE_SPACING * np.exp(-(nodes**2) / 2) / np.sqrt(2 * np.pi)
    rows = np.empty((_MAX_TERMS, nodes.size))
    rows[0] = np.sqrt(weights)
    rows[1] = nodes * rows[0]
    for k in range(1, _MAX_TERMS - 1):
        rows[k + 1] = (nodes * rows[k] - np.sqrt(k) * rows[k - 1]) / np.sqrt(k + 1)
    return nodes, weights, (rows[1::2] if odd else rows) * np.sqrt(weights)


class _Expansion(NamedTuple):
    """σ(√a z) in Hermite polynomials, for variances a of shape (…), k first."""

    terms: Float[Array, "K ..."]  # s_k
    tails: Float[Array, "passes+1 ..."]  # Σ_{j≥k} s_j² for each k where a pass begins, and the end
    power: Float[Array, "..."]  # E[σ²]

    def reshape(self, shape: tuple[int, ...]) -> "_Expansion":
        terms, tails = (array.reshape(-1, *shape) for array in (self.terms, self.tails))
        return _Expansion(terms, tails, self.power.reshape(shape))


@partial(jax.jit, static_argnames=("function",))
def _expand(
    variances: Float[Array, " P"],
    nodes: Float[Array, " n"],
    weights: Float[Array, " n"],
    table: Float[Array, "K n"],
    function: Callable[[Array], Array],
) -> _Expansion:
    roots = _roots(variances)
    values = function(nodes[:, None] * roots[None, :])
    terms, power = table @ values, weights @ values**2
    passes = jnp.sum(jnp.reshape(terms**2, (-1, _TERMS_AT_ONCE, roots.size)), axis=1)
    beyond = jnp.maximum(power - jnp.sum(passes, axis=0), 0.0)
    after = jnp.asarray(np.tri(len(passes) + 1, len(passes), -1)[::-1, ::-1], terms.dtype)
    return _Expansion(terms, after @ passes + beyond[None, :], power)


@partial(jax.jit, static_argnames=("odd",))
def _mehler_sum(
    a: Float[Array, "..."],
    b: Float[Array, "..."],
    c: Float[Array, "..."],
    left: _Expansion,
    right: _Expansion,
    odd: bool,
) -> Float[Array, "..."]:
    """Σ_k s_k(a) s_k(b) ρ^k by Horner's rule, `_TERMS_AT_ONCE` terms in each pass.

    `left` and `right` are the expansions of the variances a.ravel() and b.ravel().
    """
    left, right = left.reshape(a.shape), right.reshape(b.shape)

    def largest(tails: Array) -> Array:
        return jnp.max(tails.reshape(len(tails), -1), axis=1)

    bound = _SMALLEST_TAIL**2 * jnp.max(left.power) * jnp.max(right.power)
    enough = (largest(left.tails) * largest(right.tails) <= bound).at[-1].set(True)
    num_passes = 1 + jnp.argmax(enough[1:])

    def last_term(expansion: _Expansion) -> Array:
        tail = jax.lax.dynamic_index_in_dim(expansion.tails, num_passes, keepdims=False)
        matters = tail > _SMALLEST_TAIL * expansion.power
        return jnp.where(matters, jnp.sqrt(jnp.where(matters, tail, 1.0)), 0.0)

    rho = correlation(a, b, c)[1]
    rho += jax.lax.stop_gradient(jnp.clip(rho, -1.0, 1.0) - rho)  # rounding only: keep dκ/dρ
    base = rho**2 if odd else rho

    def add_terms(step: Array, total: Array) -> Array:
        start = (num_passes - 1 - step) * _TERMS_AT_ONCE
        some_left, some_right = (
            jax.lax.dynamic_slice_in_dim(expansion.terms, start, _TERMS_AT_ONCE)
            for expansion in (left, right)
        )
        for k in reversed(range(_TERMS_AT_ONCE)):
            total = total * base + some_left[k] * some_right[k]
        return total

    last = jnp.broadcast_to(last_term(left) * last_term(right), rho.shape)
    total = jax.lax.fori_loop(0, num_passes, add_terms, last)
    return total * rho if odd else total


class QuadratureDual:
    """Mehler's sum of σ as a function of (a, b, c), which can be pickled where σ can be.

    Two of them are equal if they are of the same function. Made by `with_quadrature`.
    """

    def __init__(self, function: Callable[[Array], Array], odd: bool) -> None:
        self.function, self.odd = function, odd

        def evaluate(z: Array) -> Array:  # hashable, as a callable object need not be
            return function(z)

        self._evaluate = evaluate

    def __call__(
        self, a: Float[Array, "..."], b: Float[Array, "..."], c: Float[Array, "..."]
    ) -> Float[Array, "..."]:
        table = [jnp.asarray(array, c.dtype) for array in _hermite_table(self.odd)]

        def block(a: Array, b: Array, c: Array) -> Array:
            left, right = (
                _expand(variances.ravel(), *table, self._evaluate) for variances in (a, b)
            )
            return _mehler_sum(a, b, c, left, right, self.odd)

        if max(a.size, b.size) <= _MOST_VARIANCES:
            return block(a, b, c)
        flat = [array.ravel() for array in jnp.broadcast_arrays(a, b, c)]
        values = jax.lax.map(lambda abc: block(*abc), flat, batch_size=_MOST_VARIANCES // 16)
        return values.reshape(jnp.broadcast_shapes(a.shape, b.shape, c.shape))

    def error(self, variance: float) -> float:
        """The relative error of E[σ(√a z)²] at one variance a.

        It is measured by the trapezoidal rule over u = √a z with 32 nodes in each unit of u: the
        sum has nodes in z, and sees a step where σ rises within 1/√a of zero.

        >>> dual = QuadratureDual(jnp.tanh, odd=True)
        >>> dual.error(10.0) < 1e-9, dual.error(1e4) > 1e-3
        (True, True)
        """
        nodes, weights, _ = _hermite_table(self.odd)
        approximate = float(weights @ np.square(self._at(np.sqrt(variance) * nodes)))
        reach = _NODE_RANGE * np.sqrt(variance)
        u = np.linspace(-reach, reach, 2 * int(min(32 * reach, _MOST_NODES)) + 1)
        density = np.exp(-(u**2) / (2 * variance))
        exact = float(density @ np.square(self._at(u)) / np.sum(density))
        return abs(approximate / exact - 1) if exact > 0 else 0.0

    @cached_property
    def kinks(self) -> tuple[Kink, ...]:
        """The kinks of σ in [−8, 8]."""
        return kinks_of(self._evaluate)

    @cached_property
    def jump(self) -> float | None:
        """A place in [−8, 8] where σ itself jumps, or None."""
        return jump_of(self._evaluate)

    def slope_on_host(
        self, a: Float[np.ndarray, "..."], b: Float[np.ndarray, "..."], c: Float[np.ndarray, "..."]
    ) -> Float[np.ndarray, "..."] | None:
        """E[σ'(u)σ'(v)] of a σ with kinks (`kinks`); None for others: Mehler's sum has it.

        Raises `NotApplicable` where it is infinite: for equal preactivations of a σ that jumps.
        """
        if self.jump is not None:
            if np.any((1 - correlation(a, b, c, np)[1] < _SAME) & (a > 0) & (b > 0)):
                raise NotApplicable(
                    f"the tangent kernel of equal inputs is infinite: the activation jumps at "
                    f"{self.jump:g}: write one that is continuous"
                )
            return None
        if not self.kinks:
            return None
        return slopes_of_kinked(self._evaluate, self.kinks, _hermite_table(False), a, b, c)

    def _at(self, z: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.asarray(self._evaluate(jnp.asarray(z)), np.float64)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QuadratureDual) or self.odd != other.odd:
            return False
        return self.function is other.function or bool(self.function == other.function)

    def __hash__(self) -> int:
        return hash((QuadratureDual, self.odd))

    def __reduce__(self) -> tuple[Any, ...]:
        return _dual_of, (reference(self.function), self.odd)


@dataclass(frozen=True)
class Reference:
    """A function by the module and the name that it is found under; made by `reference`."""

    module: str
    name: str

    def find(self) -> Any:
        """The function itself."""
        value = importlib.import_module(self.module)
        for name in self.name.split("."):
            value = getattr(value, name)
        return value


def reference(function: Any) -> Any:
    """Where a function can be found, for pickle; the function itself where it cannot.

    Pickle does not find the compiled functions of JAX, jnp.tanh for example (jax issue 679).

    >>> import math
    >>> reference(math.tanh)
    Reference(module='math', name='tanh')
    """
    by_name = Reference(
        str(getattr(function, "__module__", "")), str(getattr(function, "__qualname__", ""))
    )
    try:
        return by_name if by_name.find() is function else function
    except (ImportError, AttributeError, ValueError):
        return function


def referred(function: Any) -> Any:
    """The function that `reference` has stood for.

    >>> import math
    >>> referred(reference(math.tanh)) is math.tanh
    True
    """
    return function.find() if isinstance(function, Reference) else function


def _dual_of(function: Any, odd: bool) -> QuadratureDual:
    return QuadratureDual(referred(function), odd)


def with_quadrature(name: str, function: Callable[[Array], Array], odd: bool) -> Activation:
    """An activation whose dual is Mehler's sum, κ(a, b, c) = Σ_k s_k(a) s_k(b) ρ^k.

    Args:
        name: for messages and tables.
        function: σ, elementwise.
        odd: whether σ(−z) = −σ(z); then odd k alone are summed.

    Cost: for variances a (P, 1) and b (1, P'), c (P, P'), about K multiply-adds for each entry,
    K ≈ 25 for tanh at variance 1 and 190 at variance 10. Variances of c's own shape work as well
    and cost 10⁶ operations for each entry.

    >>> square = with_quadrature("square", jnp.square, odd=False)  # κ = ab + 2c²
    >>> print(f"{square.dual(jnp.array(2.0), jnp.array(3.0), jnp.array(-1.0)):.9f}")
    8.000000000
    """

    return Activation(name, function, QuadratureDual(function, odd), odd)
