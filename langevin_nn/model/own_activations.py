"""What an activation of the user's own says of itself, held against its values, once."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from langevin_nn.errors import first_line
from langevin_nn.import_paths import reason_of
from langevin_nn.model.gaussian_averages import line_averages, plane_average
from langevin_nn.model.quadrature import QuadratureDual
from langevin_nn.model.slopes import wrong_slope
from langevin_nn.types import Activation, InputError
from langevin_nn.values import shown

__all__ = ["complaint_on", "complaint_on_slope", "is_odd"]

WIDE_VARIANCES = np.array([1e-3, 0.03, 10.0, 100.0, 1e3])
"""Variances at which a dual is looked at besides those around 1."""
FAR_TOLERANCE = 0.02
"""The relative error of a dual at most where a variance is above 100: that of quadrature."""
DUAL_TOLERANCE = 5e-4
"""The relative error of a dual at most: that of quadrature for σ with kinks."""


def is_odd(name: str, function: Callable[[Array], Array]) -> bool:
    """Whether σ(−z) = −σ(z) at 96 points of (0, 8], after a look at whether σ is elementwise."""
    dtype = jnp.zeros(()).dtype
    z = np.linspace(8.0 / 96, 8.0, 96).astype(dtype)
    _require_one_argument(name, function)
    try:
        traced = jax.eval_shape(function, jnp.asarray(z))
        if not isinstance(traced, jax.ShapeDtypeStruct):
            raise _not_elementwise(name, f"it returns {_kind_of(traced)}")
        if traced.shape != z.shape:
            raise _not_elementwise(name, f"of shape {z.shape} it makes {traced.shape}")
        if jnp.issubdtype(traced.dtype, jnp.complexfloating):
            raise _not_elementwise(name, "its values are complex")
        if jnp.issubdtype(traced.dtype, jnp.floating) and traced.dtype.itemsize < 4:
            raise InputError(
                f"the activation {name!r} gives {traced.dtype}, whose rounding gradients would "
                f"follow: write one that keeps the type of its argument, {z.dtype} here"
            )
        with jax.ensure_compile_time_eval():  # networks are made while JAX traces as well
            values, again, mirrored, single, rearranged = (
                np.asarray(function(jnp.asarray(points)))
                for points in (z, z, -z, z[:1], z[::-1].reshape(8, 12))
            )
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise _not_elementwise(name, reason_of(error)) from error
    if not np.array_equal(values, again, equal_nan=True):
        raise InputError(
            f"the activation {name!r} has other values at the same z when it is called again: "
            "write a function without a state and without random numbers"
        )
    for computed, expected in ((single, values[:1]), (rearranged, values[::-1].reshape(8, 12))):
        if computed.shape != expected.shape or not np.allclose(computed, expected, equal_nan=True):
            raise _not_elementwise(name, "its values depend on the others of the array")
    points, both = np.concatenate([z, -z]), np.concatenate([values, mirrored])
    if not np.all(np.isfinite(both)):
        place = np.flatnonzero(~np.isfinite(both))[0]
        raise InputError(
            f"the activation {name!r} is not finite everywhere between −8 and 8, it is "
            f"{both[place]} at z = {points[place]:.3g}: write one that is finite for all z"
        )
    _require_type_kept(name, function)
    tolerance = 100 * np.finfo(dtype).eps * np.max(np.abs(values))
    return bool(np.all(np.abs(values + mirrored) <= tolerance))


def _require_type_kept(name: str, function: Callable[[Array], Array]) -> None:
    """Raise `InputError` for a function that makes float64 of float32."""
    try:
        dtype = jax.eval_shape(function, jax.ShapeDtypeStruct((2,), jnp.float32)).dtype
    except TypeError as error:  # where JAX promotes no types
        raise _not_elementwise(name, reason_of(error)) from error
    if jnp.issubdtype(dtype, jnp.floating) and dtype != jnp.float32:
        raise InputError(
            f"the activation {name!r} gives {dtype} of a float32 array, and all behind it would be "
            "computed so: write one that keeps the type of its argument, with numbers in place of "
            "NumPy's arrays, or .astype(z.dtype) at its end"
        )


def _require_one_argument(name: str, function: Callable[[Array], Array]) -> None:
    """Raise `InputError` for a function that cannot be called with one argument."""
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise InputError(
            f"the activation {name!r} cannot be called with one array ({error}): write a function "
            f"of z alone, def {name}(z), with numbers in it"
        ) from error
    except ValueError:  # of a function that is not written in Python nothing is known
        return


def _not_elementwise(name: str, why: str) -> InputError:
    return InputError(
        f"the activation {name!r} does not act on each element of a JAX array alone ({why}): write "
        "a function of jax.numpy, with jnp.where in place of if, that returns a real array of its "
        "argument's shape, as jnp.tanh does"
    )


def _kind_of(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


@lru_cache(maxsize=64)
def complaint_on(chosen: Activation) -> str:
    """What an activation of the user's own is not, and what to write; "" where all is well."""
    if complaint := complaint_on_slope(chosen.function):
        return complaint
    if is_odd(chosen.name, chosen.function) != chosen.odd:
        return f"has odd={chosen.odd}, and its values do not: write odd={not chosen.odd}"
    if chosen.dual == QuadratureDual(chosen.function, chosen.odd):
        return ""
    return _complaint_on_dual(chosen)


