"""What says which run a checkpoint is of: hashes of everything that the draws depend on.

The fingerprint has the largest number of draws and the rule that ends them in it. The cores, one of
each point, have everything else: a run whose cores are the same has the same draws as far as both
go, so that one goes on where the other has ended.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from langevin_nn.model.networks.base import Network
from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.base import Dynamics
from langevin_nn.sampling.counts import Counts
from langevin_nn.sampling.stopping import Until
from langevin_nn.types import is_key


@dataclass(frozen=True)
class Identity:
    """The hashes that name a run, and what its length decides of what is recorded.

    One in `slope_stride` draws has slopes; `at_train` says whether f at the training inputs is kept
    of each draw.
    """

    fingerprint: str
    cores: tuple[str, ...] = ()
    slope_stride: int = 1
    at_train: bool = True

    @classmethod
    def of(
        cls,
        points: Sequence[Posterior],
        dynamics: Dynamics,
        keys: Sequence[PRNGKeyArray],
        counts: Counts,
        until: Until | None,
        functions: Mapping[str, Any],
        *,
        exchange: bool,
        weights: bool,
        slope_stride: int,
        at_train: bool,
    ) -> "Identity":
        """The identity of a run of these points with observables of these names.

        `exchange` says whether the points exchange weights, `weights` whether these are kept.
        """
        kept = ("weights",) if weights else ()
        names = (*counts.identity, sorted(functions), exchange)
        names += () if until is None else (repr(until),)
        core = (*counts.but_for_draws, sorted(functions), exchange, *kept)
        cores = [
            fingerprint([point], dynamics, [key], core)
            for point, key in zip(points, keys, strict=True)
        ]
        whole = fingerprint(points, dynamics, keys, (*names, *kept))
        return cls(whole, tuple(cores), slope_stride, at_train)


def fingerprint(
    points: Sequence[Posterior], dynamics: Dynamics, keys: Sequence[PRNGKeyArray], counts: Any
) -> str:
    """A hash of everything that the draws depend on; `keys` are typed."""
    digest = hashlib.sha256()
    for leaf in (*jax.tree.leaves(points), *keys):
        if eqx.is_array_like(leaf):
            array = jax.random.key_data(leaf) if is_key(leaf) else leaf
            digest.update(np.asarray(array).tobytes())
    if points[0].sampled_leaves is not None and not all(
        mark or not eqx.is_inexact_array(leaf)
        for leaf, mark in zip(
            jax.tree.leaves(points[0].network), points[0].sampled_leaves, strict=True
        )
    ):
        digest.update(repr(points[0].sampled_leaves).encode())
    for spec, network in ((posterior.spec, posterior.network) for posterior in points):
        is_ours = isinstance(network, Network)
        activation = network.activation.name if is_ours and network.activation else ""
        sizes = (spec.architecture, network.hidden_widths if is_ours else None, activation)
        digest.update(repr((sizes, spec.patches, spec.num_outputs, spec.bias_precisions)).encode())
    classes = (type(points[0]).__name__, type(dynamics).__name__)
    digest.update(repr((classes, dynamics.identity, counts)).encode())
    return digest.hexdigest()
