"""Activations, each with its Gaussian dual: one object for the network and for the theory.

The dual of σ is

    κ(a, b, c) = E[σ(u) σ(v)],   (u, v) ~ N(0, [[a, c], [c, b]]),

in closed form for erf (Williams 1997, "Computing with infinite networks"), relu (Cho and Saul 2009,
"Kernel methods for deep learning"; the arc-cosine kernel of order one), identity and gelu
(Tsuchida et al. 2021, "Avoiding kernel fixed points", arXiv:2002.08517), and by quadrature
(`quadrature`) for the others and any other callable. The arguments of a dual broadcast against each
other, so the block of a Gram matrix with variances a (P,) and b (P',) is
`dual(a[:, None], b[None, :], c)`.
"""

import copyreg
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.import_paths import misfit, named
from langevin_nn.model.own_activations import complaint_on, complaint_on_slope, is_odd
from langevin_nn.model.quadrature import correlation, reference, referred, with_quadrature
from langevin_nn.types import Activation, InputError

__all__ = [
    "ACTIVATIONS",
    "AngleForm",
    "ClosedForm",
    "activation",
    "erf",
    "gelu",
    "identity",
    "relu",
    "require_own_dual",
    "softplus5",
    "swish10",
    "tanh",
]

Numbers = Float[np.ndarray | np.float64, "..."]

_CALLABLE_HINT = ", and from Python any elementwise callable"
_NUMBERS_AT_ONCE = 2**18  # entries of a block that a formula takes: 2 MiB


def activation(choice: str | Activation | Callable[[Array], Array]) -> Activation:
    """The activation of a name, an import path or an elementwise callable; one is kept as it is.

    A callable's dual is computed by quadrature and whether it is odd by looking at its values.
    For σ analytic in a strip, the error is below 1e-8 for variances from 0 to 100 (measured on
    tanh); for σ with kinks it is about 1e-4 of E[σ²] (measured on relu). The dual of its slope in
    tangent kernels is taken from the jumps of that (`kinks`).

    Raises:
        InputError: an unknown name, a callable that does not act on each element alone, one whose
            derivative is not that of its values, or an `Activation` of the user's own with the dual
            of another function, or another parity.

    >>> activation("erf").odd
    True
    >>> sine = activation(jnp.sin)  # κ = exp(−(a+b)/2) sinh(c)
    >>> one, half = jnp.ones(()), jnp.full((), 0.5)
    >>> print(f"{sine.dual(one, one, half):.8f} {jnp.exp(-1.0) * jnp.sinh(0.5):.8f}")
    0.19170025 0.19170025

    The dual of the derivative is ∂κ/∂c, E[σ'(u)σ'(v)] = exp(−(a+b)/2) cosh(c):

    >>> print(f"{sine.derivative_dual(one, one, half):.8f} {jnp.exp(-1.0) * jnp.cosh(0.5):.8f}")
    0.41483041 0.41483041
    """
    if isinstance(choice, str):
        return activation(
            _required_activation(choice, named("activation", choice, ACTIVATIONS, _CALLABLE_HINT))
        )
    if isinstance(choice, Activation):
        return require_own_dual(choice)
    name = getattr(choice, "__name__", type(choice).__name__)
    odd = is_odd(name, choice)
    if complaint := complaint_on_slope(choice):
        raise InputError(f"the activation {name!r} {complaint}")
    if (known := ACTIVATIONS.get(name)) is not None and known.function is not choice:
        name = f"own_{name}"
    return with_quadrature(name, choice, odd)


def _required_activation(path: str, value: Any) -> Activation | Callable[[Array], Array]:
    """What an import path leads to, if it may be an activation; else an `InputError`."""
    if isinstance(value, Activation) or (callable(value) and not isinstance(value, type)):
        return value
    module, _, name = path.rpartition(":")
    write = f"def {name}(z), of JAX's functions"
    if isinstance(value, type) and any("__call__" in vars(kind) for kind in value.__mro__):
        write += f', or an object of it, mine = {name}(…), and activation = "{module}:mine"'
    raise misfit("activation", path, value, "an Activation or an elementwise function", write)