def complaint_on_slope(function: Callable[[Array], Array]) -> str:
    """What is wrong with the derivative of σ, and what to write; "" where all is well."""
    try:
        wrong = _wrong_slope(function)
    except TypeError:  # a callable object that cannot be hashed
        wrong = wrong_slope(function)
    if not wrong:
        return ""
    return (
        f"has a derivative that is not that of its values, {wrong} (jax.lax.stop_gradient, "
        "jax.custom_jvp, or rounding?), so that gradients would lead elsewhere than the density "
        "says: write it without"
    )


_wrong_slope = lru_cache(maxsize=64)(wrong_slope)


def _complaint_on_dual(chosen: Activation) -> str:
    """What is wrong with a dual by a formula, at a block of covariances and on its diagonals."""
    rho = np.array([[0.8, -0.5], [0.3, 0.95]])
    a, b = np.array([[0.5], [3.0]]), np.array([[1.0, 0.25]])
    block = a, b, rho * np.sqrt(a * b)
    pairs = [array.ravel() for array in np.broadcast_arrays(*block)]
    variances = np.concatenate(pairs[:2])
    at = [np.concatenate([array, variances]) for array in pairs]
    try:
        jax.eval_shape(chosen.dual, *map(jnp.asarray, block))
    except (TypeError, ValueError) as error:
        return (
            f"has a dual that JAX cannot trace ({first_line(error)}): write κ(a, b, c) of "
            "the functions of jax.numpy, or of xp in a ClosedForm, for arrays that broadcast"
        )
    with jax.ensure_compile_time_eval():
        expected, errors = plane_average(chosen.function, *at)
        values = [_dual_at(chosen.dual, arguments) for arguments in (block, (variances,) * 3)]
    power = np.sqrt(expected[4:8] * expected[8:])
    bound = DUAL_TOLERANCE * np.concatenate([power, expected[4:]]) + 3 * np.max(errors)
    if [value.shape for value in values] != [rho.shape, variances.shape]:
        return (
            f"has a dual of shape {values[0].shape} and {values[1].shape} where its arguments "
            f"broadcast to {rho.shape} and {variances.shape}: write κ(a, b, c) of each entry"
        )
    kappa = np.concatenate([value.ravel() for value in values])
    if np.any(wrong := ~(np.abs(kappa - expected) <= bound)):
        first = int(np.argmax(wrong))
        a_at, b_at, c_at = (float(array[first]) for array in at)
        return _of_another(a_at, b_at, c_at, kappa[first], expected[first])
    return _complaint_on_range(chosen) or _complaint_on_forms(chosen, block, kappa)


