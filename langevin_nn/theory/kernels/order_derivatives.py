"""Derivatives of K_L in the logarithms q_ℓ = log Q_ℓ of its layers' scales, block by block.

The recursion of `layers`, c_ℓ = f_ℓ κ(a, b, c) of what layer ℓ − 1 has left, f_ℓ = exp(q_ℓ)/λ_ℓ,
acts on each entry of the Gram matrix alone, given its diagonal a_ℓ = f_ℓ κ(a, a, a), which is b_ℓ
as well. So all derivatives follow from those of κ at the L layers, for a block of rows at a time:

    tangents  ∂_i c_ℓ = f_ℓ (κ_a ∂_i a + κ_b ∂_i b + κ_c ∂_i c) for i < ℓ,   ∂_ℓ c_ℓ = c_ℓ
    weights   of κ at layer ℓ in Σ G ∘ K_L:   w_L = f_L G,   w_ℓ = f_ℓ κ_c w_{ℓ+1}
    second    Σ G ∘ ∂_i ∂_j K_L = Σ_ℓ Σ w_ℓ κ''[∂_i, ∂_j]

with ∂_i κ in place of κ'' for j = ℓ, and κ for i = j = ℓ. The diagonal has the same, with weights
that are sums of w_ℓ κ_a over columns and of w_ℓ κ_b over rows. One compiled function, κ with its
derivatives, serves every layer: the time to compile does not depend on the depth.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.covariances import Covariance
from langevin_nn.theory.kernels.layers import steps_of
from langevin_nn.types import Activation, EnsembleSpec
from langevin_nn.wide_layers import DenseLayer, Layer

__all__ = ["order_tangents"]

NUMBERS_AT_ONCE = 2**21
"""Numbers of float64 that the layers of one block of rows take: 16 MiB."""

Matrix = Float[np.ndarray, "P P"]


class _Jet(NamedTuple):
    """κ, and those of its first and second derivatives that a symmetric matrix needs."""

    value: Float[np.ndarray, "..."]
    a: Float[np.ndarray, "..."]
    b: Float[np.ndarray, "..."]
    c: Float[np.ndarray, "..."]
    aa: Float[np.ndarray, "..."]
    ab: Float[np.ndarray, "..."]
    ac: Float[np.ndarray, "..."]
    cc: Float[np.ndarray, "..."]


class _Diagonal(NamedTuple):
    """The variances that layer ℓ sees, and what it makes of them."""

    variances: Float[np.ndarray, " P"]  # a
    tangents: Float[np.ndarray, "l P"]  # ∂_i a for i < ℓ
    value: Float[np.ndarray, " P"]  # g(a) = κ(a, a, a)
    slope: Float[np.ndarray, " P"]  # g'
    bend: Float[np.ndarray, " P"]  # g''


def order_tangents(
    spec: EnsembleSpec,
    inputs: Float[np.ndarray, "P N_0"],
    orders: Float[np.ndarray, " L"],
    weights: Matrix,
) -> tuple[list[Matrix], Float[np.ndarray, "L L"]]:
    """∂K_L/∂q_i for each q_i = log Q_i, and Σ G ∘ ∂²K_L/∂q_i∂q_j for symmetric weights G.

    K_L is `layers.host_gram(spec, inputs[None], inputs[None], orders)`, (P, P), of a fully
    connected network.

    Linear units have K_2 ∝ Q_1 Q_2, so that each derivative is K_2 itself:

    >>> spec = EnsembleSpec(2, (9, 9), identity, (0.5, 1.0, 2.0), temperature=0.1)
    >>> tangents, second = order_tangents(spec, np.eye(2), np.array([3.0, 2.0]), np.eye(2))
    >>> tangents[0], second
    (array([[3., 0.],
           [0., 3.]]), array([[6., 6.],
           [6., 6.]]))
    """
    first, *hidden = steps_of(spec, orders=orders)
    activations = [_activation_of(step.layer) for step in hidden]
    depth, num_train = len(orders), len(inputs)
    factors = np.array([step.scale / step.precision for step in hidden])
    shifts = np.array([0.0 if step.bias is None else 1 / step.bias for step in (first, *hidden)])
    first_covariance = first(Covariance.of_inputs(inputs))
    diagonal = _diagonal(activations, first_covariance.rows, factors, shifts)
    tangents = [np.empty((num_train, num_train)) for _ in range(depth)]
    second, pulled = np.zeros((depth, depth)), np.zeros((depth, num_train))
    height = min(
        num_train, max(1, NUMBERS_AT_ONCE // (num_train * depth * (len(_Jet._fields) + 2)))
    )
    for start in range(0, num_train, height):
        rows = np.arange(start, start + height)
        inside = np.minimum(rows, num_train - 1)  # every block has the same shape, for one program
        block_weights = np.where((rows < num_train)[:, None], weights[inside], 0.0)
        block = _Block(activations, diagonal, first_covariance.between[inside], inside)
        block_tangents = block.run(factors, shifts, block_weights, second, pulled)
        for tangent, change in zip(tangents, block_tangents, strict=True):
            tangent[start : start + height] = change[: num_train - start]
    _add_diagonal(diagonal, factors, pulled, second)
    return tangents, second


def _activation_of(layer: Layer) -> Activation:
    assert isinstance(layer, DenseLayer), "`nested` is of dense layers"
    return layer.activation


class _Block(NamedTuple):
    """Some rows of the covariances that the first layer sees."""

    activations: list[Activation]
    diagonal: list[_Diagonal]
    covariances: Float[np.ndarray, "rows P"]
    rows: Float[np.ndarray, " rows"]

    def run(
        self,
        factors: Float[np.ndarray, " L"],
        shifts: Float[np.ndarray, " L_plus_1"],
        weights: Float[np.ndarray, "rows P"],
        second: Float[np.ndarray, "L L"],
        pulled: Float[np.ndarray, "L P"],
    ) -> Float[np.ndarray, "L rows P"]:
        """The tangents ∂_i K_L of the block's rows; adds to `second` and the weights `pulled`."""
        depth, c = len(factors), self.covariances
        jets = []
        for layer in range(depth):
            a = self.diagonal[layer].variances
            jets.append(_jet(self.activations[layer], a[self.rows, None], a[None, :], c))
            if layer + 1 < depth:
                c = factors[layer] * jets[layer].value + shifts[layer + 1]
        weighing = [factors[-1] * weights]
        for layer in reversed(range(depth - 1)):
            weighing.append(factors[layer] * jets[layer + 1].c * weighing[-1])
        tangents = np.empty((depth, *weights.shape))
        for layer, weight in enumerate(reversed(weighing)):
            jet, along = jets[layer], self.diagonal[layer].tangents
            at_rows, below = along[:, self.rows], tangents[:layer]
            _add_second(jet, weight, at_rows, along, below, second[:layer, :layer])
            for change, row, column in zip(below, at_rows, along, strict=True):
                change *= jet.c
                change += jet.a * row[:, None]
                change += jet.b * column
            tangents[layer] = jet.value
            mixed = np.tensordot(tangents[: layer + 1], weight, 2)
            second[:layer, layer] += mixed[:-1]
            second[layer, : layer + 1] += mixed
            tangents[: layer + 1] *= factors[layer]
            np.add.at(pulled[layer], self.rows, np.sum(weight * jet.a, axis=1))
            pulled[layer] += np.sum(weight * jet.b, axis=0)
        return tangents


