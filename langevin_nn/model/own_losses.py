"""What a loss of the user's own says of itself, held against its values at some targets, once."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.data.dataset import as_numbers
from langevin_nn.model.slopes import wrong_slope
from langevin_nn.values import require_positive, shown

__all__ = ["along_outputs", "complaint_on_loss", "few_of", "few_targets"]


def few_targets(targets: Float[np.ndarray, "..."]) -> list[float]:
    """The smallest, a middle and the largest of the targets.

    >>> few_targets(np.array([[1.0, -1.0], [1.0, 3.0]]))
    [-1.0, 1.0, 3.0]
    """
    different = np.unique(targets)
    return [float(y) for y in np.unique(different[[0, len(different) // 2, -1]])]


def along_outputs(loss: Any, target: float, ndim: int) -> Callable[[Array], Array]:
    """ℓ(s z, y) as a function of z (n,), from −8 to 8 of which f is beyond y on either side.

    `ndim` is the number of axes that the loss is called with: chains, examples, perhaps outputs.

    >>> along_outputs(lambda f, y: (f - y) ** 2 / 2, 0.5, 2)(jnp.array([0.5, 1.5])).tolist()
    [0.0, 0.5]
    """
    scale = max(1.0, abs(target) / 4)

    def function(z: Array) -> Array:
        f = (scale * z).reshape(z.size, *(1,) * (ndim - 1))
        return loss(f, jnp.full((1,) * ndim, target, f.dtype)).ravel()

    return function


def few_of(targets: Any) -> tuple[Any, ...]:
    """Eight of the different targets at most, nested tuples that a cache can go by."""
    different = np.unique(as_numbers("targets", targets), axis=0)
    few = different[:: -(-len(different) // 8)]
    return tuple(few.tolist()) if few.ndim == 1 else tuple(map(tuple, few.tolist()))


@lru_cache(maxsize=256)
def complaint_on_loss(loss: Any, targets: tuple[Any, ...]) -> str:
    """What a loss of the user's own does not do, and what to write; "" where all is well."""
    y = np.array([targets])
    places = np.arange(3 * y.size).reshape(3, *y.shape[1:])  # of three chains
    f = 2 * max(1.0, float(np.abs(y).max())) * np.sin(1.0 + places**1.5)
    if complaint := _complaint_on_types(loss, f, y):
        return complaint
    with jax.ensure_compile_time_eval():
        probes = _probed(*map(jnp.asarray, (f, y)), loss)
    rounding = float(jnp.finfo(probes["together"].dtype).eps)
    values = {name: np.asarray(array, np.float64) for name, array in probes.items()}
    together = values["together"]
    size = np.max(np.abs(together), where=np.isfinite(together), initial=1.0)
    close = partial(np.allclose, rtol=0, atol=rounding**0.5 * size, equal_nan=True)
    if not close(together, values["alone"]):
        return (
            "does not act on each output and its target alone: write ℓ(f, y) without means, sums "
            "or maxima over their axes"
        )
    for target in few_targets(y):
        if wrong := wrong_slope(along_outputs(loss, target, y.ndim)):
            return (
                f"has a derivative that is not that of its values at y = {target:g}, {wrong} "
                "(jax.lax.stop_gradient, or rounding?), so that gradients would lead elsewhere "
                "than the density says: write it without"
            )
    if "square" in values and not close(together, values["square"]):
        return (
            "is not half the square of its residual(f, y, factor): write r of ℓ = ½ r², or return "
            "None"
        )
    return _complaint_on_margin(loss, y[np.abs(y) == 1])


def _complaint_on_types(loss: Any, f: np.ndarray, y: np.ndarray) -> str:
    for dtype in {np.dtype(np.float32), np.dtype(jnp.zeros(()).dtype)}:
        outputs, targets = (jax.ShapeDtypeStruct(array.shape, dtype) for array in (f, y))
        value = jax.eval_shape(loss, outputs, targets)
        if getattr(value, "shape", None) != f.shape or value.dtype != dtype:
            return (
                f"makes {shown(value)} of {dtype} outputs of shape {f.shape} and targets of shape "
                f"{y.shape}: write one that acts on each of them alone, in its type"
            )
        residual = jax.eval_shape(loss.residual, outputs, targets, 1.0)
        if residual is not None and getattr(residual, "shape", None) != f.shape:
            return f"has a residual {shown(residual)}: write one of the shape of its outputs"
    return ""


@partial(jax.jit, static_argnames=("loss",))
def _probed(f: Float[Array, "3 P *D"], y: Float[Array, "1 P *D"], loss: Any) -> dict[str, Array]:
    """ℓ of all outputs together and of each alone, and ½ r² if there is r."""
    alone = (f.size, *(1,) * f.ndim)  # each by itself, with the axes of all
    outputs, targets = f.reshape(alone), jnp.broadcast_to(y, f.shape).reshape(alone)
    probes = {"together": loss(f, y), "alone": jax.vmap(loss)(outputs, targets)}
    if (residual := loss.residual(f, y, 1.0)) is not None:
        probes["square"] = jnp.square(residual) / 2
    return {name: array.ravel() for name, array in probes.items()}


def _complaint_on_margin(loss: Any, labels: Float[np.ndarray, " n"]) -> str:
    """What a loss does not do with its margin κ; y f = κ/2, 3κ/2 and 5κ/2 are looked at."""
    if (margin := loss.margin) is None:
        return ""
    if not require_positive(f"the margin of the loss {loss.name}", margin) or not labels.size:
        return ""
    below, above, far = (jnp.asarray(labels * margin * s) for s in (0.5, 1.5, 2.5))
    y = jnp.asarray(labels)
    if not (jnp.all(loss(below, y) > 0) and jnp.all(loss(above, y) == 0)):
        return (
            f"is to be zero from its margin y f = {margin:g} on, and positive below: write margin "
            "= None, or where that is"
        )
    asked, met = (loss.residual(f, y, 2.0) for f in (above, far))
    if asked is not None and not (jnp.all(asked != 0) and jnp.all(met == 0)):
        return "has a residual without factor: write factor times the margin in it"
    return ""