def _of_another(a: float, b: float, c: float, given: float, expected: float) -> str:
    return (
        f"has the dual of another function: κ({a:.3g}, {b:.3g}, {c:.3g}) = {given:.4g}, and "
        f"E[σ(u)σ(v)] = {expected:.4g}: write its own, or activation(function), whose dual is "
        "found by quadrature"
    )


def _complaint_on_range(chosen: Activation) -> str:
    """What is wrong with a dual at small and large variances, as networks with other priors have.

    What is not finite there, as of a formula that overflows, is told where it is used.
    """
    v, correlations = WIDE_VARIANCES, np.array([0.5, -0.3])
    a, b = np.broadcast_arrays(v[:, None], v[None, :])
    with jax.ensure_compile_time_eval(), np.errstate(all="ignore"):
        averages = line_averages(chosen.function, v, tuple(correlations))
        tolerance = np.where(v > 100, FAR_TOLERANCE, DUAL_TOLERANCE)
        of_pairs = np.maximum(tolerance[:, None], tolerance[None, :])
        power, unknown = averages.power, np.isinf(averages.power_error)
        of_pairs = np.where(unknown[:, None] | unknown[None, :], np.inf, of_pairs)
        of_pairs = of_pairs * np.sqrt(power[:, None] * power[None, :])
        looked_at = [
            (v, v, v, power, tolerance * power + 3 * averages.power_error),
            *(
                (a, b, rho * np.sqrt(a * b), dual, of_pairs + 3 * error)
                for rho, dual, error in zip(
                    correlations, averages.dual, averages.dual_error, strict=True
                )
            ),
        ]
        for *at, expected, bound in looked_at:
            kappa = _dual_at(chosen.dual, tuple(at))
            if np.any(wrong := np.abs(kappa - expected) > bound):
                first = np.unravel_index(np.argmax(wrong), wrong.shape)
                a_at, b_at, c_at = (float(array[first]) for array in at)
                return _of_another(a_at, b_at, c_at, kappa[first], expected[first])
    return ""


def _dual_at(dual: Any, arguments: tuple[np.ndarray, ...]) -> np.ndarray:
    """κ in NumPy, where it is a closed form, which compiles nothing."""
    on_host = getattr(dual, "on_host", None)
    if on_host is not None:
        return np.asarray(on_host(*arguments))
    return np.asarray(jax.jit(dual)(*map(jnp.asarray, arguments)), np.float64)


def _complaint_on_forms(chosen: Activation, block: tuple[Any, ...], kappa: np.ndarray) -> str:
    """What is wrong with the other forms of a dual that is right: the linear one, that by angle."""
    a, b, c = block
    if getattr(chosen.dual, "is_linear", False) and not np.allclose(kappa[:4], c.ravel()):
        return "has a dual with is_linear=True that is not κ(a, b, c) = c: leave is_linear out"
    if (form := getattr(chosen.dual, "by_angle", None)) is None:
        return ""
    angle = np.arccos(c / np.sqrt(a * b))
    with jax.ensure_compile_time_eval():
        slope = _dual_at(chosen.derivative_dual, block)
    lack = 1 - kappa[:4] / np.sqrt(kappa[4:8] * kappa[8:])
    for name, given, expected in (
        ("slope", form.slope(angle), slope), ("lack", form.lack(angle), lack.reshape(angle.shape))
    ):  # fmt: skip
        if np.shape(given) != angle.shape or not np.allclose(given, expected, atol=1e-4):
            return (
                f"has a dual whose by_angle.{name} is {shown(given)} at the angles {shown(angle)}, "
                f"where the dual itself says {shown(expected)}: correct it, or leave by_angle out"
            )
    return ""