def _add_second(
    jet: _Jet,
    weight: Float[np.ndarray, "rows P"],
    at_rows: Float[np.ndarray, "l rows"],
    at_columns: Float[np.ndarray, "l P"],
    below: Float[np.ndarray, "l rows P"],
    second: Float[np.ndarray, "l l"],
) -> None:
    """Add Σ w κ''[∂_i, ∂_j], by the symmetry of rows and columns that all blocks together have."""
    if not len(below):
        return
    second += np.tensordot(below * (weight * jet.cc), below, ((1, 2), (1, 2)))
    second += 2 * (at_rows * np.sum(weight * jet.aa, axis=1)) @ at_rows.T
    crossed = at_rows @ (weight * jet.ab) @ at_columns.T
    crossed += 2 * at_rows @ np.einsum("rp,irp->ri", weight * jet.ac, below)
    second += crossed + crossed.T


def _diagonal(
    activations: list[Activation],
    variances: Float[np.ndarray, " P"],
    factors: Float[np.ndarray, " L"],
    shifts: Float[np.ndarray, " L_plus_1"],
) -> list[_Diagonal]:
    """The variances that each layer sees, from those of the first, with their derivatives."""
    layers, tangents = [], np.zeros((0, len(variances)))
    for layer, factor in enumerate(factors):
        value, slope, bend = map(
            np.asarray, _along_diagonal(activations[layer], jnp.asarray(variances))
        )
        layers.append(_Diagonal(variances, tangents, value, slope, bend))
        if layer + 1 < len(factors):
            variances = factor * value + shifts[layer + 1]
            tangents = factor * np.concatenate([slope * tangents, value[None]])
    return layers


