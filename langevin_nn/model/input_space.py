"""Exact reduction of the input space to the span of the training inputs.

Let V (N_0 × r) be an orthonormal basis of that span. The energy depends on W⁰ through W⁰V alone;
W⁰V_⊥ keeps its prior, independent of everything else. So only the r columns W⁰V are sampled, and
at inputs outside the span W⁰V_⊥ is drawn afresh from its prior. Nothing is approximated.

Inputs are expressed in an orthonormal basis [V, V_⊥], where V_⊥ (N_0 × m) spans what the test
inputs have outside V. Scalar products, hence the network, are unchanged.

It holds for every network that sees its inputs x through W⁰x alone, W⁰ being `weights[0]`.
"""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.data.dataset import Dataset
from langevin_nn.model.precision import full_precision
from langevin_nn.types import ChainKeys

Net = TypeVar("Net", bound=eqx.Module)


class InputSpace(eqx.Module):
    """Coordinates of the training inputs (P, r) and of the test inputs (P_test, r + m)."""

    basis: Float[np.ndarray, "N_0 r"]
    train: Float[np.ndarray, "P r"]
    test: Float[np.ndarray, "P_test r_plus_m"]

    def __init__(
        self, x_train: Float[np.ndarray, "P N_0"], x_test: Float[np.ndarray, "P_test N_0"]
    ) -> None:
        """Both bases by singular value decomposition, with ranks to the rounding of float64."""
        self.basis = _row_space(x_train)
        self.train = x_train @ self.basis
        inside = x_test @ self.basis
        outside = x_test - inside @ self.basis.T
        # What rounding leaves of test inputs that lie inside the span is not a direction.
        complement = _row_space(outside, floor=1e-10 * float(np.linalg.norm(x_test)))
        self.test = np.concatenate([inside, outside @ complement], axis=1)

    @classmethod
    def reduced(cls, network: Net, data: Dataset) -> tuple[Net, "InputSpace"]:
        """The network on the span of the training inputs, and that space."""
        space = cls(data.x_train, data.x_test)
        return space.reduce(network), space

    @property
    def rank(self) -> int:
        """r, the dimension of the span of the training inputs."""
        return self.basis.shape[1]

    @full_precision
    def reduce(self, network: Net) -> Net:
        """The network on coordinates in V: its first layer is W⁰V, (N_1, r)."""
        first = _first_layer(network)
        return _with_first_layer(network, first @ jnp.asarray(self.basis, first.dtype))

    @full_precision
    def whole(self, network: Net) -> Net:
        """A network on the original inputs that `reduce` makes this one of: (W⁰V)Vᵀ, (N_1, N_0)."""
        first = _first_layer(network)
        return _with_first_layer(network, first @ jnp.asarray(self.basis.T, first.dtype))

    def extend(self, networks: Net, precision: Array | float, keys: ChainKeys) -> Net:
        """The networks on [V, V_⊥]: each chain's W⁰V_⊥, (N_1, m), drawn from N(0, 1/λ_0)."""
        first = _first_layer(networks)
        shape = (first.shape[1], self.test.shape[1] - self.rank)
        fresh = jax.vmap(lambda key: jax.random.normal(key, shape, first.dtype))(keys)
        return _with_first_layer(
            networks, jnp.concatenate([first, fresh / jnp.sqrt(precision)], axis=-1)
        )

    @full_precision
    def lift(self, networks: Net, precision: Array | float, keys: ChainKeys) -> Net:
        """The networks on the original inputs: W⁰ = (W⁰V)Vᵀ + G(1 − VVᵀ), G from the prior."""
        first = _first_layer(networks)
        basis = jnp.asarray(self.basis, first.dtype)
        shape = (first.shape[1], basis.shape[0])
        fresh = jax.vmap(lambda key: jax.random.normal(key, shape, first.dtype))(keys)
        fresh = fresh / jnp.sqrt(precision)
        return _with_first_layer(networks, (first - fresh @ basis) @ basis.T + fresh)


def _first_layer(network: Net) -> Array:
    return network.weights[0]  # type: ignore[attr-defined]


def _with_first_layer(network: Net, first: Array) -> Net:
    return eqx.tree_at(lambda n: n.weights[0], network, first)


def _row_space(x: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """Orthonormal columns that span the rows of x, those above `floor` and above rounding."""
    _, singular, right = np.linalg.svd(x, full_matrices=False)
    largest = singular[0] if singular.size else 0.0
    threshold = max(largest * max(x.shape) * np.finfo(x.dtype).eps, floor)
    return np.ascontiguousarray(right[singular > threshold].T)
