"""Exact reduction of the input space to the span of the training inputs.

Let V (N_0 × r) be an orthonormal basis of that span. The energy depends on W⁰ through W⁰V alone;
W⁰V_⊥ keeps its prior, independent of everything else. So only the r columns W⁰V are sampled, and
at inputs outside the span W⁰V_⊥ is drawn afresh from its prior. Nothing is approximated.

Inputs are expressed in an orthonormal basis [V, V_⊥], where V_⊥ (N_0 × m) spans what the test
inputs have outside V. Scalar products, hence the network, are unchanged. With the same keys the
networks on these coordinates (`extend`) and on the original inputs (`lift`) are the same.

It holds for every network that sees its inputs x through W⁰x alone, W⁰ being `weights[0]`.
"""

from typing import TypeVar
from weakref import WeakKeyDictionary

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.data.dataset import Dataset
from langevin_nn.model.precision import full_precision
from langevin_nn.types import ChainKeys

BEYOND_STREAM = 2
"""What is folded into a record's key for W⁰ outside [V, V_⊥]; W⁰V_⊥ takes the key itself."""

Net = TypeVar("Net", bound=eqx.Module)


class InputSpace(eqx.Module):
    """Coordinates of the training inputs (P, r) and of the test inputs (P_test, r + m)."""

    basis: Float[np.ndarray, "N_0 r"]
    complement: Float[np.ndarray, "N_0 m"] | None
    """V_⊥; None where networks are never lifted, so that it takes no memory there."""
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
        self.complement = _row_space(outside, floor=1e-10 * float(np.linalg.norm(x_test)))
        self.test = np.concatenate([inside, outside @ self.complement], axis=1)

    @classmethod
    def reduced(cls, network: Net, data: Dataset) -> tuple[Net, "InputSpace"]:
        """The network on the span of the training inputs, and that space.

        Each data set has its space made once: it takes longer than a small network's draws.
        """
        space = _SPACES.get(data)
        if space is None:
            space = _SPACES[data] = cls(data.x_train, data.x_test)
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

    @property
    def without_lifting(self) -> "InputSpace":
        """The same without V_⊥, for networks that are never lifted."""
        return eqx.tree_at(lambda space: space.complement, self, None, is_leaf=lambda x: x is None)

    def outside(self, networks: Net, precision: Array | float, keys: ChainKeys) -> Array:
        """W⁰V_⊥ of each chain, (chains, N_1, m), drawn from N(0, 1/λ_0)."""
        return _from_prior(networks, self.test.shape[1] - self.rank, precision, keys)

    def extend(self, networks: Net, precision: Array | float, keys: ChainKeys) -> Net:
        """The networks on [V, V_⊥], with W⁰V_⊥ from the prior (`outside`)."""
        drawn = self.outside(networks, precision, keys)
        return _with_first_layer(
            networks, jnp.concatenate([_first_layer(networks), drawn], axis=-1)
        )

    @full_precision
    def lift(self, networks: Net, precision: Array | float, keys: ChainKeys) -> Net:
        """The networks on the original inputs: those of `extend` with the same keys.

        W⁰ = (W⁰V)Vᵀ + (W⁰V_⊥)V_⊥ᵀ + G(1 − VVᵀ − V_⊥V_⊥ᵀ), G from the prior.
        """
        assert self.complement is not None, "this space is without_lifting"
        first = self.extend(networks, precision, keys).weights[0]  # type: ignore[attr-defined]
        basis = jnp.concatenate([self.basis, self.complement], axis=1).astype(first.dtype)
        if basis.shape[1] == basis.shape[0]:
            return _with_first_layer(networks, first @ basis.T)
        keys = jax.vmap(lambda key: jax.random.fold_in(key, BEYOND_STREAM))(keys)
        beyond = _from_prior(networks, basis.shape[0], precision, keys)
        return _with_first_layer(networks, (first - beyond @ basis) @ basis.T + beyond)


_SPACES: "WeakKeyDictionary[Dataset, InputSpace]" = WeakKeyDictionary()
"""The input space of each data set that is still used; its arrays are read-only."""


def _from_prior(networks: Net, columns: int, precision: Array | float, keys: ChainKeys) -> Array:
    """Columns of each chain's W⁰, (chains, N_1, columns), drawn from N(0, 1/λ_0)."""
    first = _first_layer(networks)
    shape = (first.shape[1], columns)
    drawn = jax.vmap(lambda key: jax.random.normal(key, shape, first.dtype))(keys)
    return drawn / jnp.sqrt(precision)


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