def _add_diagonal(
    diagonal: list[_Diagonal],
    factors: Float[np.ndarray, " L"],
    pulled: Float[np.ndarray, "L P"],
    second: Float[np.ndarray, "L L"],
) -> None:
    """Add what the second derivatives of a_1 … a_{L−1} contribute, weighed by `pulled`."""
    weight = np.zeros(pulled.shape[1])
    for layer in reversed(range(1, len(factors))):
        weight = factors[layer - 1] * (pulled[layer] + diagonal[layer].slope * weight)
        layer_below = diagonal[layer - 1]
        below = slice(0, layer - 1)
        second[below, below] += (
            layer_below.tangents * (weight * layer_below.bend)
        ) @ layer_below.tangents.T
        mixed = layer_below.tangents @ (weight * layer_below.slope)
        second[below, layer - 1] += mixed
        second[layer - 1, below] += mixed
        second[layer - 1, layer - 1] += weight @ layer_below.value


def _jet(
    activation: Activation,
    a: Float[np.ndarray, "rows 1"],
    b: Float[np.ndarray, "1 P"],
    c: Float[np.ndarray, "rows P"],
) -> _Jet:
    return _Jet(*map(np.asarray, _differentiated(activation, *map(jnp.asarray, (a, b, c)))))


@partial(jax.jit, static_argnames=("activation",))
def _differentiated(
    activation: Activation,
    a: Float[Array, "rows 1"],
    b: Float[Array, "1 P"],
    c: Float[Array, "rows P"],
) -> tuple[Float[Array, "rows P"], ...]:
    """The parts of a `_Jet`, by forward differentiation, which passes through a quadrature."""

    def along(function: Callable, number: int) -> Callable:
        def differentiated(*abc: Array) -> Any:
            direction = [jnp.zeros_like(array) for array in abc]
            direction[number] = jnp.ones_like(abc[number])
            return jax.jvp(function, abc, tuple(direction))

        return differentiated

    def slopes(*abc: Array) -> tuple[Array, Array, Array, Array]:
        value, by_a = along(activation.dual, 0)(*abc)
        return value, by_a, along(activation.dual, 1)(*abc)[1], along(activation.dual, 2)(*abc)[1]

    (value, by_a, by_b, by_c), (_, aa, ab, ac) = along(slopes, 0)(a, b, c)
    cc = along(slopes, 2)(a, b, c)[1][3]
    return value, by_a, by_b, by_c, aa, ab, ac, cc


@partial(jax.jit, static_argnames=("activation",))
def _along_diagonal(
    activation: Activation, variances: Float[Array, " P"]
) -> tuple[Float[Array, " P"], ...]:
    """g(a) = κ(a, a, a), g' and g''."""

    def value(a: Array) -> Array:
        return activation.dual(a, a, a)

    def slope(a: Array) -> tuple[Array, Array]:
        return jax.jvp(value, (a,), (jnp.ones_like(a),))

    (dual, first), (_, bend) = jax.jvp(slope, (variances,), (jnp.ones_like(variances),))
    return dual, first, bend
