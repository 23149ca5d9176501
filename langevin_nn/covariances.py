"""Covariances of preactivations under the prior, what activations and weights make of them.

With W_ij ~ N(0, 1/λ), b_i ~ N(0, 1/λ_b) and h' = √Q W φ/√N + b, at infinite width

    E[h' h'ᵀ] = (Q/λ) E[φ φᵀ] + 1/λ_b,      E[σ(h) σ(h)ᵀ] = κ(E[h hᵀ]),

κ being the Gaussian dual of σ (Neal 1996; Lee et al. 2018, arXiv:1711.00165), Q = 1 but for the
order parameters of a theory. The inner products of derivatives in all weights so far, the tangent
kernel (Jacot et al. 2018, arXiv:1806.07572, theorem 1, in this parametrisation), are

    Θ_h' = Q (E[φ φᵀ] + Θ_φ/λ) + 1 (of the bias, if any),      Θ_σ(h) = E[σ'(h) σ'(h)ᵀ] ∘ Θ_h.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.errors import NotApplicable
from langevin_nn.values import require_array, require_flag, require_function, require_text

__all__ = ["Activation", "Covariance"]

QUADRATURE_VARIANCE = 100.0  # a variance up to which quadrature is right for every smooth σ
QUADRATURE_TOLERANCE = 1e-4  # of E[σ²], which is 0.4 % of E[1 − σ²] for tanh
ANGLE_MARGIN = 1e-4  # 1 ± ρ up to which the vectors give the angle: above, ρ knows it to 1e-14
NUMBERS_AT_ONCE = 2**20  # of the vectors: 8 MiB


@dataclass(frozen=True)
class Activation:
    """An activation σ and its Gaussian dual: one object for the network and for the theory.

    `dual(a, b, c)` is κ(a, b, c) = E[σ(u)σ(v)] with (u, v) ~ N(0, [[a, c], [c, b]]); its arguments
    broadcast against each other, to the shape of its value. `odd` says whether σ(−z) = −σ(z).
    """

    name: str
    function: Callable[[Array], Array]
    dual: Callable[[Array, Array, Array], Array]
    odd: bool

    def __post_init__(self) -> None:
        require_text("the name of an activation", self.name)
        require_function("the function of an activation", self.function, "jax.numpy.tanh")
        require_function("the dual of an activation", self.dual, "activation(function) for one")
        require_flag("odd", self.odd)

    def __call__(self, z: Array) -> Array:
        return self.function(require_array("z", z))

    def __hash__(self) -> int:  # a callable object need not have one
        return hash((self.name, self.dual, self.odd))

    def derivative_dual(self, a: Array, b: Array, c: Array) -> Array:
        """E[σ'(u)σ'(v)] = ∂κ/∂c (Price's theorem), exact where κ is; arguments as for `dual`."""
        arrays = (require_array(name, array) for name, array in zip("abc", (a, b, c), strict=True))
        a, b, c = (jnp.asarray(array) for array in arrays)
        shape = jnp.broadcast_shapes(a.shape, b.shape, c.shape)
        c = jnp.broadcast_to(c, shape)
        return jax.jvp(lambda c: self.dual(a, b, c), (c,), (jnp.ones_like(c),))[1]


class Covariance:
    """The covariances of a preactivation under the prior, between two sets of inputs.

    `rows` (…, P) and `columns` (…, P2) are its variances at either set, `between` (…, P, P2) its
    covariances, `tangent` (…, P, P2) the inner products of its derivatives in the weights, and
    `angle` is arccos of its correlation where that is known better than the correlation tells it,
    or None. Leading axes are positions, as patches; dense layers have none. The arrays are of NumPy
    or of JAX. Each is given as it is or as a function that makes it when it is first asked for, so
    that what nobody asks for is not computed; `columns` that are left out are `rows`.

    The sum of two is that of independent preactivations.

    >>> prior = Covariance.of_inputs(np.eye(2), np.ones((1, 2)))
    >>> prior.rows, prior.columns, prior.between.ravel()
    (array([1., 1.]), array([2.]), array([1., 1.]))
    >>> (prior + prior).between.ravel()
    array([2., 2.])
    """

    def __init__(
        self,
        rows: Any,
        columns: Any = None,
        between: Any = None,
        tangent: Any = None,
        angle: Any = None,
    ) -> None:
        self._sources = {
            "rows": rows, "columns": columns, "between": between, "tangent": tangent, "angle": angle
        }  # fmt: skip

    @classmethod
    def of_inputs(cls, rows: Float[np.ndarray | Array, "P M"], columns: Any = None) -> "Covariance":
        """The scalar products of inputs, x·x', which have no weights and so no tangents."""

        def squares(x: Any) -> Callable[[], Any]:
            return lambda: (np if _on_host(x) else jnp).einsum("pi,pi->p", x, x)

        others = rows if columns is None else columns
        return cls(
            rows=squares(rows),
            columns=None if others is rows else squares(others),
            between=lambda: rows @ others.T,
            tangent=lambda: 0.0,
            angle=lambda: _angles_of_inputs(np.asarray(rows), np.asarray(others)),
        )

    @cached_property
    def rows(self) -> Any:
        """The variances at the first set of inputs, (…, P)."""
        return self._part("rows")

    @cached_property
    def columns(self) -> Any:
        """The variances at the second set of inputs, (…, P2)."""
        return self.rows if self.is_symmetric else self._part("columns")

    @cached_property
    def between(self) -> Any:
        """The covariances between the two sets of inputs, (…, P, P2)."""
        return self._part("between")

    @cached_property
    def tangent(self) -> Any:
        """The inner products of the derivatives in the weights, (…, P, P2)."""
        return self._part("tangent")

    @cached_property
    def angle(self) -> Any:
        """The angles arccos of the correlations, (…, P, P2), or None."""
        return self._part("angle")

    @property
    def is_symmetric(self) -> bool:
        """Whether both sets of inputs are the same."""
        return self._sources["columns"] is None

    def evaluated(self, *names: str) -> "Covariance":
        """A covariance with the parts of these names alone, without what they are made of."""
        if self.is_symmetric:
            names = tuple(name for name in names if name != "columns")
        return Covariance(**{name: getattr(self, name) for name in names})

    def activated(self, activation: Activation) -> "Covariance":
        """The covariances E[σ(h) σ(h')] of σ(h) and its tangents, for these covariances of h.

        Raises `NotApplicable`, in NumPy, for a dual by quadrature that is wrong at these variances.

        >>> Covariance.of_inputs(2 * np.eye(2)).activated(relu).rows  # half of the variance
        array([2., 2.])
        """
        by_angle: Any = getattr(activation.dual, "by_angle", None)
        has_angle = by_angle is not None and self._sources["angle"] is not None

        def entries() -> tuple[Any, Any, Any]:
            return self.rows[..., :, None], self.columns[..., None, :], self.between

        def variances(at: Any) -> Any:
            return _dual(activation, at, at, at)

        def slopes() -> Any:
            if has_angle and self.angle is not None:
                a, b, _ = entries()
                return np.where((a > 0) & (b > 0), by_angle.slope(self.angle), 0.0)
            return _slope(activation, *entries())

        def angle() -> Any:
            if self.angle is None:
                return None
            lack = np.asarray(by_angle.lack(self.angle))
            return 2 * np.arcsin(np.sqrt(np.clip(lack / 2, 0.0, 1.0)))

        return Covariance(
            rows=lambda: variances(self.rows),
            columns=None if self.is_symmetric else lambda: variances(self.columns),
            between=lambda: _dual(activation, *entries()),
            tangent=lambda: slopes() * self.tangent,
            angle=angle if has_angle else None,
        )

    def weighted(
        self, precision: Any, scale: Any = 1.0, bias: Any = None, size: int = 1
    ) -> "Covariance":
        """The covariances of √Q W φ/√M + b, for these of φ, W ~ N(0, 1/λ) and b ~ N(0, 1/λ_b).

        Args:
            precision: λ.
            scale: Q, an order parameter.
            bias: λ_b, None without biases.
            size: M, where the covariances are sums over the φ; 1 where they are averages.

        >>> Covariance.of_inputs(np.eye(2)).weighted(0.5, bias=2.0).between
        array([[2.5, 0.5],
               [0.5, 2.5]])
        """
        shift = None if bias is None else 1 / bias

        def scaled(part: Any) -> Any:
            return (scale / precision) * part if size == 1 else scale * part / (precision * size)

        def shifted(part: Any) -> Any:
            return scaled(part) if shift is None else scaled(part) + shift

        def tangent() -> Any:
            of_weights = scale * (self.between + self.tangent / precision) / size
            return of_weights if shift is None else of_weights + 1.0

        def angle() -> Any:
            if shift is None or self.angle is None:
                return self.angle
            a, b = scaled(self.rows), scaled(self.columns)
            bias = shift * np.ones_like(a), shift * np.ones_like(b), 0.0
            return _angle_of_sum((a, b, self.angle), bias)

        return Covariance(
            rows=lambda: shifted(self.rows),
            columns=None if self.is_symmetric else lambda: shifted(self.columns),
            between=lambda: shifted(self.between),
            tangent=tangent,
            angle=None if self._sources["angle"] is None else angle,
        )

    def __add__(self, other: "Covariance") -> "Covariance":
        def angle() -> Any:
            if self.angle is None or other.angle is None:
                return None
            sides = ((summand.rows, summand.columns, summand.angle) for summand in (self, other))
            return _angle_of_sum(*sides)

        symmetric = self.is_symmetric and other.is_symmetric
        has_angle = self._sources["angle"] is not None and other._sources["angle"] is not None
        return Covariance(
            rows=lambda: self.rows + other.rows,
            columns=None if symmetric else lambda: self.columns + other.columns,
            between=lambda: self.between + other.between,
            tangent=lambda: self.tangent + other.tangent,
            angle=angle if has_angle else None,
        )

    def _part(self, name: str) -> Any:
        value = self._sources[name]
        return value() if callable(value) else value


def _on_host(array: Any) -> bool:
    return isinstance(array, np.ndarray | np.generic)


def _dual(activation: Activation, a: Any, b: Any, c: Any) -> Any:
    """κ of arrays of JAX, or of NumPy, for which a closed form compiles nothing."""
    dual = activation.dual
    if not _on_host(c):
        return dual(a, b, c)
    error = getattr(dual, "error", None)
    if error is not None:
        _require_accurate(
            activation, max(float(np.max(variances, initial=0.0)) for variances in (a, b))
        )
    on_host = getattr(dual, "on_host", None)
    if on_host is not None:
        return on_host(a, b, c)
    return np.asarray(dual(*map(jnp.asarray, (a, b, c))))


def _slope(activation: Activation, a: Any, b: Any, c: Any) -> Any:
    """E[σ'(u)σ'(v)] of arrays of JAX, or of NumPy, for which a dual may know it better."""
    known = getattr(activation.dual, "slope_on_host", None) if _on_host(c) else None
    slope = None if known is None else known(a, b, c)
    if slope is None:
        slope = activation.derivative_dual(*map(jnp.asarray, (a, b, c)))
    return np.asarray(slope) if _on_host(c) else slope


def _require_accurate(activation: Activation, largest: float) -> None:
    """Raise `NotApplicable` for a dual that is wrong by more than 1e-4 of E[σ²] at `largest`."""
    if not QUADRATURE_VARIANCE < largest < np.inf:
        return
    error = _error_of(activation.dual, largest)
    if error > QUADRATURE_TOLERANCE:
        raise NotApplicable(
            f"the Gram matrix of {activation.name} is made by quadrature, which is wrong by "
            f"{error:.2%} at preactivations of variance {largest:.3g}: scale the inputs "
            "(standardize = true) or raise λ_0"
        )


@lru_cache(maxsize=64)
def _error_of(dual: Any, variance: float) -> float:
    return dual.error(variance)


def _angles_of_inputs(
    rows: Float[np.ndarray, "P M"], columns: Float[np.ndarray, "P2 M"]
) -> Float[np.ndarray, "P P2"]:
    """θ between inputs: by the vectors themselves where ρ is near 1 or −1.

    There cos θ keeps half of its digits; the angle of unit vectors is 2 atan(|x̂ − x̂'|/|x̂ + x̂'|)
    (Kahan 2006).
    """
    rows, columns = _unit_vectors(rows), _unit_vectors(columns)
    rho = np.clip(rows @ columns.T, -1.0, 1.0)
    angle = np.arccos(rho)
    near = np.argwhere(1 - np.abs(rho) < ANGLE_MARGIN)
    for pairs in np.array_split(near, 1 + near.size * rows.shape[1] // NUMBERS_AT_ONCE):
        i, j = pairs.T
        apart, along = (np.linalg.norm(rows[i] + sign * columns[j], axis=1) for sign in (-1, 1))
        angle[i, j] = 2 * np.arctan2(apart, along)
    return angle


def _unit_vectors(x: Float[np.ndarray, "P M"]) -> Float[np.ndarray, "P M"]:
    """The inputs divided by their length; zero stays zero."""
    for norm in (np.inf, 2):  # the largest entry first: squares may overflow
        size = np.linalg.norm(x, norm, axis=1, keepdims=True)
        x = x / np.where(size > 0, size, 1.0)
    return x


Side = tuple[Any, Any, Any]  # variances (P,) and (P2,), angles (P, P2) or one for all


def _angle_of_sum(side: Side, other: Side) -> Float[np.ndarray, "... P P2"]:
    """θ of the sum of two independent preactivations of variances a and b, of angles θ_1 and θ_2.

    The sum has r ∓ c = D + Σ_i √(a_i b_i) (1 ∓ cos θ_i), all of it positive, with r² = (a_1 + a_2)
    (b_1 + b_2) and D = (√(a_1 b_2) − √(a_2 b_1))²/(r + √(a_1 b_1) + √(a_2 b_2)); 2 tan² ½θ is the
    ratio.
    """
    (a, b, angle), (a_2, b_2, angle_2) = (
        (rows[..., :, None], columns[..., None, :], angle) for rows, columns, angle in (side, other)
    )
    first, second = (np.sqrt(x) * np.sqrt(y) for x, y in ((a, b), (a_2, b_2)))
    total = np.sqrt(a + a_2) * np.sqrt(b + b_2) + first + second
    skew = np.sqrt(a) * np.sqrt(b_2) - np.sqrt(a_2) * np.sqrt(b)
    with np.errstate(all="ignore"):  # zero over zero of inputs that are zero
        apart = skew * (skew / np.where(total > 0, total, 1.0))
    sines, cosines = (
        apart + 2 * (first * half(angle / 2) ** 2 + second * half(angle_2 / 2) ** 2)
        for half in (np.sin, np.cos)
    )
    return 2 * np.arctan2(np.sqrt(sines), np.sqrt(cosines))