def require_own_dual(chosen: Activation) -> Activation:
    """The activation, if its dual and its parity are those of its function.

    An activation of the user's own is looked at once; its dual is held against an average in the
    plane. Raises `InputError` where it is off by more than quadrature with kinks.

    >>> require_own_dual(erf).name
    'erf'
    >>> require_own_dual(Activation("sine", jnp.sin, erf.dual, odd=True))
    Traceback (most recent call last):
    langevin_nn.errors.InputError: the activation 'sine' has the dual of another function: κ(0.5, 1, 0.566) = 0.3057, and E[σ(u)σ(v)] = 0.2817: write its own, or activation(function), whose dual is found by quadrature
    """  # noqa: E501
    if (known := ACTIVATIONS.get(chosen.name)) is chosen:
        return chosen
    if known is not None and known.function is not chosen.function:
        raise InputError(
            f"the activation {chosen.name!r} has the name of the package's and is another "
            f'function: write Activation("own_{chosen.name}", …)'
        )
    try:
        hash(chosen)
    except TypeError as error:
        raise InputError(
            f"the dual of the activation {chosen.name!r} cannot be hashed ({error}): write a "
            "function, or ClosedForm(formula)"
        ) from error
    if complaint := complaint_on(chosen):
        raise InputError(f"the activation {chosen.name!r} {complaint}")
    return chosen


class AngleForm(NamedTuple):
    """The dual of a σ with σ(tz) = tσ(z) for t > 0, by the angle θ between preactivations.

    cos θ = c/√(ab). `slope` is E[σ'(u)σ'(v)] and `lack` is 1 − κ(a, b, c)/√(κ(a, a, a)κ(b, b, b)),
    functions of θ in NumPy. Where σ has a kink, as relu, `slope` falls linearly in θ, of which a, b
    and c keep half the digits.

    >>> right = np.array([np.pi / 2])
    >>> relu.dual.by_angle.slope(right), relu.dual.by_angle.lack(right)  # 1 − 1/π
    (array([0.25]), array([0.68169011]))
    """

    slope: Callable[[Numbers], Numbers]
    lack: Callable[[Numbers], Numbers]


