"""What an activation of the user's own says of itself, held against its values, once."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from langevin_nn.errors import first_line
from langevin_nn.model.quadrature import QuadratureDual, plane_average
from langevin_nn.types import Activation, InputError
from langevin_nn.values import shown

__all__ = ["complaint_on", "is_odd"]

DUAL_TOLERANCE = 5e-4
"""The relative error of a dual at most: that of quadrature for σ with kinks."""


def is_odd(name: str, function: Callable[[Array], Array]) -> bool:
    """Whether σ(−z) = −σ(z) at 96 points of (0, 8], after a look at whether σ is elementwise."""
    dtype = jnp.zeros(()).dtype
    z = np.linspace(8.0 / 96, 8.0, 96).astype(dtype)
    not_elementwise = InputError(
        f"the activation {name!r} does not act on each element of a JAX array alone: give a "
        "function that returns a real array of its argument's shape, as jnp.tanh does"
    )
    try:
        traced = jax.eval_shape(function, jnp.asarray(z))
        if traced.shape != z.shape or jnp.issubdtype(traced.dtype, jnp.complexfloating):
            raise not_elementwise
        if jnp.issubdtype(traced.dtype, jnp.floating) and traced.dtype.itemsize < 4:
            raise InputError(
                f"the activation {name!r} gives {traced.dtype}, whose rounding gradients would "
                f"follow: write one that keeps the type of its argument, {z.dtype} here"
            )
        with jax.ensure_compile_time_eval():  # networks are made while JAX traces as well
            values, mirrored, single, rearranged = (
                np.asarray(function(jnp.asarray(points)))
                for points in (z, -z, z[:1], z[::-1].reshape(8, 12))
            )
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise not_elementwise from error
    for computed, expected in ((single, values[:1]), (rearranged, values[::-1].reshape(8, 12))):
        if computed.shape != expected.shape or not np.allclose(computed, expected, equal_nan=True):
            raise not_elementwise
    if not np.all(np.isfinite(values) & np.isfinite(mirrored)):
        raise InputError(f"the activation {name!r} is not finite everywhere between −8 and 8")
    tolerance = 100 * np.finfo(dtype).eps * np.max(np.abs(values))
    return bool(np.all(np.abs(values + mirrored) <= tolerance))


@lru_cache(maxsize=64)
def complaint_on(chosen: Activation) -> str:
    """What an activation of the user's own is not, and what to write; "" where all is well."""
    if is_odd(chosen.name, chosen.function) != chosen.odd:
        return f"has odd={chosen.odd}, and its values do not: write odd={not chosen.odd}"
    if chosen.dual == QuadratureDual(chosen.function, chosen.odd):
        return ""
    return _complaint_on_dual(chosen)


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
        place = ", ".join(f"{array[first]:.3g}" for array in at)
        return (
            f"has the dual of another function: κ({place}) = {kappa[first]:.4g}, and "
            f"E[σ(u)σ(v)] = {expected[first]:.4g}: write its own, or activation(function), "
            "whose dual is found by quadrature"
        )
    return _complaint_on_forms(chosen, block, kappa)


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
