"""The Gram matrix from layer to layer: a loop over the layers of an ensemble (`wide_layers`).

The same layers serve twice: `feature_gram` in JAX, to be differentiated and compiled as part of
something else, and `host_gram` in NumPy for its numbers. One by one the JAX operations would be
compiled again for every number of examples, which takes longer than small matrices do.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.covariances import Covariance
from langevin_nn.types import EnsembleSpec, InputError, NotApplicable
from langevin_nn.values import shown
from langevin_nn.wide_layers import Layer

__all__ = [
    "Precisions",
    "Step",
    "feature_gram",
    "host_gram",
    "known_layers",
    "skeleton_of",
    "steps_of",
]

_MAX_UNROLLED_LAYERS = 4  # layers in one program: a loop over as many compiles no faster

Fields = Float[np.ndarray | Array, "n P M"]
Precisions = Sequence[float] | Float[np.ndarray | Array, " _"]


def feature_gram(
    spec: EnsembleSpec,
    rows: Fields,
    columns: Float[np.ndarray | Array, "n P2 M"] | None = None,
    *,
    precisions: Precisions | None = None,
    bias_precisions: Precisions | None = None,
    orders: Precisions | None = None,
) -> Float[Array, "P ..."]:
    """K_L without the read-out's bias, averaged over the fields; the diagonal without `columns`.

    A JAX function of the precisions, which take the place of those of `spec`, and of the orders
    Q_1 … Q_L, which multiply each layer: K_ℓ = (Q_ℓ/λ_ℓ) κ(K_{ℓ−1} + b_{ℓ−1}).

    >>> linear = EnsembleSpec(2, (9, 9), identity, (0.5, 1.0, 2.0), temperature=0.1)
    >>> feature_gram(linear, np.eye(2)[None], orders=(3.0, 2.0))  # 3 · 2/(2 N_0 λ_0)
    Array([3., 3.], dtype=float64)
    """
    steps = steps_of(spec, precisions, bias_precisions, orders)
    return _averaged(jnp, steps, rows, columns)


def host_gram(
    spec: EnsembleSpec,
    rows: Float[np.ndarray, "n P M"],
    columns: Float[np.ndarray, "n P2 M"] | None = None,
    orders: Precisions | None = None,
) -> Float[np.ndarray, "P ..."]:
    """The numbers of `feature_gram`, in NumPy where the dual is a closed form: nothing is compiled.

    >>> linear = EnsembleSpec(2, (9, 9), identity, (0.5, 1.0, 2.0), temperature=0.1)
    >>> host_gram(linear, np.eye(2)[None], orders=(3.0, 2.0))
    array([3., 3.])
    """
    with np.errstate(all="ignore"):  # what is not finite is told where the matrix is used
        return np.asarray(_averaged(np, steps_of(spec, orders=orders), rows, columns))


class Step(NamedTuple):
    """One layer of an ensemble with its numbers; made by `steps_of`."""

    layer: Layer
    precision: Any  # λ_ℓ
    scale: Any  # Q_ℓ
    bias: Any  # the precision of its biases, None for none

    def __call__(self, covariance: Covariance) -> Covariance:
        made = self.layer(covariance, self.precision, self.scale, self.bias)
        if not isinstance(made, Covariance):
            raise InputError(
                f"the layer {type(self.layer).__name__} makes {shown(made)} of a Covariance: write "
                "return covariance.weighted(precision, scale, bias), or another Covariance"
            )
        return made


def steps_of(
    spec: EnsembleSpec,
    precisions: Precisions | None = None,
    bias_precisions: Precisions | None = None,
    orders: Precisions | None = None,
    *,
    readout_bias: bool = False,
) -> list[Step]:
    """The layers with their precisions, those of `spec` if left out, and scales Q_1 … Q_L.

    The bias of the read-out is left out of the last of them unless it is asked for.

    >>> linear = EnsembleSpec(2, (9,), identity, (0.5, 2.0), 0.1, bias_precisions=(4.0, 1.0))
    >>> [(step.precision, step.scale, step.bias) for step in steps_of(linear, orders=(3.0,))]
    [(0.5, 1.0, 4.0), (2.0, 3.0, None)]
    """
    layers = known_layers(spec)
    weight_precisions = spec.prior_precisions if precisions is None else precisions
    prior_bias_precisions = spec.bias_precisions if bias_precisions is None else bias_precisions
    num_layers = len(layers)
    biases: list[Any] = [None] * num_layers
    if prior_bias_precisions is not None:
        biases = [
            prior_bias_precisions[i] if readout_bias or i + 1 < num_layers else None
            for i in range(num_layers)
        ]
    scales: list[Any] = (
        [1.0] * num_layers if orders is None else [1.0, *(orders[i] for i in range(num_layers - 1))]
    )
    return [
        Step(layer, weight_precisions[i], scales[i], biases[i]) for i, layer in enumerate(layers)
    ]


def known_layers(spec: EnsembleSpec) -> tuple[Layer, ...]:
    """The layers of an ensemble. Raises `NotApplicable` for a network that has not said them.

    >>> len(known_layers(EnsembleSpec(2, (), None, (1.0,), 0.1)))
    1
    """
    if spec.layers is None:
        raise NotApplicable(
            f"the Gram matrix of {spec.architecture} is not known: the theories describe "
            "FullyConnected and Convolutional networks, and those that have `layers`"
        )
    return spec.layers


def _averaged(
    xp: Any,
    steps: list[Step],
    rows: Fields,
    columns: Float[np.ndarray | Array, "n P2 M"] | None,
) -> Any:
    first, *rest = steps
    names = ["rows"] if columns is None else ["rows", "columns", "between"]
    total: Any = 0.0
    column_inputs = None if columns is None or columns is rows else columns
    for position, row in enumerate(rows):
        column = None if column_inputs is None else xp.asarray(column_inputs[position])
        covariance = first(Covariance.of_inputs(xp.asarray(row), column))
        for run in _runs(rest):
            if xp is jnp and len(run) > _MAX_UNROLLED_LAYERS:
                covariance = _looped(run, covariance.evaluated(*names), names)
                continue
            for step in run:
                covariance = step(covariance.evaluated(*names))
        total = total + (covariance.rows if columns is None else covariance.between)
    return total / len(rows)


def _runs(steps: list[Step]) -> Iterator[list[Step]]:
    """The steps in runs of equal layers that follow each other."""
    for _, run in itertools.groupby(steps, key=lambda step: step.layer):
        yield list(run)


def _looped(run: list[Step], covariance: Covariance, names: list[str]) -> Covariance:
    """The covariance after the steps of equal layers, which become one loop of XLA.

    Layer by layer, a program would have κ and its derivatives once for each of them, which take
    seconds to compile for one.
    """
    if covariance.is_symmetric:
        names = [name for name in names if name != "columns"]
    arrays = tuple(getattr(covariance, name) for name in names)
    with_biases = any(step.bias is not None for step in run)

    def stacked(numbers: list[Any]) -> Array:
        return jnp.stack([jnp.asarray(number, arrays[0].dtype) for number in numbers])

    numbers = [stacked([step.precision for step in run]), stacked([step.scale for step in run])]
    if with_biases:  # none at all is one of no variance
        numbers.append(stacked([jnp.inf if step.bias is None else step.bias for step in run]))

    def body(carry: tuple[Array, ...], numbers: tuple[Array, ...]) -> tuple[Any, None]:
        following = run[0].layer(Covariance(**dict(zip(names, carry, strict=True))), *numbers)
        return tuple(getattr(following, name) for name in names), None

    carried = jax.lax.scan(body, arrays, tuple(numbers))[0]
    return Covariance(**dict(zip(names, carried, strict=True)))


def skeleton_of(spec: EnsembleSpec) -> EnsembleSpec:
    """What a program made of `feature_gram` depends on: the layers, and whether there are biases.

    >>> skeleton_of(EnsembleSpec(2, (90,), None, (0.5, 2.0), temperature=0.1)).prior_precisions
    (1.0, 1.0)
    """
    ones = (1.0,) * len(spec.prior_precisions)
    return replace(
        spec, hidden_widths=(1,) * (len(ones) - 1), prior_precisions=ones, temperature=0.0,
        bias_precisions=None if spec.bias_precisions is None else ones,
    )  # fmt: skip