@dataclass(frozen=True)
class ClosedForm:
    """A dual by a formula of (xp, a, b, c), xp being `jax.numpy` or `numpy`.

    Called as any dual it is a compiled JAX function; `on_host` is the same in NumPy, which compiles
    nothing. `by_angle` is the dual as a function of the angle, if it needs that, and `is_linear`
    says whether the dual is c.

    >>> product = ClosedForm(lambda xp, a, b, c: c * xp.sqrt(a * b))
    >>> four, one = np.array(4.0), np.array(1.0)
    >>> product(*map(jnp.asarray, (four, one, one))).tolist(), product.on_host(four, one, one)
    (2.0, np.float64(2.0))
    """

    formula: Callable[..., Any]
    by_angle: AngleForm | None = None
    is_linear: bool = False

    def __call__(
        self, a: Float[Array, "..."], b: Float[Array, "..."], c: Float[Array, "..."]
    ) -> Float[Array, "..."]:
        return _compiled(self.formula, a, b, c)

    def on_host(self, a: Numbers, b: Numbers, c: Numbers) -> Numbers:
        """The dual in NumPy, some rows at a time where the block is large."""
        shape = np.broadcast_shapes(np.shape(a), np.shape(b), np.shape(c))
        if len(shape) != 2 or np.prod(shape) <= _NUMBERS_AT_ONCE:
            return self.formula(np, a, b, c)
        values = np.empty(shape)
        height = max(1, _NUMBERS_AT_ONCE // shape[1])
        for start in range(0, shape[0], height):  # what the formula keeps is of these rows alone
            rows = slice(start, start + height)
            blocks = (
                array[rows] if array.ndim == 2 and len(array) == shape[0] else array
                for array in map(np.asarray, (a, b, c))
            )
            values[rows] = self.formula(np, *blocks)
        return values


@partial(jax.jit, static_argnames=("formula",))
def _compiled(
    formula: Callable[..., Any],
    a: Float[Array, "..."],
    b: Float[Array, "..."],
    c: Float[Array, "..."],
) -> Float[Array, "..."]:
    return formula(jnp, a, b, c)


def _erf_dual(xp: Any, a: Any, b: Any, c: Any) -> Any:
    """(2/π) arcsin(2c / √((1 + 2a)(1 + 2b))), as the angle of (√D, 2c), D = (1 + 2a)(1 + 2b) − 4c².

    The sine of large variances is 1 − O(1/a), which rounding takes to 1 and beyond.
    """
    rest = 1 + 2 * (a + b) + 4 * _independent_part(xp, a, b, c)
    if xp is np and not np.all(np.isfinite(rest)):  # squares overflow: the sign network's
        scale, rho = correlation(a, b, c, np)
        finite = np.isfinite(rest) | ~np.isfinite(scale)
        c, rest = np.where(finite, c, rho / 2), np.where(finite, rest, np.maximum(1 - rho**2, 0.0))
    return 2 / xp.pi * xp.arctan2(2 * c, xp.sqrt(rest))


def _independent_part(xp: Any, a: Any, b: Any, c: Any) -> Any:
    """ab − c², which rounding must not make negative; its derivatives are kept where it has."""
    return _independent_part_in_jax(a, b, c) if xp is jnp else np.maximum(a * b - c**2, 0.0)


@jax.custom_jvp
def _independent_part_in_jax(
    a: Float[Array, "..."], b: Float[Array, "..."], c: Float[Array, "..."]
) -> Float[Array, "..."]:
    """ab − c² by factors: a compiler that fuses it would leave the rounding of c², not zero."""
    root = jnp.sqrt(a * b)
    return jnp.maximum((root - c) * (root + c), 0.0)


@_independent_part_in_jax.defjvp
def _independent_part_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    (a, b, c), (change_a, change_b, change_c) = primals, tangents
    change = b * change_a + a * change_b - 2 * c * change_c
    return _independent_part_in_jax(a, b, c), change


def _relu_dual(xp: Any, a: Any, b: Any, c: Any) -> Any:
    """√(ab)/(2π) · J(ρ), with J of `_angle_formula`."""
    scale, rho = correlation(a, b, c, xp)
    return scale / (2 * xp.pi) * (_angle_part(rho) if xp is jnp else _angle_formula(xp, rho))


def _angle_formula(xp: Any, rho: Any) -> Any:
    """J(ρ) = ρ(π − arccos ρ) + √(1 − ρ²), continued by its tangents 0 and πρ at ρ = ∓1."""
    inside = xp.abs(rho) < 1
    rho_inside = xp.where(inside, rho, 0.0)
    angle_part = rho_inside * (xp.pi - xp.arccos(rho_inside))
    angle_part = angle_part + xp.sqrt((1 - rho_inside) * (1 + rho_inside))
    return xp.where(inside, angle_part, xp.where(rho > 0, xp.pi * rho, 0.0))


@jax.custom_jvp
def _angle_part(rho: Float[Array, "..."]) -> Float[Array, "..."]:
    """J in JAX, with J' = π − arccos ρ; term by term, infinite parts would cancel at ρ = ∓1."""
    return _angle_formula(jnp, rho)


@_angle_part.defjvp
def _angle_part_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (rho,), (change,) = primals, tangents
    inside = jnp.abs(rho) < 1
    slope = jnp.pi - jnp.arccos(jnp.where(inside, rho, 0.0))
    return _angle_part(rho), change * jnp.where(inside, slope, jnp.where(rho > 0, jnp.pi, 0.0))


def _relu_slope(angle: Numbers) -> Numbers:
    """E[σ'(u)σ'(v)] = (π − θ)/2π, the part of the plane in which both are positive."""
    return (np.pi - angle) / (2 * np.pi)


def _relu_lack(angle: Numbers) -> Numbers:
    """1 − J(cos θ)/π = 2 sin² ½θ − (sin θ − θ cos θ)/π."""
    return 2 * np.sin(angle / 2) ** 2 - (np.sin(angle) - angle * np.cos(angle)) / np.pi


def _identity(z: Float[Array, "..."]) -> Float[Array, "..."]:
    return z


def _identity_dual(xp: Any, a: Any, b: Any, c: Any) -> Any:
    return xp.broadcast_to(c, np.broadcast_shapes(a.shape, b.shape, c.shape))


def _gelu(z: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.nn.gelu(z, approximate=False)


def _gelu_dual(xp: Any, a: Any, b: Any, c: Any) -> Any:
    """The dual E[uv Φ(u)Φ(v)] of gelu by Gaussian integration by parts, D = (1 + a)(1 + b) − c²:

        c/4 + c arcsin(c/√((1+a)(1+b)))/(2π) + [ab − c² + c²/(1+a) + c²/(1+b)] / (2π√D).

    The arcsine is the angle of (√D, c), as for erf.
    """  # fmt: skip
    part = _independent_part(xp, a, b, c)
    root = xp.sqrt(1 + a + b + part)
    rational = (part + c**2 / (1 + a) + c**2 / (1 + b)) / root
    return c / 4 + (c * xp.arctan2(c, root) + rational) / (2 * xp.pi)


def _unit_power(formula: Callable[[np.ndarray], np.ndarray]) -> float:
    """1/√E[σ(z)²], z ~ N(0, 1), by the trapezoidal rule, to rounding for σ analytic near ℝ."""
    z = np.linspace(-9.5, 9.5, 1217)
    power = np.sum(formula(z) ** 2 * np.exp(-(z**2) / 2)) * (z[1] - z[0]) / np.sqrt(2 * np.pi)
    return float(1 / np.sqrt(power))


_SWISH10_FACTOR = _unit_power(lambda z: z / (1 + np.exp(-10 * z)))
_SOFTPLUS5_FACTOR = _unit_power(lambda z: np.logaddexp(0, 5 * z) / 5)


def _swish10(z: Float[Array, "..."]) -> Float[Array, "..."]:
    return _SWISH10_FACTOR * z * jax.nn.sigmoid(10 * z)


def _softplus5(z: Float[Array, "..."]) -> Float[Array, "..."]:
    return _SOFTPLUS5_FACTOR / 5 * jax.nn.softplus(5 * z)


erf = Activation("erf", jax.scipy.special.erf, ClosedForm(_erf_dual), odd=True)
relu = Activation(
    "relu", jax.nn.relu, ClosedForm(_relu_dual, AngleForm(_relu_slope, _relu_lack)), odd=False
)
identity = Activation("identity", _identity, ClosedForm(_identity_dual, is_linear=True), odd=True)
tanh = with_quadrature("tanh", jnp.tanh, odd=True)
gelu = Activation("gelu", _gelu, ClosedForm(_gelu_dual), odd=False)

# z/(1 + e^(−10z)) and log(1 + e^(5z))/5 with E[σ(z)²] = 1: relu with a slope that does not jump,
# which gradient flow needs (Geiger et al., arXiv:2012.15110 and arXiv:1906.08034).
swish10 = with_quadrature("swish10", _swish10, odd=False)
softplus5 = with_quadrature("softplus5", _softplus5, odd=False)

ACTIVATIONS: dict[str, Activation] = {
    sigma.name: sigma for sigma in (erf, relu, identity, tanh, gelu, swish10, softplus5)
}


def _reduced(chosen: Activation) -> tuple[Any, ...]:
    """What pickle keeps of an activation: its name, or the function by where it is found."""
    if ACTIVATIONS.get(chosen.name) is chosen:
        return activation, (chosen.name,)
    return _rebuilt, (chosen.name, reference(chosen.function), chosen.dual, chosen.odd)


def _rebuilt(name: str, function: Any, dual: Callable[..., Array], odd: bool) -> Activation:
    return Activation(name, referred(function), dual, odd)


copyreg.pickle(Activation, _reduced)
